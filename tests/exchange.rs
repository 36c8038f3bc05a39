//! What administrators exchange by ACM, in the simulated world: both systems with all their roles, one network and one
//! storage each with the faults of every seed. Every request is decided once or expires, both systems come to the same,
//! and what was accepted is in force, once and whole, and told to UEs.
//!
//! `MIGCORE_FULL=1` runs 10,000 seeds instead of 1,000, and `MIGCORE_SEED=n` one, with its whole trace.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "test code"
)]

mod seeded;

use std::time::Duration;

use migcore::{
    api::{
        acm_client::{Answer, Begin, Decision, Request},
        acm_interconnection::{TransactionId, TransactionKey},
        acm_payload::{Parties, Payload},
    },
    sim::{Committing, Options, SystemId, World},
};
use seeded::{STORM, live_through_all};

const A: SystemId = SystemId::A;
const B: SystemId = SystemId::B;

#[test]
fn whatever_happens_every_transaction_ends_once_and_both_sides_agree() {
    live_through_all(1_000, 10_000, Options::drawn_exchanging);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let trace = |seed| {
        let mut world = World::new(seed, Options::drawn_exchanging(7));
        world.live_through(STORM).unwrap();
        world.trace().clone()
    };
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7), trace(8));
}

#[test]
fn a_crash_at_any_commit_ends_every_transaction_with_one_decision() {
    const LIFE: Duration = Duration::from_secs(60);
    for committing in [Committing::Together, Committing::Apart] {
        let options = Options { committing, ..Options::exchanging() };
        let mut undisturbed = World::new(3, options.clone());
        undisturbed.live_through(LIFE).unwrap();
        let commits = undisturbed.commits();
        assert!(commits > 50, "only {commits} commits: nothing to crash at");
        for number in 1..=commits {
            let mut world = World::new(3, options.clone());
            world.crash_at_commit(number);
            if let Err(violation) = world.live_through(LIFE) {
                panic!("crash at commit {number}: {violation}\n{}", world.trace().tail(60));
            }
        }
    }
}

/// Asks as the first administrator of a system.
fn administer(world: &mut World, system: SystemId, request: Request) -> Answer {
    world.administer(system, 0, request).unwrap().expect("an answer")
}

/// A begins a transaction with B, whose first administrator it is for.
fn begin(world: &mut World, payload: Payload) -> TransactionKey {
    let parties = Parties { target_id: Some(B.administrator(0)), ..Parties::default() };
    let (destination, expires) = (B.mc_system_id(), None);
    let begin = Begin { transaction: None, destination, parties, payload, expires };
    match administer(world, A, Request::Send(Box::new(begin))) {
        Answer::Begun(transaction) => TransactionKey { origin: A.mc_system_id(), transaction },
        other => panic!("not begun: {other:?}"),
    }
}

/// A begins a transaction, B decides, and the response is back.
fn exchange(world: &mut World, payload: Payload, decision: Decision) {
    let item = begin(world, payload);
    world.run_for(Duration::from_secs(1)).unwrap();
    let decided = administer(world, B, Request::Decide { item, decision, alias: None });
    assert!(matches!(decided, Answer::Decided(_)), "{decided:?}");
    world.run_for(Duration::from_secs(1)).unwrap();
}

/// The revision of B's configuration that the UE, which is at home in A, is told now.
fn told(world: &mut World) -> u64 {
    world.migrate(0).unwrap().told().expect("connection details").configuration.revision
}

#[test]
fn an_update_that_the_partner_accepted_is_told_to_a_ue_of_its_users_that_asks_again() {
    let mut world = World::new(1, Options::exchanging());
    assert_eq!(told(&mut world), 1);
    let users = A.exchanged_users();
    let others =
        Payload::AddUsers { users: users.clone(), configuration: Some(B.configuration_with(2)) };
    exchange(&mut world, others, Decision::Accept);
    assert_eq!(told(&mut world), 1, "it is not for this one");
    let users = vec![world.user(0).unwrap().mc_service_id];
    let add = Payload::AddUsers { users: users.clone(), configuration: None };
    exchange(&mut world, add, Decision::Accept);
    let update = |revision| Payload::Update {
        users: users.clone(),
        configuration: B.configuration_with(revision),
    };
    exchange(&mut world, update(3), Decision::Reject { reason: None });
    assert_eq!(told(&mut world), 1, "rejected");
    exchange(&mut world, update(4), Decision::Accept);
    assert_eq!(told(&mut world), 4);
    world.restart(A);
    world.run_for(Duration::from_secs(2)).unwrap();
    assert_eq!(told(&mut world), 4);
}

#[test]
fn a_configuration_that_the_partner_sent_is_told_to_a_ue_that_asks_again() {
    let mut world = World::new(1, Options::exchanging());
    assert_eq!(told(&mut world), 1);
    let transaction: TransactionId = "11111111-2222-4333-8444-555555555555".parse().unwrap();
    let begin = Begin {
        transaction: Some(transaction),
        destination: A.mc_system_id(),
        parties: Parties::default(),
        payload: Payload::Configuration(B.configuration_with(5)),
        expires: None,
    };
    let begun = administer(&mut world, B, Request::Send(Box::new(begin)));
    assert_eq!(begun, Answer::Begun(transaction));
    world.run_for(Duration::from_secs(1)).unwrap();
    assert_eq!(told(&mut world), 1, "nobody has decided");
    let item = TransactionKey { origin: B.mc_system_id(), transaction };
    administer(&mut world, A, Request::Decide { item, decision: Decision::Accept, alias: None });
    world.run_for(Duration::from_secs(1)).unwrap();
    assert_eq!(told(&mut world), 5);
}

#[test]
fn the_storms_hold_every_kind_of_trouble_and_every_outcome() {
    let mut missing = vec![
        "a transaction request is lost",
        "a transaction answer is lost",
        "a client request is lost",
        "a client answer is lost",
        "ACM request: configuration",
        "ACM request: groups",
        "ACM request: groups-withdrawn",
        "ACM request: update",
        "ACM request: add-users",
        "ACM request: remove-users",
        "ACM request: please-send",
        "ACM request: cancel",
        "ACM request: pending",
        "ACM request: decided ok",
        "ACM request: decided received",
        "ACM request: decided declined",
        "ACM request: decided rejected-by-user",
        "ACM request: decided invalid-data",
        "ACM request: decided stale-revision",
        "ACM request: decided rejected-by-policy",
        "ACM request: decided ok-partial",
        "ACM answer: decided no-interconnection",
        "ACM client answer: refused no-interconnection",
        "ACM request: decided expired",
        "ACM answer: decided cancelled",
        "ACM answer: decided ok",
        "ACM client answer: refused not-authorised",
        "ACM client answer: refused conflict",
        "ACM client answer: refused stale-revision",
        "ACM client answer: already decided",
        "notification: update request pending",
        "notification: groups response pending",
        "GRP-5 a user logs off",
        "the systems are separated",
        "a commit fails; the storage is closed",
        "the process crashes",
    ];
    for seed in 0..300 {
        if missing.is_empty() {
            break;
        }
        let mut world = World::new(seed, Options::drawn_exchanging(seed));
        world.live_through(STORM).unwrap();
        let happens = |kind: &&str| world.trace().lines().iter().any(|it| it.what.contains(*kind));
        missing.retain(|kind| !happens(kind));
    }
    assert!(missing.is_empty(), "never happened: {missing:#?}");
}
