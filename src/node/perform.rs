//! Calls roles and performs what they want done.
//!
//! One [`Caller`] belongs to each task that calls roles: a socket's, a connection's, the timers'. It
//! makes calls in batches, and runs all that follows from them within the process, then goes back to its task.
//! Between roles of one process messages are values; they wait for their commits like all others.
//!
//! A batch is what a task found at once: datagrams that were received by one system call, messages of one read.
//! It enters the gate once, reads the clock once, hands its commits over to the committer together, and lets its
//! datagrams leave together. So a call costs what the role does, and little besides.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::{Notify, Semaphore, watch};

use super::{
    acm::{self as acm_http, Events, Links, LongBodies},
    clock::Clock,
    committer::{Committer, Done, Settled, Waited},
    config::Config,
    diameter::Peers,
    entropy::SystemEntropy,
    idms::{self as idms_http, PasswordChecks},
    issuer::IssuerFile,
    ladder::Tap,
    loading::Loading,
    metrics::{Direction, Metrics},
    names::Names,
    park::ParkedRequests,
    partners::{self, Partners},
    roles::{Roles, each},
    sip_client,
    tcp::Connections,
    tls::Tls,
    worker::Worker,
};
use crate::{
    acm::AcmServer,
    api::{
        acm_client, acm_interconnection, acm_management, alias_management, configuration,
        connection_details, functional_alias, identity_management, idms_management,
        migration_identity as management, registration, system_access,
    },
    config_server::ConfigServer,
    diameter::cx,
    identity::{McServiceId, McSystemId},
    outbox::{
        AcmMessage, AcmReply, ConfigurationReply, Context, CxDestination, CxReply, Effect, Flow,
        IdmsMessage, ManagementReply, Message, Outbox, PasswordReply, Peer, ReplyTo, RequestId,
        Role, Send, SystemAccessReply, TimerKey, Transport, Undeliverable, UserConfigurationReply,
    },
    step::Step,
    store::{Reader, Sequencer},
    time::Timestamp,
    token::BearerToken,
};

/// Most calls of a batch before their commits are handed over and their messages leave, and as many commits. The
/// numbers of commits are drawn in one row by all workers, so the others' answers may wait as long as this takes.
const CALLS_AT_ONCE: usize = 32;

/// Everything that the tasks of one system share.
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) names: Names,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
    pub(super) tap: Option<Tap>,
    pub(super) roles: Roles,
    pub(super) sequencer: Arc<Sequencer>,
    pub(super) committer: Committer,
    /// Reads what is durable, for lists. Of the engine's data, not of one opening of it: it goes on after a
    /// failure, once the engine is open again.
    pub(super) reader: Arc<dyn Reader>,
    pub(super) loading: Loading,
    /// Held for reading during a batch of calls into roles, their commits and all that follows from them in the
    /// process; for writing before and after a reload.
    pub(super) gate: RwLock<()>,
    /// Held during a call that takes long, and during a reload. If a reload waited at the gate for such a call
    /// to end, the gate would let no other call in meanwhile.
    pub(super) apart: Mutex<()>,
    /// Wakes the task that mends the storage.
    pub(super) storage_failed: Notify,
    /// Taken by the one request of the management interface that may be about many at a time.
    pub(super) many: Arc<Semaphore>,
    pub(super) parked: ParkedRequests,
    pub(super) connections: Connections,
    pub(super) peers: Peers,
    /// What connections over TLS are made with; `None` without a section `[tls]`.
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) partners: Partners,
    /// The ways to the ACM servers of partners.
    pub(super) acm_links: Links,
    /// What ACM clients that are logged on have been told.
    pub(super) acm_events: Events,
    /// Taken by each request to the ACM server whose body may be long.
    pub(super) acm_bodies: LongBodies,
    /// Passwords that are being checked.
    pub(super) passwords: PasswordChecks,
    /// Whose access tokens the MC server takes, if the identity management server runs elsewhere.
    pub(super) issuer: Option<IssuerFile>,
    /// Where the MC server listens, once it does.
    pub(super) mc_address: OnceLock<SocketAddr>,
    pub(super) workers: Vec<Arc<Worker>>,
    pub(super) stop: watch::Sender<bool>,
    /// A call into a role panicked.
    pub(super) failed: AtomicBool,
    pub(super) note_limit: NoteLimit,
}

