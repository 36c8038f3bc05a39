//! The management interface of a configuration management server: its users, its agreements with
//! partners, and what UEs are told of each system.

use serde::{Deserialize, Serialize};

use super::{
    connection_details::SystemConfiguration,
    migration_identity::{AgreementId, Direction, Refusal, RowRefused},
};
use crate::{
    identity::{McServiceId, McSystemId, UserIdentity},
    time::Timestamp,
    token::TokenDigest,
};

pub use super::migration_identity::ROWS_MAX;

/// Longest name of a class of users, octets.
pub const CLASS_OCTETS_MAX: usize = 64;

/// A management request.
#[derive(Clone, Debug)]
pub enum Request {
    /// Creates or replaces a user.
    PutUser(User),
    /// Creates or replaces many users: all of them or none. At most [`ROWS_MAX`]; no one twice.
    PutUsers(Vec<User>),
    /// Asks for a user, without credential.
    GetUser(McServiceId),
    /// Removes a user, and ends what was lent to it.
    DeleteUser(McServiceId),
    /// Creates an agreement, or changes the one for the same users.
    PutAgreement(Agreement),
    /// Asks for an agreement.
    GetAgreement(AgreementKey),
    /// Ends an agreement: nothing lent under it is good for a vector any more.
    DeleteAgreement(AgreementKey),
    /// Says what UEs are told of a system: this one (handed to partners), or a partner (NOTE 3).
    PutSystemConfiguration {
        /// The system described.
        system: McSystemId,
        /// Its configuration; the revision must grow.
        configuration: SystemConfiguration,
    },
    /// Asks for what UEs are told of a system; secrets in it are shown to whoever may ask.
    GetSystemConfiguration(McSystemId),
    /// Forgets what UEs are told of a system.
    DeleteSystemConfiguration(McSystemId),
    /// Says whether a request would be refused, and changes nothing.
    Check(Box<Request>),
}

/// A user of this system.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct User {
    /// The name on CSC-4.
    pub mc_service_id: McServiceId,
    /// The real pair in this system's SIP database.
    pub identity: UserIdentity,
    /// The class that agreements may be about.
    pub class: Option<Box<str>>,
    /// Whether the user may migrate at all (`MIG-2`).
    pub may_migrate: bool,
    /// The bearer token that the user's UE presents.
    pub token: TokenDigest,
}

/// What an agreement is about.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct AgreementKey {
    /// With whom.
    pub partner: McSystemId,
    /// Outbound: our users may go there. Inbound: their users may come here.
    pub direction: Direction,
    /// Which users.
    pub users: Users,
}

/// The users of an agreement. Of several agreements that are in force, the most specific counts.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Users {
    /// All users.
    Everybody,
    /// The users of one class; outbound only, for a partner does not know our classes.
    Class(Box<str>),
    /// One user.
    User(McServiceId),
}

/// An agreement with a partner.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Agreement {
    /// What it is about.
    pub key: AgreementKey,
    /// When it begins to hold.
    pub valid_from: Timestamp,
    /// When it ends.
    pub valid_until: Timestamp,
    /// Whether real identities are hidden from the partner (`MIG-4`); outbound only.
    pub hide_identities: bool,
}

/// A management answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// Done; nothing to tell.
    Done,
    /// A user, without credential.
    User {
        /// The name on CSC-4.
        mc_service_id: McServiceId,
        /// The real pair.
        identity: UserIdentity,
        /// The class.
        class: Option<Box<str>>,
        /// Whether it may migrate.
        may_migrate: bool,
    },
    /// An agreement.
    Agreement {
        /// Its number.
        id: AgreementId,
        /// The agreement.
        agreement: Agreement,
    },
    /// What UEs are told of a system.
    SystemConfiguration(SystemConfiguration),
    /// It did not work; nothing changed.
    Refused(Refusal),
    /// Some of many are refused, in their order; nothing changed.
    RowsRefused(Vec<RowRefused>),
}
