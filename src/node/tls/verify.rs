//! Whose certificate it is that the other side shows.

use std::{collections::BTreeMap, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        ParsedCertificate,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::identity::Names;
use crate::identity::McSystemId;

/// Lets processes of MC systems in: each by the authority of the one system that its certificate names.
#[derive(Debug)]
pub(super) struct OfSystems {
    by_system: BTreeMap<McSystemId, Arc<dyn ClientCertVerifier>>,
    provider: Arc<CryptoProvider>,
}

/// Believes the server of one MC system: its authority signed the certificate, which names that system.
#[derive(Clone, Debug)]
pub(super) struct ServerOf {
    pub(super) system: McSystemId,
    /// Whether the name of the host has to be in the certificate too.
    pub(super) goes_by_host: bool,
    pub(super) roots: Arc<RootCertStore>,
    pub(super) provider: Arc<CryptoProvider>,
}

/// Believes nobody: there is no authority.
#[derive(Debug)]
pub(super) struct Nobody(pub(super) Arc<CryptoProvider>);

/// How signatures of a handshake are checked, by all who check certificates: as the algorithms in a field have it.
macro_rules! signatures_by {
    ($provider:tt) => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.$provider.signature_verification_algorithms;
            verify_tls12_signature(message, cert, dss, algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.$provider.signature_verification_algorithms;
            verify_tls13_signature(message, cert, dss, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.$provider.signature_verification_algorithms.supported_schemes()
        }
    };
}

/// Why a certificate is not that of a system.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
enum NotOfSystem {
    #[error(
        "its certificate is bound to no MC system: it has no subjectAltName such as URI:sip:b.example"
    )]
    OfNone,
    #[error("its certificate is bound to several MC systems: {0}")]
    OfSeveral(String),
    #[error("its certificate is that of {0}, which is no partner here")]
    Unknown(String),
    #[error("its certificate is that of {found}, and not of {wanted}")]
    Other { found: String, wanted: String },
    #[error(
        "no authority was named that could have signed its certificate: give --ca FILE, or set MIGCORE_CA"
    )]
    NoAuthority,
}

impl From<NotOfSystem> for Error {
    fn from(why: NotOfSystem) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why))))
    }
}

/// The one system that a certificate is bound to.
fn system_of(certificate: &CertificateDer<'_>) -> Result<McSystemId, NotOfSystem> {
    let names = Names::of(certificate);
    names.system().cloned().ok_or_else(|| {
        let several: Vec<&str> = names.systems.iter().map(McSystemId::as_str).collect();
        if several.is_empty() {
            NotOfSystem::OfNone
        } else {
            NotOfSystem::OfSeveral(several.join(", "))
        }
    })
}

impl OfSystems {
    pub(super) const fn new(
        by_system: BTreeMap<McSystemId, Arc<dyn ClientCertVerifier>>,
        provider: Arc<CryptoProvider>,
    ) -> Self {
        Self { by_system, provider }
    }
}

impl ClientCertVerifier for OfSystems {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Whoever has one certificate shows it; the names of partners are nobody's business.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let system = system_of(end_entity)?;
        let verifier = self.by_system.get(&system);
        let verifier = verifier.ok_or_else(|| NotOfSystem::Unknown(system.as_str().to_owned()))?;
        verifier.verify_client_cert(end_entity, intermediates, now)
    }

    signatures_by!(provider);
}

impl ServerCertVerifier for ServerOf {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = system_of(end_entity)?;
        if found != self.system {
            let (found, wanted) = (found.as_str().to_owned(), self.system.as_str().to_owned());
            return Err(NotOfSystem::Other { found, wanted }.into());
        }
        let algorithms = self.provider.signature_verification_algorithms.all;
        let parsed = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            algorithms,
        )?;
        if self.goes_by_host {
            verify_server_name(&parsed, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    signatures_by!(provider);
}

impl ServerCertVerifier for Nobody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Err(NotOfSystem::NoAuthority.into())
    }

    signatures_by!(0);
}
