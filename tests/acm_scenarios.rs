//! The acceptance scenarios of the three ACM procedures, by their numbers: 1 to 18 here (common rules and the exchange of
//! initial configurations), 19 to 27 in `groups`, 28 to 41 in `updates`; the numbered steps in `steps`; a partner
//! that does wrong in `partners`, or wants too much in `shares`; log-ons and what people see in `log_ons`; a process
//! killed after each of its commits in `restarts`. Loss, repetition, disorder, partition and crash from seeds are
//! in `tests/exchange.rs`, with all roles in one simulated world.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::redundant_closure_for_method_calls,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "test code"
)]

mod acm_harness;
mod pap_password;

#[path = "acm_scenarios/agreements.rs"]
mod agreements;
#[path = "acm_scenarios/groups.rs"]
mod groups;
#[path = "acm_scenarios/limits.rs"]
mod limits;
#[path = "acm_scenarios/log_ons.rs"]
mod log_ons;
#[path = "acm_scenarios/partners.rs"]
mod partners;
#[path = "acm_scenarios/restarts.rs"]
mod restarts;
#[path = "acm_scenarios/shares.rs"]
mod shares;
#[path = "acm_scenarios/steps.rs"]
mod steps;
#[path = "acm_scenarios/updates.rs"]
mod updates;

use acm_harness::*;
use migcore::{
    acm::Mode,
    api::{
        acm_client::{Answer as ClientAnswer, Request as Client, State},
        acm_interconnection::{Answer, Request, ResultCode},
        acm_management::{Answer as ManagementAnswer, Request as Manage},
        acm_payload::{ContentDigest, Kind, Payload},
    },
    outbox::Note,
    store::{Engine, RecordKind},
    time::Timestamp,
};

/// A's configuration at revision 1, pending at B.
fn pending_at_b(world: &mut World) -> migcore::api::acm_interconnection::TransactionKey {
    let key = world.send(begin(xcfg(1)));
    assert_eq!(world.state(&key), State::PendingAtPartner);
    key
}

#[test]
fn scenario_1_a_configuration_waits_for_a_person_and_the_result_comes_back() {
    let mut world = World::ready();
    world.log_on(Side::A, "anna");
    let key = pending_at_b(&mut world);
    assert_eq!(world.arrived(is_indication), 1);
    assert_eq!(world.configuration_at(Side::B, Side::A), None, "nobody has decided");

    world.log_on(Side::B, "bert");
    let notified = world.take_notified(Side::B, "bert");
    assert_eq!(notified.len(), 1);
    assert_eq!((notified[0].kind, notified[0].count), (Kind::Configuration, 1));
    let listed = world.list(Side::B, "bert");
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].key, key);
    assert_eq!(world.fetch(Side::B, "bert", &key).payload, Some(xcfg(1)));
    world.accept("bert", &key);

    assert_eq!(world.configuration_at(Side::B, Side::A), Some(system_configuration("a", 1)));
    let notified = world.take_notified(Side::A, "anna");
    assert_eq!(notified.len(), 1);
    assert!(notified[0].is_response);
    let read = world.fetch(Side::A, "anna", &key).response.unwrap();
    assert_eq!(read.result, ResultCode::Ok);
    assert_eq!(read.handler_id, Some(service(Side::B, "bert")));
    assert_eq!(world.ask(Side::A, "anna", Client::Acknowledge(key.clone())), ClientAnswer::Done);
    assert_eq!(world.state(&key), State::Closed);
    assert_eq!(world.list(Side::A, "anna"), []);
    assert_eq!(world.list(Side::B, "bert"), []);
}

#[test]
fn scenario_2_an_automatic_partner_answers_without_any_client() {
    let mut world = World::ready();
    world.set_mode(Mode::Accept);
    let key = world.send(begin(xcfg(1)));
    assert_eq!(world.result(&key), Some(ResultCode::Ok));
    assert_eq!(world.response(&key).handler_id, None);
    assert_eq!(world.arrived(is_indication), 0, "it was never pending");
    assert_eq!(world.list(Side::B, "bert"), []);
    assert_eq!(world.configuration_at(Side::B, Side::A), Some(system_configuration("a", 1)));
}

