"""Installs what watches a platform in the tests: Prometheus and its promtool, into .tools/prometheus.

They are Debian's package, fetched by apt without installing anything and without root, from lists of our own, since a
machine's may be old. apt holds the package against the archive's signature. Where there is no apt, the programs that are
there are taken.
"""
import glob
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile

PROGRAMS = ("prometheus", "promtool")
PACKAGE = "prometheus"


def fetched(work):
    """The package's file; none where apt has none for this machine."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        return None
    options = []
    for name, key in (("lists", "Dir::State::lists"), ("cache", "Dir::Cache")):
        folder = os.path.join(work, name)
        os.makedirs(os.path.join(folder, "archives" if name == "cache" else "", "partial"))
        options += ["-o", f"{key}={folder}"]
    for step in (["update"], ["download", PACKAGE]):
        for _ in range(3):
            command = ["apt-get", "-qq", "-o", "APT::Sandbox::User=", *options, *step]
            if subprocess.run(command, cwd=work, check=False).returncode == 0:
                break
    return next(iter(glob.glob(os.path.join(work, f"{PACKAGE}_*.deb"))), None)


def unpack(package, to):
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as unpacking:
        with tarfile.open(fileobj=unpacking.stdout, mode="r|") as files:
            for member in files:
                name = os.path.basename(member.name)
                if member.isfile() and member.name == f"./usr/bin/{name}" and name in PROGRAMS:
                    with files.extractfile(member) as source, open(os.path.join(to, name), "wb") as out:
                        shutil.copyfileobj(source, out, 1 << 20)
                    os.chmod(out.name, 0o755)


def install(home):
    """Installs both, once per version of this file."""
    with open(__file__, "rb") as me:
        version = hashlib.sha256(me.read()).hexdigest()
    home = os.path.abspath(home)
    target = os.path.join(home, "prometheus")
    mark = os.path.join(target, "installed")
    if os.path.exists(mark) and open(mark, encoding="utf-8").read() == version:
        return
    print("tools: installing Prometheus", flush=True)
    with tempfile.TemporaryDirectory(dir=home) as work:
        fresh = os.path.join(work, "prometheus")
        os.makedirs(fresh)
        package = fetched(work)
        if package:
            unpack(package, fresh)
        for name in PROGRAMS:
            here, there = os.path.join(fresh, name), shutil.which(name)
            if not os.path.exists(here) and there:
                os.symlink(there, here)
            if not os.path.exists(here):
                sys.exit(f"tools: {name} could not be fetched by apt (see its message above, if any), and none is installed: the "
                         "tests of alerts and of the page of metrics need it. Install Prometheus, then: make tools")
        with open(os.path.join(fresh, "installed"), "w", encoding="utf-8") as out:
            out.write(version)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(fresh, target)
