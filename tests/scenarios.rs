//! Scenarios of registration in a partner system (TR 23.781 solution 2, steps 5 to 25), each in a
//! simulated world: one UE of A at B, unless said otherwise, and no faults but those of the scenario.

use std::{collections::BTreeSet, time::Duration};

use migcore::{
    api::migration_identity::{Answer, Binding, PrimaryUser, Request},
    identity::{Impi, SipDatabaseId, UserIdentity},
    outbox::Note,
    sim::{Options, SystemId, World},
    step::Step,
    ue::{Failure, State},
};

const A: SystemId = SystemId::A;
const B: SystemId = SystemId::B;
const DAY: Duration = Duration::from_secs(24 * 3_600);
const FORBIDDEN: State = State::Failed(Failure::Refused(403));

/// What a partner that cannot reach the primary makes of a registration.
const UNREACHABLE: State = State::Failed(Failure::Unavailable { status: 504, retry_after: 5 });

fn world() -> World {
    World::new(7, Options::faultless())
}

/// A world whose UE holds an inbound pair at B.
fn bound_world() -> (World, Binding) {
    let mut world = world();
    let binding = world.bind(0).unwrap().expect("a pair");
    (world, binding)
}

fn vectors_to_b(world: &World) -> usize {
    world.count_notes(A, &Note::VectorIssued { partner: Some(B.database()) })
}

fn refused_to_b(world: &World) -> usize {
    world.count_notes(A, &Note::VectorRefused { partner: B.database() })
}

fn performed(world: &World, number: u8) -> usize {
    world.steps().iter().filter(|(step, _)| *step == Step::mig(number)).count()
}

fn is_registered(state: &State) -> bool {
    matches!(state, State::Registered(_))
}

/// Whether the binding of an inbound pair is active; `None` if there is none.
fn is_active(world: &mut World, impi: &Impi) -> Option<bool> {
    match world.manage(B, Request::GetInbound(impi.clone())).unwrap() {
        Some(Answer::Binding(binding)) => Some(binding.active),
        _ => None,
    }
}

#[test]
fn scenario_43_without_outbound_identities_the_real_pair_is_used_by_a_grant() {
    let mut world = World::new(7, Options { granted: 1_000, ..Options::faultless() });
    world.bind(0).unwrap().expect("a pair");
    assert!(is_registered(&world.register(0).unwrap()));
    let (real, at_partner) = world.pairs(0).unwrap();
    assert_eq!(real, at_partner);
    assert_eq!(vectors_to_b(&world), 1);

    let withdrawal = Request::DeleteGrant { impi: real.impi, partner: B.database() };
    assert_eq!(world.manage(A, withdrawal).unwrap(), Some(Answer::Done));
    assert_eq!(world.register(0).unwrap(), FORBIDDEN);
    assert_eq!(vectors_to_b(&world), 1);
}

#[test]
fn scenario_49_asking_again_gives_the_same_pair_even_after_restarts() {
    let (mut world, first) = bound_world();
    for restarted in [None, Some(A), Some(B)] {
        if let Some(system) = restarted {
            world.restart(system);
            world.run_for(Duration::from_secs(10)).unwrap();
        }
        let again = world.bind(0).unwrap().expect("a pair");
        assert_eq!(again.identity, first.identity, "after a restart of {restarted:?}");
    }
}

#[test]
fn scenario_50_a_30_day_pause_with_restarts_does_not_hurt_the_registration() {
    let (mut world, _) = bound_world();
    for system in [A, B, A] {
        world.run_for(DAY * 10).unwrap();
        world.restart(system);
    }
    world.run_for(Duration::from_secs(60)).unwrap();
    assert!(is_registered(&world.register(0).unwrap()));
}

#[test]
fn scenario_51_a_binding_that_expired_is_refused_until_the_ue_asks_again() {
    let (mut world, expired) = bound_world();
    world.run_for(DAY * 40).unwrap();
    assert_eq!(world.register(0).unwrap(), FORBIDDEN);
    assert_eq!(vectors_to_b(&world), 0);

    let renewed = world.bind(0).unwrap().expect("a pair");
    assert_ne!(renewed.identity, expired.identity, "a generated pair is never lent twice");
    assert!(is_registered(&world.register(0).unwrap()));
}

