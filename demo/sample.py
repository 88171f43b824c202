#!/usr/bin/env python3
"""Makes the sample clip of `make demo`: 60 s of 720p with moving picture and sound.

Usage: sample.py FFMPEG OUT.mp4. Does nothing where the clip is there already.
"""
import os
import subprocess
import sys


def main() -> int:
    ffmpeg, out = sys.argv[1], sys.argv[2]
    if os.path.exists(out):
        return 0
    os.makedirs(os.path.dirname(out), exist_ok=True)
    print("making a 60-s sample clip …", flush=True)
    part = out + ".part.mp4"
    subprocess.run(
        [
            ffmpeg, "-hide_banner", "-loglevel", "error", "-nostdin", "-y",
            "-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=30:duration=60",
            "-f", "lavfi", "-i", "sine=frequency=440:beep_factor=2:sample_rate=48000:duration=60",
            "-c:v", "libx264", "-preset", "superfast", "-crf", "20", "-pix_fmt", "yuv420p", "-g", "60",
            "-c:a", "aac", "-b:a", "128k", "-movflags", "+faststart", part,
        ],
        check=True,
    )
    os.replace(part, out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
