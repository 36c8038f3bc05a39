//! UEs that register, refresh and leave at an even pace.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    fmt,
    net::{SocketAddr, UdpSocket},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use migcore::node::datagrams::{Incoming, Outgoing};

use crate::ue::Ue;

/// From how many sockets.
const SOCKETS: usize = 16;

/// RFC 3261 section 17.1.2.2: when a request is repeated first, and the longest time between repeats.
const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);

/// Within what time a registration is a good one.
const IN_TIME: Duration = Duration::from_secs(2);

/// When a UE gives up.
const PATIENCE: Duration = Duration::from_secs(32);

/// UEs, and the pace at which they begin.
pub struct Paced {
    core: SocketAddr,
    sockets: Vec<UdpSocket>,
    ues: Vec<Subscriber>,
    /// The number of the first UE.
    first: usize,
    idle: VecDeque<usize>,
    /// What is to be sent again, or after Retry-After: when, by whom, and as its how-manieth request.
    due: BinaryHeap<Reverse<(Instant, usize, u64)>>,
    interval: Duration,
    incoming: Incoming,
    outgoing: Vec<Outgoing>,
}

struct Subscriber {
    ue: Ue,
    begins: u32,
    /// When the registration under way was to begin, and whether that was in the phase that is measured.
    began: Option<(Instant, bool)>,
    request: Vec<u8>,
    /// Counts requests, so that a timer of an earlier one does nothing.
    sent: u64,
    repeats_after: Duration,
    /// Refused: it begins anew when its time comes.
    waits: bool,
}

/// What became of the registrations that were to begin in one phase.
#[derive(Debug, Default)]
pub struct Phase {
    pub begun: usize,
    pub latencies: Vec<Duration>,
    pub refused: usize,
    pub repeated: usize,
    pub wrong: usize,
    /// No UE was free to begin.
    pub skipped: usize,
}

impl Phase {
    pub const HEADER: &str =
        "phase        begun  goodput  complete     p50      p99  refused  repeated  wrong";

    /// The share that was complete in time.
    pub fn goodput(&self) -> f64 {
        let good = self.latencies.iter().filter(|latency| **latency <= IN_TIME).count();
        good as f64 / (self.begun + self.skipped).max(1) as f64
    }

    pub fn p99(&self) -> Duration {
        self.percentile(0.99)
    }

    fn percentile(&self, share: f64) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort();
        let at = (sorted.len().saturating_sub(1) as f64 * share) as usize;
        sorted.get(at).copied().unwrap_or_default()
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |share| self.percentile(share).as_secs_f64() * 1e3;
        write!(
            f,
            "{:>8}  {:>6.2}%  {:>8}  {:>4.1}ms  {:>5.1}ms  {:>7}  {:>8}  {:>5}",
            self.begun,
            100.0 * self.goodput(),
            self.latencies.len(),
            millis(0.5),
            millis(0.99),
            self.refused,
            self.repeated,
            self.wrong
        )
    }
}

impl Paced {
    /// So many UEs from number `first` on; `rate` of them begin in a second.
    pub fn new(core: SocketAddr, first: usize, users: usize, rate: f64) -> Self {
        let sockets: Vec<UdpSocket> = (0..SOCKETS)
            .map(|_| {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                socket2::SockRef::from(&socket).set_recv_buffer_size(1 << 20).unwrap();
                socket.set_nonblocking(true).unwrap();
                socket
            })
            .collect();
        let subscriber = |number| Subscriber {
            ue: Ue::new(first + number),
            begins: 0,
            began: None,
            request: Vec::new(),
            sent: 0,
            repeats_after: T1,
            waits: false,
        };
        Self {
            core,
            outgoing: sockets.iter().map(|_| Outgoing::new()).collect(),
            sockets,
            ues: (0..users).map(subscriber).collect(),
            idle: (0..users).collect(),
            first,
            due: BinaryHeap::new(),
            interval: Duration::from_secs_f64(1.0 / rate),
            incoming: Incoming::new(128),
        }
    }

