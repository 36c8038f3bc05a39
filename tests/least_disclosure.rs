//! What answers tell those who try identities: nothing by their octets, and nothing by the time that they take. Kinds of
//! probes take turns at random on real sockets, and rank tests try to tell them apart.
//!
//! 1,500 probes of each kind; `MIGCORE_FULL=1`: 100,000.
#![cfg(feature = "node")]
#![allow(
    clippy::cast_precision_loss,
    clippy::float_cmp,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "test code"
)]

mod common;
mod free_ports;
mod node_world;
mod statistics;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

use common::Seeded;
use free_ports::free_ports;
use migcore::{
    node::{
        RunningSystem,
        tls::use_ring,
        ue::identity::{IdentityClient, Server},
    },
    secret::SecretText,
};
use node_world::{eventually, peer, start};
use reqwest::{Client, Response, header};
use serde_json::{Value, json};
use statistics::Compared;
use tokio::{net::UdpSocket, sync::Mutex};

/// One at a time: they would be each other's noise.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Probes under way at a time.
const UNDER_WAY: usize = 128;

fn probes() -> usize {
    if std::env::var_os("MIGCORE_FULL").is_some() { 100_000 } else { 1_500 }
}

/// How long an answer took, seconds, and what is the same in all answers of its kind.
type Probed = (f64, String);

/// Holds kinds against the first of them, and prints how far they can be told apart.
fn compare(
    title: &str,
    kinds: &BTreeMap<&'static str, Vec<Probed>>,
) -> BTreeMap<[&'static str; 2], Compared> {
    let times = |all: &[Probed]| all.iter().map(|(time, _)| *time).collect::<Vec<f64>>();
    let mut compared = BTreeMap::new();
    for (number, (one, of_one)) in kinds.iter().enumerate() {
        for (other, of_other) in kinds.iter().skip(number + 1) {
            let result = Compared::of(&times(of_one), &times(of_other));
            println!("{title}: {one} and {other}: {result}");
            compared.insert([*one, *other], result);
        }
    }
    compared
}

/// All are answered in one way, which begins so, and nothing tells kinds apart.
fn assert_alike(title: &str, begins: &str, kinds: &BTreeMap<&'static str, Vec<Probed>>) {
    let texts: BTreeSet<&str> = kinds.values().flatten().map(|(_, text)| &**text).collect();
    assert_eq!(texts.len(), 1, "{title}: {texts:#?}");
    assert!(texts.iter().all(|text| text.starts_with(begins)), "{title}: {texts:#?}");
    for (two, result) in compare(title, kinds) {
        assert!(!result.differ(), "{title}, {two:?}: {result}");
    }
}

// REGISTER

/// A private and a public identity.
type Pair = (String, String);

/// Sends first REGISTERs of kinds in a random order, so many of each, `window` at a time.
async fn register(
    core: SocketAddr,
    kinds: &BTreeMap<&'static str, Vec<Pair>>,
    each: usize,
    window: usize,
) -> BTreeMap<&'static str, Vec<Probed>> {
    let mut draws = Seeded(each as u64);
    let mut turns: Vec<&'static str> = kinds.keys().flat_map(|kind| vec![*kind; each]).collect();
    for place in (1..turns.len()).rev() {
        turns.swap(place, draws.below(place as u64 + 1) as usize);
    }
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(core).await.unwrap();
    let local = socket.local_addr().unwrap();
    let mut found: BTreeMap<&'static str, Vec<Probed>> = BTreeMap::new();
    let mut waiting: BTreeMap<usize, (&'static str, Pair, Instant)> = BTreeMap::new();
    let (mut next, mut buffer) = (0, vec![0; 4_096]);
    while next < turns.len() || !waiting.is_empty() {
        while next < turns.len() && waiting.len() < window {
            let kind = turns[next];
            let pair = kinds[kind][draws.below(kinds[kind].len() as u64) as usize].clone();
            let text = initial(next, &pair, local);
            waiting.insert(next, (kind, pair, Instant::now()));
            socket.send(text.as_bytes()).await.unwrap();
            next += 1;
        }
        let received = tokio::time::timeout(Duration::from_secs(10), socket.recv(&mut buffer));
        let length = received.await.expect("an answer").unwrap();
        let now = Instant::now();
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let number = header_of(&text, "Call-ID").parse().unwrap();
        let Some((kind, pair, sent)) = waiting.remove(&number) else { continue };
        let took = now.duration_since(sent).as_secs_f64();
        found.entry(kind).or_default().push((took, shape(&text, number, &pair)));
    }
    found
}

