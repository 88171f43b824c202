//! When the pictures of a copy are shown, where its source tells only the order in which they are decoded: found by
//! decoding the copy once. ffmpeg's own ways (`genpts`, the filter `dts2pts`) are wrong at the beginnings of groups.

use std::collections::BTreeMap;

use pipeline::{Fault, encoder::EncodeError, source::SourceReport};

use crate::{
    FfmpegEncoder,
    args::{self, remux::Displayed},
    cell::{self, Lines},
    chunk::failed,
    dir::CellDir,
    verdict::verdict,
};

/// Pictures whose times are made so at most: five hours and a half at 25 a second. ffmpeg takes 0.75 KB for each (measured
/// on 200,000), of the 768 MB that `split` has.
const MAX_PICTURES: usize = 500_000;

/// Containers that have one time for a packet, and it is not when it is shown, with the codecs that reorder in them.
/// MPEG-4 in AVI has places without a picture where two lie in one before ([`args::remux::is_packed`]), which `genpts` takes for some.
const UNKNOWN: [(&str, &[&str]); 4] =
    [("avi", &["h264", "hevc", "mpeg4"]), ("asf", &["h264", "hevc"]), ("mxf", &["h264", "hevc"]), ("gxf", &["mpeg2video"])];

/// Whether the source of these tracks does not say when its pictures are shown.
pub fn is_unknown(tracks: &SourceReport) -> bool {
    let Some(track) = tracks.video.iter().find(|track| !track.cover) else { return false };
    let container = |name: &str| tracks.container.split(',').any(|own| own == name);
    let is_in_order = track.codec == "mpeg4" && !track.reorders;
    !is_in_order && UNKNOWN.iter().any(|(name, codecs)| container(name) && codecs.contains(&track.codec.as_str()))
}

/// Decodes the copy that is in `dir`. `None`: its pictures are shown in the order and at the times that they have.
pub async fn displayed(encoder: &FfmpegEncoder, dir: &CellDir, source: &SourceReport) -> Result<Option<Displayed>, EncodeError> {
    let command = args::shown(&encoder.tools().ffprobe);
    let outcome = cell::run(command.clone(), dir.path().to_owned(), encoder.limits(), None, Order::default()).await?;
    encoder.note(outcome.report);
    if let Some(fault) = outcome.stopped {
        return Err(fault.into());
    }
    if let Some(fault) = verdict(outcome.ended, &outcome.stderr) {
        return Err(failed(encoder, command, outcome.stderr, fault).await);
    }
    // In MXF the first picture is shown at the first place (SMPTE ST 377-1, 11.1); elsewhere places are when a decoder gets
    // pictures, and it shows the first when it has as many as it waits for.
    let in_place = source.container.split(',').any(|name| name == "mxf");
    Ok(outcome.sink.displayed(in_place))
}

/// Times of packets as they lie and of pictures as they are shown.
#[derive(Debug, Default)]
struct Order {
    decoded: Vec<i64>,
    shown: Vec<i64>,
    /// Pictures that the decoder waits for before it shows the first.
    delay: usize,
}

impl Lines for Order {
    fn line(&mut self, line: &[u8]) -> Result<(), Fault> {
        let line = String::from_utf8_lossy(line);
        let time = |rest: &str| rest.split('|').find_map(|field| field.strip_prefix("pts=")?.parse::<i64>().ok());
        let (list, time) = match line.split_once('|') {
            Some(("packet", rest)) => (&mut self.decoded, time(rest)),
            Some(("frame", rest)) => (&mut self.shown, time(rest)),
            Some(("stream", rest)) => {
                self.delay = rest.split('|').find_map(|field| field.strip_prefix("has_b_frames=")?.parse().ok()).unwrap_or(0);
                return Ok(());
            }
            _ => return Ok(()),
        };
        if list.len() >= MAX_PICTURES {
            return Err(Fault::reject(format!(
                "the container does not say when its pictures are shown, and there are more than {MAX_PICTURES}: \
                 convert the film (ffmpeg -i IN OUT.mp4) and upload that"
            )));
        }
        list.extend(time);
        Ok(())
    }
}

impl Order {
    /// The pictures that are shown share out their times of decoding in the order in which they are shown. Packets of
    /// which nothing is seen keep theirs.
    fn displayed(&self, in_place: bool) -> Option<Displayed> {
        let mut places: BTreeMap<i64, i64> = BTreeMap::new();
        let mut sorted = self.shown.clone();
        sorted.sort_unstable();
        sorted.dedup();
        for (time, place) in self.shown.iter().zip(&sorted) {
            places.entry(*time).or_insert(*place);
        }
        let early = places.iter().map(|(decoded, place)| decoded - place).max().unwrap_or_default();
        if places.is_empty() || places.iter().all(|(decoded, place)| decoded == place) {
            return None;
        }
        let delay = sorted.get(self.delay).zip(sorted.first()).map_or(0, |(place, first)| place - first);
        let late = if in_place { 0 } else { early.max(delay) };
        let times = self.decoded.iter().map(|time| places.get(time).unwrap_or(time) + late).collect();
        Some(Displayed { times, early: if in_place { early } else { 0 } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(decoded: &[i64], shown: &[i64]) -> Order {
        let mut order = Order::default();
        let lines = decoded.iter().map(|time| format!("packet|pts={time}")).chain(shown.iter().map(|time| format!("frame|pts={time}")));
        lines.for_each(|line| order.line(line.as_bytes()).unwrap());
        order
    }

    #[test]
    fn pictures_share_out_their_times_in_the_order_they_are_shown() {
        // I P B B: the second packet is shown last.
        let mut found = order(&[0, 40, 80, 120], &[0, 80, 120, 40]);
        assert_eq!(found.displayed(false), Some(Displayed { times: vec![40, 160, 80, 120], early: 0 }));
        assert_eq!(found.displayed(true), Some(Displayed { times: vec![0, 120, 40, 80], early: 40 }));
        // A decoder that waits for two.
        found.line(b"stream|has_b_frames=2").unwrap();
        assert_eq!(found.displayed(false), Some(Displayed { times: vec![80, 200, 120, 160], early: 0 }));
        assert_eq!(order(&[0, 40, 80], &[0, 40, 80]).displayed(false), None);
        assert_eq!(order(&[0, 40], &[]).displayed(false), None);
    }

    #[test]
    fn a_packet_that_shows_nothing_keeps_its_time() {
        let found = order(&[0, 40, 80, 120, 160], &[40, 120, 80, 160]);
        assert_eq!(found.displayed(true), Some(Displayed { times: vec![0, 40, 120, 80, 160], early: 40 }));
    }
}
