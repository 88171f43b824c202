//! What an environment tells of itself while it works, what it hears of the others, and whom the sweep finds gone. For
//! people: whatever of it fails is logged, and the work goes on.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use super::{Context, Diary, Request, attempt::Attempt};
use crate::{
    event::{EventKind, EventRecord},
    fault::Fault,
    fleet::{Member, MemberState, Table, Vitals},
    ports::{Clock, Ledger, World},
};

/// A node that was left longer ago than the sweep's interval by far is told of already.
const RECENT_MS: u64 = 60 * 60_000;
/// As long as an environment's view of the fleet is not older, in milliseconds, it does not read the table again for its next task:
/// of a thousand environments each would otherwise read a thousand rows for every segment.
const FRESH_MS: u64 = 60_000;

/// The running copy of a function that handles requests: what of it outlives one request.
pub struct Host {
    pub function: String,
    /// See [`Member::node`].
    pub node: String,
    /// Milliseconds since 1970.
    pub started_ms: u64,
    vitals: Box<dyn Fn() -> Vitals + Send + Sync>,
    sequence: AtomicU64,
    served: AtomicBool,
    view: Mutex<Table>,
    /// When the table was read into it, milliseconds since 1970; 0 for never.
    heard_ms: AtomicU64,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("function", &self.function).field("node", &self.node).finish_non_exhaustive()
    }
}

impl Host {
    /// `vitals` is asked at every heartbeat, and answers at once.
    pub fn new(function: &str, node: &str, started_ms: u64, vitals: impl Fn() -> Vitals + Send + Sync + 'static) -> Self {
        Self {
            function: function.to_owned(),
            node: node.to_owned(),
            started_ms,
            vitals: Box::new(vitals),
            sequence: AtomicU64::new(0),
            served: AtomicBool::new(false),
            view: Mutex::default(),
            heard_ms: AtomicU64::new(0),
        }
    }

    /// Of the next row. Every second number: the one between is for whoever finds the environment gone
    /// ([`Member::found_gone`]), so that what it tells next overrules that.
    fn next_sequence(&self) -> u64 {
        self.sequence.fetch_add(2, Ordering::Relaxed) + 2
    }

    pub(super) fn vitals(&self) -> Vitals {
        (self.vitals)()
    }
}

/// At the beginning of a task, beside its work.
pub(super) async fn appear<W: World>(cx: &Context<'_, W>, attempt: &Attempt<'_>) {
    let host = &cx.request.host;
    let is_new = !host.served.swap(true, Ordering::Relaxed);
    tell(cx, attempt, MemberState::Working).await;
    let heard_ms = host.heard_ms.load(Ordering::Relaxed);
    if heard_ms != 0 && cx.now().saturating_sub(heard_ms) < FRESH_MS {
        return;
    }
    if let Err(fault) = hear(cx, attempt, is_new).await {
        tracing::warn!(%fault, "the fleet's table could not be read");
    }
}

/// The environment's view and the table become one.
async fn hear<W: World>(cx: &Context<'_, W>, attempt: &Attempt<'_>, is_new: bool) -> Result<(), Fault> {
    let heard: Table = cx.world.ledger().fleet().await?.into_iter().collect();
    let host = &cx.request.host;
    let (news, members, nodes, others) = {
        let mut view = host.view.lock().unwrap_or_else(PoisonError::into_inner);
        let news = view.merge(heard);
        view.forget(cx.now());
        host.heard_ms.store(cx.now(), Ordering::Relaxed);
        (news, view.members().count(), view.nodes().len(), view.others_on(&host.node, &cx.request.environment))
    };
    let diary = &attempt.diary;
    if is_new && others == 0 {
        diary.note(cx.now(), EventKind::WorkerNodeScaledUp, host.node.clone());
    }
    if is_new {
        diary.note(cx.now(), EventKind::ContainerScaledUp, format!("{} on {}", host.function, host.node));
    }
    diary.note(cx.now(), EventKind::GossipTableMerged, format!("{news} rows were news of {members} environments on {nodes} nodes"));
    Ok(())
}

