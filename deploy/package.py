#!/usr/bin/env python3
"""Makes a folder that `sam deploy` takes as it is: the template, a `bootstrap` for each function and the ffmpeg layer.

    python3 deploy/package.py --binaries target/release --to target/package
    python3 deploy/package.py --check --architecture arm64 --binaries target/arm

The second says, before anything is built for long, whether there is what a package for another kind of machine takes.

Programs built here run on Lambda only if Amazon Linux 2023 has every symbol that they ask of the C library, so that is
looked at; where this machine's is too new, `make package BUILD="..."` with cargo-zigbuild builds against an older one.
"""
import argparse
import os
import platform
import re
import shutil
import stat
import struct
import subprocess
import sys
import tempfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
# Amazon Linux 2023's. Source: AL2023 release notes, "glibc".
GLIBC = (2, 34)
# Lambda quotas: a function's code and layers, unzipped.
ROOM = 250 << 20
# ELF header, e_machine.
MACHINES = {"x86_64": 62, "arm64": 183}
TARGETS = {"x86_64": "x86_64-unknown-linux-gnu", "arm64": "aarch64-unknown-linux-gnu"}
# Where the template looks for it.
LAYER = os.path.join("layers", "ffmpeg", "build", "opt")
# The template's parameter, up to what it may be.
ARCHITECTURE = re.compile(r"(\n  Architecture:\n    Type: String\n    Default: )\w+(\n    AllowedValues: )\[.*\]")


def host():
    names = {"amd64": "x86_64", "aarch64": "arm64"}
    machine = platform.machine().lower()
    return names.get(machine, machine)


def layer_of(architecture):
    """Where layers/ffmpeg/build.py puts it."""
    return os.path.join(ROOT, "layers", "ffmpeg", "build", *([] if architecture == host() else [architecture]), "opt")


def template():
    with open(os.path.join(ROOT, "template.yaml"), encoding="utf-8") as file:
        return file.read()


def functions():
    """Folder of the code and program of each function, as the template names them."""
    found = re.findall(r"BuildProperties: \{ Binary: ([\w-]+) \} \}.*?CodeUri: (\S+)", template(), re.S)
    return sorted({(folder, program) for program, folder in found})


def too_new(program):
    """Versions of the C library that the program needs and Lambda has not."""
    listing = subprocess.run(["objdump", "-T", program], check=True, capture_output=True, text=True).stdout
    wanted = {tuple(map(int, version.split("."))) for version in re.findall(r"GLIBC_(\d+(?:\.\d+)+)", listing)}
    return [".".join(map(str, version)) for version in sorted(wanted) if version > GLIBC]


def is_for(program, architecture):
    """Whether it is there, and a program for this kind of machine."""
    if not os.path.isfile(program):
        return False
    with open(program, "rb") as file:
        head = file.read(20)
    return len(head) == 20 and head[:4] == b"\x7fELF" and struct.unpack("<H", head[18:20])[0] == MACHINES[architecture]


