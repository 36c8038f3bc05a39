//! What goes to the other system: repeated with growing pauses until it is answered, or nobody asks for it any more.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{
    AcmServer,
    configuration::Asked,
    due::INQUIRY_AFTER,
    ordered::Ordered,
    record::{HeldIncoming, HeldOutgoing, IncomingState, Link, OutgoingState},
};
use crate::{
    api::acm_interconnection::{
        Answer, Cancellation, Refusal, Request, ResultCode, Submission, TransactionId,
        TransactionKey,
    },
    outbox::{AcmMessage, AcmReply, Context, Note, RequestId, Role},
};

impl AcmServer {
    /// Sends the request of a transaction (`XCFG-3`, `GRP-3`, `UPD-3`), or that it is taken back.
    pub(super) fn send_outgoing(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        transaction: TransactionId,
    ) {
        let key = self.own_key(transaction);
        let payload = self.payloads.get(&key).map(|payload| Arc::clone(&payload));
        let Some(mut held) = self.outgoing.get_mut(&transaction) else { return };
        let HeldOutgoing { record, link, .. } = &mut *held;
        let subject = &record.subject;
        let envelope = subject.envelope.clone();
        let to = envelope.destination.clone();
        let (step, request) = match (record.state, payload) {
            (OutgoingState::Cancelling, _) => {
                let cancellation = Cancellation { envelope, kind: subject.kind };
                (None, Request::Cancel(Box::new(cancellation)))
            }
            (
                OutgoingState::Authorised | OutgoingState::Sent | OutgoingState::PendingAtPartner,
                Some(payload),
            ) => {
                let parties = subject.parties.clone();
                let submission = Submission { envelope, parties, payload };
                let step = subject.kind.step(3, (3, None), 3);
                (step, Request::Submit(Box::new(submission)))
            }
            _ => return,
        };
        let id = self.open_link(ctx, Asked::Partner(key.clone()), link);
        drop(held);
        self.send(ctx, step, AcmMessage::Request { to, id, request });
        self.schedule(turn, &key);
    }

    /// Sends what the system that began a transaction is to know: that it is decided (`XCFG-12`, `GRP-10`, `UPD-8`),
    /// or that a person must look (`XCFG-5`, `UPD-4`).
    pub(super) fn send_incoming(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        key: &TransactionKey,
    ) {
        let Some(mut held) = self.incoming.get_mut(key) else { return };
        let HeldIncoming { record, link, .. } = &mut *held;
        let kind = record.subject.kind;
        let (step, request) = match (record.state, &record.response) {
            (IncomingState::Answered, Some(response)) => {
                let request = Request::Decided(Box::new(response.clone()));
                (kind.step(12, (10, None), 8), request)
            }
            (IncomingState::Waiting, _) if !record.indicated => {
                (kind.step(5, (0, None), 4), Request::Pending(key.clone()))
            }
            _ => return,
        };
        let id = self.open_link(ctx, Asked::Partner(key.clone()), link);
        drop(held);
        self.send(ctx, step, AcmMessage::Request { to: key.origin.clone(), id, request });
        self.schedule(turn, key);
    }

    /// Notes that a request of a transaction waits for its answer; an earlier one does no longer.
    pub(super) fn open_link(&self, ctx: &Context<'_>, asked: Asked, link: &mut Link) -> RequestId {
        if let Some(earlier) = link.request {
            self.requests.remove(&earlier);
        }
        let number = self.next_number();
        self.requests.insert(number, asked);
        link.request = Some(number);
        link.retry_at = Some(ctx.now + self.config.answer_timeout);
        RequestId { role: Role::Acm, number }
    }

