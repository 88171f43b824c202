//! Fields of a line: those that every line has, those of Lambda's own lines, and those of JSON.
//!
//! Source: the guide's page "Supported logs and discovered fields".

use std::{cell::RefCell, fmt};

use serde::de::{
    DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
    value::{MapAccessDeserializer, SeqAccessDeserializer},
};

use super::{expression::Row, value::Value};

/// Objects within objects of a line that are looked into.
const MAX_JSON_DEPTH: usize = 32;

/// A line as it is stored.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
    pub ingested_ms: i64,
    /// Name of its group.
    pub group: &'a str,
    pub stream: &'a str,
    pub message: &'a str,
    /// Number of the line in the store.
    pub id: i64,
}

/// Fields that a query speaks of, each with its slot.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    own: Vec<(Own, usize)>,
    report: Vec<(&'static Report, usize)>,
    /// Names within JSON.
    json: Vec<(String, usize)>,
}

#[derive(Clone, Copy, Debug)]
enum Own {
    Timestamp,
    Ingestion,
    Message,
    Stream,
    Log,
    Pointer,
    Type,
    RequestId,
}

/// A figure of a `REPORT` line.
#[derive(Debug)]
struct Report {
    field: &'static str,
    label: &'static str,
    /// What the figure is multiplied by: megabytes become bytes.
    factor: f64,
}

const REPORT: [Report; 5] = [
    Report { field: "@duration", label: "Duration", factor: 1.0 },
    Report { field: "@billedDuration", label: "Billed Duration", factor: 1.0 },
    Report { field: "@initDuration", label: "Init Duration", factor: 1.0 },
    Report { field: "@memorySize", label: "Memory Size", factor: 1e6 },
    Report { field: "@maxMemoryUsed", label: "Max Memory Used", factor: 1e6 },
];

impl Fields {
    /// Has `name` filled into `slot`.
    pub fn add(&mut self, name: &str, slot: usize) {
        let own = match name {
            "@timestamp" => Own::Timestamp,
            "@ingestionTime" => Own::Ingestion,
            "@message" => Own::Message,
            "@logStream" => Own::Stream,
            "@log" => Own::Log,
            "@ptr" => Own::Pointer,
            "@type" => Own::Type,
            "@requestId" => Own::RequestId,
            _ => {
                match REPORT.iter().find(|report| report.field == name) {
                    Some(report) => self.report.push((report, slot)),
                    None => self.json.push((name.to_owned(), slot)),
                }
                return;
            }
        };
        self.own.push((own, slot));
    }

    /// The row of a line, with `width` slots.
    pub fn row(&self, line: &Line<'_>, width: usize) -> Row {
        let mut row = vec![Value::Missing; width];
        let mut set = |slot: usize, value: Value| {
            if let Some(place) = row.get_mut(slot) {
                *place = value;
            }
        };
        for (own, slot) in &self.own {
            set(*slot, own.value(line));
        }
        if !self.report.is_empty() && line.message.starts_with("REPORT RequestId:") {
            for (report, slot) in &self.report {
                set(*slot, report.value(line.message));
            }
        }
        if !self.json.is_empty()
            && let Some(start) = line.message.find('{')
        {
            let found = RefCell::new(Vec::new());
            let wanted: Vec<(&str, usize)> = self.json.iter().map(|(name, slot)| (name.as_str(), *slot)).collect();
            let text = line.message.get(start..).unwrap_or_default();
            let mut json = serde_json::Deserializer::from_str(text);
            // What is no JSON has no fields; what was found before the break is not kept either.
            if (Inside { wanted, found: &found, depth: 0 }).deserialize(&mut json).is_ok() {
                found.into_inner().into_iter().for_each(|(slot, value)| set(slot, value));
            }
        }
        row
    }
}

impl Own {
    fn value(self, line: &Line<'_>) -> Value {
        let text = |text: &str| Value::Text(text.to_owned());
        match self {
            Self::Timestamp => Value::Time(line.timestamp_ms),
            Self::Ingestion => Value::Time(line.ingested_ms),
            Self::Message => text(line.message),
            Self::Stream => text(line.stream),
            Self::Log => text(&format!("{}:{}", crate::stack::ACCOUNT, line.group)),
            Self::Pointer => text(&line.id.to_string()),
            Self::Type => {
                let kinds = ["START", "END", "REPORT"].into_iter();
                let of = |kind: &&str| line.message.strip_prefix(*kind).is_some_and(|rest| rest.starts_with(" RequestId: "));
                kinds.into_iter().find(of).map_or(Value::Missing, text)
            }
            Self::RequestId => {
                let after = line.message.split_once("RequestId: ").map(|(_, rest)| rest);
                let id = after.and_then(|rest| rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).next());
                id.filter(|id| !id.is_empty()).map_or(Value::Missing, text)
            }
        }
    }
}