fn initial(number: usize, (impi, impu): &Pair, local: SocketAddr) -> String {
    format!(
        "REGISTER sip:b.example SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{number:07};rport\r\n\
         Max-Forwards: 70\r\nFrom: <{impu}>;tag=f\r\nTo: <{impu}>\r\nCall-ID: {number:07}\r\n\
         CSeq: 1 REGISTER\r\nContact: <sip:ue@{local}>\r\nAuthorization: Digest username=\"{impi}\", \
         realm=\"b.example\", uri=\"sip:b.example\", nonce=\"\", response=\"\"\r\nContent-Length: 0\r\n\r\n"
    )
}

fn header_of<'t>(text: &'t str, name: &str) -> &'t str {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// An answer less what the request says and what is drawn, of which the length is left.
fn shape(text: &str, number: usize, (_, impu): &Pair) -> String {
    let drawn = |text: &str, from: &str, to: char| match text.rsplit_once(from) {
        Some((before, rest)) => {
            let (value, after) = rest.split_once(to).unwrap();
            format!("{before}{from}[{}]{to}{after}", value.len())
        }
        None => text.to_owned(),
    };
    let text = text.replace(&format!("{number:07}"), "NUMBER");
    let text = text.replace(&**impu, &format!("[{}]", impu.len()));
    drawn(&drawn(&text, "nonce=\"", '"'), ";tag=", '\r')
}

/// System B, which lends pairs, with a link to A, who grants nothing.
struct Systems {
    a: RunningSystem,
    b: RunningSystem,
    http: Client,
}

impl Systems {
    async fn start(sip: &str) -> Self {
        let sip = format!(
            "[sip]\nlisten = [\"127.0.0.1:0\"]\n{sip}[limits]\nidentity_rate = 0\nchallenges = 64\n"
        );
        let a = start("a.example", &peer("sipdb.b.example", "database", None));
        let link = peer("sipdb.a.example", "database", a.bound().diameter);
        let b = start("b.example", &(sip + &link));
        eventually("connected", || a.is_connected() && b.is_connected()).await;
        use_ring();
        let http = Client::builder().no_proxy().build().unwrap();
        Self { a, b, http }
    }

    async fn ask(&self, method: reqwest::Method, path: &str, body: Value) -> Value {
        let url = format!("http://{}{path}", self.b.bound().management.unwrap());
        let response = self.http.request(method, url).json(&body).send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Lends pairs, all of one length.
    async fn lend(&self, name: &str, count: usize) -> Vec<Pair> {
        let pool = json!({
            "direction": "inbound",
            "generated": {
                "impi_template": "mig-{id}@b.example", "impu_template": "sip:mig-{id}@b.example",
            },
        });
        self.ask(reqwest::Method::PUT, "/v1/pools/in", pool).await;
        let mut pairs = Vec::new();
        for number in 0..count {
            let user = format!("{name}-{number}@a.example");
            let primary = json!({
                "database": "sipdb.a.example", "impi": user, "impu": format!("sip:{user}"),
                "server_name": "sip:migration.a.example",
            });
            let lent = self.ask(reqwest::Method::POST, "/v1/bindings/inbound", primary).await;
            let of = |name: &str| lent[name].as_str().unwrap().to_owned();
            pairs.push((of("impi"), of("impu")));
        }
        pairs
    }

    async fn release(&self, pairs: &[Pair]) {
        for (impi, _) in pairs {
            let path = format!("/v1/bindings/inbound/{impi}");
            self.ask(reqwest::Method::DELETE, &path, Value::Null).await;
        }
    }

    /// Identities that are refused, each for another reason.
    async fn refused(&self) -> BTreeMap<&'static str, Vec<Pair>> {
        const COUNT: usize = 20;
        // A does not know this user any more, and is asked each time.
        let revoked = self.lend("revoked", COUNT).await;
        let ended = self.lend("ended", COUNT).await;
        self.release(&ended).await;
        let held = self.lend("held", 2 * COUNT).await;
        let (one, other) = held.split_at(COUNT);
        let mismatched =
            one.iter().zip(other).map(|((impi, _), (_, impu))| (impi.clone(), impu.clone()));
        let (impi_octets, impu_octets) = (revoked[0].0.len(), revoked[0].1.len());
        let unknown = (0..COUNT).map(|number| {
            let name = |octets: usize| {
                let width = octets - "mig-@b.example".len();
                format!("{number:0>width$}")
            };
            let (impi, impu) = (name(impi_octets), name(impu_octets - "sip:".len()));
            (format!("mig-{impi}@b.example"), format!("sip:mig-{impu}@b.example"))
        });
        BTreeMap::from([
            ("ended", ended),
            ("mismatched", mismatched.collect()),
            ("revoked at home", revoked.clone()),
            ("unknown", unknown.collect()),
        ])
    }

