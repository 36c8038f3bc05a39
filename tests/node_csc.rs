//! Configuration servers over real HTTP: CSC-4 to a UE, CSC-17 between two systems, and what goes wrong
//! around them.
#![cfg(feature = "node")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a test speaks to the sockets"
)]

mod node_world;

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use migcore::{
    api::{
        configuration::{Agreement, AgreementKey, Users},
        connection_details::{SipCoreAddress, SipTransport, SystemConfiguration},
        migration_identity::Direction,
    },
    identity::UserIdentity,
    node::{
        Options, RunningSystem,
        client::{ManagementClient, NewUser},
        ladder::{Entry, Protocol, Tap},
    },
    secret::Secret,
    time::Timestamp,
    token::BearerToken,
    ue_configuration::InitialUeConfiguration,
};
use node_world::{described::check_described, eventually, flaky::flaky, metric, peer, start_with};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

const ALICE_TOKEN: &str = "token-of-alice-0123456789";
const A_TO_B: &str = "token-of-a-at-b-0123456789";
const B_TO_A: &str = "token-of-b-at-a-0123456789";
const DETAILS: &str = "/csc-4/v1/connection-details";
const ACCESS: &str = "/csc-17/v1/system-access";
const YEAR: Duration = Duration::from_secs(365 * 86_400);
const DOCUMENT: &str = include_str!("../sip-fixtures/ue-configuration/minimal.xml");

