//! DynamoDB: the `dynoxide-rs` crate, embedded, behind AWS's JSON protocol.
//!
//! Durability: dynoxide opens its file in WAL mode and leaves `synchronous` at `SQLite`'s default, which is FULL, so every
//! commit is synced before it is answered. Nothing in its API reads the setting back, so [`DynamoDb::open`] reads both
//! on a connection of its own to the same file (there is one `SQLite` in the process, with one set of defaults), and
//! refuses to open with less.

mod dispatch;

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use dynoxide::{Database, DynoxideError};
use http::Response;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::stack;

/// Calls that may occupy blocking threads at once. The database runs one at a time; more would only wait for its lock.
const MAX_BLOCKING: usize = 4;

/// The tables of the platform.
pub struct DynamoDb {
    db: Database,
    blocking: Arc<Semaphore>,
}

/// Why the tables could not be opened, made or swept.
#[derive(Debug, thiserror::Error)]
pub enum DynamoError {
    #[error("Cannot open the tables in {file}: {cause}")]
    Open { file: String, cause: String },
    /// The table exists, with another key, index or attribute definition than the template's.
    #[error(
        "Table {table} exists with another {what} than the template asks for. Rename the table in the template, or start with an empty data directory."
    )]
    Differs { table: String, what: &'static str },
    #[error("Table {table}: {cause}")]
    Table { table: String, cause: String },
    #[error("Cannot delete expired items: {0}")]
    Sweep(String),
    #[error("The tables are being shut down.")]
    Closed,
}

impl DynamoDb {
    /// Opens the tables kept in `dir`, which is made if need be.
    pub fn open(dir: &Path) -> Result<Arc<Self>, DynamoError> {
        let file = dir.join("dynamodb.sqlite3");
        let failed = |cause: String| DynamoError::Open { file: file.display().to_string(), cause };
        std::fs::create_dir_all(dir).map_err(|e| failed(e.to_string()))?;
        let name = file.to_str().ok_or_else(|| failed("its path is not UTF-8".into()))?;
        let db = Database::new(name).map_err(|e| failed(e.to_string()))?;
        check_durability(&file).map_err(failed)?;
        Ok(Arc::new(Self { db, blocking: Arc::new(Semaphore::new(MAX_BLOCKING)) }))
    }

    /// Creates a template's table if it is not there, and sets its TTL attribute. A table that is there with other keys
    /// or indexes is an error: it is not changed.
    pub async fn ensure_table(&self, table: &stack::Table) -> Result<(), DynamoError> {
        let wanted = table.clone();
        self.blocking(move |db| ensure(db, &wanted)).await?
    }

    /// Runs one operation of the JSON protocol (`x-amz-target: DynamoDB_20120810.<operation>`). Errors are answers too.
    pub async fn handle(&self, operation: &str, body: &[u8]) -> Response<Bytes> {
        let (name, body) = (operation.to_owned(), Bytes::copy_from_slice(body));
        let answer = match self.blocking(move |db| dispatch::run(db, &name, &body)).await {
            Ok(answer) => answer,
            Err(closed) => dispatch::refusal(&DynoxideError::InternalServerError(closed.to_string())),
        };
        tracing::debug!(operation, status = answer.status, "dynamodb: request done");
        respond(answer)
    }

    /// Deletes items whose TTL is over, in all tables that have one, and says how many. One pass over the rows that the
    /// tables hold at its start, 25 at a time, between which other requests run.
    pub async fn sweep_expired(&self) -> Result<u64, DynamoError> {
        let swept = self.blocking(Database::sweep_ttl).await?;
        swept.map(|count| count as u64).map_err(|e| DynamoError::Sweep(e.to_string()))
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Database) -> T + Send + 'static) -> Result<T, DynamoError> {
        let permit = Arc::clone(&self.blocking).acquire_owned().await.map_err(|_| DynamoError::Closed)?;
        let db = self.db.clone();
        let work = move || {
            let _permit = permit;
            work(&db)
        };
        tokio::task::spawn_blocking(work).await.map_err(|e| {
            tracing::error!(error = %e, "dynamodb: a request did not end");
            DynamoError::Closed
        })
    }
}

impl std::fmt::Debug for DynamoDb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DynamoDb").finish_non_exhaustive()
    }
}

