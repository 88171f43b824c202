//! The files in `monitoring/` against what a platform really tells.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::root;

/// What the dashboard's panels ask Prometheus.
pub fn expressions() -> Result<Vec<String>> {
    let dashboard: Value = serde_json::from_slice(&std::fs::read(root().join("monitoring/dashboard.json"))?)?;
    let panels = dashboard["panels"].as_array().context("panels")?;
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    Ok(targets.filter_map(|target| target["expr"].as_str().map(str::to_owned)).collect())
}

/// Every metric that alerts and dashboard name, without the suffixes that a histogram's and a counter's samples have.
pub fn named() -> Result<BTreeSet<String>> {
    let text = expressions()?.join("\n") + "\n" + &std::fs::read_to_string(root().join("monitoring/alerts.yml"))?;
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let named: BTreeSet<String> =
        words.filter(|word| ["fanreel_", "aws_", "platform_"].iter().any(|start| word.starts_with(start))).map(str::to_owned).collect();
    ensure!(named.len() > 15, "only {} metrics are named", named.len());
    Ok(named)
}

/// The samples of a metric, by their labels as the page writes them.
pub fn samples(page: &str, metric: &str) -> Vec<(String, f64)> {
    let sample = |line: &str| -> Option<(String, f64)> {
        let (labels, value) = line.strip_prefix(metric)?.strip_prefix('{')?.rsplit_once("} ")?;
        Some((labels.to_owned(), value.parse().ok()?))
    };
    page.lines().filter_map(sample).collect()
}

/// The page has these samples of a metric and no others.
pub fn counts(page: &str, metric: &str, wanted: &[(String, f64)]) -> Result<()> {
    let sorted = |mut samples: Vec<(String, f64)>| {
        samples.sort_by(|a, b| a.0.cmp(&b.0));
        samples
    };
    let (found, wanted) = (sorted(samples(page, metric)), sorted(wanted.to_vec()));
    ensure!(found == wanted, "{metric} is {found:?}, not {wanted:?}");
    Ok(())
}

/// Every name of the page and of the table in docs/metrics.md is in the other, those apart that need a fault to be seen.
pub fn holds(page: &str, rare: &[&str]) -> Result<()> {
    let samples: BTreeSet<&str> =
        page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(['{', ' ']).next()).collect();
    for name in named()? {
        ensure!(rare.contains(&name.as_str()) || samples.contains(name.as_str()), "{name} is not told by the platform:\n{page}");
    }
    let docs = std::fs::read_to_string(root().join("docs/metrics.md"))?;
    for family in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = family.split(' ').next().unwrap_or_default();
        let short = name.rsplit_once("_messages").map_or(name, |(_, end)| end);
        ensure!(docs.contains(name) || docs.contains(&format!("…{short}`")), "docs/metrics.md does not name {name}");
    }
    Ok(())
}
