//! The real binary on a disk that is full, fails, or loses power: nothing acknowledged is lost.
//!
//! A shim stands between the process and its files (`disk/shim.c`). `MIGCORE_SEED=n` repeats the draws
//! of a run, as far as the order of concurrent events is the same.
#![cfg(all(feature = "node", target_os = "linux"))]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "test code"
)]
#![allow(clippy::disallowed_methods, reason = "a test of processes measures time")]
#![allow(dead_code, reason = "of the crash rig and the shim, this uses a part")]
#![allow(unreachable_pub, reason = "modules of a test")]

#[path = "crash/administration.rs"]
mod administration;
mod common;
#[path = "disk/engine.rs"]
mod engine;
#[path = "crash/history.rs"]
mod history;
#[path = "disk/image.rs"]
mod image;
#[path = "crash/load.rs"]
mod load;
#[path = "disk/log.rs"]
mod log;
#[path = "disk/message.rs"]
mod message;
#[path = "disk/power.rs"]
mod power;
#[path = "disk/refusal.rs"]
mod refusal;
#[path = "crash/register.rs"]
mod register;
#[path = "disk/self_test.rs"]
mod self_test;
#[path = "crash/server.rs"]
mod server;
#[path = "disk/shim.rs"]
mod shim;
#[path = "crash/stores.rs"]
mod stores;
#[path = "disk/trace.rs"]
mod trace;
#[path = "crash/user.rs"]
mod user;
#[path = "crash/wire.rs"]
mod wire;
#[path = "disk/world.rs"]
mod world;

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is no number: {value}")))
}
