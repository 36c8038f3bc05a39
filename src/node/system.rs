//! One running system: its roles, its threads, its sockets.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, OnceLock, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use indicatif::ProgressBar;
use tokio::{
    runtime,
    sync::{Notify, Semaphore, mpsc, oneshot, watch},
};

use super::{
    Clock, SystemEntropy,
    acm::{Events, Links, LongBodies},
    committer::Committer,
    config::Config,
    diameter::Peers,
    idms::PasswordChecks,
    issuer::{IssuerFile, IssuerFileError},
    ladder::Tap,
    loading::Loading,
    metrics::Metrics,
    names::Names,
    park::ParkedRequests,
    partners::Partners,
    perform::{NoteLimit, Shared},
    provision,
    role_config::{alias_config, config_server_config, core_config, database_config},
    roles::Roles,
    run,
    sockets::{self, Sockets},
    tcp::Connections,
    tls::{self, Tls, TlsError},
    worker::{self, Datagram, Worker},
};
use crate::{
    acm::AcmServer,
    alias_server::AliasServer,
    config_server::ConfigServer,
    idms::IdentityServer,
    mc_server::McServer,
    sip_core::SipCore,
    sip_database::SipDatabase,
    store::{Engine, MemoryEngine, ReplayError},
    table::new_table,
};

/// How long a system that is to stop waits for its engine: for the commits in hand, or for a reload.
const ENGINE_TIME_MAX: Duration = Duration::from_secs(10);

/// What a system is started with besides its configuration.
#[derive(Default)]
pub struct Options {
    /// Where each message is reported.
    pub tap: Option<Tap>,
    /// Where records are kept; `None` keeps them in memory, until the end of the process.
    pub engine: Option<Box<dyn Engine>>,
    /// How far the clock is ahead of the wall clock, to show what happens after a long pause.
    pub clock_ahead: Duration,
    /// Whether a terminal at standard error shows how far the records are loaded.
    pub shows_progress: bool,
}

/// Where a system listens.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Bound {
    /// SIP, over UDP and TCP.
    pub sip: Vec<SocketAddr>,
    /// SIP over TLS.
    pub sip_tls: Vec<SocketAddr>,
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
    /// ACM clients ask the ACM server.
    pub acm_client: Option<SocketAddr>,
    /// ACM servers of other systems ask it.
    pub acm_partner: Option<SocketAddr>,
    /// CSC-1: users log in at the identity management server, and clients ask it.
    pub idms: Option<SocketAddr>,
    /// SIP cores speak to the MC server: over UDP and TCP, or over TLS.
    pub mc_server: Option<SocketAddr>,
}

