//! CSC-4: the UEs of this system ask how to reach a partner (`MIG-1`, answered by `MIG-13`), and users get their
//! profiles.

mod caller;
mod profile;

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
    http::{self, BearerScheme, Body, Ends, JsonBody, Problem, Responses, refusals},
    perform::Shared,
};
use crate::api::connection_details::{Answer, Details, Refusal, Request};

/// Longest body of a request, octets.
pub const BODY_OCTETS_MAX: usize = 64 << 10;

/// Where connection details are asked for.
pub const DETAILS_PATH: &str = "/csc-4/v1/connection-details";

/// When to ask again while no identity is free, seconds.
const EXHAUSTED_RETRY_SECS: u32 = 60;

/// When to ask again after the partner did not answer, seconds.
const UNREACHABLE_RETRY_SECS: u32 = 5;

/// The interface description.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "migcore CSC-4",
        description = "What a UE needs to register in a partner MC system (3GPP TR 23.781 solution 2, steps 1 and 13), and \
                       user profiles (TS 24.484).",
    ),
    paths(ask_connection_details, profile::read_profile, get_description),
    modifiers(&BearerScheme)
)]
struct Description;

/// The interface description, as `/openapi.json` serves it.
pub fn description() -> utoipa::openapi::OpenApi {
    Description::openapi()
}

/// Every path with its methods; the description is tested against it.
fn operations() -> [http::Operation; 3] {
    [
        (DETAILS_PATH, "post", post(ask_connection_details)),
        (profile::PROFILE_PATH, "get", get(profile::read_profile)),
        ("/openapi.json", "get", get(get_description)),
    ]
}

/// Builds the interface over the configuration server of `shared`.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    http::router(operations(), shared)
}

impl Shared {
    /// Tells if UEs need no access token, or cannot have one.
    pub(super) fn warn_of_tokens(&self) {
        let system = &*self.config.system.name;
        if !self.config.roles.config_server {
            return;
        }
        if self.config.config_server.static_tokens {
            tracing::warn!(system, "CSC-4 takes static tokens of users, which is for laboratories");
        } else if !self.config.roles.idms {
            tracing::warn!(
                system,
                "no UE can ask for connection details: add idms to roles, whose tokens CSC-4 takes"
            );
        }
    }
}

impl JsonBody for Request {
    const OCTETS_MAX: usize = BODY_OCTETS_MAX;

    fn help(field: &str) -> Option<&'static str> {
        Some(match field {
            "mc_service_id" => {
                "write the MC service ID of the user, such as \"sip:alice@a.example\""
            }
            "location" => "write {\"plmn\": \"20801\"}, with tracking_area and cell if known",
            "plmn" => "write MCC and MNC as 5 or 6 digits, such as \"20801\"",
            "tracking_area" => "write the tracking area code as a number, or leave it out",
            "cell" => "write the cell identity as a number, or leave it out",
            "partner" => {
                "write the MC system ID wished for, such as \"sip:b.example\", or leave it out"
            }
            "strict" => "write true or false, or leave it out",
            _ => return None,
        })
    }
}

/// What a request may be refused with.
struct Refusals;

impl IntoResponses for Refusals {
    fn responses() -> Responses {
        refusals::<Problem>(&[
            (
                401,
                "`not-authenticated`: no access token of this system that holds now, nor a static token of this user where such are taken.",
            ),
            (
                403,
                "`not-authorised`: the token is another user's or good for something else, or the user may not migrate. `partner-not-allowed`: not to the partner of a strict wish. `refused-by-partner`: the partner refused the user.",
            ),
            (404, "`no-partner`: no partner that this user may use covers the location."),
            (
                503,
                "`exhausted`: no identity is free. `not-configured`: the partner's configuration is not known. `busy`, `unavailable`: the system cannot do it now.",
            ),
            (
                504,
                "`partner-unreachable`: the partner did not answer. `no-answer`: there was none within 10 seconds.",
            ),
        ])
    }
}

/// Asks for what is needed to register in a partner system (A1, `MIG-1`). Asking again goes through
/// all steps again and gives the same identities.
#[utoipa::path(
    post, path = "/csc-4/v1/connection-details", request_body = Request,
    responses((status = 200, description = "Connection details (A2, `MIG-13`).", body = Details), Refusals),
    security(("bearer" = []))
)]
async fn ask_connection_details(
    State(shared): State<Arc<Shared>>,
    ends: Option<Extension<Ends>>,
    headers: HeaderMap,
    Body(body): Body<Request>,
) -> Response {
    let (step, response) = match body {
        Err(problem) => (None, problem.into_response()),
        Ok(request) => match caller::of_details(&shared, &headers, &request.mc_service_id) {
            Err(denied) => (None, denied.respond(&shared, &headers)),
            Ok(credential) => match shared.ask_connection_details(credential, request).await {
                Ok(answered) => (answered.step, answer(&shared, &headers, answered.answer)),
                Err(no_answer) => (None, Problem::from(no_answer).into_response()),
            },
        },
    };
    let to = Arc::clone(&shared.names.ue);
    shared.observe_csc(
        ("csc-4", "connection_details"),
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
        Answer::Details(details) => http::not_to_be_kept(Json(*details)),
        Answer::Refused(refusal @ Refusal::NotAuthenticated) => {
            caller::report_refused(shared, headers);
            http::challenge(&shared.config.system.domain, headers, refused(refusal))
        }
        Answer::Refused(refusal) => refused(refusal).into_response(),
    }
}

pub(super) fn refused(refusal: Refusal) -> Problem {
    let (status, name, fix) = match refusal {
        Refusal::NotAuthenticated => {
            let fix = "send an access token of this user, good for configuration management";
            (StatusCode::UNAUTHORIZED, "not-authenticated", fix)
        }
        Refusal::NotAuthorised => {
            (StatusCode::FORBIDDEN, "not-authorised", "ask the administrator of the MC system")
        }
        Refusal::PartnerNotAllowed => (
            StatusCode::FORBIDDEN,
            "partner-not-allowed",
            "ask without strict, or for another partner",
        ),
        Refusal::NoPartner => {
            (StatusCode::NOT_FOUND, "no-partner", "ask at another place, or for a partner by name")
        }
        Refusal::RefusedByPartner => {
            (StatusCode::FORBIDDEN, "refused-by-partner", "ask for another partner")
        }
        Refusal::Exhausted => (StatusCode::SERVICE_UNAVAILABLE, "exhausted", "ask again later"),
        Refusal::PartnerUnreachable => {
            (StatusCode::GATEWAY_TIMEOUT, "partner-unreachable", "ask again: nothing is lost")
        }
        Refusal::NotConfigured => {
            let fix = "have the partner's configuration provisioned";
            (StatusCode::SERVICE_UNAVAILABLE, "not-configured", fix)
        }
        Refusal::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "ask again"),
    };
    let problem = Problem::new(status, name, refusal.to_string(), fix);
    match refusal {
        Refusal::Exhausted | Refusal::NotConfigured => problem.retry_after(EXHAUSTED_RETRY_SECS),
        Refusal::PartnerUnreachable => problem.retry_after(UNREACHABLE_RETRY_SECS),
        Refusal::NotAuthenticated
        | Refusal::NotAuthorised
        | Refusal::PartnerNotAllowed
        | Refusal::NoPartner
        | Refusal::RefusedByPartner
        | Refusal::Unavailable => problem,
    }
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
}
