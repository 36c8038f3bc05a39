//! Three times as many first REGISTERs as a system can take, beside UEs that register and refresh at an even pace.
//!
//! `cargo bench --bench overload [-- --seconds N --users N --times N]`. `migcore serve` runs with one worker on the
//! first core; the flood and the UEs share the second one. Capacity is what the same server takes in a closed loop,
//! registrations a second. The flood sends three times that many first REGISTERs of existing subscribers, from a
//! few sockets, and answers no challenge, so that each that is let in costs a vector. The UEs, an ISIM each,
//! register, refresh and leave, a fifth of the capacity in all, from other sockets; each is counted from the time
//! when it was to begin. They repeat what has no answer and wait for as long as Retry-After says.
//!
//! Goodput is the share of the registrations begun in a phase that were complete within 2 s. The process fails
//! unless, during the flood, it is 80 % of that before it; nobody, the flood included, is told 4xx but 401; and
//! from 2 s after the flood on goodput and p99 are as before.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::pedantic,
    clippy::restriction,
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "a benchmark"
)]

#[path = "overload/flood.rs"]
mod flood;
#[path = "durability/load.rs"]
mod load;
#[path = "overload/paced.rs"]
mod paced;
mod rig;
#[path = "durability/server.rs"]
mod server;
#[path = "durability/ue.rs"]
mod ue;

use std::{process::ExitCode, time::Duration};

use flood::{Flood, Flooded};
use load::Load;
use paced::{Paced, Phase};
use server::{Server, Storage, pin};

/// Users that wait for an answer at a time while the capacity is measured.
const IN_FLIGHT: usize = 256;

/// How long nothing is judged after the flood.
const RECOVERY: Duration = Duration::from_secs(2);

/// How long the phases before and after the flood are.
const QUIET: Duration = Duration::from_secs(5);

struct Plan {
    time: Duration,
    users: usize,
    times: f64,
}

impl Plan {
    fn from_arguments() -> Self {
        Self {
            time: Duration::from_secs_f64(rig::number("--seconds", 30.0)),
            users: rig::number("--users", 5_000),
            times: rig::number("--times", 3.0),
        }
    }
}

fn main() -> ExitCode {
    let plan = Plan::from_arguments();
    pin(std::process::id(), 1);
    let server = Server::start(Storage::Memory);
    server.provision(2 * plan.users + flood::USERS);
    let mut load = Load::new(server.sip, plan.users);
    load.saturate(plan.users, IN_FLIGHT);
    let capacity = load.saturate_for(Duration::from_secs(3), IN_FLIGHT).rate();
    drop(load);
    println!("capacity {capacity:.0} registrations/s in a closed loop of {IN_FLIGHT}");

    let mut paced = Paced::new(server.sip, plan.users + flood::USERS, plan.users, capacity / 5.0);
    paced.run(Duration::from_secs(1));
    let before = paced.run(QUIET);
    println!("{}", Phase::HEADER);
    println!("before    {before}");
    let flood = Flood::start(server.sip, plan.users, capacity * plan.times);
    let during = paced.run(plan.time);
    let flooded = flood.stop();
    println!("during    {during}");
    let recovering = paced.run(RECOVERY);
    println!("first 2 s {recovering}");
    let after = paced.run(QUIET);
    println!("after     {after}");
    println!("{flooded}");
    println!("server    {}", server.metrics("migcore_overload").join(" "));
    println!("dropped   {}", server.metrics("migcore_dropped").join(" "));
    verdict(&before, &during, &after, [&recovering], &flooded, plan.times * capacity)
}

fn verdict(
    before: &Phase,
    during: &Phase,
    after: &Phase,
    [recovering]: [&Phase; 1],
    flooded: &Flooded,
    offered: f64,
) -> ExitCode {
    let phases = [before, during, recovering, after];
    let mut is_met = true;
    for (what, met) in [
        (
            "goodput during the flood is 80 % of that before",
            during.goodput() >= 0.8 * before.goodput(),
        ),
        (
            "nobody is told 4xx but 401",
            phases.iter().all(|it| it.wrong == 0) && flooded.wrong() == 0,
        ),
        ("goodput after it is as before", after.goodput() >= 0.99 * before.goodput()),
        ("p99 after it is as before", after.p99() <= 2 * before.p99() + Duration::from_millis(2)),
        ("the flood reached what it was to be", flooded.rate() >= 0.95 * offered),
    ] {
        println!("{}  {what}", if met { "met    " } else { "MISSED " });
        is_met &= met;
    }
    if is_met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
