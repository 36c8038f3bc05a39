//! Provisioning of subscribers.
//!
//! No identity has two owners. Subscribers and listed pairs exclude each other under the lock of the
//! pools: a subscriber is created while it is held for reading, a pool changes while it is held for
//! writing. Neither may look like what a generated pool lends, unless it was there before the pool.

use std::{
    collections::BTreeSet,
    sync::{RwLockReadGuard, TryLockError},
};

use super::{
    IMPUS_PER_SUBSCRIBER_MAX, Outcome, SipDatabase,
    bound::read,
    pool::Pools,
    subscriber::{SqnProfile, Subscriber, SubscriberRecord},
};
use crate::{
    aka::opc_from_op,
    api::migration_identity::{self as api, Answer, OperatorKey, Refusal},
    identity::{Impi, Impu},
    outbox::{Context, Note},
    store::{Mutation, RecordKind},
};

pub(super) const FULL: Refusal = Refusal::Full("subscribers");
pub(super) const NOT_FREE: Refusal = Refusal::Invalid("a public identity belongs to somebody else");

impl SipDatabase {
    /// Creates or replaces a subscriber. SEQ never goes down by it.
    pub(super) fn put_subscriber(
        &self,
        ctx: &mut Context<'_>,
        subscriber: api::Subscriber,
    ) -> Outcome {
        let _among_others = self.provision()?;
        let pools = read(&self.pools);
        self.check_subscriber(&pools, &subscriber)?;
        self.store_subscriber(ctx, subscriber)
    }

