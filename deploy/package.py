#!/usr/bin/env python3
"""Makes a folder that `sam deploy` takes as it is: the template, a `bootstrap` for each function and the ffmpeg layer.

    python3 deploy/package.py --binaries target/dist --to target/package

Programs built here run on Lambda only if Amazon Linux 2023 has every symbol that they ask of the C library, so that is
looked at; where this machine's is too new, `make package CARGO="..."` with cargo-zigbuild builds against an older one.
"""
import argparse
import os
import re
import shutil
import stat
import struct
import subprocess
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
# Amazon Linux 2023's. Source: AL2023 release notes, "glibc".
GLIBC = (2, 34)
# Lambda quotas: a function's code and layers, unzipped.
ROOM = 250 << 20
# ELF header, e_machine.
MACHINES = {"x86_64": 62, "arm64": 183}
LAYER = os.path.join("layers", "ffmpeg", "build", "opt")


def functions():
    """Folder of the code and program of each function, as the template names them."""
    with open(os.path.join(ROOT, "template.yaml"), encoding="utf-8") as file:
        text = file.read()
    found = re.findall(r"BuildProperties: \{ Binary: ([\w-]+) \} \}.*?CodeUri: (\S+)", text, re.S)
    return sorted({(folder, program) for program, folder in found})


def too_new(program):
    """Versions of the C library that the program needs and Lambda has not."""
    listing = subprocess.run(["objdump", "-T", program], check=True, capture_output=True, text=True).stdout
    wanted = {tuple(map(int, version.split("."))) for version in re.findall(r"GLIBC_(\d+(?:\.\d+)+)", listing)}
    return [".".join(map(str, version)) for version in sorted(wanted) if version > GLIBC]


def machine(program):
    with open(program, "rb") as file:
        head = file.read(20)
    return struct.unpack("<H", head[18:20])[0] if head[:4] == b"\x7fELF" else None


def copied(source, target):
    """Hard links where possible: the layer is large."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def bootstrap(source, target, architecture):
    """Complaints about a program; none: it stands stripped at its place."""
    if not os.path.isfile(source):
        return [f"{source} is not built"]
    if machine(source) != MACHINES[architecture]:
        return [f"{source} is no program for {architecture}"]
    newer = too_new(source)
    if newer:
        return [f"{source} needs glibc {', '.join(newer)}; Lambda has {'.'.join(map(str, GLIBC))} (docs/deploy.md, \"An older C library\")"]
    os.makedirs(os.path.dirname(target), exist_ok=True)
    subprocess.run(["strip", "-o", target, source], check=True)
    os.chmod(target, stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
    return []


def weight(folder):
    return sum(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(folder) for name in names)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--binaries", required=True, help="folder with the built functions")
    parser.add_argument("--to", required=True, help="folder to make; one that is there is replaced")
    parser.add_argument("--layer", default=os.path.join(ROOT, LAYER), help="folder with bin/ffmpeg and bin/ffprobe")
    parser.add_argument("--architecture", default="x86_64", choices=sorted(MACHINES))
    given = parser.parse_args()
    shutil.rmtree(given.to, ignore_errors=True)
    os.makedirs(given.to)
    shutil.copy(os.path.join(ROOT, "template.yaml"), given.to)
    for at, _, names in os.walk(given.layer):
        for name in names:
            source = os.path.join(at, name)
            copied(source, os.path.join(given.to, LAYER, os.path.relpath(source, given.layer)))
    wrong = []
    for name in ("ffmpeg", "ffprobe"):
        program = os.path.join(given.layer, "bin", name)
        if not os.path.isfile(program) or machine(program) != MACHINES[given.architecture]:
            wrong.append(f"{program} is no program for {given.architecture}; `make layer` fetches it, --layer names another")
    for folder, program in functions():
        target = os.path.join(given.to, folder, "bootstrap")
        wrong += bootstrap(os.path.join(given.binaries, program), target, given.architecture)
        size = weight(os.path.join(given.to, LAYER)) + (os.path.getsize(target) if os.path.exists(target) else 0)
        if size > ROOM:
            wrong.append(f"{program} and the layer have {size >> 20} MiB; Lambda takes {ROOM >> 20}")
    if wrong:
        shutil.rmtree(given.to)
        print("\n".join(f"package: {line}" for line in wrong), file=sys.stderr)
        return 1
    print(f"package: {given.to} is ready; type: sam deploy --guided --capabilities CAPABILITY_IAM --template-file {given.to}/template.yaml")
    return 0


if __name__ == "__main__":
    sys.exit(main())
