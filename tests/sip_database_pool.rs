//! Identity pools: nothing is lent twice, nothing is guessed, nothing is lost.
//!
//! `MIGCORE_FULL=1` draws ten million identities instead of one million.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::redundant_closure_for_method_calls,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "test code"
)]

mod sip_database_harness;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use migcore::{
    api::migration_identity::{
        Answer, Binding, Direction, Pool, PoolSource, PrimaryUser, Refusal, Request as Manage,
    },
    identity::UserIdentity,
    outbox::{Context, Effect, Message, Outbox, ReplyTo},
    secret::Secret,
    sip_database::{Config, Permutation, SipDatabase},
    store::{Commit, CommitSeq, Engine, MemoryEngine, Sequencer},
    time::Timestamp,
};
use sip_database_harness::*;

#[test]
fn the_permutation_is_one_to_one_on_domains_of_any_size() {
    for size in [1_u64, 2, 3, 10, 65_535, 65_537] {
        for key in [0_u8, 1, 255] {
            let permutation = Permutation::new(&Secret::new([key; 32]), size - 1);
            let mut hit = vec![false; usize::try_from(size).unwrap()];
            for n in 0..size {
                let value = usize::try_from(permutation.apply(n).unwrap()).unwrap();
                assert!(!std::mem::replace(&mut hit[value], true), "{value} twice, size {size}");
            }
            assert_eq!(permutation.apply(size), None);
            assert_eq!(permutation.apply(u64::MAX), None);
        }
    }
}

#[test]
fn the_permutation_of_all_64_bits_has_a_value_for_every_number() {
    let permutation = Permutation::new(&Secret::new([9; 32]), u64::MAX);
    let numbers = [0, 1, 2, u64::MAX - 1, u64::MAX];
    let values: BTreeSet<_> = numbers.iter().map(|n| permutation.apply(*n).unwrap()).collect();
    assert_eq!(values.len(), numbers.len());
}

/// What was lent before a build is lent to nobody else by the next one.
#[test]
fn a_key_gives_the_permutation_that_it_gave_to_builds_before() {
    for (last, n, value) in [
        (9_999, 9_999, 9_580),
        (999_999_999, 999_999_999, 498_883_325),
        (u64::MAX, 0, 0x8e67_d269_be15_6384),
        (u64::MAX, 1, 0x16d9_738d_f9bc_289e),
    ] {
        assert_eq!(Permutation::new(&Secret::new([9; 32]), last).apply(n), Some(value));
    }
}

const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// The number that an `{id}` between `-` and `@` stands for.
fn id_of(text: &str) -> u64 {
    let (head, _) = text.split_once('@').unwrap();
    let id = head.rsplit_once('-').unwrap().1;
    assert_eq!(id.len(), 13);
    id.bytes().fold(0, |number, octet| {
        let digit = ALPHABET.iter().position(|letter| *letter == octet).unwrap();
        number << 5 | digit as u64
    })
}

fn keyed_pool(key: u8) -> Pool {
    let source = PoolSource::Generated {
        impi_template: "in-{id}@b.example".to_owned(),
        impu_template: "sip:in-{id}@b.example".to_owned(),
        key: Some(Secret::new([key; 32])),
    };
    Pool { name: "in".to_owned(), direction: Direction::Inbound, source }
}

fn first_pairs(key: u8, count: u64) -> Vec<UserIdentity> {
    let mut b = system_b();
    b.done(Manage::PutPool(keyed_pool(key)));
    (0..count)
        .map(|user| {
            b.binding(Manage::BindInbound { primary: visitor(user), allowed: None }).identity
        })
        .collect()
}

fn visitor(number: u64) -> PrimaryUser {
    primary(&pair(&format!("u{number}"), "a.example"))
}

/// The greatest deviation from one half of how often a bit of `words` is set, in standard deviations.
fn bias(words: &[u64]) -> f64 {
    let float = |count: usize| f64::from(u32::try_from(count).unwrap());
    let half = float(words.len()) / 2.0;
    let sigma = float(words.len()).sqrt() / 2.0;
    (0..64)
        .map(|bit| words.iter().filter(|word| *word >> bit & 1 == 1).count())
        .map(|set| (float(set) - half).abs() / sigma)
        .fold(0.0, f64::max)
}

