//! Sealing everything anew under the first key, so that others can go.

use zeroize::Zeroizing;

use super::{
    EmbeddedEngine, State,
    database::{Database, DatabaseError},
    keys::{KeyId, Keys},
    layout::{self, Body, STRIPES},
    meta, scan,
    seal::{self, Label},
};
use crate::{
    entropy::Entropy,
    store::{EngineError, RecordKind, ReplayError},
};

/// Most records that are sealed anew in one batch.
pub const RESEAL_BATCH_MAX: usize = 1_000;

/// What was done.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Resealed {
    /// How many records were sealed anew.
    pub records: u64,
    /// The keys that the store needs no more.
    pub retired: Vec<KeyId>,
}

impl EmbeddedEngine {
    /// Seals every sealed record under the first key, telling `progress` after each batch how many were
    /// looked at, then rewrites the files, so that nothing under another key is left in them. The journal
    /// has what was sealed before until the next 64 MB are written.
    ///
    /// It may be interrupted at any moment and run again.
    ///
    /// # Errors
    ///
    /// [`ReplayError`]; what was sealed anew stays so.
    pub fn reseal(&mut self, progress: &dyn Fn(u64)) -> Result<Resealed, ReplayError> {
        let state = self.shared.read();
        let State::Open(database) = &*state else { return Err(EngineError::Closed.into()) };
        let keys = &self.shared.keys;
        let mut job = Job { database, keys, entropy: &mut self.entropy, progress, looked_at: 0 };
        let mut done = Resealed::default();
        for stripe in 0..STRIPES {
            done.records += job.stripe(stripe)?;
        }
        done.retired = job.retire_others().map_err(medium)?;
        database.compact().map_err(medium)?;
        Ok(done)
    }
}

struct Job<'a> {
    database: &'a Database,
    keys: &'a Keys,
    entropy: &'a mut dyn Entropy,
    progress: &'a dyn Fn(u64),
    looked_at: u64,
}

impl Job<'_> {
    /// Seals the records of one stripe anew; returns how many there were.
    fn stripe(&mut self, stripe: u8) -> Result<u64, ReplayError> {
        let first = self.keys.sealing().0;
        let mut opened = Zeroizing::new(Vec::new());
        let mut resealed = 0;
        let mut batch = self.database.batch();
        let mut waiting = 0;
        for entry in self.database.prefix(&[stripe]) {
            let (stored, value) = entry.into_inner().map_err(|error| medium(error.into()))?;
            self.looked_at += 1;
            let Some((_, Body::Sealed(sealed))) = layout::split_value(&value) else { continue };
            if seal::key_of(sealed) == Some(first) {
                continue;
            }
            let (kind, key) = scan::kind_and_key(&stored)?;
            batch.put(&stored, self.reseal(kind, key, &value, &mut opened)?);
            waiting += 1;
            if waiting == RESEAL_BATCH_MAX {
                std::mem::replace(&mut batch, self.database.batch()).commit().map_err(medium)?;
                resealed += std::mem::take(&mut waiting) as u64;
                (self.progress)(self.looked_at);
            }
        }
        batch.commit().map_err(medium)?;
        (self.progress)(self.looked_at);
        Ok(resealed + waiting as u64)
    }

    fn reseal(
        &mut self,
        kind: RecordKind,
        key: &[u8],
        value: &[u8],
        opened: &mut Vec<u8>,
    ) -> Result<Vec<u8>, ReplayError> {
        let (version, record) = scan::record_of(kind, key, value, self.keys, opened)?;
        let mut value = layout::begin_value(version, true, record.len() + seal::OVERHEAD_OCTETS);
        let label = Label { kind: kind.as_u8(), key, version };
        seal::seal(self.keys, self.entropy, label, record, &mut value);
        Ok(value)
    }

    /// Forgets the keys that sealed before.
    fn retire_others(&self) -> Result<Vec<KeyId>, DatabaseError> {
        let first = self.keys.sealing().0;
        let mut retired = meta::sealing_keys(self.database)?;
        retired.retain(|id| *id != first);
        let mut batch = self.database.batch();
        for id in &retired {
            batch.delete(&meta::check_key(*id));
        }
        batch.commit()?;
        Ok(retired)
    }
}

fn medium(error: DatabaseError) -> ReplayError {
    EngineError::Medium(error.into_text()).into()
}
