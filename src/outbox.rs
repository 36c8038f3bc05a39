//! What a role wants done: effects, in the order the role asked for them.
//!
//! A role never performs an effect. `node` performs them with tokio, `sim` in virtual time.

mod acm;
mod idms;
mod mc;

use std::{iter, net::SocketAddr, sync::Arc};

use bytes::Bytes;

use crate::{
    api::{
        configuration, connection_details, migration_identity as management, registration,
        system_access,
    },
    diameter::cx,
    entropy::Entropy,
    identity::{McSystemId, SipDatabaseId},
    sip::render::Chunk,
    step::Step,
    store::{Commit, CommitSeq, Mutation, Mutations, Sequencer},
    time::Timestamp,
};

pub use acm::{AcmMessage, AcmReply, UserConfigurationReply};
pub use idms::{IdmsMessage, IdmsNote, PasswordReply, TooManyChecks};
pub use mc::McNote;

/// What a call into a role may use, and where its effects go.
pub struct Context<'a> {
    /// The time of the call.
    pub now: Timestamp,
    /// Randomness.
    pub entropy: &'a mut dyn Entropy,
    /// Where effects go.
    pub out: &'a mut Outbox,
}

/// The effects of one or more calls. Those of a kind are in the order in which they were asked for.
#[derive(Debug)]
pub struct Outbox {
    sequencer: Arc<Sequencer>,
    /// Commits and messages are large and many: apart, so that those of many calls can be performed where they
    /// are, and that what is small is not moved as if it were large.
    pub(crate) commits: Vec<Commit>,
    pub(crate) sends: Vec<Send>,
    others: Vec<Other>,
    storage_available: bool,
    /// Where a role writes parts of SIP messages that it needs for a while.
    pub parts: Chunk,
    /// Where a role writes SIP messages.
    pub messages: Chunk,
}

/// One effect.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "most are messages")]
pub enum Effect {
    /// Make these mutations durable.
    Commit(Commit),
    /// Send a message once everything it relies on is durable.
    Send(Send),
    /// Call `handle_timer` with `timer` at or after `at`.
    Arm {
        /// When.
        at: Timestamp,
        /// With what.
        timer: TimerKey,
    },
    /// A step was performed; for traces, ladders and metrics.
    Step {
        /// Which.
        step: Step,
        /// Who performed it.
        by: Role,
        /// What happened, in a few words without identities.
        summary: &'static str,
    },
    /// Something an operator should know.
    Note(Note),
}

/// The small effects.
#[derive(Debug)]
enum Other {
    Arm { at: Timestamp, timer: TimerKey },
    Step { step: Step, by: Role, summary: &'static str },
    Note(Note),
}

impl From<Other> for Effect {
    #[inline]
    fn from(other: Other) -> Self {
        match other {
            Other::Arm { at, timer } => Self::Arm { at, timer },
            Other::Step { step, by, summary } => Self::Step { step, by, summary },
            Other::Note(note) => Self::Note(note),
        }
    }
}

/// A message with the commit it must wait for.
#[derive(Debug)]
pub struct Send {
    /// The highest commit among the records that the message relies on or discloses.
    pub after: CommitSeq,
    /// The step that the message is, where it is one.
    pub step: Option<Step>,
    /// The message.
    pub message: Message,
}

/// A message, addressed.
#[derive(Debug)]
pub enum Message {
    /// A SIP message, ready for the wire.
    Sip {
        /// Where to.
        flow: Flow,
        /// The octets.
        octets: Bytes,
    },
    /// A SIP request to a server that the role chose, ready for the wire.
    SipRequest {
        /// Where to.
        to: SipTarget,
        /// The octets.
        octets: Bytes,
    },
    /// A Cx request.
    CxRequest {
        /// Where to.
        to: CxDestination,
        /// Under which name the answer comes back.
        id: RequestId,
        /// The request.
        request: cx::Request,
    },
    /// The answer to a Cx request.
    CxAnswer {
        /// Whom to.
        to: ReplyTo,
        /// The answer.
        answer: cx::Answer,
    },
    /// The answer to a management request.
    Management {
        /// Whom to.
        to: ReplyTo,
        /// The answer.
        answer: management::Answer,
    },
    /// A management request of a role to the SIP database of its own system (B1, D1).
    ManagementRequest {
        /// Under which name the answer comes back.
        id: RequestId,
        /// The request.
        request: management::Request,
    },
    /// A1: a UE asks the configuration server of its own system.
    ConnectionDetailsRequest(connection_details::Request),
    /// A2, the answer.
    ConnectionDetails {
        /// Whom to.
        to: ReplyTo,
        /// The answer.
        answer: connection_details::Answer,
    },
    /// C1: a configuration server asks another system's.
    SystemAccessRequest {
        /// Which system.
        to: McSystemId,
        /// Under which name the answer comes back.
        id: RequestId,
        /// The request.
        request: system_access::Request,
    },
    /// C2, the answer.
    SystemAccess {
        /// Whom to.
        to: ReplyTo,
        /// The answer.
        answer: system_access::Answer,
    },
    /// The answer to a management request of a configuration server.
    Configuration {
        /// Whom to.
        to: ReplyTo,
        /// The answer.
        answer: configuration::Answer,
    },
    /// A management request of a role to the configuration server of its own system: what is in force, and what is
    /// to be from now on.
    ConfigurationRequest {
        /// Under which name the answer comes back.
        id: RequestId,
        /// The request.
        request: configuration::Request,
    },
    /// A message of an ACM server.
    Acm(AcmMessage),
    /// A message of an identity management server.
    Idms(IdmsMessage),
    /// The answer to a management request of a SIP core.
    Registration {
        /// Whom to.
        to: ReplyTo,
        /// The answer.
        answer: registration::Answer,
    },
}

/// Where a Cx request goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CxDestination {
    /// The SIP database of this system: a value in the same process, or a configured peer.
    OwnDatabase,
    /// The SIP database of another system.
    Database(SipDatabaseId),
}

