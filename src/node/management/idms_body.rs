//! What the operations about the identity management server take, and what they answer.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::configuration_body::Token;
use crate::{
    api::{
        identity_management::{
            CLIENT_KEYS_MAX, Client, ClientAuthentication, ClientId, IssuerUrl, REDIRECT_URIS_MAX,
            RedirectUri, UserName,
        },
        idms_management::{Denied, OwnKey, PARTNERS_MAX, TrustedCertificate, User, Visitor},
    },
    identity::McServiceId,
    node::http::JsonBody,
    secret::SecretText,
    time::Timestamp,
    token::{
        certificate::{Certificate, Fingerprint, TRUST_FILE_OCTETS_MAX},
        claims::ServiceIds,
        key::VerifyingKey,
        password::{PASSWORD_OCTETS_MAX, PasswordHash},
        scope::Scopes,
    },
};

/// Shortest password, characters (NIST SP 800-63B clause 5.1.1.2).
const PASSWORD_CHARACTERS_MIN: usize = 8;

/// What to write in a field.
const HELP: &[(&str, &str)] = &[
    (
        "redirect_uris",
        "write a list such as [\"com.example.app:/back\", \"http://127.0.0.1/back\"]",
    ),
    ("secret", "write 22 to 4096 characters of letters, digits and -._~+/=, drawn at random"),
    (
        "jwks",
        "write {\"keys\": [{\"kty\": \"EC\", \"crv\": \"P-256\", \"x\": \"..\", \"y\": \"..\"}]}, without private keys",
    ),
    ("requires_proof", "write true or false, or leave it out"),
    ("scope", "write names with one space between two, or leave it out for all"),
    ("password", "write 8 to 256 characters, or leave it out to keep that of before"),
    ("password_hash", "write a string that begins with $argon2id$v=19$, or give a password"),
    ("mcptt_id", "write an MC service ID such as \"sip:alice@a.example\", or leave it out"),
    ("mcvideo_id", "write an MC service ID such as \"sip:alice@a.example\", or leave it out"),
    ("mcdata_id", "write an MC service ID such as \"sip:alice@a.example\", or leave it out"),
    ("partners", "write the issuer URLs of partners, such as [\"https://idms.b.example\"]"),
    ("enabled", "write true or false, or leave it out"),
    ("may_migrate", "write true or false, or leave it out"),
    ("pem", "write what `migcore trust export` prints at the partner, as one text"),
    ("fingerprint", "write 64 hexadecimal digits, as `migcore trust list` shows them"),
    ("reason", "write at most 200 characters"),
    ("from", "write seconds since 1970, or leave it out"),
];

/// Bodies whose fields [`HELP`] knows.
macro_rules! json_bodies {
    ($($body:ty: $octets_max:expr),* $(,)?) => {$(
        impl JsonBody for $body {
            const OCTETS_MAX: usize = $octets_max;

            fn help(field: &str) -> Option<&'static str> {
                help(field)
            }
        }
    )*};
}

json_bodies! {
    ClientBody: 65_536,
    IdmsUserBody: 65_536,
    VisitorBody: 16_384,
    TrustBody: TRUST_FILE_OCTETS_MAX + 65_536,
    RevocationBody: 16_384,
    NewKeyBody: 1_024,
}

pub(super) fn help(field: &str) -> Option<&'static str> {
    HELP.iter().find(|(known, _)| *known == field).map(|(_, help)| *help)
}

/// What is wrong with a body: the field, and what.
type Wrong = (&'static str, String);

/// A client. Secrets go in and never come out.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClientBody {
    /// Where users are sent back to; none if nobody logs in with it. Of an http URL of the user's own host the port does
    /// not matter.
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 16, example = json!(["com.example.app:/back"]))]
    redirect_uris: Vec<RedirectUri>,
    /// The client's secret, for `client_secret_basic` and `client_secret_post`. Without it and `jwks` the client is
    /// public.
    #[schema(value_type = Option<String>, min_length = 22, max_length = 4096, write_only)]
    secret: Option<Token>,
    /// The client's public keys, for `private_key_jwt`.
    #[schema(value_type = Option<Object>, write_only)]
    jwks: Option<JwksBody>,
    /// Whether each request for tokens must have a DPoP proof; false if left out.
    #[serde(default)]
    requires_proof: bool,
    /// What its users may be given; everything if left out.
    #[schema(value_type = Option<String>, example = "openid 3gpp:mc:ptt_service")]
    scope: Option<Scopes>,
}

