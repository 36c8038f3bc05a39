//! The engine that forgets on exit: for tests and throw-away load runs.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use super::{
    Commit, CommitSeq, Each, Engine, EngineError, OwnedRecord, Reader, Record, RecordKind,
    ReplayError,
};

/// Keeps the newest version of every record in memory.
///
/// A deletion leaves its key and its version behind until the next replay, so that a late older commit
/// cannot bring a deleted record back. So what was ever stored takes memory until then.
#[derive(Debug, Default)]
pub struct MemoryEngine {
    records: Arc<Records>,
    highest: CommitSeq,
}

/// Shared with the readers.
#[derive(Debug, Default)]
struct Records(RwLock<Slots>);

/// The slots of all records, by kind and key.
type Slots = BTreeMap<(RecordKind, Box<[u8]>), Slot>;

/// The newest version of a record and its value; no value if it was deleted.
type Slot = (CommitSeq, Option<Vec<u8>>);

impl Clone for MemoryEngine {
    /// Copies the records: a change of one does not show in the other.
    fn clone(&self) -> Self {
        let records = Records(RwLock::new(self.records.read().clone()));
        Self { records: Arc::new(records), highest: self.highest }
    }
}

impl Engine for MemoryEngine {
    fn commit(&mut self, commits: &[Commit]) -> Result<(), EngineError> {
        let mut records = self.records.write();
        for commit in commits {
            self.highest = self.highest.max(commit.seq);
            for mutation in &commit.mutations {
                let slot = records.entry((mutation.kind, mutation.key.clone())).or_default();
                if slot.0 < commit.seq {
                    *slot = (commit.seq, mutation.value.clone());
                }
            }
        }
        Ok(())
    }

    fn replay(&mut self, each: &Each<'_>) -> Result<CommitSeq, ReplayError> {
        self.records.write().retain(|_, (_, value)| value.is_some());
        for ((kind, key), (version, value)) in &*self.records.read() {
            if let Some(value) = value {
                Record { kind: *kind, key, version: *version, value }.give(each)?;
            }
        }
        Ok(self.highest)
    }

    fn approximate_len(&self) -> u64 {
        self.records.read().len() as u64
    }

    fn waits(&self) -> bool {
        false
    }

    fn reader(&self) -> Arc<dyn Reader> {
        Arc::clone(&self.records) as Arc<dyn Reader>
    }
}

impl Records {
    fn read(&self) -> RwLockReadGuard<'_, Slots> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Slots> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader for Records {
    fn page(
        &self,
        kind: RecordKind,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<OwnedRecord>, EngineError> {
        let records = self.read();
        let from = match after {
            Some(key) => Bound::Excluded((kind, key.into())),
            None => Bound::Included((kind, Box::default())),
        };
        let of_kind =
            records.range((from, Bound::Unbounded)).take_while(|((of, _), _)| *of == kind);
        let kept = of_kind.filter_map(|((kind, key), (version, value))| {
            let value = value.as_deref()?.into();
            Some(OwnedRecord { kind: *kind, key: key.clone(), version: *version, value })
        });
        Ok(kept.take(limit).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::{super::Mutation, *};

    fn commit(seq: u64, value: Option<&str>) -> Commit {
        let mutation = match value {
            Some(value) => Mutation::put(RecordKind::Grant, "k", &value),
            None => Mutation::delete(RecordKind::Grant, "k"),
        };
        Commit { seq: CommitSeq::from_u64(seq), mutations: vec![mutation] }
    }

    /// The versions of all records, and the highest ever committed.
    fn replayed(engine: &mut MemoryEngine) -> (Vec<CommitSeq>, CommitSeq) {
        let seen = Mutex::new(Vec::new());
        let each = |record: Record<'_>| {
            seen.lock().unwrap().push(record.version);
            Ok(())
        };
        let highest = engine.replay(&each).unwrap();
        (seen.into_inner().unwrap(), highest)
    }

    #[test]
    fn an_older_version_never_replaces_a_newer_one_nor_a_deletion() {
        let mut engine = MemoryEngine::default();
        engine.commit(&[commit(2, Some("new")), commit(1, Some("old"))]).unwrap();
        assert_eq!(replayed(&mut engine), (vec![CommitSeq::from_u64(2)], CommitSeq::from_u64(2)));

        engine.commit(&[commit(4, None), commit(3, Some("late"))]).unwrap();
        assert_eq!(replayed(&mut engine), (vec![], CommitSeq::from_u64(4)));
    }
}
