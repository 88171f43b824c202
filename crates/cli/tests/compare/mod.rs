//! `fanreel compare`, with the layer's own tools.

use super::{
    code,
    plan::{ffmpeg, json, with_layer},
    said,
};

#[test]
fn a_poorer_encode_is_told_by_how_much_and_where() {
    let dir = tempfile::tempdir().unwrap();
    let film = "-f lavfi -i testsrc2=s=320x180:r=24:d=3,noise=alls=10:allf=t";
    ffmpeg(dir.path(), &format!("{film} -c:v libx264 -preset ultrafast -crf 4 film.mp4"));
    ffmpeg(dir.path(), "-i film.mp4 -c:v libx264 -preset ultrafast -crf 20 good.mp4");
    // Another size, container and codec, and much worse.
    ffmpeg(dir.path(), "-i film.mp4 -vf scale=160:90 -c:v mpeg4 -q:v 20 poor.mkv");
    let against = |name: &str| json(&with_layer(dir.path(), &["compare", "film.mp4", name, "--json"]));
    let (same, good, poor) = (against("film.mp4.link.mp4"), against("good.mp4"), against("poor.mkv"));
    assert_eq!(same["exit"], 2, "there is no such file: {same}");
    let mean = |found: &serde_json::Value, metric: &str| found[metric]["mean"].as_f64().unwrap();
    for metric in ["vmaf", "ssim", "psnr"] {
        assert!(mean(&good, metric) > mean(&poor, metric) * 1.05, "{metric}: {} {}", mean(&good, metric), mean(&poor, metric));
    }
    assert_eq!((good["pictures"].as_array().unwrap().len(), good["notes"].as_array().unwrap().len()), (72, 0));
    assert!(poor["notes"].to_string().contains("320×180"), "{}", poor["notes"]);
    // The same picture by numbers of a wider range is the same; by another matrix it is said.
    let full = "scale=out_range=pc,format=yuv420p10le -color_range pc -c:v libx264 -preset ultrafast -crf 4";
    ffmpeg(dir.path(), &format!("-i film.mp4 -vf {full} full.mp4"));
    let full = against("full.mp4");
    assert!(full["notes"].as_array().unwrap().is_empty() && mean(&full, "psnr") > 45.0, "{}", full["psnr"]);
    let other = "scale=out_color_matrix=bt2020 -colorspace bt2020nc -c:v libx264 -preset ultrafast -crf 4";
    ffmpeg(dir.path(), &format!("-i film.mp4 -vf {other} other.mp4"));
    let other = against("other.mp4");
    assert!(other["notes"].to_string().contains("matrix smpte170m and bt2020nc"), "{}", other["notes"]);
    assert!(good["reference"]["bytes"].as_u64().unwrap() > good["other"]["bytes"].as_u64().unwrap());

    // The same pictures with a tag: a file that says nothing of its colours is not taken for another's.
    ffmpeg(
        dir.path(),
        "-i film.mp4 -c copy -bsf:v h264_metadata=matrix_coefficients=1:colour_primaries=1:transfer_characteristics=1 tagged.mp4",
    );
    assert!(mean(&against("tagged.mp4"), "psnr") > 59.0);

    std::fs::copy(dir.path().join("film.mp4"), dir.path().join("copy.mp4")).unwrap();
    let output = with_layer(dir.path(), &["compare", "film.mp4", "copy.mp4", "--svg", "plot.svg"]);
    assert_eq!(code(&output), 0, "{}", said(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("1.0000") && text.contains("72 pictures") && text.contains("60.00"), "{text}");
    let svg = std::fs::read_to_string(dir.path().join("plot.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && svg.contains("copy.mp4 against film.mp4"), "{svg}");
}

#[test]
fn other_pictures_are_not_compared() {
    let dir = tempfile::tempdir().unwrap();
    ffmpeg(dir.path(), "-f lavfi -i testsrc2=s=320x180:r=24:d=2 -c:v libx264 -preset ultrafast film.mp4");
    ffmpeg(dir.path(), "-i film.mp4 -frames:v 40 -c:v libx264 -preset ultrafast short.mp4");
    ffmpeg(dir.path(), "-i film.mp4 -vf select=not(eq(n\\,20)) -fps_mode passthrough -c:v libx264 -preset ultrafast lost.mp4");
    ffmpeg(dir.path(), "-i film.mp4 -vf setpts=N/25/TB -fps_mode passthrough -c:v libx264 -preset ultrafast fast.mp4");
    ffmpeg(dir.path(), "-i film.mp4 -c copy timeless.avi");
    let reasons = [
        ("short.mp4", "48 and 40 pictures"),
        ("lost.mp4", "from picture 20"),
        ("fast.mp4", "at different times: picture"),
        ("timeless.avi", "compare the MP4 that a job made of it"),
    ];
    for (file, why) in reasons {
        let output = with_layer(dir.path(), &["compare", "film.mp4", file]);
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        assert!(code(&output) == 1 && text.contains(why), "{file}: {text}{}", said(&output));
    }
    assert_eq!(code(&with_layer(dir.path(), &["compare", "film.mp4", "lost.mp4", "--svg", "none/plot.svg"])), 2);
}