fn now() -> Timestamp {
    Timestamp::default() + SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// TOML of a configuration server with one partner, that covers PLMN 20801.
fn partner(letter: &str, url: &str, tokens: (&str, &str), more: &str) -> String {
    let (send, accept) = tokens;
    format!(
        "[config_server]\nstatic_tokens = true\nlisten = \"127.0.0.1:0\"\nlisten_partners = \"127.0.0.1:0\"\n{more}\
         [[config_server.partners]]\nid = \"sip:{letter}.example\"\n\
         sip_database = \"sipdb.{letter}.example\"\nurl = \"{url}\"\n\
         send_token = \"{send}\"\naccept_token = \"{accept}\"\nareas = [{{ plmn = \"20801\" }}]\n{}",
        peer(&format!("sipdb.{letter}.example"), "database", None),
    )
}

fn start_a(url_of_b: &str, options: Options) -> RunningSystem {
    let more = "access_timeout = \"1s\"\n";
    start_with("a.example", &partner("b", url_of_b, (A_TO_B, B_TO_A), more), options)
}

fn start_b(options: Options) -> RunningSystem {
    start_with("b.example", &partner("a", "http://127.0.0.1:9", (B_TO_A, A_TO_B), ""), options)
}

fn csc17(system: &RunningSystem) -> String {
    format!("http://{}", system.bound().csc17.expect("it is on"))
}

fn management(system: &RunningSystem) -> ManagementClient {
    ManagementClient::new(&format!("http://{}", system.bound().management.expect("it is on")))
}

fn agreement(partner: &str, direction: Direction) -> Agreement {
    Agreement {
        key: AgreementKey { partner: partner.parse().unwrap(), direction, users: Users::Everybody },
        valid_from: Timestamp::default(),
        valid_until: now() + YEAR,
        hide_identities: direction == Direction::Outbound,
    }
}

/// Alice, who may go to B.
async fn provision_a(system: &RunningSystem) {
    let client = management(system);
    let alice = UserIdentity {
        impi: "alice@a.example".parse().unwrap(),
        impu: "sip:alice@a.example".parse().unwrap(),
    };
    client.put_subscriber(&alice, &Secret::new([1; 16]), &Secret::new([2; 16])).await.unwrap();
    client
        .ensure_generated_pool("out", Direction::Outbound, "out-{id}", "a.example")
        .await
        .unwrap();
    let user = NewUser {
        mc_service_id: &"sip:alice@a.example".parse().unwrap(),
        identity: &alice,
        class: None,
        may_migrate: true,
        token: Some(&BearerToken::parse(ALICE_TOKEN).unwrap()),
    };
    client.put_user(&user).await.unwrap();
    client.put_agreement(&agreement("sip:b.example", Direction::Outbound)).await.unwrap();
}

/// Everybody of A may come, and is told of one SIP core.
async fn provision_b(system: &RunningSystem) {
    let client = management(system);
    client.ensure_generated_pool("in", Direction::Inbound, "mig-{id}", "b.example").await.unwrap();
    client.put_agreement(&agreement("sip:a.example", Direction::Inbound)).await.unwrap();
    let configuration = SystemConfiguration {
        revision: 1,
        sip_core: vec![SipCoreAddress {
            transport: SipTransport::Udp,
            address: "192.0.2.2:5060".parse().unwrap(),
        }],
        document: Arc::new(InitialUeConfiguration::parse(DOCUMENT).unwrap()),
    };
    let id = "sip:b.example".parse().unwrap();
    client.put_system_configuration(&id, &configuration).await.unwrap();
}

fn wish(plmn: &str, partner: Option<&str>, strict: bool) -> Value {
    json!({
        "mc_service_id": "sip:alice@a.example",
        "location": { "plmn": plmn },
        "partner": partner,
        "strict": strict,
    })
}

fn access_of_alice() -> Value {
    json!({
        "primary": "sip:a.example",
        "mc_service_id": "sip:alice@a.example",
        "user": {
            "database": "sipdb.a.example",
            "identity": { "impi": "out-1@a.example", "impu": "sip:out-1@a.example" },
            "server_name": "sip:migration.a.example",
        },
    })
}

fn post_details(system: &RunningSystem, body: &Value) -> RequestBuilder {
    let url = format!("http://{}{DETAILS}", system.bound().csc4.expect("it is on"));
    Client::new().post(url).json(body)
}

async fn ask(system: &RunningSystem, body: &Value) -> (u16, Value) {
    read(post_details(system, body).bearer_auth(ALICE_TOKEN).send().await.expect("an answer")).await
}

async fn read(response: Response) -> (u16, Value) {
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

fn entries(ladder: &mut mpsc::Receiver<Entry>) -> Vec<Entry> {
    std::iter::from_fn(|| ladder.try_recv().ok()).filter(|entry| entry.step.is_some()).collect()
}

#[tokio::test]
async fn a_migration_over_real_http_ends_with_identities_and_configuration() {
    let (tap, mut ladder) = Tap::new();
    let options = || Options { tap: Some(tap.clone()), ..Options::default() };
    let b = start_b(options());
    let a = start_a(&csc17(&b), options());
    provision_a(&a).await;
    provision_b(&b).await;
    entries(&mut ladder);

    let body = wish("20899", Some("sip:b.example"), true);
    let response = post_details(&a, &body).bearer_auth(ALICE_TOKEN).send().await.unwrap();
    assert_eq!(response.headers()["cache-control"], "no-store");
    let (status, details) = read(response).await;
    assert_eq!((status, &details["reason"]), (200, &json!("requested")), "{details}");
    assert_eq!(details["mc_system_id"], "sip:b.example");
    let impi = details["identity"]["impi"].as_str().unwrap();
    assert!(impi.starts_with("mig-") && impi.ends_with("@b.example"), "{impi}");
    assert_eq!(details["configuration"]["sip_core"][0]["address"], "192.0.2.2:5060");
    assert!(details["configuration"]["document"].as_str().unwrap().contains("b.example"));
    assert!(details["valid_until"].as_u64().unwrap() <= (now() + YEAR).as_secs());

    let entries = entries(&mut ladder);
    let steps: Vec<&str> = entries.iter().filter_map(|entry| entry.step.as_deref()).collect();
    assert_eq!(
        steps,
        [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13].map(|number| format!("MIG-{number}"))
    );
    let of = |number: usize| &entries[number - 2];
    let between = |number: usize| (&*of(number).from, &*of(number).to, of(number).protocol);
    assert_eq!(between(4), ("cms.a.example", "sipdb.a.example", Protocol::Value));
    assert_eq!(between(6), ("sipdb.a.example", "cms.a.example", Protocol::Value));
    assert_eq!(between(7), ("cms.a.example", "cms.b.example", Protocol::Http));
    assert_eq!(between(9), ("cms.b.example", "sipdb.b.example", Protocol::Value));
    assert_eq!(between(11), ("sipdb.b.example", "cms.b.example", Protocol::Value));
    assert_eq!(between(12), ("cms.b.example", "cms.a.example", Protocol::Http));
    assert_eq!(between(13), ("cms.a.example", "UE", Protocol::Http));
    assert_eq!(of(7).remote, b.bound().csc17);
    assert_eq!((of(12).local, of(12).remote), (of(7).remote, of(7).local), "one connection");
    assert_eq!(of(13).local, a.bound().csc4);
    assert!([7, 12, 13].map(|number| of(number).octets > 200).iter().all(|is_told| *is_told));

    let (_, again) = ask(&a, &body).await;
    assert_eq!(again["identity"], details["identity"]);
    let of_a = "migcore_csc_requests_total{interface=\"csc-4\",operation=\"connection_details\",status=\"200\"}";
    assert!((metric(&a, of_a) - 2.0).abs() < f64::EPSILON);
    let of_b = "migcore_csc_requests_total{interface=\"csc-17\",operation=\"system_access\",status=\"200\"}";
    assert!((metric(&b, of_b) - 2.0).abs() < f64::EPSILON);
    assert!((outcomes(&a, "granted") - 2.0).abs() < f64::EPSILON);
    let told = serde_json::to_string(&entries).unwrap() + &a.metrics() + &b.metrics();
    for secret in ["alice", ALICE_TOKEN, A_TO_B, impi.split('@').next().unwrap()] {
        assert!(!told.contains(secret), "{secret} in {told}");
    }
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test]
async fn a_ladder_tells_how_long_the_content_of_an_answer_is() {
    let (tap, mut ladder) = Tap::new();
    let b = start_b(Options { tap: Some(tap), ..Options::default() });
    provision_b(&b).await;
    entries(&mut ladder);
    let mut stream = TcpStream::connect(b.bound().csc17.unwrap()).await.unwrap();
    stream.write_all(post(ACCESS, A_TO_B, &access_of_alice()).as_bytes()).await.unwrap();
    let mut octets = Vec::new();
    while !is_whole(&octets) {
        assert!(stream.read_buf(&mut octets).await.unwrap() > 0, "cut off: {octets:?}");
    }
    let answer = entries(&mut ladder).pop().unwrap();
    assert_eq!(answer.step.as_deref(), Some("MIG-12"));
    let text = String::from_utf8(octets).unwrap();
    assert_eq!(answer.octets, text.split_once("\r\n\r\n").unwrap().1.len(), "{text}");
    b.shutdown().await;
}

#[tokio::test]
async fn the_descriptions_are_served_and_requests_and_answers_conform_to_them() {
    let b = start_b(Options::default());
    let a = start_a(&csc17(&b), Options::default());
    provision_a(&a).await;
    provision_b(&b).await;
    let mut unknown = access_of_alice();
    unknown["unknown"] = json!(1);
    let right = wish("20801", None, false);
    let csc4 = format!("http://{}", a.bound().csc4.unwrap());
    let csc17 = csc17(&b);
    for (url, path, token, body, status) in [
        (&csc4, DETAILS, ALICE_TOKEN, right.clone(), 200),
        (&csc4, DETAILS, A_TO_B, right.clone(), 401),
        (&csc4, DETAILS, ALICE_TOKEN, wish("20802", None, false), 404),
        (&csc4, DETAILS, ALICE_TOKEN, json!({ "mc_service_id": "alice" }), 422),
        (&csc17, ACCESS, A_TO_B, access_of_alice(), 200),
        (&csc17, ACCESS, B_TO_A, access_of_alice(), 401),
        (&csc17, ACCESS, A_TO_B, unknown, 422),
    ] {
        let http = Client::new();
        let description = http.get(format!("{url}/openapi.json")).send().await.unwrap();
        let description: Value = description.json().await.unwrap();
        let operation = &description["paths"][path]["post"];
        assert_eq!(operation["security"], json!([{ "bearer": [] }]));
        assert_eq!(description["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
        let request = http.post(format!("{url}{path}")).bearer_auth(token).json(&body);
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{path} {body}");
        check_described(&description, operation, response, path).await;
        if status == 200 {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            node_world::described::check_schema(&description, schema, &body, path);
        }
    }
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test]
async fn a_wrong_token_is_told_by_a_challenge() {
    let a = start_a("http://127.0.0.1:9", Options::default());
    provision_a(&a).await;
    let url = format!("{}{ACCESS}", csc17(&a));
    let details = || post_details(&a, &wish("20801", None, false));
    let access = || Client::new().post(&url).json(&access_of_alice());
    let code = "Bearer realm=\"a.example\", error=\"invalid_token\"";
    for (request, challenge) in [
        (details(), "Bearer realm=\"a.example\""),
        (details().bearer_auth("short"), code),
        (details().bearer_auth(B_TO_A), code),
        (details().basic_auth("alice", Some(ALICE_TOKEN)), code),
        (access(), "Bearer realm=\"a.example\""),
        (access().bearer_auth(ALICE_TOKEN), code),
        (access().bearer_auth(A_TO_B), code),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["www-authenticate"], challenge);
        let (status, problem) = read(response).await;
        assert_eq!(
            (status, &problem["type"]),
            (401, &json!("urn:migcore:problem:not-authenticated"))
        );
    }
    let scheme = details().header("authorization", format!("bEARER {ALICE_TOKEN}"));
    assert_ne!(scheme.send().await.unwrap().status(), 401, "the scheme has no case");
    a.shutdown().await;
}

#[tokio::test]
async fn a_strict_wish_is_refused_and_another_one_goes_by_location() {
    let b = start_b(Options::default());
    let a = start_a(&csc17(&b), Options::default());
    provision_a(&a).await;
    provision_b(&b).await;
    for (plmn, partner, strict, status, outcome) in [
        ("20801", Some("sip:c.example"), true, 403, "urn:migcore:problem:partner-not-allowed"),
        ("20801", Some("sip:c.example"), false, 200, "requested-not-allowed"),
        ("20801", None, false, 200, "location"),
        ("20802", None, false, 404, "urn:migcore:problem:no-partner"),
    ] {
        let (found, answer) = ask(&a, &wish(plmn, partner, strict)).await;
        let found = (found, answer.get("type").or(answer.get("reason")).unwrap());
        assert_eq!(found, (status, &json!(outcome)), "{answer}");
    }
    a.shutdown().await;
    b.shutdown().await;
}

/// A partner that answers what it is told, and tells what it was asked.
struct FakePartner {
    url: String,
    asked: mpsc::Receiver<Value>,
    answers: mpsc::Sender<String>,
}

impl FakePartner {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (tell, asked) = mpsc::channel(16);
        let (answers, mut to_give) = mpsc::channel::<String>(16);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut octets = Vec::new();
                while !is_whole(&octets) && stream.read_buf(&mut octets).await.unwrap() > 0 {}
                let text = String::from_utf8(octets).unwrap();
                let body = text.split_once("\r\n\r\n").unwrap().1;
                tell.send(serde_json::from_str(body).unwrap()).await.unwrap();
                let Some(answer) = to_give.recv().await else { return };
                // The asker may have given up.
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { url, asked, answers }
    }

    /// The pair that the next request names.
    async fn asked_for(&mut self) -> Value {
        self.asked.recv().await.expect("a request")["user"]["identity"].take()
    }
}

fn post(path: &str, token: &str, body: &Value) -> String {
    let body = body.to_string();
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

fn response(status: &str, kind: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )
}

fn refusal(status: &str, name: &str) -> String {
    let problem = json!({ "type": format!("urn:migcore:problem:{name}") });
    response(status, "application/problem+json", &problem.to_string())
}

fn granted() -> String {
    let access = json!({
        "identity": { "impi": "mig-7@b.example", "impu": "sip:mig-8@b.example" },
        "valid_until": (now() + YEAR).as_secs(),
        "configuration": {
            "revision": 1,
            "sip_core": [{ "transport": "udp", "address": "192.0.2.2:5060" }],
            "document": DOCUMENT,
        },
    });
    response("200 OK", "application/json", &access.to_string())
}

/// Whether a message with a Content-Length is complete.
fn is_whole(octets: &[u8]) -> bool {
    let text = String::from_utf8_lossy(octets);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
    });
    body.len() >= length.unwrap_or(0)
}

