//! What the two interfaces say to whom speaks wrongly, and that they are as they describe themselves.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use migcore::{
    api::{
        acm_interconnection::{Envelope, Request, Submission, TransactionId},
        acm_payload::{ContentDigest, Parties, Payload},
    },
    identity::McSystemId,
    node::{Options, RunningSystem, SystemEntropy, acm},
    store::{Commit, CommitSeq, Each, Engine, EngineError, MemoryEngine, Reader, ReplayError},
    time::Timestamp,
};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    node_world::{
        described::{check_answer, check_described, check_schema},
        metric,
    },
    shutdown, start_both,
    world::{
        EventReader, INTERCONNECTION, Pair, Side, configuration, item_path, read, to_user, token,
        token_of, user, xcfg,
    },
};

/// A request of A, as its ACM server would send it.
fn submission(payload: Value, change: impl FnOnce(&mut Envelope)) -> Submission {
    let payload: Payload = serde_json::from_value(payload).unwrap();
    let revision = payload.configuration().map_or(1, |configuration| configuration.revision);
    let (parties, originator) = (Parties::default(), user(Side::A, "anna"));
    let measured = ContentDigest::of(&originator, &parties, revision, &payload);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let created = Timestamp::default() + now;
    let mut envelope = Envelope {
        transaction: TransactionId::draw(&mut SystemEntropy::new()),
        origin: McSystemId::parse("sip:a.example").unwrap(),
        destination: McSystemId::parse("sip:b.example").unwrap(),
        originator,
        created,
        expires: created + Duration::from_secs(86_400),
        revision,
        digest: measured.digest,
    };
    change(&mut envelope);
    Submission { envelope, parties, payload: Arc::new(payload) }
}

fn submit(payload: Value, change: impl FnOnce(&mut Envelope)) -> Value {
    serde_json::to_value(Request::Submit(Box::new(submission(payload, change)))).unwrap()
}

fn exchange(revision: u64) -> Value {
    json!({ "configuration": configuration(Side::A, revision) })
}

/// B alone, with an administrator.
async fn start_b(pair: &Pair, of_partner: &str) -> RunningSystem {
    let b = pair.start(Side::B, of_partner, Options::default());
    pair.provision(Side::B, &["bob"]).await;
    b
}

async fn answer(request: RequestBuilder) -> (u16, Value) {
    read(request.send().await.unwrap()).await
}

fn is_problem(problem: &Value, name: &str) -> bool {
    problem["type"] == format!("urn:migcore:problem:{name}")
        && ["detail", "fix"]
            .iter()
            .all(|part| problem[part].as_str().is_some_and(|it| it.len() > 5))
}

/// That nothing waits for an answer, and nobody has anything to decide.
async fn nothing_is_parked(pair: &Pair, b: &RunningSystem) {
    assert!(metric(b, "migcore_requests_waiting") < 0.5, "{}", b.metrics());
    assert_eq!(pair.administrator(Side::B, "bob").items().await, [Value::Null; 0]);
}

