//! An administrator of this system begins a transaction.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    AcmServer, Partner,
    check::{check_content, check_permitted, check_times, invalid},
    client::{Served, not_authorised, report},
    ordered::Ordered,
    record::{HeldOutgoing, OutgoingRecord, OutgoingState, PayloadRecord, RevisionRecord, Subject},
};
use crate::{
    api::{
        acm_client::{Answer, Begin},
        acm_interconnection::{Envelope, Refusal, ResultCode, Submission, TransactionId},
        acm_payload::{ContentDigest, Kind, Payload},
    },
    identity::{McServiceId, McSystemId},
    outbox::{Context, Note},
    store::{Mutation, RecordKind},
    table::Bound,
};

impl AcmServer {
    /// Begins a transaction (`XCFG-1`, `GRP-1`, `UPD-1`): once, however often it is asked for under one name.
    pub(super) fn begin(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        user: &McServiceId,
        begin: Begin,
    ) -> Served {
        let kind = begin.payload.kind();
        report(ctx, kind.step(1, (1, None), 1), "a request of a client");
        if kind == Kind::GroupsWithdrawn {
            return Err(invalid("withdraw the group instead", ["payload"]));
        }
        self.check_may_request(ctx, user, kind, &begin.destination)?;
        let repeated = begin.transaction.and_then(|transaction| {
            let held = self.outgoing.get(&transaction)?;
            Some(held.record.subject.envelope.clone())
        });
        let (submission, octets) = self.prepare(ctx, user, begin, repeated.as_ref())?;
        let Envelope { transaction, digest, destination, .. } = submission.envelope.clone();
        if let Some(first) = repeated {
            return if (&first.destination, first.digest) == (&destination, digest) {
                Ok((None, Answer::Begun(transaction)))
            } else {
                let text = "this transaction has begun with another content: draw another ID";
                Err(Refusal::new(ResultCode::Conflict, text))
            };
        }
        self.check_may_begin(turn, &submission, octets)?;
        let mutations = self.add_outgoing(ctx, turn, submission, octets)?;
        self.commit(ctx, mutations);
        self.send_outgoing(ctx, turn, transaction);
        Ok((None, Answer::Begun(transaction)))
    }

    /// Checks that a user may begin such transactions with a partner (`XCFG-2`, `GRP-2`, `UPD-2`). If not, nothing
    /// is stored and nothing leaves.
    fn check_may_request(
        &self,
        ctx: &mut Context<'_>,
        user: &McServiceId,
        kind: Kind,
        destination: &McSystemId,
    ) -> Result<&Partner, Refusal> {
        report(ctx, kind.step(2, (2, None), 2), "authorisation");
        let partner = self.partner(destination).ok_or_else(|| {
            Refusal::new(ResultCode::UnknownPartner, "no partner has this MC system ID")
        })?;
        if !partner.interconnected {
            let text = "there is no interconnection with this partner";
            return Err(Refusal::new(ResultCode::NoInterconnection, text));
        }
        if !self.may_request(user, kind, destination) {
            return Err(not_authorised("this user may not begin such transactions"));
        }
        Ok(partner)
    }

    /// Puts the envelope around what a client asks for. A repeated request has the revision of the first.
    fn prepare(
        &self,
        ctx: &mut Context<'_>,
        user: &McServiceId,
        begin: Begin,
        repeated: Option<&Envelope>,
    ) -> Result<(Submission, u64), Refusal> {
        let Begin { transaction, destination, parties, payload, expires } = begin;
        let payload = with_blank_label(payload);
        let kind = payload.kind();
        let of_configuration = match &payload {
            Payload::Configuration(it) | Payload::Update { configuration: it, .. } => {
                Some(it.revision)
            }
            Payload::Groups(_)
            | Payload::AddUsers { .. }
            | Payload::RemoveUsers { .. }
            | Payload::GroupsWithdrawn(_)
            | Payload::PleaseSend => None,
        };
        let revision = of_configuration
            .or(repeated.map(|first| first.revision))
            .unwrap_or_else(|| self.next_revision(ctx, kind, &destination));
        let measured = ContentDigest::of(user, &parties, revision, &payload);
        let envelope = Envelope {
            transaction: match transaction {
                Some(transaction) => transaction,
                None => TransactionId::draw(ctx.entropy),
            },
            origin: self.config.system.clone(),
            destination,
            originator: user.clone(),
            created: ctx.now,
            expires: expires.unwrap_or(ctx.now + self.config.expires_after),
            revision,
            digest: measured.digest,
        };
        if repeated.is_none() {
            check_times(&envelope, ctx.now)?;
        }
        let payload = Arc::new(payload);
        Ok((Submission { envelope, parties, payload }, measured.octets))
    }

    /// Checks what is asked for.
    fn check_may_begin(
        &self,
        turn: &Ordered,
        submission: &Submission,
        octets: u64,
    ) -> Result<(), Refusal> {
        let Submission { envelope, parties, payload } = submission;
        let Envelope { destination, revision, .. } = envelope;
        let kind = payload.kind();
        check_content(parties, *revision, payload)?;
        if let Some(partner) = self.partner(destination) {
            let limits = (partner.policies.of(kind), octets);
            check_permitted(payload, &self.config.domains, limits)?;
        }
        let alias = parties.requester_alias.as_ref();
        Self::check_own_alias(turn, &envelope.originator, alias, "requester_alias")?;
        if kind == Kind::Groups {
            self.check_groups_are_home(turn, payload.groups())?;
        }
        self.check_no_other_move(turn, destination, payload)?;
        let last = self.revisions.get(&revision_key(true, destination, kind)).map(|last| *last);
        if last.is_some_and(|last| *revision <= last) {
            let text = "this revision or a later one has been sent already: write a higher one";
            return Err(Refusal::of(ResultCode::StaleRevision, text, ["revision"]));
        }
        let is_about_partner = matches!(kind, Kind::Update | Kind::AddUsers);
        let of_partner = self.revisions.get(&revision_key(false, destination, Kind::Configuration));
        let (of_partner, of_request) = (of_partner.map(|it| *it), payload.configuration());
        if is_about_partner && of_request.is_some_and(|it| Some(it.revision) <= of_partner) {
            let text = "the partner itself has sent this revision of its configuration or a later one: write a \
                        higher one";
            return Err(Refusal::of(ResultCode::StaleRevision, text, ["configuration.revision"]));
        }
        Ok(())
    }

