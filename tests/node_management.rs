//! The management interface over real HTTP, against its own description.
#![cfg(feature = "node")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

mod node_world;

use migcore::{
    node::{Options, RunningSystem, config::Config},
    ue_configuration::InitialUeConfiguration,
};
use node_world::{described::check_described, metric, start, toml};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};

const KEY: &str = "465b5ce8b199b49faa5f0a2ee238a6bc";

/// A system and a client of its management interface.
struct Bench {
    system: RunningSystem,
    http: Client,
    url: String,
}

impl Bench {
    fn start(domain: &str) -> Self {
        Self::start_with(domain, "")
    }

    fn start_with(domain: &str, more: &str) -> Self {
        let system = start(domain, more);
        let url = format!("http://{}", system.bound().management.expect("it is on"));
        Self { system, http: Client::new(), url }
    }

    /// A system with an ACM server, and so with a controlling server of functional aliases.
    fn start_with_acm(domain: &str) -> Self {
        let more = "[config_server]\nstatic_tokens = true\nlisten = \"127.0.0.1:0\"\n\
                    [acm]\nclient_listen = \"127.0.0.1:0\"\npartner_listen = \"127.0.0.1:0\"\n";
        let roles = "roles = [\"sip_core\", \"sip_database\", \"config_server\", \"acm\"]\n";
        let config = Config::parse(&format!("{roles}{}", toml(domain, more))).unwrap();
        let system = RunningSystem::start(config, Options::default()).unwrap();
        let url = format!("http://{}", system.bound().management.expect("it is on"));
        Self { system, http: Client::new(), url }
    }

    async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Response {
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
        let request = self.http.request(method, format!("{}{path}", self.url));
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        request.send().await.expect("an answer")
    }

    async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let response = self.send(method, path, body).await;
        let status = response.status().as_u16();
        let text = response.text().await.expect("a body");
        (
            status,
            if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("JSON") },
        )
    }
}

fn subscriber() -> Value {
    json!({ "impus": ["sip:alice@a.example"], "k": KEY, "op": KEY })
}

fn pool(direction: &str, prefix: &str, domain: &str) -> Value {
    json!({
        "direction": direction,
        "generated": {
            "impi_template": format!("{prefix}-{{id}}@{domain}"),
            "impu_template": format!("sip:{prefix}-{{id}}@{domain}"),
        },
    })
}

#[tokio::test]
async fn a_subscriber_is_created_shown_without_keys_and_deleted() {
    let bench = Bench::start("a.example");
    let path = "/v1/subscribers/alice@a.example";
    assert_eq!(bench.ask("get", path, None).await.0, 404);
    assert_eq!(bench.ask("put", path, Some(&subscriber())).await, (204, Value::Null));

    let (status, shown) = bench.ask("get", path, None).await;
    assert_eq!((status, &shown["impi"]), (200, &json!("alice@a.example")));
    assert_eq!(shown["impus"], json!(["sip:alice@a.example"]));
    assert!(!shown.to_string().contains(&KEY[..8]), "{shown}");

    assert_eq!(bench.ask("delete", path, None).await.0, 204);
    assert_eq!(bench.ask("get", path, None).await.0, 404);
    let counted = "migcore_management_requests_total{operation=\"get_subscriber\",status=\"404\"}";
    assert!((metric(&bench.system, counted) - 2.0).abs() < f64::EPSILON);
    bench.system.shutdown().await;
}

#[tokio::test]
async fn pairs_are_lent_repeatably_and_released() {
    let bench = Bench::start("a.example");
    bench.ask("put", "/v1/subscribers/alice@a.example", Some(&subscriber())).await;
    let user = json!({ "impi": "alice@a.example", "impu": "sip:alice@a.example", "partner": "sipdb.b.example" });
    let (status, problem) = bench.ask("post", "/v1/bindings/outbound", Some(&user)).await;
    assert!((400..500).contains(&status), "no pool yet: {status} {problem}");

    assert_eq!(
        bench.ask("put", "/v1/pools/out", Some(&pool("outbound", "out", "a.example"))).await.0,
        204
    );
    let (status, lent) = bench.ask("post", "/v1/bindings/outbound", Some(&user)).await;
    assert_eq!(status, 200, "{lent}");
    let impi = lent["impi"].as_str().unwrap();
    assert!(impi.starts_with("out-") && impi.ends_with("@a.example"), "{impi}");
    let (_, again) = bench.ask("post", "/v1/bindings/outbound", Some(&user)).await;
    assert_eq!((&again["impi"], &again["impu"]), (&lent["impi"], &lent["impu"]));
    let (_, full) = bench.ask("get", "/v1/pools/out", None).await;
    assert_eq!((&full["direction"], &full["lent"]), (&json!("outbound"), &json!(1)));

    let path = format!("/v1/bindings/outbound/{impi}");
    assert_eq!(bench.ask("get", &path, None).await.0, 200);
    assert_eq!(bench.ask("delete", &path, None).await.0, 204);
    assert_eq!(bench.ask("get", &path, None).await.0, 404);

    bench.ask("put", "/v1/pools/in", Some(&pool("inbound", "mig", "a.example"))).await;
    let foreign = json!({
        "database": "sipdb.c.example", "impi": "out-1@c.example",
        "impu": "sip:out-1@c.example", "server_name": "sip:migration.c.example",
    });
    let (status, lent) = bench.ask("post", "/v1/bindings/inbound", Some(&foreign)).await;
    assert_eq!((status, &lent["active"]), (200, &json!(false)), "{lent}");
    bench.system.shutdown().await;
}

