//! What an ACM server stores, opened: for whoever checks, shows or writes records beside a running system.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    migrants::{MigrantRecord, SetRecord, migrant_key},
    ordered::{Group, Session},
    record::{IncomingRecord, OutgoingRecord, PayloadRecord, RevisionRecord, stored_key},
};
use crate::{
    api::{
        acm_interconnection::TransactionKey,
        acm_management::{Stray, User},
    },
    store::{RecordError, RecordKind, WrongField, decode, encode},
};

/// A stored record of an ACM server. It holds digests of tokens and documents with credentials: its serializer writes
/// them all.
#[derive(Clone, Debug)]
pub struct StoredRecord(Body);

#[derive(Clone, Debug)]
enum Body {
    Outgoing(Box<OutgoingRecord>),
    Incoming(Box<IncomingRecord>),
    Payload(PayloadRecord),
    Set(Box<SetRecord>),
    Migrant(Box<MigrantRecord>),
    Group(Group),
    User(User),
    Session(Session),
    Revision(RevisionRecord),
    Stray(Box<Stray>),
}

/// Reads the body of a kind of record with an expression that gives whatever type it has.
macro_rules! read_body {
    ($kind:expr, $read:expr) => {
        match $kind {
            RecordKind::AcmOutgoing => Body::Outgoing($read),
            RecordKind::AcmIncoming => Body::Incoming($read),
            RecordKind::AcmPayload => Body::Payload($read),
            RecordKind::AcmConfigurationSet => Body::Set($read),
            RecordKind::AcmMigrant => Body::Migrant($read),
            RecordKind::AcmGroup => Body::Group($read),
            RecordKind::AcmUser => Body::User($read),
            RecordKind::AcmSession => Body::Session($read),
            RecordKind::AcmRevision => Body::Revision($read),
            RecordKind::AcmStray => Body::Stray($read),
            _ => return Ok(None),
        }
    };
}

/// Does the same with the body, whatever it is.
macro_rules! each_body {
    ($of:expr, $body:ident => $with:expr) => {
        match $of {
            Body::Outgoing($body) => $with,
            Body::Incoming($body) => $with,
            Body::Payload($body) => $with,
            Body::Set($body) => $with,
            Body::Migrant($body) => $with,
            Body::Group($body) => $with,
            Body::User($body) => $with,
            Body::Session($body) => $with,
            Body::Revision($body) => $with,
            Body::Stray($body) => $with,
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
        each_body!(&self.0, body => encode(body))
    }

    /// The names of the fields that hold secrets in records of a kind.
    #[expect(clippy::wildcard_enum_match_arm, reason = "all others hold none")]
    pub const fn secret_fields(kind: RecordKind) -> &'static [&'static str] {
        match kind {
            // Who knows the rest of a request could find its passwords by its digest.
            RecordKind::AcmOutgoing | RecordKind::AcmIncoming => &["digest"],
            RecordKind::AcmPayload => &["payload"],
            RecordKind::AcmConfigurationSet => &["configuration"],
            RecordKind::AcmUser => &["token"],
            _ => &[],
        }
    }

    /// Checks that the record is one that the role may have written under `key`.
    ///
    /// # Errors
    ///
    /// [`WrongField`]: the first field that is not.
    pub fn check(&self, key: &str) -> Result<(), WrongField> {
        let is = |fits: bool, what| WrongField::unless(fits, "key", what);
        match &self.0 {
            Body::Outgoing(record) => {
                let transaction = record.subject.envelope.transaction.to_string();
                is(key == transaction, "is not the transaction")?;
                let is_over = record.response.is_some();
                WrongField::unless(
                    is_over == record.state.is_over(),
                    "response",
                    "is not of the state",
                )
            }
            Body::Incoming(record) => {
                is(key == stored_key(&record.subject.key()), "is not origin and transaction")?;
                let is_over = record.response.is_some();
                WrongField::unless(
                    is_over == record.state.is_over(),
                    "response",
                    "is not of the state",
                )
            }
            Body::Payload(_) => is(is_stored_key(key), "is not origin and transaction"),
            Body::Set(record) => is(key == stored_key(&record.key), "is not that of key"),
            Body::Migrant(record) => {
                let (way, other, user) = record.key();
                is(key == migrant_key(way, &other, &user), "is not way, system and user")
            }
            Body::Group(record) => is(key == record.stored_key(), "is not home and group"),
            Body::User(user) => is(key == user.mc_service_id.as_str(), "is not the mc_service_id"),
            Body::Session(_) => {
                let is_digit = |octet: u8| octet.is_ascii_digit() || (b'a'..=b'f').contains(&octet);
                let is_number = key.len() == 16 && key.bytes().all(is_digit);
                is(is_number, "is not 16 hexadecimal digits")
            }
            Body::Revision(_) => {
                let direction = key.split(' ').next().unwrap_or_default();
                is(matches!(direction, "in" | "out"), "begins with neither in nor out")
            }
            Body::Stray(record) => {
                let transaction = record.response.key.transaction;
                let of = TransactionKey { origin: record.from.clone(), transaction };
                is(key == stored_key(&of), "is not system and transaction")
            }
        }
    }
}

impl Serialize for StoredRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        each_body!(&self.0, body => body.serialize(serializer))
    }
}

fn is_stored_key(key: &str) -> bool {
    let is_uuid =
        |text: &str| text.parse::<crate::api::acm_interconnection::TransactionId>().is_ok();
    key.split_once(' ').is_some_and(|(_, transaction)| is_uuid(transaction))
}
