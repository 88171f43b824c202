//! YAML into a tree with line numbers, bounded, with the short forms of intrinsic functions written out.
//!
//! Built from the parser's events and not by its loader, so that nesting is bounded before a deep tree exists.
//! Scalars stay text: in a template `012` and `1e3` are names as often as numbers, and the property decides.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

/// Largest template, bytes (CloudFormation's bound for one in S3).
const MAX_BYTES: usize = 1 << 20;
/// Deepest nesting of lists and mappings.
const MAX_DEPTH: usize = 64;
/// Most keys of one mapping (a template has at most 500 resources).
const MAX_KEYS: usize = 2_000;
/// Most values that aliases may repeat, all together: nested ones would double at every step.
const MAX_REPEATED: usize = 50_000;

/// A value and the line it starts on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// Stands where a problem was reported already: readers pass over it in silence.
    Bad,
}

/// One `key: value`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) line: usize,
    pub(super) value: Node,
}

impl Node {
    pub(super) fn text(line: usize, text: impl Into<String>) -> Self {
        Self { line, value: Value::Text(text.into()) }
    }

    pub(super) fn bad(line: usize) -> Self {
        Self { line, value: Value::Bad }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value { Some(text) } else { None }
    }

    pub(super) fn as_map(&self) -> Option<&[Entry]> {
        if let Value::Map(entries) = &self.value { Some(entries) } else { None }
    }

    /// The value under a key, where this is a mapping that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// As JSON; scalars are texts, since the reader keeps no other kind.
    pub(super) fn json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null | Value::Bad => Json::Null,
            Value::Text(text) => Json::String(text.clone()),
            Value::List(items) => Json::Array(items.iter().map(Self::json).collect()),
            Value::Map(entries) => Json::Object(entries.iter().map(|entry| (entry.key.clone(), entry.value.json())).collect()),
        }
    }

    /// What it is, for a person: `a list`.
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
            Value::Bad => "a broken value",
        }
    }
}

/// Why the text is no usable YAML, and where.
#[derive(Debug, PartialEq)]
pub(super) struct YamlError {
    pub(super) line: usize,
    pub(super) message: String,
}

fn error<T>(line: usize, message: impl Into<String>) -> Result<T, YamlError> {
    Err(YamlError { line, message: message.into() })
}

/// An unfinished list or mapping.
struct Open {
    line: usize,
    tag: Option<String>,
    anchor: usize,
    items: Items,
}

/// Values with a name (`&name`), by the parser's number for it, and how many values were repeated so far.
#[derive(Default)]
struct Anchors {
    values: BTreeMap<usize, Node>,
    repeated: usize,
}

enum Items {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, key: Option<(String, usize)> },
}

/// One document.
pub(super) fn parse(text: &str) -> Result<Node, YamlError> {
    if text.len() > MAX_BYTES {
        return error(0, format!("the template is {} bytes; the largest is {MAX_BYTES}", text.len()));
    }
    let mut parser = Parser::new_from_str(text);
    let mut stack: Vec<Open> = Vec::new();
    let mut anchors = Anchors::default();
    let mut root = None;
    while let Some(event) = parser.next_event() {
        let (event, span) = event.or_else(|e| error(e.marker().line(), format!("not valid YAML: {}", e.info())))?;
        if let Some(node) = step(event, span, &mut stack, &mut anchors)? {
            place(node, &mut stack, &mut root)?;
        }
    }
    root.map_or_else(|| error(0, "the template is empty"), Ok)
}

/// Takes one event; a value when one is finished.
fn step(event: Event<'_>, span: Span, stack: &mut Vec<Open>, anchors: &mut Anchors) -> Result<Option<Node>, YamlError> {
    let line = span.start.line();
    let (items, anchor, tag) = match event {
        Event::Scalar(text, style, anchor, tag) => {
            let tag = tag.as_deref().and_then(intrinsic);
            let node = tagged(scalar(&text, style, tag.is_some(), line), tag);
            return Ok(Some(anchors.named(anchor, node)));
        }
        Event::SequenceStart(anchor, tag) => (Items::List(Vec::new()), anchor, tag),
        Event::MappingStart(anchor, tag) => (Items::Map { entries: Vec::new(), key: None }, anchor, tag),
        Event::SequenceEnd | Event::MappingEnd => {
            return Ok(stack.pop().map(|open| anchors.named(open.anchor, close(open))));
        }
        Event::Alias(anchor) => return anchors.repeat(anchor, line, stack.len()).map(Some),
        _ => return Ok(None),
    };
    if stack.len() >= MAX_DEPTH {
        return error(line, format!("nested deeper than {MAX_DEPTH} levels"));
    }
    stack.push(Open { line, tag: tag.as_deref().and_then(intrinsic), anchor, items });
    Ok(None)
}

impl Anchors {
    fn named(&mut self, anchor: usize, node: Node) -> Node {
        if anchor != 0 {
            self.values.insert(anchor, node.clone());
        }
        node
    }

    /// The value of `*name`, with the lines of where it was written.
    fn repeat(&mut self, anchor: usize, line: usize, depth: usize) -> Result<Node, YamlError> {
        let Some(node) = self.values.get(&anchor) else {
            return error(line, "a YAML alias names the value that it stands in; write the value out");
        };
        let (values, levels) = size(node);
        self.repeated += values;
        if depth + levels > MAX_DEPTH || self.repeated > MAX_REPEATED {
            return error(line, format!("YAML aliases repeat more than {MAX_REPEATED} values or nest deeper than {MAX_DEPTH} levels"));
        }
        Ok(node.clone())
    }
}

