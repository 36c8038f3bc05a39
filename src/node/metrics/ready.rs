//! Counters that are counted up for every message: found by number, not by hashing their labels each time.

use std::{fmt, hash::Hash, sync::OnceLock};

use prometheus_client::metrics::{counter::Counter, family::Family};

/// A family of counters of which the first few have numbers. A counter appears when it is first counted up.
pub(super) struct Ready<L> {
    family: Family<L, Counter>,
    counters: Box<[OnceLock<Counter>]>,
}

impl<L: Clone + Eq + Hash> Ready<L> {
    /// Creates a family with so many numbers.
    pub(super) fn new(numbers: usize) -> Self {
        Self::over(Family::default(), numbers)
    }

    /// Gives so many counters of a family numbers.
    pub(super) fn over(family: Family<L, Counter>, numbers: usize) -> Self {
        let counters = (0..numbers).map(|_| OnceLock::new()).collect();
        Self { family, counters }
    }

    /// The family, to be registered.
    pub(super) const fn family(&self) -> &Family<L, Counter> {
        &self.family
    }

    /// Counts the counter of `labels` up, which is that of `number` and no other.
    pub(super) fn inc(&self, number: usize, labels: impl FnOnce() -> L) {
        match self.counters.get(number) {
            Some(counter) => {
                counter.get_or_init(|| self.family.get_or_create(&labels()).clone()).inc()
            }
            None => self.family.get_or_create(&labels()).inc(),
        };
    }
}

impl<L> fmt::Debug for Ready<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ready")
    }
}
