//! The watchdog of one connection (RFC 3539 section 3.4.1), from state OKAY on.
//!
//! States INITIAL and REOPEN are left out: a new connection is open after its capabilities exchange.

use std::time::Duration;

use super::election::jitter;
use crate::{entropy::Entropy, time::Timestamp};

/// The least interval (RFC 3539 section 3.4.1).
const INTERVAL_MIN: Duration = Duration::from_secs(6);
/// The jitter around the interval, both ways.
const JITTER: Duration = Duration::from_secs(2);

/// Tells when to ask whether the peer is still there, and when to give it up.
#[derive(Debug)]
pub(super) struct Watchdog {
    /// Twinit.
    initial: Duration,
    /// Tw: Twinit with jitter, drawn anew at each expiry.
    interval: Duration,
    deadline: Timestamp,
    /// A DWR has no answer yet.
    pending: bool,
    /// State SUSPECT.
    suspect: bool,
}

/// What an expiry asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Expiry {
    /// Send a DWR.
    Ask,
    /// Fail over: no new requests, the pending ones go elsewhere.
    Suspect,
    /// Close the connection.
    GiveUp,
}

impl Watchdog {
    /// Starts in state OKAY. An interval below 6 s counts as 6 s.
    pub(super) fn new(initial: Duration, now: Timestamp, entropy: &mut dyn Entropy) -> Self {
        let initial = initial.max(INTERVAL_MIN);
        let interval = with_jitter(initial, entropy);
        let deadline = now + interval;
        Self { initial, interval, deadline, pending: false, suspect: false }
    }

    /// When to call [`expire`](Self::expire).
    pub(super) const fn deadline(&self) -> Timestamp {
        self.deadline
    }

    /// Whether the connection is in state SUSPECT.
    pub(super) const fn is_suspect(&self) -> bool {
        self.suspect
    }

    /// Takes note of any message of the peer.
    pub(super) fn receive(&mut self, now: Timestamp, is_watchdog_answer: bool) {
        self.suspect = false;
        self.pending &= !is_watchdog_answer;
        self.deadline = now + self.interval;
    }

    /// Handles the expiry of the interval.
    pub(super) fn expire(&mut self, now: Timestamp, entropy: &mut dyn Entropy) -> Expiry {
        self.interval = with_jitter(self.initial, entropy);
        self.deadline = now + self.interval;
        match (self.pending, self.suspect) {
            (_, true) => Expiry::GiveUp,
            (true, false) => {
                self.suspect = true;
                Expiry::Suspect
            }
            (false, false) => {
                self.pending = true;
                Expiry::Ask
            }
        }
    }
}

fn with_jitter(initial: Duration, entropy: &mut dyn Entropy) -> Duration {
    jitter(initial.saturating_sub(JITTER), initial + JITTER, entropy)
}
