//! The intrinsic functions: a tree with `Ref`, `Fn::Sub`, … in, the same tree with plain values out.

use std::collections::BTreeMap;

use super::{
    error::Problems,
    names::Attributes,
    sub,
    yaml::{Entry, Node, Value},
};

/// Longest text that a function may make, bytes: chained names could double at every step.
const MAX_TEXT: usize = 64 << 10;

/// What the names in a template stand for.
#[derive(Debug, Default)]
pub(super) struct Scope<'a> {
    /// Parameters and pseudo-parameters.
    pub(super) values: BTreeMap<String, Node>,
    pub(super) mappings: &'a [Entry],
    /// None: broken, reported already.
    pub(super) conditions: BTreeMap<String, Option<bool>>,
    pub(super) resources: BTreeMap<String, Existence>,
    /// The template's resources may be named (not so in `Conditions`).
    pub(super) resources_known: bool,
}

#[derive(Debug)]
pub(super) enum Existence {
    Live(Attributes),
    /// Left out by its condition.
    Absent,
}

/// Evaluates the values of one resource or section.
pub(super) struct Evaluator<'a> {
    pub(super) scope: &'a Scope<'a>,
    pub(super) problems: &'a mut Problems,
    pub(super) resource: &'a str,
    path: Vec<String>,
}

impl<'a> Evaluator<'a> {
    pub(super) fn new(scope: &'a Scope<'a>, problems: &'a mut Problems, resource: &'a str, path: &str) -> Self {
        let path = if path.is_empty() { Vec::new() } else { vec![path.to_owned()] };
        Self { scope, problems, resource, path }
    }

    /// The value without functions; none where it is `AWS::NoValue`.
    pub(super) fn eval(&mut self, node: &Node) -> Option<Node> {
        let value = match &node.value {
            Value::Null | Value::Text(_) | Value::Bad => return Some(node.clone()),
            Value::List(items) => Value::List(items.iter().filter_map(|item| self.eval(item)).collect()),
            Value::Map(entries) => match function_of(entries) {
                Some((entry, 1)) => return self.call(entry),
                Some((entry, _)) => {
                    return Some(self.fail(entry.line, format!("{} must be the only key of its mapping", entry.key)));
                }
                None => Value::Map(entries.iter().filter_map(|entry| self.entry(entry)).collect()),
            },
        };
        Some(Node { line: node.line, value })
    }

    fn entry(&mut self, entry: &Entry) -> Option<Entry> {
        let value = self.eval_at(&entry.key, &entry.value)?;
        Some(Entry { key: entry.key.clone(), line: entry.line, value })
    }

    /// [`eval`](Self::eval) of the value under a key of what is being evaluated.
    pub(super) fn eval_at(&mut self, key: &str, node: &Node) -> Option<Node> {
        self.path.push(key.to_owned());
        let value = self.eval(node);
        self.path.pop();
        value
    }

    /// Reports a problem here; the value that stands for it.
    pub(super) fn fail(&mut self, line: usize, message: impl Into<String>) -> Node {
        self.problems.add(line, self.resource, &self.path.join("."), message);
        Node::bad(line)
    }

    fn call(&mut self, Entry { key, line, value }: &Entry) -> Option<Node> {
        let line = *line;
        Some(match key.as_str() {
            "Ref" => return self.reference(value),
            "Fn::If" => return self.choose(value),
            "Fn::Sub" => self.substitute(line, value),
            "Fn::GetAtt" => self.attribute(line, value),
            "Fn::Join" => self.join(line, value),
            "Fn::Select" => self.select(line, value),
            "Fn::Split" => self.split(line, value),
            "Fn::FindInMap" => self.find(line, value),
            "Fn::Equals" | "Fn::And" | "Fn::Or" | "Fn::Not" => {
                self.fail(line, format!("{key} belongs into Conditions; use Fn::If with a condition's name here"))
            }
            _ => self.fail(line, format!("{key} is not supported by the platform; write the value out")),
        })
    }

    fn reference(&mut self, argument: &Node) -> Option<Node> {
        match argument.as_text() {
            Some("AWS::NoValue") => None,
            Some(name) => Some(self.lookup(argument.line, name)),
            None => Some(self.fail(argument.line, format!("Ref takes a name, not {}", argument.kind()))),
        }
    }

