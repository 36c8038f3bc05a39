//! The HTTP servers under clients that are wrong, slow or gone: raw octets over TCP.
//!
//! What is no HTTP gets a bare 400 or 431 of the HTTP library; all else gets problem details (RFC 9457).
#![cfg(feature = "node")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a test speaks to the sockets"
)]

mod node_world;

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use migcore::{identity::Plmn, node::RunningSystem, ue_configuration::InitialUeConfiguration};
use node_world::{metric, peer, start};
use serde_json::{Value, json};

const KEY: &str = "465b5ce8b199b49faa5f0a2ee238a6bc";
const USER_TOKEN: &str = "dXNlci10b2tlbi1vZi1hbGljZQ";
const PEER_TOKEN: &str = "cGVlci10b2tlbi1vZi1zeXN0ZW0tYg";

/// A system with one partner, and with what it needs to let users out and in.
struct Bench {
    system: RunningSystem,
    management: SocketAddr,
    csc4: SocketAddr,
    csc17: SocketAddr,
}

impl Bench {
    fn start() -> Self {
        let partner = format!(
            "[config_server]\nstatic_tokens = true\nlisten = \"127.0.0.1:0\"\nlisten_partners = \"127.0.0.1:0\"\naccess_timeout = \"1s\"\n\
             [[config_server.partners]]\nid = \"sip:b.example\"\nsip_database = \"sipdb.b.example\"\n\
             url = \"http://127.0.0.1:9\"\nsend_token = \"{PEER_TOKEN}\"\naccept_token = \"{PEER_TOKEN}\"\n\
             areas = [{{ plmn = \"00101\" }}]\n{}",
            peer("sipdb.b.example", "database", None),
        );
        let system = start("a.example", &partner);
        let bound = system.bound().clone();
        let bench = Self {
            system,
            management: bound.management.unwrap(),
            csc4: bound.csc4.unwrap(),
            csc17: bound.csc17.unwrap(),
        };
        for (name, direction) in [("in", "inbound"), ("out", "outbound")] {
            let pool = pool(direction, name);
            let path = format!("/v1/pools/{name}");
            bench.must(&Asked::new("PUT", &path, Some(pool)), 204);
        }
        bench
    }

    fn must(&self, asked: &Asked, status: u16) -> Value {
        let reply = Client::to(self.management).ask(&asked.octets());
        assert_eq!(reply.status, status, "{} {}: {}", asked.method, asked.path, reply.text());
        serde_json::from_slice(&reply.body).unwrap_or_default()
    }

    /// Requests with a body that are right, each with where it goes.
    fn right(&self) -> Vec<(SocketAddr, Asked)> {
        let document =
            InitialUeConfiguration::for_domain("a.example", Plmn::parse("00101").unwrap()).unwrap();
        let alice = json!({ "impi": "alice@a.example", "impu": "sip:alice@a.example" });
        let put = |path: &str, body| (self.management, Asked::new("PUT", path, Some(body)));
        let post = |path: &str, body| (self.management, Asked::new("POST", path, Some(body)));
        vec![
            put(
                "/v1/subscribers/alice@a.example",
                json!({ "impus": ["sip:alice@a.example"], "k": KEY, "op": KEY }),
            ),
            put("/v1/pools/other", pool("inbound", "other")),
            post(
                "/v1/bindings/outbound",
                json!({ "impi": "alice@a.example", "impu": "sip:alice@a.example", "partner": "sipdb.b.example" }),
            ),
            post("/v1/bindings/inbound", foreign_user()),
            put("/v1/mappings", {
                let mut body = foreign_user();
                body["inbound"] = alice.clone();
                body
            }),
            put(
                "/v1/grants/alice@a.example/sipdb.b.example",
                json!({ "impu": "sip:alice@a.example", "valid_for_seconds": 60 }),
            ),
            put(
                "/v1/users/sip%3Aalice@a.example",
                json!({ "impi": "alice@a.example", "impu": "sip:alice@a.example", "token": USER_TOKEN }),
            ),
            put(
                "/v1/agreements/sip%3Ab.example/outbound/everybody",
                json!({ "valid_until": "2100-01-01T00:00:00Z", "hide_identities": true }),
            ),
            put(
                "/v1/system-configurations/sip%3Aa.example",
                json!({
                    "revision": 1,
                    "sip_core": [{ "transport": "udp", "address": "192.0.2.1:5060" }],
                    "document": document.render(),
                }),
            ),
            (
                self.csc4,
                Asked::new(
                    "POST",
                    "/csc-4/v1/connection-details",
                    Some(json!({
                        "mc_service_id": "sip:alice@a.example", "location": { "plmn": "00101" },
                        "partner": "sip:b.example", "strict": true,
                    })),
                )
                .with_token(USER_TOKEN),
            ),
            (
                self.csc17,
                Asked::new(
                    "POST",
                    "/csc-17/v1/system-access",
                    Some(json!({
                        "primary": "sip:b.example", "mc_service_id": "sip:bob@b.example",
                        "user": {
                            "database": "sipdb.b.example", "server_name": "sip:migration.b.example",
                            "identity": { "impi": "out-1@b.example", "impu": "sip:out-1@b.example" },
                        },
                    })),
                )
                .with_token(PEER_TOKEN),
            ),
        ]
    }

