//! Outbound migration identities and grants: under which pair a subscriber of this system may be
//! authenticated at which partner (TR 23.781 solution 2, steps 5 and 19).

use std::{collections::BTreeMap, time::Duration};

use dashmap::OccupiedEntry;

use super::{
    Outcome, PARTNERS_PER_SUBSCRIBER_MAX, SipDatabase,
    bound::read,
    expiry::Lent,
    lease::Lease,
    lending::Returning,
    pool::{Drawn, Origin, Pools},
    step,
};
use crate::{
    api::migration_identity::{Answer, Binding, Direction, Refusal},
    identity::{Impi, Impu, SipDatabaseId, UserIdentity},
    outbox::{Context, Note},
    store::{CommitSeq, Mutation, RecordKind},
    time::Timestamp,
};

/// An outbound binding in memory.
#[derive(Debug)]
pub(super) struct OutboundBinding {
    pub(super) record: OutboundRecord,
    /// The commit that wrote [`Self::record`].
    pub(super) version: CommitSeq,
}

/// An outbound binding as stored, by outbound IMPI.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
pub(super) struct OutboundRecord {
    /// The second half of the lent pair.
    pub(super) impu: Impu,
    /// The real pair.
    pub(super) user: UserIdentity,
    /// Who may ask vectors for it.
    pub(super) partner: SipDatabaseId,
    pub(super) lease: Lease,
    /// Where the pair goes back to.
    pub(super) origin: Origin,
}

/// Where one subscriber may be.
#[derive(Debug, Default)]
pub(super) struct Visits(pub(super) BTreeMap<SipDatabaseId, Visit>);

/// What a subscriber has at one partner.
#[derive(Debug, Default)]
pub(super) struct Visit {
    /// The outbound private identity.
    pub(super) outbound: Option<Impi>,
    pub(super) grant: Option<Grant>,
}

/// Leave to use a real pair.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) record: GrantRecord,
    /// The commit that wrote [`Self::record`].
    pub(super) version: CommitSeq,
}

/// A grant as stored, by real IMPI and partner.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
pub(super) struct GrantRecord {
    pub(super) user: UserIdentity,
    pub(super) partner: SipDatabaseId,
    pub(super) until: Timestamp,
}

/// The key of a grant's record. No identity holds a space.
pub(super) fn grant_key(impi: &Impi, partner: &SipDatabaseId) -> String {
    format!("{} {partner}", impi.as_str())
}

impl OutboundRecord {
    fn mutation(&self, impi: &Impi) -> Mutation {
        Mutation::put(RecordKind::OutboundBinding, impi.as_str(), self)
    }
}

impl OutboundBinding {
    fn commit(&mut self, ctx: &mut Context<'_>, impi: &Impi) {
        self.version = ctx.out.commit(vec![self.record.mutation(impi)]);
    }

    fn shown(&self, impi: &Impi) -> Answer {
        Answer::Binding(Binding {
            identity: UserIdentity { impi: impi.clone(), impu: self.record.impu.clone() },
            reserved_until: self.record.lease.end(),
            active: false,
        })
    }
}

impl Visit {
    fn is_over(&self, now: Timestamp) -> bool {
        self.outbound.is_none() && self.grant.as_ref().is_none_or(|grant| grant.record.until <= now)
    }
}

impl SipDatabase {
    /// Lends an outbound pair to `user` for use at `partner`, or returns the one it holds (`MIG-5`, `MIG-6`).
    ///
    /// Idempotent; a repeat renews the lease if less than half of it is left.
    pub(super) fn bind_outbound(
        &self,
        ctx: &mut Context<'_>,
        user: &UserIdentity,
        partner: &SipDatabaseId,
    ) -> Outcome {
        let pools = read(&self.pools);
        // Under this lock no subscriber is deleted, so none can leave a binding behind.
        let entry = self.visits.entry(user.impi.clone());
        let subscriber_version = self.check_visitor(user, partner)?;
        let mut visits = entry.or_default();
        let visit = self.visit(ctx, &mut visits, &user.impi, partner)?;
        if let Some(impi) = &visit.outbound {
            let (answer, version) = self.rebind_outbound(ctx, impi, user)?;
            return Ok((answer, version.max(subscriber_version)));
        }
        let (impi, (answer, version)) = self.lend_outbound(ctx, &pools, user, partner)?;
        visit.outbound = Some(impi);
        Ok((answer, version.max(subscriber_version)))
    }

