//! Faults that the test suites must be able to catch. Compiled only with the feature `planted-bugs`,
//! and without effect until a test arms one.

use std::sync::atomic::{AtomicU8, Ordering};

/// A fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Bug {
    /// Replies leave before what they rely on is durable.
    ReplyBeforeCommit = 1,
    /// A repeated request is answered from a record that is not durable yet.
    RepeatIgnoresCommit = 2,
    /// Lending checks for a binding and inserts one in two steps.
    CheckThenInsert = 3,
    /// SQNs are reserved in memory, and nothing is committed for them.
    SqnReservedWithoutCommit = 4,
    /// SQN is moved back within the epoch.
    SqnMovedBackInEpoch = 5,
    /// The expiry of a registration removes whatever it finds, also what is newer.
    ExpiryRemovesNewer = 6,
    /// A pair is given back in memory, and nothing is committed for it.
    ReleaseWithoutCommit = 7,
    /// A listed pair that comes back is lent again at once.
    QuarantineSkipped = 8,
}

static ARMED: AtomicU8 = AtomicU8::new(0);

impl Bug {
    /// The fault of this name, as the environment variable `MIGCORE_PLANTED` gives it to a process.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "reply-before-commit" => Some(Self::ReplyBeforeCommit),
            "repeat-ignores-commit" => Some(Self::RepeatIgnoresCommit),
            "check-then-insert" => Some(Self::CheckThenInsert),
            "sqn-reserved-without-commit" => Some(Self::SqnReservedWithoutCommit),
            "sqn-moved-back-in-epoch" => Some(Self::SqnMovedBackInEpoch),
            "expiry-removes-newer" => Some(Self::ExpiryRemovesNewer),
            "release-without-commit" => Some(Self::ReleaseWithoutCommit),
            "quarantine-skipped" => Some(Self::QuarantineSkipped),
            _ => None,
        }
    }
}

/// Arms one fault, or with `None` disarms.
pub fn arm(bug: Option<Bug>) {
    ARMED.store(bug.map_or(0, |bug| bug as u8), Ordering::SeqCst);
}

/// Whether `bug` is armed.
pub fn is_armed(bug: Bug) -> bool {
    ARMED.load(Ordering::Relaxed) == bug as u8
}
