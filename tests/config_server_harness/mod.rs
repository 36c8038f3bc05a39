//! Two MC systems, A and B, each with its configuration server and its SIP database on one storage, driven
//! by hand: what the tests of the role share.
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

use std::{collections::VecDeque, sync::Arc, time::Duration};

pub use common::Seeded;
use migcore::{
    api::{
        configuration::{
            Agreement, AgreementKey, Answer as ConfigurationAnswer, Request as Configure, User,
            Users,
        },
        connection_details::{
            Answer as DetailsAnswer, Credential, Details, Location, Refusal,
            Request as DetailsRequest, SipCoreAddress, SipTransport, SystemConfiguration,
        },
        migration_identity::{
            Allowance, Answer as ManagementAnswer, Binding, Direction, Lent, OperatorKey, Pool,
            PoolSource, PrimaryUser, Refusal as ManagementRefusal, Request as Manage, Subscriber,
        },
        system_access::{Answer as AccessAnswer, Refusal as AccessRefusal, Request as Access},
    },
    config_server::{Config, ConfigServer, Partner},
    identity::{Impi, Impu, McServiceId, McSystemId, SipDatabaseId, UserIdentity},
    outbox::{
        Context, Effect, ManagementReply, Message, Note, Outbox, ReplyTo, RequestId, Send,
        SystemAccessReply, TimerKey, Undeliverable,
    },
    secret::Secret,
    sip_database::{self, SipDatabase},
    step::Step,
    store::{Commit, CommitSeq, Engine, MemoryEngine, Sequencer},
    time::Timestamp,
    token::BearerToken,
    ue_configuration::InitialUeConfiguration,
};

pub const HOUR: Duration = Duration::from_secs(3_600);
pub const DAY: Duration = Duration::from_secs(24 * 3_600);
/// When all tests begin.
pub const START: Timestamp = Timestamp::from_secs(1_000_000_000);
/// How long a configuration server waits, here.
pub const ACCESS_TIMEOUT: Duration = Duration::from_secs(5);

/// One MC system.
pub struct System {
    pub role: ConfigServer,
    pub config: Config,
    pub database: SipDatabase,
    database_config: sip_database::Config,
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
    /// The steps reported and those of messages, in order.
    pub steps: Vec<Step>,
    pub notes: Vec<Note>,
}

pub fn id(letter: &str) -> McSystemId {
    McSystemId::parse(&format!("sip:{letter}.example")).unwrap()
}

pub fn database(letter: &str) -> SipDatabaseId {
    SipDatabaseId::parse(&format!("hss.{letter}.example")).unwrap()
}

pub fn service(user: &str) -> McServiceId {
    McServiceId::parse(&format!("sip:{user}@a.example")).unwrap()
}

/// The real pair of a user of A.
pub fn real(user: &str) -> UserIdentity {
    UserIdentity {
        impi: Impi::parse(&format!("{user}@ims.a.example")).unwrap(),
        impu: Impu::parse(&format!("sip:{user}@ims.a.example")).unwrap(),
    }
}

/// The token that a user, or a system (`system-b`), presents.
pub fn token(of: &str) -> BearerToken {
    BearerToken::parse(&format!("the-token-of-{of}-is-long-enough")).unwrap()
}

pub fn area(plmn: &str, tracking_area: Option<u32>, cell: Option<u64>) -> Location {
    Location { plmn: plmn.parse().unwrap(), tracking_area, cell }
}

/// Where a partner of this letter covers users: the PLMN that ends with its place in the alphabet.
pub fn home_plmn(letter: &str) -> Location {
    area(&format!("208{:02}", letter.as_bytes()[0] - b'a' + 1), None, None)
}

pub fn partner(letter: &str) -> Partner {
    Partner {
        id: id(letter),
        sip_database: database(letter),
        accepted_token: token(&format!("system-{letter}")).digest(),
        areas: vec![home_plmn(letter)],
    }
}

pub fn user(name: &str) -> User {
    User {
        mc_service_id: service(name),
        identity: real(name),
        class: None,
        may_migrate: true,
        token: token(name).digest(),
    }
}

pub fn key(letter: &str, direction: Direction, users: Users) -> AgreementKey {
    AgreementKey { partner: id(letter), direction, users }
}

/// An agreement for everybody that has begun and holds for a year, with hidden identities if outbound.
pub fn agreement(letter: &str, direction: Direction) -> Agreement {
    Agreement {
        key: key(letter, direction, Users::Everybody),
        valid_from: Timestamp::from_secs(START.as_secs() - 1_000),
        valid_until: START + 365 * DAY,
        hide_identities: direction == Direction::Outbound,
    }
}

