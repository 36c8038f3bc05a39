//! A storage engine that lies: it takes its time, fails, refuses for a while, and loses what a crash or a
//! failure caught under way.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{
    store::{
        Commit, CommitSeq, Each, Engine, EngineError, MemoryEngine, Record, RecordError,
        RecordKind, ReplayError,
    },
    time::Timestamp,
};

use super::{SeededEntropy, options::Committing, tables::Tables};

/// The memory engine behind a medium with faults, and the history of all that was ever durable.
#[derive(Debug, Default)]
pub(super) struct FaultyEngine {
    medium: MemoryEngine,
    committing: Committing,
    /// What was handed over and is not durable yet, by the number under which it finishes. An element is
    /// what one call of a role committed.
    under_way: BTreeMap<u64, Vec<Vec<Commit>>>,
    /// What waits for what is under way.
    queued: VecDeque<Vec<Commit>>,
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
pub(super) type Versions = BTreeMap<CommitSeq, Version>;

/// A version of a record.
#[derive(Debug)]
pub(super) struct Version {
    /// What was stored; `None` for a deletion.
    pub(super) value: Option<Vec<u8>>,
    /// When it became durable.
    pub(super) durable_at: Timestamp,
}

impl FaultyEngine {
    /// Sets how commits become durable.
    pub(super) const fn set_committing(&mut self, committing: Committing) {
        self.committing = committing;
    }

    /// How commits become durable.
    pub(super) const fn committing(&self) -> Committing {
        self.committing
    }

    /// Takes the commits of one call of a role in and returns the number under which they finish; `None`
    /// if they wait for what is under way.
    pub(super) fn begin(&mut self, commits: Vec<Commit>) -> Option<u64> {
        self.queued.push_back(commits);
        match self.committing {
            Committing::Apart => self.begin_queued(),
            Committing::Together if self.under_way.is_empty() => self.begin_queued(),
            Committing::Together => None,
        }
    }

    /// Begins all that is queued as one group, if anything is.
    fn begin_queued(&mut self) -> Option<u64> {
        if self.queued.is_empty() {
            return None;
        }
        self.next_group += 1;
        self.under_way.insert(self.next_group, std::mem::take(&mut self.queued).into());
        Some(self.next_group)
    }

    /// Makes one group's commits durable. Returns their numbers, none if the medium failed, and the group
    /// that is under way next.
    pub(super) fn finish(
        &mut self,
        now: Timestamp,
        group: u64,
    ) -> Result<(Vec<CommitSeq>, Option<u64>), EngineError> {
        let Some(calls) = self.under_way.remove(&group) else { return Ok((Vec::new(), None)) };
        let commits: Vec<Commit> = calls.into_iter().flatten().collect();
        self.make_durable(now, &commits)?;
        let durable = commits.iter().map(|commit| commit.seq).collect();
        Ok((durable, self.begin_queued()))
    }

    /// Whether the commits of `group` are neither durable nor lost yet.
    pub(super) fn is_under_way(&self, group: u64) -> bool {
        self.under_way.contains_key(&group)
    }

    /// Fails: some of what was handed over turns out durable, none of it is acknowledged, and nothing more
    /// is taken. Of commits that become durable together the first calls of roles survive, each whole; of
    /// others any number of the commits of each call, in their order.
    pub(super) fn fail(&mut self, now: Timestamp, entropy: &mut SeededEntropy) {
        let under_way = std::mem::take(&mut self.under_way).into_values().flatten();
        let calls: Vec<Vec<Commit>> = under_way.chain(std::mem::take(&mut self.queued)).collect();
        let lucky: Vec<Commit> = match self.committing {
            Committing::Together => {
                let count = entropy.below(calls.len() as u64 + 1);
                calls.into_iter().zip(0..count).flat_map(|(call, _)| call).collect()
            }
            Committing::Apart => calls
                .into_iter()
                .flat_map(|call| {
                    let count = entropy.below(call.len() as u64 + 1);
                    call.into_iter().zip(0..count).map(|(commit, _)| commit)
                })
                .collect(),
        };
        // An engine that is closed already takes none of them: just as well.
        let _ = self.make_durable(now, &lucky);
        self.closed = true;
    }

