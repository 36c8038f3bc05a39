//! What an identity management server stores, opened: for whoever checks, shows or writes records beside a running
//! system.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    keys::HeldKey,
    record::{
        DeniedRecord, FamilyRecord, IssuedRecord, IssuerRecord, KeyRecord, PresentedRecord, Stored,
        UserRecord, VisitorRecord, is_drawn,
    },
};
use crate::{
    api::identity_management::Client,
    store::{RecordError, RecordKind, WrongField, decode, encode},
};

/// A stored record of an identity management server. It holds keys, hashes of passwords and digests of tokens: its
/// serializer writes them all.
#[derive(Clone, Debug)]
pub struct StoredRecord(Body);

#[derive(Clone, Debug)]
enum Body {
    Client(Client),
    User(Box<UserRecord>),
    Key(Box<KeyRecord>),
    Family(Box<FamilyRecord>),
    Issued(IssuedRecord),
    Issuer(IssuerRecord),
    Visitor(Box<VisitorRecord>),
    Denied(DeniedRecord),
    Presented(PresentedRecord),
}

/// Reads the body of a kind of record with an expression that gives whatever type it has.
macro_rules! read_body {
    ($kind:expr, $read:expr) => {
        match $kind {
            RecordKind::IdmsClient => Body::Client($read),
            RecordKind::IdmsUser => Body::User($read),
            RecordKind::IdmsKey => Body::Key($read),
            RecordKind::IdmsRefresh => Body::Family($read),
            RecordKind::IdmsIssued => Body::Issued($read),
            RecordKind::IdmsIssuer => Body::Issuer($read),
            RecordKind::IdmsVisitor => Body::Visitor($read),
            RecordKind::IdmsDenied => Body::Denied($read),
            RecordKind::IdmsPresented => Body::Presented($read),
            _ => return Ok(None),
        }
    };
}

/// Does the same with the body, whatever it is.
macro_rules! each_body {
    ($of:expr, $body:ident => $with:expr) => {
        match $of {
            Body::Client($body) => $with,
            Body::User($body) => $with,
            Body::Key($body) => $with,
            Body::Family($body) => $with,
            Body::Issued($body) => $with,
            Body::Issuer($body) => $with,
            Body::Visitor($body) => $with,
            Body::Denied($body) => $with,
            Body::Presented($body) => $with,
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
            RecordKind::IdmsClient => &["authentication"],
            RecordKind::IdmsUser => &["password"],
            RecordKind::IdmsKey => &["pkcs8"],
            RecordKind::IdmsRefresh => &["digest"],
            _ => &[],
        }
    }

    /// Checks that the record is one that the role may have written under `key`.
    ///
    /// # Errors
    ///
    /// [`WrongField`]: the first field that is not.
    pub fn check(&self, key: &str) -> Result<(), WrongField> {
        let own = each_body!(&self.0, body => body.key());
        WrongField::unless(key == own, "key", "is not that of the record")?;
        let drawn = |name: &str, field| {
            WrongField::unless(is_drawn(name), field, "is not 128 bits in base64url")
        };
        match &self.0 {
            Body::Key(record) => {
                let is_pair = HeldKey::new((**record).clone()).is_ok();
                WrongField::unless(is_pair, "certificate", "is not of the key")
            }
            Body::User(record) => drawn(&record.subject, "subject"),
            Body::Family(record) => drawn(&record.subject, "subject"),
            Body::Issued(record) => drawn(&record.subject, "subject"),
            Body::Visitor(record) => drawn(&record.local_subject, "local_subject"),
            Body::Client(_) | Body::Issuer(_) | Body::Denied(_) | Body::Presented(_) => Ok(()),
        }
    }
}

impl Serialize for StoredRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        each_body!(&self.0, body => body.serialize(serializer))
    }
}
