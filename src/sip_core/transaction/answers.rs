//! Answers that are kept for repeats, the earliest first.
//!
//! At a hundred thousand requests a second some millions are kept, so that what one takes counts: it is kept
//! without what it has from its request, since that comes again with the repeat. Answers end in the order in which
//! they were given, so they are written one behind the other into blocks, which are used again when the last
//! answer in them has ended.

use std::collections::VecDeque;

use hashbrown::HashTable;

use crate::{
    sip_core::ToTag,
    step::{Procedure, Step},
    store::CommitSeq,
    time::Timestamp,
};

/// Octets of a block. An answer that is longer has a block of its own.
const BLOCK_OCTETS: usize = 1 << OFFSET_BITS;

/// Bits of a place that are the offset in a block; the others are the number of the block.
const OFFSET_BITS: u32 = 14;

const BLOCK_NUMBER_MAX: u32 = u32::MAX >> OFFSET_BITS;

/// Blocks that are kept for the next answers while nothing is in them.
const SPARE_BLOCKS_MAX: usize = 8;

/// The answers to some requests.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// The places of all by their keys.
    places: HashTable<u32>,
    blocks: VecDeque<Vec<u8>>,
    /// The number of the first block, and where the first answer in it is. Numbers wrap around.
    first_block: u32,
    first_offset: usize,
    spare: Vec<Vec<u8>>,
}

/// What is kept of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept<'a> {
    pub(super) tag: ToTag,
    /// The commit that it relies on.
    pub(super) after: CommitSeq,
    pub(super) step: Option<Step>,
    pub(super) status_line: &'a [u8],
    /// What follows on the head.
    pub(super) fields: &'a [u8],
}

/// An answer in its block: key, end, commit, tag, step, lengths, then both texts.
struct Entry<'a> {
    key: u128,
    ends: Timestamp,
    kept: Kept<'a>,
    /// Octets of all of it.
    length: usize,
}

impl Answers {
    /// What is kept of the answer to the request `key`.
    pub(super) fn find(&self, key: u128) -> Option<Kept<'_>> {
        let is_it = |place: &u32| self.at(*place).is_some_and(|entry| entry.key == key);
        Some(self.at(*self.places.find(hash_of(key), is_it)?)?.kept)
    }

    /// Keeps an answer until `ends`.
    pub(super) fn push(&mut self, key: u128, ends: Timestamp, kept: &Kept<'_>) {
        let length = Entry::HEADER_OCTETS + kept.status_line.len() + kept.fields.len();
        let has_room = |block: &Vec<u8>| block.capacity() - block.len() >= length;
        if !self.blocks.back().is_some_and(has_room) {
            let spare = if length <= BLOCK_OCTETS { self.spare.pop() } else { None };
            let block = spare.unwrap_or_else(|| Vec::with_capacity(length.max(BLOCK_OCTETS)));
            self.blocks.push_back(block);
        }
        let number = self.first_block.wrapping_add(u32::try_from(self.blocks.len()).unwrap_or(0));
        let Some(block) = self.blocks.back_mut() else { return };
        let offset = u32::try_from(block.len()).unwrap_or(0);
        Entry::write(block, key, ends, kept);
        let place = (number.wrapping_sub(1) & BLOCK_NUMBER_MAX) << OFFSET_BITS | offset;
        let Self { places, blocks, first_block, .. } = self;
        let rehash =
            |place: &u32| entry_at(blocks, *first_block, *place).map_or(0, |it| hash_of(it.key));
        places.insert_unique(hash_of(key), place, rehash);
    }

    /// Removes up to `most` whose time is over; returns how many.
    pub(super) fn remove_ended(&mut self, now: Timestamp, most: usize) -> usize {
        let mut removed = 0;
        while removed < most && self.remove_first_if_ended(now).is_some() {
            removed += 1;
        }
        removed
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    fn remove_first_if_ended(&mut self, now: Timestamp) -> Option<()> {
        let first = self.blocks.front()?.get(self.first_offset..)?;
        let Entry { key, length, .. } = Entry::read(first).filter(|entry| entry.ends <= now)?;
        let offset = u32::try_from(self.first_offset).ok()?;
        let place = (self.first_block & BLOCK_NUMBER_MAX) << OFFSET_BITS | offset;
        if let Ok(entry) = self.places.find_entry(hash_of(key), |other| *other == place) {
            entry.remove();
        }
        self.first_offset += length;
        if self.blocks.front().is_some_and(|block| self.first_offset >= block.len()) {
            self.first_offset = 0;
            self.first_block = self.first_block.wrapping_add(1);
            let block = self.blocks.pop_front();
            let usual = block.filter(|block| block.capacity() == BLOCK_OCTETS);
            if let Some(mut block) = usual
                && self.spare.len() < SPARE_BLOCKS_MAX
            {
                block.clear();
                self.spare.push(block);
            }
        }
        Some(())
    }

    fn at(&self, place: u32) -> Option<Entry<'_>> {
        entry_at(&self.blocks, self.first_block, place)
    }
}