    /// How many records there are.
    pub(super) fn len(&self) -> u64 {
        self.medium.approximate_len()
    }

    /// Whether nothing is taken.
    pub(super) const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Reads everything back, after a failure or a crash, and takes commits again; if the medium fails
    /// after `readable` records, it stays closed.
    pub(super) fn reopen(
        &mut self,
        readable: Option<u64>,
        each: &Each<'_>,
    ) -> Result<CommitSeq, ReplayError> {
        let given = AtomicU64::new(0);
        let highest = self.medium.replay(&|record| {
            let number = given.fetch_add(1, Ordering::Relaxed);
            if readable.is_some_and(|readable| number >= readable) {
                return Ok(()); // never read
            }
            each(record)
        })?;
        if readable.is_some() {
            let error = EngineError::Medium("the simulated medium cannot be read".to_owned());
            return Err(error.into());
        }
        self.closed = false;
        Ok(highest)
    }

    /// What `key` has or will have, as its role knows it: what was handed over last counts.
    pub(super) fn handed_over(&self, kind: RecordKind, key: &[u8]) -> Option<&[u8]> {
        let calls = self.under_way.values().flatten().chain(&self.queued);
        let latest = calls
            .flatten()
            .flat_map(|commit| commit.mutations.iter().map(|mutation| (commit.seq, mutation)))
            .filter(|(_, mutation)| mutation.kind == kind && *mutation.key == *key)
            .max_by_key(|(seq, _)| *seq);
        match latest {
            Some((_, mutation)) => mutation.value.as_deref(),
            None => self.history.current_of(kind, key),
        }
    }

    /// What was ever durable.
    pub(super) const fn history(&self) -> &History {
        &self.history
    }

    fn make_durable(&mut self, now: Timestamp, commits: &[Commit]) -> Result<(), EngineError> {
        if self.closed {
            return Err(EngineError::Closed);
        }
        self.medium.commit(commits)?;
        for commit in commits {
            self.history.add(now, commit);
        }
        Ok(())
    }
}

impl History {
    fn add(&mut self, durable_at: Timestamp, commit: &Commit) {
        for mutation in &commit.mutations {
            let versions =
                self.0.entry((mutation.kind, mutation.key.as_slice().into())).or_default();
            let value = mutation.value.clone();
            versions.insert(commit.seq, Version { value, durable_at });
        }
    }

    /// Every value that `key` ever had, oldest first, without deletions.
    pub(super) fn values(&self, kind: RecordKind, key: &str) -> impl Iterator<Item = &[u8]> {
        let versions = self.0.get(&(kind, key.as_bytes().into()));
        versions.into_iter().flat_map(BTreeMap::values).filter_map(|it| it.value.as_deref())
    }

    /// The versions of `key` that were the latest at `from` or later, deletions included, the newest first. A
    /// deletion is made up where there was no record at `from`.
    pub(super) fn since(
        &self,
        kind: RecordKind,
        key: &str,
        from: Timestamp,
    ) -> impl Iterator<Item = (CommitSeq, Option<&[u8]>)> {
        let versions = self.0.get(&(kind, key.as_bytes().into()));
        let newest_first = versions.into_iter().flat_map(|it| it.iter().rev());
        let newest_first = newest_first.map(|(seq, it)| (*seq, it.value.as_deref(), it.durable_at));
        let none = (CommitSeq::NOTHING, None, Timestamp::default());
        let mut over = false;
        newest_first.chain([none]).map_while(move |(seq, value, durable_at)| {
            let later = std::mem::replace(&mut over, durable_at < from);
            (!later).then_some((seq, value))
        })
    }

