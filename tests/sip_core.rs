//! The SIP core alone: SIP text in, a scripted SIP database, SIP text out.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    clippy::too_many_lines,
    reason = "test code"
)]

mod common;
mod sip_core_bench;

use std::time::Duration;

use common::Seeded;
use migcore::{
    aka::{
        Sqn,
        digest::{Algorithm, decode_nonce},
    },
    diameter::cx::{self, ResultCode, ServerAssignmentType},
    outbox::{Note, TimerWhat},
    sip_core::Config,
    step::Step,
    store::CommitSeq,
};
use sip_core_bench::*;

#[test]
fn step_16_asks_its_database_for_one_vector() {
    let mut bench = Bench::new();
    bench.send(&initial());
    assert_eq!(bench.vector_requests.len(), 1);
    let asked = &bench.vector_requests[0];
    assert_eq!((asked.identity.impi.as_str(), asked.identity.impu.as_str()), (IMPI, IMPU));
    assert_eq!(asked.scheme, "Unknown");
    assert_eq!(asked.resync, None);
}

#[test]
fn step_22_challenges_with_rand_and_autn() {
    let mut bench = Bench::new();
    let challenge = bench.send(&initial());
    assert_eq!((challenge.status(), challenge.step), (401, Some(Step::mig(22))));
    let header = challenge.header("WWW-Authenticate").unwrap();
    assert!(header.starts_with("Digest "), "{header}");
    for part in ["realm=\"b.example\"", "algorithm=AKAv1-MD5", "qop=\"auth\""] {
        assert!(header.contains(part), "{header}");
    }
    assert!(
        !header.contains("stale") && !header.contains("ck=") && !header.contains("ik="),
        "{header}"
    );
    let (rand, autn) = decode_nonce(&challenge.nonce()).unwrap();
    assert!(milenage().verify_autn(&rand, &autn).is_ok());
}

#[test]
fn step_24_confirms_only_a_verified_and_durable_registration() {
    let mut bench = Bench::new();
    let confirmed = bench.register(&initial());
    assert_eq!((confirmed.status(), confirmed.step), (200, Some(Step::mig(24))));
    assert!(confirmed.after > CommitSeq::NOTHING, "a 200 waits for its registration");
    assert_eq!(confirmed.header("Contact"), Some("<sip:ue@192.0.2.9:40000>;expires=3600"));
    assert_eq!(confirmed.header("P-Associated-URI"), Some("<sip:mig-7@b.example>"));
    assert_eq!(confirmed.header("Service-Route"), Some("<sip:orig@scscf.b.example;lr>"));
    assert!(confirmed.header("Authentication-Info").unwrap().contains("rspauth="));
    assert_eq!(bench.assignments, [ServerAssignmentType::Registration]);
    assert!(bench.notes.contains(&Note::Registered(true)));
}

#[test]
fn a_named_algorithm_is_used_if_it_is_enabled() {
    for algorithm in [Algorithm::AkaV2Md5, Algorithm::AkaV2Sha256] {
        let mut bench = Bench::new();
        let mut register = initial();
        register.authorization =
            format!("{}, algorithm={}", register.authorization, algorithm.as_str());
        let challenge = bench.send(&register);
        let header = challenge.header("WWW-Authenticate").unwrap();
        assert!(header.contains(&format!("algorithm={}", algorithm.as_str())), "{header}");
        let answer = register.answering(&challenge.nonce(), Answer::RightBy(algorithm));
        assert_eq!(bench.send(&answer).status(), 200);
    }
    let mut only_v1 = Config::for_domain("b.example");
    only_v1.algorithms = vec![Algorithm::AkaV1Md5];
    let mut register = initial();
    register.authorization += ", algorithm=AKAv2-MD5";
    let challenge = Bench::with(only_v1).send(&register);
    assert!(challenge.header("WWW-Authenticate").unwrap().contains("AKAv1-MD5"));
}

#[test]
fn a_wrong_response_on_the_live_nonce_is_403_and_the_database_is_told() {
    for wrong in [Answer::Wrong, Answer::Empty] {
        let mut bench = Bench::new();
        let nonce = bench.send(&initial()).nonce();
        let refused = bench.send(&initial().answering(&nonce, wrong));
        assert_eq!(refused.status(), 403);
        assert_eq!(bench.assignments, [ServerAssignmentType::AuthenticationFailure]);
        assert!(bench.notes.contains(&Note::AuthenticationFailed));
        let again = bench.send(&initial().cseq(2).answering(&nonce, Answer::Right));
        assert_eq!(again.status(), 401, "the nonce is spent");
        assert!(again.header("WWW-Authenticate").unwrap().contains("stale=true"));
    }
}

