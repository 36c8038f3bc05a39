//! Credentials: bearer tokens of HTTP requests (RFC 6750), and what an identity management server is made of: signed
//! tokens and their claims (TS 33.180 annex B), keys, certificates, proofs, passwords.
//!
//! Tokens are static on CSC-17 (a peer system's), and in laboratories on CSC-4 (a user's). A server keeps only the
//! digest of a token it accepts.

pub mod certificate;
pub mod claims;
pub mod dpop;
pub mod issuer;
pub mod jwk;
pub mod jws;
pub mod key;
pub mod password;
pub mod pkce;
pub mod scope;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{
    entropy::Entropy,
    secret::{Secret, SecretBytes},
};

/// Shortest token, octets: 128 bits in base64 need 22.
pub const TOKEN_OCTETS_MIN: usize = 22;

/// Longest token, octets.
pub const TOKEN_OCTETS_MAX: usize = 4_096;

/// A bearer token. Never prints.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BearerToken(SecretBytes);

/// Why a text is no bearer token.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidToken {
    /// Shorter than [`TOKEN_OCTETS_MIN`].
    #[error("is shorter than 22 characters: draw at least 128 bits at random")]
    TooShort,
    /// Longer than [`TOKEN_OCTETS_MAX`].
    #[error("is longer than 4096 characters")]
    TooLong,
    /// A character outside of `b64token` of RFC 6750 clause 2.1.
    #[error("holds a character other than letters, digits and -._~+/=")]
    ForbiddenCharacter,
}

impl BearerToken {
    /// Parses the `b64token` of RFC 6750 clause 2.1.
    ///
    /// # Errors
    ///
    /// [`InvalidToken`] names the rule that `text` breaks.
    pub fn parse(text: &str) -> Result<Self, InvalidToken> {
        let fits = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~+/=".contains(&octet);
        if text.len() < TOKEN_OCTETS_MIN {
            Err(InvalidToken::TooShort)
        } else if text.len() > TOKEN_OCTETS_MAX {
            Err(InvalidToken::TooLong)
        } else if !text.bytes().all(fits) {
            Err(InvalidToken::ForbiddenCharacter)
        } else {
            Ok(Self(SecretBytes::new(text.as_bytes())))
        }
    }

    /// Draws a token of 192 bits.
    pub fn draw(entropy: &mut dyn Entropy) -> Self {
        let mut octets = Zeroizing::new([0; 24]);
        entropy.fill(&mut *octets);
        let text = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(*octets));
        Self(SecretBytes::new(text.as_bytes()))
    }

    /// The token, for the `Authorization` header. Nothing else should need it.
    pub fn expose(&self) -> &str {
        std::str::from_utf8(self.0.expose()).unwrap_or_default()
    }

    /// What a server keeps of it.
    pub fn digest(&self) -> TokenDigest {
        TokenDigest(Sha256::digest(self.0.expose()).into())
    }
}

/// The SHA-256 of a bearer token, 32 octets: enough to recognize it, useless to present.
#[derive(Clone, Copy)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// What is kept of a user who has no token: to find a text with this digest is to invert SHA-256.
    pub const OF_NO_TOKEN: Self = Self([0; 32]);
}

impl PartialEq for TokenDigest {
    /// Constant time.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for TokenDigest {}

impl Serialize for TokenDigest {
    /// Its octets; for people hexadecimal digits.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&Secret::new(self.0).to_hex())
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for TokenDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return Deserialize::deserialize(deserializer).map(Self);
        }
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let octets = Secret::<32>::from_hex(&text);
        octets
            .map(|octets| Self(*octets.expose()))
            .ok_or_else(|| D::Error::custom("is not 64 hexadecimal digits"))
    }
}

impl std::fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenDigest(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_recognizes_its_token_and_no_other_and_neither_prints() {
        let token = BearerToken::parse("AbCdEf0123456789-._~+/==").unwrap();
        let other = BearerToken::parse("AbCdEf0123456789-._~+/=A").unwrap();
        assert!(token.digest() == token.clone().digest() && token.digest() != other.digest());
        let shown = format!("{token:?} {:?}", token.digest());
        assert!(!shown.contains("AbCd"), "{shown}");
    }

    #[test]
    fn a_drawn_token_is_one() {
        struct Ones;
        impl Entropy for Ones {
            fn fill(&mut self, octets: &mut [u8]) {
                octets.fill(0xff);
            }
        }
        let drawn = BearerToken::draw(&mut Ones);
        assert_eq!(BearerToken::parse(drawn.expose()), Ok(drawn));
    }

    #[test]
    fn a_text_that_is_no_token_names_the_rule_it_breaks() {
        assert_eq!(BearerToken::parse("short"), Err(InvalidToken::TooShort));
        assert_eq!(BearerToken::parse(&"a".repeat(5_000)), Err(InvalidToken::TooLong));
        let spaced = format!("{} {}", "a".repeat(20), "b".repeat(20));
        assert_eq!(BearerToken::parse(&spaced), Err(InvalidToken::ForbiddenCharacter));
    }
}
