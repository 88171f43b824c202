//! A job's state machine: pure.

use serde::{Deserialize, Serialize};

use crate::{
    cost::Basis,
    id::{JobId, SourceRef, TaskId},
    loss::Losses,
    message::{Uploaded, is_later},
    plan::Plan,
};

/// One uploaded video on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    pub id: JobId,
    pub source: SourceRef,
    pub profile: String,
    pub generation: u32,
    /// Of the upload's event; empty if the job was submitted by hand.
    pub sequencer: String,
    pub state: JobState,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    pub updated_ms: u64,
    /// What the probe said, in one line: `h264 1920×1080 29.97 fps, 24.0 s, aac 2 ch`.
    pub facts: Option<String>,
    /// From `Planned` on; never changes.
    pub plan: Option<Plan>,
    /// With the plan, for the receipt; absent where an older version planned.
    #[serde(default)]
    pub basis: Option<Box<Basis>>,
    /// What late workers left after its end was deleted: nothing more can come.
    #[serde(default)]
    pub tidied: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum JobState {
    Received,
    Probed,
    Planned,
    Transcoding,
    /// The fencing number of the merge that publishes.
    Merging {
        fence: u64,
    },
    Completed,
    /// As much as could be saved of a damaged film is published, since its profile takes a part for the whole.
    Partial {
        losses: Losses,
    },
    /// The source is at fault: never retried.
    Rejected {
        reason: String,
    },
    Cancelled,
}

impl JobState {
    /// Nothing moves it any more.
    pub fn is_ended(&self) -> bool {
        self.is_published() || matches!(self, Self::Rejected { .. } | Self::Cancelled)
    }
    /// There is something to watch.
    pub fn is_published(&self) -> bool {
        matches!(self, Self::Completed | Self::Partial { .. })
    }
    pub fn name(&self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Probed => "probed",
            Self::Planned => "planned",
            Self::Transcoding => "transcoding",
            Self::Merging { .. } => "merging",
            Self::Completed => "completed",
            Self::Partial { .. } => "partial",
            Self::Rejected { .. } => "rejected",
            Self::Cancelled => "cancelled",
        }
    }
}

/// News for a job.
#[derive(Clone, Debug, PartialEq)]
pub enum JobEvent {
    Probed {
        facts: String,
    },
    Planned {
        plan: Box<Plan>,
        basis: Option<Box<Basis>>,
    },
    /// Every task's message was sent.
    Started,
    MergeClaimed {
        fence: u64,
    },
    /// Published by the merge with this fencing number.
    Completed {
        fence: u64,
        /// Of a film that is saved in part.
        losses: Option<Losses>,
    },
    Rejected {
        reason: String,
    },
    Cancelled,
    /// No worker that began before its end can live any more, and what they left is gone.
    Tidied,
}

/// What news did to a state.
#[derive(Clone, Debug, PartialEq)]
pub enum Step<T> {
    Moved(T),
    /// The same news as before, or older. The caller must still send the follow-up message.
    Already,
}

/// News that cannot be: the caller must not act on it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a job that is {state} cannot take `{event}`")]
pub struct Contradiction {
    pub state: &'static str,
    pub event: &'static str,
}

impl Job {
    /// Whether the sweep must still look at it: the sparse index of open work holds it exactly as long.
    pub fn is_open(&self) -> bool {
        !self.state.is_ended() || !self.tidied
    }

