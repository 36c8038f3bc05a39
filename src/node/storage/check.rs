//! `store check`: whether all records can be read, and fit together.

use super::{
    json::StoredRecord,
    validate::{Counts, Findings, Validator},
};
use crate::store::{EngineError, Reader, RecordKind};

/// Records read at a time.
const PAGE: usize = 1_000;

/// What a check found.
#[derive(Debug)]
pub struct Checked {
    /// How many records there are of each kind.
    pub counts: Counts,
    /// What is wrong; the place of a record is its number in the order of kinds and keys.
    pub findings: Findings,
    /// The kind and the key of the records that are told of, by their numbers.
    pub keys: Vec<(u64, RecordKind, Box<[u8]>)>,
}

/// Checks all records. `step` is told how many were read.
pub fn check(reader: &dyn Reader, step: &mut dyn FnMut(u64)) -> Checked {
    let mut checking = Checking {
        validator: Validator::default(),
        counts: Counts::new(),
        findings: Findings::new("record"),
        keys: Vec::new(),
        number: 0,
    };
    for kind in RecordKind::ALL {
        if let Err(error) = checking.check_kind(reader, kind, step) {
            // What comes after it in this kind is not found any more.
            let what = format!("{} and what comes after it cannot be read: {error}", kind.name());
            checking.findings.add(checking.number + 1, what);
        }
    }
    let Checking { counts, findings, keys, .. } = checking;
    Checked { counts, findings, keys }
}

struct Checking {
    validator: Validator,
    counts: Counts,
    findings: Findings,
    keys: Vec<(u64, RecordKind, Box<[u8]>)>,
    number: u64,
}

impl Checking {
    fn check_kind(
        &mut self,
        reader: &dyn Reader,
        kind: RecordKind,
        step: &mut dyn FnMut(u64),
    ) -> Result<(), EngineError> {
        let mut after = None;
        loop {
            let page = reader.page(kind, after.as_deref(), PAGE)?;
            for record in &page {
                self.number += 1;
                *self.counts.entry(kind).or_default() += 1;
                let before = self.findings.told();
                match StoredRecord::open(&record.as_record()) {
                    Ok(stored) => {
                        if let Err(misfit) = self.validator.add(self.number, &stored) {
                            self.findings.add_misfit(self.number, &misfit);
                        }
                    }
                    Err(error) => {
                        self.findings.add(self.number, format!("{}: {error}", kind.name()))
                    }
                }
                if self.findings.told() > before {
                    self.keys.push((self.number, kind, record.key.clone()));
                }
            }
            step(self.number);
            match page.into_iter().next_back() {
                Some(last) => after = Some(last.key),
                None => return Ok(()),
            }
        }
    }
}
