//! A hash table by fingerprint, for millions of entries of eight octets.

use super::{prefetch::prefetch, shards::Fingerprint};

/// Entries that a table has room for at least.
const HOMES_MIN: usize = 16;

/// Places of a cache line.
const LINE_PLACES: usize = 8;

/// What is kept by fingerprints. Two entries may have the same.
///
/// The entries are in the order of their hashes, each at the place that its hash selects or as soon after it as
/// is free. So a look-up reads one or two cache lines, also of what is not there, and a table that is full
/// grows by a quarter, in one pass, instead of doubling: two of three places are taken on average. Were they four of
/// five, an entry would be put in front of twice as many others.
#[derive(Debug)]
pub(super) struct Slots<T> {
    /// Beyond the places that hashes select are some for what finds the last ones taken.
    places: Vec<Slot<T>>,
    /// Places that hashes select.
    homes: usize,
    used: usize,
}

#[derive(Clone, Copy, Debug)]
struct Slot<T> {
    hash: Hash,
    what: T,
}

/// A fingerprint with its bits mixed: within a shard the upper ones are alike.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Hash(u32);

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { places: Vec::new(), homes: 0, used: 0 }
    }
}

impl<T: Copy + Default> Slots<T> {
    /// How many entries there are.
    pub(super) const fn len(&self) -> usize {
        self.used
    }

    /// What is kept by `fingerprint`.
    pub(super) fn all(&self, fingerprint: Fingerprint) -> impl Iterator<Item = T> {
        self.entries(Hash::of(fingerprint)).map(|(_, what)| what)
    }

    /// Fetches what is looked at first for `fingerprint`, and what a new entry moves.
    pub(super) fn prefetch(&self, fingerprint: Fingerprint) {
        let home = Hash::of(fingerprint).home(self.homes);
        for place in [home, home + LINE_PLACES] {
            self.places.get(place).into_iter().for_each(prefetch);
        }
    }

    /// Adds an entry.
    pub(super) fn insert(&mut self, fingerprint: Fingerprint, what: T) {
        if self.used >= self.homes / 4 * 3 {
            self.grow();
        }
        let mut slot = Slot { hash: Hash::of(fingerprint), what };
        while let Some(last) = self.put(slot) {
            self.grow();
            slot = last;
        }
        self.used += 1;
    }

    /// Changes the entry that is `wanted`, or removes it if it becomes `None`.
    pub(super) fn change(
        &mut self,
        fingerprint: Fingerprint,
        wanted: impl Fn(T) -> bool,
        new: Option<T>,
    ) {
        let found = self.entries(Hash::of(fingerprint)).find(|(_, what)| wanted(*what));
        let Some((place, _)) = found else { return };
        match (new, self.places.get_mut(place)) {
            (Some(new), Some(slot)) => slot.what = new,
            _ => self.take_out(place),
        }
    }

    /// Where the entries with this hash are. Not to be asked again after the last one.
    #[inline]
    fn entries(&self, hash: Hash) -> impl Iterator<Item = (usize, T)> {
        let mut next = hash.home(self.homes);
        std::iter::from_fn(move || {
            loop {
                let (place, slot) = (next, self.places.get(next)?);
                next += 1;
                if slot.hash == hash {
                    return Some((place, slot.what));
                }
                if slot.hash > hash {
                    return None;
                }
            }
        })
    }

    /// Puts a new entry in its place and those behind it one further, up to the next free place. Returns the last
    /// one if there is none.
    fn put(&mut self, new: Slot<T>) -> Option<Slot<T>> {
        let mut left = new;
        for slot in self.places.get_mut(left.hash.home(self.homes)..).unwrap_or_default() {
            if slot.hash > left.hash {
                std::mem::swap(slot, &mut left);
                if left.is_free() {
                    return None;
                }
            }
        }
        Some(left)
    }

    /// Frees a place, and moves those behind it back that are not at home.
    fn take_out(&mut self, place: usize) {
        let homes = self.homes;
        let slots = self.places.get_mut(place..).unwrap_or_default();
        let stays =
            |(place, slot): (usize, &Slot<T>)| slot.is_free() || slot.hash.home(homes) == place;
        let behind = (place..).zip(&*slots).skip(1);
        let moved = behind.take_while(|it| !stays(*it)).count();
        if let Some(slots) = slots.get_mut(..=moved) {
            slots.rotate_left(1);
            if let Some(last) = slots.last_mut() {
                *last = Slot::free();
            }
            self.used -= 1;
        }
    }

    fn grow(&mut self) {
        self.homes = (self.homes + self.homes / 4).max(HOMES_MIN);
        let beyond = HOMES_MIN + self.homes / 128;
        let mut slots = vec![Slot::free(); self.homes + beyond];
        let mut next = 0;
        for slot in self.places.iter().filter(|slot| !slot.is_free()) {
            let place = slot.hash.home(self.homes).max(next);
            next = place + 1;
            if slots.len() <= next {
                slots.resize(next + beyond, Slot::free());
            }
            if let Some(to) = slots.get_mut(place) {
                *to = *slot;
            }
        }
        slots.resize(next.max(self.homes) + beyond, Slot::free());
        self.places = slots;
    }
}

impl<T: Default> Slot<T> {
    fn free() -> Self {
        Self { hash: Hash::FREE, what: T::default() }
    }
}

impl<T> Slot<T> {
    fn is_free(&self) -> bool {
        self.hash == Hash::FREE
    }
}

impl Hash {
    /// No entry's, and after all of those.
    const FREE: Self = Self(u32::MAX);

    fn of(fingerprint: Fingerprint) -> Self {
        Self(fingerprint.0.wrapping_mul(0x9e37_79b1).min(u32::MAX - 1))
    }

    /// The place that a hash selects of so many.
    fn home(self, homes: usize) -> usize {
        usize::try_from((u64::from(self.0) * homes as u64) >> 32).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn entries_of_equal_and_of_neighbouring_hashes_are_found_until_they_are_removed() {
        let mut slots: Slots<u32> = Slots::default();
        let mut model: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        let mut random = 3_u64;
        for round in 0..60_000_u32 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let number = u32::try_from(random >> 33).unwrap();
            // Of a few hashes many entries, the last one among them; of many hashes a few.
            let hash = if round % 4 == 0 { u32::MAX - number % 3 } else { number % 3_000 };
            let fingerprint = Fingerprint(hash);
            let entries = model.entry(hash).or_default();
            match entries.first().copied() {
                Some(one) if random.is_multiple_of(2) => {
                    slots.change(fingerprint, |what| what == one, None);
                    entries.remove(&one);
                }
                Some(one) if random % 16 == 1 => {
                    slots.change(fingerprint, |what| what == one, Some(round));
                    entries.remove(&one);
                    entries.insert(round);
                }
                _ => {
                    slots.insert(fingerprint, round);
                    entries.insert(round);
                }
            }
        }
        assert_eq!(slots.len(), model.values().map(BTreeSet::len).sum::<usize>());
        for hash in (0..3_000).chain(u32::MAX - 3..=u32::MAX) {
            let found: BTreeSet<u32> = slots.all(Fingerprint(hash)).collect();
            assert_eq!(found, model.get(&hash).cloned().unwrap_or_default(), "{hash}");
        }
    }

    #[test]
    fn two_of_three_places_are_taken_on_average() {
        let (mut slots, mut percent) = (Slots::<u32>::default(), 0);
        for number in 0..100_000_u32 {
            slots.insert(Fingerprint(number << 6), number);
            percent += 100 * slots.len() / slots.places.len();
        }
        assert!(percent / 100_000 > 64, "{percent}");
    }
}
