//! What is counted, in one registry for each system.
//!
//! Names begin with `migcore_`; counters end in `_total` and count events since the start. Labels
//! name systems, codes and steps, never users. The roles have no say here: the counts follow from
//! the effects that pass.

mod ready;

use std::{
    fmt::{self, Write},
    sync::atomic::AtomicI64,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use self::ready::Ready;
use crate::{
    diameter::cx::ResultCode,
    identity::{McSystemId, SipDatabaseId},
    outbox::{IdmsNote, McNote, Note, Transport},
    sip_database::Leases,
    step::{Procedure, Step},
};

/// Steps of a procedure that are counted by number.
const STEPS: usize = 26;

/// The Cx commands that come with every registration.
const COMMANDS: [&str; 2] = ["MAR", "SAR"];

/// The number of a Cx command.
fn number_of(command: &str) -> usize {
    COMMANDS.iter().position(|known| *known == command).unwrap_or(usize::MAX)
}

/// Notes that come with every registration.
const NOTES: usize = 3;

/// The counters and gauges of one system.
pub struct Metrics {
    registry: Registry,
    /// SIP messages that passed the sockets.
    sip_messages: Ready<SipMessage>,
    /// SIP responses sent, by status code.
    sip_responses: Ready<StatusCode>,
    /// TCP connections open for SIP.
    pub tcp_connections: Gauge,
    /// HTTP connections open, by listener.
    pub http_connections: Family<Listener, Gauge>,
    /// Cx requests, by the peer they went to or came from.
    pub cx_requests: Family<CxRequest, Counter>,
    /// Cx answers, by result.
    pub cx_answers: Family<CxAnswer, Counter>,
    /// Those of them that are exchanged within this system.
    own_requests: Ready<CxRequest>,
    own_answers: Ready<CxAnswer>,
    /// Vectors received from the SIP databases of other systems.
    pub vectors_fetched: Family<Peer, Counter>,
    /// Vectors produced, by the system that asked for them.
    vectors_issued: Ready<Peer>,
    /// Diameter connections open, by peer: 0 or 1.
    pub diameter_open: Family<Peer, Gauge>,
    /// Messages sent and actions done, by the step of a procedure that they belong to.
    steps: Ready<StepLabel>,
    /// Users registered.
    pub registrations: Gauge,
    /// Things an operator should know, security events among them.
    notes: Ready<NoteLabel>,
    /// Commits made durable.
    pub commits: Counter,
    /// Commits that the storage refused.
    pub commit_failures: Counter,
    /// How long the storage took to make commits durable that came together, seconds; not for one in
    /// memory.
    pub commit_seconds: Histogram,
    /// Commits that wait for the storage.
    pub commits_queued: Gauge<i64, AtomicI64>,
    /// Leases of migration identities, by direction and state.
    pub leases: Family<LeaseLabel, Gauge<i64, AtomicI64>>,
    /// Listed migration identities in quarantine.
    pub identities_resting: Gauge<i64, AtomicI64>,
    /// Public identities authorised at the MC server, by service.
    pub service_authorisations: Family<ServiceLabel, Gauge<i64, AtomicI64>>,
    /// Whether the storage takes changes: 0 or 1.
    pub storage_available: Gauge,
    /// Requests from the wire and from HTTP that wait for an answer.
    pub waiting: Gauge<i64, AtomicI64>,
    /// Timers armed.
    pub timers: Gauge<i64, AtomicI64>,
    /// Management requests, by operation and HTTP status.
    pub management_requests: Family<ManagementRequest, Counter>,
    /// Requests on CSC-4 and CSC-17, by interface, operation and HTTP status.
    pub csc_requests: Family<CscRequest, Counter>,
    /// Access requests to partners, by partner and outcome.
    pub partner_requests: Family<PartnerRequest, Counter>,
    /// Requests of ACM clients and of ACM servers of other systems, by interface, operation and HTTP status.
    pub acm_requests: Family<CscRequest, Counter>,
    /// Requests to ACM servers of partners, by partner and outcome.
    pub acm_partner_requests: Family<PartnerRequest, Counter>,
    /// Messages dropped and connections cut, by reason.
    pub dropped: Family<Dropped, Counter>,
    /// Requests refused at a glance, because more came than could be served.
    pub overload_refused: Family<RefusedRequest, Counter>,
    /// Datagrams dropped without an answer, from who sent more than a share while more came than could be served.
    pub overload_dropped: Counter,
    /// Requests that waited for their turn.
    pub overload_waited: Counter,
    /// Requests that wait for their turn.
    pub overload_waiting: Gauge<i64, AtomicI64>,
    /// Attempts over a limit, by which one.
    pub limited: Family<Limited, Counter>,
}

impl Metrics {
    /// Creates the registry with everything in it at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("migcore");
        let (cx_requests, cx_answers) = (Family::default(), Family::default());
        let mut metrics = Self {
            sip_messages: Ready::new(6),
            sip_responses: Ready::new(700),
            tcp_connections: Gauge::default(),
            http_connections: Family::default(),
            own_requests: Ready::over(Family::clone(&cx_requests), COMMANDS.len()),
            own_answers: Ready::over(Family::clone(&cx_answers), COMMANDS.len()),
            cx_requests,
            cx_answers,
            vectors_fetched: Family::default(),
            vectors_issued: Ready::new(1),
            diameter_open: Family::default(),
            steps: Ready::new(STEPS),
            registrations: Gauge::default(),
            notes: Ready::new(NOTES),
            commits: Counter::default(),
            commit_failures: Counter::default(),
            commit_seconds: Histogram::new(exponential_buckets(0.000_05, 2.0, 18)),
            commits_queued: Gauge::default(),
            leases: Family::default(),
            identities_resting: Gauge::default(),
            service_authorisations: Family::default(),
            storage_available: Gauge::default(),
            waiting: Gauge::default(),
            timers: Gauge::default(),
            management_requests: Family::default(),
            csc_requests: Family::default(),
            partner_requests: Family::default(),
            acm_requests: Family::default(),
            acm_partner_requests: Family::default(),
            dropped: Family::default(),
            overload_refused: Family::default(),
            overload_dropped: Counter::default(),
            overload_waited: Counter::default(),
            overload_waiting: Gauge::default(),
            limited: Family::default(),
            registry: Registry::default(),
        };
        metrics.register_traffic(&mut registry);
        metrics.register_state(&mut registry);
        metrics.register_overload(&mut registry);
        metrics.registry = registry;
        metrics
    }

    fn register_traffic(&self, registry: &mut Registry) {
        registry.register(
            "sip_messages",
            "SIP messages that passed the sockets",
            self.sip_messages.family().clone(),
        );
        registry.register(
            "sip_responses",
            "SIP responses sent",
            self.sip_responses.family().clone(),
        );
        registry.register(
            "cx_requests",
            "Diameter Cx requests sent and received; peer \"own\" is this system",
            self.cx_requests.clone(),
        );
        registry.register(
            "cx_answers",
            "Diameter Cx answers sent and received; result e5001 is an Experimental-Result",
            self.cx_answers.clone(),
        );
        registry.register(
            "vectors_fetched",
            "Authentication vectors received from SIP databases of other systems",
            self.vectors_fetched.clone(),
        );
        registry.register(
            "vectors_issued",
            "Authentication vectors produced; peer \"own\" is the SIP core of this system",
            self.vectors_issued.family().clone(),
        );
        registry.register(
            "steps",
            "Messages sent and actions done, by the step of a procedure that they belong to",
            self.steps.family().clone(),
        );
        registry.register(
            "management_requests",
            "Requests on the management interface",
            self.management_requests.clone(),
        );
        registry.register(
            "csc_requests",
            "Requests on CSC-4 and CSC-17, to the configuration management server",
            self.csc_requests.clone(),
        );
        registry.register(
            "partner_requests",
            "Access requests to configuration management servers of other systems, by how they ended",
            self.partner_requests.clone(),
        );
        registry.register(
            "acm_requests",
            "Requests of ACM clients and of ACM servers of other systems, to the ACM server",
            self.acm_requests.clone(),
        );
        registry.register(
            "acm_partner_requests",
            "Requests to ACM servers of other systems, by how they ended",
            self.acm_partner_requests.clone(),
        );
        registry.register("dropped", "Messages dropped and connections cut", self.dropped.clone());
    }

    fn register_state(&self, registry: &mut Registry) {
        registry.register(
            "sip_tcp_connections",
            "TCP connections open for SIP",
            self.tcp_connections.clone(),
        );
        registry.register(
            "http_connections",
            "HTTP connections open",
            self.http_connections.clone(),
        );
        registry.register(
            "diameter_connections",
            "Diameter connections open",
            self.diameter_open.clone(),
        );
        registry.register(
            "registrations",
            "Users registered in the SIP core",
            self.registrations.clone(),
        );
        registry.register(
            "notes",
            "Things an operator should know; vector_refused, peer_refused and authentication_failed are security events",
            self.notes.family().clone(),
        );
        registry.register("commits", "Commits made durable", self.commits.clone());
        registry.register(
            "commit_failures",
            "Commits that the storage refused",
            self.commit_failures.clone(),
        );
        registry.register(
            "commit_seconds",
            "How long the storage took to make commits durable that came together",
            self.commit_seconds.clone(),
        );
        registry.register(
            "commits_queued",
            "Commits that wait for the storage",
            self.commits_queued.clone(),
        );
        registry.register(
            "leases",
            "Migration identities lent; active ones are registered in this system",
            self.leases.clone(),
        );
        registry.register(
            "identities_resting",
            "Listed migration identities in quarantine",
            self.identities_resting.clone(),
        );
        registry.register(
            "service_authorisations",
            "Public identities that are authorised at the MC server",
            self.service_authorisations.clone(),
        );
        registry.register(
            "storage_available",
            "Whether the storage takes changes: 1 if so",
            self.storage_available.clone(),
        );
        registry.register(
            "requests_waiting",
            "Requests from Diameter peers and from HTTP that wait for an answer",
            self.waiting.clone(),
        );
        registry.register("timers", "Timers armed", self.timers.clone());
    }

    fn register_overload(&self, registry: &mut Registry) {
        registry.register(
            "overload_refused",
            "SIP requests refused with 503 because more came than could be served",
            self.overload_refused.clone(),
        );
        registry.register(
            "overload_dropped",
            "SIP datagrams dropped from who sent more than a share while more came than could be served",
            self.overload_dropped.clone(),
        );
        registry.register(
            "overload_waited",
            "SIP requests that waited for their turn because more came than could be served at once",
            self.overload_waited.clone(),
        );
        registry.register(
            "overload_waiting",
            "SIP requests that wait for their turn",
            self.overload_waiting.clone(),
        );
        registry.register(
            "limited",
            "Attempts to register over a limit: of a source, of an identity, of challenges that wait",
            self.limited.clone(),
        );
    }

    /// Counts a SIP message.
    pub fn sip_message(&self, direction: Direction, transport: Transport) {
        let number = match (direction, transport) {
            (Direction::In, Transport::Udp) => 0,
            (Direction::In, Transport::Tcp) => 1,
            (Direction::Out, Transport::Udp) => 2,
            (Direction::Out, Transport::Tcp) => 3,
            (Direction::In, Transport::Tls) => 4,
            (Direction::Out, Transport::Tls) => 5,
        };
        self.sip_messages.inc(number, || SipMessage::new(direction, transport));
    }

    /// Counts a SIP response sent.
    pub fn sip_response(&self, code: u16) {
        self.sip_responses.inc(code.into(), || StatusCode { code });
    }

    /// Counts a Cx request to the SIP database of this system, as a value.
    pub fn own_request(&self, command: &'static str) {
        let labels = || CxRequest { direction: Direction::Out, command, peer: PeerName(None) };
        self.own_requests.inc(number_of(command), labels);
    }

    /// Counts the answer to one.
    pub fn own_answer(&self, command: &'static str, result: ResultCode) {
        let result_label = CxResult(Some(result));
        let (direction, peer) = (Direction::Out, PeerName(None));
        let labels = || CxAnswer { direction, command, result: result_label, peer };
        let is_success = result == ResultCode::SUCCESS;
        self.own_answers.inc(if is_success { number_of(command) } else { usize::MAX }, labels);
    }

    /// Counts a step.
    pub fn step(&self, step: Step) {
        let number = match step.procedure {
            Procedure::Migration => step.number.into(),
            Procedure::ConfigurationExchange
            | Procedure::GroupProvision
            | Procedure::ConfigurationUpdate
            | Procedure::IsolatedMigration => usize::MAX,
        };
        self.steps.inc(number, || StepLabel::of(step));
    }

    /// Counts a note.
    pub fn note(&self, note: &Note) {
        match note {
            Note::VectorIssued { partner } => {
                let number = usize::from(partner.is_some());
                self.vectors_issued.inc(number, || Peer::of(partner.as_ref()));
            }
            Note::Limited(limit) => {
                self.limited.get_or_create(&Limited { limit: limit.as_str() }).inc();
            }
            Note::Registered(_)
            | Note::VectorRefused { .. }
            | Note::AuthenticationFailed
            | Note::DecoyChallenge
            | Note::AnswerLate
            | Note::Resynchronised
            | Note::SqnMovedBack
            | Note::ResynchronisationRefused
            | Note::PeerRefused { .. }
            | Note::AccessMisconfigured { .. }
            | Note::TransactionConflict { .. }
            | Note::RequestRefused { .. }
            | Note::AliasMismatch { .. }
            | Note::EffectDelayed { .. }
            | Note::StrayResponse { .. }
            | Note::ResponseUndelivered { .. }
            | Note::Idms(_)
            | Note::Mc(_)
            | Note::ApplicationServerFailed { .. }
            | Note::TableFull(_) => {}
        }
        let number = match note {
            Note::VectorIssued { .. } => 0,
            Note::Registered(true) => 1,
            Note::Registered(false) => 2,
            Note::VectorRefused { .. }
            | Note::AuthenticationFailed
            | Note::DecoyChallenge
            | Note::AnswerLate
            | Note::Resynchronised
            | Note::SqnMovedBack
            | Note::ResynchronisationRefused
            | Note::PeerRefused { .. }
            | Note::AccessMisconfigured { .. }
            | Note::TransactionConflict { .. }
            | Note::RequestRefused { .. }
            | Note::AliasMismatch { .. }
            | Note::EffectDelayed { .. }
            | Note::StrayResponse { .. }
            | Note::ResponseUndelivered { .. }
            | Note::Idms(_)
            | Note::Mc(_)
            | Note::ApplicationServerFailed { .. }
            | Note::TableFull(_)
            | Note::Limited(_) => NOTES,
        };
        self.notes.inc(number, || NoteLabel { note: note_name(note) });
    }

    /// Sets how many leases there are.
    pub fn set_leases(&self, direction: &'static str, leases: Leases) {
        for (state, count) in [("reserved", leases.reserved), ("active", leases.active)] {
            let gauge = self.leases.get_or_create(&LeaseLabel { direction, state });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Counts something dropped.
    pub fn drop_one(&self, reason: &'static str) {
        self.dropped.get_or_create(&Dropped { reason }).inc();
    }

    /// Writes everything in the `OpenMetrics` text format.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        match text::encode(&mut out, &self.registry) {
            Ok(()) => out,
            // A String takes everything; an error would be one of the encoder itself.
            Err(fmt::Error) => String::new(),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// The name of a note as a label: the same words as in logs.
pub const fn note_name(note: &Note) -> &'static str {
    match note {
        Note::VectorRefused { .. } => "vector_refused",
        Note::VectorIssued { .. } => "vector_issued",
        Note::AuthenticationFailed => "authentication_failed",
        Note::DecoyChallenge => "decoy_challenge",
        Note::AnswerLate => "answer_late",
        Note::Resynchronised => "resynchronised",
        Note::SqnMovedBack => "sqn_moved_back",
        Note::ResynchronisationRefused => "resynchronisation_refused",
        Note::PeerRefused { .. } => "peer_refused",
        Note::AccessMisconfigured { .. } => "access_misconfigured",
        Note::TransactionConflict { .. } => "transaction_conflict",
        Note::RequestRefused { .. } => "request_refused",
        Note::AliasMismatch { .. } => "alias_mismatch",
        Note::EffectDelayed { .. } => "effect_delayed",
        Note::StrayResponse { .. } => "stray_response",
        Note::ResponseUndelivered { .. } => "response_undelivered",
        Note::Idms(IdmsNote::Refused(_)) => "tokens_refused",
        Note::Idms(IdmsNote::LogIn(true)) => "logged_in",
        Note::Idms(IdmsNote::LogIn(false)) => "log_in_failed",
        Note::Idms(IdmsNote::SecurityTokenIssued { .. }) => "security_token_issued",
        Note::Idms(IdmsNote::SecurityTokenTaken { .. }) => "security_token_taken",
        Note::Idms(IdmsNote::RefreshTokenReused(_)) => "refresh_token_reused",
        Note::Idms(IdmsNote::TrustImported { .. }) => "trust_imported",
        Note::Idms(IdmsNote::TrustRevoked { .. }) => "trust_revoked",
        Note::Idms(IdmsNote::VisitsChanged { may_come: true, .. }) => "visit_allowed",
        Note::Idms(IdmsNote::VisitsChanged { may_come: false, .. }) => "visit_denied",
        Note::Idms(IdmsNote::KeyMade(_)) => "key_made",
        Note::Mc(McNote::Authorised(_, true)) => "service_authorised",
        Note::Mc(McNote::Authorised(_, false)) => "service_logged_off",
        Note::Mc(McNote::Refused(..)) => "service_authorisation_refused",
        Note::Mc(McNote::StrangerRefused) => "stranger_refused",
        Note::ApplicationServerFailed { .. } => "application_server_failed",
        Note::TableFull(_) => "table_full",
        Note::Limited(_) => "limited",
        Note::Registered(true) => "registered",
        Note::Registered(false) => "deregistered",
    }
}

/// Which way a message went.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To us.
    In,
    /// From us.
    Out,
}

impl EncodeLabelValue for Direction {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(match self {
            Self::In => "in",
            Self::Out => "out",
        })
    }
}

