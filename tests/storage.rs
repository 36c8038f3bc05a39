//! Every engine keeps what was committed: the same history against the memory engine and the embedded one.
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

use std::{collections::BTreeSet, fs, path::Path};

use migcore::{
    node::{
        config::Config,
        storage::{self, OpenError},
    },
    store::{Engine, EngineError, MemoryEngine, RecordError, RecordKind, ReplayError},
};

use self::storage_support::{Model, Random, TempDirectory, commit, open, replayed, seq};

/// Runs a test on a memory engine, which cannot be opened again, and on an embedded one, which can.
fn on_each_engine(test: impl Fn(Box<dyn Engine>, &dyn Fn(Box<dyn Engine>) -> Box<dyn Engine>)) {
    test(Box::new(MemoryEngine::default()), &|engine| engine);
    let directory = TempDirectory::new();
    test(Box::new(open(&directory).unwrap()), &|engine| {
        drop(engine);
        Box::new(open(&directory).unwrap())
    });
}

#[test]
fn a_replay_gives_what_a_random_history_left_also_after_opening_again() {
    for seed in 0..2 {
        println!("seed {seed}");
        on_each_engine(|mut engine, reopen| {
            let (mut random, mut model, mut number) = (Random(seed), Model::default(), 0);
            for round in 0..30 {
                let group: Vec<_> = (0..=random.below(12))
                    .map(|_| {
                        number += 1 + u64::from(random.below(10) == 0);
                        random.commit(number)
                    })
                    .collect();
                engine.commit(&group).unwrap();
                group.iter().for_each(|commit| model.apply(commit));
                if round % 7 == 0 {
                    engine = reopen(engine);
                }
                if round % 3 == 0 {
                    assert_eq!(replayed(&mut *engine).unwrap(), model);
                }
            }
            assert_eq!(replayed(&mut *engine).unwrap(), model);
            assert!(model.records.len() > 20 && engine.approximate_len() > 0);
        });
    }
}

#[test]
fn what_was_deleted_stays_deleted_and_its_version_counts() {
    on_each_engine(|mut engine, reopen| {
        let kind = RecordKind::InboundBinding;
        engine.commit(&[commit(1, &[(kind, "a", Some(b"1")), (kind, "b", Some(b"1"))])]).unwrap();
        let group = [
            commit(2, &[(kind, "a", Some(b"2"))]),
            commit(3, &[(kind, "a", None), (kind, "b", None)]),
        ];
        engine.commit(&group).unwrap();
        for _ in 0..2 {
            let left = replayed(&mut *engine).unwrap();
            assert_eq!((left.records.len(), left.highest), (0, seq(3)));
            engine = reopen(engine);
        }
    });
}

#[test]
fn of_one_key_the_latest_commit_of_a_group_counts() {
    on_each_engine(|mut engine, reopen| {
        let kind = RecordKind::Subscriber;
        let group = [
            commit(1, &[(kind, "a", Some(b"1")), (kind, "b", Some(b"1"))]),
            commit(2, &[(kind, "a", None), (kind, "b", None)]),
            commit(3, &[(kind, "b", Some(b"3"))]),
        ];
        engine.commit(&group).unwrap();
        engine = reopen(engine);
        let left = replayed(&mut *engine).unwrap();
        let expected = [((kind, b"b"[..].into()), (seq(3), b"3".to_vec()))];
        assert_eq!(left.records, expected.into_iter().collect());
    });
}

#[test]
fn pages_go_through_one_kind_in_the_order_of_keys() {
    on_each_engine(|mut engine, reopen| {
        let mut random = Random(11);
        let mut model = Model::default();
        for number in 1..400 {
            let commit = random.commit(number);
            engine.commit(std::slice::from_ref(&commit)).unwrap();
            model.apply(&commit);
            if number == 200 {
                engine = reopen(engine);
            }
        }
        let reader = engine.reader();
        for (limit, kind) in [1, 7, 1_000].into_iter().zip(RecordKind::ALL) {
            let mut after: Option<Box<[u8]>> = None;
            let mut found = Vec::new();
            loop {
                let page = reader.page(kind, after.as_deref(), limit).unwrap();
                assert!(page.len() <= limit);
                let Some(last) = page.last() else { break };
                after = Some(last.key.clone());
                found.extend(page);
            }
            let expected = model.records.iter().filter(|((of, _), _)| *of == kind);
            let expected: Vec<_> =
                expected.map(|((_, key), (version, value))| (&**key, *version, &**value)).collect();
            let found: Vec<_> = found.iter().map(|it| (&*it.key, it.version, &*it.value)).collect();
            assert_eq!(found, expected);
            assert!(!expected.is_empty());
        }
    });
}

#[test]
fn a_group_is_seen_by_readers_and_after_a_restart_only_as_a_whole() {
    let directory = TempDirectory::new();
    let mut engine = open(&directory).unwrap();
    let reader = engine.reader();
    let names: Vec<String> = (0..64).map(|name| format!("user-{name}")).collect();
    let writer = std::thread::spawn(move || {
        for number in 1..200_u64 {
            let value = number.to_be_bytes();
            let all: Vec<_> =
                names.iter().map(|name| (RecordKind::Grant, &**name, Some(&value[..]))).collect();
            engine.commit(&[commit(number, &all)]).unwrap();
        }
        engine
    });
    while !writer.is_finished() {
        let page = reader.page(RecordKind::Grant, None, 1_000).unwrap();
        let versions: BTreeSet<_> = page.iter().map(|record| record.version).collect();
        assert!(versions.len() <= 1 && (page.is_empty() || page.len() == 64), "{versions:?}");
    }
    let mut engine = writer.join().unwrap();
    assert_eq!(replayed(&mut engine).unwrap().records.len(), 64);
}

