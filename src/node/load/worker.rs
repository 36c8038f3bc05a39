//! One thread of the generator: its UEs, its sockets, its hot loop.
//!
//! No runtime and no allocation for each message: what arrived is taken in batches, what is due begins, what
//! is to be sent leaves in one go, and the thread sleeps until there is more to do.

use std::{
    io,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::TryRecvError,
    },
    time::{Duration, Instant},
};

use super::{
    arrival::Arrivals,
    effort::{Effort, Meter},
    handover::Listener,
    link::{BATCH, Link, Lost, Sent},
    outgoing::Outgoing,
    recorder::Recorder,
    timeline::Timeline,
    ues::{Manner, Ues},
};

/// The longest sleep: a signal to stop is seen after it.
const SLEEP_MAX: Duration = Duration::from_millis(50);

/// The longest sleep while a timer runs.
const TIMER_SLEEP_MAX: Duration = Duration::from_millis(2);

/// How long those under way are waited for after a signal to stop.
pub(super) const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// How long a connection that cannot be opened is not tried again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);

/// So many ICMP reports without any answer end a run.
const REFUSED_MAX: u64 = 8;

/// One thread's part of the generator, between the phases.
pub(super) struct Worker {
    ues: Ues,
    link: Link,
    out: Outgoing,
    /// Intended times of what is in `out`.
    begun: Vec<u64>,
}

/// One part of a run.
#[derive(Clone, Copy)]
pub(super) struct Phase<'a> {
    /// Time 0 of all threads.
    pub(super) start: Instant,
    pub(super) manner: Manner,
    /// How long, after the last one has begun, those under way are waited for.
    pub(super) patience: Duration,
    /// Set from outside: ends the phase early.
    pub(super) stop: &'a AtomicBool,
    pub(super) timeline: &'a Timeline,
}

/// What lets registrations begin.
pub(super) enum Source {
    /// A plan.
    Plan(Arrivals),
    /// UEs that were told their connection details.
    Told {
        /// Where they come from.
        listener: Listener,
        /// Whether no more will come.
        is_over: bool,
    },
}

/// What one thread saw and did in a phase.
pub(super) struct Outcome {
    pub(super) recorder: Recorder,
    pub(super) effort: Effort,
    /// Nanoseconds until the last one had begun, and until all had ended.
    pub(super) offered: u64,
    pub(super) ended: u64,
    /// Registrations that had succeeded when the last one had begun.
    pub(super) in_time: u64,
    /// Whether some that were due had not begun when their time was long over.
    pub(super) is_behind: bool,
    /// Nobody listens there.
    pub(super) is_refused: bool,
}

impl Worker {
    pub(super) fn new(ues: Ues, link: Link) -> Self {
        Self { ues, link, out: Outgoing::default(), begun: Vec::new() }
    }

    /// Runs one phase.
    ///
    /// # Errors
    ///
    /// A socket that does not work.
    pub(super) fn run(&mut self, mut source: Source, phase: Phase<'_>) -> io::Result<Outcome> {
        self.ues.begin_phase(phase.manner);
        let ports = self.link.locals()?;
        std::thread::sleep(phase.start.saturating_duration_since(Instant::now()));
        let meter = Meter::start(&ports);
        let now = || nanos(phase.start.elapsed());
        let mut over_at: Option<u64> = None;
        let (mut in_time, mut is_behind, mut is_refused) = (0, false, false);
        loop {
            let turn = now();
            let stops = phase.stop.load(Ordering::Relaxed);
            let is_late = source.is_overdue(turn);
            if over_at.is_none() && (source.is_over(turn) || is_late || stops) {
                (over_at, is_behind) = (Some(turn), is_late);
                in_time = self.ues.recorder.counts.succeeded;
            }
            let patience = if stops { STOP_PATIENCE.min(phase.patience) } else { phase.patience };
            let end = over_at.map(|at| at.saturating_add(nanos(patience)));
            let nobody = self.ues.under_way() == 0 && over_at.is_some();
            if nobody || is_refused || end.is_some_and(|end| turn >= end) {
                break;
            }
            let has_more = self.turn(&mut source, over_at.is_none(), &now)?;
            phase.timeline.roll(&mut self.ues.current, turn);
            is_refused = self.link.refused() > REFUSED_MAX && self.ues.recorder.codes.is_empty();
            if !has_more {
                self.sleep(&source, now())?;
            }
        }
        let ended = now();
        self.ues.cut_off(ended);
        phase.timeline.hand_over(&mut self.ues.current);
        let recorder = std::mem::replace(&mut self.ues.recorder, Recorder::new());
        let offered = over_at.unwrap_or(ended);
        let effort = meter.stop();
        Ok(Outcome { recorder, effort, offered, ended, in_time, is_behind, is_refused })
    }

