//! Somebody at the home's addresses in its place: counts what arrives.

use std::{
    io::{self, ErrorKind},
    net::{SocketAddr, TcpListener, UdpSocket},
    time::Duration,
};

use super::super::DemoError;

/// How often, and after how long, an address is tried again that somebody has for a moment: whoever looks for free ports.
const ATTEMPTS_MAX: usize = 50;
const AGAIN_AFTER: Duration = Duration::from_millis(20);

/// Longest datagram that is taken off a socket, octets.
const DATAGRAM_OCTETS: usize = 2_048;

/// Sockets at the addresses of a system that is stopped.
pub(super) struct Watch {
    listeners: Vec<TcpListener>,
    sockets: Vec<UdpSocket>,
}

impl Watch {
    /// Listens at each address, over TCP and UDP.
    pub(super) async fn open(addresses: &[SocketAddr]) -> Result<Self, DemoError> {
        let mut watch = Self { listeners: Vec::new(), sockets: Vec::new() };
        for address in addresses {
            let mut attempts = 0;
            while let Err(error) = watch.add(*address) {
                attempts += 1;
                if attempts == ATTEMPTS_MAX {
                    let why = format!("{address} of the home cannot be watched: {error}");
                    return Err(DemoError::Differs(why));
                }
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        }
        Ok(watch)
    }

    fn add(&mut self, address: SocketAddr) -> io::Result<()> {
        let (listener, socket) = (TcpListener::bind(address)?, UdpSocket::bind(address)?);
        listener.set_nonblocking(true)?;
        socket.set_nonblocking(true)?;
        self.listeners.push(listener);
        self.sockets.push(socket);
        Ok(())
    }

    /// How many connections and datagrams have arrived since the last count: the kernel takes both without us.
    pub(super) fn count(&mut self) -> Result<usize, DemoError> {
        let mut count = 0;
        for listener in &self.listeners {
            count += count_until_empty(|| listener.accept().map(drop))?;
        }
        for socket in &self.sockets {
            let mut datagram = [0; DATAGRAM_OCTETS];
            count += count_until_empty(|| socket.recv_from(&mut datagram).map(drop))?;
        }
        Ok(count)
    }
}

fn count_until_empty(mut take: impl FnMut() -> io::Result<()>) -> Result<usize, DemoError> {
    let mut count = 0;
    loop {
        match take() {
            Ok(()) => count += 1,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(count),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_arrives_at_a_watched_address_is_counted_once() {
        let address = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut watch = Watch::open(&[address]).await.unwrap();
        assert_eq!(watch.count().unwrap(), 0);
        let _connection = std::net::TcpStream::connect(address).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(b"REGISTER", address).unwrap();
        socket.send_to(b"REGISTER", address).unwrap();
        assert_eq!(watch.count().unwrap(), 3);
        assert_eq!(watch.count().unwrap(), 0);
    }
}
