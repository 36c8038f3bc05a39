//! What must hold of what administrators exchange: what a system tells of a transaction is stored, a decision stays as it
//! is, both systems come to the same, and what is in force is what was accepted, once and whole.

use std::collections::BTreeMap;

use crate::{
    api::{
        acm_client,
        acm_interconnection::{Answer, Request, Response, ResultCode, TransactionKey},
        acm_payload::Payload,
        configuration::{AgreementKey, Users},
        connection_details::SystemConfiguration,
        migration_identity::Direction,
    },
    identity::{McServiceGroupId, McServiceId},
    outbox::{AcmMessage, ReplyTo},
    store::{CommitSeq, RecordKind, decode},
};

use super::{
    SystemId, Violation, World,
    acm_tables::{AcmTables, StoredIncoming, commits_that_brought, response_in},
    facts::agreement_key,
    http::Inquiry,
};

impl World {
    /// What a message of an ACM server says is stored.
    pub(super) fn check_exchange(
        &mut self,
        id: SystemId,
        message: &AcmMessage,
    ) -> Result<(), Violation> {
        match message {
            AcmMessage::Request { request, .. } => match request {
                Request::Submit(it) => self.check_begun(id, &it.envelope.key()),
                Request::Cancel(it) => self.check_begun(id, &it.envelope.key()),
                Request::Pending(key) => self.check_taken(id, key),
                Request::Decided(response) => self.check_decided(id, response),
            },
            AcmMessage::Answer { to, answer } => match answer {
                Answer::Stored | Answer::Pending => self.check_acknowledged(id, to),
                Answer::Decided(response) => self.check_decided(id, response),
                Answer::Refused(_) | Answer::NotAuthenticated => Ok(()),
            },
            AcmMessage::Client { answer, .. } => self.check_shown(id, answer),
            // What a UE is told is checked when it is.
            AcmMessage::Notification { .. }
            | AcmMessage::Management { .. }
            | AcmMessage::UserConfigurationRequest { .. }
            | AcmMessage::UserConfiguration(_)
            | AcmMessage::SubscribeAliases
            | AcmMessage::AliasEvent(_)
            | AcmMessage::Aliases { .. } => Ok(()),
        }
    }

    /// What a client is told.
    fn check_shown(&self, id: SystemId, answer: &acm_client::Answer) -> Result<(), Violation> {
        match answer {
            acm_client::Answer::Begun(transaction) => {
                let origin = id.mc_system_id();
                self.check_begun(id, &TransactionKey { origin, transaction: *transaction })
            }
            acm_client::Answer::LoggedOn(session) => {
                self.check_kept(id, RecordKind::AcmSession, &format!("{:016x}", session.0))
            }
            acm_client::Answer::AlreadyDecided(Some(response)) => self.check_known(id, response),
            acm_client::Answer::Item(item) => {
                let response = item.response.as_ref();
                response.map_or(Ok(()), |response| self.check_known(id, response))
            }
            acm_client::Answer::AlreadyDecided(None)
            | acm_client::Answer::Done
            | acm_client::Answer::Page(_)
            | acm_client::Answer::Decided(_)
            | acm_client::Answer::Groups(_)
            | acm_client::Answer::Progress(_)
            | acm_client::Answer::Refused(_)
            | acm_client::Answer::NotAuthenticated => Ok(()),
        }
    }

    fn check_begun(&self, id: SystemId, key: &TransactionKey) -> Result<(), Violation> {
        self.check_kept(id, RecordKind::AcmOutgoing, &key.transaction.to_string())
    }

    fn check_taken(&self, id: SystemId, key: &TransactionKey) -> Result<(), Violation> {
        self.check_kept(id, RecordKind::AcmIncoming, &incoming_key(key))
    }

    /// A transaction is told of after it is stored.
    fn check_kept(&self, id: SystemId, kind: RecordKind, key: &str) -> Result<(), Violation> {
        if self.system(id).engine.history().values(kind, key).next().is_some() {
            return Ok(());
        }
        let detail = format_args!("{} {key}", kind.name());
        Err(Violation::new("what is told is stored", &detail))
    }

