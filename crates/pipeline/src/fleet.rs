//! The fleet: running copies of functions as they last told of themselves, and how two views of it become one. Pure.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use serde::{Deserialize, Serialize};

use crate::id::{JobId, TaskId};

/// A worker that tells nothing for so many leases is gone.
const SILENT_LEASES: u64 = 3;
/// An environment that has nothing to do is frozen on Lambda and tells nothing; after so long nobody will see it again, ms.
const IDLE_MS: u64 = 30 * 60_000;
/// How long a row is kept that nobody renews: of whoever is gone, and of another, ms.
const KEPT_GONE_MS: u64 = 2 * 3_600_000;
const KEPT_MS: u64 = 86_400_000;
/// Percent of memory or disk from which on a person should know.
pub const THRESHOLD_PERCENT: u64 = 90;

/// What one environment told of itself last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Member {
    /// Its log stream.
    pub environment: String,
    pub function: String,
    /// Lambda hides its hosts: the region.
    pub node: String,
    /// When it started, milliseconds since 1970: a later one of the same name is another life.
    pub incarnation: u64,
    /// Rises with everything it tells.
    pub sequence: u64,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    pub state: MemberState,
    /// What it worked on last.
    pub job: JobId,
    pub task: TaskId,
    pub vitals: Vitals,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemberState {
    Working,
    Idle,
    /// As idle; the world was in the way of what it did last (a storage that it cannot reach), and it gave its task back.
    Error,
    /// Shut down, or silent for too long.
    Gone,
}

/// How an environment is.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Vitals {
    /// CPU of it and of what it started since it began, milliseconds.
    pub cpu_ms: u64,
    /// Resident, with what it started; and what the function may have. Bytes.
    pub memory_bytes: u64,
    pub memory_limit: u64,
    /// Of its temporary directory's disk. Bytes.
    pub disk_bytes: u64,
    pub disk_limit: u64,
    /// Devices that ffmpeg's hardware encoders would use: none on Lambda.
    pub hardware: Vec<String>,
}

impl Vitals {
    /// What is nearly used up, in words.
    pub fn shortages(&self) -> Vec<String> {
        let of = |name: &str, used: u64, limit: u64| {
            let percent = used.saturating_mul(100).checked_div(limit).unwrap_or(0);
            (percent >= THRESHOLD_PERCENT).then(|| format!("{name} at {percent} %"))
        };
        [of("memory", self.memory_bytes, self.memory_limit), of("disk", self.disk_bytes, self.disk_limit)].into_iter().flatten().collect()
    }
}

impl Member {
    /// Which of two rows of one environment is the newer. Rows with equal numbers are one row, unless somebody lies; then
    /// their contents decide, so that every view decides alike.
    fn age(&self, other: &Self) -> Ordering {
        (self.incarnation, self.sequence).cmp(&(other.incarnation, other.sequence)).then_with(|| self.cmp(other))
    }

    /// The same, found to be gone by somebody else. The environment itself counts by twos: what it tells next, should it wake up
    /// after all, overrules this.
    #[must_use]
    pub fn found_gone(&self, now_ms: u64) -> Self {
        Self { state: MemberState::Gone, sequence: self.sequence + 1, at_ms: now_ms, ..self.clone() }
    }

    /// Whether nothing more is to be expected of it.
    pub fn is_silent(&self, lease_ms: u64, now_ms: u64) -> bool {
        let patience = match self.state {
            MemberState::Working => lease_ms.saturating_mul(SILENT_LEASES),
            MemberState::Idle | MemberState::Error => IDLE_MS,
            MemberState::Gone => return false,
        };
        now_ms.saturating_sub(self.at_ms) > patience
    }

    /// When its row is dropped, milliseconds since 1970. Every environment reads the whole table, and many come and go.
    pub fn kept_until_ms(&self) -> u64 {
        self.at_ms.saturating_add(if self.state == MemberState::Gone { KEPT_GONE_MS } else { KEPT_MS })
    }
}

/// A view of the fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table(BTreeMap<String, Member>);

impl Table {
    /// Takes a row in, if it is news. `true`: it was.
    pub fn hear(&mut self, member: Member) -> bool {
        match self.0.get(&member.environment) {
            Some(known) if known.age(&member) != Ordering::Less => false,
            _ => {
                self.0.insert(member.environment.clone(), member);
                true
            }
        }
    }

    /// Takes another view in; answers how many rows were news. Commutative, associative and idempotent: views that heard the
    /// same rows, in whatever order and however often, are the same.
    pub fn merge(&mut self, other: Self) -> usize {
        other.0.into_values().map(|member| self.hear(member)).filter(|news| *news).count()
    }

