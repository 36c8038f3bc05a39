//! What an operator does at a configuration server, and what ends by it.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::redundant_closure_for_method_calls,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "test code"
)]

mod config_server_harness;

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use config_server_harness::*;
use migcore::{
    api::{
        acm_interconnection::TransactionKey,
        configuration::{
            Agreement, AgreementKey, Answer, ConfigurationVersion, DecidedBy, Provenance,
            Request as Configure, User, Users,
        },
        connection_details::{
            Answer as DetailsAnswer, Refusal, SIP_CORE_ADDRESSES_MAX, SystemConfiguration,
        },
        migration_identity::{
            AgreementId, Answer as ManagementAnswer, Direction, Refusal as ManagementRefusal,
            Request as Manage,
        },
    },
    config_server::{Config, VERSIONS_MAX},
    diameter::cx::{
        Answer as CxAnswer, MultimediaAuthRequest, Request as CxRequest, SCHEME_AKA_V1,
    },
    identity::UserIdentity,
    outbox::{Message, Note, Peer, ReplyTo, Send},
    store::{Commit, CommitSeq, Engine, Mutation, Record, RecordError, RecordKind},
};

fn everybody(letter: &str) -> AgreementKey {
    key(letter, Direction::Outbound, Users::Everybody)
}

fn number(system: &mut System, key: AgreementKey) -> AgreementId {
    match system.configured(Configure::GetAgreement(key)) {
        Answer::Agreement { id, .. } => id,
        other => panic!("no agreement: {other:?}"),
    }
}

/// Whether B gets a vector from A's SIP database for `identity`.
fn gets_vector(a: &mut System, identity: &UserIdentity) -> bool {
    let request = CxRequest::MultimediaAuth(MultimediaAuthRequest {
        identity: identity.clone(),
        scheme: SCHEME_AKA_V1.into(),
        resync: None,
        server_name: "sip:migrated.a.example".into(),
    });
    let peer = Peer::Database(database("b"));
    let effects = a.call(|_, database, ctx| {
        database.handle_request(ctx, &peer, ReplyTo::World(5), request);
    });
    match effects.only().message {
        Message::CxAnswer { answer: CxAnswer::MultimediaAuth(answer), .. } => {
            answer.vector.is_some()
        }
        other => panic!("no MAA: {other:?}"),
    }
}

#[test]
fn a_user_is_shown_without_credential_and_replaced_whole() {
    let mut a = System::new("a", &["b"]);
    assert_eq!(
        a.refused(Configure::GetUser(service("alice"))),
        ManagementRefusal::NotFound("user")
    );
    for class in [None, Some("red")] {
        a.done(Configure::PutUser(User { class: class.map(Into::into), ..user("alice") }));
        let shown = a.configured(Configure::GetUser(service("alice")));
        let want = Answer::User {
            mc_service_id: service("alice"),
            identity: real("alice"),
            class: class.map(Into::into),
            may_migrate: true,
        };
        assert_eq!(shown, want);
    }
}

#[test]
fn another_token_takes_the_place_of_the_old_one() {
    let mut world = World::ready();
    world.details();
    let changed = User { token: token("alice-again").digest(), ..user("alice") };
    world.a.done(Configure::PutUser(changed));
    let old = world.a.asked_by("alice", ask("alice", "b")).details_answer();
    assert_eq!(old, DetailsAnswer::Refused(Refusal::NotAuthenticated));
    world.a.asked_by("alice-again", ask("alice", "b")).for_database();
}

