//! The SIP database as the home's HSS: server assignment, provisioning, restarts.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::redundant_closure_for_method_calls,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "test code"
)]

mod sip_database_harness;

use std::{collections::BTreeSet, time::Duration};

use migcore::{
    api::migration_identity::{
        Answer, Direction, Pool, PoolSource, PrimaryUser, Refusal, Request as Manage, Subscriber,
    },
    diameter::cx::{MultimediaAuthRequest, Request, ResultCode, ServerAssignmentType as Type},
    identity::{Impu, UserIdentity},
    outbox::Peer,
    secret::Secret,
    sip_database::Config,
    store::{Engine, MemoryEngine, RecordKind},
};
use sip_database_harness::*;

const OTHER_CORE: &str = "sip:other.a.example";

fn from_core(name: &str, assignment: Type) -> migcore::diameter::cx::ServerAssignmentRequest {
    let mut request = sar(&alice(), assignment);
    request.server_name = name.into();
    request
}

#[test]
fn only_the_serving_core_may_report_and_a_vector_request_makes_a_core_the_serving_one() {
    let mut a = system_a();
    a.put_alice();
    let already = ResultCode::IDENTITY_ALREADY_REGISTERED;
    let comply = ResultCode::UNABLE_TO_COMPLY;
    let ok = ResultCode::SUCCESS;
    for (what, core, assignment, result) in [
        ("first", CORE, Type::Registration, ok),
        ("refresh", CORE, Type::ReRegistration, ok),
        ("foreign registration", OTHER_CORE, Type::Registration, already),
        ("foreign refresh", OTHER_CORE, Type::ReRegistration, comply),
        ("foreign end", OTHER_CORE, Type::UserDeregistration, comply),
        ("foreign profile", OTHER_CORE, Type::NoAssignment, comply),
        ("end that keeps the server", CORE, Type::UserDeregistrationStoreServerName, ok),
        ("still foreign", OTHER_CORE, Type::Registration, already),
        ("end", CORE, Type::TimeoutDeregistration, ok),
        ("free for the other", OTHER_CORE, Type::Registration, ok),
        ("not 3GPP IMS", OTHER_CORE, Type::PgwUpdate, ResultCode::Experimental(5007)),
    ] {
        assert_eq!(a.assign(from_core(core, assignment)).result, result, "{what}");
        a.restart();
    }
    assert!(a.vector(&Peer::OwnCore, mar(&alice())).result.is_success());
    assert_eq!(a.assign(from_core(CORE, Type::Registration)).result, ok, "it took the user over");
    assert_eq!(a.assign(from_core(OTHER_CORE, Type::ReRegistration)).result, comply);
}

#[test]
fn a_failed_first_authentication_forgets_the_core_and_a_failed_later_one_does_not() {
    let mut a = system_a();
    a.put_alice();
    let ask = |a: &mut System| assert!(a.vector(&Peer::OwnCore, mar(&alice())).result.is_success());
    ask(&mut a);
    assert!(a.assign(from_core(CORE, Type::AuthenticationFailure)).result.is_success());
    assert!(a.assign(from_core(OTHER_CORE, Type::Registration)).result.is_success());
    assert!(a.assign(from_core(OTHER_CORE, Type::UserDeregistration)).result.is_success());
    ask(&mut a);
    assert!(a.assign(from_core(CORE, Type::Registration)).result.is_success());
    ask(&mut a);
    assert!(a.assign(from_core(CORE, Type::AuthenticationTimeout)).result.is_success());
    let foreign = a.assign(from_core(OTHER_CORE, Type::Registration)).result;
    assert_eq!(foreign, ResultCode::IDENTITY_ALREADY_REGISTERED);
}