    pub fn member(&self, environment: &str) -> Option<&Member> {
        self.0.get(environment)
    }

    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.0.values()
    }

    /// Environments of a node that are there, but for one.
    pub fn others_on(&self, node: &str, environment: &str) -> usize {
        let there = |m: &&Member| m.node == node && m.environment != environment && m.state != MemberState::Gone;
        self.members().filter(there).count()
    }

    /// Drops the rows whose time is over.
    pub fn forget(&mut self, now_ms: u64) {
        self.0.retain(|_, member| member.kept_until_ms() > now_ms);
    }

    /// Who left a node with nobody on it: all others had gone by then, or started later.
    pub fn last(&self) -> Vec<&Member> {
        // Until when each of a node's environments was there, and the earliest start of it and all that were there for longer.
        let mut nodes: BTreeMap<&str, Vec<(Until, u64)>> = BTreeMap::new();
        for member in self.members() {
            nodes.entry(&member.node).or_default().push((Until::of(member), member.incarnation));
        }
        for there in nodes.values_mut() {
            there.sort_unstable();
            let mut earliest = u64::MAX;
            for (_, started) in there.iter_mut().rev() {
                earliest = earliest.min(*started);
                *started = earliest;
            }
        }
        let alone = |gone: &&Member| {
            let there = nodes.get(gone.node.as_str()).map_or(&[][..], Vec::as_slice);
            let longer = there.partition_point(|(until, _)| *until <= Until::of(gone));
            there.get(longer).is_none_or(|(_, earliest)| *earliest > gone.at_ms)
        };
        self.members().filter(|m| m.state == MemberState::Gone).filter(alone).collect()
    }

    /// Nodes that somebody is on.
    pub fn nodes(&self) -> BTreeSet<&str> {
        self.members().filter(|m| m.state != MemberState::Gone).map(|m| m.node.as_str()).collect()
    }
}

/// Until when an environment was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Until {
    Ms(u64),
    Now,
}

impl Until {
    fn of(member: &Member) -> Self {
        if member.state == MemberState::Gone { Self::Ms(member.at_ms) } else { Self::Now }
    }
}

