//! The operations of the SIP database: subscribers, pools, bindings and grants.

use std::sync::Arc;

use axum::{extract::State, response::Response};

use super::{
    Refusals,
    answer::{CheckQuery, ask_database, invalid_field},
    body::{
        BindingView, DigestSubscriberBody, DigestSubscriberView, DirectionName, GrantBody,
        InboundBody, MappingBody, OutboundBody, PoolBody, PoolView, SubscriberBody, SubscriberView,
    },
    operator_body::HeldBindingView,
};
use crate::{
    api::migration_identity::{Direction, Request, Subscriber},
    identity::{Impi, SipDatabaseId},
    node::{
        http::{Body, Problem, Query, Segments},
        perform::Shared,
    },
};

/// Creates or replaces a subscriber. SQN and registration stay unless K or OPc change.
#[utoipa::path(
    put, path = "/v1/subscribers/{impi}", request_body = SubscriberBody,
    params(
        ("impi" = String, Path, description = "The private identity.", example = "alice@a.example"),
        CheckQuery,
    ),
    responses((status = 204, description = "Done."), Refusals)
)]
pub(super) async fn put_subscriber(
    State(shared): State<Arc<Shared>>,
    Segments(impi): Segments<String>,
    Query(query): Query<CheckQuery>,
    Body(body): Body<SubscriberBody>,
) -> Response {
    let request = async { Ok(query?.ask(subscriber_request(&impi?, body?)?, Request::Check)) };
    ask_database(&shared, "put_subscriber", request.await).await
}

/// Shows a subscriber, without keys.
#[utoipa::path(
    get, path = "/v1/subscribers/{impi}",
    params(("impi" = String, Path, description = "The private identity.")),
    responses((status = 200, description = "The subscriber.", body = SubscriberView), Refusals)
)]
pub(super) async fn get_subscriber(
    State(shared): State<Arc<Shared>>,
    Segments(impi): Segments<String>,
) -> Response {
    let request = impi.and_then(|impi| private_identity(&impi)).map(Request::GetSubscriber);
    ask_database(&shared, "get_subscriber", request).await
}

/// Removes a subscriber with its outbound bindings and grants. Its SEQ is forgotten too: a subscriber that comes
/// back with the same keys needs a `seq` no lower than the one that a GET shows before.
#[utoipa::path(
    delete, path = "/v1/subscribers/{impi}",
    params(("impi" = String, Path, description = "The private identity.")),
    responses((status = 204, description = "Done."), Refusals)
)]
pub(super) async fn delete_subscriber(
    State(shared): State<Arc<Shared>>,
    Segments(impi): Segments<String>,
) -> Response {
    let request = impi.and_then(|impi| private_identity(&impi)).map(Request::DeleteSubscriber);
    ask_database(&shared, "delete_subscriber", request).await
}

/// Creates or replaces a subscriber with a password: of SIP Digest, for users of other systems that cannot be asked.
/// Registration stays unless the password or its realm changes.
#[utoipa::path(
    put, path = "/v1/digest-subscribers/{impi}", request_body = DigestSubscriberBody,
    params(
        ("impi" = String, Path, description = "The private identity.", example = "guest-1@b.example"),
        CheckQuery,
    ),
    responses((status = 204, description = "Done."), Refusals)
)]
pub(super) async fn put_digest_subscriber(
    State(shared): State<Arc<Shared>>,
    Segments(impi): Segments<String>,
    Query(query): Query<CheckQuery>,
    Body(body): Body<DigestSubscriberBody>,
) -> Response {
    let domain = &shared.config.system.domain;
    let request = async {
        let request = digest_subscriber_request(&impi?, body?, domain)?;
        Ok(query?.ask(request, Request::Check))
    };
    ask_database(&shared, "put_digest_subscriber", request.await).await
}

