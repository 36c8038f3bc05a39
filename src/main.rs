//! The command line of migcore.

use std::{
    fmt::{self, Write as _},
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    thread,
};

use clap::{Parser, Subcommand};
use migcore::{
    api::connection_details::{SIP_CORE_ADDRESSES_MAX, SipCoreAddress},
    node::{
        Options, RunningSystem, StartError,
        acm_client::{self, AcmCommand},
        config::{Config, Log, LogFormat, REFERENCE},
        demo::{DemoError, command::DemoArguments},
        http_client::{Endpoint, url},
        load::{Ended, command::LoadCommand},
        log,
        operator::{AdminCommand, EXAMPLES},
        provision::{self, Loaded, SippCsv, UeFiles, write_sipp_csv},
        storage::{self, command::StoreCommand},
        tls::{self, Trust},
        trust::{self, TrustCommand},
        ue::command::UeCommand,
    },
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

/// A registration makes and drops some dozens of small values.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The migration core of a mission critical (MC) system.
///
/// It lets a user of one MC system register in another one by SIP and IMS-AKA, with the key of the
/// home system (3GPP TR 23.781 solution 2). One process runs a SIP core, a
/// SIP database, a configuration management server, or any of them together.
///
/// Begin with `migcore demo`.
#[derive(Parser)]
#[command(version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The certificate of the authority that servers are believed by over https and SIP over TLS, for commands that
    /// ask one [environment: `MIGCORE_CA`].
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong arguments or configuration.";

#[derive(Subcommand)]
enum Command {
    /// Run a system until SIGINT or SIGTERM.
    ///
    /// It listens for SIP (UDP, TCP, TLS), Diameter Cx, and HTTP: CSC-4 for UEs and CSC-17 for other systems,
    /// metrics and health, and the management interface. All but metrics and health describe themselves at
    /// `/openapi.json`.
    #[command(after_help = EXIT_CODES)]
    Serve {
        /// The configuration; `migcore check --reference` shows one with every key.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Say what is wrong in a configuration: the line, the key, what to write instead.
    #[command(after_help = EXIT_CODES)]
    Check {
        /// The configuration to check.
        #[arg(long, value_name = "FILE", required_unless_present = "reference")]
        config: Option<PathBuf>,
        /// Print a configuration with every key, its default and its meaning instead.
        #[arg(long)]
        reference: bool,
    },
    /// Show a migration: two systems in this process, and a UE that registers in the other one.
    ///
    /// All 25 steps, a repeat, a pause of 30 days with a restart of both systems, the refresh, the return
    /// home and coming back; or one failure branch. The UE speaks HTTP and SIP, the systems HTTP and
    /// Diameter, all on loopback. Every message is drawn with its step of the procedure.
    #[command(after_help = EXIT_CODES)]
    Demo(DemoArguments),
    /// Fill running systems with users.
    #[command(subcommand, after_help = EXIT_CODES)]
    Provision(Provision),
    /// See what a running system holds, take back what it lent, throw users out.
    ///
    /// It asks the management interface of a system that runs, by default the one on this host.
    #[command(after_help = EXAMPLES)]
    Admin(AdminCommand),
    /// Be an administrator: decide what partners ask for, ask them, follow what comes of it.
    ///
    /// It is an ACM client of the administrator's own system (TS 23.280 clause 10.17): initial configuration (XCFG),
    /// interconnection groups (GRP), updates for migrating users (UPD), users added and removed.
    #[command(after_help = acm_client::EXAMPLES)]
    Acm(Box<AcmCommand>),
    /// Be one UE: migrate, register, refresh, come home. Its state is in a file between the commands.
    #[command(subcommand, after_help = EXIT_CODES)]
    Ue(UeCommand),
    /// Load a SIP registrar with UEs that authenticate by IMS-AKA, and tell how it does.
    ///
    /// The generator judges itself too: a run in which it was late, lost datagrams or had no reserve is told to
    /// be INVALID.
    Load(Box<LoadCommand>),
    /// Look after a store while no system has it open.
    #[command(subcommand, after_help = EXIT_CODES)]
    Store(StoreCommand),
    /// Trust the signing certificates of partners without a link, by files; make new keys; end trust.
    #[command(after_help = trust::EXAMPLES)]
    Trust(TrustCommand),
}

/// What `provision load` reads.
const FILES: &str = r#"A CSV file of subscribers has a header with a column k. Of op and opc one is given. With an
mc_service_id the row is also a user of the configuration server, who presents access tokens on CSC-4, or where static
tokens are taken (config_server.static_tokens) this one:

  impi,impu,k,opc,mc_service_id,token
  alice@a.example,sip:alice@a.example,465b5ce8b199b49faa5f0a2ee238a6bc,cd63cb71954a9f4e48a5994e37a02baf,sip:alice@a.example,TOKEN

  Columns: impi, impu (several with spaces between, the default one first), k, op, opc, amf, seq, mc_service_id,
  class, may_migrate (true or false), token (22 to 4096 characters drawn at random).

A CSV file of subscribers with a password in place of a key (SIP Digest) has a header with a column password:

  impi,impu,password
  guest-1@b.example,sip:guest-1@b.example,PASSWORD

  Columns: impi, impu, password (8 to 256 characters), algorithm (MD5 or SHA-256), realm.

A CSV file of agreements has a header with a column partner. users is everybody, class:NAME or
user:MC-SERVICE-ID; times are seconds since 1970 or dates of RFC 3339:

  partner,direction,users,valid_until
  sip:b.example,outbound,everybody,2031-01-01T00:00:00Z
  sip:b.example,inbound,everybody,2031-01-01T00:00:00Z

  Columns: partner, direction (outbound or inbound), users, valid_from, valid_until, hide_identities.

A CSV file of users of ACM clients has a header with a column may_decide. What they may begin and decide is all, or
kinds of transactions with spaces between: configuration, groups, update, add-users, remove-users, groups-withdrawn,
please-send:

  mc_service_id,token,may_request,may_decide
  sip:admin@a.example,TOKEN,all,configuration groups
  sip:clerk@a.example,TOKEN,groups,

A JSON lines file (.jsonl) has one subscriber, subscriber with a password, user or user of ACM clients a line:

  {"impi": "alice@a.example", "subscriber": {"impus": ["sip:alice@a.example"], "k": "..", "opc": ".."}}
  {"impi": "guest-1@b.example", "digest_subscriber": {"impus": ["sip:guest-1@b.example"], "password": ".."}}
  {"mc_service_id": "sip:alice@a.example", "user": {"impi": "..", "impu": "..", "token": ".."}}
  {"mc_service_id": "sip:admin@a.example", "acm_user": {"token": "..", "may_request": ["groups"], "may_decide": []}}

A TOML file has pools, and what UEs are told of systems; the document is in a file beside it:

  [pools.visitors]
  direction = "inbound"
  generated = { impi_template = "mig-{id}@b.example", impu_template = "sip:mig-{id}@b.example" }

  [pools.guests]
  direction = "inbound"
  [pools.guests.listed]
  quarantine_seconds = 604800
  identities = [{ impi = "guest-1@b.example", impu = "sip:guest-1@b.example" }]

  [system-configurations."sip:b.example"]
  revision = 1
  sip_core = [{ transport = "udp", address = "192.0.2.1:5060" }]
  document_file = "b.xml"

Exit codes: 0 done, 1 failed, 2 wrong arguments or files."#;

#[derive(Subcommand)]
enum Provision {
    /// Load subscribers, users, pools, agreements, UE configurations and users of ACM clients from files.
    ///
    /// All files are read, and the system is asked about all of them, before anything is changed: if anything
    /// is wrong it is told with file, line and column, and nothing is changed. After a lost connection run it
    /// again: what is there already stays as it is.
    #[command(after_long_help = FILES)]
    Load {
        /// CSV, TOML and JSON lines files; `--help` shows one of each kind.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The management interface of the system.
        #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080", value_parser = url)]
        system: String,
        /// Write a state file for `migcore ue` for each user; one that is there already is left as it is.
        #[arg(long, value_name = "DIR", requires = "ue_csc4", requires = "ue_sip_core")]
        ue_dir: Option<PathBuf>,
        /// The configuration management server (CSC-4), for the state files.
        #[arg(long, value_name = "URL", requires = "ue_dir")]
        ue_csc4: Option<Endpoint>,
        /// The SIP core of the system, such as udp:127.0.0.1:5060, for the state files. May be repeated.
        #[arg(long, value_name = "TRANSPORT:ADDRESS", requires = "ue_dir")]
        ue_sip_core: Vec<SipCoreAddress>,
    },
    /// Provision users for SIPp, and write its injection file.
    ///
    /// The home has to take static tokens (config_server.static_tokens = true): these users do not log in.
    ///
    /// Each user is a subscriber and a user of the configuration server at home, and asks it for the
    /// connection details of the partner (steps 1 to 13), which gives it an inbound pair there. Pools,
    /// agreements and the partner's UE configuration are made where they are missing. The file has one line a
    /// user: inbound private identity; user part of the inbound public identity; domain; the [authentication ...]
    /// keyword with the user's keys. It holds keys: only its owner may read it. Repeated, users get new keys and
    /// keep their migration identities.
    SippCsv {
        /// How many users.
        #[arg(long, value_name = "N")]
        subscribers: usize,
        /// The file to write.
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
        /// The management interface of the home system.
        #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080", value_parser = url)]
        home: String,
        /// CSC-4 of the home system: where its UEs ask its configuration server.
        #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8081")]
        home_csc4: Endpoint,
        /// The management interface of the partner system.
        #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8180", value_parser = url)]
        partner: String,
        /// The SIP core of the partner, to tell UEs if the partner has no UE configuration yet.
        #[arg(long, value_name = "ADDRESS")]
        partner_sip_core: Option<SocketAddr>,
    },
}

/// Why a command did not work: its exit code and what to say.
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn failed(error: impl fmt::Display) -> Self {
        Self { code: 1, message: error.to_string() }
    }

    fn wrong(error: impl fmt::Display) -> Self {
        Self { code: 2, message: error.to_string() }
    }

    fn of(error: impl fmt::Display, is_wrong_input: bool) -> Self {
        if is_wrong_input { Self::wrong(error) } else { Self::failed(error) }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(arguments)),
        Err(error) => Err(Failure::failed(error)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, message }) => {
            // Without standard error there is nobody to tell.
            let _ = writeln!(io::stderr(), "migcore: {message}");
            ExitCode::from(code)
        }
    }
}

