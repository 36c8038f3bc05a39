//! The operations of the identity management server: clients, users, users of partners, trust, keys.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode, response::IntoResponse, response::Response};

use super::{
    Refusals,
    answer::counted,
    idms_body::{
        ClientBody, ClientView, DeniedListView, IdmsUserBody, IdmsUserView, ImportedView,
        NewKeyBody, OwnKeysView, RevocationBody, TrustBody, TrustView, VisitorBody, VisitorView,
        help,
    },
};
use crate::{
    api::{
        identity_management::{ClientId, InvalidName, IssuerUrl, UserName},
        idms_management::{Answer, Denied, Refusal, Request},
    },
    node::{
        http::{self, Body, Problem, Segments},
        idms::hash_password,
        perform::Shared,
    },
    time::Timestamp,
    token::{
        certificate::{Fingerprint, TrustFile},
        claims::{SUBJECT_OCTETS_MAX, TOKEN_ID_OCTETS_MAX},
    },
};

pub(super) const VISITOR_PATH: &str = "/v1/idms/visitors/{issuer}/{subject}";
pub(super) const DENIED_PATH: &str = "/v1/idms/denied/{issuer}/{kind}/{id}";

/// Creates or replaces a client of the identity management server.
#[utoipa::path(
    put, path = "/v1/idms/clients/{client_id}", request_body = ClientBody,
    params(("client_id" = String, Path, description = "Its name.", example = "mc-client")),
    responses((status = 204, description = "Done."), Refusals)
)]
pub(super) async fn put_client(
    State(shared): State<Arc<Shared>>,
    Segments(id): Segments<String>,
    Body(body): Body<ClientBody>,
) -> Response {
    let request = id.and_then(|id| {
        let client = body?.into_client(named("client_id", ClientId::parse(&id))?);
        client.map(Request::PutClient).map_err(wrong_field)
    });
    ask(&shared, "put_idms_client", request).await
}

/// Shows a client, without secret.
#[utoipa::path(
    get, path = "/v1/idms/clients/{client_id}",
    params(("client_id" = String, Path, description = "Its name.")),
    responses((status = 200, description = "The client.", body = ClientView), Refusals)
)]
pub(super) async fn get_client(
    State(shared): State<Arc<Shared>>,
    Segments(id): Segments<String>,
) -> Response {
    let request = id.and_then(|id| named("client_id", ClientId::parse(&id)));
    ask(&shared, "get_idms_client", request.map(Request::GetClient)).await
}

/// Removes a client; its refresh tokens end.
#[utoipa::path(
    delete, path = "/v1/idms/clients/{client_id}",
    params(("client_id" = String, Path, description = "Its name.")),
    responses((status = 204, description = "Done."), Refusals)
)]
pub(super) async fn delete_client(
    State(shared): State<Arc<Shared>>,
    Segments(id): Segments<String>,
) -> Response {
    let request = id.and_then(|id| named("client_id", ClientId::parse(&id)));
    ask(&shared, "delete_idms_client", request.map(Request::DeleteClient)).await
}

/// Creates or replaces a user who logs in at the identity management server.
#[utoipa::path(
    put, path = "/v1/idms/users/{name}", request_body = IdmsUserBody,
    params(("name" = String, Path, description = "The name to log in with.", example = "alice")),
    responses((status = 204, description = "Done."), Refusals)
)]
pub(super) async fn put_user(
    State(shared): State<Arc<Shared>>,
    Segments(name): Segments<String>,
    Body(body): Body<IdmsUserBody>,
) -> Response {
    let request = async {
        let name = named("name", UserName::parse(&name?))?;
        let (mut user, password) = body?.into_user(name).map_err(wrong_field)?;
        if let Some(password) = password {
            let hash = hash_password(&shared, password).await;
            user.password = Some(hash.map_err(|_| refused(&Refusal::Unavailable))?);
        }
        Ok(Request::PutUser(user))
    };
    let request = request.await;
    ask(&shared, "put_idms_user", request).await
}

