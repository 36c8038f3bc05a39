//! How records lie in the store: keys and values, octet by octet.
//!
//! ```text
//! record   key    [stripe 0..=15][kind][key within the kind]
//!          value  [version, 64 bits][0][record]
//!             or  [version, 64 bits][1][key name, 32 bits][nonce, 96 bits][sealed record][tag, 128 bits]
//! meta     key    [255][name]
//! ```
//!
//! Numbers are big-endian. The stripe is a hash of the key within the kind: it spreads every kind over
//! as many ranges as cores may load at a time. A list in the order of keys merges the stripes again.
//!
//! A build that changes any of this writes another [`FORMAT`], and the old one cannot open it.

use crate::store::{CommitSeq, KEY_OCTETS_MAX, RecordKind};

/// The format described above.
pub(super) const FORMAT: u32 = 1;

/// Number of ranges that the records are spread over.
pub(super) const STRIPES: u8 = 16;

/// Longest key in the store, octets: stripe, kind, key.
const STORED_KEY_OCTETS_MAX: usize = KEY_OCTETS_MAX + 2;

/// The key of the format that the store has.
pub(super) const FORMAT_KEY: &[u8] = b"\xffformat";

/// The key of the name drawn when the store was made.
pub(super) const IDENTITY_KEY: &[u8] = b"\xffidentity";

/// The key of the highest version ever committed: a deletion leaves no other trace of its own.
pub(super) const HIGHEST_KEY: &[u8] = b"\xffhighest";

/// What the keys begin with under which each sealing key leaves something to be known by.
pub(super) const CHECK_PREFIX: &[u8] = b"\xffkey/";

/// A key in the store, without an allocation.
pub(super) struct StoredKey {
    octets: [u8; STORED_KEY_OCTETS_MAX],
    length: usize,
}

impl StoredKey {
    /// The key of a record; `None` if it is longer than [`KEY_OCTETS_MAX`].
    pub(super) fn new(kind: RecordKind, key: &[u8]) -> Option<Self> {
        Self::in_stripe(stripe_of(key), kind, key)
    }

    /// What the key of a record is or would be in a stripe.
    pub(super) fn in_stripe(stripe: u8, kind: RecordKind, key: &[u8]) -> Option<Self> {
        let mut octets = [0; STORED_KEY_OCTETS_MAX];
        let ([at_stripe, at_kind], rest) = octets.split_first_chunk_mut::<2>()?;
        (*at_stripe, *at_kind) = (stripe, kind.as_u8());
        rest.get_mut(..key.len())?.copy_from_slice(key);
        Some(Self { octets, length: key.len() + 2 })
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        self.octets.get(..self.length).unwrap_or_default()
    }
}

/// The kind's octet, and the key within the kind, of a record's key in the store.
pub(super) fn split_key(stored: &[u8]) -> Option<(u8, &[u8])> {
    match stored {
        [stripe, kind, key @ ..] if *stripe < STRIPES => Some((*kind, key)),
        _ => None,
    }
}

/// The stripe of a key: FNV-1a, folded to four bits.
pub(super) fn stripe_of(key: &[u8]) -> u8 {
    let hash = key
        .iter()
        .fold(0x811c_9dc5_u32, |hash, octet| (hash ^ u32::from(*octet)).wrapping_mul(0x0100_0193));
    let [a, b, c, d] = hash.to_be_bytes();
    let folded = a ^ b ^ c ^ d;
    (folded ^ (folded >> 4)) % STRIPES
}

/// What follows the version in a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Body<'a> {
    /// The record.
    Plain(&'a [u8]),
    /// The record, sealed.
    Sealed(&'a [u8]),
}

const PLAIN: u8 = 0;
const SEALED: u8 = 1;

/// Begins a value; the record, or what sealing makes of it, follows.
pub(super) fn begin_value(version: CommitSeq, is_sealed: bool, room: usize) -> Vec<u8> {
    let mut value = Vec::with_capacity(9 + room);
    value.extend_from_slice(&version.as_u64().to_be_bytes());
    value.push(if is_sealed { SEALED } else { PLAIN });
    value
}

/// The version and the body of a value; `None` if no build writes such a thing.
pub(super) fn split_value(value: &[u8]) -> Option<(CommitSeq, Body<'_>)> {
    let (version, rest) = value.split_first_chunk::<8>()?;
    let version = CommitSeq::from_u64(u64::from_be_bytes(*version));
    match rest {
        [PLAIN, record @ ..] => Some((version, Body::Plain(record))),
        [SEALED, sealed @ ..] => Some((version, Body::Sealed(sealed))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_any_permitted_length_are_taken_apart_again_and_spread_over_all_stripes() {
        let mut seen = [0_usize; STRIPES as usize];
        for index in 0..1_600 {
            let key = format!("mig-{index:016x}@b.example");
            let stored = StoredKey::new(RecordKind::Grant, key.as_bytes()).unwrap();
            let stored = stored.as_slice();
            seen[usize::from(stored[0])] += 1;
            assert_eq!(split_key(stored), Some((RecordKind::Grant.as_u8(), key.as_bytes())));
        }
        assert!(seen.iter().all(|count| (50..200).contains(count)), "{seen:?}");
        assert!(StoredKey::new(RecordKind::Grant, &[7; KEY_OCTETS_MAX]).is_some());
        assert!(StoredKey::new(RecordKind::Grant, &[7; KEY_OCTETS_MAX + 1]).is_none());
        assert_eq!(split_key(HIGHEST_KEY), None);
    }

    #[test]
    fn a_value_no_build_writes_is_refused() {
        let version = CommitSeq::from_u64(7);
        let mut value = begin_value(version, false, 1);
        value.push(9);
        assert_eq!(split_value(&value), Some((version, Body::Plain(&[9]))));
        assert_eq!(split_value(&value[..8]), None);
        value[8] = 2;
        assert_eq!(split_value(&value), None);
    }
}
