//! Hand-made violations of what must hold of vectors and answers, in a world where all is well.

use std::time::Duration;

use super::*;
use crate::{
    aka::{AuthVector, Sqn},
    api::{
        configuration,
        migration_identity::{Answer, Direction, Refusal, Request},
    },
    diameter::cx::{ResultCode, ServerAssignmentAnswer, ServerAssignmentRequest},
    identity::UserIdentity,
    outbox::{ReplyTo, Role},
    ue::State,
};

use super::{
    http::{Asker, Inquiry},
    system::Parked,
};

const STORED: Result<(), &str> = Err("a partner gets vectors for a stored binding");
const WITHDRAWN: Result<(), &str> = Err("no vector leaves after a confirmed withdrawal");

/// A world whose UE knows its pair at the partner, which comes with it.
fn migrated(options: Options) -> (World, UserIdentity) {
    let mut world = World::new(1, options);
    let pair = world.migrate(0).unwrap().told().unwrap().identity;
    (world, pair)
}

/// Another vector of the UE.
fn vector(world: &World, seq: u64) -> AuthVector {
    world.ues[0].milenage.vector(&[7; 16], Sqn::new(seq, 4, 5), [0x80, 0])
}

const REQUEST: RequestId = RequestId { role: Role::SipCore, number: u64::MAX };

/// Whether B may hand a vector to its SIP core, asked for at `since`.
fn serves(world: &mut World, pair: &UserIdentity, since: Timestamp) -> Result<(), &'static str> {
    let sar = ServerAssignmentRequest {
        impi: None,
        impus: [].into_iter().collect(),
        server_name: "".into(),
        assignment: cx::ServerAssignmentType::NoAssignment,
        user_data_already_available: true,
    };
    world.b.asked.insert(REQUEST, (since, cx::Request::ServerAssignment(sar)));
    let vector = vector(world, 1);
    let checked = world.check_vector(SystemId::B, &ReplyTo::Role(REQUEST), pair, &vector);
    world.b.asked.remove(&REQUEST);
    checked.map_err(|violation| violation.rule)
}

/// Whether A may give B a vector, asked for at `since`.
fn gives(world: &mut World, pair: &UserIdentity, since: Timestamp) -> Result<(), &'static str> {
    let ue = &world.ues[0];
    world.may_be_given(ue, pair, since)
}

#[test]
fn no_vector_is_served_for_an_inbound_pair_that_was_released() {
    let (mut world, pair) = migrated(Options::faultless());
    let before = world.now();
    assert_eq!(serves(&mut world, &pair, before), Ok(()));
    world.run_for(Duration::from_secs(1)).unwrap();
    let request = Request::ReleaseInbound(pair.impi.clone());
    assert_eq!(world.manage(SystemId::B, request).unwrap(), Some(Answer::Done));
    assert_eq!(serves(&mut world, &pair, before), WITHDRAWN);
    world.checks.given_back.clear();
    assert_eq!(serves(&mut world, &pair, before), Ok(()), "it was under way before");
    world.run_for(Duration::from_secs(1)).unwrap();
    let now = world.now();
    assert_eq!(serves(&mut world, &pair, now), STORED);
}

#[test]
fn no_vector_is_served_or_given_under_an_agreement_that_was_withdrawn() {
    for at in [SystemId::A, SystemId::B] {
        let (mut world, pair) = migrated(Options::faultless());
        let (_, outbound) = world.pairs(0).unwrap();
        let before = world.now();
        assert_eq!(gives(&mut world, &outbound, before), Ok(()));
        world.run_for(Duration::from_secs(1)).unwrap();
        let key = world.agreement(0, at).unwrap().key;
        let request = configuration::Request::DeleteAgreement(key);
        assert_eq!(world.configure(at, request).unwrap(), Some(configuration::Answer::Done));
        for since in [before, world.now()] {
            let (given, served) =
                (gives(&mut world, &outbound, since), serves(&mut world, &pair, since));
            let (here, there) = if at == SystemId::A { (given, served) } else { (served, given) };
            assert_eq!((here, there), (STORED, Ok(())));
        }
        // Without a word of its end it is what is stored that counts.
        world.checks.ended.clear();
        assert_eq!(gives(&mut world, &outbound, before), Ok(()));
        let now = world.now();
        let given = gives(&mut world, &outbound, now);
        assert_eq!(given.is_ok(), at == SystemId::B);
    }
}

