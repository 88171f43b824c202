//! `FilterCriteria` of an event source mapping: which messages its function is given. Pure.
//!
//! Sources: AWS Lambda developer guide, "Control which events Lambda sends to your function", filter rule syntax, and
//! "Using event filtering with an Amazon SQS event source"; EventBridge user guide, "Comparison operators", for what
//! `anything-but` takes and for how lists and missing fields are compared.

use serde_json::{Map, Value};

use super::batch;
use crate::sqs::Received;

/// Fields deep; a deeper pattern is refused.
const MAX_DEPTH: usize = 32;

/// The filters of one mapping, of which a message must fit one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filters {
    filters: Vec<Filter>,
}

/// One pattern, with what it says of the body apart: that is compared by rules of its own.
#[derive(Clone, Debug, PartialEq)]
struct Filter {
    body: Option<Test>,
    record: Pattern,
}

/// All of these must hold.
#[derive(Clone, Debug, Default, PartialEq)]
struct Pattern(Vec<Field>);

#[derive(Clone, Debug, PartialEq)]
enum Field {
    /// `$or`: one of these must hold.
    Or(Vec<Pattern>),
    Named(String, Test),
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Inner(Pattern),
    /// One of these must hold.
    Rules(Vec<Rule>),
}

#[derive(Clone, Debug, PartialEq)]
enum Rule {
    Equals(Value),
    Text(Place, Text),
    /// None of these holds.
    Not(Vec<Rule>),
    Numeric(Vec<(Order, f64)>),
    Exists(bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Whole,
    Prefix,
    Suffix,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Text {
    /// In lower case where case does not count.
    text: String,
    ignore_case: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Equal,
    Less,
    AtMost,
    More,
    AtLeast,
}

/// Whether a pattern of `FilterCriteria` is one that can be compared with messages; the error says what is wrong with it.
pub fn check_filter(pattern: &Value) -> Result<(), String> {
    Filter::read(pattern).map(drop)
}

/// The pattern of a rule of the event bus, which has the same operators.
#[derive(Clone, Debug, PartialEq)]
pub struct EventPattern(Pattern);

impl EventPattern {
    /// The error says what is wrong with it.
    pub fn read(pattern: &Value) -> Result<Self, String> {
        let fields =
            pattern.as_object().filter(|fields| !fields.is_empty()).ok_or_else(|| format!("the pattern {pattern} has no fields"))?;
        Pattern::read(fields, 0).map(Self)
    }

    pub fn fits(&self, event: &Value) -> bool {
        self.0.fits(Some(event))
    }
}

impl Filters {
    /// Patterns as JSON objects, or as the text of one.
    pub fn read(patterns: &[Value]) -> Result<Self, String> {
        Ok(Self { filters: patterns.iter().map(Filter::read).collect::<Result<_, _>>()? })
    }

    /// Whether the function is given this message. Without filters it is given all.
    pub fn keep(&self, message: &Received, queue_arn: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| filter.keeps(message, queue_arn))
    }
}

impl Filter {
    fn read(pattern: &Value) -> Result<Self, String> {
        let parsed;
        let pattern = match pattern {
            Value::String(text) => {
                parsed = serde_json::from_str(text).map_err(|error| format!("the pattern {text} is not JSON: {error}"))?;
                &parsed
            }
            other => other,
        };
        let Value::Object(fields) = pattern else { return Err(format!("the pattern {pattern} is not a JSON object")) };
        let body = fields.get("body").map(|body| Test::read("body", body, 1)).transpose()?;
        let others: Map<String, Value> =
            fields.iter().filter(|(name, _)| *name != "body").map(|(name, value)| (name.clone(), value.clone())).collect();
        Ok(Self { body, record: Pattern::read(&others, 0)? })
    }

    fn keeps(&self, message: &Received, queue_arn: &str) -> bool {
        self.body.as_ref().is_none_or(|test| fits_body(test, &message.body))
            && (self.record.0.is_empty() || self.record.fits(Some(&batch::record(message, queue_arn))))
    }
}

/// A pattern of fields is for bodies that are JSON, a list of rules for those that are plain strings; one of the other
/// kind does not fit.
fn fits_body(test: &Test, body: &str) -> bool {
    let json = serde_json::from_str::<Value>(body).ok().filter(|json| json.is_object() || json.is_array());
    match (test, json) {
        (Test::Inner(_), Some(json)) => test.fits(Some(&json)),
        (Test::Rules(_), None) => test.fits(Some(&body.into())),
        _ => false,
    }
}

impl Pattern {
    fn read(fields: &Map<String, Value>, depth: usize) -> Result<Self, String> {
        if depth > MAX_DEPTH {
            return Err(format!("the pattern has fields more than {MAX_DEPTH} deep"));
        }
        let read = |(name, value): (&String, &Value)| match value {
            Value::Array(patterns) if name == "$or" && !patterns.is_empty() => {
                let read = |pattern: &Value| match pattern {
                    Value::Object(fields) => Self::read(fields, depth + 1),
                    other => Err(format!("$or takes patterns, not {other}")),
                };
                Ok(Field::Or(patterns.iter().map(read).collect::<Result<_, _>>()?))
            }
            _ => Ok(Field::Named(name.clone(), Test::read(name, value, depth)?)),
        };
        Ok(Self(fields.iter().map(read).collect::<Result<_, String>>()?))
    }

