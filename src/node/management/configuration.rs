//! The operations of the configuration server: users, agreements, what UEs are told of each system.

use std::sync::Arc;

use axum::{extract::State, response::Response};

use super::{
    Refusals,
    answer::{CheckQuery, ask_configuration, invalid_field},
    body::DirectionName,
    configuration_body::{
        AgreementBody, AgreementView, ConfigurationVersionView, SystemConfigurationBody,
        SystemConfigurationView, UserBody, UserProfileBody, UserProfileView, UserView,
    },
};
use crate::{
    api::{
        configuration::{AgreementKey, ProfileKey, Request, StoredProfile, User, Users},
        connection_details::{SIP_CORE_ADDRESSES_MAX, SystemConfiguration},
        migration_identity::Direction,
    },
    identity::{IdentityError, McServiceId, McSystemId},
    node::{
        http::{Body, Problem, Query, Segments},
        perform::Shared,
    },
    user_profile::{ProfileService, UserProfile},
};

/// Creates or replaces a user of the configuration server.
#[utoipa::path(
    put, path = "/v1/users/{mc_service_id}", request_body = UserBody,
    params(
        ("mc_service_id" = String, Path, description = "The MC service ID.", example = "sip:alice@a.example"),
        CheckQuery,
    ),
    responses((status = 204, description = "Done."), Refusals)
)]
pub(super) async fn put_user(
    State(shared): State<Arc<Shared>>,
    Segments(id): Segments<String>,
    Query(query): Query<CheckQuery>,
    Body(body): Body<UserBody>,
) -> Response {
    let request = async { Ok(query?.ask(user_request(&id?, body?)?, Request::Check)) };
    ask_configuration(&shared, "put_user", request.await, false).await
}

/// Shows a user, without token.
#[utoipa::path(
    get, path = "/v1/users/{mc_service_id}",
    params(("mc_service_id" = String, Path, description = "The MC service ID.")),
    responses((status = 200, description = "The user.", body = UserView), Refusals)
)]
pub(super) async fn get_user(
    State(shared): State<Arc<Shared>>,
    Segments(id): Segments<String>,
) -> Response {
    let request = id.and_then(|id| service_id("mc_service_id", &id)).map(Request::GetUser);
    ask_configuration(&shared, "get_user", request, false).await
}

/// Removes a user, and ends what was lent to it.
#[utoipa::path(
    delete, path = "/v1/users/{mc_service_id}",
    params(("mc_service_id" = String, Path, description = "The MC service ID.")),
    responses((status = 204, description = "Done."), Refusals)
)]
pub(super) async fn delete_user(
    State(shared): State<Arc<Shared>>,
    Segments(id): Segments<String>,
) -> Response {
    let request = id.and_then(|id| service_id("mc_service_id", &id)).map(Request::DeleteUser);
    ask_configuration(&shared, "delete_user", request, false).await
}

/// Creates an agreement with a partner, or changes the one for the same users.
#[utoipa::path(
    put, path = "/v1/agreements/{partner}/{direction}/{users}", request_body = AgreementBody,
    params(
        ("partner" = String, Path, description = "The MC system ID of the partner.", example = "sip:b.example"),
        ("direction" = DirectionName, Path, description = "Whether our users go there, or theirs come here."),
        ("users" = String, Path, description = "`everybody`, `class:NAME` or `user:MC-SERVICE-ID`."),
        CheckQuery,
    ),
    responses((status = 204, description = "Done."), Refusals)
)]
pub(super) async fn put_agreement(
    State(shared): State<Arc<Shared>>,
    Segments(key): Segments<KeySegments>,
    Query(query): Query<CheckQuery>,
    Body(body): Body<AgreementBody>,
) -> Response {
    let request = async { Ok(query?.ask(agreement_request(key?, body?)?, Request::Check)) };
    ask_configuration(&shared, "put_agreement", request.await, false).await
}

/// Shows an agreement.
#[utoipa::path(
    get, path = "/v1/agreements/{partner}/{direction}/{users}",
    params(
        ("partner" = String, Path, description = "The MC system ID of the partner."),
        ("direction" = DirectionName, Path, description = "Whether our users go there, or theirs come here."),
        ("users" = String, Path, description = "`everybody`, `class:NAME` or `user:MC-SERVICE-ID`."),
    ),
    responses((status = 200, description = "The agreement.", body = AgreementView), Refusals)
)]
pub(super) async fn get_agreement(
    State(shared): State<Arc<Shared>>,
    Segments(key): Segments<KeySegments>,
) -> Response {
    let request = key.and_then(agreement_key).map(Request::GetAgreement);
    ask_configuration(&shared, "get_agreement", request, false).await
}

/// Ends an agreement: nothing lent under it is good for a vector any more.
#[utoipa::path(
    delete, path = "/v1/agreements/{partner}/{direction}/{users}",
    params(
        ("partner" = String, Path, description = "The MC system ID of the partner."),
        ("direction" = DirectionName, Path, description = "Whether our users go there, or theirs come here."),
        ("users" = String, Path, description = "`everybody`, `class:NAME` or `user:MC-SERVICE-ID`."),
    ),
    responses((status = 204, description = "Done."), Refusals)
)]
pub(super) async fn delete_agreement(
    State(shared): State<Arc<Shared>>,
    Segments(key): Segments<KeySegments>,
) -> Response {
    let request = key.and_then(agreement_key).map(Request::DeleteAgreement);
    ask_configuration(&shared, "delete_agreement", request, false).await
}