#[test]
fn no_vector_is_given_after_the_end_of_visits_or_of_a_grant() {
    for granted in [0, 1_000] {
        let (mut world, _) = migrated(Options { granted, ..Options::faultless() });
        let (real, pair) = world.pairs(0).unwrap();
        assert_eq!(real == pair, granted > 0);
        let before = world.now();
        assert_eq!(gives(&mut world, &pair, before), Ok(()));
        world.run_for(Duration::from_secs(1)).unwrap();
        let request = Request::EndVisits(real.impi.clone());
        assert_eq!(world.manage(SystemId::A, request).unwrap(), Some(Answer::Done));
        assert_eq!(gives(&mut world, &pair, before), WITHDRAWN);
        let now = world.now();
        assert_eq!(gives(&mut world, &pair, now), STORED);
        world.migrate(0).unwrap().told().unwrap();
        let (_, pair) = world.pairs(0).unwrap();
        let now = world.now();
        assert_eq!(gives(&mut world, &pair, now), Ok(()), "lent anew");
    }
}

#[test]
fn no_vector_is_given_once_a_grant_is_over() {
    let mut world = World::new(1, Options::faultless());
    let user = world.pairs(0).unwrap().0;
    let request = Request::PutGrant {
        user: user.clone(),
        partner: SystemId::B.database(),
        valid_for: Duration::from_secs(60),
        allowed: None,
    };
    let granted = world.manage(SystemId::A, request).unwrap();
    assert!(matches!(granted, Some(Answer::Granted { .. })), "{granted:?}");
    let now = world.now();
    assert_eq!(gives(&mut world, &user, now), Ok(()));
    world.run_for(Duration::from_secs(60)).unwrap();
    let now = world.now();
    assert_eq!(gives(&mut world, &user, now), STORED);
}

/// Whether `answer` to a question would do now.
fn answers(world: &mut World, at: SystemId, request: Request, answer: &Answer) -> bool {
    let question = world.ask(at, Inquiry::Database(request), Asker::Test);
    let since = world.now();
    let handle = world.system_mut(at).park(Parked::Http { question, since });
    let checked = world.check_management(at, &ReplyTo::World(handle), answer);
    world.system_mut(at).parked.remove(&handle);
    checked.is_ok()
}

#[test]
fn what_is_stored_is_found_and_what_is_not_is_not_told() {
    let (mut world, pair) = migrated(Options::faultless());
    world.run_for(Duration::from_secs(1)).unwrap();
    let (real, outbound) = world.pairs(0).unwrap();
    let absent = Answer::Refused(Refusal::NotFound("it"));
    let world = &mut world;
    let grant = Request::DeleteGrant { impi: real.impi.clone(), partner: SystemId::B.database() };
    for (at, request, is_there) in [
        (SystemId::A, Request::GetSubscriber(real.impi.clone()), true),
        (SystemId::B, Request::GetSubscriber(real.impi.clone()), false),
        (SystemId::A, Request::GetOutbound(outbound.impi.clone()), true),
        (SystemId::A, Request::GetOutbound(pair.impi.clone()), false),
        (SystemId::B, Request::GetInbound(pair.impi.clone()), true),
        (SystemId::A, grant, false),
        (SystemId::A, Request::GetPool("out".to_owned()), true),
        (SystemId::A, Request::GetPool("other".to_owned()), false),
    ] {
        let accepted = answers(world, at, request.clone(), &absent);
        assert_eq!(accepted, !is_there, "{request:?}");
    }
    let request = Request::GetInbound(pair.impi.clone());
    let shown = world.manage(SystemId::B, request.clone()).unwrap().unwrap();
    assert!(answers(world, SystemId::B, request.clone(), &shown));
    let Answer::Binding(binding) = shown else { panic!("{shown:?}") };
    let mut wrong = binding.clone();
    wrong.details.as_mut().unwrap().holder = real.clone();
    assert!(!answers(world, SystemId::B, request.clone(), &Answer::Binding(wrong)));
    let mut wrong = binding;
    wrong.reserved_until = world.now();
    assert!(!answers(world, SystemId::B, request, &Answer::Binding(wrong)));
    for (total, direction, known) in [
        (1, Direction::Outbound, true),
        (1, Direction::Inbound, false),
        (u64::MAX, Direction::Outbound, false),
    ] {
        let pool = Answer::Pool { direction, total, lent: 1, free: None };
        let request = Request::GetPool("out".to_owned());
        assert_eq!(answers(world, SystemId::A, request, &pool), known, "{pool:?}");
    }
    for (impus, known) in [(vec![real.impu.clone()], true), (Vec::new(), false)] {
        let subscriber = Answer::Subscriber { impi: real.impi.clone(), impus, seq: 0 };
        let request = Request::GetSubscriber(real.impi.clone());
        assert_eq!(answers(world, SystemId::A, request, &subscriber), known);
    }
}

