//! Lists of what a system holds, page by page.
//!
//! A list reads what is durable, in the order of the keys, beside the roles and off the threads that serve
//! UEs. So a record that is there all the time is in a list exactly once, whatever changes meanwhile; one
//! that comes or goes meanwhile may be in it or not.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use super::{
    Refusals,
    answer::{counted, invalid_field},
    operator_body::PageView,
};
use crate::{
    identity::{IdentityError, Impi, McSystemId, SipDatabaseId},
    node::{
        http::{Problem, Query},
        park::NoAnswer,
        perform::Shared,
        roles::Roles,
        storage::json::{Secrets, to_json},
    },
    store::{EngineError, KEY_OCTETS_MAX, OwnedRecord, Reader, RecordError, RecordKind},
};

/// Records on a page unless the request says otherwise.
const ITEMS_DEFAULT: usize = 100;

/// Most records on a page.
pub const ITEMS_MAX: usize = 1_000;

/// Most records that one request looks at in search of those that a filter wants.
const SCANNED_MAX: usize = 10_000;

/// Records read at a time.
const READ_MAX: usize = 256;

/// Stored octets after which a page ends, however many records were asked for.
const PAGE_OCTETS_MAX: usize = 1 << 20;

/// The query of a list. Which filters a list has, its description says.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    after: Option<String>,
    limit: Option<String>,
    partner: Option<String>,
    holder: Option<String>,
}

/// Which page.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes a part of ListQuery")]
struct PageQuery {
    /// The `next` of the page before; the first page if left out.
    after: Option<String>,
    /// Records on the page.
    #[param(minimum = 1, maximum = 1_000, default = 100)]
    limit: Option<u32>,
}

/// Only what concerns one other system.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes a part of ListQuery")]
struct PartnerQuery {
    /// The Diameter identity of the other system's SIP database; of agreements and versions its MC system ID.
    #[param(example = "sipdb.b.example")]
    partner: Option<String>,
}

/// Only what one user holds.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes a part of ListQuery")]
struct HolderQuery {
    /// The private identity of the user: the real one, or of an inbound binding the one by which the
    /// primary system knows the user.
    #[param(example = "alice@a.example")]
    holder: Option<String>,
}

/// Lists the outbound bindings, by lent private identity.
#[utoipa::path(
    get, path = "/v1/bindings/outbound", params(PageQuery, PartnerQuery, HolderQuery),
    responses((status = 200, description = "Bindings.", body = PageView), Refusals)
)]
pub(super) async fn list_outbound(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<ListQuery>,
) -> Response {
    let page = async { read(&shared, RecordKind::OutboundBinding, query?).await };
    answer(&shared, "list_outbound", page.await)
}

/// Lists the inbound bindings, by lent private identity.
#[utoipa::path(
    get, path = "/v1/bindings/inbound", params(PageQuery, PartnerQuery, HolderQuery),
    responses((status = 200, description = "Bindings.", body = PageView), Refusals)
)]
pub(super) async fn list_inbound(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<ListQuery>,
) -> Response {
    let page = async { read(&shared, RecordKind::InboundBinding, query?).await };
    answer(&shared, "list_inbound", page.await)
}

/// Lists the registrations in this system's SIP core, by private identity.
#[utoipa::path(
    get, path = "/v1/registrations", params(PageQuery),
    responses((status = 200, description = "Registrations.", body = PageView), Refusals)
)]
pub(super) async fn list_registrations(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<ListQuery>,
) -> Response {
    let page = async { read(&shared, RecordKind::Registration, query?).await };
    answer(&shared, "list_registrations", page.await)
}

/// Lists the agreements, by partner.
#[utoipa::path(
    get, path = "/v1/agreements", params(PageQuery, PartnerQuery),
    responses((status = 200, description = "Agreements.", body = PageView), Refusals)
)]
pub(super) async fn list_agreements(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<ListQuery>,
) -> Response {
    let page = async { read(&shared, RecordKind::Agreement, query?).await };
    answer(&shared, "list_agreements", page.await)
}

/// Lists the grants, by real private identity.
#[utoipa::path(
    get, path = "/v1/grants", params(PageQuery, PartnerQuery, HolderQuery),
    responses((status = 200, description = "Grants.", body = PageView), Refusals)
)]
pub(super) async fn list_grants(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<ListQuery>,
) -> Response {
    let page = async { read(&shared, RecordKind::Grant, query?).await };
    answer(&shared, "list_grants", page.await)
}

/// Lists the subscribers, by private identity, without keys.
#[utoipa::path(
    get, path = "/v1/subscribers", params(PageQuery),
    responses((status = 200, description = "Subscribers.", body = PageView), Refusals)
)]
pub(super) async fn list_subscribers(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<ListQuery>,
) -> Response {
    let page = async { read(&shared, RecordKind::Subscriber, query?).await };
    answer(&shared, "list_subscribers", page.await)
}

