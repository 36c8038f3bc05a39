//! Systems that are started for a run, each a process of its own on cores of its own, and removed after it.

use std::{
    fs,
    io::{self, BufRead, BufReader},
    net::{SocketAddr, TcpListener, UdpSocket},
    os::unix::fs::DirBuilderExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use super::{
    effort::{dropped_at, resident_octets},
    generator::pin_to,
    report::Server,
};
use crate::{
    entropy::Entropy,
    node::{SystemEntropy, client, provision::TEST_PLMN, tls::Trust},
    secret::Secret,
    token::BearerToken,
};

/// How long a system may take to come up.
const UP_TIME_MAX: Duration = Duration::from_secs(60);

/// What a system says on standard error when it serves.
const UP: &str = "system is up";

/// How often a system is asked whether it is ready, and how long is waited between.
const READY_TRIES_MAX: usize = 200;
const READY_PAUSE: Duration = Duration::from_millis(100);

/// How often other ports are tried when somebody else was faster.
const ATTEMPTS_MAX: usize = 8;

/// Ticks of a processor's time in `/proc`, a second.
const TICKS_PER_SECOND: u64 = 100;

/// Where a system that is started keeps its state.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(super) enum Storage {
    /// In memory.
    Memory,
    /// In a store in a temporary directory: what is answered is durable.
    Embedded,
}

/// Why no system runs.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// Its files cannot be written, or the process not be started.
    #[error("cannot start a system: {0}")]
    Start(#[from] io::Error),
    /// It ended before it was up.
    #[error("the system that was started ended before it was up: {0}")]
    Ended(String),
    /// It takes too long.
    #[error("the system that was started was not up within {UP_TIME_MAX:?}")]
    Slow,
}

/// Systems as processes. They end when this is dropped.
pub(super) struct Deployed {
    /// The home, and of a migration the partner.
    systems: Vec<System>,
}

/// A system as a process.
struct System {
    child: Child,
    directory: PathBuf,
    ports: Ports,
}

/// Where a system listens on loopback.
#[derive(Clone, Copy)]
pub(super) struct Ports {
    sip: u16,
    management: u16,
    admin: u16,
    diameter: u16,
    csc4: u16,
    csc17: u16,
}

/// The processor time and drops of the systems so far.
#[derive(Clone, Copy)]
pub(super) struct Spent {
    cpu: Duration,
    dropped: u64,
}

impl Deployed {
    /// Starts the SIP core and SIP database of `domain` on `cores`. Its database accepts the load generator as so
    /// many S-CSCFs.
    ///
    /// # Errors
    ///
    /// [`DeployError`].
    pub(super) fn start(
        domain: &str,
        storage: Storage,
        cores: &[usize],
        clients: usize,
    ) -> Result<Self, DeployError> {
        again(|| {
            let ports = Ports::free()?;
            let toml = alone(domain, ports, clients);
            Ok(Self { systems: vec![System::start(&toml, ports, storage, cores)?] })
        })
    }

    /// Starts the system of `domain` and a partner of it, all roles each, on `cores`.
    ///
    /// # Errors
    ///
    /// [`DeployError`].
    pub(super) fn start_two(
        domain: &str,
        storage: Storage,
        cores: &[usize],
    ) -> Result<Self, DeployError> {
        let (first, second) = cores.split_at(cores.len() / 2);
        // On one core they share it.
        let first = if first.is_empty() { second } else { first };
        let partner = format!("partner-of-{domain}");
        let mut entropy = SystemEntropy::new();
        let tokens = [(); 2].map(|()| BearerToken::draw(&mut entropy));
        again(|| {
            let ports = [Ports::free()?, Ports::free()?];
            let names = [domain, partner.as_str()];
            let [home, there] = [0, 1].map(|which| of_two(names, ports, &tokens, which));
            let home = System::start(&home, ports[0], storage, first)?;
            Ok(Self { systems: vec![home, System::start(&there, ports[1], storage, second)?] })
        })
    }

    /// Waits until they answer, and are connected with each other.
    ///
    /// # Errors
    ///
    /// [`DeployError::Slow`].
    pub(super) async fn ready(&self) -> Result<(), DeployError> {
        let client = client::direct(&Trust::default());
        for system in &self.systems {
            let url = format!("http://{}/health/ready", loopback(system.ports.admin));
            let mut tries = 0;
            while !is_ready(&client, &url).await {
                tries += 1;
                if tries == READY_TRIES_MAX {
                    return Err(DeployError::Slow);
                }
                tokio::time::sleep(READY_PAUSE).await;
            }
        }
        Ok(())
    }

    /// The SIP core that UEs register at: of two systems the partner's.
    pub(super) fn target(&self) -> SocketAddr {
        loopback(self.systems.last().map_or(0, |system| system.ports.sip))
    }

