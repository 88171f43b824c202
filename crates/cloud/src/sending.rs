//! An upload as it goes, for whoever shows it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// What an upload does right now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Doing {
    /// Asks what is stored of the file already.
    #[default]
    Looking,
    /// Holds the file against parts that are stored; bytes read so far.
    Comparing(u64),
    Sending,
    /// Nothing gets through, for this reason. It tries again.
    Waiting(String),
    /// The whole file is there.
    Stored,
}

/// How far an upload is. All numbers are bytes of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub doing: Doing,
    /// Of the whole file.
    pub bytes: u64,
    /// Were stored by an earlier run.
    pub there: u64,
    /// Were stored by this run.
    pub sent: u64,
    /// Were given to a connection, without an answer yet.
    pub on_the_way: u64,
    /// When a rule of the bucket ends the upload if nobody completes it, ms since 1970; `None` if no rule is known.
    pub kept_until_ms: Option<u64>,
    /// Why an unfinished upload cannot be found again.
    pub unlisted: Option<String>,
}

impl Progress {
    /// Bytes that need not be sent again.
    pub fn stored(&self) -> u64 {
        self.there + self.sent
    }
}

/// The progress of one upload. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Sending(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    progress: Progress,
    /// Parts that are on their way, by number.
    flights: BTreeMap<i32, (u64, Instant)>,
    /// When something last got through.
    through: Instant,
}

impl Default for State {
    fn default() -> Self {
        Self { progress: Progress::default(), flights: BTreeMap::new(), through: Instant::now() }
    }
}

impl Sending {
    /// As it is now.
    pub fn progress(&self) -> Progress {
        let state = self.state();
        let on_the_way = state.flights.values().map(|(bytes, _)| bytes).sum();
        Progress { on_the_way, ..state.progress.clone() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A look at what is stored, from the beginning.
    pub(crate) fn begins(&self, bytes: u64) {
        let mut state = self.state();
        let Progress { kept_until_ms, unlisted, .. } = std::mem::take(&mut state.progress);
        state.progress = Progress { bytes, kept_until_ms, unlisted, ..Progress::default() };
        state.through = Instant::now();
    }

    pub(crate) fn compares(&self, bytes: u64) {
        let doing = &mut self.state().progress.doing;
        let before = if let Doing::Comparing(before) = doing { *before } else { 0 };
        *doing = Doing::Comparing(before + bytes);
    }

    /// So much of the file is stored already.
    pub(crate) fn goes_on(&self, there: u64) {
        let progress = &mut self.state().progress;
        (progress.there, progress.sent, progress.doing) = (there, 0, Doing::Sending);
    }

    /// A part of the film is stored.
    pub(crate) fn sent(&self, bytes: u64) {
        self.state().progress.sent += bytes;
    }

    pub(crate) fn kept_until(&self, ms: Option<u64>) {
        self.state().progress.kept_until_ms = ms;
    }

    pub(crate) fn cannot_be_listed(&self, why: String) {
        self.state().progress.unlisted = Some(why);
    }

    pub(crate) fn is_stored(&self) {
        let progress = &mut self.state().progress;
        progress.sent = progress.bytes - progress.there;
        progress.doing = Doing::Stored;
    }

    /// Something was answered.
    pub(crate) fn got_through(&self) {
        let mut state = self.state();
        state.through = Instant::now();
        if matches!(state.progress.doing, Doing::Waiting(_)) {
            state.progress.doing = Doing::Sending;
        }
    }

    /// Something was not; how long nothing was.
    pub(crate) fn got_lost(&self, why: &str) -> Duration {
        let mut state = self.state();
        state.progress.doing = Doing::Waiting(why.to_owned());
        state.through.elapsed()
    }

    /// A part begins its way.
    pub(crate) fn flight(&self, number: i32) -> Flight {
        let flight = Flight { sending: self.clone(), number };
        flight.restart();
        flight
    }
}

/// One part on its way; with it goes what it took.
#[derive(Debug)]
pub(crate) struct Flight {
    sending: Sending,
    number: i32,
}

impl Flight {
    /// From its first byte, as for another try.
    pub fn restart(&self) {
        self.sending.state().flights.insert(self.number, (0, Instant::now()));
    }

    /// A connection took so many bytes of it.
    pub fn took(&self, bytes: usize) {
        if let Some((taken, at)) = self.sending.state().flights.get_mut(&self.number) {
            *taken += bytes as u64;
            *at = Instant::now();
        }
    }

    /// Ends when no byte was taken for so long.
    pub async fn stands_still(&self, long: Duration) {
        loop {
            let at = self.sending.state().flights.get(&self.number).map_or_else(Instant::now, |(_, at)| *at);
            let Some(left) = long.checked_sub(at.elapsed()).filter(|left| !left.is_zero()) else { return };
            tokio::time::sleep(left).await;
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.sending.state().flights.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_its_way_is_not_stored_and_is_gone_with_its_try() {
        let sending = Sending::default();
        sending.begins(100);
        sending.goes_on(40);
        let (one, two) = (sending.flight(5), sending.flight(6));
        one.took(10);
        two.took(20);
        let seen = sending.progress();
        assert_eq!((seen.stored(), seen.on_the_way, seen.doing), (40, 30, Doing::Sending));
        one.restart();
        one.took(5);
        drop(two);
        sending.sent(20);
        let seen = sending.progress();
        assert_eq!((seen.stored(), seen.on_the_way), (60, 5));
        drop(one);
        sending.got_lost("no route");
        let seen = sending.progress();
        assert_eq!((seen.on_the_way, seen.doing), (0, Doing::Waiting("no route".into())));
        sending.got_through();
        sending.is_stored();
        assert_eq!((sending.progress().stored(), sending.progress().doing), (100, Doing::Stored));
    }
}
