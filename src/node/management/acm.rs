//! The operations of the ACM server: the users of ACM clients, and answers that belong to nothing.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode, response::IntoResponse, response::Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Refusals,
    answer::{CheckQuery, counted, invalid_field, refused},
    body::{help, json_bodies},
    configuration::service_id,
    configuration_body::Token,
};
use crate::{
    acm::STRAYS_MAX,
    api::{
        acm_management::{Answer, Request, Stray, User},
        acm_payload::Kind,
    },
    identity::McServiceId,
    node::{
        http::{Body, JsonBody, Problem, Query, Segments},
        perform::Shared,
    },
};

/// A user of ACM clients. The token goes in and never comes out.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AcmUserBody {
    /// The bearer token that the user's ACM client presents.
    #[schema(value_type = String, min_length = 22, max_length = 4096, write_only)]
    token: Token,
    /// The kinds of transactions that the user may begin; none if left out.
    #[serde(default)]
    may_request: Vec<Kind>,
    /// The kinds of transactions of partners that the user may decide; none if left out.
    #[serde(default)]
    may_decide: Vec<Kind>,
}

json_bodies! {
    AcmUserBody: 16_384,
}

/// A user of ACM clients, without token.
#[derive(Serialize, ToSchema)]
pub(super) struct AcmUserView {
    /// The MC service ID.
    mc_service_id: McServiceId,
    /// The kinds of transactions that the user may begin.
    may_request: Vec<Kind>,
    /// The kinds of transactions of partners that the user may decide.
    may_decide: Vec<Kind>,
}

/// Answers of partners to transactions that are not known here.
#[derive(Serialize, ToSchema)]
pub(super) struct StraysView {
    /// In the order of systems and transactions: who sent it (`from`), when it came (`at`), and the `response` as the
    /// interface between ACM servers describes it.
    #[schema(value_type = Vec<Object>)]
    items: Vec<Stray>,
}

/// How many are shown.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StraysQuery {
    /// At most so many, 1 to 1000; 100 if left out.
    limit: Option<usize>,
}

/// Creates or replaces a user of ACM clients.
#[utoipa::path(
    put, path = "/v1/acm/users/{mc_service_id}", request_body = AcmUserBody,
    params(
        ("mc_service_id" = String, Path, description = "The MC service ID.", example = "sip:admin@a.example"),
        CheckQuery,
    ),
    responses((status = 204, description = "Done."), Refusals)
)]
pub(super) async fn put_acm_user(
    State(shared): State<Arc<Shared>>,
    Segments(id): Segments<String>,
    Query(query): Query<CheckQuery>,
    Body(body): Body<AcmUserBody>,
) -> Response {
    let request = async { Ok(query?.ask(user_request(&id?, body?)?, Request::Check)) };
    ask_acm(&shared, "put_acm_user", request.await).await
}

/// Shows a user of ACM clients, without token.
#[utoipa::path(
    get, path = "/v1/acm/users/{mc_service_id}",
    params(("mc_service_id" = String, Path, description = "The MC service ID.")),
    responses((status = 200, description = "The user.", body = AcmUserView), Refusals)
)]
pub(super) async fn get_acm_user(
    State(shared): State<Arc<Shared>>,
    Segments(id): Segments<String>,
) -> Response {
    let request = id.and_then(|id| service_id("mc_service_id", &id)).map(Request::GetUser);
    ask_acm(&shared, "get_acm_user", request).await
}

/// Removes a user of ACM clients, whose log-ons end. What waits for the user stays until it expires.
#[utoipa::path(
    delete, path = "/v1/acm/users/{mc_service_id}",
    params(("mc_service_id" = String, Path, description = "The MC service ID.")),
    responses((status = 204, description = "Done."), Refusals)
)]
pub(super) async fn delete_acm_user(
    State(shared): State<Arc<Shared>>,
    Segments(id): Segments<String>,
) -> Response {
    let request = id.and_then(|id| service_id("mc_service_id", &id)).map(Request::DeleteUser);
    ask_acm(&shared, "delete_acm_user", request).await
}

/// Shows answers of partners to transactions that are not known here.
#[utoipa::path(
    get, path = "/v1/acm/strays", params(StraysQuery),
    responses((status = 200, description = "The answers.", body = StraysView), Refusals)
)]
pub(super) async fn list_strays(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<StraysQuery>,
) -> Response {
    let request = query.and_then(|StraysQuery { limit }| {
        let limit = limit.unwrap_or(100);
        if !(1..=STRAYS_MAX).contains(&limit) {
            return Err(invalid_field("limit", "is not 1 to 1000"));
        }
        Ok(Request::ListStrays { limit })
    });
    ask_acm(&shared, "list_strays", request).await
}

/// The request that a PUT of a user is.
pub(super) fn user_request(id: &str, body: AcmUserBody) -> Result<Request, Problem> {
    let AcmUserBody { token, may_request, may_decide } = body;
    for (field, kinds) in [("may_request", &may_request), ("may_decide", &may_decide)] {
        let is_repeated = |kind| kinds.iter().filter(|other| *other == kind).count() > 1;
        if kinds.iter().any(is_repeated) {
            return Err(invalid_field(field, "has a kind twice"));
        }
    }
    let mc_service_id = service_id("mc_service_id", id)?;
    Ok(Request::PutUser(User { mc_service_id, token: token.0, may_request, may_decide }))
}

/// Asks the ACM server and turns its answer into a response.
async fn ask_acm(
    shared: &Arc<Shared>,
    operation: &'static str,
    request: Result<Request, Problem>,
) -> Response {
    let response = match request {
        Err(problem) => problem.into_response(),
        Ok(request) => match shared.ask_acm_management(request).await {
            Ok(answer) => {
                // A token may have been replaced or taken away.
                if answer == Answer::Done {
                    shared.end_foreign_acm_streams();
                }
                from_acm(answer)
            }
            Err(none) => Problem::from(none).into_response(),
        },
    };
    counted(shared, operation, response)
}

fn from_acm(answer: Answer) -> Response {
    match answer {
        Answer::Done => StatusCode::NO_CONTENT.into_response(),
        Answer::User { mc_service_id, may_request, may_decide } => {
            Json(AcmUserView { mc_service_id, may_request, may_decide }).into_response()
        }
        Answer::Strays(items) => Json(StraysView { items }).into_response(),
        Answer::Refused(refusal) => refused(&refusal).into_response(),
    }
}
