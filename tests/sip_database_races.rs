//! Eight threads on one SIP database: what they observe must be what one thread could have observed.
//!
//! Every call and its return take a number from one clock. For each user a sequential model must have an
//! order of the calls that explains all answers and keeps a call that returned before another began in
//! front of it (linearizability).
//!
//! `MIGCORE_FULL=1` runs a million calls instead of a hundred thousand.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "test code"
)]

#[path = "common/linearizable.rs"]
mod linearizable;
mod sip_database_harness;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::{
        Arc, Barrier, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use linearizable::{Operation, is_explained};
use migcore::{
    api::migration_identity::{
        AgreementId, Allowance, Answer as Told, Direction, PrimaryUser, Refusal, Request as Manage,
    },
    diameter::cx::{Answer, Request, ServerAssignmentType as Type},
    identity::{SipDatabaseId, UserIdentity},
    outbox::{Context, CxReply, Effect, Message, Outbox, Peer, ReplyTo, RequestId, Undeliverable},
    sip_database::{Config, SipDatabase},
    store::{Commit, Engine, MemoryEngine, Sequencer},
    time::Timestamp,
};
use sip_database_harness::*;

const THREADS: u64 = 8;
const USERS_PER_ROUND: u64 = 3;
const CALLS_PER_ROUND: u64 = 6;
const NOW: Timestamp = Timestamp::from_secs(1_000_000);

/// The planted faults are armed for the whole process, so the tests here take turns.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn rounds() -> u64 {
    let calls = if std::env::var_os("MIGCORE_FULL").is_some() { 1_000_000 } else { 100_000 };
    calls / (THREADS * CALLS_PER_ROUND) + 1
}

/// One call of a history.
#[derive(Clone, Debug)]
struct Event<C, R> {
    user: u64,
    call: C,
    reply: R,
    began: u64,
    ended: u64,
}

/// The sequential specification of one user's state.
trait Model: Clone + Default + Ord {
    type Call: Clone + Debug;
    type Reply: Clone + Debug;

    /// The state after `call`, if it may answer `reply`.
    fn after(&self, call: &Self::Call, reply: &Self::Reply) -> Option<Self>;
}

type History<M> = Vec<Event<<M as Model>::Call, <M as Model>::Reply>>;

/// Whether some order explains the history of one user.
fn is_linearizable<M: Model>(history: &History<M>) -> bool {
    let operation = |event: &Event<M::Call, M::Reply>| Operation {
        called: event.began,
        returned: event.ended,
        op: event.call.clone(),
        out: event.reply.clone(),
    };
    let operations: Vec<_> = history.iter().map(operation).collect();
    is_explained(M::default(), &operations, M::after)
}

/// The histories that no order explains.
fn violations<M: Model>(history: History<M>) -> Vec<History<M>> {
    let mut by_user: BTreeMap<u64, History<M>> = BTreeMap::new();
    for event in history {
        by_user.entry(event.user).or_default().push(event);
    }
    by_user.into_values().filter(|history| !is_linearizable::<M>(history)).collect()
}

/// One thread's way to the role.
struct Worker<'a> {
    role: &'a SipDatabase,
    out: Outbox,
    entropy: Seeded,
    clock: &'a AtomicU64,
    commits: Vec<Commit>,
}

impl<'a> Worker<'a> {
    fn new(run: &'a Run, seed: u64) -> Self {
        let out = Outbox::new(Arc::clone(&run.sequencer));
        let (role, clock) = (&run.role, &run.clock);
        Self { role, out, entropy: Seeded(seed), clock, commits: Vec::new() }
    }

