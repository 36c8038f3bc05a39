//! A keyed permutation of `0..=last`: the n-th generated identity without a list of used ones.
//!
//! A Feistel network over AES-256 permutes the smallest power of four that holds the domain; what falls
//! outside is permuted again until it falls inside (cycle walking), which keeps the map one-to-one.
//! For 2^64 values nothing falls outside.

use aes::{
    Aes256, Block,
    cipher::{BlockCipherEncrypt, KeyInit},
};

use crate::secret::Secret;

/// Rounds of the network. Four make it indistinguishable from random for few queries (Luby and Rackoff);
/// ten is what FF1 of NIST SP 800-38G takes for the same construction.
const ROUNDS: u8 = 10;

/// A permutation of the numbers `0..=last`, unpredictable without its key.
pub struct Permutation {
    cipher: Aes256,
    last: u64,
    half_bits: u32,
}

impl Permutation {
    /// Creates the permutation of `0..=last` that `key` selects.
    pub fn new(key: &Secret<32>, last: u64) -> Self {
        let bits = u64::BITS - last.leading_zeros();
        Self { cipher: Aes256::new(key.expose().into()), last, half_bits: bits.div_ceil(2) }
    }

    /// Returns what `n` maps to, or `None` if `n` is outside `0..=last`.
    pub fn apply(&self, n: u64) -> Option<u64> {
        if n > self.last {
            return None;
        }
        let mut value = self.feistel(n);
        // A cycle that starts inside comes back inside; on average after fewer than four steps.
        while value > self.last {
            value = self.feistel(value);
        }
        Some(value)
    }

    fn feistel(&self, value: u64) -> u64 {
        let mask = (1_u64 << self.half_bits) - 1;
        let (mut left, mut right) = ((value >> self.half_bits) & mask, value & mask);
        for round in 0..ROUNDS {
            (left, right) = (right, left ^ (self.round(round, right) & mask));
        }
        (left << self.half_bits) | right
    }

    /// The round function; the domain is part of its input, so that one key serves several.
    fn round(&self, round: u8, half: u64) -> u64 {
        let input = u128::from(self.last) << 64 | u128::from(round) << 56 | u128::from(half);
        let mut block = Block::from(input.to_be_bytes());
        self.cipher.encrypt_block(&mut block);
        let wide = u128::from_be_bytes(block.into());
        u64::try_from(wide >> 64).unwrap_or_default()
    }
}

/// The key does not print.
impl std::fmt::Debug for Permutation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Permutation").field("last", &self.last).finish_non_exhaustive()
    }
}
