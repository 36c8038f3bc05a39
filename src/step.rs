//! How a numbered step of a procedure is named: in doc comments, test names, traces, logs, ladders.

use std::fmt;

/// A procedure of the specification texts.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Procedure {
    /// Connectivity to the partner MC system for migration (TR 23.781 solution 2), 25 steps.
    Migration,
}

impl Procedure {
    /// The prefix of the procedure's step labels.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Migration => "MIG",
        }
    }
}

/// One numbered step of a procedure; displays as its label, such as `MIG-15`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Step {
    /// The procedure the step belongs to.
    pub procedure: Procedure,
    /// The number that the specification text gives it, from 1.
    pub number: u8,
}

impl Step {
    /// A step of the migration procedure.
    pub const fn mig(number: u8) -> Self {
        Self { procedure: Procedure::Migration, number }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.procedure.label(), self.number)
    }
}
