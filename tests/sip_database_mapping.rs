//! Mappings: inbound pairs bound to users of other systems for good; and checks of requests that change
//! nothing.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::redundant_closure_for_method_calls,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "test code"
)]

mod sip_database_harness;

use std::time::{Duration, Instant};

use migcore::{
    api::migration_identity::{
        AgreementId, Allowance, Answer, Direction, PrimaryUser, Refusal, Request as Manage,
    },
    diameter::cx::{Request, ServerAssignmentType as Type},
    identity::{Impi, UserIdentity},
    outbox::{Message, Peer},
    sip_database::Config,
    store::Engine,
    time::Timestamp,
};
use sip_database_harness::*;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

fn guest(number: u32) -> UserIdentity {
    pair(&format!("g{number}"), "b.example")
}

fn visitor(number: u32) -> PrimaryUser {
    primary(&pair(&format!("u{number}"), "a.example"))
}

fn map(user: u32, identity: UserIdentity) -> Manage {
    Manage::MapInbound { primary: visitor(user), identity }
}

fn bind(user: u32) -> Manage {
    Manage::BindInbound { primary: visitor(user), allowed: None }
}

fn listed_in(count: u32) -> Manage {
    Manage::PutPool(listed("in", Direction::Inbound, (0..count).map(guest).collect(), HOUR))
}

/// B with a listed inbound pool of `count` pairs.
fn partner(count: u32) -> System {
    let mut b = system_b();
    b.done(listed_in(count));
    b
}

/// Total, lent and free pairs of the listed pool.
fn fill(b: &mut System) -> (u64, u64, u64) {
    match b.manage(Manage::GetPool("in".to_owned())) {
        Answer::Pool { total, lent, free, .. } => (total, lent, free.unwrap()),
        other => panic!("{other:?}"),
    }
}

/// Whether B forwards its SIP core's request for a vector to the primary system.
fn is_forwarded(b: &mut System, identity: &UserIdentity) -> bool {
    let effects = b.request(&Peer::OwnCore, Request::MultimediaAuth(mar(identity)));
    matches!(effects.sends[0].message, Message::CxRequest { .. })
}

fn shown(b: &mut System, impi: Impi) -> (Timestamp, bool) {
    let binding = b.binding(Manage::GetInbound(impi));
    (binding.reserved_until, binding.active)
}

#[test]
fn a_mapped_user_gets_the_mapped_pair_and_nobody_else_does() {
    let mut b = partner(3);
    b.done(map(1, guest(1)));
    assert_eq!(fill(&mut b), (3, 1, 2));
    assert_eq!(b.binding(bind(7)).identity, guest(0));
    assert_eq!(b.binding(bind(1)).identity, guest(1));
    assert_eq!(b.binding(bind(8)).identity, guest(2), "the mapped one is passed over");
    assert_eq!(b.refusal(bind(9)), Refusal::Exhausted("inbound"));
    assert!(is_forwarded(&mut b, &guest(1)));
    b.restart();
    assert_eq!(b.binding(bind(1)).identity, guest(1));
    assert_eq!(fill(&mut b), (3, 3, 0));
}

#[test]
fn a_mapping_is_answered_when_it_is_durable_and_a_repeat_changes_nothing() {
    let mut b = partner(1);
    let first = b.manage_effects(map(1, guest(0)));
    assert_eq!((first.commits.len(), first.sent()), (1, (first.last_commit(), None)));
    let written = first.last_commit();
    assert_eq!(first.management(), Answer::Done);
    let repeat = b.manage_effects(map(1, guest(0)));
    assert!(repeat.commits.is_empty() && repeat.sent().0 >= written);
    assert_eq!(repeat.management(), Answer::Done);
    assert_eq!(fill(&mut b), (1, 1, 0));
}

#[test]
fn a_mapping_never_ends_by_itself_whatever_the_user_does() {
    let mut b = partner(1);
    b.done(map(1, guest(0)));
    let for_good = Timestamp::MAX;
    assert_eq!(shown(&mut b, guest(0).impi), (for_good, false));
    assert!(b.timers.is_empty(), "there is nothing to wait for");
    for (assignment, active) in [
        (Type::Registration, true),
        (Type::ReRegistration, true),
        (Type::UserDeregistration, false),
        (Type::Registration, true),
        (Type::TimeoutDeregistration, false),
    ] {
        assert!(b.assign(sar(&guest(0), assignment)).result.is_success());
        b.restart();
        assert_eq!(shown(&mut b, guest(0).impi), (for_good, active), "{assignment:?}");
        b.pass(100 * DAY);
    }
    b.pass(3_650 * DAY);
    assert_eq!(b.binding(bind(1)).identity, guest(0));
    assert_eq!(b.binding(bind(1)).reserved_until, for_good);
    assert!(is_forwarded(&mut b, &guest(0)));
}