/// Who asked a role, as the world authenticated it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Peer {
    /// A SIP core of this system.
    OwnCore,
    /// The SIP database of another system, by the identity of its connection.
    Database(SipDatabaseId),
}

/// A request of a role that waits for an answer.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RequestId {
    /// Who asked.
    pub role: Role,
    /// Drawn by the role; unique among its requests.
    pub number: u64,
}

/// The way back to whoever asked. Consumed by the one answer.
#[derive(Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ReplyTo {
    /// A role of this system.
    Role(RequestId),
    /// Something that the world keeps under this number: a Diameter request, a parked HTTP request.
    World(u64),
}

/// The answer to a [`Message::CxRequest`].
#[derive(Clone, Debug)]
pub struct CxReply {
    /// The name of the request.
    pub id: RequestId,
    /// The answer, or that none can be had.
    pub outcome: Result<cx::Answer, Undeliverable>,
}

/// The answer to a [`Message::ManagementRequest`]. If the SIP database lost the request with a commit that
/// failed, it is [`management::Refusal::Unavailable`].
#[derive(Clone, Debug)]
pub struct ManagementReply {
    /// The name of the request.
    pub id: RequestId,
    /// The answer.
    pub answer: management::Answer,
}

/// The answer to a [`Message::ConfigurationRequest`]. If the configuration server lost the request, it is
/// [`management::Refusal::Unavailable`].
#[derive(Clone, Debug)]
pub struct ConfigurationReply {
    /// The name of the request.
    pub id: RequestId,
    /// The answer.
    pub answer: configuration::Answer,
}

/// The answer to a [`Message::SystemAccessRequest`].
#[derive(Clone, Debug)]
pub struct SystemAccessReply {
    /// The name of the request.
    pub id: RequestId,
    /// The answer, or that none can be had. What is no answer of the interface, such as a 500, is none.
    pub outcome: Result<system_access::Answer, Undeliverable>,
}

/// No answer: the other system could not be reached, or the connection was lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Undeliverable;

/// The roles.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// `acm`.
    Acm,
    /// `config_server`.
    ConfigServer,
    /// `idms`.
    Idms,
    /// `mc_server`.
    McServer,
    /// `sip_core`.
    SipCore,
    /// `sip_database`.
    SipDatabase,
    /// `ue`.
    Ue,
}

/// A two-way path between a SIP entity and its peer.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Flow {
    /// Over what.
    pub transport: Transport,
    /// Our address.
    pub local: SocketAddr,
    /// The peer's address: for a UDP answer, where the Via says it goes.
    pub remote: SocketAddr,
    /// Which connection, for TCP and TLS; zero for UDP.
    pub connection: u64,
}

/// Where a SIP request of our own goes.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SipTarget {
    /// Over what.
    pub transport: Transport,
    /// The server's address.
    pub address: SocketAddr,
}

/// SIP transports.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
    /// A stream over TLS.
    Tls,
}

/// What a role wants to be woken for. A stale version does nothing.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TimerKey {
    /// Whom to wake.
    pub role: Role,
    /// What for.
    pub what: TimerWhat,
    /// The version of the state that the timer is about.
    pub version: u64,
}

