//! The section `[mc_server]`: the MC server. And `[[sip.application_servers]]`: which servers the SIP core tells of
//! registrations.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use toml::de::DeValue;

use super::{
    Config, Part, address, flag, host_name, list, number, parsed,
    read::{Section, Wrong, text},
    set, sip_uri, system_id, word,
};
use crate::{
    api::identity_management::IssuerUrl,
    identity::McSystemId,
    mc_server,
    outbox::{SipTarget, Transport},
    sip_core::{APPLICATION_SERVERS_MAX, ApplicationServer, DefaultHandling, Trigger},
    user_profile::ProfileService,
};

/// The MC server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct McServer {
    /// Where it listens for SIP cores: over UDP and TCP, or over TLS.
    pub listen: SocketAddr,
    /// The role: its name, its services, limits.
    pub server: mc_server::Config,
    /// Whose access tokens it takes, where the identity management server is another process.
    pub issuer: Option<Issuer>,
}

/// An identity management server of this system in another process.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Issuer {
    /// Its URL: the issuer of its tokens.
    pub url: IssuerUrl,
    /// A file of the certificates of its keys.
    pub certificates: PathBuf,
    /// The MC system whose servers its tokens are for.
    pub audience: McSystemId,
}

impl McServer {
    /// The defaults for the system of `domain`.
    pub(super) fn new(domain: &str) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 5070)),
            server: mc_server::Config::new(&format!("mc.{domain}")),
            issuer: None,
        }
    }

    /// Reads the section. `id` is what the configuration server calls this system.
    pub(super) fn read(&mut self, mut section: Section<'_>, id: &McSystemId) {
        const SERVICES: [(&str, ProfileService); 3] = [
            ("mcptt", ProfileService::Mcptt),
            ("mcvideo", ProfileService::Mcvideo),
            ("mcdata", ProfileService::Mcdata),
        ];
        set(&mut self.listen, section.optional("listen", address));
        let server = &mut self.server;
        let host = |value: &DeValue<'_>| parsed(value, host_name, "mc.ims.example");
        set(&mut server.host, section.optional("host", host));
        let services = |value: &DeValue<'_>| list(value, |value| word(value, &SERVICES));
        set(&mut server.services, section.optional("services", services));
        let core = |value: &DeValue<'_>| parsed(value, str::parse::<IpAddr>, "192.0.2.1");
        set(&mut server.cores, section.optional("cores", |value| list(value, core)));
        let of_user = section.optional("authorisations_of_user_max", |value| number(value, 1..=64));
        set(&mut server.authorisations_of_user_max, of_user);
        let clients = section.optional("clients_max", |value| number(value, 1..=100_000_000));
        set(&mut server.clients_max, clients);
        for (key, is_empty) in
            [("services", server.services.is_empty()), ("cores", server.cores.is_empty())]
        {
            if is_empty {
                let fix = "write at least one, or leave it out";
                section.report(key, Wrong::new("is an empty list", fix));
            }
        }
        let issuer = section.optional("issuer", issuer);
        let certificates = section.optional("certificates", text).map(PathBuf::from);
        let audience = section.optional("audience", system_id).unwrap_or_else(|| id.clone());
        if section.has("issuer") != section.has("certificates") {
            let fix = "write both: issuer is its URL, certificates what `migcore trust export` wrote there";
            section
                .report("issuer", Wrong::new("needs certificates, and the other way round", fix));
        }
        self.issuer = issuer.zip(certificates).map(|(url, certificates)| Issuer {
            url,
            certificates,
            audience,
        });
        section.finish();
    }
}

fn issuer(value: &DeValue<'_>) -> Result<IssuerUrl, Wrong> {
    parsed(value, IssuerUrl::parse, "https://idms.a.example")
}

