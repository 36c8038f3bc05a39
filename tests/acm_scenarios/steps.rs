//! The numbered steps of the three procedures, each in its place.

use super::acm_harness::*;
use migcore::{
    api::{
        acm_client::{Answer as ClientAnswer, Request as Client, State},
        acm_interconnection::{Answer, Request, ResultCode},
        acm_payload::Kind,
    },
    procedure::{Row, configuration_exchange, configuration_update, group_provision},
    step::{Part, Step},
};

fn taken(world: &mut World) -> Vec<Step> {
    let mut steps = std::mem::take(&mut world.steps);
    steps.dedup();
    steps
}

fn labels(steps: &[Step]) -> Vec<String> {
    steps.iter().map(ToString::to_string).collect()
}

fn of(table: &[Row]) -> Vec<Step> {
    table.iter().map(|row| row.step).collect()
}

fn xcfgs(numbers: std::ops::RangeInclusive<u8>) -> Vec<Step> {
    numbers.map(Step::xcfg).collect()
}

#[test]
fn xcfg_1_to_5_the_partner_stores_the_request_and_says_that_a_person_must_look() {
    let mut world = World::ready();
    let key = world.send(begin(xcfg(1)));
    assert_eq!(taken(&mut world), xcfgs(1..=5));
    assert_eq!(world.state(&key), State::PendingAtPartner);
    assert_eq!(world.list(Side::B, "bert")[0].state, State::WaitingForLogon);
    assert_eq!(world.answers[0], Answer::Stored, "an acknowledgement of its own");
    assert!(is_indication(&world.on_link[1].1), "and another");
}

#[test]
fn xcfg_6_to_12_the_partners_administrator_is_told_reads_and_decides() {
    let mut world = World::ready();
    let key = world.send(begin(xcfg(1)));
    taken(&mut world);
    world.log_on(Side::B, "bert");
    assert_eq!(taken(&mut world), xcfgs(6..=7));
    world.list(Side::B, "bert");
    assert_eq!(taken(&mut world), xcfgs(8..=8));
    world.fetch(Side::B, "bert", &key);
    assert_eq!(taken(&mut world), xcfgs(9..=9));
    assert_eq!(world.list(Side::B, "bert")[0].state, State::Fetched, "and still pending");
    taken(&mut world);
    world.accept("bert", &key);
    assert_eq!(taken(&mut world), xcfgs(10..=13));
}

#[test]
fn xcfg_13_to_17_the_response_waits_for_its_administrator() {
    let mut world = World::ready();
    let key = world.send(begin(xcfg(1)));
    world.accept("bert", &key);
    assert_eq!(world.state(&key), State::Responded);
    taken(&mut world);
    world.log_on(Side::A, "anna");
    assert_eq!(taken(&mut world), xcfgs(14..=15));
    world.list(Side::A, "anna");
    world.fetch(Side::A, "anna", &key);
    assert_eq!(taken(&mut world), xcfgs(16..=17));
    assert_eq!(world.state(&key), State::Delivered);
    assert_eq!(world.list(Side::A, "anna").len(), 1, "until it is acknowledged");
}

#[test]
fn every_step_of_xcfg_is_reported_in_order_and_no_other_is() {
    let mut world = World::ready();
    let key = world.send(begin(xcfg(1)));
    world.log_on(Side::B, "bert");
    world.list(Side::B, "bert");
    world.fetch(Side::B, "bert", &key);
    world.accept("bert", &key);
    world.log_on(Side::A, "anna");
    world.list(Side::A, "anna");
    world.fetch(Side::A, "anna", &key);
    assert_eq!(labels(&taken(&mut world)), labels(&of(&configuration_exchange::STEPS)));
}

#[test]
fn an_automatic_partner_skips_the_steps_of_people() {
    let mut world = World::ready();
    world.set_mode(migcore::acm::Mode::Accept);
    world.log_on(Side::A, "anna");
    taken(&mut world);
    world.send(begin(xcfg(1)));
    let wanted = [1, 2, 3, 4, 12, 13, 15].map(Step::xcfg);
    assert_eq!(taken(&mut world), wanted);
}

#[test]
fn grp_1_to_5_the_partner_stores_the_offer_and_says_so() {
    let mut world = World::ready();
    world.put_groups(&["g1"]);
    let session = world.log_on(Side::A, "anna");
    let key = world.send(begin_for("bert", grp(&["g1"])));
    let stored = Step::grp(4, Some(Part::B));
    let steps = taken(&mut world);
    assert_eq!(labels(&steps), ["GRP-1", "GRP-2", "GRP-3", "GRP-4a", "GRP-4b"]);
    assert_eq!((stored.label().as_str(), stored.part.map(Part::letter)), ("GRP-4", Some('b')));
    assert_eq!(world.answers[0], Answer::Stored);
    world.log_off(Side::A, "anna", session);
    assert_eq!(labels(&taken(&mut world)), ["GRP-5"]);
    assert_eq!(world.state(&key), State::PendingAtPartner);
}

