//! The timers of one worker.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::{outbox::TimerKey, time::Timestamp};

/// Most timers of one worker. A timer that does not fit is not armed, and counted as an error.
pub(super) const TIMERS_MAX: usize = 16_000_000;

/// How exactly timers are kept, microseconds: none comes early, and none later than this for that reason.
const TICK_MICROS: u64 = 16_384;

/// Ticks that the wheel is ahead: 67 s, which is beyond all timers of transactions, requests and challenges.
const SLOTS: u64 = 4_096;

/// The timers that were armed on one worker, earliest first.
///
/// Most are about something that is over long before: a request that was answered, a transaction that was
/// completed. They are not taken back, for that would cost more than to let them come: arming one is putting it
/// behind others of the same tick on a wheel.
#[derive(Debug, Default)]
pub(super) struct TimerQueue {
    timers: Mutex<Timers>,
    earlier: Notify,
}

#[derive(Debug)]
struct Timers {
    /// Timers of the ticks after `passed`, each in the slot of its tick.
    wheel: Box<[Vec<TimerKey>]>,
    /// Which slots have any: a bit for each.
    filled: Box<[u64]>,
    /// Timers that were armed further ahead than the wheel is, by tick.
    far: BTreeMap<u64, Vec<TimerKey>>,
    /// The last tick whose timers are due, and were taken off the wheel.
    passed: u64,
    /// They, latest first.
    due: Vec<TimerKey>,
    count: usize,
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
        if timers.count >= TIMERS_MAX {
            return Err(TimersFull);
        }
        let is_first = timers.put(at.as_micros().div_ceil(TICK_MICROS), timer);
        drop(timers);
        if is_first {
            self.earlier.notify_one();
        }
        Ok(())
    }

    /// Takes out a timer that is due at `now`.
    pub(super) fn pop_due(&self, now: Timestamp) -> Option<TimerKey> {
        let mut timers = self.lock();
        if timers.due.is_empty() {
            timers.turn(now.as_micros() / TICK_MICROS);
        }
        let timer = timers.due.pop()?;
        timers.count -= 1;
        Some(timer)
    }

    /// When the next timer is due.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        let timers = self.lock();
        let tick = if timers.due.is_empty() { timers.first()? } else { timers.passed };
        Some(Timestamp::from_micros(tick.saturating_mul(TICK_MICROS)))
    }

    /// Returns when a timer was armed that is due before all others.
    pub(super) async fn armed_earlier(&self) {
        self.earlier.notified().await;
    }

    /// How many timers are armed.
    pub(super) fn len(&self) -> usize {
        self.lock().count
    }

    fn lock(&self) -> MutexGuard<'_, Timers> {
        self.timers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            wheel: (0..SLOTS).map(|_| Vec::new()).collect(),
            filled: (0..SLOTS / 64).map(|_| 0).collect(),
            far: BTreeMap::new(),
            passed: 0,
            due: Vec::new(),
            count: 0,
        }
    }
}

impl Timers {
    /// Puts a timer to its tick, or to the next one if that has passed; whether it comes before all others.
    fn put(&mut self, tick: u64, timer: TimerKey) -> bool {
        let tick = tick.max(self.passed + 1);
        let is_first = self.due.is_empty() && self.first().is_none_or(|first| tick < first);
        self.count += 1;
        let slot = if tick - self.passed <= SLOTS { self.wheel.get_mut(index(tick)) } else { None };
        match slot {
            Some(slot) => {
                slot.push(timer);
                self.mark(tick, true);
            }
            None => self.far.entry(tick).or_default().push(timer),
        }
        is_first
    }

    /// Makes the timers of the first tick due that has any, if it is not after `now`.
    fn turn(&mut self, now: u64) {
        let first = self.first().filter(|first| *first <= now);
        // With nothing between them, the ticks up to now have passed too.
        self.passed = first.unwrap_or(now).max(self.passed);
        let Some(tick) = first else { return };
        if let Some(slot) = self.wheel.get_mut(index(tick)) {
            std::mem::swap(slot, &mut self.due);
        }
        self.mark(tick, false);
        self.due.extend(self.far.remove(&tick).into_iter().flatten());
        self.due.reverse();
    }

    /// The first tick after the one passed that has timers.
    fn first(&self) -> Option<u64> {
        let far = self.far.first_key_value().map(|(tick, _)| *tick);
        let near = self.first_on_the_wheel();
        near.into_iter().chain(far).min()
    }