    /// Performs one call; returns the message it sent and when it began and ended.
    fn call(&mut self, act: impl FnOnce(&SipDatabase, &mut Context<'_>)) -> (Message, u64, u64) {
        let mut ctx = Context { now: NOW, entropy: &mut self.entropy, out: &mut self.out };
        let began = self.clock.fetch_add(1, Ordering::SeqCst);
        act(self.role, &mut ctx);
        let ended = self.clock.fetch_add(1, Ordering::SeqCst);
        let mut sent = None;
        for effect in self.out.drain() {
            match effect {
                Effect::Commit(commit) => self.commits.push(commit),
                Effect::Send(send) => sent = Some(send.message),
                _ => {}
            }
        }
        (sent.expect("every call sends one message"), began, ended)
    }

    fn manage(&mut self, request: Manage) -> (Told, u64, u64) {
        let (message, began, ended) =
            self.call(|role, ctx| role.handle_management(ctx, ReplyTo::World(0), request));
        match message {
            Message::Management { answer, .. } => (answer, began, ended),
            other => panic!("{other:?}"),
        }
    }

    fn request(&mut self, from: &Peer, request: Request) -> (Message, u64, u64) {
        self.call(|role, ctx| role.handle_request(ctx, from, ReplyTo::World(0), request))
    }

    fn give_up(&mut self, id: RequestId) {
        let reply = CxReply { id, outcome: Err(Undeliverable) };
        self.call(|role, ctx| role.handle_answer(ctx, reply));
    }
}

/// A role, and what all threads share.
struct Run {
    role: SipDatabase,
    config: Config,
    sequencer: Arc<Sequencer>,
    clock: AtomicU64,
    engine: MemoryEngine,
}

impl Run {
    fn new(system: System) -> Self {
        let System { role, config, engine, sequencer, .. } = system;
        Self { role, config, sequencer, clock: AtomicU64::new(0), engine }
    }

    /// Runs `act` on eight threads, round by round; all commits go to the storage, in any order.
    fn history<C: Send, R: Send>(
        &mut self,
        seed: u64,
        rounds: u64,
        act: impl Fn(&mut Worker<'_>, u64) -> Event<C, R> + Sync,
    ) -> Vec<Event<C, R>> {
        println!("seed {seed}, {rounds} rounds");
        let barrier = Barrier::new(usize::try_from(THREADS).unwrap());
        let (run, barrier, act) = (&*self, &barrier, &act);
        let work = move |thread: u64| {
            let mut worker = Worker::new(run, seed << 32 | thread);
            let mut events = Vec::new();
            for round in 0..rounds {
                barrier.wait();
                for _ in 0..CALLS_PER_ROUND {
                    let user = round * USERS_PER_ROUND + worker.entropy.below(USERS_PER_ROUND);
                    events.push(act(&mut worker, user));
                }
            }
            (events, worker.commits)
        };
        let (mut events, mut commits) = (Vec::new(), Vec::new());
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..THREADS).map(|thread| scope.spawn(move || work(thread))).collect();
            for thread in threads {
                let (some_events, some_commits) = thread.join().unwrap();
                events.extend(some_events);
                commits.extend(some_commits);
            }
        });
        let mut entropy = Seeded(seed);
        commits.sort_by_cached_key(|_| entropy.draw());
        self.engine.commit(&commits).unwrap();
        events
    }

    /// A process started on what this one stored.
    fn restarted(&self) -> Self {
        let mut system = System::with(self.config.clone());
        system.engine = self.engine.clone();
        system.restart();
        Self::new(system)
    }
}

/// The lent pairs that the threads know of, by user.
type Known = Vec<Mutex<Option<UserIdentity>>>;

fn known(rounds: u64) -> Known {
    (0..rounds * USERS_PER_ROUND).map(|_| Mutex::default()).collect()
}

fn recall(known: &Known, user: u64) -> Option<UserIdentity> {
    known[usize::try_from(user).unwrap()].lock().unwrap().clone()
}

fn remember(known: &Known, user: u64, identity: &UserIdentity) {
    *known[usize::try_from(user).unwrap()].lock().unwrap() = Some(identity.clone());
}

