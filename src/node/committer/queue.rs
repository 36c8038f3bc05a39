//! Commits on their way to an engine that waits.

use std::collections::BTreeMap;

use crate::store::{Commit, CommitSeq};

/// Most commits that wait for the engine before new requests are refused; those of calls under way come on
/// top.
pub(in crate::node) const QUEUED_COMMITS_MAX: usize = 65_536;

/// Most octets of keys and values that wait for the engine before new requests are refused; those of calls
/// under way come on top.
pub(in crate::node) const QUEUED_OCTETS_MAX: usize = 64 << 20;

/// The commits of calls that are over, in groups: those of one call become durable together.
///
/// Numbers are drawn by all workers, so the numbers of two calls may alternate, and a call that is not over
/// yet leaves a gap. It is waited for, so that what is durable is always a prefix of history. That ends: a
/// call never waits for a commit, and what it commits is always taken in, however full the queue is.
#[derive(Debug)]
pub(super) struct Queue {
    /// All numbers up to this one were taken.
    taken: CommitSeq,
    /// The commits of each call by the first of their numbers.
    groups: BTreeMap<CommitSeq, Vec<Commit>>,
    commits: usize,
    octets: usize,
}

impl Queue {
    /// Creates an empty queue behind the commit `taken`.
    pub(super) const fn starting_after(taken: CommitSeq) -> Self {
        Self { taken, groups: BTreeMap::new(), commits: 0, octets: 0 }
    }

    /// Takes the commits of one call in, which have ascending numbers, and leaves `group` empty.
    pub(super) fn push(&mut self, group: &mut Vec<Commit>) {
        let Some(first) = group.first() else { return };
        self.commits += group.len();
        self.octets += group.iter().map(octets_of).sum::<usize>();
        self.groups.insert(first.seq, std::mem::take(group));
    }

    /// Takes out all commits that follow on those taken before: without a gap, and of no call a part. In the
    /// order of their numbers; empty if there are none.
    pub(super) fn take(&mut self) -> Vec<Commit> {
        let Some((groups, through)) = self.batches().last() else { return Vec::new() };
        let mut batch = Vec::with_capacity(self.commits);
        for _ in 0..groups {
            let Some((_, mut group)) = self.groups.pop_first() else { break };
            batch.append(&mut group);
        }
        // Only calls that ran at the same time are out of order.
        batch.sort_by_key(|commit| commit.seq);
        self.taken = through;
        self.commits -= batch.len();
        self.octets -= batch.iter().map(octets_of).sum::<usize>();
        batch
    }

    /// Whether [`Queue::take`] would give anything.
    pub(super) fn is_ready(&self) -> bool {
        self.batches().next().is_some()
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// How many commits wait.
    pub(super) const fn len(&self) -> usize {
        self.commits
    }

    /// Whether so much waits that new requests have to be refused.
    pub(super) const fn is_full(&self) -> bool {
        self.commits >= QUEUED_COMMITS_MAX || self.octets >= QUEUED_OCTETS_MAX
    }

    /// How many of the first groups can be taken, and the last of their numbers, from few to many. As many
    /// commits as there are numbers up to the last one are all of them.
    fn batches(&self) -> impl Iterator<Item = (usize, CommitSeq)> {
        let (mut commits, mut last) = (0, self.taken);
        (1..).zip(self.groups.values()).filter_map(move |(groups, group)| {
            commits += group.len() as u64;
            last = last.max(group.last()?.seq);
            (last.as_u64() - self.taken.as_u64() == commits).then_some((groups, last))
        })
    }
}

fn octets_of(commit: &Commit) -> usize {
    let octets = commit
        .mutations
        .iter()
        .map(|mutation| mutation.key.len() + mutation.value.as_ref().map_or(0, Vec::len));
    octets.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Mutation, RecordKind};

    fn queue() -> Queue {
        Queue::starting_after(CommitSeq::from_u64(10))
    }

    fn push(queue: &mut Queue, numbers: &[u64]) {
        let commit = |number: &u64| Commit {
            seq: CommitSeq::from_u64(*number),
            mutations: [Mutation::put(RecordKind::Grant, "key", &"value")].into(),
        };
        queue.push(&mut numbers.iter().map(commit).collect());
    }

    fn take(queue: &mut Queue) -> Vec<u64> {
        queue.take().iter().map(|commit| commit.seq.as_u64()).collect()
    }

    #[test]
    fn what_comes_after_a_gap_waits_for_it() {
        let mut queue = queue();
        push(&mut queue, &[12]);
        push(&mut queue, &[13, 14]);
        assert!(!queue.is_ready() && take(&mut queue).is_empty());
        push(&mut queue, &[11]);
        assert!(queue.is_ready());
        assert_eq!(take(&mut queue), [11, 12, 13, 14]);
        assert!(queue.is_empty());
        assert_eq!((queue.len(), queue.octets), (0, 0));
    }

    #[test]
    fn no_part_of_a_call_is_taken() {
        let mut queue = queue();
        push(&mut queue, &[11]);
        push(&mut queue, &[12, 14]);
        assert_eq!(take(&mut queue), [11], "13 belongs to a call that runs yet");
        push(&mut queue, &[13, 15]);
        push(&mut queue, &[17]);
        assert_eq!(take(&mut queue), [12, 13, 14, 15]);
        push(&mut queue, &[16]);
        assert_eq!(take(&mut queue), [16, 17]);
    }

    #[test]
    fn commits_of_calls_that_alternate_are_taken_in_the_order_of_their_numbers() {
        let mut queue = queue();
        push(&mut queue, &[11, 14, 16]);
        push(&mut queue, &[13, 15]);
        push(&mut queue, &[12]);
        assert_eq!(take(&mut queue), [11, 12, 13, 14, 15, 16]);
    }

    #[test]
    fn it_is_full_by_commits_or_by_octets_and_takes_in_what_comes_all_the_same() {
        let mut queue = queue();
        for number in 11..11 + QUEUED_COMMITS_MAX as u64 {
            assert!(!queue.is_full());
            push(&mut queue, &[number]);
        }
        assert!(queue.is_full());
        push(&mut queue, &[11 + QUEUED_COMMITS_MAX as u64]);
        assert_eq!(take(&mut queue).len(), QUEUED_COMMITS_MAX + 1);
        assert!(!queue.is_full());

        let large = "x".repeat(QUEUED_OCTETS_MAX);
        let mutations = [Mutation::put(RecordKind::Grant, "key", &large)].into();
        queue.push(&mut vec![Commit { seq: CommitSeq::from_u64(1_000_000), mutations }]);
        assert!(queue.is_full());
    }
}
