//! One registration through the roles, without sockets: two REGISTERs, one vector, one assignment.
//!
//! `local`: a subscriber registers at home. `forwarded`: a user of A registers in B, the vector request
//! passed as a value between the two SIP databases. Measured is the time inside SIP core and SIP databases
//! alone; the UE's own work is left out.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a benchmark"
)]

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group, criterion_main};
use migcore::{
    aka::{SqnArray, opc_from_op},
    api::migration_identity as management,
    diameter::cx,
    entropy::Entropy,
    identity::{Impi, Impu, SipDatabaseId, UserIdentity},
    outbox::{
        Context, CxDestination, CxReply, Effect, Flow, Message, Outbox, Peer, ReplyTo, RequestId,
        Role, Transport,
    },
    secret::Secret,
    sip_core::{self, SipCore},
    sip_database::{self, SipDatabase},
    store::Sequencer,
    time::Timestamp,
    ue::{self, Isim, State, UserAgent},
};

/// How many users take turns, so that tables are not always warm.
const USERS: usize = 10_000;

struct Seeded(u64);

impl Entropy for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            let word = self.0.to_be_bytes();
            for (to, from) in chunk.iter_mut().zip(word) {
                *to = from;
            }
        }
    }
}

/// A system's roles and the outbox of its only worker.
struct System {
    core: SipCore,
    database: SipDatabase,
    id: SipDatabaseId,
    out: Outbox,
}

struct World {
    a: System,
    b: System,
    entropy: Seeded,
    now: Timestamp,
    /// Time spent inside roles.
    spent: Duration,
    /// SIP answers for the UE.
    answers: Vec<bytes::Bytes>,
    lent: Option<UserIdentity>,
}

impl System {
    fn new(domain: &str, entropy: &mut Seeded) -> Self {
        let id = SipDatabaseId::parse(&format!("sipdb.{domain}")).expect("a host");
        Self {
            core: SipCore::new(sip_core::Config::for_domain(domain), entropy),
            database: SipDatabase::new(sip_database::Config::new(id.clone(), domain), entropy),
            id,
            out: Outbox::new(Arc::new(Sequencer::default())),
        }
    }
}

#[derive(Clone, Copy)]
enum Which {
    A,
    B,
}

impl World {
    fn new() -> Self {
        let mut entropy = Seeded(42);
        let (a, b) =
            (System::new("a.example", &mut entropy), System::new("b.example", &mut entropy));
        let mut world = Self {
            a,
            b,
            entropy,
            now: Timestamp::from_secs(1_800_000_000),
            spent: Duration::ZERO,
            answers: Vec::new(),
            lent: None,
        };
        for (which, direction, domain) in [
            (Which::A, management::Direction::Outbound, "a.example"),
            (Which::B, management::Direction::Inbound, "b.example"),
        ] {
            let source = management::PoolSource::Generated {
                impi_template: format!("mig-{{id}}@{domain}"),
                impu_template: format!("sip:mig-{{id}}@{domain}"),
                key: None,
            };
            let pool = management::Pool { name: "pool".to_owned(), direction, source };
            world.manage(which, management::Request::PutPool(pool));
        }
        world
    }

    fn system(&mut self, which: Which) -> &mut System {
        match which {
            Which::A => &mut self.a,
            Which::B => &mut self.b,
        }
    }

    fn manage(&mut self, which: Which, request: management::Request) -> Option<UserIdentity> {
        let Self { a, b, entropy, now, .. } = self;
        let system = match which {
            Which::A => a,
            Which::B => b,
        };
        let mut ctx = Context { now: *now, entropy, out: &mut system.out };
        system.database.handle_management(&mut ctx, ReplyTo::World(0), request);
        self.perform(which);
        self.lent.take()
    }

    /// Hands one SIP message to a SIP core and follows what it causes.
    fn register(&mut self, which: Which, flow: Flow, octets: &[u8]) {
        let Self { a, b, entropy, now, .. } = self;
        let system = match which {
            Which::A => a,
            Which::B => b,
        };
        let mut ctx = Context { now: *now, entropy, out: &mut system.out };
        let began = Instant::now();
        system.core.handle_sip(&mut ctx, flow, black_box(octets));
        self.spent += began.elapsed();
        self.perform(which);
    }

