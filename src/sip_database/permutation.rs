//! A keyed permutation of `0..=last`: the n-th generated identity without a list of used ones.
//!
//! A Feistel network over AES-256 permutes the smallest power of four that holds the domain; what falls
//! outside is permuted again until it falls inside (cycle walking), which keeps the map one-to-one.
//! For 2^64 values nothing falls outside.

use std::mem;

use aes::{
    Aes256, Block,
    cipher::{BlockCipherEncrypt, KeyInit},
};

use crate::secret::Secret;

/// Rounds of the network, unless halves are [`LARGE_HALF_BITS`] long: what FF1 of NIST SP 800-38G takes for the
/// same construction, whose domains may be small.
const ROUNDS: u8 = 10;
/// Rounds on large domains. Six make it indistinguishable from random, inverse included, for all who see far
/// fewer values than a half has (J. Patarin, Security of Random Feistel Schemes with 5 or More Rounds, CRYPTO
/// 2004): that many bindings no system has.
const ROUNDS_LARGE: u8 = 6;
/// Bits of the halves of a large domain.
const LARGE_HALF_BITS: u32 = 32;

/// Values that are permuted side by side: as many blocks as the widest AES instructions are given at a time. With fewer
/// the cipher takes one block after the other.
pub(super) const AT_ONCE: usize = 64;

/// A permutation of the numbers `0..=last`, unpredictable without its key.
pub struct Permutation {
    cipher: Aes256,
    last: u64,
    half_bits: u32,
    rounds: u8,
}

impl Permutation {
    /// Creates the permutation of `0..=last` that `key` selects.
    pub fn new(key: &Secret<32>, last: u64) -> Self {
        let half_bits = (u64::BITS - last.leading_zeros()).div_ceil(2);
        let rounds = if half_bits < LARGE_HALF_BITS { ROUNDS } else { ROUNDS_LARGE };
        Self { cipher: Aes256::new(key.expose().into()), last, half_bits, rounds }
    }

    /// Returns what `n` maps to, or `None` if `n` is outside `0..=last`.
    pub fn apply(&self, n: u64) -> Option<u64> {
        let mut value = [n];
        self.apply_to(&mut value).then_some(value).map(|[value]| value)
    }

    /// Replaces each number by what it maps to, many at the same time; `false` if one of them is outside
    /// `0..=last`, and then they are of no use.
    pub fn apply_to(&self, numbers: &mut [u64]) -> bool {
        if numbers.iter().any(|n| *n > self.last) {
            return false;
        }
        let (many, few) = numbers.as_chunks_mut();
        for numbers in many {
            self.feistel::<AT_ONCE>(numbers);
        }
        for number in few.as_chunks_mut().0 {
            self.feistel::<1>(number);
        }
        // A cycle that starts inside comes back inside; on average after fewer than four steps.
        for number in numbers.as_chunks_mut().0 {
            while number[0] > self.last {
                self.feistel::<1>(number);
            }
        }
        true
    }

    /// Permutes some values. Their rounds go side by side: what takes time in a block cipher is
    /// one round after the other, and a processor works on several blocks as fast as on one.
    fn feistel<const N: usize>(&self, values: &mut [u64; N]) {
        let mask = (1_u64 << self.half_bits) - 1;
        let (mut left, mut right, mut blocks) = ([0; N], [0; N], [Block::default(); N]);
        for (value, (left, right)) in values.iter().zip(left.iter_mut().zip(&mut right)) {
            (*left, *right) = ((value >> self.half_bits) & mask, value & mask);
        }
        let (mut left, mut right) = (&mut left, &mut right);
        for round in 0..self.rounds {
            for (block, right) in blocks.iter_mut().zip(&*right) {
                *block = self.round_input(round, *right);
            }
            self.cipher.encrypt_blocks(&mut blocks);
            for (left, block) in left.iter_mut().zip(&blocks) {
                *left ^= round_output(block) & mask;
            }
            mem::swap(&mut left, &mut right);
        }
        for (value, (left, right)) in values.iter_mut().zip(left.iter().zip(&*right)) {
            *value = left << self.half_bits | right;
        }
    }

    /// What the round function encrypts; the domain is part of it, so that one key serves several.
    fn round_input(&self, round: u8, half: u64) -> Block {
        let input = u128::from(self.last) << 64 | u128::from(round) << 56 | u128::from(half);
        Block::from(input.to_be_bytes())
    }
}

/// The first half of a block.
fn round_output(block: &Block) -> u64 {
    block.first_chunk().map_or(0, |half| u64::from_be_bytes(*half))
}

/// The key does not print.
impl std::fmt::Debug for Permutation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Permutation").field("last", &self.last).finish_non_exhaustive()
    }
}