#[test]
fn a_user_who_loses_leave_or_identity_loses_the_visits_first() {
    let mut moved = user("alice");
    moved.identity = real("alice2");
    for (what, change, ends) in [
        ("barred", User { may_migrate: false, ..user("alice") }, true),
        ("another private identity", moved, true),
        ("another class", User { class: Some("red".into()), ..user("alice") }, false),
        ("the same again", user("alice"), false),
    ] {
        let mut world = World::ready();
        world.details();
        let outbound = world.on_link.pop().unwrap().user.identity;
        assert!(gets_vector(&mut world.a, &outbound), "{what}");
        let effects = world.a.configure(Configure::PutUser(change.clone()));
        if !ends {
            assert_eq!(effects.configuration_answer(), Answer::Done, "{what}");
            assert!(gets_vector(&mut world.a, &outbound), "{what}");
            continue;
        }
        assert!(effects.commits.is_empty(), "{what}: nothing is stored before the end");
        let (request, end) = effects.for_database();
        assert!(matches!(&end, Manage::EndVisits(impi) if *impi == real("alice").impi), "{what}");
        let ended = world.a.manage(end);
        let effects = world.a.database_answers(request, ended);
        assert_eq!(effects.waits_for(), effects.last_commit(), "{what}");
        assert_eq!(effects.configuration_answer(), Answer::Done, "{what}");
        assert!(!gets_vector(&mut world.a, &outbound), "{what}: scenario 57");
        assert_eq!(world.a.lent("out"), 0, "{what}");
    }
}

#[test]
fn a_barred_user_stays_barred_without_another_end() {
    let mut world = World::ready();
    let barred = User { may_migrate: false, ..user("alice") };
    world.a.done(Configure::PutUser(barred.clone()));
    let again = world.a.configure(Configure::PutUser(barred));
    assert_eq!(again.configuration_answer(), Answer::Done);
    assert_eq!(world.refusal(), Refusal::NotAuthorised);
    world.a.done(Configure::PutUser(user("alice")));
    world.details();
}

#[test]
fn a_deleted_user_has_no_visit_and_no_record() {
    let mut world = World::ready();
    world.details();
    let outbound = world.on_link.pop().unwrap().user.identity;
    world.a.done(Configure::DeleteUser(service("alice")));
    assert!(!gets_vector(&mut world.a, &outbound));
    assert_eq!(world.refusal(), Refusal::NotAuthenticated);
    let again = world.a.refused(Configure::DeleteUser(service("alice")));
    assert_eq!(again, ManagementRefusal::NotFound("user"));
    world.a.restart();
    assert_eq!(world.refusal(), Refusal::NotAuthenticated);
}

#[test]
fn while_visits_end_the_user_cannot_migrate_and_nobody_else_changes_it() {
    let mut a = World::ready().a;
    let (request, _) = a.configure(Configure::DeleteUser(service("alice"))).for_database();
    let effects = a.asked_by("alice", ask("alice", "b"));
    assert_eq!(effects.details_answer(), DetailsAnswer::Refused(Refusal::NotAuthorised));
    for change in [
        Configure::PutUser(user("alice")),
        Configure::DeleteUser(service("alice")),
        Configure::Check(Box::new(Configure::PutUser(user("alice")))),
    ] {
        assert_eq!(a.refused(change), ManagementRefusal::Unavailable);
    }
    // The SIP database cannot do it: everything is as it was.
    let no = ManagementAnswer::Refused(ManagementRefusal::Unavailable);
    let effects = a.database_answers(request, no.clone());
    assert!(effects.commits.is_empty());
    assert_eq!(effects.configuration_answer(), Answer::Refused(ManagementRefusal::Unavailable));
    a.asked_by("alice", ask("alice", "b")).for_database();

    // It does not answer in time.
    a.timers.clear();
    let (request, _) = a.configure(Configure::DeleteUser(service("alice"))).for_database();
    let answers = a.pass(ACCESS_TIMEOUT);
    assert!(matches!(
        answers[..],
        [Send {
            message: Message::Configuration {
                answer: Answer::Refused(ManagementRefusal::Unavailable),
                ..
            },
            ..
        }]
    ));
    assert!(a.database_answers(request, ManagementAnswer::Done).sends.is_empty(), "too late");
    a.asked_by("alice", ask("alice", "b")).for_database();
}

