//! Clips made by ffmpeg, and what must hold of every encode of them.

use std::{
    fs::File,
    io::{Seek, SeekFrom, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
};

use futures::{StreamExt, channel::mpsc};
use media::{FfmpegEncoder, Limits, Tools};
use pipeline::{
    encoder::{AudioWork, ChunkWork, Encoder, MadeAudio, MadeRendition, MadeSegment, ProbeInput, Progress, Remux, Remuxed},
    film::{Track, film},
    plan::{AudioPlan, ByteRange, Chunk, FrameTimes, Plan, Profile, Rung, VideoPlan},
    planner::{self, Planned, Surroundings},
    ports::{Block, Piece},
    result::SegmentRecord,
    source::SourceReport,
};

/// Squared difference of two thumbnails that says nothing: one grey level in each pixel, as encoders make.
const NOISE: u64 = 32 * 18;

/// A directory and the tools of the layer.
pub struct Lab {
    dir: tempfile::TempDir,
    tools: Tools,
    pub encoder: FfmpegEncoder,
    /// What films are planned by.
    pub profile: Profile,
    /// Every second chunk is encoded GOP by GOP.
    pub by_gop: bool,
    /// Every second chunk is encoded with care.
    pub careful: bool,
}

/// All that is made of a film.
pub struct Made {
    pub plan: Plan,
    pub audio: Vec<MadeAudio>,
    /// Codec string of the first rendition.
    pub codec: String,
    pub mp4: PathBuf,
}

pub fn tools() -> Tools {
    let mut layers = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|dir| dir.join("layers/ffmpeg/build/opt"));
    let opt = layers.find(|dir| dir.join("layer.json").is_file());
    let opt = opt.expect("the ffmpeg layer is not built: run layers/ffmpeg/build.py");
    Tools::find(|name| (name == "OPT_DIR").then(|| opt.display().to_string())).unwrap()
}

/// Records that name local files.
fn records(segments: &[MadeSegment]) -> Vec<SegmentRecord> {
    segments.iter().map(|made| SegmentRecord::new(made.path.display().to_string(), made)).collect()
}

fn content(piece: &Piece) -> Vec<u8> {
    match piece {
        Piece::Bytes(bytes) => bytes.to_vec(),
        Piece::Stored { key, ranges, .. } => {
            let whole = std::fs::read(key).unwrap();
            let cut = |range: &ByteRange| whole[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()].to_vec();
            ranges.iter().flat_map(cut).collect()
        }
    }
}

