//! Reads a file of profiles, and finds all that is wrong with it at once.

use std::{borrow::Cow, fmt};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{MAX_BYTES, Profiles, rules};
use crate::plan::{Channels, Hdr, Metric, OnDamage, Output, Profile, Rung, TargetQuality, VideoCodec};

/// Profiles of one file.
const MAX_PROFILES: usize = 100;
/// Characters of a name.
const MAX_NAME: usize = 40;
const FIELDS: [&str; 15] = [
    "like",
    "codec",
    "preset",
    "crf",
    "target",
    "chunk_ms",
    "gop_ms",
    "ladder",
    "hdr",
    "deinterlace",
    "audio_bitrate",
    "channels",
    "loudness",
    "outputs",
    "on_damage",
];

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong, where, and what to write.
    pub text: String,
}

/// All that is wrong with a file, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, Problem { line, text }) in self.0.iter().enumerate() {
            write!(f, "{}line {line}: {text}", if number == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}
impl std::error::Error for Problems {}

/// The profiles of a file. A field that is left out is that of the profile named by `like`: one of `known`, or of this
/// file before it; `h264` where it names none.
pub fn parse(text: &str, known: &Profiles) -> Result<Vec<Profile>, Problems> {
    let mut reader = Reader { text, problems: Vec::new() };
    if text.len() > MAX_BYTES {
        return Err(reader.only(0, format!("the file has {} bytes; {MAX_BYTES} are the most", text.len())));
    }
    let document = match DeTable::parse(text) {
        Ok(document) => document,
        Err(error) => return Err(reader.only(error.span().map_or(0, |span| span.start), error.message().to_owned())),
    };
    let mut tables: Vec<_> = document.get_ref().iter().collect();
    // In the order of the file: `like` may name what stands before it.
    tables.sort_by_key(|(name, _)| name.span().start);
    if tables.is_empty() || tables.len() > MAX_PROFILES {
        return Err(reader.only(0, format!("it holds {} profiles; write 1 to {MAX_PROFILES}, each as [name]", tables.len())));
    }
    let mut made: Vec<Profile> = Vec::new();
    for (name, value) in tables {
        let DeValue::Table(fields) = value.get_ref() else {
            reader.say(name.span().start, format!("`{}` stands outside of any profile: write it below a [name]", name.get_ref()));
            continue;
        };
        let place = name.span().start;
        let name: &Cow<'_, str> = name.get_ref();
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(plain) {
            reader.say(place, format!("the name `{name}` must be 1 to {MAX_NAME} of a-z, 0-9, - and _"));
        }
        made.push(reader.profile(name, place, fields, known, &made));
    }
    if reader.problems.is_empty() {
        return Ok(made);
    }
    reader.problems.sort_by_key(|problem| problem.line);
    Err(Problems(reader.problems))
}

struct Reader<'a> {
    text: &'a str,
    problems: Vec<Problem>,
}

/// What a profile starts from that names no other.
fn first(before: &[Profile], known: &Profiles) -> Profile {
    known.find("h264").or_else(|| before.iter().find(|profile| profile.name == "h264")).cloned().unwrap_or_else(rules::blank)
}

type Value<'a> = Spanned<DeValue<'a>>;