#[test]
fn the_profile_comes_with_a_registration_unless_the_core_has_it() {
    let mut a = system_a();
    let mut alice_twice = subscriber(&alice(), 0);
    alice_twice.impus.push(Impu::parse("tel:+391234567").unwrap());
    a.done(Manage::PutSubscriber(alice_twice.clone()));
    let data = a.assign(sar(&alice(), Type::Registration)).user_data.unwrap();
    assert_eq!((data.impi, data.impus), (alice().impi, alice_twice.impus));
    let mut known = sar(&alice(), Type::Registration);
    known.user_data_already_available = true;
    assert_eq!(a.assign(known).user_data, None);
    assert_eq!(a.assign(sar(&alice(), Type::UserDeregistration)).user_data, None);
    // User-Name is optional: the public identity finds the subscriber.
    let mut nameless = sar(&alice(), Type::NoAssignment);
    nameless.impi = None;
    assert_eq!(a.assign(nameless).user_data.unwrap().impi, alice().impi);
}

#[test]
fn who_is_unknown_or_does_not_match_gets_the_code_for_it() {
    let mut a = system_a();
    a.put_alice();
    a.done(Manage::PutSubscriber(subscriber(&pair("bob", "a.example"), 0)));
    let nobody = pair("nobody", "a.example");
    let mut mixed = alice();
    mixed.impu = pair("bob", "a.example").impu;
    for (identity, result) in
        [(&nobody, ResultCode::USER_UNKNOWN), (&mixed, ResultCode::IDENTITIES_DONT_MATCH)]
    {
        assert_eq!(a.assign(sar(identity, Type::Registration)).result, result);
        let answer = a.vector(&Peer::OwnCore, mar(identity));
        assert_eq!((answer.result, answer.identity), (result, identity.clone()));
    }
}

#[test]
fn no_sqn_leaves_twice_over_crashes_at_any_time() {
    let mut a = system_a();
    a.put_alice();
    let mut seen = BTreeSet::new();
    let mut highest = 0;
    for life in 0..200_u64 {
        // The last commits of a life may be lost; what relied on them never left.
        let vectors = life % 70;
        for number in 0..vectors {
            a.storing = number < vectors / 2;
            let before = a.engine.clone();
            let effects = a.request(&Peer::OwnCore, Request::MultimediaAuth(mar(&alice())));
            let durable = a.storing || effects.sent().0 <= highest_of(&before);
            let seq = sqn_of(&effects.vector().vector.unwrap()).0;
            if durable {
                assert!(seen.insert(seq), "SEQ {seq} left twice, life {life}");
                assert!(seq > highest);
                highest = seq;
            }
        }
        a.storing = true;
        a.restart();
    }
    assert!(seen.len() > 2_000, "{} vectors left", seen.len());
}

fn highest_of(engine: &MemoryEngine) -> migcore::store::CommitSeq {
    engine.clone().replay(&|_| Ok(())).unwrap()
}

#[test]
fn one_commit_serves_32_vectors() {
    let mut a = system_a();
    a.put_alice();
    let commits: usize = (0..64)
        .map(|_| {
            let request = Request::MultimediaAuth(mar(&alice()));
            a.request(&Peer::OwnCore, request).commits.len()
        })
        .sum();
    assert_eq!(commits, 2);
}

#[test]
fn an_exhausted_counter_gives_no_vector_instead_of_starting_over() {
    let mut a = system_a();
    let last = (1 << 43) - 1;
    a.done(Manage::PutSubscriber(subscriber(&alice(), last - 1)));
    let answer = a.vector(&Peer::OwnCore, mar(&alice()));
    assert_eq!(sqn_of(&answer.vector.unwrap()).0, last);
    for _ in 0..2 {
        let answer = a.vector(&Peer::OwnCore, mar(&alice()));
        assert_eq!((answer.result, answer.vector), (ResultCode::UNABLE_TO_COMPLY, None));
        a.restart();
    }
    let beyond = Manage::PutSubscriber(subscriber(&alice(), last + 1));
    assert!(matches!(a.refusal(beyond), Refusal::Invalid(_)));
}

