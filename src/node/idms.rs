//! CSC-1: users log in with a browser, and clients get tokens, at the identity management server (TS 33.180 annex B).
//!
//! `/.well-known/openid-configuration` describes the interface to clients (OpenID Connect Discovery). TLS ends before
//! it; what the addresses of the issuer say of https is for the browser.

mod discovery;
mod form;
mod page;
mod password;
mod token;

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    body::Body as Stream,
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};

pub(super) use password::{PasswordChecks, check as check_password, hash as hash_password};

use self::form::Form;
use super::{
    http::{Ends, Problem, method_not_allowed},
    metrics::CscRequest,
    perform::Shared,
};
use crate::api::identity_management::{
    AUTHORIZATION_PATH, Answer, DISCOVERY_PATH, KEYS_PATH, Request, TOKEN_PATH,
};

/// How long keys and discovery may be kept, seconds. A new key is published long before it signs.
const KEPT_SECS: u32 = 300;

/// Builds the interface over the identity management server of `shared`.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route(AUTHORIZATION_PATH, get(open_log_in).post(log_in))
        .route(TOKEN_PATH, post(give_tokens))
        .route(DISCOVERY_PATH, get(describe))
        .route(KEYS_PATH, get(show_keys))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(shared)
}

/// A browser comes to log a user in.
async fn open_log_in(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap) -> Response {
    let response = match Form::parse(uri.query().unwrap_or_default().as_bytes()) {
        Err(wrong) => page::wrong_request(wrong),
        Ok(mut form) => {
            let parameters = Box::new(form.authorization());
            let visit = page::visit_of(&headers);
            page::respond(&shared, shared.ask_idms(Request::OpenLogIn { parameters, visit }).await)
        }
    };
    counted(&shared, "open_log_in", response)
}

/// A user sends the page.
async fn log_in(
    State(shared): State<Arc<Shared>>,
    ends: Option<Extension<Ends>>,
    headers: HeaderMap,
    body: Stream,
) -> Response {
    let response = match Form::read(&headers, body).await {
        Err(wrong) => page::wrong_request(wrong.what()),
        Ok(form) => {
            let log_in = form.log_in(page::visit_of(&headers), source(ends));
            page::respond(&shared, shared.ask_idms(Request::LogIn(Box::new(log_in))).await)
        }
    };
    counted(&shared, "log_in", response)
}

/// A client asks for tokens.
async fn give_tokens(
    State(shared): State<Arc<Shared>>,
    ends: Option<Extension<Ends>>,
    headers: HeaderMap,
    body: Stream,
) -> Response {
    let request = match Form::read(&headers, body).await {
        Err(wrong) => Err(wrong.into()),
        Ok(form) => token::request(form, &headers, source(ends)),
    };
    let response = match request {
        Err(wrong) => wrong.respond(&shared),
        Ok(request) => {
            let answer = shared.ask_idms(Request::Token(Box::new(request))).await;
            token::respond(&shared, answer)
        }
    };
    counted(&shared, "token", response)
}

/// Describes the interface.
async fn describe(State(shared): State<Arc<Shared>>) -> Response {
    let described = Json(discovery::document(&shared.config.idms.server.issuer));
    counted(&shared, "discovery", kept(described))
}

/// Shows the keys.
async fn show_keys(State(shared): State<Arc<Shared>>) -> Response {
    let response = match shared.ask_idms(Request::Keys).await {
        Ok(Answer::Keys(keys)) => kept(Json(keys)),
        Ok(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Err(none) => Problem::from(none).into_response(),
    };
    counted(&shared, "keys", response)
}

async fn not_found() -> Problem {
    let fix = "see /.well-known/openid-configuration for the paths";
    Problem::new(StatusCode::NOT_FOUND, "unknown-path", "no such path", fix)
}

fn kept(response: impl IntoResponse) -> Response {
    let how = format!("public, max-age={KEPT_SECS}");
    ([(header::CACHE_CONTROL, how)], response).into_response()
}

fn source(ends: Option<Extension<Ends>>) -> Option<std::net::IpAddr> {
    ends.map(|Extension(ends)| ends.remote.ip())
}

/// Counts a request by its outcome.
fn counted(shared: &Shared, operation: &'static str, response: Response) -> Response {
    let status = response.status().as_u16();
    let labels = CscRequest { interface: "csc-1", operation, status };
    shared.metrics.csc_requests.get_or_create(&labels).inc();
    response
}
