//! Scenarios 19 to 27: provision of interconnection group IDs.

use std::sync::Mutex;

use super::acm_harness::*;
use migcore::{
    acm::KnownGroup,
    api::{
        acm_client::{Answer as ClientAnswer, Begin, Request as Client, State},
        acm_interconnection::{Answer, Request, ResultCode, TransactionKey},
        acm_management::{Answer as ManagementAnswer, Request as Manage},
        acm_payload::{Kind, Payload},
    },
    identity::McServiceGroupId,
    store::{Engine as _, Record, RecordKind},
};

fn ready() -> World {
    let mut world = World::ready();
    world.put_groups(&["g1", "g2"]);
    world
}

fn known(world: &mut World) -> Vec<(McServiceGroupId, bool)> {
    let known: Vec<KnownGroup> = world.system(Side::B).role.known_groups(&id("a"));
    known.into_iter().map(|it| (it.group, it.withdrawn)).collect()
}

fn offer(world: &mut World) -> TransactionKey {
    world.send(begin_for("bert", grp(&["g1", "g2"])))
}

#[test]
fn scenario_19_an_offer_waits_for_its_target() {
    let mut world = ready();
    let key = offer(&mut world);
    assert_eq!(world.answers.first(), Some(&Answer::Stored), "at once");
    assert_eq!(known(&mut world), [], "nobody has seen it");
    assert_eq!(world.list(Side::B, "bea"), [], "it is bert's");
    world.log_on(Side::B, "bert");
    assert_eq!(world.take_notified(Side::B, "bert").len(), 1);
    assert_eq!(world.fetch(Side::B, "bert", &key).payload, Some(grp(&["g1", "g2"])));
    world.accept("bert", &key);
    assert_eq!(world.fetch(Side::A, "anna", &key).response.unwrap().result, ResultCode::Received);
    assert_eq!(known(&mut world), [(group("g1"), false), (group("g2"), false)]);
}

#[test]
fn scenario_19_an_offer_can_be_declined() {
    let mut world = ready();
    let key = offer(&mut world);
    world.reject("bert", &key, "not ours");
    assert_eq!(world.result(&key), Some(ResultCode::Declined));
    assert_eq!(known(&mut world), []);
}

#[test]
fn scenario_20_a_target_who_is_logged_on_is_told_at_once() {
    let mut world = ready();
    world.log_on(Side::B, "bert");
    world.log_on(Side::B, "bea");
    let key = offer(&mut world);
    assert_eq!(world.list(Side::B, "bert")[0].state, State::Assigned);
    let notified = world.take_notified(Side::B, "bert");
    assert_eq!((notified.len(), notified[0].kind), (1, Kind::Groups));
    assert_eq!(world.take_notified(Side::B, "bea"), []);
    world.accept("bert", &key);
    assert_eq!(world.result(&key), Some(ResultCode::Received));
}

#[test]
fn scenario_21_only_the_home_of_a_group_offers_it() {
    let mut world = ready();
    let foreign = McServiceGroupId::parse("sip:g3@b.example").unwrap();
    let offer = begin_for("bert", Payload::Groups(vec![group("g1"), foreign.clone()]));
    let refusal = world.refused(Side::A, "anna", offer);
    assert_eq!(refusal.code, ResultCode::NotGroupHome);
    assert_eq!(refusal.elements.to_vec(), [foreign.to_string()]);
    let unknown = world.refused(Side::A, "anna", begin_for("bert", grp(&["g3"])));
    assert_eq!(unknown.code, ResultCode::UnknownGroup, "of our domain, and yet none");
    assert_eq!(world.on_link, []);
}

#[test]
fn scenario_21_the_partner_does_not_take_the_senders_word_for_it() {
    let mut world = ready();
    offer(&mut world);
    let Request::Submit(mut sent) = world.on_link[0].1.clone() else { panic!("no submission") };
    let payload = Payload::Groups(vec![McServiceGroupId::parse("sip:g3@b.example").unwrap()]);
    let of = &mut sent.envelope;
    of.transaction = "11111111-2222-4333-8444-555555555555".parse().unwrap();
    of.digest = migcore::api::acm_payload::ContentDigest::of(
        &of.originator,
        &sent.parties,
        of.revision,
        &payload,
    )
    .digest;
    sent.payload = payload.into();
    let answer = world.post(Side::B, Some(&token("system-a")), Request::Submit(sent));
    let Some(Answer::Decided(response)) = answer else { panic!("{answer:?}") };
    assert_eq!(response.result, ResultCode::NotGroupHome);
}

#[test]
fn scenario_22_a_target_that_does_not_exist_is_refused_and_nothing_of_the_request_is_stored() {
    let mut world = ready();
    let key = world.send(begin_for("mallory", grp(&["g1"])));
    assert_eq!(world.result(&key), Some(ResultCode::UnknownTargetUser));
    assert_keeps_refusal_only(&mut world, "mallory");
}

#[test]
fn scenario_23_a_target_that_is_no_administrator_is_refused() {
    let mut world = ready();
    let key = world.send(begin_for("norights", grp(&["g1"])));
    assert_eq!(world.result(&key), Some(ResultCode::NotAuthorised));
    assert_keeps_refusal_only(&mut world, "norights");
}

/// B keeps what it refused, for whom a second copy of the request comes to, but not what was in it.
fn assert_keeps_refusal_only(world: &mut World, target: &str) {
    let refused = Mutex::new(0);
    let engine = &mut world.system(Side::B).engine;
    let read = |record: Record<'_>| {
        assert!(record.kind != RecordKind::AcmPayload, "the content is kept");
        if record.kind == RecordKind::AcmIncoming {
            *refused.lock().unwrap() += 1;
            let record = String::from_utf8_lossy(record.value).into_owned();
            assert!(!record.contains("g1") && !record.contains(target), "{record}");
        }
        Ok(())
    };
    engine.replay(&read).unwrap();
    assert_eq!(*refused.lock().unwrap(), 1);
}