#[test]
fn an_agreement_has_to_make_sense() {
    let mut a = System::new("a", &["b"]);
    let invalid = |change: &dyn Fn(&mut Agreement)| {
        let mut agreement = agreement("b", Direction::Outbound);
        change(&mut agreement);
        agreement
    };
    let inbound = |users: Users| {
        let key = key("b", Direction::Inbound, users);
        Agreement { key, ..agreement("b", Direction::Inbound) }
    };
    let long = "x".repeat(65);
    for (what, bad) in [
        ("a partner that is not configured", agreement("x", Direction::Outbound)),
        ("itself", agreement("a", Direction::Outbound)),
        ("no time", invalid(&|it| it.valid_from = it.valid_until)),
        ("time backwards", invalid(&|it| it.valid_until = migcore::time::Timestamp::from_secs(1))),
        ("an empty class", invalid(&|it| it.key.users = Users::Class("".into()))),
        ("a long class", invalid(&|it| it.key.users = Users::Class(long.as_str().into()))),
        ("a class of another system's users", inbound(Users::Class("red".into()))),
        ("inbound, hiding", Agreement { hide_identities: true, ..inbound(Users::Everybody) }),
    ] {
        for request in [
            Configure::PutAgreement(bad.clone()),
            Configure::Check(Box::new(Configure::PutAgreement(bad.clone()))),
        ] {
            let effects = a.configure(request);
            assert!(effects.commits.is_empty(), "{what}");
            let answer = effects.configuration_answer();
            assert!(
                matches!(answer, Answer::Refused(ManagementRefusal::Invalid(_))),
                "{what}: {answer:?}"
            );
        }
    }
    for good in [
        inbound(Users::User(service("bill"))),
        inbound(Users::Everybody),
        invalid(&|it| it.key.users = Users::Class(long[..64].into())),
    ] {
        a.put_agreement(good.clone());
        match a.configured(Configure::GetAgreement(good.key.clone())) {
            Answer::Agreement { agreement, .. } => assert_eq!(agreement, good),
            other => panic!("no agreement: {other:?}"),
        }
    }
}

#[test]
fn an_agreement_keeps_its_number_unless_something_is_taken_away() {
    const HIDING: &str = "with real identities hidden that were shown";
    let year = agreement("b", Direction::Outbound);
    let until = |days: u32| Agreement { valid_until: START + days * DAY, ..year.clone() };
    for (what, next, withdraws) in [
        ("the same again", year.clone(), false),
        ("longer", until(366), false),
        ("with real identities shown", Agreement { hide_identities: false, ..year.clone() }, false),
        ("from now on", Agreement { valid_from: START, ..year.clone() }, false),
        (HIDING, year.clone(), true),
        ("shorter", until(364), true),
        ("from tomorrow on", Agreement { valid_from: START + DAY, ..until(366) }, true),
    ] {
        let mut world = World::ready();
        if what == HIDING {
            world.a.put_agreement(Agreement { hide_identities: false, ..year.clone() });
        }
        world.details();
        let outbound = world.on_link.pop().unwrap().user.identity;
        let old = number(&mut world.a, everybody("b"));
        let effects = world.a.configure(Configure::PutAgreement(next.clone()));
        if withdraws {
            assert_eq!(effects.waits_for(), effects.last_commit(), "{what}");
            let (request, withdraw) = effects.for_database();
            assert!(matches!(withdraw, Manage::WithdrawAgreement(id) if id == old), "{what}");
            let withdrawn = world.a.manage(withdraw);
            let effects = world.a.database_answers(request, withdrawn);
            assert_eq!(effects.waits_for(), effects.last_commit(), "{what}");
            assert_eq!(effects.configuration_answer(), Answer::Done, "{what}");
        } else {
            assert_eq!(effects.configuration_answer(), Answer::Done, "{what}");
        }
        assert_eq!(number(&mut world.a, everybody("b")) == old, !withdraws, "{what}");
        assert_eq!(gets_vector(&mut world.a, &outbound), !withdraws, "{what}");
    }
}

