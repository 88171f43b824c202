//! Every container that is taken, each with codecs that are common in it.

use super::{Film, Recipe, USUAL};

/// PAL, which DV, GXF and D-10 ask for.
pub const PAL: Film = Film { width: 720, height: 576, ..USUAL };
/// The other DV, whose colours are a quarter as wide as its picture.
const NTSC: Film = Film { width: 720, height: 480, rate: (30_000, 1_001), frames: 60 };
/// What H.263 takes.
const CIF: Film = Film { width: 176, height: 144, ..USUAL };

pub fn recipes() -> Vec<Recipe> {
    let mut all = iso();
    all.extend(matroska());
    all.extend(mpeg());
    all.extend(old());
    all.extend(broadcast());
    all
}

fn iso() -> Vec<Recipe> {
    let new = Recipe::new;
    vec![
        new("index-in-front.mp4", "h264", &["MP4", "H.264"], "-c:v libx264 -g 25 -bf 2 -pix_fmt yuv420p -c:a aac -movflags +faststart"),
        new("index-behind.mov", "h264", &["MOV"], "-c:v libx264 -g 25 -bf 2 -pix_fmt yuv420p -c:a aac"),
        new(
            "fragments.mp4",
            "h264",
            &["fragmented MP4"],
            "-c:v libx264 -g 25 -bf 2 -pix_fmt yuv420p -c:a aac -movflags +frag_keyframe+empty_moov+default_base_moof",
        ),
        new(
            "seven-one.mp4",
            "h264",
            &["7.1"],
            "-c:v libx264 -g 25 -bf 2 -pix_fmt yuv420p -af pan=7.1|FL=FL|FR=FR|FC=0*FL|LFE=0*FL|BL=FL|BR=FR|SL=FL|SR=FR -c:a aac -b:a 512k",
        ),
        new("phone.3gp", "h263", &["3GP", "H.263"], "-c:v h263 -c:a aac").of(CIF),
        new("phone.3g2", "mpeg4", &["3G2", "MPEG-4"], "-c:v mpeg4 -pix_fmt yuv420p -c:a aac"),
    ]
}

fn matroska() -> Vec<Recipe> {
    let new = Recipe::new;
    vec![
        new("film.mkv", "h264", &["Matroska"], "-c:v libx264 -g 25 -bf 2 -pix_fmt yuv420p -c:a aac").coarse(),
        new("live.mkv", "h264", &["live Matroska"], "-c:v libx264 -g 25 -bf 2 -pix_fmt yuv420p -c:a aac -f matroska -live 1").coarse(),
        new("film.webm", "vp8", &["WebM", "VP8"], "-c:v libvpx -deadline realtime -g 25 -pix_fmt yuv420p -c:a libvorbis").coarse(),
        new(
            "altref.webm",
            "vp9",
            &["VP9"],
            "-c:v libvpx-vp9 -cpu-used 8 -auto-alt-ref 1 -lag-in-frames 16 -g 30 -pix_fmt yuv420p -c:a libopus",
        )
        .coarse(),
        new("film-av1.webm", "av1", &["AV1"], "-c:v libsvtav1 -preset 12 -g 25 -svtav1-params lp=1 -pix_fmt yuv420p -c:a libopus").coarse(),
        new("film-av1.mp4", "av1", &["AV1"], "-c:v libsvtav1 -preset 12 -g 25 -svtav1-params lp=1 -pix_fmt yuv420p -c:a aac"),
        new("film-vp9.mp4", "vp9", &["VP9"], "-c:v libvpx-vp9 -cpu-used 8 -deadline realtime -g 30 -pix_fmt yuv420p -c:a libopus"),
        new("theora.ogv", "theora", &["Ogg", "Theora"], "-c:v libtheora -g 25 -pix_fmt yuv420p -c:a libvorbis").slow_to_sound(),
        new("vp8.ogg", "vp8", &["Ogg", "VP8"], "-c:v libvpx -deadline realtime -g 25 -pix_fmt yuv420p -c:a libvorbis").slow_to_sound(),
    ]
}

