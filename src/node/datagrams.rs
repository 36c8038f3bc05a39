//! Many UDP datagrams by one system call: `recvmmsg` and `sendmmsg` (Linux).
//!
//! The kernel is given pointers into buffers that live as long as the call. Headers
//! and vectors are pointed at them right before each call, so that nothing here is pinned or refers to itself.

#![expect(unsafe_code, reason = "system calls without a binding in the standard library")]

use std::{
    io, mem,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
};

/// Longest UDP datagram, octets.
pub const DATAGRAM_OCTETS_MAX: usize = 65_535;

/// Octets from one slot to the next: a datagram, and some lines of cache, so that the beginnings of the slots,
/// which is all that most datagrams take, do not compete for the same ones.
const STRIDE: usize = 65_536 + 25 * 64;

/// Datagrams that arrived together.
pub struct Incoming {
    octets: Box<[u8]>,
    names: Box<[libc::sockaddr_storage]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    received: usize,
}

// SAFETY: the pointers are written before each call and mean nothing after it.
unsafe impl Send for Incoming {}

impl Incoming {
    /// Creates room for so many datagrams at a time.
    pub fn new(slots: usize) -> Self {
        // SAFETY: these are plain structures of the C library, for which all zeros is a value.
        let (name, header) = unsafe { (mem::zeroed(), mem::zeroed()) };
        Self {
            octets: vec![0; slots * STRIDE].into_boxed_slice(),
            names: vec![name; slots].into_boxed_slice(),
            vectors: vec![EMPTY; slots].into_boxed_slice(),
            headers: vec![header; slots].into_boxed_slice(),
            received: 0,
        }
    }

    /// Takes in what has arrived, without waiting; how many datagrams. What was there before is gone.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] when nothing has arrived; others tell of earlier datagrams, such as what
    /// ICMP reported.
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.received = 0;
        let slots = self.octets.chunks_exact_mut(STRIDE);
        let parts = slots.zip(&mut self.names).zip(&mut self.vectors).zip(&mut self.headers);
        for (((octets, name), vector), header) in parts {
            *vector =
                libc::iovec { iov_base: octets.as_mut_ptr().cast(), iov_len: DATAGRAM_OCTETS_MAX };
            header.msg_hdr.msg_name = ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = NAME_OCTETS;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_len = 0;
        }
        // SAFETY: every header points at one name and one vector, and every vector at a slot of its own, all of
        // which this value owns and nobody else uses during the call; the lengths are theirs.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                count(self.headers.len()),
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        self.received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        Ok(self.received)
    }

    /// What was taken in by the last [`Self::receive`], in the order of arrival. Datagrams whose source is no
    /// IP address are left out.
    pub fn datagrams(&self) -> impl Iterator<Item = (&[u8], SocketAddr)> {
        let slots = self.octets.chunks_exact(STRIDE).zip(&self.names).zip(&self.headers);
        slots.take(self.received).filter_map(|((octets, name), header)| {
            let octets = octets.get(..usize::try_from(header.msg_len).ok()?)?;
            Some((octets, address_of(name)?))
        })
    }
}

/// How full the receive buffer of a socket is: octets as the kernel counts them, with what a datagram needs beside
/// its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Buffer {
    /// Taken by datagrams that wait.
    pub used: usize,
    /// In all.
    pub size: usize,
}

impl Buffer {
    /// The receive buffer of `socket`; `None` if the kernel does not say.
    pub fn of(socket: BorrowedFd<'_>) -> Option<Self> {
        // By their numbers in the kernel: octets received and not read, and most of them.
        let mut memory = [0_u32; 2];
        let mut length = MEMORY_OCTETS;
        // SAFETY: the kernel writes no more octets than `length` says, which are those of `memory`.
        let told = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_MEMINFO,
                memory.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let [used, size] = memory.map(|octets| usize::try_from(octets).unwrap_or(usize::MAX));
        (told == 0).then_some(Self { used, size })
    }
}

/// Datagrams that leave together.
#[derive(Default)]
pub struct Outgoing {
    octets: Vec<u8>,
    /// Where each ends in `octets`, and where it goes.
    datagrams: Vec<(usize, libc::sockaddr_storage)>,
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

// SAFETY: as for `Incoming`.
unsafe impl Send for Outgoing {}

impl Outgoing {
    /// Creates an empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many datagrams wait to leave.
    pub fn len(&self) -> usize {
        self.datagrams.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// Adds a datagram: what `write` appends.
    pub fn push(&mut self, remote: SocketAddr, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.octets);
        self.datagrams.push((self.octets.len(), storage_of(remote)));
    }

