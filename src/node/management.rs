//! The management interface of a system over HTTP: JSON in, JSON out.
//!
//! Of the SIP database it carries B1/B2 (`MIG-4`, `MIG-6`) and D1/D2 (`MIG-9`, `MIG-11`) of TR 23.781
//! solution 2; of the configuration server what it needs to know before a user migrates. Each request
//! becomes one value for a role ([`crate::api`]), is parked with a deadline, and answered once; lists are
//! read from the storage.
//! `/openapi.json` describes it.

mod acm;
mod alias_body;
mod aliases;
mod answer;
pub(super) mod body;
mod configuration;
mod configuration_body;
mod database;
mod idms;
mod idms_body;
mod list;
pub(super) mod many;
mod operator_body;
mod registrations;
mod target;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    routing::{delete, get, post, put},
};
use utoipa::{IntoResponses, OpenApi};

pub(super) use answer::refused;
pub(super) use target::{Target, escape};

pub use body::{BODY_OCTETS_MAX, BindingView, SystemView};
pub use list::ITEMS_MAX;

use super::{
    http::{self, Problem, Responses, refusals},
    perform::Shared,
};

/// The interface description.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "migcore management interface",
        description = "Subscribers, identity pools, migration bindings and grants of one SIP database; users, \
                       agreements with partners and UE configurations of one configuration management server; \
                       registrations of one SIP core; users of one ACM server; functional aliases of one controlling \
                       server; clients, users, users of partners, trust and keys of one identity management server.",
    ),
    paths(
        get_system,
        database::put_subscriber,
        many::put_subscribers,
        database::get_subscriber,
        database::delete_subscriber,
        database::put_digest_subscriber,
        database::get_digest_subscriber,
        database::delete_digest_subscriber,
        list::list_digest_subscribers,
        database::put_pool,
        database::get_pool,
        database::bind_outbound,
        database::bind_inbound,
        database::map_inbound,
        database::get_binding,
        database::release_binding,
        database::put_grant,
        database::delete_grant,
        registrations::revoke_binding,
        registrations::get_registration,
        registrations::remove_registration,
        list::list_outbound,
        list::list_inbound,
        list::list_registrations,
        list::list_agreements,
        list::list_grants,
        list::list_subscribers,
        list::list_users,
        configuration::put_user_profile,
        configuration::get_user_profile,
        configuration::delete_user_profile,
        list::list_user_profiles,
        list::list_mc_clients,
        list::list_pools,
        list::list_acm_users,
        configuration::put_user,
        many::put_users,
        configuration::get_user,
        configuration::delete_user,
        configuration::put_agreement,
        configuration::get_agreement,
        configuration::delete_agreement,
        configuration::put_system_configuration,
        configuration::get_system_configuration,
        configuration::delete_system_configuration,
        configuration::get_configuration_version,
        list::list_configuration_versions,
        acm::put_acm_user,
        acm::get_acm_user,
        acm::delete_acm_user,
        acm::list_strays,
        aliases::put_holder,
        aliases::delete_holder,
        aliases::list_aliases,
        idms::put_client,
        idms::get_client,
        idms::delete_client,
        list::list_idms_clients,
        idms::put_user,
        idms::get_user,
        idms::delete_user,
        list::list_idms_users,
        idms::put_visitor,
        idms::get_visitor,
        idms::delete_visitor,
        list::list_idms_visitors,
        idms::put_denied,
        idms::delete_denied,
        idms::list_denied,
        idms::import_trust,
        idms::list_trust,
        idms::revoke_trust,
        idms::list_keys,
        idms::make_key,
        list::list_security_tokens,
        get_description,
    )
)]
struct Description;

/// The interface description, as `/openapi.json` serves it.
pub fn description() -> utoipa::openapi::OpenApi {
    Description::openapi()
}

