//! Two systems as processes, and the load generator as another one.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::Duration,
};

/// The cores of the servers and of whoever asks them.
pub const SERVER_CORE: usize = 0;
pub const CLIENT_CORE: usize = 1;

const HOME: &str = "a.example";
const PARTNER: &str = "b.example";
const TOKENS: [&str; 2] = ["from-a-to-b-0123456789abcdef", "from-b-to-a-0123456789abcdef"];

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Engine {
    Memory,
    Embedded,
}

impl Engine {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Embedded => "embedded",
        }
    }
}

/// What one turn of a case came to.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// Processor time of the server, microseconds.
    pub cpu_us: f64,
    pub per_s: f64,
}

/// What is asked of the systems for a while.
pub struct Ask {
    /// Whether at the partner, which fetches vectors over Cx.
    pub is_forwarded: bool,
    pub is_tcp: bool,
    /// Requests under way at a time.
    pub under_way: usize,
    pub time: Duration,
}

/// A home and a partner system, with users that may register in both.
pub struct Pair {
    home: System,
    partner: System,
    directory: PathBuf,
    users: usize,
}

struct System {
    child: Child,
    ports: Ports,
}

#[derive(Clone, Copy)]
struct Ports {
    sip: u16,
    diameter: u16,
    management: u16,
    csc4: u16,
    csc17: u16,
    admin: u16,
}

impl Pair {
    /// Starts both with so many workers each: one has the first core for itself, several have all cores.
    pub fn start(engine: Engine, users: usize, workers: usize) -> Self {
        let name = format!("limit-{}-{workers}-{}", engine.name(), std::process::id());
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let ports = [Ports::free(), Ports::free()];
        let [home, partner] = [(HOME, 0), (PARTNER, 1)].map(|(domain, which)| {
            let toml = format!("workers = {workers}\n{}", toml(engine, &directory, which, ports));
            let cores =
                if workers == 1 { SERVER_CORE.to_string() } else { format!("0-{CLIENT_CORE}") };
            System::start(&directory.join(format!("{domain}.toml")), &toml, ports[which], &cores)
        });
        let pair = Self { home, partner, directory, users };
        pair.provision();
        pair
    }

    /// Registers users for a while, as fast as it goes.
    pub fn register(&self, ask: &Ask) -> Turn {
        let Ask { is_forwarded, is_tcp, under_way, time } = *ask;
        let report = self.directory.join("report.json");
        let transport = if is_tcp { "tcp" } else { "udp" };
        let system = if is_forwarded { &self.partner } else { &self.home };
        let mut load = generator();
        load.args(["--target", &format!("{transport}:127.0.0.1:{}", system.ports.sip)]);
        // In each turn the same: else a later one registers users who have more contacts than those of an earlier one.
        load.args(["--contact", "127.0.0.1:5060"]);
        load.args(["--concurrency", &under_way.to_string(), "--count", "100000000"]);
        load.args(["--duration", &format!("{}ms", time.as_millis())]).arg("--json").arg(&report);
        if is_forwarded {
            load.arg("--from").arg(self.directory.join("users.csv"));
        } else {
            load.args(["--subscribers", &self.users.to_string(), "--domain", HOME]);
        }
        let before = self.cpu_us();
        let outcome = load.output().expect("the load generator runs");
        let spent = self.cpu_us() - before;
        let text = fs::read_to_string(&report).unwrap_or_else(|_| panic!("{outcome:?}"));
        let report: serde_json::Value = serde_json::from_str(&text).unwrap();
        let registered = report["counts"]["succeeded"].as_f64().unwrap();
        assert_eq!(report["counts"]["failed"], 0, "{}", String::from_utf8_lossy(&outcome.stdout));
        Turn { cpu_us: spent / registered, per_s: report["registrations_per_s"].as_f64().unwrap() }
    }

    /// Makes users known at home, and lets each ask for connection details of the partner.
    fn provision(&self) {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let count = self.users.to_string();
        let mut migrate = migcore();
        migrate.args(["provision", "sipp-csv", "--subscribers", &count, "--output"]);
        migrate.arg(self.directory.join("users.csv"));
        migrate.args(["--home", &url(self.home.ports.management)]);
        migrate.args(["--home-csc4", &url(self.home.ports.csc4)]);
        migrate.args(["--partner", &url(self.partner.ports.management)]);
        migrate.args(["--partner-sip-core", &format!("127.0.0.1:{}", self.partner.ports.sip)]);
        run(migrate);
        let mut load = generator();
        load.args(["--target", &format!("udp:127.0.0.1:{}", self.home.ports.sip)]);
        load.args(["--provision", &url(self.home.ports.management), "--subscribers", &count]);
        load.args(["--domain", HOME, "--concurrency", "64", "--count", &count]);
        // Everybody's first registration assigns the SIP core, which is not what is measured.
        assert!(load.output().expect("the load generator runs").status.code().is_some());
        let time = Duration::from_millis(500);
        self.register(&Ask { is_forwarded: true, is_tcp: false, under_way: 64, time });
    }

