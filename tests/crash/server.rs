//! One system as a process: its configuration, its ports, its end by SIGKILL, its log.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::Write as _,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use crate::common::Seeded;

/// Ports are drawn from here: below those that Linux gives to outgoing connections, so that none of
/// those takes the port of a system between its end and its restart.
const PORTS: std::ops::Range<u64> = 12_000..30_000;

/// How long a system may take to end after SIGTERM.
const END_MAX: Duration = Duration::from_secs(30);

/// How many octets of a log are shown when something went wrong.
const LOG_TAIL_OCTETS: usize = 4_000;

/// What the two systems present to each other on CSC-17.
const TOKEN_OF_A: &str = "a.presents.this.to.b.on.csc-17";
const TOKEN_OF_B: &str = "b.presents.this.to.a.on.csc-17";

/// The ports of one system.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub sip: u16,
    pub diameter: u16,
    pub management: u16,
    pub admin: u16,
    pub csc4: u16,
    pub csc17: u16,
}

/// A system, running or not. Dropped, it is killed.
pub struct Server {
    pub domain: &'static str,
    pub ports: Ports,
    directory: PathBuf,
    child: Option<Child>,
    /// What the environment variable `MIGCORE_PLANTED` says to it.
    planted: Option<&'static str>,
    /// Further environment variables of the process.
    pub environment: Vec<(&'static str, OsString)>,
}

impl Ports {
    /// Draws ports that nobody listens on now.
    pub fn draw(entropy: &mut Seeded) -> Self {
        let mut taken = Vec::new();
        let mut next = || loop {
            let port = PORTS.start + entropy.below(PORTS.end - PORTS.start);
            let port = u16::try_from(port).unwrap();
            let address = (Ipv4Addr::LOCALHOST, port);
            let is_free = TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok();
            if is_free && !taken.contains(&port) {
                taken.push(port);
                return port;
            }
        };
        Self {
            sip: next(),
            diameter: next(),
            management: next(),
            admin: next(),
            csc4: next(),
            csc17: next(),
        }
    }
}

/// Writes the configurations of A, whose users migrate, and B, where they go, below `directory`.
pub fn pair(directory: &Path, entropy: &mut Seeded, planted: Option<&'static str>) -> [Server; 2] {
    let ports = [Ports::draw(entropy), Ports::draw(entropy)];
    let [a, b] = [("a.example", TOKEN_OF_A), ("b.example", TOKEN_OF_B)];
    let system = |(own, other): (usize, usize), (domain, send), (partner, accept)| {
        let directory = directory.join(domain);
        fs::create_dir_all(&directory).unwrap();
        let mut key = [0_u8; 32];
        migcore::entropy::Entropy::fill(entropy, &mut key);
        write_private(&directory.join("key"), &(hex(&key) + "\n"));
        let config =
            config(domain, &directory, ports[own], (partner, ports[other]), (send, accept));
        write_private(&directory.join("migcore.toml"), &config);
        let environment = Vec::new();
        Server { domain, ports: ports[own], directory, child: None, planted, environment }
    };
    let mut system = system;
    [system((0, 1), a, b), system((1, 0), b, a)]
}

fn config(
    domain: &str,
    directory: &Path,
    ports: Ports,
    (partner, at): (&str, Ports),
    (send, accept): (&str, &str),
) -> String {
    let Ports { sip, diameter, management, admin, csc4, csc17 } = ports;
    let directory = directory.display();
    format!(
        r#"
[system]
domain = "{domain}"
insecure = true

[sip]
listen = ["127.0.0.1:{sip}"]
expires_min = "2s"

[config_server]
static_tokens = true
listen = "127.0.0.1:{csc4}"
listen_partners = "127.0.0.1:{csc17}"

[[config_server.partners]]
id = "sip:{partner}"
sip_database = "sipdb.{partner}"
url = "http://127.0.0.1:{}"
send_token = "{send}"
accept_token = "{accept}"

[diameter]
listen = "127.0.0.1:{diameter}"

[[diameter.peers]]
host = "sipdb.{partner}"
realm = "{partner}"
address = "127.0.0.1:{}"
kind = "database"

[admin]
listen = "127.0.0.1:{admin}"

[management]
listen = "127.0.0.1:{management}"

[storage]
engine = "embedded"
directory = "{directory}/data"
key_file = "{directory}/key"

[log]
level = "info"
"#,
        at.csc17, at.diameter
    )
}

fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Octets as hexadecimal digits.
pub fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |text, octet| text + &format!("{octet:02x}"))
}

impl Server {
    /// Starts the process on what it stored before.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.domain);
        let log = OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_migcore"));
        command.arg("serve").arg("--config").arg(self.config_path());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command.env_remove("MIGCORE_PLANTED");
        command.envs(self.planted.map(|planted| ("MIGCORE_PLANTED", planted)));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        self.child = Some(command.spawn().unwrap());
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // A process that has ended of itself is found by `assert_running`.
            let _ = child.kill();
            child.wait().unwrap();
        }
    }

    /// SIGTERM, and waits for the end.
    pub fn end(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let sent = Command::new("kill").arg("-TERM").arg(child.id().to_string()).status().unwrap();
        assert!(sent.success());
        let deadline = Instant::now() + END_MAX;
        while Instant::now() < deadline {
            if let Some(status) = child.try_wait().unwrap() {
                assert!(
                    status.success(),
                    "{} ended with {status}\n{}",
                    self.domain,
                    self.log_tail()
                );
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        panic!("{} did not end\n{}", self.domain, self.log_tail());
    }

    /// How the process ended, if it did so without being told to by this.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().unwrap())
    }

    /// Panics if the process has ended of itself.
    pub fn assert_running(&mut self) {
        if let Some(status) = self.ended() {
            panic!("{} ended by itself with {status}\n{}", self.domain, self.log_tail());
        }
    }

    /// Whether the system serves, and is connected to the other one if that is `connected`.
    pub async fn is_ready(&self, http: &reqwest::Client, connected: bool) -> bool {
        let url = format!("http://127.0.0.1:{}/health/ready", self.ports.admin);
        let Ok(response) = http.get(url).send().await else { return false };
        let ready = response.status().is_success();
        let Ok(readiness) = response.json::<serde_json::Value>().await else { return false };
        let alone = readiness["unconnected_peers"].as_array().is_some_and(|it| !it.is_empty());
        ready && !(connected && alone)
    }

    pub fn management(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.management)
    }

    pub fn sip(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.ports.sip).into()
    }

    pub fn config_path(&self) -> PathBuf {
        self.directory.join("migcore.toml")
    }

    /// Where it stores.
    pub fn data_path(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// The file of its storage key.
    pub fn key_path(&self) -> PathBuf {
        self.directory.join("key")
    }

    fn log_path(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// The end of the log.
    pub fn log_tail(&self) -> String {
        use std::io::{Read as _, Seek as _, SeekFrom};
        let mut text = Vec::new();
        if let Ok(mut file) = File::open(self.log_path()) {
            let octets = file.metadata().map_or(0, |data| data.len());
            let start = octets.saturating_sub(LOG_TAIL_OCTETS as u64);
            let _ = file.seek(SeekFrom::Start(start));
            let _ = file.read_to_end(&mut text);
        }
        format!("-- the end of {}\n{}", self.log_path().display(), String::from_utf8_lossy(&text))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
