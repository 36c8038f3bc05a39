//! Service authorisation on real sockets: a UE registers at a SIP core, which tells the MC server; tokens are of the
//! identity management server beside it.
#![cfg(feature = "node")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "test code"
)]

mod free_ports;
mod node_world;
mod tshark;

use std::{
    net::{SocketAddr, UdpSocket},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use free_ports::free_address;
use migcore::{
    identity::{Impi, Impu, UserIdentity},
    mc_info::{
        ServiceInfo,
        settings::{AnswerMode, Settings},
    },
    node::{
        Clock, Options, RunningSystem, RunningUe,
        config::Config as NodeConfig,
        demo::{Demo, RunningDemo},
        tls::{
            Trust,
            dev_ca::{CA_FILE, DevCa, EXAMPLE_FILE},
        },
        ue::identity::{IdentityClient, Server, UserTokens},
    },
    outbox::Transport,
    secret::SecretText,
    ue::{Config, ServiceLogOn, ServiceState, State},
    user_profile::ProfileService,
};
use node_world::{eventually, metric};
use reqwest::Method;
use serde_json::{Value, json};
use tshark::Tshark;

const PASSWORD: &str = "correct horse battery staple";
const SERVER: (ProfileService, &str) = (ProfileService::Mcptt, "sip:mcptt@c.example");
const SERVICE_SCOPE: &str = "openid 3gpp:mc:ptt_service";
const SETTINGS: Settings =
    Settings { answer_mode: Some(AnswerMode::Manual), profile_index: Some(1) };
const NOT_BOUND: ServiceState = ServiceState::Refused { status: 404, warning: Some(141) };
const NOT_AUTHORISED: ServiceState = ServiceState::Refused { status: 403, warning: Some(101) };

/// The system of c.example with all that service authorisation takes, and a visitor with a password.
struct Site {
    system: RunningSystem,
    config: String,
    idms: Server,
    http: reqwest::Client,
    mc_server: SocketAddr,
}

impl Site {
    /// With the MC server reached over `transport`, by `more` in its section.
    async fn start(transport: &str, more: &str) -> Self {
        let (mc_server, idms) = (free_address(), free_address());
        let config = format!(
            "roles = [\"sip_core\", \"sip_database\", \"config_server\", \"idms\", \"mc_server\"]\n\
             [system]\ndomain = \"c.example\"\ninsecure = true\n[sip]\nlisten = \"127.0.0.1:0\"\n\
             [[sip.application_servers]]\nuri = \"sip:mc.c.example\"\naddress = \"{transport}:{mc_server}\"\n\
             include_request = true\nservices = [\"sip:mcptt@c.example\"]\n\
             [mc_server]\nlisten = \"{mc_server}\"\n{more}\
             [diameter]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
             [management]\nlisten = \"127.0.0.1:0\"\n\
             [config_server]\nlisten = \"127.0.0.1:0\"\nlisten_partners = \"127.0.0.1:0\"\n\
             [idms]\nlisten = \"{idms}\"\nissuer = \"http://{idms}\"\npassword_memory_kib = 8\n\
             password_passes = 1\n"
        );
        let system = RunningSystem::start(NodeConfig::parse(&config).unwrap(), Options::default());
        let idms = Server { name: "idms".into(), url: format!("http://{idms}") };
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let site = Self { system: system.unwrap(), config, idms, http, mc_server };
        site.provision().await;
        site
    }

    async fn provision(&self) {
        self.provision_users().await;
        self.provision_subscribers().await;
    }

    async fn provision_users(&self) {
        self.put("/v1/idms/clients/mc-client", json!({"redirect_uris": ["http://127.0.0.1/back"]}))
            .await;
        let user = json!({"password": PASSWORD, "mcptt_id": "sip:officer@c.example"});
        self.put("/v1/idms/users/officer", user).await;
    }

    async fn provision_subscribers(&self) {
        for name in ["visitor-1", "visitor-2"] {
            let body = json!({"impus": [format!("sip:{name}@c.example")], "password": PASSWORD,
                "algorithm": "SHA-256"});
            self.put(&format!("/v1/digest-subscribers/{name}@c.example"), body).await;
        }
    }

    async fn put(&self, path: &str, body: Value) {
        self.manage(&self.system, Method::PUT, path, body).await;
    }

    /// Has a system do what its administrator wants.
    async fn manage(&self, system: &RunningSystem, method: Method, path: &str, body: Value) {
        let url = format!("http://{}{path}", system.bound().management.unwrap());
        let response = self.http.request(method, url).json(&body).send().await.unwrap();
        let status = response.status();
        assert!(status.is_success(), "{path}: {status} {}", response.text().await.unwrap());
    }

    /// What a system shows its administrator.
    async fn shown(&self, system: &RunningSystem, path: &str) -> Value {
        let url = format!("http://{}{path}", system.bound().management.unwrap());
        self.http.get(url).send().await.unwrap().json().await.unwrap()
    }

    /// Writes the certificates of its keys, as `migcore trust export` does.
    async fn export(&self, file: &Path) {
        let url = format!("http://{}/v1/idms/keys", self.system.bound().management.unwrap());
        let keys: Value = self.http.get(url).send().await.unwrap().json().await.unwrap();
        let keys = keys["items"].as_array().unwrap().iter();
        let pem: String = keys.map(|key| key["pem"].as_str().unwrap()).collect();
        std::fs::write(file, pem).unwrap();
    }

    /// Has it sign with a new key at once.
    async fn make_key(&self) {
        let url = format!("http://{}/v1/idms/keys", self.system.bound().management.unwrap());
        let response = self.http.post(url).json(&json!({})).send().await.unwrap();
        assert_eq!(response.status(), 200);
    }

    async fn token(&self, scope: &str) -> SecretText {
        let client = identity_client();
        let user = ("officer", &SecretText::new(PASSWORD));
        let tokens = client.log_in(&self.idms, user, scope).await.unwrap();
        SecretText::new(tokens.access.expose())
    }

    /// Lets alice of the home of `demo`, which has no link to this system, come here, and has her take a security token
    /// along (TS 33.180 clause B.7).
    async fn security_token(&self, demo: &RunningDemo) -> SecretText {
        let home = demo.stage.home.system().unwrap();
        let issuer = demo.stage.home.config().idms.server.issuer.as_str();
        let mc_service_id = &demo.records().primary().mc_service_id;
        let alice = json!({"password": PASSWORD, "mcptt_id": mc_service_id,
            "partners": [self.idms.url]});
        self.manage(home, Method::PUT, "/v1/idms/users/alice", alice).await;
        // The home's certificates came by a file.
        let keys = self.shown(home, "/v1/idms/keys").await;
        let keys = keys["items"].as_array().unwrap().iter();
        let pem: String = keys.map(|key| key["pem"].as_str().unwrap()).collect();
        let escaped = issuer.replace(':', "%3A").replace('/', "%2F");
        let path = format!("/v1/idms/trust/{escaped}");
        self.manage(&self.system, Method::POST, &path, json!({"pem": pem})).await;
        let alice = self.shown(home, "/v1/idms/users/alice").await;
        let path = format!("/v1/idms/visitors/{escaped}/{}", alice["subject"].as_str().unwrap());
        self.put(&path, json!({"mcptt_id": "sip:visitor-1@c.example"})).await;

        let client = identity_client();
        let idms = Server { name: "idms.a".into(), url: issuer.to_owned() };
        let password = SecretText::new(PASSWORD);
        let tokens = client.log_in(&idms, ("alice", &password), SERVICE_SCOPE).await.unwrap();
        client.security_token(&idms, &tokens.access, &self.idms.url).await.unwrap()
    }

    /// The tokens of this system for a security token (TS 33.180 clause B.9).
    async fn tokens_for(&self, security_token: &SecretText) -> UserTokens {
        let client = identity_client();
        let endpoint = format!("{}/token", self.idms.url);
        let tokens = client.contact_partner(&self.idms, &endpoint, security_token, SERVICE_SCOPE);
        tokens.await.unwrap()
    }

    async fn info(&self, scope: &str) -> ServiceInfo {
        let access_token = Some(self.token(scope).await);
        ServiceInfo { access_token, client_id: Some("urn:uuid:1".to_owned()) }
    }

    /// A UE that is registered, and has the service without being authorised for it.
    async fn registered(&self, name: &str, transport: Transport) -> RunningUe {
        self.registered_with(name, transport, ServiceInfo::default()).await
    }

    async fn registered_with(
        &self,
        name: &str,
        transport: Transport,
        info: ServiceInfo,
    ) -> RunningUe {
        let services = vec![ServiceLogOn { service: ProfileService::Mcptt, info }];
        let core = self.system.bound().sip[0];
        let config = Config::new(pair(name), transport, core);
        let (password, trust) = (SecretText::new(PASSWORD), Trust::default());
        let ue = RunningUe::open(config, core, password, &trust, (None, "scscf")).await;
        let mut ue = ue.unwrap();
        ue.set_services(services);
        let state = ue.register().await.unwrap().clone();
        assert!(matches!(state, State::Registered(_)), "{state:?}");
        ue
    }

    fn authorised(&self) -> f64 {
        metric(&self.system, "migcore_service_authorisations{service=\"mcptt\"}")
    }

    async fn await_authorised(&self, wanted: f64) {
        let is_so = || (self.authorised() - wanted).abs() < f64::EPSILON;
        eventually(&format!("{wanted} authorised"), is_so).await;
    }

    async fn restart(self) -> Self {
        let Self { system, config, idms, http, mc_server } = self;
        let engine = system.shutdown().await;
        let options = Options { engine, ..Options::default() };
        // The SIP core listens where the UE knows it: that port is free now.
        let system = RunningSystem::start(NodeConfig::parse(&config).unwrap(), options).unwrap();
        Self { system, config, idms, http, mc_server }
    }
}

fn identity_client() -> IdentityClient {
    IdentityClient::new("mc-client", "http://127.0.0.1/back", None)
}

fn pair(name: &str) -> UserIdentity {
    UserIdentity {
        impi: Impi::parse(&format!("{name}@c.example")).unwrap(),
        impu: Impu::parse(&format!("sip:{name}@c.example")).unwrap(),
    }
}

#[tokio::test]
async fn a_user_is_authorised_by_register_until_the_registration_ends() {
    for (to_server, transport) in [("udp", Transport::Tcp), ("tcp", Transport::Udp)] {
        let site = Site::start(to_server, "").await;
        let info = site.info(SERVICE_SCOPE).await;
        let mut ue = site.registered_with("visitor-1", transport, info).await;
        site.await_authorised(1.0).await;
        let changed = ue.publish(SERVER, &ServiceInfo::default(), &SETTINGS).await.unwrap();
        assert_eq!(*changed, ServiceState::Authorised, "settings alone, of a user who is bound");
        ue.register().await.unwrap();
        site.await_authorised(1.0).await;
        assert_eq!(*ue.deregister().await.unwrap(), State::Idle);
        site.await_authorised(0.0).await;
        site.system.shutdown().await;
    }
}

#[tokio::test]
async fn a_user_is_authorised_by_publish_and_logs_off_also_across_a_restart() {
    let site = Site::start("tcp", "").await;
    let mut ue = site.registered("visitor-1", Transport::Tcp).await;
    let nothing = ServiceInfo::default();
    assert_eq!(*ue.publish(SERVER, &nothing, &SETTINGS).await.unwrap(), NOT_BOUND);
    let info = site.info(SERVICE_SCOPE).await;
    let authorised = ue.publish(SERVER, &info, &SETTINGS).await.unwrap();
    assert_eq!(*authorised, ServiceState::Authorised);
    let site = site.restart().await;
    site.await_authorised(1.0).await;
    let mut ue = site.registered("visitor-1", Transport::Tcp).await;
    let changed = ue.publish(SERVER, &nothing, &SETTINGS).await.unwrap();
    assert_eq!(*changed, ServiceState::Authorised, "the binding is durable");
    assert_eq!(*ue.log_off(SERVER).await.unwrap(), ServiceState::LoggedOff);
    assert_eq!(*ue.publish(SERVER, &nothing, &SETTINGS).await.unwrap(), NOT_BOUND);
    site.await_authorised(0.0).await;
    site.system.shutdown().await;
}

#[tokio::test]
async fn scenarios_73_75_and_76_are_seen_by_the_ue() {
    let site = Site::start("tcp", "authorisations_of_user_max = 1\n").await;
    let mut ue = site.registered("visitor-1", Transport::Tcp).await;
    let without = site.info("openid 3gpp:mc:ptt_config_management_service").await;
    assert_eq!(*ue.publish(SERVER, &without, &SETTINGS).await.unwrap(), NOT_AUTHORISED, "73");
    let nothing = ServiceInfo::default();
    assert_eq!(*ue.publish(SERVER, &nothing, &SETTINGS).await.unwrap(), NOT_BOUND, "76");
    let old_name = site.info("openid 3gpp:mcptt:ptt_server").await;
    let authorised = ue.publish(SERVER, &old_name, &SETTINGS).await.unwrap();
    assert_eq!(*authorised, ServiceState::Authorised, "by the name of Release 13");
    let mut other = site.registered("visitor-2", Transport::Tcp).await;
    let info = site.info(SERVICE_SCOPE).await;
    let too_many = ServiceState::Refused { status: 486, warning: Some(164) };
    assert_eq!(*other.publish(SERVER, &info, &SETTINGS).await.unwrap(), too_many, "75");
    let refused = "migcore_notes_total{note=\"service_authorisation_refused\"}";
    assert!((metric(&site.system, refused) - 2.0).abs() < f64::EPSILON);
    site.system.shutdown().await;
}

#[tokio::test]
async fn who_is_no_sip_core_is_not_served_and_who_is_not_registered_not_passed_on() {
    let site = Site::start("tcp", "cores = [\"192.0.2.1\"]\n").await;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let own = socket.local_addr().unwrap();
    let publish = format!(
        "PUBLISH sip:mcptt@c.example SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK1;rport\r\nMax-Forwards: 70\r\n\
         From: <sip:visitor-1@c.example>;tag=1\r\nTo: <sip:mcptt@c.example>\r\nCall-ID: 1\r\nCSeq: 1 PUBLISH\r\n\
         P-Asserted-Identity: <sip:visitor-1@c.example>\r\nEvent: poc-settings\r\nContent-Length: 0\r\n\r\n"
    );
    for (to, reason) in [
        (site.mc_server, "SIP/2.0 403 Not A SIP Core Of This System"),
        (site.system.bound().sip[0], "SIP/2.0 403 Forbidden"),
    ] {
        socket.send_to(publish.as_bytes(), to).unwrap();
        let mut buffer = [0; 4_096];
        let (length, _) = socket.recv_from(&mut buffer).unwrap();
        let answer = String::from_utf8_lossy(&buffer[..length]).into_owned();
        assert_eq!(answer.lines().next(), Some(reason));
    }
    let strangers = "migcore_notes_total{note=\"stranger_refused\"}";
    assert!((metric(&site.system, strangers) - 1.0).abs() < f64::EPSILON);
    site.system.shutdown().await;
}

/// A state file of a UE at home in c.example; the key is a subscriber's of the site.
fn state_file(site: &Site, folder: &Path) -> PathBuf {
    let core = site.system.bound().sip[0];
    let text = format!(
        "[user]\nmc_service_id = \"sip:officer@c.example\"\ntoken = \"AbCdEfGhIjKlMnOpQrStUvWx\"\n\
         [home]\nmc_system_id = \"sip:c.example\"\ncsc4 = \"http://127.0.0.1:9\"\nimpi = \"alice@c.example\"\n\
         impu = \"sip:alice@c.example\"\nsip_core = [\"tcp:{core}\"]\n[isim]\nk = \"{K}\"\nop = \"{OP}\"\n"
    );
    let path = folder.join("ue.toml");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

const K: &str = "465b5ce8b199b49faa5f0a2ee238a6bc";
const OP: &str = "cdc202d5123e20f62b6d676ac72cb318";

#[tokio::test]
async fn by_the_command_line_a_ue_is_authorised_by_register_and_by_publish_and_logs_off() {
    let site = Site::start("tcp", "").await;
    let subscriber = json!({"impus": ["sip:alice@c.example"], "k": K, "op": OP});
    site.put("/v1/subscribers/alice@c.example", subscriber).await;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ue-services");
    let _ = std::fs::remove_dir_all(&folder); // of an earlier run
    std::fs::create_dir(&folder).unwrap();
    let state = state_file(&site, &folder);
    let token = folder.join("token");
    let secret = site.token(SERVICE_SCOPE).await;
    std::fs::write(&token, secret.expose()).unwrap();
    let with_token = format!("mcptt={}", token.display());
    let ue = |command: &str, arguments: &[&str]| {
        let mut process = Command::new(env!("CARGO_BIN_EXE_migcore"));
        process.args(["ue", command, "--state", state.to_str().unwrap(), "--json"]);
        let output = process.args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains(secret.expose()), "no token is told");
        assert!(!String::from_utf8_lossy(&output.stdout).contains(secret.expose()));
        (output.status.code(), said)
    };
    let server = ["--server", SERVER.1];
    let by_register = ue("register", &["--service", &with_token, "--mc-client-id", "urn:uuid:1"]);
    assert_eq!(by_register.0, Some(0), "{}", by_register.1);
    site.await_authorised(1.0).await;
    let refreshed = ue("refresh", &["--service", "mcptt"]);
    assert_eq!(refreshed.0, Some(0), "{}", refreshed.1);
    site.await_authorised(1.0).await;
    let off = ue("log-off", &["--service", "mcptt", server[0], server[1]]);
    assert_eq!(off.0, Some(0), "{}", off.1);
    site.await_authorised(0.0).await;
    let without = ue("authorise", &["--service", "mcptt", server[0], server[1]]);
    assert!(without.0 == Some(1) && without.1.contains("bring a token"), "{}", without.1);
    let with = ue("authorise", &["--service", &with_token, server[0], server[1]]);
    assert_eq!(with.0, Some(0), "{}", with.1);
    site.await_authorised(1.0).await;
    let missing = ue("refresh", &["--service", "mcptt=/nowhere"]);
    assert!(missing.0 == Some(2) && missing.1.contains("/nowhere"), "{missing:?}");
    assert_eq!(ue("deregister", &[]).0, Some(0));
    site.await_authorised(0.0).await;
    site.system.shutdown().await;
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn over_tls_core_and_mc_server_know_each_other_by_their_certificates() {
    let directory = std::env::temp_dir().join(format!("{}-node-mc-server", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    let domains = vec!["c.example".to_owned()];
    let valid_for = Duration::from_secs(30 * 86_400);
    let made = DevCa { directory: directory.clone(), domains, valid_for, hosts: Vec::new() };
    made.make(Clock::start().now()).unwrap();
    let file = |name: &str| -> PathBuf { directory.join("c.example").join(name) };
    let (mc_server, idms) = (free_address(), free_address());
    let config = format!(
        "roles = [\"sip_core\", \"sip_database\", \"config_server\", \"idms\", \"mc_server\"]\n\
         [system]\ndomain = \"c.example\"\n[sip]\nlisten_tls = [\"127.0.0.1:0\"]\n\
         [[sip.application_servers]]\nuri = \"sip:mc.c.example\"\naddress = \"tls:{mc_server}\"\n\
         include_request = true\nservices = [\"sip:mcptt@c.example\"]\n\
         [mc_server]\nlisten = \"{mc_server}\"\n[diameter]\n[admin]\nlisten = \"127.0.0.1:0\"\ninsecure = true\n\
         [management]\nlisten = \"127.0.0.1:0\"\ninsecure = true\n\
         [config_server]\nlisten = \"127.0.0.1:0\"\nlisten_partners = \"127.0.0.1:0\"\n\
         [idms]\nlisten = \"{idms}\"\nissuer = \"http://{idms}\"\ninsecure = true\npassword_memory_kib = 8\n\
         password_passes = 1\n{}",
        std::fs::read_to_string(file(EXAMPLE_FILE)).unwrap()
    );
    let system = RunningSystem::start(NodeConfig::parse(&config).unwrap(), Options::default());
    let idms = Server { name: "idms".into(), url: format!("http://{idms}") };
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let site = Site { system: system.unwrap(), config, idms, http, mc_server };
    site.provision().await;
    let info = site.info(SERVICE_SCOPE).await;
    let services = vec![ServiceLogOn { service: ProfileService::Mcptt, info }];
    let core = site.system.bound().sip_tls[0];
    let config = Config::new(pair("visitor-1"), Transport::Tls, core);
    let trust = Trust::of_file(&file(CA_FILE)).unwrap();
    let ue =
        RunningUe::open(config, core, SecretText::new(PASSWORD), &trust, (None, "scscf")).await;
    let mut ue = ue.unwrap();
    ue.set_services(services);
    assert!(matches!(ue.register().await.unwrap(), State::Registered(_)));
    site.await_authorised(1.0).await;
    let changed = ue.publish(SERVER, &ServiceInfo::default(), &SETTINGS).await.unwrap();
    assert_eq!(*changed, ServiceState::Authorised);
    assert!(std::net::TcpStream::connect(site.mc_server).is_ok());
    site.system.shutdown().await;
    std::fs::remove_dir_all(&directory).unwrap();
}

/// The identity management server of c.example, alone, and a site that knows it by the certificates in `file`.
async fn apart(file: &Path) -> (Site, Site) {
    let (mc_server, address) = (free_address(), free_address());
    let start = |config: &str| {
        let system =
            RunningSystem::start(NodeConfig::parse(config).unwrap(), Options::default()).unwrap();
        let idms = Server { name: "idms".into(), url: format!("http://{address}") };
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Site { system, config: config.to_owned(), idms, http, mc_server }
    };
    let issuer = start(&format!(
        "roles = [\"idms\"]\n[system]\ndomain = \"c.example\"\ninsecure = true\n[diameter]\n[admin]\n\
         [management]\nlisten = \"127.0.0.1:0\"\n[idms]\nlisten = \"{address}\"\n\
         issuer = \"http://{address}\"\npassword_memory_kib = 8\npassword_passes = 1\n"
    ));
    issuer.provision_users().await;
    issuer.export(file).await;
    let site = start(&format!(
        "roles = [\"sip_core\", \"sip_database\", \"mc_server\"]\n\
         [system]\ndomain = \"c.example\"\ninsecure = true\n[sip]\nlisten = \"127.0.0.1:0\"\n\
         [[sip.application_servers]]\nuri = \"sip:mc.c.example\"\naddress = \"tcp:{mc_server}\"\n\
         include_request = true\nservices = [\"sip:mcptt@c.example\"]\n\
         [mc_server]\nlisten = \"{mc_server}\"\nissuer = \"http://{address}\"\ncertificates = {file:?}\n\
         [diameter]\n[admin]\nlisten = \"127.0.0.1:0\"\n[management]\nlisten = \"127.0.0.1:0\"\n"
    ));
    site.provision_subscribers().await;
    (issuer, site)
}

#[tokio::test]
async fn a_new_key_of_an_issuer_elsewhere_counts_once_its_certificate_is_in_the_file() {
    let file = std::env::temp_dir().join(format!("{}-issuer.pem", std::process::id()));
    let (issuer, site) = apart(&file).await;
    let mut ue = site.registered("visitor-1", Transport::Tcp).await;
    let by_old = issuer.info(SERVICE_SCOPE).await;
    let published = ue.publish(SERVER, &by_old, &SETTINGS).await.unwrap();
    assert_eq!(*published, ServiceState::Authorised);

    issuer.make_key().await;
    let by_new = issuer.info(SERVICE_SCOPE).await;
    assert_eq!(*ue.publish(SERVER, &by_new, &SETTINGS).await.unwrap(), NOT_AUTHORISED);
    issuer.export(&file).await;
    site.system.refresh_files();
    for info in [&by_new, &by_old] {
        let published = ue.publish(SERVER, info, &SETTINGS).await.unwrap();
        assert_eq!(*published, ServiceState::Authorised);
    }

    for broken in ["no certificate", ""] {
        std::fs::write(&file, broken).unwrap();
        site.system.refresh_files();
        let published = ue.publish(SERVER, &by_new, &SETTINGS).await.unwrap();
        assert_eq!(*published, ServiceState::Authorised, "what was in force stays");
    }
    site.system.shutdown().await;
    let again = NodeConfig::parse(&site.config).unwrap();
    let Err(error) = RunningSystem::start(again, Options::default()) else { panic!("it starts") };
    assert!(error.to_string().contains("holds no PEM block"), "{error}");
    std::fs::remove_file(&file).unwrap();
    issuer.system.shutdown().await;
}

/// Whether tshark is there. Where peers are required, it is.
fn has_tshark() -> bool {
    let found = Command::new("tshark").arg("--version").output().is_ok();
    let required = std::env::var("MIGCORE_PEERS").is_ok_and(|value| value == "required");
    assert!(found || !required, "tshark is missing: tests/run installs it");
    found
}

#[tokio::test]
async fn tshark_finds_nothing_malformed_in_what_ue_core_and_mc_server_say() {
    if !has_tshark() {
        return;
    }
    let site = Site::start("tcp", "").await;
    let (core, mc) = (site.system.bound().sip[0].port(), site.mc_server.port());
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mc-server.pcapng");
    let capture = Tshark::start(&file, &format!("tcp port {core} or tcp port {mc}"));
    let info = site.info(SERVICE_SCOPE).await;
    let mut ue = site.registered_with("visitor-1", Transport::Tcp, info.clone()).await;
    site.await_authorised(1.0).await;
    let published = ue.publish(SERVER, &info, &SETTINGS).await.unwrap();
    assert_eq!(*published, ServiceState::Authorised);
    ue.log_off(SERVER).await.unwrap();
    ue.deregister().await.unwrap();
    capture.stop();
    let count = |filter: &str| {
        let decode = [core, mc].map(|port| format!("tcp.port=={port},sip"));
        let output = Command::new("tshark")
            .args(["-r", file.to_str().unwrap(), "-d", &decode[0], "-d", &decode[1], "-Y", filter])
            .args(["-T", "fields", "-e", "frame.number"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{filter}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().count()
    };
    let to_mc = format!("tcp.dstport == {mc}");
    assert!(
        count(&format!("{to_mc} && sip.Method == \"REGISTER\"")) >= 2,
        "registered, and no more"
    );
    assert!(count(&format!("{to_mc} && sip.Method == \"PUBLISH\" && mime_multipart && xml")) >= 1);
    assert!(count(&format!("{to_mc} && sip.P-Asserted-Identity")) >= 2);
    assert!(count("sip && mime_multipart && xml") >= 3, "of the UE, of the core twice");
    assert_eq!(count("_ws.malformed || _ws.expert.severity == error"), 0);
    std::fs::remove_file(&file).unwrap();
    site.system.shutdown().await;
}

#[tokio::test]
async fn scenario_77_a_ue_with_records_of_both_kinds_goes_from_partner_to_partner_and_home() {
    // A record by interconnection: home and the first partner know each other.
    let settings = vec!["workers=1".to_owned()];
    let demo =
        Demo { transport: Transport::Tcp, base_port: 0, settings, fault: None, data_dir: None };
    let mut demo = RunningDemo::start(&demo).await.unwrap();
    demo.migrate().await.unwrap();
    let before = demo.records().clone();
    // One without: the second partner has a pair of its own for the user, and takes a token of the home's.
    let second = Site::start("tcp", "").await;
    let security_token = second.security_token(&demo).await;

    let State::Registered(first) = demo.register().await.unwrap() else { panic!("at the first") };
    assert!(first.associated_uris[0].ends_with("@b.example"));
    assert_eq!(demo.deregister().await.unwrap(), State::Idle);

    let tokens = second.tokens_for(&security_token).await;
    let mc_service_id = tokens.services.mcptt_id.unwrap();
    assert_eq!(mc_service_id.as_str(), "sip:visitor-1@c.example");
    let access_token = Some(SecretText::new(tokens.access.expose()));
    let info = ServiceInfo { access_token, client_id: Some("urn:uuid:1".to_owned()) };
    let mut ue = second.registered_with("visitor-1", Transport::Tcp, info).await;
    second.await_authorised(1.0).await;
    let clients = second.shown(&second.system, "/v1/mc-clients").await;
    let bound = &clients["items"][0]["record"]["authorisations"][0]["mc_service_id"];
    assert_eq!(bound, mc_service_id.as_str());
    let State::Registered(there) = ue.register().await.unwrap().clone() else {
        panic!("at the second")
    };
    assert_eq!(there.associated_uris, ["sip:visitor-1@c.example"]);
    assert_eq!(*demo.records(), before, "what is of the first partner and of home stays");
    assert_eq!(*ue.deregister().await.unwrap(), State::Idle);

    let State::Registered(home) = demo.register_at_home().await.unwrap() else { panic!("at home") };
    assert_eq!(home.associated_uris, ["sip:alice@a.example"]);
    assert_eq!(*demo.records(), before, "and nothing was overwritten");
    assert_eq!(demo.deregister().await.unwrap(), State::Idle);
    let State::Registered(again) = demo.register().await.unwrap() else { panic!("coming back") };
    assert_eq!(again.associated_uris, first.associated_uris, "the same identities as before");
    second.system.shutdown().await;
    demo.shutdown().await;
}
