//! The document to text, in one canonical form: XML declaration, elements in the order of the schema, one
//! a line and indented by two spaces, no prefix for the namespace of the document, values in canonical
//! form. Elements that this version does not know are written as they came, without white space added.

use super::{
    NAMESPACE, ROOT,
    document::{
        AppServerInfo, Credentials, DataNetwork, DefaultUserProfile, Document, Extension, Hplmn,
        ImeiRange, Name, OffNetwork, OnNetwork, SerialNumbers, ServiceConnections, ServiceDetails,
        Slice, TlsTunnelAuthMethod, UeId, UeIdEntry, UserPassword,
    },
    element::{Element, Node},
    values::PersonalText,
};

/// Renders into a text that has room for `octets`, so that no copy of a secret stays behind.
pub(super) fn render(document: &Document, octets: usize) -> String {
    let mut writer = Writer { text: String::with_capacity(octets), depth: 0 };
    writer.text.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    writer.document(document);
    writer.text
}

type Attributes<'a> = &'a [(&'static str, Option<&'a str>)];

struct Writer {
    text: String,
    depth: usize,
}

impl Writer {
    fn document(&mut self, document: &Document) {
        let attributes = [
            ("xmlns", Some(NAMESPACE)),
            ("domain", Some(document.domain.as_str())),
            ("XUI-URI", document.xui_uri.as_ref().map(PersonalText::as_str)),
            ("Instance-ID-URN", document.instance_id_urn.as_ref().map(PersonalText::as_str)),
        ];
        self.element(ROOT, &attributes, |writer| {
            for Name { language, index, text } in &document.names {
                let attributes = [("xml:lang", language.as_deref()), ("index", index.as_deref())];
                writer.leaf("name", &attributes, text);
            }
            document.ue_id.iter().for_each(|id| writer.ue_id(id));
            document.default_user_profile.iter().for_each(|profile| writer.profile(profile));
            writer.on_network(&document.on_network);
            document.off_network.iter().for_each(|part| writer.off_network(part));
            writer.extensions(&document.extensions);
        });
    }

    fn ue_id(&mut self, ue_id: &UeId) {
        self.element("mcptt-UE-id", &[("index", ue_id.index.as_deref())], |writer| {
            for entry in &ue_id.ids {
                match entry {
                    UeIdEntry::InstanceIdUrn(urn) => {
                        writer.leaf("Instance-ID-URN", &[], urn.as_str());
                    }
                    UeIdEntry::ImeiRange(range) => writer.imei_range(range),
                }
            }
            writer.extensions(&ue_id.extensions);
        });
    }

    fn imei_range(&mut self, range: &ImeiRange) {
        self.element("IMEI-range", &[("index", range.index.as_deref())], |writer| {
            writer.leaf("TAC", &[], &range.tac);
            for numbers in &range.serial_numbers {
                match numbers {
                    SerialNumbers::One(number) => writer.leaf("SNR", &[], number.as_str()),
                    SerialNumbers::Range { index, low, high, extensions } => {
                        writer.element("SNR-range", &[("index", index.as_deref())], |writer| {
                            writer.leaf("Low-SNR", &[], low.as_str());
                            writer.leaf("High-SNR", &[], high.as_str());
                            writer.extensions(extensions);
                        });
                    }
                }
            }
            writer.extensions(&range.extensions);
        });
    }

    fn profile(&mut self, profile: &DefaultUserProfile) {
        let number = profile.user_profile_index.to_string();
        let attributes = [
            ("User-ID", Some(profile.user_id.as_str())),
            ("user-profile-index", Some(number.as_str())),
            ("index", profile.index.as_deref()),
        ];
        self.leaf("Default-user-profile", &attributes, "");
    }

    fn on_network(&mut self, part: &OnNetwork) {
        self.element("on-network", &[("index", part.index.as_deref())], |writer| {
            if let Some(timers) = &part.timers {
                writer.numbers("Timers", &timers.numbers(), &timers.extensions);
            }
            writer.hplmn(&part.hplmn);
            writer.servers(&part.servers);
            writer.leaf("GMS-URI", &[], &part.gms_uri);
            writer.leaf("group-creation-XUI", &[], part.group_creation_xui.as_str());
            writer.leaf("GMS-XCAP-root-URI", &[], &part.gms_xcap_root_uri);
            writer.leaf("CMS-XCAP-root-URI", &[], &part.cms_xcap_root_uri);
            writer.boolean("integrity-protection-enabled", part.integrity_protection_enabled);
            let confidentiality = part.confidentiality_protection_enabled;
            writer.boolean("confidentiality-protection-enabled", confidentiality);
            writer.extensions(&part.extensions);
        });
    }

