//! Durable registrations through a whole system: what the embedded storage costs beside one in memory.
//!
//! `cargo bench --bench durability [-- --runs N --seconds N --users N]`. `migcore serve` runs on the first core
//! and the UEs of this process on the second one, with real sockets between them. Users register again and
//! again: a challenge, an answer to it, a registration that is durable before its 200. Runs with either storage
//! take turns, so that what else the machine does concerns both.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::pedantic,
    clippy::restriction,
    missing_docs,
    unreachable_pub,
    reason = "a benchmark"
)]

#[path = "durability/load.rs"]
mod load;
mod rig;
#[path = "durability/server.rs"]
mod server;
#[path = "durability/ue.rs"]
mod ue;

use std::time::Duration;

use load::Load;
use server::{Server, Storage, pin};

/// Registrations a second at low load.
const LOW_RATE: u32 = 200;

/// Users that wait for an answer at a time at saturation.
const IN_FLIGHT: usize = 512;

struct Plan {
    runs: usize,
    time: Duration,
    users: usize,
}

impl Plan {
    fn from_arguments() -> Self {
        let time = Duration::from_secs(rig::number("--seconds", 5));
        Self { runs: rig::number("--runs", 3), time, users: rig::number("--users", 5_000) }
    }
}

fn main() {
    let plan = Plan::from_arguments();
    pin(std::process::id(), 1);
    println!("{} runs of {:?}, {} users", plan.runs, plan.time, plan.users);
    println!("storage    saturated/s  CPU us each     p50     p99 | at {LOW_RATE}/s:  p50     p99");
    let mut rates: [Vec<f64>; 2] = Default::default();
    for _ in 0..plan.runs {
        for (storage, rates) in [Storage::Memory, Storage::Embedded].into_iter().zip(&mut rates) {
            rates.push(measure(storage, &plan));
        }
    }
    let [memory, embedded] = rates.map(median);
    println!(
        "median: memory {memory:.0}/s, embedded {embedded:.0}/s, ratio {:.2}",
        embedded / memory
    );
}

/// Registrations a second at saturation.
fn measure(storage: Storage, plan: &Plan) -> f64 {
    let server = Server::start(storage);
    server.provision(plan.users);
    let mut load = Load::new(server.sip, plan.users);
    // Everybody's first registration also assigns the SIP core: that is not what is measured.
    load.saturate(plan.users, IN_FLIGHT);
    let before = server.cpu_time();
    let saturated = load.saturate_for(plan.time, IN_FLIGHT);
    let spent = server.cpu_time().saturating_sub(before);
    let low = load.at_rate(plan.time, LOW_RATE);
    let count = saturated.latencies.len();
    println!(
        "{:9}  {:>11.0}  {:>11.1}  {} | {}",
        format!("{storage:?}"),
        saturated.rate(),
        spent.as_secs_f64() * 1e6 / count as f64,
        saturated.percentiles(),
        low.percentiles(),
    );
    if saturated.lost + low.lost > 0 {
        println!("    without an answer: {} and {}", saturated.lost, low.lost);
    }
    saturated.rate()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
