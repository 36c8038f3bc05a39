//! Agreements with partners: which users may go there, and which of theirs may come here.
//!
//! **Numbers.** What the SIP database lends under an agreement carries the agreement's number, and is lost
//! when the number is withdrawn. An agreement has the number of the commit that created it. A replacement
//! keeps the number while the agreement is in force and nothing is taken away; one that ends earlier,
//! begins later or begins to hide identities has the old number withdrawn first and gets a number of its own.
//!
//! **Ends.** That a number is to be withdrawn is stored before the SIP database is asked. From then on the
//! agreement is not in force, also if the answer is lost: nobody knows then whether the number is good. The
//! next change withdraws it again.

use std::fmt;

use super::{ConfigServer, Next, Outcome, rely_on, user::check_class};
use crate::{
    api::{
        configuration::{Agreement, AgreementKey, Answer, Users},
        migration_identity::{self as management, AgreementId, Allowance, Direction, Refusal},
    },
    identity::McSystemId,
    outbox::{Context, Note},
    store::{CommitSeq, Mutation, RecordKind},
    time::Timestamp,
};

/// An agreement in memory.
#[derive(Debug)]
pub(super) struct HeldAgreement {
    record: AgreementRecord,
    /// Its number.
    id: AgreementId,
    /// The commit that wrote it.
    version: CommitSeq,
    /// Whether the SIP database is being asked to withdraw the number: no other change is made meanwhile.
    busy: bool,
}

/// An agreement as stored, by [`record_key`].
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
pub(super) struct AgreementRecord {
    /// Its number, unless that is the number of the commit that wrote the record.
    id: Option<AgreementId>,
    pub(super) agreement: Agreement,
    /// Whether its number is to be withdrawn, or is.
    ending: bool,
}

/// What counts of an agreement that is in force.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct InForce {
    /// What the SIP database may lend under it.
    pub(super) allowance: Allowance,
    pub(super) hide_identities: bool,
}

impl HeldAgreement {
    /// Takes a record of the commit `version`.
    pub(super) fn stored(record: AgreementRecord, version: CommitSeq) -> Self {
        let id = record.id.unwrap_or(AgreementId(version.as_u64()));
        Self { record, id, version, busy: false }
    }

    fn written(ctx: &mut Context<'_>, record: AgreementRecord) -> Self {
        let key = record_key(&record.agreement.key);
        let put = Mutation::put(RecordKind::Agreement, &key, &record);
        Self::stored(record, ctx.out.commit([put]))
    }

    /// Writes `agreement` with the number `id`, or with one of its own.
    fn put(ctx: &mut Context<'_>, id: Option<AgreementId>, agreement: Agreement) -> Self {
        Self::written(ctx, AgreementRecord { id, agreement, ending: false })
    }

    /// Takes it out of force, and asks to end what the SIP database lent under it.
    fn withdraw(&mut self, ctx: &mut Context<'_>) -> Next {
        if !self.record.ending {
            let record = self.record.clone();
            *self =
                Self::written(ctx, AgreementRecord { id: Some(self.id), ending: true, ..record });
        }
        self.busy = true;
        Next::Ask(management::Request::WithdrawAgreement(self.id))
    }

    fn is_in_force(&self, now: Timestamp) -> bool {
        let Agreement { valid_from, valid_until, .. } = &self.record.agreement;
        !self.record.ending && (*valid_from..*valid_until).contains(&now)
    }

    /// Whether `next` takes something away that the SIP database may have lent.
    fn is_narrowed_by(&self, next: &Agreement, now: Timestamp) -> bool {
        let Agreement { valid_until, hide_identities, .. } = &self.record.agreement;
        // Grants of real pairs go when identities are to be hidden.
        let hides = next.hide_identities && !hide_identities;
        let takes = next.valid_until < *valid_until || next.valid_from > now || hides;
        self.record.ending || (self.is_in_force(now) && takes)
    }
}

impl ConfigServer {
    /// Finds the agreement in force for one of `users`, the most specific of which comes first.
    pub(super) fn agreement_in_force(
        &self,
        now: Timestamp,
        partner: &McSystemId,
        direction: Direction,
        users: impl IntoIterator<Item = Users>,
        after: &mut CommitSeq,
    ) -> Option<InForce> {
        users.into_iter().find_map(|users| {
            let key = AgreementKey { partner: partner.clone(), direction, users };
            let held = self.agreements.get(&key)?;
            rely_on(after, held.version);
            held.is_in_force(now).then(|| InForce {
                allowance: Allowance {
                    agreement: held.id,
                    until: held.record.agreement.valid_until,
                },
                hide_identities: held.record.agreement.hide_identities,
            })
        })
    }

