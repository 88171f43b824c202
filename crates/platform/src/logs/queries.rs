//! Insights queries as the API has them: started, asked for, stopped.
//!
//! Source: CloudWatch Logs API reference, `StartQuery`, `GetQueryResults`, `StopQuery`, `DescribeQueries`.

use std::{
    collections::VecDeque,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    error::LogsError,
    insights::{Cell, Line, Query, Run},
    store::Store,
};

/// Queries at work at once ("CloudWatch Logs quotas").
const MAX_RUNNING: usize = 30;
/// Queries whose answers are remembered; the oldest are forgotten.
const MAX_KEPT: usize = 100;
/// Log groups of one query.
pub const MAX_GROUPS: usize = 50;
/// How long one query may run.
const MAX_TIME: Duration = Duration::from_secs(15 * 60);
/// Lines between two looks at the clock.
const LOOK_EVERY: u64 = 4_096;

/// All queries of late.
#[derive(Debug, Default)]
pub struct Queries(Mutex<VecDeque<Arc<Started>>>);

/// One query.
#[derive(Debug)]
pub struct Started {
    id: String,
    text: String,
    groups: Vec<String>,
    created_ms: u64,
    stop: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    status: Status,
    rows: Vec<Vec<Cell>>,
    matched: u64,
    scanned: u64,
    bytes: u64,
    why: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Status {
    #[default]
    Running,
    Complete,
    Failed,
    Cancelled,
    Timeout,
}

/// What is asked, and of which lines.
#[derive(Debug)]
pub struct Question {
    pub text: String,
    pub query: Query,
    pub groups: Vec<String>,
    /// Milliseconds since 1970, both included.
    pub from_ms: u64,
    pub to_ms: u64,
    pub limit: Option<usize>,
}

impl Queries {
    /// Starts a query on a connection of its own: a long one holds up nobody. Answers its id.
    pub fn start(&self, database: &Path, question: Question) -> Result<String, LogsError> {
        let store = Store::open(database)?;
        let started = Arc::new(Started {
            id: uuid::Uuid::new_v4().to_string(),
            text: question.text.clone(),
            groups: question.groups.clone(),
            created_ms: super::now_ms(),
            stop: AtomicBool::new(false),
            state: Mutex::default(),
        });
        let mut all = self.lock();
        if all.iter().filter(|query| query.state().status == Status::Running).count() >= MAX_RUNNING {
            return Err(LogsError {
                kind: "LimitExceededException",
                message: format!("{MAX_RUNNING} queries are at work; wait for one to end."),
            });
        }
        if all.len() >= MAX_KEPT
            && let Some(oldest) = all.iter().position(|query| query.state().status != Status::Running)
        {
            all.remove(oldest);
        }
        all.push_back(Arc::clone(&started));
        drop(all);
        let id = started.id.clone();
        tokio::task::spawn_blocking(move || started.run(&store, question));
        Ok(id)
    }

    pub fn results(&self, id: &str) -> Result<Value, LogsError> {
        Ok(self.find(id)?.results())
    }

    /// Whether it was at work.
    pub fn stop(&self, id: &str) -> Result<bool, LogsError> {
        let query = self.find(id)?;
        query.stop.store(true, Ordering::Relaxed);
        let running = query.state().status == Status::Running;
        Ok(running)
    }

    /// The latest first, those of `group` and in `status` where they are named.
    pub fn list(&self, group: &str, status: &str) -> Vec<Value> {
        let wanted = |query: &&Arc<Started>| {
            (group.is_empty() || query.groups.iter().any(|name| name == group))
                && (status.is_empty() || query.state().status.name() == status)
        };
        self.lock().iter().rev().filter(wanted).map(|query| query.summary()).collect()
    }

    fn find(&self, id: &str) -> Result<Arc<Started>, LogsError> {
        let found = self.lock().iter().find(|query| query.id == id).cloned();
        found.ok_or_else(|| LogsError::not_found("query"))
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Started>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Queries {
    /// A query does not outlive the service.
    fn drop(&mut self) {
        for query in self.lock().iter() {
            query.stop.store(true, Ordering::Relaxed);
        }
    }
}

impl Started {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, store: &Store, question: Question) {
        let mut run = Run::new(question.query, question.limit);
        let (mut scanned, mut bytes, mut broken, began) = (0u64, 0u64, None, Instant::now());
        let looked = store.scan_ahead(&question.groups, (question.from_ms, question.to_ms), |seen| {
            scanned += 1;
            bytes += seen.message.len() as u64;
            let line = Line {
                timestamp_ms: seen.at_ms,
                ingested_ms: seen.ingested_ms,
                group: seen.group,
                stream: seen.stream,
                message: seen.message,
                id: seen.id,
            };
            if let Err(why) = run.push(&line) {
                broken = Some((Status::Failed, why));
            } else if scanned.is_multiple_of(LOOK_EVERY) {
                self.state().scanned = scanned;
                if self.stop.load(Ordering::Relaxed) {
                    broken = Some((Status::Cancelled, String::new()));
                } else if began.elapsed() > MAX_TIME {
                    broken = Some((Status::Timeout, String::new()));
                }
            }
            broken.is_none()
        });
        let matched = run.matched();
        let end = match (looked, broken) {
            (Err(error), _) => Err((Status::Failed, error.message)),
            (_, Some(broken)) => Err(broken),
            _ if self.stop.load(Ordering::Relaxed) => Err((Status::Cancelled, String::new())),
            _ => run.finish().map_err(|why| (Status::Failed, why)),
        };
        let mut state = self.state();
        (state.matched, state.scanned, state.bytes) = (matched, scanned, bytes);
        match end {
            Ok(rows) => (state.status, state.rows) = (Status::Complete, rows),
            Err((status, why)) => {
                if !why.is_empty() {
                    tracing::warn!(query = %self.id, %why, "a query failed");
                }
                (state.status, state.why) = (status, why);
            }
        }
    }

    fn results(&self) -> Value {
        let state = self.state();
        let row = |row: &Vec<Cell>| Value::Array(row.iter().map(|cell| json!({ "field": cell.field, "value": cell.value })).collect());
        let mut answer = json!({
            "status": state.status.name(),
            "results": state.rows.iter().map(row).collect::<Vec<_>>(),
            "statistics": { "recordsMatched": state.matched, "recordsScanned": state.scanned, "bytesScanned": state.bytes },
        });
        if !state.why.is_empty() {
            // AWS says no more than `Failed`; the reason costs nothing.
            answer["message"] = json!(state.why);
        }
        answer
    }

    fn summary(&self) -> Value {
        json!({
            "queryId": self.id,
            "queryString": self.text,
            "status": self.state().status.name(),
            "createTime": self.created_ms,
            "logGroupName": self.groups.first(),
        })
    }
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Running => "Running",
            Self::Complete => "Complete",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
            Self::Timeout => "Timeout",
        }
    }
}
