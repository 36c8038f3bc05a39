//! The section `[tls]`: the certificate of this system, and whose certificates are whose.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use toml::de::DeValue;

use super::{
    Config, PeerKind,
    read::{Section, Wrong, parsed, text},
};
use crate::identity::McSystemId;

/// The files of TLS. What is in them is read at the start, and again when they change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tls {
    /// The certificate of this system, and those between it and its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authority that signs the certificates of this system: of its other processes, and of clients.
    pub ca: PathBuf,
    /// The authority that signs the certificates of each partner. It speaks for no other system.
    pub partners: BTreeMap<McSystemId, PathBuf>,
}

/// A part of the configuration that has servers of its own.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Part {
    /// SIP.
    Sip,
    /// Diameter.
    Diameter,
    /// Metrics and health.
    Admin,
    /// The management interface.
    Management,
    /// CSC-4 and CSC-17.
    ConfigServer,
    /// The ACM server.
    Acm,
    /// The identity management server.
    Idms,
    /// The MC server.
    McServer,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Sip,
        Self::Diameter,
        Self::Admin,
        Self::Management,
        Self::ConfigServer,
        Self::Acm,
        Self::Idms,
        Self::McServer,
    ];

    /// The section that is about it.
    pub const fn section(self) -> &'static str {
        match self {
            Self::Sip => "sip",
            Self::Diameter => "diameter",
            Self::Admin => "admin",
            Self::Management => "management",
            Self::ConfigServer => "config_server",
            Self::Acm => "acm",
            Self::Idms => "idms",
            Self::McServer => "mc_server",
        }
    }
}

impl Config {
    /// Whether a part speaks TLS: neither its section nor `[system]` says `insecure = true`.
    pub fn speaks_tls(&self, part: Part) -> bool {
        self.tls.is_some() && !self.insecure.contains(&part)
    }

    /// The parts that this process serves without TLS.
    pub fn plaintext(&self) -> Vec<Part> {
        let is_plain = |part: &Part| {
            if *part == Part::Sip {
                // It may have both.
                return self.roles.sip_core && !self.sip.listen.is_empty();
            }
            self.serves(*part) && !self.speaks_tls(*part)
        };
        Part::ALL.into_iter().filter(is_plain).collect()
    }

    fn serves(&self, part: Part) -> bool {
        let Self { roles, .. } = self;
        match part {
            Part::Sip => roles.sip_core,
            Part::Diameter => self.diameter.listen.is_some() || !self.diameter.peers.is_empty(),
            Part::Admin => self.admin.is_some(),
            Part::Management => self.management.is_some(),
            Part::ConfigServer => roles.config_server,
            Part::Acm => roles.acm,
            Part::Idms => roles.idms,
            Part::McServer => roles.mc_server,
        }
    }
}

impl Tls {
    /// Reads the section; `None` without one, or if a file is not named.
    pub(super) fn read(mut section: Section<'_>) -> Option<Self> {
        if !section.is_present() {
            section.finish();
            return None;
        }
        let file =
            |section: &mut Section<'_>, key, example: &str| section.required(key, example, path);
        let certificate = file(&mut section, "certificate", "\"/etc/migcore/tls/certificate.pem\"");
        let key = file(&mut section, "key", "\"/etc/migcore/tls/key.pem\"");
        let ca = file(&mut section, "ca", "\"/etc/migcore/tls/ca.pem\"");
        let mut partners = BTreeMap::new();
        for mut section in section.sections("partners") {
            let id = section.required("id", "\"sip:b.example\"", system_id);
            let ca = file(&mut section, "ca", "\"/etc/migcore/tls/b-ca.pem\"");
            if let (Some(id), Some(ca)) = (id, ca)
                && partners.insert(id, ca).is_some()
            {
                let fix = "one file may hold several certificates of authorities";
                section.report("id", Wrong::new("is used before", fix));
            }
            section.finish();
        }
        section.finish();
        Some(Self { certificate: certificate?, key: key?, ca: ca?, partners })
    }
}

/// Has all parts go without TLS, as `[system]` says; for a system that has none.
pub(super) fn all_go_without(root: &Section<'_>, insecure: &mut BTreeSet<Part>) {
    if root.has("tls") {
        let fix = "leave out [tls], or write insecure = true in the section of each part that is to go without TLS";
        root.part("system").report("insecure", Wrong::new("is true, and there is [tls]", fix));
    } else {
        insecure.extend(Part::ALL);
    }
}

/// Reads in each part whether it goes without TLS. Called before the section of the part is finished.
pub(super) fn read_insecure(section: &mut Section<'_>, part: Part, insecure: &mut BTreeSet<Part>) {
    if section.optional("insecure", super::flag) == Some(true) {
        insecure.insert(part);
    }
}

