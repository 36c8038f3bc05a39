//! No partner takes up what is there for all of them.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::acm_harness::*;
use migcore::{
    acm::{Config, STRAYS_MAX},
    api::{
        acm_client::State,
        acm_interconnection::{
            Answer, ElementNames, Refusal, Request, Response, ResultCode, TransactionKey,
        },
        acm_management::{Answer as ManagementAnswer, Request as Manage},
        acm_payload::Payload,
    },
    identity::McServiceGroupId,
    store::{Engine, RecordKind},
};

/// B has C for a partner, too; of 100 each of them may take up `share`.
fn ready(share: usize) -> World {
    let mut world = World::ready();
    world.change_config(Side::B, |config| {
        config.partners.push(partner("c"));
        config.partner_share = share;
    });
    world
}

fn post(world: &mut World, letter: &str, request: Request) -> Answer {
    let answer = world.post(Side::B, Some(&token(&format!("system-{letter}"))), request);
    world.run();
    answer.expect("an answer")
}

fn submit(world: &mut World, letter: &str, number: u128, payload: Payload) -> Answer {
    let submission = submission_of(letter, number, payload, world.now);
    post(world, letter, Request::Submit(Box::new(submission)))
}

fn groups_of(letter: &str, names: std::ops::Range<u32>) -> Vec<McServiceGroupId> {
    let group = |name| McServiceGroupId::parse(&format!("sip:g{name}@{letter}.example")).unwrap();
    names.map(group).collect()
}

fn is_over_share(refusal: &Refusal) -> bool {
    refusal.code == ResultCode::Busy && refusal.text.contains("partner_share")
}

#[test]
fn a_partner_that_has_its_share_of_transactions_waits_and_another_does_not() {
    let mut world = ready(25);
    world.change_config(Side::B, |config| config.transactions_max = 8);
    world.put_groups(&["g1"]);
    let [first, _, third] = [1, 2, 3].map(|_| world.send(begin_for("bert", grp(&["g1"]))));
    let Some(Answer::Refused(refusal)) = world.answers.last() else { panic!("taken") };
    assert!(is_over_share(refusal), "{refusal:?}");
    assert_eq!(world.state(&third), State::Retrying);
    let answer = submit(&mut world, "c", 1, Payload::Groups(groups_of("c", 0..1)));
    assert_eq!(answer, Answer::Stored, "of another partner");
    // The share is taken up by what was stored, too.
    world.restart(Side::B);
    world.pass(DAY);
    assert_eq!(world.state(&third), State::Retrying);
    world.accept("bert", &first);
    world.pass(91 * DAY);
    assert_eq!(world.result(&third), Some(ResultCode::Expired), "there was no room in time");
    let later = world.send(begin_for("bert", grp(&["g1"])));
    assert_eq!(world.state(&later), State::PendingAtPartner, "the first ones are forgotten");
}

#[test]
fn what_was_refused_by_the_set_up_stays_refused_whatever_the_set_up_is_later() {
    type SetUp = fn(&mut Config);
    let foreign = || Payload::Groups(groups_of("c", 0..1));
    let many = || Payload::AddUsers { users: users(3), configuration: None };
    let cases: [(SetUp, Payload, SetUp, ResultCode); 4] = [
        (
            |_| {},
            foreign(),
            |config| config.partners[0].domains.push("c.example".to_owned()),
            ResultCode::NotGroupHome,
        ),
        (
            |config| config.partners[0].policies.usual.users_max = 2,
            many(),
            |config| config.partners[0].policies.usual.users_max = 3,
            ResultCode::InvalidData,
        ),
        (
            |config| config.partners[0].policies.usual.octets_max = 10,
            many(),
            |config| config.partners[0].policies.usual.octets_max = 10_000,
            ResultCode::InvalidData,
        ),
        (
            |config| config.partners[0].domains.clear(),
            Payload::Groups(groups_of("a", 0..1)),
            |config| config.partners[0].domains.push("a.example".to_owned()),
            ResultCode::InvalidData,
        ),
    ];
    for (number, (before, payload, after, result)) in (0..).zip(cases) {
        let mut world = ready(25);
        world.change_config(Side::B, before);
        let submission = Box::new(submission_of("a", number, payload, world.now));
        let first = post(&mut world, "a", Request::Submit(submission.clone()));
        let Answer::Decided(response) = &first else { panic!("{number}: {first:?}") };
        assert_eq!(response.result, result, "{number}");
        world.change_config(Side::B, after);
        world.pass(DAY);
        let copy = post(&mut world, "a", Request::Submit(submission.clone()));
        assert_eq!(copy, first, "{number}");
        assert_eq!(world.list(Side::B, "bert"), [], "{number}");
        // When it has expired nothing is kept of it, and a copy is refused all the same.
        world.pass(14 * DAY);
        assert_eq!(stored_incoming(&mut world), 0, "{number}");
        let late = post(&mut world, "a", Request::Submit(submission));
        let Answer::Refused(refusal) = &late else { panic!("{number}: {late:?}") };
        assert_eq!(refusal.code, ResultCode::Expired, "{number}");
    }
}

fn stored_incoming(world: &mut World) -> usize {
    let count = AtomicUsize::new(0);
    let replayed = world.system(Side::B).engine.replay(&|record| {
        let is_one = record.kind == RecordKind::AcmIncoming;
        count.fetch_add(usize::from(is_one), Ordering::Relaxed);
        Ok(())
    });
    replayed.unwrap();
    count.into_inner()
}

