//! `store check`: whether all records can be read, and fit together.

use super::{
    EmbeddedEngine, Inspected,
    json::StoredRecord,
    validate::{Counts, Findings, Validator},
};
use crate::store::{EngineError, RecordKind};

/// What a check found.
#[derive(Debug)]
pub struct Checked {
    /// How many records there are of each kind.
    pub counts: Counts,
    /// What is wrong; the place of a record is its number in the order in which it was found.
    pub findings: Findings,
    /// The kind and the key of the records that are told of, by their numbers.
    pub keys: Vec<(u64, RecordKind, Box<[u8]>)>,
}

/// Checks all records. `step` is told how many were read.
///
/// # Errors
///
/// [`EngineError`] when the medium cannot be read.
pub fn check(engine: &EmbeddedEngine, step: &mut dyn FnMut(u64)) -> Result<Checked, EngineError> {
    let mut checked =
        Checked { counts: Counts::new(), findings: Findings::new("record"), keys: Vec::new() };
    let (mut validator, mut number) = (Validator::default(), 0);
    engine.inspect(&mut |found| {
        number += 1;
        step(number);
        checked.take(&mut validator, number, found);
    })?;
    Ok(checked)
}

impl Checked {
    fn take(&mut self, validator: &mut Validator, number: u64, found: Inspected<'_>) {
        let told = self.findings.told();
        let (kind, key) = match found {
            Inspected::Record(record) => {
                match StoredRecord::open(&record) {
                    Ok(stored) => {
                        if let Err(misfit) = validator.add(number, &stored) {
                            self.findings.add_misfit(number, record.kind, &misfit);
                        }
                    }
                    Err(error) => self.unreadable(number, record.kind, &error.to_string()),
                }
                (record.kind, record.key)
            }
            Inspected::Unreadable { kind, key, why } => {
                self.unreadable(number, kind, why);
                (kind, key)
            }
            Inspected::Unknown { why } => return self.findings.add(number, why),
        };
        *self.counts.entry(kind).or_default() += 1;
        if self.findings.told() > told {
            self.keys.push((number, kind, key.into()));
        }
    }

    fn unreadable(&mut self, number: u64, kind: RecordKind, why: &str) {
        self.findings.add(number, format!("{} cannot be read: {why}", kind.name()));
    }
}
