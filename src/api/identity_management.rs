//! The interface of an identity management server towards clients (CSC-1): OAuth 2.0 and OpenID Connect as TS 33.180
//! annex B profiles them, as values.
//!
//! | Endpoint | Source |
//! |---|---|
//! | authorization, with a page to log in | RFC 6749 clause 4.1, RFC 7636, TS 33.180 B.3 and B.4 |
//! | token | RFC 6749 clauses 4.1.3 and 6, RFC 7523 clause 2.1, RFC 8693, RFC 9449, TS 33.180 B.4 to B.9 |
//! | keys | RFC 7517 |

mod names;

use std::{fmt, net::IpAddr};

pub use names::{
    ClientId, ISSUER_OCTETS_MAX, InvalidName, IssuerUrl, REDIRECT_URIS_MAX, RedirectUri, UserName,
};

use crate::{
    secret::SecretText,
    token::{TokenDigest, jwk::JwkSet, key::VerifyingKey, scope::Scopes},
};

/// Where users log in.
pub const AUTHORIZATION_PATH: &str = "/authorize";
/// Where tokens are given.
pub const TOKEN_PATH: &str = "/token";
/// Where the keys are that tokens are verified with.
pub const KEYS_PATH: &str = "/jwks.json";
/// Where all of this is described (OpenID Connect Discovery clause 4).
pub const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";

/// Longest value of one parameter, octets: a token, as a rule.
pub const PARAMETER_OCTETS_MAX: usize = 8_192;
/// Longest `state` and `nonce`, octets.
pub const ECHO_OCTETS_MAX: usize = 512;

/// A registered client: an MC client, or an application server.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct Client {
    /// Its name, the same at every identity management server that it uses (TS 33.180 B.6).
    pub id: ClientId,
    /// Where users are sent after they logged in; none if nobody logs in with it.
    pub redirect_uris: Vec<RedirectUri>,
    /// How it says who it is.
    pub authentication: ClientAuthentication,
    /// Whether each of its requests for a token must prove a key (RFC 9449).
    pub requires_proof: bool,
    /// What its users may be given.
    pub scopes: Scopes,
}

/// Most keys of one client.
pub const CLIENT_KEYS_MAX: usize = 8;

/// How a client says who it is.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAuthentication {
    /// It does not: an application on a user's device keeps no secret (RFC 8252 clause 8.5).
    None,
    /// A secret; its digest is kept.
    Secret(TokenDigest),
    /// A signed assertion (`private_key_jwt`, RFC 7523 clause 2.2), by one of these keys.
    Keys(Vec<VerifyingKey>),
}

/// A request of a client or of a user's browser.
#[derive(Debug)]
pub enum Request {
    /// A browser comes to log a user in.
    OpenLogIn {
        /// What the client sent it with.
        parameters: Box<Authorization>,
        /// What this server told the browser to bring along, if it has been here before.
        visit: Option<String>,
    },
    /// A user sends the page.
    LogIn(Box<LogIn>),
    /// A client asks for tokens.
    Token(Box<TokenRequest>),
    /// Somebody asks for the keys.
    Keys,
}

/// The parameters of the authorization endpoint (RFC 6749 clause 4.1.1), as they came: empty ones are none.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Authorization {
    /// `response_type`.
    pub response_type: String,
    /// `client_id`.
    pub client_id: String,
    /// `redirect_uri`.
    pub redirect_uri: String,
    /// `scope`.
    pub scope: String,
    /// `state`.
    pub state: String,
    /// `nonce`.
    pub nonce: String,
    /// `code_challenge`.
    pub code_challenge: String,
    /// `code_challenge_method`.
    pub code_challenge_method: String,
    /// `acr_values`: how the user is to be authenticated.
    pub acr_values: String,
    /// `dpop_jkt`: the key that the code is bound to (RFC 9449 clause 10).
    pub dpop_jkt: String,
}

