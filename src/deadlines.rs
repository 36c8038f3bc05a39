//! When things end, for a role that keeps a million of them: in the order of their ends, with one timer for the
//! first.
//!
//! A timer for each would cost some hundred octets, outlive what was refreshed or released, and a start
//! would arm millions.

use std::{
    collections::{BTreeMap, btree_map},
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
///
/// Most ends are far away and change before they come. Those are kept by the minute in no order, so that to
/// note one takes no search through a million; they are put in order when their minute comes.
#[derive(Debug, Default)]
pub struct Deadlines(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// How many records with this fingerprint end in this second, which is one unless hashes collide. Of the
    /// minutes before `far_from`.
    near: BTreeMap<End, u8>,
    /// The minutes from `far_from` on.
    far: BTreeMap<Minute, Unordered>,
    far_from: Minute,
    /// The earliest timer that may not have come yet.
    armed: Option<Timestamp>,
}

type End = (Second, Fingerprint);

/// The ends of one minute.
#[derive(Debug)]
struct Unordered {
    ends: Vec<End>,
    /// Those of `ends` that count no more.
    cancelled: Vec<End>,
    /// Nothing ends before.
    first: Second,
}

/// [`MINUTE_SECONDS`] since the Unix epoch, and how often they were.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
struct Minute(u32);

/// Long enough that a minute has more than one end where there are many at all.
const MINUTE_SECONDS: u32 = 64;

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

    const fn minute(self) -> Minute {
        Minute(self.0 / MINUTE_SECONDS)
    }
}

impl Minute {
    const fn start(self) -> Second {
        Second(self.0.saturating_mul(MINUTE_SECONDS))
    }

    const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
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
            state.remove((Second::not_before(old), record));
        }
        state.insert((Second::not_before(new?), record));
        state.arm(now)
    }

    /// Takes a stored end in; [`Self::finish_loading`] follows after the last one.
    pub fn load(&self, record: Fingerprint, end: Timestamp) {
        self.lock().insert((Second::not_before(end), record));
    }

    /// Returns when a timer for the first end that was loaded is to be armed, if one is.
    pub fn finish_loading(&self, now: Timestamp) -> Option<Timestamp> {
        self.lock().arm(now)
    }

    /// Takes out up to [`ENDS_PER_CALL_MAX`] records whose end has come, earliest first, and returns them and
    /// when a timer for the next is to be armed. The caller ends each, unless its record says that it has
    /// not ended; whoever prolonged it has taken note of that here.
    pub fn take_due(&self, now: Timestamp) -> (Vec<Fingerprint>, Option<Timestamp>) {
        let mut state = self.lock();
        state.order(now);
        let mut due = Vec::new();
        while due.len() < ENDS_PER_CALL_MAX
            && let Some(first) = state.near.first_entry()
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
    fn insert(&mut self, end: End) {
        let minute = end.0.minute();
        if minute < self.far_from {
            let count = self.near.entry(end).or_default();
            *count = count.saturating_add(1);
        } else {
            self.far.entry(minute).or_insert_with(|| Unordered::new(end.0)).insert(end);
        }
    }

    fn remove(&mut self, end: End) {
        match self.near.get_mut(&end) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) => drop(self.near.remove(&end)),
            None => {
                // There is none if it was taken out as due.
                if let btree_map::Entry::Occupied(mut minute) = self.far.entry(end.0.minute())
                    && minute.get_mut().cancel(end)
                {
                    minute.remove();
                }
            }
        }
    }

    /// Puts the ends in order whose minute has come.
    fn order(&mut self, now: Timestamp) {
        while let Some(minute) = self.far.first_entry()
            && minute.key().start().start() <= now
        {
            let (minute, mut unordered) = minute.remove_entry();
            self.far_from = minute.next();
            unordered.settle();
            for run in unordered.ends.chunk_by(|one, next| one == next) {
                if let Some(end) = run.first() {
                    self.near.insert(*end, u8::try_from(run.len()).unwrap_or(u8::MAX));
                }
            }
        }
    }

    fn arm(&mut self, now: Timestamp) -> Option<Timestamp> {
        let near = self.near.first_key_value().map(|(end, _)| end.0);
        let far = self.far.first_key_value().map(|(_, minute)| minute.first);
        let first = near.or(far)?.start();
        let coming = self.armed.filter(|at| *at > now);
        if coming.is_some_and(|at| at <= first) {
            return None;
        }
        self.armed = Some(first);
        self.armed
    }
}

