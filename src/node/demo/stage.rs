//! The two systems of the demonstration: how they are set up, where they listen, how they restart.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    DemoError,
    place::{PORT_ATTEMPTS_MAX, Place, free_ports},
};
use crate::{
    api::connection_details::{SipCoreAddress, SipTransport},
    node::{
        Options, RunningSystem, StartError, SystemEntropy,
        client::ManagementClient,
        config::{Config, Part, Problem, Sip, StorageEngine},
        ladder::Tap,
        storage,
        tls::Trust,
        ue::identity::Server,
    },
    store::Engine,
    token::BearerToken,
};

/// How long the two systems may take to connect by Diameter.
pub(super) const CONNECT_TIME_MAX: Duration = Duration::from_secs(15);

/// Ports of one system: SIP, Diameter, management, admin, CSC-4, CSC-17, ACM clients, ACM servers, identity management.
const PORTS: u16 = 9;

/// The partner's ports begin so far after the home's.
const PARTNER_OFFSET: u16 = 10;

/// The PLMN of the partner's country, which it covers for users of the home.
pub(super) const PARTNER_PLMN: &str = "20801";

/// The PLMN of the home's country.
pub(super) const HOME_PLMN: &str = "26201";

/// The PLMN of the country of a system.
pub(super) fn plmn_of(site: &Site) -> &'static str {
    if site.config().system.domain.starts_with("a.") { HOME_PLMN } else { PARTNER_PLMN }
}

/// How both systems are set up.
pub(super) struct Setup<'a> {
    /// The first of the ports; 0 uses free ones.
    pub(super) base_port: u16,
    /// Settings that differ from the defaults, as `section.key=value`.
    pub(super) settings: &'a [String],
    /// Where both keep what they store; a temporary directory without it.
    pub(super) data_dir: Option<&'a Path>,
    /// So that it is seen within seconds how a pair is lent again.
    pub(super) is_without_quarantine: bool,
    /// Without TLS.
    pub(super) is_plain: bool,
    /// With ACM servers.
    pub(super) acm: Option<AcmSetup>,
}

/// How the ACM servers of both systems are set up.
#[derive(Clone, Copy, Debug)]
pub(super) struct AcmSetup {
    /// Who decides requests of the other system.
    pub(super) mode: &'static str,
    /// Whether the two systems exchange anything.
    pub(super) is_interconnected: bool,
}

/// One MC system, running or stopped. What it stored outlives a stop.
pub struct Site {
    config: Config,
    /// Whom clients of both systems believe.
    trust: Trust,
    tap: Tap,
    running: Option<RunningSystem>,
    /// What was in memory, of a system without a store.
    engine: Option<Box<dyn Engine>>,
}

/// The home and the partner.
pub struct Stage {
    /// The primary system, the UE's home.
    pub home: Site,
    /// The partner system, where it registers.
    pub partner: Site,
    clock_ahead: Duration,
    /// Outlives both systems, which keep what they store there.
    place: Arc<Place>,
}

impl Site {
    /// A system that does not run yet; `trust` is whom clients believe.
    pub(super) fn of(config: Config, trust: Trust, tap: &Tap) -> Self {
        Self { config, trust, tap: tap.clone(), running: None, engine: None }
    }

    /// The system, if it runs.
    pub const fn system(&self) -> Option<&RunningSystem> {
        self.running.as_ref()
    }

    /// How it is set up.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Whom clients of it believe.
    pub(super) const fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Where its SIP core listens: over UDP and TCP, or over TLS.
    pub(super) fn sip(&self) -> Result<Vec<SipCoreAddress>, DemoError> {
        let Sip { listen, listen_tls, .. } = &self.config.sip;
        let over = |address: Option<&SocketAddr>, transport| {
            let address = address.filter(|_| self.config.roles.sip_core);
            address.map(|address| SipCoreAddress { transport, address: *address })
        };
        let plain = [SipTransport::Udp, SipTransport::Tcp].map(|it| over(listen.first(), it));
        let tls = over(listen_tls.first(), SipTransport::Tls);
        let all: Vec<_> = tls.into_iter().chain(plain.into_iter().flatten()).collect();
        if all.is_empty() { Err(DemoError::Missing("a SIP core")) } else { Ok(all) }
    }

    /// The URL of one of its HTTP servers.
    pub(super) fn url(&self, part: Part, address: SocketAddr) -> String {
        let scheme = if self.config.speaks_tls(part) { "https" } else { "http" };
        format!("{scheme}://{address}")
    }

    /// Its identity management server, where its users log in.
    pub(super) fn idms(&self) -> Server {
        let name = format!("idms.{}", self.config.system.domain).into();
        Server { name, url: self.config.idms.server.issuer.as_str().to_owned() }
    }

    /// A client of its management interface.
    pub(super) fn management(&self) -> Result<ManagementClient, DemoError> {
        let address = self.config.management;
        let address = address.ok_or(DemoError::Missing("a management interface"))?;
        let url = self.url(Part::Management, address);
        Ok(ManagementClient::trusting(&url, &self.trust))
    }

