//! The SIP database's steps of TR 23.781 solution 2 and what can go wrong in each.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::redundant_closure_for_method_calls,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "test code"
)]

mod sip_database_harness;

use std::time::Duration;

use migcore::{
    aka::Sqn,
    api::migration_identity::{Direction, PrimaryUser, Refusal, Request as Manage},
    diameter::cx::{
        MultimediaAuthAnswer, MultimediaAuthRequest, Request, ResultCode, Resync,
        ServerAssignmentType as Type,
    },
    outbox::{Note, Peer},
    sip_database::Config,
    step::Step,
    store::CommitSeq,
};
use sip_database_harness::*;

const DAY: Duration = Duration::from_secs(24 * 3_600);

fn peer_b() -> Peer {
    Peer::Database(database("hss.b.example"))
}

#[test]
fn step_5_lends_an_outbound_pair_and_binds_it_to_the_real_one() {
    let Migration { mut a, outbound, .. } = Migration::prepared();
    assert_ne!(outbound, alice());
    assert_eq!(outbound.impi.realm(), "a.example");
    assert_eq!(a.binding(Manage::GetOutbound(outbound.impi.clone())).identity, outbound);
    // Bound to the real pair: a vector for it is made with Alice's key.
    let answer = a.vector(&peer_b(), mar(&outbound));
    assert_eq!(sqn_of(&answer.vector.unwrap()).0, 1);
}

#[test]
fn step_5_refuses_who_is_no_subscriber_and_another_identity_of_one() {
    let mut a = system_a();
    a.done(Manage::PutPool(generated("out", Direction::Outbound, "a.example")));
    let partner = database("hss.b.example");
    let bind = |user| Manage::BindOutbound { user, partner: partner.clone(), allowed: None };
    assert_eq!(a.refusal(bind(alice())), Refusal::NotFound("subscriber"));
    a.put_alice();
    let mut stranger = alice();
    stranger.impu = pair("bob", "a.example").impu;
    assert!(matches!(a.refusal(bind(stranger)), Refusal::Invalid(_)));
    let own = database("hss.a.example");
    let to_itself = Manage::BindOutbound { user: alice(), partner: own, allowed: None };
    assert!(matches!(a.refusal(to_itself), Refusal::Invalid(_)));
    assert_eq!(
        a.manage(Manage::GetPool("out".to_owned())),
        migcore::api::migration_identity::Answer::Pool {
            direction: Direction::Outbound,
            total: 0,
            lent: 0,
            free: None
        },
        "nothing was allocated"
    );
}

#[test]
fn step_6_answers_with_the_outbound_pair_after_it_is_durable() {
    let mut a = system_a();
    a.put_alice();
    a.done(Manage::PutPool(generated("out", Direction::Outbound, "a.example")));
    let first = a.manage_effects(bind_outbound());
    assert_eq!(first.sent(), (first.last_commit(), Some(Step::mig(6))));
    assert_eq!(first.steps, [Step::mig(5)]);

    let repeat = a.manage_effects(bind_outbound());
    assert!(repeat.commits.is_empty());
    assert_eq!(repeat.sent(), first.sent(), "the repeat waits for the same commit");
    assert_eq!(repeat.lent(), first.lent());
}

#[test]
fn step_10_lends_an_inbound_pair_and_binds_it_to_the_primary_side_one() {
    let Migration { mut b, outbound, inbound, .. } = Migration::prepared();
    assert_eq!(inbound.impi.realm(), "b.example");
    assert_eq!(inbound.impu.host(), "b.example");
    assert_eq!(b.binding(Manage::GetInbound(inbound.impi.clone())).identity, inbound);
    let (to, _, request) =
        b.request(&Peer::OwnCore, Request::MultimediaAuth(mar(&inbound))).forwarded();
    assert_eq!((to, request.identity), (database("hss.a.example"), outbound));
}

#[test]
fn step_10_gives_each_user_a_pair_of_its_own_and_the_same_user_the_same_pair() {
    let Migration { mut b, outbound, inbound, .. } = Migration::prepared();
    let other_database = PrimaryUser { database: database("hss.c.example"), ..primary(&outbound) };
    let other_pair = primary(&pair("carol", "a.example"));
    let others = [other_database, other_pair]
        .map(|user| b.binding(Manage::BindInbound { primary: user, allowed: None }));
    assert!(others.iter().all(|other| other.identity != inbound));
    assert_ne!(others[0].identity, others[1].identity);
    // Another Server-Name is taken over, with the pair unchanged.
    let renamed = PrimaryUser { server_name: "sip:new.a.example".to_owned(), ..primary(&outbound) };
    assert_eq!(
        b.binding(Manage::BindInbound { primary: renamed, allowed: None }).identity,
        inbound
    );
    let effects = b.request(&Peer::OwnCore, Request::MultimediaAuth(mar(&inbound)));
    assert_eq!(*effects.forwarded().2.server_name, *"sip:new.a.example");
}