impl Unordered {
    const fn new(first: Second) -> Self {
        Self { ends: Vec::new(), cancelled: Vec::new(), first }
    }

    fn insert(&mut self, end: End) {
        self.first = self.first.min(end.0);
        self.ends.push(end);
    }

    /// Makes one that is there count no more; whether none is left. Not searched for at once: that is done
    /// for many together, so that one costs little, and what does not count takes half of the room at most.
    fn cancel(&mut self, end: End) -> bool {
        self.cancelled.push(end);
        if self.cancelled.len() >= self.ends.len().div_ceil(2) {
            self.settle();
        }
        self.ends.is_empty()
    }

    /// Takes out what counts no more, and leaves the others in order.
    fn settle(&mut self) {
        self.ends.sort_unstable();
        self.cancelled.sort_unstable();
        let mut cancelled = self.cancelled.drain(..).peekable();
        self.ends.retain(|end| {
            while cancelled.next_if(|it| it < end).is_some() {}
            cancelled.next_if_eq(end).is_none()
        });
        if let Some(end) = self.ends.first() {
            self.first = end.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        entropy::Entropy,
        identity::Impi,
        packed::{Packed, PackedTable, Reader, Writer},
    };

    struct Empty;

    impl Packed for Empty {
        fn pack(&self, _to: &mut Writer<'_>) {}

        fn unpack(_from: &mut Reader<'_>) -> Option<Self> {
            Some(Self)
        }
    }

    struct Zeros;

    impl Entropy for Zeros {
        fn fill(&mut self, out: &mut [u8]) {
            out.fill(0);
        }
    }

    /// The fingerprints of so many records, all different.
    fn records(count: usize) -> Vec<Fingerprint> {
        let table: PackedTable<Empty> = PackedTable::new(&mut Zeros);
        let record = |n| table.fingerprint(&Impi::parse(&format!("user{n}@a.example")).unwrap());
        (0..count).map(record).collect()
    }

    /// What a role does: every record has one end at most, which is taken note of.
    #[test]
    fn every_end_comes_once_in_its_order_and_none_that_was_changed() {
        let (deadlines, records) = (Deadlines::default(), records(500));
        let mut ends: BTreeMap<Fingerprint, Timestamp> = BTreeMap::new();
        let mut random = 1_u64;
        let mut draw = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % below
        };
        let (mut now, mut timer) = (Timestamp::from_secs(1_000), None::<Timestamp>);
        let mut ended = 0;
        for _ in 0..200_000 {
            let record = records[usize::try_from(draw(500)).unwrap()];
            let span = [10, 100, 10_000][usize::try_from(draw(3)).unwrap()];
            let new = (draw(4) > 0).then(|| now + Duration::from_millis(1 + draw(span * 1_000)));
            let old = ends.remove(&record);
            ends.extend(new.map(|new| (record, new)));
            timer = deadlines.change(now, record, old, new).or(timer);
            now = now + Duration::from_millis(draw(200));
            while timer.is_some_and(|at| at <= now) {
                let (due, at) = deadlines.take_due(now);
                timer = at;
                for record in due {
                    let end = ends.remove(&record).unwrap();
                    assert!(end <= now, "it ended before its time");
                    ended += 1;
                }
            }
            let late = |end: &&Timestamp| **end + Duration::from_secs(1) <= now;
            assert_eq!(ends.values().find(late), None, "the timer did not come for it");
        }
        assert!(ended > 1_000, "{ended}");
    }

    #[test]
    fn what_was_changed_leaves_nothing_behind() {
        let (deadlines, records) = (Deadlines::default(), records(100));
        let (now, far) = (Timestamp::from_secs(1), Timestamp::from_secs(1_000_000));
        let kept = |deadlines: &Deadlines| {
            let state = deadlines.lock();
            let far = state.far.values().map(|it| it.ends.capacity() + it.cancelled.capacity());
            state.near.len() + far.sum::<usize>()
        };
        for record in &records {
            deadlines.change(now, *record, None, Some(far));
        }
        for record in records.iter().cycle().take(100_000) {
            deadlines.change(now, *record, Some(far), Some(far));
        }
        assert!(kept(&deadlines) < 1_000, "{}", kept(&deadlines));
        for record in &records {
            deadlines.change(now, *record, Some(far), None);
        }
        assert_eq!(kept(&deadlines), 0);
    }
}
