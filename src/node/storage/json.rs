//! Records as JSON: for export, import and lists.
//!
//! ```json
//! {"kind": "grant", "key": "alice@a.example sipdb.b.example", "version": 7, "record": {"until": "2031-01-01T00:00:00Z", "..": ".."}}
//! ```
//!
//! Identities are text, times are of RFC 3339, keys are hexadecimal digits. What is read has to be what is
//! written, field by field: an export is no place for a guess.

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::{
    acm, alias_server, config_server, idms, mc_server,
    node::http::WrongValue,
    sip_core::Registration,
    sip_database,
    store::{
        CommitSeq, KEY_OCTETS_MAX, Mutation, Owner, Record, RecordError, RecordKind, WrongField,
        decode, encode,
    },
};

/// What becomes of keys and credentials.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Secrets {
    /// They are null.
    Hidden,
    /// They are there.
    Shown,
}

/// Renders a record as JSON.
///
/// # Errors
///
/// [`RecordError`] when it cannot be read.
pub fn to_json(record: &Record<'_>, secrets: Secrets) -> Result<Value, RecordError> {
    StoredRecord::open(record)?.to_json(secrets)
}

/// A stored record, opened.
#[derive(Clone, Debug)]
pub struct StoredRecord {
    /// The kind of record.
    pub kind: RecordKind,
    /// The key within the kind.
    pub key: Box<str>,
    /// The number of the commit that wrote it.
    pub version: CommitSeq,
    /// What it says.
    pub content: Content,
}

/// What a stored record says, as the role reads it that wrote it.
#[derive(Clone, Debug)]
pub enum Content {
    /// Of a SIP database.
    Database(sip_database::StoredRecord),
    /// Of a SIP core.
    Core(Registration),
    /// Of a configuration server.
    ConfigServer(config_server::StoredRecord),
    /// Of an ACM server.
    Acm(acm::StoredRecord),
    /// Of a functional alias controlling server.
    Aliases(alias_server::StoredRecord),
    /// Of an identity management server.
    Idms(idms::StoredRecord),
    /// Of an MC server.
    McServer(mc_server::StoredRecord),
}

/// Why a JSON value is no record. It repeats no value: that may be a key or an identity.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ImportError {
    /// A field is missing, unknown, or has a wrong value.
    #[error("{field} {what}")]
    Field {
        /// Its path, such as `record.lease`.
        field: String,
        /// What is wrong with it.
        what: String,
    },
    /// A secret was left out of the export.
    #[error("{field} is a secret that was left out: export again with --secrets")]
    SecretMissing {
        /// Its path.
        field: String,
    },
}

impl StoredRecord {
    /// Opens a record.
    ///
    /// # Errors
    ///
    /// [`RecordError`] when it cannot be read.
    pub fn open(record: &Record<'_>) -> Result<Self, RecordError> {
        let kind = record.kind;
        let key = std::str::from_utf8(record.key).map_err(|_| RecordError::Damaged)?.into();
        let content = if kind == RecordKind::Registration {
            Content::Core(decode(record.value)?)
        } else if let Some(stored) = sip_database::StoredRecord::decode(kind, record.value)? {
            Content::Database(stored)
        } else if let Some(stored) = acm::StoredRecord::decode(kind, record.value)? {
            Content::Acm(stored)
        } else if let Some(stored) = alias_server::StoredRecord::decode(kind, record.value)? {
            Content::Aliases(stored)
        } else if let Some(stored) = idms::StoredRecord::decode(kind, record.value)? {
            Content::Idms(stored)
        } else if let Some(stored) = mc_server::StoredRecord::decode(kind, record.value)? {
            Content::McServer(stored)
        } else {
            let stored = config_server::StoredRecord::decode(kind, record.value)?;
            Content::ConfigServer(stored.ok_or(RecordError::Damaged)?)
        };
        Ok(Self { kind, key, version: record.version, content })
    }

    /// The change that stores it.
    pub fn mutation(&self) -> Mutation {
        let value = match &self.content {
            Content::Database(stored) => stored.encode(),
            Content::Core(registration) => encode(registration),
            Content::ConfigServer(stored) => stored.encode(),
            Content::Acm(stored) => stored.encode(),
            Content::Aliases(stored) => stored.encode(),
            Content::Idms(stored) => stored.encode(),
            Content::McServer(stored) => stored.encode(),
        };
        Mutation { kind: self.kind, key: self.key.as_bytes().into(), value: Some(value) }
    }

