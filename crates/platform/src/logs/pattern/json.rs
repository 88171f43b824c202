//! `{ $.selector = value && … }` over lines that are JSON objects or arrays.

use serde_json::Value;

use super::{MAX_DEPTH, compare::Comparison, reader::Reader};

/// What must hold for a line.
#[derive(Clone, Debug)]
pub enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Test(Selector, Test),
}

/// One step after another into a document.
#[derive(Clone, Debug)]
pub struct Selector {
    written: String,
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    Key(String),
    Index(usize),
    /// `[*]`: any element.
    Each,
}

#[derive(Clone, Debug)]
pub enum Test {
    Compare(Comparison),
    IsNull,
    Is(bool),
    NotExists,
}

pub fn parse(pattern: &str) -> Result<Condition, String> {
    let mut reader = Reader::new(pattern);
    reader.expect("{")?;
    let condition = any(&mut reader, 0)?;
    reader.expect("}")?;
    match reader.peek() {
        None => Ok(condition),
        Some(_) => Err(reader.wanted("nothing more")),
    }
}

fn any(reader: &mut Reader<'_>, depth: usize) -> Result<Condition, String> {
    let mut parts = vec![all(reader, depth)?];
    while reader.take("||") {
        parts.push(all(reader, depth)?);
    }
    Ok(if parts.len() == 1 { parts.remove(0) } else { Condition::Any(parts) })
}

fn all(reader: &mut Reader<'_>, depth: usize) -> Result<Condition, String> {
    let mut parts = vec![one(reader, depth)?];
    while reader.take("&&") {
        parts.push(one(reader, depth)?);
    }
    Ok(if parts.len() == 1 { parts.remove(0) } else { Condition::All(parts) })
}

fn one(reader: &mut Reader<'_>, depth: usize) -> Result<Condition, String> {
    if depth > MAX_DEPTH {
        return Err(format!("parentheses are nested deeper than {MAX_DEPTH}"));
    }
    if reader.take("(") {
        let inner = any(reader, depth + 1)?;
        reader.expect(")")?;
        return Ok(inner);
    }
    let selector = selector(reader)?;
    let test = if reader.take_keyword("NOT") {
        if !reader.take_keyword("EXISTS") {
            return Err(reader.wanted("`EXISTS`"));
        }
        Test::NotExists
    } else if reader.take_keyword("IS") {
        match () {
            () if reader.take_keyword("NULL") => Test::IsNull,
            () if reader.take_keyword("TRUE") => Test::Is(true),
            () if reader.take_keyword("FALSE") => Test::Is(false),
            () => return Err(reader.wanted("`NULL`, `TRUE` or `FALSE`")),
        }
    } else {
        let sign = reader.sign().ok_or_else(|| reader.wanted("a comparison"))?;
        Test::Compare(reader.operand(sign, &[')', '}', '&', '|', '('])?)
    };
    Ok(Condition::Test(selector, test))
}

/// `$.a.b[0].c`, `$.['a.b'].c`, `$[0]`.
fn selector(reader: &mut Reader<'_>) -> Result<Selector, String> {
    reader.skip_spaces();
    let start = reader.rest();
    reader.expect("$")?;
    let mut steps = Vec::new();
    loop {
        let dot = reader.rest().starts_with('.') && reader.take(".");
        if reader.rest().starts_with('[') && reader.take("[") {
            steps.push(bracket(reader)?);
        } else if dot {
            let name = reader.take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '@' | '#' | ':' | '/' | '$'));
            if name.is_empty() {
                return Err(reader.wanted("a name after `$.`"));
            }
            steps.push(Step::Key(name.to_owned()));
        } else {
            break;
        }
    }
    if steps.is_empty() {
        return Err(reader.wanted("`.` and a name after `$`"));
    }
    let length = start.len() - reader.rest().len();
    Ok(Selector { written: start.get(..length).unwrap_or_default().to_owned(), steps })
}

fn bracket(reader: &mut Reader<'_>) -> Result<Step, String> {
    let step = match reader.peek() {
        Some(quote @ ('\'' | '"')) => Step::Key(reader.quoted(quote)?),
        Some('*') => {
            reader.expect("*")?;
            Step::Each
        }
        _ => {
            let digits = reader.take_while(|c| c.is_ascii_digit());
            Step::Index(digits.parse().map_err(|_| reader.wanted("an index or a quoted name"))?)
        }
    };
    reader.expect("]")?;
    Ok(step)
}

/// Most lines are not asked for, and are not read as JSON to know that: what has no `\` holds every text as it is written.
pub fn matches(condition: &Condition, line: &str) -> bool {
    (condition.may_hold(line) || line.contains('\\')) && document(line).is_some_and(|document| condition.holds(&document))
}

/// The values of the selectors, if the condition holds.
pub fn captures(condition: &Condition, line: &str) -> Option<Vec<(String, String)>> {
    let document = document(line)?;
    condition.holds(&document).then(|| {
        let mut found = Vec::new();
        condition.values(&document, &mut found);
        found
    })
}

fn document(line: &str) -> Option<Value> {
    let line = line.trim_start();
    if line.starts_with(['{', '[']) { serde_json::from_str(line).ok() } else { None }
}

impl Condition {
    fn holds(&self, document: &Value) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(document)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(document)),
            Self::Test(selector, test) => test.holds(&selector.find(document)),
        }
    }

    /// Whether a line without escapes has the names and texts without which the condition does not hold.
    fn may_hold(&self, line: &str) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.may_hold(line)),
            Self::Any(parts) => parts.iter().any(|part| part.may_hold(line)),
            Self::Test(_, Test::NotExists) => true,
            Self::Test(selector, test) => {
                let names = selector.steps.iter().all(|step| !matches!(step, Step::Key(key) if !line.contains(key.as_str())));
                names && !matches!(test, Test::Compare(comparison) if !comparison.may_hold(line))
            }
        }
    }

    fn values(&self, document: &Value, found: &mut Vec<(String, String)>) {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().for_each(|part| part.values(document, found)),
            Self::Test(selector, _) => {
                let value = selector.find(document).first().map(|value| match value {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                });
                if let Some(value) = value.filter(|_| !found.iter().any(|(name, _)| *name == selector.written)) {
                    found.push((selector.written.clone(), value));
                }
            }
        }
    }
}

impl Selector {
    fn find<'a>(&self, document: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![document];
        for step in &self.steps {
            found = found
                .into_iter()
                .flat_map(|value| match step {
                    Step::Key(key) => value.get(key.as_str()).into_iter().collect::<Vec<_>>(),
                    Step::Index(index) => value.get(*index).into_iter().collect(),
                    Step::Each => value.as_array().into_iter().flatten().collect(),
                })
                .collect();
        }
        found
    }
}

impl Test {
    fn holds(&self, found: &[&Value]) -> bool {
        match self {
            Self::NotExists => found.is_empty(),
            // A comparison with what is not there does not hold, `!=` neither.
            test => found.iter().any(|value| test.holds_for(value)),
        }
    }

    fn holds_for(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::IsNull, value) => value.is_null(),
            (Self::Is(wanted), value) => value.as_bool() == Some(*wanted),
            (Self::Compare(comparison), Value::String(text)) => comparison.holds_for_text(text),
            (Self::Compare(comparison), Value::Number(number)) => {
                comparison.holds_for_number(number.as_f64().unwrap_or(f64::NAN), &number.to_string())
            }
            (Self::Compare(comparison), Value::Bool(flag)) => comparison.holds_for_text(if *flag { "true" } else { "false" }),
            _ => false,
        }
    }
}
