//! Requests of other systems: who sends them, what they may say, and that each is stored once.

use super::{
    AcmServer, Mode, Partner, Policy,
    begin::revision_key,
    check::{check_content, check_partners_times, check_permitted, invalid, is_of},
    client::{not_authorised, report},
    decision::Outcome,
    ordered::{Audience, Ordered, Queue},
    record::{
        Handler, HeldIncoming, IncomingRecord, IncomingState, PayloadRecord, Subject, stored_key,
    },
    share::Shared,
};
use crate::{
    api::{
        acm_interconnection::{
            Answer, Cancellation, ElementNames, Envelope, Refusal, Request, Response, ResultCode,
            Submission, TransactionKey,
        },
        acm_payload::{ContentDigest, Kind, Parties},
    },
    identity::McSystemId,
    outbox::{AcmMessage, Context, Note, ReplyTo},
    step::Part,
    store::{Mutation, RecordKind},
    table::Bound,
    time::Timestamp,
    token::BearerToken,
};

impl AcmServer {
    /// Takes a request of another system and answers it.
    pub(super) fn take_request(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        to: ReplyTo,
        token: Option<&BearerToken>,
        request: Request,
    ) {
        let Some(from) = self.authenticate_partner(ctx, token, &request) else {
            return self.send(
                ctx,
                None,
                AcmMessage::Answer { to, answer: Answer::NotAuthenticated },
            );
        };
        let mut stored = None;
        let answer = if !ctx.out.storage_available() {
            Err(Refusal::new(ResultCode::Busy, "the storage is unavailable; try again"))
        } else if !from.interconnected
            && !matches!(request, Request::Submit(_) | Request::Cancel(_))
        {
            Err(not_interconnected())
        } else {
            match request {
                Request::Submit(submission) => {
                    let key = submission.envelope.key();
                    let kind = submission.payload.kind();
                    let answer = self.take_submission(ctx, turn, from, *submission);
                    if matches!(answer, Ok((Answer::Stored, true))) {
                        stored = Some((key, kind));
                    }
                    answer.map(|(answer, _)| answer)
                }
                Request::Pending(key) => self.take_indication(ctx, from, &key),
                Request::Decided(response) => self.take_response(ctx, turn, from, *response),
                Request::Cancel(cancellation) => {
                    self.take_cancellation(ctx, turn, from, *cancellation)
                }
            }
        };
        let step = stored.as_ref().and_then(|(_, kind)| kind.step(0, (4, Some(Part::B)), 0));
        if let Err(refusal) = &answer
            && !refusal.code.is_temporary()
            && refusal.code != ResultCode::Conflict
        {
            ctx.out.note(refused(&from.id, refusal.code));
        }
        let answer = answer.unwrap_or_else(Answer::Refused);
        self.send(ctx, step, AcmMessage::Answer { to, answer });
        if let Some((key, _)) = stored {
            self.assess(ctx, turn, &key);
        }
    }

    /// The partner whose credential it is, if the request is one of its own: no partner speaks for another.
    fn authenticate_partner(
        &self,
        ctx: &mut Context<'_>,
        token: Option<&BearerToken>,
        request: &Request,
    ) -> Option<&Partner> {
        let presented = token.map(BearerToken::digest);
        let mut partners = self.config.partners.iter();
        let Some(from) = partners.find(|partner| Some(partner.accepted_token) == presented) else {
            let reason = "the credential is no peer's";
            ctx.out.note(Note::PeerRefused { peer: None, reason });
            return None;
        };
        let speaks_for = match request {
            Request::Submit(submission) => Some(&submission.envelope.origin),
            Request::Cancel(cancellation) => Some(&cancellation.envelope.origin),
            Request::Decided(response) => Some(&response.system),
            // Says nothing of itself; whose the transaction is, its record knows.
            Request::Pending(_) => None,
        };
        if speaks_for.is_some_and(|system| *system != from.id) {
            let reason = "the credential is another system's than the one named";
            ctx.out.note(Note::PeerRefused { peer: Some(from.id.clone()), reason });
            return None;
        }
        Some(from)
    }

