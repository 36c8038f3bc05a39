//! Makes commits durable and holds back the messages that rely on them.
//!
//! The engine runs inline: for one in memory a thread hop would cost more than the commit. One that
//! syncs to a disk takes the queued commits of all workers at a time behind the same interface.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crate::{
    outbox::Send,
    store::{Commit, CommitSeq, Each, Engine, EngineError, Reader, ReplayError, Watermark},
};

/// Most messages that wait for a commit at a time; further ones are dropped, as if lost on the wire.
pub(super) const WAITING_MESSAGES_MAX: usize = 65_536;

/// The one owner of a system's storage engine.
pub(super) struct Committer {
    inner: Mutex<Inner>,
    /// A copy of the watermark, to be read without the lock.
    reached: AtomicU64,
    available: AtomicBool,
}

struct Inner {
    engine: Box<dyn Engine>,
    mark: Watermark,
    waiting: BTreeMap<CommitSeq, Vec<Send>>,
    waiting_messages: usize,
}

/// What became of a message that was to leave after a commit.
#[derive(Debug)]
pub(super) enum Admission {
    /// Everything it relies on is durable.
    Leave(Send),
    /// It is kept until it may leave.
    Kept,
    /// It relies on a commit that failed, or too many messages wait.
    Dropped(Send),
}

/// Commits that are not durable, and the messages that will never leave because of it.
#[derive(Debug)]
pub(super) struct CommitFailed {
    pub(super) error: EngineError,
    pub(super) dropped: Vec<Send>,
}

impl Committer {
    /// Takes the engine over and replays it.
    ///
    /// # Errors
    ///
    /// [`ReplayError`] when what is stored cannot be read or used.
    pub(super) fn open(
        mut engine: Box<dyn Engine>,
        each: &Each<'_>,
    ) -> Result<(Self, CommitSeq), ReplayError> {
        let highest = engine.replay(each)?;
        let inner = Inner {
            engine,
            mark: Watermark::starting_at(highest),
            waiting: BTreeMap::new(),
            waiting_messages: 0,
        };
        let committer = Self {
            inner: Mutex::new(inner),
            reached: AtomicU64::new(highest.as_u64()),
            available: AtomicBool::new(true),
        };
        Ok((committer, highest))
    }

    /// Whether the engine takes changes.
    pub(super) fn is_available(&self) -> bool {
        self.available.load(Ordering::Acquire)
    }

    /// Makes `commits` durable and returns the messages that may leave now because of it.
    ///
    /// # Errors
    ///
    /// [`CommitFailed`] with every message that waited: the engine takes no changes until
    /// [`Committer::resume`].
    pub(super) fn commit(&self, commits: &[Commit]) -> Result<Vec<Send>, CommitFailed> {
        let mut inner = self.lock();
        if !self.is_available() {
            return Err(CommitFailed { error: EngineError::Closed, dropped: Vec::new() });
        }
        if let Err(error) = inner.engine.commit(commits) {
            self.available.store(false, Ordering::Release);
            inner.waiting_messages = 0;
            let waiting = std::mem::take(&mut inner.waiting);
            return Err(CommitFailed { error, dropped: waiting.into_values().flatten().collect() });
        }
        for commit in commits {
            inner.mark.mark(commit.seq);
        }
        self.reached.store(inner.mark.reached().as_u64(), Ordering::Release);
        Ok(inner.release())
    }

    /// Lets `send` leave, or keeps it until it may.
    pub(super) fn admit(&self, send: Send) -> Admission {
        if send.after.as_u64() <= self.reached.load(Ordering::Acquire) {
            return Admission::Leave(send);
        }
        let mut inner = self.lock();
        if send.after <= inner.mark.reached() {
            return Admission::Leave(send);
        }
        if !self.is_available() || inner.waiting_messages >= WAITING_MESSAGES_MAX {
            return Admission::Dropped(send);
        }
        inner.waiting_messages += 1;
        inner.waiting.entry(send.after).or_default().push(send);
        Admission::Kept
    }

    /// Opens the engine again after a failure and replays it; changes are still refused.
    ///
    /// # Errors
    ///
    /// [`ReplayError`] when it does not open yet.
    pub(super) fn replay(&self, each: &Each<'_>) -> Result<(), ReplayError> {
        self.lock().engine.replay(each).map(drop)
    }

    /// Takes changes again, from roles that hold what [`Committer::replay`] gave. No role may be in a
    /// call, and none of their commits outstanding: everything up to `last` has failed or is replayed.
    pub(super) fn resume(&self, last: CommitSeq) {
        let mut inner = self.lock();
        inner.mark = Watermark::starting_at(last);
        self.reached.store(last.as_u64(), Ordering::Release);
        self.available.store(true, Ordering::Release);
    }

