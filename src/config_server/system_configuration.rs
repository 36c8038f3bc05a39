//! What UEs are told of each MC system: of this one, handed to partners in C2, and of partners, for where C2
//! brings none (TR 23.781 solution 2, NOTE 3).

use super::{ConfigServer, Next, Outcome, details::is_usable, rely_on};
use crate::{
    api::{
        configuration::Answer, connection_details::SystemConfiguration, migration_identity::Refusal,
    },
    identity::McSystemId,
    outbox::Context,
    store::{CommitSeq, Mutation, RecordKind},
};

/// A configuration in memory.
#[derive(Debug)]
pub(super) struct HeldConfiguration {
    pub(super) configuration: SystemConfiguration,
    /// The commit that wrote it.
    pub(super) version: CommitSeq,
}

const NOT_FOUND: Refusal = Refusal::NotFound("system configuration");

impl ConfigServer {
    /// Shows what UEs are told of `system`.
    pub(super) fn get_configuration(&self, system: &McSystemId, after: &mut CommitSeq) -> Outcome {
        let held = self.stored_configuration(system, after).ok_or(NOT_FOUND)?;
        Ok(Next::Answer(Answer::SystemConfiguration(held)))
    }

    /// Returns what UEs are told of `system`.
    pub(super) fn stored_configuration(
        &self,
        system: &McSystemId,
        after: &mut CommitSeq,
    ) -> Option<SystemConfiguration> {
        let held = self.configurations.get(system)?;
        rely_on(after, held.version);
        Some(held.configuration.clone())
    }

    /// Says whether a configuration can be put now.
    pub(super) fn check_configuration(
        &self,
        system: &McSystemId,
        configuration: &SystemConfiguration,
        after: &mut CommitSeq,
    ) -> Result<(), Refusal> {
        self.check_describes(system, configuration)?;
        let held = self.configurations.get(system);
        held.map_or(Ok(()), |held| held.check_follows(configuration, after))
    }

    /// Creates or replaces what UEs are told of `system`: as many systems as there are partners, and this
    /// one. The same again is no change.
    pub(super) fn put_configuration(
        &self,
        ctx: &mut Context<'_>,
        system: &McSystemId,
        configuration: &SystemConfiguration,
        after: &mut CommitSeq,
    ) -> Outcome {
        self.check_describes(system, configuration)?;
        let entry = self.configurations.entry(system.clone());
        if let dashmap::Entry::Occupied(held) = &entry {
            held.get().check_follows(configuration, after)?;
            if held.get().configuration == *configuration {
                return Ok(Next::Answer(Answer::Done));
            }
        }
        let put = Mutation::put(RecordKind::SystemConfiguration, system.as_str(), configuration);
        let version = ctx.out.commit([put]);
        entry.insert(HeldConfiguration { configuration: configuration.clone(), version });
        rely_on(after, version);
        Ok(Next::Answer(Answer::Done))
    }

    /// Forgets what UEs are told of `system`.
    pub(super) fn delete_configuration(
        &self,
        ctx: &mut Context<'_>,
        system: &McSystemId,
        after: &mut CommitSeq,
    ) -> Outcome {
        let dashmap::Entry::Occupied(entry) = self.configurations.entry(system.clone()) else {
            return Err(NOT_FOUND);
        };
        let deletion = Mutation::delete(RecordKind::SystemConfiguration, system.as_str());
        let seq = ctx.out.commit([deletion]);
        self.removed.raise(seq);
        entry.remove();
        rely_on(after, seq);
        Ok(Next::Answer(Answer::Done))
    }

    fn check_describes(
        &self,
        system: &McSystemId,
        configuration: &SystemConfiguration,
    ) -> Result<(), Refusal> {
        if *system != self.config.system && self.partner(system).is_none() {
            return Err(Refusal::Invalid("the system is neither this one nor a partner"));
        }
        if !is_usable(configuration) {
            return Err(Refusal::Invalid("sip_core has 1 to 16 addresses"));
        }
        Ok(())
    }
}

impl HeldConfiguration {
    fn check_follows(
        &self,
        next: &SystemConfiguration,
        after: &mut CommitSeq,
    ) -> Result<(), Refusal> {
        rely_on(after, self.version);
        if next.revision > self.configuration.revision || *next == self.configuration {
            Ok(())
        } else {
            Err(Refusal::Invalid("the revision is not higher than the stored one"))
        }
    }
}
