//! What waits with the same patience: requests for their answers, challenges for their responses.
//!
//! A timer for each would be armed, kept and come for nothing, since nearly all of what waits is over before its
//! time. Here whoever waits stands in a row in the order of arrival, which is the order of the ends: taking one in
//! and taking it out again touch its place and those of its neighbours, and one timer for the first is enough.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::time::Timestamp;

/// Rows, so that workers seldom meet at one; a power of two.
const ROWS: u64 = 16;

/// Most who wait in one row. It is never reached: whoever uses this bounds how many wait.
const ROW_MAX: u32 = 1 << 28;

/// What is ended by one timer call at most, so that the worker serves others in between.
const ENDS_PER_CALL_MAX: usize = 64;

/// Values that wait, each known by its number, until they are taken or [`Patience::take_due`] gives them up. The
/// lock of a row is an innermost one.
#[derive(Debug)]
pub struct Patience<T> {
    /// How long each may wait.
    time: Duration,
    rows: Box<[Row<T>]>,
    /// How many were ever taken in: whose turn it is among the rows.
    turn: AtomicU64,
    /// When the timer is due that was asked for last, microseconds; zero if it has come.
    armed: AtomicU64,
}

/// One row, on cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Row<T>(Mutex<Waiting<T>>);

/// Who waits in one row.
#[derive(Debug)]
struct Waiting<T> {
    places: Vec<Place<T>>,
    /// The places of the first and the last one, and a free one that leads to the others.
    first: u32,
    last: u32,
    free: u32,
    /// How many were ever taken in.
    count: u32,
}

#[derive(Debug)]
struct Place<T> {
    /// How many had been taken in before: tells who waits here from who did.
    count: u32,
    before: u32,
    behind: u32,
    /// Until when, and what; nothing if the place is free.
    waits: Option<(Timestamp, T)>,
}

/// No place.
const NOWHERE: u32 = u32::MAX;

impl<T> Patience<T> {
    /// Creates empty rows for what may wait for `time`.
    pub fn new(time: Duration) -> Self {
        Self::from_number(time, 0)
    }

    /// As [`Self::new`], with other numbers for another `start`, of which the lower 32 bits count.
    pub fn from_number(time: Duration, start: u64) -> Self {
        let count = u32::try_from(start & u64::from(u32::MAX)).unwrap_or(0);
        Self {
            time,
            rows: (0..ROWS).map(|_| Row(Mutex::new(Waiting::new(count)))).collect(),
            turn: AtomicU64::new(0),
            armed: AtomicU64::new(0),
        }
    }

    /// Takes `value` in. Returns its number, which is above `u32::MAX`, and when a timer is to be armed, if one is.
    pub fn add(&self, now: Timestamp, value: T) -> (u64, Option<Timestamp>) {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % ROWS;
        let due = now + self.time;
        let Some(mut row) = self.row(turn) else { return (0, None) };
        let Some((place, count)) = row.push(due, value) else { return (0, None) };
        drop(row);
        (number_of(turn, place, count), self.arm(due))
    }

    /// Takes out the value of a number, unless that was taken or given up before.
    pub fn take(&self, number: u64) -> Option<T> {
        let (turn, place, count) = parts_of(number);
        self.row(turn)?.take(place, count)
    }

    /// Gives up what has had its time, a few at a time: numbers and values; and when a timer is to
    /// be armed for the rest, if one is.
    pub fn take_due(&self, now: Timestamp) -> (Vec<(u64, T)>, Option<Timestamp>) {
        // Cleared first: whoever comes from here on asks for a timer of its own.
        self.armed.store(0, Ordering::SeqCst);
        let mut due = Vec::new();
        let mut next: Option<Timestamp> = None;
        for (turn, row) in (0..).zip(&self.rows) {
            let mut row = row.lock();
            while due.len() < ENDS_PER_CALL_MAX
                && let Some((place, count, value)) = row.pop_due(now)
            {
                due.push((number_of(turn, place, count), value));
            }
            next = next.into_iter().chain(row.first_due()).min();
        }
        (due, next.and_then(|first| self.arm(first.max(now))))
    }

    /// Forgets all. Their numbers are not used again.
    pub fn clear(&self) {
        for row in &self.rows {
            let mut row = row.lock();
            *row = Waiting::new(row.count);
        }
    }

    /// Asks for a timer at `due`, unless one comes by then.
    fn arm(&self, due: Timestamp) -> Option<Timestamp> {
        let due_micros = due.as_micros();
        let armed = self.armed.load(Ordering::SeqCst);
        if armed != 0 && armed <= due_micros {
            return None;
        }
        self.armed.store(due_micros, Ordering::SeqCst);
        Some(due)
    }

    fn row(&self, turn: u64) -> Option<MutexGuard<'_, Waiting<T>>> {
        self.rows.get(usize::try_from(turn).ok()?).map(Row::lock)
    }
}

/// Row, place, and who it is there.
const fn number_of(turn: u64, place: u32, count: u32) -> u64 {
    ((count as u64) << 32) | ((place as u64) * ROWS) | turn
}

#[expect(clippy::cast_possible_truncation, reason = "each part has so many bits")]
const fn parts_of(number: u64) -> (u64, u32, u32) {
    (number % ROWS, (number as u32) / ROWS as u32, (number >> 32) as u32)
}

