//! What an operator decides about a SIP core.

use std::{sync::Arc, time::Duration};

use super::{decoy::DECOYS_MAX, filter::ApplicationServer, limiter::Limits};
use crate::aka::digest::Algorithm;

/// Settings of a SIP core. The defaults are those of TS 24.229 and RFC 3261 where they give one.
#[derive(Clone, Debug)]
pub struct Config {
    /// The home network domain, lower case: the domain of Request-URI and To.
    pub domain: String,
    /// Other hosts that a Request-URI or To may name, lower case: addresses that UEs were given.
    pub aliases: Vec<String>,
    /// The digest realm; the domain as a rule.
    pub realm: String,
    /// Server-Name towards the SIP database: the SIP URI of this core.
    pub server_name: Arc<str>,
    /// The URI of the Service-Route that a 200 carries, without angle brackets (RFC 3608).
    pub service_route: String,
    /// The registration period granted when the UE asks for none, seconds.
    pub expires_default: u32,
    /// The shortest registration period, seconds; shorter ones are refused with 423.
    pub expires_min: u32,
    /// The longest registration period, seconds; longer wishes are cut to it.
    pub expires_max: u32,
    /// Algorithms that an initial REGISTER may name. The default is always `AKAv1-MD5`.
    pub algorithms: Vec<Algorithm>,
    /// How long a vector or an assignment may take before the UE gets 504.
    pub vector_timeout: Duration,
    /// How long a UE may take to answer a challenge (reg-await-auth, TS 24.229 table 7.8.1).
    pub reg_await_auth: Duration,
    /// When 403 leaves after the first REGISTER that it answers came, whatever it took to find it; zero: at once. With
    /// [`Config::decoy_challenge`] 401, too. What takes longer leaves at the next multiple of it.
    pub refusal_after: Duration,
    /// Whether identities are challenged that there are not, or not any more, or not together, in place of 403.
    pub decoy_challenge: bool,
    /// See [`DECOYS_MAX`].
    pub decoys_max: usize,
    /// What may be tried how often.
    pub limits: Limits,
    /// Who is told of registrations, and asked by registered users; at most
    /// [`APPLICATION_SERVERS_MAX`](super::APPLICATION_SERVERS_MAX).
    pub application_servers: Vec<ApplicationServer>,
}

impl Config {
    /// A configuration for `domain` with every default.
    pub fn for_domain(domain: &str) -> Self {
        Self {
            domain: domain.to_owned(),
            aliases: Vec::new(),
            realm: domain.to_owned(),
            server_name: format!("sip:scscf.{domain}").into(),
            service_route: format!("sip:orig@scscf.{domain};lr"),
            expires_default: 3_600,
            expires_min: 60,
            expires_max: 600_000,
            algorithms: vec![Algorithm::AkaV1Md5, Algorithm::AkaV2Md5, Algorithm::AkaV2Sha256],
            vector_timeout: Duration::from_secs(4),
            reg_await_auth: Duration::from_secs(240),
            refusal_after: Duration::ZERO,
            decoy_challenge: false,
            decoys_max: DECOYS_MAX,
            limits: Limits::default(),
            application_servers: Vec::new(),
        }
    }

    /// Whether `host` is the domain or one of its aliases.
    pub(super) fn serves_host(&self, host: &str) -> bool {
        host.eq_ignore_ascii_case(&self.domain)
            || self.aliases.iter().any(|alias| host.eq_ignore_ascii_case(alias))
    }
}