#[test]
fn step_10_refuses_a_user_of_its_own_system_and_a_request_without_server_name() {
    let mut b = system_b();
    b.done(Manage::PutPool(generated("in", Direction::Inbound, "b.example")));
    let own = PrimaryUser { database: database("hss.b.example"), ..primary(&alice()) };
    assert!(matches!(
        b.refusal(Manage::BindInbound { primary: own, allowed: None }),
        Refusal::Invalid(_)
    ));
    let nameless = PrimaryUser { server_name: String::new(), ..primary(&alice()) };
    assert!(matches!(
        b.refusal(Manage::BindInbound { primary: nameless, allowed: None }),
        Refusal::Invalid(_)
    ));
}

#[test]
fn step_11_answers_with_the_inbound_pair_after_it_is_durable() {
    let mut b = system_b();
    b.done(Manage::PutPool(generated("in", Direction::Inbound, "b.example")));
    let first = b.manage_effects(Manage::BindInbound { primary: primary(&alice()), allowed: None });
    assert_eq!(first.sent(), (first.last_commit(), Some(Step::mig(11))));
    assert_eq!(first.steps, [Step::mig(10)]);
    let repeat =
        b.manage_effects(Manage::BindInbound { primary: primary(&alice()), allowed: None });
    assert!(repeat.commits.is_empty());
    assert_eq!(repeat.sent(), first.sent());
    assert_eq!(repeat.lent(), first.lent());
}

#[test]
fn scenario_48_an_exhausted_pool_refuses_and_lends_again_after_a_release_and_the_quarantine() {
    let mut b = system_b();
    let only = vec![pair("guest", "b.example")];
    b.done(Manage::PutPool(listed("in", Direction::Inbound, only, DAY)));
    let bind = |user: &str| Manage::BindInbound {
        primary: primary(&pair(user, "a.example")),
        allowed: None,
    };
    let guest = b.binding(bind("alice")).identity;
    assert_eq!(guest, pair("guest", "b.example"));
    assert_eq!(b.refusal(bind("bob")), Refusal::Exhausted("inbound"));
    b.done(Manage::ReleaseInbound(guest.impi.clone()));
    assert_eq!(b.refusal(bind("bob")), Refusal::Exhausted("inbound"), "it rests");
    b.pass(DAY);
    assert_eq!(b.binding(bind("bob")).identity, guest);
    assert_eq!(b.refusal(bind("alice")), Refusal::Exhausted("inbound"));
}

#[test]
fn scenario_49_a_repeat_gives_the_same_inbound_pair_and_leaves_the_pool_alone() {
    let Migration { mut b, outbound, inbound, .. } = Migration::prepared();
    let before = b.manage(Manage::GetPool("in".to_owned()));
    for _ in 0..3 {
        assert_eq!(
            b.binding(Manage::BindInbound { primary: primary(&outbound), allowed: None }).identity,
            inbound
        );
    }
    assert_eq!(b.manage(Manage::GetPool("in".to_owned())), before);
}

#[test]
fn scenario_50_a_pause_of_29_days_with_restarts_in_it_ends_in_a_vector() {
    let mut migration = Migration::prepared();
    for _ in 0..29 {
        migration.a.pass(DAY);
        migration.b.pass(DAY);
        migration.a.restart();
        migration.b.restart();
    }
    let answer = migration.fetch(None);
    assert_eq!(answer.result, ResultCode::SUCCESS);
    assert_eq!(answer.identity, migration.inbound);
    sqn_of(&answer.vector.unwrap());
}

#[test]
fn step_16_refuses_an_unknown_inbound_identity() {
    let mut migration = Migration::prepared();
    migration.inbound = pair("nobody", "b.example");
    assert_eq!(migration.fetch(None).result, UNKNOWN);
}

#[test]
fn step_16_refuses_a_public_identity_of_another_pair() {
    let mut migration = Migration::prepared();
    let other = migration.b.binding(Manage::BindInbound {
        primary: primary(&pair("bob", "a.example")),
        allowed: None,
    });
    migration.inbound.impu = other.identity.impu;
    assert_eq!(migration.fetch(None).result, ResultCode::IDENTITIES_DONT_MATCH);
}

