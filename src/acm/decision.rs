//! The decision about a request of a partner: the first one holds, whoever makes it.

use super::{
    AcmServer,
    check::invalid,
    client::{Served, not_authorised, not_found, report},
    ordered::Ordered,
    record::{Handler, IncomingState},
};
use crate::{
    api::{
        acm_client::{Answer, Decision},
        acm_interconnection::{ElementNames, Refusal, ResultCode, TEXT_OCTETS_MAX, TransactionKey},
        acm_payload::{Kind, Payload},
    },
    identity::{FunctionalAlias, McServiceId},
    outbox::Context,
    store::Mutation,
};

/// What a request came to.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) result: ResultCode,
    pub(super) text: Option<String>,
    pub(super) elements: ElementNames,
}

impl Outcome {
    pub(super) fn new(result: ResultCode, text: &str) -> Self {
        Self { result, text: Some(text.to_owned()), elements: ElementNames::default() }
    }

    pub(super) fn of(result: ResultCode, text: &str, elements: ElementNames) -> Self {
        Self { result, text: Some(text.to_owned()), elements }
    }

    pub(super) const fn bare(result: ResultCode) -> Self {
        Self { result, text: None, elements: ElementNames(Vec::new()) }
    }
}

impl AcmServer {
    /// Takes the decision of a user (`XCFG-10`, `XCFG-11`, `GRP-9`, `UPD-6`, `UPD-7`), who must have the right now: it
    /// may have been withdrawn since the request came.
    pub(super) fn decide(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        (user, alias): (&McServiceId, Option<FunctionalAlias>),
        key: &TransactionKey,
        decision: Decision,
    ) -> Served {
        let held = self.incoming.get(key).map(|held| held.clone());
        let mut held = held.ok_or_else(not_found)?;
        let kind = held.record.subject.kind;
        if !self.may_decide(user, kind, &key.origin) {
            return Err(not_authorised("this user may not decide such requests"));
        }
        if held.record.is_undecided() && ctx.now >= held.record.subject.envelope.expires {
            self.expire(ctx, turn, key);
            held = self.incoming.get(key).map(|held| held.clone()).ok_or_else(not_found)?;
        }
        match held.record.state {
            IncomingState::Waiting => {}
            IncomingState::Stored => {
                return Err(Refusal::new(ResultCode::Busy, "it is being assessed; try again"));
            }
            IncomingState::Deciding
            | IncomingState::Answered
            | IncomingState::Acknowledged
            | IncomingState::Undelivered => {
                let response = held.record.response.map(Box::new);
                return Ok((None, Answer::AlreadyDecided(response)));
            }
        }
        let is_theirs =
            held.queue.as_ref().is_some_and(|queue| self.sees_item(user, queue, &key.origin));
        if !is_theirs {
            return Err(not_authorised("the request is for another user now"));
        }
        Self::check_own_alias(turn, user, alias.as_ref(), "alias")?;
        let handler = Handler { id: Some(user.clone()), alias };
        self.follow_decision(ctx, turn, key, (kind, handler), decision)
    }

    fn follow_decision(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        key: &TransactionKey,
        (kind, handler): (Kind, Handler),
        decision: Decision,
    ) -> Served {
        let too_long =
            |reason: &Option<String>| reason.as_ref().is_some_and(|it| it.len() > TEXT_OCTETS_MAX);
        match decision {
            Decision::Reject { reason } if too_long(&reason) => {
                return Err(invalid("has more than 1024 octets", ["reason"]));
            }
            Decision::Accept | Decision::Reject { .. } => {}
        }
        report(ctx, kind.step(10, (0, None), 6), "the user looks at it");
        report(ctx, kind.step(11, (9, None), 7), "the user decides");
        match decision {
            Decision::Accept => self.accept(ctx, turn, key, handler),
            Decision::Reject { reason } => {
                let result = if kind == Kind::Groups {
                    ResultCode::Declined
                } else {
                    ResultCode::RejectedByUser
                };
                let outcome = Outcome { text: reason, ..Outcome::bare(result) };
                self.respond(ctx, turn, key, handler, outcome, Vec::new());
            }
        }
        let held = self.incoming.get(key);
        let result = held.and_then(|held| held.record.response.as_ref().map(|it| it.result));
        Ok((None, Answer::Decided(result)))
    }

    /// Accepts a request: brings it into force here together with the response, or has the configuration server do it
    /// first.
    pub(super) fn accept(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        key: &TransactionKey,
        handler: Handler,
    ) {
        let Some(payload) = self.payloads.get(key).map(|payload| payload.clone()) else { return };
        match &*payload {
            Payload::Configuration(_) | Payload::PleaseSend => {
                let Some(mut held) = self.incoming.get(key).map(|held| held.clone()) else {
                    return;
                };
                held.record.state = IncomingState::Deciding;
                held.record.accepted_by = Some(handler);
                self.commit(ctx, [held.record.put()]);
                self.incoming.insert(key.clone(), held);
                turn.set_undecided(key, payload.kind(), false);
                self.place_incoming(turn, key);
                self.put_in_force(ctx, turn, key);
            }
            Payload::Groups(_)
            | Payload::Update { .. }
            | Payload::AddUsers { .. }
            | Payload::RemoveUsers { .. }
            | Payload::GroupsWithdrawn(_) => {
                let (outcome, mutations) = match self.take_effect(ctx.now, turn, key, &payload) {
                    Ok(taken) => taken,
                    Err(outcome) => (outcome, Vec::new()),
                };
                self.respond(ctx, turn, key, handler, outcome, mutations);
            }
        }
    }

    /// Ends a request: the response and what it brought into force become durable together. Then it leaves.
    pub(super) fn respond(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        key: &TransactionKey,
        handler: Handler,
        outcome: Outcome,
        mut mutations: Vec<Mutation>,
    ) {
        let Some(mut held) = self.incoming.get(key).map(|held| held.clone()) else { return };
        if held.record.response.is_some() {
            return;
        }
        let result = outcome.result;
        let kind = held.record.subject.kind;
        let response = self.response_to(ctx, &held.record.subject.envelope, handler, outcome);
        held.record.response = Some(response);
        held.record.accepted_by = None;
        // Whoever took it back has the outcome as the answer.
        held.record.state = if result == ResultCode::Cancelled {
            IncomingState::Acknowledged
        } else {
            IncomingState::Answered
        };
        self.close_link(&mut held.link);
        mutations.push(held.record.put());
        self.commit(ctx, mutations);
        self.incoming.insert(key.clone(), held);
        turn.set_undecided(key, kind, false);
        self.place_incoming(turn, key);
        self.send_incoming(ctx, turn, key);
        if result == ResultCode::Cancelled {
            self.drop_payload(ctx, turn, key);
        }
        self.schedule(turn, key);
        if result.is_accepted() {
            self.supersede(ctx, turn, key, kind);
        }
    }

    /// Ends older requests that wait still, now that something newer is in force.
    fn supersede(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        key: &TransactionKey,
        kind: Kind,
    ) {
        let kinds: &[Kind] = match kind {
            Kind::Configuration => &[Kind::Configuration],
            Kind::Update | Kind::AddUsers => &[Kind::Update],
            Kind::Groups | Kind::RemoveUsers | Kind::GroupsWithdrawn | Kind::PleaseSend => &[],
        };
        for kind in kinds {
            for other in turn.undecided(&key.origin, *kind) {
                if let Some(outcome) = self.is_superseded(&other) {
                    self.respond(ctx, turn, &other, Handler::default(), outcome, Vec::new());
                }
            }
        }
    }
}
