//! The identity management server of a system whose MC server runs apart from it: known by a file of the certificates
//! of its keys, as `migcore trust export` writes it there.
//!
//! The file is read again when it changes, as those of TLS are: who makes a new key writes the file before that key
//! signs, and nobody is refused. What is broken is told, and what was there stays in force.

use std::{
    fs::File,
    io::{self, Read as _},
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use super::{config::Issuer, perform::Shared};
use crate::{
    time::Timestamp,
    token::{
        certificate::{CertificateError, TRUST_FILE_OCTETS_MAX, TrustFile},
        claims::{AccessToken, TokenError, VerifyAccess},
        issuer::KnownIssuer,
    },
};

/// Why a file of an issuer's certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IssuerFileError {
    /// It cannot be read.
    #[error(
        "cannot read {path}: {error}; write it by `migcore trust export` at the identity management server"
    )]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// It is none.
    #[error("{path} {error}")]
    Certificates {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        error: CertificateError,
    },
}

/// An issuer and the file that it is known by.
#[derive(Debug)]
pub(super) struct IssuerFile {
    configured: Issuer,
    state: RwLock<State>,
}

#[derive(Debug)]
struct State {
    known: Arc<KnownIssuer>,
    /// What is wrong with the file since it was read last, as it was told.
    broken: Option<String>,
}

/// What another look at the file brought.
#[derive(Debug)]
enum Refreshed {
    /// Nothing, or nothing that was not told before.
    Same,
    /// Other certificates, so many.
    New(usize),
    /// What is wrong with it.
    Broken(IssuerFileError),
}

impl IssuerFile {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// [`IssuerFileError`].
    pub(super) fn load(configured: &Issuer) -> Result<Self, IssuerFileError> {
        let known = Arc::new(read(configured)?);
        let state = RwLock::new(State { known, broken: None });
        Ok(Self { configured: configured.clone(), state })
    }

    /// Looks at the file again.
    fn refresh(&self) -> Refreshed {
        let read = read(&self.configured);
        let state = &mut *self.state.write().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(known) => {
                state.broken = None;
                if known == *state.known {
                    return Refreshed::Same;
                }
                let count = known.certificates.len();
                state.known = Arc::new(known);
                Refreshed::New(count)
            }
            Err(error) => {
                let words = error.to_string();
                let told = state.broken.replace(words.clone());
                if told == Some(words) { Refreshed::Same } else { Refreshed::Broken(error) }
            }
        }
    }
}

impl VerifyAccess for IssuerFile {
    fn verify_access(&self, token: &str, now: Timestamp) -> Result<AccessToken, TokenError> {
        let known = Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner).known);
        known.verify_access(token, now)
    }
}

impl Shared {
    /// Takes over what has changed in the file of the issuer's certificates, and tells about it.
    pub(super) fn refresh_issuer(&self) {
        let Some(issuer) = &self.issuer else { return };
        let system = &*self.config.system.name;
        let path = issuer.configured.certificates.display();
        match issuer.refresh() {
            Refreshed::Same => {}
            Refreshed::New(certificates) => {
                tracing::info!(system, %path, certificates, "new certificates of the issuer of tokens are in force");
            }
            Refreshed::Broken(error) => {
                tracing::error!(system, %error, "mc_server.certificates is wrong; what was in force stays");
            }
        }
    }
}

fn read(issuer: &Issuer) -> Result<KnownIssuer, IssuerFileError> {
    let path = &issuer.certificates;
    let unreadable = |error| IssuerFileError::Unreadable { path: path.clone(), error };
    let wrong = |error| IssuerFileError::Certificates { path: path.clone(), error };
    let mut pem = String::new();
    let most = TRUST_FILE_OCTETS_MAX as u64 + 1; // one octet more than fits is found too long
    let mut file = File::open(path).map_err(unreadable)?.take(most);
    file.read_to_string(&mut pem).map_err(unreadable)?;
    let TrustFile { certificates, .. } = TrustFile::read(&pem).map_err(wrong)?;
    Ok(KnownIssuer {
        issuer: issuer.url.as_str().to_owned(),
        audience: issuer.audience.as_str().to_owned(),
        certificates,
    })
}
