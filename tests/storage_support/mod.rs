//! What the tests of the engines share: a directory that goes, keys, a model of what is stored.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use std::{
    collections::BTreeMap,
    fs,
    ops::Deref,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use migcore::{
    node::storage::{EmbeddedEngine, Key, Keys, OpenError},
    store::{Commit, CommitSeq, Engine, Mutation, RecordKey, RecordKind, ReplayError},
};

/// A directory that is removed when it is dropped.
pub struct TempDirectory(PathBuf);

impl TempDirectory {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("migcore-storage-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Deref for TempDirectory {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A key that only tests use.
pub fn key(number: u8) -> Key {
    Key::parse(&format!("{number:02x}").repeat(32)).unwrap()
}

/// The keys with these numbers, the first one to seal.
pub fn keys(numbers: &[u8]) -> Keys {
    numbers[1..]
        .iter()
        .fold(Keys::new(&key(numbers[0])), |keys, number| keys.also(&key(*number)).unwrap())
}

pub fn open(directory: &Path) -> Result<EmbeddedEngine, OpenError> {
    EmbeddedEngine::open(directory, keys(&[1]))
}

/// Live records: version and value by kind and key.
pub type Records = BTreeMap<(RecordKind, RecordKey), (CommitSeq, Vec<u8>)>;

/// What should be stored.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Model {
    pub records: Records,
    pub highest: CommitSeq,
}

impl Model {
    pub fn apply(&mut self, commit: &Commit) {
        self.highest = self.highest.max(commit.seq);
        for Mutation { kind, key, value } in &commit.mutations {
            let at = (*kind, key.clone());
            match value {
                Some(value) => drop(self.records.insert(at, (commit.seq, value.clone()))),
                None => drop(self.records.remove(&at)),
            }
        }
    }
}

/// What a replay gives.
pub fn replayed(engine: &mut dyn Engine) -> Result<Model, ReplayError> {
    let records = Mutex::new(Records::new());
    let highest = engine.replay(&|record| {
        let at = (record.kind, record.key.into());
        let twice = records.lock().unwrap().insert(at, (record.version, record.value.to_vec()));
        assert_eq!(twice, None, "a record was given twice");
        Ok(())
    })?;
    Ok(Model { records: records.into_inner().unwrap(), highest })
}

pub fn seq(number: u64) -> CommitSeq {
    CommitSeq::from_u64(number)
}

/// A commit of raw values: `None` deletes.
pub fn commit(number: u64, changes: &[(RecordKind, &str, Option<&[u8]>)]) -> Commit {
    let mutations = changes.iter().map(|(kind, key, value)| Mutation {
        kind: *kind,
        key: key.as_bytes().into(),
        value: value.map(<[u8]>::to_vec),
    });
    Commit { seq: seq(number), mutations: mutations.collect() }
}

/// A generator of pseudo-random numbers (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    /// The next commit of a history over a few hundred keys of all kinds.
    pub fn commit(&mut self, number: u64) -> Commit {
        let mut mutations = BTreeMap::new();
        for _ in 0..=self.below(3) {
            let kind = RecordKind::ALL[self.below(RecordKind::ALL.len())];
            let key: RecordKey = format!("user-{}@a.example", self.below(40)).into_bytes().into();
            let octets = self.below(200);
            let value = (self.below(3) > 0).then(|| vec![self.next() as u8; octets]);
            mutations.insert((kind, key.clone()), Mutation { kind, key, value });
        }
        Commit { seq: seq(number), mutations: mutations.into_values().collect() }
    }
}
