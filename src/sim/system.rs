//! One MC system of the simulated world: its roles, its storage, and what waits in its process.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use crate::{
    acm::{self, AcmServer, AgreementTerms, Policies, Policy},
    alias_server::{self, AliasServer},
    api::{
        configuration,
        connection_details::{Location, SipCoreAddress, SipTransport},
        migration_identity as management,
    },
    config_server::{self, ConfigServer, Partner},
    diameter::cx,
    entropy::Entropy,
    identity::{FunctionalAlias, McServiceId, McSystemId, SipDatabaseId},
    outbox::{Context, Effect, Outbox, RequestId, Send},
    sip_core::{self, SipCore},
    sip_database::{self, SipDatabase},
    store::{CommitSeq, ReplayError, Sequencer, Watermark},
    time::Timestamp,
    token::BearerToken,
};

use super::{
    SeededEntropy, engine::FaultyEngine, known, link::Node, options::Exchange, ue_host::AGREEMENT,
};

/// The two MC systems. Which of them is primary is a matter of each user.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum SystemId {
    /// The primary of most users, `a.example`.
    A,
    /// The partner of most users, `b.example`.
    B,
}

impl SystemId {
    /// The other system.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// A name for traces.
    pub const fn label(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
        }
    }

    /// Of what there is for A and for B, this one's.
    pub(super) fn of<T>(self, [a, b]: [T; 2]) -> T {
        if self == Self::A { a } else { b }
    }

    /// The domain of the system.
    pub const fn domain(self) -> &'static str {
        match self {
            Self::A => "a.example",
            Self::B => "b.example",
        }
    }

    /// The Diameter identity of its SIP database.
    pub fn database(self) -> SipDatabaseId {
        known(&format!("hss.{}", self.domain()))
    }

    /// Its MC system ID.
    pub fn mc_system_id(self) -> McSystemId {
        known(&format!("sip:{}", self.domain()))
    }

    /// Anywhere in the area that the system covers.
    pub fn location(self) -> Location {
        let plmn = match self {
            Self::A => "00101",
            Self::B => "00102",
        };
        Location { plmn: known(plmn), tracking_area: None, cell: None }
    }

    /// The Server-Name that the system wants in vector requests for its users.
    pub(super) fn server_name(self) -> String {
        format!("sip:migration.{}", self.domain())
    }

    /// The administrator of this number.
    pub fn administrator(self, number: usize) -> McServiceId {
        known(&format!("sip:administrator{number}@{}", self.domain()))
    }

    /// The functional alias under which requests of the other system are asked for.
    pub fn on_duty(self) -> FunctionalAlias {
        known(&format!("sip:on-duty@{}", self.domain()))
    }

    /// What its configuration server and its ACM server present to the other system's.
    pub(super) fn token(self) -> BearerToken {
        super::token(&format!("token-of-system-{}", self.domain()))
    }

    /// Where its SIP core can be reached, as UEs are told.
    pub(super) fn sip_core(self) -> Vec<SipCoreAddress> {
        let address = self.core_address();
        let over = |transport| SipCoreAddress { transport, address };
        vec![over(SipTransport::Udp), over(SipTransport::Tcp)]
    }

    /// Where its SIP core listens.
    pub const fn core_address(self) -> SocketAddr {
        let last = match self {
            Self::A => 1,
            Self::B => 2,
        };
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)), 5060)
    }
}

/// How many SEQs one commit reserves: few, so that reservations take part in what happens.
const SQN_RANGE: u64 = 4;

/// A system.
#[derive(Debug)]
pub(super) struct System {
    pub(super) id: SystemId,
    pub(super) roles: Roles,
    pub(super) entropy: SeededEntropy,
    outbox: Outbox,
    sequencer: Arc<Sequencer>,
    pub(super) engine: FaultyEngine,
    /// Until when the storage refuses every commit and cannot be opened again.
    pub(super) refuses_until: Timestamp,
    watermark: Watermark,
    /// Messages whose commit is not durable yet, in the order they were sent.
    waiting: Vec<Send>,
    /// Counts process starts: what belongs to an earlier one is gone.
    pub(super) incarnation: u64,
    /// Whether the process runs.
    pub(super) up: bool,
    /// Who waits for the answer to a request from outside.
    pub(super) parked: BTreeMap<u64, Parked>,
    /// Handles of requests whose Diameter connection ended before they were answered.
    pub(super) abandoned: BTreeSet<u64>,
    next_handle: u64,
    /// Cx requests of the roles to each other that have no answer yet, and since when.
    pub(super) asked: BTreeMap<RequestId, (Timestamp, cx::Request)>,
    /// Management requests of the roles to each other that have no answer yet.
    pub(super) managed: BTreeMap<RequestId, management::Request>,
    /// What the ACM server has asked the configuration server and has no answer to yet.
    pub(super) configured: BTreeMap<RequestId, configuration::Request>,
    exchange: Option<Exchange>,
    /// The Diameter node.
    pub(super) node: Node,
}

