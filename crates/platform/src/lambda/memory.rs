//! Watches the resident memory of busy environments, once a second, and ends those above their `MemorySize`.
//!
//! It is a watch, not a wall: what is allocated and freed between two looks is not seen, and memory shared by processes
//! of one environment counts once for each.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{Lambda, environment::Event, process};

const EVERY: Duration = Duration::from_secs(1);

pub async fn watch(lambda: Arc<Lambda>) {
    let mut stopping = lambda.stopping();
    loop {
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        if lambda.pool.any_busy() {
            let resident = tokio::task::spawn_blocking(process::resident_by_session).await.unwrap_or_default();
            look(&lambda, &resident);
        }
    }
}

fn look(lambda: &Lambda, resident: &BTreeMap<u32, u64>) {
    for handle in lambda.pool.all() {
        let Some(bytes) = resident.get(&handle.pid) else { continue };
        handle.gauge.peak_memory.fetch_max(*bytes, Ordering::Relaxed);
        let limit = lambda.memory_of(handle.function);
        if *bytes > limit && handle.gauge.busy.load(Ordering::Relaxed) {
            let _ = handle.events.try_send(Event::OutOfMemory);
        }
    }
}