/// Shows a user, without password.
#[utoipa::path(
    get, path = "/v1/idms/users/{name}",
    params(("name" = String, Path, description = "The name to log in with.")),
    responses((status = 200, description = "The user.", body = IdmsUserView), Refusals)
)]
pub(super) async fn get_user(
    State(shared): State<Arc<Shared>>,
    Segments(name): Segments<String>,
) -> Response {
    let request = name.and_then(|name| named("name", UserName::parse(&name)));
    ask(&shared, "get_idms_user", request.map(Request::GetUser)).await
}

/// Removes a user, whose refresh tokens end. Who has the name later is somebody else to partners.
#[utoipa::path(
    delete, path = "/v1/idms/users/{name}",
    params(("name" = String, Path, description = "The name to log in with.")),
    responses((status = 204, description = "Done."), Refusals)
)]
pub(super) async fn delete_user(
    State(shared): State<Arc<Shared>>,
    Segments(name): Segments<String>,
) -> Response {
    let request = name.and_then(|name| named("name", UserName::parse(&name)));
    ask(&shared, "delete_idms_user", request.map(Request::DeleteUser)).await
}

/// Creates or replaces a user of a partner, who comes with a security token.
#[utoipa::path(
    put, path = "/v1/idms/visitors/{issuer}/{subject}", request_body = VisitorBody,
    params(
        ("issuer" = String, Path, description = "The issuer URL of the user's system, escaped.", example = "https://idms.a.example"),
        ("subject" = String, Path, description = "The `sub` of its tokens."),
    ),
    responses((status = 204, description = "Done."), Refusals)
)]
pub(super) async fn put_visitor(
    State(shared): State<Arc<Shared>>,
    Segments(key): Segments<(String, String)>,
    Body(body): Body<VisitorBody>,
) -> Response {
    let request = key
        .and_then(visitor_key)
        .and_then(|(issuer, subject)| Ok(Request::PutVisitor(body?.into_visitor(issuer, subject))));
    ask(&shared, "put_idms_visitor", request).await
}

/// Shows a user of a partner.
#[utoipa::path(
    get, path = "/v1/idms/visitors/{issuer}/{subject}",
    params(
        ("issuer" = String, Path, description = "The issuer URL of the user's system, escaped."),
        ("subject" = String, Path, description = "The `sub` of its tokens."),
    ),
    responses((status = 200, description = "The user.", body = VisitorView), Refusals)
)]
pub(super) async fn get_visitor(
    State(shared): State<Arc<Shared>>,
    Segments(key): Segments<(String, String)>,
) -> Response {
    let request = key.and_then(visitor_key);
    let request = request.map(|(issuer, subject)| Request::GetVisitor(issuer, subject));
    ask(&shared, "get_idms_visitor", request).await
}

/// Removes a user of a partner.
#[utoipa::path(
    delete, path = "/v1/idms/visitors/{issuer}/{subject}",
    params(
        ("issuer" = String, Path, description = "The issuer URL of the user's system, escaped."),
        ("subject" = String, Path, description = "The `sub` of its tokens."),
    ),
    responses((status = 204, description = "Done."), Refusals)
)]
pub(super) async fn delete_visitor(
    State(shared): State<Arc<Shared>>,
    Segments(key): Segments<(String, String)>,
) -> Response {
    let request = key.and_then(visitor_key);
    let request = request.map(|(issuer, subject)| Request::DeleteVisitor(issuer, subject));
    ask(&shared, "delete_idms_visitor", request).await
}

/// Denies a user of a partner, or a single security token, whatever else is provisioned. Repeatable.
#[utoipa::path(
    put, path = "/v1/idms/denied/{issuer}/{kind}/{id}",
    params(
        ("issuer" = String, Path, description = "The issuer URL of the partner, escaped."),
        ("kind" = String, Path, description = "`subject` or `token`."),
        ("id" = String, Path, description = "The `sub` of the user or the `jti` of the token."),
    ),
    responses((status = 204, description = "Done."), Refusals)
)]
pub(super) async fn put_denied(
    State(shared): State<Arc<Shared>>,
    Segments(key): Segments<(String, String, String)>,
) -> Response {
    ask(&shared, "put_idms_denied", key.and_then(denied).map(Request::Deny)).await
}

