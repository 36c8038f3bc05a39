//! The response of the partner: stored once, brought into force here where it has to be, and pending for its user.

use super::{
    AcmServer, Partner,
    client::report,
    migrants::{Move, Way},
    ordered::{Due, Ordered},
    record::OutgoingState,
    share::Shared,
};
use crate::{
    api::{
        acm_interconnection::{
            Answer, ELEMENTS_MAX, Envelope, Refusal, Response, ResultCode, TEXT_OCTETS_MAX,
            TransactionKey,
        },
        acm_management::Stray,
    },
    outbox::{Context, Note},
    step::Part,
    store::{Mutation, RecordKind},
};

use super::{STRAYS_MAX, record::stored_key};

impl AcmServer {
    /// The partner says that a person must look. After the response that is no news.
    pub(super) fn take_indication(
        &self,
        ctx: &mut Context<'_>,
        from: &Partner,
        key: &TransactionKey,
    ) -> Result<Answer, Refusal> {
        let held = self.outgoing.get(&key.transaction).map(|held| held.clone());
        let Some(mut held) = held.filter(|_| self.is_own(&key.origin)) else {
            let text = "this transaction is not known here";
            return Err(Refusal::of(ResultCode::InvalidData, text, ["transaction"]));
        };
        if held.record.subject.envelope.destination != from.id {
            return refuse_foreign(ctx, from);
        }
        if matches!(held.record.state, OutgoingState::Authorised | OutgoingState::Sent) {
            held.record.enter(ctx.now, OutgoingState::PendingAtPartner);
            held.may_be_there = true;
            self.commit(ctx, [held.record.put()]);
            self.outgoing.insert(key.transaction, held);
        }
        Ok(Answer::Stored)
    }

    /// The partner has decided. The first response stays; one that belongs to nothing is kept for the operator.
    pub(super) fn take_response(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        from: &Partner,
        response: Response,
    ) -> Result<Answer, Refusal> {
        let known = self
            .outgoing
            .get(&response.key.transaction)
            .map(|held| held.record.subject.envelope.destination == from.id);
        match known.filter(|_| self.is_own(&response.key.origin)) {
            Some(true) => {
                self.store_response(ctx, turn, response);
                Ok(Answer::Stored)
            }
            Some(false) => refuse_foreign(ctx, from),
            None => self.take_stray(ctx, turn, from, response),
        }
    }

    fn take_stray(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        from: &Partner,
        response: Response,
    ) -> Result<Answer, Refusal> {
        let key = TransactionKey { origin: from.id.clone(), ..response.key };
        if turn.strays.contains_key(&key) {
            return Ok(Answer::Stored);
        }
        if !self.has_share(turn, &from.id, Shared::Strays, 1) {
            ctx.out.note(Note::TableFull("share of a partner: answers to unknown transactions"));
            let text = "answers to unknown transactions take up the share of this system here \
                        (partner_share)";
            return Err(Refusal::new(ResultCode::Busy, text));
        }
        if turn.strays.len() >= STRAYS_MAX {
            ctx.out.note(Note::TableFull("answers to unknown transactions"));
            return Err(Refusal::new(ResultCode::Busy, "too many such answers are kept already"));
        }
        ctx.out.note(Note::StrayResponse { partner: from.id.clone() });
        let stray = Stray { from: from.id.clone(), at: ctx.now, response: bounded(response) };
        self.commit(ctx, [Mutation::put(RecordKind::AcmStray, &stored_key(&key), &stray)]);
        self.keep_stray(turn, key, stray);
        Ok(Answer::Stored)
    }

    /// Keeps an answer that belongs to nothing as long as a transaction is remembered.
    pub(super) fn keep_stray(&self, turn: &mut Ordered, key: TransactionKey, stray: Stray) {
        turn.set_due(&Due::Stray(key.clone()), None, Some(stray.at + self.config.remembered_for));
        turn.shares.take(&stray.from, Shared::Strays, 1);
        turn.strays.insert(key, stray);
    }

