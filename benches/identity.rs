//! What allocating an identity with its binding costs, by threads and by the size of pool and tables, and finding
//! a binding.
//!
//! `cargo bench --no-default-features --bench identity`, 2 to 3 minutes. "Lend" is the whole of steps 10 and 11 in
//! the SIP database for a user who is new: the pair drawn from its pool, the binding kept and indexed both ways, its
//! lease and the end of that, the record to store handed over, the answer. With the allocator of the product. Requests
//! are made before; effects are performed, which is where commits go, and pairs released after: outside of the time.
//! That is done for 64 at a time, and of many such the median counts: others use this machine too. Of several threads the
//! time is that of all together, for each pair.
//!
//! * `permutation`: 32 numbers of a generated pool. It is as large as the domain of its permutation: the product's
//!   has 2^64 numbers, whatever is lent of them; the others show what smaller ones would take.
//! * `lend of a listed pool`: such a pool is as large as its list, of which 10^7 pairs fit in some gigabytes.
//! * `lend`, `show a binding`, `forward a vector request`: a generated pool, among as many bindings.
//! * `lend and release`: both, with the making of the user.
//!
//! The limits to hold it against: 0.5 us for `lend` among 10^6 with one thread, which is 2 million identities a second
//! and core; and in the group `limit` what a hash table of numbers takes that has as many entries: no table of this
//! size is changed or read in less time.
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    reason = "a benchmark"
)]

