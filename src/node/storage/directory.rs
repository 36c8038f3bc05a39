//! The directory of a store: who has it, what is in it, how a store comes to be there.
//!
//! ```text
//! lock      held as long as an engine has the store, also while it is closed after a failure
//! intact    missing after a failed sync
//! store/    the database; made as store.new and renamed when it is whole
//! import    there while an import makes a store
//! ```

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::{
    OpenError,
    database::{Database, DatabaseError, remove_directory, sync_directory},
    journal,
};

const LOCK: &str = "lock";
const STORE: &str = "store";
const NEW_STORE: &str = "store.new";
const IMPORT: &str = "import";

/// What may be in a directory that is to become a store: our own beginnings, and what file systems have
/// at their root.
const EMPTY_ENOUGH: [&str; 5] = [LOCK, journal::INTACT, NEW_STORE, IMPORT, "lost+found"];

/// Whether there is a store in a directory.
///
/// # Errors
///
/// [`OpenError::NotReadable`] when that cannot be found out.
pub fn has_store(directory: &Path) -> Result<bool, OpenError> {
    directory
        .join(STORE)
        .try_exists()
        .map_err(|error| OpenError::NotReadable { directory: directory.to_owned(), error })
}

/// How long a directory is waited for: a process that is just ending has it yet, and so has a child of this process
/// until it runs its own program.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
/// How long apart are looks whether it is free.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// A directory that nobody else has. Dropped, it is free again.
pub(super) struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Takes the directory for this engine alone; makes it if it is not there.
    ///
    /// # Errors
    ///
    /// [`OpenError::NotWritable`], [`OpenError::NotAStore`], [`OpenError::InUse`].
    pub(super) fn take(path: &Path) -> Result<Self, OpenError> {
        let not_writable = |error| OpenError::NotWritable { directory: path.to_owned(), error };
        // What is in it is for nobody else: identities are not sealed.
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(not_writable)?;
        if !path.join(STORE).try_exists().map_err(not_writable)? {
            for entry in fs::read_dir(path).map_err(not_writable)? {
                let name = entry.map_err(not_writable)?.file_name();
                if !EMPTY_ENOUGH.iter().any(|known| name == *known) {
                    let found = name.to_string_lossy().into_owned();
                    return Err(OpenError::NotAStore { directory: path.to_owned(), found });
                }
            }
        }
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(path.join(LOCK)).map_err(not_writable)?;
        let began = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Self { path: path.to_owned(), _lock: lock }),
                Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_PATIENCE => {
                    thread::sleep(LOCK_PAUSE);
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(OpenError::InUse { directory: path.to_owned() });
                }
                Err(TryLockError::Error(error)) => return Err(not_writable(error)),
            }
        }
    }

    /// Whether there is a store.
    ///
    /// # Errors
    ///
    /// Why that cannot be found out.
    pub(super) fn has_store(&self) -> Result<bool, DatabaseError> {
        Ok(self.path.join(STORE).try_exists()?)
    }

    /// Whether an import began to make a store here, and did not get there.
    ///
    /// # Errors
    ///
    /// Why that cannot be found out.
    pub(super) fn has_unfinished_import(&self) -> Result<bool, DatabaseError> {
        Ok(!self.has_store()? && self.path.join(IMPORT).try_exists()?)
    }

    /// Notes that an import begins: until there is a store no system makes an empty one.
    ///
    /// # Errors
    ///
    /// Why it cannot be noted.
    pub(super) fn begin_import(&self) -> Result<(), DatabaseError> {
        File::create(self.path.join(IMPORT))?.sync_all()?;
        Ok(sync_directory(&self.path)?)
    }

    /// Notes that an import has ended, and removes what one without success has left.
    ///
    /// # Errors
    ///
    /// Why not; it does no harm.
    pub(super) fn end_import(&self) -> Result<(), DatabaseError> {
        remove_directory(&self.path.join(NEW_STORE))?;
        fs::remove_file(self.path.join(IMPORT))?;
        Ok(sync_directory(&self.path)?)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a store if there is none; `fill` puts what every store has into it. A crash at any moment
    /// leaves no store or a whole one.
    ///
    /// # Errors
    ///
    /// Why it cannot be made.
    pub(super) fn create_store<E: From<DatabaseError>>(
        &self,
        fill: impl FnOnce(&Database) -> Result<(), E>,
    ) -> Result<(), E> {
        let (store, new) = (self.path.join(STORE), self.path.join(NEW_STORE));
        if self.has_store()? {
            return Ok(());
        }
        tracing::info!("making a new store in {}", self.path.display());
        remove_directory(&new).map_err(DatabaseError::from)?;
        // Whoever made the directory around it may have let others in.
        DirBuilder::new().mode(0o700).create(&new).map_err(DatabaseError::from)?;
        let database = Database::open(&self.path, &new)?;
        let filled = fill(&database);
        database.close();
        filled?;
        // The library does not sync the directory that it makes the one of a keyspace in.
        sync_directories(&new).map_err(DatabaseError::from)?;
        Ok(self.keep(&new, &store).map_err(DatabaseError::from)?)
    }

    /// Gives a whole new store its name, for good.
    fn keep(&self, new: &Path, store: &Path) -> io::Result<()> {
        // Before there is a store, or a crash in between would have it distrusted for nothing.
        journal::trust(&self.path)?;
        // The directory itself may be new too.
        let parent = self.path.parent().filter(|it| !it.as_os_str().is_empty());
        parent.map_or(Ok(()), sync_directory)?;
        fs::rename(new, store)?;
        sync_directory(&self.path).inspect_err(|_| {
            // Whoever made it is told that there is none. Names that cannot be changed are told soon again.
            let _ = fs::rename(store, new);
        })
    }

    /// Opens the store that is there.
    ///
    /// # Errors
    ///
    /// Why it cannot be opened.
    pub(super) fn open_store(&self) -> Result<Database, DatabaseError> {
        let store = self.path.join(STORE);
        journal::renew_distrusted(&self.path, &store)?;
        Database::recover(&self.path, &store)
    }
}

/// Makes all names in a directory durable, and those in the directories in it.
fn sync_directories(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_directories(&entry.path())?;
        }
    }
    sync_directory(directory)
}
