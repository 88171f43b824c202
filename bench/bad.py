"""How soon a bad source is FAILED, from its upload's end to the word: one at a time, on a platform that is warm and at rest."""
import json
import os
import shutil
import subprocess
import time

from recover import Up, wait

PICTURE, SOUND = "testsrc2=size=1280x720:rate=30:duration=30", "sine=frequency=440:duration=30"
ROUNDS = 3


def film(tools, folder, name, *how):
    path = os.path.join(folder, name)
    command = [tools.ffmpeg, "-v", "error", "-y", "-f", "lavfi", "-i", PICTURE, "-f", "lavfi", "-i", SOUND, *how, path]
    subprocess.run(command, check=True)
    with open(path, "rb") as file:
        return file.read()


def sources(tools, folder):
    """Names and bytes; the first is good and only warms the functions up."""
    h264 = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "60", "-c:a", "aac"]
    mp4, mkv = (film(tools, folder, name, *h264) for name in ("film.mp4", "film.mkv"))
    avi = film(tools, folder, "film.avi", "-c:v", "mpeg4", "-q:v", "4", "-c:a", "libmp3lame")
    mxf = film(tools, folder, "film.mxf", "-c:v", "mpeg2video", "-q:v", "4", "-c:a", "pcm_s16le", "-ar", "48000")
    half = lambda film: film[:len(film) // 2]
    noisy = bytearray(mp4)
    for at in range(len(mp4) * 2 // 5, len(mp4) // 2, 997):
        noisy[at] ^= 0x55
    return [
        ("good.mp4", mp4),
        ("empty.mp4", b""),
        ("diary.mp4", b"dear diary, this is no film\n"),
        ("playlist.mp4", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"),
        ("half.mp4", half(mp4)),
        ("half.mkv", half(mkv)),
        ("half.avi", half(avi)),
        ("half.mxf", half(mxf)),
        ("noisy.mp4", bytes(noisy)),
    ]


def jobs(tools, up):
    command = [tools.fanreel, "--json", "--endpoint", f"http://{up.cloud.host}", "jobs"]
    return json.loads(subprocess.run(command, env=tools.env, check=True, capture_output=True).stdout)["jobs"]


def measure(tools):
    folder = os.path.join(tools.work, "bad")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    up = Up(tools, os.path.join(folder, "data"))
    try:
        rows = {}
        made = sources(tools, folder)
        for number in range(ROUNDS):
            for name, content in made if number == 0 else made[1:]:
                key = f"uploads/{number}/{name}"
                up.cloud.put(up.bucket, key, content)
                began = time.monotonic()
                over = lambda: [job for job in jobs(tools, up) if job["key"] == key and job["status"] in ("FAILED", "COMPLETED")]
                job = wait(f"the end of {key}", over)[0]
                row = rows.setdefault(name, {"status": job["status"], "seconds": [], "says": job["detail"]})
                row["seconds"].append(round(time.monotonic() - began, 2))
        del rows["good.mp4"]
        return rows
    finally:
        up.end()
        shutil.rmtree(folder, ignore_errors=True)
