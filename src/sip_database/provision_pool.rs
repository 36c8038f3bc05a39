//! Provisioning of identity pools. See [`super::provision`] on why it excludes all else.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{
    ListedPair, Outcome, POOL_NAME_OCTETS_MAX, POOLS_MAX, SipDatabase,
    bound::{read, write},
    listed::{Entry, Listed},
    pool::{Fill, Generated, Pool, PoolRecord, Pools, Source, SourceRecord},
    template::PairTemplate,
};
use crate::{
    api::migration_identity::{self as api, Answer, Direction, PoolSource, Refusal},
    identity::UserIdentity,
    outbox::{Context, Note},
    secret::Secret,
    store::{CommitSeq, Mutation, RecordKind},
};

const TOO_MANY: Refusal = Refusal::Full("pools");
const TOO_MANY_LISTED: Refusal = Refusal::Full("listed identities");
const OUTSIDE: Refusal = Refusal::Invalid("an identity is outside the domain of this system");

impl SipDatabase {
    /// Creates a pool, or extends a listed one. Doing the same again changes nothing.
    pub(super) fn put_pool(&self, ctx: &mut Context<'_>, pool: api::Pool) -> Outcome {
        let _among_others = self.provision()?;
        let api::Pool { name, direction, source } = pool;
        let mut pools = write(&self.pools);
        if let Err(refusal) = check_pool(&pools, &name, direction) {
            if refusal == TOO_MANY {
                ctx.out.note(Note::TableFull("pools"));
            }
            return Err(refusal);
        }
        let name = name.into();
        match source {
            PoolSource::Generated { impi_template, impu_template, key } => {
                let templates = (impi_template, impu_template);
                self.put_generated(ctx, &mut pools, &name, direction, templates, key)
            }
            PoolSource::Listed { identities, quarantine } => {
                self.check_quarantine(direction, quarantine)?;
                self.put_listed(ctx, &mut pools, &name, direction, identities, quarantine)
            }
        }
    }

    fn put_generated(
        &self,
        ctx: &mut Context<'_>,
        pools: &mut Pools,
        name: &Arc<str>,
        direction: Direction,
        templates: (String, String),
        key: Option<Secret<32>>,
    ) -> Outcome {
        self.check_generated(pools, name, &templates, key.as_ref())?;
        if let Some(known) = pools.get(name) {
            return Ok((Answer::Done, known.fill(ctx.now).version));
        }
        let key = key.unwrap_or_else(|| {
            let mut drawn = [0; 32];
            ctx.entropy.fill(&mut drawn);
            Secret::new(drawn)
        });
        let generated =
            Generated::new(templates, key, 0, CommitSeq::NOTHING).map_err(Refusal::Invalid)?;
        let record = generated.record(direction, 0);
        let version = ctx.out.commit([Mutation::put(RecordKind::Pool, name, &record)]);
        generated.set_version(version);
        pools.insert(Pool::new(
            Arc::clone(name),
            direction,
            Source::Generated(Box::new(generated)),
        ));
        Ok((Answer::Done, version))
    }

    fn put_listed(
        &self,
        ctx: &mut Context<'_>,
        pools: &mut Pools,
        name: &Arc<str>,
        direction: Direction,
        identities: Vec<UserIdentity>,
        quarantine: Duration,
    ) -> Outcome {
        let new = self.check_listed(pools, name, identities)?;
        if let Some(known) = pools.get(name)
            && matches!(&known.source, Source::Listed(listed)
                if new.is_empty() && listed.quarantine() == quarantine)
        {
            return Ok((Answer::Done, known.fill(ctx.now).version));
        }
        if !self.listed_bound.take_many(new.len()) {
            ctx.out.note(Note::TableFull("listed identities"));
            return Err(TOO_MANY_LISTED);
        }
        if pools.get(name).is_none() {
            let listed = Listed::new(quarantine, CommitSeq::NOTHING);
            pools.insert(Pool::new(Arc::clone(name), direction, Source::Listed(listed)));
        }
        let Some(Source::Listed(listed)) = pools.get(name).map(|pool| &pool.source) else {
            return Err(Refusal::NotFound("pool"));
        };
        let entries = listed.entries(new, ctx.now);
        for Entry { identity: UserIdentity { impi, impu }, place } in &entries {
            let pair = ListedPair { pool: Arc::clone(name), impu: impu.clone(), place: *place };
            self.provisioned.add(impi, [impu]);
            self.listed.insert(impi.clone(), pair);
            self.public.insert(impu.clone(), impi.clone());
        }
        let record = PoolRecord { direction, source: SourceRecord::Listed { quarantine } };
        let pool = Mutation::put(RecordKind::Pool, name, &record);
        let stored = entries.iter().map(|entry| entry.mutation(name));
        let version = ctx.out.commit([pool].into_iter().chain(stored));
        listed.extend(entries, quarantine, version);
        Ok((Answer::Done, version))
    }

