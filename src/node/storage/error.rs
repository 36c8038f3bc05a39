//! Why a store does not open, and what to do.

use std::{fmt::Write as _, io, path::PathBuf};

use super::keys::{KEY_VARIABLE, KeyId};

/// Why a store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No key is configured.
    #[error(
        "no storage key: set storage.key_file to a file with one, or {KEY_VARIABLE} to the key; \
         `migcore store new-key` draws one"
    )]
    NoKey,
    /// The key file cannot be read.
    #[error("cannot read the storage key file {}: {error}", path.display())]
    KeyFile {
        /// Which file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Everybody on the host could read the keys of all subscribers with the key file.
    #[error(
        "the storage key file {} has mode {mode:03o}: others than its owner and group may use it; \
         run chmod 600 on it, and think of a new key",
        path.display()
    )]
    KeyFileExposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A line of the keys is no key.
    #[error("{place}, line {line}: {why}")]
    KeyLine {
        /// The file or the environment variable.
        place: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        why: KeyLineError,
    },
    /// The store was made with another key.
    #[error(
        "the store in {} was sealed with key {needed}, which is not among the keys given ({}): \
         give that key too",
        directory.display(),
        list(given)
    )]
    WrongKey {
        /// Where the store is.
        directory: PathBuf,
        /// The key that is missing.
        needed: KeyId,
        /// The keys that were given.
        given: Vec<KeyId>,
    },
    /// Some records were sealed with a key that is not given any more.
    #[error(
        "the store in {} has {records} records that only key {needed} opens, which is not among the \
         keys given ({}): put it back below the first one and run `migcore store reseal`",
        directory.display(),
        list(given)
    )]
    KeyGone {
        /// Where the store is.
        directory: PathBuf,
        /// The key that is missing.
        needed: KeyId,
        /// How many records need it.
        records: u64,
        /// The keys that were given.
        given: Vec<KeyId>,
    },
    /// Another process has the store open.
    #[error("the store in {} is in use by another process: stop that one first", directory.display())]
    InUse {
        /// Where the store is.
        directory: PathBuf,
    },
    /// The directory cannot be made or written to.
    #[error(
        "cannot write to the storage directory {}: {error}; its owner must be the user that migcore runs as",
        directory.display()
    )]
    NotWritable {
        /// Which directory.
        directory: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// It cannot be found out what is in the directory.
    #[error("cannot look into the storage directory {}: {error}", directory.display())]
    NotReadable {
        /// Which directory.
        directory: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// There is something else in the directory.
    #[error(
        "{} is no store: it has {found:?} in it; set storage.directory to an empty directory or to a store",
        directory.display()
    )]
    NotAStore {
        /// Which directory.
        directory: PathBuf,
        /// What is in it, as an example.
        found: String,
    },
    /// There is a store already where an import is to make one.
    #[error("there is a store in {} already: import into an empty directory", directory.display())]
    Occupied {
        /// Which directory.
        directory: PathBuf,
    },
    /// An import was cut off.
    #[error("an import into {} was cut off: import again, or remove the file import in it", directory.display())]
    ImportCutOff {
        /// Which directory.
        directory: PathBuf,
    },
    /// A newer build wrote it.
    #[error(
        "the store in {} has format {found}, newer than this build's {known}: use a newer migcore",
        directory.display()
    )]
    NewerFormat {
        /// Where the store is.
        directory: PathBuf,
        /// The format found.
        found: u32,
        /// The newest format that this build knows.
        known: u32,
    },
    /// The files are there but make no sense.
    #[error("the store in {} is damaged: {why}; restore it from a backup", directory.display())]
    Damaged {
        /// Where the store is.
        directory: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The medium fails.
    #[error("the store in {} cannot be opened: {why}", directory.display())]
    Medium {
        /// Where the store is.
        directory: PathBuf,
        /// What failed.
        why: String,
    },
}

impl OpenError {
    /// Whether the user's arguments or files are at fault, not the world.
    pub const fn is_wrong_input(&self) -> bool {
        match self {
            Self::NoKey
            | Self::KeyFile { .. }
            | Self::KeyFileExposed { .. }
            | Self::KeyLine { .. }
            | Self::NotAStore { .. }
            | Self::Occupied { .. } => true,
            Self::WrongKey { .. }
            | Self::KeyGone { .. }
            | Self::InUse { .. }
            | Self::NotWritable { .. }
            | Self::NotReadable { .. }
            | Self::ImportCutOff { .. }
            | Self::NewerFormat { .. }
            | Self::Damaged { .. }
            | Self::Medium { .. } => false,
        }
    }
}

/// What is wrong with a line that should be a key. It never repeats the line.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyLineError {
    /// It has another length.
    #[error("a key has 64 hex digits, this has {0} characters")]
    Length(usize),
    /// It has something else than hex digits in it.
    #[error("character {0} is no hex digit")]
    NotHex(usize),
    /// The key was there before.
    #[error("this key is in an earlier line already: remove one of them")]
    Repeated,
    /// There are more keys than anybody rotates.
    #[error("more than {} keys: run `migcore store reseal`, then remove old ones", super::KEYS_MAX)]
    TooMany,
}

fn list(ids: &[KeyId]) -> String {
    let mut text = String::new();
    for id in ids {
        let comma = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{comma}{id}");
    }
    text
}
