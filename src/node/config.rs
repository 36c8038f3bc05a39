//! The configuration file: TOML, checked as a whole before anything starts.
//!
//! Every key has a default where one makes sense; [`REFERENCE`] is a complete file that shows each
//! key with its default and its meaning.

mod acm;
mod config_server;
mod file;
mod idms;
mod mc_server;
mod overload;
pub(super) mod read;
mod storage;
mod tls;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use toml::de::{DeTable, DeValue};

use self::read::{Document, Section, Wrong, duration, flag, list, number, parsed, text, word};
use crate::{
    aka::digest::Algorithm,
    identity::{IdentityError, Impu, McSystemId, SipDatabaseId},
    outbox::Role,
    sip_core::{ApplicationServer, Limits},
};

pub use self::{
    acm::{ACM_PARTNERS_MAX, Acm, AcmLink},
    config_server::{ACCESS_TIMEOUT_MAX, ConfigServer, Partner},
    file::InvalidFile,
    idms::Idms,
    mc_server::{Issuer, McServer},
    overload::Overload,
    read::Problem,
    storage::{Storage, StorageEngine},
    tls::{Part, Tls},
};

/// A complete configuration file: every key, its default, its meaning.
pub const REFERENCE: &str = include_str!("config/reference.toml");

/// Most Diameter peers of one system.
pub const PEERS_MAX: usize = 1_024;

/// Most worker threads of one process.
pub const WORKERS_MAX: usize = 256;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// What one process runs and with whom it speaks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// The roles to run; at least one.
    pub roles: Roles,
    /// Worker threads; `None` is one a core.
    pub workers: Option<usize>,
    /// Who this system is.
    pub system: System,
    /// Certificates and keys; `None` lets nothing speak TLS.
    pub tls: Option<Tls>,
    /// The parts that go without TLS: they say `insecure = true`, or `[system]` says it of all.
    pub insecure: BTreeSet<Part>,
    /// The SIP core.
    pub sip: Sip,
    /// What happens when more SIP requests come than can be served.
    pub overload: Overload,
    /// How often one source or one user may try to register.
    pub limits: Limits,
    /// The SIP database.
    pub sip_database: SipDatabase,
    /// The configuration management server.
    pub config_server: ConfigServer,
    /// The ACM server.
    pub acm: Acm,
    /// The identity management server.
    pub idms: Idms,
    /// The MC server.
    pub mc_server: Box<McServer>,
    /// Diameter.
    pub diameter: Diameter,
    /// Where metrics and health are served; `None` serves them nowhere.
    pub admin: Option<SocketAddr>,
    /// Where the management interface of all roles is served.
    pub management: Option<SocketAddr>,
    /// Where durable state is kept.
    pub storage: Storage,
    /// Logging.
    pub log: Log,
}

/// Which roles a process runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each role is run or is not")]
pub struct Roles {
    /// The SIP core: answers REGISTER.
    pub sip_core: bool,
    /// The SIP database: gives vectors and lends migration identities.
    pub sip_database: bool,
    /// The configuration management server: tells users how to reach a partner, and lets users of
    /// partners in.
    pub config_server: bool,
    /// The ACM server: administrators of this system and of partners exchange configuration.
    pub acm: bool,
    /// The identity management server: users log in, and clients get tokens.
    pub idms: bool,
    /// The MC server: authorises clients for MC services.
    pub mc_server: bool,
}

/// Who this system is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct System {
    /// What logs and ladders call it.
    pub name: String,
    /// The home network domain: SIP domain and digest realm, in lower case.
    pub domain: String,
}

