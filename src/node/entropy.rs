//! Randomness from the operating system.

use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroize;

use crate::entropy::Entropy;

/// Octets asked of the operating system at a time, so that a vector costs no system call of its own.
const BUFFER_OCTETS: usize = 1_024;

/// The operating system's generator, buffered. Octets given out are erased from the buffer.
pub struct SystemEntropy {
    source: SystemRandom,
    buffer: Box<[u8; BUFFER_OCTETS]>,
    used: usize,
}

impl SystemEntropy {
    /// Creates a source; the first octets are asked for when needed.
    pub fn new() -> Self {
        Self {
            source: SystemRandom::new(),
            buffer: Box::new([0; BUFFER_OCTETS]),
            used: BUFFER_OCTETS,
        }
    }

    #[expect(clippy::expect_used, reason = "without randomness no key or challenge may be made")]
    fn refill(&mut self) {
        self.source.fill(&mut *self.buffer).expect("the operating system gives random octets");
        self.used = 0;
    }
}

impl Default for SystemEntropy {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for SystemEntropy {
    fn drop(&mut self) {
        self.buffer.zeroize();
    }
}

impl Entropy for SystemEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        for part in out.chunks_mut(BUFFER_OCTETS) {
            if BUFFER_OCTETS - self.used < part.len() {
                self.refill();
            }
            let fresh = self.buffer.get_mut(self.used..self.used + part.len()).unwrap_or_default();
            part.copy_from_slice(fresh);
            fresh.zeroize();
            self.used += part.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_are_given_out_once_even_across_refills() {
        let mut entropy = SystemEntropy::new();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1_000 {
            let mut octets = [0; 24];
            entropy.fill(&mut octets);
            assert!(seen.insert(octets));
        }
        let mut long = [0; 3 * BUFFER_OCTETS];
        entropy.fill(&mut long);
        assert!(long.chunks(24).all(|part| part.iter().any(|octet| *octet != 0)));
    }
}