    /// Where the SIP database listens for Diameter: of two systems the home's.
    pub(super) fn diameter(&self) -> SocketAddr {
        loopback(self.systems.first().map_or(0, |system| system.ports.diameter))
    }

    /// The management interfaces, the home's first.
    pub(super) fn management(&self) -> impl Iterator<Item = String> {
        self.systems.iter().map(|system| format!("http://{}", loopback(system.ports.management)))
    }

    /// Where the home's UEs ask for connection details.
    pub(super) fn csc4(&self) -> String {
        format!("http://{}", loopback(self.systems.first().map_or(0, |system| system.ports.csc4)))
    }

    /// What they spent so far.
    pub(super) fn spent(&self) -> Spent {
        let cpu = self.systems.iter().map(System::cpu_time).sum();
        let ports: Vec<u16> = self.systems.iter().map(|system| system.ports.sip).collect();
        Spent { cpu, dropped: dropped_at(&ports) }
    }

    /// What they spent since `before`, for so many registrations.
    pub(super) fn report(&self, before: Spent, registrations: u64) -> Server {
        let now = self.spent();
        let cpu = now.cpu.saturating_sub(before.cpu);
        #[expect(clippy::cast_precision_loss, reason = "a count")]
        let each = cpu.as_secs_f64() * 1e6 / registrations.max(1) as f64;
        Server {
            cpu_us_each: each,
            resident_octets: self.systems.iter().map(System::resident_octets).sum(),
            dropped: now.dropped.saturating_sub(before.dropped),
        }
    }
}

/// Whether a system can do its work, and has all its peers.
async fn is_ready(client: &reqwest::Client, url: &str) -> bool {
    let Ok(answer) = client.get(url).send().await else { return false };
    let is_ready = answer.status().is_success();
    let readiness: serde_json::Value = answer.json().await.unwrap_or_default();
    let missing = readiness.get("unconnected_peers").and_then(serde_json::Value::as_array);
    // The load generator itself connects later.
    let is_other =
        |peer: &serde_json::Value| !peer.as_str().is_some_and(|host| host.contains("load."));
    is_ready && missing.is_some_and(|missing| !missing.iter().any(is_other))
}

/// Tries again with other ports while somebody else is faster.
fn again(start: impl Fn() -> Result<Deployed, DeployError>) -> Result<Deployed, DeployError> {
    let mut attempts = 0;
    loop {
        match start() {
            Err(DeployError::Ended(said))
                if said.contains("cannot listen") && attempts < ATTEMPTS_MAX =>
            {
                attempts += 1;
            }
            outcome => return outcome,
        }
    }
}

impl System {
    fn start(
        toml: &str,
        ports: Ports,
        storage: Storage,
        cores: &[usize],
    ) -> Result<Self, DeployError> {
        let mut entropy = SystemEntropy::new();
        let name = format!("migcore-load-{:016x}", entropy.next_u64());
        let directory = std::env::temp_dir().join(name);
        fs::DirBuilder::new().mode(0o700).create(&directory)?;
        let config = directory.join("serve.toml");
        let engine = match storage {
            Storage::Memory => "engine = \"memory\"".to_owned(),
            Storage::Embedded => {
                format!(
                    "engine = \"embedded\"\ndirectory = \"{}\"",
                    directory.join("store").display()
                )
            }
        };
        // What has no section comes first.
        let workers =
            if cores.is_empty() { String::new() } else { format!("workers = {}\n", cores.len()) };
        let written = fs::write(&config, format!("{workers}{toml}[storage]\n{engine}\n"));
        let started = written.and_then(|()| spawn(config, storage, cores.to_vec(), &mut entropy));
        let child = started.inspect_err(|_| drop(fs::remove_dir_all(&directory)))?;
        let mut system = Self { child, directory, ports };
        system.wait_until_up()?;
        Ok(system)
    }

    fn wait_until_up(&mut self) -> Result<(), DeployError> {
        let Some(said) = self.child.stderr.take() else { return Ok(()) };
        let (tell, told) = mpsc::channel();
        // It reads on until the end: nobody is to wait for a reader of the log.
        let read = move || {
            let mut last = String::new();
            for line in BufReader::new(said).lines().map_while(Result::ok) {
                if line.contains(UP) {
                    // Nobody listens any more if it took too long.
                    let _ = tell.send(None);
                }
                last = line;
            }
            let _ = tell.send(Some(last));
        };
        thread::Builder::new().name("deployed".to_owned()).spawn(read)?;
        match told.recv_timeout(UP_TIME_MAX) {
            Ok(None) => Ok(()),
            Ok(Some(last)) => Err(DeployError::Ended(last)),
            Err(_) => Err(DeployError::Slow),
        }
    }

    fn cpu_time(&self) -> Duration {
        let stat =
            fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
        let ticks: u64 =
            fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND)
    }

    fn resident_octets(&self) -> u64 {
        resident_octets(&self.child.id().to_string())
    }
}