/// Lists the subscribers with a password, by private identity, without HA1.
#[utoipa::path(
    get, path = "/v1/digest-subscribers", params(PageQuery),
    responses((status = 200, description = "Subscribers.", body = PageView), Refusals)
)]
pub(super) async fn list_digest_subscribers(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<ListQuery>,
) -> Response {
    let page = async { read(&shared, RecordKind::DigestSubscriber, query?).await };
    answer(&shared, "list_digest_subscribers", page.await)
}

/// Lists the user profiles, by service, index and MC service ID, without documents.
#[utoipa::path(
    get, path = "/v1/user-profiles", params(PageQuery),
    responses((status = 200, description = "User profiles.", body = PageView), Refusals)
)]
pub(super) async fn list_user_profiles(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<ListQuery>,
) -> Response {
    let page = async { read(&shared, RecordKind::UserProfile, query?).await };
    answer(&shared, "list_user_profiles", page.await)
}

/// Lists the latest versions of what UEs are or were told of systems, by system and revision, without documents.
#[utoipa::path(
    get, path = "/v1/system-configuration-versions", params(PageQuery, PartnerQuery),
    responses((status = 200, description = "Versions.", body = PageView), Refusals)
)]
pub(super) async fn list_configuration_versions(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<ListQuery>,
) -> Response {
    let page = async { read(&shared, RecordKind::SystemConfigurationVersion, query?).await };
    answer(&shared, "list_configuration_versions", page.await)
}

/// Lists the public identities that the MC server knows, with the MC service IDs that are bound to them.
#[utoipa::path(
    get, path = "/v1/mc-clients", params(PageQuery),
    responses((status = 200, description = "Clients.", body = PageView), Refusals)
)]
pub(super) async fn list_mc_clients(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<ListQuery>,
) -> Response {
    let page = async { read(&shared, RecordKind::McClient, query?).await };
    answer(&shared, "list_mc_clients", page.await)
}

/// Lists the users, by MC service ID, without tokens.
#[utoipa::path(
    get, path = "/v1/users", params(PageQuery),
    responses((status = 200, description = "Users.", body = PageView), Refusals)
)]
pub(super) async fn list_users(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<ListQuery>,
) -> Response {
    let page = async { read(&shared, RecordKind::User, query?).await };
    answer(&shared, "list_users", page.await)
}

/// Lists the identity pools, by name, without keys.
#[utoipa::path(
    get, path = "/v1/pools", params(PageQuery),
    responses((status = 200, description = "Pools.", body = PageView), Refusals)
)]
pub(super) async fn list_pools(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<ListQuery>,
) -> Response {
    let page = async { read(&shared, RecordKind::Pool, query?).await };
    answer(&shared, "list_pools", page.await)
}

/// Lists the users of ACM clients, by MC service ID, without tokens.
#[utoipa::path(
    get, path = "/v1/acm/users", params(PageQuery),
    responses((status = 200, description = "Users of ACM clients.", body = PageView), Refusals)
)]
pub(super) async fn list_acm_users(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<ListQuery>,
) -> Response {
    let page = async { read(&shared, RecordKind::AcmUser, query?).await };
    answer(&shared, "list_acm_users", page.await)
}

/// Lists the clients of the identity management server, by name, without secrets.
#[utoipa::path(
    get, path = "/v1/idms/clients", params(PageQuery),
    responses((status = 200, description = "Clients.", body = PageView), Refusals)
)]
pub(super) async fn list_idms_clients(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<ListQuery>,
) -> Response {
    let page = async { read(&shared, RecordKind::IdmsClient, query?).await };
    answer(&shared, "list_idms_clients", page.await)
}

/// Lists the users who log in at the identity management server, by name, without passwords.
#[utoipa::path(
    get, path = "/v1/idms/users", params(PageQuery),
    responses((status = 200, description = "Users.", body = PageView), Refusals)
)]
pub(super) async fn list_idms_users(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<ListQuery>,
) -> Response {
    let page = async { read(&shared, RecordKind::IdmsUser, query?).await };
    answer(&shared, "list_idms_users", page.await)
}

/// Lists the users of partners, by issuer and subject.
#[utoipa::path(
    get, path = "/v1/idms/visitors", params(PageQuery),
    responses((status = 200, description = "Users of partners.", body = PageView), Refusals)
)]
pub(super) async fn list_idms_visitors(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<ListQuery>,
) -> Response {
    let page = async { read(&shared, RecordKind::IdmsVisitor, query?).await };
    answer(&shared, "list_idms_visitors", page.await)
}

