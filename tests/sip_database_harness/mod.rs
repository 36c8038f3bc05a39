//! One SIP database with its storage, driven by hand: what the tests of the role share.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::redundant_closure_for_method_calls,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "test code"
)]

#[path = "../common/mod.rs"]
mod common;

use std::{sync::Arc, time::Duration};

pub use common::Seeded;
use migcore::{
    aka::{AuthVector, Milenage},
    api::migration_identity::{
        Answer as ManagementAnswer, Binding, Direction, Lent, OperatorKey, Pool, PoolSource,
        PrimaryUser, Refusal, Request as ManagementRequest, Subscriber,
    },
    diameter::cx::{
        Answer, MultimediaAuthAnswer, MultimediaAuthRequest, Request, ResultCode, Resync,
        SCHEME_AKA_V1, ServerAssignmentAnswer, ServerAssignmentRequest, ServerAssignmentType,
    },
    identity::{Impi, Impu, SipDatabaseId, UserIdentity},
    outbox::{
        Context, CxDestination, CxReply, Effect, Message, Note, Outbox, Peer, ReplyTo, RequestId,
        Send, TimerKey, Undeliverable,
    },
    secret::Secret,
    sip_database::{Config, SipDatabase},
    step::Step,
    store::{Commit, CommitSeq, Engine, MemoryEngine, Mutation, RecordKind, Sequencer},
    time::Timestamp,
};

pub const K: [u8; 16] = *b"subscriber key 1";
pub const OPC: [u8; 16] = *b"operator variant";
/// The lease of all bindings here.
pub const LEASE: Duration = Duration::from_secs(30 * 24 * 3_600);

pub const CORE: &str = "sip:core.a.example";

/// A SIP database, its storage and its clock.
pub struct System {
    pub role: SipDatabase,
    pub config: Config,
    pub engine: MemoryEngine,
    pub sequencer: Arc<Sequencer>,
    pub entropy: Seeded,
    pub now: Timestamp,
    pub timers: Vec<(Timestamp, TimerKey)>,
    pub storage_available: bool,
    /// Whether commits reach the engine; those that do not are lost.
    pub storing: bool,
}

/// The effects of one call.
#[derive(Debug, Default)]
pub struct Effects {
    pub sends: Vec<Send>,
    pub commits: Vec<Commit>,
    pub steps: Vec<Step>,
    pub notes: Vec<Note>,
}

pub fn pair(user: &str, domain: &str) -> UserIdentity {
    UserIdentity {
        impi: Impi::parse(&format!("{user}@{domain}")).unwrap(),
        impu: Impu::parse(&format!("sip:{user}@{domain}")).unwrap(),
    }
}

pub fn database(fqdn: &str) -> SipDatabaseId {
    SipDatabaseId::parse(fqdn).unwrap()
}

pub fn alice() -> UserIdentity {
    pair("alice", "a.example")
}

/// System A (`hss.a.example`, domain `a.example`).
pub fn system_a() -> System {
    System::new("a")
}

/// System B.
pub fn system_b() -> System {
    System::new("b")
}

pub fn mar(identity: &UserIdentity) -> MultimediaAuthRequest {
    MultimediaAuthRequest {
        identity: identity.clone(),
        scheme: SCHEME_AKA_V1.into(),
        resync: None,
        server_name: CORE.into(),
    }
}

pub fn sar(identity: &UserIdentity, assignment: ServerAssignmentType) -> ServerAssignmentRequest {
    ServerAssignmentRequest {
        impi: Some(identity.impi.clone()),
        impus: [identity.impu.clone()].into(),
        server_name: CORE.into(),
        assignment,
        user_data_already_available: false,
    }
}

pub fn milenage() -> Milenage {
    Milenage::new(&Secret::new(K), &Secret::new(OPC))
}

/// The SEQ and IND of a vector, as the UE finds them.
pub fn sqn_of(vector: &AuthVector) -> (u64, u8) {
    let answer = milenage().verify_autn(&vector.rand, &vector.autn).expect("a genuine vector");
    assert_eq!(answer.res, vector.xres);
    (answer.sqn.seq(5), answer.sqn.ind(5))
}

pub fn generated(name: &str, direction: Direction, domain: &str) -> Pool {
    Pool {
        name: name.to_owned(),
        direction,
        source: PoolSource::Generated {
            impi_template: format!("{name}-{{id}}@{domain}"),
            impu_template: format!("sip:{name}-{{id}}@{domain}"),
            key: None,
        },
    }
}

pub fn listed(
    name: &str,
    direction: Direction,
    identities: Vec<UserIdentity>,
    quarantine: Duration,
) -> Pool {
    let source = PoolSource::Listed { identities, quarantine };
    Pool { name: name.to_owned(), direction, source }
}

impl System {
    pub fn new(letter: &str) -> Self {
        let domain = format!("{letter}.example");
        let config = Config::new(database(&format!("hss.{domain}")), &domain);
        Self::with(Config { reserved_lease: LEASE, ..config })
    }

