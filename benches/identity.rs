//! What lending an identity costs, and finding the binding of one among a million.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    reason = "a benchmark"
)]

use std::{hint::black_box, sync::Arc, time::Duration};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use migcore::{
    api::migration_identity::{
        Answer, Direction, Pool, PoolSource, PrimaryUser, Request as Manage,
    },
    diameter::cx::{MultimediaAuthRequest, Request, SCHEME_AKA_V1},
    entropy::Entropy,
    identity::{Impi, Impu, SipDatabaseId, UserIdentity},
    outbox::{Context, CxReply, Effect, Message, Outbox, Peer, ReplyTo, RequestId, Undeliverable},
    sip_database::{Config, SipDatabase},
    store::Sequencer,
    time::Timestamp,
};

/// Bindings in the table of the look-ups.
const BINDINGS: u64 = 1_000_000;

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
    role: SipDatabase,
    out: Outbox,
    entropy: Counter,
    users: u64,
}

impl Bench {
    fn new(source: PoolSource) -> Self {
        let id = SipDatabaseId::parse("hss.b.example").unwrap();
        let mut entropy = Counter(1);
        let role = SipDatabase::new(Config::new(id, "b.example"), &mut entropy);
        let out = Outbox::new(Arc::new(Sequencer::default()));
        let mut bench = Self { role, out, entropy, users: 0 };
        let pool = Pool { name: "in".to_owned(), direction: Direction::Inbound, source };
        bench.manage(Manage::PutPool(pool));
        bench
    }

    fn call(&mut self, act: impl FnOnce(&SipDatabase, &mut Context<'_>)) -> Option<Message> {
        let now = Timestamp::from_secs(1);
        let mut ctx = Context { now, entropy: &mut self.entropy, out: &mut self.out };
        act(&self.role, &mut ctx);
        let mut sent = None;
        for effect in self.out.drain() {
            if let Effect::Send(send) = effect {
                sent = Some(send.message);
            }
        }
        sent
    }

    fn manage(&mut self, request: Manage) -> Answer {
        let sent = self.call(|role, ctx| role.handle_management(ctx, ReplyTo::World(0), request));
        match sent {
            Some(Message::Management { answer, .. }) => answer,
            other => panic!("{other:?}"),
        }
    }

    fn next_user(&mut self) -> PrimaryUser {
        self.users += 1;
        PrimaryUser {
            database: SipDatabaseId::parse("hss.a.example").unwrap(),
            identity: pair(&format!("u{}", self.users), "a.example"),
            server_name: "sip:migrated.a.example".to_owned(),
        }
    }

    fn bind(&mut self, user: PrimaryUser) -> UserIdentity {
        match self.manage(Manage::BindInbound { primary: user, allowed: None }) {
            Answer::Binding(binding) => binding.identity,
            other => panic!("{other:?}"),
        }
    }

    /// Steps 16 to 18; returns the name of the forwarded request.
    fn forward(&mut self, identity: UserIdentity) -> RequestId {
        let request = Request::MultimediaAuth(MultimediaAuthRequest {
            identity,
            scheme: SCHEME_AKA_V1.to_owned(),
            resync: None,
            server_name: "sip:core.b.example".to_owned(),
        });
        let to = ReplyTo::World(0);
        match self.call(|role, ctx| role.handle_request(ctx, &Peer::OwnCore, to, request)) {
            Some(Message::CxRequest { id, .. }) => id,
            other => panic!("{other:?}"),
        }
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

fn allocation(criterion: &mut Criterion) {
    let guests = (0..100_000).map(|n| pair(&format!("guest{n}"), "b.example")).collect();
    let listed = PoolSource::Listed { identities: guests, quarantine: Duration::ZERO };
    for (name, source) in [("generated", generated()), ("listed", listed)] {
        let mut bench = Bench::new(source);
        criterion.bench_function(&format!("lend and release, {name} pool"), |bencher| {
            bencher.iter(|| {
                let user = bench.next_user();
                let lent = bench.bind(user);
                bench.manage(Manage::ReleaseInbound(black_box(lent.impi)))
            });
        });
    }
}

fn lookup(criterion: &mut Criterion) {
    let mut bench = Bench::new(generated());
    let mut known = Vec::new();
    for number in 0..BINDINGS {
        let user = bench.next_user();
        let lent = bench.bind(user);
        if number % 97 == 0 {
            known.push(lent);
        }
    }
    // A stride, so that the next one is not in the cache because of the last one.
    let mut turn = 0;
    let mut pick = || {
        turn = (turn + 7_919) % known.len();
        known.get(turn).unwrap().clone()
    };
    criterion.bench_function("show a binding among a million", |bencher| {
        bencher.iter_batched(
            &mut pick,
            |identity| bench.manage(Manage::GetInbound(identity.impi)),
            BatchSize::SmallInput,
        );
    });
    criterion.bench_function("forward a vector request among a million", |bencher| {
        bencher.iter(|| {
            let id = bench.forward(pick());
            let reply = CxReply { id, outcome: Err(Undeliverable) };
            bench.call(|role, ctx| role.handle_answer(ctx, reply))
        });
    });
}

criterion_group!(benches, allocation, lookup);
criterion_main!(benches);
