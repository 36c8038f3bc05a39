//! The clock of one process.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::time::Timestamp;

/// Tells the time as roles want it: since the Unix epoch, never going back.
///
/// It takes the wall clock once and goes on monotonically; a step of the wall clock takes effect at
/// the next start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Timestamp,
    origin: Instant,
}

impl Clock {
    /// Starts a clock at the time of the wall clock.
    pub fn start() -> Self {
        Self::start_ahead(Duration::ZERO)
    }

    /// Starts a clock that is ahead of the wall clock: one that tells the time after a long pause.
    pub fn start_ahead(ahead: Duration) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Timestamp::default() + wall + ahead, origin: Instant::now() }
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.started + self.origin.elapsed()
    }
}
