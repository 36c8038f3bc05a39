//! What is due: repeats, expiry, and the end of what is remembered. One timer for the first of all.

use std::time::Duration;

use super::{
    AcmServer,
    decision::Outcome,
    ordered::{Due, Ordered},
    outgoing::gave_up,
    record::{Handler, HeldIncoming, HeldOutgoing, IncomingState, OutgoingState},
};
use crate::{
    api::acm_interconnection::{ResultCode, TransactionId, TransactionKey},
    deadlines::ENDS_PER_CALL_MAX,
    outbox::{Context, Role, TimerKey, TimerWhat},
    time::Timestamp,
};

/// How long after the expiry of a request the partner is asked for the outcome, if it has not told.
pub(super) const INQUIRY_AFTER: Duration = Duration::from_secs(3_600);

/// Arms the timer for the first of what is due, unless it is armed; after a pause while nothing can be stored.
pub(super) fn arm(ctx: &mut Context<'_>, turn: &mut Ordered, pause: Duration) {
    let Some(first) = turn.first_due() else { return };
    let earliest = if ctx.out.storage_available() { ctx.now } else { ctx.now + pause };
    let at = first.max(earliest);
    // One that has come counts no more: of several that come at a time the first arms the next.
    if turn.armed.is_some_and(|armed| armed > ctx.now && armed <= at) {
        return;
    }
    turn.armed = Some(at);
    let timer = TimerKey { role: Role::Acm, what: TimerWhat::AcmDue, version: 0 };
    ctx.out.arm(at, timer);
}

impl AcmServer {
    /// Does what is due, as much as one call may.
    pub(super) fn work_off(&self, ctx: &mut Context<'_>, turn: &mut Ordered) {
        if !ctx.out.storage_available() {
            return;
        }
        for _ in 0..ENDS_PER_CALL_MAX {
            match turn.take_due(ctx.now) {
                None => break,
                Some(Due::Transaction(key)) => self.transaction_is_due(ctx, turn, &key),
                Some(Due::Agreement(key)) => self.agreement_is_due(ctx, turn, &key),
                Some(Due::Session(id)) => self.lease_is_due(ctx, turn, id),
                Some(Due::Group(key)) => self.forget_group(ctx, turn, &key),
                Some(Due::Stray(key)) => self.forget_stray(ctx, turn, &key),
            }
        }
    }

    fn transaction_is_due(&self, ctx: &mut Context<'_>, turn: &mut Ordered, key: &TransactionKey) {
        if self.is_own(&key.origin) {
            self.outgoing_is_due(ctx, turn, key.transaction);
        } else {
            self.incoming_is_due(ctx, turn, key);
        }
        self.schedule(turn, key);
    }

    fn outgoing_is_due(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        transaction: TransactionId,
    ) {
        let Some(held) = self.outgoing.get(&transaction).map(|held| held.clone()) else { return };
        let envelope = &held.record.subject.envelope;
        match &held.record.response {
            Some(response) if ctx.now >= response.decided + self.config.remembered_for => {
                self.forget_outgoing(ctx, turn, transaction);
            }
            Some(_) => {}
            None if ctx.now >= envelope.expires + self.config.remembered_for => {
                self.store_refusal(ctx, turn, envelope, gave_up());
            }
            None if held.link.request.is_some() => self.pause(ctx, turn, &envelope.key()),
            None => self.send_outgoing(ctx, turn, transaction),
        }
    }

    /// The other system has not answered in time: the next attempt is after a pause.
    fn pause(&self, ctx: &mut Context<'_>, turn: &mut Ordered, key: &TransactionKey) {
        self.count_failure(ctx, key);
        self.tell_deciders(ctx, turn, key);
        self.schedule(turn, key);
    }

