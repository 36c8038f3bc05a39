//! The bare echo: as many messages of the same sizes as registrations take, and nothing done with them.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd, BorrowedFd},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use migcore::node::datagrams::{Incoming, Outgoing};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    thread::{ClockId, CpuSet, sched_setaffinity},
    time::clock_gettime,
};

use crate::{CLIENT_CORE, Case, SERVER_CORE, Turn, UNDER_WAY};

/// Octets of the two requests and the two answers of a registration of the load generator.
const REQUESTS: [usize; 2] = [497, 702];
const ANSWERS: [usize; 2] = [452, 589];

const BATCH: usize = 64;

pub fn cases(time: Duration) -> Vec<Case> {
    let program = compile();
    vec![
        Case::new("c-echo", "echo", move || c_echo(&program, time)),
        Case::new("echo", "echo", move || udp_echo(time, false)),
        Case::new("echo-trains", "echo", move || udp_echo(time, true)),
        Case::new("echo-tcp", "echo-tcp", move || tcp_echo(time)),
    ]
}

/// Keeps the calling thread on a core.
pub fn pin(core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).expect("a core to run on");
}

/// The processor time of the calling thread, microseconds.
fn cpu_us() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

fn compile() -> PathBuf {
    let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("limit-echo");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/limit/echo.c");
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-Wall", "-o"]).arg(&program).arg(source);
    cc.arg(format!("-DLONG_MIN={}", REQUESTS[1]));
    cc.arg(format!("-DSHORT_ANSWER={}", ANSWERS[0])).arg(format!("-DLONG_ANSWER={}", ANSWERS[1]));
    assert!(cc.status().expect("cc, of gcc").success());
    program
}

fn c_echo(program: &PathBuf, time: Duration) -> Turn {
    let mut command = Command::new("taskset");
    command.args(["-c", &SERVER_CORE.to_string()]).arg(program);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("taskset, of util-linux");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let port: u16 = lines.next().unwrap().parse().unwrap();
    let per_s = ask_by_udp(([127, 0, 0, 1], port).into(), time, false);
    drop(child.stdin.take());
    let line = lines.next().expect("how much it took");
    assert!(child.wait().unwrap().success());
    let (answered, nanos) = line.split_once(' ').unwrap();
    let (answered, nanos): (f64, f64) = (answered.parse().unwrap(), nanos.parse().unwrap());
    Turn { cpu_us: 2.0 * nanos / 1e3 / answered, per_s: per_s / 2.0 }
}

/// A server in a thread of its own, until it is told to stop: its processor time for two exchanges.
struct Server {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<f64>,
}

impl Server {
    /// `serve` answers what has arrived, and returns how many requests that were; it may wait for a while.
    fn start(mut serve: impl FnMut() -> u64 + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            pin(SERVER_CORE);
            let (before, mut answered) = (cpu_us(), 0);
            while !ends.load(Ordering::Relaxed) {
                answered += serve();
            }
            2.0 * (cpu_us() - before) / answered as f64
        });
        Self { stop, thread }
    }

    fn stop(self) -> f64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// With trains, datagrams of one length that come from and go to one peer pass the kernel as one (UDP GRO and GSO).
fn udp_echo(time: Duration, has_trains: bool) -> Turn {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket2::SockRef::from(&socket).set_recv_buffer_size(8 << 20).unwrap();
    let address = socket.local_addr().unwrap();
    let (mut incoming, mut outgoing) = ends(socket.as_fd(), has_trains);
    let server = Server::start(move || {
        if incoming.receive(socket.as_fd()).is_err() {
            wait(socket.as_fd(), Duration::from_millis(100));
            return 0;
        }
        let mut answered = 0;
        for (octets, from) in incoming.datagrams() {
            let answer = ANSWERS[usize::from(octets.len() >= REQUESTS[1])];
            outgoing.push(from, |to| to.resize(to.len() + answer, b'x'));
            answered += 1;
        }
        outgoing.flush(socket.as_fd(), |_, _| panic!("no room"));
        answered
    });
    let per_s = ask_by_udp(address, time, has_trains);
    Turn { cpu_us: server.stop(), per_s: per_s / 2.0 }
}