    /// Sends all, as far as the socket takes them without waiting, and leaves the batch empty. `unsent` gets
    /// each that found no room; how many left, and how many could not be sent at all.
    pub fn flush(
        &mut self,
        socket: BorrowedFd<'_>,
        mut unsent: impl FnMut(SocketAddr, &[u8]),
    ) -> Sent {
        self.point();
        let mut sent = Sent::default();
        let mut done = 0;
        while let Some(rest) = self.headers.get_mut(done..).filter(|rest| !rest.is_empty()) {
            // SAFETY: every header points at a name in `datagrams` and a vector in `vectors`, and every vector at
            // a part of `octets`; none of them changes before the call is over, and the lengths are theirs.
            let taken = unsafe {
                let (first, length) = (rest.as_mut_ptr(), count(rest.len()));
                libc::sendmmsg(socket.as_raw_fd(), first, length, libc::MSG_DONTWAIT)
            };
            match usize::try_from(taken) {
                Ok(taken) => {
                    sent.datagrams += taken;
                    done += taken.max(1);
                }
                Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock => break,
                Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                // It is about the first of the rest, or what ICMP reported about an earlier one.
                Err(_) => {
                    sent.failed += 1;
                    done += 1;
                }
            }
        }
        let mut from =
            done.checked_sub(1).and_then(|last| self.datagrams.get(last)).map_or(0, |it| it.0);
        for (end, name) in self.datagrams.get(done..).unwrap_or_default() {
            if let (Some(octets), Some(remote)) = (self.octets.get(from..*end), address_of(name)) {
                unsent(remote, octets);
            }
            from = *end;
        }
        self.clear();
        sent
    }

    /// Points headers and vectors at what is to leave.
    fn point(&mut self) {
        let mut rest = self.octets.as_mut_slice();
        let mut from = 0;
        self.vectors.clear();
        for (end, _) in &self.datagrams {
            let Some((octets, after)) = rest.split_at_mut_checked(end - from) else { break };
            let (iov_base, iov_len) = (octets.as_mut_ptr().cast(), octets.len());
            self.vectors.push(libc::iovec { iov_base, iov_len });
            (rest, from) = (after, *end);
        }
        self.headers.clear();
        for (vector, (_, name)) in self.vectors.iter_mut().zip(&mut self.datagrams) {
            // SAFETY: a plain structure of the C library, for which all zeros is a value.
            let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
            header.msg_hdr.msg_namelen = name_octets(name);
            header.msg_hdr.msg_name = ptr::from_mut(name).cast();
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            self.headers.push(header);
        }
    }

    fn clear(&mut self) {
        self.octets.clear();
        self.datagrams.clear();
    }
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Sent {
    /// Left.
    pub datagrams: usize,
    /// Could not be sent, such as to an address without a route.
    pub failed: usize,
}

const EMPTY: libc::iovec = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };

#[expect(clippy::cast_possible_truncation, reason = "a structure of 128 octets")]
const NAME_OCTETS: libc::socklen_t = size_of::<libc::sockaddr_storage>() as libc::socklen_t;

#[expect(clippy::cast_possible_truncation, reason = "8 octets")]
const MEMORY_OCTETS: libc::socklen_t = size_of::<[u32; 2]>() as libc::socklen_t;

fn count(number: usize) -> libc::c_uint {
    libc::c_uint::try_from(number).unwrap_or(libc::c_uint::MAX)
}

fn address_of(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let name = ptr::from_ref(name);
    // SAFETY: a `sockaddr_storage` is large and aligned enough for an address of any family, all of whose octets
    // are values, and the family says which of them it is.
    unsafe {
        match i32::from((*name).ss_family) {
            libc::AF_INET => {
                let name = &*name.cast::<libc::sockaddr_in>();
                let address = Ipv4Addr::from(name.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddrV4::new(address, u16::from_be(name.sin_port)).into())
            }
            libc::AF_INET6 => {
                let name = &*name.cast::<libc::sockaddr_in6>();
                let address = Ipv6Addr::from(name.sin6_addr.s6_addr);
                let (flow, scope) = (u32::from_be(name.sin6_flowinfo), name.sin6_scope_id);
                Some(SocketAddrV6::new(address, u16::from_be(name.sin6_port), flow, scope).into())
            }
            _ => None,
        }
    }
}

fn storage_of(address: SocketAddr) -> libc::sockaddr_storage {
    let address = socket2::SockAddr::from(address);
    // SAFETY: all zeros is a value, and what is copied over it is an address of no more octets.
    unsafe {
        let mut name: libc::sockaddr_storage = mem::zeroed();
        let length = usize::try_from(address.len()).unwrap_or(0);
        ptr::copy_nonoverlapping(
            address.as_ptr().cast::<u8>(),
            ptr::from_mut(&mut name).cast::<u8>(),
            length.min(size_of::<libc::sockaddr_storage>()),
        );
        name
    }
}

fn name_octets(name: &libc::sockaddr_storage) -> libc::socklen_t {
    let octets = match i32::from(name.ss_family) {
        libc::AF_INET => size_of::<libc::sockaddr_in>(),
        _ => size_of::<libc::sockaddr_in6>(),
    };
    libc::socklen_t::try_from(octets).unwrap_or(NAME_OCTETS)
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, os::fd::AsFd};