    /// The state after `event`, at `now_ms`. Pure.
    pub fn on(&self, event: JobEvent, now_ms: u64) -> Result<Step<Self>, Contradiction> {
        use JobState as S;
        let moved = |state: S| Self { state, updated_ms: now_ms.max(self.updated_ms), ..self.clone() };
        let refuse = |event| Err(Contradiction { state: self.state.name(), event });
        match (&self.state, event) {
            (state, JobEvent::Tidied) if state.is_ended() => {
                // The time of its end stays.
                Ok(if self.tidied { Step::Already } else { Step::Moved(Self { tidied: true, ..self.clone() }) })
            }
            (S::Received, JobEvent::Probed { facts }) => Ok(Step::Moved(Self { facts: Some(facts), ..moved(S::Probed) })),
            (S::Probed | S::Planned | S::Transcoding | S::Merging { .. } | S::Completed | S::Partial { .. }, JobEvent::Probed { .. })
            | (S::Planned | S::Transcoding | S::Merging { .. } | S::Completed | S::Partial { .. }, JobEvent::Planned { .. })
            | (S::Transcoding | S::Merging { .. } | S::Completed | S::Partial { .. }, JobEvent::Started)
            | (S::Rejected { .. }, JobEvent::Rejected { .. })
            | (S::Cancelled, JobEvent::Cancelled)
            | (S::Completed | S::Partial { .. }, JobEvent::Completed { .. }) => Ok(Step::Already),
            (S::Probed, JobEvent::Planned { plan, basis }) => Ok(Step::Moved(Self { plan: Some(*plan), basis, ..moved(S::Planned) })),
            (S::Planned, JobEvent::Started) => Ok(Step::Moved(moved(S::Transcoding))),
            // The last task may be done before split has written that all messages are out.
            (S::Planned | S::Transcoding, JobEvent::MergeClaimed { fence }) => Ok(Step::Moved(moved(S::Merging { fence }))),
            (S::Merging { fence: held }, JobEvent::MergeClaimed { fence }) => match fence.cmp(held) {
                std::cmp::Ordering::Greater => Ok(Step::Moved(moved(S::Merging { fence }))),
                std::cmp::Ordering::Equal => Ok(Step::Already),
                std::cmp::Ordering::Less => refuse("a merge with an older fencing number"),
            },
            (S::Merging { fence: held }, JobEvent::Completed { fence, losses }) if fence == *held => {
                Ok(Step::Moved(moved(losses.map_or(S::Completed, |losses| S::Partial { losses }))))
            }
            (S::Completed | S::Partial { .. }, JobEvent::Rejected { .. }) => refuse("rejection"),
            (S::Completed | S::Partial { .. }, JobEvent::Cancelled) => refuse("cancellation"),
            (S::Partial { .. } | S::Rejected { .. } | S::Cancelled, _) => refuse("news after its end"),
            (_, JobEvent::Rejected { reason }) => Ok(Step::Moved(moved(S::Rejected { reason }))),
            (_, JobEvent::Cancelled) => Ok(Step::Moved(moved(S::Cancelled))),
            (_, JobEvent::Tidied) => refuse("tidying before its end"),
            (_, JobEvent::Planned { .. }) => refuse("plan"),
            (_, JobEvent::Started) => refuse("start"),
            (_, JobEvent::MergeClaimed { .. }) => refuse("merge claim"),
            (_, JobEvent::Completed { .. }) => refuse("completion by a merge that does not hold the claim"),
        }
    }

    /// As it begins. `now_ms`: milliseconds since 1970.
    pub fn received(id: JobId, source: SourceRef, profile: &str, generation: u32, sequencer: &str, now_ms: u64) -> Self {
        Self {
            id,
            source,
            profile: profile.to_owned(),
            generation,
            sequencer: sequencer.to_owned(),
            state: JobState::Received,
            created_ms: now_ms,
            updated_ms: now_ms,
            facts: None,
            plan: None,
            basis: None,
            tidied: false,
        }
    }

    /// Whether this upload starts the next generation: only over a job that ended without a ladder or waits for an
    /// operator, and only if the upload is newer than the job's.
    pub fn gives_way_to(&self, upload: Uploaded<'_>, blocked: bool) -> bool {
        let failed = matches!(self.state, JobState::Rejected { .. } | JobState::Cancelled) || (blocked && !self.state.is_ended());
        // A job that was made of what lay there has no sequencer: what was stored before it is its own upload, told of late.
        let later = if self.sequencer.is_empty() { upload.at_ms > self.created_ms } else { is_later(upload.sequencer, &self.sequencer) };
        failed && later
    }
}