#[test]
fn scenario_53_the_happy_path_takes_one_vector_across_the_systems() {
    let (mut world, binding) = bound_world();
    let State::Registered(registered) = world.register(0).unwrap() else {
        panic!("not registered: {:?}", world.state(0));
    };
    assert!(registered.mutual, "the SIP core proves that it knows RES");
    assert_eq!(registered.associated_uris, [binding.identity.impu.as_str()]);
    assert_eq!((vectors_to_b(&world), performed(&world, 18)), (1, 1));
    let trace = world.trace().tail(100);
    let (challenge, success) = (trace.find("401 Unauthorized"), trace.find("200 OK"));
    assert!(challenge.is_some() && challenge < success, "{trace}");
    let stored = world.stored_registration(B, &binding.identity.impi).expect("stored");
    assert_eq!(stored.impus, [binding.identity.impu]);
    assert_eq!(stored.contacts.len(), 1);
}

#[test]
fn scenario_54_a_ue_whose_sqn_is_ahead_gets_a_new_vector_by_auts() {
    let (mut world, _) = bound_world();
    world.set_seq(0, 1_000);
    assert!(is_registered(&world.register(0).unwrap()));
    assert_eq!(vectors_to_b(&world), 2);
    assert_eq!(world.count_notes(A, &Note::Resynchronised), 1);
    assert!(world.trace().tail(100).contains("MAR with AUTS"));
    // and what was caught up with stays so
    assert!(is_registered(&world.register(0).unwrap()));
    assert_eq!(vectors_to_b(&world), 3);
}

#[test]
fn scenario_55_a_wrong_response_is_refused_and_counted_and_binds_nothing() {
    let (mut world, binding) = bound_world();
    world.falsify_responses(true);
    assert_eq!(world.register(0).unwrap(), FORBIDDEN);
    assert_eq!(world.stored_contacts(B, &binding.identity.impi), 0);
    assert_eq!(world.count_notes(B, &Note::AuthenticationFailed), 1);
    assert_eq!(is_active(&mut world, &binding.identity.impi), Some(false));

    world.falsify_responses(false);
    assert!(is_registered(&world.register(0).unwrap()), "one failure locks nobody out");
}

#[test]
fn scenario_56_while_the_primary_is_unreachable_the_answer_is_504_and_a_retry_succeeds() {
    let (mut world, _) = bound_world();
    world.partition();
    world.run_for(Duration::from_secs(1)).unwrap();
    for _ in 0..3 {
        assert_eq!(world.register(0).unwrap(), UNREACHABLE);
    }
    world.heal();
    world.run_for(Duration::from_secs(40)).unwrap();
    assert!(world.is_connected());
    assert!(is_registered(&world.register(0).unwrap()));
}

#[test]
fn scenario_57_after_the_primary_withdrew_the_migration_the_partner_answers_403() {
    let (mut world, _) = bound_world();
    let (_, outbound) = world.pairs(0).unwrap();
    let released = world.manage(A, Request::ReleaseOutbound(outbound.impi)).unwrap();
    assert_eq!(released, Some(Answer::Done));
    assert_eq!(world.register(0).unwrap(), FORBIDDEN);
    assert_eq!((vectors_to_b(&world), refused_to_b(&world)), (0, 1));
}

#[test]
fn scenario_58_the_binding_is_active_while_registered_and_reserved_otherwise() {
    let (mut world, binding) = bound_world();
    let impi = binding.identity.impi;
    assert_eq!(is_active(&mut world, &impi), Some(false));

    assert!(is_registered(&world.register(0).unwrap()));
    assert_eq!(is_active(&mut world, &impi), Some(true));
    let first = world.stored_registration(B, &impi).unwrap().contacts[0].expires_at;
    world.run_for(Duration::from_secs(300)).unwrap();
    let refreshed = world.stored_registration(B, &impi).unwrap().contacts[0].expires_at;
    assert!(refreshed > first && is_registered(world.state(0)), "refreshed by itself");

    assert_eq!(world.deregister(0).unwrap(), State::Idle);
    assert_eq!(world.stored_contacts(B, &impi), 0);
    assert_eq!(is_active(&mut world, &impi), Some(false), "de-registered");

    assert!(is_registered(&world.register(0).unwrap()));
    world.switch_off(0);
    world.run_for(Duration::from_secs(200)).unwrap();
    assert!(world.stored_registration(B, &impi).is_none());
    assert_eq!(is_active(&mut world, &impi), Some(false), "expired without refresh");
}