/// Agreements under which pairs are lent to one user; zero is none at all.
const AGREEMENTS: u64 = 4;

fn agreement(user: u64, number: u64) -> AgreementId {
    AgreementId(user * AGREEMENTS + number)
}

fn under(user: u64, number: u64) -> Option<Allowance> {
    let until = Timestamp::from_secs(9_000_000);
    (number > 0).then(|| Allowance { agreement: agreement(user, number), until })
}

/// What holds of the agreements of one user: the one that its pair is lent under counts.
#[derive(Clone, Default, Eq, Ord, PartialEq, PartialOrd)]
struct Agreements {
    lent_under: u64,
    withdrawn: BTreeSet<u64>,
}

impl Agreements {
    fn hold(&self, number: u64) -> bool {
        !self.withdrawn.contains(&number)
    }

    fn are_good(&self) -> bool {
        self.hold(self.lent_under)
    }

    fn lent(&self, number: u64) -> Self {
        Self { lent_under: number, withdrawn: self.withdrawn.clone() }
    }

    fn without(&self, number: u64) -> Self {
        let mut withdrawn = self.withdrawn.clone();
        withdrawn.insert(number);
        Self { lent_under: self.lent_under, withdrawn }
    }
}

/// What may be asked about one user's inbound pair.
#[derive(Clone, Debug)]
enum InboundCall {
    Bind(u64),
    Withdraw(u64),
    Release(UserIdentity),
    Register(UserIdentity),
    Deregister(UserIdentity),
    Ask(UserIdentity),
    Show(UserIdentity),
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum InboundReply {
    Lent(UserIdentity),
    Done,
    Refused,
    Withdrawn,
    Shown { active: bool },
}

/// The pair the user holds and whether it is registered; the pairs it held; its agreements.
#[derive(Clone, Default, Eq, Ord, PartialEq, PartialOrd)]
struct InboundModel {
    held: Option<(UserIdentity, bool)>,
    past: BTreeSet<UserIdentity>,
    agreements: Agreements,
}

impl Model for InboundModel {
    type Call = InboundCall;
    type Reply = InboundReply;

