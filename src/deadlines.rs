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

/// Most ends in one run of [`Ends`], unless they are equal: that many are looked through for one of them.
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

/// When which record ends: the second above, the fingerprint below. Records of one fingerprint may end in the
/// same second, if hashes collide.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct End(u64);

/// Ends in runs of up to [`RUN_MAX`] with hardly more room than they need: an end takes nine octets or so, where
/// it would take twice as many in a tree of single ones. The runs are in the order of their ends, what is in one
/// is not: to add an end is to append it.
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

impl End {
    fn new(second: Second, record: Fingerprint) -> Self {
        Self(u64::from(second.0) << 32 | u64::from(record.as_u32()))
    }

    /// That `record` ends at `time`.
    fn of(record: Fingerprint, time: Timestamp) -> Self {
        Self::new(Second::not_before(time), record)
    }

    fn start(self) -> Timestamp {
        let [a, b, c, d, ..] = self.0.to_be_bytes();
        Second(u32::from_be_bytes([a, b, c, d])).start()
    }

    const fn record(self) -> Fingerprint {
        let [.., a, b, c, d] = self.0.to_be_bytes();
        Fingerprint::from_u32(u32::from_be_bytes([a, b, c, d]))
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
            state.ends.remove(End::of(record, old));
        }
        let new = End::of(record, new?);
        state.ends.insert(new);
        // What is armed is not after the first of the other ends.
        if state.armed.is_some_and(|at| now < at && at <= new.start()) {
            return None;
        }
        state.arm(now)
    }

    /// Takes a stored end in; [`Self::finish_loading`] follows after the last one.
    pub fn load(&self, record: Fingerprint, end: Timestamp) {
        self.lock().loading.push(End::of(record, end));
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
        let due = state.ends.take_due(now);
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
        let first = self.ends.first()?.start();
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
        self.runs.first_key_value()?.1.iter().min().copied()
    }

    fn insert(&mut self, end: End) {
        let Some((_, run)) = self.runs.range_mut(..=end).next_back() else {
            // Before all others: in the first run, whose bound it is from now on.
            let mut run = self.runs.pop_first().map(|(_, run)| run).unwrap_or_default();
            let later = add(&mut run, end);
            self.runs.extend(later);
            self.runs.insert(end, run);
            return;
        };
        if run.len() < run.capacity() {
            return run.push(end);
        }
        let later = add(run, end);
        self.runs.extend(later);
    }

    fn remove(&mut self, end: End) {
        let Some((bound, run)) = self.runs.range_mut(..=end).next_back() else { return };
        let bound = *bound;
        let Some(place) = run.iter().position(|other| *other == end) else { return };
        run.swap_remove(place);
        if run.is_empty() {
            self.runs.remove(&bound);
        } else {
            shrink(run);
        }
    }

    /// Takes out up to [`ENDS_PER_CALL_MAX`] ends that have come, in their order.
    fn take_due(&mut self, now: Timestamp) -> Vec<Fingerprint> {
        let mut due = Vec::new();
        while let Some(mut first) = self.runs.first_entry() {
            let run = first.get_mut();
            run.sort_unstable();
            let come = run.partition_point(|end| end.start() <= now);
            let taken = come.min(ENDS_PER_CALL_MAX - due.len());
            due.extend(run.drain(..taken).map(End::record));
            if !run.is_empty() {
                shrink(run);
                break;
            }
            first.remove();
        }
        due
    }
}

/// Adds an end to a run. If that is full, it is parted, and the later one returned with its bound. Equal ends
/// stay together, whatever their number.
fn add(run: &mut Vec<End>, end: End) -> Option<(End, Vec<End>)> {
    let is_full = run.len() >= RUN_MAX && run.len() == run.capacity();
    let mut later = if is_full { part(run, end) } else { None };
    let run = match &mut later {
        Some((bound, later)) if *bound <= end => later,
        _ => run,
    };
    if run.len() == run.capacity() {
        let room = run.len() / 8 + 4;
        let most = RUN_MAX.checked_sub(run.len()).filter(|most| *most > 0);
        run.reserve_exact(most.map_or(room, |most| room.min(most)));
    }
    run.push(end);
    later
}

/// Gives room back of which half is not needed.
fn shrink(run: &mut Vec<End>) {
    if run.len() < run.capacity() / 2 {
        run.shrink_to_fit();
    }
}

/// Takes the later half out of a run, or nothing yet if `new` comes after all of it: ends that come in their
/// order leave full runs behind.
fn part(run: &mut Vec<End>, new: End) -> Option<(End, Vec<End>)> {
    let last = *run.iter().max()?;
    if last < new {
        return Some((new, Vec::new()));
    }
    let middle = run.len() / 2;
    let mut bound = *run.select_nth_unstable(middle).1;
    if run.iter().all(|end| *end >= bound) {
        bound = run.iter().filter(|end| **end > bound).min().copied()?;
    }
    let mut later = Vec::with_capacity(run.len() - middle);
    later.extend(run.extract_if(.., |end| *end >= bound));
    run.shrink_to_fit();
    Some((bound, later))
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
            let end = End::new(Second(second), Fingerprint::default());
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
        let in_order = |mut run: Vec<End>| {
            run.sort_unstable();
            run
        };
        let all: Vec<End> = ends.runs.into_values().flat_map(in_order).collect();
        assert_eq!(all, expected.collect::<Vec<_>>());
    }

    #[test]
    fn ends_take_hardly_more_room_than_they_need_in_whatever_order_they_come() {
        for step in [1, 7_919] {
            let mut ends = Ends::default();
            for number in 0..100_000_u32 {
                let second = Second(number * step % 100_000);
                ends.insert(End::new(second, Fingerprint::default()));
            }
            let room: usize = ends.runs.values().map(Vec::capacity).sum();
            assert!(room < 110_000, "{room}");
            assert!(ends.runs.len() < 1_000, "{} runs", ends.runs.len());
        }
    }
}
