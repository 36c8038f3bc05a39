//! A concurrent table of packed records, by private identity.

use std::{
    cell::Cell,
    fmt,
    marker::PhantomData,
    ops::{Deref, DerefMut},
    sync::{RwLockReadGuard, RwLockWriteGuard},
};

use ahash::RandomState;

use super::{
    codec::{Reader, VersionPlace, Writer},
    shards::{Fingerprint, Shards},
    slab::{Handle, Slab},
    slots::Slots,
    words::Words,
};
use crate::{entropy::Entropy, identity::Impi, table::new_hasher};

/// Octets that most records have room in while they are packed.
const PACKED_OCTETS: usize = 256;

/// A record that is kept packed. Its key is not part of it.
pub trait Packed: Sized {
    /// Writes the fields.
    fn pack(&self, to: &mut Writer<'_>);

    /// Reads what [`Packed::pack`] wrote.
    fn unpack(from: &mut Reader<'_>) -> Option<Self>;

    /// Whether there is nothing to keep: such a record is removed when it is unlocked.
    fn is_vacant(&self) -> bool {
        false
    }
}

/// A concurrent map from private identities to records, each kept as a few octets in one place: its key, then
/// its fields. One lock a shard; never iterated.
///
/// Looking a record up unpacks it, changing it packs it again. That costs a fraction of a microsecond and
/// saves some two thirds of what the same record takes as a value of a hash table, where each text has an
/// allocation of its own, the key is kept beside the value, and a third of all slots is empty.
pub struct PackedTable<V> {
    shards: Shards<Shard>,
    hasher: RandomState,
    words: Words,
    value: PhantomData<fn() -> V>,
}

#[derive(Debug, Default)]
struct Shard {
    slots: Slots<Handle>,
    slab: Slab,
}

impl<V: Packed> PackedTable<V> {
    /// Creates an empty table whose hasher is keyed from `entropy`.
    pub fn new(entropy: &mut dyn Entropy) -> Self {
        let hasher = new_hasher(entropy);
        let words = Words::new(hasher.clone());
        Self { shards: Shards::new(), hasher, words, value: PhantomData }
    }

    /// The record of `key` as it is now.
    pub fn get(&self, key: &Impi) -> Option<V> {
        self.view(key, V::unpack)
    }

    /// Reads the first fields of the record of `key`, as far as they are wanted.
    pub fn view<T>(
        &self,
        key: &Impi,
        read: impl FnOnce(&mut Reader<'_>) -> Option<T>,
    ) -> Option<T> {
        let fingerprint = self.fingerprint(key);
        let shard = self.shards.read(fingerprint);
        let (_, mut value) = shard.find(&self.words, fingerprint, key)?;
        read(&mut value)
    }

    /// Whether there is a record of `key`.
    pub fn contains_key(&self, key: &Impi) -> bool {
        let fingerprint = self.fingerprint(key);
        self.shards.read(fingerprint).find(&self.words, fingerprint, key).is_some()
    }

    /// The record of `key`, locked for reading until the guard is dropped.
    pub fn read(&self, key: &Impi) -> Option<Ref<'_, V>> {
        let fingerprint = self.fingerprint(key);
        let shard = self.shards.read(fingerprint);
        let value = V::unpack(&mut shard.find(&self.words, fingerprint, key)?.1)?;
        Some(Ref { _shard: shard, value })
    }

    /// The record of `key`, locked until the guard is dropped. What was changed is packed then.
    pub fn get_mut(&self, key: &Impi) -> Option<RefMut<'_, V>> {
        self.locked(key, || None)
    }

    /// The record of `key`, locked until the guard is dropped; the default one if there is none, which is kept
    /// when it was changed.
    ///
    /// # Panics
    ///
    /// If what this table packed cannot be unpacked, which is a bug.
    pub fn lock(&self, key: &Impi) -> RefMut<'_, V>
    where
        V: Default,
    {
        #[expect(clippy::expect_used, reason = "there is a default, and what was packed unpacks")]
        self.locked(key, || Some(V::default())).expect("a value")
    }

    fn locked(&self, key: &Impi, vacant: impl FnOnce() -> Option<V>) -> Option<RefMut<'_, V>> {
        let fingerprint = self.fingerprint(key);
        let shard = self.shards.write(fingerprint);
        let (found, value) = match shard.find(&self.words, fingerprint, key) {
            Some((handle, mut value)) => (Some(handle), V::unpack(&mut value)?),
            None => (None, vacant()?),
        };
        let place = (fingerprint, found);
        Some(RefMut { shard, words: &self.words, key: key.clone(), value, place, changed: false })
    }

    /// Puts `value` as the record of `key`; returns whether there was one.
    pub fn insert(&self, key: &Impi, value: &V) -> bool {
        self.insert_with(key, |to| value.pack(to))
    }