#[test]
fn scenario_58_after_all_that_the_ue_returns_home_with_its_own_identities() {
    let (mut world, _) = bound_world();
    assert!(is_registered(&world.register(0).unwrap()));
    assert_eq!(world.deregister(0).unwrap(), State::Idle);
    world.return_home(0);
    let (real, _) = world.pairs(0).unwrap();
    assert!(is_registered(&world.register(0).unwrap()));
    let stored = world.stored_registration(A, &real.impi).expect("registered at home");
    assert_eq!(stored.impus, [real.impu]);
    assert_eq!(world.count_notes(A, &Note::VectorIssued { partner: None }), 1);
    assert_eq!(vectors_to_b(&world), 2, "one to register there, one to leave, none to come home");
}

#[test]
fn scenario_59_a_register_repeated_over_a_new_tcp_connection_costs_no_second_vector() {
    // the connection is lost before the vector is there, and after the challenge was sent
    for until in [18, 22] {
        let mut world = World::new(7, Options { tcp: 1_000, ..Options::faultless() });
        world.bind(0).unwrap().expect("a pair");
        world.begin_register(0);
        let end = world.now() + Duration::from_secs(5);
        assert!(world.run_until(end, |world| performed(world, until) > 0).unwrap());
        world.repeat_last_request(0);
        assert!(is_registered(&world.outcome(0).unwrap()), "lost at step {until}");
        assert_eq!(vectors_to_b(&world), 1, "lost at step {until}");
    }
}

#[test]
fn scenario_60_no_two_users_get_the_same_generated_identity() {
    const USERS: usize = 3_000;
    let mut world = world();
    let mut lent = BTreeSet::new();
    for number in 0..USERS {
        let primary = PrimaryUser {
            database: A.database(),
            identity: pair(&format!("out{number}"), "a.example"),
            server_name: "sip:migration.a.example".to_owned(),
        };
        let Some(Answer::Binding(binding)) =
            world.manage(B, Request::BindInbound { primary, allowed: None }).unwrap()
        else {
            panic!("user {number} gets no pair");
        };
        assert!(lent.insert(binding.identity.impi.as_str().to_owned()), "user {number}");
        assert!(lent.insert(binding.identity.impu.as_str().to_owned()), "user {number}");
        if number % 500 == 499 {
            world.restart(B);
            world.run_for(Duration::from_secs(5)).unwrap();
        }
    }
    assert_eq!(lent.len(), 2 * USERS);
}

#[test]
fn scenario_63_a_partner_that_asks_vectors_without_a_binding_is_refused_and_noted() {
    // the partner knows the real pair in some way; the primary has not granted its use
    let mut world = World::new(7, Options { granted: 1_000, ..Options::faultless() });
    let (real, _) = world.pairs(0).unwrap();
    // neither an identity that was never lent nor the real pair without a grant
    for identity in [pair("out-neverlent", "a.example"), real] {
        let before = refused_to_b(&world);
        let pair = inbound_for(&mut world, A.database(), identity);
        world.impersonate(0, &pair);
        assert_eq!(world.register(0).unwrap(), FORBIDDEN);
        assert_eq!(refused_to_b(&world), before + 1);
    }
    assert_eq!(vectors_to_b(&world), 0);
}

#[test]
fn row_16_an_unknown_inbound_identity_is_refused_without_a_word_to_the_primary() {
    let mut world = world();
    world.impersonate(0, &pair("in-neverlent", "b.example"));
    assert_eq!(world.register(0).unwrap(), FORBIDDEN);
    assert_eq!((performed(&world, 16), performed(&world, 18)), (1, 0));
}

#[test]
fn row_16_a_pair_that_does_not_belong_together_is_refused() {
    let (mut world, binding) = bound_world();
    let other = pair("in-neverlent", "b.example");
    world.impersonate(0, &UserIdentity { impu: other.impu, ..binding.identity });
    assert_eq!(world.register(0).unwrap(), FORBIDDEN);
    assert_eq!(performed(&world, 18), 0);
}

#[test]
fn row_17_a_revoked_binding_is_refused_without_a_word_to_the_primary() {
    let (mut world, binding) = bound_world();
    let impi = binding.identity.impi;
    let released = world.manage(B, Request::ReleaseInbound(impi)).unwrap();
    assert_eq!(released, Some(Answer::Done));
    assert_eq!(world.register(0).unwrap(), FORBIDDEN);
    assert_eq!(performed(&world, 18), 0);
}

