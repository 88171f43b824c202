//! Clips, plans by hand, and what must hold of every encode.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use media::{FfmpegEncoder, Limits, Tools};
use pipeline::{
    encoder::{ChunkWork, Encoder, MadeRendition, ProbeInput, Progress},
    plan::{Chunk, FrameTimes, Plan, Profile, Rendition, SCHEMA, VideoPlan},
    source::{Packet, SourceReport, VideoTrack},
};

/// A directory and the tools of the layer.
pub struct Lab {
    dir: tempfile::TempDir,
    tools: Tools,
    pub encoder: FfmpegEncoder,
}

/// A clip on disk.
pub struct Film {
    pub path: PathBuf,
}

pub fn tools() -> Tools {
    let layer = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|dir| dir.join("layers/ffmpeg/build/opt"));
    let opt = layer.filter(|dir| dir.join("layer.json").is_file()).next();
    let opt = opt.expect("the ffmpeg layer is not built: run layers/ffmpeg/build.py");
    Tools::find(|name| (name == "OPT_DIR").then(|| opt.display().to_string())).unwrap()
}

impl Lab {
    pub fn new(name: &str) -> Self {
        let tools = tools();
        let encoder = FfmpegEncoder::new(tools.clone(), Limits::default());
        Self { dir: tempfile::Builder::new().prefix(name).tempdir().unwrap(), tools, encoder }
    }
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
    /// An empty directory.
    pub fn fresh(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir(&path).unwrap();
        path
    }
    /// Runs ffmpeg outside the cell.
    pub fn ffmpeg(&self, args: &[&str]) -> String {
        let mut command = Command::new(&self.tools.ffmpeg);
        command.current_dir(self.dir.path()).args(["-nostdin", "-hide_banner", "-v", "error", "-y"]).args(args);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
    pub async fn probe(&self, film: &Film) -> SourceReport {
        self.encoder.probe(ProbeInput::File(film.path.clone()), self.dir.path()).await.unwrap()
    }

    /// Encodes the film in `count` chunks, and compares every frame's picture with the source's.
    pub async fn holds(&self, film: &Film, count: usize) -> Vec<Vec<MadeRendition>> {
        let report = self.probe(film).await;
        let (plan, chunks) = plan(&report, count);
        let mut made = Vec::new();
        for chunk in &chunks {
            let out = self.fresh(&format!("chunk-{}", chunk.number));
            let progress = Progress::default();
            let work = ChunkWork { plan: &plan, chunk, source: &film.path, out: &out, progress: &progress };
            let renditions = self.encoder.encode_chunk(&work).await.unwrap();
            assert_eq!(progress.get(), u64::from(chunk.times.count()));
            assert_eq!(std::fs::read_dir(&out).unwrap().count(), renditions.len() * chunk.segments.len());
            made.push(renditions);
        }
        self.same_pictures(film, &plan, &made);
        made
    }

    /// Joins each rendition as bytes; every picture must look like the source's at the same index, and like no other.
    fn same_pictures(&self, film: &Film, plan: &Plan, made: &[Vec<MadeRendition>]) {
        let video = plan.video.as_ref().unwrap();
        let source = self.thumbnails(&film.path, video.index);
        assert_eq!(source.len() as u64, video.frames, "the plan has all frames that ffmpeg shows");
        for position in 0..video.renditions.len() {
            let mut bytes = made[0][position].init.to_vec();
            for chunk in made {
                assert_eq!(chunk[position].init, made[0][position].init, "one init for all chunks");
                assert!(chunk[position].codec.starts_with("avc1.64"), "{}", chunk[position].codec);
                for segment in &chunk[position].segments {
                    let content = std::fs::read(&segment.path).unwrap();
                    assert_eq!(content.len() as u64, segment.bytes);
                    bytes.extend(content);
                }
            }
            let joined = self.path(&format!("joined-{position}.mp4"));
            std::fs::write(&joined, bytes).unwrap();
            let out = self.thumbnails(&joined, 0);
            assert_eq!(out.len(), source.len());
            for (index, frame) in out.iter().enumerate() {
                let near = index.saturating_sub(3)..(index + 4).min(source.len());
                let best = near.min_by_key(|at| distance(frame, &source[*at])).unwrap();
                assert_eq!(best, index, "rendition {position} shows frame {best} at index {index}");
            }
        }
    }

    /// Every shown frame as 16 × 9 grey pixels.
    fn thumbnails(&self, path: &Path, index: u32) -> Vec<Vec<u8>> {
        let out = self.path("thumbnails.gray");
        let (input, map, out_text) = (path.display().to_string(), format!("0:{index}"), out.display().to_string());
        let filter = "scale=32:18:flags=area,format=gray";
        self.ffmpeg(&["-i", &input, "-map", &map, "-fps_mode", "passthrough", "-vf", filter, "-f", "rawvideo", &out_text]);
        std::fs::read(out).unwrap().chunks(32 * 18).map(<[u8]>::to_vec).collect()
    }
}

fn distance(a: &[u8], b: &[u8]) -> u64 {
    a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum()
}

impl Film {
    /// Six seconds of moving picture at 24 frames a second with sound, encoded by `codec`.
    pub fn plain(lab: &Lab, codec: &[&str]) -> Self {
        let path = lab.path("film.mp4");
        let name = path.display().to_string();
        let mut args = vec!["-f", "lavfi", "-i", "testsrc2=s=320x180:r=24", "-f", "lavfi", "-i", "sine=440:r=48000", "-t", "6"];
        args.extend(["-preset", "veryfast", "-pix_fmt", "yuv420p", "-c:a", "aac"]);
        args.extend(codec);
        args.push(&name);
        lab.ffmpeg(&args);
        Self { path }
    }
}

/// The packets that are shown, in the order they are shown.
pub fn shown(track: &VideoTrack) -> Vec<Packet> {
    let first = track.packets.iter().position(|packet| packet.key).unwrap();
    let mut shown: Vec<Packet> = track.packets[first..].iter().copied().filter(|packet| packet.shown).collect();
    shown.sort_by_key(|packet| packet.pts);
    shown
}

/// A plan in `count` chunks of equal numbers of frames, wherever that cuts, each of two segments, with four keyframes.
pub fn plan(report: &SourceReport, count: usize) -> (Plan, Vec<Chunk>) {
    let track = report.video.iter().find(|track| !track.cover).unwrap();
    let base = track.time_base;
    let times: Vec<i64> = shown(track).iter().map(|packet| packet.pts.unwrap()).collect();
    let sound = report.audio.first().and_then(|audio| Some(audio.time_base.rescale(audio.first_pts?, base)));
    let origin = sound.map_or(times[0], |sound| sound.min(times[0]));
    let keys: Vec<Packet> = track.packets.iter().copied().filter(|packet| packet.key).collect();
    let boundary = |index: usize| {
        let half_ticks = index.checked_sub(1).map_or(2 * times[0] - 2, |before| times[before] + times[index]);
        base.micros_of_half_ticks(half_ticks)
    };
    let bounds: Vec<usize> = (0..=count).map(|number| number * times.len() / count).collect();
    let chunks = bounds.windows(2).enumerate().map(|(number, bound)| {
        let (from, to) = (bound[0], bound[1]);
        let key = keys.iter().rfind(|key| key.pts.unwrap() <= times[from]).unwrap_or(&keys[0]);
        let seek = key.dts.unwrap_or(i64::MAX).min(key.pts.unwrap());
        let relative: Vec<i64> = times[from..to].iter().map(|time| time - origin).collect();
        let (length, half) = (u32::try_from(to - from).unwrap(), u32::try_from((to - from) / 2).unwrap());
        Chunk {
            number: u32::try_from(number).unwrap(),
            first_segment: u32::try_from(number * 2).unwrap(),
            start_us: boundary(from),
            end_us: (to < times.len()).then(|| boundary(to)),
            seek_us: (number > 0).then(|| base.micros_of_half_ticks(2 * seek) - 500_000),
            times: FrameTimes::new(&relative).unwrap(),
            keyframes: vec![0, half / 2, half, half + (length - half) / 2],
            segments: vec![0, half],
            ranges: Vec::new(),
        }
    });
    let rendition = |name: &str, width, height| Rendition { name: name.into(), width, height, maxrate: 900_000, bufsize: 1_200_000 };
    let video = VideoPlan {
        index: track.index,
        codec: track.codec.clone(),
        time_base: base,
        origin,
        frames: times.len() as u64,
        start: times[0] - origin,
        end: times[times.len() - 1] - origin,
        frame_rate: track.frame_rate,
        renditions: vec![rendition("180p", 320, 180), rendition("90p", 160, 90)],
    };
    let profile = Profile {
        name: "test".into(),
        preset: "veryfast".into(),
        crf: 23,
        chunk_ms: 2000,
        gop_ms: 1000,
        ladder: Vec::new(),
        audio_bitrate: 128_000,
    };
    let plan = Plan {
        schema: SCHEMA,
        layer: String::new(),
        profile,
        source_bytes: 0,
        container: report.container.clone(),
        video: Some(video),
        audio: Vec::new(),
        chunks: u32::try_from(count).unwrap(),
        left_out: Vec::new(),
    };
    (plan, chunks.collect())
}
