//! Subscribers with a password (SIP Digest): the SIP core and the SIP database, each alone.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "test code"
)]

/// Both harnesses draw from the same.
mod common {
    pub(crate) use super::sip_database_harness::Seeded;
}
mod sip_core_bench;
mod sip_database_harness;

use std::time::Duration;

use migcore::{
    aka::digest::{DigestInput, Ha1, Ha1Algorithm, Qop, QopInput},
    api::migration_identity::{Answer, DigestSubscriber, Refusal, Request as Manage},
    diameter::cx::{
        MultimediaAuthRequest, ResultCode, SCHEME_SIP_DIGEST, ServerAssignmentType as Type,
        SipDigest,
    },
    outbox::Peer,
    store::{Engine, RecordKind},
};
use sip_core_bench::{Bench, IMPI, Register, initial};
use sip_database_harness::{alice, database, mar, pair, sar, subscriber, system_a};

const PASSWORD: &[u8] = b"a password of the partner's";

fn ha1(algorithm: Ha1Algorithm) -> Ha1 {
    Ha1::compute(algorithm, IMPI, "b.example", PASSWORD)
}

/// A SIP core whose database has a password for the user.
fn bench(algorithm: Ha1Algorithm) -> Bench {
    let mut bench = Bench::new();
    bench.password = Some(SipDigest { realm: "b.example".to_owned(), ha1: ha1(algorithm) });
    bench
}

/// A REGISTER that answers a nonce, with this count and what the password is.
fn answering(register: &Register, nonce: &str, nc: &str, ha1: &Ha1) -> Register {
    let qop = QopInput { qop: Qop::Auth, nc, cnonce: "c" };
    let input = DigestInput {
        username: IMPI,
        realm: "b.example",
        method: "REGISTER",
        uri: "sip:b.example",
        nonce,
        qop: Some(qop),
        body: &[],
    };
    let [response, _] = ha1.both(&input);
    let mut answer = register.clone().cseq(register.cseq + 1);
    answer.branch = format!("z9hG4bK{}{nc}{}", register.call_id, answer.cseq);
    answer.authorization = format!(
        "Digest username=\"{IMPI}\", realm=\"b.example\", uri=\"sip:b.example\", nonce=\"{nonce}\", \
         response=\"{response}\", algorithm={}, qop=auth, nc={nc}, cnonce=\"c\"",
        ha1.algorithm()
    );
    answer
}

fn is_stale(reply: &sip_core_bench::Reply) -> bool {
    reply.status() == 401 && reply.header("WWW-Authenticate").unwrap().contains("stale=true")
}

#[test]
fn a_user_with_a_password_registers_by_md5_and_by_sha_256_and_the_core_proves_itself() {
    for algorithm in [Ha1Algorithm::Md5, Ha1Algorithm::Sha256] {
        let mut bench = bench(algorithm);
        let challenge = bench.send(&initial());
        let header = challenge.header("WWW-Authenticate").unwrap();
        for part in ["realm=\"b.example\"", &format!("algorithm={algorithm},"), "qop=\"auth\""] {
            assert!(header.contains(part), "{part} in {header}");
        }
        let answer = answering(&initial(), &challenge.nonce(), "00000001", &ha1(algorithm));
        let reply = bench.send(&answer);
        assert_eq!(reply.status(), 200, "{}", reply.text);
        assert!(reply.header("Authentication-Info").unwrap().contains("rspauth=\""));
        assert_eq!(bench.assignments, [Type::Registration]);
    }
}

#[test]
fn a_wrong_password_is_403_and_the_database_is_told() {
    let mut bench = bench(Ha1Algorithm::Md5);
    let challenge = bench.send(&initial());
    let wrong = Ha1::compute(Ha1Algorithm::Md5, IMPI, "b.example", b"another password");
    let reply = bench.send(&answering(&initial(), &challenge.nonce(), "00000001", &wrong));
    assert_eq!(reply.status(), 403);
    assert_eq!(bench.assignments, [Type::AuthenticationFailure]);
    let right = ha1(Ha1Algorithm::Md5);
    let late = answering(&initial().cseq(5), &challenge.nonce(), "00000002", &right);
    assert!(is_stale(&bench.send(&late)), "the challenge is spent");
}

#[test]
fn a_response_by_another_algorithm_than_that_of_the_challenge_is_403() {
    let mut bench = bench(Ha1Algorithm::Sha256);
    let challenge = bench.send(&initial());
    let by_md5 = ha1(Ha1Algorithm::Md5);
    let reply = bench.send(&answering(&initial(), &challenge.nonce(), "00000001", &by_md5));
    assert_eq!(reply.status(), 403);
}