/// Lists the security tokens that were given and have not expired, by `jti`; not the tokens themselves.
#[utoipa::path(
    get, path = "/v1/idms/security-tokens", params(PageQuery),
    responses((status = 200, description = "Security tokens.", body = PageView), Refusals)
)]
pub(super) async fn list_security_tokens(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<ListQuery>,
) -> Response {
    let page = async { read(&shared, RecordKind::IdmsIssued, query?).await };
    answer(&shared, "list_security_tokens", page.await)
}

fn answer(shared: &Shared, operation: &'static str, page: Result<PageView, Problem>) -> Response {
    counted(shared, operation, page.map(Json).into_response())
}

/// Reads one page on a thread that may wait for the medium.
async fn read(shared: &Shared, kind: RecordKind, query: ListQuery) -> Result<PageView, Problem> {
    let wanted = Wanted::new(kind, query)?;
    if !holds(&shared.roles, kind) {
        return Err(NoAnswer::NoRole.into());
    }
    let reader = Arc::clone(&shared.reader);
    let reading = tokio::task::spawn_blocking(move || wanted.read(&*reader));
    match reading.await {
        Ok(Ok(page)) => Ok(page),
        Ok(Err(Unreadable::Engine(error))) => {
            tracing::warn!(system = %shared.config.system.name, ?kind, %error, "a list cannot be read");
            Err(NoAnswer::Lost.into())
        }
        // The system is about to end.
        Err(_) => Err(NoAnswer::Lost.into()),
        Ok(Err(Unreadable::Record(error))) => {
            tracing::error!(system = %shared.config.system.name, ?kind, %error, "a stored record");
            let fix = "see `migcore store check`";
            let what = format!("a stored record: {error}");
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "damaged", what, fix))
        }
    }
}

/// Whether this process runs the role that keeps records of `kind`.
fn holds(roles: &Roles, kind: RecordKind) -> bool {
    match kind {
        RecordKind::Registration => roles.core.is_some(),
        RecordKind::User
        | RecordKind::Agreement
        | RecordKind::SystemConfiguration
        | RecordKind::SystemConfigurationVersion
        | RecordKind::UserProfile => roles.config_server.is_some(),
        RecordKind::Subscriber
        | RecordKind::DigestSubscriber
        | RecordKind::Pool
        | RecordKind::PoolEntry
        | RecordKind::InboundBinding
        | RecordKind::OutboundBinding
        | RecordKind::Grant
        | RecordKind::WithdrawnAgreement => roles.database.is_some(),
        RecordKind::AcmOutgoing
        | RecordKind::AcmIncoming
        | RecordKind::AcmPayload
        | RecordKind::AcmConfigurationSet
        | RecordKind::AcmMigrant
        | RecordKind::AcmGroup
        | RecordKind::AcmUser
        | RecordKind::AcmSession
        | RecordKind::AcmRevision
        | RecordKind::AcmStray => roles.acm.is_some(),
        RecordKind::AliasHolder => roles.aliases.is_some(),
        RecordKind::IdmsClient
        | RecordKind::IdmsUser
        | RecordKind::IdmsKey
        | RecordKind::IdmsRefresh
        | RecordKind::IdmsIssued
        | RecordKind::IdmsIssuer
        | RecordKind::IdmsVisitor
        | RecordKind::IdmsDenied
        | RecordKind::IdmsPresented => roles.idms.is_some(),
        RecordKind::McClient => roles.mc_server.is_some(),
    }
}

/// Which records of a kind a page shows.
#[derive(Debug)]
struct Wanted {
    kind: RecordKind,
    /// The key of the last record before the page.
    after: Option<Box<[u8]>>,
    limit: usize,
    filters: Vec<Filter>,
}

/// What a part of a record has to be.
#[derive(Debug)]
struct Filter {
    /// Where that part is.
    pointer: &'static str,
    value: String,
}

/// Why a page cannot be shown.
#[derive(Debug)]
enum Unreadable {
    Engine(EngineError),
    Record(RecordError),
}

impl Wanted {
    fn new(kind: RecordKind, query: ListQuery) -> Result<Self, Problem> {
        let after = match query.after {
            Some(cursor) => {
                let key = read_cursor(kind, &cursor);
                Some(key.ok_or_else(|| invalid_field("after", "is no cursor of this list"))?)
            }
            None => None,
        };
        let limit = match query.limit {
            Some(text) => {
                let limit = text.parse().ok().filter(|limit| (1..=ITEMS_MAX).contains(limit));
                limit.ok_or_else(|| invalid_field("limit", "is no number from 1 to 1000"))?
            }
            None => ITEMS_DEFAULT,
        };
        let mut filters = Vec::new();
        if let Some(partner) = query.partner {
            filters.push(partner_filter(kind, &partner)?);
        }
        if let Some(holder) = query.holder {
            filters.push(holder_filter(kind, &holder)?);
        }
        Ok(Self { kind, after, limit, filters })
    }

