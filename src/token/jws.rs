//! Signed tokens: JWS in compact serialization (RFC 7515), over ring.
//!
//! **What a token says of itself decides nothing.** The verifier brings the algorithms that it takes (RFC 8725 clause
//! 3.1) and the key, and a key is of one algorithm: `none`, HS256 with the octets of a public key, and a key of another
//! kind all end the same way. `jku`, `x5u`, `x5c` and `jwk` name keys of the sender's choice and are never followed;
//! only a DPoP proof, which proves the possession of whatever key it names, has its `jwk` read ([`super::dpop`]).
//!
//! **Bounded before it is decoded:** the whole by [`TOKEN_OCTETS_MAX`], its JSON by depth before it is parsed.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{jwk::Jwk, key::VerifyingKey};

/// Longest token that is looked at, octets.
pub const TOKEN_OCTETS_MAX: usize = 8_192;

/// Longest header, octets: a token of ours needs 80, a proof with an RSA key some 800.
const HEADER_OCTETS_MAX: usize = 2_048;

/// Deepest nesting of objects and lists in a header or in claims. The claims of TS 33.180 need 2.
const JSON_DEPTH_MAX: usize = 8;

/// The signature algorithms known here (RFC 7518 clause 3.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Algorithm {
    /// ECDSA with P-256 and SHA-256: what this system signs with.
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256: accepted from others.
    Rs256,
}

impl Algorithm {
    /// What a verifier takes unless it has a reason to take less.
    pub const ACCEPTED: &'static [Self] = &[Self::Es256, Self::Rs256];

    /// Its name in a header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ACCEPTED.iter().copied().find(|algorithm| algorithm.as_str() == name)
    }
}

/// Why a text is no token that may be believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum JwsError {
    /// Longer than [`TOKEN_OCTETS_MAX`], or its header longer than any needs to be.
    #[error("is longer than a token may be")]
    TooLong,
    /// Not three parts of base64url, or none that hold JSON objects.
    #[error("is no JWS in compact serialization")]
    Malformed,
    /// Objects and lists in each other, deeper than any claim is.
    #[error("is nested too deep")]
    TooDeep,
    /// An algorithm that this verifier does not take, `none` among them.
    #[error("has an algorithm that is not taken here")]
    Algorithm,
    /// An extension that has to be understood and is not (RFC 7515 clause 4.1.11).
    #[error("has a critical header parameter")]
    Critical,
    /// Not a token of the kind that is expected (RFC 8725 clause 3.11).
    #[error("is a token of another type")]
    Type,
    /// The key is of another algorithm, or did not make this signature.
    #[error("has a signature that is not of this key")]
    Signature,
    /// A claim is missing or has no value of its kind.
    #[error("has claims that are missing or malformed")]
    Claims,
}

/// The header of a token, as far as it is read. Other parameters are ignored, as RFC 7515 clause 4 demands.
#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    jwk: Option<Jwk>,
    #[serde(default, deserialize_with = "is_there")]
    crit: bool,
}

/// Whatever the value is: the parameter is there. `null` is a value.
fn is_there<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    serde::de::IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// A token taken apart. Nothing in it may be believed yet.
pub struct Unverified<'a> {
    header: Header,
    algorithm: Algorithm,
    /// Header and claims as they were signed.
    signed: &'a str,
    claims: Vec<u8>,
    signature: Vec<u8>,
}

