//! The simulated world: two MC systems with their real roles, real SIP and Diameter octets between
//! them, and UEs, in virtual time and under faults that follow from a seed. Layer 6.
//!
//! Worlds with an [`Exchange`] have administrators as well, who exchange configuration, groups and users through the
//! ACM servers of their systems (TS 23.280 clause 10.17): on the same networks, storages and clocks, so that a crash or
//! a failed commit takes all roles of a system at once, and a UE is told what administrators have agreed on. The
//! other worlds run without these roles, as a process may.
//!
//! Everything happens in one queue ordered by time; the same seed gives the same trace, octet for
//! octet. What leaves a system is checked against what its storage holds at that moment
//! ([`Violation`]), whatever the roles believe of it.
//!
//! Source of what must hold: TR 23.781 solution 2 (the 25 steps), RFC 3261 clause 10.3 (a 200 tells
//! what is registered), TS 33.102 clause 6.3 and annex C (no SQN twice).

mod acm_client;
mod acm_script;
mod acm_tables;
mod administrator;
mod check;
mod check_access;
mod check_answer;
mod check_exchange;
mod check_registration;
#[cfg(test)]
mod check_tests;
mod check_vector;
mod describe;
mod engine;
mod entropy;
mod exchange;
mod facts;
mod faults;
mod http;
pub mod ledger;
mod link;
mod local;
mod network;
mod operate;
mod options;
mod perform;
mod provision;
mod queue;
mod script;
mod system;
mod tables;
mod trace;
mod ue_host;

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;

pub use check::Violation;
pub use entropy::SeededEntropy;
pub use http::Lost;
pub use operate::Migration;
pub use options::{Committing, Exchange, Options, Pools};
pub use system::SystemId;
pub use trace::{Line, Trace, Who};

use self::{
    acm_client::AcmClient,
    check::Checks,
    exchange::Exchanged,
    faults::Fault,
    http::{Question, Reply},
    link::{Parcel, Wire},
    network::Connections,
    queue::Queue,
    system::System,
    ue_host::UeHost,
};
use crate::{
    api::{
        acm_client::{Notification, SessionId},
        configuration, functional_alias, migration_identity as management,
    },
    diameter::cx,
    identity::{McServiceId, McSystemId},
    outbox::{
        ConfigurationReply, CxReply, ManagementReply, Note, RequestId, SystemAccessReply, TimerKey,
        UserConfigurationReply,
    },
    step::Step,
    time::Timestamp,
};

/// When every simulated world begins: 2023-11-14T22:13:20Z.
pub const EPOCH: Timestamp = Timestamp::from_secs(1_700_000_000);

/// How long a provisioned inbound pair rests before it is lent to somebody else.
pub const QUARANTINE: Duration = Duration::from_secs(30);

/// How long an outbound one rests: longer than the partner keeps an inbound one for it.
pub const OUTBOUND_QUARANTINE: Duration = Duration::from_secs(40 * 24 * 3_600);

/// Two MC systems, their UEs, the networks between them, and time.
#[derive(Debug)]
pub struct World {
    seed: u64,
    options: Options,
    queue: Queue<Event>,
    /// What the networks and faults draw from.
    entropy: SeededEntropy,
    a: System,
    b: System,
    ues: Vec<UeHost>,
    /// The ACM clients of A, and then those of B.
    acm_clients: Vec<AcmClient>,
    exchanged: Exchanged,
    wire: Wire,
    connections: Connections,
    /// What was ever asked over HTTP, by number.
    questions: BTreeMap<u64, Question>,
    next_question: u64,
    /// Answers that no script waits for.
    answers: BTreeMap<u64, Reply>,
    /// Commits begun so far, and at which a system is to crash.
    commits: u64,
    crash_at_commit: Option<u64>,
    /// Whether new faults may begin.
    stormy: bool,
    /// Which answers the network loses, all of them.
    losing: Option<Lost>,
    /// Whether the network falsifies the digest responses of UEs.
    falsify: bool,
    checks: Checks,
    violation: Option<Violation>,
    steps: Vec<(Step, Who)>,
    notes: Vec<(SystemId, Note)>,
    trace: Trace,
}

