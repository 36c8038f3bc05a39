//! Many subscribers by one request: all of them or none, and SQN never goes down by it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "test code"
)]

mod sip_database_harness;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use migcore::{
    api::migration_identity::{
        Answer, Direction, Refusal, Request as Manage, RowRefused, Subscriber,
    },
    diameter::cx::{Answer as CxAnswer, Request},
    identity::Impi,
    outbox::{Context, Effect, Message, Outbox, Peer, ReplyTo},
    store::{Commit, Engine},
    time::Timestamp,
};
use sip_database_harness::{
    LEASE, Seeded, System, alice, generated, listed, mar, pair, sqn_of, subscriber, system_a,
};

fn users(count: usize) -> Vec<Subscriber> {
    (0..count).map(|n| subscriber(&pair(&format!("u{n}"), "a.example"), 0)).collect()
}

/// The rows that are refused, and why.
fn refused(system: &mut System, request: Manage) -> Vec<RowRefused> {
    let effects = system.manage_effects(request);
    assert!(effects.commits.is_empty(), "nothing is changed");
    match effects.management() {
        Answer::RowsRefused(rows) => rows,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn new_ones_are_one_commit_and_all_of_them_are_there_after_a_restart() {
    let mut a = system_a();
    let effects = a.manage_effects(Manage::PutSubscribers(users(1_000)));
    assert_eq!(effects.commits.len(), 1);
    assert_eq!(effects.sent().0, effects.commits[0].seq, "the answer waits for it");
    assert_eq!(effects.management(), Answer::Done);
    a.restart();
    for user in ["u0", "u999"] {
        let identity = pair(user, "a.example");
        assert!(a.vector(&Peer::OwnCore, mar(&identity)).vector.is_some(), "{user}");
    }
    // Again: everybody is known now, and each has a number of its own, drawn under its lock.
    let effects = a.manage_effects(Manage::PutSubscribers(users(1_000)));
    assert_eq!(effects.commits.len(), 1_000);
    assert_eq!(effects.sent().0, effects.commits[999].seq);
}

#[test]
fn one_that_is_refused_keeps_all_others_out_and_each_is_told() {
    let mut a = system_a();
    a.put_alice();
    a.done(Manage::PutPool(generated("out", Direction::Outbound, "a.example")));
    let listed_pair = pair("guest", "a.example");
    a.done(Manage::PutPool(listed("guests", Direction::Inbound, vec![listed_pair.clone()], LEASE)));
    let mut many = users(10);
    many[1].impus = vec![alice().impu];
    many[2].impi = many[0].impi.clone();
    many[3].impus = many[0].impus.clone();
    many[4].impus.clear();
    many[5].seq = u64::MAX;
    many[6].impi = listed_pair.impi;
    let rows = refused(&mut a, Manage::PutSubscribers(many.clone()));
    let numbers: Vec<usize> = rows.iter().map(|row| row.row).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    assert!(rows.iter().all(|row| matches!(row.refusal, Refusal::Invalid(_)) && !row.alone));
    // A check tells the same.
    let checked = refused(&mut a, Manage::Check(Box::new(Manage::PutSubscribers(many.clone()))));
    assert_eq!(checked, rows);
    for user in &many {
        assert_eq!(
            a.refusal(Manage::GetSubscriber(user.impi.clone())),
            Refusal::NotFound("subscriber")
        );
    }
    // Nor is anything of them left in the way of others.
    a.done(Manage::Check(Box::new(Manage::PutSubscribers(users(10)))));
    a.done(Manage::PutSubscribers(users(10)));
}

#[test]
fn without_storage_nothing_is_changed() {
    let mut a = system_a();
    a.storage_available = false;
    assert_eq!(a.refusal(Manage::PutSubscribers(users(10))), Refusal::Unavailable);
    a.storage_available = true;
    a.done(Manage::PutSubscribers(users(10)));
}

/// A worker's outbox, and what it committed.
struct Worker<'a> {
    system: &'a System,
    entropy: Seeded,
    commits: Vec<Commit>,
}

impl Worker<'_> {
    /// Makes a call, and returns its messages.
    fn call(&mut self, act: impl FnOnce(&mut Context<'_>)) -> Vec<Message> {
        let mut out = Outbox::new(Arc::clone(&self.system.sequencer));
        let now = Timestamp::from_secs(1_800_000_000);
        act(&mut Context { now, entropy: &mut self.entropy, out: &mut out });
        let mut messages = Vec::new();
        for effect in out.drain() {
            match effect {
                Effect::Commit(commit) => self.commits.push(commit),
                Effect::Send(send) => messages.push(send.message),
                _ => {}
            }
        }
        messages
    }
}

#[test]
fn no_sqn_leaves_twice_when_users_are_replaced_while_they_are_authenticated() {
    let mut a = system_a();
    a.done(Manage::PutSubscribers(users(8)));
    let stop = AtomicBool::new(false);
    // The highest SEQ that left for each, and all commits.
    let left: Mutex<BTreeMap<Impi, u64>> = Mutex::default();
    let commits: Mutex<Vec<Commit>> = Mutex::default();
    thread::scope(|scope| {
        for seed in 1..=3 {
            let (a, stop, left, commits) = (&a, &stop, &left, &commits);
            scope.spawn(move || {
                let mut worker = Worker { system: a, entropy: Seeded(seed), commits: Vec::new() };
                let mut number = seed;
                while !stop.load(Ordering::Relaxed) {
                    number += 1;
                    let identity = pair(&format!("u{}", number % 8), "a.example");
                    let request = Request::MultimediaAuth(mar(&identity));
                    let from = Peer::OwnCore;
                    let messages = worker
                        .call(|ctx| a.role.handle_request(ctx, &from, ReplyTo::World(1), request));
                    let Message::CxAnswer { answer: CxAnswer::MultimediaAuth(answer), .. } =
                        &messages[0]
                    else {
                        panic!("{messages:?}")
                    };
                    let (seq, _) = sqn_of(answer.vector.as_ref().unwrap());
                    let mut left = left.lock().unwrap();
                    let highest = left.entry(identity.impi).or_default();
                    *highest = seq.max(*highest);
                }
                commits.lock().unwrap().append(&mut worker.commits);
            });
        }
        let mut worker = Worker { system: &a, entropy: Seeded(9), commits: Vec::new() };
        for _ in 0..300 {
            let request = Manage::PutSubscribers(users(8));
            let messages =
                worker.call(|ctx| a.role.handle_management(ctx, ReplyTo::World(2), request));
            assert!(
                matches!(&messages[0], Message::Management { answer: Answer::Done, .. }),
                "{messages:?}"
            );
        }
        stop.store(true, Ordering::Relaxed);
        commits.lock().unwrap().append(&mut worker.commits);
    });
    // What is stored, in the order of the numbers, is what counts after a crash.
    let mut commits = commits.into_inner().unwrap();
    commits.sort_by_key(|commit| commit.seq);
    a.engine.commit(&commits).unwrap();
    a.restart();
    for (impi, highest) in left.into_inner().unwrap() {
        let user = impi.user().to_owned();
        let answer = a.vector(&Peer::OwnCore, mar(&pair(&user, "a.example")));
        let (seq, _) = sqn_of(&answer.vector.unwrap());
        assert!(seq > highest, "{user}: {seq} after {highest}");
    }
}
