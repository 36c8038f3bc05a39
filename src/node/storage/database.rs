//! The database below the engine: how it is made, opened and bounded.

use std::{
    any::Any,
    fs::{self, File},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use fjall::{
    KeyspaceCreateOptions, OwnedWriteBatch, PersistMode,
    compaction::Leveled,
    config::{BlockSizePolicy, CompressionPolicy, FilterPolicy},
};

use super::journal;

/// Most octets of records in the memtable that takes changes; two more may wait to be written to files.
/// With what the tables around them need, they take up to twice that.
const MEMTABLE_OCTETS_MAX: u64 = 16 << 20;

/// Memtables that may wait to be written to files before commits wait too.
const WAITING_MEMTABLES_MAX: usize = 2;

/// Unsorted files that may wait to be merged before commits wait too.
const WAITING_FILES_MAX: usize = 24;

/// Most octets of blocks kept for reading again. Records are read in long runs, once.
const CACHE_OCTETS_MAX: u64 = 4 << 20;

/// Most octets of journals, as far as the database can help it. A journal ends after 64 MB and goes when
/// all that is in it has been written to files.
const JOURNAL_OCTETS_MAX: u64 = 64 << 20;

/// Octets of a block, the unit of reading. Large ones need small indexes in memory.
const BLOCK_OCTETS: u32 = 32 << 10;

/// Octets of a file, the unit of merging.
const FILE_OCTETS: u64 = 32 << 20;

/// Threads that write memtables to files and merge files: one for each, so that neither waits.
const THREADS: usize = 2;

/// The name of the keyspace. All is in one, so that no other one holds a journal back.
const RECORDS: &str = "records";

/// How long to wait before looking again whether there is room for a commit.
const ROOM_POLL: Duration = Duration::from_millis(1);

/// An open database.
pub(super) struct Database {
    inner: fjall::Database,
    records: fjall::Keyspace,
    /// The directory of the store, where failed syncs are noted.
    noted_in: PathBuf,
}

/// Why a database does not do what it is told.
#[derive(Debug)]
pub(super) enum DatabaseError {
    /// The medium fails, or the database stopped after it failed.
    Medium(String),
    /// What is stored makes no sense.
    Damaged(String),
}

impl DatabaseError {
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Medium(text) | Self::Damaged(text) => text,
        }
    }
}

/// What is changed together.
pub(super) struct Batch<'a> {
    database: &'a Database,
    batch: OwnedWriteBatch,
}

impl Database {
    /// Opens the database in `store`, in `directory`. A last batch that a crash has torn is dropped.
    pub(super) fn recover(directory: &Path, store: &Path) -> Result<Self, DatabaseError> {
        if !store.join("version").try_exists()? {
            // Or the library would make an empty one.
            return Err(DatabaseError::Damaged("the file store/version is missing".to_owned()));
        }
        let torn = match Self::open(directory, store) {
            Err(DatabaseError::Damaged(why)) => why,
            outcome => return outcome,
        };
        let Some(cut) = journal::cut_last_batch(store)? else {
            return Err(DatabaseError::Damaged(torn));
        };
        if let Ok(database) = Self::open(directory, store) {
            cut.keep();
            return Ok(database);
        }
        cut.undo()?;
        Err(DatabaseError::Damaged(torn))
    }

    /// Opens the database in `store`, in `directory`; makes an empty one if there is none.
    pub(super) fn open(directory: &Path, store: &Path) -> Result<Self, DatabaseError> {
        let noted_in = directory.to_owned();
        guarded(|| {
            let inner = fjall::Database::builder(store)
                .cache_size(CACHE_OCTETS_MAX)
                .max_journaling_size(JOURNAL_OCTETS_MAX)
                .manual_journal_persist(true)
                .worker_threads(THREADS)
                .open()?;
            let records = inner.keyspace(RECORDS, options)?;
            Ok(Self { inner, records, noted_in })
        })
    }

    /// Closes it: ends its threads, frees its files. What it thinks of that is of no interest any more.
    pub(super) fn close(self) {
        let _ = guarded(|| {
            drop(self);
            Ok(())
        });
    }