#[test]
fn a_nonce_may_be_used_again_with_a_higher_count_and_is_stale_otherwise() {
    let mut bench = bench(Ha1Algorithm::Md5);
    let right = ha1(Ha1Algorithm::Md5);
    let nonce = bench.send(&initial()).nonce();
    let again = |cseq: u32, nc: &str| answering(&initial().cseq(cseq), &nonce, nc, &right);
    assert_eq!(bench.send(&again(1, "00000001")).status(), 200);
    assert_eq!(bench.send(&again(2, "0000000A")).status(), 200, "counts may be left out");
    assert_eq!(bench.vector_requests.len(), 1, "no challenge was needed");
    for nc in ["0000000a", "00000009", "00000000"] {
        let mut bench = self::bench(Ha1Algorithm::Md5);
        let nonce = bench.send(&initial()).nonce();
        let use_it = |cseq, nc| answering(&initial().cseq(cseq), &nonce, nc, &right);
        assert_eq!(bench.send(&use_it(1, "0000000a")).status(), 200);
        let replayed = bench.send(&use_it(2, nc));
        assert!(is_stale(&replayed), "{nc}: {}", replayed.text);
        let fresh = answering(&initial().cseq(9), &replayed.nonce(), "00000001", &right);
        assert_eq!(bench.send(&fresh).status(), 200, "the new nonce is good");
    }
    for nc in ["1", "+0000001", "0000000g", "000000010"] {
        let mut bench = self::bench(Ha1Algorithm::Md5);
        let nonce = bench.send(&initial()).nonce();
        let reply = bench.send(&answering(&initial(), &nonce, nc, &right));
        assert_eq!(reply.status(), 403, "no count: {nc}");
    }
}

#[test]
fn a_nonce_ends_a_while_after_its_last_use_and_that_is_no_failure() {
    let mut bench = bench(Ha1Algorithm::Md5);
    let right = ha1(Ha1Algorithm::Md5);
    let nonce = bench.send(&initial()).nonce();
    let use_it = |bench: &mut Bench, cseq: u32, nc: &str| {
        bench.send(&answering(&initial().cseq(cseq), &nonce, nc, &right))
    };
    bench.pass(Duration::from_secs(200));
    assert_eq!(use_it(&mut bench, 1, "00000001").status(), 200);
    bench.pass(Duration::from_secs(200));
    assert_eq!(use_it(&mut bench, 2, "00000002").status(), 200);
    bench.pass(Duration::from_secs(241));
    assert!(is_stale(&use_it(&mut bench, 3, "00000003")));
    assert_eq!(bench.assignments, [Type::Registration, Type::ReRegistration]);
}

#[test]
fn a_nonce_is_good_for_its_own_call_id_alone() {
    let mut bench = bench(Ha1Algorithm::Md5);
    let right = ha1(Ha1Algorithm::Md5);
    let nonce = bench.send(&initial()).nonce();
    assert_eq!(bench.send(&answering(&initial(), &nonce, "00000001", &right)).status(), 200);
    let other = Register { call_id: "call-2", ..initial() };
    assert!(is_stale(&bench.send(&answering(&other, &nonce, "00000002", &right))));
}

#[test]
fn ha1_of_another_realm_than_the_cores_is_our_trouble_and_not_the_users() {
    let mut bench = bench(Ha1Algorithm::Md5);
    bench.password.as_mut().unwrap().realm = "other.example".to_owned();
    let reply = bench.send(&initial());
    assert_eq!(reply.status(), 504, "{}", reply.text);
    assert!(reply.header("Retry-After").is_some());
}

fn guest() -> DigestSubscriber {
    let identity = pair("guest", "a.example");
    let ha1 = Ha1::compute(Ha1Algorithm::Md5, identity.impi.as_str(), "a.example", PASSWORD);
    let realm = "a.example".to_owned();
    DigestSubscriber { impi: identity.impi, impus: vec![identity.impu], realm, ha1 }
}

#[test]
fn a_database_answers_by_what_the_subscriber_has() {
    let mut a = system_a();
    a.put_alice();
    a.done(Manage::PutDigestSubscriber(guest()));
    let guest_pair = pair("guest", "a.example");
    let not_supported = ResultCode::AUTH_SCHEME_NOT_SUPPORTED;
    for (who, scheme, result, has_digest, told) in [
        (&guest_pair, "Unknown", ResultCode::SUCCESS, true, SCHEME_SIP_DIGEST),
        (&guest_pair, "sip digest", ResultCode::SUCCESS, true, SCHEME_SIP_DIGEST),
        (&guest_pair, "Digest-AKAv1-MD5", not_supported, false, "Digest-AKAv1-MD5"),
        (&alice(), "Unknown", ResultCode::SUCCESS, false, "Digest-AKAv1-MD5"),
        (&alice(), SCHEME_SIP_DIGEST, not_supported, false, SCHEME_SIP_DIGEST),
        (
            &pair("bob", "a.example"),
            SCHEME_SIP_DIGEST,
            ResultCode::USER_UNKNOWN,
            false,
            SCHEME_SIP_DIGEST,
        ),
        (&pair("bob", "a.example"), "NASS-Bundled", not_supported, false, "NASS-Bundled"),
    ] {
        let request = MultimediaAuthRequest { scheme: scheme.to_owned().into(), ..mar(who) };
        let answer = a.vector(&Peer::OwnCore, request);
        let found = (answer.result, answer.digest.is_some(), &*answer.scheme);
        assert_eq!(found, (result, has_digest, told), "{scheme}");
        assert!(answer.is_complete(), "{scheme}");
        if let Some(digest) = answer.digest {
            assert_eq!((&digest.realm, &digest.ha1), (&guest().realm, &guest().ha1));
        }
    }
}