    /// Takes a request to decide something: a new one is stored, a repeat meets its outcome. Returns whether it is
    /// new.
    fn take_submission(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        from: &Partner,
        submission: Submission,
    ) -> Result<(Answer, bool), Refusal> {
        let digest = &submission.envelope.digest;
        self.check_destination(&submission.envelope)?;
        if let Some(held) = self.incoming.get(&submission.envelope.key()) {
            let first = &held.record;
            if first.subject.envelope.digest != *digest {
                ctx.out.note(Note::TransactionConflict { partner: from.id.clone() });
                let text = "this transaction is known with another content, which stays";
                return Err(Refusal::new(ResultCode::Conflict, text));
            }
            if !from.interconnected && !first.is_over_unstored() {
                return Err(not_interconnected());
            }
            return Ok((outcome_of(first), false));
        }
        let octets = verify(&submission, ctx.now)?;
        let admitted = self.check_admitted(from, &submission, octets);
        if let Err(Refusal { code, text, elements }) = admitted {
            let Submission { envelope, payload, .. } = submission;
            ctx.out.note(refused(&from.id, code));
            let outcome = Outcome::of(code, &text, elements);
            let answer = self.store_decided(ctx, turn, (envelope, payload.kind()), outcome)?;
            return Ok((answer, false));
        }
        let kind = submission.payload.kind();
        let policy = from.policies.of(kind);
        if turn.undecided_count(&from.id, kind) >= policy.undecided_max {
            return Err(Refusal::new(ResultCode::Busy, "too many requests are undecided"));
        }
        self.store_request(ctx, turn, submission, octets)?;
        Ok((Answer::Stored, true))
    }

    fn check_destination(&self, envelope: &Envelope) -> Result<(), Refusal> {
        if self.is_own(&envelope.destination) {
            Ok(())
        } else {
            Err(invalid("is not this system", ["destination"]))
        }
    }

    /// Checks a request against what holds here now: what is set up, whom it is for, and what is in force. What fails is
    /// decided by that, and the decision stored: another copy of the request may come when something else holds.
    fn check_admitted(
        &self,
        from: &Partner,
        submission: &Submission,
        octets: u64,
    ) -> Result<(), Refusal> {
        let Submission { envelope, parties, payload } = submission;
        let (kind, revision) = (payload.kind(), envelope.revision);
        if !from.interconnected {
            return Err(not_interconnected());
        }
        check_originator(from, envelope)?;
        check_permitted(payload, &from.domains, (from.policies.of(kind), octets))?;
        self.check_target(from, parties, kind)?;
        if kind == Kind::PleaseSend && self.config.answers_pull.is_none() {
            let text = "this system sends its configuration unasked only";
            return Err(Refusal::new(ResultCode::RejectedByPolicy, text));
        }
        let in_force = self.revisions.get(&revision_key(false, &from.id, kind)).map(|it| *it);
        if kind == Kind::Configuration && in_force.is_some_and(|in_force| revision <= in_force) {
            let text = "this revision or a later one is in force";
            return Err(Refusal::of(ResultCode::StaleRevision, text, ["revision"]));
        }
        Ok(())
    }

    /// Checks that the target user exists and may decide such requests. An alias is resolved later.
    fn check_target(&self, from: &Partner, parties: &Parties, kind: Kind) -> Result<(), Refusal> {
        let Some(target) = &parties.target_id else { return Ok(()) };
        if !self.users.contains_key(target) {
            let text = "there is no such user here";
            return Err(Refusal::of(ResultCode::UnknownTargetUser, text, ["target_id"]));
        }
        if !self.is_administrator(target) || !self.may_decide(target, kind, &from.id) {
            return Err(not_authorised("the target user may not decide such requests"));
        }
        Ok(())
    }

    /// Stores a request (`XCFG-4`, `GRP-4a`, `UPD-4`), which is answered by `GRP-4b` then.
    fn store_request(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        submission: Submission,
        octets: u64,
    ) -> Result<(), Refusal> {
        self.take_partner_room(ctx, turn, &submission.envelope.origin, octets)?;
        let Submission { envelope, parties, payload } = submission;
        let (key, kind, number) = (envelope.key(), payload.kind(), turn.next_number());
        report(ctx, kind.step(4, (4, Some(Part::A)), 4), "request verified and stored");
        Self::note_alias_mismatch(ctx, turn, &envelope.origin, &parties);
        let subject = Subject { envelope, parties, kind, number, octets };
        let record = IncomingRecord {
            subject,
            state: IncomingState::Stored,
            indicated: false,
            fetched: false,
            differing: ElementNames::default(),
            accepted_by: None,
            response: None,
        };
        let put = PayloadRecord::put(&key, &payload);
        self.commit(ctx, [record.put(), put]);
        self.payloads.insert(key.clone(), payload);
        self.incoming.insert(key.clone(), HeldIncoming::new(record));
        turn.set_undecided(&key, kind, true);
        self.schedule(turn, &key);
        Ok(())
    }