/// How many notes are logged: so many in each second, the rest only counted.
#[derive(Debug, Default)]
pub(super) struct NoteLimit {
    second: AtomicU64,
    logged: AtomicU64,
}

impl NoteLimit {
    /// Most notes logged in one second.
    const LOGGED_A_SECOND_MAX: u64 = 20;

    /// Whether one more note may be logged now.
    pub(super) fn admits(&self, now: Timestamp) -> bool {
        let second = now.as_secs();
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.logged.store(0, Ordering::Relaxed);
        }
        self.logged.fetch_add(1, Ordering::Relaxed) < Self::LOGGED_A_SECOND_MAX
    }
}

/// A call into a role.
#[derive(Debug)]
pub(super) enum Call<'a> {
    /// A framed SIP message.
    Sip { flow: Flow, octets: &'a [u8] },
    /// A Cx request, from a peer or from a role of this process.
    CxRequest { from: Peer, to: ReplyTo, request: cx::Request },
    /// The answer to a Cx request of a role, or that there is none.
    CxReply(CxReply),
    /// A request of the management interface of the SIP database, from HTTP or from a role.
    Management { to: ReplyTo, request: management::Request },
    /// The answer to a management request of a role.
    ManagementReply(ManagementReply),
    /// A request of the management interface of the configuration server, from HTTP or from a role.
    Configuration { to: ReplyTo, request: configuration::Request },
    /// A request of the management interface of the SIP core.
    Registration { to: ReplyTo, request: registration::Request },
    /// A request of the management interface of the functional alias controlling server.
    Aliases { to: ReplyTo, request: alias_management::Request },
    /// The ACM server subscribes to the feed of the functional alias controlling server.
    SubscribeAliases,
    /// A UE asks for connection details.
    ConnectionDetails {
        to: ReplyTo,
        credential: Option<connection_details::Credential>,
        request: connection_details::Request,
    },
    /// A partner asks for access.
    SystemAccess { to: ReplyTo, token: Option<BearerToken>, request: system_access::Request },
    /// The answer of a partner, or that there is none.
    SystemAccessReply(SystemAccessReply),
    /// A request to a partner has not left, for reasons of this system.
    SystemAccessUnsent(RequestId),
    /// The answer of the configuration server to a request of a role.
    ConfigurationReply(ConfigurationReply),
    /// The ACM server of another system asks.
    AcmInterconnection {
        to: ReplyTo,
        token: Option<BearerToken>,
        request: acm_interconnection::Request,
    },
    /// The answer of the ACM server of another system, or that there is none.
    AcmReply(AcmReply),
    /// A request of the ACM server has not left, for reasons of this system.
    AcmUnsent(RequestId),
    /// An ACM client asks, in the name of a user.
    AcmClient {
        to: ReplyTo,
        credential: Option<(McServiceId, BearerToken)>,
        request: acm_client::Request,
    },
    /// A request of the management interface of the ACM server.
    AcmManagement { to: ReplyTo, request: acm_management::Request },
    /// The configuration server asks the ACM server what a user migrates to a partner with.
    UserConfiguration { id: RequestId, partner: McSystemId, user: McServiceId },
    /// The answer to it.
    UserConfigurationReply(UserConfigurationReply),
    /// The functional alias controlling server tells something.
    AliasEvent(functional_alias::Event),
    /// A client or a user's browser asks the identity management server.
    Idms { to: ReplyTo, request: identity_management::Request },
    /// A request of the management interface of the identity management server.
    IdmsManagement { to: ReplyTo, request: idms_management::Request },
    /// A password was checked, or cannot be.
    PasswordReply(PasswordReply),
    /// A timer is due.
    Timer(TimerKey),
    /// Every record has been loaded.
    Loaded,
}

