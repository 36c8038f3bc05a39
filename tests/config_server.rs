//! The configuration server's steps of TR 23.781 solution 2 and what can go wrong in each.
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
        configuration::{Agreement, Request as Configure, User, Users},
        connection_details::{
            Answer as DetailsAnswer, Location, Reason, Refusal, Request as DetailsRequest,
        },
        migration_identity::{
            Answer as ManagementAnswer, Binding, Direction, PrimaryUser, Request as Manage,
        },
        system_access::{Access, Answer as AccessAnswer, Refusal as AccessRefusal},
    },
    outbox::{AcmMessage, Message, Note, RequestId, Undeliverable, UserConfigurationReply},
    step::Step,
};

#[test]
fn steps_2_to_13_follow_each_other() {
    let mut world = World::ready();
    world.migrate();
    assert_eq!(world.steps, migs(&[2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]));
    assert_eq!(world.notes, []);

    let mut world = World::ready();
    world.a.put_agreement(shown("b"));
    world.migrate();
    assert_eq!(world.steps, migs(&[2, 3, 7, 8, 9, 10, 11, 12, 13]), "4 to 6 are policy");
}

#[test]
fn step_2_lets_nobody_go_who_may_not_migrate() {
    let mut world = World::ready();
    world.a.done(Configure::PutUser(User { may_migrate: false, ..user("bob") }));
    let effects = world.a.asked_by("bob", ask("bob", "b"));
    assert_eq!(effects.steps, migs(&[2, 13]), "no choice, no allocation, no word to a partner");
    assert_eq!(effects.details_answer(), refused(Refusal::NotAuthorised));

    let effects = world.a.asked_by("alice", ask("alice", "b"));
    assert_eq!(effects.steps, migs(&[2, 3, 4]));
}

#[test]
fn step_2_tells_nobody_whether_a_user_exists() {
    let mut world = World::ready();
    world.a.done(Configure::PutUser(User { may_migrate: false, ..user("bob") }));
    for (what, token, name) in [
        ("no token", None, "alice"),
        ("another user's token", Some(token("bob")), "alice"),
        ("a user that does not exist", Some(token("mallory")), "mallory"),
        ("a user that does not exist, with another's token", Some(token("alice")), "mallory"),
        ("a user who may not migrate, with another's token", Some(token("alice")), "bob"),
    ] {
        let effects = world.a.details(token.as_ref(), ask(name, "b"));
        assert_eq!(effects.steps, migs(&[13]), "{what}");
        assert_eq!(effects.details_answer(), refused(Refusal::NotAuthenticated), "{what}");
    }
}

/// Of what an ACM server keeps for the user, what the partner sends along and what is stored of the partner, the revision
/// that the user is told.
#[test]
fn step_13_tells_a_user_what_was_confirmed_for_it_unless_the_partner_has_told_something_later() {
    for (own, sent, stored, told) in [
        (None, Some(4), Some(3), 4),
        (None, None, Some(3), 3),
        (Some(5), None, None, 5),
        (Some(5), Some(9), None, 5),
        (Some(5), Some(9), Some(3), 5),
        (Some(5), Some(9), Some(5), 5),
        (Some(5), None, Some(6), 6),
        (Some(5), Some(9), Some(6), 9),
    ] {
        let (mut a, request) = asks_the_acm_server(sent, stored);
        let own = own.map(|revision| Box::new(system_configuration("b", revision)));
        let reply = UserConfigurationReply { id: request, outcome: Ok(own) };
        let answer = a.call(|role, _, ctx| role.handle_user_configuration(ctx, reply));
        match answer.details_answer() {
            DetailsAnswer::Details(details) => assert_eq!(details.configuration.revision, told),
            DetailsAnswer::Refused(refusal) => panic!("{told}: {refusal}"),
        }
    }
}