    fn after(&self, call: &InboundCall, reply: &InboundReply) -> Option<Self> {
        use InboundCall as Call;
        use InboundReply as Reply;
        let holds =
            |identity: &UserIdentity| self.held.as_ref().is_some_and(|held| held.0 == *identity);
        let with = |identity: &UserIdentity, active| Self {
            held: Some((identity.clone(), active)),
            ..self.clone()
        };
        match (call, reply) {
            (Call::Bind(number), Reply::Lent(lent)) => {
                let active = match &self.held {
                    Some((held, active)) => (held == lent).then_some(*active),
                    None => (!self.past.contains(lent)).then_some(false),
                };
                let agreements = self.agreements.lent(*number);
                let active = active.filter(|_| agreements.are_good())?;
                Some(Self { agreements, ..with(lent, active) })
            }
            (Call::Bind(number), Reply::Withdrawn) => {
                (!self.agreements.hold(*number)).then(|| self.clone())
            }
            (Call::Withdraw(number), Reply::Done) => {
                Some(Self { agreements: self.agreements.without(*number), ..self.clone() })
            }
            (Call::Release(identity), Reply::Done) => holds(identity).then(|| {
                let mut past = self.past.clone();
                past.insert(identity.clone());
                Self { held: None, past, agreements: self.agreements.clone() }
            }),
            (Call::Register(identity), Reply::Done) => {
                holds(identity).then(|| with(identity, true))
            }
            (Call::Deregister(identity), Reply::Done) => {
                holds(identity).then(|| with(identity, false))
            }
            (Call::Ask(identity), Reply::Done) => {
                (holds(identity) && self.agreements.are_good()).then(|| self.clone())
            }
            (Call::Ask(identity), Reply::Refused) => {
                (!holds(identity) || !self.agreements.are_good()).then(|| self.clone())
            }
            (Call::Show(identity), Reply::Shown { active }) => {
                (self.held == Some((identity.clone(), *active))).then(|| self.clone())
            }
            (
                Call::Release(identity)
                | Call::Register(identity)
                | Call::Deregister(identity)
                | Call::Show(identity),
                Reply::Refused,
            ) => (!holds(identity)).then(|| self.clone()),
            _ => None,
        }
    }
}

fn visitor(user: u64) -> PrimaryUser {
    primary(&pair(&format!("u{user}"), "a.example"))
}

fn inbound_event(
    worker: &mut Worker<'_>,
    known: &Known,
    user: u64,
) -> Event<InboundCall, InboundReply> {
    use InboundCall as Call;
    let choice = worker.entropy.below(11);
    let number = worker.entropy.below(AGREEMENTS);
    let identity = recall(known, user);
    let call = match (choice, identity) {
        (0..=3, _) | (_, None) => Call::Bind(number),
        (10, _) => Call::Withdraw(number.max(1)),
        (4 | 5, Some(identity)) => Call::Release(identity),
        (6, Some(identity)) => Call::Register(identity),
        (7, Some(identity)) => Call::Deregister(identity),
        (8, Some(identity)) => Call::Ask(identity),
        (_, Some(identity)) => Call::Show(identity),
    };
    let (reply, began, ended) = match &call {
        Call::Bind(number) => {
            let (primary, allowed) = (visitor(user), under(user, *number));
            manage_inbound(worker, Manage::BindInbound { primary, allowed })
        }
        Call::Withdraw(number) => {
            manage_inbound(worker, Manage::WithdrawAgreement(agreement(user, *number)))
        }
        Call::Release(identity) => {
            manage_inbound(worker, Manage::ReleaseInbound(identity.impi.clone()))
        }
        Call::Show(identity) => match worker.manage(Manage::GetInbound(identity.impi.clone())) {
            (Told::Binding(binding), began, ended) => {
                (InboundReply::Shown { active: binding.active }, began, ended)
            }
            (_, began, ended) => (InboundReply::Refused, began, ended),
        },
        Call::Register(identity) => assign(worker, identity, Type::Registration),
        Call::Deregister(identity) => assign(worker, identity, Type::UserDeregistration),
        Call::Ask(identity) => {
            let (message, began, ended) =
                worker.request(&Peer::OwnCore, Request::MultimediaAuth(mar(identity)));
            let reply = if let Message::CxRequest { id, .. } = message {
                worker.give_up(id);
                InboundReply::Done
            } else {
                InboundReply::Refused
            };
            (reply, began, ended)
        }
    };
    if let InboundReply::Lent(identity) = &reply {
        remember(known, user, identity);
    }
    Event { user, call, reply, began, ended }
}

fn manage_inbound(worker: &mut Worker<'_>, request: Manage) -> (InboundReply, u64, u64) {
    let (answer, began, ended) = worker.manage(request);
    let reply = match answer {
        Told::Binding(binding) => InboundReply::Lent(binding.identity),
        Told::Done => InboundReply::Done,
        Told::Refused(Refusal::NotFound(_)) => InboundReply::Refused,
        Told::Refused(Refusal::Invalid("the agreement was withdrawn")) => InboundReply::Withdrawn,
        other => panic!("{other:?}"),
    };
    (reply, began, ended)
}

fn assign(
    worker: &mut Worker<'_>,
    identity: &UserIdentity,
    what: Type,
) -> (InboundReply, u64, u64) {
    let (message, began, ended) =
        worker.request(&Peer::OwnCore, Request::ServerAssignment(sar(identity, what)));
    let success = matches!(&message, Message::CxAnswer { answer: Answer::ServerAssignment(answer), .. }
        if answer.result.is_success());
    (if success { InboundReply::Done } else { InboundReply::Refused }, began, ended)
}

fn inbound_run() -> Run {
    let mut b = system_b();
    b.done(Manage::PutPool(generated("in", Direction::Inbound, "b.example")));
    Run::new(b)
}

fn inbound_history(run: &mut Run, seed: u64, rounds: u64) -> History<InboundModel> {
    let known = known(rounds);
    run.history(seed, rounds, |worker, user| inbound_event(worker, &known, user))
}

#[test]
fn binding_registering_and_revoking_inbound_pairs_is_linearizable() {
    let _turn = alone();
    let mut run = inbound_run();
    let history = inbound_history(&mut run, 10, rounds());
    let mut owners = BTreeMap::new();
    for event in &history {
        if let InboundReply::Lent(identity) = &event.reply {
            let owner = *owners.entry(identity.clone()).or_insert(event.user);
            assert_eq!(owner, event.user, "one pair, two users");
        }
    }
    let refused = history.iter().filter(|event| event.reply == InboundReply::Refused).count();
    assert!(refused > history.len() / 50, "only {refused} calls came too late: no race");
    let violations = violations::<InboundModel>(history);
    assert!(violations.is_empty(), "{} of them, first {:?}", violations.len(), violations[0]);

    // What is stored is what is in memory, whatever order the commits came in.
    let restarted = run.restarted();
    let (mut live, mut stored) = (Worker::new(&run, 1), Worker::new(&restarted, 1));
    for identity in owners.into_keys() {
        let show = Manage::GetInbound(identity.impi);
        assert_eq!(live.manage(show.clone()).0, stored.manage(show).0);
    }
}

#[cfg(feature = "planted-bugs")]
#[test]
fn a_check_that_is_apart_from_its_insertion_is_caught() {
    use migcore::planted::{Bug, arm};

    let _turn = alone();
    arm(Some(Bug::CheckThenInsert));
    let found = (0..100).any(|seed| {
        let history = inbound_history(&mut inbound_run(), seed, 200);
        !violations::<InboundModel>(history).is_empty()
    });
    arm(None);
    assert!(found, "the planted fault went unnoticed");
}

/// What may be asked about one subscriber.
#[derive(Clone, Debug)]
enum HomeCall {
    AskAtHome,
    AskByPartner(UserIdentity),
    Bind(u64),
    Withdraw(u64),
    EndVisits,
    Release(UserIdentity),
    Put,
    Delete,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum HomeReply {
    Vector { seq: u64 },
    Lent(UserIdentity),
    Done,
    Refused,
    Withdrawn,
}

/// The last SEQ of the subscriber, if there is one; the outbound pair it holds and those it held; its
/// agreements.
#[derive(Clone, Default, Eq, Ord, PartialEq, PartialOrd)]
struct HomeModel {
    seq: Option<u64>,
    held: Option<UserIdentity>,
    past: BTreeSet<UserIdentity>,
    agreements: Agreements,
}

impl HomeModel {
    fn without_pair(&self) -> Self {
        let mut past = self.past.clone();
        past.extend(self.held.clone());
        Self { held: None, past, ..self.clone() }
    }
}

impl Model for HomeModel {
    type Call = HomeCall;
    type Reply = HomeReply;