/// What a timer is about.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum TimerWhat {
    /// Server transactions may be over (Timer J): one timer for the first of all.
    TransactionsEnd,
    /// Server transactions over UDP may have no final answer yet: time for a 100 (RFC 4320). One timer for the
    /// first of all.
    TransactionsTrying,
    /// Cx requests may have had their time: of the SIP core, or those that the SIP database forwarded. One timer for
    /// the first of all.
    RequestsEnd,
    /// Challenges may not have been answered (reg-await-auth): one timer for the first of all.
    ChallengesEnd,
    /// Answers of the SIP core may have to leave that were held until a common time: one timer for the first of all.
    HeldAnswers,
    /// Contacts may have expired: one timer for the first of all.
    ContactsEnd,
    /// Leases of inbound pairs may have ended: one timer for the first of all.
    InboundLeasesEnd,
    /// Leases of outbound pairs may have ended: one timer for the first of all.
    OutboundLeasesEnd,
    /// Grants of real pairs may have ended: one timer for the first of all.
    GrantsEnd,
    /// A user's request for connection details, or a partner's for access, has had its time.
    MigrationTimeout(u64),
    /// Something is due in an ACM server, such as a repeat or an expiry: one timer for the first of all.
    AcmDue,
    /// Something has expired in an identity management server, or a key is to be made: one timer for the first of all.
    IdmsDue,
    /// SIP requests to other servers may have had their time (Timer F): one timer for the first of all.
    SipRequestsEnd,
    /// SIP requests to other servers over UDP may have to be sent again (Timer E), for so many times they were: one
    /// timer for the first of all of these.
    SipRequestsRepeat(u8),
    /// Bindings of an MC server may have ended: one timer for the first of all.
    McBindingsEnd,
    /// Answers of an MC server need not be kept any more (Timer J): one timer for the first of all.
    McAnswersEnd,
    /// The user agent's retransmission (Timer E).
    UeRetransmit,
    /// The user agent gives the transaction up (Timer F).
    UeGiveUp,
    /// The user agent's refresh is due.
    UeRefresh,
}

/// Something an operator should know: counted, logged, never with an identity.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Note {
    /// A partner asked vectors for a user it has no binding or grant for. A security event.
    VectorRefused {
        /// The partner.
        partner: SipDatabaseId,
    },
    /// A vector was produced for a partner, or for the home core without one.
    VectorIssued {
        /// The partner.
        partner: Option<SipDatabaseId>,
    },
    /// A UE answered a challenge with a wrong response.
    AuthenticationFailed,
    /// A user that does not exist, or may not be here, was challenged in place of a refusal. A security event.
    DecoyChallenge,
    /// The answer to a first REGISTER was found after the common time at which such answers leave, and leaves at the
    /// next one: a UE can tell that it took long. A security event.
    AnswerLate,
    /// A UE sent AUTS, and SQN was moved ahead.
    Resynchronised,
    /// A UE's SQN is behind by more than delta, and SQN was moved back: a new epoch.
    SqnMovedBack,
    /// A UE sent AUTS whose MAC-S does not verify.
    ResynchronisationRefused,
    /// A peer on CSC-17 presented no credential that counts, or spoke for another system. A security event.
    PeerRefused {
        /// The peer that it claimed to be, if there is one of this name.
        peer: Option<McSystemId>,
        /// What was wrong.
        reason: &'static str,
    },
    /// A user did not get to a partner because of the set-up of this system or the partner's.
    AccessMisconfigured {
        /// The partner.
        partner: McSystemId,
        /// What is wrong.
        what: &'static str,
    },
    /// A transaction came again with another content. A security event.
    TransactionConflict {
        /// From whom.
        partner: McSystemId,
    },
    /// A request to an ACM server was refused, other than for trouble here. A security event.
    RequestRefused {
        /// The partner whose it is; `None` for an ACM client's, or where that is not known.
        partner: Option<McSystemId>,
        /// What was wrong.
        why: &'static str,
    },
    /// A partner's request names a target user and a functional alias that this user has not activated; the user gets it.
    /// A security event.
    AliasMismatch {
        /// From whom.
        partner: McSystemId,
    },
    /// What was accepted of a partner is not in force: the configuration server does not answer, or cannot now. It is asked
    /// again and again, and the partner is told nothing before it has done it.
    EffectDelayed {
        /// The partner.
        partner: McSystemId,
    },
    /// A partner answered a transaction that is not known here; the answer is kept.
    StrayResponse {
        /// The partner.
        partner: McSystemId,
    },
    /// A partner never took the response to its transaction; it is no longer sent.
    ResponseUndelivered {
        /// The partner.
        partner: McSystemId,
    },
    /// An application server did not take a third-party REGISTER.
    ApplicationServerFailed {
        /// What came in place of a 200.
        why: &'static str,
    },
    /// Something the operator of an identity management server should know.
    Idms(IdmsNote),
    /// Something the operator of an MC server should know.
    Mc(McNote),
    /// A table is at its named maximum.
    TableFull(&'static str),
    /// An attempt to register was over a limit.
    Limited(Limit),
    /// A user became registered (`true`) or ceased to be (`false`).
    Registered(bool),
}