    /// All versions of every record of `kind`.
    pub(super) fn all(&self, kind: RecordKind) -> impl Iterator<Item = (&[u8], &Versions)> {
        self.of_kind(kind).map(|((_, key), versions)| (&**key, versions))
    }

    /// All versions of `key`.
    pub(super) fn versions(&self, kind: RecordKind, key: &str) -> Option<&Versions> {
        self.0.get(&(kind, key.as_bytes().into()))
    }

    /// What every key of `kind` has now.
    pub(super) fn all_current(&self, kind: RecordKind) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.of_kind(kind).filter_map(|((_, key), versions)| {
            Some((&**key, versions.last_key_value()?.1.value.as_deref()?))
        })
    }

    fn of_kind(&self, kind: RecordKind) -> impl Iterator<Item = (&Key, &Versions)> {
        self.0.range((kind, Box::default())..).take_while(move |((of, _), _)| *of == kind)
    }

    /// The value that `key` has now.
    pub(super) fn current(&self, kind: RecordKind, key: &str) -> Option<&[u8]> {
        self.current_of(kind, key.as_bytes())
    }

    fn current_of(&self, kind: RecordKind, key: &[u8]) -> Option<&[u8]> {
        self.0.get(&(kind, key.into()))?.last_key_value()?.1.value.as_deref()
    }

