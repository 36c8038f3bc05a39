//! Who may open a store, and with which keys; what is told to everybody else.
#![cfg(feature = "node")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code"
)]

mod storage_support;

use std::{
    cell::Cell,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use fjall::{Database, KeyspaceCreateOptions, PersistMode};
use migcore::{
    node::storage::{EmbeddedEngine, KeyLineError, Keys, OpenError},
    store::{Engine, RecordKind},
};

use self::storage_support::{TempDirectory, commit, key, keys, open, replayed, seq};

const SECRET: &[u8] = b"K of a subscriber, 128 bits, in a record";

/// A store with one subscriber, sealed with key 1, and one binding.
fn with_a_subscriber(directory: &Path) {
    let mut engine = open(directory).unwrap();
    let changes = [
        (RecordKind::Subscriber, "alice", Some(SECRET)),
        (RecordKind::InboundBinding, "mig-1", Some(&b"holder"[..])),
    ];
    engine.commit(&[commit(1, &changes)]).unwrap();
}

fn open_with(directory: &Path, numbers: &[u8]) -> Result<EmbeddedEngine, OpenError> {
    EmbeddedEngine::open(directory, keys(numbers))
}

fn refused(directory: &Path, numbers: &[u8]) -> OpenError {
    open_with(directory, numbers).err().expect("it must not open")
}

/// Whether any file below `directory` has `octets` in it.
fn is_on_disk(directory: &Path, octets: &[u8]) -> bool {
    fs::read_dir(directory).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            is_on_disk(&path, octets)
        } else {
            fs::read(&path).unwrap().windows(octets.len()).any(|window| window == octets)
        }
    })
}

#[test]
fn secrets_are_sealed_on_the_disk_and_nothing_else_is() {
    let directory = TempDirectory::new();
    with_a_subscriber(&directory);
    assert!(!is_on_disk(&directory, &SECRET[..12]));
    assert!(is_on_disk(&directory, b"holder"));
    let mut engine = open(&directory).unwrap();
    let records = replayed(&mut engine).unwrap().records;
    let subscriber = &records[&(RecordKind::Subscriber, b"alice"[..].into())];
    assert_eq!(*subscriber, (seq(1), SECRET.to_vec()));
    let page = engine.reader().page(RecordKind::Subscriber, None, 9).unwrap();
    assert_eq!(&*page[0].value, SECRET);
}

#[test]
fn a_wrong_key_is_told_even_if_nothing_was_sealed_yet() {
    let directory = TempDirectory::new();
    drop(open(&directory).unwrap());
    let error = refused(&directory, &[2, 3]);
    let OpenError::WrongKey { needed, given, .. } = &error else { panic!("{error}") };
    assert_eq!((*needed, given.len()), (key(1).id(), 2));
    assert!(error.to_string().contains("give that key too"), "{error}");
    open(&directory).unwrap();
}

#[test]
fn keys_are_rotated_by_putting_a_new_one_first_and_sealing_anew() {
    let directory = TempDirectory::new();
    with_a_subscriber(&directory);
    let mut engine = open_with(&directory, &[2, 1]).unwrap();
    let kind = RecordKind::Subscriber;
    engine.commit(&[commit(2, &[(kind, "bob", Some(SECRET))])]).unwrap();
    drop(engine);

    let error = refused(&directory, &[2]);
    let OpenError::KeyGone { needed, records, .. } = &error else { panic!("{error}") };
    assert_eq!((*needed, *records), (key(1).id(), 1));

    let mut engine = open_with(&directory, &[2, 1]).unwrap();
    let before = replayed(&mut engine).unwrap();
    let told = Cell::new(0);
    let done = engine.reseal(&|records| told.set(records)).unwrap();
    assert_eq!((done.records, done.retired, told.get()), (1, vec![key(1).id()], 3));
    assert_eq!(engine.reseal(&|_| ()).unwrap().records, 0);
    drop(engine);
    assert!(matches!(refused(&directory, &[1]), OpenError::WrongKey { .. }));
    assert_eq!(replayed(&mut open_with(&directory, &[2]).unwrap()).unwrap(), before);
}

#[test]
fn many_records_are_sealed_anew_and_stay_what_they_are() {
    let directory = TempDirectory::new();
    let mut engine = open(&directory).unwrap();
    let names: Vec<String> = (0..30_000).map(|name| format!("user-{name}@a.example")).collect();
    for (names, number) in names.chunks(1_000).zip(1..) {
        let all: Vec<_> = names
            .iter()
            .map(|name| (RecordKind::Subscriber, &**name, Some(name.as_bytes())))
            .collect();
        engine.commit(&[commit(number, &all)]).unwrap();
    }
    drop(engine);
    let mut engine = open_with(&directory, &[2, 1]).unwrap();
    assert_eq!(engine.reseal(&|_| ()).unwrap().records, 30_000);
    drop(engine);
    let records = replayed(&mut open_with(&directory, &[2]).unwrap()).unwrap().records;
    assert_eq!(records.len(), 30_000);
    assert!(records.iter().all(|((_, key), (_, value))| **key == **value));
}

