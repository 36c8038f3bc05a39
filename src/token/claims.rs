//! What tokens say (TS 33.180 clauses B.2 and B.8, RFC 7519, RFC 9068), and when that holds.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, SeqAccess, Visitor},
};

use super::{
    jws::{Algorithm, JwsError, Unverified},
    key::{Thumbprint, VerifyingKey},
    scope::Scopes,
};
use crate::{identity::McServiceId, time::Timestamp};

/// How far the clocks of two systems may differ, seconds (TS 33.180 clauses B.2.1 and B.8).
pub const CLOCK_SKEW_SECS: u64 = 30;

/// Longest subject, octets (TS 33.180 clause B.2.1).
pub const SUBJECT_OCTETS_MAX: usize = 255;

/// Longest identifier of a token, octets.
pub const TOKEN_ID_OCTETS_MAX: usize = 128;

/// Most audiences of a token.
const AUDIENCES_MAX: usize = 16;

/// The type of an access token in its header (RFC 9068 clause 2.1), without which an ID token or a security token of
/// the same key could be taken for one.
pub const ACCESS_TOKEN_TYPE: &str = "at+jwt";

/// The type of all other tokens.
pub const TOKEN_TYPE: &str = "JWT";

/// Why a token that was signed by whom it says does not hold here.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ClaimError {
    /// Its time is over.
    #[error("has expired")]
    Expired,
    /// It was issued in the future, or is not to be used before it.
    #[error("is not valid yet")]
    NotYet,
    /// Issued by somebody else.
    #[error("is of another issuer")]
    Issuer,
    /// It is for somebody else.
    #[error("is for another audience")]
    Audience,
    /// An identifier that is empty or too long.
    #[error("has an identifier that is empty or too long")]
    Identifier,
}

/// Why a token cannot be believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TokenError {
    /// It is none, or not of the key.
    #[error(transparent)]
    Jws(#[from] JwsError),
    /// It does not hold here and now.
    #[error(transparent)]
    Claim(#[from] ClaimError),
}

/// Seconds since the Unix epoch (RFC 7519 clause 2): whole ones are written, fractions are read and cut off.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct NumericDate(pub u64);

impl From<Timestamp> for NumericDate {
    fn from(at: Timestamp) -> Self {
        Self(at.as_secs())
    }
}

impl NumericDate {
    /// The time.
    pub const fn timestamp(self) -> Timestamp {
        Timestamp::from_secs(self.0)
    }
}

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Seconds;

        impl Visitor<'_> for Seconds {
            type Value = u64;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("seconds since the Unix epoch")
            }

            fn visit_u64<E: Error>(self, seconds: u64) -> Result<u64, E> {
                Ok(seconds)
            }

            fn visit_f64<E: Error>(self, seconds: f64) -> Result<u64, E> {
                // Beyond 2^53 a double knows no single seconds, and no token lives that long.
                let fits = (0.0..9_007_199_254_740_992.0).contains(&seconds);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "within the range, and cut off on purpose"
                )]
                fits.then_some(seconds as u64).ok_or_else(|| E::custom("is out of range"))
            }
        }

        deserializer.deserialize_any(Seconds).map(Self)
    }
}

/// Whom a token is for: one or several (RFC 7519 clause 4.1.3).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Audience(Vec<String>);

impl Audience {
    /// For all of these.
    pub fn of<const N: usize>(audiences: [&str; N]) -> Self {
        Self(audiences.map(str::to_owned).into())
    }

    /// Whether it is for `one`, among others.
    pub fn has(&self, one: &str) -> bool {
        self.0.iter().any(|audience| audience == one)
    }
}

