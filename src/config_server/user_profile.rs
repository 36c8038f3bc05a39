//! User profiles: kept for the users of this system and, before they come, for users of partners that have no link to
//! their home (TR 23.700-90). A user's own profile is served with the partner systems that the user may migrate to.

use super::{ConfigServer, Next, Outcome, rely_on, user::Caller};
use crate::{
    api::{
        configuration::{Answer, ProfileKey, StoredProfile},
        migration_identity::Refusal,
    },
    identity::McServiceId,
    outbox::{Context, Note},
    store::{CommitSeq, Mutation, RecordKind},
    time::Timestamp,
    user_profile::{MigratablePartner, PARTNERS_MAX, UserProfile},
};

/// A profile in memory.
#[derive(Debug)]
pub(super) struct HeldProfile {
    pub(super) profile: StoredProfile,
    /// The commit that wrote it.
    pub(super) version: CommitSeq,
}

const NOT_FOUND: Refusal = Refusal::NotFound("user profile");
const FULL: Refusal = Refusal::Full("user profiles");

impl ConfigServer {
    /// Shows a profile as it was put.
    pub(super) fn get_profile(&self, key: &ProfileKey, after: &mut CommitSeq) -> Outcome {
        let held = self.profiles.get(key).ok_or(NOT_FOUND)?;
        rely_on(after, held.version);
        Ok(Next::Answer(Answer::UserProfile(held.profile.clone())))
    }

    /// Serves a profile to its user: with the partners that the user may migrate to and that have their configuration
    /// here, in the order of the configuration.
    pub(super) fn read_profile(
        &self,
        ctx: &Context<'_>,
        key: &ProfileKey,
        after: &mut CommitSeq,
    ) -> Outcome {
        let held = self.profiles.get(key).ok_or(NOT_FOUND)?;
        rely_on(after, held.version);
        let StoredProfile { revision, profile } = held.profile.clone();
        drop(held);
        let partners = self.migratable_partners(ctx.now, &key.user, after);
        let profile = profile.with_partners(&partners).map_err(|_| Refusal::Unavailable)?;
        Ok(Next::Answer(Answer::UserProfile(StoredProfile { revision, profile })))
    }

    fn migratable_partners(
        &self,
        now: Timestamp,
        user: &McServiceId,
        after: &mut CommitSeq,
    ) -> Vec<MigratablePartner> {
        let Some(caller) = self.caller_named(user, after) else { return Vec::new() };
        let of = |caller: &Caller, after: &mut CommitSeq| {
            let partners = self.config.partners.iter().filter_map(|partner| {
                self.outbound_agreement(now, caller, &partner.id, after)?;
                let told = self.stored_configuration(&partner.id, after)?;
                let system = partner.id.clone();
                Some(MigratablePartner { system, configuration: told.document })
            });
            partners.take(PARTNERS_MAX).collect()
        };
        of(&caller, after)
    }

    /// Says whether a profile can be put now.
    pub(super) fn check_profile(
        &self,
        key: &ProfileKey,
        profile: &StoredProfile,
        after: &mut CommitSeq,
    ) -> Result<(), Refusal> {
        check_service(key, &profile.profile)?;
        match self.profiles.get(key) {
            Some(held) => held.check_follows(profile, after),
            None if self.profiles_bound.has_room(1) => Ok(()),
            None => Err(FULL),
        }
    }

    /// Creates or replaces a profile. The same again is no change.
    pub(super) fn put_profile(
        &self,
        ctx: &mut Context<'_>,
        key: &ProfileKey,
        profile: &StoredProfile,
        after: &mut CommitSeq,
    ) -> Outcome {
        check_service(key, &profile.profile)?;
        let entry = self.profiles.entry(key.clone());
        match &entry {
            dashmap::Entry::Occupied(held) => {
                held.get().check_follows(profile, after)?;
                if held.get().profile == *profile {
                    return Ok(Next::Answer(Answer::Done));
                }
            }
            dashmap::Entry::Vacant(_) => {
                if !self.profiles_bound.take() {
                    ctx.out.note(Note::TableFull("user profiles"));
                    return Err(FULL);
                }
            }
        }
        let put = Mutation::put(RecordKind::UserProfile, &key.record_key(), profile);
        let version = ctx.out.commit([put]);
        entry.insert(HeldProfile { profile: profile.clone(), version });
        rely_on(after, version);
        Ok(Next::Answer(Answer::Done))
    }

    /// Forgets a profile.
    pub(super) fn delete_profile(
        &self,
        ctx: &mut Context<'_>,
        key: &ProfileKey,
        after: &mut CommitSeq,
    ) -> Outcome {
        let dashmap::Entry::Occupied(entry) = self.profiles.entry(key.clone()) else {
            return Err(NOT_FOUND);
        };
        let deletion = Mutation::delete(RecordKind::UserProfile, &key.record_key());
        let version = ctx.out.commit([deletion]);
        self.removed.raise(version);
        entry.remove();
        self.profiles_bound.give();
        rely_on(after, version);
        Ok(Next::Answer(Answer::Done))
    }
}

impl HeldProfile {
    fn check_follows(&self, next: &StoredProfile, after: &mut CommitSeq) -> Result<(), Refusal> {
        rely_on(after, self.version);
        if next.revision > self.profile.revision || *next == self.profile {
            Ok(())
        } else {
            Err(Refusal::Invalid("the revision is not higher than the stored one"))
        }
    }
}

fn check_service(key: &ProfileKey, profile: &UserProfile) -> Result<(), Refusal> {
    if profile.service() == key.service {
        Ok(())
    } else {
        Err(Refusal::Invalid("the document is of another service"))
    }
}