    /// Checks what [`Self::put_pool`] would refuse.
    pub(super) fn check_put_pool(&self, pool: api::Pool) -> Result<(), Refusal> {
        let api::Pool { name, direction, source } = pool;
        let pools = read(&self.pools);
        check_pool(&pools, &name, direction)?;
        match source {
            PoolSource::Generated { impi_template, impu_template, key } => {
                let templates = (impi_template, impu_template);
                self.check_generated(&pools, &name, &templates, key.as_ref())
            }
            PoolSource::Listed { identities, quarantine } => {
                self.check_quarantine(direction, quarantine)?;
                let new = self.check_listed(&pools, &name, identities)?;
                if self.listed_bound.has_room(new.len()) { Ok(()) } else { Err(TOO_MANY_LISTED) }
            }
        }
    }

    /// Checks that the pool is as it was, or new and apart from all others.
    fn check_generated(
        &self,
        pools: &Pools,
        name: &str,
        (impi, impu): &(String, String),
        key: Option<&Secret<32>>,
    ) -> Result<(), Refusal> {
        if let Some(known) = pools.get(name) {
            let same = matches!(&known.source, Source::Generated(generated)
                if generated.is_defined_by(impi, impu, key));
            return if same {
                Ok(())
            } else {
                Err(Refusal::Invalid("the definition of a generated pool never changes"))
            };
        }
        let template = PairTemplate::parse(impi, impu).map_err(Refusal::Invalid)?;
        if !template.is_in(&self.config.domain) {
            return Err(OUTSIDE);
        }
        if pools.overlaps(&template) {
            return Err(Refusal::Invalid("another pool generates identities of the same form"));
        }
        Ok(())
    }

    /// Checks that a pair rests until nobody takes it for its last holder's any more.
    const fn check_quarantine(
        &self,
        direction: Direction,
        quarantine: Duration,
    ) -> Result<(), Refusal> {
        let least = self.quarantine_min(direction);
        // Whole seconds are what is provisioned; a part of one counts as one.
        let least_seconds = least.as_secs() + if least.subsec_nanos() > 0 { 1 } else { 0 };
        if quarantine.as_secs() < least_seconds {
            return Err(Refusal::QuarantineTooShort { least_seconds });
        }
        Ok(())
    }

    /// The least quarantine of a listed pool.
    pub(super) const fn quarantine_min(&self, direction: Direction) -> Duration {
        match direction {
            Direction::Inbound => self.config.inbound_quarantine_min,
            Direction::Outbound => self.config.outbound_quarantine_min,
        }
    }

    /// Returns the pairs that the pool does not have yet, if all may be in it.
    fn check_listed(
        &self,
        pools: &Pools,
        name: &str,
        identities: Vec<UserIdentity>,
    ) -> Result<Vec<UserIdentity>, Refusal> {
        if pools.get(name).is_some_and(|known| matches!(known.source, Source::Generated(_))) {
            return Err(Refusal::Invalid("a pool of this name is a generated one"));
        }
        let (mut impis, mut impus) = (BTreeSet::new(), BTreeSet::new());
        let mut new = Vec::new();
        for identity in identities {
            let UserIdentity { impi, impu } = &identity;
            if impi.realm() != self.config.domain || impu.host() != self.config.domain {
                return Err(OUTSIDE);
            }
            if !impis.insert(impi.clone()) || !impus.insert(impu.clone()) {
                return Err(Refusal::Invalid("an identity is given twice"));
            }
            match self.listed.get(impi) {
                Some(known) if *known.pool == *name && known.impu == *impu => continue,
                Some(_) => {
                    return Err(Refusal::Invalid("an identity is in a pool with another pair"));
                }
                None => {}
            }
            if pools.may_generate_impi(impi) || pools.may_generate_impu(impu) {
                return Err(Refusal::Invalid("an identity has the form of a generated pool's"));
            }
            if self.is_subscriber(impi) || self.public.contains_key(impu) {
                return Err(Refusal::Invalid("an identity belongs to somebody else"));
            }
            new.push(identity);
        }
        Ok(new)
    }

    /// Shows how full a pool is.
    pub(super) fn get_pool(&self, ctx: &Context<'_>, name: &str) -> Outcome {
        let pools = read(&self.pools);
        let pool = pools.get(name).ok_or(Refusal::NotFound("pool"))?;
        let Fill { total, lent, free, version: _ } = pool.fill(ctx.now);
        // The counts are those of the bindings, not of the pool's own record.
        let after = ctx.out.latest_commit();
        Ok((Answer::Pool { direction: pool.direction, total, lent, free }, after))
    }
}

/// Checks that a pool of this name may be created or extended.
fn check_pool(pools: &Pools, name: &str, direction: Direction) -> Result<(), Refusal> {
    check_name(name)?;
    match pools.get(name) {
        Some(known) if known.direction != direction => {
            Err(Refusal::Invalid("a pool of this name lends the other way"))
        }
        None if pools.len() >= POOLS_MAX => Err(TOO_MANY),
        Some(_) | None => Ok(()),
    }
}

pub(super) fn check_name(name: &str) -> Result<(), Refusal> {
    let fits = |octet: u8| octet.is_ascii_alphanumeric() || b"._-".contains(&octet);
    if name.is_empty() || name.len() > POOL_NAME_OCTETS_MAX || !name.bytes().all(fits) {
        return Err(Refusal::Invalid("a pool name is 1 to 64 of letters, digits and ._-"));
    }
    Ok(())
}
