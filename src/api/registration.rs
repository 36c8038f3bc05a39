//! The management interface of a SIP core: who is registered where, and the end of a registration by the
//! operator (network-initiated de-registration, TS 24.229 clause 5.4.1.5).

use super::migration_identity::Refusal;
use crate::{
    identity::{Impi, Impu},
    time::Timestamp,
};

/// A management request.
#[derive(Clone, Debug)]
pub enum Request {
    /// Asks for a registration.
    Get(Impi),
    /// Ends a registration with all contacts, and every attempt to register that is under way. The user may
    /// register anew, if the SIP database still gives a vector.
    Remove(Impi),
}

/// A management answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// Done; nothing to tell.
    Done,
    /// A registration.
    Registration(Registration),
    /// It did not work; nothing changed.
    Refused(Refusal),
}

/// A registration as the management interface shows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Registration {
    /// The private identity.
    pub impi: Impi,
    /// The implicit registration set, the default public identity first.
    pub impus: Vec<Impu>,
    /// Where the user can be reached; at least one.
    pub contacts: Vec<Contact>,
}

/// A contact of a registration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Contact {
    /// The contact URI as the UE gave it.
    pub uri: String,
    /// When it ends unless it is refreshed.
    pub expires_at: Timestamp,
    /// Seconds until then, rounded up; at least 1.
    pub seconds_left: u64,
    /// Proxies on the way to it: the Path of its REGISTER (RFC 3327).
    pub path_count: usize,
}
