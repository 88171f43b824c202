//! One worker alone, in a world as it is given: what it finds decides what it does.

use super::Scheduler;
use crate::{queue::Message, scenario::Scenario, source, state::State};

/// Time of a sweep; functions of queues have their queues' own.
const SWEEP_TIMEOUT_MS: u64 = 120_000;

/// What happens to a world from outside.
pub type Change<'a> = &'a dyn Fn(&mut State);

/// What a worker is called for.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// Whose function it is; the sweep has none.
    pub queue: Option<&'a str>,
    /// Its message.
    pub id: &'a str,
    pub body: &'a str,
    /// What happens so many milliseconds after the worker began.
    pub meanwhile: Option<(u64, Change<'a>)>,
}

impl<'a> Call<'a> {
    /// The sweep, undisturbed.
    pub const SWEEP: Self = Self { queue: None, id: "", body: "", meanwhile: None };

    /// A message of a queue, undisturbed.
    pub fn message(queue: &'a str, id: &'a str, body: &'a str) -> Self {
        Self { queue: Some(queue), id, body, meanwhile: None }
    }
}

/// What became of it.
pub struct Answer {
    pub state: State,
    /// When the message is seen again, milliseconds after it was taken. `None`: it was acknowledged.
    pub back_ms: Option<u64>,
    /// The operations of the worker, in order.
    pub asked: Vec<&'static str>,
}

/// Has a function called, and nobody else at work. What others are to do waits in the queues of the answer.
///
/// # Panics
/// If nobody reads that queue at that time.
pub fn answer(mut state: State, call: Call<'_>) -> Answer {
    let (begun_ms, before) = (state.now_ms, state.named.len());
    let mut given = None;
    if let Some(name) = call.queue {
        let message = Message { id: call.id.into(), body: call.body.into(), visible_ms: begun_ms, receives: 0, receipt: String::new() };
        state.queues.entry(name.to_owned()).or_default().messages = vec![message];
        given = state.receive(name);
        assert!(given.is_some(), "{name} does not hand its message out");
    }
    let name = call.queue.unwrap_or("sweep");
    let timeout_ms = call.queue.and_then(|name| state.queues.get(name)).map_or(SWEEP_TIMEOUT_MS, |queue| queue.timeout_ms);
    let mut alone = Scheduler::new(state, &Scenario::default(), source::CHUNKS);
    alone.start(name, timeout_ms, given);
    alone.run_out(call.meanwhile.map(|(after_ms, change)| (begun_ms + after_ms, change)));
    let state = alone.finish(true).state;
    let messages = state.queues.get(name).map_or(&[][..], |queue| queue.messages.as_slice());
    let back_ms = messages.iter().find(|message| message.id == call.id).map(|message| message.visible_ms.saturating_sub(begun_ms));
    let asked = state.named.get(before..).unwrap_or_default().to_vec();
    Answer { state, back_ms, asked }
}

impl Scheduler {
    /// Lets time pass until the only worker has ended.
    fn run_out(&mut self, mut meanwhile: Option<(u64, Change<'_>)>) {
        while let Some(deadline_ms) = self.workers.first().map(|worker| worker.deadline_ms) {
            if self.poll_one() {
                continue;
            }
            let timer = self.lock().timers.keys().next().map(|(at, _)| *at);
            let other = meanwhile.map(|(at, _)| at);
            let now = self.pass([timer, other].into_iter().flatten().min().unwrap_or(deadline_ms).min(deadline_ms));
            if let Some((_, change)) = meanwhile.take_if(|(at, _)| *at <= now) {
                change(&mut self.lock());
            }
            self.timeouts(now);
        }
    }
}