    async fn shutdown(self) {
        self.b.shutdown().await;
        self.a.shutdown().await;
    }
}

#[tokio::test]
async fn the_kinds_of_403_cannot_be_told_apart() {
    let _alone = ALONE.lock().await;
    let systems = Systems::start("").await;
    let kinds = systems.refused().await;
    let core = systems.b.bound().sip[0];
    register(core, &kinds, 20, 8).await; // warm
    let probed = register(core, &kinds, probes(), UNDER_WAY).await;
    assert_alike("403", "SIP/2.0 403 ", &probed);
    systems.shutdown().await;
}

#[tokio::test]
async fn this_test_would_see_that_a_partner_was_asked() {
    let _alone = ALONE.lock().await;
    let systems = Systems::start("refusal_after = \"0ms\"\n").await;
    let kinds = systems.refused().await;
    let core = systems.b.bound().sip[0];
    register(core, &kinds, 20, 8).await;
    let probed = register(core, &kinds, 400, 1).await;
    let compared = compare("403 at once", &probed);
    for other in ["ended", "mismatched", "unknown"] {
        let mut two = [other, "revoked at home"];
        two.sort_unstable();
        assert!(compared[&two].differ(), "{two:?}: {}", compared[&two]);
    }
    systems.shutdown().await;
}

#[tokio::test]
async fn with_decoys_known_and_unknown_users_cannot_be_told_apart() {
    let _alone = ALONE.lock().await;
    let systems = Systems::start("decoy_challenge = true\nrefusal_after = \"50ms\"\n").await;
    let mut kinds = systems.refused().await;
    let octets = kinds["unknown"][0].0.len() - "@b.example".len();
    let mut known = Vec::new();
    for number in 0..20 {
        let impi = format!("{number:k>octets$}@b.example");
        let impu = format!("sip:{number:k>octets$}@b.example");
        let keys = "0123456789abcdef0123456789abcdef";
        let body = json!({ "impus": [impu], "k": keys, "opc": keys });
        systems.ask(reqwest::Method::PUT, &format!("/v1/subscribers/{impi}"), body).await;
        known.push((impi, impu));
    }
    // The others have one length of private and another one of public identities.
    let unknown = known.iter().map(|(impi, impu)| (impi.replace('k', "u"), impu.replace('k', "u")));
    kinds = BTreeMap::from([
        ("known", known.clone()),
        ("unknown", unknown.collect()),
        ("revoked at home", kinds.remove("revoked at home").unwrap()),
    ]);
    let core = systems.b.bound().sip[0];
    register(core, &kinds, 20, 8).await;
    let probed = register(core, &kinds, probes(), UNDER_WAY).await;
    assert_alike("401", "SIP/2.0 401 ", &probed);
    systems.shutdown().await;
}

// Tokens

/// Where tokens are asked for.
struct Tokens {
    system: RunningSystem,
    issuer: String,
    manage: String,
    http: Client,
}

/// Asks in parallel on so many connections.
const CONNECTIONS: usize = 4;

