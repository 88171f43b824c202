"""How large the results are, and how good: the first rendition of each side against the source."""
import json
import os
import subprocess

import plain
import vbv


def sizes(folder):
    """Bytes of each MP4."""
    return {plain.name(height): os.path.getsize(os.path.join(folder, f"{plain.name(height)}.mp4")) for height, _, _ in plain.LADDER}


def buffers(tools, folder):
    """The decoder's rate buffer over all pictures of each MP4, joins and all (bench/vbv.py)."""
    made = lambda height: os.path.join(folder, f"{plain.name(height)}.mp4")
    return {
        plain.name(height): vbv.bucket(vbv.units(tools.ffprobe, made(height)), cap * 1000, size * 1000) for height, cap, size in plain.LADDER
    }


def compare(tools, source, folder, every):
    """VMAF and PSNR (luma) of the 1080p file against the source, on every n-th picture."""
    made = os.path.join(folder, "1080p.mp4")
    log = os.path.join(tools.work, "vmaf.json")
    # One side is tagged with its colours and the other is not: ffmpeg would convert what it takes for another matrix.
    same = "setpts=PTS-STARTPTS,setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709"
    graph = (
        f"[0:v]{same}[made];[1:v]{same}[source];"
        f"[made][source]libvmaf=log_fmt=json:log_path={log}:n_threads=2:n_subsample={every}:feature=name=psnr"
    )
    command = [tools.ffmpeg, "-nostdin", "-hide_banner", "-loglevel", "error", "-i", made, "-i", source, "-lavfi", graph, "-f", "null", "-"]
    subprocess.run(command, check=True, env=tools.env)
    with open(log, encoding="utf-8") as file:
        pooled = json.load(file)["pooled_metrics"]
    return {"vmaf": round(pooled["vmaf"]["mean"], 2), "vmaf_min": round(pooled["vmaf"]["min"], 2), "psnr_y": round(pooled["psnr_y"]["mean"], 2)}