/// How many values a value holds, and how deep they nest.
fn size(node: &Node) -> (usize, usize) {
    let inner: Vec<(usize, usize)> = match &node.value {
        Value::List(items) => items.iter().map(size).collect(),
        Value::Map(entries) => entries.iter().map(|entry| size(&entry.value)).collect(),
        Value::Null | Value::Text(_) | Value::Bad => Vec::new(),
    };
    inner.into_iter().fold((1, 1), |(values, levels), (v, l)| (values + v, levels.max(l + 1)))
}

fn scalar(text: &str, style: ScalarStyle, tagged: bool, line: usize) -> Node {
    let null = style == ScalarStyle::Plain && !tagged && matches!(text, "" | "~" | "null" | "Null" | "NULL");
    if null { Node { line, value: Value::Null } } else { Node::text(line, text) }
}

fn close(open: Open) -> Node {
    let value = match open.items {
        Items::List(items) => Value::List(items),
        Items::Map { entries, .. } => Value::Map(entries),
    };
    tagged(Node { line: open.line, value }, open.tag)
}

/// `!Sub x` is `Fn::Sub: x`.
fn tagged(node: Node, tag: Option<String>) -> Node {
    let Some(key) = tag else { return node };
    let line = node.line;
    Node { line, value: Value::Map(vec![Entry { key, line, value: node }]) }
}

/// The long name of a short tag; none for YAML's own (`!!str`).
fn intrinsic(tag: &Tag) -> Option<String> {
    if tag.handle != "!" || tag.suffix.is_empty() {
        return None;
    }
    Some(match tag.suffix.as_str() {
        name @ ("Ref" | "Condition") => name.to_owned(),
        name => format!("Fn::{name}"),
    })
}

fn place(node: Node, stack: &mut [Open], root: &mut Option<Node>) -> Result<(), YamlError> {
    match stack.last_mut().map(|open| &mut open.items) {
        None if root.is_some() => return error(node.line, "a template is one YAML document; this is a second one"),
        None => *root = Some(node),
        Some(Items::List(items)) => items.push(node),
        Some(Items::Map { entries, key }) => match key.take() {
            None => *key = Some(checked_key(node, entries)?),
            Some((key, line)) => entries.push(Entry { key, line, value: node }),
        },
    }
    Ok(())
}

fn checked_key(node: Node, entries: &[Entry]) -> Result<(String, usize), YamlError> {
    let Value::Text(key) = node.value else {
        return error(node.line, format!("a key must be a text, not {}", node.kind()));
    };
    if key == "<<" {
        return error(node.line, "YAML merge keys (`<<`) are not supported in templates; write the values out");
    }
    if entries.len() >= MAX_KEYS {
        return error(node.line, format!("a mapping with more than {MAX_KEYS} keys"));
    }
    if let Some(first) = entries.iter().find(|entry| entry.key == key) {
        return error(node.line, format!("`{key}` is given twice (first on line {})", first.line));
    }
    Ok((key, node.line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms_are_written_out_and_lines_kept() {
        let root = parse("a: 1\nb: !Sub '${x}'\nc: !Join ['', [1]]\n").unwrap();
        let sub = root.get("b").unwrap();
        assert_eq!((sub.line, sub.get("Fn::Sub").and_then(Node::as_text)), (2, Some("${x}")));
        assert_eq!(root.get("c").unwrap().as_map().unwrap()[0].key, "Fn::Join");
    }

    #[test]
    fn refusals_name_the_line() {
        for (text, line, part) in [
            ("a: 1\nb: 2\na: 3\n", 3, "`a` is given twice (first on line 1)"),
            ("a: &x [*x]\n", 1, "stands in"),
            ("a: &x {}\nb:\n  <<: *x\n", 3, "merge keys"),
            ("a: [1\n", 2, "not valid YAML"),
            ("a: 1\n---\nb: 1\n", 3, "second"),
            ("? [1]\n: 2\n", 1, "a key must be a text"),
            ("", 0, "empty"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.line, line, "{text:?}: {error:?}");
            assert!(error.message.contains(part), "{text:?}: {error:?}");
        }
    }

    #[test]
    fn aliases_repeat_values_within_bounds() {
        let root = parse("a: &x [!Ref P, 2]\nb: { c: *x }\n").unwrap();
        assert_eq!(root.get("b").unwrap().get("c"), root.get("a"));
        // Each line names the one before it, once or ten times.
        let chain = |times: usize| {
            let line = |i: usize| format!("a{i}: &a{i} [{}]", vec![format!("*a{}", i - 1); times].join(", "));
            let lines: Vec<String> = std::iter::once("a0: &a0 x".to_owned()).chain((1..200).map(line)).collect();
            lines.join("\n")
        };
        for times in [1, 10] {
            assert!(parse(&chain(times)).unwrap_err().message.contains("YAML aliases repeat more than"));
        }
    }

    #[test]
    fn nesting_is_bounded() {
        assert!(parse(&"[".repeat(200)).unwrap_err().message.contains("deeper than 64"));
        assert!(parse(&"[".repeat(100_000)).is_err());
        let lines: Vec<String> = (0..1_000).map(|i| " ".repeat(i) + "a:\n").collect();
        assert!(parse(&lines.concat()).unwrap_err().message.contains("deeper than 64"));
    }
}
