//! What ladders and logs call the parties.

use std::sync::Arc;

use super::config::Config;
use crate::{identity::McSystemId, outbox::Role};

/// What ladders and logs call the parties: their names in the network.
pub(super) struct Names {
    pub(super) sip_core: Arc<str>,
    pub(super) sip_database: Arc<str>,
    pub(super) config_server: Arc<str>,
    pub(super) acm: Arc<str>,
    /// Whoever uses the ACM server of this system.
    pub(super) acm_client: Arc<str>,
    pub(super) idms: Arc<str>,
    /// The MC server of this system, or whatever application servers it has.
    pub(super) mc_server: Arc<str>,
    pub(super) ue: Arc<str>,
    /// Whoever uses the management interface of the SIP database.
    pub(super) management: Arc<str>,
}

impl Names {
    pub(super) fn new(config: &Config) -> Self {
        let core = config.sip.server_name.strip_prefix("sip:").unwrap_or_default();
        Self {
            sip_core: core.into(),
            sip_database: config.diameter.identity.as_str().into(),
            config_server: Self::of_config_server(&config.config_server.id),
            acm: Self::of_acm_server(&config.acm.server.system),
            acm_client: "ACM client".into(),
            idms: Self::of_server("idms", &config.config_server.id),
            mc_server: Self::of_server("mc", &config.config_server.id),
            ue: "UE".into(),
            management: "CMS".into(),
        }
    }

    pub(super) fn of(&self, role: Role) -> Arc<str> {
        match role {
            Role::SipCore => Arc::clone(&self.sip_core),
            Role::SipDatabase => Arc::clone(&self.sip_database),
            Role::Acm => Arc::clone(&self.acm),
            Role::ConfigServer => Arc::clone(&self.config_server),
            Role::Idms => Arc::clone(&self.idms),
            Role::McServer => Arc::clone(&self.mc_server),
            Role::Ue => Arc::clone(&self.ue),
        }
    }

    /// The name of the configuration server of a system: `cms.a.example` for `sip:a.example`.
    pub(super) fn of_config_server(system: &McSystemId) -> Arc<str> {
        Self::of_server("cms", system)
    }

    /// The name of the ACM server of a system: `acm.a.example` for `sip:a.example`.
    pub(super) fn of_acm_server(system: &McSystemId) -> Arc<str> {
        Self::of_server("acm", system)
    }

    fn of_server(name: &str, system: &McSystemId) -> Arc<str> {
        let id = system.as_str();
        format!("{name}.{}", id.split_once(':').map_or(id, |(_, domain)| domain)).into()
    }
}