    /// The processor time of all threads of both systems, microseconds.
    fn cpu_us(&self) -> f64 {
        [&self.home, &self.partner].map(System::cpu_us).into_iter().sum()
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Drop for System {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl System {
    fn start(config: &Path, toml: &str, ports: Ports, cores: &str) -> Self {
        fs::write(config, toml).unwrap();
        let mut child = Command::new("taskset")
            .args(["-c", cores, env!("CARGO_BIN_EXE_migcore"), "serve"])
            .arg("--config")
            .arg(config)
            .env("MIGCORE_STORAGE_KEY", "00112233445566778899aabbccddeeff".repeat(2))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("taskset, of util-linux");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let system = Self { child, ports };
        let said = lines.by_ref().inspect(|line| assert!(!line.starts_with("migcore: "), "{line}"));
        said.take_while(|line| !line.contains("system is up")).for_each(drop);
        // Nobody is to wait for a reader of the log.
        thread::spawn(move || lines.for_each(drop));
        system
    }

    fn cpu_us(&self) -> f64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let nanos = tasks.flatten().map(|task| {
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            text.split_ascii_whitespace().next().and_then(|nanos| nanos.parse::<f64>().ok())
        });
        nanos.map(Option::unwrap_or_default).sum::<f64>() / 1e3
    }
}

/// Ports are looked for from here on: below those that the kernel gives to whoever connects meanwhile.
static NEXT_PORT: AtomicU16 = AtomicU16::new(20_000);

impl Ports {
    fn free() -> Self {
        let free = || loop {
            let port = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
            let address = ("127.0.0.1", port);
            if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
                return port;
            }
        };
        let [sip, diameter, management, csc4, csc17, admin] = [(); 6].map(|()| free());
        Self { sip, diameter, management, csc4, csc17, admin }
    }
}

fn migcore() -> Command {
    Command::new(env!("CARGO_BIN_EXE_migcore"))
}

/// The load generator on its core, from which it has to be kept by whoever starts it.
fn generator() -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &CLIENT_CORE.to_string(), env!("CARGO_BIN_EXE_migcore")]);
    command.args(["load", "register", "--cores", &CLIENT_CORE.to_string()]);
    command
}

fn run(mut command: Command) {
    let outcome = command.output().expect("it runs");
    assert!(outcome.status.success(), "{}", String::from_utf8_lossy(&outcome.stderr));
}

fn toml(engine: Engine, directory: &Path, which: usize, ports: [Ports; 2]) -> String {
    let own = ports[which];
    let other = ports[1 - which];
    let [(domain, _), (others, _)] =
        if which == 0 { [(HOME, 0), (PARTNER, 1)] } else { [(PARTNER, 1), (HOME, 0)] };
    let (send, accept) = (TOKENS[which], TOKENS[1 - which]);
    // The partner connects to the home.
    let address = if which == 0 {
        String::new()
    } else {
        format!("address = \"127.0.0.1:{}\"\n", other.diameter)
    };
    let storage = match engine {
        Engine::Memory => "engine = \"memory\"".to_owned(),
        Engine::Embedded => {
            let store = directory.join(format!("store-{domain}"));
            format!("engine = \"embedded\"\ndirectory = \"{}\"", store.display())
        }
    };
    let Ports { sip, diameter, management, csc4, csc17, admin } = own;
    format!(
        "[system]\ndomain = \"{domain}\"\ninsecure = true\n[sip]\nlisten = [\"127.0.0.1:{sip}\"]\n\
         [diameter]\nlisten = \"127.0.0.1:{diameter}\"\n[management]\nlisten = \"127.0.0.1:{management}\"\n\
         [admin]\nlisten = \"127.0.0.1:{admin}\"\n\
         [config_server]\nstatic_tokens = true\nlisten = \"127.0.0.1:{csc4}\"\nlisten_partners = \"127.0.0.1:{csc17}\"\n\
         [[config_server.partners]]\nid = \"sip:{others}\"\nsip_database = \"sipdb.{others}\"\n\
         url = \"http://127.0.0.1:{}\"\nsend_token = \"{send}\"\naccept_token = \"{accept}\"\n\
         areas = [{{ plmn = \"00101\" }}]\n\
         [[diameter.peers]]\nhost = \"sipdb.{others}\"\nrealm = \"{others}\"\nkind = \"database\"\n{address}\
         [storage]\n{storage}\n",
        other.csc17,
    )
}
