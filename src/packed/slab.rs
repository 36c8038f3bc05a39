//! Where the octets of many small records are: slots of a few sizes, side by side, so that a record costs
//! neither an allocator's header nor a pointer of its own.

/// Slots up to [`SMALL`] are multiples of this, octets.
const STEP: usize = 4;
/// Octets of the largest of these.
const SMALL: usize = 128;
/// By how much each further size of slots is larger, octets.
const LARGE_STEP: usize = 16;
/// Sizes of slots; a record beyond the largest has an allocation of its own.
const SIZES: usize = 63;
/// Slots of the first chunk; each further one has twice as many.
const CHUNK_SLOTS_MIN: usize = 32;
/// Most slots of a chunk.
const CHUNK_SLOTS_MAX: usize = 1_024;
/// Bits of a handle that count slots of one size: 67 million.
const INDEX_BITS: u32 = 26;

/// Where a record is: the size of its slot above [`INDEX_BITS`], which one below.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Handle(u32);

/// Records of one shard.
#[derive(Debug, Default)]
pub(super) struct Slab {
    /// By size, the last for all that is larger.
    sizes: Vec<Slots>,
}

/// Slots of one size, allocated many at a time: so there are few chunks, and where they are stays in the caches.
#[derive(Debug, Default)]
struct Slots {
    /// Each as long as its last slot that was used, so that memory beyond is not touched.
    chunks: Vec<Vec<u8>>,
    free: Vec<u32>,
    /// Slots in use or free.
    used: u32,
}

impl Slab {
    /// Keeps `record`. What is read from a slot may be followed by octets of an earlier record, so a record
    /// must tell where it ends.
    pub(super) fn put(&mut self, record: &[u8]) -> Handle {
        let size = size_of(record.len());
        if self.sizes.len() <= size {
            self.sizes.resize_with(size + 1, Slots::default);
        }
        let index = self.sizes.get_mut(size).and_then(|slots| slots.put(size, record));
        #[expect(
            clippy::expect_used,
            reason = "tables are bounded far below 67 million records a shard"
        )]
        let index = index.expect("a shard has a slot left");
        Handle(u32::try_from(size).unwrap_or(0) << INDEX_BITS | index)
    }

    /// Puts `record` in place of another one.
    pub(super) fn replace(&mut self, old: Handle, record: &[u8]) -> Handle {
        let size = size_of(record.len());
        if size == old.size() && size < SIZES {
            if let Some(slots) = self.sizes.get_mut(size) {
                slots.write(size, old.index(), record);
            }
            return old;
        }
        self.remove(old);
        self.put(record)
    }

    /// The slot of a record, which begins with it.
    pub(super) fn get(&self, handle: Handle) -> &[u8] {
        let size = handle.size();
        let slot = self.sizes.get(size).and_then(|slots| {
            let (chunk, place) = place_of(size, handle.index());
            slots.chunks.get(chunk)?.get(place..)
        });
        slot.unwrap_or_default()
    }

    /// Frees the slot of a record.
    pub(super) fn remove(&mut self, handle: Handle) {
        if let Some(slots) = self.sizes.get_mut(handle.size()) {
            if handle.size() >= SIZES
                && let Some(chunk) = slots.chunks.get_mut(index_of(handle.index()))
            {
                *chunk = Vec::new();
            }
            slots.free.push(handle.index());
        }
    }
}

impl Slots {
    fn put(&mut self, size: usize, record: &[u8]) -> Option<u32> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.used < 1 << INDEX_BITS => {
                self.used += 1;
                self.used - 1
            }
            None => return None,
        };
        self.write(size, index, record);
        Some(index)
    }

    fn write(&mut self, size: usize, index: u32, record: &[u8]) {
        let (chunk, place) = place_of(size, index);
        if self.chunks.len() <= chunk {
            self.chunks.push(Vec::with_capacity(octets_of_chunk(size, chunk)));
        }
        let Some(chunk) = self.chunks.get_mut(chunk) else { return };
        if size >= SIZES {
            *chunk = record.into();
            return;
        }
        let end = place + octets_of_slot(size);
        if chunk.len() == place {
            chunk.extend_from_slice(record);
            return chunk.resize(end, 0);
        }
        if let Some(slot) = chunk.get_mut(place..place + record.len()) {
            slot.copy_from_slice(record);
        }
    }
}