    pub(super) fn forget_stray(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        key: &TransactionKey,
    ) {
        if let Some(stray) = turn.strays.remove(key) {
            turn.shares.give(&stray.from, Shared::Strays, 1);
            self.commit(ctx, [Mutation::delete(RecordKind::AcmStray, &stored_key(key))]);
        }
    }

    /// Keeps the response (`XCFG-13`, `GRP-11`, `UPD-9`), with what it brings into force here, unless there is one.
    pub(super) fn store_response(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        response: Response,
    ) {
        let transaction = response.key.transaction;
        let Some(mut held) = self.outgoing.get(&transaction).map(|held| held.clone()) else {
            return;
        };
        if held.record.is_over() {
            return;
        }
        let mut response = bounded(response);
        // It is remembered from then on, whatever clock the partner goes by.
        let created = held.record.subject.envelope.created;
        response.decided = response.decided.clamp(created.min(ctx.now), ctx.now);
        let kind = held.record.subject.kind;
        report(ctx, kind.step(13, (11, None), 9), "response stored");
        let state =
            if Self::is_told(kind) { OutgoingState::Responded } else { OutgoingState::Closed };
        held.record.enter(ctx.now, state);
        let key = held.record.subject.key();
        let mut mutations = Vec::new();
        if response.result.is_accepted() {
            mutations = self.confirm_users(turn, &held.record.subject.envelope, &response);
        }
        held.record.response = Some(response);
        self.close_link(&mut held.link);
        mutations.push(held.record.put());
        self.commit(ctx, mutations);
        let partner = held.record.subject.envelope.destination.clone();
        self.outgoing.insert(transaction, held);
        if state == OutgoingState::Closed {
            self.drop_payload(ctx, turn, &key);
        }
        if let Some(queue) = self.place_outgoing(turn, transaction) {
            self.notify_of(ctx, turn, &queue, &partner);
        }
        self.schedule(turn, &key);
    }

    /// What the partner has confirmed of users is known here, too: which of ours may migrate to it, and with what.
    fn confirm_users(
        &self,
        turn: &mut Ordered,
        envelope: &Envelope,
        response: &Response,
    ) -> Vec<Mutation> {
        let Some(payload) = self.payloads.get(&envelope.key()).map(|it| it.clone()) else {
            return Vec::new();
        };
        let way = Way::Outbound;
        let change =
            Move { way, other: &envelope.destination, key: envelope.key(), payload: &payload };
        // Those that the partner could not take are named; the others are in force there.
        self.change_users_except(turn, &change, &response.elements)
    }

    /// Takes a definite refusal of the partner as the response.
    pub(super) fn store_refusal(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        envelope: &Envelope,
        refusal: Refusal,
    ) {
        let Refusal { code, text, elements } = refusal;
        let response = Response {
            key: envelope.key(),
            system: envelope.destination.clone(),
            handler_id: None,
            handler_alias: None,
            target_id: envelope.originator.clone(),
            result: code,
            text: Some(text),
            elements,
            decided: ctx.now,
        };
        self.store_response(ctx, turn, response);
    }
}

/// A partner may not speak about transactions with another one.
fn refuse_foreign(ctx: &mut Context<'_>, from: &Partner) -> Result<Answer, Refusal> {
    let reason = "the transaction is one with another system";
    ctx.out.note(Note::PeerRefused { peer: Some(from.id.clone()), reason });
    Err(Refusal::new(ResultCode::NotAuthorised, reason))
}

/// The response with no more than is kept of one.
fn bounded(mut response: Response) -> Response {
    response.elements.0.truncate(ELEMENTS_MAX);
    for text in response.text.iter_mut().chain(&mut response.elements.0) {
        if text.len() > TEXT_OCTETS_MAX {
            *text = text.chars().take(TEXT_OCTETS_MAX / 4).collect();
        }
    }
    response
}

/// The steps of telling who asked that a response is pending.
pub(super) const NOTIFICATION_OF_RESPONSE: (u8, (u8, Option<Part>), u8) =
    (15, (13, Some(Part::A)), 0);
