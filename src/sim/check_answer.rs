//! What must hold of an answer of a SIP database that leaves: all that it names is durable, and what it says
//! is not there was not there.

use crate::{
    api::{
        configuration,
        migration_identity::{Allowance, Answer, Binding, Direction, Lent, Refusal, Request},
    },
    diameter::cx::{self, ServerAssignmentType},
    identity::{Impu, SipDatabaseId, UserIdentity},
    outbox::ReplyTo,
    store::{RecordKind, decode},
    time::Timestamp,
};

use super::{
    SystemId, Violation, World,
    facts::{agreement_key, holder_of},
    http::Inquiry,
    ledger::grant_key,
    tables::{
        GrantRecord, Holder, InboundRecord, LeaseRecord, OutboundRecord, PoolRecord, SourceRecord,
        SubscriberRecord,
    },
};
/// A lent pair as a version of its record has it.
struct LentPair {
    impu: Impu,
    holder: Holder,
    lease: LeaseRecord,
    allowed: Option<Allowance>,
}

impl World {
    /// What a SIP database answers is stored, and fits what it answered before.
    pub(super) fn check_management(
        &mut self,
        id: SystemId,
        to: &ReplyTo,
        answer: &Answer,
    ) -> Result<(), Violation> {
        let begun = self.cause_of(id, to).and_then(|it| Some(self.checks.facts.begun(&it)?.0));
        if let Some(request) = self.question_of(id, to).cloned()
            && let Some(since) = begun
        {
            match answer {
                Answer::Binding(binding) => {
                    self.enter_lent(&request, binding.lent);
                    self.check_binding(id, &request, since, binding)?;
                }
                Answer::Granted { until, lent } => {
                    self.enter_lent(&request, *lent);
                    self.check_granted(id, &request, since, *until)?;
                }
                Answer::Done => self.confirm_end(id, &request, since),
                Answer::Refused(Refusal::NotFound(_)) => {
                    self.check_absent(id, record_of(&request), since)?;
                }
                Answer::Pool { direction, total, .. } => {
                    self.check_pool(id, &request, since, (*direction, *total))?;
                }
                Answer::Subscriber { impi, impus, seq } => {
                    let known = |value: &[u8]| {
                        decode::<SubscriberRecord>(value)
                            .is_ok_and(|it| it.0 == *impus && *seq <= it.4)
                    };
                    let kind = RecordKind::Subscriber;
                    self.check_stored(id, (kind, impi.as_str()), since, known)?;
                }
                // No script provisions a subscriber with a password.
                Answer::Refused(_) | Answer::RowsRefused(_) | Answer::DigestSubscriber { .. } => {}
            }
        }
        self.enter_answer(id, to, answer)
    }

    /// What a configuration server does not find was not there.
    pub(super) fn check_configuration(
        &mut self,
        id: SystemId,
        to: &ReplyTo,
        answer: &configuration::Answer,
    ) -> Result<(), Violation> {
        use configuration::Request as Asked;
        let asked = match to {
            ReplyTo::Role(request) => self.system(id).configured.get(request).cloned(),
            ReplyTo::World(_) => match self.inquiry_of(id, to) {
                Some((_, Inquiry::ConfigServer(request))) => Some(request.clone()),
                _ => None,
            },
        };
        let (Some(request), Some(cause)) = (&asked, self.cause_of(id, to)) else { return Ok(()) };
        if let Asked::PutSystemConfiguration { system, configuration }
        | Asked::PutExchangedConfiguration { system, configuration, .. } = request
            && *answer == configuration::Answer::Done
        {
            self.enter_in_force(id, system, configuration.revision);
        }
        let named = match request {
            Asked::GetUser(name) | Asked::DeleteUser(name) => {
                Some((RecordKind::User, name.as_str().to_owned()))
            }
            Asked::GetAgreement(key) | Asked::DeleteAgreement(key) => {
                Some((RecordKind::Agreement, agreement_key(key)))
            }
            Asked::GetSystemConfiguration(of) | Asked::DeleteSystemConfiguration(of) => {
                Some((RecordKind::SystemConfiguration, of.to_string()))
            }
            Asked::GetUserProfile(key)
            | Asked::ReadUserProfile(key)
            | Asked::DeleteUserProfile(key) => Some((RecordKind::UserProfile, key.record_key())),
            Asked::PutUser(_)
            | Asked::PutUserProfile { .. }
            | Asked::PutUsers(_)
            | Asked::PutAgreement(_)
            | Asked::PutSystemConfiguration { .. }
            | Asked::PutExchangedConfiguration { .. }
            | Asked::GetConfigurationVersion { .. }
            | Asked::Check(_) => None,
        };
        let begun = self.checks.facts.begun(&cause);
        if matches!(answer, configuration::Answer::Refused(Refusal::NotFound(_)))
            && let Some((since, _)) = begun
        {
            self.check_absent(id, named, since)?;
        }
        self.enter_configured(&cause, answer)
    }

