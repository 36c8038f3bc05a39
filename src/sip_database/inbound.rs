//! Inbound migration identities: lent to users of other systems (TR 23.781 solution 2, steps 10, 17, 20).

use super::{
    Outcome, SipDatabase,
    agreement::{Withdrawn, lent_before},
    bound::read,
    identity_view::IdentityView,
    lease::{Lease, pack_allowed, unpack_allowed},
    lending::Returning,
    pool::{Drawn, Form, Origin, OriginView, Pools},
    step,
};
use crate::{
    api::migration_identity::{
        Allowance, Answer, Binding, BindingDetails, Direction, Lent, PrimaryUser, Refusal,
    },
    identity::{Impi, Impu, SipDatabaseId, UserIdentity},
    outbox::{Context, Note},
    packed::{Fingerprint, IndexShard, Packed, Reader, Row, VersionPlace, Writer},
    store::{CommitSeq, Fields, Mutation, Mutations, RecordKind},
    time::Timestamp,
};

/// An inbound binding in memory.
#[derive(Debug)]
pub(super) struct InboundBinding {
    pub(super) record: InboundRecord,
    /// The commit that wrote [`Self::record`].
    pub(super) version: CommitSeq,
}

/// An inbound binding as stored, by inbound IMPI.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
pub(super) struct InboundRecord {
    /// The second half of the lent pair.
    pub(super) impu: Impu,
    /// Who holds it.
    pub(super) primary: PrimaryUser,
    pub(super) lease: Lease,
    /// Where the pair goes back to.
    pub(super) origin: Origin,
    /// What makes it good for a vector, if not an administrator's word.
    pub(super) allowed: Option<Allowance>,
}

/// Who may hold one inbound pair: a user of a SIP database, by the pair it is known by there.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct InboundUser {
    database: SipDatabaseId,
    identity: UserIdentity,
}

/// What a pair is lent for: all of a binding but the pair.
#[derive(Clone, Copy, Debug)]
pub(super) struct BindingOf<'a> {
    pub(super) primary: &'a PrimaryUser,
    pub(super) lease: Lease,
    pub(super) allowed: Option<Allowance>,
}

/// A binding as it is to be stored and to be kept, but for the number of the commit.
pub(super) struct Written<'a> {
    record: Vec<u8>,
    row: Row<'a>,
    /// Where in the row the number of the commit goes.
    version: VersionPlace,
}

const ALLOCATED: &str = "inbound pair allocated and bound";

/// Under what the index of users has a binding: the texts of an [`InboundUser`].
pub(super) type Holder<'a> = (&'a str, &'a str, &'a str);

/// Under what the index has the binding of `primary`.
pub(super) fn holder_of(primary: &PrimaryUser) -> Holder<'_> {
    let PrimaryUser { database, identity, .. } = primary;
    (database.as_str(), identity.impi.as_str(), identity.impu.as_str())
}

impl InboundUser {
    /// Under what the index has this user's binding.
    pub(super) fn holder(&self) -> Holder<'_> {
        (self.database.as_str(), self.identity.impi.as_str(), self.identity.impu.as_str())
    }

    pub(super) fn of(primary: &PrimaryUser) -> Self {
        Self { database: primary.database.clone(), identity: primary.identity.clone() }
    }

    /// Whether `identity` is the pair by which the primary system knows the user.
    pub(super) fn is_known_as(&self, identity: &UserIdentity) -> bool {
        self.identity == *identity
    }
}

/// An inbound binding as stored, read without a copy of its texts.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
pub(super) struct InboundView<'a> {
    pub(super) impu: &'a str,
    #[serde(borrow)]
    pub(super) primary: PrimaryView<'a>,
    pub(super) lease: Lease,
    #[serde(borrow)]
    pub(super) origin: OriginView<'a>,
    allowed: Option<Allowance>,
}

/// [`PrimaryUser`] as stored.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
pub(super) struct PrimaryView<'a> {
    database: &'a str,
    #[serde(borrow)]
    identity: IdentityView<'a>,
    server_name: &'a str,
}

impl InboundRecord {
    fn view(&self) -> InboundView<'_> {
        let Self { impu, primary, lease, origin, allowed } = self;
        let (impu, primary, origin) = (impu.as_str(), PrimaryView::of(primary), origin.view());
        InboundView { impu, primary, lease: *lease, origin, allowed: *allowed }
    }
}

