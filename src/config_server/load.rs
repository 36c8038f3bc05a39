//! From stored records to tables, at start and after a failed commit.

use std::{collections::BTreeMap, str::FromStr, sync::Arc};

use super::{
    ConfigServer,
    agreement::{AgreementRecord, HeldAgreement},
    system_configuration::HeldConfiguration,
    user::HeldUser,
    user_profile::HeldProfile,
};
use crate::{
    api::{
        configuration::{ConfigurationVersion, ProfileKey, StoredProfile, User},
        connection_details::SystemConfiguration,
    },
    identity::McSystemId,
    store::{CommitSeq, Record, RecordError, RecordKind, decode},
};

impl ConfigServer {
    /// Takes one stored record in; kinds of other roles are ignored.
    ///
    /// # Errors
    ///
    /// [`RecordError`] when a record cannot be read: the storage is not this build's or is damaged.
    #[expect(clippy::wildcard_enum_match_arm, reason = "kinds of other roles")]
    pub fn load(&self, record: &Record<'_>) -> Result<(), RecordError> {
        let version = record.version;
        match record.kind {
            RecordKind::User => {
                let user: User = decode(record.value)?;
                let name = user.mc_service_id.clone();
                self.users.insert(name, HeldUser { user, version, ending: false });
                self.users_bound.take_loaded();
            }
            RecordKind::Agreement => {
                let stored: AgreementRecord = decode(record.value)?;
                let key = stored.agreement.key.clone();
                self.agreements.insert(key, HeldAgreement::stored(stored, version));
                self.agreements_bound.take_loaded();
            }
            RecordKind::SystemConfiguration => {
                let configuration: SystemConfiguration = decode(record.value)?;
                self.load_configuration(system_of(record)?, configuration, version);
            }
            RecordKind::SystemConfigurationVersion => {
                self.load_version(decode(record.value)?, version);
            }
            RecordKind::UserProfile => {
                let key = ProfileKey::from_record_key(record.key).ok_or(RecordError::Damaged)?;
                let profile: StoredProfile = decode(record.value)?;
                if profile.profile.service() != key.service {
                    return Err(RecordError::Damaged);
                }
                self.profiles.insert(key, HeldProfile { profile, version });
                self.profiles_bound.take_loaded();
            }
            _ => {}
        }
        Ok(())
    }

    fn load_configuration(
        &self,
        system: McSystemId,
        configuration: SystemConfiguration,
        version: CommitSeq,
    ) {
        let versions = BTreeMap::new();
        let loaded = HeldConfiguration { configuration: configuration.clone(), version, versions };
        let mut held = self.configurations.entry(system).or_insert(loaded);
        held.configuration = configuration;
        held.version = held.version.max(version);
    }

    /// Takes a version in. What is in force is stored by itself, and may be loaded later.
    fn load_version(&self, loaded: ConfigurationVersion, version: CommitSeq) {
        let ConfigurationVersion { system, revision, sip_core, document, .. } = loaded.clone();
        let configuration = SystemConfiguration { revision, sip_core, document };
        let versions = BTreeMap::new();
        let newly = HeldConfiguration { configuration, version, versions };
        let mut held = self.configurations.entry(system).or_insert(newly);
        held.versions.insert(revision, Arc::new(loaded));
        held.version = held.version.max(version);
    }

    /// Forgets everything stored, before it is loaded again after a failed commit, and all requests: the
    /// world closes the connections of those who wait.
    pub fn clear(&self) {
        self.users.clear();
        self.agreements.clear();
        self.configurations.clear();
        self.profiles.clear();
        self.pending.clear();
        self.under_way.clear();
        for bound in
            [&self.users_bound, &self.agreements_bound, &self.profiles_bound, &self.pending_bound]
        {
            bound.reset();
        }
        self.removed.reset();
    }
}

fn system_of(record: &Record<'_>) -> Result<McSystemId, RecordError> {
    let text = str::from_utf8(record.key).map_err(|_| RecordError::Damaged)?;
    McSystemId::from_str(text).map_err(|_| RecordError::Damaged)
}