#[test]
fn an_unknown_or_used_nonce_is_challenged_again_as_stale() {
    let mut bench = Bench::new();
    let nonce = bench.send(&initial()).nonce();
    let answer = initial().answering(&nonce, Answer::Right);
    assert_eq!(bench.send(&answer).status(), 200);
    let replayed = bench.send(&answer.clone().branch("replay").cseq(9));
    assert_eq!(replayed.status(), 401);
    assert!(replayed.header("WWW-Authenticate").unwrap().contains("stale=true"));
    assert_ne!(replayed.nonce(), nonce);

    let other_call = Register { call_id: "call-2", ..answer }.branch("other");
    assert!(bench.send(&other_call).header("WWW-Authenticate").unwrap().contains("stale=true"));
}

#[test]
fn auts_is_passed_on_and_leads_to_a_new_vector_at_most_twice() {
    let mut bench = Bench::new();
    let mut register = initial();
    let mut nonce = bench.send(&register).nonce();
    for _ in 0..2 {
        let (rand, _) = decode_nonce(&nonce).unwrap();
        let auts = milenage().auts(&rand, Sqn::new(5_000, 0, 5));
        register = register.answering(&nonce, Answer::Auts(auts));
        let challenge = bench.send(&register);
        assert_eq!(challenge.status(), 401);
        let asked = bench.vector_requests.last().unwrap();
        assert_eq!(asked.resync, Some(cx::Resync { rand, auts }));
        assert_ne!(challenge.nonce(), nonce);
        nonce = challenge.nonce();
    }
    let (rand, _) = decode_nonce(&nonce).unwrap();
    let auts = milenage().auts(&rand, Sqn::new(5_000, 0, 5));
    assert_eq!(bench.send(&register.answering(&nonce, Answer::Auts(auts))).status(), 403);
}

#[test]
fn a_malformed_auts_is_400_and_leaves_the_challenge_alive() {
    let mut bench = Bench::new();
    let nonce = bench.send(&initial()).nonce();
    let malformed = initial().answering(&nonce, Answer::MalformedAuts);
    assert_eq!(bench.send(&malformed).status(), 400);
    assert_eq!(bench.send(&malformed.answering(&nonce, Answer::Right)).status(), 200);
}

#[test]
fn unknown_expired_revoked_and_mismatched_identities_are_all_told_the_same() {
    let answers: Vec<String> = [
        ResultCode::USER_UNKNOWN,
        ResultCode::IDENTITIES_DONT_MATCH,
        ResultCode::ROAMING_NOT_ALLOWED,
        ResultCode::AUTHORIZATION_REJECTED,
    ]
    .into_iter()
    .map(|result| {
        let mut bench = Bench::new();
        bench.database = Database::Refuses(result);
        let refused = bench.send(&initial());
        assert_eq!(refused.status(), 403);
        refused.text
    })
    .collect();
    assert!(answers.iter().all(|answer| *answer == answers[0]));
}

#[test]
fn an_unreachable_home_is_504_with_retry_after_and_our_trouble_503() {
    for (database, status) in [
        (Database::Unreachable, 504),
        (Database::Refuses(ResultCode::UNABLE_TO_DELIVER), 504),
        (Database::Refuses(ResultCode::TOO_BUSY), 503),
    ] {
        let mut bench = Bench::new();
        bench.database = database;
        let answer = bench.send(&initial());
        assert_eq!(answer.status(), status);
        assert!(answer.header("Retry-After").is_some());
        bench.database = Database::Serves;
        assert_eq!(
            bench.register(&initial().branch("again").cseq(5)).status(),
            200,
            "retry succeeds"
        );
    }
    let mut bench = Bench::new();
    bench.out.set_storage_available(false);
    let answer = bench.send(&initial());
    assert_eq!(answer.status(), 503);
    assert!(answer.header("Retry-After").is_some());
}