#[test]
fn step_17_finds_the_primary_by_the_binding() {
    let mut migration = Migration::prepared();
    // NOTE 6: not the realm but the binding selects the primary database, for each user its own.
    let outbound = migration.outbound.clone();
    let elsewhere = PrimaryUser { database: database("slf.c.example"), ..primary(&outbound) };
    let second =
        migration.b.binding(Manage::BindInbound { primary: elsewhere, allowed: None }).identity;
    for (inbound, fqdn) in [(migration.inbound.clone(), "hss.a.example"), (second, "slf.c.example")]
    {
        migration.inbound = inbound;
        let effects = migration.core_asks(None);
        assert_eq!(effects.steps, [Step::mig(17)]);
        let (to, _, request) = effects.forwarded();
        assert_eq!((to, request.identity), (database(fqdn), outbound.clone()));
    }
}

#[test]
fn step_17_refuses_an_expired_binding() {
    for timers_fire in [true, false] {
        let mut migration = Migration::prepared();
        if !timers_fire {
            migration.b.timers.clear();
        }
        migration.b.pass(30 * DAY);
        let answer = migration.fetch(None);
        assert_eq!(answer.result, UNKNOWN, "with timers: {timers_fire}");
        assert_eq!(answer.identity, migration.inbound, "also a refusal names the pair");
    }
}

#[test]
fn step_17_refuses_a_revoked_binding() {
    let mut migration = Migration::prepared();
    migration.b.done(Manage::ReleaseInbound(migration.inbound.impi.clone()));
    assert_eq!(migration.fetch(None).result, UNKNOWN);
    let again = Manage::ReleaseInbound(migration.inbound.impi.clone());
    assert_eq!(migration.b.refusal(again), Refusal::NotFound("inbound binding"));
}

#[test]
fn scenario_51_after_expiry_a_repeat_of_step_1_succeeds_with_another_pair() {
    let mut migration = Migration::prepared();
    migration.b.pass(31 * DAY);
    assert_eq!(migration.fetch(None).result, UNKNOWN);
    let again = migration
        .b
        .binding(Manage::BindInbound { primary: primary(&migration.outbound), allowed: None })
        .identity;
    assert_ne!(again, migration.inbound, "a generated identity is lent once");
    migration.inbound = again;
    let outbound = migration.a.binding(bind_outbound()).identity;
    migration.outbound = outbound.clone();
    migration.inbound = migration
        .b
        .binding(Manage::BindInbound { primary: primary(&outbound), allowed: None })
        .identity;
    assert_eq!(migration.fetch(None).result, ResultCode::SUCCESS);
}

#[test]
fn step_18_asks_the_primary_with_the_primary_side_pair() {
    let mut migration = Migration::prepared();
    let effects = migration.core_asks(None);
    let stored = migration.b.sequencer.last();
    assert_eq!(effects.sent(), (stored, Some(Step::mig(18))), "the binding is durable first");
    let (_, _, request) = effects.forwarded();
    assert_eq!(request.identity, migration.outbound);
    assert_eq!(*request.server_name, *"sip:migrated.a.example", "the primary's choice, not ours");
}

#[test]
fn scenario_56_an_unreachable_primary_is_a_temporary_failure() {
    let mut migration = Migration::prepared();
    let (_, id, _) = migration.core_asks(None).forwarded();
    let lost = migration.b.unreachable(id);
    assert_eq!(lost.sent().1, Some(Step::mig(21)));
    let answer = lost.vector();
    assert_eq!(answer.result, ResultCode::UNABLE_TO_DELIVER);
    assert_eq!(answer.identity, migration.inbound);
    assert_eq!(migration.fetch(None).result, ResultCode::SUCCESS, "when A is back");
}

#[test]
fn step_18_gives_up_after_4_s_and_drops_the_late_answer() {
    let mut migration = Migration::prepared();
    let (_, id, request) = migration.core_asks(None).forwarded();
    assert!(migration.b.pass(Duration::from_millis(3_999)).sends.is_empty());
    let answer = migration.b.pass(Duration::from_millis(1)).vector();
    assert_eq!(answer.result, ResultCode::UNABLE_TO_DELIVER);
    let late = migration.a.vector(&peer_b(), request);
    assert!(migration.b.answered(id, late).sends.is_empty());
    // In time, the answer counts and the timer finds nothing left.
    assert_eq!(migration.fetch(None).result, ResultCode::SUCCESS);
    assert!(migration.b.pass(Duration::from_secs(5)).sends.is_empty());
}

