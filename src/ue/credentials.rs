//! What a UE answers challenges with: an ISIM, or a password (SIP Digest, TS 33.203 annex N).

use crate::{
    aka::digest::{DigestInput, Ha1, Ha1Algorithm, HexDigest, Qop, QopInput},
    secret::SecretText,
    sip::auth_header::DigestChallenge,
};

use super::Isim;

/// What a UE answers challenges with. Never prints a key or a password.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every UE has an ISIM")]
pub enum Credentials {
    /// An application with a key: AKA.
    Isim(Isim),
    /// A password that the system it registers in knows: SIP Digest.
    Password(SecretText),
}

impl From<Isim> for Credentials {
    fn from(isim: Isim) -> Self {
        Self::Isim(isim)
    }
}

impl From<SecretText> for Credentials {
    fn from(password: SecretText) -> Self {
        Self::Password(password)
    }
}

impl Credentials {
    /// The ISIM, if it is one.
    pub const fn isim(&self) -> Option<&Isim> {
        match self {
            Self::Isim(isim) => Some(isim),
            Self::Password(_) => None,
        }
    }
}

/// A nonce of SIP Digest: unlike one of AKA it may be used again, each time with a higher count.
#[derive(Clone, Debug)]
pub(super) struct Nonce {
    realm: String,
    text: String,
    opaque: Option<String>,
    algorithm: Ha1Algorithm,
    has_qop: bool,
    /// How often it was used.
    count: u32,
}

/// A response, and what it was computed with.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) realm: String,
    pub(super) nonce: String,
    pub(super) opaque: Option<String>,
    pub(super) algorithm: &'static str,
    /// 8 hexadecimal digits, if the challenge had a `qop`.
    pub(super) nc: Option<String>,
    pub(super) digest: HexDigest,
    /// The proof to be expected of the SIP core.
    pub(super) rspauth: HexDigest,
}

impl Nonce {
    /// Takes the nonce of a challenge of SIP Digest; `None` of others. No algorithm means MD5.
    pub(super) fn of(challenge: &DigestChallenge<'_>) -> Option<Self> {
        let named = challenge.algorithm.as_deref();
        Some(Self {
            realm: challenge.realm.clone().into_owned(),
            text: challenge.nonce.clone().into_owned(),
            opaque: challenge.opaque.clone().map(Into::into),
            algorithm: named.map_or(Some(Ha1Algorithm::Md5), Ha1Algorithm::parse)?,
            has_qop: challenge.offers_qop(Qop::Auth.as_str()),
            count: 0,
        })
    }

    /// Whether it may be used again. Without a count none may.
    pub(super) const fn is_reusable(&self) -> bool {
        self.has_qop && self.count < u32::MAX
    }

    /// Computes the response of a REGISTER, the next with this nonce.
    pub(super) fn respond(
        &mut self,
        (username, password): (&str, &SecretText),
        uri: &str,
        cnonce: &str,
    ) -> Response {
        self.count = self.count.saturating_add(1);
        let nc = self.has_qop.then(|| format!("{:08x}", self.count));
        let qop = nc.as_deref().map(|nc| QopInput { qop: Qop::Auth, nc, cnonce });
        let (realm, nonce) = (self.realm.as_str(), self.text.as_str());
        let input = DigestInput { username, realm, method: "REGISTER", uri, nonce, qop, body: &[] };
        let ha1 = Ha1::compute(self.algorithm, username, realm, password.expose().as_bytes());
        let [response, rspauth] = ha1.both(&input);
        Response {
            realm: self.realm.clone(),
            nonce: self.text.clone(),
            opaque: self.opaque.clone(),
            algorithm: self.algorithm.as_str(),
            nc,
            digest: response,
            rspauth,
        }
    }
}
