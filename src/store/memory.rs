//! The engine that forgets on exit: for tests and throw-away load runs.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ahash::RandomState;
use hashbrown::{HashTable, hash_table::Entry};

use super::{
    Commit, CommitSeq, Each, Engine, EngineError, Mutation, OwnedRecord, Reader, Record,
    RecordKind, ReplayError,
};

/// Keeps the newest version of every record in memory.
///
/// A deletion leaves its key and its version behind until the next replay, so that a late older commit
/// cannot bring a deleted record back. So what was ever stored takes memory until then.
#[derive(Debug, Default)]
pub struct MemoryEngine {
    records: Arc<Records>,
    highest: CommitSeq,
}

/// Shared with the readers.
#[derive(Debug, Default)]
struct Records(RwLock<Slots>);

/// The slots of all records. Whoever changes a record finds it by its hash; only who reads them in the order of
/// their keys has to put them in order first.
#[derive(Clone, Debug, Default)]
struct Slots {
    all: Vec<Slot>,
    /// Where the record of a kind and key is.
    places: HashTable<u32>,
    hasher: RandomState,
    /// The places in the order of kind and key, as far as they have been put in order.
    order: Vec<u32>,
}

/// The newest version of a record and its value; no value if it was deleted.
#[derive(Clone, Debug)]
struct Slot {
    kind: RecordKind,
    key: Box<[u8]>,
    version: CommitSeq,
    value: Option<Vec<u8>>,
}

impl Slot {
    fn name(&self) -> (RecordKind, &[u8]) {
        (self.kind, &self.key)
    }
}

impl Slots {
    fn put(&mut self, seq: CommitSeq, mutation: &Mutation) {
        let Self { all: slots, places, hasher, .. } = self;
        let name = (mutation.kind, &*mutation.key);
        let is_it = |place: &u32| slot_at(slots, *place).is_some_and(|slot| slot.name() == name);
        let rehash =
            |place: &u32| slot_at(slots, *place).map_or(0, |it| hasher.hash_one(it.name()));
        match places.entry(hasher.hash_one(name), is_it, rehash) {
            Entry::Occupied(entry) => {
                let place = usize::try_from(*entry.get()).ok();
                if let Some(slot) = place.and_then(|place| slots.get_mut(place))
                    && slot.version < seq
                {
                    slot.version = seq;
                    slot.value.clone_from(&mutation.value);
                }
            }
            Entry::Vacant(entry) => {
                let (kind, key, value) =
                    (mutation.kind, mutation.key.as_slice().into(), mutation.value.clone());
                // More records than that do not fit into any memory.
                entry.insert(u32::try_from(slots.len()).unwrap_or(u32::MAX));
                slots.push(Slot { kind, key, version: seq, value });
            }
        }
    }

    /// Forgets what was deleted.
    fn forget_deleted(&mut self) {
        let slots = std::mem::take(&mut self.all);
        self.places.clear();
        self.order.clear();
        for slot in slots.into_iter().filter(|slot| slot.value.is_some()) {
            let Self { all: slots, places, hasher, .. } = self;
            let place = u32::try_from(slots.len()).unwrap_or(u32::MAX);
            let hash = hasher.hash_one(slot.name());
            slots.push(slot);
            let rehash =
                |place: &u32| slot_at(slots, *place).map_or(0, |it| hasher.hash_one(it.name()));
            places.insert_unique(hash, place, rehash);
        }
    }

    /// Puts all records in order.
    fn sort(&mut self) {
        let Self { all: slots, order, .. } = self;
        let sorted = u32::try_from(order.len()).unwrap_or(u32::MAX);
        order.extend(sorted..u32::try_from(slots.len()).unwrap_or(u32::MAX));
        // What is in order already costs little.
        order.sort_by(|one, other| {
            let name = |place: &u32| slot_at(slots, *place).map(Slot::name);
            name(one).cmp(&name(other))
        });
    }

    /// Up to `limit` records of `kind` behind the key `after`, of those that are in order.
    fn page(&self, kind: RecordKind, after: Option<&[u8]>, limit: usize) -> Vec<OwnedRecord> {
        let from = self.order.partition_point(|place| {
            slot_at(&self.all, *place).is_some_and(|slot| match after {
                Some(after) => slot.name() <= (kind, after),
                None => slot.kind < kind,
            })
        });
        let rest = self.order.get(from..).unwrap_or_default();
        let slots = rest.iter().filter_map(|place| slot_at(&self.all, *place));
        let of_kind = slots.take_while(|slot| slot.kind == kind);
        let kept = of_kind.filter_map(|slot| {
            let value = slot.value.as_deref()?.into();
            Some(OwnedRecord { kind, key: slot.key.clone(), version: slot.version, value })
        });
        kept.take(limit).collect()
    }
}