impl Report {
    /// `Duration: 3.16 ms`; parts are divided by tabs.
    fn value(&self, message: &str) -> Value {
        let figure = message.split('\t').find_map(|part| {
            let rest = part.trim().strip_prefix(self.label)?.strip_prefix(": ")?;
            rest.split(' ').next()?.parse::<f64>().ok()
        });
        figure.map_or(Value::Missing, |figure| Value::Number(figure * self.factor))
    }
}

/// Picks the wanted names out of a JSON value; all else is passed over.
struct Inside<'a, 'f> {
    wanted: Vec<(&'a str, usize)>,
    found: &'f RefCell<Vec<(usize, Value)>>,
    depth: usize,
}

impl<'a> Inside<'a, '_> {
    /// What is wanted of the value under `key`: names equal to it, and what follows `key.` in names.
    fn under(&self, key: &str) -> Self {
        let step = |(name, slot): &(&'a str, usize)| {
            let rest = name.strip_prefix(key)?;
            let rest = if rest.is_empty() { Some("") } else { rest.strip_prefix('.') };
            rest.map(|rest| (rest, *slot))
        };
        Self { wanted: self.wanted.iter().filter_map(step).collect(), found: self.found, depth: self.depth + 1 }
    }

    fn set(&self, value: &Value) {
        let here = self.wanted.iter().filter(|(name, _)| name.is_empty());
        here.for_each(|(_, slot)| self.found.borrow_mut().push((*slot, value.clone())));
    }
}

impl<'de> DeserializeSeed<'de> for Inside<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.wanted.is_empty() || self.depth > MAX_JSON_DEPTH {
            return deserializer.deserialize_any(IgnoredAny).map(drop);
        }
        if let [("", slot)] = self.wanted[..] {
            self.found.borrow_mut().push((slot, deserializer.deserialize_any(Alone)?));
            return Ok(());
        }
        // It is asked for, and what is within it too.
        if self.wanted.iter().any(|(name, _)| name.is_empty()) {
            let whole = <serde_json::Value as serde::Deserialize>::deserialize(deserializer)?;
            self.whole(&whole);
            return Ok(());
        }
        deserializer.deserialize_any(self)
    }
}

/// A value that is asked for, and nothing within it. An object or a list is shown as it is written.
struct Alone;

impl<'de> Visitor<'de> for Alone {
    type Value = Value;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Flag(flag))
    }
    #[expect(clippy::cast_precision_loss, reason = "numbers of log lines")]
    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number as f64))
    }
    #[expect(clippy::cast_precision_loss, reason = "numbers of log lines")]
    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number as f64))
    }
    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Number(number))
    }
    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Missing)
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
        written(MapAccessDeserializer::new(map))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Value, A::Error> {
        written(SeqAccessDeserializer::new(list))
    }
}

fn written<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    <serde_json::Value as serde::Deserialize>::deserialize(deserializer).map(|value| Value::Text(value.to_string()))
}

impl Inside<'_, '_> {
    fn whole(&self, value: &serde_json::Value) {
        self.set(&match value {
            serde_json::Value::Null => Value::Missing,
            serde_json::Value::Bool(flag) => Value::Flag(*flag),
            serde_json::Value::Number(number) => Value::Number(number.as_f64().unwrap_or_default()),
            serde_json::Value::String(text) => Value::Text(text.clone()),
            other => Value::Text(other.to_string()),
        });
        if self.depth > MAX_JSON_DEPTH {
            return;
        }
        match value {
            serde_json::Value::Object(map) => map.iter().for_each(|(key, inner)| self.under(key).whole_if_wanted(inner)),
            serde_json::Value::Array(list) => {
                list.iter().enumerate().for_each(|(index, inner)| self.under(&index.to_string()).whole_if_wanted(inner));
            }
            _ => {}
        }
    }

    fn whole_if_wanted(&self, value: &serde_json::Value) {
        if !self.wanted.is_empty() {
            self.whole(value);
        }
    }
}

impl<'de> Visitor<'de> for Inside<'_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            map.next_value_seed(self.under(&key))?;
        }
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut index = 0usize;
        while list.next_element_seed(self.under(&index.to_string()))?.is_some() {
            index += 1;
        }
        Ok(())
    }
    // A plain value has no names within it.
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}
