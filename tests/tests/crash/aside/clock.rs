//! `examples/schedule-http`: a schedule and an HTTP API call their functions.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::run::{Fanreel, get, until};

/// The schedule's minute, and time for the function.
const MINUTE: Duration = Duration::from_secs(90);

pub async fn a_schedule_counts_and_an_http_api_shows_it() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let template = tests::root().join("examples/schedule-http/template.yaml");
    // SAM's own policies of the example suffice.
    let fanreel = Fanreel::start_as(&dir.path().join("data"), &template, &[], &["--enforce-policies"]).await?;
    let stack: Value = serde_json::from_str(&get(&fanreel.endpoint, "/_fanreel/stack")?)?;
    let url = stack["http_apis"][0]["url"].as_str().context("no URL")?.trim_end_matches('/').to_owned();
    let ask = |path: &str| -> Result<Value> { Ok(serde_json::from_str(&get(&url, path)?)?) };
    ensure!(ask("/hello/world%20%C3%A9")? == json!({ "hello": "world é" }), "{}", ask("/hello/world%20%C3%A9")?);
    ensure!(get(&url, "/nothing").is_err_and(|error| error.to_string().contains("404")), "a path without a route is answered");
    let ticks = until("the schedule's first tick", MINUTE, || Ok(Some(ask("/ticks")?).filter(|ticks| ticks["times"] != 0))).await?;
    ensure!(ticks["latest"].as_str().is_some_and(|time| time.ends_with('Z')), "{ticks}");
    fanreel.stop()
}
