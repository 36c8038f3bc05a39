//! `migcore admin`: what a running system holds is listed and shown, bindings are released, bindings, registrations,
//! agreements and grants are revoked, and users of ACM clients are put and deleted, over the management interface.
//!
//! Identities are shown, for this is the operator's tool; keys and credentials never leave the system.

mod command;
mod list;
mod object;
mod table;

pub use command::{AdminCommand, AdminError, EXAMPLES};

pub(in crate::node) use table::{Table, printable};
