//! Certificates of signing keys (X.509, RFC 5280): how one system tells another, by a file, what its tokens are
//! verified with (TS 33.180 clause 5.1.4.2).
//!
//! **Pinned.** What an operator imported is trusted, and nothing besides: a certificate is not believed because somebody
//! signed it. A list of revoked certificates (CRL) counts if the key signed it that signed the certificate.

use std::{fmt, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rcgen::{CertificateParams, DnType, KeyPair, KeyUsagePurpose, SanType};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest, Sha256};
use x509_parser::{
    certificate::X509Certificate,
    extensions::GeneralName,
    pem::Pem,
    prelude::{FromDer, ParsedExtension},
    public_key::PublicKey,
    revocation_list::CertificateRevocationList,
};

use super::key::{KeyError, SigningKey, VerifyingKey};
use crate::time::Timestamp;

/// Longest file of certificates and lists, octets.
pub const TRUST_FILE_OCTETS_MAX: usize = 1 << 20;

/// Most certificates and lists in one file.
const ENTRIES_MAX: usize = 64;

/// Longest certificate, octets.
const CERTIFICATE_OCTETS_MAX: usize = 8_192;

/// Longest list of revoked certificates, octets: some thousands of them.
const LIST_OCTETS_MAX: usize = 128 << 10;

/// The last second of the year 9999, after which X.509 has no dates.
const LATEST_SECS: u64 = 253_402_300_799;

/// The SHA-256 of a certificate: its name here. Prints as 64 hexadecimal digits.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Reads 64 hexadecimal digits, with or without colons between two octets.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: String = text.chars().filter(|character| *character != ':').collect();
        crate::secret::Secret::from_hex(&digits).map(|octets| Self(*octets.expose()))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// A certificate of a signing key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Certificate {
    der: Vec<u8>,
    fingerprint: Fingerprint,
    key: VerifyingKey,
    /// Valid from then on.
    pub not_before: Timestamp,
    /// Valid until then.
    pub not_after: Timestamp,
    /// Whom it names, for people.
    pub subject: String,
    /// Its number among those of who signed it.
    serial: Vec<u8>,
    is_authority: bool,
}

/// What is wrong with a certificate, a list or a file of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CertificateError {
    /// Nothing between `-----BEGIN` and `-----END`.
    #[error(
        "holds no PEM block: write -----BEGIN CERTIFICATE----- and so on, as `migcore trust export` does"
    )]
    Empty,
    /// A block that is cut off, or something else than these.
    #[error("has a PEM block that is cut off or is neither CERTIFICATE nor X509 CRL")]
    Block,
    /// Too much.
    #[error("is longer than 1 MiB, or has more than 64 blocks")]
    TooLong,
    /// A block that is no X.509.
    #[error("has a certificate or list that is malformed")]
    Malformed,
    /// A key that no token is verified with.
    #[error("has a certificate with a key that is neither of P-256 nor RSA with 2048 to 4096 bits")]
    Key,
    /// A certificate for other purposes.
    #[error("has a certificate whose key usage does not allow signatures")]
    Usage,
    /// A list that none of the certificates signed.
    #[error(
        "has a list of revoked certificates that no certificate in the file or imported before has signed"
    )]
    List,
}

impl Certificate {
    /// Reads a certificate.
    ///
    /// # Errors
    ///
    /// [`CertificateError`].
    pub fn from_der(der: Vec<u8>) -> Result<Self, CertificateError> {
        let parsed = parse(&der)?;
        let key = match parsed.public_key().parsed() {
            Ok(PublicKey::EC(point)) => VerifyingKey::from_point(point.data()),
            Ok(PublicKey::RSA(key)) => VerifyingKey::from_rsa(key.modulus, key.exponent),
            _ => return Err(CertificateError::Key),
        };
        let key = key.map_err(|_| CertificateError::Key)?;
        let is_authority = parsed.is_ca();
        let usage = parsed.key_usage().map_err(|_| CertificateError::Malformed)?;
        if usage.is_some_and(|usage| !usage.value.digital_signature() && !is_authority) {
            return Err(CertificateError::Usage);
        }
        let seconds = |at: i64| Timestamp::from_secs(u64::try_from(at).unwrap_or_default());
        let validity = parsed.validity();
        Ok(Self {
            fingerprint: Fingerprint(Sha256::digest(&der).into()),
            key,
            not_before: seconds(validity.not_before.timestamp()),
            not_after: seconds(validity.not_after.timestamp()),
            subject: name_of(&parsed),
            serial: parsed.raw_serial().to_vec(),
            is_authority,
            der,
        })
    }