#[test]
fn scenario_3_a_user_without_the_right_is_refused_at_home() {
    let mut world = World::ready();
    let refusal = world.refused(Side::A, "norights", begin(xcfg(1)));
    assert_eq!(refusal.code, ResultCode::NotAuthorised);
    assert_eq!(world.on_link, []);
}

#[test]
fn scenario_4_an_unknown_partner_is_refused_at_once() {
    let mut world = World::ready();
    let to_c = migcore::api::acm_client::Begin { destination: id("c"), ..begin(xcfg(1)) };
    assert_eq!(world.refused(Side::A, "anna", to_c).code, ResultCode::UnknownPartner);
}

#[test]
fn scenario_5_while_the_link_is_down_it_is_tried_again_and_then_delivered_once() {
    let mut world = World::ready();
    world.link_is_up = false;
    let key = world.send(begin(xcfg(1)));
    assert_eq!(world.state(&key), State::Retrying);
    world.pass(30 * DAY);
    assert_eq!(world.state(&key), State::Retrying, "for ever: nobody but the partner can say more");
    let attempts = world.follow(&key).attempts;
    assert!((1_000..20_000).contains(&attempts), "with pauses that grow: {attempts}");

    let mut world = World::ready();
    world.link_is_up = false;
    let key = world.send(begin(xcfg(1)));
    world.pass(DAY);
    world.link_is_up = true;
    world.pass(10 * MINUTE);
    assert_eq!(world.state(&key), State::PendingAtPartner);
    assert_eq!(world.follow(&key).attempts, 0);
    assert_eq!(world.arrived(is_submission), 1);
    assert_eq!(world.list(Side::B, "bert").len(), 1);
}

#[test]
fn scenario_6_a_rejection_leaves_what_is_in_force() {
    let mut world = World::ready();
    world.put_configuration(Side::B, Side::A, system_configuration("a", 1));
    let key = world.send(begin(Payload::Configuration(moved("a", 2))));
    let answer = world.reject("bert", &key, "not before the summer");
    assert_eq!(answer, ClientAnswer::Decided(Some(ResultCode::RejectedByUser)));
    let response = world.response(&key);
    assert_eq!(response.result, ResultCode::RejectedByUser);
    assert_eq!(response.text.as_deref(), Some("not before the summer"));
    assert_eq!(world.configuration_at(Side::B, Side::A), Some(system_configuration("a", 1)));
}

#[test]
fn scenario_7_what_nobody_decides_expires_and_a_late_decision_is_refused() {
    let mut world = World::ready();
    let key = pending_at_b(&mut world);
    world.pass(13 * DAY);
    assert_eq!(world.result(&key), None);
    world.pass(17 * DAY);
    assert_eq!(world.result(&key), Some(ResultCode::Expired));
    let ClientAnswer::AlreadyDecided(Some(response)) = world.accept("bert", &key) else {
        panic!("a late decision holds")
    };
    assert_eq!(response.result, ResultCode::Expired);
    assert_eq!(world.configuration_at(Side::B, Side::A), None);
}

#[test]
fn scenario_7_a_decision_between_expiry_and_its_timer_is_late_too() {
    let mut world = World::ready();
    let key = pending_at_b(&mut world);
    world.now = world.now + 15 * DAY;
    assert!(matches!(world.accept("bert", &key), ClientAnswer::AlreadyDecided(Some(_))));
    assert_eq!(world.result(&key), Some(ResultCode::Expired));
}

#[test]
fn scenario_8_a_request_repeated_after_a_lost_answer_meets_its_outcome() {
    let mut world = World::ready();
    world.answers_to_lose = 1;
    let key = world.send(begin(xcfg(1)));
    world.pass(MINUTE);
    assert_eq!(world.arrived(is_submission), 2);
    assert_eq!(world.list(Side::B, "bert").len(), 1, "one item");
    world.accept("bert", &key);
    let (_, submission) = world.on_link[0].clone();
    let repeated = world.post(Side::B, Some(&token("system-a")), submission);
    let Some(Answer::Decided(response)) = repeated else { panic!("{repeated:?}") };
    assert_eq!(*response, world.response(&key));
    assert_eq!(world.configured.len(), 3, "assessed, read, put: once");
}