#[test]
fn step_13_waits_for_the_acm_server_and_does_not_blame_the_partner_for_it() {
    let (mut a, request) = asks_the_acm_server(Some(4), Some(3));
    let reply = UserConfigurationReply { id: request, outcome: Err(Undeliverable) };
    let answer = a.call(|role, _, ctx| role.handle_user_configuration(ctx, reply));
    assert_eq!(answer.details_answer(), refused(Refusal::Unavailable));

    let (mut a, _) = asks_the_acm_server(Some(4), Some(3));
    let mut sends = a.pass(ACCESS_TIMEOUT);
    assert_eq!(sends.len(), 1);
    let Message::ConnectionDetails { answer, .. } = sends.remove(0).message else {
        panic!("no answer");
    };
    assert_eq!(answer, refused(Refusal::Unavailable));
}

/// The partner, of which a configuration may be stored, has granted access; the ACM server is asked.
fn asks_the_acm_server(sent: Option<u64>, stored: Option<u64>) -> (System, RequestId) {
    let mut a = World::ready().a;
    a.config.has_acm = true;
    a.restart();
    if let Some(revision) = stored {
        let configuration = system_configuration("b", revision);
        a.done(Configure::PutSystemConfiguration { system: id("b"), configuration });
    }
    let (request, _) = a.asked_by("alice", ask("alice", "b")).for_database();
    let binding = ManagementAnswer::Binding(any_binding());
    let (_, request, _) = a.database_answers(request, binding).for_partner();
    let granted = Access {
        identity: real("inbound"),
        valid_until: START + DAY,
        configuration: sent.map(|revision| system_configuration("b", revision)),
    };
    let asked = a.partner_answers(request, Ok(AccessAnswer::Granted(Box::new(granted))));
    match asked.only().message {
        Message::Acm(AcmMessage::UserConfigurationRequest { id: request, partner, user }) => {
            assert_eq!((partner, user), (id("b"), service("alice")));
            (a, request)
        }
        other => panic!("the ACM server is not asked: {other:?}"),
    }
}

/// What step 3 chose: the partner and, of the answer, the reason.
fn chosen(a: &mut System, request: &DetailsRequest) -> Result<(String, Reason), Refusal> {
    let effects = a.asked_by("alice", request.clone());
    if effects.sends.iter().any(|it| matches!(it.message, Message::ConnectionDetails { .. })) {
        match effects.details_answer() {
            DetailsAnswer::Refused(refusal) => return Err(refusal),
            DetailsAnswer::Details(details) => panic!("from nowhere: {details:?}"),
        }
    }
    let (request, _) = effects.for_database();
    let (partner, request, _) =
        a.database_answers(request, ManagementAnswer::Binding(any_binding())).for_partner();
    let granted = Access {
        identity: real("inbound"),
        valid_until: START + DAY,
        configuration: Some(system_configuration("x", 1)),
    };
    let answer = a.partner_answers(request, Ok(AccessAnswer::Granted(Box::new(granted))));
    match answer.details_answer() {
        DetailsAnswer::Details(details) => {
            assert_eq!(details.mc_system_id, partner);
            let letter = partner.as_str().trim_start_matches("sip:").split('.').next();
            Ok((letter.unwrap().to_owned(), details.reason))
        }
        DetailsAnswer::Refused(refusal) => panic!("refused: {refusal}"),
    }
}

#[test]
fn step_3_takes_the_partner_asked_for_else_one_by_location() {
    use Reason::{Location, Requested, RequestedNotAllowed};

    let mut a = World::ready().a;
    // Agreements with b and c, none with d; x is no partner at all.
    a.put_agreement(agreement("c", Direction::Outbound));
    // Scenarios 44 and 45 and their relatives.
    for (wish, strict, location, want) in [
        (None, false, "b", Ok(("b", Location))),
        (None, true, "b", Ok(("b", Location))),
        (None, false, "c", Ok(("c", Location))),
        (None, false, "d", Err(Refusal::NoPartner)),
        (None, false, "x", Err(Refusal::NoPartner)),
        (Some("b"), false, "c", Ok(("b", Requested))),
        (Some("b"), true, "x", Ok(("b", Requested))),
        (Some("d"), false, "b", Ok(("b", RequestedNotAllowed))),
        (Some("d"), true, "b", Err(Refusal::PartnerNotAllowed)),
        (Some("d"), false, "d", Err(Refusal::NoPartner)),
        (Some("x"), false, "c", Ok(("c", RequestedNotAllowed))),
        (Some("x"), true, "c", Err(Refusal::PartnerNotAllowed)),
        (Some("a"), false, "c", Ok(("c", RequestedNotAllowed))),
    ] {
        let request = DetailsRequest { partner: wish.map(id), strict, ..ask("alice", location) };
        let want = want.map(|(letter, reason)| (letter.to_owned(), reason));
        assert_eq!(chosen(&mut a, &request), want, "{wish:?}, strict {strict}, at {location}");
    }
}

