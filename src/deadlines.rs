//! When things end, for a role that keeps a million of them: in the order of their ends, with one timer for the
//! first.
//!
//! A timer for each would cost some hundred octets, outlive what was refreshed or released, and a start
//! would arm millions.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use crate::{
    packed::{Fingerprint, prefetch},
    time::Timestamp,
};

/// Parts, each with a lock of its own.
const SHARDS: usize = 64;

/// Most ends in one run of [`Ends`], unless they are equal: that many are looked through for one of them.
const RUN_MAX: usize = 256;

/// Room for this many ends is not given back: what few records are in one part would ask for it again at once.
const ROOM_KEPT: usize = 16;

/// Ends that are put into runs at a time: what they are put into is in no cache, and is fetched for all of them at the
/// same time.
const FRESH_MAX: usize = 64;

/// Things that one timer call ends at most, so that the worker serves others in between.
pub const ENDS_PER_CALL_MAX: usize = 64;

/// The ends of the records of one table. Its locks are innermost ones.
///
/// Ends are kept to the second, rounded up: nothing ends before its time, and the timer comes up to a second
/// after it. What has really ended is told by the record, read under its lock, so that an expiry never
/// removes what was renewed in between.
#[derive(Debug)]
pub struct Deadlines {
    shards: [Shard; SHARDS],
    /// The earliest timer that has not come yet, microseconds, or [`NONE`]. Looked at after a change of the
    /// ends, and changed before they are looked through: of an end and a timer, one sees the other.
    armed: AtomicU64,
    /// Ends that were loaded so far.
    loading: Mutex<Vec<End>>,
}

/// Begins a cache line of its own, so that workers in different shards do not wait for each other.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard(Mutex<Ends>);

/// No timer.
const NONE: u64 = u64::MAX;

/// When which record ends: the second above, the fingerprint below. Records of one fingerprint may end in the
/// same second, if hashes collide.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct End(u64);

/// Ends in runs of up to [`RUN_MAX`] with hardly more room than they need: an end takes nine octets or so, where
/// it would take twice as many in a tree of single ones. Runs are in the order of their bounds, and none is empty;
/// what is in one is in no order: to add an end is to append it.
#[derive(Debug, Default)]
struct Ends {
    /// Of each run a lower bound of what is in it and in those after it. Apart, so that they are in few cache lines.
    bounds: Vec<End>,
    runs: Vec<Vec<End>>,
    /// The room of a run that has become empty, for the next one.
    spare: Vec<End>,
    /// What was added last and is in no run yet, in no order: [`FRESH_MAX`] at most.
    fresh: Vec<End>,
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

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Shard::default()),
            armed: AtomicU64::new(NONE),
            loading: Mutex::default(),
        }
    }
}

impl Deadlines {
    /// Takes note that `record` ends at `new` instead of `old`. The caller holds the record. Returns when a
    /// timer is to be armed, if one is.
    pub fn change(
        &self,
        record: Fingerprint,
        old: Option<Timestamp>,
        new: Option<Timestamp>,
    ) -> Option<Timestamp> {
        let mut ends = self.shard(record);
        if let Some(old) = old {
            // It may have been taken out as due.
            ends.remove(End::of(record, old));
        }
        let new = End::of(record, new?);
        ends.insert(new);
        drop(ends);
        self.arm(new)
    }

    /// Takes a stored end in; [`Self::finish_loading`] follows after the last one.
    pub fn load(&self, record: Fingerprint, end: Timestamp) {
        lock(&self.loading).push(End::of(record, end));
    }

    /// Takes what was loaded over: sorted first, since what is built in order is built fast, and full.
    /// Returns when a timer for the first end is to be armed, if one is.
    pub fn finish_loading(&self) -> Option<Timestamp> {
        let mut loaded = std::mem::take(&mut *lock(&self.loading));
        loaded.sort_unstable();
        for end in &loaded {
            self.shard(end.record()).insert(*end);
        }
        loaded.first().and_then(|first| self.arm(*first))
    }

