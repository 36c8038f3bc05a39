//! The embedded engine on a disk that loses power: what it committed is there, whole and in order.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
};

use migcore::{
    node::storage::{EmbeddedEngine, Key, Keys},
    store::{Commit, CommitSeq, Engine, Mutation, RecordKind},
};

use crate::{
    common::Seeded,
    image::Unsynced,
    log::Event,
    number,
    shim::{Call, Disk, Fault, Word},
};

/// Cuts by default. `MIGCORE_FULL=1` makes it 200, `MIGCORE_CUTS=n` n.
const CUTS: u64 = 12;

/// The commit up to which a process goes on if nothing ends it.
const COMMITS_MAX: u64 = 1_000_000;

/// Commits that are handed to the engine at a time.
const GROUP_MAX: u64 = 8;

/// Every so many commits one has records that fill a write buffer soon, so that tables and journals
/// change too.
const LARGE_EVERY: u64 = 16;
const LARGE_OCTETS: u64 = 1_000_000;

/// A cut comes before one of so many changes of files: writes, begins and ends of syncs, names; or of so
/// many while the store opens.
const CHANGES: u64 = 800;
const OPENING_CHANGES: u64 = 40;

/// Where the child process finds its directory and the number to start with.
const DIRECTORY: &str = "MIGCORE_TEST_DIRECTORY";
const NEXT: &str = "MIGCORE_TEST_NEXT";

/// What is stored: value and version by kind and key.
type State = BTreeMap<(RecordKind, Vec<u8>), (u64, Vec<u8>)>;

/// The n-th commit: a record that every commit changes, two of its own, and one of an earlier commit
/// that it deletes.
fn commit(seq: u64) -> Commit {
    let mut seeded = Seeded(seq);
    let mut value = |octets: u64| {
        let length = 1 + seeded.below(octets) as usize;
        let mut value = vec![0; length];
        migcore::entropy::Entropy::fill(&mut seeded, &mut value);
        value
    };
    let large = if seq.is_multiple_of(LARGE_EVERY) { LARGE_OCTETS } else { 6_000 };
    let put = |kind, key: String, value| Mutation {
        kind,
        key: key.into_bytes().into(),
        value: Some(value),
    };
    let mut mutations = vec![
        put(RecordKind::Subscriber, "of all".to_owned(), value(300)),
        put(RecordKind::Registration, format!("{seq}"), value(large)),
        put(RecordKind::InboundBinding, format!("{seq}"), value(300)),
    ];
    if let Some(earlier) = seq.checked_sub(10).filter(|earlier| *earlier > 0) {
        mutations.push(Mutation::delete(RecordKind::InboundBinding, &earlier.to_string()));
    }
    // What is large is deleted later, so that the store does not only grow.
    if let Some(earlier) = seq.checked_sub(20 * LARGE_EVERY).filter(|earlier| *earlier > 0) {
        mutations.push(Mutation::delete(RecordKind::Registration, &earlier.to_string()));
    }
    Commit { seq: CommitSeq::from_u64(seq), mutations: mutations.into() }
}

fn apply(state: &mut State, commit: Commit) {
    for mutation in commit.mutations {
        let key = (mutation.kind, mutation.key.into_vec());
        match mutation.value {
            Some(value) => state.insert(key, (commit.seq.as_u64(), value)),
            None => state.remove(&key),
        };
    }
}

fn key() -> Key {
    Key::parse(&"5a".repeat(32)).unwrap()
}

/// The first key of a store that gets another one.
fn old_key() -> Key {
    Key::parse(&"a5".repeat(32)).unwrap()
}

fn keys() -> Keys {
    Keys::new(&key()).also(&old_key()).unwrap()
}

/// Everything in the store, and its highest version.
fn stored(directory: &Path) -> (u64, State) {
    let mut engine =
        EmbeddedEngine::open(directory, keys()).unwrap_or_else(|error| panic!("{error}"));
    let state = Mutex::new(State::new());
    let highest = engine
        .replay(&|record| {
            let value = (record.version.as_u64(), record.value.to_vec());
            let before = state.lock().unwrap().insert((record.kind, record.key.to_vec()), value);
            assert!(before.is_none(), "a record comes once");
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
    (highest.as_u64(), state.into_inner().unwrap())
}

/// Commits until it is killed, and says the number of each group that is durable. It is started by the
/// tests below as a process of its own.
#[test]
#[ignore = "the tests below run it on a disk that fails; alone it does nothing"]
fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let mut engine = EmbeddedEngine::open(&PathBuf::from(directory), keys()).unwrap();
    engine.replay(&|_| Ok(())).unwrap();
    let mut next = number(NEXT).unwrap();
    println!("\nopen");
    while next < COMMITS_MAX {
        let group = 1 + Seeded(next).below(GROUP_MAX);
        let commits: Vec<_> = (next..next + group).map(commit).collect();
        engine.commit(&commits).unwrap();
        next += group;
        println!("\ndurable {}", next - 1);
        std::io::stdout().flush().unwrap();
    }
}

fn start(disk: &mut Disk, next: u64) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "engine::child", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(DIRECTORY, &disk.directory).env(NEXT, next.to_string());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.envs(disk.attach()).spawn().unwrap()
}

/// Reads what the child says until it ends: whether it has opened the store, and the last commit that it
/// was told is durable.
fn listen(child: &mut Child, mut opened: impl FnMut()) -> (bool, u64) {
    let (mut open, mut durable) = (false, 0);
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let Ok(line) = line else { break };
        if line == "open" {
            open = true;
            opened();
        } else if let Some(number) = line.strip_prefix("durable ") {
            durable = number.parse().unwrap();
        }
    }
    child.wait().unwrap();
    (open, durable)
}

