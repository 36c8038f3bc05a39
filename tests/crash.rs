//! Two systems as processes are killed again and again under load: what they acknowledged is true after
//! each restart. Nothing is lost, nothing doubled, nothing resurrected.
//!
//! 10 kills; `MIGCORE_KILLS=200` makes it 200. `MIGCORE_SEED=n` repeats the draws: who is killed when, and
//! who asks for what; not how the systems interleave. `MIGCORE_USERS=n` sets the number of users.
#![cfg(feature = "node")]
#![allow(
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "test code"
)]
#![allow(clippy::disallowed_methods, reason = "a test of processes measures time")]
#![allow(unreachable_pub, reason = "modules of a test")]

mod common;
#[path = "crash/history.rs"]
mod history;
#[path = "crash/load.rs"]
mod load;
#[path = "crash/rig.rs"]
mod rig;
#[path = "crash/server.rs"]
mod server;
#[path = "crash/user.rs"]
mod user;
#[path = "crash/wire.rs"]
mod wire;

use history::Violation;
use rig::{Plan, Rig};

const KILLS: u64 = 10;
const USERS: u64 = 1_500;

#[test]
fn nothing_acknowledged_is_lost_by_kills_under_load() {
    let plan = Plan {
        seed: number("MIGCORE_SEED").unwrap_or_else(|| u64::from(std::process::id())),
        kills: number("MIGCORE_KILLS").unwrap_or(KILLS),
        users: number("MIGCORE_USERS").unwrap_or(USERS),
        planted: None,
    };
    let report = Rig::run(&plan);
    println!("{report}");
    for kind in [Violation::Lost, Violation::Doubled, Violation::Resurrected, Violation::Refused] {
        assert_eq!(report.history.count(kind), 0, "{:#?}", report.history.violations());
    }
    let counts = &report.history;
    assert!(counts.registered() > 0 && counts.allocations.get() > plan.users * 2);
    assert!(counts.releases.get() > 0 && counts.details.get() > 0);
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is no number: {value}")))
}
