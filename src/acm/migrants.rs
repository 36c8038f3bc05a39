//! The users added for migration (TS 23.280 10.17.5), and the configuration that each migrates with: of partners' users
//! who come here, and of ours as the partners have confirmed them.
//!
//! A transaction with 100,000 users is one commit: a small record for each of them and one of the configuration, which
//! they refer to by the transaction that brought it. The configuration goes when nobody refers to it any more.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{AcmServer, ordered::Ordered, record::stored_key, share::Shared};
use crate::{
    api::{
        acm_interconnection::{ResultCode, TransactionKey},
        acm_payload::Payload,
        connection_details::SystemConfiguration,
        migration_identity::Direction,
    },
    identity::{McServiceId, McSystemId},
    store::{Mutation, RecordKind},
};

/// Which way a user migrates: outbound, from this system to the other one; inbound, from there to here.
pub(super) type Way = Direction;

/// Which way, the other system, the user.
pub(super) type MigrantKey = (Way, McSystemId, McServiceId);

/// A user added for migration.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct MigrantRecord {
    way: Way,
    other: McSystemId,
    user: McServiceId,
    /// The transaction that added it.
    added_by: TransactionKey,
    configuration: Option<SetOf>,
    agreement: Agreed,
}

/// How a user stands with the configuration server, which keeps agreements.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Agreed {
    /// Its agreements are not this server's business.
    Unfed,
    /// It was added; the agreement is to be made.
    ToPut,
    /// It has its agreement.
    Held,
    /// It was removed; the agreement is to end. Then the record goes.
    ToEnd,
}

/// What a user migrates with.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct SetOf {
    /// The transaction that brought the configuration.
    key: TransactionKey,
    revision: u64,
    /// The label of the user's UE, where the configuration has a blank one.
    label: Option<Box<str>>,
}

impl MigrantRecord {
    pub(super) fn put(&self) -> Mutation {
        let key = migrant_key(self.way, &self.other, &self.user);
        Mutation::put(RecordKind::AcmMigrant, &key, self)
    }

    /// What is still to be done about its agreement.
    pub(super) fn to_do(&self) -> Option<Agreed> {
        matches!(self.agreement, Agreed::ToPut | Agreed::ToEnd).then_some(self.agreement)
    }

    /// Notes that the agreement is made.
    pub(super) const fn has_agreement(&mut self) {
        self.agreement = Agreed::Held;
    }

    pub(super) fn key(&self) -> MigrantKey {
        (self.way, self.other.clone(), self.user.clone())
    }
}

pub(super) fn migrant_key(way: Way, other: &McSystemId, user: &McServiceId) -> String {
    let way = match way {
        Way::Outbound => "out",
        Way::Inbound => "in",
    };
    format!("{way} {other} {}", user.as_str())
}

/// The record of a configuration that users migrate with.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct SetRecord {
    pub(super) key: TransactionKey,
    pub(super) configuration: SystemConfiguration,
}

/// Such a configuration in memory.
#[derive(Debug, Default)]
pub(super) struct HeldSet {
    /// Nothing only while records are loaded, in whatever order.
    pub(super) configuration: Option<Arc<SystemConfiguration>>,
    /// How many users refer to it.
    pub(super) users: u64,
}

/// Users that an update cannot be brought to.
#[derive(Debug, Default)]
pub(super) struct UsersRefused {
    /// Who was never added for migration.
    unknown: Vec<String>,
    /// Who has a configuration of the same revision or a later one.
    stale: Vec<String>,
}

impl UsersRefused {
    /// Why all is refused on account of them, and of whom: first who is unknown.
    pub(super) fn reason(self) -> (ResultCode, &'static str, Vec<String>) {
        if self.unknown.is_empty() {
            (ResultCode::StaleRevision, STALE, self.stale)
        } else {
            (ResultCode::InvalidData, UNKNOWN, self.unknown)
        }
    }

    /// Why they are left out, and all of them.
    pub(super) fn left_out(&self) -> (&'static str, Vec<String>) {
        let why = match (self.unknown.is_empty(), self.stale.is_empty()) {
            (true, _) => STALE,
            (false, true) => UNKNOWN,
            (false, false) => {
                "was never added for migration, or has a configuration of this revision or a later one"
            }
        };
        (why, self.unknown.iter().chain(&self.stale).cloned().collect())
    }
}

const UNKNOWN: &str = "was never added for migration: add the user first";
const STALE: &str = "has a configuration of this revision or a later one";

/// A transaction about users.
#[derive(Clone, Debug)]
pub(super) struct Move<'a> {
    pub(super) way: Way,
    pub(super) other: &'a McSystemId,
    pub(super) key: TransactionKey,
    pub(super) payload: &'a Payload,
}

impl Move<'_> {
    fn of(&self, user: &McServiceId) -> MigrantKey {
        (self.way, self.other.clone(), user.clone())
    }
}

