//! What lending and taking back a pair have in common for both directions.

use super::{
    ListedPair, SipDatabase,
    listed::Entry,
    pool::{Drawn, Origin, Pool, Pools},
    template::{Ids, PairTemplate},
};
use crate::{
    api::migration_identity::Direction,
    identity::{Impi, Impu, UserIdentity},
    outbox::Context,
    packed::Fingerprint,
    store::{CommitSeq, Mutation},
    table::Table,
    time::Timestamp,
};

impl SipDatabase {
    /// Draws a pair from the first pool of `direction` that has one free.
    pub(super) fn draw_identity<'a>(
        &self,
        ctx: &mut Context<'_>,
        pools: &'a Pools,
        direction: Direction,
    ) -> Option<Drawn<'a>> {
        let lending = Lending { database: self, direction, now: ctx.now };
        pools.lending(direction).find_map(|pool| pool.draw(&lending, ctx.out))
    }

    /// Draws a pair before it is known whether it is needed, if it is to be lent next and its pool never runs out.
    /// What is not needed goes back to the pool.
    pub(super) fn draw_ahead<'a>(
        &self,
        ctx: &mut Context<'_>,
        pools: &'a Pools,
        direction: Direction,
    ) -> Option<Drawn<'a>> {
        let lending = Lending { database: self, direction, now: ctx.now };
        pools.lending(direction).next()?.draw_ahead(&lending, ctx.out)
    }

    /// Commits the removal of a binding; the caller holds its entry.
    pub(super) fn commit_removal(
        &self,
        ctx: &mut Context<'_>,
        mutations: Vec<Mutation>,
    ) -> CommitSeq {
        #[cfg(feature = "planted-bugs")]
        if crate::planted::is_armed(crate::planted::Bug::ReleaseWithoutCommit) {
            return self.removed.get();
        }
        let seq = ctx.out.commit(mutations);
        self.removed.raise(seq);
        seq
    }

    /// Whether one half of a generated pair is somebody's since before its pool was: what is provisioned later
    /// is refused if it is in the way ([`Pools::may_generate_impi`]). No two pools generate the same.
    fn is_provisioned(&self, impi: &Impi, impu: &Impu) -> bool {
        self.is_subscriber(impi) || self.listed.contains_key(impi) || self.public.contains_key(impu)
    }
}

/// Where a pair that is drawn will be bound.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lending<'a> {
    database: &'a SipDatabase,
    direction: Direction,
    pub(super) now: Timestamp,
}

impl Lending<'_> {
    /// The fingerprint that the binding of `impi` will have.
    pub(super) fn fingerprint(&self, impi: &Impi) -> Fingerprint {
        match self.direction {
            Direction::Inbound => self.database.inbound.fingerprint(impi),
            Direction::Outbound => self.database.outbound.fingerprint(impi),
        }
    }

    /// Fetches what a binding with this fingerprint will change. No lock of a pool is held.
    pub(super) fn prefetch(&self, binding: Fingerprint) {
        match self.direction {
            Direction::Inbound => self.database.inbound.prefetch(binding),
            Direction::Outbound => self.database.outbound.prefetch(binding),
        }
    }

    /// Whether one half of a generated pair is somebody's from before its pool.
    pub(super) fn is_taken(&self, template: &PairTemplate, ids: Ids) -> bool {
        let provisioned = &self.database.provisioned;
        let may_be = template.shapes().into_iter().any(|shape| provisioned.may_have(shape));
        may_be && self.database.is_provisioned(&template.impi(ids.impi), &template.impu(ids.impu))
    }
}

/// A pair on its way back to its pool: stored with the removal of its binding, then taken back.
#[derive(Debug)]
pub(super) struct Returning<'a> {
    /// `None` if the pool is unknown: its definition was lost with a commit that nobody relied on.
    pool: Option<&'a Pool>,
    entry: Option<Entry>,
}

impl<'a> Returning<'a> {
    /// Prepares the return of `identity`; the caller holds the entry of its binding.
    pub(super) fn prepare(
        pools: &'a Pools,
        origin: &Origin,
        identity: UserIdentity,
        now: Timestamp,
    ) -> Self {
        let pool = pools.get(origin.pool());
        Self { pool, entry: pool.and_then(|pool| pool.returning(identity, now)) }
    }

    /// What to store together with the removal.
    pub(super) fn mutation(&self) -> impl Iterator<Item = Mutation> + use<> {
        let mutation = |pool: &Pool| self.entry.as_ref().map(|entry| entry.mutation(pool.name()));
        self.pool.and_then(mutation).into_iter()
    }

    /// Lets the pool lend the pair again; the removal has been committed. `listed` learns the pair's
    /// new place.
    pub(super) fn finish(self, listed: &Table<Impi, ListedPair>) {
        if let Some(entry) = &self.entry
            && let Some(mut pair) = listed.get_mut(&entry.identity.impi)
        {
            pair.place = entry.place;
        }
        if let Some(pool) = self.pool {
            pool.take_back(self.entry);
        }
    }
}