#[test]
fn step_18_refuses_when_too_many_requests_wait() {
    let mut config = Config::new(database("hss.b.example"), "b.example");
    config.pending_forwards_max = 2;
    let mut migration = Migration::prepared();
    let mut b = System::with(config);
    b.done(Manage::PutPool(generated("in", Direction::Inbound, "b.example")));
    migration.inbound = b
        .binding(Manage::BindInbound { primary: primary(&migration.outbound), allowed: None })
        .identity;
    migration.b = b;
    let ids = [0; 2].map(|_| migration.core_asks(None).forwarded().1);
    let refused = migration.core_asks(None);
    assert!(matches!(refused.notes[..], [Note::TableFull(_)]));
    assert_eq!(refused.vector().result, ResultCode::TOO_BUSY);
    migration.b.unreachable(ids[0]);
    assert_eq!(migration.fetch(None).result, ResultCode::SUCCESS);
}

#[test]
fn step_19_answers_with_a_vector_and_the_pair_it_was_asked_with() {
    let mut migration = Migration::prepared();
    let (_, _, request) = migration.core_asks(None).forwarded();
    let effects = migration.a.request(&peer_b(), Request::MultimediaAuth(request.clone()));
    assert_eq!(effects.notes, [Note::VectorIssued { partner: Some(database("hss.b.example")) }]);
    assert_eq!(effects.sent(), (effects.last_commit(), Some(Step::mig(19))));
    let answer = effects.vector();
    assert_eq!((answer.identity, answer.scheme), (request.identity, request.scheme));
    let (seq, ind) = sqn_of(&answer.vector.unwrap());
    assert_eq!((seq, ind), (1, 4), "the first IND of visited systems");
}

#[test]
fn step_19_never_touches_the_serving_server_of_the_home() {
    let mut migration = Migration::prepared();
    assert!(migration.a.vector(&Peer::OwnCore, mar(&alice())).result.is_success());
    assert!(migration.a.assign(sar(&alice(), Type::Registration)).result.is_success());
    assert_eq!(migration.fetch(None).result, ResultCode::SUCCESS);
    let refreshed = migration.a.assign(sar(&alice(), Type::ReRegistration));
    assert_eq!(refreshed.result, ResultCode::SUCCESS, "the home core still serves Alice");
    let mut foreign = sar(&alice(), Type::Registration);
    foreign.server_name = "sip:migrated.a.example".into();
    let refused = migration.a.assign(foreign).result;
    assert_eq!(refused, ResultCode::IDENTITY_ALREADY_REGISTERED);
}

#[test]
fn step_19_refuses_an_expired_outbound_binding_and_keeps_one_in_use() {
    let mut idle = Migration::prepared();
    idle.a.pass(30 * DAY);
    assert_eq!(idle.a.vector(&peer_b(), mar(&idle.outbound)).result, UNKNOWN);

    let mut used = Migration::prepared();
    for _ in 0..10 {
        used.a.pass(20 * DAY);
        let answer = used.a.vector(&peer_b(), mar(&used.outbound));
        assert_eq!(answer.result, ResultCode::SUCCESS);
    }
}

#[test]
fn scenario_42_only_lent_identities_are_on_the_wire_between_the_systems() {
    let mut migration = Migration::prepared();
    let (_, id, request) = migration.core_asks(None).forwarded();
    let answer = migration.a.vector(&peer_b(), request.clone());
    for identity in [&request.identity, &answer.identity] {
        assert_eq!(*identity, migration.outbound);
        assert!(!identity.impi.as_str().contains("alice"));
        assert!(!identity.impu.as_str().contains("alice"));
    }
    // With outbound identities in use the real pair is no way in.
    assert_eq!(migration.a.vector(&peer_b(), mar(&alice())).result, UNKNOWN);
    assert_eq!(migration.b.answered(id, answer).vector().identity, migration.inbound);
}

#[test]
fn scenario_43_a_grant_lets_the_partner_use_the_real_pair_while_it_is_valid() {
    let (mut a, mut b) = (system_a(), system_b());
    a.put_alice();
    b.done(Manage::PutPool(generated("in", Direction::Inbound, "b.example")));
    let partner = database("hss.b.example");
    let grant =
        Manage::PutGrant { user: alice(), partner: partner.clone(), valid_for: DAY, allowed: None };
    a.granted(grant.clone());
    let inbound =
        b.binding(Manage::BindInbound { primary: primary(&alice()), allowed: None }).identity;
    let mut migration = Migration { a, b, outbound: alice(), inbound };
    assert_eq!(migration.fetch(None).result, ResultCode::SUCCESS);
    migration.a.restart();
    assert_eq!(migration.fetch(None).result, ResultCode::SUCCESS);
    migration.a.pass(DAY);
    assert_eq!(migration.fetch(None).result, UNKNOWN);
    migration.a.granted(grant);
    assert_eq!(migration.fetch(None).result, ResultCode::SUCCESS);
    let withdrawal = Manage::DeleteGrant { impi: alice().impi, partner };
    migration.a.done(withdrawal.clone());
    assert_eq!(migration.fetch(None).result, UNKNOWN);
    assert_eq!(migration.a.refusal(withdrawal), Refusal::NotFound("grant"));
}

