//! Migrations of one user that are under way at once: what one is told, another must not have released.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::redundant_closure_for_method_calls,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "test code"
)]

mod config_server_harness;

use config_server_harness::*;
use migcore::{
    api::{
        configuration::{Agreement, Request as Configure, User, Users},
        connection_details::{Answer as DetailsAnswer, Refusal},
        migration_identity::{
            Answer as ManagementAnswer, Direction, Refusal as ManagementRefusal, Request as Manage,
        },
        system_access::{Access, Answer as AccessAnswer, Refusal as AccessRefusal},
    },
    config_server::Config,
    identity::UserIdentity,
    outbox::{RequestId, Undeliverable},
};

fn refused(refusal: Refusal) -> DetailsAnswer {
    DetailsAnswer::Refused(refusal)
}

fn hidden() -> Agreement {
    agreement("b", Direction::Outbound)
}

fn shown() -> Agreement {
    Agreement { hide_identities: false, ..hidden() }
}

/// What becomes of one of several migrations that are under way at once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    Granted,
    /// Refused for good.
    Refused,
    /// Nobody knows what the partner did.
    Lost,
}

/// Steps 2 to 7 for Alice, with an answer of the SIP database of A: the request to the partner, under which
/// the pair named.
fn at_partner(a: &mut System) -> (RequestId, UserIdentity) {
    let (request, bind) = a.asked_by("alice", ask("alice", "b")).for_database();
    let lent = a.manage(bind);
    let (_, request, access) = a.database_answers(request, lent).for_partner();
    (request, access.user.identity)
}

fn comes_to(a: &mut System, request: RequestId, fate: Fate) -> Effects {
    let access = Access {
        identity: real("inbound"),
        valid_until: START + DAY,
        configuration: Some(system_configuration("b", 1)),
    };
    let outcome = match fate {
        Fate::Granted => Ok(AccessAnswer::Granted(Box::new(access))),
        Fate::Refused => Ok(AccessAnswer::Refused(AccessRefusal::NotAuthorised)),
        Fate::Lost => Err(Undeliverable),
    };
    a.partner_answers(request, outcome)
}

#[test]
fn a_refused_migration_keeps_the_pair_that_an_overlapping_one_is_told_or_may_be() {
    use Fate::{Granted, Lost, Refused};

    // Whether the first to end, and the last, gives the pair back.
    for (first, last, released) in [
        (Refused, Granted, false),
        (Granted, Refused, false),
        (Refused, Lost, false),
        (Lost, Refused, true),
        (Refused, Refused, true),
    ] {
        for agreement in [hidden(), shown()] {
            let mut a = World::ready().a;
            let case = format!("{first:?}, {last:?}, hidden: {}", agreement.hide_identities);
            a.put_agreement(agreement);
            let (one, pair) = at_partner(&mut a);
            let (other, same) = at_partner(&mut a);
            assert_eq!(pair, same);
            let told = comes_to(&mut a, one, first).details_answer();
            assert_eq!(matches!(told, DetailsAnswer::Details(_)), first == Granted, "{case}");
            let end = comes_to(&mut a, other, last);
            if released {
                assert!(matches!(
                    end.for_database().1,
                    Manage::ReleaseOutbound(_) | Manage::DeleteGrant { .. }
                ));
            } else {
                let told = matches!(end.details_answer(), DetailsAnswer::Details(_));
                assert_eq!(told, last == Granted, "{case}");
                // What is kept is not the next one's to lose.
                let (next, same) = at_partner(&mut a);
                assert_eq!(pair, same, "{case}");
                comes_to(&mut a, next, Refused).details_answer();
            }
        }
    }
}

