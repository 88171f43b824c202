//! The film of every world: 18 seconds, or as long as is asked, at 2 pictures a second, with sound, as a tidy MP4.

use bytes::Bytes;
use pipeline::{
    plan::{ByteRange, Colors, Role},
    source::{AudioTrack, Packet, SourceReport, SubtitleTrack, VideoTrack},
    timebase::TimeBase,
};

/// Chunks that the planner makes of the usual film.
pub const CHUNKS: u32 = 3;
const FRAMES_OF_CHUNK: usize = 12;
/// Milliseconds of a chunk.
const CHUNK_MS: i64 = 6_000;
/// Where the media begins: behind `ftyp` and the header of `mdat`.
const MEDIA: u64 = 24;

/// What the uploads are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    #[default]
    Film,
    /// A film without an index.
    Stream,
    /// Sound alone.
    Sound,
    /// A film of which a sixth was never uploaded.
    Cut,
    /// A film with a picture so great that the sound behind it is read without it.
    Great,
}

impl Kind {
    /// What the probe says of one of so many chunks.
    pub fn report(self, chunks: u32) -> SourceReport {
        match self {
            Self::Sound => sound_report(chunks),
            Self::Cut => cut_report(chunks),
            Self::Great => great_report(chunks),
            Self::Film | Self::Stream => report(chunks),
        }
    }

    /// Its bytes.
    pub fn bytes(self, chunks: u32) -> Bytes {
        match self {
            Self::Stream => [&STREAM[..], &bytes(chunks)].concat().into(),
            Self::Sound => sound_bytes(),
            Self::Film => bytes(chunks),
            Self::Cut => cut_bytes(chunks),
            Self::Great => great_bytes(chunks),
        }
    }
}

fn frames(chunks: u32) -> usize {
    FRAMES_OF_CHUNK * chunks as usize
}

/// Bytes of a picture: few in long films, since every worker has a file of the film's size.
fn packet_bytes(chunks: u32) -> u32 {
    if chunks > 100 { 2 } else { 100 }
}

/// What the probe says of a film of so many chunks.
pub fn report(chunks: u32) -> SourceReport {
    let (frames, bytes) = (frames(chunks), packet_bytes(chunks));
    let ticks = |frame: usize| i64::try_from(frame).unwrap_or_default() * 500;
    let packet = |frame: usize| Packet {
        pts: Some(ticks(frame)),
        dts: Some(ticks(frame)),
        pos: Some(MEDIA + frame as u64 * u64::from(bytes)),
        size: bytes,
        key: frame.is_multiple_of(4),
        shown: true,
    };
    let video = VideoTrack {
        index: 0,
        codec: "h264".into(),
        time_base: TimeBase::MILLIS,
        width: 854,
        height: 480,
        sample_aspect: (1, 1),
        rotation: 0,
        pix_fmt: "yuv420p".into(),
        field_order: "progressive".into(),
        colors: Colors { transfer: "bt709".into(), ..Colors::default() },
        dolby_vision: None,
        cover: false,
        frame_rate: 2.0,
        fields_apart: false,
        reorders: true,
        packets: (0..frames).map(packet).collect(),
    };
    let audio = AudioTrack {
        index: 1,
        position: 0,
        codec: "aac".into(),
        time_base: TimeBase::MILLIS,
        channels: 2,
        sample_rate: 48_000,
        language: "eng".into(),
        title: String::new(),
        default: true,
        role: Role::Main,
        first_pts: Some(0),
        end_pts: Some(CHUNK_MS * i64::from(chunks)),
        packets: 281 * u64::from(chunks),
        hole: None,
        extents: Vec::new(),
    };
    SourceReport {
        container: "mov,mp4,m4a,3gp,3g2,mj2".into(),
        video: vec![video],
        audio: vec![audio],
        subtitles: vec![],
        other: vec![],
        first_packet_pos: Some(MEDIA),
        last_packet_end: Some(MEDIA + frames as u64 * u64::from(bytes)),
        way_to_text: Vec::new(),
    }
}

/// Tracks of text for it: the second holds nothing that can be read.
pub fn subtitles() -> Vec<SubtitleTrack> {
    let track = |number: u32, language: &str| SubtitleTrack {
        index: 2 + number,
        position: number,
        codec: "subrip".into(),
        language: language.into(),
        title: String::new(),
        default: false,
        forced: false,
        role: Role::Main,
        packets: 4,
        extents: Vec::new(),
    };
    vec![track(0, "eng"), track(1, "tlh"), track(2, "deu")]
}

