//! The identity management server over HTTP: what browsers, clients and operators see, on real sockets, and a client that
//! this project did not write.
#![cfg(feature = "node")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "test code"
)]

mod free_ports;
mod node_world;

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use free_ports::free_ports;
use migcore::node::{Options, RunningSystem, config::Config};
use node_world::{described::check_described, metric};
use reqwest::{
    Client, RequestBuilder, Response,
    header::{CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE},
    redirect::Policy,
};
use serde_json::{Value, json};

const CLIENT: &str = "mc-client";
const REDIRECT: &str = "http://127.0.0.1:4711/back";
const PASSWORD: &str = "correct horse battery staple";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ASSERTION: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A system that runs an identity management server alone.
struct Site {
    system: RunningSystem,
    issuer: String,
    manage: String,
    http: Client,
    config: String,
}

impl Site {
    /// Passwords cost little here: what they cost is not what these tests are about.
    fn start(letter: char) -> Self {
        let port = free_ports(1);
        let issuer = format!("http://127.0.0.1:{port}");
        let config = format!(
            "roles = [\"idms\"]\n[system]\ndomain = \"{letter}.example\"\ninsecure = true\n[diameter]\n[admin]\n[management]\n\
             listen = \"127.0.0.1:0\"\n[idms]\nlisten = \"127.0.0.1:{port}\"\nissuer = \"{issuer}\"\n\
             password_memory_kib = 8\npassword_passes = 1\n"
        );
        let options = Options::default();
        let system = RunningSystem::start(Config::parse(&config).unwrap(), options).unwrap();
        Self::of(system, issuer, config)
    }

    fn of(system: RunningSystem, issuer: String, config: String) -> Self {
        let manage = format!("http://{}", system.bound().management.unwrap());
        migcore::node::tls::use_ring();
        let http = Client::builder().redirect(Policy::none()).no_proxy().build().unwrap();
        Self { system, issuer, manage, http, config }
    }

    /// Stops it and starts it on what it stored.
    async fn restart(self) -> Self {
        let Self { system, issuer, config, .. } = self;
        let options = Options { engine: system.shutdown().await, ..Options::default() };
        let system = RunningSystem::start(Config::parse(&config).unwrap(), options).unwrap();
        Self::of(system, issuer, config)
    }

    async fn put(&self, path: &str, body: Value) {
        let response = self.http.put(format!("{}{path}", self.manage)).json(&body).send().await;
        let response = response.unwrap();
        assert_eq!(response.status(), 204, "{path}: {}", response.text().await.unwrap());
    }

    async fn show(&self, path: &str) -> Value {
        self.http.get(format!("{}{path}", self.manage)).send().await.unwrap().json().await.unwrap()
    }

    async fn ask(&self, form: &[(&str, &str)]) -> Response {
        let request = self.http.post(format!("{}/token", self.issuer));
        with_form(request, form).send().await.unwrap()
    }

    async fn tokens(&self, form: &[(&str, &str)]) -> Value {
        let response = self.ask(form).await;
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
        assert_eq!(response.headers()["cache-control"], "no-store");
        response.json().await.unwrap()
    }

    async fn error(&self, form: &[(&str, &str)]) -> (u16, String) {
        let response = self.ask(form).await;
        let status = response.status().as_u16();
        let body: Value = response.json().await.unwrap();
        (status, body["error"].as_str().unwrap().to_owned())
    }

    async fn open(&self, query: &[(&str, &str)]) -> Response {
        let url = format!("{}/authorize?{}", self.issuer, encoded(query));
        self.http.get(url).send().await.unwrap()
    }

    /// Opens the page and sends it with user and password.
    async fn send_page(&self, user: &str, password: &str) -> Response {
        let response = self.open(&parameters()).await;
        assert_eq!(response.status(), 200);
        let cookie = response.headers()[SET_COOKIE].to_str().unwrap().to_owned();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        let mut fields = hidden_fields(&response.text().await.unwrap());
        fields.push(("user".to_owned(), user.to_owned()));
        fields.push(("password".to_owned(), password.to_owned()));
        let request = self.http.post(format!("{}/authorize", self.issuer));
        let fields: Vec<(&str, &str)> =
            fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        with_form(request, &fields).header(COOKIE, cookie).send().await.unwrap()
    }