    /// In a list, one element must fit.
    fn fits(&self, data: Option<&Value>) -> bool {
        if let Some(Value::Array(all)) = data {
            return all.iter().any(|one| self.fits(Some(one)));
        }
        self.0.iter().all(|field| match field {
            Field::Or(patterns) => patterns.iter().any(|pattern| pattern.fits(data)),
            Field::Named(name, test) => test.fits(data.and_then(|data| data.get(name))),
        })
    }
}

impl Test {
    fn read(name: &str, value: &Value, depth: usize) -> Result<Self, String> {
        match value {
            Value::Object(fields) if !fields.is_empty() => Ok(Self::Inner(Pattern::read(fields, depth + 1)?)),
            Value::Array(rules) if !rules.is_empty() => {
                let rules = rules.iter().map(|rule| Rule::read(rule).map_err(|error| format!("{name}: {error}")));
                Ok(Self::Rules(rules.collect::<Result<_, _>>()?))
            }
            other => Err(format!("{name}: a list of rules or an object of fields is needed, not {other}")),
        }
    }

    fn fits(&self, data: Option<&Value>) -> bool {
        let rules = match self {
            Self::Inner(pattern) => return pattern.fits(data),
            Self::Rules(rules) => rules,
        };
        match data {
            Some(Value::Array(all)) => all.iter().any(|one| rules.iter().any(|rule| rule.fits(one))),
            // Only leaves exist for rules.
            None | Some(Value::Object(_)) => rules.contains(&Rule::Exists(false)),
            Some(leaf) => rules.iter().any(|rule| rule.fits(leaf)),
        }
    }
}

impl Rule {
    fn read(value: &Value) -> Result<Self, String> {
        let operator = match value {
            Value::Object(operator) => operator,
            Value::Array(_) => return Err(format!("a rule is a value or an operator, not the list {value}")),
            leaf => return Ok(Self::Equals(leaf.clone())),
        };
        let mut operators = operator.iter();
        let (Some((name, operand)), None) = (operators.next(), operators.next()) else {
            return Err(format!("{value}: one operator is needed"));
        };
        match (name.as_str(), operand) {
            ("prefix", _) => Ok(Self::Text(Place::Prefix, Text::read(operand)?)),
            ("suffix", _) => Ok(Self::Text(Place::Suffix, Text::read(operand)?)),
            ("equals-ignore-case", Value::String(text)) => Ok(Self::Text(Place::Whole, Text::ignoring_case(text))),
            ("exists", Value::Bool(exists)) => Ok(Self::Exists(*exists)),
            ("numeric", Value::Array(parts)) => Self::read_numeric(parts),
            ("anything-but", _) => Self::read_anything_but(operand),
            _ => Err(format!(
                "{value} is not a rule that the platform has (prefix, suffix, equals-ignore-case, anything-but, numeric, exists)"
            )),
        }
    }

    fn read_numeric(parts: &[Value]) -> Result<Self, String> {
        let bound = |pair: &[Value]| {
            let order = match pair.first().and_then(Value::as_str)? {
                "=" => Order::Equal,
                "<" => Order::Less,
                "<=" => Order::AtMost,
                ">" => Order::More,
                ">=" => Order::AtLeast,
                _ => return None,
            };
            Some((order, pair.get(1)?.as_f64()?))
        };
        let bounds: Option<Vec<_>> = parts.chunks(2).map(bound).collect();
        let bounds = bounds.filter(|bounds| matches!(bounds.len(), 1 | 2));
        bounds.map(Self::Numeric).ok_or_else(|| "numeric takes one or two pairs of =, <, <=, >, >= and a number".into())
    }

    /// Values, a list of them, or an operator on text with one text or several.
    fn read_anything_but(operand: &Value) -> Result<Self, String> {
        let list = |value: &Value| match value {
            Value::Array(all) => all.clone(),
            one => vec![one.clone()],
        };
        let rules = match operand {
            Value::Object(operator) => {
                let spread = |(name, value): (&String, &Value)| {
                    list(value).into_iter().map(|one| Value::Object(Map::from_iter([(name.clone(), one)]))).collect::<Vec<_>>()
                };
                operator.iter().flat_map(spread).collect()
            }
            value => list(value),
        };
        let rules: Vec<Self> = rules.iter().map(Self::read).collect::<Result<_, _>>()?;
        if rules.is_empty() || !rules.iter().all(|rule| matches!(rule, Self::Equals(_) | Self::Text(..))) {
            return Err(format!("anything-but takes values, prefix, suffix or equals-ignore-case, not {operand}"));
        }
        Ok(Self::Not(rules))
    }