impl AcmServer {
    /// The configuration that a user migrates with, with its own label; `direction` is inbound for users of `other` who
    /// come here, outbound for users of this system who go there.
    pub fn configuration_of(
        &self,
        direction: Direction,
        other: &McSystemId,
        user: &McServiceId,
    ) -> Option<SystemConfiguration> {
        let migrant = self.migrants.get(&(direction, other.clone(), user.clone()))?;
        let SetOf { key, label, .. } = migrant.configuration.clone()?;
        let mut configuration = (**self.sets.get(&key)?.configuration.as_ref()?).clone();
        if let Some(label) = label {
            configuration.document = configuration.document.with_label(Some(&label)).into();
        }
        Some(configuration)
    }

    /// Whether a user has been added for migration.
    pub fn is_migrant(&self, direction: Direction, other: &McSystemId, user: &McServiceId) -> bool {
        self.is_added(&(direction, other.clone(), user.clone()))
    }

    /// Whether a user is added, and not on the way out.
    fn is_added(&self, key: &MigrantKey) -> bool {
        self.migrants.get(key).is_some_and(|held| held.agreement != Agreed::ToEnd)
    }

    /// Those of the users that cannot be changed so; `None` if all can.
    pub(super) fn users_refused(&self, change: &Move<'_>) -> Option<UsersRefused> {
        let Payload::Update { users, configuration } = change.payload else { return None };
        let mut refused = UsersRefused::default();
        for user in users {
            if !self.is_added(&change.of(user)) {
                refused.unknown.push(user.as_str().to_owned());
            } else if self.is_stale(change, user, configuration.revision) {
                refused.stale.push(user.as_str().to_owned());
            }
        }
        (!refused.unknown.is_empty() || !refused.stale.is_empty()).then_some(refused)
    }

    /// Whether one of the users has something newer.
    pub(super) fn has_stale_user(&self, change: &Move<'_>) -> bool {
        let Payload::Update { users, configuration } = change.payload else { return false };
        users.iter().any(|user| self.is_stale(change, user, configuration.revision))
    }

    fn is_stale(&self, change: &Move<'_>, user: &McServiceId, revision: u64) -> bool {
        let held = self.migrants.get(&change.of(user));
        let has = held.and_then(|held| held.configuration.as_ref().map(|set| set.revision));
        has.is_some_and(|has| revision <= has)
    }