use std::{
    hint::black_box,
    ops::Range,
    sync::{Arc, Barrier},
    thread,
    time::{Duration, Instant},
};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hashbrown::HashMap;
use migcore::{
    api::migration_identity::{
        Answer, Direction, Pool, PoolSource, PrimaryUser, Request as Manage,
    },
    diameter::cx::{MultimediaAuthRequest, Request, SCHEME_AKA_V1},
    entropy::Entropy,
    identity::{Impi, Impu, SipDatabaseId, UserIdentity},
    outbox::{Context, CxReply, Message, Outbox, Peer, ReplyTo, RequestId, Send, Undeliverable},
    secret::Secret,
    sip_database::{Config, Permutation, SipDatabase},
    store::Sequencer,
    time::Timestamp,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Pairs in the listed pools.
const LISTED: [u64; 4] = [10_000, 100_000, 1_000_000, 10_000_000];
/// Pairs that are provisioned by one request.
const PROVISIONED: u64 = 10_000;
/// Bindings in the tables, one after the other.
const BINDINGS: [u64; 4] = [10_000, 100_000, 1_000_000, 10_000_000];
/// Requests made, then served, then undone: few enough that they are not fetched from memory again.
const CHUNK: u64 = 64;

/// A counter is random enough here.
struct Counter(u64);

impl Entropy for Counter {
    fn fill(&mut self, out: &mut [u8]) {
        for octet in out {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *octet = self.0.to_be_bytes()[0];
        }
    }
}

struct Bench {
    role: Arc<SipDatabase>,
    sequencer: Arc<Sequencer>,
    out: Outbox,
    entropy: Counter,
    users: u64,
}

impl Bench {
    /// A system with a pool of that many listed pairs, all of them free.
    fn of_listed(count: u64) -> Self {
        let mut bench = Self::new(listed(0..PROVISIONED));
        for first in (PROVISIONED..count).step_by(usize::try_from(PROVISIONED).unwrap()) {
            bench.put_pool(listed(first..first + PROVISIONED));
        }
        bench.lend(1, 1);
        bench
    }

    fn new(source: PoolSource) -> Self {
        let id = SipDatabaseId::parse("hss.b.example").unwrap();
        let mut entropy = Counter(1);
        let role = Arc::new(SipDatabase::new(Config::new(id, "b.example"), &mut entropy));
        let sequencer = Arc::new(Sequencer::default());
        let out = Outbox::new(Arc::clone(&sequencer));
        let mut bench = Self { role, sequencer, out, entropy, users: 0 };
        bench.put_pool(source);
        bench
    }

    fn put_pool(&mut self, source: PoolSource) {
        let pool = Pool { name: "in".to_owned(), direction: Direction::Inbound, source };
        self.manage(Manage::PutPool(pool), |answer| assert_eq!(*answer, Answer::Done));
    }

    /// The same role, for another thread with users of its own.
    fn worker(&self, number: u64) -> Self {
        let out = Outbox::new(Arc::clone(&self.sequencer));
        let (role, sequencer) = (Arc::clone(&self.role), Arc::clone(&self.sequencer));
        Self { role, sequencer, out, entropy: Counter(number), users: number << 40 }
    }

    /// Lends to `count` new users on `threads` threads at a time; what that takes by the median of what a chunk takes.
    fn lend(&mut self, count: u64, threads: u64) -> Duration {
        let barrier = Barrier::new(usize::try_from(threads).unwrap());
        let at_once = threads * CHUNK;
        self.users += count.next_multiple_of(at_once); // no user comes twice
        let lend = |number| {
            let mut worker = self.worker(number);
            worker.users += self.users;
            let mut times = Vec::new();
            for _ in 0..count.div_ceil(at_once) {
                let requests: Vec<_> = (0..CHUNK).map(|_| worker.next_request()).collect();
                barrier.wait();
                let start = Instant::now();
                for request in requests {
                    worker.ask(request);
                }
                barrier.wait();
                times.push(start.elapsed());
                for impi in worker.take_lent() {
                    worker.release(impi);
                }
            }
            times.sort_unstable();
            let median = times.get(times.len() / 2).unwrap().as_nanos();
            let median = u64::try_from(median).unwrap();
            Duration::from_nanos(median * count / at_once)
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (1..=threads).map(|it| scope.spawn(move || lend(it))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).max().unwrap()
        })
    }

    /// Makes a call and shows the message that it sends, where it is.
    fn call<T>(
        &mut self,
        act: impl FnOnce(&SipDatabase, &mut Context<'_>),
        show: impl FnOnce(Option<&Message>) -> T,
    ) -> T {
        let now = Timestamp::from_secs(1);
        let mut ctx = Context { now, entropy: &mut self.entropy, out: &mut self.out };
        act(&self.role, &mut ctx);
        let shown = show(self.out.sends().first().map(|send| &send.message));
        self.out.clear();
        shown
    }

    fn manage<T>(&mut self, request: Manage, show: impl FnOnce(&Answer) -> T) -> T {
        let act = |role: &SipDatabase, ctx: &mut Context<'_>| {
            role.handle_management(ctx, ReplyTo::World(0), request);
        };
        self.call(act, |sent| match sent {
            Some(Message::Management { answer, .. }) => show(answer),
            other => panic!("{other:?}"),
        })
    }

    /// Makes a request of the management interface and leaves what comes of it in the outbox.
    fn ask(&mut self, request: Manage) {
        let now = Timestamp::from_secs(1);
        let mut ctx = Context { now, entropy: &mut self.entropy, out: &mut self.out };
        self.role.handle_management(&mut ctx, ReplyTo::World(0), request);
    }

    /// Takes the answers out of the outbox: all of them lend a pair.
    fn take_lent(&mut self) -> Vec<Impi> {
        let lent = |send: &Send| match &send.message {
            Message::Management { answer: Answer::Binding(binding), .. } => {
                binding.identity.impi.clone()
            }
            other => panic!("{other:?}"),
        };
        let all = self.out.sends().iter().map(lent).collect();
        self.out.clear();
        all
    }

    fn release(&mut self, impi: Impi) {
        self.manage(Manage::ReleaseInbound(impi), |answer| assert_eq!(*answer, Answer::Done));
    }

    fn next_user(&mut self) -> PrimaryUser {
        self.users += 1;
        PrimaryUser {
            database: SipDatabaseId::parse("hss.a.example").unwrap(),
            identity: pair(&format!("u{}", self.users), "a.example"),
            server_name: "sip:migrated.a.example".to_owned(),
        }
    }

    fn next_request(&mut self) -> Manage {
        Manage::BindInbound { primary: self.next_user(), allowed: None }
    }

    fn bind(&mut self) -> UserIdentity {
        let request = self.next_request();
        self.manage(request, |answer| match answer {
            Answer::Binding(binding) => binding.identity.clone(),
            other => panic!("{other:?}"),
        })
    }

    /// Steps 16 to 18; returns the name of the forwarded request.
    fn forward(&mut self, identity: UserIdentity) -> RequestId {
        let request = Request::MultimediaAuth(MultimediaAuthRequest {
            identity,
            scheme: SCHEME_AKA_V1.into(),
            resync: None,
            server_name: "sip:core.b.example".into(),
        });
        let to = ReplyTo::World(0);
        let act = |role: &SipDatabase, ctx: &mut Context<'_>| {
            role.handle_request(ctx, &Peer::OwnCore, to, request);
        };
        self.call(act, |sent| match sent {
            Some(Message::CxRequest { id, .. }) => *id,
            other => panic!("{other:?}"),
        })
    }
}

fn pair(user: &str, domain: &str) -> UserIdentity {
    UserIdentity {
        impi: Impi::parse(&format!("{user}@{domain}")).unwrap(),
        impu: Impu::parse(&format!("sip:{user}@{domain}")).unwrap(),
    }
}

