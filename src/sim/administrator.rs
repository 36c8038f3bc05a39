//! What the administrators of the systems do: now and then they end an agreement about one user, and make
//! it again later, end all visits of one, or revoke its pair at the partner. Meanwhile, and until the user has
//! asked for connection details again, refusals are due.

use std::time::Duration;

use crate::{
    api::{
        configuration::{Answer, Request},
        migration_identity::{self as management, Direction, Refusal},
    },
    identity::Impi,
    time::Timestamp,
};

use super::{
    Event, SystemId, Violation, Who, World,
    http::{Asker, Inquiry},
};

/// How long a question may take before it is asked again.
const QUESTION: Duration = Duration::from_secs(15);

/// How long an agreement is over; longer than a request of the user's is under way.
const OVER: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(90));

/// How long a refusal may be under way: a REGISTER that began before, with its retransmissions.
const BELATED: Duration = Duration::from_secs(70);

/// What the administrators have done about one UE.
#[derive(Debug, Default)]
pub(super) struct Administrator {
    stage: Stage,
    /// What it is that ends.
    what: What,
    /// Names the one wake-up or answer waited for; others are stale.
    token: u64,
    /// Which system it is done at.
    at: Option<SystemId>,
    /// Up to which question the UE may have asked before the agreement was made again; `None` if it has
    /// asked since.
    asked_before: Option<u64>,
    /// Until when a refusal may come that was due earlier.
    belated_until: Timestamp,
}

/// What an administrator ends.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum What {
    /// An agreement about the user, for a while.
    #[default]
    Agreement,
    /// All visits of the user.
    Visits,
    /// The pair that the partner has lent the user.
    InboundPair,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Stage {
    /// The agreement is in force.
    #[default]
    InForce,
    /// It is to end.
    Ending,
    /// It has ended, and is to be made again.
    Making,
}

impl Administrator {
    /// Whether the user may be refused now.
    pub(super) fn excuses_refusal(&self, now: Timestamp) -> bool {
        self.stage != Stage::InForce || self.asked_before.is_some() || now < self.belated_until
    }

    /// Takes note that the UE got connection details by its `question`.
    pub(super) fn details_arrived(&mut self, question: u64, now: Timestamp) {
        let asked_since = self.asked_before.is_some_and(|before| question > before);
        if self.stage == Stage::InForce && asked_since {
            self.asked_before = None;
            self.belated_until = now + BELATED;
        }
    }
}

impl World {
    /// Ends an agreement about one of the UEs or what was lent to it, unless something has ended already.
    pub(super) fn end_something(&mut self) {
        let number = usize::try_from(self.entropy.below(self.ues.len() as u64)).unwrap_or(0);
        let by_home = self.entropy.happens(500);
        let what = match self.entropy.below(4) {
            0 => What::Visits,
            1 => What::InboundPair,
            _ => What::Agreement,
        };
        let Some(ue) = self.ues.get_mut(number) else { return };
        if ue.administrator.stage != Stage::InForce {
            return;
        }
        let at_home = what == What::Visits || what == What::Agreement && by_home;
        ue.administrator.stage = Stage::Ending;
        ue.administrator.what = what;
        ue.administrator.at = Some(if at_home { ue.home } else { ue.home.other() });
        self.administrator_asks(number);
    }

    fn administrator_wakes_after(&mut self, number: usize, span: Duration) {
        let Some(ue) = self.ues.get_mut(number) else { return };
        ue.administrator.token += 1;
        let token = ue.administrator.token;
        self.queue.put_after(span, Event::Administrator { ue: number, token });
    }

    pub(super) fn administrator_wakes(&mut self, number: usize, token: u64) {
        if self.ues.get(number).is_some_and(|ue| ue.administrator.token == token) {
            self.administrator_asks(number);
        }
    }

    fn administrator_asks(&mut self, number: usize) {
        self.administrator_wakes_after(number, QUESTION);
        let Some(ue) = self.ues.get(number) else { return };
        let Some(at) = ue.administrator.at else { return };
        let what = ue.administrator.what;
        if what != What::Agreement {
            return self.administrator_revokes(number, at, what);
        }
        let agreement = ue.agreement(at);
        let request = match ue.administrator.stage {
            Stage::InForce => return,
            Stage::Ending => Request::DeleteAgreement(agreement.key),
            Stage::Making => Request::PutAgreement(agreement),
        };
        let asker = Asker::Administrator { ue: number, token: ue.administrator.token };
        self.ask(at, Inquiry::ConfigServer(request), asker);
    }

