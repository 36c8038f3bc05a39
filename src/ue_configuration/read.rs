//! A tree of elements to the document: every element is checked where it stands.

use std::collections::BTreeSet;

use super::{
    DocumentError, ROOT,
    document::{
        AppServerInfo, DefaultUserProfile, Document, Extension, Hplmn, ImeiRange, Name, OffNetwork,
        OnNetwork, SerialNumbers, ServiceConnections, TlsTunnelAuthMethod, UeId, UeIdEntry, Vplmn,
    },
    element::{Element, Place, split_name},
    extension,
    fields::{Fields, MISSING, TWICE, UNEXPECTED, Value},
    timers::{OffNetworkCounters, OffNetworkTimers, OnNetworkTimers},
    values::PersonalText,
};

/// Most visited PLMNs.
pub const VPLMNS_MAX: usize = 64;
/// Most names.
pub const NAMES_MAX: usize = 16;
/// Most UEs and ranges of UEs, and most serial numbers and ranges of them in each.
pub const UE_IDS_MAX: usize = 256;

/// Reads the root element.
pub(super) fn document(root: &Element) -> Result<Document, DocumentError> {
    let place = Place::root(root);
    if split_name(&root.name).1 != ROOT {
        return Err(place.error("is missing: another root element is there"));
    }
    if place.own_name().is_none() {
        return Err(place.error_at_attribute(
            "xmlns",
            "is not the namespace of the document: write urn:3gpp:mcptt:mcpttUEinitConfig:1.0",
        ));
    }
    place.check_namespaces()?;
    let mut fields = Fields::of(&place, &["domain", "XUI-URI", "Instance-ID-URN"])?;
    let domain = fields.attribute("domain", Value::uri_reference)?;
    let xui_uri = fields.optional_attribute("XUI-URI", Value::personal_uri)?;
    let instance_id_urn = fields.optional_attribute("Instance-ID-URN", Value::personal_uri)?;
    let mut document = Draft::default();
    while let Some(child) = fields.next() {
        document.take(&child)?;
    }
    let on_network =
        document.on_network.ok_or_else(|| place.error_at_child("on-network", MISSING))?;
    Ok(Document {
        domain,
        xui_uri,
        instance_id_urn,
        names: document.names,
        ue_id: document.ue_id,
        default_user_profile: document.default_user_profile,
        on_network,
        off_network: document.off_network,
        extensions: document.extensions.unwrap_or_default(),
    })
}

/// The children of the root, which may come in any order.
#[derive(Default)]
struct Draft {
    names: Vec<Name>,
    ue_id: Option<UeId>,
    default_user_profile: Option<DefaultUserProfile>,
    on_network: Option<OnNetwork>,
    off_network: Option<OffNetwork>,
    extensions: Option<Vec<Extension>>,
}

impl Draft {
    fn take(&mut self, child: &Place<'_>) -> Result<(), DocumentError> {
        match child.own_name() {
            Some("name") => {
                let name = name(child)?;
                if self.names.iter().any(|other| other.language == name.language) {
                    return Err(child.error("is there twice in one language: write it once"));
                }
                if self.names.len() == NAMES_MAX {
                    return Err(child.error("is one name too many"));
                }
                self.names.push(name);
                Ok(())
            }
            Some("mcptt-UE-id") => put(&mut self.ue_id, child, ue_id),
            Some("Default-user-profile") => put(&mut self.default_user_profile, child, profile),
            Some("on-network") => put(&mut self.on_network, child, on_network),
            Some("off-network") => put(&mut self.off_network, child, off_network),
            Some("anyExt") => put(&mut self.extensions, child, extension::any_ext),
            Some(_) | None => Err(child.error(UNEXPECTED)),
        }
    }
}

