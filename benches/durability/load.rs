//! Users that register: as many as the system takes, or so many a second.

use std::{
    collections::VecDeque,
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use crate::ue::Ue;

/// When a request has no answer any more. Nothing is sent twice: a bench that loses datagrams says so.
const PATIENCE: Duration = Duration::from_secs(8);

pub struct Load {
    socket: UdpSocket,
    ues: Vec<Ue>,
    /// When the registration under way began, by user.
    begun: Vec<Option<Instant>>,
    /// Who registers next.
    idle: VecDeque<usize>,
}

#[derive(Default)]
pub struct Outcome {
    pub latencies: Vec<Duration>,
    pub lost: usize,
    took: Duration,
}

impl Outcome {
    pub fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }

    pub fn percentiles(&self) -> String {
        let mut sorted = self.latencies.clone();
        sorted.sort();
        let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize].as_secs_f64();
        format!("{:>5.2}ms {:>5.2}ms", at(0.5) * 1e3, at(0.99) * 1e3)
    }
}

impl Load {
    pub fn new(core: SocketAddr, users: usize) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket2::SockRef::from(&socket).set_recv_buffer_size(8 << 20).unwrap();
        socket.connect(core).unwrap();
        let ues = (0..users).map(Ue::new).collect();
        Self { socket, ues, begun: vec![None; users], idle: (0..users).collect() }
    }

    /// Makes so many registrations, as fast as it goes.
    pub fn saturate(&mut self, registrations: usize, in_flight: usize) -> Outcome {
        let mut left = registrations;
        self.run(move |_, under_way| {
            let begins = left > 0 && under_way < in_flight;
            left -= usize::from(begins);
            if begins {
                Next::Begin
            } else if left == 0 {
                Next::End
            } else {
                Next::Wait
            }
        })
    }

    /// Registers for a time, as fast as it goes.
    pub fn saturate_for(&mut self, time: Duration, in_flight: usize) -> Outcome {
        self.run(move |since, under_way| match () {
            () if since > time => Next::End,
            () if under_way < in_flight => Next::Begin,
            () => Next::Wait,
        })
    }

    /// Registers for a time at a steady rate, however long answers take.
    pub fn at_rate(&mut self, time: Duration, rate: u32) -> Outcome {
        let mut due = Duration::ZERO;
        self.run(move |since, _| match () {
            () if since > time => Next::End,
            () if since >= due => {
                due += Duration::from_secs(1) / rate;
                Next::Begin
            }
            () => Next::Wait,
        })
    }

    /// Begins registrations as `next` says, and goes on with those that are under way.
    fn run(&mut self, mut next: impl FnMut(Duration, usize) -> Next) -> Outcome {
        let started = Instant::now();
        let mut outcome = Outcome::default();
        let mut under_way = 0;
        let mut heard = started;
        let mut buffer = [0; 4_096];
        loop {
            let ends = loop {
                match next(started.elapsed(), under_way) {
                    Next::Begin => under_way += usize::from(self.begin()),
                    Next::Wait => break false,
                    Next::End => break true,
                }
            };
            if ends && outcome.took.is_zero() {
                outcome.took = started.elapsed();
            }
            if ends && (under_way == 0 || heard.elapsed() > PATIENCE) {
                break;
            }
            // Short, so that a steady rate is steady.
            let wait = Duration::from_micros(200);
            self.socket.set_read_timeout(Some(wait)).unwrap();
            match self.socket.recv(&mut buffer) {
                Ok(length) => {
                    heard = Instant::now();
                    let answer = std::str::from_utf8(&buffer[..length]).expect("text");
                    if let Some(latency) = self.hear(answer) {
                        under_way -= 1;
                        // What ends after the time is not counted: the rate is that of the time.
                        if outcome.took.is_zero() {
                            outcome.latencies.push(latency);
                        }
                    }
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => panic!("{error}"),
            }
        }
        outcome.lost = under_way;
        for number in 0..self.ues.len() {
            if self.begun[number].take().is_some() {
                self.idle.push_back(number);
            }
        }
        outcome
    }

    /// Lets one more user begin, if there is one.
    fn begin(&mut self) -> bool {
        let Some(number) = self.idle.pop_front() else { return false };
        self.begun[number] = Some(Instant::now());
        let request = self.ues[number].ask();
        self.socket.send(request.as_bytes()).unwrap();
        true
    }

    /// Takes an answer in; how long the registration took if it is complete.
    fn hear(&mut self, answer: &str) -> Option<Duration> {
        let number = Ue::number_in(answer)?;
        let begun = self.begun[number]?;
        match &answer[8..11] {
            "100" => None,
            "401" => {
                let request = self.ues[number].respond(answer);
                self.socket.send(request.as_bytes()).unwrap();
                None
            }
            "200" => {
                self.begun[number] = None;
                self.idle.push_back(number);
                Some(begun.elapsed())
            }
            _ => panic!("refused: {answer}"),
        }
    }
}

enum Next {
    /// One more begins.
    Begin,
    /// Not now.
    Wait,
    /// No more.
    End,
}