/// The SIP core.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sip {
    /// Where it listens, over UDP and TCP at the same port.
    pub listen: Vec<SocketAddr>,
    /// Where it listens over TLS.
    pub listen_tls: Vec<SocketAddr>,
    /// Its SIP URI: Server-Name towards the SIP database, Service-Route towards the UE.
    pub server_name: String,
    /// Other hosts that a Request-URI or To may name, in lower case: addresses that UEs were given.
    pub aliases: Vec<String>,
    /// Digest algorithms that a UE may ask for; `AKAv1-MD5` is used if it asks for none.
    pub algorithms: Vec<Algorithm>,
    /// Registration time if the UE names none.
    pub expires_default: Duration,
    /// Shortest registration time; shorter ones get a 423.
    pub expires_min: Duration,
    /// Longest registration time; longer ones are cut to it.
    pub expires_max: Duration,
    /// When 403 leaves after the first REGISTER that it answers; with `decoy_challenge` 401, too.
    pub refusal_after: Duration,
    /// Whether users that do not exist are challenged.
    pub decoy_challenge: bool,
    /// How long to wait for a vector before a 504.
    pub vector_timeout: Duration,
    /// How long a UE may take to answer a challenge: reg-await-auth (TS 24.229 table 7.8.1).
    pub challenge_timeout: Duration,
    /// After how long without octets a TCP connection is closed.
    pub tcp_idle_timeout: Duration,
    /// Most TCP connections at a time.
    pub tcp_connections_max: usize,
    /// Who is told of registrations, and asked by registered users.
    pub application_servers: Vec<ApplicationServer>,
}

/// The SIP database.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SipDatabase {
    /// The Server-Name to be used in vector requests for migrated users of this system.
    pub migration_server_name: String,
    /// How long a binding lasts that no registration uses.
    pub reserved_lease: Duration,
    /// The longest `reserved_lease` of a partner.
    pub partner_lease: Duration,
    /// The least quarantine of listed inbound pools. No key of its own: it follows from `sip`.
    pub inbound_quarantine_min: Duration,
    /// The least quarantine of listed outbound pools. No key of its own: it follows from `partner_lease` and
    /// `sip`.
    pub outbound_quarantine_min: Duration,
    /// How many SEQ values a subscriber's durable range reserves at a time.
    pub sqn_range: u64,
    /// Bits of SQN that are IND (TS 33.102 annex C.3).
    pub ind_bits: u8,
    /// Draw RAND again while RES has an octet 00, for test clients that end it there.
    pub avoid_zero_octet_in_res: bool,
}

/// Diameter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Diameter {
    /// Where it listens; `None` only connects out.
    pub listen: Option<SocketAddr>,
    /// Origin-Host, and the identity of the SIP database where that role runs.
    pub identity: SipDatabaseId,
    /// Origin-Realm.
    pub realm: String,
    /// Twinit of RFC 3539: how long a connection may be silent before a DWR.
    pub watchdog: Duration,
    /// The peers that may connect, or that are connected to.
    pub peers: Vec<DiameterPeer>,
}

/// A configured Diameter peer. Others are refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DiameterPeer {
    /// Its Origin-Host.
    pub host: SipDatabaseId,
    /// Its Origin-Realm.
    pub realm: String,
    /// Where to connect to; `None` waits for the peer to connect.
    pub address: Option<SocketAddr>,
    /// What it is.
    pub kind: PeerKind,
    /// Its MC system, which its certificate is bound to. `None` follows from `kind` and the partners.
    pub system: Option<McSystemId>,
}

/// What a Diameter peer is to this system.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PeerKind {
    /// A SIP core of this system.
    Core,
    /// The SIP database of this system, for a process that runs only the SIP core.
    OwnDatabase,
    /// The SIP database of another system.
    Database,
}

