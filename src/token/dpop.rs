//! Proofs of possession of a key (DPoP, RFC 9449): who has a token must also have the key that it names.

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{
    claims::{CLOCK_SKEW_SECS, NumericDate, TOKEN_ID_OCTETS_MAX, check_identifier},
    jws::{Algorithm, JwsError, Unverified},
    key::{Thumbprint, VerifyingKey},
};
use crate::time::Timestamp;

/// How old a proof may be, seconds; clocks may differ by [`CLOCK_SKEW_SECS`] besides.
pub const PROOF_AGE_SECS_MAX: u64 = 60;

/// The type of a proof in its header.
const PROOF_TYPE: &str = "dpop+jwt";

/// That the sender of one request has a key: only [`Proof::verify`] makes one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proof {
    /// The key.
    pub key: Thumbprint,
    /// What no other proof of it has: it is to be taken once.
    pub id: [u8; 32],
    /// When it was made.
    pub issued: Timestamp,
}

/// Why a text proves nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ProofError {
    /// It is no proof, or was not made with the key in it.
    #[error(transparent)]
    Jws(#[from] JwsError),
    /// Its header has no public key.
    #[error("has no public key in its header")]
    Key,
    /// It is for another request.
    #[error("is for another method or address")]
    Request,
    /// It is too old, or from the future.
    #[error("is too old, or from the future")]
    Time,
}

impl Proof {
    /// Verifies a proof for a request by `method` to `url`, without query and fragment (RFC 9449 clause 4.3).
    ///
    /// # Errors
    ///
    /// [`ProofError`]; a server answers `invalid_dpop_proof`.
    pub fn verify(text: &str, method: &str, url: &str, now: Timestamp) -> Result<Self, ProofError> {
        #[derive(Deserialize)]
        struct Claims {
            jti: String,
            htm: String,
            htu: String,
            iat: NumericDate,
        }
        let mut proof = Unverified::parse(text)?;
        if proof.token_type().as_deref() != Some(PROOF_TYPE) {
            return Err(JwsError::Type.into());
        }
        let jwk = proof.take_jwk().ok_or(ProofError::Key)?;
        let key = VerifyingKey::try_from(jwk).map_err(|_| ProofError::Key)?;
        let claims: Claims = proof.verify(&key, Algorithm::ACCEPTED)?.claims()?;
        check_identifier(&claims.jti, TOKEN_ID_OCTETS_MAX).map_err(|_| JwsError::Claims)?;
        let address = claims.htu.split(['?', '#']).next().unwrap_or_default();
        if claims.htm != method || address != url {
            return Err(ProofError::Request);
        }
        let (issued, now) = (claims.iat.0, now.as_secs());
        let earliest = now.saturating_sub(PROOF_AGE_SECS_MAX + CLOCK_SKEW_SECS);
        if issued < earliest || issued > now.saturating_add(CLOCK_SKEW_SECS) {
            return Err(ProofError::Time);
        }
        let key = key.thumbprint();
        let id = Sha256::new().chain_update(key.as_str()).chain_update(claims.jti).finalize();
        Ok(Self { key, id: id.into(), issued: claims.iat.timestamp() })
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    use serde_json::json;

    use super::*;
    use crate::token::key::SigningKey;

    /// RFC 9449 figure 1.
    const PROOF: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";

    const URL: &str = "https://server.example.com/token";

    fn verify_at(seconds: u64, text: &str) -> Result<Proof, ProofError> {
        Proof::verify(text, "POST", URL, Timestamp::from_secs(seconds))
    }

    #[test]
    fn the_example_of_rfc_9449_proves_its_key() {
        let proof = verify_at(1_562_262_616, PROOF).unwrap();
        assert_eq!(proof.key.as_str(), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
        assert_eq!(proof.issued, Timestamp::from_secs(1_562_262_616));
    }

    #[test]
    fn a_proof_is_for_one_request_and_a_short_time() {
        let at = Timestamp::from_secs(1_562_262_616);
        assert_eq!(Proof::verify(PROOF, "GET", URL, at), Err(ProofError::Request));
        let elsewhere = "https://other.example.com/token";
        assert_eq!(Proof::verify(PROOF, "POST", elsewhere, at), Err(ProofError::Request));
        for (seconds, outcome) in [(-31, false), (-29, true), (89, true), (91, false)] {
            let proof = verify_at(1_562_262_616_u64.checked_add_signed(seconds).unwrap(), PROOF);
            assert_eq!(proof.is_ok(), outcome, "{seconds} s: {proof:?}");
        }
    }

    #[test]
    fn a_proof_needs_its_type_its_key_and_the_signature_of_that_key() {
        let key = SigningKey::generate().unwrap();
        let jwk = String::from(key.public().clone());
        let private = jwk.replace("\"x\"", "\"d\":\"AAAA\",\"x\"");
        let other = String::from(SigningKey::generate().unwrap().public().clone());
        let claims = json!({"jti": "1", "htm": "POST", "htu": URL, "iat": 1_562_262_616});
        let signed = key.sign("dpop+jwt", &claims).unwrap();
        let mut parts = signed.split('.').skip(1);
        let rest = format!("{}.{}", parts.next().unwrap(), parts.next().unwrap());
        for (header, error) in [
            (format!(r#"{{"alg":"ES256","typ":"JWT","jwk":{jwk}}}"#), JwsError::Type.into()),
            (format!(r#"{{"alg":"ES256","jwk":{jwk}}}"#), JwsError::Type.into()),
            (r#"{"alg":"ES256","typ":"dpop+jwt"}"#.to_owned(), ProofError::Key),
            (format!(r#"{{"alg":"ES256","typ":"dpop+jwt","jwk":{private}}}"#), ProofError::Key),
            (
                r#"{"alg":"ES256","typ":"dpop+jwt","jwk":{"kty":"oct","k":"AA"}}"#.to_owned(),
                ProofError::Key,
            ),
            (
                format!(r#"{{"alg":"HS256","typ":"dpop+jwt","jwk":{jwk}}}"#),
                JwsError::Algorithm.into(),
            ),
            (
                format!(r#"{{"alg":"none","typ":"dpop+jwt","jwk":{jwk}}}"#),
                JwsError::Algorithm.into(),
            ),
            (
                format!(r#"{{"alg":"ES256","typ":"dpop+jwt","jwk":{other}}}"#),
                JwsError::Signature.into(),
            ),
        ] {
            let proof = format!("{}.{rest}", BASE64_URL_SAFE_NO_PAD.encode(&header));
            assert_eq!(verify_at(1_562_262_616, &proof), Err(error), "{header}");
        }
    }
}