/// A system that runs until it is shut down.
pub struct RunningSystem {
    bound: Bound,
    shared: Arc<Shared>,
    /// The workers, and before them whoever serves metrics and health.
    workers: Vec<Thread>,
    committer: Option<Thread>,
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
    /// A file of certificates or keys is wrong.
    #[error("cannot use TLS: {0}")]
    Tls(#[from] TlsError),
    /// The file of certificates of an identity management server cannot be used.
    #[error(transparent)]
    Issuer(#[from] IssuerFileError),
    /// A thread or its runtime cannot be created.
    #[error("cannot start a worker thread: {0}")]
    Thread(io::Error),
}

impl RunningSystem {
    /// Starts the roles of `config`: returns when what is stored is loaded and all addresses are served.
    /// Metrics and health are served meanwhile.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing runs then.
    pub fn start(config: Config, options: Options) -> Result<Self, StartError> {
        tls::use_ring();
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let workers_count = config.workers.unwrap_or(cores);
        // An address in use is told before loading. They are bound for good after it: who connects is served.
        drop(Sockets::bind(&config, workers_count)?);
        let admin = sockets::bind_admin(&config)?;
        let (workers, handed_over) = (0..workers_count).map(Worker::new).unzip();
        let shared = Arc::new(create_shared(config, options, workers)?);
        let mut running =
            Self { bound: Bound::default(), shared, workers: Vec::new(), committer: None };
        match running.bring_up(admin, handed_over) {
            Ok(()) => Ok(running),
            Err(error) => {
                running.end_threads();
                Err(error)
            }
        }
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

    /// Looks at the files of certificates and keys again, without waiting for the next time that it does by itself.
    pub fn refresh_files(&self) {
        self.shared.refresh_files();
    }

    /// Returns when it has stopped by itself, which it does only after a fault of its own.
    pub async fn failed(&self) {
        worker::stopped(self.shared.stop.subscribe()).await;
        if !self.shared.failed.load(Ordering::Acquire) {
            std::future::pending::<()>().await;
        }
    }

    /// Stops it: no new requests, those under way answered once what they rely on is durable, leave taken
    /// of the Diameter peers, threads ended. Gives back the engine with what is stored, for the next start;
    /// `None` if the medium hangs: nobody who waits for that was told that anything is durable.
    pub async fn shutdown(mut self) -> Option<Box<dyn Engine>> {
        self.shared.stop.send_replace(true);
        for thread in &mut self.workers {
            // An error is a thread that has panicked; joining it shows that too.
            let _ = (&mut thread.ended).await;
        }
        self.shared.committer.end();
        let engine = tokio::time::timeout(ENGINE_TIME_MAX, self.take_engine()).await.ok().flatten();
        if engine.is_none() {
            tracing::error!(system = %self.shared.config.system.name, "the storage hangs: given up");
            // Not waited for: its thread ends when the medium lets it go.
            self.committer = None;
        }
        self.end_threads();
        tracing::info!(system = %self.shared.config.system.name, "system is down");
        engine
    }

    /// Takes the engine from the committer, whose thread is to end. A reload under way has it until it is
    /// over.
    async fn take_engine(&mut self) -> Option<Box<dyn Engine>> {
        if let Some(committer) = &mut self.committer {
            let _ = (&mut committer.ended).await;
        }
        let (give, given) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        // A thread of nobody's runtime, or the end of that would wait for it.
        let take = move || {
            let engine = shared.committer.take_engine();
            // With it the sockets, whose addresses the next start needs.
            drop(shared);
            drop(give.send(engine));
        };
        thread::Builder::new().name("engine".to_owned()).spawn(take).ok()?;
        given.await.ok()
    }

    fn bring_up(
        &mut self,
        admin: Option<std::net::TcpListener>,
        handed_over: Vec<mpsc::Receiver<Datagram>>,
    ) -> Result<(), StartError> {
        let admin_address = admin.as_ref().and_then(|listener| listener.local_addr().ok());
        if let Some(listener) = admin {
            let shared = Arc::clone(&self.shared);
            let serve = run::serve_admin(shared, listener);
            self.workers.push(Thread::with_runtime("admin".to_owned(), serve)?);
        }
        if self.shared.committer.waits() {
            let shared = Arc::clone(&self.shared);
            let body = move || shared.run_committer();
            self.committer = Some(Thread::start("committer".to_owned(), body)?);
        }
        self.shared.load()?;
        let sockets = Sockets::bind(&self.shared.config, self.shared.workers.len())?;
        self.bound = sockets.bound(admin_address);
        if let Some(address) = self.bound.mc_server {
            // Set once, here.
            let _ = self.shared.mc_address.set(address);
        }
        self.shared.warn_of_tls();
        self.shared.warn_of_tokens();
        for (index, parts) in sockets.divide(handed_over).into_iter().enumerate() {
            let worker = run::run_worker(Arc::clone(&self.shared), index, parts);
            self.workers.push(Thread::with_runtime(format!("worker-{index}"), worker)?);
        }
        Ok(())
    }

    /// Stops all threads and waits for them.
    fn end_threads(&mut self) {
        self.shared.stop.send_replace(true);
        for thread in self.workers.drain(..) {
            thread.join(&self.shared.config.system.name);
        }
        self.shared.committer.end();
        if let Some(committer) = self.committer.take() {
            committer.join(&self.shared.config.system.name);
        }
    }
}

impl Drop for RunningSystem {
    /// Tells the threads to stop; only [`RunningSystem::shutdown`] waits for them.
    fn drop(&mut self) {
        self.shared.stop.send_replace(true);
        self.shared.committer.end();
    }
}

/// One of the system's threads.
struct Thread {
    handle: thread::JoinHandle<()>,
    ended: oneshot::Receiver<()>,
}

impl Thread {
    fn start(name: String, body: impl FnOnce() + Send + 'static) -> Result<Self, StartError> {
        let (done, ended) = oneshot::channel();
        let body = move || {
            body();
            let _ = done.send(());
        };
        let handle = thread::Builder::new().name(name).spawn(body).map_err(StartError::Thread)?;
        Ok(Self { handle, ended })
    }

    /// Starts a thread that runs `future` on a runtime of its own.
    fn with_runtime(
        name: String,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Self, StartError> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(StartError::Thread)?;
        Self::start(name, move || {
            runtime.block_on(future);
            // Blocking look-ups are not waited for.
            runtime.shutdown_background();
        })
    }

    fn join(self, system: &str) {
        let name = self.handle.thread().name().unwrap_or_default().to_owned();
        if self.handle.join().is_err() {
            tracing::error!(system, thread = name, "a thread panicked");
        }
    }
}

/// What the threads of a system will share: it is neither loaded nor served yet.
pub(super) fn create_shared(
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
    let acm_server =
        config.roles.acm.then(|| AcmServer::new(config.acm.server.clone(), &mut entropy));
    let engine = options.engine.unwrap_or_else(|| Box::new(MemoryEngine::default()));
    let aliases = alias_config(&config).map(AliasServer::new);
    let idms =
        config.roles.idms.then(|| IdentityServer::new(config.idms.server.clone(), &mut entropy));
    let mc = &config.mc_server;
    let mc_server = config.roles.mc_server.then(|| McServer::new(mc.server.clone(), &mut entropy));
    let issuer =
        mc.issuer.as_ref().filter(|_| config.roles.mc_server).map(IssuerFile::load).transpose()?;
    let roles = Roles { core, database, config_server, acm: acm_server, aliases, idms, mc_server };
    let reader = engine.reader();
    let committer = Committer::new(engine, workers.len());
    let connections = Connections::new(new_table(&mut entropy), config.sip.tcp_connections_max);
    let peers = Peers::new(&config.diameter, clock.now(), &mut entropy)?;
    let own = &config.config_server.id;
    let tls =
        config.tls.as_ref().map(|files| Tls::load(files, own, clock)).transpose()?.map(Arc::new);
    let partners = Partners::new(&config.config_server, tls.as_ref());
    let acm_links = Links::new(&config.acm, tls.as_ref());
    let progress = if options.shows_progress {
        provision::progress_bar(0, "records")
    } else {
        ProgressBar::hidden()
    };
    Ok(Shared {
        names: Names::new(&config),
        clock,
        metrics: Metrics::new(),
        tap: options.tap,
        roles,
        sequencer: Arc::default(),
        committer,
        reader,
        loading: Loading::new(progress),
        gate: RwLock::new(()),
        apart: Mutex::new(()),
        storage_failed: Notify::new(),
        many: Arc::new(Semaphore::new(1)),
        parked: ParkedRequests::new(&mut entropy),
        connections,
        peers,
        tls,
        partners,
        acm_links,
        acm_events: Events::new(config.acm.server.sessions_max, clock.now()),
        acm_bodies: LongBodies::new(),
        passwords: PasswordChecks::new(config.idms.password_checks),
        issuer,
        mc_address: OnceLock::new(),
        workers,
        stop: watch::channel(false).0,
        failed: AtomicBool::new(false),
        note_limit: NoteLimit::default(),
        config,
    })
}