/// The roles of a system.
#[derive(Debug)]
pub(super) struct Roles {
    pub(super) core: SipCore,
    pub(super) database: SipDatabase,
    pub(super) config_server: ConfigServer,
    /// Only where administrators exchange something.
    pub(super) acm: Option<Acm>,
}

/// The roles of systems whose administrators exchange something.
#[derive(Debug)]
pub(super) struct Acm {
    pub(super) server: AcmServer,
    pub(super) aliases: AliasServer,
}

/// Who asked from outside.
#[derive(Debug)]
pub(super) enum Parked {
    /// The other system's SIP database.
    Diameter { received: super::link::Received, since: Timestamp },
    /// Whoever asks over HTTP: under this number the asker knows its question.
    Http { question: u64, since: Timestamp },
}

impl System {
    /// Creates a system with empty storage.
    pub(super) fn new(
        id: SystemId,
        mut entropy: SeededEntropy,
        now: Timestamp,
        exchange: Option<Exchange>,
    ) -> Self {
        let roles = Roles::new(id, &mut entropy, exchange.as_ref());
        let sequencer = Arc::new(Sequencer::default());
        Self {
            id,
            roles,
            outbox: Outbox::new(Arc::clone(&sequencer)),
            sequencer,
            engine: FaultyEngine::default(),
            refuses_until: Timestamp::default(),
            watermark: Watermark::default(),
            waiting: Vec::new(),
            incarnation: 0,
            up: true,
            parked: BTreeMap::new(),
            abandoned: BTreeSet::new(),
            next_handle: 0,
            asked: BTreeMap::new(),
            managed: BTreeMap::new(),
            configured: BTreeMap::new(),
            exchange,
            node: Node::new(id, now, &mut entropy),
            entropy,
        }
    }

    /// Whether the process runs and its storage takes changes.
    pub(super) const fn serves(&self) -> bool {
        self.up && !self.engine.is_closed()
    }

