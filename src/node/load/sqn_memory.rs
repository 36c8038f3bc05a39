//! The sequence numbers that many UEs accepted, packed: what [`SqnArray`](crate::aka::SqnArray) is for one
//! of them (TS 33.102 annex C.2).

use crate::aka::{DELTA, Sqn, SqnOutOfRange};

/// `SEQ_MS` by UE and IND: the highest SQN of a UE in full, of each IND how far its SEQ is behind.
///
/// A SEQ that is 2^32 or more behind counts as 2^32 - 1 behind: what is older than that is refused, as if it
/// had been accepted before.
pub(super) struct SqnMemory {
    ind_bits: u8,
    highest: Vec<u64>,
    /// `2^ind_bits` for each UE.
    behind: Vec<u32>,
}

impl SqnMemory {
    /// The memory of so many UEs that accepted nothing. `ind_bits` is 1 to 8.
    pub(super) fn new(ues: usize, ind_bits: u8) -> Self {
        Self { ind_bits, highest: vec![0; ues], behind: vec![u32::MAX; ues << ind_bits] }
    }

    /// Accepts the SQN of a verified challenge of `ue`, and remembers it.
    ///
    /// # Errors
    ///
    /// As [`SqnArray::accept`](crate::aka::SqnArray::accept).
    pub(super) fn accept(&mut self, ue: u32, sqn: Sqn) -> Result<(), SqnOutOfRange> {
        let (bits, ue) = (self.ind_bits, ue as usize);
        let highest = self.highest.get_mut(ue).ok_or(SqnOutOfRange)?;
        let all = self.behind.get_mut(ue << bits..(ue + 1) << bits).ok_or(SqnOutOfRange)?;
        let (seq, highest_seq) = (sqn.seq(bits), *highest >> bits);
        let behind = all.get_mut(usize::from(sqn.ind(bits))).ok_or(SqnOutOfRange)?;
        let seq_ms = highest_seq.saturating_sub(u64::from(*behind));
        if seq <= seq_ms || seq.saturating_sub(highest_seq) > DELTA {
            return Err(SqnOutOfRange);
        }
        // DELTA is less than 2^32.
        let ahead = u32::try_from(seq.saturating_sub(highest_seq)).unwrap_or(u32::MAX);
        *behind = u32::try_from(highest_seq.saturating_sub(seq)).unwrap_or(u32::MAX);
        if ahead > 0 {
            let own = usize::from(sqn.ind(bits));
            for (ind, behind) in all.iter_mut().enumerate() {
                *behind = if ind == own { 0 } else { behind.saturating_add(ahead) };
            }
        }
        *highest = (*highest).max(sqn.into());
        Ok(())
    }

    /// `SQN_MS` of `ue`: the highest SQN that it accepted.
    pub(super) fn highest(&self, ue: u32) -> Sqn {
        let highest = self.highest.get(ue as usize).copied().unwrap_or_default();
        Sqn::try_from(highest).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{aka::SqnArray, node::load::random::Random};

    #[test]
    fn many_ues_accept_what_each_alone_would() {
        const UES: u32 = 3;
        for ind_bits in [1, 5, 8] {
            let mut memory = SqnMemory::new(UES as usize, ind_bits);
            let mut alone = vec![SqnArray::new(ind_bits).unwrap(); UES as usize];
            let mut random = Random::new(u64::from(ind_bits));
            let (mut accepted, mut refused) = (0, 0);
            for _ in 0..20_000 {
                let ue = u32::try_from(random.next_u64() % u64::from(UES)).unwrap();
                let ind = u8::try_from(random.next_u64() % (1 << ind_bits)).unwrap();
                let base = memory.highest(ue).seq(ind_bits);
                // Around the highest, seldom around the farthest allowed.
                let span = if random.next_u64().is_multiple_of(50) { 2 * DELTA } else { 40 };
                let seq = (base + random.next_u64() % span).saturating_sub(16);
                let sqn = Sqn::new(seq, ind, ind_bits);
                let outcome = memory.accept(ue, sqn);
                assert_eq!(outcome, alone[ue as usize].accept(sqn), "{seq} {ind} after {base}");
                assert_eq!(memory.highest(ue), alone[ue as usize].highest());
                if outcome.is_ok() { accepted += 1 } else { refused += 1 }
            }
            assert!(accepted > 1_000 && refused > 100, "{accepted} {refused}");
        }
    }
}
