//! Many threads on one SIP core: refreshes against de-registrations of the same user, by devices and by
//! the operator.
//!
//! Each round is a short history of 8 threads on one user, checked against a sequential model; after it,
//! what is durable has to be what the model ends in. 100,000 operations by default, 1,000,000 with
//! `MIGCORE_FULL=1`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    clippy::too_many_lines,
    reason = "test code"
)]

mod common;
#[path = "common/linearizable.rs"]
mod linearizable;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use common::Seeded;
use linearizable::{Operation, final_states};
use migcore::{
    aka::{
        Milenage, Sqn,
        digest::{Algorithm, DigestInput, decode_nonce, password, response},
    },
    api::registration,
    diameter::cx::{self, ResultCode},
    entropy::Entropy,
    identity::Impi,
    outbox::{Context, CxReply, Effect, Flow, Message, Outbox, ReplyTo, Transport},
    secret::Secret,
    sip_core::{Config, Limits, Registration, SipCore},
    store::{Engine, MemoryEngine, Sequencer, decode},
    time::Timestamp,
};

const THREADS: u64 = 8;
const OPERATIONS_A_ROUND: u64 = 5;
const CONTACTS: [&str; 3] = ["sip:ue@192.0.2.1", "sip:ue@192.0.2.2", "sip:ue@192.0.2.3"];

/// How the private identity of a user begins that the SIP database does not know.
const UNKNOWN: &str = "nobody";

/// What a device does.
#[derive(Clone, Copy, Debug)]
enum Op {
    Refresh(usize),
    Deregister(usize),
    DeregisterAll,
    Fetch,
    /// The operator ends the registration.
    Remove,
}

/// The contacts that a 200 lists, by index.
type Contacts = BTreeSet<usize>;

struct Shared {
    core: SipCore,
    sequencer: Arc<Sequencer>,
    engine: Mutex<MemoryEngine>,
    milenage: Milenage,
    seq: AtomicU64,
    clock: AtomicU64,
    /// Answers to devices that left with the operator's effects, less those that devices went without.
    given_for_others: AtomicI64,
}

struct Device<'a> {
    shared: &'a Shared,
    out: Outbox,
    entropy: Seeded,
    impi: String,
    call_id: String,
    cseq: u32,
    branch: u64,
}

