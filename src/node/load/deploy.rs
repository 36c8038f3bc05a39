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
    node::{
        Clock, SystemEntropy, client,
        provision::TEST_PLMN,
        tls::{
            TlsError, Trust,
            dev_ca::{CA_FILE, CERTIFICATE_FILE, DevCa, DevCaError, EXAMPLE_FILE, KEY_FILE},
        },
    },
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

/// How long the certificates of a run hold: longer than any run.
const CERTIFICATES_TIME: Duration = Duration::from_secs(30 * 24 * 3_600);

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
    /// It can have no certificates.
    #[error("cannot make certificates: {0}")]
    Certificates(#[from] DevCaError),
    /// They cannot be used.
    #[error("cannot use the certificates: {0}")]
    Tls(#[from] TlsError),
}

/// Systems as processes. They end when this is dropped.
pub(super) struct Deployed {
    /// The home, and of a migration the partner.
    systems: Vec<System>,
    /// Of systems that are spoken to over TLS.
    certificates: Option<Certificates>,
}

/// What is asked for of systems to be started.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// Of the home system.
    pub(super) domain: &'a str,
    pub(super) storage: Storage,
    pub(super) cores: &'a [usize],
    /// Whether SIP, Diameter, CSC-4 and CSC-17 are over TLS.
    pub(super) over_tls: bool,
}

/// An authority and a certificate for each system, removed after the run.
struct Certificates {
    directory: PathBuf,
    /// Of the systems, the home's first.
    domains: Vec<String>,
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
    /// Starts a SIP core and SIP database. Its database accepts the load generator as so many S-CSCFs.
    ///
    /// # Errors
    ///
    /// [`DeployError`].
    pub(super) fn start(wanted: &Wanted<'_>, clients: usize) -> Result<Self, DeployError> {
        let domain = wanted.domain;
        let hosts: Vec<String> = (0..clients).map(|number| client_host(number, domain)).collect();
        let certificates = wanted.certificates(&[domain], &hosts)?;
        let tls = tls_sections(certificates.as_ref())?;
        let system = again(|| {
            let ports = Ports::free()?;
            let toml = alone(domain, ports, &hosts, tls.first());
            System::start(&toml, ports, wanted.storage, wanted.cores)
        })?;
        Ok(Self { systems: vec![system], certificates })
    }