    /// Starts it on what it stored before, with a clock that is ahead.
    pub(super) fn start(&mut self, clock_ahead: Duration) -> Result<(), DemoError> {
        let engine = match self.engine.take() {
            Some(engine) => engine,
            None => storage::open(&self.config.storage)?,
        };
        let tap = Some(self.tap.clone());
        let options = Options { tap, engine: Some(engine), clock_ahead, ..Options::default() };
        self.running = Some(RunningSystem::start(self.config.clone(), options)?);
        Ok(())
    }

    /// Stops it and keeps what it stored.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            let engine = running.shutdown().await;
            self.engine = engine.filter(|_| self.config.storage.engine == StorageEngine::Memory);
        }
    }
}

impl Stage {
    /// Starts both systems and connects them.
    pub(super) async fn start(setup: &Setup<'_>, tap: &Tap) -> Result<Self, DemoError> {
        let mut attempts = 0;
        let place = Arc::new(Place::take(setup.data_dir)?);
        loop {
            let all = |base| {
                let partner = base + PARTNER_OFFSET;
                let ports = (base..base + PORTS).chain(partner..partner + PORTS);
                ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
            };
            let base_port = if setup.base_port == 0 { free_ports(all)? } else { setup.base_port };
            let mut stage = Self::at(setup, base_port, tap, &place)?;
            match stage.start_both(Duration::ZERO).await {
                Err(DemoError::Start(StartError::Bind { .. }))
                    if setup.base_port == 0 && attempts < PORT_ATTEMPTS_MAX =>
                {
                    stage.stop_both().await;
                    attempts += 1;
                }
                Err(error) => {
                    stage.stop_both().await;
                    return Err(error);
                }
                Ok(()) => return Ok(stage),
            }
        }
    }

    fn at(
        setup: &Setup<'_>,
        base_port: u16,
        tap: &Tap,
        place: &Arc<Place>,
    ) -> Result<Self, DemoError> {
        let certificates = (!setup.is_plain).then(|| place.certificates(&[])).transpose()?;
        let trust = match &certificates {
            Some(certificates) => Trust::of_file(&certificates.authorities)?,
            None => Trust::default(),
        };
        let tokens = [(); 2].map(|()| BearerToken::draw(&mut SystemEntropy::new()));
        let acm_tokens = [(); 2].map(|()| BearerToken::draw(&mut SystemEntropy::new()));
        let site = |name, other| {
            let ports = (base_port, setup.is_plain);
            let mut toml = system_toml((name, other), ports, &tokens, setup.acm.is_none());
            if let Some(acm) = setup.acm {
                toml += &acm_toml((name, other), ports, &acm_tokens, acm);
            }
            if let Some(certificates) = &certificates {
                toml += &certificates.section(&format!("{name}.example"))?;
            }
            let mut config = parse(&toml, place.section(name), setup.settings)?;
            if setup.is_without_quarantine {
                config.sip_database.inbound_quarantine_min = Duration::ZERO;
            }
            Ok::<_, DemoError>(Site::of(config, trust.clone(), tap))
        };
        let (home, partner) = (site("a", "b")?, site("b", "a")?);
        Ok(Self { home, partner, clock_ahead: Duration::ZERO, place: Arc::clone(place) })
    }

    /// Starts both systems, after a restart too, and waits until they are connected.
    pub(super) async fn start_both(&mut self, clock_ahead: Duration) -> Result<(), DemoError> {
        self.clock_ahead = clock_ahead;
        self.home.start(clock_ahead)?;
        self.partner.start(clock_ahead)?;
        self.wait_connected().await
    }

    /// The directory with the stores of both systems.
    pub fn directory(&self) -> &Path {
        self.place.directory()
    }

    /// The file with the authorities of both systems; `None` without TLS.
    pub fn authorities(&self) -> Option<PathBuf> {
        self.home.config.tls.as_ref().map(|_| self.place.authorities())
    }

    /// How far the clocks of both systems are ahead.
    pub const fn clock_ahead(&self) -> Duration {
        self.clock_ahead
    }

    /// Stops both systems.
    pub(super) async fn stop_both(&mut self) {
        self.partner.stop().await;
        self.home.stop().await;
    }