/// A JWK Set.
#[derive(Deserialize)]
pub(super) struct JwksBody {
    keys: Vec<Value>,
}

impl ClientBody {
    pub(super) fn into_client(self, id: ClientId) -> Result<Client, Wrong> {
        let authentication = match (self.secret, self.jwks) {
            (None, None) => ClientAuthentication::None,
            (Some(secret), None) => ClientAuthentication::Secret(secret.0),
            (None, Some(JwksBody { keys })) => {
                if !(1..=CLIENT_KEYS_MAX).contains(&keys.len()) {
                    return Err(("jwks", format!("has not 1 to {CLIENT_KEYS_MAX} keys")));
                }
                let keys = keys.into_iter().map(|key| VerifyingKey::try_from(key.to_string()));
                let keys: Result<Vec<_>, _> = keys.collect();
                ClientAuthentication::Keys(
                    keys.map_err(|wrong| ("jwks", format!("has a key that {wrong}")))?,
                )
            }
            (Some(_), Some(_)) => return Err(("jwks", "is given together with secret".to_owned())),
        };
        if self.redirect_uris.len() > REDIRECT_URIS_MAX {
            return Err(("redirect_uris", format!("are more than {REDIRECT_URIS_MAX}")));
        }
        Ok(Client {
            id,
            redirect_uris: self.redirect_uris,
            authentication,
            requires_proof: self.requires_proof,
            scopes: self.scope.unwrap_or(Scopes::ALL),
        })
    }
}

/// A client, without secret.
#[derive(Serialize, ToSchema)]
pub(super) struct ClientView {
    /// Its name.
    #[schema(value_type = String)]
    id: ClientId,
    /// Where users are sent back to.
    #[schema(value_type = Vec<String>)]
    redirect_uris: Vec<RedirectUri>,
    /// How it says who it is: `none`, `secret` or `keys`.
    authentication: &'static str,
    /// Whether each request for tokens must have a DPoP proof.
    requires_proof: bool,
    /// What its users may be given.
    #[schema(value_type = String)]
    scope: Scopes,
}

impl From<Client> for ClientView {
    fn from(client: Client) -> Self {
        let authentication = match client.authentication {
            ClientAuthentication::None => "none",
            ClientAuthentication::Secret(_) => "secret",
            ClientAuthentication::Keys(_) => "keys",
        };
        let Client { id, redirect_uris, requires_proof, scopes: scope, .. } = client;
        Self { id, redirect_uris, authentication, requires_proof, scope }
    }
}

/// A user who logs in here. Passwords go in and never come out.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct IdmsUserBody {
    /// The password, 8 to 256 characters. A user who is there already keeps that of before without it.
    #[schema(value_type = Option<String>, min_length = 8, max_length = 256, write_only)]
    password: Option<String>,
    /// What another system kept of it, instead: `$argon2id$v=19$..`.
    #[schema(value_type = Option<String>, write_only)]
    password_hash: Option<PasswordHash>,
    /// The MC service ID for push to talk.
    mcptt_id: Option<McServiceId>,
    /// The MC service ID for video.
    mcvideo_id: Option<McServiceId>,
    /// The MC service ID for data.
    mcdata_id: Option<McServiceId>,
    /// The issuer URLs of partners that the user may have security tokens for.
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 64, example = json!(["https://idms.b.example"]))]
    partners: Vec<IssuerUrl>,
    /// Whether the user may log in and have tokens; true if left out.
    #[serde(default = "yes")]
    enabled: bool,
}

const fn yes() -> bool {
    true
}

impl IdmsUserBody {
    /// The value for the role, and the password whose hash belongs into it.
    pub(super) fn into_user(self, name: UserName) -> Result<(User, Option<SecretText>), Wrong> {
        let password = self.password.map(SecretText::new);
        if password.is_some() && self.password_hash.is_some() {
            return Err(("password_hash", "is given together with password".to_owned()));
        }
        if let Some(password) = &password {
            let long = password.expose().chars().count() >= PASSWORD_CHARACTERS_MIN;
            if !long || password.expose().len() > PASSWORD_OCTETS_MAX {
                return Err(("password", "has not 8 to 256 characters".to_owned()));
            }
        }
        if self.partners.len() > PARTNERS_MAX {
            return Err(("partners", format!("are more than {PARTNERS_MAX}")));
        }
        let Self { mcptt_id, mcvideo_id, mcdata_id, .. } = self;
        let user = User {
            name,
            password: self.password_hash,
            services: ServiceIds { mcptt_id, mcvideo_id, mcdata_id },
            partners: self.partners,
            is_enabled: self.enabled,
        };
        Ok((user, password))
    }
}

