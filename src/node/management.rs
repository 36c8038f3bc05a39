//! The management interface of the SIP database over HTTP: JSON in, JSON out.
//!
//! It carries B1/B2 (`MIG-4`, `MIG-6`) and D1/D2 (`MIG-9`, `MIG-11`) of TR 23.781 solution 2. Each
//! request becomes one value for the role ([`crate::api::migration_identity`]), is parked with a
//! deadline, and answered once. `/openapi.json` describes it.

pub(super) mod body;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, FromRequest, Path, Request, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{MethodRouter, delete, get, post, put},
};
use bytes::Bytes;
use utoipa::OpenApi;

pub use body::{BindingView, SystemView};

use self::body::{
    GrantBody, InboundBody, OutboundBody, PoolBody, PoolView, SubscriberBody, SubscriberView, help,
};
use super::{
    http::{self, Problem},
    metrics::ManagementRequest,
    perform::{NoAnswer, Shared},
};
use crate::{
    api::migration_identity as api,
    identity::{Impi, SipDatabaseId},
};

/// Longest body of a request, octets: a listed pool of some tens of thousands of pairs.
pub const BODY_OCTETS_MAX: usize = 4 << 20;

/// The interface description.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "migcore management interface",
        description = "Subscribers, identity pools, migration bindings and grants of one SIP database.",
    ),
    paths(
        get_system,
        put_subscriber,
        get_subscriber,
        delete_subscriber,
        put_pool,
        get_pool,
        bind_outbound,
        bind_inbound,
        get_binding,
        release_binding,
        put_grant,
        delete_grant,
        get_description,
    )
)]
struct Description;

/// The interface description, as `/openapi.json` serves it.
pub fn description() -> utoipa::openapi::OpenApi {
    Description::openapi()
}

/// Every path with its methods; the description is tested against it.
fn operations() -> [(&'static str, &'static str, MethodRouter<Arc<Shared>>); 13] {
    [
        ("/v1/system", "get", get(get_system)),
        ("/v1/subscribers/{impi}", "put", put(put_subscriber)),
        ("/v1/subscribers/{impi}", "get", get(get_subscriber)),
        ("/v1/subscribers/{impi}", "delete", delete(delete_subscriber)),
        ("/v1/pools/{name}", "put", put(put_pool)),
        ("/v1/pools/{name}", "get", get(get_pool)),
        ("/v1/bindings/outbound", "post", post(bind_outbound)),
        ("/v1/bindings/inbound", "post", post(bind_inbound)),
        ("/v1/bindings/{direction}/{impi}", "get", get(get_binding)),
        ("/v1/bindings/{direction}/{impi}", "delete", delete(release_binding)),
        ("/v1/grants/{impi}/{partner}", "put", put(put_grant)),
        ("/v1/grants/{impi}/{partner}", "delete", delete(delete_grant)),
        ("/openapi.json", "get", get(get_description)),
    ]
}

/// Builds the interface over the SIP database of `shared`.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    let mut router = Router::new();
    for (path, _, handler) in operations() {
        router = router.route(path, handler);
    }
    router
        .fallback(http::not_found)
        .method_not_allowed_fallback(http::method_not_allowed)
        .layer(DefaultBodyLimit::max(BODY_OCTETS_MAX))
        .with_state(shared)
}