#[test]
fn the_identities_of_a_pair_and_of_neighbours_tell_nothing_of_each_other() {
    let pairs = first_pairs(1, 4_096);
    let impis: Vec<u64> = pairs.iter().map(|pair| id_of(pair.impi.as_str())).collect();
    let impus: Vec<u64> = pairs.iter().map(|pair| id_of(pair.impu.as_str())).collect();
    let between: Vec<u64> = impis.iter().zip(&impus).map(|(one, two)| one ^ two).collect();
    let neighbours: Vec<u64> = impis.windows(2).map(|two| two[0] ^ two[1]).collect();
    let steps: Vec<u64> = impus.windows(2).map(|two| two[1].wrapping_sub(two[0])).collect();
    for (what, words) in [
        ("IMPI", &impis),
        ("IMPU", &impus),
        ("IMPI and IMPU", &between),
        ("neighbours", &neighbours),
        ("steps", &steps),
    ] {
        // Of 64 bits of true randomness none is 5 standard deviations off, save in 4 of 10^5 tests.
        assert!(bias(words) < 5.0, "{what}: {}", bias(words));
        assert_eq!(words.iter().collect::<BTreeSet<_>>().len(), words.len(), "{what} repeat");
    }
}

#[test]
fn only_the_key_gives_the_identities() {
    let one = first_pairs(1, 100);
    assert_eq!(first_pairs(1, 100), one, "the key determines them");
    let ids = |pairs: &[UserIdentity]| -> BTreeSet<u64> {
        pairs.iter().flat_map(|p| [id_of(p.impi.as_str()), id_of(p.impu.as_str())]).collect()
    };
    assert!(ids(&one).is_disjoint(&ids(&first_pairs(2, 100))));
}

#[test]
fn a_request_that_is_repeated_or_refused_takes_nothing_out_of_a_generated_pool() {
    let expected = first_pairs(1, 3);
    let config = Config::new(database("hss.b.example"), "b.example");
    let mut b = System::with(Config { bindings_max: 2, ..config });
    b.done(Manage::PutPool(keyed_pool(1)));
    let bind = |user| Manage::BindInbound { primary: visitor(user), allowed: None };
    let fill = |b: &mut System| match b.manage(Manage::GetPool("in".to_owned())) {
        Answer::Pool { total, lent, .. } => (total, lent),
        other => panic!("{other:?}"),
    };
    for user in [0, 1] {
        for _ in 0..100 {
            assert_eq!(b.binding(bind(user)).identity, expected[user as usize]);
        }
        assert_eq!(fill(&mut b), (user + 1, user + 1));
    }
    for user in 2..100 {
        assert!(matches!(b.refusal(bind(user)), Refusal::Full(_)));
    }
    assert_eq!(fill(&mut b), (2, 2));
    b.done(Manage::ReleaseInbound(expected[0].impi.clone()));
    assert_eq!(b.binding(bind(2)).identity, expected[2]);
    assert_eq!(fill(&mut b), (3, 2));
}

#[test]
fn a_generated_pool_keeps_its_definition_and_its_key() {
    let mut b = system_b();
    b.done(Manage::PutPool(keyed_pool(1)));
    b.done(Manage::PutPool(keyed_pool(1)));
    let without_key = generated("in", Direction::Inbound, "b.example");
    b.done(Manage::PutPool(without_key));
    for other in [
        keyed_pool(2),
        Pool { direction: Direction::Outbound, ..keyed_pool(1) },
        generated("in", Direction::Inbound, "B.example"),
        listed("in", Direction::Inbound, vec![pair("guest", "b.example")], Duration::ZERO),
    ] {
        assert!(matches!(b.refusal(Manage::PutPool(other)), Refusal::Invalid(_)));
    }
}

/// What reached whom, compactly: (identity, user). One identity, one user.
type Disclosed = Vec<(u64, u64)>;

/// One life of the process: the commits it made and what it would have sent after which of them.
#[derive(Default)]
struct Life {
    commits: Vec<Commit>,
    sends: Vec<(CommitSeq, u64, UserIdentity)>,
}

