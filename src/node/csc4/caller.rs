//! Who asks on CSC-4: the user of an access token that this system's identity management server issued (RFC 6750, TS
//! 33.180 clause B.10), or, where the configuration says so, of a static token.

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{
    api::connection_details::Credential,
    identity::McServiceId,
    node::{
        http::{self, Problem, bearer_token},
        perform::Shared,
    },
    token::{
        BearerToken,
        claims::{AccessToken, ServiceIdClaims},
        scope::Scopes,
    },
};

/// Why nobody gets an answer.
pub(super) enum Denied {
    /// 401: no token, or none that holds here and now.
    Token,
    /// 403: the token is good for something else.
    Scope(Scopes),
    /// 403: the token is another user's.
    NotTheirs,
    /// Anything else.
    Other(Problem),
}

/// Whom a request about `user` is from; `None` if it presents nothing that holds.
pub(super) fn of_details(
    shared: &Shared,
    headers: &HeaderMap,
    user: &McServiceId,
) -> Result<Option<Credential>, Denied> {
    let Some(presented) = bearer_token(headers) else { return Ok(None) };
    if let Some(token) = verified(shared, &presented) {
        configures(&token, user)?;
        return Ok(Some(Credential::User(user.clone())));
    }
    let is_taken = shared.config.config_server.static_tokens;
    Ok(is_taken.then_some(Credential::Static(presented)))
}

/// Tells that nobody was believed, if a token was presented.
pub(super) fn report_refused(shared: &Shared, headers: &HeaderMap) {
    if headers.contains_key(header::AUTHORIZATION) {
        shared.report_token_refused("csc-4", "none that holds");
    }
}

/// The access token that a request presents, if it is one of this system that holds now. This interface takes bearer
/// tokens: one that is bound to a key is of no use without a proof.
pub(super) fn access_token(shared: &Shared, headers: &HeaderMap) -> Option<AccessToken> {
    verified(shared, &bearer_token(headers)?)
}

fn verified(shared: &Shared, presented: &BearerToken) -> Option<AccessToken> {
    let token = shared.roles.idms.as_ref()?.verify_access(presented.expose(), shared.clock.now());
    token.ok().filter(|token| token.cnf.is_none())
}

/// Whether a token is `user`'s and good for configuration management of the service that this is the ID for. Whose it
/// is comes first: nobody learns whether another user is known.
fn configures(token: &AccessToken, user: &McServiceId) -> Result<(), Denied> {
    let of_user = scopes_of(&token.services).filter(|(id, _)| *id == Some(user));
    let mut needed = None;
    for (_, scope) in of_user {
        if scope.is_within(token.scope) {
            return Ok(());
        }
        needed.get_or_insert(scope);
    }
    Err(needed.map_or(Denied::NotTheirs, Denied::Scope))
}

/// The user by each service, and what a token needs for its configuration management.
fn scopes_of(ids: &ServiceIdClaims) -> impl Iterator<Item = (Option<&McServiceId>, Scopes)> {
    [
        (ids.mcptt(), Scopes::PTT_CONFIGURATION),
        (ids.mcvideo(), Scopes::VIDEO_CONFIGURATION),
        (ids.mcdata(), Scopes::DATA_CONFIGURATION),
    ]
    .into_iter()
}

impl Denied {
    pub(super) fn respond(self, shared: &Shared, headers: &HeaderMap) -> Response {
        let realm = &shared.config.system.domain;
        match &self {
            Self::Token => report_refused(shared, headers),
            Self::Scope(_) => shared.report_token_refused("csc-4", "scope"),
            Self::NotTheirs => shared.report_token_refused("csc-4", "of another user"),
            Self::Other(_) => {}
        }
        match self {
            Self::Token => {
                let what = "the request has no bearer token of this system that holds now";
                let fix = "get one from the identity management server";
                let problem =
                    Problem::new(StatusCode::UNAUTHORIZED, "not-authenticated", what, fix);
                http::challenge(realm, headers, problem)
            }
            Self::Scope(needed) => {
                let what = "the token is good for something else";
                let fix = format!("ask for one with the scope {needed}");
                let problem = Problem::new(StatusCode::FORBIDDEN, "not-authorised", what, fix);
                let mut response = problem.into_response();
                let challenge = format!(
                    "Bearer realm=\"{realm}\", error=\"insufficient_scope\", scope=\"{needed}\""
                );
                if let Ok(value) = HeaderValue::try_from(challenge) {
                    response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
                }
                response
            }
            Self::NotTheirs => not_theirs().into_response(),
            Self::Other(problem) => problem.into_response(),
        }
    }
}

fn not_theirs() -> Problem {
    let (what, fix) =
        ("the request is about another user", "ask in the name of the user of the token");
    Problem::new(StatusCode::FORBIDDEN, "not-authorised", what, fix)
}
