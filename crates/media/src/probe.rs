//! What ffprobe says of a source, read line by line: packets, tracks and the container, in any order.

mod claims;
mod fields;
mod offsets;
mod track;

use std::path::Path;

use futures::StreamExt;
use pipeline::{
    Fault, Shortage,
    encoder::{ByteStream, EncodeError, ProbeInput},
    plan::ByteRange,
    source::{AudioTrack, Packet, SourceReport, SubtitleTrack, VideoTrack},
    timebase::TimeBase,
};

pub use self::claims::few;
use self::{
    fields::Fields,
    track::{are_fields, audio_track, paired, subtitle_track, video_track},
};
use crate::{
    FfmpegEncoder,
    args::{self, Listing},
    cell::{self, Input, Lines},
    chunk::{blocking, failed},
    dir::{CellDir, io_fault},
    matroska::{self, Found, Tap},
    verdict::{Ended, verdict},
};

/// Packets of all tracks together: 23 hours of 60 pictures a second.
const MAX_PACKETS: u64 = 5_000_000;
const MAX_TRACKS: usize = 64;
/// Programs of a transport stream: a satellite's channel has twenty.
const MAX_PROGRAMS: usize = 256;
/// CPU of one probe: an hour of film takes under 20 s (media.md section 2), a broken file must fail early.
const MAX_CPU_SECONDS: u64 = 300;
/// Address space of one probe: 5 million packets take 0.4 GB, decoders of 8K with their threads under 2 GB.
const MAX_MEMORY: u64 = 4 << 30;
/// Blocks between the download and the probe's pipe.
const MAX_BLOCKS: usize = 4;

/// Reads headers and the packet index.
pub async fn probe(encoder: &FfmpegEncoder, input: ProbeInput, scratch: &Path) -> Result<SourceReport, EncodeError> {
    let dir = CellDir::new(scratch)?;
    let cut = matches!(input, ProbeInput::Cut(_));
    let index = match input {
        ProbeInput::File(path) | ProbeInput::Cut(path) => {
            dir.link(&path, args::INPUT)?;
            few_in(&path).await?;
            let tracks = run(encoder, &dir, Listing::Tracks, None, Index::default()).await?;
            let is = |kind| tracks.container.split(',').any(|name| name == kind);
            let (tables, is_matroska) = (is("mov"), is("matroska"));
            let looked = blocking(move || match () {
                () if tables => offsets::look(&path, cut).map(|steps| (steps, Found::default())),
                () if is_matroska => {
                    matroska::walk(&path).map(|found| (Vec::new(), found)).map_err(|error| io_fault("read", &path, &error))
                }
                () => Ok((Vec::new(), Found::default())),
            });
            let (steps, found) = looked.await?;
            run(encoder, &dir, Listing::Packets { tables }, None, Index { cut, found, steps, ..tracks }).await?
        }
        ProbeInput::Stream(stream) => {
            let (sender, receiver) = tokio::sync::mpsc::channel(MAX_BLOCKS);
            let mut tap = Tap::default();
            let listing = run(encoder, &dir, Listing::Piped, Some(receiver), Index::default());
            let index = pour(few(stream), sender, Some(&mut tap), listing).await?;
            Index { found: tap.found(), ..index }
        }
    };
    Ok(can_be_decoded(encoder, index.finish()?).await?)
}

/// Refuses a file of which ffprobe would make too large an index.
pub async fn few_in(path: &Path) -> Result<(), Fault> {
    let path = path.to_owned();
    blocking(move || claims::few_in(&path)).await
}

/// The container and the tracks alone: of a file under its fixed name, or of the beginning of a stream.
pub async fn tracks(encoder: &FfmpegEncoder, dir: &CellDir, head: Option<Vec<bytes::Bytes>>) -> Result<SourceReport, EncodeError> {
    let index = match head {
        None => run(encoder, dir, Listing::Tracks, None, Index::default()).await?,
        Some(head) => {
            let (sender, receiver) = tokio::sync::mpsc::channel(MAX_BLOCKS);
            let head = Box::pin(futures::stream::iter(head.into_iter().map(Ok)));
            pour(head, sender, None, run(encoder, dir, Listing::PipedTracks, Some(receiver), Index::default())).await?
        }
    };
    Ok(can_be_decoded(encoder, index.finish()?).await?)
}