#[test]
fn after_a_replacement_a_repeat_of_step_1_goes_on_with_the_same_pairs() {
    let mut world = World::ready();
    let first = world.details();
    let outbound = world.on_link.pop().unwrap().user.identity;
    let shorter =
        Agreement { valid_until: START + 10 * DAY, ..agreement("b", Direction::Outbound) };
    world.a.put_agreement(shorter);
    let second = world.details();
    assert_eq!(second.identity, first.identity);
    assert_eq!(second.valid_until, START + 10 * DAY);
    assert_eq!(world.on_link.pop().unwrap().user.identity, outbound);
    assert!(gets_vector(&mut world.a, &outbound));
    world.a.pass(10 * DAY);
    assert!(!gets_vector(&mut world.a, &outbound), "the agreement has ended");
    assert_eq!(world.refusal(), Refusal::NoPartner);
}

#[test]
fn an_agreement_that_is_not_in_force_is_replaced_under_another_number() {
    let mut a = World::ready().a;
    a.done(Configure::DeleteAgreement(everybody("b")));
    let later = Agreement { valid_from: START + DAY, ..agreement("b", Direction::Outbound) };
    a.put_agreement(later.clone());
    let first = number(&mut a, everybody("b"));
    let replaced = a.configure(Configure::PutAgreement(later.clone()));
    assert_eq!(replaced.configuration_answer(), Answer::Done, "nothing can have been lent");
    let second = number(&mut a, everybody("b"));
    assert_ne!(first, second);
    a.now = later.valid_until;
    a.put_agreement(Agreement { valid_until: a.now + DAY, ..later });
    assert_ne!(number(&mut a, everybody("b")), second);
}

#[test]
fn a_deleted_agreement_is_withdrawn_first() {
    let mut world = World::ready();
    world.details();
    let outbound = world.on_link.pop().unwrap().user.identity;
    let old = number(&mut world.a, everybody("b"));
    let effects = world.a.configure(Configure::DeleteAgreement(everybody("b")));
    let (request, withdraw) = effects.for_database();
    assert!(matches!(withdraw, Manage::WithdrawAgreement(id) if id == old));
    assert_eq!(world.refusal(), Refusal::NoPartner, "what ends is not in force");
    let change = Configure::PutAgreement(agreement("b", Direction::Outbound));
    assert_eq!(world.a.refused(change), ManagementRefusal::Unavailable);
    let again = Configure::DeleteAgreement(everybody("b"));
    assert_eq!(world.a.refused(again.clone()), ManagementRefusal::Unavailable);

    let withdrawn = world.a.manage(withdraw);
    let effects = world.a.database_answers(request, withdrawn);
    assert_eq!(effects.waits_for(), effects.last_commit());
    assert_eq!(effects.configuration_answer(), Answer::Done);
    assert!(!gets_vector(&mut world.a, &outbound));
    assert_eq!(world.a.refused(again), ManagementRefusal::NotFound("agreement"));
}