    /// The number of the next request.
    pub(super) fn next_number(&self) -> u64 {
        self.next_request.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes that nothing waits and nothing failed.
    pub(super) fn close_link(&self, link: &mut Link) {
        if let Some(number) = link.request {
            self.requests.remove(&number);
        }
        *link = Link::default();
    }

    /// Notes a failure: the next attempt is after a pause, twice as long after each.
    pub(super) fn fail_link(&self, ctx: &Context<'_>, link: &mut Link) {
        if let Some(number) = link.request.take() {
            self.requests.remove(&number);
        }
        link.retry_at = Some(ctx.now + self.resend_pause(link.attempts));
        link.attempts = link.attempts.saturating_add(1);
        link.unsent = 0;
    }

    /// The pause after so many attempts in vain.
    fn resend_pause(&self, attempts: u32) -> Duration {
        let times = 1_u32.checked_shl(attempts).unwrap_or(u32::MAX);
        self.config.resend_first.saturating_mul(times).min(self.config.resend_max)
    }

    /// Takes back a request that has not left this system: the next is after a pause, twice as long after each, and no
    /// attempt is counted.
    pub(super) fn take_unsent(&self, ctx: &mut Context<'_>, turn: &mut Ordered, id: RequestId) {
        let asked = self.requests.remove(&id.number);
        let Some((_, Asked::Partner(key))) = asked else { return };
        let take = |link: &mut Link| {
            link.request = None;
            link.retry_at = Some(ctx.now + self.resend_pause(link.unsent));
            link.unsent = link.unsent.saturating_add(1);
        };
        if self.is_own(&key.origin) {
            if let Some(mut held) = self.outgoing.get_mut(&key.transaction) {
                take(&mut held.link);
            }
        } else if let Some(mut held) = self.incoming.get_mut(&key) {
            take(&mut held.link);
            drop(held);
            self.tell_deciders(ctx, turn, &key);
        }
        self.schedule(turn, &key);
    }

    /// Takes the answer of the other system.
    pub(super) fn take_reply(&self, ctx: &mut Context<'_>, turn: &mut Ordered, reply: AcmReply) {
        // While nothing can be stored, no answer counts: the request is sent again.
        if !ctx.out.storage_available() {
            return;
        }
        // Late: another one has been sent since, or the transaction is over.
        let asked = self.requests.remove(&reply.id.number);
        let Some((_, Asked::Partner(key))) = asked else { return };
        if self.is_own(&key.origin) {
            self.take_answer_to_own(ctx, turn, &key, reply.outcome.ok());
        } else {
            self.take_answer_to_response(ctx, turn, &key, reply.outcome.as_ref().ok());
            self.tell_deciders(ctx, turn, &key);
        }
        self.schedule(turn, &key);
    }

    fn take_answer_to_own(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        key: &TransactionKey,
        answer: Option<Answer>,
    ) {
        let Some(mut held) = self.outgoing.get(&key.transaction).map(|held| held.clone()) else {
            return;
        };
        let envelope = held.record.subject.envelope.clone();
        let is_cancelling = held.record.state == OutgoingState::Cancelling;
        let entered = match answer {
            Some(Answer::Stored) => OutgoingState::Sent,
            Some(Answer::Pending) => OutgoingState::PendingAtPartner,
            Some(Answer::Decided(response))
                if response.key == *key && response.system == envelope.destination =>
            {
                return self.store_response(ctx, turn, *response);
            }
            // It says so before it looks whether it has the transaction, such as while its set-up changes.
            Some(Answer::Refused(Refusal { code: ResultCode::NoInterconnection, .. }))
                if held.may_be_there =>
            {
                return self.fail_outgoing(ctx, key.transaction);
            }
            Some(Answer::Refused(refusal)) if !refusal.code.is_temporary() => {
                return self.store_refusal(ctx, turn, &envelope, refusal);
            }
            Some(Answer::NotAuthenticated) => {
                let what = "the partner does not accept the credential of this system";
                ctx.out.note(Note::AccessMisconfigured { partner: envelope.destination, what });
                return self.fail_outgoing(ctx, key.transaction);
            }
            Some(Answer::Refused(_) | Answer::Decided(_)) => {
                return self.fail_outgoing(ctx, key.transaction);
            }
            None => {
                held.may_be_there = true;
                self.fail_link(ctx, &mut held.link);
                self.outgoing.insert(key.transaction, held);
                return;
            }
        };
        held.may_be_there = true;
        if is_cancelling {
            // It is being put in force there: the response is on its way, or is asked for again.
            self.fail_link(ctx, &mut held.link);
            self.outgoing.insert(key.transaction, held);
            return;
        }
        self.close_link(&mut held.link);
        if ctx.now >= envelope.expires {
            // This was an inquiry: the response should have come.
            held.link.retry_at = Some(ctx.now + INQUIRY_AFTER);
        }
        let is_news = held.record.state == OutgoingState::Authorised
            || (held.record.state == OutgoingState::Sent
                && entered == OutgoingState::PendingAtPartner);
        if is_news {
            held.record.enter(ctx.now, entered);
            self.commit(ctx, [held.record.put()]);
        }
        self.outgoing.insert(key.transaction, held);
    }

    fn fail_outgoing(&self, ctx: &Context<'_>, transaction: TransactionId) {
        if let Some(mut held) = self.outgoing.get_mut(&transaction) {
            self.fail_link(ctx, &mut held.link);
        }
    }

    fn take_answer_to_response(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        key: &TransactionKey,
        answer: Option<&Answer>,
    ) {
        let Some(mut held) = self.incoming.get(key).map(|held| held.clone()) else { return };
        let is_taken = match answer {
            Some(Answer::Stored | Answer::Pending | Answer::Decided(_)) => true,
            // It knows nothing of the transaction, and never will.
            Some(Answer::Refused(Refusal { code, .. })) => {
                !code.is_temporary() || *code == ResultCode::Internal
            }
            Some(Answer::NotAuthenticated) | None => false,
        };
        if !is_taken {
            self.fail_link(ctx, &mut held.link);
            self.incoming.insert(key.clone(), held);
            return;
        }
        self.close_link(&mut held.link);
        match held.record.state {
            IncomingState::Answered => held.record.state = IncomingState::Acknowledged,
            IncomingState::Waiting => held.record.indicated = true,
            IncomingState::Stored
            | IncomingState::Deciding
            | IncomingState::Acknowledged
            | IncomingState::Undelivered => return,
        }
        let is_over = held.record.state == IncomingState::Acknowledged;
        self.commit(ctx, [held.record.put()]);
        self.incoming.insert(key.clone(), held);
        if is_over {
            self.drop_payload(ctx, turn, key);
        }
        self.schedule(turn, key);
    }

    /// Ends the delivery of a response: who asked has given up, too. That nobody took it stays to be seen for a while.
    pub(super) fn give_up_response(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        key: &TransactionKey,
    ) {
        let Some(mut held) = self.incoming.get(key).map(|held| held.clone()) else { return };
        self.close_link(&mut held.link);
        held.record.state = IncomingState::Undelivered;
        self.commit(ctx, [held.record.put()]);
        self.incoming.insert(key.clone(), held);
        self.drop_payload(ctx, turn, key);
        ctx.out.note(Note::ResponseUndelivered { partner: key.origin.clone() });
    }
}
