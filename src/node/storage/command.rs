//! `migcore store`: a store from the command line, while no system has it open.

use std::{
    fmt::Write as _,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use indicatif::ProgressBar;

use super::{
    EmbeddedEngine, Key, KeyId, Keys, OpenError, Resealed, has_store,
    json::Secrets,
    transfer::{TransferError, check_store, export_store, import_store, verify_export},
};
use crate::{
    node::{
        SystemEntropy,
        config::{Config, InvalidFile, StorageEngine},
        private_file::{create, partial_path, publish},
    },
    store::{Engine, ReplayError},
};

/// What can be done with a store.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Draw a key that seals secrets in a store, as a line for a key file.
    ///
    /// To rotate keys: put the new one above the others in the key file, restart, run `store reseal`, and
    /// remove the old ones.
    NewKey {
        /// Write it to a new file that only its owner may read, instead of printing it.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Seal all secrets in a store with the first key, so that the other ones can go.
    ///
    /// It may be interrupted and run again.
    Reseal(Place),
    /// Read every record, and say whether all of them can be used and fit together.
    ///
    /// It changes no record. As any start does, it drops a last batch that a crash has torn, and writes the
    /// journal anew if a sync of it failed; either is told. It ends with 0 if nothing is wrong, and with 1 if
    /// something is.
    Check {
        /// Which store.
        #[command(flatten)]
        place: Place,
        /// Tell the keys of records that are wrong; they are identities.
        #[arg(long)]
        verbose: bool,
    },
    /// Write all records as JSON lines, to be read by people or imported elsewhere.
    ///
    /// The file is for its owner alone: also without keys it tells who migrated where.
    Export {
        /// Which store.
        #[command(flatten)]
        place: Place,
        /// Where to; - for standard output.
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
        /// With keys and credentials. Only such an export can be imported.
        #[arg(long)]
        secrets: bool,
    },
    /// Make a store of an export, in an empty directory.
    ///
    /// The whole file is read and checked first: if anything is wrong in it, all of it is told with its lines,
    /// and nothing is written. Secrets are sealed with the key given, whichever the exported store had.
    Import {
        /// The export, with its secrets.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Which store.
        #[command(flatten)]
        place: Place,
    },
}

/// Which store.
#[derive(Args, Debug)]
pub struct Place {
    /// The configuration of the system whose store it is.
    #[arg(long, value_name = "FILE", required_unless_present = "directory")]
    config: Option<PathBuf>,
    /// The directory of the store, instead of a configuration.
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    directory: Option<PathBuf>,
    /// The file of its keys; without it they are in the environment variable MIGCORE_STORAGE_KEY.
    #[arg(long, value_name = "FILE", requires = "directory")]
    key_file: Option<PathBuf>,
}

/// Why a command did not work.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The configuration cannot be read, or is wrong.
    #[error(transparent)]
    Configuration(#[from] InvalidFile),
    /// There is no store to work on.
    #[error("there is no store in {}", directory.display())]
    NothingThere {
        /// In which directory.
        directory: PathBuf,
    },
    /// The configuration names no store.
    #[error("{} has storage.engine = \"memory\": there is no store", path.display())]
    NoStore {
        /// Which configuration.
        path: PathBuf,
    },
    /// The store broke down at work.
    #[error("{0}; what was done so far stays done: run it again")]
    Broken(ReplayError),
    /// The key file cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    KeyFile {
        /// Which file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Records are wrong, or cannot be brought from one place to the other.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// Standard output is gone.
    #[error("cannot write the result: {0}")]
    Output(io::Error),
}

impl StoreError {
    /// Whether the user's arguments or files are at fault, not the world.
    pub fn is_wrong_input(&self) -> bool {
        match self {
            Self::Configuration(_) | Self::NothingThere { .. } | Self::NoStore { .. } => true,
            Self::Open(error) => error.is_wrong_input(),
            Self::Transfer(error) => error.is_wrong_input(),
            Self::Broken(_) | Self::KeyFile { .. } | Self::Output(_) => false,
        }
    }
}

impl StoreCommand {
    /// Does it, and prints how it ended.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn run(self) -> Result<(), StoreError> {
        match self {
            Self::NewKey { output } => new_key(output.as_deref()),
            Self::Reseal(place) => reseal(place.open_existing()?),
            Self::Check { place, verbose } => {
                print(&check_store(&place.open_existing()?, verbose)?)
            }
            Self::Export { place, output, secrets } => {
                let secrets = if secrets { Secrets::Shown } else { Secrets::Hidden };
                print(&export_store(&mut place.open_existing()?, &output, secrets)?)
            }
            Self::Import { file, place } => {
                let (directory, key_file) = place.find()?;
                // Reading the file may take long, and would be for nothing.
                if has_store(&directory)? {
                    return Err(OpenError::Occupied { directory }.into());
                }
                let keys = Keys::find(key_file.as_deref())?;
                let verified = verify_export(&file)?;
                print(&import_store(&directory, &keys, &file, verified)?)
            }
        }
    }
}