/// What UEs are told of a system.
pub fn system_configuration(letter: &str, revision: u64) -> SystemConfiguration {
    let last = letter.as_bytes()[0];
    let address = format!("192.0.2.{last}:5060").parse().unwrap();
    let (domain, plmn) = (format!("{letter}.example"), home_plmn(letter).plmn);
    SystemConfiguration {
        revision,
        sip_core: vec![SipCoreAddress { transport: SipTransport::Udp, address }],
        document: Arc::new(InitialUeConfiguration::for_domain(&domain, plmn).unwrap()),
    }
}

/// Asks for connection details from the PLMN of the partner `letter`.
pub fn ask(name: &str, letter: &str) -> DetailsRequest {
    DetailsRequest {
        mc_service_id: service(name),
        location: home_plmn(letter),
        partner: None,
        strict: false,
    }
}

/// A's request for access of a user known by `identity`.
pub fn access(name: &str, identity: UserIdentity) -> Access {
    Access {
        primary: id("a"),
        mc_service_id: service(name),
        user: PrimaryUser {
            database: database("a"),
            identity,
            server_name: "sip:migrated.a.example".to_owned(),
        },
    }
}

pub fn generated(name: &str, direction: Direction, domain: &str) -> Pool {
    let source = PoolSource::Generated {
        impi_template: format!("{name}-{{id}}@{domain}"),
        impu_template: format!("sip:{name}-{{id}}@{domain}"),
        key: None,
    };
    Pool { name: name.to_owned(), direction, source }
}

/// A pool of one pair.
pub fn pool_of_one(name: &str, direction: Direction, domain: &str) -> Pool {
    let identity = UserIdentity {
        impi: Impi::parse(&format!("{name}@{domain}")).unwrap(),
        impu: Impu::parse(&format!("sip:{name}@{domain}")).unwrap(),
    };
    let source = PoolSource::Listed { identities: vec![identity], quarantine: Duration::ZERO };
    Pool { name: name.to_owned(), direction, source }
}

pub fn subscriber(name: &str) -> Subscriber {
    Subscriber {
        impi: real(name).impi,
        impus: vec![real(name).impu],
        k: Secret::new(*b"subscriber key 1"),
        operator: OperatorKey::Opc(Secret::new(*b"operator variant")),
        amf: [0x80, 0],
        seq: 0,
    }
}

impl System {
    /// The system of this letter, with all others of `partners`.
    pub fn new(letter: &str, partners: &[&str]) -> Self {
        let server_name = format!("sip:migrated.{letter}.example");
        let mut config = Config::new(id(letter), database(letter), server_name);
        config.partners = partners.iter().map(|other| partner(other)).collect();
        config.access_timeout = ACCESS_TIMEOUT;
        Self::with(config, &format!("{letter}.example"))
    }

    pub fn with(config: Config, domain: &str) -> Self {
        let mut entropy = Seeded(11);
        let database_config = sip_database::Config::new(config.database.clone(), domain);
        Self {
            role: ConfigServer::new(config.clone(), &mut entropy),
            config,
            database: SipDatabase::new(database_config.clone(), &mut entropy),
            database_config,
            engine: MemoryEngine::default(),
            sequencer: Arc::default(),
            entropy,
            now: START,
            timers: Vec::new(),
            storage_available: true,
            storing: true,
        }
    }

    /// Ends the process and starts another one on the same storage.
    pub fn restart(&mut self) {
        self.role = ConfigServer::new(self.config.clone(), &mut self.entropy);
        self.database = SipDatabase::new(self.database_config.clone(), &mut self.entropy);
        self.timers.clear();
        self.load();
    }

    /// Loads what is stored, as after a failed commit.
    pub fn reload(&mut self) {
        self.role.clear();
        self.database.clear();
        self.load();
    }

    fn load(&mut self) {
        let (role, database) = (&self.role, &self.database);
        let highest = self
            .engine
            .replay(&|record| {
                role.load(&record)?;
                database.load(&record)
            })
            .unwrap();
        self.sequencer = Arc::new(Sequencer::starting_after(highest));
        self.call(|role, database, ctx| {
            role.handle_loaded(ctx);
            database.handle_loaded(ctx);
        });
    }

