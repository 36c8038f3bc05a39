//! Small concurrent helpers of the role: a counted maximum, a high-water mark, locks that outlive a panic.

use std::sync::{
    Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use crate::store::CommitSeq;

/// How many entries a table has and may have. Counted apart, because the length of a sharded table
/// is found only by locking all of it.
#[derive(Debug)]
pub(super) struct Bound {
    used: AtomicUsize,
    max: usize,
}

impl Bound {
    pub(super) const fn new(max: usize) -> Self {
        Self { used: AtomicUsize::new(0), max }
    }

    /// Takes one place, or none if all are taken.
    pub(super) fn take(&self) -> bool {
        self.take_many(1)
    }

    /// Takes `count` places or none.
    pub(super) fn take_many(&self, count: usize) -> bool {
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(count).filter(|sum| *sum <= self.max)
            })
            .is_ok()
    }

    /// Whether `count` places are free now.
    pub(super) fn has_room(&self, count: usize) -> bool {
        let used = self.used.load(Ordering::Relaxed);
        used.checked_add(count).is_some_and(|sum| sum <= self.max)
    }

    /// Takes one place even beyond the maximum: for what is stored already.
    pub(super) fn take_loaded(&self) {
        self.used.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives one place back.
    pub(super) fn give(&self) {
        self.used.fetch_sub(1, Ordering::Relaxed);
    }

    /// Gives all places back.
    pub(super) fn reset(&self) {
        self.used.store(0, Ordering::Relaxed);
    }
}

/// The highest of some commit numbers.
#[derive(Debug, Default)]
pub(super) struct Mark(AtomicU64);

impl Mark {
    /// Raises the mark to `seq` unless it is higher.
    pub(super) fn raise(&self, seq: CommitSeq) {
        self.0.fetch_max(seq.as_u64(), Ordering::AcqRel);
    }

    pub(super) fn get(&self) -> CommitSeq {
        CommitSeq::from_u64(self.0.load(Ordering::Acquire))
    }

    /// Forgets: everything up to here is durable or gone.
    pub(super) fn reset(&self) {
        self.0.store(0, Ordering::Release);
    }
}

/// Locks; a panic elsewhere must not stop this worker too.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Locks for reading.
pub(super) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// Locks for writing.
pub(super) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