/// Every path with its methods; the description is tested against it.
fn operations() -> Vec<http::Operation> {
    use configuration as cms;
    vec![
        ("/v1/system", "get", get(get_system)),
        ("/v1/subscribers", "post", post(many::put_subscribers)),
        ("/v1/subscribers", "get", get(list::list_subscribers)),
        ("/v1/subscribers/{impi}", "put", put(database::put_subscriber)),
        ("/v1/subscribers/{impi}", "get", get(database::get_subscriber)),
        ("/v1/subscribers/{impi}", "delete", delete(database::delete_subscriber)),
        ("/v1/digest-subscribers", "get", get(list::list_digest_subscribers)),
        ("/v1/digest-subscribers/{impi}", "put", put(database::put_digest_subscriber)),
        ("/v1/digest-subscribers/{impi}", "get", get(database::get_digest_subscriber)),
        ("/v1/digest-subscribers/{impi}", "delete", delete(database::delete_digest_subscriber)),
        ("/v1/pools", "get", get(list::list_pools)),
        ("/v1/pools/{name}", "put", put(database::put_pool)),
        ("/v1/pools/{name}", "get", get(database::get_pool)),
        ("/v1/bindings/outbound", "post", post(database::bind_outbound)),
        ("/v1/bindings/inbound", "post", post(database::bind_inbound)),
        ("/v1/bindings/outbound", "get", get(list::list_outbound)),
        ("/v1/bindings/inbound", "get", get(list::list_inbound)),
        ("/v1/bindings/{direction}/{impi}", "get", get(database::get_binding)),
        ("/v1/bindings/{direction}/{impi}", "delete", delete(database::release_binding)),
        ("/v1/bindings/{direction}/{impi}/revoke", "post", post(registrations::revoke_binding)),
        ("/v1/registrations", "get", get(list::list_registrations)),
        ("/v1/registrations/{impi}", "get", get(registrations::get_registration)),
        ("/v1/registrations/{impi}", "delete", delete(registrations::remove_registration)),
        ("/v1/mappings", "put", put(database::map_inbound)),
        ("/v1/grants", "get", get(list::list_grants)),
        ("/v1/grants/{impi}/{partner}", "put", put(database::put_grant)),
        ("/v1/grants/{impi}/{partner}", "delete", delete(database::delete_grant)),
        ("/v1/users", "post", post(many::put_users)),
        ("/v1/users", "get", get(list::list_users)),
        ("/v1/users/{mc_service_id}", "put", put(cms::put_user)),
        ("/v1/users/{mc_service_id}", "get", get(cms::get_user)),
        ("/v1/users/{mc_service_id}", "delete", delete(cms::delete_user)),
        ("/v1/agreements", "get", get(list::list_agreements)),
        ("/v1/agreements/{partner}/{direction}/{users}", "put", put(cms::put_agreement)),
        ("/v1/agreements/{partner}/{direction}/{users}", "get", get(cms::get_agreement)),
        ("/v1/agreements/{partner}/{direction}/{users}", "delete", delete(cms::delete_agreement)),
        ("/v1/system-configurations/{mc_system_id}", "put", put(cms::put_system_configuration)),
        ("/v1/system-configurations/{mc_system_id}", "get", get(cms::get_system_configuration)),
        (
            "/v1/system-configurations/{mc_system_id}",
            "delete",
            delete(cms::delete_system_configuration),
        ),
        (
            "/v1/system-configurations/{mc_system_id}/versions/{revision}",
            "get",
            get(cms::get_configuration_version),
        ),
        ("/v1/system-configuration-versions", "get", get(list::list_configuration_versions)),
        ("/v1/user-profiles", "get", get(list::list_user_profiles)),
        ("/v1/mc-clients", "get", get(list::list_mc_clients)),
        (cms::PROFILE_PATH, "put", put(cms::put_user_profile)),
        (cms::PROFILE_PATH, "get", get(cms::get_user_profile)),
        (cms::PROFILE_PATH, "delete", delete(cms::delete_user_profile)),
        ("/v1/acm/users", "get", get(list::list_acm_users)),
        ("/v1/acm/users/{mc_service_id}", "put", put(acm::put_acm_user)),
        ("/v1/acm/users/{mc_service_id}", "get", get(acm::get_acm_user)),
        ("/v1/acm/users/{mc_service_id}", "delete", delete(acm::delete_acm_user)),
        ("/v1/acm/strays", "get", get(acm::list_strays)),
        ("/v1/functional-aliases", "get", get(aliases::list_aliases)),
        (aliases::HOLDER_PATH, "put", put(aliases::put_holder)),
        (aliases::HOLDER_PATH, "delete", delete(aliases::delete_holder)),
        ("/v1/idms/clients", "get", get(list::list_idms_clients)),
        ("/v1/idms/clients/{client_id}", "put", put(idms::put_client)),
        ("/v1/idms/clients/{client_id}", "get", get(idms::get_client)),
        ("/v1/idms/clients/{client_id}", "delete", delete(idms::delete_client)),
        ("/v1/idms/users", "get", get(list::list_idms_users)),
        ("/v1/idms/users/{name}", "put", put(idms::put_user)),
        ("/v1/idms/users/{name}", "get", get(idms::get_user)),
        ("/v1/idms/users/{name}", "delete", delete(idms::delete_user)),
        ("/v1/idms/visitors", "get", get(list::list_idms_visitors)),
        (idms::VISITOR_PATH, "put", put(idms::put_visitor)),
        (idms::VISITOR_PATH, "get", get(idms::get_visitor)),
        (idms::VISITOR_PATH, "delete", delete(idms::delete_visitor)),
        ("/v1/idms/denied", "get", get(idms::list_denied)),
        (idms::DENIED_PATH, "put", put(idms::put_denied)),
        (idms::DENIED_PATH, "delete", delete(idms::delete_denied)),
        ("/v1/idms/trust", "get", get(idms::list_trust)),
        ("/v1/idms/trust/{issuer}", "post", post(idms::import_trust)),
        ("/v1/idms/trust-revocations", "post", post(idms::revoke_trust)),
        ("/v1/idms/keys", "get", get(idms::list_keys)),
        ("/v1/idms/keys", "post", post(idms::make_key)),
        ("/v1/idms/security-tokens", "get", get(list::list_security_tokens)),
        ("/openapi.json", "get", get(get_description)),
    ]
}