#[test]
fn a_key_that_sealed_nothing_that_is_left_is_not_missed() {
    let directory = TempDirectory::new();
    with_a_subscriber(&directory);
    let mut engine = open_with(&directory, &[2, 1]).unwrap();
    engine.commit(&[commit(2, &[(RecordKind::Subscriber, "alice", None)])]).unwrap();
    drop(engine);
    drop(open_with(&directory, &[2]).unwrap());
    let error = refused(&directory, &[1]);
    assert!(matches!(error, OpenError::WrongKey { .. }), "{error}");
}

/// Changes an entry behind the engine's back.
fn put_raw(directory: &Path, key: &[u8], value: &[u8]) {
    let database = Database::builder(directory.join("store")).open().unwrap();
    let records = database.keyspace("records", KeyspaceCreateOptions::default).unwrap();
    records.insert(key, value).unwrap();
    database.persist(PersistMode::SyncAll).unwrap();
}

#[test]
fn a_store_of_a_newer_build_is_refused_before_anything_in_it_is_used() {
    let directory = TempDirectory::new();
    with_a_subscriber(&directory);
    put_raw(&directory, b"\xffformat", &2_u32.to_be_bytes());
    let error = refused(&directory, &[9]);
    assert!(matches!(error, OpenError::NewerFormat { found: 2, known: 1, .. }), "{error}");
    assert!(error.to_string().contains("use a newer migcore"), "{error}");
    put_raw(&directory, b"\xffformat", b"x");
    assert!(matches!(refused(&directory, &[1]), OpenError::Damaged { .. }));
}

#[test]
fn a_secret_that_is_not_sealed_or_sealed_for_another_subscriber_is_not_used() {
    let directory = TempDirectory::new();
    with_a_subscriber(&directory);
    let mut stored = None;
    {
        let database = Database::builder(directory.join("store")).open().unwrap();
        let records = database.keyspace("records", KeyspaceCreateOptions::default).unwrap();
        for entry in records.iter() {
            let (key, value) = entry.into_inner().unwrap();
            if key.ends_with(b"alice") {
                stored = Some((key.to_vec(), value.to_vec()));
            }
        }
    }
    let (at, value) = stored.unwrap();
    let elsewhere = [&at[..at.len() - 5], b"mally"].concat();
    let plain = [&7_u64.to_be_bytes()[..], &[0], SECRET].concat();
    for (at, value) in [(&elsewhere, &value), (&at, &plain), (&elsewhere, &plain)] {
        put_raw(&directory, at, value);
        let error = replayed(&mut open(&directory).unwrap()).unwrap_err();
        assert!(error.to_string().contains("Subscriber: record is damaged"), "{error}");
    }
}

#[test]
fn a_directory_that_is_taken_foreign_or_of_no_use_is_told() {
    let directory = TempDirectory::new();
    let engine = open(&directory).unwrap();
    let taken = refused(&directory, &[1]);
    assert!(matches!(taken, OpenError::InUse { .. }), "{taken}");
    drop(engine);
    drop(open(&directory).unwrap());

    let foreign = TempDirectory::new();
    fs::write(foreign.join("letters.txt"), "dear").unwrap();
    let error = refused(&foreign, &[1]);
    let OpenError::NotAStore { found, .. } = &error else { panic!("{error}") };
    assert_eq!(found, "letters.txt");
    assert_eq!(fs::read_dir(&*foreign).unwrap().count(), 1, "nothing was put there");

    let error = refused(&foreign.join("letters.txt").join("store"), &[1]);
    assert!(matches!(error, OpenError::NotWritable { .. }), "{error}");
}

