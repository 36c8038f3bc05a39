//! Worlds of many seeds, on all cores. `MIGCORE_SEED=n` runs one, with its whole trace.

use std::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use migcore::sim::{Options, World};

/// How long faults go on in a world.
pub(crate) const STORM: Duration = Duration::from_secs(300);

/// Lives through the worlds of the first `usual` seeds, of `all` with `MIGCORE_FULL=1`; panics with the seeds in which
/// something does not hold, and what it is in the first of them.
pub(crate) fn live_through_all(usual: u64, all: u64, drawn: fn(u64) -> Options) {
    let seeds = seeds(usual, all);
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let mut failures = Vec::new();
        while let seed = next.fetch_add(1, Ordering::Relaxed)
            && seed < seeds.end
        {
            failures.extend(live(seed, drawn).err().map(|text| (seed, text)));
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

/// Which seeds to run.
fn seeds(usual: u64, all: u64) -> Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match (number("MIGCORE_SEED"), number("MIGCORE_FULL")) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(1)) => 0..all,
        (None, _) => 0..usual,
    }
}

/// Runs one world and says what went wrong in it, if anything.
fn live(seed: u64, drawn: fn(u64) -> Options) -> Result<(), String> {
    let mut world = World::new(seed, drawn(seed));
    world.live_through(STORM).map_err(|violation| {
        let tail = world.trace().tail(std::env::var("MIGCORE_SEED").map_or(60, |_| usize::MAX));
        format!("seed {seed}: {violation}\n{:#?}\n{tail}", drawn(seed))
    })
}
