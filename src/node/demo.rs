//! Two systems in one process and a UE that migrates from one to the other.
//!
//! Nothing is shared but the process: the systems speak Diameter over TCP, the UE speaks SIP over
//! UDP, and provisioning goes through the HTTP management interfaces.

use std::{io, net::SocketAddr, time::Duration};

use tokio::sync::mpsc;

use super::{
    Options, RunningSystem, StartError, SystemEntropy,
    client::{ClientError, ManagementClient},
    config::{Config, Problem},
    ladder::{Entry, Tap},
    management::BindingView,
    ue::RunningUe,
};
use crate::{
    aka::{SqnArray, opc_from_op},
    api::migration_identity::Direction,
    entropy::Entropy,
    identity::{Impi, Impu, SipDatabaseId, UserIdentity},
    outbox::{Flow, Transport},
    secret::Secret,
    ue::{self, Isim, State},
};

/// How long the two systems may take to connect by Diameter.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(15);

/// How the demonstration is run.
#[derive(Clone, Debug, Default)]
pub struct Demo {
    /// The first of eight ports on loopback; 0 uses free ones.
    pub base_port: u16,
    /// Settings of both systems that differ from the defaults, as `section.key=value`.
    pub settings: Vec<String>,
}

/// Why the demonstration did not work.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A setting is wrong.
    #[error("--set {setting}: {why}")]
    Setting {
        /// The setting.
        setting: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// A system does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Provisioning does not work.
    #[error(transparent)]
    Provision(#[from] ClientError),
    /// The systems do not find each other.
    #[error("the two systems did not connect by Diameter within {CONNECT_TIME_MAX:?}")]
    NotConnected,
    /// The UE has no socket.
    #[error("the UE cannot reach the SIP core: {0}")]
    Ue(#[from] io::Error),
    /// A part of a system is switched off by a setting.
    #[error("a setting switched off {0}, which the demonstration needs")]
    Missing(&'static str),
}

/// The two systems, the UE's place in them, and what has passed so far.
pub struct RunningDemo {
    /// The primary system, the UE's home.
    pub home: RunningSystem,
    /// The partner system, where it registers.
    pub partner: RunningSystem,
    /// The UE.
    pub ue: RunningUe,
    /// Entries of the ladder, oldest first.
    pub ladder: mpsc::Receiver<Entry>,
}

impl RunningDemo {
    /// Starts both systems, connects them, and provisions the user: a subscriber and an outbound pair
    /// at home, an inbound pair at the partner.
    ///
    /// # Errors
    ///
    /// [`DemoError`]; what was started is stopped.
    pub async fn start(demo: &Demo) -> Result<Self, DemoError> {
        let (tap, ladder) = Tap::new();
        let options = || Options { tap: Some(tap.clone()), engine: None };
        let home = RunningSystem::start(home_config(demo)?, options())?;
        let diameter = home.bound().diameter.ok_or(DemoError::Missing("Diameter at home"))?;
        let partner = RunningSystem::start(partner_config(demo, diameter)?, options())?;
        wait_connected(&home, &partner).await?;

        let (k, op) = draw_keys();
        let inbound = provision(&home, &partner, &k, &op).await?;
        let core = partner.bound().sip.first().copied();
        let core = core.ok_or(DemoError::Missing("the SIP core of the partner"))?;
        let isim = Isim::new(&k, &opc_from_op(&k, &op), SqnArray::default());
        let ue = open_ue(&partner, inbound, core, isim, &tap).await?;
        Ok(Self { home, partner, ue, ladder })
    }

    /// Registers the UE in the partner system; whether it worked.
    ///
    /// # Errors
    ///
    /// The socket's.
    pub async fn register(&mut self) -> Result<State, DemoError> {
        Ok(self.ue.register().await?.clone())
    }

    /// What passed since the last call.
    pub fn take_ladder(&mut self) -> Vec<Entry> {
        let mut entries = Vec::new();
        while let Ok(entry) = self.ladder.try_recv() {
            entries.push(entry);
        }
        entries
    }

    /// Stops both systems.
    pub async fn shutdown(self) {
        self.partner.shutdown().await;
        self.home.shutdown().await;
    }
}

fn home_config(demo: &Demo) -> Result<Config, DemoError> {
    let peer = "[[diameter.peers]]\nhost = \"sipdb.b.example\"\nrealm = \"b.example\"\nkind = \"database\"\n";
    parse(demo, &system_toml("a", port(demo, 0)), peer)
}

fn partner_config(demo: &Demo, home: SocketAddr) -> Result<Config, DemoError> {
    let peer = format!(
        "[[diameter.peers]]\nhost = \"sipdb.a.example\"\nrealm = \"a.example\"\nkind = \"database\"\naddress = \"{home}\"\n"
    );
    parse(demo, &system_toml("b", port(demo, 4)), &peer)
}

fn port(demo: &Demo, offset: u16) -> u16 {
    if demo.base_port == 0 { 0 } else { demo.base_port.saturating_add(offset) }
}

/// A system on loopback: four ports from `port`, or free ones.
fn system_toml(name: &str, port: u16) -> String {
    let at = |offset: u16| if port == 0 { 0 } else { port.saturating_add(offset) };
    format!(
        "[system]\ndomain = \"{name}.example\"\n\
         [sip]\nlisten = [\"127.0.0.1:{}\"]\n\
         [diameter]\nlisten = \"127.0.0.1:{}\"\n\
         [management]\nlisten = \"127.0.0.1:{}\"\n\
         [admin]\nlisten = \"127.0.0.1:{}\"\n",
        at(0),
        at(1),
        at(2),
        at(3)
    )
}

/// Reads a configuration after changing it as the settings say.
fn parse(demo: &Demo, toml: &str, peer: &str) -> Result<Config, DemoError> {
    let wrong =
        |setting: &str, why: String| DemoError::Setting { setting: setting.to_owned(), why };
    let mut table: toml::Table = format!("{toml}{peer}")
        .parse()
        .map_err(|error: toml::de::Error| wrong("", error.message().to_owned()))?;
    for setting in &demo.settings {
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
        wrong(&demo.settings.join(" --set "), why.join("; "))
    })
}

async fn wait_connected(home: &RunningSystem, partner: &RunningSystem) -> Result<(), DemoError> {
    let connected = async {
        while !(home.is_connected() && partner.is_connected()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(CONNECT_TIME_MAX, connected).await.map_err(|_| DemoError::NotConnected)
}

fn draw_keys() -> (Secret<16>, Secret<16>) {
    let mut entropy = SystemEntropy::new();
    let mut draw = || {
        let mut octets = zeroize::Zeroizing::new([0; 16]);
        entropy.fill(&mut *octets);
        Secret::new(*octets)
    };
    (draw(), draw())
}

async fn provision(
    home: &RunningSystem,
    partner: &RunningSystem,
    k: &Secret<16>,
    op: &Secret<16>,
) -> Result<BindingView, DemoError> {
    let client = |system: &RunningSystem| {
        let address =
            system.bound().management.ok_or(DemoError::Missing("the management interface"))?;
        Ok::<_, DemoError>(ManagementClient::new(&format!("http://{address}")))
    };
    let (home_client, partner_client) = (client(home)?, client(partner)?);
    let (home_domain, partner_domain) =
        (&home.config().system.domain, &partner.config().system.domain);
    let identity = |text: String| {
        let impu = Impu::parse(&format!("sip:{text}")).ok();
        Impi::parse(&text).ok().zip(impu).map(|(impi, impu)| UserIdentity { impi, impu })
    };
    let user = identity(format!("alice@{home_domain}")).ok_or(DemoError::Missing("a domain"))?;
    let partner_database: &SipDatabaseId = &partner.config().diameter.identity;

    home_client.put_subscriber(&user, k, op).await?;
    home_client
        .ensure_generated_pool("outbound", Direction::Outbound, "out-{id}", home_domain)
        .await?;
    partner_client
        .ensure_generated_pool("inbound", Direction::Inbound, "mig-{id}", partner_domain)
        .await?;
    let outbound = home_client.bind_outbound(&user, partner_database).await?;
    let primary = home_client.system().await?;
    Ok(partner_client.bind_inbound(&primary, &outbound.impi, &outbound.impu).await?)
}

async fn open_ue(
    partner: &RunningSystem,
    inbound: BindingView,
    core: SocketAddr,
    isim: Isim,
    tap: &Tap,
) -> io::Result<RunningUe> {
    let unset = SocketAddr::from(([0, 0, 0, 0], 0));
    let config = ue::Config {
        identity: UserIdentity { impi: inbound.impi, impu: inbound.impu },
        domain: partner.config().system.domain.clone(),
        flow: Flow { transport: Transport::Udp, local: unset, remote: core, connection: 0 },
        expires: 600_000,
        algorithm: None,
        paths: Vec::new(),
    };
    let name = partner.config().sip.server_name.trim_start_matches("sip:");
    RunningUe::open(config, core, isim, Some(tap.clone()), name).await
}