/// What ffmpeg has no decoder for goes to the other tracks; a film of which no picture can be decoded is refused by name.
async fn can_be_decoded(encoder: &FfmpegEncoder, mut report: SourceReport) -> Result<SourceReport, Fault> {
    let codecs = encoder.decodable().await?;
    let (known, lost): (Vec<_>, Vec<_>) = report.video.into_iter().partition(|t| t.cover || codecs.contains(&t.codec));
    if let Some(track) = lost.first()
        && known.iter().all(|t| t.cover)
    {
        let codec = if track.codec == "unknown" { "a codec that has no name here".to_owned() } else { format!("`{}`", track.codec) };
        return Err(Fault::reject(format!(
            "The video is coded as {codec}, which the ffmpeg of this installation cannot decode: convert the film and upload that."
        )));
    }
    report.video = known;
    report.other.extend(lost.iter().map(|t| format!("{}:video:{} (no decoder)", t.index, t.codec)));
    let (known, lost): (Vec<_>, Vec<_>) = report.audio.into_iter().partition(|t| codecs.contains(&t.codec));
    if let Some(track) = lost.first()
        && known.is_empty()
        && report.video.iter().all(|t| t.cover)
    {
        return Err(Fault::reject(format!(
            "The sound is coded as `{}`, which the ffmpeg of this installation cannot decode: convert it and upload that.",
            track.codec
        )));
    }
    report.audio = known;
    report.other.extend(lost.iter().map(|t| format!("{}:audio:{} (no decoder)", t.index, t.codec)));
    Ok(report)
}

/// One run that adds to what is known.
async fn run(encoder: &FfmpegEncoder, dir: &CellDir, listing: Listing, input: Option<Input>, known: Index) -> Result<Index, EncodeError> {
    let command = args::probe(&encoder.tools().ffprobe, listing);
    let limits = encoder.limits();
    let limits =
        cell::Limits { cpu_seconds: limits.cpu_seconds.min(MAX_CPU_SECONDS), memory_bytes: limits.memory_bytes.min(MAX_MEMORY), ..limits };
    let outcome = cell::run(command.clone(), dir.path().to_owned(), limits, input, known).await?;
    encoder.note(outcome.report);
    if let Some(fault) = outcome.stopped {
        return Err(fault.into());
    }
    match unreadable(outcome.ended, &outcome.stderr) {
        Some(fault) => Err(failed(encoder, command, outcome.stderr, fault).await),
        None => Ok(outcome.sink),
    }
}

/// ffprobe reads on with a scale of its own: edit lists and times then mean something else than was written.
const NO_TIME_SCALE: &str = "Invalid mdhd time scale 0";

/// As [`verdict`], but what a probe cannot read, or not within its own limits, is the file's fault: more memory or another
/// try would not help, and an operator neither. A kill from outside (the machine is out of memory), a crash, a slow
/// download and an option that this ffprobe does not know stay the world's.
fn unreadable(ended: Ended, stderr: &str) -> Option<Fault> {
    if stderr.contains(NO_TIME_SCALE) {
        return Some(Fault::reject("The file is damaged: a track has no time scale."));
    }
    let fault = verdict(ended, stderr)?;
    Some(match (&fault, ended) {
        (Fault::Escalate { reason: Shortage::Memory, .. }, Ended::Exit(_)) => {
            Fault::reject("The file's tables claim more than is accepted: the file is damaged, or it was made to do harm.")
        }
        (Fault::Escalate { reason: Shortage::Time, .. }, Ended::Signal(_)) => Fault::reject(format!(
            "The file takes more than {MAX_CPU_SECONDS} s of computing to be listed, which is more than is accepted."
        )),
        (Fault::Escalate { reason: Shortage::Tool, .. }, Ended::Exit(1)) if !stderr.to_ascii_lowercase().contains("option") => {
            Fault::reject("The file is damaged in its headers, or written in a way that cannot be read here.")
        }
        _ => fault,
    })
}

