//! User profiles over XCAP (RFC 4825, TS 24.484 clauses 6.3.3 and 8.3): a document is read whole, with an access token
//! of this system's identity management server (RFC 6750, TS 33.180 clause B.10).

use std::{fmt::Write as _, sync::Arc};

use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};

use super::{
    Refusals,
    caller::{self, Denied},
};
use crate::{
    api::{
        configuration::{Answer, ProfileKey, Request},
        migration_identity::Refusal,
    },
    identity::McServiceId,
    node::{
        http::{Ends, Problem, Segments},
        management,
        perform::Shared,
    },
    token::scope::Scopes,
    user_profile::ProfileService,
};

/// Where user profiles are, below the XCAP root.
pub(in crate::node) const PROFILE_PATH: &str = "/xcap-root/{auid}/users/{user}/{document}";

/// Serves a user profile, with the partner systems that the user may migrate to. `ETag` is of the whole document.
#[utoipa::path(
    get, path = "/xcap-root/{auid}/users/{user}/{document}",
    params(
        ("auid" = String, Path, description = "The application unique ID, such as `org.3gpp.mcptt.user-profile`."),
        ("user" = String, Path, description = "The MC service ID of the user, percent-encoded."),
        ("document" = String, Path, description = "The name of the document, such as `mcptt-user-profile-0.xml`."),
    ),
    responses(
        (status = 200, description = "The document.", body = String, content_type = "application/vnd.3gpp.mcptt-user-profile+xml"),
        (status = 304, description = "It is the one that If-None-Match names."),
        Refusals
    ),
    security(("bearer" = []))
)]
pub(in crate::node) async fn read_profile(
    State(shared): State<Arc<Shared>>,
    ends: Option<Extension<Ends>>,
    headers: HeaderMap,
    Segments(segments): Segments<(String, String, String)>,
) -> Response {
    let response = match authorised(&shared, &headers, segments) {
        Ok(key) => serve(&shared, &headers, key).await,
        Err(denied) => denied.respond(&shared, &headers),
    };
    let to = Arc::clone(&shared.names.ue);
    let ends = ends.map(|Extension(ends)| ends);
    shared.observe_csc(("csc-4", "user_profile"), None, to, ends, &response);
    response
}

/// Which profile is asked for, by its own user.
fn authorised(
    shared: &Shared,
    headers: &HeaderMap,
    segments: Result<(String, String, String), Problem>,
) -> Result<ProfileKey, Denied> {
    let key = segments.and_then(|names| key_of(&names)).map_err(Denied::Other)?;
    if shared.roles.idms.is_none() {
        let (what, fix) = ("no identity management server runs beside this one", "add it to roles");
        return Err(Denied::Other(Problem::new(StatusCode::NOT_FOUND, "not-found", what, fix)));
    }
    let token = caller::access_token(shared, headers).ok_or(Denied::Token)?;
    let scope = config_management(key.service);
    if !scope.is_within(token.scope) {
        return Err(Denied::Scope(scope));
    }
    let own = match key.service {
        ProfileService::Mcptt => token.services.mcptt(),
        ProfileService::Mcvideo => token.services.mcvideo(),
        ProfileService::Mcdata => token.services.mcdata(),
    };
    if own == Some(&key.user) { Ok(key) } else { Err(Denied::NotTheirs) }
}

fn key_of((auid, user, document): &(String, String, String)) -> Result<ProfileKey, Problem> {
    let unknown = || {
        let (what, fix) = ("no such document", "see /openapi.json for the names");
        Problem::new(StatusCode::NOT_FOUND, "not-found", what, fix)
    };
    let service = ProfileService::ALL.into_iter().find(|service| service.auid() == auid);
    let service = service.ok_or_else(unknown)?;
    let user = McServiceId::parse(user).map_err(|_| unknown())?;
    let index = document
        .strip_prefix(service.as_str())
        .and_then(|rest| rest.strip_prefix("-user-profile-")?.strip_suffix(".xml"))
        .and_then(|index| index.parse().ok().filter(|number: &u8| number.to_string() == index));
    Ok(ProfileKey { service, user, index: index.ok_or_else(unknown)? })
}

/// The scope that a token needs for profiles of a service.
const fn config_management(service: ProfileService) -> Scopes {
    match service {
        ProfileService::Mcptt => Scopes::PTT_CONFIGURATION,
        ProfileService::Mcvideo => Scopes::VIDEO_CONFIGURATION,
        ProfileService::Mcdata => Scopes::DATA_CONFIGURATION,
    }
}

async fn serve(shared: &Arc<Shared>, headers: &HeaderMap, key: ProfileKey) -> Response {
    let service = key.service;
    match shared.ask_configuration(Request::ReadUserProfile(key)).await {
        Ok(Answer::UserProfile(stored)) => {
            document(headers, service, stored.profile.as_str().to_owned())
        }
        Ok(Answer::Refused(refusal)) => management::refused(&refusal).into_response(),
        Ok(_) => management::refused(&Refusal::Unavailable).into_response(),
        Err(none) => Problem::from(none).into_response(),
    }
}

fn document(headers: &HeaderMap, service: ProfileService, text: String) -> Response {
    let etag = etag_of(&text);
    let mut response = if is_named(headers, &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, service.media_type())], text).into_response()
    };
    if let Ok(value) = HeaderValue::try_from(etag) {
        response.headers_mut().insert(header::ETAG, value);
    }
    let kept = HeaderValue::from_static("private, no-cache");
    response.headers_mut().insert(header::CACHE_CONTROL, kept);
    response
}

/// A strong validator: of these octets alone.
fn etag_of(text: &str) -> String {
    let hash = Sha256::digest(text);
    let mut etag = String::from("\"");
    for octet in hash.iter().take(16) {
        let _ = write!(etag, "{octet:02x}"); // a String takes everything
    }
    etag + "\""
}

/// Whether If-None-Match names this document (RFC 9110 clause 13.1.2).
fn is_named(headers: &HeaderMap, etag: &str) -> bool {
    headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).any(
        |list| {
            list.split(',')
                .map(str::trim)
                .any(|named| named == "*" || named.strip_prefix("W/").unwrap_or(named) == etag)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_none_match_may_name_the_document_among_others() {
        let etag = etag_of("a document");
        assert_ne!(etag, etag_of("a documenT"));
        for (value, named) in [
            (etag.clone(), true),
            (format!("\"1\", {etag}"), true),
            (format!("W/{etag}"), true),
            ("*".to_owned(), true),
            ("\"1\"".to_owned(), false),
            (etag.trim_matches('"').to_owned(), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, value.parse().unwrap());
            assert_eq!(is_named(&headers, &etag), named, "{value}");
        }
    }

    #[test]
    fn a_path_names_one_document() {
        let of = |auid: &str, user: &str, document: &str| {
            key_of(&(auid.to_owned(), user.to_owned(), document.to_owned())).ok()
        };
        let auid = "org.3gpp.mcptt.user-profile";
        let key = of(auid, "sip:a@b.example", "mcptt-user-profile-7.xml").unwrap();
        assert_eq!((key.service, key.index), (ProfileService::Mcptt, 7));
        for document in
            ["mcptt-user-profile-07.xml", "mcptt-user-profile-256.xml", "mcdata-user-profile-7.xml"]
        {
            assert!(of(auid, "sip:a@b.example", document).is_none(), "{document}");
        }
        assert!(of("org.3gpp.other", "sip:a@b.example", "mcptt-user-profile-7.xml").is_none());
        assert!(of(auid, "nobody", "mcptt-user-profile-7.xml").is_none());
    }
}
