//! Why TLS did not come about, in words, for both sides.

use std::{error::Error as StdError, io};

use rustls::{AlertDescription, CertificateError, Error, pki_types::UnixTime};

use crate::time::Timestamp;

/// Why a connection did not come about or ended: the words of TLS if it is about that.
pub(in crate::node) fn reason(error: &io::Error) -> String {
    reason_of(error).unwrap_or_else(|| error.to_string())
}

/// What TLS has against the other side, or the other side against this one, if an error or one of its causes is about
/// that.
pub(in crate::node) fn reason_of(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref::<Error>() {
            return Some(words(tls));
        }
        let within = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = match within {
            Some(within) => Some(within as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    None
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library has its own words for the rest")]
fn words(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => ours(error),
        Error::NoCertificatesPresented => "it shows no certificate, and one is needed".to_owned(),
        Error::AlertReceived(alert) => theirs(*alert),
        Error::PeerIncompatible(_) => format!("it does TLS otherwise: {error}"),
        _ => error.to_string(),
    }
}

/// What this side has against the other's certificate.
#[expect(clippy::wildcard_enum_match_arm, reason = "the library has its own words for the rest")]
fn ours(error: &CertificateError) -> String {
    match error {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("its certificate expired at {}", date(*not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("its certificate is valid only from {} on", date(*not_before))
        }
        CertificateError::UnknownIssuer => {
            "its certificate is signed by no authority that is trusted here for it".to_owned()
        }
        CertificateError::BadSignature => {
            "its certificate is not signed with the key of the authority of that name that is trusted here".to_owned()
        }
        CertificateError::Other(other) => other.to_string(),
        other => format!("its certificate is refused: {other}"),
    }
}

/// What the other side has against this one's certificate.
#[expect(clippy::wildcard_enum_match_arm, reason = "the library has its own words for the rest")]
fn theirs(alert: AlertDescription) -> String {
    let what = match alert {
        AlertDescription::UnknownCA => {
            "trusts no authority that signed the certificate shown to it"
        }
        AlertDescription::DecryptError => {
            "says that the certificate shown to it is not signed with the key of the authority that it trusts"
        }
        AlertDescription::CertificateExpired => "says that the certificate shown to it has expired",
        AlertDescription::CertificateRequired => "wants a certificate, and none was shown to it",
        AlertDescription::CertificateUnknown => {
            "knows nobody by the certificate shown to it: it names no MC system, or another one than it should"
        }
        AlertDescription::BadCertificate => {
            "refuses the certificate shown to it: it may be for another name"
        }
        AlertDescription::UnsupportedCertificate => {
            "says that the certificate shown to it is for another purpose"
        }
        AlertDescription::ProtocolVersion => "speaks no such version of TLS",
        _ => return format!("the other side broke TLS off (alert {alert:?})"),
    };
    format!("the other side {what} (alert {alert:?})")
}

fn date(time: UnixTime) -> String {
    Timestamp::from_secs(time.as_secs()).to_rfc3339()
}