    /// Shows an agreement.
    pub(super) fn get_agreement(&self, key: &AgreementKey, after: &mut CommitSeq) -> Outcome {
        let held = self.agreements.get(key).ok_or(Refusal::NotFound("agreement"))?;
        rely_on(after, held.version);
        let (id, agreement) = (held.id, held.record.agreement.clone());
        Ok(Next::Answer(Answer::Agreement { id, agreement }))
    }

    /// Says whether an agreement can be put now.
    pub(super) fn check_agreement(&self, agreement: &Agreement) -> Result<(), Refusal> {
        self.check_terms(agreement)?;
        match self.agreements.get(&agreement.key) {
            Some(held) if held.busy => Err(Refusal::Unavailable),
            Some(_) => Ok(()),
            None if self.agreements_bound.has_room(1) => Ok(()),
            None => Err(Refusal::Full("agreements")),
        }
    }

    /// Creates or replaces an agreement; `withdrawn` says that the replaced one's number is withdrawn.
    pub(super) fn put_agreement(
        &self,
        ctx: &mut Context<'_>,
        agreement: &Agreement,
        withdrawn: bool,
        after: &mut CommitSeq,
    ) -> Outcome {
        self.check_terms(agreement)?;
        match self.agreements.entry(agreement.key.clone()) {
            dashmap::Entry::Occupied(mut entry) => {
                let held = entry.get_mut();
                rely_on(after, held.version);
                if held.busy && !withdrawn {
                    return Err(Refusal::Unavailable);
                }
                if held.is_narrowed_by(agreement, ctx.now) && !withdrawn {
                    let next = held.withdraw(ctx);
                    rely_on(after, held.version);
                    return Ok(next);
                }
                let id = held.is_in_force(ctx.now).then_some(held.id);
                *held = HeldAgreement::put(ctx, id, agreement.clone());
                rely_on(after, held.version);
            }
            dashmap::Entry::Vacant(free) => {
                if !self.agreements_bound.take() {
                    ctx.out.note(Note::TableFull("agreements"));
                    return Err(Refusal::Full("agreements"));
                }
                let held = free.insert(HeldAgreement::put(ctx, None, agreement.clone()));
                rely_on(after, held.version);
            }
        }
        Ok(Next::Answer(Answer::Done))
    }

    /// Removes an agreement after its number; `withdrawn` says that the number is withdrawn.
    pub(super) fn delete_agreement(
        &self,
        ctx: &mut Context<'_>,
        key: &AgreementKey,
        withdrawn: bool,
        after: &mut CommitSeq,
    ) -> Outcome {
        let dashmap::Entry::Occupied(mut entry) = self.agreements.entry(key.clone()) else {
            return Err(Refusal::NotFound("agreement"));
        };
        let held = entry.get_mut();
        rely_on(after, held.version);
        if !withdrawn {
            if held.busy {
                return Err(Refusal::Unavailable);
            }
            let next = held.withdraw(ctx);
            rely_on(after, held.version);
            return Ok(next);
        }
        let deletion = Mutation::delete(RecordKind::Agreement, &record_key(key));
        let seq = ctx.out.commit([deletion]);
        self.removed.raise(seq);
        entry.remove();
        self.agreements_bound.give();
        rely_on(after, seq);
        Ok(Next::Answer(Answer::Done))
    }

    /// Lets others change an agreement: it could not be learnt whether its number is withdrawn.
    pub(super) fn free_agreement(&self, key: &AgreementKey) {
        if let Some(mut held) = self.agreements.get_mut(key) {
            held.busy = false;
        }
    }

    fn check_terms(&self, agreement: &Agreement) -> Result<(), Refusal> {
        let Agreement { key, valid_from, valid_until, hide_identities } = agreement;
        if self.partner(&key.partner).is_none() {
            return Err(Refusal::Invalid("the partner is not configured"));
        }
        if valid_from >= valid_until {
            return Err(Refusal::Invalid("the agreement ends before it begins"));
        }
        let inbound = key.direction == Direction::Inbound;
        if inbound && *hide_identities {
            return Err(Refusal::Invalid("only an outbound agreement hides identities"));
        }
        match &key.users {
            Users::Class(_) if inbound => {
                Err(Refusal::Invalid("an inbound agreement is about one user or everybody"))
            }
            Users::Class(class) => check_class(Some(class)),
            Users::Everybody | Users::User(_) => Ok(()),
        }
    }
}

/// The key of an agreement's record. Neither a system's nor a user's ID holds a space.
pub(super) fn record_key(key: &AgreementKey) -> String {
    let AgreementKey { partner, direction, users } = key;
    let direction = match direction {
        Direction::Outbound => 'o',
        Direction::Inbound => 'i',
    };
    let (kind, name): (char, &dyn fmt::Display) = match users {
        Users::Everybody => ('e', &""),
        Users::Class(class) => ('c', class),
        Users::User(user) => ('u', &user.as_str()),
    };
    format!("{partner} {direction}{kind}{name}")
}
