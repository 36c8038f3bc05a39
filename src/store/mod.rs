//! Durable state: what an engine keeps, in which order, and how a record becomes octets.
//!
//! A role changes its tables in memory, hands the change to [`crate::outbox::Outbox::commit`] and
//! gets a [`CommitSeq`]. A message that relies on the change leaves after that number is durable.
//! Nothing in a role knows which engine runs.
//!
//! **Order.** The number is drawn while the role holds the locks of all entries it changed, so for
//! one key a later change has a higher number. It is the record's version: neither a committer nor
//! a replay ever puts a lower version over a higher one, deletions included.

mod mark;
mod memory;
mod record;
mod watermark;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use smallvec::SmallVec;

pub use mark::Mark;
pub use memory::MemoryEngine;
pub use record::{Fields, RecordError, WrongField, decode, encode};
pub use watermark::Watermark;

/// The number of a commit: its place in the total order of commits, and the version of every record
/// it changed. Zero is [`CommitSeq::NOTHING`].
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    Eq,
    Hash,
    Ord,
    PartialEq,
    PartialOrd,
    serde::Deserialize,
    serde::Serialize,
)]
pub struct CommitSeq(u64);

impl CommitSeq {
    /// What a message relies on that discloses no record: it may leave at once.
    pub const NOTHING: Self = Self(0);

    /// Creates a number read back from an engine.
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The number, for an engine to store.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

/// Draws commit numbers. One for each system; shared by all its workers.
#[derive(Debug, Default)]
pub struct Sequencer(AtomicU64);

impl Sequencer {
    /// Starts above the highest number that a replay found.
    pub const fn starting_after(highest: CommitSeq) -> Self {
        Self(AtomicU64::new(highest.0))
    }

    /// Goes on above `highest`, unless it is there already.
    pub fn advance_to(&self, highest: CommitSeq) {
        self.0.fetch_max(highest.0, Ordering::AcqRel);
    }

    /// Draws the next number. The caller holds the locks of all entries that the commit changes.
    pub fn draw(&self) -> CommitSeq {
        CommitSeq(self.0.fetch_add(1, Ordering::AcqRel) + 1)
    }

    /// The last number drawn.
    pub fn last(&self) -> CommitSeq {
        CommitSeq(self.0.load(Ordering::Acquire))
    }
}

/// A role that keeps records.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Owner {
    /// `sip_database`.
    SipDatabase,
    /// `sip_core`.
    SipCore,
    /// `config_server`.
    ConfigServer,
    /// `acm`.
    Acm,
    /// `alias_server`.
    AliasServer,
    /// `idms`.
    Idms,
    /// `mc_server`.
    McServer,
}

