//! The operations of the SIP core: a registration is shown or ended; and the revocation of a binding,
//! which ends what the SIP database lent and the registration made with it.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::{
    Refusals,
    answer::{ask_core, counted, refused},
    body::DirectionName,
    database::{lent_identity, private_identity},
    operator_body::{EndedName, RegistrationView, RevokedView},
};
use crate::{
    api::{
        migration_identity::{self as management, Direction, Refusal},
        registration,
    },
    identity::Impi,
    node::{
        http::{Problem, Segments},
        park::NoAnswer,
        perform::Shared,
    },
};

/// Shows a registration in this system's SIP core.
#[utoipa::path(
    get, path = "/v1/registrations/{impi}",
    params(("impi" = String, Path, description = "The private identity.", example = "mig-7@b.example")),
    responses((status = 200, description = "The registration.", body = RegistrationView), Refusals)
)]
pub(super) async fn get_registration(
    State(shared): State<Arc<Shared>>,
    Segments(impi): Segments<String>,
) -> Response {
    let request = impi.and_then(|impi| private_identity(&impi)).map(registration::Request::Get);
    ask_core(&shared, "get_registration", request).await
}

/// Ends a registration in this system's SIP core at once, and every attempt to register that is under way
/// (TS 24.229 clause 5.4.1.5). The user may register anew, unless the SIP database gives no vector.
#[utoipa::path(
    delete, path = "/v1/registrations/{impi}",
    params(("impi" = String, Path, description = "The private identity.")),
    responses((status = 204, description = "Done."), Refusals)
)]
pub(super) async fn remove_registration(
    State(shared): State<Arc<Shared>>,
    Segments(impi): Segments<String>,
) -> Response {
    let request = impi.and_then(|impi| private_identity(&impi)).map(registration::Request::Remove);
    ask_core(&shared, "remove_registration", request).await
}

/// Ends the binding of a lent private identity and, in this system's SIP core, the registration made with
/// it, at once. The next vector request is refused. Repeatable: what it ended before stays ended.
///
/// The user may ask for another binding while an agreement allows it.
#[utoipa::path(
    post, path = "/v1/bindings/{direction}/{impi}/revoke",
    params(
        ("direction" = DirectionName, Path, description = "Which way it was lent."),
        ("impi" = String, Path, description = "The lent private identity."),
    ),
    responses((status = 200, description = "What was ended.", body = RevokedView), Refusals)
)]
pub(super) async fn revoke_binding(
    State(shared): State<Arc<Shared>>,
    Segments(segments): Segments<(String, String)>,
) -> Response {
    let revoked = match segments.and_then(lent_identity) {
        Ok((direction, impi)) => {
            // A task of its own: a client that goes away must not leave it half done.
            let revoking = tokio::spawn(revoke(Arc::clone(&shared), direction, impi));
            revoking.await.unwrap_or_else(|_| Err(NoAnswer::Lost.into()))
        }
        Err(problem) => Err(problem),
    };
    counted(&shared, "revoke_binding", revoked.map(Json).into_response())
}

/// The binding goes first: once it has, whoever tries to register again gets no vector.
async fn revoke(
    shared: Arc<Shared>,
    direction: Direction,
    impi: Impi,
) -> Result<RevokedView, Problem> {
    let release = match direction {
        Direction::Outbound => management::Request::ReleaseOutbound(impi.clone()),
        Direction::Inbound => management::Request::ReleaseInbound(impi.clone()),
    };
    let binding = match shared.ask_management(release).await? {
        management::Answer::Refused(Refusal::NotFound(_)) => EndedName::None,
        management::Answer::Refused(refusal) => return Err(refused(&refusal)),
        management::Answer::Done
        | management::Answer::Granted { .. }
        | management::Answer::RowsRefused(_)
        | management::Answer::Subscriber { .. }
        | management::Answer::DigestSubscriber { .. }
        | management::Answer::Pool { .. }
        | management::Answer::Binding(_) => EndedName::Ended,
    };
    let registration = match direction {
        // It is in the partner's system.
        Direction::Outbound => EndedName::Elsewhere,
        Direction::Inbound => end_registration(&shared, impi).await?,
    };
    if binding == EndedName::None && registration != EndedName::Ended {
        let fix = "nothing is left to revoke; check the name";
        let what = "not found: binding";
        return Err(Problem::new(StatusCode::NOT_FOUND, "not-found", what, fix));
    }
    Ok(RevokedView { binding, registration })
}

async fn end_registration(shared: &Arc<Shared>, impi: Impi) -> Result<EndedName, Problem> {
    match shared.ask_registration(registration::Request::Remove(impi)).await {
        Err(NoAnswer::NoRole) => Ok(EndedName::Elsewhere),
        Err(none) => Err(none.into()),
        Ok(registration::Answer::Refused(Refusal::NotFound(_))) => Ok(EndedName::None),
        Ok(registration::Answer::Refused(refusal)) => Err(refused(&refusal)),
        Ok(registration::Answer::Done | registration::Answer::Registration(_)) => {
            Ok(EndedName::Ended)
        }
    }
}
