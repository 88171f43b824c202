//! `fanreel invoke`: calls a function and waits for its answer.

use std::{io::Read, path::Path};

use anyhow::Context;
use aws_sdk_lambda::{Client, primitives::Blob};

use crate::{
    args::{Global, InvokeArgs},
    end::{End, usage},
    remote::Remote,
    screen,
};

/// Lambda takes no larger event, bytes.
const MAX_EVENT: u64 = 6 << 20;

pub async fn run(args: &InvokeArgs, global: &Global) -> anyhow::Result<End> {
    let event = event(&args.event)?;
    let remote = Remote::find(global).await?;
    let name = remote.function(&args.function)?.name.clone();
    let client = Client::new(&remote.sdk_config().await);
    let answer = client.invoke().function_name(&name).payload(Blob::new(event)).send().await;
    let answer = answer.map_err(aws_sdk_lambda::error::SdkError::into_service_error).with_context(|| format!("{name} cannot be called"))?;
    let payload = answer.payload.map(Blob::into_inner).unwrap_or_default();
    if global.json {
        let text = String::from_utf8_lossy(&payload).into_owned();
        let payload = serde_json::from_slice::<serde_json::Value>(&payload).unwrap_or(serde_json::Value::String(text));
        screen::json(&serde_json::json!({
            "function": name, "status": answer.status_code, "function_error": answer.function_error, "payload": payload,
        }));
    } else {
        screen::raw(&payload);
        screen::raw(b"\n");
    }
    let Some(kind) = answer.function_error else { return Ok(End::Done) };
    screen::note(&format!("{name} failed ({kind}); what it printed: fanreel logs {}", args.function));
    Ok(End::Failed)
}

fn event(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut event = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().take(MAX_EVENT + 1).read_to_end(&mut event)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_EVENT + 1).read_to_end(&mut event))
    };
    let name = path.display();
    read.map_err(|error| usage(format!("the event {name} cannot be read: {error}")))?;
    if event.len() as u64 > MAX_EVENT {
        return Err(usage(format!("the event {name} is larger than the {MAX_EVENT} bytes that Lambda takes")));
    }
    serde_json::from_slice::<serde::de::IgnoredAny>(&event).map_err(|error| usage(format!("the event {name} is no JSON: {error}")))?;
    Ok(event)
}
