//! Transactions that this system began: how they stand, who sees their response, and their end.

use super::{
    AcmServer,
    check::invalid,
    client::{Served, not_authorised, not_found},
    ordered::{Audience, Ordered, Queue},
    record::{OutgoingState, stored_key},
    share::Shared,
};
use crate::{
    api::{
        acm_client::{Answer, NO_RESPONSE_YET, Progress},
        acm_interconnection::{Refusal, TransactionId, TransactionKey},
        acm_payload::Kind,
    },
    identity::McServiceId,
    outbox::Context,
    store::{Mutation, RecordKind},
};

impl AcmServer {
    /// The name of a transaction of this system among those of all.
    pub(super) fn own_key(&self, transaction: TransactionId) -> TransactionKey {
        TransactionKey { origin: self.config.system.clone(), transaction }
    }

    /// Tells how a transaction stands, whoever may begin such.
    pub(super) fn follow(&self, user: &McServiceId, transaction: TransactionId) -> Served {
        let held = self.outgoing.get(&transaction).ok_or_else(not_found)?.clone();
        let subject = &held.record.subject;
        if !self.may_request(user, subject.kind, &subject.envelope.destination) {
            return Err(not_found());
        }
        let progress = Progress {
            summary: held.summary(),
            attempts: held.link.attempts,
            history: held.record.history,
            response: held.record.response,
        };
        Ok((None, Answer::Progress(Box::new(progress))))
    }

    /// Takes a request back. It is over when the partner says so: it may have decided before.
    pub(super) fn cancel(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        user: &McServiceId,
        transaction: TransactionId,
    ) -> Served {
        let mut held = self.outgoing.get(&transaction).ok_or_else(not_found)?.clone();
        let subject = &held.record.subject;
        if !self.may_request(user, subject.kind, &subject.envelope.destination) {
            return Err(not_authorised("this user may not take such transactions back"));
        }
        if let Some(response) = &held.record.response {
            return Ok((None, Answer::AlreadyDecided(Some(Box::new(response.clone())))));
        }
        if held.record.state != OutgoingState::Cancelling {
            held.record.enter(ctx.now, OutgoingState::Cancelling);
            self.commit(ctx, [held.record.put()]);
            self.outgoing.insert(transaction, held);
            self.send_outgoing(ctx, turn, transaction);
        }
        Ok((None, Answer::Done))
    }

    /// Ends the delivery of a response: it has been read.
    pub(super) fn acknowledge(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        user: &McServiceId,
        key: &TransactionKey,
    ) -> Served {
        let held = self.outgoing.get(&key.transaction).map(|held| held.clone());
        let mut held = held.filter(|_| self.is_own(&key.origin)).ok_or_else(not_found)?;
        let destination = &held.record.subject.envelope.destination;
        match &held.queue {
            Some(queue) if self.sees_item(user, queue, destination) => {}
            Some(_) => return Err(not_authorised("the response is for another user")),
            // Again: the answer to the first was lost.
            None if held.record.state == OutgoingState::Closed => {
                return Ok((None, Answer::Done));
            }
            None => return Err(invalid(NO_RESPONSE_YET, ["transaction"])),
        }
        held.record.enter(ctx.now, OutgoingState::Closed);
        self.commit(ctx, [held.record.put()]);
        self.outgoing.insert(key.transaction, held);
        self.place_outgoing(turn, key.transaction);
        self.drop_payload(ctx, turn, key);
        self.schedule(turn, key);
        Ok((None, Answer::Done))
    }

    /// Puts a response into the list of who asked or, if that user may no longer, of whoever else may. Returns the
    /// list if it is another than before.
    pub(super) fn place_outgoing(
        &self,
        turn: &mut Ordered,
        transaction: TransactionId,
    ) -> Option<Queue> {
        let mut held = self.outgoing.get_mut(&transaction)?;
        let subject = &held.record.subject;
        let originator = &subject.envelope.originator;
        let is_pending =
            matches!(held.record.state, OutgoingState::Responded | OutgoingState::Delivered);
        let queue = is_pending.then(|| Queue {
            audience: if self.may_request(originator, subject.kind, &subject.envelope.destination) {
                Audience::User(originator.clone())
            } else {
                Audience::Authorised
            },
            kind: subject.kind,
            is_response: true,
        });
        let offer = (originator.clone(), transaction);
        if subject.kind == Kind::Groups && !held.record.is_over() {
            turn.offers.insert(offer);
        } else {
            turn.offers.remove(&offer);
        }
        let is_move = matches!(subject.kind, Kind::AddUsers | Kind::RemoveUsers | Kind::Update);
        if is_move && !held.record.is_over() {
            turn.moves.insert(transaction);
        } else {
            turn.moves.remove(&transaction);
        }
        if held.queue == queue {
            return None;
        }
        let key = subject.key();
        let destination = &subject.envelope.destination;
        turn.move_item((subject.number, &key), destination, held.queue.as_ref(), queue.as_ref());
        held.queue.clone_from(&queue);
        queue
    }

    /// Forgets what a transaction was about, once nobody needs it any more.
    pub(super) fn drop_payload(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        key: &TransactionKey,
    ) {
        if self.payloads.remove(key).is_some() {
            self.commit(ctx, [Mutation::delete(RecordKind::AcmPayload, &stored_key(key))]);
            let octets = self.octets_of(key);
            self.payloads_bound.give_many(octets);
            if !self.is_own(&key.origin) {
                turn.shares.give(&key.origin, Shared::Octets, octets);
            }
        }
    }

    /// The octets of the payload of a transaction.
    pub(super) fn octets_of(&self, key: &TransactionKey) -> usize {
        let octets = if self.is_own(&key.origin) {
            self.outgoing.get(&key.transaction).map(|held| held.record.subject.octets)
        } else {
            self.incoming.get(key).map(|held| held.record.subject.octets)
        };
        octets.and_then(|octets| usize::try_from(octets).ok()).unwrap_or_default()
    }

    /// Whether a person is told of the outcome: of what the server began by itself nobody is.
    pub(super) fn is_told(kind: Kind) -> bool {
        kind != Kind::GroupsWithdrawn
    }

    /// Forgets a transaction that has been over for long.
    pub(super) fn forget_outgoing(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        transaction: TransactionId,
    ) {
        self.drop_payload(ctx, turn, &self.own_key(transaction));
        if let Some((_, held)) = self.outgoing.remove(&transaction) {
            let subject = &held.record.subject;
            let (key, destination) = (subject.key(), &subject.envelope.destination);
            turn.move_item((subject.number, &key), destination, held.queue.as_ref(), None);
            let name = transaction.to_string();
            self.commit(ctx, [Mutation::delete(RecordKind::AcmOutgoing, &name)]);
            self.outgoing_bound.give();
        }
    }
}

/// What nobody will answer any more.
pub(super) fn gave_up() -> Refusal {
    Refusal::new(
        crate::api::acm_interconnection::ResultCode::Expired,
        "the partner never answered: whether it decided is not known",
    )
}
