//! The configuration server between its steps: repeats, refusals, answers that do not come, failing storage.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::redundant_closure_for_method_calls,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "test code"
)]

mod config_server_harness;

use std::time::Duration;

use config_server_harness::*;
use migcore::{
    api::{
        configuration::{Request as Configure, User, Users},
        connection_details::{Answer as DetailsAnswer, Refusal},
        migration_identity::{
            Answer as ManagementAnswer, Direction, PrimaryUser, Refusal as ManagementRefusal,
            Request as Manage,
        },
        system_access::{Access, Answer as AccessAnswer, Refusal as AccessRefusal},
    },
    config_server::Config,
    identity::UserIdentity,
    outbox::{Message, Note, Undeliverable},
    store::CommitSeq,
};

#[test]
fn a_repeat_gives_the_same_pairs_and_takes_nothing_more() {
    // Scenario 49.
    let mut world = World::ready();
    world.link = Link::AnswerLost;
    assert_eq!(world.refusal(), Refusal::PartnerUnreachable);
    world.link = Link::Up;
    let first = world.details();
    assert_eq!(world.details(), first);
    assert_eq!((world.a.lent("out"), world.b.lent("in")), (1, 1));
    let pairs: Vec<&UserIdentity> = world.on_link.iter().map(|it| &it.user.identity).collect();
    assert!(pairs.iter().all(|pair| *pair == pairs[0]), "one outbound pair");
}

#[test]
fn a_definite_refusal_of_the_partner_releases_what_was_lent_for_it() {
    // Scenario 47 and its relatives.
    for (refusal, want) in [
        (AccessRefusal::NotAuthorised, Refusal::RefusedByPartner),
        (AccessRefusal::Exhausted, Refusal::Exhausted),
    ] {
        let mut world = World::ready();
        world.link = Link::Refuses(refusal);
        assert_eq!(world.refusal(), want);
        assert_eq!(world.notes, [], "{refusal:?}");
        assert_eq!(world.a.lent("out"), 0, "{refusal:?}");
        assert!(matches!(world.asked.last(), Some(Manage::ReleaseOutbound(_))), "{refusal:?}");

        world.a.put_agreement(shown("b"));
        assert_eq!(world.refusal(), want);
        match world.asked.last() {
            Some(Manage::DeleteGrant { impi, partner }) => {
                assert_eq!((impi, partner), (&real("alice").impi, &database("b")));
            }
            other => panic!("{refusal:?}: {other:?}"),
        }
    }
}

/// Whether the last thing asked of the SIP database of A takes something back.
fn is_taken_back(world: &World) -> bool {
    matches!(world.asked.last(), Some(Manage::ReleaseOutbound(_) | Manage::DeleteGrant { .. }))
}

#[test]
fn what_is_wrong_between_the_systems_takes_nothing_from_their_users() {
    for agreement in [agreement("b", Direction::Outbound), shown("b")] {
        for refusal in [
            AccessRefusal::NotAuthenticated,
            AccessRefusal::WrongSystem,
            AccessRefusal::Invalid("so"),
        ] {
            let mut world = World::ready();
            world.a.put_agreement(agreement.clone());
            world.link = Link::Refuses(refusal);
            assert_eq!(world.refusal(), Refusal::RefusedByPartner);
            let noted = matches!(world.notes[..], [Note::AccessMisconfigured { .. }]);
            assert!(noted, "{refusal:?}: {:?}", world.notes);
            assert!(!is_taken_back(&world), "{refusal:?}");
            assert_eq!(world.a.lent("out"), u64::from(agreement.hide_identities), "{refusal:?}");
        }
    }
}

