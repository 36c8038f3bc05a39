//! The highest of the numbers that an answer may rely on without a record to show for it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::CommitSeq;

/// The highest of some commit numbers.
#[derive(Debug, Default)]
pub struct Mark(AtomicU64);

impl Mark {
    /// Raises the mark to `seq` unless it is higher.
    pub fn raise(&self, seq: CommitSeq) {
        self.0.fetch_max(seq.as_u64(), Ordering::AcqRel);
    }

    /// The highest number so far.
    pub fn get(&self) -> CommitSeq {
        CommitSeq::from_u64(self.0.load(Ordering::Acquire))
    }

    /// Forgets: everything up to here is durable or gone.
    pub fn reset(&self) {
        self.0.store(0, Ordering::Release);
    }
}