/// Labels of `sip_messages`.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct SipMessage {
    direction: Direction,
    transport: &'static str,
}

impl SipMessage {
    /// The labels of a message.
    pub const fn new(direction: Direction, transport: Transport) -> Self {
        let transport = match transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
        };
        Self { direction, transport }
    }
}

/// Label of `sip_responses`.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct StatusCode {
    /// The status code.
    pub code: u16,
}

/// Label of `http_connections`.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct Listener {
    /// For what it listens.
    pub listener: &'static str,
}

/// Label of what concerns one other system.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct Peer {
    peer: PeerName,
}

impl Peer {
    /// The label of a system; `None` is this one.
    pub fn of(database: Option<&SipDatabaseId>) -> Self {
        Self { peer: PeerName(database.cloned()) }
    }
}

/// The name of another system, or `own`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct PeerName(pub Option<SipDatabaseId>);

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_ref().map_or("own", SipDatabaseId::as_str))
    }
}

impl EncodeLabelValue for PeerName {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        write!(encoder, "{self}")
    }
}

/// Labels of `cx_requests`.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct CxRequest {
    /// Which way.
    pub direction: Direction,
    /// MAR or SAR.
    pub command: &'static str,
    /// To or from whom.
    pub peer: PeerName,
}

