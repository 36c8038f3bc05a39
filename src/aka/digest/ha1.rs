//! SIP Digest without AKA (TS 33.203 annex N; RFC 2617, RFC 7616, RFC 8760): the secret is HA1, a hash of user
//! name, realm and password, so that whoever checks a response need not know the password.
//!
//! HA1 depends on user name and realm: unlike a vector it is of no use in another system.

use std::fmt;

use sha2::Sha256;
use zeroize::Zeroizing;

use super::{
    DigestInput, DigestVerified, Hash, HexDigest, Md5, Verified, WrongResponse, a2, before_ha2,
};
use crate::secret::Secret;

/// A digest algorithm without AKA.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, serde::Deserialize, serde::Serialize)]
pub enum Ha1Algorithm {
    /// What is meant where no algorithm is named.
    #[serde(rename = "MD5")]
    Md5,
    /// SHA-256 (RFC 8760).
    #[serde(rename = "SHA-256")]
    Sha256,
}

impl Ha1Algorithm {
    /// Returns the value of the `algorithm` parameter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    /// Reads the value of an `algorithm` parameter, without quotes, in any case.
    pub fn parse(value: &str) -> Option<Self> {
        [Self::Md5, Self::Sha256].into_iter().find(|it| it.as_str().eq_ignore_ascii_case(value))
    }
}

/// H(username ":" realm ":" password): as good as the password in its realm, and so never printed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ha1 {
    /// By MD5.
    Md5(Secret<16>),
    /// By SHA-256.
    Sha256(Secret<32>),
}

impl Ha1 {
    /// Computes it from the password of `username` in `realm`.
    pub fn compute(algorithm: Ha1Algorithm, username: &str, realm: &str, password: &[u8]) -> Self {
        let hashed = |digest: HexDigest| Self::from_hex(algorithm, digest.as_str());
        let hashed = match algorithm {
            Ha1Algorithm::Md5 => hashed(hash_a1::<Md5>(username, realm, password)),
            Ha1Algorithm::Sha256 => hashed(hash_a1::<Sha256>(username, realm, password)),
        };
        // A hash has as many digits as are read.
        hashed.unwrap_or_else(|| Self::Md5(Secret::new([0; 16])))
    }

    /// Reads hexadecimal digits, 32 for MD5 and 64 for SHA-256.
    pub fn from_hex(algorithm: Ha1Algorithm, digits: &str) -> Option<Self> {
        match algorithm {
            Ha1Algorithm::Md5 => Secret::from_hex(digits).map(Self::Md5),
            Ha1Algorithm::Sha256 => Secret::from_hex(digits).map(Self::Sha256),
        }
    }

    /// Writes lower-case hexadecimal digits.
    pub fn to_hex(&self) -> Zeroizing<String> {
        match self {
            Self::Md5(hash) => hash.to_hex(),
            Self::Sha256(hash) => hash.to_hex(),
        }
    }

    /// What it was computed with, and responses are to be.
    pub const fn algorithm(&self) -> Ha1Algorithm {
        match self {
            Self::Md5(_) => Ha1Algorithm::Md5,
            Self::Sha256(_) => Ha1Algorithm::Sha256,
        }
    }

    /// Checks the response of a UE and computes the proof that goes back, as [`super::verify`] does for AKA.
    ///
    /// # Errors
    ///
    /// [`WrongResponse`].
    pub fn verify(
        &self,
        input: &DigestInput<'_>,
        response: &str,
    ) -> Result<Verified, WrongResponse> {
        let [expected, rspauth] = self.both(input);
        if !Zeroizing::new(expected).is(response) {
            return Err(WrongResponse);
        }
        Ok(Verified { proof: DigestVerified(()), rspauth: input.qop.map(|_| rspauth) })
    }

    /// Computes the `response` of a request, and the `rspauth` of an answer to it that has no body.
    pub fn both(&self, input: &DigestInput<'_>) -> [HexDigest; 2] {
        match self {
            Self::Md5(hash) => both::<Md5>(input, &HexDigest::new(hash.expose())),
            Self::Sha256(hash) => both::<Sha256>(input, &HexDigest::new(hash.expose())),
        }
    }
}

impl fmt::Display for Ha1Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn hash_a1<H: Hash>(username: &str, realm: &str, password: &[u8]) -> HexDigest {
    let mut hash = H::begin();
    hash.write_parts([username, realm]);
    hash.write(password);
    let [hash] = H::finish([&hash]);
    hash
}

fn both<H: Hash>(input: &DigestInput<'_>, ha1: &HexDigest) -> [HexDigest; 2] {
    let (of_request, of_answer) = (a2(input, input.method, input.body), a2(input, "", &[]));
    let ha2 = H::finish([&of_request, &of_answer]);
    before_ha2::<H>(input, &Zeroizing::new(*ha1)).finish_before(ha2)
}
