//! A storage engine that takes its time, fails, and loses what a crash caught under way.

use std::collections::BTreeMap;

use crate::store::{
    Commit, CommitSeq, Each, Engine, EngineError, MemoryEngine, RecordKind, ReplayError,
};

use super::SeededEntropy;

/// The memory engine behind a medium with faults, and the history of all that was ever durable.
#[derive(Debug, Default)]
pub(super) struct FaultyEngine {
    medium: MemoryEngine,
    /// What was handed over and is not durable yet: the commits of one outbox under one number.
    under_way: BTreeMap<u64, Vec<Commit>>,
    next_group: u64,
    /// After a failure nothing is taken until [`FaultyEngine::reopen`].
    closed: bool,
    history: History,
}

/// Every version of every record that was ever durable, deletions (`None`) included. The checks read
/// it: roles cannot.
#[derive(Debug, Default)]
pub(super) struct History(BTreeMap<Key, Versions>);

type Key = (RecordKind, Box<[u8]>);
type Versions = BTreeMap<CommitSeq, Option<Vec<u8>>>;

impl FaultyEngine {
    /// Takes the commits of one outbox in and returns the number under which they finish. They become
    /// durable in their order; towards those of other outboxes there is none.
    pub(super) fn begin(&mut self, commits: Vec<Commit>) -> u64 {
        self.next_group += 1;
        self.under_way.insert(self.next_group, commits);
        self.next_group
    }

    /// Makes one outbox's commits durable and returns their numbers; none if the medium failed.
    pub(super) fn finish(&mut self, group: u64) -> Result<Vec<CommitSeq>, EngineError> {
        let Some(commits) = self.under_way.remove(&group) else { return Ok(Vec::new()) };
        self.make_durable(&commits)?;
        Ok(commits.iter().map(|commit| commit.seq).collect())
    }

    /// Whether the commits of `group` are neither durable nor lost yet.
    pub(super) fn is_under_way(&self, group: u64) -> bool {
        self.under_way.contains_key(&group)
    }

    /// Fails: of each outbox under way any number of commits, in their order, turns out durable, none
    /// is acknowledged, and nothing more is taken.
    pub(super) fn fail(&mut self, entropy: &mut SeededEntropy) {
        for commits in std::mem::take(&mut self.under_way).into_values() {
            let count = entropy.below(commits.len() as u64 + 1);
            let lucky: Vec<Commit> =
                commits.into_iter().zip(0..count).map(|(commit, _)| commit).collect();
            // An engine that is closed already takes none of them: just as well.
            let _ = self.make_durable(&lucky);
        }
        self.closed = true;
    }

    /// Whether nothing is taken.
    pub(super) const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Reads everything back, after a failure or a crash, and takes commits again.
    pub(super) fn reopen(&mut self, each: &Each<'_>) -> Result<CommitSeq, ReplayError> {
        self.closed = false;
        self.medium.replay(each)
    }

    /// What was ever durable.
    pub(super) const fn history(&self) -> &History {
        &self.history
    }

    fn make_durable(&mut self, commits: &[Commit]) -> Result<(), EngineError> {
        if self.closed {
            return Err(EngineError::Closed);
        }
        self.medium.commit(commits)?;
        for commit in commits {
            self.history.add(commit);
        }
        Ok(())
    }
}

impl History {
    fn add(&mut self, commit: &Commit) {
        for mutation in &commit.mutations {
            let versions = self.0.entry((mutation.kind, mutation.key.clone())).or_default();
            versions.insert(commit.seq, mutation.value.clone());
        }
    }

    /// Every value that `key` ever had, oldest first, without deletions.
    pub(super) fn values(&self, kind: RecordKind, key: &str) -> impl Iterator<Item = &[u8]> {
        let versions = self.0.get(&(kind, key.as_bytes().into()));
        versions.into_iter().flat_map(BTreeMap::values).filter_map(Option::as_deref)
    }

    /// Every version of every record of `kind`, without deletions, the newest of each key first.
    pub(super) fn all(&self, kind: RecordKind) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.of_kind(kind).flat_map(|((_, key), versions)| {
            let key: &[u8] = key;
            versions.values().rev().filter_map(move |value| Some((key, value.as_deref()?)))
        })
    }

    /// What every key of `kind` has now.
    pub(super) fn all_current(&self, kind: RecordKind) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.of_kind(kind).filter_map(|((_, key), versions)| {
            Some((&**key, versions.last_key_value()?.1.as_deref()?))
        })
    }

    fn of_kind(&self, kind: RecordKind) -> impl Iterator<Item = (&Key, &Versions)> {
        self.0.range((kind, Box::default())..).take_while(move |((of, _), _)| *of == kind)
    }

    /// The value that `key` has now.
    pub(super) fn current(&self, kind: RecordKind, key: &str) -> Option<&[u8]> {
        self.0.get(&(kind, key.as_bytes().into()))?.last_key_value()?.1.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::store::{Mutation, Record};

    fn commit(seq: u64) -> Commit {
        let record = Mutation::put(RecordKind::Grant, &format!("key{seq}"), &seq);
        Commit { seq: CommitSeq::from_u64(seq), mutations: vec![record] }
    }

    fn durable(engine: &FaultyEngine, seq: u64) -> bool {
        engine.history().current(RecordKind::Grant, &format!("key{seq}")).is_some()
    }

    #[test]
    fn what_was_finished_survives_and_what_was_under_way_survives_as_a_prefix() {
        let mut prefixes = std::collections::BTreeSet::new();
        for seed in 0..64 {
            let mut engine = FaultyEngine::default();
            let first = engine.begin(vec![commit(1)]);
            engine.finish(first).unwrap();
            engine.begin(vec![commit(2), commit(3)]);
            engine.fail(&mut SeededEntropy::new(seed));
            assert!(engine.is_closed());
            let records = AtomicU64::new(0);
            let each = |_: Record<'_>| {
                records.fetch_add(1, Ordering::Relaxed);
                Ok(())
            };
            let highest = engine.reopen(&each).unwrap();
            let survived = (durable(&engine, 1), durable(&engine, 2), durable(&engine, 3));
            assert!(survived.0, "an acknowledged commit is missing");
            assert!(survived.1 || !survived.2, "a later commit of one outbox without the earlier");
            assert_eq!(highest.as_u64(), records.into_inner());
            prefixes.insert(survived);
        }
        assert_eq!(prefixes.len(), 3, "every prefix occurs");
    }
}
