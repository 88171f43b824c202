//! Which queue gets the dead letters of which, and how they get there.

use std::collections::BTreeMap;

use super::{
    account::Account,
    entry::{Change, Entry, Seq},
    error::SqsError,
    settings::Settings,
};
use crate::stack;

impl Account {
    /// Names of the queues whose dead letters go to `name`, in order.
    pub(super) fn sources_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.queues.iter().filter_map(move |(source, queue)| {
            let target = &queue.settings.redrive()?.dead_letter_target_arn;
            (stack::name_of_arn(target) == name).then_some(source.as_str())
        })
    }

    /// Puts dead letters where they belong.
    pub(super) fn bury(&mut self, now_ms: u64, source: &str, grave: &str, buried: Vec<(Seq, Entry)>) {
        for (seq, entry) in buried {
            let entry = entry.buried(now_ms, source);
            // A FIFO queue gives its messages in the order in which they came to it.
            let to = if entry.dedup.is_some() { self.number() } else { seq };
            let Some(grave) = self.queues.get_mut(grave) else { return };
            if to != seq {
                self.changes.push(Change::Renumbered { from: seq, to });
            }
            self.changes.push(Change::Message { uid: grave.uid, seq: to, entry: entry.clone() });
            grave.restore(now_ms, to, entry);
        }
    }

    /// Dead-letter queue of a queue, where one of its type exists, and how many receives come before it.
    pub(super) fn grave_of(&self, name: &str) -> Result<Option<(String, u32)>, SqsError> {
        let queue = self.queue(name)?;
        Ok(queue.settings.redrive().and_then(|redrive| {
            let grave = stack::name_of_arn(&redrive.dead_letter_target_arn);
            let fits = grave != name && self.queues.get(grave).is_some_and(|grave| grave.is_fifo() == queue.is_fifo());
            fits.then(|| (grave.to_owned(), redrive.max_receive_count))
        }))
    }

    /// Holds the redrive policies of all queues against the queues that they name: after a template's queues are all made,
    /// since their order means nothing.
    pub(super) fn check_redrives<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<(), SqsError> {
        for name in names {
            let settings = &self.queue(name)?.settings;
            if let Some(redrive) = settings.redrive()
                && self.queues.contains_key(stack::name_of_arn(&redrive.dead_letter_target_arn))
            {
                self.check_target(name, settings, redrive)?;
            }
        }
        Ok(())
    }

    /// Holds attributes that are to be set against the queue that they name.
    pub(super) fn check_redrive(&self, name: &str, asked: &BTreeMap<String, String>, settings: &Settings) -> Result<(), SqsError> {
        match settings.redrive().filter(|_| asked.contains_key("RedrivePolicy")) {
            Some(redrive) => self.check_target(name, settings, redrive),
            None => Ok(()),
        }
    }

    fn check_target(&self, name: &str, settings: &Settings, redrive: &stack::Redrive) -> Result<(), SqsError> {
        let target = &redrive.dead_letter_target_arn;
        let refuse = |why: &str| Err(SqsError::invalid(format!("Value {target} for parameter RedrivePolicy is invalid. Reason: {why}")));
        let Some(grave) = self.queues.get(stack::name_of_arn(target)) else { return refuse("Dead letter target does not exist.") };
        if grave.is_fifo() != settings.fifo().is_some() {
            return refuse("Dead-letter queue must be same type of queue as the source.");
        }
        if !grave.settings.allows_redrive_of(&stack::queue_arn(name)) {
            return refuse(&format!("The RedriveAllowPolicy of the dead-letter queue does not allow the queue {name} to use it."));
        }
        Ok(())
    }
}