impl FromIterator<Member> for Table {
    fn from_iter<I: IntoIterator<Item = Member>>(members: I) -> Self {
        let mut table = Self::default();
        for member in members {
            table.hear(member);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn member(environment: u8, incarnation: u64, sequence: u64, state: MemberState, at_ms: u64) -> Member {
        Member {
            environment: format!("e{environment}"),
            function: "transcode".into(),
            node: format!("n{}", environment % 2),
            incarnation,
            sequence,
            at_ms,
            state,
            job: "0123456789abcdef01234567".parse().unwrap(),
            task: TaskId::Merge,
            vitals: Vitals::default(),
        }
    }

    fn any_member() -> impl Strategy<Value = Member> {
        let state = prop::sample::select(vec![MemberState::Working, MemberState::Idle, MemberState::Error, MemberState::Gone]);
        (0u8..4, 0u64..3, 0u64..4, state, 0u64..3).prop_map(|(e, i, s, state, at)| member(e, i, s, state, at))
    }

    fn any_table() -> impl Strategy<Value = Table> {
        prop::collection::vec(any_member(), 0..12).prop_map(|members| members.into_iter().collect())
    }

    fn merged(mut one: Table, other: &Table) -> Table {
        one.merge(other.clone());
        one
    }

    proptest! {
        #[test]
        fn merging_is_commutative(a in any_table(), b in any_table()) {
            prop_assert_eq!(merged(a.clone(), &b), merged(b, &a));
        }

        #[test]
        fn merging_is_associative(a in any_table(), b in any_table(), c in any_table()) {
            prop_assert_eq!(merged(merged(a.clone(), &b), &c), merged(a, &merged(b, &c)));
        }

        #[test]
        fn merging_is_idempotent(a in any_table(), b in any_table()) {
            let once = merged(a, &b);
            prop_assert_eq!(merged(once.clone(), &b), once.clone());
            prop_assert_eq!(merged(once.clone(), &once), once);
        }

        /// Each looked at beside each.
        #[test]
        fn who_is_the_last_of_a_node_depends_on_all_others(table in any_table()) {
            let beside = |m: &Member, gone: &Member| m.incarnation <= gone.at_ms && (m.state != MemberState::Gone || m.at_ms > gone.at_ms);
            let others = |m: &Member, gone: &Member| m.node == gone.node && m.environment != gone.environment;
            let alone = |gone: &&Member| !table.members().any(|m| others(m, gone) && beside(m, gone));
            let last: Vec<&Member> = table.members().filter(|m| m.state == MemberState::Gone).filter(alone).collect();
            prop_assert_eq!(table.last(), last);
        }

        /// Of every environment the highest (incarnation, sequence) that anybody heard.
        #[test]
        fn the_newest_row_wins(members in prop::collection::vec(any_member(), 1..20)) {
            let table: Table = members.iter().cloned().collect();
            for kept in table.members() {
                let newest = members.iter().filter(|m| m.environment == kept.environment).map(|m| (m.incarnation, m.sequence)).max();
                prop_assert_eq!(Some((kept.incarnation, kept.sequence)), newest);
            }
        }
    }

    #[test]
    fn silence_ends_a_worker_soon_and_an_idle_one_late() {
        let working = member(0, 1, 1, MemberState::Working, 0);
        assert!(!working.is_silent(60_000, 180_000) && working.is_silent(60_000, 180_001));
        let idle = Member { state: MemberState::Idle, ..working.clone() };
        assert!(!idle.is_silent(60_000, 180_001));
        for state in [MemberState::Idle, MemberState::Error] {
            let waiting = Member { state, ..working.clone() };
            assert!(!waiting.is_silent(60_000, 1_800_000) && waiting.is_silent(60_000, 1_800_001), "{state:?}: half an hour");
        }
        let gone = working.found_gone(180_001);
        assert!(!gone.is_silent(60_000, u64::MAX));
        let mut table: Table = [working.clone(), gone.clone()].into_iter().collect();
        assert_eq!((table.others_on("n0", "x"), table.nodes().len()), (0, 0));
        let awake = Member { sequence: gone.sequence + 1, ..working };
        table.forget(180_001 + KEPT_GONE_MS - 1);
        assert!(table.hear(awake.clone()), "one that wakes up is there again");
        table.forget(KEPT_MS - 1);
        assert_eq!(table.members().collect::<Vec<_>>(), [&awake]);
        table.forget(KEPT_MS);
        assert_eq!(table, Table::default());
    }

    #[test]
    fn a_node_is_left_by_the_last_of_its_environments() {
        let there = |environment, at| member(environment, 1, 1, MemberState::Idle, at);
        let mut table: Table = [there(0, 5), there(2, 6), there(1, 7)].into_iter().collect();
        assert!(table.last().is_empty());
        table.hear(there(2, 6).found_gone(20));
        assert!(table.last().is_empty(), "one is still there");
        table.hear(there(0, 5).found_gone(10));
        assert_eq!(table.last(), [&there(2, 6).found_gone(20)]);
        table.hear(member(4, 15, 1, MemberState::Working, 30));
        assert!(table.last().is_empty(), "one came before the last had gone");
        table.hear(member(4, 21, 1, MemberState::Working, 30));
        assert_eq!(table.last(), [&there(2, 6).found_gone(20)], "and this one behind it");
    }

    /// Two hours for whoever is gone, a day for others.
    #[test]
    fn a_row_that_nobody_renews_is_dropped_in_time() {
        const HOUR: u64 = 3_600_000;
        let states = [(MemberState::Gone, 2), (MemberState::Working, 24), (MemberState::Idle, 24), (MemberState::Error, 24)];
        for (state, hours) in states {
            let row = member(0, 1, 1, state, 500);
            let mut table: Table = std::iter::once(row.clone()).collect();
            table.forget(500 + hours * HOUR - 1);
            assert_eq!(table.members().collect::<Vec<_>>(), [&row]);
            table.forget(500 + hours * HOUR);
            assert_eq!(table, Table::default(), "{state:?} after {hours} hours");
        }
    }

    #[test]
    fn what_is_used_up_by_nine_tenths_is_named() {
        let used = |memory_bytes, disk_bytes| {
            Vitals { memory_bytes, memory_limit: 1_000, disk_bytes, disk_limit: 2_000, ..Vitals::default() }.shortages()
        };
        assert_eq!(used(899, 1_799), [""; 0]);
        assert_eq!(used(900, 1_799), ["memory at 90 %"]);
        assert_eq!(used(899, 1_800), ["disk at 90 %"]);
        assert_eq!(used(901, 1_801), ["memory at 90 %", "disk at 90 %"]);
        assert_eq!(used(1_000, 2_500), ["memory at 100 %", "disk at 125 %"]);
        assert_eq!(Vitals::default().shortages(), [""; 0], "who does not know its limits is short of nothing");
    }
}