#[test]
fn an_agreement_whose_withdrawal_is_uncertain_is_not_in_force_and_can_be_changed_again() {
    let refusals = [
        Some(ManagementRefusal::Unavailable),
        Some(ManagementRefusal::Full("withdrawn agreements")),
        None,
    ];
    for refusal in refusals {
        let mut world = World::ready();
        world.details();
        let outbound = world.on_link.pop().unwrap().user.identity;
        let old = number(&mut world.a, everybody("b"));
        let deletion = Configure::DeleteAgreement(everybody("b"));
        let asked = world.a.configure(deletion.clone());
        assert_eq!(asked.waits_for(), asked.last_commit(), "the mark is durable before");
        let (request, withdraw) = asked.for_database();
        if let Some(refusal) = refusal {
            let no = ManagementAnswer::Refused(refusal.clone());
            let effects = world.a.database_answers(request, no);
            assert!(effects.commits.is_empty());
            assert_eq!(effects.configuration_answer(), Answer::Refused(refusal));
        } else {
            // It is withdrawn, and the answer is lost in a crash.
            world.a.manage(withdraw);
            world.a.restart();
            assert!(!gets_vector(&mut world.a, &outbound));
        }
        assert_eq!(world.refusal(), Refusal::NoPartner);
        // Put again, the number is withdrawn for sure, and a good one takes its place.
        world.a.put_agreement(agreement("b", Direction::Outbound));
        assert_ne!(number(&mut world.a, everybody("b")), old);
        assert!(!gets_vector(&mut world.a, &outbound), "it was lent under the old number");
        world.details();
        assert!(gets_vector(&mut world.a, &outbound));
        world.a.done(deletion);
    }
}

#[test]
fn an_agreement_whose_withdrawal_takes_too_long_is_over_and_can_be_changed_again() {
    let shorter = Agreement { valid_until: START + DAY, ..agreement("b", Direction::Outbound) };
    for change in [Configure::DeleteAgreement(everybody("b")), Configure::PutAgreement(shorter)] {
        let mut world = World::ready();
        world.details();
        let outbound = world.on_link.pop().unwrap().user.identity;
        let (request, withdraw) = world.a.configure(change.clone()).for_database();
        let late = world.a.manage(withdraw);
        let told = world.a.pass(ACCESS_TIMEOUT);
        assert!(matches!(
            &told[..],
            [Send {
                message: Message::Configuration {
                    answer: Answer::Refused(ManagementRefusal::Unavailable),
                    ..
                },
                ..
            }]
        ));
        // Users are not sent to a SIP database that lends nothing under this number.
        assert_eq!(world.refusal(), Refusal::NoPartner);
        let effects = world.a.database_answers(request, late);
        assert!(effects.sends.is_empty() && effects.commits.is_empty(), "it comes too late");
        assert!(!gets_vector(&mut world.a, &outbound));
        // An agreement for them alone counts meanwhile, and the next change is made.
        let alone = key("b", Direction::Outbound, Users::User(service("alice")));
        world
            .a
            .put_agreement(Agreement { key: alone.clone(), ..agreement("b", Direction::Outbound) });
        world.details();
        world.a.done(Configure::DeleteAgreement(alone));
        world.a.put_agreement(agreement("b", Direction::Outbound));
        world.details();
        assert!(gets_vector(&mut world.a, &outbound));
        world.a.done(change);
    }
}

#[test]
fn an_inbound_agreement_that_ends_ends_what_was_lent_here() {
    let mut world = World::ready();
    let inbound = world.details().identity;
    let request = || {
        CxRequest::MultimediaAuth(MultimediaAuthRequest {
            identity: inbound.clone(),
            scheme: SCHEME_AKA_V1.into(),
            resync: None,
            server_name: "sip:core.b.example".into(),
        })
    };
    let forwarded = |b: &mut System| {
        let effects = b.call(|_, database, ctx| {
            database.handle_request(ctx, &Peer::OwnCore, ReplyTo::World(6), request());
        });
        matches!(effects.only().message, Message::CxRequest { .. })
    };
    assert!(forwarded(&mut world.b));
    let key = key("a", Direction::Inbound, Users::Everybody);
    world.b.done(Configure::DeleteAgreement(key));
    assert!(!forwarded(&mut world.b));
    assert_eq!(world.refusal(), Refusal::RefusedByPartner);
}

