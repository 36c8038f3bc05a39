//! CSC-17 as its server: the configuration management servers of other systems ask for access (`MIG-7`,
//! answered by `MIG-12`).

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use utoipa::{IntoResponses, OpenApi};

use super::{
    http::{self, BearerScheme, Body, Ends, JsonBody, Problem, Responses, bearer_token, refusals},
    perform::Shared,
    tls::Bound,
};
use crate::api::system_access::{Access, Answer, Refusal, Request};

/// Longest body of a request, octets.
pub const BODY_OCTETS_MAX: usize = 64 << 10;

/// Where access is asked for.
pub(super) const ACCESS_PATH: &str = "/csc-17/v1/system-access";

/// When to ask again while no identity is free, seconds.
const EXHAUSTED_RETRY_SECS: u32 = 60;

/// The interface description.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "migcore CSC-17",
        description = "Access of users of other MC systems to this one (3GPP TR 23.781 solution 2, steps 7 and 12).",
    ),
    paths(ask_system_access, get_description),
    modifiers(&BearerScheme)
)]
struct Description;

/// The interface description, as `/openapi.json` serves it.
pub fn description() -> utoipa::openapi::OpenApi {
    Description::openapi()
}

/// Every path with its methods; the description is tested against it.
fn operations() -> [http::Operation; 2] {
    [(ACCESS_PATH, "post", post(ask_system_access)), ("/openapi.json", "get", get(get_description))]
}

/// Builds the interface over the configuration server of `shared`.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    http::router(operations(), shared)
}

impl JsonBody for Request {
    const OCTETS_MAX: usize = BODY_OCTETS_MAX;

    fn help(field: &str) -> Option<&'static str> {
        Some(match field {
            "primary" => "write the MC system ID of the asking system, such as \"sip:a.example\"",
            "mc_service_id" => {
                "write the MC service ID of the user, such as \"sip:alice@a.example\""
            }
            "user" => "write database, identity and server_name of the user",
            "database" => "write the Diameter identity of the user's SIP database",
            "identity" => "write {\"impi\": \"user@realm\", \"impu\": \"sip:user@host\"}",
            "impi" => "write a private identity, user@realm",
            "impu" => "write a public identity, sip:user@host",
            "server_name" => {
                "write the Server-Name for vector requests, such as \"sip:migration.a.example\""
            }
            _ => return None,
        })
    }
}

/// What a request may be refused with.
struct Refusals;

impl IntoResponses for Refusals {
    fn responses() -> Responses {
        refusals::<Problem>(&[
            (401, "`not-authenticated`: the bearer token is no partner's."),
            (
                403,
                "`wrong-system`: the request speaks for another system than the token's or the certificate's. `not-authorised`: there is no agreement for this user.",
            ),
            (422, "A field is wrong, or the request contradicts what is stored."),
            (
                503,
                "`exhausted`: no identity is free. `busy`, `unavailable`: the system cannot do it now.",
            ),
        ])
    }
}

/// Asks access for a user of another system (C1, `MIG-7`). Asking again gives the same identities.
#[utoipa::path(
    post, path = "/csc-17/v1/system-access", request_body = Request,
    responses((status = 200, description = "Access (C2, `MIG-12`).", body = Access), Refusals),
    security(("bearer" = []))
)]
async fn ask_system_access(
    State(shared): State<Arc<Shared>>,
    ends: Option<Extension<Ends>>,
    bound: Option<Extension<Bound>>,
    headers: HeaderMap,
    Body(body): Body<Request>,
) -> Response {
    let bound = bound.map(|Extension(bound)| bound);
    let (step, to, response) = match body {
        Err(problem) => (None, None, problem.into_response()),
        Ok(request) => {
            let to = shared.partners.name(&request.primary);
            match shared.check_bound(bound.as_ref(), &request.primary) {
                Err(problem) => (None, to, problem.into_response()),
                Ok(()) => match shared.ask_system_access(bearer_token(&headers), request).await {
                    Ok(answered) => (answered.step, to, answer(&shared, &headers, answered.answer)),
                    Err(no_answer) => (None, to, Problem::from(no_answer).into_response()),
                },
            }
        }
    };
    let to = to.unwrap_or_else(|| "partner".into());
    shared.observe_csc(
        ("csc-17", "system_access"),
        step,
        to,
        ends.map(|Extension(ends)| ends),
        &response,
    );
    response
}

