//! Metrics and health over HTTP, for whoever operates the system.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::{http, loading::Progress, perform::Shared};

/// The format of `/metrics`.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Builds `/metrics`, `/health/live` and `/health/ready`.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .fallback(http::not_found)
        .method_not_allowed_fallback(http::method_not_allowed)
        .with_state(shared)
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    ([(header::CONTENT_TYPE, METRICS_TYPE)], shared.metrics_text()).into_response()
}

/// Whether the process answers at all.
async fn live() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// Whether the system can do its work now, and if not, what is in the way.
async fn ready(State(shared): State<Arc<Shared>>) -> (StatusCode, Json<Readiness>) {
    let readiness = shared.readiness();
    let ready = readiness.storage
        && readiness.own_database
        && !readiness.stopping
        && readiness.loading.is_none();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness))
}

/// What the system needs to do its work.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Readiness {
    /// The storage takes changes.
    pub(super) storage: bool,
    /// The SIP database of this system is in this process or connected.
    pub(super) own_database: bool,
    /// Configured Diameter peers without a connection. They do not make the system unready: it
    /// serves everybody else.
    pub(super) unconnected_peers: Vec<String>,
    /// The process is about to end.
    pub(super) stopping: bool,
    /// How far the stored records are loaded, while they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) loading: Option<Progress>,
}
