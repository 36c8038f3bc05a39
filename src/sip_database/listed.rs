//! Listed identity pools: provisioned pairs, lent first-in first-out (the "pool" of TR 23.781 solution 2,
//! steps 5 and 10). A returned pair rests before it is lent again.
//!
//! A pair that is not lent has a place in its pool: when it may be lent again, then which number. The
//! pool is in the order of places, and whoever knows the place of a pair can take it out of the row.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use super::{bound::lock, pool::Fill};
use crate::{
    api::migration_identity::Refusal,
    identity::{Impi, UserIdentity},
    store::{CommitSeq, Mutation, RecordKind},
    time::Timestamp,
};

/// The highest order of a listed pair, and the highest number of a generated one, that can come of use: of
/// one a microsecond it takes 292,000 years to get there.
pub(super) const NUMBER_MAX: u64 = u64::MAX / 2;

/// A pool of provisioned pairs.
#[derive(Debug)]
pub(super) struct Listed(Mutex<State>);

/// The end of a pair's quarantine, then its order among those of the same instant.
pub(super) type Place = (Timestamp, u64);

/// A listed pair that is not lent: at rest or free. Stored by pool name and IMPI.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
pub(super) struct Entry {
    pub(super) identity: UserIdentity,
    pub(super) place: Place,
}

#[derive(Debug)]
struct State {
    quarantine: Duration,
    /// Free, the one to lend next first.
    free: BTreeMap<Place, UserIdentity>,
    /// At rest. Apart from the free ones, so that these are counted.
    resting: BTreeMap<Place, UserIdentity>,
    lent: u64,
    /// The order of the next entry; in memory only, since a restart sorts what it finds.
    order: u64,
    version: CommitSeq,
}

impl Listed {
    pub(super) const fn new(quarantine: Duration, version: CommitSeq) -> Self {
        Self(Mutex::new(State {
            quarantine,
            free: BTreeMap::new(),
            resting: BTreeMap::new(),
            lent: 0,
            order: 0,
            version,
        }))
    }

    pub(super) fn quarantine(&self) -> Duration {
        lock(&self.0).quarantine
    }

    /// Prepares entries for newly provisioned pairs, in their order; free at once.
    pub(super) fn entries(&self, identities: Vec<UserIdentity>, now: Timestamp) -> Vec<Entry> {
        let mut state = lock(&self.0);
        identities.into_iter().map(|identity| state.entry(identity, now)).collect()
    }

    /// Takes newly provisioned entries in, and the quarantine for pairs that return from now on; both
    /// were committed as `version`.
    pub(super) fn extend(&self, entries: Vec<Entry>, quarantine: Duration, version: CommitSeq) {
        let mut state = lock(&self.0);
        state.resting.extend(entries.into_iter().map(|entry| (entry.place, entry.identity)));
        state.quarantine = quarantine;
        state.version = version;
    }

    /// Takes over what was stored. Returns the entries that had to get another place.
    pub(super) fn link(&self, entries: Vec<Entry>, lent: u64) -> Vec<Entry> {
        let mut state = lock(&self.0);
        state.lent = lent;
        let used = entries.iter().map(|entry| entry.place.1).filter(|order| *order <= NUMBER_MAX);
        state.order = used.max().map_or(0, |order| order + 1);
        let mut moved = Vec::new();
        // Two entries with the same instant and order can come of two runs; neither may be lost. After an
        // order that no pool gets to there would be no other.
        for mut entry in entries {
            if entry.place.1 > NUMBER_MAX || state.resting.contains_key(&entry.place) {
                entry.place.1 = state.next_order();
                moved.push(entry.clone());
            }
            state.resting.insert(entry.place, entry.identity);
        }
        moved
    }

    /// Takes the pair out that is to be lent next, or none if none is free.
    pub(super) fn draw(&self, now: Timestamp) -> Option<UserIdentity> {
        let mut state = lock(&self.0);
        state.settle(now);
        let (_, identity) = state.free.pop_first()?;
        state.lent += 1;
        Some(identity)
    }

    /// Takes the pair `impi` out, which has its place at `place` unless it is lent.
    ///
    /// # Errors
    ///
    /// As for [`Self::check_free`].
    pub(super) fn take(
        &self,
        impi: &Impi,
        place: &Place,
        now: Timestamp,
    ) -> Result<UserIdentity, Refusal> {
        let mut state = lock(&self.0);
        state.check_free(impi, place, now)?;
        let identity = state.free.remove(place).ok_or(LENT)?;
        state.lent += 1;
        Ok(identity)
    }