    /// Takes out up to [`ENDS_PER_CALL_MAX`] records whose end has come, and returns them and when a timer for the
    /// next is to be armed. The caller ends each, unless its record says that it has not ended; whoever
    /// prolonged it has taken note of that here.
    pub fn take_due(&self, now: Timestamp) -> (Vec<Fingerprint>, Option<Timestamp>) {
        self.armed.store(NONE, Ordering::SeqCst);
        let (mut due, mut first) = (Vec::new(), None);
        for shard in &self.shards {
            let mut ends = lock(&shard.0);
            ends.take_due(now, &mut due);
            first = first.into_iter().chain(ends.first()).min();
        }
        (due, first.and_then(|first| self.arm(first)))
    }

    /// Forgets all ends.
    pub fn clear(&self) {
        for shard in &self.shards {
            *lock(&shard.0) = Ends::default();
        }
        self.armed.store(NONE, Ordering::SeqCst);
        lock(&self.loading).clear();
    }

    /// When a timer is to be armed for `end`, unless one comes before.
    fn arm(&self, end: End) -> Option<Timestamp> {
        let at = end.start();
        if self.armed.load(Ordering::SeqCst) <= at.as_micros() {
            return None;
        }
        let before = self.armed.fetch_min(at.as_micros(), Ordering::SeqCst);
        (at.as_micros() < before).then_some(at)
    }