impl Tokens {
    fn start(letter: char) -> Self {
        let port = free_ports(1);
        let issuer = format!("http://127.0.0.1:{port}");
        let config = format!(
            "roles = [\"idms\"]\n[system]\ndomain = \"{letter}.example\"\ninsecure = true\n[diameter]\n[admin]\n[management]\n\
             listen = \"127.0.0.1:0\"\n[idms]\nlisten = \"127.0.0.1:{port}\"\nissuer = \"{issuer}\"\n\
             password_memory_kib = 64\npassword_passes = 1\nattempts_of_user_max = 1000000\n\
             attempts_of_source_max = 1000000\nattempts_window = \"1min\"\n"
        );
        let config = migcore::node::config::Config::parse(&config).unwrap();
        let system = RunningSystem::start(config, migcore::node::Options::default()).unwrap();
        let manage = format!("http://{}", system.bound().management.unwrap());
        use_ring();
        let http = Client::builder().no_proxy().build().unwrap();
        Self { system, issuer, manage, http }
    }

    async fn put(&self, path: &str, body: Value) {
        let response = self.http.put(format!("{}{path}", self.manage)).json(&body).send().await;
        let response = response.unwrap();
        assert_eq!(response.status(), 204, "{path}: {}", response.text().await.unwrap());
    }

    async fn get(&self, path: &str) -> Value {
        self.http.get(format!("{}{path}", self.manage)).send().await.unwrap().json().await.unwrap()
    }

    /// Posts forms of kinds in a random order, so many of each.
    async fn probe(
        &self,
        (path, cookie): (&str, &str),
        kinds: &BTreeMap<&'static str, Vec<(String, String)>>,
        each: usize,
    ) -> BTreeMap<&'static str, Vec<Probed>> {
        let mut found: BTreeMap<&'static str, Vec<Probed>> = BTreeMap::new();
        let work = (0..CONNECTIONS).map(|number| {
            let url = format!("{}{path}", self.issuer);
            async move {
                let mut draws = Seeded(number as u64);
                let http = Client::builder().no_proxy().build().unwrap();
                let names: Vec<&'static str> = kinds.keys().copied().collect();
                let mut probed = Vec::new();
                for _ in 0..(each * names.len()).div_ceil(CONNECTIONS) {
                    let kind = names[draws.below(names.len() as u64) as usize];
                    let form = form_urlencoded::Serializer::new(String::new())
                        .extend_pairs(&kinds[kind])
                        .finish();
                    let request = http
                        .post(&url)
                        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                        .header(header::COOKIE, cookie)
                        .body(form);
                    let sent = Instant::now();
                    let response = request.send().await.unwrap();
                    let text = shape_of(response).await;
                    probed.push((kind, (sent.elapsed().as_secs_f64(), text)));
                }
                probed
            }
        });
        for (kind, probed) in futures_of(work).await.into_iter().flatten() {
            found.entry(kind).or_default().push(probed);
        }
        found
    }
}

