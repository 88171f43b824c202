//! Lines are pushed through the commands one by one; only `stats`, `sort` and `dedup` keep something.

use std::{
    cmp::Ordering,
    collections::{HashMap, HashSet},
};

use super::{
    MAX_GROUPS, MAX_ROWS, MAX_SAMPLES,
    aggregate::{Aggregate, Gathered},
    discover::Line,
    expression::{Expression, Row},
    parser::{Command, Query},
    value::Value,
};

/// A field of a row of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    pub field: String,
    pub value: String,
}

/// A query at work.
#[derive(Debug)]
pub struct Run {
    query: Query,
    stages: Vec<Stage>,
    rows: Vec<Row>,
    /// Lines that came as far as the first command that gathers, or to the end.
    matched: u64,
}

#[derive(Debug)]
enum Stage {
    Command(Command),
    Stats { groups: HashMap<Vec<Key>, Group>, order: u64, samples: usize, command: StatsCommand },
    Sort { rows: Vec<(Vec<Value>, Row)>, keys: Vec<(Expression, bool)>, most: usize },
    Limit { left: usize },
    Dedup { seen: HashSet<Vec<String>>, slots: Vec<usize> },
}

#[derive(Debug)]
struct StatsCommand {
    aggregates: Vec<Aggregate>,
    by: Vec<(Expression, usize)>,
    items: Vec<(Expression, usize)>,
    /// Slots of a row.
    width: usize,
}

#[derive(Debug)]
struct Group {
    /// When it was first met: groups are answered in this order where nothing sorts them.
    order: u64,
    keys: Vec<Value>,
    gathered: Vec<Gathered>,
}

/// What rows of one group have in common: what a person reads; a time and a text that reads the same are two groups.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Key {
    Missing,
    Text(String),
    /// Written once a group, not once a row.
    Time(i64),
}

impl Key {
    fn of(value: &Value) -> Self {
        match value {
            Value::Time(ms) => Self::Time(*ms),
            other => other.text().map_or(Self::Missing, Self::Text),
        }
    }
}

impl Run {
    /// `limit`: most rows of the answer where the query sets none.
    pub fn new(query: Query, limit: Option<usize>) -> Self {
        let limit = limit.unwrap_or(MAX_ROWS).min(MAX_ROWS);
        let width = query.names.len();
        let commands = &query.commands;
        let mut stages: Vec<Stage> = Vec::new();
        for (number, command) in commands.iter().enumerate() {
            stages.push(match command.clone() {
                Command::Stats { aggregates, by, items } => {
                    Stage::Stats { groups: HashMap::new(), order: 0, samples: 0, command: StatsCommand { aggregates, by, items, width } }
                }
                Command::Sort(keys) => Stage::Sort { rows: Vec::new(), keys, most: most_after(commands, number, limit) },
                Command::Limit(rows) => Stage::Limit { left: rows },
                Command::Dedup(slots) => Stage::Dedup { seen: HashSet::new(), slots },
                other => Stage::Command(other),
            });
        }
        if !commands.iter().any(|command| matches!(command, Command::Limit(_))) {
            stages.push(Stage::Limit { left: limit });
        }
        Self { query, stages, rows: Vec::new(), matched: 0 }
    }

    /// Takes a line in; lines come newest first. Errors where a bound is met.
    pub fn push(&mut self, line: &Line<'_>) -> Result<(), String> {
        let row = self.query.fields.row(line, self.query.names.len());
        push(&mut self.stages, row, &mut self.rows, &mut Some(&mut self.matched))
    }

    /// Lines that were not filtered out.
    pub fn matched(&self) -> u64 {
        self.matched
    }

    /// The rows of the answer; fields that a row does not have are left out.
    pub fn finish(mut self) -> Result<Vec<Vec<Cell>>, String> {
        for at in 0..self.stages.len() {
            let (before, after) = self.stages.split_at_mut(at + 1);
            for row in before.last_mut().map(Stage::gathered).unwrap_or_default() {
                push(after, row, &mut self.rows, &mut None)?;
            }
        }
        let cell = |row: &Row, slot: &usize| {
            let value = row.get(*slot)?.text()?;
            Some(Cell { field: self.query.names.get(*slot)?.clone(), value })
        };
        Ok(self.rows.iter().map(|row| self.query.shown.iter().filter_map(|slot| cell(row, slot)).collect()).collect())
    }
}

/// A `sort` needs to keep no more rows than a `limit` right behind it lets through.
fn most_after(commands: &[Command], number: usize, limit: usize) -> usize {
    match commands.get(number + 1) {
        Some(Command::Limit(rows)) => *rows,
        None => limit,
        _ => MAX_ROWS,
    }
}