/// Serves this description.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, description = "This description.")))]
async fn get_description() -> Json<utoipa::openapi::OpenApi> {
    Json(description())
}

fn answer(shared: &Shared, headers: &HeaderMap, answer: Answer) -> Response {
    match answer {
        Answer::Granted(access) => http::not_to_be_kept(Json(*access)),
        Answer::Refused(refusal @ Refusal::NotAuthenticated) => {
            http::challenge(&shared.config.system.domain, headers, refused(refusal))
        }
        Answer::Refused(refusal) => refused(refusal).into_response(),
    }
}

fn refused(refusal: Refusal) -> Problem {
    let (status, fix) = match refusal {
        Refusal::NotAuthenticated => {
            (StatusCode::UNAUTHORIZED, "send the bearer token that was agreed upon")
        }
        Refusal::WrongSystem => (
            StatusCode::FORBIDDEN,
            "name the system and the SIP database that the token stands for",
        ),
        Refusal::NotAuthorised => (StatusCode::FORBIDDEN, "make an agreement for this user"),
        Refusal::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "correct the request"),
        Refusal::Exhausted => (StatusCode::SERVICE_UNAVAILABLE, "ask again later"),
        Refusal::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "ask again"),
    };
    let problem = Problem::new(status, name_of(refusal), refusal.to_string(), fix);
    if refusal == Refusal::Exhausted { problem.retry_after(EXHAUSTED_RETRY_SECS) } else { problem }
}

/// The name of a refusal in the type of its problem.
pub(super) const fn name_of(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NotAuthenticated => "not-authenticated",
        Refusal::WrongSystem => "wrong-system",
        Refusal::NotAuthorised => "not-authorised",
        Refusal::Invalid(_) => "invalid-request",
        Refusal::Exhausted => "exhausted",
        Refusal::Unavailable => "unavailable",
    }
}

/// The refusal that a problem tells of, for the client; `None` if it is none of this interface.
pub(super) fn refusal_of(status: StatusCode, name: &str) -> Option<Refusal> {
    let refusal = match name {
        "not-authenticated" => Refusal::NotAuthenticated,
        "wrong-system" => Refusal::WrongSystem,
        "not-authorised" => Refusal::NotAuthorised,
        "invalid-request" => Refusal::Invalid("the partner does not accept the request"),
        "exhausted" => Refusal::Exhausted,
        "unavailable" => Refusal::Unavailable,
        _ => return None,
    };
    let is_its_status = status.as_u16() == refused(refusal).status
        || (status == StatusCode::BAD_REQUEST && matches!(refusal, Refusal::Invalid(_)));
    is_its_status.then_some(refusal)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_description_has_every_operation_and_no_other() {
        let description = serde_json::to_value(description()).unwrap();
        let mut described = BTreeSet::new();
        for (path, methods) in description["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                described.insert((path.clone(), method.clone()));
            }
        }
        let served = operations().map(|(path, method, _)| (path.to_owned(), method.to_owned()));
        assert_eq!(described, BTreeSet::from(served));
    }

    #[test]
    fn the_client_reads_every_refusal_that_the_server_writes() {
        for refusal in [
            Refusal::NotAuthenticated,
            Refusal::WrongSystem,
            Refusal::NotAuthorised,
            Refusal::Exhausted,
            Refusal::Unavailable,
        ] {
            let problem = refused(refusal);
            let status = StatusCode::from_u16(problem.status).unwrap();
            assert_eq!(refusal_of(status, problem.kind), Some(refusal));
        }
        let read = refusal_of(StatusCode::UNPROCESSABLE_ENTITY, name_of(Refusal::Invalid("it")));
        assert!(matches!(read, Some(Refusal::Invalid(_))));
    }
}
