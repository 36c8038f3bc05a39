//! `store import`: an export becomes a store. All of it is read and checked before anything is written.

use std::{
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    thread,
};

use serde_json::Value;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{
    export::{FORMAT, Header, Trailer},
    json::StoredRecord,
    validate::{Counts, Findings, Validator},
};
use crate::store::{CommitSeq, EngineError, Mutation, RecordKind};

/// Longest line, octets: a registration of ten contacts, each with the longest values that a SIP message
/// brings, and all of it escaped.
pub const LINE_OCTETS_MAX: usize = 4 << 20;

/// Lines read and records written at a time.
const BATCH: usize = 4_096;

/// Octets of lines read at a time, beside the last line.
const BATCH_OCTETS: usize = 16 << 20;

/// Highest number of a commit in an export: a store that goes on from it never comes to an end of them.
const HIGHEST_MAX: u64 = (1 << 63) - 1;

/// An export that was read and found to be right.
#[derive(Debug)]
pub struct Verified {
    highest: CommitSeq,
    counts: Counts,
    digest: [u8; 32],
}

/// Where an import puts records, each with its version.
pub type Put<'a> = dyn FnMut(&[(CommitSeq, Mutation)]) -> Result<(), EngineError> + 'a;

/// Why an import did not work.
#[derive(Debug, thiserror::Error)]
pub enum ImportFileError {
    /// The file cannot be read.
    #[error("cannot read the file: {0}")]
    Read(#[from] io::Error),
    /// It is not what `store export` writes.
    #[error("this is no export: its first line {0}")]
    NoExport(String),
    /// A newer build wrote it.
    #[error("the export has format {0}, newer than this build's {FORMAT}: use a newer migcore")]
    NewerFormat(u32),
    /// Something in it is wrong.
    #[error("nothing was imported, for this is wrong:{0}")]
    Wrong(Findings),
    /// The file is another one than it was when it was checked.
    #[error("the file changed while it was read; nothing was imported: import it again")]
    Changed,
    /// The store cannot be written.
    #[error("nothing was imported: {0}")]
    Store(#[from] EngineError),
}

impl ImportFileError {
    /// Whether the file named or what is in it is at fault.
    pub fn is_wrong_input(&self) -> bool {
        use io::ErrorKind::{IsADirectory, NotFound, PermissionDenied};
        match self {
            Self::Read(error) => {
                matches!(error.kind(), IsADirectory | NotFound | PermissionDenied)
            }
            Self::NoExport(_) | Self::NewerFormat(_) | Self::Wrong(_) => true,
            Self::Changed | Self::Store(_) => false,
        }
    }
}

impl Verified {
    /// Reads an export and checks every line of it. `step` is told how many octets are read.
    ///
    /// # Errors
    ///
    /// [`ImportFileError`].
    pub fn read(
        file: &mut (impl Read + Seek),
        step: &mut dyn FnMut(u64),
    ) -> Result<Self, ImportFileError> {
        let mut lines = Lines::start(file)?;
        let header = read_header(&mut lines)?;
        let (mut findings, mut validator) = (Findings::new("line"), Validator::default());
        if header.highest > HIGHEST_MAX {
            findings.add(1, format!("highest is more than {HIGHEST_MAX}"));
        }
        let mut end = None;
        while let Some(batch) = lines.batch()? {
            for (line, parsed) in (batch.first..).zip(parse_all(&batch.lines)) {
                if end.is_some() {
                    findings.add(line, "comes after the last line of an export");
                    break;
                }
                match parsed {
                    Ok(Line::Record(stored)) if stored.version.as_u64() > header.highest => {
                        findings.add(line, "version is higher than highest in the first line");
                    }
                    Ok(Line::Record(stored)) => {
                        if let Err(misfit) = validator.add(line, &stored) {
                            findings.add_misfit(line, stored.kind, &misfit);
                        }
                    }
                    Ok(Line::End(trailer)) => end = Some((line, trailer)),
                    Err(what) => findings.add(line, what),
                }
            }
            step(lines.octets);
        }
        let counts = validator.counts().clone();
        match end {
            None => findings
                .add(lines.count, "is the last one, and no end of an export: the rest was cut off"),
            Some((line, trailer)) if findings.is_empty() => {
                check_counts(line, &trailer, &counts, &mut findings);
            }
            Some(_) => {}
        }
        if !findings.is_empty() {
            return Err(ImportFileError::Wrong(findings));
        }
        let highest = CommitSeq::from_u64(header.highest);
        Ok(Self { highest, counts, digest: lines.digest() })
    }

    /// How many records there are of each kind.
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Reads the export again and gives its records to `put`, each with its version. Returns the highest
    /// number of a commit: what was deleted last had a higher one than all that is left. `step` is told how
    /// many octets are read.
    ///
    /// # Errors
    ///
    /// [`ImportFileError`]; what was put is of no use then.
    pub fn give(
        &self,
        file: &mut (impl Read + Seek),
        put: &mut Put<'_>,
        step: &mut dyn FnMut(u64),
    ) -> Result<CommitSeq, ImportFileError> {
        let mut lines = Lines::start(file)?;
        read_header(&mut lines)?;
        while let Some(batch) = lines.batch()? {
            let mut records = Vec::with_capacity(batch.lines.len());
            for parsed in parse_all(&batch.lines) {
                match parsed.map_err(|_| ImportFileError::Changed)? {
                    Line::Record(stored) => records.push((stored.version, stored.mutation())),
                    Line::End(_) => {}
                }
            }
            put(&records)?;
            step(lines.octets);
        }
        if lines.digest() != self.digest {
            return Err(ImportFileError::Changed);
        }
        Ok(self.highest)
    }
}

fn read_header(lines: &mut Lines<impl Read>) -> Result<Header, ImportFileError> {
    let no_export = |what: &str| ImportFileError::NoExport(what.to_owned());
    let line = lines.next_line()?.ok_or_else(|| no_export("is missing: the file is empty"))?;
    let line = line.ok_or_else(|| no_export("is too long"))?;
    let value: Value =
        serde_json::from_slice(&line).map_err(|_| no_export("is not the one of an export"))?;
    let format = value.get("migcore_export").and_then(Value::as_u64);
    match format.map(u32::try_from) {
        Some(Ok(FORMAT)) => {}
        Some(format) if format != Ok(0) => {
            return Err(ImportFileError::NewerFormat(format.unwrap_or(u32::MAX)));
        }
        _ => return Err(no_export("is not the one of an export")),
    }
    serde_json::from_value(value).map_err(|_| {
        no_export("has not just the fields migcore_export, release, secrets and highest")
    })
}

fn check_counts(line: u64, trailer: &Trailer, counts: &Counts, findings: &mut Findings) {
    for kind in RecordKind::ALL {
        let told = trailer.migcore_export_end.get(kind.name()).copied().unwrap_or_default();
        let found = counts.get(&kind).copied().unwrap_or_default();
        if told != found {
            let name = kind.name();
            findings
                .add(line, format!("migcore_export_end.{name} is {told}, but there are {found}"));
        }
    }
}

#[expect(clippy::large_enum_variant, reason = "all but one are records")]
enum Line {
    Record(StoredRecord),
    End(Trailer),
}

/// Parses lines on all cores.
fn parse_all(lines: &[Octets]) -> Vec<Result<Line, String>> {
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let share = lines.len().div_ceil(cores).max(1);
    thread::scope(|scope| {
        let parse_share = |lines: &[Octets]| lines.iter().map(parse).collect::<Vec<_>>();
        let running: Vec<_> =
            lines.chunks(share).map(|lines| scope.spawn(move || parse_share(lines))).collect();
        let mut parsed = Vec::with_capacity(lines.len());
        for thread in running {
            match thread.join() {
                Ok(share) => parsed.extend(share),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        parsed
    })
}

fn parse(line: &Octets) -> Result<Line, String> {
    let Some(line) = line else {
        return Err(format!("is longer than {LINE_OCTETS_MAX} octets"));
    };
    // Messages about syntax repeat nothing of the text.
    let value: Value = serde_json::from_slice(line)
        .map_err(|error| format!("is not JSON (column {})", error.column()))?;
    if value.get("migcore_export_end").is_some() {
        let trailer = serde_json::from_value(value);
        return trailer.map(Line::End).map_err(|_| "is not the last line of an export".to_owned());
    }
    StoredRecord::from_json(value).map(Line::Record).map_err(|error| error.to_string())
}

/// A line; none if it is too long.
type Octets = Option<Zeroizing<Vec<u8>>>;

/// The lines of a file, from 1, and the digest of what was read.
struct Lines<R> {
    from: BufReader<R>,
    hash: Sha256,
    octets: u64,
    count: u64,
}

struct Batch {
    /// The number of the first line.
    first: u64,
    lines: Vec<Octets>,
}

impl<'a, R: Read + Seek> Lines<&'a mut R> {
    fn start(file: &'a mut R) -> io::Result<Self> {
        file.seek(SeekFrom::Start(0))?;
        Ok(Self { from: BufReader::new(file), hash: Sha256::new(), octets: 0, count: 0 })
    }
}

impl<R: Read> Lines<R> {
    /// The next lines, at least one; none at the end.
    fn batch(&mut self) -> io::Result<Option<Batch>> {
        let (first, start) = (self.count + 1, self.octets);
        let mut lines = Vec::new();
        while lines.len() < BATCH && self.octets - start < BATCH_OCTETS as u64 {
            match self.next_line()? {
                Some(line) => lines.push(line),
                None => break,
            }
        }
        Ok((!lines.is_empty()).then_some(Batch { first, lines }))
    }

    /// The next line without its end; of one that is too long only that.
    fn next_line(&mut self) -> io::Result<Option<Octets>> {
        let mut line = Zeroizing::new(Vec::new());
        let limit = LINE_OCTETS_MAX as u64 + 1;
        if (&mut self.from).take(limit).read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        self.take_in(&line);
        self.count += 1;
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if line.len() > LINE_OCTETS_MAX {
            self.skip_line()?;
            return Ok(Some(None));
        }
        Ok(Some(Some(line)))
    }

    fn skip_line(&mut self) -> io::Result<()> {
        let mut rest = Vec::new();
        loop {
            rest.clear();
            let read =
                (&mut self.from).take(LINE_OCTETS_MAX as u64).read_until(b'\n', &mut rest)?;
            self.take_in(&rest);
            if read == 0 || rest.last() == Some(&b'\n') {
                return Ok(());
            }
        }
    }

    fn take_in(&mut self, octets: &[u8]) {
        self.hash.update(octets);
        self.octets += octets.len() as u64;
    }

    fn digest(&self) -> [u8; 32] {
        self.hash.clone().finalize().into()
    }
}
