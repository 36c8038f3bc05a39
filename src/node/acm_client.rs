//! `migcore acm`: the ACM client of an administrator (TS 23.280 clause 10.17), as a command line.
//!
//! It logs on and is told what is pending, lists and shows it, decides, begins transactions and follows them, over the
//! client interface of the administrator's own ACM server. What it is told is masked by the server; the administrator's
//! token comes from a file that only its owner may read, or from the environment, never from an argument.

mod access;
mod alias;
mod begin;
mod command;
mod connection;
mod decide;
mod elements;
mod events;
mod follow;
mod item;
mod list;
mod show;
mod watch;

pub use access::AccessError;
pub use begin::FileError;
pub use command::{AcmCommand, AcmError, EXAMPLES};
pub use connection::{ConnectionError, Refused};

pub(super) use access::{Administrator, token_for};
pub(super) use connection::AcmClient;
pub(super) use events::Events;
