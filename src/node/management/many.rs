//! Many subscribers or users by one request: JSON lines in, all of them done or none.
//!
//! What takes long is done on a thread of its own, so that no worker is kept from SIP.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body as Stream,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::{
    Refusals,
    answer::{CheckQuery, counted, from_configuration, from_database, some_rows},
    body::{SubscriberBody, help, json_bodies},
    configuration::user,
    configuration_body::UserBody,
    database::subscriber,
};
use crate::{
    api::{configuration, migration_identity as management},
    node::{
        http::{self, JsonBody, Limits, Problem, Query, RowProblem, parse},
        park::{NoAnswer, Parked},
        perform::{Call, Shared},
    },
};

/// Most rows of a request.
pub(in crate::node) const ROWS_MAX: usize = management::ROWS_MAX;

/// Longest body of a request, octets.
pub(in crate::node) const OCTETS_MAX: usize = 64 << 20;

/// Media type of the rows.
pub(in crate::node) const MEDIA_TYPE: &str = "application/x-ndjson";

/// How long a client may take to send a body.
pub(in crate::node) const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// A subscriber among many: one line.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SubscriberRow {
    /// The private identity.
    #[schema(value_type = String, example = "alice@a.example")]
    impi: String,
    /// All else.
    subscriber: SubscriberBody,
}

/// A user among many: one line.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UserRow {
    /// The MC service ID.
    #[schema(value_type = String, example = "sip:alice@a.example")]
    mc_service_id: String,
    /// All else.
    user: UserBody,
}

json_bodies! {
    SubscriberRow: 65_536,
    UserRow: 16_384,
}

/// Creates or replaces many subscribers: all of them or none. Rows that are refused are told with their
/// numbers.
#[utoipa::path(
    post, path = "/v1/subscribers",
    request_body(
        content = SubscriberRow, content_type = "application/x-ndjson",
        description = "One subscriber a line; at most 250000 lines and 64 MiB.",
    ),
    params(CheckQuery),
    responses((status = 204, description = "Done."), Refusals)
)]
pub(super) async fn put_subscribers(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<CheckQuery>,
    headers: HeaderMap,
    body: Stream,
) -> Response {
    let response = async {
        let query = query?;
        if shared.roles.database.is_none() {
            return Err(NoAnswer::NoRole.into());
        }
        let (one, text) = read(&shared, &headers, body).await?;
        let request = move |to| {
            let rows =
                parse_rows(&text, |row: SubscriberRow| subscriber(&row.impi, row.subscriber))?;
            let request = management::Request::PutSubscribers(rows);
            Ok(Call::Management { to, request: query.ask(request, management::Request::Check) })
        };
        let answered = shared.ask_apart(Parked::Management, one, request).await;
        answered.map(|answered| from_database(answered.answer))
    };
    let response = response.await.unwrap_or_else(IntoResponse::into_response);
    counted(&shared, "put_subscribers", response)
}

/// Creates or replaces many users of the configuration server: all of them or none. Rows that are refused
/// are told with their numbers; a user from whom something is taken away has to be changed alone.
#[utoipa::path(
    post, path = "/v1/users",
    request_body(
        content = UserRow, content_type = "application/x-ndjson",
        description = "One user a line; at most 250000 lines and 64 MiB.",
    ),
    params(CheckQuery),
    responses((status = 204, description = "Done."), Refusals)
)]
pub(super) async fn put_users(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<CheckQuery>,
    headers: HeaderMap,
    body: Stream,
) -> Response {
    let response = async {
        let query = query?;
        if shared.roles.config_server.is_none() {
            return Err(NoAnswer::NoRole.into());
        }
        let (one, text) = read(&shared, &headers, body).await?;
        let request = move |to| {
            let rows = parse_rows(&text, |row: UserRow| user(&row.mc_service_id, row.user))?;
            let request = configuration::Request::PutUsers(rows);
            let request = query.ask(request, configuration::Request::Check);
            Ok(Call::Configuration { to, request })
        };
        let answered = shared.ask_apart(Parked::Configuration, one, request).await;
        answered.map(|answered| from_configuration(answered.answer, false))
    };
    let response = response.await.unwrap_or_else(IntoResponse::into_response);
    counted(&shared, "put_users", response)
}

/// Reads the rows. One request about many at a time: together they may take some hundred megabytes.
async fn read(
    shared: &Shared,
    headers: &HeaderMap,
    body: Stream,
) -> Result<(OwnedSemaphorePermit, Zeroizing<Vec<u8>>), Problem> {
    let one = Arc::clone(&shared.many).try_acquire_owned().map_err(|_| {
        let what = "another request about many is under way";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", what, "ask again later")
    })?;
    let limits = Limits { media_type: MEDIA_TYPE, octets_max: OCTETS_MAX, timeout: BODY_TIMEOUT };
    let text = http::read(headers, body, limits).await?;
    Ok((one, Zeroizing::new(text)))
}

/// Parses every line, or says which cannot be.
fn parse_rows<T: JsonBody, R>(
    text: &[u8],
    read: impl Fn(T) -> Result<R, Problem>,
) -> Result<Vec<R>, Problem> {
    let (mut rows, mut wrong) = (Vec::new(), Vec::new());
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    for (index, line) in text.split(|octet| *octet == b'\n').enumerate() {
        if index == ROWS_MAX {
            let what = format!("there are more than {ROWS_MAX} rows");
            let fix = "send them in parts";
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-long", what, fix));
        }
        let parsed = if line.len() > T::OCTETS_MAX {
            let what = format!("the row is longer than {} octets", T::OCTETS_MAX);
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-long", what, "send less"))
        } else {
            parse(line).and_then(&read)
        };
        match parsed {
            Ok(row) => rows.push(row),
            Err(Problem { detail, fix, .. }) => {
                wrong.push(RowProblem { row: index + 1, detail, fix, alone: false });
            }
        }
    }
    if wrong.is_empty() { Ok(rows) } else { Err(some_rows(wrong)) }
}
