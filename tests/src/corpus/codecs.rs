//! Codecs of editing rooms, screens and old players, each in a container that is usual for it.

use super::{Film, Recipe, USUAL};

pub fn recipes() -> Vec<Recipe> {
    let new = Recipe::new;
    vec![
        new("prores.mov", "prores", &["ProRes"], "-c:v prores_ks -profile:v 2 -pix_fmt yuv422p10le -c:a pcm_s16le"),
        new("prores-alpha.mov", "prores", &["ProRes", "4:4:4"], "-c:v prores_ks -profile:v 4444 -pix_fmt yuva444p10le -c:a pcm_s24le"),
        new("mjpeg.mov", "mjpeg", &["MJPEG"], "-c:v mjpeg -pix_fmt yuvj422p -c:a pcm_s16le"),
        new("mjpeg.mkv", "mjpeg", &["MJPEG"], "-c:v mjpeg -pix_fmt yuvj420p -c:a flac").coarse(),
        new("dnxhr.mov", "dnxhd", &["DNxHR", "10-bit"], "-c:v dnxhd -profile:v dnxhr_hqx -pix_fmt yuv422p10le -c:a pcm_s16le").of(Film {
            width: 256,
            height: 144,
            ..USUAL
        }),
        new("cineform.mov", "cfhd", &["CineForm"], "-c:v cfhd -pix_fmt yuv422p10le -c:a pcm_s16le"),
        new("png.mov", "png", &["PNG"], "-c:v png -pix_fmt rgb24 -c:a pcm_s16le"),
        new("animation.mov", "qtrle", &["Animation"], "-c:v qtrle -pix_fmt rgb24 -c:a pcm_s16le"),
        new("jpeg2000.mov", "jpeg2000", &["JPEG 2000"], "-c:v jpeg2000 -pix_fmt yuv422p -c:a pcm_s16le"),
        new("v210.mov", "v210", &["raw pictures", "10-bit", "4:2:2"], "-c:v v210 -c:a pcm_s16le"),
        new("sorenson.mov", "svq1", &["Sorenson"], "-c:v svq1 -pix_fmt yuv410p -c:a adpcm_ima_qt"),
        new("ffv1.mkv", "ffv1", &["FFV1"], "-c:v ffv1 -g 25 -pix_fmt yuv444p -c:a flac").coarse(),
        new("mpeg2.mov", "mpeg2video", &["MPEG-2"], "-c:v mpeg2video -g 12 -bf 2 -pix_fmt yuv420p -c:a pcm_s16le"),
        new("mpeg4.mp4", "mpeg4", &["MPEG-4"], "-c:v mpeg4 -g 25 -bf 2 -pix_fmt yuv420p -c:a libmp3lame"),
        new("mpeg4.mkv", "mpeg4", &["MPEG-4"], "-c:v mpeg4 -g 25 -bf 2 -pix_fmt yuv420p -c:a ac3").coarse(),
        new("vvc.mp4", "vvc", &["VVC"], "-c:v libvvenc -preset faster -pix_fmt yuv420p10le -c:a aac").refused("lead its first keyframe"),
        new("utvideo.avi", "utvideo", &["Ut Video"], "-c:v utvideo -pix_fmt yuv422p -c:a pcm_s16le"),
        // Sound of discs and phones.
        new("dts.mkv", "h264", &["DTS"], "-c:v libx264 -g 25 -bf 2 -pix_fmt yuv420p -c:a dca -strict -2").coarse(),
        new("dts.ts", "h264", &["DTS", "MPEG-TS"], "-c:v libx264 -g 25 -bf 2 -pix_fmt yuv420p -c:a dca -strict -2"),
        new("truehd.mkv", "h264", &["TrueHD"], "-c:v libx264 -g 25 -bf 2 -pix_fmt yuv420p -c:a truehd -strict -2").coarse(),
        new("eac3.ts", "h264", &["E-AC-3", "MPEG-TS"], "-c:v libx264 -g 25 -bf 2 -pix_fmt yuv420p -c:a eac3"),
        new("eac3.mp4", "h264", &["E-AC-3"], "-c:v libx264 -g 25 -bf 2 -pix_fmt yuv420p -c:a eac3"),
        new("alac.mov", "h264", &["ALAC"], "-c:v libx264 -g 25 -bf 2 -pix_fmt yuv420p -c:a alac"),
        new("screen.mkv", "flashsv", &["screen"], "-c:v flashsv -pix_fmt bgr24 -c:a libmp3lame").coarse(),
    ]
}
