//! Where a subscriber of this system may be: the partners at which it has an outbound pair or a grant,
//! leave to use its real one (TR 23.781 solution 2, steps 5 and 19).

use std::time::Duration;

use super::{
    Declined, Outcome, PARTNERS_PER_SUBSCRIBER_MAX, SipDatabase,
    agreement::{Withdrawn, lent_before, stays_by_administrator},
    bound::read,
    lease::{Lease, pack_allowed, unpack_allowed},
    lending::Returning,
    outbound::OutboundRecord,
    pool::Pools,
};
use crate::{
    api::migration_identity::{Allowance, Answer, Lent, Refusal},
    diameter::cx::ResultCode,
    identity::{Impi, Impu, SipDatabaseId, UserIdentity},
    outbox::Context,
    packed::{Packed, Reader, Writer},
    store::{CommitSeq, Mutation, RecordKind},
    time::Timestamp,
};

/// Where one subscriber may be: few partners, in their order.
#[derive(Debug, Default)]
pub(super) struct Visits(Vec<(SipDatabaseId, Visit)>);

/// What a subscriber has at one partner.
#[derive(Debug, Default)]
pub(super) struct Visit {
    /// The outbound private identity.
    pub(super) outbound: Option<Impi>,
    pub(super) grant: Option<Grant>,
}

/// Leave to use the real pair.
#[derive(Debug)]
pub(super) struct Grant {
    /// The public identity.
    impu: Impu,
    until: Timestamp,
    allowed: Option<Allowance>,
    /// The commit of the grant.
    version: CommitSeq,
}

/// A grant as stored, by real IMPI and partner.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
pub(super) struct GrantRecord {
    pub(super) user: UserIdentity,
    pub(super) partner: SipDatabaseId,
    pub(super) until: Timestamp,
    allowed: Option<Allowance>,
}

/// The key of a grant's record. No identity holds a space.
pub(super) fn grant_key(impi: &Impi, partner: &SipDatabaseId) -> String {
    format!("{} {partner}", impi.as_str())
}

impl GrantRecord {
    /// The grant as kept with the visits of its user.
    pub(super) fn granted(self, version: CommitSeq) -> Grant {
        let Self { user, until, allowed, .. } = self;
        Grant { impu: user.impu, until, allowed, version }
    }
}

impl Grant {
    /// Whether the grant is good for a vector now.
    fn permits(&self, now: Timestamp, withdrawn: &Withdrawn) -> bool {
        now < self.until && withdrawn.permits(self.allowed, now)
    }

    /// The commit to wait for if the grant lets this public identity of its user be used now.
    pub(super) fn allows(
        &self,
        now: Timestamp,
        withdrawn: &Withdrawn,
        impu: &Impu,
    ) -> Result<CommitSeq, Declined> {
        if self.impu == *impu && self.permits(now, withdrawn) {
            return Ok(self.version);
        }
        Err(Declined::by(self.version, ResultCode::USER_UNKNOWN))
    }

    /// Whether the grant stays as it is although one of `impu` is asked for under `allowed`.
    fn stays(
        &self,
        now: Timestamp,
        impu: &Impu,
        allowed: Option<Allowance>,
    ) -> Result<bool, Refusal> {
        let stays = stays_by_administrator((self.allowed, &self.impu), (allowed, impu));
        if now < self.until { stays } else { Ok(false) }
    }

    fn shown(&self, lent: Lent) -> Answer {
        Answer::Granted { until: self.until, lent }
    }
}

impl Packed for Visits {
    /// What has come to nothing is left out.
    fn pack(&self, to: &mut Writer<'_>) {
        let kept = || self.0.iter().filter(|(_, visit)| !visit.is_vacant());
        to.number(kept().count() as u64);
        for (partner, Visit { outbound, grant }) in kept() {
            to.word(partner.as_str());
            to.number(u64::from(outbound.is_some()) + 2 * u64::from(grant.is_some()));
            if let Some(outbound) = outbound {
                to.impi(outbound.as_str());
            }
            if let Some(Grant { impu, until, allowed, version }) = grant {
                to.impu(impu.as_str());
                to.time(*until);
                pack_allowed(*allowed, to);
                to.number(version.as_u64());
            }
        }
    }