    async fn log_in(&self) -> Value {
        let response = self.send_page("alice", PASSWORD).await;
        assert_eq!(response.status(), 303, "{}", response.text().await.unwrap());
        let location = response.headers()[LOCATION].to_str().unwrap();
        let code = location.split_once("code=").unwrap().1.split('&').next().unwrap();
        self.tokens(&redeem(code)).await
    }

    fn trust(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_migcore"));
        command.arg("trust").args(arguments).args(["--system", &self.manage]);
        command.output().unwrap()
    }

    fn trusts(&self, arguments: &[&str]) -> String {
        let output = self.trust(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// A home A and a partner B, with a client and alice, who is known at B; B trusts A's certificates, by a file.
async fn two_sites() -> (Site, Site) {
    let (home, partner) = (Site::start('a'), Site::start('b'));
    for site in [&home, &partner] {
        let client = json!({"redirect_uris": ["http://127.0.0.1/back"]});
        site.put(&format!("/v1/idms/clients/{CLIENT}"), client).await;
    }
    let user = json!({
        "password": PASSWORD, "mcptt_id": "sip:alice@a.example", "partners": [partner.issuer],
    });
    home.put("/v1/idms/users/alice", user).await;
    let user = home.show("/v1/idms/users/alice").await;
    let subject = user["subject"].as_str().unwrap();
    let visitor = format!("/v1/idms/visitors/{}/{subject}", escaped(&home.issuer));
    partner.put(&visitor, json!({"mcptt_id": "sip:visitor-1@b.example"})).await;
    let file = temp_file("a.pem");
    home.trusts(&["export", "--output", file.to_str().unwrap()]);
    let imported = partner.trusts(&["import", file.to_str().unwrap(), "--issuer", &home.issuer]);
    assert!(imported.starts_with("trusted: "), "{imported}");
    fs::remove_file(file).unwrap();
    (home, partner)
}

fn encoded(parameters: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish()
}

fn with_form(request: RequestBuilder, form: &[(&str, &str)]) -> RequestBuilder {
    let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    request.body(encoded(form))
}

fn temp_file(name: &str) -> PathBuf {
    let directory = std::env::temp_dir();
    directory.join(format!(
        "migcore-idms-{}-{:?}-{name}",
        std::process::id(),
        std::thread::current().id()
    ))
}

fn escaped(url: &str) -> String {
    url.replace(':', "%3A").replace('/', "%2F")
}

fn parameters() -> [(&'static str, &'static str); 8] {
    [
        ("response_type", "code"),
        ("client_id", CLIENT),
        ("redirect_uri", REDIRECT),
        ("scope", "openid 3gpp:mc:ptt_service"),
        ("state", "x&y\"<z>"),
        ("nonce", "once"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ]
}

fn redeem(code: &str) -> [(&str, &str); 5] {
    [
        ("grant_type", "authorization_code"),
        ("client_id", CLIENT),
        ("code", code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
    ]
}

fn exchange<'a>(access_token: &'a str, partner: &'a str) -> [(&'a str, &'a str); 5] {
    [
        ("grant_type", EXCHANGE),
        ("client_id", CLIENT),
        ("subject_token", access_token),
        ("subject_token_type", ACCESS_TOKEN),
        ("resource", partner),
    ]
}

fn present(token: &str) -> [(&str, &str); 4] {
    let scope = "openid 3gpp:mc:ptt_service";
    [("grant_type", ASSERTION), ("client_id", CLIENT), ("assertion", token), ("scope", scope)]
}

/// Names and values of the hidden fields of a page.
fn hidden_fields(page: &str) -> Vec<(String, String)> {
    let inputs = page.split("<input type=\"hidden\" name=\"").skip(1);
    let unescape = |text: &str| {
        text.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    };
    inputs
        .map(|input| {
            let (name, rest) = input.split_once("\" value=\"").unwrap();
            (name.to_owned(), unescape(rest.split_once('"').unwrap().0))
        })
        .collect()
}

fn claims(token: &Value) -> Value {
    let payload = token.as_str().unwrap().split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[tokio::test]
async fn a_user_logs_in_at_home_and_gets_tokens_of_the_partner_across_restarts() {
    let (home, partner) = two_sites().await;
    let tokens = home.log_in().await;
    assert_eq!(tokens["token_type"], "Bearer");
    assert_eq!(claims(&tokens["id_token"])["nonce"], "once");
    let home = home.restart().await;
    let refresh = [
        ("grant_type", "refresh_token"),
        ("client_id", CLIENT),
        ("refresh_token", tokens["refresh_token"].as_str().unwrap()),
    ];
    let tokens = home.tokens(&refresh).await;
    let access = tokens["access_token"].as_str().unwrap();
    let security = home.tokens(&exchange(access, &partner.issuer)).await;
    assert_eq!(security["token_type"], "N_A");
    assert_eq!(security["issued_token_type"], "urn:ietf:params:oauth:token-type:jwt");
    assert!(
        home.show("/v1/idms/security-tokens").await["items"][0]["record"]["partner"].is_string()
    );
    home.system.shutdown().await;

    let token = security["access_token"].as_str().unwrap();
    let first = partner.tokens(&present(token)).await;
    assert_eq!(claims(&first["access_token"])["mcptt_id"], "sip:visitor-1@b.example");
    let partner = partner.restart().await;
    let again = partner.tokens(&present(token)).await;
    assert_eq!(claims(&again["id_token"])["aud"], CLIENT);
    assert_eq!(metric(&partner.system, "migcore_notes_total{note=\"security_token_taken\"}"), 1.0);
}

#[tokio::test]
async fn the_page_has_no_script_no_frame_and_nothing_of_the_client_unescaped() {
    let (home, _partner) = two_sites().await;
    let response = home.open(&parameters()).await;
    let headers = response.headers();
    assert!(headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    assert_eq!(headers["x-frame-options"], "DENY");
    assert_eq!(headers["cache-control"], "no-store");
    let cookie = headers[SET_COOKIE].to_str().unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let page = response.text().await.unwrap();
    assert!(!page.contains("<script") && !page.contains("<z>"), "{page}");
    assert!(hidden_fields(&page).contains(&("state".to_owned(), "x&y\"<z>".to_owned())));
}

#[tokio::test]
async fn a_wrong_password_an_unknown_user_and_a_forged_page_do_not_log_in() {
    let (home, _partner) = two_sites().await;
    let mut pages = Vec::new();
    for (user, password) in [("alice", "wrong password"), ("nobody", PASSWORD)] {
        let response = home.send_page(user, password).await;
        assert_eq!(response.status(), 403, "{user}");
        let page = response.text().await.unwrap();
        let form = hidden_fields(&page).into_iter().find(|(name, _)| name == "form").unwrap().1;
        pages.push(page.replace(&form, "FORM"));
    }
    assert_eq!(pages[0], pages[1]);
    // What a page of another origin could have a browser send: without the cookie.
    let fields = [("user", "alice"), ("password", PASSWORD), ("form", "x")];
    let all: Vec<(&str, &str)> = parameters().into_iter().chain(fields).collect();
    let request = home.http.post(format!("{}/authorize", home.issuer));
    let response = with_form(request, &all).send().await.unwrap();
    assert_eq!(response.status(), 400);
    let not_back =
        home.open(&[("client_id", CLIENT), ("redirect_uri", "https://eve.example")]).await;
    assert_eq!(not_back.status(), 400);
    assert!(not_back.headers().get(LOCATION).is_none());
    let no_challenge = home.open(&parameters()[..6]).await;
    let location = no_challenge.headers()[LOCATION].to_str().unwrap();
    assert!(location.contains("error=invalid_request"), "{location}");
}

#[tokio::test]
async fn the_token_endpoint_tells_nobody_who_or_what_exists() {
    let (home, partner) = two_sites().await;
    let tokens = home.log_in().await;
    let access = tokens["access_token"].as_str().unwrap();
    let secret = json!({"secret": "22-characters-or-more-drawn"});
    home.put("/v1/idms/clients/known", secret).await;
    let refresh = |id: &'static str| {
        [
            ("grant_type", "refresh_token"),
            ("refresh_token", "x"),
            ("client_id", id),
            ("client_secret", "y"),
        ]
    };
    let mut seen = Vec::new();
    for id in ["known", "unknown"] {
        let response = home.ask(&refresh(id)).await;
        let headers = response.headers()["www-authenticate"].clone();
        seen.push((response.status().as_u16(), headers, response.text().await.unwrap()));
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0].0, 401);
    let security = home.tokens(&exchange(access, &partner.issuer)).await;
    let token = security["access_token"].as_str().unwrap();
    let changed = format!("{}AAAA", &token[..token.len() - 4]);
    let mut seen = Vec::new();
    // Not a token, a token of an issuer that is not known, one with a wrong signature.
    for token in ["x", access, &changed] {
        let response = partner.ask(&present(token)).await;
        seen.push((response.status().as_u16(), response.text().await.unwrap()));
    }
    assert!(seen.iter().all(|one| *one == seen[0]), "{seen:?}");
    assert!(seen[0].1.contains("\"invalid_grant\""), "{seen:?}");
}

#[tokio::test]
async fn a_malformed_request_for_tokens_says_what_is_wrong() {
    let (home, _partner) = two_sites().await;
    for (form, status, error) in [
        (&[][..], 400, "invalid_request"),
        (&[("client_id", CLIENT)], 400, "invalid_request"),
        (&[("client_id", CLIENT), ("grant_type", "password")], 400, "unsupported_grant_type"),
        (
            &[("client_id", CLIENT), ("client_id", CLIENT), ("grant_type", "x")],
            400,
            "invalid_request",
        ),
        (
            &[("client_id", CLIENT), ("grant_type", EXCHANGE), ("subject_token", "x")],
            400,
            "invalid_request",
        ),
    ] {
        assert_eq!(home.error(form).await, (status, error.to_owned()), "{form:?}");
    }
    let json =
        home.http.post(format!("{}/token", home.issuer)).json(&json!({})).send().await.unwrap();
    assert_eq!(json.status(), 415);
    let long = "x".repeat(40_000);
    let response = home.ask(&[("client_id", CLIENT), ("assertion", &long)]).await;
    assert_eq!(response.status(), 413);
    let get = home.http.get(format!("{}/token", home.issuer)).send().await.unwrap();
    assert_eq!(get.status(), 405);
    let exchange = exchange("x", "https://idms.b.example");
    assert_eq!(home.error(&exchange).await, (400, "invalid_request".to_owned()));
}

#[tokio::test]
async fn an_operator_revokes_a_certificate_and_makes_a_new_key() {
    let (home, partner) = two_sites().await;
    let tokens = home.log_in().await;
    let access = tokens["access_token"].as_str().unwrap();
    let security = home.tokens(&exchange(access, &partner.issuer)).await;
    let token = security["access_token"].as_str().unwrap();
    partner.tokens(&present(token)).await;
    let list = partner.trusts(&["list"]);
    assert!(list.contains(&home.issuer) && list.contains("trusted"), "{list}");
    let json = partner.trusts(&["list", "--json"]);
    let listed: Value = serde_json::from_str(json.trim()).unwrap();
    let fingerprint = listed["certificate"]["fingerprint"].as_str().unwrap();
    partner.trusts(&["revoke", fingerprint, "--reason", "stolen"]);
    assert_eq!(partner.error(&present(token)).await, (400, "invalid_grant".to_owned()));
    let list = partner.trusts(&["list"]);
    assert!(list.contains("revoked") && list.contains("stolen"), "{list}");

    let keys = home.trusts(&["rotate"]);
    assert_eq!(keys.lines().filter(|line| line.contains(" yes ")).count(), 1, "{keys}");
    let file = temp_file("again.pem");
    fs::write(&file, home.trusts(&["export"])).unwrap();
    partner.trusts(&["import", file.to_str().unwrap(), "--issuer", &home.issuer]);
    let security = home.tokens(&exchange(access, &partner.issuer)).await;
    partner.tokens(&present(security["access_token"].as_str().unwrap())).await;
    let wrong = partner.trust(&["import", "/dev/null", "--issuer", &home.issuer]);
    let told = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(wrong.status.code() == Some(2) && told.contains("holds no PEM block"), "{told}");
    fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn operators_see_what_they_provisioned_without_secrets() {
    let (home, partner) = two_sites().await;
    let client = home.show(&format!("/v1/idms/clients/{CLIENT}")).await;
    assert_eq!(client["authentication"], "none");
    let users = home.show("/v1/idms/users").await;
    assert_eq!(users["items"][0]["record"]["password"], Value::Null);
    assert_eq!(home.show("/v1/idms/clients").await["items"].as_array().unwrap().len(), 1);
    assert_eq!(partner.show("/v1/idms/visitors").await["items"].as_array().unwrap().len(), 1);
    let denied = format!("/v1/idms/denied/{}/token/abc", escaped(&home.issuer));
    partner.put(&denied, Value::Null).await;
    assert_eq!(partner.show("/v1/idms/denied").await["items"][0]["id"], "abc");
    for (path, body, field) in [
        (
            "/v1/idms/clients/x",
            json!({"redirect_uris": ["javascript:alert(1)"]}),
            "redirect_uris[0]",
        ),
        ("/v1/idms/clients/x", json!({"secret": "short"}), "secret"),
        ("/v1/idms/clients/x", json!({"jwks": {"keys": []}}), "jwks"),
        ("/v1/idms/users/x", json!({"password": "short"}), "password"),
        ("/v1/idms/users/x", json!({"password_hash": "$argon2i$"}), "password_hash"),
        ("/v1/idms/users/x", json!({"partners": ["http://b.example"]}), "partners[0]"),
    ] {
        let request = home.http.put(format!("{}{path}", home.manage)).json(&body);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 422, "{body}");
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["field"], field, "{problem}");
        assert!(!problem["fix"].as_str().unwrap().is_empty());
    }
    let nobody = home.show("/v1/idms/users/nobody").await;
    assert_eq!(nobody["status"], 404);
}

#[tokio::test]
async fn what_is_discovered_is_where_it_says() {
    let (home, _partner) = two_sites().await;
    let get = async |url: &str| -> Value {
        home.http.get(url).send().await.unwrap().json().await.unwrap()
    };
    let found = get(&format!("{}/.well-known/openid-configuration", home.issuer)).await;
    assert_eq!(found["issuer"], home.issuer.as_str());
    assert_eq!(found["code_challenge_methods_supported"], json!(["S256"]));
    let keys = get(found["jwks_uri"].as_str().unwrap()).await;
    assert_eq!(keys["keys"][0]["crv"], "P-256");
    assert!(keys["keys"][0].get("d").is_none());
    let nothing = get(&format!("{}/nothing", home.issuer)).await;
    assert_eq!(nothing["status"], 404);
}

#[tokio::test]
async fn every_answer_about_it_on_the_management_interface_is_as_described() {
    let (home, partner) = two_sites().await;
    let description = partner.show("/openapi.json").await;
    let pem = home.trusts(&["export"]);
    let mut asked = 0;
    for (template, operations) in description["paths"].as_object().unwrap() {
        if !template.starts_with("/v1/idms") {
            continue;
        }
        let right = match template.as_str() {
            "/v1/idms/clients/{client_id}" => json!({"secret": "22-characters-or-more-drawn"}),
            "/v1/idms/users/{name}" => json!({"password": PASSWORD}),
            "/v1/idms/trust/{issuer}" => json!({"pem": pem}),
            _ => json!({}),
        };
        let path = template
            .replace("{client_id}", "other-client")
            .replace("{name}", "bob")
            .replace("{issuer}", &escaped(&home.issuer))
            .replace("{subject}", "x")
            .replace("{kind}", "subject")
            .replace("{id}", "x");
        for method in ["put", "post", "get", "delete"] {
            let operation = &operations[method];
            for body in [Some(&right), Some(&json!({"wrong": 1})), None] {
                if operation.is_null() {
                    continue;
                }
                let url = format!("{}{path}", partner.manage);
                let request = partner.http.request(method.to_uppercase().parse().unwrap(), url);
                let request = match body {
                    Some(body) => request.json(body),
                    None => request,
                };
                let response = request.send().await.unwrap();
                let what = format!("{method} {path} {body:?}");
                check_described(&description, operation, response, &what).await;
                asked += 1;
            }
        }
    }
    assert!(asked > 50, "{asked}");
}

/// Authlib, PyJWT and requests of Debian: an OpenID Connect client that this project did not write.
#[tokio::test]
async fn a_client_of_another_make_logs_in_exchanges_and_visits() {
    let available =
        Command::new("/usr/bin/python3").args(["-c", "import authlib, jwt, requests"]).output();
    if !available.is_ok_and(|output| output.status.success()) {
        let required = std::env::var("MIGCORE_PEERS").is_ok_and(|value| value == "required");
        assert!(
            !required,
            "python3-authlib, python3-jwt or python3-requests is missing: see tests/run"
        );
        return eprintln!("left out: python3-authlib is missing");
    }
    let (home, partner) = two_sites().await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/node_idms/client.py");
    let arguments =
        [script, &home.issuer, &partner.issuer, CLIENT, "alice", PASSWORD].map(str::to_owned);
    let run = move || {
        let mut command = Command::new("/usr/bin/python3");
        // Authlib refuses http unless told otherwise.
        command.env("AUTHLIB_INSECURE_TRANSPORT", "1").args(arguments).output().unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "sip:visitor-1@b.example");
}
