//! What a partner does wrong, or not at all.

use std::time::Duration;

use super::acm_harness::*;
use migcore::{
    acm::Mode,
    api::{
        acm_client::{Answer as ClientAnswer, Request as Client, State},
        acm_interconnection::{
            Answer, Cancellation, ElementNames, Envelope, Request, Response, ResultCode,
            TransactionKey,
        },
        acm_payload::{Kind, Payload},
    },
    outbox::Note,
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

#[test]
fn a_cancellation_of_what_is_not_known_is_checked_as_a_request_is() {
    let mut world = World::ready();
    let good = submission_of("a", 1, xcfg(1), world.now);
    let cancel = |change: fn(&mut Envelope)| {
        let mut envelope = good.envelope.clone();
        change(&mut envelope);
        Request::Cancel(Box::new(Cancellation { envelope, kind: Kind::Configuration }))
    };
    let mut refused = |change| match world.post(Side::B, Some(&token("system-a")), cancel(change)) {
        Some(Answer::Refused(refusal)) => (refusal.code, refusal.elements.to_vec()),
        other => panic!("not refused: {other:?}"),
    };
    let invalid = |element: &str| (ResultCode::InvalidData, vec![element.to_owned()]);
    assert_eq!(refused(|it| it.destination = id("c")), invalid("destination"));
    assert_eq!(refused(|it| it.expires = it.created), invalid("expires"));
    assert_eq!(refused(|it| it.expires = it.created + 400 * DAY), invalid("expires"));
    let late = refused(|it| (it.created, it.expires) = (Timestamp::from_secs(1), START));
    assert_eq!(late.0, ResultCode::Expired);
    let foreign = cancel(|it| it.originator = service(Side::B, "bert"));
    let response = match world.post(Side::B, Some(&token("system-a")), foreign) {
        Some(Answer::Decided(response)) => response,
        other => panic!("not refused: {other:?}"),
    };
    assert_eq!((response.result, response.elements.to_vec()), invalid("originator"));
    let good = submission_of("a", 2, xcfg(1), world.now);
    let cancel = |change: fn(&mut Envelope)| {
        let mut envelope = good.envelope.clone();
        change(&mut envelope);
        Request::Cancel(Box::new(Cancellation { envelope, kind: Kind::Configuration }))
    };
    let taken = world.post(Side::B, Some(&token("system-a")), cancel(|_| {}));
    assert!(matches!(taken, Some(Answer::Decided(_))), "{taken:?}");
}

#[test]
fn a_response_that_the_partner_never_takes_is_given_up_when_the_partner_asks_no_more() {
    let mut world = World::with(|config| config.resend_max = DAY);
    world.put_groups(&["g1"]);
    let key = world.send(begin_for("bert", grp(&["g1"])));
    let after_its_end = 14 * DAY + 90 * DAY;
    world.holding = is_submission;
    // From now on A knows B by no credential.
    world.change_config(Side::A, |config| {
        config.partners[0].accepted_token = token("another").digest();
    });
    world.accept("bert", &key);
    world.pass(after_its_end - DAY);
    let state = |world: &mut World| world.fetch(Side::B, "bert", &key).summary.state;
    assert_eq!(state(&mut world), State::ResponseSent, "the partner may still ask");
    world.pass(2 * DAY);
    assert_eq!(state(&mut world), State::ResponseUndelivered);
    let note = (Side::B, Note::ResponseUndelivered { partner: id("a") });
    assert_eq!(world.notes.iter().filter(|it| **it == note).count(), 1);
    world.restart(Side::B);
    assert_eq!(state(&mut world), State::ResponseUndelivered);
    world.pass(90 * DAY);
    let gone = world.ask(Side::B, "bert", Client::Fetch(key.clone()));
    assert!(matches!(gone, ClientAnswer::Refused(_)), "{gone:?}");
}

#[test]
fn what_the_partner_may_have_does_not_end_because_the_partner_is_not_interconnected_for_a_while() {
    let mut world = World::ready();
    world.put_groups(&["g1"]);
    world.answers_to_lose = 1;
    world.holding = is_indication;
    let key = world.send(begin_for("bert", grp(&["g1"])));
    let interconnect = |world: &mut World, is: bool| {
        world.change_config(Side::B, |config| config.partners[0].interconnected = is);
    };
    interconnect(&mut world, false);
    world.pass(DAY);
    assert!(matches!(world.answers.last(), Some(Answer::Refused(_))), "{:?}", world.answers.last());
    assert_eq!((world.result(&key), world.state(&key)), (None, State::Retrying));
    // Nor because it is taken back meanwhile.
    interconnect(&mut world, true);
    world.pass(10 * MINUTE);
    assert_eq!(world.state(&key), State::PendingAtPartner);
    interconnect(&mut world, false);
    world.ask(Side::A, "anna", Client::Cancel(key.transaction));
    world.pass(DAY);
    assert_eq!((world.result(&key), world.state(&key)), (None, State::Cancelling));
    interconnect(&mut world, true);
    world.pass(10 * MINUTE);
    assert_eq!(world.result(&key), Some(ResultCode::Cancelled));
}

#[test]
fn what_never_came_or_was_refused_is_taken_back_though_the_partner_is_not_interconnected() {
    for came in [false, true] {
        let mut world = World::ready();
        world.put_groups(&["g1"]);
        world.change_config(Side::B, |config| config.partners[0].interconnected = false);
        // B hears of it and its answer is lost, or does not hear of it.
        if came {
            world.answers_to_lose = 1;
        } else {
            world.link_is_up = false;
        }
        let key = world.send(begin_for("bert", grp(&["g1"])));
        world.ask(Side::A, "anna", Client::Cancel(key.transaction));
        world.link_is_up = true;
        world.pass(DAY);
        let ended = if came { ResultCode::NoInterconnection } else { ResultCode::Cancelled };
        assert_eq!(world.result(&key), Some(ended), "came: {came}");
    }
}
