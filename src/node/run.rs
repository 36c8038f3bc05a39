//! What the threads of a system run: metrics and health, and the workers.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, UdpSocket},
    sync::oneshot,
    task::JoinSet,
};

use super::{
    acm, admin,
    config::Part,
    csc4, csc17,
    diameter::{self, OpenConnections},
    http::{self, Server},
    idms, management,
    perform::{Caller, Shared},
    sockets::WorkerSockets,
    tcp,
    tls::Clients,
    udp,
    worker::{self, Worker},
};
use crate::outbox::Transport;

/// Shortest and longest wait before the storage is opened again after a failure.
const REOPEN_DELAY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// How long SIP peers may take to read their last answers when the system stops.
const WRITE_TIME_MAX: Duration = Duration::from_secs(2);

/// The connections of one worker.
#[derive(Default)]
struct Open {
    diameter: OpenConnections,
    tcp: OpenConnections,
}

/// Serves metrics and health until the system stops: while records are loaded too, and however busy the
/// workers are.
pub(super) async fn serve_admin(shared: Arc<Shared>, listener: std::net::TcpListener) {
    let router = admin::router(Arc::clone(&shared));
    let server = Server { name: "admin", part: Part::Admin, clients: Clients::Anybody };
    if let Err(error) = http::serve(Arc::clone(&shared), server, listener, router).await {
        tracing::error!(system = %shared.config.system.name, %error, "an HTTP server ended");
    }
}

/// Runs one worker until the system stops.
pub(super) async fn run_worker(shared: Arc<Shared>, index: usize, sockets: WorkerSockets) {
    let Some(worker) = shared.workers.get(index).map(Arc::clone) else { return };
    let open = Open::default();
    let mut tasks = JoinSet::new();
    let mut servers = JoinSet::new();
    let (no_more, ends) = oneshot::channel();
    let taking_back = tokio::spawn(worker::take_back(Caller::new(&shared, &worker), ends));
    if let Err(error) = spawn_all(&shared, &worker, sockets, &open, &mut tasks, &mut servers) {
        tracing::error!(system = %shared.config.system.name, %error, "a worker cannot use its sockets");
        shared.fail();
    }
    if index == 0 {
        tasks.spawn(mend_storage(Arc::clone(&shared)));
        if shared.has_files() {
            tasks.spawn(Arc::clone(&shared).keep_files());
        }
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
                open.diameter.clone(),
            ));
        }
    }
    worker::stopped(shared.stop.subscribe()).await;
    // First nobody new is let in, then those who are in take leave, with the answers that wait for commits.
    tasks.shutdown().await;
    open.diameter.join().await;
    let _ = tokio::time::timeout(WRITE_TIME_MAX, open.tcp.join()).await;
    while servers.join_next().await.is_some() {}
    shared.settle().await;
    drop(no_more);
    if taking_back.await.is_err() {
        tracing::error!(system = %shared.config.system.name, "a task of a worker panicked");
    }
}

fn spawn_all(
    shared: &Arc<Shared>,
    worker: &Arc<Worker>,
    sockets: WorkerSockets,
    open: &Open,
    tasks: &mut JoinSet<()>,
    servers: &mut JoinSet<()>,
) -> io::Result<()> {
    let mut own_sockets = Vec::new();
    for (address, udp, tcp) in sockets.sip {
        let udp = Arc::new(UdpSocket::from_std(udp)?);
        own_sockets.push((address, Arc::clone(&udp)));
        tasks.spawn(udp::receive(Caller::new(shared, worker), udp, address));
        let listener = TcpListener::from_std(tcp)?;
        let (shared, worker, open) = (Arc::clone(shared), Arc::clone(worker), open.tcp.clone());
        tasks.spawn(tcp::accept(shared, worker, listener, (Transport::Tcp, address), open));
    }
    for (address, listener) in sockets.sip_tls {
        let listener = TcpListener::from_std(listener)?;
        let (shared, worker, open) = (Arc::clone(shared), Arc::clone(worker), open.tcp.clone());
        tasks.spawn(tcp::accept(shared, worker, listener, (Transport::Tls, address), open));
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
            open.diameter.clone(),
        ));
    }
    let server = |name, part, clients| Server { name, part, clients };
    let (http, anybody, systems) = (sockets.http, Clients::Anybody, Clients::Systems);
    let shared = || Arc::clone(shared);
    for (server, listener, router) in [
        (
            server("management", Part::Management, anybody),
            http.management,
            management::router(shared()),
        ),
        (server("csc-4", Part::ConfigServer, anybody), http.csc4, csc4::router(shared())),
        (server("csc-17", Part::ConfigServer, systems), http.csc17, csc17::router(shared())),
        (server("acm-client", Part::Acm, anybody), http.acm_client, acm::client::router(shared())),
        (
            server("acm-partner", Part::Acm, systems),
            http.acm_partner,
            acm::partner::router(shared()),
        ),
        (server("idms", Part::Idms, anybody), http.idms, idms::router(shared())),
    ] {
        if let Some(listener) = listener {
            let serving = http::serve(shared(), server, listener, router);
            let system = shared().config.system.name.clone();
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
            let reloading = Arc::clone(&shared);
            // It reads all that is stored: this thread has others to serve meanwhile.
            match tokio::task::spawn_blocking(move || reloading.reload()).await {
                Ok(Ok(())) => {
                    tracing::info!(system = %shared.config.system.name, "storage is available again");
                }
                Ok(Err(error)) => {
                    tracing::error!(system = %shared.config.system.name, %error, "storage is not available yet");
                }
                Err(_panicked) => return shared.fail(),
            }
            delay = (delay * 2).min(longest);
        }
    }
}
