//! Two MC systems, A and B, each with its ACM server and its configuration server on one storage, in a small world of
//! queued messages and virtual time: what the tests of the role share.
//!
//! Why not in `migcore::sim`, where these roles live with all others: a scenario sets up one transaction, holds or
//! changes one message of it, and asks what each side says at that moment. Nothing is drawn here, no fault comes by
//! itself, and whatever is under way arrives before the next line of a test. The faults are there.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::redundant_closure_for_method_calls,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "test code"
)]

mod ask;
mod make;

use std::{collections::VecDeque, sync::Arc, time::Duration};

pub use make::*;
use migcore::{
    acm::{AcmServer, Config, Mode},
    alias_server::{self, AliasServer},
    api::{
        acm_client::{
            Answer as ClientAnswer, Begin, Decision, Item, Notification, Page, Progress,
            Request as Client, SessionId, State, Summary,
        },
        acm_interconnection::{
            Answer, Refusal, Request, Response, ResultCode, TransactionId, TransactionKey,
        },
        acm_management::{Answer as ManagementAnswer, Request as Manage},
        acm_payload::{Kind, Parties, Payload},
        alias_management::{Activation, Answer as AliasAnswer, Request as AliasRequest},
        configuration::{AgreementKey, Answer as ConfigurationAnswer, Request as Configure, Users},
        connection_details::SystemConfiguration,
        functional_alias::Event,
        migration_identity::{Answer as DatabaseAnswer, Direction},
    },
    config_server::{self, ConfigServer},
    identity::{McServiceId, McSystemId},
    outbox::{
        AcmMessage, AcmReply, ConfigurationReply, Context, Effect, ManagementReply, Message, Note,
        Outbox, ReplyTo, RequestId, Role, TimerKey, Undeliverable,
    },
    sim::SeededEntropy,
    step::Step,
    store::{CommitSeq, Engine, MemoryEngine, Sequencer},
    time::Timestamp,
    token::BearerToken,
};

pub const MINUTE: Duration = Duration::from_secs(60);
pub const DAY: Duration = Duration::from_secs(24 * 3_600);
/// When all tests begin.
pub const START: Timestamp = Timestamp::from_secs(1_800_000_000);

/// One of the two systems.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Side {
    A,
    B,
}

