//! Interlaced films: every picture, at joins too, is the one of a single run over the whole film.

use std::path::{Path, PathBuf};

use pipeline::{
    encoder::{ChunkWork, Encoder, Progress},
    plan::Chunk,
};

use crate::support::Lab;

/// Pixels of the luma of a picture.
const LUMA: usize = 320 * 180;

/// Five seconds of 25 pictures of two fields each, top field first; `codec` makes the film of it.
fn woven(lab: &Lab, name: &str, codec: &[&str]) -> PathBuf {
    woven_as(lab, name, "tff", codec)
}

/// `scan`: which field is first.
fn woven_as(lab: &Lab, name: &str, scan: &str, codec: &[&str]) -> PathBuf {
    let scrolled = "testsrc2=s=320x180:r=50,scroll=horizontal=0.02:vertical=0.01";
    let woven = format!("interlace=scan={scan}:lowpass=0,setfield={scan}");
    let mut args = vec!["-f", "lavfi", "-i", scrolled, "-t", "5", "-vf", &woven];
    args.extend(["-pix_fmt", "yuv420p"]);
    args.extend(codec);
    args.push(name);
    lab.ffmpeg(&args);
    lab.path(name)
}

/// Pixels of the luma that are clearly others in two pictures at the same place: of the worst pair.
fn worst(a: &[u8], b: &[u8]) -> usize {
    assert_eq!(a.len(), b.len());
    let others = |(a, b): (&[u8], &[u8])| a.iter().zip(b).filter(|(a, b)| a.abs_diff(**b) > 20).count();
    a.chunks(LUMA).zip(b.chunks(LUMA)).map(others).max().unwrap_or(0)
}

async fn same_as_one_run(lab: &Lab, film: &Path) {
    let whole = lab.raw(film, "bwdif=mode=send_frame:deint=interlaced", "gray");
    assert_eq!(whole.len() % LUMA, 0);
    // Something is taken apart at all.
    assert!(worst(&lab.raw(film, "null", "gray"), &whole) > 1_000, "{} is not interlaced", film.display());
    let (plan, joined) = lab.pictures(film).await;
    assert!(plan.video.as_ref().unwrap().deinterlace && plan.chunks >= 2, "{} chunks", plan.chunks);
    assert_eq!(worst(&lab.raw(&joined, "null", "gray"), &whole), 0);
}

/// As broadcasts, discs and tapes have it: MPEG-2, and the other field first.
#[tokio::test]
async fn woven_mpeg2_and_pictures_whose_second_field_is_first() {
    let mpeg2 = ["-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-g", "12", "-bf", "2", "-b:v", "20M"];
    let h264 = ["-c:v", "libx264", "-preset", "veryfast", "-flags", "+ildct+ilme", "-x264-params", "keyint=25:bff=1"];
    for (name, scan, codec) in [("in.mkv", "tff", &mpeg2[..]), ("bottom.mkv", "bff", &mpeg2), ("bottom.mp4", "bff", &h264)] {
        let lab = Lab::exact(180);
        let film = woven_as(&lab, name, scan, codec);
        same_as_one_run(&lab, &film).await;
    }
}

#[tokio::test]
async fn woven_h264_in_mp4_and_matroska() {
    for (name, params) in [("in.mp4", "keyint=25:open-gop=0"), ("in.mkv", "keyint=25:open-gop=1:bframes=3")] {
        let lab = Lab::exact(180);
        let codec = ["-c:v", "libx264", "-preset", "veryfast", "-flags", "+ildct+ilme", "-x264-params", params];
        let film = woven(&lab, name, &codec);
        same_as_one_run(&lab, &film).await;
    }
}

/// The test above can fail: a decoder that begins at the chunk's own keyframe has no field before the first.
#[tokio::test]
async fn without_the_picture_before_a_chunk_its_first_is_another() {
    let lab = Lab::exact(180);
    let codec = ["-c:v", "libx264", "-preset", "veryfast", "-flags", "+ildct+ilme", "-g", "50", "-flags", "+cgop"];
    let film = woven(&lab, "in.mp4", &codec);
    let planned = lab.plan(&film).await;
    let chunk = &planned.chunks[1];
    let first = |seek_us: i64, name: &'static str| {
        let chunk = Chunk { seek_us: Some(seek_us), ..chunk.clone() };
        let (lab, plan, film) = (&lab, &planned.plan, &film);
        async move {
            let out = lab.fresh(name);
            let work =
                ChunkWork { plan, chunk: &chunk, source: film, out: &out, progress: &Progress::default(), careful: false, blank: false };
            let made = lab.encoder.encode_chunk(&work).await.unwrap();
            let bytes = [made[0].init.to_vec(), std::fs::read(&made[0].segments[0].path).unwrap()].concat();
            std::fs::write(out.join("chunk.mp4"), bytes).unwrap();
            lab.raw(&out.join("chunk.mp4"), "null", "gray")[..LUMA].to_vec()
        }
    };
    let planned = first(chunk.seek_us.unwrap(), "planned").await;
    let tight = first(2_000_000 + 60_000, "tight").await;
    assert!(worst(&planned, &tight) > 20, "{}", worst(&planned, &tight));
}

#[tokio::test]
async fn progressive_pictures_of_a_film_that_calls_itself_interlaced_are_left_alone() {
    let lab = Lab::exact(180);
    let source = ["-f", "lavfi", "-i", "testsrc2=s=320x180:r=25", "-t", "4", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-qp", "2"];
    lab.ffmpeg(&[&source[..], &["-field_order", "tt", "in.mov"]].concat());
    let film = lab.path("in.mov");
    let mut planned = lab.plan(&film).await;
    let video = planned.plan.video.as_mut().unwrap();
    video.deinterlace = true;
    let out = lab.fresh("out");
    let work = ChunkWork {
        plan: &planned.plan,
        chunk: &planned.chunks[0],
        source: &film,
        out: &out,
        progress: &Progress::default(),
        careful: false,
        blank: false,
    };
    let made = lab.encoder.encode_chunk(&work).await.unwrap();
    let bytes = [made[0].init.to_vec(), std::fs::read(&made[0].segments[0].path).unwrap()].concat();
    std::fs::write(out.join("chunk.mp4"), bytes).unwrap();
    let (is, was) = (lab.raw(&out.join("chunk.mp4"), "null", "gray"), lab.raw(&film, "null", "gray"));
    assert_eq!(worst(&is, &was[..is.len()]), 0);
}
