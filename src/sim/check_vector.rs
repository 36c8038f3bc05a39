//! What must hold of a vector that leaves a SIP database: whose it is, that its SQN is new and reserved, and
//! that what it was given for was stored and not withdrawn when it was asked for.

use crate::{
    aka::{AuthVector, IND_BITS_DEFAULT},
    api::migration_identity::{Allowance, Direction, Request},
    identity::{Impi, UserIdentity},
    outbox::ReplyTo,
    store::{CommitSeq, RecordKind, decode},
    time::Timestamp,
};

use super::{
    SystemId, Violation, World,
    check::Checks,
    engine::History,
    ledger::grant_key,
    system::Parked,
    tables::{GrantRecord, InboundRecord, OutboundRecord, SubscriberRecord},
    ue_host::UeHost,
};

/// Until when, and under what, a vector may be asked for by one version of a record.
type Terms = (Option<Timestamp>, Option<Allowance>);

const NOT_STORED: &str = "a partner gets vectors for a stored binding";
const WITHDRAWN: &str = "no vector leaves after a confirmed withdrawal";

impl World {
    /// A vector that leaves its home: SQN is covered by the stored reservation and new, and the
    /// binding or grant that it was given for is stored. One that a partner hands on to its SIP core: so is
    /// the inbound binding.
    pub(super) fn check_vector(
        &mut self,
        id: SystemId,
        to: &ReplyTo,
        asked_with: &UserIdentity,
        vector: &AuthVector,
    ) -> Result<(), Violation> {
        let abroad = matches!(to, ReplyTo::World(_));
        let since = self.cx_since(id, to);
        let found = self.ues.iter().find_map(|ue| {
            let answer = ue.milenage.verify_autn(&vector.rand, &vector.autn).ok()?;
            Some((ue, answer.sqn))
        });
        let Some((ue, sqn)) = found else {
            return Err(Violation::new("a vector is some UE's", &id.label()));
        };
        let detail = format!("ue{} of {}", ue.number, ue.home.label());
        if ue.home != id {
            if abroad {
                return Err(Violation::new("a vector leaves its home alone", &id.label()));
            }
            return self
                .may_be_served(id, ue, asked_with, since)
                .map_err(|rule| Violation::new(rule, &detail));
        }
        let history = self.system(id).engine.history();
        let (covered, epoch) = reserved_seq(history, &ue.real.impi)?;
        if sqn.seq(IND_BITS_DEFAULT) > covered {
            let detail = format_args!("{sqn:?} of ue{}, stored {covered}", ue.number);
            return Err(Violation::new("an SQN leaves after it is reserved in storage", &detail));
        }
        if abroad {
            self.may_be_given(ue, asked_with, since)
                .map_err(|rule| Violation::new(rule, &detail))?;
        } else if *asked_with != ue.real {
            return Err(Violation::new("at home a user has a real pair", &detail));
        }
        let (number, impi) = (ue.number, ue.real.impi.clone());
        if !self.checks.issued.insert((number, epoch, sqn)) {
            let detail = format_args!("{sqn:?} of ue{number} in epoch {epoch}");
            return Err(Violation::new("no SQN leaves twice", &detail));
        }
        self.checks.facts.ledger_mut(id).vector_left(&impi, epoch, sqn, &vector.rand)
    }

    /// Since when a Cx request has waited for the answer that leaves.
    fn cx_since(&self, id: SystemId, to: &ReplyTo) -> Timestamp {
        let since = match to {
            ReplyTo::Role(request) => self.system(id).asked.get(request).map(|(since, _)| *since),
            ReplyTo::World(handle) => match self.system(id).parked.get(handle) {
                Some(Parked::Diameter { since, .. }) => Some(*since),
                Some(Parked::Http { .. }) | None => None,
            },
        };
        since.unwrap_or_else(|| self.now())
    }

