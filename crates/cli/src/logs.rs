//! `fanreel logs`: what functions print.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::Context;
use aws_sdk_cloudwatchlogs::{Client, operation::filter_log_events::FilterLogEventsError, types::FilteredLogEvent};
use serde::Serialize;

use crate::{
    args::{Global, LogsArgs},
    end::{End, usage},
    find::now_ms,
    remote::Remote,
    screen, text,
};

const LOOK: Duration = Duration::from_secs(1);
/// How long a silent platform is waited for, while following.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pages of one answer.
const MAX_PAGES: u32 = 1_000;
/// Events of the last moments that are remembered, so that none is shown twice.
const MAX_SEEN: usize = 10_000;
/// Late lines are waited for this long.
const OVERLAP_MS: u64 = 5_000;

#[derive(Debug, Serialize)]
struct Line {
    timestamp_ms: u64,
    group: String,
    stream: String,
    message: String,
    #[serde(skip)]
    id: String,
}

pub async fn run(args: &LogsArgs, global: &Global) -> anyhow::Result<End> {
    let remote = Remote::find(global).await?;
    let groups = groups(&remote, args.what.as_deref())?;
    let client = Client::new(&remote.sdk_config().await);
    let mut from_ms = now_ms().saturating_sub(u64::try_from(args.since.as_millis()).unwrap_or(u64::MAX));
    let mut seen = BTreeSet::new();
    let mut good = Instant::now();
    loop {
        let mut lines = match read_all(&client, &groups, from_ms, &args.filter).await {
            Ok(lines) => lines,
            // A platform that is started again has the lines that came before, too.
            Err(_) if args.follow && good.elapsed() < PATIENCE => {
                tokio::time::sleep(LOOK).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        good = Instant::now();
        // Stable: lines of one moment stay in the order in which they were printed.
        lines.sort_by_key(|line| line.timestamp_ms);
        for line in lines.iter().filter(|line| !seen.contains(&line.id)) {
            show(line, global.json);
        }
        if !args.follow {
            return Ok(End::Done);
        }
        // What came within the overlap is asked for again, and known by its id.
        from_ms = lines.last().map_or(from_ms, |last| from_ms.max(last.timestamp_ms.saturating_sub(OVERLAP_MS)));
        seen = lines.into_iter().rev().take(MAX_SEEN).filter(|line| line.timestamp_ms >= from_ms).map(|line| line.id).collect();
        tokio::time::sleep(LOOK).await;
    }
}

/// A function's group, a group by its own name, or those of all functions.
pub fn groups(remote: &Remote, what: Option<&str>) -> anyhow::Result<Vec<String>> {
    match what {
        Some(group) if group.starts_with('/') => Ok(vec![group.to_owned()]),
        Some(name) => Ok(vec![remote.function(name)?.log_group.clone()]),
        None => {
            let all: BTreeSet<String> = remote.page.functions.iter().map(|function| function.log_group.clone()).collect();
            if all.is_empty() { Err(usage("this stack has no functions; name a log group")) } else { Ok(all.into_iter().collect()) }
        }
    }
}

async fn read_all(client: &Client, groups: &[String], from_ms: u64, filter: &str) -> anyhow::Result<Vec<Line>> {
    let mut lines = Vec::new();
    for group in groups {
        lines.extend(read(client, group, from_ms, filter).await?);
    }
    Ok(lines)
}

async fn read(client: &Client, group: &str, from_ms: u64, filter: &str) -> anyhow::Result<Vec<Line>> {
    let mut lines = Vec::new();
    let mut next = None;
    for _ in 0..MAX_PAGES {
        let request = client.filter_log_events().log_group_name(group).start_time(i64::try_from(from_ms).unwrap_or(i64::MAX));
        let request = request.set_filter_pattern((!filter.is_empty()).then(|| filter.to_owned()));
        let page = match request.set_next_token(next).send().await.map_err(aws_sdk_cloudwatchlogs::error::SdkError::into_service_error) {
            Ok(page) => page,
            // A function that never ran has no group yet.
            Err(error) if error.is_resource_not_found_exception() => return Ok(lines),
            Err(FilterLogEventsError::InvalidParameterException(error)) => {
                return Err(usage(error.message().unwrap_or("the filter pattern cannot be read").trim_end_matches('.')));
            }
            Err(error) => return Err(error).with_context(|| format!("the log group {group} cannot be read")),
        };
        lines.extend(page.events.unwrap_or_default().into_iter().map(|event| line(group, event)));
        next = page.next_token;
        if next.is_none() {
            break;
        }
    }
    Ok(lines)
}

fn line(group: &str, event: FilteredLogEvent) -> Line {
    let timestamp_ms = event.timestamp.and_then(|at| u64::try_from(at).ok()).unwrap_or(0);
    let stream = event.log_stream_name.unwrap_or_default();
    let message = event.message.unwrap_or_default().trim_end().to_owned();
    let id = event.event_id.unwrap_or_else(|| format!("{timestamp_ms}/{stream}/{message}"));
    Line { timestamp_ms, group: group.to_owned(), stream, message, id }
}

fn show(line: &Line, json: bool) {
    if json {
        screen::json(line);
    } else {
        let function = line.group.rsplit('/').next().unwrap_or(&line.group);
        screen::out(&format!("{} {function:<24} {}", text::clock(line.timestamp_ms), line.message));
    }
}
