//! The ACM server over HTTP: to the ACM clients of this system ([`client`]), from the ACM servers of other systems
//! ([`partner`]), and to them.

mod body;
pub mod client;
mod events;
mod links;
pub mod partner;
mod refused;

pub use body::{BODY_OCTETS_MAX, LONG_BODIES_MAX, LONG_BODIES_SHARE};
pub use links::{LONG_REQUESTS_MAX, PARTNER_REQUESTS_MAX};

pub(super) use body::{LongBodies, help};
pub(super) use events::Events;
pub(super) use links::{Links, ask};
pub(super) use partner::is_content;