/// Holds that a commit is on disk when it returns.
fn check_durability(file: &Path) -> Result<(), String> {
    let read = || -> rusqlite::Result<(String, i64)> {
        let db = rusqlite::Connection::open(file)?;
        db.busy_timeout(Duration::from_secs(5))?;
        let mode = db.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
        Ok((mode, db.pragma_query_value(None, "synchronous", |row| row.get(0))?))
    };
    let (mode, synchronous) = read().map_err(|e| e.to_string())?;
    // 2 is FULL, 3 EXTRA.
    if mode == "wal" && synchronous >= 2 {
        return Ok(());
    }
    Err(format!(
        "it would not survive a crash (journal_mode={mode}, synchronous={synchronous}; needed are wal and 2): build with the bundled SQLite"
    ))
}

fn ensure(db: &Database, table: &stack::Table) -> Result<(), DynamoError> {
    let failed = |cause: String| DynamoError::Table { table: table.name.clone(), cause };
    let call = |operation: &str, body: &Value| -> Result<Value, String> {
        let text = dispatch::call(db, operation, &body.to_string()).map_err(|e| e.to_string())?;
        serde_json::from_str(&text).map_err(|e| e.to_string())
    };
    let there = match dispatch::call(db, "DescribeTable", &json!({ "TableName": table.name }).to_string()) {
        Ok(text) => Some(serde_json::from_str::<Value>(&text).map_err(|e| failed(e.to_string()))?),
        Err(DynoxideError::ResourceNotFoundException(_)) => None,
        Err(e) => return Err(failed(e.to_string())),
    };
    match there.as_ref().and_then(|answer| answer.get("Table")) {
        Some(there) => check_same(table, there)?,
        None => drop(call("CreateTable", &table.create_table).map_err(failed)?),
    }
    let described = call("DescribeTimeToLive", &json!({ "TableName": table.name })).map_err(failed)?;
    let now = described.pointer("/TimeToLiveDescription/AttributeName").and_then(Value::as_str).map(str::to_owned);
    if now == table.ttl_attribute {
        return Ok(());
    }
    // As on AWS, one attribute must be switched off before another is switched on.
    for (attribute, enabled) in [(now, false), (table.ttl_attribute.clone(), true)] {
        if let Some(attribute) = attribute {
            let spec = json!({ "AttributeName": attribute, "Enabled": enabled });
            let body = json!({ "TableName": table.name, "TimeToLiveSpecification": spec });
            call("UpdateTimeToLive", &body).map_err(failed)?;
        }
    }
    Ok(())
}

/// Holds the keys and indexes of an existing table against the template's.
fn check_same(table: &stack::Table, there: &Value) -> Result<(), DynamoError> {
    for (field, what) in [
        ("KeySchema", "key"),
        ("AttributeDefinitions", "set of key attributes"),
        ("GlobalSecondaryIndexes", "set of global indexes"),
        ("LocalSecondaryIndexes", "set of local indexes"),
    ] {
        if outline(table.create_table.get(field)) != outline(there.get(field)) {
            return Err(DynamoError::Differs { table: table.name.clone(), what });
        }
    }
    Ok(())
}

/// What makes keys, key attributes and indexes the same, whatever their order and the rest of their description.
fn outline(list: Option<&Value>) -> Vec<String> {
    let entries = list.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text = |entry: &Value, field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut lines: Vec<String> = entries
        .iter()
        .map(|entry| {
            let own = ["IndexName", "AttributeName", "AttributeType", "KeyType"].map(|field| text(entry, field));
            let projection = entry.get("Projection").map(|p| text(p, "ProjectionType")).unwrap_or_default();
            format!("{} {projection} {}", own.join(" "), outline(entry.get("KeySchema")).join(" "))
        })
        .collect();
    lines.sort();
    lines
}

fn respond(answer: dispatch::Answer) -> Response<Bytes> {
    Response::builder()
        .status(answer.status)
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amzn-requestid", uuid::Uuid::new_v4().simple().to_string().to_ascii_uppercase())
        // SDKs check the body against it.
        .header("x-amz-crc32", crc32fast::hash(answer.body.as_bytes()).to_string())
        .body(Bytes::from(answer.body))
        .unwrap_or_default()
}
