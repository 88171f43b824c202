//! One comparison: an operator and what stands right of it.

use std::cmp::Ordering;

use regex::{Regex, RegexBuilder};

use super::super::sign::Sign;

/// Compiled size of a regular expression, bytes: what a pattern of 1,024 characters reasonably needs.
const MAX_REGEX_BYTES: usize = 1 << 20;

#[derive(Clone, Debug)]
pub enum Operand {
    /// `*` stands for any characters.
    Text(String),
    /// A number, and how it was written.
    Number {
        number: f64,
        text: String,
    },
    Regex(Regex),
}

#[derive(Clone, Debug)]
pub struct Comparison {
    sign: Sign,
    operand: Operand,
}

impl Comparison {
    /// Texts and regular expressions are equal or not; only numbers are less or greater.
    pub fn new(sign: Sign, operand: Operand) -> Result<Self, String> {
        let ordered = !sign.is_equality();
        match &operand {
            Operand::Text(text) if ordered => Err(format!("`{text}` is no number, and only numbers are less or greater")),
            Operand::Regex(_) if ordered => Err("a regular expression is compared by = and != only".into()),
            _ => Ok(Self { sign, operand }),
        }
    }

    /// Whether it holds for a value that is this text. A text that reads as a number is compared as one with a number.
    pub fn holds_for_text(&self, value: &str) -> bool {
        match &self.operand {
            Operand::Text(pattern) => self.equality(like(pattern, value)),
            Operand::Regex(regex) => self.equality(regex.is_match(value)),
            Operand::Number { number, text } => match value.parse::<f64>() {
                Ok(value) => self.order(value, *number),
                Err(_) => self.sign.is_equality() && self.equality(like(text, value)),
            },
        }
    }

    /// Whether it holds for a number, which JSON writes as `written`.
    pub fn holds_for_number(&self, value: f64, written: &str) -> bool {
        match &self.operand {
            Operand::Number { number, .. } => self.order(value, *number),
            Operand::Text(pattern) => self.equality(like(pattern, written)),
            Operand::Regex(regex) => self.equality(regex.is_match(written)),
        }
    }

    /// Whether the text is in `line`, without which no value in it is equal; a number may be written in many ways.
    pub fn may_hold(&self, line: &str) -> bool {
        let of_number = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E');
        match &self.operand {
            Operand::Text(pattern) if self.sign == Sign::Equal => {
                pattern.split('*').all(|part| part.chars().all(of_number) || line.contains(part))
            }
            _ => true,
        }
    }

    fn equality(&self, equal: bool) -> bool {
        self.sign.holds(if equal { Ordering::Equal } else { Ordering::Less })
    }

    fn order(&self, value: f64, number: f64) -> bool {
        value.partial_cmp(&number).is_some_and(|order| self.sign.holds(order))
    }
}

/// Whether `text` is `pattern`, in which `*` stands for any characters.
pub fn like(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let Some(mut part) = parts.next() else { return rest.is_empty() };
    for next in parts {
        let Some(found) = rest.find(part) else { return false };
        rest = rest.get(found + part.len()..).unwrap_or_default();
        part = next;
    }
    rest.ends_with(part)
}

/// A regular expression of the guide's grammar: letters, digits, `_ # = @ / ; , - :` and space, the operators
/// `^ $ ? [ ] { } | \ * + .`, no groups.
pub fn regex(text: &str) -> Result<Regex, String> {
    if text.is_empty() {
        return Err("a regular expression is empty".into());
    }
    let mut escaped = false;
    for character in text.chars() {
        let known = character.is_ascii_alphanumeric() || r"_#=@/;,-: ^$?[]{}|\*+.".contains(character);
        // What is escaped stands for itself, parentheses as well.
        if !(known || escaped && character.is_ascii_punctuation()) {
            return Err(format!("`{character}` is not allowed in a regular expression"));
        }
        escaped = character == '\\' && !escaped;
    }
    let mut builder = RegexBuilder::new(text);
    builder.size_limit(MAX_REGEX_BYTES).dfa_size_limit(MAX_REGEX_BYTES);
    builder.build().map_err(|_| format!("the regular expression `{text}` cannot be read"))
}