#[tokio::test]
async fn a_wrong_request_is_told_the_field_and_the_fix() {
    let bench = Bench::start("a.example");
    let path = "/v1/subscribers/alice@a.example";
    for (method, path, body, status, field) in [
        ("put", path, json!({ "impus": ["sip:a@a.example"], "k": "12", "op": KEY }), 422, "k"),
        ("put", path, json!({ "impus": ["sip:a@a.example"], "k": KEY }), 422, "opc"),
        (
            "put",
            path,
            json!({ "impus": ["sip:a@a.example"], "k": KEY, "op": KEY, "opc": KEY }),
            422,
            "op",
        ),
        ("put", path, json!({ "impus": [], "k": KEY, "op": KEY }), 422, "impus"),
        ("put", path, json!({ "impus": ["a@a.example"], "k": KEY, "op": KEY }), 422, "impus[0]"),
        (
            "put",
            path,
            json!({ "impus": ["sip:a@a.example"], "k": KEY, "op": KEY, "seq": 1_u64 << 43 }),
            422,
            "seq",
        ),
        (
            "put",
            path,
            json!({ "impus": ["sip:a@a.example"], "k": KEY, "op": KEY, "amf": "8" }),
            422,
            "amf",
        ),
        ("put", path, json!({ "impus": ["sip:a@a.example"], "key": KEY }), 422, "key"),
        ("put", "/v1/subscribers/alice", subscriber(), 422, "impi"),
        ("put", "/v1/pools/p", json!({ "direction": "sideways" }), 422, "direction"),
        ("put", "/v1/pools/p", json!({ "direction": "inbound" }), 422, "generated"),
        ("delete", "/v1/bindings/sideways/a@b", Value::Null, 422, "direction"),
        (
            "put",
            "/v1/grants/a@a.example/a..b",
            json!({ "impu": "sip:a@a.example", "valid_for_seconds": 1 }),
            422,
            "partner",
        ),
    ] {
        let response = bench.send(method, path, Some(&body)).await;
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let found = response.status().as_u16();
        let problem: Value = response.json().await.unwrap();
        assert_eq!((found, &problem["field"]), (status, &json!(field)), "{body} {problem}");
        assert!(!problem["fix"].as_str().unwrap().is_empty());
        assert!(!problem.to_string().contains(&KEY[..8]), "{problem}");
    }
    bench.system.shutdown().await;
}