/// A user who logs in here, without password.
#[derive(Serialize, ToSchema)]
pub(super) struct IdmsUserView {
    /// The name to log in with.
    #[schema(value_type = String)]
    name: UserName,
    /// Who the user is to partners: the `sub` of tokens. Partners need it to know their visitor.
    subject: String,
    /// The MC service ID for push to talk.
    #[serde(skip_serializing_if = "Option::is_none")]
    mcptt_id: Option<McServiceId>,
    /// The MC service ID for video.
    #[serde(skip_serializing_if = "Option::is_none")]
    mcvideo_id: Option<McServiceId>,
    /// The MC service ID for data.
    #[serde(skip_serializing_if = "Option::is_none")]
    mcdata_id: Option<McServiceId>,
    /// The issuer URLs of partners that the user may have security tokens for.
    #[schema(value_type = Vec<String>)]
    partners: Vec<IssuerUrl>,
    /// Whether the user may log in and have tokens.
    enabled: bool,
}

impl IdmsUserView {
    pub(super) fn new(user: User, subject: String) -> Self {
        let User { name, services, partners, is_enabled: enabled, .. } = user;
        let ServiceIds { mcptt_id, mcvideo_id, mcdata_id } = services;
        Self { name, subject, mcptt_id, mcvideo_id, mcdata_id, partners, enabled }
    }
}

/// A user of a partner, who comes with a security token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VisitorBody {
    /// The MC service ID that this system gives the user for push to talk.
    mcptt_id: Option<McServiceId>,
    /// The MC service ID for video.
    mcvideo_id: Option<McServiceId>,
    /// The MC service ID for data.
    mcdata_id: Option<McServiceId>,
    /// Whether the user may migrate to this system; true if left out.
    #[serde(default = "yes")]
    may_migrate: bool,
}

impl VisitorBody {
    pub(super) fn into_visitor(self, issuer: IssuerUrl, subject: String) -> Visitor {
        let Self { mcptt_id, mcvideo_id, mcdata_id, may_migrate } = self;
        let services = ServiceIds { mcptt_id, mcvideo_id, mcdata_id };
        Visitor { issuer, subject, services, may_migrate }
    }
}

/// A user of a partner.
#[derive(Serialize, ToSchema)]
pub(super) struct VisitorView {
    /// The issuer URL of the user's system.
    #[schema(value_type = String)]
    issuer: IssuerUrl,
    /// Who the user is to that system: the `sub` of its tokens.
    subject: String,
    /// The MC service ID for push to talk.
    #[serde(skip_serializing_if = "Option::is_none")]
    mcptt_id: Option<McServiceId>,
    /// The MC service ID for video.
    #[serde(skip_serializing_if = "Option::is_none")]
    mcvideo_id: Option<McServiceId>,
    /// The MC service ID for data.
    #[serde(skip_serializing_if = "Option::is_none")]
    mcdata_id: Option<McServiceId>,
    /// Whether the user may migrate to this system.
    may_migrate: bool,
}

impl From<Visitor> for VisitorView {
    fn from(Visitor { issuer, subject, services, may_migrate }: Visitor) -> Self {
        let ServiceIds { mcptt_id, mcvideo_id, mcdata_id } = services;
        Self { issuer, subject, mcptt_id, mcvideo_id, mcdata_id, may_migrate }
    }
}

/// The deny list.
#[derive(Serialize, ToSchema)]
pub(super) struct DeniedListView {
    items: Vec<DeniedView>,
}

/// An entry of the deny list.
#[derive(Serialize, ToSchema)]
pub(super) struct DeniedView {
    /// The issuer URL of the partner.
    #[schema(value_type = String)]
    issuer: IssuerUrl,
    /// `subject` or `token`.
    kind: &'static str,
    /// The `sub` of the user or the `jti` of the token.
    id: String,
}

impl From<Vec<Denied>> for DeniedListView {
    fn from(all: Vec<Denied>) -> Self {
        let items = all.into_iter().map(|denied| match denied {
            Denied::Subject(issuer, id) => DeniedView { issuer, kind: "subject", id },
            Denied::Token(issuer, id) => DeniedView { issuer, kind: "token", id },
        });
        Self { items: items.collect() }
    }
}

/// Certificates and lists of revoked ones.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TrustBody {
    /// PEM blocks: CERTIFICATE and X509 CRL.
    #[schema(value_type = String)]
    pub(super) pem: String,
}