/// Logging.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Log {
    /// What to log: a level, or `tracing` directives such as `info,migcore::node=debug`.
    pub level: String,
    /// How.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// The defaults for the system of `domain`: SIP core, SIP database and configuration server, nothing but loopback,
    /// no peers.
    /// `None` if that is no domain.
    fn new(domain: &str) -> Option<Self> {
        let realm = domain.to_ascii_lowercase();
        let config_server = ConfigServer::new(&realm)?;
        Some(Self {
            roles: Roles {
                sip_core: true,
                sip_database: true,
                config_server: true,
                acm: false,
                idms: false,
                mc_server: false,
            },
            workers: None,
            system: System { name: realm.clone(), domain: realm.clone() },
            tls: None,
            insecure: BTreeSet::new(),
            sip: Sip::new(&realm),
            overload: Overload::new(),
            limits: Limits::default(),
            sip_database: SipDatabase::new(&realm),
            acm: Acm::new(config_server.id.clone(), &realm),
            idms: Idms::new(config_server.id.clone(), &realm)?,
            mc_server: Box::new(McServer::new(&realm)),
            config_server,
            diameter: Diameter {
                listen: Some(SocketAddr::from(([127, 0, 0, 1], 3868))),
                identity: SipDatabaseId::parse(&format!("sipdb.{realm}")).ok()?,
                realm,
                watchdog: Duration::from_secs(30),
                peers: Vec::new(),
            },
            admin: Some(SocketAddr::from(([127, 0, 0, 1], 9090))),
            management: Some(SocketAddr::from(([127, 0, 0, 1], 8080))),
            storage: Storage::new(),
            log: Log { level: "info".to_owned(), format: LogFormat::Text },
        })
    }

    /// Takes a configuration from the text of a file.
    ///
    /// # Errors
    ///
    /// Everything that is wrong in it, by line.
    pub fn parse(toml: &str) -> Result<Self, Vec<Problem>> {
        let document = Document::new(toml);
        let (table, errors) = DeTable::parse_recoverable(toml);
        for error in errors {
            let line = document.line_at(error.span().map_or(0, |span| span.start));
            let fix = "see https://toml.io for the syntax".to_owned();
            document.report(line, "", Wrong { what: error.message().to_owned(), fix });
        }
        let mut root = Section::root(&document, table.get_ref());
        let config = read_config(&mut root);
        root.finish();
        let problems = document.into_problems();
        config.filter(|_| problems.is_empty()).ok_or(problems)
    }
}

impl Sip {
    fn new(domain: &str) -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 5060))],
            listen_tls: Vec::new(),
            server_name: format!("sip:scscf.{domain}"),
            aliases: Vec::new(),
            algorithms: vec![Algorithm::AkaV1Md5, Algorithm::AkaV2Md5, Algorithm::AkaV2Sha256],
            expires_default: HOUR,
            expires_min: MINUTE,
            expires_max: Duration::from_secs(600_000),
            vector_timeout: Duration::from_secs(4),
            refusal_after: Duration::from_millis(100),
            decoy_challenge: false,
            challenge_timeout: 4 * MINUTE,
            tcp_idle_timeout: 15 * MINUTE,
            tcp_connections_max: 10_000,
            application_servers: Vec::new(),
        }
    }
}

impl SipDatabase {
    fn new(domain: &str) -> Self {
        Self {
            migration_server_name: format!("sip:migration.{domain}"),
            reserved_lease: 31 * DAY,
            partner_lease: 31 * DAY,
            inbound_quarantine_min: Duration::ZERO,
            outbound_quarantine_min: Duration::ZERO,
            sqn_range: 32,
            ind_bits: 5,
            avoid_zero_octet_in_res: false,
        }
    }
}

fn read_config(root: &mut Section<'_>) -> Option<Config> {
    let mut system = root.section("system");
    let domain = system
        .required("domain", "\"ims.example\"", |value| parsed(value, host_name, "ims.example"));
    let name = system.optional("name", text);
    let insecure = system.optional("insecure", flag);
    system.finish();

    // Without a domain the defaults have nothing to stand on; the rest is still checked.
    let known_domain = domain.clone().unwrap_or_else(|| "invalid".to_owned());
    let mut config = Config::new(&known_domain)?;
    if let Some(name) = name {
        config.system.name = name;
    }
    config.workers = root.optional("workers", |value| number(value, 1..=WORKERS_MAX));
    config.tls = Tls::read(root.section("tls"));
    if insecure == Some(true) {
        tls::all_go_without(root, &mut config.insecure);
    }
    read_roles(root, &mut config.roles);
    read_sip(root.section("sip"), &mut config);
    config.overload.read(root.section("overload"));
    overload::read_limits(root.section("limits"), &mut config.limits);
    let registered_max = config.sip.expires_max + config.sip.challenge_timeout;
    read_sip_database(root.section("sip_database"), &mut config.sip_database, registered_max);
    read_diameter(root.section("diameter"), &mut config);
    let peers = config.roles.config_server.then_some(&*config.diameter.peers);
    let mut with_tls = |part: Part| {
        let mut section = root.section(part.section());
        tls::read_insecure(&mut section, part, &mut config.insecure);
        section
    };
    config.config_server.read(with_tls(Part::ConfigServer), peers);
    config.acm.read(with_tls(Part::Acm), &config.config_server.id);
    config.idms.read(with_tls(Part::Idms), &config.config_server.id);
    config.mc_server.read(with_tls(Part::McServer), &config.config_server.id);
    read_listen(with_tls(Part::Admin), &mut config.admin);
    read_listen(with_tls(Part::Management), &mut config.management);
    config.storage.read(root.section("storage"));
    read_log(root.section("log"), &mut config.log);
    check_listen(root, &config);
    mc_server::check(root, &config);
    tls::check(root, &config);
    domain.map(|_| config)
}

