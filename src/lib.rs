//! The migration core of a mission critical (MC) system.

pub mod aka;
pub mod api;
pub mod diameter;
pub mod entropy;
pub mod identity;
pub mod outbox;
#[cfg(feature = "planted-bugs")]
pub mod planted;
pub mod procedure;
pub mod secret;
pub mod sip;
pub mod sip_core;
pub mod step;
pub mod store;
pub mod table;
pub mod time;
pub mod ue;
