//! One running system: its roles, its threads, its sockets.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::{
    net::{TcpListener, UdpSocket},
    runtime,
    sync::{Notify, mpsc, oneshot, watch},
    task::JoinSet,
};

use super::{
    Clock, SystemEntropy, admin, bind,
    committer::Committer,
    config::Config,
    csc4, csc17,
    diameter::{self, OpenConnections, Peers},
    http,
    ladder::Tap,
    management,
    metrics::Metrics,
    partners::Partners,
    perform::{Caller, Names, NoteLimit, Roles, Shared},
    tcp::{self, Connections},
    udp,
    worker::{self, Datagram, Worker},
};
use crate::{
    config_server::{self, ConfigServer},
    sip_core::{self, SipCore},
    sip_database::{self, SipDatabase},
    store::{CommitSeq, Engine, MemoryEngine, ReplayError, Sequencer},
    table::new_table,
};

/// Shortest and longest wait before the storage is opened again after a failure.
const REOPEN_DELAY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// What a system is started with besides its configuration.
#[derive(Default)]
pub struct Options {
    /// Where each message is reported.
    pub tap: Option<Tap>,
    /// Where records are kept; `None` keeps them in memory, until the end of the process.
    pub engine: Option<Box<dyn Engine>>,
    /// How far the clock is ahead of the wall clock, to show what happens after a long pause.
    pub clock_ahead: Duration,
}

/// Where a system listens.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Bound {
    /// SIP, over UDP and TCP.
    pub sip: Vec<SocketAddr>,
    /// Diameter.
    pub diameter: Option<SocketAddr>,
    /// Metrics and health.
    pub admin: Option<SocketAddr>,
    /// The management interface.
    pub management: Option<SocketAddr>,
    /// CSC-4: UEs ask the configuration management server.
    pub csc4: Option<SocketAddr>,
    /// CSC-17: other configuration management servers ask it.
    pub csc17: Option<SocketAddr>,
}

/// A system that runs until it is shut down.
pub struct RunningSystem {
    bound: Bound,
    shared: Arc<Shared>,
    workers: Vec<(thread::JoinHandle<()>, oneshot::Receiver<()>)>,
}