#[test]
fn no_number_of_an_agreement_is_used_twice_not_even_after_restarts() {
    let mut a = World::ready().a;
    let mut seen = BTreeSet::new();
    for _ in 0..5 {
        let id = number(&mut a, everybody("b"));
        assert!(seen.insert(id), "{id:?} again");
        a.restart();
        assert_eq!(number(&mut a, everybody("b")), id, "a restart keeps it");
        a.done(Configure::DeleteAgreement(everybody("b")));
        a.restart();
        a.put_agreement(agreement("b", Direction::Outbound));
        // A replacement carries the number on, over restarts.
        let id = number(&mut a, everybody("b"));
        a.put_agreement(agreement("b", Direction::Outbound));
        a.restart();
        assert_eq!(number(&mut a, everybody("b")), id);
    }
}

#[test]
fn what_ues_are_told_has_a_revision_that_grows() {
    let mut a = System::new("a", &["b"]);
    let put = |revision| Configure::PutSystemConfiguration {
        system: id("b"),
        configuration: system_configuration("b", revision),
    };
    a.done(put(5));
    let again = a.configure(put(5));
    assert!(again.commits.is_empty(), "the same again is no change");
    assert_eq!(again.configuration_answer(), Answer::Done);
    let mut other = system_configuration("b", 5);
    other.sip_core.push(other.sip_core[0]);
    let same_revision = Configure::PutSystemConfiguration { system: id("b"), configuration: other };
    assert!(matches!(a.refused(same_revision), ManagementRefusal::Invalid(_)));
    assert!(matches!(a.refused(put(4)), ManagementRefusal::Invalid(_)));
    a.done(put(6));
    a.restart();
    let shown = a.configured(Configure::GetSystemConfiguration(id("b")));
    assert_eq!(shown, Answer::SystemConfiguration(system_configuration("b", 6)));
    a.done(Configure::DeleteSystemConfiguration(id("b")));
    a.restart();
    for request in
        [Configure::GetSystemConfiguration(id("b")), Configure::DeleteSystemConfiguration(id("b"))]
    {
        assert!(matches!(a.refused(request), ManagementRefusal::NotFound(_)));
    }
}

/// A version of B's configuration as A keeps it.
fn version(a: &mut System, revision: u64) -> Option<ConfigurationVersion> {
    let request = Configure::GetConfigurationVersion { system: id("b"), revision };
    match a.configured(request) {
        Answer::ConfigurationVersion(version) => Some(*version),
        Answer::Refused(ManagementRefusal::NotFound(_)) => None,
        other => panic!("no version: {other:?}"),
    }
}

#[test]
fn the_latest_versions_of_what_ues_are_told_say_who_brought_them_into_force() {
    let mut a = System::new("a", &["b"]);
    let kept = u64::try_from(VERSIONS_MAX).unwrap();
    let transaction = TransactionKey {
        origin: id("b"),
        transaction: "11111111-2222-4333-8444-555555555555".parse().unwrap(),
    };
    a.done(Configure::PutSystemConfiguration {
        system: id("b"),
        configuration: system_configuration("b", 1),
    });
    for revision in 2..=kept + 2 {
        a.now = START + Duration::from_secs(revision);
        a.done(Configure::PutExchangedConfiguration {
            system: id("b"),
            configuration: system_configuration("b", revision),
            transaction: transaction.clone(),
            decided_by: (revision == 9).then(|| service("anna")),
        });
    }
    for _ in 0..2 {
        assert_eq!([1, 2, kept + 3].map(|it| version(&mut a, it)), [None, None, None]);
        for revision in 3..=kept + 2 {
            let decided_by =
                if revision == 9 { DecidedBy::User(service("anna")) } else { DecidedBy::Policy };
            let at = START + Duration::from_secs(revision);
            let provenance = Provenance { at, transaction: Some(transaction.clone()), decided_by };
            let wanted = ConfigurationVersion::new(
                &id("b"),
                &system_configuration("b", revision),
                Some(provenance),
            );
            assert_eq!(version(&mut a, revision), Some(wanted));
        }
        assert_eq!(stored_versions(&mut a), VERSIONS_MAX, "nothing else is stored");
        a.restart();
    }
    a.done(Configure::DeleteSystemConfiguration(id("b")));
    assert_eq!(stored_versions(&mut a), 0);
    assert_eq!(version(&mut a, kept + 2), None);
}

