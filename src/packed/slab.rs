//! Where the octets of many small records are: slots of a few sizes, side by side, so that a record costs
//! neither an allocator's header nor a pointer of its own.

/// Slots are multiples of this, octets.
const STEP: usize = 8;
/// Sizes of slots; a record beyond the largest has an allocation of its own.
const SIZES: usize = 63;
/// Slots that are allocated together.
const CHUNK_SLOTS: usize = 32;
/// Bits of a handle that count slots of one size: 67 million.
const INDEX_BITS: u32 = 26;

/// Where a record is: the size of its slot above [`INDEX_BITS`], which one below.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Handle(u32);

/// Records of one shard.
#[derive(Debug, Default)]
pub(super) struct Slab {
    /// By size: the first for up to [`STEP`] octets, then by steps, the last for all that is larger.
    sizes: Vec<Slots>,
}

/// Slots of one size.
#[derive(Debug, Default)]
struct Slots {
    chunks: Vec<Box<[u8]>>,
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
                *chunk = Box::default();
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
            let octets = if size < SIZES { (size + 1) * STEP * CHUNK_SLOTS } else { 0 };
            self.chunks.push(vec![0; octets].into_boxed_slice());
        }
        let Some(chunk) = self.chunks.get_mut(chunk) else { return };
        if size >= SIZES {
            *chunk = record.into();
        } else if let Some(slot) = chunk.get_mut(place..place + record.len()) {
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
fn size_of(octets: usize) -> usize {
    (octets.max(1).div_ceil(STEP) - 1).min(SIZES)
}

/// The chunk of a slot, and where in it the slot begins.
fn place_of(size: usize, index: u32) -> (usize, usize) {
    let index = index_of(index);
    if size >= SIZES {
        return (index, 0);
    }
    (index / CHUNK_SLOTS, index % CHUNK_SLOTS * (size + 1) * STEP)
}

fn index_of(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

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
