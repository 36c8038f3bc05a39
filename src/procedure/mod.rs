//! The numbered procedures of the specification texts, as data.
//!
//! A row says what a step is, where in this crate it is performed and which test shows it. Roles
//! report the steps they perform through the outbox, and tests hold the report against the table, so
//! no step can be lost without notice.

pub mod configuration_exchange;
pub mod configuration_update;
pub mod group_provision;
pub mod isolated_migration;
pub mod migration;

use crate::step::Step;

/// An entity of a procedure, by the specification's names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Entity {
    /// The MC service UE: configuration management client and signalling user agent.
    Ue,
    /// The configuration management server of the primary MC system.
    PrimaryConfigServer,
    /// The SIP database of the primary MC system.
    PrimarySipDatabase,
    /// The configuration management server of the partner MC system.
    PartnerConfigServer,
    /// The SIP database of the partner MC system.
    PartnerSipDatabase,
    /// The SIP core of the partner MC system.
    PartnerSipCore,
    /// The identity management server of the partner MC system.
    PartnerIdentityServer,
    /// The authorised user of the primary MC system: of the one whose administrator began the transaction.
    PrimaryAdministrator,
    /// The ACM client of that user.
    PrimaryAcmClient,
    /// The ACM server of the primary MC system.
    PrimaryAcmServer,
    /// The ACM server of the partner MC system.
    PartnerAcmServer,
    /// The ACM client of the partner's user.
    PartnerAcmClient,
    /// The authorised user of the partner MC system, who decides.
    PartnerAdministrator,
}

/// One row of a procedure's table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The step's label.
    pub step: Step,
    /// Who performs it.
    pub by: Entity,
    /// Whom its message goes to; `None` where the step is an action of its entity alone.
    pub to: Option<Entity>,
    /// What happens, in a few words of ours.
    pub what: &'static str,
    /// Where it is performed: path below `src/` and function name.
    pub function: &'static str,
    /// The name of the test that asserts the step's state change or message.
    pub test: &'static str,
}
