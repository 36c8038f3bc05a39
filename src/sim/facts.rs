//! What the simulated world enters into the ledgers of its systems ([`super::ledger`]), and when it compares
//! them with what is stored.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    aka::IND_BITS_DEFAULT,
    api::{
        configuration::{self, AgreementKey, Users},
        migration_identity::{Answer, Direction, PoolSource, Refusal, Request},
    },
    identity::{Impi, McServiceId, McSystemId},
    outbox::{Effect, ReplyTo, RequestId},
    sip::{
        Framing, name_addr::Contacts, register::RegisterRequest, response::ResponseView,
        view::MessageView,
    },
    sip_core::Registration,
    store::{Mutation, RecordKind, decode},
    time::Timestamp,
};

use super::{
    SystemId, Violation, World,
    ledger::{Change, Holder, Ledger, Outcome, Side, Tables, Ticket, check_agreement, grant_key},
    options::Committing,
    system::Parked,
    tables::{GrantRecord, InboundRecord, LeaseRecord, OutboundRecord},
    ue_host::UeHost,
};

/// The ledgers of both systems, and the changes that have no outcome yet.
#[derive(Debug)]
pub(super) struct Facts {
    a: Ledger,
    b: Ledger,
    tickets: BTreeMap<Cause, (SystemId, Vec<Ticket>)>,
    /// What ever asked, when first, and for what: a repeat asks for nothing more.
    begun: BTreeMap<Cause, (Timestamp, Vec<Change>)>,
    /// When what was asked for came to something, or could no longer.
    ended: BTreeMap<Cause, Timestamp>,
}

/// What asked for changes.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Cause {
    /// A question over HTTP, by number.
    Question(u64),
    /// A role of a system.
    Role(SystemId, RequestId),
    /// A REGISTER to a system, by Call-ID and CSeq.
    Register(SystemId, String, u32),
}

impl Default for Facts {
    fn default() -> Self {
        let ledger = || Ledger::new(IND_BITS_DEFAULT);
        Self {
            a: ledger(),
            b: ledger(),
            tickets: BTreeMap::new(),
            begun: BTreeMap::new(),
            ended: BTreeMap::new(),
        }
    }
}

impl Facts {
    pub(super) const fn ledger(&self, id: SystemId) -> &Ledger {
        match id {
            SystemId::A => &self.a,
            SystemId::B => &self.b,
        }
    }

    pub(super) const fn ledger_mut(&mut self, id: SystemId) -> &mut Ledger {
        match id {
            SystemId::A => &mut self.a,
            SystemId::B => &mut self.b,
        }
    }

    fn begin(&mut self, now: Timestamp, id: SystemId, cause: Cause, changes: Vec<Change>) {
        if self.begun.contains_key(&cause) {
            return;
        }
        self.begun.insert(cause.clone(), (now, changes.clone()));
        if changes.is_empty() {
            return;
        }
        let ledger = self.ledger_mut(id);
        let tickets = changes.into_iter().map(|change| ledger.begin(now, change)).collect();
        self.tickets.insert(cause, (id, tickets));
    }

    /// Enters what came of all changes that `cause` asked for.
    pub(super) fn end(
        &mut self,
        now: Timestamp,
        cause: &Cause,
        outcome: &Outcome,
    ) -> Result<(), Violation> {
        let Some((id, tickets)) = self.tickets.remove(cause) else { return Ok(()) };
        self.ended.insert(cause.clone(), now);
        let ledger = self.ledger_mut(id);
        tickets.into_iter().try_for_each(|ticket| ledger.end(now, ticket, outcome.clone()))
    }

    /// Since when `cause` has asked, and for what.
    pub(super) fn begun(&self, cause: &Cause) -> Option<(Timestamp, &[Change])> {
        self.begun.get(cause).map(|(at, changes)| (*at, &**changes))
    }

    /// Whether what `cause` asked for has come to nothing yet.
    pub(super) fn is_open(&self, cause: &Cause) -> bool {
        self.tickets.contains_key(cause)
    }

    /// Whether what `cause` asked for may have happened at `from` or later.
    pub(super) fn may_happen_since(&self, cause: &Cause, from: Timestamp) -> bool {
        self.is_open(cause) || self.ended.get(cause).is_some_and(|ended| *ended >= from)
    }