    /// Starts a system and a partner of it, all roles each.
    ///
    /// # Errors
    ///
    /// [`DeployError`].
    pub(super) fn start_two(wanted: &Wanted<'_>) -> Result<Self, DeployError> {
        let (first, second) = wanted.cores.split_at(wanted.cores.len() / 2);
        // On one core they share it.
        let first = if first.is_empty() { second } else { first };
        let partner = format!("partner-of-{}", wanted.domain);
        let names = [wanted.domain, partner.as_str()];
        let certificates = wanted.certificates(&names, &[])?;
        let tls = tls_sections(certificates.as_ref())?;
        let mut entropy = SystemEntropy::new();
        let tokens = [(); 2].map(|()| BearerToken::draw(&mut entropy));
        let systems = again(|| {
            let ports = [Ports::free()?, Ports::free()?];
            let [home, there] = [0, 1].map(|which| of_two(names, ports, &tokens, &tls, which));
            let home = System::start(&home, ports[0], wanted.storage, first)?;
            Ok(vec![home, System::start(&there, ports[1], wanted.storage, second)?])
        })?;
        Ok(Self { systems, certificates })
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

    /// The domain of that SIP core, over TLS.
    pub(super) fn registrar_domain(&self) -> &str {
        let domains = self.certificates.iter().flat_map(|certificates| &certificates.domains);
        domains.last().map_or("", String::as_str)
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
        let scheme = if self.certificates.is_some() { "https" } else { "http" };
        let port = self.systems.first().map_or(0, |system| system.ports.csc4);
        format!("{scheme}://{}", loopback(port))
    }

    /// Whom UEs believe: the home for CSC-4, and whom they register at, of two systems the partner.
    ///
    /// # Errors
    ///
    /// [`DeployError::Tls`].
    pub(super) fn trust_of_ues(&self) -> Result<[Trust; 2], DeployError> {
        let Some(certificates) = &self.certificates else {
            return Ok([(); 2].map(|()| Trust::default()));
        };
        let of = |domain: Option<&String>| {
            let domain = domain.map_or("", String::as_str);
            Trust::of_file(&certificates.file(domain, CA_FILE))
        };
        Ok([of(certificates.domains.first())?, of(certificates.domains.last())?])
    }

    /// What the load generator as an S-CSCF of the home believes and shows.
    ///
    /// # Errors
    ///
    /// [`DeployError::Tls`].
    pub(super) fn trust_of_core(&self) -> Result<Trust, DeployError> {
        let Some(certificates) = &self.certificates else { return Ok(Trust::default()) };
        let domain = certificates.domains.first().map_or("", String::as_str);
        let [ca, certificate, key] =
            [CA_FILE, CERTIFICATE_FILE, KEY_FILE].map(|name| certificates.file(domain, name));
        Ok(Trust::showing(&ca, &certificate, &key)?)
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
fn again<T>(start: impl Fn() -> Result<T, DeployError>) -> Result<T, DeployError> {
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
        let directory = new_directory("load")?;
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
        let mut entropy = SystemEntropy::new();
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

/// Makes a directory that only its owner may look into.
fn new_directory(what: &str) -> io::Result<PathBuf> {
    let name = format!("migcore-{what}-{:016x}", SystemEntropy::new().next_u64());
    let directory = std::env::temp_dir().join(name);
    fs::DirBuilder::new().mode(0o700).create(&directory)?;
    Ok(directory)
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

impl Wanted<'_> {
    /// Certificates for these domains and, of load generators, host names; `None` without TLS.
    fn certificates(
        &self,
        domains: &[&str],
        hosts: &[String],
    ) -> Result<Option<Certificates>, DeployError> {
        if !self.over_tls {
            return Ok(None);
        }
        let directory = new_directory("tls")?;
        let domains: Vec<String> = domains.iter().map(ToString::to_string).collect();
        let authorities = DevCa {
            directory: directory.clone(),
            domains: domains.clone(),
            valid_for: CERTIFICATES_TIME,
            hosts: hosts.to_vec(),
        };
        let certificates = Certificates { directory, domains };
        authorities.make(Clock::start().now())?;
        Ok(Some(certificates))
    }
}

impl Certificates {
    fn file(&self, domain: &str, name: &str) -> PathBuf {
        self.directory.join(domain).join(name)
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        // What is left is of no use to anybody.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The sections on TLS of each system; none without certificates.
fn tls_sections(certificates: Option<&Certificates>) -> io::Result<Vec<String>> {
    let Some(certificates) = certificates else { return Ok(Vec::new()) };
    let section = |domain: &String| fs::read_to_string(certificates.file(domain, EXAMPLE_FILE));
    certificates.domains.iter().map(section).collect()
}

/// The name of the load generator's thread of a number, as an S-CSCF.
fn client_host(number: usize, domain: &str) -> String {
    let prefix = if number == 0 { String::new() } else { format!("{number}.") };
    format!("{prefix}load.{domain}")
}

/// The sections that every system has; `tls` are those on TLS, which SIP goes over then.
fn basis(domain: &str, ports: Ports, tls: Option<&String>) -> String {
    let [sip, management, admin, diameter] =
        [ports.sip, ports.management, ports.admin, ports.diameter].map(loopback);
    let key = if tls.is_some() { "listen_tls" } else { "listen" };
    // Of what goes on this host alone nothing is measured.
    let (of_all, of_some) =
        if tls.is_some() { ("", "insecure = true\n") } else { ("insecure = true\n", "") };
    format!(
        "[system]\ndomain = \"{domain}\"\n{of_all}[sip]\n{key} = [\"{sip}\"]\n[admin]\nlisten = \"{admin}\"\n{of_some}\
         [management]\nlisten = \"{management}\"\n{of_some}{}[diameter]\nlisten = \"{diameter}\"\n",
        tls.map_or("", String::as_str)
    )
}

/// A system that has its own users only, and clients of its SIP database.
fn alone(domain: &str, ports: Ports, clients: &[String], tls: Option<&String>) -> String {
    let peer = |host: &String| {
        format!("[[diameter.peers]]\nhost = \"{host}\"\nrealm = \"{domain}\"\nkind = \"core\"\n")
    };
    let peers: String = clients.iter().map(peer).collect();
    let basis = basis(domain, ports, tls);
    format!("roles = [\"sip_core\", \"sip_database\"]\n{basis}{peers}")
}

/// One of two systems that know each other. The second one connects to the first one.
fn of_two(
    names: [&str; 2],
    ports: [Ports; 2],
    [first, second]: &[BearerToken; 2],
    tls: &[String],
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
    let [csc4, csc17, url] = [own.csc4, own.csc17, others.csc17].map(loopback);
    let tls = tls.get(which);
    let scheme = if tls.is_some() { "https" } else { "http" };
    let basis = basis(name, own, tls);
    format!(
        "{basis}[[diameter.peers]]\nhost = \"sipdb.{other}\"\nrealm = \"{other}\"\nkind = \"database\"\n{address}\
         [config_server]\nstatic_tokens = true\nlisten = \"{csc4}\"\nlisten_partners = \"{csc17}\"\n\
         [[config_server.partners]]\nid = \"sip:{other}\"\nsip_database = \"sipdb.{other}\"\n\
         url = \"{scheme}://{url}\"\nsend_token = \"{}\"\naccept_token = \"{}\"\nareas = [{{ plmn = \"{TEST_PLMN}\" }}]\n",
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