#[test]
fn scenario_54_an_auts_travels_to_the_primary_and_moves_sqn_ahead() {
    let mut migration = Migration::prepared();
    let first = migration.fetch(None).vector.unwrap();
    let auts = milenage().auts(&first.rand, Sqn::new(5_000, 4, 5));
    let resync = Resync { rand: first.rand, auts };
    let (_, id, request) = migration.core_asks(Some(resync)).forwarded();
    assert_eq!(request.resync, Some(resync), "passed on unchanged");
    let effects = migration.a.request(&peer_b(), Request::MultimediaAuth(request));
    assert!(effects.notes.contains(&Note::Resynchronised));
    assert_eq!(effects.commits.len(), 1, "jump and new range in one commit");
    assert_eq!(effects.sent().0, effects.last_commit());
    let answer = migration.b.answered(id, effects.vector()).vector();
    assert_eq!(sqn_of(&answer.vector.unwrap()), (5_001, 4));
    migration.a.restart();
    let next = migration.fetch(None).vector.unwrap();
    assert!(sqn_of(&next).0 > 5_001, "the jump is durable");
}

#[test]
fn an_auts_with_a_wrong_mac_s_is_refused_and_changes_nothing() {
    let mut migration = Migration::prepared();
    let first = migration.fetch(None).vector.unwrap();
    let mut auts = milenage().auts(&first.rand, Sqn::new(5_000, 4, 5));
    auts[13] ^= 1;
    let request = MultimediaAuthRequest {
        resync: Some(Resync { rand: first.rand, auts }),
        ..mar(&migration.outbound)
    };
    let effects = migration.a.request(&peer_b(), Request::MultimediaAuth(request));
    assert!(effects.commits.is_empty());
    assert_eq!(effects.notes, [Note::ResynchronisationRefused]);
    assert_eq!(effects.vector().result, ResultCode::UNABLE_TO_COMPLY);
    assert_eq!(sqn_of(&migration.fetch(None).vector.unwrap()).0, 2);
}

#[test]
fn an_auts_of_a_ue_that_is_not_behind_keeps_sqn_and_one_far_behind_moves_it_back() {
    let far = (1 << 28) + 10;
    for (ue_seq, note, next) in
        [(far - 1, None, far + 2), (3, Some(Note::SqnMovedBack), 4), (20, None, far + 2)]
    {
        let mut a = system_a();
        a.done(Manage::PutSubscriber(subscriber(&alice(), far)));
        let first = a.vector(&Peer::OwnCore, mar(&alice())).vector.unwrap();
        let auts = milenage().auts(&first.rand, Sqn::new(ue_seq, 0, 5));
        let resync = Some(Resync { rand: first.rand, auts });
        let request = MultimediaAuthRequest { resync, ..mar(&alice()) };
        let effects = a.request(&Peer::OwnCore, Request::MultimediaAuth(request));
        let moved = effects.notes.iter().find(|note| **note == Note::SqnMovedBack).cloned();
        assert_eq!(moved, note, "UE at {ue_seq}");
        let answer = effects.vector().vector.unwrap();
        assert_eq!(sqn_of(&answer).0, next, "UE at {ue_seq}");
    }
}

#[test]
fn step_20_translates_back_to_the_inbound_pair() {
    let mut migration = Migration::prepared();
    let (_, id, request) = migration.core_asks(None).forwarded();
    let answer = migration.a.vector(&peer_b(), request);
    let effects = migration.b.answered(id, answer);
    assert_eq!(effects.steps, [Step::mig(20)]);
    assert_eq!(effects.vector().identity, migration.inbound);
}

#[test]
fn step_20_accepts_no_answer_for_another_pair_nor_one_without_a_vector() {
    type Spoil = fn(&mut MultimediaAuthAnswer);
    let spoil: [(&str, Spoil); 3] = [
        ("another pair", |answer| answer.identity = pair("mallory", "a.example")),
        ("half another pair", |answer| answer.identity.impu = pair("mallory", "a.example").impu),
        ("no vector", |answer| answer.vector = None),
    ];
    for (what, spoil) in spoil {
        let mut migration = Migration::prepared();
        let (_, id, request) = migration.core_asks(None).forwarded();
        let mut answer = migration.a.vector(&peer_b(), request);
        spoil(&mut answer);
        let told = migration.b.answered(id, answer).vector();
        assert_eq!(told.result, ResultCode::UNABLE_TO_COMPLY, "{what}");
        assert_eq!((told.identity, told.vector), (migration.inbound, None), "{what}");
    }
}

