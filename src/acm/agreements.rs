//! Users who were added for migration get an agreement in the configuration server, and lose it when they are removed
//! (TS 23.280 10.17.5): what the configuration server lets them migrate under.
//!
//! That it is to be done is part of the user's record, and so of the commit that added or removed the user; a few at a
//! time are done afterwards. A repeat of one is harmless. One that fails is tried again after a pause of its own, and
//! does not hold up the others.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    AcmServer,
    configuration::Asked,
    migrants::{Agreed, MigrantKey, migrant_key},
    ordered::{Due, Ordered},
    record::Link,
};
use crate::{
    api::{
        configuration::{Agreement, AgreementKey, Answer, Request, Users},
        migration_identity::{Direction, Refusal},
    },
    identity::McSystemId,
    outbox::{Context, Message, Note},
    store::{Mutation, RecordKind},
};

/// Agreements that the configuration server is asked for at a time.
const AT_A_TIME_MAX: usize = 16;

/// Agreements that have failed and are tried again, each in its time. With more of them it is the configuration server
/// that fails, and the others wait.
const FAILING_MAX: usize = 1_024;

/// The users whose agreements are to be made or to end.
#[derive(Debug, Default)]
pub(super) struct AgreementWork {
    to_do: BTreeSet<MigrantKey>,
    /// Those that the configuration server has been asked about, or is to be asked about again: not beside that.
    under_way: BTreeMap<MigrantKey, Link>,
    /// How many of these wait for an answer.
    asked: usize,
}

impl AgreementWork {
    pub(super) fn add(&mut self, keys: impl IntoIterator<Item = MigrantKey>) {
        self.to_do.extend(keys);
    }

    /// Takes a user off the list, before it changes.
    pub(super) fn forget(&mut self, key: &MigrantKey) {
        self.to_do.remove(key);
    }

    fn has_room(&self) -> bool {
        self.asked < AT_A_TIME_MAX && self.under_way.len() - self.asked < FAILING_MAX
    }

    fn next(&mut self) -> Option<MigrantKey> {
        let key = self.to_do.iter().find(|key| !self.under_way.contains_key(*key))?.clone();
        self.to_do.remove(&key);
        Some(key)
    }

    /// How an attempt stands, taken out.
    fn take(&mut self, key: &MigrantKey) -> Option<Link> {
        let link = self.under_way.remove(key)?;
        self.asked -= usize::from(link.request.is_some());
        Some(link)
    }

    fn put(&mut self, key: MigrantKey, link: Link) {
        self.asked += usize::from(link.request.is_some());
        self.under_way.insert(key, link);
    }
}

impl AcmServer {
    /// How a user who is added now stands with the configuration server.
    pub(super) fn agreement_for(&self, other: &McSystemId) -> Agreed {
        let terms = self.partner(other).and_then(|partner| partner.agreements);
        if terms.is_some() { Agreed::ToPut } else { Agreed::Unfed }
    }

    /// Asks the configuration server for what is to be done, as much as it is asked for at a time.
    pub(super) fn feed_agreements(&self, ctx: &mut Context<'_>, turn: &mut Ordered) {
        // While nothing can be stored the tables may be incomplete, and answers do not count.
        if !ctx.out.storage_available() {
            return;
        }
        while turn.agreements.has_room() {
            let Some(key) = turn.agreements.next() else { return };
            self.ask_agreement(ctx, turn, key, Link::default());
        }
    }

    /// Asks the configuration server for what is to be done about one agreement now, if anything is.
    fn ask_agreement(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        key: MigrantKey,
        mut link: Link,
    ) {
        let Some(wanted) = self.migrants.get(&key).and_then(|held| held.to_do()) else { return };
        let Some(request) = self.agreement_request(ctx, &key, wanted) else { return };
        let asked = Asked::Agreement(Box::new(key.clone()), wanted);
        let id = self.open_link(ctx, asked, &mut link);
        turn.set_due(&Due::Agreement(key.clone()), None, link.retry_at);
        turn.agreements.put(key, link);
        let message = Message::ConfigurationRequest { id, request };
        ctx.out.send_after(self.latest.get(), None, message);
    }

    /// Goes on with an agreement: its answer has not come, or the pause after that is over.
    pub(super) fn agreement_is_due(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        key: &MigrantKey,
    ) {
        let Some(link) = turn.agreements.take(key) else { return };
        if link.request.is_some() {
            self.agreement_failed(ctx, turn, key, link);
        } else {
            self.ask_agreement(ctx, turn, key.clone(), link);
        }
    }

    fn agreement_failed(
        &self,
        ctx: &Context<'_>,
        turn: &mut Ordered,
        key: &MigrantKey,
        mut link: Link,
    ) {
        let before = link.retry_at;
        self.fail_link(ctx, &mut link);
        turn.set_due(&Due::Agreement(key.clone()), before, link.retry_at);
        turn.agreements.put(key.clone(), link);
    }

    fn agreement_request(
        &self,
        ctx: &Context<'_>,
        (direction, other, user): &MigrantKey,
        wanted: Agreed,
    ) -> Option<Request> {
        let key = AgreementKey {
            partner: other.clone(),
            direction: *direction,
            users: Users::User(user.clone()),
        };
        if wanted == Agreed::ToEnd {
            return Some(Request::DeleteAgreement(key));
        }
        // Without terms now, who was added under some keeps waiting for them.
        let terms = self.partner(other)?.agreements?;
        Some(Request::PutAgreement(Agreement {
            key,
            valid_from: ctx.now,
            valid_until: ctx.now + terms.valid_for,
            hide_identities: terms.hide_identities && *direction == Direction::Outbound,
        }))
    }

    /// Takes the answer of the configuration server about an agreement.
    pub(super) fn take_agreement_reply(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        key: &MigrantKey,
        wanted: Agreed,
        answer: &Answer,
    ) {
        let Some(link) = turn.agreements.take(key) else { return };
        let is_done = match answer {
            Answer::Done => true,
            Answer::Refused(Refusal::NotFound(_)) => wanted == Agreed::ToEnd,
            Answer::Refused(Refusal::Invalid(what)) => {
                let partner = key.1.clone();
                ctx.out.note(Note::AccessMisconfigured { partner, what });
                true
            }
            Answer::Refused(_)
            | Answer::RowsRefused(_)
            | Answer::User { .. }
            | Answer::Agreement { .. }
            | Answer::SystemConfiguration(_)
            | Answer::ConfigurationVersion(_)
            | Answer::UserProfile(_) => false,
        };
        if !is_done {
            return self.agreement_failed(ctx, turn, key, link);
        }
        turn.set_due(&Due::Agreement(key.clone()), link.retry_at, None);
        let Some(mut record) = self.migrants.get(key).map(|held| held.clone()) else { return };
        if record.to_do() != Some(wanted) {
            // Added again while it was being removed, or the other way round: that is to be done.
            turn.agreements.add(record.to_do().map(|_| key.clone()));
        } else if wanted == Agreed::ToEnd {
            let name = migrant_key(key.0, &key.1, &key.2);
            self.commit(ctx, [Mutation::delete(RecordKind::AcmMigrant, &name)]);
            self.migrants.remove(key);
            self.gives_room(turn, key.0, &key.1);
        } else {
            record.has_agreement();
            self.commit(ctx, [record.put()]);
            self.migrants.insert(key.clone(), record);
        }
    }
}
