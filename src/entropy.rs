//! Randomness as an argument, so that the simulated world can repeat a run.

/// A source of random octets. `node` gives the operating system's generator, `sim` a seeded one.
pub trait Entropy {
    /// Fills `out` with uniformly random octets.
    fn fill(&mut self, out: &mut [u8]);

    /// Returns a uniformly random 64-bit number.
    fn next_u64(&mut self) -> u64 {
        let mut octets = [0; 8];
        self.fill(&mut octets);
        u64::from_be_bytes(octets)
    }
}
