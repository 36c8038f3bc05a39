//! When things end, for a role that keeps a million of them: in the order of their ends, with one timer for the
//! first.
//!
//! A timer for each would cost some hundred octets, outlive what was refreshed or released, and a start
//! would arm millions.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{packed::Fingerprint, time::Timestamp};

/// Things that one timer call ends at most, so that the worker serves others in between.
pub const ENDS_PER_CALL_MAX: usize = 64;

/// The ends of the records of one table. Its lock is an innermost one.
///
/// Ends are kept to the second, rounded up: nothing ends before its time, and the timer comes up to a second
/// after it. What has really ended is told by the record, read under its lock, so that an expiry never
/// removes what was renewed in between.
#[derive(Debug, Default)]
pub struct Deadlines(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// How many records with this fingerprint end in this second, which is one unless hashes collide.
    ends: BTreeMap<(Second, Fingerprint), u8>,
    /// The earliest timer that may not have come yet.
    armed: Option<Timestamp>,
    /// Ends that were loaded so far.
    loading: Vec<(Second, Fingerprint)>,
}

/// Seconds since the Unix epoch: the last one is in the year 2106.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Second(u32);

impl Second {
    fn not_before(time: Timestamp) -> Self {
        Self(u32::try_from(time.as_micros().div_ceil(1_000_000)).unwrap_or(u32::MAX))
    }

    fn start(self) -> Timestamp {
        Timestamp::from_secs(self.0.into())
    }
}

impl Deadlines {
    /// Takes note that `record` ends at `new` instead of `old`. The caller holds the record. Returns when a
    /// timer is to be armed, if one is.
    pub fn change(
        &self,
        now: Timestamp,
        record: Fingerprint,
        old: Option<Timestamp>,
        new: Option<Timestamp>,
    ) -> Option<Timestamp> {
        let mut state = self.lock();
        if let Some(old) = old {
            state.remove(Second::not_before(old), record);
        }
        state.insert(Second::not_before(new?), record);
        state.arm(now)
    }

    /// Takes a stored end in; [`Self::finish_loading`] follows after the last one.
    pub fn load(&self, record: Fingerprint, end: Timestamp) {
        self.lock().loading.push((Second::not_before(end), record));
    }

    /// Takes what was loaded over: sorted first, since a tree that is built in order is built fast, and full.
    /// Returns when a timer for the first end is to be armed, if one is.
    pub fn finish_loading(&self, now: Timestamp) -> Option<Timestamp> {
        let mut state = self.lock();
        let mut loaded = std::mem::take(&mut state.loading);
        loaded.sort_unstable();
        let runs = loaded.chunk_by(|one, next| one == next);
        let ends = runs.filter_map(|run| {
            run.first().map(|entry| (*entry, u8::try_from(run.len()).unwrap_or(u8::MAX)))
        });
        let mut ends: BTreeMap<_, _> = ends.collect();
        state.ends.append(&mut ends);
        state.arm(now)
    }

    /// Takes out up to [`ENDS_PER_CALL_MAX`] records whose end has come, earliest first, and returns them and
    /// when a timer for the next is to be armed. The caller ends each, unless its record says that it has
    /// not ended; whoever prolonged it has taken note of that here.
    pub fn take_due(&self, now: Timestamp) -> (Vec<Fingerprint>, Option<Timestamp>) {
        let mut state = self.lock();
        let mut due = Vec::new();
        while due.len() < ENDS_PER_CALL_MAX
            && let Some(first) = state.ends.first_entry()
            && first.key().0.start() <= now
        {
            due.push(first.remove_entry().0.1);
        }
        let at = state.arm(now);
        (due, at)
    }

    /// Forgets all ends.
    pub fn clear(&self) {
        *self.lock() = State::default();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn insert(&mut self, end: Second, record: Fingerprint) {
        let count = self.ends.entry((end, record)).or_default();
        *count = count.saturating_add(1);
    }

    fn remove(&mut self, end: Second, record: Fingerprint) {
        let entry = (end, record);
        match self.ends.get_mut(&entry) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) => drop(self.ends.remove(&entry)),
            None => {} // taken out as due
        }
    }

    fn arm(&mut self, now: Timestamp) -> Option<Timestamp> {
        let first = self.ends.first_key_value()?.0.0.start();
        let coming = self.armed.filter(|at| *at > now);
        if coming.is_some_and(|at| at <= first) {
            return None;
        }
        self.armed = Some(first);
        self.armed
    }
}
