//! Whole systems over real sockets: a migration, and what goes wrong around it.
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
    net::{TcpStream, UdpSocket},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use migcore::{
    diameter::{
        local::{LocalNode, Origin},
        peer::{AllowedPeers, Config, Connection, DownReason, Event, PeerOutput, Timing},
    },
    node::{
        Options, RunningSystem, SystemEntropy,
        demo::{Demo, RunningDemo},
        ladder::{Entry, Protocol},
        metrics::Direction,
    },
    outbox::Transport,
    store::{Commit, CommitSeq, Each, Engine, EngineError, MemoryEngine, Reader, ReplayError},
    time::Timestamp,
    ue::{Failure, State},
};
use node_world::{eventually, flaky::flaky, metric, start, start_with};

fn demo(transport: Transport) -> Demo {
    let settings = vec!["workers=2".to_owned()];
    Demo { transport, base_port: 0, settings, fault: None, data_dir: None }
}

/// How many leases of a direction are in a state.
fn leases(of: &RunningSystem, labels: &str) -> f64 {
    metric(of, &format!("migcore_leases{{{labels}}}"))
}

/// The steps of a ladder in the order in which they were first seen.
fn steps(ladder: &[Entry]) -> Vec<&str> {
    let mut seen = Vec::new();
    for step in ladder.iter().filter_map(|entry| entry.step.as_deref()) {
        if !seen.contains(&step) {
            seen.push(step);
        }
    }
    seen
}

#[tokio::test]
async fn a_ue_registers_in_the_partner_system_with_the_key_of_its_home() {
    for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
        let mut demo = RunningDemo::start(&demo(transport)).await.unwrap();
        demo.migrate().await.unwrap();
        let State::Registered(registered) = demo.register().await.unwrap() else {
            panic!("not registered over {transport:?}")
        };
        assert!(registered.associated_uris[0].contains("@b.example"));

        let ladder = demo.take_ladder();
        let numbers: Vec<String> = (1..=25).map(|number| format!("MIG-{number}")).collect();
        assert_eq!(steps(&ladder), numbers);
        let sip = Protocol::from(transport);
        let scheme = if transport == Transport::Tls { "sips" } else { "sip" };
        let sent: Vec<String> = ladder
            .iter()
            .filter(|entry| entry.protocol == sip && entry.direction == Direction::Out)
            .map(|entry| entry.summary.replacen(&format!("{scheme}:"), "sip:", 1))
            .collect();
        assert_eq!(
            sent,
            [
                "REGISTER sip:b.example, Authorization without response",
                "401 Unauthorized, AKAv1-MD5 challenge",
                "REGISTER sip:b.example, Authorization with response",
                "200 OK",
            ]
        );
        let between: Vec<_> =
            ladder.iter().filter(|entry| entry.protocol == Protocol::Diameter).collect();
        assert!(between.iter().all(|entry| entry.remote.is_some()), "{between:?}");

        let (home, partner) = (demo.stage.home.system(), demo.stage.partner.system());
        let (home, partner) = (home.unwrap(), partner.unwrap());
        assert!((metric(partner, "migcore_registrations") - 1.0).abs() < f64::EPSILON);
        let fetched = "migcore_vectors_fetched_total{peer=\"sipdb.a.example\"}";
        assert!((metric(partner, fetched) - 1.0).abs() < f64::EPSILON);
        let issued = "migcore_vectors_issued_total{peer=\"sipdb.b.example\"}";
        assert!((metric(home, issued) - 1.0).abs() < f64::EPSILON);

        assert!(
            (leases(partner, "direction=\"inbound\",state=\"active\"") - 1.0).abs() < f64::EPSILON
        );
        assert!(
            (leases(home, "direction=\"outbound\",state=\"reserved\"") - 1.0).abs() < f64::EPSILON
        );

        assert!(matches!(demo.register().await.unwrap(), State::Registered(_)), "a refresh");
        assert_eq!(demo.deregister().await.unwrap(), State::Idle);
        let partner = demo.stage.partner.system().unwrap();
        assert!(
            (leases(partner, "direction=\"inbound\",state=\"reserved\"") - 1.0).abs()
                < f64::EPSILON
        );
        assert!(leases(partner, "direction=\"inbound\",state=\"active\"").abs() < f64::EPSILON);
        assert!(
            metric(demo.stage.partner.system().unwrap(), "migcore_registrations").abs()
                < f64::EPSILON
        );
        demo.shutdown().await;
    }
}