fn mpeg() -> Vec<Recipe> {
    let new = Recipe::new;
    vec![
        new("film.ts", "h264", &["MPEG-TS"], "-c:v libx264 -g 25 -bf 2 -pix_fmt yuv420p -c:a aac"),
        new("camera.m2ts", "h264", &["M2TS"], "-c:v libx264 -g 25 -bf 2 -pix_fmt yuv420p -c:a ac3 -f mpegts -mpegts_m2ts_mode 1"),
        new(
            "film-hevc.ts",
            "hevc",
            &["MPEG-TS", "HEVC"],
            "-c:v libx265 -preset ultrafast -x265-params keyint=25:bframes=3:log-level=error:pools=none -pix_fmt yuv420p -c:a mp2",
        ),
        new("film-mpeg2.ts", "mpeg2video", &["MPEG-TS", "MPEG-2"], "-c:v mpeg2video -g 12 -bf 2 -pix_fmt yuv420p -c:a mp2"),
        // Sound that a copy cannot hold as it is: of Blu-rays and of broadcasts.
        new("lpcm.m2ts", "h264", &["M2TS"], "-c:v libx264 -g 25 -bf 2 -pix_fmt yuv420p -c:a pcm_bluray -f mpegts -mpegts_m2ts_mode 1"),
        new("latm.ts", "h264", &["MPEG-TS"], "-c:v libx264 -g 25 -bf 2 -pix_fmt yuv420p -c:a aac -f mpegts -mpegts_flags +latm"),
        new("film.mpg", "mpeg1video", &["MPEG-PS", "MPEG-1"], "-c:v mpeg1video -g 12 -bf 2 -pix_fmt yuv420p -c:a mp2 -f mpeg"),
        new("dvd.vob", "mpeg2video", &["VOB", "MPEG-2"], "-c:v mpeg2video -g 12 -bf 2 -pix_fmt yuv420p -c:a ac3 -f vob"),
        new("film-h264.mpg", "h264", &["MPEG-PS"], "-c:v libx264 -g 25 -bf 2 -pix_fmt yuv420p -c:a mp2 -f vob").refused("have no times"),
    ]
}

/// What `libxvid` under ffmpeg makes of a film with B-pictures: the places of three stay empty behind the first, and at the end two are
/// never coded.
fn packed() -> Vec<(u32, f64)> {
    let last = USUAL.frames - 1;
    let late = |number| (number, USUAL.time(if number == 0 { 0 } else { number + 3 }));
    (0..last - 2).map(late).chain([(last, USUAL.time(last + 1))]).collect()
}

fn old() -> Vec<Recipe> {
    let new = Recipe::new;
    vec![
        new(
            "divx.avi",
            "mpeg4",
            &["AVI", "AVI without PTS", "MPEG-4"],
            "-c:v mpeg4 -bf 2 -g 25 -pix_fmt yuv420p -vtag DX50 -c:a libmp3lame",
        ),
        new("xvid.avi", "mpeg4", &["AVI"], "-c:v libxvid -g 25 -pix_fmt yuv420p -c:a libmp3lame").with_a_gap(),
        // As the AVIs of its time are: two pictures in one packet, and an empty one behind.
        Recipe {
            shown: packed(),
            readable: false,
            // The first picture is shown when the decoder has the second.
            lead: USUAL.time(4) + 0.001,
            ..new("packed.avi", "mpeg4", &["AVI", "AVI without PTS"], "-c:v libxvid -bf 2 -g 25 -pix_fmt yuv420p -c:a libmp3lame").silent()
        },
        new("h264.avi", "h264", &["AVI"], "-c:v libx264 -g 25 -bf 0 -pix_fmt yuv420p -c:a libmp3lame").with_a_gap(),
        new("h264-b.avi", "h264", &["AVI", "AVI without PTS"], "-c:v libx264 -g 25 -bf 2 -pix_fmt yuv420p -c:a libmp3lame"),
        new(
            "h264-pyramid.avi",
            "h264",
            &["AVI", "AVI without PTS"],
            "-c:v libx264 -bf 5 -x264-params keyint=25:b-pyramid=normal:b-adapt=0:open-gop=1 -pix_fmt yuv420p -c:a libmp3lame",
        ),
        new(
            "hevc.avi",
            "hevc",
            &["AVI", "AVI without PTS", "HEVC"],
            "-c:v libx265 -preset ultrafast -x265-params keyint=25:bframes=3:log-level=error:pools=none -pix_fmt yuv420p -vtag HEVC -c:a libmp3lame",
        ),
        new("msmpeg4.avi", "msmpeg4v3", &["AVI"], "-c:v msmpeg4 -g 25 -pix_fmt yuv420p -c:a pcm_s16le"),
        new("mjpeg.avi", "mjpeg", &["AVI", "MJPEG"], "-c:v mjpeg -pix_fmt yuvj420p -c:a pcm_s16le"),
        new("huffyuv.avi", "huffyuv", &["AVI", "HuffYUV"], "-c:v huffyuv -pix_fmt yuv422p -c:a pcm_s16le"),
        new("raw.avi", "rawvideo", &["AVI", "raw pictures"], "-c:v rawvideo -pix_fmt yuv420p -c:a pcm_s16le"),
        new("film.flv", "h264", &["FLV"], "-c:v libx264 -g 25 -bf 2 -pix_fmt yuv420p -c:a aac").coarse(),
        new("sorenson.flv", "flv1", &["FLV", "Sorenson"], "-c:v flv -g 25 -pix_fmt yuv420p -c:a libmp3lame -ar 44100").coarse(),
        new("film.wmv", "wmv2", &["ASF", "WMV"], "-c:v wmv2 -g 25 -pix_fmt yuv420p -c:a wmav2").coarse().slow_to_sound(),
        new("h264.asf", "h264", &["ASF"], "-c:v libx264 -g 25 -bf 2 -pix_fmt yuv420p -c:a aac").coarse(),
    ]
}