/// What any request may be refused with.
#[derive(utoipa::IntoResponses)]
#[expect(dead_code, reason = "describes the refusals; they are made by `refusal` and `Problem`")]
enum Refusals {
    /// The request is malformed.
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(#[to_schema] Problem),
    /// There is no such thing.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(#[to_schema] Problem),
    /// No identity is free.
    #[response(status = 409, content_type = "application/problem+json")]
    Exhausted(#[to_schema] Problem),
    /// The body is too long.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLong(#[to_schema] Problem),
    /// The body is not JSON.
    #[response(status = 415, content_type = "application/problem+json")]
    NotJson(#[to_schema] Problem),
    /// A field is wrong, or the request contradicts what is stored.
    #[response(status = 422, content_type = "application/problem+json")]
    Invalid(#[to_schema] Problem),
    /// The storage takes no changes now, or a table is full.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(#[to_schema] Problem),
    /// The SIP database did not answer within 10 seconds.
    #[response(status = 504, content_type = "application/problem+json")]
    Late(#[to_schema] Problem),
}

/// Tells who this system is.
#[utoipa::path(get, path = "/v1/system", responses((status = 200, description = "This system.", body = SystemView)))]
async fn get_system(State(shared): State<Arc<Shared>>) -> Json<SystemView> {
    Json(SystemView {
        domain: shared.config.system.domain.clone(),
        database: shared.config.diameter.identity.clone(),
        server_name: shared.config.sip_database.migration_server_name.clone(),
    })
}

/// Creates or replaces a subscriber. SQN and registration stay unless K or OPc change.
#[utoipa::path(
    put, path = "/v1/subscribers/{impi}", request_body = SubscriberBody,
    params(("impi" = String, Path, description = "The private identity.", example = "alice@a.example")),
    responses((status = 204, description = "Done."), Refusals)
)]
async fn put_subscriber(
    State(shared): State<Arc<Shared>>,
    Path(impi): Path<String>,
    body: Body<SubscriberBody>,
) -> Response {
    let request = async {
        let impi = private_identity(&impi)?;
        body.0?.into_request(impi).map_err(|(field, what)| invalid_field(field, what))
    };
    perform(&shared, "put_subscriber", request.await).await
}

/// Shows a subscriber, without keys.
#[utoipa::path(
    get, path = "/v1/subscribers/{impi}",
    params(("impi" = String, Path, description = "The private identity.")),
    responses((status = 200, description = "The subscriber.", body = SubscriberView), Refusals)
)]
async fn get_subscriber(State(shared): State<Arc<Shared>>, Path(impi): Path<String>) -> Response {
    let request = private_identity(&impi).map(api::Request::GetSubscriber);
    perform(&shared, "get_subscriber", request).await
}

/// Removes a subscriber with its outbound bindings and grants.
#[utoipa::path(
    delete, path = "/v1/subscribers/{impi}",
    params(("impi" = String, Path, description = "The private identity.")),
    responses((status = 204, description = "Done."), Refusals)
)]
async fn delete_subscriber(
    State(shared): State<Arc<Shared>>,
    Path(impi): Path<String>,
) -> Response {
    let request = private_identity(&impi).map(api::Request::DeleteSubscriber);
    perform(&shared, "delete_subscriber", request).await
}

/// Creates a pool, or adds identities to a listed one. A generated pool never changes.
#[utoipa::path(
    put, path = "/v1/pools/{name}", request_body = PoolBody,
    params(("name" = String, Path, description = "The name of the pool.")),
    responses((status = 204, description = "Done."), Refusals)
)]
async fn put_pool(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    body: Body<PoolBody>,
) -> Response {
    let request = body.0.and_then(|body| {
        body.into_request(name).map_err(|(field, what)| invalid_field(field, what))
    });
    perform(&shared, "put_pool", request).await
}

/// Tells how full a pool is.
#[utoipa::path(
    get, path = "/v1/pools/{name}",
    params(("name" = String, Path, description = "The name of the pool.")),
    responses((status = 200, description = "The pool.", body = PoolView), Refusals)
)]
async fn get_pool(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Response {
    perform(&shared, "get_pool", Ok(api::Request::GetPool(name))).await
}

/// Lends an outbound pair to a user of this system for use at one partner (B1, `MIG-4` to `MIG-6`).
/// Asking again gives the same pair.
#[utoipa::path(
    post, path = "/v1/bindings/outbound", request_body = OutboundBody,
    responses((status = 200, description = "The binding.", body = BindingView), Refusals)
)]
async fn bind_outbound(State(shared): State<Arc<Shared>>, body: Body<OutboundBody>) -> Response {
    perform(&shared, "bind_outbound", body.0.map(api::Request::from)).await
}

/// Lends an inbound pair to a user of another system (D1, `MIG-9` to `MIG-11`). Asking again gives
/// the same pair.
#[utoipa::path(
    post, path = "/v1/bindings/inbound", request_body = InboundBody,
    responses((status = 200, description = "The binding.", body = BindingView), Refusals)
)]
async fn bind_inbound(State(shared): State<Arc<Shared>>, body: Body<InboundBody>) -> Response {
    perform(&shared, "bind_inbound", body.0.map(api::Request::from)).await
}

