//! Sockets that several workers share, each with its own descriptor (`SO_REUSEPORT`).
//!
//! The first one of an address is bound alone, so that an address in use is an error, and only then
//! shared: with `SO_REUSEPORT` from the start two processes would silently divide the traffic.

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
};

use socket2::{Domain, Protocol, Socket, Type};

/// Send buffer of a UDP socket, octets; the kernel may grant less.
const SEND_BUFFER_OCTETS: usize = 8 << 20;

/// Connections that the kernel keeps for one listener until they are accepted.
const LISTEN_BACKLOG: i32 = 1_024;

/// How often another port is tried when the kernel's choice for UDP is taken for TCP.
const PORT_ATTEMPTS: usize = 32;

/// The sockets of one SIP address: UDP and TCP at the same port, one of each for each worker.
pub(super) struct SipSockets {
    pub(super) address: SocketAddr,
    pub(super) udp: Vec<UdpSocket>,
    pub(super) tcp: Vec<TcpListener>,
}

impl SipSockets {
    /// Binds `address`; port 0 is replaced by a free one. `receive_buffer` is for each UDP socket, octets; the
    /// kernel may grant less.
    pub(super) fn bind(
        address: SocketAddr,
        workers: usize,
        receive_buffer: usize,
    ) -> io::Result<Self> {
        let mut attempts = 0;
        loop {
            let udp = bind_udp(address, workers, receive_buffer)?;
            let bound = first_address(udp.iter().map(UdpSocket::local_addr))?;
            match bind_tcp(bound, workers) {
                Ok(tcp) => return Ok(Self { address: bound, udp, tcp }),
                Err(error) if address.port() != 0 || attempts == PORT_ATTEMPTS => {
                    return Err(error);
                }
                Err(_) => attempts += 1,
            }
        }
    }
}

/// Binds a listener for each worker; port 0 is replaced by a free one.
pub(super) fn bind_tcp(address: SocketAddr, workers: usize) -> io::Result<Vec<TcpListener>> {
    let sockets = bind(address, workers, Type::STREAM, Protocol::TCP)?;
    sockets
        .into_iter()
        .map(|socket| socket.listen(LISTEN_BACKLOG).map(|()| socket.into()))
        .collect()
}

fn bind_udp(
    address: SocketAddr,
    workers: usize,
    receive_buffer: usize,
) -> io::Result<Vec<UdpSocket>> {
    let sockets = bind(address, workers, Type::DGRAM, Protocol::UDP)?;
    for socket in &sockets {
        socket.set_recv_buffer_size(receive_buffer)?;
        socket.set_send_buffer_size(SEND_BUFFER_OCTETS)?;
    }
    Ok(sockets.into_iter().map(Into::into).collect())
}

fn bind(
    address: SocketAddr,
    workers: usize,
    kind: Type,
    protocol: Protocol,
) -> io::Result<Vec<Socket>> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
        socket.set_nonblocking(true)?;
        if kind == Type::STREAM {
            socket.set_reuse_address(true)?;
        }
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        Ok::<_, io::Error>(socket)
    };
    let first = open()?;
    first.bind(&address.into())?;
    first.set_reuse_port(true)?;
    let bound = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..workers {
        let next = open()?;
        next.set_reuse_port(true)?;
        next.bind(&bound)?;
        sockets.push(next);
    }
    Ok(sockets)
}

/// The address of the first socket of several that share it.
pub(super) fn first_address(
    mut addresses: impl Iterator<Item = io::Result<SocketAddr>>,
) -> io::Result<SocketAddr> {
    addresses.next().unwrap_or_else(|| Err(io::ErrorKind::InvalidInput.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_one_free_port_for_udp_and_tcp_which_nobody_else_gets() {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let sockets = SipSockets::bind(free, 3, 1 << 20).unwrap();
        assert_ne!(sockets.address.port(), 0);
        assert!(sockets.udp.iter().all(|udp| udp.local_addr().unwrap() == sockets.address));
        assert!(sockets.tcp.iter().all(|tcp| tcp.local_addr().unwrap() == sockets.address));
        assert_eq!((sockets.udp.len(), sockets.tcp.len()), (3, 3));

        let taken = SipSockets::bind(sockets.address, 1, 1 << 20).err().unwrap();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        drop(sockets.udp);
        let taken = SipSockets::bind(sockets.address, 1, 1 << 20).err().unwrap();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse, "TCP alone");
    }
}
