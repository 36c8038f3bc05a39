//! Systems that are started for a run, each a process of its own on cores of its own, and removed after it.

use std::{
    fs,
    io::{self, BufRead, BufReader},
    net::{SocketAddr, TcpListener, UdpSocket},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use super::{effort::dropped_at, generator::pin_to, report::Server};
use crate::{entropy::Entropy, node::SystemEntropy, secret::Secret};

/// How long a system may take to come up.
const UP_TIME_MAX: Duration = Duration::from_secs(60);

/// What a system says on standard error when it serves.
const UP: &str = "system is up";

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

/// A system as a process. It ends when this is dropped.
pub(super) struct Deployed {
    child: Child,
    directory: PathBuf,
    pub(super) sip: SocketAddr,
    pub(super) management: SocketAddr,
}

/// The processor time and drops of a system so far.
#[derive(Clone, Copy)]
pub(super) struct Spent {
    cpu: Duration,
    dropped: u64,
}

impl Deployed {
    /// Starts the SIP core and SIP database of `domain` on `cores`.
    ///
    /// # Errors
    ///
    /// [`DeployError`].
    pub(super) fn start(
        domain: &str,
        storage: Storage,
        cores: &[usize],
    ) -> Result<Self, DeployError> {
        let mut entropy = SystemEntropy::new();
        let name = format!("migcore-load-{:016x}", entropy.next_u64());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory)?;
        let mut attempts = 0;
        loop {
            let ports = [free_port()?, free_port()?];
            let [sip, management] = ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
            let config = directory.join("serve.toml");
            let written = fs::write(
                &config,
                toml(domain, storage, &directory, (sip, management), cores.len()),
            );
            let started =
                written.and_then(|()| spawn(config, storage, cores.to_vec(), &mut entropy));
            let child = started.inspect_err(|_| drop(fs::remove_dir_all(&directory)))?;
            let mut deployed = Self { child, directory: directory.clone(), sip, management };
            match deployed.wait_until_up() {
                Ok(()) => return Ok(deployed),
                Err(DeployError::Ended(said))
                    if said.contains("cannot listen") && attempts < ATTEMPTS_MAX =>
                {
                    attempts += 1;
                    // Its directory goes with it.
                    drop(deployed);
                    fs::create_dir(&directory)?;
                }
                Err(error) => return Err(error),
            }
        }
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

    /// What it spent so far.
    pub(super) fn spent(&self) -> Spent {
        let stat =
            fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
        let ticks: u64 =
            fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        let cpu = Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND);
        Spent { cpu, dropped: dropped_at(&[self.sip.port()]) }
    }

    /// What it spent since `before`, for so many registrations.
    pub(super) fn report(&self, before: Spent, registrations: u64) -> Server {
        let now = self.spent();
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes =
            resident.and_then(|text| text.split_ascii_whitespace().next()?.parse::<u64>().ok());
        let cpu = now.cpu.saturating_sub(before.cpu);
        #[expect(clippy::cast_precision_loss, reason = "a count")]
        let each = cpu.as_secs_f64() * 1e6 / registrations.max(1) as f64;
        Server {
            cpu_us_per_registration: each,
            resident_octets: kilobytes.unwrap_or_default() * 1_024,
            dropped: now.dropped.saturating_sub(before.dropped),
        }
    }
}

impl Drop for Deployed {
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

fn toml(
    domain: &str,
    storage: Storage,
    directory: &std::path::Path,
    (sip, management): (SocketAddr, SocketAddr),
    workers: usize,
) -> String {
    let storage = match storage {
        Storage::Memory => "engine = \"memory\"".to_owned(),
        Storage::Embedded => {
            format!("engine = \"embedded\"\ndirectory = {:?}", directory.join("store"))
        }
    };
    let workers = if workers == 0 { String::new() } else { format!("workers = {workers}\n") };
    format!(
        "roles = [\"sip_core\", \"sip_database\"]\n{workers}[system]\ndomain = \"{domain}\"\n\
         [sip]\nlisten = [\"{sip}\"]\n[diameter]\n[admin]\n[management]\nlisten = \"{management}\"\n\
         [storage]\n{storage}\n"
    )
}

/// A port that nobody uses now, over UDP and TCP; somebody may be faster yet.
fn free_port() -> io::Result<u16> {
    for _ in 0..ATTEMPTS_MAX {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        if UdpSocket::bind(address).is_ok() {
            return Ok(address.port());
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}
