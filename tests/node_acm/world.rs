//! Two systems with ACM servers, and their administrators as HTTP clients.

use std::{fmt::Write as _, time::Duration};

use migcore::{
    api::{acm_client::Begin, acm_payload::Kind, acm_payload::Payload},
    identity::{McServiceId, McSystemId, Plmn},
    node::{Options, RunningSystem, client::ManagementClient, config::Config},
    token::BearerToken,
    ue_configuration::InitialUeConfiguration,
};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::{free_ports::free_ports, node_world};

/// How long anything may take that takes no time.
pub const DEADLINE: Duration = Duration::from_secs(60);

pub const INTERCONNECTION: &str = "/acm/v1/interconnection";

/// Which system.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Side {
    A,
    B,
}

impl Side {
    pub const fn letter(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    pub fn domain(self) -> String {
        format!("{}.example", self.letter())
    }

    pub fn id(self) -> String {
        format!("sip:{}", self.domain())
    }
}

/// What one system presents to the ACM server of the other one.
pub fn token_of(side: Side) -> String {
    format!("acm-token-of-system-{}-0123456789", side.letter())
}

/// The ports of one system that others have to know before it runs.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub client: u16,
    pub partner: u16,
    pub csc17: u16,
    pub management: u16,
    pub admin: u16,
}

impl Ports {
    pub fn draw() -> Self {
        Self {
            client: free_ports(1),
            partner: free_ports(1),
            csc17: free_ports(1),
            management: free_ports(1),
            admin: free_ports(1),
        }
    }
}

/// How a pair of systems is set up.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    a: Ports,
    b: Ports,
}

impl Pair {
    pub fn draw() -> Self {
        Self { a: Ports::draw(), b: Ports::draw() }
    }

    pub const fn ports(&self, side: Side) -> Ports {
        match side {
            Side::A => self.a,
            Side::B => self.b,
        }
    }

    /// The configuration of one of them. `of_partner` goes into the section of its ACM partner.
    pub fn toml(&self, side: Side, of_partner: &str, more: &str) -> String {
        let (own, other) = (self.ports(side), self.ports(side.other()));
        let letter = side.other().letter();
        let mut toml = String::new();
        write!(
            toml,
            "roles = [\"sip_core\", \"sip_database\", \"config_server\", \"acm\"]\n\
             [system]\ndomain = \"{}\"\ninsecure = true\n\
             [sip]\nlisten = \"127.0.0.1:0\"\n\
             [diameter]\nlisten = \"127.0.0.1:0\"\n\
             [admin]\nlisten = \"127.0.0.1:{}\"\n\
             [management]\nlisten = \"127.0.0.1:{}\"\n",
            side.domain(),
            own.admin,
            own.management,
        )
        .unwrap();
        write!(
            toml,
            "[config_server]\nstatic_tokens = true\nlisten = \"127.0.0.1:0\"\nlisten_partners = \"127.0.0.1:{}\"\n\
             hands_out_configuration = false\n\
             [[config_server.partners]]\nid = \"sip:{letter}.example\"\n\
             sip_database = \"sipdb.{letter}.example\"\nurl = \"http://127.0.0.1:{}\"\n\
             send_token = \"csc-{}\"\naccept_token = \"csc-{}\"\nareas = [{{ plmn = \"20801\" }}]\n{}",
            own.csc17,
            other.csc17,
            token_of(side),
            token_of(side.other()),
            node_world::peer(&format!("sipdb.{letter}.example"), "database", None),
        )
        .unwrap();
        write!(
            toml,
            "[acm]\nclient_listen = \"127.0.0.1:{}\"\npartner_listen = \"127.0.0.1:{}\"\n\
             resend_first = \"50ms\"\nresend_max = \"500ms\"\n{more}\n\
             [[acm.partners]]\nid = \"sip:{letter}.example\"\nurl = \"http://127.0.0.1:{}\"\n\
             send_token = \"{}\"\naccept_token = \"{}\"\ndomains = [\"{letter}.example\"]\n{of_partner}\n",
            own.client,
            own.partner,
            other.partner,
            token_of(side),
            token_of(side.other()),
        )
        .unwrap();
        toml
    }

