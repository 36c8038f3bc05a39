//! The Cx commands as values (TS 29.229): what roles exchange, in one process or over Diameter.
//!
//! The codec (`cx_codec`) turns them into messages and back.

use std::{borrow::Cow, sync::Arc};

use smallvec::SmallVec;

use crate::{
    aka::{AuthVector, Auts, Rand, digest::Ha1},
    identity::{Impi, Impu, UserIdentity},
};

/// A Cx request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Request {
    /// MAR, command 303: asks for authentication information.
    MultimediaAuth(MultimediaAuthRequest),
    /// SAR, command 301: reports a change of registration.
    ServerAssignment(ServerAssignmentRequest),
}

/// The answer to a Cx request, of the same command.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// MAA.
    MultimediaAuth(MultimediaAuthAnswer),
    /// SAA.
    ServerAssignment(ServerAssignmentAnswer),
}

/// MAR: asks the SIP database for one authentication vector.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MultimediaAuthRequest {
    /// Whose vector: User-Name and Public-Identity.
    pub identity: UserIdentity,
    /// SIP-Authentication-Scheme, as asked; see [`SCHEME_AKA_V1`].
    pub scheme: Cow<'static, str>,
    /// RAND || AUTS of a UE that found the SQN out of range (SIP-Authorization, 30 octets).
    pub resync: Option<Resync>,
    /// Server-Name: the SIP URI of the SIP core that asks.
    pub server_name: Arc<str>,
}

/// The scheme of vectors (TS 29.229 clause 6.3.9): the same for `AKAv1` and `AKAv2`.
pub const SCHEME_AKA_V1: &str = "Digest-AKAv1-MD5";

/// The scheme of a user with a password.
pub const SCHEME_SIP_DIGEST: &str = "SIP Digest";

/// What a SIP core sends that leaves it to the SIP database which scheme a user has.
pub const SCHEME_UNKNOWN: &str = "Unknown";

/// What a UE sends when the SQN of a challenge is out of its range (TS 33.102 clause 6.3.5).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Resync {
    /// The RAND of the challenge it refused.
    pub rand: Rand,
    /// Its own highest SQN, protected.
    pub auts: Auts,
}

/// MAA: one vector, or what SIP Digest is checked with, or why there is neither. Echoes the pair it was asked with,
/// errors included.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MultimediaAuthAnswer {
    /// The outcome.
    pub result: ResultCode,
    /// The pair of the request.
    pub identity: UserIdentity,
    /// SIP-Authentication-Scheme, echoed ([`SCHEME_UNKNOWN`] becomes the one of the answer).
    pub scheme: Cow<'static, str>,
    /// The vector. On success there is this or [`Self::digest`].
    pub vector: Option<AuthVector>,
    /// What the response of a user with a password is checked with.
    pub digest: Option<Box<SipDigest>>,
}

impl MultimediaAuthAnswer {
    /// Whether it has what its result promises: one of vector and digest on success.
    pub const fn is_complete(&self) -> bool {
        !self.result.is_success() || (self.vector.is_some() != self.digest.is_some())
    }
}

/// What the response of a user with a password is checked with (SIP-Digest-Authenticate, TS 29.229 clause 6.3.36).
/// The quality of protection is always `auth`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SipDigest {
    /// Digest-Realm: the realm that HA1 is for.
    pub realm: String,
    /// Digest-HA1, by Digest-Algorithm.
    pub ha1: Ha1,
}

/// SAR: tells the SIP database that a user registered, re-registered, left, or failed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerAssignmentRequest {
    /// User-Name; optional on the wire for some types.
    pub impi: Option<Impi>,
    /// Public-Identity, one or more.
    pub impus: SmallVec<[Impu; 1]>,
    /// Server-Name: the SIP URI of the SIP core that asks.
    pub server_name: Arc<str>,
    /// What happened.
    pub assignment: ServerAssignmentType,
    /// Whether the SIP core has the user's profile already, so that the answer may omit it.
    pub user_data_already_available: bool,
}

