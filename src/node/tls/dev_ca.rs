//! `migcore trust dev-ca`: certificates for trials, with an authority for each of several systems.
//!
//! Run again, it issues new certificates by the authorities that are there: a way to see how they are taken over
//! without a restart. The keys of the authorities are in files: this is for labs.

use std::{
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};

use crate::{identity::SipDatabaseId, node::private_file, time::Timestamp};

/// The file of an authority's certificate.
pub const CA_FILE: &str = "ca.pem";

/// The file of its key.
pub const CA_KEY_FILE: &str = "ca-key.pem";

/// The file of a system's certificate.
pub const CERTIFICATE_FILE: &str = "certificate.pem";

/// The file of its key.
pub const KEY_FILE: &str = "key.pem";

/// The file with the lines for a configuration.
pub const EXAMPLE_FILE: &str = "tls.toml";

/// How long an authority holds that is made here.
const CA_TIME: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

/// How far the beginning lies back, for clocks that are late.
const BACKDATED: Duration = Duration::from_secs(3_600);

/// Servers of a system, by the first label of their host names.
const SERVERS: [&str; 8] = ["sipdb", "scscf", "cms", "acm", "idms", "management", "admin", "www"];

/// The certificates to make.
#[derive(Clone, Debug)]
pub struct DevCa {
    /// Where to: a directory for each system is made there.
    pub directory: PathBuf,
    /// The domains of the systems; each is `sip:` and its domain.
    pub domains: Vec<String>,
    /// How long the certificates hold.
    pub valid_for: Duration,
    /// Host names and addresses of all systems, besides those of this host.
    pub hosts: Vec<String>,
}

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub enum DevCaError {
    /// A file cannot be read or written.
    #[error("cannot use {}: {error}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// A domain is none.
    #[error("--system {domain}: {why}; write a domain such as a.example")]
    Domain {
        /// Which one.
        domain: String,
        /// What is wrong.
        why: String,
    },
    /// A host is none.
    #[error("--host {0}: is no host name and no address")]
    Host(String),
    /// A key in a file is no key.
    #[error("{} holds no key of an authority; remove {CA_FILE} and {CA_KEY_FILE} to have another one made", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
    },
    /// No key or signature can be had.
    #[error("cannot sign: {0}")]
    Sign(rcgen::Error),
}

impl DevCaError {
    /// Whether the arguments are to blame.
    pub const fn is_wrong_input(&self) -> bool {
        matches!(self, Self::Domain { .. } | Self::Host(_) | Self::Key { .. })
    }
}

impl DevCa {
    /// Makes all files; certificates hold from `now` on.
    ///
    /// # Errors
    ///
    /// [`DevCaError`]; some files may be there then.
    pub fn make(&self, now: Timestamp) -> Result<(), DevCaError> {
        for domain in &self.domains {
            SipDatabaseId::parse(domain).map_err(|error| DevCaError::Domain {
                domain: domain.clone(),
                why: error.to_string(),
            })?;
        }
        let hosts: Result<Vec<SanType>, _> = self.hosts.iter().map(|it| host(it)).collect();
        let hosts = hosts?;
        for domain in &self.domains {
            let domain = domain.to_ascii_lowercase();
            let directory = self.directory.join(&domain);
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&directory)
                .map_err(|error| DevCaError::File { path: directory.clone(), error })?;
            let issuer = authority(&directory, &domain, now)?;
            let times = (now, now + self.valid_for);
            issue(&directory, &domain, times, &hosts, &issuer)?;
            self.write_example(&directory, &domain)?;
        }
        Ok(())
    }

    /// What the configuration of a system says.
    fn write_example(&self, directory: &Path, domain: &str) -> Result<(), DevCaError> {
        let file = |domain: &str, name: &str| self.directory.join(domain).join(name);
        let toml = |path: PathBuf| toml::Value::String(path.to_string_lossy().into_owned());
        let mut text = format!(
            "[tls]\ncertificate = {}\nkey = {}\nca = {}\n",
            toml(file(domain, CERTIFICATE_FILE)),
            toml(file(domain, KEY_FILE)),
            toml(file(domain, CA_FILE)),
        );
        for partner in self.domains.iter().map(|it| it.to_ascii_lowercase()) {
            if partner != domain {
                let ca = toml(file(&partner, CA_FILE));
                let _ = write!(text, "\n[[tls.partners]]\nid = \"sip:{partner}\"\nca = {ca}\n");
            }
        }
        write(&directory.join(EXAMPLE_FILE), &text)
    }
}

