//! What a world is asked for.

use pipeline::id::TaskId;

use crate::{chaos::Chaos, encoder::Act, sabotage::Sabotage, source::Kind};

/// One run, from its beginning. The same scenario runs the same way every time.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Scenario {
    pub seed: u64,
    pub chaos: Chaos,
    /// Films that are dropped, and how often each one's event is delivered.
    pub films: usize,
    pub deliveries: usize,
    /// What the media tools do instead of their work at their first calls.
    pub script: Vec<(TaskId, Act)>,
    pub sabotage: Option<Sabotage>,
    /// Tasks may come to wait for an operator; after so many milliseconds one resolves them.
    pub operator_ms: Option<u64>,
    /// A person gives every job up that there is so many milliseconds after the start.
    pub cancel_ms: Option<u64>,
    /// So many milliseconds after the start all workers have other media tools.
    pub update_ms: Option<u64>,
    /// For so many milliseconds after the start nobody takes news of tasks that wait.
    pub deaf_ms: u64,
    /// Of the uploads; empty: the usual one.
    pub profile: &'static str,
    /// A file of profiles beside the films; empty: there is none.
    pub profiles: &'static str,
    /// What the uploads name as their profile; empty: nothing.
    pub wish: &'static str,
    pub kind: Kind,
    /// The films have subtitles.
    pub text: bool,
    /// With each chunk's message goes one for the merge, much too early.
    pub early_merge: bool,
    /// When those messages come, milliseconds after the start; 0: at once.
    pub early_merge_ms: u64,
    /// A copy of this task's first message is among the dead letters, from so many milliseconds after the start on.
    pub letter: Option<(TaskId, u64)>,
    /// How long the join of a file takes; 0: as usual.
    pub join_ms: u64,
    /// How long the probe of a stream takes.
    pub probe_ms: u64,
    /// What every environment uses of its memory, percent.
    pub memory_percent: u64,
    /// Megabytes of a worker's disk; 0: so few that no copy of a film is kept there.
    pub disk_mb: u32,
    /// The films are dropped into somebody's own bucket, in which there are so many old ones. `None`: into ours.
    pub library: Option<usize>,
    /// Objects that one sweep looks at; 0: as usual.
    pub most_listed: u32,
    /// Uploads beside the films that nobody is told of and that answer no question.
    pub locked: usize,
    /// Objects that are there before anything happens.
    pub strays: Vec<String>,
    /// What expires is gone when a GOP is begun after this time, once. 0: never.
    pub expire_ms: u64,
    /// People take what is published elsewhere as soon as they see it.
    pub taken: bool,
    /// Chunks of every film; 0: [`CHUNKS`](crate::source::CHUNKS).
    pub chunks: u32,
    /// Keep a line per operation.
    pub trace: bool,
}
