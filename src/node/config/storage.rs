//! The section `[storage]`: where durable state is kept.

use std::path::PathBuf;

use toml::de::DeValue;

use super::{
    read::{Section, Wrong, text, word},
    set,
};

/// Where durable state is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Storage {
    /// What keeps it.
    pub engine: StorageEngine,
    /// The directory of the embedded store.
    pub directory: PathBuf,
    /// The file of keys that seal secrets in the embedded store; `None` takes them from the environment.
    pub key_file: Option<PathBuf>,
}

/// What keeps durable state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StorageEngine {
    /// A store in a directory of this host.
    Embedded,
    /// Memory: all is forgotten on exit.
    Memory,
}

impl Storage {
    /// The defaults.
    pub(super) fn new() -> Self {
        Self {
            engine: StorageEngine::Embedded,
            directory: PathBuf::from("/var/lib/migcore"),
            key_file: None,
        }
    }

    /// Reads the section.
    pub(super) fn read(&mut self, mut section: Section<'_>) {
        let engines = [("embedded", StorageEngine::Embedded), ("memory", StorageEngine::Memory)];
        set(&mut self.engine, section.optional("engine", |value| word(value, &engines)));
        set(&mut self.directory, section.optional("directory", path));
        self.key_file = section.optional("key_file", path);
        section.finish();
    }
}

/// Reads a path.
fn path(value: &DeValue<'_>) -> Result<PathBuf, Wrong> {
    let given = text(value)?;
    if given.is_empty() {
        return Err(Wrong::new("is empty", "write a path, or leave it out"));
    }
    Ok(PathBuf::from(given))
}