#[tokio::test]
async fn a_repeated_register_gets_the_same_octets_and_costs_no_second_vector() {
    let system = start("a.example", "");
    provision_alice(&system).await;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.connect(system.bound().sip[0]).unwrap();
    let request = register("UDP", "z9hG4bK1", 1);
    let mut answers = Vec::new();
    for _ in 0..3 {
        socket.send(request.as_bytes()).unwrap();
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        answers.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
    }
    assert!(answers[0].starts_with("SIP/2.0 401 "), "{}", answers[0]);
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    let issued = metric(&system, "migcore_vectors_issued_total{peer=\"own\"}");
    assert!((issued - 1.0).abs() < f64::EPSILON, "{issued}");
    system.shutdown().await;
}

#[tokio::test]
async fn a_stream_may_bring_keep_alives_and_several_messages_in_any_pieces() {
    let system = start("a.example", "");
    provision_alice(&system).await;
    let mut stream = TcpStream::connect(system.bound().sip[0]).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(b"\r\n\r\n").unwrap();
    let mut pong = [0; 2];
    stream.read_exact(&mut pong).unwrap();
    assert_eq!(&pong, b"\r\n");

    let two = register("TCP", "z9hG4bK1", 1) + &register("TCP", "z9hG4bK2", 2);
    for piece in two.as_bytes().chunks(100) {
        stream.write_all(piece).unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let mut answers = String::new();
    while answers.matches("SIP/2.0 401 ").count() < 2 || !answers.ends_with("\r\n\r\n") {
        let mut buffer = [0; 4096];
        let length = stream.read(&mut buffer).unwrap();
        assert!(length > 0, "closed after {answers}");
        answers += std::str::from_utf8(&buffer[..length]).unwrap();
    }

    stream.write_all(b"REGISTER sip:a.example SIP/2.0\r\nVia: SIP/2.0/TCP x;branch=z9hG4bK3\r\nTo: <sip:a@a.example>\r\nFrom: <sip:a@a.example>;tag=1\r\nCall-ID: 1\r\nCSeq: 1 REGISTER\r\n\r\n").unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.starts_with("SIP/2.0 400 "), "without Content-Length: {rest}");
    system.shutdown().await;
}

#[tokio::test]
async fn connections_beyond_the_maximum_are_closed_and_room_comes_back() {
    let system = start("a.example", "[sip]\nlisten = \"127.0.0.1:0\"\ntcp_connections_max = 2\n");
    let address = system.bound().sip[0];
    let connect = || TcpStream::connect(address).unwrap();
    let is_open = |mut stream: &TcpStream| {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(b"\r\n\r\n").unwrap();
        stream.read(&mut [0; 2]).is_ok_and(|length| length > 0)
    };
    let (first, second) = (connect(), connect());
    assert!(is_open(&first) && is_open(&second));
    assert!(!is_open(&connect()));
    drop(first);
    eventually("one connection left", || metric(&system, "migcore_sip_tcp_connections") < 1.5)
        .await;
    assert!(is_open(&connect()));
    system.shutdown().await;
}

#[tokio::test]
async fn without_the_home_system_the_ue_is_told_to_try_again() {
    let mut demo = RunningDemo::start(&demo(Transport::Udp)).await.unwrap();
    demo.migrate().await.unwrap();
    let started = std::time::Instant::now();
    demo.stage.home.stop().await;
    assert!(started.elapsed() < Duration::from_secs(5), "leave was taken by DPR");
    eventually("the partner noticed", || !demo.stage.partner.system().unwrap().is_connected())
        .await;
    let state = demo.register().await.unwrap();
    let State::Failed(Failure::Unavailable { status, .. }) = state else { panic!("{state:?}") };
    assert!([480, 503, 504].contains(&status), "{status}");
    demo.shutdown().await;
}

