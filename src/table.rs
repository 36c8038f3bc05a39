//! The one concurrent map that roles keep state in, and the count that bounds it.

use std::{
    hash::Hash,
    sync::atomic::{AtomicUsize, Ordering},
};

use dashmap::DashMap;

use crate::entropy::Entropy;

/// Shards of every table: fixed, so that behaviour does not depend on the machine.
const SHARDS: usize = 64;

/// A concurrent map from `K` to `V`, one lock a shard. Roles look up and change entries; they never
/// iterate, so the simulated world stays deterministic.
pub type Table<K, V> = DashMap<K, V, ahash::RandomState>;

/// Creates an empty table whose hasher is keyed from `entropy`, so that a peer that chooses keys
/// cannot make them collide.
pub fn new_table<K: Eq + Hash, V>(entropy: &mut dyn Entropy) -> Table<K, V> {
    DashMap::with_hasher_and_shard_amount(new_hasher(entropy), SHARDS)
}

/// A hasher keyed from `entropy`.
pub fn new_hasher(entropy: &mut dyn Entropy) -> ahash::RandomState {
    ahash::RandomState::with_seeds(
        entropy.next_u64(),
        entropy.next_u64(),
        entropy.next_u64(),
        entropy.next_u64(),
    )
}

/// How many entries a table has and may have. Counted apart, because the length of a sharded table
/// is found only by locking all of it.
#[derive(Debug)]
pub struct Bound {
    used: AtomicUsize,
    max: usize,
}

impl Bound {
    /// Creates a count of none that goes up to `max`.
    pub const fn new(max: usize) -> Self {
        Self { used: AtomicUsize::new(0), max }
    }

    /// Takes one place, or none if all are taken.
    pub fn take(&self) -> bool {
        self.take_many(1)
    }

    /// Takes `count` places or none.
    pub fn take_many(&self, count: usize) -> bool {
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(count).filter(|sum| *sum <= self.max)
            })
            .is_ok()
    }

    /// How many places are taken.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether no place is taken.
    pub fn is_unused(&self) -> bool {
        self.used() == 0
    }

    /// Whether `count` places are free now.
    pub fn has_room(&self, count: usize) -> bool {
        self.used().checked_add(count).is_some_and(|sum| sum <= self.max)
    }

    /// Takes one place even beyond the maximum: for what is stored already.
    pub fn take_loaded(&self) {
        self.take_many_loaded(1);
    }

    /// Takes `count` places even beyond the maximum: for what is stored already.
    pub fn take_many_loaded(&self, count: usize) {
        self.used.fetch_add(count, Ordering::Relaxed);
    }

    /// Gives one place back.
    pub fn give(&self) {
        self.give_many(1);
    }

    /// Gives `count` places back.
    pub fn give_many(&self, count: usize) {
        self.used.fetch_sub(count, Ordering::Relaxed);
    }

    /// Gives all places back.
    pub fn reset(&self) {
        self.used.store(0, Ordering::Relaxed);
    }
}
