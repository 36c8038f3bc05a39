//! Vector requests to any HSS over Diameter Cx (MAR): one connection a thread, over TCP or TLS.
//!
//! Each vector is checked as a UE would check it: MAC-A shows whether K, OP and AMF are right, and the SQN whether
//! it was used before.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, poll};

use super::{
    answer::Diagnosis,
    arrival::{Arrivals, Share},
    cause::{Cause, Step},
    channel::{Channel, Secured, is_later},
    effort::Meter,
    http_pool::nanos,
    link::timespec,
    recorder::Recorder,
    sqn_memory::SqnMemory,
    subscribers::{Keys, NameBuffers, Subscribers},
    timeline::Current,
    worker::{Outcome, Phase, STOP_PATIENCE},
};
use crate::{
    aka::{AuthVector, Milenage},
    diameter::{
        cx::{
            Answer, MultimediaAuthAnswer, MultimediaAuthRequest, Request, ResultCode, SCHEME_AKA_V1,
        },
        cx_codec::Destination,
        local::{DiameterIdentity, LocalNode, Origin},
        peer::{
            AllowedPeers, Config, Connection, DownReason, Event, FailureReason, PeerOutput, Timing,
        },
    },
    identity::{Impi, Impu, UserIdentity},
    node::{Clock, SystemEntropy},
};

/// How long connecting and the exchange of capabilities may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// Octets read at a time.
const READ_OCTETS: usize = 65_536;

/// Requests that begin in one turn.
const BEGIN_MAX: usize = 64;

/// The longest sleep.
const SLEEP_MAX: Duration = Duration::from_millis(20);

/// Who asks whom.
#[derive(Clone, Debug)]
pub(super) struct Roles {
    /// Our Origin-Host; threads beyond the first put their number and a dot before it.
    pub(super) origin_host: DiameterIdentity,
    pub(super) origin_realm: DiameterIdentity,
    pub(super) destination_realm: DiameterIdentity,
    /// The HSS, which also is the only one accepted at the other end.
    pub(super) destination_host: DiameterIdentity,
    /// The SIP URI of the S-CSCF that asks.
    pub(super) server_name: String,
}

/// One thread's connection, and the subscribers that it asks for.
pub(super) struct CxClient {
    subscribers: Arc<Subscribers>,
    share: Share,
    roles: Roles,
    channel: Channel,
    connection: Connection,
    out: PeerOutput,
    unsent: Vec<u8>,
    buffer: Box<[u8]>,
    entropy: SystemEntropy,
    clock: Clock,
    /// Requests without an answer, by token.
    pending: Vec<Option<Pending>>,
    free: Vec<usize>,
    next: u32,
    sqn: SqnMemory,
    diagnosis: Diagnosis,
    recorder: Recorder,
    current: Current,
}

#[derive(Clone, Copy)]
struct Pending {
    /// The subscriber, by its number in the thread.
    ue: u32,
    intended: u64,
}

impl CxClient {
    /// Connects and exchanges capabilities.
    pub(super) fn connect(
        subscribers: Arc<Subscribers>,
        share: Share,
        (target, tls, roles): (SocketAddr, Option<&Secured>, Roles),
        ind_bits: u8,
    ) -> io::Result<Self> {
        let channel = Channel::open(target, tls, CONNECT_TIME_MAX)?;
        let (mut entropy, clock) = (SystemEntropy::new(), Clock::start());
        let host = match share.index {
            0 => roles.origin_host.clone(),
            index => DiameterIdentity::parse(&format!("{index}.{}", roles.origin_host))
                .map_err(|error| io::Error::other(format!("Origin-Host {error}")))?,
        };
        let origin = Origin { host, realm: roles.origin_realm.clone() };
        let addresses = vec![channel.socket().local_addr()?.ip()];
        let local = Arc::new(LocalNode::new(origin, addresses, clock.now(), &mut entropy));
        let allowed = AllowedPeers::Only(roles.destination_host.clone());
        let config = Config { local, allowed, timing: Timing::default() };
        let mut out = PeerOutput::default();
        let connection = Connection::initiate(config, clock.now(), &mut entropy, &mut out);
        let ues = usize::try_from(share.part(subscribers.len() as u64)).unwrap_or(0);
        let mut client = Self {
            sqn: SqnMemory::new(ues, ind_bits),
            subscribers,
            share,
            roles,
            channel,
            connection,
            out,
            unsent: Vec::new(),
            buffer: vec![0; READ_OCTETS].into(),
            entropy,
            clock,
            pending: Vec::new(),
            free: Vec::new(),
            next: 0,
            diagnosis: Diagnosis::default(),
            recorder: Recorder::new(),
            current: Current::new(),
        };
        client.wait_until_open()?;
        Ok(client)
    }

    fn wait_until_open(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + CONNECT_TIME_MAX;
        while !self.connection.is_open() {
            if Instant::now() >= deadline {
                return Err(ErrorKind::TimedOut.into());
            }
            self.exchange(0)?;
            self.sleep(SLEEP_MAX)?;
        }
        Ok(())
    }

