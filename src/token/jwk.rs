//! Public keys as JSON (RFC 7517, RFC 7518 clause 6).

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use super::key::{POINT_OCTETS, Public, VerifyingKey};

/// Shortest and longest RSA modulus, octets: 2,048 and 4,096 bits. Longer ones only cost time.
const MODULUS_OCTETS: std::ops::RangeInclusive<usize> = 256..=512;

/// Longest RSA exponent, octets.
const EXPONENT_OCTETS_MAX: usize = 4;

/// A key as JSON. Members that no public key of these kinds has are ignored, but for those of private keys.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
pub struct Jwk {
    #[serde(skip_serializing_if = "Option::is_none")]
    crv: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<String>,
    #[serde(default)]
    kty: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<String>,
    /// The private part of a key: is not to be here.
    #[serde(default, skip_serializing, deserialize_with = "is_there")]
    d: bool,
}

/// Whatever the value is: the member is there, and its octets are not kept.
fn is_there<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    serde::de::IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// Why a JWK is no key that tokens are verified with.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum WrongJwk {
    /// No JSON object with text in its members.
    #[error("is no JWK")]
    NotJson,
    /// A private key, which is nobody's business but its owner's.
    #[error("has the member d: it is a private key; give the public one")]
    Private,
    /// Another kind of key than these two.
    #[error("is neither an EC key of P-256 nor an RSA key")]
    Kind,
    /// A member that is missing, no base64url, or of a wrong length.
    #[error("has a member that is missing or of a wrong length")]
    Member,
}

impl Jwk {
    /// The members that RFC 7638 counts, in its order, without spaces.
    pub(super) fn canonical(&self) -> String {
        // Texts of base64url and names: nothing that could fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl TryFrom<Jwk> for VerifyingKey {
    type Error = WrongJwk;

    fn try_from(jwk: Jwk) -> Result<Self, WrongJwk> {
        if jwk.d {
            return Err(WrongJwk::Private);
        }
        let octets = |member: &Option<String>| {
            let text = member.as_deref().ok_or(WrongJwk::Member)?;
            BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| WrongJwk::Member)
        };
        match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("EC", Some("P-256")) => {
                let point = [vec![4], octets(&jwk.x)?, octets(&jwk.y)?];
                if point.iter().any(|part| ![1, 32].contains(&part.len())) {
                    return Err(WrongJwk::Member);
                }
                let point = point.concat();
                let point: [u8; POINT_OCTETS] = point.try_into().map_err(|_| WrongJwk::Member)?;
                Ok(Self(Public::P256(point)))
            }
            ("RSA", None) => Self::from_rsa(&octets(&jwk.n)?, &octets(&jwk.e)?),
            _ => Err(WrongJwk::Kind),
        }
    }
}

impl VerifyingKey {
    /// An RSA key of 2,048 to 4,096 bits, by its big-endian numbers.
    ///
    /// # Errors
    ///
    /// [`WrongJwk::Member`].
    pub(super) fn from_rsa(n: &[u8], e: &[u8]) -> Result<Self, WrongJwk> {
        let bare = |number: &[u8]| {
            let zeros = number.iter().take_while(|octet| **octet == 0).count();
            number.get(zeros..).unwrap_or_default().to_vec()
        };
        let (n, e) = (bare(n), bare(e));
        let fits =
            MODULUS_OCTETS.contains(&n.len()) && (1..=EXPONENT_OCTETS_MAX).contains(&e.len());
        fits.then_some(Self(Public::Rsa { n, e })).ok_or(WrongJwk::Member)
    }

    /// A point of P-256 in its uncompressed form.
    ///
    /// # Errors
    ///
    /// [`WrongJwk::Member`].
    pub(super) fn from_point(point: &[u8]) -> Result<Self, WrongJwk> {
        let point: [u8; POINT_OCTETS] = point.try_into().map_err(|_| WrongJwk::Member)?;
        (point[0] == 4).then_some(Self(Public::P256(point))).ok_or(WrongJwk::Member)
    }
}

impl From<&VerifyingKey> for Jwk {
    fn from(key: &VerifyingKey) -> Self {
        let text = |octets: &[u8]| Some(BASE64_URL_SAFE_NO_PAD.encode(octets));
        match &key.0 {
            Public::P256(point) => {
                let (x, y) = point.split_at(POINT_OCTETS / 2 + 1);
                let x = x.get(1..).unwrap_or_default();
                let (kty, crv) = ("EC".to_owned(), Some("P-256".to_owned()));
                Self { kty, crv, x: text(x), y: text(y), ..Self::default() }
            }
            Public::Rsa { n, e } => {
                Self { kty: "RSA".to_owned(), n: text(n), e: text(e), ..Self::default() }
            }
        }
    }
}

/// A set of public keys (RFC 7517 clause 5): what `/jwks.json` serves.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct JwkSet {
    keys: Vec<Published>,
}

#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
struct Published {
    #[serde(flatten)]
    key: Jwk,
    #[serde(rename = "use")]
    usage: &'static str,
    alg: &'static str,
    kid: String,
}

impl JwkSet {
    /// The set of these keys, for signatures.
    pub fn new<'a>(keys: impl IntoIterator<Item = &'a VerifyingKey>) -> Self {
        let published = keys.into_iter().map(|key| Published {
            key: key.jwk(),
            usage: "sig",
            alg: key.algorithm().as_str(),
            kid: key.thumbprint().as_str().to_owned(),
        });
        Self { keys: published.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(json: &str) -> Result<VerifyingKey, WrongJwk> {
        VerifyingKey::try_from(json.to_owned())
    }

    /// RFC 7638 clause 3.1.
    #[test]
    fn the_thumbprint_is_that_of_rfc_7638() {
        let rsa = key(r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}"#).unwrap();
        assert_eq!(rsa.thumbprint().as_str(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        assert_eq!(rsa.algorithm(), Algorithm::Rs256);
    }

    /// RFC 9449: the key of its figures 2 and 13.
    #[test]
    fn the_thumbprint_is_that_of_rfc_9449() {
        let ec = key(r#"{"kty":"EC","x":"l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs","y":"9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA","crv":"P-256"}"#).unwrap();
        assert_eq!(ec.thumbprint().as_str(), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
        assert_eq!(key(&String::from(ec.clone())), Ok(ec));
    }

    #[test]
    fn what_is_no_public_key_of_these_kinds_says_so() {
        let x = "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs";
        for (json, wrong) in [
            ("[]".to_owned(), WrongJwk::NotJson),
            (r#"{"kty":"oct","k":"AAAA"}"#.to_owned(), WrongJwk::Kind),
            (
                format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{x}","d":"{x}"}}"#),
                WrongJwk::Private,
            ),
            (
                format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{x}","d":null}}"#),
                WrongJwk::Private,
            ),
            (format!(r#"{{"kty":"EC","crv":"P-384","x":"{x}","y":"{x}"}}"#), WrongJwk::Kind),
            (format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}"}}"#), WrongJwk::Member),
            (format!(r#"{{"kty":"EC","crv":"P-256","x":"AAAA","y":"{x}"}}"#), WrongJwk::Member),
            (r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#.to_owned(), WrongJwk::Member),
        ] {
            assert_eq!(key(&json), Err(wrong), "{json}");
        }
    }

    use super::super::jws::Algorithm;
}
