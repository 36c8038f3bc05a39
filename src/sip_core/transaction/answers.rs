//! Answers that are kept for repeats, the earliest first.
//!
//! At a hundred thousand requests a second some millions are kept, so that what one takes counts: it is kept
//! without what it has from its request, since that comes again with the repeat. Answers end in the order in which
//! they were given, so they are written one behind the other into blocks, each of which ends as a whole, and is used
//! again, when its last answer has: none is fetched from memory to end it.

use std::collections::VecDeque;

use super::places::{NOWHERE, Places};
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
    places: Places,
    blocks: VecDeque<Block>,
    /// The number of the first block. Numbers wrap around.
    first_block: u32,
    /// How many answers are in all blocks.
    count: usize,
    spare: Vec<Vec<u8>>,
}

/// Answers that end together.
#[derive(Debug)]
struct Block {
    octets: Vec<u8>,
    /// When the last of them ends.
    ends: Timestamp,
    count: usize,
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
}

impl Answers {
    /// What is kept of the answer to the request `key`.
    pub(super) fn find(&self, key: u128, now: Timestamp) -> Option<Kept<'_>> {
        let is_it = |place| self.at(place).is_some_and(|entry| entry.key == key);
        let place = self.places.find(hash_of(key), |place| self.block_of(place), is_it)?;
        self.at(place).filter(|entry| entry.ends > now).map(|entry| entry.kept)
    }

    /// Keeps an answer until `ends`.
    pub(super) fn push(&mut self, key: u128, ends: Timestamp, kept: &Kept<'_>) {
        let length = Entry::HEADER_OCTETS + kept.status_line.len() + kept.fields.len();
        let has_room = |block: &Block| block.octets.capacity() - block.octets.len() >= length;
        if !self.blocks.back().is_some_and(has_room) {
            let spare = if length <= BLOCK_OCTETS { self.spare.pop() } else { None };
            let octets = spare.unwrap_or_else(|| Vec::with_capacity(length.max(BLOCK_OCTETS)));
            self.blocks.push_back(Block { octets, ends, count: 0 });
        }
        let number = self.first_block.wrapping_add(u32::try_from(self.blocks.len()).unwrap_or(0));
        let Some(block) = self.blocks.back_mut() else { return };
        let offset = u32::try_from(block.octets.len()).unwrap_or(0);
        Entry::write(&mut block.octets, key, ends, kept);
        block.ends = block.ends.max(ends);
        block.count += 1;
        self.count += 1;
        let place = (number.wrapping_sub(1) & BLOCK_NUMBER_MAX) << OFFSET_BITS | offset;
        let (first, blocks) = (self.first_block, self.blocks.len());
        let lasting = |place| block_of(place, first, blocks);
        self.places.insert(hash_of(key), place, self.count, lasting);
    }

    /// Removes up to `most` blocks whose time is over; returns how many answers were in them.
    pub(super) fn remove_ended(&mut self, now: Timestamp, most: usize) -> usize {
        let before = self.count;
        for _ in 0..most {
            if !self.has_ended(now) {
                break;
            }
            let Some(Block { mut octets, count, .. }) = self.blocks.pop_front() else { break };
            self.first_block = self.first_block.wrapping_add(1);
            self.count -= count;
            if octets.capacity() == BLOCK_OCTETS && self.spare.len() < SPARE_BLOCKS_MAX {
                octets.clear();
                self.spare.push(octets);
            }
        }
        if self.is_empty() {
            self.places.clear();
        }
        before - self.count
    }

    /// Whether the time of the first block is over.
    pub(super) fn has_ended(&self, now: Timestamp) -> bool {
        self.blocks.front().is_some_and(|block| block.ends <= now)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    fn at(&self, place: u32) -> Option<Entry<'_>> {
        let block = self.blocks.get(usize::try_from(self.block_of(place)?).ok()?)?;
        Entry::read(block.octets.get(usize::try_from(place).ok()? % BLOCK_OCTETS..)?)
    }

    /// Which of the blocks a place is in, if it is in one.
    fn block_of(&self, place: u32) -> Option<u32> {
        block_of(place, self.first_block, self.blocks.len())
    }
}

/// Which of so many blocks a place is in, the first of which has the number `first`. Later ones last longer.
fn block_of(place: u32, first: u32, blocks: usize) -> Option<u32> {
    let number = (place >> OFFSET_BITS).wrapping_sub(first) & BLOCK_NUMBER_MAX;
    (place != NOWHERE && usize::try_from(number).is_ok_and(|number| number < blocks))
        .then_some(number)
}

/// A key is a hash already; its low bits choose the shard.
const fn hash_of(key: u128) -> u32 {
    (key >> 96) as u32
}

impl<'a> Entry<'a> {
    const HEADER_OCTETS: usize = 16 + 8 + 8 + 16 + 1 + 1 + 4;

    fn write(block: &mut Vec<u8>, key: u128, ends: Timestamp, kept: &Kept<'_>) {
        let Kept { tag, after, step, status_line, fields } = kept;
        // What a SIP core answers is of the one procedure that has SIP in it.
        let step = step.filter(|step| step.procedure == Procedure::Migration);
        let step = step.map_or(0, |step| step.number);
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
        let ends = Timestamp::from_micros(u64::from_le_bytes(*ends));
        Some(Self { key: u128::from_le_bytes(*key), ends, kept })
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
        let (mut last, mut now) = (0, 0);
        for turn in 0..50_u64 {
            for number in last..last + 997 {
                let fields = fields(number);
                answers.push(key(number), at(number), &kept(number, &fields));
            }
            last += 997;
            now = (now + turn % 7 * 400).min(last);
            let before = answers.count;
            let removed = answers.remove_ended(at(now), usize::MAX);
            assert_eq!(before - removed, answers.count);
            assert!(answers.count >= usize::try_from(last - now).unwrap_or(0).saturating_sub(1));
            for number in [now, now + 1, now + 2, last - 1, last, u64::midpoint(now, last)] {
                let fields = fields(number);
                match answers.find(key(number), at(now)) {
                    Some(found) => {
                        assert!((now + 1..last).contains(&number));
                        let expected = kept(number, &fields);
                        assert_eq!(found.fields, expected.fields);
                        assert_eq!(found.status_line, expected.status_line);
                        assert_eq!((found.after, found.step), (expected.after, expected.step));
                    }
                    None => assert!(!(now + 1..last).contains(&number), "{number} is missing"),
                }
            }
        }
        assert!(answers.count < 4_000, "{} of {last} are left at {now}", answers.count);
        let first = answers.blocks.front().map_or(0, |block| block.count);
        assert_eq!(answers.remove_ended(at(last), 1), first);
        answers.remove_ended(at(last), usize::MAX);
        assert!(answers.is_empty() && answers.count == 0);
    }
}
