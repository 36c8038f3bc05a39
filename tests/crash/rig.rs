//! Who is killed when, and what comes out.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use migcore::{sim::ledger::Tables, ue_configuration::InitialUeConfiguration};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    common::Seeded,
    history::{History, Violation},
    load::{Addresses, Load, Situation},
    server::{self, Server},
    stores,
    user::{HOME, PARTNER, User},
};

/// How long a system may take to serve again, with all that else runs on the machine.
const READY_MAX: Duration = Duration::from_secs(120);

/// Both run and are loaded for so long before the next kill, milliseconds. A kill comes while the load still
/// grows, or later.
const LOADED: std::ops::Range<u64> = 300..2_500;

/// A killed system stays away for so long at most, milliseconds.
const AWAY: u64 = 200;

/// Of so many kills one comes while the system is still starting, within so many milliseconds.
const EARLY: u64 = 10;
const EARLY_WITHIN: u64 = 150;

/// The rate just before a kill is taken over this time.
const LAST: Duration = Duration::from_millis(500);

/// How long the load lasts if nobody is to be killed.
const UNDISTURBED: Duration = Duration::from_secs(10);

/// The end of the agreements, seconds since the Unix epoch: far off.
const AGREED_UNTIL: u64 = 4_000_000_000;

/// What to do.
pub struct Plan {
    pub seed: u64,
    pub kills: u64,
    pub users: u64,
    /// A fault that the systems are to have.
    pub planted: Option<&'static str>,
}

/// What came out.
pub struct Report {
    pub history: Arc<History>,
    seed: u64,
    planned: u64,
    /// Kills of A, of B, of both.
    kills: [u64; 3],
    early: u64,
    /// The users, after the end.
    pub users: Vec<User>,
    /// What A and B had stored at the end.
    pub tables: [Tables; 2],
    /// How long both were up and loaded, and what was completed in that time.
    loaded: Duration,
    done: [u64; 3],
    /// Registrations a second, just before each kill.
    at_the_end: Vec<f64>,
    restarts: Vec<Duration>,
    whole: Duration,
}

/// Two systems under load.
pub struct Rig {
    systems: [Server; 2],
    directory: PathBuf,
    http: reqwest::Client,
    entropy: Seeded,
    history: Arc<History>,
    /// What goes wrong is meant to.
    is_planted: bool,
}

