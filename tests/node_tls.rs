//! Systems that speak TLS: who gets in where, by which certificate, and how both sides are told why not.
#![cfg(feature = "node")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a test speaks to the sockets"
)]

mod node_world;

use std::{
    error::Error,
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use migcore::{
    aka::SqnArray,
    identity::UserIdentity,
    node::{
        Clock, Options, RunningSystem, RunningUe, StartError,
        client::ManagementClient,
        config::Config,
        tls::{
            Trust,
            dev_ca::{CA_FILE, CERTIFICATE_FILE, DevCa, EXAMPLE_FILE, KEY_FILE},
            use_ring,
        },
    },
    outbox::Transport,
    secret::Secret,
    ue::{Config as UeConfig, Isim, State},
};
use node_world::{eventually, metric};
use reqwest::Client;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

const ACCESS: &str = "/csc-17/v1/system-access";
const INTERCONNECTION: &str = "/acm/v1/interconnection";
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// A directory of certificates for A, B and C, that goes with its test.
struct Lab(PathBuf);

impl Lab {
    fn new(name: &str) -> Self {
        let directory =
            std::env::temp_dir().join(format!("{}-node-tls-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        let lab = Self(directory);
        lab.issue(&["a.example", "b.example", "c.example"], 30 * DAY);
        lab
    }

    fn issue(&self, domains: &[&str], valid_for: Duration) {
        let domains = domains.iter().map(|it| (*it).to_owned()).collect();
        let made = DevCa { directory: self.0.clone(), domains, valid_for, hosts: Vec::new() };
        made.make(Clock::start().now()).unwrap();
    }

    fn file(&self, letter: &str, name: &str) -> PathBuf {
        self.0.join(format!("{letter}.example")).join(name)
    }

    fn trust(&self, letter: &str) -> Trust {
        Trust::of_file(&self.file(letter, CA_FILE)).unwrap()
    }

    /// The configuration of a system with A, B and C as partners of each other, and `more` of the caller's.
    fn toml(&self, letter: &str, more: &str) -> String {
        let section = fs::read_to_string(self.file(letter, EXAMPLE_FILE)).unwrap();
        let mut toml = format!(
            "roles = [\"sip_core\", \"sip_database\", \"config_server\", \"acm\"]\n\
             [system]\ndomain = \"{letter}.example\"\n\
             [sip]\nlisten_tls = [\"127.0.0.1:0\"]\n\
             [admin]\nlisten = \"127.0.0.1:0\"\n[management]\nlisten = \"127.0.0.1:0\"\n\
             [config_server]\nstatic_tokens = true\nlisten = \"127.0.0.1:0\"\nlisten_partners = \"127.0.0.1:0\"\n\
             [acm]\nclient_listen = \"127.0.0.1:0\"\npartner_listen = \"127.0.0.1:0\"\n\
             {section}"
        );
        for other in ["a", "b", "c"].into_iter().filter(|other| *other != letter) {
            toml += &format!(
                "[[config_server.partners]]\nid = \"sip:{other}.example\"\n\
                 sip_database = \"sipdb.{other}.example\"\nurl = \"https://127.0.0.1:9\"\n\
                 send_token = \"{}\"\naccept_token = \"{}\"\n\
                 [[acm.partners]]\nid = \"sip:{other}.example\"\nurl = \"https://127.0.0.1:9\"\n\
                 send_token = \"{}\"\naccept_token = \"{}\"\ndomains = [\"{other}.example\"]\n",
                token("csc", letter, other),
                token("csc", other, letter),
                token("acm", letter, other),
                token("acm", other, letter),
            );
        }
        toml + more
    }

    fn start(&self, letter: &str, diameter: &str) -> RunningSystem {
        let toml = self.toml(letter, diameter);
        RunningSystem::start(Config::parse(&toml).unwrap(), Options::default()).unwrap()
    }

    /// A client of TLS that believes B's authority, and shows the certificate in a directory.
    fn tls_client(&self, shown: Option<&Path>) -> ClientConfig {
        use_ring();
        let mut roots = RootCertStore::empty();
        let authority = fs::read(self.file("b", CA_FILE)).unwrap();
        roots.add(CertificateDer::from_pem_slice(&authority).unwrap()).unwrap();
        let builder = ClientConfig::builder().with_root_certificates(roots);
        match shown {
            None => builder.with_no_client_auth(),
            Some(directory) => {
                let read = |name| fs::read(directory.join(name)).unwrap();
                let chain = CertificateDer::from_pem_slice(&read(CERTIFICATE_FILE)).unwrap();
                let key = PrivateKeyDer::from_pem_slice(&read(KEY_FILE)).unwrap();
                builder.with_client_auth_cert(vec![chain], key).unwrap()
            }
        }
    }

    /// The same over HTTP.
    fn client(&self, shown: Option<&Path>) -> Client {
        let config = self.tls_client(shown);
        Client::builder().no_proxy().tls_backend_preconfigured(config).build().unwrap()
    }

    fn client_of(&self, letter: &str) -> Client {
        self.client(Some(&self.0.join(format!("{letter}.example"))))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What `from` presents to `to`.
fn token(interface: &str, from: &str, to: &str) -> String {
    format!("{interface}-token-of-{from}-at-{to}-0123456789")
}

/// Diameter on a free port, and the SIP databases of all others as peers.
fn diameter(letter: &str, own: &str) -> String {
    let mut toml = format!("[diameter]\nlisten = \"127.0.0.1:0\"\n{own}");
    for other in ["a", "b", "c"].into_iter().filter(|other| *other != letter) {
        toml += &node_world::peer(&format!("sipdb.{other}.example"), "database", None);
    }
    toml
}

fn access_from(letter: &str) -> Value {
    json!({
        "primary": format!("sip:{letter}.example"),
        "mc_service_id": format!("sip:alice@{letter}.example"),
        "user": {
            "database": format!("sipdb.{letter}.example"),
            "identity": { "impi": format!("x@{letter}.example"), "impu": format!("sip:x@{letter}.example") },
            "server_name": format!("sip:migration.{letter}.example"),
        },
    })
}

/// Everything that an error says.
fn words(error: &(dyn Error + 'static)) -> String {
    let mut all = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        all += &format!(": {error}");
        cause = error.source();
    }
    all
}

fn dropped(system: &RunningSystem) -> f64 {
    metric(system, "migcore_dropped_total{reason=\"tls_handshake\"}")
}

fn refused(system: &RunningSystem) -> f64 {
    metric(system, "migcore_notes_total{note=\"peer_refused\"}")
}

#[tokio::test]
async fn partners_are_known_by_certificate_token_and_origin_which_have_to_agree() {
    let lab = Lab::new("partners");
    let b = lab.start("b", &diameter("b", ""));
    let csc17 = format!("https://{}{ACCESS}", b.bound().csc17.unwrap());
    let acm = format!("https://{}{INTERCONNECTION}", b.bound().acm_partner.unwrap());
    let (of_a, of_c) = (lab.client_of("a"), lab.client_of("c"));

    // All of one system: the request is judged, and there is no agreement.
    let ask = |client: &Client, from: &str, body: Value| {
        client.post(&csc17).bearer_auth(token("csc", from, "b")).json(&body).send()
    };
    let answer = ask(&of_a, "a", access_from("a")).await.unwrap();
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["type"], "urn:migcore:problem:not-authorised", "{problem}");

    // A system that has the token of another one, and names it.
    let before = refused(&b);
    for (client, by, from) in [(&of_c, "c", "a"), (&of_a, "a", "c")] {
        let answer = ask(client, from, access_from(from)).await.unwrap();
        assert_eq!(answer.status(), 403);
        let problem: Value = answer.json().await.unwrap();
        let detail = format!(
            "the certificate is that of sip:{by}.example, and the request is from sip:{from}.example"
        );
        assert_eq!(problem["type"], "urn:migcore:problem:wrong-system");
        assert_eq!(problem["detail"], detail);
    }
    // The token and the origin are of two systems, as before.
    let answer = ask(&of_a, "c", access_from("a")).await.unwrap();
    assert_eq!(answer.status(), 403);
    assert!((refused(&b) - before - 3.0).abs() < f64::EPSILON, "each is a security event");

    let interconnect = |client: &Client, from: &str| {
        client
            .post(&acm)
            .bearer_auth(token("acm", from, "b"))
            .json(&json!({ "nothing": {} }))
            .send()
    };
    let answer = interconnect(&of_a, "a").await.unwrap();
    assert_eq!(answer.status(), 422, "it is read");
    let answer = interconnect(&of_c, "a").await.unwrap();
    let status = answer.status();
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(
        (status.as_u16(), &problem["type"]),
        (403, &json!("urn:migcore:problem:wrong-system"))
    );
    b.shutdown().await;
}

#[tokio::test]
async fn a_partner_without_its_certificate_does_not_get_in_and_is_told_why() {
    let lab = Lab::new("none");
    let b = lab.start("b", &diameter("b", ""));
    // Another authority of the same name has signed this one.
    let foreign = Lab::new("none-foreign");
    // D is no partner. Its directory is in the same lab.
    lab.issue(&["d.example"], 30 * DAY);
    let late = expired(&lab, "a", "none-late").await;
    let mut seen = dropped(&b);
    for address in [b.bound().csc17.unwrap(), b.bound().acm_partner.unwrap()] {
        for (shown, alert) in [
            (None, "CertificateRequired"),
            (Some(foreign.0.join("a.example")), "DecryptError"),
            (Some(lab.0.join("d.example")), "CertificateUnknown"),
            (Some(late.0.join("a.example")), "CertificateExpired"),
        ] {
            let client = lab.client(shown.as_deref());
            let asked = client.get(format!("https://{address}/openapi.json")).send().await;
            let told = words(&asked.expect_err("it is refused"));
            assert!(told.contains(alert), "{told} has not {alert}");
            seen += 1.0;
            let by = seen;
            eventually("each is counted", || (dropped(&b) - by).abs() < f64::EPSILON).await;
        }
    }
    // Without TLS nothing is understood at all.
    let plain = format!("http://{}/openapi.json", b.bound().csc17.unwrap());
    assert!(lab.client(None).get(plain).send().await.is_err());
    b.shutdown().await;
}

#[tokio::test]
async fn what_a_client_of_this_crate_says_names_the_reason() {
    let lab = Lab::new("client");
    let b = lab.start("b", &diameter("b", ""));
    let url = format!("https://{}", b.bound().management.unwrap());
    let client = ManagementClient::trusting(&url, &lab.trust("b"));
    client.system().await.unwrap();
    for (trust, reason) in [
        (Trust::default(), "give --ca FILE, or set MIGCORE_CA"),
        (lab.trust("a"), "signed by no authority that is trusted here"),
    ] {
        let refused = ManagementClient::trusting(&url, &trust).system().await.err().unwrap();
        let told = refused.to_string();
        assert!(told.contains(reason), "{told}");
    }
    b.shutdown().await;
}

#[tokio::test]
async fn a_ue_registers_over_tls_and_believes_only_the_authority_of_the_domain() {
    let lab = Lab::new("ue");
    let b = lab.start("b", &diameter("b", ""));
    let management = format!("https://{}", b.bound().management.unwrap());
    let alice = UserIdentity {
        impi: "alice@b.example".parse().unwrap(),
        impu: "sip:alice@b.example".parse().unwrap(),
    };
    let (k, op) = (Secret::new([1; 16]), Secret::new([2; 16]));
    let client = ManagementClient::trusting(&management, &lab.trust("b"));
    client.put_subscriber(&alice, &k, &op).await.unwrap();
    let core = b.bound().sip_tls[0];
    assert!(b.bound().sip.is_empty(), "nothing without TLS");
    let open = |trust: Trust, core: SocketAddr| {
        let config = UeConfig::new(alice.clone(), Transport::Tls, core);
        let opc = migcore::aka::opc_from_op(&k, &op);
        let isim = Isim::new(&k, &opc, SqnArray::default());
        async move { RunningUe::open(config, core, isim, &trust, (None, "core")).await }
    };
    let mut ue = open(lab.trust("b"), core).await.unwrap();
    let State::Registered(registered) = ue.register().await.unwrap() else {
        panic!("not registered")
    };
    assert!(registered.associated_uris[0].contains("sip:alice@b.example"));
    let received = "migcore_sip_messages_total{direction=\"in\",transport=\"tls\"}";
    assert!((metric(&b, received) - 2.0).abs() < f64::EPSILON);

    for (trust, reason) in [
        (lab.trust("a"), "signed by no authority that is trusted here"),
        (Trust::default(), "no authority was named"),
    ] {
        let before = dropped(&b);
        let Err(error) = open(trust, core).await else { panic!("it is not believed") };
        assert!(error.to_string().contains(reason), "{error}");
        eventually("the core counts it", || dropped(&b) > before).await;
    }
    // The server of another domain, though its authority is believed.
    let a = lab.start("a", &diameter("a", ""));
    let Err(error) = open(lab.trust("a"), a.bound().sip_tls[0]).await else {
        panic!("another domain")
    };
    assert!(error.to_string().contains("not valid for name \"b.example\""), "{error}");
    assert!(matches!(ue.register().await.unwrap(), State::Registered(_)), "the connection goes on");
    a.shutdown().await;
    b.shutdown().await;
}

/// Waits until the certificate of a directory, made for so many seconds, has expired.
async fn expire(certificate: &Path, seconds: u64) {
    let made = fs::metadata(certificate).unwrap().modified().unwrap();
    while made.elapsed().unwrap() < Duration::from_secs(seconds + 2) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A certificate for `letter` by the authority of `lab` that has expired, in a lab of its own.
async fn expired(lab: &Lab, letter: &str, name: &str) -> Lab {
    let late = Lab::new(name);
    for file in [CA_FILE, "ca-key.pem"] {
        fs::copy(lab.file(letter, file), late.file(letter, file)).unwrap();
    }
    late.issue(&[&format!("{letter}.example")], Duration::from_secs(1));
    expire(&late.file(letter, CERTIFICATE_FILE), 1).await;
    late
}

/// Asks a SIP core for its options, showing the certificate of a directory; or what TLS has against it.
async fn options_of(core: SocketAddr, lab: &Lab, shown: Option<&Path>) -> Result<String, String> {
    let connector = TlsConnector::from(Arc::new(lab.tls_client(shown)));
    let name = ServerName::try_from("b.example").unwrap();
    let connection = TcpStream::connect(core).await.unwrap();
    let failed = |error: std::io::Error| words(&error);
    let mut stream = connector.connect(name, connection).await.map_err(failed)?;
    let ask = "OPTIONS sip:b.example SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1:9;branch=z9hG4bK1\r\n\
               Max-Forwards: 70\r\nFrom: <sip:a@b.example>;tag=1\r\nTo: <sip:b.example>\r\n\
               Call-ID: 1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";
    // Over TLS 1.3 the server judges a certificate when the client thinks that all is done.
    stream.write_all(ask.as_bytes()).await.map_err(failed)?;
    let mut answer = vec![0; 4_096];
    let length = stream.read(&mut answer).await.map_err(failed)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

#[tokio::test]
async fn a_ue_that_shows_a_certificate_shows_a_valid_one_of_the_systems_authority() {
    let lab = Lab::new("ue-shows");
    let b = lab.start("b", &diameter("b", ""));
    let core = b.bound().sip_tls[0];
    let own = lab.0.join("b.example");
    for shown in [None, Some(&*own)] {
        let answer = options_of(core, &lab, shown).await.unwrap();
        assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
    }
    let foreign = Lab::new("ue-shows-foreign");
    let late = expired(&lab, "b", "ue-shows-late").await;
    for (shown, alert) in [
        (lab.0.join("a.example"), "UnknownCA"),
        (foreign.0.join("b.example"), "DecryptError"),
        (late.0.join("b.example"), "CertificateExpired"),
    ] {
        let before = dropped(&b);
        let told = options_of(core, &lab, Some(&shown)).await.expect_err("it is refused");
        assert!(told.contains(alert), "{told} has not {alert}");
        eventually("the core counts it", || dropped(&b) > before).await;
    }
    b.shutdown().await;
}

#[tokio::test]
async fn a_ue_does_not_believe_a_sip_core_whose_certificate_has_expired() {
    let lab = Lab::new("core-late");
    lab.issue(&["a.example", "b.example", "c.example"], Duration::from_secs(5));
    let b = lab.start("b", &diameter("b", ""));
    expire(&lab.file("b", CERTIFICATE_FILE), 5).await;
    let core = b.bound().sip_tls[0];
    let alice = UserIdentity {
        impi: "alice@b.example".parse().unwrap(),
        impu: "sip:alice@b.example".parse().unwrap(),
    };
    let isim = Isim::new(&Secret::new([1; 16]), &Secret::new([2; 16]), SqnArray::default());
    let config = UeConfig::new(alice, Transport::Tls, core);
    let before = dropped(&b);
    let opened = RunningUe::open(config, core, isim, &lab.trust("b"), (None, "core")).await;
    let Err(error) = opened else { panic!("it is believed") };
    assert!(error.to_string().contains("its certificate expired at "), "{error}");
    eventually("the core counts it", || dropped(&b) > before).await;
    b.shutdown().await;
}

/// A system as a process of its own, which logs in JSON.
struct Process {
    child: Child,
    log: std::io::Lines<BufReader<ChildStderr>>,
}

impl Process {
    fn start(lab: &Lab, letter: &str) -> Self {
        let more = "[storage]\nengine = \"memory\"\n[log]\nformat = \"json\"\n";
        let file = lab.0.join("serve.toml");
        fs::write(&file, lab.toml(letter, &(diameter(letter, "") + more))).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_migcore"));
        command.args(["serve", "--config"]).arg(file).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, log }
    }

    /// The next line of the log that has this in it.
    fn said(&mut self, what: &str) -> Value {
        let line = self.log.by_ref().map(Result::unwrap).find(|line| line.contains(what));
        serde_json::from_str(&line.unwrap_or_else(|| panic!("nothing of {what}"))).unwrap()
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_running_process_reads_its_certificates_again_at_sighup_and_logs_who_it_refused() {
    let lab = Lab::new("sighup");
    let mut b = Process::start(&lab, "b");
    let up = b.said("system is up");
    let bound = up["bound"].as_str().unwrap();
    let (_, core) = bound.split_once("sip_tls: [").unwrap();
    let core: SocketAddr = core.split([']', ',']).next().unwrap().parse().unwrap();
    let answer = options_of(core, &lab, None).await.unwrap();
    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");

    let wrong = options_of(core, &lab, Some(&lab.0.join("a.example"))).await;
    assert!(wrong.is_err(), "{wrong:?}");
    let event = b.said("a connection over TLS was refused");
    assert_eq!(event["target"], "migcore::security", "{event}");
    let reason = event["reason"].as_str().unwrap();
    assert!(reason.contains("signed by no authority that is trusted here"), "{reason}");

    // The authority changes, too: who believes the old one is shown what it does not know.
    let before = lab.tls_client(None);
    fs::remove_file(lab.file("b", CA_FILE)).unwrap();
    lab.issue(&["b.example"], 30 * DAY);
    b.signal("-HUP");
    b.said("new certificates and keys are in force");
    let answer = options_of(core, &lab, None).await.unwrap();
    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
    let connector = TlsConnector::from(Arc::new(before));
    let connection = TcpStream::connect(core).await.unwrap();
    let name = ServerName::try_from("b.example").unwrap();
    assert!(connector.connect(name, connection).await.is_err(), "the old one is gone");
    b.signal("-TERM");
    b.said("system is down");
}

#[tokio::test]
async fn the_load_generator_registers_over_tls_where_it_believes_the_registrar() {
    let lab = Lab::new("load");
    let b = lab.start("b", &diameter("b", ""));
    let target = format!("tls:{}", b.bound().sip_tls[0]);
    let management = format!("https://{}", b.bound().management.unwrap());
    let load = |authority: &str, provision: bool| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_migcore"));
        command.args(["load", "register", "--target", &target, "--domain", "b.example", "--quiet"]);
        command.args(["--subscribers", "20", "--count", "20", "--rate", "20", "--duration", "2s"]);
        command.arg("--ca").arg(lab.file(authority, CA_FILE));
        if provision {
            command.args(["--provision", &management]);
        }
        command.output().unwrap()
    };
    let output = load("b", true);
    let shown = String::from_utf8_lossy(&output.stdout);
    // A generator without a core of its own says that it is INVALID: 4.
    assert!(matches!(output.status.code(), Some(0 | 4)), "{output:?}");
    assert!(shown.contains("TLS"), "{shown}");
    assert!((metric(&b, "migcore_registrations") - 20.0).abs() < f64::EPSILON, "{shown}");

    let output = load("a", false);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("signed by no authority that is trusted here"), "{said}");
    b.shutdown().await;
}

#[tokio::test]
async fn the_load_generator_asks_for_vectors_over_tls_with_a_certificate_for_its_host() {
    let lab = Lab::new("load-cx");
    let core = node_world::peer("scscf.b.example", "core", None);
    let b = lab.start("b", &(diameter("b", "") + &core));
    let target = format!("tls:{}", b.bound().diameter.unwrap());
    let management = format!("https://{}", b.bound().management.unwrap());
    let load = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_migcore"));
        command.args(["load", "cx", "--target", &target, "--domain", "b.example", "--quiet"]);
        command.args(["--subscribers", "20", "--count", "20", "--duration", "60s"]);
        command.args(["--origin-host", "scscf.b.example"]).args(more);
        command.arg("--ca").arg(lab.file("b", CA_FILE)).output().unwrap()
    };
    let [certificate, key] =
        [CERTIFICATE_FILE, KEY_FILE].map(|it| lab.file("b", it).to_str().unwrap().to_owned());
    let shown = ["--certificate", &certificate, "--key", &key];
    let output = load(&[&shown[..], &["--provision", &management]].concat());
    assert!(matches!(output.status.code(), Some(0 | 4)), "{output:?}");
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(table.contains("20 begun") && table.contains("TLS"), "{table}");

    let output = load(&[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("wants a certificate, and none was shown to it"), "{said}");

    let other = lab.file("a", CERTIFICATE_FILE).to_str().unwrap().to_owned();
    let output = load(&["--certificate", &other, "--key", &key]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("does not belong to the first certificate"), "{said}");
    b.shutdown().await;
}

/// A system that connects to B's Diameter.
fn connecting(lab: &Lab, letter: &str, b: &RunningSystem, identity: &str) -> RunningSystem {
    let at = b.bound().diameter.unwrap();
    let own = format!("identity = \"{identity}\"\n");
    let toml = diameter(letter, &own).replacen(
        "host = \"sipdb.b.example\"\n",
        &format!("host = \"sipdb.b.example\"\naddress = \"{at}\"\n"),
        1,
    );
    lab.start(letter, &toml)
}

#[tokio::test]
async fn a_diameter_peer_is_the_one_that_its_certificate_is_for() {
    let lab = Lab::new("diameter");
    let b = lab.start("b", &diameter("b", ""));
    let open = |system: &RunningSystem, host: &str| {
        metric(system, &format!("migcore_diameter_connections{{peer=\"{host}\"}}")) > 0.5
    };
    let a = connecting(&lab, "a", &b, "sipdb.a.example");
    eventually("A and B are connected", || open(&b, "sipdb.a.example")).await;
    a.shutdown().await;
    eventually("A has left", || !open(&b, "sipdb.a.example")).await;

    // C, a partner itself, says that it is A.
    let before = refused(&b);
    let toml = lab.toml("c", "").replace("sipdb.a.example", "sipdb.x.example");
    let peer = node_world::peer("sipdb.b.example", "database", b.bound().diameter);
    let other = node_world::peer("sipdb.x.example", "database", None);
    let own = "[diameter]\nlisten = \"127.0.0.1:0\"\nidentity = \"sipdb.a.example\"\n";
    let config = Config::parse(&format!("{toml}{own}{peer}{other}")).unwrap();
    let c = RunningSystem::start(config, Options::default()).unwrap();
    eventually("it is a security event at B", || refused(&b) > before).await;
    assert!(!open(&b, "sipdb.a.example") && !open(&c, "sipdb.b.example"));
    c.shutdown().await;

    // Somebody with another authority.
    let foreign = Lab::new("diameter-foreign");
    fs::copy(lab.file("b", CA_FILE), foreign.file("b", CA_FILE)).unwrap();
    let before = dropped(&b);
    let false_a = connecting(&foreign, "a", &b, "sipdb.a.example");
    eventually("it is refused in the handshake", || dropped(&b) > before).await;
    assert!(!open(&b, "sipdb.a.example"));
    false_a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test]
async fn a_diameter_peer_whose_certificate_expired_is_refused_by_either_side() {
    for late in ["a", "b"] {
        let lab = Lab::new(&format!("diameter-{late}"));
        lab.issue(&["a.example", "b.example", "c.example"], 60 * DAY);
        let toml_of_b = lab.toml("b", &diameter("b", ""));
        let section = fs::read_to_string(lab.file("a", EXAMPLE_FILE)).unwrap();
        // The certificate of one holds for 30 days, and by the clock of the other 31 have passed.
        let early = if late == "a" { "b" } else { "a" };
        lab.issue(&[&format!("{early}.example")], 30 * DAY);
        fs::write(lab.file("a", EXAMPLE_FILE), section).unwrap();
        let options = |of: &str| {
            let clock_ahead = if of == late { 31 * DAY } else { Duration::ZERO };
            Options { clock_ahead, ..Options::default() }
        };
        let b = RunningSystem::start(Config::parse(&toml_of_b).unwrap(), options("b")).unwrap();
        let own = node_world::peer("sipdb.b.example", "database", b.bound().diameter);
        let peers = own + &node_world::peer("sipdb.c.example", "database", None);
        let toml = lab.toml("a", &format!("[diameter]\nlisten = \"127.0.0.1:0\"\n{peers}"));
        let a = RunningSystem::start(Config::parse(&toml).unwrap(), options("a")).unwrap();
        eventually("B counts it, whoever refuses", || dropped(&b) > 0.5).await;
        assert!(!a.is_connected() && !b.is_connected());
        if late == "a" {
            eventually("and so does A", || dropped(&a) > 0.5).await;
        }
        a.shutdown().await;
        b.shutdown().await;
    }
}

#[tokio::test]
async fn new_certificates_are_taken_over_while_connections_go_on() {
    let lab = Lab::new("reload");
    let b = lab.start("b", &diameter("b", ""));
    let url = format!("https://{}", b.bound().management.unwrap());
    let (before, other) = (ManagementClient::trusting(&url, &lab.trust("b")), lab.trust("a"));
    before.system().await.unwrap();
    fs::remove_file(lab.file("b", CA_FILE)).unwrap();
    lab.issue(&["a.example", "b.example", "c.example"], 30 * DAY);
    b.refresh_files();
    before.system().await.expect("over the connection that is open");
    let after = ManagementClient::trusting(&url, &lab.trust("b"));
    after.system().await.expect("a new connection has the new certificate");
    assert!(ManagementClient::trusting(&url, &other).system().await.is_err());

    fs::write(lab.file("b", KEY_FILE), "no key").unwrap();
    b.refresh_files();
    let again = ManagementClient::trusting(&url, &lab.trust("b"));
    again.system().await.expect("what was in force stays");
    let config = Config::parse(&lab.toml("b", &diameter("b", ""))).unwrap();
    let Err(error) = RunningSystem::start(config, Options::default()) else { panic!("it starts") };
    assert!(matches!(error, StartError::Tls(_)), "{error}");
    assert!(error.to_string().contains("key.pem holds no PEM block PRIVATE KEY"), "{error}");
    b.shutdown().await;
}

#[tokio::test]
async fn a_silent_client_does_not_keep_a_system_from_stopping() {
    let lab = Lab::new("silent");
    let b = lab.start("b", &diameter("b", ""));
    let bound = b.bound();
    let all = [bound.sip_tls[0], bound.diameter.unwrap(), bound.csc17.unwrap()];
    let mut open = Vec::new();
    for address in all {
        open.push(TcpStream::connect(address).await.unwrap());
    }
    let connected = "migcore_http_connections{listener=\"csc-17\"}";
    eventually("it is accepted", || (metric(&b, connected) - 1.0).abs() < f64::EPSILON).await;
    let stopped = tokio::time::timeout(Duration::from_secs(9), b.shutdown());
    assert!(stopped.await.is_ok(), "before the handshakes are too slow");
    drop(open);
}