/// Shows a subscriber with a password, without it.
#[utoipa::path(
    get, path = "/v1/digest-subscribers/{impi}",
    params(("impi" = String, Path, description = "The private identity.")),
    responses((status = 200, description = "The subscriber.", body = DigestSubscriberView), Refusals)
)]
pub(super) async fn get_digest_subscriber(
    State(shared): State<Arc<Shared>>,
    Segments(impi): Segments<String>,
) -> Response {
    let request = impi.and_then(|impi| private_identity(&impi)).map(Request::GetDigestSubscriber);
    ask_database(&shared, "get_digest_subscriber", request).await
}

/// Removes a subscriber with a password. A registration lasts until it expires or is removed.
#[utoipa::path(
    delete, path = "/v1/digest-subscribers/{impi}",
    params(("impi" = String, Path, description = "The private identity.")),
    responses((status = 204, description = "Done."), Refusals)
)]
pub(super) async fn delete_digest_subscriber(
    State(shared): State<Arc<Shared>>,
    Segments(impi): Segments<String>,
) -> Response {
    let request =
        impi.and_then(|impi| private_identity(&impi)).map(Request::DeleteDigestSubscriber);
    ask_database(&shared, "delete_digest_subscriber", request).await
}

/// Creates a pool, or adds identities to a listed one. A generated pool never changes.
#[utoipa::path(
    put, path = "/v1/pools/{name}", request_body = PoolBody,
    params(("name" = String, Path, description = "The name of the pool."), CheckQuery),
    responses((status = 204, description = "Done."), Refusals)
)]
pub(super) async fn put_pool(
    State(shared): State<Arc<Shared>>,
    Segments(name): Segments<String>,
    Query(query): Query<CheckQuery>,
    Body(body): Body<PoolBody>,
) -> Response {
    let request = async { Ok(query?.ask(pool_request(name?, body?)?, Request::Check)) };
    ask_database(&shared, "put_pool", request.await).await
}

/// Tells how full a pool is.
#[utoipa::path(
    get, path = "/v1/pools/{name}",
    params(("name" = String, Path, description = "The name of the pool.")),
    responses((status = 200, description = "The pool.", body = PoolView), Refusals)
)]
pub(super) async fn get_pool(
    State(shared): State<Arc<Shared>>,
    Segments(name): Segments<String>,
) -> Response {
    ask_database(&shared, "get_pool", name.map(Request::GetPool)).await
}

/// Lends an outbound pair to a user of this system for use at one partner (B1, `MIG-4` to `MIG-6`).
/// Asking again gives the same pair.
#[utoipa::path(
    post, path = "/v1/bindings/outbound", request_body = OutboundBody,
    responses((status = 200, description = "The binding.", body = BindingView), Refusals)
)]
pub(super) async fn bind_outbound(
    State(shared): State<Arc<Shared>>,
    Body(body): Body<OutboundBody>,
) -> Response {
    ask_database(&shared, "bind_outbound", body.map(Request::from)).await
}

/// Lends an inbound pair to a user of another system (D1, `MIG-9` to `MIG-11`). Asking again gives
/// the same pair.
#[utoipa::path(
    post, path = "/v1/bindings/inbound", request_body = InboundBody,
    responses((status = 200, description = "The binding.", body = BindingView), Refusals)
)]
pub(super) async fn bind_inbound(
    State(shared): State<Arc<Shared>>,
    Body(body): Body<InboundBody>,
) -> Response {
    ask_database(&shared, "bind_inbound", body.map(Request::from)).await
}

/// Binds one pair of a listed inbound pool to one user of another system for good, before the user comes.
/// Only release ends it.
#[utoipa::path(
    put, path = "/v1/mappings", request_body = MappingBody, params(CheckQuery),
    responses(
        (status = 200, description = "The binding.", body = BindingView),
        (status = 204, description = "It would be bound."),
        Refusals,
    )
)]
pub(super) async fn map_inbound(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<CheckQuery>,
    Body(body): Body<MappingBody>,
) -> Response {
    let request = async { Ok(query?.ask(Request::from(body?), Request::Check)) };
    ask_database(&shared, "map_inbound", request.await).await
}

