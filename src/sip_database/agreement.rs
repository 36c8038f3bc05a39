//! Under which agreement something is lent, and whether that still holds (mc-level rule: TR 23.781
//! solution 2 takes agreements between the systems for granted and does not say how one ends).
//!
//! The end or the withdrawal of an agreement removes no binding and no grant: they give no vector any
//! more, until another agreement is put in place for the same pair or their own time is over.

use std::collections::BTreeMap;

use super::{
    Outcome, SipDatabase,
    bound::{read, write},
};
use crate::{
    api::migration_identity::{AgreementId, Allowance, Answer, Lent, Refusal},
    identity::Impu,
    outbox::{Context, Note},
    store::{CommitSeq, Mutation, RecordKind},
    time::Timestamp,
};

const FULL: Refusal = Refusal::Full("withdrawn agreements");
const KEPT_FOR_ANOTHER: Refusal = Refusal::Invalid(
    "an administrator lent it for another public identity of the user; release that first",
);

/// Whether what was lent stays an administrator's word although it is asked for under an agreement. `held` and
/// `asked` are what it is lent under and the real public identity.
///
/// # Errors
///
/// [`Refusal::Invalid`] if it is asked for another public identity: it cannot be both.
pub(super) fn stays_by_administrator(
    held: (Option<Allowance>, &Impu),
    asked: (Option<Allowance>, &Impu),
) -> Result<bool, Refusal> {
    match (held.0, asked.0) {
        (None, Some(_)) if held.1 != asked.1 => Err(KEPT_FOR_ANOTHER),
        (None, Some(_)) => Ok(true),
        (_, None) | (Some(_), Some(_)) => Ok(false),
    }
}

/// How something came to be lent that was there before.
pub(super) const fn lent_before(allowed: Option<Allowance>) -> Lent {
    match allowed {
        None => Lent::ByAdministrator,
        Some(_) => Lent::Before,
    }
}

/// The agreements that were withdrawn, with the commits that stored it. They are few, and each of them
/// counts for good: a number is never used twice.
#[derive(Debug, Default)]
pub(super) struct Withdrawn(BTreeMap<AgreementId, CommitSeq>);

/// A withdrawn agreement as stored, by its number in decimal. That it is there says all.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
pub(super) struct WithdrawnRecord;

impl Withdrawn {
    /// Whether what was lent under `allowed` is good for a vector now.
    pub(super) fn permits(&self, allowed: Option<Allowance>, now: Timestamp) -> bool {
        self.check(allowed, now).is_ok()
    }

    /// Checks that something may be lent under `allowed` now.
    pub(super) fn check(&self, allowed: Option<Allowance>, now: Timestamp) -> Result<(), Refusal> {
        match allowed {
            Some(allowed) if self.0.contains_key(&allowed.agreement) => {
                Err(Refusal::Invalid("the agreement was withdrawn"))
            }
            Some(allowed) if allowed.until <= now => {
                Err(Refusal::Invalid("the agreement has ended"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Takes a stored withdrawal in.
    pub(super) fn load(&mut self, agreement: AgreementId, version: CommitSeq) {
        self.0.insert(agreement, version);
    }
}

impl SipDatabase {
    /// Checks what [`Self::withdraw_agreement`] would refuse.
    pub(super) fn check_withdraw_agreement(&self, id: AgreementId) -> Result<(), Refusal> {
        let withdrawn = read(&self.withdrawn);
        if withdrawn.0.len() < self.config.withdrawn_agreements_max || withdrawn.0.contains_key(&id)
        {
            return Ok(());
        }
        Err(FULL)
    }

    /// Withdraws an agreement. Idempotent: repeats answer after the first one is durable.
    ///
    /// Whoever makes a vector holds the lock of the withdrawn ones until it is made: none is made once
    /// this has returned.
    pub(super) fn withdraw_agreement(&self, ctx: &mut Context<'_>, id: AgreementId) -> Outcome {
        let mut withdrawn = write(&self.withdrawn);
        if let Some(version) = withdrawn.0.get(&id) {
            return Ok((Answer::Done, *version));
        }
        if withdrawn.0.len() >= self.config.withdrawn_agreements_max {
            ctx.out.note(Note::TableFull("withdrawn agreements"));
            return Err(FULL);
        }
        let key = id.0.to_string();
        let put = Mutation::put(RecordKind::WithdrawnAgreement, &key, &WithdrawnRecord);
        let seq = ctx.out.commit([put]);
        // A refusal on account of the withdrawal is one on account of an absence.
        self.removed.raise(seq);
        withdrawn.0.insert(id, seq);
        Ok((Answer::Done, seq))
    }
}