    /// Why users of a partner to be added do not fit, if they do not. The caller has the turn, so that they will.
    pub(super) fn lack_of_room_for_users(
        &self,
        turn: &Ordered,
        change: &Move<'_>,
    ) -> Option<&'static str> {
        let Payload::AddUsers { users, .. } = change.payload else { return None };
        let new = users.iter().filter(|user| !self.migrants.contains_key(&change.of(user)));
        let new = new.count();
        if !self.migrants_bound.has_room(new) {
            Some("no more users can be added here")
        } else if !self.has_share(turn, change.other, Shared::Users, new) {
            Some("users of this system take up its share here (partner_share)")
        } else {
            None
        }
    }

    /// Notes that a user takes up room: beyond the maximum, too, where nobody may be left out.
    fn takes_room(&self, turn: &mut Ordered, way: Way, other: &McSystemId) {
        self.migrants_bound.take_loaded();
        if way == Way::Inbound {
            turn.shares.take(other, Shared::Users, 1);
        }
    }

    /// Notes that a user takes up none any more.
    pub(super) fn gives_room(&self, turn: &mut Ordered, way: Way, other: &McSystemId) {
        self.migrants_bound.give();
        if way == Way::Inbound {
            turn.shares.give(other, Shared::Users, 1);
        }
    }

    /// Changes all users of a transaction but those named, and returns what makes that durable, to be committed at
    /// once. Who has something newer keeps it.
    pub(super) fn change_users_except(
        &self,
        turn: &mut Ordered,
        change: &Move<'_>,
        except: &[String],
    ) -> Vec<Mutation> {
        let except: BTreeSet<&str> = except.iter().map(String::as_str).collect();
        let users = change.payload.users().iter().filter(|it| !except.contains(it.as_str()));
        let mut changes = Changes::default();
        for user in users {
            turn.agreements.forget(&change.of(user));
            match change.payload {
                Payload::RemoveUsers { .. } => {
                    self.remove_migrant(turn, change, user, &mut changes);
                }
                Payload::AddUsers { configuration, .. } => {
                    let with = (true, configuration.as_ref());
                    self.put_migrant(turn, change, user, with, &mut changes);
                }
                Payload::Update { configuration, .. } => {
                    let with = (false, Some(configuration));
                    self.put_migrant(turn, change, user, with, &mut changes);
                }
                Payload::Configuration(_)
                | Payload::Groups(_)
                | Payload::GroupsWithdrawn(_)
                | Payload::PleaseSend => {}
            }
        }
        turn.agreements.add(std::mem::take(&mut changes.to_agree));
        self.count_references(change, changes)
    }

    fn put_migrant(
        &self,
        turn: &mut Ordered,
        change: &Move<'_>,
        user: &McServiceId,
        (adds, configuration): (bool, Option<&SystemConfiguration>),
        changes: &mut Changes,
    ) {
        let stored = self.migrants.get(&change.of(user)).map(|held| held.clone());
        let takes_room = stored.is_none();
        let held = stored.filter(|held| held.agreement != Agreed::ToEnd);
        // What the partner confirmed of a user is known even where the adding was not heard of.
        let adds = adds || change.way == Way::Outbound;
        if held.is_none() && !adds {
            return;
        }
        let is_new = held.is_none();
        let mut record = held.unwrap_or_else(|| MigrantRecord {
            way: change.way,
            other: change.other.clone(),
            user: user.clone(),
            added_by: change.key.clone(),
            configuration: None,
            agreement: self.agreement_for(change.other),
        });
        let has = record.configuration.as_ref().map(|set| set.revision);
        let newer = configuration.filter(|it| has.is_none_or(|has| it.revision > has));
        if let Some(configuration) = newer {
            let is_blank = configuration.document.label().is_none_or(str::is_empty);
            let label = if is_blank { self.label_of(&record) } else { None };
            changes.released.extend(record.configuration.take().map(|set| set.key));
            let revision = configuration.revision;
            record.configuration = Some(SetOf { key: change.key.clone(), revision, label });
            changes.users += 1;
        } else if !is_new {
            // Unchanged: and yet it may have been taken off the list of what is to be done.
            changes.to_agree.extend(record.to_do().map(|_| record.key()));
            return;
        }
        if takes_room {
            self.takes_room(turn, change.way, change.other);
        }
        changes.to_agree.extend(record.to_do().map(|_| record.key()));
        changes.mutations.push(record.put());
        self.migrants.insert(record.key(), record);
    }

    fn remove_migrant(
        &self,
        turn: &mut Ordered,
        change: &Move<'_>,
        user: &McServiceId,
        changes: &mut Changes,
    ) {
        let Some((_, mut record)) = self.migrants.remove(&change.of(user)) else { return };
        changes.released.extend(record.configuration.take().map(|set| set.key));
        if record.agreement == Agreed::Unfed {
            self.gives_room(turn, change.way, change.other);
            let key = migrant_key(change.way, change.other, user);
            changes.mutations.push(Mutation::delete(RecordKind::AcmMigrant, &key));
        } else {
            record.agreement = Agreed::ToEnd;
            changes.mutations.push(record.put());
            changes.to_agree.push(record.key());
            self.migrants.insert(record.key(), record);
        }
    }

    /// The label of a user's UE as it is now: it stays where a new configuration has a blank one.
    fn label_of(&self, record: &MigrantRecord) -> Option<Box<str>> {
        let set = record.configuration.as_ref()?;
        let held = self.sets.get(&set.key);
        let of_set = || {
            let label = held.as_ref()?.configuration.as_ref()?.document.label()?;
            (!label.is_empty()).then(|| label.into())
        };
        set.label.clone().or_else(of_set)
    }

    /// Keeps the new configuration if somebody refers to it, and drops those that nobody refers to any more.
    fn count_references(&self, change: &Move<'_>, changes: Changes) -> Vec<Mutation> {
        let Changes { mut mutations, released, users, .. } = changes;
        if let Some(configuration) = change.payload.configuration().filter(|_| users > 0) {
            let key = change.key.clone();
            let record = SetRecord { key: key.clone(), configuration: configuration.clone() };
            let put = Mutation::put(RecordKind::AcmConfigurationSet, &stored_key(&key), &record);
            mutations.push(put);
            let configuration = Some(Arc::new(record.configuration));
            self.sets.insert(key, HeldSet { configuration, users });
        }
        for key in released {
            if let Some(mut held) = self.sets.get_mut(&key) {
                held.users = held.users.saturating_sub(1);
            }
            if self.sets.remove_if(&key, |_, held| held.users == 0).is_some() {
                let key = stored_key(&key);
                mutations.push(Mutation::delete(RecordKind::AcmConfigurationSet, &key));
            }
        }
        mutations
    }

    /// Takes a stored user in. The configurations are counted when all are there.
    pub(super) fn load_migrant(&self, record: MigrantRecord) {
        let turn = &mut self.turn();
        self.takes_room(turn, record.way, &record.other);
        if record.to_do().is_some() {
            turn.agreements.add([record.key()]);
        }
        if let Some(SetOf { key, .. }) = &record.configuration {
            let mut held = self.sets.entry(key.clone()).or_default();
            held.users += 1;
        }
        self.migrants.insert(record.key(), record);
    }

    /// Takes a stored configuration in.
    pub(super) fn load_set(&self, SetRecord { key, configuration }: SetRecord) {
        let mut held = self.sets.entry(key).or_default();
        held.configuration = Some(Arc::new(configuration));
    }
}

/// What a transaction changes.
#[derive(Default)]
struct Changes {
    mutations: Vec<Mutation>,
    /// Configurations that users do not refer to any more, once for each user.
    released: Vec<TransactionKey>,
    /// Users who refer to the new one.
    users: u64,
    /// Users whose agreement is to be made or to end.
    to_agree: Vec<MigrantKey>,
}