impl Drop for System {
    fn drop(&mut self) {
        // It may have ended by itself; what it stored is of no use to anybody.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Starts the process from a thread that is kept on `cores`, which the process inherits.
fn spawn(
    config: PathBuf,
    storage: Storage,
    cores: Vec<usize>,
    entropy: &mut dyn Entropy,
) -> io::Result<Child> {
    let program = std::env::current_exe()?;
    let mut key = [0; 32];
    entropy.fill(&mut key);
    let key = Secret::new(key).to_hex();
    let start = move || {
        if !cores.is_empty() {
            pin_to(&cores);
        }
        let mut command = Command::new(program);
        command.args(["serve", "--config"]).arg(config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        if storage == Storage::Embedded {
            command.env("MIGCORE_STORAGE_KEY", key.as_str());
        }
        command.spawn()
    };
    let started = thread::spawn(start).join();
    started.unwrap_or_else(|_| Err(io::Error::other("the thread that starts it panicked")))
}

/// A system that has its own users only.
fn alone(domain: &str, ports: Ports, clients: usize) -> String {
    let Ports { sip, management, admin, diameter, .. } = ports;
    let [sip, management, admin, diameter] = [sip, management, admin, diameter].map(loopback);
    let peers: Vec<String> = (0..clients)
        .map(|number| {
            let prefix = if number == 0 { String::new() } else { format!("{number}.") };
            format!(
                "[[diameter.peers]]\nhost = \"{prefix}load.{domain}\"\nrealm = \"{domain}\"\nkind = \"core\"\n"
            )
        })
        .collect();
    let peers = peers.concat();
    format!(
        "roles = [\"sip_core\", \"sip_database\"]\n[system]\ndomain = \"{domain}\"\n\
         [sip]\nlisten = [\"{sip}\"]\n[admin]\nlisten = \"{admin}\"\n[management]\nlisten = \"{management}\"\n\
         [diameter]\nlisten = \"{diameter}\"\n{peers}"
    )
}

/// One of two systems that know each other. The second one connects to the first one.
fn of_two(
    names: [&str; 2],
    ports: [Ports; 2],
    [first, second]: &[BearerToken; 2],
    which: usize,
) -> String {
    let ([home, there], [home_ports, there_ports]) = (names, ports);
    let (name, own, other, others) = match which {
        0 => (home, home_ports, there, there_ports),
        _ => (there, there_ports, home, home_ports),
    };
    let (send, accept) = if which == 0 { (first, second) } else { (second, first) };
    let address = match which {
        0 => String::new(),
        _ => format!("address = \"{}\"\n", loopback(others.diameter)),
    };
    let Ports { sip, management, admin, diameter, csc4, csc17 } = own;
    let [sip, management, admin] = [sip, management, admin].map(loopback);
    let [diameter, csc4, csc17, url] = [diameter, csc4, csc17, others.csc17].map(loopback);
    format!(
        "[system]\ndomain = \"{name}\"\n[sip]\nlisten = [\"{sip}\"]\n[diameter]\nlisten = \"{diameter}\"\n\
         [admin]\nlisten = \"{admin}\"\n[management]\nlisten = \"{management}\"\n\
         [config_server]\nstatic_tokens = true\nlisten = \"{csc4}\"\nlisten_partners = \"{csc17}\"\n\
         [[config_server.partners]]\nid = \"sip:{other}\"\nsip_database = \"sipdb.{other}\"\n\
         url = \"http://{url}\"\nsend_token = \"{}\"\naccept_token = \"{}\"\nareas = [{{ plmn = \"{TEST_PLMN}\" }}]\n\
         [[diameter.peers]]\nhost = \"sipdb.{other}\"\nrealm = \"{other}\"\nkind = \"database\"\n{address}",
        send.expose(),
        accept.expose(),
    )
}

impl Ports {
    /// Ports that nobody uses now; somebody may be faster yet.
    fn free() -> io::Result<Self> {
        // Until all are found, so that none is found twice.
        let mut taken = Vec::new();
        Ok(Self {
            sip: free_port(&mut taken)?,
            management: free_port(&mut taken)?,
            admin: free_port(&mut taken)?,
            diameter: free_port(&mut taken)?,
            csc4: free_port(&mut taken)?,
            csc17: free_port(&mut taken)?,
        })
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A port that nobody uses now, over UDP and TCP. It is taken until `taken` is dropped.
fn free_port(taken: &mut Vec<TcpListener>) -> io::Result<u16> {
    for _ in 0..ATTEMPTS_MAX {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        taken.push(listener);
        if UdpSocket::bind(address).is_ok() {
            return Ok(address.port());
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_to_two_listeners() {
        let mut taken = Vec::new();
        let mut ports: Vec<u16> = (0..200).map(|_| free_port(&mut taken).unwrap()).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 200);
    }
}
