//! From the storage into the roles, and how far that is.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Instant,
};

use indicatif::ProgressBar;

use super::committer::Committer;
use crate::store::{CommitSeq, Each, Record, ReplayError};

/// Records after which the progress bar moves.
const BAR_STEP: u64 = 4_096;

/// How far the records of a system are loaded.
#[derive(Debug)]
pub(super) struct Loading {
    /// From the start on, and again from a failure on, until the roles are at work.
    is_over: AtomicBool,
    records: AtomicU64,
    of: AtomicU64,
    bar: ProgressBar,
}

/// How many records have been loaded.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
pub(super) struct Progress {
    /// So many.
    pub(super) records: u64,
    /// Of about so many.
    pub(super) of: u64,
}

impl Loading {
    /// Nothing is loaded yet; shown by `bar`.
    pub(super) fn new(bar: ProgressBar) -> Self {
        let zero = || AtomicU64::new(0);
        Self { is_over: AtomicBool::new(false), records: zero(), of: zero(), bar }
    }

    /// How far it is, unless it is over.
    pub(super) fn progress(&self) -> Option<Progress> {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let is_over = self.is_over.load(Ordering::Acquire);
        (!is_over).then(|| Progress { records: of(&self.records), of: of(&self.of) })
    }

    /// Replays what is stored to `each`.
    ///
    /// # Errors
    ///
    /// [`ReplayError`]; what was given to `each` is of no use then.
    pub(super) fn replay(
        &self,
        system: &str,
        committer: &Committer,
        each: &Each<'_>,
    ) -> Result<CommitSeq, ReplayError> {
        let began = Instant::now();
        let of = committer.approximate_len();
        self.records.store(0, Ordering::Relaxed);
        self.of.store(of, Ordering::Relaxed);
        self.is_over.store(false, Ordering::Release);
        self.bar.set_length(of);
        let counted = |record: Record<'_>| {
            let before = self.records.fetch_add(1, Ordering::Relaxed);
            if before.is_multiple_of(BAR_STEP) {
                self.bar.set_position(before);
            }
            each(record)
        };
        let replayed = committer.replay(&counted);
        self.bar.finish_and_clear();
        let records = self.records.load(Ordering::Relaxed);
        if replayed.is_ok() {
            tracing::info!(system, records, took = ?began.elapsed(), "the stored state is loaded");
        }
        replayed
    }

    /// The roles are at work.
    pub(super) fn finish(&self) {
        self.is_over.store(true, Ordering::Release);
    }
}