/// Takes an entry from the deny list.
#[utoipa::path(
    delete, path = "/v1/idms/denied/{issuer}/{kind}/{id}",
    params(
        ("issuer" = String, Path, description = "The issuer URL of the partner, escaped."),
        ("kind" = String, Path, description = "`subject` or `token`."),
        ("id" = String, Path, description = "The `sub` of the user or the `jti` of the token."),
    ),
    responses((status = 204, description = "Done."), Refusals)
)]
pub(super) async fn delete_denied(
    State(shared): State<Arc<Shared>>,
    Segments(key): Segments<(String, String, String)>,
) -> Response {
    ask(&shared, "delete_idms_denied", key.and_then(denied).map(Request::Allow)).await
}

/// Shows the deny list.
#[utoipa::path(
    get, path = "/v1/idms/denied",
    responses((status = 200, description = "The deny list.", body = DeniedListView), Refusals)
)]
pub(super) async fn list_denied(State(shared): State<Arc<Shared>>) -> Response {
    ask(&shared, "list_idms_denied", Ok(Request::ListDenied)).await
}

/// Trusts the certificates of a partner's signing keys, besides those imported before; those that lists of revoked ones
/// name are revoked. All of it or nothing. Repeatable.
#[utoipa::path(
    post, path = "/v1/idms/trust/{issuer}", request_body = TrustBody,
    params(("issuer" = String, Path, description = "The issuer URL of the partner, escaped.", example = "https://idms.a.example")),
    responses((status = 200, description = "Done.", body = ImportedView), Refusals)
)]
pub(super) async fn import_trust(
    State(shared): State<Arc<Shared>>,
    Segments(issuer): Segments<String>,
    Body(body): Body<TrustBody>,
) -> Response {
    let request = issuer.and_then(|issuer| {
        let issuer = named("issuer", IssuerUrl::parse(&issuer))?;
        let file = TrustFile::read(&body?.pem);
        let file = file.map_err(|wrong| invalid_field("pem", &wrong.to_string()))?;
        Ok(Request::Import { issuer, file })
    });
    ask(&shared, "import_trust", request).await
}

/// Shows the certificates that are and were trusted.
#[utoipa::path(
    get, path = "/v1/idms/trust",
    responses((status = 200, description = "Certificates, by issuer.", body = TrustView), Refusals)
)]
pub(super) async fn list_trust(State(shared): State<Arc<Shared>>) -> Response {
    ask(&shared, "list_trust", Ok(Request::ListTrust)).await
}

/// Ends the trust in a certificate, for ever. Repeatable.
#[utoipa::path(
    post, path = "/v1/idms/trust-revocations", request_body = RevocationBody,
    responses((status = 204, description = "Done."), Refusals)
)]
pub(super) async fn revoke_trust(
    State(shared): State<Arc<Shared>>,
    Body(body): Body<RevocationBody>,
) -> Response {
    let request = body.and_then(|RevocationBody { fingerprint, reason }| {
        let fingerprint = Fingerprint::parse(&fingerprint);
        let fingerprint = fingerprint
            .ok_or_else(|| invalid_field("fingerprint", "is not 64 hexadecimal digits"))?;
        Ok(Request::Revoke { fingerprint, reason })
    });
    ask(&shared, "revoke_trust", request).await
}

/// Shows the certificates of this system's own keys, for partners to import.
#[utoipa::path(
    get, path = "/v1/idms/keys",
    responses((status = 200, description = "Keys, without their private parts.", body = OwnKeysView), Refusals)
)]
pub(super) async fn list_keys(State(shared): State<Arc<Shared>>) -> Response {
    ask(&shared, "list_idms_keys", Ok(Request::Export)).await
}

