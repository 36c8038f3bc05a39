//! The embedded store: durable state in a directory of this host.
//!
//! What was committed is in a journal, synced once for all that wait, and later in sorted files. Records
//! that hold keys or credentials are sealed.

pub mod check;
pub mod command;
mod database;
mod directory;
mod error;
pub mod export;
mod fill;
pub mod import;
mod inspect;
mod journal;
pub mod json;
mod keys;
mod layout;
mod meta;
mod reseal;
mod scan;
mod seal;
pub mod transfer;
pub mod validate;

use std::{
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use self::{
    database::{Database, DatabaseError},
    directory::Directory,
    layout::StoredKey,
    meta::Meta,
    seal::Label,
};
pub use self::{
    directory::has_store,
    error::{KeyLineError, OpenError},
    fill::{FillError, Filling},
    inspect::Inspected,
    keys::{KEY_VARIABLE, KEYS_MAX, Key, KeyId, Keys},
    reseal::{RESEAL_BATCH_MAX, Resealed},
};
use crate::{
    node::{
        SystemEntropy,
        config::{Storage, StorageEngine},
    },
    store::{
        Commit, CommitSeq, Each, Engine, EngineError, MemoryEngine, Mutation, OwnedRecord, Reader,
        RecordKind, ReplayError,
    },
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

/// Keeps records in a directory of this host, which no other process may use meanwhile.
///
/// Commits come in the order of their numbers: one at or below the highest number is refused. After a
/// failure everything is refused until [`Engine::replay`] has opened the store again.
pub struct EmbeddedEngine {
    directory: Directory,
    shared: Arc<Shared>,
    entropy: SystemEntropy,
    /// As of the last commit that succeeded.
    meta: Meta,
}

/// What readers need too.
struct Shared {
    keys: Keys,
    state: RwLock<State>,
}

enum State {
    Open(Database),
    /// Closed after a failure. The database is let go of when it is opened again.
    Closed(Option<Database>),
}

impl EmbeddedEngine {
    /// Opens the store in `directory`; an empty directory, or one that is not there, becomes one.
    ///
    /// # Errors
    ///
    /// [`OpenError`], with what to do.
    pub fn open(directory: &Path, keys: Keys) -> Result<Self, OpenError> {
        let directory = Directory::take(directory)?;
        let mut entropy = SystemEntropy::new();
        let path = directory.path();
        if directory.has_unfinished_import().map_err(|error| error.at(path))? {
            return Err(OpenError::ImportCutOff { directory: path.to_owned() });
        }
        directory
            .create_store(|database| meta::fill(database, &keys, &mut entropy))
            .map_err(|error: DatabaseError| error.at(path))?;
        let (database, meta) = open_database(&directory, &keys, &mut entropy)?;
        let shared = Shared { keys, state: RwLock::new(State::Open(database)) };
        Ok(Self { directory, shared: Arc::new(shared), entropy, meta })
    }

    /// Gives every record of the store to `each`, kind after kind, also those that cannot be read.
    ///
    /// # Errors
    ///
    /// [`EngineError`] when the medium cannot be read.
    pub fn inspect(&self, each: &mut dyn FnMut(Inspected<'_>)) -> Result<(), EngineError> {
        match &*self.shared.read() {
            State::Open(database) => inspect::inspect(database, &self.shared.keys, each),
            State::Closed(_) => Err(EngineError::Closed),
        }
    }

    /// Opens the store again after a failure. It must be the same one, with all that was acknowledged.
    fn reopen(&mut self) -> Result<(), EngineError> {
        if let State::Closed(Some(database)) =
            std::mem::replace(&mut *self.shared.write(), State::Closed(None))
        {
            database.close();
        }
        let medium = |error: OpenError| EngineError::Medium(error.to_string());
        let opened = open_database(&self.directory, &self.shared.keys, &mut self.entropy);
        let (database, meta) = opened.map_err(medium)?;
        if meta.identity != self.meta.identity || meta.highest < self.meta.highest {
            database.close();
            let what = "another store, or an older copy of it, is in its directory";
            return Err(EngineError::Medium(what.to_owned()));
        }
        self.meta = meta;
        *self.shared.write() = State::Open(database);
        Ok(())
    }

    /// Refuses everything from now on.
    fn close(&self) {
        let state = &mut *self.shared.write();
        if let State::Open(database) = std::mem::replace(state, State::Closed(None)) {
            *state = State::Closed(Some(database));
        }
    }

    fn write(&mut self, commits: &[Commit]) -> Result<CommitSeq, EngineError> {
        let state = self.shared.read();
        let State::Open(database) = &*state else { return Err(EngineError::Closed) };
        let highest = check_order(self.meta.highest, commits)?;
        let changes = newest_by_key(commits);
        let mut batch = database.batch_of(changes.len() + 1);
        for (stripe, version, mutation) in changes {
            let key = StoredKey::in_stripe(stripe, mutation.kind, &mutation.key)
                .ok_or_else(|| scan::too_long(mutation.key.len()))?;
            match value_of(mutation, version, &self.shared.keys, &mut self.entropy) {
                Some(value) => batch.put(key.as_slice(), value),
                None => batch.delete(key.as_slice()),
            }
        }
        batch.put(layout::HIGHEST_KEY, meta::highest_value(highest));
        batch.commit().map_err(|error| EngineError::Medium(error.into_text()))?;
        Ok(highest)
    }
}

impl Engine for EmbeddedEngine {
    fn commit(&mut self, commits: &[Commit]) -> Result<(), EngineError> {
        if commits.is_empty() {
            return Ok(());
        }
        match self.write(commits) {
            Ok(highest) => {
                self.meta.highest = highest;
                Ok(())
            }
            Err(error) => {
                self.close();
                Err(error)
            }
        }
    }

    fn replay(&mut self, each: &Each<'_>) -> Result<CommitSeq, ReplayError> {
        if matches!(&*self.shared.read(), State::Closed(_)) {
            self.reopen()?;
        }
        let outcome = match &*self.shared.read() {
            State::Open(database) => scan::scan_all(database, &self.shared.keys, each),
            State::Closed(_) => Err(EngineError::Closed.into()),
        };
        if outcome.is_err() {
            self.close();
        }
        outcome.map(|()| self.meta.highest)
    }

    fn approximate_len(&self) -> u64 {
        match &*self.shared.read() {
            State::Open(database) => database.approximate_len(),
            State::Closed(_) => 0,
        }
    }

    fn waits(&self) -> bool {
        true
    }

    fn reader(&self) -> Arc<dyn Reader> {
        Arc::clone(&self.shared) as Arc<dyn Reader>
    }
}

impl Drop for EmbeddedEngine {
    fn drop(&mut self) {
        // Readers may live longer, but must not keep files open that the lock is given up for.
        match std::mem::replace(&mut *self.shared.write(), State::Closed(None)) {
            State::Open(database) | State::Closed(Some(database)) => database.close(),
            State::Closed(None) => {}
        }
    }
}

impl Shared {
    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader for Shared {
    fn page(
        &self,
        kind: RecordKind,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<OwnedRecord>, EngineError> {
        match &*self.read() {
            State::Open(database) => scan::page(database, &self.keys, kind, after, limit),
            State::Closed(_) => Err(EngineError::Closed),
        }
    }
}

/// Opens the store that is in a directory and finds out whether it may be used.
fn open_database(
    directory: &Directory,
    keys: &Keys,
    entropy: &mut SystemEntropy,
) -> Result<(Database, Meta), OpenError> {
    let path = directory.path();
    let database = directory.open_store().map_err(|error| error.at(path))?;
    let checked = meta::read(&database, path).and_then(|meta| {
        meta::check_keys(&database, keys, entropy, path)?;
        Ok(meta)
    });
    match checked {
        Ok(meta) => Ok((database, meta)),
        Err(error) => {
            database.close();
            Err(error)
        }
    }
}

/// Checks that each commit is later than those before it; the number of the last one.
fn check_order(mut highest: CommitSeq, commits: &[Commit]) -> Result<CommitSeq, EngineError> {
    for Commit { seq, .. } in commits {
        if *seq <= highest {
            let (late, after) = (seq.as_u64(), highest.as_u64());
            return Err(EngineError::Medium(format!("commit {late} came after {after}")));
        }
        highest = *seq;
    }
    Ok(highest)
}

/// The mutations in the order of their keys in the store, so that neighbours are looked for in the same places, each with
/// its stripe and version. Of those of one key the newest only: a later commit takes the place of an earlier one, and
/// the database wants no key twice.
fn newest_by_key(commits: &[Commit]) -> Vec<(u8, CommitSeq, &Mutation)> {
    type Change<'a> = (u8, CommitSeq, &'a Mutation);
    fn key_of<'a>((stripe, _, mutation): &Change<'a>) -> (u8, RecordKind, &'a [u8]) {
        (*stripe, mutation.kind, &mutation.key)
    }
    let mut changes: Vec<Change<'_>> = Vec::with_capacity(commits.len());
    for Commit { seq, mutations } in commits {
        changes.extend(mutations.iter().map(|it| (layout::stripe_of(&it.key), *seq, it)));
    }
    changes
        .sort_unstable_by(|one, other| key_of(one).cmp(&key_of(other)).then(other.1.cmp(&one.1)));
    changes.dedup_by_key(|change| key_of(change));
    changes
}

/// The value of a mutation as it is stored, sealed where it holds secrets; `None` deletes.
fn value_of(
    mutation: &Mutation,
    version: CommitSeq,
    keys: &Keys,
    entropy: &mut SystemEntropy,
) -> Option<Vec<u8>> {
    let record = mutation.value.as_deref()?;
    let is_sealed = mutation.kind.holds_secrets();
    let mut value = layout::begin_value(version, is_sealed, record.len());
    if is_sealed {
        let label = Label { kind: mutation.kind.as_u8(), key: &mutation.key, version };
        seal::seal(keys, entropy, label, record, &mut value);
    } else {
        value.extend_from_slice(record);
    }
    Some(value)
}

impl DatabaseError {
    /// What it means for the store in `directory`.
    fn at(self, directory: &Path) -> OpenError {
        let directory = directory.to_owned();
        match self {
            Self::Medium(why) => OpenError::Medium { directory, why },
            Self::Damaged(why) => OpenError::Damaged { directory, why },
        }
    }
}
