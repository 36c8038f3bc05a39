use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use rcgen::{CertificateParams, Issuer, KeyPair, SanType};
use rustls::pki_types::{ServerName, pem::PemObject};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{
    dev_ca::{CA_FILE, CA_KEY_FILE, CERTIFICATE_FILE, DevCa, KEY_FILE},
    identity::Names,
    *,
};

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// A directory of certificates that goes with its test.
struct Lab(PathBuf);

impl Lab {
    /// Certificates of some systems.
    fn new(name: &str, domains: &[&str]) -> Self {
        let directory = std::env::temp_dir().join(format!("{}-tls-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        let lab = Self(directory);
        lab.issue(domains, Clock::start().now());
        lab
    }

    /// Issues the certificates of systems, anew if they have some.
    fn issue(&self, domains: &[&str], now: Timestamp) {
        let domains = domains.iter().map(|it| (*it).to_owned()).collect();
        let valid_for = 30 * DAY;
        DevCa { directory: self.0.clone(), domains, valid_for, hosts: Vec::new() }
            .make(now)
            .unwrap();
    }

    fn file(&self, domain: &str, name: &str) -> PathBuf {
        self.0.join(domain).join(name)
    }

    /// What the system of `own` is configured with, for one partner.
    fn files(&self, own: &str, partner: &str) -> config::Tls {
        config::Tls {
            certificate: self.file(own, CERTIFICATE_FILE),
            key: self.file(own, KEY_FILE),
            ca: self.file(own, CA_FILE),
            partners: BTreeMap::from([(id(partner), self.file(partner, CA_FILE))]),
        }
    }

    fn load(&self, own: &str, partner: &str) -> Result<Tls, TlsError> {
        Tls::load(&self.files(own, partner), &id(own), Clock::start())
    }

    /// Replaces the certificate of a system by one of its authority with these names.
    fn rename(&self, domain: &str, names: Vec<SanType>) {
        let read = |name| fs::read_to_string(self.file(domain, name)).unwrap();
        let ca_key = KeyPair::from_pem(&read(CA_KEY_FILE)).unwrap();
        let mut authority = CertificateParams::default();
        authority.distinguished_name = rcgen::DistinguishedName::new();
        let name = format!("{domain} authority for trials");
        authority.distinguished_name.push(rcgen::DnType::CommonName, name);
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        let key = KeyPair::from_pem(&read(KEY_FILE)).unwrap();
        let signed = params.signed_by(&key, &Issuer::new(authority, ca_key)).unwrap();
        fs::write(self.file(domain, CERTIFICATE_FILE), signed.pem()).unwrap();
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn id(domain: &str) -> McSystemId {
    McSystemId::parse(&format!("sip:{domain}")).unwrap()
}

/// Lets a client with `trust` talk to a server; what became of it at the server, and at the client.
async fn meet(
    server: Arc<ServerConfig>,
    trust: Trust,
    name: &'static str,
) -> (Result<Option<Bound>, String>, Result<(), String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut shaken = accept(Some(server), stream).await?;
        shaken.stream.write_all(b"hello").await.map_err(|error| reason(&error))?;
        shaken.stream.flush().await.map_err(|error| reason(&error))?;
        let mut octet = [0];
        shaken.stream.read_exact(&mut octet).await.map_err(|error| reason(&error))?;
        Ok(shaken.bound)
    };
    let asking = async {
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from(name).unwrap();
        let talk = async {
            let mut shaken = connect(trust.config(), name, stream).await?;
            let mut hello = [0; 5];
            shaken.stream.read_exact(&mut hello).await?;
            shaken.stream.write_all(b"!").await?;
            shaken.stream.flush().await?;
            let _ = shaken.stream.read(&mut hello).await;
            std::io::Result::Ok(())
        };
        talk.await.map_err(|error| reason(&error))
    };
    tokio::join!(serving, asking)
}

/// The same between two systems.
async fn meet_systems(server: &Tls, client: &Tls, to: &str) -> (String, String) {
    let (server, client) =
        meet(server.server(Clients::Systems), client.client_of(&id(to)), "localhost").await;
    (server.expect_err("it is refused"), client.expect_err("it is refused"))
}

#[tokio::test]
async fn two_systems_of_a_lab_know_each_other() {
    let lab = Lab::new("mutual", &["a.example", "b.example"]);
    let (a, b) =
        (lab.load("a.example", "b.example").unwrap(), lab.load("b.example", "a.example").unwrap());
    let (server, client) =
        meet(b.server(Clients::Systems), a.client_of(&id("b.example")), "b.example").await;
    let bound = server.unwrap().unwrap();
    assert_eq!((bound.system, client), (id("a.example"), Ok(())));
    assert!(bound.hosts.contains(&"sipdb.a.example".to_owned()), "{:?}", bound.hosts);

    // A UE knows the authority, and shows nothing.
    let ue = Trust::of_file(&lab.file("b.example", CA_FILE)).unwrap();
    for clients in [Clients::Anybody, Clients::Ues] {
        assert_eq!(meet(b.server(clients), ue.clone(), "b.example").await, (Ok(None), Ok(())));
    }
    let mode =
        |name| fs::metadata(lab.file("a.example", name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(KEY_FILE), mode(CA_KEY_FILE)), (0o600, 0o600));
}

#[tokio::test]
async fn who_is_refused_and_who_refuses_both_know_why() {
    let lab = Lab::new("refused", &["a.example", "b.example", "c.example"]);
    let (a, b) =
        (lab.load("a.example", "b.example").unwrap(), lab.load("b.example", "a.example").unwrap());

    // C is a system, and no partner of B.
    let c = lab.load("c.example", "b.example").unwrap();
    let (server, client) = meet_systems(&b, &c, "b.example").await;
    assert_eq!(server, "its certificate is that of sip:c.example, which is no partner here");
    assert!(client.contains("knows nobody by the certificate shown to it"), "{client}");

    // Somebody else's authority has signed a certificate in the name of A.
    let other = Lab::new("refused-other", &["a.example", "b.example"]);
    let mut files = other.files("a.example", "b.example");
    files.partners.insert(id("b.example"), lab.file("b.example", CA_FILE));
    let false_a = Tls::load(&files, &id("a.example"), Clock::start()).unwrap();
    let (server, client) = meet_systems(&b, &false_a, "b.example").await;
    assert!(server.contains("not signed with the key of the authority of that name"), "{server}");
    assert!(
        client.contains("is not signed with the key of the authority that it trusts"),
        "{client}"
    );

    // The other way round: the server is not whom the client wants.
    let (server, client) = meet_systems(&false_a, &a, "a.example").await;
    assert!(server.contains("not signed with the key of the authority that it trusts"), "{server}");
    assert!(client.contains("not signed with the key of the authority of that name"), "{client}");

    // An authority of another name.
    let other = Trust::of_file(&lab.file("a.example", CA_FILE)).unwrap();
    let (server, client) = meet(b.server(Clients::Anybody), other, "b.example").await;
    assert!(server.unwrap_err().contains("trusts no authority that signed the certificate"));
    let unknown = "its certificate is signed by no authority that is trusted here for it";
    assert_eq!(client.unwrap_err(), unknown);
    let (server, client) = meet_systems(&c, &a, "b.example").await;
    assert!(server.contains("the other side knows nobody by the certificate"), "{server}");
    assert_eq!(client, "its certificate is that of sip:c.example, and not of sip:b.example");

    // No certificate at all.
    let nothing = Trust::of_file(&lab.file("b.example", CA_FILE)).unwrap();
    let (server, client) = meet(b.server(Clients::Systems), nothing, "localhost").await;
    assert_eq!(server.unwrap_err(), "it shows no certificate, and one is needed");
    assert!(client.unwrap_err().contains("wants a certificate, and none was shown to it"));

    // Whoever names no authority believes nobody.
    let (_, client) = meet(b.server(Clients::Anybody), Trust::default(), "localhost").await;
    assert!(client.unwrap_err().contains("give --ca FILE, or set MIGCORE_CA"));

    // A UE goes by the name of the server.
    let ue = || Trust::of_file(&lab.file("b.example", CA_FILE)).unwrap();
    let (server, client) = meet(b.server(Clients::Ues), ue(), "a.example").await;
    assert!(server.unwrap_err().contains("it may be for another name"));
    let client = client.unwrap_err();
    assert!(client.contains("not valid for name \"a.example\""), "{client}");
}

#[tokio::test]
async fn a_certificate_that_expired_is_told_by_its_date_on_both_sides() {
    let lab = Lab::new("expired", &["a.example", "b.example"]);
    let a = lab.load("a.example", "b.example").unwrap();
    let later = Clock::start_ahead(31 * DAY);
    lab.issue(&["b.example"], later.now());
    let b = Tls::load(&lab.files("b.example", "a.example"), &id("b.example"), later).unwrap();
    // By the time of B that of A has expired, by the time of A that of B has not begun.
    let from_a = a.client_of(&id("b.example"));
    let (server, client) = meet(b.server(Clients::Systems), from_a, "localhost").await;
    let (server, client) = (server.unwrap_err(), client.unwrap_err());
    assert!(client.starts_with("its certificate is valid only from 20"), "{client}");
    assert!(server.contains("the certificate shown to it has expired"), "{server}");

    let Err(error) = Tls::load(&lab.files("a.example", "b.example"), &id("a.example"), later)
    else {
        panic!("a system does not start with a certificate that has expired")
    };
    assert!(error.to_string().contains("certificate.pem: certificate 1 expired at 20"), "{error}");

    // With a server whose own certificate holds, that of the client is told by its date.
    lab.issue(&["b.example"], Clock::start().now());
    let files = lab.files("b.example", "a.example");
    let b = Tls::load(&files, &id("b.example"), Clock::start_ahead(29 * DAY)).unwrap();
    lab.issue(
        &["a.example"],
        Timestamp::from_secs(Clock::start().now().as_secs() - 20 * 24 * 3_600),
    );
    let a = lab.load("a.example", "b.example").unwrap();
    let (server, client) = meet_systems(&b, &a, "b.example").await;
    assert!(server.starts_with("its certificate expired at 20"), "{server}");
    assert!(client.contains("says that the certificate shown to it has expired"), "{client}");
}

#[tokio::test]
async fn an_authority_speaks_for_its_own_system_alone() {
    let lab = Lab::new("authority", &["a.example", "b.example", "c.example"]);
    let b = Tls::load(
        &config::Tls {
            partners: ["a.example", "c.example"].map(|it| (id(it), lab.file(it, CA_FILE))).into(),
            ..lab.files("b.example", "a.example")
        },
        &id("b.example"),
        Clock::start(),
    )
    .unwrap();
    // C, a partner, has its authority sign a certificate in the name of A, another partner.
    lab.rename("c.example", vec![SanType::URI("sip:a.example".try_into().unwrap())]);
    let mut files = lab.files("c.example", "b.example");
    files.ca = lab.file("a.example", CA_FILE);
    let false_a = Tls::load(&files, &id("a.example"), Clock::start()).unwrap();
    let (server, _) = meet_systems(&b, &false_a, "b.example").await;
    assert_eq!(server, "its certificate is signed by no authority that is trusted here for it");
}

#[test]
fn what_is_wrong_in_a_file_is_told_with_file_item_and_fix() {
    let lab = Lab::new("files", &["a.example", "b.example"]);
    let path = |name: &str| lab.file("a.example", name);
    let good = |name: &str| fs::read_to_string(path(name)).unwrap();
    let (certificate, key, ca) = (good(CERTIFICATE_FILE), good(KEY_FILE), good(CA_FILE));
    let told = |name: &str, text: &str| {
        let before = fs::read(path(name)).unwrap();
        fs::write(path(name), text).unwrap();
        let error = lab.load("a.example", "b.example").err().map(|error| error.to_string());
        fs::write(path(name), before).unwrap();
        error.expect("it is refused")
    };
    for (name, text, what) in [
        (CERTIFICATE_FILE, String::new(), "certificate.pem holds no PEM block CERTIFICATE"),
        (CERTIFICATE_FILE, key.clone(), "certificate.pem holds no PEM block CERTIFICATE"),
        (KEY_FILE, certificate.clone(), "key.pem holds no PEM block PRIVATE KEY"),
        (
            CERTIFICATE_FILE,
            certificate.clone() + &certificate[..certificate.len() - 40],
            "certificate.pem: PEM block 2 CERTIFICATE: its END line is missing",
        ),
        (
            CERTIFICATE_FILE,
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
            "certificate.pem: certificate 1 is malformed",
        ),
        (
            KEY_FILE,
            fs::read_to_string(lab.file("b.example", KEY_FILE)).unwrap(),
            "does not belong to the first certificate in",
        ),
        (
            CA_FILE,
            ca + &certificate,
            "ca.pem: certificate 2 is not one of an authority (CA:TRUE); name the file with the certificate of the authority",
        ),
        (
            CERTIFICATE_FILE,
            fs::read_to_string(lab.file("b.example", CERTIFICATE_FILE)).unwrap(),
            "certificate 1 is bound to another MC system than sip:a.example: sip:b.example; have it issued with the subjectAltName URI:sip:a.example, and no other",
        ),
    ] {
        let told = told(name, &text);
        assert!(told.contains(what), "{told}\nhas not: {what}");
        assert!(!told.contains(&key[40..60]), "{told}");
    }
    fs::set_permissions(path(KEY_FILE), fs::Permissions::from_mode(0o644)).unwrap();
    let told = lab.load("a.example", "b.example").unwrap_err().to_string();
    assert!(told.contains("others may use it (mode 644): run chmod 600"), "{told}");
    fs::remove_file(path(KEY_FILE)).unwrap();
    let told = lab.load("a.example", "b.example").unwrap_err().to_string();
    assert!(told.contains("cannot read") && told.contains(KEY_FILE), "{told}");
}

#[test]
fn a_certificate_without_one_system_binds_to_none() {
    let lab = Lab::new("names", &["a.example", "b.example"]);
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    let of_file = || {
        let pem = fs::read(lab.file("a.example", CERTIFICATE_FILE)).unwrap();
        Names::of(&CertificateDer::from_pem_slice(&pem).unwrap())
    };
    let host = || SanType::DnsName("A.example".try_into().unwrap());
    for (names, systems) in [
        (vec![host()], vec![]),
        (vec![uri("https://a.example"), uri("sip:alice@a.example")], vec![]),
        (vec![uri("SIP:A.example"), uri("https://a.example")], vec![id("a.example")]),
        (vec![uri("sip:a.example"), uri("sip:b.example")], vec![id("a.example"), id("b.example")]),
    ] {
        lab.rename("a.example", names);
        let found = of_file();
        assert_eq!(found.systems, systems);
        assert_eq!(found.system().is_some(), systems.len() == 1);
        let loads = lab.load("a.example", "b.example").is_ok();
        assert_eq!(loads, systems == [id("a.example")], "{systems:?}");
    }
    lab.rename("a.example", vec![host(), uri("sip:a.example")]);
    assert_eq!(of_file().hosts, ["a.example"]);
}

#[tokio::test]
async fn files_that_change_are_taken_over_and_broken_ones_are_told_once() {
    let lab = Lab::new("reload", &["a.example", "b.example"]);
    let (a, b) =
        (lab.load("a.example", "b.example").unwrap(), lab.load("b.example", "a.example").unwrap());
    let shown = |tls: &Tls| tls.loaded().digest;
    let before = shown(&b);
    assert!(matches!(b.refresh(), Refreshed::Same));

    let key = lab.file("b.example", KEY_FILE);
    let good = fs::read(&key).unwrap();
    fs::write(&key, "nothing").unwrap();
    assert!(matches!(b.refresh(), Refreshed::Broken(TlsError::NoItem { .. })));
    assert!(matches!(b.refresh(), Refreshed::Same), "told once");
    fs::remove_file(&key).unwrap();
    assert!(matches!(b.refresh(), Refreshed::Broken(TlsError::Unreadable { .. })), "another fault");
    assert_eq!(shown(&b), before, "what was in force stays");
    let meet_b = |a: &Tls, b: &Tls| {
        meet(b.server(Clients::Systems), a.client_of(&id("b.example")), "localhost")
    };
    assert!(meet_b(&a, &b).await.0.is_ok());

    fs::write(&key, good).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(b.refresh(), Refreshed::Same));
    lab.issue(&["b.example"], Clock::start().now());
    assert!(matches!(b.refresh(), Refreshed::New(_)));
    assert_ne!(shown(&b), before);
    assert!(meet_b(&a, &b).await.0.is_ok(), "by the same authority");

    // Another authority: A does not believe it until it has it, too.
    fs::remove_file(lab.file("b.example", CA_FILE)).unwrap();
    lab.issue(&["b.example"], Clock::start().now());
    assert!(matches!(b.refresh(), Refreshed::New(_)));
    assert!(meet_b(&a, &b).await.1.unwrap_err().contains("not signed with the key of the"));
    assert!(matches!(a.refresh(), Refreshed::New(_)));
    assert!(meet_b(&a, &b).await.0.is_ok());
}

#[test]
fn the_example_of_a_lab_is_a_valid_section() {
    let lab = Lab::new("example", &["a.example", "b.example"]);
    let section = fs::read_to_string(lab.file("a.example", dev_ca::EXAMPLE_FILE)).unwrap();
    let text = format!("[system]\ndomain = \"a.example\"\n{section}");
    let parsed = config::Config::parse(&text).unwrap();
    assert_eq!(parsed.tls, Some(lab.files("a.example", "b.example")));
    check(&parsed).unwrap();
    assert!(Path::new(&lab.file("a.example", CA_KEY_FILE)).exists());
}
