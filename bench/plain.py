"""The one ffmpeg command that a person would write for the same ladder."""
import os

# The reference ladder (crates/pipeline/src/profile.rs): short side, maxrate, bufsize in kbit/s.
LADDER = [(1080, 5350, 7500), (720, 2996, 4200), (480, 1498, 2100), (360, 856, 1200)]


def width(height):
    """16:9, even, rounded as the planner does (854, not 853)."""
    return (height * 16 // 9 + 1) // 2 * 2


def name(height):
    return f"{height}p"


def command(ffmpeg, source, folder, preset="veryfast", crf=23):
    """One decode, four encoders with ffmpeg's default threads, sound in every file, `moov` in front."""
    splits = "".join(f"[s{i}]" for i in range(len(LADDER)))
    graph = f"[0:v]split={len(LADDER)}{splits}"
    for i, (height, _, _) in enumerate(LADDER):
        graph += f";[s{i}]scale={width(height)}:{height},setsar=1,format=yuv420p[v{i}]"
    words = [ffmpeg, "-nostdin", "-hide_banner", "-loglevel", "error", "-y", "-i", source, "-filter_complex", graph]
    for i, (height, maxrate, bufsize) in enumerate(LADDER):
        words += f"-map [v{i}] -map 0:a:0 -c:v libx264 -preset {preset} -profile:v high -pix_fmt yuv420p".split()
        words += "-g 100000 -keyint_min 1 -sc_threshold 0 -bf 2 -flags +cgop".split()
        words += ["-force_key_frames", "expr:isnan(prev_forced_t)+gte(t,prev_forced_t+2)"]
        words += f"-crf {crf} -maxrate {maxrate}k -bufsize {bufsize}k".split()
        words += "-c:a aac -b:a 128k -ac 2 -ar 48000 -movflags +faststart -f mp4".split()
        words.append(os.path.join(folder, f"{name(height)}.mp4"))
    return words