/// One worker: binds visitors, repeats itself, releases some.
fn work(
    role: &SipDatabase,
    sequencer: &Arc<Sequencer>,
    life: &Mutex<Life>,
    next_user: &AtomicU64,
    kept: &Mutex<Vec<u64>>,
    (seed, draws): (u64, u64),
) {
    let mut entropy = Seeded(seed);
    let mut out = Outbox::new(Arc::clone(sequencer));
    let mut mine = Life::default();
    let mut bind = |entropy: &mut Seeded, user: u64, release: bool| {
        let now = Timestamp::from_secs(1_000_000);
        let mut ctx = Context { now, entropy, out: &mut out };
        role.handle_management(
            &mut ctx,
            ReplyTo::World(0),
            Manage::BindInbound { primary: visitor(user), allowed: None },
        );
        let mut lent = None;
        for effect in out.drain() {
            match effect {
                Effect::Commit(commit) => mine.commits.push(commit),
                Effect::Send(send) => match send.message {
                    Message::Management { answer: Answer::Binding(binding), .. } => {
                        mine.sends.push((send.after, user, binding.identity.clone()));
                        lent = Some(binding.identity);
                    }
                    other => panic!("{other:?}"),
                },
                _ => {}
            }
        }
        if release {
            let mut ctx = Context { now, entropy: &mut Seeded(0), out: &mut out };
            let request = Manage::ReleaseInbound(lent.unwrap().impi);
            role.handle_management(&mut ctx, ReplyTo::World(0), request);
            mine.commits.extend(out.drain().filter_map(|effect| match effect {
                Effect::Commit(commit) => Some(commit),
                _ => None,
            }));
        }
    };
    // Those whose binding the crash may or may not have left repeat their request first.
    let left_over = |kept: &Mutex<Vec<u64>>| kept.lock().unwrap().pop();
    while let Some(user) = left_over(kept) {
        let release = entropy.below(2) == 0;
        bind(&mut entropy, user, release);
    }
    let mut keep = Vec::new();
    for _ in 0..draws {
        let user = next_user.fetch_add(1, Ordering::Relaxed);
        let release = entropy.below(100) < 98;
        bind(&mut entropy, user, release);
        if !release {
            keep.push(user);
        }
    }
    kept.lock().unwrap().extend(keep);
    let mut life = life.lock().unwrap();
    life.commits.extend(mine.commits);
    life.sends.extend(mine.sends);
}

/// Crashes: everything up to a random commit is durable, of the rest a random half, in no order.
fn crash(life: Life, engine: &mut MemoryEngine, entropy: &mut Seeded, seen: &mut [Disclosed; 2]) {
    let Life { mut commits, sends } = life;
    commits.sort_by_key(|commit| commit.seq);
    let reached = match entropy.below(3) {
        0 => commits.last(),
        _ => commits.get(usize::try_from(entropy.below(commits.len() as u64)).unwrap()),
    };
    let reached = reached.map_or(CommitSeq::NOTHING, |commit| commit.seq);
    commits.retain(|commit| commit.seq <= reached || entropy.below(2) == 0);
    engine.commit(&commits).unwrap();
    for (after, user, identity) in sends {
        if after <= reached {
            seen[0].push((id_of(identity.impi.as_str()), user));
            seen[1].push((id_of(identity.impu.as_str()), user));
        }
    }
}