    /// Runs one phase.
    pub(super) fn run(&mut self, mut arrivals: Arrivals, phase: Phase<'_>) -> io::Result<Outcome> {
        (self.recorder, self.current) = (Recorder::new(), Current::new());
        std::thread::sleep(phase.start.saturating_duration_since(Instant::now()));
        let meter = Meter::start(&[]);
        let now = || nanos(phase.start.elapsed());
        let mut over_at: Option<u64> = None;
        let (mut in_time, mut is_behind) = (0, false);
        loop {
            let turn = now();
            let stops = phase.stop.load(Ordering::Relaxed);
            let is_late = arrivals.are_overdue(turn);
            if over_at.is_none() && (arrivals.is_over(turn) || is_late || stops) {
                (over_at, is_behind) = (Some(turn), is_late);
                in_time = self.recorder.counts.succeeded;
            }
            let end = over_at.filter(|_| stops).map(|at| at.saturating_add(nanos(STOP_PATIENCE)));
            let nobody = over_at.is_some() && self.under_way() == 0;
            if nobody || end.is_some_and(|end| turn >= end) {
                break;
            }
            let mut did = self.exchange(turn)?;
            if over_at.is_none() {
                did += self.begin(&mut arrivals, &now)?;
            }
            phase.timeline.roll(&mut self.current, turn);
            if did == 0 {
                let next =
                    arrivals.next_at().map(|at| Duration::from_nanos(at.saturating_sub(now())));
                self.sleep(next.unwrap_or(SLEEP_MAX).min(SLEEP_MAX))?;
            }
        }
        let ended = now();
        self.cut_off();
        phase.timeline.hand_over(&mut self.current);
        let recorder = std::mem::replace(&mut self.recorder, Recorder::new());
        let (effort, offered) = (meter.stop(), over_at.unwrap_or(ended));
        Ok(Outcome { recorder, effort, offered, ended, in_time, is_behind, is_refused: false })
    }

    fn under_way(&self) -> usize {
        self.pending.len() - self.free.len()
    }

    /// Sends the requests that are due; returns how many.
    fn begin(&mut self, arrivals: &mut Arrivals, now: &dyn Fn() -> u64) -> io::Result<usize> {
        let mut begun = Vec::new();
        for _ in 0..BEGIN_MAX {
            let Some(intended) = arrivals.take(now(), self.under_way()) else { break };
            let ue = self.next;
            self.next = (ue + 1) % u32::try_from(self.ues()).unwrap_or(u32::MAX).max(1);
            let request = Request::MultimediaAuth(self.request(ue)?);
            let token = self.free.pop().unwrap_or(self.pending.len());
            if token == self.pending.len() {
                self.pending.push(None);
            }
            let destination = Destination {
                realm: self.roles.destination_realm.clone(),
                host: Some(self.roles.destination_host.clone()),
            };
            let at = self.clock.now();
            let sent = self.connection.send_request(
                at,
                &destination,
                request,
                token as u64,
                &mut self.out,
            );
            self.recorder.counts.started += 1;
            self.current.started();
            if let Some(place) = self.pending.get_mut(token) {
                *place = Some(Pending { ue, intended });
            }
            if sent.is_err() {
                self.end(token, Err(Cause::Broken), now());
            }
            begun.push(intended);
        }
        if !begun.is_empty() {
            self.flush()?;
            let at = now();
            for intended in &begun {
                self.recorder.lateness.record(at.saturating_sub(*intended));
            }
        }
        Ok(begun.len())
    }

    fn ues(&self) -> u64 {
        self.share.part(self.subscribers.len() as u64)
    }

    fn request(&self, ue: u32) -> io::Result<MultimediaAuthRequest> {
        let mut names = NameBuffers::default();
        self.subscribers.name(self.share.number(ue), &mut names);
        // They were parsed before.
        let wrong = |error| io::Error::other(format!("an identity {error}"));
        Ok(MultimediaAuthRequest {
            identity: UserIdentity {
                impi: Impi::parse(&names.impi).map_err(wrong)?,
                impu: Impu::parse(&names.impu).map_err(wrong)?,
            },
            scheme: SCHEME_AKA_V1.into(),
            resync: None,
            server_name: self.roles.server_name.as_str().into(),
        })
    }

