//! Sequence numbers across restarts: no SQN leaves twice (TS 33.102 clause 6.3 and annex C).
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::redundant_closure_for_method_calls,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "test code"
)]

mod sip_database_harness;

use migcore::{
    aka::Sqn,
    api::migration_identity::{Direction, Request as Manage},
    diameter::cx::{MultimediaAuthRequest, Request, Resync},
    identity::UserIdentity,
    outbox::{Note, Peer},
    sim::ledger::{StoredSubscriber, Tables},
    store::Record,
};
use sip_database_harness::*;

/// More than a UE accepts at a time.
const FAR: u64 = (1 << 28) + 10;

/// What the commits of a call store of Alice's SQN.
fn stored(effects: &Effects) -> StoredSubscriber {
    let mut tables = Tables::default();
    for commit in &effects.commits {
        for mutation in &commit.mutations {
            let (kind, key, version) = (mutation.kind, &mutation.key, commit.seq);
            let value = mutation.value.as_deref().unwrap();
            tables.take(&Record { kind, key, version, value }).unwrap();
        }
    }
    tables.subscribers[&alice().impi]
}

/// A vector request with the AUTS of a UE that is at `seq`, in answer to the challenge of `asked`.
fn resync(system: &mut System, from: &Peer, asked: &UserIdentity, seq: u64) -> Effects {
    let challenge = system.vector(from, mar(asked)).vector.unwrap();
    let auts = milenage().auts(&challenge.rand, Sqn::new(seq, 0, 5));
    let resync = Some(Resync { rand: challenge.rand, auts });
    let request = MultimediaAuthRequest { resync, ..mar(asked) };
    system.request(from, Request::MultimediaAuth(request))
}

#[test]
fn a_move_backwards_starts_an_epoch_in_the_commit_of_the_new_range_and_the_vector_waits_for_it() {
    let mut a = system_a();
    a.done(Manage::PutSubscriber(subscriber(&alice(), FAR)));
    let effects = resync(&mut a, &Peer::OwnCore, &alice(), 3);
    assert!(effects.notes.contains(&Note::SqnMovedBack), "{:?}", effects.notes);
    assert_eq!(effects.commits.len(), 1);
    assert_eq!(effects.sent().0, effects.last_commit());
    let StoredSubscriber { epoch, reserved_seq } = stored(&effects);
    assert_eq!((epoch, (4..FAR).contains(&reserved_seq)), (1, true), "{reserved_seq}");
    assert_eq!(sqn_of(&effects.vector().vector.unwrap()).0, 4);
    a.restart();
    let next = sqn_of(&a.vector(&Peer::OwnCore, mar(&alice())).vector.unwrap()).0;
    assert_eq!(next, reserved_seq + 1, "the new epoch goes on above what it reserved");
}

#[test]
fn a_move_ahead_gives_the_old_range_up_for_good() {
    let mut a = system_a();
    a.put_alice();
    let effects = resync(&mut a, &Peer::OwnCore, &alice(), 5_000);
    let StoredSubscriber { epoch, reserved_seq } = stored(&effects);
    assert_eq!((effects.commits.len(), epoch), (1, 0));
    assert_eq!(sqn_of(&effects.vector().vector.unwrap()).0, 5_001);
    for restarted in [false, true] {
        if restarted {
            a.restart();
        }
        let next = sqn_of(&a.vector(&Peer::OwnCore, mar(&alice())).vector.unwrap()).0;
        let wanted = if restarted { reserved_seq + 1 } else { 5_002 };
        assert_eq!(next, wanted, "restarted: {restarted}");
    }
}

#[test]
fn a_visited_system_keeps_its_ind_across_restarts() {
    let mut a = system_a();
    a.put_alice();
    a.done(Manage::PutPool(generated("out", Direction::Outbound, "a.example")));
    let partners = ["hss.b.example", "hss.c.example", "hss.d.example"].map(database);
    let pairs = partners.clone().map(|partner| {
        let bind = Manage::BindOutbound { user: alice(), partner, allowed: None };
        a.binding(bind).identity
    });
    let mut ind_of = |number: usize, restart: bool| {
        if restart {
            a.restart();
        }
        let from = Peer::Database(partners[number].clone());
        sqn_of(&a.vector(&from, mar(&pairs[number])).vector.unwrap()).1
    };
    let inds = [ind_of(0, false), ind_of(1, false), ind_of(2, true)];
    assert_eq!(inds, [4, 5, 6]);
    for number in [2, 0, 1] {
        assert_eq!(ind_of(number, true), inds[number], "partner {number}");
    }
}

/// A system whose SQNs have `ind_bits` bits of IND.
fn with_ind_bits(system: &mut System, ind_bits: u8) {
    system.config.ind_bits = ind_bits;
    system.restart();
}

/// The SQN of a vector for Alice.
fn sqn(system: &mut System, from: &Peer, asked: &UserIdentity) -> u64 {
    let vector = system.vector(from, mar(asked)).vector.unwrap();
    milenage().verify_autn(&vector.rand, &vector.autn).unwrap().sqn.into()
}

#[test]
fn no_sqn_leaves_twice_when_the_width_of_ind_changes() {
    let mut a = system_a();
    a.put_alice();
    a.done(Manage::PutPool(generated("out", Direction::Outbound, "a.example")));
    let outbound = a.binding(bind_outbound()).identity;
    let partner = Peer::Database(database("hss.b.example"));
    let mut last = 0;
    for ind_bits in [5, 3, 8, 4, 3, 6, 8, 5] {
        with_ind_bits(&mut a, ind_bits);
        for restarts in [false, true] {
            if restarts {
                a.restart();
            }
            for (from, asked) in [(&Peer::OwnCore, &alice()), (&partner, &outbound)] {
                for _ in 0..3 {
                    let next = sqn(&mut a, from, asked);
                    assert!(next > last, "{next} with {ind_bits} bits after {last}");
                    last = next;
                }
            }
        }
    }
}

#[test]
fn a_width_of_ind_that_is_taken_back_before_a_vector_was_given_changes_nothing() {
    let mut a = system_a();
    a.put_alice();
    let mut b = system_a();
    b.put_alice();
    with_ind_bits(&mut a, 8);
    with_ind_bits(&mut a, 5);
    b.restart();
    let [after, without] = [&mut a, &mut b].map(|system| sqn(system, &Peer::OwnCore, &alice()));
    assert_eq!(after, without);
}