/// How many access requests of A to B ended so.
fn outcomes(system: &RunningSystem, outcome: &str) -> f64 {
    let name = "migcore_partner_requests_total";
    metric(system, &format!("{name}{{partner=\"sip:b.example\",outcome=\"{outcome}\"}}"))
}

async fn is_lent(system: &RunningSystem, pair: &Value) -> bool {
    let impi = pair["impi"].as_str().expect("an identity");
    let address = system.bound().management.expect("it is on");
    let url = format!("http://{address}/v1/bindings/outbound/{impi}");
    reqwest::get(url).await.expect("an answer").status() == 200
}

#[tokio::test]
async fn without_an_answer_of_the_partner_a_repeat_sends_the_same_outbound_pair() {
    let mut partner = FakePartner::start().await;
    let a = start_a(&partner.url, Options::default());
    provision_a(&a).await;
    let body = wish("20801", None, false);
    let mut pairs = Vec::new();
    for answer in [
        "", // cut off
        &response("500 Internal Server Error", "text/html", "<p>not here</p>"),
        &response("200 OK", "application/json", "{}"),
        &refusal("503 Service Unavailable", "unavailable"),
    ] {
        partner.answers.send(answer.to_owned()).await.unwrap();
        let response = post_details(&a, &body).bearer_auth(ALICE_TOKEN).send().await.unwrap();
        assert!(response.headers().contains_key("retry-after"), "{answer}");
        let (status, problem) = read(response).await;
        let unreachable = json!("urn:migcore:problem:partner-unreachable");
        assert_eq!((status, &problem["type"]), (504, &unreachable), "{answer}");
        pairs.push(partner.asked_for().await);
        assert!(is_lent(&a, &pairs[0]).await, "{answer}");
    }
    // Nothing at all, within the time that a partner has.
    let started = Instant::now();
    assert_eq!(ask(&a, &body).await.0, 504);
    assert!((Duration::from_millis(900)..Duration::from_secs(5)).contains(&started.elapsed()));
    pairs.push(partner.asked_for().await);
    eventually("the time of the partner is over", || outcomes(&a, "late") > 0.5).await;
    partner.answers.send(String::new()).await.unwrap();

    partner.answers.send(granted()).await.unwrap();
    let (status, details) = ask(&a, &body).await;
    assert_eq!((status, &details["identity"]["impi"]), (200, &json!("mig-7@b.example")));
    pairs.push(partner.asked_for().await);
    assert!(pairs.iter().all(|pair| *pair == pairs[0]), "{pairs:?}");
    assert!(pairs[0]["impi"].as_str().unwrap().starts_with("out-"), "{pairs:?}");
    for outcome in ["broken-off", "not-of-the-interface", "unavailable", "late", "granted"] {
        assert!(outcomes(&a, outcome) > 0.5, "{outcome}");
    }
    a.shutdown().await;
}

