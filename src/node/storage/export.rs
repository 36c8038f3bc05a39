//! `store export`: all records as JSON lines.
//!
//! The first line says what the file is, the last one that it is whole: without it the file was cut off.
//! Between them is one record a line ([`super::json`]), kind after kind in the order of their keys.

use std::{
    io::{self, Write},
    sync::Mutex,
};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    json::{Secrets, StoredRecord},
    validate::Counts,
};
use crate::store::{Engine, EngineError, Reader, RecordError, RecordKind, ReplayError};

/// The form of the file that this build writes and reads.
pub const FORMAT: u32 = 1;

/// Records read at a time.
const PAGE: usize = 1_000;

/// The first line.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    /// The form of the file.
    pub(super) migcore_export: u32,
    /// The release that wrote it.
    pub(super) release: String,
    /// Whether secrets are shown.
    pub(super) secrets: bool,
    /// The highest number of a commit, deletions included.
    pub(super) highest: u64,
}

/// The last line.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trailer {
    /// How many records there are of each kind that there are any of.
    pub(super) migcore_export_end: std::collections::BTreeMap<String, u64>,
}

/// Why an export did not work.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store cannot be read.
    #[error("the store cannot be read: {0}")]
    Store(#[from] ReplayError),
    /// A record is damaged, or a newer build's.
    #[error("a record of kind {} cannot be exported: {error}; see `migcore store check`", kind.name())]
    Record {
        /// Its kind.
        kind: RecordKind,
        /// What is wrong.
        error: RecordError,
    },
    /// The file cannot be written.
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
}

impl From<EngineError> for ExportError {
    fn from(error: EngineError) -> Self {
        Self::Store(error.into())
    }
}

/// Writes all records of `engine`. `step` is told how many of how many records are written.
///
/// # Errors
///
/// [`ExportError`]; what was written is no whole file then.
pub fn export(
    engine: &mut dyn Engine,
    to: &mut dyn Write,
    secrets: Secrets,
    step: &mut dyn FnMut(u64, u64),
) -> Result<Counts, ExportError> {
    let (highest, all) = count(engine)?;
    let reader = engine.reader();
    let header = Header {
        migcore_export: FORMAT,
        release: env!("CARGO_PKG_VERSION").to_owned(),
        secrets: secrets == Secrets::Shown,
        highest,
    };
    write_line(to, &header)?;
    let mut counts = Counts::new();
    let mut done = 0;
    for kind in RecordKind::ALL {
        let count = for_each(&*reader, kind, |stored| {
            done += 1;
            step(done, all);
            write_record(to, &stored, secrets)
        })?;
        if count > 0 {
            counts.insert(kind, count);
        }
    }
    let named = counts.iter().map(|(kind, count)| (kind.name().to_owned(), *count));
    write_line(to, &Trailer { migcore_export_end: named.collect() })?;
    to.flush()?;
    Ok(counts)
}

/// The highest number of a commit, and how many records there are.
fn count(engine: &mut dyn Engine) -> Result<(u64, u64), ExportError> {
    let count = Mutex::new(0);
    let highest = engine.replay(&|_| {
        *count.lock().unwrap_or_else(std::sync::PoisonError::into_inner) += 1;
        Ok(())
    })?;
    Ok((highest.as_u64(), count.into_inner().unwrap_or_default()))
}

fn for_each(
    reader: &dyn Reader,
    kind: RecordKind,
    mut each: impl FnMut(StoredRecord) -> Result<(), ExportError>,
) -> Result<u64, ExportError> {
    let (mut count, mut after) = (0, None);
    loop {
        let page = reader.page(kind, after.as_deref(), PAGE)?;
        for record in &page {
            count += 1;
            let stored = StoredRecord::open(&record.as_record());
            each(stored.map_err(|error| ExportError::Record { kind, error })?)?;
        }
        match page.into_iter().next_back() {
            Some(last) => after = Some(last.key),
            None => return Ok(count),
        }
    }
}

fn write_record(
    to: &mut dyn Write,
    stored: &StoredRecord,
    secrets: Secrets,
) -> Result<(), ExportError> {
    if secrets == Secrets::Shown || !stored.holds_secrets() {
        return write_line(to, stored);
    }
    let hidden = stored.to_json(secrets);
    write_line(to, &hidden.map_err(|error| ExportError::Record { kind: stored.kind, error })?)
}

fn write_line(to: &mut dyn Write, line: &impl Serialize) -> Result<(), ExportError> {
    let mut text = Zeroizing::new(serde_json::to_vec(line).map_err(io::Error::from)?);
    text.push(b'\n');
    Ok(to.write_all(&text)?)
}