#[tokio::test]
async fn a_partner_that_speaks_wrongly_is_told_what_is_wrong_and_nothing_is_parked() {
    let pair = Pair::draw();
    let b = start_b(&pair, "").await;
    let url = format!("http://127.0.0.1:{}{INTERCONNECTION}", pair.ports(Side::B).partner);
    let post = || reqwest::Client::new().post(&url);
    let right = submit(exchange(1), |_| {});

    // Whoever it is.
    for (request, presents) in [
        (post().json(&right), false),
        (post().bearer_auth("short").json(&right), true),
        (post().bearer_auth(token_of(Side::B)).json(&right), true),
        (post().bearer_auth(token("bob").expose()).json(&right), true),
    ] {
        let response = request.send().await.unwrap();
        let challenge = response.headers()["www-authenticate"].to_str().unwrap().to_owned();
        assert_eq!(challenge.contains("invalid_token"), presents, "{challenge}");
        let (status, problem) = read(response).await;
        assert!(status == 401 && is_problem(&problem, "not-authenticated"), "{problem}");
    }
    let refused = "migcore_notes_total{note=\"peer_refused\"}";
    assert!((metric(&b, refused) - 4.0).abs() < f64::EPSILON, "{}", b.metrics());
    // In the name of another system.
    for foreign in [
        submit(exchange(1), |envelope| {
            envelope.origin = McSystemId::parse("sip:c.example").unwrap();
        }),
        json!({ "decided": {
            "key": { "origin": "sip:b.example", "transaction": "3f0c2f3e-7a41-4c52-9d0e-5a1b2c3d4e5f" },
            "system": "sip:c.example", "handler_id": null, "handler_alias": null,
            "target_id": "sip:bob@b.example", "result": "ok", "text": null, "elements": [],
            "decided": "2031-01-01T00:00:00Z",
        } }),
    ] {
        let (status, problem) = answer(pair.post(Side::B).json(&foreign)).await;
        assert!(status == 401 && is_problem(&problem, "not-authenticated"), "{problem}");
    }
    assert!((metric(&b, refused) - 6.0).abs() < f64::EPSILON, "{}", b.metrics());

    // What is no request.
    let with = |change: fn(&mut Value)| {
        let mut body = right.clone();
        change(&mut body["submit"]);
        body
    };
    for (request, status, field) in [
        (pair.post(Side::B).body("{").header("content-type", "application/json"), 400, None),
        (pair.post(Side::B).body(right.to_string()), 415, None),
        (pair.post(Side::B).json(&json!({ "shout": {} })), 422, Some("")),
        (pair.post(Side::B).json(&with(|it| it["more"] = json!(1))), 422, Some("submit.more")),
        (
            pair.post(Side::B).json(&with(|it| it["envelope"]["origin"] = json!("a.example"))),
            422,
            Some("submit.envelope.origin"),
        ),
        (
            pair.post(Side::B).json(&with(|it| it["envelope"]["transaction"] = json!("7"))),
            422,
            Some("submit.envelope.transaction"),
        ),
        (
            pair.post(Side::B).json(&with(|it| it["envelope"]["digest"] = json!("00"))),
            422,
            Some("submit.envelope.digest"),
        ),
        (
            pair.post(Side::B).json(&with(|it| it["envelope"]["expires"] = json!(7))),
            422,
            Some("submit.envelope.expires"),
        ),
    ] {
        let (found, problem) = answer(request).await;
        assert_eq!(found, status, "{problem}");
        let name = if status == 415 { "not-json" } else { "invalid-request" };
        assert!(is_problem(&problem, name), "{problem}");
        let told = problem["field"].as_str();
        assert!(field.is_none_or(|field| told.is_some_and(|it| it.contains(field))), "{problem}");
        assert!(!problem.to_string().contains("anna"), "no value is repeated: {problem}");
    }

    // What the role refuses: told, and nothing is stored.
    for (body, code, element) in [
        (submit(exchange(1), |it| it.revision = 2), "invalid-data", "digest"),
        (
            submit(exchange(1), |it| it.destination = McSystemId::parse("sip:c.example").unwrap()),
            "invalid-data",
            "destination",
        ),
        (submit(exchange(1), |it| it.expires = Timestamp::from_secs(1)), "invalid-data", "expires"),
        (submit(json!({ "groups": ["sip:group@c.example"] }), |_| {}), "invalid-data", ""),
    ] {
        let (status, refused) = answer(pair.post(Side::B).json(&body)).await;
        let refused = &refused["refused"];
        assert_eq!((status, &refused["code"]), (200, &json!(code)), "{body} {refused}");
        let elements = refused["elements"].to_string();
        assert!(elements.contains(element), "{element}: {refused}");
    }
    nothing_is_parked(&pair, &b).await;
    b.shutdown().await;
}

