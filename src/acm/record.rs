//! The records of transactions, what is kept of one in memory, and how it shows.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ordered::Queue;
use crate::{
    api::{
        acm_client::{Change, HISTORY_MAX, State, Summary},
        acm_interconnection::{ElementNames, Envelope, Response, TransactionKey},
        acm_payload::{Kind, Parties, Payload},
    },
    identity::{FunctionalAlias, McServiceId},
    store::{Mutation, RecordKind},
    time::Timestamp,
};

/// What a transaction is, on either side.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Subject {
    pub(super) envelope: Envelope,
    pub(super) parties: Parties,
    pub(super) kind: Kind,
    /// Its place in lists: later transactions have higher ones.
    pub(super) number: u64,
    /// The octets of its payload, as the digest counts them.
    pub(super) octets: u64,
}

impl Subject {
    pub(super) fn key(&self) -> TransactionKey {
        self.envelope.key()
    }

    fn summary(&self, is_outgoing: bool, state: State, response: Option<&Response>) -> Summary {
        let envelope = &self.envelope;
        let partner = if is_outgoing { &envelope.destination } else { &envelope.origin };
        Summary {
            number: self.number,
            key: envelope.key(),
            kind: self.kind,
            partner: partner.clone(),
            originator: envelope.originator.clone(),
            created: envelope.created,
            expires: envelope.expires,
            revision: envelope.revision,
            state,
            result: response.map(|response| response.result),
        }
    }
}

/// A transaction that this system began. What ended it (refused, expired, cancelled) is the result of its response.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct OutgoingRecord {
    pub(super) subject: Subject,
    pub(super) state: OutgoingState,
    pub(super) history: Vec<Change>,
    pub(super) response: Option<Response>,
    /// Of the record's format, and always true: what a response brings into force here becomes durable with it.
    pub(super) settled: bool,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum OutgoingState {
    /// To be sent.
    Authorised,
    /// The partner has it.
    Sent,
    /// The partner said that a person must look.
    PendingAtPartner,
    /// To be taken back.
    Cancelling,
    /// The response is here.
    Responded,
    /// The response has been fetched.
    Delivered,
    /// The response has been read, or nobody has to.
    Closed,
}

impl OutgoingRecord {
    /// Moves on; the history says so.
    pub(super) fn enter(&mut self, at: Timestamp, state: OutgoingState) {
        self.state = state;
        self.note(at, state.shown(false));
    }

    /// Notes something in the history.
    pub(super) fn note(&mut self, at: Timestamp, state: State) {
        if self.history.len() < HISTORY_MAX {
            self.history.push(Change { at, state });
        }
    }

    pub(super) fn put(&self) -> Mutation {
        let key = self.subject.envelope.transaction.to_string();
        Mutation::put(RecordKind::AcmOutgoing, &key, self)
    }

    pub(super) const fn is_over(&self) -> bool {
        self.response.is_some()
    }
}

impl OutgoingState {
    pub(super) const fn is_over(self) -> bool {
        matches!(self, Self::Responded | Self::Delivered | Self::Closed)
    }

    const fn shown(self, is_failing: bool) -> State {
        match self {
            Self::Authorised if is_failing => State::Retrying,
            Self::Authorised => State::Authorised,
            Self::Sent => State::Sent,
            Self::PendingAtPartner => State::PendingAtPartner,
            Self::Cancelling => State::Cancelling,
            Self::Responded => State::Responded,
            Self::Delivered => State::Delivered,
            Self::Closed => State::Closed,
        }
    }
}

/// A transaction that another system began.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct IncomingRecord {
    pub(super) subject: Subject,
    pub(super) state: IncomingState,
    /// Whether the partner knows that a person must look.
    pub(super) indicated: bool,
    /// Whether somebody has looked at it.
    pub(super) fetched: bool,
    /// Elements that differ from what is in force.
    pub(super) differing: ElementNames,
    /// Who accepted it, while that is being put in force.
    pub(super) accepted_by: Option<Handler>,
    pub(super) response: Option<Response>,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum IncomingState {
    /// Durable, being assessed.
    Stored,
    /// A person decides.
    Waiting,
    /// Accepted, being put in force.
    Deciding,
    /// Decided; the partner does not know yet.
    Answered,
    /// The partner knows.
    Acknowledged,
    /// The partner never took the response, and does not ask any more.
    Undelivered,
}

impl IncomingState {
    pub(super) const fn is_over(self) -> bool {
        matches!(self, Self::Answered | Self::Acknowledged | Self::Undelivered)
    }
}

/// Who handled a transaction; nobody where policy or time did.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Handler {
    pub(super) id: Option<McServiceId>,
    pub(super) alias: Option<FunctionalAlias>,
}