def copied(source, target):
    """Hard links where possible: the layer is large."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def stripped(source, target, architecture):
    """Without symbols, where a program of this machine can: most know its own kind only."""
    for strip in ("strip", TARGETS[architecture].replace("-unknown", "") + "-strip", "llvm-strip"):
        if shutil.which(strip) and subprocess.run([strip, "-o", target, source], check=False, stderr=subprocess.DEVNULL).returncode == 0:
            return
    shutil.copyfile(source, target)
    size = os.path.getsize(source) >> 10
    print(f"package: note: no strip here takes {source}; it goes in whole, {size} KiB. llvm-strip takes every kind")


def bootstrap(source, target, architecture):
    """Complaints about a program; none: it stands stripped at its place."""
    if not os.path.isfile(source):
        return [f"{source} is not built"]
    if not is_for(source, architecture):
        return [f"{source} is no program for {architecture}"]
    try:
        newer = too_new(source)
    except (OSError, subprocess.CalledProcessError) as error:
        return [f"what {source} asks of the C library cannot be read: {error}; objdump is of binutils"]
    if newer:
        return [f"{source} needs glibc {', '.join(newer)}; Lambda has {'.'.join(map(str, GLIBC))} (docs/deploy.md, \"An older C library\")"]
    os.makedirs(os.path.dirname(target), exist_ok=True)
    stripped(source, target, architecture)
    os.chmod(target, stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
    return []


def weight(folder):
    return sum(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(folder) for name in names)


def layer_complaints(layer, architecture):
    programs = [os.path.join(layer, "bin", name) for name in ("ffmpeg", "ffprobe")]
    wrong = " and ".join(program for program in programs if not is_for(program, architecture))
    remedy = f"`python3 layers/ffmpeg/build.py --arch {architecture}` fetches a layer, LAYER=FOLDER (--layer) names another"
    return [f"no program for {architecture}: {wrong}; {remedy}"] if wrong else []


def check(given):
    """Complaints about what neither the build nor the fetching of a layer that is not named will mend."""
    wrong = layer_complaints(given.layer, given.architecture) if given.layer else []
    there = given.binaries and all(is_for(os.path.join(given.binaries, program), given.architecture) for _, program in functions())
    if not there and not (given.binaries and given.build):
        target = TARGETS[given.architecture]
        build = f"cargo-zigbuild zigbuild --target {target}.{'.'.join(map(str, GLIBC))}"
        wrong.append(
            f"BINARIES names no folder with all programs for {given.architecture}. On this machine ({host()}) they are made by:\n"
            f"  rustup target add {target} && pip install ziglang==0.17.1 cargo-zigbuild==0.24.1\n"
            f"  make package ARCHITECTURE={given.architecture} BUILD=\"{build}\" BINARIES=target/{target}/release")
    return wrong


def pack(given, to):
    """Fills the folder and answers with complaints; none: it is a package."""
    # No other value: AWS takes programs of one kind for functions of the other, and an update keeps the value that a stack has.
    text, found = ARCHITECTURE.subn(rf"\g<1>{given.architecture}\g<2>[{given.architecture}]", template())
    wrong = [] if found == 1 else ["template.yaml says otherwise what Architecture is: see ARCHITECTURE in deploy/package.py"]
    with open(os.path.join(to, "template.yaml"), "w", encoding="utf-8") as file:
        file.write(text)
    layer = given.layer or layer_of(given.architecture)
    for at, _, names in os.walk(layer):
        for name in names:
            source = os.path.join(at, name)
            copied(source, os.path.join(to, LAYER, os.path.relpath(source, layer)))
    wrong += layer_complaints(layer, given.architecture)
    for folder, program in functions():
        target = os.path.join(to, folder, "bootstrap")
        wrong += bootstrap(os.path.join(given.binaries, program), target, given.architecture)
        size = weight(os.path.join(to, LAYER)) + (os.path.getsize(target) if os.path.exists(target) else 0)
        if size > ROOM:
            wrong.append(f"{program} and the layer have {size >> 20} MiB; Lambda takes {ROOM >> 20}")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binaries", required=True, help="folder with the built functions")
    parser.add_argument("--to", help="folder to make; one that is there is replaced once the new one is whole")
    parser.add_argument("--layer", help="folder with bin/ffmpeg and bin/ffprobe; otherwise layers/ffmpeg/build.py's")
    parser.add_argument("--architecture", default="x86_64", choices=sorted(MACHINES))
    parser.add_argument("--check", action="store_true", help="make nothing, only say what is missing that a build would not make")
    parser.add_argument("--build", action="store_true", help="with --check: the functions will be built, into that folder")
    given = parser.parse_args()
    if given.check:
        wrong = check(given)
    elif not given.to:
        parser.error("--to FOLDER names what to make")
    else:
        to = os.path.abspath(given.to)
        os.makedirs(os.path.dirname(to), exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".package-", dir=os.path.dirname(to)) as work:
            fresh = os.path.join(work, "package")
            os.mkdir(fresh)
            wrong = pack(given, fresh)
            if not wrong:
                shutil.rmtree(to, ignore_errors=True)
                os.rename(fresh, to)
    if wrong:
        print("\n".join(f"package: {line}" for line in wrong), file=sys.stderr)
        return 1
    if not given.check:
        print(f"package: {given.to} is ready for {given.architecture}; type: {deploy_command(given.to)}")
    return 0


def deploy_command(package):
    """First and every time after; docs/deploy.md says why not with --guided."""
    return f"sam deploy --stack-name fanreel --s3-prefix fanreel --resolve-s3 --capabilities CAPABILITY_IAM --template-file {package}/template.yaml"


if __name__ == "__main__":
    sys.exit(main())
