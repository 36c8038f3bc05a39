//! The files of TLS: read, checked, and what is wrong told with file and item.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
};
use sha2::{Digest, Sha256};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};
use zeroize::Zeroizing;

use super::identity::Names;
use crate::{identity::McSystemId, node::config, time::Timestamp};

/// Longest file, octets: some dozens of certificates.
const FILE_OCTETS_MAX: u64 = 256 << 10;

/// What is wrong with the files of TLS, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Others may read a private key.
    #[error("{} holds a private key and others may use it (mode {mode:o}): run chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file without what it is for.
    #[error("{} holds no PEM block {what}", path.display())]
    NoItem {
        /// Which file.
        path: PathBuf,
        /// `CERTIFICATE` or `PRIVATE KEY`.
        what: &'static str,
    },
    /// A PEM block that is cut off or no base64.
    #[error("{}: PEM block {number} {what}: {error}", path.display())]
    Pem {
        /// Which file.
        path: PathBuf,
        /// Which block of this kind, from 1.
        number: usize,
        /// `CERTIFICATE` or `PRIVATE KEY`.
        what: &'static str,
        /// What is wrong.
        error: String,
    },
    /// A certificate that is none, or one that this is no place for.
    #[error("{}: certificate {number} {what}; {fix}", path.display())]
    Certificate {
        /// Which file.
        path: PathBuf,
        /// Which one, from 1.
        number: usize,
        /// What is wrong.
        what: String,
        /// What to do.
        fix: String,
    },
    /// The key is another certificate's.
    #[error("the key in {} does not belong to the first certificate in {}; have a certificate issued for this key, or name its own key", key.display(), certificate.display())]
    OtherKey {
        /// The file of the key.
        key: PathBuf,
        /// That of the certificate.
        certificate: PathBuf,
    },
    /// A file cannot be used.
    #[error("{} cannot be used: {error}", path.display())]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        error: String,
    },
    /// Nobody signs for a system.
    #[error("no authority is named for {}", system.as_str())]
    NoAuthority {
        /// Which one.
        system: McSystemId,
    },
}

/// What the files hold.
pub(super) struct Read {
    /// The SHA-256 of all of them.
    pub(super) digest: [u8; 32],
    pub(super) certificate: PathBuf,
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key_file: PathBuf,
    pub(super) key: PrivateKeyDer<'static>,
    /// By the system that each authority signs for, this one among them.
    pub(super) authorities: BTreeMap<McSystemId, (PathBuf, Arc<RootCertStore>)>,
}

impl Read {
    /// Reads all files of a system.
    ///
    /// # Errors
    ///
    /// [`TlsError`].
    pub(super) fn files(files: &config::Tls, own: &McSystemId) -> Result<Self, TlsError> {
        let mut hash = Sha256::new();
        let mut read = |path: &Path| {
            let octets = read(path)?;
            hash.update(Sha256::digest(&*octets));
            Ok(octets)
        };
        let chain = certificates(&files.certificate, &read(&files.certificate)?)?;
        let key = private_key(&files.key, &read(&files.key)?)?;
        let mut authorities = BTreeMap::new();
        for (system, path) in files.partners.iter().chain([(own, &files.ca)]) {
            let roots = authority(path, &read(path)?)?;
            authorities.insert(system.clone(), (path.clone(), Arc::new(roots)));
        }
        Ok(Self {
            digest: hash.finalize().into(),
            certificate: files.certificate.clone(),
            chain,
            key_file: files.key.clone(),
            key,
            authorities,
        })
    }
}

/// The certificates and the key that a client shows.
///
/// # Errors
///
/// [`TlsError`].
pub(super) fn shown_in(
    certificate: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    Ok((certificates(certificate, &read(certificate)?)?, private_key(key, &read(key)?)?))
}

/// The certificates of authorities in a file.
///
/// # Errors
///
/// [`TlsError`].
pub(super) fn authorities_in(path: &Path) -> Result<RootCertStore, TlsError> {
    authority(path, &read(path)?)
}

