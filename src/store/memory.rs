//! The engine that forgets on exit: for tests and throw-away load runs.

use std::collections::BTreeMap;

use super::{Commit, CommitSeq, Engine, EngineError, Record, RecordKind};

/// Keeps the newest version of every record in memory.
///
/// A deletion leaves its version behind until every older commit must have arrived, so that a late
/// older commit cannot bring a deleted record back.
#[derive(Clone, Debug, Default)]
pub struct MemoryEngine {
    records: BTreeMap<(RecordKind, Box<[u8]>), Slot>,
    highest: CommitSeq,
}

/// The newest version of a record and its value; no value if it was deleted.
type Slot = (CommitSeq, Option<Vec<u8>>);

impl Engine for MemoryEngine {
    fn commit(&mut self, commits: &[Commit]) -> Result<(), EngineError> {
        for commit in commits {
            self.highest = self.highest.max(commit.seq);
            for mutation in &commit.mutations {
                let slot = self.records.entry((mutation.kind, mutation.key.clone())).or_default();
                if slot.0 < commit.seq {
                    *slot = (commit.seq, mutation.value.clone());
                }
            }
        }
        Ok(())
    }

    fn replay(&mut self, each: &mut dyn FnMut(Record)) -> Result<CommitSeq, EngineError> {
        self.records.retain(|_, (_, value)| value.is_some());
        for ((kind, key), (version, value)) in &self.records {
            if let Some(value) = value {
                each(Record {
                    kind: *kind,
                    key: key.clone(),
                    version: *version,
                    value: value.clone(),
                });
            }
        }
        Ok(self.highest)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Mutation, *};

    fn commit(seq: u64, value: Option<&str>) -> Commit {
        let mutation = match value {
            Some(value) => Mutation::put(RecordKind::Grant, "k", &value),
            None => Mutation::delete(RecordKind::Grant, "k"),
        };
        Commit { seq: CommitSeq::from_u64(seq), mutations: vec![mutation] }
    }

    #[test]
    fn an_older_version_never_replaces_a_newer_one_nor_a_deletion() {
        let mut engine = MemoryEngine::default();
        engine.commit(&[commit(2, Some("new")), commit(1, Some("old"))]).unwrap();
        let mut seen = Vec::new();
        engine.replay(&mut |record| seen.push(record.version)).unwrap();
        assert_eq!(seen, [CommitSeq::from_u64(2)]);

        engine.commit(&[commit(4, None), commit(3, Some("late"))]).unwrap();
        let highest = engine.replay(&mut |_| unreachable!("deleted")).unwrap();
        assert_eq!(highest, CommitSeq::from_u64(4));
    }
}
