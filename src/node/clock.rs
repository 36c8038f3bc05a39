//! The clock of one process.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

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
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Timestamp::default() + wall, origin: Instant::now() }
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.started + self.origin.elapsed()
    }
}
