//! Timelines as cameras, editors, recorders and broadcasts leave them.

use anyhow::{Context, Result, ensure};

use super::{Film, Recipe, Studio, USUAL};
use crate::{clips::ffmpeg, hostile};

const X264: &str = "-c:v libx264 -g 25 -bf 2 -pix_fmt yuv420p -c:a aac";

pub fn recipes() -> Vec<Recipe> {
    let mut all = groups();
    all.extend(rates());
    all.extend(offsets());
    all.extend(streams());
    all.extend(tracks());
    all
}

/// Groups of pictures, and pictures that are not shown.
fn groups() -> Vec<Recipe> {
    let (new, steps) = (Recipe::new, Recipe::steps);
    let after = |first: u32| USUAL.all().into_iter().filter(|(number, _)| *number >= first).collect();
    vec![
        new(
            "open-gop.mp4",
            "h264",
            &["open GOP"],
            "-c:v libx264 -bf 3 -x264-params open-gop=1:keyint=25:min-keyint=25:b-adapt=0:scenecut=0 -pix_fmt yuv420p -c:a aac",
        ),
        new(
            "open-gop-hevc.mp4",
            "hevc",
            &["open GOP", "HEVC"],
            "-c:v libx265 -preset ultrafast -x265-params open-gop=1:keyint=25:min-keyint=25:bframes=4:b-adapt=0:scenecut=0:log-level=error:pools=none \
             -pix_fmt yuv420p -tag:v hvc1 -c:a aac",
        ),
        new(
            "open-gop-hevc.mkv",
            "hevc",
            &["open GOP", "HEVC"],
            "-c:v libx265 -preset ultrafast -x265-params open-gop=1:keyint=25:min-keyint=25:bframes=4:b-adapt=0:scenecut=0:log-level=error:pools=none \
             -pix_fmt yuv420p -c:a ac3",
        )
        .coarse(),
        new("one-keyframe.mp4", "h264", &["one keyframe"], "-c:v libx264 -bf 2 -x264-params keyint=infinite:scenecut=0 -pix_fmt yuv420p -c:a aac"),
        new("no-edit-list.mp4", "h264", &["edit list"], "-c:v libx264 -g 25 -bf 2 -pix_fmt yuv420p -c:a aac -use_editlist 0"),
        Recipe {
            // The second of its three seconds is cut out.
            shown: USUAL.all().into_iter().filter(|(number, _)| !(25..50).contains(number)).map(|(number, time)| (number, if number < 25 { time } else { time - 1.0 })).collect(),
            ..steps("two-edits.mov", "h264", &["edit list"], two_edits).silent()
        },
        Recipe {
            shown: after(28),
            ..steps("edit-list.mp4", "h264", &["edit list"], |studio, film, out| {
                let whole = coded(studio, film, "edit-list-whole.mp4", X264)?;
                ffmpeg(&["-ss", "1.1", "-i", &whole, "-c", "copy", out])
            })
        },
    ]
}

/// A film of which an editor cut out the second second: two entries in the edit list of each track (ISO 14496-12, 8.6.6).
/// Its tables are at the end, so that no chunk offset moves.
fn two_edits(studio: &Studio, film: &str, out: &str) -> Result<()> {
    let whole = studio.file("two-edits-whole.mov");
    ffmpeg(
        &[
            &["-i", film][..],
            &words("-c:v libx264 -g 25 -bf 2 -pix_fmt yuv420p -c:a pcm_s16le"),
            &["-video_track_timescale", "12800", &whole][..],
        ]
        .concat(),
    )?;
    let mut bytes = std::fs::read(whole)?;
    let number =
        |bytes: &[u8], at: usize| Ok::<_, anyhow::Error>(u32::from_be_bytes(bytes.get(at..at + 4).context("cut short")?.try_into()?));
    for track in 0..2 {
        let find = |bytes: &[u8], kind: &[u8], from: usize| bytes[from..].windows(4).position(|word| word == kind).map(|at| from + at);
        let moov = find(&bytes, b"moov", 0).context("moov")?;
        let mut trak = moov;
        for _ in 0..=track {
            trak = find(&bytes, b"trak", trak + 4).context("trak")?;
        }
        let (edts, elst, mdhd) = (find(&bytes, b"edts", trak), find(&bytes, b"elst", trak), find(&bytes, b"mdhd", trak));
        let (edts, elst, mdhd) = (edts.context("edts")?, elst.context("elst")?, mdhd.context("mdhd")?);
        ensure!(number(&bytes, elst + 8)? == 1, "more than one edit");
        // A second in the movie's time, where it begins in the track's own, rate.
        let (begin, scale) = (number(&bytes, elst + 16)?, number(&bytes, mdhd + 16)?);
        let second = number(&bytes, find(&bytes, b"mvhd", moov).context("mvhd")? + 16)?;
        let entry = |begin: u32| [&second.to_be_bytes()[..], &begin.to_be_bytes(), &[0, 1, 0, 0]].concat();
        bytes.splice(elst + 12..elst + 24, [entry(begin), entry(begin + 2 * scale)].concat());
        bytes[elst + 8..elst + 12].copy_from_slice(&2u32.to_be_bytes());
        for parent in [moov, trak, edts, elst] {
            let grown = number(&bytes, parent - 4)? + 12;
            bytes[parent - 4..parent].copy_from_slice(&grown.to_be_bytes());
        }
    }
    Ok(std::fs::write(out, bytes)?)
}