fn read_roles(root: &mut Section<'_>, roles: &mut Roles) {
    const NAMES: [(&str, Role); 6] = [
        ("sip_core", Role::SipCore),
        ("sip_database", Role::SipDatabase),
        ("config_server", Role::ConfigServer),
        ("acm", Role::Acm),
        ("idms", Role::Idms),
        ("mc_server", Role::McServer),
    ];
    let Some(named) = root.optional("roles", |value| list(value, |value| word(value, &NAMES)))
    else {
        return;
    };
    *roles = Roles {
        sip_core: named.contains(&Role::SipCore),
        sip_database: named.contains(&Role::SipDatabase),
        config_server: named.contains(&Role::ConfigServer),
        acm: named.contains(&Role::Acm),
        idms: named.contains(&Role::Idms),
        mc_server: named.contains(&Role::McServer),
    };
    if named.is_empty() {
        let fix =
            "write roles = [\"sip_core\", \"sip_database\", \"config_server\"] or some of them";
        root.report("roles", Wrong::new("names no role", fix));
    }
    if roles.config_server && !roles.sip_database {
        let what =
            "has the role config_server without sip_database, which it lends identities from";
        root.report(
            "roles",
            Wrong::new(what, "add the role sip_database, or take config_server out"),
        );
    }
    if roles.acm && !roles.config_server {
        let what =
            "has the role acm without config_server, which brings into force what is accepted";
        let fix = "add the role config_server, or take acm out";
        root.report("roles", Wrong::new(what, fix));
    }
}

fn read_sip(mut section: Section<'_>, config: &mut Config) {
    const ALGORITHMS: [(&str, Algorithm); 3] = [
        ("AKAv1-MD5", Algorithm::AkaV1Md5),
        ("AKAv2-MD5", Algorithm::AkaV2Md5),
        ("AKAv2-SHA-256", Algorithm::AkaV2Sha256),
    ];
    let expires = Duration::from_secs(1)..=Duration::from_secs(0xffff_ffff);
    let wait = Duration::from_millis(100)..=30 * MINUTE;

    tls::read_insecure(&mut section, Part::Sip, &mut config.insecure);
    let (has_tls, is_tls) = (config.tls.is_some(), config.speaks_tls(Part::Sip));
    let sip = &mut config.sip;
    if has_tls {
        sip.listen_tls = vec![SocketAddr::from(([127, 0, 0, 1], 5061))];
    }
    if is_tls {
        sip.listen.clear();
    }
    let listen = section.optional("listen", |value| list(value, address));
    set(&mut sip.listen, listen);
    set(&mut sip.listen_tls, section.optional("listen_tls", |value| list(value, address)));
    set(&mut sip.server_name, section.optional("server_name", sip_uri));
    let algorithms = |value: &DeValue<'_>| list(value, |value| word(value, &ALGORITHMS));
    set(&mut sip.algorithms, section.optional("algorithms", algorithms));
    let host = |value: &DeValue<'_>| parsed(value, host_name, "192.0.2.1");
    set(&mut sip.aliases, section.optional("aliases", |value| list(value, host)));
    for (key, field) in [
        ("expires_default", &mut sip.expires_default),
        ("expires_min", &mut sip.expires_min),
        ("expires_max", &mut sip.expires_max),
    ] {
        set(field, section.optional(key, |value| duration(value, expires.clone())));
    }
    let before_a_repeat = Duration::ZERO..=Duration::from_millis(400);
    let refusal_after = section.optional("refusal_after", |it| duration(it, before_a_repeat));
    set(&mut sip.refusal_after, refusal_after);
    set(&mut sip.decoy_challenge, section.optional("decoy_challenge", flag));
    for (key, field) in [
        ("vector_timeout", &mut sip.vector_timeout),
        ("challenge_timeout", &mut sip.challenge_timeout),
        ("tcp_idle_timeout", &mut sip.tcp_idle_timeout),
    ] {
        set(field, section.optional(key, |value| duration(value, wait.clone())));
    }
    let connections = section.optional("tcp_connections_max", |value| number(value, 1..=1_000_000));
    set(&mut sip.tcp_connections_max, connections);
    mc_server::read_application_servers(&mut section, &mut sip.application_servers);

    let listens_nowhere = sip.listen.is_empty() && sip.listen_tls.is_empty();
    for (key, empty) in [("listen", listens_nowhere), ("algorithms", sip.algorithms.is_empty())] {
        if empty {
            section
                .report(key, Wrong::new("is an empty list", "write at least one, or leave it out"));
        }
    }
    if !(sip.expires_min..=sip.expires_max).contains(&sip.expires_default) {
        let what = "is not between expires_min and expires_max";
        section.report("expires_default", Wrong::new(what, "change one of the three"));
    }
    section.finish();
}

