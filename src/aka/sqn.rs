//! Sequence numbers: SQN = SEQ || IND, the array that a UE checks them with, and what the network
//! does about an AUTS (TS 33.102 clauses 6.3.3, 6.3.5 and annex C).

use serde::{Deserialize, Serialize};

/// A sequence number, 48 bits: SEQ, then IND in the last `ind_bits` bits (TS 33.102 annex C.1.1.1).
///
/// How many bits IND has is the operator's choice, known to SIP database and UE, not to the number.
/// An `ind_bits` above [`IND_BITS_MAX`] counts as [`IND_BITS_MAX`].
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(try_from = "u64", into = "u64")]
pub struct Sqn(u64);

/// How many bits of an SQN are IND unless configured otherwise (TS 33.102 annex C.3).
pub const IND_BITS_DEFAULT: u8 = 5;

/// The most bits of an SQN that can be IND: 256 array entries.
pub const IND_BITS_MAX: u8 = 8;

/// How far, in SEQ, a challenge may be ahead of the highest one accepted (TS 33.102 annex C.3).
///
/// It keeps an attacker with access to the network from using the 48 bits up in a few steps.
pub const DELTA: u64 = 1 << 28;

const SQN_BITS: u8 = 48;

impl Sqn {
    /// Joins SEQ and IND. Of each, the bits that have no room are left out.
    pub const fn new(seq: u64, ind: u8, ind_bits: u8) -> Self {
        let ind_bits = clamp(ind_bits);
        Self::from_u64_truncating(seq << ind_bits | (ind as u64 & mask(ind_bits)))
    }

    /// Returns SEQ: all but the last `ind_bits` bits.
    pub const fn seq(self, ind_bits: u8) -> u64 {
        self.0 >> clamp(ind_bits)
    }

    /// Returns IND: the last `ind_bits` bits.
    #[expect(clippy::cast_possible_truncation, reason = "IND has at most 8 bits")]
    pub const fn ind(self, ind_bits: u8) -> u8 {
        (self.0 & mask(clamp(ind_bits))) as u8
    }

    /// Returns the 6 octets, most significant first.
    pub const fn to_octets(self) -> [u8; 6] {
        let [_, _, octets @ ..] = self.0.to_be_bytes();
        octets
    }

    /// Takes the 6 octets, most significant first.
    pub const fn from_octets(octets: [u8; 6]) -> Self {
        let mut wide = [0; 8];
        let [_, _, rest @ ..] = &mut wide;
        *rest = octets;
        Self(u64::from_be_bytes(wide))
    }

    pub(super) const fn to_u64(self) -> u64 {
        self.0
    }

    pub(super) const fn from_u64_truncating(value: u64) -> Self {
        Self(value & mask(SQN_BITS))
    }
}

impl TryFrom<u64> for Sqn {
    type Error = MalformedSqn;

    fn try_from(value: u64) -> Result<Self, MalformedSqn> {
        if value > mask(SQN_BITS) { Err(MalformedSqn::TooLarge) } else { Ok(Self(value)) }
    }
}

impl From<Sqn> for u64 {
    fn from(sqn: Sqn) -> Self {
        sqn.0
    }
}

/// The UE's memory of accepted challenges: `SEQ_MS(IND)`, one for each IND (TS 33.102 annex C.2).
///
/// Vectors fetched for different INDs may be used in any order; those of one IND only in theirs.
/// All zero at first, so that SEQ 0 is never accepted.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "Vec<u64>", into = "Vec<u64>")]
pub struct SqnArray {
    ind_bits: u8,
    /// `SEQ_MS` by IND; `2^ind_bits` entries.
    seq_ms: Vec<u64>,
}

impl SqnArray {
    /// Creates the array of a UE that has accepted nothing; `ind_bits` is 1 to [`IND_BITS_MAX`].
    ///
    /// # Errors
    ///
    /// [`MalformedSqn::IndBits`] when it is not.
    pub fn new(ind_bits: u8) -> Result<Self, MalformedSqn> {
        if !(1..=IND_BITS_MAX).contains(&ind_bits) {
            return Err(MalformedSqn::IndBits);
        }
        Ok(Self { ind_bits, seq_ms: vec![0; 1 << ind_bits] })
    }

