//! Expressions: read once, worked out for every row.

use std::cmp::Ordering;

use regex::Regex;

use super::{super::sign::Sign, functions::Function, value::Value};

/// One value for every slot: a slot is a name that the query speaks of.
pub type Row = Vec<Value>;

#[derive(Clone, Debug)]
pub enum Expression {
    Slot(usize),
    Constant(Value),
    Not(Box<Expression>),
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
    Compare(Sign, Box<Expression>, Box<Expression>),
    Arithmetic(Operation, Box<Expression>, Box<Expression>),
    Contains(Box<Expression>, String),
    Matches(Box<Expression>, Regex),
    In(Box<Expression>, Vec<Expression>),
    Call(Function, Vec<Expression>),
    /// The result of an aggregate of the same `stats` command, by its number.
    Aggregate(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Power,
}

impl Expression {
    /// The value for a row. What cannot be worked out is missing; a comparison with what is missing does not hold.
    pub fn value(&self, row: &[Value], aggregates: &[Value]) -> Value {
        let of = |inner: &Self| inner.value(row, aggregates);
        match self {
            Self::Slot(slot) => row.get(*slot).cloned().unwrap_or_default(),
            Self::Constant(value) => value.clone(),
            Self::Not(inner) => Value::Flag(!of(inner).truth()),
            Self::And(a, b) => Value::Flag(of(a).truth() && of(b).truth()),
            Self::Or(a, b) => Value::Flag(of(a).truth() || of(b).truth()),
            Self::Compare(sign, a, b) => Value::Flag(of(a).compare(&of(b)).is_some_and(|order| sign.holds(order))),
            Self::Arithmetic(operation, a, b) => operation.value(&of(a), &of(b)),
            Self::Contains(inner, text) => Value::Flag(inner.with_text(row, aggregates, |value| value.contains(text.as_str()))),
            Self::Matches(inner, regex) => Value::Flag(inner.with_text(row, aggregates, |value| regex.is_match(value))),
            Self::In(inner, list) => {
                let value = of(inner);
                Value::Flag(list.iter().any(|item| value.compare(&of(item)) == Some(Ordering::Equal)))
            }
            Self::Call(function, arguments) => function.value(&arguments.iter().map(of).collect::<Vec<_>>()),
            Self::Aggregate(number) => aggregates.get(*number).cloned().unwrap_or_default(),
        }
    }

    /// Looks at the value's text, without a copy where it is one already.
    fn with_text(&self, row: &[Value], aggregates: &[Value], look: impl Fn(&str) -> bool) -> bool {
        if let Self::Slot(slot) = self
            && let Some(Value::Text(text)) = row.get(*slot)
        {
            return look(text);
        }
        self.value(row, aggregates).text().is_some_and(|text| look(&text))
    }
}

impl Operation {
    fn value(self, a: &Value, b: &Value) -> Value {
        let (Some(a), Some(b)) = (a.number(), b.number()) else { return Value::Missing };
        let number = match self {
            Self::Add => a + b,
            Self::Subtract => a - b,
            Self::Multiply => a * b,
            Self::Divide => a / b,
            Self::Remainder => a % b,
            Self::Power => a.powf(b),
        };
        if number.is_finite() { Value::Number(number) } else { Value::Missing }
    }
}