    fn hplmn(&mut self, hplmn: &Hplmn) {
        self.element("HPLMN", &[("PLMN", Some(hplmn.plmn.as_str()))], |writer| {
            writer.connections(&hplmn.service);
            for vplmn in &hplmn.vplmns {
                writer.element("VPLMN", &[("PLMN", Some(vplmn.plmn.as_str()))], |writer| {
                    writer.connections(&vplmn.service);
                    writer.extensions(&vplmn.extensions);
                });
            }
            writer.extensions(&hplmn.extensions);
        });
    }

    fn connections(&mut self, service: &ServiceConnections) {
        self.element("service", &[], |writer| {
            writer.leaf("MCPTT-to-con-ref", &[], &service.mc_services);
            writer.leaf("MC-common-core-to-con-ref", &[], &service.common_core);
            writer.leaf("MC-ID-to-con-ref", &[], &service.identity_management);
            writer.extensions(&service.extensions);
        });
    }

    fn servers(&mut self, servers: &AppServerInfo) {
        self.element("App-Server-Info", &[], |writer| {
            writer.leaf("idms-auth-endpoint", &[], &servers.idms_auth_endpoint);
            writer.leaf("idms-token-endpoint", &[], &servers.idms_token_endpoint);
            writer.leaf("http-proxy", &[], servers.http_proxy.as_deref().unwrap_or_default());
            writer.leaf("gms", &[], &servers.gms);
            writer.leaf("cms", &[], &servers.cms);
            writer.leaf("kms", &[], &servers.kms);
            writer.tls_tunnel_auth_method(&servers.tls_tunnel_auth_method);
            writer.extensions(&servers.extensions);
        });
    }

    fn tls_tunnel_auth_method(&mut self, method: &TlsTunnelAuthMethod) {
        self.element("tls-tunnel-auth-method", &[], |writer| {
            writer.boolean("mutual-authentication", method.mutual_authentication);
            method.x509.iter().for_each(|text| writer.leaf("x509", &[], text));
            method.key.iter().for_each(|key| writer.leaf("key", &[], key.expose()));
            writer.extensions(&method.extensions);
        });
    }

    fn off_network(&mut self, part: &OffNetwork) {
        self.element("off-network", &[("index", part.index.as_deref())], |writer| {
            if let Some(timers) = &part.timers {
                writer.numbers("Timers", &timers.numbers(), &timers.extensions);
            }
            if let Some(counters) = &part.counters {
                writer.numbers("Counters", &counters.numbers(), &counters.extensions);
            }
            writer.extensions(&part.extensions);
        });
    }

    fn extensions(&mut self, extensions: &[Extension]) {
        if extensions.is_empty() {
            return;
        }
        self.element("anyExt", &[], |writer| {
            for extension in extensions {
                writer.extension(extension);
            }
        });
    }

    fn extension(&mut self, extension: &Extension) {
        match extension {
            Extension::ServiceDetails(service, details) => {
                self.service_details(service.details(), details);
            }
            Extension::Slice(slice) => self.slice(slice),
            Extension::DataNetwork(network) => self.data_network(network),
            Extension::SliceOf(service, s_nssai) => {
                self.leaf(service.slice(), &[], &s_nssai.to_string());
            }
            Extension::PduSessionType(kind) => self.leaf("PDU-Session-Type", &[], kind.as_str()),
            Extension::Lms(uri) => self.leaf("lms", &[], uri),
            Extension::IdmClientId(id) => self.leaf("Idm-Client-Id", &[], id),
            Extension::Label(label) => self.leaf("mcServiceUELabel", &[], label),
            Extension::Other(element) => {
                self.indent();
                push_element(&mut self.text, element);
                self.text.push('\n');
            }
        }
    }

    fn service_details(&mut self, name: &'static str, details: &ServiceDetails) {
        self.element(name, &[], |writer| {
            writer.boolean("IPv6-Required", details.ipv6_required);
            writer.leaf("Server-URI", &[], &details.server_uri);
            writer.extensions(&details.extensions);
        });
    }

    fn slice(&mut self, slice: &Slice) {
        self.element("SNSSAI", &[("SNSSAI", Some(&slice.s_nssai.to_string()))], |writer| {
            slice.nssaa_server.iter().for_each(|uri| writer.leaf("NSSAA-Server", &[], uri));
            slice.credentials.iter().for_each(|credentials| writer.credentials(credentials));
            writer.extensions(&slice.extensions);
        });
    }