#[tokio::test]
async fn replayed_conflicting_and_stale_requests_of_a_partner_meet_their_outcome() {
    let pair = Pair::draw();
    let b = start_b(&pair, "policy.mode = \"accept\"\n").await;
    let first = submission(exchange(5), |_| {});
    let transaction = first.envelope.transaction;
    let first = serde_json::to_value(Request::Submit(Box::new(first))).unwrap();
    assert_eq!(answer(pair.post(Side::B).json(&first)).await, (200, json!("stored")));
    // The same again, however often: the outcome, the same each time.
    let outcome = crate::until("it is decided", async || {
        let (status, given) = answer(pair.post(Side::B).json(&first)).await;
        assert_eq!(status, 200);
        given.get("decided").cloned()
    })
    .await;
    assert_eq!(outcome["result"], "ok");
    let (_, again) = answer(pair.post(Side::B).json(&first)).await;
    assert_eq!(again["decided"], outcome);
    // Another content under the same name.
    let conflict = submit(exchange(6), |envelope| envelope.transaction = transaction);
    let (status, refused) = answer(pair.post(Side::B).json(&conflict)).await;
    assert_eq!((status, &refused["refused"]["code"]), (200, &json!("conflict")));
    // An older one under another name.
    let stale = submit(exchange(5), |_| {});
    let (status, refused) = answer(pair.post(Side::B).json(&stale)).await;
    assert_eq!((status, &refused["refused"]["code"]), (200, &json!("stale-revision")));
    assert_eq!(refused["refused"]["elements"], json!(["revision"]));
    let noted = "migcore_notes_total{note=\"transaction_conflict\"}";
    assert!((metric(&b, noted) - 1.0).abs() < f64::EPSILON, "{}", b.metrics());
    assert_eq!(crate::revision_at(&pair, Side::B, Side::A).await, Some(5));
    nothing_is_parked(&pair, &b).await;

    // An answer to what this system never asked is kept for an operator.
    let stray = json!({ "decided": {
        "key": { "origin": "sip:b.example", "transaction": "3f0c2f3e-7a41-4c52-9d0e-5a1b2c3d4e5f" },
        "system": "sip:a.example", "handler_id": null, "handler_alias": null,
        "target_id": "sip:bob@b.example", "result": "ok", "text": null, "elements": [],
        "decided": "2031-01-01T00:00:00Z",
    } });
    for _ in 0..2 {
        assert_eq!(answer(pair.post(Side::B).json(&stray)).await, (200, json!("stored")));
    }
    let strays = format!("http://127.0.0.1:{}/v1/acm/strays", pair.ports(Side::B).management);
    let (status, found) = answer(reqwest::Client::new().get(&strays)).await;
    assert_eq!((status, found["items"].as_array().unwrap().len()), (200, 1), "{found}");
    assert_eq!(found["items"][0]["from"], "sip:a.example");
    let too_many = format!("{strays}?limit=1001");
    assert_eq!(answer(reqwest::Client::new().get(too_many)).await.0, 422);
    b.shutdown().await;
}

/// Sends a head that announces a body, and returns the status that comes before the body does.
async fn announce(port: u16, path: &str, credential: &str, octets: usize) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\n{credential}Content-Type: application/json\r\n\
         Content-Length: {octets}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let reading = async {
        while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "cut off");
        }
    };
    tokio::time::timeout(crate::world::DEADLINE, reading).await.expect("an answer");
    String::from_utf8(answer).unwrap().split(' ').nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn no_octet_of_a_body_is_read_that_is_too_long_or_of_somebody_unknown() {
    let pair = Pair::draw();
    let b = start_b(&pair, "").await;
    let (client, partner) = (pair.ports(Side::B).client, pair.ports(Side::B).partner);
    let of_a = format!("Authorization: Bearer {}\r\n", token_of(Side::A));
    let bob = token("bob");
    let of_bob =
        format!("Authorization: Bearer {}\r\nMC-Service-ID: sip:bob@b.example\r\n", bob.expose());
    let max = acm::BODY_OCTETS_MAX;
    let begin = "/acm/v1/transactions";
    for (port, path, credential, octets, status) in [
        (partner, INTERCONNECTION, "", max, "401"),
        (partner, INTERCONNECTION, &*of_bob, max, "401"),
        (partner, INTERCONNECTION, &*of_a, max + 1, "413"),
        (client, begin, "", max, "401"),
        (client, begin, &*of_a, max, "401"),
        (client, begin, &*of_bob, max + 1, "413"),
    ] {
        let found = announce(port, path, credential, octets).await;
        assert_eq!(found, status, "{path} {credential} {octets}");
    }
    b.shutdown().await;
}

