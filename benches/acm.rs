//! An ACM server on which many requests of a partner wait for a person: from the start of the process until it is
//! ready, an administrator's log-on, lists, and one request about 100,000 users that is fetched, accepted, and killed
//! on the way.
//!
//! ```text
//! cargo bench --bench acm [-- COUNT]     (100,000 unless told)
//! ```
//!
//! A store is filled with COUNT undecided offers of an interconnection group and one request to add 100,000 users,
//! taken by the role; then `migcore serve` is started on it several times and asked over HTTP, as a client does. It
//! fails if a system is not ready within 10 s, if a page of 1,000 items takes 1 s, or if a system that is killed while
//! the users are added has some of them.

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
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use migcore::{
    acm::{AcmServer, Config, Partner, Policies},
    api::{
        acm_interconnection::{Answer, Envelope, Request, Submission, TransactionId},
        acm_management::{self, User},
        acm_payload::{ContentDigest, Kind, Parties, Payload, USERS_MAX},
    },
    identity::{McServiceGroupId, McServiceId, McSystemId},
    node::{
        SystemEntropy,
        storage::{EmbeddedEngine, Key, Keys},
    },
    outbox::{AcmMessage, Context, Effect, Message, Outbox, ReplyTo},
    store::{Commit, Engine, RecordKind, Sequencer},
    time::Timestamp,
    token::BearerToken,
};
use rig::{Directory, free_address};
use serde_json::{Value, json};

const COUNT: u64 = 100_000;

/// How often the system is started.
const STARTS: usize = 3;

/// Limits: a start, and a page.
const READY_MAX: Duration = Duration::from_secs(10);
const PAGE_MAX: Duration = Duration::from_secs(1);

/// How long after a decision the system is killed; then it is left alone.
const KILLED_AFTER_MS: [u64; 8] = [0, 5, 20, 50, 100, 200, 500, 1_000];

/// Commits that are written at a time.
const BATCH: usize = 2_000;

const TOKEN: &str = "the-token-of-the-administrator-of-b";
const PARTNER_TOKEN: &str = "the-token-of-the-acm-server-of-a";
const USER: &str = "sip:bert@b.example";

fn main() {
    let count = rig::count(COUNT);
    let Directory(directory) = &Directory::new("acm");
    let key = Key::draw(&mut SystemEntropy::new());
    let began = Instant::now();
    let of_many = fill(&directory.join("store"), Keys::new(&key), count);
    println!(
        "{count} undecided requests, and one about {USERS_MAX} users, stored in {:.1?}",
        began.elapsed()
    );
    let line = key.to_line();
    for _ in 0..STARTS {
        look_around(&Server::start(directory, &line), count, &of_many);
    }
    accept_and_kill(directory, &key, &of_many);
}

/// Logs on, lists everything, and fetches the item about many.
fn look_around(server: &Server, count: u64, of_many: &str) {
    assert!(server.ready_after() < READY_MAX, "ready after {:?}", server.ready_after());
    let (session, logged_on) = timed(|| server.ask("POST", "/acm/v1/sessions", ""));
    assert!(session.1.is_object(), "{session:?}");
    let (mut listed, mut longest, mut after) = (0, Duration::ZERO, None);
    loop {
        let after_it = after.map_or(String::new(), |after: u64| format!("&after={after}"));
        let path = format!("/acm/v1/items?limit=1000{after_it}");
        let ((status, page), took) = timed(|| server.ask("GET", &path, ""));
        assert_eq!(status, 200, "{page}");
        longest = longest.max(took);
        listed += page["items"].as_array().expect("items").len() as u64;
        after = page["next"].as_u64();
        if after.is_none() {
            break;
        }
    }
    assert_eq!(listed, count + 1);
    assert!(longest < PAGE_MAX, "a page took {longest:?}");
    let ((status, item), fetched) = timed(|| server.ask("GET", of_many, ""));
    let users = item["payload"]["add-users"]["users"].as_array().map(Vec::len);
    assert_eq!((status, users), (200, Some(USERS_MAX)), "{status}");
    println!(
        "ready after {:.2} s; log-on {:.1} ms; the slowest of {} pages {:.1} ms; {USERS_MAX} users fetched in {:.0} ms",
        server.ready_after().as_secs_f64(),
        millis(logged_on),
        (count + 1).div_ceil(1_000),
        millis(longest),
        millis(fetched),
    );
}