    pub fn with(config: Config) -> Self {
        let mut entropy = Seeded(7);
        Self {
            role: SipDatabase::new(config.clone(), &mut entropy),
            config,
            engine: MemoryEngine::default(),
            sequencer: Arc::default(),
            entropy,
            now: Timestamp::from_secs(1_000_000),
            timers: Vec::new(),
            storage_available: true,
            storing: true,
        }
    }

    /// Ends the process and starts another one on the same storage.
    pub fn restart(&mut self) -> Effects {
        self.role = SipDatabase::new(self.config.clone(), &mut self.entropy);
        self.timers.clear();
        self.load()
    }

    /// Loads what is stored, as after a failed commit.
    pub fn reload(&mut self) -> Effects {
        self.role.clear();
        self.load()
    }

    fn load(&mut self) -> Effects {
        let role = &self.role;
        let highest = self.engine.replay(&|record| role.load(&record)).unwrap();
        self.sequencer = Arc::new(Sequencer::starting_after(highest));
        self.call(|role, ctx| role.handle_loaded(ctx))
    }

    pub fn call(&mut self, act: impl FnOnce(&SipDatabase, &mut Context<'_>)) -> Effects {
        let mut out = Outbox::new(Arc::clone(&self.sequencer));
        out.set_storage_available(self.storage_available);
        let mut ctx = Context { now: self.now, entropy: &mut self.entropy, out: &mut out };
        act(&self.role, &mut ctx);
        let mut effects = Effects::default();
        for effect in out.drain() {
            match effect {
                Effect::Commit(commit) => effects.commits.push(commit),
                Effect::Send(send) => effects.sends.push(send),
                Effect::Arm { at, timer } => self.timers.push((at, timer)),
                Effect::Step { step, .. } => effects.steps.push(step),
                Effect::Note(note) => effects.notes.push(note),
            }
        }
        if self.storing {
            self.engine.commit(&effects.commits).unwrap();
        }
        effects
    }

    /// Lets `span` pass; timers that fall due fire.
    pub fn pass(&mut self, span: Duration) -> Effects {
        let end = self.now + span;
        let mut all = Effects::default();
        self.timers.sort();
        while let Some(at) = self.timers.first().map(|first| first.0).filter(|at| *at <= end) {
            self.now = self.now.max(at);
            let (_, timer) = self.timers.remove(0);
            let effects = self.call(|role, ctx| role.handle_timer(ctx, &timer));
            all.sends.extend(effects.sends);
            all.commits.extend(effects.commits);
            self.timers.sort();
        }
        self.now = end;
        all
    }

    pub fn request(&mut self, from: &Peer, request: Request) -> Effects {
        self.call(|role, ctx| role.handle_request(ctx, from, ReplyTo::World(1), request))
    }

    /// A vector request that is answered at once.
    pub fn vector(&mut self, from: &Peer, request: MultimediaAuthRequest) -> MultimediaAuthAnswer {
        self.request(from, Request::MultimediaAuth(request)).vector()
    }

    pub fn assign(&mut self, request: ServerAssignmentRequest) -> ServerAssignmentAnswer {
        self.request(&Peer::OwnCore, Request::ServerAssignment(request)).assignment()
    }

    pub fn manage(&mut self, request: ManagementRequest) -> ManagementAnswer {
        self.call(|role, ctx| role.handle_management(ctx, ReplyTo::World(1), request)).management()
    }

    pub fn manage_effects(&mut self, request: ManagementRequest) -> Effects {
        self.call(|role, ctx| role.handle_management(ctx, ReplyTo::World(1), request))
    }

    /// The binding that a request answers with.
    pub fn binding(&mut self, request: ManagementRequest) -> Binding {
        match self.manage(request) {
            ManagementAnswer::Binding(binding) => binding,
            other => panic!("no binding: {other:?}"),
        }
    }

    /// The end of the grant that a request puts, and how it came to be.
    pub fn granted(&mut self, request: ManagementRequest) -> (Timestamp, Lent) {
        match self.manage(request) {
            ManagementAnswer::Granted { until, lent } => (until, lent),
            other => panic!("no grant: {other:?}"),
        }
    }

    pub fn refusal(&mut self, request: ManagementRequest) -> Refusal {
        match self.manage(request) {
            ManagementAnswer::Refused(refusal) => refusal,
            other => panic!("not refused: {other:?}"),
        }
    }

    pub fn done(&mut self, request: ManagementRequest) {
        assert_eq!(self.manage(request), ManagementAnswer::Done);
    }

    /// Gives the answer to a forwarded request.
    pub fn answered(&mut self, id: RequestId, answer: MultimediaAuthAnswer) -> Effects {
        let outcome = Ok(Answer::MultimediaAuth(answer));
        self.call(|role, ctx| role.handle_answer(ctx, CxReply { id, outcome }))
    }

    pub fn unreachable(&mut self, id: RequestId) -> Effects {
        let outcome = Err(Undeliverable);
        self.call(|role, ctx| role.handle_answer(ctx, CxReply { id, outcome }))
    }

    pub fn put_alice(&mut self) {
        self.done(ManagementRequest::PutSubscriber(subscriber(&alice(), 0)));
    }
}

pub fn subscriber(identity: &UserIdentity, seq: u64) -> Subscriber {
    Subscriber {
        impi: identity.impi.clone(),
        impus: vec![identity.impu.clone()],
        k: Secret::new(K),
        operator: OperatorKey::Opc(Secret::new(OPC)),
        amf: [0x80, 0],
        seq,
    }
}

impl Effects {
    fn only(mut self) -> Send {
        assert_eq!(self.sends.len(), 1, "one message: {:?}", self.sends);
        self.sends.remove(0)
    }