/// Shows the binding of a lent private identity, with its holder, its lease and its agreement.
#[utoipa::path(
    get, path = "/v1/bindings/{direction}/{impi}",
    params(
        ("direction" = DirectionName, Path, description = "Which way it was lent."),
        ("impi" = String, Path, description = "The lent private identity."),
    ),
    responses((status = 200, description = "The binding.", body = HeldBindingView), Refusals)
)]
pub(super) async fn get_binding(
    State(shared): State<Arc<Shared>>,
    Segments(segments): Segments<(String, String)>,
) -> Response {
    let request = segments.and_then(lent_identity).map(|(direction, impi)| match direction {
        Direction::Outbound => Request::GetOutbound(impi),
        Direction::Inbound => Request::GetInbound(impi),
    });
    ask_database(&shared, "get_binding", request).await
}

/// Ends the binding of a lent private identity: the next vector request with it is refused.
#[utoipa::path(
    delete, path = "/v1/bindings/{direction}/{impi}",
    params(
        ("direction" = DirectionName, Path, description = "Which way it was lent."),
        ("impi" = String, Path, description = "The lent private identity."),
    ),
    responses((status = 204, description = "Done."), Refusals)
)]
pub(super) async fn release_binding(
    State(shared): State<Arc<Shared>>,
    Segments(segments): Segments<(String, String)>,
) -> Response {
    let request = segments.and_then(lent_identity).map(|(direction, impi)| match direction {
        Direction::Outbound => Request::ReleaseOutbound(impi),
        Direction::Inbound => Request::ReleaseInbound(impi),
    });
    ask_database(&shared, "release_binding", request).await
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
pub(super) async fn put_grant(
    State(shared): State<Arc<Shared>>,
    Segments(segments): Segments<(String, String)>,
    Body(body): Body<GrantBody>,
) -> Response {
    let request = async {
        let (impi, partner) = granted(segments?)?;
        Ok(body?.into_request(impi, partner))
    };
    ask_database(&shared, "put_grant", request.await).await
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
pub(super) async fn delete_grant(
    State(shared): State<Arc<Shared>>,
    Segments(segments): Segments<(String, String)>,
) -> Response {
    let request = segments.and_then(granted);
    let request = request.map(|(impi, partner)| Request::DeleteGrant { impi, partner });
    ask_database(&shared, "delete_grant", request).await
}

pub(super) fn subscriber_request(impi: &str, body: SubscriberBody) -> Result<Request, Problem> {
    subscriber(impi, body).map(Request::PutSubscriber)
}

pub(super) fn subscriber(impi: &str, body: SubscriberBody) -> Result<Subscriber, Problem> {
    let subscriber = body.into_subscriber(private_identity(impi)?);
    subscriber.map_err(|(field, what)| invalid_field(field, what))
}

pub(super) fn digest_subscriber_request(
    impi: &str,
    body: DigestSubscriberBody,
    domain: &str,
) -> Result<Request, Problem> {
    let subscriber = body.into_subscriber(private_identity(impi)?, domain);
    let subscriber = subscriber.map_err(|(field, what)| invalid_field(field, what))?;
    Ok(Request::PutDigestSubscriber(subscriber))
}

pub(super) fn pool_request(name: String, body: PoolBody) -> Result<Request, Problem> {
    body.into_request(name).map_err(|(field, what)| invalid_field(field, what))
}

pub(super) fn lent_identity(
    (direction, impi): (String, String),
) -> Result<(Direction, Impi), Problem> {
    let impi = private_identity(&impi)?;
    match direction.as_str() {
        "outbound" => Ok((Direction::Outbound, impi)),
        "inbound" => Ok((Direction::Inbound, impi)),
        _ => Err(invalid_field("direction", "is unknown")),
    }
}

fn granted((impi, partner): (String, String)) -> Result<(Impi, SipDatabaseId), Problem> {
    let impi = private_identity(&impi)?;
    let partner = SipDatabaseId::parse(&partner);
    let partner = partner.map_err(|error| invalid_field("partner", &error.to_string()))?;
    Ok((impi, partner))
}

pub(super) fn private_identity(impi: &str) -> Result<Impi, Problem> {
    Impi::parse(impi).map_err(|error| invalid_field("impi", &error.to_string()))
}
