//! A short flood of first REGISTERs beside UEs that register, refresh and leave: who is refused is told so, nobody
//! is told anything wrong, and afterwards everything is as before. `benches/overload.rs` is the long form, which
//! also judges speed.
#![cfg(feature = "node")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "test code"
)]

#[path = "../benches/overload/flood.rs"]
mod flood;
#[path = "../benches/overload/paced.rs"]
mod paced;
#[path = "../benches/durability/server.rs"]
mod server;
#[path = "../benches/durability/ue.rs"]
mod ue;

use std::{
    thread,
    time::{Duration, Instant},
};

use flood::Flood;
use paced::{Paced, Phase};
use server::{Server, Storage};

/// UEs, and how many of them begin in a second.
const UES: usize = 300;
const RATE: f64 = 100.0;

/// Far more than is served, wherever this runs.
const FLOOD_RATE: f64 = 200_000.0;

/// How long everybody may take until all is as before, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_flood_is_refused_and_passes_without_a_trace() {
    let server = Server::start(Storage::Memory);
    server.provision(flood::USERS + UES);
    let mut paced = Paced::new(server.sip, flood::USERS, UES, RATE);
    let before = paced.run(Duration::from_secs(1));
    assert_eq!(before.latencies.len(), before.begun, "{before}");

    let flood = Flood::start(server.sip, 0, FLOOD_RATE);
    let during = paced.run(Duration::from_secs(5));
    let flooded = flood.stop();
    println!("{}\n          {during}\n{flooded}", Phase::HEADER);
    assert_eq!((flooded.wrong(), during.wrong), (0, 0), "{flooded}");
    assert!(flooded.answered(503) > 1_000 && flooded.answered(401) > 0, "{flooded}");
    assert!(flooded.retry_after.len() > 1, "all come back at once: {:?}", flooded.retry_after);
    let told = server.metrics("migcore_overload_refused_total");
    assert!(!told.is_empty(), "who is refused is counted");

    // Whoever was refused obeys Retry-After first.
    let recovered = Instant::now();
    let after = loop {
        let after = paced.run(Duration::from_secs(1));
        if after.latencies.len() == after.begun && after.skipped + after.refused == 0 {
            break after;
        }
        assert!(recovered.elapsed() < PATIENCE, "{after}");
    };
    assert_eq!(after.wrong, 0, "{after}");
    while server.metrics("migcore_overload_waiting") != ["migcore_overload_waiting 0"] {
        assert!(recovered.elapsed() < PATIENCE, "something waits for ever");
        thread::sleep(Duration::from_millis(10));
    }
}
