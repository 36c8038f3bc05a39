//! Messages that wait for commits, and those that go back to the worker that sent them.

use std::collections::BTreeMap;

use crate::{outbox::Send, store::CommitSeq};

/// Most messages that wait at a time: for a commit, or for the worker that sent them to deal with them. New
/// requests are refused then; a message of a call under way is dropped, as if lost on the wire.
pub(in crate::node) const WAITING_MESSAGES_MAX: usize = 65_536;

/// A message that waited.
#[derive(Debug)]
pub(in crate::node) enum Waited {
    /// Everything it relies on is durable.
    Leaves(Send),
    /// What it relies on has failed.
    Lost(Send),
}

/// Messages by the commit that they wait for, with the worker that sent each.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    messages: BTreeMap<CommitSeq, Vec<(usize, Send)>>,
    /// For each worker what it has not taken back yet.
    returned: Vec<Vec<Waited>>,
    /// All of these, and what was taken back but not dealt with yet.
    count: usize,
}

impl Waiting {
    /// Creates an empty table for so many workers.
    pub(super) fn new(workers: usize) -> Self {
        let returned = (0..workers).map(|_| Vec::new()).collect();
        Self { messages: BTreeMap::new(), returned, count: 0 }
    }

    /// Keeps `send` of `worker` until `after` is durable: what it relies on, or later. The caller has seen
    /// that there is room.
    pub(super) fn keep(&mut self, worker: usize, after: CommitSeq, send: Send) {
        self.count += 1;
        // They are large, and there is one for a commit as a rule.
        let messages = self.messages.entry(after).or_insert_with(|| Vec::with_capacity(1));
        messages.push((worker, send));
    }

    /// Takes out what waits for commits up to `reached`, whoever sent it.
    pub(super) fn release(&mut self, reached: CommitSeq, into: &mut Vec<Send>) {
        let before = into.len();
        self.remove(reached, |_, send| into.push(send));
        self.count -= into.len() - before;
    }

    /// Returns what waits for commits up to `reached` to the workers that sent it.
    pub(super) fn give_back(&mut self, reached: CommitSeq, as_what: fn(Send) -> Waited) {
        let mut returned = std::mem::take(&mut self.returned);
        let mut nobody = 0;
        self.remove(reached, |worker, send| match returned.get_mut(worker) {
            Some(returned) => returned.push(as_what(send)),
            None => nobody += 1,
        });
        self.count -= nobody;
        self.returned = returned;
    }

    /// Exchanges what was returned to `worker` for the empty `into`.
    pub(super) fn take_returned(&mut self, worker: usize, into: &mut Vec<Waited>) {
        if let Some(returned) = self.returned.get_mut(worker) {
            std::mem::swap(returned, into);
        }
    }

    /// So many messages that were taken back have been dealt with.
    pub(super) const fn forget(&mut self, messages: usize) {
        self.count = self.count.saturating_sub(messages);
    }

    /// The workers that have something to take back.
    pub(super) fn workers_to_wake(&self) -> impl Iterator<Item = usize> {
        let returned = self.returned.iter().enumerate();
        returned.filter(|(_, returned)| !returned.is_empty()).map(|(worker, _)| worker)
    }

    /// Whether there is no room.
    pub(super) const fn is_full(&self) -> bool {
        self.count >= WAITING_MESSAGES_MAX
    }

    /// Whether nothing waits.
    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn remove(&mut self, reached: CommitSeq, mut each: impl FnMut(usize, Send)) {
        while let Some(entry) = self.messages.first_entry() {
            if *entry.key() > reached {
                break;
            }
            entry.remove().into_iter().for_each(|(worker, send)| each(worker, send));
        }
    }
}