impl Serialize for Audience {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => serializer.serialize_str(one),
            several => several.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Audience {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrSeveral;

        impl<'de> Visitor<'de> for OneOrSeveral {
            type Value = Vec<String>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of at most 16 texts")
            }

            fn visit_str<E: Error>(self, one: &str) -> Result<Vec<String>, E> {
                Ok(vec![one.to_owned()])
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut several: A) -> Result<Vec<String>, A::Error> {
                let mut audiences = Vec::new();
                while let Some(audience) = several.next_element()? {
                    if audiences.len() == AUDIENCES_MAX {
                        return Err(A::Error::custom("are too many"));
                    }
                    audiences.push(audience);
                }
                Ok(audiences)
            }
        }

        deserializer.deserialize_any(OneOrSeveral).map(Self)
    }
}

/// The key that whoever presents a token has to prove to have (RFC 7800, RFC 9449 clause 6.1).
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct Confirmation {
    /// Its thumbprint.
    pub jkt: Thumbprint,
}

/// The MC service IDs of a user, one for each service (TS 33.180 clauses B.2.1.3 and B.2.2.3).
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
pub struct ServiceIds {
    /// Push to talk.
    pub mcptt_id: Option<McServiceId>,
    /// Video.
    pub mcvideo_id: Option<McServiceId>,
    /// Data.
    pub mcdata_id: Option<McServiceId>,
}

impl ServiceIds {
    /// The scopes that a user with these may be given.
    pub fn scopes(&self) -> Scopes {
        let services = [
            (&self.mcptt_id, Scopes::PTT),
            (&self.mcvideo_id, Scopes::VIDEO),
            (&self.mcdata_id, Scopes::DATA),
        ];
        let given = services.into_iter().filter(|(id, _)| id.is_some());
        let general = Scopes::OPENID | Scopes::LOCATION;
        given.fold(general, |all, (_, scopes)| all | scopes)
    }
}

/// [`ServiceIds`] as claims of a token: those that there are.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
#[expect(clippy::struct_field_names, reason = "the names of the claims")]
pub struct ServiceIdClaims {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mcptt_id: Option<McServiceId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mcvideo_id: Option<McServiceId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mcdata_id: Option<McServiceId>,
}

impl ServiceIdClaims {
    /// The ID for push to talk.
    pub const fn mcptt(&self) -> Option<&McServiceId> {
        self.mcptt_id.as_ref()
    }

    /// The ID for video.
    pub const fn mcvideo(&self) -> Option<&McServiceId> {
        self.mcvideo_id.as_ref()
    }

    /// The ID for data.
    pub const fn mcdata(&self) -> Option<&McServiceId> {
        self.mcdata_id.as_ref()
    }
}

impl From<ServiceIds> for ServiceIdClaims {
    fn from(ServiceIds { mcptt_id, mcvideo_id, mcdata_id }: ServiceIds) -> Self {
        Self { mcptt_id, mcvideo_id, mcdata_id }
    }
}

/// What an ID token says (TS 33.180 clause B.2.1).
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct IdToken {
    /// Who issued it: the URL of an identity management server.
    pub iss: String,
    /// Who the user is to that one, for ever.
    pub sub: String,
    /// The client that the user logged in with.
    pub aud: Audience,
    /// Until when it holds.
    pub exp: NumericDate,
    /// When it was issued.
    pub iat: NumericDate,
    /// What the client asked to have repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// How the user was authenticated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acr: Option<String>,
    /// The MC service IDs.
    #[serde(flatten)]
    pub services: ServiceIdClaims,
}

/// What an access token says (TS 33.180 clause B.2.2, RFC 9068 clause 2.2).
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct AccessToken {
    /// Who issued it.
    pub iss: String,
    /// Who the user is to that one.
    pub sub: String,
    /// The MC system whose servers take it.
    pub aud: Audience,
    /// Until when it holds.
    pub exp: NumericDate,
    /// When it was issued.
    pub iat: NumericDate,
    /// Its own name.
    pub jti: String,
    /// The client that it was given to.
    pub client_id: String,
    /// What it is good for.
    pub scope: Scopes,
    /// The key that whoever presents it has to prove to have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cnf: Option<Confirmation>,
    /// The MC service IDs.
    #[serde(flatten)]
    pub services: ServiceIdClaims,
}

