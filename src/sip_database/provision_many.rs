//! Provisioning of many subscribers by one request: all of them or none.
//!
//! All are checked before the first is changed, and meanwhile nobody else provisions: who tries is told to
//! try again. Vectors and bindings go on as ever. What is written is written by commits of one call, which
//! become durable together.

use std::collections::BTreeMap;

use super::{
    Outcome, SipDatabase,
    bound::{read, write},
    pool::Pools,
    provision::{FULL, NOT_FREE, record_of},
    subscriber::Subscriber,
};
use crate::{
    api::migration_identity::{self as api, Answer, ROWS_MAX, Refusal, RowRefused},
    identity::{Impi, Impu},
    outbox::{Context, Note},
    store::CommitSeq,
};

const TOO_MANY: Refusal = Refusal::Invalid("there are more than 250000 in one request");
const TWICE: Refusal = Refusal::Invalid("the private identity is there twice");
const SHARED: Refusal = Refusal::Invalid("a public identity is another one's in this request");

impl SipDatabase {
    /// Creates or replaces many subscribers, each as [`SipDatabase::put_subscriber`] does.
    pub(super) fn put_subscribers(
        &self,
        ctx: &mut Context<'_>,
        subscribers: Vec<api::Subscriber>,
    ) -> Outcome {
        let _alone = write(&self.provisioning);
        let pools = read(&self.pools);
        let refused = self.check_all(&pools, &subscribers)?;
        if !refused.is_empty() {
            return Ok((Answer::RowsRefused(refused), ctx.out.latest_commit()));
        }
        let (known, new): (Vec<_>, Vec<_>) = subscribers
            .into_iter()
            .partition(|subscriber| self.subscribers.contains_key(&subscriber.impi));
        // Nobody else creates or deletes subscribers now, so that all of these have a place.
        if !self.subscribers_bound.take_many(new.len()) {
            ctx.out.note(Note::TableFull("subscribers"));
            return Err(FULL);
        }
        let mut after = CommitSeq::NOTHING;
        for subscriber in known {
            // Whoever is authenticated meanwhile changes the record too: its number is drawn under its lock.
            let (_, version) = self.store_subscriber(ctx, subscriber)?;
            after = after.max(version);
        }
        Ok((Answer::Done, after.max(self.create(ctx, new))))
    }

    /// Creates subscribers, none of which is there, with one commit.
    fn create(&self, ctx: &mut Context<'_>, new: Vec<api::Subscriber>) -> CommitSeq {
        if new.is_empty() {
            return CommitSeq::NOTHING;
        }
        let mut records = Vec::with_capacity(new.len());
        for subscriber in new {
            let (impi, record) = record_of(subscriber, self.config.sqn_profile());
            self.provisioned.add(&impi, &record.impus);
            for impu in &record.impus {
                self.public.insert(impu.clone(), impi.clone());
            }
            records.push((impi, record));
        }
        let mutations = records.iter().map(|(impi, record)| record.mutation(impi));
        // Nobody sees them before they are in the table, so no later commit can come before this one.
        let version = ctx.out.commit(mutations);
        for (impi, record) in records {
            self.subscribers.insert(impi, Box::new(Subscriber::stored(record, version)));
        }
        version
    }

    /// Says which of many [`Self::put_subscribers`] would refuse.
    pub(super) fn check_put_subscribers(
        &self,
        subscribers: &[api::Subscriber],
    ) -> Result<Answer, Refusal> {
        let pools = read(&self.pools);
        let refused = self.check_all(&pools, subscribers)?;
        Ok(if refused.is_empty() { Answer::Done } else { Answer::RowsRefused(refused) })
    }

    fn check_all(
        &self,
        pools: &Pools,
        subscribers: &[api::Subscriber],
    ) -> Result<Vec<RowRefused>, Refusal> {
        if subscribers.len() > ROWS_MAX {
            return Err(TOO_MANY);
        }
        let (mut privates, mut publics) = (BTreeMap::new(), BTreeMap::new());
        let (mut refused, mut new) = (Vec::new(), 0);
        for (row, subscriber) in subscribers.iter().enumerate() {
            new += usize::from(!self.subscribers.contains_key(&subscriber.impi));
            let checked = check_apart(&mut privates, &mut publics, row, subscriber)
                .and_then(|()| self.check_row(pools, subscriber));
            if let Err(refusal) = checked {
                refused.push(RowRefused { row, refusal, alone: false });
            }
        }
        if refused.is_empty() && !self.subscribers_bound.has_room(new) {
            return Err(FULL);
        }
        Ok(refused)
    }

    fn check_row(&self, pools: &Pools, subscriber: &api::Subscriber) -> Result<(), Refusal> {
        self.check_subscriber(pools, subscriber)?;
        let owned = |impu| self.public.get(impu).is_some_and(|owner| *owner != subscriber.impi);
        if subscriber.impus.iter().any(owned) { Err(NOT_FREE) } else { Ok(()) }
    }
}

/// Checks that no other row of the request is about the same identities.
fn check_apart<'a>(
    privates: &mut BTreeMap<&'a Impi, usize>,
    publics: &mut BTreeMap<&'a Impu, usize>,
    row: usize,
    subscriber: &'a api::Subscriber,
) -> Result<(), Refusal> {
    if privates.insert(&subscriber.impi, row).is_some() {
        return Err(TWICE);
    }
    let taken = |impu: &'a Impu| publics.insert(impu, row).is_some_and(|owner| owner != row);
    if subscriber.impus.iter().any(taken) { Err(SHARED) } else { Ok(()) }
}