fn entry_at(blocks: &VecDeque<Vec<u8>>, first: u32, place: u32) -> Option<Entry<'_>> {
    let number = (place >> OFFSET_BITS).wrapping_sub(first) & BLOCK_NUMBER_MAX;
    let block = blocks.get(usize::try_from(number).ok()?)?;
    Entry::read(block.get(usize::try_from(place).ok()? % BLOCK_OCTETS..)?)
}

/// A key is a hash already; its low bits choose the shard.
const fn hash_of(key: u128) -> u64 {
    (key >> 64) as u64
}

impl<'a> Entry<'a> {
    const HEADER_OCTETS: usize = 16 + 8 + 8 + 16 + 1 + 1 + 4;

    fn write(block: &mut Vec<u8>, key: u128, ends: Timestamp, kept: &Kept<'_>) {
        let Kept { tag, after, step, status_line, fields } = kept;
        let step = step.map_or(0, |Step { procedure: Procedure::Migration, number }| number);
        block.extend_from_slice(&key.to_le_bytes());
        block.extend_from_slice(&ends.as_micros().to_le_bytes());
        block.extend_from_slice(&after.as_u64().to_le_bytes());
        block.extend_from_slice(&tag.0);
        // A status line is one of ours, and an answer no longer than a message may be.
        block.extend_from_slice(&[step, u8::try_from(status_line.len()).unwrap_or(0)]);
        block.extend_from_slice(&u32::try_from(fields.len()).unwrap_or(0).to_le_bytes());
        block.extend_from_slice(status_line);
        block.extend_from_slice(fields);
    }

    fn read(octets: &'a [u8]) -> Option<Self> {
        let (key, rest) = octets.split_first_chunk()?;
        let (ends, rest) = rest.split_first_chunk()?;
        let (after, rest) = rest.split_first_chunk()?;
        let (tag, rest) = rest.split_first_chunk()?;
        let ([step, line], rest) = rest.split_first_chunk()?;
        let (fields, rest) = rest.split_first_chunk()?;
        let (status_line, rest) = rest.split_at_checked(usize::from(*line))?;
        let fields = rest.get(..usize::try_from(u32::from_le_bytes(*fields)).ok()?)?;
        let kept = Kept {
            tag: ToTag(*tag),
            after: CommitSeq::from_u64(u64::from_le_bytes(*after)),
            step: (*step > 0).then(|| Step::mig(*step)),
            status_line,
            fields,
        };
        let length = Self::HEADER_OCTETS + status_line.len() + fields.len();
        let ends = Timestamp::from_micros(u64::from_le_bytes(*ends));
        Some(Self { key: u128::from_le_bytes(*key), ends, kept, length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> u128 {
        u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64 | u128::from(number)
    }

    fn fields(number: u64) -> Vec<u8> {
        let octets = if number % 1_000 == 7 { 40_000 } else { number % 700 };
        vec![u8::try_from(number % 251).unwrap(); usize::try_from(octets).unwrap()]
    }

    fn kept(number: u64, fields: &[u8]) -> Kept<'_> {
        Kept {
            tag: ToTag([b'a'; 16]),
            after: CommitSeq::from_u64(number),
            step: number.is_multiple_of(2).then(|| Step::mig(24)),
            status_line: b"SIP/2.0 200 OK\r\n",
            fields,
        }
    }

    #[test]
    fn an_answer_is_kept_as_it_was_until_its_time_is_over() {
        let at = |number: u64| Timestamp::from_micros(1_000 + number);
        let mut answers = Answers::default();
        let (mut first, mut last) = (0, 0);
        for turn in 0..50_u64 {
            for number in last..last + 997 {
                let fields = fields(number);
                answers.push(key(number), at(number), &kept(number, &fields));
            }
            last += 997;
            let over = (first + turn % 7 * 400).min(last);
            while answers.remove_ended(at(over), 64) > 0 {}
            first = (over + 1).min(last).max(first);
            for number in [first, first + 1, last - 1, u64::midpoint(first, last)] {
                let fields = fields(number);
                match answers.find(key(number)) {
                    Some(found) => {
                        assert!((first..last).contains(&number));
                        let expected = kept(number, &fields);
                        assert_eq!(found.fields, expected.fields);
                        assert_eq!(found.status_line, expected.status_line);
                        assert_eq!((found.after, found.step), (expected.after, expected.step));
                    }
                    None => assert!(!(first..last).contains(&number), "{number} is missing"),
                }
            }
            assert!(first == 0 || answers.find(key(first - 1)).is_none());
        }
        while answers.remove_ended(at(last), 64) > 0 {}
        assert!(answers.is_empty() && answers.blocks.is_empty());
    }
}
