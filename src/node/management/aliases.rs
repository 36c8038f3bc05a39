//! The operations of the functional alias controlling server: users hold functional aliases (TS 23.280 10.13).

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::{
    Refusals,
    alias_body::{ActivatedView, ActivationQuery, AliasPageView, PageQuery},
    answer::{counted, invalid_field},
    body::help,
};
use crate::{
    api::alias_management::{Activation, Answer, PAGE_DEFAULT, PAGE_MAX, Refusal, Request},
    identity::{FunctionalAlias, IdentityError, McServiceId},
    node::{
        http::{self, Problem, Query, Segments},
        perform::Shared,
    },
};

/// Where one holder of one alias is.
pub(super) const HOLDER_PATH: &str = "/v1/functional-aliases/{alias}/holders/{user}";

/// Activates a functional alias for a user, or has the user take it over. Repeatable: who holds it already keeps the
/// place among the holders.
#[utoipa::path(
    put, path = "/v1/functional-aliases/{alias}/holders/{user}",
    params(
        ("alias" = String, Path, description = "The functional alias.", example = "sip:driver@a.example"),
        ("user" = String, Path, description = "The MC service ID.", example = "sip:alice@a.example"),
        ActivationQuery,
    ),
    responses((status = 200, description = "The user holds the alias.", body = ActivatedView), Refusals)
)]
pub(super) async fn put_holder(
    State(shared): State<Arc<Shared>>,
    Segments(segments): Segments<(String, String)>,
    Query(query): Query<ActivationQuery>,
) -> Response {
    let request = segments.and_then(holder).and_then(|(alias, user)| {
        let ActivationQuery { take_over, shared } = query?;
        let activation = Activation { alias, user, shared };
        let request = if take_over { Request::TakeOver } else { Request::Activate };
        Ok(request(activation))
    });
    ask(&shared, "put_functional_alias_holder", request).await
}

/// Deactivates a functional alias for a user. Repeatable.
#[utoipa::path(
    delete, path = "/v1/functional-aliases/{alias}/holders/{user}",
    params(
        ("alias" = String, Path, description = "The functional alias."),
        ("user" = String, Path, description = "The MC service ID."),
    ),
    responses((status = 204, description = "The user does not hold the alias."), Refusals)
)]
pub(super) async fn delete_holder(
    State(shared): State<Arc<Shared>>,
    Segments(segments): Segments<(String, String)>,
) -> Response {
    let request = segments.and_then(holder);
    let request = request.map(|(alias, user)| Request::Deactivate { alias, user });
    ask(&shared, "delete_functional_alias_holder", request).await
}

/// Lists the functional aliases that are active, with their holders.
#[utoipa::path(
    get, path = "/v1/functional-aliases", params(PageQuery),
    responses((status = 200, description = "Aliases.", body = AliasPageView), Refusals)
)]
pub(super) async fn list_aliases(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<PageQuery>,
) -> Response {
    let request = query.and_then(|PageQuery { after, limit }| {
        let after = after.map(|after| alias_in("after", &after)).transpose()?;
        let limit = limit.map_or(Some(PAGE_DEFAULT), |limit| limit.parse().ok());
        let limit = limit.filter(|limit| (1..=PAGE_MAX).contains(limit));
        let limit = limit.ok_or_else(|| refused(Refusal::Limit))?;
        Ok(Request::List { after, limit })
    });
    ask(&shared, "list_functional_aliases", request).await
}

async fn ask(
    shared: &Arc<Shared>,
    operation: &'static str,
    request: Result<Request, Problem>,
) -> Response {
    let response = match request {
        Err(problem) => problem.into_response(),
        Ok(request) => match shared.ask_aliases(request).await {
            Ok(answer) => respond(answer),
            Err(none) => Problem::from(none).into_response(),
        },
    };
    counted(shared, operation, response)
}

fn respond(answer: Answer) -> Response {
    match answer {
        Answer::Active { displaced } => Json(ActivatedView { displaced }).into_response(),
        Answer::Inactive => StatusCode::NO_CONTENT.into_response(),
        Answer::Page(page) => Json(AliasPageView::from(page)).into_response(),
        Answer::Refused(refusal) => refused(refusal).into_response(),
    }
}

/// The problem that a refusal is.
fn refused(refusal: Refusal) -> Problem {
    let (status, name) = match refusal {
        Refusal::ForeignUser | Refusal::Limit => {
            (StatusCode::UNPROCESSABLE_ENTITY, "invalid-request")
        }
        Refusal::Held => (StatusCode::CONFLICT, "alias-held"),
        Refusal::TooManyHolders
        | Refusal::TooManyAliases
        | Refusal::TooManyActivations
        | Refusal::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    let Some(field) = refusal.field() else {
        return Problem::new(status, name, refusal.to_string(), refusal.fix());
    };
    Problem::new(status, name, format!("{field} {refusal}"), refusal.fix()).in_field(field)
}

fn holder((alias, user): (String, String)) -> Result<(FunctionalAlias, McServiceId), Problem> {
    let alias = alias_in("alias", &alias)?;
    let wrong = |error: IdentityError| {
        http::invalid_field("user", &error.to_string(), help("mc_service_id"))
    };
    Ok((alias, McServiceId::parse(&user).map_err(wrong)?))
}

fn alias_in(field: &str, text: &str) -> Result<FunctionalAlias, Problem> {
    FunctionalAlias::parse(text).map_err(|error| invalid_field(field, &error.to_string()))
}