#[test]
fn a_definite_refusal_takes_away_neither_what_was_used_before_nor_what_an_administrator_lent() {
    let (user, partner) = (real("alice"), database("b"));
    let bind = Manage::BindOutbound { user: user.clone(), partner: partner.clone(), allowed: None };
    let grant = Manage::PutGrant {
        user: user.clone(),
        partner: partner.clone(),
        valid_for: DAY,
        allowed: None,
    };
    let withdrawn = Manage::DeleteGrant { impi: user.impi, partner };
    for by_administrator in [false, true] {
        for (agreement, put) in [(agreement("b", Direction::Outbound), &bind), (shown("b"), &grant)]
        {
            let case = format!("{by_administrator}, hidden: {}", agreement.hide_identities);
            let mut world = World::ready();
            world.a.put_agreement(agreement.clone());
            if by_administrator {
                world.a.manage(put.clone());
            } else {
                world.details();
            }
            world.link = Link::Refuses(AccessRefusal::NotAuthorised);
            assert_eq!(world.refusal(), Refusal::RefusedByPartner, "{case}");
            assert!(!is_taken_back(&world), "{case}");
            if agreement.hide_identities {
                assert_eq!(world.a.lent("out"), 1, "{case}");
            } else {
                assert_eq!(world.a.manage(withdrawn.clone()), ManagementAnswer::Done, "{case}");
            }
        }
    }
}

#[test]
fn details_say_how_long_an_administrators_grant_lasts() {
    let mut world = World::ready();
    world.a.put_agreement(shown("b"));
    let (user, partner) = (real("alice"), database("b"));
    world.a.manage(Manage::PutGrant { user, partner, valid_for: DAY, allowed: None });
    assert_eq!(world.details().valid_until, world.a.now + DAY);
}

#[test]
fn without_a_definite_refusal_everything_is_kept() {
    for link in [Link::Down, Link::AnswerLost, Link::Refuses(AccessRefusal::Unavailable)] {
        let mut world = World::ready();
        world.link = link;
        assert_eq!(world.refusal(), Refusal::PartnerUnreachable, "{link:?}");
        assert_eq!(world.a.lent("out"), 1, "{link:?}");
        assert_eq!(world.asked.len(), if link == Link::AnswerLost { 2 } else { 1 }, "{link:?}");
        assert_eq!(world.notes, [], "{link:?}");
    }
}

#[test]
fn the_ue_is_told_of_a_refusal_only_when_the_release_is_done() {
    let refusals = [
        (ManagementAnswer::Done, Refusal::RefusedByPartner),
        (
            ManagementAnswer::Refused(ManagementRefusal::NotFound("outbound binding")),
            Refusal::RefusedByPartner,
        ),
        (ManagementAnswer::Refused(ManagementRefusal::Unavailable), Refusal::Unavailable),
    ];
    for (released, want) in refusals {
        let mut world = World::ready();
        let (request, _) = world.a.asked_by("alice", ask("alice", "b")).for_database();
        let lent = ManagementAnswer::Binding(any_binding());
        let (_, request, _) = world.a.database_answers(request, lent).for_partner();
        let no = Ok(not_here(AccessRefusal::NotAuthorised));
        let (request, release) = world.a.partner_answers(request, no).for_database();
        match release {
            Manage::ReleaseOutbound(impi) => assert_eq!(impi, real("outbound").impi),
            other => panic!("{other:?}"),
        }
        let effects = world.a.database_answers(request, released);
        assert_eq!(effects.details_answer(), refused(want));
    }
}

#[test]
fn what_its_own_database_refuses_is_no_fault_of_the_user_or_the_partner() {
    for (refusal, want, noted) in [
        (ManagementRefusal::Exhausted("outbound"), Refusal::Exhausted, false),
        (ManagementRefusal::NotFound("subscriber"), Refusal::Unavailable, true),
        (ManagementRefusal::Invalid("so"), Refusal::Unavailable, true),
        (ManagementRefusal::Full("outbound bindings"), Refusal::Unavailable, false),
        (ManagementRefusal::Unavailable, Refusal::Unavailable, false),
    ] {
        let mut a = World::ready().a;
        let (request, _) = a.asked_by("alice", ask("alice", "b")).for_database();
        let effects = a.database_answers(request, ManagementAnswer::Refused(refusal.clone()));
        assert_eq!(!effects.notes.is_empty(), noted, "{refusal:?}");
        assert_eq!(effects.details_answer(), refused(want), "{refusal:?}");
    }
}

