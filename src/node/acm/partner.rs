//! The interface between ACM servers as its server: those of other systems ask (TS 23.280 clause 10.17).

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::{Request as HttpRequest, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use utoipa::{IntoResponses, OpenApi};

use super::{
    body,
    refused::{AcmProblem, refused},
};
use crate::{
    api::acm_interconnection::{Answer, Request, ResultCode},
    identity::McSystemId,
    node::{
        http::{self, BearerScheme, Ends, Problem, Responses, bearer_token, refusals},
        park::{AcmPartner, Answered, Parked},
        perform::{Call, Shared},
        tls::Bound,
    },
    outbox::Note,
    token::BearerToken,
};

/// Where requests of other ACM servers arrive.
pub const INTERCONNECTION_PATH: &str = "/acm/v1/interconnection";

/// The interface description.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "migcore ACM server to ACM server",
        description = "Transactions between the administrators of two MC systems (3GPP TS 23.280 clause 10.17).",
    ),
    paths(interconnect, get_description),
    modifiers(&BearerScheme)
)]
struct Description;

/// The interface description, as `/openapi.json` serves it.
pub fn description() -> utoipa::openapi::OpenApi {
    Description::openapi()
}

/// Every path with its methods; the description is tested against it.
fn operations() -> [http::Operation; 2] {
    [
        (INTERCONNECTION_PATH, "post", post(interconnect)),
        ("/openapi.json", "get", get(get_description)),
    ]
}

/// Builds the interface over the ACM server of `shared`.
pub(in crate::node) fn router(shared: Arc<Shared>) -> Router {
    http::router(operations(), shared)
}

/// What a request may be refused with, besides the answer of the role.
struct Refusals;

impl IntoResponses for Refusals {
    fn responses() -> Responses {
        refusals::<AcmProblem>(&[
            (
                401,
                "`not-authenticated`: the bearer token is no partner's, or another's than the request is from.",
            ),
            (
                403,
                "`wrong-system`: the certificate is that of another system than the bearer token's.",
            ),
        ])
    }
}

/// A request of the ACM server of another system. Whoever has no answer sends it again: a repeat meets its outcome.
#[utoipa::path(
    post, path = "/acm/v1/interconnection", request_body = Request,
    responses((status = 200, description = "The answer.", body = Answer), Refusals),
    security(("bearer" = []))
)]
async fn interconnect(
    State(shared): State<Arc<Shared>>,
    ends: Option<Extension<Ends>>,
    bound: Option<Extension<Bound>>,
    request: HttpRequest,
) -> Response {
    let bound = bound.map(|Extension(bound)| bound);
    let (parts, body) = request.into_parts();
    let token = bearer_token(&parts.headers);
    let from = token.as_ref().and_then(|token| shared.presented_by(token));
    let name = from.as_ref().and_then(|from| shared.acm_links.name(from));
    let name = name.unwrap_or_else(|| "partner".into());
    let partner = AcmPartner { name: Arc::clone(&name), ends: ends.map(|Extension(ends)| ends) };
    let ends = partner.ends;
    let (is_told, response) = if let (Some(token), Some(from)) = (token, &from) {
        // The role holds the origin in the body against the token.
        let taken = match shared.check_bound(bound.as_ref(), from) {
            Ok(()) => take(&shared, (from, partner), &parts.headers, body, token).await,
            Err(problem) => Err(problem),
        };
        match taken {
            Ok(Answered { answer: given, .. }) => {
                (is_content(&given), answer(&shared, &parts.headers, given))
            }
            Err(problem) => {
                shared.note_refused(Some(from), &problem);
                (false, problem.into_response())
            }
        }
    } else {
        // Not a word of what it sends is read.
        let reason = "the credential is no peer's";
        shared.report_note(&Note::PeerRefused { peer: None, reason });
        (false, not_authenticated(&shared, &parts.headers))
    };
    let operation = ("acm-partner", "interconnection");
    if is_told {
        shared.count_acm(operation, &response);
    } else {
        shared.observe_acm(operation, None, name, ends, &response);
    }
    response
}

/// Serves this description.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, description = "This description.")))]
async fn get_description() -> Json<utoipa::openapi::OpenApi> {
    Json(description())
}

async fn take(
    shared: &Arc<Shared>,
    (from, partner): (&McSystemId, AcmPartner),
    headers: &HeaderMap,
    body: axum::body::Body,
    token: BearerToken,
) -> Result<Answered<Answer>, Problem> {
    let read = body::read(shared, body::Sender::Partner(from), headers, body).await?;
    let park = |waiting| Parked::AcmInterconnection(waiting, partner);
    body::ask(shared, park, read, |to, request: Request| Call::AcmInterconnection {
        to,
        token: Some(token),
        request,
    })
    .await
}

/// Whether an answer of the role is the content of a 200; else it is a problem.
pub(in crate::node) fn is_content(answer: &Answer) -> bool {
    match answer {
        Answer::NotAuthenticated => false,
        Answer::Refused(refusal) => refusal.code != ResultCode::Busy,
        Answer::Stored | Answer::Pending | Answer::Decided(_) => true,
    }
}

fn answer(shared: &Shared, headers: &HeaderMap, answer: Answer) -> Response {
    match answer {
        Answer::NotAuthenticated => not_authenticated(shared, headers),
        Answer::Refused(refusal) if refusal.code == ResultCode::Busy => refused(&refusal),
        Answer::Stored | Answer::Pending | Answer::Decided(_) | Answer::Refused(_) => {
            http::not_to_be_kept(Json(answer))
        }
    }
}

fn not_authenticated(shared: &Shared, headers: &HeaderMap) -> Response {
    let problem = Problem::new(
        StatusCode::UNAUTHORIZED,
        "not-authenticated",
        "the bearer token is no partner's, or another's than the request is from",
        "send the bearer token that was agreed upon",
    );
    http::challenge(&shared.config.system.domain, headers, problem)
}

impl Shared {
    /// The partner whose credential a token is.
    fn presented_by(&self, token: &BearerToken) -> Option<McSystemId> {
        let presented = token.digest();
        let mut partners = self.config.acm.server.partners.iter();
        let partner = partners.find(|partner| partner.accepted_token == presented);
        partner.map(|partner| partner.id.clone())
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