#[tokio::test]
async fn a_partner_that_is_not_there_is_a_504() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let a = start_a(&format!("http://{gone}"), Options::default());
    provision_a(&a).await;
    let (status, problem) = ask(&a, &wish("20801", None, false)).await;
    assert_eq!(
        (status, &problem["type"]),
        (504, &json!("urn:migcore:problem:partner-unreachable"))
    );
    assert!((outcomes(&a, "unreachable") - 1.0).abs() < f64::EPSILON, "{}", a.metrics());
    a.shutdown().await;
}

/// Alice's request for connection details.
fn alice_asks(a: &RunningSystem) -> RequestBuilder {
    post_details(a, &wish("20801", None, false)).bearer_auth(ALICE_TOKEN)
}

/// Whether an answer says that this system has trouble, and when to ask again.
async fn is_our_trouble(response: Response) {
    assert!(response.headers().contains_key("retry-after"), "{response:?}");
    let (status, problem) = read(response).await;
    assert_eq!((status, &problem["type"]), (503, &json!("urn:migcore:problem:unavailable")));
    assert_eq!(problem["detail"], "this system cannot do it now");
}

#[tokio::test]
async fn a_partner_that_found_this_system_slow_is_not_told_as_unreachable() {
    let mut partner = FakePartner::start().await;
    let a = start_a(&partner.url, Options::default());
    provision_a(&a).await;
    partner.answers.send(response("408 Request Timeout", "text/plain", "")).await.unwrap();
    is_our_trouble(alice_asks(&a).send().await.unwrap()).await;
    let pair = partner.asked_for().await;
    assert!(is_lent(&a, &pair).await, "a repeat names the same pair");
    a.shutdown().await;
}

