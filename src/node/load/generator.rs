//! The threads of the generator, and the phases that they run together.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::thread::{CpuSet, sched_setaffinity};

use super::{
    Job, LoadError,
    allocator::Allocator,
    arrival::{Arrivals, Plan, Share},
    asker::Asker,
    cx::CxClient,
    effort::Effort,
    handover::handover,
    http_pool::{TimeKeeper, due_channel},
    link::Link,
    live::Live,
    random::Random,
    recorder::Recorder,
    report::Point,
    request::Common,
    subscribers::Subscribers,
    timeline::Timeline,
    ues::{Manner, Settings, Ues},
    worker::{Outcome, Phase, Source, Worker},
};
use crate::{outbox::Transport, sip::Framing};

/// Time for all threads to come up, before time 0.
const START_DELAY: Duration = Duration::from_millis(20);

/// How often progress is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The threads between phases, with their UEs and sockets.
pub(super) struct Generator {
    parties: Vec<Party>,
    cores: Vec<usize>,
    target: std::net::SocketAddr,
    stop: Arc<AtomicBool>,
    random: Random,
}

/// What one thread does.
enum Party {
    Registers(Worker),
    /// With steps 1 to 13 before.
    Migrates(Worker, Arc<Asker>),
    Allocates(Allocator),
    AsksForVectors(CxClient),
}

/// One phase.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) plan: Plan,
    pub(super) time: Duration,
    /// Registrations at most.
    pub(super) count: u64,
    pub(super) manner: Manner,
    /// How long those under way are waited for at the end.
    pub(super) patience: Duration,
}

/// What a phase showed, all threads together.
pub(super) struct Measured {
    pub(super) recorder: Recorder,
    pub(super) efforts: Vec<Effort>,
    pub(super) offered: Duration,
    pub(super) took: Duration,
    /// Registrations that had succeeded when the last one had begun.
    pub(super) in_time: u64,
    pub(super) is_behind: bool,
    pub(super) interval: Duration,
    pub(super) timeline: Vec<Point>,
}

