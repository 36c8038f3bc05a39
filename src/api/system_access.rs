//! CSC-17, configuration management server to configuration management server: messages C1 (`MIG-7`) and
//! C2 (`MIG-12`) of TR 23.781 solution 2.

use serde::{Deserialize, Serialize};

use super::{connection_details::SystemConfiguration, migration_identity::PrimaryUser};
use crate::{
    identity::{McServiceId, McSystemId, UserIdentity},
    time::Timestamp,
};

/// C1: partner MC system access request.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "node", derive(utoipa::ToSchema))]
pub struct Request {
    /// The system that asks: the user's primary MC system. The credential must be this system's.
    #[cfg_attr(feature = "node", schema(value_type = String, example = "sip:a.example"))]
    pub primary: McSystemId,
    /// The user, by the name that the primary MC system knows.
    #[cfg_attr(feature = "node", schema(value_type = String, example = "sip:alice@a.example"))]
    pub mc_service_id: McServiceId,
    /// The user's SIP database, and the pair that it knows: real or outbound.
    #[cfg_attr(feature = "node", schema(value_type = super::schema::PrimaryUser))]
    pub user: PrimaryUser,
}

/// What the partner answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// C2.
    Granted(Box<Access>),
    /// Nothing was allocated.
    Refused(Refusal),
}

/// C2: partner MC system access response.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "node", derive(utoipa::ToSchema))]
pub struct Access {
    /// The inbound migration SIP private and public user identity.
    #[cfg_attr(feature = "node", schema(value_type = super::schema::UserIdentity))]
    pub identity: UserIdentity,
    /// Until when the identities stay bound, unless they are used or asked for again; seconds since the
    /// Unix epoch.
    #[serde(with = "super::seconds")]
    #[cfg_attr(feature = "node", schema(value_type = u64))]
    pub valid_until: Timestamp,
    /// The initial UE configuration; absent where the primary has it statically (NOTE 3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<SystemConfiguration>,
}

/// Why access was not granted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// No such peer, or the credential is not the peer's.
    #[error("the credential is no peer system's")]
    NotAuthenticated,
    /// The body names another system or another system's SIP database than the credential's.
    #[error("the request speaks for another system than the credential's")]
    WrongSystem,
    /// There is no agreement for this system and this user (`MIG-8`).
    #[error("there is no agreement for this user")]
    NotAuthorised,
    /// The request cannot be followed as it is.
    #[error("invalid: {0}")]
    Invalid(&'static str),
    /// No identity is free (`MIG-10`).
    #[error("no migration identity is free now")]
    Exhausted,
    /// This system is not able to take changes, or has too much to do.
    #[error("this system cannot do it now")]
    Unavailable,
}

impl Refusal {
    /// Whether the partner has nothing for this user: the primary releases what it lent for this request.
    /// What is wrong between the two systems says nothing of the user, and lasts until an operator mends it.
    pub const fn is_definite(self) -> bool {
        match self {
            Self::NotAuthorised | Self::Exhausted => true,
            Self::NotAuthenticated | Self::WrongSystem | Self::Invalid(_) | Self::Unavailable => {
                false
            }
        }
    }
}
