//! A whole system on a storage that waits: what leaves when, what a failure takes with it, and what a start
//! and a stop do about it.
#![cfg(feature = "node")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a test speaks to the sockets"
)]

mod free_ports;
mod node_storage_medium;
mod node_world;

use std::{
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::Arc,
    time::Duration,
};

use free_ports::free_address;
use migcore::node::{Options, RunningSystem, StartError, config::Config};
use node_storage_medium::{Medium, SlowEngine};
use node_world::{eventually, metric, start_with, toml};
use reqwest::{Client, Response};
use serde_json::{Value, json};

const KEY: &str = "465b5ce8b199b49faa5f0a2ee238a6bc";

fn on(medium: &Arc<Medium>) -> Options {
    Options { engine: Some(Box::new(SlowEngine::new(medium))), ..Options::default() }
}

fn start(medium: &Arc<Medium>) -> RunningSystem {
    start_with("a.example", "", on(medium))
}

fn subscriber(system: &RunningSystem, name: &str) -> String {
    format!("http://{}/v1/subscribers/{name}@a.example", system.bound().management.unwrap())
}

/// Puts a subscriber in a task of its own.
fn put(system: &RunningSystem, name: &str) -> tokio::task::JoinHandle<Response> {
    let url = subscriber(system, name);
    let body = json!({ "impus": [format!("sip:{name}@a.example")], "k": KEY, "opc": KEY });
    tokio::spawn(async move { Client::new().put(url).json(&body).send().await.unwrap() })
}

/// Asks for a subscriber in a task of its own.
fn get(system: &RunningSystem, name: &str) -> tokio::task::JoinHandle<Response> {
    let url = subscriber(system, name);
    tokio::spawn(async move { Client::new().get(url).send().await.unwrap() })
}

async fn status(answer: tokio::task::JoinHandle<Response>) -> u16 {
    answer.await.unwrap().status().as_u16()
}

fn assert_says_try_again(answer: &Response) {
    assert_eq!(answer.status().as_u16(), 503);
    assert!(answer.headers().contains_key("retry-after"), "{:?}", answer.headers());
}