#[test]
fn release_ends_a_mapping_and_the_pair_rests_and_is_lent_again() {
    let mut b = partner(2);
    b.done(map(1, guest(0)));
    assert!(b.assign(sar(&guest(0), Type::Registration)).result.is_success());
    b.done(Manage::ReleaseInbound(guest(0).impi));
    assert!(!is_forwarded(&mut b, &guest(0)));
    assert_eq!(fill(&mut b), (2, 0, 1));
    let resting = Refusal::Invalid("the pair is in its quarantine");
    assert_eq!(b.refusal(map(2, guest(0))), resting);
    b.restart();
    assert_eq!(b.refusal(map(2, guest(0))), resting);
    b.pass(HOUR);
    assert_eq!(b.binding(bind(1)).identity, guest(1), "a user like any other");
    b.done(map(2, guest(0)));
    assert_eq!(b.binding(bind(2)).identity, guest(0));
}

#[test]
fn a_pair_is_mapped_released_and_mapped_again_many_times_and_never_lent_twice() {
    let mut b = partner(4);
    for round in 0..50 {
        let free = round % 4;
        b.done(map(round, guest(free)));
        assert_eq!(
            b.refusal(map(round + 100, guest(free))),
            Refusal::Invalid("the pair is lent to somebody else")
        );
        let mut others: Vec<_> =
            (1_000..1_003).map(|user| b.binding(bind(user)).identity).collect();
        others.push(guest(free));
        others.sort();
        assert_eq!(others, [0, 1, 2, 3].map(guest), "all different");
        if round % 3 == 0 {
            b.restart();
        }
        for guest in others {
            b.done(Manage::ReleaseInbound(guest.impi));
        }
        b.pass(HOUR);
    }
    assert_eq!(fill(&mut b), (4, 0, 4));
}

#[test]
fn only_a_free_pair_of_a_listed_inbound_pool_is_mapped() {
    let mut b = partner(3);
    let away = vec![pair("away", "b.example")];
    b.done(Manage::PutPool(listed("out", Direction::Outbound, away, HOUR)));
    b.done(Manage::PutPool(generated("gen", Direction::Inbound, "b.example")));
    let lent = b.binding(bind(1)).identity;
    let generated = pair("gen-aaaaaaaaaaaaa", "b.example");
    let mixed = UserIdentity { impu: guest(2).impu, ..guest(1) };
    let own = PrimaryUser { database: database("hss.b.example"), ..visitor(2) };
    let nameless = PrimaryUser { server_name: String::new(), ..visitor(2) };
    for (request, refusal) in [
        (map(2, lent), Refusal::Invalid("the pair is lent to somebody else")),
        (map(2, pair("nobody", "b.example")), Refusal::NotFound("listed pair")),
        (
            map(2, generated),
            Refusal::Invalid("the pair is a generated pool's; only listed ones are mapped"),
        ),
        (map(2, mixed), Refusal::Invalid("the public identity is another pair's")),
        (map(2, pair("away", "b.example")), Refusal::Invalid("the pair is an outbound pool's")),
        (
            map(1, guest(1)),
            Refusal::Invalid("the user holds another inbound pair; release that first"),
        ),
        (
            Manage::MapInbound { primary: own, identity: guest(1) },
            Refusal::Invalid("the primary system's SIP database is this one"),
        ),
        (
            Manage::MapInbound { primary: nameless, identity: guest(1) },
            Refusal::Invalid("server_name is empty"),
        ),
    ] {
        let before = fill(&mut b);
        let effects = b.manage_effects(request.clone());
        assert!(effects.commits.is_empty());
        assert_eq!(effects.management(), Answer::Refused(refusal), "{request:?}");
        assert_eq!(fill(&mut b), before);
    }
}

#[test]
fn a_user_that_holds_the_very_pair_keeps_it_for_good_from_the_mapping_on() {
    let mut b = partner(1);
    assert_eq!(b.binding(bind(1)).identity, guest(0));
    assert!(b.assign(sar(&guest(0), Type::Registration)).result.is_success());
    b.done(map(1, guest(0)));
    assert_eq!(shown(&mut b, guest(0).impi), (Timestamp::MAX, true), "registered as before");
    b.pass(100 * DAY);
    assert_eq!(b.binding(bind(1)).identity, guest(0));
}

#[test]
fn a_mapped_pair_is_good_under_the_agreement_of_the_latest_step_9() {
    let mut b = partner(1);
    b.done(map(1, guest(0)));
    let agreement = AgreementId(1);
    let allowed = Some(Allowance { agreement, until: b.now + DAY });
    let lent = b.binding(Manage::BindInbound { primary: visitor(1), allowed });
    assert_eq!((lent.identity, lent.reserved_until), (guest(0), b.now + DAY));
    b.done(Manage::WithdrawAgreement(agreement));
    assert!(!is_forwarded(&mut b, &guest(0)));
    b.done(map(1, guest(0)));
    assert!(!is_forwarded(&mut b, &guest(0)), "a mapping is no agreement");
    let allowed = Some(Allowance { agreement: AgreementId(2), until: b.now + DAY });
    b.binding(Manage::BindInbound { primary: visitor(1), allowed });
    assert!(is_forwarded(&mut b, &guest(0)));
}