impl IncomingRecord {
    pub(super) fn put(&self) -> Mutation {
        Mutation::put(RecordKind::AcmIncoming, &stored_key(&self.subject.key()), self)
    }

    /// Whether it was over before it was stored: refused, or taken back before it came. Nothing is kept of its content.
    pub(super) const fn is_over_unstored(&self) -> bool {
        self.subject.octets == 0
    }

    pub(super) const fn is_undecided(&self) -> bool {
        matches!(self.state, IncomingState::Stored | IncomingState::Waiting)
    }
}

/// The key of a record that belongs to one transaction among those of all systems.
pub(super) fn stored_key(key: &TransactionKey) -> String {
    format!("{} {}", key.origin, key.transaction)
}

/// What goes to the other system or to the configuration server for a transaction: one request at a time.
#[derive(Clone, Debug, Default)]
pub(super) struct Link {
    /// The number of the request that waits for its answer.
    pub(super) request: Option<u64>,
    /// Attempts since the last that succeeded.
    pub(super) attempts: u32,
    /// Requests since the last attempt that have not left this system.
    pub(super) unsent: u32,
    /// When to try again.
    pub(super) retry_at: Option<Timestamp>,
}

/// An [`OutgoingRecord`] in memory.
#[derive(Clone, Debug)]
pub(super) struct HeldOutgoing {
    pub(super) record: OutgoingRecord,
    pub(super) link: Link,
    pub(super) queue: Option<Queue>,
    pub(super) due: Option<Timestamp>,
    /// Whether the partner may have it: it said so, or an attempt had no answer.
    pub(super) may_be_there: bool,
    /// When a client has asked what is pending and has been shown the response, last.
    pub(super) listed: Option<Timestamp>,
}

impl HeldOutgoing {
    pub(super) const fn new(record: OutgoingRecord) -> Self {
        let link = Link { request: None, attempts: 0, unsent: 0, retry_at: None };
        Self { record, link, queue: None, due: None, may_be_there: false, listed: None }
    }

    /// One that was stored: nobody knows whether it has been sent.
    pub(super) fn loaded(record: OutgoingRecord) -> Self {
        Self { may_be_there: true, ..Self::new(record) }
    }

    pub(super) fn summary(&self) -> Summary {
        let OutgoingRecord { subject, state, response, .. } = &self.record;
        subject.summary(true, state.shown(self.link.attempts > 0), response.as_ref())
    }
}

/// An [`IncomingRecord`] in memory.
#[derive(Clone, Debug)]
pub(super) struct HeldIncoming {
    pub(super) record: IncomingRecord,
    pub(super) link: Link,
    pub(super) queue: Option<Queue>,
    pub(super) due: Option<Timestamp>,
    /// Whether those who may decide are still to be told: after the first attempt to tell the partner that one of them must
    /// look.
    pub(super) is_to_be_told: bool,
}

impl HeldIncoming {
    pub(super) const fn new(record: IncomingRecord) -> Self {
        let link = Link { request: None, attempts: 0, unsent: 0, retry_at: None };
        Self { record, link, queue: None, due: None, is_to_be_told: false }
    }

    /// How it shows. `is_attended` says whether somebody who could decide is logged on.
    pub(super) fn summary(&self, is_attended: bool) -> Summary {
        let IncomingRecord { subject, state, fetched, response, .. } = &self.record;
        let state = match state {
            IncomingState::Stored => State::Stored,
            IncomingState::Waiting if *fetched => State::Fetched,
            IncomingState::Waiting if self.queue.is_none() => State::WaitingForAlias,
            IncomingState::Waiting if is_attended => State::Assigned,
            IncomingState::Waiting => State::WaitingForLogon,
            IncomingState::Deciding => State::Decided,
            IncomingState::Answered => State::ResponseSent,
            IncomingState::Acknowledged => State::ResponseAcknowledged,
            IncomingState::Undelivered => State::ResponseUndelivered,
        };
        subject.summary(false, state, response.as_ref())
    }
}

/// The record of a payload.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct PayloadRecord {
    pub(super) payload: HeldPayload,
}

impl PayloadRecord {
    pub(super) fn put(key: &TransactionKey, payload: &HeldPayload) -> Mutation {
        let record = Self { payload: Arc::clone(payload) };
        Mutation::put(RecordKind::AcmPayload, &stored_key(key), &record)
    }
}

/// The record of the highest revision sent to a partner, or in force of one.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct RevisionRecord {
    pub(super) revision: u64,
}

/// A payload in memory.
pub(super) type HeldPayload = Arc<Payload>;
