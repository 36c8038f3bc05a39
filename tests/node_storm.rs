//! Many users migrate again and again through HTTP, Diameter and SIP, while 1 % of all messages is lost
//! or comes twice: all succeed, no identity is doubled, and no reservation is left that no one holds.
//!
//! 400 users migrate five times each; `MIGCORE_FULL=1` makes it 2,000 users. `MIGCORE_SEED=n` repeats
//! the proxies' draws, as far as the order of concurrent messages is the same.
#![cfg(feature = "node")]
#![allow(
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "test code"
)]
#![allow(clippy::disallowed_methods, reason = "a test of sockets measures time")]
#![allow(unreachable_pub, reason = "modules of a test")]

mod common;
#[path = "node_storm/faults.rs"]
mod faults;
#[path = "node_storm/framing.rs"]
mod framing;
#[path = "node_storm/ledger.rs"]
mod ledger;
mod node_world;
#[path = "node_storm/proxy.rs"]
mod proxy;
#[path = "node_storm/proxy_tests.rs"]
mod proxy_tests;
#[path = "node_storm/user.rs"]
mod user;
#[path = "node_storm/world.rs"]
mod world;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use common::Seeded;
use migcore::{
    api::migration_identity::Direction,
    procedure::{Entity, migration::STEPS},
};
use node_world::{eventually, metric};
use proxy::Kinds;
use serde_json::json;
use tokio::task::JoinSet;
use user::User;
use world::World;

const MIGRATIONS_PER_USER: u64 = 5;

/// Users who migrate at a time.
const CONCURRENCY: usize = 64;

/// One of so many users is released by the administrator after a migration.
const RELEASED: u64 = 10;

/// How long one migration may take with all its repetitions.
const MIGRATION_TIME_MAX: Duration = Duration::from_secs(120);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What one user has before it.
struct Journey {
    user: User,
    migrations_left: u64,
    /// After which migration the administrator ends what was lent, if after any.
    released_after: Option<u64>,
}

#[tokio::test]
async fn all_migrate_though_messages_are_lost_and_repeated() {
    let seed = number("MIGCORE_SEED").unwrap_or(20_261_120);
    let users = if number("MIGCORE_FULL") == Some(1) { 2_000 } else { 400 };
    println!("MIGCORE_SEED={seed}, {users} users");
    let started = Instant::now();
    let world = Arc::new(World::start(seed).await);
    let mut entropy = Seeded(seed);
    let journeys = (0..users).map(|number| {
        let user = User::new(number, &mut entropy);
        let is_released = entropy.below(RELEASED) == 0;
        let after = 1 + entropy.below(MIGRATIONS_PER_USER);
        let released_after = is_released.then_some(after);
        Journey { user, migrations_left: MIGRATIONS_PER_USER, released_after }
    });
    let journeys: VecDeque<Journey> = journeys.collect();
    let released = journeys.iter().filter(|journey| journey.released_after.is_some()).count();
    let left = journeys.iter().filter(|it| it.released_after == Some(MIGRATIONS_PER_USER)).count();
    let holders = journeys.len() - left;
    let journeys = Arc::new(Mutex::new(journeys));

    let mut travellers = JoinSet::new();
    for _ in 0..CONCURRENCY {
        travellers.spawn(travel(Arc::clone(&world), Arc::clone(&journeys)));
    }
    let mut failures = Vec::new();
    while let Some(failed) = travellers.join_next().await {
        failures.extend(failed.unwrap());
    }
    println!("{:?}\n{}", started.elapsed(), world.links.report());
    assert!(failures.is_empty(), "seed {seed}: {} failed: {failures:#?}", failures.len());
    check(&world, users, (holders, released)).await;
    Arc::into_inner(world).unwrap().shutdown().await;
}

/// Takes one user after the other through its next migration; returns what failed.
async fn travel(world: Arc<World>, journeys: Arc<Mutex<VecDeque<Journey>>>) -> Vec<String> {
    let mut failures = Vec::new();
    loop {
        let next = journeys.lock().unwrap().pop_front();
        let Some(mut journey) = next else { return failures };
        let migrated = tokio::time::timeout(MIGRATION_TIME_MAX, journey.migrate_once(&world)).await;
        if let Err(what) = migrated.unwrap_or_else(|_| Err("hangs".to_owned())) {
            failures.push(format!("{}: {what}", journey.user.mc_service_id));
        } else if journey.migrations_left > 0 {
            journeys.lock().unwrap().push_back(journey);
        }
    }
}