    use super::*;

    fn receive_all(incoming: &mut Incoming, socket: &UdpSocket) -> Vec<(Vec<u8>, SocketAddr)> {
        let mut all = Vec::new();
        loop {
            match incoming.receive(socket.as_fd()) {
                Ok(_) => {
                    all.extend(incoming.datagrams().map(|(octets, from)| (octets.to_vec(), from)));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return all,
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn what_is_sent_together_arrives_in_order_with_its_source() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(here) = UdpSocket::bind(host) else { continue };
            let there = UdpSocket::bind(host).unwrap();
            let to = there.local_addr().unwrap();
            let mut outgoing = Outgoing::new();
            let sizes: Vec<usize> = (0..40).map(|number| number * 37 % 1_400).collect();
            for (number, size) in sizes.iter().enumerate() {
                let octet = u8::try_from(number).unwrap();
                outgoing.push(to, |octets| octets.extend(std::iter::repeat_n(octet, *size)));
            }
            let sent = outgoing.flush(here.as_fd(), |_, _| panic!("there is room"));
            assert_eq!((sent, outgoing.len()), (Sent { datagrams: 40, failed: 0 }, 0));
            let arrived = receive_all(&mut Incoming::new(16), &there);
            let expected = sizes
                .iter()
                .zip(0..)
                .map(|(size, octet)| (vec![octet; *size], here.local_addr().unwrap()));
            assert_eq!(arrived, expected.collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_longest_datagram_arrives_whole() {
        let (here, there) =
            (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let longest = vec![7; 65_507];
        here.send_to(&longest, there.local_addr().unwrap()).unwrap();
        let arrived = receive_all(&mut Incoming::new(2), &there);
        assert_eq!(arrived, [(longest, here.local_addr().unwrap())]);
    }

    #[test]
    fn the_receive_buffer_tells_how_full_it_is() {
        let (here, there) =
            (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let empty = Buffer::of(there.as_fd()).unwrap();
        assert_eq!(empty.used, 0);
        for _ in 0..10 {
            here.send_to(&[7; 1_000], there.local_addr().unwrap()).unwrap();
        }
        let filled = Buffer::of(there.as_fd()).unwrap();
        assert!((10_000..=filled.size).contains(&filled.used), "{filled:?}");
        assert_eq!(filled.size, empty.size);
    }

    #[test]
    fn a_datagram_that_cannot_be_sent_holds_no_other_up() {
        let (here, there) =
            (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let to = there.local_addr().unwrap();
        let mut outgoing = Outgoing::new();
        outgoing.push(to, |octets| octets.push(1));
        outgoing.push("[::1]:9".parse().unwrap(), |octets| octets.push(2));
        outgoing.push(to, |octets| octets.push(3));
        let sent = outgoing.flush(here.as_fd(), |_, _| panic!("there is room"));
        assert_eq!(sent, Sent { datagrams: 2, failed: 1 });
        let arrived = receive_all(&mut Incoming::new(2), &there);
        assert_eq!(arrived.into_iter().map(|it| it.0).collect::<Vec<_>>(), [vec![1], vec![3]]);
    }
}