#[test]
fn scenario_9_the_same_id_with_another_content_is_a_conflict() {
    let mut world = World::ready();
    let key = pending_at_b(&mut world);
    let Request::Submit(mut other) = world.on_link[0].1.clone() else { panic!("no submission") };
    let payload = Payload::Configuration(moved("a", 1));
    let of = &other.envelope;
    let measured = ContentDigest::of(&of.originator, &other.parties, of.revision, &payload);
    other.envelope.digest = measured.digest;
    other.payload = payload.into();
    let answer = world.post(Side::B, Some(&token("system-a")), Request::Submit(other));
    let Some(Answer::Refused(refusal)) = answer else { panic!("{answer:?}") };
    assert_eq!(refusal.code, ResultCode::Conflict);
    assert_eq!(world.notes, [(Side::B, Note::TransactionConflict { partner: id("a") })]);
    assert_eq!(world.fetch(Side::B, "bert", &key).payload, Some(xcfg(1)), "the first stays");
}

#[test]
fn scenario_10_an_older_request_that_waits_is_superseded() {
    let mut world = World::ready();
    world.put_configuration(Side::B, Side::A, system_configuration("a", 6));
    world.set_mode(Mode::ByRule { rejects_difference: false });
    let seven = world.send(begin(Payload::Configuration(moved("a", 7))));
    assert_eq!(world.state(&seven), State::PendingAtPartner);
    let eight = world.send(begin(xcfg(8)));
    assert_eq!(world.result(&eight), Some(ResultCode::Ok), "it changes nothing");

    let answer = world.accept("bert", &seven);
    let ClientAnswer::AlreadyDecided(Some(response)) = answer else { panic!("{answer:?}") };
    assert_eq!(response.result, ResultCode::StaleRevision);
    assert_eq!(world.result(&seven), Some(ResultCode::StaleRevision));
    assert_eq!(world.configuration_at(Side::B, Side::A).unwrap().revision, 8);
}

#[test]
fn scenario_10_an_operator_who_was_faster_makes_a_request_stale() {
    let mut world = World::ready();
    let key = world.send(begin(xcfg(7)));
    world.put_configuration(Side::B, Side::A, moved("a", 8));
    world.accept("bert", &key);
    assert_eq!(world.result(&key), Some(ResultCode::StaleRevision));
    assert_eq!(world.configuration_at(Side::B, Side::A), Some(moved("a", 8)));
}

#[test]
fn scenario_11_a_restart_before_the_pending_indication_sends_it_once() {
    let mut world = World::ready();
    world.system(Side::B).commits_until_crash = Some(1);
    let key = world.send(begin(xcfg(1)));
    assert_eq!(world.system(Side::B).crashes, 1);
    world.pass(10 * MINUTE);
    assert_eq!(world.arrived(is_indication), 1);
    assert_eq!(world.state(&key), State::PendingAtPartner);
    assert_eq!(world.list(Side::B, "bert").len(), 1);
}

#[test]
fn scenario_12_a_stored_response_outlives_a_restart() {
    let mut world = World::ready();
    let key = pending_at_b(&mut world);
    world.accept("bert", &key);
    assert_eq!(world.state(&key), State::Responded);
    world.restart(Side::A);
    world.run();
    world.pass(7 * DAY);
    world.log_on(Side::A, "anna");
    assert_eq!(world.take_notified(Side::A, "anna").len(), 1);
    let read = world.fetch(Side::A, "anna", &key);
    assert_eq!(read.response.unwrap().result, ResultCode::Ok);
    assert_eq!(world.arrived(is_submission), 1, "what is answered is not sent again");
}

#[test]
fn scenario_13_an_indication_after_the_response_is_ignored() {
    let mut world = World::ready();
    world.holding = is_indication;
    let key = world.send(begin(xcfg(1)));
    world.accept("bert", &key);
    assert_eq!(world.state(&key), State::Responded);
    world.release(0);
    assert_eq!(world.answers.last(), Some(&Answer::Stored), "legal, and no news");
    assert_eq!(world.state(&key), State::Responded);
}

