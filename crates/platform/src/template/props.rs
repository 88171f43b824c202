//! Reads the properties of one resource: each by name and kind, and whatever nobody asked for is a problem.

use std::{collections::BTreeSet, ops::RangeInclusive, time::Duration};

use super::{
    error::Problems,
    links::Place,
    yaml::{Entry, Node, Value},
};

/// A mapping being read.
pub(super) struct Props<'a> {
    pub(super) resource: &'a str,
    path: String,
    /// Line for what is missing.
    pub(super) line: usize,
    entries: &'a [Entry],
    asked: BTreeSet<&'a str>,
}

impl<'a> Props<'a> {
    /// `node` of another kind than a mapping is a problem, and reads as empty.
    pub(super) fn new(resource: &'a str, path: &str, line: usize, node: Option<&'a Node>, problems: &mut Problems) -> Self {
        let entries = match node.map(|node| (&node.value, node)) {
            Some((Value::Map(entries), _)) => entries.as_slice(),
            None | Some((Value::Bad | Value::Null, _)) => &[],
            Some((_, other)) => {
                problems.add(other.line, resource, path, format!("must be a mapping, not {}", other.kind()));
                &[]
            }
        };
        Self { resource, path: path.to_owned(), line, entries, asked: BTreeSet::new() }
    }

    fn join(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Reports a problem with a property.
    pub(super) fn fail(&self, problems: &mut Problems, line: usize, key: &str, message: impl Into<String>) {
        problems.add(line, self.resource, &self.join(key), message);
    }

    /// Where a property stands, for problems that show only when all resources are known.
    pub(super) fn place(&self, key: &str) -> Place {
        Place { resource: self.resource.to_owned(), property: self.join(key), line: self.line_of(key) }
    }

    /// The value, whatever it is; none where absent or broken.
    pub(super) fn node(&mut self, key: &'a str) -> Option<&'a Node> {
        self.asked.insert(key);
        let node = &self.entries.iter().find(|entry| entry.key == key)?.value;
        (!matches!(node.value, Value::Bad | Value::Null)).then_some(node)
    }

    /// Whether the property is given, broken or not.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// Line of a property, or of the whole where it is absent.
    pub(super) fn line_of(&self, key: &str) -> usize {
        self.entries.iter().find(|entry| entry.key == key).map_or(self.line, |entry| entry.line)
    }

    pub(super) fn text(&mut self, key: &'a str, problems: &mut Problems) -> Option<&'a str> {
        let node = self.node(key)?;
        if node.as_text().is_none() {
            self.fail(problems, node.line, key, format!("must be a text, not {}", node.kind()));
        }
        node.as_text()
    }

    /// A text that must be there.
    pub(super) fn required(&mut self, key: &'a str, problems: &mut Problems) -> Option<&'a str> {
        if !self.has(key) {
            self.fail(problems, self.line, key, "is missing; set it");
        }
        self.text(key, problems)
    }

    pub(super) fn number(&mut self, key: &'a str, range: RangeInclusive<u32>, problems: &mut Problems) -> Option<u32> {
        let text = self.text(key, problems)?;
        let number = text.trim().parse::<u32>().ok().filter(|number| range.contains(number));
        if number.is_none() {
            let message = format!("`{text}` must be a whole number from {} to {}", range.start(), range.end());
            self.fail(problems, self.line_of(key), key, message);
        }
        number
    }

    pub(super) fn seconds(&mut self, key: &'a str, range: RangeInclusive<u32>, problems: &mut Problems) -> Option<Duration> {
        self.number(key, range, problems).map(|seconds| Duration::from_secs(seconds.into()))
    }

    pub(super) fn flag(&mut self, key: &'a str, problems: &mut Problems) -> Option<bool> {
        let text = self.text(key, problems)?;
        match text.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                self.fail(problems, self.line_of(key), key, format!("`{text}` must be true or false"));
                None
            }
        }
    }

    /// One of the values AWS knows that the platform also runs.
    pub(super) fn only(&mut self, key: &'a str, allowed: &[&str], problems: &mut Problems) -> Option<&'a str> {
        let text = self.text(key, problems)?;
        if !allowed.contains(&text) {
            let message = format!("`{text}` is not supported by the platform; use {}", allowed.join(" or "));
            self.fail(problems, self.line_of(key), key, message);
        }
        Some(text)
    }

    pub(super) fn list(&mut self, key: &'a str, problems: &mut Problems) -> &'a [Node] {
        match self.node(key) {
            None => &[],
            Some(Node { value: Value::List(items), .. }) => items,
            Some(node) => {
                self.fail(problems, node.line, key, format!("must be a list, not {}", node.kind()));
                &[]
            }
        }
    }

    pub(super) fn texts(&mut self, key: &'a str, problems: &mut Problems) -> Vec<(&'a str, usize)> {
        let mut texts = Vec::new();
        for item in self.list(key, problems) {
            match (item.as_text(), &item.value) {
                (Some(text), _) => texts.push((text, item.line)),
                (None, Value::Bad) => {}
                (None, _) => self.fail(problems, item.line, key, format!("must hold texts, not {}", item.kind())),
            }
        }
        texts
    }

    /// A text or a list of texts, with their lines.
    pub(super) fn text_or_texts(&mut self, key: &'a str, problems: &mut Problems) -> Vec<(&'a str, usize)> {
        match self.node(key) {
            Some(Node { value: Value::Text(text), line }) => vec![(text, *line)],
            _ => self.texts(key, problems),
        }
    }

    /// A mapping inside this one, where given.
    pub(super) fn map(&mut self, key: &'a str, problems: &mut Problems) -> Option<Props<'a>> {
        let node = self.node(key)?;
        Some(Props::new(self.resource, &self.join(key), node.line, Some(node), problems))
    }

    /// The mappings in a list.
    pub(super) fn maps(&mut self, key: &'a str, problems: &mut Problems) -> Vec<Props<'a>> {
        let path = self.join(key);
        let items = self.list(key, problems).iter().enumerate();
        let open = |(i, node): (usize, &'a Node)| Props::new(self.resource, &format!("{path}[{i}]"), node.line, Some(node), problems);
        items.map(open).collect()
    }

    pub(super) fn entries(&self) -> &'a [Entry] {
        self.entries
    }

    /// Properties that exist on AWS and change nothing on one machine.
    pub(super) fn without_effect(&mut self, keys: &[&'a str]) {
        self.asked.extend(keys);
    }

    /// Properties that the platform cannot honour yet.
    pub(super) fn unsupported(&mut self, keys: &[&'a str], problems: &mut Problems) {
        for key in keys.iter().copied() {
            if !self.has(key) {
                continue;
            }
            self.asked.insert(key);
            self.fail(problems, self.line_of(key), key, "is not supported by the platform yet; remove it");
        }
    }

    /// Whatever was not asked for is a problem.
    pub(super) fn finish(self, problems: &mut Problems) {
        for entry in self.entries.iter().filter(|entry| !self.asked.contains(entry.key.as_str())) {
            self.fail(problems, entry.line, &entry.key, "is no property that the platform knows; check the name or remove it");
        }
    }
}