#[test]
fn step_20_gives_no_vector_for_a_binding_revoked_meanwhile() {
    let mut migration = Migration::prepared();
    let (_, id, request) = migration.core_asks(None).forwarded();
    let answer = migration.a.vector(&peer_b(), request);
    migration.b.done(Manage::ReleaseInbound(migration.inbound.impi.clone()));
    let told = migration.b.answered(id, answer).vector();
    assert_eq!((told.result, told.vector), (UNKNOWN, None));
}

#[test]
fn step_20_gives_no_vector_for_a_pair_lent_to_another_user_meanwhile() {
    let (mut a, mut b) = (system_a(), system_b());
    a.put_alice();
    a.done(Manage::PutPool(generated("out", Direction::Outbound, "a.example")));
    let guests = vec![pair("guest", "b.example")];
    b.done(Manage::PutPool(listed("in", Direction::Inbound, guests, Duration::ZERO)));
    let outbound = a.binding(bind_outbound()).identity;
    let inbound =
        b.binding(Manage::BindInbound { primary: primary(&outbound), allowed: None }).identity;
    let mut migration = Migration { a, b, outbound, inbound: inbound.clone() };
    let (_, id, request) = migration.core_asks(None).forwarded();
    let answer = migration.a.vector(&peer_b(), request);
    migration.b.done(Manage::ReleaseInbound(inbound.impi.clone()));
    let bob = primary(&pair("bob", "a.example"));
    assert_eq!(
        migration.b.binding(Manage::BindInbound { primary: bob, allowed: None }).identity,
        inbound
    );
    let told = migration.b.answered(id, answer).vector();
    assert_eq!((told.result, told.vector), (UNKNOWN, None));
}

#[test]
fn step_21_answers_the_core_with_the_vector() {
    let mut migration = Migration::prepared();
    let (_, id, request) = migration.core_asks(None).forwarded();
    let answer = migration.a.vector(&peer_b(), request);
    let effects = migration.b.answered(id, answer.clone());
    assert_eq!(effects.sent(), (migration.b.sequencer.last(), Some(Step::mig(21))));
    let told = effects.vector();
    assert_eq!(told.vector, answer.vector);
    assert_eq!(told.result, ResultCode::SUCCESS);
}

#[test]
fn step_21_passes_the_refusal_of_the_primary_on() {
    let mut migration = Migration::prepared();
    for result in [UNKNOWN, ResultCode::TOO_BUSY, ResultCode::AUTH_SCHEME_NOT_SUPPORTED] {
        let (_, id, request) = migration.core_asks(None).forwarded();
        let MultimediaAuthRequest { identity, scheme, .. } = request;
        let refusal = MultimediaAuthAnswer { result, identity, scheme, vector: None, digest: None };
        assert_eq!(migration.b.answered(id, refusal).vector().result, result);
    }
}

#[test]
fn scenario_57_a_withdrawn_migration_ends_the_vectors() {
    let mut migration = Migration::prepared();
    assert_eq!(migration.fetch(None).result, ResultCode::SUCCESS);
    migration.a.done(Manage::ReleaseOutbound(migration.outbound.impi.clone()));
    let answer = migration.fetch(None);
    assert_eq!((answer.result, answer.vector), (UNKNOWN, None));
}

#[test]
fn scenario_58_the_lease_is_active_while_registered_and_reserved_in_full_afterwards() {
    let mut migration = Migration::prepared();
    let inbound = migration.inbound.clone();
    let shown = |b: &mut System| b.binding(Manage::GetInbound(inbound.impi.clone()));
    assert!(!shown(&mut migration.b).active);

    let registered = migration.b.assign(sar(&inbound, Type::Registration));
    let data = registered.user_data.expect("a profile with the first registration");
    assert_eq!((data.impi, data.impus), (inbound.impi.clone(), vec![inbound.impu.clone()]));
    assert!(shown(&mut migration.b).active);
    for _ in 0..6 {
        migration.b.pass(14 * DAY);
        migration.b.restart();
        assert!(migration.b.assign(sar(&inbound, Type::ReRegistration)).result.is_success());
        assert!(shown(&mut migration.b).active, "no lease ends under a refreshed registration");
    }

    for end in [Type::UserDeregistration, Type::TimeoutDeregistration] {
        assert!(migration.b.assign(sar(&inbound, Type::ReRegistration)).result.is_success());
        assert!(migration.b.assign(sar(&inbound, end)).result.is_success());
        let binding = shown(&mut migration.b);
        assert_eq!((binding.active, binding.reserved_until), (false, migration.b.now + 30 * DAY));
        migration.b.pass(DAY);
    }
    migration.b.pass(29 * DAY);
    let gone = Manage::GetInbound(inbound.impi.clone());
    assert_eq!(migration.b.refusal(gone), Refusal::NotFound("inbound binding"));
    assert_eq!(migration.b.assign(sar(&inbound, Type::Registration)).result, UNKNOWN);
}