    fn incoming_is_due(&self, ctx: &mut Context<'_>, turn: &mut Ordered, key: &TransactionKey) {
        let Some(held) = self.incoming.get(key).map(|held| held.clone()) else { return };
        let is_late = ctx.now >= held.record.subject.envelope.expires;
        match held.record.state {
            IncomingState::Stored | IncomingState::Waiting if is_late => {
                self.expire(ctx, turn, key);
            }
            // The configuration server is silent: what differs is not known, and a person decides.
            IncomingState::Stored if held.link.request.is_some() => {
                self.assessed(ctx, turn, key, None);
            }
            IncomingState::Stored => self.assess(ctx, turn, key),
            IncomingState::Deciding if held.link.request.is_some() => {
                self.ask_later(ctx, turn, key);
            }
            IncomingState::Deciding => self.put_in_force(ctx, turn, key),
            IncomingState::Answered if ctx.now >= self.asked_about_until(&held) => {
                self.give_up_response(ctx, turn, key);
            }
            IncomingState::Waiting | IncomingState::Answered if held.link.request.is_some() => {
                self.pause(ctx, turn, key);
            }
            IncomingState::Waiting | IncomingState::Answered => self.send_incoming(ctx, turn, key),
            IncomingState::Acknowledged | IncomingState::Undelivered => {
                self.forget_incoming(ctx, turn, key);
            }
        }
    }

    /// Ends a request that nobody decided in time.
    pub(super) fn expire(&self, ctx: &mut Context<'_>, turn: &mut Ordered, key: &TransactionKey) {
        let outcome = Outcome::new(ResultCode::Expired, "nobody decided in time");
        self.respond(ctx, turn, key, Handler::default(), outcome, Vec::new());
    }

    /// Counts an attempt that was not answered in time.
    fn count_failure(&self, ctx: &Context<'_>, key: &TransactionKey) {
        let fail = |link: &mut super::record::Link| {
            if link.request.is_some() {
                self.fail_link(ctx, link);
            }
        };
        if self.is_own(&key.origin) {
            if let Some(mut held) = self.outgoing.get_mut(&key.transaction) {
                held.may_be_there = true;
                fail(&mut held.link);
            }
        } else if let Some(mut held) = self.incoming.get_mut(key) {
            fail(&mut held.link);
        }
    }

    /// Notes when a transaction is due next.
    pub(super) fn schedule(&self, turn: &mut Ordered, key: &TransactionKey) {
        let what = Due::Transaction(key.clone());
        if self.is_own(&key.origin) {
            if let Some(mut held) = self.outgoing.get_mut(&key.transaction) {
                let at = self.outgoing_due(&held);
                turn.set_due(&what, held.due, Some(at));
                held.due = Some(at);
            }
        } else if let Some(mut held) = self.incoming.get_mut(key) {
            let at = self.incoming_due(&held);
            turn.set_due(&what, held.due, Some(at));
            held.due = Some(at);
        }
    }

    /// Until when a partner asks for the outcome of its request, as this system does for its own.
    fn asked_about_until(&self, held: &HeldIncoming) -> Timestamp {
        held.record.subject.envelope.expires + self.config.remembered_for
    }

    fn outgoing_due(&self, held: &HeldOutgoing) -> Timestamp {
        let HeldOutgoing { record, link, .. } = held;
        let expires = record.subject.envelope.expires;
        match (&record.response, record.state) {
            (Some(response), _) => response.decided + self.config.remembered_for,
            (None, OutgoingState::Sent | OutgoingState::PendingAtPartner) => {
                let at = link.retry_at.unwrap_or(expires + INQUIRY_AFTER);
                at.min(expires + self.config.remembered_for)
            }
            (None, _) => {
                let at = link.retry_at.unwrap_or_default();
                at.min(expires + self.config.remembered_for)
            }
        }
    }

    fn incoming_due(&self, held: &HeldIncoming) -> Timestamp {
        let HeldIncoming { record, link, .. } = held;
        let expires = record.subject.envelope.expires;
        let retry_at = link.retry_at;
        match record.state {
            IncomingState::Stored => retry_at.unwrap_or_default().min(expires),
            IncomingState::Waiting if !record.indicated => {
                retry_at.unwrap_or_default().min(expires)
            }
            IncomingState::Waiting => expires,
            IncomingState::Deciding => retry_at.unwrap_or_default(),
            IncomingState::Answered => {
                retry_at.unwrap_or_default().min(self.asked_about_until(held))
            }
            IncomingState::Undelivered => self.asked_about_until(held) + self.config.remembered_for,
            IncomingState::Acknowledged if record.is_over_unstored() => expires,
            IncomingState::Acknowledged => {
                let decided = record.response.as_ref().map_or(expires, |it| it.decided);
                expires.max(decided + self.config.remembered_for)
            }
        }
    }
}