#[test]
fn scenario_60_millions_of_draws_with_releases_and_crashes_lend_no_identity_twice() {
    let full = std::env::var_os("MIGCORE_FULL").is_some();
    let (lives, draws) = if full { (40, 31_250) } else { (25, 5_000) };
    let seed = 60;
    println!("seed {seed}, {lives} lives of 8 threads with {draws} draws each");
    let mut entropy = Seeded(seed);
    let mut engine = MemoryEngine::default();
    let config = Config::new(database("hss.b.example"), "b.example");
    let mut b = System::with(config.clone());
    b.done(Manage::PutPool(keyed_pool(5)));
    engine.replay(&|_| Ok(())).unwrap();
    std::mem::swap(&mut engine, &mut b.engine);

    let next_user = AtomicU64::new(0);
    let kept = Mutex::new(Vec::new());
    let mut seen = [Disclosed::new(), Disclosed::new()];
    for number in 0..lives {
        let role = SipDatabase::new(config.clone(), &mut entropy);
        let highest = engine.replay(&|record| role.load(&record)).unwrap();
        let sequencer = Arc::new(Sequencer::starting_after(highest));
        let life = Mutex::new(Life::default());
        let mut out = Outbox::new(Arc::clone(&sequencer));
        let now = Timestamp::from_secs(1_000_000);
        role.handle_loaded(&mut Context { now, entropy: &mut entropy, out: &mut out });
        life.lock().unwrap().commits.extend(out.drain().filter_map(|effect| match effect {
            Effect::Commit(commit) => Some(commit),
            _ => None,
        }));
        std::thread::scope(|scope| {
            for worker in 0..8 {
                let (role, sequencer, life) = (&role, &sequencer, &life);
                let (next_user, kept) = (&next_user, &kept);
                let seed = seed << 32 | number << 8 | worker;
                scope.spawn(move || work(role, sequencer, life, next_user, kept, (seed, draws)));
            }
        });
        crash(life.into_inner().unwrap(), &mut engine, &mut entropy, &mut seen);
    }
    for seen in &mut seen {
        seen.sort_unstable();
        let twice = seen.windows(2).find(|two| two[0].0 == two[1].0 && two[0].1 != two[1].1);
        assert_eq!(twice, None, "one identity, two users");
        let wanted = lives * 8 * draws / 2;
        assert!(seen.len() as u64 > wanted, "only {} identities left", seen.len());
    }
}

#[test]
fn a_lost_block_of_the_counter_is_made_good_from_the_bindings_before_anything_leaves() {
    let mut b = system_b();
    b.done(Manage::PutPool(keyed_pool(3)));
    b.storing = false;
    let first = b.manage_effects(Manage::BindInbound { primary: visitor(1), allowed: None });
    let second = b.manage_effects(Manage::BindInbound { primary: visitor(2), allowed: None });
    assert_eq!((first.commits.len(), second.commits.len()), (2, 1), "the block, then the bindings");
    b.storing = true;
    // The crash loses the block and the first binding; the second one happens to survive.
    b.engine.commit(&second.commits).unwrap();
    let loaded = b.restart();
    assert_eq!(loaded.commits.len(), 1, "the counter is stored again");

    let repeat = b.manage_effects(Manage::BindInbound { primary: visitor(2), allowed: None });
    assert!(repeat.sent().0 >= loaded.last_commit(), "and what follows waits for it");
    let Answer::Binding(lent) = repeat.management() else { panic!("no binding") };
    b.done(Manage::ReleaseInbound(lent.identity.impi.clone()));
    b.restart();
    for user in 3..2_000 {
        let other =
            b.binding(Manage::BindInbound { primary: visitor(user), allowed: None }).identity;
        assert_ne!(other, lent.identity, "lent before the crash");
    }
}

#[test]
fn a_generated_identity_that_someone_has_already_is_skipped() {
    let next = first_pairs(4, 5);
    for restarts in [false, true] {
        let mut b = system_b();
        // Provisioned before the pool existed, in each way: a subscriber with the first private identity, another
        // one with the second public identity, and pairs of an outbound pool with the third and the fourth.
        let [one, two, three, four] =
            [1, 2, 3, 4].map(|n| pair(&format!("somebody{n}"), "b.example"));
        let first = UserIdentity { impi: next[0].impi.clone(), impu: one.impu };
        let second = UserIdentity { impi: two.impi, impu: next[1].impu.clone() };
        let third = UserIdentity { impi: next[2].impi.clone(), impu: three.impu };
        let fourth = UserIdentity { impi: four.impi, impu: next[3].impu.clone() };
        b.done(Manage::PutSubscriber(subscriber(&first, 0)));
        b.done(Manage::PutSubscribers(vec![subscriber(&second, 0)]));
        b.done(Manage::PutPool(listed(
            "out",
            Direction::Outbound,
            vec![third, fourth],
            Duration::ZERO,
        )));
        b.done(Manage::PutPool(keyed_pool(4)));
        if restarts {
            b.restart();
        }
        let lent = b.binding(Manage::BindInbound { primary: visitor(1), allowed: None });
        assert_eq!(lent.identity, next[4]);
    }
}

