//! What a SIP database stores, opened: for whoever checks, shows or writes records beside a running system.

use std::{collections::BTreeSet, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    agreement::WithdrawnRecord,
    digest::{DigestSubscriberRecord, check_realm},
    inbound::InboundRecord,
    listed::{Entry, NUMBER_MAX, entry_key},
    outbound::OutboundRecord,
    pool::{Origin, PoolRecord, SourceRecord},
    provision::check_impus,
    provision_pool::check_name,
    subscriber::{SqnProfile, SubscriberRecord, ind_bits_within},
    template::PairTemplate,
    visits::{GrantRecord, grant_key},
};
use crate::{
    identity::Impi,
    store::{RecordError, RecordKind, WrongField, decode, encode},
};

/// A stored record of a SIP database. It holds keys: its serializer writes them all, for people as
/// hexadecimal digits.
#[derive(Clone, Debug)]
pub struct StoredRecord(pub(super) Body);

#[derive(Clone, Debug)]
pub(super) enum Body {
    Subscriber(SubscriberRecord),
    Digest(DigestSubscriberRecord),
    Pool(PoolRecord),
    PoolEntry(Entry),
    Inbound(InboundRecord),
    Outbound(OutboundRecord),
    Grant(GrantRecord),
    Withdrawn(WithdrawnRecord),
}

/// Reads the body of a kind of record with an expression that gives whatever type it has.
macro_rules! read_body {
    ($kind:expr, $read:expr) => {
        match $kind {
            RecordKind::Subscriber => Body::Subscriber($read),
            RecordKind::DigestSubscriber => Body::Digest($read),
            RecordKind::Pool => Body::Pool($read),
            RecordKind::PoolEntry => Body::PoolEntry($read),
            RecordKind::InboundBinding => Body::Inbound($read),
            RecordKind::OutboundBinding => Body::Outbound($read),
            RecordKind::Grant => Body::Grant($read),
            RecordKind::WithdrawnAgreement => Body::Withdrawn($read),
            _ => return Ok(None),
        }
    };
}

/// Applies an expression to the record that is in a body.
macro_rules! with_body {
    ($body:expr, $record:ident => $what:expr) => {
        match $body {
            Body::Subscriber($record) => $what,
            Body::Digest($record) => $what,
            Body::Pool($record) => $what,
            Body::PoolEntry($record) => $what,
            Body::Inbound($record) => $what,
            Body::Outbound($record) => $what,
            Body::Grant($record) => $what,
            Body::Withdrawn($record) => $what,
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
        with_body!(&self.0, record => encode(record))
    }

    /// The names of the fields that hold secrets in records of a kind.
    #[expect(clippy::wildcard_enum_match_arm, reason = "all others hold none")]
    pub const fn secret_fields(kind: RecordKind) -> &'static [&'static str] {
        match kind {
            RecordKind::Subscriber => &["k", "opc"],
            RecordKind::DigestSubscriber => &["ha1"],
            RecordKind::Pool => &["key"],
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
            Body::Subscriber(record) => check_impi(key).and(check_subscriber(record)),
            Body::Digest(record) => {
                check_impi(key)?;
                let listed = check_impus(&record.impus).is_ok();
                WrongField::unless(listed, "impus", "has none, one twice, or more than 32")?;
                let fits = check_realm(&record.realm).is_ok();
                WrongField::unless(fits, "realm", "is none that a subscriber has")
            }
            Body::Pool(record) => check_pool(key, record),
            Body::PoolEntry(entry) => {
                let pool = key.split_once(' ').map_or("", |(pool, _)| pool);
                let fits = key == entry_key(pool, &entry.identity.impi);
                WrongField::unless(fits, "key", "is not a pool, a space and the impi")?;
                let fits = entry.place.1 <= NUMBER_MAX;
                WrongField::unless(fits, "place", "has an order that no pool gets to")
            }
            Body::Inbound(record) => {
                check_impi(key)?;
                check_origin(&record.origin)?;
                let named = !record.primary.server_name.is_empty();
                WrongField::unless(named, "primary.server_name", "is empty")
            }
            Body::Outbound(record) => check_impi(key).and(check_origin(&record.origin)),
            Body::Grant(record) => {
                let fits = key == grant_key(&record.user.impi, &record.partner);
                WrongField::unless(fits, "key", "is not user.impi, a space and the partner")
            }
            Body::Withdrawn(WithdrawnRecord) => {
                let number = u64::from_str(key).is_ok_and(|number| number.to_string() == key);
                WrongField::unless(number, "key", "is not the number of an agreement")
            }
        }
    }
}

impl Serialize for StoredRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        with_body!(&self.0, record => record.serialize(serializer))
    }
}

fn check_impi(key: &str) -> Result<(), WrongField> {
    let fits = Impi::parse(key).is_ok_and(|impi| impi.as_str() == key);
    WrongField::unless(fits, "key", "is not a private identity with its realm in lower case")
}

fn check_origin(origin: &Origin) -> Result<(), WrongField> {
    WrongField::unless(check_name(origin.pool()).is_ok(), "origin", "has a name that no pool has")
}

fn check_subscriber(record: &SubscriberRecord) -> Result<(), WrongField> {
    let listed = check_impus(&record.impus).is_ok();
    WrongField::unless(listed, "impus", "has none, one twice, or more than 32")?;
    let width = ind_bits_within(record.ind_bits);
    WrongField::unless(width == record.ind_bits, "ind_bits", "is not 3 to 8")?;
    let fits = record.reserved_seq <= SqnProfile { ind_bits: width, range: 1 }.seq_max();
    WrongField::unless(fits, "reserved_seq", "has more bits than an SQN without IND")?;
    let databases: BTreeSet<_> = record.visited.iter().map(|entry| &entry.database).collect();
    let inds: BTreeSet<_> = record.visited.iter().map(|entry| entry.ind).collect();
    let apart = databases.len() == record.visited.len() && inds.len() == record.visited.len();
    WrongField::unless(apart, "visited", "has a database or an ind twice")?;
    let fits = record.visited.iter().all(|entry| u64::from(entry.ind) >> width == 0);
    WrongField::unless(fits, "visited", "has an ind of more than ind_bits bits")
}

fn check_pool(key: &str, record: &PoolRecord) -> Result<(), WrongField> {
    let named = check_name(key).is_ok();
    WrongField::unless(named, "key", "is not a pool name: 1 to 64 of letters, digits and ._-")?;
    match &record.source {
        SourceRecord::Generated { impi_template, impu_template, reserved, .. } => {
            PairTemplate::parse(impi_template, impu_template).map_err(|_| WrongField {
                field: "source",
                what: "has templates that no pool has",
            })?;
            let fits = *reserved <= NUMBER_MAX;
            WrongField::unless(fits, "reserved", "is more than any pool gets to")
        }
        SourceRecord::Listed { .. } => Ok(()),
    }
}
