//! The sockets of one thread: connected UDP sockets, or one connection over TCP or TLS that carries all its UEs.
//!
//! Nothing blocks but [`Link::wait`].

use std::{
    io::{self, ErrorKind},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, Type};

use super::{
    channel::{Channel, Secured, is_later},
    outgoing::Outgoing,
};
use crate::{
    node::datagrams,
    outbox::Transport,
    sip::stream::{Frame, StreamFramer},
};

/// Receive and send buffers of a socket, octets; the kernel may grant less.
const BUFFER_OCTETS: usize = 8 << 20;

/// Messages, or trains of them, taken from one socket in one turn.
pub(super) const BATCH: usize = 16;

/// Octets read from a connection at a time.
const READ_OCTETS: usize = 65_536;

/// Octets that wait to be written to a connection before nothing new begins.
const UNSENT_OCTETS_MAX: usize = 4 << 20;

/// How long connecting may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// How long a full send buffer is waited for at a time.
const FULL_WAIT: Duration = Duration::from_millis(1);

/// The sockets of one thread.
pub(super) enum Link {
    Udp(Box<Udp>),
    /// With or without TLS.
    Tcp(Box<Tcp>),
}

/// Connected UDP sockets.
pub(super) struct Udp {
    target: SocketAddr,
    sockets: Vec<UdpSocket>,
    incoming: datagrams::Incoming,
    outgoing: datagrams::Outgoing,
    /// What found no room in a send buffer.
    unsent: datagrams::Outgoing,
    /// ICMP reports that nobody listens there.
    refused: u64,
}

/// One connection.
pub(super) struct Tcp {
    target: SocketAddr,
    tls: Option<Secured>,
    channel: Channel,
    framer: StreamFramer,
    buffer: Box<[u8]>,
    unsent: Vec<u8>,
    written: usize,
}

/// What became of requests.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sent {
    /// The kernel has all of them.
    All,
    /// It will take the rest later.
    Part,
}

/// The connection has ended, or carries what is no SIP.
#[derive(Debug)]
pub(super) struct Lost;

impl Link {
    /// Opens the sockets of one thread towards `target`: `count` of them over UDP.
    /// Over TLS `tls` says whom to believe.
    pub(super) fn open(
        transport: Transport,
        target: SocketAddr,
        count: usize,
        tls: Option<Secured>,
    ) -> io::Result<Self> {
        match transport {
            Transport::Udp => {
                let sockets: io::Result<_> = (0..count).map(|_| open_udp(target)).collect();
                Ok(Self::Udp(Box::new(Udp {
                    target,
                    sockets: sockets?,
                    incoming: datagrams::Incoming::new(BATCH),
                    outgoing: datagrams::Outgoing::with_trains(),
                    unsent: datagrams::Outgoing::with_trains(),
                    refused: 0,
                })))
            }
            Transport::Tcp | Transport::Tls => Tcp::open(target, tls).map(Box::new).map(Self::Tcp),
        }
    }

    /// Our addresses, one of each socket.
    pub(super) fn locals(&self) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::Udp(udp) => udp.sockets.iter().map(UdpSocket::local_addr).collect(),
            Self::Tcp(tcp) => Ok(vec![tcp.channel.socket().local_addr()?]),
        }
    }

    /// Connects anew after [`Lost`].
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if let Self::Tcp(tcp) = self {
            **tcp = Tcp::open(tcp.target, tcp.tls.clone())?;
        }
        Ok(())
    }

    /// Gives what has arrived to `each`, about [`BATCH`] messages a socket; returns how many there were.
    pub(super) fn receive(&mut self, each: &mut dyn FnMut(&[u8])) -> Result<usize, Lost> {
        match self {
            Self::Udp(udp) => Ok(udp.receive(each)),
            Self::Tcp(tcp) => tcp.receive(each),
        }
    }

    /// Gives the requests to the kernel and forgets them.
    pub(super) fn send(&mut self, out: &mut Outgoing) -> Result<Sent, Lost> {
        let sent = match self {
            Self::Udp(udp) => {
                udp.send(out);
                Ok(Sent::All)
            }
            Self::Tcp(tcp) => tcp.send(out),
        };
        out.clear();
        sent
    }

    /// Whether more requests may be sent now.
    pub(super) const fn has_room(&self) -> bool {
        match self {
            Self::Udp(_) => true,
            Self::Tcp(tcp) => tcp.unsent.len() < UNSENT_OCTETS_MAX,
        }
    }

    /// How often ICMP reported that nobody listens there.
    pub(super) fn refused(&self) -> u64 {
        match self {
            Self::Udp(udp) => udp.refused,
            Self::Tcp(_) => 0,
        }
    }

    /// Waits until something arrives, or what waits to be written can be, or `wake` can be
    /// read, or `time` is over.
    pub(super) fn wait(&self, time: Duration, wake: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let timeout = timespec(time);
        if let Some(wake) = wake {
            return self.wait_or_wake(&timeout, wake);
        }
        let outcome = match self {
            Self::Udp(udp) => match udp.sockets.as_slice() {
                [one] => poll(&mut [PollFd::new(one, PollFlags::IN)], Some(&timeout)),
                all => {
                    let mut all: Vec<_> =
                        all.iter().map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
                    poll(&mut all, Some(&timeout))
                }
            },
            Self::Tcp(tcp) => {
                poll(&mut [PollFd::new(tcp.channel.socket(), tcp.awaited())], Some(&timeout))
            }
        };
        waited(outcome)
    }

    /// The same, or until `wake` can be read.
    fn wait_or_wake(&self, timeout: &Timespec, wake: BorrowedFd<'_>) -> io::Result<()> {
        let mut all = vec![PollFd::from_borrowed_fd(wake, PollFlags::IN)];
        match self {
            Self::Udp(udp) => {
                all.extend(udp.sockets.iter().map(|socket| PollFd::new(socket, PollFlags::IN)));
            }
            Self::Tcp(tcp) => all.push(PollFd::new(tcp.channel.socket(), tcp.awaited())),
        }
        waited(poll(&mut all, Some(timeout)))
    }
}