#[test]
fn a_refused_mapping_gives_its_place_among_the_bindings_back() {
    let config = Config::new(database("hss.b.example"), "b.example");
    let mut b = System::with(Config { bindings_max: 2, ..config });
    b.done(listed_in(4));
    b.done(map(1, guest(1)));
    b.refusal(map(2, guest(1)));
    b.done(map(2, guest(2)));
    assert_eq!(b.refusal(map(3, guest(3))), Refusal::Full("inbound bindings"));
    b.done(Manage::ReleaseInbound(guest(1).impi));
    b.done(map(3, guest(3)));
}

#[test]
fn two_pairs_that_were_stored_with_one_place_are_both_found() {
    let mut b = partner(0);
    let add = |number| Manage::PutPool(listed("in", Direction::Inbound, vec![guest(number)], HOUR));
    // The first one's commit fails, and turns out durable after the reload.
    b.storing = false;
    let failed = b.manage_effects(add(0)).commits;
    b.storing = true;
    b.reload();
    b.engine.commit(&failed).unwrap();
    b.done(add(1));
    b.restart();
    assert_eq!(fill(&mut b), (2, 0, 2));
    b.done(map(10, guest(0)));
    b.done(map(11, guest(1)));
    assert_eq!(fill(&mut b), (2, 2, 0));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a real duration is measured")]
fn taking_a_pair_out_of_the_middle_of_a_large_pool_costs_no_walk_through_it() {
    const PAIRS: u32 = 200_000;
    let mut b = partner(PAIRS);
    b.storing = false;
    let began = Instant::now();
    // A walk for each would be 10^9 steps and more.
    for number in 0..20_000 {
        b.done(map(number, guest(PAIRS - 1 - 7 * number)));
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(10), "took {took:?}");
    let (total, lent, free) = fill(&mut b);
    assert_eq!((total, lent, free), (200_000, 20_000, 180_000));
}

/// B as the checks find it: a subscriber, pools of each kind, a lent and a mapped pair, a grant, an
/// agreement withdrawn.
fn furnished() -> System {
    let config = Config::new(database("hss.b.example"), "b.example");
    let config = Config {
        bindings_max: 3,
        subscribers_max: 2,
        listed_identities_max: 6,
        withdrawn_agreements_max: 1,
        ..config
    };
    let mut b = System::with(config);
    let bob = pair("bob", "b.example");
    b.done(Manage::PutSubscriber(subscriber(&bob, 0)));
    b.done(listed_in(3));
    b.done(Manage::PutPool(generated("gen", Direction::Outbound, "b.example")));
    b.binding(bind(1));
    b.done(map(2, guest(2)));
    let (user, partner) = (bob, database("hss.c.example"));
    b.granted(Manage::PutGrant { user, partner, valid_for: DAY, allowed: None });
    b.done(Manage::WithdrawAgreement(AgreementId(1)));
    b
}

fn cases() -> Vec<Manage> {
    let (bob, carol) = (pair("bob", "b.example"), pair("carol", "b.example"));
    let c = database("hss.c.example");
    let withdrawn =
        Some(Allowance { agreement: AgreementId(1), until: Timestamp::from_secs(9_000_000) });
    let put = |identity: &UserIdentity, seq| Manage::PutSubscriber(subscriber(identity, seq));
    let pool = |name: &str, direction, pairs: &[UserIdentity]| {
        Manage::PutPool(listed(name, direction, pairs.to_vec(), HOUR))
    };
    let form =
        |name: &str, domain: &str| Manage::PutPool(generated(name, Direction::Outbound, domain));
    let grant = |user: &UserIdentity, valid_for, allowed| Manage::PutGrant {
        user: user.clone(),
        partner: c.clone(),
        valid_for,
        allowed,
    };
    let lend = |user: &UserIdentity, allowed| Manage::BindOutbound {
        user: user.clone(),
        partner: c.clone(),
        allowed,
    };
    let mixed = UserIdentity { impi: carol.impi.clone(), impu: bob.impu.clone() };
    let many: Vec<_> = (10..20).map(guest).collect();
    vec![
        put(&bob, 7),
        put(&carol, 0),
        put(&carol, u64::MAX),
        put(&mixed, 0),
        put(&guest(0), 0),
        put(&pair("gen-aaaaaaaaaaaaa", "b.example"), 0),
        Manage::GetSubscriber(bob.impi.clone()),
        Manage::GetSubscriber(carol.impi.clone()),
        Manage::DeleteSubscriber(bob.impi.clone()),
        Manage::DeleteSubscriber(carol.impi.clone()),
        pool("in", Direction::Inbound, &[guest(0), guest(9)]),
        pool("in", Direction::Outbound, &[]),
        pool("new", Direction::Inbound, &[guest(0)]),
        pool("new", Direction::Inbound, &[guest(9), guest(9)]),
        pool("new", Direction::Inbound, std::slice::from_ref(&bob)),
        pool("new", Direction::Inbound, &many),
        pool("gen", Direction::Outbound, &[]),
        pool("no name", Direction::Outbound, &[]),
        form("gen", "b.example"),
        form("gen", "a.example"),
        form("other", "a.example"),
        form("in", "b.example"),
        form("fresh", "b.example"),
        Manage::GetPool("in".to_owned()),
        Manage::GetPool("none".to_owned()),
        lend(&bob, None),
        lend(&bob, withdrawn),
        lend(&carol, None),
        grant(&bob, DAY, None),
        grant(&bob, Duration::ZERO, None),
        grant(&bob, DAY, withdrawn),
        grant(&carol, DAY, None),
        Manage::DeleteGrant { impi: bob.impi.clone(), partner: c.clone() },
        Manage::DeleteGrant { impi: bob.impi.clone(), partner: database("hss.d.example") },
        Manage::DeleteGrant { impi: carol.impi.clone(), partner: c.clone() },
        bind(1),
        bind(2),
        bind(3),
        Manage::BindInbound { primary: visitor(1), allowed: withdrawn },
        map(2, guest(2)),
        map(1, guest(0)),
        map(1, guest(1)),
        map(3, guest(1)),
        map(3, guest(0)),
        map(3, guest(8)),
        Manage::WithdrawAgreement(AgreementId(1)),
        Manage::WithdrawAgreement(AgreementId(2)),
        Manage::EndVisits(bob.impi.clone()),
        Manage::EndVisits(carol.impi.clone()),
        Manage::GetOutbound(guest(0).impi),
        Manage::ReleaseOutbound(guest(0).impi),
        Manage::GetInbound(guest(0).impi),
        Manage::ReleaseInbound(guest(0).impi),
        Manage::ReleaseInbound(guest(1).impi),
        Manage::Check(Box::new(put(&bob, 0))),
    ]
}

/// Changes to the furnished system that fill its tables and empty its pools.
fn crowded() -> System {
    let mut b = furnished();
    b.done(Manage::PutSubscriber(subscriber(&pair("dave", "b.example"), 0)));
    b.binding(bind(100));
    for number in 0..3 {
        let partner = database(&format!("hss{number}.example"));
        let user = pair("dave", "b.example");
        b.binding(Manage::BindOutbound { user, partner, allowed: None });
    }
    b
}

#[test]
fn a_check_says_what_the_request_itself_is_answered_and_changes_nothing() {
    let (mut accepted, mut refused) = (0, 0);
    for start in [furnished, crowded] {
        for request in cases() {
            let mut b = start();
            let before = (fill(&mut b), b.sequencer.last());
            let check = b.manage_effects(Manage::Check(Box::new(request.clone())));
            assert!(check.commits.is_empty() && check.steps.is_empty() && check.notes.is_empty());
            assert_eq!(check.sent().1, None, "no step of the procedure");
            let checked = check.management();
            assert_eq!((fill(&mut b), b.sequencer.last()), before, "{request:?}");
            if matches!(request, Manage::Check(_)) {
                assert_eq!(checked, Answer::Refused(Refusal::Invalid("a check of a check")));
                continue;
            }
            let wanted = if let Answer::Refused(refusal) = b.manage(request.clone()) {
                refused += 1;
                Answer::Refused(refusal)
            } else {
                accepted += 1;
                Answer::Done
            };
            assert_eq!(checked, wanted, "{request:?}");
        }
    }
    assert!(accepted > 30 && refused > 50, "{accepted} accepted, {refused} refused");
}

#[test]
fn a_check_relies_on_removals_as_the_request_itself_does() {
    let mut b = furnished();
    let bob = pair("bob", "b.example").impi;
    let removed = b.manage_effects(Manage::DeleteSubscriber(bob.clone())).last_commit();
    for request in [
        Manage::DeleteSubscriber(bob),
        Manage::PutSubscriber(subscriber(&pair("bob", "b.example"), 0)),
    ] {
        let check = b.manage_effects(Manage::Check(Box::new(request)));
        assert!(check.sent().0 >= removed);
    }
    b.storage_available = false;
    let check = Manage::Check(Box::new(Manage::EndVisits(alice().impi)));
    assert_eq!(b.refusal(check), Refusal::Unavailable);
}
