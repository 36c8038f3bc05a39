//! From a request of the management interface to its HTTP response, by way of a role.

use std::sync::Arc;

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::{
    body::{BindingView, DigestSubscriberView, PoolView, SubscriberView, help},
    configuration_body::{
        AgreementView, ConfigurationVersionView, SystemConfigurationView, UserProfileView, UserView,
    },
    operator_body::{HeldBindingView, RegistrationView},
};
use crate::{
    api::{configuration, migration_identity as management, registration},
    node::{
        http::{self, Problem, RowProblem},
        metrics::ManagementRequest,
        perform::Shared,
    },
};

/// `?check=true`: whether the request is only tried.
#[derive(serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct CheckQuery {
    /// Answer as if it were done, and change nothing.
    #[serde(default)]
    #[param(required = false)]
    check: bool,
}

impl CheckQuery {
    /// The request, or the question whether it would be done.
    pub(super) fn ask<R>(&self, request: R, check: fn(Box<R>) -> R) -> R {
        if self.check { check(Box::new(request)) } else { request }
    }
}

/// Asks the SIP database and turns its answer into a response.
pub(super) async fn ask_database(
    shared: &Arc<Shared>,
    operation: &'static str,
    request: Result<management::Request, Problem>,
) -> Response {
    let response = match request {
        Err(problem) => problem.into_response(),
        Ok(request) => match shared.ask_management(request).await {
            Ok(answer) => from_database(answer),
            Err(none) => Problem::from(none).into_response(),
        },
    };
    counted(shared, operation, response)
}

/// Asks the configuration server and turns its answer into a response, with the document of a system
/// configuration only if `with_secrets`.
pub(super) async fn ask_configuration(
    shared: &Arc<Shared>,
    operation: &'static str,
    request: Result<configuration::Request, Problem>,
    with_secrets: bool,
) -> Response {
    let response = match request {
        Err(problem) => problem.into_response(),
        Ok(request) => match shared.ask_configuration(request).await {
            Ok(answer) => from_configuration(answer, with_secrets),
            Err(none) => Problem::from(none).into_response(),
        },
    };
    counted(shared, operation, response)
}

/// Asks the SIP core and turns its answer into a response.
pub(super) async fn ask_core(
    shared: &Arc<Shared>,
    operation: &'static str,
    request: Result<registration::Request, Problem>,
) -> Response {
    let response = match request {
        Err(problem) => problem.into_response(),
        Ok(request) => match shared.ask_registration(request).await {
            Ok(answer) => from_core(answer),
            Err(none) => Problem::from(none).into_response(),
        },
    };
    counted(shared, operation, response)
}

/// Counts a request by its outcome.
pub(super) fn counted(shared: &Shared, operation: &'static str, response: Response) -> Response {
    let status = response.status().as_u16();
    shared
        .metrics
        .management_requests
        .get_or_create(&ManagementRequest { operation, status })
        .inc();
    tracing::debug!(system = %shared.config.system.name, operation, status, "management request");
    response
}

pub(super) fn from_database(answer: management::Answer) -> Response {
    match answer {
        management::Answer::Done | management::Answer::Granted { .. } => {
            StatusCode::NO_CONTENT.into_response()
        }
        management::Answer::Subscriber { impi, impus, seq } => {
            Json(SubscriberView { impi, impus, seq }).into_response()
        }
        management::Answer::DigestSubscriber { impi, impus, realm, algorithm } => {
            Json(DigestSubscriberView { impi, impus, realm, algorithm }).into_response()
        }
        management::Answer::Pool { direction, total, lent, free } => {
            Json(PoolView { direction, total, lent, free }).into_response()
        }
        management::Answer::Binding(mut binding) => match binding.details.take() {
            Some(details) => Json(HeldBindingView::new(binding, *details)).into_response(),
            None => Json(BindingView::from(binding)).into_response(),
        },
        management::Answer::Refused(refusal) => refused(&refusal).into_response(),
        management::Answer::RowsRefused(rows) => rows_refused(&rows).into_response(),
    }
}

pub(super) fn from_configuration(answer: configuration::Answer, with_secrets: bool) -> Response {
    match answer {
        configuration::Answer::Done => StatusCode::NO_CONTENT.into_response(),
        configuration::Answer::User { mc_service_id, identity, class, may_migrate } => {
            let (impi, impu) = (identity.impi, identity.impu);
            Json(UserView { mc_service_id, impi, impu, class, may_migrate }).into_response()
        }
        configuration::Answer::Agreement { id, agreement } => {
            Json(AgreementView::new(id, &agreement)).into_response()
        }
        configuration::Answer::SystemConfiguration(found) => {
            Json(SystemConfigurationView::new(found, with_secrets)).into_response()
        }
        configuration::Answer::ConfigurationVersion(found) => {
            Json(ConfigurationVersionView::new(*found, with_secrets)).into_response()
        }
        configuration::Answer::UserProfile(found) => {
            Json(UserProfileView::new(found, with_secrets)).into_response()
        }
        configuration::Answer::Refused(refusal) => refused(&refusal).into_response(),
        configuration::Answer::RowsRefused(rows) => rows_refused(&rows).into_response(),
    }
}

fn rows_refused(rows: &[management::RowRefused]) -> Problem {
    let told = rows.iter().map(|management::RowRefused { row, refusal, alone }| {
        let Problem { detail, fix, .. } = refused(refusal);
        RowProblem { row: row + 1, detail, fix, alone: *alone }
    });
    some_rows(told.collect())
}

/// The problem that some of many are refused.
pub(super) fn some_rows(rows: Vec<RowProblem>) -> Problem {
    let what = format!("{} of the rows are refused; nothing was changed", rows.len());
    let fix = "correct these rows, and send all again";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "rows-refused", what, fix).with_rows(rows)
}

fn from_core(answer: registration::Answer) -> Response {
    match answer {
        registration::Answer::Done => StatusCode::NO_CONTENT.into_response(),
        registration::Answer::Registration(found) => {
            Json(RegistrationView::from(found)).into_response()
        }
        registration::Answer::Refused(refusal) => refused(&refusal).into_response(),
    }
}

/// The problem that a role's refusal is.
pub(in crate::node) fn refused(refusal: &management::Refusal) -> Problem {
    use management::Refusal;
    let (status, name, fix) = match refusal {
        Refusal::NotFound(_) => {
            (StatusCode::NOT_FOUND, "not-found", "create it first, or check its name")
        }
        Refusal::Exhausted(_) => {
            (StatusCode::CONFLICT, "exhausted", "add identities to the pool, or release bindings")
        }
        Refusal::Invalid(_) | Refusal::QuarantineTooShort { .. } => {
            (StatusCode::UNPROCESSABLE_ENTITY, "invalid-request", "correct the request")
        }
        Refusal::Full(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "remove what is not needed")
        }
        Refusal::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "ask again later"),
    };
    Problem::new(status, name, refusal.to_string(), fix)
}

/// A field that is well-formed but not right, with what to write in its place.
pub(super) fn invalid_field(field: &str, what: &str) -> Problem {
    http::invalid_field(field, what, help(field))
}
