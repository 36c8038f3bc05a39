//! Commits on their way to an engine that waits.

use std::collections::VecDeque;

use crate::store::{Commit, CommitSeq};

/// Most commits that wait for the engine before new requests are refused; those of calls under way come on
/// top.
pub(in crate::node) const QUEUED_COMMITS_MAX: usize = 65_536;

/// Most octets of keys and values that wait for the engine before new requests are refused; those of calls
/// under way come on top.
pub(in crate::node) const QUEUED_OCTETS_MAX: usize = 64 << 20;

/// The commits of calls that are over: those of one call become durable together.
///
/// Numbers are drawn by all workers, so the numbers of two calls may alternate, and what a worker has not handed
/// over yet leaves a gap. It is waited for, so that what is durable is always a prefix of history. That ends: a
/// worker never waits for a commit, and what it commits is always taken in, however full the queue is.
///
/// What a worker hands over is of many calls, and is not kept together: two workers whose numbers always alternate
/// would never give a row that has no part of any.
#[derive(Debug)]
pub(super) struct Queue {
    /// All numbers up to this one were taken.
    taken: CommitSeq,
    /// By number, from the one after `taken` on.
    slots: VecDeque<Option<Queued>>,
    commits: usize,
    octets: usize,
}

#[derive(Debug)]
struct Queued {
    commit: Commit,
    /// The last number of the same call.
    last: CommitSeq,
}

impl Queue {
    /// Creates an empty queue behind the commit `taken`.
    pub(super) const fn starting_after(taken: CommitSeq) -> Self {
        Self { taken, slots: VecDeque::new(), commits: 0, octets: 0 }
    }

    /// Takes commits in, leaving none there. They have ascending numbers; `calls` says how many each call made.
    pub(super) fn push(&mut self, commits: &mut Vec<Commit>, calls: &[usize]) {
        let mut commits = commits.drain(..);
        for count in calls {
            let call = commits.as_slice().get(..*count).unwrap_or_default();
            let Some(last) = call.last().map(|commit| commit.seq) else { continue };
            for commit in commits.by_ref().take(*count) {
                self.put(Queued { commit, last });
            }
        }
    }

    fn put(&mut self, queued: Queued) {
        let ahead = queued.commit.seq.as_u64().checked_sub(self.taken.as_u64() + 1);
        let Some(place) = ahead.and_then(|ahead| usize::try_from(ahead).ok()) else { return };
        self.commits += 1;
        self.octets += octets_of(&queued.commit);
        if place >= self.slots.len() {
            self.slots.resize_with(place + 1, || None);
        }
        if let Some(slot) = self.slots.get_mut(place) {
            *slot = Some(queued);
        }
    }

    /// Takes out all commits that follow on those taken before: without a gap, and of no call a part. They are put
    /// into the empty `batch` in the order of their numbers; nothing is, if there are none.
    pub(super) fn take(&mut self, batch: &mut Vec<Commit>) {
        let Some(count) = self.rows().last() else { return };
        batch.extend(self.slots.drain(..count).flatten().map(|queued| queued.commit));
        self.taken = batch.last().map_or(self.taken, |commit: &Commit| commit.seq);
        self.commits -= batch.len();
        self.octets -= batch.iter().map(octets_of).sum::<usize>();
    }

    /// Whether [`Queue::take`] would give anything.
    pub(super) fn is_ready(&self) -> bool {
        self.rows().next().is_some()
    }

    /// Whether nothing waits.
    pub(super) const fn is_empty(&self) -> bool {
        self.commits == 0
    }

    /// How many commits wait.
    pub(super) const fn len(&self) -> usize {
        self.commits
    }

    /// Whether so much waits that new requests have to be refused.
    pub(super) const fn is_full(&self) -> bool {
        self.commits >= QUEUED_COMMITS_MAX || self.octets >= QUEUED_OCTETS_MAX
    }

    /// How many of the first commits can be taken, from few to many.
    fn rows(&self) -> impl Iterator<Item = usize> {
        let mut last = self.taken;
        let row = self.slots.iter().map_while(Option::as_ref);
        (1..).zip(row).filter_map(move |(count, queued)| {
            last = last.max(queued.last);
            (last == queued.commit.seq).then_some(count)
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

    /// Pushes the commits of one call.
    fn push(queue: &mut Queue, numbers: &[u64]) {
        push_all(queue, &[numbers]);
    }

    /// Pushes the commits of some calls, as a worker does after a batch of them.
    fn push_all(queue: &mut Queue, calls: &[&[u64]]) {
        let commit = |number: &u64| Commit {
            seq: CommitSeq::from_u64(*number),
            mutations: [Mutation::put(RecordKind::Grant, "key", &"value")].into(),
        };
        let mut commits = calls.iter().copied().flatten().map(commit).collect();
        let counts: Vec<usize> = calls.iter().map(|call| call.len()).collect();
        queue.push(&mut commits, &counts);
        assert!(commits.is_empty());
    }

    fn take(queue: &mut Queue) -> Vec<u64> {
        let mut batch = Vec::new();
        queue.take(&mut batch);
        batch.iter().map(|commit| commit.seq.as_u64()).collect()
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
    fn calls_that_were_handed_over_together_need_not_be_taken_together() {
        let mut queue = queue();
        push_all(&mut queue, &[&[11], &[13], &[15]]);
        assert_eq!(take(&mut queue), [11]);
        push_all(&mut queue, &[&[12], &[14, 17], &[18]]);
        assert_eq!(take(&mut queue), [12, 13], "14 belongs to a call whose 17 waits for 16");
        push_all(&mut queue, &[&[16], &[20]]);
        assert_eq!(take(&mut queue), [14, 15, 16, 17, 18]);
        assert_eq!((queue.len(), queue.is_ready()), (1, false));
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
        let seq = CommitSeq::from_u64(12 + QUEUED_COMMITS_MAX as u64);
        queue.push(&mut vec![Commit { seq, mutations }], &[1]);
        assert!(queue.is_full());
    }
}