impl InboundView<'_> {
    /// Whether all identities are some.
    pub(super) fn is_well_formed(&self) -> bool {
        let PrimaryView { database, identity, .. } = &self.primary;
        Impu::is_canonical(self.impu)
            && SipDatabaseId::is_canonical(database)
            && identity.is_well_formed()
    }

    /// Writes the fields of the binding that commit `version` made so.
    pub(super) fn pack(&self, version: CommitSeq, to: &mut Writer<'_>) {
        self.pack_as(Form::Listed, version, to);
    }

    /// The same, for whoever knows what the pair is made of. Returns where the version is.
    #[inline]
    fn pack_as(&self, form: Form<'_>, version: CommitSeq, to: &mut Writer<'_>) -> VersionPlace {
        let version = to.version(version.as_u64());
        let Self { primary, lease, origin, allowed, .. } = self;
        lease.pack(to);
        pack_allowed(*allowed, to);
        form.pack_impu(self.impu, to);
        to.word(primary.database);
        to.pair(primary.identity.impi, primary.identity.impu);
        to.word(primary.server_name);
        form.pack_origin(*origin, to);
        version
    }
}

/// What decides whether a binding may be used, without who holds it: the first fields of a packed one. The
/// public identity follows.
#[derive(Debug)]
pub(super) struct InboundHead {
    pub(super) version: CommitSeq,
    pub(super) lease: Lease,
    pub(super) allowed: Option<Allowance>,
}

impl InboundHead {
    pub(super) fn unpack(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            version: CommitSeq::from_u64(from.version()?),
            lease: Lease::unpack(from)?,
            allowed: unpack_allowed(from)?,
        })
    }
}

/// Reads, after the public identity, whether the binding is held by `user`.
pub(super) fn is_held_by(from: &mut Reader<'_>, user: Holder<'_>) -> Option<bool> {
    let (database, impi, impu) = user;
    let is_held = from.is_text(database)? && from.is_pair(impi, impu)?;
    Some(is_held)
}

impl<'a> PrimaryView<'a> {
    fn of(primary: &'a PrimaryUser) -> Self {
        let PrimaryUser { database, identity, server_name } = primary;
        Self { database: database.as_str(), identity: IdentityView::of(identity), server_name }
    }

    /// Under what the index of users has the binding.
    pub(super) const fn holder(&self) -> Holder<'a> {
        (self.database, self.identity.impi, self.identity.impu)
    }
}

impl Packed for InboundBinding {
    fn pack(&self, to: &mut Writer<'_>) {
        self.record.view().pack(self.version, to);
    }

    fn unpack(from: &mut Reader<'_>) -> Option<Self> {
        let InboundHead { version, lease, allowed } = InboundHead::unpack(from)?;
        let impu = from.impu()?;
        let database = from.database()?;
        let (impi, primary_impu) = from.pair()?;
        let identity = UserIdentity { impi, impu: primary_impu };
        let primary = PrimaryUser { database, identity, server_name: from.text()? };
        let origin = Origin::unpack(from)?;
        Some(Self { record: InboundRecord { impu, primary, lease, origin, allowed }, version })
    }
}

impl InboundView<'_> {
    /// What `Serialize` writes of an [`InboundRecord`], in less time.
    fn fields(&self) -> Fields {
        let Self { impu, primary, lease, origin, allowed } = self;
        let PrimaryView { database, identity, server_name } = primary;
        let mut fields = Fields::new();
        fields.text(impu).text(database);
        fields.text(identity.impi).text(identity.impu).text(server_name);
        lease.write(&mut fields);
        origin.write(&mut fields);
        fields.number(allowed.is_some().into());
        if let Some(Allowance { agreement, until }) = allowed {
            fields.number(agreement.0).number(until.as_micros());
        }
        fields
    }

    fn mutation(&self, impi: &Impi) -> Mutation {
        Mutation::put_fields(RecordKind::InboundBinding, impi.as_str(), self.fields())
    }
}

impl InboundBinding {
    fn commit(&mut self, ctx: &mut Context<'_>, impi: &Impi) {
        self.version = ctx.out.commit([self.record.view().mutation(impi)]);
    }

    fn shown(&self, impi: &Impi, lent: Lent) -> Answer {
        Answer::Binding(self.binding(impi, lent))
    }

    fn binding(&self, impi: &Impi, lent: Lent) -> Binding {
        Binding {
            identity: UserIdentity { impi: impi.clone(), impu: self.record.impu.clone() },
            reserved_until: self.record.lease.reserved_until(self.record.allowed),
            active: self.record.lease.is_active(),
            lent,
            details: None,
        }
    }