#[test]
fn a_registration_that_meets_failed_storage_is_503_with_retry_after() {
    let mut bench = Bench::new();
    let nonce = bench.send(&initial()).nonce();
    bench.database = Database::Silent;
    let answering = initial().answering(&nonce, Answer::Right);
    assert!(bench.send_on(tcp(1), &answering.text()).is_none());
    bench.out.set_storage_available(false);
    let assigned = bench.silent.pop().unwrap();
    bench.with_core(|core, ctx| core.handle_answer(ctx, assigned));
    let refused = bench.replies.pop().expect("an answer");
    assert_eq!((refused.status(), refused.after), (503, CommitSeq::NOTHING));
    assert!(refused.header("Retry-After").is_some());
}

#[test]
fn a_vector_that_takes_over_4_s_is_504_and_the_late_answer_is_dropped() {
    let mut bench = Bench::new();
    bench.database = Database::Silent;
    assert!(bench.send_on(udp(), &initial().text()).is_none());
    bench.pass(Duration::from_secs(3));
    assert!(bench.replies.is_empty(), "no 100 over UDP before 3.5 s");
    bench.pass(Duration::from_secs(2));
    let statuses: Vec<u16> = bench.replies.iter().map(Reply::status).collect();
    assert_eq!(statuses, [100, 504]);
    bench.replies.clear();
    let late = bench.silent.remove(0);
    bench.with_core(|core, ctx| core.handle_answer(ctx, late));
    assert!(bench.replies.is_empty());
}

#[test]
fn a_retransmission_gets_the_same_octets_and_costs_no_second_vector() {
    let mut bench = Bench::new();
    let first = bench.send(&initial());
    let second = bench.send(&initial());
    assert_eq!(first.text, second.text);
    let answer = initial().answering(&first.nonce(), Answer::Right);
    let confirmed = bench.send(&answer);
    let repeated = bench.send(&answer);
    assert_eq!(confirmed.text, repeated.text);
    assert_eq!(confirmed.after, repeated.after, "the repeat waits for the same commit");
    assert_eq!((bench.vector_requests.len(), bench.assignments.len()), (1, 1));
    bench.pass(Duration::from_secs(33));
    assert_ne!(bench.send(&initial()).text, first.text, "Timer J has ended the transaction");
}

#[test]
fn a_retransmission_while_the_vector_is_on_its_way_is_absorbed() {
    let mut bench = Bench::new();
    bench.database = Database::Silent;
    assert!(bench.send_on(udp(), &initial().text()).is_none());
    assert!(bench.send_on(udp(), &initial().text()).is_none());
    assert_eq!(bench.vector_requests.len(), 1);
    let answer = bench.silent.remove(0);
    bench.with_core(|core, ctx| core.handle_answer(ctx, answer));
    assert_eq!(bench.replies.len(), 1);
}

#[test]
fn scenario_59_a_register_repeated_on_a_new_tcp_connection_consumes_no_second_vector() {
    let mut bench = Bench::new();
    bench.database = Database::Silent;
    assert!(bench.send_on(tcp(1), &initial().text()).is_none());
    assert!(bench.send_on(tcp(2), &initial().branch("reconnected").text()).is_none());
    let answer = bench.silent.remove(0);
    bench.with_core(|core, ctx| core.handle_answer(ctx, answer));
    assert_eq!(bench.vector_requests.len(), 1);
    let connections: Vec<u64> = bench.replies.iter().map(|reply| reply.flow.connection).collect();
    assert_eq!(connections, [1, 2], "both connections get the challenge");
    let nonces: Vec<String> = bench.replies.drain(..).map(|reply| reply.nonce()).collect();
    assert_eq!(nonces[0], nonces[1]);

    let third = bench.send_on(tcp(3), &initial().branch("third").text()).unwrap();
    assert_eq!(third.nonce(), nonces[0], "the outstanding challenge again");
    assert_eq!(bench.vector_requests.len(), 1);
}

#[test]
fn a_refresh_is_challenged_afresh_and_keeps_one_contact() {
    let mut bench = Bench::new();
    bench.register(&initial());
    bench.pass(Duration::from_secs(1_000));
    let refreshed = bench.register(&initial().branch("refresh").cseq(3));
    assert_eq!(refreshed.status(), 200);
    assert_eq!(refreshed.header("Contact"), Some("<sip:ue@192.0.2.9:40000>;expires=3600"));
    assert_eq!(bench.vector_requests.len(), 2);
    assert_eq!(
        bench.assignments,
        [ServerAssignmentType::Registration, ServerAssignmentType::ReRegistration]
    );
}