    pub fn vector(self) -> MultimediaAuthAnswer {
        match self.only().message {
            Message::CxAnswer { answer: Answer::MultimediaAuth(answer), .. } => answer,
            other => panic!("no MAA: {other:?}"),
        }
    }

    pub fn assignment(self) -> ServerAssignmentAnswer {
        match self.only().message {
            Message::CxAnswer { answer: Answer::ServerAssignment(answer), .. } => answer,
            other => panic!("no SAA: {other:?}"),
        }
    }

    pub fn management(self) -> ManagementAnswer {
        match self.only().message {
            Message::Management { answer, .. } => answer,
            other => panic!("no management answer: {other:?}"),
        }
    }

    /// The pair that is lent, and until when.
    pub fn lent(self) -> (UserIdentity, Timestamp) {
        match self.management() {
            ManagementAnswer::Binding(binding) => (binding.identity, binding.reserved_until),
            other => panic!("no binding: {other:?}"),
        }
    }

    /// The request forwarded to another system.
    pub fn forwarded(self) -> (SipDatabaseId, RequestId, MultimediaAuthRequest) {
        match self.only().message {
            Message::CxRequest {
                to: CxDestination::Database(to),
                id,
                request: Request::MultimediaAuth(request),
            } => (to, id, request),
            other => panic!("nothing forwarded: {other:?}"),
        }
    }

    /// What is changed, of the records of one kind.
    pub fn mutations(&self, kind: RecordKind) -> Vec<&Mutation> {
        let all = self.commits.iter().flat_map(|commit| &commit.mutations);
        all.filter(|mutation| mutation.kind == kind).collect()
    }

    /// The one message, its step and what it waits for.
    pub fn sent(&self) -> (CommitSeq, Option<Step>) {
        assert_eq!(self.sends.len(), 1, "one message: {:?}", self.sends);
        let send = self.sends.first().unwrap();
        (send.after, send.step)
    }

    pub fn last_commit(&self) -> CommitSeq {
        self.commits.last().expect("a commit").seq
    }
}

/// Alice of A, lent an outbound pair by A and an inbound pair by B.
pub struct Migration {
    pub a: System,
    pub b: System,
    pub outbound: UserIdentity,
    pub inbound: UserIdentity,
}

impl Migration {
    /// Steps 4 to 11.
    pub fn prepared() -> Self {
        let (mut a, mut b) = (system_a(), system_b());
        a.put_alice();
        a.done(ManagementRequest::PutPool(generated("out", Direction::Outbound, "a.example")));
        b.done(ManagementRequest::PutPool(generated("in", Direction::Inbound, "b.example")));
        let outbound = a.binding(bind_outbound()).identity;
        let inbound = b
            .binding(ManagementRequest::BindInbound { primary: primary(&outbound), allowed: None })
            .identity;
        Self { a, b, outbound, inbound }
    }

    pub fn core_asks(&mut self, resync: Option<Resync>) -> Effects {
        let request = MultimediaAuthRequest { resync, ..mar(&self.inbound) };
        self.b.request(&Peer::OwnCore, Request::MultimediaAuth(request))
    }

    /// Steps 16 to 21.
    pub fn fetch(&mut self, resync: Option<Resync>) -> MultimediaAuthAnswer {
        let effects = self.core_asks(resync);
        if effects.sends.iter().any(|send| matches!(send.message, Message::CxAnswer { .. })) {
            return effects.vector();
        }
        let (to, id, request) = effects.forwarded();
        assert_eq!(to, self.a.config.database);
        let answer = self.a.vector(&Peer::Database(self.b.config.database.clone()), request);
        self.b.answered(id, answer).vector()
    }
}

pub fn bind_outbound() -> ManagementRequest {
    ManagementRequest::BindOutbound {
        user: alice(),
        partner: database("hss.b.example"),
        allowed: None,
    }
}

/// Alice as A names her to B.
pub fn primary(identity: &UserIdentity) -> PrimaryUser {
    PrimaryUser {
        database: database("hss.a.example"),
        identity: identity.clone(),
        server_name: "sip:migrated.a.example".to_owned(),
    }
}

pub const UNKNOWN: ResultCode = ResultCode::USER_UNKNOWN;
