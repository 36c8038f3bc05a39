//! A document to begin with: the servers of a system by conventional names below its domain.

use crate::identity::Plmn;

use super::{
    DocumentError, InitialUeConfiguration,
    document::{
        AppServerInfo, Document, Extension, Hplmn, OnNetwork, ServiceConnections, ServiceDetails,
        TlsTunnelAuthMethod,
    },
    values::{PersonalText, Service},
};

impl InitialUeConfiguration {
    /// Makes the document of a system whose servers have conventional names: `idms.DOMAIN`,
    /// `cms.DOMAIN`, and so on. `domain` is a domain name. For a system that is set up after it, or as a
    /// document to edit.
    ///
    /// # Errors
    ///
    /// [`DocumentError`] if the domain makes no URIs.
    pub fn for_domain(domain: &str, hplmn: Plmn) -> Result<Self, DocumentError> {
        Self::new(&Document {
            domain: domain.to_owned(),
            xui_uri: None,
            instance_id_urn: None,
            names: Vec::new(),
            ue_id: None,
            default_user_profile: None,
            on_network: on_network(domain, hplmn),
            off_network: None,
            extensions: Vec::new(),
        })
    }
}

fn on_network(domain: &str, plmn: Plmn) -> OnNetwork {
    let details = |service, server: &str| {
        let server_uri = format!("sip:{server}@{domain}");
        let extensions = Vec::new();
        let details = ServiceDetails { ipv6_required: false, server_uri, extensions };
        Extension::ServiceDetails(service, details)
    };
    let service = ServiceConnections {
        mc_services: "mc-services".to_owned(),
        common_core: "mc-common-core".to_owned(),
        identity_management: "mc-identity-management".to_owned(),
        extensions: Vec::new(),
    };
    OnNetwork {
        index: None,
        timers: None,
        hplmn: Hplmn { plmn, service, vplmns: Vec::new(), extensions: Vec::new() },
        servers: servers(domain),
        gms_uri: format!("sip:gms@{domain}"),
        group_creation_xui: PersonalText::new(format!("sip:group-creation@{domain}")),
        gms_xcap_root_uri: format!("https://gms.{domain}/xcap-root"),
        cms_xcap_root_uri: format!("https://cms.{domain}/xcap-root"),
        integrity_protection_enabled: true,
        confidentiality_protection_enabled: true,
        extensions: vec![
            details(Service::Mcptt, "mcptt"),
            details(Service::McVideo, "mcvideo"),
            details(Service::McData, "mcdata"),
        ],
    }
}

fn servers(domain: &str) -> AppServerInfo {
    AppServerInfo {
        idms_auth_endpoint: format!("https://idms.{domain}/authorize"),
        idms_token_endpoint: format!("https://idms.{domain}/token"),
        http_proxy: Some(format!("https://proxy.{domain}")),
        gms: format!("sip:gms@{domain}"),
        cms: format!("sip:cms@{domain}"),
        kms: format!("https://kms.{domain}/keymanagement/identity/v1"),
        tls_tunnel_auth_method: TlsTunnelAuthMethod {
            mutual_authentication: false,
            x509: None,
            key: None,
            extensions: Vec::new(),
        },
        extensions: Vec::new(),
    }
}