    fn perform(&mut self, which: Which) {
        loop {
            let effects: Vec<Effect> = self.system(which).out.drain().collect();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                let Effect::Send(send) = effect else { continue };
                self.deliver(which, send.message);
            }
        }
    }

    fn deliver(&mut self, which: Which, message: Message) {
        match message {
            Message::Sip { octets, .. } => self.answers.push(octets),
            Message::CxRequest { to: CxDestination::OwnDatabase, id, request } => {
                self.ask(which, &Peer::OwnCore, ReplyTo::Role(id), request);
            }
            Message::CxRequest { to: CxDestination::Database(_), id, request } => {
                let peer = Peer::Database(self.b.id.clone());
                self.ask(Which::A, &peer, ReplyTo::World(id.number), request);
                self.perform(Which::A);
            }
            Message::CxAnswer { to: ReplyTo::Role(id), answer } => self.answer(which, id, answer),
            Message::CxAnswer { to: ReplyTo::World(number), answer } => {
                self.answer(Which::B, RequestId { role: Role::SipDatabase, number }, answer);
            }
            Message::Management { answer, .. } => match answer {
                management::Answer::Binding(binding) => self.lent = Some(binding.identity),
                management::Answer::Refused(refusal) => panic!("{refusal}"),
                management::Answer::Done
                | management::Answer::Granted { .. }
                | management::Answer::RowsRefused(_)
                | management::Answer::Subscriber { .. }
                | management::Answer::DigestSubscriber { .. }
                | management::Answer::Pool { .. } => {}
            },
            Message::ManagementRequest { .. }
            | Message::ConnectionDetailsRequest(_)
            | Message::Idms(_)
            | Message::ConnectionDetails { .. }
            | Message::SystemAccessRequest { .. }
            | Message::SystemAccess { .. }
            | Message::Configuration { .. }
            | Message::ConfigurationRequest { .. }
            | Message::Acm(_)
            | Message::SipRequest { .. }
            | Message::Registration { .. } => {}
        }
    }

    fn ask(&mut self, which: Which, from: &Peer, to: ReplyTo, request: cx::Request) {
        let Self { a, b, entropy, now, .. } = self;
        let system = match which {
            Which::A => a,
            Which::B => b,
        };
        let mut ctx = Context { now: *now, entropy, out: &mut system.out };
        let began = Instant::now();
        system.database.handle_request(&mut ctx, from, to, request);
        self.spent += began.elapsed();
    }

    fn answer(&mut self, which: Which, id: RequestId, answer: cx::Answer) {
        let Self { a, b, entropy, now, .. } = self;
        let system = match which {
            Which::A => a,
            Which::B => b,
        };
        let mut ctx = Context { now: *now, entropy, out: &mut system.out };
        let reply = CxReply { id, outcome: Ok(answer) };
        let began = Instant::now();
        match id.role {
            Role::SipCore => system.core.handle_answer(&mut ctx, reply),
            Role::Acm
            | Role::ConfigServer
            | Role::Idms
            | Role::McServer
            | Role::SipDatabase
            | Role::Ue => system.database.handle_answer(&mut ctx, reply),
        }
        self.spent += began.elapsed();
    }

    /// A user with its ISIM, who registers in A (`Which::A`) or in B.
    fn user(&mut self, number: usize, which: Which) -> UserAgent {
        let text = format!("user{number}@a.example");
        let real = UserIdentity {
            impi: Impi::parse(&text).expect("an IMPI"),
            impu: Impu::parse(&format!("sip:{text}")).expect("an IMPU"),
        };
        let mut octets = [0; 32];
        self.entropy.fill(&mut octets);
        let (k, op) =
            (Secret::new(octets.first_chunk().copied().expect("16")), Secret::new([7; 16]));
        let subscriber = management::Subscriber {
            impi: real.impi.clone(),
            impus: vec![real.impu.clone()],
            k: k.clone(),
            operator: management::OperatorKey::Op(op.clone()),
            amf: [0x80, 0],
            seq: 0,
        };
        self.manage(Which::A, management::Request::PutSubscriber(subscriber));
        let (identity, domain) = match which {
            Which::A => (real, "a.example"),
            Which::B => {
                let bind = management::Request::BindOutbound {
                    user: real,
                    partner: self.b.id.clone(),
                    allowed: None,
                };
                let outbound = self.manage(Which::A, bind).expect("an outbound pair");
                let primary = management::PrimaryUser {
                    database: self.a.id.clone(),
                    identity: outbound,
                    server_name: "sip:migration@a.example".to_owned(),
                };
                let bind = management::Request::BindInbound { primary, allowed: None };
                (self.manage(Which::B, bind).expect("an inbound pair"), "b.example")
            }
        };
        let flow = Flow {
            transport: Transport::Udp,
            local: "192.0.2.9:5060".parse().expect("an address"),
            remote: "192.0.2.1:5060".parse().expect("an address"),
            connection: 0,
        };
        let config = ue::Config {
            identity,
            domain: domain.to_owned(),
            flow,
            expires: 3_600,
            algorithm: None,
            paths: Vec::new(),
        };
        let isim = Isim::new(&k, &opc_from_op(&k, &op), SqnArray::default());
        UserAgent::new(config, isim, &mut self.entropy)
    }

    /// One registration, or refresh, of `agent`.
    fn registration(&mut self, which: Which, agent: &mut UserAgent) {
        let mut out = Outbox::new(Arc::default());
        let mut ctx = Context { now: self.now, entropy: &mut self.entropy, out: &mut out };
        agent.register(&mut ctx);
        for _ in 0..2 {
            for effect in out.drain().collect::<Vec<_>>() {
                if let Effect::Send(send) = effect
                    && let Message::Sip { flow, octets } = send.message
                {
                    let seen = Flow { local: flow.remote, remote: flow.local, ..flow };
                    self.register(which, seen, &octets);
                }
            }
            let answer = self.answers.pop().expect("an answer");
            let mut ctx = Context { now: self.now, entropy: &mut self.entropy, out: &mut out };
            agent.handle_sip(&mut ctx, &answer);
        }
        assert!(matches!(agent.state(), State::Registered(_)), "{:?}", agent.state());
        // Timers are not run, so transactions end here: the clock of the next registration is later.
        self.now = self.now + Duration::from_millis(1);
    }
}

fn registration(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("registration through the roles");
    group.sample_size(20).measurement_time(Duration::from_secs(5));
    for (name, which) in [("local", Which::A), ("forwarded", Which::B)] {
        let mut world = World::new();
        let mut agents: Vec<UserAgent> =
            (0..USERS).map(|number| world.user(number, which)).collect();
        let mut turn = 0;
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| {
                world.spent = Duration::ZERO;
                for _ in 0..rounds {
                    turn = (turn + 1) % USERS;
                    if let Some(agent) = agents.get_mut(turn) {
                        world.registration(which, agent);
                    }
                }
                world.spent
            });
        });
    }
    group.finish();
}

criterion_group!(benches, registration);
criterion_main!(benches);
