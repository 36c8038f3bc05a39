//! Outbound migration identities: under which pair a subscriber of this system may be authenticated at
//! which partner (TR 23.781 solution 2, steps 5 and 19).

use super::{
    Declined, Outcome, SipDatabase,
    agreement::{Withdrawn, lent_before, stays_by_administrator},
    bound::read,
    identity_view::IdentityView,
    lease::{Lease, pack_allowed, unpack_allowed},
    lending::Returning,
    pool::{Form, Origin, OriginView, Pools},
    step,
};
use crate::{
    api::migration_identity::{
        Allowance, Answer, Binding, BindingDetails, Direction, Lent, Refusal,
    },
    diameter::cx::ResultCode,
    identity::{Impi, Impu, SipDatabaseId, UserIdentity},
    outbox::{Context, Note},
    packed::{Packed, Reader, Writer},
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
    /// What makes it good for a vector, if not an administrator's word.
    pub(super) allowed: Option<Allowance>,
}

/// An outbound binding as stored, read without a copy of its texts.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
pub(super) struct OutboundView<'a> {
    pub(super) impu: &'a str,
    #[serde(borrow)]
    pub(super) user: IdentityView<'a>,
    pub(super) partner: &'a str,
    pub(super) lease: Lease,
    #[serde(borrow)]
    pub(super) origin: OriginView<'a>,
    allowed: Option<Allowance>,
}

/// Reads whose a packed outbound binding is, the private identity alone.
pub(super) fn unpack_user(from: &mut Reader<'_>) -> Option<Impi> {
    let (_version, _lease) = (from.version()?, Lease::unpack(from)?);
    unpack_allowed(from)?;
    from.skip_identity()?;
    from.impi()
}

impl OutboundRecord {
    fn view(&self) -> OutboundView<'_> {
        let Self { impu, user, partner, lease, origin, allowed } = self;
        let (impu, user, partner) = (impu.as_str(), IdentityView::of(user), partner.as_str());
        let origin = origin.view();
        OutboundView { impu, user, partner, lease: *lease, origin, allowed: *allowed }
    }
}

impl OutboundView<'_> {
    /// Whether all identities but the partner are some.
    pub(super) fn is_well_formed(&self) -> bool {
        Impu::is_canonical(self.impu) && self.user.is_well_formed()
    }

    /// Writes the fields of the binding that commit `version` made so.
    pub(super) fn pack(&self, version: CommitSeq, to: &mut Writer<'_>) {
        self.pack_as(Form::Listed, version, to);
    }

    /// The same, for whoever knows what the pair is made of.
    fn pack_as(&self, form: Form<'_>, version: CommitSeq, to: &mut Writer<'_>) {
        to.version(version.as_u64());
        let Self { user, partner, lease, origin, allowed, .. } = self;
        lease.pack(to);
        pack_allowed(*allowed, to);
        form.pack_impu(self.impu, to);
        to.pair(user.impi, user.impu);
        to.word(partner);
        form.pack_origin(*origin, to);
    }
}

impl Packed for OutboundBinding {
    fn pack(&self, to: &mut Writer<'_>) {
        self.record.view().pack(self.version, to);
    }

    fn unpack(from: &mut Reader<'_>) -> Option<Self> {
        let version = CommitSeq::from_u64(from.version()?);
        let lease = Lease::unpack(from)?;
        let allowed = unpack_allowed(from)?;
        let impu = from.impu()?;
        let (impi, user_impu) = from.pair()?;
        let user = UserIdentity { impi, impu: user_impu };
        let partner = from.database()?;
        let origin = Origin::unpack(from)?;
        let record = OutboundRecord { impu, user, partner, lease, origin, allowed };
        Some(Self { record, version })
    }
}

impl OutboundRecord {
    fn mutation(&self, impi: &Impi) -> Mutation {
        Mutation::put(RecordKind::OutboundBinding, impi.as_str(), self)
    }
}

impl OutboundBinding {
    fn commit(&mut self, ctx: &mut Context<'_>, impi: &Impi) {
        self.version = ctx.out.commit([self.record.mutation(impi)]);
    }

