//! An open loop of first REGISTERs that nobody goes on with.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{SocketAddr, UdpSocket},
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use migcore::node::datagrams::{Incoming, Outgoing};

use crate::ue::{DOMAIN, Ue};

/// From how many sockets.
const SOCKETS: usize = 8;

/// Datagrams that leave together.
const BATCH: usize = 32;

/// Different users.
pub const USERS: usize = 1_000;

/// How long answers are waited for at the end.
const REST: Duration = Duration::from_millis(500);

/// What is written for the number of a request in what is built before.
const PLACE: &str = "##########";

/// A flood under way.
pub struct Flood {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Flooded>,
}

/// What became of it.
#[derive(Debug, Default)]
pub struct Flooded {
    pub sent: u64,
    pub took: Duration,
    /// Answers by status.
    pub answers: BTreeMap<u16, u64>,
    /// When the refused are to come again, seconds.
    pub retry_after: BTreeSet<u32>,
}

impl Flooded {
    /// Datagrams a second.
    pub fn rate(&self) -> f64 {
        self.sent as f64 / self.took.as_secs_f64()
    }

    /// Answers with 4xx but 401, or anything else that is neither a challenge nor a 503 nor a 100.
    pub fn wrong(&self) -> u64 {
        let right = [100, 401, 503];
        self.answers.iter().filter(|(status, _)| !right.contains(*status)).map(|it| it.1).sum()
    }

    /// Counts what has come.
    fn count(&mut self, incoming: &mut Incoming, socket: &UdpSocket) {
        if incoming.receive(socket.as_fd()).is_err() {
            return;
        }
        for (octets, _) in incoming.datagrams() {
            let status = std::str::from_utf8(&octets[8..11]).unwrap().parse().unwrap();
            let count = self.answers.entry(status).or_default();
            *count += 1;
            // Not of all: that would take more than the flood itself.
            if status == 503 && *count % 64 == 1 {
                let answer = std::str::from_utf8(octets).unwrap();
                let after = answer.split("Retry-After: ").nth(1).expect("Retry-After");
                self.retry_after.insert(after.lines().next().unwrap().parse().unwrap());
            }
        }
    }

    pub fn answered(&self, status: u16) -> u64 {
        self.answers.get(&status).copied().unwrap_or(0)
    }
}

impl fmt::Display for Flooded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "flood     {:.0}/s sent; answers read: {:?}", self.rate(), self.answers)
    }
}

impl Flood {
    /// Sends so many requests a second from a thread of its own; of users from number `first` on.
    pub fn start(core: SocketAddr, first: usize, rate: f64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || run(core, first, rate, &stopped));
        Self { stop, thread }
    }

    pub fn stop(self) -> Flooded {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn run(core: SocketAddr, first: usize, rate: f64, stop: &AtomicBool) -> Flooded {
    let sockets: Vec<UdpSocket> = (0..SOCKETS).map(|_| socket()).collect();
    let requests: Vec<Prebuilt> = (first..first + USERS).map(Prebuilt::of).collect();
    let (mut incoming, mut outgoing) = (Incoming::new(256), Outgoing::new());
    let mut flooded = Flooded::default();
    let started = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let due = (started.elapsed().as_secs_f64() * rate) as u64;
        // What the machine did not let us send in time follows, but not in one heap.
        let late = due.saturating_sub(flooded.sent).min(BATCH as u64 + (rate / 100.0) as u64);
        for _ in 0..late / BATCH as u64 {
            let socket = &sockets[(flooded.sent / BATCH as u64) as usize % SOCKETS];
            for _ in 0..BATCH {
                let request = &requests[flooded.sent as usize % USERS];
                outgoing.push(core, |octets| request.write(flooded.sent, octets));
                flooded.sent += 1;
            }
            outgoing.flush(socket.as_fd(), |_, _| ());
        }
        for socket in &sockets {
            flooded.count(&mut incoming, socket);
        }
        thread::sleep(Duration::from_micros(300));
    }
    flooded.took = started.elapsed();
    while started.elapsed() < flooded.took + REST {
        for socket in &sockets {
            flooded.count(&mut incoming, socket);
        }
        thread::sleep(Duration::from_millis(1));
    }
    flooded
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket2::SockRef::from(&socket).set_recv_buffer_size(8 << 20).unwrap();
    socket2::SockRef::from(&socket).set_send_buffer_size(8 << 20).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

/// A REGISTER with places for its number.
struct Prebuilt {
    octets: Vec<u8>,
    places: Vec<usize>,
}

impl Prebuilt {
    fn of(number: usize) -> Self {
        let name = Ue::name(number);
        let text = format!(
            "REGISTER sip:{DOMAIN} SIP/2.0\r\n\
             Via: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK{PLACE};rport\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:{name}@{DOMAIN}>;tag=1\r\n\
             To: <sip:{name}@{DOMAIN}>\r\n\
             Call-ID: flood-{PLACE}\r\n\
             CSeq: 1 REGISTER\r\n\
             Contact: <sip:{name}@127.0.0.1:9>\r\n\
             Expires: 3600\r\n\
             Authorization: Digest username=\"{name}@{DOMAIN}\", realm=\"{DOMAIN}\", \
             uri=\"sip:{DOMAIN}\", nonce=\"\", response=\"\"\r\n\
             Content-Length: 0\r\n\r\n"
        );
        let places = text.match_indices(PLACE).map(|(at, _)| at).collect();
        Self { octets: text.into_bytes(), places }
    }

    fn write(&self, number: u64, to: &mut Vec<u8>) {
        let start = to.len();
        to.extend_from_slice(&self.octets);
        let digits = format!("{number:010}");
        for place in &self.places {
            to[start + place..start + place + PLACE.len()].copy_from_slice(digits.as_bytes());
        }
    }
}