#[tokio::test]
async fn a_request_for_which_there_is_no_room_here_is_not_told_of_the_partner() {
    const MOST: usize = 256;
    // It takes every connection, and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let more = "access_timeout = \"9s\"\n";
    let config = partner("b", &url, (A_TO_B, B_TO_A), more);
    let a = start_with("a.example", &config, Options::default());
    provision_a(&a).await;
    let under_way: Vec<_> = (0..MOST).map(|_| tokio::spawn(alice_asks(&a).send())).collect();
    let mut silent = Vec::new();
    while silent.len() < MOST {
        silent.push(listener.accept().await.unwrap());
    }
    is_our_trouble(alice_asks(&a).send().await.unwrap()).await;
    assert!(metric(&a, "migcore_dropped_total{reason=\"partner_requests_full\"}") > 0.5);
    for waiting in under_way {
        waiting.abort();
    }
    a.shutdown().await;
}

#[tokio::test]
async fn what_the_partner_refuses_for_good_is_released() {
    let mut partner = FakePartner::start().await;
    let a = start_a(&partner.url, Options::default());
    provision_a(&a).await;
    for (answer, status, name) in [
        (refusal("403 Forbidden", "not-authorised"), 403, "refused-by-partner"),
        (refusal("503 Service Unavailable", "exhausted"), 503, "exhausted"),
    ] {
        partner.answers.send(answer).await.unwrap();
        let (found, problem) = ask(&a, &wish("20801", None, false)).await;
        let kind = json!(format!("urn:migcore:problem:{name}"));
        assert_eq!((found, &problem["type"]), (status, &kind));
        let pair = partner.asked_for().await;
        assert!(!is_lent(&a, &pair).await, "{name}");
    }
    a.shutdown().await;
}

