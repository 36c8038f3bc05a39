//! What the SIP core holds about a user who is on the way: attempts to register.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::{
    aka::{
        AuthVector,
        digest::{Algorithm, DigestVerified, Ha1, NonceText},
    },
    diameter::cx::ServerAssignmentType,
    identity::Impu,
    time::Timestamp,
};

use super::{registration::RegistrationUpdate, third_party::Carried};

/// Most repeats of an initial REGISTER on other transports that wait for its vector too.
pub(super) const REPEATS_MAX: usize = 7;

/// A user, by private identity. Whoever changes the user's registration has this entry locked.
#[derive(Debug, Default)]
pub(super) struct User {
    pub(super) attempts: SmallVec<[Attempt; 1]>,
    /// Whether the user has a registration: known here, so that it need not be looked up to forget the user.
    pub(super) is_registered: bool,
}

/// One attempt to register.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) origin: Origin,
    pub(super) state: AttemptState,
}

/// What an attempt keeps through all its states: the REGISTER that began it.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// The key of its Call-ID.
    pub(super) call: u128,
    pub(super) cseq: u32,
    pub(super) impu: Impu,
    pub(super) algorithm: Algorithm,
    /// How often the UE has sent AUTS in this attempt.
    pub(super) resyncs: u8,
    /// Whether the UE answered with a nonce that is not live: the challenge says `stale=true`.
    pub(super) stale: bool,
    /// When the REGISTER came that the SIP database was asked for.
    pub(super) began: Timestamp,
}

impl Origin {
    /// The algorithm of a challenge.
    pub(super) const fn algorithm_of(&self, secret: &Secret) -> &'static str {
        match secret {
            Secret::Vector(_) | Secret::Decoy(_) => self.algorithm.as_str(),
            Secret::Password { ha1, .. } => ha1.algorithm().as_str(),
        }
    }
}

/// Where an attempt stands.
#[derive(Debug)]
pub(super) enum AttemptState {
    /// After `MIG-16`: the SIP database was asked for a vector.
    AwaitVector(AwaitVector),
    /// After `MIG-22`: the UE was challenged.
    Challenged(Challenged),
    /// After `MIG-23`: the response was right, and the SIP database was told.
    AwaitAssignment(AwaitAssignment),
}

/// The SIP database was asked for a vector.
#[derive(Debug)]
pub(super) struct AwaitVector {
    /// The number of the Cx request.
    pub(super) request: u64,
    /// The transaction that gets the challenge.
    pub(super) transaction: u128,
    /// Those that get it too: of the same REGISTER, repeated on other transports.
    pub(super) repeats: Vec<u128>,
    /// Whether the request carried AUTS.
    pub(super) resync: bool,
}

/// The UE was challenged. With a password it may answer more than once, for as long again each time.
#[derive(Debug)]
pub(super) struct Challenged {
    pub(super) secret: Secret,
    /// The nonce as sent.
    pub(super) nonce: NonceText,
    /// When the UE has had its time to answer.
    pub(super) expires_at: Timestamp,
    /// The number under which it waits for that.
    pub(super) number: u64,
}

/// What a response is checked with.
#[derive(Debug)]
pub(super) enum Secret {
    /// Of a UE with an ISIM: good for one response.
    Vector(AuthVector),
    /// Of nobody: no response is right.
    Decoy(AuthVector),
    /// Of a UE with a password.
    Password {
        ha1: Ha1,
        /// The highest nonce count that came with a right response; 0 before the first.
        nonce_count: u32,
    },
}

impl Secret {
    /// The vector behind a challenge of AKA, be there a UE or not.
    pub(super) const fn vector(&self) -> Option<&AuthVector> {
        match self {
            Self::Vector(vector) | Self::Decoy(vector) => Some(vector),
            Self::Password { .. } => None,
        }
    }
}

impl Challenged {
    /// Whether a right response came already.
    pub(super) const fn is_answered(&self) -> bool {
        matches!(self.secret, Secret::Password { nonce_count: 1.., .. })
    }

    /// Whether the nonce may not be used with the nonce count `nc`: it was, or with a higher one. A response
    /// without any is taken once.
    pub(super) fn is_used(&self, nc: Option<&str>) -> bool {
        let Secret::Password { nonce_count, .. } = self.secret else { return false };
        match nc {
            Some(nc) => nonce_count_of(nc).is_some_and(|nc| nc <= nonce_count),
            None => self.is_answered(),
        }
    }
}

/// Reads a nonce count: 8 hexadecimal digits.
pub(super) fn nonce_count_of(nc: &str) -> Option<u32> {
    let is_count = nc.len() == 8 && nc.bytes().all(|digit| digit.is_ascii_hexdigit());
    if is_count { u32::from_str_radix(nc, 16).ok() } else { None }
}