/// Whether what is said of TLS in all sections fits together.
pub(super) fn check(root: &Section<'_>, config: &Config) {
    check_sip(root, config);
    check_plaintext(root, config);
    check_urls(root, config);
    let Some(tls) = &config.tls else { return };
    let report = |section: &str, key: &str, what: String, fix: String| {
        root.part(section).report(key, Wrong::new(what, fix));
    };
    let needs = |system: &McSystemId, section: &str| {
        if *system != config.config_server.id && !tls.partners.contains_key(system) {
            let what = format!("has no authority for {}, which {section} names", system.as_str());
            let fix = format!("write [[tls.partners]] with id = \"{}\" and ca", system.as_str());
            report("tls", "partners", what, fix);
        }
    };
    if config.roles.config_server && config.speaks_tls(Part::ConfigServer) {
        config.config_server.partners.iter().for_each(|it| needs(&it.id, "config_server.partners"));
    }
    if config.roles.acm && config.speaks_tls(Part::Acm) {
        config.acm.links.iter().for_each(|it| needs(&it.id, "acm.partners"));
    }
    if config.speaks_tls(Part::Diameter) {
        for peer in &config.diameter.peers {
            match config.system_of(&peer.host) {
                Some(system) => needs(&system, "diameter.peers"),
                None => report(
                    "diameter",
                    "peers",
                    format!(
                        "has {} of no known system, and its certificate is bound to one",
                        peer.host
                    ),
                    "write system = \"sip:b.example\" in its section".to_owned(),
                ),
            }
        }
    }
    if tls.partners.contains_key(&config.config_server.id) {
        let what = "has this system itself".to_owned();
        report("tls", "partners", what, "write its authority as tls.ca".to_owned());
    }
}

fn check_sip(root: &Section<'_>, config: &Config) {
    let section = root.part("sip");
    let sip = &config.sip;
    if config.tls.is_none() && !sip.listen_tls.is_empty() {
        let fix = "write [tls] with certificate, key and ca, or leave it out";
        section.report("listen_tls", Wrong::new("needs a certificate", fix));
    }
    if config.speaks_tls(Part::Sip) && !sip.listen.is_empty() {
        let what = "is for SIP without TLS";
        let fix = "write insecure = true beside it, or listen_tls instead";
        section.report("listen", Wrong::new(what, fix));
    }
}

/// Nothing is served without TLS unless the configuration says so, on loopback neither.
fn check_plaintext(root: &Section<'_>, config: &Config) {
    const WHAT: &str =
        "is not true, and there is no [tls]: whoever is on the way reads and changes what passes";
    const TLS: &str =
        "write [tls] with certificate, key and ca, which `migcore trust dev-ca` makes for trials";
    if config.tls.is_some() || root.has("tls") {
        return;
    }
    if config.insecure.is_empty() {
        let fix = format!(
            "{TLS}, or insecure = true here, for all parts, or in those that are to go without TLS"
        );
        return root.part("system").report("insecure", Wrong::new(WHAT, fix));
    }
    for part in Part::ALL {
        if config.serves(part) && !config.insecure.contains(&part) {
            let fix = format!("{TLS}, or insecure = true here");
            root.part(part.section()).report("insecure", Wrong::new(WHAT, fix));
        }
    }
}

/// A partner that is reached without TLS is one on a part without, and the other way round.
fn check_urls(root: &Section<'_>, config: &Config) {
    let servers = config.config_server.partners.iter().map(|it| (Part::ConfigServer, &it.url));
    let links = config.acm.links.iter().map(|it| (Part::Acm, &it.url));
    for (part, url) in servers.chain(links) {
        let speaks_tls = config.speaks_tls(part);
        if speaks_tls == url.is_https() {
            continue;
        }
        let name = part.section();
        let (what, fix) = if speaks_tls {
            (format!("has {url}"), format!("write https, or insecure = true in [{name}]"))
        } else if config.tls.is_none() {
            (format!("has {url}"), "write [tls] with certificate, key and ca, or http".to_owned())
        } else {
            (
                format!("has {url}, and says insecure = true"),
                "leave that out, or write http".to_owned(),
            )
        };
        root.part(name).report("partners", Wrong::new(what, fix));
    }
}

impl Config {
    /// The MC system of a Diameter peer: as its section says, or this one of its own processes, or the partner with
    /// that SIP database.
    pub fn system_of(&self, host: &crate::identity::SipDatabaseId) -> Option<McSystemId> {
        let peer = self.diameter.peers.iter().find(|peer| peer.host == *host)?;
        let known = peer.system.clone();
        known.or_else(|| match peer.kind {
            PeerKind::Core | PeerKind::OwnDatabase => Some(self.config_server.id.clone()),
            PeerKind::Database => {
                let mut partners = self.config_server.partners.iter();
                partners.find(|it| it.sip_database == *host).map(|it| it.id.clone())
            }
        })
    }
}

fn path(value: &DeValue<'_>) -> Result<PathBuf, Wrong> {
    let path = text(value)?;
    if path.is_empty() {
        return Err(Wrong::new("is empty", "write the name of a PEM file"));
    }
    Ok(PathBuf::from(path))
}

fn system_id(value: &DeValue<'_>) -> Result<McSystemId, Wrong> {
    parsed(value, McSystemId::parse, "sip:b.example")
}
