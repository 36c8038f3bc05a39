//! What `store check`, `store export` and `store import` do with files, and what they print.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, BufWriter},
    path::{Path, PathBuf},
};

use super::{
    EmbeddedEngine, FillError, Keys, OpenError,
    check::{Checked, check},
    export::{ExportError, export},
    import::{ImportFileError, Verified},
    json::Secrets,
    validate::Counts,
};
use crate::{
    node::{
        private_file::{create, partial_path, replace},
        provision::progress_bar,
    },
    store::Engine,
};

/// Why a transfer did not work.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// Records are wrong.
    #[error("the store is not right:{0}")]
    Unsound(String),
    /// The store gives no records.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The export cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The import did not work.
    #[error("{}: {error}", path.display())]
    Import {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: ImportFileError,
    },
    /// No store can be made.
    #[error(transparent)]
    Open(OpenError),
}

impl TransferError {
    /// Whether the arguments or the file are at fault.
    pub fn is_wrong_input(&self) -> bool {
        match self {
            Self::Import { error, .. } => error.is_wrong_input(),
            Self::Open(error) => error.is_wrong_input(),
            Self::Unsound(_) | Self::Export(_) | Self::Write { .. } => false,
        }
    }
}

/// Checks all records, and says how many there are.
///
/// # Errors
///
/// [`TransferError::Unsound`] says what is wrong, with `verbose` also of which record.
pub fn check_store(engine: &EmbeddedEngine, verbose: bool) -> Result<String, TransferError> {
    let bar = progress_bar(0, "records checked");
    bar.set_length(engine.approximate_len());
    let checked = check(engine, &mut |done| bar.set_position(done));
    bar.finish_and_clear();
    let Checked { counts, findings, keys } = checked.map_err(ExportError::from)?;
    if findings.is_empty() {
        return Ok(format!("{}All of them can be read and fit together.\n", listed(&counts)));
    }
    let mut text = findings.to_string();
    if verbose {
        for (number, kind, key) in keys {
            let key = String::from_utf8_lossy(&key);
            let _ = write!(text, "\n  record {number} is the {} {key:?}", kind.name());
        }
    } else {
        text.push_str("\n  --verbose tells the keys of these records");
    }
    Err(TransferError::Unsound(text))
}

/// Writes all records to the file `output`, which only its owner may read, or to standard output for `-`.
///
/// # Errors
///
/// [`TransferError`]; there is no new file then.
pub fn export_store(
    engine: &mut dyn Engine,
    output: &Path,
    secrets: Secrets,
) -> Result<String, TransferError> {
    let bar = progress_bar(0, "records exported");
    let mut step = |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    };
    let counts = if output == Path::new("-") {
        let mut to = BufWriter::new(io::stdout().lock());
        export(engine, &mut to, secrets, &mut step)?;
        bar.finish_and_clear();
        return Ok(String::new());
    } else {
        let failed = |error| TransferError::Write { path: output.to_owned(), error };
        let partial = partial_path(output);
        let file = create(&partial).map_err(failed)?;
        let written = write_file(engine, &file, secrets, &mut step)
            .and_then(|counts| replace(&file, &partial, output).map_err(failed).map(|()| counts));
        if written.is_err() {
            // Nothing of use is in it.
            let _ = std::fs::remove_file(&partial);
        }
        written?
    };
    bar.finish_and_clear();
    let note = if secrets == Secrets::Hidden {
        "without keys and credentials: --secrets writes what can be imported"
    } else {
        "with all keys and credentials: keep it as safe as the store"
    };
    Ok(format!("{}They are in {}, {note}.\n", listed(&counts), output.display()))
}

fn write_file(
    engine: &mut dyn Engine,
    file: &File,
    secrets: Secrets,
    step: &mut dyn FnMut(u64, u64),
) -> Result<Counts, TransferError> {
    let mut to = BufWriter::with_capacity(1 << 20, file);
    Ok(export(engine, &mut to, secrets, step)?)
}

/// Reads the export in `path` and checks all of it.
///
/// # Errors
///
/// [`TransferError::Import`].
pub fn verify_export(path: &Path) -> Result<(File, Verified), TransferError> {
    let failed = |error| TransferError::Import { path: path.to_owned(), error };
    let mut file = File::open(path).map_err(|error| failed(error.into()))?;
    let bar = progress_bar(0, "octets checked");
    bar.set_length(file.metadata().map_or(0, |metadata| metadata.len()));
    let verified = Verified::read(&mut file, &mut |octets| bar.set_position(octets));
    bar.finish_and_clear();
    Ok((file, verified.map_err(failed)?))
}

/// Makes a store in `directory`, which has none, of what [`verify_export`] found right in `path`.
///
/// # Errors
///
/// [`TransferError::Open`] or [`TransferError::Import`]; there is no store then.
pub fn import_store(
    directory: &Path,
    keys: &Keys,
    path: &Path,
    (mut file, verified): (File, Verified),
) -> Result<String, TransferError> {
    let bar = progress_bar(0, "octets imported");
    bar.set_length(file.metadata().map_or(0, |metadata| metadata.len()));
    let created = EmbeddedEngine::create(directory, keys, |filling| {
        let mut put = |records: &[_]| filling.put(records);
        verified.give(&mut file, &mut put, &mut |octets| bar.set_position(octets))
    });
    bar.finish_and_clear();
    created.map_err(|error| match error {
        FillError::Open(error) => TransferError::Open(error),
        FillError::Source(error) => TransferError::Import { path: path.to_owned(), error },
    })?;
    Ok(format!("{}They are imported.\n", listed(verified.counts())))
}

/// One line for each kind that there are records of.
fn listed(counts: &Counts) -> String {
    let mut text = String::new();
    for (kind, count) in counts {
        let _ = writeln!(text, "{count:>10} {}", kind.name());
    }
    let _ = writeln!(text, "{:>10} in all", counts.values().sum::<u64>());
    text
}
