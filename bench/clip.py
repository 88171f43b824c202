"""The film of the benchmark, made by ffmpeg's own generators: no download, the same on every machine."""
import hashlib
import os
import subprocess


def inputs(seconds):
    """Scenes of 7.5 s: a camera that pans over fractals with film grain, and a moving test picture in a corner."""
    scenes = int(seconds / 7.5) + 2
    picture = (
        # One still for each scene, deeper at each; drawn larger than the frame so that there is room to pan.
        f"mandelbrot=size=2496x1404:rate=2/15:start_scale=2.6:end_scale=0.0004:end_pts={scenes}:maxiter=400,gblur=sigma=1,"
        "fps=30,format=yuv420p,"
        "crop=1920:1080:x='(iw-ow)/2*(1+sin(t*0.9))':y='(ih-oh)/2*(1+cos(t*0.6))',"
        "noise=alls=6:allf=t[camera];"
        "testsrc2=size=480x270:rate=30,format=yuv420p[corner];"
        "[camera][corner]overlay=x='80+60*sin(t*2)':y='60+40*cos(t*3)',format=yuv420p[v];"
        "sine=frequency=330:beep_factor=3:sample_rate=48000[tone];"
        "anoisesrc=color=pink:amplitude=0.2:sample_rate=48000:seed=1[hiss];"
        "[tone][hiss]amix=inputs=2,aformat=channel_layouts=stereo[a]"
    )
    return ["-filter_complex", picture, "-map", "[v]", "-map", "[a]", "-t", str(seconds)]


# As a camera or an editor writes: two-second groups, B pictures, ample rate.
ENCODE = (
    "-c:v libx264 -preset veryfast -crf 19 -maxrate 16M -bufsize 32M -g 60 -keyint_min 60 -sc_threshold 0 -bf 3 -pix_fmt yuv420p "
    "-c:a aac -b:a 192k -movflags +faststart"
).split()


def make(ffmpeg, folder, seconds):
    """Path of the film; made once for each recipe."""
    recipe = inputs(seconds) + ENCODE
    name = hashlib.sha256("\0".join(recipe).encode()).hexdigest()[:10]
    path = os.path.join(folder, f"source-{seconds}s-{name}.mp4")
    if os.path.exists(path):
        return path
    print(f"bench: making {seconds} s of 1080p30 …", flush=True)
    part = path + ".part.mp4"
    subprocess.run([ffmpeg, "-hide_banner", "-loglevel", "error", "-nostdin", "-y", *recipe, part], check=True)
    os.replace(part, path)
    return path