fn push(stages: &mut [Stage], mut row: Row, out: &mut Vec<Row>, matched: &mut Option<&mut u64>) -> Result<(), String> {
    let mut rest = stages;
    loop {
        let Some((stage, after)) = rest.split_first_mut() else {
            count(matched);
            out.push(row);
            return Ok(());
        };
        match stage {
            Stage::Command(command) => {
                if !command.apply(&mut row) {
                    return Ok(());
                }
            }
            Stage::Stats { groups, order, samples, command } => {
                count(matched);
                return command.take(groups, order, samples, &row);
            }
            Stage::Sort { rows, keys, most } => {
                count(matched);
                rows.push((keys.iter().map(|(key, _)| key.value(&row, &[])).collect(), row));
                if rows.len() >= most.saturating_mul(2).max(1_000) {
                    sort(rows, keys);
                    rows.truncate(*most);
                }
                return Ok(());
            }
            Stage::Limit { left } => {
                count(matched);
                let Some(fewer) = left.checked_sub(1) else { return Ok(()) };
                *left = fewer;
            }
            Stage::Dedup { seen, slots } => {
                count(matched);
                let key: Option<Vec<String>> = slots.iter().map(|slot| row.get(*slot).and_then(Value::text)).collect();
                // A row without one of the fields is nobody's duplicate.
                if let Some(key) = key
                    && !seen.insert(key)
                {
                    return Ok(());
                }
                if seen.len() > MAX_GROUPS {
                    return Err(format!("dedup met more than {MAX_GROUPS} different values: filter the lines first"));
                }
            }
        }
        rest = after;
    }
}

/// Counts a row once, where it has passed the filters.
fn count(matched: &mut Option<&mut u64>) {
    if let Some(matched) = matched.take() {
        *matched += 1;
    }
}

/// Stable; rows without a value come last.
fn sort(rows: &mut [(Vec<Value>, Row)], keys: &[(Expression, bool)]) {
    rows.sort_by(|(a, _), (b, _)| {
        let orders = keys.iter().enumerate().map(|(at, (_, descending))| {
            let missing = Value::Missing;
            let (a, b) = (a.get(at).unwrap_or(&missing), b.get(at).unwrap_or(&missing));
            match (a.is_missing(), b.is_missing()) {
                (false, false) if *descending => b.compare(a).unwrap_or(Ordering::Equal),
                (false, false) => a.compare(b).unwrap_or(Ordering::Equal),
                (a, b) => a.cmp(&b),
            }
        });
        orders.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    });
}

impl Stage {
    /// What it kept, once all lines have come.
    fn gathered(&mut self) -> Vec<Row> {
        match self {
            Self::Stats { groups, command, .. } => command.end(std::mem::take(groups)),
            Self::Sort { rows, keys, most } => {
                sort(rows, keys);
                rows.truncate(*most);
                std::mem::take(rows).into_iter().map(|(_, row)| row).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl Command {
    /// Works on a row; `false`: the row goes no further.
    fn apply(&self, row: &mut Row) -> bool {
        match self {
            Self::Filter(condition) => return condition.value(row, &[]).truth(),
            Self::Set(items) => {
                for (expression, slot) in items {
                    let value = expression.value(row, &[]);
                    put(row, *slot, value);
                }
            }
            Self::Parse { source, pattern, into } => {
                let text = row.get(*source).and_then(Value::text).unwrap_or_default();
                if let Some(found) = pattern.captures(&text) {
                    for (group, slot) in into {
                        if let Some(part) = found.get(*group) {
                            put(row, *slot, Value::Text(part.as_str().to_owned()));
                        }
                    }
                }
            }
            // Stages of their own.
            Self::Stats { .. } | Self::Sort(_) | Self::Limit(_) | Self::Dedup(_) => {}
        }
        true
    }
}

fn put(row: &mut Row, slot: usize, value: Value) {
    if let Some(place) = row.get_mut(slot) {
        *place = value;
    }
}

impl StatsCommand {
    fn take(&self, groups: &mut HashMap<Vec<Key>, Group>, order: &mut u64, samples: &mut usize, row: &Row) -> Result<(), String> {
        let keys: Vec<Value> = self.by.iter().map(|(key, _)| key.value(row, &[])).collect();
        let met = keys.iter().map(Key::of).collect();
        if groups.len() >= MAX_GROUPS && !groups.contains_key(&met) {
            return Err(format!("stats met more than {MAX_GROUPS} groups: group by something coarser"));
        }
        let group = groups.entry(met).or_insert_with(|| {
            *order += 1;
            Group { order: *order, keys, gathered: self.aggregates.iter().map(Aggregate::begin).collect() }
        });
        for (aggregate, gathered) in self.aggregates.iter().zip(&mut group.gathered) {
            *samples += aggregate.take(gathered, row)?;
        }
        if *samples > MAX_SAMPLES {
            return Err(format!("more than {MAX_SAMPLES} values for pct or count_distinct: filter the lines first"));
        }
        Ok(())
    }

    fn end(&self, groups: HashMap<Vec<Key>, Group>) -> Vec<Row> {
        let mut groups: Vec<Group> = groups.into_values().collect();
        if groups.is_empty() && self.by.is_empty() {
            // Nothing was counted: that is an answer, too.
            groups.push(Group { order: 0, keys: Vec::new(), gathered: self.aggregates.iter().map(Aggregate::begin).collect() });
        }
        groups.sort_by_key(|group| group.order);
        groups
            .into_iter()
            .map(|group| {
                let aggregates: Vec<Value> = self.aggregates.iter().zip(group.gathered).map(|(a, gathered)| a.end(gathered)).collect();
                let mut row = vec![Value::Missing; self.width];
                for ((_, slot), value) in self.by.iter().zip(group.keys) {
                    put(&mut row, *slot, value);
                }
                // An item may use those before it by their names.
                for (item, slot) in &self.items {
                    let value = item.value(&row, &aggregates);
                    put(&mut row, *slot, value);
                }
                row
            })
            .collect()
    }
}
