//! Over how many locks a table is spread, and unevenly: a shard grows when it is full, and equal shards would
//! all grow at about the same time, and be at their emptiest then. Shards of all sizes between one and two
//! grow one after the other.

use std::{
    hash::Hash,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use ahash::RandomState;

/// Shards of a table: fixed, so that behaviour does not depend on the machine.
const SHARDS: u64 = 64;
/// The share of the first shard; that of each further one is larger by one.
const SHARE: u64 = 64;
const SHARES: u64 = SHARDS * SHARE + SHARDS * (SHARDS - 1) / 2;

/// A hash of a key, by which a record is found: two keys may have the same.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Fingerprint(pub(super) u32);

/// Shards, each with its lock.
#[derive(Debug)]
pub(super) struct Shards<T> {
    shards: Box<[Shard<T>]>,
    /// Which shard each share belongs to.
    shares: Box<[u8]>,
}

/// Begins a cache line of its own, so that workers in different shards do not wait for each other.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard<T>(RwLock<T>);

impl<T: Default> Shards<T> {
    pub(super) fn new() -> Self {
        let shares = (0..=u8::MAX)
            .zip(SHARE..SHARE + SHARDS)
            .flat_map(|(shard, share)| (0..share).map(move |_| shard));
        Self { shards: (0..SHARDS).map(|_| Shard::default()).collect(), shares: shares.collect() }
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
            |shard: &Shard<T>| count(&shard.0.read().unwrap_or_else(PoisonError::into_inner));
        self.shards.iter().map(count).sum()
    }

    pub(super) fn clear(&self) {
        for shard in &self.shards {
            *shard.0.write().unwrap_or_else(PoisonError::into_inner) = T::default();
        }
    }

    #[expect(clippy::indexing_slicing, reason = "shares and shards are as many as their numbers")]
    fn shard(&self, fingerprint: Fingerprint) -> &RwLock<T> {
        let share = (u64::from(fingerprint.0) * SHARES) >> 32;
        let shard = self.shares[usize::try_from(share).unwrap_or(0)];
        &self.shards[usize::from(shard)].0
    }
}

impl Fingerprint {
    /// A fingerprint that was kept as a number.
    pub(crate) const fn from_u32(number: u32) -> Self {
        Self(number)
    }

    /// The number to keep.
    pub(crate) const fn as_u32(self) -> u32 {
        self.0
    }

    pub(super) fn of<T: Hash + ?Sized>(hasher: &RandomState, key: &T) -> Self {
        let [a, b, c, d, ..] = hasher.hash_one(key).to_be_bytes();
        Self(u32::from_be_bytes([a, b, c, d]))
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
        let counts: Vec<u64> = shards.shards.iter().map(|shard| *shard.0.read().unwrap()).collect();
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(*least > 10_000 && most <= &(2 * least), "{counts:?}");
        assert_eq!(shards.shares.len() as u64, SHARES);
    }
}