/// Announces a long body that does not come.
async fn hold(port: u16, path: &str, credential: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\n{credential}Content-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        acm::BODY_OCTETS_MAX
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// The status of the answer to a long body that comes in place of it, if it does.
async fn refused_long(port: u16, path: &str, credential: &str) -> Option<String> {
    let announced = announce(port, path, credential, acm::BODY_OCTETS_MAX);
    tokio::time::timeout(Duration::from_millis(500), announced).await.ok()
}

#[tokio::test]
async fn who_announces_long_bodies_holds_a_share_and_keeps_no_other_out() {
    const LIMIT: &str = "interconnected = true\n[[acm.partners]]\nid = \"sip:c.example\"\n\
        url = \"http://127.0.0.1:9\"\nsend_token = \"acm-token-of-b-for-system-c\"\n\
        accept_token = \"acm-token-of-system-c-for-b\"\ndomains = [\"c.example\"]\n";
    let pair = Pair::draw();
    let b = start_b(&pair, LIMIT).await;
    pair.provision(Side::B, &["bea"]).await;
    let (client, partner) = (pair.ports(Side::B).client, pair.ports(Side::B).partner);
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let of_user = |name: &str| {
        let token = token(name);
        bearer(token.expose()) + &format!("MC-Service-ID: sip:{name}@b.example\r\n")
    };
    let begin = "/acm/v1/transactions";
    for (port, path, one, other) in [
        (
            partner,
            INTERCONNECTION,
            bearer(&token_of(Side::A)),
            bearer("acm-token-of-system-c-for-b"),
        ),
        (client, begin, of_user("bob"), of_user("bea")),
    ] {
        let mut held = Vec::new();
        for _ in 0..acm::LONG_BODIES_SHARE {
            held.push(hold(port, path, &one).await);
        }
        let refused = crate::until("no more of one are taken in", async || {
            refused_long(port, path, &one).await
        });
        assert_eq!(refused.await, "503", "{path}");
        assert_eq!(refused_long(port, path, &other).await, None, "another's is waited for: {path}");
        // Who is gone holds nothing.
        drop(held);
        crate::until("one more is taken in", async || {
            refused_long(port, path, &one).await.is_none().then_some(())
        })
        .await;
    }
    // Short ones are taken in meanwhile.
    let mut held = Vec::new();
    for _ in 0..acm::LONG_BODIES_SHARE {
        held.push(hold(partner, INTERCONNECTION, &bearer(&token_of(Side::A))).await);
    }
    let (status, _) = answer(pair.post(Side::B).json(&submit(exchange(1), |_| {}))).await;
    assert_eq!(status, 200);
    b.shutdown().await;
}

#[tokio::test]
async fn a_client_that_speaks_wrongly_is_told_what_is_wrong_and_nothing_is_begun() {
    let pair = Pair::draw();
    let systems = start_both(&pair, "", None).await;
    let management = format!("http://127.0.0.1:{}/v1/acm/users", pair.ports(Side::B).management);
    let norights = json!({ "token": token("carl").expose() });
    let put = reqwest::Client::new().put(format!("{management}/sip%3Acarl@b.example"));
    assert_eq!(put.json(&norights).send().await.unwrap().status(), 204);
    let bob = pair.administrator(Side::B, "bob");
    let carl = pair.administrator(Side::B, "carl");
    let unknown = "3f0c2f3e-7a41-4c52-9d0e-5a1b2c3d4e5f";
    let item = item_path(Side::A, unknown);
    let transaction = format!("/acm/v1/transactions/{unknown}");

    // Who it is.
    let http = reqwest::Client::new();
    let items = format!("{}/acm/v1/items", bob.url);
    for request in [
        http.get(&items),
        http.get(&items).bearer_auth(token("bob").expose()),
        http.get(&items).header("MC-Service-ID", "sip:bob@b.example"),
        http.get(&items).bearer_auth(token("bob").expose()).header("MC-Service-ID", "bob"),
        http.get(&items)
            .bearer_auth(token("bob").expose())
            .header("MC-Service-ID", "sip:bea@b.example"),
        http.get(&items)
            .bearer_auth(token("bob").expose())
            .header("MC-Service-ID", "sip:bob@b.example")
            .header("MC-Service-ID", "sip:bob@b.example"),
    ] {
        let response = request.send().await.unwrap();
        assert!(response.headers().contains_key("www-authenticate"));
        let (status, problem) = read(response).await;
        assert!(status == 401 && is_problem(&problem, "not-authenticated"), "{problem}");
    }

    let begin = |change: fn(&mut Value)| {
        let mut begin = serde_json::to_value(xcfg(Side::B, 1)).unwrap();
        change(&mut begin);
        Some(begin)
    };
    let asks = [
        (&bob, "GET", "/acm/v1/items?limit=0", None, 400, "invalid-request"),
        (&bob, "GET", "/acm/v1/items?limit=1001", None, 400, "invalid-request"),
        (&bob, "GET", "/acm/v1/items?afte=1", None, 400, "invalid-request"),
        (&bob, "GET", "/acm/v1/items/a.example/7", None, 400, "invalid-request"),
        (&bob, "GET", "/acm/v1/items/sip%3Aa.example/7", None, 400, "invalid-request"),
        (&bob, "GET", &item, None, 404, "invalid-data"),
        (&bob, "GET", &transaction, None, 404, "invalid-data"),
        (&bob, "DELETE", &transaction, None, 404, "invalid-data"),
        (&bob, "DELETE", "/acm/v1/sessions/x", None, 400, "invalid-request"),
        (&bob, "DELETE", "/acm/v1/sessions/7", None, 404, "invalid-data"),
        (&bob, "PUT", "/acm/v1/groups/group", None, 400, "invalid-request"),
        (&bob, "PATCH", "/acm/v1/items", None, 405, "method-not-allowed"),
        (&bob, "GET", "/acm/v2/items", None, 404, "unknown-path"),
        (&bob, "POST", "/acm/v1/transactions", Some(json!({})), 422, "invalid-request"),
        (
            &bob,
            "POST",
            "/acm/v1/transactions",
            begin(|it| it["more"] = json!(1)),
            422,
            "invalid-request",
        ),
        (
            &bob,
            "POST",
            "/acm/v1/transactions",
            begin(|it| it["destination"] = json!("sip:c.example")),
            404,
            "unknown-partner",
        ),
        (
            &bob,
            "POST",
            "/acm/v1/transactions",
            begin(|it| it["expires"] = json!("2001-01-01T00:00:00Z")),
            400,
            "invalid-data",
        ),
        (&carl, "POST", "/acm/v1/transactions", begin(|_| {}), 403, "not-authorised"),
        (&carl, "PUT", "/acm/v1/groups/sip%3Agroup@b.example", None, 403, "not-authorised"),
    ];
    for (administrator, method, path, body, status, name) in asks {
        let what = format!("{method} {path} {}", body.is_some());
        let (found, problem) = administrator.ask(method, path, body).await;
        assert_eq!(found, status, "{what}: {problem}");
        assert!(is_problem(&problem, name), "{what}: {problem}");
        if !matches!(name, "invalid-request" | "method-not-allowed" | "unknown-path") {
            assert_eq!(problem["code"], name, "{what}");
        }
    }
    let decisions = format!("{item}/decision");
    for (body, status) in [
        (json!({ "decision": "perhaps" }), 422),
        (json!({ "decision": { "reject": {} }, "more": 1 }), 422),
        (json!({ "decision": "accept" }), 404),
    ] {
        assert_eq!(bob.ask("POST", &decisions, Some(body)).await.0, status);
    }
    // The same name for another content; the same again.
    let mut repeated =
        to_user(Side::B, "anna", json!({ "add-users": { "users": ["sip:x@b.example"] } }));
    repeated.transaction = Some(unknown.parse().unwrap());
    assert_eq!(bob.begin(&repeated).await, unknown);
    assert_eq!(bob.begin(&repeated).await, unknown);
    repeated.payload =
        serde_json::from_value(json!({ "add-users": { "users": ["sip:y@b.example"] } })).unwrap();
    let body = serde_json::to_value(&repeated).unwrap();
    let (status, problem) = bob.ask("POST", "/acm/v1/transactions", Some(body)).await;
    assert!(status == 409 && is_problem(&problem, "conflict"), "{problem}");
    bob.reached(unknown, &["pending-at-partner"]).await;

    // Too early is no mistake in the request.
    let acknowledgement = item_path(Side::B, unknown) + "/acknowledgement";
    let (status, problem) = bob.ask("POST", &acknowledgement, None).await;
    assert!(status == 409 && is_problem(&problem, "no-response-yet"), "{problem}");
    // Who may not decide may not, and the first decision holds.
    let anna = pair.administrator(Side::A, "anna");
    let amir = pair.administrator(Side::A, "amir");
    anna.has_item(Side::B, unknown).await;
    let (status, problem) = amir.ask("GET", &item_path(Side::B, unknown), None).await;
    assert!(status == 403 && is_problem(&problem, "not-authorised"), "{problem}");
    assert_eq!(anna.decide(Side::B, unknown, json!("accept")).await.0, 200);
    let (status, problem) =
        anna.decide(Side::B, unknown, json!({ "reject": { "reason": null } })).await;
    assert!(status == 409 && is_problem(&problem, "already-decided"), "{problem}");
    assert_eq!(problem["outcome"]["handler_id"], "sip:anna@a.example");
    assert!(metric(&systems[1], "migcore_requests_waiting") < 0.5);
    shutdown(systems).await;
}

/// What requests a test has made of a description: parameters of operations, and operations that were done.
#[derive(Default)]
struct Made {
    /// Method, path, where the parameter is, and its name.
    parameters: BTreeSet<[String; 4]>,
    /// Method, path and status.
    statuses: BTreeSet<(String, String, u16)>,
}

impl Made {
    /// Notes the headers and the query of a request, which have to be as described.
    fn note(&mut self, operation: &Value, request: &reqwest::Request, [method, path]: [&str; 2]) {
        const GENERAL: [&str; 3] = ["authorization", "content-type", "accept"];
        let names = request.headers().keys().map(|name| ("header", name.as_str().to_owned()));
        let names = names.filter(|(_, name)| !GENERAL.contains(&&**name));
        let query = request.url().query_pairs().map(|(name, _)| ("query", name.into_owned()));
        let made: BTreeSet<(&str, String)> = names.chain(query).collect();
        let described: BTreeSet<(&str, String)> = parameters(operation).map(|it| it.0).collect();
        for it in &made {
            assert!(described.contains(it), "{method} {path}: {it:?} is not described");
        }
        for (it, is_required) in parameters(operation) {
            assert!(!is_required || made.contains(&it), "{method} {path}: {it:?} is demanded");
        }
        let made =
            made.into_iter().map(|(place, name)| [method, path, place, &*name].map(str::to_owned));
        self.parameters.extend(made);
    }

    /// Checks that every parameter and every success of a description has been seen.
    fn is_all_of(&self, description: &Value) {
        for (path, item) in description["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                for ((place, name), _) in parameters(operation) {
                    let it = [method, path, place, &*name].map(str::to_owned);
                    assert!(path == "/openapi.json" || self.parameters.contains(&it), "{it:?}");
                }
                let success = operation["responses"].as_object().unwrap().keys();
                for status in success.filter(|status| status.starts_with('2')) {
                    let it = (method.clone(), path.clone(), status.parse().unwrap());
                    assert!(path == "/openapi.json" || self.statuses.contains(&it), "{it:?}");
                }
            }
        }
    }
}

