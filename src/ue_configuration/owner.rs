//! Who owns which element of a configuration that one system tells another about the use of itself.
//!
//! The system that UEs will be served in owns its addresses, networks, slices and settings. What identifies a
//! user or a UE there (credentials, label, client ID, default profile) is the user's.

use super::{
    InitialUeConfiguration,
    document::{Document, Extension, OnNetwork, ServiceConnections, UserPassword},
    element::Element,
};
use crate::secret::SecretText;

/// What stands where a secret is not shown.
pub const MASK: &str = "********";

impl InitialUeConfiguration {
    /// The names of the elements of the system that UEs are served in that differ between this document and
    /// `other`, in the order of the schema.
    pub fn differing_system_elements(&self, other: &Self) -> Vec<&'static str> {
        let (one, other) = (&self.document, &other.document);
        let mut names = Vec::new();
        let mut compare = |name, same: bool| {
            if !same {
                names.push(name);
            }
        };
        compare("domain", one.domain == other.domain);
        compare_on_network(&one.on_network, &other.on_network, &mut compare);
        compare("off-network", one.off_network == other.off_network);
        names
    }

    /// The same configuration with `label` as the label of the MC service UE, or without one.
    #[must_use]
    pub fn with_label(&self, label: Option<&str>) -> Self {
        let mut document = self.document.clone();
        document.extensions.retain(|it| !matches!(it, Extension::Label(_)));
        document.extensions.extend(label.map(|label| Extension::Label(label.to_owned())));
        // The label of another document fits, unless both together are too long: then it is left out.
        Self::new(&document).unwrap_or_else(|_| self.clone())
    }

    /// The same configuration for the eyes of a person: passwords, keys and the content of what this version
    /// does not know are masked.
    #[must_use]
    pub fn masked(&self) -> Self {
        let mut document = self.document.clone();
        mask(&mut document);
        let octets = super::render::render(&document, self.octets).len();
        Self { document, octets }
    }
}

