//! The management interface of an ACM server: its administrators, and answers that belong to nothing.

use serde::{Deserialize, Serialize};

use super::{acm_interconnection::Response, acm_payload::Kind, migration_identity::Refusal};
use crate::{
    identity::{McServiceId, McSystemId},
    time::Timestamp,
    token::TokenDigest,
};

/// A management request.
#[derive(Clone, Debug)]
pub enum Request {
    /// Creates or replaces a user of ACM clients.
    PutUser(User),
    /// Asks whether a request would be done.
    Check(Box<Request>),
    /// Asks for a user, without credential.
    GetUser(McServiceId),
    /// Removes a user. What waits for it stays until it expires.
    DeleteUser(McServiceId),
    /// Asks for answers to transactions that are not known here.
    ListStrays {
        /// At most so many.
        limit: usize,
    },
}

/// A user of this system who may be named in transactions.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct User {
    /// The name.
    pub mc_service_id: McServiceId,
    /// The bearer token that the user's ACM client presents.
    pub token: TokenDigest,
    /// The kinds of transactions that the user may begin. Whoever may none and decide none is a user, but no
    /// administrator.
    pub may_request: Vec<Kind>,
    /// The kinds of transactions of partners that the user may decide.
    pub may_decide: Vec<Kind>,
}

/// An answer to a transaction that is not known here.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Stray {
    /// Who sent it.
    pub from: McSystemId,
    /// When it came.
    pub at: Timestamp,
    /// What it said.
    pub response: Response,
}

/// A management answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// Done; nothing to tell.
    Done,
    /// A user, without credential.
    User {
        /// The name.
        mc_service_id: McServiceId,
        /// What the user may begin.
        may_request: Vec<Kind>,
        /// What the user may decide.
        may_decide: Vec<Kind>,
    },
    /// Answers that belong to nothing, in the order of systems and transactions.
    Strays(Vec<Stray>),
    /// It did not work; nothing changed.
    Refused(Refusal),
}