impl Lab {
    pub fn new() -> Self {
        let tools = tools();
        let profile =
            Profile { name: "test".into(), chunk_ms: 2_000, gop_ms: 500, ladder: vec![rung(180), rung(90)], ..pipeline::profile::h264() };
        Self {
            dir: tempfile::tempdir().unwrap(),
            encoder: FfmpegEncoder::new(tools.clone(), Limits::default()),
            tools,
            profile,
            by_gop: false,
            careful: false,
        }
    }
    /// As good as lossless, in one rendition of up to `short_side`: pictures can be compared by their numbers.
    pub fn exact(short_side: u32) -> Self {
        let mut lab = Self::new();
        lab.profile.crf = 1;
        lab.profile.ladder = vec![Rung { short_side, maxrate: 200_000_000, bufsize: 200_000_000 }];
        lab
    }
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
    pub fn fresh(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir(&path).unwrap();
        path
    }
    /// Runs ffmpeg outside the cell, in this directory.
    pub fn ffmpeg(&self, args: &[&str]) {
        let mut command = Command::new(&self.tools.ffmpeg);
        command.current_dir(self.dir.path()).args(["-nostdin", "-hide_banner", "-v", "error", "-y"]).args(args);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    /// Seven seconds of moving picture, 24 frames a second, with a beep at every full second, encoded by `codec`.
    pub fn film(&self, name: &str, codec: &[&str]) -> PathBuf {
        let beep = "aevalsrc='if(lt(mod(t,1),0.02),0.8*sin(2*PI*1000*t),0)':s=48000";
        let mut args = vec!["-f", "lavfi", "-i", "testsrc2=s=320x180:r=24", "-f", "lavfi", "-i", beep, "-t", "7"];
        args.extend(["-preset", "veryfast", "-pix_fmt", "yuv420p", "-c:a", "aac"]);
        args.extend(codec);
        args.push(name);
        self.ffmpeg(&args);
        self.path(name)
    }
    /// Says of an MP4 of H.264 that only the middle of its pictures, of this size, is to be seen: `clap` of ISO 14496-12, 12.1.4.
    /// Its index is at its end, so that no chunk offset moves.
    pub fn cut(&self, mp4: &str, out: &str, (width, height): (u32, u32)) {
        let values = [width, 1, height, 1, 0, 1, 0, 1].map(u32::to_be_bytes).concat();
        let clap = [&40u32.to_be_bytes()[..], b"clap", &values].concat();
        let (mut bytes, mut at, mut boxes) = (std::fs::read(self.path(mp4)).unwrap(), 0, Vec::new());
        for name in [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1", b"avcC"] {
            at += bytes[at..].windows(4).position(|word| word == name).unwrap();
            boxes.push(at - 4);
        }
        let size = |bytes: &[u8], at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let last = boxes.pop().unwrap();
        let end = last + size(&bytes, last) as usize;
        for at in boxes {
            let grown = size(&bytes, at) + 40;
            bytes[at..at + 4].copy_from_slice(&grown.to_be_bytes());
        }
        bytes.splice(end..end, clap);
        std::fs::write(self.path(out), bytes).unwrap();
    }
    pub async fn probe(&self, film: &Path) -> SourceReport {
        self.encoder.probe(ProbeInput::File(film.to_owned()), self.dir.path()).await.unwrap()
    }
    pub async fn plan(&self, film: &Path) -> Planned {
        let source_bytes = std::fs::metadata(film).unwrap().len();
        planner::plan(&self.probe(film).await, &Surroundings { profile: &self.profile, layer: "test", source_bytes }).unwrap()
    }
    /// A copy, and what was passed on of it.
    pub async fn remux(&self, work: Remux, out: &str) -> (Remuxed, Vec<u8>) {
        let (sender, mut blocks) = mpsc::channel(1);
        let take = async {
            let mut come = Vec::new();
            while let Some(block) = blocks.next().await {
                match block {
                    Block::Next(bytes) => come.extend_from_slice(&bytes),
                    Block::Front(bytes) => come[..bytes.len()].copy_from_slice(&bytes),
                }
            }
            come
        };
        let out = self.path(out);
        let (made, come) = futures::join!(self.encoder.remux(work, self.dir.path(), &out, sender), take);
        (made.unwrap(), come)
    }
    /// A file of the film's size that holds only these bytes of it.
    pub fn sparse(&self, film: &Path, ranges: &[ByteRange]) -> PathBuf {
        let path = self.path("sparse.bin");
        let (source, mut target) = (File::open(film).unwrap(), File::create(&path).unwrap());
        target.set_len(source.metadata().unwrap().len()).unwrap();
        for range in ranges {
            let mut bytes = vec![0; usize::try_from(range.len()).unwrap()];
            source.read_exact_at(&mut bytes, range.start).unwrap();
            target.seek(SeekFrom::Start(range.start)).unwrap();
            target.write_all(&bytes).unwrap();
        }
        path
    }

    /// The whole way of a film: planned, each chunk encoded from its own bytes only, sound, MP4; every picture compared
    /// with the source's.
    pub async fn make(&self, film: &Path) -> Made {
        let Planned { plan, chunks, .. } = self.plan(film).await;
        assert!(chunks.len() >= 3, "{} chunks", chunks.len());
        let mut encoded = Vec::new();
        for chunk in &chunks {
            encoded.push(self.chunk(film, &plan, chunk).await);
        }
        let same_heads = |made: &Vec<MadeRendition>| made.iter().zip(&encoded[0]).all(|(own, first)| own.init == first.init);
        assert!(encoded.iter().all(same_heads), "one init for all chunks of a rendition");
        let mut audio = Vec::new();
        for track in &plan.audio {
            let out = self.fresh(&track.name);
            let work = AudioWork { plan: &plan, audio: track, source: film, out: &out, progress: &Progress::default(), careful: false };
            audio.push(self.encoder.encode_audio(&work).await.unwrap());
        }
        self.same_pictures(film, &plan, &encoded);
        let mp4 = self.mp4(&plan, &chunks, &encoded, &audio);
        Made { codec: encoded[0][0].codec.clone(), plan, audio, mp4 }
    }

    /// The first rendition of a film, chunk by chunk from their own bytes, joined as bytes; and its plan.
    pub async fn pictures(&self, film: &Path) -> (Plan, PathBuf) {
        let (plan, path, _) = self.pictures_and_codec(film).await;
        (plan, path)
    }
    /// And the codec string of all chunks, which have one init.
    pub async fn pictures_and_codec(&self, film: &Path) -> (Plan, PathBuf, String) {
        let mut first: Option<(bytes::Bytes, String)> = None;
        let Planned { plan, chunks, .. } = self.plan(film).await;
        let mut bytes = Vec::new();
        for chunk in &chunks {
            let made = self.chunk(film, &plan, chunk).await;
            let own = (made[0].init.clone(), made[0].codec.clone());
            match &first {
                Some(first) => assert_eq!(*first, own),
                None => bytes.extend_from_slice(&own.0),
            }
            first.get_or_insert(own);
            bytes.extend(made[0].segments.iter().flat_map(|segment| std::fs::read(&segment.path).unwrap()));
            std::fs::remove_dir_all(self.path(&format!("chunk-{}", chunk.number))).unwrap();
        }
        let path = self.path("pictures.mp4");
        std::fs::write(&path, bytes).unwrap();
        (plan, path, first.unwrap().1)
    }

    /// Every picture of a file as raw planes of a pixel format, after `filter` (`null` for none).
    pub fn raw(&self, path: &Path, filter: &str, pix_fmt: &str) -> Vec<u8> {
        let input = path.display().to_string();
        self.ffmpeg(&["-i", &input, "-fps_mode", "passthrough", "-vf", filter, "-pix_fmt", pix_fmt, "-f", "rawvideo", "raw.bin"]);
        std::fs::read(self.path("raw.bin")).unwrap()
    }

    async fn chunk(&self, film: &Path, plan: &Plan, chunk: &Chunk) -> Vec<MadeRendition> {
        let source = self.sparse(film, &chunk.ranges);
        let out = self.fresh(&format!("chunk-{}", chunk.number));
        let progress = Progress::default();
        let careful = self.careful && chunk.number % 2 == 1;
        let work = ChunkWork { plan, chunk, source: &source, out: &out, progress: &progress, careful, blank: false };
        let by_gop = self.by_gop && chunk.number % 2 == 1;
        let renditions = if by_gop { self.gop_by_gop(&work).await } else { self.encoder.encode_chunk(&work).await.unwrap() };
        assert_eq!(progress.get(), u64::from(chunk.times.count()));
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), renditions.len() * chunk.segments.len());
        renditions
    }

    async fn gop_by_gop(&self, work: &ChunkWork<'_>) -> Vec<MadeRendition> {
        assert!(work.chunk.keyframes.len() > 1, "nothing to take apart");
        let mut gops = Vec::new();
        let video = work.plan.video.as_ref().unwrap();
        let mut frames = 0;
        for (number, gop) in (0..).zip(work.chunk.gops(video.origin, video.time_base)) {
            work.progress.go_on_from(frames);
            frames += u64::from(gop.times.count());
            gops.push(self.encoder.encode_gop(work, number).await.unwrap().into_iter().map(|gop| gop.path).collect());
        }
        self.encoder.join_gops(work, &gops).await.unwrap()
    }

    /// The MP4 of the first rendition, made of segments as `merge` makes it, and the same by ffmpeg: both have the same
    /// packets at the same times.
    fn mp4(&self, plan: &Plan, chunks: &[Chunk], encoded: &[Vec<MadeRendition>], audio: &[MadeAudio]) -> PathBuf {
        let video = plan.video.as_ref().unwrap();
        let pictures: Vec<SegmentRecord> = encoded.iter().flat_map(|made| records(&made[0].segments)).collect();
        let times = chunks.iter().flat_map(|chunk| {
            let all: Vec<i64> = chunk.times.iter().collect();
            let ends = chunk.segments.iter().skip(1).copied().chain([chunk.times.count()]);
            let windows = chunk.segments.iter().zip(ends).map(|(from, to)| FrameTimes::new(&all[*from as usize..to as usize]).unwrap());
            windows.collect::<Vec<_>>()
        });
        let mut tracks = vec![Track::video(video, &encoded[0][0].init, &times.collect::<Vec<_>>(), &pictures).unwrap()];
        for (made, planned) in audio.iter().zip(&plan.audio) {
            let planned = AudioPlan { language: "deu".into(), ..planned.clone() };
            tracks.push(Track::audio(&planned, true, &made.init, &records(&made.segments)).unwrap());
        }
        let film = film(&tracks.iter().collect::<Vec<_>>()).unwrap();
        let num = i64::from(video.time_base.num());
        let shown = film.video.unwrap();
        assert_eq!((shown.frames, shown.first), (video.frames, video.start * num));
        let out = self.path("out.mp4");
        std::fs::write(&out, film.pieces.iter().flat_map(content).collect::<Vec<u8>>()).unwrap();
        assert_eq!(film.bytes, std::fs::metadata(&out).unwrap().len());
        self.as_ffmpeg_joins_it(video, encoded, audio, &out);
        out
    }

    /// ffmpeg's own way: all bytes joined, remuxed with the sound (media.md, section 4).
    fn as_ffmpeg_joins_it(&self, video: &VideoPlan, encoded: &[Vec<MadeRendition>], audio: &[MadeAudio], out: &Path) {
        let write = |name: &str, init: &[u8], segments: &[&MadeSegment]| {
            let media = segments.iter().flat_map(|segment| std::fs::read(&segment.path).unwrap());
            std::fs::write(self.path(name), init.iter().copied().chain(media).collect::<Vec<u8>>()).unwrap();
        };
        write("cat.mp4", &encoded[0][0].init, &encoded.iter().flat_map(|made| &made[0].segments).collect::<Vec<_>>());
        let late = format!("{:.6}", video.time_base.seconds(video.start));
        let (scale, names) = (video.time_base.den().to_string(), (0..audio.len()).map(|n| format!("a{n}.mp4")).collect::<Vec<_>>());
        let mut args = vec!["-itsoffset", &late, "-i", "cat.mp4"];
        for (made, name) in audio.iter().zip(&names) {
            write(name, &made.init, &made.segments.iter().collect::<Vec<_>>());
            args.extend(["-i", name]);
        }
        let maps: Vec<String> = (0..=audio.len()).map(|n| n.to_string()).collect();
        for map in &maps {
            args.extend(["-map", map]);
        }
        args.extend(["-c", "copy", "-video_track_timescale", &scale, "-movflags", "+faststart", "ffmpeg.mp4"]);
        self.ffmpeg(&args);
        let (own, other) = (self.packets(out), self.packets(&self.path("ffmpeg.mp4")));
        assert_eq!(own.len(), other.len());
        let tick = video.time_base.seconds(1);
        for (own, other) in own.iter().zip(&other) {
            assert_eq!((&own.0, &own.2), (&other.0, &other.2), "the same packets in the same order");
            assert!((own.1 - other.1).abs() <= tick * 1.01 + 1e-6, "{own:?} is at another time than {other:?}");
        }
    }

    /// Track, PTS in seconds and hash of every packet, track by track.
    fn packets(&self, file: &Path) -> Vec<(String, f64, String)> {
        let mut command = Command::new(&self.tools.ffprobe);
        command.args([
            "-v",
            "error",
            "-show_entries",
            "packet=stream_index,pts_time,data_hash",
            "-show_data_hash",
            "md5",
            "-of",
            "csv=p=0",
        ]);
        let output = command.arg(file).output().unwrap();
        assert_eq!((output.status.success(), String::from_utf8_lossy(&output.stderr).as_ref()), (true, ""), "{}", file.display());
        let mut packets: Vec<(String, f64, String)> = String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(|line| {
                let fields: Vec<&str> = line.split(',').collect();
                (fields[0].to_owned(), fields[1].parse().unwrap(), fields[2].to_owned())
            })
            .collect();
        packets.sort_by(|a, b| a.0.cmp(&b.0));
        packets
    }

    /// Joins each rendition as bytes; no picture may look like a neighbour of the source's picture at its index. Answers the first joined rendition.
    fn same_pictures(&self, film: &Path, plan: &Plan, made: &[Vec<MadeRendition>]) -> PathBuf {
        let video = plan.video.as_ref().unwrap();
        let source = self.thumbnails(film, video.index);
        assert_eq!(source.len() as u64, video.frames, "the plan has all frames that ffmpeg shows");
        for position in (0..video.renditions.len()).rev() {
            let mut bytes = made[0][position].init.to_vec();
            for rendition in made.iter().map(|chunk| &chunk[position]) {
                assert_eq!(rendition.init, made[0][position].init, "one init for all chunks");
                assert_eq!(rendition.codec, made[0][position].codec);
                for segment in &rendition.segments {
                    let content = std::fs::read(&segment.path).unwrap();
                    assert_eq!(content.len() as u64, segment.bytes);
                    bytes.extend(content);
                }
            }
            std::fs::write(self.path("joined.mp4"), bytes).unwrap();
            let out = self.thumbnails(&self.path("joined.mp4"), 0);
            assert_eq!(out.len(), source.len());
            for (index, frame) in out.iter().enumerate() {
                let mut near = index.saturating_sub(3)..(index + 4).min(source.len());
                let own = distance(frame, &source[index]);
                let better = near.find(|at| 2 * distance(frame, &source[*at]) + NOISE < own);
                assert_eq!(better, None, "rendition {position} shows another frame at index {index}");
            }
        }
        self.path("joined.mp4")
    }

    /// Every shown frame as 32 × 18 grey pixels.
    fn thumbnails(&self, path: &Path, index: u32) -> Vec<Vec<u8>> {
        let (input, map) = (path.display().to_string(), format!("0:{index}"));
        let filter = "scale=32:18:flags=area,format=gray";
        self.ffmpeg(&["-i", &input, "-map", &map, "-fps_mode", "passthrough", "-vf", filter, "-f", "rawvideo", "thumbs.gray"]);
        std::fs::read(self.path("thumbs.gray")).unwrap().chunks(32 * 18).map(<[u8]>::to_vec).collect()
    }

    /// Where beeps begin, seconds on the file's own clock.
    pub fn beeps(&self, path: &Path) -> Vec<f64> {
        let input = path.display().to_string();
        let filter = "aresample=48000:async=1:min_hard_comp=0.01:first_pts=0";
        self.ffmpeg(&["-copyts", "-i", &input, "-map", "0:a:0", "-af", filter, "-ac", "1", "-f", "s16le", "beeps.raw"]);
        let bytes = std::fs::read(self.path("beeps.raw")).unwrap();
        let loud = |pair: &[u8]| i16::from_le_bytes([pair[0], pair[1]]).unsigned_abs() > 6_000;
        let mut found: Vec<usize> = Vec::new();
        for (index, _) in bytes.chunks_exact(2).enumerate().filter(|(_, pair)| loud(pair)) {
            if found.last().is_none_or(|last| index - last > 24_000) {
                found.push(index);
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "seconds of a short clip")]
        found.into_iter().map(|index| index as f64 / 48_000.0).collect()
    }
}

fn rung(short_side: u32) -> Rung {
    Rung { short_side, maxrate: 900_000, bufsize: 1_200_000 }
}

fn distance(a: &[u8], b: &[u8]) -> u64 {
    a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum()
}