/// What an import did.
#[derive(Serialize, ToSchema)]
pub(super) struct ImportedView {
    /// SHA-256 of the certificates that are trusted now and were not known before.
    added: Vec<String>,
    /// Certificates that were known before.
    known: usize,
    /// SHA-256 of the certificates that are revoked now and were not before.
    revoked: Vec<String>,
}

impl ImportedView {
    pub(super) fn new(added: &[Fingerprint], known: usize, revoked: &[Fingerprint]) -> Self {
        let shown = |all: &[Fingerprint]| all.iter().map(Fingerprint::to_string).collect();
        Self { added: shown(added), known, revoked: shown(revoked) }
    }
}

/// What is and was trusted.
#[derive(Serialize, ToSchema)]
pub(super) struct TrustView {
    items: Vec<TrustedView>,
}

/// A certificate that was imported.
#[derive(Serialize, ToSchema)]
pub(super) struct TrustedView {
    /// Whose tokens it verifies.
    #[schema(value_type = String)]
    issuer: IssuerUrl,
    /// The certificate.
    certificate: CertificateView,
    /// `trusted`, `not-yet`, `over`, `revoked`, or `authority`: signs certificates and lists.
    state: &'static str,
    /// When it was imported, RFC 3339.
    imported: String,
    /// When the trust in it ended, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// A certificate.
#[derive(Serialize, ToSchema)]
pub(super) struct CertificateView {
    /// Its SHA-256.
    fingerprint: String,
    /// Whom it names.
    subject: String,
    /// The algorithm of its key.
    algorithm: &'static str,
    /// The `kid` of tokens.
    key_id: String,
    /// Valid from then on, RFC 3339.
    not_before: String,
    /// Valid until then, RFC 3339.
    not_after: String,
}

impl From<&Certificate> for CertificateView {
    fn from(certificate: &Certificate) -> Self {
        Self {
            fingerprint: certificate.fingerprint().to_string(),
            subject: certificate.subject.clone(),
            algorithm: certificate.key().algorithm().as_str(),
            key_id: certificate.key().thumbprint().as_str().to_owned(),
            not_before: certificate.not_before.to_rfc3339(),
            not_after: certificate.not_after.to_rfc3339(),
        }
    }
}

impl TrustView {
    pub(super) fn new(all: &[TrustedCertificate], now: Timestamp) -> Self {
        let items = all.iter().map(|trusted| {
            let certificate = &trusted.certificate;
            let state = if trusted.revoked.is_some() {
                "revoked"
            } else if now >= certificate.not_after {
                "over"
            } else if now < certificate.not_before {
                "not-yet"
            } else if certificate.is_authority() {
                "authority"
            } else {
                "trusted"
            };
            let (at, reason) = trusted.revoked.clone().unzip();
            TrustedView {
                issuer: trusted.issuer.clone(),
                certificate: certificate.into(),
                state,
                imported: trusted.imported.to_rfc3339(),
                revoked: at.map(Timestamp::to_rfc3339),
                reason,
            }
        });
        Self { items: items.collect() }
    }
}

/// The end of trust in a certificate.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RevocationBody {
    /// The SHA-256 of the certificate.
    pub(super) fingerprint: String,
    /// Why, for people.
    #[serde(default)]
    pub(super) reason: String,
}

/// A new key of this system.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewKeyBody {
    /// From when on it signs, seconds since the Unix epoch; at once if left out.
    pub(super) from: Option<u64>,
}

/// The keys of this system.
#[derive(Serialize, ToSchema)]
pub(super) struct OwnKeysView {
    /// This system: what partners import the certificates for.
    #[schema(value_type = String)]
    issuer: IssuerUrl,
    /// The earliest first.
    items: Vec<OwnKeyView>,
}

/// A key of this system.
#[derive(Serialize, ToSchema)]
pub(super) struct OwnKeyView {
    /// The certificate.
    certificate: CertificateView,
    /// From when on it signs, RFC 3339.
    signs_from: String,
    /// Whether it signs now.
    signs: bool,
    /// The certificate.
    pem: String,
}

impl OwnKeysView {
    pub(super) fn new(issuer: IssuerUrl, keys: &[OwnKey]) -> Self {
        let items = keys.iter().map(|key| OwnKeyView {
            certificate: (&key.certificate).into(),
            signs_from: key.signs_from.to_rfc3339(),
            signs: key.signs,
            pem: key.certificate.to_pem(),
        });
        Self { issuer, items: items.collect() }
    }
}
