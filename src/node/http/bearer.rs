//! Bearer tokens in HTTP (RFC 6750).

use axum::{
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use utoipa::{
    Modify,
    openapi::{
        ComponentsBuilder, OpenApi,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::Problem;
use crate::token::BearerToken;

/// The token that a request presents (RFC 6750 section 2.1); `None` if it presents none, several or no
/// token at all.
pub(in crate::node) fn bearer_token(headers: &HeaderMap) -> Option<BearerToken> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(given), None) = (given.next(), given.next()) else { return None };
    let (scheme, token) = given.to_str().ok()?.split_once(' ')?;
    let is_bearer = scheme.eq_ignore_ascii_case("bearer");
    BearerToken::parse(token.trim_matches(' ')).ok().filter(|_| is_bearer)
}

/// A 401 with its challenge (RFC 6750 section 3): without a code if the request presents nothing.
pub(in crate::node) fn challenge(realm: &str, headers: &HeaderMap, problem: Problem) -> Response {
    let presented = headers.contains_key(header::AUTHORIZATION);
    let error = if presented { ", error=\"invalid_token\"" } else { "" };
    let mut response = problem.into_response();
    if let Ok(value) = HeaderValue::try_from(format!("Bearer realm=\"{realm}\"{error}")) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
    }
    response
}

/// An answer that no cache may keep: it tells one user's identities.
pub(in crate::node) fn not_to_be_kept(response: impl IntoResponse) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], response).into_response()
}

/// Describes the bearer token in an interface description.
pub(in crate::node) struct BearerScheme;

impl Modify for BearerScheme {
    fn modify(&self, description: &mut OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = description.components.take();
        let components = components.map_or_else(ComponentsBuilder::new, Into::into);
        let components = components.security_scheme("bearer", SecurityScheme::Http(scheme));
        description.components = Some(components.build());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdefghijkl";

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn the_scheme_is_read_in_any_case_and_what_is_no_token_is_none() {
        for given in ["Bearer ", "bearer ", "BEARER  "] {
            let token = bearer_token(&headers(&[&format!("{given}{TOKEN}")]));
            assert_eq!(token.as_ref().map(BearerToken::expose), Some(TOKEN), "{given}");
        }
        let bearer = format!("Bearer {TOKEN}");
        for wrong in [
            &[][..],
            &[TOKEN],
            &["Bearer"],
            &["Bearer short"],
            &[&format!("Basic {TOKEN}")],
            &[&format!("{bearer}, {TOKEN}")],
            &[&format!("{bearer} {TOKEN}")],
            &[&bearer, &bearer],
        ] {
            assert_eq!(bearer_token(&headers(wrong)), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_challenge_names_the_error_only_to_who_presented_something() {
        let problem = || Problem::new(axum::http::StatusCode::UNAUTHORIZED, "x", "", "");
        for (given, value) in [
            (headers(&[]), "Bearer realm=\"a.example\""),
            (headers(&["Basic x"]), "Bearer realm=\"a.example\", error=\"invalid_token\""),
        ] {
            let response = challenge("a.example", &given, problem());
            assert_eq!(response.headers()[header::WWW_AUTHENTICATE], value);
        }
    }
}