    /// What the other system sent is stored before it is acknowledged.
    fn check_acknowledged(&mut self, id: SystemId, to: &ReplyTo) -> Result<(), Violation> {
        let Some((_, Inquiry::Acm(request, _))) = self.inquiry_of(id, to) else { return Ok(()) };
        match request.clone() {
            Request::Submit(it) => self.check_taken(id, &it.envelope.key()),
            Request::Cancel(it) => self.check_taken(id, &it.envelope.key()),
            Request::Pending(key) => self.check_begun(id, &key),
            Request::Decided(response) => {
                let key = response.key.transaction.to_string();
                let history = self.system(id).engine.history();
                let mut stored = history.values(RecordKind::AcmOutgoing, &key);
                let is_over = |value: &[u8]| response_in(RecordKind::AcmOutgoing, value).is_some();
                if stored.any(is_over) {
                    return Ok(());
                }
                Err(Violation::new("a response is acknowledged after it is stored", &key))
            }
        }
    }

    /// A decision leaves the system that made it: it is stored, and is the one that was told before.
    fn check_decided(&mut self, id: SystemId, response: &Response) -> Result<(), Violation> {
        let key = &response.key;
        let detail = format_args!("{key:?}: {}", response.result.as_str());
        let history = self.system(id).engine.history();
        let name = incoming_key(key);
        let is_it =
            |value: &[u8]| response_in(RecordKind::AcmIncoming, value).as_ref() == Some(response);
        let is_stored = history.values(RecordKind::AcmIncoming, &name).any(is_it);
        if !is_stored {
            return Err(Violation::new("a decision leaves after it is stored", &detail));
        }
        let first = self.exchanged.decided.entry(key.clone()).or_insert_with(|| response.clone());
        if first != response {
            return Err(Violation::new("a decision stays as it is", &detail));
        }
        Ok(())
    }

    /// A response that a client is shown is stored, at whichever side that is.
    fn check_known(&self, id: SystemId, response: &Response) -> Result<(), Violation> {
        let key = &response.key;
        let (kind, name) = if key.origin == id.mc_system_id() {
            (RecordKind::AcmOutgoing, key.transaction.to_string())
        } else {
            (RecordKind::AcmIncoming, incoming_key(key))
        };
        let mut stored = self.system(id).engine.history().values(kind, &name);
        if stored.any(|value| response_in(kind, value).as_ref() == Some(response)) {
            return Ok(());
        }
        Err(Violation::new("a response is shown after it is stored", &name))
    }

    fn acm_tables(&self, id: SystemId) -> Result<AcmTables, Violation> {
        let history = self.system(id).engine.history();
        let tables = AcmTables::read(history, &id.other().mc_system_id());
        tables.map_err(|error| Violation::new("what was stored can be read", &error))
    }

    /// What is not over yet, if anything.
    pub(super) fn exchange_left(&self) -> Result<Option<String>, Violation> {
        for id in [SystemId::A, SystemId::B] {
            if !self.system(id).serves() {
                return Ok(Some(format!("{} does not serve", id.label())));
            }
            let tables = self.acm_tables(id)?;
            let own = tables.outgoing.iter().find(|(_, stored)| !stored.is_over);
            let taken = tables.incoming.iter().find(|(_, stored)| !stored.is_over);
            let left = own.map(|(key, _)| key).or(taken.map(|(key, _)| key));
            if let Some(key) = left {
                return Ok(Some(format!("{key:?} at {}", id.label())));
            }
            if !tables.to_agree.is_empty() {
                return Ok(Some(format!("agreements at {}", id.label())));
            }
        }
        let waits = |client: &super::acm_client::AcmClient| {
            !client.unanswered.is_empty() || !client.has_all_rights
        };
        Ok(self.acm_clients.iter().any(waits).then(|| "an administrator".to_owned()))
    }