    fn fits(&self, leaf: &Value) -> bool {
        match self {
            Self::Equals(wanted) => equal(wanted, leaf),
            Self::Text(place, text) => leaf.as_str().is_some_and(|leaf| text.fits(*place, leaf)),
            Self::Not(rules) => !leaf.is_object() && !rules.iter().any(|rule| rule.fits(leaf)),
            Self::Numeric(bounds) => leaf.as_f64().is_some_and(|leaf| bounds.iter().all(|(order, bound)| order.holds(leaf, *bound))),
            Self::Exists(wanted) => *wanted && !leaf.is_object(),
        }
    }
}

/// Numbers are compared by value: 300 is 300.0.
fn equal(wanted: &Value, leaf: &Value) -> bool {
    match (wanted.as_f64(), leaf.as_f64()) {
        (Some(wanted_number), Some(number)) => wanted == leaf || Order::Equal.holds(number, wanted_number),
        _ => wanted == leaf,
    }
}

impl Text {
    fn read(operand: &Value) -> Result<Self, String> {
        match operand {
            Value::String(text) => Ok(Self { text: text.clone(), ignore_case: false }),
            Value::Object(operator) if operator.len() == 1 => {
                let text = operator.get("equals-ignore-case").and_then(Value::as_str);
                text.map(Self::ignoring_case).ok_or_else(|| format!("{operand} is not a text or an equals-ignore-case"))
            }
            other => Err(format!("{other} is not a text")),
        }
    }

    fn ignoring_case(text: &str) -> Self {
        Self { text: text.to_lowercase(), ignore_case: true }
    }

