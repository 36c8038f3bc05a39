//! The SIP database (HSS) of an MC system: it authenticates this system's subscribers at home and in
//! partner systems, and lends migration identities to its own users and to those of partners.
//!
//! Source: 3GPP TR 23.781 solution 2, steps 5, 6, 10, 11 and 16 to 21; Cx as of TS 29.228 and TS 29.229.
//!
//! **Locks.** An operation that changes several tables holds one lock of each and takes them in this
//! order: `pools`, `withdrawn`, `visits`, `inbound_users`, `subscribers`, `public`, `outbound`, `inbound`,
//! `listed`, the state of one pool, `grant_ends`, `outbound_ends`, `inbound_ends`. No lock is held across a
//! second entry of the same table.
//! An outbound binding changes under its user's entry in `visits`; an inbound one is created and removed
//! under its user's entry in `inbound_users`. An agreement is withdrawn under the lock of `withdrawn`,
//! which whoever lends or makes a vector holds for reading until that is done. A listed pair that returns
//! gets its new place in `listed` before it is in its pool again. Commit numbers are drawn under these
//! locks.
//!
//! **What is not there** may have been removed by a commit that is not durable yet: an answer that
//! relies on an absence waits for the latest removal (`removed`). A withdrawn agreement counts as removed.
//! What a Cx request is declined for is a record that is there as often (`Declined`). The management
//! interface is in no such hurry: where it tells of more than a record, its answer waits for the latest
//! commit of all.

mod agreement;
mod assignment;
mod bound;
mod check;
mod digest;
mod expiry;
mod forward;
mod identity_view;
mod inbound;
mod lease;
mod lease_counts;
mod lending;
mod listed;
mod load;
mod management;
mod mapping;
mod outbound;
mod permutation;
mod pool;
mod provision;
mod provision_many;
mod provision_pool;
mod references;
mod shapes;
mod stored;
mod stored_secret;
mod subscriber;
mod template;
mod vectors;
mod visits;

use std::{
    sync::{Arc, Mutex, RwLock},
    time::Duration,
};

pub use lease_counts::Leases;
pub use permutation::Permutation;
pub use references::{Contradiction, References};
pub use stored::StoredRecord;

use self::{
    agreement::Withdrawn,
    bound::{Bound, Mark},
    digest::DigestSubscriber,
    forward::Forward,
    inbound::InboundBinding,
    lease_counts::LeaseCounts,
    listed::Place,
    load::Loading,
    outbound::OutboundBinding,
    pool::Pools,
    shapes::Shapes,
    subscriber::{SqnProfile, Subscriber, ind_bits_within},
    visits::Visits,
};
use crate::{
    aka::IND_BITS_DEFAULT,
    api::migration_identity as management_api,
    deadlines::Deadlines,
    diameter::cx::{self, ResultCode},
    entropy::Entropy,
    identity::{Impi, Impu, SipDatabaseId},
    outbox::{Context, CxReply, Message, Peer, ReplyTo, Role, TimerKey, TimerWhat},
    packed::{Index, PackedTable},
    patience::Patience,
    step::Step,
    store::CommitSeq,
    table::{Table, new_table},
};

/// Subscribers, unless configured otherwise.
pub const SUBSCRIBERS_MAX: usize = 20_000_000;
/// Bindings of each direction, unless configured otherwise.
pub const BINDINGS_MAX: usize = 20_000_000;
/// Identities in all listed pools together, unless configured otherwise.
pub const LISTED_IDENTITIES_MAX: usize = 20_000_000;
/// Vector requests that wait for another system's answer, unless configured otherwise.
pub const PENDING_FORWARDS_MAX: usize = 65_536;
/// Agreements withdrawn, ever, unless configured otherwise. An agreement is withdrawn once, and its number
/// takes some 30 octets.
pub const WITHDRAWN_AGREEMENTS_MAX: usize = 4_000_000;
/// Pools of a SIP database.
pub const POOLS_MAX: usize = 64;
/// Public identities of one subscriber.
pub const IMPUS_PER_SUBSCRIBER_MAX: usize = 32;
/// Partners at which one subscriber has an outbound binding or a grant.
pub const PARTNERS_PER_SUBSCRIBER_MAX: usize = 64;
/// Longest pool name, octets.
pub const POOL_NAME_OCTETS_MAX: usize = 64;