#[test]
fn a_listed_pool_lends_in_order_and_returns_to_the_end_of_the_row_over_restarts() {
    let hour = Duration::from_secs(3_600);
    let mut b = system_b();
    let guests: Vec<_> = (0..4).map(|n| pair(&format!("g{n}"), "b.example")).collect();
    let some = guests[..2].to_vec();
    b.done(Manage::PutPool(listed("in", Direction::Inbound, some, hour)));
    b.done(Manage::PutPool(listed("in", Direction::Inbound, guests.clone(), hour)));
    let fill = |b: &mut System| match b.manage(Manage::GetPool("in".to_owned())) {
        Answer::Pool { total, lent, free, .. } => (total, lent, free.unwrap()),
        other => panic!("{other:?}"),
    };
    assert_eq!(fill(&mut b), (4, 0, 4), "the first two were not added twice");
    let lend = |b: &mut System, user| {
        b.restart();
        b.binding(Manage::BindInbound { primary: visitor(user), allowed: None }).identity
    };
    assert_eq!([0, 1, 2].map(|user| lend(&mut b, user)), guests[..3]);
    // Returned in the order 2, 0; both rest, the fourth is next.
    b.done(Manage::ReleaseInbound(guests[2].impi.clone()));
    b.pass(Duration::from_secs(1));
    b.done(Manage::ReleaseInbound(guests[0].impi.clone()));
    assert_eq!(fill(&mut b), (4, 1, 1));
    assert_eq!(lend(&mut b, 3), guests[3]);
    assert_eq!(
        b.refusal(Manage::BindInbound { primary: visitor(4), allowed: None }),
        Refusal::Exhausted("inbound")
    );
    b.pass(hour);
    assert_eq!([5, 6].map(|user| lend(&mut b, user)), [guests[2].clone(), guests[0].clone()]);
    assert_eq!(fill(&mut b), (4, 4, 0));
}

#[test]
fn listed_pools_lend_before_generated_ones_and_only_in_their_direction() {
    let mut b = system_b();
    b.put_alice();
    let guest = |name: &str| vec![pair(name, "b.example")];
    b.done(Manage::PutPool(generated("a", Direction::Inbound, "b.example")));
    b.done(Manage::PutPool(listed("z", Direction::Inbound, guest("late"), Duration::ZERO)));
    b.done(Manage::PutPool(listed("y", Direction::Inbound, guest("early"), Duration::ZERO)));
    b.done(Manage::PutPool(listed("o", Direction::Outbound, guest("away"), Duration::ZERO)));
    let mut lend =
        |user| b.binding(Manage::BindInbound { primary: visitor(user), allowed: None }).identity;
    assert_eq!(lend(1).impi.user(), "early");
    assert_eq!(lend(2).impi.user(), "late");
    assert!(lend(3).impi.user().starts_with("a-"));
    let partner = database("hss.c.example");
    let out = Manage::BindOutbound { user: alice(), partner, allowed: None };
    assert_eq!(b.binding(out).identity.impi.user(), "away");
}

#[test]
fn a_listed_pool_that_lends_again_too_soon_is_refused_with_the_least_quarantine() {
    let (hour, day) = (Duration::from_secs(3_600), Duration::from_secs(24 * 3_600));
    let mut b = System::new("b");
    let config =
        Config { inbound_quarantine_min: hour, outbound_quarantine_min: day, ..b.config.clone() };
    b = System::with(config);
    for (direction, least) in [(Direction::Inbound, hour), (Direction::Outbound, day)] {
        let with =
            |quarantine| listed("guests", direction, vec![pair("guest", "b.example")], quarantine);
        let refused = Refusal::QuarantineTooShort { least_seconds: least.as_secs() };
        let short = least - Duration::from_secs(1);
        assert_eq!(b.refusal(Manage::PutPool(with(short))), refused);
        let check = Manage::Check(Box::new(Manage::PutPool(with(short))));
        assert_eq!(b.refusal(check), refused);
    }
    let guests = vec![pair("guest", "b.example")];
    b.done(Manage::PutPool(listed("guests", Direction::Inbound, guests.clone(), hour)));
    let shorter = Manage::PutPool(listed("guests", Direction::Inbound, guests, hour / 2));
    assert!(matches!(b.refusal(shorter), Refusal::QuarantineTooShort { .. }), "nor later");
}

