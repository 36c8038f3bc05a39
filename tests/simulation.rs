//! The simulated world: both systems with their real roles under faults that follow from a seed.
//!
//! `cargo test --release --test simulation` runs 10,000 seeds; `MIGCORE_FULL=1` runs 100,000, and
//! `MIGCORE_SEED=n` one, with its whole trace.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::redundant_closure_for_method_calls,
    clippy::too_many_lines,
    clippy::wildcard_enum_match_arm,
    reason = "test code"
)]

mod seeded;

use std::time::Duration;

use migcore::{
    procedure::{Entity, migration::STEPS},
    sim::{Committing, Options, SystemId, Who, World},
    ue::State,
};
use seeded::{STORM, live_through_all};

#[test]
fn every_invariant_holds_in_every_seeded_world() {
    live_through_all(10_000, 100_000, Options::drawn);
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    let trace = |seed| {
        let mut world = World::new(seed, Options::drawn(7));
        world.live_through(STORM).unwrap();
        world.trace().clone()
    };
    let first = trace(7);
    assert!(first.lines().len() > 200, "only {} lines", first.lines().len());
    assert_eq!(first, trace(7));
    assert_ne!(first, trace(8));
}

#[test]
fn a_faultless_world_performs_the_steps_in_order_each_by_its_entity() {
    let mut world = World::new(1, Options::faultless());
    world.migrate(0).unwrap().told().expect("a pair");
    assert!(matches!(world.register(0).unwrap(), State::Registered(_)));
    assert_eq!(world.unanswered(), 0, "every request was answered");
    let mut performed: Vec<(String, Who)> =
        world.steps().iter().map(|(step, who)| (step.to_string(), *who)).collect();
    performed.dedup();
    let by = |entity| match entity {
        Entity::Ue => Who::Ue(0),
        Entity::PrimarySipDatabase | Entity::PrimaryConfigServer => Who::System(SystemId::A),
        Entity::PartnerSipDatabase | Entity::PartnerSipCore | Entity::PartnerConfigServer => {
            Who::System(SystemId::B)
        }
        other => panic!("no entity of a migration: {other:?}"),
    };
    let wanted: Vec<(String, Who)> =
        STEPS.iter().map(|row| (row.step.to_string(), by(row.by))).collect();
    assert_eq!(performed, wanted);
}

#[test]
fn a_refresh_takes_six_trips_and_one_commit() {
    let options = Options::faultless();
    let mut world = World::new(1, options.clone());
    world.migrate(0).unwrap().told().expect("a pair");
    world.register(0).unwrap();
    let (began, commits) = (world.now(), world.commits());
    world.register(0).unwrap(); // a refresh: nothing of it is done for the first time
    let took = world.now().since(began);
    // REGISTER, MAR, MAA, 401, REGISTER and 200 travel; the storage may take its time for the 200
    let travels = options.delay_min * 6;
    assert!((travels..=travels + options.commit_max * 2).contains(&took), "{took:?}");
    assert_eq!(world.commits() - commits, 1, "SQN is reserved ahead, the binding stays as it is");
}

#[test]
fn a_crash_at_any_commit_loses_nothing_that_was_acknowledged() {
    for committing in [Committing::Together, Committing::Apart] {
        crash_at_every_commit(&Options { ues: 2, committing, ..Options::faultless() });
    }
}

fn crash_at_every_commit(options: &Options) {
    const LIFE: Duration = Duration::from_secs(200);
    let mut undisturbed = World::new(3, options.clone());
    undisturbed.live_through(LIFE).unwrap();
    let commits = undisturbed.commits();
    assert!(commits > 10, "only {commits} commits: nothing to crash at");
    for number in 1..=commits {
        for seed in 3..7 {
            let mut world = World::new(seed, options.clone());
            world.crash_at_commit(number);
            if let Err(violation) = world.live_through(LIFE) {
                panic!(
                    "crash at commit {number}, seed {seed}: {violation}\n{}",
                    world.trace().tail(60)
                );
            }
        }
    }
}

#[test]
fn the_storms_hold_every_kind_of_trouble() {
    let mut missing = vec![
        "a datagram is lost",
        "a management answer is lost",
        "a configuration answer is lost",
        "a connection details request is lost",
        "a connection details answer is lost",
        "a system access request is lost",
        "a system access answer is lost",
        "connection details answer: no partner that this user may use covers the location",
        "connection details answer: the partner did not answer",
        "connection details answer: the partner refused the user",
        "connection details answer: this system cannot do it now",
        "system access answer: there is no agreement for this user",
        "system access answer: this system cannot do it now",
        "TCP connection lost",
        "the systems are separated",
        "all visits of a user are to end",
        "an inbound pair is to be revoked",
        "Diameter connection down: WatchdogTimeout",
        "Diameter connection down: TransportClosed",
        "a commit fails; the storage is closed",
        "a commit is refused; the storage is closed",
        "the storage stalls",
        "the storage does not open",
        "the process cannot start",
        "the process crashes",
        "the user holds an inbound pair already",
        "the user holds an outbound pair already",
        "management answer: not found",
        "configuration answer: storage is unavailable",
        "MAR with AUTS",
        "100 Trying",
        "503 Service Unavailable",
        "504 Server Time-out",
        "SAR TimeoutDeregistration",
        "SAR UserDeregistration",
        "note Resynchronised",
        "note SqnMovedBack",
    ];
    for seed in 0..200 {
        let mut world = World::new(seed, Options::drawn(seed));
        world.live_through(STORM).unwrap();
        let happens = |kind: &&str| world.trace().lines().iter().any(|it| it.what.contains(*kind));
        missing.retain(|kind| !happens(kind));
    }
    assert!(missing.is_empty(), "never happened: {missing:#?}");
}
