//! The real binary on a disk that is full, fails, or loses power: nothing acknowledged is lost.
//!
//! A shim stands between the process and its files (`disk/shim.c`). `MIGCORE_SEED=n` repeats the draws
//! of a run, as far as the order of concurrent events is the same.
#![cfg(all(feature = "node", target_os = "linux"))]
#![allow(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "test code"
)]
#![allow(unreachable_pub, reason = "modules of a test")]

mod common;
#[path = "disk/image.rs"]
mod image;
#[path = "disk/log.rs"]
mod log;
#[path = "disk/self_test.rs"]
mod self_test;
#[path = "disk/shim.rs"]
mod shim;

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is no number: {value}")))
}
