//! The power fails under load, at any instant: what was acknowledged is true after the restart.

use crate::{
    history::Violation,
    image::Unsynced,
    number,
    world::{A, B, World},
};

/// Cuts by default. `MIGCORE_FULL=1` makes it 200, `MIGCORE_CUTS=n` n.
const CUTS: u64 = 10;

const USERS: u64 = 200;

/// A cut comes before one of so many changes of files: writes, begins and ends of syncs, names.
const CHANGES: u64 = 600;

/// Of so many cuts one is followed by another one while the system starts.
const EARLY: u64 = 4;
const EARLY_CHANGES: u64 = 12;

#[derive(Debug, Default)]
struct Cuts {
    a: u64,
    b: u64,
    both: u64,
    starting: u64,
}

#[test]
fn nothing_acknowledged_is_lost_by_power_failures_under_load() {
    let seed = number("MIGCORE_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let full = if std::env::var_os("MIGCORE_FULL").is_some() { 200 } else { CUTS };
    let wanted = number("MIGCORE_CUTS").unwrap_or(full);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut world = World::start("power", seed).await;
        world.load(USERS).await;
        let mut cuts = Cuts::default();
        while cuts.count() < wanted && world.history.violations().is_empty() {
            let before = cuts.count();
            cut_once(&mut world, &mut cuts).await;
            if before / 20 != cuts.count() / 20 {
                println!("{cuts:?}, {} registrations", world.history.registered());
            }
        }
        world.until_registered(USERS).await;
        world.rest().await;
        println!("MIGCORE_SEED={seed} MIGCORE_CUTS={wanted}: {cuts:?}");
        world.assert_nothing_lost();
    });
}

impl Cuts {
    fn count(&self) -> u64 {
        self.a + self.b + self.both + self.starting
    }
}

/// Lets the load run until the power of one system fails, and sometimes that of the other one at the
/// same time, or again while it starts.
async fn cut_once(world: &mut World, cuts: &mut Cuts) {
    let kinds = [Unsynced::Lost, Unsynced::Torn, Unsynced::Scattered];
    let unsynced = kinds[world.seeded.below(3) as usize];
    let victim = if world.seeded.below(3) == 0 { A } else { B };
    let both = world.seeded.below(4) == 0;
    let changes = 1 + world.seeded.below(CHANGES);
    world.disks[victim].kill_after(changes);
    world.until_dead(victim, false).await;
    world.set_up(false);
    let victims = if both { vec![A, B] } else { vec![victim] };
    for which in &victims {
        world.cut(*which, unsynced);
    }
    match (both, victim) {
        (true, _) => cuts.both += 1,
        (false, A) => cuts.a += 1,
        (false, _) => cuts.b += 1,
    }
    if world.seeded.below(EARLY) == 0 {
        let changes = 1 + world.seeded.below(EARLY_CHANGES);
        world.disks[victim].kill_after(changes);
        world.spawn(victim);
        if world.until_dead(victim, true).await {
            world.cut(victim, unsynced);
            cuts.starting += 1;
            world.spawn(victim);
        } else {
            world.disks[victim].never_kill();
        }
    } else {
        world.spawn(victim);
    }
    for which in victims.into_iter().filter(|which| *which != victim) {
        world.spawn(which);
    }
    world.until_ready().await;
    world.set_up(true);
}

/// The test above would notice: the disk of B says that it synced, and did not.
#[test]
fn a_disk_that_lies_about_a_sync_is_noticed() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut world = World::start("lie", 1).await;
        world.load(USERS / 4).await;
        world.disks[B].fail(crate::shim::Call::Sync, crate::shim::Fault::Dropped, 0, u64::MAX);
        world.until_registered(USERS).await;
        world.systems[B].kill();
        world.set_up(false);
        world.disks[B].lift(crate::shim::Call::Sync);
        world.cut(B, Unsynced::Lost);
        world.spawn(B);
        world.until_ready().await;
        world.set_up(true);
        world.rest().await;
        assert!(world.history.count(Violation::Lost) > 0, "lost registrations are noticed");
        println!("noticed: {}", world.history.violations()[0]);
    });
}
