//! How a numbered step of a procedure is named: in doc comments, test names, traces, logs, ladders.

use std::fmt;

/// A procedure of the specification texts.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Procedure {
    /// Connectivity to the partner MC system for migration (TR 23.781 solution 2), 25 steps.
    Migration,
    /// Exchange of initial MC service UE configuration data between administrators (TR 23.700-38), 17 steps.
    ConfigurationExchange,
    /// Provision of interconnection group IDs (TR 23.700-38), 14 steps, three of them with two parts.
    GroupProvision,
    /// Update of the initial configuration of migrating users (TS 23.280 10.17.6), 10 steps.
    ConfigurationUpdate,
    /// Migration without interconnection (TR 23.700-90), 2 steps.
    IsolatedMigration,
}

impl Procedure {
    /// The prefix of the procedure's step labels.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Migration => "MIG",
            Self::ConfigurationExchange => "XCFG",
            Self::GroupProvision => "GRP",
            Self::ConfigurationUpdate => "UPD",
            Self::IsolatedMigration => "ISO",
        }
    }
}

/// A part of a step that the specification text gives a letter.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Part {
    /// The first.
    A,
    /// The second.
    B,
}

impl Part {
    /// Its letter.
    pub const fn letter(self) -> char {
        match self {
            Self::A => 'a',
            Self::B => 'b',
        }
    }
}

/// One numbered step of a procedure; displays as its label and part, such as `MIG-15` or `GRP-4a`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Step {
    /// The procedure the step belongs to.
    pub procedure: Procedure,
    /// The number that the specification text gives it, from 1.
    pub number: u8,
    /// The part, where the step has several.
    pub part: Option<Part>,
}

impl Step {
    /// A step of the migration procedure.
    pub const fn mig(number: u8) -> Self {
        Self { procedure: Procedure::Migration, number, part: None }
    }

    /// A step of the exchange of initial configurations.
    pub const fn xcfg(number: u8) -> Self {
        Self { procedure: Procedure::ConfigurationExchange, number, part: None }
    }

    /// A step of the provision of interconnection group IDs.
    pub const fn grp(number: u8, part: Option<Part>) -> Self {
        Self { procedure: Procedure::GroupProvision, number, part }
    }

    /// A step of the update of initial configurations.
    pub const fn upd(number: u8) -> Self {
        Self { procedure: Procedure::ConfigurationUpdate, number, part: None }
    }

    /// A step of migration without interconnection.
    pub const fn iso(number: u8) -> Self {
        Self { procedure: Procedure::IsolatedMigration, number, part: None }
    }

    /// The label without the part, such as `GRP-4`.
    pub fn label(self) -> String {
        format!("{}-{}", self.procedure.label(), self.number)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.procedure.label(), self.number)?;
        self.part.map_or(Ok(()), |part| write!(f, "{}", part.letter()))
    }
}