fn compare_on_network(
    one: &OnNetwork,
    other: &OnNetwork,
    compare: &mut impl FnMut(&'static str, bool),
) {
    compare("on-network/Timers", one.timers == other.timers);
    compare("on-network/HPLMN@PLMN", one.hplmn.plmn == other.hplmn.plmn);
    compare_connections(&one.hplmn.service, &other.hplmn.service, compare);
    compare("on-network/HPLMN/VPLMN", one.hplmn.vplmns == other.hplmn.vplmns);
    compare("on-network/HPLMN/anyExt", one.hplmn.extensions == other.hplmn.extensions);
    let (servers, others) = (&one.servers, &other.servers);
    let idms =
        |it: &super::AppServerInfo| (it.idms_auth_endpoint.clone(), it.idms_token_endpoint.clone());
    compare("App-Server-Info/idms-auth-endpoint", idms(servers).0 == idms(others).0);
    compare("App-Server-Info/idms-token-endpoint", idms(servers).1 == idms(others).1);
    compare("App-Server-Info/http-proxy", servers.http_proxy == others.http_proxy);
    compare("App-Server-Info/gms", servers.gms == others.gms);
    compare("App-Server-Info/cms", servers.cms == others.cms);
    compare("App-Server-Info/kms", servers.kms == others.kms);
    let lms = |it: &[Extension]| system_extensions(it, |it| matches!(it, Extension::Lms(_)));
    compare("App-Server-Info/lms", lms(&servers.extensions) == lms(&others.extensions));
    let tunnel = "App-Server-Info/tls-tunnel-auth-method";
    compare(tunnel, servers.tls_tunnel_auth_method == others.tls_tunnel_auth_method);
    let unknown = |it: &[Extension]| system_extensions(it, |it| matches!(it, Extension::Other(_)));
    let any_ext = "App-Server-Info/anyExt";
    compare(any_ext, unknown(&servers.extensions) == unknown(&others.extensions));
    compare("GMS-URI", one.gms_uri == other.gms_uri);
    compare("GMS-XCAP-root-URI", one.gms_xcap_root_uri == other.gms_xcap_root_uri);
    compare("CMS-XCAP-root-URI", one.cms_xcap_root_uri == other.cms_xcap_root_uri);
    let protection =
        |it: &OnNetwork| (it.integrity_protection_enabled, it.confidentiality_protection_enabled);
    compare("integrity-protection-enabled", protection(one).0 == protection(other).0);
    compare("confidentiality-protection-enabled", protection(one).1 == protection(other).1);
    let details = |it: &OnNetwork| {
        system_extensions(&it.extensions, |it| matches!(it, Extension::ServiceDetails(..)))
    };
    compare("Service-Details", details(one) == details(other));
    compare("SNSSAI", slices(one) == slices(other));
    compare("DN-Info", networks(one) == networks(other));
    compare("on-network/anyExt", unknown(&one.extensions) == unknown(&other.extensions));
}

fn compare_connections(
    one: &ServiceConnections,
    other: &ServiceConnections,
    compare: &mut impl FnMut(&'static str, bool),
) {
    compare("service/MCPTT-to-con-ref", one.mc_services == other.mc_services);
    compare("service/MC-common-core-to-con-ref", one.common_core == other.common_core);
    compare("service/MC-ID-to-con-ref", one.identity_management == other.identity_management);
    let extensions = |it: &ServiceConnections, wanted: fn(&Extension) -> bool| {
        system_extensions(&it.extensions, wanted)
    };
    let is_slice: fn(&Extension) -> bool = |it| matches!(it, Extension::SliceOf(..));
    compare("service/ref-SNSSAI", extensions(one, is_slice) == extensions(other, is_slice));
    let is_other: fn(&Extension) -> bool = |it| matches!(it, Extension::Other(_));
    compare("service/anyExt", extensions(one, is_other) == extensions(other, is_other));
}

fn system_extensions(all: &[Extension], wanted: impl Fn(&Extension) -> bool) -> Vec<Extension> {
    all.iter().filter(|it| wanted(it)).cloned().collect()
}

/// Slices and their servers; how a user is admitted to one is the user's.
fn slices(of: &OnNetwork) -> Vec<(super::SNssai, Option<String>)> {
    let slices = of.extensions.iter().filter_map(|extension| {
        let Extension::Slice(slice) = extension else { return None };
        Some((slice.s_nssai, slice.nssaa_server.clone()))
    });
    slices.collect()
}

/// Data networks and their servers; how a user is admitted to one is the user's.
fn networks(of: &OnNetwork) -> Vec<(String, Option<String>)> {
    let networks = of.extensions.iter().filter_map(|extension| {
        let Extension::DataNetwork(network) = extension else { return None };
        Some((network.dnn.clone(), network.aaa_server.clone()))
    });
    networks.collect()
}

fn mask(document: &mut Document) {
    let on_network = &mut document.on_network;
    let tunnel = &mut on_network.servers.tls_tunnel_auth_method;
    if let Some(key) = &mut tunnel.key {
        *key = SecretText::new(MASK);
    }
    mask_extensions(&mut tunnel.extensions);
    mask_extensions(&mut on_network.servers.extensions);
    mask_extensions(&mut on_network.extensions);
    mask_extensions(&mut on_network.hplmn.extensions);
    mask_extensions(&mut on_network.hplmn.service.extensions);
    for vplmn in &mut on_network.hplmn.vplmns {
        mask_extensions(&mut vplmn.extensions);
        mask_extensions(&mut vplmn.service.extensions);
    }
    if let Some(ue_id) = &mut document.ue_id {
        mask_extensions(&mut ue_id.extensions);
    }
    if let Some(off_network) = &mut document.off_network {
        mask_extensions(&mut off_network.extensions);
    }
    mask_extensions(&mut document.extensions);
}

fn mask_extensions(extensions: &mut [Extension]) {
    for extension in extensions {
        match extension {
            Extension::DataNetwork(network) => {
                for parameters in [&mut network.pap, &mut network.chap].into_iter().flatten() {
                    let UserPassword { password, .. } = parameters;
                    *password = SecretText::new(MASK);
                }
                if let Some(credentials) = &mut network.credentials {
                    mask_extensions(&mut credentials.extensions);
                }
                mask_extensions(&mut network.extensions);
            }
            Extension::Slice(slice) => {
                if let Some(credentials) = &mut slice.credentials {
                    mask_extensions(&mut credentials.extensions);
                }
                mask_extensions(&mut slice.extensions);
            }
            Extension::ServiceDetails(_, details) => mask_extensions(&mut details.extensions),
            Extension::Other(element) => mask_element(element),
            Extension::SliceOf(..)
            | Extension::PduSessionType(_)
            | Extension::Lms(_)
            | Extension::IdmClientId(_)
            | Extension::Label(_) => {}
        }
    }
}

/// Nobody knows which part of it is a secret: only its name stays, with what declares its prefix.
fn mask_element(element: &mut Element) {
    element.attributes.retain(|it| super::element::declared_prefix(&it.name).is_some());
    element.content.clear();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        identity::Plmn,
        ue_configuration::{DataNetwork, PersonalText},
    };

    fn with(change: impl FnOnce(&mut Document)) -> InitialUeConfiguration {
        let plmn = Plmn::parse("20801").unwrap();
        let made = InitialUeConfiguration::for_domain("b.example", plmn).unwrap();
        let mut document = made.document().clone();
        change(&mut document);
        InitialUeConfiguration::new(&document).unwrap()
    }

    fn network(password: &str) -> Extension {
        let user_name = PersonalText::new("engine".to_owned());
        Extension::DataNetwork(DataNetwork {
            dnn: "mc-services".to_owned(),
            aaa_server: None,
            credentials: None,
            pap: Some(UserPassword { user_name, password: SecretText::new(password) }),
            chap: None,
            extensions: Vec::new(),
        })
    }

    #[test]
    fn what_the_user_owns_is_no_difference_and_what_the_system_owns_is_named() {
        let live = with(|document| document.on_network.extensions.push(network("one")));
        let other = with(|document| {
            document.on_network.extensions.push(network("other"));
            document.extensions.push(Extension::Label("Engine 12".to_owned()));
        });
        assert_eq!(live.differing_system_elements(&other), Vec::<&str>::new());
        let moved = with(|document| {
            document.on_network.hplmn.service.mc_services = "mc-new".to_owned();
            document.on_network.servers.kms = "https://kms2.b.example/".to_owned();
        });
        let wanted = ["service/MCPTT-to-con-ref", "App-Server-Info/kms", "DN-Info"];
        assert_eq!(live.differing_system_elements(&moved), wanted);
        let weaker = with(|document| {
            let tunnel = &mut document.on_network.servers.tls_tunnel_auth_method;
            tunnel.mutual_authentication = !tunnel.mutual_authentication;
        });
        let plain = with(|_| {});
        let wanted = ["App-Server-Info/tls-tunnel-auth-method"];
        assert_eq!(plain.differing_system_elements(&weaker), wanted);
    }

    #[test]
    fn a_masked_document_shows_no_secret_and_is_a_document_still() {
        let secret = with(|document| {
            document.on_network.extensions.push(network("hunter2"));
            document.on_network.servers.tls_tunnel_auth_method.key =
                Some(SecretText::new("hunter3"));
        });
        assert!(secret.render().contains("hunter2") && secret.render().contains("hunter3"));
        let masked = secret.masked().render();
        assert!(!masked.contains("hunter"), "{masked}");
        assert!(InitialUeConfiguration::parse(&masked).is_ok());
    }

    #[test]
    fn a_label_is_replaced_and_taken_away() {
        let labelled = with(|_| {}).with_label(Some("Engine 12"));
        assert_eq!(labelled.label(), Some("Engine 12"));
        assert_eq!(labelled.with_label(None), with(|_| {}));
    }
}
