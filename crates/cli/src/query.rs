//! `fanreel query`: a question to the logs, its answer as a table.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use aws_sdk_cloudwatchlogs::{
    Client,
    operation::start_query::StartQueryError,
    types::{QueryStatus, ResultField},
};

use crate::{
    args::{Global, QueryArgs},
    end::{End, usage},
    find::now_ms,
    logs,
    remote::Remote,
    screen,
};

const LOOK: Duration = Duration::from_millis(50);
/// A query that takes longer is stopped.
const PATIENCE: Duration = Duration::from_secs(300);

pub async fn run(args: &QueryArgs, global: &Global) -> anyhow::Result<End> {
    let remote = Remote::find(global).await?;
    let client = Client::new(&remote.sdk_config().await);
    let mut groups = Vec::new();
    match args.what.as_slice() {
        [] => groups = logs::groups(&remote, None)?,
        named => {
            for what in named {
                groups.extend(logs::groups(&remote, Some(what))?);
            }
        }
    }
    let rows = ask(&client, there(&client, groups).await?, args).await?;
    let rows: Vec<Vec<(String, String)>> = rows.into_iter().map(cells).collect();
    if global.json {
        screen::json(&rows.iter().map(|row| row.iter().cloned().collect::<BTreeMap<_, _>>()).collect::<Vec<_>>());
    } else {
        show(&rows);
    }
    Ok(End::Done)
}

/// Groups that exist: a function that never ran has none yet, and a query over a missing one fails.
async fn there(client: &Client, groups: Vec<String>) -> anyhow::Result<Vec<String>> {
    let mut there = Vec::new();
    for group in groups {
        let found = client.describe_log_groups().log_group_name_prefix(&group).send().await.context("the log groups cannot be listed")?;
        if found.log_groups().iter().any(|known| known.log_group_name() == Some(group.as_str())) {
            there.push(group);
        }
    }
    if there.is_empty() { Err(usage("nothing has been logged yet: none of these log groups exists")) } else { Ok(there) }
}

async fn ask(client: &Client, groups: Vec<String>, args: &QueryArgs) -> anyhow::Result<Vec<Vec<ResultField>>> {
    let seconds = |ms: u64| i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    let now = now_ms();
    let from = now.saturating_sub(u64::try_from(args.since.as_millis()).unwrap_or(u64::MAX));
    let request = client.start_query().set_log_group_names(Some(groups)).query_string(&args.query);
    let started = match request.start_time(seconds(from)).end_time(seconds(now)).send().await {
        Ok(started) => started,
        Err(error) => match error.into_service_error() {
            StartQueryError::MalformedQueryException(error) => {
                return Err(usage(error.message().unwrap_or("the query cannot be read").trim_end_matches('.')));
            }
            error => return Err(error).context("the query could not be started"),
        },
    };
    let id = started.query_id().context("the query has no id")?;
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let answer = client.get_query_results().query_id(id).send().await.context("the query's answer cannot be read")?;
        match answer.status() {
            Some(QueryStatus::Running | QueryStatus::Scheduled) => tokio::time::sleep(LOOK).await,
            Some(QueryStatus::Complete) => return Ok(answer.results.unwrap_or_default()),
            other => bail!("the query ended as {}: ask for less", other.map_or("nothing", QueryStatus::as_str)),
        }
    }
    // Stopping is a courtesy: the query is bounded by itself.
    let _ = client.stop_query().query_id(id).send().await;
    bail!("the query took longer than {} s and was stopped: look back less far", PATIENCE.as_secs())
}

/// Without the place of the line, which says nothing to a person.
fn cells(row: Vec<ResultField>) -> Vec<(String, String)> {
    let cell = |field: ResultField| (field.field.unwrap_or_default(), field.value.unwrap_or_default());
    row.into_iter().map(cell).filter(|(name, _)| name != "@ptr").collect()
}

fn show(rows: &[Vec<(String, String)>]) {
    let mut columns: Vec<&str> = Vec::new();
    for (name, _) in rows.iter().flatten() {
        if !columns.contains(&name.as_str()) {
            columns.push(name);
        }
    }
    if columns.is_empty() {
        screen::out("no lines match");
        return;
    }
    let value = |row: &[(String, String)], column: &str| {
        row.iter().find(|(name, _)| name == column).map_or(String::new(), |(_, value)| value.trim_end().to_owned())
    };
    let body = rows.iter().map(|row| columns.iter().map(|column| value(row, column)).collect()).collect();
    // A column of numbers stands right.
    let numeric = |column: &&str| rows.iter().all(|row| value(row, column).parse::<f64>().is_ok());
    let right: Vec<usize> = columns.iter().enumerate().filter(|(_, column)| numeric(column)).map(|(at, _)| at).collect();
    screen::out(&screen::table(&columns, &right, body));
}