fn generated() -> PoolSource {
    PoolSource::Generated {
        impi_template: "in-{id}@b.example".to_owned(),
        impu_template: "sip:in-{id}@b.example".to_owned(),
        key: None,
    }
}

fn listed(numbers: Range<u64>) -> PoolSource {
    let identities = numbers.map(|n| pair(&format!("guest{n}"), "b.example")).collect();
    PoolSource::Listed { identities, quarantine: Duration::ZERO }
}

fn permutation(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("permutation");
    let mut numbers = [0_u64; 32];
    group.throughput(Throughput::Elements(numbers.len() as u64));
    for last in [9_999, 999_999, 99_999_999, 999_999_999, u64::MAX] {
        let permutation = Permutation::new(&Secret::new([7; 32]), last);
        group.bench_function(format!("32 numbers of 0..={last}"), |bencher| {
            bencher.iter(|| {
                for (n, number) in (0..).zip(&mut numbers) {
                    *number = black_box(n);
                }
                permutation.apply_to(&mut numbers)
            });
        });
    }
}

fn listed_pools(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lend of a listed pool");
    group.throughput(Throughput::Elements(1));
    for size in LISTED {
        let mut bench = Bench::of_listed(size);
        for threads in [1, 2] {
            let id = BenchmarkId::new(format!("{size} pairs"), format!("{threads} threads"));
            group.bench_function(id, |bencher| {
                bencher.iter_custom(|count| bench.lend(count, threads));
            });
        }
    }
}

fn lend_and_release(criterion: &mut Criterion) {
    let (generated, listed) = (Bench::new(generated()), Bench::of_listed(100_000));
    for (name, mut bench) in [("generated", generated), ("listed", listed)] {
        criterion.bench_function(&format!("lend and release, {name} pool"), |bencher| {
            bencher.iter(|| {
                let lent = bench.bind();
                bench.release(black_box(lent.impi));
            });
        });
    }
}

/// Everything that depends on how many bindings there are, in one table that grows.
fn bindings(criterion: &mut Criterion) {
    let mut bench = Bench::new(generated());
    let mut known = Vec::new();
    for size in BINDINGS {
        while bench.users < size {
            let lent = bench.bind();
            if bench.users.is_multiple_of(97) {
                known.push(lent);
            }
        }
        let users = bench.users;
        lend(criterion, &mut bench, size);
        bench.users = users;
        look_up(criterion, &mut bench, &known, size);
        limits(criterion, size);
    }
}

fn lend(criterion: &mut Criterion, bench: &mut Bench, size: u64) {
    let mut group = criterion.benchmark_group("lend");
    group.throughput(Throughput::Elements(1));
    for threads in [1, 2] {
        let id = BenchmarkId::new(format!("among {size}"), format!("{threads} threads"));
        group.bench_function(id, |bencher| {
            bencher.iter_custom(|count| bench.lend(count, threads));
        });
    }
}

fn look_up(criterion: &mut Criterion, bench: &mut Bench, known: &[UserIdentity], size: u64) {
    // A stride, so that the next one is not in the cache because of the last one.
    let mut turn = 0;
    let mut pick = || {
        turn = (turn + 7_919) % known.len();
        known.get(turn).unwrap().clone()
    };
    criterion.bench_function(&format!("show a binding/among {size}"), |bencher| {
        bencher.iter_batched(
            &mut pick,
            |identity| bench.manage(Manage::GetInbound(identity.impi), Answer::clone),
            BatchSize::SmallInput,
        );
    });
    criterion.bench_function(&format!("forward a vector request/among {size}"), |bencher| {
        bencher.iter(|| {
            let id = bench.forward(pick());
            let reply = CxReply { id, outcome: Err(Undeliverable) };
            bench.call(|role, ctx| role.handle_answer(ctx, reply), |sent| assert!(sent.is_some()));
        });
    });
}

/// A table of numbers: each is its own key.
fn limits(criterion: &mut Criterion, size: u64) {
    let mut group = criterion.benchmark_group("limit");
    let key = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
    let mut table = HashMap::with_capacity_and_hasher(2 * usize::try_from(size).unwrap(), hasher);
    table.extend((0..size).map(|n| (key(n), n)));
    let mut turn = 0;
    group.bench_function(format!("hash table: look up among {size}"), |bencher| {
        bencher.iter(|| {
            turn = (turn + 7_919) % size;
            table.get(&key(turn)).copied()
        });
    });
    group.bench_function(format!("hash table: insert and remove among {size}"), |bencher| {
        bencher.iter(|| {
            turn += 1;
            table.insert(key(size + turn), turn);
            table.remove(&key(size + turn))
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .nresamples(2_000)
        .without_plots()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500));
    targets = permutation, listed_pools, lend_and_release, bindings
}
criterion_main!(benches);