    /// Calls a role and returns what it wants done.
    pub(super) fn call(
        &mut self,
        now: Timestamp,
        call: impl FnOnce(&Roles, &mut Context<'_>),
    ) -> Vec<Effect> {
        self.outbox.set_storage_available(!self.engine.is_closed());
        let mut ctx = Context { now, entropy: &mut self.entropy, out: &mut self.outbox };
        call(&self.roles, &mut ctx);
        self.outbox.drain().collect()
    }

    /// Gives up what came by the Diameter connection over `wire`: nobody can be answered there.
    pub(super) fn abandon(&mut self, wire: u64) {
        let came_by = |parked: &Parked| matches!(parked, Parked::Diameter { received, .. } if received.came_by(wire));
        let abandoned: Vec<u64> =
            self.parked.iter().filter(|(_, it)| came_by(it)).map(|(handle, _)| *handle).collect();
        for handle in abandoned {
            self.parked.remove(&handle);
            self.abandoned.insert(handle);
        }
    }

    /// Parks a request from outside and returns its handle.
    pub(super) fn park(&mut self, request: Parked) -> u64 {
        self.next_handle += 1;
        self.parked.insert(self.next_handle, request);
        self.next_handle
    }

    /// Keeps `send` until its commit is durable, or gives it back if it may leave.
    pub(super) fn hold(&mut self, send: Send) -> Option<Send> {
        if send.after <= self.watermark.reached() {
            return Some(send);
        }
        self.waiting.push(send);
        None
    }

    /// Records that commits are durable and gives the messages that may leave now.
    pub(super) fn mark_durable(&mut self, durable: &[CommitSeq]) -> Vec<Send> {
        for seq in durable {
            self.watermark.mark(*seq);
        }
        let reached = self.watermark.reached();
        let (leaving, waiting) =
            std::mem::take(&mut self.waiting).into_iter().partition(|send| send.after <= reached);
        self.waiting = waiting;
        leaving
    }

    /// The storage failed: what waits for it never leaves, and is given back.
    pub(super) fn fail_storage(&mut self, now: Timestamp) -> Vec<Send> {
        self.engine.fail(now, &mut self.entropy);
        std::mem::take(&mut self.waiting)
    }

    /// Reopens the storage after a failure: the roles forget everything and load it again. Gives back what
    /// waited meanwhile. If the storage can be read in part only, the roles hold a part, and nothing is
    /// served.
    pub(super) fn reload(
        &mut self,
        now: Timestamp,
        readable: Option<u64>,
    ) -> (Vec<Send>, Result<Vec<Effect>, ReplayError>) {
        let lost = std::mem::take(&mut self.waiting);
        self.roles.core.clear();
        self.roles.database.clear();
        self.roles.config_server.clear();
        if let Some(acm) = &self.roles.acm {
            acm.server.clear();
            acm.aliases.clear();
        }
        self.configured.clear();
        let effects = self.load(readable).map(|_| {
            self.watermark = Watermark::starting_at(self.sequencer.last());
            self.start_roles(now)
        });
        (lost, effects)
    }

    /// Gives up what came over HTTP: roles that have forgotten a request never answer it. Returns by which
    /// number the askers know it.
    pub(super) fn abandon_http(&mut self) -> Vec<u64> {
        let mut questions = Vec::new();
        let abandoned = &mut self.abandoned;
        self.parked.retain(|handle, parked| {
            if let Parked::Http { question, .. } = parked {
                questions.push(*question);
                abandoned.insert(*handle);
            }
            matches!(parked, Parked::Diameter { .. })
        });
        questions
    }

    /// The process ends without warning.
    pub(super) fn crash(&mut self, now: Timestamp) {
        self.up = false;
        self.incarnation += 1;
        self.waiting.clear();
        self.parked.clear();
        self.asked.clear();
        self.managed.clear();
        self.configured.clear();
        self.node.die();
        self.engine.fail(now, &mut self.entropy);
    }

    /// A new process begins on the storage of the last one.
    pub(super) fn start(
        &mut self,
        now: Timestamp,
        readable: Option<u64>,
    ) -> Result<Vec<Effect>, ReplayError> {
        self.roles = Roles::new(self.id, &mut self.entropy, self.exchange.as_ref());
        self.node = Node::new(self.id, now, &mut self.entropy);
        let highest = self.load(readable)?;
        self.sequencer = Arc::new(Sequencer::starting_after(highest));
        self.outbox = Outbox::new(Arc::clone(&self.sequencer));
        self.watermark = Watermark::starting_at(highest);
        self.up = true;
        Ok(self.start_roles(now))
    }

    fn load(&mut self, readable: Option<u64>) -> Result<CommitSeq, ReplayError> {
        let Self { engine, roles, .. } = self;
        engine.reopen(readable, &|record| {
            roles.core.load(&record)?;
            roles.database.load(&record)?;
            roles.config_server.load(&record)?;
            let Some(acm) = &roles.acm else { return Ok(()) };
            acm.server.load(&record)?;
            acm.aliases.load(&record)
        })
    }

    fn start_roles(&mut self, now: Timestamp) -> Vec<Effect> {
        self.call(now, |roles, ctx| {
            roles.core.handle_loaded(ctx);
            roles.database.handle_loaded(ctx);
            roles.config_server.handle_loaded(ctx);
            if let Some(acm) = &roles.acm {
                acm.server.handle_loaded(ctx);
            }
        })
    }
}

impl Roles {
    fn new(id: SystemId, entropy: &mut dyn Entropy, exchange: Option<&Exchange>) -> Self {
        let core = SipCore::new(sip_core::Config::for_domain(id.domain()), entropy);
        let config = sip_database::Config {
            sqn_range: SQN_RANGE,
            ..sip_database::Config::new(id.database(), id.domain())
        };
        let database = SipDatabase::new(config, entropy);
        let partner = Partner {
            id: id.other().mc_system_id(),
            sip_database: id.other().database(),
            accepted_token: id.other().token().digest(),
            areas: vec![id.other().location()],
        };
        let config = config_server::Config {
            partners: vec![partner],
            hands_out_configuration: exchange.is_none_or(|it| it.sends_configuration),
            has_acm: exchange.is_some(),
            ..config_server::Config::new(id.mc_system_id(), id.database(), id.server_name())
        };
        let config_server = ConfigServer::new(config, entropy);
        let acm = exchange.map(|exchange| Acm::new(id, entropy, exchange));
        Self { core, database, config_server, acm }
    }
}

impl Acm {
    fn new(id: SystemId, entropy: &mut dyn Entropy, exchange: &Exchange) -> Self {
        use std::time::Duration;
        let mode = id.of(exchange.modes);
        let accepts_part = id.of(exchange.accepts_part);
        let partner = acm::Partner {
            id: id.other().mc_system_id(),
            accepted_token: id.other().token().digest(),
            interconnected: id.of(exchange.interconnected),
            domains: vec![id.other().domain().to_owned()],
            policies: Policies {
                usual: Policy { mode, accepts_part, ..Policy::default() },
                ..Policies::default()
            },
            agreements: Some(AgreementTerms { valid_for: AGREEMENT, hide_identities: true }),
        };
        let config = acm::Config {
            partners: vec![partner],
            answers_pull: Some(id.administrator(0)),
            answer_timeout: Duration::from_secs(5),
            resend_max: Duration::from_secs(30),
            session_lease: Duration::from_secs(60),
            ..acm::Config::new(id.mc_system_id(), id.domain())
        };
        let aliases = alias_server::Config::new(vec![id.domain().to_owned()]);
        Self { server: AcmServer::new(config, entropy), aliases: AliasServer::new(aliases) }
    }
}