/// Which kind of record a key names.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum RecordKind {
    /// A subscriber of this system, by IMPI (`sip_database`).
    Subscriber = 1,
    /// An identity pool: its definition and its reserved counter, by pool name (`sip_database`).
    Pool = 2,
    /// An entry of a listed pool that is not lent now, by pool name and index (`sip_database`).
    PoolEntry = 3,
    /// Who holds an inbound migration identity, by inbound IMPI (`sip_database`).
    InboundBinding = 4,
    /// Who holds an outbound migration identity, by outbound IMPI (`sip_database`).
    OutboundBinding = 5,
    /// Permission to use a real identity at a partner, by IMPI and partner (`sip_database`).
    Grant = 6,
    /// A registration with its contacts, by IMPI (`sip_core`).
    Registration = 7,
    /// That an agreement was withdrawn, by its number (`sip_database`).
    WithdrawnAgreement = 8,
    /// A user of this system, by MC service ID (`config_server`).
    User = 9,
    /// An agreement with a partner, by partner, direction and users (`config_server`).
    Agreement = 10,
    /// What UEs are told of a system, by MC system ID (`config_server`).
    SystemConfiguration = 11,
    /// A transaction that an administrator of this system began, by its ID (`acm`).
    AcmOutgoing = 12,
    /// A transaction that another system began, by that system and its ID (`acm`).
    AcmIncoming = 13,
    /// What an open transaction is about, by the system that began it and its ID (`acm`).
    AcmPayload = 14,
    /// A configuration that users migrate with, by the transaction that brought it (`acm`).
    AcmConfigurationSet = 15,
    /// A user added for migration, by the other system, direction and user (`acm`).
    AcmMigrant = 16,
    /// An interconnection group, by its home and its ID (`acm`).
    AcmGroup = 17,
    /// An administrator, by MC service ID (`acm`).
    AcmUser = 18,
    /// That an administrator is logged on, by session (`acm`).
    AcmSession = 19,
    /// The highest revision sent or in force, by direction, other system and kind of transaction (`acm`).
    AcmRevision = 20,
    /// An answer to a transaction that is not known, by system and ID (`acm`).
    AcmStray = 21,
    /// A user who has a functional alias activated, by alias and user (`alias_server`).
    AliasHolder = 22,
    /// A client, by its name (`idms`).
    IdmsClient = 23,
    /// A user who logs in here, by name (`idms`).
    IdmsUser = 24,
    /// A signing key of this system, by its thumbprint (`idms`).
    IdmsKey = 25,
    /// The refresh tokens that follow from one log-in, by their name (`idms`).
    IdmsRefresh = 26,
    /// A security token that was given, by its `jti` (`idms`).
    IdmsIssued = 27,
    /// What is and was trusted of a partner, by its issuer URL (`idms`).
    IdmsIssuer = 28,
    /// A user of a partner, by issuer and subject (`idms`).
    IdmsVisitor = 29,
    /// An entry of the deny list, by issuer and subject or token (`idms`).
    IdmsDenied = 30,
    /// A security token of a partner's user that was presented, by issuer and `jti` (`idms`).
    IdmsPresented = 31,
    /// A subscriber of this system with a password, by IMPI (`sip_database`).
    DigestSubscriber = 32,
    /// A user profile, by service, index and MC service ID (`config_server`).
    UserProfile = 33,
    /// What UEs are or were told of a system, by MC system ID and revision (`config_server`).
    SystemConfigurationVersion = 34,
    /// What an MC server knows of a public identity, by that (`mc_server`).
    McClient = 35,
}

impl RecordKind {
    /// Every kind.
    pub const ALL: [Self; 35] = [
        Self::Subscriber,
        Self::Pool,
        Self::PoolEntry,
        Self::InboundBinding,
        Self::OutboundBinding,
        Self::Grant,
        Self::Registration,
        Self::WithdrawnAgreement,
        Self::User,
        Self::Agreement,
        Self::SystemConfiguration,
        Self::AcmOutgoing,
        Self::AcmIncoming,
        Self::AcmPayload,
        Self::AcmConfigurationSet,
        Self::AcmMigrant,
        Self::AcmGroup,
        Self::AcmUser,
        Self::AcmSession,
        Self::AcmRevision,
        Self::AcmStray,
        Self::AliasHolder,
        Self::IdmsClient,
        Self::IdmsUser,
        Self::IdmsKey,
        Self::IdmsRefresh,
        Self::IdmsIssued,
        Self::IdmsIssuer,
        Self::IdmsVisitor,
        Self::IdmsDenied,
        Self::IdmsPresented,
        Self::DigestSubscriber,
        Self::UserProfile,
        Self::SystemConfigurationVersion,
        Self::McClient,
    ];

