//! The management interface of a SIP database: subscribers, pools, bindings.
//!
//! Carries messages B1/B2 (`MIG-4`, `MIG-6`) and D1/D2 (`MIG-9`, `MIG-11`) of TR 23.781 solution 2.

use std::time::Duration;

use crate::{
    aka::digest::{Ha1, Ha1Algorithm},
    identity::{Impi, Impu, SipDatabaseId, UserIdentity},
    secret::Secret,
    time::Timestamp,
};

/// Most subscribers or users that one request creates or replaces.
pub const ROWS_MAX: usize = 250_000;

/// A management request.
#[derive(Clone, Debug)]
pub enum Request {
    /// Creates or replaces a subscriber. Replacing keeps SQN and registration unless K or OPc change.
    PutSubscriber(Subscriber),
    /// Creates or replaces many subscribers: all of them or none. At most [`ROWS_MAX`]; no one twice.
    PutSubscribers(Vec<Subscriber>),
    /// Asks for a subscriber, without secrets.
    GetSubscriber(Impi),
    /// Removes a subscriber with its outbound bindings and grants.
    DeleteSubscriber(Impi),
    /// Creates or replaces a subscriber with a password in place of a key.
    PutDigestSubscriber(DigestSubscriber),
    /// Asks for a subscriber with a password, without it.
    GetDigestSubscriber(Impi),
    /// Removes a subscriber with a password.
    DeleteDigestSubscriber(Impi),
    /// Creates a pool, or extends a listed one. The definition of a generated pool never changes.
    PutPool(Pool),
    /// Asks how full a pool is.
    GetPool(String),
    /// Lends an outbound pair for use at one partner (B1, `MIG-4` to `MIG-6`). Repeatable. What is lent by an
    /// administrator's word stays so when it is asked for under an agreement.
    BindOutbound {
        /// The real pair.
        user: UserIdentity,
        /// The SIP database of the partner that may ask vectors for it.
        partner: SipDatabaseId,
        /// The agreement that it is lent under; without one it is lent by an administrator's word.
        allowed: Option<Allowance>,
    },
    /// Allows the real pair at one partner, where policy skips outbound identities. An administrator's grant
    /// stays as it is, with its end, when one is asked for under an agreement.
    PutGrant {
        /// The real pair.
        user: UserIdentity,
        /// The SIP database of the partner that may ask vectors for it.
        partner: SipDatabaseId,
        /// For how long from now.
        valid_for: Duration,
        /// The agreement that it is granted under.
        allowed: Option<Allowance>,
    },
    /// Withdraws a grant.
    DeleteGrant {
        /// The real private identity.
        impi: Impi,
        /// The partner.
        partner: SipDatabaseId,
    },
    /// Lends an inbound pair to a user of another system (D1, `MIG-9` to `MIG-11`). Repeatable.
    BindInbound {
        /// Who, as the primary system named it.
        primary: PrimaryUser,
        /// The agreement that it is lent under.
        allowed: Option<Allowance>,
    },
    /// Binds one pair of a listed pool to one user of another system for good: a mapping configured
    /// before the user comes (TS 23.280 10.1.6.2). It ends only by release.
    MapInbound {
        /// Who.
        primary: PrimaryUser,
        /// The pair, free in a listed inbound pool.
        identity: UserIdentity,
    },
    /// Ends an agreement: nothing lent or granted under it is good for a vector any more.
    WithdrawAgreement(AgreementId),
    /// Ends all outbound bindings and grants of one subscriber, who stays.
    EndVisits(Impi),
    /// Says whether a request would be refused, and changes nothing.
    Check(Box<Request>),
    /// Asks for the binding of an outbound private identity.
    GetOutbound(Impi),
    /// Asks for the binding of an inbound private identity.
    GetInbound(Impi),
    /// Ends the binding of an outbound private identity: no vector is given any more.
    ReleaseOutbound(Impi),
    /// Ends the binding of an inbound private identity: the next vector request is refused.
    ReleaseInbound(Impi),
}

/// The number of an agreement between two systems, drawn by a configuration server; never used twice.
#[derive(
    Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Deserialize, serde::Serialize,
)]
pub struct AgreementId(pub u64);

/// Under which agreement something is lent, and until when at most.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct Allowance {
    /// The agreement.
    pub agreement: AgreementId,
    /// The end of its validity.
    pub until: Timestamp,
}

/// A user as its primary system named it (C1): which SIP database, which pair there.
#[derive(Clone, Debug, Eq, Hash, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct PrimaryUser {
    /// The SIP database of the primary system, or an SLF in front of it (NOTE 2).
    pub database: SipDatabaseId,
    /// The primary-side pair: outbound if the primary hides identities, else real.
    pub identity: UserIdentity,
    /// The Server-Name that the primary wants in vector requests for this user, so that they never
    /// touch the home's serving-server state.
    pub server_name: String,
}

/// A subscriber to provision.
#[derive(Clone, Debug)]
pub struct Subscriber {
    /// The private identity.
    pub impi: Impi,
    /// The implicit registration set, the default one first; at least one.
    pub impus: Vec<Impu>,
    /// The subscriber key.
    pub k: Secret<16>,
    /// The operator's variant of MILENAGE.
    pub operator: OperatorKey,
    /// The authentication management field of its vectors.
    pub amf: [u8; 2],
    /// The SEQ of the last vector it has seen elsewhere; vectors continue above it. 48 bits less those
    /// of IND: 43 by default.
    pub seq: u64,
}

