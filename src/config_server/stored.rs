//! What a configuration server stores, opened: for whoever checks, shows or writes records beside a
//! running system.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    agreement::{AgreementRecord, record_key},
    details::is_usable,
    user::check_class,
};
use crate::{
    api::{
        configuration::{ConfigurationVersion, ProfileKey, StoredProfile, User, Users},
        connection_details::{SIP_CORE_ADDRESSES_MAX, SystemConfiguration},
    },
    identity::McSystemId,
    store::{RecordError, RecordKind, WrongField, decode, encode},
};

/// A stored record of a configuration server. It holds digests of tokens and documents with credentials:
/// its serializer writes them all.
#[derive(Clone, Debug)]
pub struct StoredRecord(Body);

#[derive(Clone, Debug)]
enum Body {
    User(User),
    Agreement(AgreementRecord),
    SystemConfiguration(SystemConfiguration),
    Version(ConfigurationVersion),
    UserProfile(StoredProfile),
}

/// Reads the body of a kind of record with an expression that gives whatever type it has.
macro_rules! read_body {
    ($kind:expr, $read:expr) => {
        match $kind {
            RecordKind::User => Body::User($read),
            RecordKind::Agreement => Body::Agreement($read),
            RecordKind::SystemConfiguration => Body::SystemConfiguration($read),
            RecordKind::SystemConfigurationVersion => Body::Version($read),
            RecordKind::UserProfile => Body::UserProfile($read),
            _ => return Ok(None),
        }
    };
}

impl StoredRecord {
    /// Opens the octets of a record; `None` for kinds of other roles.
    ///
    /// # Errors
    ///
    /// [`RecordError`] when a newer build wrote them, or they are damaged.
    pub fn decode(kind: RecordKind, value: &[u8]) -> Result<Option<Self>, RecordError> {
        Ok(Some(Self(read_body!(kind, decode(value)?))))
    }

    /// Reads a record that a [`Serialize`]r wrote; `None` for kinds of other roles.
    ///
    /// # Errors
    ///
    /// Those of the deserializer.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        kind: RecordKind,
        from: D,
    ) -> Result<Option<Self>, D::Error> {
        Ok(Some(Self(read_body!(kind, Deserialize::deserialize(from)?))))
    }

    /// The octets of the record.
    pub fn encode(&self) -> Vec<u8> {
        match &self.0 {
            Body::User(user) => encode(user),
            Body::Agreement(record) => encode(record),
            Body::SystemConfiguration(configuration) => encode(configuration),
            Body::Version(version) => encode(version),
            Body::UserProfile(profile) => encode(profile),
        }
    }

    /// The names of the fields that hold secrets in records of a kind.
    #[expect(clippy::wildcard_enum_match_arm, reason = "all others hold none")]
    pub const fn secret_fields(kind: RecordKind) -> &'static [&'static str] {
        match kind {
            RecordKind::User => &["token"],
            RecordKind::SystemConfiguration
            | RecordKind::SystemConfigurationVersion
            | RecordKind::UserProfile => &["document"],
            _ => &[],
        }
    }

    /// Checks that the record is one that the role may have written under `key`.
    ///
    /// # Errors
    ///
    /// [`WrongField`]: the first field that is not.
    pub fn check(&self, key: &str) -> Result<(), WrongField> {
        match &self.0 {
            Body::User(user) => {
                let fits = key == user.mc_service_id.as_str();
                WrongField::unless(fits, "key", "is not the mc_service_id")?;
                check_class_name(user.class.as_deref(), "class")
            }
            Body::Agreement(AgreementRecord { agreement, .. }) => {
                let fits = key == record_key(&agreement.key);
                WrongField::unless(fits, "key", "is not that of agreement.key")?;
                if let Users::Class(class) = &agreement.key.users {
                    check_class_name(Some(class), "agreement.key.users")?;
                }
                let lasts = agreement.valid_from < agreement.valid_until;
                WrongField::unless(lasts, "agreement.valid_until", "is not after valid_from")
            }
            Body::UserProfile(profile) => {
                let parsed = ProfileKey::from_record_key(key.as_bytes());
                let fits = parsed.is_some_and(|key| key.service == profile.profile.service());
                WrongField::unless(fits, "key", "is not service, index and user of the document")
            }
            Body::SystemConfiguration(configuration) => {
                let fits = McSystemId::parse(key).is_ok_and(|system| system.as_str() == key);
                WrongField::unless(fits, "key", "is not an MC system ID in lower case")?;
                WrongField::unless(
                    is_usable(configuration),
                    "sip_core",
                    "has not 1 to 16 addresses",
                )
            }
            Body::Version(version) => {
                let fits = key == version.record_key();
                WrongField::unless(fits, "key", "is not system and revision")?;
                let cores = version.sip_core.len();
                let fits = (1..=SIP_CORE_ADDRESSES_MAX).contains(&cores);
                WrongField::unless(fits, "sip_core", "has not 1 to 16 addresses")
            }
        }
    }
}

impl Serialize for StoredRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Body::User(user) => user.serialize(serializer),
            Body::Agreement(record) => record.serialize(serializer),
            Body::SystemConfiguration(configuration) => configuration.serialize(serializer),
            Body::Version(version) => version.serialize(serializer),
            Body::UserProfile(profile) => profile.serialize(serializer),
        }
    }
}

fn check_class_name(class: Option<&str>, field: &'static str) -> Result<(), WrongField> {
    WrongField::unless(check_class(class).is_ok(), field, "has not 1 to 64 octets")
}
