//! Numbers that a seed repeats: arrivals, generated keys. Nothing that must be secret from a peer.

/// `SplitMix64`.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A uniformly random number.
    pub(super) const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A uniformly random number.
    pub(super) const fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    /// A uniformly random number above 0, at most 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    pub(super) fn next_unit(&mut self) -> f64 {
        ((self.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// An exponentially distributed number of mean 1: the gap between two arrivals of a Poisson process.
    pub(super) fn next_exponential(&mut self) -> f64 {
        -self.next_unit().ln()
    }
}
