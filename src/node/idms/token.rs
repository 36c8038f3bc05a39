//! The token endpoint: from a form to a request (RFC 6749, RFC 7523, RFC 8693, RFC 9449), and from an answer to JSON.

use std::net::IpAddr;

use axum::{
    Json,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Serialize;
use zeroize::Zeroizing;

use super::form::{Form, WrongBody};
use crate::{
    api::identity_management::{
        Answer, ClientCredential, Grant, Refusal, TokenKind, TokenRequest, Tokens,
    },
    node::{park::NoAnswer, perform::Shared},
    secret::SecretText,
    token::scope::Scopes,
};

/// What tokens are asked for by.
pub(super) const GRANT_TYPES: [&str; 4] = [
    "authorization_code",
    "refresh_token",
    "urn:ietf:params:oauth:grant-type:token-exchange",
    "urn:ietf:params:oauth:grant-type:jwt-bearer",
];

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const JWT_ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// When to ask again after a 503 or 504, seconds.
const RETRY_SECS: u32 = 1;

/// A request that is refused (RFC 6749 clause 5.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Wrong {
    status: StatusCode,
    error: &'static str,
    /// For the people who write clients. It tells nothing of what this system knows.
    description: &'static str,
    retry_after: Option<u32>,
}

impl Wrong {
    const fn new(error: &'static str, description: &'static str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error, description, retry_after: None }
    }

    const fn request(description: &'static str) -> Self {
        Self::new("invalid_request", description)
    }

    /// The response; that to an unknown client has a challenge (RFC 6749 clause 5.2).
    pub(super) fn respond(self, shared: &Shared) -> Response {
        #[derive(Serialize)]
        struct Body {
            error: &'static str,
            error_description: &'static str,
        }
        let Self { status, error, description, retry_after } = self;
        let body = Body { error, error_description: description };
        let mut response = (status, not_kept(), Json(body)).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            let realm = format!("Basic realm=\"{}\"", shared.config.system.domain);
            if let Ok(realm) = HeaderValue::try_from(realm) {
                headers.insert(header::WWW_AUTHENTICATE, realm);
            }
        }
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<WrongBody> for Wrong {
    fn from(wrong: WrongBody) -> Self {
        match wrong {
            WrongBody::Form(wrong) => Self::request(wrong.what()),
            WrongBody::Body(problem) => {
                let status =
                    StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_REQUEST);
                let what = "the body is no complete form of application/x-www-form-urlencoded within 32 kB";
                Self { status, ..Self::request(what) }
            }
        }
    }
}

impl From<Refusal> for Wrong {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::InvalidRequest => {
                Self::request("the subject token is not an access token that may be exchanged")
            }
            Refusal::InvalidClient => Self {
                status: StatusCode::UNAUTHORIZED,
                ..Self::new("invalid_client", "the client is not who it says")
            },
            Refusal::InvalidGrant => Self::new("invalid_grant", "the grant is not to be taken"),
            Refusal::InvalidScope => {
                Self::new("invalid_scope", "a scope is unknown, or not for this user and client")
            }
            Refusal::InvalidTarget => {
                Self::new("invalid_target", "no security token is given for this resource")
            }
            Refusal::InvalidProof => {
                let what = "the DPoP proof is missing, wrong, too old, or was here before";
                Self::new("invalid_dpop_proof", what)
            }
            Refusal::TooMany(seconds) => Self {
                status: StatusCode::TOO_MANY_REQUESTS,
                retry_after: Some(seconds),
                ..Self::new("temporarily_unavailable", "too many requests")
            },
            Refusal::Unavailable => Self::unavailable(),
        }
    }
}

impl Wrong {
    const fn unavailable() -> Self {
        let (error, description) = ("temporarily_unavailable", "ask again");
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self { status, error, description, retry_after: Some(RETRY_SECS) }
    }
}

/// Takes a request from a form.
pub(super) fn request(
    mut form: Form,
    headers: &HeaderMap,
    source: Option<IpAddr>,
) -> Result<TokenRequest, Wrong> {
    let client = client(&mut form, headers)?;
    let mut proofs = headers.get_all(HeaderName::from_static("dpop")).iter();
    let proof = match (proofs.next(), proofs.next()) {
        (None, _) => None,
        (Some(proof), None) => Some(proof.to_str().unwrap_or_default().to_owned()),
        (Some(_), Some(_)) => return Err(Wrong::from(Refusal::InvalidProof)),
    };
    let grant = grant(&mut form)?;
    Ok(TokenRequest { client, grant, proof, source })
}