impl Generator {
    /// Opens all sockets and prepares all UEs.
    pub(super) fn new(
        job: &Job,
        subscribers: &Arc<Subscribers>,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, LoadError> {
        // Not of the seed: a registrar that knows the last run's Call-IDs must not take these for repeats.
        let run = run_number();
        let failed = |error| LoadError::Socket { target: job.target, error };
        let threads = job.threads.min(subscribers.len()).max(1);
        // At most THREADS_MAX.
        let of = u32::try_from(threads).unwrap_or(1);
        let mut parties = Vec::new();
        for index in 0..of {
            let share = Share { index, of };
            let party = match (&job.cx, &job.allocates_at) {
                (Some(roles), _) => {
                    let whom = (job.target, job.tls.as_ref(), roles.clone());
                    let client =
                        CxClient::connect(Arc::clone(subscribers), share, whom, job.ind_bits);
                    Party::AsksForVectors(client.map_err(failed)?)
                }
                (None, Some(server)) => {
                    Party::Allocates(Allocator::new(server.clone(), run, index))
                }
                (None, None) => {
                    let worker = worker(job, subscribers, share, run).map_err(failed)?;
                    match &job.inquiry {
                        None => Party::Registers(worker),
                        Some(inquiry) => {
                            let asker = Asker::new(Arc::clone(subscribers), share, inquiry.clone());
                            Party::Migrates(worker, Arc::new(asker))
                        }
                    }
                }
            };
            parties.push(party);
        }
        let random = Random::new(job.seed);
        Ok(Self { parties, cores: job.cores.clone(), target: job.target, stop, random })
    }

    /// How many threads there are.
    pub(super) fn threads(&self) -> usize {
        self.parties.len()
    }

    /// Whether it was told to stop.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Runs one phase on all threads.
    pub(super) fn run(&mut self, run: &Run, live: &mut Live) -> Result<Measured, LoadError> {
        let timeline = Timeline::new(run.time);
        let seed = self.random.next_u64();
        // At most THREADS_MAX.
        let of = u32::try_from(self.parties.len()).unwrap_or(1);
        let start = Instant::now() + START_DELAY;
        let phase = Phase {
            start,
            manner: run.manner,
            patience: run.patience,
            stop: &self.stop,
            timeline: &timeline,
        };
        let cores = &self.cores;
        let outcomes = thread::scope(|scope| {
            let mut threads = Vec::new();
            for (index, party) in (0..).zip(&mut self.parties) {
                let share = Share { index, of };
                let arrivals = Arrivals::new(run.plan, run.time, run.count, seed, share);
                let core = cores.get(index as usize % cores.len().max(1)).copied();
                let thread = thread::Builder::new().name(format!("load-{index}"));
                let run = move || {
                    if let Some(core) = core {
                        pin(core);
                    }
                    party.run(arrivals, phase)
                };
                match thread.spawn_scoped(scope, run) {
                    Ok(thread) => threads.push(thread),
                    Err(error) => {
                        self.stop.store(true, Ordering::Relaxed);
                        return Err(LoadError::Thread(error.to_string()));
                    }
                }
            }
            while !threads.iter().all(thread::ScopedJoinHandle::is_finished) {
                thread::sleep(LOOK_EVERY);
                live.tell(&timeline, start.elapsed());
            }
            live.end();
            Ok(threads.into_iter().map(thread::ScopedJoinHandle::join).collect::<Vec<_>>())
        })?;
        let mut measured = Measured::new();
        for outcome in outcomes {
            let outcome = outcome.map_err(|_| LoadError::Thread("it panicked".to_owned()))?;
            let outcome =
                outcome.map_err(|error| LoadError::Socket { target: self.target, error })?;
            if outcome.is_refused {
                return Err(LoadError::Refused(self.target));
            }
            measured.add(&outcome);
        }
        measured.recorder.check_lent();
        measured.finish(timeline);
        Ok(measured)
    }
}

impl Party {
    fn run(&mut self, arrivals: Arrivals, phase: Phase<'_>) -> io::Result<Outcome> {
        match self {
            Self::Registers(worker) => worker.run(Source::Plan(arrivals), phase),
            Self::Migrates(worker, asker) => ask_and_run(worker, asker, arrivals, phase),
            Self::Allocates(allocator) => allocator.run(arrivals, phase),
            Self::AsksForVectors(client) => client.run(arrivals, phase),
        }
    }
}

impl Measured {
    fn new() -> Self {
        Self {
            recorder: Recorder::new(),
            efforts: Vec::new(),
            offered: Duration::ZERO,
            took: Duration::ZERO,
            in_time: 0,
            is_behind: false,
            interval: Duration::ZERO,
            timeline: Vec::new(),
        }
    }

    /// Registrations a second while they were offered.
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    pub(super) fn rate(&self) -> f64 {
        self.in_time as f64 / self.offered.as_secs_f64().max(1e-9)
    }

    fn add(&mut self, outcome: &Outcome) {
        self.recorder.add(&outcome.recorder);
        self.efforts.push(outcome.effort);
        self.offered = self.offered.max(Duration::from_nanos(outcome.offered));
        self.took = self.took.max(Duration::from_nanos(outcome.ended));
        self.in_time += outcome.in_time;
        self.is_behind |= outcome.is_behind;
    }

