//! Shapes, directions, fields, depths and colours of pictures.

use anyhow::{Context, Result};

use super::{Film, Recipe, Studio, USUAL, View, containers::PAL, paff, telecine};
use crate::clips::ffmpeg;

/// Twice as many pictures: two fields make one.
const FIELDS: Film = Film { rate: (50, 1), frames: 150, ..USUAL };

/// As films are before they come on a disc.
const CINEMA: Film = Film { rate: (24_000, 1001), frames: 72, ..USUAL };

const WIDE: Film = Film { width: 320, height: 180, ..USUAL };
const EIGHT_K: &str = "-frames:v 4 -an -vf scale=7680:4320:out_color_matrix=bt709 -colorspace bt709 -color_primaries bt709 -color_trc bt709 -c:v libx264 -preset ultrafast -qp 20 -pix_fmt yuv420p";

pub fn recipes() -> Vec<Recipe> {
    let mut all = shapes();
    all.extend(fields());
    all.extend(colors());
    all
}

fn shapes() -> Vec<Recipe> {
    let (new, steps) = (Recipe::new, Recipe::steps);
    let view = |undo| View { track: "0:v:0", undo, woven: false, sound: true };
    vec![
        Recipe { view: view("transpose=clock,"), ..steps("turned-left.mp4", "h264", &["rotation"], |s, f, o| turned(s, f, "90", o)) }
            .shaped(3, 4),
        // By way of a copy.
        Recipe {
            view: view("transpose=clock,"),
            ..steps("turned-fragments.mp4", "h264", &["rotation", "fragmented MP4"], turned_fragments)
        }
        .shaped(3, 4),
        Recipe { view: view("transpose=cclock,"), ..steps("turned-right.mp4", "h264", &["rotation"], |s, f, o| turned(s, f, "270", o)) }
            .shaped(3, 4),
        Recipe { view: view("hflip,vflip,"), ..steps("upside-down.mov", "h264", &["rotation"], |s, f, o| turned(s, f, "180", o)) },
        new("anamorphic.mp4", "h264", &["sample aspect"], "-vf setsar=64/45 -c:v libx264 -g 25 -pix_fmt yuv420p -c:a aac").shaped(256, 135),
        new("anamorphic.ts", "h264", &["sample aspect", "MPEG-TS"], "-vf setsar=64/45 -c:v libx264 -g 25 -pix_fmt yuv420p -c:a aac")
            .shaped(256, 135),
        new("widescreen.vob", "mpeg2video", &["sample aspect"], "-aspect 16:9 -c:v mpeg2video -g 12 -pix_fmt yuv420p -c:a ac3 -f vob")
            .shaped(16, 9),
        new("odd.mp4", "h264", &["odd size", "4:4:4"], "-c:v libx264 -g 25 -bf 2 -pix_fmt yuv444p -c:a aac").of(Film {
            width: 161,
            height: 121,
            ..USUAL
        }),
        new("odd.mkv", "vp9", &["odd size"], "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 30 -pix_fmt yuv420p -c:a libopus")
            .of(Film { width: 163, height: 119, ..USUAL })
            .coarse(),
        new("tall.mp4", "h264", &["portrait"], "-c:v libx264 -g 25 -bf 2 -pix_fmt yuv420p -c:a aac").of(Film {
            width: 120,
            height: 160,
            ..USUAL
        }),
        // Few, since each is as large as 576 of its film's.
        Recipe { shown: WIDE.all().into_iter().take(4).collect(), ..new("8k.mp4", "h264", &["8K"], EIGHT_K).of(WIDE).silent() },
        new("tiny.mp4", "h264", &["tiny"], "-c:v libx264 -g 25 -bf 2 -pix_fmt yuv420p -qp 8 -c:a aac").of(Film {
            width: 40,
            height: 30,
            ..USUAL
        }),
    ]
}