    /// When every transaction is over: both systems came to the same, and what was accepted is in force on both sides,
    /// once and whole, and nothing else is.
    pub(super) fn check_exchanged(&self) -> Result<(), Violation> {
        if self.acm_clients.is_empty() {
            return Ok(());
        }
        for origin in [SystemId::A, SystemId::B] {
            let (here, there) = (self.acm_tables(origin)?, self.acm_tables(origin.other())?);
            for (key, own) in &here.outgoing {
                let theirs = there.incoming.get(key).and_then(|taken| taken.response.as_ref());
                check_agreed(key, own.response.as_ref(), theirs.map(|(_, response)| response))?;
            }
            let accepted = accepted(&there);
            self.check_configuration_exchanged(origin, &accepted)?;
            self.check_users_exchanged(origin, &accepted, (&here, &there))?;
            check_groups_exchanged(&accepted, &there.groups)?;
        }
        Ok(())
    }

    /// What `origin`'s partner tells all its UEs of `origin` is the newest that `origin` sent and the partner accepted.
    fn check_configuration_exchanged(
        &self,
        origin: SystemId,
        accepted: &BTreeMap<CommitSeq, (&TransactionKey, &StoredIncoming)>,
    ) -> Result<(), Violation> {
        let payloads = accepted.values().map(|(_, stored)| &stored.payload);
        let sent = payloads.filter(|payload| matches!(payload, Payload::Configuration(_)));
        let sent = sent.filter_map(Payload::configuration);
        let by_partner = self.options.exchange.as_ref().is_none_or(|it| it.sends_configuration);
        let first = (!by_partner).then_some(1);
        let newest = sent.map(|configuration| configuration.revision).chain(first).max();
        let history = self.system(origin.other()).engine.history();
        let key = origin.mc_system_id();
        let stored = history.current(RecordKind::SystemConfiguration, key.as_str());
        let stored = stored.and_then(|value| decode::<SystemConfiguration>(value).ok());
        let in_force = stored.map(|configuration| configuration.revision);
        if in_force == newest {
            return Ok(());
        }
        let detail = format_args!("{in_force:?} of {key}, accepted {newest:?}");
        Err(Violation::new("the newest configuration that was accepted is in force", &detail))
    }

    /// The users of `origin` who may migrate are those whom the partner has accepted, with what it has accepted last, on
    /// both sides, and have agreements.
    fn check_users_exchanged(
        &self,
        origin: SystemId,
        accepted: &BTreeMap<CommitSeq, (&TransactionKey, &StoredIncoming)>,
        (here, there): (&AcmTables, &AcmTables),
    ) -> Result<(), Violation> {
        let mut wanted: BTreeMap<McServiceId, Option<u64>> = BTreeMap::new();
        for (seq, (key, stored)) in accepted {
            // Those that are named could not be updated, and the others were.
            let left_out = |user: &McServiceId| {
                let response = stored.response.as_ref().map(|(_, response)| response);
                response.is_some_and(|it| it.elements.iter().any(|name| name == user.as_str()))
            };
            match &stored.payload {
                Payload::AddUsers { users, configuration } => {
                    let revision = configuration.as_ref().map(|it| it.revision);
                    for user in users {
                        let has = wanted.entry(user.clone()).or_default();
                        *has = revision.max(*has);
                    }
                }
                Payload::Update { users, configuration } => {
                    for user in users.iter().filter(|user| !left_out(user)) {
                        wanted.insert(user.clone(), Some(configuration.revision));
                        self.check_applied_once(origin, *seq, key, user)?;
                    }
                }
                Payload::RemoveUsers { users } => {
                    wanted.retain(|user, _| !users.contains(user));
                }
                Payload::Configuration(_)
                | Payload::Groups(_)
                | Payload::GroupsWithdrawn(_)
                | Payload::PleaseSend => {}
            }
        }
        for (at, way, tables) in
            [(origin.other(), Direction::Inbound, there), (origin, Direction::Outbound, here)]
        {
            for user in origin.exchanged_users() {
                let held = tables.migrants.get(&(way, user.clone())).copied();
                let known = self.known_configuration(at, way, &user);
                let key = AgreementKey {
                    partner: at.other().mc_system_id(),
                    direction: way,
                    users: Users::User(user.clone()),
                };
                let history = self.system(at).engine.history();
                let agreed = history.current(RecordKind::Agreement, &agreement_key(&key));
                let is_right = held == wanted.get(&user).copied()
                    && known == held.flatten()
                    && agreed.is_some() == held.is_some();
                if !is_right {
                    let detail = format_args!(
                        "{way:?} at {}: {held:?}, {known:?} in memory, accepted {:?}",
                        at.label(),
                        wanted.get(&user)
                    );
                    let rule = "users migrate with what was accepted for them";
                    return Err(Violation::new(rule, &detail));
                }
            }
        }
        Ok(())
    }