impl Journey {
    async fn migrate_once(&mut self, world: &World) -> Result<(), String> {
        if self.migrations_left == MIGRATIONS_PER_USER {
            self.user.provision(world).await;
        }
        self.user.migrate(world).await?;
        self.migrations_left -= 1;
        if self.released_after == Some(MIGRATIONS_PER_USER - self.migrations_left) {
            self.user.release(world).await?;
        }
        Ok(())
    }
}

/// One of so many bindings is looked at.
const SAMPLE: usize = 7;

/// Checks what is left once nothing waits any more: exactly what `holders` users hold, after `released`
/// of all had theirs ended once.
async fn check(world: &World, users: u64, (holders, released): (usize, usize)) {
    let systems = [&world.home.running, &world.partner.running];
    eventually("no request waits for its answer", || {
        systems.iter().all(|system| metric(system, "migcore_requests_waiting") < 0.5)
    })
    .await;
    assert_eq!(world.ledger.violations(), [""; 0]);
    for (system, name, direction) in [
        (&world.home, "outbound", Direction::Outbound),
        (&world.partner, "inbound", Direction::Inbound),
    ] {
        let (held, ended) = (world.ledger.held(direction), world.ledger.released(direction));
        assert_eq!((held.len(), ended.len()), (holders, released), "{name}");
        assert_eq!(world.ledger.pairs_lent(direction), holders + released, "{name}");
        let (lent, total) = world.pool(system, name).await;
        assert_eq!(lent, holders as u64, "{name}: reservations that no one holds, or lost ones");
        assert_eq!(total, (holders + released) as u64, "{name}: drawn, and never lent");
        for pair in held.iter().step_by(SAMPLE) {
            let path = format!("/v1/bindings/{name}/{}", pair.impi.as_str());
            let (status, binding) = world.get(system, &path).await;
            assert_eq!((status, &binding["impu"]), (200, &json!(pair.impu)), "{binding}");
        }
        for pair in ended.iter().step_by(SAMPLE) {
            let path = format!("/v1/bindings/{name}/{}", pair.impi.as_str());
            assert_eq!(world.get(system, &path).await.0, 404);
        }
    }
    check_metrics(world, users * MIGRATIONS_PER_USER);
    world.lend_to_nobody().await;
    let (lent, _) = world.pool(&world.partner, "inbound").await;
    assert_eq!(lent, holders as u64 + 1, "a reservation that no one holds is noticed");
}

fn check_metrics(world: &World, migrations: u64) {
    let (home, partner) = (&world.home.running, &world.partner.running);
    let fetched = metric(partner, "migcore_vectors_fetched_total{peer=\"sipdb.a.example\"}");
    assert!(fetched >= migrations as f64, "{fetched} vectors fetched");
    for row in STEPS.iter().filter(|row| row.by != Entity::Ue) {
        let name = format!("migcore_steps_total{{step=\"{}\"}}", row.step);
        let done = metric(home, &name) + metric(partner, &name);
        assert!(done >= migrations as f64, "{name} {done}");
    }
    // Whose connection is cut goes on from another address, and leaves the contact of before to expire.
    let Kinds { to_server, from_server } = &world.links.sip_tcp.1;
    let cut = to_server.lost() + from_server.lost();
    let registered = metric(partner, "migcore_registrations");
    assert!(registered <= cut as f64, "{registered} registrations left, {cut} connections cut");
    for event in ["authentication_failed", "vector_refused", "resynchronised", "table_full"] {
        let name = format!("migcore_notes_total{{note=\"{event}\"}}");
        assert!(metric(home, &name) + metric(partner, &name) < 0.5, "{name}");
    }
    for kind in world.links.kinds() {
        assert!(kind.has_shown_all(), "{kind:?}");
    }
}