#[test]
fn provisioning_again_keeps_seq_and_another_key_forgets_the_serving_core() {
    let mut a = system_a();
    a.put_alice();
    for _ in 0..5 {
        a.vector(&Peer::OwnCore, mar(&alice()));
    }
    assert!(a.assign(sar(&alice(), Type::Registration)).result.is_success());
    let seq_of = |a: &mut System| match a.manage(Manage::GetSubscriber(alice().impi)) {
        Answer::Subscriber { seq, .. } => seq,
        other => panic!("{other:?}"),
    };
    assert_eq!(seq_of(&mut a), 5);
    a.put_alice();
    assert!(seq_of(&mut a) >= 5);
    let foreign = from_core(OTHER_CORE, Type::Registration);
    let refused = a.assign(foreign.clone()).result;
    assert_eq!(refused, ResultCode::IDENTITY_ALREADY_REGISTERED);

    let mut rekeyed = subscriber(&alice(), 0);
    rekeyed.k = Secret::new(*b"another key, 16o");
    a.done(Manage::PutSubscriber(rekeyed));
    assert!(seq_of(&mut a) >= 5, "SEQ never goes down");
    assert!(a.assign(foreign).result.is_success());
}

#[test]
fn no_identity_gets_a_second_owner() {
    let mut a = system_a();
    a.put_alice();
    let guest = pair("guest", "a.example");
    let in_pool = |identities| listed("in", Direction::Inbound, identities, Duration::ZERO);
    a.done(Manage::PutPool(in_pool(vec![guest.clone()])));
    a.done(Manage::PutPool(generated("gen", Direction::Outbound, "a.example")));
    let like_generated = pair("gen-aaaaaaaaaaaaa", "a.example");
    let mut shared = pair("bob", "a.example");
    shared.impu = alice().impu;
    let mut of_guest = pair("bob", "a.example");
    of_guest.impu = guest.impu.clone();
    for _ in 0..2 {
        for identity in [&guest, &shared, &of_guest, &like_generated] {
            let refusal = a.refusal(Manage::PutSubscriber(subscriber(identity, 0)));
            assert!(matches!(refusal, Refusal::Invalid(_)), "{refusal}");
        }
        let mut of_alice = pair("x", "a.example");
        of_alice.impu = alice().impu;
        for identity in [alice(), of_alice, like_generated.clone(), pair("x", "b.example")] {
            let refusal = a.refusal(Manage::PutPool(in_pool(vec![identity])));
            assert!(matches!(refusal, Refusal::Invalid(_)), "{refusal}");
        }
        let elsewhere = listed("second", Direction::Inbound, vec![guest.clone()], Duration::ZERO);
        assert!(matches!(a.refusal(Manage::PutPool(elsewhere)), Refusal::Invalid(_)));
        let overlapping =
            Pool { name: "gen2".to_owned(), ..generated("gen", Direction::Inbound, "a.example") };
        assert!(matches!(a.refusal(Manage::PutPool(overlapping)), Refusal::Invalid(_)));
        a.restart();
    }
    // Refused, they left nothing behind: the names are still free.
    let mut partly = subscriber(&pair("carol", "a.example"), 0);
    partly.impus = vec![pair("bob", "a.example").impu, alice().impu];
    assert!(matches!(a.refusal(Manage::PutSubscriber(partly)), Refusal::Invalid(_)));
    a.done(Manage::PutSubscriber(subscriber(&pair("bob", "a.example"), 0)));
}

#[test]
fn a_subscriber_that_gives_a_public_identity_up_frees_it() {
    let mut a = system_a();
    let mut both = subscriber(&alice(), 0);
    let second = pair("second", "a.example");
    both.impus.push(second.impu.clone());
    a.done(Manage::PutSubscriber(both));
    let taker = Manage::PutSubscriber(subscriber(&second, 0));
    assert!(matches!(a.refusal(taker.clone()), Refusal::Invalid(_)));
    a.put_alice();
    a.done(taker);
}

