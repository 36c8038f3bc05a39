//! The timers of one worker.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::{
    outbox::{Role, TimerKey, TimerWhat},
    time::Timestamp,
};

/// Most timers of one worker. A timer that does not fit is not armed, and counted as an error.
pub(super) const TIMERS_MAX: usize = 16_000_000;

/// The timers that were armed on one worker, earliest first.
///
/// A timer armed with another version replaces the one before it about the same thing: what that
/// one was about is over. So the queue grows with the state of the roles, not with the traffic.
#[derive(Debug, Default)]
pub(super) struct TimerQueue {
    timers: Mutex<Timers>,
    earlier: Notify,
}

#[derive(Debug, Default)]
struct Timers {
    due: BTreeSet<(Timestamp, TimerKey)>,
    latest: HashMap<(Role, TimerWhat), (Timestamp, u64), ahash::RandomState>,
}

/// A timer that was not armed, because [`TIMERS_MAX`] are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct TimersFull;

impl TimerQueue {
    /// Arms `timer` for `at`.
    ///
    /// # Errors
    ///
    /// [`TimersFull`].
    pub(super) fn arm(&self, at: Timestamp, timer: TimerKey) -> Result<(), TimersFull> {
        let mut timers = self.lock();
        if timers.due.len() >= TIMERS_MAX {
            return Err(TimersFull);
        }
        let first_before = timers.first();
        let about = (timer.role, timer.what.clone());
        let before = timers.latest.insert(about, (at, timer.version));
        if let Some((before_at, version)) = before
            && version != timer.version
        {
            timers.due.remove(&(before_at, TimerKey { version, ..timer.clone() }));
        }
        timers.due.insert((at, timer));
        let is_first = first_before.is_none_or(|first| at < first);
        drop(timers);
        if is_first {
            self.earlier.notify_one();
        }
        Ok(())
    }

    /// Takes out a timer that is due at `now`.
    pub(super) fn pop_due(&self, now: Timestamp) -> Option<TimerKey> {
        let mut timers = self.lock();
        if timers.first()? > now {
            return None;
        }
        let (at, timer) = timers.due.pop_first()?;
        let about = (timer.role, timer.what.clone());
        if timers.latest.get(&about) == Some(&(at, timer.version)) {
            timers.latest.remove(&about);
        }
        Some(timer)
    }

    /// When the next timer is due.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.lock().first()
    }

    /// Returns when a timer was armed that is due before all others.
    pub(super) async fn armed_earlier(&self) {
        self.earlier.notified().await;
    }

    /// How many timers are armed.
    pub(super) fn len(&self) -> usize {
        self.lock().due.len()
    }

    fn lock(&self) -> MutexGuard<'_, Timers> {
        self.timers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Timers {
    fn first(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timer(what: u64, version: u64) -> TimerKey {
        TimerKey { role: Role::SipCore, what: TimerWhat::RequestTimeout(what), version }
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn timers_come_in_order_of_time_and_not_before_it() {
        let queue = TimerQueue::default();
        for (secs, what) in [(30, 3), (10, 1), (20, 2)] {
            queue.arm(at(secs), timer(what, 1)).unwrap();
        }
        assert_eq!((queue.pop_due(at(9)), queue.next_due()), (None, Some(at(10))));
        assert_eq!(queue.pop_due(at(20)), Some(timer(1, 1)));
        assert_eq!(queue.pop_due(at(20)), Some(timer(2, 1)));
        assert_eq!(queue.pop_due(at(20)), None);
    }

    #[test]
    fn a_newer_version_replaces_the_older_one() {
        let queue = TimerQueue::default();
        for version in 1..=1_000 {
            queue.arm(at(100 + version), timer(7, version)).unwrap();
        }
        assert_eq!(queue.len(), 1);
        assert_eq!(queue.pop_due(at(5_000)), Some(timer(7, 1_000)));
        assert_eq!(queue.pop_due(at(5_000)), None);
    }

    #[test]
    fn one_version_may_be_due_twice() {
        let queue = TimerQueue::default();
        queue.arm(at(10), timer(7, 1)).unwrap();
        queue.arm(at(20), timer(7, 1)).unwrap();
        assert_eq!(queue.pop_due(at(30)), Some(timer(7, 1)));
        assert_eq!(queue.pop_due(at(30)), Some(timer(7, 1)));
        assert_eq!(queue.pop_due(at(30)), None);
    }
}
