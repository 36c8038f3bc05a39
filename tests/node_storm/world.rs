//! Two systems, and a proxy on each link between two parties.

use std::{fmt::Write, net::SocketAddr, sync::Arc};

use migcore::{
    api::{migration_identity::Direction, system_access},
    node::RunningSystem,
    ue_configuration::InitialUeConfiguration,
};
use serde_json::{Value, json};

use crate::{
    faults::{Kind, Rates},
    framing::body,
    ledger::Ledger,
    node_world::{eventually, peer, start},
    proxy::{HttpTap, Kinds, Proxy},
};

/// Of a thousand messages.
const LOST: u64 = 5;
const REPEATED: u64 = 5;

/// The system that the users belong to, and the one that they migrate to.
pub const HOME: &str = "a.example";
pub const PARTNER: &str = "b.example";

/// What each system presents to the other on CSC-17.
const TOKEN_OF_HOME: &str = "a.presents.this.to.b.on.csc-17";
const TOKEN_OF_PARTNER: &str = "b.presents.this.to.a.on.csc-17";

/// The end of the agreements, seconds since the Unix epoch: far off.
const AGREED_UNTIL: u64 = 4_000_000_000;

/// The systems, the links between the parties, and what was seen on them.
pub struct World {
    pub home: System,
    pub partner: System,
    pub links: Links,
    pub ledger: Arc<Ledger>,
    pub http: reqwest::Client,
}

/// A running system and its management interface.
pub struct System {
    pub running: RunningSystem,
    management: String,
}

/// The links, each with a proxy.
pub struct Links {
    /// UE to configuration server of A: HTTP.
    pub csc4: (Proxy, Kinds),
    /// Configuration server of A to that of B: HTTP.
    pub csc17: (Proxy, Kinds),
    /// SIP database of B to that of A: Diameter.
    pub cx: (Proxy, Kinds),
    /// UE to SIP core of B: datagrams, and streams.
    pub sip_udp: (Proxy, Kinds),
    pub sip_tcp: (Proxy, Kinds),
}

impl Links {
    async fn new(seed: u64, ledger: Arc<Ledger>) -> Self {
        let rates = Rates { lost: LOST, repeated: REPEATED };
        // Nobody gets a second response to one request: HTTP has no way to say that.
        let once = Rates { repeated: 0, ..rates };
        let kinds = |to, from, from_rates| Kinds {
            to_server: Arc::new(Kind::new(to, seed, rates)),
            from_server: Arc::new(Kind::new(from, seed, from_rates)),
        };
        let csc4 = kinds("CSC-4 request", "CSC-4 response", once);
        let csc17 = kinds("CSC-17 request", "CSC-17 response", once);
        let cx = kinds("Diameter from B", "Diameter from A", rates);
        let sip_udp = kinds("SIP/UDP request", "SIP/UDP response", rates);
        let sip_tcp = kinds("SIP/TCP request", "SIP/TCP response", rates);
        let lent: Arc<HttpTap> =
            Arc::new(move |request, response| note_access(&ledger, request, response));
        Self {
            csc4: (Proxy::http(csc4.clone(), Arc::new(|_, _| ())).await, csc4),
            csc17: (Proxy::http(csc17.clone(), lent).await, csc17),
            cx: (Proxy::diameter(cx.clone()).await, cx),
            sip_udp: (Proxy::datagrams(sip_udp.clone()).await, sip_udp),
            sip_tcp: (Proxy::sip_stream(sip_tcp.clone()).await, sip_tcp),
        }
    }

    /// Every kind of message of every link.
    pub fn kinds(&self) -> impl Iterator<Item = &Kind> {
        [&self.csc4, &self.csc17, &self.cx, &self.sip_udp, &self.sip_tcp]
            .into_iter()
            .flat_map(|(_, kinds)| [&*kinds.to_server, &*kinds.from_server])
    }

    /// What became of the messages, for people.
    pub fn report(&self) -> String {
        let mut report = String::new();
        for kind in self.kinds() {
            let (name, total) = (kind.name, kind.total());
            let (lost, repeated) = (kind.lost(), kind.repeated());
            writeln!(report, "{name}: {total}, lost {lost}, repeated {repeated}").unwrap();
        }
        report
    }
}

/// Takes down what C1 and C2 say was lent, whether or not C2 arrives.
fn note_access(ledger: &Ledger, request: &[u8], response: &[u8]) {
    let Ok(request) = serde_json::from_slice::<system_access::Request>(body(request)) else {
        return;
    };
    let user = request.mc_service_id.as_str();
    ledger.lend(Direction::Outbound, user, &request.user.identity);
    if let Ok(access) = serde_json::from_slice::<system_access::Access>(body(response)) {
        ledger.lend(Direction::Inbound, user, &access.identity);
    }
}

