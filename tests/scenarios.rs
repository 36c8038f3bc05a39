//! Scenarios of migration to a partner system (TR 23.781 solution 2, steps 1 to 25), each in a simulated
//! world: one UE of A that wants to B, unless said otherwise, and no faults but those of the scenario.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::redundant_closure_for_method_calls,
    clippy::too_many_lines,
    clippy::wildcard_enum_match_arm,
    reason = "test code"
)]

use std::{collections::BTreeSet, time::Duration};

use migcore::{
    api::{
        configuration::{self, Request as Configure},
        connection_details::{Details, Location, Reason, Refusal, SystemConfiguration},
        migration_identity::{Answer, PrimaryUser, Request},
    },
    identity::{Impi, McSystemId, SipDatabaseId, UserIdentity},
    outbox::Note,
    sim::{Lost, Migration, OUTBOUND_QUARANTINE, Options, Pools, QUARANTINE, SystemId, World},
    step::Step,
    ue::{ConfigurationFailure, Failure, State},
    ue_configuration::InitialUeConfiguration,
};

const A: SystemId = SystemId::A;
const B: SystemId = SystemId::B;
const DAY: Duration = Duration::from_secs(24 * 3_600);
const FORBIDDEN: State = State::Failed(Failure::Refused(403));

/// What a partner that cannot reach the primary makes of a registration.
/// The home cannot be reached: the UE may try again in 1 to 10 seconds, not all UEs at once.
fn is_unreachable(state: &State) -> bool {
    matches!(state, State::Failed(Failure::Unavailable { status: 504, retry_after: 1..=10 }))
}

fn world() -> World {
    World::new(7, Options::faultless())
}

/// A world whose UE was told how to reach B, and holds an inbound pair there.
fn bound_world() -> (World, Details) {
    let mut world = world();
    let details = told(&mut world);
    (world, details)
}

/// What the UE is told when it asks for B.
fn told(world: &mut World) -> Details {
    match world.migrate(0).unwrap() {
        Migration::Told(details) => *details,
        other => panic!("no connection details: {other:?}"),
    }
}

/// Asks without a wish where no partner is, or with a wish for somebody unknown where B is.
fn ask_for_stranger(world: &mut World, strict: bool) -> Migration {
    let stranger: McSystemId = "sip:x.example".parse().unwrap();
    world.migrate_to(0, B.location(), Some(stranger), strict).unwrap()
}

fn ask_in_nowhere(world: &mut World) -> Migration {
    let nowhere = Location { plmn: "99999".parse().unwrap(), tracking_area: None, cell: None };
    world.migrate_to(0, nowhere, None, false).unwrap()
}

fn configure(world: &mut World, system: SystemId, request: Configure) {
    let answer = world.configure(system, request).unwrap();
    assert_eq!(answer, Some(configuration::Answer::Done));
}

/// How many identities of a pool are lent, and how many there are or were drawn.
fn lent(world: &mut World, system: SystemId, pool: &str) -> (u64, u64) {
    match world.manage(system, Request::GetPool(pool.to_owned())).unwrap() {
        Some(Answer::Pool { lent, total, .. }) => (lent, total),
        other => panic!("no such pool: {other:?}"),
    }
}

/// Ends the agreement about the UE at one of the systems.
fn end_agreement(world: &mut World, at: SystemId) {
    let agreement = world.agreement(0, at).unwrap();
    configure(world, at, Configure::DeleteAgreement(agreement.key));
}

fn make_agreement(world: &mut World, at: SystemId) {
    let agreement = world.agreement(0, at).unwrap();
    configure(world, at, Configure::PutAgreement(agreement));
}

fn let_migrate(world: &mut World, may_migrate: bool) {
    let user = configuration::User { may_migrate, ..world.user(0).unwrap() };
    configure(world, A, Configure::PutUser(user));
}

/// The configuration of B with another data network, in a later revision.
fn changed_configuration() -> SystemConfiguration {
    let first = B.configuration();
    let document = first.document.render().replace("mc-services", "mc-services-new");
    let document = InitialUeConfiguration::parse(&document).unwrap();
    SystemConfiguration { revision: first.revision + 1, document: document.into(), ..first }
}