/// Makes a new key of this system. What the one before has signed holds until it expires.
#[utoipa::path(
    post, path = "/v1/idms/keys", request_body = NewKeyBody,
    responses((status = 200, description = "All keys.", body = OwnKeysView), Refusals)
)]
pub(super) async fn make_key(
    State(shared): State<Arc<Shared>>,
    Body(body): Body<NewKeyBody>,
) -> Response {
    let from = body.map(|NewKeyBody { from }| from.map(Timestamp::from_secs));
    ask(&shared, "make_idms_key", from.map(|from| Request::RotateKey { from })).await
}

/// Asks the identity management server and turns its answer into a response.
async fn ask(
    shared: &Arc<Shared>,
    operation: &'static str,
    request: Result<Request, Problem>,
) -> Response {
    let response = match request {
        Err(problem) => problem.into_response(),
        Ok(request) => match shared.ask_idms_management(request).await {
            Ok(answer) => respond(shared, answer),
            Err(none) => Problem::from(none).into_response(),
        },
    };
    counted(shared, operation, response)
}

fn respond(shared: &Shared, answer: Answer) -> Response {
    match answer {
        Answer::Done => StatusCode::NO_CONTENT.into_response(),
        Answer::Client(client) => Json(ClientView::from(client)).into_response(),
        Answer::User { user, subject } => Json(IdmsUserView::new(user, subject)).into_response(),
        Answer::Visitor(visitor) => Json(VisitorView::from(visitor)).into_response(),
        Answer::Denied(denied) => Json(DeniedListView::from(denied)).into_response(),
        Answer::Imported { added, known, revoked } => {
            Json(ImportedView::new(&added, known, &revoked)).into_response()
        }
        Answer::Trust(all) => Json(TrustView::new(&all, shared.clock.now())).into_response(),
        Answer::Own(keys) => {
            let issuer = shared.config.idms.server.issuer.clone();
            Json(OwnKeysView::new(issuer, &keys)).into_response()
        }
        Answer::Refused(refusal) => refused(&refusal).into_response(),
    }
}

/// The problem that a refusal is.
fn refused(refusal: &Refusal) -> Problem {
    let (status, name, fix) = match refusal {
        Refusal::NotFound(_) => {
            (StatusCode::NOT_FOUND, "not-found", "create it first, or check its name")
        }
        Refusal::Full(_) => {
            (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "remove what is not needed")
        }
        Refusal::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "ask again later"),
        Refusal::NoPassword
        | Refusal::File(_)
        | Refusal::OfAnother
        | Refusal::Revoked
        | Refusal::Own
        | Refusal::Time => {
            (StatusCode::UNPROCESSABLE_ENTITY, "invalid-request", "correct the request")
        }
    };
    Problem::new(status, name, refusal.to_string(), fix)
}

fn visitor_key((issuer, subject): (String, String)) -> Result<(IssuerUrl, String), Problem> {
    let issuer = named("issuer", IssuerUrl::parse(&issuer))?;
    Ok((issuer, identifier("subject", subject, SUBJECT_OCTETS_MAX)?))
}

fn denied((issuer, kind, id): (String, String, String)) -> Result<Denied, Problem> {
    let issuer = named("issuer", IssuerUrl::parse(&issuer))?;
    match kind.as_str() {
        "subject" => Ok(Denied::Subject(issuer, identifier("id", id, SUBJECT_OCTETS_MAX)?)),
        "token" => Ok(Denied::Token(issuer, identifier("id", id, TOKEN_ID_OCTETS_MAX)?)),
        _ => Err(invalid_field("kind", "is neither subject nor token")),
    }
}

fn identifier(field: &str, text: String, octets_max: usize) -> Result<String, Problem> {
    let fits = (1..=octets_max).contains(&text.len()) && !text.chars().any(char::is_control);
    if fits { Ok(text) } else { Err(invalid_field(field, "is empty, too long or no text")) }
}

fn named<T>(field: &str, parsed: Result<T, InvalidName>) -> Result<T, Problem> {
    parsed.map_err(|wrong| invalid_field(field, &wrong.to_string()))
}

fn wrong_field((field, what): (&'static str, String)) -> Problem {
    invalid_field(field, &what)
}

fn invalid_field(field: &str, what: &str) -> Problem {
    http::invalid_field(field, what, help(field))
}