/// How a SIP database is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its own Diameter identity.
    pub database: SipDatabaseId,
    /// The domain of this system, in lower case: realm of every private and host of every public
    /// identity that it lends.
    pub domain: String,
    /// Bits of SQN that are IND: 3 to 8; what is outside counts as the nearest (TS 33.102 annex C.3). After a
    /// change of it SQNs go on above those of before.
    pub ind_bits: u8,
    /// SEQs that one commit reserves for a subscriber; at least 1.
    pub sqn_range: u64,
    /// How long a lent identity stays reserved for a user who is not registered with it; a registration
    /// keeps at least half of it. More than twice the longest registration.
    pub reserved_lease: Duration,
    /// The least quarantine of listed inbound pools: the longest registration and reg-await-auth, after which
    /// nobody is registered with a returned pair.
    pub inbound_quarantine_min: Duration,
    /// The least quarantine of listed outbound pools: as long as a partner may take a returned pair for its
    /// last holder's.
    pub outbound_quarantine_min: Duration,
    /// How long a forwarded vector request may take.
    pub vector_timeout: Duration,
    /// Whether RAND is drawn again until RES has no octet 00, which some SIP stacks take for its end.
    pub avoid_zero_octet_in_res: bool,
    /// See [`SUBSCRIBERS_MAX`].
    pub subscribers_max: usize,
    /// See [`BINDINGS_MAX`].
    pub bindings_max: usize,
    /// See [`LISTED_IDENTITIES_MAX`].
    pub listed_identities_max: usize,
    /// See [`PENDING_FORWARDS_MAX`].
    pub pending_forwards_max: usize,
    /// See [`WITHDRAWN_AGREEMENTS_MAX`].
    pub withdrawn_agreements_max: usize,
}

impl Config {
    /// The configuration of the SIP database `database` of the system `domain`, all else as usual. Which
    /// quarantine is long enough depends on SIP cores and partners: any is, unless said otherwise.
    pub fn new(database: SipDatabaseId, domain: &str) -> Self {
        Self {
            database,
            domain: domain.to_ascii_lowercase(),
            ind_bits: IND_BITS_DEFAULT,
            sqn_range: 32,
            // a day more than the pause of 30 days that a user may make between steps 13 and 14
            reserved_lease: Duration::from_secs(31 * 24 * 3_600),
            inbound_quarantine_min: Duration::ZERO,
            outbound_quarantine_min: Duration::ZERO,
            vector_timeout: Duration::from_secs(4),
            avoid_zero_octet_in_res: false,
            subscribers_max: SUBSCRIBERS_MAX,
            bindings_max: BINDINGS_MAX,
            listed_identities_max: LISTED_IDENTITIES_MAX,
            pending_forwards_max: PENDING_FORWARDS_MAX,
            withdrawn_agreements_max: WITHDRAWN_AGREEMENTS_MAX,
        }
    }

    const fn sqn_profile(&self) -> SqnProfile {
        SqnProfile { ind_bits: ind_bits_within(self.ind_bits), range: self.sqn_range }
    }
}

/// The SIP database role. Shared by all workers; see the module on locks.
#[derive(Debug)]
pub struct SipDatabase {
    config: Config,
    /// This system's subscribers.
    subscribers: Table<Impi, Box<Subscriber>>,
    /// Subscribers with a password in place of a key.
    digest_subscribers: Table<Impi, DigestSubscriber>,
    /// Of both kinds.
    subscribers_bound: Bound,
    /// Whose a provisioned public identity is: a subscriber's or a listed pair's.
    public: Table<Impu, Impi>,
    /// Of the identities in [`Self::subscribers`], [`Self::digest_subscribers`], [`Self::public`] and [`Self::listed`].
    provisioned: Shapes,
    /// Where each subscriber may be, by its real private identity.
    visits: PackedTable<Visits>,
    grant_ends: Deadlines,
    /// Outbound bindings by outbound private identity.
    outbound: PackedTable<OutboundBinding>,
    outbound_bound: Bound,
    outbound_ends: Deadlines,
    outbound_leases: LeaseCounts,
    /// The inbound binding of each user of another system ([`inbound::InboundUser`]).
    inbound_users: Index,
    /// Inbound bindings by inbound private identity.
    inbound: PackedTable<InboundBinding>,
    inbound_bound: Bound,
    inbound_ends: Deadlines,
    inbound_leases: LeaseCounts,
    /// All listed pairs, lent or not.
    listed: Table<Impi, ListedPair>,
    listed_bound: Bound,
    /// Held for reading while one thing is provisioned, for writing while many are by one request. Taken
    /// before all other locks.
    provisioning: RwLock<()>,
    pools: RwLock<Pools>,
    withdrawn: RwLock<Withdrawn>,
    /// Vector requests forwarded and not answered, by request number.
    forwards: Patience<Forward>,
    forwards_bound: Bound,
    /// The latest commit that removed something.
    removed: Mark,
    /// What the role had to mend after loading; everything that leaves relies on it.
    mended: Mark,
    loading: Mutex<Loading>,
}

/// A listed pair's pool and second half.
#[derive(Debug)]
struct ListedPair {
    pool: Arc<str>,
    impu: Impu,
    /// Where it is in the pool, unless it is lent.
    place: Place,
}

