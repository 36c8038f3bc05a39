//! The operator at a SIP core: what is shown of a registration, and its end.
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
    api::{
        migration_identity::Refusal,
        registration::{Answer as Managed, Request},
    },
    diameter::cx::{ResultCode, ServerAssignmentType},
    identity::Impi,
    outbox::Note,
    store::CommitSeq,
};
use sip_core_bench::*;

const NONE: Managed = Managed::Refused(Refusal::NotFound("registration"));

fn impi() -> Impi {
    Impi::parse(IMPI).unwrap()
}

impl Bench {
    fn remove(&mut self) -> (Managed, CommitSeq) {
        self.manage(Request::Remove(impi()))
    }

    fn is_registered(&mut self) -> bool {
        self.manage(Request::Get(impi())).0 != NONE
    }

    /// Lets the scripted SIP database give its oldest outstanding answer.
    fn answer_late(&mut self) {
        let reply = self.silent.remove(0);
        self.with_core(|core, ctx| core.handle_answer(ctx, reply));
    }
}

#[test]
fn a_registration_is_shown_with_what_is_left_of_its_contacts() {
    let mut bench = Bench::new();
    assert_eq!(bench.manage(Request::Get(impi())), (NONE, CommitSeq::NOTHING));
    let paths = "Path: <sip:p1.example;lr>, <sip:p2.example;lr>\r\nSupported: path\r\n";
    let registered = bench.register(&Register { extra: paths.to_owned(), ..initial() });
    bench.pass(Duration::from_millis(600_500));
    let (answer, after) = bench.manage(Request::Get(impi()));
    let Managed::Registration(shown) = answer else { panic!("{answer:?}") };
    assert_eq!(after, registered.after, "what is shown is durable");
    assert_eq!((shown.impi.as_str(), shown.impus[0].as_str()), (IMPI, IMPU));
    let [contact] = &shown.contacts[..] else { panic!("{shown:?}") };
    assert_eq!(contact.uri, "sip:ue@192.0.2.9:40000");
    assert_eq!((contact.seconds_left, contact.path_count), (3_000, 2));

    bench.timers.clear(); // the timer of the contact comes late
    bench.pass(Duration::from_secs(3_000));
    assert_eq!(bench.manage(Request::Get(impi())).0, NONE, "its time is over");
}

#[test]
fn a_removed_registration_is_durably_gone_before_it_is_said_so_and_the_database_is_told() {
    let mut bench = Bench::new();
    let registered = bench.register(&initial());
    let (answer, after) = bench.remove();
    assert_eq!(answer, Managed::Done);
    assert!(after > registered.after, "it waits for the deletion");
    assert_eq!(bench.assignments.last(), Some(&ServerAssignmentType::AdministrativeDeregistration));
    assert_eq!(bench.assignments_after.last(), Some(&after), "told once it is durable");
    assert!(bench.notes.contains(&Note::Registered(false)));
    assert!(!bench.is_registered());

    assert_eq!(bench.remove(), (NONE, after), "to say so again relies on the same deletion");
    assert_eq!(bench.assignments.len(), 2, "the database is told once");
    bench.restart();
    assert!(!bench.is_registered());
    assert_eq!(bench.remove(), (NONE, CommitSeq::NOTHING));
}

#[test]
fn a_removed_user_registers_anew_only_if_the_database_gives_a_vector() {
    let mut bench = Bench::new();
    bench.register(&initial());
    bench.remove();
    bench.database = Database::Refuses(ResultCode::USER_UNKNOWN);
    assert_eq!(bench.send(&initial().branch("revoked").cseq(3)).status(), 403);
    bench.database = Database::Serves;
    assert_eq!(bench.register(&initial().branch("allowed").cseq(4)).status(), 200);
    assert!(bench.is_registered());
    bench.pass(Duration::from_secs(3_599));
    assert!(bench.is_registered(), "nothing of the removed registration ends the new one");
}

#[test]
fn a_challenge_from_before_the_removal_registers_nobody_after_it() {
    let mut bench = Bench::new();
    bench.register(&initial());
    let refresh = initial().branch("refresh").cseq(3);
    let nonce = bench.send(&refresh).nonce();
    assert_eq!(bench.remove().0, Managed::Done);
    let vectors = bench.vector_requests.len();
    let answered = bench.send(&refresh.answering(&nonce, Answer::Right));
    assert_eq!(answered.status(), 401);
    assert!(answered.header("WWW-Authenticate").unwrap().contains("stale=true"));
    assert_eq!(bench.vector_requests.len(), vectors + 1, "the database is asked anew");
    assert!(!bench.is_registered());
}

#[test]
fn a_vector_from_before_the_removal_challenges_nobody_after_it() {
    let mut bench = Bench::new();
    bench.database = Database::Silent;
    assert!(bench.send_on(tcp(1), &initial().text()).is_none());
    assert!(bench.send_on(tcp(2), &initial().branch("again").text()).is_none());
    assert_eq!(bench.remove().0, Managed::Done, "an attempt was under way");
    let told: Vec<u16> = bench.replies.drain(..).map(|reply| reply.status()).collect();
    assert_eq!(told, [503, 503], "both are told to try again");
    assert_eq!(bench.assignments, [], "the database knows of nothing");
    bench.answer_late();
    assert!(bench.replies.is_empty());
    assert_eq!(bench.remove().0, NONE);
}

#[test]
fn an_assignment_from_before_the_removal_registers_nobody_after_it() {
    let mut bench = Bench::new();
    let nonce = bench.send(&initial()).nonce();
    bench.database = Database::Silent;
    assert!(bench.send_on(udp(), &initial().answering(&nonce, Answer::Right).text()).is_none());
    assert_eq!(bench.remove().0, Managed::Done);
    let refused = bench.replies.pop().unwrap();
    assert_eq!(refused.status(), 503);
    assert!(refused.header("Retry-After").is_some());
    assert_eq!(
        bench.assignments,
        [ServerAssignmentType::Registration, ServerAssignmentType::AdministrativeDeregistration],
        "the database was told of a registration, so it is told of its end"
    );
    bench.answer_late();
    assert!(!bench.is_registered());
    assert!(!bench.notes.contains(&Note::Registered(true)));
    bench.restart();
    assert!(!bench.is_registered(), "nothing of it was stored");
}

#[test]
fn without_storage_nothing_is_shown_or_removed() {
    let mut bench = Bench::new();
    bench.register(&initial());
    bench.out.set_storage_available(false);
    let unavailable = Managed::Refused(Refusal::Unavailable);
    assert_eq!(bench.manage(Request::Get(impi())).0, unavailable);
    assert_eq!(bench.remove().0, unavailable);
    bench.out.set_storage_available(true);
    assert!(bench.is_registered());
}