impl Call<'_> {
    /// Whether it begins something, and may be refused when too much waits for the storage already. What was
    /// begun goes on: it is bounded by what began it.
    const fn is_new_work(&self) -> bool {
        match self {
            Self::Sip { .. }
            | Self::CxRequest { to: ReplyTo::World(_), .. }
            | Self::Management { to: ReplyTo::World(_), .. }
            | Self::Configuration { to: ReplyTo::World(_), .. }
            | Self::Registration { .. }
            | Self::Aliases { .. }
            | Self::ConnectionDetails { .. }
            | Self::SystemAccess { .. }
            | Self::AcmInterconnection { .. }
            | Self::AcmClient { .. }
            | Self::AcmManagement { .. }
            | Self::Idms { .. }
            | Self::IdmsManagement { .. } => true,
            Self::CxRequest { to: ReplyTo::Role(_), .. }
            | Self::Management { to: ReplyTo::Role(_), .. }
            | Self::Configuration { to: ReplyTo::Role(_), .. }
            | Self::CxReply(_)
            | Self::ManagementReply(_)
            | Self::SystemAccessReply(_)
            | Self::SystemAccessUnsent(_)
            | Self::ConfigurationReply(_)
            | Self::AcmReply(_)
            | Self::AcmUnsent(_)
            | Self::UserConfiguration { .. }
            | Self::UserConfigurationReply(_)
            | Self::AliasEvent(_)
            | Self::PasswordReply(_)
            | Self::SubscribeAliases
            | Self::Timer(_)
            | Self::Loaded => false,
        }
    }
}

/// Calls roles and performs what they want done, for one task on one worker.
pub(super) struct Caller {
    pub(super) shared: Arc<Shared>,
    pub(super) worker: Arc<Worker>,
    entropy: SystemEntropy,
    /// What calls want done that is not handed over yet.
    outbox: Outbox,
    /// How many commits each of these calls made, if any.
    commits_of_calls: Vec<usize>,
    /// How many calls these are.
    made: usize,
    /// The time of all of them.
    now: Timestamp,
    /// Calls that follow from calls.
    calls: VecDeque<Call<'static>>,
    /// What the committer says of messages; kept for its capacity.
    settled: Settled,
}

/// Calls that are made together.
pub(super) struct Batch<'a>(&'a mut Caller);

impl Batch<'_> {
    /// Makes a call. What it wants done is done by the end of the batch.
    pub(super) fn call(&mut self, call: Call<'_>) {
        self.0.perform(call);
        self.go_on();
    }

    /// Deals with a message that waited.
    pub(super) fn take_back(&mut self, waited: Waited) {
        match waited {
            Waited::Leaves(send) => self.0.dispatch(send),
            Waited::Lost(send) => self.0.calls.extend(self.0.shared.drop_message(&send.message)),
        }
        self.go_on();
    }

    /// Whose batch it is.
    pub(super) const fn caller(&self) -> &Caller {
        self.0
    }

    /// The time of the next call.
    pub(super) const fn now(&self) -> Timestamp {
        self.0.now
    }

    /// Does what calls wanted done so far, if that is enough.
    fn go_on(&mut self) {
        if self.0.has_done_enough() || self.0.calls.len() >= CALLS_AT_ONCE {
            self.0.finish();
            self.0.now = self.0.shared.clock.now();
        }
    }
}

impl Caller {
    pub(super) fn new(shared: &Arc<Shared>, worker: &Arc<Worker>) -> Self {
        Self {
            outbox: Outbox::new(Arc::clone(&shared.sequencer)),
            shared: Arc::clone(shared),
            worker: Arc::clone(worker),
            entropy: SystemEntropy::new(),
            commits_of_calls: Vec::new(),
            made: 0,
            now: shared.clock.now(),
            calls: VecDeque::new(),
            settled: Settled::default(),
        }
    }