impl<T> Row<T> {
    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Waiting<T> {
    const fn new(count: u32) -> Self {
        Self { places: Vec::new(), first: NOWHERE, last: NOWHERE, free: NOWHERE, count }
    }

    /// Takes a value in behind all others; its place, and who it is there.
    fn push(&mut self, due: Timestamp, value: T) -> Option<(u32, u32)> {
        // Never zero, so that numbers below 2^32 are nobody's.
        self.count = self.count.wrapping_add(1).max(1);
        let (count, before) = (self.count, self.last);
        let new = Place { count, before, behind: NOWHERE, waits: Some((due, value)) };
        let place = self.settle(new)?;
        match self.at(before) {
            Some(last) => last.behind = place,
            None => self.first = place,
        }
        self.last = place;
        Some((place, count))
    }

    /// Gives somebody a place.
    fn settle(&mut self, new: Place<T>) -> Option<u32> {
        let place = self.free;
        if let Some(free) = self.at(place) {
            let next = free.behind;
            *free = new;
            self.free = next;
            return Some(place);
        }
        let place = u32::try_from(self.places.len()).ok().filter(|place| *place < ROW_MAX)?;
        self.places.push(new);
        Some(place)
    }

    fn take(&mut self, place: u32, count: u32) -> Option<T> {
        let free = self.free;
        let it = self.at(place).filter(|it| it.count == count)?;
        let (_, value) = it.waits.take()?;
        let (before, behind) = (it.before, std::mem::replace(&mut it.behind, free));
        self.free = place;
        match self.at(before) {
            Some(it) => it.behind = behind,
            None => self.first = behind,
        }
        match self.at(behind) {
            Some(it) => it.before = before,
            None => self.last = before,
        }
        Some(value)
    }

    fn pop_due(&mut self, now: Timestamp) -> Option<(u32, u32, T)> {
        let place = self.first;
        self.first_due().filter(|due| *due <= now)?;
        let count = self.at(place)?.count;
        Some((place, count, self.take(place, count)?))
    }

    fn first_due(&self) -> Option<Timestamp> {
        let first = self.places.get(usize::try_from(self.first).ok()?)?;
        first.waits.as_ref().map(|(due, _)| *due)
    }

    fn at(&mut self, place: u32) -> Option<&mut Place<T>> {
        self.places.get_mut(usize::try_from(place).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(4);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_micros(1_800_000_000_000_000 + millis * 1_000)
    }

    /// Who waits, by a model.
    #[test]
    fn whoever_is_taken_out_in_whatever_order_the_others_keep_theirs() {
        let mut seed = 7_u64;
        let mut draw = |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            usize::try_from(seed % below as u64).unwrap()
        };
        let patience = Patience::new(TIME);
        let mut model: Vec<(u64, Timestamp, u64)> = Vec::new();
        let mut now = 0;
        for value in 0..20_000_u64 {
            now += u64::try_from(draw(3)).unwrap();
            let (number, _) = patience.add(at(now), value);
            model.push((number, at(now + 4_000), value));
            if draw(2) == 0 {
                let (number, _, value) = model.remove(draw(model.len()));
                assert_eq!(patience.take(number), Some(value));
                assert_eq!(patience.take(number), None);
            }
            if draw(100) == 0 {
                now += u64::try_from(draw(5_000)).unwrap();
                loop {
                    let (due, _) = patience.take_due(at(now));
                    if due.is_empty() {
                        break;
                    }
                    for (number, value) in due {
                        let found = model.iter().position(|it| (it.0, it.2) == (number, value));
                        assert!(model.remove(found.unwrap()).1 <= at(now));
                    }
                }
                assert!(model.iter().all(|(_, due, _)| *due > at(now)));
            }
        }
    }

    fn values(due: Vec<(u64, char)>) -> Vec<char> {
        due.into_iter().map(|(_, value)| value).collect()
    }

    #[test]
    fn who_is_taken_in_time_is_not_given_up() {
        let patience = Patience::new(TIME);
        let (a, timer) = patience.add(at(0), 'a');
        assert_eq!(timer, Some(at(4_000)));
        let (b, timer) = patience.add(at(10), 'b');
        assert_eq!(timer, None, "one timer is enough");
        assert_eq!((patience.take(a), patience.take(a)), (Some('a'), None));
        let (due, timer) = patience.take_due(at(4_000));
        assert_eq!((values(due), timer), (vec![], Some(at(4_010))));
        let (due, timer) = patience.take_due(at(4_010));
        assert_eq!((due, timer), (vec![(b, 'b')], None));
        assert_eq!(patience.take(b), None);
        assert_eq!(patience.add(at(5_000), 'c').1, Some(at(9_000)));
    }

    #[test]
    fn no_number_is_used_twice_even_after_all_were_forgotten() {
        let patience = Patience::new(TIME);
        let mut seen = std::collections::BTreeSet::from([0]);
        for turn in 0..200 {
            let (number, _) = patience.add(at(turn), turn);
            assert!(seen.insert(number) && number > u32::MAX.into());
            if turn % 3 == 0 {
                assert_eq!(patience.take(number), Some(turn));
            }
            if turn % 50 == 49 {
                patience.clear();
                assert_eq!(patience.take(number), None);
            }
        }
    }

    #[test]
    fn many_that_are_due_together_are_given_up_bit_by_bit_and_all_of_them() {
        let patience = Patience::new(TIME);
        for value in 0..1_000 {
            patience.add(at(0), value);
        }
        let mut given_up = Vec::new();
        let mut timer = Some(at(4_000));
        while let Some(when) = timer {
            let (due, next) = patience.take_due(when);
            assert!((1..=ENDS_PER_CALL_MAX).contains(&due.len()));
            given_up.extend(due.into_iter().map(|(_, value)| value));
            timer = next;
        }
        given_up.sort_unstable();
        assert_eq!(given_up, (0..1_000).collect::<Vec<_>>());
    }
}