#[test]
fn a_store_is_for_its_owner_alone_also_in_a_directory_that_is_for_all() {
    let directory = TempDirectory::new();
    fs::set_permissions(&*directory, fs::Permissions::from_mode(0o755)).unwrap();
    drop(open(&directory).unwrap());
    let mode = fs::metadata(directory.join("store")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_store_that_was_being_made_when_its_process_died_is_made_again() {
    let directory = TempDirectory::new();
    fs::create_dir_all(directory.join("store.new/keyspaces")).unwrap();
    fs::write(directory.join("store.new/0.jnl"), [0; 99]).unwrap();
    fs::write(directory.join("store.new/version"), "").unwrap();
    fs::write(directory.join("intact"), "").unwrap();
    with_a_subscriber(&directory);
    assert!(!directory.join("store.new").exists());
    assert_eq!(replayed(&mut open(&directory).unwrap()).unwrap().records.len(), 2);
}

#[test]
fn a_key_file_that_is_not_there_or_wrong_or_open_to_all_is_told() {
    let directory = TempDirectory::new();
    let path = directory.join("storage.key");
    let error = Keys::read(&path).unwrap_err();
    assert!(matches!(error, OpenError::KeyFile { .. }), "{error}");

    let good = key(1).to_line();
    fs::write(&path, format!("{}\n{}\n", *good, &good[..40])).unwrap();
    let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    for exposed in [0o604, 0o644, 0o602] {
        mode(exposed);
        let error = Keys::read(&path).unwrap_err();
        assert!(matches!(error, OpenError::KeyFileExposed { .. }), "{error}");
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
    mode(0o600);
    let error = Keys::read(&path).unwrap_err();
    let OpenError::KeyLine { line, why, .. } = &error else { panic!("{error}") };
    assert_eq!((*line, *why), (2, KeyLineError::Length(40)));
    assert!(!error.to_string().contains(&good[..8]), "{error}");
    fs::write(&path, "\n").unwrap();
    let error = Keys::read(&path).unwrap_err();
    assert!(error.to_string().contains("store new-key"), "{error}");
}

fn migcore(arguments: &[&str], key: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_migcore"));
    command.args(arguments).env_remove("MIGCORE_STORAGE_KEY");
    key.map(|key| command.env("MIGCORE_STORAGE_KEY", key));
    command.output().unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

#[test]
fn a_new_key_is_printed_or_put_into_a_private_file_that_is_never_overwritten() {
    let printed: Vec<String> =
        (0..2).map(|_| text(&migcore(&["store", "new-key"], None).stdout)).collect();
    assert_ne!(printed[0], printed[1]);
    assert!(printed.iter().all(|line| line.len() == 65 && line.ends_with('\n')), "{printed:?}");

    let directory = TempDirectory::new();
    let path: PathBuf = directory.join("storage.key");
    let shown = path.to_str().unwrap();
    let done = migcore(&["store", "new-key", "--output", shown], None);
    assert!(done.status.success(), "{done:?}");
    let line = fs::read_to_string(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(Keys::read(&path).unwrap().ids().len(), 1);
    assert!(!text(&done.stdout).contains(&line[..8]));

    let again = migcore(&["store", "new-key", "--output", shown], None);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("storage.key"), "{again:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), line);
    assert_eq!(fs::read_dir(&*directory).unwrap().count(), 1, "nothing is left of the attempt");
}

#[test]
fn a_store_is_sealed_anew_from_the_command_line() {
    let directory = TempDirectory::new();
    let store = directory.join("store");
    with_a_subscriber(&store);
    let shown = store.to_str().unwrap();
    let arguments = ["store", "reseal", "--directory", shown];

    let none = migcore(&arguments, None);
    assert_eq!(none.status.code(), Some(2), "{none:?}");
    assert!(text(&none.stderr).contains("MIGCORE_STORAGE_KEY"), "{none:?}");
    let wrong = migcore(&arguments, Some(&key(2).to_line()));
    assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
    assert!(text(&wrong.stderr).contains(&key(1).id().to_string()), "{wrong:?}");

    let key_file = directory.join("keys");
    fs::write(&key_file, format!("{}\n{}\n", *key(2).to_line(), *key(1).to_line())).unwrap();
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).unwrap();
    let config = directory.join("migcore.toml");
    let toml = format!(
        "[system]\ndomain = \"a.example\"\ninsecure = true\n[storage]\ndirectory = {store:?}\nkey_file = {key_file:?}\n"
    );
    fs::write(&config, toml).unwrap();
    let done = migcore(&["store", "reseal", "--config", config.to_str().unwrap()], None);
    assert!(done.status.success(), "{done:?}");
    let told = text(&done.stdout);
    assert!(told.contains("1 record") && told.contains(&key(1).id().to_string()), "{told}");
    assert_eq!(replayed(&mut open_with(&store, &[2]).unwrap()).unwrap().records.len(), 2);

    let missing = directory.join("nothing-here");
    let nothing = migcore(
        &["store", "reseal", "--directory", missing.to_str().unwrap()],
        Some(&key(1).to_line()),
    );
    assert_eq!(nothing.status.code(), Some(2), "{nothing:?}");
    assert!(!missing.exists(), "looking after a store makes none");
}
