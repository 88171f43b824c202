"""What the pinned ffmpeg must be able to do, tried: an encode and a decode per codec, and the filters."""
import os
import subprocess
import tempfile

# name, encoder arguments, extension
CODECS = [
    ("H.264", ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"], "mp4"),
    ("HEVC", ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error"], "mp4"),
    ("AV1", ["-c:v", "libsvtav1", "-preset", "12", "-pix_fmt", "yuv420p"], "mp4"),
    ("VP9", ["-c:v", "libvpx-vp9", "-cpu-used", "8", "-b:v", "0", "-crf", "40"], "webm"),
    ("ProRes", ["-c:v", "prores_ks"], "mov"),
    ("MPEG-2", ["-c:v", "mpeg2video"], "mkv"),
    ("Opus", ["-c:a", "libopus"], "webm"),
    ("AAC", ["-c:a", "aac"], "m4a"),
]
# name, filters of the first input
FILTERS = [
    ("zscale and tonemap", "zscale=t=linear:npl=100,format=gbrpf32le,tonemap=hable,zscale=t=bt709:m=bt709:r=tv,format=yuv420p"),
    ("bwdif", "bwdif=mode=send_frame:deint=interlaced"),
    ("libvmaf", "split[a][b];[a][b]libvmaf"),
]
FRAMES = 12
PICTURE = ["-f", "lavfi", "-i", f"testsrc2=s=320x240:r=24,trim=end_frame={FRAMES},setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709"]
SOUND = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=0.5"]


def run(command, where):
    result = subprocess.run(command, cwd=where, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False)
    return result.returncode, result.stdout.decode(errors="replace"), result.stderr.decode(errors="replace")[-800:]


def try_codec(ffmpeg, ffprobe, where, codec):
    """Encodes, counts the packets with ffprobe, decodes. Answers what is wrong, or None."""
    name, arguments, extension = codec
    path = f"try.{extension}"
    source = SOUND if "-c:a" in arguments else PICTURE
    quiet = [ffmpeg, "-nostdin", "-hide_banner", "-v", "error", "-y"]
    status, _, stderr = run([*quiet, *source, *arguments, path], where)
    if status != 0:
        return f"cannot encode {name}: {stderr}"
    status, out, stderr = run([ffprobe, "-v", "error", "-count_packets", "-show_entries", "stream=nb_read_packets",
                               "-of", "csv=p=0", path], where)
    packets = out.strip().strip(",")
    if status != 0 or not packets.isdigit() or ("-c:v" in arguments and int(packets) != FRAMES):
        return f"ffprobe does not read {name}: {packets} packets, {stderr}"
    status, _, stderr = run([*quiet, "-xerror", "-i", path, "-f", "null", "-"], where)
    return None if status == 0 else f"cannot decode {name}: {stderr}"


def try_filter(ffmpeg, where, entry):
    name, graph = entry
    command = [ffmpeg, "-nostdin", "-hide_banner", "-v", "error", *PICTURE, "-vf", graph, "-f", "null", "-"]
    status, _, stderr = run(command, where)
    return None if status == 0 else f"cannot filter with {name}: {stderr}"


def verify(ffmpeg, ffprobe, say, fail):
    """Ends the program through `fail` if a capability is missing."""
    with tempfile.TemporaryDirectory() as where:
        wrong = [try_codec(ffmpeg, ffprobe, where, codec) for codec in CODECS]
        wrong += [try_filter(ffmpeg, where, entry) for entry in FILTERS]
    wrong = [text for text in wrong if text]
    if wrong:
        fail(f"{os.path.basename(ffmpeg)} lacks what fanreel needs: " + "; ".join(wrong))
    names = [entry[0] for entry in CODECS + FILTERS]
    say("verified: " + ", ".join(names))