    /// Takes room for one transaction of a partner and its payload, or none.
    fn take_partner_room(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        partner: &McSystemId,
        octets: u64,
    ) -> Result<(), Refusal> {
        let octets = usize::try_from(octets).unwrap_or(usize::MAX);
        let has_share = |what, count| self.has_share(turn, partner, what, count);
        if !has_share(Shared::Transactions, 1) || !has_share(Shared::Octets, octets) {
            ctx.out.note(Note::TableFull("share of a partner: transactions"));
            let text = "transactions of this system take up its share here (partner_share)";
            return Err(Refusal::new(ResultCode::Busy, text));
        }
        if !self.take_room(&self.incoming_bound, octets) {
            ctx.out.note(Note::TableFull("transactions of partners"));
            return Err(Refusal::new(ResultCode::Busy, "too many transactions are open"));
        }
        turn.shares.take(partner, Shared::Transactions, 1);
        turn.shares.take(partner, Shared::Octets, octets);
        Ok(())
    }

    /// Takes room for the outcome of one request of a partner that is over before it was stored. They take up nothing of
    /// what there is for requests.
    fn take_refusal_room(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        partner: &McSystemId,
    ) -> Result<(), Refusal> {
        if !self.has_share(turn, partner, Shared::Refusals, 1) {
            ctx.out.note(Note::TableFull("share of a partner: refused requests"));
            let text = "refused requests of this system take up its share here (partner_share)";
            return Err(Refusal::new(ResultCode::Busy, text));
        }
        if !self.refusals_bound.take() {
            ctx.out.note(Note::TableFull("refused requests of partners"));
            return Err(Refusal::new(ResultCode::Busy, "too many refused requests are remembered"));
        }
        turn.shares.take(partner, Shared::Refusals, 1);
        Ok(())
    }

    /// Takes back what the partner asked, unless it is decided. What has not come yet will not be taken either.
    fn take_cancellation(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        from: &Partner,
        cancellation: Cancellation,
    ) -> Result<Answer, Refusal> {
        self.check_destination(&cancellation.envelope)?;
        let key = cancellation.envelope.key();
        let known = self.incoming.get(&key).map(|held| held.record.clone());
        let outcome = Outcome::new(ResultCode::Cancelled, "taken back by who asked");
        match known {
            Some(record) if !from.interconnected && !record.is_over_unstored() => {
                return Err(not_interconnected());
            }
            Some(record) if record.is_undecided() => {
                self.respond(ctx, turn, &key, Handler::default(), outcome, Vec::new());
            }
            Some(record) => return Ok(outcome_of(&record)),
            None => {
                let Cancellation { envelope, kind } = cancellation;
                check_partners_times(&envelope, ctx.now)?;
                let outcome = match check_originator(from, &envelope) {
                    Ok(()) => outcome,
                    Err(Refusal { code, text, elements }) => {
                        ctx.out.note(refused(&from.id, code));
                        Outcome::of(code, &text, elements)
                    }
                };
                return self.store_decided(ctx, turn, (envelope, kind), outcome);
            }
        }
        let held = self.incoming.get(&key);
        Ok(held.map_or(Answer::Stored, |held| outcome_of(&held.record)))
    }

    /// Keeps the outcome of a request that is over before it was stored, without its content, until the request expires:
    /// later copies are refused as expired. It is the answer.
    fn store_decided(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        (envelope, kind): (Envelope, Kind),
        outcome: Outcome,
    ) -> Result<Answer, Refusal> {
        self.take_refusal_room(ctx, turn, &envelope.origin)?;
        let (key, number) = (envelope.key(), turn.next_number());
        let response = self.response_to(ctx, &envelope, Handler::default(), outcome);
        let parties = Parties::default();
        let record = IncomingRecord {
            subject: Subject { envelope, parties, kind, number, octets: 0 },
            state: IncomingState::Acknowledged,
            indicated: false,
            fetched: false,
            differing: ElementNames::default(),
            accepted_by: None,
            response: Some(response),
        };
        let answer = outcome_of(&record);
        self.commit(ctx, [record.put()]);
        self.incoming.insert(key.clone(), HeldIncoming::new(record));
        self.schedule(turn, &key);
        Ok(answer)
    }

    /// The response to a transaction of another system.
    pub(super) fn response_to(
        &self,
        ctx: &Context<'_>,
        envelope: &Envelope,
        handler: Handler,
        outcome: Outcome,
    ) -> Response {
        let Outcome { result, text, elements } = outcome;
        Response {
            key: envelope.key(),
            system: self.config.system.clone(),
            handler_id: handler.id,
            handler_alias: handler.alias,
            target_id: envelope.originator.clone(),
            result,
            text,
            elements,
            decided: ctx.now,
        }
    }

