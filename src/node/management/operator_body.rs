//! What an operator is shown: lists of stored records, a binding with all that belongs to it, a
//! registration.

use serde::Serialize;
use utoipa::ToSchema;

use super::body::DirectionName;
use crate::{
    api::{
        migration_identity::{AgreementId, Allowance, Binding, BindingDetails, Direction},
        registration,
    },
    identity::{Impi, Impu, SipDatabaseId, UserIdentity},
    time::Timestamp,
};

/// One page of a list.
#[derive(Serialize, ToSchema)]
pub(super) struct PageView {
    /// Records in the order of their keys. With a filter there may be fewer than asked for, or none,
    /// although more follow.
    #[schema(value_type = Vec<RecordView>)]
    pub(super) items: Vec<serde_json::Value>,
    /// Where the next page begins: give it as `after`. Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
}

/// A stored record as `migcore store export` writes it, without its secrets.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes a value that is made elsewhere")]
pub(super) struct RecordView {
    /// What it is a record of.
    kind: String,
    /// Its key among the records of that kind.
    key: String,
    /// The number of the commit that wrote it.
    version: u64,
    /// What it says; keys and credentials are null.
    #[schema(value_type = Object)]
    record: serde_json::Value,
}

/// A binding with all that belongs to it. Times are seconds since the Unix epoch.
#[derive(Serialize, ToSchema)]
pub(super) struct HeldBindingView {
    /// Which way the pair is lent.
    #[schema(value_type = DirectionName)]
    direction: Direction,
    /// The lent private identity.
    #[schema(value_type = String)]
    impi: Impi,
    /// The lent public identity.
    #[schema(value_type = String)]
    impu: Impu,
    /// The pair that it stands for: the real one of a user of this system (outbound), or the one by which
    /// the primary system knows the user (inbound).
    holder: PairView,
    /// The SIP database of the other system: the partner's (outbound) or the primary's (inbound).
    #[schema(value_type = String, example = "sipdb.b.example")]
    other_database: SipDatabaseId,
    /// The Server-Name of vector requests for the user; inbound only.
    #[serde(skip_serializing_if = "Option::is_none")]
    server_name: Option<String>,
    /// How long it is lent.
    lease: LeaseName,
    /// When the lease ends unless it is renewed; absent for a mapping, which only release ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_end: Option<u64>,
    /// When it can be relied upon no longer, unless renewed: at the end of the lease or of the agreement;
    /// absent if at neither.
    #[serde(skip_serializing_if = "Option::is_none")]
    reserved_until: Option<u64>,
    /// Whether the user is registered with it now; inbound only.
    active: bool,
    /// Whether it is good for a vector now: the lease lives and the agreement holds.
    usable: bool,
    /// The pool that the pair goes back to.
    pool: String,
    /// The agreement that it was lent under; absent if by an administrator's word.
    #[serde(skip_serializing_if = "Option::is_none")]
    agreement: Option<AllowanceView>,
}

/// How long a pair is lent: until a time that a registration moves (`reserved`, `active`), or until it is
/// released (`mapped`).
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum LeaseName {
    Reserved,
    Active,
    Mapped,
}

/// A private and a public identity.
#[derive(Serialize, ToSchema)]
struct PairView {
    /// The private identity.
    #[schema(value_type = String)]
    impi: Impi,
    /// The public identity.
    #[schema(value_type = String)]
    impu: Impu,
}

impl From<UserIdentity> for PairView {
    fn from(UserIdentity { impi, impu }: UserIdentity) -> Self {
        Self { impi, impu }
    }
}

/// The agreement that something was lent under.
#[derive(Serialize, ToSchema)]
struct AllowanceView {
    /// Its number.
    id: u64,
    /// The end of its validity, seconds since the Unix epoch.
    valid_until: u64,
}

impl HeldBindingView {
    /// What is shown of `binding` and its `details`.
    pub(super) fn new(binding: Binding, details: BindingDetails) -> Self {
        let lease = match (details.lease_end, binding.active) {
            (None, _) => LeaseName::Mapped,
            (Some(_), true) => LeaseName::Active,
            (Some(_), false) => LeaseName::Reserved,
        };
        let allowance = |Allowance { agreement: AgreementId(id), until }| AllowanceView {
            id,
            valid_until: until.as_secs(),
        };
        let inbound = details.server_name.is_some();
        let UserIdentity { impi, impu } = binding.identity;
        Self {
            direction: if inbound { Direction::Inbound } else { Direction::Outbound },
            impi,
            impu,
            holder: details.holder.into(),
            other_database: details.other_database,
            server_name: details.server_name,
            lease,
            lease_end: details.lease_end.map(Timestamp::as_secs),
            reserved_until: (binding.reserved_until != Timestamp::MAX)
                .then(|| binding.reserved_until.as_secs()),
            active: binding.active,
            usable: details.usable,
            pool: details.pool,
            agreement: details.agreement.map(allowance),
        }
    }
}

/// What a revocation ended.
#[derive(Serialize, ToSchema)]
pub(super) struct RevokedView {
    /// The binding.
    pub(super) binding: EndedName,
    /// The registration made with it.
    pub(super) registration: EndedName,
}

/// What became of something that was to end. `elsewhere`: the SIP core that would know of a registration
/// is not in this process; nothing can be registered or refreshed there any more, but what is registered
/// stays until then.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum EndedName {
    /// It is ended.
    Ended,
    /// There was none.
    None,
    /// It is not known here whether there is one.
    Elsewhere,
}

/// A registration.
#[derive(Serialize, ToSchema)]
pub(super) struct RegistrationView {
    /// The private identity.
    #[schema(value_type = String)]
    impi: Impi,
    /// The implicit registration set, the default public identity first.
    #[schema(value_type = Vec<String>)]
    impus: Vec<Impu>,
    /// Where the user can be reached.
    contacts: Vec<ContactView>,
}

/// A contact of a registration.
#[derive(Serialize, ToSchema)]
struct ContactView {
    /// The contact URI.
    #[schema(example = "sip:192.0.2.9:40000")]
    uri: String,
    /// When it ends unless it is refreshed, seconds since the Unix epoch.
    expires: u64,
    /// Seconds until then.
    seconds_left: u64,
    /// Proxies on the way to it (Path, RFC 3327).
    path_count: usize,
}

impl From<registration::Registration> for RegistrationView {
    fn from(registration: registration::Registration) -> Self {
        let registration::Registration { impi, impus, contacts } = registration;
        let contacts = contacts.into_iter().map(|contact| ContactView {
            uri: contact.uri,
            expires: contact.expires_at.as_secs(),
            seconds_left: contact.seconds_left,
            path_count: contact.path_count,
        });
        Self { impi, impus, contacts: contacts.collect() }
    }
}