    /// What a name stands for: a parameter, a pseudo-parameter or a resource.
    pub(super) fn lookup(&mut self, line: usize, name: &str) -> Node {
        if let Some(value) = self.scope.values.get(name) {
            return Node { line, value: value.value.clone() };
        }
        match self.existing(line, name) {
            Ok(attributes) => attributes.reference.as_ref().map_or(Node::bad(line), |text| Node::text(line, text)),
            Err(bad) => bad,
        }
    }

    /// `GetAtt` of a resource.
    pub(super) fn lookup_attribute(&mut self, line: usize, name: &str, attribute: &str) -> Node {
        let found = match self.existing(line, name) {
            Ok(attributes) => attributes.get(attribute),
            Err(bad) => return bad,
        };
        match found {
            Ok(Some(text)) => Node::text(line, text),
            Ok(None) => Node::bad(line),
            Err(known) => self.fail(line, format!("{name} has no attribute `{attribute}`; it has: {known}")),
        }
    }

    fn existing(&mut self, line: usize, name: &str) -> Result<&'a Attributes, Node> {
        match self.scope.resources.get(name) {
            Some(Existence::Live(attributes)) => Ok(attributes),
            Some(Existence::Absent) => Err(self.fail(line, format!("`{name}` is left out by its condition here; guard this with Fn::If"))),
            None if self.scope.resources_known => {
                Err(self.fail(line, format!("there is no parameter or resource `{name}`; check the name")))
            }
            None => Err(self.fail(line, format!("there is no parameter `{name}`; resources cannot be named here"))),
        }
    }

    fn choose(&mut self, argument: &Node) -> Option<Node> {
        let line = argument.line;
        let Some([name, yes, no]) = three(argument) else {
            return Some(self.fail(line, "Fn::If takes [condition, value if true, value if false]"));
        };
        let condition = name.as_text().or_else(|| name.get("Condition").and_then(Node::as_text));
        let Some(condition) = condition else {
            return Some(self.fail(line, "the first item of Fn::If is the name of a condition"));
        };
        match self.scope.conditions.get(condition) {
            Some(Some(true)) => self.eval(yes),
            Some(Some(false)) => self.eval(no),
            Some(None) => Some(Node::bad(line)),
            None => Some(self.fail(name.line, format!("there is no condition `{condition}`; add it to Conditions"))),
        }
    }

    fn attribute(&mut self, line: usize, argument: &Node) -> Node {
        let pair = match &argument.value {
            Value::Text(text) => text.split_once('.'),
            Value::List(items) => match items.as_slice() {
                [name, attribute] => name.as_text().zip(attribute.as_text()),
                _ => None,
            },
            _ => None,
        };
        match pair {
            Some((name, attribute)) => self.lookup_attribute(line, name, attribute),
            None => self.fail(line, "Fn::GetAtt takes `LogicalId.Attribute` or [LogicalId, Attribute]"),
        }
    }

    fn substitute(&mut self, line: usize, argument: &Node) -> Node {
        let (template, names) = match &argument.value {
            Value::Text(template) => (template.as_str(), &[] as &[Entry]),
            Value::List(items) => match items.as_slice() {
                [Node { value: Value::Text(template), .. }, Node { value: Value::Map(names), .. }] => (template.as_str(), names.as_slice()),
                _ => return self.fail(line, "Fn::Sub takes a text, or [text, mapping of names to values]"),
            },
            _ => return self.fail(line, "Fn::Sub takes a text, or [text, mapping of names to values]"),
        };
        let parts = match sub::parse(template) {
            Ok(parts) => parts,
            Err(message) => return self.fail(line, message),
        };
        let mut text = String::new();
        for part in parts {
            let value = match part {
                sub::Part::Text(literal) => Node::text(line, literal),
                sub::Part::Name(name) => match names.iter().find(|entry| entry.key == name) {
                    Some(entry) => self.eval(&entry.value).unwrap_or_else(|| Node::text(line, "")),
                    None => self.named(line, name),
                },
            };
            match (&value.value, value.kind()) {
                (Value::Text(part), _) => text.push_str(part),
                (Value::Bad, _) => return Node::bad(line),
                (_, kind) => return self.fail(line, format!("Fn::Sub can hold texts only; one name in it is {kind}")),
            }
        }
        self.bounded(line, text)
    }

    /// A name inside `${…}`.
    fn named(&mut self, line: usize, name: &str) -> Node {
        match name.split_once('.') {
            Some((resource, attribute)) => self.lookup_attribute(line, resource, attribute),
            None => self.lookup(line, name),
        }
    }

    fn bounded(&mut self, line: usize, text: String) -> Node {
        if text.len() > MAX_TEXT {
            return self.fail(line, format!("makes a text of more than {MAX_TEXT} bytes; shorten it"));
        }
        Node::text(line, text)
    }

    fn join(&mut self, line: usize, argument: &Node) -> Node {
        let Some([delimiter, list]) = two(argument) else {
            return self.fail(line, "Fn::Join takes [delimiter, list of texts]");
        };
        let Some(list) = self.eval(list) else { return Node::text(line, "") };
        let (Some(delimiter), Value::List(items)) = (delimiter.as_text(), &list.value) else {
            return self.argument(line, &list, "Fn::Join takes [delimiter, list of texts]");
        };
        let mut text = String::new();
        for (index, item) in items.iter().enumerate() {
            let Some(part) = item.as_text() else {
                return self.argument(line, item, "Fn::Join takes a list of texts");
            };
            if index > 0 {
                text.push_str(delimiter);
            }
            text.push_str(part);
            if text.len() > MAX_TEXT {
                break;
            }
        }
        self.bounded(line, text)
    }

    fn select(&mut self, line: usize, argument: &Node) -> Node {
        const USE: &str = "Fn::Select takes [index from 0, list]";
        let Some([index, list]) = two(argument) else { return self.fail(line, USE) };
        let (Some(index), Some(list)) = (self.eval(index), self.eval(list)) else { return self.fail(line, USE) };
        let (Some(number), Value::List(items)) = (index.as_text(), &list.value) else {
            return self.argument(line, if index.as_text().is_some() { &list } else { &index }, USE);
        };
        match number.parse::<usize>().ok().and_then(|number| items.get(number)) {
            Some(item) => item.clone(),
            None => self.fail(line, format!("Fn::Select: no item `{number}` in a list of {}", items.len())),
        }
    }

    fn split(&mut self, line: usize, argument: &Node) -> Node {
        const USE: &str = "Fn::Split takes [delimiter, text], the delimiter not empty";
        let Some([delimiter, text]) = two(argument) else { return self.fail(line, USE) };
        let Some(text) = self.eval(text) else { return self.fail(line, USE) };
        match (delimiter.as_text(), text.as_text()) {
            (Some(delimiter), Some(text)) if !delimiter.is_empty() => {
                let value = Value::List(text.split(delimiter).map(|part| Node::text(line, part)).collect());
                Node { line, value }
            }
            _ => self.argument(line, &text, USE),
        }
    }

    fn find(&mut self, line: usize, argument: &Node) -> Node {
        const USE: &str = "Fn::FindInMap takes [mapping, first key, second key]";
        let Some(keys) = three(argument) else { return self.fail(line, USE) };
        let keys = keys.map(|key| self.eval(key).unwrap_or(Node { line, value: Value::Null }));
        if let Some(wrong) = keys.iter().find(|key| key.as_text().is_none()) {
            return self.argument(line, wrong, USE);
        }
        let [map, first, second] = keys.each_ref().map(|key| key.as_text().unwrap_or_default());
        let entry = self.scope.mappings.iter().find(|entry| entry.key == map);
        match entry.and_then(|entry| entry.value.get(first)).and_then(|values| values.get(second)) {
            Some(value @ Node { value: Value::Text(_) | Value::List(_), .. }) => Node { line, value: value.value.clone() },
            _ => self.fail(line, format!("Mappings has no value at {map}.{first}.{second}; add it")),
        }
    }

    /// A wrong argument: in silence where it is broken already.
    fn argument(&mut self, line: usize, argument: &Node, message: &str) -> Node {
        if argument.value == Value::Bad { Node::bad(line) } else { self.fail(line, message) }
    }
}

/// The function in a mapping and how many keys the mapping has.
fn function_of(entries: &[Entry]) -> Option<(&Entry, usize)> {
    let entry = entries.iter().find(|entry| entry.key.starts_with("Fn::") || (entry.key == "Ref" && entries.len() == 1));
    entry.map(|entry| (entry, entries.len()))
}

/// The two items of a list of two.
pub(super) fn two(node: &Node) -> Option<[&Node; 2]> {
    if let Value::List(items) = &node.value
        && let [a, b] = items.as_slice()
    {
        return Some([a, b]);
    }
    None
}

/// The three items of a list of three.
pub(super) fn three(node: &Node) -> Option<[&Node; 3]> {
    if let Value::List(items) = &node.value
        && let [a, b, c] = items.as_slice()
    {
        return Some([a, b, c]);
    }
    None
}