#[test]
fn a_fetch_tells_what_is_registered_and_changes_nothing() {
    let mut bench = Bench::new();
    bench.register(&initial());
    let fetch = Register { contact: None, expires: None, ..initial() }.branch("fetch").cseq(3);
    let told = bench.register(&fetch);
    assert_eq!(told.header("Contact"), Some("<sip:ue@192.0.2.9:40000>;expires=3600"));
    assert_eq!(bench.assignments.len(), 1);
}

#[test]
fn deregistration_by_contact_and_by_wildcard_removes_the_contact_and_is_repeatable() {
    let by_contact = Register { expires: Some(0), ..initial() };
    let by_wildcard = Register { contact: Some("*"), expires: Some(0), ..initial() };
    for deregister in [by_contact, by_wildcard] {
        let mut bench = Bench::new();
        bench.register(&initial());
        let gone = bench.register(&deregister.clone().branch("bye").cseq(3));
        assert_eq!((gone.status(), gone.header("Contact")), (200, None));
        assert!(gone.after > CommitSeq::NOTHING, "waits for the deletion");
        assert_eq!(bench.assignments.last(), Some(&ServerAssignmentType::UserDeregistration));
        assert!(bench.notes.contains(&Note::Registered(false)));
        assert_eq!(bench.register(&deregister.branch("again").cseq(5)).status(), 200);
        assert_eq!(bench.assignments.len(), 2, "nothing left to tell the database");
    }
}

#[test]
fn two_devices_of_one_user_keep_their_own_contacts() {
    let mut bench = Bench::new();
    let other = Register { call_id: "call-2", contact: Some("<sip:ue@192.0.2.77>"), ..initial() }
        .branch("other");
    let nonce_1 = bench.send(&initial()).nonce();
    let nonce_2 = bench.send(&other).nonce();
    assert_eq!(bench.send(&initial().answering(&nonce_1, Answer::Right)).status(), 200);
    let both = bench.send(&other.clone().answering(&nonce_2, Answer::Right));
    assert_eq!(both.text.matches("\r\nContact:").count(), 2, "{}", both.text);
    let bye = Register { expires: Some(0), ..other }.branch("bye").cseq(3);
    let one = bench.register(&bye);
    assert_eq!(one.header("Contact"), Some("<sip:ue@192.0.2.9:40000>;expires=3600"));
    assert_eq!(
        bench
            .assignments
            .iter()
            .filter(|it| **it == ServerAssignmentType::UserDeregistration)
            .count(),
        0
    );
}

#[test]
fn a_device_that_registers_while_the_last_one_leaves_is_told_to_the_database() {
    let mut bench = Bench::new();
    bench.register(&initial());
    let other = Register { call_id: "call-2", contact: Some("<sip:ue@192.0.2.77>"), ..initial() };
    let other = other.branch("other");
    let nonce = bench.send(&other).nonce();
    let bye = Register { expires: Some(0), ..initial() }.branch("bye").cseq(3);
    let nonce_of_bye = bench.send(&bye).nonce();
    bench.database = Database::Silent;
    let leaving = bye.answering(&nonce_of_bye, Answer::Right);
    assert!(bench.send_on(udp(), &leaving.text()).is_none());
    let left = bench.silent.remove(0);
    bench.database = Database::Serves;
    assert_eq!(bench.send(&other.answering(&nonce, Answer::Right)).status(), 200);
    bench.with_core(|core, ctx| core.handle_answer(ctx, left));
    let told: Vec<ServerAssignmentType> = bench.assignments.iter().rev().take(3).copied().collect();
    assert_eq!(
        told,
        [
            ServerAssignmentType::Registration,
            ServerAssignmentType::ReRegistration,
            ServerAssignmentType::UserDeregistration
        ]
    );
}

#[test]
fn a_cseq_that_does_not_rise_within_a_call_id_is_500_and_changes_nothing() {
    let mut bench = Bench::new();
    bench.register(&initial().cseq(10));
    let older =
        bench.register(&Register { expires: Some(7_000), ..initial() }.branch("older").cseq(4));
    assert_eq!(older.status(), 500);
    let fetch = Register { contact: None, ..initial() }.branch("fetch").cseq(20);
    assert_eq!(
        bench.register(&fetch).header("Contact"),
        Some("<sip:ue@192.0.2.9:40000>;expires=3600")
    );
}