    #[expect(clippy::cast_precision_loss, reason = "intervals and their counts")]
    fn finish(&mut self, timeline: Timeline) {
        self.recorder
            .causes
            .sort_by_key(|failures| (std::cmp::Reverse(failures.count), failures.cause));
        self.recorder.codes.sort_by_key(|code| (code.step, code.status));
        self.interval = timeline.interval();
        let seconds = self.interval.as_secs_f64();
        let intervals = timeline.into_intervals();
        let end = intervals.keys().next_back().map_or(0, |last| last + 1);
        self.timeline = (0..end)
            .map(|number| {
                let seen = intervals.get(&number);
                let rate = |count: Option<u64>| count.unwrap_or_default() as f64 / seconds;
                let percentile =
                    |percent| seen.map_or(0, |seen| seen.latencies.percentile(percent));
                Point {
                    at_s: number as f64 * seconds,
                    started_per_s: rate(seen.map(|seen| seen.started)),
                    succeeded_per_s: rate(seen.map(|seen| seen.succeeded)),
                    failed_per_s: rate(seen.map(|seen| seen.failed)),
                    p50_us: percentile(50.0),
                    p99_us: percentile(99.0),
                }
            })
            .collect();
    }
}

/// Runs a phase whose registrations begin with steps 1 to 13, which a thread beside this one does.
fn ask_and_run(
    worker: &mut Worker,
    asker: &Arc<Asker>,
    arrivals: Arrivals,
    phase: Phase<'_>,
) -> io::Result<Outcome> {
    let (teller, listener) = handover()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (tell, due) = due_channel();
    // Each asks once, so it does not matter how many wait for an answer.
    let under_way = AtomicUsize::new(0);
    let (start, stop, count) = (phase.start, phase.stop, asker.ues());
    let keeper = TimeKeeper { arrivals, start, stop, under_way: &under_way, count };
    thread::scope(|scope| {
        let keeper = scope.spawn(move || keeper.run(&tell));
        let asker = Arc::clone(asker);
        scope.spawn(move || runtime.block_on(asker.run(due, start, teller)));
        let mut outcome = worker.run(Source::Told { listener, is_over: false }, phase)?;
        outcome.is_behind |= keeper.join().unwrap_or(true);
        Ok(outcome)
    })
}

/// A thread's UEs and sockets.
fn worker(job: &Job, subscribers: &Arc<Subscribers>, share: Share, run: u32) -> io::Result<Worker> {
    let link = Link::open(job.transport, job.target, job.sockets, job.tls.clone())?;
    let (transport, parameter) = match job.transport {
        Transport::Udp => ("UDP", ""),
        Transport::Tcp => ("TCP", ";transport=tcp"),
        // Deprecated, and understood by all: a SIPS contact would need SIPS all the way (RFC 5630).
        Transport::Tls => ("TLS", ";transport=tls"),
    };
    let common = |local: std::net::SocketAddr| Common {
        transport,
        local: local.to_string(),
        contact: job.contact.clone(),
        run,
        expires: job.expires,
        parameter,
    };
    let commons = link.locals()?.into_iter().map(common).collect();
    let ues = Ues::new(Arc::clone(subscribers), share, settings(job, run), commons);
    Ok(Worker::new(ues, link))
}

fn settings(job: &Job, run: u32) -> Settings {
    Settings {
        t1: job.t1,
        t2: job.t1 * 8,
        algorithm: job.algorithm,
        ind_bits: job.ind_bits,
        framing: match job.transport {
            Transport::Udp => Framing::Datagram,
            Transport::Tcp | Transport::Tls => Framing::Stream,
        },
        run,
    }
}

fn run_number() -> u32 {
    use crate::{entropy::Entropy, node::SystemEntropy};
    (SystemEntropy::new().next_u64() >> 32) as u32
}

/// Keeps the calling thread on one core. Without the right to it, it runs where it may.
pub(super) fn pin(core: usize) {
    pin_to(&[core]);
}

/// Keeps the calling thread, and what it starts, on some cores.
pub(super) fn pin_to(cores: &[usize]) {
    let mut set = CpuSet::new();
    for core in cores.iter().filter(|core| **core < CpuSet::MAX_CPU) {
        set.set(*core);
    }
    let _ = sched_setaffinity(None, &set);
}
