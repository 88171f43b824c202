//! `Conditions`: each is true or false before any resource is looked at.

use std::collections::BTreeMap;

use super::{
    error::Problems,
    evaluate::{Evaluator, Scope, two},
    yaml::{Entry, Node, Value},
};

/// Longest chain of conditions that name conditions.
const MAX_CHAIN: usize = 32;

/// Evaluates every condition of the section into the scope.
pub(super) fn evaluate(section: &[Entry], scope: &mut Scope<'_>, problems: &mut Problems) {
    let mut known = BTreeMap::new();
    for entry in section {
        let mut walk = Walk { section, scope, problems, known: &mut known, chain: Vec::new() };
        walk.named(entry);
    }
    scope.conditions = known;
}

struct Walk<'a, 'n> {
    section: &'n [Entry],
    scope: &'a Scope<'a>,
    problems: &'a mut Problems,
    known: &'a mut BTreeMap<String, Option<bool>>,
    /// Conditions being evaluated, outermost first.
    chain: Vec<&'n str>,
}

impl<'n> Walk<'_, 'n> {
    fn named(&mut self, entry: &'n Entry) -> Option<bool> {
        if let Some(known) = self.known.get(&entry.key) {
            return *known;
        }
        if self.chain.contains(&entry.key.as_str()) || self.chain.len() >= MAX_CHAIN {
            let chain = self.chain.join(" → ");
            return self.fail(entry.line, format!("conditions in a circle or a too long chain: {chain} → {}", entry.key));
        }
        self.chain.push(&entry.key);
        let value = self.test(&entry.value);
        self.chain.pop();
        self.known.insert(entry.key.clone(), value);
        value
    }

    fn fail(&mut self, line: usize, message: impl Into<String>) -> Option<bool> {
        let place = format!("Conditions.{}", self.chain.first().copied().unwrap_or_default());
        self.problems.add(line, &place, "", message);
        None
    }

    fn test(&mut self, node: &'n Node) -> Option<bool> {
        let Some([Entry { key, line, value }]) = node.as_map() else {
            return self.fail(node.line, "a condition is one of Fn::Equals, Fn::And, Fn::Or, Fn::Not, Condition");
        };
        match key.as_str() {
            "Fn::Equals" => self.equals(*line, value),
            "Fn::And" => self.all(*line, value, 2).map(|tests| tests.into_iter().all(|test| test)),
            "Fn::Or" => self.all(*line, value, 2).map(|tests| tests.into_iter().any(|test| test)),
            "Fn::Not" => self.all(*line, value, 1).and_then(|tests| tests.first().map(|test| !test)),
            "Condition" => {
                let name = value.as_text().unwrap_or_default();
                match self.section.iter().find(|entry| entry.key == name) {
                    Some(entry) => self.named(entry),
                    None => self.fail(*line, format!("there is no condition `{name}`; add it to Conditions")),
                }
            }
            _ => self.fail(*line, format!("{key} is no condition function; use Fn::Equals, Fn::And, Fn::Or or Fn::Not")),
        }
    }

    /// All tests of a list: exactly one for `Not`, 2 to 10 for the others, as on AWS.
    fn all(&mut self, line: usize, node: &'n Node, least: usize) -> Option<Vec<bool>> {
        let most = if least == 1 { 1 } else { 10 };
        match &node.value {
            Value::List(items) if (least..=most).contains(&items.len()) => {
                let tests: Vec<Option<bool>> = items.iter().map(|item| self.test(item)).collect();
                tests.into_iter().collect()
            }
            _ => {
                let count = if least == 1 { "one condition".to_owned() } else { format!("{least} to {most} conditions") };
                self.fail(line, format!("takes a list of {count}"));
                None
            }
        }
    }

    fn equals(&mut self, line: usize, node: &Node) -> Option<bool> {
        let Some(pair) = two(node) else { return self.fail(line, "Fn::Equals takes a list of two values") };
        let place = format!("Conditions.{}", self.chain.first().copied().unwrap_or_default());
        let mut evaluator = Evaluator::new(self.scope, self.problems, &place, "");
        let [a, b] = pair.map(|value| evaluator.eval(value).map_or(Value::Null, |node| node.value));
        if a == Value::Bad || b == Value::Bad { None } else { Some(plain(&a) == plain(&b)) }
    }
}

/// A value for comparison: its texts, without lines.
fn plain(value: &Value) -> Vec<&str> {
    match value {
        Value::Text(text) => vec![text],
        Value::List(items) => items.iter().filter_map(Node::as_text).collect(),
        _ => Vec::new(),
    }
}
