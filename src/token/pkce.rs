//! Proof key for code exchange (RFC 7636), method S256 alone: TS 33.180 clause B.3 leaves no other.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use crate::secret::Secret;

/// Octets of a code verifier.
const VERIFIER_OCTETS: std::ops::RangeInclusive<usize> = 43..=128;

/// A code challenge: the SHA-256 of a verifier.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Challenge(Secret<32>);

impl Challenge {
    /// Reads a challenge; `None` for what is not the base64url of 32 octets.
    pub fn parse(text: &str) -> Option<Self> {
        let octets = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        Some(Self(Secret::new(octets.try_into().ok()?)))
    }

    /// Whether this verifier was challenged. Takes the same time for every verifier of a length.
    pub fn is_of(&self, verifier: &str) -> bool {
        let is_unreserved = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~".contains(&octet);
        let is_verifier =
            VERIFIER_OCTETS.contains(&verifier.len()) && verifier.bytes().all(is_unreserved);
        is_verifier && self.0 == Secret::new(Sha256::digest(verifier).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7636 appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

    #[test]
    fn the_example_of_rfc_7636_appendix_b_fits() {
        let challenge = Challenge::parse("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM").unwrap();
        assert!(challenge.is_of(VERIFIER));
        assert!(!challenge.is_of(&VERIFIER.replace('d', "e")));
        assert!(!challenge.is_of("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"));
    }

    #[test]
    fn what_is_no_challenge_or_no_verifier_fits_nothing() {
        for wrong in
            ["", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-c", VERIFIER.trim_end_matches('k')]
        {
            assert!(Challenge::parse(wrong).is_none(), "{wrong}");
        }
        for verifier in ["short".to_owned(), "a".repeat(129), format!("{}+", "a".repeat(60))] {
            let digest = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
            assert!(!Challenge::parse(&digest).unwrap().is_of(&verifier), "{verifier}");
        }
    }
}