/// The parameters in headers, by lower-case names, and in the query; and whether they are demanded.
fn parameters(operation: &Value) -> impl Iterator<Item = ((&str, String), bool)> {
    let all = operation["parameters"].as_array().into_iter().flatten();
    let all = all.map(|it| {
        let (place, name) = (it["in"].as_str().unwrap(), it["name"].as_str().unwrap());
        let name = if place == "header" { name.to_lowercase() } else { name.to_owned() };
        ((place, name), it["required"] == true)
    });
    all.filter(|((place, _), _)| *place != "path")
}

/// An operation of a description with the request that it is about.
struct Described<'a> {
    path: &'a str,
    method: &'a str,
    status: u16,
    request: RequestBuilder,
    body: Option<Value>,
}

async fn check_against(description: &Value, made: &mut Made, asked: Described<'_>) -> Value {
    let Described { path, method, status, request, body } = asked;
    let operation = &description["paths"][path][method];
    assert!(operation.is_object(), "{method} {path}");
    assert_eq!(operation["security"], json!([{ "bearer": [] }]), "{path}");
    let request = match &body {
        Some(body) => {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            check_schema(description, schema, body, path);
            request.json(body)
        }
        None => request,
    };
    let request = request.build().unwrap();
    made.note(operation, &request, [method, path]);
    let response = reqwest::Client::builder().no_proxy().build().unwrap().execute(request);
    let mut response = response.await.unwrap();
    assert_eq!(response.status().as_u16(), status, "{method} {path}");
    made.statuses.insert((method.to_owned(), path.to_owned(), status));
    let headers = response.headers().clone();
    let kind = headers.get("content-type").map(|kind| kind.as_bytes());
    let text = if kind == Some(b"text/event-stream") {
        // It does not end: its first part is as good as all.
        let part = response.chunk().await.unwrap().unwrap();
        String::from_utf8(part.to_vec()).unwrap()
    } else {
        response.text().await.unwrap()
    };
    check_answer(description, operation, (status, &headers, &text), path);
    serde_json::from_str(&text).unwrap_or_default()
}