    /// Nothing was lent, nobody waits, and every connection has been closed.
    fn assert_nothing_left(&self) {
        for pool in ["in", "out"] {
            let full = self.must(&Asked::new("GET", &format!("/v1/pools/{pool}"), None), 200);
            assert_eq!((&full["lent"], &full["total"]), (&json!(0), &json!(0)), "{pool}");
        }
        self.assert_all_closed();
    }

    fn assert_all_closed(&self) {
        let open = || -> f64 {
            ["management", "csc-4", "csc-17"]
                .map(|name| {
                    let gauge = format!("migcore_http_connections{{listener=\"{name}\"}}");
                    metric(&self.system, &gauge)
                })
                .iter()
                .sum()
        };
        let left = || open() + metric(&self.system, "migcore_requests_waiting");
        for _ in 0..3_000 {
            if left() == 0.0 {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("{} connections or requests are left", left());
    }
}

fn pool(direction: &str, prefix: &str) -> Value {
    json!({
        "direction": direction,
        "generated": {
            "impi_template": format!("{prefix}-{{id}}@a.example"),
            "impu_template": format!("sip:{prefix}-{{id}}@a.example"),
        },
    })
}

fn foreign_user() -> Value {
    json!({
        "database": "sipdb.b.example", "impi": "out-1@b.example", "impu": "sip:out-1@b.example",
        "server_name": "sip:migration.b.example",
    })
}

/// A request before it is octets.
#[derive(Clone)]
struct Asked {
    method: &'static str,
    path: String,
    kind: Option<&'static str>,
    token: Option<&'static str>,
    body: Option<Vec<u8>>,
    /// What Content-Length says, if not the truth.
    declared: Option<usize>,
}

impl Asked {
    fn new(method: &'static str, path: &str, body: Option<Value>) -> Self {
        let body = body.map(|body| body.to_string().into_bytes());
        let kind = body.as_ref().map(|_| "application/json");
        Self { method, path: path.to_owned(), kind, token: None, body, declared: None }
    }

    fn with_token(self, token: &'static str) -> Self {
        Self { token: Some(token), ..self }
    }

    fn with_body(&self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: Some(body.into()), ..self.clone() }
    }

    fn octets(&self) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\nHost: x\r\n", self.method, self.path);
        if let Some(kind) = self.kind {
            text += &format!("Content-Type: {kind}\r\n");
        }
        if let Some(token) = self.token {
            text += &format!("Authorization: Bearer {token}\r\n");
        }
        let length = self.declared.or(self.body.as_ref().map(Vec::len));
        if let Some(length) = length {
            text += &format!("Content-Length: {length}\r\n");
        }
        let mut octets = (text + "\r\n").into_bytes();
        octets.extend(self.body.iter().flatten());
        octets
    }
}

/// One connection.
struct Client(TcpStream);