#[test]
fn a_deregistration_out_of_order_is_not_told_to_the_database() {
    let mut bench = Bench::new();
    bench.register(&initial().cseq(10));
    let older = bench.register(&Register { expires: Some(0), ..initial() }.branch("bye").cseq(4));
    assert_eq!(older.status(), 500);
    assert_eq!(bench.assignments, [ServerAssignmentType::Registration]);
}

#[test]
fn the_database_is_told_when_the_last_contact_goes_and_another_has_just_ended() {
    let mut bench = Bench::new();
    bench.register(&initial());
    let other = Register {
        call_id: "call-2",
        contact: Some("<sip:ue@192.0.2.77>"),
        expires: Some(7_200),
        ..initial()
    };
    bench.register(&other.clone().branch("other"));
    bench.timers.clear(); // the timer of the first contact comes late
    bench.pass(Duration::from_secs(3_600));
    let bye = Register { expires: Some(0), ..other }.branch("bye").cseq(3);
    assert_eq!(bench.register(&bye).header("Contact"), None);
    assert_eq!(bench.assignments.last(), Some(&ServerAssignmentType::UserDeregistration));
}

#[test]
fn a_sips_contact_is_registered_only_where_all_the_way_is_sips() {
    let sips = Register { contact: Some("<SIPS:ue@192.0.2.9:40000>"), ..initial() };
    let with_path = |path: &str| Register { extra: format!("Path: {path}\r\n"), ..sips.clone() };
    let over = |register: &Register, uri: &str| {
        let text = register.text();
        let line = text.split_once("\r\n").unwrap().0;
        text.replacen(line, &format!("REGISTER {uri} SIP/2.0"), 1)
    };
    for (register, uri, status) in [
        (&sips, "sips:b.example", 401),
        (&sips, "sip:b.example", 400),
        (&with_path("<sips:p@px.example;lr>,<sips:q@px.example;lr>"), "sips:b.example", 401),
        (&with_path("<sips:p@px.example;lr>,<sip:q@px.example;lr>"), "sips:b.example", 400),
        (&initial(), "sips:b.example", 401),
    ] {
        let mut bench = Bench::new();
        let answer = bench.send_on(udp(), &over(register, uri)).unwrap();
        assert_eq!(answer.status(), status, "{uri} {}", register.text());
        assert_eq!(bench.vector_requests.len(), usize::from(status == 401));
    }
    // The address of record is the same one by either scheme.
    let text = over(&sips, "sips:b.example").replace("To: <sip:", "To: <sips:");
    assert!(text.contains("To: <sips:"), "{text}");
    let mut bench = Bench::new();
    assert_eq!(bench.send_on(udp(), &text).unwrap().status(), 401);
    assert_eq!(bench.vector_requests[0].identity.impu.as_str(), IMPU);
}

#[test]
fn what_is_wrong_with_a_request_is_said_before_a_vector_is_spent() {
    let sec_agree = "Require: sec-agree\r\nProxy-Require: sec-agree\r\n".to_owned();
    let contacts = "<sip:a@x.example>,<sip:b@x.example>,<sip:c@x.example>,<sip:d@x.example>,<sip:e@x.example>,\
                    <sip:f@x.example>,<sip:g@x.example>,<sip:h@x.example>,<sip:i@x.example>,<sip:j@x.example>,\
                    <sip:k@x.example>";
    for (register, status, header) in [
        (Register { extra: sec_agree, ..initial() }, 420, Some(("Unsupported", "sec-agree"))),
        (Register { expires: Some(30), ..initial() }, 423, Some(("Min-Expires", "60"))),
        (Register { contact: Some("*"), expires: Some(60), ..initial() }, 400, None),
        (Register { contact: Some("*"), expires: None, ..initial() }, 400, None),
        (Register { contact: Some(contacts), ..initial() }, 403, None),
    ] {
        let mut bench = Bench::new();
        let refused = bench.send(&register);
        assert_eq!(refused.status(), status, "{}", refused.text);
        if let Some((name, value)) = header {
            assert_eq!(refused.header(name), Some(value));
        }
        assert!(bench.vector_requests.is_empty());
    }
    let elsewhere = initial().text().replace("b.example", "elsewhere.example");
    assert_eq!(Bench::new().send_on(udp(), &elsewhere).unwrap().status(), 404);
}

