//! The one queue of the simulated world: what happens next, in an order that never varies.

use std::{cmp::Ordering, collections::BinaryHeap, time::Duration};

use crate::time::Timestamp;

/// Events by time; those of the same time in the order they were put in.
#[derive(Debug)]
pub(super) struct Queue<E> {
    now: Timestamp,
    sequence: u64,
    heap: BinaryHeap<Entry<E>>,
}

#[derive(Debug)]
struct Entry<E> {
    at: Timestamp,
    sequence: u64,
    event: E,
}

impl<E> Queue<E> {
    /// Starts at `now` with nothing to happen.
    pub(super) fn new(now: Timestamp) -> Self {
        Self { now, sequence: 0, heap: BinaryHeap::new() }
    }

    /// The time of the last event taken.
    pub(super) const fn now(&self) -> Timestamp {
        self.now
    }

    /// Lets `event` happen at `at`, or now if that is past.
    pub(super) fn put(&mut self, at: Timestamp, event: E) {
        self.sequence += 1;
        self.heap.push(Entry { at: at.max(self.now), sequence: self.sequence, event });
    }

    /// Lets `event` happen after `span`.
    pub(super) fn put_after(&mut self, span: Duration, event: E) {
        self.put(self.now + span, event);
    }

    /// Takes the next event if it happens at `end` or before, and moves the time to it.
    pub(super) fn take_until(&mut self, end: Timestamp) -> Option<E> {
        if self.heap.peek().is_none_or(|entry| entry.at > end) {
            return None;
        }
        let entry = self.heap.pop()?;
        self.now = entry.at;
        Some(entry.event)
    }

    /// Moves the time to `end`, when nothing happens before it any more.
    pub(super) fn advance_to(&mut self, end: Timestamp) {
        self.now = self.now.max(end);
    }
}

impl<E> Ord for Entry<E> {
    /// The greatest entry is the one that happens first, since the heap gives the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Entry<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_happen_by_time_and_then_in_the_order_they_were_put() {
        let at = Timestamp::from_secs;
        let mut queue = Queue::new(at(10));
        for (when, name) in [(12, "c"), (11, "a"), (12, "d"), (5, "late"), (11, "b"), (20, "far")] {
            queue.put(at(when), name);
        }
        let taken: Vec<&str> = std::iter::from_fn(|| queue.take_until(at(19))).collect();
        assert_eq!(taken, ["late", "a", "b", "c", "d"]);
        assert_eq!(queue.now(), at(12));
    }
}
