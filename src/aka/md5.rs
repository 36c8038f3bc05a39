//! MD5 (RFC 1321), of several messages in the time of little more than one.
//!
//! Each of its 64 steps waits for the one before, so that one message leaves most of a processor idle;
//! those that are hashed together share it. A registrar always has two: the response that it expects
//! and the proof that it gives. MD5 is what HTTP Digest AKA prescribes, not what anybody would choose.

use std::hint::black_box;

use zeroize::optimization_barrier;

/// A hash being computed. Zeroized on drop, since passwords go in.
pub(super) struct Md5 {
    state: State,
    /// What fills no block yet, and what was there before.
    block: Block,
    /// How much of `block` is taken, never all.
    filled: usize,
    /// Octets so far.
    length: u64,
}

type State = [u32; 4];
type Block = [u8; BLOCK_OCTETS];
const BLOCK_OCTETS: usize = 64;

const INITIAL_STATE: State = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

impl Md5 {
    pub(super) const fn new() -> Self {
        Self { state: INITIAL_STATE, block: [0; BLOCK_OCTETS], filled: 0, length: 0 }
    }

    pub(super) fn write(&mut self, mut octets: &[u8]) {
        self.length += octets.len() as u64;
        while let Some(room) = self.block.get_mut(self.filled..)
            && let Some((taken, rest)) = octets.split_at_checked(room.len())
        {
            room.copy_from_slice(taken);
            compress([&mut self.state], [&self.block]);
            self.filled = 0;
            octets = rest;
        }
        let end = self.filled + octets.len();
        if let Some(room) = self.block.get_mut(self.filled..end) {
            room.copy_from_slice(octets);
            self.filled = end;
        }
    }

    /// The hashes of what was written and the octets beside each. Faster together than apart if they
    /// have as many blocks left, as most have.
    pub(super) fn finish<const LANES: usize, const N: usize>(
        ends: [(&Self, &[u8; N]); LANES],
    ) -> [[u8; 16]; LANES] {
        let blocks = ends.map(|(hash, last)| hash.last_blocks(last));
        let counts = ends.map(|(hash, last)| hash.blocks_left(last));
        let mut states = ends.map(|(hash, _)| hash.state);
        if counts.iter().all(|&count| count == 1) {
            compress(states.each_mut(), blocks.each_ref().map(|[block, _]| block));
        } else if counts.iter().all(|&count| count == 2) {
            compress(states.each_mut(), blocks.each_ref().map(|[block, _]| block));
            compress(states.each_mut(), blocks.each_ref().map(|[_, block]| block));
        } else {
            for ((state, blocks), count) in states.iter_mut().zip(&blocks).zip(counts) {
                for block in blocks.iter().take(count) {
                    compress([state], [block]);
                }
            }
        }
        states.map(octets)
    }

    /// How many blocks is what is left, `last`, a one bit, and the length.
    const fn blocks_left<const N: usize>(&self, _last: &[u8; N]) -> usize {
        const { assert!(BLOCK_OCTETS - 1 + N + 1 + 8 <= 2 * BLOCK_OCTETS, "more than two blocks") };
        if self.filled + N + 1 + 8 <= BLOCK_OCTETS { 1 } else { 2 }
    }

    /// What is left, `last`, a one bit, zeros, and the length in bits.
    fn last_blocks<const N: usize>(&self, last: &[u8; N]) -> [Block; 2] {
        let mut blocks = [self.block, [0; BLOCK_OCTETS]];
        let rest = blocks.as_flattened_mut().get_mut(self.filled..).unwrap_or_default();
        if let Some((place, [end, padding @ ..])) = rest.split_first_chunk_mut() {
            *place = *last;
            *end = 0x80;
            padding.fill(0);
        }
        let end = blocks.get_mut(self.blocks_left(last) - 1);
        if let Some(length) = end.and_then(|block| block.last_chunk_mut()) {
            *length = (8 * (self.length + N as u64)).to_le_bytes();
        }
        blocks
    }
}

impl Drop for Md5 {
    fn drop(&mut self) {
        self.state = INITIAL_STATE;
        self.block = [0; BLOCK_OCTETS];
        optimization_barrier(self);
    }
}

