//! What a system tells of a partner that answers late, or not, or says that the system itself is slow.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use migcore::node::{Options, RunningSystem, acm, config::Config};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::{
    node_world::{eventually, metric},
    world::{Administrator, Pair, Side, to_user, xcfg},
};

const STORED: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n\"stored\"";
const TIMED_OUT: &str =
    "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// In the place of B's ACM server: `answer` says what the n-th request on a connection gets, if anything.
struct Partner {
    requests: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Partner {
    async fn start(pair: &Pair, answer: fn(usize) -> Option<&'static str>) -> Self {
        let port = pair.ports(Side::B).partner;
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        let accepting = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, Arc::clone(&counted), answer));
            }
        });
        Self { requests, accepting }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    requests: Arc<AtomicUsize>,
    answer: fn(usize) -> Option<&'static str>,
) {
    let mut octets = Vec::new();
    for number in 0.. {
        while !is_whole(&octets) {
            if stream.read_buf(&mut octets).await.unwrap_or(0) == 0 {
                return;
            }
        }
        octets.clear();
        requests.fetch_add(1, Ordering::SeqCst);
        if let Some(answer) = answer(number) {
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    }
}

fn is_whole(octets: &[u8]) -> bool {
    let text = String::from_utf8_lossy(octets);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.to_lowercase();
    let length =
        length.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    length.is_some_and(|length: usize| body.len() >= length)
}

/// A alone, with two administrators, who waits long for an answer.
async fn start_a(pair: &Pair) -> (RunningSystem, Administrator, Administrator) {
    let toml = pair.toml(Side::A, "", "answer_timeout = \"60s\"\n");
    let a = RunningSystem::start(Config::parse(&toml).unwrap(), Options::default()).unwrap();
    pair.provision(Side::A, &["anna", "amir"]).await;
    let administrator = |name| pair.administrator(Side::A, name);
    (a, administrator("anna"), administrator("amir"))
}

const FULL: &str = "migcore_dropped_total{reason=\"acm_partner_requests_full\"}";

#[tokio::test]
async fn what_waits_here_is_not_told_of_the_partner_and_no_user_takes_all_the_room() {
    let pair = Pair::draw();
    let silent = Partner::start(&pair, |_| None).await;
    let (a, anna, amir) = start_a(&pair).await;
    let share = acm::PARTNER_REQUESTS_MAX / 2;
    let mut begun = Vec::new();
    for revision in 1..=share as u64 + 2 {
        begun.push(anna.begin(&xcfg(Side::A, revision)).await);
    }
    eventually("the share is under way", || silent.requests() == share).await;
    // Those that have no room are tried again and again.
    eventually("requests have no room", || metric(&a, FULL) > 4.5).await;
    assert_eq!(silent.requests(), share, "one user has a share");
    begun.push(amir.begin(&xcfg(Side::A, 1_000)).await);
    eventually("another user's request is there", || silent.requests() == share + 1).await;
    for transaction in begun {
        let progress = anna.progress(&transaction).await;
        let told = (&progress["summary"]["state"], &progress["attempts"]);
        assert_eq!(told, (&json!("authorised"), &json!(0)), "{progress}");
    }
    a.shutdown().await;
}

#[tokio::test]
async fn long_requests_leave_room_for_short_ones() {
    let pair = Pair::draw();
    let silent = Partner::start(&pair, |_| None).await;
    let (a, anna, amir) = start_a(&pair).await;
    for (number, administrator) in [&anna, &anna, &amir, &amir].into_iter().enumerate() {
        let users = (0..5_000).map(|it| format!("sip:user-{number}-{it:06}@a.example"));
        let users: Vec<String> = users.collect();
        let long = to_user(Side::A, "bob", json!({ "add-users": { "users": users } }));
        administrator.begin(&long).await;
    }
    let long = acm::LONG_REQUESTS_MAX;
    eventually("one of each user is under way", || silent.requests() == long).await;
    eventually("requests have no room", || metric(&a, FULL) > 4.5).await;
    assert_eq!(silent.requests(), long);
    anna.begin(&xcfg(Side::A, 1)).await;
    eventually("a short one is there", || silent.requests() == long + 1).await;
    a.shutdown().await;
}

#[tokio::test]
async fn a_partner_that_found_this_system_slow_is_not_told_as_unreachable() {
    const SLOW: &str =
        "migcore_acm_partner_requests_total{partner=\"sip:b.example\",outcome=\"slow\"}";
    let pair = Pair::draw();
    let slow = Partner::start(&pair, |_| Some(TIMED_OUT)).await;
    let (a, anna, _) = start_a(&pair).await;
    let transaction = anna.begin(&xcfg(Side::A, 1)).await;
    eventually("it is tried again", || metric(&a, SLOW) > 2.5).await;
    let progress = anna.progress(&transaction).await;
    let told = (&progress["summary"]["state"], &progress["attempts"]);
    assert_eq!(told, (&json!("authorised"), &json!(0)), "{progress}");
    drop(slow);
    // One that closes connections after a silence, and says so to the next request, has not seen that.
    crate::until("the address is free", async || {
        std::net::TcpListener::bind(("127.0.0.1", pair.ports(Side::B).partner)).ok().map(drop)
    })
    .await;
    let closing =
        Partner::start(&pair, |nth| Some(if nth == 0 { STORED } else { TIMED_OUT })).await;
    anna.reached(&transaction, &["sent"]).await;
    let before = metric(&a, SLOW);
    for revision in 2..6 {
        let transaction = anna.begin(&xcfg(Side::A, revision)).await;
        anna.reached(&transaction, &["sent"]).await;
    }
    assert!((metric(&a, SLOW) - before).abs() < f64::EPSILON, "{}", a.metrics());
    assert_eq!(closing.requests(), 1 + 2 * 4, "each is sent again at once, on a new connection");
    a.shutdown().await;
}
