//! How a [`Secret`] is written into a record (`#[serde(with = "stored_secret")]`): its bare octets, and for
//! people hexadecimal digits.
//!
//! The type itself has no serializer, so that none reaches the wire or a log by accident.

use serde::{Deserialize, Deserializer, Serializer, de::Error};
use zeroize::Zeroizing;

use crate::secret::Secret;

pub(super) fn serialize<const N: usize, S: Serializer>(
    secret: &Secret<N>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        serializer.serialize_str(&secret.to_hex())
    } else {
        serializer.serialize_bytes(secret.expose())
    }
}

pub(super) fn deserialize<'de, const N: usize, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Secret<N>, D::Error> {
    if deserializer.is_human_readable() {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let secret = Secret::from_hex(&text);
        return secret.ok_or_else(|| D::Error::custom(Digits(2 * N)));
    }
    let octets = <&'de [u8]>::deserialize(deserializer)?;
    octets.try_into().map(Secret::new).map_err(|_| D::Error::custom("a key of the wrong length"))
}

/// What is wrong with a text that is not so many hexadecimal digits. It repeats nothing of the text, which
/// may be most of a key.
#[derive(Debug, thiserror::Error)]
#[error("is not {0} hexadecimal digits")]
struct Digits(usize);
