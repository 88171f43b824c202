//! Reads a query into commands.

mod expressions;

use regex::Regex;

use super::{MAX_QUERY, MAX_ROWS, aggregate::Aggregate, discover::Fields, expression::Expression, reader::Reader};

/// Commands of one query.
const MAX_COMMANDS: usize = 50;

/// A query, read.
#[derive(Clone, Debug)]
pub struct Query {
    pub commands: Vec<Command>,
    /// Name of every slot.
    pub names: Vec<String>,
    /// What is taken from a line.
    pub fields: Fields,
    /// Slots shown, in order, each once.
    pub shown: Vec<usize>,
}

#[derive(Clone, Debug)]
pub enum Command {
    /// Works values out into slots: `fields` and `display`.
    Set(Vec<(Expression, usize)>),
    Filter(Expression),
    /// `into`: group of the pattern, slot.
    Parse {
        source: usize,
        pattern: Regex,
        into: Vec<(usize, usize)>,
    },
    Stats {
        aggregates: Vec<Aggregate>,
        by: Vec<(Expression, usize)>,
        items: Vec<(Expression, usize)>,
    },
    Sort(Vec<(Expression, bool)>),
    Limit(usize),
    Dedup(Vec<usize>),
}

/// What is wrong with the query, for a person.
pub fn parse(text: &str) -> Result<Query, String> {
    if text.chars().count() > MAX_QUERY {
        return Err(format!("the query is longer than {MAX_QUERY} characters"));
    }
    let mut parser = Parser {
        reader: Reader::new(text),
        names: Vec::new(),
        made: Vec::new(),
        shown: None,
        extra: Vec::new(),
        depth: 0,
        gathering: None,
    };
    // Every query sorts by time where it says nothing else.
    parser.slot("@timestamp");
    let mut commands = Vec::new();
    parser.reader.take("|");
    while parser.reader.peek().is_some() {
        if commands.len() >= MAX_COMMANDS {
            return Err(format!("the query has more than {MAX_COMMANDS} commands"));
        }
        commands.push(parser.command()?);
        if !parser.reader.take("|") && parser.reader.peek().is_some() {
            return Err(parser.reader.wanted("`|` and a command"));
        }
    }
    let (shown, extra) = (parser.shown.take(), std::mem::take(&mut parser.extra));
    let mut shown = shown.unwrap_or_else(|| ["@timestamp", "@message"].map(|name| parser.slot(name)).into());
    shown.extend(extra);
    let mut once = Vec::new();
    for slot in shown {
        if !once.contains(&slot) {
            once.push(slot);
        }
    }
    // Every line has a place to be found by again; what `stats` makes has none.
    if !commands.iter().any(|command| matches!(command, Command::Stats { .. })) {
        once.push(parser.slot("@ptr"));
    }
    let mut fields = Fields::default();
    for (slot, name) in parser.names.iter().enumerate().filter(|(slot, _)| !parser.made.contains(slot)) {
        fields.add(name, slot);
    }
    Ok(Query { commands, names: parser.names, fields, shown: once })
}

struct Parser<'a> {
    reader: Reader<'a>,
    names: Vec<String>,
    /// Slots that a command fills; no line has them.
    made: Vec<usize>,
    shown: Option<Vec<usize>>,
    /// Slots of `parse`, shown after the others.
    extra: Vec<usize>,
    depth: usize,
    /// Within `stats`: the aggregates met so far.
    gathering: Option<Vec<Aggregate>>,
}

