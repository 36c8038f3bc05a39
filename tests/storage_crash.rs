//! What a crash leaves of the last batch, or a failed sync of the journal, is never half a batch.
#![cfg(feature = "node")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "test code"
)]

mod storage_support;

use std::{fs, path::PathBuf};

use migcore::{
    node::storage::OpenError,
    store::{Engine, RecordKind},
};

use self::storage_support::{Model, Random, TempDirectory, commit, open, replayed, seq};

/// A store with a history, what it held after each of its batches, and where each ends in the journal.
struct History {
    directory: TempDirectory,
    models: Vec<Model>,
    ends: Vec<usize>,
    journal: PathBuf,
    octets: Vec<u8>,
}

impl History {
    fn new(seed: u64, batches: u64) -> Self {
        let directory = TempDirectory::new();
        let journal = directory.join("store/0.jnl");
        let written = || {
            let octets = fs::read(&journal).unwrap();
            octets.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1)
        };
        let mut engine = open(&directory).unwrap();
        let (mut random, mut model) = (Random(seed), Model::default());
        let (mut models, mut ends) = (vec![model.clone()], vec![written()]);
        for number in 0..batches {
            let group = [random.commit(3 * number + 1), random.commit(3 * number + 2)];
            engine.commit(&group).unwrap();
            group.iter().for_each(|commit| model.apply(commit));
            models.push(model.clone());
            ends.push(written());
        }
        drop(engine);
        let octets = fs::read(&journal).unwrap();
        Self { directory, models, ends, journal, octets }
    }

    /// Opens the store with `octets` for a journal.
    fn open_with(&self, octets: &[u8]) -> Result<Model, OpenError> {
        fs::write(&self.journal, octets).unwrap();
        let mut engine = open(&self.directory)?;
        let model = replayed(&mut engine).unwrap();
        // What is open takes commits, and they last.
        let probe = model.highest.as_u64() + 1;
        let change = [(RecordKind::Grant, "probe", Some(&b"1"[..]))];
        engine.commit(&[commit(probe, &change)]).unwrap();
        drop(engine);
        assert_eq!(replayed(&mut open(&self.directory)?).unwrap().highest, seq(probe));
        Ok(model)
    }
}

#[test]
fn a_journal_that_ends_anywhere_opens_to_all_batches_before_that() {
    for seed in 0..2 {
        println!("seed {seed}");
        let history = History::new(seed, 6);
        let mut random = Random(seed + 100);
        let first = history.ends[0];
        let last = *history.ends.last().unwrap();
        let mut cuts = history.ends.clone();
        cuts.extend(history.ends.iter().skip(1).map(|end| end - 1));
        cuts.extend((0..6).map(|_| first + random.below(last - first)));
        for cut in cuts {
            let whole = history.ends.iter().filter(|end| **end <= cut).count() - 1;
            let zeroed = [&history.octets[..cut], &[0; 5_000]].concat();
            for octets in [&history.octets[..cut], &zeroed] {
                assert_eq!(
                    history.open_with(octets).unwrap(),
                    history.models[whole],
                    "cut at {cut}"
                );
            }
        }
    }
}

#[test]
fn a_last_batch_with_a_hole_in_it_is_dropped_as_a_whole() {
    for seed in 0..2 {
        println!("seed {seed}");
        let history = History::new(seed, 4);
        let mut random = Random(seed + 200);
        let [.., start, end] = history.ends[..] else { panic!("no batches") };
        let before = &history.models[history.models.len() - 2];
        for _ in 0..8 {
            let from = start + random.below(end - start);
            let to = (from + 1 + random.below(64)).min(end);
            let mut octets = history.octets.clone();
            octets[from..to].fill(0);
            let left = history.open_with(&octets).unwrap();
            let is_whole = octets == history.octets;
            assert!(left == *before || is_whole, "hole from {from} to {to} of {start} to {end}");
            assert!(!history.directory.join("store/0.torn").exists());
        }
    }
}

#[test]
fn a_value_damaged_before_the_last_batch_is_told_and_nothing_is_changed() {
    let directory = TempDirectory::new();
    let mut engine = open(&directory).unwrap();
    let value = [0xab; 100];
    for number in 1..4 {
        let change = [(RecordKind::Grant, "a", Some(&value[..]))];
        engine.commit(&[commit(number, &change)]).unwrap();
    }
    drop(engine);
    let journal = directory.join("store/0.jnl");
    let mut octets = fs::read(&journal).unwrap();
    let first = octets.windows(value.len()).position(|window| window == value).unwrap();
    octets[first + 50] ^= 1;
    fs::write(&journal, &octets).unwrap();
    let error = open(&directory).err().unwrap();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("restore it from a backup"), "{error}");
    assert!(fs::read(&journal).unwrap() == octets);
}

#[test]
fn after_a_failed_sync_the_journal_is_written_anew_before_it_is_relied_upon() {
    use std::os::unix::fs::MetadataExt;
    let history = History::new(7, 5);
    let inode = || fs::metadata(&history.journal).unwrap().ino();
    let before = inode();
    assert_eq!(replayed(&mut open(&history.directory).unwrap()).unwrap(), history.models[5]);
    assert_eq!(inode(), before);
    // What a failed sync leaves behind.
    fs::remove_file(history.directory.join("intact")).unwrap();
    assert_eq!(replayed(&mut open(&history.directory).unwrap()).unwrap(), history.models[5]);
    assert_ne!(inode(), before);
    assert!(history.directory.join("intact").exists());
}
