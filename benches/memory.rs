//! Memory of bindings and registrations: what one of each takes of the process, indexes, expiry bookkeeping
//! and the allocator's share included, how long taking them in takes, and what a look-up costs.
//!
//! ```text
//! cargo bench --bench memory [-- COUNT]     (1,000,000, then 10,000,000, unless told)
//! ```
//!
//! The roles of system B load COUNT inbound bindings and as many registrations, as an engine gives them: from
//! two threads, in no order. Up to a million, those of system A load COUNT subscribers, outbound bindings and a
//! quarter as many grants. Each number is the growth of the resident set, of a process of its own for each
//! COUNT. Records are encoded on the way and not kept. Look-ups: see [`lookups`].

#![allow(
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::needless_pass_by_value,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    reason = "a benchmark"
)]

mod lookups;
mod records;

use std::{fmt, fs, process::Command, sync::Arc, thread, time::Duration};

use migcore::{
    api::migration_identity as management,
    entropy::Entropy,
    identity::{Impi, SipDatabaseId},
    outbox::{Context, Effect, Message, Outbox, ReplyTo, Send, TimerKey},
    sip_core::{self, SipCore},
    sip_database::{self, SipDatabase},
    store::{CommitSeq, Record, Sequencer},
    time::Timestamp,
};
use records::{
    Encoded, grant_of, inbound_of, outbound_of, registration_of, scrambled, subscriber_of,
};

const COUNTS: [u64; 2] = [1_000_000, 10_000_000];
/// Up to how many are loaded in system A too.
const COUNT_A_MAX: u64 = 1_000_000;
/// How many a small system has, to compare look-ups with.
const COUNT_SMALL: u64 = 10_000;
const THREADS: u64 = 2;
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
/// Records that are encoded ahead of the clock at a time.
const BATCH: u64 = 1_000;

fn main() {
    if let Some(count) = std::env::args().find_map(|argument| argument.parse().ok()) {
        return measure(count);
    }
    let this = std::env::current_exe().expect("this program");
    for count in COUNTS {
        let status = Command::new(&this).arg(count.to_string()).status().expect("started");
        assert!(status.success(), "{count}: {status}");
        println!();
    }
}

fn measure(count: u64) {
    let mut entropy = Seeded(42);
    let b = System::new("b.example", &mut entropy);
    println!("{count} of each, {THREADS} threads, octets of resident memory for each one:");
    let inbound = Load::of(&b, count, inbound_of);
    println!("B: inbound binding                 {inbound}");
    let registrations = Load::of(&b, count, registration_of);
    println!("B: registration                    {registrations}");
    let timers = Finish::of(&b, count, &mut entropy);
    println!("B: expiry bookkeeping of both      {timers}");
    println!("B: all of a pair                   {}", inbound.with(&registrations).and(&timers));
    if count > COUNT_SMALL {
        let small = System::new("b.example", &mut entropy);
        Load::of(&small, COUNT_SMALL, inbound_of);
        Load::of(&small, COUNT_SMALL, registration_of);
        small.finish(&mut entropy);
        let (small, large) = ((&small, COUNT_SMALL), (&b, count));
        lookups::compare("binding", [small, large], inbound.memory, System::look_up_binding);
        let look_up = System::look_up_registration;
        lookups::compare("registration", [small, large], registrations.memory, look_up);
    }
    if count <= COUNT_A_MAX {
        measure_a(count, &mut entropy);
    }
    drop(b); // not before: what it leaves free would be taken first, and not counted
}

fn measure_a(count: u64, entropy: &mut Seeded) {
    let a = System::new("a.example", entropy);
    let subscribers = Load::of(&a, count, subscriber_of);
    println!("A: subscriber                      {subscribers}");
    let outbound = Load::of(&a, count, outbound_of);
    println!("A: outbound binding                {outbound}");
    let timers = Finish::of(&a, count, entropy);
    println!("A: expiry bookkeeping              {timers}");
    println!("A: all                             {}", subscribers.with(&outbound).and(&timers));
    let grants = Load::of(&a, count / 4, grant_of);
    println!("A: grant of who has a binding too  {grants}");
}

struct System {
    core: SipCore,
    database: SipDatabase,
}

impl System {
    fn new(domain: &str, entropy: &mut Seeded) -> Self {
        let id = SipDatabaseId::parse(&format!("sipdb.{domain}")).expect("a host");
        Self {
            core: SipCore::new(sip_core::Config::for_domain(domain), entropy),
            database: SipDatabase::new(sip_database::Config::new(id, domain), entropy),
        }
    }

    fn load(&self, record: &Record<'_>) {
        self.core.load(record).expect("a registration");
        self.database.load(record).expect("a record");
    }

    /// Looks the binding of a private identity up, as a management request does. Returns a number that is
    /// not known before.
    fn look_up_binding(&self, impi: Impi, out: &mut Outbox) -> u64 {
        let mut ctx = Context { now: NOW, entropy: &mut Seeded(0), out };
        let request = management::Request::GetInbound(impi);
        self.database.handle_management(&mut ctx, ReplyTo::World(0), request);
        let until = |effect| match effect {
            Effect::Send(Send {
                message: Message::Management { answer: management::Answer::Binding(binding), .. },
                ..
            }) => Some(binding.reserved_until.as_micros()),
            _ => None,
        };
        out.drain().find_map(until).expect("a binding")
    }