impl Reader<'_> {
    fn say(&mut self, at: usize, text: String) {
        let line = self.text.get(..at).unwrap_or(self.text).matches('\n').count() + 1;
        self.problems.push(Problem { line, text });
    }

    fn only(&mut self, at: usize, text: String) -> Problems {
        self.say(at, text);
        Problems(std::mem::take(&mut self.problems))
    }

    fn profile(&mut self, name: &str, place: usize, fields: &DeTable<'_>, known: &Profiles, before: &[Profile]) -> Profile {
        let base = self.base(fields, known, before);
        let mut profile = Profile { name: name.to_owned(), ..base };
        let mut places = Vec::new();
        for (key, value) in fields {
            places.push((key.get_ref().to_string(), key.span().start));
            self.field(&mut profile, key.get_ref(), key.span().start, value);
        }
        for (field, text) in rules::wrong(&profile) {
            let at = places.iter().find(|(key, _)| key == field).map_or(place, |(_, at)| *at);
            self.say(at, format!("{name}.{field}: {text}"));
        }
        profile
    }

    fn base(&mut self, fields: &DeTable<'_>, known: &Profiles, before: &[Profile]) -> Profile {
        let Some(like) = fields.get("like") else { return first(before, known) };
        let named = self.word("like", like).unwrap_or_default();
        let found = before.iter().find(|profile| profile.name == named).or_else(|| known.find(&named));
        if found.is_none() && !named.is_empty() {
            let there: Vec<&str> = known.names().chain(before.iter().map(|profile| profile.name.as_str())).collect();
            self.say(like.span().start, format!("like: there is no profile `{named}` before it; there are {}", there.join(", ")));
        }
        found.cloned().unwrap_or_else(|| first(before, known))
    }

    fn field(&mut self, profile: &mut Profile, key: &str, at: usize, value: &Value<'_>) {
        match key {
            "like" => {}
            "codec" => {
                let codecs = [("h264", VideoCodec::H264), ("hevc", VideoCodec::Hevc), ("av1", VideoCodec::Av1), ("vp9", VideoCodec::Vp9)];
                self.choice(key, value, &codecs, &mut profile.codec);
            }
            "hdr" => self.choice(key, value, &[("to-sdr", Hdr::ToSdr), ("keep", Hdr::Keep)], &mut profile.hdr),
            "channels" => self.choice(key, value, &[("stereo", Channels::Stereo), ("keep", Channels::Keep)], &mut profile.channels),
            "on_damage" => self.choice(key, value, &[("fail", OnDamage::Fail), ("partial", OnDamage::Partial)], &mut profile.on_damage),
            "preset" => profile.preset = self.word(key, value).unwrap_or_else(|| profile.preset.clone()),
            "crf" => self.whole(key, value, &mut profile.crf),
            "chunk_ms" => self.whole(key, value, &mut profile.chunk_ms),
            "gop_ms" => self.whole(key, value, &mut profile.gop_ms),
            "audio_bitrate" => self.whole(key, value, &mut profile.audio_bitrate),
            "deinterlace" => match value.get_ref() {
                DeValue::Boolean(flag) => profile.deinterlace = *flag,
                _ => self.say(value.span().start, "deinterlace: write true or false".into()),
            },
            "loudness" => match value.get_ref() {
                DeValue::Boolean(false) => profile.loudness = None,
                DeValue::Integer(_) | DeValue::Float(_) => profile.loudness = self.number(key, value).or(profile.loudness),
                _ => self.say(value.span().start, "loudness: write LUFS, for example -23.0, or false to leave the sound as it is".into()),
            },
            "target" => profile.target = self.target(value).or(profile.target),
            "ladder" => profile.ladder = self.ladder(value).unwrap_or_else(|| profile.ladder.clone()),
            "outputs" => profile.outputs = self.outputs(value).unwrap_or_else(|| profile.outputs.clone()),
            _ => self.unknown(key, at, &FIELDS),
        }
    }

    fn unknown(&mut self, key: &str, at: usize, known: &[&str]) {
        let near =
            known.iter().filter(|name| name.starts_with(key.get(..2).unwrap_or(key))).min_by_key(|name| name.len().abs_diff(key.len()));
        let hint = near.map_or_else(|| format!("there are {}", known.join(", ")), |near| format!("did you mean `{near}`?"));
        self.say(at, format!("there is no field `{key}`; {hint}"));
    }

    fn word(&mut self, key: &str, value: &Value<'_>) -> Option<String> {
        if let DeValue::String(text) = value.get_ref() {
            return Some(text.to_string());
        }
        self.say(value.span().start, format!("{key}: write it between quotation marks"));
        None
    }

    fn choice<T: Copy>(&mut self, key: &str, value: &Value<'_>, choices: &[(&str, T)], into: &mut T) {
        let Some(word) = self.word(key, value) else { return };
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == word) {
            *into = *choice;
        } else {
            let names: Vec<String> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
            self.say(value.span().start, format!("{key}: there is no `{word}`; write {}", names.join(" or ")));
        }
    }

    fn whole(&mut self, key: &str, value: &Value<'_>, into: &mut u32) {
        let number = match value.get_ref() {
            DeValue::Integer(number) => u32::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        match number {
            Some(number) => *into = number,
            None => self.say(value.span().start, format!("{key}: write a whole number of 0 or more")),
        }
    }

    fn number(&mut self, key: &str, value: &Value<'_>) -> Option<f64> {
        let number = match value.get_ref() {
            DeValue::Integer(number) => number.as_str().parse().ok(),
            DeValue::Float(number) => number.as_str().parse::<f64>().ok().filter(|number| number.is_finite()),
            _ => None,
        };
        if number.is_none() {
            self.say(value.span().start, format!("{key}: write a number"));
        }
        number
    }

    fn target(&mut self, value: &Value<'_>) -> Option<TargetQuality> {
        let DeValue::Table(fields) = value.get_ref() else {
            self.say(value.span().start, "target: write { metric = \"vmaf\", score = 93.0, min_crf = 17, max_crf = 35 }".into());
            return None;
        };
        // Every encoder takes these.
        let mut target = TargetQuality { metric: Metric::Vmaf, score: f64::NAN, min_crf: 1, max_crf: 51 };
        for (key, value) in fields {
            match key.get_ref().as_ref() {
                "metric" => self.choice("metric", value, &[("vmaf", Metric::Vmaf), ("ssim", Metric::Ssim)], &mut target.metric),
                "score" => target.score = self.number("score", value).unwrap_or(f64::NAN),
                "min_crf" => self.whole("min_crf", value, &mut target.min_crf),
                "max_crf" => self.whole("max_crf", value, &mut target.max_crf),
                other => self.unknown(other, key.span().start, &["metric", "score", "min_crf", "max_crf"]),
            }
        }
        Some(target)
    }

    fn ladder(&mut self, value: &Value<'_>) -> Option<Vec<Rung>> {
        const SHAPE: &str = "ladder: write [{ short_side = 720, maxrate = 2_996_000, bufsize = 4_200_000 }, …]";
        let DeValue::Array(rungs) = value.get_ref() else {
            self.say(value.span().start, SHAPE.into());
            return None;
        };
        let mut made = Vec::new();
        for rung in rungs {
            let DeValue::Table(fields) = rung.get_ref() else {
                self.say(rung.span().start, SHAPE.into());
                return None;
            };
            let mut read = Rung { short_side: 0, maxrate: 0, bufsize: 0 };
            for (key, value) in fields {
                match key.get_ref().as_ref() {
                    "short_side" => self.whole("short_side", value, &mut read.short_side),
                    "maxrate" => self.whole("maxrate", value, &mut read.maxrate),
                    "bufsize" => self.whole("bufsize", value, &mut read.bufsize),
                    other => self.unknown(other, key.span().start, &["short_side", "maxrate", "bufsize"]),
                }
            }
            made.push(read);
        }
        Some(made)
    }

    fn outputs(&mut self, value: &Value<'_>) -> Option<Vec<Output>> {
        const OUTPUTS: [(&str, Output); 7] = [
            ("hls", Output::Hls),
            ("dash", Output::Dash),
            ("mp4", Output::Mp4),
            ("audio", Output::Audio),
            ("poster", Output::Poster),
            ("sprite", Output::Sprite),
            ("preview", Output::Preview),
        ];
        let DeValue::Array(list) = value.get_ref() else {
            self.say(value.span().start, "outputs: write a list, for example [\"hls\", \"mp4\"]".into());
            return None;
        };
        let mut made = Vec::new();
        for item in list {
            let mut output = Output::Hls;
            self.choice("outputs", item, &OUTPUTS, &mut output);
            made.push(output);
        }
        made.sort_unstable();
        made.dedup();
        Some(made)
    }
}