    /// What every key has now, as tables.
    pub(super) fn tables(&self) -> Result<Tables, RecordError> {
        let mut tables = Tables::default();
        for ((kind, key), versions) in &self.0 {
            if let Some((version, Version { value: Some(value), .. })) = versions.last_key_value() {
                tables.take(&Record { kind: *kind, key, version: *version, value })?;
            }
        }
        Ok(tables)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::store::Mutation;

    const NOW: Timestamp = Timestamp::from_secs(1);

    fn commit(seq: u64) -> Commit {
        let record = Mutation::put(RecordKind::Grant, &format!("key{seq}"), &seq);
        Commit { seq: CommitSeq::from_u64(seq), mutations: [record].into() }
    }

    fn engine(committing: Committing) -> FaultyEngine {
        FaultyEngine { committing, ..FaultyEngine::default() }
    }

    /// Which of the commits 1 to 5 are durable.
    fn durable(engine: &FaultyEngine) -> Vec<u64> {
        let is_durable =
            |seq: &u64| engine.history().current(RecordKind::Grant, &format!("key{seq}")).is_some();
        (1..=5).filter(is_durable).collect()
    }

    /// What survives a failure with 1 acknowledged and the calls {2, 3}, {4} and {5} handed over.
    fn survivors(committing: Committing) -> BTreeSet<Vec<u64>> {
        let survivors = |seed| {
            let mut engine = engine(committing);
            let first = engine.begin(vec![commit(1)]).unwrap();
            engine.finish(NOW, first).unwrap();
            for call in [vec![commit(2), commit(3)], vec![commit(4)], vec![commit(5)]] {
                engine.begin(call);
            }
            engine.fail(NOW, &mut SeededEntropy::new(seed));
            assert!(engine.is_closed());
            let highest = engine.reopen(None, &|_| Ok(())).unwrap();
            let survivors = durable(&engine);
            assert_eq!(survivors.last(), Some(&highest.as_u64()));
            survivors
        };
        (0..256).map(survivors).collect()
    }

    #[test]
    fn what_is_committed_together_survives_as_calls_in_order_each_whole() {
        let wanted = [vec![1], vec![1, 2, 3], vec![1, 2, 3, 4], vec![1, 2, 3, 4, 5]];
        assert_eq!(survivors(Committing::Together), wanted.into());
    }

    #[test]
    fn what_is_committed_apart_survives_at_random_but_no_commit_without_those_before_in_its_call() {
        let survivors = survivors(Committing::Apart);
        assert_eq!(survivors.len(), 3 * 2 * 2, "{survivors:?}");
        assert!(survivors.iter().all(|it| it.contains(&1)), "acknowledged");
        assert!(survivors.iter().all(|it| !it.contains(&3) || it.contains(&2)), "{survivors:?}");
    }

    #[test]
    fn what_comes_while_a_group_is_under_way_becomes_durable_together_after_it() {
        let mut engine = engine(Committing::Together);
        let first = engine.begin(vec![commit(1)]).unwrap();
        assert_eq!((engine.begin(vec![commit(2)]), engine.begin(vec![commit(3)])), (None, None));
        let (finished, next) = engine.finish(NOW, first).unwrap();
        assert_eq!((finished, durable(&engine)), (vec![CommitSeq::from_u64(1)], vec![1]));
        let (finished, next) = engine.finish(NOW, next.unwrap()).unwrap();
        assert_eq!((finished.len(), durable(&engine), next), (2, vec![1, 2, 3], None));
    }

    #[test]
    fn a_medium_that_cannot_be_read_to_its_end_stays_closed() {
        let mut engine = engine(Committing::Together);
        let group = engine.begin(vec![commit(1), commit(2), commit(3)]).unwrap();
        engine.finish(NOW, group).unwrap();
        engine.fail(NOW, &mut SeededEntropy::new(1));
        let records = AtomicU64::new(0);
        let each = |_: Record<'_>| {
            records.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        assert!(engine.reopen(Some(2), &each).is_err());
        assert!(engine.is_closed());
        assert_eq!(records.load(Ordering::Relaxed), 2);
        engine.reopen(None, &each).unwrap();
        assert!(!engine.is_closed());
        assert_eq!(records.load(Ordering::Relaxed), 5);
    }

    #[test]
    fn what_was_handed_over_last_is_what_a_role_knows() {
        let mut engine = engine(Committing::Together);
        let of = |seq, value: u64| Commit {
            seq: CommitSeq::from_u64(seq),
            mutations: [Mutation::put(RecordKind::Grant, "key", &value)].into(),
        };
        let group = engine.begin(vec![of(1, 7)]).unwrap();
        engine.begin(vec![of(2, 8)]);
        let known = |engine: &FaultyEngine| {
            let value = engine.handed_over(RecordKind::Grant, b"key");
            value.map(|value| crate::store::decode::<u64>(value).unwrap())
        };
        assert_eq!(known(&engine), Some(8));
        engine.finish(NOW, group).unwrap();
        assert_eq!(known(&engine), Some(8));
        engine.under_way.clear();
        assert_eq!(known(&engine), Some(7));
    }

    #[test]
    fn a_version_counts_until_a_later_one_was_durable_before() {
        let mut engine = engine(Committing::Together);
        for (seq, value) in [(1, Some(7_u64)), (2, None), (3, Some(8))] {
            let mutation = value.map_or_else(
                || Mutation::delete(RecordKind::Grant, "key"),
                |value| Mutation::put(RecordKind::Grant, "key", &value),
            );
            let seq = CommitSeq::from_u64(seq);
            let group = engine.begin(vec![Commit { seq, mutations: [mutation].into() }]).unwrap();
            engine.finish(Timestamp::from_secs(seq.as_u64() * 10), group).unwrap();
        }
        let since = |seconds| {
            let from = Timestamp::from_secs(seconds);
            let versions = engine.history().since(RecordKind::Grant, "key", from);
            versions.map(|(seq, value)| (seq.as_u64(), value.is_some())).collect::<Vec<_>>()
        };
        assert_eq!(since(40), [(3, true)]);
        assert_eq!(since(30), [(3, true), (2, false)], "which came first is not known");
        assert_eq!(since(11), [(3, true), (2, false), (1, true)]);
        assert_eq!(since(5), [(3, true), (2, false), (1, true), (0, false)]);
    }
}
