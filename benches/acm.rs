//! An ACM server on which many requests of a partner wait for a person: from the start of the process until it is
//! ready, an administrator's log-on, and lists.
//!
//! ```text
//! cargo bench --bench acm [-- COUNT]     (100,000 unless told)
//! ```
//!
//! A store is filled with COUNT undecided offers of an interconnection group, taken by the role; then `migcore serve`
//! is started on it three times and asked over HTTP. The limits to hold it against: ready within 10 s, a page of 1,000
//! items in less than 1 s.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark"
)]

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use migcore::{
    acm::{AcmServer, Config, Partner, Policies},
    api::{
        acm_interconnection::{Answer, Envelope, Request, Submission, TransactionId},
        acm_management::{self, User},
        acm_payload::{ContentDigest, Kind, Parties, Payload},
    },
    identity::{McServiceGroupId, McServiceId, McSystemId},
    node::{
        SystemEntropy,
        storage::{EmbeddedEngine, Key, Keys},
    },
    outbox::{AcmMessage, Context, Effect, Message, Outbox, ReplyTo},
    store::{Commit, Engine, Sequencer},
    time::Timestamp,
    token::BearerToken,
};
use serde_json::Value;

const COUNT: u64 = 100_000;

/// How often the system is started.
const STARTS: usize = 3;

/// Commits that are written at a time.
const BATCH: usize = 2_000;

/// How long a start may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(120);

const TOKEN: &str = "the-token-of-the-administrator-of-b";
const PARTNER_TOKEN: &str = "the-token-of-the-acm-server-of-a";
const USER: &str = "sip:bert@b.example";

fn main() {
    let count = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(COUNT);
    let name = format!("acm-{}", std::process::id());
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    let key = Key::draw(&mut SystemEntropy::new());
    let began = Instant::now();
    fill(&directory.join("store"), Keys::new(&key), count);
    println!("{count} undecided requests, taken and stored in {:.1?}", began.elapsed());
    let line = key.to_line();
    for _ in 0..STARTS {
        let server = Server::start(&directory, &line);
        let began = Instant::now();
        let session = server.ask("POST", "/acm/v1/sessions");
        let logged_on = began.elapsed();
        assert!(session.is_object(), "{session}");
        let (mut listed, mut longest, mut after) = (0, Duration::ZERO, None);
        loop {
            let after_it = after.map_or(String::new(), |after: u64| format!("&after={after}"));
            let began = Instant::now();
            let page = server.ask("GET", &format!("/acm/v1/items?limit=1000{after_it}"));
            longest = longest.max(began.elapsed());
            listed += page["items"].as_array().expect("items").len() as u64;
            after = page["next"].as_u64();
            if after.is_none() {
                break;
            }
        }
        assert_eq!(listed, count);
        println!(
            "ready after {:.2} s; log-on {:.1} ms; the slowest of {} pages {:.1} ms",
            server.ready_after.as_secs_f64(),
            1_000.0 * logged_on.as_secs_f64(),
            count.div_ceil(1_000),
            1_000.0 * longest.as_secs_f64(),
        );
    }
    fs::remove_dir_all(&directory).unwrap();
}

/// Fills a store with what the role stores of so many requests.
fn fill(directory: &Path, keys: Keys, count: u64) {
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
    for number in 0..count {
        let mut ctx = Context { now, entropy: &mut entropy, out: &mut out };
        let request = Request::Submit(Box::new(offer(&mut ctx, number + 1)));
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
        if commits.len() >= BATCH || number + 1 == count {
            engine.commit(&commits).expect("durable");
            commits.clear();
        }
    }
}

fn offer(ctx: &mut Context<'_>, revision: u64) -> Submission {
    let group = McServiceGroupId::parse("sip:group@a.example").unwrap();
    let payload = Payload::Groups(vec![group]);
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

/// A running system.
struct Server {
    child: Child,
    clients: SocketAddr,
    ready_after: Duration,
}

impl Server {
    fn start(directory: &Path, key: &str) -> Self {
        let address = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (admin, clients) = (address(), address());
        let config = directory.join("serve.toml");
        let toml = format!(
            "workers = 2\nroles = [\"sip_database\", \"config_server\", \"acm\"]\n\
             [system]\ndomain = \"b.example\"\n[sip]\nlisten = [\"127.0.0.1:0\"]\n\
             [admin]\nlisten = \"{admin}\"\n\
             [management]\nlisten = \"127.0.0.1:0\"\n\
             [config_server]\nlisten = \"127.0.0.1:0\"\nlisten_partners = \"127.0.0.1:0\"\n\
             [acm]\nclient_listen = \"{clients}\"\npartner_listen = \"127.0.0.1:0\"\n\
             [[acm.partners]]\nid = \"sip:a.example\"\nurl = \"http://127.0.0.1:9\"\n\
             send_token = \"the-token-of-the-acm-server-of-b\"\naccept_token = \"{PARTNER_TOKEN}\"\n\
             domains = [\"a.example\"]\n[storage]\ndirectory = \"{}\"\n",
            directory.join("store").display()
        );
        fs::write(&config, toml).unwrap();
        let mut permissions = fs::metadata(&config).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
        fs::set_permissions(&config, permissions).unwrap();
        let began = Instant::now();
        let child = Command::new(env!("CARGO_BIN_EXE_migcore"))
            .args(["serve", "--config"])
            .arg(&config)
            .env("MIGCORE_STORAGE_KEY", key)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut server = Self { child, clients, ready_after: Duration::ZERO };
        while !is_ready(admin) {
            assert!(began.elapsed() < PATIENCE, "not ready in time");
            assert_eq!(server.child.try_wait().unwrap(), None, "it ended by itself");
            std::thread::sleep(Duration::from_millis(5));
        }
        server.ready_after = began.elapsed();
        server
    }

    /// Asks as the administrator.
    fn ask(&self, method: &str, path: &str) -> Value {
        let headers = format!("Authorization: Bearer {TOKEN}\r\nMC-Service-ID: {USER}\r\n");
        let answer = exchange(self.clients, method, path, &headers).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 20"), "{answer}");
        serde_json::from_str(body).expect("JSON")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_ready(admin: SocketAddr) -> bool {
    exchange(admin, "GET", "/health/ready", "").is_ok_and(|it| it.starts_with("HTTP/1.1 200 "))
}

fn exchange(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    let fixed = "Host: localhost\r\nContent-Length: 0\r\nConnection: close\r\n";
    stream.write_all(format!("{method} {path} HTTP/1.1\r\n{fixed}{headers}\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