#[test]
fn ha1_leaves_for_no_other_system() {
    let mut a = system_a();
    a.done(Manage::PutDigestSubscriber(guest()));
    for scheme in ["Unknown", "SIP Digest", "Digest-AKAv1-MD5"] {
        let asked = mar(&pair("guest", "a.example"));
        let request = MultimediaAuthRequest { scheme: scheme.into(), ..asked };
        let answer = a.vector(&Peer::Database(database("hss.b.example")), request);
        assert!(!answer.result.is_success() && answer.digest.is_none(), "{scheme}");
    }
}

#[test]
fn an_identity_has_a_key_or_a_password_and_one_owner() {
    let mut a = system_a();
    a.put_alice();
    a.done(Manage::PutDigestSubscriber(guest()));
    let of_alice = DigestSubscriber { impi: alice().impi, ..guest() };
    let with_her_impu = DigestSubscriber { impus: vec![alice().impu], ..guest() };
    let with_a_key = subscriber(&pair("guest", "a.example"), 0);
    for (what, request) in [
        ("a key has the private identity", Manage::PutDigestSubscriber(of_alice)),
        ("belongs to somebody else", Manage::PutDigestSubscriber(with_her_impu)),
        ("a password has the private identity", Manage::PutSubscriber(with_a_key.clone())),
        ("no public", Manage::PutDigestSubscriber(DigestSubscriber { impus: vec![], ..guest() })),
        (
            "a realm is",
            Manage::PutDigestSubscriber(DigestSubscriber { realm: "a\"b".to_owned(), ..guest() }),
        ),
    ] {
        let checked = a.refusal(Manage::Check(Box::new(request.clone()))).to_string();
        let refused = a.refusal(request).to_string();
        assert_eq!(checked, refused);
        let what = if what == "no public" { "at least one public" } else { what };
        assert!(refused.contains(what), "{refused}");
    }
    a.done(Manage::DeleteDigestSubscriber(guest().impi));
    a.done(Manage::PutSubscriber(with_a_key));
}

#[test]
fn a_subscriber_with_a_password_outlives_a_restart_and_is_served_by_one_core() {
    let mut a = system_a();
    a.done(Manage::PutDigestSubscriber(guest()));
    let pair = pair("guest", "a.example");
    let asked = MultimediaAuthRequest { scheme: "Unknown".into(), ..mar(&pair) };
    a.vector(&Peer::OwnCore, asked.clone());
    a.restart();
    let first = a.assign(sar(&pair, Type::Registration));
    assert_eq!(first.result, ResultCode::SUCCESS);
    assert_eq!(first.user_data.unwrap().impus, vec![pair.impu.clone()]);
    let mut foreign = sar(&pair, Type::Registration);
    foreign.server_name = "sip:other.a.example".into();
    assert_eq!(a.assign(foreign).result, ResultCode::IDENTITY_ALREADY_REGISTERED);
    a.restart();
    assert!(a.vector(&Peer::OwnCore, asked.clone()).digest.is_some());
    let shown = a.manage(Manage::GetDigestSubscriber(pair.impi.clone()));
    assert!(matches!(&shown, Answer::DigestSubscriber { realm, .. } if realm == "a.example"));
    a.done(Manage::DeleteDigestSubscriber(pair.impi.clone()));
    a.restart();
    assert_eq!(a.vector(&Peer::OwnCore, asked).result, ResultCode::USER_UNKNOWN);
    let gone = a.refusal(Manage::GetDigestSubscriber(pair.impi));
    assert_eq!(gone, Refusal::NotFound("subscriber"));
    let left = std::sync::atomic::AtomicUsize::new(0);
    a.engine
        .replay(&|record| {
            let is_one = record.kind == RecordKind::DigestSubscriber;
            left.fetch_add(usize::from(is_one), std::sync::atomic::Ordering::Relaxed);
            Ok(())
        })
        .unwrap();
    assert_eq!(left.into_inner(), 0);
}
