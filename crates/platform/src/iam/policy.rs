//! Policy documents and their judgement.
//!
//! Source: IAM user guide, "IAM JSON policy elements reference" and "Policy evaluation logic": an explicit deny wins, and
//! what nothing allows is refused.

use serde_json::Value;

use super::{Context, Need};

/// One statement.
#[derive(Debug, PartialEq)]
pub(super) struct Statement {
    allows: bool,
    actions: Patterns,
    resources: Patterns,
    conditions: Vec<Condition>,
}

/// `Action` or `NotAction`, `Resource` or `NotResource`.
#[derive(Debug, PartialEq)]
struct Patterns {
    not: bool,
    patterns: Vec<String>,
}

/// One key of one operator: it holds if the key's value fits one of the patterns.
#[derive(Debug, PartialEq)]
struct Condition {
    not: bool,
    wildcards: bool,
    key: String,
    values: Vec<String>,
}

/// What all statements together say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Allowed,
    Denied,
    /// No statement speaks of it.
    Nothing,
}

/// Operators that are judged: name, negated, with wildcards.
const OPERATORS: [(&str, bool, bool); 4] =
    [("StringEquals", false, false), ("StringNotEquals", true, false), ("StringLike", false, true), ("StringNotLike", true, true)];
/// Condition keys whose values are known here.
const KEYS: [&str; 2] = ["s3:prefix", "aws:requestedregion"];

/// The statements of a document, or what in it cannot be judged.
pub(super) fn read(document: &Value) -> Result<Vec<Statement>, String> {
    let statements = document.get("Statement").ok_or("a policy has no Statement")?;
    listed(statements).into_iter().map(statement).collect()
}

fn statement(value: &Value) -> Result<Statement, String> {
    let allows = match value.get("Effect").and_then(Value::as_str) {
        Some("Allow") => true,
        Some("Deny") => false,
        _ => return Err(format!("a statement has no Effect of Allow or Deny: {value}")),
    };
    let mut conditions = Vec::new();
    for (operator, keys) in value.get("Condition").and_then(Value::as_object).into_iter().flatten() {
        let known = OPERATORS.iter().find(|(name, ..)| name == operator);
        let Some((_, not, wildcards)) = known else {
            return Err(format!(
                "the condition {operator} is not judged by the platform; it judges {}",
                OPERATORS.map(|(name, ..)| name).join(", ")
            ));
        };
        for (key, values) in keys.as_object().into_iter().flatten() {
            let key = key.to_ascii_lowercase();
            if !KEYS.contains(&key.as_str()) {
                return Err(format!("the condition key {key} is not known to the platform; it knows {}", KEYS.join(", ")));
            }
            conditions.push(Condition { not: *not, wildcards: *wildcards, key, values: texts(values)? });
        }
    }
    let mut actions = patterns(value, "Action")?;
    // Their case does not count.
    actions.patterns.iter_mut().for_each(|pattern| pattern.make_ascii_lowercase());
    Ok(Statement { allows, actions, resources: patterns(value, "Resource")?, conditions })
}

fn patterns(statement: &Value, name: &str) -> Result<Patterns, String> {
    let negated = format!("Not{name}");
    let (not, value) = match (statement.get(name), statement.get(&negated)) {
        (Some(value), None) => (false, value),
        (None, Some(value)) => (true, value),
        _ => return Err(format!("a statement has not one of {name} and {negated}: {statement}")),
    };
    Ok(Patterns { not, patterns: texts(value)? })
}

fn texts(value: &Value) -> Result<Vec<String>, String> {
    let text = |value: &Value| match value.as_str() {
        Some(text) if text.contains("${") => Err(format!("the policy variable in `{text}` is not known to the platform")),
        Some(text) => Ok(text.to_owned()),
        None => Err(format!("`{value}` stands where a text must")),
    };
    listed(value).into_iter().map(text).collect()
}

fn listed(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(values) => values.iter().collect(),
        value => vec![value],
    }
}

/// Judges a need by all statements that speak of it.
pub(super) fn judge(statements: &[Statement], need: &Need, context: Context<'_>) -> Verdict {
    let mut verdict = Verdict::Nothing;
    for statement in statements.iter().filter(|statement| statement.speaks_of(need, context)) {
        if !statement.allows {
            return Verdict::Denied;
        }
        verdict = Verdict::Allowed;
    }
    verdict
}

impl Patterns {
    fn have(&self, text: &str) -> bool {
        self.patterns.iter().any(|pattern| fits(pattern, text)) != self.not
    }
}