/// Runs the probe while its source arrives, which `tap` sees as well. A source that breaks off is the world's fault, not the file's.
pub async fn pour<T, E: From<Fault>>(
    mut stream: ByteStream,
    sender: tokio::sync::mpsc::Sender<bytes::Bytes>,
    mut tap: Option<&mut Tap>,
    run: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let pouring = async move {
        while let Some(block) = stream.next().await {
            let block = block?;
            if let Some(tap) = &mut tap {
                tap.pass(&block);
            }
            if sender.send(block).await.is_err() {
                // The probe has seen enough.
                return Ok(());
            }
        }
        if let Some(tap) = tap {
            tap.end();
        }
        Ok::<(), Fault>(())
    };
    let mut run = std::pin::pin!(run);
    tokio::select! {
        outcome = &mut run => return outcome,
        end = pouring => end?,
    }
    run.await
}

/// What is known so far.
#[derive(Debug, Default)]
struct Index {
    packets: u64,
    /// The file ends early: the packet that it ends in is none.
    cut: bool,
    tracks: Vec<TrackIndex>,
    /// Tracks, by index, that were listed.
    told: Vec<bool>,
    first_pos: Option<u64>,
    last_end: Option<u64>,
    container: String,
    /// Lines about the tracks: made sense of when their packets are known.
    streams: Vec<String>,
    /// Of a transport stream: the tracks of each program, by index. The last is being told of.
    programs: Vec<Vec<u32>>,
    in_program: bool,
    video: Vec<VideoTrack>,
    audio: Vec<AudioTrack>,
    subtitles: Vec<SubtitleTrack>,
    other: Vec<String>,
    /// What a walk through a Matroska file came by.
    found: Found,
    /// Of an MP4's tracks of H.264, seconds between two pictures that may be coded as fields.
    steps: Vec<Option<f64>>,
    /// Bytes of sound, and of tracks that are neither that nor pictures by their headers.
    sound_bytes: u64,
    strange_bytes: u64,
}

/// The packets of one track.
#[derive(Debug, Default)]
struct TrackIndex {
    /// Of a video track only.
    packets: Vec<Packet>,
    count: u64,
    bytes: u64,
    /// First PTS that is played, and samples of it that are not.
    first: Option<(i64, u64)>,
    /// PTS of the packet behind it.
    second: Option<i64>,
    /// End of the last packet, and samples before it that are not played.
    end: Option<(i64, u64)>,
    /// The longest stretch between two packets that none covers: from when on, and how long.
    hole: Option<(i64, i64)>,
    /// Where the packets of sound or text lie.
    extents: Vec<ByteRange>,
}