/// Pictures woven of two fields: the first field's number is the picture's.
fn fields() -> Vec<Recipe> {
    let woven = |recipe: Recipe| {
        let shown = FIELDS.all().into_iter().filter(|(number, _)| number % 2 == 0).collect();
        Recipe { shown, view: View { track: "0:v:0", undo: "", woven: true, sound: true }, ..recipe.of(FIELDS) }
    };
    vec![
        woven(Recipe::new(
            "fields.ts",
            "mpeg2video",
            &["interlaced", "MPEG-TS"],
            "-vf tinterlace=interleave_top,setfield=tff -flags +ildct+ilme -c:v mpeg2video -b:v 4M -g 12 -bf 2 -pix_fmt yuv420p -c:a mp2",
        )),
        woven(Recipe::new(
            "fields.mp4",
            "h264",
            &["interlaced"],
            "-vf tinterlace=interleave_top,setfield=tff -flags +ildct+ilme -c:v libx264 -x264-params tff=1 -g 25 -bf 2 -pix_fmt yuv420p -c:a aac",
        )),
        woven(Recipe::steps("broadcast-fields.ts", "h264", &["interlaced", "MPEG-TS", "fields apart"], |studio, film, out| {
            fields_apart(studio, film, out).map(|_| ())
        })),
        woven(Recipe::steps("camcorder.m2ts", "h264", &["interlaced", "M2TS", "fields apart"], |studio, film, out| {
            let broadcast = studio.file("camera.ts");
            let packets = fields_apart(studio, film, &broadcast)?;
            Ok(std::fs::write(out, paff::as_camera(&std::fs::read(broadcast)?, &packets))?)
        })),
        woven(Recipe::steps("fields-apart.mp4", "h264", &["interlaced", "fields apart"], |studio, film, out| {
            let broadcast = studio.file("copied.ts");
            fields_apart(studio, film, &broadcast)?;
            ffmpeg(&["-i", &broadcast, "-c", "copy", out])
        })),
        woven(Recipe::steps("fields-apart.mkv", "h264", &["interlaced", "fields apart"], |studio, film, out| {
            let broadcast = studio.file("copied-to.ts");
            fields_apart(studio, film, &broadcast)?;
            ffmpeg(&["-i", &broadcast, "-c", "copy", out])
        }))
        .coarse(),
        pulled_down("disc-24.vob", &["soft telecine", "VOB"]),
        pulled_down("disc-24.ts", &["soft telecine", "MPEG-TS"]),
        Recipe::new("tape-fields.mov", "dvvideo", &["interlaced", "DV"], "-flags +ildct -c:v dvvideo -pix_fmt yuv420p -c:a pcm_s16le")
            .of(PAL),
    ]
}

fn colors() -> Vec<Recipe> {
    let (new, steps) = (Recipe::new, Recipe::steps);
    let dark = |recipe: Recipe| Recipe { alike: false, ..recipe };
    vec![
        dark(
            new(
                "hdr10.mkv",
                "hevc",
                &["HDR10", "10-bit"],
                "-vf setparams=range=tv:color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc -c:v libx265 -preset ultrafast -pix_fmt yuv420p10le \
                 -x265-params keyint=25:log-level=error:pools=none:hdr10=1:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):max-cll=1000,400 -c:a aac",
            )
            .coarse(),
        ),
        dark(new(
            "hlg.mp4",
            "hevc",
            &["HLG", "10-bit"],
            "-vf setparams=range=tv:color_primaries=bt2020:color_trc=arib-std-b67:colorspace=bt2020nc -c:v libx265 -preset ultrafast -pix_fmt yuv420p10le \
             -x265-params keyint=25:log-level=error:pools=none -tag:v hvc1 -c:a aac",
        )),
        // A broadcast's: what it is stands in the stream alone.
        dark(new(
            "hlg.ts",
            "hevc",
            &["HLG", "10-bit", "MPEG-TS"],
            "-vf setparams=range=tv:color_primaries=bt2020:color_trc=arib-std-b67:colorspace=bt2020nc -c:v libx265 -preset ultrafast -pix_fmt yuv420p10le \
             -x265-params keyint=25:log-level=error:pools=none -c:a aac",
        )),
        dark(steps("dolby-vision.mp4", "hevc", &["Dolby Vision", "10-bit"], dolby)),
        new("ten-bit.mkv", "h264", &["10-bit"], "-c:v libx264 -g 25 -bf 2 -pix_fmt yuv420p10le -c:a aac").coarse(),
        new("high-422.mp4", "h264", &["4:2:2"], "-c:v libx264 -g 25 -bf 2 -pix_fmt yuv422p -c:a aac"),
        new("high-444.mkv", "h264", &["4:4:4"], "-c:v libx264 -g 25 -bf 2 -pix_fmt yuv444p -c:a flac").coarse(),
        new("twelve-bit.mkv", "hevc", &["12-bit"], "-c:v libx265 -preset ultrafast -x265-params keyint=25:log-level=error:pools=none -pix_fmt yuv444p12le -c:a aac").coarse(),
        new("full-range.mp4", "h264", &["full range"], "-vf scale=out_range=pc -color_range pc -c:v libx264 -g 25 -bf 2 -pix_fmt yuvj420p -c:a aac"),
        new("rgb.mkv", "h264", &["RGB"], "-c:v libx264rgb -g 25 -pix_fmt rgb24 -c:a aac").coarse(),
        new("grey.mkv", "ffv1", &["grey"], "-c:v ffv1 -g 25 -pix_fmt gray -c:a flac").coarse(),
        new("see-through.webm", "vp8", &["alpha"], "-c:v libvpx -deadline realtime -auto-alt-ref 0 -g 25 -pix_fmt yuva420p -c:a libvorbis").coarse(),
    ]
}