/// Accepts the request about many, and kills the system soon after; then accepts it in peace.
fn accept_and_kill(directory: &Path, key: &Key, of_many: &str) {
    let line = key.to_line();
    let decision = json!({ "decision": "accept" }).to_string();
    let path = format!("{of_many}/decision");
    for after in KILLED_AFTER_MS {
        let server = Server::start(directory, &line);
        assert!(server.ready_after() < READY_MAX, "ready after {:?}", server.ready_after());
        let clients = server.clients;
        let (path, decision) = (path.clone(), decision.clone());
        let deciding = thread::spawn(move || ask(clients, "POST", &path, &decision));
        thread::sleep(Duration::from_millis(after));
        drop(server);
        let answer = deciding.join().expect("it asks").map(|(status, _)| status);
        let stored = migrants(&directory.join("store"), Keys::new(key));
        assert!(stored == 0 || stored == USERS_MAX, "{stored} of {USERS_MAX} users after a kill");
        println!(
            "killed {after} ms after the decision left: {stored} users are stored, the answer was {answer:?}"
        );
    }
    let server = Server::start(directory, &line);
    let began = Instant::now();
    let result = loop {
        let (status, answer) = server.ask("POST", &path, &decision);
        let result = if status == 200 { &answer["result"] } else { &answer["outcome"]["result"] };
        if let Some(result) = result.as_str() {
            break result.to_owned();
        }
        assert!(status == 200 || status == 409, "{answer}");
        assert!(began.elapsed() < READY_MAX, "{answer}");
        thread::sleep(Duration::from_millis(5));
    };
    let took = began.elapsed();
    drop(server);
    let stored = migrants(&directory.join("store"), Keys::new(key));
    assert_eq!((&*result, stored), ("ok", USERS_MAX));
    println!("{stored} users are stored, {:.0} ms after the last decision left", millis(took));
}

