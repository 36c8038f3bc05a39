//! What the two HTTP servers have in common: how they serve, and how they say no.

use std::{io, net::SocketAddr, time::Duration};

use axum::{
    Router,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use tokio::{net::TcpListener, sync::watch};
use utoipa::ToSchema;

/// How long a server waits for requests in progress when it is to stop.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// Why a request was refused (RFC 9457), as `application/problem+json`.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize, ToSchema)]
pub(super) struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The status in words.
    pub title: String,
    /// What is wrong with this request.
    pub detail: String,
    /// The part of the request that is wrong, such as `impus[0]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What to do.
    pub fix: String,
}

impl Problem {
    /// A problem with a request as a whole.
    pub(super) fn new(
        status: StatusCode,
        detail: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            status: status.as_u16(),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            detail: detail.into(),
            field: None,
            fix: fix.into(),
        }
    }

    /// Names the part of the request that is wrong.
    pub(super) fn in_field(self, field: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..self }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(self)).into_response();
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, json);
        if status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::GATEWAY_TIMEOUT {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// The answer to a path that is not served.
pub(super) async fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no such path", "see /openapi.json for the paths")
}

/// The answer to a method that a path does not have.
pub(super) async fn method_not_allowed() -> Problem {
    let fix = "see the Allow header or /openapi.json";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not have that method", fix)
}

/// Binds a listener for HTTP, to be given to [`serve`] inside a runtime.
pub(super) fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves `router` until `stop` is set.
pub(super) async fn serve(
    listener: std::net::TcpListener,
    router: Router,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut stopped = stop.clone();
    let graceful = axum::serve(listener, router).with_graceful_shutdown(wait_for(stop));
    let too_long = async {
        // An error means that the system is gone, which is a stop too.
        let _ = stopped.wait_for(|stop| *stop).await;
        tokio::time::sleep(STOP_WAIT).await;
    };
    tokio::select! {
        served = graceful => served,
        () = too_long => Ok(()),
    }
}

async fn wait_for(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