    /// Looks a registration up.
    fn look_up_registration(&self, impi: Impi, _: &mut Outbox) -> u64 {
        self.core.contacts_of(&impi, NOW) as u64
    }

    /// Ends the loading; returns the timers, which a world would keep.
    fn finish(&self, entropy: &mut Seeded) -> Vec<(Timestamp, TimerKey)> {
        let mut out = Outbox::new(Arc::new(Sequencer::default()));
        let mut ctx = Context { now: NOW, entropy, out: &mut out };
        self.core.handle_loaded(&mut ctx);
        self.database.handle_loaded(&mut ctx);
        let arm = |effect| match effect {
            Effect::Arm { at, timer } => Some((at, timer)),
            Effect::Commit(_) | Effect::Send(_) | Effect::Step { .. } | Effect::Note(_) => None,
        };
        out.drain().filter_map(arm).collect()
    }
}

type Make = fn(Timestamp, u64) -> Encoded;

/// What taking records in has cost.
struct Load {
    /// Octets of resident memory.
    memory: i64,
    /// The time that the busier thread was on a processor, in the roles.
    time: Duration,
    /// Octets of the encoded records with their keys.
    stored: u64,
    count: u64,
}

impl Load {
    fn of(system: &System, count: u64, make: Make) -> Self {
        let before = resident();
        let load = |first: u64| {
            let (mut spent, mut stored) = (Duration::ZERO, 0);
            for batch in (first * BATCH..count).step_by(to_usize(BATCH * THREADS)) {
                let records: Vec<_> =
                    (batch..(batch + BATCH).min(count)).map(|n| make(NOW, n)).collect();
                stored +=
                    records.iter().map(|(_, key, value)| key.len() + value.len()).sum::<usize>();
                let began = on_processor();
                for (number, (kind, key, value)) in (batch..).zip(&records) {
                    let version = CommitSeq::from_u64(number + 1);
                    system.load(&Record { kind: *kind, key: key.as_bytes(), version, value });
                }
                spent += on_processor().saturating_sub(began);
            }
            (spent, stored)
        };
        let (time, stored) = thread::scope(|scope| {
            let threads: Vec<_> =
                (0..THREADS).map(|first| scope.spawn(move || load(first))).collect();
            let loaded = threads.into_iter().map(|thread| thread.join().expect("loaded"));
            loaded.fold((Duration::ZERO, 0), |sum, one| (sum.0.max(one.0), sum.1 + one.1))
        });
        Self { memory: resident() - before, time, stored: stored as u64, count }
    }

    fn with(&self, other: &Self) -> Self {
        Self {
            memory: self.memory + other.memory,
            time: self.time + other.time,
            stored: self.stored + other.stored,
            count: self.count,
        }
    }

    fn and(&self, finish: &Finish) -> Self {
        let (memory, time) = (self.memory + finish.memory, self.time + finish.time);
        Self { memory, time, ..*self }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (memory, time) = (each(self.memory, self.count), self.time.as_secs_f64());
        let stored = self.stored / self.count;
        write!(f, "{memory:>7.1}   {time:>5.2} s of each thread   records of {stored} octets")
    }
}

/// What the end of the loading has cost.
struct Finish {
    memory: i64,
    time: Duration,
    timers: usize,
    count: u64,
}

impl Finish {
    fn of(system: &System, count: u64, entropy: &mut Seeded) -> Self {
        let (before, began) = (resident(), on_processor());
        let timers = system.finish(entropy);
        let time = on_processor().saturating_sub(began);
        Self { memory: resident() - before, time, timers: timers.len(), count }
    }
}

impl fmt::Display for Finish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (memory, time) = (each(self.memory, self.count), self.time.as_secs_f64());
        write!(f, "{memory:>7.1}   {time:>5.2} s of one thread    {} timers", self.timers)
    }
}

fn each(octets: i64, count: u64) -> f64 {
    octets as f64 / count as f64
}

/// How long this thread was on a processor so far: other work on the machine counts for nothing.
fn on_processor() -> Duration {
    let status = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanos = status.split_whitespace().next().and_then(|it| it.parse().ok());
    Duration::from_nanos(nanos.expect("nanoseconds"))
}

fn to_usize(count: u64) -> usize {
    usize::try_from(count).expect("a small number")
}

/// The resident set of this process, octets.
fn resident() -> i64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    let kilo: i64 = line.split_whitespace().nth(1).and_then(|it| it.parse().ok()).expect("kB");
    kilo * 1_024
}

struct Seeded(u64);

impl Entropy for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            self.0 += 0x9e37_79b9_7f4a_7c15 >> 1;
            for (to, from) in chunk.iter_mut().zip(scrambled(self.0).to_be_bytes()) {
                *to = from;
            }
        }
    }
}