#[tokio::test]
async fn what_is_no_json_or_too_long_or_elsewhere_is_a_problem_too() {
    let bench = Bench::start("a.example");
    let url = format!("{}/v1/subscribers/alice@a.example", bench.url);
    let typed = |kind: &'static str| bench.http.put(&url).header("content-type", kind);
    let long = " ".repeat(migcore::node::management::BODY_OCTETS_MAX + 1);
    for (request, status) in [
        (typed("text/plain").body("{}"), StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (typed("application/json").body("{"), StatusCode::BAD_REQUEST),
        (typed("application/json; charset=utf-8").body("[]"), StatusCode::UNPROCESSABLE_ENTITY),
        (typed("application/json").body(long), StatusCode::PAYLOAD_TOO_LARGE),
        (bench.http.get(format!("{}/v2", bench.url)), StatusCode::NOT_FOUND),
        (bench.http.post(format!("{}/v1/system", bench.url)), StatusCode::METHOD_NOT_ALLOWED),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }
    bench.system.shutdown().await;
}

#[tokio::test]
async fn functional_aliases_are_held_taken_over_and_listed() {
    let bench = Bench::start_with_acm("a.example");
    let holder = |name: &str| {
        format!("/v1/functional-aliases/sip:driver@a.example/holders/sip:{name}@a.example")
    };
    let put = |query: &str, name: &str| format!("{}{query}", holder(name));
    let none = json!({ "displaced": [] });
    for name in ["zoe", "adam", "zoe"] {
        assert_eq!(bench.ask("put", &holder(name), None).await, (200, none.clone()));
    }
    let (status, page) = bench.ask("get", "/v1/functional-aliases?limit=1", None).await;
    assert_eq!((status, page["next"].is_null()), (200, true), "{page}");
    let item = &page["items"][0];
    assert_eq!(item["alias"], json!("sip:driver@a.example"));
    let users = item["holders"].as_array().unwrap().iter().map(|it| it["user"].clone());
    let wanted = [json!("sip:zoe@a.example"), json!("sip:adam@a.example")];
    assert_eq!(users.collect::<Vec<_>>(), wanted);

    let (status, problem) = bench.ask("put", &put("?shared=false", "mia"), None).await;
    assert_eq!((status, &problem["field"]), (409, &json!("alias")), "{problem}");
    let (_, taken) = bench.ask("put", &put("?take-over=true&shared=false", "mia"), None).await;
    assert_eq!(taken, json!({ "displaced": wanted }));
    for name in ["mia", "mia", "zoe"] {
        assert_eq!(bench.ask("delete", &holder(name), None).await, (204, Value::Null));
    }
    let (_, page) = bench.ask("get", "/v1/functional-aliases", None).await;
    assert_eq!(page, json!({ "items": [] }));
    bench.system.shutdown().await;
}

#[tokio::test]
async fn a_wrong_request_about_functional_aliases_is_told_the_field_and_the_fix() {
    let bench = Bench::start_with_acm("a.example");
    let base = "/v1/functional-aliases";
    for (method, path, status, field) in [
        ("put", "/sip:driver@a.example/holders/sip:zoe@b.example", 422, json!("user")),
        ("put", "/sip:driver@a.example/holders/zoe", 422, json!("user")),
        ("put", "/driver/holders/sip:zoe@a.example", 422, json!("alias")),
        ("delete", "/driver/holders/sip:zoe@a.example", 422, json!("alias")),
        ("put", "/sip:driver@a.example/holders/sip:zoe@a.example?take_over=1", 400, Value::Null),
        ("get", "?limit=0", 422, json!("limit")),
        ("get", "?limit=many", 422, json!("limit")),
        ("get", "?after=driver", 422, json!("after")),
    ] {
        let (found, problem) = bench.ask(method, &format!("{base}{path}"), None).await;
        assert_eq!((found, &problem["field"]), (status, &field), "{path} {problem}");
        assert!(!problem["fix"].as_str().unwrap().is_empty());
    }
    bench.system.shutdown().await;
}

/// Each described operation is asked twice, well and badly; the answer must be one that the
/// description has, and its body as described.
#[tokio::test]
async fn every_answer_is_as_described() {
    let bench = Bench::start_with(
        "a.example",
        "[config_server]\nstatic_tokens = true\nlisten = \"127.0.0.1:0\"\nlisten_partners = \"127.0.0.1:0\"\n\
         [[config_server.partners]]\nid = \"sip:b.example\"\nsip_database = \"sipdb.b.example\"\n\
         url = \"http://127.0.0.1:9\"\nsend_token = \"dG9rZW4tdGhhdC1hLXByZXNlbnRz\"\n\
         accept_token = \"dG9rZW4tdGhhdC1iLXByZXNlbnRz\"\nareas = [{ plmn = \"00101\" }]\n\
         [[diameter.peers]]\nhost = \"sipdb.b.example\"\nrealm = \"b.example\"\nkind = \"database\"\n",
    );
    let (_, description) = bench.ask("get", "/openapi.json", None).await;
    let mut asked = 0;
    for (template, operations) in description["paths"].as_object().unwrap() {
        for method in ["get", "put", "post", "delete", "patch"] {
            let agreed = template.starts_with("/v1/agreements");
            let partner = if agreed { "sip%3Ab.example" } else { "sipdb.b.example" };
            let path = template
                .replace("{impi}", "alice@a.example")
                .replace("{name}", "p")
                .replace("{direction}", "outbound")
                .replace("{mc_service_id}", "sip%3Aalice@a.example")
                .replace("{mc_system_id}", "sip%3Aa.example")
                .replace("{users}", "everybody")
                .replace("{alias}", "sip%3Adriver%40a.example")
                .replace("{user}", "sip%3Aalice%40a.example")
                .replace("{partner}", partner);
            let Some(operation) = operations.get(method) else {
                // A path with a parameter may match another template's fixed path.
                let response = bench.send(method, &path, None).await;
                assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
                continue;
            };
            for body in bodies(template) {
                let response = bench.send(method, &path, body.as_ref()).await;
                check_described(&description, operation, response, &format!("{method} {path}"))
                    .await;
                asked += 1;
            }
        }
    }
    assert!(asked > 40, "{asked}");
    bench.system.shutdown().await;
}

/// What to send to a path: something right, and something wrong.
fn bodies(template: &str) -> Vec<Option<Value>> {
    let pair = json!({
        "impi": "alice@a.example", "impu": "sip:alice@a.example", "partner": "sipdb.b.example",
    });
    let right = match template {
        "/v1/subscribers/{impi}" => subscriber(),
        "/v1/pools/{name}" => pool("outbound", "out", "a.example"),
        "/v1/bindings/outbound" => pair,
        "/v1/bindings/inbound" => json!({
            "database": "sipdb.c.example", "impi": "o@c.example", "impu": "sip:o@c.example",
            "server_name": "sip:migration.c.example",
        }),
        "/v1/grants/{impi}/{partner}" => {
            json!({ "impu": "sip:alice@a.example", "valid_for_seconds": 60 })
        }
        "/v1/users/{mc_service_id}" => json!({
            "impi": "alice@a.example", "impu": "sip:alice@a.example", "class": "police",
            "token": "dXNlci10b2tlbi1vZi1hbGljZQ",
        }),
        "/v1/agreements/{partner}/{direction}/{users}" => {
            json!({ "valid_until": 4_102_444_800_u64 })
        }
        "/v1/system-configurations/{mc_system_id}" => {
            let plmn = migcore::identity::Plmn::parse("00101").unwrap();
            let document = InitialUeConfiguration::for_domain("a.example", plmn).unwrap();
            json!({
                "revision": 1, "document": document.render(),
                "sip_core": [{ "transport": "udp", "address": "192.0.2.1:5060" }],
            })
        }
        "/v1/mappings" => json!({
            "database": "sipdb.c.example", "impi": "o@c.example", "impu": "sip:o@c.example",
            "server_name": "sip:migration.c.example",
            "inbound": { "impi": "g@a.example", "impu": "sip:g@a.example" },
        }),
        _ => return vec![None],
    };
    vec![Some(right), Some(json!({ "wrong": 1 })), None]
}

#[tokio::test]
async fn health_and_metrics_are_served() {
    let bench = Bench::start("a.example");
    let admin = format!("http://{}", bench.system.bound().admin.unwrap());
    let get = |path: &str| bench.http.get(format!("{admin}{path}")).send();
    assert_eq!(get("/health/live").await.unwrap().status(), StatusCode::NO_CONTENT);
    let ready = get("/health/ready").await.unwrap();
    assert_eq!(ready.status(), StatusCode::OK);
    assert_eq!(ready.json::<Value>().await.unwrap()["storage"], json!(true));
    let metrics = get("/metrics").await.unwrap();
    assert!(
        metrics.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("application/openmetrics-text")
    );
    let text = metrics.text().await.unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert!(text.contains("migcore_storage_available 1\n"), "{text}");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.starts_with("migcore_"), "{line}");
    }
    bench.system.shutdown().await;
}

#[tokio::test]
async fn a_quarantine_shorter_than_a_registration_is_refused_with_the_least_one() {
    let bench = Bench::start_with("a.example", "[sip_database]\npartner_lease = \"40d\"\n");
    let pool = |direction: &str, seconds: u64| {
        let identity = json!({ "impi": "guest@a.example", "impu": "sip:guest@a.example" });
        let listed = json!({ "identities": [identity], "quarantine_seconds": seconds });
        json!({ "direction": direction, "listed": listed })
    };
    // The longest registration and reg-await-auth; for outbound pairs after the partner's reservation.
    let registered = 600_000 + 240;
    for (direction, least) in [("inbound", registered), ("outbound", 40 * 24 * 3_600 + registered)]
    {
        let path = format!("/v1/pools/{direction}");
        let (status, problem) = bench.ask("put", &path, Some(&pool(direction, least - 1))).await;
        assert_eq!(status, 422, "{problem}");
        assert!(problem.to_string().contains(&format!("write {least} or more")), "{problem}");
    }
    let (status, problem) =
        bench.ask("put", "/v1/pools/in", Some(&pool("inbound", registered))).await;
    assert_eq!(status, 204, "{problem}");
    bench.system.shutdown().await;
}