#[test]
fn the_partner_says_what_its_database_refuses() {
    for (refusal, want) in [
        (ManagementRefusal::Exhausted("inbound"), AccessRefusal::Exhausted),
        (ManagementRefusal::Invalid("the agreement has ended"), AccessRefusal::NotAuthorised),
        (ManagementRefusal::NotFound("inbound binding"), AccessRefusal::Unavailable),
        (ManagementRefusal::Full("inbound bindings"), AccessRefusal::Unavailable),
        (ManagementRefusal::Unavailable, AccessRefusal::Unavailable),
    ] {
        let mut b = World::ready().b;
        let effects = b.access(Some(&token("system-a")), access("alice", real("alice")));
        let (request, _) = effects.for_database();
        let effects = b.database_answers(request, ManagementAnswer::Refused(refusal.clone()));
        assert_eq!(effects.access_answer(), not_here(want), "{refusal:?}");
    }
}

#[test]
fn an_agreement_that_ends_between_the_steps_8_and_10_is_no_fault_of_the_request() {
    let withdraw = Configure::DeleteAgreement(key("a", Direction::Inbound, Users::Everybody));
    for (what, change, pause) in
        [("withdrawn", Some(withdraw), Duration::ZERO), ("over", None, 365 * DAY)]
    {
        let mut b = World::ready().b;
        let effects = b.access(Some(&token("system-a")), access("alice", real("alice")));
        let (request, bind) = effects.for_database();
        if let Some(change) = change {
            b.done(change);
        }
        b.now = b.now + pause;
        let refused = b.manage(bind);
        let effects = b.database_answers(request, refused);
        assert_eq!(effects.access_answer(), not_here(AccessRefusal::NotAuthorised), "{what}");
    }
}

#[test]
fn a_request_without_server_name_is_invalid_and_asks_the_database_nothing() {
    let mut b = World::ready().b;
    let fits = access("alice", real("alice"));
    let user = PrimaryUser { server_name: String::new(), ..fits.user.clone() };
    let request = migcore::api::system_access::Request { user, ..fits };
    let effects = b.access(Some(&token("system-a")), request);
    let invalid = AccessRefusal::Invalid("server_name is empty");
    assert_eq!((effects.steps.clone(), effects.notes.len()), (migs(&[12]), 0));
    assert_eq!(effects.access_answer(), not_here(invalid));
}

#[test]
fn an_empty_inbound_pool_is_said_to_be_exhausted_until_a_pair_returns() {
    // Scenario 48.
    let mut world = World::ready();
    let mut b = System::new("b", &["a"]);
    let pool = pool_of_one("in", Direction::Inbound, "b.example");
    assert_eq!(b.manage(Manage::PutPool(pool)), ManagementAnswer::Done);
    b.put_agreement(agreement("a", Direction::Inbound));
    b.done(Configure::PutSystemConfiguration {
        system: id("b"),
        configuration: system_configuration("b", 1),
    });
    world.b = b;
    let alice = world.details();
    let bob = ask("bob", "b");
    assert_eq!(world.request(bob.clone()), refused(Refusal::Exhausted));
    assert_eq!(world.a.lent("out"), 1, "Bob's outbound pair is released, Alice's kept");
    let release = Manage::ReleaseInbound(alice.identity.impi);
    assert_eq!(world.b.manage(release), ManagementAnswer::Done);
    assert!(matches!(world.request(bob), DetailsAnswer::Details(_)));
}

#[test]
fn an_answer_that_comes_after_the_time_of_the_request_is_dropped() {
    let mut a = World::ready().a;
    let (request, _) = a.asked_by("alice", ask("alice", "b")).for_database();
    let lent = ManagementAnswer::Binding(any_binding());
    let (_, request, _) = a.database_answers(request, lent).for_partner();
    let answers = a.pass(ACCESS_TIMEOUT);
    assert_eq!(answers.len(), 1, "one answer: {answers:?}");
    for outcome in [Err(Undeliverable), Ok(not_here(AccessRefusal::NotAuthorised))] {
        assert!(a.partner_answers(request, outcome).sends.is_empty());
    }
}