    /// What a SIP database tells its SIP core of an assignment is stored.
    pub(super) fn check_assignment(
        &mut self,
        id: SystemId,
        to: &ReplyTo,
        answer: &cx::ServerAssignmentAnswer,
    ) -> Result<(), Violation> {
        let ReplyTo::Role(request) = to else { return Ok(()) };
        let asked = self.system(id).asked.get(request).cloned();
        let Some((since, cx::Request::ServerAssignment(asked))) = asked else { return Ok(()) };
        let Some(impi) = asked.impi else { return Ok(()) };
        if !answer.result.is_success() {
            self.checks.assigned.remove(&(id, impi)); // it does not know what it was told
            return Ok(());
        }
        let wanted = is_registered_by(asked.assignment);
        let fits = |impus: &[Impu], registered: bool| {
            wanted.is_none_or(|wanted| wanted == registered)
                && answer.user_data.as_ref().is_none_or(|it| it.impi == impi && it.impus == impus)
        };
        let history = self.system(id).engine.history();
        let mut lent = history.since(RecordKind::InboundBinding, impi.as_str(), since);
        let mut own = history.since(RecordKind::Subscriber, impi.as_str(), since);
        let is_lent = lent.any(|(_, value)| {
            let lent = value.and_then(|value| decode::<InboundRecord>(value).ok());
            lent.is_some_and(|(impu, _, lease, ..)| fits(&[impu], lease.is_active()))
        });
        let is_own = own.any(|(_, value)| {
            let own = value.and_then(|value| decode::<SubscriberRecord>(value).ok());
            own.is_some_and(|(impus, .., registered)| fits(&impus, registered))
        });
        if is_lent || is_own {
            return Ok(());
        }
        let detail = format_args!("{:?} of {}", asked.assignment, impi.as_str());
        Err(Violation::new("an assignment is confirmed after it is stored", &detail))
    }

    /// Takes note of how a subscriber came to have what it is lent for its partner.
    fn enter_lent(&mut self, request: &Request, lent: Lent) {
        if let Request::BindOutbound { user, .. } | Request::PutGrant { user, .. } = request {
            self.checks.lent.insert(user.impi.clone(), lent);
        }
    }