    /// How many bits of SQN are IND.
    pub const fn ind_bits(&self) -> u8 {
        self.ind_bits
    }

    /// Accepts the SQN of a verified challenge and remembers it (TS 33.102 annex C.2.1).
    ///
    /// # Errors
    ///
    /// [`SqnOutOfRange`] when it was used before, is older than one used, or is more than [`DELTA`]
    /// ahead; nothing changes then, and the UE answers with an AUTS over [`SqnArray::highest`].
    pub fn accept(&mut self, sqn: Sqn) -> Result<(), SqnOutOfRange> {
        let highest = self.highest().seq(self.ind_bits);
        let seq = sqn.seq(self.ind_bits);
        let slot = usize::from(sqn.ind(self.ind_bits));
        let seq_ms = self.seq_ms.get_mut(slot).ok_or(SqnOutOfRange)?;
        if seq <= *seq_ms || seq.saturating_sub(highest) > DELTA {
            return Err(SqnOutOfRange);
        }
        *seq_ms = seq;
        Ok(())
    }

    /// Returns `SQN_MS`: the highest SQN accepted, 0 before the first.
    pub fn highest(&self) -> Sqn {
        (0..=u8::MAX)
            .zip(&self.seq_ms)
            .map(|(ind, seq)| Sqn::new(*seq, ind, self.ind_bits))
            .filter(|sqn| sqn.seq(self.ind_bits) > 0)
            .max()
            .unwrap_or_default()
    }
}

impl Default for SqnArray {
    /// Creates an array of 2^[`IND_BITS_DEFAULT`] entries.
    fn default() -> Self {
        Self { ind_bits: IND_BITS_DEFAULT, seq_ms: vec![0; 1 << IND_BITS_DEFAULT] }
    }
}

impl TryFrom<Vec<u64>> for SqnArray {
    type Error = MalformedSqn;

    /// Takes `SEQ_MS` by IND, 2 to 256 entries, a power of two.
    fn try_from(seq_ms: Vec<u64>) -> Result<Self, MalformedSqn> {
        let ind_bits = (1..=IND_BITS_MAX)
            .find(|bits| seq_ms.len() == 1 << bits)
            .ok_or(MalformedSqn::IndBits)?;
        if seq_ms.iter().any(|seq| *seq > mask(SQN_BITS - ind_bits)) {
            return Err(MalformedSqn::TooLarge);
        }
        Ok(Self { ind_bits, seq_ms })
    }
}

impl From<SqnArray> for Vec<u64> {
    fn from(array: SqnArray) -> Self {
        array.seq_ms
    }
}

/// A challenge whose SQN a UE must not accept: the synchronization failure of TS 33.102.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the sequence number is out of range")]
pub struct SqnOutOfRange;

/// Why a number or an array of them, read from a configuration or a record, cannot be one.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MalformedSqn {
    /// An SQN has 48 bits, and a SEQ what IND leaves of them.
    #[error("a sequence number has more bits than it may")]
    TooLarge,
    /// IND has 1 to 8 bits, and an array one entry for each IND.
    #[error("IND must have 1 to 8 bits")]
    IndBits,
}

/// What the network does about a verified AUTS (TS 33.102 clause 6.3.5).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Resynchronisation {
    /// The next SEQ would be accepted as it is: what the UE refused was an older vector.
    Keep,
    /// The UE is at the next SEQ or past it: go on from `next_seq`.
    Ahead {
        /// The SEQ of the next vector.
        next_seq: u64,
    },
    /// The next SEQ is more than [`DELTA`] past the UE, which would refuse it: go back to `next_seq`.
    ///
    /// Any SEQ from there on may have left before, with another RAND.
    Back {
        /// The SEQ of the next vector.
        next_seq: u64,
    },
}

/// Decides by the SEQ that the network would use next, and `SEQ_MS`, the highest accepted by the UE.
///
/// `seq_ms` must come from an AUTS whose MAC-S was verified: see [`super::Milenage::verify_auts`].
pub const fn resync_decision(next_seq: u64, seq_ms: u64) -> Resynchronisation {
    if next_seq <= seq_ms {
        Resynchronisation::Ahead { next_seq: seq_ms.saturating_add(1) }
    } else if next_seq - seq_ms > DELTA {
        Resynchronisation::Back { next_seq: seq_ms.saturating_add(1) }
    } else {
        Resynchronisation::Keep
    }
}