async fn readiness(admin: SocketAddr) -> (u16, Value) {
    let answer = reqwest::get(format!("http://{admin}/health/ready")).await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn queued(system: &RunningSystem, commits: usize) {
    eventually("so many wait", || {
        (metric(system, "migcore_commits_queued") - commits as f64).abs() < f64::EPSILON
    })
    .await;
}

async fn available(system: &RunningSystem) {
    eventually("the storage came back", || metric(system, "migcore_storage_available") > 0.5).await;
}

#[tokio::test]
async fn no_answer_leaves_before_what_it_tells_of_is_durable() {
    let medium = Medium::new();
    let system = start(&medium);
    assert_eq!(status(put(&system, "alice")).await, 204);

    medium.hold_commits(true);
    let bob = put(&system, "bob");
    medium.until_in_hand(1).await;
    let told_of_bob = get(&system, "bob");
    assert_eq!(status(get(&system, "alice")).await, 200, "relies on nothing that waits");
    assert!(!bob.is_finished() && !told_of_bob.is_finished());

    medium.hold_commits(false);
    assert_eq!(status(bob).await, 204);
    assert_eq!(status(told_of_bob).await, 200);
    system.shutdown().await;
}

#[tokio::test]
async fn all_that_gathers_during_a_sync_shares_the_next_one() {
    let medium = Medium::new();
    let system = start(&medium);
    medium.hold_commits(true);
    let mut answers = vec![put(&system, "first")];
    medium.until_in_hand(1).await;
    answers.extend((0..100).map(|number| put(&system, &format!("user-{number}"))));
    queued(&system, 100).await;
    medium.hold_commits(false);
    for answer in answers {
        assert_eq!(status(answer).await, 204);
    }
    assert_eq!(medium.batches(), [1, 100]);
    system.shutdown().await;
}

#[tokio::test]
async fn a_failure_refuses_all_that_is_under_way_and_a_reload_forgets_it() {
    let medium = Medium::new();
    let system = start(&medium);
    assert_eq!(status(put(&system, "alice")).await, 204);

    medium.hold_commits(true);
    let in_hand = put(&system, "bob");
    medium.until_in_hand(1).await;
    let in_the_queue = put(&system, "carol");
    queued(&system, 1).await;
    let told_of_bob = get(&system, "bob");
    eventually("it waits", || metric(&system, "migcore_requests_waiting") > 2.5).await;
    medium.fail(true);
    medium.hold_commits(false);
    for answer in [in_hand, in_the_queue, told_of_bob] {
        assert_says_try_again(&answer.await.unwrap());
    }
    assert_says_try_again(&put(&system, "dave").await.unwrap());
    assert_says_try_again(&get(&system, "alice").await.unwrap());
    let (status_code, body) = readiness(system.bound().admin.unwrap()).await;
    assert_eq!((status_code, &body["storage"]), (503, &Value::Bool(false)));
    assert!(ask_by_sip(system.bound().sip[0]).starts_with("SIP/2.0 503 "));

    medium.fail(false);
    available(&system).await;
    assert_eq!(status(get(&system, "alice")).await, 200);
    for name in ["bob", "carol", "dave"] {
        assert_eq!(status(get(&system, name)).await, 404, "{name} was refused");
    }
    assert_eq!(status(put(&system, "bob")).await, 204);
    assert_eq!(readiness(system.bound().admin.unwrap()).await.0, 200);
    system.shutdown().await;
}

#[tokio::test]
async fn a_refused_change_that_turns_out_durable_is_there_after_the_reload() {
    let medium = Medium::new();
    let system = start(&medium);
    medium.lose_the_next_confirmation();
    assert_says_try_again(&put(&system, "alice").await.unwrap());
    available(&system).await;
    assert_eq!(status(get(&system, "alice")).await, 200);
    system.shutdown().await;
}

#[tokio::test]
async fn it_is_opened_again_until_that_works() {
    let medium = Medium::new();
    let system = start(&medium);
    assert_eq!(status(put(&system, "alice")).await, 204);
    medium.fail(true);
    medium.fail_replays(2);
    assert_says_try_again(&put(&system, "bob").await.unwrap());
    medium.fail(false);
    available(&system).await;
    assert_eq!(medium.replays(), 1 + 3);
    assert_eq!(status(get(&system, "alice")).await, 200);
    system.shutdown().await;
}

#[tokio::test]
async fn while_it_is_loaded_again_nobody_waits_for_a_refusal() {
    let medium = Medium::new();
    let system = start(&medium);
    assert_eq!(status(put(&system, "alice")).await, 204);
    medium.fail(true);
    medium.hold_replays(true);
    assert_says_try_again(&put(&system, "bob").await.unwrap());
    medium.fail(false);
    medium.until_replaying().await;

    // Held as long as this takes: all of it is answered by workers that are not.
    assert_says_try_again(&get(&system, "alice").await.unwrap());
    assert_says_try_again(&put(&system, "alice").await.unwrap());
    assert!(ask_by_sip(system.bound().sip[0]).starts_with("SIP/2.0 503 "));
    let (status_code, body) = readiness(system.bound().admin.unwrap()).await;
    assert_eq!((status_code, &body["loading"]), (503, &json!({ "records": 1, "of": 1 })));

    medium.hold_replays(false);
    available(&system).await;
    assert_eq!(status(get(&system, "alice")).await, 200);
    system.shutdown().await;
}

#[tokio::test]
async fn a_stop_waits_for_what_is_under_way_and_answers_it() {
    let medium = Medium::new();
    let system = start(&medium);
    medium.hold_commits(true);
    let in_hand = put(&system, "alice");
    medium.until_in_hand(1).await;
    let in_the_queue = put(&system, "bob");
    queued(&system, 1).await;
    let management = system.bound().management.unwrap();
    let stopping = tokio::spawn(system.shutdown());
    while TcpStream::connect(management).is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!stopping.is_finished() && !in_hand.is_finished());
    medium.hold_commits(false);
    assert_eq!(status(in_hand).await, 204);
    assert_eq!(status(in_the_queue).await, 204);
    drop(stopping.await.unwrap());

    let again = start(&medium);
    assert_eq!(status(get(&again, "alice")).await, 200);
    assert_eq!(status(get(&again, "bob")).await, 200);
    again.shutdown().await;
}

#[tokio::test]
async fn a_stop_during_a_reload_waits_for_it_and_ends() {
    let medium = Medium::new();
    let system = start(&medium);
    medium.fail(true);
    medium.hold_replays(true);
    assert_says_try_again(&put(&system, "alice").await.unwrap());
    medium.fail(false);
    medium.until_replaying().await;
    let management = system.bound().management.unwrap();
    let stopping = tokio::spawn(system.shutdown());
    while TcpStream::connect(management).is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    medium.hold_replays(false);
    drop(stopping.await.unwrap());
}