#[test]
fn the_period_is_cut_to_the_longest_and_path_is_echoed_in_order() {
    let mut config = Config::for_domain("b.example");
    config.expires_max = 7_200;
    let mut bench = Bench::with(config);
    let extra = "Supported: path\r\nPath: <sip:p1.example;lr>, <sip:p2.example;lr>\r\nPath: <sip:p3.example;lr>\r\n";
    let confirmed =
        bench.register(&Register { expires: Some(600_000), extra: extra.to_owned(), ..initial() });
    assert_eq!(confirmed.header("Contact"), Some("<sip:ue@192.0.2.9:40000>;expires=7200"));
    let paths: Vec<&str> = confirmed
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("Path: "))
        .flat_map(|it| it.split(", "))
        .collect();
    assert_eq!(paths, ["<sip:p1.example;lr>", "<sip:p2.example;lr>", "<sip:p3.example;lr>"]);
}

#[test]
fn a_contact_that_nobody_refreshes_ends_and_the_database_is_told() {
    let mut bench = Bench::new();
    bench.register(&initial());
    bench.pass(Duration::from_secs(3_601));
    assert_eq!(bench.assignments.last(), Some(&ServerAssignmentType::TimeoutDeregistration));
    assert!(bench.notes.contains(&Note::Registered(false)));
    let fetch = Register { contact: None, ..initial() }.branch("fetch").cseq(20);
    assert_eq!(bench.register(&fetch).header("Contact"), None);
}

#[test]
fn the_database_is_told_of_a_registration_after_what_it_follows_from_is_durable() {
    let mut bench = Bench::new();
    let registered = bench.register(&initial());
    bench.pass(Duration::from_secs(3_601));
    bench.register(&initial().branch("anew").cseq(3));
    let refreshed = bench.register(&initial().branch("refresh").cseq(5));
    let [first, ended, anew, refresh] = bench.assignments_after[..] else {
        panic!("{:?}", bench.assignments)
    };
    assert_eq!(first, CommitSeq::NOTHING);
    assert!(registered.after < ended);
    assert_eq!(anew, ended, "does not overtake the end of the earlier registration");
    assert!(ended < refresh && refresh < refreshed.after);
}

#[test]
fn a_refresh_under_way_while_its_contact_ends_is_told_to_the_database_last() {
    let mut bench = Bench::new();
    bench.register(&initial());
    bench.pass(Duration::from_secs(3_599));
    let refresh = initial().branch("refresh").cseq(3);
    let nonce = bench.send(&refresh).nonce();
    bench.database = Database::Silent;
    assert!(bench.send_on(udp(), &refresh.answering(&nonce, Answer::Right).text()).is_none());
    bench.pass(Duration::from_secs(2));
    bench.database = Database::Serves;
    let [refreshed, ended] = std::mem::take(&mut bench.silent).try_into().unwrap();
    for reply in [refreshed, ended] {
        bench.with_core(|core, ctx| core.handle_answer(ctx, reply));
    }
    assert_eq!(bench.replies.pop().unwrap().status(), 200);
    assert_eq!(
        bench.assignments[1..],
        [
            ServerAssignmentType::ReRegistration,
            ServerAssignmentType::TimeoutDeregistration,
            ServerAssignmentType::Registration,
        ]
    );
}

#[test]
fn the_end_of_a_registration_that_the_database_hears_of_late_is_mended() {
    // Two workers sent: the answers come in one order or the other, for the database heard of both.
    for notice_first in [true, false] {
        let mut bench = Bench::new();
        bench.register(&initial());
        bench.database = Database::Silent;
        bench.pass(Duration::from_secs(3_601));
        let ended = bench.silent.remove(0);
        bench.database = Database::Serves;
        let anew = initial().branch("anew").cseq(3);
        let nonce = bench.send(&anew).nonce();
        bench.database = Database::Silent;
        assert!(bench.send_on(udp(), &anew.answering(&nonce, Answer::Right).text()).is_none());
        let registered = bench.silent.remove(0);
        bench.database = Database::Serves;
        let replies = if notice_first { [ended, registered] } else { [registered, ended] };
        for reply in replies {
            bench.with_core(|core, ctx| core.handle_answer(ctx, reply));
        }
        assert_eq!(bench.replies.pop().unwrap().status(), 200);
        assert_eq!(bench.assignments.last(), Some(&ServerAssignmentType::Registration));
        assert_eq!(bench.assignments.len(), 4, "{:?}", bench.assignments);
    }
}