impl Handle {
    fn size(self) -> usize {
        index_of(self.0 >> INDEX_BITS)
    }

    const fn index(self) -> u32 {
        self.0 & ((1 << INDEX_BITS) - 1)
    }
}

/// Which size of slot has room for a record of `octets`.
const fn size_of(octets: usize) -> usize {
    match octets {
        0 => 0,
        1..=SMALL => octets.div_ceil(STEP) - 1,
        _ => {
            let size = SMALL / STEP + (octets - SMALL).div_ceil(LARGE_STEP) - 1;
            if size < SIZES { size } else { SIZES }
        }
    }
}

/// Octets of a slot of that size.
const fn octets_of_slot(size: usize) -> usize {
    if size < SMALL / STEP {
        (size + 1) * STEP
    } else {
        SMALL + (size + 1 - SMALL / STEP) * LARGE_STEP
    }
}

/// Octets that a chunk has room for; a record of the last size has its own.
fn octets_of_chunk(size: usize, chunk: usize) -> usize {
    let slots = (CHUNK_SLOTS_MIN << chunk.min(DOUBLINGS)).min(CHUNK_SLOTS_MAX);
    if size < SIZES { slots * octets_of_slot(size) } else { 0 }
}

/// Chunks that are smaller than the others.
const DOUBLINGS: usize = (CHUNK_SLOTS_MAX / CHUNK_SLOTS_MIN).ilog2() as usize;

/// The chunk of a slot, and where in it the slot begins.
fn place_of(size: usize, index: u32) -> (usize, usize) {
    let index = index_of(index);
    if size >= SIZES {
        return (index, 0);
    }
    // As if there were a chunk before the first, of as many slots: so that each begins at a power of two.
    let index = index + CHUNK_SLOTS_MIN;
    let (chunk, slot) = if index < CHUNK_SLOTS_MAX {
        let doublings = index_of((index / CHUNK_SLOTS_MIN).ilog2());
        (doublings, index - (CHUNK_SLOTS_MIN << doublings))
    } else {
        (index / CHUNK_SLOTS_MAX + DOUBLINGS - 1, index % CHUNK_SLOTS_MAX)
    };
    (chunk, slot * octets_of_slot(size))
}

fn index_of(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn slots_of_a_size_are_side_by_side_and_end_where_their_chunk_does() {
        for octets in 1..700 {
            let size = size_of(octets);
            assert!(size >= SIZES || octets_of_slot(size) >= octets);
            assert!(size == 0 || octets_of_slot(size - 1) < octets);
        }
        for size in [0, 20, 31, 32, 62] {
            let mut next = (0, 0);
            for index in 0..10_000 {
                assert_eq!(place_of(size, index), next);
                next.1 += octets_of_slot(size);
                if next.1 == octets_of_chunk(size, next.0) {
                    next = (next.0 + 1, 0);
                }
            }
        }
    }

    #[test]
    fn records_of_all_sizes_are_found_again_after_many_changes() {
        let mut slab = Slab::default();
        let mut model: BTreeMap<u64, (Handle, Vec<u8>)> = BTreeMap::new();
        let mut random = 7_u64;
        for round in 0..50_000_u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let key = (random >> 33) % 300;
            let octets = vec![round.to_be_bytes()[7]; ((random >> 45) % 700) as usize];
            match model.remove(&key) {
                Some((handle, _)) if round % 3 == 0 => slab.remove(handle),
                Some((handle, _)) => {
                    model.insert(key, (slab.replace(handle, &octets), octets));
                }
                None => {
                    model.insert(key, (slab.put(&octets), octets));
                }
            }
        }
        assert!(model.len() > 100);
        for (handle, octets) in model.values() {
            assert!(slab.get(*handle).starts_with(octets));
        }
        let slots: usize = slab.sizes.iter().map(|slots| slots.used as usize).sum();
        assert!(slots < 3_000, "{slots} slots: freed ones are used again");
    }
}