/// Reads the application servers of the SIP core.
pub(super) fn read_application_servers(
    section: &mut Section<'_>,
    servers: &mut Vec<ApplicationServer>,
) {
    for mut section in section.sections("application_servers") {
        let uri = section.required("uri", "\"sip:mc.ims.example\"", sip_uri);
        let target = section.required("address", "\"tcp:127.0.0.1:5070\"", target);
        if let (Some(uri), Some(target)) = (uri, target) {
            let mut server = ApplicationServer::new(&uri, target);
            read_criterion(&mut section, &mut server);
            servers.push(server);
        }
        section.finish();
    }
    if servers.len() > APPLICATION_SERVERS_MAX {
        let fix = format!("{APPLICATION_SERVERS_MAX} at most");
        section.report("application_servers", Wrong::new("are too many", fix));
    }
}

fn read_criterion(section: &mut Section<'_>, server: &mut ApplicationServer) {
    const CHANGES: [(&str, &str); 3] =
        [("initial", "initial"), ("refresh", "refresh"), ("end", "end")];
    const HANDLING: [(&str, DefaultHandling); 2] =
        [("continued", DefaultHandling::Continued), ("terminated", DefaultHandling::Terminated)];
    set(&mut server.priority, section.optional("priority", |value| number(value, 0..=65_535)));
    let changes = |value: &DeValue<'_>| list(value, |value| word(value, &CHANGES));
    if let Some(named) = section.optional("trigger", changes) {
        let has = |change| named.contains(&change);
        server.trigger =
            Trigger { initial: has("initial"), refresh: has("refresh"), end: has("end") };
    }
    let handling = section.optional("default_handling", |value| word(value, &HANDLING));
    set(&mut server.default_handling, handling);
    set(&mut server.includes_request, section.optional("include_request", flag));
    set(&mut server.includes_response, section.optional("include_response", flag));
    let services = section.optional("services", |value| list(value, sip_uri));
    set(&mut server.services, services);
}

/// Where a server is reached, such as `udp:192.0.2.1:5070`.
fn target(value: &DeValue<'_>) -> Result<SipTarget, Wrong> {
    let fix = "write udp:, tcp: or tls:, an IP address and a port, such as \"tcp:127.0.0.1:5070\"";
    let given = text(value)?;
    let parsed = given.split_once(':').and_then(|(transport, address)| {
        let transport = match transport {
            "udp" => Transport::Udp,
            "tcp" => Transport::Tcp,
            "tls" => Transport::Tls,
            _ => return None,
        };
        Some(SipTarget { transport, address: address.parse().ok()? })
    });
    parsed.ok_or_else(|| Wrong::new(format!("= {given:?} is no transport and address"), fix))
}

/// Whether the MC server and the application servers fit the rest.
pub(super) fn check(root: &Section<'_>, config: &Config) {
    if config.roles.mc_server && !config.roles.idms && config.mc_server.issuer.is_none() {
        let what = "does not say whose access tokens are taken";
        let fix = "write issuer and certificates, or add idms to roles";
        root.part("mc_server").report("issuer", Wrong::new(what, fix));
    }
    let report = |wrong| root.part("sip").report("application_servers", wrong);
    let mut uris = BTreeSet::new();
    for ApplicationServer { uri, target, .. } in &config.sip.application_servers {
        if !uris.insert(uri.as_str()) {
            report(Wrong::new(format!("has {uri} twice"), "give each a section of its own"));
        }
        let is_tls = target.transport == Transport::Tls;
        if is_tls && config.tls.is_none() {
            let fix = "write [tls] with certificate, key and ca, or tcp:";
            report(Wrong::new(format!("reaches {uri} over TLS, which needs a certificate"), fix));
        }
        if !is_tls && config.speaks_tls(Part::Sip) {
            let fix = "write tls:, or insecure = true in [sip]";
            report(Wrong::new(format!("reaches {uri} without TLS"), fix));
        }
        if target.transport == Transport::Udp && config.sip.listen.is_empty() {
            let fix = "write tcp: or tls:, or listen in [sip]";
            report(Wrong::new(format!("reaches {uri} over UDP, without a socket for it"), fix));
        }
    }
}