impl Device<'_> {
    /// Performs one operation to its 200, however often it is sent back.
    fn perform(&mut self, op: Op) -> Contacts {
        if matches!(op, Op::Remove) {
            self.remove();
            return Contacts::new();
        }
        for _ in 0..1_000_000 {
            let challenge = self.exchange(op, None);
            if challenge.starts_with("SIP/2.0 503") {
                // too many attempts of this user at once, and their threads may not be running
                std::thread::yield_now();
                continue;
            }
            let nonce =
                challenge.split("nonce=\"").nth(1).expect("a challenge").split('"').next().unwrap();
            let answer = self.exchange(op, Some(nonce));
            if answer.starts_with("SIP/2.0 200") {
                return listed(&answer);
            }
            // its challenge gave way to another one, and perhaps there is no room for a new attempt now
            let again =
                ["SIP/2.0 401", "SIP/2.0 503"].iter().any(|status| answer.starts_with(status));
            assert!(again, "{answer}");
        }
        panic!("no success in 1,000,000 attempts");
    }

    fn remove(&mut self) {
        let request = registration::Request::Remove(Impi::parse(&self.impi).unwrap());
        let answer =
            self.run(|core, ctx| core.handle_management(ctx, ReplyTo::World(1), request)).unwrap();
        assert_eq!(answer, "managed");
    }

    fn exchange(&mut self, op: Op, nonce: Option<&str>) -> String {
        self.cseq += 1;
        self.branch += 1;
        let (contact, expires) = match op {
            Op::Refresh(at) => (format!("Contact: <{}>\r\n", CONTACTS[at]), 3600),
            Op::Deregister(at) => (format!("Contact: <{}>\r\n", CONTACTS[at]), 0),
            Op::DeregisterAll => ("Contact: *\r\n".to_owned(), 0),
            Op::Fetch => (String::new(), 3600),
            Op::Remove => unreachable!("is no REGISTER"),
        };
        let Self { impi, call_id, cseq, branch, .. } = &*self;
        let credentials = nonce.map_or(String::new(), |nonce| self.credentials(nonce));
        let text = format!(
            "REGISTER sip:b.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK{call_id}x{branch}\r\n\
             From: <sip:{impi}>;tag=f\r\nTo: <sip:{impi}>\r\nCall-ID: {call_id}\r\nCSeq: {cseq} REGISTER\r\n\
             {contact}Expires: {expires}\r\n{credentials}Content-Length: 0\r\n\r\n"
        );
        let flow = Flow {
            transport: Transport::Tcp,
            local: "192.0.2.1:5060".parse().unwrap(),
            remote: "192.0.2.9:5060".parse().unwrap(),
            connection: 1,
        };
        let answer = self.run(|core, ctx| core.handle_sip(ctx, flow, text.as_bytes()));
        answer.unwrap_or_else(|| {
            // the operator ended the attempt, and the answer left from there
            self.shared.given_for_others.fetch_sub(1, Ordering::SeqCst);
            "SIP/2.0 503".to_owned()
        })
    }

    fn credentials(&self, nonce: &str) -> String {
        let (rand, autn) = decode_nonce(nonce).unwrap();
        let ue = self.shared.milenage.verify_autn(&rand, &autn).unwrap();
        let secret = password(Algorithm::AkaV1Md5, ue.res.expose(), ue.ck.expose(), ue.ik.expose());
        let impi = &self.impi;
        let input = DigestInput {
            username: impi,
            realm: "b.example",
            method: "REGISTER",
            uri: "sip:b.example",
            nonce,
            qop: None,
            body: &[],
        };
        let digest = response(Algorithm::AkaV1Md5, &input, secret.expose());
        format!(
            "Authorization: Digest username=\"{impi}\", realm=\"b.example\", uri=\"sip:b.example\", \
             nonce=\"{nonce}\", response=\"{}\", algorithm=AKAv1-MD5\r\n",
            digest.as_str()
        )
    }

    fn run(&mut self, call: impl FnOnce(&SipCore, &mut Context<'_>)) -> Option<String> {
        let now = Timestamp::from_secs(1_800_000_000);
        let own = format!(";branch=z9hG4bK{}x{}", self.call_id, self.branch);
        let mut answer = None;
        call(
            &self.shared.core,
            &mut Context { now, entropy: &mut self.entropy, out: &mut self.out },
        );
        loop {
            let effects: Vec<Effect> = self.out.drain().collect();
            if effects.is_empty() {
                return answer;
            }
            for effect in effects {
                match effect {
                    Effect::Commit(commit) => {
                        self.shared.engine.lock().unwrap().commit(&[commit]).unwrap()
                    }
                    Effect::Send(send) => match send.message {
                        Message::Sip { octets, .. } => {
                            let text = String::from_utf8(octets.to_vec()).unwrap();
                            if text.contains(&format!("{own}\r\n")) {
                                answer = Some(text);
                            } else {
                                assert!(text.starts_with("SIP/2.0 503"), "{text}");
                                self.shared.given_for_others.fetch_add(1, Ordering::SeqCst);
                            }
                        }
                        Message::Registration { .. } => answer = Some("managed".to_owned()),
                        Message::CxRequest { id, request, .. } => {
                            let reply = CxReply { id, outcome: Ok(self.database(request)) };
                            let mut ctx =
                                Context { now, entropy: &mut self.entropy, out: &mut self.out };
                            self.shared.core.handle_answer(&mut ctx, reply);
                        }
                        other => panic!("{other:?}"),
                    },
                    Effect::Arm { .. } | Effect::Step { .. } | Effect::Note(_) => {}
                }
            }
        }
    }

    fn database(&mut self, request: cx::Request) -> cx::Answer {
        match request {
            cx::Request::MultimediaAuth(request)
                if request.identity.impi.as_str().starts_with(UNKNOWN) =>
            {
                cx::Answer::MultimediaAuth(cx::MultimediaAuthAnswer {
                    result: ResultCode::USER_UNKNOWN,
                    identity: request.identity,
                    scheme: request.scheme,
                    vector: None,
                    digest: None,
                })
            }
            cx::Request::MultimediaAuth(request) => {
                let mut rand = [0; 16];
                self.entropy.fill(&mut rand);
                let seq = self.shared.seq.fetch_add(1, Ordering::Relaxed);
                cx::Answer::MultimediaAuth(cx::MultimediaAuthAnswer {
                    result: ResultCode::SUCCESS,
                    identity: request.identity,
                    scheme: request.scheme,
                    vector: Some(self.shared.milenage.vector(
                        &rand,
                        Sqn::new(seq, 0, 5),
                        [0x80, 0],
                    )),
                    digest: None,
                })
            }
            cx::Request::ServerAssignment(request) => {
                cx::Answer::ServerAssignment(cx::ServerAssignmentAnswer {
                    result: ResultCode::SUCCESS,
                    impi: request.impi,
                    user_data: None,
                })
            }
        }
    }
}

fn listed(answer: &str) -> Contacts {
    let lines = answer.lines().filter(|line| line.starts_with("Contact:"));
    lines
        .map(|line| CONTACTS.iter().position(|uri| line.contains(&format!("<{uri}>"))).unwrap())
        .collect()
}

/// The sequential model: the result is what is registered after the operation.
fn step(state: &Contacts, op: &Op, out: &Contacts) -> Option<Contacts> {
    let mut next = state.clone();
    match op {
        Op::Refresh(at) => drop(next.insert(*at)),
        Op::Deregister(at) => drop(next.remove(at)),
        Op::DeregisterAll => next.clear(),
        Op::Fetch => {}
        Op::Remove => next.clear(),
    }
    (next == *out).then_some(next)
}