/// Builds the interface over the roles of `shared`.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    http::router(operations(), shared)
}

/// What any request may be refused with.
struct Refusals;

impl IntoResponses for Refusals {
    fn responses() -> Responses {
        refusals::<Problem>(&[
            (404, "There is no such thing, or this system does not run the role."),
            (409, "No identity is free, or others hold the alias."),
            (422, "A field is wrong, or the request contradicts what is stored."),
            (500, "A stored record cannot be read."),
            (503, "The storage takes no changes now, a table is full, or the system is busy."),
        ])
    }
}

/// Tells who this system is.
#[utoipa::path(get, path = "/v1/system", responses((status = 200, description = "This system.", body = SystemView)))]
async fn get_system(State(shared): State<Arc<Shared>>) -> Json<SystemView> {
    Json(SystemView {
        domain: shared.config.system.domain.clone(),
        mc_system_id: shared.config.config_server.id.clone(),
        database: shared.config.diameter.identity.clone(),
        server_name: shared.config.sip_database.migration_server_name.clone(),
        ind_bits: shared.config.sip_database.ind_bits,
    })
}

/// Serves this description.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, description = "This description.")))]
async fn get_description() -> Json<utoipa::openapi::OpenApi> {
    Json(description())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_description_has_every_operation_and_no_other() {
        let description = serde_json::to_value(description()).unwrap();
        let mut described = BTreeSet::new();
        for (path, methods) in description["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                described.insert((path.clone(), method.clone()));
            }
        }
        let served = operations().into_iter();
        let served = served.map(|(path, method, _)| (path.to_owned(), method.to_owned()));
        assert_eq!(described, served.collect());
    }
}
