//! The simulated world: both systems with their real roles under faults that follow from a seed.
//!
//! `cargo test --release --test simulation` runs 1,000 seeds; `MIGCORE_FULL=1` runs 10,000, and
//! `MIGCORE_SEED=n` one, with its whole trace.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use migcore::sim::{Options, World};

/// How long faults go on in a world.
const STORM: Duration = Duration::from_secs(300);

/// Which seeds to run.
fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match (number("MIGCORE_SEED"), number("MIGCORE_FULL")) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(1)) => 0..10_000,
        (None, _) => 0..1_000,
    }
}

/// Runs one world and says what went wrong in it, if anything.
fn live(seed: u64) -> Result<(), String> {
    let mut world = World::new(seed, Options::drawn(seed));
    world.live_through(STORM).map_err(|violation| {
        let tail = world.trace().tail(60);
        format!("seed {seed}: {violation}\n{:#?}\n{tail}", Options::drawn(seed))
    })
}

#[test]
fn every_invariant_holds_in_every_seeded_world() {
    let seeds = seeds();
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let mut failures = Vec::new();
        while let seed = next.fetch_add(1, Ordering::Relaxed)
            && seed < seeds.end
        {
            failures.extend(live(seed).err().map(|text| (seed, text)));
        }
        failures
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut failures: Vec<(u64, String)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    failures.sort();
    let numbers: Vec<u64> = failures.iter().map(|(seed, _)| *seed).collect();
    assert!(
        failures.is_empty(),
        "{} seeds fail, {numbers:?}; the first:\n{}",
        failures.len(),
        failures[0].1
    );
}