#[test]
fn row_17_an_expired_binding_is_refused_without_a_word_to_the_primary() {
    let (mut world, binding) = bound_world();
    world.run_for(DAY * 32).unwrap();
    assert_eq!(is_active(&mut world, &binding.identity.impi), None);
    assert_eq!(world.register(0).unwrap(), FORBIDDEN);
    assert_eq!(performed(&world, 18), 0);
}

#[test]
fn row_18_a_primary_that_does_not_answer_in_time_is_504_and_its_late_answer_changes_nothing() {
    let (mut world, _) = bound_world();
    world.separate();
    let began = world.now();
    assert_eq!(world.register(0).unwrap(), UNREACHABLE);
    let took = world.now().since(began);
    assert!((4..5).contains(&took.as_secs()), "took {took:?}");

    world.heal();
    world.run_for(Duration::from_secs(40)).unwrap();
    assert_eq!(*world.state(0), UNREACHABLE, "the late vector is dropped");
    assert!(is_registered(&world.register(0).unwrap()));
}

#[test]
fn row_18_a_primary_that_restarts_is_504_until_it_is_back() {
    let (mut world, _) = bound_world();
    world.stop(A, Duration::from_secs(5));
    world.run_for(Duration::from_secs(1)).unwrap();
    assert_eq!(world.register(0).unwrap(), UNREACHABLE);
    world.run_for(Duration::from_secs(60)).unwrap();
    assert!(is_registered(&world.register(0).unwrap()));
}

#[test]
fn row_19_a_barred_user_gets_no_vector() {
    let (mut world, _) = bound_world();
    let (real, _) = world.pairs(0).unwrap();
    let removed = world.manage(A, Request::DeleteSubscriber(real.impi)).unwrap();
    assert_eq!(removed, Some(Answer::Done));
    assert_eq!(world.register(0).unwrap(), FORBIDDEN);
    assert_eq!(vectors_to_b(&world), 0);
}

#[test]
fn row_19_a_revoked_migration_ends_at_the_next_refresh() {
    let (mut world, binding) = bound_world();
    assert!(is_registered(&world.register(0).unwrap()));
    let (_, outbound) = world.pairs(0).unwrap();
    world.manage(A, Request::ReleaseOutbound(outbound.impi)).unwrap();
    world.run_for(Duration::from_secs(70)).unwrap();
    assert_eq!(*world.state(0), FORBIDDEN, "the refresh is refused");
    world.run_for(Duration::from_secs(70)).unwrap();
    assert_eq!(world.stored_contacts(B, &binding.identity.impi), 0, "and the registration ends");
}

#[test]
fn row_23_an_sqn_out_of_range_is_answered_with_auts_once() {
    let (mut world, _) = bound_world();
    world.set_seq(0, 5);
    assert!(is_registered(&world.register(0).unwrap()));
    assert_eq!(performed(&world, 22), 2, "a second challenge");
    assert_eq!(world.count_notes(A, &Note::Resynchronised), 1);
}

#[test]
fn row_24_a_wrong_res_leaves_an_earlier_registration_alone() {
    let (mut world, binding) = bound_world();
    assert!(is_registered(&world.register(0).unwrap()));
    world.falsify_responses(true);
    assert_eq!(world.register(0).unwrap(), FORBIDDEN);
    assert_eq!(world.stored_contacts(B, &binding.identity.impi), 1);
}

#[test]
fn a_user_of_b_migrates_to_a_just_so() {
    let mut world = World::new(7, Options { of_b: 1_000, ..Options::faultless() });
    let binding = world.bind(0).unwrap().expect("a pair");
    assert!(is_registered(&world.register(0).unwrap()));
    assert_eq!(world.stored_contacts(A, &binding.identity.impi), 1);
}

fn pair(user: &str, domain: &str) -> UserIdentity {
    UserIdentity {
        impi: format!("{user}@{domain}").parse().unwrap(),
        impu: format!("sip:{user}@{domain}").parse().unwrap(),
    }
}

/// An inbound pair at B for whoever `database` knows as `identity`.
fn inbound_for(world: &mut World, database: SipDatabaseId, identity: UserIdentity) -> UserIdentity {
    let server_name = "sip:migration.a.example".to_owned();
    let request = Request::BindInbound {
        primary: PrimaryUser { database, identity, server_name },
        allowed: None,
    };
    match world.manage(B, request).unwrap() {
        Some(Answer::Binding(binding)) => binding.identity,
        other => panic!("no pair: {other:?}"),
    }
}