/// Where a user profile is.
pub(super) const PROFILE_PATH: &str = "/v1/user-profiles/{service}/{mc_service_id}/{index}";

/// Creates or replaces the profile of a user of this system, or of a user of a partner without a link.
#[utoipa::path(
    put, path = "/v1/user-profiles/{service}/{mc_service_id}/{index}", request_body = UserProfileBody,
    params(
        ("service" = String, Path, description = "`mcptt`, `mcvideo` or `mcdata`."),
        ("mc_service_id" = String, Path, description = "The MC service ID.", example = "sip:alice@a.example"),
        ("index" = u8, Path, description = "The index of the profile, 0 to 255."),
        CheckQuery,
    ),
    responses((status = 204, description = "Done."), Refusals)
)]
pub(super) async fn put_user_profile(
    State(shared): State<Arc<Shared>>,
    Segments(key): Segments<KeySegments>,
    Query(query): Query<CheckQuery>,
    Body(body): Body<UserProfileBody>,
) -> Response {
    let request = async { Ok(query?.ask(profile_request(key?, &body?)?, Request::Check)) };
    ask_configuration(&shared, "put_user_profile", request.await, false).await
}

/// Shows a user profile as it was put; the document may hold secrets and is shown only on demand.
#[utoipa::path(
    get, path = "/v1/user-profiles/{service}/{mc_service_id}/{index}",
    params(
        ("service" = String, Path, description = "`mcptt`, `mcvideo` or `mcdata`."),
        ("mc_service_id" = String, Path, description = "The MC service ID."),
        ("index" = u8, Path, description = "The index of the profile, 0 to 255."),
        SecretsQuery,
    ),
    responses((status = 200, description = "The profile.", body = UserProfileView), Refusals)
)]
pub(super) async fn get_user_profile(
    State(shared): State<Arc<Shared>>,
    Segments(key): Segments<KeySegments>,
    Query(query): Query<SecretsQuery>,
) -> Response {
    let request = key.and_then(profile_key).map(Request::GetUserProfile);
    let (request, with_secrets) = match query {
        Ok(query) => (request, query.secrets),
        Err(problem) => (Err(problem), false),
    };
    ask_configuration(&shared, "get_user_profile", request, with_secrets).await
}

/// Forgets a user profile.
#[utoipa::path(
    delete, path = "/v1/user-profiles/{service}/{mc_service_id}/{index}",
    params(
        ("service" = String, Path, description = "`mcptt`, `mcvideo` or `mcdata`."),
        ("mc_service_id" = String, Path, description = "The MC service ID."),
        ("index" = u8, Path, description = "The index of the profile, 0 to 255."),
    ),
    responses((status = 204, description = "Done."), Refusals)
)]
pub(super) async fn delete_user_profile(
    State(shared): State<Arc<Shared>>,
    Segments(key): Segments<KeySegments>,
) -> Response {
    let request = key.and_then(profile_key).map(Request::DeleteUserProfile);
    ask_configuration(&shared, "delete_user_profile", request, false).await
}

fn profile_request(key: KeySegments, body: &UserProfileBody) -> Result<Request, Problem> {
    let key = profile_key(key)?;
    let profile = UserProfile::parse(key.service, &body.document)
        .map_err(|error| invalid_field("document", &error.to_string()))?;
    let profile = StoredProfile { revision: body.revision, profile };
    Ok(Request::PutUserProfile { key, profile })
}

fn profile_key((service, user, index): KeySegments) -> Result<ProfileKey, Problem> {
    let service =
        ProfileService::parse(&service).ok_or_else(|| invalid_field("service", "is unknown"))?;
    let index = index.parse().map_err(|_| invalid_field("index", "is no number from 0 to 255"))?;
    Ok(ProfileKey { service, user: service_id("mc_service_id", &user)?, index })
}

/// Says what UEs are told of a system: this one, or a partner that does not tell it itself (NOTE 3).
#[utoipa::path(
    put, path = "/v1/system-configurations/{mc_system_id}", request_body = SystemConfigurationBody,
    params(
        ("mc_system_id" = String, Path, description = "The MC system ID.", example = "sip:b.example"),
        CheckQuery,
    ),
    responses((status = 204, description = "Done."), Refusals)
)]
pub(super) async fn put_system_configuration(
    State(shared): State<Arc<Shared>>,
    Segments(id): Segments<String>,
    Query(query): Query<CheckQuery>,
    Body(body): Body<SystemConfigurationBody>,
) -> Response {
    let request =
        async { Ok(query?.ask(system_configuration_request(&id?, body?)?, Request::Check)) };
    ask_configuration(&shared, "put_system_configuration", request.await, false).await
}

/// `?secrets=true`: whether the document is shown.
#[derive(serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SecretsQuery {
    /// Show the document too, with the secrets that UEs are told in it.
    #[serde(default)]
    #[param(required = false)]
    secrets: bool,
}

