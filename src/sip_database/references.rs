//! What stored records say of each other. In a running system the role sees to it that no identity has
//! two owners; beside one, whoever brings records from elsewhere has to look.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    inbound::InboundUser,
    pool::{Origin, PoolRecord, SourceRecord},
    stored::{Body, StoredRecord},
    template::PairTemplate,
};
use crate::{
    api::migration_identity::Direction,
    entropy::Entropy,
    identity::{Impi, Impu, SipDatabaseId, UserIdentity},
    table::{Table, new_table},
};

/// What the records taken in so far say. Subscribers and pools come before all other records.
#[derive(Debug)]
pub struct References {
    pools: BTreeMap<Arc<str>, PoolRecord>,
    subscribers: Table<Impi, Place>,
    /// Whoever has them: subscribers, bindings, listed pairs at rest.
    privates: Table<Impi, Place>,
    publics: Table<Impu, Place>,
    /// Who has an inbound pair.
    inbound: Table<InboundUser, Place>,
    /// Who has an outbound pair, and where.
    outbound: Table<(Impi, SipDatabaseId), Place>,
}

/// Where a record is, such as the number of its line.
type Place = u64;

/// What a record says that another one contradicts. `what` continues a sentence that begins with the field.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Contradiction {
    /// The field, or `key`.
    pub field: &'static str,
    /// What is wrong with it.
    pub what: &'static str,
    /// Where the other record is, if there is one.
    pub other: Option<u64>,
}

impl References {
    /// Of no records yet. The hashers' keys come from `entropy`.
    pub fn new(entropy: &mut dyn Entropy) -> Self {
        Self {
            pools: BTreeMap::new(),
            subscribers: new_table(entropy),
            privates: new_table(entropy),
            publics: new_table(entropy),
            inbound: new_table(entropy),
            outbound: new_table(entropy),
        }
    }

    /// Takes a record in that [`StoredRecord::check`] passed, found at `place`.
    ///
    /// # Errors
    ///
    /// [`Contradiction`] with a record that was taken in before.
    pub fn add(
        &mut self,
        place: Place,
        key: &str,
        record: &StoredRecord,
    ) -> Result<(), Contradiction> {
        let private = || Impi::parse(key).map_err(|_| lone("key", "is no private identity"));
        match &record.0 {
            Body::Subscriber(record) => {
                let impi = private()?;
                self.subscribers.insert(impi.clone(), place);
                self.own_private(place, "key", &impi)?;
                record.impus.iter().try_for_each(|impu| self.own_public(place, "impus", impu))
            }
            Body::Digest(record) => {
                self.own_private(place, "key", &private()?)?;
                record.impus.iter().try_for_each(|impu| self.own_public(place, "impus", impu))
            }
            Body::Pool(record) => self.add_pool(key, record),
            Body::PoolEntry(entry) => {
                let pool = key.split_once(' ').map_or("", |(pool, _)| pool);
                match self.pools.get(pool).map(|pool| &pool.source) {
                    Some(SourceRecord::Listed { .. }) => {}
                    Some(SourceRecord::Generated { .. }) => {
                        return Err(lone("key", "names a generated pool, which lists nothing"));
                    }
                    None => return Err(lone("key", "names a pool that is not there")),
                }
                let UserIdentity { impi, impu } = &entry.identity;
                self.own_private(place, "identity.impi", impi)?;
                self.own_public(place, "identity.impu", impu)
            }
            Body::Inbound(record) => {
                self.check_origin(&record.origin, Direction::Inbound)?;
                self.own_private(place, "key", &private()?)?;
                self.own_public(place, "impu", &record.impu)?;
                let user = InboundUser::of(&record.primary);
                first(&self.inbound, place, user, "primary", "has another inbound binding too")
            }
            Body::Outbound(record) => {
                self.check_origin(&record.origin, Direction::Outbound)?;
                self.check_subscriber(&record.user)?;
                self.own_private(place, "key", &private()?)?;
                self.own_public(place, "impu", &record.impu)?;
                let visit = (record.user.impi.clone(), record.partner.clone());
                let what = "has another outbound binding for this partner too";
                first(&self.outbound, place, visit, "user", what)
            }
            Body::Grant(record) => self.check_subscriber(&record.user),
            Body::Withdrawn(_) => Ok(()),
        }
    }

    fn add_pool(&mut self, name: &str, record: &PoolRecord) -> Result<(), Contradiction> {
        let template = template_of(record);
        let overlaps = |other: &PoolRecord| {
            let other = template_of(other);
            template.as_ref().zip(other).is_some_and(|(one, other)| one.overlaps(&other))
        };
        if self.pools.values().any(overlaps) {
            return Err(lone("source", "may generate what another pool may generate"));
        }
        self.pools.insert(name.into(), record.clone());
        Ok(())
    }

    fn check_origin(&self, origin: &Origin, direction: Direction) -> Result<(), Contradiction> {
        let wrong = |what| Err(lone("origin", what));
        let Some(pool) = self.pools.get(origin.pool()) else {
            return wrong("names a pool that is not there");
        };
        match (origin, &pool.source) {
            _ if pool.direction != direction => wrong("names a pool that lends the other way"),
            (Origin::Generated { .. }, SourceRecord::Listed { .. }) => {
                wrong("is a number, and the pool is a listed one")
            }
            (Origin::Listed { .. }, SourceRecord::Generated { .. }) => {
                wrong("is no number, and the pool is a generated one")
            }
            _ => Ok(()),
        }
    }

    fn check_subscriber(&self, user: &UserIdentity) -> Result<(), Contradiction> {
        if self.subscribers.contains_key(&user.impi) {
            return Ok(());
        }
        Err(lone("user.impi", "is no subscriber's"))
    }

    fn own_private(
        &self,
        place: Place,
        field: &'static str,
        impi: &Impi,
    ) -> Result<(), Contradiction> {
        let what = "is a private identity that has another owner too";
        first(&self.privates, place, impi.clone(), field, what)
    }

    fn own_public(
        &self,
        place: Place,
        field: &'static str,
        impu: &Impu,
    ) -> Result<(), Contradiction> {
        let what = "is a public identity that has another owner too";
        first(&self.publics, place, impu.clone(), field, what)
    }
}

/// Takes `key` in for `place`, unless it is taken.
fn first<K: Eq + std::hash::Hash>(
    table: &Table<K, Place>,
    place: Place,
    key: K,
    field: &'static str,
    what: &'static str,
) -> Result<(), Contradiction> {
    match table.entry(key) {
        dashmap::Entry::Vacant(free) => {
            free.insert(place);
            Ok(())
        }
        dashmap::Entry::Occupied(taken) => {
            Err(Contradiction { field, what, other: Some(*taken.get()) })
        }
    }
}

const fn lone(field: &'static str, what: &'static str) -> Contradiction {
    Contradiction { field, what, other: None }
}

fn template_of(pool: &PoolRecord) -> Option<PairTemplate> {
    match &pool.source {
        SourceRecord::Generated { impi_template, impu_template, .. } => {
            PairTemplate::parse(impi_template, impu_template).ok()
        }
        SourceRecord::Listed { .. } => None,
    }
}
