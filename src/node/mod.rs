//! The world outside: tokio, sockets, HTTP, clock, entropy, files. Layer 6.
//!
//! Nothing here knows a procedure. It turns octets into calls of a role, and the effects that the
//! role asked for ([`crate::outbox`]) into octets, commits and timers.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is where time, sockets and files enter"
)]

pub mod acm;
pub mod acm_client;
mod admin;
mod admission;
mod bind;
pub mod client;
mod clock;
mod committer;
pub mod config;
pub mod csc17;
pub mod csc4;
pub mod datagrams;
pub mod demo;
mod diameter;
mod entropy;
mod http;
pub mod http_client;
pub mod idms;
mod issuer;
pub mod ladder;
pub mod load;
mod loading;
pub mod log;
pub mod management;
pub mod metrics;
mod names;
mod observe;
pub mod operator;
mod overload;
mod park;
mod partner_link;
pub mod partners;
mod perform;
mod places;
mod private_file;
pub mod provision;
mod role_config;
mod roles;
mod run;
mod shared;
mod sip_client;
mod sockets;
pub mod storage;
mod system;
mod tcp;
mod timers;
pub mod tls;
pub mod trust;
mod udp;
pub mod ue;
mod worker;

pub use clock::Clock;
pub use entropy::SystemEntropy;
pub use issuer::IssuerFileError;
pub use system::{Bound, Options, RunningSystem, StartError};
pub use ue::{RunningConfigurationClient, RunningUe};
