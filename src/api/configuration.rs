//! The management interface of a configuration management server: its users, its agreements with
//! partners, and what UEs are told of each system.

use serde::{Deserialize, Serialize};

use std::sync::Arc;

use super::{
    acm_interconnection::TransactionKey,
    connection_details::{SipCoreAddress, SystemConfiguration},
    migration_identity::{AgreementId, Direction, Refusal, RowRefused},
};
use crate::{
    identity::{McServiceId, McSystemId, UserIdentity},
    time::Timestamp,
    token::TokenDigest,
    ue_configuration::InitialUeConfiguration,
    user_profile::{ProfileService, UserProfile},
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
    /// The same, for what administrators of two systems have agreed on.
    PutExchangedConfiguration {
        /// The system described.
        system: McSystemId,
        /// Its configuration; the revision must grow.
        configuration: SystemConfiguration,
        /// The transaction that brought it.
        transaction: TransactionKey,
        /// Who accepted it; nobody where policy did.
        decided_by: Option<McServiceId>,
    },
    /// Asks for what UEs are or were told of a system, one of its latest revisions.
    GetConfigurationVersion {
        /// The system described.
        system: McSystemId,
        /// Which revision.
        revision: u64,
    },
    /// Asks for what UEs are told of a system; secrets in it are shown to whoever may ask.
    GetSystemConfiguration(McSystemId),
    /// Forgets what UEs are told of a system.
    DeleteSystemConfiguration(McSystemId),
    /// Creates or replaces a user profile; the revision must grow.
    PutUserProfile {
        /// Which one.
        key: ProfileKey,
        /// The profile.
        profile: StoredProfile,
    },
    /// Asks for a user profile as it was put; secrets in it are shown to whoever may ask.
    GetUserProfile(ProfileKey),
    /// Asks for a user profile as its user gets it: with the partner systems that the user may migrate to.
    ReadUserProfile(ProfileKey),
    /// Forgets a user profile.
    DeleteUserProfile(ProfileKey),
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
    /// The static bearer token that the user's UE presents, where the system takes such tokens;
    /// [`TokenDigest::OF_NO_TOKEN`] if the user has none.
    pub token: TokenDigest,
}

/// What UEs are or were told of a system, and how it came to be in force.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ConfigurationVersion {
    /// The system described.
    pub system: McSystemId,
    /// Its revision.
    pub revision: u64,
    /// Where its SIP core is, in order of preference.
    pub sip_core: Vec<SipCoreAddress>,
    /// The initial UE configuration.
    pub document: Arc<InitialUeConfiguration>,
    /// How it came to be in force; not known of what was stored before versions were kept.
    pub provenance: Option<Provenance>,
}

impl ConfigurationVersion {
    /// A version of what UEs are told of `system`.
    pub fn new(
        system: &McSystemId,
        configuration: &SystemConfiguration,
        provenance: Option<Provenance>,
    ) -> Self {
        let SystemConfiguration { revision, sip_core, document } = configuration.clone();
        Self { system: system.clone(), revision, sip_core, document, provenance }
    }

    /// The key of its record: those of a system are in the order of their revisions.
    pub fn record_key(&self) -> String {
        format!("{} {:020}", self.system, self.revision)
    }
}

/// How a configuration came to be in force.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Provenance {
    /// Since when it has been in force.
    pub at: Timestamp,
    /// The transaction that brought it, if administrators of two systems have agreed on it.
    pub transaction: Option<TransactionKey>,
    /// Who decided that.
    pub decided_by: DecidedBy,
}

/// Who brought a configuration into force.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DecidedBy {
    /// Whoever has the management interface.
    Operator,
    /// The policy for requests of the partner.
    Policy,
    /// An administrator, who accepted the partner's request.
    User(McServiceId),
}

/// Which user profile.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ProfileKey {
    /// Of which service.
    pub service: ProfileService,
    /// Whose: the MC service ID for that service.
    pub user: McServiceId,
    /// Which one of the user's.
    pub index: u8,
}

impl ProfileKey {
    /// The key of its record.
    pub fn record_key(&self) -> String {
        format!("{} {} {}", self.service, self.index, self.user.as_str())
    }

    /// Reads the key of a record.
    pub fn from_record_key(key: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(key).ok()?;
        let mut parts = text.splitn(3, ' ');
        let (service, index, user) = (parts.next()?, parts.next()?, parts.next()?);
        let read = Self {
            service: ProfileService::parse(service)?,
            user: McServiceId::parse(user).ok()?,
            index: index.parse().ok()?,
        };
        (read.record_key() == text).then_some(read)
    }
}

/// A user profile with its revision.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct StoredProfile {
    /// Grows with each change.
    pub revision: u64,
    /// The document.
    #[serde(rename = "document", with = "profile_record")]
    pub profile: UserProfile,
}

/// A profile in a record: its service and its text.
mod profile_record {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use crate::user_profile::{ProfileService, UserProfile};

    pub(super) fn serialize<S: Serializer>(
        profile: &UserProfile,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        (profile.service(), profile.as_str()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<UserProfile, D::Error> {
        let (service, text) = <(ProfileService, String)>::deserialize(deserializer)?;
        UserProfile::parse(service, &text).map_err(D::Error::custom)
    }
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
    /// What UEs are or were told of a system.
    ConfigurationVersion(Box<ConfigurationVersion>),
    /// A user profile.
    UserProfile(StoredProfile),
    /// It did not work; nothing changed.
    Refused(Refusal),
    /// Some of many are refused, in their order; nothing changed.
    RowsRefused(Vec<RowRefused>),
}
