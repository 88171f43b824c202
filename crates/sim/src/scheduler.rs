//! Runs functions as Lambda does: one worker per message, in an environment that is used again unless it dies, a timeout,
//! visibility; and a schedule for the sweep.

mod alone;

use std::{
    collections::BTreeMap,
    future::Future,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    task::{Context as Waking, Poll, Wake, Waker},
};

pub use alone::{Answer, Call, answer};
use futures::channel::oneshot;
use pipeline::{
    fleet::Vitals,
    ports::Delivery,
    stage::{self, Ending, Request},
};

use crate::{
    chaos::{Chaos, GRACE_MS, Harm, Rng},
    functions::{CANCEL, RETRY, World, invoke, policy},
    kernel::{Port, WorkerId},
    queue,
    sabotage::{MergeSent, Saboteur},
    scenario::Scenario,
    source::{self, Kind},
    state::{LIBRARY, OWN, START_MS, State},
};

/// How often the sweep runs.
const SWEEP_MS: u64 = 5 * 60_000;
/// Longest run, virtual time: a world that has no rest by then never will.
const MAX_MS: u64 = 4 * 86_400_000;
/// Most turns of the scheduler in one run, for each chunk of a film.
const MAX_TURNS: u64 = 150_000;
/// What a person types takes this long at most, virtual time.
const OPERATOR_MS: u64 = 60_000;
/// Memory of every function, bytes.
const MEMORY: u64 = 1024 << 20;
/// Copies of one function at once: few, and as many as do a long film in a day.
fn concurrency(chunks: u32) -> usize {
    4 + chunks as usize / 250
}

/// A world that came to rest, or did not.
pub struct Outcome {
    pub state: State,
    /// Milliseconds of virtual time.
    pub took_ms: u64,
    /// Invocations by function.
    pub invocations: BTreeMap<String, u64>,
    /// Environments that are there in the end.
    pub alive: Vec<String>,
}

struct Flag(AtomicBool);
impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What outlives one request, if nothing ends it.
struct Environment {
    name: String,
    host: Arc<stage::Host>,
}

struct Worker {
    id: WorkerId,
    environment: Environment,
    function: String,
    delivery: Option<Delivery>,
    future: Pin<Box<dyn Future<Output = Ending> + Send>>,
    ready: Arc<Flag>,
    /// Lambda ends it then.
    deadline_ms: u64,
    frozen_until_ms: u64,
    /// Tells it that its environment goes. `None`: it was told.
    shutdown: Option<oneshot::Sender<()>>,
    scratch: PathBuf,
}

struct Scheduler {
    state: Arc<Mutex<State>>,
    scenario: Scenario,
    rng: Rng,
    workers: Vec<Worker>,
    /// Of functions, the environments that have nothing to do.
    idle: BTreeMap<String, Vec<Environment>>,
    sweep_ms: u64,
    operator_ms: Option<u64>,
    cancel_ms: Option<u64>,
    merge_sent: MergeSent,
    invocations: BTreeMap<String, u64>,
    concurrency: usize,
}

/// Runs a scenario until nothing is left to do.
pub fn run(scenario: &Scenario) -> Outcome {
    let mut state = State::new(scenario.seed, scenario.chaos.clone());
    state.trace = scenario.trace.then(Vec::new);
    state.may_block = scenario.operator_ms.is_some();
    state.update_ms = scenario.update_ms;
    state.deaf_ms = scenario.deaf_ms;
    state.expire_ms = scenario.expire_ms;
    state.taken = scenario.taken;
    state.early_merge = scenario.early_merge;
    state.early_merge_ms = scenario.early_merge_ms;
    state.letter = scenario.letter;
    state.probe_ms = scenario.probe_ms;
    if scenario.join_ms > 0 {
        state.join_ms = scenario.join_ms;
    }
    state.objects.extend(scenario.strays.iter().map(|key| (key.clone(), bytes::Bytes::from_static(b"stray"))));
    for (task, act) in &scenario.script {
        state.script.entry(*task).or_default().push_back(act.clone());
    }
    if !scenario.profiles.is_empty() {
        state.objects.insert(pipeline::key::PROFILES.to_owned(), scenario.profiles.into());
    }
    state.wish = Some(scenario.wish.to_owned()).filter(|wish| !wish.is_empty());
    let chunks = if scenario.chunks == 0 { source::CHUNKS } else { scenario.chunks };
    state.report = scenario.kind.report(chunks);
    let bytes = scenario.kind.bytes(chunks);
    if scenario.text {
        state.report.subtitles = source::subtitles();
        if scenario.kind == Kind::Great {
            source::text_behind_sound(&mut state.report);
        }
    }
    drop_films(&mut state, scenario, &bytes);
    let mut scheduler = Scheduler::new(state, scenario, chunks);
    let rested = (0..MAX_TURNS * u64::from(chunks)).any(|_| !scheduler.turn());
    scheduler.finish(rested)
}

