//! The saved queries of `docs/queries.md` on the logs of jobs whose faults are known.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::run::Fanreel;

/// Queries by their headings.
fn saved() -> Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(tests::root().join("docs/queries.md"))?;
    let sections = text.split("\n## ").skip(1);
    sections
        .map(|section| {
            let (heading, rest) = section.split_once('\n').context("an empty section")?;
            let query = rest.split("```\n").nth(1).with_context(|| format!("{heading} has no query"))?;
            Ok((heading.to_owned(), query.to_owned()))
        })
        .collect()
}

/// As an event says it, a number, and as a query answers it.
fn attempt(event: &Value) -> String {
    event["attempt"].to_string()
}

/// The queries of the template's dashboard, less the names of their log groups: here all are asked.
fn on_the_dashboard(fanreel: &Fanreel) -> Result<()> {
    let template = std::fs::read_to_string(tests::root().join("template.yaml"))?;
    let line = |line: &str| line.trim().strip_prefix("\"query\": ").and_then(|query| query.strip_suffix(" } },").map(str::to_owned));
    let queries: Vec<String> = template.lines().filter_map(line).collect();
    ensure!(queries.len() == 2, "{queries:?}");
    for query in queries {
        let query: String = serde_json::from_str(&query)?;
        let parts: Vec<&str> = query.split(" | ").filter(|part| !part.starts_with("SOURCE '/aws/lambda/${AWS::StackName}-")).collect();
        let rows = fanreel.ask(&["query", &parts.join(" | ")]).with_context(|| query.clone())?;
        let jobs = rows.as_array().into_iter().flatten().map(|row| number(row, "jobs")).collect::<Result<Vec<_>>>()?;
        ensure!(jobs.iter().sum::<f64>() >= 1.0, "{query}: {rows}");
    }
    Ok(())
}

/// `fanreel logs --filter` shows the lines that match, and says what is wrong with a pattern.
fn filtered(fanreel: &Fanreel, retries: f64) -> Result<()> {
    let shown = fanreel.say(&["logs", "--since", "1h", "--filter", "{ $.event = \"ContainerErrorRetry\" }"])?;
    let lines = shown.lines().filter(|line| line.contains("ContainerErrorRetry")).count();
    ensure!(lines == shown.lines().filter(|line| !line.is_empty()).count(), "others are shown: {shown}");
    ensure!((f64::from(u32::try_from(lines)?) - retries).abs() < 0.5, "{lines} lines of {retries}: {shown}");
    let wrong = fanreel.say(&["logs", "--filter", "{ $.event = }"]);
    ensure!(wrong.as_ref().is_err_and(|error| error.to_string().contains("filter")), "{wrong:?}");
    Ok(())
}

fn number(row: &Value, field: &str) -> Result<f64> {
    row[field].as_str().and_then(|text| text.parse().ok()).with_context(|| format!("no number {field} in {row}"))
}

/// Of a few values, on the line between the two nearest.
fn percentile(mut values: Vec<f64>, share: usize, of: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = share * values.len().saturating_sub(1);
    let (at, next) = (place / of, (place / of + 1).min(values.len() - 1));
    let part = f64::from(u32::try_from(place % of).unwrap_or(0)) / f64::from(u32::try_from(of).unwrap_or(1));
    values[at] + (values[next] - values[at]) * part
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_default()
}

