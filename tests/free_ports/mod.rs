//! Ports for servers whose address must be known before they listen.
#![allow(dead_code, unreachable_pub, reason = "a part of several test binaries")]

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    sync::atomic::{AtomicU16, Ordering},
};

/// Where the ports lie: below those that Linux gives to whoever names none, so that no connection of another test
/// takes one meanwhile, and below those that a demonstration looks among.
const FIRST: u16 = 12_000;
const SPAN: u16 = 8_000;

/// The first of `count` consecutive ports that nobody uses now, over UDP and TCP, and that nothing else in this
/// process is given.
pub fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = u16::try_from(std::process::id().wrapping_mul(67) % u32::from(SPAN)).unwrap();
    loop {
        let offset = NEXT.fetch_add(count, Ordering::Relaxed);
        let first = FIRST + own.wrapping_add(offset) % (SPAN - count);
        if (first..first + count).all(is_free) {
            return first;
        }
    }
}

/// An address on the loopback interface with such a port.
pub fn free_address() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, free_ports(1)))
}

fn is_free(port: u16) -> bool {
    let address = (Ipv4Addr::LOCALHOST, port);
    TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
}
