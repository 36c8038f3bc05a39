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

#[path = "crash/administration.rs"]
mod administration;
mod common;
#[path = "crash/history.rs"]
mod history;
#[path = "crash/load.rs"]
mod load;
#[path = "crash/register.rs"]
mod register;
#[path = "crash/rig.rs"]
mod rig;
#[path = "crash/server.rs"]
mod server;
#[path = "crash/stores.rs"]
mod stores;
#[path = "crash/user.rs"]
mod user;
#[path = "crash/wire.rs"]
mod wire;

use history::Violation;
use migcore::{api::migration_identity::Direction, sim::ledger::Tables};
use rig::{Plan, Rig};
use user::User;

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

/// What the checks of [`stores::check`] must find, each in tables that were right.
#[test]
fn a_falsified_store_is_noticed() {
    let seed = number("MIGCORE_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let report = Rig::run(&Plan { seed, kills: 1, users: 100, planted: None });
    let history = &report.history;
    assert_eq!(history.violations(), [""; 0]);
    let notices = |rule: &str, falsify: &dyn Fn(&mut [Tables; 2])| {
        let mut tables = report.tables.clone();
        falsify(&mut tables);
        let violations = stores::check(history, &tables);
        assert!(violations.iter().any(|it| it.rule == rule), "{rule}: {violations:?}");
    };
    let is_bound = |user: &&User| user.contacts[0].is_bound();
    let user = report.users.iter().find(is_bound).unwrap();
    let (real, inbound) = (user.real(), user.inbound().unwrap().clone());
    let lent = (Direction::Inbound, inbound.impi.clone());
    notices("an acknowledged registration is stored", &|[_, b]| {
        b.registrations.remove(&inbound.impi).unwrap();
    });
    notices("a stored registration is the latest that was acknowledged", &|[_, b]| {
        let contacts = &mut b.registrations.get_mut(&inbound.impi).unwrap().contacts;
        contacts.iter_mut().for_each(|contact| contact.cseq -= 1);
    });
    notices("an acknowledged binding is stored", &|[_, b]| {
        b.bindings.remove(&lent).unwrap();
    });
    notices("an inbound pair stands for one that its primary lent", &|[a, _]| a.bindings.clear());
    let released = report.users.iter().find_map(|user| user.released.back()).unwrap();
    notices("what was given back is not resurrected", &|[_, b]| {
        let binding = b.bindings[&lent].clone();
        b.bindings.insert((Direction::Inbound, released.impi.clone()), binding);
    });
    notices("an SQN leaves after it is reserved in storage", &|[a, _]| {
        a.subscribers.get_mut(&real.impi).unwrap().reserved_seq = 0;
    });
    let mut ledger = history.ledger(0);
    let twice = ledger.vector_left(&real.impi, 0, user.last_sqn.unwrap(), &[0; 16]);
    assert_eq!(twice.unwrap_err().rule, "no SQN leaves twice");
}

/// Three faults of which the clients see nothing until a system is killed: the rig sees each.
#[cfg(feature = "planted-bugs")]
#[test]
fn planted_faults_are_noticed() {
    let seed = number("MIGCORE_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    for planted in ["reply-before-commit", "sqn-reserved-without-commit", "release-without-commit"]
    {
        let report = Rig::run(&Plan { seed, kills: 60, users: USERS, planted: Some(planted) });
        println!("{planted}\n{report}\n{:#?}", report.history.violations());
        let untrue = [Violation::Lost, Violation::Doubled, Violation::Resurrected];
        let noticed: u64 = untrue.map(|kind| report.history.count(kind)).iter().sum();
        assert!(noticed > 0, "nothing was noticed of {planted}");
    }
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is no number: {value}")))
}
