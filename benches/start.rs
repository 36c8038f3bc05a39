//! From the start of a process to a system that is ready, and what it takes of memory and disk.
//!
//! ```text
//! cargo bench --bench start [-- COUNT]     (1,000,000 unless told)
//! ```
//!
//! A store is filled with COUNT inbound bindings, made by the SIP database, and a registration of each; then
//! `migcore serve` is started on it, and started again. Time goes from the start of the process until
//! `/health/ready` says so.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::pedantic,
    clippy::restriction,
    missing_docs,
    unreachable_pub,
    reason = "a benchmark"
)]

mod rig;

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use migcore::{
    api::migration_identity as management,
    identity::{Impi, Impu, SipDatabaseId, UserIdentity},
    node::{
        SystemEntropy,
        storage::{EmbeddedEngine, Key, Keys},
    },
    outbox::{Context, Effect, Message, Outbox, ReplyTo},
    sip_core::{ContactBinding, Registration},
    sip_database::{Config, SipDatabase},
    store::{Commit, CommitSeq, Engine, Mutation, RecordKind, Sequencer},
    time::Timestamp,
};
use rig::{Directory, Server, free_address};

const COUNT: u64 = 1_000_000;

/// How often the system is started.
const STARTS: usize = 3;

/// Commits that are written at a time.
const BATCH: usize = 2_000;

/// The longest registration, so that none ends while the bench runs.
const EXPIRES: Duration = Duration::from_secs(600_000);

fn main() {
    let count = rig::count(COUNT);
    let Directory(directory) = &Directory::new("start");
    let key = Key::draw(&mut SystemEntropy::new());
    let began = Instant::now();
    fill(&directory.join("store"), Keys::new(&key), count);
    println!("{count} bindings and registrations, filled in {:.1?}", began.elapsed());
    let disk = octets_in(&directory.join("store"));
    println!("on disk: {} octets, {:.0} for each pair", disk, disk as f64 / count as f64);
    let line = key.to_line();
    let empty = resident_of(start(directory, "nothing", &line).process());
    for _ in 0..STARTS {
        let server = start(directory, "store", &line);
        let resident = resident_of(server.process());
        let grown = resident.saturating_sub(empty);
        println!(
            "ready after {:.2} s, {} MiB resident, {:.0} octets for each pair",
            server.ready_after.as_secs_f64(),
            resident >> 20,
            grown as f64 / count as f64,
        );
    }
}

/// Fills a store with what the roles would have stored.
fn fill(directory: &Path, keys: Keys, count: u64) {
    let mut engine = EmbeddedEngine::open(directory, keys).expect("a store");
    engine.replay(&|_| Ok(())).expect("an empty one");
    let mut entropy = SystemEntropy::new();
    let id = SipDatabaseId::parse("sipdb.b.example").unwrap();
    let database = SipDatabase::new(Config::new(id, "b.example"), &mut entropy);
    let mut out = Outbox::new(Arc::new(Sequencer::default()));
    let now = Timestamp::default() + std::time::UNIX_EPOCH.elapsed().unwrap();
    let mut commits: Vec<Commit> = Vec::new();
    let mut ask = |request, commits: &mut Vec<Commit>| {
        let mut ctx = Context { now, entropy: &mut entropy, out: &mut out };
        database.handle_management(&mut ctx, ReplyTo::World(0), request);
        let mut answered = None;
        // A registration is stored under a number of its own.
        let commit = |mutations| Commit { seq: CommitSeq::NOTHING, mutations };
        for effect in out.drain() {
            match effect {
                Effect::Commit(Commit { mutations, .. }) => commits.push(commit(mutations)),
                Effect::Send(send) => answered = Some(send.message),
                _ => {}
            }
        }
        answered
    };
    let pool = management::Pool {
        name: "visitors".to_owned(),
        direction: management::Direction::Inbound,
        source: management::PoolSource::Generated {
            impi_template: "mig-{id}@b.example".to_owned(),
            impu_template: "sip:mig-{id}@b.example".to_owned(),
            key: None,
        },
    };
    ask(management::Request::PutPool(pool), &mut commits);
    let mut last = 0;
    for number in 0..count {
        let bind = management::Request::BindInbound { primary: primary(number), allowed: None };
        let Some(Message::Management {
            answer: management::Answer::Binding(management::Binding { identity, .. }),
            ..
        }) = ask(bind, &mut commits)
        else {
            panic!("no binding")
        };
        let registration = registration(&identity, number, now);
        let key = identity.impi.as_str();
        let put = Mutation::put(RecordKind::Registration, key, &registration);
        commits.push(Commit { seq: CommitSeq::NOTHING, mutations: [put].into() });
        if commits.len() >= BATCH || number + 1 == count {
            for commit in &mut commits {
                last += 1;
                commit.seq = CommitSeq::from_u64(last);
            }
            engine.commit(&commits).expect("durable");
            commits.clear();
        }
    }
}

fn primary(number: u64) -> management::PrimaryUser {
    let name = format!("out-{number:016x}@a.example");
    management::PrimaryUser {
        identity: UserIdentity {
            impi: Impi::parse(&name).unwrap(),
            impu: Impu::parse(&format!("sip:{name}")).unwrap(),
        },
        database: SipDatabaseId::parse("sipdb.a.example").unwrap(),
        server_name: "sip:migration.a.example".to_owned(),
    }
}

fn registration(identity: &UserIdentity, number: u64, now: Timestamp) -> Registration {
    let contact = ContactBinding {
        uri: format!("sip:mig@192.0.2.{}:5060", number % 250).into(),
        parameters: ";+g.3gpp.mcptt".into(),
        paths: std::iter::empty().collect(),
        call_id: format!("{number:032x}").into(),
        cseq: 2,
        expires_at: now + EXPIRES,
    };
    Registration { impus: [identity.impu.clone()].into(), contacts: [contact].into() }
}

/// Starts a system on a store.
fn start(directory: &Path, store: &str, key: &str) -> Server {
    let admin = free_address();
    let toml = format!(
        "workers = 2\nroles = [\"sip_core\", \"sip_database\"]\n[system]\ndomain = \"b.example\"\ninsecure = true\n\
         [sip]\nlisten = [\"127.0.0.1:0\"]\n[admin]\nlisten = \"{admin}\"\n\
         [storage]\ndirectory = \"{}\"\n",
        directory.join(store).display()
    );
    Server::start(directory, &toml, admin, key)
}

fn resident_of(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1_024
}

fn octets_in(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let octets = entries.map(|entry| {
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() {
            octets_in(&entry.path())
        } else {
            std::os::unix::fs::MetadataExt::blocks(&metadata) * 512
        }
    });
    octets.sum()
}