    /// What was asked for came to nothing, as far as anybody knows.
    pub(super) fn forget(&mut self, now: Timestamp, cause: &Cause) {
        // Only what was lent can violate anything.
        let _ = self.end(now, cause, &Outcome::Unknown);
    }

    /// The roles of `id` have forgotten whom they challenged and what they asked each other.
    pub(super) fn forget_roles(&mut self, now: Timestamp, id: SystemId) {
        let is_its = |cause: &Cause| match cause {
            Cause::Role(system, _) | Cause::Register(system, ..) => *system == id,
            Cause::Question(_) => false,
        };
        let causes: Vec<Cause> = self.tickets.keys().filter(|it| is_its(it)).cloned().collect();
        for cause in causes {
            self.forget(now, &cause);
        }
    }
}

impl World {
    /// Enters what is asked of a SIP database.
    pub(super) fn enter_request(&mut self, id: SystemId, cause: Cause, request: &Request) {
        if let Request::PutPool(pool) = request
            && let PoolSource::Listed { identities, quarantine } = &pool.source
        {
            let ledger = self.checks.facts.ledger_mut(id);
            for pair in identities {
                ledger.provisioned(pool.direction, pair.impi.clone(), *quarantine);
            }
        }
        let changes = Self::changes_of(id, request);
        let now = self.now();
        self.checks.facts.begin(now, id, cause, changes);
    }

    /// A word of a SIP core to its SIP database may have been lost.
    pub(super) fn forget_assignments(&mut self, id: SystemId) {
        self.checks.assigned.retain(|(of, _)| *of != id);
    }

    fn changes_of(id: SystemId, request: &Request) -> Vec<Change> {
        use RecordKind::{DigestSubscriber, Grant, Pool, Subscriber, WithdrawnAgreement};
        let put = |kind, key: &str| vec![Change::Put { kind, key: key.to_owned() }];
        let delete = |kind, key: &str| vec![Change::Delete { kind, key: key.to_owned() }];
        let release =
            |direction, impi: &Impi| vec![Change::Release { direction, impi: impi.clone() }];
        match request {
            Request::PutSubscriber(it) => put(Subscriber, it.impi.as_str()),
            Request::PutSubscribers(all) => {
                all.iter().flat_map(|it| put(Subscriber, it.impi.as_str())).collect()
            }
            Request::PutDigestSubscriber(it) => put(DigestSubscriber, it.impi.as_str()),
            Request::DeleteDigestSubscriber(impi) => delete(DigestSubscriber, impi.as_str()),
            Request::PutPool(pool) => put(Pool, &pool.name),
            Request::WithdrawAgreement(agreement) => {
                put(WithdrawnAgreement, &agreement.0.to_string())
            }
            Request::PutGrant { user, partner, .. } => put(Grant, &grant_key(&user.impi, partner)),
            Request::DeleteGrant { impi, partner } => delete(Grant, &grant_key(impi, partner)),
            Request::EndVisits(user) => ends_of_visits(id, user),
            Request::DeleteSubscriber(user) => {
                let mut changes = ends_of_visits(id, user);
                changes.append(&mut delete(Subscriber, user.as_str()));
                changes
            }
            Request::ReleaseOutbound(impi) => release(Direction::Outbound, impi),
            Request::ReleaseInbound(impi) => release(Direction::Inbound, impi),
            Request::BindOutbound { .. }
            | Request::BindInbound { .. }
            | Request::MapInbound { .. } => {
                let asked = holder_of(request);
                let lend = |(direction, holder)| Change::Lend { direction, holder };
                asked.map(lend).into_iter().collect()
            }
            Request::GetSubscriber(_)
            | Request::GetDigestSubscriber(_)
            | Request::GetPool(_)
            | Request::GetOutbound(_)
            | Request::GetInbound(_)
            | Request::Check(_) => Vec::new(),
        }
    }

