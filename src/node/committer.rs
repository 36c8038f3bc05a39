//! Makes commits durable and holds back the messages that rely on them.
//!
//! An engine in memory runs inline: a thread hop would cost more than the commit. One that waits for a medium
//! has a thread of its own ([`Committer::run`]): while it syncs what it took, the queue gathers what comes, and
//! is then taken as a whole. So an idle engine is asked at once, and many share a sync when there are many;
//! under load, and then only, the thread pauses between batches ([`Pace`]). A message that waited goes back to
//! the worker that sent it.
//!
//! **What can stop it.** The thread waits for the commits of batches that are under way, and a batch waits for
//! nothing: not for a commit, nor for room in the queue, since a full queue is told to *new* requests only.
//! A call that panics leaves a gap that nobody fills: then [`Committer::abandon`] drops all that waits, and the
//! system stops.

mod queue;
mod waiting;

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::Notify;

pub(super) use waiting::Waited;

use self::{queue::Queue, waiting::Waiting};
use crate::{
    outbox::Send,
    store::{
        Commit, CommitSeq, Each, Engine, EngineError, OwnedRecord, Reader, RecordKind, ReplayError,
        Watermark,
    },
};

/// How far apart batches are on average when there is always something to commit.
const BATCHES_APART: Duration = Duration::from_millis(4);

/// How many batches may follow each other without a pause after a time with none: what comes now and then
/// never waits.
const BATCHES_AT_ONCE: u32 = 16;

/// Reaches every commit.
const EVERYTHING: CommitSeq = CommitSeq::from_u64(u64::MAX);

/// The one owner of a system's storage engine.
pub(super) struct Committer {
    /// Locked for as long as the engine works. The lock of `state` is the inner one.
    engine: Mutex<Box<dyn Engine>>,
    /// Whether the engine has a thread.
    waits: bool,
    state: Mutex<State>,
    /// Wakes the thread.
    work: Condvar,
    /// Wakes workers to take back what they sent.
    returned: Vec<Notify>,
    /// Wakes whoever waits until nothing is under way.
    settled: Notify,
    /// A copy of the watermark, to be read without the lock.
    reached: AtomicU64,
    available: AtomicBool,
    full: AtomicBool,
}

struct State {
    mark: Watermark,
    queue: Queue,
    waiting: Waiting,
    /// The thread has commits in hand.
    committing: bool,
    /// The thread is to end, and the engine is not opened again.
    ended: bool,
}

/// What calls of a worker did.
#[derive(Debug)]
pub(super) struct Done<'a> {
    /// In the order of their numbers.
    pub(super) commits: &'a mut Vec<Commit>,
    /// How many of them each call made that made any.
    pub(super) calls: &'a mut Vec<usize>,
    pub(super) sends: &'a mut Vec<Send>,
}

/// What is to be done at once with messages.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Everything they rely on is durable.
    pub(super) leaving: Vec<Send>,
    /// They rely on a commit that failed, or too many messages wait.
    pub(super) lost: Vec<Send>,
}

impl Committer {
    /// Takes an engine over for so many workers. Changes are refused until [`Committer::replay`] and
    /// [`Committer::resume`].
    pub(super) fn new(engine: Box<dyn Engine>, workers: usize) -> Self {
        let state = State {
            mark: Watermark::default(),
            queue: Queue::starting_after(CommitSeq::NOTHING),
            waiting: Waiting::new(workers),
            committing: false,
            ended: false,
        };
        Self {
            waits: engine.waits(),
            engine: Mutex::new(engine),
            state: Mutex::new(state),
            work: Condvar::new(),
            returned: (0..workers).map(|_| Notify::new()).collect(),
            settled: Notify::new(),
            reached: AtomicU64::new(0),
            available: AtomicBool::new(false),
            full: AtomicBool::new(false),
        }
    }

    /// Whether the engine needs a thread that calls [`Committer::run`].
    pub(super) const fn waits(&self) -> bool {
        self.waits
    }

    /// Whether the engine takes changes.
    pub(super) fn is_available(&self) -> bool {
        self.available.load(Ordering::Acquire)
    }

    /// Whether there is room for what a new request may change.
    pub(super) fn has_room(&self) -> bool {
        !self.full.load(Ordering::Relaxed)
    }

    /// How many commits wait for the engine.
    pub(super) fn queued(&self) -> usize {
        self.lock().queue.len()
    }