    /// All that an operator wants to know.
    fn shown_in_full(&self, impi: &Impi, now: Timestamp, withdrawn: &Withdrawn) -> Answer {
        let record = &self.record;
        let details = BindingDetails {
            holder: record.primary.identity.clone(),
            other_database: record.primary.database.clone(),
            server_name: Some(record.primary.server_name.clone()),
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
    /// Lends an inbound pair to `primary`, or returns the one it holds (`MIG-10`, `MIG-11`).
    ///
    /// Idempotent, for `MIG-9` may be repeated: a repeat renews the lease if less than half of it is
    /// left, and takes over a changed Server-Name and another allowance.
    #[inline(never)]
    pub(super) fn bind_inbound(
        &self,
        ctx: &mut Context<'_>,
        primary: &PrimaryUser,
        allowed: Option<Allowance>,
    ) -> Outcome {
        self.check_primary(primary)?;
        let pools = read(&self.pools);
        let withdrawn = read(&self.withdrawn);
        withdrawn.check(allowed, ctx.now)?;
        #[cfg(feature = "planted-bugs")]
        if crate::planted::is_armed(crate::planted::Bug::CheckThenInsert) {
            return self.bind_inbound_check_then_insert(ctx, &pools, primary, allowed);
        }
        let user = holder_of(primary);
        let mut holder = self.inbound_users.lock(&user);
        let lease = Lease::reserve(ctx.now, self.config.reserved_lease);
        let binding = BindingOf { primary, lease, allowed };
        match self.draw_ahead(ctx, &pools, Direction::Inbound) {
            Some(drawn) => self.lend_ahead(ctx, &mut holder, &drawn, &binding),
            None => self.lend_inbound(ctx, &pools, &mut holder, &binding),
        }
    }

    /// Lends a pair that was drawn ahead, unless the user holds one. What the index has is in no cache as a rule: until
    /// it is there, what most users need is made, for who holds a pair is seldom asked for again.
    #[inline]
    fn lend_ahead(
        &self,
        ctx: &mut Context<'_>,
        holder: &mut IndexShard<'_>,
        drawn: &Drawn<'_>,
        binding: &BindingOf<'_>,
    ) -> Outcome {
        let identity = drawn.identity();
        let mut written = self.write_inbound(drawn, &identity, binding);
        if let Some(held) = self.held_by(holder_of(binding.primary), &holder.candidates()) {
            drawn.put_back();
            return self.rebind_inbound(ctx, &held, binding.primary, binding.allowed);
        }
        self.take_inbound_place(ctx).inspect_err(|_| drawn.put_back())?;
        step(ctx, 10, ALLOCATED);
        self.insert_inbound(ctx, holder, (drawn, &identity), &mut written, binding)
    }

    /// Lends a pair, unless the user holds one.
    fn lend_inbound(
        &self,
        ctx: &mut Context<'_>,
        pools: &Pools,
        holder: &mut IndexShard<'_>,
        binding: &BindingOf<'_>,
    ) -> Outcome {
        if let Some(held) = self.held_by(holder_of(binding.primary), &holder.candidates()) {
            return self.rebind_inbound(ctx, &held, binding.primary, binding.allowed);
        }
        self.take_inbound_place(ctx)?;
        let Some(drawn) = self.draw_identity(ctx, pools, Direction::Inbound) else {
            self.inbound_bound.give();
            return Err(Refusal::Exhausted("inbound"));
        };
        step(ctx, 10, ALLOCATED);
        let identity = drawn.identity();
        let mut written = self.write_inbound(&drawn, &identity, binding);
        self.insert_inbound(ctx, holder, (&drawn, &identity), &mut written, binding)
    }

    fn take_inbound_place(&self, ctx: &mut Context<'_>) -> Result<(), Refusal> {
        if self.inbound_bound.take() {
            return Ok(());
        }
        ctx.out.note(Note::TableFull("inbound bindings"));
        Err(Refusal::Full("inbound bindings"))
    }

    /// The inbound private identity that `user` holds: one of the `candidates` that the index has for it.
    pub(super) fn held_by(&self, user: Holder<'_>, candidates: &[Fingerprint]) -> Option<Impi> {
        let read = |from: &mut Reader<'_>| {
            InboundHead::unpack(from)?;
            from.skip_identity()?;
            is_held_by(from, user)
        };
        if candidates.is_empty() {
            return None; // as nearly always
        }
        let is_held = |impi: &Impi| self.inbound.view(impi, read) == Some(true);
        candidates.iter().flat_map(|record| self.inbound.keys_of(*record)).find(is_held)
    }

    /// Checks that `primary` is a user of another system.
    pub(super) fn check_primary(&self, primary: &PrimaryUser) -> Result<(), Refusal> {
        if primary.database == self.config.database {
            return Err(Refusal::Invalid("the primary system's SIP database is this one"));
        }
        if primary.server_name.is_empty() {
            return Err(Refusal::Invalid("server_name is empty"));
        }
        Ok(())
    }

    /// The fault that the race tests must find: between check and insertion another worker may bind
    /// the same user.
    #[cfg(feature = "planted-bugs")]
    fn bind_inbound_check_then_insert(
        &self,
        ctx: &mut Context<'_>,
        pools: &Pools,
        primary: &PrimaryUser,
        allowed: Option<Allowance>,
    ) -> Outcome {
        let user = holder_of(primary);
        if let Some(held) = self.held_by(user, &self.inbound_users.candidates(&user)) {
            return self.rebind_inbound(ctx, &held, primary, allowed);
        }
        std::thread::yield_now();
        let mut holder = self.inbound_users.lock(&user);
        for other in holder.candidates() {
            holder.remove(other); // the one that the other worker has bound
        }
        let lease = Lease::reserve(ctx.now, self.config.reserved_lease);
        self.lend_inbound(ctx, pools, &mut holder, &BindingOf { primary, lease, allowed })
    }

    fn rebind_inbound(
        &self,
        ctx: &mut Context<'_>,
        impi: &Impi,
        primary: &PrimaryUser,
        allowed: Option<Allowance>,
    ) -> Outcome {
        let mut binding = self.inbound.get_mut(impi).ok_or(Refusal::NotFound("inbound binding"))?;
        let InboundRecord { primary: held, allowed: under, .. } = &binding.record;
        let lent = lent_before(*under);
        if held.server_name != primary.server_name || *under != allowed {
            binding.record.primary = primary.clone();
            binding.record.allowed = allowed;
            binding.commit(ctx, impi);
        }
        if let Some(lease) = binding.record.lease.renewed(ctx.now, self.config.reserved_lease) {
            self.set_inbound_lease(ctx, impi, &mut binding, lease);
        }
        step(ctx, 10, "the user holds an inbound pair already");
        #[cfg(feature = "planted-bugs")]
        if crate::planted::is_armed(crate::planted::Bug::RepeatIgnoresCommit) {
            return Ok((binding.shown(impi, lent), CommitSeq::NOTHING));
        }
        Ok((binding.shown(impi, lent), binding.version))
    }

    /// Writes what is known of a binding before its commit.
    #[inline]
    pub(super) fn write_inbound(
        &self,
        drawn: &Drawn<'_>,
        identity: &UserIdentity,
        binding: &BindingOf<'_>,
    ) -> Written<'_> {
        let BindingOf { primary, lease, allowed } = *binding;
        let (impu, primary) = (identity.impu.as_str(), PrimaryView::of(primary));
        let origin = drawn.origin();
        let view = InboundView { impu, primary, lease, origin, allowed };
        let form = drawn.form();
        let (row, version) = self.inbound.row(|to| {
            form.pack_impi(identity.impi.as_str(), to);
            view.pack_as(form, CommitSeq::NOTHING, to)
        });
        let record = view.fields().into_octets();
        Written { record, row, version }
    }