    /// Enters what is asked of a configuration server.
    pub(super) fn enter_configuration(
        &mut self,
        id: SystemId,
        cause: Cause,
        request: &configuration::Request,
    ) {
        use configuration::Request as Asked;
        let put = |(kind, key)| vec![Change::Put { kind, key }];
        let delete = |(kind, key)| vec![Change::Delete { kind, key }];
        let user = |name: &McServiceId| (RecordKind::User, name.as_str().to_owned());
        let description = |of: &McSystemId| (RecordKind::SystemConfiguration, of.to_string());
        let changes = match request {
            Asked::PutUser(it) => put(user(&it.mc_service_id)),
            Asked::PutUsers(all) => {
                all.iter().flat_map(|it| put(user(&it.mc_service_id))).collect()
            }
            Asked::DeleteUser(name) => delete(user(name)),
            Asked::PutAgreement(it) => put((RecordKind::Agreement, agreement_key(&it.key))),
            Asked::DeleteAgreement(key) => delete((RecordKind::Agreement, agreement_key(key))),
            Asked::PutSystemConfiguration { system, .. }
            | Asked::PutExchangedConfiguration { system, .. } => put(description(system)),
            Asked::DeleteSystemConfiguration(system) => delete(description(system)),
            Asked::PutUserProfile { key, .. } => put((RecordKind::UserProfile, key.record_key())),
            Asked::DeleteUserProfile(key) => delete((RecordKind::UserProfile, key.record_key())),
            Asked::GetUser(_)
            | Asked::GetUserProfile(_)
            | Asked::ReadUserProfile(_)
            | Asked::GetAgreement(_)
            | Asked::GetSystemConfiguration(_)
            | Asked::GetConfigurationVersion { .. }
            | Asked::Check(_) => Vec::new(),
        };
        let now = self.now();
        self.checks.facts.begin(now, id, cause, changes);
    }

    /// Enters the answer of a configuration server that leaves.
    pub(super) fn enter_configured(
        &mut self,
        cause: &Cause,
        answer: &configuration::Answer,
    ) -> Result<(), Violation> {
        let outcome = match answer {
            configuration::Answer::Refused(Refusal::Unavailable) => Outcome::Unknown,
            configuration::Answer::Refused(_) | configuration::Answer::RowsRefused(_) => {
                Outcome::Refused
            }
            configuration::Answer::Done
            | configuration::Answer::User { .. }
            | configuration::Answer::Agreement { .. }
            | configuration::Answer::SystemConfiguration(_)
            | configuration::Answer::ConfigurationVersion(_)
            | configuration::Answer::UserProfile(_) => Outcome::Done,
        };
        let now = self.now();
        self.checks.facts.end(now, cause, &outcome)
    }

    /// What asked for what is answered `to`.
    pub(super) fn cause_of(&self, id: SystemId, to: &ReplyTo) -> Option<Cause> {
        match to {
            ReplyTo::Role(request) => Some(Cause::Role(id, *request)),
            ReplyTo::World(handle) => match self.system(id).parked.get(handle)? {
                Parked::Http { question, .. } => Some(Cause::Question(*question)),
                Parked::Diameter { .. } => None,
            },
        }
    }

    /// Enters the answer of a SIP database that leaves.
    pub(super) fn enter_answer(
        &mut self,
        id: SystemId,
        to: &ReplyTo,
        answer: &Answer,
    ) -> Result<(), Violation> {
        let Some(cause) = self.cause_of(id, to) else { return Ok(()) };
        let outcome = match answer {
            Answer::Binding(binding) => {
                let (identity, until) = (binding.identity.clone(), binding.reserved_until);
                Outcome::Lent { identity, until }
            }
            Answer::Refused(Refusal::Unavailable) => Outcome::Unknown,
            Answer::Refused(_) | Answer::RowsRefused(_) => Outcome::Refused,
            Answer::Granted { until, .. } => Outcome::Kept { until: *until },
            Answer::Done
            | Answer::Subscriber { .. }
            | Answer::DigestSubscriber { .. }
            | Answer::Pool { .. } => Outcome::Done,
        };
        let now = self.now();
        self.checks.facts.end(now, &cause, &outcome)
    }

    /// Enters a REGISTER that answers a challenge; only those change anything.
    pub(super) fn enter_register(&mut self, number: usize, octets: &[u8]) {
        let Some(ue) = self.ues.get(number) else { return };
        let (at, impi, now) = (ue.at, ue.identity.impi.clone(), self.now());
        if let Some((call_id, cseq, changes)) = changes_by_register(&impi, octets, now) {
            let cause = Cause::Register(at, call_id, cseq);
            self.checks.facts.begin(now, at, cause, changes);
        }
    }