async fn description_at(url: &str) -> Value {
    reqwest::get(format!("{url}/openapi.json")).await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn the_descriptions_are_served_and_requests_and_answers_conform_to_them() {
    let pair = Pair::draw();
    let systems = start_both(&pair, "", None).await;
    let anna = pair.administrator(Side::A, "anna");
    let bob = pair.administrator(Side::B, "bob");
    let client = description_at(&bob.url).await;
    assert!(client["components"]["schemas"]["Notification"]["properties"]["last"].is_object());
    let session = bob.log_on().await;
    let transaction = anna.begin(&xcfg(Side::A, 1)).await;
    bob.has_item(Side::A, &transaction).await;
    let unknown = "3f0c2f3e-7a41-4c52-9d0e-5a1b2c3d4e5f";
    let (sessions, items) = ("/acm/v1/sessions", "/acm/v1/items");
    let (item, of) = ("/acm/v1/items/{origin}/{transaction}", "/acm/v1/transactions/{transaction}");
    let (decision, acknowledgement) =
        (format!("{item}/decision"), format!("{item}/acknowledgement"));
    let at = item_path(Side::A, &transaction);
    let begun = bob.begin(&xcfg(Side::B, 2)).await;
    let begin = serde_json::to_value(xcfg(Side::B, 3)).unwrap();
    let (groups, group) = ("/acm/v1/groups", "/acm/v1/groups/{group}");
    let events = "/acm/v1/sessions/{session}/events";
    let of_groups = format!("{groups}?home=sip%3Aa.example&after=sip%3Ag@a.example&limit=7");
    let mut made = Made::default();
    let accept = json!({ "decision": "accept", "alias": null });
    let reject = json!({ "decision": { "reject": { "reason": "no" } } });
    for (method, path, url, status, body) in [
        ("post", sessions, sessions.to_owned(), 201, None),
        ("get", items, items.to_owned(), 200, None),
        ("get", items, format!("{items}?after=0&limit=7"), 200, None),
        ("get", items, format!("{items}?limit=0"), 400, None),
        ("get", groups, of_groups, 200, None),
        ("get", item, at.clone(), 200, None),
        ("get", item, item_path(Side::A, unknown), 404, None),
        ("post", &decision, format!("{at}/decision"), 200, Some(accept)),
        ("post", &decision, format!("{at}/decision"), 409, Some(reject)),
        ("post", &acknowledgement, format!("{at}/acknowledgement"), 404, None),
        ("post", "/acm/v1/transactions", "/acm/v1/transactions".to_owned(), 201, Some(begin)),
        ("get", of, format!("/acm/v1/transactions/{unknown}"), 404, None),
        ("put", group, "/acm/v1/groups/sip%3Ag@b.example".to_owned(), 204, None),
        ("delete", group, "/acm/v1/groups/sip%3Ag@b.example".to_owned(), 204, None),
        ("delete", group, "/acm/v1/groups/sip%3Ah@b.example".to_owned(), 404, None),
        ("get", events, format!("{sessions}/{session}/events"), 200, None),
        ("delete", "/acm/v1/sessions/{session}", format!("{sessions}/{session}"), 204, None),
    ] {
        let mut request = bob.request(&method.to_uppercase(), &url);
        if path == events {
            request = request.header("Last-Event-ID", 0);
        }
        let asked = Described { path, method, status, request, body };
        check_against(&client, &mut made, asked).await;
    }
    let progress = anna.reached(&transaction, &["responded"]).await;
    let request = anna.request("GET", &format!("/acm/v1/transactions/{transaction}"));
    let body = None;
    let asked = Described { path: of, method: "get", status: 200, request, body };
    assert_eq!(check_against(&client, &mut made, asked).await, progress);
    let request = anna.request("GET", &at);
    let asked = Described { path: item, method: "get", status: 200, request, body: None };
    check_against(&client, &mut made, asked).await;
    for (administrator, method, path, url, status) in [
        (&anna, "post", &*acknowledgement, format!("{at}/acknowledgement"), 204),
        (&bob, "delete", of, format!("/acm/v1/transactions/{begun}"), 204),
    ] {
        let request = administrator.request(&method.to_uppercase(), &url);
        let asked = Described { path, method, status, request, body: None };
        check_against(&client, &mut made, asked).await;
    }
    let request = bob.http.get(format!("{}{items}", bob.url));
    let request = request.header("MC-Service-ID", "sip:bob@b.example");
    let asked = Described { path: items, method: "get", status: 401, request, body: None };
    check_against(&client, &mut made, asked).await;
    made.is_all_of(&client);

    let partner =
        description_at(&format!("http://127.0.0.1:{}", pair.ports(Side::B).partner)).await;
    let first = submit(exchange(7), |_| {});
    let mut more = first.clone();
    more["submit"]["more"] = json!(1);
    for (request, status, body) in [
        (pair.post(Side::B), 200, first),
        (pair.post(Side::B), 200, submit(exchange(1), |it| it.revision = 9)),
        (pair.post(Side::A), 401, submit(exchange(1), |_| {})),
    ] {
        let body = Some(body);
        let asked = Described { path: INTERCONNECTION, method: "post", status, request, body };
        check_against(&partner, &mut made, asked).await;
    }
    let response = pair.post(Side::B).json(&more).send().await.unwrap();
    assert_eq!(response.status(), 422);
    let operation = &partner["paths"][INTERCONNECTION]["post"];
    check_described(&partner, operation, response, INTERCONNECTION).await;

    let management = format!("http://127.0.0.1:{}", pair.ports(Side::B).management);
    let description = description_at(&management).await;
    let (users, strays) = ("/v1/acm/users/{mc_service_id}", "/v1/acm/strays");
    let carl = "/v1/acm/users/sip%3Acarl@b.example";
    let carl_checked = "/v1/acm/users/sip%3Acarl@b.example?check=true";
    let body =
        json!({ "token": token("carl").expose(), "may_request": ["groups"], "may_decide": [] });
    let twice = json!({ "token": token("carl").expose(), "may_request": ["groups", "groups"] });
    for (method, path, url, status, body) in [
        ("put", users, carl_checked, 204, Some(body.clone())),
        ("get", users, carl, 404, None),
        ("put", users, carl, 204, Some(body)),
        ("get", "/v1/acm/users", "/v1/acm/users?limit=2", 200, None),
        ("put", users, carl, 422, Some(twice)),
        ("put", users, carl, 422, Some(json!({ "token": "short" }))),
        ("get", users, carl, 200, None),
        ("delete", users, carl, 204, None),
        ("get", users, carl, 404, None),
        ("delete", users, carl, 404, None),
        ("get", strays, strays, 200, None),
    ] {
        let verb = reqwest::Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        let request = reqwest::Client::new().request(verb, format!("{management}{url}"));
        let request = match &body {
            Some(body) => request.json(body),
            None => request,
        };
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{method} {url}");
        let operation = &description["paths"][path][method];
        check_described(&description, operation, response, url).await;
    }
    shutdown(systems).await;
}

/// Keeps records in memory and fails while told to.
struct Flaky {
    engine: MemoryEngine,
    fails: Arc<AtomicBool>,
}

impl Flaky {
    fn check(&self) -> Result<(), EngineError> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(EngineError::Medium("no space left".to_owned()));
        }
        Ok(())
    }
}