    pub fn start(&self, side: Side, of_partner: &str, options: Options) -> RunningSystem {
        let config = Config::parse(&self.toml(side, of_partner, "")).unwrap();
        RunningSystem::start(config, options).unwrap()
    }

    pub fn management(&self, side: Side) -> ManagementClient {
        ManagementClient::new(&format!("http://127.0.0.1:{}", self.ports(side).management))
    }

    pub fn administrator(&self, side: Side, name: &str) -> Administrator {
        Administrator {
            http: Client::builder().no_proxy().build().unwrap(),
            url: format!("http://127.0.0.1:{}", self.ports(side).client),
            user: user(side, name),
        }
    }

    /// Posts to the interface for other ACM servers of `to`, as its partner.
    pub fn post(&self, to: Side) -> RequestBuilder {
        let url = format!("http://127.0.0.1:{}{INTERCONNECTION}", self.ports(to).partner);
        Client::builder().no_proxy().build().unwrap().post(url).bearer_auth(token_of(to.other()))
    }

    /// Puts users with all rights.
    pub async fn provision(&self, side: Side, names: &[&str]) {
        for name in names {
            let (user, token) = (user(side, name), token(name));
            let client = self.management(side);
            client.put_acm_user(&user, &token, &Kind::ALL, &Kind::ALL).await.unwrap();
        }
    }
}

pub fn user(side: Side, name: &str) -> McServiceId {
    McServiceId::parse(&format!("sip:{name}@{}", side.domain())).unwrap()
}

pub fn token(name: &str) -> BearerToken {
    BearerToken::parse(&format!("the-token-of-{name}-is-long-enough")).unwrap()
}

/// An ACM client.
#[derive(Clone)]
pub struct Administrator {
    pub http: Client,
    pub url: String,
    pub user: McServiceId,
}

impl Administrator {
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let name = self.user.as_str().split(['@', ':']).nth(1).unwrap();
        let request = self.http.request(method, format!("{}{path}", self.url));
        request.bearer_auth(token(name).expose()).header("MC-Service-ID", self.user.as_str())
    }

    pub async fn send(&self, method: &str, path: &str, body: Option<Value>) -> Response {
        let request = self.request(method, path);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        request.send().await.expect("an answer")
    }

    pub async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        read(self.send(method, path, body).await).await
    }

    pub async fn get(&self, path: &str) -> Value {
        let (status, value) = self.ask("GET", path, None).await;
        assert_eq!(status, 200, "{path}: {value}");
        value
    }

    pub async fn log_on(&self) -> u64 {
        let (status, answer) = self.ask("POST", "/acm/v1/sessions", None).await;
        assert_eq!(status, 201, "{answer}");
        answer["session"].as_u64().unwrap()
    }

    /// Begins a transaction; returns its ID.
    pub async fn begin(&self, begin: &Begin) -> String {
        let body = serde_json::to_value(begin).unwrap();
        let (status, answer) = self.ask("POST", "/acm/v1/transactions", Some(body)).await;
        assert_eq!(status, 201, "{answer}");
        answer["transaction"].as_str().unwrap().to_owned()
    }

    /// How a transaction of this system stands.
    pub async fn progress(&self, transaction: &str) -> Value {
        self.get(&format!("/acm/v1/transactions/{transaction}")).await
    }

    /// The states of a transaction, until the last is one of `states`.
    pub async fn reached(&self, transaction: &str, states: &[&str]) -> Value {
        until(&format!("{transaction} is {states:?}"), async || {
            let progress = self.progress(transaction).await;
            let state = progress["summary"]["state"].as_str().unwrap();
            states.contains(&state).then_some(progress)
        })
        .await
    }

    /// The items that are pending.
    pub async fn items(&self) -> Vec<Value> {
        self.get("/acm/v1/items").await["items"].as_array().unwrap().clone()
    }

    /// Waits until an item is pending.
    pub async fn has_item(&self, origin: Side, transaction: &str) -> Value {
        until(&format!("{transaction} is pending"), async || {
            let key = json!({ "origin": origin.id(), "transaction": transaction });
            self.items().await.into_iter().find(|item| item["key"] == key)
        })
        .await
    }

    pub async fn decide(&self, origin: Side, transaction: &str, decision: Value) -> (u16, Value) {
        let path = item_path(origin, transaction) + "/decision";
        self.ask("POST", &path, Some(json!({ "decision": decision }))).await
    }
}

