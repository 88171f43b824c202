//! Sound from its own bytes of the source is the sound from the whole of it, to the bit.

mod text;

use std::path::Path;

use pipeline::{
    encoder::{AudioWork, EncodeError, Encoder, MadeAudio, Progress},
    plan::{AudioPlan, Plan},
    planner::Planned,
};

use crate::support::Lab;

/// Twelve seconds of two pictures each, which are 1.2 MB: more than is read along between two pieces of sound. Two tracks.
fn film(lab: &Lab) {
    let picture = "nullsrc=s=720x540:r=2,format=yuv444p,geq=random(1)*255:random(2)*255:random(3)*255";
    let chirp = |from: u32| format!("aevalsrc='0.5*sin(2*PI*({from}+40*t)*t)':s=48000");
    let (first, second) = (chirp(300), chirp(500));
    let inputs = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", &first, "-f", "lavfi", "-i", &second, "-t", "12"];
    let coding = [
        "-map",
        "0",
        "-map",
        "1",
        "-map",
        "2",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-qp",
        "0",
        "-g",
        "2",
        "-c:a:0",
        "aac",
        "-c:a:1",
        "ac3",
    ];
    lab.ffmpeg(&[&inputs[..], &coding, &["whole.mov"]].concat());
}

async fn heard(lab: &Lab, plan: &Plan, audio: &AudioPlan, source: &Path) -> Result<MadeAudio, EncodeError> {
    let out = tempfile::tempdir_in(source.parent().unwrap()).unwrap();
    let work = AudioWork { plan, audio, source, out: out.path(), progress: &Progress::default(), careful: false };
    let mut made = lab.encoder.encode_audio(&work).await?;
    for segment in &mut made.segments {
        segment.path = std::path::PathBuf::new();
    }
    Ok(made)
}

/// Every track by its excerpt, which is a small part of the film, and by the whole of it.
async fn both(lab: &Lab, name: &str) {
    let source = lab.path(name);
    let Planned { plan, excerpts, .. } = lab.plan(&source).await;
    assert_eq!(plan.audio.len(), 2, "{name}");
    for track in &plan.audio {
        let excerpt = track.excerpt.unwrap_or_else(|| panic!("{name}: the whole is read"));
        assert!(excerpt.bytes < plan.source_bytes / 3, "{name}: {} of {}", excerpt.bytes, plan.source_bytes);
        let sparse = lab.sparse(&source, excerpts[excerpt.number as usize].ranges());
        let (own, whole) = (heard(lab, &plan, track, &sparse).await.unwrap(), heard(lab, &plan, track, &source).await.unwrap());
        assert!(own.segments.len() >= 2 && own == whole, "{name}, {}: {:?} and {:?}", track.name, own.segments, whole.segments);
    }
}

#[tokio::test]
async fn sound_from_its_own_bytes_is_the_same() {
    let mut lab = Lab::new();
    film(&lab);
    let copy = ["-i", "whole.mov", "-map", "0", "-c", "copy"];
    lab.ffmpeg(&[&copy[..], &["-movflags", "+faststart", "front.mov"]].concat());
    // The first second and a bit is hidden by an edit list.
    lab.ffmpeg(&[&["-ss", "1.3"], &copy[..], &["edited.mov"]].concat());
    lab.ffmpeg(&[&copy[..], &["film.mkv"]].concat());
    for name in ["whole.mov", "front.mov", "edited.mov", "film.mkv"] {
        both(&lab, name).await;
    }
    lab.profile.loudness = Some(-23.0);
    both(&lab, "front.mov").await;
}

/// Nothing is heard from ranges that are not the track's: what holds the two together above can fail.
#[tokio::test]
async fn sound_without_its_bytes_is_no_sound() {
    let lab = Lab::new();
    film(&lab);
    let source = lab.path("whole.mov");
    let Planned { plan, excerpts, .. } = lab.plan(&source).await;
    let ranges = excerpts[0].ranges();
    let (middle, track) = (ranges.len() / 2, &plan.audio[0]);
    let sparse = lab.sparse(&source, &[&ranges[..middle], &ranges[middle + 4..]].concat());
    let made = heard(&lab, &plan, track, &sparse).await;
    assert!(matches!(&made, Err(EncodeError::Mismatch(why)) if why.contains("cannot be decoded")), "{made:?}");
}