    fn unpack(from: &mut Reader<'_>) -> Option<Self> {
        let visit = |from: &mut Reader<'_>| {
            let partner = from.database()?;
            let what = from.number()?;
            let outbound = if what & 1 == 0 { None } else { Some(from.impi()?) };
            let grant = if what & 2 == 0 { None } else { Some(Grant::unpack(from)?) };
            Some((partner, Visit { outbound, grant }))
        };
        (0..from.number()?).map(|_| visit(from)).collect::<Option<_>>().map(Self)
    }

    fn is_vacant(&self) -> bool {
        self.0.iter().all(|(_, visit)| visit.is_vacant())
    }
}

impl Grant {
    fn unpack(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            impu: from.impu()?,
            until: from.time()?,
            allowed: unpack_allowed(from)?,
            version: CommitSeq::from_u64(from.number()?),
        })
    }
}

impl Visit {
    const fn is_vacant(&self) -> bool {
        self.outbound.is_none() && self.grant.is_none()
    }

    fn is_over(&self, now: Timestamp, withdrawn: &Withdrawn) -> bool {
        let granted = self.grant.as_ref().is_some_and(|grant| grant.permits(now, withdrawn));
        self.outbound.is_none() && !granted
    }
}

const NO_GRANT: Refusal = Refusal::NotFound("grant");
const TOO_MANY: Refusal = Refusal::Full("partners of one subscriber");

/// All visits of one subscriber on their way out.
#[derive(Debug)]
pub(super) struct Ending<'a> {
    /// What to store.
    pub(super) mutations: Vec<Mutation>,
    outbound: Vec<(Impi, Lease, Returning<'a>)>,
    /// The ends of the grants.
    grants: Vec<Timestamp>,
}

impl Visits {
    /// What the subscriber has at `partner`.
    pub(super) fn at(&self, partner: &SipDatabaseId) -> Option<&Visit> {
        self.0.iter().find(|(at, _)| at == partner).map(|(_, visit)| visit)
    }

    /// What the subscriber has at `partner`, to be changed.
    pub(super) fn at_mut(&mut self, partner: &SipDatabaseId) -> Option<&mut Visit> {
        self.0.iter_mut().find(|(at, _)| at == partner).map(|(_, visit)| visit)
    }

    /// What the subscriber has at `partner`, nothing yet if need be.
    pub(super) fn at_or_new(&mut self, partner: &SipDatabaseId) -> &mut Visit {
        let place = self.0.partition_point(|(at, _)| at < partner);
        if self.0.get(place).is_none_or(|(at, _)| at != partner) {
            self.0.reserve_exact(1);
            self.0.insert(place, (partner.clone(), Visit::default()));
        }
        #[expect(clippy::indexing_slicing, reason = "there is one by now")]
        &mut self.0[place].1
    }

    /// Whether a visit at `partner` has room, if those that are over give way.
    pub(super) fn has_room(
        &self,
        partner: &SipDatabaseId,
        now: Timestamp,
        withdrawn: &Withdrawn,
    ) -> bool {
        self.0.len() < PARTNERS_PER_SUBSCRIBER_MAX
            || self.at(partner).is_some()
            || self.0.iter().any(|(_, visit)| visit.is_over(now, withdrawn))
    }
}