pub fn item_path(origin: Side, transaction: &str) -> String {
    format!("/acm/v1/items/sip%3A{}/{transaction}", origin.domain())
}

/// The status and the JSON of an answer; null without a body.
pub async fn read(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.expect("a body");
    (status, if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("JSON") })
}

/// Waits until there is something.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, looking).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// What UEs are told of a system, with an APN that names the revision.
pub fn configuration(side: Side, revision: u64) -> Value {
    let plmn = Plmn::parse("20801").unwrap();
    let made = InitialUeConfiguration::for_domain(&side.domain(), plmn).unwrap();
    let mut document = made.document().clone();
    document.on_network.hplmn.service.mc_services = format!("apn-{revision}");
    let document = InitialUeConfiguration::new(&document).unwrap();
    json!({
        "revision": revision,
        "sip_core": [{ "transport": "udp", "address": "192.0.2.7:5060" }],
        "document": document.render(),
    })
}

/// A transaction with the other system.
pub fn to_other(side: Side, payload: Value) -> Begin {
    Begin {
        transaction: None,
        destination: McSystemId::parse(&side.other().id()).unwrap(),
        parties: migcore::api::acm_payload::Parties::default(),
        payload: serde_json::from_value::<Payload>(payload).unwrap(),
        expires: None,
    }
}

/// The same, for a user of the other system.
pub fn to_user(side: Side, name: &str, payload: Value) -> Begin {
    let mut begin = to_other(side, payload);
    begin.parties.target_id = Some(user(side.other(), name));
    begin
}

pub fn xcfg(side: Side, revision: u64) -> Begin {
    to_other(side, json!({ "configuration": configuration(side, revision) }))
}

/// Server-sent events of one connection.
pub struct EventReader {
    response: Response,
    text: String,
}

impl EventReader {
    pub async fn open(administrator: &Administrator, session: u64, last: Option<u64>) -> Self {
        let path = format!("/acm/v1/sessions/{session}/events");
        let mut request = administrator.request("GET", &path);
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The ID and the data of the next event; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<(u64, Value)> {
        let reading = async {
            loop {
                while let Some((event, rest)) = self.text.split_once("\n\n") {
                    let (event, rest) = (event.to_owned(), rest.to_owned());
                    self.text = rest;
                    if !event.starts_with(':') {
                        return Some(parse_event(&event));
                    }
                }
                let chunk = self.response.chunk().await.unwrap()?;
                self.text += std::str::from_utf8(&chunk).unwrap();
            }
        };
        tokio::time::timeout(DEADLINE, reading).await.expect("an event or the end")
    }

    /// Waits for a sign of life, and asserts that no event came before it.
    pub async fn is_silent(&mut self) {
        let reading = async {
            while !self.text.contains("\n\n") {
                let chunk = self.response.chunk().await.unwrap().expect("no end");
                self.text += std::str::from_utf8(&chunk).unwrap();
            }
        };
        tokio::time::timeout(DEADLINE, reading).await.expect("a comment");
        assert!(self.text.starts_with(':'), "{}", self.text);
    }
}

fn parse_event(text: &str) -> (u64, Value) {
    let line = |name: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        found.unwrap_or_else(|| panic!("no {name} in {text}"))
    };
    assert_eq!(line("event"), "pending");
    (line("id").parse().unwrap(), serde_json::from_str(line("data")).unwrap())
}
