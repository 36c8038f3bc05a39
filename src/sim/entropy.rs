//! The seeded generator of the simulated world.
//!
//! **Never for production**: its whole output follows from the seed, and a few outputs give the rest
//! away. `node` has the operating system's generator.

use std::time::Duration;

use crate::entropy::Entropy;

/// xoshiro256** (Blackman and Vigna), its state filled by splitmix64 as its authors advise.
#[derive(Clone, Debug)]
pub struct SeededEntropy([u64; 4]);

impl SeededEntropy {
    /// Creates a generator; the same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        Self(std::array::from_fn(|_| splitmix64(&mut state)))
    }

    /// Creates an independent generator, so that one consumer's draws do not shift another's.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self::new(self.next_u64())
    }

    /// A number from 0 to `bound` - 1; 0 if `bound` is 0. The bias is below 2^-32 for small bounds.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// Whether something happens that happens `permille` times in 1,000.
    pub fn happens(&mut self, permille: u64) -> bool {
        permille > 0 && self.below(1_000) < permille
    }

    /// A span from `least` to `most`, microsecond by microsecond alike.
    pub fn span(&mut self, least: Duration, most: Duration) -> Duration {
        let width = micros(most.saturating_sub(least)).saturating_add(1);
        least + Duration::from_micros(self.below(width))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let octets = self.next_u64().to_be_bytes();
            for (to, from) in chunk.iter_mut().zip(octets) {
                *to = from;
            }
        }
    }

    fn next_u64(&mut self) -> u64 {
        let [mut s0, mut s1, mut s2, mut s3] = self.0;
        let drawn = s1.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = s1 << 17;
        s2 ^= s0;
        s3 ^= s1;
        s1 ^= s2;
        s0 ^= s3;
        s2 ^= shifted;
        s3 = s3.rotate_left(45);
        self.0 = [s0, s1, s2, s3];
        drawn
    }
}

fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix64_gives_the_published_numbers() {
        // https://prng.di.unimi.it/splitmix64.c run with x = 1234567
        let mut state = 1_234_567;
        let drawn: Vec<u64> = (0..3).map(|_| splitmix64(&mut state)).collect();
        let published =
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!(drawn, published);
    }

    #[test]
    fn xoshiro256_gives_the_published_numbers() {
        // https://prng.di.unimi.it/xoshiro256starstar.c run with s = {1, 2, 3, 4}
        let mut entropy = SeededEntropy([1, 2, 3, 4]);
        let drawn: Vec<u64> = (0..5).map(|_| entropy.next_u64()).collect();
        assert_eq!(
            drawn,
            [11_520, 0, 1_509_978_240, 1_215_971_899_390_074_240, 1_216_172_134_540_287_360]
        );
    }

    #[test]
    fn a_span_stays_within_its_bounds_and_reaches_both() {
        let mut entropy = SeededEntropy::new(7);
        let (least, most) = (Duration::from_micros(3), Duration::from_micros(5));
        let drawn: std::collections::BTreeSet<u128> =
            (0..100).map(|_| entropy.span(least, most).as_micros()).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [3, 4, 5]);
    }
}
