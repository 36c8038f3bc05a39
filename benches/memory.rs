//! Memory of bindings and registrations: what one of each takes of the process, indexes, expiry bookkeeping
//! and the allocator's share included, and how long taking them in takes.
//!
//! ```text
//! cargo bench --bench memory [-- COUNT]     (1,000,000 unless told)
//! ```
//!
//! The roles of system B load COUNT inbound bindings and as many registrations, those of system A COUNT
//! subscribers, outbound bindings and a quarter as many grants, as an engine gives them: from two threads, in
//! no order. Each number is the growth of the resident set. Records are encoded on the way and not kept.

#![allow(
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark"
)]

use std::{fmt, fs, sync::Arc, thread, time::Duration};

use migcore::{
    api::migration_identity::{AgreementId, Allowance, PrimaryUser},
    entropy::Entropy,
    identity::{Impi, Impu, SipDatabaseId, UserIdentity},
    outbox::{Context, Effect, Outbox, TimerKey},
    sip_core::{self, ContactBinding, Registration, SipCore},
    sip_database::{self, SipDatabase},
    store::{CommitSeq, Record, RecordKind, Sequencer, encode},
    time::Timestamp,
};

const COUNT: u64 = 1_000_000;
const THREADS: u64 = 2;
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
/// Records that are encoded ahead of the clock at a time.
const BATCH: u64 = 1_000;

/// The shapes of stored records.
type Inbound = (Impu, PrimaryUser, Lease, Origin, Option<Allowance>);
type Outbound = (Impu, UserIdentity, SipDatabaseId, Lease, Origin, Option<Allowance>);
type Grant = (UserIdentity, SipDatabaseId, Timestamp, Option<Allowance>);
type Visited = (SipDatabaseId, u8);
type Subscriber =
    (Vec<Impu>, Vec<u8>, Vec<u8>, [u8; 2], u64, u32, Vec<Visited>, Option<String>, bool);

#[derive(serde::Serialize)]
enum Lease {
    Reserved(Timestamp),
    Active(Timestamp),
}