    /// Whether the partner may ask vectors of `ue` with a pair: by a binding or grant of its home.
    pub(super) fn may_be_given(
        &self,
        ue: &UeHost,
        asked_with: &UserIdentity,
        since: Timestamp,
    ) -> Result<(), &'static str> {
        let partner = ue.home.other().database();
        if *asked_with == ue.real {
            let key = grant_key(&ue.real.impi, &partner);
            return self.is_good(ue.home, RecordKind::Grant, &key, since, |value| {
                let (user, at, until, allowed) = decode::<GrantRecord>(value).ok()?;
                (user == ue.real && at == partner).then_some((Some(until), allowed))
            });
        }
        let key = asked_with.impi.as_str();
        self.is_good(ue.home, RecordKind::OutboundBinding, key, since, |value| {
            let (impu, user, at, lease, _, allowed) = decode::<OutboundRecord>(value).ok()?;
            let fits = impu == asked_with.impu && user == ue.real && at == partner;
            fits.then_some((lease.end(), allowed))
        })
    }

    /// Whether the partner `id` may serve `ue` with an inbound pair: by a binding of its own.
    fn may_be_served(
        &self,
        id: SystemId,
        ue: &UeHost,
        asked_with: &UserIdentity,
        since: Timestamp,
    ) -> Result<(), &'static str> {
        let (key, home) = (asked_with.impi.as_str(), ue.home.database());
        self.is_good(id, RecordKind::InboundBinding, key, since, |value| {
            let (impu, primary, lease, _, allowed) = decode::<InboundRecord>(value).ok()?;
            let fits = impu == asked_with.impu
                && primary.database == home
                && self.is_lent_or_granted(ue, &primary.identity);
            fits.then_some((lease.end(), allowed))
        })
    }

    /// Whether a version of a record that was the latest when a vector was asked for, or later, makes it good:
    /// its time was not over, it was not given back, and its agreement had not ended.
    fn is_good(
        &self,
        id: SystemId,
        kind: RecordKind,
        key: &str,
        since: Timestamp,
        terms: impl Fn(&[u8]) -> Option<Terms>,
    ) -> Result<(), &'static str> {
        let given_back = self.checks.given_back.get(&(id, kind, key.to_owned()));
        let mut broken = NOT_STORED;
        for (seq, value) in self.system(id).engine.history().since(kind, key, since) {
            let Some((end, allowed)) = value.and_then(&terms) else { continue };
            if end.is_some_and(|end| end <= since) || allowed.is_some_and(|it| it.until <= since) {
                continue;
            }
            if given_back.is_some_and(|at| seq <= *at) {
                broken = WITHDRAWN;
            } else if allowed.is_none_or(|it| self.holds(id, it, since)) {
                return Ok(());
            }
        }
        Err(broken)
    }

    /// Whether an agreement of `id` had not been withdrawn at `since`, and its end is not confirmed.
    fn holds(&self, id: SystemId, allowed: Allowance, since: Timestamp) -> bool {
        let key = allowed.agreement.0.to_string();
        let history = self.system(id).engine.history();
        let mut versions = history.since(RecordKind::WithdrawnAgreement, &key, since);
        !self.checks.ended.contains(&(id, allowed.agreement))
            && versions.any(|(_, withdrawn)| withdrawn.is_none())
    }

    /// Takes note that a SIP database has confirmed the end of what `request` names.
    pub(super) fn confirm_end(&mut self, id: SystemId, request: &Request, asked_at: Timestamp) {
        let mut gone = Vec::new();
        match request {
            Request::ReleaseOutbound(impi) => {
                gone.push((RecordKind::OutboundBinding, impi.as_str().to_owned()));
            }
            Request::ReleaseInbound(impi) => {
                self.checks.assigned.remove(&(id, impi.clone()));
                gone.push((RecordKind::InboundBinding, impi.as_str().to_owned()));
            }
            Request::DeleteGrant { impi, partner } => {
                gone.push((RecordKind::Grant, grant_key(impi, partner)));
            }
            Request::EndVisits(user) | Request::DeleteSubscriber(user) => {
                gone = outbound_ever(self.system(id).engine.history(), user);
                let key = grant_key(user, &id.other().database());
                gone.push((RecordKind::Grant, key));
            }
            Request::WithdrawAgreement(agreement) => {
                self.checks.ended.insert((id, *agreement));
            }
            Request::DeleteDigestSubscriber(impi) => {
                gone.push((RecordKind::DigestSubscriber, impi.as_str().to_owned()));
            }
            Request::PutSubscriber(_)
            | Request::PutDigestSubscriber(_)
            | Request::GetDigestSubscriber(_)
            | Request::PutSubscribers(_)
            | Request::GetSubscriber(_)
            | Request::PutPool(_)
            | Request::GetPool(_)
            | Request::BindOutbound { .. }
            | Request::PutGrant { .. }
            | Request::BindInbound { .. }
            | Request::MapInbound { .. }
            | Request::Check(_)
            | Request::GetOutbound(_)
            | Request::GetInbound(_) => {}
        }
        for (kind, key) in gone {
            let last = last_gone(self.system(id).engine.history(), kind, &key, asked_at);
            if let Some(last) = last {
                let known = self.checks.given_back.entry((id, kind, key)).or_default();
                *known = last.max(*known);
            }
        }
    }
}