/// A job with what stands beside it in the ledger.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredJob {
    pub job: Job,
    /// For the next conditional write.
    pub version: u64,
    /// Tasks that wait for an operator; the job shows as escalated while there are any.
    pub blocked: Vec<TaskId>,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::key::ObjectKey;
    use proptest::prelude::*;

    pub fn job() -> Job {
        let source = SourceRef::new("videos", ObjectKey::new("uploads/a.mp4").unwrap(), None, "e", 1);
        Job {
            id: JobId::of(&source, "h264", 0),
            source,
            profile: "h264".into(),
            generation: 0,
            sequencer: "0A".into(),
            state: JobState::Received,
            created_ms: 1,
            updated_ms: 1,
            facts: None,
            plan: None,
            basis: None,
            tidied: false,
        }
    }

    pub(crate) fn plan() -> Box<Plan> {
        Box::new(Plan {
            schema: 1,
            layer: "l".into(),
            profile: crate::profile::h264(),
            source_bytes: 1,
            container: "mov".into(),
            video: None,
            audio: vec![],
            subtitles: vec![],
            text: None,
            stills: None,
            cut_short: None,
            normalized: None,
            chunks: 1,
            left_out: vec![],
        })
    }

    pub fn partial() -> JobState {
        JobState::Partial { losses: Losses { frames: 3, detail: "d".into() } }
    }

    fn happy() -> Vec<JobEvent> {
        vec![
            JobEvent::Probed { facts: "f".into() },
            JobEvent::Planned { plan: plan(), basis: None },
            JobEvent::Started,
            JobEvent::MergeClaimed { fence: 1 },
            JobEvent::Completed { fence: 1, losses: None },
        ]
    }

    proptest! {
        /// Every event is delivered at least once after its cause, with any repeats anywhere: the end is the same.
        #[test]
        fn repeats_change_nothing(repeats in prop::collection::vec((0usize..5, 0usize..5), 0..20)) {
            let events = happy();
            let mut order: Vec<usize> = (0..events.len()).collect();
            for (event, at) in repeats {
                let earliest = order.iter().position(|e| *e == event).unwrap_or(0) + 1;
                order.insert((earliest + at).min(order.len()), event);
            }
            let mut now = job();
            for (time, event) in order.into_iter().enumerate() {
                match now.on(events[event].clone(), time as u64) {
                    Ok(Step::Moved(next)) => now = next,
                    Ok(Step::Already) => {}
                    // A repeated claim after completion: the late merge is refused, the job stays as it is.
                    Err(_) => prop_assert_eq!(&now.state, &JobState::Completed),
                }
            }
            prop_assert_eq!(now.state, JobState::Completed);
        }

        #[test]
        fn an_ended_job_never_moves(ended in prop::sample::select(vec![
            JobState::Completed, JobState::Rejected { reason: "r".into() }, JobState::Cancelled, partial()]), event in 0usize..7) {
            let mut events = happy();
            events.push(JobEvent::Rejected { reason: "x".into() });
            events.push(JobEvent::Cancelled);
            let ended = Job { state: ended, ..job() };
            prop_assert!(!matches!(ended.on(events[event].clone(), 5), Ok(Step::Moved(_))));
        }
    }

    #[test]
    fn an_ended_job_stays_open_until_it_is_tidied() {
        assert!(job().on(JobEvent::Tidied, 9).is_err());
        let ended = Job { state: JobState::Completed, ..job() };
        assert!(ended.is_open());
        let Ok(Step::Moved(tidy)) = ended.on(JobEvent::Tidied, 9) else { panic!("moved") };
        assert_eq!((tidy.is_open(), tidy.updated_ms), (false, ended.updated_ms));
        assert_eq!(tidy.on(JobEvent::Tidied, 10), Ok(Step::Already));
    }

    #[test]
    fn a_late_merge_cannot_complete_the_job() {
        let merging = Job { state: JobState::Merging { fence: 3 }, ..job() };
        assert!(merging.on(JobEvent::Completed { fence: 2, losses: None }, 9).is_err());
        assert!(merging.on(JobEvent::MergeClaimed { fence: 2 }, 9).is_err());
        assert!(matches!(merging.on(JobEvent::MergeClaimed { fence: 4 }, 9), Ok(Step::Moved(_))));
    }

    #[test]
    fn a_film_that_is_saved_in_part_is_published_and_never_completed() {
        let merging = Job { state: JobState::Merging { fence: 3 }, ..job() };
        let JobState::Partial { losses } = partial() else { panic!("partial") };
        let Ok(Step::Moved(ended)) = merging.on(JobEvent::Completed { fence: 3, losses: Some(losses) }, 9) else { panic!("moved") };
        assert_eq!((&ended.state, ended.state.is_ended(), ended.state.is_published()), (&partial(), true, true));
        assert_eq!(ended.on(JobEvent::Completed { fence: 3, losses: None }, 10), Ok(Step::Already));
        assert!(!ended.gives_way_to(Uploaded { sequencer: "0B", at_ms: 5 }, false));
    }

    #[test]
    fn only_a_newer_upload_over_a_failed_job_starts_again() {
        let rejected = Job { state: JobState::Rejected { reason: "r".into() }, ..job() };
        let upload = |sequencer| Uploaded { sequencer, at_ms: 5 };
        assert!(rejected.gives_way_to(upload("0B"), false));
        assert!(!rejected.gives_way_to(upload("0A"), false));
        assert!(!job().gives_way_to(upload("0B"), false));
        assert!(job().gives_way_to(upload("0B"), true));
        assert!(!Job { state: JobState::Completed, ..job() }.gives_way_to(upload("0B"), false));
        let found = Job { sequencer: String::new(), ..rejected };
        assert!(found.gives_way_to(Uploaded { sequencer: "0B", at_ms: found.created_ms + 1 }, false));
        for at_ms in [0, found.created_ms] {
            assert!(!found.gives_way_to(Uploaded { sequencer: "0B", at_ms }, false), "its own upload, told of late");
        }
    }
}