#[test]
fn scenario_14_the_first_of_two_decisions_wins() {
    let mut world = World::ready();
    let key = pending_at_b(&mut world);
    for name in ["bert", "bea"] {
        world.log_on(Side::B, name);
        assert_eq!(world.fetch(Side::B, name, &key).payload, Some(xcfg(1)));
    }
    world.accept("bert", &key);
    world.pass(std::time::Duration::from_secs(1));
    let answer = world.reject("bea", &key, "no");
    let ClientAnswer::AlreadyDecided(Some(response)) = answer else { panic!("{answer:?}") };
    assert_eq!(response.result, ResultCode::Ok);
    assert_eq!(response.handler_id, Some(service(Side::B, "bert")));
    assert_eq!(world.result(&key), Some(ResultCode::Ok));
}

#[test]
fn scenario_14_a_decision_that_is_being_put_in_force_is_the_first_already() {
    let mut world = World::ready();
    let key = pending_at_b(&mut world);
    let accept = |key: &migcore::api::acm_interconnection::TransactionKey| Client::Decide {
        item: key.clone(),
        decision: migcore::api::acm_client::Decision::Accept,
        alias: None,
    };
    let first = world.try_ask(Side::B, "bert", accept(&key));
    let second = world.try_ask(Side::B, "bea", accept(&key));
    assert_eq!(first, Some(ClientAnswer::Decided(None)));
    assert_eq!(second, Some(ClientAnswer::AlreadyDecided(None)));
    world.run();
    assert_eq!(world.response(&key).handler_id, Some(service(Side::B, "bert")));
}

#[test]
fn scenario_15_no_system_speaks_for_another() {
    let mut world = World::ready();
    pending_at_b(&mut world);
    let (_, submission) = world.on_link[0].clone();
    let refused = Some(Answer::NotAuthenticated);
    // B's own credential, at B: a request that names A.
    world.change_config(Side::B, |config| {
        let mut third = config.partners[0].clone();
        (third.id, third.accepted_token) = (id("x"), token("system-x").digest());
        config.partners.push(third);
    });
    world.notes.clear();
    let answer = world.post(Side::B, Some(&token("system-x")), submission.clone());
    assert_eq!(answer, refused);
    let [(Side::B, Note::PeerRefused { peer: Some(peer), .. })] = &world.notes[..] else {
        panic!("a security event: {:?}", world.notes)
    };
    assert_eq!(*peer, id("x"));
    assert_eq!(world.post(Side::B, Some(&token("nobody")), submission.clone()), refused);
    assert_eq!(world.post(Side::B, None, submission), refused);
    assert_eq!(world.list(Side::B, "bert").len(), 1, "A's own, and nothing new");
}

#[test]
fn scenario_16_a_password_is_never_visible_and_its_records_are_sealed() {
    let mut world = World::ready();
    let key = world.send(begin(Payload::Configuration(with_password("a", 1))));
    world.log_on(Side::B, "bert");
    let shown = world.fetch(Side::B, "bert", &key).payload.unwrap();
    let document = shown.configuration().unwrap().document.render();
    assert!(document.contains("engine") && !document.contains(PASSWORD), "{document}");
    world.accept("bert", &key);
    let stored = world.configuration_at(Side::B, Side::A).unwrap();
    assert!(stored.document.render().contains(PASSWORD), "it is in force, with the password");
    world.fetch(Side::A, "anna", &key);
    for side in [Side::A, Side::B] {
        let system = world.system(side);
        let role = format!("{:?}", system.role);
        for text in [&system.log, &system.shown, &role] {
            assert!(!text.is_empty() && !text.contains("correct-horse"), "{side:?}");
        }
    }
    for (kind, seals) in [
        (RecordKind::AcmPayload, true),
        (RecordKind::AcmConfigurationSet, true),
        (RecordKind::AcmIncoming, true),
        (RecordKind::AcmGroup, false),
    ] {
        assert_eq!(kind.holds_secrets(), seals, "{kind:?}");
    }
}