#[test]
fn an_answer_of_the_wrong_kind_or_for_nothing_is_dropped() {
    let mut a = World::ready().a;
    let (request, _) = a.asked_by("alice", ask("alice", "b")).for_database();
    assert!(
        a.partner_answers(request, Err(Undeliverable)).sends.is_empty(),
        "it is for the database"
    );
    let lent = ManagementAnswer::Binding(any_binding());
    let (_, at_partner, _) = a.database_answers(request, lent.clone()).for_partner();
    assert!(a.database_answers(request, lent.clone()).sends.is_empty(), "answered already");
    assert!(a.database_answers(at_partner, lent).sends.is_empty(), "it is for the partner");
    let effects = a.partner_answers(at_partner, Err(Undeliverable));
    assert_eq!(effects.details_answer(), refused(Refusal::PartnerUnreachable));
}

#[test]
fn the_time_of_a_request_to_the_database_is_limited_too() {
    let mut a = World::ready().a;
    a.asked_by("alice", ask("alice", "b"));
    let answers = a.pass(ACCESS_TIMEOUT);
    assert!(matches!(
        answers[..],
        [migcore::outbox::Send {
            message: Message::ConnectionDetails {
                answer: DetailsAnswer::Refused(Refusal::Unavailable),
                ..
            },
            ..
        }]
    ));
    let mut b = World::ready().b;
    b.access(Some(&token("system-a")), access("alice", real("alice")));
    let answers = b.pass(ACCESS_TIMEOUT);
    assert!(matches!(
        answers[..],
        [migcore::outbox::Send {
            message: Message::SystemAccess {
                answer: AccessAnswer::Refused(AccessRefusal::Unavailable),
                ..
            },
            ..
        }]
    ));
}

#[test]
fn requests_beyond_the_maximum_are_refused_until_others_are_answered() {
    let config = World::ready().a.config;
    let mut a = System::with(Config { pending_max: 2, ..config }, "a.example");
    a.done(Configure::PutUser(user("alice")));
    a.put_agreement(agreement("b", Direction::Outbound));
    let mut waiting = Vec::new();
    for _ in 0..2 {
        waiting.push(a.asked_by("alice", ask("alice", "b")).for_database().0);
    }
    let full = a.asked_by("alice", ask("alice", "b"));
    assert!(matches!(full.notes[..], [Note::TableFull(_)]));
    assert_eq!(full.details_answer(), refused(Refusal::Unavailable));
    let gone = ManagementAnswer::Refused(ManagementRefusal::Exhausted("outbound"));
    a.database_answers(waiting.pop().unwrap(), gone);
    a.asked_by("alice", ask("alice", "b")).for_database();
}

#[test]
fn without_storage_nothing_is_served() {
    let World { mut a, mut b, .. } = World::ready();
    a.storage_available = false;
    b.storage_available = false;
    let effects = a.asked_by("alice", ask("alice", "b"));
    assert_eq!(effects.details_answer(), refused(Refusal::Unavailable));
    let effects = b.access(Some(&token("system-a")), access("alice", real("alice")));
    assert_eq!(effects.notes, []);
    assert_eq!(effects.access_answer(), not_here(AccessRefusal::Unavailable));
}

#[test]
fn every_message_waits_for_the_records_that_it_relies_on() {
    let mut a = World::ready().a;
    let written =
        a.configure(Configure::PutUser(User { class: Some("x".into()), ..user("alice") }));
    let (seq, waits) = (written.last_commit(), written.waits_for());
    assert!(seq > CommitSeq::NOTHING);
    assert_eq!(waits, seq, "the operator is told when it is durable");
    let effects = a.asked_by("alice", ask("alice", "b"));
    assert_eq!(effects.waits_for(), seq, "and so is whatever relies on the user");

    let agreed = a.configure(Configure::PutAgreement(outbound_for(Users::Class("x".into()), "b")));
    let seq = agreed.last_commit();
    let effects = a.asked_by("alice", ask("alice", "b"));
    assert_eq!(effects.waits_for(), seq, "or on the agreement");
    let (request, _) = effects.for_database();
    let effects = a.database_answers(request, ManagementAnswer::Binding(any_binding()));
    assert_eq!(effects.waits_for(), seq);
    let (_, request, _) = effects.for_partner();

    let configuration = system_configuration("b", 1);
    let put = Configure::PutSystemConfiguration { system: id("b"), configuration };
    let seq = a.configure(put).last_commit();
    let access =
        Access { identity: real("inbound"), valid_until: START + DAY, configuration: None };
    let granted = Ok(AccessAnswer::Granted(Box::new(access)));
    assert_eq!(a.partner_answers(request, granted).waits_for(), seq, "or on the configuration");
}