fn grant(form: &mut Form) -> Result<Grant, Wrong> {
    let grant_type = form.take_text("grant_type").ok_or(Wrong::request("grant_type is missing"))?;
    let place = GRANT_TYPES.iter().position(|known| *known == grant_type);
    match place {
        Some(0) => Ok(Grant::Code {
            code: form.take("code").ok_or(Wrong::request("code is missing"))?,
            redirect_uri: form
                .take_text("redirect_uri")
                .ok_or(Wrong::request("redirect_uri is missing"))?,
            verifier: form
                .take("code_verifier")
                .ok_or(Wrong::request("code_verifier is missing"))?,
        }),
        Some(1) => Ok(Grant::Refresh {
            token: form.take("refresh_token").ok_or(Wrong::request("refresh_token is missing"))?,
            scope: form.take_text("scope"),
        }),
        Some(2) => exchange(form),
        Some(_) => Ok(Grant::Assertion {
            assertion: form.take("assertion").ok_or(Wrong::request("assertion is missing"))?,
            scope: form.take_text("scope"),
        }),
        None => {
            let what = "see grant_types_supported in /.well-known/openid-configuration";
            Err(Wrong::new("unsupported_grant_type", what))
        }
    }
}

fn exchange(form: &mut Form) -> Result<Grant, Wrong> {
    if form.take_text("subject_token_type").as_deref() != Some(ACCESS_TOKEN) {
        let what = "subject_token_type is not urn:ietf:params:oauth:token-type:access_token";
        return Err(Wrong::request(what));
    }
    if form.take_text("requested_token_type").is_some_and(|wanted| wanted != JWT) {
        let what = "requested_token_type is not urn:ietf:params:oauth:token-type:jwt";
        return Err(Wrong::request(what));
    }
    if form.take("actor_token").is_some() {
        return Err(Wrong::request("nobody acts for another: leave actor_token out"));
    }
    let resource = form.take_text("resource").or_else(|| form.take_text("audience"));
    let what = "resource is missing: it is the URL of the partner's identity management server";
    Ok(Grant::Exchange {
        subject_token: form
            .take("subject_token")
            .ok_or(Wrong::request("subject_token is missing"))?,
        resource: resource.ok_or(Wrong::request(what))?,
    })
}