/// One row, and the event of it.
pub(super) async fn tell<W: World>(cx: &Context<'_, W>, attempt: &Attempt<'_>, state: MemberState) {
    let host = &cx.request.host;
    let vitals = host.vitals();
    let shortages = vitals.shortages();
    let member = Member {
        environment: cx.request.environment.clone(),
        function: host.function.clone(),
        node: host.node.clone(),
        incarnation: host.started_ms,
        sequence: host.next_sequence(),
        at_ms: cx.now(),
        state,
        job: attempt.task.job.clone(),
        task: attempt.task.id,
        vitals,
    };
    let detail = format!(
        "{:.1} CPU-s, {} of {} MB of memory, {} of {} MB of disk",
        std::time::Duration::from_millis(member.vitals.cpu_ms).as_secs_f64(),
        member.vitals.memory_bytes >> 20,
        member.vitals.memory_limit >> 20,
        member.vitals.disk_bytes >> 20,
        member.vitals.disk_limit >> 20
    );
    host.view.lock().unwrap_or_else(PoisonError::into_inner).hear(member.clone());
    match cx.world.ledger().tell(&member).await {
        Ok(_) if state == MemberState::Working => attempt.diary.note(cx.now(), EventKind::HeartbeatReceived, detail),
        Ok(_) => {}
        Err(fault) => tracing::warn!(%fault, "the fleet's table could not be written"),
    }
    if !shortages.is_empty() && !attempt.warned.swap(true, Ordering::Relaxed) {
        let detail = format!("{}: nothing is done until it runs out, then the larger class", shortages.join(", "));
        attempt.diary.note(cx.now(), EventKind::ResourceUtilizationThresholdReached, detail);
    }
}

/// The environment goes in the middle of a task.
pub(super) async fn leave<W: World>(cx: &Context<'_, W>, attempt: &Attempt<'_>) {
    tell(cx, attempt, MemberState::Gone).await;
    last_on_node(cx.world.ledger(), cx.request, cx.now()).await;
}

/// The environment goes and has nothing to do: one that works says so itself, and one that never worked is not known.
pub async fn farewell<L: Ledger, C: Clock>(ledger: &L, clock: &C, request: &Request) {
    let (host, now) = (&request.host, clock.now_ms());
    let told = host.view.lock().unwrap_or_else(PoisonError::into_inner).member(&request.environment).cloned();
    let Some(told) = told.filter(|member| matches!(member.state, MemberState::Idle | MemberState::Error)) else { return };
    let gone = Member { state: MemberState::Gone, sequence: host.next_sequence(), at_ms: now, ..told };
    let diary = Diary::new(&gone.job, gone.task, 0, request);
    diary.note(now, EventKind::ContainerScaledDown, "shut down with nothing to do");
    if let (Err(fault), ()) = futures::join!(ledger.tell(&gone), diary.flush(ledger)) {
        tracing::warn!(%fault, "the fleet's table could not be written");
    }
    last_on_node(ledger, request, now).await;
}

/// Looked at once this one is written down as gone: of several that go at once, the last sees the node empty. Where the time
/// does not suffice, the sweep says so.
async fn last_on_node<L: Ledger>(ledger: &L, request: &Request, now_ms: u64) {
    let left = match ledger.fleet().await.map(|rows| rows.into_iter().collect::<Table>()) {
        Ok(table) => emptied(&table, now_ms).into_iter().filter(|event| event.detail == request.host.node).collect::<Vec<_>>(),
        Err(fault) => return tracing::warn!(%fault, "the fleet's table could not be read"),
    };
    if !left.is_empty()
        && let Err(fault) = ledger.record(&left).await
    {
        tracing::warn!(%fault, "that the node is empty could not be written");
    }
}

/// Nodes that were left with nobody on them within the last hour: an event each, made of the row of whoever went last. So
/// it is one item, whoever writes it and however often.
fn emptied(table: &Table, now_ms: u64) -> Vec<EventRecord> {
    let recent = table.last().into_iter().filter(|last| now_ms.saturating_sub(last.at_ms) <= RECENT_MS);
    let event = |last: &Member| EventRecord {
        at_ms: last.at_ms,
        kind: EventKind::WorkerNodeScaledDown,
        job: last.job.clone(),
        task: last.task,
        attempt: 0,
        environment: last.environment.clone(),
        request: format!("{}-left", last.node),
        sequence: 0,
        detail: last.node.clone(),
    };
    recent.map(event).collect()
}

/// Writes down who is gone without a word, and which nodes are left. Answers how many are gone.
pub(super) async fn bury<W: World>(cx: &Context<'_, W>) -> Result<u32, Fault> {
    let mut table: Table = cx.world.ledger().fleet().await?.into_iter().collect();
    let now = cx.now();
    let silent: Vec<Member> = table.members().filter(|m| m.is_silent(cx.policy.lease_ms, now)).cloned().collect();
    let mut buried = 0;
    for member in silent {
        let gone = member.found_gone(now);
        // It may have woken up meanwhile.
        if !cx.world.ledger().tell(&gone).await? {
            continue;
        }
        buried += 1;
        table.hear(gone.clone());
        let diary = Diary::new(&gone.job, gone.task, 0, cx.request);
        let what = format!("{} on {} told nothing since {} s", gone.environment, gone.node, now.saturating_sub(member.at_ms) / 1000);
        diary.note(now, EventKind::ContainerScaledDown, what);
        diary.note(now, EventKind::GossipTableMerged, format!("the sweep found {} gone", gone.environment));
        diary.flush(cx.world.ledger()).await;
    }
    let left = emptied(&table, now);
    if !left.is_empty() {
        cx.world.ledger().record(&left).await?;
    }
    Ok(buried)
}