#[tokio::test]
async fn a_ue_that_hangs_up_cancels_nothing() {
    let mut partner = FakePartner::start().await;
    let a = start_a(&partner.url, Options::default());
    provision_a(&a).await;
    let mut stream = TcpStream::connect(a.bound().csc4.unwrap()).await.unwrap();
    let request = post(DETAILS, ALICE_TOKEN, &wish("20801", None, false));
    stream.write_all(request.as_bytes()).await.unwrap();
    let pair = partner.asked_for().await;
    drop(stream);
    tokio::time::sleep(Duration::from_millis(50)).await;
    partner.answers.send(granted()).await.unwrap();
    eventually("the answer was taken", || outcomes(&a, "granted") > 0.5).await;
    assert!(is_lent(&a, &pair).await);
    a.shutdown().await;
}

#[tokio::test]
async fn an_answer_lost_with_a_commit_is_told_at_once_as_unavailable() {
    let (options, fails) = flaky();
    let b = start_b(Options::default());
    provision_b(&b).await;
    // Longer than the test waits: no timer is to be the one who answers.
    let patient = partner("b", &csc17(&b), (A_TO_B, B_TO_A), "access_timeout = \"9s\"\n");
    let a = start_with("a.example", &patient, options);
    provision_a(&a).await;

    fails.store(true, Ordering::SeqCst);
    let body = wish("20801", None, false);
    for what in ["the commit of the binding fails", "no commit is tried"] {
        let started = Instant::now();
        let (status, problem) = ask(&a, &body).await;
        let unavailable = json!("urn:migcore:problem:unavailable");
        assert_eq!((status, &problem["type"]), (503, &unavailable), "{what}");
        assert!(started.elapsed() < Duration::from_secs(5), "{what}");
    }
    fails.store(false, Ordering::SeqCst);
    eventually("the storage came back", || metric(&a, "migcore_storage_available") > 0.5).await;
    assert_eq!(ask(&a, &body).await.0, 200);
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test]
async fn a_system_that_starts_again_on_its_storage_after_a_month_knows_what_it_lent() {
    let b = start_b(Options::default());
    let a = start_a(&csc17(&b), Options::default());
    provision_a(&a).await;
    provision_b(&b).await;
    let body = wish("20801", None, false);
    let (_, before) = ask(&a, &body).await;
    let (stored_a, stored_b) = (a.shutdown().await, b.shutdown().await);

    let clock_ahead = Duration::from_secs(30 * 86_400);
    let later = |engine| Options { engine, clock_ahead, ..Options::default() };
    let b = start_b(later(stored_b));
    let a = start_a(&csc17(&b), later(stored_a));
    let (status, after) = ask(&a, &body).await;
    assert_eq!((status, &after["identity"]), (200, &before["identity"]), "{after}");
    let kept_on = after["valid_until"].as_u64().unwrap() - before["valid_until"].as_u64().unwrap();
    assert!(kept_on >= clock_ahead.as_secs() - 60, "asking again renews: {kept_on}");
    a.shutdown().await;
    b.shutdown().await;
}