fn put_configuration_of_b(world: &mut World, at: SystemId, configuration: SystemConfiguration) {
    let system = B.mc_system_id();
    configure(world, at, Configure::PutSystemConfiguration { system, configuration });
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
fn scenario_42_the_ue_is_told_an_inbound_pair_and_the_partners_configuration() {
    let mut world = world();
    let Migration::Told(details) = world.migrate_to(0, B.location(), None, false).unwrap() else {
        panic!("no connection details");
    };
    assert_eq!((details.mc_system_id, details.reason), (B.mc_system_id(), Reason::Location));
    assert_eq!(details.configuration, B.configuration());
    assert_eq!(details.identity.impi.realm(), B.domain());
    assert!(details.valid_until > world.now() + DAY * 30);
    // the world has searched C1 and the Diameter octets for the real pair
    let (real, outbound) = world.pairs(0).unwrap();
    assert_ne!(real, outbound);
    assert!(is_registered(&world.register(0).unwrap()));
    assert_eq!(vectors_to_b(&world), 1);
}

#[test]
fn scenario_43_without_outbound_identities_the_real_pair_is_used_by_a_grant() {
    let mut world = World::new(7, Options { granted: 1_000, ..Options::faultless() });
    told(&mut world);
    assert!(is_registered(&world.register(0).unwrap()));
    let (real, at_partner) = world.pairs(0).unwrap();
    assert_eq!(real, at_partner);
    assert_eq!((vectors_to_b(&world), lent(&mut world, A, "out")), (1, (0, 0)));

    end_agreement(&mut world, A);
    assert_eq!(world.register(0).unwrap(), FORBIDDEN);
    assert_eq!(vectors_to_b(&world), 1);
}

#[test]
fn scenario_44_a_wish_without_agreement_yields_to_the_location_unless_it_is_strict() {
    let mut world = world();
    let details = ask_for_stranger(&mut world, false).told().expect("connection details");
    assert_eq!(details.mc_system_id, B.mc_system_id());
    assert_eq!(details.reason, Reason::RequestedNotAllowed);
    let refused = ask_for_stranger(&mut world, true);
    assert_eq!(refused, Migration::Refused(Refusal::PartnerNotAllowed));
    assert_eq!(told(&mut world).reason, Reason::Requested);
}

#[test]
fn scenario_45_where_no_partner_is_nobody_is_told_anything() {
    let mut world = world();
    assert_eq!(ask_in_nowhere(&mut world), Migration::Refused(Refusal::NoPartner));
    assert_eq!(lent(&mut world, A, "out"), (0, 0));
    assert_eq!(lent(&mut world, B, "in"), (0, 0));
}

#[test]
fn scenario_46_a_user_who_may_not_migrate_is_lent_nothing_anywhere() {
    let mut world = world();
    let_migrate(&mut world, false);
    assert_eq!(world.migrate(0).unwrap(), Migration::Refused(Refusal::NotAuthorised));
    assert_eq!(lent(&mut world, A, "out"), (0, 0));
    assert_eq!((lent(&mut world, B, "in"), performed(&world, 7)), ((0, 0), 0));
}

#[test]
fn scenario_47_where_the_partner_refuses_the_user_the_outbound_pair_is_given_back() {
    let mut world = world();
    end_agreement(&mut world, B);
    assert_eq!(world.migrate(0).unwrap(), Migration::Refused(Refusal::RefusedByPartner));
    assert_eq!(lent(&mut world, A, "out"), (0, 1));
    assert_eq!(lent(&mut world, B, "in"), (0, 0));
    make_agreement(&mut world, B);
    told(&mut world);
    assert!(is_registered(&world.register(0).unwrap()));
}

#[test]
fn scenario_48_an_exhausted_inbound_pool_is_told_with_a_retry_hint_and_recovers() {
    let mut world = World::new(7, Options { pools: Pools::Listed, ..Options::faultless() });
    let others = ["one", "two"].map(|name| {
        inbound_for(&mut world, A.database(), pair(&format!("out-{name}"), "a.example"))
    });
    let Migration::Refused(refusal) = world.migrate(0).unwrap() else { panic!("not refused") };
    assert_eq!(refusal, Refusal::Exhausted);
    assert!(ConfigurationFailure::from(refusal).retry_after().is_some());
    assert_eq!(lent(&mut world, A, "listed-out").0, 0, "the outbound pair is given back");

    let release = Request::ReleaseInbound(others[0].impi.clone());
    assert_eq!(world.manage(B, release).unwrap(), Some(Answer::Done));
    world.run_for(QUARANTINE).unwrap();
    assert_eq!(told(&mut world).identity, others[0]);
    assert!(is_registered(&world.register(0).unwrap()));
}

#[test]
fn scenario_49_a_lost_answer_costs_nothing_and_the_repeat_brings_the_same_pair() {
    let mut world = world();
    for lost in [Lost::Details, Lost::Access, Lost::Details] {
        world.lose_answers(Some(lost));
        let unanswered = world.migrate(0).unwrap();
        assert!(unanswered.clone().told().is_none(), "{unanswered:?}");
        assert_eq!((lent(&mut world, A, "out"), lent(&mut world, B, "in")), ((1, 1), (1, 1)));
    }
    world.lose_answers(None);
    let (_, outbound) = world.pairs(0).unwrap();
    let first = told(&mut world);
    assert_eq!(told(&mut world).identity, first.identity);
    assert_eq!((lent(&mut world, A, "out"), lent(&mut world, B, "in")), ((1, 1), (1, 1)));
    assert_eq!(world.pairs(0).unwrap().1, outbound);
}

#[test]
fn scenario_49_asking_again_gives_the_same_pair_even_after_restarts() {
    let (mut world, first) = bound_world();
    for restarted in [None, Some(A), Some(B)] {
        if let Some(system) = restarted {
            world.restart(system);
            world.run_for(Duration::from_secs(10)).unwrap();
        }
        let again = told(&mut world);
        assert_eq!(again.identity, first.identity, "after a restart of {restarted:?}");
        assert_eq!(again.configuration, first.configuration);
    }
}

#[test]
fn scenario_50_a_30_day_pause_with_restarts_does_not_hurt_the_registration() {
    let (mut world, details) = bound_world();
    for system in [A, B, A] {
        world.run_for(DAY * 10).unwrap();
        world.restart(system);
    }
    world.run_for(Duration::from_secs(60)).unwrap();
    assert!(world.now() < details.valid_until);
    assert!(is_registered(&world.register(0).unwrap()));
}

#[test]
fn scenario_51_a_binding_that_expired_is_refused_until_the_ue_asks_again() {
    let (mut world, expired) = bound_world();
    world.run_for(DAY * 40).unwrap();
    assert!(world.now() > expired.valid_until);
    assert_eq!(world.register(0).unwrap(), FORBIDDEN);
    assert_eq!(vectors_to_b(&world), 0);

    let renewed = told(&mut world);
    assert_ne!(renewed.identity, expired.identity, "a generated pair is never lent twice");
    assert!(is_registered(&world.register(0).unwrap()));
}

#[test]
fn scenario_52_after_the_partner_changed_its_data_network_a_repeat_tells_the_new_one() {
    let (mut world, first) = bound_world();
    world.run_for(DAY * 20).unwrap();
    put_configuration_of_b(&mut world, B, changed_configuration());
    world.restart(B);
    world.run_for(DAY).unwrap();

    let again = told(&mut world);
    assert_eq!(again.identity, first.identity);
    assert_eq!(again.configuration, changed_configuration());
    assert_ne!(again.configuration.document, first.configuration.document);
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
    assert_eq!(*stored.impus, [binding.identity.impu]);
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
        assert!(is_unreachable(&world.register(0).unwrap()));
    }
    world.heal();
    world.run_for(Duration::from_secs(40)).unwrap();
    assert!(world.is_connected());
    assert!(is_registered(&world.register(0).unwrap()));
}