    fn shown(&self, impi: &Impi, lent: Lent) -> Answer {
        Answer::Binding(self.binding(impi, lent))
    }

    fn binding(&self, impi: &Impi, lent: Lent) -> Binding {
        Binding {
            identity: UserIdentity { impi: impi.clone(), impu: self.record.impu.clone() },
            reserved_until: self.record.lease.reserved_until(self.record.allowed),
            active: false,
            lent,
            details: None,
        }
    }

    /// All that an operator wants to know.
    fn shown_in_full(&self, impi: &Impi, now: Timestamp, withdrawn: &Withdrawn) -> Answer {
        let record = &self.record;
        let details = BindingDetails {
            holder: record.user.clone(),
            other_database: record.partner.clone(),
            server_name: None,
            pool: record.origin.pool().to_string(),
            lease_end: record.lease.end(),
            agreement: record.allowed,
            usable: record.lease.is_live(now) && withdrawn.permits(record.allowed, now),
        };
        let binding = self.binding(impi, lent_before(record.allowed));
        Answer::Binding(Binding { details: Some(Box::new(details)), ..binding })
    }
}

impl SipDatabase {
    /// Lends an outbound pair to `user` for use at `partner`, or returns the one it holds (`MIG-5`, `MIG-6`).
    ///
    /// Idempotent; a repeat renews the lease if less than half of it is left, and takes over another
    /// allowance, unless the pair is lent by an administrator's word.
    pub(super) fn bind_outbound(
        &self,
        ctx: &mut Context<'_>,
        user: &UserIdentity,
        partner: &SipDatabaseId,
        allowed: Option<Allowance>,
    ) -> Outcome {
        let pools = read(&self.pools);
        let withdrawn = read(&self.withdrawn);
        withdrawn.check(allowed, ctx.now)?;
        // Under this lock no subscriber is deleted, so none can leave a binding behind.
        let mut visits = self.visits.lock(&user.impi);
        let subscriber_version = self.check_visitor(user, partner)?;
        let visit = self.visit(ctx, &withdrawn, &mut visits, &user.impi, partner)?;
        if let Some(impi) = &visit.outbound {
            let (answer, version) = self.rebind_outbound(ctx, impi, user, allowed)?;
            return Ok((answer, version.max(subscriber_version)));
        }
        let whom = (user.clone(), partner.clone());
        let (impi, (answer, version)) = self.lend_outbound(ctx, &pools, whom, allowed)?;
        visit.outbound = Some(impi);
        Ok((answer, version.max(subscriber_version)))
    }

    fn rebind_outbound(
        &self,
        ctx: &mut Context<'_>,
        impi: &Impi,
        user: &UserIdentity,
        allowed: Option<Allowance>,
    ) -> Outcome {
        let mut binding =
            self.outbound.get_mut(impi).ok_or(Refusal::NotFound("outbound binding"))?;
        let OutboundRecord { user: held, allowed: under, .. } = &binding.record;
        let lent = lent_before(*under);
        let stays = stays_by_administrator((*under, &held.impu), (allowed, &user.impu))?;
        if !stays && (held != user || *under != allowed) {
            binding.record.user = user.clone();
            binding.record.allowed = allowed;
            binding.commit(ctx, impi);
        }
        self.renew_outbound(ctx, impi, &mut binding);
        step(ctx, 5, "the user holds an outbound pair already");
        #[cfg(feature = "planted-bugs")]
        if crate::planted::is_armed(crate::planted::Bug::RepeatIgnoresCommit) {
            return Ok((binding.shown(impi, lent), CommitSeq::NOTHING));
        }
        Ok((binding.shown(impi, lent), binding.version))
    }