/// What lies in the buckets when the world begins.
fn drop_films(state: &mut State, scenario: &Scenario, bytes: &bytes::Bytes) {
    for film in 0..scenario.films.max(1) {
        let (bucket, folder) = if scenario.library.is_some() { (LIBRARY, "") } else { (OWN, "uploads/") };
        state.drop_film(bucket, &format!("{folder}my film {film}.mp4"), scenario.deliveries.max(1), bytes);
    }
    if scenario.library.is_some() {
        // The sweep has looked there before.
        let since = pipeline::key::adopt_from(&policy(scenario).profile, Some(LIBRARY));
        state.objects.insert(since, START_MS.to_string().into());
    }
    for number in 0..scenario.library.unwrap_or(0) {
        let key = format!("an old film {number}.mp4");
        state.drop_film(LIBRARY, &key, 0, bytes);
        state.old.insert(key);
    }
    for number in 0..scenario.locked {
        let key = format!("uploads/a locked film {number}.mp4");
        state.drop_film(OWN, &key, 0, bytes);
        state.locked.insert(key);
    }
}

impl Scheduler {
    fn new(state: State, scenario: &Scenario, chunks: u32) -> Self {
        Self {
            state: Arc::new(Mutex::new(state)),
            scenario: scenario.clone(),
            rng: Rng::new(scenario.seed ^ 0xC10C),
            workers: Vec::new(),
            idle: BTreeMap::new(),
            sweep_ms: START_MS + SWEEP_MS,
            operator_ms: None,
            cancel_ms: scenario.cancel_ms.map(|after| START_MS + after),
            merge_sent: Arc::default(),
            invocations: BTreeMap::new(),
            concurrency: concurrency(chunks),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One step: poll who is ready, hand out messages, or let time pass. `false`: at rest, or out of time.
    fn turn(&mut self) -> bool {
        if self.poll_one() || self.deliver() || self.operate() {
            return true;
        }
        if self.is_quiet() {
            return false;
        }
        let next = self.next_ms();
        if next > START_MS + MAX_MS {
            self.lock().broken(format!("no rest after {} hours", MAX_MS / 3_600_000));
            return false;
        }
        let now = self.pass(next);
        self.timeouts(now);
        self.cancel(now);
        let off = self.is_off();
        if off {
            self.kill_all();
        }
        if now >= self.sweep_ms {
            self.sweep_ms = now + SWEEP_MS;
            if !off {
                self.start("sweep", 120_000, None);
            }
        }
        true
    }

    /// It is then, and the first who waited for it wakes up.
    fn pass(&self, until_ms: u64) -> u64 {
        let mut state = self.lock();
        state.now_ms = state.now_ms.max(until_ms);
        let (now, due) = (state.now_ms, state.timers.range(..=(until_ms, u64::MAX)).next().map(|(key, _)| *key));
        let waker = due.and_then(|key| state.timers.remove(&key));
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        now
    }

    fn is_off(&self) -> bool {
        let state = self.lock();
        state.chaos.is_off(state.elapsed_ms())
    }

    /// Every environment is gone, as when the machine loses its power.
    fn kill_all(&mut self) {
        while !self.workers.is_empty() {
            self.end(0);
        }
        self.idle.clear();
    }

    fn poll_one(&mut self) -> bool {
        let now = self.lock().now_ms;
        let awake = |w: &Worker| w.frozen_until_ms <= now && w.ready.0.load(Ordering::Relaxed);
        let Some(at) = self.workers.iter().position(awake) else { return false };
        let worker = &mut self.workers[at];
        worker.ready.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(worker.ready.clone());
        let polled = worker.future.as_mut().poll(&mut Waking::from_waker(&waker));
        if let Poll::Ready(ending) = polled {
            let worker = self.end(at);
            if worker.shutdown.is_some() {
                self.idle.entry(worker.function.clone()).or_default().push(worker.environment);
            }
            let mut state = self.lock();
            state.tell(|| format!("w{} {} ends: {ending:?}", worker.id, worker.function));
            if let (Ending::Done, Some(delivery)) = (ending, &worker.delivery) {
                state.acknowledge(delivery);
            }
        }
        self.strike(now);
        true
    }

    /// Carries out what operations decided: deaths, stalls and shutdowns.
    fn strike(&mut self, now: u64) {
        let (killed, stalled, leaving) = {
            let mut state = self.lock();
            (std::mem::take(&mut state.killed), std::mem::take(&mut state.stalled), std::mem::take(&mut state.leaving))
        };
        let mut harm = Vec::new();
        for id in leaving {
            let worker = self.workers.iter_mut().find(|w| w.id == id);
            if let Some((worker, told)) = worker.and_then(|worker| worker.shutdown.take().map(|told| (worker, told))) {
                worker.deadline_ms = worker.deadline_ms.min(now + GRACE_MS);
                // Nobody hears it who has just ended.
                harm.extend(told.send(()).is_ok().then_some(Harm::ShutDown));
            }
        }
        for (id, ms) in stalled {
            if let Some(worker) = self.workers.iter_mut().find(|w| w.id == id) {
                worker.frozen_until_ms = now + ms;
                harm.push(Harm::Stalled);
            }
        }
        for (id, moment) in killed {
            if let Some(at) = self.workers.iter().position(|w| w.id == id) {
                self.end(at);
                harm.push(Harm::of_death(moment));
            }
        }
        for harm in harm {
            self.lock().harmed(harm);
        }
    }

    /// A worker is gone, with its files; its message and its lease stay as they are.
    fn end(&mut self, at: usize) -> Worker {
        let mut worker = self.workers.remove(at);
        worker.future = Box::pin(std::future::pending());
        self.lock().files.retain(|path, _| !path.starts_with(&worker.scratch));
        worker
    }

    fn timeouts(&mut self, now: u64) {
        while let Some(at) = self.workers.iter().position(|w| w.deadline_ms <= now) {
            let worker = self.end(at);
            self.lock().tell(|| format!("w{} {} is ended by its timeout", worker.id, worker.function));
        }
    }

    /// Hands one visible message to a new worker.
    fn deliver(&mut self) -> bool {
        let names: Vec<String> = {
            let state = self.lock();
            let given = |name: &str| state.elapsed_ms() >= state.chaos.read_from_ms(name, state.elapsed_ms());
            let waits = |queue: &queue::Queue| queue.messages.iter().any(|m| m.visible_ms <= state.now_ms);
            state.queues.iter().filter(|(name, queue)| waits(queue) && given(name)).map(|(name, _)| name.clone()).collect()
        };
        for name in names {
            if self.workers.iter().filter(|w| w.function == name).count() >= self.concurrency {
                continue;
            }
            let (received, timeout_ms) = {
                let mut state = self.lock();
                (state.receive(&name), state.queues.get(&name).map_or(60_000, |q| q.timeout_ms))
            };
            if let Some((delivery, body)) = received {
                self.start(&name, timeout_ms, Some((delivery, body)));
            }
            return true;
        }
        false
    }

    fn start(&mut self, function: &str, timeout_ms: u64, given: Option<(Delivery, String)>) {
        let (id, now) = {
            let mut state = self.lock();
            let id = state.number();
            let message = given.as_ref().map_or("", |(delivery, _)| delivery.message.as_str()).to_owned();
            state.tell(|| format!("w{id} {function} starts with {message}"));
            (id, state.now_ms)
        };
        *self.invocations.entry(function.to_owned()).or_default() += 1;
        let reach = self.scenario.chaos.skew_ms;
        let skew = i64::try_from(self.rng.below(2 * reach + 1)).unwrap_or(0) - i64::try_from(reach).unwrap_or(0);
        if skew != 0 {
            self.lock().harmed(Harm::Skewed);
        }
        let port = Port { state: self.state.clone(), worker: id, skew_ms: Arc::new(AtomicI64::new(skew)) };
        let scratch = PathBuf::from(format!("/scratch/{id}"));
        let memory_bytes = (self.scenario.memory_percent * MEMORY).div_ceil(100);
        let vitals = move || Vitals { memory_bytes, memory_limit: MEMORY, ..Vitals::default() };
        let fresh = || Environment { name: format!("e{id}"), host: Arc::new(stage::Host::new(function, "sim", now, vitals)) };
        let environment = self.idle.get_mut(function).and_then(Vec::pop).unwrap_or_else(fresh);
        let (shutdown, told) = oneshot::channel();
        let request = Request {
            id: format!("q{id}"),
            environment: environment.name.clone(),
            deadline_ms: (now + timeout_ms).saturating_add_signed(skew),
            shutdown: stage::notice(async move {
                if told.await.is_err() {
                    std::future::pending::<()>().await;
                }
            }),
            host: environment.host.clone(),
        };
        let saboteur = || Saboteur::new(port.clone(), self.scenario.sabotage, self.merge_sent.clone());
        let world = World {
            ledger: saboteur(),
            blobs: port.clone(),
            outbox: saboteur(),
            encoder: port.clone(),
            clock: port.clone(),
            meter: port.clone(),
        };
        let delivery = given.as_ref().map(|(delivery, _)| delivery.clone());
        let future = Box::pin(invoke(world, policy(&self.scenario), function.to_owned(), request, scratch.clone(), given));
        self.workers.push(Worker {
            id,
            environment,
            function: function.to_owned(),
            delivery,
            future,
            ready: Arc::new(Flag(AtomicBool::new(true))),
            deadline_ms: now + timeout_ms,
            frozen_until_ms: 0,
            shutdown: Some(shutdown),
            scratch,
        });
    }

    /// When something happens next by itself.
    fn next_ms(&self) -> u64 {
        let state = self.lock();
        let timer = state.timers.keys().next().map(|(at, _)| *at);
        let full = |name: &str| self.workers.iter().filter(|w| w.function == name).count() >= self.concurrency;
        let messages = state.queues.iter().filter(|(name, _)| !full(name)).flat_map(|(name, queue)| {
            let from = START_MS + state.chaos.read_from_ms(name, state.elapsed_ms());
            queue.messages.iter().map(move |m| m.visible_ms.max(from))
        });
        let thaws = self.workers.iter().map(|w| w.frozen_until_ms).filter(|at| *at > state.now_ms);
        let deadlines = self.workers.iter().map(|w| w.deadline_ms);
        messages
            .chain(thaws)
            .chain(deadlines)
            .chain(timer)
            .chain(self.operator_ms)
            .chain(self.cancel_ms)
            .chain([self.sweep_ms])
            .min()
            .unwrap_or(self.sweep_ms)
    }

    fn is_quiet(&self) -> bool {
        let state = self.lock();
        let waits = self.scenario.operator_ms.is_some() && state.jobs.values().any(|s| !s.blocked.is_empty());
        let untold = state.jobs.len() + state.locked.len() + state.old.len() < state.sources.len();
        self.workers.is_empty() && !waits && !untold && state.queues.values().all(|q| q.messages.is_empty()) && state.open().is_empty()
    }

    /// An operator resolves what blocks jobs, a while after it is seen. `true`: now.
    fn operate(&mut self) -> bool {
        let Some(patience) = self.scenario.operator_ms else { return false };
        let (now, blocked) = {
            let state = self.lock();
            let blocked: Vec<_> = state.jobs.values().filter(|s| !s.blocked.is_empty()).map(|s| s.job.id.clone()).collect();
            (state.now_ms, blocked)
        };
        match self.operator_ms {
            _ if blocked.is_empty() => self.operator_ms = None,
            None => self.operator_ms = Some(now + patience),
            Some(at) if now < at => {}
            Some(_) => {
                self.operator_ms = None;
                for job in blocked {
                    self.start(&format!("{RETRY}{job}"), OPERATOR_MS, None);
                }
                return true;
            }
        }
        false
    }

    /// A person gives every job up, once.
    fn cancel(&mut self, now: u64) {
        if self.cancel_ms.is_none_or(|at| now < at) {
            return;
        }
        self.cancel_ms = None;
        let jobs: Vec<_> = self.lock().jobs.keys().cloned().collect();
        for job in jobs {
            self.start(&format!("{CANCEL}{job}"), OPERATOR_MS, None);
        }
    }

    fn finish(mut self, rested: bool) -> Outcome {
        self.workers.clear();
        let mut state = std::mem::replace(&mut *self.lock(), State::new(0, Chaos::default()));
        if !rested {
            state.broken("no rest after all turns".into());
        }
        let alive = self.idle.into_values().flatten().map(|environment| environment.name).collect();
        Outcome { took_ms: state.elapsed_ms(), state, invocations: self.invocations, alive }
    }
}