#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The problem details, complete and without anything secret.
    fn problem(&self) -> Value {
        assert!(self.head.contains("content-type: application/problem+json\r\n"), "{}", self.head);
        let problem: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem["status"], json!(self.status));
        let kind = problem["type"].as_str().unwrap();
        assert!(kind.starts_with("urn:migcore:problem:"), "{kind}");
        for member in ["title", "detail", "fix"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
        }
        for secret in [&KEY[..8], USER_TOKEN, PEER_TOKEN, "alice@", "sip:out-1@"] {
            let shown = [&problem["detail"], &problem["field"]].map(ToString::to_string).concat();
            assert!(!shown.contains(secret), "{problem}");
        }
        problem
    }
}

impl Client {
    fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self(stream)
    }

    fn ask(&mut self, octets: &[u8]) -> Reply {
        self.0.write_all(octets).unwrap();
        self.reply().expect("an answer")
    }

    /// The next reply; `None` at the end of the connection.
    fn reply(&mut self) -> Option<Reply> {
        let mut head = Vec::new();
        let mut octet = [0];
        while !head.ends_with(b"\r\n\r\n") {
            // A reset is an end too.
            if self.0.read(&mut octet).ok()? == 0 {
                return None;
            }
            head.push(octet[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let status = head[9..12].parse().unwrap();
        if status == 100 {
            return self.reply();
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        self.0.read_exact(&mut body).ok()?;
        Some(Reply { status, head, body })
    }
}

#[test]
fn a_wrong_body_is_told_precisely_and_allocates_nothing() {
    let bench = Bench::start();
    for (address, right) in bench.right() {
        let body = right.body.clone().unwrap();
        let cut = &body[..body.len() / 2];
        let untyped = |kind| Asked { kind, ..right.clone() };
        for (wrong, status, kind, detail) in [
            (right.with_body("{"), 400, "invalid-request", "line 1 column 1"),
            (right.with_body(cut), 400, "invalid-request", "the body is not JSON"),
            (right.with_body(""), 400, "invalid-request", "line 1 column 0"),
            (right.with_body([&body[..], b"x"].concat()), 400, "invalid-request", "trailing"),
            (right.with_body("7"), 422, "invalid-request", "expected"),
            (right.with_body("{\"wrong\": 1}"), 422, "invalid-request", "wrong is no known field"),
            (right.with_body("{\"\u{e9}\": 1}"), 422, "invalid-request", "has an unknown field"),
            (right.with_body(vec![0xff; 100]), 400, "invalid-request", "the body is not JSON"),
            (untyped(None), 415, "not-json", "not declared as application/json"),
            (untyped(Some("text/plain")), 415, "not-json", "not declared as application/json"),
            (untyped(Some("application/x-www-form-urlencoded")), 415, "not-json", "not declared"),
        ] {
            let reply = Client::to(address).ask(&wrong.octets());
            let problem = reply.problem();
            let what = format!("{} {}: {problem}", wrong.method, wrong.path);
            assert_eq!(reply.status, status, "{what}");
            assert_eq!(problem["type"], json!(format!("urn:migcore:problem:{kind}")), "{what}");
            assert!(problem["detail"].as_str().unwrap().contains(detail), "{what}");
        }
        let nested = Client::to(address).ask(&right.with_body("[".repeat(10_000)).octets());
        assert!(matches!(nested.status, 400 | 422), "{}", nested.problem());
        // Too long: by its own word before a single octet of it, and in pieces.
        let declared = Asked { declared: Some(5 << 20), body: None, ..right.clone() };
        let reply = Client::to(address).ask(&declared.octets());
        assert_eq!(
            (reply.status, &reply.problem()["type"]),
            (413, &json!("urn:migcore:problem:too-long"))
        );
        assert!(reply.head.contains("connection: close\r\n"), "{}", reply.head);
        let reply = in_pieces(address, &right);
        assert_eq!(reply.problem()["status"], json!(413), "{}", right.path);
        assert!(reply.head.contains("connection: close\r\n"), "{}", reply.head);
        // Cut off by a client that sends no more.
        let mut client = Client::to(address);
        let half = Asked { declared: Some(body.len()), ..right.with_body(cut) };
        client.0.write_all(&half.octets()).unwrap();
        client.0.shutdown(Shutdown::Write).unwrap();
        let reply = client.reply().expect("an answer");
        assert_eq!(
            (reply.status, &reply.problem()["status"]),
            (400, &json!(400)),
            "{}",
            right.path
        );
    }
    bench.assert_nothing_left();
}

/// Sends a chunked body that never ends until there is an answer.
fn in_pieces(address: SocketAddr, right: &Asked) -> Reply {
    let mut client = Client::to(address);
    let head = Asked { body: None, ..right.clone() }.octets();
    let head = String::from_utf8(head)
        .unwrap()
        .replace("Host: x", "Host: x\r\nTransfer-Encoding: chunked");
    client.0.write_all(head.as_bytes()).unwrap();
    let chunk = [&b"10000\r\n"[..], &[b' '; 65_536], b"\r\n"].concat();
    let mut sending = client.0.try_clone().unwrap();
    let sender = thread::spawn(move || while sending.write_all(&chunk).is_ok() {});
    let reply = client.reply().expect("an answer");
    client.0.shutdown(Shutdown::Both).unwrap();
    sender.join().unwrap();
    reply
}

#[test]
fn a_wrong_method_path_or_query_is_told_precisely() {
    let bench = Bench::start();
    for (address, right) in bench.right() {
        let mut client = Client::to(address);
        let reply = client.ask(&Asked { method: "PATCH", ..right.clone() }.octets());
        assert_eq!(reply.status, 405);
        assert_eq!(reply.problem()["type"], json!("urn:migcore:problem:method-not-allowed"));
        let allowed = reply.head.lines().find_map(|line| line.strip_prefix("allow: ")).unwrap();
        assert!(allowed.contains(right.method), "{allowed}");
        let options = Client::to(address).ask(&Asked::new("OPTIONS", &right.path, None).octets());
        assert_eq!(options.status, 204, "{}", options.head);
        assert!(options.head.contains(&format!("allow: {allowed}\r\n")), "{}", options.head);
        let path = format!("/nowhere{}", right.path);
        let reply = Client::to(address).ask(&Asked { path, ..right.clone() }.octets());
        assert_eq!(reply.problem()["type"], json!("urn:migcore:problem:unknown-path"));
    }
    for (method, path, status) in [
        ("GET", "/v1/subscribers/%FF", 400),
        ("GET", "/v1/subscribers/alice", 422),
        ("GET", "/v1/pools/nowhere", 404),
        ("GET", "/v1/users/alice", 422),
        ("GET", "/v1/users/sip%3Anobody@a.example", 404),
        ("GET", "/v1/agreements/b.example/outbound/everybody", 422),
        ("GET", "/v1/agreements/sip%3Ab.example/upward/everybody", 422),
        ("GET", "/v1/agreements/sip%3Ab.example/outbound/nobody", 422),
        ("GET", "/v1/agreements/sip%3Ab.example/outbound/everybody", 404),
        ("GET", "/v1/system-configurations/sip%3Aa.example?secrets=yes", 400),
        ("GET", "/v1/system-configurations/sip%3Aa.example?secret=true", 400),
        ("DELETE", "/v1/bindings/outbound/alice", 422),
    ] {
        let reply = Client::to(bench.management).ask(&Asked::new(method, path, None).octets());
        assert_eq!((reply.status, &reply.problem()["status"]), (status, &json!(status)), "{path}");
    }
    for (address, right) in bench.right().into_iter().filter(|(_, right)| right.token.is_some()) {
        for token in [None, Some("another-token-than-the-right-one"), Some("short")] {
            let reply = Client::to(address).ask(&Asked { token, ..right.clone() }.octets());
            assert_eq!(reply.status, 401, "{}: {}", right.path, reply.text());
            assert_eq!(reply.problem()["type"], json!("urn:migcore:problem:not-authenticated"));
            assert!(reply.head.contains("www-authenticate: Bearer"), "{}", reply.head);
        }
    }
    let head = Asked::new("HEAD", "/v1/system", None).octets();
    let mut client = Client::to(bench.management);
    client.0.write_all(&head).unwrap();
    client.0.shutdown(Shutdown::Write).unwrap();
    let mut all = String::new();
    client.0.read_to_string(&mut all).unwrap();
    assert!(all.starts_with("HTTP/1.1 200 ") && all.ends_with("\r\n\r\n"), "{all}");
    bench.assert_nothing_left();
}

#[test]
fn a_request_that_is_only_checked_changes_nothing() {
    let bench = Bench::start();
    let checkable =
        ["/v1/subscribers/", "/v1/pools/", "/v1/users/", "/v1/agreements/", "/v1/system-"];
    let mut checked = 0;
    for (address, right) in bench.right() {
        if !checkable.iter().any(|start| right.path.starts_with(start)) {
            continue;
        }
        let path = format!("{}?check=true", right.path);
        let reply = Client::to(address).ask(&Asked { path, ..right.clone() }.octets());
        assert_eq!(reply.status, 204, "{}: {}", right.path, reply.text());
        bench.must(&Asked::new("GET", &right.path, None), 404);
        bench.must(&right, 204);
        bench.must(&Asked::new("GET", &right.path, None), 200);
        checked += 1;
    }
    assert_eq!(checked, checkable.len());
    let shown = "/v1/system-configurations/sip%3Aa.example";
    assert!(bench.must(&Asked::new("GET", shown, None), 200).get("document").is_none());
    let shown = format!("{shown}?secrets=true");
    assert!(bench.must(&Asked::new("GET", &shown, None), 200)["document"].is_string());
    let user = bench.must(&Asked::new("GET", "/v1/users/sip%3Aalice@a.example", None), 200);
    assert!(user.get("token").is_none() && user["may_migrate"] == json!(true), "{user}");
    let agreement = "/v1/agreements/sip%3Ab.example/outbound/everybody";
    let agreement = bench.must(&Asked::new("GET", agreement, None), 200);
    assert_eq!(agreement["valid_until"], json!(4_102_444_800_u64));
    bench.assert_nothing_left();
}

#[test]
fn what_is_no_http_or_too_large_a_head_ends_the_connection() {
    let bench = Bench::start();
    let fields: String = (0..100).map(|n| format!("X-{n}: y\r\n")).collect();
    for address in [bench.management, bench.csc4, bench.csc17] {
        for (octets, status) in [
            ("\x16\x03\x01\x02\r\n\r\n".to_owned(), 400),
            ("GET / HTTP/9.9\r\n\r\n".to_owned(), 400),
            ("GET /\u{0} HTTP/1.1\r\n\r\n".to_owned(), 400),
            ("PUT / HTTP/1.1\r\nContent-Length: x\r\n\r\n".to_owned(), 400),
            (format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(70_000)), 431),
            (format!("GET / HTTP/1.1\r\n{fields}\r\n"), 431),
        ] {
            let mut client = Client::to(address);
            let reply = client.ask(octets.as_bytes());
            assert_eq!(
                reply.status,
                status,
                "{:?}: {}",
                &octets[..20.min(octets.len())],
                reply.head
            );
            assert!(client.reply().is_none(), "the connection ends");
        }
    }
    bench.assert_nothing_left();
}

/// The server's own limit is 10 s for a head and for a body; only the order of events is looked at here,
/// so that a slow machine makes the test slow, not wrong.
#[test]
fn a_slow_client_is_given_up_and_keeps_nobody_else_waiting() {
    let bench = Bench::start();
    let right = bench.right();
    thread::scope(|scope| {
        for (address, right) in &right {
            scope.spawn(move || {
                let octets = right.octets();
                let head = octets.len() - right.body.as_ref().unwrap().len();
                let (mut silent, mut dripping) = (Client::to(*address), Client::to(*address));
                let mut slow_body = Client::to(*address);
                slow_body.0.write_all(&octets[..head]).unwrap();
                let mut writing =
                    (dripping.0.try_clone().unwrap(), slow_body.0.try_clone().unwrap());
                let drip = scope.spawn(move || {
                    for octet in octets.chunks(1).take(head - 1).chain([&b"{"[..]; 60]) {
                        // It is cut off at some time.
                        let slow = writing.0.write_all(octet).and(writing.1.write_all(b" "));
                        if slow.is_err() {
                            return;
                        }
                        thread::sleep(Duration::from_millis(500));
                    }
                });
                let reply = slow_body.reply().expect("an answer");
                assert_eq!(reply.problem()["type"], json!("urn:migcore:problem:request-timeout"));
                assert_eq!(reply.status, 408);
                assert!(dripping.reply().is_none() && silent.reply().is_none());
                for client in [dripping, silent, slow_body] {
                    // The server may have reset it already.
                    let _ = client.0.shutdown(Shutdown::Both);
                }
                drip.join().unwrap();
            });
        }
        let mut other = Client::to(bench.management);
        for _ in 0..100 {
            assert_eq!(other.ask(&Asked::new("GET", "/v1/system", None).octets()).status, 200);
        }
    });
    let given_up = metric(&bench.system, "migcore_dropped_total{reason=\"http_slow_request\"}");
    assert!(given_up >= 2.0 * right.len() as f64, "{given_up}");
    bench.assert_nothing_left();
}

#[test]
fn mutated_requests_are_answered_and_nothing_panics() {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // Of the system under test, not of this test.
        if panic.location().is_some_and(|place| !place.file().contains("tests/")) {
            PANICS.fetch_add(1, Ordering::Relaxed);
        }
        hook(panic);
    }));
    let bench = Bench::start();
    let right = bench.right();
    let all = std::env::var("MIGCORE_FULL").is_ok_and(|full| full == "1");
    let (count, seed) = (if all { 100_000 } else { 20_000 }, 0x6d69_6763_6f72_6531);
    println!("{count} mutations from seed {seed:#x}");
    let mut random = Random(seed);
    let mut kept: Vec<Client> = right.iter().map(|(address, _)| Client::to(*address)).collect();
    let mut statuses = std::collections::BTreeMap::new();
    for number in 0..count {
        let which = random.below(right.len());
        let (address, asked) = &right[which];
        // One in four is damaged anywhere, framing included, on a connection of its own.
        let replies = if random.below(4) == 0 {
            let mut octets = asked.octets();
            random.mutate(&mut octets);
            let mut client = Client::to(*address);
            // The server may have ended it already.
            let _ = client.0.write_all(&octets).and(client.0.shutdown(Shutdown::Write));
            std::iter::from_fn(|| client.reply()).collect()
        } else {
            let mut body = asked.body.clone().unwrap();
            random.mutate(&mut body);
            let octets = asked.with_body(body).octets();
            vec![kept[which].ask(&octets)]
        };
        for reply in replies {
            let documented = reply.status < 500 || matches!(reply.status, 503 | 504);
            assert!(documented, "mutation {number}: {} {}", reply.head, reply.text());
            let bare = matches!(reply.status, 400 | 431) && reply.body.is_empty();
            if reply.status >= 400 && !bare && asked.method != "HEAD" {
                let problem: Value = serde_json::from_slice(&reply.body).unwrap();
                assert_eq!(problem["status"], json!(reply.status), "mutation {number}");
            }
            *statuses.entry(reply.status).or_insert(0) += 1;
        }
    }
    println!("{statuses:?}");
    assert!(statuses[&400] > count / 20 && statuses[&422] > count / 20, "{statuses:?}");
    assert_eq!(PANICS.load(Ordering::Relaxed), 0, "panics");
    drop(kept);
    bench.assert_all_closed();
}

