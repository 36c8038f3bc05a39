//! What happened when: the intervals of a run, collected from all threads while it runs.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::recorder::Latencies;

/// Intervals that a run is divided into, about.
const INTERVALS: u32 = 60;

/// The shortest and the longest interval.
const INTERVAL_MIN: Duration = Duration::from_millis(200);
const INTERVAL_MAX: Duration = Duration::from_secs(10);

/// Most intervals that are kept: more than a day of the longest.
const INTERVALS_MAX: usize = 10_000;

/// What all threads saw, by interval.
pub(super) struct Timeline {
    interval: u64,
    collected: Mutex<BTreeMap<u64, Interval>>,
}

/// What was seen in one interval.
#[derive(Clone)]
pub(super) struct Interval {
    pub(super) started: u64,
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    pub(super) latencies: Latencies,
}

/// One thread's part of an interval.
pub(super) struct Current {
    number: u64,
    seen: Interval,
}

impl Timeline {
    /// The timeline of a run that takes about so long.
    pub(super) fn new(time: Duration) -> Self {
        let interval = (time / INTERVALS).clamp(INTERVAL_MIN, INTERVAL_MAX);
        let interval = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        Self { interval, collected: Mutex::default() }
    }

    /// How long an interval is.
    pub(super) const fn interval(&self) -> Duration {
        Duration::from_nanos(self.interval)
    }

    /// Hands what `current` has seen over if its interval is over, and lets it begin the next one.
    pub(super) fn roll(&self, current: &mut Current, now: u64) {
        let number = now / self.interval;
        if number != current.number {
            self.hand_over(current);
            current.number = number;
        }
    }

    /// Hands over what `current` has seen.
    pub(super) fn hand_over(&self, current: &mut Current) {
        if current.seen.is_empty() {
            return;
        }
        let mut collected = self.collected.lock().unwrap_or_else(PoisonError::into_inner);
        if collected.len() < INTERVALS_MAX || collected.contains_key(&current.number) {
            collected.entry(current.number).or_insert_with(Interval::new).add(&current.seen);
        }
        current.seen.clear();
    }

    /// What is known of interval `number`.
    pub(super) fn get(&self, number: u64) -> Option<Interval> {
        let collected = self.collected.lock().unwrap_or_else(PoisonError::into_inner);
        collected.get(&number).cloned()
    }

    /// All intervals with their numbers, those without events left out.
    pub(super) fn into_intervals(self) -> BTreeMap<u64, Interval> {
        self.collected.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Current {
    pub(super) fn new() -> Self {
        Self { number: 0, seen: Interval::new() }
    }

    pub(super) const fn started(&mut self) {
        self.seen.started += 1;
    }

    pub(super) const fn failed(&mut self) {
        self.seen.failed += 1;
    }

    pub(super) fn succeeded(&mut self, nanos: u64) {
        self.seen.succeeded += 1;
        self.seen.latencies.record(nanos);
    }
}

impl Interval {
    pub(super) fn new() -> Self {
        Self { started: 0, succeeded: 0, failed: 0, latencies: Latencies::coarse() }
    }

    const fn is_empty(&self) -> bool {
        self.started == 0 && self.succeeded == 0 && self.failed == 0
    }

    /// Adds what was seen elsewhere.
    pub(super) fn add(&mut self, other: &Self) {
        self.started += other.started;
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.latencies.add(&other.latencies);
    }

    fn clear(&mut self) {
        (self.started, self.succeeded, self.failed) = (0, 0, 0);
        self.latencies.0.reset();
    }
}
