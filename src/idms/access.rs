//! The seam for other servers of this system: whether an access token is one of this system's, and what it is good for.

use std::sync::Arc;

use super::{IdentityServer, keys::HeldKey};
use crate::{
    time::Timestamp,
    token::claims::{AccessToken, TokenError, VerifyAccess, verify_access},
};

impl IdentityServer {
    /// Verifies an access token that a client presents to a server of this system.
    ///
    /// # Errors
    ///
    /// [`TokenError`]; a server answers 401 with `invalid_token`.
    pub fn verify_access(&self, token: &str, now: Timestamp) -> Result<AccessToken, TokenError> {
        let keys: Vec<Arc<HeldKey>> = self.known_keys(now);
        let of_name = |name: &str| {
            let mut keys = keys.iter().map(|key| key.signing.public());
            keys.find(|key| key.thumbprint().as_str() == name)
        };
        let (issuer, audience) = (self.config.issuer.as_str(), self.config.audience.as_str());
        verify_access(token, of_name, issuer, audience, now)
    }
}

impl VerifyAccess for IdentityServer {
    fn verify_access(&self, token: &str, now: Timestamp) -> Result<AccessToken, TokenError> {
        Self::verify_access(self, token, now)
    }
}
