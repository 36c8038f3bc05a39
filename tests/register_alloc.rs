//! What a registration allocates in the SIP core and in the SIP database: nothing for a challenge, and for a
//! refreshing 200 the record that the storage takes.
#![allow(clippy::panic, clippy::unwrap_used, reason = "test code")]

mod common;
mod counting;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use common::Seeded;
use counting::allocations;
use migcore::{
    aka::SqnArray,
    api::migration_identity as management,
    entropy::Entropy,
    identity::{Impi, Impu, SipDatabaseId, UserIdentity},
    outbox::{
        Context, CxReply, Effect, Flow, Message, Outbox, Peer, ReplyTo, Transport, Undeliverable,
    },
    secret::Secret,
    sip_core::{self, SipCore},
    sip_database::{self, SipDatabase},
    store::Sequencer,
    time::Timestamp,
    ue::{self, Isim, State, UserAgent},
};

const DOMAIN: &str = "ims.mnc001.mcc001.3gppnetwork.org";
const USERS: u8 = 50;

/// Vectors of a subscriber for which one record is stored, ahead of the first of them (TS 33.102 annex C.1).
const SQN_RANGE: u64 = 32;

/// A home system whose roles hand each other values.
struct System {
    core: SipCore,
    database: SipDatabase,
    out: Outbox,
    entropy: Seeded,
    now: Timestamp,
    /// Allocations inside of the roles.
    allocated: u64,
    answers: Vec<Bytes>,
}

impl System {
    fn new() -> Self {
        let mut entropy = Seeded(7);
        let id = SipDatabaseId::parse(&format!("sipdb.{DOMAIN}")).unwrap();
        Self {
            core: SipCore::new(sip_core::Config::for_domain(DOMAIN), &mut entropy),
            database: SipDatabase::new(sip_database::Config::new(id, DOMAIN), &mut entropy),
            out: Outbox::new(Arc::new(Sequencer::default())),
            entropy,
            now: Timestamp::from_secs(1_800_000_000),
            allocated: 0,
            answers: Vec::new(),
        }
    }

    fn subscriber(&mut self, number: u8) -> UserAgent {
        let text = format!("0010101234567{number:02}@{DOMAIN}");
        let identity = UserIdentity {
            impi: Impi::parse(&text).unwrap(),
            impu: Impu::parse(&format!("sip:{text}")).unwrap(),
        };
        let (k, opc) = (Secret::new([number; 16]), Secret::new([7; 16]));
        let subscriber = management::Subscriber {
            impi: identity.impi.clone(),
            impus: vec![identity.impu.clone()],
            k: k.clone(),
            operator: management::OperatorKey::Opc(opc.clone()),
            amf: [0x80, 0],
            seq: 0,
        };
        let request = management::Request::PutSubscriber(subscriber);
        self.call(|core_and_database, ctx| {
            core_and_database.1.handle_management(ctx, ReplyTo::World(0), request);
        });
        let config = ue::Config {
            identity,
            domain: DOMAIN.to_owned(),
            flow: Flow {
                transport: Transport::Udp,
                local: "192.0.2.9:5060".parse().unwrap(),
                remote: "192.0.2.1:5060".parse().unwrap(),
                connection: 0,
            },
            expires: 3_600,
            algorithm: None,
            paths: vec!["<sip:pcscf.visited.example;lr>".to_owned()],
        };
        UserAgent::new(config, Isim::new(&k, &opc, SqnArray::default()), &mut self.entropy)
    }

    /// Calls a role, and the roles that have to do with what it wants.
    fn call(&mut self, call: impl FnOnce((&SipCore, &SipDatabase), &mut Context<'_>)) {
        self.call_one(call);
        self.follow();
    }

    fn call_one(&mut self, call: impl FnOnce((&SipCore, &SipDatabase), &mut Context<'_>)) {
        let Self { core, database, out, entropy, now, .. } = self;
        let mut ctx = Context { now: *now, entropy, out };
        self.allocated += allocations(|| call((core, database), &mut ctx)).0;
    }

    fn follow(&mut self) {
        let mut effects: VecDeque<Effect> = self.out.drain().collect();
        while let Some(effect) = effects.pop_front() {
            let Effect::Send(send) = effect else { continue };
            match send.message {
                Message::Sip { octets, .. } => self.answers.push(octets),
                Message::CxRequest { id, request, .. } => self.call_one(|(_, database), ctx| {
                    database.handle_request(ctx, &Peer::OwnCore, ReplyTo::Role(id), request);
                }),
                Message::CxAnswer { to: ReplyTo::Role(id), answer } => {
                    let outcome: Result<_, Undeliverable> = Ok(answer);
                    self.call_one(|(core, _), ctx| {
                        core.handle_answer(ctx, CxReply { id, outcome })
                    });
                }
                _ => {}
            }
            effects.extend(self.out.drain());
        }
    }

    /// A registration or its refresh; the allocations up to the challenge, and from there to the 200.
    fn register(&mut self, agent: &mut UserAgent) -> [u64; 2] {
        let mut from_agent = Outbox::new(Arc::default());
        let mut entropy = Seeded(self.entropy.next_u64());
        let mut ctx = Context { now: self.now, entropy: &mut entropy, out: &mut from_agent };
        agent.register(&mut ctx);
        let counts = [401, 200].map(|status| {
            let before = self.allocated;
            for effect in from_agent.drain().collect::<Vec<_>>() {
                if let Effect::Send(send) = effect
                    && let Message::Sip { flow, octets } = send.message
                {
                    let flow = Flow { local: flow.remote, remote: flow.local, ..flow };
                    self.call(|(core, _), ctx| core.handle_sip(ctx, flow, &octets));
                }
            }
            let answer = self.answers.pop().expect("an answer");
            assert!(answer.starts_with(format!("SIP/2.0 {status}").as_bytes()), "{answer:?}");
            let mut ctx = Context { now: self.now, entropy: &mut entropy, out: &mut from_agent };
            agent.handle_sip(&mut ctx, &answer);
            self.allocated - before
        });
        assert!(matches!(agent.state(), State::Registered(_)));
        self.now = self.now + Duration::from_millis(50);
        counts
    }
}

#[test]
fn a_challenge_costs_no_allocation_and_a_refresh_its_record() {
    let mut system = System::new();
    let mut agents: Vec<UserAgent> = (1..=USERS).map(|number| system.subscriber(number)).collect();
    // Until answers end as fast as new ones are given (Timer J), what is kept of them grows.
    for _ in 0..100 {
        for agent in &mut agents {
            system.register(agent);
        }
    }
    let mut all = [0; 2];
    let mut without = 0;
    let count = 2 * SQN_RANGE * u64::from(USERS);
    for _ in 0..2 * SQN_RANGE {
        for agent in &mut agents {
            let [challenge, confirmation] = system.register(agent);
            all = [all[0] + challenge, all[1] + confirmation];
            without += u64::from(challenge == 0) + u64::from(confirmation == 1);
        }
    }
    // What many share may grow now and then: the blocks of the answers that are kept, of the packed records.
    let reserving = 2 * u64::from(USERS);
    assert!((all[0] - reserving) * 100 < count, "{all:?} of {count}");
    assert!((all[1] - count) * 100 < count, "{all:?} of {count}");
    assert!((2 * count - without - reserving) * 100 < count, "{without} of {count}");
}