/// Distances between pictures.
fn rates() -> Vec<Recipe> {
    let new = Recipe::new;
    let kept = |keep: fn(u32) -> bool| USUAL.all().into_iter().filter(|(number, _)| keep(*number)).collect::<Vec<_>>();
    let odd = |number: u32| number % 7 != 3 && number % 11 != 5;
    let gap = |number: u32| !(26..=54).contains(&number);
    vec![
        Recipe {
            shown: kept(odd),
            ..new(
                "variable.mp4",
                "h264",
                &["VFR"],
                "-vf select=not(eq(mod(n\\,7)\\,3))*not(eq(mod(n\\,11)\\,5)) -fps_mode passthrough -c:v libx264 -g 20 -bf 2 -pix_fmt yuv420p -c:a aac",
            )
        },
        Recipe {
            shown: kept(odd),
            ..new(
                "variable.mkv",
                "vp8",
                &["VFR"],
                "-vf select=not(eq(mod(n\\,7)\\,3))*not(eq(mod(n\\,11)\\,5)) -fps_mode passthrough -c:v libvpx -deadline realtime -g 20 -pix_fmt yuv420p -c:a aac",
            )
            .coarse()
        },
        Recipe {
            shown: kept(gap),
            ..new(
                "gap.mp4",
                "h264",
                &["gap"],
                "-vf select=not(between(n\\,26\\,54)) -fps_mode passthrough -c:v libx264 -g 25 -bf 2 -pix_fmt yuv420p -c:a aac",
            )
        },
        Recipe {
            shown: kept(gap),
            ..new(
                "gap.ts",
                "h264",
                &["gap"],
                "-vf select=not(between(n\\,26\\,54)) -fps_mode passthrough -c:v libx264 -g 25 -bf 2 -pix_fmt yuv420p -c:a aac",
            )
        },
        new("one-picture.mp4", "h264", &["one frame"], "-an -c:v libx264 -pix_fmt yuv420p").of(Film { frames: 1, ..USUAL }).silent(),
        new("one-picture.avi", "mjpeg", &["one frame"], "-an -c:v mjpeg -pix_fmt yuvj420p").of(Film { frames: 1, ..USUAL }).silent(),
        new("slow.mp4", "h264", &["1 fps"], X264).of(Film { rate: (1, 1), frames: 6, ..USUAL }),
        new("fast.mp4", "h264", &["240 fps"], X264).of(Film { rate: (240, 1), frames: 480, ..USUAL }),
        new("ntsc.mp4", "h264", &["NTSC rates"], X264).of(Film { rate: (30_000, 1_001), frames: 90, ..USUAL }),
        new("ntsc.avi", "mpeg4", &["NTSC rates", "AVI"], "-c:v mpeg4 -g 30 -pix_fmt yuv420p -c:a libmp3lame")
            .of(Film { rate: (30_000, 1_001), frames: 90, ..USUAL })
            .with_a_gap(),
        new("cinema.mkv", "h264", &["NTSC rates"], X264).of(Film { rate: (24_000, 1_001), frames: 72, ..USUAL }).coarse(),
        new("sport.ts", "h264", &["NTSC rates", "MPEG-TS"], X264).of(Film { rate: (60_000, 1_001), frames: 180, ..USUAL }),
    ]
}

