//! A second way to records of a table: by something else than their key.

use std::{hash::Hash, sync::RwLockWriteGuard};

use ahash::RandomState;

use super::{
    shards::{Fingerprint, Shards},
    slots::Slots,
};
use crate::{entropy::Entropy, table::new_hasher};

/// Hashes of what records are looked up by, each with the fingerprint of the record. Whoever looks up
/// compares with what the record says: two may have the same hash.
#[derive(Debug)]
pub struct Index {
    shards: Shards<Slots<Fingerprint>>,
    hasher: RandomState,
}

/// A locked part of an [`Index`], the one that an entry belongs to.
#[derive(Debug)]
pub struct IndexShard<'a> {
    slots: RwLockWriteGuard<'a, Slots<Fingerprint>>,
    entry: Fingerprint,
}

impl Index {
    /// Creates an empty index whose hasher is keyed from `entropy`.
    pub fn new(entropy: &mut dyn Entropy) -> Self {
        Self { shards: Shards::new(), hasher: new_hasher(entropy) }
    }

    /// The records that may be those of `entry`.
    pub fn candidates(&self, entry: &impl Hash) -> Vec<Fingerprint> {
        let entry = Fingerprint::of(&self.hasher, entry);
        self.shards.read(entry).all(entry).collect()
    }

    /// Locks the part that `entry` belongs to, and has what is looked at first fetched.
    pub fn lock(&self, entry: &impl Hash) -> IndexShard<'_> {
        let entry = Fingerprint::of(&self.hasher, entry);
        let slots = self.shards.write(entry);
        slots.prefetch(entry);
        IndexShard { slots, entry }
    }

    /// Forgets all entries.
    pub fn clear(&self) {
        self.shards.clear();
    }
}

impl IndexShard<'_> {
    /// The records that may be those of the entry locked.
    pub fn candidates(&self) -> Vec<Fingerprint> {
        self.slots.all(self.entry).collect()
    }

    /// Adds that `record` is the entry's.
    pub fn insert(&mut self, record: Fingerprint) {
        self.slots.insert(self.entry, record);
    }

    /// Removes that `record` is the entry's.
    pub fn remove(&mut self, record: Fingerprint) {
        self.slots.change(self.entry, |other| other == record, None);
    }
}
