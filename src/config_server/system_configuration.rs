//! What UEs are told of each MC system: of this one, handed to partners in C2, and of partners, for where C2
//! brings none (TR 23.781 solution 2, NOTE 3).
//!
//! Of each system the latest versions are kept, with who brought them into force: what is in force is one of them.

use std::{collections::BTreeMap, sync::Arc};

use super::{ConfigServer, Next, Outcome, VERSIONS_MAX, details::is_usable, rely_on};
use crate::{
    api::{
        configuration::{Answer, ConfigurationVersion, Provenance},
        connection_details::SystemConfiguration,
        migration_identity::Refusal,
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
    /// This version and those before it, by revision. One that was stored before versions were kept is not among them.
    pub(super) versions: BTreeMap<u64, Arc<ConfigurationVersion>>,
}

const NOT_FOUND: Refusal = Refusal::NotFound("system configuration");
const NO_VERSION: Refusal = Refusal::NotFound("version of this system configuration");

impl ConfigServer {
    /// Shows what UEs are told of `system`.
    pub(super) fn get_configuration(&self, system: &McSystemId, after: &mut CommitSeq) -> Outcome {
        let held = self.stored_configuration(system, after).ok_or(NOT_FOUND)?;
        Ok(Next::Answer(Answer::SystemConfiguration(held)))
    }

    /// Shows what UEs are or were told of `system`.
    pub(super) fn get_configuration_version(
        &self,
        system: &McSystemId,
        revision: u64,
        after: &mut CommitSeq,
    ) -> Outcome {
        let held = self.configurations.get(system).ok_or(NOT_FOUND)?;
        rely_on(after, held.version);
        let version = held.version_of(system, revision).ok_or(NO_VERSION)?;
        Ok(Next::Answer(Answer::ConfigurationVersion(Box::new(version))))
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
        provenance: Provenance,
        after: &mut CommitSeq,
    ) -> Outcome {
        self.check_describes(system, configuration)?;
        let entry = self.configurations.entry(system.clone());
        let mut versions = BTreeMap::new();
        let mut mutations =
            vec![Mutation::put(RecordKind::SystemConfiguration, system.as_str(), configuration)];
        if let dashmap::Entry::Occupied(held) = &entry {
            let held = held.get();
            held.check_follows(configuration, after)?;
            if held.configuration == *configuration {
                return Ok(Next::Answer(Answer::Done));
            }
            versions.clone_from(&held.versions);
            if !versions.contains_key(&held.configuration.revision) {
                let before = ConfigurationVersion::new(system, &held.configuration, None);
                mutations.push(keep(&mut versions, before));
            }
        }
        let next = ConfigurationVersion::new(system, configuration, Some(provenance));
        mutations.push(keep(&mut versions, next));
        mutations.extend(drop_oldest(&mut versions));
        let version = ctx.out.commit(mutations);
        let configuration = configuration.clone();
        entry.insert(HeldConfiguration { configuration, version, versions });
        rely_on(after, version);
        Ok(Next::Answer(Answer::Done))
    }

    /// Forgets what UEs are and were told of `system`.
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
        let versions = entry.get().versions.values().map(|version| delete(version));
        let seq = ctx.out.commit(versions.chain([deletion]));
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

/// Adds a version, and returns what makes that durable.
fn keep(
    versions: &mut BTreeMap<u64, Arc<ConfigurationVersion>>,
    version: ConfigurationVersion,
) -> Mutation {
    let key = version.record_key();
    let put = Mutation::put(RecordKind::SystemConfigurationVersion, &key, &version);
    versions.insert(version.revision, Arc::new(version));
    put
}

/// Drops those versions that are too many, and returns what makes that durable.
fn drop_oldest(versions: &mut BTreeMap<u64, Arc<ConfigurationVersion>>) -> Vec<Mutation> {
    let mut deletions = Vec::new();
    while versions.len() > VERSIONS_MAX
        && let Some((_, oldest)) = versions.pop_first()
    {
        deletions.push(delete(&oldest));
    }
    deletions
}

fn delete(version: &ConfigurationVersion) -> Mutation {
    Mutation::delete(RecordKind::SystemConfigurationVersion, &version.record_key())
}

impl HeldConfiguration {
    /// The version of this revision. One that is in force is known, though it is older than what is kept of versions.
    fn version_of(&self, system: &McSystemId, revision: u64) -> Option<ConfigurationVersion> {
        if let Some(version) = self.versions.get(&revision) {
            return Some((**version).clone());
        }
        let is_it = self.configuration.revision == revision;
        is_it.then(|| ConfigurationVersion::new(system, &self.configuration, None))
    }

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