#[test]
fn scenario_57_after_the_primary_withdrew_the_migration_the_partner_answers_403() {
    let (mut world, first) = bound_world();
    end_agreement(&mut world, A);
    assert_eq!(world.register(0).unwrap(), FORBIDDEN);
    assert_eq!((vectors_to_b(&world), refused_to_b(&world)), (0, 1));
    assert_eq!(world.migrate(0).unwrap(), Migration::Refused(Refusal::NoPartner));

    make_agreement(&mut world, A);
    assert_eq!(world.register(0).unwrap(), FORBIDDEN, "what was lent under the first one is void");
    assert_eq!(told(&mut world).identity, first.identity);
    assert!(is_registered(&world.register(0).unwrap()));
}

#[test]
fn scenario_57_an_administrators_release_withdraws_the_migration_too() {
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
    assert_eq!(*stored.impus, [real.impu]);
    assert_eq!(world.count_notes(A, &Note::VectorIssued { partner: None }), 1);
    assert_eq!(vectors_to_b(&world), 2, "one to register there, one to leave, none to come home");
}

#[test]
fn scenario_59_a_register_repeated_over_a_new_tcp_connection_costs_no_second_vector() {
    // the connection is lost before the vector is there, and after the challenge was sent
    for until in [18, 22] {
        let mut world = World::new(7, Options { tcp: 1_000, ..Options::faultless() });
        world.migrate(0).unwrap().told().expect("a pair");
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
fn scenario_62_a_configuration_stored_at_home_serves_where_the_partner_sends_none() {
    let mut world = world();
    let forget = Configure::DeleteSystemConfiguration(B.mc_system_id());
    configure(&mut world, B, forget);
    let stored = SystemConfiguration { revision: 7, ..changed_configuration() };
    put_configuration_of_b(&mut world, A, stored.clone());
    assert_eq!(told(&mut world).configuration, stored);
    assert!(is_registered(&world.register(0).unwrap()));

    // what the partner sends wins
    put_configuration_of_b(&mut world, B, B.configuration());
    assert_eq!(told(&mut world).configuration, B.configuration());
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

/// A way to fail before step 14 (rows 2 to 13): the trouble, what the UE is told, how many pairs stay lent
/// at home and at the partner, and what mends it.
struct Trouble {
    row: &'static str,
    begins: fn(&mut World),
    outcome: Migration,
    /// Outbound pairs at A, inbound pairs at B. Kept where the partner may hold something.
    kept: (u64, u64),
    ends: fn(&mut World),
}

const REFUSED: fn(Refusal) -> Migration = Migration::Refused;

/// Subscriber 0 of A is gone, but not its user.
fn delete_subscriber(world: &mut World) {
    let (real, _) = world.pairs(0).unwrap();
    assert_eq!(world.manage(A, Request::DeleteSubscriber(real.impi)).unwrap(), Some(Answer::Done));
}

fn put_subscriber(world: &mut World) {
    let subscriber = world.subscriber(0).unwrap();
    world.manage(A, Request::PutSubscriber(subscriber)).unwrap();
}

fn wait_for_b(world: &mut World) {
    world.run_for(Duration::from_secs(60)).unwrap();
}

#[test]
fn rows_2_to_13_each_trouble_is_told_keeps_what_it_must_and_can_be_mended() {
    let troubles = [
        Trouble {
            row: "2, the user may not migrate",
            begins: |world| let_migrate(world, false),
            outcome: REFUSED(Refusal::NotAuthorised),
            kept: (0, 0),
            ends: |world| let_migrate(world, true),
        },
        Trouble {
            row: "3, no agreement lets the user go",
            begins: |world| end_agreement(world, A),
            outcome: REFUSED(Refusal::NoPartner),
            kept: (0, 0),
            ends: |world| make_agreement(world, A),
        },
        Trouble {
            row: "5, the SIP database does not know the user",
            begins: delete_subscriber,
            outcome: REFUSED(Refusal::Unavailable),
            kept: (0, 0),
            ends: put_subscriber,
        },
        Trouble {
            row: "7, the partner cannot be reached",
            begins: World::partition,
            outcome: REFUSED(Refusal::PartnerUnreachable),
            kept: (1, 0),
            ends: World::heal,
        },
        Trouble {
            row: "7, the partner does not run",
            begins: |world| world.stop(B, Duration::from_secs(15)),
            outcome: REFUSED(Refusal::PartnerUnreachable),
            kept: (1, 0),
            ends: wait_for_b,
        },
        Trouble {
            row: "8, the partner does not let the user in",
            begins: |world| end_agreement(world, B),
            outcome: REFUSED(Refusal::RefusedByPartner),
            kept: (0, 0),
            ends: |world| make_agreement(world, B),
        },
        Trouble {
            row: "12, the answer of the partner is lost",
            begins: |world| world.lose_answers(Some(Lost::Access)),
            outcome: REFUSED(Refusal::PartnerUnreachable),
            kept: (1, 1),
            ends: |world| world.lose_answers(None),
        },
        Trouble {
            row: "12, nobody knows the configuration of the partner",
            begins: |world| {
                let forget = Configure::DeleteSystemConfiguration(B.mc_system_id());
                configure(world, B, forget);
            },
            outcome: REFUSED(Refusal::NotConfigured),
            kept: (1, 1),
            ends: |world| put_configuration_of_b(world, B, B.configuration()),
        },
        Trouble {
            row: "13, the answer to the UE is lost",
            begins: |world| world.lose_answers(Some(Lost::Details)),
            outcome: Migration::NoAnswer,
            kept: (1, 1),
            ends: |world| world.lose_answers(None),
        },
    ];
    for Trouble { row, begins, outcome, kept, ends } in troubles {
        let mut world = world();
        begins(&mut world);
        assert_eq!(world.migrate(0).unwrap(), outcome, "row {row}");
        let (_, pair) = world.pairs(0).unwrap();
        world.run_for(Duration::from_secs(15)).unwrap();
        let held = (lent(&mut world, A, "out").0, lent(&mut world, B, "in").0);
        assert_eq!(held, kept, "row {row}");
        assert_eq!(world.unanswered(), 0, "row {row}");

        ends(&mut world);
        told(&mut world);
        let held = (lent(&mut world, A, "out").0, lent(&mut world, B, "in").0);
        assert_eq!(held, (1, 1), "row {row}");
        if kept.0 == 1 {
            assert_eq!(
                world.pairs(0).unwrap().1,
                pair,
                "row {row}: the repeat names the same pair"
            );
        }
        world.run_for(Duration::from_secs(40)).unwrap();
        assert!(is_registered(&world.register(0).unwrap()), "row {row}");
    }
}

#[test]
fn row_5_an_exhausted_outbound_pool_asks_the_partner_nothing() {
    let options = Options { ues: 3, pools: Pools::Listed, ..Options::faultless() };
    let mut world = World::new(7, options);
    for ue in [1, 2] {
        world.migrate(ue).unwrap().told().expect("a pair");
    }
    let asked = performed(&world, 7);
    assert_eq!(world.migrate(0).unwrap(), Migration::Refused(Refusal::Exhausted));
    assert_eq!(performed(&world, 7), asked);
    let (_, outbound) = world.pairs(1).unwrap();
    world.manage(A, Request::ReleaseOutbound(outbound.impi)).unwrap();
    let still = world.migrate(0).unwrap();
    assert_eq!(still, Migration::Refused(Refusal::Exhausted), "the pair rests");
    world.run_for(OUTBOUND_QUARANTINE).unwrap();
    told(&mut world);
    assert!(is_registered(&world.register(0).unwrap()));
}

#[test]
fn row_8_a_refusal_by_the_partner_ends_the_grant_of_the_real_pair_too() {
    let mut world = World::new(7, Options { granted: 1_000, ..Options::faultless() });
    end_agreement(&mut world, B);
    assert_eq!(world.migrate(0).unwrap(), Migration::Refused(Refusal::RefusedByPartner));
    // and with the real pair bound at B all the same, no vector is given
    let (real, _) = world.pairs(0).unwrap();
    let inbound = inbound_for(&mut world, A.database(), real);
    world.impersonate(0, &inbound);
    assert_eq!(world.register(0).unwrap(), FORBIDDEN);
    assert_eq!((vectors_to_b(&world), refused_to_b(&world)), (0, 1));
}

#[test]
fn row_7_an_answer_that_comes_too_late_changes_nothing() {
    let slow = Duration::from_secs(3);
    let options = Options { delay_min: slow, delay_max: slow, ..Options::faultless() };
    let mut world = World::new(7, options);
    // the partner's answer is six seconds under way there and back; the server waits five
    assert_eq!(world.migrate(0).unwrap(), Migration::NoAnswer, "too late for the UE, too");
    world.run_for(Duration::from_secs(30)).unwrap();
    assert_eq!((lent(&mut world, A, "out"), lent(&mut world, B, "in")), ((1, 1), (1, 1)));
    assert_eq!(world.unanswered(), 0);
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
fn row_17_a_partner_that_ended_its_agreement_refuses_without_a_word_to_the_primary() {
    let (mut world, _) = bound_world();
    end_agreement(&mut world, B);
    assert_eq!(world.register(0).unwrap(), FORBIDDEN);
    assert_eq!((performed(&world, 18), refused_to_b(&world)), (0, 0));
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
    assert!(is_unreachable(&world.register(0).unwrap()));
    let took = world.now().since(began);
    assert!((4..5).contains(&took.as_secs()), "took {took:?}");

    world.heal();
    world.run_for(Duration::from_secs(40)).unwrap();
    assert!(is_unreachable(world.state(0)), "the late vector is dropped");
    assert!(is_registered(&world.register(0).unwrap()));
}

#[test]
fn row_18_a_primary_that_restarts_is_504_until_it_is_back() {
    let (mut world, _) = bound_world();
    world.stop(A, Duration::from_secs(5));
    world.run_for(Duration::from_secs(1)).unwrap();
    assert!(is_unreachable(&world.register(0).unwrap()));
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
    let binding = world.migrate(0).unwrap().told().expect("a pair");
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