#[test]
fn what_is_accepted_waits_for_the_configuration_server_and_the_operator_is_told() {
    let mut world = World::ready();
    let key = pending_at_b(&mut world);
    world.system(Side::B).configuration_is_lost = true;
    world.accept("bert", &key);
    let delayed = (Side::B, Note::EffectDelayed { partner: id("a") });
    let told = |world: &World| world.notes.iter().filter(|note| **note == delayed).count();
    assert_eq!((told(&world), world.result(&key)), (0, None));
    world.pass(60 * MINUTE);
    let in_an_hour = told(&world);
    assert!((8..30).contains(&in_an_hour), "asked {in_an_hour} times, less and less often");
    // Neither a restart nor the end of the request's time makes a decision undone.
    world.restart(Side::B);
    world.pass(20 * DAY);
    assert_eq!(world.result(&key), None);
    world.system(Side::B).configuration_is_lost = false;
    world.pass(DAY);
    assert_eq!(world.result(&key), Some(ResultCode::Ok));
    assert_eq!(world.configuration_at(Side::B, Side::A), Some(system_configuration("a", 1)));
    let at_the_end = told(&world);
    world.pass(DAY);
    assert_eq!(told(&world), at_the_end);
}

#[test]
fn scenario_16_only_sealed_kinds_of_records_hold_the_password() {
    let mut world = World::ready();
    world.add_users(&users(1), Some(with_password("b", 2)));
    let key = world.send(begin(Payload::Configuration(with_password("a", 1))));
    let pending = world.send(begin_for("bert", upd(&users(1), 3)));
    let mut found = 0;
    for side in [Side::A, Side::B] {
        let counted = std::sync::atomic::AtomicU32::new(0);
        world
            .system(side)
            .engine
            .replay(&|record| {
                let text = String::from_utf8_lossy(record.value);
                if text.contains(PASSWORD) {
                    assert!(record.kind.holds_secrets(), "{:?}", record.kind);
                    counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
                Ok(())
            })
            .unwrap();
        found += counted.into_inner();
    }
    assert!(found >= 4, "payloads and sets on both sides: {found}");
    assert!(key != pending);
}

#[test]
fn no_identity_of_a_person_prints() {
    let mut world = World::ready();
    world.add_users(&users(2), Some(system_configuration("b", 1)));
    let key = world.send(begin_for("bert", upd(&users(3), 2)));
    world.accept("bert", &key);
    assert_eq!(world.response(&key).elements.len(), 1, "a user is named in it");
    world.send(begin_for("mallory", upd(&users(1), 3)));
    for side in [Side::A, Side::B] {
        let system = world.system(side);
        let role = format!("{:?}", system.role);
        for text in [&system.log, &role] {
            assert!(text.contains("..@a.example"), "it says something of somebody");
            for name in ["anna@", "bert@", "user-", "mallory"] {
                assert!(!text.contains(name), "{side:?}: {name}");
            }
        }
    }
}

#[test]
fn while_the_configuration_server_is_silent_a_person_decides_and_the_effect_comes_later() {
    let mut world = World::ready();
    world.set_mode(Mode::ByRule { rejects_difference: true });
    world.system(Side::B).configuration_is_lost = true;
    let key = world.send(begin(xcfg(1)));
    assert_eq!(world.state(&key), State::Sent);
    world.pass(MINUTE);
    assert_eq!(world.state(&key), State::PendingAtPartner, "what differs is not known");
    assert_eq!(world.accept("bert", &key), ClientAnswer::Decided(None));
    world.pass(DAY);
    assert_eq!(world.result(&key), None);
    world.system(Side::B).configuration_is_lost = false;
    world.pass(10 * MINUTE);
    assert_eq!(world.result(&key), Some(ResultCode::Ok));
    assert_eq!(world.configuration_at(Side::B, Side::A), Some(system_configuration("a", 1)));
}

#[test]
fn scenario_17_what_is_invalid_is_refused_with_the_names_of_its_elements() {
    let mut world = World::ready();
    pending_at_b(&mut world);
    let Request::Submit(first) = world.on_link[0].1.clone() else { panic!("no submission") };
    let mut refused = |payload: Payload, revision: u64, fix_digest: bool| {
        let mut sent = first.clone();
        sent.envelope.transaction = "11111111-2222-4333-8444-555555555555".parse().unwrap();
        sent.envelope.revision = revision;
        if fix_digest {
            let of = &sent.envelope.originator;
            let measured = ContentDigest::of(of, &sent.parties, revision, &payload);
            sent.envelope.digest = measured.digest;
        }
        sent.payload = payload.into();
        match world.post(Side::B, Some(&token("system-a")), Request::Submit(sent)) {
            Some(Answer::Refused(refusal)) => refusal,
            other => panic!("not refused: {other:?}"),
        }
    };
    let mut no_core = system_configuration("a", 2);
    no_core.sip_core.clear();
    let no_core = Payload::Configuration(no_core);
    let foreign = Payload::Groups(vec![
        migcore::identity::McServiceGroupId::parse("sip:g@c.example").unwrap(),
    ]);
    for (what, payload, revision, fix_digest, code, elements) in [
        ("digest", xcfg(2), 2, false, ResultCode::InvalidData, vec!["digest"]),
        ("revision", xcfg(2), 3, true, ResultCode::InvalidData, vec!["configuration.revision"]),
        ("no core", no_core, 2, true, ResultCode::InvalidData, vec!["configuration.sip_core"]),
        ("no target", foreign, 2, true, ResultCode::InvalidData, vec!["target_id"]),
    ] {
        let refusal = refused(payload, revision, fix_digest);
        assert_eq!(
            (refusal.code, refusal.elements.to_vec()),
            (code, elements.iter().map(|it| (*it).to_owned()).collect()),
            "{what}"
        );
    }
    assert_eq!(world.list(Side::B, "bert").len(), 1, "nothing is parked");
}

#[test]
fn scenario_17_no_partner_acts_in_the_name_of_another_systems_user() {
    let mut world = World::ready();
    pending_at_b(&mut world);
    let Request::Submit(mut sent) = world.on_link[0].1.clone() else { panic!("no submission") };
    sent.envelope.transaction = "11111111-2222-4333-8444-555555555555".parse().unwrap();
    sent.envelope.originator = service(Side::B, "bert");
    let of = &sent.envelope;
    let measured = ContentDigest::of(&of.originator, &sent.parties, of.revision, &sent.payload);
    sent.envelope.digest = measured.digest;
    let answer = world.post(Side::B, Some(&token("system-a")), Request::Submit(sent));
    let Some(Answer::Decided(response)) = answer else { panic!("{answer:?}") };
    assert_eq!(response.result, ResultCode::InvalidData);
    assert_eq!(response.elements.to_vec(), ["originator"]);
}

#[test]
fn scenario_17_a_document_that_breaks_the_schema_is_no_request_and_its_element_is_named() {
    let mut world = World::ready();
    pending_at_b(&mut world);
    let json = serde_json::to_string(&world.on_link[0].1).unwrap();
    let broken = json.replace("<GMS-URI>", "<GMS-URL>").replace("</GMS-URI>", "</GMS-URL>");
    assert!(broken != json);
    let error = serde_json::from_str::<Request>(&broken).unwrap_err().to_string();
    assert!(error.contains("GMS-UR"), "{error}");
}

#[test]
fn scenario_18_a_response_goes_to_another_administrator_if_its_own_lost_the_right() {
    let mut world = World::ready();
    let key = pending_at_b(&mut world);
    let reduced = administrator(Side::A, "anna", &[Kind::Groups]);
    assert_eq!(world.manage(Side::A, Manage::PutUser(reduced)), ManagementAnswer::Done);
    world.log_on(Side::A, "anna");
    world.log_on(Side::A, "amir");
    world.accept("bert", &key);
    assert_eq!(world.list(Side::A, "anna"), []);
    assert!(matches!(
        world.ask(Side::A, "anna", Client::Fetch(key.clone())),
        ClientAnswer::Refused(_)
    ));
    assert_eq!(world.take_notified(Side::A, "anna"), []);
    assert_eq!(world.take_notified(Side::A, "amir").len(), 1);
    assert_eq!(world.list(Side::A, "amir").len(), 1);
    assert_eq!(world.fetch(Side::A, "amir", &key).response.unwrap().result, ResultCode::Ok);
}

#[test]
fn scenario_18_a_response_that_is_here_already_moves_when_the_right_goes() {
    let mut world = World::ready();
    let key = pending_at_b(&mut world);
    world.accept("bert", &key);
    assert_eq!(world.list(Side::A, "anna").len(), 1);
    assert_eq!(world.list(Side::A, "amir"), []);
    let gone = Manage::DeleteUser(service(Side::A, "anna"));
    assert_eq!(world.manage(Side::A, gone), ManagementAnswer::Done);
    assert_eq!(world.list(Side::A, "amir").len(), 1);
    let back = administrator(Side::A, "anna", &Kind::ALL);
    world.manage(Side::A, Manage::PutUser(back));
    assert_eq!(world.list(Side::A, "anna").len(), 1, "its own again");
    assert_eq!(world.list(Side::A, "amir"), []);
}

#[test]
fn who_lost_the_right_during_the_pause_decides_nothing() {
    let mut world = World::ready();
    let key = pending_at_b(&mut world);
    world.fetch(Side::B, "bert", &key);
    let reduced = administrator(Side::B, "bert", &[Kind::Groups]);
    world.manage(Side::B, Manage::PutUser(reduced));
    let ClientAnswer::Refused(refusal) = world.accept("bert", &key) else { panic!("decided") };
    assert_eq!(refusal.code, ResultCode::NotAuthorised);
    assert_eq!(world.result(&key), None);
    world.accept("bea", &key);
    assert_eq!(world.result(&key), Some(ResultCode::Ok));
}

#[test]
fn a_request_that_is_taken_back_is_over_on_both_sides() {
    let mut world = World::ready();
    let key = pending_at_b(&mut world);
    assert_eq!(world.ask(Side::A, "anna", Client::Cancel(key.transaction)), ClientAnswer::Done);
    assert_eq!(world.result(&key), Some(ResultCode::Cancelled));
    assert_eq!(world.list(Side::B, "bert"), []);
    let ClientAnswer::AlreadyDecided(Some(response)) = world.accept("bert", &key) else {
        panic!("decided")
    };
    assert_eq!(response.result, ResultCode::Cancelled);
    assert_eq!(world.configuration_at(Side::B, Side::A), None);
}

#[test]
fn a_cancellation_that_overtakes_its_request_holds() {
    let mut world = World::ready();
    world.holding = is_submission;
    let key = world.send(begin(xcfg(1)));
    world.ask(Side::A, "anna", Client::Cancel(key.transaction));
    assert_eq!(world.result(&key), Some(ResultCode::Cancelled));
    world.release(0);
    assert!(matches!(world.answers.last(), Some(Answer::Decided(_))), "{:?}", world.answers);
    assert_eq!(world.list(Side::B, "bert"), []);
}

#[test]
fn a_cancellation_after_the_decision_changes_nothing() {
    let mut world = World::ready();
    world.holding = is_response;
    let key = world.send(begin(xcfg(1)));
    world.accept("bert", &key);
    assert_eq!(world.result(&key), None, "the response is under way");
    world.ask(Side::A, "anna", Client::Cancel(key.transaction));
    assert_eq!(world.result(&key), Some(ResultCode::Ok), "the partner had decided");
}

#[test]
fn an_answer_to_an_unknown_transaction_is_kept_for_the_operator() {
    let mut world = World::ready();
    world.holding = is_response;
    let key = world.send(begin(xcfg(1)));
    world.accept("bert", &key);
    let (_, Request::Decided(mut response)) = world.held.remove(0) else { panic!("no response") };
    response.key.transaction = "11111111-2222-4333-8444-555555555555".parse().unwrap();
    let answer = world.post(Side::A, Some(&token("system-b")), Request::Decided(response.clone()));
    assert_eq!(answer, Some(Answer::Stored));
    world.restart(Side::A);
    let ManagementAnswer::Strays(strays) = world.manage(Side::A, Manage::ListStrays { limit: 9 })
    else {
        panic!("no strays")
    };
    assert_eq!(strays.len(), 1);
    assert_eq!(strays[0].response, *response);
    assert_eq!(world.notes, [(Side::A, Note::StrayResponse { partner: id("b") })]);
}

#[test]
fn a_duplicate_response_does_not_flip_the_stored_result() {
    let mut world = World::ready();
    let key = pending_at_b(&mut world);
    world.accept("bert", &key);
    let mut response = world.response(&key);
    response.result = ResultCode::RejectedByUser;
    let request = Request::Decided(Box::new(response));
    assert_eq!(world.post(Side::A, Some(&token("system-b")), request), Some(Answer::Stored));
    assert_eq!(world.result(&key), Some(ResultCode::Ok));
}

#[test]
fn a_client_that_repeats_its_request_begins_no_second_transaction() {
    let mut world = World::ready();
    let transaction = "11111111-2222-4333-8444-555555555555".parse().unwrap();
    for payload in [xcfg(1), Payload::PleaseSend] {
        let named = migcore::api::acm_client::Begin {
            transaction: Some(transaction),
            ..begin(payload.clone())
        };
        if payload == Payload::PleaseSend {
            assert_eq!(world.refused(Side::A, "anna", named).code, ResultCode::Conflict);
            continue;
        }
        let first = world.send(named.clone());
        world.pass(MINUTE);
        assert_eq!(world.send(named), first);
    }
    assert_eq!(world.arrived(is_submission), 1);
    let older = world.refused(Side::A, "anna", begin(xcfg(1)));
    assert_eq!(older.code, ResultCode::StaleRevision, "another one of the same revision");
}

#[test]
fn a_request_repeated_to_another_partner_is_another_request() {
    let mut world = World::ready();
    world.change_config(Side::A, |config| config.partners.push(partner("c")));
    let transaction = "11111111-2222-4333-8444-555555555555".parse().unwrap();
    let to_b = migcore::api::acm_client::Begin { transaction: Some(transaction), ..begin(xcfg(1)) };
    let to_c = migcore::api::acm_client::Begin { destination: id("c"), ..to_b.clone() };
    world.send(to_b);
    assert_eq!(world.refused(Side::A, "anna", to_c).code, ResultCode::Conflict);
}

#[test]
fn of_two_configurations_put_in_force_at_a_time_the_older_one_is_stale() {
    let mut world = World::ready();
    let older = world.send(begin(xcfg(7)));
    let newer = world.send(begin(Payload::Configuration(moved("a", 8))));
    for key in [&newer, &older] {
        let decision = migcore::api::acm_client::Decision::Accept;
        let decide = Client::Decide { item: key.clone(), decision, alias: None };
        world.try_ask(Side::B, "bert", decide);
    }
    world.run();
    assert_eq!(world.result(&newer), Some(ResultCode::Ok));
    assert_eq!(world.result(&older), Some(ResultCode::StaleRevision));
    assert_eq!(world.configuration_at(Side::B, Side::A), Some(moved("a", 8)));
    assert!(!world.notes.iter().any(|(_, note)| matches!(note, Note::AccessMisconfigured { .. })));
}

#[test]
fn a_system_sends_its_configuration_when_it_is_asked_to_and_allows_that() {
    let mut world = World::ready();
    let key = world.send(begin(Payload::PleaseSend));
    assert_eq!(world.result(&key), Some(ResultCode::RejectedByPolicy), "off by default");

    world.change_config(Side::B, |config| {
        config.answers_pull = Some(service(Side::B, "bert"));
    });
    let key = world.send(begin(Payload::PleaseSend));
    world.accept("bea", &key);
    assert_eq!(world.result(&key), Some(ResultCode::Ok));
    let listed = world.list(Side::A, "anna");
    let request = listed.iter().find(|it| it.kind == Kind::Configuration).expect("B's own");
    assert_eq!(request.originator, service(Side::B, "bea"), "in the name of who agreed");
    let decide = Client::Decide {
        item: request.key.clone(),
        decision: migcore::api::acm_client::Decision::Accept,
        alias: None,
    };
    world.ask(Side::A, "anna", decide);
    assert_eq!(world.configuration_at(Side::A, Side::B), Some(system_configuration("b", 1)));
}

#[test]
fn a_request_may_not_expire_before_it_begins_or_after_a_year() {
    let mut world = World::ready();
    for expires in [START, Timestamp::from_secs(0), START + 400 * DAY] {
        let refused = migcore::api::acm_client::Begin { expires: Some(expires), ..begin(xcfg(1)) };
        let refusal = world.refused(Side::A, "anna", refused);
        assert_eq!(
            (refusal.code, &refusal.elements[..]),
            (ResultCode::InvalidData, &["expires".to_owned()][..])
        );
    }
}