fn waited(outcome: rustix::io::Result<usize>) -> io::Result<()> {
    match outcome {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Udp {
    fn receive(&mut self, each: &mut dyn FnMut(&[u8])) -> usize {
        let mut count = 0;
        for socket in &self.sockets {
            match self.incoming.receive(socket.as_fd()) {
                Ok(received) => {
                    count += received;
                    self.incoming.datagrams().for_each(|(octets, _)| each(octets));
                }
                Err(error) => {
                    self.refused += u64::from(error.kind() == ErrorKind::ConnectionRefused);
                }
            }
        }
        count
    }

    /// What cannot be sent counts as lost.
    fn send(&mut self, out: &mut Outgoing) {
        let Self { target, sockets, outgoing, unsent, .. } = self;
        for (number, socket) in sockets.iter().enumerate() {
            for (_, octets) in out.iter().filter(|(by, _)| *by == number) {
                outgoing.push(*target, |buffer| buffer.extend_from_slice(octets));
            }
            while !outgoing.is_empty() {
                outgoing.flush(socket.as_fd(), |to, octets| {
                    unsent.push(to, |buffer| buffer.extend_from_slice(octets));
                });
                if !unsent.is_empty() {
                    std::mem::swap(outgoing, unsent);
                    wait_for_room(socket.as_fd());
                }
            }
        }
    }
}

impl Tcp {
    fn open(target: SocketAddr, tls: Option<Secured>) -> io::Result<Self> {
        let channel = Channel::open(target, tls.as_ref(), CONNECT_TIME_MAX)?;
        Ok(Self {
            target,
            tls,
            channel,
            framer: StreamFramer::new(),
            buffer: vec![0; READ_OCTETS].into(),
            unsent: Vec::new(),
            written: 0,
        })
    }

    /// What to wait for.
    fn awaited(&self) -> PollFlags {
        let is_all_written = self.unsent.is_empty() && !self.channel.wants_write();
        if is_all_written { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT }
    }

    fn receive(&mut self, each: &mut dyn FnMut(&[u8])) -> Result<usize, Lost> {
        let length = match self.channel.read(&mut self.buffer) {
            Ok(0) => return Err(Lost),
            Ok(length) => length,
            Err(error) if is_later(&error) => return Ok(0),
            Err(_) => return Err(Lost),
        };
        self.framer.push(self.buffer.get(..length).unwrap_or_default()).map_err(|_| Lost)?;
        let mut count = 0;
        while let Some(frame) = self.framer.next_frame().map_err(|_| Lost)? {
            if let Frame::Message(octets) = frame {
                count += 1;
                each(&octets);
            }
        }
        Ok(count)
    }

    fn send(&mut self, out: &Outgoing) -> Result<Sent, Lost> {
        for (_, octets) in out.iter() {
            self.unsent.extend_from_slice(octets);
        }
        while let Some(rest) = self.unsent.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.channel.write(rest) {
                Ok(0) => return Err(Lost),
                Ok(length) => self.written += length,
                Err(error) if is_later(&error) => return Ok(Sent::Part),
                Err(_) => return Err(Lost),
            }
        }
        self.unsent.clear();
        self.written = 0;
        Ok(Sent::All)
    }
}

fn open_udp(target: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(target), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(BUFFER_OCTETS)?;
    socket.set_send_buffer_size(BUFFER_OCTETS)?;
    let local: SocketAddr = match target {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    socket.bind(&local.into())?;
    socket.connect(&target.into())?;
    socket.set_nonblocking(true)?;
    // Without it, it only costs more.
    let _ = datagrams::Incoming::accept_trains(socket.as_fd());
    Ok(socket.into())
}

/// Waits a moment for room in the send buffer.
fn wait_for_room(socket: BorrowedFd<'_>) {
    // If it fails it is tried again at once.
    let _ =
        poll(&mut [PollFd::from_borrowed_fd(socket, PollFlags::OUT)], Some(&timespec(FULL_WAIT)));
}

pub(super) fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    }
}
