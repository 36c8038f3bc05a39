//! The UEs of one thread: what each sends, and what it makes of answers.
//!
//! Sans-I/O: answers and times in, requests into a buffer. The transaction rules are those of
//! [`crate::ue`], the state is packed: about 200 octets a UE, keys included.

mod answers;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{
    answer::Diagnosis,
    arrival::{Arrivals, Share},
    cause::{Cause, Step},
    handover::{Pair, Told},
    outgoing::{Kept, NOT_KEPT, Outgoing},
    random::Random,
    recorder::Recorder,
    request::{Authorization, Branch, BranchPrefix, Common, Request},
    sqn_memory::SqnMemory,
    subscribers::{NameBuffers, Subscribers},
    timeline::Current,
    wheel::Wheel,
};
use crate::{aka::digest::Algorithm, sip::Framing};

/// A UE answers at most this many challenges in one registration.
const CHALLENGES_MAX: u8 = 3;

/// How long a UE waits before it tries again if it was not told.
const RETRY_NANOS: u64 = 1_000_000_000;

/// The longest that a UE waits because of a Retry-After, seconds.
const RETRY_AFTER_MAX: u32 = 3_600;

/// Registrations that begin in one turn.
const BEGIN_MAX: usize = 64;

/// What all UEs have in common.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// The estimated round-trip time (RFC 3261 clause 17.1.1.1).
    pub(super) t1: Duration,
    /// The longest interval between retransmissions.
    pub(super) t2: Duration,
    /// The algorithm to ask for.
    pub(super) algorithm: Option<Algorithm>,
    /// Bits of SQN that are IND.
    pub(super) ind_bits: u8,
    /// How messages end: of datagrams or of a stream. Requests over streams are not retransmitted.
    pub(super) framing: Framing,
    /// The number of this run.
    pub(super) run: u32,
}

/// How the UEs behave in one phase.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// Whether a registration is a new one, as after a restart of the UE, and no refresh.
    pub(super) anew: bool,
    /// Whether a UE that could not register for now tries again.
    pub(super) persists: bool,
}

/// The UEs of one thread.
pub(super) struct Ues {
    subscribers: Arc<Subscribers>,
    share: Share,
    settings: Settings,
    pub(super) manner: Manner,
    prefix: BranchPrefix,
    /// By socket.
    commons: Vec<Common>,
    states: Vec<Ue>,
    sqn: SqnMemory,
    wheel: Wheel,
    idle: VecDeque<u32>,
    kept: Kept,
    names: NameBuffers,
    uri: String,
    random: Random,
    diagnosis: Diagnosis,
    fired: Vec<u32>,
    under_way: usize,
    /// Pairs that UEs were told to register with, in the place of their own.
    pairs: Vec<Option<Pair>>,
    /// Until then all UEs were busy; nanoseconds.
    busy_until: Option<u64>,
    pub(super) recorder: Recorder,
    pub(super) current: Current,
}

/// What a UE remembers.
#[derive(Clone, Copy)]
struct Ue {
    /// When the registration was to begin, nanoseconds.
    intended: u64,
    /// When the step was to begin.
    since: u64,
    /// When the request of the step was sent first.
    sent: u64,
    cseq: u32,
    /// Which Call-ID.
    call: u32,
    /// The request with a response, while its answer is awaited.
    kept: u32,
    /// The interval until the next retransmission, milliseconds.
    interval: u32,
    phase: Phase,
    challenges: u8,
    /// Whether an AUTS was sent.
    resynchronized: bool,
    /// Whether the realm of the challenge is not the domain.
    other_realm: bool,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Phase {
    Idle,
    Challenge,
    Response,
    /// It will try again.
    Waits,
}

impl Ue {
    const fn new() -> Self {
        Self {
            intended: 0,
            since: 0,
            sent: 0,
            cseq: 0,
            call: 0,
            kept: NOT_KEPT,
            interval: 0,
            phase: Phase::Idle,
            challenges: 0,
            resynchronized: false,
            other_realm: false,
        }
    }

