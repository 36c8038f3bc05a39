//! Mappings: pairs of listed inbound pools that are bound to users of other systems for good, before the
//! users come (TS 23.280 clause 10.1.6.2).
//!
//! A mapping is an inbound binding whose lease has no end. Steps 9 and 10 find it as they find any other,
//! and its release returns the pair to its pool.

use super::{
    Outcome, SipDatabase,
    bound::read,
    inbound::{BindingOf, holder_of},
    lease::Lease,
    listed::{Listed, Place},
    pool::{Drawn, Pair, Pool, Pools, Source},
};
use crate::{
    api::migration_identity::{Answer, Direction, PrimaryUser, Refusal},
    identity::{Impi, UserIdentity},
    outbox::{Context, Note},
    time::Timestamp,
};

const HOLDS_ANOTHER: Refusal =
    Refusal::Invalid("the user holds another inbound pair; release that first");
const FULL: Refusal = Refusal::Full("inbound bindings");

/// A pair of a listed inbound pool, lent or not.
struct Mappable<'a> {
    impi: &'a Impi,
    pool: &'a Pool,
    listed: &'a Listed,
    place: Place,
}

impl<'a> Mappable<'a> {
    fn take(&self, now: Timestamp) -> Result<Drawn<'a>, Refusal> {
        let identity = self.listed.take(self.impi, &self.place, now)?;
        Ok(Drawn { pool: self.pool, pair: Pair::Listed(identity.into()) })
    }
}

impl SipDatabase {
    /// Binds the pair `identity` to `primary` for good.
    ///
    /// Idempotent: a repeat takes over a changed Server-Name. A user that was lent this very pair keeps
    /// it for good from now on.
    pub(super) fn map_inbound(
        &self,
        ctx: &mut Context<'_>,
        primary: PrimaryUser,
        identity: &UserIdentity,
    ) -> Outcome {
        self.check_primary(&primary)?;
        let pools = read(&self.pools);
        let mappable = self.mappable(&pools, identity)?;
        let user = holder_of(&primary);
        let mut holder = self.inbound_users.lock(&user);
        match self.held_by(user, &holder.candidates()) {
            Some(held) if held == identity.impi => self.keep_for_good(ctx, &held, primary),
            Some(_) => Err(HOLDS_ANOTHER),
            None => {
                if !self.inbound_bound.take() {
                    ctx.out.note(Note::TableFull("inbound bindings"));
                    return Err(FULL);
                }
                let drawn = mappable.take(ctx.now).inspect_err(|_| self.inbound_bound.give())?;
                let lease = Lease::Mapped { active: false };
                let binding = BindingOf { primary: &primary, lease, allowed: None };
                let mut written = self.write_inbound(&drawn, identity, &binding);
                let bound = (&drawn, identity);
                let outcome = self.insert_inbound(ctx, &mut holder, bound, &mut written, &binding);
                let (_, version) = outcome?;
                Ok((Answer::Done, version))
            }
        }
    }

    /// Checks what [`Self::map_inbound`] would refuse.
    pub(super) fn check_map_inbound(
        &self,
        now: Timestamp,
        primary: &PrimaryUser,
        identity: &UserIdentity,
    ) -> Result<(), Refusal> {
        self.check_primary(primary)?;
        let pools = read(&self.pools);
        let mappable = self.mappable(&pools, identity)?;
        let user = holder_of(primary);
        match self.held_by(user, &self.inbound_users.candidates(&user)) {
            Some(held) if held == identity.impi => Ok(()),
            Some(_) => Err(HOLDS_ANOTHER),
            None if !self.inbound_bound.has_room(1) => Err(FULL),
            None => mappable.listed.check_free(mappable.impi, &mappable.place, now),
        }
    }

    fn keep_for_good(&self, ctx: &mut Context<'_>, impi: &Impi, primary: PrimaryUser) -> Outcome {
        let mut binding = self.inbound.get_mut(impi).ok_or(Refusal::NotFound("inbound binding"))?;
        let mapped = binding.record.lease.mapped();
        if binding.record.lease != mapped
            || binding.record.primary.server_name != primary.server_name
        {
            binding.record.primary = primary;
            self.set_inbound_lease(ctx, impi, &mut binding, mapped);
        }
        Ok((Answer::Done, binding.version))
    }

    /// Finds the pair in a listed inbound pool. That the place may be an old one when it is used is
    /// no harm: then the pair was lent in between.
    fn mappable<'a>(
        &self,
        pools: &'a Pools,
        identity: &'a UserIdentity,
    ) -> Result<Mappable<'a>, Refusal> {
        let UserIdentity { impi, impu } = identity;
        let Some(pair) = self.listed.get(impi) else {
            return Err(if pools.may_generate_impi(impi) {
                Refusal::Invalid("the pair is a generated pool's; only listed ones are mapped")
            } else {
                Refusal::NotFound("listed pair")
            });
        };
        if pair.impu != *impu {
            return Err(Refusal::Invalid("the public identity is another pair's"));
        }
        let pool = pools.get(&pair.pool).ok_or(Refusal::NotFound("pool"))?;
        match &pool.source {
            Source::Listed(_) if pool.direction == Direction::Outbound => {
                Err(Refusal::Invalid("the pair is an outbound pool's"))
            }
            Source::Listed(listed) => Ok(Mappable { impi, pool, listed, place: pair.place }),
            Source::Generated(_) => Err(Refusal::NotFound("listed pair")),
        }
    }
}