#[test]
fn deleting_a_subscriber_ends_its_bindings_and_grants_for_good() {
    let mut a = system_a();
    a.put_alice();
    let outs = vec![pair("o1", "a.example"), pair("o2", "a.example")];
    a.done(Manage::PutPool(listed("out", Direction::Outbound, outs, Duration::ZERO)));
    let partners = [database("hss.b.example"), database("hss.c.example")];
    let bindings = partners.clone().map(|partner| {
        a.binding(Manage::BindOutbound { user: alice(), partner, allowed: None }).identity
    });
    let valid_for = Duration::from_secs(60);
    let partner = database("hss.d.example");
    let partner_d = partner.clone();
    a.granted(Manage::PutGrant { user: alice(), partner: partner_d, valid_for, allowed: None });
    let effects = a.manage_effects(Manage::DeleteSubscriber(alice().impi));
    assert_eq!(effects.commits.len(), 1, "all in one commit");
    for _ in 0..2 {
        for (partner, identity) in partners.iter().zip(&bindings) {
            let answer = a.vector(&Peer::Database(partner.clone()), mar(identity));
            assert_eq!(answer.result, ResultCode::USER_UNKNOWN);
            let gone = a.refusal(Manage::GetOutbound(identity.impi.clone()));
            assert_eq!(gone, Refusal::NotFound("outbound binding"));
        }
        let gone = a.refusal(Manage::GetSubscriber(alice().impi));
        assert_eq!(gone, Refusal::NotFound("subscriber"));
        a.restart();
    }
    // Provisioned anew, nothing of the old rights is left; the listed pairs are free again.
    a.put_alice();
    let answer = a.vector(&Peer::Database(partner), mar(&alice()));
    assert_eq!(answer.result, ResultCode::USER_UNKNOWN);
    let pool = a.manage(Manage::GetPool("out".to_owned()));
    assert_eq!(
        pool,
        Answer::Pool { direction: Direction::Outbound, total: 2, lent: 0, free: Some(2) }
    );
}

#[test]
fn every_table_refuses_beyond_its_maximum_and_has_room_again_afterwards() {
    let mut config = Config::new(database("hss.a.example"), "a.example");
    (config.subscribers_max, config.bindings_max, config.listed_identities_max) = (1, 1, 1);
    let mut a = System::with(config);
    a.put_alice();
    a.done(Manage::PutPool(generated("in", Direction::Inbound, "a.example")));
    a.done(Manage::PutPool(generated("out", Direction::Outbound, "a.example")));
    let bob = Manage::PutSubscriber(subscriber(&pair("bob", "a.example"), 0));
    let guests = |count: usize| {
        let guests = (0..count).map(|n| pair(&format!("g{n}"), "a.example")).collect();
        Manage::PutPool(listed("list", Direction::Inbound, guests, Duration::ZERO))
    };
    let partner = database("hss.b.example");
    let guest = |user: &str| {
        let mut guest = primary(&pair(user, "b.example"));
        guest.database = database("hss.b.example");
        Manage::BindInbound { primary: guest, allowed: None }
    };
    for restarts in [false, true, true] {
        let out = a.binding(Manage::BindOutbound {
            user: alice(),
            partner: partner.clone(),
            allowed: None,
        });
        let second = Manage::BindOutbound {
            user: alice(),
            partner: database("hss.c.example"),
            allowed: None,
        };
        assert_eq!(a.refusal(second), Refusal::Full("outbound bindings"));
        let inbound = a.binding(guest("one"));
        assert_eq!(a.refusal(guest("two")), Refusal::Full("inbound bindings"));
        assert_eq!(a.refusal(bob.clone()), Refusal::Full("subscribers"));
        a.done(guests(1));
        assert_eq!(a.refusal(guests(2)), Refusal::Full("listed identities"));
        if restarts {
            a.restart();
        }
        assert_eq!(a.refusal(guest("two")), Refusal::Full("inbound bindings"));
        a.done(Manage::ReleaseOutbound(out.identity.impi));
        a.done(Manage::ReleaseInbound(inbound.identity.impi));
    }
    a.done(Manage::DeleteSubscriber(alice().impi));
    a.done(bob);
}

#[test]
fn a_subscriber_has_a_bounded_number_of_partners_and_ended_grants_give_way() {
    let mut a = system_a();
    a.put_alice();
    let grant = |number: u32| Manage::PutGrant {
        user: alice(),
        partner: database(&format!("hss{number}.example")),
        valid_for: Duration::from_secs(60),
        allowed: None,
    };
    for number in 0..64 {
        a.granted(grant(number));
    }
    assert_eq!(a.refusal(grant(64)), Refusal::Full("partners of one subscriber"));
    a.granted(grant(0));
    a.now = a.now + Duration::from_secs(61); // and no timer has come yet
    a.granted(grant(64));
    a.restart();
    for number in 65..128 {
        a.granted(grant(number));
    }
    assert_eq!(a.refusal(grant(128)), Refusal::Full("partners of one subscriber"));
}

