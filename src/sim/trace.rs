//! What happened in a simulated world, line by line: the same for the same seed.

use std::fmt;

use crate::time::Timestamp;

/// The record of a run.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Trace {
    lines: Vec<Line>,
}

/// One thing that happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// When.
    pub at: Timestamp,
    /// To or by whom.
    pub who: Who,
    /// What, without identities.
    pub what: String,
}

/// Whom a line is about.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Who {
    /// The world itself: faults.
    World,
    /// An MC system.
    System(super::SystemId),
    /// A UE, by number.
    Ue(usize),
}

impl Trace {
    pub(super) fn add(&mut self, at: Timestamp, who: Who, what: String) {
        self.lines.push(Line { at, who, what });
    }

    /// All lines, oldest first.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The last `count` lines as text.
    pub fn tail(&self, count: usize) -> String {
        let from = self.lines.len().saturating_sub(count);
        let tail: Vec<String> = self.lines.iter().skip(from).map(Line::to_string).collect();
        tail.join("\n")
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.at.since(super::EPOCH).as_micros();
        write!(
            f,
            "{:>9}.{:06} {:<4} {}",
            micros / 1_000_000,
            micros % 1_000_000,
            self.who,
            self.what
        )
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::World => f.pad("-"),
            Self::System(system) => f.pad(system.label()),
            Self::Ue(number) => f.pad(&format!("ue{number}")),
        }
    }
}

/// A short name of octets, so that a trace shows when two runs differ in a single one (FNV-1a).
pub(super) fn digest(octets: &[u8]) -> u32 {
    octets
        .iter()
        .fold(0x811c_9dc5, |hash, octet| (hash ^ u32::from(*octet)).wrapping_mul(0x0100_0193))
}
