//! Where answers are, by the hashes of their keys.
//!
//! An answer ends with the block that it is in, and nobody tells this table: to look for the place of every answer
//! that ended would cost a fetch from memory that its repeat never needed. What is of a block that is gone counts as
//! free, and is found on the way of those who come later.

/// Places of a bucket: with what else it has, all of a cache line.
const PLACES: usize = 7;

/// Buckets of the smallest table.
const BUCKETS_MIN: usize = 8;

/// A place that no answer has: none begins at the last octet of a block.
pub(super) const NOWHERE: u32 = u32::MAX;

/// Hashes and places.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// None, or a power of two.
    buckets: Vec<Bucket>,
}

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Bucket {
    /// Each a hash, then a place.
    slots: [(u32, u32); PLACES],
    /// The place that lasts longest of those that went on to the next bucket because this one was full.
    passed_on: u32,
}

impl Bucket {
    const FREE: Self = Self { slots: [(0, NOWHERE); PLACES], passed_on: NOWHERE };
}

/// What a place is worth: how long it lasts beyond the first one that does, or nothing if it is of a block that is
/// gone.
pub(super) trait Lasting: Fn(u32) -> Option<u32> {}

impl<F: Fn(u32) -> Option<u32>> Lasting for F {}

impl Places {
    /// The place of this hash for which `is_it` says yes.
    pub(super) fn find(
        &self,
        hash: u32,
        lasting: impl Lasting,
        is_it: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        for number in self.way(hash) {
            let Bucket { slots, passed_on } = self.buckets.get(number)?;
            let is_there = |(slot, place): &&(u32, u32)| {
                *slot == hash && lasting(*place).is_some() && is_it(*place)
            };
            if let Some((_, place)) = slots.iter().find(is_there) {
                return Some(*place);
            }
            lasting(*passed_on)?;
        }
        None
    }

    /// Adds a place; there are `count` that last, at most.
    pub(super) fn insert(&mut self, hash: u32, place: u32, count: usize, lasting: impl Lasting) {
        if count * 8 >= self.buckets.len() * PLACES * 5 {
            self.grow(&lasting);
        }
        self.put(hash, place, &lasting);
    }

    pub(super) fn clear(&mut self) {
        self.buckets = Vec::new();
    }

    fn put(&mut self, hash: u32, place: u32, lasting: &impl Lasting) {
        for number in self.way(hash) {
            let Some(Bucket { slots, passed_on }) = self.buckets.get_mut(number) else { return };
            if let Some(free) = slots.iter_mut().find(|(_, held)| lasting(*held).is_none()) {
                *free = (hash, place);
                return;
            }
            if lasting(*passed_on) < lasting(place) {
                *passed_on = place;
            }
        }
    }

    fn grow(&mut self, lasting: &impl Lasting) {
        let buckets = (2 * self.buckets.len()).max(BUCKETS_MIN);
        let old = std::mem::replace(&mut self.buckets, vec![Bucket::FREE; buckets]);
        for (hash, place) in old.iter().flat_map(|bucket| bucket.slots) {
            if lasting(place).is_some() {
                self.put(hash, place, lasting);
            }
        }
    }

    /// The buckets that a hash may be in, one after the other.
    fn way(&self, hash: u32) -> impl Iterator<Item = usize> + use<> {
        let count = self.buckets.len();
        let first = usize::try_from(hash).unwrap_or(0) & count.saturating_sub(1);
        (first..count).chain(0..first)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Places last in the order of their numbers; those below the first are gone.
    #[test]
    fn what_lasts_is_found_among_hashes_that_are_alike_and_what_is_gone_is_not() {
        let (mut places, mut model) = (Places::default(), BTreeMap::new());
        let mut seed = 7_u64;
        let mut draw = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            u32::try_from(seed >> 33).unwrap()
        };
        let mut first = 0;
        for place in 0..60_000_u32 {
            let lasting = |place: u32| (place != NOWHERE).then(|| place.checked_sub(first))?;
            // Few hashes, and of those many that begin in the same bucket.
            let hash = draw() % 3_000 * 1_024;
            places.insert(hash, place, model.len(), lasting);
            model.insert(place, hash);
            if draw() % 50 == 0 {
                first = first.max(place.saturating_sub(draw() % 2_000));
                model = model.split_off(&first);
            }
            let lasting = |place: u32| (place != NOWHERE).then(|| place.checked_sub(first))?;
            let asked = place.saturating_sub(draw() % 3_000);
            let hash = model.get(&asked).copied().unwrap_or(1_024);
            let found = places.find(hash, lasting, |place| place == asked);
            assert_eq!(found, model.contains_key(&asked).then_some(asked));
        }
        assert!(places.buckets.len() < 4_096, "{}", places.buckets.len());
        places.clear();
        assert_eq!(places.find(0, |_| Some(0), |_| true), None);
    }
}
