//! The embedded storage engine: durable commits a second, and how fast and how small a store opens.
//!
//! ```text
//! cargo bench --bench storage                         both, one million bindings with registrations
//! cargo bench --bench storage -- commits
//! cargo bench --bench storage -- replay --pairs N     N bindings of 150 octets, N registrations of 180
//! ```
//!
//! The directory is made below `TMPDIR`. Filling, and each opening, run in processes of their own, so that
//! the memory told is that of one who opens a store.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a bench"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, exit},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use migcore::{
    entropy::Entropy,
    node::{
        SystemEntropy,
        storage::{EmbeddedEngine, Key, Keys},
    },
    store::{Commit, CommitSeq, Engine, Mutation, RecordKind},
};

/// How many bindings with registrations a store is filled with if nobody says.
const PAIRS: u64 = 1_000_000;

/// How many records one commit of the filling changes.
const FILL_GROUP: u64 = 2_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|it| it != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [] => {
            commits();
            replay(PAIRS, RecordKind::InboundBinding);
            replay(PAIRS, RecordKind::Subscriber);
        }
        ["commits"] => commits(),
        ["replay"] => replay(PAIRS, RecordKind::InboundBinding),
        ["replay", "--pairs", pairs] => replay(pairs.parse().unwrap(), RecordKind::InboundBinding),
        ["replay", "--subscribers", pairs] => {
            replay(pairs.parse().unwrap(), RecordKind::Subscriber);
        }
        ["fill", directory, kind, pairs, end] => {
            let kind = RecordKind::from_u8(kind.parse().unwrap()).unwrap();
            fill(Path::new(directory), kind, pairs.parse().unwrap(), end);
        }
        ["open", directory] => open_and_replay(Path::new(directory)),
        _ => {
            println!("see the head of benches/storage.rs for the arguments");
            exit(2);
        }
    }
}

/// Removes its directory when dropped.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("migcore-bench-{}-{name}", std::process::id()));
        Self(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn open(directory: &Path) -> EmbeddedEngine {
    let key = Key::parse(&"0b".repeat(32)).unwrap();
    EmbeddedEngine::open(directory, Keys::new(&key)).unwrap()
}

/// Commits a second, one record each, by how many wait for one sync.
fn commits() {
    println!("commits of one record of 180 octets, all durable:");
    let place = Place::new("commits");
    let mut engine = open(&place.0);
    let mut entropy = SystemEntropy::new();
    let mut seq = 0;
    for group in [1_u64, 16, 64, 256] {
        let mut groups = Vec::new();
        for _ in 0..(2_000 / group).clamp(20, 300) {
            let commits = (0..group).map(|_| {
                seq += 1;
                let mutations = [mutation(RecordKind::Registration, seq, 180, &mut entropy)].into();
                Commit { seq: CommitSeq::from_u64(seq), mutations }
            });
            groups.push(commits.collect::<Vec<_>>());
        }
        let start = Instant::now();
        let mut took = Vec::new();
        for commits in &groups {
            let start = Instant::now();
            engine.commit(commits).unwrap();
            took.push(start.elapsed());
        }
        let elapsed = start.elapsed();
        took.sort();
        let rate = (groups.len() as u64 * group) as f64 / elapsed.as_secs_f64();
        let (p50, p99) = (took[took.len() / 2], took[took.len() * 99 / 100]);
        println!(
            "  groups of {group:3}: {rate:8.0} commits/s, one sync {p50:.2?} p50, {p99:.2?} p99"
        );
    }
}

/// How long a store takes to open and replay, after it was closed and after its process was killed.
fn replay(pairs: u64, kind: RecordKind) {
    for end in ["closed", "killed"] {
        let place = Place::new(end);
        let directory = place.0.to_str().unwrap();
        let kind_octet = kind.as_u8().to_string();
        run(&["fill", directory, &kind_octet, &pairs.to_string(), end]);
        let disk = octets_in(&place.0);
        let each = disk as f64 / (2 * pairs) as f64;
        println!(
            "{pairs} of {kind:?} and of Registration, {end}: {} MB on disk, {each:.0} octets each",
            disk >> 20
        );
        for _ in 0..3 {
            run(&["open", directory]);
        }
    }
}

fn run(arguments: &[&str]) {
    let status = Command::new(std::env::current_exe().unwrap()).args(arguments).status().unwrap();
    assert!(status.success());
}

fn fill(directory: &Path, kind: RecordKind, pairs: u64, end: &str) {
    let mut engine = open(directory);
    let mut entropy = SystemEntropy::new();
    let start = Instant::now();
    let mut seq = 0;
    for first in (0..pairs).step_by(FILL_GROUP as usize / 2) {
        let mut mutations = Vec::new();
        for number in first..(first + FILL_GROUP / 2).min(pairs) {
            mutations.push(mutation(kind, number, 150, &mut entropy));
            mutations.push(mutation(RecordKind::Registration, number, 180, &mut entropy));
        }
        seq += 1;
        engine
            .commit(&[Commit { seq: CommitSeq::from_u64(seq), mutations: mutations.into() }])
            .unwrap();
    }
    println!("filled in {:.1?}, {}", start.elapsed(), memory());
    if end == "killed" {
        // Nothing is closed or written on the way out.
        exit(0);
    }
}

fn open_and_replay(directory: &Path) {
    let start = Instant::now();
    let mut engine = open(directory);
    let (opened, open_time) = (start.elapsed(), processor_time());
    let (count, octets) = (AtomicU64::new(0), AtomicU64::new(0));
    engine
        .replay(&|record| {
            count.fetch_add(1, Ordering::Relaxed);
            octets.fetch_add((record.key.len() + record.value.len()) as u64, Ordering::Relaxed);
            Ok(())
        })
        .unwrap();
    let all = start.elapsed();
    let (count, octets) = (count.into_inner(), octets.into_inner());
    println!(
        "  opened in {opened:.2?} ({open_time:.2?} of processor time), {count} records ({} MB) replayed in \
         {:.2?} ({:.2?}), {}",
        octets >> 20,
        all.saturating_sub(opened),
        processor_time().saturating_sub(open_time),
        memory()
    );
}

fn mutation(kind: RecordKind, number: u64, octets: usize, entropy: &mut SystemEntropy) -> Mutation {
    let key = format!("mig-{:016x}@b.example", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut value = vec![0; octets - key.len()];
    entropy.fill(&mut value);
    Mutation { kind, key: key.into_bytes().into(), value: Some(value) }
}

/// The processor time that this process has used in all its threads, which other processes do not change.
fn processor_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    // A tick of this interface is a hundredth of a second everywhere.
    Duration::from_millis(ticks.map(|it| 10 * it.parse::<u64>().unwrap_or_default()).sum())
}

/// The memory of this process now and at most.
fn memory() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mega = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().next().and_then(|it| it.parse::<u64>().ok()).unwrap_or_default()
            >> 10
    };
    format!("{} MB of memory, {} MB at most", mega("VmRSS:"), mega("VmHWM:"))
}

/// The octets that the files below a directory take on the disk.
fn octets_in(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let of = |entry: fs::DirEntry| {
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() { octets_in(&entry.path()) } else { metadata.blocks() * 512 }
    };
    fs::read_dir(directory).unwrap().map(|entry| of(entry.unwrap())).sum()
}