    /// Gives the engine back, to be used by whoever comes next. Changes are refused from here on.
    pub(super) fn take_engine(&self) -> Box<dyn Engine> {
        let mut inner = self.lock();
        self.available.store(false, Ordering::Release);
        std::mem::replace(&mut inner.engine, Box::new(Gone))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Takes out the messages that the watermark has reached.
    fn release(&mut self) -> Vec<Send> {
        let mut released = Vec::new();
        while let Some(entry) = self.waiting.first_entry() {
            if *entry.key() > self.mark.reached() {
                break;
            }
            released.append(&mut entry.remove());
        }
        self.waiting_messages -= released.len();
        released
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

    fn reader(&self) -> Option<Arc<dyn Reader>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        outbox::{Flow, Message, Transport},
        store::MemoryEngine,
    };

    /// Fails while told to.
    struct Failing {
        engine: MemoryEngine,
        commits_left: usize,
    }

    impl Engine for Failing {
        fn commit(&mut self, commits: &[Commit]) -> Result<(), EngineError> {
            let left = self.commits_left.checked_sub(1);
            self.commits_left = left.ok_or_else(|| EngineError::Medium("no space".to_owned()))?;
            self.engine.commit(commits)
        }

        fn replay(&mut self, each: &Each<'_>) -> Result<CommitSeq, ReplayError> {
            self.commits_left = usize::MAX;
            self.engine.replay(each)
        }

        fn approximate_len(&self) -> u64 {
            self.engine.approximate_len()
        }

        fn waits(&self) -> bool {
            false
        }

        fn reader(&self) -> Option<Arc<dyn Reader>> {
            None
        }
    }

    fn commit(seq: u64) -> Commit {
        Commit { seq: CommitSeq::from_u64(seq), mutations: Vec::new() }
    }

    fn send(after: u64) -> Send {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 5060));
        let flow =
            Flow { transport: Transport::Udp, local: address, remote: address, connection: 0 };
        let message = Message::Sip { flow, octets: bytes::Bytes::new() };
        Send { after: CommitSeq::from_u64(after), step: None, message }
    }

    fn committer(commits_left: usize) -> Committer {
        let failing = Failing { engine: MemoryEngine::default(), commits_left };
        let (committer, _) = Committer::open(Box::new(failing), &|_| Ok(())).unwrap();
        // Opening replays, which mends; the failure is to come after it.
        committer.lock().engine =
            Box::new(Failing { engine: MemoryEngine::default(), commits_left });
        committer
    }

    #[test]
    fn a_message_waits_until_every_commit_before_it_is_durable() {
        let committer = committer(usize::MAX);
        assert!(matches!(committer.admit(send(0)), Admission::Leave(_)));
        assert!(matches!(committer.admit(send(2)), Admission::Kept));
        assert!(committer.commit(&[commit(2)]).unwrap().is_empty());
        assert!(matches!(committer.admit(send(2)), Admission::Kept));
        assert_eq!(committer.commit(&[commit(1)]).unwrap().len(), 2);
        assert!(matches!(committer.admit(send(2)), Admission::Leave(_)));
    }

    #[test]
    fn after_a_failed_commit_nothing_leaves_that_relies_on_it_until_a_reload() {
        let committer = committer(1);
        committer.commit(&[commit(1)]).unwrap();
        assert!(matches!(committer.admit(send(2)), Admission::Kept));
        let failed = committer.commit(&[commit(2)]).unwrap_err();
        assert!(matches!(failed.error, EngineError::Medium(_)));
        assert_eq!(failed.dropped.len(), 1, "whoever waits for it is to be told");
        assert!(!committer.is_available());
        let failed = committer.commit(&[commit(3)]).unwrap_err();
        assert_eq!((failed.error, failed.dropped.len()), (EngineError::Closed, 0));
        assert!(matches!(committer.admit(send(2)), Admission::Dropped(_)));
        assert!(matches!(committer.admit(send(1)), Admission::Leave(_)));

        committer.replay(&|_| Ok(())).unwrap();
        committer.resume(CommitSeq::from_u64(3));
        assert!(committer.is_available());
        assert!(matches!(committer.admit(send(4)), Admission::Kept));
        // What waited for the failed commit was dropped, not released.
        assert_eq!(committer.commit(&[commit(4)]).unwrap().len(), 1);
    }
}
