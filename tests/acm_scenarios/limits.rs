//! Named maxima: what is beyond one is refused with a cause, and nothing grows.

use super::acm_harness::*;
use migcore::{
    acm::SESSIONS_OF_USER_MAX,
    api::{
        acm_client::{Answer as ClientAnswer, Request as Client, State},
        acm_interconnection::ResultCode,
        acm_payload::Payload,
    },
    outbox::Note,
};

#[test]
fn what_is_pending_is_listed_in_pages_oldest_first() {
    let mut world = World::ready();
    world.put_groups(&["g1"]);
    let mut sent = Vec::new();
    for number in 0..25 {
        // Some for bert alone, some for whoever may.
        let begin =
            if number % 3 == 0 { begin(xcfg(number + 1)) } else { begin_for("bert", grp(&["g1"])) };
        sent.push(world.send(begin));
    }
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = world.page(Side::B, "bert", after, 4);
        assert!(page.items.len() <= 4);
        listed.extend(page.items.into_iter().map(|item| item.key));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(listed, sent);
    let decided = sent.remove(1);
    world.accept("bert", &decided);
    let left: Vec<_> = world.list(Side::B, "bert").into_iter().map(|item| item.key).collect();
    assert_eq!(left, sent);
}

#[test]
fn a_restart_and_a_list_take_no_longer_with_many_items_than_they_must() {
    const COUNT: usize = 20_000;
    let mut world = World::ready();
    world.put_groups(&["g1"]);
    for _ in 0..COUNT {
        world.send(begin_for("bert", grp(&["g1"])));
    }
    world.restart(Side::B);
    world.run();
    world.log_on(Side::B, "bert");
    let notified = world.take_notified(Side::B, "bert");
    assert_eq!((notified.len(), notified[0].count), (1, COUNT as u64), "one word for all of them");
    let (mut count, mut after) = (0, None);
    loop {
        let page = world.page(Side::B, "bert", after, 1_000_000);
        assert!(page.items.len() <= 1_000);
        count += page.items.len();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(count, COUNT);
}

#[test]
fn a_partner_that_has_too_much_undecided_waits_until_there_is_room() {
    let mut world = World::ready();
    world.put_groups(&["g1"]);
    world.change_config(Side::B, |config| {
        config.partners[0].policies.usual.undecided_max = 1;
    });
    let first = world.send(begin_for("bert", grp(&["g1"])));
    let second = world.send(begin_for("bert", grp(&["g1"])));
    assert_eq!(world.state(&second), State::Retrying);
    world.pass(DAY);
    assert_eq!(world.list(Side::B, "bert").len(), 1);
    world.accept("bert", &first);
    world.pass(10 * MINUTE);
    assert_eq!(world.state(&second), State::PendingAtPartner);
}

#[test]
fn a_list_longer_than_the_partner_takes_is_refused() {
    let mut world = World::ready();
    world.change_config(Side::B, |config| config.partners[0].policies.usual.users_max = 2);
    let add = |count| Payload::AddUsers { users: users(count), configuration: None };
    let key = world.send(begin_for("bert", add(3)));
    let response = world.response(&key);
    assert_eq!(
        (response.result, response.elements.to_vec()),
        (ResultCode::InvalidData, vec!["users".to_owned()])
    );
    world.change_config(Side::B, |config| config.partners[0].policies.usual.octets_max = 100);
    let key = world.send(begin_for("bert", add(2)));
    assert_eq!(world.response(&key).elements.to_vec(), ["payload"]);
}

#[test]
fn transactions_and_clients_have_a_maximum_that_an_end_makes_room_under() {
    let mut world = World::ready();
    world.change_config(Side::A, |config| {
        config.transactions_max = 1;
        config.sessions_max = 1;
    });
    let key = world.send(begin(xcfg(1)));
    let refusal = world.refused(Side::A, "anna", begin(xcfg(2)));
    assert_eq!(refusal.code, ResultCode::Busy);
    assert!(
        world
            .notes
            .iter()
            .any(|(side, note)| { *side == Side::A && matches!(note, Note::TableFull(_)) })
    );
    let session = world.log_on(Side::A, "anna");
    let full = world.ask(Side::A, "amir", Client::LogOn);
    assert!(matches!(full, ClientAnswer::Refused(_)), "{full:?}");
    world.log_off(Side::A, "anna", session);
    world.log_on(Side::A, "amir");

    world.accept("bert", &key);
    world.ask(Side::A, "anna", Client::Acknowledge(key.clone()));
    world.pass(91 * DAY);
    let gone = world.ask(Side::A, "anna", Client::Follow(key.transaction));
    assert!(matches!(gone, ClientAnswer::Refused(_)), "forgotten: {gone:?}");
    world.send(begin(xcfg(2)));
}

#[test]
fn users_for_migration_have_a_maximum() {
    let mut world = World::ready();
    world.change_config(Side::B, |config| (config.migrants_max, config.partner_share) = (2, 100));
    let add = |count| Payload::AddUsers { users: users(count), configuration: None };
    let key = world.send(begin_for("bert", add(3)));
    world.accept("bert", &key);
    assert_eq!(world.result(&key), Some(ResultCode::Internal));
    let key = world.send(begin_for("bert", add(2)));
    world.accept("bert", &key);
    assert_eq!(world.result(&key), Some(ResultCode::Ok));
}

#[test]
fn nobody_without_a_credential_learns_anything() {
    let mut world = World::ready();
    let key = world.send(begin(xcfg(1)));
    world.log_on(Side::B, "norights");
    assert_eq!(world.list(Side::B, "norights"), []);
    for request in [Client::Fetch(key.clone()), Client::Acknowledge(key.clone())] {
        let answer = world.ask(Side::B, "norights", request);
        assert!(matches!(answer, ClientAnswer::Refused(_)), "{answer:?}");
    }
    let stranger = world.ask(Side::B, "stranger", Client::LogOn);
    assert_eq!(stranger, ClientAnswer::NotAuthenticated);
    assert_eq!(world.take_notified(Side::B, "norights"), []);
}

#[test]
fn the_oldest_log_on_of_a_user_ends_when_there_is_one_too_many() {
    let mut world = World::ready();
    let sessions: Vec<_> = (0..=SESSIONS_OF_USER_MAX)
        .map(|_| {
            world.pass(MINUTE);
            world.log_on(Side::B, "bert")
        })
        .collect();
    let oldest = Client::LogOff { session: sessions[0] };
    let gone = world.ask(Side::B, "bert", oldest);
    assert!(matches!(gone, ClientAnswer::Refused(_)), "{gone:?}");
    world.restart(Side::B);
    for session in &sessions[1..] {
        world.log_off(Side::B, "bert", *session);
    }
}