/// How the client presents itself: in one way (RFC 6749 clause 2.3).
fn client(form: &mut Form, headers: &HeaderMap) -> Result<ClientCredential, Wrong> {
    let id = form.take_text("client_id");
    let secret = form.take("client_secret");
    let assertion = form.take("client_assertion");
    let assertion_type = form.take_text("client_assertion_type");
    let basic = basic(headers)?;
    match (basic, secret, assertion) {
        (Some((name, secret)), None, None) => {
            if id.is_some_and(|id| id != name) {
                return Err(Wrong::request("client_id is not that of the Authorization header"));
            }
            Ok(ClientCredential::Secret(name, secret))
        }
        (None, Some(secret), None) => {
            let id = id.ok_or(Wrong::request("client_id is missing"))?;
            Ok(ClientCredential::Secret(id, secret))
        }
        (None, None, Some(assertion)) => {
            if assertion_type.as_deref() != Some(JWT_ASSERTION) {
                return Err(Wrong::request(
                    "client_assertion_type is not urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                ));
            }
            Ok(ClientCredential::Assertion(id, assertion))
        }
        (None, None, None) => {
            id.map(ClientCredential::Name).ok_or(Wrong::request("client_id is missing"))
        }
        _ => Err(Wrong::request("the client presents itself in several ways")),
    }
}

/// Name and secret in the `Authorization` header, each form-encoded (RFC 6749 clause 2.3.1).
fn basic(headers: &HeaderMap) -> Result<Option<(String, SecretText)>, Wrong> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let Some(first) = given.next() else { return Ok(None) };
    let parse = || {
        let (scheme, encoded) = first.to_str().ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = Zeroizing::new(BASE64_STANDARD.decode(encoded.trim()).ok()?);
        let (name, secret) = str::from_utf8(&decoded).ok()?.split_once(':')?;
        let plain = |text: &str| {
            // A value of a form without a name.
            let octets = Zeroizing::new(format!("={text}"));
            form_urlencoded::parse(octets.as_bytes()).next().map(|(_, value)| value.into_owned())
        };
        Some((plain(name)?, SecretText::new(plain(secret)?)))
    };
    match (parse(), given.next()) {
        (Some(pair), None) => Ok(Some(pair)),
        (_, _) => Err(Wrong::request("the Authorization header is not that of HTTP Basic")),
    }
}

/// The response to a client.
pub(super) fn respond(shared: &Shared, answer: Result<Answer, NoAnswer>) -> Response {
    match answer {
        Ok(Answer::Tokens(tokens)) => (not_kept(), Json(TokenBody::new(&tokens))).into_response(),
        Ok(Answer::Refused(refusal)) => Wrong::from(refusal).respond(shared),
        Ok(Answer::Page(_) | Answer::Redirect(_) | Answer::NoRedirect(_) | Answer::Keys(_)) => {
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        Err(NoAnswer::Late) => {
            Wrong { status: StatusCode::GATEWAY_TIMEOUT, ..Wrong::unavailable() }.respond(shared)
        }
        Err(NoAnswer::TooMany | NoAnswer::Lost | NoAnswer::NoRole) => {
            Wrong::unavailable().respond(shared)
        }
    }
}

/// Tokens as JSON (RFC 6749 clause 5.1, RFC 8693 clause 2.2.1).
#[derive(Serialize)]
struct TokenBody<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<Scopes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_token_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<&'a str>,
}

impl<'a> TokenBody<'a> {
    fn new(tokens: &'a Tokens) -> Self {
        let (token_type, issued_token_type) = match tokens.kind {
            TokenKind::Bearer => ("Bearer", None),
            TokenKind::DPoP => ("DPoP", None),
            TokenKind::Security => ("N_A", Some(JWT)),
        };
        Self {
            access_token: tokens.access_token.expose(),
            token_type,
            expires_in: tokens.expires_in,
            scope: tokens.scope,
            issued_token_type,
            refresh_token: tokens.refresh_token.as_ref().map(SecretText::expose),
            id_token: tokens.id_token.as_ref().map(SecretText::expose),
        }
    }
}

fn not_kept() -> [(HeaderName, &'static str); 2] {
    [(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(form: &str, headers: &[(&'static str, &str)]) -> Result<TokenRequest, Wrong> {
        let mut given = HeaderMap::new();
        for (name, value) in headers {
            given.append(*name, value.parse().unwrap());
        }
        request(Form::parse(form.as_bytes()).ok().unwrap(), &given, None)
    }

    fn error(form: &str) -> &'static str {
        parse(form, &[]).map_or_else(|wrong| wrong.error, |_| "none")
    }

    #[test]
    fn each_grant_needs_its_parameters() {
        for grant in [
            "grant_type=authorization_code&code=c&redirect_uri=r&code_verifier=v",
            "grant_type=refresh_token&refresh_token=t",
            "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token=t&resource=r\
             &subject_token_type=urn:ietf:params:oauth:token-type:access_token",
            "grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion=a",
        ] {
            assert_eq!(error(&format!("client_id=c&{grant}")), "none", "{grant}");
            let parts: Vec<&str> = grant.split('&').collect();
            for missing in &parts {
                let rest: Vec<&str> =
                    parts.iter().filter(|part| *part != missing).copied().collect();
                let form = format!("client_id=c&{}", rest.join("&"));
                assert_eq!(error(&form), "invalid_request", "{form}");
            }
        }
        assert_eq!(
            error("client_id=c&grant_type=password&username=a&password=b"),
            "unsupported_grant_type"
        );
        assert_eq!(error("grant_type=refresh_token&refresh_token=t"), "invalid_request");
    }

    #[test]
    fn a_client_presents_itself_in_one_way() {
        let grant = "grant_type=refresh_token&refresh_token=t";
        let basic = ("authorization", "Basic bWMlM0FjbGllbnQ6YSUyQmI="); // mc%3Aclient:a%2Bb
        let parsed = parse(grant, &[basic]).unwrap();
        let ClientCredential::Secret(name, secret) = parsed.client else { panic!("no secret") };
        assert_eq!((name.as_str(), secret.expose()), ("mc:client", "a+b"));
        for (form, headers) in [
            ("client_secret=s&client_id=c", &[basic][..]),
            ("client_id=other", &[basic]),
            ("", &[basic, basic]),
            ("", &[("authorization", "Bearer x")]),
            ("", &[("authorization", "Basic ???")]),
            ("client_secret=s", &[]),
            ("client_assertion=a", &[]),
        ] {
            let parsed = parse(&format!("{grant}&{form}"), headers);
            assert_eq!(parsed.err().map(|wrong| wrong.error), Some("invalid_request"), "{form}");
        }
        let twice = [("dpop", "a"), ("dpop", "b")];
        let parsed = parse(&format!("{grant}&client_id=c"), &twice);
        assert_eq!(parsed.err().map(|wrong| wrong.error), Some("invalid_dpop_proof"));
    }
}
