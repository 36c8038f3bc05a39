//! The one concurrent map that roles keep state in.

use std::hash::Hash;

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
    let hasher = ahash::RandomState::with_seeds(
        entropy.next_u64(),
        entropy.next_u64(),
        entropy.next_u64(),
        entropy.next_u64(),
    );
    DashMap::with_hasher_and_shard_amount(hasher, SHARDS)
}