async fn run(Arguments { command, ca }: Arguments) -> Result<(), Failure> {
    Trust::of_commands(ca).map_err(Failure::wrong)?;
    match command {
        Command::Serve { config } => serve(config).await,
        Command::Check { reference: true, .. } => print(REFERENCE),
        Command::Check { config, .. } => {
            let path = config.unwrap_or_default();
            let config = Config::read(&path).map_err(Failure::wrong)?;
            tls::check(&config).map_err(Failure::wrong)?;
            print(&format!("{} is a valid configuration\n", path.display()))
        }
        Command::Demo(arguments) => demo(arguments).await,
        Command::Provision(Provision::Load { files, system, ue_dir, ue_csc4, ue_sip_core }) => {
            if ue_sip_core.len() > SIP_CORE_ADDRESSES_MAX {
                let most = format!("--ue-sip-core: at most {SIP_CORE_ADDRESSES_MAX} of them");
                return Err(Failure::wrong(most));
            }
            let ue_files = ue_dir.zip(ue_csc4).map(|(directory, csc4)| UeFiles {
                directory,
                csc4,
                sip_core: ue_sip_core,
            });
            provision_load(&provision::Load { files, system, ue_files }).await
        }
        Command::Provision(Provision::SippCsv {
            subscribers,
            output,
            home,
            home_csc4,
            partner,
            partner_sip_core,
        }) => {
            let job = SippCsv { subscribers, output, home, home_csc4, partner, partner_sip_core };
            write_sipp_csv(&job).await.map_err(Failure::failed)
        }
        Command::Admin(command) => {
            let done = command.run().await;
            done.map_err(|error| Failure::of(&error, error.is_wrong_input()))
        }
        Command::Acm(command) => {
            let mut end = Ends::new()?;
            let done = command.run(end.wait()).await;
            done.map_err(|error| Failure::of(&error, error.is_wrong_input()))
        }
        Command::Load(command) => load(*command).await,
        Command::Store(command) => {
            // What opening a store mends it tells by the log.
            let log = Log { level: "warn".to_owned(), format: LogFormat::Text };
            log::init(&log).map_err(Failure::failed)?;
            command.run().map_err(|error| Failure::of(&error, error.is_wrong_input()))
        }
        Command::Trust(command) => {
            let done = command.run().await;
            done.map_err(|error| Failure::of(&error, error.is_wrong_input()))
        }
        Command::Ue(command) => {
            let done = command.run().await;
            done.map_err(|error| Failure::of(&error, error.is_wrong_input()))
        }
    }
}