#[derive(serde::Serialize)]
enum Origin {
    Generated { pool: &'static str, n: u64 },
}

fn main() {
    let count = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(COUNT);
    let mut entropy = Seeded(42);
    let (a, b) = (System::new("a.example", &mut entropy), System::new("b.example", &mut entropy));
    println!("{count} of each, {THREADS} threads, octets of resident memory for each one:");
    let inbound = Load::of(&b, count, &inbound_of);
    println!("B: inbound binding                 {inbound}");
    let registrations = Load::of(&b, count, &registration_of);
    println!("B: registration                    {registrations}");
    let timers = Finish::of(&b, count, &mut entropy);
    println!("B: expiry bookkeeping of both      {timers}");
    println!("B: all                             {}", inbound.with(&registrations).and(&timers));
    let subscribers = Load::of(&a, count, &subscriber_of);
    println!("A: subscriber                      {subscribers}");
    let outbound = Load::of(&a, count, &outbound_of);
    println!("A: outbound binding                {outbound}");
    let timers = Finish::of(&a, count, &mut entropy);
    println!("A: expiry bookkeeping              {timers}");
    println!("A: all                             {}", subscribers.with(&outbound).and(&timers));
    let grants = Load::of(&a, count / 4, &grant_of);
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

type Make<'a> = dyn Fn(u64) -> (RecordKind, String, Vec<u8>) + Sync + 'a;

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
    fn of(system: &System, count: u64, make: &Make<'_>) -> Self {
        let before = resident();
        let load = |first: u64| {
            let (mut spent, mut stored) = (Duration::ZERO, 0);
            for batch in (first * BATCH..count).step_by(to_usize(BATCH * THREADS)) {
                let records: Vec<_> = (batch..(batch + BATCH).min(count)).map(make).collect();
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

fn inbound_of(n: u64) -> (RecordKind, String, Vec<u8>) {
    let lent = identity_of("mig", "b.example", n);
    let primary = PrimaryUser {
        database: SipDatabaseId::parse("sipdb.a.example").expect("a host"),
        identity: identity_of("out", "a.example", n),
        server_name: "sip:migration@a.example".to_owned(),
    };
    let until = in_future(n, 31 * 24 * 3_600);
    let lease = if n % 8 == 0 { Lease::Reserved(until) } else { Lease::Active(until) };
    let allowed = Allowance { agreement: AgreementId(scrambled(n)), until: NOW + YEAR };
    let record: Inbound =
        (lent.impu, primary, lease, Origin::Generated { pool: "inbound", n }, Some(allowed));
    (RecordKind::InboundBinding, lent.impi.as_str().to_owned(), encode(&record))
}

fn registration_of(n: u64) -> (RecordKind, String, Vec<u8>) {
    let lent = identity_of("mig", "b.example", n);
    // the shortest is that of this crate's own UE, the others as devices write them
    let parameters = match n % 4 {
        0 | 1 => String::new(),
        _ => ";+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.mcptt\";+g.3gpp.mcptt"
            .to_owned(),
    };
    let call_id = match n % 2 {
        0 => format!("{:016x}{:016x}", scrambled(n), scrambled(n + 7)),
        _ => format!("{:010x}@192.0.2.1", scrambled(n) >> 24),
    };
    let contact = ContactBinding {
        uri: format!(
            "{}@192.0.2.{}:5060",
            lent.impu.as_str().split('@').next().unwrap_or(""),
            n % 250
        ),
        parameters,
        paths: Vec::new(),
        call_id,
        cseq: u32::try_from(n % 40).expect("small") + 2,
        expires_at: in_future(n, 3_600),
    };
    let registration = Registration { impus: vec![lent.impu], contacts: vec![contact] };
    (RecordKind::Registration, lent.impi.as_str().to_owned(), encode(&registration))
}

fn subscriber_of(n: u64) -> (RecordKind, String, Vec<u8>) {
    let real = real_of(n);
    let visited = vec![(SipDatabaseId::parse("sipdb.b.example").expect("a host"), 4)];
    let serving = Some("sip:scscf.a.example".to_owned());
    let record: Subscriber = (
        vec![real.impu],
        vec![1; 16],
        vec![2; 16],
        [0x80, 0],
        n % 10_000,
        0,
        visited,
        serving,
        true,
    );
    (RecordKind::Subscriber, real.impi.as_str().to_owned(), encode(&record))
}

fn outbound_of(n: u64) -> (RecordKind, String, Vec<u8>) {
    let lent = identity_of("out", "a.example", n);
    let lease = Lease::Reserved(in_future(n, 31 * 24 * 3_600));
    let partner = SipDatabaseId::parse("sipdb.b.example").expect("a host");
    let allowed = Allowance { agreement: AgreementId(scrambled(n)), until: NOW + YEAR };
    let origin = Origin::Generated { pool: "outbound", n };
    let record: Outbound = (lent.impu, real_of(n), partner, lease, origin, Some(allowed));
    (RecordKind::OutboundBinding, lent.impi.as_str().to_owned(), encode(&record))
}

fn grant_of(n: u64) -> (RecordKind, String, Vec<u8>) {
    let user = real_of(n);
    let key = format!("{} sipdb.c.example", user.impi.as_str());
    let partner = SipDatabaseId::parse("sipdb.c.example").expect("a host");
    let record: Grant = (user, partner, NOW + YEAR, None);
    (RecordKind::Grant, key, encode(&record))
}

fn real_of(n: u64) -> UserIdentity {
    let text = format!("user{n:07}@a.example");
    UserIdentity {
        impi: Impi::parse(&text).expect("an IMPI"),
        impu: Impu::parse(&format!("sip:{text}")).expect("an IMPU"),
    }
}

/// The `n`-th generated pair: 13 characters of a number that follows from `n`.
fn identity_of(kind: &str, domain: &str, n: u64) -> UserIdentity {
    let impi = format!("{kind}-{}@{domain}", characters(scrambled(n)));
    let impu = format!("sip:{kind}-{}@{domain}", characters(scrambled(n ^ (1 << 40))));
    UserIdentity {
        impi: Impi::parse(&impi).expect("an IMPI"),
        impu: Impu::parse(&impu).expect("an IMPU"),
    }
}

fn characters(number: u64) -> String {
    let character = |at: u32| {
        let digit = u32::try_from((number >> (5 * at)) & 31).expect("five bits");
        char::from_digit(digit, 32).expect("a digit")
    };
    (0..13).rev().map(character).collect()
}

const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);

fn in_future(n: u64, secs: u64) -> Timestamp {
    NOW + Duration::from_micros(1 + scrambled(n ^ (1 << 41)) % (secs * 1_000_000))
}

/// A bijection that scatters (the finalizer of `SplitMix64`).
const fn scrambled(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
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
