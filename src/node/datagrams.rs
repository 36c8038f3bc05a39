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
    /// What the kernel says about each.
    controls: Box<[Control]>,
    received: usize,
}

/// Room for one control message: the length of the datagrams in a train.
#[derive(Clone, Copy)]
#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    segment: libc::c_int,
}

// SAFETY: the pointers are written before each call and mean nothing after it.
unsafe impl Send for Incoming {}

impl Incoming {
    /// Creates room for so many datagrams, or trains of them, at a time.
    pub fn new(slots: usize) -> Self {
        // SAFETY: these are plain structures of the C library, for which all zeros is a value.
        let (name, header, control) = unsafe { (mem::zeroed(), mem::zeroed(), mem::zeroed()) };
        Self {
            octets: vec![0; slots * STRIDE].into_boxed_slice(),
            names: vec![name; slots].into_boxed_slice(),
            vectors: vec![EMPTY; slots].into_boxed_slice(),
            headers: vec![header; slots].into_boxed_slice(),
            controls: vec![control; slots].into_boxed_slice(),
            received: 0,
        }
    }

    /// Lets `socket` give datagrams of the same length and source that arrived one after another as one (UDP GRO),
    /// which costs a fraction. They are told apart here.
    ///
    /// # Errors
    ///
    /// The kernel does not know it. The socket works as before.
    pub fn accept_trains(socket: BorrowedFd<'_>) -> io::Result<()> {
        let on: libc::c_int = 1;
        // SAFETY: the value lives as long as the call, and the length is its own.
        let outcome = unsafe {
            let value = ptr::from_ref(&on).cast();
            libc::setsockopt(socket.as_raw_fd(), libc::SOL_UDP, libc::UDP_GRO, value, INT_OCTETS)
        };
        if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Takes in what has arrived, without waiting; how many datagrams, those of a train counted as one. What was there before is gone.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] when nothing has arrived; others tell of earlier datagrams, such as what
    /// ICMP reported.
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.received = 0;
        let slots = self.octets.chunks_exact_mut(STRIDE);
        let parts = slots.zip(&mut self.names).zip(&mut self.vectors).zip(&mut self.headers);
        for ((((octets, name), vector), header), control) in parts.zip(&mut self.controls) {
            *vector =
                libc::iovec { iov_base: octets.as_mut_ptr().cast(), iov_len: DATAGRAM_OCTETS_MAX };
            header.msg_hdr.msg_name = ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = NAME_OCTETS;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = ptr::from_mut(control).cast();
            header.msg_hdr.msg_controllen = size_of::<Control>() as _;
            header.msg_len = 0;
        }
        // SAFETY: every header points at one name, one vector and one control message, and every vector at a slot of
        // its own, all of which this value owns and nobody else uses during the call; the lengths are theirs.
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
        let slots = slots.zip(&self.controls).take(self.received);
        let trains = slots.filter_map(|(((octets, name), header), control)| {
            let octets = octets.get(..usize::try_from(header.msg_len).ok()?)?;
            Some((octets, address_of(name)?, segment_of(header, control).unwrap_or(octets.len())))
        });
        trains.flat_map(|(octets, remote, segment)| {
            // An empty datagram is one, too.
            let whole = octets.is_empty().then_some(octets);
            let parts = octets.chunks(segment.max(1));
            whole.into_iter().chain(parts).map(move |octets| (octets, remote))
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
    datagrams: Vec<Datagram>,
    /// Where each datagram is in memory.
    vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    /// What each header stands for.
    trains: Vec<Train>,
    makes_trains: bool,
}

/// One datagram that is to leave. What makes datagrams fit into a train, length and destination, orders them first.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
struct Datagram {
    length: usize,
    remote: SocketAddr,
    /// Where it begins in `octets`.
    start: usize,
}

/// Datagrams of the same length and destination that the kernel is given as one and takes apart (UDP GSO). In memory
/// it is the control message that says so, and behind it what only we read.
#[repr(C)]
struct Train {
    control: libc::cmsghdr,
    /// The length of each.
    segment: u16,
    datagrams: usize,
    name: libc::sockaddr_storage,
}

/// Longest datagram in a train. A longer one may have to be fragmented on its way, and a train is not.
const SEGMENT_OCTETS_MAX: usize = 1_200;

/// Fewest datagrams in a train, so that there is none but under load: a capture on the loopback interface shows a
/// train as one datagram.
const SEGMENTS_MIN: usize = 8;

/// Most datagrams in a train (`UDP_MAX_SEGMENTS`), and most octets.
const SEGMENTS_MAX: usize = 64;
const TRAIN_OCTETS_MAX: usize = 65_000;

// SAFETY: as for `Incoming`.
unsafe impl Send for Outgoing {}

impl Outgoing {
    /// Creates an empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates an empty batch for one who sends much to few: the kernel takes datagrams of the same length and
    /// destination as one, at a fraction of the cost. They leave together, whatever was pushed between them.
    pub fn with_trains() -> Self {
        Self { makes_trains: true, ..Self::default() }
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
        let start = self.octets.len();
        write(&mut self.octets);
        self.datagrams.push(Datagram { length: self.octets.len() - start, remote, start });
    }

    /// Sends all, as far as the socket takes them without waiting, and leaves the batch empty. `unsent` gets
    /// each that found no room; how many left, and how many could not be sent at all.
    pub fn flush(
        &mut self,
        socket: BorrowedFd<'_>,
        mut unsent: impl FnMut(SocketAddr, &[u8]),
    ) -> Sent {
        let mut sent = Sent::default();
        let (mut done, mut header) = (0, 0);
        if self.makes_trains {
            self.gather();
        }
        self.point(done, self.makes_trains);
        while let Some(rest) = self.headers.get_mut(header..).filter(|rest| !rest.is_empty()) {
            // SAFETY: every header points at some of `vectors`, at a name in `trains` and, if at any, at a control
            // message there, and every vector at a part of `octets`; none of them changes before the call is over,
            // and the lengths are theirs.
            let taken = unsafe {
                let (first, length) = (rest.as_mut_ptr(), count(rest.len()));
                libc::sendmmsg(socket.as_raw_fd(), first, length, libc::MSG_DONTWAIT)
            };
            let error = io::Error::last_os_error();
            let trains = self.trains.get(header..).unwrap_or_default();
            match usize::try_from(taken) {
                Ok(taken) => {
                    let taken = taken.max(1);
                    let left: usize = trains.iter().take(taken).map(|train| train.datagrams).sum();
                    sent.datagrams += left;
                    (done, header) = (done + left, header + taken);
                }
                Err(_) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) if error.kind() == io::ErrorKind::Interrupted => {}
                // Which of them it is about shows when each stands alone.
                Err(_) if trains.first().is_some_and(|train| train.datagrams > 1) => {
                    self.makes_trains &= !is_about_trains(&error);
                    self.point(done, false);
                    header = 0;
                }
                // It is about the first of the rest, or what ICMP reported about an earlier one.
                Err(_) => {
                    sent.failed += 1;
                    (done, header) = (done + 1, header + 1);
                }
            }
        }
        for Datagram { length, remote, start } in self.datagrams.get(done..).unwrap_or_default() {
            if let Some(octets) = self.octets.get(*start..*start + *length) {
                unsent(*remote, octets);
            }
        }
        self.clear();
        sent
    }

    /// Puts datagrams of the same length and destination one behind the other, if many go to the same peer.
    fn gather(&mut self) {
        let Some(first) = self.datagrams.first().map(|datagram| datagram.remote) else { return };
        let alike = self.datagrams.iter().filter(|datagram| datagram.remote == first);
        if alike.take(SEGMENTS_MIN).count() == SEGMENTS_MIN {
            self.datagrams.sort_unstable();
        }
    }

    /// Points headers and vectors at what is to leave, from datagram number `first` on.
    fn point(&mut self, first: usize, makes_trains: bool) {
        self.vectors.clear();
        self.trains.clear();
        let octets = self.octets.as_mut_ptr();
        let mut datagrams = self.datagrams.get(first..).unwrap_or_default();
        while let Some(datagram) = datagrams.first() {
            let count = if makes_trains { train_length(datagrams) } else { 1 };
            let (train, rest) = datagrams.split_at(count);
            for Datagram { length, start, .. } in train {
                let iov_base = octets.wrapping_add(*start).cast();
                self.vectors.push(libc::iovec { iov_base, iov_len: *length });
            }
            self.trains.push(Train::new(datagram, count));
            datagrams = rest;
        }
        self.headers.clear();
        let mut vectors = self.vectors.as_mut_slice();
        for train in &mut self.trains {
            let Some(own) = vectors.split_off_mut(..train.datagrams) else { break };
            let (datagrams, octets) = (train.datagrams, name_octets(&train.name));
            let train = ptr::from_mut(train);
            // SAFETY: a plain structure of the C library, for which all zeros is a value; and the train is there.
            let (mut header, name): (libc::mmsghdr, _) =
                unsafe { (mem::zeroed(), &raw mut (*train).name) };
            header.msg_hdr.msg_namelen = octets;
            header.msg_hdr.msg_name = name.cast();
            header.msg_hdr.msg_iov = own.as_mut_ptr();
            header.msg_hdr.msg_iovlen = own.len() as _;
            if datagrams > 1 {
                header.msg_hdr.msg_control = train.cast();
                header.msg_hdr.msg_controllen = mem::offset_of!(Train, datagrams) as _;
            }
            self.headers.push(header);
        }
    }

    fn clear(&mut self) {
        self.octets.clear();
        self.datagrams.clear();
    }
}

impl Train {
    /// So many datagrams, of which `first` is the first.
    fn new(first: &Datagram, datagrams: usize) -> Self {
        // SAFETY: a plain structure of the C library, for which all zeros is a value.
        let mut control: libc::cmsghdr = unsafe { mem::zeroed() };
        control.cmsg_level = libc::SOL_UDP;
        control.cmsg_type = libc::UDP_SEGMENT;
        control.cmsg_len = (mem::offset_of!(Self, segment) + size_of::<u16>()) as _;
        // One that is longer stands alone, and its control message is not used.
        let segment = u16::try_from(first.length).unwrap_or(u16::MAX);
        Self { control, segment, datagrams, name: storage_of(first.remote) }
    }
}

/// How many of `datagrams`, from the first on, make a train.
fn train_length(datagrams: &[Datagram]) -> usize {
    let Some(first) = datagrams.first().filter(|it| (1..=SEGMENT_OCTETS_MAX).contains(&it.length))
    else {
        return 1;
    };
    let most = SEGMENTS_MAX.min(TRAIN_OCTETS_MAX / first.length);
    let fits = |it: &&Datagram| (it.length, it.remote) == (first.length, first.remote);
    let count = datagrams.iter().take(most).take_while(fits).count();
    if count < SEGMENTS_MIN { 1 } else { count }
}

/// Whether the kernel or the interface knows no trains.
fn is_about_trains(error: &io::Error) -> bool {
    let codes = [libc::EINVAL, libc::EIO, libc::EOPNOTSUPP, libc::ENOPROTOOPT];
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
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

#[expect(clippy::cast_possible_truncation, reason = "four octets")]
const INT_OCTETS: libc::socklen_t = size_of::<libc::c_int>() as libc::socklen_t;

#[expect(clippy::cast_possible_truncation, reason = "a structure of 128 octets")]
const NAME_OCTETS: libc::socklen_t = size_of::<libc::sockaddr_storage>() as libc::socklen_t;

/// Octets of the control message with its value, without what fills it up.
const CONTROL_OCTETS: usize = mem::offset_of!(Control, segment) + size_of::<libc::c_int>();

#[expect(clippy::cast_possible_truncation, reason = "8 octets")]
const MEMORY_OCTETS: libc::socklen_t = size_of::<[u32; 2]>() as libc::socklen_t;

fn count(number: usize) -> libc::c_uint {
    libc::c_uint::try_from(number).unwrap_or(libc::c_uint::MAX)
}

/// The length of the datagrams in a train, if what arrived is one.
fn segment_of(header: &libc::mmsghdr, control: &Control) -> Option<usize> {
    let told = header.msg_hdr.msg_controllen >= CONTROL_OCTETS;
    let Control { header: libc::cmsghdr { cmsg_level, cmsg_type, .. }, segment } = *control;
    let is_segment = told && (cmsg_level, cmsg_type) == (libc::SOL_UDP, libc::UDP_GRO);
    usize::try_from(segment).ok().filter(|length| is_segment && *length > 0)
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
        socket.set_read_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
        loop {
            match incoming.receive(socket.as_fd()) {
                Ok(_) => {
                    all.extend(incoming.datagrams().map(|(octets, from)| (octets.to_vec(), from)));
                }
                // The kernel may deliver what was sent a little later.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if socket.peek(&mut [0]).is_err() {
                        return all;
                    }
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn what_is_sent_together_arrives_with_its_source_in_order_or_by_kind() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(here) = UdpSocket::bind(host) else { continue };
            let there = UdpSocket::bind(host).unwrap();
            let to = there.local_addr().unwrap();
            // Each alone, some alike, more alike than a train may have, empty ones.
            let sizes = (0..40).map(|number| number * 37 % 1_400);
            let sizes = sizes.chain([700; 9]).chain([90; 70]).chain([0; 3]).chain([1_300; 2]);
            let sizes: Vec<usize> = sizes.collect();
            for (mut outgoing, makes, accepts) in [
                (Outgoing::new(), false, false),
                (Outgoing::with_trains(), true, false),
                (Outgoing::with_trains(), true, true),
            ] {
                if accepts {
                    Incoming::accept_trains(there.as_fd()).unwrap();
                }
                for (number, size) in sizes.iter().enumerate() {
                    let octet = u8::try_from(number).unwrap();
                    outgoing.push(to, |octets| octets.extend(std::iter::repeat_n(octet, *size)));
                }
                let sent = outgoing.flush(here.as_fd(), |_, _| panic!("there is room"));
                assert_eq!((sent, outgoing.len()), (Sent { datagrams: 124, failed: 0 }, 0));
                let arrived = receive_all(&mut Incoming::new(16), &there);
                let from = here.local_addr().unwrap();
                let expected =
                    sizes.iter().zip(0..).map(|(size, octet)| (vec![octet; *size], from));
                let mut expected: Vec<_> = expected.collect();
                if makes {
                    expected.sort_by_key(|(octets, _)| octets.len()); // stable: in order within a kind
                }
                assert_eq!(arrived, expected);
            }
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
        let nowhere = "[::1]:9".parse().unwrap();
        for mut outgoing in [Outgoing::new(), Outgoing::with_trains()] {
            let remotes = [to; 9].into_iter().chain([nowhere; 10]).chain([to; 11]);
            for (octet, remote) in (0..).zip(remotes) {
                outgoing.push(remote, |octets| octets.push(octet));
            }
            let sent = outgoing.flush(here.as_fd(), |_, _| panic!("there is room"));
            assert_eq!(sent, Sent { datagrams: 20, failed: 10 });
            let arrived = receive_all(&mut Incoming::new(2), &there);
            let arrived: Vec<_> = arrived.into_iter().map(|(octets, _)| octets[0]).collect();
            assert_eq!(arrived, (0..9).chain(19..30).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_train_that_the_kernel_refuses_arrives_as_single_datagrams() {
        let (here, there) =
            (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let on = ptr::from_ref(&1_i32).cast();
        // SAFETY: the value is an int that lives as long as the call.
        let outcome = unsafe {
            libc::setsockopt(here.as_raw_fd(), libc::SOL_SOCKET, libc::SO_NO_CHECK, on, 4)
        };
        assert_eq!(outcome, 0, "without checksums there are no trains (EIO)");
        let mut outgoing = Outgoing::with_trains();
        for octet in 0..20 {
            outgoing.push(there.local_addr().unwrap(), |octets| octets.push(octet));
        }
        let sent = outgoing.flush(here.as_fd(), |_, _| panic!("there is room"));
        assert_eq!(sent, Sent { datagrams: 20, failed: 0 });
        assert!(!outgoing.makes_trains, "it is not tried again");
        assert_eq!(receive_all(&mut Incoming::new(4), &there).len(), 20);
    }
}
