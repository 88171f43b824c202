//! `Parameters`: defaults, overrides and what each may be.

use std::collections::BTreeMap;

use super::{
    error::Problems,
    yaml::{Entry, Node, Value},
};

/// Name of the override that sets the stack's name.
pub(super) const STACK_NAME: &str = "AWS::StackName";
/// The stack's name where nobody gave one.
pub(super) const DEFAULT_STACK_NAME: &str = "local";

/// Every parameter with its value: a text, or a list of texts for the list types.
pub(super) fn read(section: &[Entry], overrides: &BTreeMap<String, String>, problems: &mut Problems) -> BTreeMap<String, Node> {
    for name in overrides.keys().filter(|name| *name != STACK_NAME) {
        if !section.iter().any(|entry| entry.key == *name) {
            let known: Vec<&str> = section.iter().map(|entry| entry.key.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let place = format!("Parameters.{name}");
            problems.add(0, &place, "", format!("the template has no such parameter; it has: {known}"));
        }
    }
    section.iter().map(|entry| (entry.key.clone(), parameter(entry, overrides.get(&entry.key), problems))).collect()
}

/// The stack's name: an override or the default.
pub(super) fn stack_name(overrides: &BTreeMap<String, String>, problems: &mut Problems) -> String {
    let name = overrides.get(STACK_NAME).map_or(DEFAULT_STACK_NAME, String::as_str);
    let valid = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.len() <= 128
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if !valid {
        let message = format!("`{name}` is no stack name; use a letter, then letters, digits and hyphens");
        problems.add(0, STACK_NAME, "", message);
    }
    name.to_owned()
}

/// Properties of a parameter beside its type. `AllowedPattern` is CloudFormation's to enforce: its grammar is Java's.
const PROPERTIES: [&str; 10] = [
    "AllowedPattern",
    "AllowedValues",
    "ConstraintDescription",
    "Default",
    "Description",
    "MaxLength",
    "MaxValue",
    "MinLength",
    "MinValue",
    "NoEcho",
];

#[derive(Clone, Copy, PartialEq)]
enum Type {
    Text,
    Number,
    TextList,
    NumberList,
}

fn parameter(entry: &Entry, given: Option<&String>, problems: &mut Problems) -> Node {
    let place = format!("Parameters.{}", entry.key);
    let mut report = |line: usize, property: &str, message: String| problems.add(line, &place, property, message);
    if entry.value.as_map().is_none() {
        report(entry.line, "", format!("a parameter is a mapping with a Type, not {}", entry.value.kind()));
        return Node::bad(entry.line);
    }
    let Some(kind) = type_of(entry, &mut report) else { return Node::bad(entry.line) };
    let (line, text) = match (given, entry.value.get("Default")) {
        (Some(given), _) => (0, given.clone()),
        (None, Some(Node { line, value: Value::Text(text) })) => (*line, text.clone()),
        (None, Some(Node { value: Value::Null, line })) => (*line, String::new()),
        (None, Some(other)) => {
            report(other.line, "Default", format!("must be a text, not {}", other.kind()));
            return Node::bad(entry.line);
        }
        (None, None) => {
            report(entry.line, "", "has no Default and no value was given; give one with a parameter override".into());
            return Node::bad(entry.line);
        }
    };
    let values = items(kind, &text);
    let mut fits = true;
    for value in &values {
        if let Err(message) = check(entry, kind, value) {
            report(if line == 0 { entry.line } else { line }, "", message);
            fits = false;
        }
    }
    match kind {
        _ if !fits => Node::bad(entry.line),
        Type::Text | Type::Number => Node::text(entry.line, text),
        Type::TextList | Type::NumberList => {
            let items = values.into_iter().map(|value| Node::text(entry.line, value)).collect();
            Node { line: entry.line, value: Value::List(items) }
        }
    }
}

fn type_of(entry: &Entry, report: &mut impl FnMut(usize, &str, String)) -> Option<Type> {
    let mut kind = None;
    for Entry { key, line, value } in entry.value.as_map().unwrap_or_default() {
        match (key.as_str(), value.as_text()) {
            ("Type", Some("String")) => kind = Some(Type::Text),
            ("Type", Some("Number")) => kind = Some(Type::Number),
            ("Type", Some("CommaDelimitedList")) => kind = Some(Type::TextList),
            ("Type", Some("List<Number>")) => kind = Some(Type::NumberList),
            ("Type", _) => {
                let message = "the platform knows the types String, Number, CommaDelimitedList and List<Number>";
                report(*line, key, message.into());
                return None;
            }
            (name, _) if PROPERTIES.contains(&name) => {}
            _ => report(*line, key, "is no property of a parameter; remove it".into()),
        }
    }
    if kind.is_none() {
        report(entry.line, "Type", "is missing; use String, Number or CommaDelimitedList".into());
    }
    kind
}

fn items(kind: Type, text: &str) -> Vec<String> {
    match kind {
        Type::Text | Type::Number => vec![text.to_owned()],
        Type::TextList | Type::NumberList if text.trim().is_empty() => Vec::new(),
        Type::TextList | Type::NumberList => text.split(',').map(|item| item.trim().to_owned()).collect(),
    }
}

fn check(entry: &Entry, kind: Type, value: &str) -> Result<(), String> {
    if let Some(Node { value: Value::List(allowed), .. }) = entry.value.get("AllowedValues") {
        let allowed: Vec<&str> = allowed.iter().filter_map(Node::as_text).collect();
        if !allowed.contains(&value) {
            return Err(format!("`{value}` is not allowed; use one of: {}", allowed.join(", ")));
        }
    }
    let bound = |key: &str| entry.value.get(key).and_then(Node::as_text).and_then(|text| text.parse::<f64>().ok());
    let (measure, least, most) = if matches!(kind, Type::Number | Type::NumberList) {
        let Some(number) = value.trim().parse::<f64>().ok().filter(|number| number.is_finite()) else {
            return Err(format!("`{value}` is not a number; give a number"));
        };
        (number, bound("MinValue"), bound("MaxValue"))
    } else {
        let length = u32::try_from(value.chars().count()).unwrap_or(u32::MAX);
        (f64::from(length), bound("MinLength"), bound("MaxLength"))
    };
    if least.is_some_and(|least| measure < least) || most.is_some_and(|most| measure > most) {
        let (least, most) = (least.map_or("any".into(), |n| n.to_string()), most.map_or("any".into(), |n| n.to_string()));
        let what = if matches!(kind, Type::Number | Type::NumberList) { "" } else { " characters" };
        return Err(format!("`{value}` is out of bounds; use {least} to {most}{what}"));
    }
    Ok(())
}
