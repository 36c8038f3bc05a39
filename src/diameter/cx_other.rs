//! The Cx commands that no role serves, as values (TS 29.229 clause 6.1): between an I-CSCF and a
//! SIP database, and from a SIP database to a SIP core.
//!
//! A connection answers them `DIAMETER_COMMAND_UNSUPPORTED`; the codec knows them for traces and
//! for tests against other implementations.

use super::cx::{ResultCode, UserData};
use crate::identity::{Impi, Impu};

/// A Cx request that no role serves.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum OtherRequest {
    /// UAR, command 300: asks whether a user may register, and which SIP core serves him.
    UserAuthorization(UserAuthorizationRequest),
    /// LIR, command 302: asks which SIP core serves a public identity.
    LocationInfo(LocationInfoRequest),
    /// RTR, command 304: ends registrations.
    RegistrationTermination(RegistrationTerminationRequest),
    /// PPR, command 305: changes the profile of a user.
    PushProfile(PushProfileRequest),
}

/// The answer to an [`OtherRequest`], of the same command.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum OtherAnswer {
    /// UAA.
    UserAuthorization(ServerAnswer),
    /// LIA.
    LocationInfo(ServerAnswer),
    /// RTA.
    RegistrationTermination(ResultCode),
    /// PPA.
    PushProfile(ResultCode),
}

/// UAR.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UserAuthorizationRequest {
    /// User-Name.
    pub impi: Impi,
    /// Public-Identity.
    pub impu: Impu,
    /// Visited-Network-Identifier.
    pub visited_network: Vec<u8>,
    /// User-Authorization-Type.
    pub authorization: UserAuthorizationType,
}

/// User-Authorization-Type (TS 29.229 clause 6.3.24); the discriminant is the wire value.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u32)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub enum UserAuthorizationType {
    Registration = 0,
    DeRegistration = 1,
    RegistrationAndCapabilities = 2,
}

/// LIR.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LocationInfoRequest {
    /// Public-Identity.
    pub impu: Impu,
}

/// UAA or LIA.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerAnswer {
    /// The outcome.
    pub result: ResultCode,
    /// The SIP core, or what to choose one by.
    pub server: Option<Server>,
}

/// Which SIP core serves a user.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Server {
    /// Server-Name: this one.
    Name(String),
    /// Server-Capabilities: one that has these.
    Capabilities(ServerCapabilities),
}

/// Server-Capabilities (TS 29.229 clause 6.3.4).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ServerCapabilities {
    /// Mandatory-Capability, each.
    pub mandatory: Vec<u32>,
    /// Optional-Capability, each.
    pub optional: Vec<u32>,
    /// Server-Name, each.
    pub names: Vec<String>,
}

/// RTR.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RegistrationTerminationRequest {
    /// User-Name.
    pub impi: Impi,
    /// Public-Identity; none means all of the private identity.
    pub impus: Vec<Impu>,
    /// Reason-Code.
    pub reason: ReasonCode,
    /// Reason-Info: text for the user.
    pub info: Option<String>,
}

/// Reason-Code (TS 29.229 clause 6.3.17); the discriminant is the wire value.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u32)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub enum ReasonCode {
    PermanentTermination = 0,
    NewServerAssigned = 1,
    ServerChange = 2,
    RemoveSCscf = 3,
}

/// PPR.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PushProfileRequest {
    /// User-Name.
    pub impi: Impi,
    /// User-Data: the new profile.
    pub user_data: Option<UserData>,
}