/// Exchanges a second, by whoever keeps [`UNDER_WAY`] of them under way.
fn ask_by_udp(server: SocketAddr, time: Duration, has_trains: bool) -> f64 {
    pin(CLIENT_CORE);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket2::SockRef::from(&socket).set_recv_buffer_size(8 << 20).unwrap();
    let (mut incoming, mut outgoing) = ends(socket.as_fd(), has_trains);
    let (started, mut exchanges, mut turn) = (Instant::now(), 0, 0);
    let mut ask = |outgoing: &mut Outgoing| {
        turn += 1;
        let request = REQUESTS[turn % 2];
        outgoing.push(server, |to| to.resize(to.len() + request, b'x'));
    };
    for _ in 0..UNDER_WAY {
        ask(&mut outgoing);
    }
    while started.elapsed() < time {
        outgoing.flush(socket.as_fd(), |_, _| panic!("no room"));
        if incoming.receive(socket.as_fd()).is_err() {
            wait(socket.as_fd(), Duration::from_millis(100));
            continue;
        }
        let received = incoming.datagrams().count();
        exchanges += received;
        (0..received).for_each(|_| ask(&mut outgoing));
    }
    exchanges as f64 / started.elapsed().as_secs_f64()
}

fn ends(socket: BorrowedFd<'_>, has_trains: bool) -> (Incoming, Outgoing) {
    if has_trains {
        Incoming::accept_trains(socket).expect("a kernel that knows UDP GRO");
        (Incoming::new(BATCH), Outgoing::with_trains())
    } else {
        (Incoming::new(BATCH), Outgoing::new())
    }
}

fn tcp_echo(time: Duration) -> Turn {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let client = thread::spawn(move || ask_by_tcp(address, time));
    let mut stream = listener.accept().unwrap().0;
    stream.set_nodelay(true).unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut pipe = Pipe::default();
    let server = Server::start(move || {
        let received = pipe.read(&mut stream, REQUESTS);
        for which in &received {
            pipe.push(*which, ANSWERS[usize::from(*which)]);
        }
        pipe.write(&mut stream);
        received.len() as u64
    });
    let per_s = client.join().unwrap();
    Turn { cpu_us: server.stop(), per_s: per_s / 2.0 }
}

fn ask_by_tcp(server: SocketAddr, time: Duration) -> f64 {
    pin(CLIENT_CORE);
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut pipe = Pipe::default();
    for turn in 0..UNDER_WAY {
        pipe.push((turn % 2) as u8, REQUESTS[turn % 2]);
    }
    let (started, exchanges) = (Instant::now(), AtomicU64::new(0));
    while started.elapsed() < time {
        pipe.write(&mut stream);
        let received = pipe.read(&mut stream, ANSWERS);
        exchanges.fetch_add(received.len() as u64, Ordering::Relaxed);
        for which in received {
            pipe.push(1 - which, REQUESTS[usize::from(1 - which)]);
        }
    }
    exchanges.into_inner() as f64 / started.elapsed().as_secs_f64()
}

/// One end of a connection. The first octet of a message tells which of two sizes it has.
struct Pipe {
    buffer: Box<[u8]>,
    /// Octets of the message under way, and which it is.
    missing: usize,
    unsent: Vec<u8>,
}

impl Default for Pipe {
    fn default() -> Self {
        Self { buffer: vec![0; 65_536].into(), missing: 0, unsent: Vec::new() }
    }
}

impl Pipe {
    /// Which messages have begun to arrive.
    fn read(&mut self, stream: &mut TcpStream, sizes: [usize; 2]) -> Vec<u8> {
        let mut received = Vec::new();
        let length = match stream.read(&mut self.buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                wait(stream.as_fd(), Duration::from_millis(100));
                0
            }
            Err(_) => 0, // the other end is done
        };
        let mut at = 0;
        while at < length {
            if self.missing == 0 {
                received.push(self.buffer[at]);
                self.missing = sizes[usize::from(self.buffer[at])];
            }
            let part = self.missing.min(length - at);
            (at, self.missing) = (at + part, self.missing - part);
        }
        received
    }

    fn push(&mut self, which: u8, octets: usize) {
        self.unsent.resize(self.unsent.len() + octets, which);
    }

    fn write(&mut self, stream: &mut TcpStream) {
        let mut at = 0;
        while at < self.unsent.len() {
            match stream.write(&self.unsent[at..]) {
                Ok(written) => at += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let stream = PollFd::new(&*stream, PollFlags::OUT);
                    poll(&mut [stream], None).unwrap();
                }
                Err(_) => break, // the other end is done
            }
        }
        self.unsent.clear();
    }
}

fn wait(socket: BorrowedFd<'_>, time: Duration) {
    let time = Timespec { tv_sec: 0, tv_nsec: i64::from(time.subsec_nanos()) };
    poll(&mut [PollFd::from_borrowed_fd(socket, PollFlags::IN)], Some(&time)).unwrap();
}