    /// Takes in what arrived, begins what is due, sends. Returns whether there is more to do for sure: if not, that
    /// is for [`Self::sleep`] to find out, with one system call instead of two.
    fn turn(
        &mut self,
        source: &mut Source,
        begins: bool,
        now: &dyn Fn() -> u64,
    ) -> io::Result<bool> {
        let Self { ues, link, out, begun } = self;
        let at = now();
        let heard = link.receive(&mut |octets| ues.handle_message(octets, at, out));
        let Ok(heard) = heard else {
            self.reconnect(at)?;
            return Ok(true);
        };
        let at = now();
        ues.handle_timers(at, out);
        if begins && link.has_room() {
            source.begin(ues, at, out, begun);
        }
        match link.send(out) {
            Ok(Sent::All) => {
                if !begun.is_empty() {
                    let at = now();
                    for intended in begun.drain(..) {
                        ues.recorder.lateness.record(at.saturating_sub(intended));
                    }
                }
            }
            Ok(Sent::Part) => {}
            Err(Lost) => self.reconnect(at)?,
        }
        Ok(heard >= BATCH)
    }

    fn reconnect(&mut self, now: u64) -> io::Result<()> {
        self.ues.connection_lost(now);
        self.begun.clear();
        if self.link.reopen().is_err() {
            std::thread::sleep(RECONNECT_PAUSE);
            self.link.reopen()?;
        }
        for (socket, local) in self.link.locals()?.into_iter().enumerate() {
            self.ues.set_local(socket, local.to_string());
        }
        Ok(())
    }

    fn sleep(&self, source: &Source, now: u64) -> io::Result<()> {
        let most = if self.ues.is_timing() { TIMER_SLEEP_MAX } else { SLEEP_MAX };
        let (next, wake) = match source {
            Source::Plan(arrivals) => (arrivals.next_at(), None),
            Source::Told { listener, .. } => (None, Some(listener.wake())),
        };
        let next = next.map(|at| Duration::from_nanos(at.saturating_sub(now)));
        self.link.wait(next.unwrap_or(most).min(most), wake)
    }
}

impl Source {
    fn is_over(&self, now: u64) -> bool {
        match self {
            Self::Plan(arrivals) => arrivals.is_over(now),
            Self::Told { is_over, .. } => *is_over,
        }
    }

    /// Whether the plan is not kept.
    fn is_overdue(&self, now: u64) -> bool {
        match self {
            Self::Plan(arrivals) => arrivals.are_overdue(now),
            Self::Told { .. } => false,
        }
    }

    /// Begins what is due; its intended times go to `begun`.
    fn begin(&mut self, ues: &mut Ues, now: u64, out: &mut Outgoing, begun: &mut Vec<u64>) {
        match self {
            Self::Plan(arrivals) => ues.begin_due(arrivals, now, out, begun),
            Self::Told { listener, is_over } => {
                listener.rest();
                loop {
                    match listener.next() {
                        Ok(told) => ues.take_over(told, now, out),
                        Err(TryRecvError::Empty) => break,
                        Err(TryRecvError::Disconnected) => {
                            *is_over = true;
                            break;
                        }
                    }
                }
            }
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