#[test]
fn after_a_failure_all_is_refused_until_a_replay_and_that_as_often_as_it_takes() {
    let directory = TempDirectory::new();
    let mut engine = open(&directory).unwrap();
    let reader = engine.reader();
    let kind = RecordKind::Registration;
    for round in 1..4 {
        engine.commit(&[commit(10 * round, &[(kind, "a", Some(b"1"))])]).unwrap();
        // A number that was there before is the one failure that needs no broken disk.
        let late = engine.commit(&[commit(10 * round, &[(kind, "a", Some(b"2"))])]);
        assert!(matches!(late, Err(EngineError::Medium(_))), "{late:?}");
        let next = commit(10 * round + 1, &[(kind, "a", Some(b"3"))]);
        assert_eq!(engine.commit(&[next]), Err(EngineError::Closed));
        assert_eq!(reader.page(kind, None, 1), Err(EngineError::Closed));

        let left = replayed(&mut engine).unwrap();
        assert_eq!((left.highest, left.records.len()), (seq(10 * round), 1));
        assert_eq!(reader.page(kind, None, 9).unwrap().len(), 1);
    }
}

#[test]
fn a_store_that_went_away_is_not_replaced_by_an_empty_one() {
    let directory = TempDirectory::new();
    let (place, away) = (directory.join("store"), directory.join("away"));
    let mut engine = open(&directory).unwrap();
    let kind = RecordKind::Grant;
    engine.commit(&[commit(1, &[(kind, "a", Some(b"1"))])]).unwrap();
    copy_all(&place, &directory.join("older"));
    engine.commit(&[commit(2, &[(kind, "b", Some(b"1"))])]).unwrap();
    engine.commit(&[commit(2, &[])]).unwrap_err();

    fs::rename(&place, &away).unwrap();
    for _ in 0..2 {
        let gone = replayed(&mut engine).unwrap_err();
        assert!(matches!(gone, ReplayError::Engine(EngineError::Medium(_))), "{gone}");
        assert_eq!(engine.commit(&[commit(3, &[])]), Err(EngineError::Closed));
    }
    fs::rename(directory.join("older"), &place).unwrap();
    let older = replayed(&mut engine).unwrap_err();
    assert!(older.to_string().contains("older copy"), "{older}");
    fs::remove_dir_all(&place).unwrap();

    let other = TempDirectory::new();
    let mut stranger = open(&other).unwrap();
    stranger.commit(&[commit(9, &[])]).unwrap();
    drop(stranger);
    fs::rename(other.join("store"), &place).unwrap();
    let stranger = replayed(&mut engine).unwrap_err();
    assert!(stranger.to_string().contains("another store"), "{stranger}");
    fs::remove_dir_all(&place).unwrap();

    fs::rename(&away, &place).unwrap();
    assert_eq!(replayed(&mut engine).unwrap().records.len(), 2);
    engine.commit(&[commit(3, &[(kind, "a", None)])]).unwrap();
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_record_that_cannot_be_used_ends_the_replay_and_closes_the_engine() {
    let directory = TempDirectory::new();
    let mut engine = open(&directory).unwrap();
    engine.commit(&[commit(1, &[(RecordKind::Pool, "a", Some(b"1"))])]).unwrap();
    let refused = engine.replay(&|_| Err(RecordError::NewerFormat { version: 9 }));
    let error = RecordError::NewerFormat { version: 9 };
    assert_eq!(refused, Err(ReplayError::Record { kind: RecordKind::Pool, error }));
    assert_eq!(engine.commit(&[commit(2, &[])]), Err(EngineError::Closed));
    assert_eq!(replayed(&mut engine).unwrap().records.len(), 1);
}

#[test]
fn a_configuration_opens_what_it_names() {
    let directory = TempDirectory::new();
    let section = |lines: &str| {
        let text = format!("[system]\ndomain = \"a.example\"\ninsecure = true\n[storage]\n{lines}");
        Config::parse(&text).unwrap().storage
    };
    let memory = storage::open(&section("engine = \"memory\"\n")).unwrap();
    assert!(!memory.waits());

    let (store, key_file) = (directory.join("store"), directory.join("key"));
    fs::write(&key_file, storage_support::key(1).to_line().as_bytes()).unwrap();
    let lines = format!("directory = {store:?}\nkey_file = {key_file:?}\n");
    let exposed = storage::open(&section(&lines)).err().unwrap();
    assert!(matches!(exposed, OpenError::KeyFileExposed { mode: 0o644, .. }), "{exposed}");
    assert!(!store.exists());
    fs::set_permissions(&key_file, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    let embedded = storage::open(&section(&lines)).unwrap();
    assert!(embedded.waits() && store.exists());
}