#[tokio::test]
async fn a_medium_that_hangs_does_not_keep_a_system_from_stopping() {
    let medium = Medium::new();
    let system = start(&medium);
    medium.hold_commits(true);
    let answer = put(&system, "alice");
    medium.until_in_hand(1).await;
    let stopped = tokio::time::timeout(Duration::from_secs(60), system.shutdown()).await;
    assert!(stopped.unwrap().is_none(), "the engine is given up");
    assert!(!matches!(answer.await, Ok(answer) if answer.status().is_success()));
    medium.hold_commits(false);
}

#[tokio::test]
async fn a_fault_inside_the_engine_stops_the_system_and_answers_who_waits() {
    let medium = Medium::new();
    let system = start(&medium);
    medium.break_the_next_commit();
    let answer = put(&system, "alice");
    tokio::time::timeout(Duration::from_secs(10), system.failed()).await.unwrap();
    assert_says_try_again(&answer.await.unwrap());
    system.shutdown().await;
}

#[tokio::test]
async fn while_records_are_loaded_only_metrics_and_health_are_served() {
    let medium = Medium::new();
    let before = start(&medium);
    assert_eq!(status(put(&before, "alice")).await, 204);
    assert_eq!(status(put(&before, "bob")).await, 204);
    drop(before.shutdown().await);

    let (admin, management) = (free_address(), free_address());
    let more = format!("[admin]\nlisten = \"{admin}\"\n[management]\nlisten = \"{management}\"\n");
    let config = Config::parse(&toml("a.example", &more)).unwrap();
    medium.hold_replays(true);
    let options = on(&medium);
    let starting =
        tokio::task::spawn_blocking(move || RunningSystem::start(config, options).unwrap());
    medium.until_replaying().await;
    let (status_code, body) = readiness(admin).await;
    assert_eq!((status_code, &body["loading"]), (503, &json!({ "records": 2, "of": 2 })));
    let metrics = reqwest::get(format!("http://{admin}/metrics")).await.unwrap();
    assert!(metrics.text().await.unwrap().contains("migcore_storage_available 0\n"));
    let live = reqwest::get(format!("http://{admin}/health/live")).await.unwrap();
    assert_eq!(live.status().as_u16(), 204);
    assert!(TcpStream::connect(management).is_err());

    medium.hold_replays(false);
    let system = starting.await.unwrap();
    assert_eq!(
        readiness(admin).await,
        (
            200,
            json!({
                "storage": true, "own_database": true, "unconnected_peers": [], "stopping": false,
            })
        )
    );
    assert_eq!(status(get(&system, "alice")).await, 200);
    system.shutdown().await;
}

#[tokio::test]
async fn an_address_in_use_is_told_before_anything_is_loaded() {
    let medium = Medium::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let more = format!("[management]\nlisten = \"{}\"\n", taken.local_addr().unwrap());
    let config = Config::parse(&toml("a.example", &more)).unwrap();
    let started = RunningSystem::start(config, on(&medium));
    assert!(matches!(started, Err(StartError::Bind { .. })));
    assert_eq!(medium.replays(), 0);
}

#[tokio::test]
async fn a_storage_that_cannot_be_loaded_is_told_and_leaves_nothing_running() {
    let medium = Medium::new();
    medium.fail_replays(1);
    let admin = free_address();
    let more = format!("[admin]\nlisten = \"{admin}\"\n");
    let config = Config::parse(&toml("a.example", &more)).unwrap();
    let started = RunningSystem::start(config, on(&medium));
    assert!(matches!(started, Err(StartError::Storage(_))));
    assert!(TcpStream::connect(admin).is_err());
    assert_eq!(Arc::strong_count(&medium), 1, "the engine is dropped");
}

/// Sends an initial REGISTER over UDP and returns the answer.
fn ask_by_sip(address: SocketAddr) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let port = socket.local_addr().unwrap().port();
    let request = format!(
        "REGISTER sip:a.example SIP/2.0\r\n\
         Via: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{port};rport\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:alice@a.example>;tag=1\r\n\
         To: <sip:alice@a.example>\r\n\
         Call-ID: call-{port}\r\n\
         CSeq: 1 REGISTER\r\n\
         Contact: <sip:127.0.0.1:{port}>\r\n\
         Authorization: Digest username=\"alice@a.example\", realm=\"a.example\", \
         uri=\"sip:a.example\", nonce=\"\", response=\"\"\r\n\
         Content-Length: 0\r\n\r\n"
    );
    socket.send_to(request.as_bytes(), address).unwrap();
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}