    /// Binds a drawn pair to the user whose entry `holder` is; the caller has taken a place.
    #[expect(clippy::unnecessary_wraps, reason = "an answer is large, and made where it is wanted")]
    pub(super) fn insert_inbound(
        &self,
        ctx: &mut Context<'_>,
        holder: &mut IndexShard<'_>,
        (drawn, identity): (&Drawn<'_>, &UserIdentity),
        written: &mut Written<'_>,
        &BindingOf { lease, allowed, .. }: &BindingOf<'_>,
    ) -> Outcome {
        let Written { record, row, version: place } = written;
        let impi = &identity.impi;
        let record = std::mem::take(record);
        let put = Mutation::put_octets(RecordKind::InboundBinding, impi.as_str(), record);
        let mut mutations = Mutations::from_buf([put]);
        mutations.extend(drawn.mutation());
        let version = ctx.out.commit_together(mutations);
        row.put_version(*place, version.as_u64());
        let fingerprint = drawn.fingerprint().unwrap_or_else(|| self.inbound.fingerprint(impi));
        self.change_inbound_end(ctx, fingerprint, None, Some(lease));
        if drawn.is_new() {
            self.inbound.insert_new((impi, fingerprint), row);
        } else {
            self.inbound.insert_row((impi, fingerprint), row);
        }
        holder.insert(fingerprint);
        let binding = Binding {
            identity: identity.clone(),
            reserved_until: lease.reserved_until(allowed),
            active: lease.is_active(),
            lent: Lent::Anew,
            details: None,
        };
        Ok((Answer::Binding(binding), version))
    }

    /// Shows a binding.
    pub(super) fn get_inbound(&self, now: Timestamp, impi: &Impi) -> Outcome {
        let withdrawn = read(&self.withdrawn);
        let binding = self.inbound.get(impi).ok_or(Refusal::NotFound("inbound binding"))?;
        // What is shown of the agreement relies on its withdrawal.
        let after = binding.version.max(self.removed.get());
        Ok((binding.shown_in_full(impi, now, &withdrawn), after))
    }

    /// Ends a binding: the next vector request for it is refused.
    pub(super) fn release_inbound(&self, ctx: &mut Context<'_>, impi: &Impi) -> Outcome {
        self.remove_inbound(ctx, impi, |_| true)
            .map(|seq| (Answer::Done, seq))
            .ok_or(Refusal::NotFound("inbound binding"))
    }

    /// Gives a binding a new lease and commits it; the caller holds the entry.
    pub(super) fn set_inbound_lease(
        &self,
        ctx: &mut Context<'_>,
        impi: &Impi,
        binding: &mut InboundBinding,
        lease: Lease,
    ) {
        let old = std::mem::replace(&mut binding.record.lease, lease);
        binding.commit(ctx, impi);
        self.change_inbound_end(ctx, self.inbound.fingerprint(impi), Some(old), Some(lease));
    }

    /// Ends a binding if its reservation has ended: it may have been renewed meanwhile.
    pub(super) fn end_inbound_lease(&self, ctx: &mut Context<'_>, impi: &Impi) {
        let now = ctx.now;
        self.remove_inbound(ctx, impi, |binding| !binding.record.lease.is_live(now));
    }

    fn remove_inbound(
        &self,
        ctx: &mut Context<'_>,
        impi: &Impi,
        wanted: impl Fn(&InboundBinding) -> bool,
    ) -> Option<CommitSeq> {
        let pools = read(&self.pools);
        let primary = self.inbound.get(impi)?.record.primary;
        let mut holder = self.inbound_users.lock(&holder_of(&primary));
        let binding = self.inbound.get_mut(impi)?;
        // Between the two looks the pair may have gone from one user to another.
        let unchanged = holder_of(&binding.record.primary) == holder_of(&primary);
        if !unchanged || !wanted(&binding) {
            return None;
        }
        let InboundRecord { impu, lease, origin, .. } = &binding.record;
        let identity = UserIdentity { impi: impi.clone(), impu: impu.clone() };
        let returning = Returning::prepare(&pools, origin, identity, ctx.now);
        let deletion = Mutation::delete(RecordKind::InboundBinding, impi.as_str());
        let seq = self.commit_removal(ctx, returning.mutation().chain([deletion]).collect());
        let fingerprint = self.inbound.fingerprint(impi);
        self.change_inbound_end(ctx, fingerprint, Some(*lease), None);
        binding.remove();
        holder.remove(fingerprint);
        self.inbound_bound.give();
        returning.finish(&self.listed);
        Some(seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::migration_identity::AgreementId, store::encode};

    #[test]
    fn a_record_is_written_field_by_field_as_it_is_encoded() {
        let pair = |user: &str| UserIdentity {
            impi: Impi::parse(&format!("{user}@b.example")).unwrap(),
            impu: Impu::parse(&format!("sip:{user}@b.example")).unwrap(),
        };
        let (soon, late) = (Timestamp::from_secs(1), Timestamp::MAX);
        let leases = [Lease::Reserved(soon), Lease::Active(late)];
        let mapped = [false, true].map(|active| Lease::Mapped { active });
        let until = |until| Some(Allowance { agreement: AgreementId(u64::MAX), until });
        for (user, n) in [("u".to_owned(), 0), ("u".repeat(200), u64::MAX)] {
            let pool = || "in".into();
            let origins = [Origin::Generated { pool: pool(), n }, Origin::Listed { pool: pool() }];
            for (lease, origin) in leases.into_iter().chain(mapped).zip(origins.iter().cycle()) {
                for allowed in [None, until(soon), until(late)] {
                    let record = InboundRecord {
                        impu: pair("lent").impu,
                        primary: PrimaryUser {
                            database: SipDatabaseId::parse("hss.a.example").unwrap(),
                            identity: pair(&user),
                            server_name: "sip:a.example".repeat(20),
                        },
                        lease,
                        origin: origin.clone(),
                        allowed,
                    };
                    assert_eq!(record.view().fields().into_octets(), encode(&record));
                }
            }
        }
    }
}