    /// The kind as people write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Subscriber => "subscriber",
            Self::Pool => "pool",
            Self::PoolEntry => "pool-entry",
            Self::InboundBinding => "inbound-binding",
            Self::OutboundBinding => "outbound-binding",
            Self::Grant => "grant",
            Self::Registration => "registration",
            Self::WithdrawnAgreement => "withdrawn-agreement",
            Self::User => "user",
            Self::Agreement => "agreement",
            Self::SystemConfiguration => "system-configuration",
            Self::AcmOutgoing => "acm-outgoing",
            Self::AcmIncoming => "acm-incoming",
            Self::AcmPayload => "acm-payload",
            Self::AcmConfigurationSet => "acm-configuration-set",
            Self::AcmMigrant => "acm-migrant",
            Self::AcmGroup => "acm-group",
            Self::AcmUser => "acm-user",
            Self::AcmSession => "acm-session",
            Self::AcmRevision => "acm-revision",
            Self::AcmStray => "acm-stray",
            Self::AliasHolder => "alias-holder",
            Self::IdmsClient => "idms-client",
            Self::IdmsUser => "idms-user",
            Self::IdmsKey => "idms-key",
            Self::IdmsRefresh => "idms-refresh",
            Self::IdmsIssued => "idms-issued",
            Self::IdmsIssuer => "idms-issuer",
            Self::IdmsVisitor => "idms-visitor",
            Self::IdmsDenied => "idms-denied",
            Self::IdmsPresented => "idms-presented",
            Self::DigestSubscriber => "digest-subscriber",
            Self::UserProfile => "user-profile",
            Self::SystemConfigurationVersion => "system-configuration-version",
            Self::McClient => "mc-client",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The octet that names the kind in an engine's key.
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// The kind that an octet names.
    pub fn from_u8(octet: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_u8() == octet)
    }

    /// Whether records of this kind hold keys or credentials: K and `OPc`, HA1, a pool's key, signing keys, passwords of the
    /// UE configuration, or a digest or hash by which these could be guessed. An engine on a medium seals those.
    pub const fn holds_secrets(self) -> bool {
        matches!(
            self,
            Self::Subscriber
                | Self::DigestSubscriber
                | Self::Pool
                | Self::SystemConfiguration
                | Self::UserProfile
                | Self::SystemConfigurationVersion
                | Self::AcmOutgoing
                | Self::AcmIncoming
                | Self::AcmPayload
                | Self::AcmConfigurationSet
                | Self::IdmsClient
                | Self::IdmsUser
                | Self::IdmsKey
                | Self::IdmsRefresh
        )
    }

    /// Which role keeps records of this kind. The others pass them over.
    pub const fn owner(self) -> Owner {
        match self {
            Self::Subscriber
            | Self::DigestSubscriber
            | Self::Pool
            | Self::PoolEntry
            | Self::InboundBinding
            | Self::OutboundBinding
            | Self::Grant
            | Self::WithdrawnAgreement => Owner::SipDatabase,
            Self::Registration => Owner::SipCore,
            Self::User
            | Self::Agreement
            | Self::SystemConfiguration
            | Self::SystemConfigurationVersion
            | Self::UserProfile => Owner::ConfigServer,
            Self::AcmOutgoing
            | Self::AcmIncoming
            | Self::AcmPayload
            | Self::AcmConfigurationSet
            | Self::AcmMigrant
            | Self::AcmGroup
            | Self::AcmUser
            | Self::AcmSession
            | Self::AcmRevision
            | Self::AcmStray => Owner::Acm,
            Self::AliasHolder => Owner::AliasServer,
            Self::IdmsClient
            | Self::IdmsUser
            | Self::IdmsKey
            | Self::IdmsRefresh
            | Self::IdmsIssued
            | Self::IdmsIssuer
            | Self::IdmsVisitor
            | Self::IdmsDenied
            | Self::IdmsPresented => Owner::Idms,
            Self::McClient => Owner::McServer,
        }
    }
}

/// One record changed or, without a value, deleted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mutation {
    /// The kind of record.
    pub kind: RecordKind,
    /// The key within the kind, at most [`KEY_OCTETS_MAX`] octets.
    pub key: RecordKey,
    /// The encoded record ([`encode`]), or `None` to delete it.
    pub value: Option<Vec<u8>>,
}

/// The key of a record. An identity needs no allocation as a rule.
pub type RecordKey = SmallVec<[u8; 56]>;

/// Longest key of a record, octets: two identities and a separator fit.
pub const KEY_OCTETS_MAX: usize = 512;

impl Mutation {
    /// Puts `record` under `key`.
    pub fn put(kind: RecordKind, key: &str, record: &impl serde::Serialize) -> Self {
        Self { kind, key: RecordKey::from_slice(key.as_bytes()), value: Some(encode(record)) }
    }

    /// Puts the record of these fields under `key`.
    pub fn put_fields(kind: RecordKind, key: &str, fields: Fields) -> Self {
        Self::put_octets(kind, key, fields.into_octets())
    }

    /// Puts an encoded record under `key`.
    #[inline]
    pub fn put_octets(kind: RecordKind, key: &str, octets: Vec<u8>) -> Self {
        Self { kind, key: RecordKey::from_slice(key.as_bytes()), value: Some(octets) }
    }