impl SipDatabase {
    /// Creates an empty SIP database. The hashers' keys and the numbers of its requests come from
    /// `entropy`.
    pub fn new(config: Config, entropy: &mut dyn Entropy) -> Self {
        Self {
            subscribers: new_table(entropy),
            digest_subscribers: new_table(entropy),
            subscribers_bound: Bound::new(config.subscribers_max),
            public: new_table(entropy),
            provisioned: Shapes::default(),
            visits: PackedTable::new(entropy),
            grant_ends: Deadlines::default(),
            outbound: PackedTable::new(entropy),
            outbound_bound: Bound::new(config.bindings_max),
            outbound_ends: Deadlines::default(),
            outbound_leases: LeaseCounts::default(),
            inbound_users: Index::new(entropy),
            inbound: PackedTable::new(entropy),
            inbound_bound: Bound::new(config.bindings_max),
            inbound_ends: Deadlines::default(),
            inbound_leases: LeaseCounts::default(),
            listed: new_table(entropy),
            listed_bound: Bound::new(config.listed_identities_max),
            provisioning: RwLock::new(()),
            pools: RwLock::default(),
            withdrawn: RwLock::default(),
            // From a random number on, so that an answer to the process before this one meets no request of this one.
            forwards: Patience::from_number(config.vector_timeout, entropy.next_u64()),
            forwards_bound: Bound::new(config.pending_forwards_max),
            removed: Mark::default(),
            mended: Mark::default(),
            loading: Mutex::default(),
            config,
        }
    }

    /// Handles a Cx request and answers it, at once or when another system has answered.
    ///
    /// Without storage nothing is served, reads included: what is in memory may not be durable.
    pub fn handle_request(
        &self,
        ctx: &mut Context<'_>,
        from: &Peer,
        to: ReplyTo,
        request: cx::Request,
    ) {
        match request {
            cx::Request::MultimediaAuth(request) => self.handle_vector(ctx, from, to, request),
            cx::Request::ServerAssignment(request) => {
                self.handle_assignment(ctx, from, to, &request);
            }
        }
    }

    /// Handles another system's answer to a forwarded request, or that there is none.
    pub fn handle_answer(&self, ctx: &mut Context<'_>, reply: CxReply) {
        self.handle_forwarded(ctx, reply);
    }

    /// Handles a timer: the end of a lease, of a grant, or of the time of a forwarded request.
    pub fn handle_timer(&self, ctx: &mut Context<'_>, timer: &TimerKey) {
        match &timer.what {
            TimerWhat::RequestsEnd => self.expire_forwards(ctx),
            TimerWhat::InboundLeasesEnd => self.end_inbound_leases(ctx),
            TimerWhat::OutboundLeasesEnd => self.end_outbound_leases(ctx),
            TimerWhat::GrantsEnd => self.end_grants(ctx),
            TimerWhat::TransactionsEnd
            | TimerWhat::TransactionsTrying
            | TimerWhat::ChallengesEnd
            | TimerWhat::HeldAnswers
            | TimerWhat::ContactsEnd
            | TimerWhat::MigrationTimeout(_)
            | TimerWhat::AcmDue
            | TimerWhat::IdmsDue
            | TimerWhat::SipRequestsEnd
            | TimerWhat::SipRequestsRepeat(_)
            | TimerWhat::McBindingsEnd
            | TimerWhat::McAnswersEnd
            | TimerWhat::UeRetransmit
            | TimerWhat::UeGiveUp
            | TimerWhat::UeRefresh => {}
        }
    }

    /// Sends what relies on the records up to `after`.
    #[inline]
    fn send(&self, ctx: &mut Context<'_>, after: CommitSeq, step: Option<Step>, message: Message) {
        ctx.out.send_after(after.max(self.mended.get()), step, message);
    }
}

/// Reports a step that is not a message.
fn step(ctx: &mut Context<'_>, number: u8, summary: &'static str) {
    ctx.out.step(Step::mig(number), Role::SipDatabase, summary);
}

/// What a request of the management interface comes to: the answer, the records it relies on, and the
/// step that it is.
type Outcome = Result<(management_api::Answer, CommitSeq), management_api::Refusal>;

/// Why a Cx request is declined, and the latest record that says so. What is not there counts besides.
#[derive(Clone, Copy, Debug)]
struct Declined {
    result: ResultCode,
    after: CommitSeq,
}

impl Declined {
    /// Declined on account of a record that commit `version` wrote.
    const fn by(version: CommitSeq, result: ResultCode) -> Self {
        Self { result, after: version }
    }
}

impl From<ResultCode> for Declined {
    /// Declined on account of no record: of what is not there, or of the request itself.
    fn from(result: ResultCode) -> Self {
        Self { result, after: CommitSeq::NOTHING }
    }
}