#[test]
fn a_malformed_request_is_refused_with_the_reason() {
    let mut a = system_a();
    a.put_alice();
    let no_impu = {
        let mut subscriber = subscriber(&pair("bob", "a.example"), 0);
        subscriber.impus.clear();
        Manage::PutSubscriber(subscriber)
    };
    let twice = {
        let mut subscriber = subscriber(&pair("bob", "a.example"), 0);
        subscriber.impus.push(pair("bob", "a.example").impu);
        Manage::PutSubscriber(subscriber)
    };
    let pool = |name: &str, impi: &str, impu: &str| {
        let source = PoolSource::Generated {
            impi_template: impi.to_owned(),
            impu_template: impu.to_owned(),
            key: None,
        };
        Manage::PutPool(Pool { name: name.to_owned(), direction: Direction::Inbound, source })
    };
    let guest = pair("guest", "a.example");
    let doubled = listed("l", Direction::Inbound, vec![guest.clone(), guest], Duration::ZERO);
    let partner = database("hss.b.example");
    let no_time =
        Manage::PutGrant { user: alice(), partner, valid_for: Duration::ZERO, allowed: None };
    for (request, reason) in [
        (no_impu, "at least one public identity"),
        (twice, "given twice"),
        (pool("", "{id}@a.example", "sip:{id}@a.example"), "pool name"),
        (pool("a b", "{id}@a.example", "sip:{id}@a.example"), "pool name"),
        (pool("p", "id@a.example", "sip:{id}@a.example"), "lacks {id}"),
        (pool("p", "x@{id}.a.example", "sip:{id}@a.example"), "outside the user part"),
        (pool("p", "{id}@b.example", "sip:{id}@b.example"), "outside the domain"),
        (Manage::PutPool(doubled), "given twice"),
        (no_time, "valid_for"),
    ] {
        let refusal = a.refusal(request).to_string();
        assert!(refusal.contains(reason), "{refusal:?} should say {reason:?}");
    }
}

#[test]
fn a_lookup_with_a_scheme_of_any_length_does_not_fail() {
    let mut a = system_a();
    a.put_alice();
    for scheme in ["", "D", "Digest-AK", "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}", "Digest-AKA"] {
        a.vector(&Peer::OwnCore, MultimediaAuthRequest { scheme: scheme.into(), ..mar(&alice()) });
    }
}

#[test]
fn who_is_turned_away_by_a_record_is_told_after_it_is_durable() {
    let mut a = system_a();
    a.put_alice();
    let assign =
        |a: &mut System, request| a.request(&Peer::OwnCore, Request::ServerAssignment(request));
    let serving = assign(&mut a, sar(&alice(), Type::Registration)).last_commit();
    let mut of_nobody = sar(&alice(), Type::Registration);
    of_nobody.impus = [pair("bob", "a.example").impu].into();
    for (request, result) in [
        (from_core(OTHER_CORE, Type::Registration), ResultCode::IDENTITY_ALREADY_REGISTERED),
        (from_core(OTHER_CORE, Type::UserDeregistration), ResultCode::UNABLE_TO_COMPLY),
        (of_nobody, ResultCode::IDENTITIES_DONT_MATCH),
    ] {
        let effects = assign(&mut a, request);
        assert_eq!(effects.sent().0, serving, "{result:?}");
        assert_eq!(effects.assignment().result, result);
    }
    let stranger = UserIdentity { impu: pair("bob", "a.example").impu, ..alice() };
    let effects = a.request(&Peer::OwnCore, Request::MultimediaAuth(mar(&stranger)));
    assert_eq!(effects.sent().0, serving);
    assert_eq!(effects.vector().result, ResultCode::IDENTITIES_DONT_MATCH);
}

