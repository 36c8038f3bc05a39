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

/// Most ends in one run of [`Ends`]: what is moved for one more is a few hundred octets.
const RUN_MAX: usize = 256;

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
    ends: Ends,
    /// The earliest timer that may not have come yet.
    armed: Option<Timestamp>,
    /// Ends that were loaded so far.
    loading: Vec<End>,
}

/// When which record ends. Records of one fingerprint may end in the same second, if hashes collide.
type End = (Second, Fingerprint);

/// Ends in their order, in runs of up to [`RUN_MAX`] with hardly more room than they need: an end takes nine
/// octets or so, where it would take twice as many in a tree of single ones.
#[derive(Debug, Default)]
struct Ends {
    /// By a lower bound of what is in the run and in those after it. None is empty.
    runs: BTreeMap<End, Vec<End>>,
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
            // It may have been taken out as due.
            state.ends.remove((Second::not_before(old), record));
        }
        state.ends.insert((Second::not_before(new?), record));
        state.arm(now)
    }

    /// Takes a stored end in; [`Self::finish_loading`] follows after the last one.
    pub fn load(&self, record: Fingerprint, end: Timestamp) {
        self.lock().loading.push((Second::not_before(end), record));
    }

    /// Takes what was loaded over: sorted first, since what is built in order is built fast, and full.
    /// Returns when a timer for the first end is to be armed, if one is.
    pub fn finish_loading(&self, now: Timestamp) -> Option<Timestamp> {
        let mut state = self.lock();
        let mut loaded = std::mem::take(&mut state.loading);
        loaded.sort_unstable();
        for end in loaded {
            state.ends.insert(end);
        }
        state.arm(now)
    }

    /// Takes out up to [`ENDS_PER_CALL_MAX`] records whose end has come, earliest first, and returns them and
    /// when a timer for the next is to be armed. The caller ends each, unless its record says that it has
    /// not ended; whoever prolonged it has taken note of that here.
    pub fn take_due(&self, now: Timestamp) -> (Vec<Fingerprint>, Option<Timestamp>) {
        let mut state = self.lock();
        let mut due = Vec::new();
        while due.len() < ENDS_PER_CALL_MAX
            && let Some((second, record)) = state.ends.first()
            && second.start() <= now
        {
            state.ends.remove((second, record));
            due.push(record);
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
    fn arm(&mut self, now: Timestamp) -> Option<Timestamp> {
        let first = self.ends.first()?.0.start();
        let coming = self.armed.filter(|at| *at > now);
        if coming.is_some_and(|at| at <= first) {
            return None;
        }
        self.armed = Some(first);
        self.armed
    }
}

impl Ends {
    fn first(&self) -> Option<End> {
        self.runs.first_key_value()?.1.first().copied()
    }

    fn insert(&mut self, end: End) {
        if let Some((_, run)) = self.runs.range_mut(..=end).next_back() {
            let later = add(run, end);
            self.add_run(later);
        } else {
            let mut run = self.runs.pop_first().map(|(_, run)| run).unwrap_or_default();
            let later = add(&mut run, end);
            self.add_run(later);
            self.add_run(run);
        }
    }

    fn add_run(&mut self, run: Vec<End>) {
        if let Some(first) = run.first() {
            self.runs.insert(*first, run);
        }
    }

    fn remove(&mut self, end: End) {
        let Some((bound, run)) = self.runs.range_mut(..=end).next_back() else { return };
        let bound = *bound;
        let Ok(place) = run.binary_search(&end) else { return };
        run.remove(place);
        if run.is_empty() {
            self.runs.remove(&bound);
        } else if run.len() < run.capacity() / 2 {
            run.shrink_to_fit();
        }
    }
}

/// Adds an end to a run. Returns the later part, if it has become too long. Equal ends stay together.
fn add(run: &mut Vec<End>, end: End) -> Vec<End> {
    let place = run.partition_point(|other| *other <= end);
    if run.len() == run.capacity() {
        run.reserve_exact(run.len() / 8 + 4);
    }
    run.insert(place, end);
    if run.len() <= RUN_MAX {
        return Vec::new();
    }
    // Ends that come in their order leave full runs behind.
    let half = if place == RUN_MAX { RUN_MAX } else { RUN_MAX / 2 };
    let first = run.get(half).copied();
    let later = run.split_off(run.partition_point(|other| Some(*other) < first));
    run.shrink_to_fit();
    if run.is_empty() { std::mem::replace(run, later) } else { later }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn ends_are_those_that_were_added_and_not_removed_in_their_order() {
        let mut ends = Ends::default();
        let mut model: BTreeMap<End, usize> = BTreeMap::new();
        let mut random = 5_u64;
        for round in 0..200_000_u32 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let number = u32::try_from(random >> 33).unwrap();
            // At first more are added than removed, and the other way at last; some are there many times.
            let second = if number % 5 == 0 { 700 } else { number % 20_000 };
            let end = (Second(second), Fingerprint::default());
            if number % 200_000 < round {
                ends.remove(end);
                match model.get_mut(&end) {
                    Some(count) if *count > 1 => *count -= 1,
                    _ => drop(model.remove(&end)),
                }
            } else {
                ends.insert(end);
                *model.entry(end).or_default() += 1;
            }
            assert_eq!(ends.first(), model.keys().next().copied());
        }
        let expected = model.iter().flat_map(|(end, count)| std::iter::repeat_n(*end, *count));
        let all: Vec<End> = ends.runs.into_values().flatten().collect();
        assert_eq!(all, expected.collect::<Vec<_>>());
    }

    #[test]
    fn ends_take_hardly_more_room_than_they_need_in_whatever_order_they_come() {
        for step in [1, 7_919] {
            let mut ends = Ends::default();
            for number in 0..100_000_u32 {
                ends.insert((Second(number * step % 100_000), Fingerprint::default()));
            }
            let room: usize = ends.runs.values().map(Vec::capacity).sum();
            assert!(room < 110_000, "{room}");
            assert!(ends.runs.len() < 1_000, "{} runs", ends.runs.len());
        }
    }
}