/// Labels of `cx_answers`.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct CxAnswer {
    /// Which way.
    pub direction: Direction,
    /// MAR or SAR.
    pub command: &'static str,
    /// How it ended.
    pub result: CxResult,
    /// To or from whom.
    pub peer: PeerName,
}

/// A result as a label: `2001`, `e5001` for an Experimental-Result, `none` without an answer.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct CxResult(pub Option<ResultCode>);

impl fmt::Display for CxResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(ResultCode::Base(code)) => write!(f, "{code}"),
            Some(ResultCode::Experimental(code)) => write!(f, "e{code}"),
            None => f.write_str("none"),
        }
    }
}

impl EncodeLabelValue for CxResult {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        write!(encoder, "{self}")
    }
}

/// Labels of `leases`.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct LeaseLabel {
    /// `inbound` or `outbound`.
    direction: &'static str,
    /// `reserved` or `active`.
    state: &'static str,
}

/// Label of `steps`.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct StepLabel {
    step: StepName,
}

impl StepLabel {
    /// The label of `step`.
    pub const fn of(step: Step) -> Self {
        Self { step: StepName(step) }
    }
}

/// A step as a label: `MIG-15`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct StepName(Step);

impl EncodeLabelValue for StepName {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        write!(encoder, "{}", self.0)
    }
}

