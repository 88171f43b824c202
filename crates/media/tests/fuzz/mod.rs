//! Good files with mutated headers through probe, remux, plan, the first chunk and the sound: an end that is held, always, within
//! limits.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{StreamExt, channel::mpsc};
use media::{FfmpegEncoder, Limits};
use pipeline::{
    Fault,
    encoder::{AudioWork, ChunkWork, EncodeError, Encoder, ProbeInput, Progress, Remux},
    plan::{AudioPlan, Chunk, Plan},
    planner::{self, Surroundings},
    stage::layout::{self, Walk},
};

use crate::support::Lab;

/// Seeds of a usual run; `FANREEL_FUZZ_SEEDS` sets others, as `1000` or `5000..6000`.
const SEEDS: std::ops::Range<u64> = 0..48;
/// Of a program in the cell: no file of three seconds needs a tenth of it. The memory is that of the function which probes.
const LOOK: Limits = Limits { wall: Duration::from_secs(60), cpu_seconds: 20, memory_bytes: 768 << 20, file_bytes: 1 << 30 };
/// The same of one that encodes; the memory is that of the larger class.
const WORK: Limits = Limits { memory_bytes: 3008 << 20, ..LOOK };
/// From the first look to the verdict, with two of the programs at their limits.
const LONGEST: Duration = Duration::from_secs(150);
/// Values that counts and sizes are made of when somebody means harm.
const EVIL: [u32; 8] = [0, 1, 0x7F, 0xFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFF0, u32::MAX];

#[tokio::test]
async fn mutated_headers_end_in_a_fault_or_in_a_plan_that_is_held() {
    let mut lab = Lab::new();
    let codec = ["-c:v", "libx264", "-g", "24", "-t", "3"];
    lab.film("back.mp4", &codec);
    let bases = ["back.mp4", "front.mp4", "in.mkv", "in.ts", "in.avi", "in.mp3"];
    lab.ffmpeg(&["-i", "back.mp4", "-c", "copy", "-movflags", "+faststart", "front.mp4"]);
    lab.ffmpeg(&["-i", "back.mp4", "-c", "copy", "in.mkv"]);
    lab.ffmpeg(&["-i", "back.mp4", "-c", "copy", "in.ts"]);
    lab.ffmpeg(&["-i", "back.mp4", "-c:v", "mpeg4", "-c:a", "pcm_s16le", "in.avi"]);
    lab.ffmpeg(&["-i", "back.mp4", "-vn", "-c:a", "libmp3lame", "in.mp3"]);
    lab.encoder = FfmpegEncoder::new(crate::support::tools(), WORK);
    let look = FfmpegEncoder::new(crate::support::tools(), LOOK);
    lab.profile.ladder.truncate(1);
    let files = bases.map(|name| std::fs::read(lab.path(name)).unwrap());
    let mut ends = std::collections::BTreeMap::<String, u32>::new();
    let mut longest = Duration::ZERO;
    for seed in seeds() {
        let at = usize::try_from(seed).unwrap() % bases.len();
        let film = lab.path("mutated.bin");
        std::fs::write(&film, mutated(&files[at], seed)).unwrap();
        let began = Instant::now();
        let end = end_of(&lab, &look, &film).await;
        let took = began.elapsed();
        assert!(!end.starts_with("plan escalated"), "seed {seed} of {}: a bad file calls an operator: {end}", bases[at]);
        assert!(!end.contains("Memory"), "seed {seed} of {}: no function has so much: {end}", bases[at]);
        assert!(took < LONGEST, "seed {seed} of {} took {took:?}: {end}", bases[at]);
        longest = longest.max(took);
        *ends.entry(format!("{:<10} {end}", bases[at])).or_default() += 1;
    }
    for (end, count) in &ends {
        println!("{count:>5}  {end}");
    }
    println!("longest: {longest:.1?}");
    assert!(ends.keys().any(|end| end.contains("held")) && ends.keys().any(|end| end.contains("rejected")), "{ends:?}");
}

fn seeds() -> std::ops::Range<u64> {
    #[expect(clippy::disallowed_methods, reason = "the one setting of this test")]
    let text = std::env::var("FANREEL_FUZZ_SEEDS").unwrap_or_default();
    let number = |text: &str| text.trim().parse().expect("FANREEL_FUZZ_SEEDS is a number or a range of two");
    match text.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None if text.is_empty() => SEEDS,
        None => 0..number(&text),
    }
}

/// What becomes of a file, as the split, the first chunk's task and the first sound's treat it.
async fn end_of(lab: &Lab, look: &FfmpegEncoder, film: &Path) -> String {
    let (planned, film) = match planned(lab, look, film).await {
        Ok(planned) => planned,
        Err(fault) => return name("plan", &fault),
    };
    let picture = match planned.chunks.first() {
        Some(chunk) => picture(lab, &film, &planned.plan, chunk).await,
        None => "no picture".to_owned(),
    };
    match planned.plan.audio.first() {
        Some(audio) => format!("{picture}, {}", sound(lab, &film, &planned.plan, audio).await),
        None => picture,
    }
}