    pub fn call(
        &mut self,
        act: impl FnOnce(&ConfigServer, &SipDatabase, &mut Context<'_>),
    ) -> Effects {
        let mut out = Outbox::new(Arc::clone(&self.sequencer));
        out.set_storage_available(self.storage_available);
        let mut ctx = Context { now: self.now, entropy: &mut self.entropy, out: &mut out };
        act(&self.role, &self.database, &mut ctx);
        let mut effects = Effects::default();
        for effect in out.drain() {
            match effect {
                Effect::Commit(commit) => effects.commits.push(commit),
                Effect::Send(send) => {
                    effects.steps.extend(send.step);
                    effects.sends.push(send);
                }
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

    /// A request for details, by the configuration server alone.
    pub fn details(&mut self, token: Option<&BearerToken>, request: DetailsRequest) -> Effects {
        let credential = token.cloned().map(Credential::Static);
        self.details_for(credential.as_ref(), request)
    }

    /// The same with any credential.
    pub fn details_for(
        &mut self,
        credential: Option<&Credential>,
        request: DetailsRequest,
    ) -> Effects {
        self.call(|role, _, ctx| {
            role.handle_connection_details(ctx, ReplyTo::World(1), credential, request);
        })
    }

    /// A request of the user whose token it is, by the configuration server alone.
    pub fn asked_by(&mut self, name: &str, request: DetailsRequest) -> Effects {
        self.details(Some(&token(name)), request)
    }

    /// A request for access, by the configuration server alone.
    pub fn access(&mut self, token: Option<&BearerToken>, request: Access) -> Effects {
        self.call(|role, _, ctx| role.handle_system_access(ctx, ReplyTo::World(2), token, request))
    }

    /// A management request, by the configuration server alone.
    pub fn configure(&mut self, request: Configure) -> Effects {
        self.call(|role, _, ctx| role.handle_configuration(ctx, ReplyTo::World(3), request))
    }

    /// A management request of the SIP database.
    pub fn manage(&mut self, request: Manage) -> ManagementAnswer {
        let effects = self.call(|_, database, ctx| {
            database.handle_management(ctx, ReplyTo::World(4), request);
        });
        match effects.only().message {
            Message::Management { answer, .. } => answer,
            other => panic!("no management answer: {other:?}"),
        }
    }

    /// Lets the SIP database answer the configuration server.
    pub fn database_answers(&mut self, request: RequestId, answer: ManagementAnswer) -> Effects {
        let reply = ManagementReply { id: request, answer };
        self.call(|role, _, ctx| role.handle_management_reply(ctx, reply))
    }

    /// Lets the partner answer the configuration server.
    pub fn partner_answers(
        &mut self,
        request: RequestId,
        outcome: Result<AccessAnswer, Undeliverable>,
    ) -> Effects {
        let reply = SystemAccessReply { id: request, outcome };
        self.call(|role, _, ctx| role.handle_system_access_reply(ctx, reply))
    }

    /// Makes a change that needs the SIP database or does not, and returns the answer.
    pub fn configured(&mut self, request: Configure) -> ConfigurationAnswer {
        let mut effects = self.configure(request);
        loop {
            match effects.only().message {
                Message::Configuration { answer, .. } => return answer,
                Message::ManagementRequest { id, request } => {
                    let answer = self.manage(request);
                    effects = self.database_answers(id, answer);
                }
                other => panic!("no answer: {other:?}"),
            }
        }
    }

    pub fn done(&mut self, request: Configure) {
        assert_eq!(self.configured(request), ConfigurationAnswer::Done);
    }

    pub fn refused(&mut self, request: Configure) -> ManagementRefusal {
        match self.configured(request) {
            ConfigurationAnswer::Refused(refusal) => refusal,
            other => panic!("not refused: {other:?}"),
        }
    }

    pub fn put_agreement(&mut self, agreement: Agreement) {
        self.done(Configure::PutAgreement(agreement));
    }

    /// Lent and free identities of a pool.
    pub fn lent(&mut self, pool: &str) -> u64 {
        match self.manage(Manage::GetPool(pool.to_owned())) {
            ManagementAnswer::Pool { lent, .. } => lent,
            other => panic!("no pool: {other:?}"),
        }
    }

    /// Lets the timers due within `span` fire, and returns what they caused.
    pub fn pass(&mut self, span: Duration) -> Vec<Send> {
        let end = self.now + span;
        let mut sends = Vec::new();
        self.timers.sort();
        while let Some(at) = self.timers.first().map(|first| first.0).filter(|at| *at <= end) {
            self.now = self.now.max(at);
            let (_, timer) = self.timers.remove(0);
            let effects = self.call(|role, database, ctx| {
                role.handle_timer(ctx, &timer);
                database.handle_timer(ctx, &timer);
            });
            sends.extend(effects.sends);
            self.timers.sort();
        }
        self.now = end;
        sends
    }
}

impl Effects {
    pub fn only(mut self) -> Send {
        assert_eq!(self.sends.len(), 1, "one message: {:?}", self.sends);
        self.sends.remove(0)
    }

    pub fn last_commit(&self) -> CommitSeq {
        self.commits.last().map_or(CommitSeq::NOTHING, |commit| commit.seq)
    }

    /// What the one message waits for.
    pub fn waits_for(&self) -> CommitSeq {
        assert_eq!(self.sends.len(), 1, "one message: {:?}", self.sends);
        self.sends[0].after
    }

    pub fn details_answer(self) -> DetailsAnswer {
        match self.only().message {
            Message::ConnectionDetails { to, answer } => {
                assert_eq!(to, ReplyTo::World(1));
                answer
            }
            other => panic!("no answer for the UE: {other:?}"),
        }
    }

    pub fn access_answer(self) -> AccessAnswer {
        match self.only().message {
            Message::SystemAccess { to, answer } => {
                assert_eq!(to, ReplyTo::World(2));
                answer
            }
            other => panic!("no answer for the partner: {other:?}"),
        }
    }

    pub fn configuration_answer(self) -> ConfigurationAnswer {
        match self.only().message {
            Message::Configuration { to, answer } => {
                assert_eq!(to, ReplyTo::World(3));
                answer
            }
            other => panic!("no answer for the operator: {other:?}"),
        }
    }

    /// The request for the SIP database.
    pub fn for_database(self) -> (RequestId, Manage) {
        match self.only().message {
            Message::ManagementRequest { id, request } => (id, request),
            other => panic!("no request for the SIP database: {other:?}"),
        }
    }

    /// The request for the partner.
    pub fn for_partner(self) -> (McSystemId, RequestId, Access) {
        match self.only().message {
            Message::SystemAccessRequest { to, id, request } => (to, id, request),
            other => panic!("no request for the partner: {other:?}"),
        }
    }
}

/// What becomes of a request for access.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Link {
    Up,
    /// It is known at once that the request did not arrive.
    Down,
    /// The request arrives, the answer does not, and nobody says so.
    AnswerLost,
    /// The partner refuses without looking.
    Refuses(AccessRefusal),
}

/// Two systems: A is the primary of Alice, B is where she goes.
pub struct World {
    pub a: System,
    pub b: System,
    pub link: Link,
    /// The steps in order, of both systems.
    pub steps: Vec<Step>,
    pub notes: Vec<Note>,
    /// What was sent on the link.
    pub on_link: Vec<Access>,
    /// What the configuration servers asked their SIP databases.
    pub asked: Vec<Manage>,
}

impl World {
    /// Alice may go to B, hidden; B has pools, and a configuration of revision 3.
    pub fn ready() -> Self {
        let mut a = System::new("a", &["b", "c", "d"]);
        let mut b = System::new("b", &["a", "c"]);
        for name in ["alice", "bob"] {
            assert_eq!(a.manage(Manage::PutSubscriber(subscriber(name))), ManagementAnswer::Done);
            a.done(Configure::PutUser(user(name)));
        }
        let out = generated("out", Direction::Outbound, "a.example");
        assert_eq!(a.manage(Manage::PutPool(out)), ManagementAnswer::Done);
        let inbound = generated("in", Direction::Inbound, "b.example");
        assert_eq!(b.manage(Manage::PutPool(inbound)), ManagementAnswer::Done);
        a.put_agreement(agreement("b", Direction::Outbound));
        b.put_agreement(agreement("a", Direction::Inbound));
        b.done(Configure::PutSystemConfiguration {
            system: id("b"),
            configuration: system_configuration("b", 3),
        });
        let link = Link::Up;
        Self {
            a,
            b,
            link,
            steps: Vec::new(),
            notes: Vec::new(),
            on_link: Vec::new(),
            asked: Vec::new(),
        }
    }

    /// Steps 1 to 13 for Alice, who is where B is.
    pub fn migrate(&mut self) -> DetailsAnswer {
        self.request(ask("alice", "b"))
    }

    pub fn details(&mut self) -> Details {
        match self.migrate() {
            DetailsAnswer::Details(details) => *details,
            DetailsAnswer::Refused(refusal) => panic!("refused: {refusal}"),
        }
    }

    pub fn refusal(&mut self) -> Refusal {
        match self.migrate() {
            DetailsAnswer::Refused(refusal) => refusal,
            DetailsAnswer::Details(details) => panic!("not refused: {details:?}"),
        }
    }

    /// Steps 1 to 13 for the user named in `request`, all messages delivered as the link permits.
    pub fn request(&mut self, request: DetailsRequest) -> DetailsAnswer {
        let name = request.mc_service_id.as_str();
        let name = name.trim_start_matches("sip:").split('@').next().unwrap().to_owned();
        let effects = self.a.asked_by(&name, request);
        let mut queue = VecDeque::from(self.note(effects));
        loop {
            while let Some(send) = queue.pop_front() {
                match send.message {
                    Message::ManagementRequest { id, request } => {
                        queue.extend(self.ask_database(true, id, request));
                    }
                    Message::SystemAccessRequest { id, request, .. } => {
                        queue.extend(self.cross(id, request));
                    }
                    Message::ConnectionDetails { answer, .. } => {
                        assert!(queue.is_empty(), "more after the answer: {queue:?}");
                        return answer;
                    }
                    other => panic!("unexpected: {other:?}"),
                }
            }
            // Nothing is under way: the time of what waits passes.
            queue.extend(self.a.pass(ACCESS_TIMEOUT));
            assert!(!queue.is_empty(), "the UE is not answered");
        }
    }

    /// Carries a request to B and the answer back, as far as the link does.
    fn cross(&mut self, request: RequestId, asked: Access) -> Vec<Send> {
        self.on_link.push(asked.clone());
        let outcome = match self.link {
            Link::Down => Err(Undeliverable),
            Link::Refuses(refusal) => Ok(AccessAnswer::Refused(refusal)),
            Link::Up | Link::AnswerLost => Ok(self.admit(asked)),
        };
        if self.link == Link::AnswerLost {
            return Vec::new();
        }
        let effects = self.a.partner_answers(request, outcome);
        self.note(effects)
    }

    /// Steps 8 to 12.
    pub fn admit(&mut self, request: Access) -> AccessAnswer {
        let effects = self.b.access(Some(&token("system-a")), request);
        let mut sends = self.note(effects);
        loop {
            assert_eq!(sends.len(), 1, "one message: {sends:?}");
            match sends.remove(0).message {
                Message::ManagementRequest { id, request } => {
                    sends = self.ask_database(false, id, request);
                }
                Message::SystemAccess { answer, .. } => return answer,
                other => panic!("unexpected: {other:?}"),
            }
        }
    }

    fn ask_database(&mut self, primary: bool, request: RequestId, asked: Manage) -> Vec<Send> {
        self.asked.push(asked.clone());
        let system = if primary { &mut self.a } else { &mut self.b };
        let effects = system.call(|_, database, ctx| {
            database.handle_management(ctx, ReplyTo::Role(request), asked);
        });
        let sends = self.note(effects);
        let mut caused = Vec::new();
        for send in sends {
            let Message::Management { to: ReplyTo::Role(id), answer } = send.message else {
                panic!("no management answer: {send:?}");
            };
            assert_eq!(id, request);
            let system = if primary { &mut self.a } else { &mut self.b };
            let effects = system.database_answers(id, answer);
            caused.extend(self.note(effects));
        }
        caused
    }

    fn note(&mut self, effects: Effects) -> Vec<Send> {
        self.steps.extend(effects.steps);
        self.notes.extend(effects.notes);
        effects.sends
    }

    /// Lets time pass in both systems; nothing waits.
    pub fn pass(&mut self, span: Duration) {
        assert!(self.a.pass(span).is_empty());
        assert!(self.b.pass(span).is_empty());
    }
}

pub fn migs(numbers: &[u8]) -> Vec<Step> {
    numbers.iter().map(|number| Step::mig(*number)).collect()
}

pub fn refused(refusal: Refusal) -> DetailsAnswer {
    DetailsAnswer::Refused(refusal)
}

pub fn not_here(refusal: AccessRefusal) -> AccessAnswer {
    AccessAnswer::Refused(refusal)
}

/// The number of the agreement that A has with B for everybody, as an allowance.
pub fn allowance(system: &mut System, letter: &str, direction: Direction) -> Allowance {
    let key = key(letter, direction, Users::Everybody);
    match system.configured(Configure::GetAgreement(key)) {
        migcore::api::configuration::Answer::Agreement { id, agreement } => {
            Allowance { agreement: id, until: agreement.valid_until }
        }
        other => panic!("no agreement: {other:?}"),
    }
}

pub fn outbound_for(users: Users, letter: &str) -> Agreement {
    Agreement {
        key: key(letter, Direction::Outbound, users),
        ..agreement(letter, Direction::Outbound)
    }
}

pub fn shown(letter: &str) -> Agreement {
    Agreement { hide_identities: false, ..agreement(letter, Direction::Outbound) }
}

pub fn any_binding() -> Binding {
    Binding {
        identity: real("outbound"),
        reserved_until: START + DAY,
        active: false,
        lent: Lent::Anew,
        details: None,
    }
}