#[test]
fn a_quarantine_that_became_too_short_is_as_long_as_the_configuration_now_demands() {
    let (hour, day) = (Duration::from_secs(3_600), Duration::from_secs(24 * 3_600));
    let mut b = system_b();
    let guests = vec![pair("guest", "b.example")];
    b.done(Manage::PutPool(listed("in", Direction::Inbound, guests, hour)));
    b.config.inbound_quarantine_min = day;
    b.restart();
    let bind = |user| Manage::BindInbound { primary: visitor(user), allowed: None };
    let guest = b.binding(bind(1)).identity;
    b.done(Manage::ReleaseInbound(guest.impi.clone()));
    b.pass(day / 2);
    assert_eq!(b.refusal(bind(2)), Refusal::Exhausted("inbound"));
    b.pass(day / 2);
    assert_eq!(b.binding(bind(2)).identity, guest);
}

#[test]
fn the_end_of_a_lease_returns_a_listed_pair_to_its_quarantine() {
    let day = Duration::from_secs(24 * 3_600);
    let mut b = system_b();
    let guests = vec![pair("guest", "b.example")];
    b.done(Manage::PutPool(listed("in", Direction::Inbound, guests, day)));
    let guest = b.binding(Manage::BindInbound { primary: visitor(1), allowed: None }).identity;
    b.pass(10 * day);
    b.restart();
    b.pass(20 * day);
    assert_eq!(
        b.refusal(Manage::BindInbound { primary: visitor(2), allowed: None }),
        Refusal::Exhausted("inbound")
    );
    b.pass(day);
    assert_eq!(
        b.binding(Manage::BindInbound { primary: visitor(2), allowed: None }).identity,
        guest
    );
}

#[test]
fn a_timer_of_an_older_lease_ends_nothing() {
    let day = Duration::from_secs(24 * 3_600);
    let mut b = system_b();
    b.done(Manage::PutPool(keyed_pool(1)));
    let guest = b.binding(Manage::BindInbound { primary: visitor(1), allowed: None });
    b.pass(20 * day);
    let renewed = b.binding(Manage::BindInbound { primary: visitor(1), allowed: None });
    assert_eq!(renewed.identity, guest.identity);
    assert_eq!(renewed.reserved_until, b.now + 30 * day, "less than half was left");
    assert!(b.pass(11 * day).commits.is_empty(), "the first timer is stale");
    let shown = b.binding(Manage::GetInbound(guest.identity.impi.clone()));
    assert_eq!(Binding { details: None, ..shown }, renewed);
    assert_eq!(b.pass(20 * day).commits.len(), 1);
}

#[test]
fn thousands_of_leases_keep_one_timer_and_all_end() {
    let day = Duration::from_secs(24 * 3_600);
    let mut b = system_b();
    b.done(Manage::PutPool(keyed_pool(1)));
    let mut lent = Vec::new();
    for user in 0..1_000 {
        lent.push(
            b.binding(Manage::BindInbound { primary: visitor(user), allowed: None }).identity,
        );
        let released = b
            .binding(Manage::BindInbound { primary: visitor(user + 1_000), allowed: None })
            .identity;
        b.done(Manage::ReleaseInbound(released.impi));
        b.pass(Duration::from_secs(1));
    }
    assert_eq!(b.timers.len(), 1);
    b.restart();
    assert_eq!(b.timers.len(), 1);
    b.pass(29 * day);
    b.pass(Duration::from_millis(24 * 3_600_000 - 500_500));
    let answers: Vec<Answer> =
        lent.iter().map(|lent| b.manage(Manage::GetInbound(lent.impi.clone()))).collect();
    let gone = |answer: &Answer| matches!(answer, Answer::Refused(Refusal::NotFound(_)));
    assert_eq!(answers.iter().filter(|answer| gone(answer)).count(), 500);
    assert!(answers[..500].iter().all(gone), "the older half");
    b.pass(day);
    assert!(lent.iter().all(|lent| gone(&b.manage(Manage::GetInbound(lent.impi.clone())))));
    assert!(b.timers.is_empty());
}