/// Reads the section; nobody is registered longer than `registered_max` without asking for a vector.
fn read_sip_database(
    mut section: Section<'_>,
    database: &mut SipDatabase,
    registered_max: Duration,
) {
    let lease = MINUTE..=3_650 * DAY;
    // A lease has to outlive the longest registration with half of its time left.
    let lease_min = 2 * registered_max;
    set(&mut database.migration_server_name, section.optional("migration_server_name", sip_uri));
    for (key, field) in [
        ("reserved_lease", &mut database.reserved_lease),
        ("partner_lease", &mut database.partner_lease),
    ] {
        set(field, section.optional(key, |value| duration(value, lease.clone())));
    }
    database.inbound_quarantine_min = registered_max;
    // The partner's reservation begins anew when the last registration with the pair ends.
    database.outbound_quarantine_min = database.partner_lease + registered_max;
    if database.reserved_lease < lease_min {
        let what = "is less than twice sip.expires_max and sip.challenge_timeout together";
        section
            .report("reserved_lease", Wrong::new(what, "make it longer, or expires_max shorter"));
    }
    set(&mut database.sqn_range, section.optional("sqn_range", |value| number(value, 1..=65_536)));
    set(&mut database.ind_bits, section.optional("ind_bits", |value| number(value, 3..=8)));
    let avoid = section.optional("avoid_zero_octet_in_res", flag);
    set(&mut database.avoid_zero_octet_in_res, avoid);
    section.finish();
}

fn read_diameter(mut section: Section<'_>, config: &mut Config) {
    tls::read_insecure(&mut section, Part::Diameter, &mut config.insecure);
    let is_tls = config.speaks_tls(Part::Diameter);
    let diameter = &mut config.diameter;
    if is_tls {
        diameter.listen = Some(SocketAddr::from(([127, 0, 0, 1], 5658)));
    }
    if section.is_present() {
        diameter.listen = section.optional("listen", address);
    }
    let fqdn = |value: &DeValue<'_>| parsed(value, SipDatabaseId::parse, "sipdb.ims.example");
    set(&mut diameter.identity, section.optional("identity", fqdn));
    let realm = |value: &DeValue<'_>| parsed(value, host_name, "ims.example");
    set(&mut diameter.realm, section.optional("realm", realm));
    let twinit = Duration::from_secs(6)..=HOUR;
    set(&mut diameter.watchdog, section.optional("watchdog", |value| duration(value, twinit)));

    let mut hosts = BTreeSet::from([diameter.identity.clone()]);
    for mut section in section.sections("peers") {
        let host = section.required("host", "\"sipdb.b.example\"", fqdn);
        let realm = section.required("realm", "\"b.example\"", realm);
        let address = section.optional("address", address);
        let kind = section.required("kind", "\"database\"", peer_kind);
        let system = section.optional("system", system_id);
        if host.as_ref().is_some_and(|host| !hosts.insert(host.clone())) {
            let fix =
                "each peer has one section and its own name, different from diameter.identity";
            section.report("host", Wrong::new("is used before", fix));
        }
        section.finish();
        if let (Some(host), Some(realm), Some(kind)) = (host, realm, kind) {
            diameter.peers.push(DiameterPeer { host, realm, address, kind, system });
        }
    }
    let own = diameter.peers.iter().filter(|peer| peer.kind == PeerKind::OwnDatabase).count();
    let wants_own = config.roles.sip_core && !config.roles.sip_database;
    if wants_own && own != 1 {
        let what = "has no peer of kind \"own-database\", which a SIP core alone asks for vectors";
        section.report("peers", Wrong::new(what, "add one, or the role sip_database"));
    }
    if !wants_own && own > 0 {
        let what = "has a peer of kind \"own-database\", but this process is the SIP database";
        section.report(
            "peers",
            Wrong::new(what, "remove the peer, or take out the role sip_database"),
        );
    }
    if diameter.peers.len() > PEERS_MAX {
        section.report("peers", Wrong::new("are too many", format!("{PEERS_MAX} at most")));
    }
    section.finish();
}

