//! A quality to reach: what samples promise, the whole chunk holds.

use pipeline::{
    encoder::{ChunkWork, Encoder, Progress},
    plan::{Chunk, Metric, Plan, Profile, Rung, TargetQuality, VideoCodec},
    quality::Quality,
};

use crate::support::Lab;

/// Half a film that is easy, half that is hard.
fn uneven(lab: &Lab) -> std::path::PathBuf {
    let graph = "testsrc2=s=320x180:r=24,noise=alls=12:allf=t:enable='gte(t,4)'";
    lab.ffmpeg(&[
        "-f", "lavfi", "-i", graph, "-t", "8", "-c:v", "libx264", "-preset", "veryfast", "-qp", "8", "-g", "48", "-pix_fmt", "yuv420p",
        "in.mp4",
    ]);
    lab.path("in.mp4")
}

fn lab(target: TargetQuality) -> Lab {
    let mut lab = Lab::exact(180);
    lab.profile = Profile { crf: 30, target: Some(target), chunk_ms: 4_000, ..lab.profile };
    lab
}

async fn choose(lab: &Lab, plan: &Plan, chunk: &Chunk, film: &std::path::Path, name: &str) -> Quality {
    let out = lab.fresh(name);
    let work = ChunkWork { plan, chunk, source: film, out: &out, progress: &Progress::default(), careful: false, blank: false };
    let quality = lab.encoder.choose_crf(&work, plan.profile.target.as_ref().unwrap()).await.unwrap();
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0);
    quality
}

#[tokio::test]
async fn each_chunk_gets_the_crf_that_its_pictures_need() {
    let lab = lab(TargetQuality { metric: Metric::Ssim, score: 0.95, min_crf: 10, max_crf: 51 });
    let film = uneven(&lab);
    let planned = lab.plan(&film).await;
    assert_eq!(planned.chunks.len(), 2);
    let mut chosen = Vec::new();
    for chunk in &planned.chunks {
        let source = lab.sparse(&film, &chunk.ranges);
        let found = choose(&lab, &planned.plan, chunk, &source, &format!("first-{}", chunk.number)).await;
        assert_eq!(found, choose(&lab, &planned.plan, chunk, &source, &format!("second-{}", chunk.number)).await);
        let score = found.curve.iter().find(|point| point.crf == found.crf).unwrap().score.value(Metric::Ssim);
        assert!(score >= 0.95, "{found:?}");
        chosen.push(found);
    }
    assert!(chosen[0].crf >= chosen[1].crf + 3, "{chosen:?}");
    // What samples promised, the whole chunk holds: within a hundredth.
    let mut plan = planned.plan.clone();
    plan.profile.crf = chosen[1].crf;
    let out = lab.fresh("whole");
    let work = ChunkWork {
        plan: &plan,
        chunk: &planned.chunks[1],
        source: &film,
        out: &out,
        progress: &Progress::default(),
        careful: false,
        blank: false,
    };
    let made = lab.encoder.encode_chunk(&work).await.unwrap();
    let bytes = [made[0].init.to_vec(), std::fs::read(&made[0].segments[0].path).unwrap()].concat();
    std::fs::write(lab.path("chunk.mp4"), bytes).unwrap();
    let compare = "[0:v]settb=1/25,setpts=N[a];[1:v]trim=start_frame=96,settb=1/25,setpts=N[b];[a][b]ssim=stats_file=ssim.txt";
    lab.ffmpeg(&["-i", "chunk.mp4", "-i", "in.mp4", "-filter_complex", compare, "-f", "null", "-"]);
    let text = std::fs::read_to_string(lab.path("ssim.txt")).unwrap();
    let all: Vec<f64> = text.lines().map(|line| line.split("All:").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()).collect();
    assert_eq!(all.len(), 96);
    let mean = all.iter().sum::<f64>() / 96.0;
    assert!((0.94..0.975).contains(&mean), "{mean} by {:?}", chosen[1]);
}

#[tokio::test]
async fn every_codec_reaches_a_vmaf_of_tiny_pictures_with_one_init() {
    let presets = [(VideoCodec::H264, "veryfast"), (VideoCodec::Hevc, "ultrafast"), (VideoCodec::Av1, "12"), (VideoCodec::Vp9, "8")];
    for (codec, preset) in presets {
        let mut lab = lab(TargetQuality { metric: Metric::Vmaf, score: 80.0, min_crf: 10, max_crf: 50 });
        lab.profile = Profile {
            codec,
            preset: preset.into(),
            ladder: vec![Rung { short_side: 90, maxrate: 9_000_000, bufsize: 9_000_000 }],
            ..lab.profile
        };
        let film = uneven(&lab);
        let planned = lab.plan(&film).await;
        let found = choose(&lab, &planned.plan, &planned.chunks[0], &film, "out").await;
        assert!((1..=5).contains(&found.curve.len()));
        let score = found.curve.iter().find(|point| point.crf == found.crf).map(|point| point.score.value(Metric::Vmaf));
        assert!(score.is_some_and(|score| score >= 80.0), "{codec:?} {found:?}");
        let (mut inits, mut sizes) = (Vec::new(), Vec::new());
        for crf in [pipeline::profile::min_crf(codec), 27, 40] {
            let mut plan = planned.plan.clone();
            plan.profile.crf = crf;
            let out = lab.fresh(&format!("crf-{crf}"));
            let work = ChunkWork {
                plan: &plan,
                chunk: &planned.chunks[0],
                source: &film,
                out: &out,
                progress: &Progress::default(),
                careful: false,
                blank: false,
            };
            let made = lab.encoder.encode_chunk(&work).await.unwrap().remove(0);
            sizes.push(made.segments.iter().map(|segment| segment.bytes).sum::<u64>());
            inits.push(made.init);
        }
        assert!(inits.windows(2).all(|pair| pair[0] == pair[1]), "{codec:?}: chunks of different CRFs have one init");
        assert!(sizes.windows(2).all(|pair| pair[0] > pair[1]), "{codec:?}: the least CRF is the best, and {sizes:?} bytes");
    }
}