impl<'a> Unverified<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    ///
    /// [`JwsError`] for what no verifier here could take, whatever the key.
    pub fn parse(token: &'a str) -> Result<Self, JwsError> {
        if token.len() > TOKEN_OCTETS_MAX {
            return Err(JwsError::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(JwsError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(JwsError::Malformed)?;
        if header.len() > HEADER_OCTETS_MAX {
            return Err(JwsError::TooLong);
        }
        let header: Header = parse_json(&decode(header)?)?;
        if header.crit {
            return Err(JwsError::Critical);
        }
        let algorithm = Algorithm::named(&header.alg).ok_or(JwsError::Algorithm)?;
        let (claims, signature) = (decode(claims)?, decode(signature)?);
        Ok(Self { header, algorithm, signed, claims, signature })
    }

    /// The key that it names, to find the right one of several.
    pub fn key_id(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// Its type, without the `application/` that may be left out, in lower case.
    pub fn token_type(&self) -> Option<String> {
        let typ = self.header.typ.as_deref()?.to_ascii_lowercase();
        Some(typ.strip_prefix("application/").unwrap_or(&typ).to_owned())
    }

    /// The key in its header, for a DPoP proof only.
    pub(super) fn take_jwk(&mut self) -> Option<Jwk> {
        self.header.jwk.take()
    }

    /// Who it says issued it, to find the keys that it has to be verified with.
    ///
    /// # Errors
    ///
    /// [`JwsError::Claims`] if it does not say.
    pub fn issuer(&self) -> Result<String, JwsError> {
        #[derive(Deserialize)]
        struct Issuer {
            iss: String,
        }
        parse_json(&self.claims).map(|Issuer { iss }| iss)
    }

    /// Verifies the signature: the algorithm is one of `accepted`, and `key` is of it.
    ///
    /// # Errors
    ///
    /// [`JwsError::Algorithm`] or [`JwsError::Signature`].
    pub fn verify(
        &self,
        key: &VerifyingKey,
        accepted: &[Algorithm],
    ) -> Result<Verified<'_>, JwsError> {
        if !accepted.contains(&self.algorithm) {
            return Err(JwsError::Algorithm);
        }
        let is_of_key = self.algorithm == key.algorithm()
            && key.verifies(self.signed.as_bytes(), &self.signature);
        is_of_key.then_some(Verified { claims: &self.claims }).ok_or(JwsError::Signature)
    }
}

/// The claims of a token whose signature was verified: only [`Unverified::verify`] makes one.
pub struct Verified<'a> {
    claims: &'a [u8],
}

impl Verified<'_> {
    /// Reads the claims.
    ///
    /// # Errors
    ///
    /// [`JwsError::Claims`], or [`JwsError::TooDeep`].
    pub fn claims<T: DeserializeOwned>(&self) -> Result<T, JwsError> {
        parse_json(self.claims)
    }
}

/// What is signed, without the signature: header and claims.
pub(super) fn to_be_signed(typ: &str, kid: &str, claims: &impl Serialize) -> Option<String> {
    #[derive(Serialize)]
    struct Header<'a> {
        alg: &'static str,
        typ: &'a str,
        kid: &'a str,
    }
    let header = Header { alg: Algorithm::Es256.as_str(), typ, kid };
    let header = BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(&header).ok()?);
    let claims = BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims).ok()?);
    Some(header + "." + &claims)
}

/// Decodes base64url without padding; other bits than zero after the last octet are refused, so that no two texts are
/// one token.
fn decode(part: &str) -> Result<Vec<u8>, JwsError> {
    BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| JwsError::Malformed)
}

/// Parses a JSON object. A member that is read may be there once (RFC 7515 clause 4).
fn parse_json<T: DeserializeOwned>(octets: &[u8]) -> Result<T, JwsError> {
    if depth(octets) > JSON_DEPTH_MAX {
        return Err(JwsError::TooDeep);
    }
    if octets.iter().find(|octet| !octet.is_ascii_whitespace()) != Some(&b'{') {
        return Err(JwsError::Malformed);
    }
    serde_json::from_slice(octets).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => JwsError::Claims,
        serde_json::error::Category::Io
        | serde_json::error::Category::Syntax
        | serde_json::error::Category::Eof => JwsError::Malformed,
    })
}

/// How deep objects and lists are nested.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest): (usize, usize) = (0, 0);
    let (mut in_text, mut escaped) = (false, false);
    for octet in json {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => depth += 1,
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

#[cfg(test)]
mod tests;
