//! The messages of an identity management server, and what its operator should know.

use super::{ReplyTo, RequestId};
use crate::{
    api::{
        identity_management::{Answer, ClientId, IssuerUrl},
        idms_management,
    },
    secret::SecretText,
    token::{certificate::Fingerprint, password::PasswordHash},
};

/// A message of an identity management server, addressed.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "few are under way at a time")]
pub enum IdmsMessage {
    /// The answer to a client or to a user's browser.
    Answer {
        /// Whom to.
        to: ReplyTo,
        /// The answer.
        answer: Answer,
    },
    /// The answer to a management request.
    Management {
        /// Whom to.
        to: ReplyTo,
        /// The answer.
        answer: idms_management::Answer,
    },
    /// Asks the world whether a password is the one, which takes long.
    CheckPassword {
        /// Under which name the answer comes back.
        id: RequestId,
        /// As the user typed it.
        password: SecretText,
        /// What is kept of the right one.
        hash: PasswordHash,
    },
}

/// The answer to an [`IdmsMessage::CheckPassword`].
#[derive(Clone, Copy, Debug)]
pub struct PasswordReply {
    /// The name of the request.
    pub id: RequestId,
    /// Whether it is the one, or that too many are being checked.
    pub outcome: Result<bool, TooManyChecks>,
}

/// No more passwords can be checked now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TooManyChecks;

/// Something the operator of an identity management server should know.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum IdmsNote {
    /// A client was refused tokens, for a reason that it is not told.
    Refused(&'static str),
    /// A user logged in (`true`) or tried to in vain.
    LogIn(bool),
    /// A security token was given to a client, for a partner.
    SecurityTokenIssued {
        /// The client.
        client: ClientId,
        /// The partner's identity management server.
        partner: IssuerUrl,
    },
    /// A security token of a partner was taken from a client; the first time, or again.
    SecurityTokenTaken {
        /// The client.
        client: ClientId,
        /// The partner's identity management server.
        issuer: IssuerUrl,
        /// Whether it is the first time.
        first: bool,
    },
    /// An old refresh token was presented: all that follow from the same log-in have ended.
    RefreshTokenReused(ClientId),
    /// Certificates of a partner were imported.
    TrustImported {
        /// The partner's identity management server.
        issuer: IssuerUrl,
        /// Those that are new.
        added: Vec<Fingerprint>,
    },
    /// The trust in a certificate has ended.
    TrustRevoked {
        /// The partner's identity management server.
        issuer: IssuerUrl,
        /// The certificate.
        fingerprint: Fingerprint,
    },
    /// An operator has changed who of a partner's users may come here; whom, is not told.
    VisitsChanged {
        /// The partner's identity management server.
        issuer: IssuerUrl,
        /// Whether one may come from now on, or one may not any more.
        may_come: bool,
    },
    /// This system has a new key.
    KeyMade(Fingerprint),
}