/// Every query answers what the ledger's events say. `well`: a job without a fault; `ill`: jobs whose chunk 1 crashed
/// until a person was asked.
pub fn answer_right(fanreel: &Fanreel, well: &str, ill: &[&str]) -> Result<()> {
    let saved = saved()?;
    let mut asked = BTreeSet::new();
    let mut ask = |heading: &str| -> Result<Vec<Value>> {
        let query = saved.get(heading).with_context(|| format!("docs/queries.md has no `{heading}`"))?;
        asked.insert(heading.to_owned());
        let rows = fanreel.ask(&["query", query]).with_context(|| heading.to_owned())?;
        let rows = rows.as_array().with_context(|| format!("{heading}: {rows}"))?.clone();
        ensure!(!rows.is_empty(), "{heading} answers nothing");
        Ok(rows)
    };

    let slowest = ask("Slowest chunks")?;
    let tasks: BTreeSet<&str> = slowest.iter().filter(|row| text(row, "job") == well).map(|row| text(row, "task")).collect();
    ensure!(tasks.is_superset(&["a00", "c00000", "c00001", "merge"].into()), "{slowest:?}");
    let events = fanreel.events(well)?;
    for row in slowest.iter().filter(|row| text(row, "job") == well) {
        let of_row = |event: &&Value, kind: &str| {
            event["kind"] == kind && text(event, "task") == text(row, "task") && attempt(event) == text(row, "attempt")
        };
        let at =
            |kind: &str| events.iter().find(|event| of_row(event, kind)).and_then(|event| event["at_ms"].as_f64()).context(kind.to_owned());
        let told = (at("WorkloadProcessingFinished")? - at("WorkloadProcessingStarted")?) / 1000.0;
        // The one is stamped when it is noted, the other when it is written.
        ensure!((number(row, "seconds")? - told).abs() < 2.0, "{row}: the ledger says {told} s");
    }
    let seconds = slowest.iter().map(|row| number(row, "seconds")).collect::<Result<Vec<_>>>()?;
    ensure!(seconds.iter().all(|seconds| *seconds >= 0.0) && seconds.is_sorted_by(|a, b| a >= b), "{seconds:?}");

    // As many of each kind as the ledger has.
    let faults = ["ContainerErrorRetry", "ContainerErrorEscalation", "ContainerFailureDetected"];
    let mut known = BTreeMap::<(String, String), f64>::new();
    for job in ill.iter().chain(&[well]) {
        for event in fanreel.events(job)?.iter().filter(|event| faults.contains(&text(event, "kind"))) {
            *known.entry((text(event, "kind").to_owned(), text(event, "task").to_owned())).or_default() += 1.0;
        }
    }
    let mut found = BTreeMap::<(String, String), f64>::new();
    for row in ask("Retries by fault")? {
        *found.entry((text(&row, "event").to_owned(), text(&row, "task").to_owned())).or_default() += number(&row, "times")?;
    }
    ensure!(known.keys().any(|(kind, task)| kind == "ContainerErrorRetry" && task == "c00001"), "no fault to be found: {known:?}");
    let retries: f64 = known.iter().filter(|((kind, _), _)| kind == "ContainerErrorRetry").map(|(_, times)| times).sum();
    filtered(fanreel, retries)?;
    let found: BTreeMap<_, _> = found.into_iter().filter(|(key, _)| known.contains_key(key)).collect();
    ensure!(found == known, "the ledger: {known:?}\nthe logs: {found:?}");

    let (by_job, by_function) = (ask("Cost by job")?, ask("Cost by function")?);
    let sum = |rows: &[Value]| rows.iter().map(|row| number(row, "gb_s")).sum::<Result<f64>>();
    for job in ill.iter().chain(&[well]) {
        let row = by_job.iter().find(|row| text(row, "of_job") == *job).with_context(|| format!("no cost of {job}: {by_job:?}"))?;
        let (spent, price) = (number(row, "gb_s")?, number(row, "usd_millionths")?);
        ensure!(spent > 0.0 && (price / spent - 16.6667).abs() < 0.01 && number(row, "invocations")? >= 5.0, "{row}");
    }
    ensure!(sum(&by_job)? <= sum(&by_function)? * 1.000_001, "{by_job:?} {by_function:?}");

    for row in ask("Cold starts")? {
        let (cold, all) = (number(&row, "cold")?, number(&row, "invocations")?);
        ensure!(cold >= 1.0 && cold <= all, "{row}");
        // Each environment has a stream of its own, and starts once.
        let count = "stats count(@initDuration) as cold, count_distinct(@logStream) as streams";
        let streams = fanreel.ask(&["query", &format!("filter @type = 'REPORT' and @log = '{}' | {count}", text(&row, "@log"))])?;
        ensure!((number(&streams[0], "streams")? - number(&streams[0], "cold")?).abs() < 0.5, "{row}: {streams}");
    }
    let mut stages = BTreeSet::new();
    for row in ask("95th percentile by stage")? {
        let (half, most) = (number(&row, "half_s")?, number(&row, "most_s")?);
        let every = fanreel
            .ask(&["query", &format!("filter message = \"task done\" and stage = \"{}\" | display task_seconds", text(&row, "stage"))])?;
        let every = every.as_array().into_iter().flatten().map(|row| number(row, "task_seconds")).collect::<Result<Vec<_>>>()?;
        ensure!(
            (half - percentile(every.clone(), 1, 2)).abs() < 0.001 && (most - percentile(every.clone(), 19, 20)).abs() < 0.001,
            "{row}: {every:?}"
        );
        ensure!((number(&row, "tasks")? - f64::from(u32::try_from(every.len())?)).abs() < 0.5, "{row}: {every:?}");
        stages.insert(text(&row, "stage").to_owned());
    }
    ensure!(["split", "chunk", "audio", "merge"].iter().all(|stage| stages.contains(*stage)), "{stages:?}");
    let waiting = ask("Tasks that wait for a person")?;
    let jobs: BTreeSet<&str> = waiting.iter().filter(|row| text(row, "task") == "c00001").map(|row| text(row, "job")).collect();
    ensure!(jobs == ill.iter().copied().collect(), "{waiting:?}");

    on_the_dashboard(fanreel)?;
    ensure!(asked.iter().eq(saved.keys()), "docs/queries.md has a query that nothing holds: {:?}", saved.keys());
    Ok(())
}
