//! How an identity management server is set up: who it is, how long things hold, maxima.

use std::time::Duration;

use crate::{
    api::{
        identity_management::IssuerUrl,
        idms_management::{CLIENTS_MAX, USERS_MAX, VISITORS_MAX},
    },
    identity::McSystemId,
    token::password::Cost,
};

/// Security tokens given and not expired yet, unless configured otherwise.
pub const ISSUED_MAX: usize = 1_000_000;
/// Security tokens of one user that are not expired yet.
pub const ISSUED_OF_USER_MAX: usize = 256;
/// Security tokens of partners' users that were presented and are not expired yet, unless configured otherwise.
pub const PRESENTED_MAX: usize = 1_000_000;
/// Refresh tokens, unless configured otherwise.
pub const REFRESH_MAX: usize = 1_000_000;
/// Refresh tokens of one user: one more ends the oldest.
pub const REFRESH_OF_USER_MAX: usize = 32;
/// Codes that are not expired yet.
pub const CODES_MAX: usize = 100_000;
/// Passwords being checked.
pub const CHECKS_MAX: usize = 1_024;
/// Proofs and assertions of clients that might be here a second time.
pub const PROOFS_MAX: usize = 1_000_000;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// How an identity management server is set up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// Its URL: `iss` of its tokens, and what partners' security tokens must be for.
    pub issuer: IssuerUrl,
    /// The MC system whose servers take its access tokens: their `aud`.
    pub audience: McSystemId,
    /// How long an access token holds, and the ID token given with it.
    pub access_token_lifetime: Duration,
    /// How long after a log-in a user needs no other.
    pub refresh_token_lifetime: Duration,
    /// How long a security token holds: as long as a user may be away.
    pub security_token_lifetime: Duration,
    /// The longest lifetime of a partner's security token: it has to be remembered as long.
    pub partner_token_lifetime_max: Duration,
    /// How long a client may take to redeem a code.
    pub code_lifetime: Duration,
    /// How long a user may take to fill in the page.
    pub page_lifetime: Duration,
    /// How long a key signs.
    pub key_lifetime: Duration,
    /// How long before it signs a key is made and published, so that partners can import its certificate.
    pub key_overlap: Duration,
    /// What the check of a password takes.
    pub password_cost: Cost,
    /// Wrong passwords of one user within [`Config::attempts_window`].
    pub attempts_of_user_max: u32,
    /// Wrong passwords and wrong secrets of clients from one address within it.
    pub attempts_of_source_max: u32,
    /// See the two before.
    pub attempts_window: Duration,
    /// See [`CLIENTS_MAX`].
    pub clients_max: usize,
    /// See [`USERS_MAX`].
    pub users_max: usize,
    /// See [`VISITORS_MAX`].
    pub visitors_max: usize,
    /// See [`ISSUED_MAX`].
    pub issued_max: usize,
    /// See [`PRESENTED_MAX`].
    pub presented_max: usize,
    /// See [`REFRESH_MAX`].
    pub refresh_max: usize,
}

impl Config {
    /// The server at `issuer` for the servers of `audience`, all else as usual.
    pub const fn new(issuer: IssuerUrl, audience: McSystemId) -> Self {
        Self {
            issuer,
            audience,
            access_token_lifetime: HOUR,
            refresh_token_lifetime: Duration::from_secs(30 * DAY.as_secs()),
            security_token_lifetime: Duration::from_secs(30 * DAY.as_secs()),
            partner_token_lifetime_max: Duration::from_secs(366 * DAY.as_secs()),
            code_lifetime: MINUTE,
            page_lifetime: Duration::from_secs(10 * MINUTE.as_secs()),
            key_lifetime: Duration::from_secs(365 * DAY.as_secs()),
            key_overlap: Duration::from_secs(31 * DAY.as_secs()),
            password_cost: Cost::USUAL,
            attempts_of_user_max: 10,
            attempts_of_source_max: 100,
            attempts_window: Duration::from_secs(10 * MINUTE.as_secs()),
            clients_max: CLIENTS_MAX,
            users_max: USERS_MAX,
            visitors_max: VISITORS_MAX,
            issued_max: ISSUED_MAX,
            presented_max: PRESENTED_MAX,
            refresh_max: REFRESH_MAX,
        }
    }
}