/// Takes one block into each state, step by step in all of them.
fn compress<const LANES: usize>(states: [&mut State; LANES], blocks: [&Block; LANES]) {
    let words = blocks.map(words);
    let mut lanes = states.each_ref().map(|state| **state);
    // The optimizer would add a constant last, where all else waits for the sum. So it sees none.
    let sines = black_box(&SINES);
    macro_rules! steps {
        ($($number:literal)*) => {$(
            for (lane, words) in lanes.iter_mut().zip(&words) {
                *lane = step::<$number>(*lane, words, sines);
            }
        )*};
    }
    steps! {
        0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15
        16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
        32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47
        48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63
    }
    for (state, lane) in states.into_iter().zip(lanes) {
        for (word, added) in state.iter_mut().zip(lane) {
            *word = word.wrapping_add(added);
        }
    }
}

fn octets(state: State) -> [u8; 16] {
    let mut octets = [0; 16];
    for (octets, word) in octets.as_chunks_mut().0.iter_mut().zip(state) {
        *octets = word.to_le_bytes();
    }
    octets
}

fn words(block: &Block) -> [u32; 16] {
    let mut words = [0; 16];
    for (word, octets) in words.iter_mut().zip(block.as_chunks().0) {
        *word = u32::from_le_bytes(*octets);
    }
    words
}

/// One step (RFC 1321 section 3.4).
#[expect(clippy::inline_always, reason = "its 64 instances are one computation on registers")]
#[inline(always)]
fn step<const NUMBER: usize>([a, b, c, d]: State, words: &[u32; 16], sines: &[u32; 64]) -> State {
    let (mixed, place) = match NUMBER / 16 {
        0 => (d ^ (b & (c ^ d)), NUMBER),
        // The two halves have no bit in common. Added apart, the second waits for `b` alone.
        1 => ((c & !d).wrapping_add(b & d), 5 * NUMBER + 1),
        2 => (b ^ (c ^ d), 3 * NUMBER + 5),
        _ => (c ^ (b | !d), 7 * NUMBER),
    };
    let word = words.get(place % 16).copied().unwrap_or_default();
    let sine = sines.get(NUMBER).copied().unwrap_or_default();
    let shifts = ROTATIONS.get(NUMBER / 16).copied().unwrap_or_default();
    let rotation = shifts.get(NUMBER % 4).copied().unwrap_or_default();
    let sum = a.wrapping_add(sine).wrapping_add(word).wrapping_add(mixed);
    [d, sum.rotate_left(rotation).wrapping_add(b), b, c]
}

/// By how many bits the steps of each round rotate, four in turn.
const ROTATIONS: [[u32; 4]; 4] =
    [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

/// The integer part of 4294967296 times abs(sin(step)), steps counted from 1.
#[rustfmt::skip]
static SINES: [u32; 64] = [
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee,
    0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
    0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be,
    0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
    0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa,
    0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
    0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed,
    0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
    0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c,
    0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
    0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05,
    0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
    0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039,
    0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
    0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1,
    0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
];

#[cfg(test)]
mod tests {
    use md5::Digest;

    use super::*;

    #[test]
    fn a_hash_is_that_of_another_implementation_at_every_length_and_split() {
        let text: Vec<u8> = (0..=255).collect();
        for length in 0..text.len() {
            for split in [0, 1, length / 2, length] {
                let (all, _) = text.split_at(length);
                let (before, after) = all.split_at(split.min(length));
                let mut hash = Md5::new();
                hash.write(before);
                hash.write(after);
                assert_eq!(
                    Md5::finish([(&hash, &[])]),
                    [reference(all)],
                    "{length} octets, split at {split}"
                );
            }
        }
    }

    #[test]
    fn hashes_finished_together_are_the_same() {
        let text: Vec<u8> = (0..=255).rev().collect();
        let last = b"0123456789abcdef0123456789abcdef";
        for first in 0..150 {
            for second in [0, 1, 23, 24, 55, 56, 63, 64, 119, 120, 200, first, 255 - first] {
                let texts = [text.get(..first).unwrap(), text.get(256 - second..).unwrap(), &[]];
                let hashes = texts.map(|text| {
                    let mut hash = Md5::new();
                    hash.write(text);
                    hash
                });
                let alone = texts.map(reference);
                let ended = texts.map(|text| reference(&[text, last].concat()));
                let ends = hashes.each_ref();
                assert_eq!(Md5::finish(ends.map(|hash| (hash, &[]))), alone, "{first}, {second}");
                assert_eq!(Md5::finish(ends.map(|hash| (hash, last))), ended, "{first}, {second}");
            }
        }
    }

    fn reference(octets: &[u8]) -> [u8; 16] {
        md5::Md5::digest(octets).into()
    }
}