/// How many users added for migration are stored.
fn migrants(directory: &Path, keys: Keys) -> usize {
    let mut engine = EmbeddedEngine::open(directory, keys).expect("a store");
    let found = AtomicUsize::new(0);
    let each = |record: migcore::store::Record<'_>| {
        if record.kind == RecordKind::AcmMigrant {
            found.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    engine.replay(&each).expect("a whole store");
    found.into_inner()
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    (work(), began.elapsed())
}

fn millis(duration: Duration) -> f64 {
    1_000.0 * duration.as_secs_f64()
}

/// Fills a store with what the role stores of so many requests, and of one about many users, whose path it returns.
fn fill(directory: &Path, keys: Keys, count: u64) -> String {
    let mut engine = EmbeddedEngine::open(directory, keys).expect("a store");
    engine.replay(&|_| Ok(())).expect("an empty one");
    let mut entropy = SystemEntropy::new();
    let mut config = Config::new(system("b"), "b.example");
    let partner = BearerToken::parse(PARTNER_TOKEN).unwrap();
    config.partners = vec![Partner {
        id: system("a"),
        accepted_token: partner.digest(),
        interconnected: true,
        domains: vec!["a.example".to_owned()],
        policies: Policies::default(),
        agreements: None,
    }];
    let role = AcmServer::new(config, &mut entropy);
    let mut out = Outbox::new(Arc::new(Sequencer::default()));
    let now = Timestamp::default() + std::time::UNIX_EPOCH.elapsed().unwrap();
    let user = User {
        mc_service_id: user(USER),
        token: BearerToken::parse(TOKEN).unwrap().digest(),
        may_request: Kind::ALL.to_vec(),
        may_decide: Kind::ALL.to_vec(),
    };
    let mut ctx = Context { now, entropy: &mut entropy, out: &mut out };
    role.handle_management(&mut ctx, ReplyTo::World(0), acm_management::Request::PutUser(user));
    let mut commits: Vec<Commit> = Vec::new();
    let mut of_many = String::new();
    for number in 0..=count {
        let mut ctx = Context { now, entropy: &mut entropy, out: &mut out };
        let payload = if number == count { users() } else { groups() };
        let submission = submission(&mut ctx, number + 1, payload);
        of_many = format!("/acm/v1/items/sip%3Aa.example/{}", submission.envelope.transaction);
        let request = Request::Submit(Box::new(submission));
        role.handle_interconnection(&mut ctx, ReplyTo::World(0), Some(&partner), request);
        for effect in out.drain() {
            match effect {
                Effect::Commit(commit) => commits.push(commit),
                Effect::Send(send) => {
                    if let Message::Acm(AcmMessage::Answer { answer, .. }) = send.message {
                        assert!(matches!(answer, Answer::Stored | Answer::Pending), "{answer:?}");
                    }
                }
                Effect::Arm { .. } | Effect::Step { .. } | Effect::Note(_) => {}
            }
        }
        if commits.len() >= BATCH || number == count {
            engine.commit(&commits).expect("durable");
            commits.clear();
        }
    }
    of_many
}

fn groups() -> Payload {
    Payload::Groups(vec![McServiceGroupId::parse("sip:group@a.example").unwrap()])
}

fn users() -> Payload {
    let users = (0..USERS_MAX).map(|number| user(&format!("sip:user-{number:06}@a.example")));
    Payload::AddUsers { users: users.collect(), configuration: None }
}

fn submission(ctx: &mut Context<'_>, revision: u64, payload: Payload) -> Submission {
    let parties = Parties { target_id: Some(user(USER)), ..Parties::default() };
    let originator = user("sip:anna@a.example");
    let digest = ContentDigest::of(&originator, &parties, revision, &payload).digest;
    let envelope = Envelope {
        transaction: TransactionId::draw(ctx.entropy),
        origin: system("a"),
        destination: system("b"),
        originator,
        created: ctx.now,
        expires: ctx.now + Duration::from_secs(14 * 24 * 3_600),
        revision,
        digest,
    };
    Submission { envelope, parties, payload: Arc::new(payload) }
}

fn system(letter: &str) -> McSystemId {
    McSystemId::parse(&format!("sip:{letter}.example")).unwrap()
}

fn user(text: &str) -> McServiceId {
    McServiceId::parse(text).unwrap()
}

/// A running system, and where its ACM clients are served.
struct Server {
    system: rig::Server,
    clients: SocketAddr,
}

impl Server {
    fn start(directory: &Path, key: &str) -> Self {
        let (admin, clients) = (free_address(), free_address());
        let toml = format!(
            "workers = 2\nroles = [\"sip_database\", \"config_server\", \"acm\"]\n\
             [system]\ndomain = \"b.example\"\ninsecure = true\n[sip]\nlisten = [\"127.0.0.1:0\"]\n\
             [diameter]\nlisten = \"127.0.0.1:0\"\n\
             [admin]\nlisten = \"{admin}\"\n\
             [management]\nlisten = \"127.0.0.1:0\"\n\
             [config_server]\nlisten = \"127.0.0.1:0\"\nlisten_partners = \"127.0.0.1:0\"\n\
             [acm]\nclient_listen = \"{clients}\"\npartner_listen = \"127.0.0.1:0\"\n\
             [[acm.partners]]\nid = \"sip:a.example\"\nurl = \"http://127.0.0.1:9\"\n\
             send_token = \"the-token-of-the-acm-server-of-b\"\naccept_token = \"{PARTNER_TOKEN}\"\n\
             domains = [\"a.example\"]\n[storage]\ndirectory = \"{}\"\n",
            directory.join("store").display()
        );
        Self { system: rig::Server::start(directory, &toml, admin, key), clients }
    }

    fn ready_after(&self) -> Duration {
        self.system.ready_after
    }

    /// Asks as the administrator. Returns status and answer.
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        ask(self.clients, method, path, body).expect("an answer")
    }
}

fn ask(clients: SocketAddr, method: &str, path: &str, body: &str) -> Option<(u16, Value)> {
    let headers = format!(
        "Authorization: Bearer {TOKEN}\r\nMC-Service-ID: {USER}\r\nContent-Type: application/json\r\n"
    );
    let answer = rig::exchange(clients, method, path, &headers, body).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).ok()?))
}
