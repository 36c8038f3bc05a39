//! A store made of records from elsewhere: all of them, or no store.

use std::path::Path;

use super::{
    EmbeddedEngine, Keys, OpenError,
    database::{Database, DatabaseError},
    directory::Directory,
    layout::{self, StoredKey},
    meta, scan, value_of,
};
use crate::{
    node::SystemEntropy,
    store::{CommitSeq, EngineError, Mutation},
};

/// A store that is being made.
pub struct Filling<'a> {
    database: &'a Database,
    keys: &'a Keys,
    entropy: SystemEntropy,
}

/// Why no store was made.
#[derive(Debug, thiserror::Error)]
pub enum FillError<E> {
    /// The directory is none to make a store in, or the medium failed.
    #[error(transparent)]
    Open(OpenError),
    /// Whoever had the records has failed.
    #[error(transparent)]
    Source(E),
}

/// While the directory is not known.
enum Failed<E> {
    Database(DatabaseError),
    Source(E),
}

impl<E> From<DatabaseError> for Failed<E> {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

impl EmbeddedEngine {
    /// Makes a store in `directory`, which has none, with the records that `fill` puts, and with the highest
    /// number of a commit that `fill` returns. While that goes on, no system makes an empty store there: if
    /// it is cut off it has to be done again.
    ///
    /// # Errors
    ///
    /// [`FillError`]; there is no store then.
    pub fn create<E>(
        directory: &Path,
        keys: &Keys,
        fill: impl FnOnce(&mut Filling<'_>) -> Result<CommitSeq, E>,
    ) -> Result<(), FillError<E>> {
        let directory = Directory::take(directory).map_err(FillError::Open)?;
        let path = directory.path();
        let failed = |error: DatabaseError| FillError::Open(error.at(path));
        if directory.has_store().map_err(failed)? {
            return Err(FillError::Open(OpenError::Occupied { directory: path.to_owned() }));
        }
        directory.begin_import().map_err(failed)?;
        let outcome = directory.create_store(|database| {
            let mut entropy = SystemEntropy::new();
            meta::fill(database, keys, &mut entropy)?;
            let mut filling = Filling { database, keys, entropy };
            let highest = fill(&mut filling).map_err(Failed::Source)?;
            let mut batch = database.batch();
            batch.put(layout::HIGHEST_KEY, meta::highest_value(highest));
            Ok(batch.commit()?)
        });
        let ended = directory.end_import();
        match outcome {
            // What is left of the note does no harm beside a store.
            Ok(()) => Ok(()),
            Err(Failed::Source(error)) => Err(FillError::Source(error)),
            Err(Failed::Database(error)) => {
                drop(ended);
                Err(failed(error))
            }
        }
    }
}

impl Filling<'_> {
    /// Puts records, each with its version. No key comes twice.
    ///
    /// # Errors
    ///
    /// [`EngineError`] when the medium fails.
    pub fn put(&mut self, records: &[(CommitSeq, Mutation)]) -> Result<(), EngineError> {
        let mut batch = self.database.batch();
        for (version, mutation) in records {
            let key = StoredKey::new(mutation.kind, &mutation.key)
                .ok_or_else(|| scan::too_long(mutation.key.len()))?;
            if let Some(value) = value_of(mutation, *version, self.keys, &mut self.entropy) {
                batch.put(key.as_slice(), value);
            }
        }
        batch.commit().map_err(|error| EngineError::Medium(error.into_text()))
    }
}