#[test]
fn migrations_of_others_or_to_other_partners_do_not_keep_a_pair() {
    let mut a = World::ready().a;
    a.put_agreement(agreement("c", Direction::Outbound));
    for (name, letter) in [("bob", "b"), ("alice", "c")] {
        a.asked_by(name, ask(name, letter)).for_database();
        let (request, pair) = at_partner(&mut a);
        match comes_to(&mut a, request, Fate::Refused).for_database() {
            (request, Manage::ReleaseOutbound(impi)) => {
                assert_eq!(impi, pair.impi);
                let released = a.manage(Manage::ReleaseOutbound(impi));
                a.database_answers(request, released);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn no_migration_is_lent_a_pair_that_is_about_to_be_released() {
    let mut world = World::ready();
    let a = &mut world.a;
    let (request, pair) = at_partner(a);
    let (request, release) = comes_to(a, request, Fate::Refused).for_database();
    let early = a.asked_by("alice", ask("alice", "b"));
    assert_eq!(early.details_answer(), refused(Refusal::Unavailable), "it may ask again");
    a.asked_by("bob", ask("bob", "b")).for_database();
    let released = a.manage(release);
    let refusal = a.database_answers(request, released).details_answer();
    assert_eq!(refusal, refused(Refusal::RefusedByPartner));
    let (_, next) = at_partner(a);
    assert_ne!(next, pair);
}

#[test]
fn a_release_without_an_answer_keeps_nobody_waiting_for_ever() {
    let mut a = World::ready().a;
    let (request, pair) = at_partner(&mut a);
    let (late, release) = comes_to(&mut a, request, Fate::Refused).for_database();
    let released = a.manage(release);
    assert_eq!(a.pass(ACCESS_TIMEOUT).len(), 1, "its UE is told that its time is over");
    let (request, next) = at_partner(&mut a);
    assert_ne!(next, pair);
    assert!(a.database_answers(late, released).sends.is_empty());
    let told = comes_to(&mut a, request, Fate::Granted).details_answer();
    assert!(matches!(told, DetailsAnswer::Details(_)));
}

/// Lets one or more migrations of Alice's begin and end.
type End = fn(&mut System);

#[test]
fn however_a_migration_ends_it_keeps_no_pair_afterwards() {
    let config = Config { pending_max: 2, ..World::ready().a.config };
    let ends: [(&str, End); 7] = [
        ("the database lends nothing", |a| {
            let (request, _) = a.asked_by("alice", ask("alice", "b")).for_database();
            let no = ManagementAnswer::Refused(ManagementRefusal::Unavailable);
            a.database_answers(request, no).details_answer();
        }),
        ("the database answers something else", |a| {
            let (request, _) = a.asked_by("alice", ask("alice", "b")).for_database();
            let odd = a.manage(Manage::GetPool("out".to_owned()));
            a.database_answers(request, odd).details_answer();
        }),
        ("the database does not answer", |a| {
            a.asked_by("alice", ask("alice", "b")).for_database();
            a.pass(ACCESS_TIMEOUT);
        }),
        ("the partner does not answer", |a| {
            at_partner(a);
            a.pass(ACCESS_TIMEOUT);
        }),
        ("there is no room to ask the database", |a| {
            let first = at_partner(a).0;
            let second = at_partner(a).0;
            let full = a.asked_by("alice", ask("alice", "b"));
            assert_eq!(full.details_answer(), refused(Refusal::Unavailable));
            for request in [first, second] {
                comes_to(a, request, Fate::Lost).details_answer();
            }
        }),
        ("the release is refused", |a| {
            let request = at_partner(a).0;
            let (request, _) = comes_to(a, request, Fate::Refused).for_database();
            let no = ManagementAnswer::Refused(ManagementRefusal::Unavailable);
            a.database_answers(request, no).details_answer();
        }),
        ("all is forgotten", |a| {
            at_partner(a);
            a.reload();
        }),
    ];
    for (what, end) in ends {
        let mut a = System::with(config.clone(), "a.example");
        assert_eq!(a.manage(Manage::PutSubscriber(subscriber("alice"))), ManagementAnswer::Done);
        let out = generated("out", Direction::Outbound, "a.example");
        assert_eq!(a.manage(Manage::PutPool(out)), ManagementAnswer::Done);
        a.done(Configure::PutUser(user("alice")));
        a.put_agreement(hidden());
        end(&mut a);
        a.manage(Manage::EndVisits(real("alice").impi));
        let request = at_partner(&mut a).0;
        let released = comes_to(&mut a, request, Fate::Refused).for_database().1;
        assert!(matches!(released, Manage::ReleaseOutbound(_)), "{what}: {released:?}");
    }
}

#[test]
fn whoever_loses_leave_loses_nothing_that_an_administrator_lends() {
    for agreement in [hidden(), shown()] {
        let mut a = World::ready().a;
        a.put_agreement(agreement.clone());
        let (user, partner) = (real("alice"), database("b"));
        let put = if agreement.hide_identities {
            Manage::BindOutbound { user: user.clone(), partner, allowed: None }
        } else {
            Manage::PutGrant { user: user.clone(), partner, valid_for: DAY, allowed: None }
        };
        let (request, lend) = a.asked_by("alice", ask("alice", "b")).for_database();
        a.done(Configure::PutUser(User {
            may_migrate: false,
            ..config_server_harness::user("alice")
        }));
        a.manage(put);
        let lent = a.manage(lend);
        let told = a.database_answers(request, lent).details_answer();
        assert_eq!(told, refused(Refusal::NotAuthorised));
    }
}

#[test]
fn whoever_loses_leave_keeps_no_pair_for_another_request_of_its_own() {
    let mut a = World::ready().a;
    let (waiting, first) = at_partner(&mut a);
    let (lending, bind) = a.asked_by("alice", ask("alice", "b")).for_database();
    a.done(Configure::PutUser(User { may_migrate: false, ..user("alice") }));
    let lent = a.manage(bind);
    let (releasing, release) = a.database_answers(lending, lent).for_database();
    // The first is granted under a pair that has gone with the leave.
    let told = comes_to(&mut a, waiting, Fate::Granted).details_answer();
    assert_eq!(told, refused(Refusal::Unavailable));
    let released = a.manage(release);
    let told = a.database_answers(releasing, released).details_answer();
    assert_eq!(told, refused(Refusal::NotAuthorised));
    assert_eq!(a.lent("out"), 0);
    a.done(Configure::PutUser(user("alice")));
    assert_ne!(at_partner(&mut a).1, first);
}

#[test]
fn what_was_taken_back_while_the_partner_was_asked_is_not_told() {
    let barred = User { may_migrate: false, ..user("alice") };
    let only_alice =
        Agreement { key: key("b", Direction::Outbound, Users::User(service("alice"))), ..hidden() };
    for (what, change) in [
        ("the user was barred", Configure::PutUser(barred)),
        ("the agreement was withdrawn", Configure::DeleteAgreement(hidden().key)),
        ("another agreement counts", Configure::PutAgreement(only_alice)),
    ] {
        for agreement in [hidden(), shown()] {
            let mut a = World::ready().a;
            a.put_agreement(agreement);
            let (request, _) = at_partner(&mut a);
            a.done(change.clone());
            let told = comes_to(&mut a, request, Fate::Granted).details_answer();
            assert_eq!(told, refused(Refusal::Unavailable), "{what}");
        }
    }
}