/// Where tracks begin.
fn offsets() -> Vec<Recipe> {
    let (new, steps) = (Recipe::new, Recipe::steps);
    vec![
        Recipe {
            late: 1.5,
            ..steps("late-picture.mp4", "h264", &["delayed track"], |_, film, out| {
                shifted(["-itsoffset", "1.5", "-i", film, "-i", film], X264, out)
            })
        },
        Recipe {
            late: -0.7,
            ..steps("late-sound.mp4", "h264", &["delayed track"], |_, film, out| {
                shifted(["-i", film, "-itsoffset", "0.7", "-i", film], X264, out)
            })
        },
        Recipe {
            late: 0.8,
            ..steps("late-picture.mkv", "h264", &["delayed track"], |_, film, out| {
                shifted(["-itsoffset", "0.8", "-i", film, "-i", film], X264, out)
            })
            .coarse()
        },
        Recipe {
            late: 0.8,
            ..steps("late-picture.ts", "h264", &["delayed track", "MPEG-TS"], |_, film, out| {
                shifted(["-itsoffset", "0.8", "-i", film, "-i", film], X264, out)
            })
        },
        new("begins-in-an-hour.mp4", "h264", &["start time"], "-c:v libx264 -g 25 -bf 2 -pix_fmt yuv420p -c:a aac -output_ts_offset 3600"),
        new("begins-in-an-hour.mkv", "h264", &["start time"], "-c:v libx264 -g 25 -bf 2 -pix_fmt yuv420p -c:a aac -output_ts_offset 3600")
            .coarse(),
        new("begins-in-20-hours.ts", "h264", &["start time"], "-c:v libx264 -g 25 -bf 2 -pix_fmt yuv420p -c:a aac -output_ts_offset 72000"),
        // 2^33 ticks of 90 kHz are 95443.7 s.
        new(
            "wrap.ts",
            "h264",
            &["PTS wrap"],
            "-c:v libx264 -g 25 -bf 2 -pix_fmt yuv420p -c:a aac -muxdelay 0 -muxpreload 0 -output_ts_offset 95442.3",
        ),
        new(
            "wrap-mpeg2.ts",
            "mpeg2video",
            &["PTS wrap"],
            "-c:v mpeg2video -g 12 -bf 2 -pix_fmt yuv420p -c:a mp2 -muxdelay 0 -muxpreload 0 -output_ts_offset 95442.3",
        ),
        new(
            "wrap.mpg",
            "mpeg2video",
            &["PTS wrap", "MPEG-PS"],
            "-c:v mpeg2video -g 12 -bf 2 -pix_fmt yuv420p -c:a mp2 -f vob -muxdelay 0 -muxpreload 0 -output_ts_offset 95442.3",
        ),
    ]
}