    /// Puts what `pack` writes, in the order of the fields, as the record of `key`.
    pub fn insert_with(&self, key: &Impi, pack: impl FnOnce(&mut Writer<'_>)) -> bool {
        let (row, ()) = self.row(|to| {
            to.impi(key.as_str());
            pack(to);
        });
        self.insert_row((key, self.fingerprint(key)), &row)
    }

    /// A row that `pack` writes: the key as an identity, then the fields. With it what `pack` returns, such as where the
    /// version is.
    #[inline]
    pub fn row<T>(&self, pack: impl FnOnce(&mut Writer<'_>) -> T) -> (Row<'_>, T) {
        let mut row = Row::new(&self.words);
        let packed = pack(&mut row.writer());
        (row, packed)
    }

    /// Puts `row` as the record of its key, whose fingerprint is known. Returns whether there was one.
    pub fn insert_row(&self, (key, fingerprint): (&Impi, Fingerprint), row: &Row<'_>) -> bool {
        let mut shard = self.shards.write(fingerprint);
        let found = shard.find(&self.words, fingerprint, key).map(|(handle, _)| handle);
        shard.put((fingerprint, found), &row.octets);
        found.is_some()
    }

    /// The same, if the key is known to have no record.
    pub fn insert_new(&self, (key, fingerprint): (&Impi, Fingerprint), row: &Row<'_>) {
        let mut shard = self.shards.write(fingerprint);
        debug_assert!(shard.find(&self.words, fingerprint, key).is_none(), "a new record");
        shard.put((fingerprint, None), &row.octets);
    }

    /// Removes the record of `key`; returns whether there was one.
    pub fn remove(&self, key: &Impi) -> bool {
        let fingerprint = self.fingerprint(key);
        let mut shard = self.shards.write(fingerprint);
        let found = shard.find(&self.words, fingerprint, key).map(|(handle, _)| handle);
        if let Some(handle) = found {
            shard.remove((fingerprint, handle));
        }
        found.is_some()
    }

    /// Fetches what is looked at first for a key with this hash.
    pub fn prefetch(&self, fingerprint: Fingerprint) {
        self.shards.read(fingerprint).slots.prefetch(fingerprint);
    }

    /// The hash by which [`Self::keys_of`] finds `key` again.
    pub fn fingerprint(&self, key: &Impi) -> Fingerprint {
        Fingerprint::of(&self.hasher, key.as_str())
    }

    /// The keys that have this hash and a record: one as a rule, none if it was removed. In no order.
    pub fn keys_of(&self, fingerprint: Fingerprint) -> Vec<Impi> {
        let shard = self.shards.read(fingerprint);
        let key_of = |handle| Reader { octets: shard.slab.get(handle), words: &self.words }.impi();
        shard.slots.all(fingerprint).filter_map(key_of).collect()
    }

    /// How many records there are, counted shard by shard.
    pub fn count(&self) -> usize {
        self.shards.sum(|shard| shard.slots.len())
    }

    /// Forgets all records.
    pub fn clear(&self) {
        self.shards.clear();
    }
}

impl<V> fmt::Debug for PackedTable<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PackedTable").finish_non_exhaustive()
    }
}

impl Shard {
    /// Where the record of `key` is, and its fields.
    fn find<'a>(
        &'a self,
        words: &'a Words,
        fingerprint: Fingerprint,
        key: &Impi,
    ) -> Option<(Handle, Reader<'a>)> {
        self.slots.all(fingerprint).find_map(|handle| {
            let mut reader = Reader { octets: self.slab.get(handle), words };
            let is_key = reader.is_identity(key.as_str()) == Some(true);
            is_key.then_some((handle, reader))
        })
    }

    fn put(&mut self, (fingerprint, found): (Fingerprint, Option<Handle>), octets: &[u8]) {
        let Some(old) = found else {
            let handle = self.slab.put(octets);
            return self.slots.insert(fingerprint, handle);
        };
        let new = self.slab.replace(old, octets);
        if new != old {
            self.slots.change(fingerprint, |handle| handle == old, Some(new));
        }
    }

    fn remove(&mut self, (fingerprint, handle): (Fingerprint, Handle)) {
        self.slots.change(fingerprint, |other| other == handle, None);
        self.slab.remove(handle);
    }
}

/// A record that is locked for reading.
pub struct Ref<'a, V> {
    _shard: RwLockReadGuard<'a, Shard>,
    value: V,
}

impl<V> Deref for Ref<'_, V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.value
    }
}

impl<V> fmt::Debug for Ref<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ref").finish_non_exhaustive()
    }
}

/// A locked record.
pub struct RefMut<'a, V: Packed> {
    shard: RwLockWriteGuard<'a, Shard>,
    words: &'a Words,
    key: Impi,
    value: V,
    place: (Fingerprint, Option<Handle>),
    changed: bool,
}

impl<V: Packed> RefMut<'_, V> {
    /// Removes the record.
    pub fn remove(mut self) {
        self.changed = false;
        self.take_out();
    }

    fn take_out(&mut self) {
        if let (fingerprint, Some(handle)) = self.place {
            self.shard.remove((fingerprint, handle));
        }
    }
}

impl<V: Packed> Deref for RefMut<'_, V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.value
    }
}

