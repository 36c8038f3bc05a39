//! What the two interfaces say to whom speaks wrongly.

use std::{sync::Arc, time::Duration};

use migcore::{
    api::{
        acm_interconnection::{Envelope, Request, Submission, TransactionId},
        acm_payload::{ContentDigest, Parties, Payload},
    },
    identity::McSystemId,
    node::{Options, RunningSystem, SystemEntropy},
    time::Timestamp,
};
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::{
    node_world::{eventually, metric},
    shutdown, start_both,
    world::{
        INTERCONNECTION, Pair, Side, configuration, item_path, read, to_user, token, token_of,
        user, xcfg,
    },
};

/// A request of A, as its ACM server would send it.
pub fn submission(payload: Value, change: impl FnOnce(&mut Envelope)) -> Submission {
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

pub fn submit(payload: Value, change: impl FnOnce(&mut Envelope)) -> Value {
    serde_json::to_value(Request::Submit(Box::new(submission(payload, change)))).unwrap()
}

pub fn exchange(revision: u64) -> Value {
    json!({ "configuration": configuration(Side::A, revision) })
}

/// B alone, with an administrator.
pub async fn start_b(pair: &Pair, of_partner: &str) -> RunningSystem {
    let b = pair.start(Side::B, of_partner, Options::default());
    pair.provision(Side::B, &["bob"]).await;
    b
}

pub async fn answer(request: RequestBuilder) -> (u16, Value) {
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

    let noted = |count: f64| {
        let noted = metric(&b, "migcore_notes_total{note=\"request_refused\"}");
        assert!((noted - count).abs() < f64::EPSILON, "{noted}, not {count}");
    };
    noted(8.0);

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
    noted(12.0);
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
    let (status, given) = answer(pair.post(Side::B).json(&stale)).await;
    assert_eq!((status, &given["decided"]["result"]), (200, &json!("stale-revision")));
    assert_eq!(given["decided"]["elements"], json!(["revision"]));
    assert_eq!(answer(pair.post(Side::B).json(&stale)).await.1, given, "and so it stays");
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

    let noted = |count: f64| {
        let noted = metric(&systems[1], "migcore_notes_total{note=\"request_refused\"}");
        assert!((noted - count).abs() < f64::EPSILON, "{noted}, not {count}");
    };
    noted(6.0);

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
    // Nine are malformed, and two are by who may not.
    noted(17.0);
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
    eventually("no request waits", || metric(&systems[1], "migcore_requests_waiting") < 0.5).await;
    shutdown(systems).await;
}
