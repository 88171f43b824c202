//! Who may run now: the line in front of the vCPU budget. Pure state; `slots` puts it to use.
//!
//! A running invocation takes `min(MemorySize / 1769 MB, the whole budget)` vCPUs. One that needs the whole budget
//! waits first in line and then runs alone; functions under 0.5 vCPU are not counted, so that control work never waits
//! behind encoders. Everyone else is served in the order of arrival: a small one never passes a big one that waits for
//! room, or the big one would wait for ever.

use std::collections::VecDeque;

/// MB of memory that come with one vCPU.
/// Source: AWS Lambda developer guide, "Configure memory".
const MB_PER_VCPU: u64 = 1769;
/// Environments that may run at once, whatever their size: a bound on processes.
pub const MAX_RUNNING: usize = 256;
/// What must be left to functions without reserved concurrency.
/// Source: AWS Lambda developer guide, "Configuring reserved concurrency for a function".
pub const LEAST_UNRESERVED: u32 = 100;

/// Tickets in line at once: a bound on those that wait for reserved concurrency.
const MAX_WAITING: usize = 10_000;

/// What the line knows of one function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    pub memory_mb: u32,
    pub reserved: Option<u32>,
}

/// Why a ticket was refused at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The function's reserved concurrency is in use.
    Reserved,
    /// What the account has beside all reservations is in use.
    Account,
    /// Its reserved concurrency is zero.
    Never,
}

/// Place in line of one invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(u64);

#[derive(Clone, Copy, Debug)]
struct Waiter {
    ticket: Ticket,
    function: usize,
}

/// Cost of one running invocation in thousandths of a vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    Uncounted,
    Part(u64),
    Whole,
}

/// The line. Functions are named by their index.
#[derive(Debug)]
pub struct Line {
    shares: Vec<Share>,
    /// Invocations of functions without a reservation that may run or wait at once.
    unreserved: usize,
    /// Thousandths of a vCPU.
    budget: u64,
    used: u64,
    running: Vec<usize>,
    waiting: VecDeque<Waiter>,
    next_ticket: u64,
}