/// Checks the certificate that this system shows; returns when it expires.
///
/// # Errors
///
/// [`TlsError::Certificate`].
pub(super) fn check_own(
    path: &Path,
    chain: &[CertificateDer<'_>],
    own: &McSystemId,
    now: Timestamp,
) -> Result<Timestamp, TlsError> {
    let first = chain.first().map(CertificateDer::as_ref).unwrap_or_default();
    let wrong = |number, what: String, fix: String| {
        let path = path.to_owned();
        TlsError::Certificate { path, number, what, fix }
    };
    let mut not_after = Timestamp::MAX;
    for (index, der) in chain.iter().enumerate() {
        let parsed = parse(path, index + 1, der)?;
        let seconds = |time: i64| Timestamp::from_secs(u64::try_from(time).unwrap_or_default());
        let validity = parsed.validity();
        let begins = seconds(validity.not_before.timestamp());
        let ends = seconds(validity.not_after.timestamp());
        if now > ends {
            let what = format!("expired at {}", ends.to_rfc3339());
            return Err(wrong(index + 1, what, "have another one issued".to_owned()));
        }
        if now < begins {
            let what = format!("is valid only from {} on", begins.to_rfc3339());
            return Err(wrong(index + 1, what, "wait, or set the clock of this host".to_owned()));
        }
        not_after = not_after.min(ends);
    }
    let systems = Names::of(first).systems;
    if systems.as_slice() != [own.clone()] {
        let found: Vec<&str> = systems.iter().map(McSystemId::as_str).collect();
        let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
        let what = format!("is bound to another MC system than {}: {found}", own.as_str());
        let fix =
            format!("have it issued with the subjectAltName URI:{}, and no other", own.as_str());
        return Err(wrong(1, what, fix));
    }
    Ok(not_after)
}

/// What a library has against certificate and key together.
pub(super) fn wrong_pair(certificate: &Path, key: &Path, error: &rustls::Error) -> TlsError {
    if matches!(error, rustls::Error::InconsistentKeys(_)) {
        return TlsError::OtherKey { key: key.to_owned(), certificate: certificate.to_owned() };
    }
    TlsError::Unusable { path: key.to_owned(), error: error.to_string() }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let failed = |error| TlsError::Unreadable { path: path.to_owned(), error };
    let file = File::open(path).map_err(failed)?;
    let mut octets = Zeroizing::new(Vec::new());
    file.take(FILE_OCTETS_MAX + 1).read_to_end(&mut octets).map_err(failed)?;
    if octets.len() as u64 > FILE_OCTETS_MAX {
        return Err(failed(io::Error::other(format!("it has more than {FILE_OCTETS_MAX} octets"))));
    }
    Ok(octets)
}

fn certificates(path: &Path, octets: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    const WHAT: &str = "CERTIFICATE";
    let mut certificates = Vec::new();
    for (index, certificate) in CertificateDer::pem_slice_iter(octets).enumerate() {
        let number = index + 1;
        let certificate = certificate.map_err(|error| wrong_pem(path, number, WHAT, &error))?;
        parse(path, number, &certificate)?;
        certificates.push(certificate);
    }
    if certificates.is_empty() {
        return Err(TlsError::NoItem { path: path.to_owned(), what: WHAT });
    }
    Ok(certificates)
}

/// Reads a private key. One that others than its owner and group may use is refused, as the storage key is.
fn private_key(path: &Path, octets: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    const WHAT: &str = "PRIVATE KEY";
    let unreadable = |error| TlsError::Unreadable { path: path.to_owned(), error };
    let mode = fs::metadata(path).map_err(unreadable)?.permissions().mode() & 0o777;
    if mode & 0o007 != 0 {
        return Err(TlsError::Exposed { path: path.to_owned(), mode });
    }
    PrivateKeyDer::from_pem_slice(octets).map_err(|error| {
        if matches!(error, pem::Error::NoItemsFound) {
            return TlsError::NoItem { path: path.to_owned(), what: WHAT };
        }
        wrong_pem(path, 1, WHAT, &error)
    })
}

fn authority(path: &Path, octets: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for (index, der) in certificates(path, octets)?.into_iter().enumerate() {
        let wrong = |what: String| TlsError::Certificate {
            path: path.to_owned(),
            number: index + 1,
            what,
            fix: "name the file with the certificate of the authority".to_owned(),
        };
        if !parse(path, index + 1, &der)?.is_ca() {
            return Err(wrong("is not one of an authority (CA:TRUE)".to_owned()));
        }
        roots.add(der).map_err(|error| wrong(format!("cannot be used: {error}")))?;
    }
    Ok(roots)
}

fn parse<'a>(
    path: &Path,
    number: usize,
    der: &'a CertificateDer<'_>,
) -> Result<X509Certificate<'a>, TlsError> {
    let wrong = |error: String| TlsError::Certificate {
        path: path.to_owned(),
        number,
        what: format!("is malformed: {error}"),
        fix: "have it issued again".to_owned(),
    };
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(wrong("octets follow it".to_owned())),
        Err(error) => Err(wrong(error.to_string())),
    }
}

fn wrong_pem(path: &Path, number: usize, what: &'static str, error: &pem::Error) -> TlsError {
    let path = path.to_owned();
    // What the block holds is not shown: it may be a key.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the library may add some")]
    let error = match error {
        pem::Error::MissingSectionEnd { .. } => "its END line is missing",
        pem::Error::IllegalSectionStart { .. } => "its BEGIN line is malformed",
        pem::Error::Base64Decode(_) => "it is no base64",
        _ => "it cannot be read",
    };
    TlsError::Pem { path, number, what, error: error.to_owned() }
}