/// Something that happens.
#[derive(Debug)]
enum Event {
    /// A datagram arrives.
    Datagram { from: std::net::SocketAddr, to: std::net::SocketAddr, octets: Bytes },
    /// Octets arrive on a TCP connection.
    Segment { connection: u64, to_core: bool, octets: Bytes },
    /// A UE opens its TCP connection again.
    Reconnect { ue: usize },
    /// A request of one role reaches another of the same system.
    LocalRequest { system: SystemId, incarnation: u64, id: RequestId, request: cx::Request },
    /// An answer reaches a role.
    Reply { system: SystemId, incarnation: u64, reply: CxReply },
    /// The commits of one outbox have had their time.
    Committed { system: SystemId, incarnation: u64, group: u64, fails: bool },
    /// A storage that failed is reopened.
    Reopen { system: SystemId, incarnation: u64 },
    /// A system that crashed starts again.
    Start { system: SystemId },
    /// A timer of a role.
    Timer { system: SystemId, incarnation: u64, timer: TimerKey },
    /// A timer of a user agent.
    UeTimer { ue: usize, generation: u64, timer: TimerKey },
    /// A script goes on.
    Wake { ue: usize, token: u64 },
    /// A management request of a role reaches the SIP database of the same system.
    LocalManagement {
        system: SystemId,
        incarnation: u64,
        id: RequestId,
        request: management::Request,
    },
    /// Its answer reaches the role.
    ManagementReply { system: SystemId, incarnation: u64, reply: ManagementReply },
    /// What came of a request to the other system, where it never left.
    SystemAccessReply { system: SystemId, incarnation: u64, reply: SystemAccessReply },
    /// A request of the ACM server reaches the configuration server of the same system.
    LocalConfiguration {
        system: SystemId,
        incarnation: u64,
        id: RequestId,
        request: configuration::Request,
    },
    /// Its answer reaches the ACM server.
    ConfigurationReply { system: SystemId, incarnation: u64, reply: ConfigurationReply },
    /// A request of the configuration server reaches the ACM server of the same system.
    UserConfigurationAsked {
        system: SystemId,
        incarnation: u64,
        id: RequestId,
        partner: McSystemId,
        user: McServiceId,
    },
    /// Its answer reaches the configuration server.
    UserConfigurationReply { system: SystemId, incarnation: u64, reply: UserConfigurationReply },
    /// The ACM server asks the functional alias controlling server of the same system for its feed.
    SubscribeAliases { system: SystemId, incarnation: u64 },
    /// That one tells something.
    AliasChanged { system: SystemId, incarnation: u64, event: functional_alias::Event },
    /// An ACM client is told that something is pending.
    Notified { client: usize, session: SessionId, notification: Notification },
    /// An ACM client goes on.
    AcmClient { client: usize, turn: u64 },
    /// A question arrives over HTTP.
    Asked { question: u64, system: SystemId },
    /// The answer reaches whoever asked.
    Answered { question: u64, reply: Reply },
    /// Whoever asked learns that no answer will come.
    Undeliverable { question: u64 },
    /// An administrator goes on.
    Administrator { ue: usize, token: u64 },
    /// B connects to A.
    Connect,
    /// A transport connection from B reaches A.
    Accepted { incarnation: u64 },
    /// Something arrives on the Diameter transport.
    Wire { wire: u64, to: SystemId, parcel: Parcel },
    /// A timer of a Diameter connection.
    WireTimer { wire: u64, system: SystemId },
    /// A system crashes.
    Crash { system: SystemId },
    /// A fault begins or ends.
    Fault(Fault),
}