#[test]
fn a_refusal_holds_for_a_copy_of_the_request_that_comes_when_its_target_has_the_right() {
    let mut world = ready();
    let submission = submission_of("a", 1, grp(&["g1"]), world.now);
    let post = |world: &mut World| {
        let request = Request::Submit(Box::new(submission.clone()));
        world.post(Side::B, Some(&token("system-a")), request).unwrap()
    };
    let give = |world: &mut World, rights: &[Kind]| {
        let user = administrator(Side::B, "bert", rights);
        assert_eq!(world.manage(Side::B, Manage::PutUser(user)), ManagementAnswer::Done);
    };
    give(&mut world, &[]);
    let Answer::Decided(first) = post(&mut world) else { panic!("taken") };
    assert_eq!(first.result, ResultCode::NotAuthorised);
    give(&mut world, &Kind::ALL);
    for _ in 0..2 {
        assert_eq!(post(&mut world), Answer::Decided(first.clone()));
        assert_eq!(world.list(Side::B, "bert"), []);
        assert_eq!(known(&mut world), []);
        world.restart(Side::B);
    }
    world.pass(200 * DAY);
    let Answer::Refused(late) = post(&mut world) else { panic!("remembered") };
    assert_eq!(late.code, ResultCode::Expired);
}

#[test]
fn scenario_24_a_group_withdrawn_while_its_offer_waits_shows_so() {
    let mut world = ready();
    let key = offer(&mut world);
    let withdrawn = world.ask(Side::A, "anna", Client::WithdrawGroup(group("g1")));
    assert_eq!(withdrawn, ClientAnswer::Done);
    assert_eq!(world.fetch(Side::B, "bert", &key).withdrawn, [group("g1")]);
    world.accept("bert", &key);
    assert_eq!(known(&mut world), [(group("g1"), true), (group("g2"), false)]);
    assert_eq!(world.list(Side::A, "anna").len(), 1, "of the withdrawal nobody has to read");
    let again = world.refused(Side::A, "anna", begin_for("bert", grp(&["g1"])));
    assert_eq!(again.code, ResultCode::UnknownGroup);

    world.pass(MINUTE);
    world.put_groups(&["g1"]);
    let key = world.send(begin_for("bert", grp(&["g1"])));
    world.accept("bert", &key);
    assert_eq!(known(&mut world)[0], (group("g1"), false), "it is back");
}

#[test]
fn scenario_25_the_same_offer_twice_is_known_once() {
    let mut world = ready();
    let first = offer(&mut world);
    let second = offer(&mut world);
    assert!(first != second);
    world.accept("bert", &first);
    world.accept("bert", &second);
    assert_eq!(known(&mut world), [(group("g1"), false), (group("g2"), false)]);
    let delta = world.send(begin_for("bert", grp(&["g2"])));
    world.accept("bert", &delta);
    assert_eq!(known(&mut world).len(), 2, "the union, not the last offer");
}

#[test]
fn scenario_25_by_rule_an_offer_of_known_groups_needs_nobody() {
    let mut world = ready();
    let first = offer(&mut world);
    world.accept("bert", &first);
    world.set_mode(migcore::acm::Mode::ByRule { rejects_difference: false });
    let second = offer(&mut world);
    assert_eq!(world.result(&second), Some(ResultCode::Received));
    world.put_groups(&["g3"]);
    let third = world.send(begin_for("bert", grp(&["g2", "g3"])));
    assert_eq!(world.result(&third), None);
    assert_eq!(world.fetch(Side::B, "bert", &third).differing.to_vec(), [group("g3").to_string()]);
}

#[test]
fn scenario_26_without_interconnection_nothing_is_offered() {
    let mut world = ready();
    world.change_config(Side::A, |config| config.partners[0].interconnected = false);
    let refusal = world.refused(Side::A, "anna", begin_for("bert", grp(&["g1"])));
    assert_eq!(refusal.code, ResultCode::NoInterconnection);
    assert_eq!(world.on_link, []);

    world.change_config(Side::A, |config| config.partners[0].interconnected = true);
    world.change_config(Side::B, |config| config.partners[0].interconnected = false);
    let key = offer(&mut world);
    assert_eq!(world.result(&key), Some(ResultCode::NoInterconnection), "the partner says so, too");

    // And that stays so for a copy that comes when there is one.
    let Some((_, submission)) = world.on_link.iter().find(|it| is_submission(&it.1)).cloned()
    else {
        panic!("not sent")
    };
    world.change_config(Side::B, |config| config.partners[0].interconnected = true);
    let again = world.post(Side::B, Some(&token("system-a")), submission);
    assert!(matches!(again, Some(Answer::Decided(_))), "{again:?}");
    assert_eq!(world.list(Side::B, "bert"), []);
}

#[test]
fn scenario_27_an_empty_list_of_groups_is_refused() {
    let mut world = ready();
    let refusal = world.refused(Side::A, "anna", begin_for("bert", grp(&[])));
    assert_eq!(
        (refusal.code, &refusal.elements[..]),
        (ResultCode::InvalidData, &["groups".to_owned()][..])
    );
    let twice = world.refused(Side::A, "anna", begin_for("bert", grp(&["g1", "g1"])));
    assert_eq!(
        (twice.code, twice.elements.to_vec()),
        (ResultCode::InvalidData, vec![group("g1").to_string()])
    );
    let untargeted = Begin { ..begin(grp(&["g1"])) };
    let refusal = world.refused(Side::A, "anna", untargeted);
    assert_eq!(refusal.elements.to_vec(), ["target_id"]);
}
