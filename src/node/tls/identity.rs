//! Whom a certificate names (RFC 5280 section 4.2.1.6, RFC 5922 section 7.1).

use axum::http::StatusCode;
use rustls::pki_types::CertificateDer;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

use crate::{
    identity::McSystemId,
    node::{http::Problem, perform::Shared},
    outbox::Note,
};

/// The names in a certificate's subjectAltName.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in crate::node) struct Names {
    /// MC system IDs: URIs of the scheme `sip` without a user part.
    pub(in crate::node) systems: Vec<McSystemId>,
    /// Host names, in lower case.
    pub(in crate::node) hosts: Vec<String>,
}

/// Who is at the other end of a connection, as its certificate says. It was verified.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::node) struct Bound {
    /// Its MC system.
    pub(in crate::node) system: McSystemId,
    /// The host names in its certificate, in lower case.
    pub(in crate::node) hosts: Vec<String>,
}

impl Names {
    /// Those of a certificate; none of what is no certificate.
    pub(in crate::node) fn of(certificate: &[u8]) -> Self {
        let mut names = Self::default();
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return names };
        let Ok(Some(extension)) = certificate.subject_alternative_name() else { return names };
        for name in &extension.value.general_names {
            if let GeneralName::URI(uri) = name
                && is_system(uri)
            {
                names.systems.extend(McSystemId::parse(uri));
            }
            if let GeneralName::DNSName(host) = name {
                names.hosts.push(host.to_ascii_lowercase());
            }
        }
        names
    }

    /// The one system that a certificate is bound to.
    pub(in crate::node) fn system(&self) -> Option<&McSystemId> {
        match self.systems.as_slice() {
            [system] => Some(system),
            _ => None,
        }
    }
}

impl Bound {
    /// Who shows a chain of certificates that was verified; `None` without one, or if it names no single system.
    pub(in crate::node) fn by(chain: Option<&[CertificateDer<'_>]>) -> Option<Self> {
        let names = Names::of(chain?.first()?);
        Some(Self { system: names.system()?.clone(), hosts: names.hosts })
    }
}

impl Shared {
    /// Whether a system that a request names, by its token or its content, is that of the certificate. Without TLS
    /// there is none. A mismatch is a security event.
    ///
    /// # Errors
    ///
    /// What to answer.
    pub(in crate::node) fn check_bound(
        &self,
        bound: Option<&Bound>,
        named: &McSystemId,
    ) -> Result<(), Problem> {
        let Some(Bound { system, .. }) = bound.filter(|bound| bound.system != *named) else {
            return Ok(());
        };
        let reason = "the certificate is that of another system than the request is from";
        self.report_note(&Note::PeerRefused { peer: Some(system.clone()), reason });
        let (system, named) = (system.as_str(), named.as_str());
        let detail =
            format!("the certificate is that of {system}, and the request is from {named}");
        let fix = "show the certificate of the system that asks, and send its own token and ID";
        Err(Problem::new(StatusCode::FORBIDDEN, "wrong-system", detail, fix))
    }
}

/// Whether a URI can be the ID of a system: other URIs are about something else, such as the home page of the owner.
fn is_system(uri: &str) -> bool {
    let scheme = uri.split_once(':').map_or("", |(scheme, _)| scheme);
    scheme.eq_ignore_ascii_case("sip") && !uri.contains('@')
}
