//! The sockets of a system.

use std::net::SocketAddr;

use tokio::sync::mpsc;

use super::{
    bind,
    config::{Config, Part},
    http,
    system::{Bound, StartError},
    worker::Datagram,
};

/// The sockets that the workers of a system serve.
pub(super) struct Sockets {
    /// Those of the SIP core, and behind them that of the MC server.
    sip: Vec<bind::SipSockets>,
    /// The same over TLS.
    sip_tls: Vec<(SocketAddr, Vec<std::net::TcpListener>)>,
    mc_server: Option<SocketAddr>,
    diameter: Vec<std::net::TcpListener>,
    http: HttpSockets,
}

/// The sockets of the HTTP servers that the workers serve.
#[derive(Default)]
pub(super) struct HttpSockets {
    pub(super) management: Option<std::net::TcpListener>,
    pub(super) csc4: Option<std::net::TcpListener>,
    pub(super) csc17: Option<std::net::TcpListener>,
    pub(super) acm_client: Option<std::net::TcpListener>,
    pub(super) acm_partner: Option<std::net::TcpListener>,
    pub(super) idms: Option<std::net::TcpListener>,
}

/// The sockets of one worker.
pub(super) struct WorkerSockets {
    pub(super) sip: Vec<(SocketAddr, std::net::UdpSocket, std::net::TcpListener)>,
    pub(super) sip_tls: Vec<(SocketAddr, std::net::TcpListener)>,
    pub(super) diameter: Option<std::net::TcpListener>,
    pub(super) http: HttpSockets,
    pub(super) handed_over: mpsc::Receiver<Datagram>,
}

impl Sockets {
    /// Binds all of them, but the one for metrics and health ([`bind_admin`]).
    ///
    /// # Errors
    ///
    /// [`StartError::Bind`].
    pub(super) fn bind(config: &Config, workers: usize) -> Result<Self, StartError> {
        let failed = |what, address| move |error| StartError::Bind { what, address, error };
        let used = |listen: &[SocketAddr]| {
            if config.roles.sip_core { listen.to_vec() } else { Vec::new() }
        };
        let (mut listen, mut listen_tls) = (used(&config.sip.listen), used(&config.sip.listen_tls));
        let is_tls = config.speaks_tls(Part::McServer);
        if config.roles.mc_server {
            let listen = if is_tls { &mut listen_tls } else { &mut listen };
            listen.push(config.mc_server.listen);
        }
        let mut sip = Vec::new();
        for address in listen {
            let sockets = bind::SipSockets::bind(address, workers, config.overload.receive_buffer);
            sip.push(sockets.map_err(failed("SIP", address))?);
        }
        let mut sip_tls = Vec::new();
        for address in listen_tls {
            let sockets =
                bind::bind_tcp(address, workers).map_err(failed("SIP over TLS", address))?;
            let bound = bind::first_address(sockets.iter().map(std::net::TcpListener::local_addr));
            sip_tls.push((bound.map_err(failed("SIP over TLS", address))?, sockets));
        }
        let diameter = match config.diameter.listen {
            Some(address) => {
                bind::bind_tcp(address, workers).map_err(failed("Diameter", address))?
            }
            None => Vec::new(),
        };
        let last = if is_tls {
            sip_tls.last().map(|(address, _)| *address)
        } else {
            sip.last().map(|sockets| sockets.address)
        };
        let mc_server = last.filter(|_| config.roles.mc_server);
        Ok(Self { sip, sip_tls, mc_server, diameter, http: HttpSockets::bind(config)? })
    }

    /// Where they listen; metrics and health at `admin`.
    pub(super) fn bound(&self, admin: Option<SocketAddr>) -> Bound {
        let address = |listener: &std::net::TcpListener| listener.local_addr().ok();
        Bound {
            sip: self.of_core(self.sip.iter().map(|sockets| sockets.address)),
            sip_tls: self.of_core(self.sip_tls.iter().map(|(address, _)| *address)),
            mc_server: self.mc_server,
            diameter: self.diameter.first().and_then(address),
            admin,
            management: self.http.management.as_ref().and_then(address),
            csc4: self.http.csc4.as_ref().and_then(address),
            csc17: self.http.csc17.as_ref().and_then(address),
            acm_client: self.http.acm_client.as_ref().and_then(address),
            acm_partner: self.http.acm_partner.as_ref().and_then(address),
            idms: self.http.idms.as_ref().and_then(address),
        }
    }

    fn of_core(&self, addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
        addresses.filter(|address| self.mc_server != Some(*address)).collect()
    }

    /// Gives each worker its sockets; the first one also serves HTTP.
    pub(super) fn divide(self, handed_over: Vec<mpsc::Receiver<Datagram>>) -> Vec<WorkerSockets> {
        let mut sip: Vec<_> = self
            .sip
            .into_iter()
            .map(|sockets| (sockets.address, sockets.udp.into_iter(), sockets.tcp.into_iter()))
            .collect();
        let sip_tls = self.sip_tls.into_iter();
        let mut sip_tls: Vec<_> = sip_tls.map(|(at, sockets)| (at, sockets.into_iter())).collect();
        let mut diameter = self.diameter.into_iter();
        let mut http = self.http;
        let mut workers = Vec::new();
        for handed_over in handed_over {
            let own = sip.iter_mut();
            let own =
                own.filter_map(|(address, udp, tcp)| Some((*address, udp.next()?, tcp.next()?)));
            workers.push(WorkerSockets {
                sip: own.collect(),
                sip_tls: sip_tls
                    .iter_mut()
                    .filter_map(|(address, sockets)| Some((*address, sockets.next()?)))
                    .collect(),
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
        let acm = |address: SocketAddr| config.roles.acm.then_some(address);
        Ok(Self {
            management: bind(config.management, "management")?,
            csc4: bind(csc(config.config_server.listen), "CSC-4")?,
            csc17: bind(csc(config.config_server.listen_partners), "CSC-17")?,
            acm_client: bind(acm(config.acm.client_listen), "ACM clients")?,
            acm_partner: bind(acm(config.acm.partner_listen), "ACM servers of partners")?,
            idms: bind(config.roles.idms.then_some(config.idms.listen), "identity management")?,
        })
    }
}

/// Binds the socket for metrics and health.
///
/// # Errors
///
/// [`StartError::Bind`].
pub(super) fn bind_admin(config: &Config) -> Result<Option<std::net::TcpListener>, StartError> {
    let failed = |address| move |error| StartError::Bind { what: "admin", address, error };
    config.admin.map(|address| http::bind(address).map_err(failed(address))).transpose()
}
