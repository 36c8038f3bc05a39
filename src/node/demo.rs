//! Two systems in one process and a UE that migrates from one to the other: it registers, refreshes and
//! de-registers.
//!
//! Nothing is shared but the process: the systems speak Diameter over TCP, the UE speaks SIP over
//! UDP, and provisioning goes through the HTTP management interfaces.

use std::{fmt, io, net::SocketAddr, time::Duration};

use tokio::sync::mpsc;

use super::{
    Options, RunningSystem, StartError, SystemEntropy,
    client::{ClientError, ManagementClient},
    config::{Config, Problem},
    ladder::{Entry, Protocol, Tap},
    management::BindingView,
    metrics::Direction as Seen,
    ue::RunningUe,
};
use crate::{
    aka::{SqnArray, opc_from_op},
    api::migration_identity::Direction,
    entropy::Entropy,
    identity::{Impi, Impu, SipDatabaseId, UserIdentity},
    outbox::{Flow, Transport},
    procedure::{Place, migration::STEPS},
    secret::Secret,
    step::Step,
    ue::{self, Isim, State},
};

/// How long the two systems may take to connect by Diameter.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(15);

/// How the demonstration is run.
#[derive(Clone, Debug)]
pub struct Demo {
    /// What the UE speaks SIP over.
    pub transport: Transport,
    /// The first of twelve ports on loopback; 0 uses free ones.
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
    /// The UE did not end a scene as it should.
    #[error("{scene}: the UE is {state:?}")]
    Scene {
        /// The scene.
        scene: Scene,
        /// Where the UE stands.
        state: State,
    },
    /// A step of the procedure was not performed, or not in its place.
    #[error("{0} was not performed in its place")]
    StepMissing(Step),
    /// The ladder cannot be shown.
    #[error("cannot show the ladder: {0}")]
    Show(io::Error),
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
    ladder: mpsc::Receiver<Entry>,
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
        let options = || Options { tap: Some(tap.clone()), ..Options::default() };
        let home = RunningSystem::start(home_config(demo)?, options())?;
        let diameter = home.bound().diameter.ok_or(DemoError::Missing("Diameter at home"))?;
        let partner = RunningSystem::start(partner_config(demo, diameter)?, options())?;
        wait_connected(&home, &partner).await?;

        let (k, op) = draw_keys();
        let inbound = provision(&home, &partner, &k, &op).await?;
        let core = partner.bound().sip.first().copied();
        let core = core.ok_or(DemoError::Missing("the SIP core of the partner"))?;
        let isim = Isim::new(&k, &opc_from_op(&k, &op), SqnArray::default());
        let ue = open_ue(&partner, inbound, (demo.transport, core), isim, &tap).await?;
        Ok(Self { home, partner, ue, ladder })
    }

    /// Plays all scenes and shows the ladder of each as soon as it is over.
    ///
    /// # Errors
    ///
    /// [`DemoError`] if a scene does not end as it should, or a step of the procedure is missing.
    pub async fn play(
        &mut self,
        show: &mut dyn FnMut(Scene, &[Entry]) -> io::Result<()>,
    ) -> Result<(), DemoError> {
        let mut performed = Vec::new();
        for scene in Scene::ALL {
            let state = match scene {
                Scene::Identities => State::Idle,
                Scene::Registration | Scene::Refresh => self.ue.register().await?.clone(),
                Scene::Deregistration => self.ue.deregister().await?.clone(),
            };
            let entries = self.take_ladder();
            show(scene, &entries).map_err(DemoError::Show)?;
            if !scene.is_as_it_should(&state) {
                return Err(DemoError::Scene { scene, state });
            }
            if scene <= Scene::Registration {
                performed.extend(entries.into_iter().filter_map(|entry| entry.step));
            }
        }
        self.ladder.close(); // what passes from here on is not described for nobody
        check_steps(&performed)
    }

    /// What passed since the last call. A message is told of once, by its sender.
    pub fn take_ladder(&mut self) -> Vec<Entry> {
        let mut entries = Vec::new();
        while let Ok(entry) = self.ladder.try_recv() {
            let repeats_the_sender =
                entry.direction == Seen::In && entry.protocol != Protocol::Http;
            if !repeats_the_sender {
                entries.push(entry);
            }
        }
        entries
    }

    /// Stops both systems.
    pub async fn shutdown(self) {
        self.partner.shutdown().await;
        self.home.shutdown().await;
    }
}

