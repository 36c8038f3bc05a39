//! A process killed right after any of its commits: what was not sent is lost with it, what was committed is not. Every
//! transaction still ends with one decision and one effect, on both sides.

use super::acm_harness::*;
use migcore::{
    acm::Mode,
    api::{
        acm_client::{Answer as ClientAnswer, Begin, Decision, Request as Client, State},
        acm_interconnection::{Request, Response, ResultCode, TransactionId, TransactionKey},
        acm_payload::Payload,
        migration_identity::Direction,
    },
};

/// A transaction from its begin to its end, by people and clients who try again.
struct Case {
    name: &'static str,
    begin: fn() -> Begin,
    mode: Mode,
    result: ResultCode,
}

const CASES: [Case; 6] = [
    Case {
        name: "xcfg by a person",
        begin: || begin(xcfg(5)),
        mode: Mode::Manual,
        result: ResultCode::Ok,
    },
    Case {
        name: "xcfg by policy",
        begin: || begin(xcfg(5)),
        mode: Mode::Accept,
        result: ResultCode::Ok,
    },
    Case {
        name: "xcfg by rule, rejected",
        begin: || begin(Payload::Configuration(moved("a", 5))),
        mode: Mode::ByRule { rejects_difference: true },
        result: ResultCode::RejectedByPolicy,
    },
    Case {
        name: "grp",
        begin: || begin_for("bert", grp(&["g1"])),
        mode: Mode::Manual,
        result: ResultCode::Received,
    },
    Case {
        name: "upd",
        begin: || begin_for("bert", upd(&users(3), 5)),
        mode: Mode::Manual,
        result: ResultCode::Ok,
    },
    Case {
        name: "upd by policy",
        begin: || begin_for("bert", upd(&users(3), 5)),
        mode: Mode::Accept,
        result: ResultCode::Ok,
    },
];

fn ready(case: &Case) -> World {
    let mut world = World::ready();
    world.put_groups(&["g1"]);
    world.add_users(&users(3), None);
    world.put_configuration(Side::A, Side::B, system_configuration("b", 1));
    world.put_configuration(Side::B, Side::A, system_configuration("a", 1));
    world.set_mode(case.mode);
    world.log_on(Side::B, "bert");
    world.on_link.clear();
    for side in [Side::A, Side::B] {
        world.system(side).commits = 0;
    }
    world
}

/// Runs a case to its end, and returns how many commits each side made.
fn play(case: &Case, world: &mut World) -> (u64, u64) {
    let transaction: TransactionId = "11111111-2222-4333-8444-555555555555".parse().unwrap();
    let key = key_of(Side::A, transaction);
    let begin = Begin { transaction: Some(transaction), ..(case.begin)() };
    for _ in 0..200 {
        if !has_begun(world, &begin, transaction) {
            world.pass(MINUTE);
            continue;
        }
        decide_everything(world);
        world.pass(MINUTE);
        if read_response(world, &key) {
            world.pass(30 * MINUTE);
            return (world.system(Side::A).commits, world.system(Side::B).commits);
        }
    }
    panic!("{}: never over: {:?}", case.name, world.state(&key));
}

fn has_begun(world: &mut World, begin: &Begin, transaction: TransactionId) -> bool {
    let request = Client::Send(Box::new(begin.clone()));
    let answer = world.try_ask(Side::A, "anna", request);
    world.run();
    match answer {
        Some(ClientAnswer::Begun(begun)) => begun == transaction,
        None => false,
        other => panic!("not begun: {other:?}"),
    }
}

fn decide_everything(world: &mut World) {
    let list = Client::List { after: None, limit: 100 };
    let Some(ClientAnswer::Page(page)) = world.try_ask(Side::B, "bert", list) else { return };
    for item in page.items {
        world.try_ask(Side::B, "bert", Client::Fetch(item.key.clone()));
        let decide = Client::Decide { item: item.key, decision: Decision::Accept, alias: None };
        world.try_ask(Side::B, "bert", decide);
    }
    world.run();
}