    const fn step(&self) -> Option<Step> {
        match self.phase {
            Phase::Challenge => Some(Step::Challenge),
            Phase::Response => Some(Step::Response),
            Phase::Idle | Phase::Waits => None,
        }
    }
}

impl Ues {
    /// The UEs of one thread's share of the subscribers.
    pub(super) fn new(
        subscribers: Arc<Subscribers>,
        share: Share,
        settings: Settings,
        commons: Vec<Common>,
    ) -> Self {
        // At most SUBSCRIBERS_MAX.
        let ues = u32::try_from(share.part(subscribers.len() as u64)).unwrap_or(u32::MAX);
        let count = ues as usize;
        let seed = u64::from(settings.run) << 32 | u64::from(share.index);
        Self {
            prefix: BranchPrefix::new(settings.run),
            states: vec![Ue::new(); count],
            sqn: SqnMemory::new(count, settings.ind_bits),
            wheel: Wheel::new(count),
            idle: (0..ues).collect(),
            kept: Kept::default(),
            names: NameBuffers::default(),
            uri: String::new(),
            random: Random::new(seed),
            diagnosis: Diagnosis::default(),
            fired: Vec::new(),
            under_way: 0,
            pairs: Vec::new(),
            busy_until: None,
            recorder: Recorder::new(),
            current: Current::new(),
            manner: Manner { anew: true, persists: false },
            subscribers,
            share,
            settings,
            commons,
        }
    }

    /// How many registrations are under way, those included that wait to try again.
    pub(super) const fn under_way(&self) -> usize {
        self.under_way
    }

    /// Whether a timer runs.
    pub(super) const fn is_timing(&self) -> bool {
        self.wheel.is_armed()
    }

    /// Takes a new address of socket number `socket` for its requests.
    pub(super) fn set_local(&mut self, socket: usize, local: String) {
        if let Some(common) = self.commons.get_mut(socket) {
            common.local = local;
        }
    }

    /// Begins a phase at time 0. Nothing is under way.
    pub(super) fn begin_phase(&mut self, manner: Manner) {
        self.manner = manner;
        self.recorder = Recorder::new();
        self.current = Current::new();
        self.busy_until = None;
        self.wheel.restart();
    }

    /// Begins the registrations that are due, as many as one turn may. Their intended times go to `begun`.
    pub(super) fn begin_due(
        &mut self,
        arrivals: &mut Arrivals,
        now: u64,
        out: &mut Outgoing,
        begun: &mut Vec<u64>,
    ) {
        for _ in 0..BEGIN_MAX {
            if self.idle.is_empty() {
                if arrivals.next_at().is_some_and(|at| at <= now) {
                    self.busy_until = Some(now);
                }
                return;
            }
            let Some(intended) = arrivals.take(now, self.under_way) else { return };
            let Some(ue) = self.idle.pop_front() else { return };
            self.under_way += 1;
            self.recorder.counts.started += 1;
            self.current.started();
            if self.busy_until.is_some_and(|until| intended <= until) {
                self.recorder.counts.no_idle_ue += 1;
            } else {
                begun.push(intended);
            }
            self.change(ue, |state| state.intended = intended);
            self.begin(ue, intended, now, out);
        }
    }

    /// Lets a UE register with the pair that it was told, or fail if it was told none.
    pub(super) fn take_over(&mut self, told: Told, now: u64, out: &mut Outgoing) {
        let Told { ue, intended, late, took, status, outcome } = told;
        self.under_way += 1;
        self.recorder.counts.started += 1;
        self.current.started();
        self.recorder.lateness.record(late);
        if status > 0 {
            self.recorder.answered(Step::Details, status, took);
        }
        self.change(ue, |state| state.intended = intended);
        match outcome {
            Ok(pair) => {
                self.recorder.step_done(Step::Details, took);
                self.pairs.resize_with(self.states.len(), || None);
                if let Some(place) = self.pairs.get_mut(ue as usize) {
                    *place = Some(pair);
                }
                self.begin(ue, now, now, out);
            }
            Err(cause) => self.fail(ue, cause, None, now),
        }
    }