#[test]
fn a_registration_that_is_never_refreshed_nor_ended_does_not_hold_its_pair_for_ever() {
    let mut migration = Migration::prepared();
    let registration = sar(&migration.inbound, Type::Registration);
    migration.b.pass(29 * DAY);
    assert!(migration.b.assign(registration).result.is_success());
    migration.b.pass(29 * DAY);
    assert_eq!(migration.fetch(None).result, ResultCode::SUCCESS);
    let impi = migration.inbound.impi.clone();
    assert!(migration.b.binding(Manage::GetInbound(impi.clone())).active);
    migration.b.pass(DAY);
    let gone = migration.b.refusal(Manage::GetInbound(impi));
    assert_eq!(gone, Refusal::NotFound("inbound binding"));
}

#[test]
fn a_repeat_between_the_end_of_a_registration_and_its_timer_brings_a_pair_that_is_good() {
    let mut migration = Migration::prepared();
    assert!(migration.b.assign(sar(&migration.inbound, Type::Registration)).result.is_success());
    // The clock is past the end, the timer has not come.
    migration.b.now = migration.b.now + LEASE;
    assert_eq!(migration.fetch(None).result, UNKNOWN);
    let primary = primary(&migration.outbound);
    let again = migration.b.binding(Manage::BindInbound { primary, allowed: None });
    assert_eq!((again.active, again.reserved_until), (false, migration.b.now + LEASE));
    assert_eq!(again.identity, migration.inbound);
    migration.b.pass(DAY);
    assert_eq!(migration.fetch(None).result, ResultCode::SUCCESS);
}

#[test]
fn scenario_63_a_partner_without_binding_or_grant_gets_no_vector_and_is_noted() {
    let mut migration = Migration::prepared();
    let inbound_at_a = {
        let a = &mut migration.a;
        a.done(Manage::PutPool(generated("in", Direction::Inbound, "a.example")));
        let guest = PrimaryUser {
            database: database("hss.c.example"),
            identity: pair("guest", "c.example"),
            server_name: "sip:x.c.example".to_owned(),
        };
        a.binding(Manage::BindInbound { primary: guest, allowed: None }).identity
    };
    let mut half = migration.outbound.clone();
    half.impu = alice().impu;
    let b = database("hss.b.example");
    let c = database("hss.c.example");
    for (what, partner, identity) in [
        ("the real pair", &b, alice()),
        ("another partner's outbound pair", &c, migration.outbound.clone()),
        ("an outbound identity with a foreign half", &b, half),
        ("an inbound pair: nothing is forwarded for a partner", &b, inbound_at_a.clone()),
        ("an inbound pair, asked by its own primary", &c, inbound_at_a),
        ("nobody", &b, pair("nobody", "a.example")),
    ] {
        let request = Request::MultimediaAuth(mar(&identity));
        let effects = migration.a.request(&Peer::Database(partner.clone()), request);
        assert_eq!(effects.notes, [Note::VectorRefused { partner: partner.clone() }], "{what}");
        let answer = effects.vector();
        assert_eq!((answer.result, answer.vector), (UNKNOWN, None), "{what}");
        assert_eq!(answer.identity, identity, "{what}");
    }
}

#[test]
fn a_partner_has_no_business_with_server_assignment() {
    let mut migration = Migration::prepared();
    for identity in [&migration.outbound, &alice()] {
        let request = Request::ServerAssignment(sar(identity, Type::Registration));
        let answer = migration.a.request(&peer_b(), request).assignment();
        assert_eq!(answer.result, ResultCode::AUTHORIZATION_REJECTED);
    }
}