impl SipDatabase {
    /// The visit at `partner`, new if need be. For want of room, visits that are over give way.
    pub(super) fn visit<'a>(
        &self,
        ctx: &mut Context<'_>,
        withdrawn: &Withdrawn,
        visits: &'a mut Visits,
        impi: &Impi,
        partner: &SipDatabaseId,
    ) -> Result<&'a mut Visit, Refusal> {
        if visits.0.len() >= PARTNERS_PER_SUBSCRIBER_MAX && visits.at(partner).is_none() {
            let now = ctx.now;
            self.remove_grants(ctx, visits, impi, |visit| visit.is_over(now, withdrawn));
            visits.0.retain(|(_, visit)| !visit.is_vacant());
            if visits.0.len() >= PARTNERS_PER_SUBSCRIBER_MAX {
                return Err(TOO_MANY);
            }
        }
        Ok(visits.at_or_new(partner))
    }

    /// Checks that `user` is a subscriber and `partner` another system.
    pub(super) fn check_visitor(
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

    /// Removes the grants of the visits that are `over`, in one commit; the caller holds the entry.
    fn remove_grants(
        &self,
        ctx: &mut Context<'_>,
        visits: &mut Visits,
        impi: &Impi,
        over: impl Fn(&Visit) -> bool,
    ) {
        let (mut mutations, mut ends) = (Vec::new(), Vec::new());
        for (partner, visit) in visits.0.iter_mut().filter(|(_, visit)| over(visit)) {
            if let Some(grant) = visit.grant.take() {
                mutations.push(Mutation::delete(RecordKind::Grant, &grant_key(impi, partner)));
                ends.push(grant.until);
            }
        }
        if !mutations.is_empty() {
            self.removed.raise(ctx.out.commit(mutations));
        }
        for end in ends {
            self.change_grant_end(ctx, impi, Some(end), None);
        }
    }

    /// Removes the grants of a subscriber whose time is over: they may have been prolonged meanwhile.
    pub(super) fn end_grants_of(&self, ctx: &mut Context<'_>, impi: &Impi) {
        let now = ctx.now;
        if let Some(mut visits) = self.visits.get_mut(impi) {
            self.remove_grants(ctx, &mut visits, impi, |visit| {
                visit.grant.as_ref().is_some_and(|grant| grant.until <= now)
            });
        }
    }

    /// Allows the real pair at `partner` from now on, in place of an earlier grant, unless that is an
    /// administrator's and this one is asked for under an agreement.
    pub(super) fn put_grant(
        &self,
        ctx: &mut Context<'_>,
        user: UserIdentity,
        partner: SipDatabaseId,
        valid_for: Duration,
        allowed: Option<Allowance>,
    ) -> Outcome {
        check_valid_for(valid_for)?;
        let withdrawn = read(&self.withdrawn);
        withdrawn.check(allowed, ctx.now)?;
        let mut visits = self.visits.lock(&user.impi);
        let subscriber_version = self.check_visitor(&user, &partner)?;
        let visit = self.visit(ctx, &withdrawn, &mut visits, &user.impi, &partner)?;
        let mut lent = Lent::Anew;
        if let Some(held) = &visit.grant {
            if held.stays(ctx.now, &user.impu, allowed)? {
                let after = held.version.max(subscriber_version);
                return Ok((held.shown(Lent::ByAdministrator), after));
            }
            if held.permits(ctx.now, &withdrawn) {
                lent = lent_before(held.allowed);
            }
        }
        let (impi, key) = (user.impi.clone(), grant_key(&user.impi, &partner));
        let record = GrantRecord { user, partner, until: ctx.now + valid_for, allowed };
        let version = ctx.out.commit([Mutation::put(RecordKind::Grant, &key, &record)]);
        let grant = record.granted(version);
        let (answer, end) = (grant.shown(lent), grant.until);
        let old = visit.grant.replace(grant);
        self.change_grant_end(ctx, &impi, old.map(|old| old.until), Some(end));
        Ok((answer, version))
    }

    /// Withdraws a grant.
    pub(super) fn delete_grant(
        &self,
        ctx: &mut Context<'_>,
        impi: &Impi,
        partner: &SipDatabaseId,
    ) -> Outcome {
        let mut visits = self.visits.get_mut(impi).ok_or(NO_GRANT)?;
        let visit = visits.at_mut(partner).ok_or(NO_GRANT)?;
        let grant = visit.grant.take().ok_or(NO_GRANT)?;
        let deletion = Mutation::delete(RecordKind::Grant, &grant_key(impi, partner));
        let seq = ctx.out.commit([deletion]);
        self.removed.raise(seq);
        self.change_grant_end(ctx, impi, Some(grant.until), None);
        Ok((Answer::Done, seq))
    }

    /// Checks that `user` may be at `partner` under `allowed`, and has room for that.
    pub(super) fn check_visit(
        &self,
        now: Timestamp,
        user: &UserIdentity,
        partner: &SipDatabaseId,
        allowed: Option<Allowance>,
    ) -> Result<(), Refusal> {
        let withdrawn = read(&self.withdrawn);
        withdrawn.check(allowed, now)?;
        self.check_visitor(user, partner)?;
        let visits = self.visits.get(&user.impi);
        let room = visits.is_none_or(|visits| visits.has_room(partner, now, &withdrawn));
        if room { Ok(()) } else { Err(TOO_MANY) }
    }

    /// Checks what [`Self::put_grant`] would refuse.
    pub(super) fn check_put_grant(
        &self,
        now: Timestamp,
        user: &UserIdentity,
        partner: &SipDatabaseId,
        allowed: Option<Allowance>,
    ) -> Result<(), Refusal> {
        self.check_visit(now, user, partner, allowed)?;
        let visits = self.visits.get(&user.impi);
        let visit = visits.as_ref().and_then(|visits| visits.at(partner));
        let held = visit.and_then(|visit| visit.grant.as_ref());
        held.map_or(Ok(()), |held| held.stays(now, &user.impu, allowed).map(drop))
    }

    /// Checks what [`Self::delete_grant`] would refuse.
    pub(super) fn check_delete_grant(
        &self,
        impi: &Impi,
        partner: &SipDatabaseId,
    ) -> Result<(), Refusal> {
        let visits = self.visits.get(impi).ok_or(NO_GRANT)?;
        let visit = visits.at(partner).filter(|visit| visit.grant.is_some());
        visit.map(drop).ok_or(NO_GRANT)
    }

    /// Ends all outbound bindings and grants of a subscriber who stays, all in one commit.
    ///
    /// Returns the commit to wait for. Idempotent; also of somebody who is no subscriber, for who has gone
    /// left none behind.
    pub(super) fn end_visits(&self, ctx: &mut Context<'_>, impi: &Impi) -> CommitSeq {
        let pools = read(&self.pools);
        let Some(visits) = self.visits.get_mut(impi) else {
            return self.removed.get();
        };
        let mut ending = self.prepare_ending(ctx, &pools, impi, &visits);
        let mutations = std::mem::take(&mut ending.mutations);
        let seq = if mutations.is_empty() { self.removed.get() } else { ctx.out.commit(mutations) };
        self.removed.raise(seq);
        self.finish_ending(ctx, impi, ending);
        visits.remove();
        seq
    }

    /// Prepares the end of all `visits` of `impi`; the caller holds their entry until
    /// [`Self::finish_ending`], so nobody changes or removes the bindings meanwhile.
    pub(super) fn prepare_ending<'a>(
        &self,
        ctx: &Context<'_>,
        pools: &'a Pools,
        impi: &Impi,
        visits: &Visits,
    ) -> Ending<'a> {
        let mut ending = Ending { mutations: Vec::new(), outbound: Vec::new(), grants: Vec::new() };
        for (partner, visit) in &visits.0 {
            if let Some(grant) = &visit.grant {
                let deletion = Mutation::delete(RecordKind::Grant, &grant_key(impi, partner));
                ending.mutations.push(deletion);
                ending.grants.push(grant.until);
            }
            if let Some(outbound) = &visit.outbound
                && let Some(binding) = self.outbound.get(outbound)
            {
                let OutboundRecord { impu, origin, lease, .. } = &binding.record;
                let identity = UserIdentity { impi: outbound.clone(), impu: impu.clone() };
                let returning = Returning::prepare(pools, origin, identity, ctx.now);
                let deletion = Mutation::delete(RecordKind::OutboundBinding, outbound.as_str());
                ending.mutations.extend(returning.mutation().chain([deletion]));
                ending.outbound.push((outbound.clone(), *lease, returning));
            }
        }
        ending
    }

    /// Takes the bindings of `impi` out whose removal has been committed; the caller removes the visits.
    pub(super) fn finish_ending(&self, ctx: &mut Context<'_>, impi: &Impi, ending: Ending<'_>) {
        for end in ending.grants {
            self.change_grant_end(ctx, impi, Some(end), None);
        }
        for (outbound, lease, returning) in ending.outbound {
            self.change_outbound_end(ctx, self.outbound.fingerprint(&outbound), Some(lease), None);
            self.outbound.remove(&outbound);
            self.outbound_bound.give();
            returning.finish(&self.listed);
        }
    }
}

/// Checks the time that a grant is for.
pub(super) fn check_valid_for(valid_for: Duration) -> Result<(), Refusal> {
    if valid_for.is_zero() {
        return Err(Refusal::Invalid("valid_for is zero"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{entropy::Entropy, packed::PackedTable};

    struct Zeros;

    impl Entropy for Zeros {
        fn fill(&mut self, out: &mut [u8]) {
            out.fill(0);
        }
    }

    #[test]
    fn a_visit_that_came_to_nothing_is_not_kept_beside_others() {
        let table: PackedTable<Visits> = PackedTable::new(&mut Zeros);
        let user = Impi::parse("alice@a.example").unwrap();
        let partner =
            |letter: &str| SipDatabaseId::parse(&format!("hss.{letter}.example")).unwrap();
        let mut visits = table.lock(&user);
        visits.at_or_new(&partner("b")).outbound = Some(user.clone());
        visits.at_or_new(&partner("c"));
        drop(visits);
        let visits = table.get(&user).unwrap();
        assert!(visits.at(&partner("b")).is_some() && visits.at(&partner("c")).is_none());
    }
}
