//! Over how many locks a table is spread, and unevenly: a hash table doubles when it is full, and equal shards
//! would all double at about the same time, so that half of what the table takes would be empty then.
//! Shards of all sizes between one and two double one after the other.

use std::{
    hash::Hash,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use ahash::RandomState;
use hashbrown::HashTable;

/// Shards of a table: fixed, so that behaviour does not depend on the machine.
const SHARDS: u64 = 64;
/// The share of the first shard; that of each further one is larger by one.
const SHARE: u64 = 64;
const SHARES: u64 = SHARDS * SHARE + SHARDS * (SHARDS - 1) / 2;

/// A hash of a key, by which a record is found: two keys may have the same.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Fingerprint(pub(super) u32);

/// Shards, each with its lock.
#[derive(Debug)]
pub(super) struct Shards<T> {
    shards: Box<[RwLock<T>]>,
    /// Which shard each share belongs to.
    shares: Box<[u8]>,
}

impl<T: Default> Shards<T> {
    pub(super) fn new() -> Self {
        let shares = (0..=u8::MAX)
            .zip(SHARE..SHARE + SHARDS)
            .flat_map(|(shard, share)| (0..share).map(move |_| shard));
        Self { shards: (0..SHARDS).map(|_| RwLock::default()).collect(), shares: shares.collect() }
    }

    pub(super) fn read(&self, fingerprint: Fingerprint) -> RwLockReadGuard<'_, T> {
        self.shard(fingerprint).read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self, fingerprint: Fingerprint) -> RwLockWriteGuard<'_, T> {
        self.shard(fingerprint).write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds up what `count` finds in each shard, one after the other.
    pub(super) fn sum(&self, count: impl Fn(&T) -> usize) -> usize {
        let count =
            |shard: &RwLock<T>| count(&shard.read().unwrap_or_else(PoisonError::into_inner));
        self.shards.iter().map(count).sum()
    }

    pub(super) fn clear(&self) {
        for shard in &self.shards {
            *shard.write().unwrap_or_else(PoisonError::into_inner) = T::default();
        }
    }

    #[expect(clippy::indexing_slicing, reason = "shares and shards are as many as their numbers")]
    fn shard(&self, fingerprint: Fingerprint) -> &RwLock<T> {
        let share = (u64::from(fingerprint.0) * SHARES) >> 32;
        let shard = self.shares[usize::try_from(share).unwrap_or(0)];
        &self.shards[usize::from(shard)]
    }
}

impl Fingerprint {
    pub(super) fn of<T: Hash + ?Sized>(hasher: &RandomState, key: &T) -> Self {
        let [a, b, c, d, ..] = hasher.hash_one(key).to_be_bytes();
        Self(u32::from_be_bytes([a, b, c, d]))
    }

    /// Within a shard the upper bits are alike; a hash table wants them to differ too.
    fn spread(self) -> u64 {
        u64::from(self.0).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// What a hash table keeps by a fingerprint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot<T> {
    pub(super) fingerprint: Fingerprint,
    pub(super) what: T,
}

/// A hash table by fingerprint. Two entries may have the same.
#[derive(Debug)]
pub(super) struct Slots<T>(HashTable<Slot<T>>);

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self(HashTable::new())
    }
}

impl<T: Copy> Slots<T> {
    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// What is kept by `fingerprint`.
    pub(super) fn all(&self, fingerprint: Fingerprint) -> impl Iterator<Item = T> {
        let same = move |slot: &&Slot<T>| slot.fingerprint == fingerprint;
        self.0.iter_hash(fingerprint.spread()).filter(same).map(|slot| slot.what)
    }

    /// The entry that is `wanted`.
    pub(super) fn find(&self, fingerprint: Fingerprint, wanted: impl Fn(T) -> bool) -> Option<T> {
        let same = |slot: &Slot<T>| slot.fingerprint == fingerprint && wanted(slot.what);
        self.0.find(fingerprint.spread(), same).map(|slot| slot.what)
    }

    /// Adds an entry.
    pub(super) fn insert(&mut self, fingerprint: Fingerprint, what: T) {
        let slot = Slot { fingerprint, what };
        self.0.insert_unique(fingerprint.spread(), slot, |slot| slot.fingerprint.spread());
    }

    /// Changes the entry that is `wanted`, or removes it if it becomes `None`.
    pub(super) fn change(
        &mut self,
        fingerprint: Fingerprint,
        wanted: impl Fn(T) -> bool,
        new: Option<T>,
    ) {
        let same = |slot: &Slot<T>| slot.fingerprint == fingerprint && wanted(slot.what);
        if let Ok(mut entry) = self.0.find_entry(fingerprint.spread(), same) {
            match new {
                Some(what) => entry.get_mut().what = what,
                None => drop(entry.remove()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fingerprint_has_a_shard_and_no_shard_has_more_than_twice_of_another() {
        let shards: Shards<u64> = Shards::new();
        for step in 0..1_000_000_u64 {
            let fingerprint = Fingerprint(u32::try_from(step * 4_294).unwrap());
            *shards.write(fingerprint) += 1;
        }
        *shards.write(Fingerprint(u32::MAX)) += 1;
        let counts: Vec<u64> = shards.shards.iter().map(|shard| *shard.read().unwrap()).collect();
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(*least > 10_000 && most <= &(2 * least), "{counts:?}");
        assert_eq!(shards.shares.len() as u64, SHARES);
    }
}
