//! An identity management server that is known by its certificates: what a server in another process verifies access
//! tokens by.

use super::{
    certificate::Certificate,
    claims::{AccessToken, TokenError, VerifyAccess, verify_access},
};
use crate::time::Timestamp;

/// An issuer of access tokens, with the certificates of its keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KnownIssuer {
    /// Its URL.
    pub issuer: String,
    /// The MC system whose servers its tokens are for.
    pub audience: String,
    /// The certificates of its keys, those of before and of later among them.
    pub certificates: Vec<Certificate>,
}

impl VerifyAccess for KnownIssuer {
    fn verify_access(&self, token: &str, now: Timestamp) -> Result<AccessToken, TokenError> {
        let valid = self.certificates.iter().filter(|it| !it.is_authority() && it.is_valid_at(now));
        let of_name = |name: &str| {
            let mut keys = valid.map(Certificate::key);
            keys.find(|key| key.thumbprint().as_str() == name)
        };
        verify_access(token, of_name, &self.issuer, &self.audience, now)
    }
}