/// Recordings of broadcasts.
fn streams() -> Vec<Recipe> {
    let steps = Recipe::steps;
    let after = |first: u32| USUAL.all().into_iter().filter(|(number, _)| *number >= first).collect::<Vec<_>>();
    vec![
        Recipe {
            readable: false,
            ..steps("jump-ahead.ts", "h264", &["TS discontinuity"], |studio, film, out| jump(studio, film, ["10", "5000"], out))
        },
        Recipe {
            readable: false,
            ..steps("jump-back.ts", "h264", &["TS discontinuity"], |studio, film, out| jump(studio, film, ["5000", "10"], out))
        },
        Recipe {
            shown: after(25),
            ..steps("mid-gop.ts", "h264", &["mid-GOP"], |studio, film, out| from_the_middle(studio, film, "mid-gop-whole.ts", X264, out))
        },
        Recipe {
            shown: after(25),
            ..steps("mid-open-gop.ts", "h264", &["mid-GOP", "open GOP"], |studio, film, out| {
                let coding =
                    "-c:v libx264 -bf 3 -x264-params open-gop=1:keyint=25:min-keyint=25:b-adapt=0:scenecut=0 -pix_fmt yuv420p -c:a aac";
                from_the_middle(studio, film, "mid-open-whole.ts", coding, out)
            })
        },
        Recipe {
            shown: after(25),
            ..steps("mid-open-gop-hevc.ts", "hevc", &["mid-GOP", "open GOP", "HEVC"], |studio, film, out| {
                let coding = "-c:v libx265 -preset ultrafast -x265-params open-gop=1:keyint=25:min-keyint=25:bframes=4:b-adapt=0:scenecut=0:log-level=error:pools=none -pix_fmt yuv420p -c:a aac";
                from_the_middle(studio, film, "mid-hevc-whole.ts", coding, out)
            })
        },
        Recipe {
            shown: after(24),
            ..steps("mid-gop-mpeg2.ts", "mpeg2video", &["mid-GOP", "MPEG-TS"], |studio, film, out| {
                from_the_middle(studio, film, "mid-mpeg2-whole.ts", "-c:v mpeg2video -g 24 -bf 2 -pix_fmt yuv420p -c:a mp2", out)
            })
        },
        Recipe {
            shown: after(24),
            ..steps("mid-gop.mpg", "mpeg2video", &["mid-GOP", "MPEG-PS"], |studio, film, out| {
                // In the middle of a pack, too.
                from_the_middle(studio, film, "mid-gop-whole.mpg", "-c:v mpeg2video -g 24 -bf 2 -pix_fmt yuv420p -c:a mp2 -f vob", out)?;
                Ok(std::fs::write(out, &std::fs::read(out)?[777..])?)
            })
            .slow_to_sound()
        },
        steps("sizes.ts", "h264", &["size that changes"], |studio, film, out| {
            sizes(studio, film, "-c:v libx264 -g 25 -pix_fmt yuv420p", out)
        }),
        steps("sizes-interlaced.ts", "mpeg2video", &["size that changes", "interlaced"], |studio, film, out| {
            sizes(studio, film, "-c:v mpeg2video -flags +ildct+ilme -g 12 -pix_fmt yuv420p", out)
        })
        .refused("decoder gave"),
        steps("advertisement.ts", "h264", &["MPEG-TS", "AC-3 that changes"], advertisement),
        steps("advertisement.mkv", "h264", &["AC-3 that changes"], advertisement).coarse(),
    ]
}

/// Its second half is twice as wide and high.
fn sizes(studio: &Studio, film: &str, coding: &str, out: &str) -> Result<()> {
    let mut bytes = Vec::new();
    for (half, clock, size) in [(["-t", "1.52"], "10", "160:120"), (["-ss", "1.52"], "11.52", "320:240")] {
        let (part, scale) = (studio.file(&format!("size{clock}.ts")), format!("scale={size}:flags=neighbor"));
        let args =
            [&half[..], &["-i", film, "-vf", &scale], &words(coding), &["-bf", "0", "-c:a", "mp2", "-output_ts_offset", clock, &part]];
        ffmpeg(&args.concat())?;
        bytes.extend(std::fs::read(part)?);
    }
    Ok(std::fs::write(out, bytes)?)
}

/// Its sound has two channels in the first second and six from then on.
fn advertisement(studio: &Studio, film: &str, out: &str) -> Result<()> {
    /// Of 32 ms, in the second.
    const FRAMES: usize = 31;
    let sound = |channels: &str, rate: &str| -> Result<Vec<u8>> {
        let path = studio.file(&format!("{channels}.ac3"));
        ffmpeg(&["-i", film, "-vn", "-ac", channels, "-ar", "48000", "-c:a", "ac3", "-b:a", rate, &path])?;
        Ok(std::fs::read(path)?)
    };
    // A frame of 192 kbit/s has 768 bytes, one of 448 has 1792.
    let (two, six, path) = (sound("2", "192k")?, sound("6", "448k")?, studio.file("changing.ac3"));
    std::fs::write(&path, [&two[..FRAMES * 768], &six[FRAMES * 1792..]].concat())?;
    shifted(["-i", film, "-i", &path], "-c:v libx264 -g 25 -bf 2 -pix_fmt yuv420p -c:a copy", out)
}