    /// Checks that nothing else is asked about the same users: in which order adding, updating and removing them came
    /// into force at the partner would not be known here, for responses overtake each other.
    fn check_no_other_move(
        &self,
        turn: &Ordered,
        destination: &McSystemId,
        payload: &Payload,
    ) -> Result<(), Refusal> {
        let users: BTreeSet<&McServiceId> = payload.users().iter().collect();
        if users.is_empty() {
            return Ok(());
        }
        for transaction in &turn.moves {
            let Some(other) = self.payloads.get(&self.own_key(*transaction)) else { continue };
            let is_same_partner = self
                .outgoing
                .get(transaction)
                .is_some_and(|held| held.record.subject.envelope.destination == *destination);
            if !is_same_partner || other.kind() == payload.kind() {
                continue;
            }
            let mut both = other.users().iter().filter(|user| users.contains(user)).peekable();
            if both.peek().is_some() {
                let text = "is named in a transaction of another kind that waits for its response";
                let names = both.map(McServiceId::as_str);
                return Err(Refusal::of(ResultCode::Conflict, text, names));
            }
        }
        Ok(())
    }

    /// Keeps a transaction to be sent, and returns what makes it durable.
    pub(super) fn add_outgoing(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        submission: Submission,
        octets: u64,
    ) -> Result<Vec<Mutation>, Refusal> {
        if !self.take_room(&self.outgoing_bound, usize::try_from(octets).unwrap_or(usize::MAX)) {
            ctx.out.note(Note::TableFull("transactions of this system"));
            return Err(Refusal::new(ResultCode::Busy, "too many transactions are open"));
        }
        let Submission { envelope, parties, payload } = submission;
        let (kind, number) = (payload.kind(), turn.next_number());
        let mut mutations = vec![
            self.raise_revision(true, &envelope.destination, kind, envelope.revision),
            PayloadRecord::put(&envelope.key(), &payload),
        ];
        mutations.extend(self.note_offered(turn, &envelope.destination, &payload));
        let transaction = envelope.transaction;
        self.payloads.insert(envelope.key(), payload);
        let subject = Subject { envelope, parties, kind, number, octets };
        let mut record = OutgoingRecord {
            subject,
            state: OutgoingState::Authorised,
            history: Vec::new(),
            response: None,
            settled: true,
        };
        record.enter(ctx.now, OutgoingState::Authorised);
        mutations.push(record.put());
        self.outgoing.insert(transaction, HeldOutgoing::new(record));
        self.place_outgoing(turn, transaction);
        Ok(mutations)
    }

    /// Takes room in `bound` for one transaction and its payload, or none.
    pub(super) fn take_room(&self, bound: &Bound, octets: usize) -> bool {
        if !bound.take() {
            return false;
        }
        if !self.payloads_bound.take_many(octets) {
            bound.give();
            return false;
        }
        true
    }

    /// A revision above all those sent: the time in microseconds, as a rule. Offers of groups and their withdrawals
    /// are in one row.
    pub(super) fn next_revision(
        &self,
        ctx: &Context<'_>,
        kind: Kind,
        destination: &McSystemId,
    ) -> u64 {
        let kinds: &[Kind] = match kind {
            Kind::Groups | Kind::GroupsWithdrawn => &[Kind::Groups, Kind::GroupsWithdrawn],
            Kind::Configuration
            | Kind::Update
            | Kind::AddUsers
            | Kind::RemoveUsers
            | Kind::PleaseSend => &[kind],
        };
        let sent = kinds.iter().filter_map(|kind| {
            self.revisions.get(&revision_key(true, destination, *kind)).map(|last| *last)
        });
        sent.max().map_or(0, |last| last.saturating_add(1)).max(ctx.now.as_micros())
    }

    /// Keeps the highest revision, and returns what makes it durable.
    pub(super) fn raise_revision(
        &self,
        is_outgoing: bool,
        partner: &McSystemId,
        kind: Kind,
        revision: u64,
    ) -> Mutation {
        let key = revision_key(is_outgoing, partner, kind);
        let mut held = self.revisions.entry(key.clone()).or_default();
        *held = revision.max(*held);
        Mutation::put(RecordKind::AcmRevision, &key, &RevisionRecord { revision: *held })
    }
}

/// The key of the highest revision sent to a partner, or in force of one.
pub(super) fn revision_key(is_outgoing: bool, partner: &McSystemId, kind: Kind) -> String {
    let direction = if is_outgoing { "out" } else { "in" };
    format!("{direction} {} {partner}", kind.as_str())
}

/// The label of a UE is the partner's own: an update has it blank (TS 23.280 10.17.2.13, NOTE 2).
fn with_blank_label(payload: Payload) -> Payload {
    let mut payload = payload;
    if let Payload::Update { configuration, .. } = &mut payload {
        configuration.document = configuration.document.with_label(Some("")).into();
    }
    payload
}