impl Authorization {
    /// Each parameter with its name.
    pub fn named(&self) -> [(&'static str, &str); 10] {
        [
            ("response_type", &self.response_type),
            ("client_id", &self.client_id),
            ("redirect_uri", &self.redirect_uri),
            ("scope", &self.scope),
            ("state", &self.state),
            ("nonce", &self.nonce),
            ("code_challenge", &self.code_challenge),
            ("code_challenge_method", &self.code_challenge_method),
            ("acr_values", &self.acr_values),
            ("dpop_jkt", &self.dpop_jkt),
        ]
    }

    /// The parameter of a name, to be written; `None` for other names.
    pub fn of_name(&mut self, name: &str) -> Option<&mut String> {
        Some(match name {
            "response_type" => &mut self.response_type,
            "client_id" => &mut self.client_id,
            "redirect_uri" => &mut self.redirect_uri,
            "scope" => &mut self.scope,
            "state" => &mut self.state,
            "nonce" => &mut self.nonce,
            "code_challenge" => &mut self.code_challenge,
            "code_challenge_method" => &mut self.code_challenge_method,
            "acr_values" => &mut self.acr_values,
            "dpop_jkt" => &mut self.dpop_jkt,
            _ => return None,
        })
    }
}

/// What a user sends with the page.
#[derive(Debug)]
pub struct LogIn {
    /// What the client sent the user with.
    pub parameters: Authorization,
    /// What the browser was told to bring along.
    pub visit: Option<String>,
    /// That the page is of this server, and was made for this browser and these parameters.
    pub form: String,
    /// The user, as typed, which may be the password in the wrong place.
    pub user: SecretText,
    /// The password.
    pub password: SecretText,
    /// Where it comes from.
    pub source: Option<IpAddr>,
}

/// A request for tokens.
#[derive(Debug)]
pub struct TokenRequest {
    /// Who asks.
    pub client: ClientCredential,
    /// For what.
    pub grant: Grant,
    /// The proof of a key, as it came (RFC 9449 clause 5).
    pub proof: Option<String>,
    /// Where it comes from.
    pub source: Option<IpAddr>,
}

/// How a client presented itself.
#[derive(Debug)]
pub enum ClientCredential {
    /// By name alone.
    Name(String),
    /// With its secret.
    Secret(String, SecretText),
    /// With a signed assertion, and its name if it gave that too.
    Assertion(Option<String>, SecretText),
}

/// What tokens are asked for by. Scopes are texts as they came; none asks for all that can be had.
#[derive(Debug)]
pub enum Grant {
    /// A code that a user brought (RFC 6749 clause 4.1.3).
    Code {
        /// The code.
        code: SecretText,
        /// The redirect URI that it went to.
        redirect_uri: String,
        /// What was challenged (RFC 7636 clause 4.5).
        verifier: SecretText,
    },
    /// A refresh token (RFC 6749 clause 6).
    Refresh {
        /// The token.
        token: SecretText,
        /// Fewer scopes than before.
        scope: Option<String>,
    },
    /// An access token of this server, for a security token that a partner takes (RFC 8693).
    Exchange {
        /// The access token.
        subject_token: SecretText,
        /// The partner's identity management server.
        resource: String,
    },
    /// A security token of a partner (RFC 7523).
    Assertion {
        /// The security token.
        assertion: SecretText,
        /// The scopes.
        scope: Option<String>,
    },
}

/// What comes of a request.
#[derive(Debug, Eq, PartialEq)]
pub enum Answer {
    /// The page to log in.
    Page(Box<Page>),
    /// The user's browser goes back to the client.
    Redirect(Redirect),
    /// The browser cannot go back: nobody may be sent to where this request says.
    NoRedirect(NoRedirect),
    /// Tokens.
    Tokens(Box<Tokens>),
    /// No tokens.
    Refused(Refusal),
    /// The keys.
    Keys(JwkSet),
}

/// The page to log in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Page {
    /// What the client sent the user with.
    pub parameters: Authorization,
    /// What the browser has to bring along.
    pub visit: String,
    /// What the page has to send along.
    pub form: String,
    /// Why the user sees it again.
    pub again: Option<Again>,
}

/// Why a user sees the page again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Again {
    /// User and password do not fit, or there is no such user, or the user may not log in.
    Wrong,
    /// The page was too old, or is not of this browser.
    Stale,
    /// Too many attempts: not before so many seconds.
    Later(u32),
    /// This system cannot do it now: not before so many seconds.
    Busy(u32),
}

/// Where the browser goes back to.
#[derive(Clone, Eq, PartialEq)]
pub struct Redirect {
    /// The client's address.
    pub to: String,
    /// The parameters of the query, to be escaped.
    pub parameters: Vec<(&'static str, String)>,
}

/// Shows no parameters: one of them is a code.
impl fmt::Debug for Redirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redirect({})", self.to)
    }
}

/// Why a browser cannot go back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NoRedirect {
    /// No such client.
    Client,
    /// The client has no such address.
    RedirectUri,
}

/// Tokens (RFC 6749 clause 5.1).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tokens {
    /// The access token, or the security token of an exchange.
    pub access_token: SecretText,
    /// What kind of token that is.
    pub kind: TokenKind,
    /// How long it holds, seconds.
    pub expires_in: u64,
    /// What it is good for; not told of a security token.
    pub scope: Option<Scopes>,
    /// The refresh token.
    pub refresh_token: Option<SecretText>,
    /// The ID token.
    pub id_token: Option<SecretText>,
}

/// What kind of token was given.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenKind {
    /// An access token: who has it may use it.
    Bearer,
    /// An access token: who has it and the key in it may use it.
    DPoP,
    /// A security token, which is no access token (RFC 8693 clause 2.2.1).
    Security,
}

/// Why there are no tokens. It tells nobody who exists, or what exactly is wrong with a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// The access token of an exchange is not to be taken (RFC 8693 clause 2.2.2).
    InvalidRequest,
    /// The client is unknown or is not who it says (RFC 6749 clause 5.2).
    InvalidClient,
    /// The code, refresh token or security token is not to be taken.
    InvalidGrant,
    /// A scope that is unknown, or that this user and client cannot have.
    InvalidScope,
    /// The partner is unknown, or none of this user's (RFC 8693 clause 2.2.2).
    InvalidTarget,
    /// The proof of a key is missing, wrong, or has been here before (RFC 9449 clause 5).
    InvalidProof,
    /// Too often: not before so many seconds.
    TooMany(u32),
    /// This system cannot do it now.
    Unavailable,
}