    /// Takes over what calls of `worker` did, leaving nothing there: the commits of each call become durable
    /// together, and messages leave after what they rely on, those that wait in their order.
    ///
    /// # Errors
    ///
    /// The commits are not durable, and the engine takes none until [`Committer::resume`].
    pub(super) fn submit(
        &self,
        worker: usize,
        Done { commits, calls, sends }: Done<'_>,
        settled: &mut Settled,
    ) -> Result<(), EngineError> {
        let committed = match (commits.is_empty(), self.waits) {
            (true, _) => Ok(()),
            (false, true) => self.enqueue(commits, calls),
            (false, false) => self.commit(commits, settled),
        };
        commits.clear();
        calls.clear();
        self.admit(worker, sends, settled);
        committed
    }

    /// Exchanges what `worker` gets back for the empty `into`; [`Committer::done_with`] follows.
    pub(super) fn take_returned(&self, worker: usize, into: &mut Vec<Waited>) {
        self.lock().waiting.take_returned(worker, into);
    }

    /// So many messages that were taken back have been dealt with, and what followed from them was submitted.
    pub(super) fn done_with(&self, messages: usize) {
        let mut state = self.lock();
        state.waiting.forget(messages);
        self.note_load(&state);
        drop(state);
        self.settled.notify_waiters();
    }