#[test]
fn a_refusal_for_want_of_something_waits_for_the_removal() {
    let mut a = World::ready().a;
    let (request, _) = a
        .configure(Configure::DeleteAgreement(key("b", Direction::Outbound, Users::Everybody)))
        .for_database();
    let removed = a.database_answers(request, ManagementAnswer::Done);
    let seq = removed.last_commit();
    assert_eq!(removed.waits_for(), seq);
    let effects = a.asked_by("alice", ask("alice", "b"));
    assert_eq!(effects.waits_for(), seq);
    assert_eq!(effects.details_answer(), refused(Refusal::NoPartner));

    let (request, _) = a.configure(Configure::DeleteUser(service("alice"))).for_database();
    let seq = a.database_answers(request, ManagementAnswer::Done).last_commit();
    let effects = a.asked_by("alice", ask("alice", "b"));
    assert_eq!(effects.waits_for(), seq);
    assert_eq!(effects.details_answer(), refused(Refusal::NotAuthenticated));
}

#[test]
fn a_restart_forgets_nothing_but_who_waits() {
    let mut world = World::ready();
    let first = world.details();
    let (waiting, _) = world.a.asked_by("alice", ask("alice", "b")).for_database();
    world.a.restart();
    world.b.restart();
    assert_eq!(world.details(), first);
    let lost = world.a.database_answers(waiting, ManagementAnswer::Binding(any_binding()));
    assert!(lost.sends.is_empty());
}

#[test]
fn a_lost_commit_is_forgotten_with_whoever_waits() {
    let mut world = World::ready();
    let first = world.details();
    world.a.storing = false;
    world.a.done(Configure::PutUser(User { may_migrate: false, ..user("bob") }));
    let (waiting, _) = world.a.asked_by("alice", ask("alice", "b")).for_database();
    world.a.storing = true;
    world.a.reload();
    assert!(world.a.database_answers(waiting, ManagementAnswer::Done).sends.is_empty());
    assert!(matches!(world.request(ask("bob", "b")), DetailsAnswer::Details(_)));
    assert_eq!(world.details(), first);
    assert_eq!(world.a.pass(ACCESS_TIMEOUT).len(), 0, "nobody waits any more");
}

#[test]
fn whoever_loses_leave_between_the_steps_2_and_6_gets_nowhere() {
    let mut world = World::ready();
    let (lending, bind) = world.a.asked_by("alice", ask("alice", "b")).for_database();
    let barred = Configure::PutUser(User { may_migrate: false, ..user("alice") });
    let (ending, end) = world.a.configure(barred).for_database();
    // The end of the visits overtakes the beginning of one.
    let ended = world.a.manage(end);
    let lent = world.a.manage(bind);
    assert_eq!(world.a.lent("out"), 1);
    let changed = world.a.database_answers(ending, ended);
    assert_eq!(changed.configuration_answer(), migcore::api::configuration::Answer::Done);
    let (releasing, release) = world.a.database_answers(lending, lent).for_database();
    let released = world.a.manage(release);
    let effects = world.a.database_answers(releasing, released);
    assert_eq!(effects.details_answer(), refused(Refusal::NotAuthorised));
    assert_eq!(world.a.lent("out"), 0);
}

#[test]
fn nothing_of_a_user_or_a_token_is_printed() {
    let mut world = World::ready();
    let details = world.details();
    let shown = format!("{:?} {:?} {details:?}", world.a.role, world.on_link);
    for secret in ["alice", "the-token-of"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}
