//! What an operator decides about an MC server.

use std::net::{IpAddr, Ipv4Addr};

use crate::user_profile::ProfileService;

/// Most public identities that an MC server knows.
pub const CLIENTS_MAX: usize = 1_000_000;

/// Settings of an MC server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// Its host name, which its warnings name.
    pub host: String,
    /// The services that it authorises users for.
    pub services: Vec<ProfileService>,
    /// The addresses of this system's SIP cores. Nobody else is served.
    pub cores: Vec<IpAddr>,
    /// With how many public identities a user may be authorised for one service at a time
    /// (TS 24.484: `max-simultaneous-authorizations`).
    pub authorisations_of_user_max: usize,
    /// See [`CLIENTS_MAX`].
    pub clients_max: usize,
}

impl Config {
    /// A server of this name for all services, beside its SIP core.
    pub fn new(host: &str) -> Self {
        Self {
            host: host.to_owned(),
            services: ProfileService::ALL.to_vec(),
            cores: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            authorisations_of_user_max: 4,
            clients_max: CLIENTS_MAX,
        }
    }
}