impl Engine for Flaky {
    fn commit(&mut self, commits: &[Commit]) -> Result<(), EngineError> {
        self.check()?;
        self.engine.commit(commits)
    }

    fn replay(&mut self, each: &Each<'_>) -> Result<CommitSeq, ReplayError> {
        self.check()?;
        self.engine.replay(each)
    }

    fn approximate_len(&self) -> u64 {
        self.engine.approximate_len()
    }

    fn waits(&self) -> bool {
        false
    }

    fn reader(&self) -> Arc<dyn Reader> {
        self.engine.reader()
    }
}

#[tokio::test]
async fn without_storage_both_interfaces_say_when_to_ask_again_and_go_on_when_it_is_back() {
    let pair = Pair::draw();
    let fails = Arc::new(AtomicBool::new(false));
    let engine = Flaky { engine: MemoryEngine::default(), fails: Arc::clone(&fails) };
    let options = Options { engine: Some(Box::new(engine)), ..Options::default() };
    let b = pair.start(Side::B, "", options);
    pair.provision(Side::B, &["bob"]).await;
    let bob = pair.administrator(Side::B, "bob");
    let session = bob.log_on().await;
    let mut events = EventReader::open(&bob, session, None).await;
    let request = submit(exchange(1), |_| {});
    let begin = serde_json::to_value(xcfg(Side::B, 1)).unwrap();

    fails.store(true, Ordering::SeqCst);
    for attempt in ["the commit fails", "no commit is tried"] {
        for request in [
            pair.post(Side::B).json(&request),
            bob.request("GET", "/acm/v1/items"),
            bob.request("POST", "/acm/v1/transactions").json(&begin),
            bob.request("GET", &format!("/acm/v1/sessions/{session}/events")),
        ] {
            let response = request.send().await.unwrap();
            assert!(response.headers().contains_key("retry-after"), "{attempt}: {response:?}");
            let (status, problem) = read(response).await;
            assert_eq!(status, 503, "{attempt}: {problem}");
        }
    }
    // The roles are loaded anew: streams end, and clients come again.
    fails.store(false, Ordering::SeqCst);
    crate::node_world::eventually("the storage came back", || {
        metric(&b, "migcore_storage_available") > 0.5
    })
    .await;
    assert_eq!(events.next().await, None);
    assert_eq!(answer(pair.post(Side::B).json(&request)).await, (200, json!("stored")));
    let mut events = EventReader::open(&bob, session, None).await;
    assert_eq!(events.next().await.unwrap().1["count"], 1);
    assert_eq!(bob.items().await.len(), 1, "once");
    drop(events);
    b.shutdown().await;
}