#[test]
fn a_partner_is_turned_away_by_a_grant_for_another_identity_after_that_is_durable() {
    let mut a = system_a();
    let other = UserIdentity { impi: alice().impi, impu: pair("second", "a.example").impu };
    let mut both = subscriber(&alice(), 0);
    both.impus.push(other.impu.clone());
    a.done(Manage::PutSubscriber(both));
    let partner = database("hss.b.example");
    let valid_for = Duration::from_secs(60);
    let grant =
        Manage::PutGrant { user: other, partner: partner.clone(), valid_for, allowed: None };
    let granted = a.manage_effects(grant).last_commit();
    let effects = a.request(&Peer::Database(partner), Request::MultimediaAuth(mar(&alice())));
    assert_eq!(effects.sent().0, granted);
    assert_eq!(effects.vector().result, ResultCode::USER_UNKNOWN);
}

#[test]
fn that_a_public_identity_was_given_up_is_relied_upon_after_it_is_durable() {
    let mut a = system_a();
    let mut both = subscriber(&alice(), 0);
    let second = pair("second", "a.example");
    both.impus.push(second.impu.clone());
    a.done(Manage::PutSubscriber(both));
    let given_up = a.manage_effects(Manage::PutSubscriber(subscriber(&alice(), 0))).last_commit();
    let mut request = sar(&second, Type::NoAssignment);
    request.impi = None;
    let effects = a.request(&Peer::OwnCore, Request::ServerAssignment(request));
    assert_eq!(effects.sent().0, given_up);
    assert_eq!(effects.assignment().result, ResultCode::USER_UNKNOWN);
}

#[test]
fn a_refusal_a_check_and_a_count_are_told_after_all_that_they_rely_on_is_durable() {
    let mut a = system_a();
    let guest = pair("guest", "a.example");
    a.done(Manage::PutPool(listed("in", Direction::Inbound, vec![guest.clone()], Duration::ZERO)));
    let mut visitor = primary(&pair("carol", "b.example"));
    visitor.database = database("hss.b.example");
    let bind = |name: &str| {
        let primary = PrimaryUser { identity: pair(name, "b.example"), ..visitor.clone() };
        Manage::BindInbound { primary, allowed: None }
    };
    let after = |a: &mut System, request| a.manage_effects(request).sent().0;

    let put = a.manage_effects(Manage::PutSubscriber(subscriber(&alice(), 0))).last_commit();
    let mut taker = subscriber(&pair("bob", "a.example"), 0);
    taker.impus = vec![alice().impu];
    assert_eq!(after(&mut a, Manage::PutSubscriber(taker.clone())), put, "belongs to another");
    assert_eq!(after(&mut a, Manage::PutSubscribers(vec![taker])), put, "one of many does");

    let lent = a.manage_effects(bind("carol")).last_commit();
    assert_eq!(after(&mut a, bind("dave")), lent, "none is free");
    let other = PrimaryUser { identity: pair("dave", "b.example"), ..visitor.clone() };
    let map = Manage::MapInbound { primary: other, identity: guest };
    assert_eq!(after(&mut a, map), lent, "lent to another");
    assert_eq!(after(&mut a, Manage::GetPool("in".to_owned())), lent, "one is lent");
    let check = Manage::Check(Box::new(bind("carol")));
    assert_eq!(after(&mut a, check), lent, "it would be done: the user holds one");
    a.storage_available = false;
    assert!(after(&mut a, bind("dave")) < lent, "that the storage is gone relies on nothing");
}

#[test]
fn a_subscriber_from_before_a_generated_pool_of_its_form_can_still_be_changed() {
    let mut a = system_a();
    let old = pair("out-aaaaaaaaaaaaa", "a.example");
    let new = pair("out-bbbbbbbbbbbbb", "a.example");
    a.done(Manage::PutSubscriber(subscriber(&old, 0)));
    a.done(Manage::PutPool(generated("out", Direction::Outbound, "a.example")));
    let mut more = subscriber(&old, 0);
    more.impus.push(pair("second", "a.example").impu);
    let mut too_much = more.clone();
    too_much.impus.push(new.impu.clone());
    for restarts in [false, true] {
        if restarts {
            a.restart();
        }
        for put in [
            |it: &Subscriber| Manage::PutSubscriber(it.clone()),
            |it: &Subscriber| Manage::Check(Box::new(Manage::PutSubscriber(it.clone()))),
            |it: &Subscriber| Manage::PutSubscribers(vec![it.clone()]),
        ] {
            a.done(put(&more));
            a.done(put(&subscriber(&old, 0)));
            for form in [&too_much, &subscriber(&new, 0)] {
                let refused = a.manage(put(form));
                assert!(
                    matches!(
                        refused,
                        Answer::Refused(Refusal::Invalid(_)) | Answer::RowsRefused(_)
                    ),
                    "{refused:?}"
                );
            }
        }
    }
}

