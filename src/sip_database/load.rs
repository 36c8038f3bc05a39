//! From stored records to tables, at start and after a failed commit.
//!
//! Records come in any order; what needs several of them waits in [`Loading`] for the last one.

use std::{collections::BTreeMap, str, sync::Arc};

use super::{
    ListedPair, SipDatabase,
    agreement::{Withdrawn, WithdrawnRecord},
    bound::{lock, write},
    digest::{DigestSubscriber, DigestSubscriberRecord},
    inbound::InboundView,
    listed::{Entry, Listed, Place},
    outbound::OutboundView,
    pool::{Generated, OriginView, Pool, PoolRecord, Source, SourceRecord},
    subscriber::{Subscriber, SubscriberRecord},
    visits::GrantRecord,
};
use crate::{
    api::migration_identity::AgreementId,
    identity::{Impi, Impu, SipDatabaseId},
    outbox::Context,
    store::{Mutation, Record, RecordError, RecordKind, decode},
};

/// What waits for the last record.
#[derive(Debug, Default)]
pub(super) struct Loading {
    /// By name, which the pairs share.
    pools: BTreeMap<Box<str>, (Arc<str>, LoadingPool)>,
}

#[derive(Debug, Default)]
struct LoadingPool {
    entries: Vec<Entry>,
    lent: u64,
    /// One more than the highest number lent, of a generated pool.
    used: u64,
}

impl SipDatabase {
    /// Takes one stored record in; kinds of other roles are ignored.
    ///
    /// # Errors
    ///
    /// [`RecordError`] when a record cannot be read: the storage is not this build's or is damaged.
    #[expect(clippy::wildcard_enum_match_arm, reason = "kinds of other roles")]
    pub fn load(&self, record: &Record<'_>) -> Result<(), RecordError> {
        match record.kind {
            RecordKind::Subscriber => self.load_subscriber(record),
            RecordKind::DigestSubscriber => self.load_digest_subscriber(record),
            RecordKind::Pool => self.load_pool(record),
            RecordKind::PoolEntry => self.load_entry(record),
            RecordKind::InboundBinding => self.load_inbound(record),
            RecordKind::OutboundBinding => self.load_outbound(record),
            RecordKind::Grant => self.load_grant(record),
            RecordKind::WithdrawnAgreement => self.load_withdrawn(record),
            _ => Ok(()),
        }
    }

    /// Puts together what came in and arms the timer, after the last record.
    pub fn handle_loaded(&self, ctx: &mut Context<'_>) {
        let loading = std::mem::take(&mut *lock(&self.loading));
        let pools = write(&self.pools);
        for (name, LoadingPool { entries, lent, used }) in loading.pools.into_values() {
            let Some(pool) = pools.get(&name) else {
                continue;
            };
            match &pool.source {
                Source::Listed(listed) => {
                    for Entry { identity, place } in listed.link(entries, lent) {
                        if let Some(mut pair) = self.listed.get_mut(&identity.impi) {
                            pair.place = place;
                        }
                    }
                }
                Source::Generated(generated) => {
                    if generated.link(lent, used) {
                        let record = generated.record(pool.direction, used);
                        let put = Mutation::put(RecordKind::Pool, &name, &record);
                        let seq = ctx.out.commit([put]);
                        generated.set_version(seq);
                        self.mended.raise(seq);
                    }
                }
            }
        }
        self.finish_loading_ends(ctx);
    }

    /// Forgets everything stored, before it is loaded again after a failed commit. Forwarded requests
    /// stay: their answers look the binding up again.
    pub fn clear(&self) {
        self.subscribers.clear();
        self.digest_subscribers.clear();
        self.public.clear();
        self.visits.clear();
        self.outbound.clear();
        self.inbound_users.clear();
        self.inbound.clear();
        self.listed.clear();
        for bound in
            [&self.subscribers_bound, &self.outbound_bound, &self.inbound_bound, &self.listed_bound]
        {
            bound.reset();
        }
        self.grant_ends.clear();
        self.outbound_ends.clear();
        self.outbound_leases.clear();
        self.inbound_ends.clear();
        self.inbound_leases.clear();
        write(&self.pools).clear();
        *write(&self.withdrawn) = Withdrawn::default();
        self.removed.reset();
        self.mended.reset();
        *lock(&self.loading) = Loading::default();
    }