    /// Puts a request into the list of whoever may decide it now, and takes it out of all lists once it is decided.
    /// Returns the list if it is another than before.
    pub(super) fn place_incoming(&self, turn: &mut Ordered, key: &TransactionKey) -> Option<Queue> {
        let mut held = self.incoming.get_mut(key)?;
        let HeldIncoming { record, queue, .. } = &mut *held;
        let Subject { parties, kind, number, .. } = &record.subject;
        let is_waiting = record.state == IncomingState::Waiting;
        // An ID routes; an alias beside it is information.
        let alias = parties.target_alias.as_ref().filter(|_| parties.target_id.is_none());
        if let Some(alias) = alias {
            let waiting = turn.for_alias.entry(alias.clone()).or_default();
            if is_waiting {
                waiting.insert(key.clone());
            } else {
                waiting.remove(key);
            }
            if waiting.is_empty() {
                turn.for_alias.remove(alias);
            }
        }
        let now_with = queue.as_ref().and_then(|queue| match &queue.audience {
            Audience::User(user) => Some(user),
            Audience::Authorised => None,
        });
        let audience = match (&parties.target_id, alias) {
            _ if !is_waiting => None,
            (Some(target), _) => Some(Audience::User(target.clone())),
            (None, Some(alias)) => {
                let request = (*kind, &key.origin);
                self.choose_holder(turn, alias, request, now_with).map(Audience::User)
            }
            (None, None) => Some(Audience::Authorised),
        };
        let placed = audience.map(|audience| Queue { audience, kind: *kind, is_response: false });
        if *queue == placed {
            return None;
        }
        turn.move_item((*number, key), &key.origin, queue.as_ref(), placed.as_ref());
        queue.clone_from(&placed);
        placed
    }

    /// The policy for requests of a kind of a partner.
    pub(super) fn policy_for(&self, key: &TransactionKey, kind: Kind) -> Option<&Policy> {
        Some(self.partner(&key.origin)?.policies.of(kind))
    }

    /// Who decides requests of a kind of a partner: a person, if the partner is no longer one.
    pub(super) fn mode_for(&self, key: &TransactionKey, kind: Kind) -> Mode {
        self.policy_for(key, kind).map_or(Mode::Manual, |policy| policy.mode)
    }

    /// Which room a transaction of a partner takes up.
    pub(super) const fn room_of(&self, record: &IncomingRecord) -> (&Bound, Shared) {
        if record.is_over_unstored() {
            (&self.refusals_bound, Shared::Refusals)
        } else {
            (&self.incoming_bound, Shared::Transactions)
        }
    }

    /// Forgets a transaction that has been over for long.
    pub(super) fn forget_incoming(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        key: &TransactionKey,
    ) {
        self.drop_payload(ctx, turn, key);
        if let Some((_, held)) = self.incoming.remove(key) {
            turn.set_undecided(key, held.record.subject.kind, false);
            self.commit(ctx, [Mutation::delete(RecordKind::AcmIncoming, &stored_key(key))]);
            let (bound, share) = self.room_of(&held.record);
            bound.give();
            turn.shares.give(&key.origin, share, 1);
        }
    }
}

/// Verifies a request by itself: its digest, its times, what it says. What fails is refused at once and not stored: so
/// would be every other copy of it. Returns the octets that the digest counts.
fn verify(submission: &Submission, now: Timestamp) -> Result<u64, Refusal> {
    let Submission { envelope, parties, payload } = submission;
    let Envelope { originator, revision, .. } = envelope;
    let measured = ContentDigest::of(originator, parties, *revision, payload);
    if measured.digest != envelope.digest {
        return Err(invalid("is not that of the content", ["digest"]));
    }
    check_partners_times(envelope, now)?;
    check_content(parties, *revision, payload)?;
    Ok(measured.octets)
}

/// Checks that the user in whose name a partner asks is one of the partner's.
fn check_originator(from: &Partner, envelope: &Envelope) -> Result<(), Refusal> {
    let host = envelope.originator.host();
    if host.is_empty() || is_of(&from.domains, host) {
        return Ok(());
    }
    let text = "belongs to no domain of the system that sends the request";
    Err(invalid(text, ["originator"]))
}

fn refused(partner: &McSystemId, code: ResultCode) -> Note {
    Note::RequestRefused { partner: Some(partner.clone()), why: code.as_str() }
}

fn not_interconnected() -> Refusal {
    let text = "there is no interconnection with this system";
    Refusal::new(ResultCode::NoInterconnection, text)
}

/// What a repeat of a request is answered.
fn outcome_of(record: &IncomingRecord) -> Answer {
    match (&record.response, record.state) {
        (Some(response), _) => Answer::Decided(Box::new(response.clone())),
        (None, IncomingState::Waiting) => Answer::Pending,
        (None, _) => Answer::Stored,
    }
}