    /// Lets one thing be provisioned, while others provision others.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unavailable`] while many are provisioned by one request ([`super::provision_many`]): no
    /// worker waits for that.
    pub(super) fn provision(&self) -> Result<RwLockReadGuard<'_, ()>, Refusal> {
        match self.provisioning.try_read() {
            Ok(guard) => Ok(guard),
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Err(Refusal::Unavailable),
        }
    }

    /// Creates or replaces a subscriber that has been checked.
    pub(super) fn store_subscriber(
        &self,
        ctx: &mut Context<'_>,
        subscriber: api::Subscriber,
    ) -> Outcome {
        let (impi, record) = record_of(subscriber, self.config.sqn_profile());
        self.provisioned.add(&impi, &record.impus);
        match self.subscribers.entry(impi.clone()) {
            dashmap::Entry::Occupied(mut held) => {
                self.claim(&impi, &record.impus)?;
                let subscriber = held.get_mut();
                let mut dropped = subscriber.record.impus.clone();
                subscriber.replace(record);
                dropped.retain(|impu| !subscriber.record.has(impu));
                let version = ctx.out.commit([subscriber.record.mutation(&impi)]);
                subscriber.version = version;
                if !dropped.is_empty() {
                    self.removed.raise(version);
                }
                self.unclaim(&dropped);
                Ok((Answer::Done, version))
            }
            dashmap::Entry::Vacant(free) => {
                self.check_no_password(&impi)?;
                if !self.subscribers_bound.take() {
                    ctx.out.note(Note::TableFull("subscribers"));
                    return Err(FULL);
                }
                if let Err(refusal) = self.claim(&impi, &record.impus) {
                    self.subscribers_bound.give();
                    return Err(refusal);
                }
                let version = ctx.out.commit([record.mutation(&impi)]);
                free.insert(Box::new(Subscriber::stored(record, version)));
                Ok((Answer::Done, version))
            }
        }
    }

    /// Checks what [`Self::put_subscriber`] would refuse.
    pub(super) fn check_put_subscriber(&self, subscriber: &api::Subscriber) -> Result<(), Refusal> {
        let pools = read(&self.pools);
        self.check_subscriber(&pools, subscriber)?;
        let api::Subscriber { impi, impus, .. } = subscriber;
        if !self.subscribers.contains_key(impi) && !self.subscribers_bound.has_room(1) {
            return Err(FULL);
        }
        let owned = |impu| self.public.get(impu).is_some_and(|owner| *owner != *impi);
        if impus.iter().any(owned) { Err(NOT_FREE) } else { Ok(()) }
    }

    /// Checks a subscriber against itself and the pools.
    pub(super) fn check_subscriber(
        &self,
        pools: &Pools,
        subscriber: &api::Subscriber,
    ) -> Result<(), Refusal> {
        let api::Subscriber { impi, impus, seq, .. } = subscriber;
        if *seq > self.config.sqn_profile().seq_max() {
            return Err(Refusal::Invalid("seq has more bits than SQN without IND"));
        }
        self.check_no_password(impi)?;
        self.check_identities(pools, (impi, self.subscribers.contains_key(impi)), impus)
    }

    /// Checks the identities of a subscriber, who `is_known` already or not, against themselves and the pools.
    pub(super) fn check_identities(
        &self,
        pools: &Pools,
        (impi, is_known): (&Impi, bool),
        impus: &[Impu],
    ) -> Result<(), Refusal> {
        check_impus(impus)?;
        if self.listed.contains_key(impi) {
            return Err(Refusal::Invalid("the private identity is one of a pool's"));
        }
        // What the subscriber has from before a pool of that form it keeps: the pool lends it to nobody.
        let is_new = |impu: &&Impu| self.public.get(*impu).is_none_or(|owner| *owner != *impi);
        let generated_impi = pools.may_generate_impi(impi) && !is_known;
        if generated_impi || impus.iter().filter(is_new).any(|impu| pools.may_generate_impu(impu)) {
            return Err(Refusal::Invalid("an identity has the form of a generated pool's"));
        }
        Ok(())
    }

    /// Makes `impi` the owner of all `impus` or of none that it does not own already. The caller holds
    /// the subscriber's entry.
    pub(super) fn claim(&self, impi: &Impi, impus: &[Impu]) -> Result<(), Refusal> {
        let mut claimed = Vec::new();
        for impu in impus {
            match self.public.entry(impu.clone()) {
                dashmap::Entry::Vacant(free) => {
                    free.insert(impi.clone());
                    claimed.push(impu);
                }
                dashmap::Entry::Occupied(held) if held.get() == impi => {}
                dashmap::Entry::Occupied(held) => {
                    drop(held);
                    self.unclaim(claimed);
                    return Err(NOT_FREE);
                }
            }
        }
        Ok(())
    }

    pub(super) fn unclaim<'a>(&self, impus: impl IntoIterator<Item = &'a Impu>) {
        for impu in impus {
            self.public.remove(impu);
        }
    }

    /// Whether the private identity is a subscriber's, with a key or a password.
    pub(super) fn is_subscriber(&self, impi: &Impi) -> bool {
        self.subscribers.contains_key(impi) || self.digest_subscribers.contains_key(impi)
    }

    /// Shows a subscriber without secrets.
    pub(super) fn get_subscriber(&self, impi: &Impi) -> Outcome {
        let subscriber = self.subscribers.get(impi).ok_or(Refusal::NotFound("subscriber"))?;
        let answer = Answer::Subscriber {
            impi: impi.clone(),
            impus: subscriber.record.impus.clone(),
            seq: subscriber.highest_seq(),
        };
        Ok((answer, subscriber.version))
    }

    /// Removes a subscriber with its outbound bindings and grants, all in one commit.
    pub(super) fn delete_subscriber(&self, ctx: &mut Context<'_>, impi: &Impi) -> Outcome {
        const NOT_FOUND: Refusal = Refusal::NotFound("subscriber");
        let _among_others = self.provision()?;
        let pools = read(&self.pools);
        let visits = self.visits.lock(impi);
        let dashmap::Entry::Occupied(subscriber) = self.subscribers.entry(impi.clone()) else {
            return Err(NOT_FOUND);
        };
        let mut mutations = vec![Mutation::delete(RecordKind::Subscriber, impi.as_str())];
        let mut ending = self.prepare_ending(ctx, &pools, impi, &visits);
        mutations.append(&mut ending.mutations);
        let seq = ctx.out.commit(mutations);
        self.removed.raise(seq);
        self.unclaim(&subscriber.get().record.impus);
        subscriber.remove();
        self.subscribers_bound.give();
        self.finish_ending(ctx, impi, ending);
        visits.remove();
        Ok((Answer::Done, seq))
    }
}

/// What is stored of a new subscriber.
pub(super) fn record_of(
    subscriber: api::Subscriber,
    profile: SqnProfile,
) -> (Impi, SubscriberRecord) {
    let api::Subscriber { impi, impus, k, operator, amf, seq } = subscriber;
    let opc = match operator {
        OperatorKey::Op(op) => opc_from_op(&k, &op),
        OperatorKey::Opc(opc) => opc,
    };
    (impi, SubscriberRecord::new(impus, (k, opc), amf, seq, profile.ind_bits))
}

pub(super) fn check_impus(impus: &[Impu]) -> Result<(), Refusal> {
    if impus.is_empty() {
        return Err(Refusal::Invalid("a subscriber has at least one public identity"));
    }
    if impus.len() > IMPUS_PER_SUBSCRIBER_MAX {
        return Err(Refusal::Full("public identities of one subscriber"));
    }
    if impus.iter().collect::<BTreeSet<_>>().len() < impus.len() {
        return Err(Refusal::Invalid("a public identity is given twice"));
    }
    Ok(())
}