#[test]
fn a_listed_pool_from_before_a_generated_one_of_its_form_can_still_be_put() {
    let mut a = system_a();
    let old = vec![pair("out-aaaaaaaaaaaaa", "a.example")];
    let put =
        |identities| Manage::PutPool(listed("l", Direction::Inbound, identities, Duration::ZERO));
    a.done(put(old.clone()));
    a.done(Manage::PutPool(generated("out", Direction::Outbound, "a.example")));
    a.done(put(old));
    let new = vec![pair("out-bbbbbbbbbbbbb", "a.example")];
    assert!(matches!(a.refusal(put(new)), Refusal::Invalid(_)));
}

/// A grant of Alice's real pair for a minute.
fn grant_at(number: u32) -> Manage {
    let partner = database(&format!("hss{number}.example"));
    Manage::PutGrant { user: alice(), partner, valid_for: Duration::from_secs(60), allowed: None }
}

fn stored_grants(a: &mut System) -> usize {
    let count = std::sync::atomic::AtomicUsize::new(0);
    a.engine
        .replay(&|record| {
            let grant = record.kind == RecordKind::Grant;
            count.fetch_add(usize::from(grant), std::sync::atomic::Ordering::Relaxed);
            Ok(())
        })
        .unwrap();
    count.into_inner()
}

#[test]
fn a_grant_whose_time_is_over_is_forgotten_and_no_longer_stored() {
    for restarts in [false, true] {
        let mut a = system_a();
        a.put_alice();
        for number in 0..5 {
            a.granted(grant_at(number));
        }
        a.pass(Duration::from_secs(30));
        a.granted(grant_at(0));
        if restarts {
            a.restart();
        }
        let ended = a.pass(Duration::from_secs(31));
        assert_eq!(ended.mutations(RecordKind::Grant).len(), 4);
        let refused = a
            .refusal(Manage::DeleteGrant { impi: alice().impi, partner: database("hss1.example") });
        assert_eq!(refused, Refusal::NotFound("grant"));
        let from = Peer::Database(database("hss0.example"));
        assert!(a.vector(&from, mar(&alice())).result.is_success(), "it was prolonged");
        assert_eq!(stored_grants(&mut a), 1);
        a.pass(Duration::from_secs(30));
        assert_eq!(stored_grants(&mut a), 0);
        let nothing = a.manage_effects(Manage::EndVisits(alice().impi));
        assert!(nothing.commits.is_empty(), "nothing is left to end");
    }
}

#[test]
fn grants_that_end_while_the_process_or_the_storage_is_away_go_afterwards() {
    let mut a = system_a();
    a.put_alice();
    a.granted(grant_at(1));
    a.now = a.now + Duration::from_secs(90);
    a.restart();
    a.pass(Duration::from_secs(1));
    assert_eq!(stored_grants(&mut a), 0);

    a.granted(grant_at(2));
    a.storage_available = false;
    assert!(a.pass(Duration::from_secs(61)).commits.is_empty());
    a.storage_available = true;
    a.reload();
    a.pass(Duration::from_secs(1));
    assert_eq!(stored_grants(&mut a), 0);
}

#[test]
fn a_grant_that_was_withdrawn_or_whose_user_has_gone_ends_no_second_time() {
    let mut a = system_a();
    a.put_alice();
    for end in [
        Manage::DeleteGrant { impi: alice().impi, partner: database("hss1.example") },
        Manage::EndVisits(alice().impi),
        Manage::DeleteSubscriber(alice().impi),
    ] {
        a.granted(grant_at(1));
        a.done(end);
        assert!(a.pass(Duration::from_secs(120)).commits.is_empty());
    }
}