    /// Takes in what arrived, and sends what waits; returns how much there was to do.
    fn exchange(&mut self, turn: u64) -> io::Result<usize> {
        let at = self.clock.now();
        if self.connection.next_deadline().is_some_and(|deadline| deadline <= at) {
            self.connection.handle_timer(at, &mut self.entropy, &mut self.out);
        }
        let length = match self.channel.read(&mut self.buffer) {
            Ok(0) => {
                let why = ended(DownReason::TransportClosed);
                return Err(io::Error::new(ErrorKind::ConnectionAborted, why));
            }
            Ok(length) => length,
            Err(error) if is_later(&error) => 0,
            Err(error) => return Err(error),
        };
        let octets = self.buffer.get(..length).unwrap_or_default();
        self.connection.handle_octets(at, octets, &mut self.out);
        for event in std::mem::take(&mut self.out.events) {
            match event {
                Event::Up(_) => {}
                Event::Answer { token, answer } => self.handle_answer(token, answer, turn),
                Event::Failed { token, reason } => {
                    let cause = match reason {
                        FailureReason::TimedOut => Cause::Timeout(Step::Vector),
                        FailureReason::InvalidAnswer(_) => Cause::Malformed,
                        FailureReason::ConnectionLost => Cause::Broken,
                    };
                    self.end(usize::try_from(token).unwrap_or(usize::MAX), Err(cause), turn);
                }
                // Nobody asks a load generator; the context counts as in progress.
                Event::Request { .. } => self.recorder.counts.stray += 1,
                Event::Down(reason) => {
                    return Err(io::Error::new(ErrorKind::ConnectionAborted, ended(reason)));
                }
            }
        }
        self.flush()?;
        Ok(length)
    }

    fn handle_answer(&mut self, token: u64, answer: Answer, turn: u64) {
        let token = usize::try_from(token).unwrap_or(usize::MAX);
        let Answer::MultimediaAuth(MultimediaAuthAnswer { result, vector, .. }) = answer else {
            return;
        };
        let Some(Pending { ue, intended }) = self.pending.get(token).copied().flatten() else {
            return;
        };
        let (ResultCode::Base(code) | ResultCode::Experimental(code)) = result;
        let code = u16::try_from(code).unwrap_or(u16::MAX);
        self.recorder.answered(Step::Vector, code, turn.saturating_sub(intended));
        let outcome = match vector {
            Some(vector) if result.is_success() => self.check(ue, &vector),
            _ => Err(Cause::Cx(code)),
        };
        self.end(token, outcome, turn);
    }

    /// Checks a vector as the UE of the subscriber would.
    fn check(&mut self, ue: u32, vector: &AuthVector) -> Result<(), Cause> {
        let subscriber = self.share.number(ue);
        let Some(keys @ Keys { k, opc }) = self.subscribers.keys(subscriber) else { return Ok(()) };
        let AuthVector { rand, autn, .. } = vector;
        let Ok(found) = Milenage::new(k, opc).verify_autn(rand, autn) else {
            return Err(self.diagnosis.of(keys, self.subscribers.op(subscriber), rand, autn));
        };
        self.sqn.accept(ue, found.sqn).map_err(|_| Cause::SqnAgain)
    }

    fn end(&mut self, token: usize, outcome: Result<(), Cause>, turn: u64) {
        let Some(Pending { ue, intended }) = self.pending.get_mut(token).and_then(Option::take)
        else {
            return;
        };
        self.free.push(token);
        match outcome {
            Ok(()) => {
                let took = turn.saturating_sub(intended);
                self.recorder.registration.record(took);
                self.recorder.counts.succeeded += 1;
                self.current.succeeded(took);
            }
            Err(cause) => {
                self.recorder.failed(cause, self.share.number(ue));
                self.current.failed();
            }
        }
    }

    fn cut_off(&mut self) {
        for token in 0..self.pending.len() {
            self.end(token, Err(Cause::CutOff), 0);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.unsent.extend_from_slice(&self.out.octets);
        self.out.octets.clear();
        let mut written = 0;
        while let Some(rest) = self.unsent.get(written..).filter(|rest| !rest.is_empty()) {
            match self.channel.write(rest) {
                Ok(length) => written += length,
                Err(error) if is_later(&error) => break,
                Err(error) => return Err(error),
            }
        }
        self.unsent.drain(..written);
        Ok(())
    }

    fn sleep(&self, time: Duration) -> io::Result<()> {
        let is_all_written = self.unsent.is_empty() && !self.channel.wants_write();
        let wanted = if is_all_written { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        match poll(&mut [PollFd::new(self.channel.socket(), wanted)], Some(&timespec(time))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Why there is no connection any more, and what to look at.
fn ended(reason: DownReason) -> String {
    /// `DIAMETER_UNKNOWN_PEER`.
    const UNKNOWN_PEER: u32 = 3010;
    match reason {
        DownReason::Refused(UNKNOWN_PEER) => {
            "it knows no peer of our name: add it there, or give one that it knows by --origin-host"
                .to_owned()
        }
        DownReason::TransportClosed => {
            "it closed the connection: does it know our Origin-Host (--origin-host)?".to_owned()
        }
        DownReason::UnknownPeer => {
            "its Origin-Host is another one: give it by --destination-host".to_owned()
        }
        DownReason::NoCommonApplication => "it does not serve Cx".to_owned(),
        DownReason::CapabilitiesTimeout
        | DownReason::Refused(_)
        | DownReason::ProtocolError
        | DownReason::WatchdogTimeout
        | DownReason::Disconnected(_)
        | DownReason::ShutDown => format!("the Diameter connection ended: {reason:?}"),
    }
}