impl<V: Packed> DerefMut for RefMut<'_, V> {
    fn deref_mut(&mut self) -> &mut V {
        self.changed = true;
        &mut self.value
    }
}

impl<V: Packed> Drop for RefMut<'_, V> {
    fn drop(&mut self) {
        if self.changed && self.value.is_vacant() {
            self.take_out();
        } else if self.changed {
            let mut row = Row::new(self.words);
            row.writer().impi(self.key.as_str());
            self.value.pack(&mut row.writer());
            self.shard.put(self.place, &row.octets);
        }
    }
}

impl<V: Packed> fmt::Debug for RefMut<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefMut").field("key", &self.key).finish_non_exhaustive()
    }
}

/// A row that is being written.
pub struct Row<'a> {
    octets: Vec<u8>,
    words: &'a Words,
}

thread_local! {
    /// Where a worker packs one record after the other.
    static ROW: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl<'a> Row<'a> {
    fn new(words: &'a Words) -> Self {
        let mut octets = ROW.take();
        octets.clear();
        octets.reserve(PACKED_OCTETS);
        Self { octets, words }
    }

    fn writer(&mut self) -> Writer<'_> {
        Writer { octets: &mut self.octets, words: self.words }
    }

    /// Puts a version in that was not known when the row was written.
    pub fn put_version(&mut self, at: VersionPlace, version: u64) {
        at.put(version, &mut self.octets);
    }
}

impl Drop for Row<'_> {
    fn drop(&mut self) {
        ROW.set(std::mem::take(&mut self.octets));
    }
}

impl fmt::Debug for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Row").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        thread,
    };

    use super::*;

    #[derive(Clone, Debug, Default, Eq, PartialEq)]
    struct Note(String);

    impl Packed for Note {
        fn pack(&self, to: &mut Writer<'_>) {
            to.text(&self.0);
        }

        fn unpack(from: &mut Reader<'_>) -> Option<Self> {
            from.text().map(Self)
        }

        fn is_vacant(&self) -> bool {
            self.0.is_empty()
        }
    }

    struct Seeded(u64);

    impl Entropy for Seeded {
        fn fill(&mut self, out: &mut [u8]) {
            for octet in out {
                self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *octet = self.0.to_be_bytes()[0];
            }
        }
    }

    fn impi(number: u64) -> Impi {
        Impi::parse(&format!("user{number}@{}.example", number % 7)).unwrap()
    }

    #[test]
    fn a_table_is_the_map_that_its_changes_make() {
        let table: PackedTable<Note> = PackedTable::new(&mut Seeded(1));
        let mut model: BTreeMap<u64, String> = BTreeMap::new();
        let mut random = Seeded(2);
        for _ in 0..30_000 {
            let (what, user) = (random.next_u64() % 6, random.next_u64() % 500);
            let text = "x".repeat(usize::try_from(1 + random.next_u64() % 600).unwrap());
            let key = impi(user);
            match what {
                0 => {
                    let was = table.insert(&key, &Note(text.clone()));
                    assert_eq!(was, model.insert(user, text).is_some());
                }
                1 => assert_eq!(table.remove(&key), model.remove(&user).is_some()),
                2 => {
                    table.lock(&key).0.clone_from(&text);
                    model.insert(user, text);
                }
                3 => {
                    table.lock(&key).0.clear();
                    model.remove(&user);
                }
                4 => match (table.get_mut(&key), model.get_mut(&user)) {
                    (Some(mut note), Some(model)) => {
                        note.0.push('y');
                        model.push('y');
                    }
                    (None, None) => {}
                    (note, _) => panic!("{note:?}"),
                },
                _ => match (table.get_mut(&key), model.remove(&user)) {
                    (Some(note), Some(_)) => note.remove(),
                    (None, None) => {}
                    (note, _) => panic!("{note:?}"),
                },
            }
        }
        for user in 0..500 {
            let expected = model.get(&user).cloned().map(Note);
            assert_eq!(table.get(&impi(user)), expected);
            let keys = table.keys_of(table.fingerprint(&impi(user)));
            assert_eq!(keys.contains(&impi(user)), expected.is_some());
        }
        assert!(model.len() > 100);
        table.clear();
        assert!((0..500).all(|user| !table.contains_key(&impi(user))));
    }

    #[test]
    fn a_guard_that_changed_nothing_keeps_nothing() {
        let table: PackedTable<Note> = PackedTable::new(&mut Seeded(1));
        drop(table.lock(&impi(1)));
        assert!(!table.contains_key(&impi(1)));
    }

    #[test]
    fn changes_of_many_threads_are_all_there_afterwards() {
        let table: PackedTable<Note> = PackedTable::new(&mut Seeded(3));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..20_000 {
                        table.lock(&impi(round % 100)).0.push('x');
                    }
                });
            }
        });
        let lengths: BTreeSet<usize> =
            (0..100).map(|user| table.get(&impi(user)).unwrap().0.len()).collect();
        assert_eq!(lengths, [4 * 200].into());
    }
}