    /// A grant that is confirmed is stored with the end that is told.
    fn check_granted(
        &self,
        id: SystemId,
        request: &Request,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<(), Violation> {
        let Request::PutGrant { user, partner, .. } = request else { return Ok(()) };
        let key = grant_key(&user.impi, partner);
        self.check_stored(id, (RecordKind::Grant, &key), since, |value| {
            decode::<GrantRecord>(value)
                .is_ok_and(|(of, at, end, _)| of == *user && at == *partner && end == until)
        })
    }

    /// A pair that leaves: its binding is stored as it is shown.
    fn check_binding(
        &mut self,
        id: SystemId,
        request: &Request,
        since: Timestamp,
        binding: &Binding,
    ) -> Result<(), Violation> {
        let asked = holder_of(request);
        let direction = match (&asked, request) {
            (Some((direction, _)), _) => *direction,
            (None, Request::GetInbound(_)) => Direction::Inbound,
            (None, _) => Direction::Outbound,
        };
        let pair = &binding.identity;
        let fits = |lent: &LentPair| {
            let end = lent.lease.end().unwrap_or(Timestamp::MAX);
            let until = lent.allowed.map_or(end, |allowed| end.min(allowed.until));
            lent.impu == pair.impu
                && until == binding.reserved_until
                && asked.as_ref().is_none_or(|(_, holder)| *holder == lent.holder)
                && binding.details.as_ref().is_none_or(|details| {
                    details.holder == lent.holder.user
                        && details.other_database == lent.holder.other
                        && details.lease_end == lent.lease.end()
                        && details.agreement == lent.allowed
                })
        };
        let kind = kind_of(direction);
        let known = |value: &[u8]| lent(direction, value).is_some_and(|lent| fits(&lent));
        if self.check_stored(id, (kind, pair.impi.as_str()), since, known).is_err() {
            let detail = format_args!("{}", pair.impi.as_str());
            return Err(Violation::new("a pair is told after it is stored", &detail));
        }
        let last = self.checks.facts.ledger(id).holder(direction, &pair.impi);
        if asked.is_some_and(|(_, holder)| last.is_some_and(|last| *last != holder)) {
            // whether it may be is the ledger's to say
            self.checks.told_to.remove(&pair.impi);
        }
        Ok(())
    }

    /// A version of a record that was the latest at `since` or later is `known`.
    fn check_stored(
        &self,
        id: SystemId,
        (kind, key): (RecordKind, &str),
        since: Timestamp,
        known: impl Fn(&[u8]) -> bool,
    ) -> Result<(), Violation> {
        let history = self.system(id).engine.history();
        if history.since(kind, key, since).any(|(_, value)| value.is_some_and(&known)) {
            return Ok(());
        }
        let detail = format_args!("{} {key}", kind.name());
        Err(Violation::new("what is told is stored", &detail))
    }

    /// A record that is not found was not there at some time since it was asked for.
    fn check_absent(
        &self,
        id: SystemId,
        named: Option<(RecordKind, String)>,
        since: Timestamp,
    ) -> Result<(), Violation> {
        let Some((kind, key)) = named else { return Ok(()) };
        let history = self.system(id).engine.history();
        if history.since(kind, &key, since).any(|(_, value)| value.is_none()) {
            return Ok(());
        }
        let detail = format_args!("{} {key}", kind.name());
        Err(Violation::new("what is stored is found", &detail))
    }

    /// A pool that is shown is stored, and has not given more than is stored.
    fn check_pool(
        &self,
        id: SystemId,
        request: &Request,
        since: Timestamp,
        (direction, total): (Direction, u64),
    ) -> Result<(), Violation> {
        let Request::GetPool(name) = request else { return Ok(()) };
        self.check_stored(id, (RecordKind::Pool, name), since, |value| {
            decode::<PoolRecord>(value).is_ok_and(|(stored, source)| {
                let within = match source {
                    SourceRecord::Generated { reserved, .. } => total <= reserved,
                    SourceRecord::Listed { .. } => true,
                };
                stored == direction && within
            })
        })
    }

    /// The question that a management answer belongs to.
    fn question_of(&self, id: SystemId, to: &ReplyTo) -> Option<&Request> {
        if let ReplyTo::Role(request) = to {
            return self.system(id).managed.get(request);
        }
        match self.inquiry_of(id, to)? {
            (_, Inquiry::Database(request)) => Some(request),
            (
                _,
                Inquiry::ConfigServer(_)
                | Inquiry::Details(..)
                | Inquiry::Access(..)
                | Inquiry::Acm(..)
                | Inquiry::AcmClient(_)
                | Inquiry::AcmServer(_)
                | Inquiry::Aliases(_),
            ) => None,
        }
    }
}

const fn kind_of(direction: Direction) -> RecordKind {
    match direction {
        Direction::Outbound => RecordKind::OutboundBinding,
        Direction::Inbound => RecordKind::InboundBinding,
    }
}

fn lent(direction: Direction, value: &[u8]) -> Option<LentPair> {
    let lent = |impu, user: UserIdentity, other: SipDatabaseId, lease, allowed| {
        Some(LentPair { impu, holder: Holder { user, other }, lease, allowed })
    };
    match direction {
        Direction::Outbound => {
            let (impu, user, other, lease, _, allowed) = decode::<OutboundRecord>(value).ok()?;
            lent(impu, user, other, lease, allowed)
        }
        Direction::Inbound => {
            let (impu, primary, lease, _, allowed) = decode::<InboundRecord>(value).ok()?;
            lent(impu, primary.identity, primary.database, lease, allowed)
        }
    }
}

/// The record without which a request is refused.
fn record_of(request: &Request) -> Option<(RecordKind, String)> {
    match request {
        Request::GetSubscriber(impi) | Request::DeleteSubscriber(impi) => {
            Some((RecordKind::Subscriber, impi.as_str().to_owned()))
        }
        Request::GetDigestSubscriber(impi) | Request::DeleteDigestSubscriber(impi) => {
            Some((RecordKind::DigestSubscriber, impi.as_str().to_owned()))
        }
        Request::BindOutbound { user, .. } | Request::PutGrant { user, .. } => {
            Some((RecordKind::Subscriber, user.impi.as_str().to_owned()))
        }
        Request::GetPool(name) => Some((RecordKind::Pool, name.clone())),
        Request::DeleteGrant { impi, partner } => {
            Some((RecordKind::Grant, grant_key(impi, partner)))
        }
        Request::GetOutbound(impi) | Request::ReleaseOutbound(impi) => {
            Some((RecordKind::OutboundBinding, impi.as_str().to_owned()))
        }
        Request::GetInbound(impi) | Request::ReleaseInbound(impi) => {
            Some((RecordKind::InboundBinding, impi.as_str().to_owned()))
        }
        Request::PutSubscriber(_)
        | Request::PutDigestSubscriber(_)
        | Request::PutSubscribers(_)
        | Request::PutPool(_)
        | Request::BindInbound { .. }
        | Request::MapInbound { .. }
        | Request::WithdrawAgreement(_)
        | Request::EndVisits(_)
        | Request::Check(_) => None,
    }
}

/// Whether the user is registered after what a SIP core reports; `None` if that says nothing of it.
const fn is_registered_by(assignment: ServerAssignmentType) -> Option<bool> {
    use ServerAssignmentType as Type;
    match assignment {
        Type::Registration | Type::ReRegistration => Some(true),
        Type::TimeoutDeregistration
        | Type::UserDeregistration
        | Type::TimeoutDeregistrationStoreServerName
        | Type::UserDeregistrationStoreServerName
        | Type::AdministrativeDeregistration
        | Type::DeregistrationTooMuchData => Some(false),
        Type::NoAssignment
        | Type::UnregisteredUser
        | Type::AuthenticationFailure
        | Type::AuthenticationTimeout
        | Type::AaaUserDataRequest
        | Type::PgwUpdate
        | Type::Restoration => None,
    }
}