/// SAA.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerAssignmentAnswer {
    /// The outcome.
    pub result: ResultCode,
    /// User-Name of the request.
    pub impi: Option<Impi>,
    /// The profile, for a first registration.
    pub user_data: Option<UserData>,
}

/// The user profile as far as registration needs it (User-Data, TS 29.228 annex B).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UserData {
    /// The private identity.
    pub impi: Impi,
    /// The implicit registration set, the default public identity first, barred ones left out.
    pub impus: Vec<Impu>,
}

/// Server-Assignment-Type (TS 29.229 clause 6.3.15); the discriminant is the wire value.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u32)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub enum ServerAssignmentType {
    NoAssignment = 0,
    Registration = 1,
    ReRegistration = 2,
    UnregisteredUser = 3,
    TimeoutDeregistration = 4,
    UserDeregistration = 5,
    TimeoutDeregistrationStoreServerName = 6,
    UserDeregistrationStoreServerName = 7,
    AdministrativeDeregistration = 8,
    AuthenticationFailure = 9,
    AuthenticationTimeout = 10,
    DeregistrationTooMuchData = 11,
    AaaUserDataRequest = 12,
    PgwUpdate = 13,
    Restoration = 14,
}

/// The outcome of a request: Result-Code or Experimental-Result, never both (RFC 6733 clause 7.6).
///
/// 2001 as Experimental-Result-Code is `FIRST_REGISTRATION`, as Result-Code it is SUCCESS.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ResultCode {
    /// Result-Code AVP.
    Base(u32),
    /// Experimental-Result-Code AVP of vendor 10415.
    Experimental(u32),
}

impl ResultCode {
    /// `DIAMETER_SUCCESS`.
    pub const SUCCESS: Self = Self::Base(2001);
    /// `DIAMETER_COMMAND_UNSUPPORTED`.
    pub const COMMAND_UNSUPPORTED: Self = Self::Base(3001);
    /// `DIAMETER_UNABLE_TO_DELIVER`: the next system cannot be reached.
    pub const UNABLE_TO_DELIVER: Self = Self::Base(3002);
    /// `DIAMETER_TOO_BUSY`: our own trouble; try again later.
    pub const TOO_BUSY: Self = Self::Base(3004);
    /// `DIAMETER_AUTHORIZATION_REJECTED`.
    pub const AUTHORIZATION_REJECTED: Self = Self::Base(5003);
    /// `DIAMETER_UNABLE_TO_COMPLY`.
    pub const UNABLE_TO_COMPLY: Self = Self::Base(5012);
    /// `DIAMETER_FIRST_REGISTRATION`.
    pub const FIRST_REGISTRATION: Self = Self::Experimental(2001);
    /// `DIAMETER_ERROR_USER_UNKNOWN`.
    pub const USER_UNKNOWN: Self = Self::Experimental(5001);
    /// `DIAMETER_ERROR_IDENTITIES_DONT_MATCH`.
    pub const IDENTITIES_DONT_MATCH: Self = Self::Experimental(5002);
    /// `DIAMETER_ERROR_IDENTITY_NOT_REGISTERED`.
    pub const IDENTITY_NOT_REGISTERED: Self = Self::Experimental(5003);
    /// `DIAMETER_ERROR_ROAMING_NOT_ALLOWED`.
    pub const ROAMING_NOT_ALLOWED: Self = Self::Experimental(5004);
    /// `DIAMETER_ERROR_IDENTITY_ALREADY_REGISTERED`.
    pub const IDENTITY_ALREADY_REGISTERED: Self = Self::Experimental(5005);
    /// `DIAMETER_ERROR_AUTH_SCHEME_NOT_SUPPORTED`.
    pub const AUTH_SCHEME_NOT_SUPPORTED: Self = Self::Experimental(5006);

    /// Whether the answer is of the general error format, with the E bit (RFC 6733 section 7.1.3).
    pub const fn is_protocol_error(self) -> bool {
        matches!(self, Self::Base(3_000..=3_999))
    }

    /// Whether the code is of class 2xxx.
    pub const fn is_success(self) -> bool {
        let (Self::Base(code) | Self::Experimental(code)) = self;
        code / 1000 == 2
    }
}