    /// Checks that a role may have written the record.
    ///
    /// # Errors
    ///
    /// [`WrongField`]: the first field that it would not have.
    pub fn check(&self) -> Result<(), WrongField> {
        let fits = (1..=KEY_OCTETS_MAX).contains(&self.key.len());
        WrongField::unless(fits, "key", "has not 1 to 512 octets")?;
        match &self.content {
            Content::Database(stored) => stored.check(&self.key),
            Content::Core(registration) => registration.check(&self.key),
            Content::ConfigServer(stored) => stored.check(&self.key),
            Content::Acm(stored) => stored.check(&self.key),
            Content::Aliases(stored) => stored.check(&self.key),
            Content::Idms(stored) => stored.check(&self.key),
            Content::McServer(stored) => stored.check(&self.key),
        }
    }

    /// Whether the record has secrets.
    pub fn holds_secrets(&self) -> bool {
        secret_fields(self.kind).next().is_some()
    }

    /// Renders the record as JSON.
    ///
    /// # Errors
    ///
    /// [`RecordError::Damaged`] if it has what no JSON can say, which no role writes.
    pub fn to_json(&self, secrets: Secrets) -> Result<Value, RecordError> {
        let mut json = serde_json::to_value(self).map_err(|_| RecordError::Damaged)?;
        if secrets == Secrets::Hidden
            && let Some(record) = json.get_mut("record")
        {
            hide(record, self.kind);
        }
        Ok(json)
    }

    /// Reads a record.
    ///
    /// # Errors
    ///
    /// [`ImportError`]: the first thing that is wrong.
    pub fn from_json(json: Value) -> Result<Self, ImportError> {
        let Value::Object(mut fields) = json else {
            return Err(wrong("the line", "is no JSON object"));
        };
        let kind = take(&mut fields, "kind", |kind| RecordKind::from_name(kind.as_str()?))?;
        let key = take(&mut fields, "key", |key| Some(key.as_str()?.into()))?;
        let version = take(&mut fields, "version", |version| {
            Some(CommitSeq::from_u64(
                version.as_u64().filter(|version| (1..MAX).contains(version))?,
            ))
        })?;
        let record = take(&mut fields, "record", |record| Some(record.take()))?;
        if !fields.is_empty() {
            return Err(wrong("the line", "has more than kind, key, version and record"));
        }
        let content = Content::from_json(kind, &record)?;
        let stored = Self { kind, key, version, content };
        stored.check().map_err(|WrongField { field, what }| wrong(&in_record(field), what))?;
        Ok(stored)
    }
}

/// One more than the highest version: half of all, so that numbers go on for long.
const MAX: u64 = 1 << 63;

/// In the order and with the names of [`to_json`]; all secrets shown.
impl Serialize for StoredRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut fields = serializer.serialize_struct("Record", 4)?;
        fields.serialize_field("kind", self.kind.name())?;
        fields.serialize_field("key", &*self.key)?;
        fields.serialize_field("version", &self.version)?;
        match &self.content {
            Content::Database(stored) => fields.serialize_field("record", stored)?,
            Content::Core(registration) => fields.serialize_field("record", registration)?,
            Content::ConfigServer(stored) => fields.serialize_field("record", stored)?,
            Content::Acm(stored) => fields.serialize_field("record", stored)?,
            Content::Aliases(stored) => fields.serialize_field("record", stored)?,
            Content::Idms(stored) => fields.serialize_field("record", stored)?,
            Content::McServer(stored) => fields.serialize_field("record", stored)?,
        }
        fields.end()
    }
}

impl Content {
    fn from_json(kind: RecordKind, json: &Value) -> Result<Self, ImportError> {
        if let Some(field) = hidden(json, kind) {
            return Err(ImportError::SecretMissing { field: format!("record.{field}") });
        }
        let mut track = serde_path_to_error::Track::new();
        let from = serde_path_to_error::Deserializer::new(json, &mut track);
        let read = match kind.owner() {
            Owner::SipCore => {
                serde::Deserialize::deserialize(from).map(|content| Some(Self::Core(content)))
            }
            Owner::SipDatabase => sip_database::StoredRecord::deserialize(kind, from)
                .map(|stored| stored.map(Self::Database)),
            Owner::ConfigServer => config_server::StoredRecord::deserialize(kind, from)
                .map(|stored| stored.map(Self::ConfigServer)),
            Owner::Acm => {
                acm::StoredRecord::deserialize(kind, from).map(|stored| stored.map(Self::Acm))
            }
            Owner::AliasServer => alias_server::StoredRecord::deserialize(kind, from)
                .map(|stored| stored.map(Self::Aliases)),
            Owner::Idms => {
                idms::StoredRecord::deserialize(kind, from).map(|stored| stored.map(Self::Idms))
            }
            Owner::McServer => mc_server::StoredRecord::deserialize(kind, from)
                .map(|stored| stored.map(Self::McServer)),
        };
        let told = |error| {
            let WrongValue { field, what, .. } =
                WrongValue::told_by(&track.path().to_string(), &error);
            wrong(&in_record(&field), what)
        };
        let content = read.map_err(told)?;
        let content = content.ok_or_else(|| wrong("kind", "is of no role"))?;
        content.check_same(json)?;
        Ok(content)
    }

