//! Two systems as processes, each on a disk of its own that can fail, with clients that remember what
//! they were told.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use migcore::ue_configuration::InitialUeConfiguration;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    common::Seeded,
    history::{History, Violation},
    image::Unsynced,
    load::{Addresses, Load, Situation},
    server::{self, Server},
    shim::Disk,
    stores,
    user::{HOME, PARTNER},
};

/// How long anything may take that happens some time, with all that else runs on the machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The end of the agreements, seconds since the Unix epoch: far off.
const AGREED_UNTIL: u64 = 4_000_000_000;

/// The system whose users migrate, and the one they migrate to.
pub const A: usize = 0;
pub const B: usize = 1;

/// Two systems, their disks, and the load.
pub struct World {
    pub systems: [Server; 2],
    pub disks: [Disk; 2],
    pub http: reqwest::Client,
    pub history: Arc<History>,
    pub seeded: Seeded,
    situation: watch::Sender<Situation>,
    load: Option<Load>,
    users: u64,
    seed: u64,
    directory: PathBuf,
}

impl World {
    /// Starts both systems, provisioned with what all users have in common.
    pub async fn start(name: &str, seed: u64) -> Self {
        Self::start_with(name, seed, "", None).await
    }

    /// As [`World::start`]; `more` ends the configuration of both, and both have a `planted` fault.
    pub async fn start_with(
        name: &str,
        seed: u64,
        more: &str,
        planted: Option<&'static str>,
    ) -> Self {
        println!("MIGCORE_SEED={seed}");
        let directory = std::env::temp_dir().join(format!("migcore-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        // Tests run side by side: the same draws would give them the same ports.
        let mut seeded =
            Seeded(name.bytes().fold(seed, |mixed, it| mixed.wrapping_mul(31) + u64::from(it)));
        let mut systems = server::pair(&directory, &mut seeded, planted);
        let disks = [A, B].map(|which| {
            let mut config = std::fs::read_to_string(systems[which].config_path()).unwrap();
            config.push_str(more);
            std::fs::write(systems[which].config_path(), config).unwrap();
            // A directory beside it holds the shim's files.
            Disk::over(&systems[which].data_path())
        });
        let mut disks = disks;
        for (system, disk) in systems.iter_mut().zip(&mut disks) {
            system.environment = disk.attach();
            system.spawn();
        }
        migcore::node::tls::use_ring();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(15)).build().unwrap();
        let (situation, _) = watch::channel(Situation { up: true, ..Situation::default() });
        let history = Arc::default();
        let (load, users) = (None, 0);
        let mut world =
            Self { systems, disks, http, history, seeded, situation, load, users, seed, directory };
        world.until_ready().await;
        world.provision().await;
        world
    }

    pub fn addresses(&self) -> Addresses {
        let [a, b] = &self.systems;
        Addresses {
            sip: b.sip(),
            management: [a.management(), b.management()],
            csc4: format!("http://127.0.0.1:{}", a.ports.csc4),
        }
    }

    pub fn watch(&self) -> watch::Receiver<Situation> {
        self.situation.subscribe()
    }

    /// Sets `users` going, and waits until they have registered about once.
    pub async fn load(&mut self, users: u64) {
        let addresses = self.addresses();
        let load = Load::start(users, self.seed, &addresses, &self.history, &self.watch());
        (self.load, self.users) = (Some(load), users);
        self.until_registered(users).await;
    }

    /// Waits until so many more registrations were acknowledged.
    pub async fn until_registered(&mut self, more: u64) {
        let enough = self.history.registered() + more;
        let history = Arc::clone(&self.history);
        self.until("registrations go on", || history.registered() >= enough).await;
    }

    /// Waits for what happens some time.
    pub async fn until(&mut self, what: &str, mut happened: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !happened() {
            assert!(!self.load.as_ref().is_some_and(Load::has_failed), "a client panicked");
            self.assert_running();
            if Instant::now() > deadline {
                let logs = self.systems.each_ref().map(Server::log_tail);
                panic!("not for long: {what}\n{}", logs.join("\n"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn assert_running(&mut self) {
        for system in &mut self.systems {
            system.assert_running();
        }
    }

    pub async fn until_ready(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut ready = true;
            for system in &mut self.systems {
                system.assert_running();
                ready &= system.is_ready(&self.http, true).await;
            }
            if ready {
                return;
            }
            if Instant::now() > deadline {
                let logs = self.systems.each_ref().map(Server::log_tail);
                panic!("not ready for long\n{}", logs.join("\n"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the shim has killed a system; false if that does not happen while it gets ready.
    pub async fn until_dead(&mut self, which: usize, or_ready: bool) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if self.systems[which].ended().is_some() {
                return true;
            }
            if or_ready && self.systems[which].is_ready(&self.http, false).await {
                return false;
            }
            assert!(Instant::now() < deadline, "a process that was to be killed runs on");
            assert!(!self.load.as_ref().is_some_and(Load::has_failed), "a client panicked");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Says to the clients whether both systems serve.
    pub fn set_up(&mut self, up: bool) {
        self.situation.send_modify(|situation| {
            situation.restarts += u64::from(up && !situation.up);
            situation.up = up;
        });
    }

    /// The power of a system fails, if it still runs, and what is not durable is gone.
    pub fn cut(&mut self, which: usize, unsynced: Unsynced) {
        self.systems[which].kill();
        self.disks[which].cut(unsynced, &mut self.seeded);
    }

    /// Starts a system on what its disk holds.
    pub fn spawn(&mut self, which: usize) {
        self.systems[which].environment = self.disks[which].attach();
        self.systems[which].spawn();
    }

    /// Ends the load: every user compares what it was told with what the systems say. Then ends the
    /// systems, and compares with what they stored.
    pub async fn rest(&mut self) {
        self.situation.send_modify(|situation| situation.over = true);
        let load = self.load.take().expect("the load was started");
        while !load.has_failed() {
            self.assert_running();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut users = load.join();
        assert_eq!(users.len() as u64, self.users, "every user has compared");
        for system in &mut self.systems {
            system.end();
        }
        let tables = self.systems.each_ref().map(stores::read);
        for violation in stores::check(&self.history, &tables) {
            self.history.broken(&violation);
        }
        stores::check_contacts(&self.history, &mut users, &tables[B]);
    }

    /// Panics if anything contradicts what was acknowledged.
    pub fn assert_nothing_lost(&self) {
        let history = &self.history;
        let count = |kind| history.count(kind);
        println!(
            "acknowledged: {} registrations, {} refreshes, {} de-registrations, {} vectors; \
             {} allocations, {} releases; unavailable {}, without an answer {}, compared {}",
            history.registrations,
            history.refreshes,
            history.deregistrations,
            history.vectors,
            history.allocations,
            history.releases,
            history.unavailable,
            history.in_doubt,
            history.compared
        );
        println!(
            "lost {} doubled {} resurrected {} refused {}",
            count(Violation::Lost),
            count(Violation::Doubled),
            count(Violation::Resurrected),
            count(Violation::Refused)
        );
        assert_eq!(history.violations(), [""; 0]);
    }

    /// The value of a metric without labels.
    pub async fn metric(&self, which: usize, name: &str) -> Option<f64> {
        let url = format!("http://127.0.0.1:{}/metrics", self.systems[which].ports.admin);
        let text = self.http.get(url).send().await.ok()?.text().await.ok()?;
        let value = |line: &str| line.strip_prefix(name)?.trim().parse().ok();
        text.lines().find_map(value)
    }

    async fn provision(&self) {
        let pool = |direction, prefix: &str, domain: &str| {
            json!({
                "direction": direction,
                "generated": {
                    "impi_template": format!("{prefix}-{{id}}@{domain}"),
                    "impu_template": format!("sip:{prefix}-{{id}}@{domain}"),
                },
            })
        };
        self.put(A, "/v1/pools/outbound", pool("outbound", "out", HOME)).await;
        self.put(B, "/v1/pools/inbound", pool("inbound", "mig", PARTNER)).await;
        let agreement = || json!({ "valid_until": AGREED_UNTIL });
        let (out, inn) = (
            "/v1/agreements/sip:b.example/outbound/everybody",
            "/v1/agreements/sip:a.example/inbound/everybody",
        );
        self.put(A, out, agreement()).await;
        self.put(B, inn, agreement()).await;
        let document = InitialUeConfiguration::for_domain(PARTNER, "00101".parse().unwrap());
        let configuration = json!({
            "revision": 1,
            "sip_core": [{ "transport": "udp", "address": self.systems[B].sip() }],
            "document": document.unwrap(),
        });
        self.put(B, "/v1/system-configurations/sip:b.example", configuration).await;
    }

    async fn put(&self, system: usize, path: &str, body: Value) {
        let url = format!("{}{path}", self.systems[system].management());
        let response = self.http.put(url).json(&body).send().await.unwrap();
        let status = response.status();
        assert!(status.is_success(), "{path}: {status} {}", response.text().await.unwrap());
    }
}

impl Drop for World {
    /// Shows the logs if something went wrong, and keeps the directory then.
    fn drop(&mut self) {
        for system in &mut self.systems {
            system.kill();
        }
        if std::thread::panicking() {
            for system in &self.systems {
                println!("{}", system.log_tail());
            }
            println!("kept: {}", self.directory.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}