    /// Returns when there is something that `worker` gets back.
    pub(super) async fn returned(&self, worker: usize) {
        match self.returned.get(worker) {
            Some(returned) => returned.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Returns when all commits are done, and all that waited has been dealt with.
    pub(super) async fn settle(&self) {
        loop {
            let settled = self.settled.notified();
            if self.lock().is_settled() {
                return;
            }
            settled.await;
        }
    }

    /// Makes commits durable as they come, until [`Committer::end`]. `done` is told of each batch how many
    /// commits it had, how long it took, and how it went.
    pub(super) fn run(&self, mut done: impl FnMut(usize, Duration, Result<(), EngineError>)) {
        let mut pace = Pace::starting(Instant::now());
        // Its memory is used again: an allocator that gave it back to the system would get it cleared each time.
        let mut batch = Vec::new();
        while self.next_batch(&mut pace, &mut batch) {
            let began = Instant::now();
            let outcome = self.lock_engine().commit(&batch);
            let took = began.elapsed();
            match (&outcome, batch.last()) {
                (Ok(()), Some(last)) => self.reach(last.seq),
                (Ok(()), None) => {}
                (Err(_), _) => self.close(),
            }
            done(batch.len(), took, outcome);
            batch.clear();
        }
    }

    /// Refuses changes from here on. What waits goes back to its workers as lost.
    fn close(&self) {
        self.close_with(self.lock());
    }

    fn close_with(&self, mut state: MutexGuard<'_, State>) {
        self.available.store(false, Ordering::Release);
        state.queue = Queue::starting_after(state.mark.reached());
        state.waiting.give_back(EVERYTHING, Waited::Lost);
        self.conclude(state);
    }

    /// Refuses changes for good, because something is missing that would have become durable, or the thread is
    /// gone.
    pub(super) fn abandon(&self) {
        let mut state = self.lock();
        // Together with closing, or a reload that ends in between would take changes again.
        state.ended = true;
        state.committing = false;
        self.close_with(state);
        self.work.notify_one();
    }

    /// Opens the engine, after a failure too, and replays it; changes are still refused. Takes as long as
    /// reading everything does.
    ///
    /// # Errors
    ///
    /// [`ReplayError`] when it does not open yet.
    pub(super) fn replay(&self, each: &Each<'_>) -> Result<CommitSeq, ReplayError> {
        self.lock_engine().replay(each)
    }

    /// About how many records a replay gives.
    pub(super) fn approximate_len(&self) -> u64 {
        self.lock_engine().approximate_len()
    }

    /// Takes changes, from roles that hold what [`Committer::replay`] gave. No role may be in a call:
    /// everything up to `last` has failed or is replayed.
    pub(super) fn resume(&self, last: CommitSeq) {
        let mut state = self.lock();
        state.mark = Watermark::starting_at(last);
        state.queue = Queue::starting_after(last);
        self.reached.store(last.as_u64(), Ordering::Release);
        self.available.store(!state.ended, Ordering::Release);
    }

    /// Lets the thread end after what is queued now. The engine does not go to work again.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.work.notify_one();
    }

    /// Gives the engine back, to be used by whoever comes next. Changes are refused from here on.
    pub(super) fn take_engine(&self) -> Box<dyn Engine> {
        self.end();
        let mut engine = self.lock_engine();
        self.available.store(false, Ordering::Release);
        std::mem::replace(&mut *engine, Box::new(Gone))
    }

    /// Queues commits for the thread.
    fn enqueue(&self, commits: &mut Vec<Commit>, calls: &[usize]) -> Result<(), EngineError> {
        let mut state = self.lock();
        if !self.is_available() {
            return Err(EngineError::Closed);
        }
        state.queue.push(commits, calls);
        self.note_load(&state);
        let idle = !state.committing;
        drop(state);
        if idle {
            self.work.notify_one();
        }
        Ok(())
    }

    /// Makes commits durable here and now.
    fn commit(&self, commits: &[Commit], settled: &mut Settled) -> Result<(), EngineError> {
        let mut engine = self.lock_engine();
        if !self.is_available() {
            return Err(EngineError::Closed);
        }
        let outcome = engine.commit(commits);
        let mut state = self.lock();
        if outcome.is_ok() {
            for commit in commits {
                state.mark.mark(commit.seq);
            }
            let reached = state.mark.reached();
            self.reached.store(reached.as_u64(), Ordering::Release);
            state.waiting.release(reached, &mut settled.leaving);
        } else {
            self.available.store(false, Ordering::Release);
            state.waiting.release(EVERYTHING, &mut settled.lost);
        }
        self.note_load(&state);
        outcome
    }

    /// Lets messages leave, or keeps them until they may.
    fn admit(&self, worker: usize, sends: &mut Vec<Send>, settled: &mut Settled) {
        let reached = self.reached.load(Ordering::Acquire);
        if sends.iter().all(|send| send.after.as_u64() <= reached) {
            if settled.leaving.is_empty() {
                // As nearly always: they are large, and stay where they are.
                std::mem::swap(&mut settled.leaving, sends);
            } else {
                settled.leaving.append(sends);
            }
            return;
        }
        let mut state = self.lock();
        let reached = state.mark.reached();
        // A message does not leave before an earlier one that waits longer.
        let mut after = CommitSeq::NOTHING;
        for send in sends.drain(..) {
            if send.after <= reached {
                settled.leaving.push(send);
                continue;
            }
            after = after.max(send.after);
            if self.is_available() && !state.waiting.is_full() {
                state.waiting.keep(worker, after, send);
            } else {
                settled.lost.push(send);
            }
        }
        self.note_load(&state);
    }

    /// Waits for commits that may be made durable together and puts them into the empty `batch`; false after
    /// [`Committer::end`].
    fn next_batch(&self, pace: &mut Pace, batch: &mut Vec<Commit>) -> bool {
        let mut state = self.lock();
        loop {
            if state.queue.is_ready()
                && !state.ended
                && let Some(pause) = pace.pause(Instant::now())
            {
                // Those who come meanwhile need not wake this thread.
                state.committing = true;
                drop(state);
                thread::sleep(pause);
                state = self.lock();
            }
            state.queue.take(batch);
            state.committing = !batch.is_empty();
            self.note_load(&state);
            if state.committing {
                return true;
            }
            if state.is_settled() {
                self.settled.notify_waiters();
            }
            if state.ended {
                return false;
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Everything up to `last` is durable.
    fn reach(&self, last: CommitSeq) {
        let mut state = self.lock();
        // If it was closed meanwhile, what waited was given up.
        if self.is_available() {
            state.mark = Watermark::starting_at(last);
            self.reached.store(last.as_u64(), Ordering::Release);
            state.waiting.give_back(last, Waited::Leaves);
        }
        self.conclude(state);
    }

    /// Wakes workers that have something to take back.
    fn conclude(&self, state: MutexGuard<'_, State>) {
        self.note_load(&state);
        let workers: Vec<usize> = state.waiting.workers_to_wake().collect();
        drop(state);
        for returned in workers.into_iter().filter_map(|worker| self.returned.get(worker)) {
            returned.notify_one();
        }
        self.settled.notify_waiters();
    }

    fn note_load(&self, state: &State) {
        let full = state.queue.is_full() || state.waiting.is_full();
        self.full.store(full, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_engine(&self) -> MutexGuard<'_, Box<dyn Engine>> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_settled(&self) -> bool {
        !self.committing && self.queue.is_empty() && self.waiting.is_empty()
    }
}

/// How many batches are made durable in a time: under load each has the more commits in it.
///
/// On a fast disk a sync is over before much has gathered, and then what it costs this and other threads to be
/// put to sleep and woken is more than all else that a commit costs.
#[derive(Debug)]
struct Pace {
    /// When all batches so far would be over, were each [`BATCHES_APART`] after the one before.
    spent_until: Instant,
}

impl Pace {
    const fn starting(now: Instant) -> Self {
        Self { spent_until: now }
    }

    /// Counts a batch that is to be made durable now, and returns how long it is to wait, if it is.
    fn pause(&mut self, now: Instant) -> Option<Duration> {
        self.spent_until = self.spent_until.max(now) + BATCHES_APART;
        let early = self.spent_until.saturating_duration_since(now);
        early.checked_sub(BATCHES_APART * BATCHES_AT_ONCE).filter(|pause| !pause.is_zero())
    }
}

/// In the place of an engine that was given back.
struct Gone;

impl Engine for Gone {
    fn commit(&mut self, _: &[Commit]) -> Result<(), EngineError> {
        Err(EngineError::Closed)
    }

    fn replay(&mut self, _: &Each<'_>) -> Result<CommitSeq, ReplayError> {
        Err(EngineError::Closed.into())
    }

    fn approximate_len(&self) -> u64 {
        0
    }

    fn waits(&self) -> bool {
        false
    }

    fn reader(&self) -> Arc<dyn Reader> {
        Arc::new(Self)
    }
}

impl Reader for Gone {
    fn page(
        &self,
        _: RecordKind,
        _: Option<&[u8]>,
        _: usize,
    ) -> Result<Vec<OwnedRecord>, EngineError> {
        Err(EngineError::Closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        outbox::{Flow, Message, Transport},
        store::{MemoryEngine, Mutations},
    };

    /// Fails while told to.
    struct Failing {
        engine: MemoryEngine,
        commits_left: usize,
        waits: bool,
    }

    impl Engine for Failing {
        fn commit(&mut self, commits: &[Commit]) -> Result<(), EngineError> {
            let left = self.commits_left.checked_sub(1);
            self.commits_left = left.ok_or_else(|| EngineError::Medium("no space".to_owned()))?;
            self.engine.commit(commits)
        }

        fn replay(&mut self, each: &Each<'_>) -> Result<CommitSeq, ReplayError> {
            self.engine.replay(each)
        }

        fn approximate_len(&self) -> u64 {
            self.engine.approximate_len()
        }

        fn waits(&self) -> bool {
            self.waits
        }

        fn reader(&self) -> Arc<dyn Reader> {
            self.engine.reader()
        }
    }

    fn send(after: u64) -> Send {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 5060));
        let flow =
            Flow { transport: Transport::Udp, local: address, remote: address, connection: 0 };
        let message = Message::Sip { flow, octets: bytes::Bytes::new() };
        Send { after: CommitSeq::from_u64(after), step: None, message }
    }

    /// For two workers.
    fn committer(commits_left: usize, waits: bool) -> Committer {
        let engine = MemoryEngine::default();
        let committer = Committer::new(Box::new(Failing { engine, commits_left, waits }), 2);
        let highest = committer.replay(&|_| Ok(())).unwrap();
        committer.resume(highest);
        committer
    }

    /// Submits a call as the worker 0; what leaves at once, what is lost, and how the commit went.
    fn submit(
        committer: &Committer,
        commits: &[u64],
        sends: &[u64],
    ) -> (Vec<u64>, Vec<u64>, Result<(), EngineError>) {
        let commit =
            |seq: &u64| Commit { seq: CommitSeq::from_u64(*seq), mutations: Mutations::new() };
        let mut settled = Settled::default();
        let done = Done {
            commits: &mut commits.iter().map(commit).collect(),
            calls: &mut Vec::from([commits.len()]),
            sends: &mut sends.iter().copied().map(send).collect(),
        };
        let outcome = committer.submit(0, done, &mut settled);
        let numbers = |sends: &[Send]| sends.iter().map(|send| send.after.as_u64()).collect();
        (numbers(&settled.leaving), numbers(&settled.lost), outcome)
    }

    /// What the worker 0 gets back: what leaves, and what is lost.
    fn returned(committer: &Committer) -> (Vec<u64>, Vec<u64>) {
        let mut returned = Vec::new();
        committer.take_returned(0, &mut returned);
        committer.done_with(returned.len());
        let (mut leaves, mut lost) = (Vec::new(), Vec::new());
        for waited in returned {
            match waited {
                Waited::Leaves(send) => leaves.push(send.after.as_u64()),
                Waited::Lost(send) => lost.push(send.after.as_u64()),
            }
        }
        (leaves, lost)
    }

    /// Runs what is queued, as the thread would; how it went.
    fn run_once(committer: &Committer) -> Vec<(usize, Result<(), EngineError>)> {
        let mut done = Vec::new();
        committer.end();
        committer.run(|commits, _, outcome| done.push((commits, outcome)));
        committer.lock().ended = false;
        done
    }

    #[test]
    fn only_under_load_are_batches_apart() {
        let mut now = Instant::now();
        let mut pace = Pace::starting(now);
        let mut pauses = |gap, batches| -> Duration {
            let pauses = (0..batches).filter_map(|_| {
                now += gap;
                let pause = pace.pause(now)?;
                now += pause;
                Some(pause)
            });
            pauses.sum()
        };
        assert_eq!(pauses(BATCHES_APART, 1_000), Duration::ZERO);
        assert_eq!(pauses(Duration::ZERO, BATCHES_AT_ONCE - 1), Duration::ZERO);
        assert_eq!(pauses(Duration::ZERO, 1_000), 1_000 * BATCHES_APART);
        assert_eq!(pauses(Duration::from_secs(1), 1), Duration::ZERO);
        assert_eq!(pauses(Duration::ZERO, BATCHES_AT_ONCE - 1), Duration::ZERO);
    }

    #[test]
    fn a_message_waits_until_every_commit_before_it_is_durable() {
        let committer = committer(usize::MAX, false);
        assert_eq!(submit(&committer, &[], &[0, 2]), (vec![0], vec![], Ok(())));
        assert_eq!(submit(&committer, &[2], &[2]), (vec![], vec![], Ok(())));
        assert_eq!(submit(&committer, &[1], &[]), (vec![2, 2], vec![], Ok(())));
        assert_eq!(submit(&committer, &[], &[2]), (vec![2], vec![], Ok(())));
    }

    #[test]
    fn after_a_failed_commit_nothing_leaves_that_relies_on_it_until_a_reload() {
        let committer = committer(1, false);
        submit(&committer, &[1], &[]).2.unwrap();
        assert_eq!(submit(&committer, &[], &[2]), (vec![], vec![], Ok(())));
        let (leaving, lost, outcome) = submit(&committer, &[2], &[1, 2]);
        assert!(matches!(outcome, Err(EngineError::Medium(_))));
        assert_eq!((leaving, lost), (vec![1], vec![2, 2]), "whoever waits for it is to be told");
        assert!(!committer.is_available());
        assert_eq!(submit(&committer, &[3], &[3]), (vec![], vec![3], Err(EngineError::Closed)));

        committer.lock_engine().replay(&|_| Ok(())).unwrap();
        committer.resume(CommitSeq::from_u64(3));
        assert!(committer.is_available());
        // What waited for the failed commit was dropped, not released.
        assert_eq!(submit(&committer, &[], &[4]), (vec![], vec![], Ok(())));
    }

    #[test]
    fn with_a_thread_what_waited_goes_back_to_its_worker_in_its_order() {
        let committer = committer(usize::MAX, true);
        assert_eq!(submit(&committer, &[2, 3], &[0, 3, 2]), (vec![0], vec![], Ok(())));
        assert!(run_once(&committer).is_empty(), "1 is missing");
        assert_eq!(returned(&committer), (vec![], vec![]));
        assert_eq!(submit(&committer, &[1], &[1]), (vec![], vec![], Ok(())));
        assert_eq!(run_once(&committer), [(3, Ok(()))], "one commit for all");
        assert!(!committer.lock().is_settled());
        assert_eq!(returned(&committer), (vec![1, 3, 2], vec![]));
        assert!(committer.lock().is_settled());
        assert_eq!(submit(&committer, &[], &[3]), (vec![3], vec![], Ok(())));
    }

    #[test]
    fn with_a_thread_a_failure_loses_what_is_queued_and_what_waits() {
        let committer = committer(1, true);
        submit(&committer, &[1], &[1]).2.unwrap();
        assert_eq!(run_once(&committer), [(1, Ok(()))]);
        submit(&committer, &[2, 3], &[2]).2.unwrap();
        submit(&committer, &[5], &[5]).2.unwrap();
        let done = run_once(&committer);
        assert!(matches!(done[..], [(2, Err(EngineError::Medium(_)))]), "{done:?}");
        assert_eq!(returned(&committer), (vec![1], vec![2, 5]));
        assert_eq!(submit(&committer, &[4], &[4]), (vec![], vec![4], Err(EngineError::Closed)));
        assert!(committer.lock().is_settled());

        committer.resume(CommitSeq::from_u64(5));
        committer.lock_engine().replay(&|_| Ok(())).unwrap();
        submit(&committer, &[6], &[6]).2.unwrap();
        assert_eq!(returned(&committer), (vec![], vec![]));
    }
}