    fn lend_outbound(
        &self,
        ctx: &mut Context<'_>,
        pools: &Pools,
        (user, partner): (UserIdentity, SipDatabaseId),
        allowed: Option<Allowance>,
    ) -> Result<(Impi, (Answer, CommitSeq)), Refusal> {
        if !self.outbound_bound.take() {
            ctx.out.note(Note::TableFull("outbound bindings"));
            return Err(Refusal::Full("outbound bindings"));
        }
        let Some(drawn) = self.draw_identity(ctx, pools, Direction::Outbound) else {
            self.outbound_bound.give();
            return Err(Refusal::Exhausted("outbound"));
        };
        let UserIdentity { impi, impu } = drawn.identity();
        let lease = Lease::reserve(ctx.now, self.config.reserved_lease);
        let origin = drawn.origin().to_origin();
        let record = OutboundRecord { impu, user, partner, lease, origin, allowed };
        let mutations = drawn.mutation().into_iter().chain([record.mutation(&impi)]);
        let binding = OutboundBinding { record, version: ctx.out.commit(mutations) };
        let fingerprint = drawn.fingerprint().unwrap_or_else(|| self.outbound.fingerprint(&impi));
        self.change_outbound_end(ctx, fingerprint, None, Some(lease));
        step(ctx, 5, "outbound pair allocated and bound");
        let outcome = (binding.shown(&impi, Lent::Anew), binding.version);
        let form = drawn.form();
        let (row, ()) = self.outbound.row(|to| {
            form.pack_impi(impi.as_str(), to);
            binding.record.view().pack_as(form, binding.version, to);
        });
        let keyed = (&impi, fingerprint);
        if drawn.is_new() {
            self.outbound.insert_new(keyed, &row);
        } else {
            self.outbound.insert_row(keyed, &row);
        }
        Ok((impi, outcome))
    }

    /// Returns whose the outbound pair `asked` is, while its lease lives and what it was lent under
    /// holds, or else declines by its record; the caller holds the user's visits. Use renews the lease if
    /// less than half of it is left: who stays registered at the partner keeps the pair.
    pub(super) fn use_outbound(
        &self,
        ctx: &mut Context<'_>,
        withdrawn: &Withdrawn,
        asked: &UserIdentity,
    ) -> Result<(UserIdentity, CommitSeq), Declined> {
        let mut binding = self.outbound.get_mut(&asked.impi).ok_or(ResultCode::USER_UNKNOWN)?;
        let OutboundRecord { impu, lease, allowed, .. } = &binding.record;
        let good = lease.is_live(ctx.now) && withdrawn.permits(*allowed, ctx.now);
        if *impu != asked.impu || !good {
            return Err(Declined::by(binding.version, ResultCode::USER_UNKNOWN));
        }
        self.renew_outbound(ctx, &asked.impi, &mut binding);
        Ok((binding.record.user.clone(), binding.version))
    }

    /// Shows a binding.
    pub(super) fn get_outbound(&self, now: Timestamp, impi: &Impi) -> Outcome {
        let withdrawn = read(&self.withdrawn);
        let binding = self.outbound.get(impi).ok_or(Refusal::NotFound("outbound binding"))?;
        // What is shown of the agreement relies on its withdrawal.
        let after = binding.version.max(self.removed.get());
        Ok((binding.shown_in_full(impi, now, &withdrawn), after))
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
            let fingerprint = self.outbound.fingerprint(impi);
            self.change_outbound_end(ctx, fingerprint, Some(old), Some(lease));
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
        let mut visits = self.visits.get_mut(&user)?;
        let binding = self.outbound.get_mut(impi)?;
        // Between the two looks the pair may have gone from one user to another.
        if binding.record.user.impi != user || !wanted(&binding) {
            return None;
        }
        let OutboundRecord { impu, partner, lease, origin, .. } = &binding.record;
        let identity = UserIdentity { impi: impi.clone(), impu: impu.clone() };
        let returning = Returning::prepare(&pools, origin, identity, ctx.now);
        let deletion = Mutation::delete(RecordKind::OutboundBinding, impi.as_str());
        let seq = self.commit_removal(ctx, returning.mutation().chain([deletion]).collect());
        self.change_outbound_end(ctx, self.outbound.fingerprint(impi), Some(*lease), None);
        if let Some(visit) = visits.at_mut(partner)
            && visit.outbound.as_ref() == Some(impi)
        {
            visit.outbound = None;
        }
        binding.remove();
        self.outbound_bound.give();
        returning.finish(&self.listed);
        Some(seq)
    }
}