#[test]
fn an_expiry_never_removes_a_newer_registration() {
    let mut bench = Bench::new();
    bench.register(&initial());
    bench.pass(Duration::from_secs(3_000));
    bench.register(&initial().branch("refresh").cseq(3));
    bench.pass(Duration::from_secs(1_000));
    assert!(!bench.assignments.contains(&ServerAssignmentType::TimeoutDeregistration));
    let fetch = Register { contact: None, ..initial() }.branch("fetch").cseq(20);
    assert_eq!(
        bench.register(&fetch).header("Contact"),
        Some("<sip:ue@192.0.2.9:40000>;expires=2600")
    );
}

#[test]
fn a_challenge_that_nobody_answers_ends_after_reg_await_auth() {
    let mut bench = Bench::new();
    let nonce = bench.send(&initial()).nonce();
    bench.pass(Duration::from_secs(241));
    assert_eq!(bench.assignments, [ServerAssignmentType::AuthenticationTimeout]);
    let late = bench.send(&initial().answering(&nonce, Answer::Right));
    assert!(late.header("WWW-Authenticate").unwrap().contains("stale=true"));
}

#[test]
fn a_challenge_is_over_after_reg_await_auth_even_if_its_timer_comes_later() {
    let mut bench = Bench::new();
    let nonce = bench.send(&initial()).nonce();
    bench.timers.clear(); // the timer of a later challenge stands for this one
    bench.pass(Duration::from_secs(240));
    let again = bench.send(&initial().branch("again")).nonce();
    assert_ne!(again, nonce, "a challenge that is over is not handed out again");
    let late = bench.send(&initial().answering(&nonce, Answer::Right));
    assert!(late.header("WWW-Authenticate").unwrap().contains("stale=true"));
}

#[test]
fn one_timer_stands_for_all_challenges() {
    let mut bench = Bench::new();
    bench.send(&initial());
    bench.pass(Duration::from_secs(10));
    bench.send(&Register { call_id: "call-2", ..initial() }.branch("other"));
    let timers = bench.timers.iter();
    assert_eq!(timers.filter(|(_, it)| matches!(it.what, TimerWhat::ChallengesEnd)).count(), 1);
    bench.pass(Duration::from_secs(241));
    let timeouts =
        bench.assignments.iter().filter(|it| **it == ServerAssignmentType::AuthenticationTimeout);
    assert_eq!(timeouts.count(), 2);
}

#[test]
fn the_oldest_challenge_gives_way_so_that_nobody_can_lock_a_user_out() {
    let mut bench = Bench::new();
    let calls = ["c1", "c2", "c3", "c4", "c5"];
    let registers = calls.map(|call_id| Register { call_id, ..initial() }.branch(call_id));
    let nonces: Vec<String> =
        registers.iter().map(|register| bench.send(register).nonce()).collect();
    let newest = bench.send(&registers[4].clone().answering(&nonces[4], Answer::Right));
    assert_eq!(newest.status(), 200);
    let oldest = bench.send(&registers[0].clone().answering(&nonces[0], Answer::Right));
    assert!(oldest.header("WWW-Authenticate").unwrap().contains("stale=true"));
}

#[test]
fn a_registration_survives_a_restart_and_still_expires() {
    let mut bench = Bench::new();
    bench.register(&initial());
    bench.restart();
    assert_eq!(bench.core.registered(), 1);
    let fetch = Register { contact: None, ..initial() }.branch("fetch").cseq(3);
    assert_eq!(
        bench.register(&fetch).header("Contact"),
        Some("<sip:ue@192.0.2.9:40000>;expires=3600")
    );
    bench.pass(Duration::from_secs(3_601));
    assert_eq!(bench.assignments.last(), Some(&ServerAssignmentType::TimeoutDeregistration));
    assert_eq!(bench.core.registered(), 0);
}