#[test]
fn refreshes_against_deregistrations_are_linearizable_and_durable() {
    let total = if std::env::var_os("MIGCORE_FULL").is_some() { 1_000_000 } else { 100_000 };
    let seed = 7;
    println!("seed {seed}");
    end_on_panic();
    let shared = shared(seed);
    let rounds = total / (THREADS * OPERATIONS_A_ROUND);
    let barrier = Barrier::new(usize::try_from(THREADS).unwrap());
    let histories: Vec<Vec<Vec<Operation<Op, Contacts>>>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (shared, barrier) = (&shared, &barrier);
                scope.spawn(move || {
                    (0..rounds).map(|round| play(shared, barrier, seed, thread, round)).collect()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let durable = durable_contacts(&shared.engine);
    let mut overlapping = 0;
    for round in 0..rounds {
        let history: Vec<_> = histories
            .iter()
            .flat_map(|thread| thread[usize::try_from(round).unwrap()].clone())
            .collect();
        let overlaps = |one: &Operation<_, _>| {
            history
                .iter()
                .filter(|two| two.called < one.returned && one.called < two.returned)
                .count()
                > 1
        };
        overlapping += history.iter().filter(|one| overlaps(one)).count();
        let finals = final_states(Contacts::new(), &history, step);
        assert!(!finals.is_empty(), "round {round} is not linearizable: {history:#?}");
        let stored = durable(&format!("u{round}@b.example"));
        assert!(finals.contains(&stored), "round {round}: durable {stored:?}, model {finals:?}");
    }
    assert!(overlapping > 0, "nothing ran concurrently");
    let unanswered = shared.given_for_others.load(Ordering::SeqCst);
    assert_eq!(unanswered, 0, "every REGISTER has one answer");
}

#[test]
fn a_user_that_comes_and_goes_on_several_workers_is_counted_once() {
    end_on_panic();
    let shared = shared(8);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let shared = &shared;
            scope.spawn(move || {
                let mut device = Device {
                    shared,
                    out: Outbox::new(shared.sequencer.clone()),
                    entropy: Seeded(thread),
                    impi: format!("{UNKNOWN}@b.example"),
                    call_id: format!("c{thread}"),
                    cseq: 0,
                    branch: 0,
                };
                for _ in 0..100_000 {
                    let answer = device.exchange(Op::Fetch, None);
                    assert!(answer.starts_with("SIP/2.0 403"), "{answer}");
                }
            });
        }
    });
}

fn shared(seed: u64) -> Shared {
    Shared {
        core: SipCore::new(config(), &mut Seeded(seed)),
        sequencer: Arc::default(),
        engine: Mutex::default(),
        milenage: Milenage::new(&Secret::new([1; 16]), &Secret::new([2; 16])),
        seq: AtomicU64::new(1),
        clock: AtomicU64::new(0),
        given_for_others: AtomicI64::new(0),
    }
}

/// Far more attempts than a user may make otherwise.
fn config() -> Config {
    let limits = Limits { identity: None, ..Limits::default() };
    Config { limits, ..Config::for_domain("b.example") }
}

/// A thread that panics must not leave the others at the barrier.
fn end_on_panic() {
    std::panic::set_hook(Box::new(|info| {
        // past the test harness, which would keep the words to itself
        let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{info}\n").as_bytes());
        std::process::exit(101);
    }));
}

/// One thread's share of one round: all threads work on the same user.
fn play(
    shared: &Shared,
    barrier: &Barrier,
    seed: u64,
    thread: u64,
    round: u64,
) -> Vec<Operation<Op, Contacts>> {
    let mut dice = Seeded(seed ^ (round * THREADS + thread) << 8);
    let mut device = Device {
        shared,
        out: Outbox::new(shared.sequencer.clone()),
        entropy: Seeded(dice.draw()),
        impi: format!("u{round}@b.example"),
        call_id: format!("c{thread}r{round}"),
        cseq: 0,
        branch: 0,
    };
    barrier.wait();
    let mut history = Vec::new();
    for _ in 0..OPERATIONS_A_ROUND {
        let at = usize::try_from(dice.below(3)).unwrap();
        let op = match dice.below(9) {
            0..4 => Op::Refresh(at),
            4..6 => Op::Deregister(at),
            6 => Op::DeregisterAll,
            7 => Op::Remove,
            _ => Op::Fetch,
        };
        let called = shared.clock.fetch_add(1, Ordering::SeqCst);
        let out = device.perform(op);
        let returned = shared.clock.fetch_add(1, Ordering::SeqCst);
        history.push(Operation { called, returned, op, out });
    }
    history
}

fn durable_contacts(engine: &Mutex<MemoryEngine>) -> impl Fn(&str) -> Contacts + use<> {
    let records = Mutex::new(std::collections::BTreeMap::new());
    engine
        .lock()
        .unwrap()
        .replay(&|record| {
            let registration: Registration = decode(record.value)?;
            let at = |uri: &str| CONTACTS.iter().position(|known| *known == uri).unwrap();
            let contacts: Contacts =
                registration.contacts.iter().map(|contact| at(&contact.uri)).collect();
            records
                .lock()
                .unwrap()
                .insert(String::from_utf8(record.key.to_vec()).unwrap(), contacts);
            Ok(())
        })
        .unwrap();
    let records = records.into_inner().unwrap();
    move |impi| records.get(impi).cloned().unwrap_or_default()
}