impl Checks {
    /// Takes note that a pair may end from now on, so that another may be given next.
    pub(super) fn asked(&mut self, request: &Request) {
        if let Request::ReleaseOutbound(impi) | Request::ReleaseInbound(impi) = request {
            // whose outbound pair ends gets another inbound one
            let holder = |id| self.facts.ledger(id).holder(Direction::Outbound, impi);
            let holder = holder(SystemId::A).or_else(|| holder(SystemId::B));
            let user = holder.map(|holder| holder.user.impi.clone());
            self.told
                .retain(|_, told| told.identity.impi != *impi && Some(&told.real) != user.as_ref());
        } else if let Request::DeleteGrant { impi, .. }
        | Request::EndVisits(impi)
        | Request::DeleteSubscriber(impi) = request
        {
            self.told.retain(|_, told| told.real != *impi);
        }
    }
}

/// The last version of a record that whoever asked at `asked_at` for its end, and had it confirmed now, may
/// take for gone: what is stored anew meanwhile is not meant.
fn last_gone(
    history: &History,
    kind: RecordKind,
    key: &str,
    asked_at: Timestamp,
) -> Option<CommitSeq> {
    let mut versions = history.versions(kind, key)?.iter().rev();
    let (newest, version) = versions.next()?;
    if version.value.is_none() || version.durable_at < asked_at {
        return Some(*newest);
    }
    versions.find(|(_, version)| version.value.is_none()).map(|(seq, _)| *seq)
}

/// Every outbound pair that a subscriber ever had.
fn outbound_ever(history: &History, user: &Impi) -> Vec<(RecordKind, String)> {
    const KIND: RecordKind = RecordKind::OutboundBinding;
    let is_users = |value: &[u8]| {
        decode::<OutboundRecord>(value).is_ok_and(|(_, holder, ..)| holder.impi == *user)
    };
    let all = history.all(KIND).filter(|(_, versions)| {
        versions.values().filter_map(|version| version.value.as_deref()).any(is_users)
    });
    all.map(|(key, _)| (KIND, String::from_utf8_lossy(key).into_owned())).collect()
}

/// The highest SEQ that the stored record lets leave, and in which epoch.
fn reserved_seq(history: &History, impi: &Impi) -> Result<(u64, u32), Violation> {
    let stored = history.current(RecordKind::Subscriber, impi.as_str());
    let Some(stored) = stored else {
        return Err(Violation::new("vectors are given for stored subscribers", &"none"));
    };
    let (_, _, _, _, reserved, epoch, ..) = decode::<SubscriberRecord>(stored)
        .map_err(|error| Violation::new("what was stored can be read", &error))?;
    Ok((reserved, epoch))
}
