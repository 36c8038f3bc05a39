//! A [`Timestamp`] as microseconds since the Unix epoch, for people too (`#[serde(with = "time::micros")]`).

use serde::{Deserialize, Deserializer, Serializer};

use super::Timestamp;

/// Writes microseconds.
///
/// # Errors
///
/// Those of the serializer.
pub fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(at.as_micros())
}

/// Reads microseconds.
///
/// # Errors
///
/// Those of the deserializer.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    u64::deserialize(deserializer).map(Timestamp::from_micros)
}