/// A section that, if present, says where to listen, and nowhere without `listen`.
fn read_listen(mut section: Section<'_>, listen: &mut Option<SocketAddr>) {
    if section.is_present() {
        *listen = section.optional("listen", address);
    }
    section.finish();
}

/// Two servers cannot have one address: better said here than when the second one starts.
fn check_listen(root: &Section<'_>, config: &Config) {
    let Config { roles, sip, config_server, acm, idms, mc_server, .. } = config;
    let sip = sip
        .listen
        .iter()
        .map(|address| ("listen", address))
        .chain(sip.listen_tls.iter().map(|address| ("listen_tls", address)));
    let sip = sip.filter(|_| roles.sip_core);
    let csc = |address: SocketAddr| roles.config_server.then_some(address);
    let of_acm = |address: SocketAddr| roles.acm.then_some(address);
    let servers = sip.map(|(key, address)| ("sip", key, Some(*address))).chain([
        ("diameter", "listen", config.diameter.listen),
        ("admin", "listen", config.admin),
        ("management", "listen", config.management),
        ("config_server", "listen", csc(config_server.listen)),
        ("config_server", "listen_partners", csc(config_server.listen_partners)),
        ("acm", "client_listen", of_acm(acm.client_listen)),
        ("acm", "partner_listen", of_acm(acm.partner_listen)),
        ("idms", "listen", roles.idms.then_some(idms.listen)),
        ("mc_server", "listen", roles.mc_server.then_some(mc_server.listen)),
    ]);
    let mut taken = BTreeMap::new();
    for (section, key, address) in servers {
        // Port 0 is a free one each time.
        let Some(address) = address.filter(|address| address.port() != 0) else { continue };
        if let Some((other, its_key)) = taken.insert(address, (section, key)) {
            let what = format!("is {address}, as {other}.{its_key} is");
            root.part(section).report(key, Wrong::new(what, "give each a port of its own"));
        }
    }
}

fn read_log(mut section: Section<'_>, log: &mut Log) {
    set(
        &mut log.level,
        section.optional("level", |value| {
            parsed(
                value,
                |given| given.parse::<tracing_subscriber::EnvFilter>().map(|_| given.to_owned()),
                "info",
            )
        }),
    );
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    set(&mut log.format, section.optional("format", |value| word(value, &formats)));
    section.finish();
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn address(value: &DeValue<'_>) -> Result<SocketAddr, Wrong> {
    parsed(value, str::parse, "127.0.0.1:5060")
}

fn system_id(value: &DeValue<'_>) -> Result<McSystemId, Wrong> {
    parsed(value, McSystemId::parse, "sip:b.example")
}

fn peer_kind(value: &DeValue<'_>) -> Result<PeerKind, Wrong> {
    word(
        value,
        &[
            ("core", PeerKind::Core),
            ("own-database", PeerKind::OwnDatabase),
            ("database", PeerKind::Database),
        ],
    )
}

/// A domain name, in lower case.
fn host_name(text: &str) -> Result<String, IdentityError> {
    SipDatabaseId::parse(text).map(|fqdn| fqdn.as_str().to_owned())
}

/// A SIP URI with or without user part: what a Server-Name is.
fn sip_uri(value: &DeValue<'_>) -> Result<String, Wrong> {
    let parse = |text: &str| {
        let Some(rest) = text.strip_prefix("sip:") else {
            return Err(IdentityError::MissingScheme);
        };
        let with_user =
            if rest.contains('@') { text.to_owned() } else { format!("sip:core@{rest}") };
        Impu::parse(&with_user).map(|_| text.to_owned())
    };
    parsed(value, parse, "sip:scscf.ims.example")
}