impl Place {
    /// Opens the store that is there.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub fn open_existing(&self) -> Result<EmbeddedEngine, StoreError> {
        let (directory, key_file) = self.find()?;
        if !has_store(&directory)? {
            return Err(StoreError::NothingThere { directory });
        }
        let keys = Keys::find(key_file.as_deref())?;
        Ok(EmbeddedEngine::open(&directory, keys)?)
    }

    /// The directory of the store and the file of its keys.
    fn find(&self) -> Result<(PathBuf, Option<PathBuf>), StoreError> {
        match (&self.config, &self.directory) {
            (Some(path), _) => read_config(path),
            (None, directory) => Ok((directory.clone().unwrap_or_default(), self.key_file.clone())),
        }
    }
}

/// The directory and the key file that a configuration names.
fn read_config(path: &Path) -> Result<(PathBuf, Option<PathBuf>), StoreError> {
    let config = Config::read(path)?;
    match config.storage.engine {
        StorageEngine::Memory => Err(StoreError::NoStore { path: path.to_owned() }),
        StorageEngine::Embedded => Ok((config.storage.directory, config.storage.key_file)),
    }
}

fn reseal(mut engine: EmbeddedEngine) -> Result<(), StoreError> {
    // It draws nothing where standard error is no terminal.
    let bar = ProgressBar::new(engine.approximate_len());
    let outcome = engine.reseal(&|looked_at| bar.set_position(looked_at));
    bar.finish_and_clear();
    let Resealed { records, retired } = outcome.map_err(StoreError::Broken)?;
    let mut text = format!("{records} records were sealed anew");
    for id in retired {
        let _ = write!(text, "; key {id} can go");
    }
    text.push('\n');
    print(&text)
}

fn print(text: &str) -> Result<(), StoreError> {
    io::stdout().write_all(text.as_bytes()).map_err(StoreError::Output)
}

fn new_key(output: Option<&Path>) -> Result<(), StoreError> {
    let Some(path) = output else {
        let mut line = Key::draw(&mut SystemEntropy::new()).to_line();
        line.push('\n');
        return io::stdout().write_all(line.as_bytes()).map_err(StoreError::Output);
    };
    let text = format!("key {} is in {}\n", write_new_key(path)?, path.display());
    io::stdout().write_all(text.as_bytes()).map_err(StoreError::Output)
}

/// Draws a key and writes it to a new file that only its owner may read. Returns its name.
pub(in crate::node) fn write_new_key(path: &Path) -> Result<KeyId, StoreError> {
    let key = Key::draw(&mut SystemEntropy::new());
    let mut line = key.to_line();
    line.push('\n');
    let partial = partial_path(path);
    let write = || {
        let mut file = create(&partial)?;
        file.write_all(line.as_bytes())?;
        let published = publish(&file, &partial, path);
        if published.is_err() {
            // Nothing must be left of a key that nobody has.
            let _ = std::fs::remove_file(&partial);
        }
        published
    };
    write().map_err(|error| StoreError::KeyFile { path: path.to_owned(), error })?;
    Ok(key.id())
}
