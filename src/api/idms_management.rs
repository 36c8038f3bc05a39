//! The management interface of an identity management server. Every request may be repeated.

use super::identity_management::{Client, ClientId, IssuerUrl, UserName};
use crate::{
    time::Timestamp,
    token::{
        certificate::{Certificate, CertificateError, Fingerprint, TrustFile},
        claims::ServiceIds,
        password::PasswordHash,
    },
};

/// Clients, unless configured otherwise.
pub const CLIENTS_MAX: usize = 10_000;
/// Users, unless configured otherwise.
pub const USERS_MAX: usize = 1_000_000;
/// Users of partners, unless configured otherwise.
pub const VISITORS_MAX: usize = 1_000_000;
/// Entries of the deny list.
pub const DENIED_MAX: usize = 100_000;
/// Trusted issuers.
pub const ISSUERS_MAX: usize = 1_024;
/// Certificates of one issuer, those that are over or revoked among them.
pub const CERTIFICATES_MAX: usize = 32;
/// Partners that one user may have security tokens for.
pub const PARTNERS_MAX: usize = 64;

/// A user of this system.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct User {
    /// The name to log in with.
    pub name: UserName,
    /// What is kept of the password; none leaves that of before.
    pub password: Option<PasswordHash>,
    /// The MC service IDs.
    pub services: ServiceIds,
    /// The identity management servers of partners that the user may have security tokens for.
    pub partners: Vec<IssuerUrl>,
    /// Whether the user may log in and have tokens.
    pub is_enabled: bool,
}

/// A user of a partner, as this system knows it.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct Visitor {
    /// The identity management server of the user's system.
    pub issuer: IssuerUrl,
    /// Who the user is to that one: the `sub` of its tokens.
    pub subject: String,
    /// The MC service IDs that this system gives the user.
    pub services: ServiceIds,
    /// Whether the user may migrate to this system.
    pub may_migrate: bool,
}

/// What is denied, whatever else is provisioned.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Denied {
    /// All security tokens of a user.
    Subject(IssuerUrl, String),
    /// One security token, by its `jti`.
    Token(IssuerUrl, String),
}

impl Denied {
    /// Whose user or token it is.
    pub const fn issuer(&self) -> &IssuerUrl {
        let (Self::Subject(issuer, _) | Self::Token(issuer, _)) = self;
        issuer
    }
}

/// A management request.
#[derive(Clone, Debug)]
pub enum Request {
    /// Creates or replaces a client.
    PutClient(Client),
    /// Shows a client.
    GetClient(ClientId),
    /// Removes a client: its refresh tokens end.
    DeleteClient(ClientId),
    /// Creates or replaces a user.
    PutUser(User),
    /// Shows a user.
    GetUser(UserName),
    /// Removes a user, whose refresh tokens end.
    DeleteUser(UserName),
    /// Creates or replaces a user of a partner.
    PutVisitor(Visitor),
    /// Shows a user of a partner.
    GetVisitor(IssuerUrl, String),
    /// Removes a user of a partner.
    DeleteVisitor(IssuerUrl, String),
    /// Adds to the deny list.
    Deny(Denied),
    /// Takes from the deny list.
    Allow(Denied),
    /// Shows the deny list.
    ListDenied,
    /// Trusts the certificates of a partner that a file holds, besides those imported before; those that its lists
    /// revoke are revoked.
    Import {
        /// The partner's identity management server.
        issuer: IssuerUrl,
        /// The file.
        file: TrustFile,
    },
    /// Shows what is and was trusted.
    ListTrust,
    /// Ends the trust in a certificate, for ever.
    Revoke {
        /// The certificate.
        fingerprint: Fingerprint,
        /// Why, for people.
        reason: String,
    },
    /// Gives the certificates of this system's own keys.
    Export,
    /// Makes a new key of this system, which signs from the given time on.
    RotateKey {
        /// From when on; at once without it.
        from: Option<Timestamp>,
    },
}

/// A management answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Done.
    Done,
    /// A client.
    Client(Client),
    /// A user.
    User {
        /// The user, without password.
        user: User,
        /// Who the user is to partners: the `sub` of tokens.
        subject: String,
    },
    /// A user of a partner.
    Visitor(Visitor),
    /// The deny list.
    Denied(Vec<Denied>),
    /// What an import did.
    Imported {
        /// Certificates that are trusted now and were not known before.
        added: Vec<Fingerprint>,
        /// Certificates that were known before.
        known: usize,
        /// Certificates that are revoked now and were not before.
        revoked: Vec<Fingerprint>,
    },
    /// What is and was trusted, by issuer.
    Trust(Vec<TrustedCertificate>),
    /// Certificates of this system's own keys, the earliest first.
    Own(Vec<OwnKey>),
    /// It did not work; nothing changed.
    Refused(Refusal),
}

/// A certificate that was imported.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TrustedCertificate {
    /// Whose tokens it verifies.
    pub issuer: IssuerUrl,
    /// The certificate.
    pub certificate: Certificate,
    /// When it was imported.
    pub imported: Timestamp,
    /// When and why the trust in it ended.
    pub revoked: Option<(Timestamp, String)>,
}

/// A key of this system.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OwnKey {
    /// Its certificate.
    pub certificate: Certificate,
    /// From when on it signs, until another one does.
    pub signs_from: Timestamp,
    /// Whether it signs now.
    pub signs: bool,
}

/// Why a management request was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// No such thing.
    #[error("no such {0}")]
    NotFound(&'static str),
    /// A table is at its maximum.
    #[error("the table of {0} is full")]
    Full(&'static str),
    /// A new user without a password.
    #[error("password is missing: a new user needs one")]
    NoPassword,
    /// A file that cannot be used.
    #[error("the file {0}")]
    File(#[from] CertificateError),
    /// A certificate that another issuer has.
    #[error("the file has a certificate that is imported for another issuer: no two share a key")]
    OfAnother,
    /// A certificate that was revoked cannot come back.
    #[error(
        "the file has a certificate that is revoked: it stays so; have the partner make a new key"
    )]
    Revoked,
    /// This system itself is no partner.
    #[error("issuer is this system itself")]
    Own,
    /// A key of this system that would sign later than the latest one ends.
    #[error("from is in the past or more than a year ahead")]
    Time,
    /// This system cannot do it now.
    #[error("the storage takes no changes now, or no key can be made")]
    Unavailable,
}