    fn after(&self, call: &HomeCall, reply: &HomeReply) -> Option<Self> {
        use HomeCall as Call;
        use HomeReply as Reply;
        let holds = |identity: &UserIdentity| self.held.as_ref() == Some(identity);
        let drawn = |seq: u64| Self { seq: Some(seq), ..self.clone() };
        let rises = |seq: u64| self.seq.is_some_and(|last| seq > last);
        match (call, reply) {
            (Call::AskAtHome, Reply::Vector { seq }) => rises(*seq).then(|| drawn(*seq)),
            (Call::AskAtHome, Reply::Refused) => self.seq.is_none().then(|| self.clone()),
            (Call::AskByPartner(identity), Reply::Vector { seq }) => {
                let good = holds(identity) && self.agreements.are_good();
                (good && rises(*seq)).then(|| drawn(*seq))
            }
            (Call::AskByPartner(identity), Reply::Refused) => {
                (!holds(identity) || !self.agreements.are_good()).then(|| self.clone())
            }
            (Call::Release(identity), Reply::Refused) => (!holds(identity)).then(|| self.clone()),
            (Call::Bind(number), Reply::Lent(lent)) => {
                let new = self.held.is_none() && !self.past.contains(lent);
                // What is lent by an administrator's word, number 0, stays so.
                let stays = holds(lent) && self.agreements.lent_under == 0;
                let under = if stays { 0 } else { *number };
                let agreements = self.agreements.lent(under);
                (self.seq.is_some() && (new || holds(lent)) && self.agreements.hold(*number))
                    .then(|| Self { held: Some(lent.clone()), agreements, ..self.clone() })
            }
            (Call::Bind(number), Reply::Withdrawn) => {
                (!self.agreements.hold(*number)).then(|| self.clone())
            }
            (Call::Withdraw(number), Reply::Done) => {
                Some(Self { agreements: self.agreements.without(*number), ..self.clone() })
            }
            (Call::EndVisits, Reply::Done) => Some(self.without_pair()),
            (Call::Bind(_) | Call::Delete, Reply::Refused) => {
                self.seq.is_none().then(|| self.clone())
            }
            (Call::Release(identity), Reply::Done) => holds(identity).then(|| self.without_pair()),
            (Call::Put, Reply::Done) => Some(drawn(self.seq.unwrap_or(0))),
            (Call::Delete, Reply::Done) => {
                self.seq.map(|_| Self { seq: None, ..self.without_pair() })
            }
            _ => None,
        }
    }
}

fn partner() -> SipDatabaseId {
    database("hss.b.example")
}

fn home_event(worker: &mut Worker<'_>, known: &Known, user: u64) -> Event<HomeCall, HomeReply> {
    use HomeCall as Call;
    let real = pair(&format!("u{user}"), "a.example");
    let choice = worker.entropy.below(24);
    let number = worker.entropy.below(AGREEMENTS);
    let call = match (choice, recall(known, user)) {
        (0..=3, _) => Call::Put,
        (4, _) => Call::Delete,
        (5..=7, _) => Call::AskAtHome,
        (20, _) => Call::EndVisits,
        (21, _) => Call::Withdraw(number.max(1)),
        (8..=12, _) | (_, None) => Call::Bind(number),
        (13..=14, Some(identity)) => Call::Release(identity),
        (_, Some(identity)) => Call::AskByPartner(identity),
    };
    let (reply, began, ended) = match &call {
        Call::Put => manage_home(worker, Manage::PutSubscriber(subscriber(&real, 0))),
        Call::Delete => manage_home(worker, Manage::DeleteSubscriber(real.impi)),
        Call::Bind(number) => {
            let allowed = under(user, *number);
            manage_home(worker, Manage::BindOutbound { user: real, partner: partner(), allowed })
        }
        Call::Withdraw(number) => {
            manage_home(worker, Manage::WithdrawAgreement(agreement(user, *number)))
        }
        Call::EndVisits => manage_home(worker, Manage::EndVisits(real.impi)),
        Call::Release(identity) => {
            manage_home(worker, Manage::ReleaseOutbound(identity.impi.clone()))
        }
        Call::AskAtHome => ask(worker, &Peer::OwnCore, &real),
        Call::AskByPartner(identity) => ask(worker, &Peer::Database(partner()), identity),
    };
    if let HomeReply::Lent(identity) = &reply {
        remember(known, user, identity);
    }
    Event { user, call, reply, began, ended }
}

fn manage_home(worker: &mut Worker<'_>, request: Manage) -> (HomeReply, u64, u64) {
    let (answer, began, ended) = worker.manage(request);
    let reply = match answer {
        Told::Binding(binding) => HomeReply::Lent(binding.identity),
        Told::Done => HomeReply::Done,
        Told::Refused(Refusal::NotFound(_)) => HomeReply::Refused,
        Told::Refused(Refusal::Invalid("the agreement was withdrawn")) => HomeReply::Withdrawn,
        other => panic!("{other:?}"),
    };
    (reply, began, ended)
}

fn ask(worker: &mut Worker<'_>, from: &Peer, identity: &UserIdentity) -> (HomeReply, u64, u64) {
    let (message, began, ended) = worker.request(from, Request::MultimediaAuth(mar(identity)));
    let Message::CxAnswer { answer: Answer::MultimediaAuth(answer), .. } = message else {
        panic!("no MAA");
    };
    let vector = answer.vector.map(|vector| HomeReply::Vector { seq: sqn_of(&vector).0 });
    (vector.unwrap_or(HomeReply::Refused), began, ended)
}

#[test]
fn vectors_grants_of_pairs_and_provisioning_of_a_subscriber_are_linearizable() {
    let _turn = alone();
    let mut a = system_a();
    a.done(Manage::PutPool(generated("out", Direction::Outbound, "a.example")));
    let mut run = Run::new(a);
    let rounds = rounds();
    let known = known(rounds);
    let history: History<HomeModel> =
        run.history(19, rounds, |worker, user| home_event(worker, &known, user));
    let vectors =
        history.iter().filter(|event| matches!(event.reply, HomeReply::Vector { .. })).count();
    assert!(vectors > history.len() / 20, "only {vectors} vectors");
    let lent: BTreeSet<UserIdentity> = history
        .iter()
        .filter_map(|event| match &event.reply {
            HomeReply::Lent(identity) => Some(identity.clone()),
            _ => None,
        })
        .collect();
    let withdrawn = history.iter().filter(|event| event.reply == HomeReply::Withdrawn).count();
    assert!(withdrawn > history.len() / 200, "only {withdrawn} came after a withdrawal");
    let violations = violations::<HomeModel>(history);
    assert!(violations.is_empty(), "{} of them, first {:?}", violations.len(), violations[0]);

    let restarted = run.restarted();
    let (mut live, mut stored) = (Worker::new(&run, 1), Worker::new(&restarted, 1));
    for identity in lent {
        let show = Manage::GetOutbound(identity.impi);
        assert_eq!(live.manage(show.clone()).0, stored.manage(show).0);
    }
}

#[test]
fn eight_threads_that_ask_for_one_subscriber_draw_each_sqn_once_and_in_order() {
    let _turn = alone();
    let mut a = system_a();
    a.put_alice();
    let mut run = Run::new(a);
    let rounds = rounds();
    let mut drawn: Vec<(u64, u64, u64)> = run
        .history(1, rounds, |worker, user| {
            let (call, (reply, began, ended)) =
                (HomeCall::AskAtHome, ask(worker, &Peer::OwnCore, &alice()));
            Event { user, call, reply, began, ended }
        })
        .into_iter()
        .map(|event| match event.reply {
            HomeReply::Vector { seq } => (seq, event.began, event.ended),
            other => panic!("{other:?}"),
        })
        .collect();
    drawn.sort_unstable();
    let wanted: Vec<u64> = (1..=drawn.len() as u64).collect();
    assert_eq!(drawn.iter().map(|(seq, ..)| *seq).collect::<Vec<_>>(), wanted);
    // Whoever drew a higher SEQ had not returned when one that drew a lower SEQ began.
    let mut latest_begin = 0;
    for (seq, began, ended) in drawn {
        assert!(ended > latest_begin, "SEQ {seq} returned before a lower one was asked for");
        latest_begin = latest_begin.max(began);
    }
}

#[test]
fn no_pair_is_mapped_and_lent_at_once_while_eight_threads_take_from_one_pool() {
    let _turn = alone();
    let guests: Vec<_> = (0..12).map(|number| pair(&format!("g{number}"), "b.example")).collect();
    let mut b = system_b();
    b.done(Manage::PutPool(listed("in", Direction::Inbound, guests.clone(), Duration::ZERO)));
    let mut run = Run::new(b);
    let next_user = AtomicU64::new(0);
    let held: Vec<_> = guests.iter().map(|_| AtomicBool::new(false)).collect();
    let number_of = |lent: &UserIdentity| guests.iter().position(|guest| guest == lent).unwrap();
    let history = run.history(31, rounds() / 4, |worker, user| {
        let primary = visitor(next_user.fetch_add(1, Ordering::Relaxed));
        let guest = usize::try_from(worker.entropy.below(guests.len() as u64)).unwrap();
        let map = Manage::MapInbound { primary: primary.clone(), identity: guests[guest].clone() };
        let bind = Manage::BindInbound { primary, allowed: None };
        let mapped = worker.entropy.below(2) == 0 && worker.manage(map).0 == Told::Done;
        let (answer, began, ended) = worker.manage(bind);
        if let Told::Binding(binding) = &answer {
            let number = number_of(&binding.identity);
            assert!(!mapped || number == guest, "not the pair that it was mapped to");
            assert!(!held[number].swap(true, Ordering::SeqCst), "one pair, two users");
            held[number].store(false, Ordering::SeqCst);
            let release = Manage::ReleaseInbound(binding.identity.impi.clone());
            assert_eq!(worker.manage(release).0, Told::Done);
        } else {
            assert!(!mapped, "mapped and not lent: {answer:?}");
        }
        Event { user, call: (), reply: mapped, began, ended }
    });
    let mapped = history.iter().filter(|event| event.reply).count();
    assert!(mapped > history.len() / 20, "only {mapped} of {} were mapped", history.len());
    for run in [&run, &run.restarted()] {
        let fill = Worker::new(run, 1).manage(Manage::GetPool("in".to_owned())).0;
        let direction = Direction::Inbound;
        assert_eq!(fill, Told::Pool { direction, total: 12, lent: 0, free: Some(12) });
    }
}

#[test]
fn the_checker_accepts_overlap_and_refuses_what_no_order_explains() {
    let (one, two) = (pair("g1", "b.example"), pair("g2", "b.example"));
    let bind = |identity: &UserIdentity, began, ended| Event {
        user: 0,
        call: InboundCall::Bind(0),
        reply: InboundReply::Lent(identity.clone()),
        began,
        ended,
    };
    let release = |identity: &UserIdentity, reply, began, ended| Event {
        user: 0,
        call: InboundCall::Release(identity.clone()),
        reply,
        began,
        ended,
    };
    let done = InboundReply::Done;
    let refused = InboundReply::Refused;
    for (what, history, wanted) in [
        ("the same pair twice", vec![bind(&one, 0, 3), bind(&one, 1, 2)], true),
        ("two pairs at once", vec![bind(&one, 0, 3), bind(&two, 1, 2)], false),
        (
            "a release between two pairs, overlapping both",
            vec![bind(&one, 0, 1), release(&one, done.clone(), 2, 5), bind(&two, 3, 4)],
            true,
        ),
        (
            "a release that began after the second pair was lent",
            vec![bind(&one, 0, 1), bind(&two, 2, 3), release(&one, done.clone(), 4, 5)],
            false,
        ),
        ("a lost release", vec![bind(&one, 0, 1), release(&one, refused, 2, 3)], false),
        (
            "a pair lent again",
            vec![bind(&one, 0, 1), release(&one, done, 2, 3), bind(&one, 4, 5)],
            false,
        ),
    ] {
        assert_eq!(is_linearizable::<InboundModel>(&history), wanted, "{what}");
    }
}