impl World {
    /// Creates a world with both systems provisioned and connected, and UEs that have done nothing.
    pub fn new(seed: u64, options: Options) -> Self {
        let mut entropy = SeededEntropy::new(seed);
        let mut system = |id| System::new(id, entropy.fork(), EPOCH, options.exchange.clone());
        let (mut a, mut b) = (system(SystemId::A), system(SystemId::B));
        a.engine.set_committing(options.committing);
        b.engine.set_committing(options.committing);
        let ues: Vec<UeHost> =
            (0..options.ues).map(|number| draw_ue(number, &options, &mut entropy)).collect();
        let clients = options.exchange.as_ref().map_or(0, |exchange| exchange.clients);
        let acm_clients: Vec<AcmClient> = [SystemId::A, SystemId::B]
            .into_iter()
            .flat_map(|system| (0..clients).map(move |number| (system, number)))
            .map(|(system, number)| AcmClient::new(system, number, entropy.fork()))
            .collect();
        let mut world = Self {
            seed,
            queue: Queue::new(EPOCH),
            entropy,
            a,
            b,
            checks: Checks::new(&ues),
            ues,
            acm_clients,
            exchanged: Exchanged::default(),
            wire: Wire::default(),
            connections: Connections::default(),
            questions: BTreeMap::new(),
            next_question: 0,
            answers: BTreeMap::new(),
            commits: 0,
            crash_at_commit: None,
            stormy: false,
            losing: None,
            falsify: false,
            violation: None,
            steps: Vec::new(),
            notes: Vec::new(),
            trace: Trace::default(),
            options: Options { pools: options.pools, ..options.calmed() },
        };
        world.provision();
        world.options = options;
        world
    }

    /// The time in this world.
    pub fn now(&self) -> Timestamp {
        self.queue.now()
    }

    /// The seed that this world follows from.
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// What happened so far.
    pub const fn trace(&self) -> &Trace {
        &self.trace
    }

    /// The steps performed so far, and who performed them.
    pub fn steps(&self) -> &[(Step, Who)] {
        &self.steps
    }

    /// How often a role of `system` noted `note`.
    pub fn count_notes(&self, system: SystemId, note: &Note) -> usize {
        self.notes.iter().filter(|(by, noted)| *by == system && noted == note).count()
    }

    /// Lets `span` pass.
    ///
    /// # Errors
    ///
    /// The first [`Violation`] of what must hold.
    pub fn run_for(&mut self, span: Duration) -> Result<(), Violation> {
        let end = self.now() + span;
        self.run_until(end, |_| false).map(|_| ())
    }