    /// Asks a SIP database to end what it has lent a UE's user.
    fn administrator_revokes(&mut self, number: usize, at: SystemId, what: What) {
        let Some(ue) = self.ues.get(number) else { return };
        let (user, token) = (ue.real.impi.clone(), ue.administrator.token);
        let request = if what == What::Visits {
            self.record(Who::World, || "all visits of a user are to end".to_owned());
            management::Request::EndVisits(user.clone())
        } else if let Some(pair) = self.inbound_of(number) {
            self.record(Who::World, || "an inbound pair is to be revoked".to_owned());
            management::Request::ReleaseInbound(pair)
        } else {
            return self.revoked(number); // it has none, or not any more
        };
        let asker = Asker::Administrator { ue: number, token };
        let question = self.ask(at, Inquiry::Database(request), asker);
        self.checks.asked_by_administrator(user, question);
    }

    /// The pair that the partner has stored for a UE's user.
    pub(super) fn inbound_of(&self, number: usize) -> Option<Impi> {
        let ue = self.ues.get(number)?;
        let (here, there) = (self.tables(ue.home).ok()?, self.tables(ue.home.other()).ok()?);
        let seen = there.as_users_see(&ue.home.other().database(), &here);
        let held = seen.bindings.iter().find(|((direction, _), binding)| {
            *direction == Direction::Inbound && binding.holder.user == ue.real
        });
        held.map(|((_, impi), _)| impi.clone())
    }

    /// What was to end has ended: the user has to ask for connection details again.
    fn revoked(&mut self, number: usize) {
        let next_question = self.next_question;
        let Some(ue) = self.ues.get_mut(number) else { return };
        ue.administrator.stage = Stage::InForce;
        ue.administrator.asked_before = Some(next_question);
        ue.administrator.token += 1;
    }

    /// An answer of a SIP database to an administrator.
    pub(super) fn revocation_answered(
        &mut self,
        number: usize,
        token: u64,
        answer: &management::Answer,
    ) {
        if self.ues.get(number).is_none_or(|ue| ue.administrator.token != token) {
            return;
        }
        match answer {
            management::Answer::Refused(Refusal::Unavailable) => {} // asked again
            management::Answer::Done | management::Answer::Refused(Refusal::NotFound(_)) => {
                self.revoked(number);
            }
            management::Answer::Refused(_)
            | management::Answer::RowsRefused(_)
            | management::Answer::Binding(_)
            | management::Answer::Granted { .. }
            | management::Answer::Subscriber { .. }
            | management::Answer::DigestSubscriber { .. }
            | management::Answer::Pool { .. } => {
                let detail = format!("{answer:?}");
                self.violate(Violation::new("what was lent can be revoked", &detail));
            }
        }
    }

    /// An answer to an administrator.
    pub(super) fn administrator_answered(&mut self, number: usize, token: u64, answer: &Answer) {
        let next_question = self.next_question;
        let Some(administrator) =
            self.ues.get_mut(number).map(|ue| &mut ue.administrator).filter(|it| it.token == token)
        else {
            return;
        };
        match (administrator.stage, answer) {
            (_, Answer::Refused(Refusal::Unavailable)) | (Stage::InForce, _) => {} // asked again
            (Stage::Ending, Answer::Done | Answer::Refused(Refusal::NotFound(_))) => {
                administrator.stage = Stage::Making;
                let span = self.entropy.span(OVER.0, OVER.1);
                self.administrator_wakes_after(number, span);
            }
            (Stage::Making, Answer::Done | Answer::Agreement { .. }) => {
                administrator.stage = Stage::InForce;
                administrator.asked_before = Some(next_question);
                administrator.token += 1;
            }
            (Stage::Ending | Stage::Making, _) => {
                let detail = format!("{answer:?}");
                self.violate(Violation::new("an agreement can be ended and made", &detail));
            }
        }
    }
}
