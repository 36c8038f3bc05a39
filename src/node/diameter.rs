//! The Diameter peers of a system and the way to each: at most one connection that carries requests.
//!
//! [`connection`] runs one connection. Requests and answers reach its task through a bounded mailbox.

mod connection;
mod counters;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustls::pki_types::ServerName;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc},
};

use self::connection::{Origination, Wire};
use super::{
    config::{self, DiameterPeer, Part, PeerKind},
    metrics,
    perform::{Caller, Shared},
    tls::{self, Bound, Clients, Handshake, Stream},
    worker::{Worker, stopped},
};
use crate::{
    diameter::{
        base::DisconnectCause,
        context::RequestContext,
        cx,
        cx_codec::Destination,
        election::{is_won, reconnect_delay},
        local::{DiameterIdentity, InvalidDiameterIdentity, LocalNode, Origin},
        peer::{AllowedPeers, Config, Timing},
    },
    entropy::Entropy,
    identity::SipDatabaseId,
    outbox::{CxDestination, RequestId, Undeliverable},
    step::Step,
    time::Timestamp,
};

/// Most messages that wait to be taken by the task of one connection; a request more fails, an
/// answer more is dropped.
pub(super) const MAILBOX_MESSAGES_MAX: usize = 65_536;

/// How long connecting may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// The configured peers, and the connections to them.
pub(super) struct Peers {
    config: Config,
    by_host: BTreeMap<SipDatabaseId, Arc<Peer>>,
    own_database: Option<SipDatabaseId>,
}

/// One configured peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) config: DiameterPeer,
    destination: Destination,
    link: Mutex<Option<Link>>,
    /// Wakes the task that connects out.
    link_down: Notify,
}

/// The connection that carries the requests to a peer.
#[derive(Clone, Debug)]
pub(super) struct Link {
    mailbox: mpsc::Sender<Outgoing>,
    origination: Origination,
}

/// What the task of a connection is to send.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// A request of a role.
    Request { step: Option<Step>, id: RequestId, request: cx::Request },
    /// The answer to a request that came by this connection.
    Answer { step: Option<Step>, context: RequestContext, answer: cx::Answer },
    /// That a request by this connection gets no answer of a role: our own trouble (3004).
    Busy { context: RequestContext },
    /// The end of the connection.
    Disconnect(DisconnectCause),
}

/// A request from a peer that waits for its answer.
#[derive(Debug)]
pub(super) struct WireRequest {
    context: RequestContext,
    mailbox: mpsc::Sender<Outgoing>,
}

impl WireRequest {
    /// Sends the answer by the connection that the request came by, if that is still there.
    pub(super) fn answer(self, shared: &Shared, step: Option<Step>, answer: cx::Answer) {
        let Self { context, mailbox } = self;
        if mailbox.try_send(Outgoing::Answer { step, context, answer }).is_err() {
            shared.metrics.drop_one("diameter_connection_gone");
        }
    }

    /// Tells the peer that its request was lost with a failed commit: it may try again.
    pub(super) fn refuse_as_busy(self, shared: &Shared) {
        let Self { context, mailbox } = self;
        if mailbox.try_send(Outgoing::Busy { context }).is_err() {
            shared.metrics.drop_one("diameter_connection_gone");
        }
    }
}

impl Peers {
    /// Takes the peers of a configuration.
    ///
    /// # Errors
    ///
    /// [`InvalidDiameterIdentity`] for a name that is no FQDN.
    pub(super) fn new(
        config: &config::Diameter,
        now: Timestamp,
        entropy: &mut dyn Entropy,
    ) -> Result<Self, InvalidDiameterIdentity> {
        let origin =
            Origin { host: config.identity.as_str().parse()?, realm: config.realm.parse()? };
        let local = LocalNode::new(origin, vec![host_address(config)], now, entropy);
        let mut by_host = BTreeMap::new();
        let mut hosts = BTreeSet::new();
        let mut own_database = None;
        for peer in &config.peers {
            let host: DiameterIdentity = peer.host.as_str().parse()?;
            let destination = Destination { realm: peer.realm.parse()?, host: Some(host.clone()) };
            if peer.kind == PeerKind::OwnDatabase {
                own_database = Some(peer.host.clone());
            }
            hosts.insert(host);
            by_host.insert(peer.host.clone(), Arc::new(Peer::new(peer.clone(), destination)));
        }
        let timing = Timing { watchdog: config.watchdog, ..Timing::default() };
        let allowed = AllowedPeers::AnyOf(Arc::new(hosts));
        Ok(Self {
            config: Config { local: Arc::new(local), allowed, timing },
            by_host,
            own_database,
        })
    }