#[test]
fn step_3_takes_the_smallest_area_around_the_ue_then_the_order_of_partners() {
    let partners: [(&str, Vec<Location>); 5] = [
        ("b", vec![area("20801", None, None)]),
        ("c", vec![area("20801", Some(7), None), area("26201", None, None)]),
        ("d", vec![area("20801", Some(7), Some(70)), area("20801", Some(8), None)]),
        ("e", vec![area("20801", None, Some(80)), area("20801", Some(7), None)]),
        ("f", vec![area("20801", None, None)]),
    ];
    let mut config = System::new("a", &[]).config;
    config.partners = partners
        .into_iter()
        .map(|(letter, areas)| migcore::config_server::Partner { areas, ..partner(letter) })
        .collect();
    let mut a = System::with(config, "a.example");
    a.done(Configure::PutUser(user("alice")));
    for letter in ["b", "c", "d", "e", "f"] {
        a.put_agreement(agreement(letter, Direction::Outbound));
    }
    let at = |location| DetailsRequest { location, ..ask("alice", "b") };
    for (location, want) in [
        (area("20801", None, None), Some("b")),
        (area("20801", Some(7), None), Some("c")),
        (area("20801", Some(7), Some(70)), Some("d")),
        (area("20801", Some(7), Some(80)), Some("e")),
        (area("20801", Some(7), Some(90)), Some("c")),
        (area("20801", Some(8), Some(90)), Some("d")),
        (area("20801", None, Some(70)), Some("b")),
        (area("20801", None, Some(80)), Some("e")),
        (area("20801", Some(9), None), Some("b")),
        (area("26201", Some(7), Some(70)), Some("c")),
        (area("20802", Some(7), Some(70)), None),
        (area("208001", None, None), None),
    ] {
        let want = want.map(|letter| (letter.to_owned(), Reason::Location));
        let shown = format!("{location:?}");
        assert_eq!(chosen(&mut a, &at(location)), want.ok_or(Refusal::NoPartner), "{shown}");
    }
    // A partner that the user may not use leaves the place to the next smallest area.
    a.done(Configure::DeleteAgreement(key("d", Direction::Outbound, Users::Everybody)));
    let request = at(area("20801", Some(7), Some(70)));
    assert_eq!(chosen(&mut a, &request), Ok(("c".to_owned(), Reason::Location)));
}

#[test]
fn step_3_counts_the_most_specific_agreement_that_is_in_force() {
    let mut a = World::ready().a;
    a.done(Configure::PutUser(User { class: Some("red".into()), ..user("alice") }));
    a.done(Configure::DeleteAgreement(key("b", Direction::Outbound, Users::Everybody)));
    let ends = |users, hours: u32| Agreement {
        valid_until: START + hours * HOUR,
        ..outbound_for(users, "b")
    };
    a.put_agreement(ends(Users::Everybody, 30));
    a.put_agreement(ends(Users::Class("red".into()), 20));
    a.put_agreement(ends(Users::Class("blue".into()), 50));
    a.put_agreement(ends(Users::User(service("alice")), 10));
    a.put_agreement(ends(Users::User(service("bob")), 60));
    a.put_agreement(Agreement {
        valid_from: START + 40 * HOUR,
        ..ends(Users::User(service("alice")), 45)
    });
    // The agreement of Alice alone was replaced by one that begins in 40 hours.
    let until = |hours: u32| Some(START + hours * HOUR);
    for (after, want) in [
        (0, until(20)),
        (19, until(20)),
        (20, until(30)),
        (30, None),
        (39, None),
        (40, until(45)),
        (45, None),
    ] {
        a.now = START + after * HOUR;
        let effects = a.asked_by("alice", ask("alice", "b"));
        let Some(want) = want else {
            assert_eq!(effects.details_answer(), refused(Refusal::NoPartner), "after {after} h");
            continue;
        };
        match effects.for_database().1 {
            Manage::BindOutbound { allowed: Some(allowed), .. } => {
                assert_eq!(allowed.until, want, "after {after} h");
            }
            other => panic!("after {after} h: {other:?}"),
        }
    }
}

