//! Sealing: AES-256-GCM over records that hold keys or credentials.
//!
//! The seal binds a record to its kind, its key and its version, so that nobody with access to the disk
//! can give one subscriber the key of another, or bring an old one back under a new version.
//!
//! **The nonce** is 96 random bits. A counter would start again when a backup is restored, or when a
//! commit that failed gives its version to another one, and two records under one nonce give both away.
//! Random ones repeat with a probability below 2^-25 for 2^36 records sealed with one key, which is a
//! thousand a second for two years. Rotating keys starts again.

use ring::aead::{Aad, LessSafeKey, MAX_TAG_LEN, NONCE_LEN, Nonce};

use super::keys::{KeyId, Keys};
use crate::{entropy::Entropy, store::CommitSeq};

/// How many octets longer a sealed record is: name of the key, nonce, tag.
pub(super) const OVERHEAD_OCTETS: usize = 4 + NONCE_LEN + MAX_TAG_LEN;

/// What is sealed to leave something a key is known by.
const CHECK_TEXT: &[u8] = b"migcore store";

/// The kind's octet in the seal of [`CHECK_TEXT`]: no record has it.
const CHECK_KIND: u8 = 0;

/// What a seal binds a record to.
#[derive(Clone, Copy)]
pub(super) struct Label<'a> {
    /// The octet of its kind.
    pub(super) kind: u8,
    /// Its key within the kind.
    pub(super) key: &'a [u8],
    /// Its version.
    pub(super) version: CommitSeq,
}

/// Why a sealed record does not open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SealError {
    /// Its key is not given.
    UnknownKey(KeyId),
    /// It is not what was sealed under that key, or not where it was.
    Damaged,
}

/// Appends `record`, sealed with the first key, to `value`.
pub(super) fn seal(
    keys: &Keys,
    entropy: &mut dyn Entropy,
    label: Label<'_>,
    record: &[u8],
    value: &mut Vec<u8>,
) {
    seal_with(keys.sealing(), entropy, label, record, value);
}

fn seal_with(
    (id, cipher): (KeyId, &LessSafeKey),
    entropy: &mut dyn Entropy,
    label: Label<'_>,
    record: &[u8],
    value: &mut Vec<u8>,
) {
    let mut nonce = [0; NONCE_LEN];
    entropy.fill(&mut nonce);
    value.reserve(OVERHEAD_OCTETS + record.len());
    value.extend_from_slice(&id.0);
    value.extend_from_slice(&nonce);
    let start = value.len();
    value.extend_from_slice(record);
    let nonce = Nonce::assume_unique_for_key(nonce);
    let in_place = value.get_mut(start..).unwrap_or_default();
    #[expect(clippy::expect_used, reason = "it fails on records of 64 GB only")]
    let tag = cipher
        .seal_in_place_separate_tag(nonce, label.to_aad(), in_place)
        .expect("records are short");
    value.extend_from_slice(tag.as_ref());
}

/// The name of the key that a sealed record needs.
pub(super) fn key_of(sealed: &[u8]) -> Option<KeyId> {
    sealed.first_chunk().map(|id| KeyId(*id))
}

/// Opens a sealed record into `opened`, which the caller erases.
///
/// # Errors
///
/// [`SealError`].
pub(super) fn open<'a>(
    keys: &Keys,
    label: Label<'_>,
    sealed: &[u8],
    opened: &'a mut Vec<u8>,
) -> Result<&'a [u8], SealError> {
    let (id, rest) = sealed.split_first_chunk().ok_or(SealError::Damaged)?;
    let (nonce, rest) = rest.split_first_chunk().ok_or(SealError::Damaged)?;
    let cipher = keys.cipher(KeyId(*id)).ok_or(SealError::UnknownKey(KeyId(*id)))?;
    opened.clear();
    opened.extend_from_slice(rest);
    let nonce = Nonce::assume_unique_for_key(*nonce);
    match cipher.open_in_place(nonce, label.to_aad(), opened) {
        Ok(record) => Ok(record),
        Err(_) => Err(SealError::Damaged),
    }
}

/// What the first key leaves in a store, so that it is known again even if it never sealed a record.
pub(super) fn check_of_first(keys: &Keys, entropy: &mut dyn Entropy) -> Vec<u8> {
    let mut check = Vec::new();
    seal_with(keys.sealing(), entropy, check_label(), CHECK_TEXT, &mut check);
    check
}

/// Whether the key that left `check` is among `keys`.
pub(super) fn knows(keys: &Keys, check: &[u8]) -> bool {
    open(keys, check_label(), check, &mut Vec::new()).is_ok()
}

const fn check_label() -> Label<'static> {
    Label { kind: CHECK_KIND, key: &[], version: CommitSeq::NOTHING }
}

impl Label<'_> {
    /// The octets that the seal covers besides the record: version and kind have fixed lengths, so that
    /// no two labels make the same octets.
    fn to_aad(self) -> Aad<Vec<u8>> {
        let mut octets = Vec::with_capacity(9 + self.key.len());
        octets.extend_from_slice(&self.version.as_u64().to_be_bytes());
        octets.push(self.kind);
        octets.extend_from_slice(self.key);
        Aad::from(octets)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Key, *};
    use crate::node::SystemEntropy;

    #[test]
    fn a_record_opens_only_where_it_was_sealed_and_only_unchanged() {
        let entropy = &mut SystemEntropy::new();
        let (old, new) = (Key::draw(entropy), Key::draw(entropy));
        let keys = Keys::new(&new).also(&old).unwrap();
        let label = Label { kind: 1, key: b"alice", version: CommitSeq::from_u64(7) };
        let mut sealed = Vec::new();
        seal(&Keys::new(&old), entropy, label, b"record", &mut sealed);
        assert_eq!(sealed.len(), 6 + OVERHEAD_OCTETS);
        let mut opened = Vec::new();
        assert_eq!(open(&keys, label, &sealed, &mut opened), Ok(&b"record"[..]));

        for elsewhere in [
            Label { kind: 2, ..label },
            Label { key: b"bob", ..label },
            Label { version: CommitSeq::from_u64(8), ..label },
        ] {
            assert_eq!(open(&keys, elsewhere, &sealed, &mut opened), Err(SealError::Damaged));
        }
        for index in 4..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert_eq!(open(&keys, label, &changed, &mut opened), Err(SealError::Damaged));
            assert_eq!(open(&keys, label, &sealed[..index], &mut opened), Err(SealError::Damaged));
        }
        let unknown = Err(SealError::UnknownKey(old.id()));
        assert_eq!(open(&Keys::new(&new), label, &sealed, &mut opened), unknown);
        assert_eq!(key_of(&sealed), Some(old.id()));
    }

    #[test]
    fn a_key_is_known_by_what_it_left_and_no_two_seals_are_alike() {
        let entropy = &mut SystemEntropy::new();
        let keys = Keys::new(&Key::draw(entropy));
        let (once, twice) = (check_of_first(&keys, entropy), check_of_first(&keys, entropy));
        assert!(knows(&keys, &once) && knows(&keys, &twice));
        assert_ne!(once, twice);
        assert!(!knows(&Keys::new(&Key::draw(entropy)), &once));
    }
}