    /// Sends a request of a role.
    ///
    /// # Errors
    ///
    /// [`Undeliverable`] if there is no connection, or it takes no more.
    pub(super) fn request(
        &self,
        shared: &Shared,
        step: Option<Step>,
        to: &CxDestination,
        id: RequestId,
        request: cx::Request,
    ) -> Result<(), Undeliverable> {
        let host = match to {
            CxDestination::OwnDatabase => self.own_database.as_ref(),
            CxDestination::Database(host) => Some(host),
        };
        let peer = host.and_then(|host| self.by_host.get(host)).ok_or(Undeliverable)?;
        let link = peer.link();
        let mailbox = &link.as_ref().ok_or(Undeliverable)?.mailbox;
        mailbox.try_send(Outgoing::Request { step, id, request }).map_err(|_| {
            shared.metrics.drop_one("diameter_mailbox_full");
            Undeliverable
        })
    }

    /// Whether the SIP database of this system is another process, and connected.
    pub(super) fn own_database_is_open(&self) -> bool {
        let peer = self.own_database.as_ref().and_then(|host| self.by_host.get(host));
        peer.is_some_and(|peer| peer.link().is_some())
    }

    /// The peers without a connection.
    pub(super) fn unconnected(&self) -> Vec<String> {
        let unconnected = self.by_host.values().filter(|peer| peer.link().is_none());
        unconnected.map(|peer| peer.config.host.to_string()).collect()
    }

    fn find(&self, host: &DiameterIdentity) -> Option<&Arc<Peer>> {
        self.by_host.get(host.as_str())
    }

    /// What a connection to `peer` alone is made with.
    fn config_for(&self, peer: &Peer) -> Config {
        let allowed = match &peer.destination.host {
            Some(host) => AllowedPeers::Only(host.clone()),
            None => self.config.allowed.clone(),
        };
        Config { allowed, ..self.config.clone() }
    }

    /// The peers to connect to.
    pub(super) fn to_connect(&self) -> impl Iterator<Item = (&Arc<Peer>, SocketAddr)> {
        self.by_host.values().filter_map(|peer| Some((peer, peer.config.address?)))
    }
}

impl Peer {
    fn new(config: DiameterPeer, destination: Destination) -> Self {
        Self { config, destination, link: Mutex::new(None), link_down: Notify::new() }
    }

    fn link(&self) -> MutexGuard<'_, Option<Link>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `link` the one that carries requests, unless another one does that is to stay.
    ///
    /// Of one that we opened and one that the peer opened the election decides. Of two of the same
    /// origin the newer stays: the peer has restarted and does not know the older any more.
    fn take_link(&self, local: &DiameterIdentity, link: Link) -> bool {
        let mut current = self.link();
        if let Some(other) = current.as_ref()
            && other.origination != link.origination
        {
            let accepted_stays =
                self.destination.host.as_ref().is_some_and(|remote| is_won(local, remote));
            let stays = if accepted_stays { Origination::Accepted } else { Origination::Initiated };
            if link.origination != stays {
                return false;
            }
        }
        if let Some(other) = current.replace(link) {
            // A full mailbox means that nobody reads it: the watchdog ends that connection.
            let _ =
                other.mailbox.try_send(Outgoing::Disconnect(DisconnectCause::DoNotWantToTalkToYou));
        }
        true
    }

    /// Forgets a connection that is over.
    fn drop_link(&self, mailbox: &mpsc::Sender<Outgoing>) -> bool {
        let mut current = self.link();
        let is_current = current.as_ref().is_some_and(|link| link.mailbox.same_channel(mailbox));
        if is_current {
            *current = None;
            self.link_down.notify_one();
        }
        is_current
    }

    /// The label of this peer in metrics.
    fn label(&self) -> metrics::PeerName {
        match self.config.kind {
            PeerKind::Core | PeerKind::OwnDatabase => metrics::PeerName(None),
            PeerKind::Database => metrics::PeerName(Some(self.config.host.clone())),
        }
    }
}

/// The address to advertise: where we listen; if that is any, where packets to a peer leave from.
fn host_address(config: &config::Diameter) -> IpAddr {
    let loopback = IpAddr::from([127, 0, 0, 1]);
    let listen = config.listen.map_or(loopback, |listen| listen.ip());
    if !listen.is_unspecified() {
        return listen;
    }
    let towards = config.peers.iter().find_map(|peer| peer.address);
    let source = towards.and_then(|peer| {
        // Connecting a datagram socket sends nothing: it looks the route up.
        let socket = std::net::UdpSocket::bind(SocketAddr::new(listen, 0)).ok()?;
        socket.connect(peer).ok()?;
        socket.local_addr().ok()
    });
    source.map_or(loopback, |source| source.ip())
}