#[test]
fn step_4_asks_for_an_outbound_pair_for_use_at_the_chosen_partner() {
    let mut a = World::ready().a;
    let allowed = allowance(&mut a, "b", Direction::Outbound);
    let effects = a.asked_by("alice", ask("alice", "b"));
    assert_eq!(effects.sends[0].step, Some(Step::mig(4)));
    match effects.for_database().1 {
        Manage::BindOutbound { user, partner, allowed: under } => {
            assert_eq!((user, partner), (real("alice"), database("b")));
            assert_eq!(under, Some(allowed));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn step_4_is_left_out_where_real_identities_are_shown_and_a_grant_takes_its_place() {
    let mut a = World::ready().a;
    for (left, want) in [(365 * DAY, 31 * DAY), (10 * DAY, 10 * DAY)] {
        a.put_agreement(Agreement { valid_until: START + left, ..shown("b") });
        let allowed = allowance(&mut a, "b", Direction::Outbound);
        let effects = a.asked_by("alice", ask("alice", "b"));
        assert_eq!(effects.steps, migs(&[2, 3]));
        match effects.for_database().1 {
            Manage::PutGrant { user, partner, valid_for, allowed: under } => {
                assert_eq!((user, partner), (real("alice"), database("b")));
                assert_eq!((valid_for, under), (want, Some(allowed)));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn step_7_asks_the_chosen_partner_under_the_pair_lent() {
    let mut world = World::ready();
    let effects = world.a.asked_by("alice", ask("alice", "b"));
    let (request, _) = effects.for_database();
    let lent = ManagementAnswer::Binding(any_binding());
    let effects = world.a.database_answers(request, lent);
    assert_eq!(effects.sends[0].step, Some(Step::mig(7)));
    let (to, _, request) = effects.for_partner();
    assert_eq!(to, id("b"));
    assert_eq!(request, access("alice", real("outbound")));
}

#[test]
fn step_7_shows_the_real_pair_only_where_the_agreement_says_so() {
    // Scenarios 42 and 43.
    let mut world = World::ready();
    world.details();
    let hidden = world.on_link.pop().unwrap().user.identity;
    assert_eq!(hidden.impi.realm(), "a.example");
    assert_ne!(hidden, real("alice"));

    world.a.put_agreement(shown("b"));
    world.details();
    assert_eq!(world.on_link.pop().unwrap().user.identity, real("alice"));
}

#[test]
fn step_8_checks_the_peer_and_then_its_user() {
    let mut b = World::ready().b;
    let mut strict = agreement("c", Direction::Inbound);
    strict.key.users = Users::User(service("carol"));
    b.put_agreement(strict);
    let fits = access("alice", real("alice"));
    let named = |letter: &str| PrimaryUser { database: database(letter), ..fits.user.clone() };
    let from_c = |name| migcore::api::system_access::Request {
        primary: id("c"),
        user: named("c"),
        ..access(name, real(name))
    };
    let wrong = Some(AccessRefusal::WrongSystem);
    let unknown = Some(AccessRefusal::NotAuthenticated);
    let (a, c, x) = (token("system-a"), token("system-c"), token("system-x"));
    for (what, token, request, want) in [
        ("as agreed", Some(&a), fits.clone(), None),
        ("no credential", None, fits.clone(), unknown),
        ("a credential of nobody", Some(&x), fits.clone(), unknown),
        ("another peer's credential", Some(&c), fits.clone(), wrong),
        (
            "a name of nobody, with a peer's credential",
            Some(&a),
            migcore::api::system_access::Request { primary: id("x"), ..fits.clone() },
            wrong,
        ),
        (
            "a name and a credential of nobody",
            Some(&x),
            migcore::api::system_access::Request { primary: id("x"), ..fits.clone() },
            unknown,
        ),
        (
            "a user of another system's database",
            Some(&a),
            migcore::api::system_access::Request { user: named("c"), ..fits.clone() },
            wrong,
        ),
        ("a user with an agreement of its own", Some(&c), from_c("carol"), None),
        ("another user", Some(&c), from_c("dave"), Some(AccessRefusal::NotAuthorised)),
    ] {
        let effects = b.access(token, request);
        let secure = matches!(effects.notes[..], [Note::PeerRefused { .. }]);
        let Some(want) = want else {
            assert_eq!(effects.steps, migs(&[8, 9]), "{what}");
            continue;
        };
        assert_eq!(secure, want != AccessRefusal::NotAuthorised, "{what}: {:?}", effects.notes);
        let steps: &[u8] = if secure { &[12] } else { &[8, 12] };
        assert_eq!(effects.steps, migs(steps), "{what}");
        assert_eq!(effects.access_answer(), not_here(want), "{what}");
    }
}

#[test]
fn step_8_lets_users_come_only_while_the_agreement_is_in_force() {
    let mut b = World::ready().b;
    b.put_agreement(Agreement {
        valid_from: START + HOUR,
        valid_until: START + 2 * HOUR,
        ..agreement("a", Direction::Inbound)
    });
    for (minutes, comes) in [(59, false), (60, true), (119, true), (120, false)] {
        b.now = START + Duration::from_secs(minutes * 60);
        let effects = b.access(Some(&token("system-a")), access("alice", real("alice")));
        assert_eq!(effects.steps.contains(&Step::mig(9)), comes, "after {minutes} minutes");
    }
}

#[test]
fn step_8_does_not_take_an_outbound_agreement_for_an_inbound_one() {
    let mut a = World::ready().a;
    let request = migcore::api::system_access::Request {
        primary: id("b"),
        mc_service_id: service("bill"),
        user: PrimaryUser { database: database("b"), ..access("bill", real("bill")).user },
    };
    let effects = a.access(Some(&token("system-b")), request);
    assert_eq!(effects.access_answer(), not_here(AccessRefusal::NotAuthorised));
}

#[test]
fn step_9_asks_for_an_inbound_pair_under_the_agreement() {
    let mut b = World::ready().b;
    let allowed = allowance(&mut b, "a", Direction::Inbound);
    let request = access("alice", real("outbound"));
    let effects = b.access(Some(&token("system-a")), request.clone());
    assert_eq!(effects.sends[0].step, Some(Step::mig(9)));
    match effects.for_database().1 {
        Manage::BindInbound { primary, allowed: under } => {
            assert_eq!(primary, request.user);
            assert_eq!(under, Some(allowed));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn step_12_grants_the_inbound_pair_with_the_configuration_of_the_system() {
    let mut world = World::ready();
    let request = access("alice", real("outbound"));
    let AccessAnswer::Granted(first) = world.admit(request.clone()) else {
        panic!("not granted");
    };
    assert_eq!(first.identity.impi.realm(), "b.example");
    assert_eq!(first.valid_until, START + 31 * DAY, "the lease of the pair");
    assert_eq!(first.configuration, Some(system_configuration("b", 3)));
    assert_eq!(world.steps, migs(&[8, 9, 10, 11, 12]));

    // The end of the agreement is the end of what is lent under it.
    world.b.put_agreement(Agreement {
        valid_until: START + 10 * DAY,
        ..agreement("a", Direction::Inbound)
    });
    let AccessAnswer::Granted(second) = world.admit(request.clone()) else {
        panic!("not granted");
    };
    assert_eq!(second.identity, first.identity);
    assert_eq!(second.valid_until, START + 10 * DAY);

    // NOTE 3: the primary has the configuration statically.
    world.b.config.hands_out_configuration = false;
    world.b.restart();
    let AccessAnswer::Granted(third) = world.admit(request) else {
        panic!("not granted");
    };
    assert_eq!((&third.identity, third.configuration), (&first.identity, None));
}

#[test]
fn step_13_answers_with_the_inbound_pair_and_the_configuration() {
    let mut world = World::ready();
    let details = world.details();
    assert_eq!(details.mc_system_id, id("b"));
    assert_eq!(details.reason, Reason::Location);
    assert_eq!(details.identity.impi.realm(), "b.example");
    assert_eq!(details.configuration, system_configuration("b", 3));
    assert_eq!(details.valid_until, START + 31 * DAY);
    assert_eq!(world.steps.last(), Some(&Step::mig(13)));
}

#[test]
fn step_13_names_the_least_of_all_ends() {
    let granted_until = |valid_until| Access {
        identity: real("inbound"),
        valid_until,
        configuration: Some(system_configuration("b", 1)),
    };
    for (agreement_ends, lent_until, partner_until) in
        [(3, 2, 1), (3, 1, 2), (2, 3, 1), (2, 1, 3), (1, 2, 3), (1, 3, 2)]
    {
        let mut a = World::ready().a;
        a.put_agreement(Agreement {
            valid_until: START + agreement_ends * DAY,
            ..agreement("b", Direction::Outbound)
        });
        let (request, _) = a.asked_by("alice", ask("alice", "b")).for_database();
        let lent = Binding { reserved_until: START + lent_until * DAY, ..any_binding() };
        let effects = a.database_answers(request, ManagementAnswer::Binding(lent));
        let (_, request, _) = effects.for_partner();
        let access = granted_until(START + partner_until * DAY);
        let granted = Ok(AccessAnswer::Granted(Box::new(access)));
        match a.partner_answers(request, granted).details_answer() {
            DetailsAnswer::Details(details) => assert_eq!(details.valid_until, START + DAY),
            DetailsAnswer::Refused(refusal) => panic!("refused: {refusal}"),
        }
    }
}

#[test]
fn step_13_takes_the_stored_configuration_where_the_partner_sends_none() {
    // Scenario 62.
    let mut world = World::ready();
    let stored = Configure::PutSystemConfiguration {
        system: id("b"),
        configuration: system_configuration("b", 2),
    };
    world.a.done(stored);
    assert_eq!(world.details().configuration.revision, 3, "what the partner sends counts");
    world.b.config.hands_out_configuration = false;
    world.b.restart();
    assert_eq!(world.details().configuration, system_configuration("b", 2));

    world.a.done(Configure::DeleteSystemConfiguration(id("b")));
    assert_eq!(world.refusal(), Refusal::NotConfigured);
    assert!(matches!(world.notes[..], [Note::AccessMisconfigured { .. }]), "{:?}", world.notes);
    assert_eq!((world.a.lent("out"), world.b.lent("in")), (1, 1), "both pairs are kept");
}

#[test]
fn step_13_does_not_pass_a_configuration_on_that_no_ue_can_use() {
    let mut world = World::ready();
    let (request, _) = world.a.asked_by("alice", ask("alice", "b")).for_database();
    let lent = ManagementAnswer::Binding(any_binding());
    let (_, request, _) = world.a.database_answers(request, lent).for_partner();
    let mut configuration = system_configuration("b", 9);
    configuration.sip_core.clear();
    let access = Access {
        identity: real("inbound"),
        valid_until: START + DAY,
        configuration: Some(configuration),
    };
    let granted = Ok(AccessAnswer::Granted(Box::new(access)));
    let effects = world.a.partner_answers(request, granted);
    assert_eq!(effects.details_answer(), refused(Refusal::NotConfigured));
}