    /// The visit at `partner`, new if need be. For want of room, visits that are over give way.
    fn visit<'a>(
        &self,
        ctx: &mut Context<'_>,
        visits: &'a mut Visits,
        impi: &Impi,
        partner: &SipDatabaseId,
    ) -> Result<&'a mut Visit, Refusal> {
        if visits.0.len() >= PARTNERS_PER_SUBSCRIBER_MAX && !visits.0.contains_key(partner) {
            let mut mutations = Vec::new();
            visits.0.retain(|partner, visit| {
                let over = visit.is_over(ctx.now);
                if over && visit.grant.is_some() {
                    let key = grant_key(impi, partner);
                    mutations.push(Mutation::delete(RecordKind::Grant, &key));
                }
                !over
            });
            if !mutations.is_empty() {
                self.removed.raise(ctx.out.commit(mutations));
            }
            if visits.0.len() >= PARTNERS_PER_SUBSCRIBER_MAX {
                return Err(Refusal::Full("partners of one subscriber"));
            }
        }
        Ok(visits.0.entry(partner.clone()).or_default())
    }

    /// Checks that `user` is a subscriber and `partner` another system.
    fn check_visitor(
        &self,
        user: &UserIdentity,
        partner: &SipDatabaseId,
    ) -> Result<CommitSeq, Refusal> {
        if *partner == self.config.database {
            return Err(Refusal::Invalid("the partner's SIP database is this one"));
        }
        let subscriber = self.subscribers.get(&user.impi).ok_or(Refusal::NotFound("subscriber"))?;
        if !subscriber.record.has(&user.impu) {
            return Err(Refusal::Invalid("the public identity is not the subscriber's"));
        }
        Ok(subscriber.version)
    }

    fn rebind_outbound(&self, ctx: &mut Context<'_>, impi: &Impi, user: &UserIdentity) -> Outcome {
        let mut binding =
            self.outbound.get_mut(impi).ok_or(Refusal::NotFound("outbound binding"))?;
        if binding.record.user != *user {
            binding.record.user = user.clone();
            binding.commit(ctx, impi);
        }
        self.renew_outbound(ctx, impi, &mut binding);
        step(ctx, 5, "the user holds an outbound pair already");
        #[cfg(feature = "planted-bugs")]
        if crate::planted::is_armed(crate::planted::Bug::RepeatIgnoresCommit) {
            return Ok((binding.shown(impi), CommitSeq::NOTHING));
        }
        Ok((binding.shown(impi), binding.version))
    }

    fn lend_outbound(
        &self,
        ctx: &mut Context<'_>,
        pools: &Pools,
        user: &UserIdentity,
        partner: &SipDatabaseId,
    ) -> Result<(Impi, (Answer, CommitSeq)), Refusal> {
        if !self.outbound_bound.take() {
            ctx.out.note(Note::TableFull("outbound bindings"));
            return Err(Refusal::Full("outbound bindings"));
        }
        let Some(drawn) = self.draw_identity(ctx, pools, Direction::Outbound) else {
            self.outbound_bound.give();
            return Err(Refusal::Exhausted("outbound"));
        };
        let Drawn { identity: UserIdentity { impi, impu }, origin, mutation } = drawn;
        let lease = Lease::reserve(ctx.now, self.config.reserved_lease);
        let (user, partner) = (user.clone(), partner.clone());
        let record = OutboundRecord { impu, user, partner, lease, origin };
        let mutations = mutation.into_iter().chain([record.mutation(&impi)]).collect();
        let binding = OutboundBinding { record, version: ctx.out.commit(mutations) };
        self.expiries.change(ctx, Lent::Outbound(impi.clone()), None, Some(lease));
        step(ctx, 5, "outbound pair allocated and bound");
        let outcome = (binding.shown(&impi), binding.version);
        self.outbound.insert(impi.clone(), binding);
        Ok((impi, outcome))
    }

    /// Returns whose the outbound pair `asked` is, while its lease lives; the caller holds the user's
    /// visits. Use renews the lease if less than half of it is left: who stays registered at the
    /// partner keeps the pair.
    pub(super) fn use_outbound(
        &self,
        ctx: &mut Context<'_>,
        asked: &UserIdentity,
    ) -> Option<(UserIdentity, CommitSeq)> {
        let mut binding = self.outbound.get_mut(&asked.impi)?;
        let OutboundRecord { impu, lease, .. } = &binding.record;
        if *impu != asked.impu || !lease.is_live(ctx.now) {
            return None;
        }
        self.renew_outbound(ctx, &asked.impi, &mut binding);
        Some((binding.record.user.clone(), binding.version))
    }

    /// Shows a binding.
    pub(super) fn get_outbound(&self, impi: &Impi) -> Outcome {
        let binding = self.outbound.get(impi).ok_or(Refusal::NotFound("outbound binding"))?;
        Ok((binding.shown(impi), binding.version))
    }

    /// Ends a binding: no vector is given for it any more.
    pub(super) fn release_outbound(&self, ctx: &mut Context<'_>, impi: &Impi) -> Outcome {
        self.remove_outbound(ctx, impi, |_| true)
            .map(|seq| (Answer::Done, seq))
            .ok_or(Refusal::NotFound("outbound binding"))
    }

    /// Renews the lease of a binding if less than half of it is left; the caller holds the entry.
    fn renew_outbound(&self, ctx: &mut Context<'_>, impi: &Impi, binding: &mut OutboundBinding) {
        let old = binding.record.lease;
        if let Some(lease) = old.renewed(ctx.now, self.config.reserved_lease) {
            binding.record.lease = lease;
            binding.commit(ctx, impi);
            self.expiries.change(ctx, Lent::Outbound(impi.clone()), Some(old), Some(lease));
        }
    }

    /// Ends a binding if its reservation has ended: it may have been renewed meanwhile.
    pub(super) fn end_outbound_lease(&self, ctx: &mut Context<'_>, impi: &Impi) {
        let now = ctx.now;
        self.remove_outbound(ctx, impi, |binding| !binding.record.lease.is_live(now));
    }

    fn remove_outbound(
        &self,
        ctx: &mut Context<'_>,
        impi: &Impi,
        wanted: impl Fn(&OutboundBinding) -> bool,
    ) -> Option<CommitSeq> {
        let pools = read(&self.pools);
        let user = self.outbound.get(impi)?.record.user.impi.clone();
        let dashmap::Entry::Occupied(mut visits) = self.visits.entry(user.clone()) else {
            return None;
        };
        let dashmap::Entry::Occupied(binding) = self.outbound.entry(impi.clone()) else {
            return None;
        };
        // Between the two looks the pair may have gone from one user to another.
        if binding.get().record.user.impi != user || !wanted(binding.get()) {
            return None;
        }
        let OutboundRecord { impu, partner, lease, origin, .. } = &binding.get().record;
        let identity = UserIdentity { impi: impi.clone(), impu: impu.clone() };
        let returning = Returning::prepare(&pools, origin, identity, ctx.now);
        let deletion = Mutation::delete(RecordKind::OutboundBinding, impi.as_str());
        let seq = ctx.out.commit(returning.mutation().chain([deletion]).collect());
        self.removed.raise(seq);
        self.expiries.change(ctx, Lent::Outbound(impi.clone()), Some(*lease), None);
        if let Some(visit) = visits.get_mut().0.get_mut(partner)
            && visit.outbound.as_ref() == Some(impi)
        {
            visit.outbound = None;
        }
        binding.remove();
        forget_empty(visits);
        self.outbound_bound.give();
        returning.finish();
        Some(seq)
    }

    /// Allows the real pair at `partner` from now on, in place of an earlier grant.
    pub(super) fn put_grant(
        &self,
        ctx: &mut Context<'_>,
        user: UserIdentity,
        partner: SipDatabaseId,
        valid_for: Duration,
    ) -> Outcome {
        if valid_for.is_zero() {
            return Err(Refusal::Invalid("valid_for is zero"));
        }
        let entry = self.visits.entry(user.impi.clone());
        self.check_visitor(&user, &partner)?;
        let mut visits = entry.or_default();
        let visit = self.visit(ctx, &mut visits, &user.impi, &partner)?;
        let key = grant_key(&user.impi, &partner);
        let record = GrantRecord { user, partner, until: ctx.now + valid_for };
        let version = ctx.out.commit(vec![Mutation::put(RecordKind::Grant, &key, &record)]);
        visit.grant = Some(Grant { record, version });
        Ok((Answer::Done, version))
    }

    /// Withdraws a grant.
    pub(super) fn delete_grant(
        &self,
        ctx: &mut Context<'_>,
        impi: &Impi,
        partner: &SipDatabaseId,
    ) -> Outcome {
        const NOT_FOUND: Refusal = Refusal::NotFound("grant");
        let dashmap::Entry::Occupied(mut visits) = self.visits.entry(impi.clone()) else {
            return Err(NOT_FOUND);
        };
        let visit = visits.get_mut().0.get_mut(partner).filter(|visit| visit.grant.is_some());
        let visit = visit.ok_or(NOT_FOUND)?;
        let deletion = Mutation::delete(RecordKind::Grant, &grant_key(impi, partner));
        let seq = ctx.out.commit(vec![deletion]);
        self.removed.raise(seq);
        visit.grant = None;
        forget_empty(visits);
        Ok((Answer::Done, seq))
    }
}

/// Drops visits that hold nothing any more.
fn forget_empty(mut visits: OccupiedEntry<'_, Impi, Visits>) {
    visits.get_mut().0.retain(|_, visit| visit.outbound.is_some() || visit.grant.is_some());
    if visits.get().0.is_empty() {
        visits.remove();
    }
}