async fn provision_load(job: &provision::Load) -> Result<(), Failure> {
    let loaded = provision::load(job).await;
    let loaded = loaded.map_err(|error| Failure::of(&error, error.is_wrong_input()))?;
    let mut text = format!("{} changes were made\n", loaded.changes);
    if job.ue_files.is_some() {
        let Loaded { ue_files, ue_files_kept, .. } = loaded;
        let _ = writeln!(text, "{ue_files} state files were written, {ue_files_kept} were there");
    }
    print(&text)
}

async fn load(command: LoadCommand) -> Result<(), Failure> {
    let mut end = Ends::new()?;
    let ended = command.run(end.wait()).await;
    let ended = ended.map_err(|error| Failure::of(&error, error.is_wrong_input()))?;
    let message = match ended {
        Ended::Well => return Ok(()),
        Ended::NothingSucceeded => "nothing succeeded",
        Ended::Broken => "a threshold is broken",
        Ended::Invalid => "the run is INVALID: the generator itself is seen in the figures",
    };
    Err(Failure { code: ended.code(), message: message.to_owned() })
}

async fn serve(path: PathBuf) -> Result<(), Failure> {
    let config = Config::read(&path).map_err(Failure::wrong)?;
    log::init(&config.log).map_err(Failure::wrong)?;
    #[cfg(feature = "planted-bugs")]
    arm_planted()?;
    let mut end = Ends::new()?;
    let (done, started) = oneshot::channel();
    // In a thread, so that a signal ends it however much there is to load.
    let start = move || drop(done.send(start_system(config)));
    thread::Builder::new().name("start".to_owned()).spawn(start).map_err(Failure::failed)?;
    let system = tokio::select! {
        () = end.wait() => return Ok(()),
        // Without an answer the thread has panicked, and that has been told.
        started = started => {
            started.map_err(|_| Failure::failed("a fault of its own kept it from starting"))??
        }
    };
    // Told from here on, where a signal shuts it down.
    tracing::info!(system = %system.config().system.name, bound = ?system.bound(), "system is up");
    let outcome = tokio::select! {
        () = end.wait() => Ok(()),
        () = refresh_files(&system) => Ok(()),
        () = system.failed() => Err(Failure::failed("stopped after a fault of its own; see the log")),
    };
    system.shutdown().await;
    outcome
}

