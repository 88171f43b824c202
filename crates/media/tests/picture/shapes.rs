//! Size, shape and direction of pictures.

use std::path::PathBuf;

use crate::support::Lab;

/// A film whose left top quarter is white, right top grey, the rest black; `args` before the output.
fn corner(lab: &Lab, size: &str, args: &[&str]) -> PathBuf {
    let graph = format!("color=black:s={size}:r=24,drawbox=0:0:iw/2:ih/2:white:fill,drawbox=iw/2:0:iw/2:ih/2:gray:fill,format=yuv420p");
    let mut command = vec!["-f", "lavfi", "-i", &graph, "-t", "0.5", "-c:v", "libx264", "-preset", "veryfast", "-qp", "5"];
    command.extend(args);
    command.push("flat.mp4");
    lab.ffmpeg(&command);
    lab.path("flat.mp4")
}

/// Luma in the middle of each quarter of the first picture: left top, right top, left bottom, right bottom.
async fn quarters(lab: &Lab, out: &std::path::Path) -> [char; 4] {
    let track = &lab.probe(out).await.video[0];
    assert_eq!((track.rotation, track.sample_aspect), (0, (1, 1)));
    let raw = lab.raw(out, "null", "gray");
    let (width, height) = (track.width as usize, track.height as usize);
    [(1, 1), (3, 1), (1, 3), (3, 3)].map(|(x, y)| match raw[height * y / 4 * width + width * x / 4] {
        200.. => 'W',
        80..200 => 'g',
        _ => '.',
    })
}

#[tokio::test]
async fn every_rotation_and_flip_is_done_once() {
    // Degrees clockwise as ffmpeg's option has them, with and without a flip; what must be seen.
    let cases: [(&[&str], &str, (u32, u32)); 6] = [
        (&["-display_rotation", "0"], "Wg..", (320, 180)),
        (&["-display_rotation", "90"], "g.W.", (180, 320)),
        (&["-display_rotation", "180"], "..gW", (320, 180)),
        (&["-display_rotation", "270"], ".W.g", (180, 320)),
        (&["-display_hflip"], "gW..", (320, 180)),
        (&["-display_vflip"], "..Wg", (320, 180)),
    ];
    for (option, seen, size) in cases {
        let lab = Lab::exact(180);
        corner(&lab, "320x180", &[]);
        lab.ffmpeg(&[option, &["-i", "flat.mp4", "-c", "copy", "in.mp4"]].concat());
        let (plan, out) = lab.pictures(&lab.path("in.mp4")).await;
        let rendition = &plan.video.as_ref().unwrap().renditions[0];
        assert_eq!((rendition.width, rendition.height), size, "{option:?}");
        assert_eq!(quarters(&lab, &out).await.iter().collect::<String>(), seen, "{option:?}");
    }
}

#[tokio::test]
async fn what_a_container_cuts_off_is_not_shown_and_stretches_nothing() {
    let lab = Lab::exact(240);
    // White above and below, and the corners in between.
    let graph = "color=white:s=320x240:r=24,drawbox=0:60:320:120:black:fill,drawbox=0:60:160:60:white:fill,\
                 drawbox=160:60:160:60:gray:fill,format=yuv420p";
    lab.ffmpeg(&["-f", "lavfi", "-i", graph, "-t", "0.5", "-c:v", "libx264", "-preset", "veryfast", "-qp", "5", "flat.mp4"]);
    lab.cut("flat.mp4", "clap.mp4", (320, 120));
    lab.ffmpeg(&["-i", "clap.mp4", "-c", "copy", "clap.mkv"]);
    lab.ffmpeg(&["-display_rotation", "90", "-i", "clap.mp4", "-c", "copy", "turned.mkv"]);
    for (name, size, seen) in [("clap.mp4", (320, 120), "Wg.."), ("clap.mkv", (320, 120), "Wg.."), ("turned.mkv", (120, 320), "g.W.")] {
        let (plan, out) = lab.pictures(&lab.path(name)).await;
        let rendition = &plan.video.as_ref().unwrap().renditions[0];
        assert_eq!((rendition.width, rendition.height), size, "{name}");
        assert_eq!(quarters(&lab, &out).await.iter().collect::<String>(), seen, "{name}");
    }
    // A copy that a job makes first says the same.
    lab.ffmpeg(&["-i", "clap.mp4", "-c", "copy", "-movflags", "+frag_keyframe+empty_moov", "parts.mp4"]);
    let fragmented = lab.probe(&lab.path("parts.mp4")).await;
    assert_eq!((fragmented.video[0].width, fragmented.video[0].height), (320, 120));
}

#[tokio::test]
async fn odd_tiny_and_stretched_pictures() {
    // Size and sample aspect of the source; size of the largest rendition.
    let cases = [
        ("321x181", "1/1", (322, 182)),
        ("2x2", "1/1", (2, 2)),
        ("16x16", "1/1", (16, 16)),
        ("5x9", "1/1", (6, 10)),
        ("720x576", "64/45", (1024, 576)),
        ("1440x1080", "4/3", (1920, 1080)),
        ("180x320", "1/2", (180, 640)),
    ];
    for (size, aspect, wanted) in cases {
        let lab = Lab::exact(1080);
        let film = if size.contains(['1', '3', '5']) && size.split('x').any(|side| side.ends_with(['1', '3', '5', '7', '9'])) {
            // Odd sizes exist in 4:4:4 only.
            let graph = format!("testsrc2=s={size}:r=24,format=yuv444p,setsar={aspect}");
            lab.ffmpeg(&["-f", "lavfi", "-i", &graph, "-t", "0.5", "-c:v", "libx264", "-qp", "5", "flat.mp4"]);
            lab.path("flat.mp4")
        } else {
            corner(&lab, size, &["-vf", &format!("setsar={aspect}")])
        };
        let (plan, out) = lab.pictures(&film).await;
        let rendition = &plan.video.as_ref().unwrap().renditions[0];
        assert_eq!((rendition.width, rendition.height), wanted, "{size} {aspect}");
        let made = &lab.probe(&out).await.video[0];
        assert_eq!((made.width, made.height, made.sample_aspect), (wanted.0, wanted.1, (1, 1)), "{size} {aspect}");
        if aspect != "1/1" {
            assert_eq!(quarters(&lab, &out).await.iter().collect::<String>(), "Wg..", "{size} {aspect}");
        }
    }
}