    fn fits(&self, place: Place, leaf: &str) -> bool {
        let lower;
        let leaf = if self.ignore_case {
            lower = leaf.to_lowercase();
            &lower
        } else {
            leaf
        };
        match place {
            Place::Whole => leaf == self.text,
            Place::Prefix => leaf.starts_with(&self.text),
            Place::Suffix => leaf.ends_with(&self.text),
        }
    }
}

impl Order {
    fn holds(self, number: f64, bound: f64) -> bool {
        let order = number.partial_cmp(&bound);
        match self {
            Self::Equal => order.is_some_and(std::cmp::Ordering::is_eq),
            Self::Less => order.is_some_and(std::cmp::Ordering::is_lt),
            Self::AtMost => order.is_some_and(std::cmp::Ordering::is_le),
            Self::More => order.is_some_and(std::cmp::Ordering::is_gt),
            Self::AtLeast => order.is_some_and(std::cmp::Ordering::is_ge),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn keeps(pattern: &Value, body: &str) -> bool {
        let filters = Filters::read(std::slice::from_ref(pattern)).unwrap();
        filters.keep(&batch::tests::message("id", body), "arn")
    }

    /// Rule, values that fit, values that do not; worked out by hand from the operators' documentation.
    #[test]
    fn every_rule_keeps_and_drops() {
        let cases = [
            (json!(null), vec![json!(null)], vec![json!("null"), json!(0), json!({})]),
            (json!(""), vec![json!("")], vec![json!("a"), json!(null)]),
            (json!("Alice"), vec![json!("Alice"), json!(["Bob", "Alice"])], vec![json!("alice"), json!(["Bob"]), json!([])]),
            (json!(100), vec![json!(100), json!(100.0)], vec![json!("100"), json!(101)]),
            (json!(true), vec![json!(true)], vec![json!(false), json!("true")]),
            (json!({ "equals-ignore-case": "aLICE" }), vec![json!("Alice")], vec![json!("Bob"), json!(1)]),
            (json!({ "prefix": "us-" }), vec![json!("us-east-1")], vec![json!("US-east-1"), json!("eu-us-")]),
            (json!({ "prefix": { "equals-ignore-case": "US-" } }), vec![json!("us-east-1")], vec![json!("eu")]),
            (json!({ "suffix": ".png" }), vec![json!("a.png")], vec![json!("a.PNG"), json!("png")]),
            (json!({ "numeric": ["=", 5] }), vec![json!(5), json!(5.0)], vec![json!("5"), json!(6)]),
            (json!({ "numeric": [">", 10, "<=", 20] }), vec![json!(10.5), json!(20)], vec![json!(10), json!(20.1), json!("15")]),
            (json!({ "anything-but": "Seattle" }), vec![json!("Rome"), json!(7)], vec![json!("Seattle")]),
            (json!({ "anything-but": ["a", 1] }), vec![json!("b"), json!(2)], vec![json!("a"), json!(1)]),
            (json!({ "anything-but": { "prefix": "x" } }), vec![json!("y")], vec![json!("xy")]),
            (json!({ "anything-but": { "suffix": ["x", "z"] } }), vec![json!("xy")], vec![json!("yx"), json!("z")]),
            (json!({ "anything-but": { "equals-ignore-case": ["No"] } }), vec![json!("yes")], vec![json!("NO")]),
            (json!({ "exists": true }), vec![json!(null), json!("x")], vec![json!({ "inner": 1 })]),
        ];
        for (rule, fitting, others) in cases {
            let pattern = json!({ "body": { "f": [rule] } });
            for value in fitting {
                assert!(keeps(&pattern, &json!({ "f": value }).to_string()), "{pattern} {value}");
            }
            for value in others {
                assert!(!keeps(&pattern, &json!({ "f": value }).to_string()), "{pattern} {value}");
            }
            assert!(!keeps(&pattern, "{}"), "{pattern} keeps what has no such field");
        }
    }

    #[test]
    fn fields_are_all_rules_are_one_and_or_is_over_fields() {
        let both = json!({ "body": { "city": ["Rome", "Oslo"], "inner": { "n": [{ "numeric": [">", 1] }] } } });
        assert!(keeps(&both, r#"{"city":"Oslo","inner":{"n":2},"more":1}"#));
        assert!(!keeps(&both, r#"{"city":"Oslo","inner":{"n":1}}"#));
        assert!(!keeps(&both, r#"{"city":"Oslo"}"#));
        assert!(keeps(&both, r#"{"city":"Oslo","inner":[{"n":1},{"n":2}]}"#), "one element of a list is enough");
        let or = json!({ "body": { "$or": [{ "city": ["Rome"] }, { "day": ["Monday"] }], "n": [1] } });
        assert!(keeps(&or, r#"{"day":"Monday","n":1}"#));
        assert!(!keeps(&or, r#"{"day":"Monday","n":2}"#));
        assert!(!keeps(&or, r#"{"day":"Tuesday","n":1}"#));
        let absent = json!({ "body": { "inner": { "f": [{ "exists": false }, "x"] } } });
        assert!(keeps(&absent, "{}") && keeps(&absent, r#"{"inner":{"f":"x"}}"#));
        assert!(!keeps(&absent, r#"{"inner":{"f":null}}"#));
    }

    /// The table of "Using event filtering with an Amazon SQS event source".
    #[test]
    fn a_body_must_be_of_the_patterns_kind() {
        let (json, plain) = (json!({ "body": { "a": [1] } }), json!({ "body": ["hello", { "prefix": "he" }] }));
        assert!(keeps(&json, r#"{"a":1}"#) && !keeps(&json, "hello"));
        assert!(keeps(&plain, "hello") && keeps(&plain, "hey") && !keeps(&plain, "oh") && !keeps(&plain, r#"{"a":1}"#));
    }

    #[test]
    fn metadata_is_compared_and_one_filter_is_enough() {
        let metadata = json!({ "attributes": { "ApproximateReceiveCount": ["1"] } });
        assert!(keeps(&metadata, "plain") && keeps(&metadata, "{}"));
        assert!(!keeps(&json!({ "messageId": ["other"] }), "{}"));
        let two = Filters::read(&[json!({ "body": ["x"] }), json!("{\"body\":{\"a\":[1]}}")]).unwrap();
        assert!(two.keep(&batch::tests::message("id", "x"), "arn") && two.keep(&batch::tests::message("id", r#"{"a":1}"#), "arn"));
        assert!(!two.keep(&batch::tests::message("id", "y"), "arn"));
        assert!(Filters::default().keep(&batch::tests::message("id", "y"), "arn"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        let mut deep = json!([1]);
        for _ in 0..40 {
            deep = json!({ "f": deep });
        }
        for (pattern, part) in [
            (json!(7), "not a JSON object"),
            (json!("{"), "not JSON"),
            (json!({ "body": "x" }), "body: a list of rules"),
            (json!({ "body": [] }), "body: a list of rules"),
            (json!({ "body": { "f": [{ "wildcard": "*" }] } }), "not a rule that the platform has"),
            (json!({ "body": { "f": [{ "prefix": 1 }] } }), "f: 1 is not a text"),
            (json!({ "body": { "f": [{ "numeric": ["!", 1] }] } }), "numeric takes"),
            (json!({ "body": { "f": [{ "anything-but": { "exists": true } }] } }), "anything-but takes"),
            (json!({ "body": { "f": [{ "prefix": "a", "suffix": "b" }] } }), "one operator"),
            (json!({ "body": deep }), "deep"),
        ] {
            let error = check_filter(&pattern).unwrap_err();
            assert!(error.contains(part), "{pattern}: {error}");
        }
    }
}