const fn clamp(ind_bits: u8) -> u8 {
    if ind_bits > IND_BITS_MAX { IND_BITS_MAX } else { ind_bits }
}

const fn mask(bits: u8) -> u64 {
    (1 << bits) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_sqn_is_seq_and_ind_for_any_number_of_ind_bits() {
        for (seq, ind, ind_bits, octets) in [
            (1, 1, 5, [0, 0, 0, 0, 0, 0x21]),
            (0xff, 5, 5, [0, 0, 0, 0, 0x1f, 0xe5]),
            (0x7ff, 31, 5, [0, 0, 0, 0, 0xff, 0xff]),
            (1, 1, 1, [0, 0, 0, 0, 0, 3]),
            (1, 255, 8, [0, 0, 0, 0, 1, 0xff]),
            ((1 << 43) - 1, 31, 5, [0xff; 6]),
            (0x21, 0, 0, [0, 0, 0, 0, 0, 0x21]),
        ] {
            let sqn = Sqn::new(seq, ind, ind_bits);
            assert_eq!(sqn.to_octets(), octets);
            assert_eq!(Sqn::from_octets(octets), sqn);
            assert_eq!((sqn.seq(ind_bits), sqn.ind(ind_bits)), (seq, ind));
        }
    }

    #[test]
    fn an_sqn_leaves_out_the_bits_that_have_no_room() {
        assert_eq!(Sqn::new(1 << 43, 32, 5), Sqn::default());
        assert_eq!(Sqn::new(u64::MAX, u8::MAX, u8::MAX).to_octets(), [0xff; 6]);
        assert_eq!(Sqn::try_from(1 << 48), Err(MalformedSqn::TooLarge));
        assert_eq!(Sqn::try_from((1 << 48) - 1).map(Sqn::to_octets), Ok([0xff; 6]));
    }

    #[test]
    fn a_ue_takes_the_inds_in_any_order_and_each_ind_in_its_own() {
        // 5 bits of IND, the SQN as a whole.
        for (sqns, last) in [
            (&[32_u64, 64, 33][..], Ok(())),
            (&[32, 96, 64], Err(SqnOutOfRange)),
            (&[32, 32], Err(SqnOutOfRange)),
            (&[64, 33], Ok(())),
            (&[0], Err(SqnOutOfRange)),
            (&[31], Err(SqnOutOfRange)),
        ] {
            let mut ue = SqnArray::default();
            let (end, before) = sqns.split_last().unwrap();
            for sqn in before {
                ue.accept(Sqn::try_from(*sqn).unwrap()).unwrap();
            }
            assert_eq!(ue.accept(Sqn::try_from(*end).unwrap()), last, "{sqns:?}");
        }
    }

    #[test]
    fn a_ue_refuses_more_than_delta_past_its_highest_and_is_then_as_before() {
        let mut ue = SqnArray::default();
        ue.accept(Sqn::new(10, 3, 5)).unwrap();
        let before = ue.clone();
        assert_eq!(ue.accept(Sqn::new(10 + DELTA + 1, 7, 5)), Err(SqnOutOfRange));
        assert_eq!(ue, before);
        assert_eq!(ue.accept(Sqn::new(10 + DELTA, 7, 5)), Ok(()));
        // The distance is from the highest of all INDs, not from that of its own.
        assert_eq!(ue.accept(Sqn::new(10 + 2 * DELTA, 3, 5)), Ok(()));
    }

    #[test]
    fn the_highest_is_over_all_inds() {
        let mut ue = SqnArray::new(8).unwrap();
        assert_eq!(ue.highest(), Sqn::default());
        for (seq, ind, highest) in [(5, 255, (5, 255)), (9, 0, (9, 0)), (7, 1, (9, 0))] {
            ue.accept(Sqn::new(seq, ind, 8)).unwrap();
            assert_eq!(ue.highest(), Sqn::new(highest.0, highest.1, 8));
        }
    }

    #[test]
    fn what_a_ue_accepts_is_what_the_annex_says_for_random_orders() {
        let mut seed = 0x5eed;
        println!("seed {seed:#x}");
        for _ in 0..200 {
            let mut ue = SqnArray::default();
            let mut accepted: Vec<Sqn> = Vec::new();
            for _ in 0..300 {
                let reach = if next(&mut seed).is_multiple_of(8) { 2 * DELTA } else { 64 };
                let floor = ue.highest().seq(5).saturating_sub(32);
                let sqn = Sqn::new(floor + next(&mut seed) % reach, ind(&mut seed), 5);
                let newer = accepted.iter().all(|s| s.ind(5) != sqn.ind(5) || s < &sqn);
                let highest = accepted.iter().max().copied().unwrap_or_default();
                let near = sqn.seq(5) <= highest.seq(5) + DELTA;
                let want = sqn.seq(5) > 0 && newer && near;
                assert_eq!(ue.accept(sqn).is_ok(), want, "{sqn:?} after {accepted:?}");
                if want {
                    accepted.push(sqn);
                }
                assert_eq!(ue.highest(), accepted.iter().max().copied().unwrap_or_default());
            }
        }
    }

    #[test]
    fn an_array_survives_being_recorded_and_a_damaged_record_is_refused() {
        let mut ue = SqnArray::new(2).unwrap();
        ue.accept(Sqn::new(7, 2, 2)).unwrap();
        let record = postcard::to_stdvec(&ue).unwrap();
        assert_eq!(postcard::from_bytes::<SqnArray>(&record).unwrap(), ue);
        for (entries, error) in [
            (vec![], MalformedSqn::IndBits),
            (vec![0], MalformedSqn::IndBits),
            (vec![0; 3], MalformedSqn::IndBits),
            (vec![0; 512], MalformedSqn::IndBits),
            (vec![0, 1 << 47], MalformedSqn::TooLarge),
        ] {
            assert_eq!(SqnArray::try_from(entries).unwrap_err(), error);
        }
        assert_eq!(SqnArray::new(0), Err(MalformedSqn::IndBits));
        assert_eq!(SqnArray::new(IND_BITS_MAX + 1), Err(MalformedSqn::IndBits));
    }

    #[test]
    fn the_network_goes_on_where_the_ue_will_accept() {
        use Resynchronisation::{Ahead, Back, Keep};
        for (next_seq, seq_ms, decision) in [
            (1, 0, Keep),
            (8, 7, Keep),
            (7, 7, Ahead { next_seq: 8 }),
            (2, 7, Ahead { next_seq: 8 }),
            (7 + DELTA, 7, Keep),
            (8 + DELTA, 7, Back { next_seq: 8 }),
            (u64::MAX, 7, Back { next_seq: 8 }),
            (0, u64::MAX, Ahead { next_seq: u64::MAX }),
        ] {
            assert_eq!(resync_decision(next_seq, seq_ms), decision, "{next_seq} {seq_ms}");
        }
    }

    #[test]
    fn after_any_resynchronization_the_ue_accepts_the_next_vector_of_any_ind() {
        let mut seed = 0x5eed;
        println!("seed {seed:#x}");
        for _ in 0..10_000 {
            let seq_ms = 1 + next(&mut seed) % (4 * DELTA);
            let next_seq = next(&mut seed) % (8 * DELTA);
            let next_seq = match resync_decision(next_seq, seq_ms) {
                Resynchronisation::Keep => next_seq,
                Resynchronisation::Ahead { next_seq } | Resynchronisation::Back { next_seq } => {
                    next_seq
                }
            };
            let mut entries = vec![0; 32];
            entries[usize::from(ind(&mut seed) % 32)] = seq_ms;
            let mut ue = SqnArray::try_from(entries).unwrap();
            let sqn = Sqn::new(next_seq, ind(&mut seed), 5);
            assert_eq!(ue.accept(sqn), Ok(()), "{next_seq} for {seq_ms}");
        }
    }

    fn ind(seed: &mut u64) -> u8 {
        next(seed).to_be_bytes()[0]
    }

    /// Splitmix64.
    fn next(seed: &mut u64) -> u64 {
        *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (*seed ^ *seed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}
