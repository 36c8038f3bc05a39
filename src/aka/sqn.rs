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
