//! Where the systems of the demonstration keep what they store.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use super::DemoError;
use crate::{
    entropy::Entropy,
    node::{SystemEntropy, storage::command::write_new_key},
};

/// The key file in the directory.
const KEY_FILE: &str = "storage.key";

/// A directory with a store for each system and the key of both. A temporary one ends with this.
#[derive(Debug)]
pub(super) struct Place {
    directory: PathBuf,
    is_temporary: bool,
}

impl Place {
    /// Takes `kept`, which is created if it is not there, or a temporary directory.
    ///
    /// # Errors
    ///
    /// [`DemoError::Directory`] and [`DemoError::Key`].
    pub(super) fn take(kept: Option<&Path>) -> Result<Self, DemoError> {
        let directory = kept.map_or_else(temporary_directory, Path::to_owned);
        let place = Self { directory, is_temporary: kept.is_none() };
        let directory = || place.directory.clone();
        let failed = |error: io::Error| DemoError::Directory { directory: directory(), error };
        DirBuilder::new()
            .recursive(kept.is_some())
            .mode(0o700)
            .create(&place.directory)
            .map_err(failed)?;
        let key_file = place.directory.join(KEY_FILE);
        if !key_file.try_exists().map_err(failed)? {
            write_new_key(&key_file)?;
        }
        Ok(place)
    }

    /// The directory.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The section of the configuration of the system `name`.
    pub(super) fn section(&self, name: &str) -> toml::Table {
        let text = |path: PathBuf| toml::Value::String(path.to_string_lossy().into_owned());
        let mut section = toml::Table::new();
        section.insert("directory".to_owned(), text(self.directory.join(name)));
        section.insert("key_file".to_owned(), text(self.directory.join(KEY_FILE)));
        section
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_temporary {
            // What cannot be removed is left to whoever cleans the directory of temporary files.
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

fn temporary_directory() -> PathBuf {
    let name = format!("migcore-demo-{:016x}", SystemEntropy::new().next_u64());
    std::env::temp_dir().join(name)
}
