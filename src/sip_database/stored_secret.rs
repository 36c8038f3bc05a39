//! How a [`Secret`] is written into a record (`#[serde(with = "stored_secret")]`): its bare octets.
//!
//! The type itself has no serializer, so that none reaches the wire or a log by accident.

use serde::{Deserialize, Deserializer, Serializer, de::Error};

use crate::secret::Secret;

pub(super) fn serialize<const N: usize, S: Serializer>(
    secret: &Secret<N>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(secret.expose())
}

pub(super) fn deserialize<'de, const N: usize, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Secret<N>, D::Error> {
    let octets = <&'de [u8]>::deserialize(deserializer)?;
    octets.try_into().map(Secret::new).map_err(|_| D::Error::custom("a key of the wrong length"))
}