/// Label of `service_authorisations`.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct ServiceLabel {
    /// The service.
    pub service: &'static str,
}

/// Label of `notes`.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct NoteLabel {
    note: &'static str,
}

/// Labels of `management_requests`.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct ManagementRequest {
    /// The operation, as the interface description names it.
    pub operation: &'static str,
    /// The HTTP status.
    pub status: u16,
}

/// Labels of `csc_requests` and of `acm_requests`.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct CscRequest {
    /// `csc-4`, `csc-17`, `acm-client` or `acm-partner`.
    pub interface: &'static str,
    /// The operation, as the path names it.
    pub operation: &'static str,
    /// The HTTP status.
    pub status: u16,
}

/// Labels of `partner_requests` and of `acm_partner_requests`.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct PartnerRequest {
    /// The MC system ID of the partner.
    pub partner: PartnerId,
    /// How it ended: `granted`, the name of a refusal, or why there is no answer.
    pub outcome: &'static str,
}

/// An MC system ID as a label.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct PartnerId(pub McSystemId);

impl EncodeLabelValue for PartnerId {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.0.as_str())
    }
}

/// Label of `dropped`.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct Dropped {
    reason: &'static str,
}

/// Label of `overload_refused`.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct RefusedRequest {
    /// `challenge_answer` or `other`.
    pub request: &'static str,
}

/// Label of `limited`.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub struct Limited {
    limit: &'static str,
}