fn slot_at(slots: &[Slot], place: u32) -> Option<&Slot> {
    slots.get(usize::try_from(place).ok()?)
}

impl Clone for MemoryEngine {
    /// Copies the records: a change of one does not show in the other.
    fn clone(&self) -> Self {
        let records = Records(RwLock::new(self.records.read().clone()));
        Self { records: Arc::new(records), highest: self.highest }
    }
}

impl Engine for MemoryEngine {
    fn commit(&mut self, commits: &[Commit]) -> Result<(), EngineError> {
        let mut records = self.records.write();
        for commit in commits {
            self.highest = self.highest.max(commit.seq);
            for mutation in &commit.mutations {
                records.put(commit.seq, mutation);
            }
        }
        Ok(())
    }

    fn replay(&mut self, each: &Each<'_>) -> Result<CommitSeq, ReplayError> {
        self.records.write().forget_deleted();
        for Slot { kind, key, version, value } in &self.records.read().all {
            if let Some(value) = value {
                Record { kind: *kind, key, version: *version, value }.give(each)?;
            }
        }
        Ok(self.highest)
    }

    fn approximate_len(&self) -> u64 {
        self.records.read().all.len() as u64
    }

    fn waits(&self) -> bool {
        false
    }

    fn reader(&self) -> Arc<dyn Reader> {
        Arc::clone(&self.records) as Arc<dyn Reader>
    }
}

impl Records {
    fn read(&self) -> RwLockReadGuard<'_, Slots> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Slots> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader for Records {
    fn page(
        &self,
        kind: RecordKind,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<OwnedRecord>, EngineError> {
        let records = self.read();
        if records.order.len() == records.all.len() {
            return Ok(records.page(kind, after, limit));
        }
        drop(records);
        let mut records = self.write();
        records.sort();
        Ok(records.page(kind, after, limit))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn commit(seq: u64, value: Option<&str>) -> Commit {
        let mutation = match value {
            Some(value) => Mutation::put(RecordKind::Grant, "k", &value),
            None => Mutation::delete(RecordKind::Grant, "k"),
        };
        Commit { seq: CommitSeq::from_u64(seq), mutations: [mutation].into() }
    }

    /// The versions of all records, and the highest ever committed.
    fn replayed(engine: &mut MemoryEngine) -> (Vec<CommitSeq>, CommitSeq) {
        let seen = Mutex::new(Vec::new());
        let each = |record: Record<'_>| {
            seen.lock().unwrap().push(record.version);
            Ok(())
        };
        let highest = engine.replay(&each).unwrap();
        (seen.into_inner().unwrap(), highest)
    }

    #[test]
    fn records_are_listed_in_the_order_of_their_keys_however_they_came() {
        let mut engine = MemoryEngine::default();
        let reader = engine.reader();
        let mut keys: Vec<String> =
            (0..500).map(|number| format!("{}", number * 7 % 500)).collect();
        for (seq, key) in (1..).zip(&keys) {
            let mutations = vec![
                Mutation::put(RecordKind::Grant, key, &seq),
                Mutation::put(RecordKind::User, key, &seq),
            ];
            engine
                .commit(&[Commit { seq: CommitSeq::from_u64(seq), mutations: mutations.into() }])
                .unwrap();
            if seq % 100 == 0 {
                reader.page(RecordKind::Grant, None, 1).unwrap();
            }
        }
        let mutations = [Mutation::delete(RecordKind::Grant, "7")].into();
        engine.commit(&[Commit { seq: CommitSeq::from_u64(1_000), mutations }]).unwrap();
        keys.retain(|key| key != "7");
        keys.sort();
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page = reader.page(RecordKind::Grant, after.as_deref(), 70).unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            listed.extend(page.into_iter().map(|it| String::from_utf8(it.key.into()).unwrap()));
        }
        assert_eq!(listed, keys);
        replayed(&mut engine);
        assert_eq!(reader.page(RecordKind::Grant, Some(b"70"), 1).unwrap()[0].key[..], *b"71");
    }

    #[test]
    fn an_older_version_never_replaces_a_newer_one_nor_a_deletion() {
        let mut engine = MemoryEngine::default();
        engine.commit(&[commit(2, Some("new")), commit(1, Some("old"))]).unwrap();
        assert_eq!(replayed(&mut engine), (vec![CommitSeq::from_u64(2)], CommitSeq::from_u64(2)));

        engine.commit(&[commit(4, None), commit(3, Some("late"))]).unwrap();
        assert_eq!(replayed(&mut engine), (vec![], CommitSeq::from_u64(4)));
    }
}