    /// Lets time pass until `done` or until `end`; returns whether `done`.
    ///
    /// # Errors
    ///
    /// The first [`Violation`] of what must hold.
    pub fn run_until(
        &mut self,
        end: Timestamp,
        done: impl Fn(&Self) -> bool,
    ) -> Result<bool, Violation> {
        loop {
            if let Some(violation) = &self.violation {
                return Err(violation.clone());
            }
            if done(self) {
                return Ok(true);
            }
            let Some(event) = self.queue.take_until(end) else {
                self.queue.advance_to(end);
                return Ok(false);
            };
            self.happen(event);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Datagram { from, to, octets } => self.datagram_arrived(from, to, &octets),
            Event::Segment { connection, to_core, octets } => {
                self.segment_arrived(connection, to_core, &octets);
            }
            Event::Reconnect { ue } => self.reconnect(ue),
            Event::LocalRequest { system, incarnation, id, request } => {
                self.local_request(system, incarnation, id, request);
            }
            Event::Reply { system, incarnation, reply } => self.reply(system, incarnation, reply),
            Event::Committed { system, incarnation, group, fails } => {
                self.committed(system, incarnation, group, fails);
            }
            Event::Reopen { system, incarnation } => self.reopen(system, incarnation),
            Event::Start { system } => self.start(system),
            Event::Timer { system, incarnation, timer } => self.timer(system, incarnation, &timer),
            Event::UeTimer { ue, generation, timer } => self.ue_timer(ue, generation, &timer),
            Event::Wake { ue, token } => self.wake(ue, token),
            Event::LocalManagement { system, incarnation, id, request } => {
                self.local_management(system, incarnation, id, request);
            }
            Event::ManagementReply { system, incarnation, reply } => {
                self.management_reply(system, incarnation, reply);
            }
            Event::SystemAccessReply { system, incarnation, reply } => {
                self.system_access_reply(system, incarnation, reply);
            }
            Event::LocalConfiguration { system, incarnation, id, request } => {
                self.local_configuration(system, incarnation, id, request);
            }
            Event::ConfigurationReply { system, incarnation, reply } => {
                self.configuration_reply(system, incarnation, reply);
            }
            Event::UserConfigurationAsked { system, incarnation, id, partner, user } => {
                self.user_configuration_asked(system, incarnation, id, (&partner, &user));
            }
            Event::UserConfigurationReply { system, incarnation, reply } => {
                self.user_configuration_told(system, incarnation, reply);
            }
            Event::SubscribeAliases { system, incarnation } => {
                self.aliases_subscribed(system, incarnation);
            }
            Event::AliasChanged { system, incarnation, event } => {
                self.alias_changed(system, incarnation, event);
            }
            Event::Notified { client, session, notification } => {
                self.notified(client, session, &notification);
            }
            Event::AcmClient { client, turn } => self.acm_client_wakes(client, turn),
            Event::Asked { question, system } => self.asked(question, system),
            Event::Answered { question, reply } => self.answered(question, reply),
            Event::Undeliverable { question } => self.undeliverable(question),
            Event::Administrator { ue, token } => self.administrator_wakes(ue, token),
            Event::Connect => self.connect(),
            Event::Accepted { incarnation } => self.accepted(incarnation),
            Event::Wire { wire, to, parcel } => self.wire_arrived(wire, to, parcel),
            Event::WireTimer { wire, system } => self.wire_timer(wire, system),
            Event::Crash { system } => self.restart(system),
            Event::Fault(fault) => self.fault(fault),
        }
    }

    const fn system(&self, id: SystemId) -> &System {
        match id {
            SystemId::A => &self.a,
            SystemId::B => &self.b,
        }
    }

    const fn system_mut(&mut self, id: SystemId) -> &mut System {
        match id {
            SystemId::A => &mut self.a,
            SystemId::B => &mut self.b,
        }
    }

    fn record(&mut self, who: Who, what: impl FnOnce() -> String) {
        self.trace.add(self.queue.now(), who, what());
    }

    fn draw_delay(&mut self) -> Duration {
        self.entropy.span(self.options.delay_min, self.options.delay_max)
    }

    /// Records what must not be; the first one counts.
    fn violate(&mut self, violation: Violation) {
        self.record(Who::World, || format!("VIOLATION: {violation}"));
        self.violation.get_or_insert(violation);
    }
}

fn draw_ue(number: usize, options: &Options, entropy: &mut SeededEntropy) -> UeHost {
    use crate::outbox::Transport;
    let home = if entropy.happens(options.of_b) { SystemId::B } else { SystemId::A };
    let transport = if entropy.happens(options.tcp) { Transport::Tcp } else { Transport::Udp };
    let hidden = !entropy.happens(options.granted);
    UeHost::new(number, (home, transport, hidden), entropy.fork())
}

/// Parses a name that this module made up.
fn known<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    #[expect(clippy::expect_used, reason = "the simulated world's own names are well-formed")]
    text.parse().expect("well-formed name")
}

/// A bearer token that this module made up.
fn token(text: &str) -> crate::token::BearerToken {
    #[expect(clippy::expect_used, reason = "the simulated world's own tokens are well-formed")]
    crate::token::BearerToken::parse(text).expect("well-formed token")
}