fn broadcast() -> Vec<Recipe> {
    let new = Recipe::new;
    vec![
        new("film.mxf", "mpeg2video", &["MXF", "MPEG-2"], "-c:v mpeg2video -g 12 -bf 2 -pix_fmt yuv420p -c:a pcm_s16le"),
        Recipe { readable: false, ..new("h264.mxf", "h264", &["MXF"], "-c:v libx264 -g 25 -bf 2 -pix_fmt yuv420p -c:a pcm_s16le") },
        new("intra-h264.mxf", "h264", &["MXF"], "-c:v libx264 -g 1 -pix_fmt yuv422p10le -c:a pcm_s16le"),
        new("dnxhr.mxf", "dnxhd", &["MXF", "DNxHR"], "-c:v dnxhd -profile:v dnxhr_sq -pix_fmt yuv422p -c:a pcm_s16le").of(Film {
            width: 256,
            height: 144,
            ..USUAL
        }),
        new("prores.mxf", "prores", &["MXF", "ProRes"], "-c:v prores_ks -pix_fmt yuv422p10le -c:a pcm_s16le"),
        Recipe {
            readable: false,
            ..new("film.gxf", "mpeg2video", &["GXF", "MPEG-2"], "-c:v mpeg2video -g 12 -bf 2 -pix_fmt yuv420p -c:a pcm_s16le -ac 1").of(PAL)
        },
        new("tape-ntsc.dv", "dvvideo", &["DV", "NTSC rates"], "-c:v dvvideo -pix_fmt yuv411p -c:a pcm_s16le -ac 2").of(NTSC),
        new("tape-ntsc.avi", "dvvideo", &["AVI", "DV", "NTSC rates"], "-c:v dvvideo -pix_fmt yuv411p -c:a pcm_s16le").of(NTSC),
        new("tape-ntsc.mov", "dvvideo", &["MOV", "DV", "NTSC rates"], "-c:v dvvideo -pix_fmt yuv411p -c:a pcm_s16le").of(NTSC),
        new("tape.dv", "dvvideo", &["DV"], "-c:v dvvideo -pix_fmt yuv420p -c:a pcm_s16le -ac 2").of(PAL),
        new("tape.avi", "dvvideo", &["AVI", "DV"], "-c:v dvvideo -pix_fmt yuv420p -c:a pcm_s16le").of(PAL),
        new("tape.mov", "dvvideo", &["MOV", "DV"], "-c:v dvvideo -pix_fmt yuv420p -c:a pcm_s16le").of(PAL),
    ]
}
