//! A soft ISIM: the subscriber's side of AKA (TS 33.102 clause 6.3.3).

use crate::{
    aka::{Autn, Auts, Milenage, Rand, SqnArray, UeAnswer},
    secret::Secret,
};

/// The key material and sequence numbers of one subscriber. Never prints a key.
#[derive(Clone, Debug)]
pub struct Isim {
    milenage: Milenage,
    sqn: SqnArray,
}

/// Why the ISIM refuses a challenge.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// MAC-A is wrong: the challenge does not come from the home. Answered without a response.
    MacFailure,
    /// The SQN is out of range. Answered with AUTS, so that the home can catch up.
    SynchronizationFailure(Auts),
}

impl Isim {
    /// Creates an ISIM that has accepted what `sqn` holds.
    pub fn new(k: &Secret<16>, opc: &Secret<16>, sqn: SqnArray) -> Self {
        Self { milenage: Milenage::new(k, opc), sqn }
    }

    /// The same ISIM, after it has accepted what `sqn` holds.
    #[must_use]
    pub fn with_sqn(self, sqn: SqnArray) -> Self {
        Self { sqn, ..self }
    }

    /// The sequence numbers accepted so far, for another process of the same UE.
    pub const fn sqn(&self) -> &SqnArray {
        &self.sqn
    }

    /// Checks a challenge, MAC before SQN, and answers it.
    ///
    /// # Errors
    ///
    /// [`Refusal`] as in TS 33.102 clause 6.3.3; the sequence numbers are unchanged then.
    pub fn authenticate(&mut self, rand: &Rand, autn: &Autn) -> Result<UeAnswer, Refusal> {
        let answer = self.milenage.verify_autn(rand, autn).map_err(|_| Refusal::MacFailure)?;
        if self.sqn.accept(answer.sqn).is_ok() {
            return Ok(answer);
        }
        let auts = self.milenage.auts(rand, self.sqn.highest());
        Err(Refusal::SynchronizationFailure(auts))
    }
}
