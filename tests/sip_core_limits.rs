//! The limits of attempts at a SIP core: of a source, of an identity, of challenges that wait.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "test code"
)]

mod common;
mod sip_core_bench;

use std::time::Duration;

use migcore::{
    outbox::{Flow, Limit, Note},
    sip_core::{Config, Limits, Rate},
};
use sip_core_bench::*;

const RATE: Rate = Rate { per_second: 1, burst: 2 };

fn bench(limits: Limits) -> Bench {
    Bench::with(Config { limits, ..Config::for_domain("b.example") })
}

fn limited_source() -> Limits {
    Limits { source: Some(RATE), ..Limits::default() }
}

fn attempt(number: u32) -> Register {
    initial().branch(&format!("attempt{number}")).cseq(number)
}

impl Bench {
    /// The statuses of the answers to attempts, 0 for none.
    fn attempts(&mut self, flow: Flow, numbers: std::ops::RangeInclusive<u32>) -> Vec<u16> {
        let mut answers = Vec::new();
        for number in numbers {
            let answer = self.send_on(flow, &attempt(number).text());
            if let Some(answer) = answer.as_ref().filter(|answer| answer.status() == 503) {
                let after: u32 = answer.header("Retry-After").unwrap().parse().unwrap();
                assert!((1..=10).contains(&after), "{after}");
            }
            answers.push(answer.map_or(0, |answer| answer.status()));
        }
        answers
    }

    fn noted(&self, limit: Limit) -> usize {
        self.notes.iter().filter(|note| **note == Note::Limited(limit)).count()
    }
}

#[test]
fn a_source_over_its_rate_is_refused_and_one_far_over_it_is_not_answered() {
    let mut bench = bench(limited_source());
    assert_eq!(bench.attempts(udp(), 1..=6), [401, 401, 503, 503, 0, 0]);
    assert_eq!((bench.noted(Limit::Source), bench.vector_requests.len()), (4, 2));
    let other = Flow { remote: "192.0.2.10:40000".parse().unwrap(), ..udp() };
    assert_eq!(bench.attempts(other, 7..=7), [401], "others are not concerned");
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.attempts(udp(), 8..=9), [401, 503]);
}

#[test]
fn a_repeated_request_is_no_further_attempt() {
    let mut bench = bench(limited_source());
    let first = bench.send(&attempt(1)).text;
    bench.send(&attempt(2));
    for _ in 0..10 {
        assert_eq!(bench.send(&attempt(1)).text, first);
    }
    assert_eq!(bench.noted(Limit::Source), 0);
    assert_eq!(bench.attempts(udp(), 3..=3), [503]);
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.attempts(udp(), 3..=3), [401], "the refused one left no transaction behind");
}

#[test]
fn an_exempt_source_has_no_limit() {
    let exempt = vec!["192.0.2.0/24".parse().unwrap()];
    let mut bench = bench(Limits { exempt, ..limited_source() });
    assert_eq!(bench.attempts(udp(), 1..=20), [401; 20]);
    let other = Flow { remote: "198.51.100.1:40000".parse().unwrap(), ..udp() };
    assert_eq!(bench.attempts(other, 21..=23), [401, 401, 503]);
}

#[test]
fn vectors_for_one_identity_are_limited_and_its_right_answers_are_not() {
    let mut bench = bench(Limits { identity: Some(RATE), ..Limits::default() });
    let nonce = bench.send(&attempt(1)).nonce();
    assert_eq!(bench.attempts(udp(), 11..=15), [401, 503, 503, 0, 0]);
    assert_eq!((bench.noted(Limit::Identity), bench.vector_requests.len()), (4, 2));
    let other_call = Register { call_id: "call-2", ..attempt(1).branch("other") };
    assert!(
        bench.send_on(udp(), &other_call.text()).is_none(),
        "the identity counts, not the call"
    );
    bench.pass(Duration::from_secs(1));
    let challenge = bench.send(&attempt(20));
    assert_eq!(challenge.status(), 401, "{nonce}");
    let answering = attempt(20).answering(&challenge.nonce(), Answer::Right);
    assert_eq!(bench.send(&answering).status(), 200);
}

#[test]
fn what_was_not_answered_is_forgotten_and_may_be_repeated() {
    let mut bench = bench(Limits { identity: Some(RATE), ..Limits::default() });
    assert_eq!(bench.attempts(udp(), 1..=5), [401, 401, 503, 503, 0]);
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.attempts(udp(), 5..=5), [401]);
    bench.pass(Duration::from_secs(4));
    assert!(
        bench.replies.iter().all(|reply| reply.status() != 100),
        "nothing is still being tried"
    );
}

#[test]
fn of_one_user_so_many_challenges_wait_and_the_oldest_gives_way() {
    let mut bench = bench(Limits { challenges: 2, ..Limits::default() });
    let calls = ["call-a", "call-b", "call-c"];
    let registers = calls.map(|call_id| Register { call_id, ..initial().branch(call_id) });
    let nonces = registers.each_ref().map(|register| bench.send(register).nonce());
    assert_eq!(bench.noted(Limit::Challenges), 1);
    let mut answers = registers.iter().zip(&nonces).rev().map(|(register, nonce)| {
        let answer = register.clone().answering(nonce, Answer::Right);
        bench.send(&answer).status()
    });
    assert_eq!([answers.next(), answers.next(), answers.next()], [Some(200), Some(200), Some(401)]);
}

#[test]
fn while_all_attempts_of_a_user_wait_for_vectors_one_more_is_refused() {
    let mut bench = bench(Limits { challenges: 1, ..Limits::default() });
    bench.database = Database::Silent;
    assert!(bench.send_on(udp(), &attempt(1).text()).is_none());
    let other_call = Register { call_id: "call-2", ..attempt(2) };
    let refused = bench.send(&other_call);
    assert_eq!((refused.status(), bench.noted(Limit::Challenges)), (503, 1));
}