impl Line {
    /// `vcpus` is the whole budget; at least 0.001 is taken. `account`: the account's concurrency, of which functions
    /// without a reservation share what is not reserved.
    pub fn new(vcpus: f64, account: u32, shares: Vec<Share>) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0.001 to 65,536 vCPUs before the cast")]
        let budget = (vcpus.clamp(0.001, 65_536.0) * 1000.0) as u64;
        let running = vec![0; shares.len()];
        let reserved: usize = shares.iter().filter_map(|share| share.reserved).map(|reserved| reserved as usize).sum();
        let unreserved = (account as usize).saturating_sub(reserved);
        Self { shares, unreserved, budget, used: 0, running, waiting: VecDeque::new(), next_ticket: 0 }
    }

    /// Joins the line; [`Line::grant`] says when the ticket's turn is. `may_wait`: wait for reserved concurrency too,
    /// where a direct invocation is throttled.
    pub fn join(&mut self, function: usize, may_wait: bool) -> Result<Ticket, Refused> {
        match self.share(function).reserved {
            Some(0) => return Err(Refused::Never),
            Some(reserved) if !may_wait => {
                let ahead = self.waiting.iter().filter(|waiter| waiter.function == function).count();
                if self.running(function) + ahead >= reserved as usize {
                    return Err(Refused::Reserved);
                }
            }
            Some(_) if self.waiting.len() >= MAX_WAITING => return Err(Refused::Reserved),
            None if self.unreserved_in_use() >= self.unreserved => return Err(Refused::Account),
            _ => {}
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let waiter = Waiter { ticket, function };
        if self.weight(function) == Weight::Whole {
            let place = self.waiting.iter().take_while(|other| self.weight(other.function) == Weight::Whole).count();
            self.waiting.insert(place, waiter);
        } else {
            self.waiting.push_back(waiter);
        }
        Ok(ticket)
    }

    /// Leaves the line before its turn.
    pub fn leave(&mut self, ticket: Ticket) {
        self.waiting.retain(|waiter| waiter.ticket != ticket);
    }

    /// A granted invocation of `function` has ended.
    pub fn release(&mut self, function: usize) {
        self.used = self.used.saturating_sub(self.cost(function));
        if let Some(running) = self.running.get_mut(function) {
            *running = running.saturating_sub(1);
        }
    }

    /// Takes all out of the line whose turn it is: tickets and their functions.
    pub fn grant(&mut self) -> Vec<(Ticket, usize)> {
        let mut granted = Vec::new();
        // Whether somebody further ahead waits for vCPUs.
        let mut closed = false;
        for waiter in std::mem::take(&mut self.waiting) {
            let weight = self.weight(waiter.function);
            let has_place = self.has_place(waiter.function);
            let fits = match weight {
                Weight::Uncounted => true,
                Weight::Part(cost) => !closed && self.used + cost <= self.budget,
                Weight::Whole => !closed && self.used == 0,
            };
            if has_place && fits {
                self.used += self.cost(waiter.function);
                if let Some(running) = self.running.get_mut(waiter.function) {
                    *running += 1;
                }
                granted.push((waiter.ticket, waiter.function));
            } else {
                closed |= has_place && !fits;
                self.waiting.push_back(waiter);
            }
        }
        granted
    }

    /// Invocations of `function` that run now.
    pub fn running(&self, function: usize) -> usize {
        self.running.get(function).copied().unwrap_or(0)
    }

    /// Invocations of functions without a reservation that run or wait.
    fn unreserved_in_use(&self) -> usize {
        let free = |function: usize| self.share(function).reserved.is_none();
        let running: usize = self.running.iter().enumerate().filter(|(function, _)| free(*function)).map(|(_, running)| running).sum();
        running + self.waiting.iter().filter(|waiter| free(waiter.function)).count()
    }

    fn has_place(&self, function: usize) -> bool {
        let reserved = self.share(function).reserved.map_or(usize::MAX, |reserved| reserved as usize);
        self.running(function) < reserved && self.running.iter().sum::<usize>() < MAX_RUNNING
    }

    fn share(&self, function: usize) -> Share {
        self.shares.get(function).copied().unwrap_or(Share { memory_mb: 128, reserved: None })
    }

    fn weight(&self, function: usize) -> Weight {
        let cost = u64::from(self.share(function).memory_mb) * 1000 / MB_PER_VCPU;
        match cost {
            0..500 => Weight::Uncounted,
            _ if cost >= self.budget => Weight::Whole,
            _ => Weight::Part(cost),
        }
    }

    fn cost(&self, function: usize) -> u64 {
        match self.weight(function) {
            Weight::Uncounted => 0,
            Weight::Part(cost) => cost,
            Weight::Whole => self.budget,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const SMALL: usize = 0;
    const ONE: usize = 1;
    const WHOLE: usize = 2;
    const RESERVED: usize = 3;
    const ACCOUNT: u32 = 1000;

    fn line() -> Line {
        let share = |memory_mb, reserved| Share { memory_mb, reserved };
        Line::new(2.0, ACCOUNT, vec![share(512, None), share(1769, None), share(10_240, None), share(128, Some(1))])
    }

    fn granted(line: &mut Line) -> Vec<Ticket> {
        line.grant().into_iter().map(|(ticket, _)| ticket).collect()
    }

    #[test]
    fn two_of_one_vcpu_run_at_once_and_the_third_waits() {
        let mut line = line();
        let tickets: Vec<_> = (0..3).map(|_| line.join(ONE, true).unwrap()).collect();
        assert_eq!(granted(&mut line), tickets[..2]);
        line.release(ONE);
        assert_eq!(granted(&mut line), tickets[2..]);
    }

    #[test]
    fn whole_budget_waits_first_in_line_and_runs_alone() {
        let mut line = line();
        let first = line.join(ONE, true).unwrap();
        assert_eq!(granted(&mut line), [first]);
        let second = line.join(ONE, true).unwrap();
        let whole = line.join(WHOLE, true).unwrap();
        // `second` would fit, and came first, but `whole` is in front of it.
        assert_eq!(granted(&mut line), []);
        let control = line.join(SMALL, true).unwrap();
        assert_eq!(granted(&mut line), [control], "control work passes");
        line.release(ONE);
        assert_eq!(granted(&mut line), [whole]);
        assert_eq!(granted(&mut line), []);
        line.release(WHOLE);
        assert_eq!(granted(&mut line), [second]);
    }

    #[test]
    fn reserved_concurrency_throttles_or_waits_and_blocks_nobody() {
        let mut line = line();
        let first = line.join(RESERVED, false).unwrap();
        assert_eq!(granted(&mut line), [first]);
        assert_eq!(line.join(RESERVED, false), Err(Refused::Reserved));
        let waits = line.join(RESERVED, true).unwrap();
        let other = line.join(ONE, true).unwrap();
        assert_eq!(granted(&mut line), [other]);
        line.release(RESERVED);
        assert_eq!(granted(&mut line), [waits]);
    }

    #[test]
    fn account_concurrency_is_bounded() {
        let mut line = line();
        // One is set aside for the function that reserved it.
        for _ in 0..ACCOUNT - 1 {
            line.join(SMALL, true).unwrap();
        }
        assert_eq!(line.join(SMALL, true), Err(Refused::Account));
        assert_eq!(line.join(ONE, false), Err(Refused::Account));
        assert!(line.join(RESERVED, false).is_ok());
        assert_eq!(granted(&mut line).len(), MAX_RUNNING);
    }

    #[test]
    fn a_reservation_of_zero_never_runs() {
        let mut line = Line::new(2.0, ACCOUNT, vec![Share { memory_mb: 128, reserved: Some(0) }]);
        for may_wait in [false, true] {
            assert_eq!(line.join(0, may_wait), Err(Refused::Never));
        }
    }

    proptest! {
        /// Whatever comes and goes: the budget holds, the whole-budget function is alone, and all are served in the end.
        #[test]
        fn budget_holds_and_everyone_is_served(steps in prop::collection::vec((0_usize..5, 0_usize..4), 1..80)) {
            let mut line = line();
            let mut waiting = HashMap::new();
            let mut running: Vec<usize> = Vec::new();
            let settle = |line: &mut Line, waiting: &mut HashMap<Ticket, usize>, running: &mut Vec<usize>| {
                for ticket in granted(line) {
                    running.push(waiting.remove(&ticket).unwrap());
                }
                let count = |function| running.iter().filter(|other| **other == function).count();
                assert!(count(ONE) <= 2 && count(RESERVED) <= 1 && count(WHOLE) <= 1);
                assert!(count(WHOLE) == 0 || count(ONE) == 0);
            };
            for (action, function) in steps {
                if action < 3 {
                    waiting.insert(line.join(function, true).unwrap(), function);
                } else if action == 3 && !running.is_empty() {
                    let ended = running.swap_remove(function % running.len());
                    line.release(ended);
                } else if let Some(ticket) = waiting.keys().min().copied() {
                    waiting.remove(&ticket);
                    line.leave(ticket);
                }
                settle(&mut line, &mut waiting, &mut running);
            }
            for _ in 0..200 {
                if let Some(ended) = running.pop() {
                    line.release(ended);
                }
                settle(&mut line, &mut waiting, &mut running);
            }
            prop_assert!(waiting.is_empty() && running.is_empty());
            prop_assert_eq!(line.used, 0);
        }
    }
}