/// Shows the binding of a lent private identity.
#[utoipa::path(
    get, path = "/v1/bindings/{direction}/{impi}",
    params(
        ("direction" = body::DirectionName, Path, description = "Which way it was lent."),
        ("impi" = String, Path, description = "The lent private identity."),
    ),
    responses((status = 200, description = "The binding.", body = BindingView), Refusals)
)]
async fn get_binding(
    State(shared): State<Arc<Shared>>,
    Path((direction, impi)): Path<(String, String)>,
) -> Response {
    let request = match (private_identity(&impi), direction.as_str()) {
        (Ok(impi), "outbound") => Ok(api::Request::GetOutbound(impi)),
        (Ok(impi), "inbound") => Ok(api::Request::GetInbound(impi)),
        (Ok(_), _) => Err(invalid_field("direction", "is unknown")),
        (Err(problem), _) => Err(problem),
    };
    perform(&shared, "get_binding", request).await
}

/// Ends the binding of a lent private identity: the next vector request with it is refused.
#[utoipa::path(
    delete, path = "/v1/bindings/{direction}/{impi}",
    params(
        ("direction" = body::DirectionName, Path, description = "Which way it was lent."),
        ("impi" = String, Path, description = "The lent private identity."),
    ),
    responses((status = 204, description = "Done."), Refusals)
)]
async fn release_binding(
    State(shared): State<Arc<Shared>>,
    Path((direction, impi)): Path<(String, String)>,
) -> Response {
    let request = match (private_identity(&impi), direction.as_str()) {
        (Ok(impi), "outbound") => Ok(api::Request::ReleaseOutbound(impi)),
        (Ok(impi), "inbound") => Ok(api::Request::ReleaseInbound(impi)),
        (Ok(_), _) => Err(invalid_field("direction", "is unknown")),
        (Err(problem), _) => Err(problem),
    };
    perform(&shared, "release_binding", request).await
}

/// Allows the real pair of a user at one partner, where policy skips outbound identities.
#[utoipa::path(
    put, path = "/v1/grants/{impi}/{partner}", request_body = GrantBody,
    params(
        ("impi" = String, Path, description = "The real private identity."),
        ("partner" = String, Path, description = "The Diameter identity of the partner's SIP database."),
    ),
    responses((status = 204, description = "Done."), Refusals)
)]
async fn put_grant(
    State(shared): State<Arc<Shared>>,
    Path((impi, partner)): Path<(String, String)>,
    body: Body<GrantBody>,
) -> Response {
    let request = async {
        let (impi, partner) = (private_identity(&impi)?, database_identity(&partner)?);
        body.0.map(|body| body.into_request(impi, partner))
    };
    perform(&shared, "put_grant", request.await).await
}

/// Withdraws a grant.
#[utoipa::path(
    delete, path = "/v1/grants/{impi}/{partner}",
    params(
        ("impi" = String, Path, description = "The real private identity."),
        ("partner" = String, Path, description = "The Diameter identity of the partner's SIP database."),
    ),
    responses((status = 204, description = "Done."), Refusals)
)]
async fn delete_grant(
    State(shared): State<Arc<Shared>>,
    Path((impi, partner)): Path<(String, String)>,
) -> Response {
    let request = private_identity(&impi).and_then(|impi| {
        database_identity(&partner).map(|partner| api::Request::DeleteGrant { impi, partner })
    });
    perform(&shared, "delete_grant", request).await
}

/// Serves this description.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, description = "This description.")))]
async fn get_description() -> Json<utoipa::openapi::OpenApi> {
    Json(description())
}

/// Asks the role and turns its answer into a response.
async fn perform(
    shared: &Arc<Shared>,
    operation: &'static str,
    request: Result<api::Request, Problem>,
) -> Response {
    let response = match request {
        Err(problem) => problem.into_response(),
        Ok(request) => match shared.ask_management(request).await {
            Ok(answer) => answered(answer),
            Err(NoAnswer::Late) => {
                let fix = "ask again: a repeated request does no harm";
                Problem::new(StatusCode::GATEWAY_TIMEOUT, "no answer within 10 seconds", fix)
                    .into_response()
            }
            Err(NoAnswer::TooMany) => {
                let what = "too many requests wait for an answer";
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, what, "ask again later")
                    .into_response()
            }
        },
    };
    let status = response.status().as_u16();
    shared
        .metrics
        .management_requests
        .get_or_create(&ManagementRequest { operation, status })
        .inc();
    tracing::debug!(system = %shared.config.system.name, operation, status, "management request");
    response
}