/// Looks at the files of certificates and keys again at each SIGHUP. A system without any ends by it, as before.
async fn refresh_files(system: &RunningSystem) {
    let config = system.config();
    if (config.tls.is_some() || config.mc_server.issuer.is_some())
        && let Ok(mut hang_up) = signal(SignalKind::hangup())
    {
        while hang_up.recv().await.is_some() {
            system.refresh_files();
        }
    }
    std::future::pending::<()>().await;
}

/// Arms the fault that the environment names, for tests that must see this process fail.
#[cfg(feature = "planted-bugs")]
fn arm_planted() -> Result<(), Failure> {
    use migcore::planted::{Bug, arm};
    let Some(name) = std::env::var_os("MIGCORE_PLANTED") else { return Ok(()) };
    let bug = name.to_str().and_then(Bug::named);
    arm(Some(bug.ok_or_else(|| Failure::wrong("MIGCORE_PLANTED names no fault"))?));
    Ok(())
}

/// Opens the storage, loads it and starts everything.
fn start_system(config: Config) -> Result<RunningSystem, Failure> {
    let engine = storage::open(&config.storage);
    let engine = engine.map_err(|error| Failure::of(&error, error.is_wrong_input()))?;
    let options = Options { engine: Some(engine), shows_progress: true, ..Options::default() };
    let started = RunningSystem::start(config, options);
    started.map_err(|error| Failure::of(&error, matches!(error, StartError::Tls(_))))
}

async fn demo(arguments: DemoArguments) -> Result<(), Failure> {
    let mut end = Ends::new()?;
    Box::pin(arguments.run(end.wait()))
        .await
        .map_err(|error| Failure::of(&error, matches!(error, DemoError::Setting { .. })))
}

fn print(text: &str) -> Result<(), Failure> {
    io::stdout().write_all(text.as_bytes()).map_err(Failure::failed)
}

/// The signals that end a system; a second one ends the process at once, whatever keeps the system.
struct Ends {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Ends {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(Failure::failed);
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    async fn wait(&mut self) {
        self.next().await;
        if let Ok(mut second) = Self::new() {
            tokio::spawn(async move {
                second.next().await;
                let _ = writeln!(io::stderr(), "migcore: ended at once by a second signal");
                std::process::exit(1);
            });
        }
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
