//! What an MC server stores, opened: for whoever checks, shows or writes records beside a running system.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::record::ClientRecord;
use crate::{
    identity::Impu,
    store::{RecordError, RecordKind, WrongField, decode, encode},
};

/// A stored record of an MC server.
#[derive(Clone, Debug)]
pub struct StoredRecord(ClientRecord);

impl StoredRecord {
    /// Opens the octets of a record; `None` for kinds of other roles.
    ///
    /// # Errors
    ///
    /// [`RecordError`] when a newer build wrote them, or they are damaged.
    pub fn decode(kind: RecordKind, value: &[u8]) -> Result<Option<Self>, RecordError> {
        if kind == RecordKind::McClient { decode(value).map(|it| Some(Self(it))) } else { Ok(None) }
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
        if kind == RecordKind::McClient {
            Deserialize::deserialize(from).map(|it| Some(Self(it)))
        } else {
            Ok(None)
        }
    }

    /// The octets of the record.
    pub fn encode(&self) -> Vec<u8> {
        encode(&self.0)
    }

    /// Checks that the record is one that the role may have written under `key`.
    ///
    /// # Errors
    ///
    /// [`WrongField`]: the first field that is not.
    pub fn check(&self, key: &str) -> Result<(), WrongField> {
        let fits = Impu::parse(key).is_ok_and(|impu| impu.as_str() == key);
        WrongField::unless(fits, "key", "is no public identity in its canonical form")?;
        self.0.check()
    }
}

impl Serialize for StoredRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}