    fn load_subscriber(&self, record: &Record<'_>) -> Result<(), RecordError> {
        let impi = impi_of(record)?;
        let stored: SubscriberRecord = decode(record.value)?;
        self.provisioned.add(&impi, &stored.impus);
        for impu in &stored.impus {
            self.public.insert(impu.clone(), impi.clone());
        }
        let profile = self.config.sqn_profile();
        let subscriber = Subscriber::stored(stored.fitted(profile), record.version);
        self.subscribers.insert(impi, Box::new(subscriber));
        self.subscribers_bound.take_loaded();
        Ok(())
    }

    fn load_digest_subscriber(&self, record: &Record<'_>) -> Result<(), RecordError> {
        let impi = impi_of(record)?;
        let stored: DigestSubscriberRecord = decode(record.value)?;
        self.provisioned.add(&impi, &stored.impus);
        for impu in &stored.impus {
            self.public.insert(impu.clone(), impi.clone());
        }
        self.digest_subscribers.insert(impi, DigestSubscriber::stored(stored, record.version));
        self.subscribers_bound.take_loaded();
        Ok(())
    }

    fn load_pool(&self, record: &Record<'_>) -> Result<(), RecordError> {
        let name: Arc<str> = text_of(record)?.into();
        let PoolRecord { direction, source } = decode(record.value)?;
        let source = match source {
            SourceRecord::Generated { impi_template, impu_template, key, reserved } => {
                let templates = (impi_template, impu_template);
                Generated::new(templates, key, reserved, record.version)
                    .map(|generated| Source::Generated(Box::new(generated)))
                    .map_err(|_| RecordError::Damaged)?
            }
            SourceRecord::Listed { quarantine } => {
                // The configuration may have come to demand more since the pool was provisioned.
                let quarantine = quarantine.max(self.quarantine_min(direction));
                Source::Listed(Listed::new(quarantine, record.version))
            }
        };
        write(&self.pools).insert(Pool::new(name, direction, source));
        Ok(())
    }

    fn load_entry(&self, record: &Record<'_>) -> Result<(), RecordError> {
        let (pool, _) = text_of(record)?.split_once(' ').ok_or(RecordError::Damaged)?;
        let entry: Entry = decode(record.value)?;
        let pool = self.loading_pool(pool, |name, loading| {
            loading.entries.push(entry.clone());
            Arc::clone(name)
        });
        self.load_listed(pool, &entry.identity.impi, &entry.identity.impu, entry.place);
        Ok(())
    }

    fn load_inbound(&self, record: &Record<'_>) -> Result<(), RecordError> {
        let impi = impi_of(record)?;
        let stored: InboundView<'_> = decode(record.value)?;
        if !stored.is_well_formed() {
            return Err(RecordError::Damaged);
        }
        self.load_origin(stored.origin, &impi, stored.impu)?;
        let fingerprint = self.inbound.fingerprint(&impi);
        self.inbound_leases.change(None, Some(stored.lease));
        if let Some(end) = stored.lease.end() {
            self.inbound_ends.load(fingerprint, end);
        }
        self.inbound.insert_with(&impi, |to| stored.pack(record.version, to));
        self.inbound_bound.take_loaded();
        // Two bindings of one user: the removal of the older one was lost with a commit that nobody
        // relied on. The older one lives until its lease ends, or is released if it is a mapping.
        let user = stored.primary.holder();
        let mut holder = self.inbound_users.lock(&user);
        let Some(held) = self.held_by(user, &holder.candidates()) else {
            holder.insert(fingerprint);
            return Ok(());
        };
        let other = self.inbound.get(&held);
        if other.is_none_or(|other| other.version < record.version) {
            holder.remove(self.inbound.fingerprint(&held));
            holder.insert(fingerprint);
        }
        Ok(())
    }