#[test]
fn other_methods_get_the_answer_of_a_registrar() {
    let mut bench = Bench::new();
    for (method, status) in
        [("OPTIONS", 200), ("INVITE", 405), ("MESSAGE", 405), ("NEWMETHOD", 501)]
    {
        let text = initial().text().replace("REGISTER", method);
        let answer = bench.send_on(udp(), &text).unwrap();
        assert_eq!(answer.status(), status, "{method}");
        assert!(answer.header("Allow").unwrap().contains("REGISTER"));
    }
    assert!(bench.send_on(udp(), &initial().text().replace("REGISTER", "ACK")).is_none());
    assert!(bench.send_on(udp(), "SIP/2.0 200 OK\r\nCall-ID: x\r\n\r\n").is_none());
    assert!(bench.send_on(udp(), "\r\n\r\n").is_none());
    assert!(bench.vector_requests.is_empty());
}

#[test]
fn a_register_without_authorization_derives_the_private_identity_from_the_public_one() {
    let mut bench = Bench::new();
    let text = initial().text();
    let bare: String =
        text.split_inclusive("\r\n").filter(|line| !line.starts_with("Authorization")).collect();
    assert_eq!(bench.send_on(udp(), &bare).unwrap().status(), 401);
    assert_eq!(bench.vector_requests[0].identity.impi.as_str(), IMPI);
}

#[test]
fn an_answer_for_another_public_identity_than_the_challenged_one_is_403() {
    let mut bench = Bench::new();
    let nonce = bench.send(&initial()).nonce();
    let text =
        initial().answering(&nonce, Answer::Right).text().replace(IMPU, "sip:other@b.example");
    assert_eq!(bench.send_on(udp(), &text).unwrap().status(), 403);
}

/// Cuts, repeats or flips octets, one to four times.
fn mutate(text: &[u8], seeded: &mut Seeded) -> Vec<u8> {
    let mut octets = text.to_vec();
    for _ in 0..=seeded.below(4) {
        let at = usize::try_from(seeded.below(octets.len() as u64 + 1)).unwrap();
        let end = octets.len().min(at + 1 + usize::try_from(seeded.below(40)).unwrap());
        match seeded.below(4) {
            0 => octets.truncate(at),
            1 => drop(octets.drain(at..end)),
            2 => {
                let piece = octets[at..end].to_vec();
                octets.splice(at..at, piece);
            }
            _ => {
                octets[at..end].iter_mut().take(1).for_each(|octet| *octet ^= 1 << seeded.below(8))
            }
        }
    }
    octets
}

#[test]
fn a_mutated_register_never_stops_the_next_good_one() {
    let rounds: u64 =
        std::env::var("MIGCORE_FUZZ_ROUNDS").ok().and_then(|it| it.parse().ok()).unwrap_or(100_000);
    let seed =
        std::env::var("MIGCORE_SEED").ok().and_then(|it| it.parse().ok()).unwrap_or(20_261_120);
    println!("seed {seed}");
    let mut seeded = Seeded(seed);
    let mut bench = Bench::new();
    let mut answered = 0;
    let mut cseq = 1;
    for round in 0..rounds {
        let base = initial().branch(&format!("fuzz{round}")).cseq(cseq);
        let base = if round % 2 == 0 {
            base
        } else {
            let nonce = encode_nonce_of(round);
            base.answering(&nonce, Answer::Wrong).branch(&format!("fuzz{round}"))
        };
        let flow = if round % 3 == 0 { tcp(round) } else { udp() };
        let octets = mutate(base.text().as_bytes(), &mut seeded);
        bench.with_core(|core, ctx| core.handle_sip(ctx, flow, &octets));
        answered += bench.replies.len();
        assert!(bench.replies.len() <= 1, "round {round}: more than one answer");
        bench.replies.clear();
        if round % 500 == 0 {
            cseq += 10;
            let good = initial().branch(&format!("good{round}")).cseq(cseq);
            let confirmed = bench.register(&good);
            assert_eq!(confirmed.status(), 200, "round {round} of seed {seed}: {}", confirmed.text);
            bench.pass(Duration::from_secs(300));
            bench.notes.clear();
            bench.assignments.clear();
            bench.vector_requests.clear();
        }
    }
    assert!(
        answered as u64 > rounds / 10,
        "only {answered} of {rounds} were answered: the mutation is too coarse"
    );
}

/// A well-formed nonce that is not live.
fn encode_nonce_of(number: u64) -> String {
    let vector = milenage().vector(&[9; 16], Sqn::new(number + 1, 0, 5), [0x80, 0]);
    migcore::aka::digest::encode_nonce(&vector.rand, &vector.autn).to_string()
}