#[tokio::test]
async fn a_diameter_host_that_is_not_configured_is_refused_as_unknown() {
    let system = start("a.example", "");
    let mut stream = TcpStream::connect(system.bound().diameter.unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let (now, mut entropy, mut out) =
        (Timestamp::from_secs(1), SystemEntropy::new(), PeerOutput::default());
    let origin =
        Origin { host: "sipdb.x.example".parse().unwrap(), realm: "x.example".parse().unwrap() };
    let local = LocalNode::new(origin, vec!["127.0.0.1".parse().unwrap()], now, &mut entropy);
    let config = Config {
        local: Arc::new(local),
        allowed: AllowedPeers::Only("sipdb.a.example".parse().unwrap()),
        timing: Timing::default(),
    };
    let mut connection = Connection::initiate(config, now, &mut entropy, &mut out);
    stream.write_all(&out.octets).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    connection.handle_octets(now, &answer, &mut out);
    assert!(matches!(out.events[..], [Event::Down(DownReason::Refused(3010))]), "{:?}", out.events);
    system.shutdown().await;
}

#[tokio::test]
async fn while_the_storage_fails_changes_are_refused_and_nothing_durable_is_lost() {
    let (options, fails) = flaky();
    let system = start_with("a.example", "", options);
    assert_eq!(put_subscriber(&system, "alice").await, 204);

    fails.store(true, Ordering::SeqCst);
    assert_eq!(put_subscriber(&system, "bob").await, 503);
    assert!(metric(&system, "migcore_storage_available").abs() < f64::EPSILON);
    assert_eq!(put_subscriber(&system, "carol").await, 503);
    let admin = format!("http://{}/health/ready", system.bound().admin.unwrap());
    assert_eq!(reqwest::get(admin).await.unwrap().status(), 503);

    fails.store(false, Ordering::SeqCst);
    eventually("the storage came back", || metric(&system, "migcore_storage_available") > 0.5)
        .await;
    assert_eq!(get_subscriber(&system, "alice").await, 200);
    assert_eq!(get_subscriber(&system, "bob").await, 404, "refused, and gone with the reload");
    assert_eq!(put_subscriber(&system, "bob").await, 204);
    assert_eq!(get_subscriber(&system, "bob").await, 200);
    system.shutdown().await;
}

/// Breaks on its first commit.
struct Broken;

impl Engine for Broken {
    fn commit(&mut self, _: &[Commit]) -> Result<(), EngineError> {
        panic!("a fault, for this test")
    }

    fn replay(&mut self, _: &Each<'_>) -> Result<CommitSeq, ReplayError> {
        Ok(CommitSeq::NOTHING)
    }

    fn approximate_len(&self) -> u64 {
        0
    }

    fn waits(&self) -> bool {
        false
    }

    fn reader(&self) -> Arc<dyn Reader> {
        MemoryEngine::default().reader()
    }
}

#[tokio::test]
async fn a_fault_inside_a_call_stops_the_system_instead_of_leaving_it_half_alive() {
    let options = Options { engine: Some(Box::new(Broken)), ..Options::default() };
    let system = start_with("a.example", "", options);
    let url = subscriber_url(&system, "alice");
    let key = "465b5ce8b199b49faa5f0a2ee238a6bc";
    let body = serde_json::json!({ "impus": ["sip:alice@a.example"], "k": key, "opc": key });
    assert!(reqwest::Client::new().put(url).json(&body).send().await.is_err(), "no answer");
    tokio::time::timeout(Duration::from_secs(10), system.failed()).await.unwrap();
    system.shutdown().await;
}

async fn provision_alice(system: &RunningSystem) {
    assert_eq!(put_subscriber(system, "alice").await, 204);
}

async fn put_subscriber(system: &RunningSystem, name: &str) -> u16 {
    let key = "465b5ce8b199b49faa5f0a2ee238a6bc";
    let body =
        serde_json::json!({ "impus": [format!("sip:{name}@a.example")], "k": key, "opc": key });
    let request = reqwest::Client::new().put(subscriber_url(system, name)).json(&body);
    request.send().await.expect("an answer").status().as_u16()
}

async fn get_subscriber(system: &RunningSystem, name: &str) -> u16 {
    reqwest::get(subscriber_url(system, name)).await.expect("an answer").status().as_u16()
}

fn subscriber_url(system: &RunningSystem, name: &str) -> String {
    let address = system.bound().management.expect("it is on");
    format!("http://{address}/v1/subscribers/{name}@a.example")
}

fn register(transport: &str, branch: &str, cseq: u32) -> String {
    format!(
        "REGISTER sip:a.example SIP/2.0\r\n\
         Via: SIP/2.0/{transport} 127.0.0.1:5999;branch={branch};rport\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:alice@a.example>;tag=1\r\n\
         To: <sip:alice@a.example>\r\n\
         Call-ID: call-{branch}\r\n\
         CSeq: {cseq} REGISTER\r\n\
         Contact: <sip:127.0.0.1:5999>\r\n\
         Authorization: Digest username=\"alice@a.example\", realm=\"a.example\", \
         uri=\"sip:a.example\", nonce=\"\", response=\"\"\r\n\
         Content-Length: 0\r\n\r\n"
    )
}