async fn picture(lab: &Lab, film: &Path, plan: &Plan, chunk: &Chunk) -> String {
    let (out, source) = (lab.fresh("fuzzed"), lab.sparse(film, &chunk.ranges));
    let work = ChunkWork { plan, chunk, source: &source, out: &out, progress: &Progress::default(), careful: false, blank: false };
    let made = lab.encoder.encode_chunk(&work).await;
    std::fs::remove_dir_all(&out).unwrap();
    match made {
        Ok(made) => {
            for rendition in &made {
                let frames: u32 = rendition.segments.iter().map(|segment| segment.frames).sum();
                assert_eq!(frames, chunk.times.count(), "a chunk that is taken has the frames of its plan");
            }
            "chunk held".to_owned()
        }
        Err(EncodeError::Mismatch(_)) => "chunk differs from its plan".to_owned(),
        Err(other) => name("chunk", &other.into_fault()),
    }
}

async fn sound(lab: &Lab, film: &Path, plan: &Plan, audio: &AudioPlan) -> String {
    let out = lab.fresh("heard");
    let work = AudioWork { plan, audio, source: film, out: &out, progress: &Progress::default(), careful: false };
    let made = lab.encoder.encode_audio(&work).await;
    std::fs::remove_dir_all(&out).unwrap();
    match made {
        Ok(_) => "sound held".to_owned(),
        Err(EncodeError::Mismatch(_)) => "sound differs from its plan".to_owned(),
        Err(other) => name("sound", &other.into_fault()),
    }
}

/// A plan, and the file that it is of: the film, or a copy.
async fn planned(lab: &Lab, look: &FfmpegEncoder, film: &Path) -> Result<(planner::Planned, PathBuf), Fault> {
    let bytes = std::fs::read(film).unwrap();
    let size = bytes.len() as u64;
    let all = || ProbeInput::Stream(futures::stream::iter([Ok(Bytes::copy_from_slice(&bytes))]).boxed());
    let mut path = film.to_owned();
    let input = match layout::shape(&bytes[..bytes.len().min(4096)])? {
        layout::Shape::Boxes => {
            let mut walk = Walk::default();
            while let Some(at) = walk.next(size) {
                let from = usize::try_from(at).unwrap();
                walk.take(&bytes[from..bytes.len().min(from + 16)], size)?;
            }
            walk.whole(size)?;
            let ranges = walk.ranges(size);
            ProbeInput::File(lab.sparse(film, &ranges))
        }
        layout::Shape::Ebml { indexed: true } | layout::Shape::Sound => all(),
        layout::Shape::Ebml { indexed: false } | layout::Shape::Stream | layout::Shape::Mxf => {
            path = lab.path("copy.mkv");
            remuxed(lab, look, all(), size, &path).await?;
            ProbeInput::File(path.clone())
        }
    };
    let scratch = lab.fresh("probed");
    let report = look.probe(input, &scratch).await;
    std::fs::remove_dir_all(&scratch).unwrap();
    let source_bytes = std::fs::metadata(&path).unwrap().len();
    Ok((
        planner::plan(&report.map_err(EncodeError::into_fault)?, &Surroundings { profile: &lab.profile, layer: "test", source_bytes })?,
        path,
    ))
}

async fn remuxed(lab: &Lab, look: &FfmpegEncoder, input: ProbeInput, bytes: u64, out: &Path) -> Result<(), Fault> {
    let (sender, blocks) = mpsc::channel(1);
    let scratch = lab.fresh("remuxed");
    let work = Remux { input, bytes, mend: false, hold: LOOK.file_bytes };
    let (made, _) = futures::join!(look.remux(work, &scratch, out, sender), blocks.count());
    std::fs::remove_dir_all(&scratch).unwrap();
    assert!(made.as_ref().map_or(true, |made| made.is_here));
    made.map(|_| ()).map_err(EncodeError::into_fault)
}

/// A fault in two words: sentences hold numbers of the file.
fn name(step: &str, fault: &Fault) -> String {
    match fault {
        Fault::Reject(_) => format!("{step} rejected"),
        Fault::Escalate { reason, .. } => format!("{step} escalated: {reason:?}"),
        Fault::Crash(_) => format!("{step} crashed"),
        Fault::Retry(_) | Fault::Early(_) | Fault::Killed(_) => panic!("another try of the same file would end in the same way: {fault}"),
    }
}

/// One to eight changes where the headers are.
fn mutated(file: &[u8], seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let moov = file.windows(4).position(|kind| kind == b"moov");
    let mut bytes = file.to_vec();
    for _ in 0..=random.below(8) {
        let headers = moov.map_or(0..700, |at| at - 4..file.len().min(at + 6000));
        let at = (headers.start + random.below(headers.len())).min(bytes.len() - 1);
        match random.below(6) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = [0, 0x7F, 0x80, 0xFF][random.below(4)],
            2 | 3 => {
                let evil = EVIL[random.below(EVIL.len())].to_be_bytes();
                // Fields of boxes stand at multiples of four more often than not.
                let at = at / 4 * 4;
                bytes.iter_mut().skip(at).zip(evil).for_each(|(byte, evil)| *byte = evil);
            }
            4 => drop(bytes.drain(at..bytes.len().min(at + 1 + random.below(16)))),
            _ => {
                let copy: Vec<u8> = bytes.iter().skip(at).take(1 + random.below(64)).copied().collect();
                bytes.splice(at..at, copy);
            }
        }
    }
    bytes
}

/// `SplitMix64`: the same changes for a seed, for ever.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % u64::try_from(end).unwrap()).unwrap()
    }
}