    /// Certifies a key of this system itself, for tokens of `issuer`.
    ///
    /// # Errors
    ///
    /// [`KeyError`]: no signature can be had.
    pub fn of_own(
        key: &SigningKey,
        issuer: &str,
        not_before: Timestamp,
        not_after: Timestamp,
    ) -> Result<Self, KeyError> {
        let pair = KeyPair::try_from(key.pkcs8().expose()).map_err(|_| KeyError::Malformed)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, issuer);
        let uri = issuer.try_into().map_err(|_| KeyError::Malformed)?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign];
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        let at = |time: Timestamp| epoch + Duration::from_secs(time.as_secs().min(LATEST_SECS));
        (params.not_before, params.not_after) = (at(not_before), at(not_after));
        let certificate = params.self_signed(&pair).map_err(|_| KeyError::NoRandomness)?;
        Self::from_der(certificate.der().to_vec()).map_err(|_| KeyError::Malformed)
    }

    /// Its name here.
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The key that it certifies.
    pub const fn key(&self) -> &VerifyingKey {
        &self.key
    }

    /// Whether it is for signing certificates and lists, and not tokens.
    pub const fn is_authority(&self) -> bool {
        self.is_authority
    }

    /// Whether its time has come and is not over.
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.not_before <= now && now < self.not_after
    }

    /// It in a file.
    pub fn to_pem(&self) -> String {
        let text = BASE64_STANDARD.encode(&self.der);
        let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
        for line in text.as_bytes().chunks(64) {
            pem.extend(line.iter().copied().map(char::from));
            pem.push('\n');
        }
        pem + "-----END CERTIFICATE-----\n"
    }
}

/// Its octets; for people base64.
impl Serialize for Certificate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&BASE64_STANDARD.encode(&self.der))
        } else {
            serializer.serialize_bytes(&self.der)
        }
    }
}

impl<'de> Deserialize<'de> for Certificate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let der = if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            BASE64_STANDARD.decode(text).map_err(|_| D::Error::custom("is no base64"))?
        } else {
            <&[u8]>::deserialize(deserializer)?.to_vec()
        };
        Self::from_der(der).map_err(D::Error::custom)
    }
}

/// What a file for another system's trust holds.
#[derive(Clone, Debug, Default)]
pub struct TrustFile {
    /// Certificates, in the order of the file.
    pub certificates: Vec<Certificate>,
    /// Lists of revoked certificates, as they are signed.
    pub lists: Vec<Vec<u8>>,
}

impl TrustFile {
    /// Reads PEM blocks of certificates and of lists of revoked ones. Text between them is ignored.
    ///
    /// # Errors
    ///
    /// [`CertificateError`]: the first thing that is wrong.
    pub fn read(pem: &str) -> Result<Self, CertificateError> {
        if pem.len() > TRUST_FILE_OCTETS_MAX {
            return Err(CertificateError::TooLong);
        }
        let mut file = Self::default();
        for block in Pem::iter_from_buffer(pem.as_bytes()) {
            let block = block.map_err(|_| CertificateError::Block)?;
            if file.certificates.len() + file.lists.len() == ENTRIES_MAX {
                return Err(CertificateError::TooLong);
            }
            match block.label.as_str() {
                "CERTIFICATE" => file.certificates.push(Certificate::from_der(block.contents)?),
                "X509 CRL" => {
                    parse_list(&block.contents)?;
                    file.lists.push(block.contents);
                }
                _ => return Err(CertificateError::Block),
            }
        }
        let is_empty = file.certificates.is_empty() && file.lists.is_empty();
        if is_empty { Err(CertificateError::Empty) } else { Ok(file) }
    }
}

/// Of the certificates in `known`, those that a list revokes.
///
/// # Errors
///
/// [`CertificateError::List`] if nobody in `known` signed it.
pub fn revoked_by(
    list: &[u8],
    known: &[&Certificate],
) -> Result<Vec<Fingerprint>, CertificateError> {
    let list = parse_list(list)?;
    let (mut revoked, mut is_signed) = (Vec::new(), false);
    for signer in known {
        let signer = parse(&signer.der)?;
        if list.issuer() != signer.subject() || list.verify_signature(signer.public_key()).is_err()
        {
            continue;
        }
        is_signed = true;
        for certificate in known {
            let of_signer = parse(&certificate.der)?.issuer() == signer.subject();
            let mut listed = list.iter_revoked_certificates();
            if of_signer && listed.any(|entry| entry.raw_serial() == certificate.serial) {
                revoked.push(certificate.fingerprint);
            }
        }
    }
    is_signed.then_some(revoked).ok_or(CertificateError::List)
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CertificateError> {
    if der.len() > CERTIFICATE_OCTETS_MAX {
        return Err(CertificateError::Malformed);
    }
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|_| CertificateError::Malformed)?;
    rest.is_empty().then_some(certificate).ok_or(CertificateError::Malformed)
}

fn parse_list(der: &[u8]) -> Result<CertificateRevocationList<'_>, CertificateError> {
    if der.len() > LIST_OCTETS_MAX {
        return Err(CertificateError::Malformed);
    }
    let (rest, list) =
        CertificateRevocationList::from_der(der).map_err(|_| CertificateError::Malformed)?;
    rest.is_empty().then_some(list).ok_or(CertificateError::Malformed)
}

/// The URI that a certificate is for, or else its subject, without what would steer a terminal.
fn name_of(certificate: &X509Certificate<'_>) -> String {
    let uri = certificate.extensions().iter().find_map(|extension| {
        let ParsedExtension::SubjectAlternativeName(names) = extension.parsed_extension() else {
            return None;
        };
        names.general_names.iter().find_map(|name| {
            if let GeneralName::URI(uri) = name { Some((*uri).to_owned()) } else { None }
        })
    });
    let name = uri.unwrap_or_else(|| certificate.subject().to_string());
    name.chars().filter(|character| !character.is_control()).take(256).collect()
}

#[cfg(test)]
mod tests;