    /// Makes the calls that `make` makes, and those that follow from them.
    pub(super) fn batch<T>(&mut self, make: impl FnOnce(&mut Batch<'_>) -> T) -> T {
        let shared = Arc::clone(&self.shared);
        let inside = shared.gate.read().unwrap_or_else(PoisonError::into_inner);
        self.now = shared.clock.now();
        let made = make(&mut Batch(self));
        self.finish();
        drop(inside);
        self.worker.flush(&shared.metrics);
        made
    }

    /// Makes a call, and the calls that follow from it.
    pub(super) fn call(&mut self, call: Call<'_>) {
        self.batch(|batch| batch.call(call));
    }

    /// Tells the roles that loading is over. The caller holds the gate for writing.
    pub(super) fn finish_loading(&mut self) {
        self.now = self.shared.clock.now();
        self.perform(Call::Loaded);
        self.finish();
        self.worker.flush(&self.shared.metrics);
    }

    /// Does what calls wanted done, and makes the calls that follow, until none does.
    fn finish(&mut self) {
        loop {
            self.hand_over();
            if self.calls.is_empty() {
                return;
            }
            while !self.has_done_enough()
                && let Some(call) = self.calls.pop_front()
            {
                self.perform(call);
            }
        }
    }

    /// Whether it is time to hand over.
    const fn has_done_enough(&self) -> bool {
        self.made >= CALLS_AT_ONCE || self.outbox.commits.len() >= CALLS_AT_ONCE
    }

    /// Makes a call, and does at once what it wants done but for commits and messages.
    fn perform(&mut self, call: Call<'_>) {
        let before = self.outbox.commits.len();
        self.invoke(call);
        self.made += 1;
        let Self { shared, worker, outbox, .. } = self;
        outbox.perform_others(|effect| match effect {
            Effect::Arm { at, timer } => {
                if worker.timers.arm(at, timer).is_err() {
                    shared.metrics.drop_one("timers_full");
                }
            }
            Effect::Step { step, by, summary } => shared.report_step(step, by, summary),
            Effect::Note(note) => shared.report_note(&note),
            Effect::Commit(_) | Effect::Send(_) => {}
        });
        let commits = self.outbox.commits.len() - before;
        if commits > 0 {
            self.commits_of_calls.push(commits);
        }
    }

    fn invoke(&mut self, call: Call<'_>) {
        let Self { shared, entropy, outbox, now, .. } = self;
        let committer = &shared.committer;
        outbox.set_storage_available(
            committer.is_available() && (committer.has_room() || !call.is_new_work()),
        );
        let mut ctx = Context { now: *now, entropy, out: outbox };
        let Roles { core, database, config_server, acm, aliases, idms, mc_server } = &shared.roles;
        let (core, database, config_server, acm, idms) =
            (core.as_ref(), database.as_ref(), config_server.as_ref(), acm.as_ref(), idms.as_ref());
        match call {
            Call::Sip { flow, octets } if shared.is_for_mc_server(&flow) => {
                if let (Some(mc_server), Some(tokens)) = (mc_server, shared.tokens()) {
                    mc_server.handle_sip(&mut ctx, tokens, flow, octets);
                }
            }
            Call::Sip { flow, octets } => {
                if let Some(core) = core {
                    core.handle_sip(&mut ctx, flow, octets);
                }
            }
            Call::CxRequest { from, to, request } => {
                if let Some(database) = database {
                    database.handle_request(&mut ctx, &from, to, request);
                }
            }
            Call::CxReply(reply) => match reply.id.role {
                Role::SipCore => each(core, |core| core.handle_answer(&mut ctx, reply)),
                Role::SipDatabase => {
                    each(database, |database| database.handle_answer(&mut ctx, reply));
                }
                Role::Acm | Role::ConfigServer | Role::Idms | Role::McServer | Role::Ue => {}
            },
            Call::Management { to, request } => {
                if let Some(database) = database {
                    database.handle_management(&mut ctx, to, request);
                }
            }
            Call::Registration { to, request } => {
                each(core, |core| core.handle_management(&mut ctx, to, request));
            }
            Call::Aliases { to, request } => {
                if let Some(aliases) = aliases {
                    aliases.handle_management(&mut ctx, to, request);
                }
            }
            Call::SubscribeAliases => {
                if let Some(aliases) = aliases {
                    aliases.handle_subscription(&mut ctx);
                }
            }
            Call::ManagementReply(_)
            | Call::Configuration { .. }
            | Call::ConnectionDetails { .. }
            | Call::SystemAccess { .. }
            | Call::SystemAccessReply(_)
            | Call::SystemAccessUnsent(_)
            | Call::UserConfigurationReply(_) => {
                each(config_server, |server| invoke_config_server(server, &mut ctx, call));
            }
            Call::ConfigurationReply(_)
            | Call::AcmInterconnection { .. }
            | Call::AcmReply(_)
            | Call::AcmUnsent(_)
            | Call::AcmClient { .. }
            | Call::AcmManagement { .. }
            | Call::UserConfiguration { .. }
            | Call::AliasEvent(_) => {
                each(acm, |acm| invoke_acm(acm, &mut ctx, call));
            }
            Call::Idms { to, request } => {
                each(idms, |idms| idms.handle_request(&mut ctx, to, request));
            }
            Call::IdmsManagement { to, request } => {
                each(idms, |idms| idms.handle_management(&mut ctx, to, request));
            }
            Call::PasswordReply(reply) => {
                each(idms, |idms| idms.handle_password(&mut ctx, reply));
            }
            Call::Timer(timer) => shared.roles.handle_timer(&mut ctx, &timer),
            Call::Loaded => shared.roles.handle_loaded(&mut ctx),
        }
    }

    /// Hands the commits of all calls over, and lets messages leave that may.
    fn hand_over(&mut self) {
        self.made = 0;
        let commits = self.outbox.commits.len();
        let mut settled = std::mem::take(&mut self.settled);
        let done = Done {
            commits: &mut self.outbox.commits,
            calls: &mut self.commits_of_calls,
            sends: &mut self.outbox.sends,
        };
        let committer = &self.shared.committer;
        let outcome = committer.submit(self.worker.index, done, &mut settled);
        // A thread tells of what it commits itself.
        if commits > 0 && (outcome.is_err() || !committer.waits()) {
            self.shared.report_commits(commits, outcome);
        }
        for send in settled.lost.drain(..) {
            self.calls.extend(self.shared.drop_message(&send.message));
        }
        for send in settled.leaving.drain(..) {
            self.dispatch(send);
        }
        self.settled = settled;
    }

    fn dispatch(&mut self, Send { step, message, .. }: Send) {
        if let Some(step) = step {
            self.shared.metrics.step(step);
        }
        match message {
            Message::Sip { flow, octets } => {
                self.shared.observe_sip(Direction::Out, step, &flow, &octets);
                match flow.transport {
                    Transport::Udp => {
                        self.worker.send_datagram(&self.shared.metrics, &flow, &octets);
                    }
                    Transport::Tcp | Transport::Tls => {
                        self.shared.connections.send(
                            &self.shared.metrics,
                            flow.connection,
                            &octets,
                        );
                    }
                }
            }
            Message::SipRequest { to, octets } => {
                sip_client::send(&self.shared, &self.worker, to, &octets);
            }
            Message::CxRequest { to, id, request } => self.dispatch_request(step, &to, id, request),
            Message::CxAnswer { to: ReplyTo::Role(id), answer } => {
                self.shared.observe_value_answer(step, id, &answer);
                self.calls.push_back(Call::CxReply(CxReply { id, outcome: Ok(answer) }));
            }
            Message::ManagementRequest { id, request } => {
                self.shared.observe_value_management(step, id, &request);
                let to = ReplyTo::Role(id);
                self.calls.push_back(Call::Management { to, request });
            }
            Message::Management { to: ReplyTo::Role(id), answer } => {
                self.shared.observe_value_management_answer(step, id, &answer);
                self.calls.push_back(Call::ManagementReply(ManagementReply { id, answer }));
            }
            Message::SystemAccessRequest { to, id, request } => {
                let asked = partners::ask(&self.shared, &self.worker, step, &to, id, request);
                self.calls.extend(asked);
            }
            Message::ConfigurationRequest { id, request } => {
                self.shared.observe_value_configuration(step, id, &request);
                let to = ReplyTo::Role(id);
                self.calls.push_back(Call::Configuration { to, request });
            }
            Message::Configuration { to: ReplyTo::Role(id), answer } => {
                self.shared.observe_value_configuration_answer(step, id, &answer);
                self.calls.push_back(Call::ConfigurationReply(ConfigurationReply { id, answer }));
            }
            Message::Acm(message) => self.dispatch_acm(step, message),
            Message::Idms(message) => self.dispatch_idms(step, message),
            Message::CxAnswer { to: ReplyTo::World(number), .. }
            | Message::Management { to: ReplyTo::World(number), .. }
            | Message::Configuration { to: ReplyTo::World(number), .. }
            | Message::Registration { to: ReplyTo::World(number), .. }
            | Message::ConnectionDetails { to: ReplyTo::World(number), .. }
            | Message::SystemAccess { to: ReplyTo::World(number), .. } => {
                self.shared.unpark(number, step, message);
            }
            // No role here asks these.
            Message::ConnectionDetailsRequest(_)
            | Message::Registration { to: ReplyTo::Role(_), .. }
            | Message::ConnectionDetails { to: ReplyTo::Role(_), .. }
            | Message::SystemAccess { to: ReplyTo::Role(_), .. } => {}
        }
    }

    fn dispatch_acm(&mut self, step: Option<Step>, message: AcmMessage) {
        match message {
            AcmMessage::Request { to, id, request } => {
                let asked = acm_http::ask(&self.shared, &self.worker, step, &to, id, request);
                self.calls.extend(asked);
            }
            AcmMessage::Answer { to: ReplyTo::World(number), .. }
            | AcmMessage::Client { to: ReplyTo::World(number), .. }
            | AcmMessage::Aliases { to: ReplyTo::World(number), .. }
            | AcmMessage::Management { to: ReplyTo::World(number), .. } => {
                self.shared.unpark(number, step, Message::Acm(message));
            }
            AcmMessage::Notification { session, notification, .. } => {
                self.shared.notify_acm_client(step, session, notification);
            }
            // Without a controlling server here nothing is ever taken as active.
            AcmMessage::SubscribeAliases => self.calls.push_back(Call::SubscribeAliases),
            AcmMessage::AliasEvent(event) => self.calls.push_back(Call::AliasEvent(event)),
            AcmMessage::UserConfigurationRequest { id, partner, user } => {
                self.calls.push_back(Call::UserConfiguration { id, partner, user });
            }
            AcmMessage::UserConfiguration(reply) => {
                self.calls.push_back(Call::UserConfigurationReply(reply));
            }
            // No role here asks these.
            AcmMessage::Answer { to: ReplyTo::Role(_), .. }
            | AcmMessage::Client { to: ReplyTo::Role(_), .. }
            | AcmMessage::Aliases { to: ReplyTo::Role(_), .. }
            | AcmMessage::Management { to: ReplyTo::Role(_), .. } => {}
        }
    }

    fn dispatch_idms(&mut self, step: Option<Step>, message: IdmsMessage) {
        match message {
            IdmsMessage::CheckPassword { id, password, hash } => {
                let checking =
                    idms_http::check_password(&self.shared, &self.worker, id, password, hash);
                if let Err(too_many) = checking {
                    let reply = PasswordReply { id, outcome: Err(too_many) };
                    self.calls.push_back(Call::PasswordReply(reply));
                }
            }
            IdmsMessage::Answer { to: ReplyTo::World(number), .. }
            | IdmsMessage::Management { to: ReplyTo::World(number), .. } => {
                self.shared.unpark(number, step, Message::Idms(message));
            }
            // No role here asks these.
            IdmsMessage::Answer { to: ReplyTo::Role(_), .. }
            | IdmsMessage::Management { to: ReplyTo::Role(_), .. } => {}
        }
    }

    fn dispatch_request(
        &mut self,
        step: Option<Step>,
        to: &CxDestination,
        id: RequestId,
        request: cx::Request,
    ) {
        if *to == CxDestination::OwnDatabase && self.shared.roles.database.is_some() {
            self.shared.observe_value_request(step, id, &request);
            let to = ReplyTo::Role(id);
            return self.calls.push_back(Call::CxRequest { from: Peer::OwnCore, to, request });
        }
        if self.shared.peers.request(&self.shared, step, to, id, request).is_err() {
            let reply = CxReply { id, outcome: Err(Undeliverable) };
            self.calls.push_back(Call::CxReply(reply));
        }
    }
}

/// Makes a call that only the configuration server takes.
fn invoke_config_server(config_server: &ConfigServer, ctx: &mut Context<'_>, call: Call<'_>) {
    match call {
        Call::ManagementReply(reply) => config_server.handle_management_reply(ctx, reply),
        Call::SystemAccessReply(reply) => config_server.handle_system_access_reply(ctx, reply),
        Call::SystemAccessUnsent(id) => config_server.handle_system_access_unsent(ctx, id),
        Call::UserConfigurationReply(reply) => config_server.handle_user_configuration(ctx, reply),
        Call::Configuration { to, request } => {
            config_server.handle_configuration(ctx, to, request);
        }
        Call::ConnectionDetails { to, credential, request } => {
            config_server.handle_connection_details(ctx, to, credential.as_ref(), request);
        }
        Call::SystemAccess { to, token, request } => {
            config_server.handle_system_access(ctx, to, token.as_ref(), request);
        }
        Call::Sip { .. }
        | Call::CxRequest { .. }
        | Call::CxReply(_)
        | Call::Management { .. }
        | Call::Registration { .. }
        | Call::ConfigurationReply(_)
        | Call::AcmInterconnection { .. }
        | Call::AcmReply(_)
        | Call::AcmUnsent(_)
        | Call::AcmClient { .. }
        | Call::AcmManagement { .. }
        | Call::UserConfiguration { .. }
        | Call::AliasEvent(_)
        | Call::Aliases { .. }
        | Call::Idms { .. }
        | Call::IdmsManagement { .. }
        | Call::PasswordReply(_)
        | Call::SubscribeAliases
        | Call::Timer(_)
        | Call::Loaded => {}
    }
}

/// Makes a call that only the ACM server takes.
fn invoke_acm(acm: &AcmServer, ctx: &mut Context<'_>, call: Call<'_>) {
    match call {
        Call::ConfigurationReply(reply) => acm.handle_configuration_reply(ctx, reply),
        Call::AcmInterconnection { to, token, request } => {
            acm.handle_interconnection(ctx, to, token.as_ref(), request);
        }
        Call::AcmReply(reply) => acm.handle_acm_reply(ctx, reply),
        Call::AcmUnsent(id) => acm.handle_unsent(ctx, id),
        Call::AcmClient { to, credential, request } => {
            let credential = credential.as_ref().map(|(user, token)| (user, token));
            acm.handle_client(ctx, to, credential, request);
        }
        Call::AcmManagement { to, request } => acm.handle_management(ctx, to, request),
        Call::AliasEvent(event) => acm.handle_alias_event(ctx, event),
        Call::UserConfiguration { id, partner, user } => {
            acm.handle_user_configuration(ctx, id, &partner, &user);
        }
        Call::Sip { .. }
        | Call::CxRequest { .. }
        | Call::CxReply(_)
        | Call::Management { .. }
        | Call::ManagementReply(_)
        | Call::Configuration { .. }
        | Call::Registration { .. }
        | Call::ConnectionDetails { .. }
        | Call::SystemAccess { .. }
        | Call::SystemAccessReply(_)
        | Call::SystemAccessUnsent(_)
        | Call::UserConfigurationReply(_)
        | Call::Aliases { .. }
        | Call::Idms { .. }
        | Call::IdmsManagement { .. }
        | Call::PasswordReply(_)
        | Call::SubscribeAliases
        | Call::Timer(_)
        | Call::Loaded => {}
    }
}

impl Drop for Caller {
    /// A panic during a call may have left a commit number that never becomes durable, and every later answer
    /// would wait for it: the system stops instead.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.fail();
        }
    }
}

#[cfg(test)]
mod tests;