/// Reads the response if it is there; whether it has been read.
fn read_response(world: &mut World, key: &TransactionKey) -> bool {
    if world.state(key) != State::Closed {
        world.try_ask(Side::A, "anna", Client::Fetch(key.clone()));
        world.try_ask(Side::A, "anna", Client::Acknowledge(key.clone()));
        world.run();
    }
    world.state(key) == State::Closed
}

/// One decision that both sides know, and one effect.
fn check(case: &Case, world: &mut World, what: &str) {
    let key = key_of(Side::A, "11111111-2222-4333-8444-555555555555".parse().unwrap());
    let name = case.name;
    assert_eq!(world.result(&key), Some(case.result), "{name}, {what}");
    let known = world.response(&key);
    let sent: Vec<Response> = world
        .on_link
        .iter()
        .filter_map(|(_, request)| match request {
            Request::Decided(response) => Some((**response).clone()),
            _ => None,
        })
        .collect();
    assert!(!sent.is_empty() && sent.iter().all(|it| *it == known), "{name}, {what}: {sent:?}");
    let again = Client::Decide { item: key, decision: Decision::Accept, alias: None };
    let answer = world.ask(Side::B, "bert", again);
    assert_eq!(answer, ClientAnswer::AlreadyDecided(Some(Box::new(known))), "{name}, {what}");
    assert_eq!(world.list(Side::B, "bert"), [], "{name}, {what}");

    let accepted = case.result.is_accepted();
    match (case.begin)().payload {
        Payload::Configuration(configuration) => {
            let wanted = if accepted { configuration } else { system_configuration("a", 1) };
            let held = world.configuration_at(Side::B, Side::A);
            assert_eq!(held, Some(wanted), "{name}, {what}");
        }
        Payload::Update { .. } => {
            for (side, way) in [(Side::B, Direction::Inbound), (Side::A, Direction::Outbound)] {
                let other = system_id(side.other());
                for user in users(3) {
                    let held = world.system(side).role.configuration_of(way, &other, &user);
                    assert_eq!(held.map(|it| it.revision), Some(5), "{name}, {what}");
                }
            }
        }
        _ => assert_eq!(world.system(Side::B).role.known_groups(&id("a")).len(), 1),
    }
}

#[test]
fn a_process_killed_after_any_commit_ends_every_transaction_with_one_decision() {
    for case in &CASES {
        let mut world = ready(case);
        let (a, b) = play(case, &mut world);
        check(case, &mut world, "undisturbed");
        for (side, commits) in [(Side::A, a), (Side::B, b)] {
            assert!(commits >= 3, "{}: {side:?} commits {commits} times", case.name);
            for number in 1..=commits {
                let mut world = ready(case);
                world.system(side).commits_until_crash = Some(number);
                play(case, &mut world);
                assert_eq!(world.system(side).crashes, 1);
                check(case, &mut world, &format!("{side:?} killed after commit {number}"));
            }
        }
    }
}

#[test]
fn answers_lost_on_the_link_end_every_transaction_with_one_decision() {
    for case in &CASES {
        for lost in 1..=6 {
            let mut world = ready(case);
            world.answers_to_lose = lost;
            play(case, &mut world);
            check(case, &mut world, &format!("{lost} answers lost"));
        }
    }
}

#[test]
fn a_restart_tells_whoever_is_logged_on_what_is_pending() {
    let mut world = World::ready();
    world.log_on(Side::B, "bert");
    let key = world.send(begin(xcfg(1)));
    world.notified.clear();
    world.restart(Side::B);
    world.run();
    let notified = world.take_notified(Side::B, "bert");
    assert_eq!(notified.len(), 1);
    assert_eq!(notified[0].count, 1);
    world.accept("bert", &key);
    assert_eq!(world.result(&key), Some(ResultCode::Ok));
}