    fn load_outbound(&self, record: &Record<'_>) -> Result<(), RecordError> {
        let impi = impi_of(record)?;
        let stored: OutboundView<'_> = decode(record.value)?;
        if !stored.is_well_formed() {
            return Err(RecordError::Damaged);
        }
        let user = Impi::parse(stored.user.impi).map_err(|_| RecordError::Damaged)?;
        let partner = SipDatabaseId::parse(stored.partner).map_err(|_| RecordError::Damaged)?;
        self.load_origin(stored.origin, &impi, stored.impu)?;
        self.outbound_leases.change(None, Some(stored.lease));
        if let Some(end) = stored.lease.end() {
            self.outbound_ends.load(self.outbound.fingerprint(&impi), end);
        }
        self.outbound.insert_with(&impi, |to| stored.pack(record.version, to));
        self.outbound_bound.take_loaded();
        let mut visits = self.visits.lock(&user);
        let visit = visits.at_or_new(&partner);
        // As for inbound bindings: of two, the newer one counts.
        let older = visit.outbound.as_ref().and_then(|held| self.outbound.get(held));
        if older.is_none_or(|held| held.version < record.version) {
            visit.outbound = Some(impi);
        }
        Ok(())
    }

    fn load_grant(&self, record: &Record<'_>) -> Result<(), RecordError> {
        let stored: GrantRecord = decode(record.value)?;
        self.grant_ends.load(self.visits.fingerprint(&stored.user.impi), stored.until);
        let mut visits = self.visits.lock(&stored.user.impi);
        let visit = visits.at_or_new(&stored.partner);
        visit.grant = Some(stored.granted(record.version));
        Ok(())
    }

    fn load_withdrawn(&self, record: &Record<'_>) -> Result<(), RecordError> {
        let number = text_of(record)?.parse().map_err(|_| RecordError::Damaged)?;
        let WithdrawnRecord = decode(record.value)?;
        write(&self.withdrawn).load(AgreementId(number), record.version);
        Ok(())
    }

    /// Counts a lent pair to its pool.
    fn load_origin(
        &self,
        origin: OriginView<'_>,
        impi: &Impi,
        impu: &str,
    ) -> Result<(), RecordError> {
        match origin {
            OriginView::Generated { pool, n } => self.loading_pool(pool, |_, loading| {
                loading.lent += 1;
                loading.used = loading.used.max(n.saturating_add(1));
            }),
            OriginView::Listed { pool } => {
                let impu = Impu::parse(impu).map_err(|_| RecordError::Damaged)?;
                let pool = self.loading_pool(pool, |name, loading| {
                    loading.lent += 1;
                    Arc::clone(name)
                });
                self.load_listed(pool, impi, &impu, Place::default());
            }
        }
        Ok(())
    }

    fn load_listed(&self, pool: Arc<str>, impi: &Impi, impu: &Impu, place: Place) {
        self.provisioned.add(impi, [impu]);
        self.listed.insert(impi.clone(), ListedPair { pool, impu: impu.clone(), place });
        self.public.insert(impu.clone(), impi.clone());
        self.listed_bound.take_loaded();
    }

    fn loading_pool<T>(
        &self,
        name: &str,
        change: impl FnOnce(&Arc<str>, &mut LoadingPool) -> T,
    ) -> T {
        let pools = &mut lock(&self.loading).pools;
        if let Some((name, pool)) = pools.get_mut(name) {
            return change(name, pool);
        }
        let shared: Arc<str> = name.into();
        let (_, pool) =
            pools.entry(name.into()).or_insert((Arc::clone(&shared), LoadingPool::default()));
        change(&shared, pool)
    }
}

fn text_of<'a>(record: &Record<'a>) -> Result<&'a str, RecordError> {
    str::from_utf8(record.key).map_err(|_| RecordError::Damaged)
}

fn impi_of(record: &Record<'_>) -> Result<Impi, RecordError> {
    Impi::parse(text_of(record)?).map_err(|_| RecordError::Damaged)
}