    /// Waits until the SIP databases speak to each other.
    pub(super) async fn wait_connected(&self) -> Result<(), DemoError> {
        let up = |site: &Site| site.system().is_some_and(RunningSystem::is_connected);
        let connected = async {
            while !(up(&self.home) && up(&self.partner)) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(CONNECT_TIME_MAX, connected).await;
        waited.map_err(|_| DemoError::NotConnected)
    }
}

/// A system on loopback that knows the other one. The partner connects to the home by Diameter. Without
/// `hands_out_configuration`, so beside ACM servers, what UEs are told of a system is what it has told the other one
/// before (NOTE 3).
fn system_toml(
    (name, other): (&str, &str),
    (base_port, is_plain): (u16, bool),
    [of_home, of_partner]: &[BearerToken; 2],
    is_without_acm: bool,
) -> String {
    let first = |of: &str| base_port + if of == "b" { PARTNER_OFFSET } else { 0 };
    let at = |of: &str, offset: u16| format!("127.0.0.1:{}", first(of).saturating_add(offset));
    let (own_token, other_token, plmn) = match name {
        "a" => (of_home, of_partner, PARTNER_PLMN),
        _ => (of_partner, of_home, HOME_PLMN),
    };
    let address =
        if name == "b" { format!("address = \"{}\"\n", at(other, 1)) } else { String::new() };
    let (listen, scheme) = if is_plain { ("listen", "http") } else { ("listen_tls", "https") };
    let insecure = if is_plain { "insecure = true\n" } else { "" };
    let acm = if is_without_acm { "" } else { ", \"acm\"" };
    let idms = at(name, 8);
    format!(
        "roles = [\"sip_core\", \"sip_database\", \"config_server\", \"idms\"{acm}]\n\
         [system]\ndomain = \"{name}.example\"\n{insecure}\
         [sip]\n{listen} = [\"{}\"]\n\
         [diameter]\nlisten = \"{}\"\n\
         [management]\nlisten = \"{}\"\n\
         [admin]\nlisten = \"{}\"\n\
         [config_server]\nlisten = \"{}\"\nlisten_partners = \"{}\"\n\
         hands_out_configuration = {is_without_acm}\n\
         [idms]\nlisten = \"{idms}\"\nissuer = \"{scheme}://{idms}\"\n\
         [[config_server.partners]]\nid = \"sip:{other}.example\"\n\
         sip_database = \"sipdb.{other}.example\"\nurl = \"{scheme}://{}\"\n\
         send_token = \"{}\"\naccept_token = \"{}\"\nareas = [{{ plmn = \"{plmn}\" }}]\n\
         [[diameter.peers]]\nhost = \"sipdb.{other}.example\"\nrealm = \"{other}.example\"\n\
         kind = \"database\"\n{address}",
        at(name, 0),
        at(name, 1),
        at(name, 2),
        at(name, 3),
        at(name, 4),
        at(name, 5),
        at(other, 5),
        own_token.expose(),
        other_token.expose(),
    )
}

/// What a system with an ACM server has besides.
fn acm_toml(
    (name, other): (&str, &str),
    (base_port, is_plain): (u16, bool),
    [of_home, of_partner]: &[BearerToken; 2],
    AcmSetup { mode, is_interconnected }: AcmSetup,
) -> String {
    let first = |of: &str| base_port + if of == "b" { PARTNER_OFFSET } else { 0 };
    let at = |of: &str, offset: u16| format!("127.0.0.1:{}", first(of).saturating_add(offset));
    let (own_token, other_token) =
        if name == "a" { (of_home, of_partner) } else { (of_partner, of_home) };
    let scheme = if is_plain { "http" } else { "https" };
    format!(
        "[acm]\nclient_listen = \"{}\"\npartner_listen = \"{}\"\n\
         resend_first = \"50ms\"\nresend_max = \"200ms\"\n\
         [[acm.partners]]\nid = \"sip:{other}.example\"\nurl = \"{scheme}://{}\"\n\
         send_token = \"{}\"\naccept_token = \"{}\"\ndomains = [\"{other}.example\"]\n\
         interconnected = {is_interconnected}\npolicy.mode = \"{mode}\"\n\
         policies.add-users.mode = \"accept\"\n",
        at(name, 6),
        at(name, 7),
        at(other, 7),
        own_token.expose(),
        other_token.expose(),
    )
}

/// Reads a configuration after changing it as the settings say.
pub(super) fn parse(
    toml: &str,
    storage: toml::Table,
    settings: &[String],
) -> Result<Config, DemoError> {
    let wrong =
        |setting: &str, why: String| DemoError::Setting { setting: setting.to_owned(), why };
    let mut table: toml::Table =
        toml.parse().map_err(|error: toml::de::Error| wrong("", error.message().to_owned()))?;
    table.insert("storage".to_owned(), storage.into());
    for setting in settings {
        let (key, value) = setting
            .split_once('=')
            .ok_or_else(|| wrong(setting, "write section.key=value".to_owned()))?;
        // What is no TOML value is taken as a string without its quotes.
        let value = value
            .parse::<toml::Value>()
            .unwrap_or_else(|_| toml::Value::String(value.trim().to_owned()));
        let path: Vec<&str> = key.split('.').map(str::trim).collect();
        let Some((last, sections)) = path.split_last() else { continue };
        let mut section = &mut table;
        for name in sections {
            let next =
                section.entry((*name).to_owned()).or_insert_with(|| toml::Table::new().into());
            section = next
                .as_table_mut()
                .ok_or_else(|| wrong(setting, format!("{name} is not a section")))?;
        }
        section.insert((*last).to_owned(), value);
    }
    let changed = table.to_string();
    Config::parse(&changed).map_err(|problems| {
        let why: Vec<String> = problems
            .iter()
            .map(|Problem { key, what, fix, .. }| format!("{key} {what}; {fix}"))
            .collect();
        wrong(&settings.join(" --set "), why.join("; "))
    })
}