    /// Handles the timers that are due.
    pub(super) fn handle_timers(&mut self, now: u64, out: &mut Outgoing) {
        let mut fired = std::mem::take(&mut self.fired);
        self.wheel.advance(now, &mut fired);
        for ue in fired.drain(..) {
            self.handle_timer(ue, now, out);
        }
        self.fired = fired;
    }

    /// The connection of these UEs has ended: nothing is answered any more.
    pub(super) fn connection_lost(&mut self, now: u64) {
        self.end_all(Cause::Broken, now);
    }

    /// Ends what is still under way.
    pub(super) fn cut_off(&mut self, now: u64) {
        self.manner.persists = false;
        self.end_all(Cause::CutOff, now);
    }

    fn end_all(&mut self, cause: Cause, now: u64) {
        if self.under_way == 0 {
            return;
        }
        for ue in 0..u32::try_from(self.states.len()).unwrap_or(u32::MAX) {
            let phase = self.states.get(ue as usize).map(|state| state.phase);
            let waits = phase == Some(Phase::Waits) && self.manner.persists;
            if phase.is_some_and(|phase| phase != Phase::Idle) && !waits {
                self.fail(ue, cause, None, now);
            }
        }
    }

    /// Begins a registration of `ue`; its first request was to be sent at `since`.
    fn begin(&mut self, ue: u32, since: u64, now: u64, out: &mut Outgoing) {
        let anew = self.manner.anew;
        self.change(ue, |state| {
            state.since = since;
            state.challenges = 0;
            state.resynchronized = false;
            state.other_realm = false;
            state.call = state.call.wrapping_add(anew.into());
        });
        self.send_initial(ue, now, out);
    }

    /// `MIG-15`: asks for a challenge.
    fn send_initial(&mut self, ue: u32, now: u64, out: &mut Outgoing) {
        self.change(ue, |state| {
            state.cseq += 1;
            state.phase = Phase::Challenge;
        });
        self.write_initial(ue, out);
        self.start_transaction(ue, now);
    }

    fn write_initial(&mut self, ue: u32, out: &mut Outgoing) {
        let algorithm = self.settings.algorithm.map(Algorithm::as_str);
        self.write_register(ue, Authorization::Initial { algorithm }, out);
    }

