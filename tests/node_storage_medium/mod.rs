//! An engine on a medium that waits, holds, fails and breaks as it is told.
#![allow(unreachable_pub, reason = "a part of one test binary")]

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use migcore::store::{
    Commit, CommitSeq, Each, Engine, EngineError, MemoryEngine, Reader, Record, ReplayError,
};

/// What outlives an engine: the records, and what it is told to do.
#[derive(Default)]
pub struct Medium {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    records: MemoryEngine,
    /// The last commit made durable.
    last: u64,
    /// How many commits each call had that went well.
    batches: Vec<usize>,
    in_hand: usize,
    replays: usize,
    replaying: bool,
    hold_commits: bool,
    hold_replays: bool,
    fails: bool,
    failing_replays: usize,
    loses_confirmation: bool,
    breaks: bool,
}

impl Medium {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Keeps commits waiting, or lets them go on.
    pub fn hold_commits(&self, hold: bool) {
        self.change(|state| state.hold_commits = hold);
    }

    /// Keeps replays waiting after the last record, or lets them go on.
    pub fn hold_replays(&self, hold: bool) {
        self.change(|state| state.hold_replays = hold);
    }

    /// Fails commits and replays, or does not any more.
    pub fn fail(&self, fails: bool) {
        self.change(|state| state.fails = fails);
    }

    /// Fails so many replays.
    pub fn fail_replays(&self, count: usize) {
        self.change(|state| state.failing_replays = count);
    }

    /// The next commit becomes durable, and is said to have failed.
    pub fn lose_the_next_confirmation(&self) {
        self.change(|state| state.loses_confirmation = true);
    }

    /// The next commit panics.
    pub fn break_the_next_commit(&self) {
        self.change(|state| state.breaks = true);
    }

    /// Waits until so many commits are in a call that has not returned.
    pub async fn until_in_hand(&self, commits: usize) {
        self.until(|state| state.in_hand == commits).await;
    }

    /// Waits until a replay has given all records and is held.
    pub async fn until_replaying(&self) {
        self.until(|state| state.replaying).await;
    }

    pub fn batches(&self) -> Vec<usize> {
        self.lock().batches.clone()
    }

    pub fn replays(&self) -> usize {
        self.lock().replays
    }

    async fn until(&self, condition: impl Fn(&State) -> bool) {
        for _ in 0..2_000 {
            if condition(&self.lock()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("it did not come to that in 10 s");
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn wait_while(&self, condition: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let state = self.changed.wait_while(self.lock(), |state| condition(state));
        state.unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed() -> EngineError {
    EngineError::Medium("no space left".to_owned())
}

/// The engine. It holds its caller to what the committer promises.
pub struct SlowEngine {
    medium: Arc<Medium>,
    closed: bool,
}

impl SlowEngine {
    pub fn new(medium: &Arc<Medium>) -> Self {
        Self { medium: Arc::clone(medium), closed: true }
    }
}

impl Engine for SlowEngine {
    fn commit(&mut self, commits: &[Commit]) -> Result<(), EngineError> {
        assert!(!self.closed, "a commit without a replay before it");
        self.medium.change(|state| state.in_hand = commits.len());
        let mut state = self.medium.wait_while(|state| state.hold_commits);
        state.in_hand = 0;
        assert!(!std::mem::take(&mut state.breaks), "a fault, for this test");
        if state.fails {
            self.closed = true;
            return Err(failed());
        }
        for commit in commits {
            let number = commit.seq.as_u64();
            // After a failure numbers are missing: those of changes that were refused.
            assert!(number > state.last, "{number} after {}", state.last);
            state.last = number;
        }
        state.records.commit(commits)?;
        if std::mem::take(&mut state.loses_confirmation) {
            self.closed = true;
            return Err(failed());
        }
        state.batches.push(commits.len());
        Ok(())
    }

    fn replay(&mut self, each: &Each<'_>) -> Result<CommitSeq, ReplayError> {
        let mut state = self.medium.lock();
        state.replays += 1;
        if state.fails || state.failing_replays > 0 {
            state.failing_replays = state.failing_replays.saturating_sub(1);
            return Err(failed().into());
        }
        let mut records = state.records.clone();
        drop(state);
        let highest = records.replay(&|record: Record<'_>| each(record))?;
        self.medium.change(|state| state.replaying = true);
        self.medium.wait_while(|state| state.hold_replays).replaying = false;
        self.closed = false;
        Ok(highest)
    }

    fn approximate_len(&self) -> u64 {
        self.medium.lock().records.approximate_len()
    }

    fn waits(&self) -> bool {
        true
    }

    fn reader(&self) -> Arc<dyn Reader> {
        self.medium.lock().records.reader()
    }
}