#[test]
fn grp_6_to_10_the_target_sees_the_groups_and_answers() {
    let mut world = World::ready();
    world.put_groups(&["g1"]);
    let key = world.send(begin_for("bert", grp(&["g1"])));
    taken(&mut world);
    world.log_on(Side::B, "bert");
    assert_eq!(labels(&taken(&mut world)), ["GRP-6", "GRP-7a"]);
    world.list(Side::B, "bert");
    let item = world.fetch(Side::B, "bert", &key);
    assert_eq!(item.payload, Some(grp(&["g1"])));
    assert_eq!(labels(&taken(&mut world)), ["GRP-7b", "GRP-8"]);
    world.accept("bert", &key);
    assert_eq!(labels(&taken(&mut world)), ["GRP-9", "GRP-10", "GRP-11"]);
    assert!(matches!(&world.on_link.last().unwrap().1, Request::Decided(_)));
}

#[test]
fn grp_11_to_14_the_response_waits_for_its_administrator() {
    let mut world = World::ready();
    world.put_groups(&["g1"]);
    let key = world.send(begin_for("bert", grp(&["g1"])));
    world.accept("bert", &key);
    assert_eq!(world.state(&key), State::Responded);
    taken(&mut world);
    world.log_on(Side::A, "anna");
    world.list(Side::A, "anna");
    let read = world.fetch(Side::A, "anna", &key).response.unwrap();
    assert_eq!(read.result, ResultCode::Received);
    assert_eq!(read.target_id, service(Side::A, "anna"));
    assert_eq!(labels(&taken(&mut world)), ["GRP-12", "GRP-13a", "GRP-13b", "GRP-14"]);
}

#[test]
fn every_step_of_grp_is_reported_in_order_and_no_other_is() {
    let mut world = World::ready();
    world.put_groups(&["g1"]);
    let session = world.log_on(Side::A, "anna");
    taken(&mut world);
    let key = world.send(begin_for("bert", grp(&["g1"])));
    world.log_off(Side::A, "anna", session);
    world.log_on(Side::B, "bert");
    world.list(Side::B, "bert");
    world.fetch(Side::B, "bert", &key);
    world.accept("bert", &key);
    world.log_on(Side::A, "anna");
    world.list(Side::A, "anna");
    world.fetch(Side::A, "anna", &key);
    assert_eq!(labels(&taken(&mut world)), labels(&of(&group_provision::STEPS)));
}

/// An update of three users, begun.
fn updating() -> (World, migcore::api::acm_interconnection::TransactionKey) {
    let mut world = World::ready();
    world.add_users(&users(3), None);
    world.log_on(Side::B, "bert");
    taken(&mut world);
    world.answers.clear();
    let key = world.send(begin_for("bert", upd(&users(3), 1)));
    (world, key)
}

#[test]
fn upd_1_to_4_the_partner_stores_the_update_and_says_so() {
    let (mut world, key) = updating();
    assert_eq!(labels(&taken(&mut world)), ["UPD-1", "UPD-2", "UPD-3", "UPD-4"]);
    assert_eq!(world.answers[0], Answer::Stored, "durable first");
    assert!(is_indication(&world.on_link.last().unwrap().1), "then the indication");
    assert_eq!(world.state(&key), State::PendingAtPartner);
}

#[test]
fn upd_5_to_8_the_target_gets_the_update_and_answers() {
    let (mut world, key) = updating();
    taken(&mut world);
    let item = world.fetch(Side::B, "bert", &key);
    assert_eq!(item.payload.map(|payload| payload.users().len()), Some(3));
    assert_eq!(labels(&taken(&mut world)), ["UPD-5"]);
    let answer = world.accept("bert", &key);
    assert_eq!(answer, ClientAnswer::Decided(Some(ResultCode::Ok)));
    assert_eq!(labels(&taken(&mut world)), ["UPD-6", "UPD-7", "UPD-8", "UPD-9"]);
}

#[test]
fn upd_9_and_10_the_response_goes_back_to_who_asked() {
    let (mut world, key) = updating();
    world.log_on(Side::A, "anna");
    world.accept("bert", &key);
    let notified = world.take_notified(Side::A, "anna");
    assert_eq!(notified.last().map(|it| (it.kind, it.is_response)), Some((Kind::Update, true)));
    taken(&mut world);
    assert_eq!(world.fetch(Side::A, "anna", &key).response.unwrap().result, ResultCode::Ok);
    assert_eq!(labels(&taken(&mut world)), ["UPD-10"]);
    world.ask(Side::A, "anna", Client::Acknowledge(key.clone()));
    let states: Vec<State> = world.follow(&key).history.iter().map(|it| it.state).collect();
    assert_eq!(
        states,
        [
            State::Authorised,
            State::Sent,
            State::PendingAtPartner,
            State::Responded,
            State::Notified,
            State::Delivered,
            State::Closed
        ]
    );
}

#[test]
fn every_step_of_upd_is_reported_in_order_and_no_other_is() {
    let (mut world, key) = updating();
    world.fetch(Side::B, "bert", &key);
    world.accept("bert", &key);
    world.fetch(Side::A, "anna", &key);
    assert_eq!(labels(&taken(&mut world)), labels(&of(&configuration_update::STEPS)));
}