    /// Writes a REGISTER of `ue` in its present state.
    fn write_register<'o>(
        &mut self,
        ue: u32,
        authorization: Authorization<'_>,
        out: &'o mut Outgoing,
    ) -> &'o [u8] {
        let Some(state) = self.states.get(ue as usize) else { return &[] };
        let branch = Branch { ue, cseq: state.cseq };
        let (subscriber, socket, call) = (self.subscriber(ue), self.socket(ue), state.call);
        let Self { subscribers, pairs, names, commons, .. } = self;
        let domain = name(subscribers, pairs, (subscriber, ue), names);
        let Some(common) = commons.get(socket) else { return &[] };
        let NameBuffers { impi, impu } = names;
        let request =
            Request { common, branch, subscriber, call, impi, impu, domain, authorization };
        out.add(socket, |octets| request.write(octets))
    }

    /// Arms Timers E and F.
    fn start_transaction(&mut self, ue: u32, now: u64) {
        let interval = millis(self.settings.t1);
        self.change(ue, |state| {
            state.sent = now;
            state.interval = interval;
        });
        self.arm(ue, now);
    }

    fn arm(&mut self, ue: u32, now: u64) {
        let Some(state) = self.states.get(ue as usize) else { return };
        let give_up = state.sent.saturating_add(self.timer_f());
        let at = match self.settings.framing {
            Framing::Datagram => give_up.min(now + u64::from(state.interval) * 1_000_000),
            Framing::Stream => give_up,
        };
        self.wheel.arm(ue, at);
    }

    /// Timer F, nanoseconds: 64 T1.
    fn timer_f(&self) -> u64 {
        u64::from(millis(self.settings.t1)) * 64 * 1_000_000
    }

    fn handle_timer(&mut self, ue: u32, now: u64, out: &mut Outgoing) {
        let Some(state) = self.states.get(ue as usize).copied() else { return };
        let step = match state.phase {
            Phase::Idle => return,
            Phase::Waits => return self.begin(ue, now, now, out),
            Phase::Challenge => Step::Challenge,
            Phase::Response => Step::Response,
        };
        if now >= state.sent.saturating_add(self.timer_f()) {
            return self.fail(ue, Cause::Timeout(step), None, now);
        }
        self.recorder.counts.retransmissions += 1;
        match step {
            Step::Challenge | Step::Details | Step::Allocation | Step::Vector => {
                self.write_initial(ue, out);
            }
            Step::Response => {
                let octets = self.kept.get(state.kept);
                out.add(self.socket(ue), |out| out.extend_from_slice(octets));
            }
        }
        let interval = state.interval.saturating_mul(2).min(millis(self.settings.t2));
        self.change(ue, |state| state.interval = interval);
        self.arm(ue, now);
    }

    fn fail(&mut self, ue: u32, cause: Cause, retry_after: Option<u32>, now: u64) {
        let subscriber = self.subscriber(ue);
        if self.manner.persists && is_for_now(cause) {
            self.recorder.retried(cause, subscriber);
            let kept = self.states.get(ue as usize).map_or(NOT_KEPT, |state| state.kept);
            self.kept.release(kept);
            self.change(ue, |state| {
                state.phase = Phase::Waits;
                state.kept = NOT_KEPT;
            });
            let told = retry_after.map(|seconds| u64::from(seconds.min(RETRY_AFTER_MAX)));
            let wait = told.map_or(RETRY_NANOS, |seconds| seconds * 1_000_000_000);
            return self.wheel.arm(ue, now + wait.max(RETRY_NANOS / 10));
        }
        self.recorder.failed(cause, subscriber);
        self.current.failed();
        self.rest(ue);
    }

    /// Ends a registration.
    fn rest(&mut self, ue: u32) {
        self.wheel.disarm(ue);
        let Some(state) = self.states.get_mut(ue as usize) else { return };
        state.phase = Phase::Idle;
        self.kept.release(std::mem::replace(&mut state.kept, NOT_KEPT));
        self.under_way -= 1;
        self.idle.push_back(ue);
    }

    fn change(&mut self, ue: u32, change: impl FnOnce(&mut Ue)) {
        if let Some(state) = self.states.get_mut(ue as usize) {
            change(state);
        }
    }

    /// The number of the subscriber in the run: the threads take turns.
    const fn subscriber(&self, ue: u32) -> u32 {
        self.share.number(ue)
    }

    const fn socket(&self, ue: u32) -> usize {
        match self.commons.len() {
            0 => 0,
            sockets => ue as usize % sockets,
        }
    }
}

/// Writes the names that a UE registers with; returns its domain.
fn name<'a>(
    subscribers: &'a Subscribers,
    pairs: &'a [Option<Pair>],
    (subscriber, ue): (u32, u32),
    names: &mut NameBuffers,
) -> &'a str {
    match pairs.get(ue as usize) {
        Some(Some(pair)) => {
            let [impi, impu, domain] = pair.names();
            names.impi.clear();
            names.impi.push_str(impi);
            names.impu.clear();
            names.impu.push_str(impu);
            domain
        }
        Some(None) | None => subscribers.name(subscriber, names),
    }
}

/// Whether it may be otherwise later.
const fn is_for_now(cause: Cause) -> bool {
    matches!(
        cause,
        Cause::Timeout(_) | Cause::Broken | Cause::Refused(_, 408 | 480 | 500 | 503 | 504)
    )
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}
