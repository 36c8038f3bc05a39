//! Challenges for identities that there are not, or not any more, or not together: whoever tries identities learns
//! nothing of which there are.
//!
//! Such a challenge is kept and ends like any other, and no response to it is right. As there are more identities that
//! do not exist than room for challenges, the oldest gives way beyond a maximum; a response to it is then one to a
//! nonce that is not live.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use super::{
    SipCore,
    user::{AttemptState, Secret},
};
use crate::{
    aka::{AuthVector, Autn, Rand},
    entropy::Entropy,
    identity::Impi,
    secret::SecretBytes,
};

/// Challenges of this kind that may be waiting for responses, unless configured otherwise.
pub const DECOYS_MAX: usize = 262_144;

/// The AMF that vectors for MILENAGE have as a rule, with the separation bit (TS 33.102 annex H). It can be read in AUTN.
const AMF: [u8; 2] = [0x80, 0];

/// Whom such challenges were sent to, the oldest first, and their numbers. Its lock is an innermost one.
#[derive(Debug, Default)]
pub(super) struct Decoys(Mutex<VecDeque<(Impi, u64)>>);

impl Decoys {
    pub(super) fn add(&self, impi: &Impi, number: u64) {
        self.lock().push_back((impi.clone(), number));
    }

    /// Takes out the oldest if there are more than `most`.
    fn take_beyond(&self, most: usize) -> Option<(Impi, u64)> {
        let mut all = self.lock();
        if all.len() > most { all.pop_front() } else { None }
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(Impi, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SipCore {
    /// Ends the oldest of these challenges while there are too many. The caller has no user's entry locked.
    pub(super) fn bound_decoys(&self) {
        while let Some((impi, number)) = self.decoys.take_beyond(self.config.decoys_max) {
            // Nobody waits for it any more if it was answered, or had its time.
            if self.challenges.take(number).is_none() {
                continue;
            }
            let Some(mut entry) = self.known_user(&impi) else { continue };
            entry.get_mut().attempts.retain(|attempt| {
                !matches!(&attempt.state, AttemptState::Challenged(it) if it.number == number)
            });
            self.leave(entry);
        }
    }
}

/// A vector that nobody has the key of, and that looks like any other: all of it is drawn, but for AMF.
pub(super) fn draw(entropy: &mut dyn Entropy) -> Secret {
    let mut rand = Rand::default();
    let mut autn = Autn::default();
    entropy.fill(&mut rand);
    entropy.fill(&mut autn);
    if let Some(amf) = autn.get_mut(6..8) {
        amf.copy_from_slice(&AMF);
    }
    let mut secret = zeroize::Zeroizing::new([0; 8 + 16 + 16]);
    entropy.fill(&mut *secret);
    let (xres, keys) = secret.split_at(8);
    let (ck, ik) = keys.split_at(16);
    let [xres, ck, ik] = [xres, ck, ik].map(SecretBytes::new);
    Secret::Decoy(AuthVector { rand, autn, xres, ck, ik })
}
