//! What one system's storage holds of the exchange between administrators, decoded as a program would that knows the
//! format only.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    api::{
        acm_interconnection::{ElementNames, Envelope, Response, TransactionKey},
        acm_payload::{Kind, Parties, Payload},
        migration_identity::Direction,
    },
    identity::{FunctionalAlias, McServiceGroupId, McServiceId, McSystemId},
    store::{CommitSeq, RecordError, RecordKind, decode},
    time::Timestamp,
};

use super::engine::History;

/// The place of the first state of an [`OutgoingRecord`] that is an end: the response is here.
const RESPONDED: u32 = 4;

/// The place of the state of an [`IncomingRecord`] whose response the other system has.
const ACKNOWLEDGED: u32 = 4;

/// The places of those of a user's agreement that something is to be done about.
const TO_PUT_OR_TO_END: [u32; 2] = [1, 3];

/// What a transaction is: envelope, parties, kind, number, octets.
type SubjectRecord = (Envelope, Parties, Kind, u64, u64);

/// A transaction that the system began as stored: subject, state, history, response, whether it is settled.
type OutgoingRecord = (SubjectRecord, u32, Vec<(Timestamp, u32)>, Option<Response>, bool);

/// One that the other system began: subject, state, whether indicated and fetched, differing elements, who accepted
/// it, response.
type IncomingRecord = (
    SubjectRecord,
    u32,
    bool,
    bool,
    ElementNames,
    Option<(Option<McServiceId>, Option<FunctionalAlias>)>,
    Option<Response>,
);

/// A user who migrates: way, other system, user, who added, configuration, agreement.
type MigrantRecord = (
    Direction,
    McSystemId,
    McServiceId,
    TransactionKey,
    Option<(TransactionKey, u64, Option<Box<str>>)>,
    u32,
);

/// A group: home, ID, revision, since when it is no more, who told of it, whom it was offered to.
type GroupRecord = (
    McSystemId,
    McServiceGroupId,
    u64,
    Option<Timestamp>,
    Option<TransactionKey>,
    BTreeSet<McSystemId>,
);

/// What is stored of the exchange.
#[derive(Debug, Default)]
pub(super) struct AcmTables {
    /// Transactions that this system began.
    pub(super) outgoing: BTreeMap<TransactionKey, StoredOutgoing>,
    /// Transactions that the other system began.
    pub(super) incoming: BTreeMap<TransactionKey, StoredIncoming>,
    /// Users who migrate, and by which revision.
    pub(super) migrants: BTreeMap<(Direction, McServiceId), Option<u64>>,
    /// The users about whose agreements something is to be done.
    pub(super) to_agree: BTreeSet<McServiceId>,
    /// Groups of the other system, and whether each is no more.
    pub(super) groups: BTreeMap<McServiceGroupId, bool>,
}

/// A transaction that this system began.
#[derive(Debug)]
pub(super) struct StoredOutgoing {
    pub(super) response: Option<Response>,
    /// Whether nothing is left to be done.
    pub(super) is_over: bool,
}

/// One that the other system began.
#[derive(Debug)]
pub(super) struct StoredIncoming {
    pub(super) revision: u64,
    pub(super) payload: Payload,
    /// What it came to, and the commit that made it so.
    pub(super) response: Option<(CommitSeq, Response)>,
    /// Whether nothing is left to be done.
    pub(super) is_over: bool,
}

impl AcmTables {
    /// Reads what the storage of the partner of `other` holds, and when it came to hold it.
    pub(super) fn read(history: &History, other: &McSystemId) -> Result<Self, RecordError> {
        let mut tables = Self::default();
        for (_, value) in history.all_current(RecordKind::AcmOutgoing) {
            let (subject, state, _, response, settled) = decode::<OutgoingRecord>(value)?;
            let is_over = settled && state >= RESPONDED;
            tables.outgoing.insert(subject.0.key(), StoredOutgoing { response, is_over });
        }
        for (key, value) in history.all_current(RecordKind::AcmIncoming) {
            let (subject, state, ..) = decode::<IncomingRecord>(value)?;
            let stored_key = String::from_utf8_lossy(key);
            // One that was taken back before it came has none.
            let payload = history.values(RecordKind::AcmPayload, &stored_key).next();
            let payload = payload.map(decode::<(Payload,)>).transpose()?;
            let stored = StoredIncoming {
                revision: subject.0.revision,
                payload: payload.map_or(Payload::PleaseSend, |(payload,)| payload),
                response: first_response(history, &stored_key)?,
                is_over: state == ACKNOWLEDGED,
            };
            tables.incoming.insert(subject.0.key(), stored);
        }
        for (_, value) in history.all_current(RecordKind::AcmMigrant) {
            let (way, _, user, _, configuration, agreement) = decode::<MigrantRecord>(value)?;
            if TO_PUT_OR_TO_END.contains(&agreement) {
                tables.to_agree.insert(user.clone());
            }
            tables.migrants.insert((way, user), configuration.map(|(_, revision, _)| revision));
        }
        for (_, value) in history.all_current(RecordKind::AcmGroup) {
            let (home, group, _, withdrawn, ..) = decode::<GroupRecord>(value)?;
            if home == *other {
                tables.groups.insert(group, withdrawn.is_some());
            }
        }
        Ok(tables)
    }
}

/// The first response that an incoming transaction had, and the commit that brought it.
fn first_response(
    history: &History,
    key: &str,
) -> Result<Option<(CommitSeq, Response)>, RecordError> {
    for (seq, version) in history.versions(RecordKind::AcmIncoming, key).into_iter().flatten() {
        let Some(value) = &version.value else { continue };
        if let Some(response) = decode::<IncomingRecord>(value)?.6 {
            return Ok(Some((*seq, response)));
        }
    }
    Ok(None)
}

/// The response that a stored transaction has, of either side.
pub(super) fn response_in(kind: RecordKind, value: &[u8]) -> Option<Response> {
    if kind == RecordKind::AcmIncoming {
        decode::<IncomingRecord>(value).ok()?.6
    } else {
        decode::<OutgoingRecord>(value).ok()?.3
    }
}

/// Which commits gave a user the configuration that a transaction brought.
pub(super) fn commits_that_brought(
    history: &History,
    transaction: &TransactionKey,
    key: &str,
) -> Result<Vec<CommitSeq>, RecordError> {
    let mut commits = Vec::new();
    let mut had = None;
    for (seq, version) in history.versions(RecordKind::AcmMigrant, key).into_iter().flatten() {
        let has = match &version.value {
            Some(value) => decode::<MigrantRecord>(value)?.4.map(|(by, ..)| by),
            None => None,
        };
        if has.as_ref() == Some(transaction) && has != had {
            commits.push(*seq);
        }
        had = has;
    }
    Ok(commits)
}