/// More tracks than a film needs, and headers that are not true.
fn tracks() -> Vec<Recipe> {
    let steps = Recipe::steps;
    let two = "-map 0:v -map 0:v -map 0:a -filter:v:1 negate -c:v libx264 -g 25 -bf 2 -pix_fmt yuv420p -c:a aac";
    vec![
        Recipe::new("two-pictures.mp4", "h264", &["several video tracks"], two),
        Recipe::new("two-pictures.ts", "h264", &["several video tracks"], two),
        steps("cover.mp4", "h264", &["cover picture"], |studio, film, out| {
            let cover = cover(studio)?;
            let tracks = "-map 0 -map 1 -c:v:0 libx264 -pix_fmt:v:0 yuv420p -c:v:1 png -disposition:v:1 attached_pic -c:a aac";
            ffmpeg(&[&["-i", film, "-i", &cover], &words(tracks)[..], &[out]].concat())
        }),
        steps("cover.mkv", "h264", &["cover picture"], |studio, film, out| {
            let cover = cover(studio)?;
            ffmpeg(&[&["-i", film], &words(X264)[..], &["-attach", &cover, "-metadata:s:t", "mimetype=image/png", out]].concat())
        })
        .coarse(),
        steps("says-a-day.mp4", "h264", &["lying header"], |studio, film, out| {
            lying(studio, film, out, &[(b"mvhd", 16, &[0, 0x7F, 0xFF, 0xFF]), (b"mdhd", 16, &[0, 0x7F, 0xFF, 0xFF])])
        }),
        steps("says-640.mp4", "h264", &["lying header"], |studio, film, out| {
            lying(studio, film, out, &[(b"avc1", 24, &[2, 0x80, 1, 0xE0])])
        }),
        steps("says-500-fps.mkv", "h264", &["lying header"], |studio, film, out| {
            let whole = coded(studio, film, "says-whole.mkv", X264)?;
            // DefaultDuration (RFC 9559, 5.1.4.1.13), nanoseconds: 40 ms become 2.
            let mut bytes = std::fs::read(whole)?;
            let at = bytes.windows(4).position(|w| w == [0x23, 0xE3, 0x83, 0x84]).map_or(0, |at| at + 4);
            anyhow::ensure!(bytes.get(at..at + 4) == Some(&40_000_000u32.to_be_bytes()[..]), "no frame duration");
            bytes[at..at + 4].copy_from_slice(&2_000_000u32.to_be_bytes());
            Ok(std::fs::write(out, bytes)?)
        })
        .coarse(),
    ]
}

fn coded(studio: &Studio, film: &str, name: &str, coding: &str) -> Result<String> {
    let out = studio.file(name);
    ffmpeg(&[&["-i", film], &words(coding)[..], &[&out]].concat())?;
    Ok(out)
}

/// Picture of the first input, sound of the second.
fn shifted<const N: usize>(inputs: [&str; N], coding: &str, out: &str) -> Result<()> {
    ffmpeg(&[&inputs[..], &["-map", "0:v", "-map", "1:a"], &words(coding), &[out]].concat())
}

/// Two halves, each with a clock of its own.
fn jump(studio: &Studio, film: &str, clocks: [&str; 2], out: &str) -> Result<()> {
    let mut bytes = Vec::new();
    for (half, clock) in [["-t", "1.52"], ["-ss", "1.52"]].into_iter().zip(clocks) {
        let part = studio.file(&format!("half{clock}.ts"));
        ffmpeg(&[&half[..], &["-i", film], &words(X264), &["-output_ts_offset", clock, &part]].concat())?;
        bytes.extend(std::fs::read(part)?);
    }
    Ok(std::fs::write(out, bytes)?)
}

/// What is left if a sixth is missing in front: less than the first group.
fn from_the_middle(studio: &Studio, film: &str, name: &str, coding: &str, out: &str) -> Result<()> {
    let whole = std::fs::read(coded(studio, film, name, coding)?)?;
    Ok(std::fs::write(out, &whole[whole.len() / 6..])?)
}

fn cover(studio: &Studio) -> Result<String> {
    let cover = studio.file("cover.png");
    ffmpeg(&["-f", "lavfi", "-i", "color=red:size=64x64", "-frames:v", "1", "-update", "1", &cover])?;
    Ok(cover)
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

fn lying(studio: &Studio, film: &str, out: &str, lies: &[(&[u8; 4], usize, &[u8])]) -> Result<()> {
    let mut bytes = std::fs::read(coded(studio, film, "lying-whole.mp4", X264)?)?;
    for (kind, at, value) in lies {
        bytes = hostile::set(&bytes, kind, *at, value)?;
    }
    Ok(std::fs::write(out, bytes)?)
}