    /// Lets UEs begin for so long, then waits until each has had its time, [`IN_TIME`]; those who go on after that
    /// are no part of the next phase.
    pub fn run(&mut self, time: Duration) -> Phase {
        let mut phase = Phase::default();
        let started = Instant::now();
        let mut next = started;
        let mut open = 0;
        let end = started + time;
        while next < end || (open > 0 && Instant::now() < end + IN_TIME) {
            let now = Instant::now();
            while next <= now && next < end {
                if let Some(number) = self.idle.pop_front() {
                    phase.begun += 1;
                    open += 1;
                    let ue = &mut self.ues[number];
                    ue.began = Some((next, false));
                    // A registration, a refresh, and a de-registration; then it is unknown again.
                    ue.ue.expires = if ue.begins % 3 == 2 { 0 } else { 3_600 };
                    ue.begins += 1;
                    self.begin(number);
                } else {
                    phase.skipped += 1;
                }
                next += self.interval;
            }
            self.send_due(now, &mut phase);
            self.flush();
            open -= self.receive(&mut phase);
            self.flush();
            std::thread::sleep(Duration::from_micros(200));
        }
        for ue in &mut self.ues {
            // Whoever is not done is not counted any more; it still ends what it began.
            ue.began = ue.began.map(|(began, _)| (began, true));
        }
        phase
    }

    fn begin(&mut self, number: usize) {
        let ue = &mut self.ues[number];
        ue.request = ue.ue.ask().into_bytes();
        ue.waits = false;
        self.send_first(number);
    }

    fn send_first(&mut self, number: usize) {
        let ue = &mut self.ues[number];
        ue.sent += 1;
        ue.repeats_after = T1;
        self.due.push(Reverse((Instant::now() + T1, number, ue.sent)));
        self.send(number);
    }

    fn send(&mut self, number: usize) {
        let request = &self.ues[number].request;
        self.outgoing[number % SOCKETS].push(self.core, |octets| octets.extend_from_slice(request));
    }

    fn flush(&mut self) {
        for (socket, outgoing) in self.sockets.iter().zip(&mut self.outgoing) {
            if !outgoing.is_empty() {
                outgoing.flush(socket.as_fd(), |_, _| ());
            }
        }
    }

    fn send_due(&mut self, now: Instant, phase: &mut Phase) {
        while let Some(Reverse((due, number, sent))) = self.due.peek().copied()
            && due <= now
        {
            self.due.pop();
            let ue = &mut self.ues[number];
            let Some((began, _)) = ue.began.filter(|_| ue.sent == sent) else { continue };
            if now > began + PATIENCE {
                ue.began = None;
                self.idle.push_back(number);
            } else if ue.waits {
                self.begin(number);
            } else {
                phase.repeated += 1;
                ue.repeats_after = (ue.repeats_after * 2).min(T2);
                self.due.push(Reverse((now + ue.repeats_after, number, sent)));
                self.send(number);
            }
        }
    }

    /// Takes in what has come; how many registrations of this phase it completes.
    fn receive(&mut self, phase: &mut Phase) -> usize {
        let mut completed = 0;
        for at in 0..SOCKETS {
            if self.incoming.receive(self.sockets[at].as_fd()).is_err() {
                continue;
            }
            let answers: Vec<String> = self
                .incoming
                .datagrams()
                .map(|(octets, _)| String::from_utf8(octets.to_vec()).expect("text"))
                .collect();
            for answer in answers {
                completed += usize::from(self.hear(&answer, phase));
            }
        }
        completed
    }

    fn hear(&mut self, answer: &str, phase: &mut Phase) -> bool {
        let Some((number, cseq)) = Ue::number_and_cseq_in(answer) else { return false };
        let number = number - self.first;
        let ue = &mut self.ues[number];
        let Some((began, of_earlier_phase)) = ue.began.filter(|_| ue.ue.cseq() == cseq) else {
            return false; // to a request that was repeated
        };
        match &answer[8..11] {
            "100" => {}
            "401" => {
                ue.request = ue.ue.respond(answer).into_bytes();
                self.send_first(number);
            }
            "200" => {
                ue.began = None;
                self.idle.push_back(number);
                if !of_earlier_phase {
                    phase.latencies.push(began.elapsed());
                    return true;
                }
            }
            "503" if !ue.waits => {
                phase.refused += 1;
                let after = answer.split("Retry-After: ").nth(1).expect("Retry-After");
                let after = after.split(['\r', ' ', ';']).next().unwrap().parse().unwrap();
                ue.waits = true;
                self.due.push(Reverse((
                    Instant::now() + Duration::from_secs(after),
                    number,
                    ue.sent,
                )));
            }
            "503" => {}
            _ => phase.wrong += 1,
        }
        false
    }
}