    /// Checks that the pair `impi`, which has its place at `place` unless it is lent, is free.
    ///
    /// # Errors
    ///
    /// [`Refusal::Invalid`] if it is lent or at rest.
    pub(super) fn check_free(
        &self,
        impi: &Impi,
        place: &Place,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        lock(&self.0).check_free(impi, place, now)
    }

    /// Prepares the return of a pair: the entry to store, and then to give to [`Self::take_back`].
    pub(super) fn returning(&self, identity: UserIdentity, now: Timestamp) -> Entry {
        let mut state = lock(&self.0);
        let rested = now + state.quarantine;
        #[cfg(feature = "planted-bugs")]
        let rested = if crate::planted::is_armed(crate::planted::Bug::QuarantineSkipped) {
            now
        } else {
            rested
        };
        state.entry(identity, rested)
    }

    /// Takes a returned pair back.
    pub(super) fn take_back(&self, entry: Entry) {
        let mut state = lock(&self.0);
        state.lent = state.lent.saturating_sub(1);
        state.resting.insert(entry.place, entry.identity);
    }

    /// How many pairs are in quarantine.
    pub(super) fn resting(&self, now: Timestamp) -> u64 {
        let mut state = lock(&self.0);
        state.settle(now);
        state.resting.len() as u64
    }

    pub(super) fn fill(&self, now: Timestamp) -> Fill {
        let mut state = lock(&self.0);
        state.settle(now);
        let free = state.free.len() as u64;
        let total = free + state.resting.len() as u64 + state.lent;
        Fill { total, lent: state.lent, free: Some(free), version: state.version }
    }
}

const LENT: Refusal = Refusal::Invalid("the pair is lent to somebody else");

impl State {
    fn entry(&mut self, identity: UserIdentity, available: Timestamp) -> Entry {
        Entry { identity, place: (available, self.next_order()) }
    }

    const fn next_order(&mut self) -> u64 {
        let order = self.order;
        self.order += 1;
        order
    }

    /// Moves what has rested enough to the free ones.
    fn settle(&mut self, now: Timestamp) {
        while let Some(first) = self.resting.first_entry() {
            if first.key().0 > now {
                break;
            }
            let (place, identity) = first.remove_entry();
            self.free.insert(place, identity);
        }
    }

    /// The place that a lent pair had may be somebody else's now.
    fn check_free(&mut self, impi: &Impi, place: &Place, now: Timestamp) -> Result<(), Refusal> {
        self.settle(now);
        let is_in = |row: &BTreeMap<Place, UserIdentity>| {
            row.get(place).is_some_and(|identity| identity.impi == *impi)
        };
        match (is_in(&self.free), is_in(&self.resting)) {
            (true, _) => Ok(()),
            (false, true) => Err(Refusal::Invalid("the pair is in its quarantine")),
            (false, false) => Err(LENT),
        }
    }
}

impl Entry {
    /// The change that stores the entry.
    pub(super) fn mutation(&self, pool: &str) -> Mutation {
        Mutation::put(RecordKind::PoolEntry, &entry_key(pool, &self.identity.impi), self)
    }
}

pub(super) fn entry_key(pool: &str, impi: &Impi) -> String {
    format!("{pool} {}", impi.as_str())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::identity::Impu;

    #[test]
    fn no_pair_is_lost_by_an_order_that_no_role_gave() {
        let now = Timestamp::from_secs(1);
        let entry = |(number, order)| {
            let impi = Impi::parse(&format!("guest{number}@b.example")).unwrap();
            let impu = Impu::parse(&format!("sip:guest{number}@b.example")).unwrap();
            Entry { identity: UserIdentity { impi, impu }, place: (now, order) }
        };
        let orders = [u64::MAX, u64::MAX, NUMBER_MAX, NUMBER_MAX, 7, u64::MAX - 1];
        let listed = Listed::new(Duration::ZERO, CommitSeq::NOTHING);
        listed.link((0..).zip(orders).map(entry).collect(), 0);
        let mut lent = BTreeSet::new();
        while let Some(identity) = listed.draw(now) {
            lent.insert(identity.impi.clone());
            if lent.len() == 1 {
                listed.take_back(listed.returning(identity, now));
            }
        }
        assert_eq!(lent.len(), orders.len());
    }
}