impl World {
    /// Starts both systems with proxies between them, connects them, and provisions what all users
    /// have in common.
    pub async fn start(seed: u64) -> Self {
        let ledger = Arc::new(Ledger::default());
        let links = Links::new(seed, Arc::clone(&ledger)).await;
        let home = System::start(HOME, &home_toml(links.csc17.0.address));
        links.cx.0.forward_to(home.running.bound().diameter.unwrap());
        links.csc4.0.forward_to(home.running.bound().csc4.unwrap());
        let partner = System::start(PARTNER, &partner_toml(links.cx.0.address));
        links.csc17.0.forward_to(partner.running.bound().csc17.unwrap());
        let core = partner.running.bound().sip[0];
        links.sip_udp.0.forward_to(core);
        links.sip_tcp.0.forward_to(core);
        eventually("connected", || home.running.is_connected() && partner.running.is_connected())
            .await;
        migcore::node::tls::use_ring();
        let http = reqwest::Client::new();
        let world = Self { home, partner, links, ledger, http };
        world.provision().await;
        world
    }

    async fn provision(&self) {
        let pool = |direction, prefix: &str, domain: &str| {
            json!({
                "direction": direction,
                "generated": {
                    "impi_template": format!("{prefix}-{{id}}@{domain}"),
                    "impu_template": format!("sip:{prefix}-{{id}}@{domain}"),
                },
            })
        };
        let (home, partner) = (&self.home, &self.partner);
        self.put(home, "/v1/pools/outbound", pool("outbound", "out", HOME)).await;
        self.put(partner, "/v1/pools/inbound", pool("inbound", "mig", PARTNER)).await;
        let agreement = || json!({ "valid_until": AGREED_UNTIL });
        let (outbound, inbound) = (
            "/v1/agreements/sip:b.example/outbound/everybody",
            "/v1/agreements/sip:a.example/inbound/everybody",
        );
        self.put(home, outbound, agreement()).await;
        self.put(partner, inbound, agreement()).await;
        // The UEs are told of the proxies as if they were the SIP core.
        let core = |transport, link: &(Proxy, Kinds)| json!({ "transport": transport, "address": link.0.address });
        let plmn = "20810".parse().unwrap();
        let document = InitialUeConfiguration::for_domain(PARTNER, plmn).unwrap();
        let configuration = json!({
            "revision": 1,
            "sip_core": [
                core("udp", &self.links.sip_udp),
                core("tcp", &self.links.sip_tcp),
            ],
            "document": document,
        });
        self.put(partner, "/v1/system-configurations/sip:b.example", configuration).await;
    }

    pub async fn put(&self, system: &System, path: &str, body: Value) {
        let url = format!("{}{path}", system.management);
        let response = self.http.put(url).json(&body).send().await.unwrap();
        let status = response.status();
        assert!(status.is_success(), "{path}: {status} {}", response.text().await.unwrap());
    }

    /// The status of asking for `path`, and the body.
    pub async fn get(&self, system: &System, path: &str) -> (u16, Value) {
        let url = format!("{}{path}", system.management);
        let response = self.http.get(url).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// The status of deleting `path`.
    pub async fn delete(&self, system: &System, path: &str) -> u16 {
        let url = format!("{}{path}", system.management);
        self.http.delete(url).send().await.unwrap().status().as_u16()
    }

    /// How many identities a pool has lent now, and how many it ever has drawn.
    pub async fn pool(&self, system: &System, name: &str) -> (u64, u64) {
        let (_, pool) = self.get(system, &format!("/v1/pools/{name}")).await;
        (pool["lent"].as_u64().unwrap(), pool["total"].as_u64().unwrap())
    }

    /// Lends an inbound pair that no user asked for.
    pub async fn lend_to_nobody(&self) {
        let nobody = json!({
            "database": "sipdb.a.example", "impi": "nobody@a.example",
            "impu": "sip:nobody@a.example", "server_name": "sip:migration.a.example",
        });
        let url = format!("{}/v1/bindings/inbound", self.partner.management);
        let response = self.http.post(url).json(&nobody).send().await.unwrap();
        assert_eq!(response.status(), 200);
    }

    pub async fn shutdown(self) {
        self.partner.running.shutdown().await;
        self.home.running.shutdown().await;
    }
}

impl System {
    fn start(domain: &str, more: &str) -> Self {
        let running = start(domain, more);
        let management = format!("http://{}", running.bound().management.unwrap());
        Self { running, management }
    }
}

/// A section of a partner's configuration server.
fn partner_section(domain: &str, url: &str, send: &str, accept: &str) -> String {
    format!(
        "[[config_server.partners]]\nid = \"sip:{domain}\"\nsip_database = \"sipdb.{domain}\"\n\
         url = \"{url}\"\nsend_token = \"{send}\"\naccept_token = \"{accept}\"\n"
    )
}

fn config_server() -> &'static str {
    "[config_server]\nstatic_tokens = true\nlisten = \"127.0.0.1:0\"\nlisten_partners = \"127.0.0.1:0\"\n"
}

fn home_toml(csc17: SocketAddr) -> String {
    let url = format!("http://{csc17}");
    let partner = partner_section(PARTNER, &url, TOKEN_OF_HOME, TOKEN_OF_PARTNER);
    format!("{}{partner}{}", config_server(), peer("sipdb.b.example", "database", None))
}

fn partner_toml(cx: SocketAddr) -> String {
    // Nobody of B migrates to A: its CSC-17 is not asked.
    let url = "http://127.0.0.1:9";
    let partner = partner_section(HOME, url, TOKEN_OF_PARTNER, TOKEN_OF_HOME);
    format!("{}{partner}{}", config_server(), peer("sipdb.a.example", "database", Some(cx)))
}