#[test]
fn vectors_of_home_and_of_each_partner_have_inds_of_their_own() {
    let mut migration = Migration::prepared();
    let at_c =
        Manage::BindOutbound { user: alice(), partner: database("hss.c.example"), allowed: None };
    let for_c = migration.a.binding(at_c).identity;
    assert_ne!(for_c, migration.outbound);
    let peer_c = Peer::Database(database("hss.c.example"));
    let outbound = migration.outbound.clone();
    for (seq, (peer, identity, ind)) in [
        (Peer::OwnCore, alice(), 0),
        (peer_b(), outbound.clone(), 4),
        (Peer::OwnCore, alice(), 1),
        (peer_c.clone(), for_c.clone(), 5),
        (peer_b(), outbound.clone(), 4),
        (Peer::OwnCore, alice(), 2),
        (Peer::OwnCore, alice(), 3),
        (Peer::OwnCore, alice(), 0),
    ]
    .into_iter()
    .enumerate()
    {
        let vector = migration.a.vector(&peer, mar(&identity)).vector.unwrap();
        assert_eq!(sqn_of(&vector), (seq as u64 + 1, ind));
    }
    migration.a.restart();
    let vector = migration.a.vector(&peer_c, mar(&for_c)).vector.unwrap();
    assert_eq!(sqn_of(&vector).1, 5, "the assignment is durable");
}

#[test]
fn without_storage_nothing_is_served_and_the_lost_state_is_gone_after_the_reload() {
    let mut migration = Migration::prepared();
    let (_, id, request) = migration.core_asks(None).forwarded();
    let answer = migration.a.vector(&peer_b(), request);
    migration.b.storage_available = false;
    assert_eq!(migration.fetch(None).result, ResultCode::TOO_BUSY);
    assert_eq!(
        migration.b.assign(sar(&migration.inbound, Type::Registration)).result,
        ResultCode::TOO_BUSY
    );
    assert_eq!(
        migration.b.refusal(Manage::GetInbound(migration.inbound.impi.clone())),
        Refusal::Unavailable
    );
    assert_eq!(migration.b.answered(id, answer).vector().result, ResultCode::TOO_BUSY);

    // A commit that failed: memory is ahead until the reload.
    migration.b.storage_available = true;
    migration.b.storing = false;
    let lost = migration
        .b
        .binding(Manage::BindInbound { primary: primary(&pair("bob", "a.example")), allowed: None })
        .identity;
    migration.b.storing = true;
    migration.b.reload();
    assert_eq!(
        migration.b.refusal(Manage::GetInbound(lost.impi)),
        Refusal::NotFound("inbound binding")
    );
    assert_eq!(migration.fetch(None).result, ResultCode::SUCCESS);
}

#[test]
fn a_refusal_that_relies_on_a_removal_waits_for_it() {
    let mut migration = Migration::prepared();
    let release = Manage::ReleaseInbound(migration.inbound.impi.clone());
    let removal = migration.b.manage_effects(release.clone()).last_commit();
    assert_ne!(removal, CommitSeq::NOTHING);
    assert_eq!(migration.b.manage_effects(release).sent().0, removal);
    assert_eq!(migration.core_asks(None).sent().0, removal);
}

#[test]
fn an_unknown_scheme_is_refused_and_the_names_of_aka_are_taken() {
    let mut a = system_a();
    a.put_alice();
    for (scheme, echoed) in [
        ("Digest-AKAv1-MD5", Some("Digest-AKAv1-MD5")),
        ("digest-akav2-SHA-256", Some("digest-akav2-SHA-256")),
        ("unknown", Some("Digest-AKAv1-MD5")),
        ("SIP Digest", None),
        ("", None),
    ] {
        let request = MultimediaAuthRequest { scheme: scheme.into(), ..mar(&alice()) };
        let answer = a.vector(&Peer::OwnCore, request);
        match echoed {
            Some(echoed) => {
                assert_eq!((answer.result, &*answer.scheme), (ResultCode::SUCCESS, echoed));
            }
            None => assert_eq!(answer.result, ResultCode::AUTH_SCHEME_NOT_SUPPORTED),
        }
    }
}

#[test]
fn res_has_no_zero_octet_where_that_is_wanted() {
    let zeros = |wanted: bool| {
        let mut config = Config::new(database("hss.a.example"), "a.example");
        config.avoid_zero_octet_in_res = wanted;
        let mut a = System::with(config);
        a.put_alice();
        (0..2_000)
            .filter(|_| {
                let answer = a.vector(&Peer::OwnCore, mar(&alice()));
                answer.vector.unwrap().xres.expose().contains(&0)
            })
            .count()
    };
    assert_eq!(zeros(true), 0);
    assert!((30..100).contains(&zeros(false)), "3 of 100 otherwise");
}
