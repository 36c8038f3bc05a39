//! What a functional alias controlling server stores, opened: for whoever checks, shows or writes records beside a
//! running system.

use serde::{Deserialize, Deserializer, Serialize};

use super::active::Held;
use crate::{
    api::alias_management::Holder,
    identity::{FunctionalAlias, McServiceId},
    store::{Mutation, RecordError, RecordKind, WrongField, decode, encode},
    time::Timestamp,
};

/// A stored record of a functional alias controlling server. It holds no secrets.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct StoredRecord(HolderRecord);

/// That a user holds an alias.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct HolderRecord {
    alias: FunctionalAlias,
    user: McServiceId,
    shared: bool,
    since: Timestamp,
    place: u64,
}

impl HolderRecord {
    pub(super) fn new(alias: &FunctionalAlias, held: &Held) -> Self {
        let Held { holder: Holder { user, shared, since }, place } = held.clone();
        Self { alias: alias.clone(), user, shared, since, place }
    }

    pub(super) fn into_held(self) -> (FunctionalAlias, Held) {
        let Self { alias, user, shared, since, place } = self;
        (alias, Held { holder: Holder { user, shared, since }, place })
    }

    pub(super) fn put(&self) -> Mutation {
        Mutation::put(RecordKind::AliasHolder, &key_of(&self.alias, &self.user), self)
    }

    pub(super) fn delete(alias: &FunctionalAlias, user: &McServiceId) -> Mutation {
        Mutation::delete(RecordKind::AliasHolder, &key_of(alias, user))
    }
}

impl StoredRecord {
    /// Opens the octets of a record; `None` for kinds of other roles.
    ///
    /// # Errors
    ///
    /// [`RecordError`] when a newer build wrote them, or they are damaged.
    pub fn decode(kind: RecordKind, value: &[u8]) -> Result<Option<Self>, RecordError> {
        let is_own = kind == RecordKind::AliasHolder;
        is_own.then(|| decode(value).map(Self)).transpose()
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
        let is_own = kind == RecordKind::AliasHolder;
        is_own.then(|| HolderRecord::deserialize(from).map(Self)).transpose()
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
        let fits = key == key_of(&self.0.alias, &self.0.user);
        WrongField::unless(fits, "key", "is not alias and user")?;
        WrongField::unless(self.0.place > 0, "place", "is not above 0")
    }
}

fn key_of(alias: &FunctionalAlias, user: &McServiceId) -> String {
    format!("{} {}", alias.as_str(), user.as_str())
}
