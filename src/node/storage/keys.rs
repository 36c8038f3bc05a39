//! The keys that seal secrets in a store, and where they come from.

use std::{fmt, fs, os::unix::fs::PermissionsExt, path::Path};

use ring::{
    aead::{AES_256_GCM, LessSafeKey, UnboundKey},
    digest::{SHA256, digest},
};
use zeroize::Zeroizing;

use super::error::{KeyLineError, OpenError};
use crate::{entropy::Entropy, secret::Secret};

/// The environment variable that has the keys if no key file is configured.
pub const KEY_VARIABLE: &str = "MIGCORE_STORAGE_KEY";

/// Most keys that a store is opened with: the one in use and those not rotated out yet.
pub const KEYS_MAX: usize = 16;

/// Length of a key, octets: AES-256.
const KEY_OCTETS: usize = 32;

/// Length of a key in hex digits.
const KEY_DIGITS: usize = 2 * KEY_OCTETS;

/// What a key's name is derived under, so that it says nothing about any other use of the key.
const ID_LABEL: &[u8] = b"migcore storage key id\0";

/// The name of a key: 32 bits derived from it, which tell nothing about it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeyId(pub(super) [u8; 4]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// One key, 256 bits. Zeroized on drop, never printed.
#[derive(Clone, Eq, PartialEq)]
pub struct Key(Secret<KEY_OCTETS>);

impl Key {
    /// Draws a key.
    pub fn draw(entropy: &mut dyn Entropy) -> Self {
        let mut octets = Zeroizing::new([0; KEY_OCTETS]);
        entropy.fill(&mut *octets);
        Self(Secret::new(*octets))
    }

    /// Reads a line of a key file.
    ///
    /// # Errors
    ///
    /// [`KeyLineError`], which does not repeat the line.
    pub fn parse(line: &str) -> Result<Self, KeyLineError> {
        let count = line.chars().count();
        if count != KEY_DIGITS {
            return Err(KeyLineError::Length(count));
        }
        let mut octets = Zeroizing::new([0_u8; KEY_OCTETS]);
        for (index, digit) in line.chars().enumerate() {
            let value = digit.to_digit(16).and_then(|value| u8::try_from(value).ok());
            let value = value.ok_or(KeyLineError::NotHex(index + 1))?;
            if let Some(octet) = octets.get_mut(index / 2) {
                *octet = *octet << 4 | value;
            }
        }
        Ok(Self(Secret::new(*octets)))
    }

    /// The line of a key file that has this key, without its end.
    pub fn to_line(&self) -> Zeroizing<String> {
        let mut line = Zeroizing::new(String::with_capacity(KEY_DIGITS));
        for octet in self.0.expose() {
            for nibble in [octet >> 4, octet & 15] {
                line.extend(char::from_digit(u32::from(nibble), 16));
            }
        }
        line
    }

    /// The name of the key.
    pub fn id(&self) -> KeyId {
        let mut labelled = Zeroizing::new([0; ID_LABEL.len() + KEY_OCTETS]);
        let (label, key) = labelled.split_at_mut(ID_LABEL.len());
        label.copy_from_slice(ID_LABEL);
        key.copy_from_slice(self.0.expose());
        let hash = digest(&SHA256, &*labelled);
        let mut id = [0; 4];
        id.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
        KeyId(id)
    }

    /// The cipher of this key. It keeps a key schedule that lives as long as the engine, and the
    /// engine as long as the process.
    #[expect(clippy::expect_used, reason = "a key of 32 octets is one of AES-256")]
    fn cipher(&self) -> LessSafeKey {
        let key = UnboundKey::new(&AES_256_GCM, self.0.expose()).expect("32 octets");
        LessSafeKey::new(key)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id())
    }
}

/// The keys of a store: the first one seals, all of them open. At least one.
pub struct Keys {
    first: (KeyId, LessSafeKey),
    others: Vec<(KeyId, LessSafeKey)>,
}

impl Keys {
    /// Takes `first`, which seals.
    pub fn new(first: &Key) -> Self {
        Self { first: (first.id(), first.cipher()), others: Vec::new() }
    }

    /// Adds a key that only opens: one that sealed before.
    ///
    /// # Errors
    ///
    /// [`KeyLineError::Repeated`] and [`KeyLineError::TooMany`].
    pub fn also(mut self, key: &Key) -> Result<Self, KeyLineError> {
        if self.cipher(key.id()).is_some() {
            return Err(KeyLineError::Repeated);
        }
        if self.others.len() + 1 == KEYS_MAX {
            return Err(KeyLineError::TooMany);
        }
        self.others.push((key.id(), key.cipher()));
        Ok(self)
    }