/// What a security token says (TS 33.180 clause B.8), with a name of its own and, where the client has one, its proof
/// key: it is good for many weeks, and a partner has to know it again.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct SecurityToken {
    /// The identity management server of the user's system.
    pub iss: String,
    /// Who the user is to that one.
    pub sub: String,
    /// The client, and the identity management server that takes it.
    pub aud: Audience,
    /// Until when it holds.
    pub exp: NumericDate,
    /// When it was issued.
    pub iat: NumericDate,
    /// Not before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<NumericDate>,
    /// Its own name.
    pub jti: String,
    /// The key that whoever presents it has to prove to have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cnf: Option<Confirmation>,
}

impl SecurityToken {
    /// Checks that it is for this server and `client`, here and now.
    ///
    /// # Errors
    ///
    /// [`ClaimError`]: the first thing that does not hold.
    pub fn check(&self, own_address: &str, client: &str, now: Timestamp) -> Result<(), ClaimError> {
        check_times(now, self.exp, self.iat.max(self.nbf.unwrap_or(self.iat)))?;
        check_identifier(&self.sub, SUBJECT_OCTETS_MAX)?;
        check_identifier(&self.jti, TOKEN_ID_OCTETS_MAX)?;
        let is_for_us = self.aud.has(own_address) && self.aud.has(client);
        is_for_us.then_some(()).ok_or(ClaimError::Audience)
    }
}

/// Who can tell which access tokens are to be believed: the identity management server of the system, or whoever knows its
/// keys.
pub trait VerifyAccess {
    /// Verifies an access token that a client presents to a server of this system.
    ///
    /// # Errors
    ///
    /// [`TokenError`].
    fn verify_access(&self, token: &str, now: Timestamp) -> Result<AccessToken, TokenError>;
}

/// Verifies an access token of `issuer` for the servers of `audience`. `key_of` gives the issuer's key of a name.
///
/// # Errors
///
/// [`TokenError`]; a server answers 401 with `invalid_token`.
pub fn verify_access<'k>(
    token: &str,
    key_of: impl FnOnce(&str) -> Option<&'k VerifyingKey>,
    issuer: &str,
    audience: &str,
    now: Timestamp,
) -> Result<AccessToken, TokenError> {
    let token = Unverified::parse(token)?;
    if token.token_type().as_deref() != Some(ACCESS_TOKEN_TYPE) {
        return Err(JwsError::Type.into());
    }
    let key = token.key_id().and_then(key_of).ok_or(JwsError::Signature)?;
    let claims: AccessToken = token.verify(key, Algorithm::ACCEPTED)?.claims()?;
    check_times(now, claims.exp, claims.iat)?;
    if claims.iss != issuer {
        return Err(ClaimError::Issuer.into());
    }
    claims.aud.has(audience).then_some(claims).ok_or_else(|| ClaimError::Audience.into())
}

/// Checks that a token holds from `from` until before `expires`, give or take the skew of clocks.
///
/// # Errors
///
/// [`ClaimError::Expired`], [`ClaimError::NotYet`].
pub(super) fn check_times(
    now: Timestamp,
    NumericDate(expires): NumericDate,
    NumericDate(from): NumericDate,
) -> Result<(), ClaimError> {
    let now = now.as_secs();
    if now >= expires.saturating_add(CLOCK_SKEW_SECS) {
        Err(ClaimError::Expired)
    } else if from > now.saturating_add(CLOCK_SKEW_SECS) {
        Err(ClaimError::NotYet)
    } else {
        Ok(())
    }
}

/// Checks that an identifier of another's making can be kept.
pub(super) fn check_identifier(text: &str, octets_max: usize) -> Result<(), ClaimError> {
    let fits = (1..=octets_max).contains(&text.len()) && !text.chars().any(char::is_control);
    fits.then_some(()).ok_or(ClaimError::Identifier)
}

#[cfg(test)]
mod tests;