impl Lines for Index {
    fn line(&mut self, line: &[u8]) -> Result<(), Fault> {
        let line = String::from_utf8_lossy(line);
        let Some((section, fields)) = line.split_once('|') else {
            // An empty line ends a program.
            self.in_program = false;
            return Ok(());
        };
        let fields = Fields(fields);
        match section {
            "packet" => self.packet(fields),
            "program" => {
                self.programs.push(Vec::new());
                self.in_program = true;
                self.of_program(fields)
            }
            // Those of a program are listed in it, and once more by themselves.
            "stream" if self.streams.len() >= 2 * MAX_TRACKS => Err(too_many_tracks()),
            "stream" => {
                self.of_program(fields)?;
                self.streams.push(fields.0.to_owned());
                Ok(())
            }
            "format" => {
                fields.get("format_name").unwrap_or_default().clone_into(&mut self.container);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Index {
    fn packet(&mut self, fields: Fields<'_>) -> Result<(), Fault> {
        self.packets += 1;
        if self.packets > MAX_PACKETS {
            return Err(Fault::reject(format!("The file holds more than {MAX_PACKETS} packets, which is more than is accepted.")));
        }
        let Some(index) = fields.number::<usize>("stream_index") else { return Ok(()) };
        if index >= MAX_TRACKS {
            return Err(too_many_tracks());
        }
        let flags = fields.get("flags").unwrap_or_default();
        if self.cut && flags.contains('C') {
            return Ok(());
        }
        let (pos, size) = (fields.number::<u64>("pos"), fields.number::<u32>("size").unwrap_or(0));
        if let Some(pos) = pos {
            self.first_pos = Some(self.first_pos.map_or(pos, |first| first.min(pos)));
            let end = pos.saturating_add(u64::from(size));
            self.last_end = Some(self.last_end.map_or(end, |last| last.max(end)));
        }
        if self.tracks.len() <= index {
            self.tracks.resize_with(index + 1, TrackIndex::default);
        }
        let Some(track) = self.tracks.get_mut(index) else { return Ok(()) };
        let packet = Packet {
            pts: fields.number("pts"),
            dts: fields.number("dts"),
            pos,
            size,
            key: flags.contains('K'),
            shown: !flags.contains('D'),
        };
        track.count += 1;
        track.bytes = track.bytes.saturating_add(u64::from(size));
        match fields.get("codec_type") {
            Some("video") => track.packets.push(packet),
            Some("audio") => {
                track.lies(packet);
                track.sound(packet, fields);
            }
            Some("subtitle") => track.lies(packet),
            _ => {}
        }
        Ok(())
    }

    fn track(&mut self, fields: Fields<'_>) -> Result<(), Fault> {
        let Some(index) = fields.number::<u32>("index") else { return Ok(()) };
        if index as usize >= MAX_TRACKS {
            return Err(too_many_tracks());
        }
        // ffprobe lists the tracks of a program twice: in the program, and by themselves.
        if std::mem::replace(self.told.get_mut(index as usize).unwrap_or(&mut false), true) {
            return Ok(());
        }
        let packets = self.tracks.get_mut(index as usize).map(std::mem::take).unwrap_or_default();
        let kind = fields.get("codec_type").unwrap_or("unknown");
        let codec = fields.get("codec_name").unwrap_or("unknown").to_owned();
        let time_base = fields.get("time_base").and_then(TimeBase::parse);
        let bytes = match kind {
            "video" => None,
            "audio" if codec != "unknown" => Some(&mut self.sound_bytes),
            _ => Some(&mut self.strange_bytes),
        };
        if let Some(bytes) = bytes {
            *bytes = bytes.saturating_add(packets.bytes);
        }
        match (kind, time_base) {
            ("video", Some(base)) => self.video.push(video_track(index, codec, base, fields, packets)?),
            ("audio", Some(base)) => {
                let position = u32::try_from(self.audio.len()).unwrap_or(u32::MAX);
                self.audio.push(audio_track((index, position), codec, base, fields, &packets));
            }
            ("subtitle", _) => {
                let position = u32::try_from(self.subtitles.len()).unwrap_or(u32::MAX);
                self.subtitles.push(subtitle_track((index, position), codec, fields, packets));
            }
            _ => self.other.push(format!("{index}:{kind}:{codec}")),
        }
        Ok(())
    }

    fn of_program(&mut self, fields: Fields<'_>) -> Result<(), Fault> {
        if self.programs.len() > MAX_PROGRAMS {
            return Err(Fault::reject(format!(
                "The file holds more than {MAX_PROGRAMS} programs: write the one that is meant (ffmpeg -i IN -map 0:p:NUMBER -c copy \
                 OUT.ts) and upload that."
            )));
        }
        let track = fields.number::<u32>("index").filter(|_| self.in_program);
        self.programs.last_mut().into_iter().for_each(|program| program.extend(track));
        Ok(())
    }

    /// Leaves out sound and text of programs that are not the picture's: they are of other films.
    fn of_one_program(&mut self) {
        // Of a picture that never comes no size is known.
        let picture = self.video.iter().filter(|track| !track.cover).min_by_key(|track| track.width == 0).map(|track| track.index);
        let is_own = |program: &Vec<u32>| picture.is_some_and(|index| program.contains(&index));
        let (own, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.programs).into_iter().partition(is_own);
        let (own, others) = (own.concat(), others.concat());
        let foreign = |index: u32| !own.is_empty() && others.contains(&index) && !own.contains(&index);
        let sound =
            self.audio.extract_if(.., |track| foreign(track.index)).map(|t| format!("{}:audio:{} (another program)", t.index, t.codec));
        self.other.extend(sound);
        let text = self.subtitles.extract_if(.., |track| foreign(track.index));
        self.other.extend(text.map(|t| format!("{}:subtitle:{} (another program)", t.index, t.codec)));
    }

    /// A picture that is coded as two fields is one, whose second packet shows nothing by itself.
    fn fields(&mut self) {
        for track in self.video.iter_mut().filter(|track| track.codec == "h264") {
            paired(track, &self.found.second_fields);
        }
        let of_tables = self.video.iter_mut().filter(|track| track.codec == "h264");
        for (track, step) in of_tables.zip(&self.steps) {
            track.fields_apart = step.is_some_and(|step| are_fields(track, step));
        }
    }

    fn finish(mut self) -> Result<SourceReport, Fault> {
        self.told = vec![false; MAX_TRACKS];
        let mut streams = std::mem::take(&mut self.streams);
        // Those of a program come first, but for its first one, whose line begins with the program's name.
        streams.sort_by_key(|line| Fields(line).number::<u32>("index"));
        for line in streams {
            self.track(Fields(&line))?;
        }
        self.of_one_program();
        self.fields();
        if self.container.is_empty() {
            return Err(Fault::escalate(Shortage::Tool, "the probe ended well and said nothing about the file"));
        }
        if self.video.is_empty() && self.audio.is_empty() {
            return Err(Fault::reject("The file holds neither pictures nor sound."));
        }
        if self.strange_bytes > self.sound_bytes && self.video.iter().all(|track| track.cover) {
            // A film whose header calls the picture something else would pass for sound alone.
            return Err(Fault::reject(
                "The file has no picture, and most of it is a track that is neither picture nor sound by its header: the header is \
                 damaged, or the film must be converted (ffmpeg -i IN OUT.mp4).",
            ));
        }
        Ok(SourceReport {
            container: self.container,
            video: self.video,
            audio: self.audio,
            subtitles: self.subtitles,
            other: self.other,
            first_packet_pos: self.first_pos,
            last_packet_end: self.last_end,
            way_to_text: self.found.way,
        })
    }
}

fn too_many_tracks() -> Fault {
    Fault::reject(format!("The file holds more than {MAX_TRACKS} tracks, which is more than is accepted."))
}

impl TrackIndex {
    fn lies(&mut self, packet: Packet) {
        let Some(start) = packet.pos else { return };
        let end = start.saturating_add(u64::from(packet.size));
        match self.extents.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => self.extents.push(ByteRange { start, end }),
        }
    }

    /// Where ffmpeg's decoder begins and ends: whole packets that an edit list discards are flagged; the samples of a
    /// packet that are not played (AAC's and Opus's priming, an edit inside a packet) are its side data, and all of
    /// them are told at the first packet, which may then be flagged itself.
    fn sound(&mut self, packet: Packet, fields: Fields<'_>) {
        let Some(pts) = packet.pts else { return };
        let skip = fields.suffixed::<u64>(":skip_samples").unwrap_or(0);
        if self.first.is_none() && (packet.shown || skip > 0) {
            self.first = Some((pts, skip));
        } else if self.first.is_some() && self.second.is_none() {
            self.second = Some(pts);
        }
        let missing = self.end.map_or(0, |(last, _)| pts.saturating_sub(last));
        if let Some((last, _)) = self.end
            && missing > self.hole.map_or(0, |(_, longest)| longest)
        {
            self.hole = Some((last, missing));
        }
        let end = pts.saturating_add(fields.number::<i64>("duration").unwrap_or(0));
        if packet.shown && self.end.is_none_or(|(last, _)| end >= last) {
            self.end = Some((end, fields.suffixed::<u64>(":discard_padding").unwrap_or(0)));
        }
    }
}

#[cfg(test)]
mod tests;
