//! What one attempt uses, measured from its message to its record.

use super::{Context, attempt::Attempt, seconds};
use crate::{
    cost::{Charge, Prices, architecture},
    ports::{Clock, Meter, World},
    task::{Lease, Task},
    trace::{SpanId, TraceId},
    usage::{Requests, Room, Usage},
};

/// How the environment was when the message came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Metered {
    began_ms: u64,
    /// Who sent the message.
    sender: Option<SpanId>,
    cpu_ms: u64,
    memory_mb: u32,
    asked: Requests,
}

impl Metered {
    pub fn begin<W: World>(cx: &Context<'_, W>, sender: Option<SpanId>) -> Self {
        let vitals = cx.request.host.vitals();
        let memory_mb = u32::try_from(vitals.memory_limit >> 20).unwrap_or(u32::MAX);
        Self { began_ms: cx.world.clock().now_ms(), sender, cpu_ms: vitals.cpu_ms, memory_mb, asked: cx.world.meter().asked() }
    }

    pub fn room<W: World>(&self, cx: &Context<'_, W>) -> Room {
        Room { memory_mb: self.memory_mb, scratch_mb: cx.policy.scratch_mb }
    }

    /// Until now.
    pub fn used<W: World>(&self, cx: &Context<'_, W>) -> Usage {
        let time = Usage::of_time(self.room(cx), cx.world.clock().now_ms().saturating_sub(self.began_ms));
        let cpu_ms = cx.request.host.vitals().cpu_ms.saturating_sub(self.cpu_ms);
        Usage { cpu_ms, requests: cx.world.meter().asked().since(self.asked), ..time }
    }
}

/// An attempt at this task that ended without a word: its span, told by whoever finds its lease run out. No metric: how long
/// it worked is not known, and who sent its message neither.
pub(super) fn vanished(task: &Task, lease: &Lease) {
    let Lease { fence, since_ms, until_ms, .. } = lease;
    tracing::warn!(
        span = task.work.stage(),
        trace_id = %TraceId::of(&task.job),
        span_id = %SpanId::of_attempt(&task.job, task.id, *fence),
        parent_id = %SpanId::of_job(&task.job),
        start_ms = since_ms,
        end_ms = until_ms,
        job = %task.job,
        task = %task.id,
        fence,
        failed = "the worker vanished: its lease ran out",
        "attempt lost"
    );
}

/// An attempt that is over, whatever its end was: for the metrics, and a span of the job's trace. `failed`: why, or nothing.
pub(super) fn told(attempt: &Attempt<'_>, used: &Usage, failed: &str) {
    let of_job = attempt.job.basis.as_ref().map(|basis| &basis.prices);
    let prices = attempt.prices.get().or(of_job).map_or_else(Prices::built_in, |prices| Ok(prices.clone()));
    let cost_usd = prices.map_or(0.0, |prices| Charge::of(used, &prices, architecture()).total_usd);
    let (stage, gb_seconds, cpu_seconds) = (attempt.task.work.stage(), used.gb_seconds(), seconds(used.cpu_ms));
    let (job, start_ms) = (&attempt.task.job, attempt.metered.began_ms);
    tracing::info!(
        metrics = "gb_seconds=Count,cost_usd=Count",
        dimensions = "stage",
        stage,
        gb_seconds,
        cost_usd,
        cpu_seconds,
        requests = ?used.requests,
        span = stage,
        trace_id = %TraceId::of(job),
        span_id = %attempt.span(),
        parent_id = %attempt.metered.sender.unwrap_or_else(|| SpanId::of_job(job)),
        start_ms,
        end_ms = start_ms + used.wall_ms,
        job = %job,
        task = %attempt.task.id,
        attempt = attempt.task.attempts,
        failed,
        "attempt over"
    );
}