/// The response was right; the SIP database was told.
#[derive(Debug)]
pub(super) struct AwaitAssignment {
    /// The number of the Cx request.
    pub(super) request: u64,
    /// The transaction that gets the 200.
    pub(super) transaction: u128,
    /// What the SIP database was told.
    pub(super) assignment: ServerAssignmentType,
    /// What to do once the SIP database agrees.
    pub(super) update: RegistrationUpdate,
    /// The REGISTER itself, if an application server wants to have it.
    pub(super) carried: Option<Carried>,
    /// The header field Authentication-Info of the 200: proof that this side knows RES too.
    pub(super) authentication_info: Option<Bytes>,
    /// That the UE answered its challenge.
    pub(super) proof: DigestVerified,
}

/// Whether there is room for one more attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Room {
    /// There is.
    Free,
    /// The oldest challenge gave way.
    Made,
    /// None: all attempts wait for the SIP database.
    None,
}

impl AwaitVector {
    /// All transactions that get the challenge.
    pub(super) fn transactions(&self) -> impl Iterator<Item = u128> {
        std::iter::once(self.transaction).chain(self.repeats.iter().copied())
    }
}

impl Attempt {
    /// The public identity that the SIP database was told of, if it was.
    pub(super) fn assigned(&self) -> Option<&Impu> {
        matches!(&self.state, AttemptState::AwaitAssignment(_)).then_some(&self.origin.impu)
    }

    /// Whether it is a challenge that was answered, and may be again.
    pub(super) fn is_answered(&self) -> bool {
        matches!(&self.state, AttemptState::Challenged(challenged) if challenged.is_answered())
    }

    /// Whether the UE has had its time to answer. The timer that removes the attempt may come later.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        matches!(&self.state, AttemptState::Challenged(challenged) if challenged.expires_at <= now)
    }
}

impl User {
    pub(super) fn is_idle(&self) -> bool {
        self.attempts.is_empty()
    }

    /// Whether the SIP database has been asked to take the user as registered, and has not answered yet.
    pub(super) fn is_being_registered(&self) -> bool {
        self.attempts.iter().any(|attempt| match &attempt.state {
            AttemptState::AwaitAssignment(waiting) => {
                waiting.assignment != ServerAssignmentType::UserDeregistration
            }
            AttemptState::AwaitVector(_) | AttemptState::Challenged(_) => false,
        })
    }

    /// The attempt that a repeated initial REGISTER belongs to.
    pub(super) fn attempt_of(
        &mut self,
        call: u128,
        cseq: u32,
        now: Timestamp,
    ) -> Option<&mut Attempt> {
        self.attempts.iter_mut().find(|attempt| {
            attempt.origin.call == call && attempt.origin.cseq == cseq && !attempt.is_over(now)
        })
    }

    /// Takes out the attempt whose challenge the UE answers in time.
    pub(super) fn take_challenged(
        &mut self,
        call: u128,
        nonce: &str,
        now: Timestamp,
    ) -> Option<(Origin, Challenged)> {
        let at = self.attempts.iter().position(|attempt| {
            attempt.origin.call == call
                && !attempt.is_over(now)
                && matches!(&attempt.state, AttemptState::Challenged(challenged) if *challenged.nonce == *nonce)
        })?;
        let Attempt { origin, state } = self.attempts.remove(at);
        match state {
            AttemptState::Challenged(challenged) => Some((origin, challenged)),
            AttemptState::AwaitVector(_) | AttemptState::AwaitAssignment(_) => None,
        }
    }

    /// Takes out the attempt that waits for the Cx request `number`.
    pub(super) fn take_waiting(&mut self, number: u64) -> Option<Attempt> {
        let at = self.attempts.iter().position(|attempt| match &attempt.state {
            AttemptState::AwaitVector(state) => state.request == number,
            AttemptState::AwaitAssignment(state) => state.request == number,
            AttemptState::Challenged(_) => false,
        })?;
        Some(self.attempts.remove(at))
    }

    /// Makes room for one more attempt, of `most` at a time: an earlier challenge of the same Call-ID is
    /// superseded, otherwise the oldest challenge gives way. `gone` is told of each challenge that is no more.
    pub(super) fn make_room(
        &mut self,
        call: u128,
        most: usize,
        gone: impl Fn(&Challenged),
    ) -> Room {
        self.attempts.retain(|attempt| match &attempt.state {
            AttemptState::Challenged(challenged) if attempt.origin.call == call => {
                gone(challenged);
                false
            }
            AttemptState::AwaitVector(_)
            | AttemptState::Challenged(_)
            | AttemptState::AwaitAssignment(_) => true,
        });
        if self.attempts.len() < most {
            return Room::Free;
        }
        let challenged = |attempt: &Attempt| matches!(attempt.state, AttemptState::Challenged(_));
        if let Some(at) = self.attempts.iter().position(challenged)
            && let AttemptState::Challenged(oldest) = &self.attempts.remove(at).state
        {
            gone(oldest);
            return if oldest.is_answered() { Room::Free } else { Room::Made };
        }
        Room::None
    }
}
