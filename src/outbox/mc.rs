//! What the operator of an MC server should know.

use crate::user_profile::ProfileService;

/// Something the operator of an MC server should know.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum McNote {
    /// A user was authorised for a service (`true`), or is no longer.
    Authorised(ProfileService, bool),
    /// A user was not authorised, for a reason that the client is not told. A security event.
    Refused(ProfileService, &'static str),
    /// A request came from somebody who is no SIP core of this system. A security event.
    StrangerRefused,
}