    /// Enters a SIP answer that leaves.
    pub(super) fn enter_response(&mut self, id: SystemId, answer: &ResponseView<'_>) {
        if answer.method() != "REGISTER" || answer.status() < 200 {
            return;
        }
        let done = if answer.status() == 200 { Outcome::Done } else { Outcome::Unknown };
        let cause = Cause::Register(id, answer.call_id().to_owned(), answer.cseq());
        let now = self.now();
        if self.checks.facts.is_open(&cause) {
            let begun = self.checks.facts.begun(&cause);
            let user = begun.and_then(|(_, changes)| Some((id, user_of(changes)?.clone())));
            if answer.status() == 200 {
                // The first one: all that the SIP database was told is done as well.
                self.checks.assigned.extend(user);
            } else if let Some(user) = user {
                // The SIP database may have been told of what is not done, its answer came too late.
                self.checks.assigned.remove(&user);
            }
        }
        // Nothing is lent by a SIP answer, so nothing can be violated.
        let _ = self.checks.facts.end(now, &cause, &done);
    }

    /// A system's storage holds what was acknowledged, and nothing that was acknowledged to have ended.
    pub(super) fn check_ledger(&self, id: SystemId) -> Result<(), Violation> {
        let stored = self.tables(id)?;
        match self.system(id).engine.committing() {
            Committing::Together => stored.check()?,
            Committing::Apart => stored.check_identities()?,
        }
        self.checks.facts.ledger(id).check(self.now(), &stored)
    }

    pub(super) fn tables(&self, id: SystemId) -> Result<Tables, Violation> {
        let tables = self.system(id).engine.history().tables();
        tables.map_err(|error| Violation::new("what was stored can be read", &error))
    }

    /// When all is quiet: both systems hold what was acknowledged, and what they hold fits together.
    pub(super) fn check_quiet(&self) -> Result<(), Violation> {
        for id in [SystemId::A, SystemId::B] {
            self.check_ledger(id)?;
            let (database, other) = (id.database(), id.other().database());
            let (primary, partner) = (self.tables(id)?, self.tables(id.other())?);
            let ledger = |id| self.checks.facts.ledger(id);
            check_agreement(
                Side { database: &database, tables: &primary, ledger: ledger(id) },
                Side { database: &other, tables: &partner, ledger: ledger(id.other()) },
            )?;
            let seen = partner.as_users_see(&other, &primary);
            for ue in self.ues.iter().filter(|ue| ue.home == id) {
                self.check_still_told(ue, &seen)?;
            }
        }
        Ok(())
    }

    /// What a UE was told last is what the partner holds for it, and the home stands behind it.
    fn check_still_told(&self, ue: &UeHost, seen: &Tables) -> Result<(), Violation> {
        let told = self.checks.told.get(&ue.number).filter(|told| self.now() < told.until);
        let Some(told) = told else { return Ok(()) };
        let held = seen.bindings.get(&(Direction::Inbound, told.identity.impi.clone()));
        let is_its = held.is_some_and(|it| {
            it.impu == told.identity.impu
                && it.holder == Holder { user: ue.real.clone(), other: ue.home.database() }
        });
        if is_its {
            return Ok(());
        }
        let detail = format_args!("ue{}, {}", ue.number, told.identity.impi.as_str());
        Err(Violation::new("what a UE was told still holds", &detail))
    }

    /// What a timer makes a role commit removes only what has ended: never anything newer than what the timer
    /// is about.
    pub(super) fn check_expiry(&self, id: SystemId, effects: &[Effect]) -> Result<(), Violation> {
        let commits = effects.iter().filter_map(|effect| {
            if let Effect::Commit(commit) = effect { Some(commit) } else { None }
        });
        for mutation in commits.flat_map(|commit| &commit.mutations) {
            let known = self.system(id).engine.handed_over(mutation.kind, &mutation.key);
            if known.is_some_and(|known| !is_expiry(mutation, known, self.now())) {
                let detail = String::from_utf8_lossy(&mutation.key);
                return Err(Violation::new("expiry never removes newer state", &detail));
            }
        }
        Ok(())
    }
}