fn stored_versions(a: &mut System) -> usize {
    let count = AtomicUsize::new(0);
    let replayed = a.engine.replay(&|record| {
        let is_version = record.kind == RecordKind::SystemConfigurationVersion;
        count.fetch_add(usize::from(is_version), Ordering::Relaxed);
        Ok(())
    });
    replayed.unwrap();
    count.into_inner()
}

#[test]
fn what_was_stored_before_versions_were_kept_becomes_the_first_of_them() {
    let mut a = System::new("a", &["b"]);
    let stored = system_configuration("b", 3);
    let put = Mutation::put(RecordKind::SystemConfiguration, "sip:b.example", &stored);
    let commit = Commit { seq: a.sequencer.draw(), mutations: [put].into_iter().collect() };
    a.engine.commit(&[commit]).unwrap();
    a.restart();
    let first = ConfigurationVersion::new(&id("b"), &stored, None);
    assert_eq!(version(&mut a, 3), Some(first.clone()));
    a.done(Configure::PutSystemConfiguration {
        system: id("b"),
        configuration: system_configuration("b", 4),
    });
    a.restart();
    assert_eq!(version(&mut a, 3), Some(first));
    let second = version(&mut a, 4).and_then(|version| version.provenance).unwrap();
    assert_eq!((second.decided_by, second.transaction), (DecidedBy::Operator, None));
}

#[test]
fn what_ues_are_told_is_of_this_system_or_a_partner_and_names_sip_cores() {
    let mut a = System::new("a", &["b"]);
    let with = |cores: usize| SystemConfiguration {
        sip_core: vec![system_configuration("b", 1).sip_core[0]; cores],
        ..system_configuration("b", 1)
    };
    for (system, cores, fits) in [
        ("a", 1, true),
        ("b", SIP_CORE_ADDRESSES_MAX, true),
        ("x", 1, false),
        ("b", 0, false),
        ("b", SIP_CORE_ADDRESSES_MAX + 1, false),
    ] {
        let put =
            || Configure::PutSystemConfiguration { system: id(system), configuration: with(cores) };
        let checked = a.configured(Configure::Check(Box::new(put())));
        assert_eq!(checked == Answer::Done, fits, "{system}, {cores} cores: {checked:?}");
        assert_eq!(a.configured(put()), checked, "{system}, {cores} cores");
    }
}

#[test]
fn a_check_says_what_would_be_refused_and_changes_nothing() {
    let World { mut a, .. } = World::ready();
    a.done(Configure::PutSystemConfiguration {
        system: id("b"),
        configuration: system_configuration("b", 3),
    });
    let put = |revision| Configure::PutSystemConfiguration {
        system: id("b"),
        configuration: system_configuration("b", revision),
    };
    let nameless = User { class: Some("".into()), ..user("alice") };
    for (request, fits) in [
        (Configure::PutUser(user("carol")), true),
        (Configure::PutUser(nameless), false),
        (Configure::GetUser(service("alice")), true),
        (Configure::GetUser(service("carol")), false),
        (Configure::DeleteUser(service("alice")), true),
        (Configure::DeleteUser(service("carol")), false),
        (Configure::PutAgreement(agreement("c", Direction::Outbound)), true),
        (Configure::PutAgreement(agreement("x", Direction::Outbound)), false),
        (Configure::GetAgreement(everybody("b")), true),
        (Configure::DeleteAgreement(everybody("b")), true),
        (Configure::DeleteAgreement(everybody("c")), false),
        (put(4), true),
        (put(2), false),
        (Configure::GetSystemConfiguration(id("b")), true),
        (Configure::DeleteSystemConfiguration(id("b")), true),
        (Configure::DeleteSystemConfiguration(id("c")), false),
        (Configure::Check(Box::new(Configure::GetUser(service("alice")))), false),
    ] {
        let shown = format!("{request:?}");
        let effects = a.configure(Configure::Check(Box::new(request)));
        assert!(effects.commits.is_empty(), "{shown}");
        assert_eq!(effects.configuration_answer() == Answer::Done, fits, "{shown}");
    }
    let missing = a.refused(Configure::GetUser(service("carol")));
    assert_eq!(missing, ManagementRefusal::NotFound("user"), "a checked user is not there");
    a.asked_by("alice", ask("alice", "b")).for_database();
}