/// Why a system does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be used.
    #[error(
        "cannot listen on {address} for {what}: {error}; choose another address or end what uses it"
    )]
    Bind {
        /// For what.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// A name in the configuration is no FQDN.
    #[error("a Diameter host or realm {0}; write a domain name")]
    Name(#[from] crate::diameter::local::InvalidDiameterIdentity),
    /// What is stored cannot be read or used.
    #[error("cannot load the stored state: {0}")]
    Storage(#[from] ReplayError),
    /// A thread or its runtime cannot be created.
    #[error("cannot start a worker thread: {0}")]
    Thread(io::Error),
}

impl RunningSystem {
    /// Starts the roles of `config`.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing runs then.
    pub fn start(config: Config, options: Options) -> Result<Self, StartError> {
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let workers_count = config.workers.unwrap_or(cores);
        let sockets = Sockets::bind(&config, workers_count)?;
        let bound = sockets.bound();
        let (workers, handed_over) = (0..workers_count).map(|_| Worker::new()).unzip();
        let shared = Arc::new(create_shared(config, options, workers)?);
        if let Some(worker) = shared.workers.first() {
            Caller::new(&shared, worker).finish_loading();
        }
        let stop = shared.stop.subscribe();

        let mut threads = Vec::new();
        let mut running = Self { bound, shared, workers: Vec::new() };
        for (index, parts) in sockets.divide(handed_over).into_iter().enumerate() {
            let (done, ended) = oneshot::channel();
            let shared = Arc::clone(&running.shared);
            let stop = stop.clone();
            let thread = thread::Builder::new().name(format!("worker-{index}"));
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(StartError::Thread)?;
            let body = move || {
                runtime.block_on(run_worker(shared, index, parts, stop));
                // Blocking look-ups are not waited for.
                runtime.shutdown_background();
                let _ = done.send(());
            };
            threads.push((thread.spawn(body).map_err(StartError::Thread)?, ended));
        }
        running.workers = threads;
        tracing::info!(system = %running.shared.config.system.name, bound = ?running.bound, "system is up");
        Ok(running)
    }

    /// Where it listens.
    pub const fn bound(&self) -> &Bound {
        &self.bound
    }

    /// Its configuration.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Its metrics, in the `OpenMetrics` text format.
    pub fn metrics(&self) -> String {
        self.shared.metrics_text()
    }

    /// Whether every configured Diameter peer is connected.
    pub fn is_connected(&self) -> bool {
        self.shared.readiness().unconnected_peers.is_empty()
    }

    /// Returns when it has stopped by itself, which it does only after a fault of its own.
    pub async fn failed(&self) {
        worker::stopped(self.shared.stop.subscribe()).await;
        if !self.shared.failed.load(Ordering::Acquire) {
            std::future::pending::<()>().await;
        }
    }

    /// Stops it: no new requests, leave taken of the Diameter peers, threads ended. Gives back the engine
    /// with what is stored, for the next start.
    pub async fn shutdown(mut self) -> Box<dyn Engine> {
        self.shared.stop.send_replace(true);
        for (thread, ended) in std::mem::take(&mut self.workers) {
            // An error is a thread that has panicked; joining it shows that too.
            let _ = ended.await;
            if thread.join().is_err() {
                tracing::error!(system = %self.shared.config.system.name, "a worker panicked");
            }
        }
        tracing::info!(system = %self.shared.config.system.name, "system is down");
        self.shared.committer.take_engine()
    }
}

impl Drop for RunningSystem {
    /// Tells the threads to stop; only [`RunningSystem::shutdown`] waits for them.
    fn drop(&mut self) {
        self.shared.stop.send_replace(true);
    }
}

fn create_shared(
    config: Config,
    options: Options,
    workers: Vec<Arc<Worker>>,
) -> Result<Shared, StartError> {
    let mut entropy = SystemEntropy::new();
    let clock = Clock::start_ahead(options.clock_ahead);
    let core = config.roles.sip_core.then(|| SipCore::new(core_config(&config), &mut entropy));
    let database =
        config.roles.sip_database.then(|| SipDatabase::new(database_config(&config), &mut entropy));
    let config_server = config
        .roles
        .config_server
        .then(|| ConfigServer::new(config_server_config(&config), &mut entropy));
    let engine = options.engine.unwrap_or_else(|| Box::new(MemoryEngine::default()));
    let roles = Roles { core, database, config_server };
    let reader = engine.reader();
    let (committer, highest) = Committer::open(engine, &|record| roles.load(&record))?;
    let connections = Connections::new(new_table(&mut entropy), config.sip.tcp_connections_max);
    let peers = Peers::new(&config.diameter, clock.now(), &mut entropy)?;
    let shared = Shared {
        names: Names::new(&config),
        clock,
        metrics: Metrics::new(),
        tap: options.tap,
        roles,
        sequencer: Arc::new(Sequencer::starting_after(highest.max(CommitSeq::NOTHING))),
        committer,
        reader,
        gate: RwLock::new(()),
        storage_failed: Notify::new(),
        parked: new_table(&mut entropy),
        parked_number: AtomicU64::new(0),
        connections,
        peers,
        partners: Partners::new(&config.config_server),
        workers,
        stop: watch::channel(false).0,
        failed: AtomicBool::new(false),
        note_limit: NoteLimit::default(),
        config,
    };
    shared.metrics.storage_available.set(1);
    Ok(shared)
}

fn core_config(config: &Config) -> sip_core::Config {
    let sip = &config.sip;
    let seconds = |period: Duration| u32::try_from(period.as_secs()).unwrap_or(u32::MAX);
    sip_core::Config {
        aliases: sip.aliases.clone(),
        server_name: sip.server_name.clone(),
        service_route: format!("{};lr", sip.server_name),
        expires_default: seconds(sip.expires_default),
        expires_min: seconds(sip.expires_min),
        expires_max: seconds(sip.expires_max),
        algorithms: sip.algorithms.clone(),
        vector_timeout: sip.vector_timeout,
        reg_await_auth: sip.challenge_timeout,
        ..sip_core::Config::for_domain(&config.system.domain)
    }
}

fn database_config(config: &Config) -> sip_database::Config {
    let database = &config.sip_database;
    sip_database::Config {
        ind_bits: database.ind_bits,
        sqn_range: database.sqn_range,
        reserved_lease: database.reserved_lease,
        vector_timeout: config.sip.vector_timeout,
        avoid_zero_octet_in_res: database.avoid_zero_octet_in_res,
        ..sip_database::Config::new(config.diameter.identity.clone(), &config.system.domain)
    }
}

fn config_server_config(config: &Config) -> config_server::Config {
    let server = &config.config_server;
    let partners = server.partners.iter().map(|partner| config_server::Partner {
        id: partner.id.clone(),
        sip_database: partner.sip_database.clone(),
        accepted_token: partner.accept_token.digest(),
        areas: partner.areas.clone(),
    });
    config_server::Config {
        partners: partners.collect(),
        access_timeout: server.access_timeout,
        hands_out_configuration: server.hands_out_configuration,
        ..config_server::Config::new(
            server.id.clone(),
            config.diameter.identity.clone(),
            config.sip_database.migration_server_name.clone(),
        )
    }
}

/// All sockets of a system, bound before any thread starts.
struct Sockets {
    sip: Vec<bind::SipSockets>,
    diameter: Vec<std::net::TcpListener>,
    http: HttpSockets,
}

/// The sockets of the HTTP servers.
#[derive(Default)]
struct HttpSockets {
    admin: Option<std::net::TcpListener>,
    management: Option<std::net::TcpListener>,
    csc4: Option<std::net::TcpListener>,
    csc17: Option<std::net::TcpListener>,
}

/// The sockets of one worker.
struct WorkerSockets {
    sip: Vec<(SocketAddr, std::net::UdpSocket, std::net::TcpListener)>,
    diameter: Option<std::net::TcpListener>,
    http: HttpSockets,
    handed_over: mpsc::Receiver<Datagram>,
}

impl Sockets {
    fn bind(config: &Config, workers: usize) -> Result<Self, StartError> {
        let failed = |what, address| move |error| StartError::Bind { what, address, error };
        let listen = if config.roles.sip_core { &config.sip.listen[..] } else { &[] };
        let mut sip = Vec::new();
        for &address in listen {
            sip.push(bind::SipSockets::bind(address, workers).map_err(failed("SIP", address))?);
        }
        let diameter = match config.diameter.listen {
            Some(address) => {
                bind::bind_tcp(address, workers).map_err(failed("Diameter", address))?
            }
            None => Vec::new(),
        };
        Ok(Self { sip, diameter, http: HttpSockets::bind(config)? })
    }

    fn bound(&self) -> Bound {
        let address = |listener: &std::net::TcpListener| listener.local_addr().ok();
        Bound {
            sip: self.sip.iter().map(|sockets| sockets.address).collect(),
            diameter: self.diameter.first().and_then(address),
            admin: self.http.admin.as_ref().and_then(address),
            management: self.http.management.as_ref().and_then(address),
            csc4: self.http.csc4.as_ref().and_then(address),
            csc17: self.http.csc17.as_ref().and_then(address),
        }
    }

    /// Gives each worker its sockets; the first one also serves HTTP.
    fn divide(self, handed_over: Vec<mpsc::Receiver<Datagram>>) -> Vec<WorkerSockets> {
        let mut sip: Vec<_> = self
            .sip
            .into_iter()
            .map(|sockets| (sockets.address, sockets.udp.into_iter(), sockets.tcp.into_iter()))
            .collect();
        let mut diameter = self.diameter.into_iter();
        let mut http = self.http;
        let mut workers = Vec::new();
        for handed_over in handed_over {
            let own = sip.iter_mut();
            let own =
                own.filter_map(|(address, udp, tcp)| Some((*address, udp.next()?, tcp.next()?)));
            workers.push(WorkerSockets {
                sip: own.collect(),
                diameter: diameter.next(),
                http: std::mem::take(&mut http),
                handed_over,
            });
        }
        workers
    }
}

impl HttpSockets {
    fn bind(config: &Config) -> Result<Self, StartError> {
        let bind = |address: Option<SocketAddr>, what| {
            let failed = |address| move |error| StartError::Bind { what, address, error };
            address.map(|address| http::bind(address).map_err(failed(address))).transpose()
        };
        let csc = |address: SocketAddr| config.roles.config_server.then_some(address);
        Ok(Self {
            admin: bind(config.admin, "admin")?,
            management: bind(config.management, "management")?,
            csc4: bind(csc(config.config_server.listen), "CSC-4")?,
            csc17: bind(csc(config.config_server.listen_partners), "CSC-17")?,
        })
    }
}

/// Runs one worker until the system stops.
async fn run_worker(
    shared: Arc<Shared>,
    index: usize,
    sockets: WorkerSockets,
    stop: watch::Receiver<bool>,
) {
    let Some(worker) = shared.workers.get(index).map(Arc::clone) else { return };
    let open = OpenConnections::default();
    let mut tasks = JoinSet::new();
    let mut servers = JoinSet::new();
    if let Err(error) = spawn_all(&shared, &worker, sockets, &open, &mut tasks, &mut servers) {
        tracing::error!(system = %shared.config.system.name, %error, "a worker cannot use its sockets");
    }
    if index == 0 {
        tasks.spawn(mend_storage(Arc::clone(&shared)));
    }
    let workers = shared.workers.len().max(1);
    for (number, (peer, address)) in shared.peers.to_connect().enumerate() {
        if number % workers == index {
            let (shared, worker) = (Arc::clone(&shared), Arc::clone(&worker));
            tasks.spawn(diameter::keep_connected(
                shared,
                worker,
                Arc::clone(peer),
                address,
                open.clone(),
            ));
        }
    }
    worker::stopped(stop).await;
    // First nobody new is let in, then those who are in take leave.
    tasks.shutdown().await;
    open.join().await;
    while servers.join_next().await.is_some() {}
}

fn spawn_all(
    shared: &Arc<Shared>,
    worker: &Arc<Worker>,
    sockets: WorkerSockets,
    open: &OpenConnections,
    tasks: &mut JoinSet<()>,
    servers: &mut JoinSet<()>,
) -> io::Result<()> {
    let mut own_sockets = Vec::new();
    for (address, udp, tcp) in sockets.sip {
        let udp = Arc::new(UdpSocket::from_std(udp)?);
        own_sockets.push((address, Arc::clone(&udp)));
        tasks.spawn(udp::receive(Caller::new(shared, worker), udp, address));
        let listener = TcpListener::from_std(tcp)?;
        tasks.spawn(tcp::accept(Arc::clone(shared), Arc::clone(worker), listener, address));
    }
    // Set once, here: a worker is run by one thread.
    let _ = worker.sockets.set(own_sockets);
    tasks.spawn(worker::send_unsent(Arc::clone(worker), Arc::clone(shared)));
    tasks.spawn(worker::handle_handed_over(Caller::new(shared, worker), sockets.handed_over));
    tasks.spawn(worker::run_timers(Caller::new(shared, worker)));
    if let Some(listener) = sockets.diameter {
        let listener = TcpListener::from_std(listener)?;
        tasks.spawn(diameter::accept(
            Arc::clone(shared),
            Arc::clone(worker),
            listener,
            open.clone(),
        ));
    }
    for (name, listener, router) in [
        ("admin", sockets.http.admin, admin::router(Arc::clone(shared))),
        ("management", sockets.http.management, management::router(Arc::clone(shared))),
        ("csc-4", sockets.http.csc4, csc4::router(Arc::clone(shared))),
        ("csc-17", sockets.http.csc17, csc17::router(Arc::clone(shared))),
    ] {
        if let Some(listener) = listener {
            let serving = http::serve(Arc::clone(shared), name, listener, router);
            let system = shared.config.system.name.clone();
            servers.spawn(async move {
                if let Err(error) = serving.await {
                    tracing::error!(system, %error, "an HTTP server ended");
                }
            });
        }
    }
    Ok(())
}

/// Opens the storage again after each failure, with growing pauses.
async fn mend_storage(shared: Arc<Shared>) {
    let (shortest, longest) = REOPEN_DELAY;
    loop {
        shared.storage_failed.notified().await;
        let mut delay = shortest;
        while !shared.committer.is_available() {
            tokio::time::sleep(delay).await;
            match shared.reload() {
                Ok(()) => {
                    tracing::info!(system = %shared.config.system.name, "storage is available again");
                }
                Err(error) => {
                    tracing::error!(system = %shared.config.system.name, %error, "storage is not available yet");
                }
            }
            delay = (delay * 2).min(longest);
        }
    }
}