/// A film with soft telecine.
fn pulled_down(name: &'static str, classes: &'static [&'static str]) -> Recipe {
    let time = |picture: u32| f64::from(telecine::fields_before(picture)) * 1001.0 / 60_000.0;
    let shown = (0..CINEMA.frames).map(|picture| (picture, time(picture))).collect();
    let recipe = Recipe::steps(name, "mpeg2video", classes, |studio, film, out| {
        let [coded, filter] = ["cinema.m2v", "cinema.times"].map(|name| studio.file(name));
        let coding = ["-c:v", "mpeg2video", "-flags", "+ildct", "-g", "12", "-bf", "2", "-pix_fmt", "yuv420p", "-b:v", "2M"];
        ffmpeg(&[&["-i", film, "-an"][..], &coding, &["-f", "mpeg2video", &coded]].concat())?;
        let mut stream = std::fs::read(&coded)?;
        let packets = telecine::flag(&mut stream);
        std::fs::write(&coded, stream)?;
        // A field in ffmpeg's 1,200,000ths of a second.
        let ticks = |picture: u32| i64::from(telecine::fields_before(picture)) * 20_020;
        let shown: Vec<i64> = packets.iter().map(|picture| ticks(*picture)).collect();
        let decoded: Vec<i64> = (0..CINEMA.frames).map(|place| if place == 0 { -3 * 20_020 } else { ticks(place - 1) }).collect();
        std::fs::write(&filter, format!("setts=pts='{}':dts='{}'", by_number(&shown, 0), by_number(&decoded, 0)))?;
        let inputs = ["-i", film, "-f", "mpegvideo", "-i", &coded, "-map", "1:v", "-map", "0:a", "-c:v", "copy", "-/bsf:v", &filter];
        ffmpeg(&[&inputs[..], &["-c:a", "ac3", out]].concat())
    });
    Recipe { shown, ..recipe.of(CINEMA) }
}

/// A transport stream in which most pictures are two packets, each with its time. Its packets of pictures.
fn fields_apart(studio: &Studio, film: &str, out: &str) -> Result<Vec<paff::Packet>> {
    let [raw, coded, filter] = ["woven.yuv", "woven.h264", "woven.times"].map(|name| studio.file(name));
    ffmpeg(&["-i", film, "-an", "-vf", "tinterlace=interleave_top,format=yuv420p", "-f", "rawvideo", &raw])?;
    let pictures = std::fs::read(&raw)?;
    let Film { width, height, .. } = FIELDS;
    let made = paff::encode(&paff::Raw { pictures: &pictures, width: width.try_into()?, height: height.try_into()?, rate: 25 });
    std::fs::write(&coded, &made.stream)?;
    // ffmpeg counts such a stream in 1,200,000ths of a second, and has no times for its packets.
    let ticks = |fields: i64| fields * 24_000;
    let of = |time: fn(&paff::Packet) -> Result<i64>| {
        let times: Vec<i64> = made.packets.iter().map(|packet| Ok(ticks(time(packet)?))).collect::<Result<_>>()?;
        Ok::<_, anyhow::Error>(by_number(&times, 0))
    };
    let (shown, decoded) = (of(|packet| Ok(packet.shown.try_into()?))?, of(|packet| Ok(i64::try_from(packet.decoded)? - 2))?);
    std::fs::write(&filter, format!("setts=pts='{shown}':dts='{decoded}'"))?;
    let inputs = ["-i", film, "-i", &coded, "-map", "1:v", "-map", "0:a", "-c:v", "copy", "-/bsf:v", &filter];
    ffmpeg(&[&inputs[..], &["-c:a", "aac", out]].concat())?;
    Ok(made.packets)
}

/// An expression for the times of packets by their number, the first of which is `from`.
fn by_number(times: &[i64], from: usize) -> String {
    match times {
        [] => "0".to_owned(),
        [time] => time.to_string(),
        _ => {
            let (left, right) = times.split_at(times.len() / 2);
            let middle = from + left.len();
            format!("if(lt(N,{middle}),{},{})", by_number(left, from), by_number(right, middle))
        }
    }
}

/// The film as a phone that is held that way writes it.
fn turned(studio: &Studio, film: &str, degrees: &str, out: &str) -> Result<()> {
    let flat = studio.file(&format!("flat-{degrees}.mp4"));
    ffmpeg(&["-i", film, "-c:v", "libx264", "-g", "25", "-bf", "2", "-pix_fmt", "yuv420p", "-c:a", "aac", &flat])?;
    ffmpeg(&["-display_rotation", degrees, "-i", &flat, "-c", "copy", out])
}

fn turned_fragments(studio: &Studio, film: &str, out: &str) -> Result<()> {
    let whole = studio.file("turned-whole.mp4");
    turned(studio, film, "90", &whole)?;
    ffmpeg(&["-i", &whole, "-c", "copy", "-movflags", "+frag_keyframe+empty_moov", out])
}

/// HLG with the record of Dolby Vision's profile 8.4 beside it: a phone's films. Who knows no Dolby Vision shows the base
/// layer. Its tables are at the end, so that no chunk offset moves.
fn dolby(studio: &Studio, film: &str, out: &str) -> Result<()> {
    let base = studio.file("base.mp4");
    let hlg = ["-vf", "setparams=range=tv:color_primaries=bt2020:color_trc=arib-std-b67:colorspace=bt2020nc"];
    let x265 = ["-x265-params", "keyint=25:log-level=error:pools=none", "-tag:v", "hvc1", "-c:a", "aac", &base];
    ffmpeg(&[&["-i", film, "-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le"][..], &hlg, &x265].concat())?;
    // Version 1.0, profile 8, level 1, RPU and base layer, compatible with HLG (Dolby Vision Streams Within the ISO Base
    // Media File Format, section 3.2).
    let record = [&[1, 0, 8 << 1, 0b0000_1101, 4 << 4][..], &[0; 19]].concat();
    let record = [&32u32.to_be_bytes()[..], b"dvvC", &record].concat();
    let mut bytes = std::fs::read(base)?;
    let (mut at, mut parents) = (0, Vec::new());
    for name in [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"hvc1", b"hvcC"] {
        at += bytes[at..].windows(4).position(|word| word == name).with_context(|| format!("no {}", name.escape_ascii()))?;
        parents.push(at - 4);
    }
    let size = |bytes: &[u8], at: usize| Ok::<_, anyhow::Error>(u32::from_be_bytes(bytes[at..at + 4].try_into()?));
    let config = parents.pop().context("a record of HEVC")?;
    let end = config + usize::try_from(size(&bytes, config)?)?;
    for parent in parents {
        let grown = size(&bytes, parent)? + u32::try_from(record.len())?;
        bytes[parent..parent + 4].copy_from_slice(&grown.to_be_bytes());
    }
    bytes.splice(end..end, record);
    Ok(std::fs::write(out, bytes)?)
}