    /// An update is brought to each of its users by the commit that accepted it, and by no other.
    fn check_applied_once(
        &self,
        origin: SystemId,
        seq: CommitSeq,
        transaction: &TransactionKey,
        user: &McServiceId,
    ) -> Result<(), Violation> {
        let history = self.system(origin.other()).engine.history();
        let key = format!("in {} {}", origin.mc_system_id(), user.as_str());
        let commits = commits_that_brought(history, transaction, &key);
        let commits =
            commits.map_err(|error| Violation::new("what was stored can be read", &error))?;
        if commits == [seq] {
            return Ok(());
        }
        let detail = format_args!("{transaction:?}, accepted by {seq:?}: {commits:?}");
        Err(Violation::new("an update is applied once, and to all of its users", &detail))
    }
}

/// What a system accepted of what the other one sent, in the order in which it did.
fn accepted(tables: &AcmTables) -> BTreeMap<CommitSeq, (&TransactionKey, &StoredIncoming)> {
    let taken = tables.incoming.iter().filter_map(|(key, stored)| {
        let (seq, response) = stored.response.as_ref()?;
        response.result.is_accepted().then_some((*seq, (key, stored)))
    });
    taken.collect()
}

/// Both systems came to the same; what the partner never took ended as anything but accepted.
fn check_agreed(
    key: &TransactionKey,
    own: Option<&Response>,
    theirs: Option<&Response>,
) -> Result<(), Violation> {
    let agrees = match (own, theirs) {
        (Some(own), Some(theirs)) => own == theirs,
        (Some(own), None) => !own.result.is_accepted() && own.result != ResultCode::RejectedByUser,
        (None, _) => false,
    };
    if agrees {
        return Ok(());
    }
    let result = |response: Option<&Response>| response.map(|response| response.result);
    let detail = format_args!("{key:?}: {:?} and {:?}", result(own), result(theirs));
    Err(Violation::new("both systems come to the same", &detail))
}

/// The partner knows the groups that it was told of last.
fn check_groups_exchanged(
    accepted: &BTreeMap<CommitSeq, (&TransactionKey, &StoredIncoming)>,
    known: &BTreeMap<McServiceGroupId, bool>,
) -> Result<(), Violation> {
    let mut told: BTreeMap<&McServiceGroupId, (u64, bool)> = BTreeMap::new();
    for (_, stored) in accepted.values() {
        let withdrawn = matches!(stored.payload, Payload::GroupsWithdrawn(_));
        for group in stored.payload.groups() {
            let latest = told.entry(group).or_insert((stored.revision, withdrawn));
            *latest = (*latest).max((stored.revision, withdrawn));
        }
    }
    let told: BTreeMap<McServiceGroupId, bool> =
        told.into_iter().map(|(group, (_, withdrawn))| (group.clone(), withdrawn)).collect();
    if told == *known {
        return Ok(());
    }
    let detail = format_args!("told {told:?}, known {known:?}");
    Err(Violation::new("groups are known as they were told of last", &detail))
}

/// The key of a transaction that another system began.
fn incoming_key(key: &TransactionKey) -> String {
    format!("{} {}", key.origin, key.transaction)
}
