//! SIP requests of our own, to application servers: over UDP from a socket of the SIP core, over TCP and TLS on one
//! connection to each server, which is opened when it is needed.
//!
//! A connection that cannot be had loses what waited for it; the transaction of a request learns that by its timer.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use rustls::pki_types::ServerName;
use tokio::{
    net::{TcpSocket, TcpStream},
    runtime::Handle,
};

use super::{
    perform::{Caller, Shared},
    tcp::Connection,
    tls::{self, Stream},
    worker::{Worker, stopped},
};
use crate::{
    outbox::{Flow, SipTarget, Transport},
    token::claims::VerifyAccess,
};

/// How long connecting to a server may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// Sends a request.
pub(super) fn send(shared: &Arc<Shared>, worker: &Arc<Worker>, to: SipTarget, octets: &Bytes) {
    match to.transport {
        Transport::Udp => {
            let Some(local) = shared.core_address(worker, to.address) else {
                return shared.metrics.drop_one("no_such_socket");
            };
            let flow = Flow { transport: to.transport, local, remote: to.address, connection: 0 };
            shared.observe_sip_request(&flow, octets);
            worker.send_datagram(&shared.metrics, &flow, octets);
        }
        Transport::Tcp | Transport::Tls => send_on_connection(shared, worker, to, octets),
    }
}

fn send_on_connection(shared: &Arc<Shared>, worker: &Arc<Worker>, to: SipTarget, octets: &Bytes) {
    // Without one the system is not running yet, or not any more.
    let Ok(runtime) = Handle::try_current() else { return };
    let unspecified = SocketAddr::from(([0; 4], 0));
    let (transport, remote) = (to.transport, to.address);
    let flow = move |connection| Flow { transport, local: unspecified, remote, connection };
    let number = match shared.connections.to_server(to) {
        Ok(number) => number,
        Err(Some((number, mailbox))) => {
            let (connecting, worker) = (Arc::clone(shared), Arc::clone(worker));
            runtime.spawn(async move {
                let shared = connecting;
                shared.metrics.tcp_connections.inc();
                let opened = tokio::select! {
                    opened = connect(&shared, to) => Some(opened),
                    () = stopped(shared.stop.subscribe()) => None,
                };
                match opened {
                    Some(Ok(stream)) => {
                        let caller = Caller::new(&shared, &worker);
                        let connection =
                            Connection::to_server(caller, stream, flow(number), mailbox);
                        if let Err(reason) = connection.run().await {
                            shared.metrics.drop_one(reason);
                        }
                    }
                    Some(Err(error)) => {
                        let (system, reason) = (&*shared.config.system.name, tls::reason(&error));
                        tracing::debug!(system, server = %remote, reason, "cannot connect");
                        shared.metrics.drop_one("application_server_unreachable");
                    }
                    None => {}
                }
                shared.connections.leave_server(to, number);
                shared.metrics.tcp_connections.dec();
            });
            number
        }
        Err(None) => return shared.metrics.drop_one("tcp_connections_full"),
    };
    shared.observe_sip_request(&flow(number), octets);
    shared.connections.send(&shared.metrics, number, octets);
}

/// Connects to a server; over TLS to one of this MC system.
async fn connect(shared: &Shared, to: SipTarget) -> io::Result<Stream> {
    let connecting = connect_from(shared.source_address(to.address), to.address);
    let connected = tokio::time::timeout(CONNECT_TIME_MAX, connecting).await;
    let stream = connected.map_err(|_| io::ErrorKind::TimedOut)??;
    // Without it requests wait for the server's acknowledgments; it is no condition for working.
    let _ = stream.set_nodelay(true);
    let Some(tls) = shared.tls.as_ref().filter(|_| to.transport == Transport::Tls) else {
        return Ok(Stream::Plain(stream));
    };
    let trust = tls.client_of(&shared.config.config_server.id);
    let name = ServerName::from(to.address.ip());
    Ok(tls::connect(trust.config(), name, stream).await?.stream)
}

/// Connects from an address of ours, if one is named: a server knows a SIP core by that.
async fn connect_from(source: Option<SocketAddr>, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source {
        socket.bind(source)?;
    }
    socket.connect(to).await
}

impl Shared {
    /// Any port of the address at which the SIP core listens, if that is one of the kind of `remote`.
    fn source_address(&self, remote: SocketAddr) -> Option<SocketAddr> {
        let sip = &self.config.sip;
        let mut addresses = sip.listen.iter().chain(&sip.listen_tls).map(SocketAddr::ip);
        let is_one = |ip: &IpAddr| ip.is_ipv4() == remote.is_ipv4() && !ip.is_unspecified();
        addresses.find(is_one).map(|ip| SocketAddr::new(ip, 0))
    }

    /// Whether a SIP message that came on `flow` is for the MC server.
    pub(super) fn is_for_mc_server(&self, flow: &Flow) -> bool {
        self.mc_address.get().is_some_and(|address| *address == flow.local)
    }

    /// Who tells the MC server which access tokens are to be believed.
    pub(super) fn tokens(&self) -> Option<&dyn VerifyAccess> {
        match (&self.roles.idms, &self.issuer) {
            (Some(idms), _) => Some(idms),
            (None, Some(issuer)) => Some(issuer),
            (None, None) => None,
        }
    }

    /// A socket of the SIP core from which `remote` may be reached.
    fn core_address(&self, worker: &Worker, remote: SocketAddr) -> Option<SocketAddr> {
        let sockets = worker.sockets.get().map(Vec::as_slice).unwrap_or_default();
        let mut addresses = sockets.iter().map(|(address, _)| *address);
        addresses.find(|address| {
            address.is_ipv4() == remote.is_ipv4() && self.mc_address.get() != Some(address)
        })
    }
}