/// Accepts connections of peers until the task is dropped.
pub(super) async fn accept(
    shared: Arc<Shared>,
    worker: Arc<Worker>,
    listener: TcpListener,
    open: OpenConnections,
) {
    loop {
        let Ok((stream, remote)) = listener.accept().await else {
            shared.metrics.drop_one("tcp_accept_error");
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        // Before CER nobody is known: the limit leaves room for every peer twice.
        if open.count() > 2 * shared.peers.by_host.len() + UNKNOWN_CONNECTIONS_MAX {
            shared.metrics.drop_one("diameter_connections_full");
            continue;
        }
        let caller = Caller::new(&shared, &worker);
        let shared = Arc::clone(&shared);
        open.spawn(async move {
            // Without it answers wait for the peer's acknowledgments; it is no condition for working.
            let _ = stream.set_nodelay(true);
            let tls = shared.tls_of(Part::Diameter, Clients::Systems);
            let shaken = tokio::select! {
                shaken = tls::accept(tls, stream) => shaken,
                () = stopped(shared.stop.subscribe()) => return,
            };
            match shaken {
                Ok(Handshake { stream, bound }) => {
                    let config = shared.config_for_client(bound.as_ref());
                    Wire::accept(caller, (stream, remote), bound, config).run().await;
                }
                Err(reason) => shared.report_handshake("diameter", remote, &reason),
            }
        });
    }
}

/// Most connections beyond twice the number of configured peers, those before CER included.
const UNKNOWN_CONNECTIONS_MAX: usize = 64;

/// Keeps a connection to a peer until the task is dropped.
pub(super) async fn keep_connected(
    shared: Arc<Shared>,
    worker: Arc<Worker>,
    peer: Arc<Peer>,
    address: SocketAddr,
    open: OpenConnections,
) {
    let mut entropy = super::SystemEntropy::new();
    let mut failed_attempts = 0;
    loop {
        while peer.link().is_some() {
            peer.link_down.notified().await;
        }
        let connecting = tokio::time::timeout(CONNECT_TIME_MAX, TcpStream::connect(address)).await;
        if let Ok(Ok(stream)) = connecting
            && let Some(Handshake { stream, bound }) = shake(&shared, &peer, stream).await
        {
            let caller = Caller::new(&shared, &worker);
            let config = shared.peers.config_for(&peer);
            let wire = Wire::initiate(caller, (stream, address), bound, config);
            let (done, was_up) = tokio::sync::oneshot::channel();
            open.spawn(async move {
                // An error means that the system stops and nobody connects again.
                let _ = done.send(wire.run().await);
            });
            if was_up.await.unwrap_or(false) {
                failed_attempts = 0;
            }
        } else {
            tracing::debug!(system = %shared.config.system.name, peer = %peer.config.host, %address, "cannot connect");
        }
        failed_attempts += 1;
        tokio::time::sleep(reconnect_delay(failed_attempts, &mut entropy)).await;
    }
}

/// Begins TLS with a peer, if Diameter is spoken over it; `None`, and that is told, if one of the sides refuses.
async fn shake(shared: &Shared, peer: &Peer, stream: TcpStream) -> Option<Handshake> {
    let _ = stream.set_nodelay(true);
    let tls = shared.tls.as_ref().filter(|_| shared.config.speaks_tls(Part::Diameter));
    let Some(tls) = tls else {
        return Some(Handshake { stream: Stream::Plain(stream), bound: None });
    };
    let remote = stream.peer_addr().ok()?;
    let host = &peer.config.host;
    let shaken = match shared.config.system_of(host) {
        Some(system) => {
            let name = ServerName::try_from(host.as_str().to_owned()).map_err(io::Error::other);
            let trust = tls.diameter_client_of(&system);
            async { tls::connect(trust.config(), name?, stream).await }.await
        }
        None => Err(io::Error::other("its system is not known")),
    };
    shaken.map_err(|error| shared.report_handshake("diameter", remote, &tls::reason(&error))).ok()
}

impl Shared {
    /// What a connection of a client is made with. By its certificate it is a host of its own system whose name is in
    /// the certificate (RFC 6733 clause 13.1), and no other. Without TLS it may be any configured one.
    fn config_for_client(&self, bound: Option<&Bound>) -> Config {
        let Peers { config, by_host, .. } = &self.peers;
        let Some(Bound { system, hosts }) = bound else { return config.clone() };
        let is_its = |host: &SipDatabaseId| {
            hosts.iter().any(|name| name == host.as_str())
                && self.config.system_of(host).as_ref() == Some(system)
        };
        let its = by_host.values().filter(|peer| is_its(&peer.config.host));
        let its = its.filter_map(|peer| peer.destination.host.clone()).collect();
        Config { allowed: AllowedPeers::OfCertificate(Arc::new(its)), ..config.clone() }
    }
}

/// The tasks of connections of one worker: they outlive the tasks that open them, so that each
/// can take leave of its peer.
#[derive(Clone, Default)]
pub(super) struct OpenConnections(Arc<Mutex<tokio::task::JoinSet<()>>>);

impl OpenConnections {
    pub(super) fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let mut open = self.lock();
        while open.try_join_next().is_some() {}
        open.spawn(connection);
    }

    fn count(&self) -> usize {
        let mut open = self.lock();
        while open.try_join_next().is_some() {}
        open.len()
    }

    /// Waits until all connections are over.
    pub(super) async fn join(self) {
        let mut open = std::mem::take(&mut *self.lock());
        while open.join_next().await.is_some() {}
    }

    fn lock(&self) -> MutexGuard<'_, tokio::task::JoinSet<()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
