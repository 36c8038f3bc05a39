//! What a partner does wrong, or not at all.

use std::time::Duration;

use super::acm_harness::*;
use migcore::{
    acm::Mode,
    api::{
        acm_client::{Answer as ClientAnswer, Request as Client},
        acm_interconnection::{
            Answer, ElementNames, Request, Response, ResultCode, TransactionKey,
        },
        acm_payload::Payload,
    },
    time::Timestamp,
};

fn offered() -> (World, TransactionKey) {
    let mut world = World::ready();
    world.put_groups(&["g1"]);
    let key = world.send(begin_for("bert", grp(&["g1"])));
    (world, key)
}

/// B says that it decided at a time of its own choice.
fn decided_at(world: &mut World, key: &TransactionKey, decided: Timestamp) {
    let response = Response {
        key: key.clone(),
        system: id("b"),
        handler_id: None,
        handler_alias: None,
        target_id: service(Side::A, "anna"),
        result: ResultCode::Received,
        text: None,
        elements: ElementNames::default(),
        decided,
    };
    let request = Request::Decided(Box::new(response));
    assert_eq!(world.post(Side::A, Some(&token("system-b")), request), Some(Answer::Stored));
    world.run();
}

#[test]
fn a_response_of_a_partner_whose_clock_is_behind_is_there_to_be_read() {
    let (mut world, key) = offered();
    decided_at(&mut world, &key, Timestamp::from_secs(1));
    world.pass(DAY);
    assert_eq!(world.result(&key), Some(ResultCode::Received));
}

#[test]
fn a_response_of_a_partner_whose_clock_is_ahead_is_forgotten_in_its_time() {
    let (mut world, key) = offered();
    decided_at(&mut world, &key, Timestamp::MAX);
    world.ask(Side::A, "anna", Client::Acknowledge(key.clone()));
    world.pass(91 * DAY);
    let gone = world.ask(Side::A, "anna", Client::Follow(key.transaction));
    assert!(matches!(gone, ClientAnswer::Refused(_)), "{gone:?}");
}

#[test]
fn a_partner_that_is_silent_is_asked_less_and_less_often() {
    let mut world = World::ready();
    world.put_groups(&["g1"]);
    world.holding = is_submission;
    world.send(begin_for("bert", grp(&["g1"])));
    world.pass(Duration::from_secs(3_600));
    assert!((10..30).contains(&world.held.len()), "asked {} times in an hour", world.held.len());
}

#[test]
fn by_rule_new_users_go_to_a_person_though_their_configuration_is_in_force() {
    let mut world = World::ready();
    world.set_mode(Mode::ByRule { rejects_difference: false });
    let configuration = Some(system_configuration("b", 1));
    let payload = Payload::AddUsers { users: users(3), configuration };
    let key = world.send(begin_for("bert", payload));
    assert_eq!(world.result(&key), None);
    let names: Vec<String> = users(3).iter().map(|user| user.as_str().to_owned()).collect();
    assert_eq!(world.fetch(Side::B, "bert", &key).differing.to_vec(), names);
}

#[test]
fn of_several_timers_that_come_at_a_time_one_is_left() {
    const HOUR: Duration = Duration::from_secs(3_600);
    let mut world = World::ready();
    world.put_groups(&["g1"]);
    for _ in 0..50 {
        let key = world.send(begin_for("bert", grp(&["g1"])));
        world.pass(HOUR);
        world.accept("bert", &key);
    }
    // Some of them have been forgotten, for which a timer came, and the next one is due soon.
    world.pass(90 * DAY - 40 * HOUR);
    for side in [Side::A, Side::B] {
        assert!(world.timers(side) < 5, "{side:?}: {} timers", world.timers(side));
    }
}