/// The authority of a system: the one that is there, or a new one.
fn authority(
    directory: &Path,
    domain: &str,
    now: Timestamp,
) -> Result<Issuer<'static, KeyPair>, DevCaError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("{domain} authority for trials"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    hold(&mut params, (now, now + CA_TIME));
    let (certificate, key_file) = (directory.join(CA_FILE), directory.join(CA_KEY_FILE));
    let is_there = |path: &Path| {
        path.try_exists().map_err(|error| DevCaError::File { path: path.to_owned(), error })
    };
    if is_there(&certificate)? && is_there(&key_file)? {
        let text = fs::read_to_string(&key_file).map(zeroize::Zeroizing::new);
        let text = text.map_err(|error| DevCaError::File { path: key_file.clone(), error })?;
        let key = KeyPair::from_pem(&text).map_err(|_| DevCaError::Key { path: key_file })?;
        return Ok(Issuer::new(params, key));
    }
    let key = KeyPair::generate().map_err(DevCaError::Sign)?;
    let signed = params.self_signed(&key).map_err(DevCaError::Sign)?;
    write(&key_file, &zeroize::Zeroizing::new(key.serialize_pem()))?;
    write(&certificate, &signed.pem())?;
    Ok(Issuer::new(params, key))
}

/// Issues the certificate of a system, which its servers and its clients show.
fn issue(
    directory: &Path,
    domain: &str,
    times: (Timestamp, Timestamp),
    hosts: &[SanType],
    issuer: &Issuer<'_, KeyPair>,
) -> Result<(), DevCaError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, domain);
    let uri = format!("sip:{domain}").try_into().map_err(DevCaError::Sign)?;
    params.subject_alt_names = vec![SanType::URI(uri), host(domain)?, host("localhost")?];
    for server in SERVERS {
        params.subject_alt_names.push(host(&format!("{server}.{domain}"))?);
    }
    let here = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    params.subject_alt_names.extend(here.map(SanType::IpAddress));
    params.subject_alt_names.extend(hosts.iter().cloned());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    hold(&mut params, times);
    let key = KeyPair::generate().map_err(DevCaError::Sign)?;
    let signed = params.signed_by(&key, issuer).map_err(DevCaError::Sign)?;
    write(&directory.join(KEY_FILE), &zeroize::Zeroizing::new(key.serialize_pem()))?;
    write(&directory.join(CERTIFICATE_FILE), &signed.pem())
}

fn host(name: &str) -> Result<SanType, DevCaError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let wrong = || DevCaError::Host(name.to_owned());
    // A name of one label is one of this network.
    let fqdn = if name.contains('.') { name.to_owned() } else { format!("{name}.example") };
    SipDatabaseId::parse(&fqdn).map_err(|_| wrong())?;
    name.to_ascii_lowercase().try_into().map(SanType::DnsName).map_err(|_| wrong())
}

/// Lets a certificate hold from before one time until another.
fn hold(params: &mut CertificateParams, (from, until): (Timestamp, Timestamp)) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(from.as_secs()).saturating_sub(BACKDATED);
    params.not_after = epoch + Duration::from_secs(until.as_secs());
}

/// Writes a file that only its owner may read, as a whole.
fn write(path: &Path, text: &str) -> Result<(), DevCaError> {
    let partial = private_file::partial_path(path);
    let written = private_file::create(&partial).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        private_file::replace(&file, &partial, path)
    });
    written.map_err(|error| DevCaError::File { path: path.to_owned(), error })
}