#[test]
fn refused_requests_take_up_no_room_of_those_that_are_not() {
    let mut world = ready(25);
    world.change_config(Side::B, |config| (config.refusals_max, config.transactions_max) = (8, 8));
    let foreign = || Payload::Groups(groups_of("b", 0..1));
    let own = |letter| Payload::Groups(groups_of(letter, 0..1));
    for number in 0..2 {
        let answer = submit(&mut world, "a", number, foreign());
        assert!(matches!(answer, Answer::Decided(_)), "{answer:?}");
    }
    for _ in 0..2 {
        let answer = submit(&mut world, "a", 2, foreign());
        let Answer::Refused(refusal) = &answer else { panic!("kept: {answer:?}") };
        assert!(is_over_share(refusal), "{refusal:?}");
        assert!(matches!(submit(&mut world, "c", 1, foreign()), Answer::Decided(_)));
        world.restart(Side::B);
    }
    // All of the partner's share of requests is left.
    for number in [3, 4] {
        assert_eq!(submit(&mut world, "a", number, own("a")), Answer::Stored);
    }
    assert_eq!(submit(&mut world, "c", 2, own("c")), Answer::Stored);
    world.pass(15 * DAY);
    assert!(matches!(submit(&mut world, "a", 5, foreign()), Answer::Decided(_)), "forgotten");
}

#[test]
fn a_partner_adds_no_more_users_than_its_share() {
    let mut world = ready(25);
    world.change_config(Side::B, |config| config.migrants_max = 8);
    let add = |count| Payload::AddUsers { users: users(count), configuration: None };
    let key = world.send(begin_for("bert", add(3)));
    world.accept("bert", &key);
    let response = world.response(&key);
    assert_eq!(response.result, ResultCode::Internal);
    assert!(response.text.unwrap().contains("partner_share"));
    world.add_users(&users(2), None);
    let remove = world.send(begin_for("bert", Payload::RemoveUsers { users: users(1) }));
    world.accept("bert", &remove);
    world.restart(Side::B);
    world.add_users(&users(1), None);
}

#[test]
fn groups_that_never_were_are_withdrawn_up_to_a_share_and_forgotten_in_their_time() {
    let mut world = ready(25);
    world.change_config(Side::B, |config| config.groups_max = 40);
    let withdraw = |letter, names| Payload::GroupsWithdrawn(groups_of(letter, names));
    for number in 0..6 {
        let first = u32::try_from(number).unwrap() * 4;
        submit(&mut world, "a", number, withdraw("a", first..first + 4));
    }
    let known = |world: &mut World, of| world.system(Side::B).role.known_groups(&id(of)).len();
    assert_eq!(known(&mut world, "a"), 8, "two lists of four are within ten");
    submit(&mut world, "c", 1, withdraw("c", 0..10));
    assert_eq!(known(&mut world, "c"), 10);
    // An offer from before the withdrawal may come as long as that can be.
    world.pass(365 * DAY);
    world.restart(Side::B);
    assert_eq!(known(&mut world, "a"), 8);
    world.pass(2 * DAY);
    assert_eq!((known(&mut world, "a"), known(&mut world, "c")), (0, 0));
    submit(&mut world, "a", 9, withdraw("a", 0..10));
    assert_eq!(known(&mut world, "a"), 10);
}

#[test]
fn a_group_that_is_there_again_is_not_forgotten() {
    let mut world = ready(25);
    submit(&mut world, "a", 1, Payload::GroupsWithdrawn(groups_of("a", 0..1)));
    world.pass(DAY);
    world.set_mode(migcore::acm::Mode::Accept);
    submit(&mut world, "a", 2, Payload::Groups(groups_of("a", 0..1)));
    world.pass(400 * DAY);
    let known = world.system(Side::B).role.known_groups(&id("a"));
    assert_eq!(known.iter().map(|it| it.withdrawn).collect::<Vec<_>>(), [false]);
}

#[test]
fn answers_to_unknown_transactions_are_kept_up_to_a_share_and_for_a_time() {
    let mut world = ready(1);
    let stray = |letter: &str, number: usize| {
        Request::Decided(Box::new(Response {
            key: TransactionKey {
                origin: id("b"),
                transaction: format!("11111111-2222-4333-8444-{number:012x}").parse().unwrap(),
            },
            system: id(letter),
            handler_id: None,
            handler_alias: None,
            target_id: service(Side::B, "bert"),
            result: ResultCode::Ok,
            text: None,
            elements: ElementNames::default(),
            decided: START,
        }))
    };
    let share = STRAYS_MAX / 100;
    for number in 0..share {
        assert_eq!(post(&mut world, "a", stray("a", number)), Answer::Stored);
    }
    world.restart(Side::B);
    let answer = post(&mut world, "a", stray("a", share));
    let Answer::Refused(refusal) = &answer else { panic!("kept: {answer:?}") };
    assert!(is_over_share(refusal), "{refusal:?}");
    assert_eq!(post(&mut world, "c", stray("c", 0)), Answer::Stored);
    let kept = |world: &mut World| match world.manage(Side::B, Manage::ListStrays { limit: 99 }) {
        ManagementAnswer::Strays(strays) => strays.len(),
        other => panic!("no strays: {other:?}"),
    };
    assert_eq!(kept(&mut world), share + 1);
    world.pass(91 * DAY);
    assert_eq!(kept(&mut world), 0);
    assert_eq!(post(&mut world, "a", stray("a", share)), Answer::Stored);
}