/// What the probe says of a film without a picture: the sound twice, the second time with a cover beside it.
pub fn sound_report(chunks: u32) -> SourceReport {
    let mut report = report(chunks);
    report.container = "wav".into();
    let cover = report.video.swap_remove(0);
    report.video.push(VideoTrack { index: 2, cover: true, packets: cover.packets.into_iter().take(1).collect(), ..cover });
    report.audio.extend(report.audio.first().cloned().map(|track| AudioTrack { index: 1, position: 1, default: false, ..track }));
    report
}

/// Its bytes: a WAV file.
pub fn sound_bytes() -> Bytes {
    let samples = vec![7; 4000];
    let length = u32::try_from(samples.len()).unwrap_or(u32::MAX).to_le_bytes();
    [&b"RIFF\0\0\0\0WAVEdata"[..], &length, &samples].concat().into()
}

/// What makes a film a program stream, which must be remuxed: the start code of a pack.
pub const STREAM: [u8; 4] = [0, 0, 1, 0xBA];

/// Bytes of its tables.
const TABLES: [u8; 400] = [9; 400];

/// Its bytes: `ftyp`, `mdat`, `moov`.
pub fn bytes(chunks: u32) -> Bytes {
    [part(*b"ftyp", b"isommp42"), part(*b"mdat", &media(chunks)), part(*b"moov", &TABLES)].concat().into()
}

/// The same with its tables in front, and without the last sixth of its media.
pub fn cut_bytes(chunks: u32) -> Bytes {
    let whole = [part(*b"ftyp", b"isommp42"), part(*b"moov", &TABLES), part(*b"mdat", &media(chunks))].concat();
    let missing = media(chunks).len() / 6;
    whole[..whole.len() - missing].to_vec().into()
}

/// What its tables say: they know of no end but the film's.
pub fn cut_report(chunks: u32) -> SourceReport {
    let mut report = report(chunks);
    for packet in report.video.iter_mut().flat_map(|track| &mut track.packets) {
        packet.pos = packet.pos.map(|pos| pos + 8 + TABLES.len() as u64);
    }
    report
}

/// Bytes of the great picture behind the others, of the sound behind that, and of each track of text behind that.
const GREAT: u64 = 5 << 20;
const SOUND: u64 = 1_000;
const TEXT: u64 = 100;
/// As many as there are.
const TEXTS: u64 = 2;

/// What the probe says of a film whose sound lies behind its pictures, the last of which is great.
pub fn great_report(chunks: u32) -> SourceReport {
    let mut report = report(chunks);
    let end = report.last_packet_end.unwrap_or_default() + GREAT;
    for packet in report.video.iter_mut().filter_map(|track| track.packets.last_mut()) {
        packet.size += u32::try_from(GREAT).unwrap_or(u32::MAX);
    }
    for track in &mut report.audio {
        track.extents = vec![ByteRange { start: end, end: end + SOUND }];
    }
    report.last_packet_end = Some(end + SOUND);
    report
}

/// The same where there is text, which lies behind the sound and can all be read.
pub fn text_behind_sound(report: &mut SourceReport) {
    report.subtitles.retain(|track| track.language != "tlh");
    let mut at = report.last_packet_end.unwrap_or_default();
    for track in &mut report.subtitles {
        track.extents = vec![ByteRange { start: at, end: at + TEXT }];
        at += TEXT;
    }
    report.last_packet_end = Some(at);
}

/// Its bytes.
pub fn great_bytes(chunks: u32) -> Bytes {
    let heard = (0..SOUND).map(|i| u8::try_from(i * 11 % 251).unwrap_or_default());
    let read = (0..TEXT * TEXTS).map(|i| u8::try_from(i * 13 % 251).unwrap_or_default());
    let media: Vec<u8> = media(chunks).into_iter().chain((0..GREAT).map(|_| 3)).chain(heard).chain(read).collect();
    [part(*b"ftyp", b"isommp42"), part(*b"mdat", &media), part(*b"moov", &TABLES)].concat().into()
}

/// The report of a film of which so many bytes are there.
pub fn within(mut report: SourceReport, bytes: u64) -> SourceReport {
    for track in &mut report.video {
        track.packets.retain(|packet| packet.pos.is_some_and(|pos| pos + u64::from(packet.size) <= bytes));
        let ends = track.packets.last().and_then(|packet| packet.pts);
        for sound in &mut report.audio {
            sound.end_pts = ends.map(|pts| pts + 500);
        }
    }
    report
}

fn part(kind: [u8; 4], body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 8).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &kind, body].concat()
}

fn media(chunks: u32) -> Vec<u8> {
    (0..frames(chunks) * packet_bytes(chunks) as usize).map(|i| u8::try_from(i * 7 % 251).unwrap_or_default()).collect()
}
