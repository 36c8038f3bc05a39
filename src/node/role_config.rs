//! What the configuration of a system means for each role.

use std::time::Duration;

use super::config::Config;
use crate::{alias_server, config_server, sip_core, sip_database};

/// The configuration of the SIP core.
pub(super) fn core_config(config: &Config) -> sip_core::Config {
    let sip = &config.sip;
    let seconds = |period: Duration| u32::try_from(period.as_secs()).unwrap_or(u32::MAX);
    sip_core::Config {
        aliases: sip.aliases.clone(),
        server_name: sip.server_name.as_str().into(),
        service_route: format!("{};lr", sip.server_name),
        expires_default: seconds(sip.expires_default),
        expires_min: seconds(sip.expires_min),
        expires_max: seconds(sip.expires_max),
        algorithms: sip.algorithms.clone(),
        vector_timeout: sip.vector_timeout,
        reg_await_auth: sip.challenge_timeout,
        refusal_after: sip.refusal_after,
        decoy_challenge: sip.decoy_challenge,
        limits: config.limits.clone(),
        application_servers: sip.application_servers.clone(),
        ..sip_core::Config::for_domain(&config.system.domain)
    }
}

/// The configuration of the SIP database.
pub(super) fn database_config(config: &Config) -> sip_database::Config {
    let database = &config.sip_database;
    sip_database::Config {
        ind_bits: database.ind_bits,
        sqn_range: database.sqn_range,
        reserved_lease: database.reserved_lease,
        inbound_quarantine_min: database.inbound_quarantine_min,
        outbound_quarantine_min: database.outbound_quarantine_min,
        vector_timeout: config.sip.vector_timeout,
        avoid_zero_octet_in_res: database.avoid_zero_octet_in_res,
        ..sip_database::Config::new(config.diameter.identity.clone(), &config.system.domain)
    }
}

/// The configuration of the configuration management server.
pub(super) fn config_server_config(config: &Config) -> config_server::Config {
    let server = &config.config_server;
    let partners = server.partners.iter().map(|partner| config_server::Partner {
        id: partner.id.clone(),
        sip_database: partner.sip_database.clone(),
        accepted_token: partner.accept_token.digest(),
        areas: partner.areas.clone(),
    });
    config_server::Config {
        partners: partners.collect(),
        access_timeout: server.access_timeout,
        hands_out_configuration: server.hands_out_configuration,
        has_acm: config.roles.acm,
        ..config_server::Config::new(
            server.id.clone(),
            config.diameter.identity.clone(),
            config.sip_database.migration_server_name.clone(),
        )
    }
}

/// The configuration of the functional alias controlling server, if this process runs one: beside an ACM server, which
/// it tells who has which alias.
pub(super) fn alias_config(config: &Config) -> Option<alias_server::Config> {
    let domains = || config.acm.server.domains.clone();
    config.roles.acm.then(|| alias_server::Config::new(domains()))
}