    /// Begins a batch.
    pub(super) fn batch(&self) -> Batch<'_> {
        self.batch_of(0)
    }

    /// Begins a batch that has room for so many changes, and grows if there are more.
    pub(super) fn batch_of(&self, changes: usize) -> Batch<'_> {
        let batch = OwnedWriteBatch::with_capacity(self.inner.clone(), changes);
        let batch = batch.durability(Some(PersistMode::SyncData));
        Batch { database: self, batch }
    }

    /// The value under a key.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<fjall::UserValue>, DatabaseError> {
        guarded(|| self.records.get(key))
    }

    /// All entries whose keys begin with `prefix`, in their order.
    pub(super) fn prefix(&self, prefix: &[u8]) -> fjall::Iter {
        self.records.prefix(prefix)
    }

    /// The keyspace, and what fixes a moment to read it at.
    pub(super) fn snapshot(&self) -> (fjall::Snapshot, &fjall::Keyspace) {
        (self.inner.snapshot(), &self.records)
    }

    /// About how many entries there are.
    pub(super) fn approximate_len(&self) -> u64 {
        self.records.approximate_len() as u64
    }

    /// Writes everything to files and merges them into one sorted run: what was replaced or deleted is
    /// then gone from the disk.
    pub(super) fn compact(&self) -> Result<(), DatabaseError> {
        self.noting(self.write_and_merge())
    }

    fn write_and_merge(&self) -> Result<(), DatabaseError> {
        guarded(|| self.records.rotate_memtable())?;
        while self.records.sealed_memtable_count() > 0 {
            self.persist()?;
            thread::sleep(ROOM_POLL);
        }
        guarded(|| self.records.major_compact())
    }

    /// Waits until a commit can be taken. The library waits too, but would go on waiting for threads
    /// that ended when the disk failed.
    fn wait_for_room(&self) -> Result<(), DatabaseError> {
        while self.records.sealed_memtable_count() >= WAITING_MEMTABLES_MAX
            || self.records.l0_table_count() >= WAITING_FILES_MAX
        {
            self.persist()?;
            thread::sleep(ROOM_POLL);
        }
        Ok(())
    }

    /// Notes a failure, which may be that of a sync.
    fn noting(&self, outcome: Result<(), DatabaseError>) -> Result<(), DatabaseError> {
        if outcome.is_err() {
            journal::distrust(&self.noted_in);
        }
        outcome
    }

    /// Fails if the database stopped after a failure.
    fn persist(&self) -> Result<(), DatabaseError> {
        self.inner.persist(PersistMode::Buffer).map_err(DatabaseError::from)
    }
}

impl Batch<'_> {
    /// Puts a value.
    pub(super) fn put(&mut self, key: &[u8], value: Vec<u8>) {
        self.batch.insert(&self.database.records, key, value);
    }

    /// Deletes a key.
    pub(super) fn delete(&mut self, key: &[u8]) {
        self.batch.remove(&self.database.records, key);
    }

    /// Makes the batch durable, all or nothing.
    pub(super) fn commit(self) -> Result<(), DatabaseError> {
        let Self { database, batch } = self;
        let waited = database.wait_for_room();
        database.noting(waited.and_then(|()| guarded(|| batch.commit())))
    }
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Removes a directory and all that is in it, if it is there.
pub(super) fn remove_directory(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn options() -> KeyspaceCreateOptions {
    let files = Leveled::default().with_table_target_size(FILE_OCTETS);
    KeyspaceCreateOptions::default()
        .manual_journal_persist(true)
        .max_memtable_size(MEMTABLE_OCTETS_MAX)
        .data_block_size_policy(BlockSizePolicy::all(BLOCK_OCTETS))
        // Identities and sealed octets do not get shorter.
        .data_block_compression_policy(CompressionPolicy::disabled())
        // A filter answers whether one key is there, which nobody asks.
        .filter_policy(FilterPolicy::disabled())
        .compaction_strategy(Arc::new(files))
}

/// Calls the library, which in a few places panics at files it does not expect. The engine has to live
/// on: it may open the database again later.
fn guarded<T>(call: impl FnOnce() -> fjall::Result<T>) -> Result<T, DatabaseError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(DatabaseError::from),
        Err(panic) => Err(DatabaseError::Damaged(panic_text(&*panic))),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let literal = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = literal.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "the database stopped".to_owned())
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library may add more")]
impl From<fjall::Error> for DatabaseError {
    fn from(error: fjall::Error) -> Self {
        use fjall::{Error, LsmError};
        match error {
            Error::Io(error) | Error::Storage(LsmError::Io(error)) => error.into(),
            Error::Poisoned => {
                Self::Medium("the database stopped after an earlier write failed".to_owned())
            }
            Error::Locked => Self::Medium("another process has it open".to_owned()),
            Error::JournalRecovery(error) => Self::Damaged(format!("its journal: {error:?}")),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<io::Error> for DatabaseError {
    fn from(error: io::Error) -> Self {
        Self::Medium(error.to_string())
    }
}