fn put<T>(
    slot: &mut Option<T>,
    child: &Place<'_>,
    read: fn(&Place<'_>) -> Result<T, DocumentError>,
) -> Result<(), DocumentError> {
    match slot.replace(read(child)?) {
        Some(_) => Err(child.error(TWICE)),
        None => Ok(()),
    }
}

fn name(place: &Place<'_>) -> Result<Name, DocumentError> {
    let text = Value::of_element(*place, &["xml:lang", "index"])?;
    Ok(Name {
        language: Value::of_attribute(*place, "xml:lang").map(|tag| tag.language()).transpose()?,
        index: index(place)?,
        text: text.token()?,
    })
}

fn index(place: &Place<'_>) -> Result<Option<String>, DocumentError> {
    Value::of_attribute(*place, "index").map(|index| index.token()).transpose()
}

fn ue_id(place: &Place<'_>) -> Result<UeId, DocumentError> {
    let mut fields = Fields::of(place, &["index"])?;
    let ids = fields.repeated(UE_IDS_MAX, |child| match child.own_name() {
        Some("Instance-ID-URN") => {
            let urn = Value::of_element(*child, &[])?.personal_uri()?;
            Ok(Some(UeIdEntry::InstanceIdUrn(urn)))
        }
        Some("IMEI-range") => imei_range(child).map(|range| Some(UeIdEntry::ImeiRange(range))),
        Some(_) | None => Ok(None),
    })?;
    let ue_id = UeId { index: index(place)?, ids, extensions: fields.extensions()? };
    fields.end()?;
    Ok(ue_id)
}

fn imei_range(place: &Place<'_>) -> Result<ImeiRange, DocumentError> {
    let mut fields = Fields::of(place, &["index"])?;
    let range = ImeiRange {
        index: index(place)?,
        tac: fields.value("TAC", |tac| tac.digits(8))?,
        serial_numbers: fields.repeated(UE_IDS_MAX, |child| match child.own_name() {
            Some("SNR") => {
                let number = serial_number(&Value::of_element(*child, &[])?)?;
                Ok(Some(SerialNumbers::One(number)))
            }
            Some("SNR-range") => serial_numbers(child).map(Some),
            Some(_) | None => Ok(None),
        })?,
        extensions: fields.extensions()?,
    };
    fields.end()?;
    Ok(range)
}

fn serial_numbers(place: &Place<'_>) -> Result<SerialNumbers, DocumentError> {
    let mut fields = Fields::of(place, &["index"])?;
    let low = fields.value("Low-SNR", serial_number)?;
    let high = fields.value("High-SNR", serial_number)?;
    let extensions = fields.extensions()?;
    fields.end()?;
    if low.as_str() > high.as_str() {
        return Err(place.error("has a Low-SNR above its High-SNR: exchange them"));
    }
    Ok(SerialNumbers::Range { index: index(place)?, low, high, extensions })
}

fn serial_number(value: &Value<'_>) -> Result<PersonalText, DocumentError> {
    value.digits(6).map(PersonalText::new)
}

fn profile(place: &Place<'_>) -> Result<DefaultUserProfile, DocumentError> {
    let fields = Fields::of(place, &["User-ID", "user-profile-index", "index"])?;
    let profile = DefaultUserProfile {
        user_id: fields.attribute("User-ID", Value::uri_reference).map(PersonalText::new)?,
        user_profile_index: fields.attribute("user-profile-index", Value::number)?,
        index: index(place)?,
    };
    fields.end()?;
    Ok(profile)
}

fn on_network(place: &Place<'_>) -> Result<OnNetwork, DocumentError> {
    let mut fields = Fields::of(place, &["index"])?;
    let part = OnNetwork {
        index: index(place)?,
        timers: fields.optional("Timers", OnNetworkTimers::read)?,
        hplmn: fields.required("HPLMN", hplmn)?,
        servers: fields.required("App-Server-Info", servers)?,
        gms_uri: fields.value("GMS-URI", Value::uri)?,
        group_creation_xui: fields.value("group-creation-XUI", Value::personal_uri)?,
        gms_xcap_root_uri: fields.value("GMS-XCAP-root-URI", Value::http_uri)?,
        cms_xcap_root_uri: fields.value("CMS-XCAP-root-URI", Value::http_uri)?,
        integrity_protection_enabled: fields
            .value("integrity-protection-enabled", Value::boolean)?,
        confidentiality_protection_enabled: fields
            .value("confidentiality-protection-enabled", Value::boolean)?,
        extensions: fields.extensions()?,
    };
    fields.end()?;
    Ok(part)
}

fn hplmn(place: &Place<'_>) -> Result<Hplmn, DocumentError> {
    let mut fields = Fields::of(place, &["PLMN"])?;
    let plmn = fields.attribute("PLMN", Value::plmn)?;
    let service = fields.required("service", connections)?;
    let mut seen = BTreeSet::from([plmn.clone()]);
    let vplmns = fields.repeated(VPLMNS_MAX, |child| {
        if child.own_name() != Some("VPLMN") {
            return Ok(None);
        }
        let vplmn = vplmn(child)?;
        if !seen.insert(vplmn.plmn.clone()) {
            let twice = "is the PLMN of another element too: write each PLMN once";
            return Err(child.error_at_attribute("PLMN", twice));
        }
        Ok(Some(vplmn))
    })?;
    let hplmn = Hplmn { plmn, service, vplmns, extensions: fields.extensions()? };
    fields.end()?;
    Ok(hplmn)
}

fn vplmn(place: &Place<'_>) -> Result<Vplmn, DocumentError> {
    let mut fields = Fields::of(place, &["PLMN"])?;
    let vplmn = Vplmn {
        plmn: fields.attribute("PLMN", Value::plmn)?,
        service: fields.required("service", connections)?,
        extensions: fields.extensions()?,
    };
    fields.end()?;
    Ok(vplmn)
}

fn connections(place: &Place<'_>) -> Result<ServiceConnections, DocumentError> {
    let mut fields = Fields::of(place, &[])?;
    let service = ServiceConnections {
        mc_services: fields.value("MCPTT-to-con-ref", Value::dnn)?,
        common_core: fields.value("MC-common-core-to-con-ref", Value::dnn)?,
        identity_management: fields.value("MC-ID-to-con-ref", Value::dnn)?,
        extensions: fields.extensions()?,
    };
    fields.end()?;
    Ok(service)
}

fn servers(place: &Place<'_>) -> Result<AppServerInfo, DocumentError> {
    let mut fields = Fields::of(place, &[])?;
    let servers = AppServerInfo {
        idms_auth_endpoint: fields.value("idms-auth-endpoint", Value::http_uri)?,
        idms_token_endpoint: fields.value("idms-token-endpoint", Value::http_uri)?,
        http_proxy: fields.value("http-proxy", |uri| {
            if uri.is_empty() { Ok(None) } else { uri.http_uri().map(Some) }
        })?,
        gms: fields.value("gms", Value::uri)?,
        cms: fields.value("cms", Value::uri)?,
        kms: fields.value("kms", Value::uri)?,
        tls_tunnel_auth_method: fields
            .required("tls-tunnel-auth-method", tls_tunnel_auth_method)?,
        extensions: fields.extensions()?,
    };
    fields.end()?;
    Ok(servers)
}

fn tls_tunnel_auth_method(place: &Place<'_>) -> Result<TlsTunnelAuthMethod, DocumentError> {
    let mut fields = Fields::of(place, &[])?;
    let method = TlsTunnelAuthMethod {
        mutual_authentication: fields.value("mutual-authentication", Value::boolean)?,
        x509: fields.optional_value("x509", Value::text)?,
        key: fields.optional_value("key", Value::secret)?,
        extensions: fields.extensions()?,
    };
    fields.end()?;
    Ok(method)
}

fn off_network(place: &Place<'_>) -> Result<OffNetwork, DocumentError> {
    let mut fields = Fields::of(place, &["index"])?;
    let part = OffNetwork {
        index: index(place)?,
        timers: fields.optional("Timers", OffNetworkTimers::read)?,
        counters: fields.optional("Counters", OffNetworkCounters::read)?,
        extensions: fields.extensions()?,
    };
    fields.end()?;
    Ok(part)
}
