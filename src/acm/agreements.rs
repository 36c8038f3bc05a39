//! Users who were added for migration get an agreement in the configuration server, and lose it when they are removed
//! (TS 23.280 10.17.5): what the configuration server lets them migrate under.
//!
//! That it is to be done is part of the user's record, and so of the commit that added or removed the user; a few at a
//! time are done afterwards. A repeat of one is harmless.

use std::collections::BTreeSet;

use super::{
    AcmServer,
    configuration::Asked,
    migrants::{Agreed, MigrantKey, migrant_key},
    ordered::Ordered,
};
use crate::{
    api::{
        configuration::{Agreement, AgreementKey, Answer, Request, Users},
        migration_identity::{Direction, Refusal},
    },
    identity::McSystemId,
    outbox::{Context, Message, Note, RequestId, Role},
    store::{Mutation, RecordKind},
    time::Timestamp,
};

/// Agreements that the configuration server is asked for at a time.
const AT_A_TIME_MAX: usize = 16;

/// The users whose agreements are to be made or to end.
#[derive(Debug, Default)]
pub(super) struct AgreementWork {
    to_do: BTreeSet<MigrantKey>,
    /// Those that the configuration server has been asked about: no second time meanwhile.
    asked: BTreeSet<MigrantKey>,
    retry_at: Option<Timestamp>,
}

impl AgreementWork {
    pub(super) fn add(&mut self, keys: impl IntoIterator<Item = MigrantKey>) {
        self.to_do.extend(keys);
    }

    /// Takes a user off the list, before it changes.
    pub(super) fn forget(&mut self, key: &MigrantKey) {
        self.to_do.remove(key);
    }

    /// When to try again; not while answers are to come.
    pub(super) fn retry_at(&self) -> Option<Timestamp> {
        self.retry_at.filter(|_| !self.to_do.is_empty())
    }

    fn next(&mut self) -> Option<MigrantKey> {
        let key = self.to_do.iter().find(|key| !self.asked.contains(*key))?.clone();
        self.to_do.remove(&key);
        Some(key)
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
        let has_to_wait = turn.agreements.retry_at.is_some_and(|at| ctx.now < at);
        if has_to_wait || !ctx.out.storage_available() {
            return;
        }
        turn.agreements.retry_at = None;
        while turn.agreements.asked.len() < AT_A_TIME_MAX {
            let Some(key) = turn.agreements.next() else { return };
            let wanted = self.migrants.get(&key).and_then(|held| held.to_do());
            let Some((wanted, request)) = wanted
                .and_then(|wanted| Some((wanted, self.agreement_request(ctx, &key, wanted)?)))
            else {
                continue;
            };
            let number = self.next_number();
            self.requests.insert(number, Asked::Agreement(Box::new(key.clone()), wanted));
            turn.agreements.asked.insert(key);
            let id = RequestId { role: Role::Acm, number };
            let message = Message::ConfigurationRequest { id, request };
            ctx.out.send_after(self.latest.get(), None, message);
        }
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
        turn.agreements.asked.remove(key);
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
            | Answer::SystemConfiguration(_) => false,
        };
        let Some(mut record) = self.migrants.get(key).map(|held| held.clone()) else { return };
        if !is_done {
            turn.agreements.add([key.clone()]);
            turn.agreements.retry_at = Some(ctx.now + self.config.answer_timeout);
        } else if record.to_do() != Some(wanted) {
            // Added again while it was being removed, or the other way round: that is to be done.
            turn.agreements.add(record.to_do().map(|_| key.clone()));
        } else if wanted == Agreed::ToEnd {
            let name = migrant_key(key.0, &key.1, &key.2);
            self.commit(ctx, [Mutation::delete(RecordKind::AcmMigrant, &name)]);
            self.migrants.remove(key);
            self.migrants_bound.give();
        } else {
            record.has_agreement();
            self.commit(ctx, [record.put()]);
            self.migrants.insert(key.clone(), record);
        }
    }
}
