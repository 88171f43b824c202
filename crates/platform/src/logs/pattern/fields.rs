//! `[name, name = value, …]` over the fields of a line: what stands between spaces, between quotation marks, or between
//! brackets.

use super::{MAX_DEPTH, compare::Comparison, reader::Reader};

/// Fields that must be there, in order.
#[derive(Clone, Debug)]
pub struct Fields {
    /// Before and after `...`; without it, all are in the first and there are exactly as many fields.
    before: Vec<Field>,
    after: Option<Vec<Field>>,
}

#[derive(Clone, Debug)]
struct Field {
    name: String,
    condition: Option<Condition>,
}

#[derive(Clone, Debug)]
enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Test(Comparison),
}

pub fn parse(pattern: &str) -> Result<Fields, String> {
    let mut reader = Reader::new(pattern);
    reader.expect("[")?;
    let (mut before, mut after): (Vec<Field>, Option<Vec<Field>>) = (Vec::new(), None);
    if !reader.take("]") {
        loop {
            if reader.take("...") {
                if after.replace(Vec::new()).is_some() {
                    return Err("`...` may stand in it once".into());
                }
            } else {
                let name = format!("${}", before.len() + after.as_ref().map_or(0, Vec::len) + 1);
                let field = field(&mut reader, name)?;
                after.as_mut().unwrap_or(&mut before).push(field);
            }
            if reader.take("]") {
                break;
            }
            reader.expect(",")?;
        }
    }
    match reader.peek() {
        None => Ok(Fields { before, after }),
        Some(_) => Err(reader.wanted("nothing more")),
    }
}

/// A name alone, or with conditions that all speak of it. A field without a name is named by its place: `$3`.
fn field(reader: &mut Reader<'_>, place: String) -> Result<Field, String> {
    if matches!(reader.peek(), Some(',' | ']')) {
        return Ok(Field { name: place, condition: None });
    }
    let mut look = reader.clone();
    while look.take("(") {}
    let name = word(&mut look)?.to_owned();
    if matches!(look.peek(), Some(',' | ']')) {
        *reader = look;
        return Ok(Field { name, condition: None });
    }
    let condition = any(reader, &name, 0)?;
    Ok(Field { name, condition: Some(condition) })
}

fn word<'a>(reader: &mut Reader<'a>) -> Result<&'a str, String> {
    reader.skip_spaces();
    let word = reader.take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '@' | '$' | '#' | '/' | ':'));
    if word.is_empty() { Err(reader.wanted("the name of a field")) } else { Ok(word) }
}

fn any(reader: &mut Reader<'_>, name: &str, depth: usize) -> Result<Condition, String> {
    let mut parts = vec![all(reader, name, depth)?];
    while reader.take("||") {
        parts.push(all(reader, name, depth)?);
    }
    Ok(Condition::Any(parts))
}

fn all(reader: &mut Reader<'_>, name: &str, depth: usize) -> Result<Condition, String> {
    let mut parts = vec![one(reader, name, depth)?];
    while reader.take("&&") {
        parts.push(one(reader, name, depth)?);
    }
    Ok(Condition::All(parts))
}

fn one(reader: &mut Reader<'_>, name: &str, depth: usize) -> Result<Condition, String> {
    if depth > MAX_DEPTH {
        return Err(format!("parentheses are nested deeper than {MAX_DEPTH}"));
    }
    if reader.take("(") {
        let inner = any(reader, name, depth + 1)?;
        reader.expect(")")?;
        return Ok(inner);
    }
    let here = word(reader)?;
    if here != name {
        return Err(format!("`{here}` stands in the field `{name}`: conditions of one field all name it"));
    }
    let sign = reader.sign().ok_or_else(|| reader.wanted("a comparison"))?;
    reader.operand(sign, &[',', ']', ')', '|', '&']).map(Condition::Test)
}

impl Fields {
    /// Name and value of every field that has a place of its own, if all conditions hold.
    pub fn captures(&self, line: &str) -> Option<Vec<(String, String)>> {
        let values = split(line);
        let last = self.after.as_deref().unwrap_or_default();
        let enough = match self.after {
            None => values.len() == self.before.len(),
            Some(_) => values.len() >= self.before.len() + last.len(),
        };
        if !enough {
            return None;
        }
        let tail = values.get(values.len() - last.len()..).unwrap_or_default();
        let pairs: Vec<(&Field, &str)> =
            self.before.iter().zip(values.iter().copied()).chain(last.iter().zip(tail.iter().copied())).collect();
        let holds = |(field, value): &(&Field, &str)| field.condition.as_ref().is_none_or(|condition| condition.holds(value));
        pairs.iter().all(holds).then(|| pairs.iter().map(|(field, value)| (field.name.clone(), (*value).to_owned())).collect())
    }
}

impl Condition {
    fn holds(&self, value: &str) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(value)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(value)),
            Self::Test(comparison) => comparison.holds_for_text(value),
        }
    }
}

/// The fields of a line; quotation marks and brackets around one are not part of it.
fn split(line: &str) -> Vec<&str> {
    let mut fields = Vec::new();
    let mut rest = line.trim();
    while let Some(first) = rest.chars().next() {
        let close = match first {
            '"' => Some('"'),
            '[' => Some(']'),
            _ => None,
        };
        let inner = close.and_then(|close| Some((rest.get(1..)?, rest.get(1..)?.find(close)?)));
        let (field, after) = if let Some((inside, end)) = inner {
            (inside.get(..end), inside.get(end + 1..))
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            (rest.get(..end), rest.get(end..))
        };
        fields.push(field.unwrap_or_default());
        rest = after.unwrap_or_default().trim_start();
    }
    fields
}
