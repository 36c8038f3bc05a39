//! Provisioning of identity pools. See [`super::provision`] on why it excludes all else.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{
    ListedPair, Outcome, POOL_NAME_OCTETS_MAX, POOLS_MAX, SipDatabase,
    bound::{read, write},
    pool::{Generated, Listed, Pool, PoolRecord, Pools, Source, SourceRecord},
};
use crate::{
    api::migration_identity::{self as api, Answer, Direction, PoolSource, Refusal},
    identity::UserIdentity,
    outbox::{Context, Note},
    secret::Secret,
    store::{CommitSeq, Mutation, RecordKind},
};

const OUTSIDE: Refusal = Refusal::Invalid("an identity is outside the domain of this system");

impl SipDatabase {
    /// Creates a pool, or extends a listed one. Doing the same again changes nothing.
    pub(super) fn put_pool(&self, ctx: &mut Context<'_>, pool: api::Pool) -> Outcome {
        let api::Pool { name, direction, source } = pool;
        check_name(&name)?;
        let mut pools = write(&self.pools);
        match pools.get(&name) {
            Some(known) if known.direction != direction => {
                return Err(Refusal::Invalid("a pool of this name lends the other way"));
            }
            None if pools.len() >= POOLS_MAX => {
                ctx.out.note(Note::TableFull("pools"));
                return Err(Refusal::Full("pools"));
            }
            Some(_) | None => {}
        }
        let name = name.into();
        match source {
            PoolSource::Generated { impi_template, impu_template, key } => {
                let templates = (impi_template, impu_template);
                self.put_generated(ctx, &mut pools, &name, direction, templates, key)
            }
            PoolSource::Listed { identities, quarantine } => {
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
        if let Some(known) = pools.get(name) {
            let same = matches!(&known.source, Source::Generated(generated)
                if generated.is_defined_by(&templates.0, &templates.1, key.as_ref()));
            return if same {
                Ok((Answer::Done, known.fill(ctx.now).version))
            } else {
                Err(Refusal::Invalid("the definition of a generated pool never changes"))
            };
        }
        let key = key.unwrap_or_else(|| {
            let mut drawn = [0; 32];
            ctx.entropy.fill(&mut drawn);
            Secret::new(drawn)
        });
        let generated =
            Generated::new(templates, key, 0, CommitSeq::NOTHING).map_err(Refusal::Invalid)?;
        if !generated.template().is_in(&self.config.domain) {
            return Err(OUTSIDE);
        }
        if pools.overlaps(generated.template()) {
            return Err(Refusal::Invalid("another pool generates identities of the same form"));
        }
        let record = generated.record(direction, 0);
        let version = ctx.out.commit(vec![Mutation::put(RecordKind::Pool, name, &record)]);
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
        match pools.get(name).map(|known| (known, &known.source)) {
            Some((_, Source::Generated(_))) => {
                return Err(Refusal::Invalid("a pool of this name is a generated one"));
            }
            Some((known, Source::Listed(listed)))
                if new.is_empty() && listed.quarantine() == quarantine =>
            {
                return Ok((Answer::Done, known.fill(ctx.now).version));
            }
            Some(_) | None => {}
        }
        if !self.listed_bound.take_many(new.len()) {
            ctx.out.note(Note::TableFull("listed identities"));
            return Err(Refusal::Full("listed identities"));
        }
        if pools.get(name).is_none() {
            let listed = Listed::new(quarantine, CommitSeq::NOTHING);
            pools.insert(Pool::new(Arc::clone(name), direction, Source::Listed(listed)));
        }
        let Some(Source::Listed(listed)) = pools.get(name).map(|pool| &pool.source) else {
            return Err(Refusal::NotFound("pool"));
        };
        for UserIdentity { impi, impu } in &new {
            let pair = ListedPair { pool: Arc::clone(name), impu: impu.clone() };
            self.listed.insert(impi.clone(), pair);
            self.public.insert(impu.clone(), impi.clone());
        }
        let entries = listed.entries(new, ctx.now);
        let record = PoolRecord { direction, source: SourceRecord::Listed { quarantine } };
        let pool = Mutation::put(RecordKind::Pool, name, &record);
        let stored = entries.iter().map(|entry| entry.mutation(name));
        let version = ctx.out.commit([pool].into_iter().chain(stored).collect());
        listed.extend(entries, quarantine, version);
        Ok((Answer::Done, version))
    }

    /// Returns the pairs that the pool does not have yet, if all may be in it.
    fn check_listed(
        &self,
        pools: &Pools,
        name: &str,
        identities: Vec<UserIdentity>,
    ) -> Result<Vec<UserIdentity>, Refusal> {
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
            if pools.may_generate_impi(impi) || pools.may_generate_impu(impu) {
                return Err(Refusal::Invalid("an identity has the form of a generated pool's"));
            }
            match self.listed.get(impi) {
                Some(known) if *known.pool == *name && known.impu == *impu => continue,
                Some(_) => {
                    return Err(Refusal::Invalid("an identity is in a pool with another pair"));
                }
                None => {}
            }
            if self.subscribers.contains_key(impi) || self.public.contains_key(impu) {
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
        let fill = pool.fill(ctx.now);
        let (total, lent, free) = (fill.total, fill.lent, fill.free);
        Ok((Answer::Pool { direction: pool.direction, total, lent, free }, fill.version))
    }
}

fn check_name(name: &str) -> Result<(), Refusal> {
    let fits = |octet: u8| octet.is_ascii_alphanumeric() || b"._-".contains(&octet);
    if name.is_empty() || name.len() > POOL_NAME_OCTETS_MAX || !name.bytes().all(fits) {
        return Err(Refusal::Invalid("a pool name is 1 to 64 of letters, digits and ._-"));
    }
    Ok(())
}