/// What is limited.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Limit {
    /// Requests of one source.
    Source,
    /// Vectors for one private identity.
    Identity,
    /// Challenges of one user that wait for their answer.
    Challenges,
}

impl Limit {
    /// Its name in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Identity => "identity",
            Self::Challenges => "challenges",
        }
    }
}

impl Outbox {
    /// Creates an empty outbox that draws commit numbers from `sequencer`.
    pub fn new(sequencer: Arc<Sequencer>) -> Self {
        Self {
            sequencer,
            commits: Vec::new(),
            sends: Vec::new(),
            others: Vec::new(),
            storage_available: true,
            parts: Chunk::default(),
            messages: Chunk::default(),
        }
    }

    /// Tells roles whether the storage takes changes; while it does not they refuse state changes.
    pub fn set_storage_available(&mut self, available: bool) {
        self.storage_available = available;
    }

    /// Whether the storage takes changes. If not, answer 503, 3004 or [`management::Refusal::Unavailable`].
    pub const fn storage_available(&self) -> bool {
        self.storage_available
    }

    /// Asks for `mutations` to become durable together. The caller holds the locks of all entries
    /// they concern, keeps the number in each of the records, and sends what relies on them after it.
    pub fn commit(&mut self, mutations: impl IntoIterator<Item = Mutation>) -> CommitSeq {
        let mut together = Mutations::new();
        for mutation in mutations {
            together.push(mutation); // one as a rule, for which `collect` takes several times as long
        }
        self.commit_together(together)
    }

    /// As [`Self::commit`], for who has them together.
    #[inline]
    pub fn commit_together(&mut self, mutations: Mutations) -> CommitSeq {
        let seq = self.sequencer.draw();
        // Made where it is kept, as a message is.
        self.commits.extend(iter::once_with(|| Commit { seq, mutations }));
        seq
    }

    /// The latest commit drawn so far, whoever drew it: what waits for it relies on all that it may have read.
    pub fn latest_commit(&self) -> CommitSeq {
        self.sequencer.last()
    }

    /// Sends `message`, which is `step`, after everything up to `after` is durable. `after` is the
    /// highest number among the records read; [`CommitSeq::NOTHING`] if the message relies on none.
    #[inline]
    pub fn send_after(&mut self, after: CommitSeq, step: Option<Step>, message: Message) {
        #[cfg(feature = "planted-bugs")]
        let after = if crate::planted::is_armed(crate::planted::Bug::ReplyBeforeCommit) {
            CommitSeq::NOTHING
        } else {
            after
        };
        self.sends.push(Send { after, step, message });
    }

    /// Asks to be woken.
    pub fn arm(&mut self, at: Timestamp, timer: TimerKey) {
        self.others.push(Other::Arm { at, timer });
    }

    /// Reports a step that is not itself a message.
    pub fn step(&mut self, step: Step, by: Role, summary: &'static str) {
        self.others.push(Other::Step { step, by, summary });
    }

    /// Reports something an operator should know.
    pub fn note(&mut self, note: Note) {
        self.others.push(Other::Note(note));
    }

    /// Whether there is nothing to perform.
    pub fn is_empty(&self) -> bool {
        self.commits.is_empty() && self.sends.is_empty() && self.others.is_empty()
    }

    /// Forgets the effects.
    pub fn clear(&mut self) {
        self.commits.clear();
        self.sends.clear();
        self.others.clear();
    }

    /// The messages, oldest first.
    pub fn sends(&self) -> &[Send] {
        &self.sends
    }

    /// Takes the effects out: commits, then timers, steps and notes, then messages, of each the oldest first.
    pub fn drain(&mut self) -> impl Iterator<Item = Effect> {
        let others = self.others.drain(..).map(Effect::from);
        let commits = self.commits.drain(..).map(Effect::Commit);
        commits.chain(others).chain(self.sends.drain(..).map(Effect::Send))
    }

    /// Gives what is neither commit nor message to `perform`.
    #[cfg(feature = "node")]
    pub(crate) fn perform_others(&mut self, perform: impl FnMut(Effect)) {
        self.others.drain(..).map(Effect::from).for_each(perform);
    }
}