#[test]
fn whole_commits_in_order_survive_power_failures_at_any_instant() {
    let seed = number("MIGCORE_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let full = if std::env::var_os("MIGCORE_FULL").is_some() { 200 } else { CUTS };
    let cuts = number("MIGCORE_CUTS").unwrap_or(full);
    println!("MIGCORE_SEED={seed} MIGCORE_CUTS={cuts}");
    let mut seeded = Seeded(seed);
    let mut disk = Disk::new("engine");
    let (mut expected, mut reached) = (State::new(), 0);
    let (mut syncs, mut renames, mut removals, mut while_opening) = (0, 0, 0, 0);
    for cut in 0..cuts {
        // Most cuts come in the middle of commits, some while the store opens, if it does not open first.
        let changes = 1 + seeded.below(CHANGES);
        if cut.is_multiple_of(4) {
            disk.kill_after(1 + seeded.below(OPENING_CHANGES));
        }
        let mut child = start(&mut disk, reached + 1);
        let (open, durable) = listen(&mut child, || disk.kill_after(changes));
        while_opening += u64::from(!open);
        let log = disk.log();
        let last = log.last().map(|record| record.event.clone());
        if !matches!(last, Some(Event::Cut { .. })) {
            let mut error = String::new();
            std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut error).unwrap();
            panic!("cut {cut}: the process was not killed, {last:?}\n{error}");
        }
        for record in &log {
            match record.event {
                Event::SyncEnd { .. } => syncs += 1,
                Event::Rename { .. } => renames += 1,
                Event::Remove { .. } => removals += 1,
                _ => {}
            }
        }
        let unsynced = [Unsynced::Lost, Unsynced::Torn, Unsynced::Scattered][(cut % 3) as usize];
        disk.cut(unsynced, &mut seeded);
        let (highest, state) = stored(&disk.directory);
        assert!(
            highest >= durable.max(reached),
            "cut {cut}: {durable} is lost, {highest} is there"
        );
        for seq in reached + 1..=highest {
            apply(&mut expected, commit(seq));
        }
        reached = highest;
        let differ = expected.iter().find(|(key, value)| state.get(*key) != Some(value));
        if let Some(((kind, key), (version, _))) = differ {
            let key = String::from_utf8_lossy(key);
            let there = state.get(&(*kind, key.clone().into_owned().into_bytes()));
            let there = there.map(|(version, value)| (version, value.len()));
            panic!("cut {cut}: {kind:?} {key} of version {version} is {there:?}");
        }
        assert_eq!(state.len(), expected.len(), "cut {cut}: what was deleted is there again");
    }
    println!(
        "{cuts} cuts ({while_opening} while opening), {reached} commits, {} records: none lost, none \
         in part; {syncs} syncs, {renames} renames, {removals} removals",
        expected.len()
    );
    assert!(reached > 0);
}

/// What is in the way of a store that is being made: nothing, at any instant.
#[test]
fn a_store_that_power_failures_hit_while_it_is_made_is_made_anew_or_whole() {
    let seed = number("MIGCORE_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("MIGCORE_SEED={seed}");
    let mut seeded = Seeded(seed);
    let mut instants = 0;
    for changes in 1.. {
        let mut disk = Disk::new("creation");
        disk.kill_after(changes);
        let mut child = start(&mut disk, 1);
        let (open, durable) = listen(&mut child, || disk.kill_after(1));
        let unsynced = [Unsynced::Lost, Unsynced::Torn][(changes % 2) as usize];
        disk.cut(unsynced, &mut seeded);
        let (highest, _) = stored(&disk.directory);
        assert!(highest >= durable, "{durable} is lost after change {changes}");
        if open {
            break;
        }
        instants = changes;
    }
    println!("{instants} instants");
    assert!(instants > 0, "making a store changes files");
}

/// One sync after the other fails when a store is opened with a new key: whoever opens it next knows that what
/// is read may not be on the disk.
#[test]
fn a_sync_that_failed_while_a_store_was_opened_takes_nothing_that_is_committed_later() {
    let mut failures = 0;
    for skip in 0.. {
        let mut disk = Disk::new("opening");
        drop(EmbeddedEngine::open(&disk.directory, Keys::new(&old_key())).unwrap());
        let key_file = disk.directory.parent().unwrap().join("keys");
        std::fs::write(&key_file, format!("{}\n{}\n", *key().to_line(), *old_key().to_line()))
            .unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&key_file, private).unwrap();
        disk.fail(Call::Sync, Fault::Failing, skip, 1);
        let mut command = Command::new(env!("CARGO_BIN_EXE_migcore"));
        command.args(["store", "check", "--directory"]).arg(&disk.directory);
        let checked =
            command.arg("--key-file").arg(&key_file).envs(disk.attach()).output().unwrap();
        let is_hit = disk.get(Word::Injected) > 0;
        disk.lift(Call::Sync);
        failures += u64::from(!checked.status.success());

        let mut child = start(&mut disk, 1);
        let (_, durable) = listen(&mut child, || disk.kill_after(200));
        disk.cut(Unsynced::Lost, &mut Seeded(0));
        let (highest, _) = stored(&disk.directory);
        assert!(durable > 0 && highest >= durable, "{durable} is lost after sync {skip} failed");
        if !is_hit {
            assert!(checked.status.success());
            break;
        }
    }
    println!("{failures} times it did not open");
    assert!(failures > 0);
}