    /// Deletes what is under `key`.
    pub fn delete(kind: RecordKind, key: &str) -> Self {
        Self { kind, key: RecordKey::from_slice(key.as_bytes()), value: None }
    }
}

/// Mutations that become durable together, all with the version [`Commit::seq`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Commit {
    /// The number of the commit.
    pub seq: CommitSeq,
    /// What it changes; no key twice.
    pub mutations: Mutations,
}

/// The mutations of a commit: one as a rule.
pub type Mutations = SmallVec<[Mutation; 1]>;

/// A record as an engine gives it back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Record<'a> {
    /// The kind of record.
    pub kind: RecordKind,
    /// The key within the kind.
    pub key: &'a [u8],
    /// The number of the commit that wrote it.
    pub version: CommitSeq,
    /// The encoded record ([`decode`]).
    pub value: &'a [u8],
}

/// What takes a record in on replay. An engine may call it from several threads at a time.
pub type Each<'a> = dyn Fn(Record<'_>) -> Result<(), RecordError> + Sync + 'a;

/// Keeps records across restarts.
///
/// A commit is all or nothing. After an error the engine refuses everything until it is replayed; a
/// commit that failed may still turn out durable, one that succeeded may not be missing.
pub trait Engine: Send {
    /// Makes `commits` durable, all of them or none: in any order between keys, by version within a key.
    ///
    /// # Errors
    ///
    /// [`EngineError`]: none of `commits` may be relied upon.
    fn commit(&mut self, commits: &[Commit]) -> Result<(), EngineError>;

    /// Opens what a failure closed, gives every live record to `each`, in no particular order and
    /// from any number of threads, and returns the highest version ever committed, deletions included.
    ///
    /// # Errors
    ///
    /// [`ReplayError`] when the records cannot be read, or `each` cannot use one; the engine is as
    /// closed as before then.
    fn replay(&mut self, each: &Each<'_>) -> Result<CommitSeq, ReplayError>;

    /// About how many records there are, for a progress bar.
    fn approximate_len(&self) -> u64;

    /// Whether a commit waits for a medium: then it is worth a thread of its own, and takes what many
    /// wait for at a time.
    fn waits(&self) -> bool;

    /// What reads single records beside the commits, for whoever lists them.
    ///
    /// It belongs to what is stored, not to one opening of it: while a failure keeps the engine closed it
    /// may fail, and it reads again once the engine has been replayed.
    fn reader(&self) -> Arc<dyn Reader>;
}

/// Reads what is durable, beside the commits.
pub trait Reader: Send + Sync {
    /// Returns up to `limit` records of `kind` whose keys come after `after`, in the order of their keys.
    ///
    /// # Errors
    ///
    /// [`EngineError`] when the medium cannot be read.
    fn page(
        &self,
        kind: RecordKind,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<OwnedRecord>, EngineError>;
}

/// A [`Record`] that is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OwnedRecord {
    /// The kind of record.
    pub kind: RecordKind,
    /// The key within the kind.
    pub key: Box<[u8]>,
    /// The number of the commit that wrote it.
    pub version: CommitSeq,
    /// The encoded record ([`decode`]).
    pub value: Box<[u8]>,
}

impl OwnedRecord {
    /// The record, to be read.
    pub fn as_record(&self) -> Record<'_> {
        Record { kind: self.kind, key: &self.key, version: self.version, value: &self.value }
    }
}

/// Why an engine could not do its work. Ours to mend, never the peer's fault.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EngineError {
    /// The medium refused: full, failing, gone.
    #[error("the storage medium failed: {0}")]
    Medium(String),
    /// An earlier commit failed and the engine has not been reopened.
    #[error("the storage engine is closed after a failure")]
    Closed,
}

/// Why what is stored could not be taken in.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReplayError {
    /// The engine could not read it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A record cannot be used.
    #[error("a stored record of kind {kind:?}: {error}")]
    Record {
        /// Its kind.
        kind: RecordKind,
        /// What is wrong.
        error: RecordError,
    },
}

impl Record<'_> {
    /// Gives the record to `each` and says which kind it was if that fails.
    ///
    /// # Errors
    ///
    /// [`ReplayError::Record`].
    pub fn give(self, each: &Each<'_>) -> Result<(), ReplayError> {
        each(self).map_err(|error| ReplayError::Record { kind: self.kind, error })
    }
}