impl Rig {
    /// Runs `plan` to its end, or to the first violation.
    pub fn run(plan: &Plan) -> Report {
        // One rig at a time: they would take the machine from each other.
        static RUNS: Mutex<u64> = Mutex::new(0);
        let mut runs = RUNS.lock().unwrap_or_else(PoisonError::into_inner);
        *runs += 1;
        println!("MIGCORE_SEED={} MIGCORE_KILLS={}", plan.seed, plan.kills);
        let name = format!("migcore-crash-{}-{}-{runs}", std::process::id(), plan.seed);
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir(&directory).unwrap();
        let mut entropy = Seeded(plan.seed);
        migcore::node::tls::use_ring();
        let mut rig = Self {
            systems: server::pair(&directory, &mut entropy, plan.planted),
            directory,
            http: reqwest::Client::builder().timeout(Duration::from_secs(5)).build().unwrap(),
            entropy,
            history: Arc::default(),
            is_planted: plan.planted.is_some(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(rig.perform(plan))
    }

    async fn perform(&mut self, plan: &Plan) -> Report {
        let begun = Instant::now();
        for system in &mut self.systems {
            system.spawn();
        }
        self.until_ready().await;
        self.provision().await;
        let (situation, watched) = watch::channel(Situation::default());
        let addresses = self.addresses();
        let load = Load::start(plan.users, plan.seed, &addresses, &self.history, &watched);
        let mut report = Report {
            history: Arc::clone(&self.history),
            seed: plan.seed,
            planned: plan.kills,
            kills: [0; 3],
            early: 0,
            users: Vec::new(),
            tables: Default::default(),
            loaded: Duration::ZERO,
            done: [0; 3],
            at_the_end: Vec::new(),
            restarts: Vec::new(),
            whole: Duration::ZERO,
        };
        self.until_loaded(&load, plan.users).await;
        while report.kills.iter().sum::<u64>() < plan.kills && !self.is_wrong() {
            self.kill_once(&situation, &mut report).await;
            assert!(!load.has_failed(), "a client panicked");
        }
        if plan.kills == 0 {
            self.load_for(UNDISTURBED, &mut report).await;
        }
        situation.send_modify(|situation| situation.over = true);
        while !load.has_failed() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        report.users = load.join();
        for system in &mut self.systems {
            system.end();
        }
        report.tables = self.systems.each_ref().map(stores::read);
        for violation in stores::check(&self.history, &report.tables) {
            self.history.broken(&violation);
        }
        stores::check_contacts(&self.history, &mut report.users, &report.tables[1]);
        report.whole = begun.elapsed();
        report
    }

    /// Lets the load run for a while, kills one of the systems or both, and starts again.
    async fn kill_once(&mut self, situation: &watch::Sender<Situation>, report: &mut Report) {
        situation.send_modify(|situation| situation.up = true);
        let span = LOADED.start + self.entropy.below(LOADED.end - LOADED.start);
        self.load_for(Duration::from_millis(span), report).await;
        for system in &mut self.systems {
            system.assert_running();
        }
        let who = usize::try_from(self.entropy.below(3)).unwrap();
        let victims = match who {
            0 => 0..1,
            1 => 1..2,
            _ => 0..2,
        };
        for victim in victims.clone() {
            self.systems[victim].kill();
        }
        report.kills[who] += 1;
        situation.send_modify(|situation| situation.up = false);
        let away = self.entropy.below(AWAY);
        tokio::time::sleep(Duration::from_millis(away)).await;
        let started = Instant::now();
        for victim in victims.clone() {
            self.systems[victim].spawn();
        }
        if self.entropy.below(EARLY) == 0 {
            let within = self.entropy.below(EARLY_WITHIN);
            tokio::time::sleep(Duration::from_millis(within)).await;
            for victim in victims {
                self.systems[victim].kill();
                self.systems[victim].spawn();
            }
            report.kills[who] += 1;
            report.early += 1;
        }
        self.until_ready().await;
        let ready = started.elapsed();
        report.restarts.push(ready);
        println!(
            "kill {:3}: {} after {span:4} ms at {:4.0} registrations/s, ready after {:4} ms",
            report.kills.iter().sum::<u64>(),
            ["A   ", "B   ", "both"][who],
            report.at_the_end.last().copied().unwrap_or(0.0),
            ready.as_millis(),
        );
        situation.send_modify(|situation| situation.restarts += 1);
    }

    /// Lets both run under load.
    async fn load_for(&self, span: Duration, report: &mut Report) {
        let before = self.done();
        let since = Instant::now();
        tokio::time::sleep(span.saturating_sub(LAST)).await;
        let (last, of_last) = (self.done(), Instant::now());
        tokio::time::sleep(span.min(LAST)).await;
        let done = self.done();
        report.loaded += since.elapsed();
        for (total, (after, before)) in report.done.iter_mut().zip(done.iter().zip(before)) {
            *total += after - before;
        }
        report.at_the_end.push((done[0] - last[0]) as f64 / of_last.elapsed().as_secs_f64());
    }

    /// Registrations, fetches, and allocations and releases so far.
    fn done(&self) -> [u64; 3] {
        let history = &self.history;
        let changed = history.allocations.get() + history.releases.get();
        [history.registered(), history.fetches.get(), changed]
    }

    fn is_wrong(&self) -> bool {
        !self.history.violations().is_empty()
    }

    async fn until_ready(&mut self) {
        let deadline = Instant::now() + READY_MAX;
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

    /// Until every user holds its pairs, and has registered about once.
    async fn until_loaded(&self, load: &Load, users: u64) {
        while self.history.registered() < users {
            assert!(!load.has_failed(), "a client panicked");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn addresses(&self) -> Addresses {
        let [a, b] = &self.systems;
        Addresses {
            sip: b.sip(),
            management: [a.management(), b.management()],
            csc4: format!("http://127.0.0.1:{}", a.ports.csc4),
        }
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
        self.put(0, "/v1/pools/outbound", pool("outbound", "out", HOME)).await;
        self.put(1, "/v1/pools/inbound", pool("inbound", "mig", PARTNER)).await;
        let agreement = || json!({ "valid_until": AGREED_UNTIL });
        let (out, inn) = (
            "/v1/agreements/sip:b.example/outbound/everybody",
            "/v1/agreements/sip:a.example/inbound/everybody",
        );
        self.put(0, out, agreement()).await;
        self.put(1, inn, agreement()).await;
        let document = InitialUeConfiguration::for_domain(PARTNER, "00101".parse().unwrap());
        let configuration = json!({
            "revision": 1,
            "sip_core": [{ "transport": "udp", "address": self.systems[1].sip() }],
            "document": document.unwrap(),
        });
        self.put(1, "/v1/system-configurations/sip:b.example", configuration).await;
    }

    async fn put(&self, system: usize, path: &str, body: Value) {
        let url = format!("{}{path}", self.systems[system].management());
        let response = self.http.put(url).json(&body).send().await.unwrap();
        let status = response.status();
        assert!(status.is_success(), "{path}: {status} {}", response.text().await.unwrap());
    }
}

impl Drop for Rig {
    /// Shows the logs if something went wrong, and keeps the directory then.
    fn drop(&mut self) {
        for system in &mut self.systems {
            system.kill();
        }
        if std::thread::panicking() || (self.is_wrong() && !self.is_planted) {
            for system in &self.systems {
                println!("{}", system.log_tail());
            }
            println!("kept: {}", self.directory.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let history = &self.history;
        let seconds = self.loaded.as_secs_f64();
        let [a, b, both] = self.kills;
        let mut restarts: Vec<_> = self.restarts.iter().map(Duration::as_millis).collect();
        restarts.sort_unstable();
        let at = |share: usize| restarts.get(restarts.len() * share / 100).copied().unwrap_or(0);
        writeln!(
            f,
            "kills: {} (A {a}, B {b}, both {both}; {} of them while starting), users {}, {:.0} s",
            a + b + both,
            self.early,
            self.users.len(),
            self.whole.as_secs_f64(),
        )?;
        writeln!(
            f,
            "rate while both were up ({seconds:.0} s): {:.0} registrations/s, {:.0} fetches/s, {:.0} allocations and releases/s",
            self.done[0] as f64 / seconds,
            self.done[1] as f64 / seconds,
            self.done[2] as f64 / seconds,
        )?;
        let mut rates = self.at_the_end.clone();
        rates.sort_by(f64::total_cmp);
        let rate = |share: usize| rates.get(rates.len() * share / 100).copied().unwrap_or(0.0);
        writeln!(
            f,
            "rate in the last half second before a kill: median {:.0} registrations/s, 5 % {:.0}, 95 % {:.0}",
            rate(50),
            rate(5),
            rate(95)
        )?;
        writeln!(
            f,
            "restart to both ready and connected: median {} ms, 95 % {} ms, longest {} ms",
            at(50),
            at(95),
            restarts.last().copied().unwrap_or(0)
        )?;
        writeln!(
            f,
            "acknowledged: {} registrations, {} refreshes, {} de-registrations, {} fetches, {} vectors",
            history.registrations,
            history.refreshes,
            history.deregistrations,
            history.fetches,
            history.vectors
        )?;
        writeln!(
            f,
            "acknowledged: {} allocations, {} repeats, {} connection details, {} releases",
            history.allocations, history.repeats, history.details, history.releases
        )?;
        writeln!(
            f,
            "without a definite answer: {}, unavailable: {}, compared: {}, stored at the end: {} and {} bindings, {} registrations",
            history.in_doubt,
            history.unavailable,
            history.compared,
            self.tables[0].bindings.len(),
            self.tables[1].bindings.len(),
            self.tables[1].registrations.len(),
        )?;
        writeln!(
            f,
            "lost {} doubled {} resurrected {} refused {}",
            history.count(Violation::Lost),
            history.count(Violation::Doubled),
            history.count(Violation::Resurrected),
            history.count(Violation::Refused),
        )?;
        write!(
            f,
            "MIGCORE_SEED={} MIGCORE_KILLS={} MIGCORE_USERS={} cargo test{} --test crash -- --nocapture",
            self.seed,
            self.planned,
            self.users.len(),
            if cfg!(debug_assertions) { "" } else { " --release" },
        )
    }
}
