//! What a UE has for a partner that cannot ask its home: how its user logs in at home, credentials that the partner gave,
//! and what was taken along from home.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::{
    api::connection_details::SipCoreAddress,
    identity::{McServiceId, McSystemId, UserIdentity},
    secret::SecretText,
    ue::Credentials,
};

/// Most partners of this kind.
pub(super) const GUEST_SYSTEMS_MAX: usize = 64;

/// How the user logs in at home.
#[derive(Clone, Debug)]
pub struct LogIn {
    /// The identity management server: its URL without a slash at the end.
    pub issuer: String,
    /// The OAuth 2.0 client that the UE is.
    pub client: String,
    /// Where that server sends browsers back to for this client.
    pub redirect_uri: String,
    /// What the user is called there.
    pub user: String,
    /// The password; without it the environment has it.
    pub password: Option<SecretText>,
}

/// Credentials that a partner gave, which knows nothing of those of the home.
#[derive(Clone, Debug)]
pub struct LocalAccess {
    /// The partner.
    pub at: McSystemId,
    /// The pair there.
    pub identity: UserIdentity,
    /// Its SIP core, in order of preference.
    pub sip_core: Vec<SipCoreAddress>,
    /// A key, as in a second ISIM, with the sequence numbers accepted so far; or a password.
    pub credentials: Credentials,
}

/// What was taken along for a partner, and what the partner has given for it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Ticket {
    /// The partner.
    pub at: McSystemId,
    /// Its token endpoint.
    pub token_endpoint: String,
    /// The XCAP root of its configuration management server.
    pub xcap_root: String,
    /// What is presented there.
    pub security_token: Kept,
    /// The access token that it gave last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_token: Option<Kept>,
    /// What the user is called there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mc_service_id: Option<McServiceId>,
}

/// A secret text in the state file, which only its owner may read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kept(pub SecretText);

impl Serialize for Kept {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

impl<'de> Deserialize<'de> for Kept {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        Ok(Self(SecretText::new(text.as_str())))
    }
}