impl Parser<'_> {
    fn slot(&mut self, name: &str) -> usize {
        self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        })
    }

    /// A slot that a command fills. One that lines fill as well keeps their value until then.
    fn made(&mut self, name: &str) -> usize {
        let known = self.names.iter().any(|known| known == name);
        let slot = self.slot(name);
        if !known {
            self.made.push(slot);
        }
        slot
    }

    fn command(&mut self) -> Result<Command, String> {
        let before = self.reader.clone();
        let name = self.reader.name().map(str::to_ascii_lowercase).unwrap_or_default();
        match name.as_str() {
            "fields" => self.fields(false),
            "display" => self.fields(true),
            "filter" | "where" => Ok(Command::Filter(self.expression()?)),
            "parse" => self.parse(),
            "stats" => self.stats(),
            "sort" | "order" => self.sort(),
            "limit" | "head" => {
                let (number, unit) = self.reader.number()?;
                let rows = (1..=MAX_ROWS).find(|rows| *rows == usize_of(number)).filter(|_| unit.is_empty());
                rows.map(Command::Limit).ok_or_else(|| format!("`limit` takes 1 to {MAX_ROWS}"))
            }
            "dedup" => {
                let mut slots = Vec::new();
                self.list(|parser| {
                    let name = parser.reader.field()?;
                    slots.push(parser.slot(&name));
                    Ok(())
                })?;
                Ok(Command::Dedup(slots))
            }
            "pattern" | "diff" | "anomaly" | "unmask" | "unnest" | "lookup" | "join" | "source" | "filterindex" => {
                Err(format!("the command `{name}` is not supported here"))
            }
            _ => {
                self.reader = before;
                Err(self.reader.wanted("a command (fields, display, filter, parse, stats, sort, limit, dedup)"))
            }
        }
    }

    /// Items between commas.
    fn list(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), String>) -> Result<(), String> {
        item(self)?;
        while self.reader.take(",") {
            item(self)?;
        }
        Ok(())
    }

    fn fields(&mut self, only: bool) -> Result<Command, String> {
        let mut set = Vec::new();
        let mut shown = Vec::new();
        self.list(|parser| {
            let (expression, slot) = parser.named()?;
            shown.push(slot);
            if !matches!(expression, Expression::Slot(own) if own == slot) {
                set.push((expression, slot));
            }
            Ok(())
        })?;
        if only {
            self.shown = Some(shown);
            self.extra.clear();
        } else {
            self.shown.get_or_insert_default().extend(shown);
        }
        Ok(Command::Set(set))
    }

    /// An expression with its name: `as name`, the field's own, or the text as it is written.
    fn named(&mut self) -> Result<(Expression, usize), String> {
        self.reader.peek();
        let start = self.reader.place();
        let expression = self.expression()?;
        let written = self.reader.since(start).to_owned();
        if self.reader.take_word("as") {
            let name = self.reader.field()?;
            return Ok((expression, self.made(&name)));
        }
        match expression {
            Expression::Slot(slot) => Ok((Expression::Slot(slot), slot)),
            other => {
                let slot = self.made(&written);
                Ok((other, slot))
            }
        }
    }

    fn parse(&mut self) -> Result<Command, String> {
        let source = match self.reader.peek() {
            Some('"' | '\'' | '/') => "@message".to_owned(),
            _ => self.reader.field()?,
        };
        let source = self.slot(&source);
        if let Some(glob) = self.reader.quoted()? {
            let pattern = super::reader::regex(&glob_regex(&glob))?;
            self.reader.expect_word("as")?;
            let mut into = Vec::new();
            self.list(|parser| {
                let name = parser.reader.field()?;
                into.push((into.len() + 1, parser.made(&name)));
                Ok(())
            })?;
            let stars = glob.matches('*').count();
            if stars != into.len() {
                return Err(format!("`parse` has {stars} `*` and {} names", into.len()));
            }
            self.extra.extend(into.iter().map(|(_, slot)| slot));
            return Ok(Command::Parse { source, pattern, into });
        }
        let pattern = self.reader.regex()?.ok_or_else(|| self.reader.wanted("a text or a regular expression"))?;
        let named = pattern.capture_names().enumerate().filter_map(|(group, name)| Some((group, name?.to_owned())));
        let into: Vec<(usize, usize)> = named.map(|(group, name)| (group, self.made(&name))).collect();
        if into.is_empty() {
            return Err("the regular expression of `parse` names no group: write (?<name>…)".into());
        }
        self.extra.extend(into.iter().map(|(_, slot)| slot));
        Ok(Command::Parse { source, pattern, into })
    }

    fn stats(&mut self) -> Result<Command, String> {
        self.gathering = Some(Vec::new());
        let mut items = Vec::new();
        self.list(|parser| {
            items.push(parser.named()?);
            Ok(())
        })?;
        let aggregates = self.gathering.take().unwrap_or_default();
        if aggregates.is_empty() {
            return Err("`stats` gathers nothing: write for example count(*), avg(x), pct(x, 95)".into());
        }
        let mut by = Vec::new();
        if self.reader.take_word("by") {
            self.list(|parser| {
                by.push(parser.named()?);
                Ok(())
            })?;
        }
        self.shown = Some(items.iter().chain(&by).map(|(_, slot)| *slot).collect());
        // Groups come first in the answer, as AWS shows them.
        if let Some(shown) = &mut self.shown {
            shown.rotate_right(by.len());
        }
        self.extra.clear();
        Ok(Command::Stats { aggregates, by, items })
    }

    fn sort(&mut self) -> Result<Command, String> {
        self.reader.take_word("by");
        let mut keys = Vec::new();
        self.list(|parser| {
            let key = parser.sort_key()?;
            let descending = parser.reader.take_word("desc") || !parser.reader.take_word("asc");
            keys.push((key, descending));
            Ok(())
        })?;
        Ok(Command::Sort(keys))
    }

    /// `count(*)` after a `stats` that made a column of this name is that column.
    fn sort_key(&mut self) -> Result<Expression, String> {
        self.reader.peek();
        let (before, start) = (self.reader.clone(), self.reader.place());
        self.gathering = Some(Vec::new());
        let expression = self.expression();
        let written = self.reader.since(start).to_owned();
        if let Some(slot) = self.names.iter().position(|name| *name == written) {
            self.gathering = None;
            return Ok(Expression::Slot(slot));
        }
        if self.gathering.take().is_some_and(|met| !met.is_empty()) {
            self.reader = before;
            return Err(self.reader.wanted("a column of the `stats` before it"));
        }
        expression
    }
}

fn usize_of(number: f64) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by the check")]
    if number.fract() == 0.0 && (0.0..=1e9).contains(&number) { number as usize } else { 0 }
}

/// Every `*` of a glob takes as little as possible; a last one takes the rest.
fn glob_regex(glob: &str) -> String {
    let parts: Vec<String> = glob.split('*').map(regex::escape).collect();
    let mut text = format!("(?s){}", parts.join("(.*?)"));
    if glob.ends_with('*') {
        text.push('$');
    }
    text
}