/// A subscriber with a password to provision: of SIP Digest.
#[derive(Clone, Debug)]
pub struct DigestSubscriber {
    /// The private identity: the user name of its responses.
    pub impi: Impi,
    /// The implicit registration set, the default one first; at least one.
    pub impus: Vec<Impu>,
    /// The realm that HA1 is for, and that the SIP core challenges with.
    pub realm: String,
    /// What responses are checked with.
    pub ha1: Ha1,
}

/// OP or OPc, 16 octets each.
#[derive(Clone, Debug)]
pub enum OperatorKey {
    /// The operator's common value; OPc is computed from it.
    Op(Secret<16>),
    /// The subscriber's own value.
    Opc(Secret<16>),
}

/// A pool to lend identities from.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Its name, unique in the SIP database.
    pub name: String,
    /// Which way it lends.
    pub direction: Direction,
    /// Where its identities come from.
    pub source: PoolSource,
}

/// Which way a pool lends.
#[derive(
    Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Deserialize, serde::Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To users of this system, for use in a partner.
    Outbound,
    /// To users of partners, for use in this system.
    Inbound,
}

/// Where a pool's identities come from.
#[derive(Clone, Debug)]
pub enum PoolSource {
    /// The n-th identity is a keyed permutation of n.
    Generated {
        /// The private identity, with `{id}` in its user part: `mig-{id}@ims.example`.
        impi_template: String,
        /// The public identity, with `{id}` in its user part: `sip:mig-{id}@ims.example`.
        impu_template: String,
        /// The key of the permutations; without one the role draws it.
        key: Option<Secret<32>>,
    },
    /// Provisioned pairs, lent again first-in first-out after the quarantine.
    Listed {
        /// The pairs to add.
        identities: Vec<UserIdentity>,
        /// How long a returned pair rests.
        quarantine: Duration,
    },
}

/// A management answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// Done; nothing to tell.
    Done,
    /// A subscriber, without secrets.
    Subscriber {
        /// The private identity.
        impi: Impi,
        /// The implicit registration set.
        impus: Vec<Impu>,
        /// The highest SEQ that may have been used.
        seq: u64,
    },
    /// A subscriber with a password, without it.
    DigestSubscriber {
        /// The private identity.
        impi: Impi,
        /// The implicit registration set.
        impus: Vec<Impu>,
        /// The realm.
        realm: String,
        /// The algorithm of its responses.
        algorithm: Ha1Algorithm,
    },
    /// How full a pool is.
    Pool {
        /// Which way it lends.
        direction: Direction,
        /// Identities drawn so far (generated) or provisioned (listed).
        total: u64,
        /// Lent now.
        lent: u64,
        /// Free to lend now; `None` for a generated pool, which does not run out.
        free: Option<u64>,
    },
    /// A binding.
    Binding(Binding),
    /// The real pair is granted.
    Granted {
        /// The end of the grant.
        until: Timestamp,
        /// How it came to be.
        lent: Lent,
    },
    /// It did not work; nothing changed.
    Refused(Refusal),
    /// Some of many are refused, in their order; nothing changed.
    RowsRefused(Vec<RowRefused>),
}

/// One of many that a request is about, and why it is refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RowRefused {
    /// Which one, from 0.
    pub row: usize,
    /// Why.
    pub refusal: Refusal,
    /// Whether a request about this one alone would be performed.
    pub alone: bool,
}

/// A binding as the management interface shows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Binding {
    /// The lent pair.
    pub identity: UserIdentity,
    /// The end of the reservation, renewed when a registration ends.
    pub reserved_until: Timestamp,
    /// Whether the user is registered with it now (inbound only).
    pub active: bool,
    /// How it came to be lent.
    pub lent: Lent,
    /// What an operator wants to know; in the answer to a question about the binding only.
    pub details: Option<Box<BindingDetails>>,
}

/// How what a request asks for came to be lent or granted. Whoever gives back what it was lent in vain gives
/// back no more than that.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lent {
    /// By this request.
    Anew,
    /// Before, under an agreement.
    Before,
    /// Before, by an administrator's word, which no agreement replaces.
    ByAdministrator,
}

/// What an operator wants to know of a binding.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BindingDetails {
    /// The pair that the lent one stands for: the real one of a user of this system (outbound), or the one
    /// that the primary system named (inbound).
    pub holder: UserIdentity,
    /// The SIP database of the other system: the partner's (outbound) or the primary's (inbound).
    pub other_database: SipDatabaseId,
    /// The Server-Name that the primary system wants in vector requests (inbound only).
    pub server_name: Option<String>,
    /// The pool that the pair goes back to.
    pub pool: String,
    /// The end of the lease; `None` for a mapping, which only release ends.
    pub lease_end: Option<Timestamp>,
    /// The agreement that it was lent under, if not by an administrator's word.
    pub agreement: Option<Allowance>,
    /// Whether it is good for a vector now: its lease lives, and so does the agreement.
    pub usable: bool,
}

/// Why a management request was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// No such subscriber, pool or binding.
    #[error("not found: {0}")]
    NotFound(&'static str),
    /// No identity is free.
    #[error("exhausted: no {0} identity is free; add identities to the pool or release some")]
    Exhausted(&'static str),
    /// The request contradicts itself or what is stored.
    #[error("invalid: {0}")]
    Invalid(&'static str),
    /// A listed pool would lend a pair again while its last holder may still use it.
    #[error("quarantine_seconds is too short: write {least_seconds} or more")]
    QuarantineTooShort {
        /// The least one, seconds.
        least_seconds: u64,
    },
    /// A named maximum is reached.
    #[error("full: {0}")]
    Full(&'static str),
    /// The storage cannot take changes now; try again.
    #[error("storage is unavailable; try again")]
    Unavailable,
}