    fn data_network(&mut self, network: &DataNetwork) {
        self.element("DN-Info", &[("DNN", Some(&network.dnn))], |writer| {
            network.aaa_server.iter().for_each(|uri| writer.leaf("DN-AAA-Server", &[], uri));
            network.credentials.iter().for_each(|credentials| writer.credentials(credentials));
            network.pap.iter().for_each(|pap| writer.user_password("Pap-parameters", pap));
            network.chap.iter().for_each(|chap| writer.user_password("Chap-parameters", chap));
            writer.extensions(&network.extensions);
        });
    }

    fn credentials(&mut self, credentials: &Credentials) {
        self.element("credentials", &[], |writer| {
            credentials.id.iter().for_each(|id| writer.leaf("ID", &[], id.as_str()));
            writer.extensions(&credentials.extensions);
        });
    }

    fn user_password(&mut self, name: &'static str, parameters: &UserPassword) {
        self.element(name, &[], |writer| {
            writer.leaf("user-name", &[], parameters.user_name.as_str());
            writer.leaf("password", &[], parameters.password.expose());
        });
    }

    fn numbers(
        &mut self,
        name: &'static str,
        numbers: &[(&'static str, u16)],
        extensions: &[Extension],
    ) {
        self.element(name, &[], |writer| {
            for (name, number) in numbers {
                writer.leaf(name, &[], &number.to_string());
            }
            writer.extensions(extensions);
        });
    }

    fn boolean(&mut self, name: &'static str, value: bool) {
        self.leaf(name, &[], if value { "true" } else { "false" });
    }

    /// An element that holds nothing but text.
    fn leaf(&mut self, name: &'static str, attributes: Attributes<'_>, text: &str) {
        self.start(name, attributes);
        if text.is_empty() {
            self.text.push_str("/>\n");
            return;
        }
        self.text.push('>');
        push_text(&mut self.text, text);
        self.end(name);
    }

    /// An element that holds what `content` writes.
    fn element(
        &mut self,
        name: &'static str,
        attributes: Attributes<'_>,
        content: impl FnOnce(&mut Self),
    ) {
        self.start(name, attributes);
        let start = self.text.len();
        self.text.push_str(">\n");
        let content_start = self.text.len();
        self.depth += 1;
        content(self);
        self.depth -= 1;
        if self.text.len() == content_start {
            self.text.truncate(start);
            self.text.push_str("/>\n");
            return;
        }
        self.indent();
        self.end(name);
    }

    fn start(&mut self, name: &'static str, attributes: Attributes<'_>) {
        self.indent();
        self.text.push('<');
        self.text.push_str(name);
        for (name, value) in attributes {
            if let Some(value) = value {
                push_attribute(&mut self.text, name, value);
            }
        }
    }

    fn end(&mut self, name: &'static str) {
        for part in ["</", name, ">\n"] {
            self.text.push_str(part);
        }
    }

    fn indent(&mut self) {
        for _ in 0..self.depth {
            self.text.push_str("  ");
        }
    }
}

fn push_element(text: &mut String, element: &Element) {
    text.push('<');
    text.push_str(&element.name);
    for attribute in &element.attributes {
        push_attribute(text, &attribute.name, attribute.value.expose());
    }
    if element.content.is_empty() {
        text.push_str("/>");
        return;
    }
    text.push('>');
    for node in &element.content {
        match node {
            Node::Element(element) => push_element(text, element),
            Node::Text(content) => push_text(text, content.expose()),
        }
    }
    for part in ["</", &element.name, ">"] {
        text.push_str(part);
    }
}

fn push_attribute(text: &mut String, name: &str, value: &str) {
    for part in [" ", name, "=\""] {
        text.push_str(part);
    }
    for character in value.chars() {
        match character {
            '"' => text.push_str("&quot;"),
            '\t' => text.push_str("&#9;"),
            '\n' => text.push_str("&#10;"),
            _ => push_character(text, character),
        }
    }
    text.push('"');
}

fn push_text(text: &mut String, content: &str) {
    content.chars().for_each(|character| push_character(text, character));
}

fn push_character(text: &mut String, character: char) {
    match character {
        '&' => text.push_str("&amp;"),
        '<' => text.push_str("&lt;"),
        '>' => text.push_str("&gt;"),
        '\r' => text.push_str("&#13;"),
        _ => text.push(character),
    }
}