#[test]
fn tables_have_a_maximum_and_room_again_after_a_deletion() {
    let config = Config { users_max: 1, agreements_max: 1, ..World::ready().a.config };
    let mut a = System::with(config, "a.example");
    for (first, second, deletion) in [
        (
            Configure::PutUser(user("alice")),
            Configure::PutUser(user("bob")),
            Configure::DeleteUser(service("alice")),
        ),
        (
            Configure::PutAgreement(agreement("b", Direction::Outbound)),
            Configure::PutAgreement(agreement("c", Direction::Outbound)),
            Configure::DeleteAgreement(everybody("b")),
        ),
    ] {
        a.done(first.clone());
        a.done(first);
        a.restart();
        let full = a.configure(second.clone());
        assert!(matches!(full.notes[..], [Note::TableFull(_)]));
        assert!(matches!(full.configuration_answer(), Answer::Refused(ManagementRefusal::Full(_))));
        let check = Configure::Check(Box::new(second.clone()));
        assert!(matches!(a.refused(check), ManagementRefusal::Full(_)));
        a.done(deletion);
        a.done(second);
    }
}

#[test]
fn without_storage_no_management_request_is_served() {
    let World { mut a, .. } = World::ready();
    a.storage_available = false;
    for request in [
        Configure::PutUser(user("carol")),
        Configure::GetUser(service("alice")),
        Configure::DeleteUser(service("alice")),
        Configure::PutAgreement(agreement("c", Direction::Outbound)),
        Configure::GetAgreement(everybody("b")),
        Configure::DeleteAgreement(everybody("b")),
        Configure::GetSystemConfiguration(id("b")),
        Configure::Check(Box::new(Configure::GetUser(service("alice")))),
    ] {
        let effects = a.configure(request);
        assert!(effects.commits.is_empty());
        assert_eq!(effects.configuration_answer(), Answer::Refused(ManagementRefusal::Unavailable));
    }
}

#[test]
fn storage_that_fails_while_something_ends_leaves_everything_as_it_was() {
    let World { mut a, .. } = World::ready();
    let (request, _) = a.configure(Configure::DeleteUser(service("alice"))).for_database();
    a.storage_available = false;
    let effects = a.database_answers(request, ManagementAnswer::Done);
    assert!(effects.commits.is_empty());
    assert_eq!(effects.configuration_answer(), Answer::Refused(ManagementRefusal::Unavailable));
    a.storage_available = true;
    a.asked_by("alice", ask("alice", "b")).for_database();
}

#[test]
fn a_damaged_record_is_not_taken_for_none() {
    let System { role, .. } = System::new("a", &["b"]);
    for kind in [RecordKind::User, RecordKind::Agreement, RecordKind::SystemConfiguration] {
        let load = |value: &[u8]| {
            let version = CommitSeq::from_u64(1);
            role.load(&Record { kind, key: b"sip:b.example", version, value })
        };
        assert_eq!(load(&[1, 255, 255]), Err(RecordError::Damaged), "{kind:?}");
        assert_eq!(load(&[200]), Err(RecordError::NewerFormat { version: 200 }), "{kind:?}");
    }
    let other = Record {
        kind: RecordKind::Subscriber,
        key: b"x",
        version: CommitSeq::from_u64(1),
        value: &[],
    };
    assert_eq!(role.load(&other), Ok(()), "another role's");
}