    #[expect(clippy::indexing_slicing, reason = "the remainder is the number of a shard")]
    fn shard(&self, record: Fingerprint) -> MutexGuard<'_, Ends> {
        lock(&self.shards[usize::try_from(record.as_u32()).unwrap_or(0) % SHARDS].0)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ends {
    fn first(&self) -> Option<End> {
        self.runs.first().into_iter().flatten().chain(&self.fresh).min().copied()
    }

    fn insert(&mut self, end: End) {
        if self.fresh.len() >= FRESH_MAX {
            self.settle();
        }
        self.fresh.push(end);
    }

    /// Puts what was added into runs.
    fn settle(&mut self) {
        let mut fresh = std::mem::take(&mut self.fresh);
        fresh.sort_unstable();
        for end in &fresh {
            self.prefetch(*end);
        }
        for end in fresh.drain(..) {
            self.put(end);
        }
        self.fresh = fresh;
    }

    /// The run that an end belongs to, if it is not before all of them.
    fn place_of(&self, end: End) -> Option<usize> {
        self.bounds.partition_point(|bound| *bound <= end).checked_sub(1)
    }

    fn prefetch(&self, end: End) {
        let run = self.place_of(end).and_then(|place| self.runs.get(place));
        if let Some(last) = run.and_then(|run| run.last()) {
            prefetch(last);
        }
    }

    fn put(&mut self, end: End) {
        let place = self.place_of(end).unwrap_or_else(|| {
            // Before all others: in the first run, whose bound it is from now on.
            if let Some(first) = self.bounds.first_mut() {
                *first = end;
            }
            0
        });
        let Some(run) = self.runs.get_mut(place) else {
            let mut run = std::mem::take(&mut self.spare);
            run.push(end);
            self.bounds.push(end);
            return self.runs.push(run);
        };
        if run.len() < run.capacity() {
            return run.push(end);
        }
        if let Some((bound, later)) = add(run, end) {
            self.bounds.insert(place + 1, bound);
            self.runs.insert(place + 1, later);
        }
    }

    fn remove(&mut self, end: End) {
        if let Some(at) = self.fresh.iter().position(|other| *other == end) {
            self.fresh.swap_remove(at);
            return;
        }
        let Some(place) = self.place_of(end) else { return };
        let Some(run) = self.runs.get_mut(place) else { return };
        let Some(at) = run.iter().position(|other| *other == end) else { return };
        run.swap_remove(at);
        if run.is_empty() {
            self.bounds.remove(place);
            self.spare = self.runs.remove(place);
        } else {
            shrink(run);
        }
    }

    /// Takes ends that have come out in their order, up to [`ENDS_PER_CALL_MAX`] with those that are in `due`.
    fn take_due(&mut self, now: Timestamp, due: &mut Vec<Fingerprint>) {
        self.settle();
        let mut over = 0;
        for (run, bound) in self.runs.iter_mut().zip(&self.bounds) {
            if due.len() >= ENDS_PER_CALL_MAX || bound.start() > now {
                break;
            }
            run.sort_unstable();
            let come = run.partition_point(|end| end.start() <= now);
            let taken = come.min(ENDS_PER_CALL_MAX - due.len());
            due.extend(run.drain(..taken).map(End::record));
            if !run.is_empty() {
                shrink(run);
                break;
            }
            over += 1;
        }
        self.bounds.drain(..over);
        self.runs.drain(..over);
    }
}

/// Adds an end to a run without room. If that is full, it is parted, and the later one returned with its bound. Equal
/// ends stay together, whatever their number.
fn add(run: &mut Vec<End>, end: End) -> Option<(End, Vec<End>)> {
    let mut later = if run.len() >= RUN_MAX { part(run, end) } else { None };
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
    if run.capacity() > ROOM_KEPT && run.len() < run.capacity() / 2 {
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
        ends.settle();
        let expected = model.iter().flat_map(|(end, count)| std::iter::repeat_n(*end, *count));
        let in_order = |mut run: Vec<End>| {
            run.sort_unstable();
            run
        };
        let all: Vec<End> = ends.runs.into_iter().flat_map(in_order).collect();
        assert_eq!(all, expected.collect::<Vec<_>>());
    }

    #[test]
    fn a_timer_is_armed_for_the_first_of_the_ends_and_for_no_other_one() {
        let deadlines = Deadlines::default();
        let second = |second: u64| Some(Timestamp::from_secs(second));
        let change = |record, old, new| deadlines.change(Fingerprint::from_u32(record), old, new);
        assert_eq!(change(1, None, second(50)), second(50));
        assert_eq!(change(2, None, second(60)), None);
        assert_eq!(change(3, None, second(40)), second(40));
        assert_eq!(change(3, second(40), None), None);
        let due = |now| {
            let (mut due, at) = deadlines.take_due(Timestamp::from_secs(now));
            due.sort_unstable();
            (due.into_iter().map(Fingerprint::as_u32).collect::<Vec<_>>(), at)
        };
        assert_eq!(due(40), (vec![], second(50)));
        assert_eq!(change(4, None, second(55)), None);
        assert_eq!(due(55), (vec![1, 4], second(60)));
        assert_eq!(due(60), (vec![2], None));
        assert_eq!(change(5, None, second(70)), second(70));
        deadlines.clear();
        deadlines.load(Fingerprint::from_u32(6), Timestamp::from_secs(80));
        deadlines.load(Fingerprint::from_u32(7), Timestamp::from_secs(75));
        assert_eq!(deadlines.finish_loading(), second(75));
        assert_eq!(due(100), (vec![6, 7], None));
    }

    #[test]
    fn whoever_adds_an_end_while_others_are_taken_out_is_not_forgotten() {
        let deadlines = Deadlines::default();
        let threads = 4;
        let added: Vec<u32> = (0..threads * 20_000).collect();
        let timer = AtomicU64::new(NONE);
        let arm =
            |at: Option<Timestamp>| at.map(|at| timer.fetch_min(at.as_micros(), Ordering::SeqCst));
        let (left, taken) = (AtomicU64::new(threads.into()), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            let (deadlines, left) = (&deadlines, &left);
            for numbers in added.chunks(20_000) {
                scope.spawn(move || {
                    for number in numbers {
                        let end = Timestamp::from_secs(u64::from(number % 7) + 1);
                        arm(deadlines.change(Fingerprint::from_u32(*number), None, Some(end)));
                    }
                    left.fetch_sub(1, Ordering::SeqCst);
                });
            }
            scope.spawn(|| {
                loop {
                    // Whether they are ready before it is looked whether there is a timer.
                    let ready = left.load(Ordering::SeqCst) == 0;
                    if timer.swap(NONE, Ordering::SeqCst) != NONE {
                        let (due, at) = deadlines.take_due(Timestamp::from_secs(10));
                        taken.lock().unwrap().extend(due.into_iter().map(Fingerprint::as_u32));
                        arm(at);
                    } else if ready {
                        break;
                    }
                }
            });
        });
        let mut taken = taken.into_inner().unwrap();
        taken.sort_unstable();
        assert_eq!(taken, added);
    }

    #[test]
    fn ends_take_hardly_more_room_than_they_need_in_whatever_order_they_come() {
        for step in [1, 7_919] {
            let mut ends = Ends::default();
            for number in 0..100_000_u32 {
                let second = Second(number * step % 100_000);
                ends.insert(End::new(second, Fingerprint::default()));
            }
            let room: usize = ends.runs.iter().map(Vec::capacity).sum();
            assert!(room < 110_000, "{room}");
            assert!(ends.runs.len() < 1_000, "{} runs", ends.runs.len());
        }
    }
}