impl Side {
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    pub const fn letter(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

/// One MC system.
pub struct System {
    pub role: AcmServer,
    pub config: Config,
    pub config_server: ConfigServer,
    server_config: config_server::Config,
    pub engine: MemoryEngine,
    sequencer: Arc<Sequencer>,
    pub entropy: SeededEntropy,
    timers: Vec<(Timestamp, TimerKey)>,
    pub alias_server: AliasServer,
    /// Whether what the functional alias controlling server tells reaches the ACM server.
    pub feed_is_up: bool,
    /// Commits until the process is killed, right after one.
    pub commits_until_crash: Option<u64>,
    pub commits: u64,
    pub crashes: u64,
    /// Everything that the process has logged: steps, notes, messages, as they print.
    pub log: String,
    /// Everything that clients were shown.
    pub shown: String,
    /// Whether requests to the configuration server are lost.
    pub configuration_is_lost: bool,
    /// Which requests the configuration server cannot serve now.
    pub is_unavailable_for: fn(&Configure) -> bool,
    /// Log-ons whose clients have a stream of events open.
    pub streams: Vec<(McServiceId, SessionId)>,
    incarnation: u64,
}

/// What is under way.
#[derive(Debug)]
enum Event_ {
    Request { from: Side, incarnation: u64, id: RequestId, request: Request },
    Answer { to: Side, incarnation: u64, reply: AcmReply },
    Configure { at: Side, incarnation: u64, id: RequestId, request: Configure },
    Configured { at: Side, incarnation: u64, reply: ConfigurationReply },
    Withdrawn { at: Side, incarnation: u64, id: RequestId },
    Subscribe { at: Side, incarnation: u64 },
    Alias { at: Side, incarnation: u64, event: Event },
}

/// The two systems and what is between them.
pub struct World {
    a: System,
    b: System,
    pub now: Timestamp,
    queue: VecDeque<Event_>,
    /// Whether requests reach the other system.
    pub link_is_up: bool,
    /// Answers to lose, the next ones.
    pub answers_to_lose: u32,
    /// What was sent on the link and arrived, in order.
    pub on_link: Vec<(Side, Request)>,
    /// Requests on the link that wait for whoever lets them go, while `holding` says which ones do.
    pub holding: fn(&Request) -> bool,
    pub held: Vec<(Side, Request)>,
    /// The other system's answers.
    pub answers: Vec<Answer>,
    pub notified: Vec<(Side, McServiceId, Notification)>,
    pub steps: Vec<Step>,
    pub notes: Vec<(Side, Note)>,
    pub configured: Vec<(Side, Configure)>,
}

impl System {
    fn new(side: Side) -> Self {
        let mut entropy = SeededEntropy::new(7 + side as u64);
        let config = acm_config(side);
        let server_config = config_server_config(side);
        Self {
            role: AcmServer::new(config.clone(), &mut entropy),
            config,
            config_server: ConfigServer::new(server_config.clone(), &mut entropy),
            server_config,
            engine: MemoryEngine::default(),
            sequencer: Arc::default(),
            entropy,
            timers: Vec::new(),
            alias_server: new_alias_server(side),
            feed_is_up: true,
            commits_until_crash: None,
            commits: 0,
            crashes: 0,
            log: String::new(),
            shown: String::new(),
            configuration_is_lost: false,
            is_unavailable_for: |_| false,
            streams: Vec::new(),
            incarnation: 0,
        }
    }
}

impl World {
    /// A and B interconnected; two administrators with all rights in each, a user without any in B; B has a
    /// configuration of its own in force.
    pub fn ready() -> Self {
        Self::with(|_| {})
    }

    /// The same, with `change` made to the set-up of both ACM servers.
    pub fn with(change: impl Fn(&mut Config)) -> Self {
        let (a, b) = (System::new(Side::A), System::new(Side::B));
        let mut world = Self {
            a,
            b,
            now: START,
            queue: VecDeque::new(),
            link_is_up: true,
            answers_to_lose: 0,
            on_link: Vec::new(),
            holding: |_| false,
            held: Vec::new(),
            answers: Vec::new(),
            notified: Vec::new(),
            steps: Vec::new(),
            notes: Vec::new(),
            configured: Vec::new(),
        };
        for side in [Side::A, Side::B] {
            change(&mut world.system(side).config);
            world.restart(side);
            for name in ADMINISTRATORS {
                let user = administrator(side, name, &Kind::ALL);
                assert_eq!(world.manage(side, Manage::PutUser(user)), ManagementAnswer::Done);
            }
            let user = administrator(side, "norights", &[]);
            assert_eq!(world.manage(side, Manage::PutUser(user)), ManagementAnswer::Done);
            world.put_configuration(side, side, system_configuration(side.letter(), 1));
        }
        world.run();
        world.steps.clear();
        world.configured.clear();
        world
    }

    pub fn system(&mut self, side: Side) -> &mut System {
        match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        }
    }

    /// Sets the policy of B for requests of A.
    pub fn set_mode(&mut self, mode: Mode) {
        self.change_config(Side::B, |config| config.partners[0].policies.usual.mode = mode);
    }

    /// Starts a system again with another set-up.
    pub fn change_config(&mut self, side: Side, change: impl Fn(&mut Config)) {
        change(&mut self.system(side).config);
        self.restart(side);
        self.run();
    }

    /// Kills the process and starts another one on the same storage.
    pub fn restart(&mut self, side: Side) {
        let system = self.system(side);
        system.incarnation += 1;
        system.role = AcmServer::new(system.config.clone(), &mut system.entropy);
        system.config_server = ConfigServer::new(system.server_config.clone(), &mut system.entropy);
        system.alias_server = new_alias_server(side);
        system.timers.clear();
        let System { role, config_server, alias_server, engine, .. } = system;
        let highest = engine
            .replay(&|record| {
                role.load(&record)?;
                alias_server.load(&record)?;
                config_server.load(&record)
            })
            .unwrap();
        system.sequencer = Arc::new(Sequencer::starting_after(highest));
        self.call(side, |role, ctx| role.handle_loaded(ctx));
    }

    /// Lets an ACM server do something, and performs what it wants done; its answers to clients are returned.
    fn call(
        &mut self,
        side: Side,
        act: impl FnOnce(&AcmServer, &mut Context<'_>),
    ) -> Vec<AcmMessage> {
        let now = self.now;
        let system = self.system(side);
        let mut out = Outbox::new(Arc::clone(&system.sequencer));
        let mut ctx = Context { now, entropy: &mut system.entropy, out: &mut out };
        act(&system.role, &mut ctx);
        self.perform(side, out)
    }

    fn perform(&mut self, side: Side, mut out: Outbox) -> Vec<AcmMessage> {
        let mut answers = Vec::new();
        let mut relied_upon = CommitSeq::NOTHING;
        for effect in out.drain() {
            let system = self.system(side);
            match effect {
                Effect::Commit(commit) => {
                    let mut keys: Vec<_> =
                        commit.mutations.iter().map(|it| (it.kind, it.key.clone())).collect();
                    keys.sort();
                    keys.dedup();
                    assert_eq!(keys.len(), commit.mutations.len(), "no key twice in a commit");
                    system.engine.commit(&[commit]).unwrap();
                    system.commits += 1;
                    if let Some(left) = &mut system.commits_until_crash {
                        *left -= 1;
                        if *left == 0 {
                            system.commits_until_crash = None;
                            system.crashes += 1;
                            self.restart(side);
                            return Vec::new();
                        }
                    }
                }
                Effect::Send(send) => {
                    // Commits come first whatever the role asked for first; but no message relies on less than the
                    // one before it.
                    assert!(
                        send.after >= relied_upon,
                        "what was committed is relied upon: {send:?}"
                    );
                    relied_upon = send.after;
                    system.log.push_str(&format!("{send:?}\n"));
                    self.steps.extend(send.step);
                    answers.extend(self.dispatch(side, send.message));
                }
                Effect::Arm { at, timer } => system.timers.push((at, timer)),
                Effect::Step { step, .. } => self.steps.push(step),
                Effect::Note(note) => {
                    system.log.push_str(&format!("{note:?}\n"));
                    self.notes.push((side, note));
                }
            }
        }
        answers
    }

    fn dispatch(&mut self, side: Side, message: Message) -> Option<AcmMessage> {
        let incarnation = self.system(side).incarnation;
        match message {
            Message::Acm(AcmMessage::Request { to, id, request }) => {
                if to == system_id(side.other()) {
                    self.queue.push_back(Event_::Request { from: side, incarnation, id, request });
                } else {
                    // Of other systems there are requests at most, which a test makes.
                    let reply = AcmReply { id, outcome: Err(Undeliverable) };
                    self.queue.push_back(Event_::Answer { to: side, incarnation, reply });
                }
            }
            Message::Acm(AcmMessage::Notification { user, notification, .. }) => {
                self.notified.push((side, user, notification));
            }
            Message::Acm(AcmMessage::SubscribeAliases) => {
                self.queue.push_back(Event_::Subscribe { at: side, incarnation });
            }
            Message::Acm(AcmMessage::AliasEvent(event)) => {
                self.queue.push_back(Event_::Alias { at: side, incarnation, event });
            }
            Message::Acm(answer) => return Some(answer),
            Message::ConfigurationRequest { id, request } => {
                self.queue.push_back(Event_::Configure { at: side, incarnation, id, request });
            }
            Message::Configuration { to: ReplyTo::Role(id), answer } => {
                let reply = ConfigurationReply { id, answer };
                self.queue.push_back(Event_::Configured { at: side, incarnation, reply });
            }
            Message::Configuration { .. } => {}
            // The SIP database ends what was lent under an agreement: nothing was.
            Message::ManagementRequest { id, .. } => {
                self.queue.push_back(Event_::Withdrawn { at: side, incarnation, id });
            }
            other => panic!("not for this world: {other:?}"),
        }
        None
    }

    /// Delivers everything that is under way.
    pub fn run(&mut self) {
        for _ in 0..1_000_000 {
            let Some(event) = self.queue.pop_front() else { return };
            self.deliver(event);
        }
        panic!("the systems never come to rest");
    }

    /// The same, in an order that follows from a seed.
    pub fn run_in_disorder(&mut self, seed: u64) {
        let mut random = SeededEntropy::new(seed);
        while !self.queue.is_empty() {
            let place = usize::try_from(random.below(self.queue.len() as u64)).unwrap();
            let event = self.queue.remove(place).unwrap();
            self.deliver(event);
        }
    }

    fn deliver(&mut self, event: Event_) {
        match event {
            Event_::Request { from, incarnation, id, request } => {
                if (self.holding)(&request) {
                    self.held.push((from, request));
                    return;
                }
                let outcome = if self.link_is_up {
                    self.cross(from, request)
                } else {
                    Some(Err(Undeliverable))
                };
                if let Some(outcome) = outcome {
                    let reply = AcmReply { id, outcome };
                    self.queue.push_back(Event_::Answer { to: from, incarnation, reply });
                }
            }
            Event_::Answer { to, incarnation, reply } => {
                if self.system(to).incarnation == incarnation {
                    self.call(to, |role, ctx| role.handle_acm_reply(ctx, reply));
                }
            }
            Event_::Configure { at, incarnation, id, request } => {
                let system = self.system(at);
                if (system.is_unavailable_for)(&request) {
                    let unavailable = migcore::api::migration_identity::Refusal::Unavailable;
                    let reply = ConfigurationReply {
                        id,
                        answer: ConfigurationAnswer::Refused(unavailable),
                    };
                    self.queue.push_back(Event_::Configured { at, incarnation, reply });
                } else if system.incarnation == incarnation && !system.configuration_is_lost {
                    self.configured.push((at, request.clone()));
                    self.configure(at, ReplyTo::Role(id), request);
                }
            }
            Event_::Configured { at, incarnation, reply } => {
                if self.system(at).incarnation == incarnation {
                    self.call(at, |role, ctx| role.handle_configuration_reply(ctx, reply));
                }
            }
            Event_::Withdrawn { at, incarnation, id } => {
                if self.system(at).incarnation == incarnation {
                    let reply = ManagementReply { id, answer: DatabaseAnswer::Done };
                    self.call_config_server(at, |role, ctx| {
                        role.handle_management_reply(ctx, reply);
                    });
                }
            }
            Event_::Subscribe { at, incarnation } => {
                let system = self.system(at);
                if system.incarnation == incarnation && system.feed_is_up {
                    self.call_alias_server(at, |role, ctx| role.handle_subscription(ctx));
                }
            }
            Event_::Alias { at, incarnation, event } => {
                let system = self.system(at);
                if system.incarnation == incarnation && system.feed_is_up {
                    self.call(at, |role, ctx| role.handle_alias_event(ctx, event));
                }
            }
        }
    }

    /// Carries a request over the link, as JSON, and returns the answer; `None` if it is lost.
    fn cross(&mut self, from: Side, request: Request) -> Option<Result<Answer, Undeliverable>> {
        let json = serde_json::to_string(&request).unwrap();
        let request: Request = serde_json::from_str(&json).unwrap();
        let token = token(&format!("system-{}", from.letter()));
        let answer = self.post(from.other(), Some(&token), request.clone());
        self.on_link.push((from, request));
        let Some(answer) = answer else { return Some(Err(Undeliverable)) };
        if self.answers_to_lose > 0 {
            self.answers_to_lose -= 1;
            return None;
        }
        Some(Ok(answer))
    }

    /// Hands a request to the ACM server of a system; no answer if the process is killed over it.
    pub fn post(
        &mut self,
        at: Side,
        token: Option<&BearerToken>,
        request: Request,
    ) -> Option<Answer> {
        let answers = self.call(at, |role, ctx| {
            role.handle_interconnection(ctx, ReplyTo::World(1), token, request);
        });
        let answer = answers.into_iter().find_map(|answer| match answer {
            AcmMessage::Answer { to: ReplyTo::World(1), answer } => Some(answer),
            _ => None,
        })?;
        let json = serde_json::to_string(&answer).unwrap();
        let answer: Answer = serde_json::from_str(&json).unwrap();
        self.answers.push(answer.clone());
        Some(answer)
    }

    /// Lets a held request go.
    pub fn release(&mut self, number: usize) {
        let (from, request) = self.held.remove(number);
        self.cross(from, request);
        self.run();
    }

    fn configure(
        &mut self,
        side: Side,
        to: ReplyTo,
        request: Configure,
    ) -> Vec<ConfigurationAnswer> {
        self.call_config_server(side, |role, ctx| role.handle_configuration(ctx, to, request))
    }

    fn call_config_server(
        &mut self,
        side: Side,
        act: impl FnOnce(&ConfigServer, &mut Context<'_>),
    ) -> Vec<ConfigurationAnswer> {
        let now = self.now;
        let system = self.system(side);
        let mut out = Outbox::new(Arc::clone(&system.sequencer));
        let mut ctx = Context { now, entropy: &mut system.entropy, out: &mut out };
        act(&system.config_server, &mut ctx);
        let mut answers = Vec::new();
        let mut kept = Outbox::new(Arc::clone(&system.sequencer));
        for effect in out.drain() {
            match effect {
                Effect::Send(send) => match send.message {
                    Message::Configuration { to: ReplyTo::World(_), answer } => {
                        answers.push(answer)
                    }
                    message => kept.send_after(send.after, send.step, message),
                },
                Effect::Commit(commit) => {
                    system.engine.commit(std::slice::from_ref(&commit)).unwrap();
                    system.commits += 1;
                    if let Some(left) = &mut system.commits_until_crash {
                        *left -= 1;
                        if *left == 0 {
                            system.commits_until_crash = None;
                            system.crashes += 1;
                            self.restart(side);
                            return Vec::new();
                        }
                    }
                }
                // A request for the SIP database is always answered here.
                Effect::Arm { .. } => {}
                other => panic!("a configuration server of a test: {other:?}"),
            }
        }
        self.perform(side, kept);
        answers
    }

    fn call_alias_server(
        &mut self,
        side: Side,
        act: impl FnOnce(&AliasServer, &mut Context<'_>),
    ) -> Vec<AcmMessage> {
        let now = self.now;
        let system = self.system(side);
        let mut out = Outbox::new(Arc::clone(&system.sequencer));
        let mut ctx = Context { now, entropy: &mut system.entropy, out: &mut out };
        act(&system.alias_server, &mut ctx);
        self.perform(side, out)
    }

    /// Lets time pass: timers fire in their order, and what they cause is delivered.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let next = |system: &System| system.timers.iter().map(|timer| timer.0).min();
            let (a, b) = (next(&self.a), next(&self.b));
            let side = match (a, b) {
                (Some(a), Some(b)) if b < a => Side::B,
                (Some(_), _) => Side::A,
                (None, Some(_)) => Side::B,
                (None, None) => break,
            };
            let timers = &mut self.system(side).timers;
            timers.sort();
            if timers[0].0 > end {
                break;
            }
            let (at, timer) = timers.remove(0);
            self.now = self.now.max(at);
            self.renew_leases(side);
            self.call(side, |role, ctx| role.handle_timer(ctx, &timer));
            self.run();
        }
        self.now = end;
    }

    /// The clients that have a stream of events open are there.
    fn renew_leases(&mut self, side: Side) {
        let now = self.now;
        let System { role, streams, .. } = self.system(side);
        streams.retain(|(user, session)| role.renew(now, user, *session));
    }

    /// The clients of a system die without a word.
    pub fn clients_die(&mut self, side: Side) {
        self.system(side).streams.clear();
    }

    /// Timers that have not come.
    pub fn timers(&mut self, side: Side) -> usize {
        self.system(side).timers.len()
    }
}

pub const fn is_submission(request: &Request) -> bool {
    matches!(request, Request::Submit(_))
}

pub const fn is_indication(request: &Request) -> bool {
    matches!(request, Request::Pending(_))
}

pub const fn is_response(request: &Request) -> bool {
    matches!(request, Request::Decided(_))
}

fn new_alias_server(side: Side) -> AliasServer {
    AliasServer::new(alias_server::Config::new(vec![format!("{}.example", side.letter())]))
}

/// A user of B has the alias of the driver.
pub fn driven_by(name: &str) -> Activation {
    Activation { alias: driver(), user: service(Side::B, name), shared: true }
}

pub fn key_of(origin: Side, transaction: TransactionId) -> TransactionKey {
    TransactionKey { origin: system_id(origin), transaction }
}

pub fn some_role() -> Role {
    Role::Acm
}

/// A transaction for one user of B.
pub fn begin_for(target: &str, payload: Payload) -> Begin {
    let parties = Parties { target_id: Some(service(Side::B, target)), ..Parties::default() };
    Begin { parties, ..begin(payload) }
}

/// A transaction for whoever has the alias in B.
pub fn begin_for_driver(payload: Payload) -> Begin {
    let parties = Parties { target_alias: Some(driver()), ..Parties::default() };
    Begin { parties, ..begin(payload) }
}

/// A transaction for no one in particular.
pub fn begin(payload: Payload) -> Begin {
    Begin {
        transaction: None,
        destination: system_id(Side::B),
        parties: Parties::default(),
        payload,
        expires: None,
    }
}

pub fn system_id(side: Side) -> McSystemId {
    id(side.letter())
}
