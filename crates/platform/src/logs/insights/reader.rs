//! Reads a query character by character. What a `/` means depends on what comes before it, so the parser asks for what
//! it expects.

use regex::{Regex, RegexBuilder};

/// Compiled size of a regular expression, bytes.
const MAX_REGEX_BYTES: usize = 1 << 21;

/// A place in a query.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub fn place(&self) -> usize {
        self.at
    }

    /// What was read since `place`, without spaces around it.
    pub fn since(&self, place: usize) -> &'a str {
        self.text.get(place..self.at).unwrap_or_default().trim()
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Spaces, and comments from `#` to the end of the line.
    fn skip(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            if !trimmed.starts_with('#') {
                return;
            }
            self.at += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    pub fn peek(&mut self) -> Option<char> {
        self.skip();
        self.rest().chars().next()
    }

    /// Takes `sign` if it comes next.
    pub fn take(&mut self, sign: &str) -> bool {
        self.skip();
        let comes = self.rest().starts_with(sign);
        if comes {
            self.at += sign.len();
        }
        comes
    }

    pub fn expect(&mut self, sign: &str) -> Result<(), String> {
        if self.take(sign) { Ok(()) } else { Err(self.wanted(&format!("`{sign}`"))) }
    }

    /// Takes `word` in upper or lower case, if it comes next as a whole word.
    pub fn take_word(&mut self, word: &str) -> bool {
        let before = self.at;
        if self.name().is_some_and(|name| name.eq_ignore_ascii_case(word)) {
            return true;
        }
        self.at = before;
        false
    }

    pub fn expect_word(&mut self, word: &str) -> Result<(), String> {
        if self.take_word(word) { Ok(()) } else { Err(self.wanted(&format!("`{word}`"))) }
    }

    /// A bare name of a field, function or command.
    pub fn name(&mut self) -> Option<&'a str> {
        self.skip();
        let rest = self.rest();
        let starts = |c: char| c.is_alphabetic() || matches!(c, '@' | '_' | '$');
        if !rest.starts_with(starts) {
            return None;
        }
        let end = rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '@' | '_' | '.' | '$' | ':'))).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end)
    }

    /// A name of a field, bare or between backticks.
    pub fn field(&mut self) -> Result<String, String> {
        if self.take("`") {
            let rest = self.rest();
            let end = rest.find('`').ok_or("a backtick is missing")?;
            self.at += end + 1;
            return Ok(rest.get(..end).unwrap_or_default().to_owned());
        }
        self.name().map(str::to_owned).ok_or_else(|| self.wanted("the name of a field"))
    }

    /// A number without a sign, with the letters that follow it: `5`, `1.5e3`, and `5m` as `(5, "m")`.
    pub fn number(&mut self) -> Result<(f64, &'a str), String> {
        self.skip();
        let rest = self.rest();
        let bytes = rest.as_bytes();
        let digits = |from: usize| bytes.iter().skip(from).take_while(|b| b.is_ascii_digit()).count();
        let mut end = digits(0);
        if bytes.get(end) == Some(&b'.') && digits(end + 1) > 0 {
            end += 1 + digits(end + 1);
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            if digits(end + 1 + sign) > 0 {
                end += 1 + sign + digits(end + 1 + sign);
            }
        }
        let number = rest.get(..end).and_then(|text| text.parse().ok()).ok_or_else(|| self.wanted("a number"))?;
        self.at += end;
        let after = self.rest();
        let unit = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        self.at += unit;
        Ok((number, after.get(..unit).unwrap_or_default()))
    }

    /// A text between quotation marks, if one comes next.
    pub fn quoted(&mut self) -> Result<Option<String>, String> {
        let Some(quote @ ('"' | '\'')) = self.peek() else { return Ok(None) };
        self.at += 1;
        let (mut text, mut escaped) = (String::new(), false);
        for (place, character) in self.rest().char_indices() {
            match character {
                '\\' if !escaped => escaped = true,
                end if end == quote && !escaped => {
                    self.at += place + 1;
                    return Ok(Some(text));
                }
                other => {
                    if escaped && !matches!(other, '\\' | '"' | '\'') {
                        text.push('\\');
                    }
                    escaped = false;
                    text.push(other);
                }
            }
        }
        Err("a quotation mark is missing".into())
    }

    /// `/…/`, if one comes next; `\/` is a slash.
    pub fn regex(&mut self) -> Result<Option<Regex>, String> {
        if self.peek() != Some('/') {
            return Ok(None);
        }
        self.at += 1;
        let rest = self.rest();
        let mut escaped = false;
        let end = rest.char_indices().find_map(|(place, character)| {
            let ends = character == '/' && !escaped;
            escaped = character == '\\' && !escaped;
            ends.then_some(place)
        });
        let end = end.ok_or("the `/` at the end of a regular expression is missing")?;
        self.at += end + 1;
        let text = rest.get(..end).unwrap_or_default().replace("\\/", "/");
        regex(&text).map(Some)
    }

    /// `… is expected at "rest"`.
    pub fn wanted(&mut self, what: &str) -> String {
        self.skip();
        let rest: String = self.rest().chars().take(24).collect();
        if rest.is_empty() { format!("{what} is missing at the end of the query") } else { format!("{what} is expected at \"{rest}\"") }
    }
}

pub fn regex(text: &str) -> Result<Regex, String> {
    let mut builder = RegexBuilder::new(text);
    builder.size_limit(MAX_REGEX_BYTES).dfa_size_limit(MAX_REGEX_BYTES);
    builder.build().map_err(|_| format!("the regular expression /{text}/ cannot be read"))
}
