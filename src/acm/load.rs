//! From stored records to tables, at start and after a failed commit.

use std::str::FromStr;

use super::{
    AcmServer,
    ordered::Ordered,
    record::{
        HeldIncoming, HeldOutgoing, IncomingRecord, OutgoingRecord, PayloadRecord, RevisionRecord,
    },
    share::Shared,
    user::HeldUser,
};
use crate::{
    api::{
        acm_client::SessionId,
        acm_interconnection::{TransactionId, TransactionKey},
    },
    identity::McSystemId,
    outbox::Context,
    store::{Record, RecordError, RecordKind, decode},
};

impl AcmServer {
    /// Takes one stored record in; kinds of other roles are ignored.
    ///
    /// # Errors
    ///
    /// [`RecordError`] when a record cannot be read: the storage is not this build's or is damaged.
    #[expect(clippy::wildcard_enum_match_arm, reason = "kinds of other roles")]
    pub fn load(&self, record: &Record<'_>) -> Result<(), RecordError> {
        match record.kind {
            RecordKind::AcmOutgoing => self.load_outgoing(decode(record.value)?),
            RecordKind::AcmIncoming => self.load_incoming(decode(record.value)?),
            RecordKind::AcmPayload => {
                let PayloadRecord { payload } = decode(record.value)?;
                self.payloads.insert(transaction_key(record)?, payload);
            }
            RecordKind::AcmConfigurationSet => self.load_set(decode(record.value)?),
            RecordKind::AcmMigrant => self.load_migrant(decode(record.value)?),
            RecordKind::AcmGroup => {
                let group: super::ordered::Group = decode(record.value)?;
                self.keep_group(&mut self.turn(), group);
            }
            RecordKind::AcmUser => {
                let user = HeldUser(decode(record.value)?);
                self.users.insert(user.0.mc_service_id.clone(), user);
                self.users_bound.take_loaded();
            }
            RecordKind::AcmSession => {
                let id = u64::from_str_radix(text_of(record)?, 16);
                let id = SessionId(id.map_err(|_| RecordError::Damaged)?);
                self.turn().sessions.insert(id, decode(record.value)?);
            }
            RecordKind::AcmRevision => {
                let RevisionRecord { revision } = decode(record.value)?;
                self.revisions.insert(text_of(record)?.to_owned(), revision);
            }
            RecordKind::AcmStray => {
                let stray = decode(record.value)?;
                self.keep_stray(&mut self.turn(), transaction_key(record)?, stray);
            }
            _ => {}
        }
        Ok(())
    }

    fn load_outgoing(&self, record: OutgoingRecord) {
        let subject = &record.subject;
        self.note_loaded(subject.key(), subject.number);
        self.outgoing_bound.take_loaded();
        self.outgoing.insert(subject.envelope.transaction, HeldOutgoing::loaded(record));
    }

    fn load_incoming(&self, record: IncomingRecord) {
        let key = record.subject.key();
        self.note_loaded(key.clone(), record.subject.number);
        let (bound, share) = self.room_of(&record);
        bound.take_loaded();
        self.turn().shares.take(&key.origin, share, 1);
        self.incoming.insert(key, HeldIncoming::new(record));
    }

    fn note_loaded(&self, key: TransactionKey, number: u64) {
        let mut turn = self.turn();
        turn.last_number = number.max(turn.last_number);
        turn.loaded.insert(key);
    }

    /// Takes up what was loaded: what has to leave is due at once, what is pending is in its list again.
    pub(super) fn take_up(&self, ctx: &mut Context<'_>, turn: &mut Ordered) {
        for key in std::mem::take(&mut turn.loaded) {
            if self.is_own(&key.origin) {
                self.place_outgoing(turn, key.transaction);
            } else {
                let held = self.incoming.get(&key).map(|held| held.record.clone());
                if let Some(record) = held {
                    turn.set_undecided(&key, record.subject.kind, record.is_undecided());
                }
                self.place_incoming(turn, &key);
            }
            if self.payloads.contains_key(&key) {
                let octets = self.octets_of(&key);
                self.payloads_bound.take_many_loaded(octets);
                if !self.is_own(&key.origin) {
                    turn.shares.take(&key.origin, Shared::Octets, octets);
                }
            }
            self.schedule(turn, &key);
        }
        let sessions: Vec<SessionId> = turn.sessions.keys().copied().collect();
        for session in sessions {
            turn.lease(session, ctx.now + self.config.session_lease);
        }
        self.tell_all(ctx, turn);
    }

    /// Tells everybody who is logged on what is pending.
    fn tell_all(&self, ctx: &mut Context<'_>, turn: &Ordered) {
        for (id, session) in &turn.sessions {
            for queue in self.pending_queues(turn, &session.user) {
                self.notify_session(ctx, turn, *id, &session.user, &queue);
            }
        }
    }

    /// Forgets everything, before it is loaded again after a failed commit. The world closes the connections of those
    /// who wait.
    pub fn clear(&self) {
        self.outgoing.clear();
        self.incoming.clear();
        self.payloads.clear();
        self.users.clear();
        self.migrants.clear();
        self.sets.clear();
        self.revisions.clear();
        self.requests.clear();
        for bound in [
            &self.outgoing_bound,
            &self.incoming_bound,
            &self.refusals_bound,
            &self.payloads_bound,
            &self.users_bound,
            &self.migrants_bound,
        ] {
            bound.reset();
        }
        *self.turn() = Ordered::default();
        self.latest.reset();
    }
}

fn text_of<'a>(record: &Record<'a>) -> Result<&'a str, RecordError> {
    str::from_utf8(record.key).map_err(|_| RecordError::Damaged)
}

fn transaction_key(record: &Record<'_>) -> Result<TransactionKey, RecordError> {
    let (origin, transaction) = text_of(record)?.split_once(' ').ok_or(RecordError::Damaged)?;
    let origin = McSystemId::from_str(origin).map_err(|_| RecordError::Damaged)?;
    let transaction = TransactionId::from_str(transaction).map_err(|_| RecordError::Damaged)?;
    Ok(TransactionKey { origin, transaction })
}
