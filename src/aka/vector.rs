//! The authentication vector (TS 33.102 clause 6.3.2, TS 33.203 clause 6.1).

use crate::secret::SecretBytes;

/// RAND, 16 octets: the challenge. Not secret.
pub type Rand = [u8; 16];

/// AUTN, 16 octets: `(SQN xor AK)[6] || AMF[2] || MAC-A[8]`. Not secret.
pub type Autn = [u8; 16];

/// AUTS, 14 octets: `(SQN_MS xor AK*)[6] || MAC-S[8]`. Not secret.
pub type Auts = [u8; 14];

/// AMF, 2 octets: the authentication management field, most significant bit the separation bit.
///
/// Not secret. 8000 is what IMS subscribers are given in the field (TS 33.102 annex H).
pub type Amf = [u8; 2];

/// What authenticates one attempt: a challenge, its expected answer, and the keys agreed by it.
///
/// It depends on the subscriber's key and SQN alone, not on user name, realm or URI: a vector of the
/// primary system authenticates an inbound migration identity in the partner's realm.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuthVector {
    /// The challenge.
    pub rand: Rand,
    /// The network's proof to the UE.
    pub autn: Autn,
    /// The expected answer, 4 to 16 octets (MILENAGE: 8).
    pub xres: SecretBytes,
    /// The confidentiality key, 16 or 32 octets.
    pub ck: SecretBytes,
    /// The integrity key, 16 or 32 octets.
    pub ik: SecretBytes,
}