#[test]
fn a_configuration_server_finds_what_is_stored() {
    let mut world = World::new(1, Options::faultless());
    world.run_for(Duration::from_secs(1)).unwrap();
    let key = world.agreement(0, SystemId::A).unwrap().key;
    let name = world.user(0).unwrap().mc_service_id;
    let absent = configuration::Answer::Refused(Refusal::NotFound("it"));
    for (at, accepted) in [(SystemId::A, false), (SystemId::B, true)] {
        for request in [
            configuration::Request::GetUser(name.clone()),
            configuration::Request::GetAgreement(key.clone()),
        ] {
            let question = world.ask(at, Inquiry::ConfigServer(request), Asker::Test);
            let since = world.now();
            let handle = world.system_mut(at).park(Parked::Http { question, since });
            let checked = world.check_configuration(at, &ReplyTo::World(handle), &absent);
            world.system_mut(at).parked.remove(&handle);
            assert_eq!(checked.is_ok(), accepted);
        }
    }
}

#[test]
fn an_assignment_is_confirmed_only_as_it_is_stored() {
    use cx::ServerAssignmentType as Type;
    let (mut world, pair) = migrated(Options::faultless());
    let confirms = |world: &mut World, assignment, impu: &crate::identity::Impu| {
        let (impi, impus) = (pair.impi.clone(), [impu.clone()]);
        let sar = ServerAssignmentRequest {
            impi: Some(impi.clone()),
            impus: impus.clone().into(),
            server_name: "".into(),
            assignment,
            user_data_already_available: false,
        };
        let since = world.now();
        world.b.asked.insert(REQUEST, (since, cx::Request::ServerAssignment(sar)));
        let user_data = Some(cx::UserData { impi: impi.clone(), impus: impus.to_vec() });
        let saa =
            ServerAssignmentAnswer { result: ResultCode::SUCCESS, impi: Some(impi), user_data };
        let checked = world.check_assignment(SystemId::B, &ReplyTo::Role(REQUEST), &saa);
        world.b.asked.remove(&REQUEST);
        checked.is_ok()
    };
    world.run_for(Duration::from_secs(1)).unwrap();
    assert!(!confirms(&mut world, Type::Registration, &pair.impu));
    assert!(confirms(&mut world, Type::UserDeregistration, &pair.impu));
    assert!(matches!(world.register(0).unwrap(), State::Registered(_)));
    world.run_for(Duration::from_secs(1)).unwrap();
    assert!(confirms(&mut world, Type::Registration, &pair.impu));
    assert!(!confirms(&mut world, Type::UserDeregistration, &pair.impu));
    let other = world.pairs(0).unwrap().0.impu;
    assert!(!confirms(&mut world, Type::Registration, &other));
    assert_eq!(world.check_assignments(), Ok(()));
    // As if B's SIP core had forgotten the user without a word.
    world.switch_off(0);
    let known = world.tables(SystemId::B).unwrap();
    let told = |_: &crate::identity::Impi| true;
    let core = crate::sip_core::Config::for_domain("b.example").server_name;
    assert_eq!(known.check_assignments(world.now(), &core, told), Ok(()));
    assert!(!world.checks.assigned.is_empty());
}