/// A part of the demonstration.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Scene {
    /// Pairs of identities are lent at home and at the partner.
    Identities,
    /// The UE registers in the partner system.
    Registration,
    /// It refreshes its registration.
    Refresh,
    /// It de-registers.
    Deregistration,
}

impl Scene {
    const ALL: [Self; 4] =
        [Self::Identities, Self::Registration, Self::Refresh, Self::Deregistration];

    const fn is_as_it_should(self, state: &State) -> bool {
        match self {
            Self::Registration | Self::Refresh => matches!(state, State::Registered(_)),
            Self::Identities | Self::Deregistration => matches!(state, State::Idle),
        }
    }
}

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Identities => "identities",
            Self::Registration => "registration",
            Self::Refresh => "refresh",
            Self::Deregistration => "de-registration",
        })
    }
}

/// Holds what was performed against the table of the procedure.
fn check_steps(performed: &[String]) -> Result<(), DemoError> {
    let mut rest = performed.iter();
    for row in STEPS.iter().filter(|row| matches!(row.place, Place::Code { .. })) {
        let label = row.step.to_string();
        if !rest.any(|step| *step == label) {
            return Err(DemoError::StepMissing(row.step));
        }
    }
    Ok(())
}

fn home_config(demo: &Demo) -> Result<Config, DemoError> {
    let peer = "[[diameter.peers]]\nhost = \"sipdb.b.example\"\nrealm = \"b.example\"\nkind = \"database\"\n";
    parse(demo, &system_toml("a", (port(demo, 0), port(demo, 8))), peer)
}

fn partner_config(demo: &Demo, home: SocketAddr) -> Result<Config, DemoError> {
    let peer = format!(
        "[[diameter.peers]]\nhost = \"sipdb.a.example\"\nrealm = \"a.example\"\nkind = \"database\"\naddress = \"{home}\"\n"
    );
    parse(demo, &system_toml("b", (port(demo, 4), port(demo, 10))), &peer)
}

fn port(demo: &Demo, offset: u16) -> u16 {
    if demo.base_port == 0 { 0 } else { demo.base_port.saturating_add(offset) }
}

/// A system on loopback: four ports from the first one and two from the second, or free ones.
fn system_toml(name: &str, (port, csc_port): (u16, u16)) -> String {
    let from = |port: u16, offset: u16| if port == 0 { 0 } else { port.saturating_add(offset) };
    let at = |offset: u16| from(port, offset);
    format!(
        "[system]\ndomain = \"{name}.example\"\n\
         [sip]\nlisten = [\"127.0.0.1:{}\"]\n\
         [diameter]\nlisten = \"127.0.0.1:{}\"\n\
         [management]\nlisten = \"127.0.0.1:{}\"\n\
         [admin]\nlisten = \"127.0.0.1:{}\"\n\
         [config_server]\nlisten = \"127.0.0.1:{}\"\nlisten_partners = \"127.0.0.1:{}\"\n",
        at(0),
        at(1),
        at(2),
        at(3),
        csc_port,
        from(csc_port, 1)
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
    (transport, core): (Transport, SocketAddr),
    isim: Isim,
    tap: &Tap,
) -> io::Result<RunningUe> {
    let unset = SocketAddr::from(([0, 0, 0, 0], 0));
    let config = ue::Config {
        identity: UserIdentity { impi: inbound.impi, impu: inbound.impu },
        domain: partner.config().system.domain.clone(),
        flow: Flow { transport, local: unset, remote: core, connection: 0 },
        expires: 600_000,
        algorithm: None,
        paths: Vec::new(),
    };
    let name = partner.config().sip.server_name.trim_start_matches("sip:");
    RunningUe::open(config, core, isim, Some(tap.clone()), name).await
}