/// A small generator (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    /// One to four changes: an octet changed, left out or put in, a part repeated, left out or cut off.
    fn mutate(&mut self, octets: &mut Vec<u8>) {
        const PIECES: [&[u8]; 14] = [
            b"\"",
            b"{",
            b"}",
            b"[",
            b"null",
            b"-1",
            b"1e999",
            b"18446744073709551616",
            b"\\u0000",
            b"\r\n\r\n",
            b"%00",
            b"\xff\xfe",
            b"sip:",
            b",",
        ];
        for _ in 0..=self.below(4) {
            let at = self.below(octets.len().max(1));
            let end = octets.len().min(at + 1 + self.below(40));
            match self.below(7) {
                0 if at < octets.len() => octets[at] ^= 1 << self.below(8),
                1 if at < octets.len() => octets[at] = u8::try_from(self.below(256)).unwrap(),
                2 if at < octets.len() => drop(octets.remove(at)),
                3 if at < octets.len() => drop(octets.drain(at..end)),
                4 if at < octets.len() => {
                    let part = octets[at..end].to_vec();
                    octets.splice(at..at, part);
                }
                5 => octets.truncate(at),
                _ => drop(octets.splice(
                    at.min(octets.len())..at.min(octets.len()),
                    PIECES[self.below(14)].iter().copied(),
                )),
            }
        }
    }
}
