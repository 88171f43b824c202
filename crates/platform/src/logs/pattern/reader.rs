//! Reads a pattern character by character, with what both structured kinds share.

use regex::Regex;

use super::{
    super::sign::Sign,
    MAX_REGEXES,
    compare::{Comparison, Operand, regex},
};

/// A place in a pattern.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    text: &'a str,
    at: usize,
    regexes: usize,
}

impl<'a> Reader<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0, regexes: 0 }
    }

    pub fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub fn skip_spaces(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    /// The next character that is no space.
    pub fn peek(&mut self) -> Option<char> {
        self.skip_spaces();
        self.rest().chars().next()
    }

    /// Takes `word` if it comes next.
    pub fn take(&mut self, word: &str) -> bool {
        self.skip_spaces();
        let comes = self.rest().starts_with(word);
        if comes {
            self.at += word.len();
        }
        comes
    }

    pub fn expect(&mut self, word: &str) -> Result<(), String> {
        if self.take(word) { Ok(()) } else { Err(self.wanted(&format!("`{word}`"))) }
    }

    /// Takes a word of letters, upper case only as AWS writes them.
    pub fn take_keyword(&mut self, word: &str) -> bool {
        self.skip_spaces();
        let rest = self.rest();
        let ends = rest.get(word.len()..).and_then(|after| after.chars().next()).is_none_or(|next| !next.is_alphanumeric());
        rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word)) && ends && {
            self.at += word.len();
            true
        }
    }

    /// Takes characters as long as `belongs`.
    pub fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|character| !belongs(character)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    /// `… is expected at "rest"`.
    pub fn wanted(&self, what: &str) -> String {
        let rest: String = self.rest().chars().take(20).collect();
        if rest.is_empty() { format!("{what} is missing at its end") } else { format!("{what} is expected at \"{rest}\"") }
    }

    pub fn sign(&mut self) -> Option<Sign> {
        let signs = [
            ("!=", Sign::NotEqual),
            (">=", Sign::AtLeast),
            ("<=", Sign::AtMost),
            ("=", Sign::Equal),
            (">", Sign::Greater),
            ("<", Sign::Less),
        ];
        signs.into_iter().find_map(|(text, sign)| self.take(text).then_some(sign))
    }

    /// The right side of a comparison: a quoted text, a regular expression, or a bare word that ends before one of `ends`.
    pub fn operand(&mut self, sign: Sign, ends: &[char]) -> Result<Comparison, String> {
        let operand = match self.peek() {
            Some('"') => Operand::Text(self.quoted('"')?),
            Some('%') => Operand::Regex(self.regex()?),
            _ => {
                let ends_word = |c: char| c.is_whitespace() || ends.contains(&c) || c == '"';
                let word = self.take_while(|c| !ends_word(c)).to_owned();
                if word.is_empty() {
                    return Err(self.wanted("a value"));
                }
                word.parse::<f64>()
                    .ok()
                    .filter(|number| number.is_finite())
                    .map_or(Operand::Text(word.clone()), |number| Operand::Number { number, text: word })
            }
        };
        Comparison::new(sign, operand)
    }

    /// A text between two `quote`s; `\` takes the next character as it is.
    pub fn quoted(&mut self, quote: char) -> Result<String, String> {
        self.at += quote.len_utf8();
        let (mut text, mut escaped) = (String::new(), false);
        for (place, character) in self.rest().char_indices() {
            match character {
                '\\' if !escaped => escaped = true,
                end if end == quote && !escaped => {
                    self.at += place + end.len_utf8();
                    return Ok(text);
                }
                other => {
                    escaped = false;
                    text.push(other);
                }
            }
        }
        Err("a quotation mark is missing".into())
    }

    /// `%…%`.
    pub fn regex(&mut self) -> Result<Regex, String> {
        self.regexes += 1;
        if self.regexes > MAX_REGEXES {
            return Err(format!("it has more than {MAX_REGEXES} regular expressions"));
        }
        self.at += 1;
        let rest = self.rest();
        let end = rest.find('%').ok_or("the `%` at the end of a regular expression is missing")?;
        self.at += end + 1;
        regex(rest.get(..end).unwrap_or_default())
    }
}
