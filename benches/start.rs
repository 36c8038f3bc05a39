//! A start with many records: how long until the process is ready, and what a binding with its registration takes
//! of its memory and of the disk.
//!
//! ```text
//! cargo bench --bench start [-- COUNT]     (1,000,000 unless told)
//! ```
//!
//! A store of COUNT inbound bindings and as many registrations is written, `migcore serve` started on it, and
//! asked for its readiness. Its resident set is compared with that of a process on an empty store.

#![allow(
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark"
)]

mod records;

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime},
};

use migcore::{
    node::{
        SystemEntropy,
        storage::{EmbeddedEngine, Key, Keys},
    },
    store::{Commit, CommitSeq, Engine, Mutation},
    time::Timestamp,
};
use records::{Encoded, inbound_of, registration_of};

const COUNT: u64 = 1_000_000;
/// Records of one commit.
const BATCH: u64 = 10_000;
/// How often a process is started; the first start may find the store as the writer left it.
const STARTS: usize = 3;

fn main() {
    let count = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(COUNT);
    let (empty, full) = (Store::create("empty"), Store::create("full"));
    empty.fill(0);
    full.fill(count);
    let nothing = empty.start().memory;
    println!(
        "{count} inbound bindings, each with its registration; the empty process takes {nothing} octets"
    );
    for _ in 0..STARTS {
        let started = full.start();
        let disk = octets_below(&full.0.join("store"));
        println!(
            "ready in {:.2} s; for each {:.1} octets of memory ({:.1} at the most), {:.1} of the disk",
            started.time.as_secs_f64(),
            (started.memory - nothing) as f64 / count as f64,
            (started.most - nothing) as f64 / count as f64,
            disk as f64 / count as f64,
        );
    }
}

/// A directory with a store, its key and the configuration of its system.
struct Store(PathBuf);

/// A process that has become ready.
struct Started {
    time: Duration,
    /// Its resident set, octets.
    memory: i64,
    /// The largest that it was.
    most: i64,
}

impl Store {
    fn create(name: &str) -> Self {
        let directory = format!("migcore-start-{}-{name}", std::process::id());
        let store = Self(std::env::temp_dir().join(directory));
        fs::create_dir(&store.0).expect("a new directory");
        let key = Key::draw(&mut SystemEntropy);
        let file = store.0.join("key");
        fs::write(&file, key.to_line().as_str()).expect("a key file");
        store.set_private(&file);
        store
    }

    #[cfg(unix)]
    fn set_private(&self, file: &Path) {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("its owner's alone");
    }

    fn fill(&self, count: u64) {
        let keys = Keys::read(&self.0.join("key")).expect("the key");
        let mut engine = EmbeddedEngine::open(&self.0.join("store"), keys).expect("a new store");
        engine.replay(&|_| Ok(())).expect("nothing yet");
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        let now = Timestamp::from_secs(now.as_secs());
        let mut seq = 0;
        for make in [inbound_of as fn(Timestamp, u64) -> Encoded, registration_of] {
            for batch in (0..count).step_by(usize::try_from(BATCH).expect("small")) {
                let mutation = |n| {
                    let (kind, key, value) = make(now, n);
                    Mutation { kind, key: key.into_bytes().into(), value: Some(value) }
                };
                let mutations = (batch..(batch + BATCH).min(count)).map(mutation).collect();
                seq += 1;
                let commit = Commit { seq: CommitSeq::from_u64(seq), mutations };
                engine.commit(&[commit]).expect("a good disk");
            }
        }
    }

    /// Starts a process on the store, ends it when it is ready and has been so for a while.
    fn start(&self) -> Started {
        let admin = free_address();
        let config = self.0.join("config.toml");
        let text = format!(
            "[system]\ndomain = \"b.example\"\n[sip]\nlisten = \"127.0.0.1:0\"\n\
             [diameter]\nlisten = \"127.0.0.1:0\"\n[management]\nlisten = \"127.0.0.1:0\"\n\
             [config_server]\nlisten = \"127.0.0.1:0\"\nlisten_partners = \"127.0.0.1:0\"\n\
             [admin]\nlisten = \"{admin}\"\n\
             [storage]\nengine = \"embedded\"\ndirectory = {:?}\nkey_file = {:?}\n",
            self.0.join("store"),
            self.0.join("key"),
        );
        fs::write(&config, text).expect("a configuration");
        let mut command = Command::new(env!("CARGO_BIN_EXE_migcore"));
        command.arg("serve").arg("--config").arg(&config);
        let began = Instant::now();
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut process = Process(process.expect("a process"));
        while !is_ready(admin) {
            assert!(process.0.try_wait().expect("a child").is_none(), "it has ended");
            thread::sleep(Duration::from_millis(10));
        }
        let time = began.elapsed();
        thread::sleep(Duration::from_secs(2));
        let status = fs::read_to_string(format!("/proc/{}/status", process.0.id())).expect("Linux");
        Started { time, memory: octets_of("VmRSS:", &status), most: octets_of("VmHWM:", &status) }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// An address that nobody listens at now.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port")
}

fn is_ready(admin: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(admin)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"GET /health/ready HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

fn octets_of(name: &str, status: &str) -> i64 {
    let line = status.lines().find(|line| line.starts_with(name)).expect("the line");
    let kilo: i64 = line.split_whitespace().nth(1).and_then(|it| it.parse().ok()).expect("kB");
    kilo * 1_024
}

fn octets_below(directory: &Path) -> u64 {
    let entries =
        fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry"));
    let octets = |path: PathBuf| {
        if path.is_dir() {
            octets_below(&path)
        } else {
            fs::metadata(path).map_or(0, |it| it.len())
        }
    };
    entries.map(|entry| octets(entry.path())).sum()
}