    /// Reads the page.
    fn read(mut self, reader: &dyn Reader) -> Result<PageView, Unreadable> {
        let (mut items, mut scanned, mut octets) = (Vec::new(), 0, 0);
        while items.len() < self.limit && scanned < SCANNED_MAX && octets < PAGE_OCTETS_MAX {
            let at_a_time =
                if self.filters.is_empty() { self.limit - items.len() } else { READ_MAX };
            let at_a_time = at_a_time.min(READ_MAX);
            // One more than is looked at tells whether anything follows.
            let records = reader.page(self.kind, self.after.as_deref(), at_a_time + 1)?;
            let more = records.len() > at_a_time;
            for record in records.into_iter().take(at_a_time) {
                if items.len() == self.limit {
                    return Ok(self.page(items));
                }
                scanned += 1;
                if let Some(item) = self.item(&record)? {
                    octets += record.value.len();
                    items.push(item);
                }
                self.after = Some(record.key);
            }
            if !more {
                return Ok(PageView { items, next: None });
            }
        }
        Ok(self.page(items))
    }

    /// The record as it is shown, if it is wanted.
    fn item(&self, record: &OwnedRecord) -> Result<Option<Value>, Unreadable> {
        let json = to_json(&record.as_record(), Secrets::Hidden)?;
        let wanted = self.filters.iter().all(|filter| {
            json.pointer(filter.pointer).and_then(Value::as_str) == Some(&*filter.value)
        });
        Ok(wanted.then_some(json))
    }

    /// A page with more behind it.
    fn page(self, items: Vec<Value>) -> PageView {
        let next = self.after.map(|key| write_cursor(self.kind, &key));
        PageView { items, next }
    }
}

impl From<EngineError> for Unreadable {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl From<RecordError> for Unreadable {
    fn from(error: RecordError) -> Self {
        Self::Record(error)
    }
}

/// Where the other system's SIP database is in a record.
const PARTNER_AT: [(RecordKind, &str); 3] = [
    (RecordKind::OutboundBinding, "/record/partner"),
    (RecordKind::InboundBinding, "/record/primary/database"),
    (RecordKind::Grant, "/record/partner"),
];

/// Where the MC system is in a record.
const SYSTEM_AT: [(RecordKind, &str); 2] = [
    (RecordKind::Agreement, "/record/agreement/key/partner"),
    (RecordKind::SystemConfigurationVersion, "/record/system"),
];

/// Where the private identity of the user is in a record.
const HOLDER_AT: [(RecordKind, &str); 3] = [
    (RecordKind::OutboundBinding, "/record/user/impi"),
    (RecordKind::InboundBinding, "/record/primary/identity/impi"),
    (RecordKind::Grant, "/record/user/impi"),
];

fn pointer_in(kind: RecordKind, places: &[(RecordKind, &'static str)]) -> Option<&'static str> {
    places.iter().find(|(of, _)| *of == kind).map(|(_, pointer)| *pointer)
}

fn partner_filter(kind: RecordKind, partner: &str) -> Result<Filter, Problem> {
    let wrong = |error: IdentityError| invalid_field("partner", &error.to_string());
    if let Some(pointer) = pointer_in(kind, &SYSTEM_AT) {
        let system = McSystemId::parse(partner).map_err(wrong)?;
        return Ok(Filter { pointer, value: system.as_str().to_owned() });
    }
    let pointer = pointer_in(kind, &PARTNER_AT)
        .ok_or_else(|| invalid_field("partner", "is no filter of this list"))?;
    let database = SipDatabaseId::parse(partner).map_err(wrong)?;
    Ok(Filter { pointer, value: database.as_str().to_owned() })
}

fn holder_filter(kind: RecordKind, holder: &str) -> Result<Filter, Problem> {
    let pointer = pointer_in(kind, &HOLDER_AT)
        .ok_or_else(|| invalid_field("holder", "is no filter of this list"))?;
    let impi = Impi::parse(holder).map_err(|error| invalid_field("holder", &error.to_string()))?;
    Ok(Filter { pointer, value: impi.as_str().to_owned() })
}

/// Writes where a page ends: the kind, so that no list takes the cursor of another, and the last key.
fn write_cursor(kind: RecordKind, key: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode([&[kind.as_u8()], key].concat())
}

fn read_cursor(kind: RecordKind, cursor: &str) -> Option<Box<[u8]>> {
    let octets = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (of, key) = octets.split_first()?;
    (*of == kind.as_u8() && (1..=KEY_OCTETS_MAX).contains(&key.len())).then(|| key.into())
}