/// Shows what UEs are told of a system; the document may hold secrets and is shown only on demand.
#[utoipa::path(
    get, path = "/v1/system-configurations/{mc_system_id}",
    params(("mc_system_id" = String, Path, description = "The MC system ID."), SecretsQuery),
    responses((status = 200, description = "The configuration.", body = SystemConfigurationView), Refusals)
)]
pub(super) async fn get_system_configuration(
    State(shared): State<Arc<Shared>>,
    Segments(id): Segments<String>,
    Query(query): Query<SecretsQuery>,
) -> Response {
    let request = id.and_then(|id| system_id("mc_system_id", &id));
    let request = request.map(Request::GetSystemConfiguration);
    let (request, with_secrets) = match query {
        Ok(query) => (request, query.secrets),
        Err(problem) => (Err(problem), false),
    };
    ask_configuration(&shared, "get_system_configuration", request, with_secrets).await
}

/// Shows one of the latest versions of what UEs are or were told of a system, and who brought it into force.
#[utoipa::path(
    get, path = "/v1/system-configurations/{mc_system_id}/versions/{revision}",
    params(
        ("mc_system_id" = String, Path, description = "The MC system ID."),
        ("revision" = u64, Path, description = "The revision."),
        SecretsQuery,
    ),
    responses((status = 200, description = "The version.", body = ConfigurationVersionView), Refusals)
)]
pub(super) async fn get_configuration_version(
    State(shared): State<Arc<Shared>>,
    Segments(version): Segments<(String, String)>,
    Query(query): Query<SecretsQuery>,
) -> Response {
    let request = version.and_then(|(id, revision)| {
        let revision = revision.parse().map_err(|_| invalid_field("revision", "is no number"))?;
        Ok(Request::GetConfigurationVersion { system: system_id("mc_system_id", &id)?, revision })
    });
    let (request, with_secrets) = match query {
        Ok(query) => (request, query.secrets),
        Err(problem) => (Err(problem), false),
    };
    ask_configuration(&shared, "get_configuration_version", request, with_secrets).await
}

/// Forgets what UEs are told of a system, and its versions.
#[utoipa::path(
    delete, path = "/v1/system-configurations/{mc_system_id}",
    params(("mc_system_id" = String, Path, description = "The MC system ID.")),
    responses((status = 204, description = "Done."), Refusals)
)]
pub(super) async fn delete_system_configuration(
    State(shared): State<Arc<Shared>>,
    Segments(id): Segments<String>,
) -> Response {
    let request = id.and_then(|id| system_id("mc_system_id", &id));
    let request = request.map(Request::DeleteSystemConfiguration);
    ask_configuration(&shared, "delete_system_configuration", request, false).await
}

pub(super) fn user_request(id: &str, body: UserBody) -> Result<Request, Problem> {
    user(id, body).map(Request::PutUser)
}

pub(super) fn user(id: &str, body: UserBody) -> Result<User, Problem> {
    let user = body.into_user(service_id("mc_service_id", id)?);
    user.map_err(|(field, what)| invalid_field(field, what))
}

pub(super) fn agreement_request(key: KeySegments, body: AgreementBody) -> Result<Request, Problem> {
    let agreement = body.into_agreement(agreement_key(key)?);
    agreement.map(Request::PutAgreement).map_err(|(field, what)| invalid_field(field, what))
}

pub(super) fn system_configuration_request(
    id: &str,
    body: SystemConfigurationBody,
) -> Result<Request, Problem> {
    let system = system_id("mc_system_id", id)?;
    let configuration = SystemConfiguration::from(body);
    if configuration.sip_core.len() > SIP_CORE_ADDRESSES_MAX {
        return Err(invalid_field("sip_core", "has more than 16 addresses"));
    }
    Ok(Request::PutSystemConfiguration { system, configuration })
}

/// Partner, direction, users.
pub(super) type KeySegments = (String, String, String);

fn agreement_key((partner, direction, users): KeySegments) -> Result<AgreementKey, Problem> {
    let partner = system_id("partner", &partner)?;
    let direction = match direction.as_str() {
        "outbound" => Direction::Outbound,
        "inbound" => Direction::Inbound,
        _ => return Err(invalid_field("direction", "is unknown")),
    };
    let users = match users.split_once(':') {
        None if users == "everybody" => Users::Everybody,
        Some(("class", class)) => Users::Class(class.into()),
        Some(("user", id)) => Users::User(service_id("users", id)?),
        _ => return Err(invalid_field("users", "is unknown")),
    };
    Ok(AgreementKey { partner, direction, users })
}

pub(super) fn service_id(field: &str, id: &str) -> Result<McServiceId, Problem> {
    McServiceId::parse(id).map_err(|error| wrong_identity(field, error))
}

fn system_id(field: &str, id: &str) -> Result<McSystemId, Problem> {
    McSystemId::parse(id).map_err(|error| wrong_identity(field, error))
}

fn wrong_identity(field: &str, error: IdentityError) -> Problem {
    invalid_field(field, &error.to_string())
}