    /// Checks that what was read is all that was there, in the form in which it is written.
    fn check_same(&self, json: &Value) -> Result<(), ImportError> {
        let written = match self {
            Self::Database(stored) => serde_json::to_value(stored),
            Self::Core(registration) => serde_json::to_value(registration),
            Self::ConfigServer(stored) => serde_json::to_value(stored),
            Self::Acm(stored) => serde_json::to_value(stored),
            Self::Aliases(stored) => serde_json::to_value(stored),
            Self::Idms(stored) => serde_json::to_value(stored),
            Self::McServer(stored) => serde_json::to_value(stored),
        };
        let written = written.map_err(|_| wrong("record", "cannot be written again"))?;
        match difference(json, &written) {
            None => Ok(()),
            Some((path, what)) => Err(wrong(&in_record(&path), what)),
        }
    }
}

/// Takes a field out of an object.
fn take<T>(
    fields: &mut Map<String, Value>,
    name: &'static str,
    read: impl FnOnce(&mut Value) -> Option<T>,
) -> Result<T, ImportError> {
    let mut value = fields.remove(name).ok_or_else(|| wrong(name, "is missing"))?;
    let what = match name {
        "kind" => "is no kind of record of this release",
        "version" => "is no number of a commit: a whole number from 1 to 2^63 - 1",
        _ => "is no text",
    };
    read(&mut value).ok_or_else(|| wrong(name, what))
}

fn wrong(field: &str, what: impl Into<String>) -> ImportError {
    ImportError::Field { field: field.to_owned(), what: what.into() }
}

/// The path of a field of the record; the key is beside it.
fn in_record(field: &str) -> String {
    match field {
        "key" => field.to_owned(),
        "." | "" => "record".to_owned(),
        _ => format!("record.{field}"),
    }
}

fn secret_fields(kind: RecordKind) -> impl Iterator<Item = &'static str> {
    let database = sip_database::StoredRecord::secret_fields(kind);
    let config_server = config_server::StoredRecord::secret_fields(kind);
    let acm = acm::StoredRecord::secret_fields(kind);
    let idms = idms::StoredRecord::secret_fields(kind);
    database.iter().chain(config_server).chain(acm).chain(idms).copied()
}

/// Puts null in place of the secrets in a record of `kind`.
fn hide(json: &mut Value, kind: RecordKind) {
    match json {
        Value::Object(fields) => {
            for (name, value) in fields {
                if secret_fields(kind).any(|secret| secret == name) {
                    *value = Value::Null;
                } else {
                    hide(value, kind);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| hide(value, kind)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The path of the first secret that was hidden in a record of `kind`.
fn hidden(json: &Value, kind: RecordKind) -> Option<String> {
    let Value::Object(fields) = json else { return None };
    fields.iter().find_map(|(name, value)| {
        let secret = secret_fields(kind).any(|secret| secret == name);
        if secret && value.is_null() {
            return Some(name.clone());
        }
        hidden(value, kind).map(|inner| format!("{name}.{inner}"))
    })
}

/// The path of the first difference between what was given and what is written again, and what it is.
fn difference(given: &Value, written: &Value) -> Option<(String, &'static str)> {
    match (given, written) {
        (Value::Object(given), Value::Object(written)) => {
            let missing = written.keys().find(|name| !given.contains_key(*name));
            if let Some(name) = missing {
                return Some((name.clone(), "is missing"));
            }
            given.iter().find_map(|(name, value)| match written.get(name) {
                // The name may be anything, such as a key in the wrong place.
                None => Some((String::new(), "has a field that this release does not know")),
                Some(same) => {
                    difference(value, same).map(|(path, what)| (join(name.clone(), &path), what))
                }
            })
        }
        (Value::Array(given), Value::Array(written)) if given.len() == written.len() => {
            given.iter().zip(written).enumerate().find_map(|(index, (given, written))| {
                difference(given, written)
                    .map(|(path, what)| (join(format!("[{index}]"), &path), what))
            })
        }
        _ if given == written => None,
        _ => Some((String::new(), "is not in the form in which an export has it")),
    }
}

fn join(mut path: String, inner: &str) -> String {
    if !inner.is_empty() && !inner.starts_with('[') {
        path.push('.');
    }
    path.push_str(inner);
    path
}

#[cfg(test)]
mod tests;
