//! The interfaces are as they describe themselves.

use std::collections::BTreeSet;

use reqwest::RequestBuilder;
use serde_json::{Value, json};

use crate::{
    interfaces::{exchange, submit},
    node_world::described::{check_answer, check_described, check_schema},
    shutdown, start_both,
    world::{INTERCONNECTION, Pair, Side, item_path, token, xcfg},
};

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