/// Who asks for a pair, if the request is such a question.
pub(super) fn holder_of(request: &Request) -> Option<(Direction, Holder)> {
    let (direction, user, other) = if let Request::BindOutbound { user, partner, .. } = request {
        (Direction::Outbound, user, partner)
    } else if let Request::BindInbound { primary, .. } | Request::MapInbound { primary, .. } =
        request
    {
        (Direction::Inbound, &primary.identity, &primary.database)
    } else {
        return None;
    };
    Some((direction, Holder { user: user.clone(), other: other.clone() }))
}

/// The end of all pairs and grants of a subscriber of `id`.
fn ends_of_visits(id: SystemId, user: &Impi) -> Vec<Change> {
    let key = grant_key(user, &id.other().database());
    let grant = Change::Delete { kind: RecordKind::Grant, key };
    vec![Change::ReleaseAll { user: user.clone() }, grant]
}

/// The key under which an agreement is stored.
pub(super) fn agreement_key(key: &AgreementKey) -> String {
    let AgreementKey { partner, direction, users } = key;
    let direction = match direction {
        Direction::Outbound => 'o',
        Direction::Inbound => 'i',
    };
    match users {
        Users::Everybody => format!("{partner} {direction}e"),
        Users::Class(class) => format!("{partner} {direction}c{class}"),
        Users::User(user) => format!("{partner} {direction}u{}", user.as_str()),
    }
}

/// Whose registration is to be changed.
pub(super) fn user_of(changes: &[Change]) -> Option<&Impi> {
    changes.iter().find_map(|change| match change {
        Change::Register { impi, .. } | Change::Deregister { impi, .. } => Some(impi),
        Change::Lend { .. }
        | Change::Release { .. }
        | Change::ReleaseAll { .. }
        | Change::Put { .. }
        | Change::Delete { .. } => None,
    })
}

/// Call-ID, CSeq and what a REGISTER with an answer to a challenge asks for.
fn changes_by_register(
    impi: &Impi,
    octets: &[u8],
    now: Timestamp,
) -> Option<(String, u32, Vec<Change>)> {
    let view = MessageView::parse(octets, Framing::Datagram).ok()?;
    let request = RegisterRequest::from_view(&view).ok()?;
    let answers = request.credentials().is_some_and(|it| !it.nonce.is_empty() && it.auts.is_none());
    let Contacts::List(contacts) = request.contacts() else { return None };
    if !answers {
        return None;
    }
    let (call_id, cseq) = (request.call_id().to_owned(), request.cseq());
    let change = |contact: crate::sip::name_addr::Contact<'_>| {
        let period = contact.expires.or(request.expires()).unwrap_or(0);
        let (impi, contact) = (impi.clone(), contact.uri.to_owned());
        if period == 0 {
            return Change::Deregister { impi, contact };
        }
        let until = now + Duration::from_secs(period.into());
        Change::Register { impi, contact, call_id: call_id.clone(), cseq, until }
    };
    let changes = contacts.iter().map(change).collect();
    Some((call_id, cseq, changes))
}

/// Whether a change of what is `known` takes away only what has ended.
fn is_expiry(mutation: &Mutation, known: &[u8], now: Timestamp) -> bool {
    let lease_ended = |lease: LeaseRecord| match lease {
        LeaseRecord::Reserved(until) | LeaseRecord::Active(until) => until <= now,
        LeaseRecord::Mapped { .. } => false,
    };
    match (mutation.kind, &mutation.value) {
        (RecordKind::Registration, value) => {
            let left = value.as_deref().map_or(Ok(Registration::default()), decode);
            let (Ok(known), Ok(left)) = (decode::<Registration>(known), left) else { return false };
            let live = known.contacts.iter().filter(|contact| contact.expires_at > now);
            live.into_iter().all(|contact| left.contacts.contains(contact))
        }
        (RecordKind::InboundBinding, None) => {
            decode::<InboundRecord>(known).is_ok_and(|(_, _, lease, ..)| lease_ended(lease))
        }
        (RecordKind::Grant, None) => {
            decode::<GrantRecord>(known).is_ok_and(|(_, _, until, _)| until <= now)
        }
        (RecordKind::OutboundBinding, None) => {
            decode::<OutboundRecord>(known).is_ok_and(|(_, _, _, lease, ..)| lease_ended(lease))
        }
        _ => true,
    }
}