/// Runs all of them side by side.
async fn futures_of<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut all: Vec<_> = all.map(|it| (Box::pin(it), None)).collect();
    std::future::poll_fn(|context| {
        for (future, outcome) in &mut all {
            if outcome.is_none()
                && let std::task::Poll::Ready(done) = future.as_mut().poll(context)
            {
                *outcome = Some(done);
            }
        }
        let is_over = all.iter().all(|(_, outcome)| outcome.is_some());
        if is_over { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    all.into_iter().filter_map(|(_, outcome)| outcome).collect()
}

/// An answer less its date, and what is sealed for each page, of which the length is left.
async fn shape_of(response: Response) -> String {
    let mut shape = format!("{}\n", response.status());
    for (name, value) in response.headers() {
        if name != header::DATE && name != header::SET_COOKIE {
            shape += &format!("{name}: {}\n", value.to_str().unwrap());
        }
    }
    let text = response.text().await.unwrap();
    let mut parts = text.split("name=\"form\" value=\"");
    shape += parts.next().unwrap_or_default();
    for part in parts {
        let (sealed, rest) = part.split_once('"').unwrap();
        shape += &format!("[{}]{rest}", sealed.len());
    }
    shape
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

const CLIENT: &str = "mc-client-1";
const PASSWORD: &str = "correct horse battery staple";

#[tokio::test]
async fn users_clients_and_visitors_cannot_be_told_from_those_who_do_not_exist() {
    let _alone = ALONE.lock().await;
    let (home, partner) = (Tokens::start('a'), Tokens::start('b'));
    for site in [&home, &partner] {
        let client = json!({"redirect_uris": ["http://127.0.0.1/back"]});
        site.put(&format!("/v1/idms/clients/{CLIENT}"), client).await;
    }
    for user in ["alice", "carol"] {
        let user_body = json!({
            "password": PASSWORD, "mcptt_id": format!("sip:{user}@a.example"),
            "partners": [partner.issuer],
        });
        home.put(&format!("/v1/idms/users/{user}"), user_body).await;
    }

    log_in_probes(&home).await;

    // A client with nothing of its own.
    let form = |client: &str| {
        pairs(&[
            ("grant_type", "authorization_code"),
            ("client_id", client),
            ("code", "0123456789012345678901234567890123456789012"),
            ("redirect_uri", "http://127.0.0.1/back"),
            ("code_verifier", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
        ])
    };
    let kinds = BTreeMap::from([("known", form(CLIENT)), ("unknown", form("mc-client-2"))]);
    home.probe(("/token", ""), &kinds, 50).await;
    assert_alike(
        "a client",
        "400 Bad Request",
        &home.probe(("/token", ""), &kinds, probes()).await,
    );

    // Users of the home, one of whom the partner knows, and does not let in.
    let pem: Value = home.get("/v1/idms/keys").await;
    let pem: String =
        pem["items"].as_array().unwrap().iter().map(|it| it["pem"].as_str().unwrap()).collect();
    let issuer = home.issuer.replace(':', "%3A").replace('/', "%2F");
    let trusted = partner.http.post(format!("{}/v1/idms/trust/{issuer}", partner.manage));
    let trusted = trusted.json(&json!({ "pem": pem })).send().await.unwrap();
    assert!(trusted.status().is_success());
    let subject = home.get("/v1/idms/users/alice").await["subject"].as_str().unwrap().to_owned();
    let visitor = json!({"mcptt_id": "sip:visitor-1@b.example", "may_migrate": false});
    partner.put(&format!("/v1/idms/visitors/{issuer}/{subject}"), visitor).await;
    let mut kinds = BTreeMap::new();
    for (kind, user) in [("known", "alice"), ("unknown", "carol")] {
        let client = IdentityClient::new(CLIENT, "http://127.0.0.1/back", None);
        let idms = Server { name: "idms".into(), url: home.issuer.clone() };
        let password = SecretText::new(PASSWORD);
        let tokens =
            client.log_in(&idms, (user, &password), "openid 3gpp:mc:ptt_service").await.unwrap();
        let token = client.security_token(&idms, &tokens.access, &partner.issuer).await.unwrap();
        let form = pairs(&[
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("client_id", CLIENT),
            ("assertion", token.expose()),
            ("scope", "openid 3gpp:mc:ptt_service"),
        ]);
        kinds.insert(kind, form);
    }
    partner.probe(("/token", ""), &kinds, 50).await;
    assert_alike(
        "a visitor",
        "400 Bad Request",
        &partner.probe(("/token", ""), &kinds, probes()).await,
    );
    home.system.shutdown().await;
    partner.system.shutdown().await;
}

/// Wrong passwords of a user, and of one who does not exist.
async fn log_in_probes(home: &Tokens) {
    let parameters = [
        ("response_type", "code"),
        ("client_id", CLIENT),
        ("redirect_uri", "http://127.0.0.1/back"),
        ("scope", "openid 3gpp:mc:ptt_service"),
        ("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
        ("code_challenge_method", "S256"),
    ];
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    let page = home.http.get(format!("{}/authorize?{query}", home.issuer)).send().await.unwrap();
    let cookie = page.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let page = page.text().await.unwrap();
    let sealed = page.split("name=\"form\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let form = |user: &str| {
        let mut form = pairs(&parameters);
        form.extend(pairs(&[("form", sealed), ("user", user), ("password", "another password")]));
        form
    };
    let kinds = BTreeMap::from([("known", form("alice")), ("unknown", form("ghost"))]);
    home.probe(("/authorize", &cookie), &kinds, 50).await;
    let probed = home.probe(("/authorize", &cookie), &kinds, probes()).await;
    assert_alike("a password", "403 Forbidden", &probed);
}