fn answered(answer: api::Answer) -> Response {
    match answer {
        api::Answer::Done => StatusCode::NO_CONTENT.into_response(),
        api::Answer::Subscriber { impi, impus, seq } => {
            Json(SubscriberView { impi, impus, seq }).into_response()
        }
        api::Answer::Pool { direction, total, lent, free } => {
            Json(PoolView { direction, total, lent, free }).into_response()
        }
        api::Answer::Binding(binding) => Json(BindingView::from(binding)).into_response(),
        api::Answer::Refused(refusal) => refused(&refusal).into_response(),
    }
}

fn refused(refusal: &api::Refusal) -> Problem {
    let (status, fix) = match refusal {
        api::Refusal::NotFound(_) => (StatusCode::NOT_FOUND, "create it first, or check its name"),
        api::Refusal::Exhausted(_) => {
            (StatusCode::CONFLICT, "add identities to the pool, or release bindings")
        }
        api::Refusal::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "correct the request"),
        api::Refusal::Full(_) => (StatusCode::SERVICE_UNAVAILABLE, "remove what is not needed"),
        api::Refusal::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "ask again later"),
    };
    Problem::new(status, refusal.to_string(), fix)
}

fn private_identity(impi: &str) -> Result<Impi, Problem> {
    Impi::parse(impi).map_err(|error| invalid_field("impi", &error.to_string()))
}

fn database_identity(fqdn: &str) -> Result<SipDatabaseId, Problem> {
    SipDatabaseId::parse(fqdn).map_err(|error| invalid_field("partner", &error.to_string()))
}

fn invalid_field(field: &str, what: &str) -> Problem {
    let fix = help(field).unwrap_or("correct this field");
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("{field} {what}"), fix).in_field(field)
}

/// A JSON body of type `T`, or what is wrong with it.
struct Body<T>(Result<T, Problem>);

impl<T: serde::de::DeserializeOwned, S: Sync + Send> FromRequest<S> for Body<T> {
    type Rejection = std::convert::Infallible;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        if !is_json(request.headers()) {
            let fix = "send Content-Type: application/json";
            let what = "the body is not declared as JSON";
            return Ok(Self(Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, what, fix))));
        }
        let octets =
            Bytes::from_request(request, state).await.map_err(|rejection| too_long(&rejection));
        Ok(Self(octets.and_then(|octets| parse(&octets))))
    }
}

/// A web page of another origin cannot send this type without being asked first: so it cannot use
/// a browser on this host to reach the interface.
fn is_json(headers: &HeaderMap) -> bool {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = given.and_then(|value| value.split(';').next()).unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/json")
}

fn too_long(rejection: &BytesRejection) -> Problem {
    let fix = format!("send at most {BODY_OCTETS_MAX} octets; a listed pool may be put in parts");
    Problem::new(rejection.status(), "the body cannot be read", fix)
}

fn parse<T: serde::de::DeserializeOwned>(octets: &[u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(octets);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let what = error.inner().to_string();
        if error.inner().is_syntax() || error.inner().is_eof() {
            let what = format!("the body is not JSON: {what}");
            return Problem::new(StatusCode::BAD_REQUEST, what, "see /openapi.json for an example");
        }
        // A field that is missing is named in the message, the path is that of its parent.
        let missing = what.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
        let field = match missing {
            Some(missing) if path == "." => missing.to_owned(),
            Some(missing) => format!("{path}.{missing}"),
            None => path,
        };
        let fix = if what.starts_with("unknown field") {
            "remove it, or correct its name"
        } else {
            help(&field).unwrap_or("see /openapi.json for the fields")
        };
        let what = format!("{field}: {what}");
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, what, fix).in_field(field)
    })
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
    fn a_wrong_field_is_named_with_what_to_write() {
        for (body, field) in [
            (r#"{"impus": ["alice"], "k": "00"}"#, "impus[0]"),
            (r#"{"impus": ["sip:a@b"], "k": "00"}"#, "k"),
            (r#"{"impus": ["sip:a@b"], "k": 7}"#, "k"),
            (r#"{"impus": ["sip:a@b"]}"#, "k"),
        ] {
            let problem = parse::<SubscriberBody>(body.as_bytes()).err().unwrap();
            assert_eq!(problem.field.as_deref(), Some(field), "{body}: {problem:?}");
            assert_eq!(Some(problem.fix.as_str()), help(field));
        }
        let problem = parse::<SubscriberBody>(br#"{"impuz": []}"#).err().unwrap();
        assert_eq!(problem.field.as_deref(), Some("impuz"));
        assert_eq!(parse::<SubscriberBody>(b"{").err().unwrap().status, 400);
    }
}