    /// Reads the keys in `file`, or without one in the environment variable [`KEY_VARIABLE`].
    ///
    /// # Errors
    ///
    /// [`OpenError`] about keys.
    pub fn find(file: Option<&Path>) -> Result<Self, OpenError> {
        if let Some(path) = file {
            return Self::read(path);
        }
        let given = std::env::var(KEY_VARIABLE).map(Zeroizing::new).unwrap_or_default();
        Self::parse(&given, &format!("the environment variable {KEY_VARIABLE}"))
    }

    /// Reads a key file. One that others than its owner and group may use is refused: whoever reads
    /// it can read the keys of all subscribers, in every backup, and would not be noticed.
    ///
    /// # Errors
    ///
    /// [`OpenError`] about keys.
    pub fn read(path: &Path) -> Result<Self, OpenError> {
        let unreadable = |error| OpenError::KeyFile { path: path.to_owned(), error };
        let mode = fs::metadata(path).map_err(unreadable)?.permissions().mode() & 0o777;
        if mode & 0o007 != 0 {
            return Err(OpenError::KeyFileExposed { path: path.to_owned(), mode });
        }
        let text = fs::read_to_string(path).map(Zeroizing::new).map_err(unreadable)?;
        Self::parse(&text, &format!("the storage key file {}", path.display()))
    }

    /// Reads one key a line; empty lines and what follows a # do not count. `place` is where they are.
    fn parse(text: &str, place: &str) -> Result<Self, OpenError> {
        let mut keys: Option<Self> = None;
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let wrong = |why| OpenError::KeyLine { place: place.to_owned(), line: index + 1, why };
            let key = Key::parse(line).map_err(wrong)?;
            keys = Some(match keys {
                None => Self::new(&key),
                Some(keys) => keys.also(&key).map_err(wrong)?,
            });
        }
        keys.ok_or(OpenError::NoKey)
    }

    /// The names of the keys, the one that seals first.
    pub fn ids(&self) -> Vec<KeyId> {
        self.all().map(|(id, _)| *id).collect()
    }

    /// The key that seals.
    pub(super) const fn sealing(&self) -> (KeyId, &LessSafeKey) {
        (self.first.0, &self.first.1)
    }

    /// The key of that name.
    pub(super) fn cipher(&self, id: KeyId) -> Option<&LessSafeKey> {
        self.all().find(|(known, _)| *known == id).map(|(_, cipher)| cipher)
    }

    fn all(&self) -> impl Iterator<Item = &(KeyId, LessSafeKey)> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Keys").field(&self.ids()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::SystemEntropy;

    #[test]
    fn a_key_is_read_back_from_its_line_and_never_prints() {
        let key = Key::draw(&mut SystemEntropy::new());
        let line = key.to_line();
        assert_eq!((line.len(), Key::parse(&line).as_ref()), (64, Ok(&key)));
        assert_eq!(Key::parse(&line.to_uppercase()), Ok(key.clone()));
        let keys = Keys::new(&key);
        for shown in [format!("{key:?}"), format!("{keys:?}"), key.id().to_string()] {
            assert!(!shown.contains(&line[..8]), "{shown}");
        }
    }

    #[test]
    fn a_line_that_is_no_key_is_told_without_repeating_it() {
        let (a, b) = ("ab".repeat(32), "cd".repeat(32));
        let at = |text: &str| match Keys::parse(text, "file") {
            Err(OpenError::KeyLine { line, why, .. }) => (line, why),
            other => panic!("{other:?}"),
        };
        assert_eq!(at(&format!("{a}\n{}", &b[1..])), (2, KeyLineError::Length(63)));
        assert_eq!(at(&format!("# mine\n\n{}x", &a[1..])), (3, KeyLineError::NotHex(64)));
        assert_eq!(at(&format!("{a}\n{b}\n{a}")), (3, KeyLineError::Repeated));
        let many: Vec<String> = (0..=KEYS_MAX).map(|n| format!("{n:064x}\n")).collect();
        assert_eq!(at(&many.concat()), (KEYS_MAX + 1, KeyLineError::TooMany));
        assert!(matches!(Keys::parse("# none\n", "file"), Err(OpenError::NoKey)));

        let keys = Keys::parse(&format!("{a} # new\n{b}\n"), "file").unwrap();
        let expected = [Key::parse(&a).unwrap().id(), Key::parse(&b).unwrap().id()];
        assert_eq!(keys.ids(), expected);
    }
}