impl Statement {
    fn speaks_of(&self, need: &Need, context: Context<'_>) -> bool {
        let action = need.action.to_ascii_lowercase();
        self.actions.have(&action)
            && self.resources.have(&need.resource)
            && self.conditions.iter().all(|condition| condition.holds(context))
    }
}

impl Condition {
    /// A key that the request does not have fits nothing.
    fn holds(&self, context: Context<'_>) -> bool {
        let value = context.iter().find(|(key, _)| key.eq_ignore_ascii_case(&self.key)).map(|(_, value)| *value);
        let fits_value = |pattern: &String| value.is_some_and(|value| if self.wildcards { fits(pattern, value) } else { pattern == value });
        self.values.iter().any(fits_value) != self.not
    }
}

/// Whether a text fits a pattern, in which `*` stands for any characters and `?` for one. Takes time in proportion to the
/// product of both lengths at most.
fn fits(pattern: &str, text: &str) -> bool {
    // At once as far as nothing is left open: most calls are looked at by statements that are not about them.
    let plain = pattern.find(['*', '?']).unwrap_or(pattern.len());
    let (before, pattern) = pattern.split_at(plain);
    let Some(text) = text.strip_prefix(before) else { return false };
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut read) = (0, 0);
    // After the latest `*`, and the first character that it does not stand for yet.
    let mut star: Option<(usize, usize)> = None;
    while read < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at + 1, read));
                at += 1;
            }
            Some(c) if *c == '?' || *c == text[read] => (at, read) = (at + 1, read + 1),
            _ => {
                let Some((after, from)) = star else { return false };
                star = Some((after, from + 1));
                (at, read) = (after, from + 1);
            }
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn patterns_fit_as_iam_says() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "anything/at:all", true),
            ("arn:aws:s3:::videos/uploads/*", "arn:aws:s3:::videos/uploads/", true),
            ("arn:aws:s3:::videos/uploads/*", "arn:aws:s3:::videos/uploads/a/b", true),
            ("arn:aws:s3:::videos/uploads/*", "arn:aws:s3:::videos/uploads", false),
            ("arn:aws:s3:::videos", "arn:aws:s3:::videos/a", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a?", "aé", true),
            ("**a", "bba", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
        let hostile = "*a".repeat(200);
        assert!(!fits(&hostile, &"a".repeat(199)));
    }

    fn judged(statements: &Value, action: &str, resource: &str, context: Context<'_>) -> Verdict {
        let need = Need { action: action.into(), resource: resource.into() };
        judge(&read(&json!({ "Statement": statements })).unwrap(), &need, context)
    }

    #[test]
    fn a_deny_wins_and_what_nothing_allows_is_refused() {
        let statements = json!([
            { "Effect": "Allow", "Action": "S3:Get*", "Resource": ["arn:aws:s3:::b/*"] },
            { "Effect": "Deny", "Action": "s3:*", "NotResource": "arn:aws:s3:::b/open/*" },
            { "Effect": "Allow", "NotAction": ["iam:*"], "Resource": "arn:aws:sqs:::q" },
        ]);
        for (action, resource, expected) in [
            ("s3:GetObject", "arn:aws:s3:::b/open/a", Verdict::Allowed),
            ("s3:GetObject", "arn:aws:s3:::b/shut/a", Verdict::Denied),
            ("s3:PutObject", "arn:aws:s3:::b/open/a", Verdict::Nothing),
            ("sqs:SendMessage", "arn:aws:sqs:::q", Verdict::Allowed),
            ("iam:PassRole", "arn:aws:sqs:::q", Verdict::Nothing),
        ] {
            assert_eq!(judged(&statements, action, resource, &[]), expected, "{action} {resource}");
        }
    }

    #[test]
    fn conditions_hold_or_do_not() {
        let one = |operator: &str, value: &Value| json!({ "Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*", "Condition": { operator: { "s3:prefix": value } } });
        for (operator, value, prefix, expected) in [
            ("StringEquals", json!(["a/", "b/"]), Some("b/"), Verdict::Allowed),
            ("StringEquals", json!("a/*"), Some("a/b"), Verdict::Nothing),
            ("StringLike", json!("a/*"), Some("a/b"), Verdict::Allowed),
            ("StringLike", json!("a/*"), None, Verdict::Nothing),
            ("StringNotEquals", json!("a/"), Some("a/"), Verdict::Nothing),
            ("StringNotLike", json!("a/*"), None, Verdict::Allowed),
        ] {
            let context: Vec<(&str, &str)> = prefix.map(|prefix| ("s3:prefix", prefix)).into_iter().collect();
            assert_eq!(
                judged(&one(operator, &value), "s3:ListBucket", "arn:aws:s3:::b", &context),
                expected,
                "{operator} {value} {prefix:?}"
            );
        }
    }
}
