//! What several test binaries share.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

use migcore::entropy::Entropy;

/// A seeded generator (SplitMix64): the same seed gives the same run.
#[derive(Clone, Debug)]
pub struct Seeded(pub u64);

impl Entropy for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let word = self.draw().to_be_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

impl Seeded {
    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }
}

/// A number below `bound`; 0 if that is 0.
pub fn below(entropy: &mut Seeded, bound: usize) -> usize {
    usize::try_from(entropy.below(bound.max(1) as u64)).unwrap()
}

/// Spoils octets in a few places: cuts, repeats, flips, puts in of `spice`, which parsers stumble over, and of `other`.
pub fn mutate(entropy: &mut Seeded, octets: &mut Vec<u8>, spice: &[u8], other: &[u8]) {
    for _ in 0..=below(entropy, 4) {
        let at = below(entropy, octets.len());
        let end = (at + below(entropy, 40)).min(octets.len());
        match below(entropy, 7) {
            0 => octets.truncate(at),
            1 => drop(octets.drain(at..end)),
            2 => {
                let piece = octets[at..end].to_vec();
                octets.splice(at..at, piece);
            }
            3 if !octets.is_empty() => octets[at] ^= 1 << below(entropy, 8),
            4 if !octets.is_empty() => octets[at] = spice[below(entropy, spice.len())],
            5 => octets.insert(at, spice[below(entropy, spice.len())]),
            _ => {
                let from = below(entropy, other.len());
                let to = (from + below(entropy, 200)).min(other.len());
                octets.splice(at..at, other[from..to].iter().copied());
            }
        }
    }
}
