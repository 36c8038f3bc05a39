//! The simulated world catches the faults that are planted for it: a suite that cannot fail shows
//! nothing. Needs the feature `planted-bugs`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::redundant_closure_for_method_calls,
    clippy::too_many_lines,
    clippy::wildcard_enum_match_arm,
    reason = "test code"
)]

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use migcore::{
    planted::{self, Bug},
    sim::{Options, Violation, World},
    ue::State,
};

/// In how many seeds a planted fault must show.
const SEEDS: u64 = 1_000;

/// The switch is one for the process: the tests take turns.
static TURN: Mutex<()> = Mutex::new(());

/// Arms `bug` and runs seeds until an invariant is violated.
fn first_violation(bug: Bug) -> Option<(u64, Violation)> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    planted::arm(Some(bug));
    let found = (0..SEEDS).find_map(|seed| {
        let mut world = World::new(seed, Options::drawn(seed));
        Some((seed, world.live_through(Duration::from_secs(300)).err()?))
    });
    planted::arm(None);
    found
}

fn must_be_caught(bug: Bug, rules: &[&str]) {
    let (seed, violation) =
        first_violation(bug).unwrap_or_else(|| panic!("{bug:?} shows in none of {SEEDS} seeds"));
    println!("{bug:?} shows at seed {seed}: {violation}");
    assert!(rules.contains(&violation.rule), "{bug:?} is caught for another reason: {violation}");
}

#[test]
fn a_reply_before_its_commit_is_caught() {
    must_be_caught(
        Bug::ReplyBeforeCommit,
        &[
            "a 200 tells of a stored registration",
            "a 200 without contacts follows their removal",
            "a pair is told after it is stored",
            "a configuration is told after it is stored",
            "an SQN leaves after it is reserved in storage",
            "a partner gets vectors for a stored binding",
        ],
    );
}

#[test]
fn a_reply_before_its_commit_is_caught_at_each_record_that_it_relies_on() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut caught = Vec::new();
    for registrations_before in 0..2 {
        let mut world = World::new(1, Options::faultless());
        world.migrate(0).unwrap();
        for _ in 0..registrations_before {
            world.register(0).unwrap();
        }
        planted::arm(Some(Bug::ReplyBeforeCommit));
        caught.push(world.register(0).map_err(|violation| violation.rule));
        planted::arm(None);
    }
    let mut world = World::new(1, Options::faultless());
    planted::arm(Some(Bug::ReplyBeforeCommit));
    let told = world.migrate(0).map_err(|violation| violation.rule);
    planted::arm(None);
    assert_eq!(told, Err("a pair is told after it is stored"));
    // the first vector reserves SQNs; the second is within the reservation, so the 200 is next
    let sqn = Err("an SQN leaves after it is reserved in storage");
    assert_eq!(caught, [sqn, Err("a 200 tells of a stored registration")]);
}

#[test]
fn an_sqn_that_is_reserved_without_a_commit_is_caught() {
    must_be_caught(
        Bug::SqnReservedWithoutCommit,
        &["an SQN leaves after it is reserved in storage"],
    );
}

#[test]
fn an_sqn_that_leaves_again_within_its_epoch_is_caught() {
    must_be_caught(
        Bug::SqnMovedBackInEpoch,
        &["no SQN leaves twice", "an SQN leaves after it is reserved in storage"],
    );
}

#[test]
fn an_expiry_that_removes_newer_state_is_caught() {
    must_be_caught(Bug::ExpiryRemovesNewer, &["expiry never removes newer state"]);
}

#[test]
fn a_release_without_a_commit_is_caught() {
    must_be_caught(
        Bug::ReleaseWithoutCommit,
        &[
            "what was given back is not resurrected",
            "a listed pair that was given back is in its pool",
            "a holder has one pair of a direction",
            "a definite refusal of the partner leaves nothing lent for it",
            "a UE is told a pair whose other side its home has not taken back",
        ],
    );
}

#[test]
fn a_pair_that_is_lent_again_without_rest_is_caught() {
    must_be_caught(
        Bug::QuarantineSkipped,
        &["an identity at rest is lent to nobody", "what was given back is not lent again"],
    );
}

#[test]
fn a_repeated_reply_before_the_commit_is_caught() {
    must_be_caught(
        Bug::RepeatIgnoresCommit,
        &[
            "a 200 tells of a stored registration",
            "a 200 without contacts follows their removal",
            "a pair is told after it is stored",
        ],
    );
}

#[test]
fn a_repeated_200_before_the_commit_of_its_registration_is_caught() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    // The UE repeats its REGISTER after half a second; in this world the commit takes longer.
    let slow = Options { commit_max: Duration::from_secs(3), ..Options::faultless() };
    let register = |bug| {
        let mut world = World::new(1, slow.clone());
        world.migrate(0).unwrap().told().expect("a pair");
        planted::arm(bug);
        let outcome = world.register(0).map_err(|violation| violation.rule);
        planted::arm(None);
        outcome
    };
    assert!(matches!(register(None), Ok(State::Registered(_))));
    let caught = register(Some(Bug::RepeatIgnoresCommit));
    assert_eq!(caught, Err("a 200 tells of a stored registration"));
}

#[test]
fn without_a_planted_fault_the_same_seeds_hold() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    planted::arm(None);
    for seed in 0..20 {
        let mut world = World::new(seed, Options::drawn(seed));
        world.live_through(Duration::from_secs(300)).unwrap();
    }
}