    fn first_on_the_wheel(&self) -> Option<u64> {
        let from = self.passed + 1;
        let words = self.filled.len() as u64;
        // The word of the first slot is looked at twice: from that slot on, and at last up to it.
        (0..=words).find_map(|number| {
            let word = (from % SLOTS / 64 + number) % words;
            let bits = self.filled.get(usize::try_from(word).ok()?).copied()?;
            let before = (1_u64 << (from % 64)) - 1;
            let bits = match number {
                0 => bits & !before,
                _ if number == words => bits & before,
                _ => bits,
            };
            let slot = word * 64 + u64::from(bits.trailing_zeros());
            (bits != 0).then(|| from + (slot + SLOTS - from % SLOTS) % SLOTS)
        })
    }

    fn mark(&mut self, tick: u64, is_filled: bool) {
        if let Some(word) = self.filled.get_mut(index(tick) / 64) {
            let bit = 1 << (tick % 64);
            if is_filled { *word |= bit } else { *word &= !bit }
        }
    }
}

/// The slot of a tick.
fn index(tick: u64) -> usize {
    usize::try_from(tick % SLOTS).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::outbox::{Role, TimerWhat};

    fn timer(what: u64) -> TimerKey {
        TimerKey { role: Role::SipCore, what: TimerWhat::MigrationTimeout(what), version: 1 }
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn number(timer: &TimerKey) -> u64 {
        let TimerWhat::MigrationTimeout(number) = timer.what else { panic!("{timer:?}") };
        number
    }

    #[test]
    fn timers_come_in_order_of_time_and_not_before_it() {
        let queue = TimerQueue::default();
        for (secs, what) in [(30, 3), (10, 1), (20_000, 4), (20, 2)] {
            queue.arm(at(secs), timer(what)).unwrap();
        }
        assert_eq!(queue.pop_due(at(9)), None);
        let next = queue.next_due().unwrap();
        assert!(next >= at(10) && next.since(at(10)).as_micros() < TICK_MICROS.into());
        assert_eq!(queue.pop_due(at(10)), None, "the tick is not over");
        for (secs, what) in [(21, 1), (21, 2), (31, 3), (20_001, 4)] {
            assert_eq!(queue.pop_due(at(secs)), Some(timer(what)));
        }
        assert_eq!((queue.pop_due(at(30_000)), queue.next_due(), queue.len()), (None, None, 0));
    }

    #[test]
    fn one_timer_may_be_due_twice() {
        let queue = TimerQueue::default();
        queue.arm(at(10), timer(7)).unwrap();
        queue.arm(at(20), timer(7)).unwrap();
        assert_eq!(queue.pop_due(at(30)), Some(timer(7)));
        assert_eq!(queue.pop_due(at(30)), Some(timer(7)));
        assert_eq!(queue.pop_due(at(30)), None);
    }

    #[test]
    fn the_wheel_is_the_sorted_set_that_it_stands_for() {
        let mut seed = 1_u64;
        let mut draw = |below: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % below
        };
        let queue = TimerQueue::default();
        let mut model: BTreeSet<(u64, u64)> = BTreeSet::new();
        let mut dues = Vec::new();
        let mut now = 1_800_000_000_000_000_u64;
        for what in 0..200_000 {
            let spans = [0, 1_000, 100_000, 3_500_000, 32_000_000, 90_000_000, 4_000_000_000];
            let span = spans[usize::try_from(draw(7)).unwrap()];
            let due = now + draw(span + 1);
            queue.arm(Timestamp::from_micros(due), timer(what)).unwrap();
            model.insert((due, what));
            dues.push(due);
            if draw(3) == 0 {
                let step = [20_000, 500_000, 5_000_000][usize::try_from(draw(3)).unwrap()];
                now += draw(step);
                let mut last_tick = 0;
                while let Some(timer) = queue.pop_due(Timestamp::from_micros(now)) {
                    let what = number(&timer);
                    let due = dues[usize::try_from(what).unwrap()];
                    assert!(due <= now, "{what} came early");
                    let tick = due.div_ceil(TICK_MICROS);
                    assert!(tick >= last_tick, "{what} came after later ones");
                    last_tick = tick;
                    assert!(model.remove(&(due, what)), "{what} came twice");
                }
                if let Some((first, what)) = model.first() {
                    assert!(first + TICK_MICROS > now, "{what} did not come");
                }
                assert_eq!(queue.len(), model.len());
            }
        }
    }
}
