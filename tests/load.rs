//! The load generator: what it reports is true, of others and of itself.
//!
//! Machines are busy, and then the generator says that its run is INVALID, as it should. So no test but those
//! about that verdict demands a valid run, and no test but those about reported times looks at a time.
#![cfg(feature = "node")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::cast_precision_loss,
    unreachable_pub,
    reason = "test code"
)]

#[path = "load/registrar.rs"]
mod registrar;

mod node_world;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use migcore::secret::Secret;
use registrar::{K, OP, Registrar, Trick};
use serde_json::Value;

/// What a run said, and how it ended.
struct Run {
    output: Output,
    report: Value,
    page: String,
}

impl Run {
    fn count(&self, name: &str) -> u64 {
        self.report["counts"][name].as_u64().unwrap_or_else(|| panic!("no {name}: {}", self.report))
    }

    fn latency(&self, row: &str, quantity: &str) -> Duration {
        let micros = self.report["latency_us"][row][quantity].as_u64();
        Duration::from_micros(
            micros.unwrap_or_else(|| panic!("no {row} {quantity}: {}", self.report)),
        )
    }

    /// The causes of failures with their counts.
    fn causes(&self) -> Vec<(String, u64)> {
        let failures = self.report["failures"].as_array().unwrap().iter();
        let mut causes: Vec<_> = failures
            .map(|failures| {
                (
                    failures["cause"].as_str().unwrap().to_owned(),
                    failures["count"].as_u64().unwrap(),
                )
            })
            .collect();
        causes.sort();
        causes
    }

    fn words(&self, cause: &str) -> String {
        let failures = self.report["failures"].as_array().unwrap().iter();
        let named = failures.filter(|failures| failures["cause"] == cause);
        named.map(|it| format!("{} {}", it["words"], it["advice"])).collect()
    }

    fn reasons(&self) -> Vec<&str> {
        let reasons = self.report["invalid_because"].as_array().unwrap().iter();
        reasons.map(|reason| reason["what"].as_str().unwrap()).collect()
    }

    /// Checks the exit code: `well` unless the run is invalid.
    fn check_code(&self, well: i32) {
        let wanted = if self.report["valid"] == true { well } else { 4 };
        assert_eq!(self.output.status.code(), Some(wanted), "{:?}", self.output);
    }
}

/// A file of this test run, removed at the end.
struct File(PathBuf);

impl File {
    fn new(name: &str) -> Self {
        Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("load-{name}")))
    }

    fn with(name: &str, text: &str) -> Self {
        let file = Self::new(name);
        std::fs::write(&file.0, text).unwrap();
        file
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // It may not have been written.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn migcore(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_migcore"));
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A run that is to be made.
struct Load {
    name: &'static str,
    arguments: Vec<String>,
}

impl Load {
    /// A run with the arguments in `words`; its files are called after `name`.
    fn new(name: &'static str, words: &str) -> Self {
        Self { name, arguments: words.split(' ').map(str::to_owned).collect() }
    }

    fn with(mut self, option: &str, value: &str) -> Self {
        self.arguments.extend([option, value].map(str::to_owned));
        self
    }

    /// By the subscribers in `file` at `registrar`.
    fn at(self, registrar: &Registrar, file: &File) -> Self {
        let target = format!("udp:{}", registrar.address);
        self.with("--target", &target).with("--from", file.path())
    }

    fn run(self) -> Run {
        self.run_while(|_| ())
    }

    /// Runs the generator and reads its reports. `meanwhile` is given its process.
    fn run_while(self, meanwhile: impl FnOnce(u32)) -> Run {
        self.run_as(migcore(&[]), meanwhile)
    }

    /// The same with a command that takes the arguments.
    fn run_as(self, mut command: Command, meanwhile: impl FnOnce(u32)) -> Run {
        let [json, page] = ["json", "html"].map(|kind| File::new(&format!("{}.{kind}", self.name)));
        command.arg("load").args(&self.arguments).arg("--quiet");
        command.args(["--json", json.path(), "--html", page.path()]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        meanwhile(child.id());
        let output = child.wait_with_output().unwrap();
        let report =
            std::fs::read_to_string(&json.0).unwrap_or_else(|_| panic!("no report: {output:?}"));
        let report = serde_json::from_str(&report).unwrap();
        Run { report, page: std::fs::read_to_string(&page.0).unwrap(), output }
    }
}

/// Sends a process a signal such as `-INT`.
fn signal(process: u32, name: &str) {
    let sent = Command::new("kill").args([name, &process.to_string()]).status();
    assert!(sent.unwrap().success());
}

fn hex(key: [u8; 16]) -> String {
    Secret::new(key).to_hex().to_string()
}

/// Subscribers of the registrar of the tests.
fn table(name: &str, users: impl Iterator<Item = String>) -> File {
    let mut text = "impi,impu,k,op\n".to_owned();
    for user in users {
        text += &format!("{user}@a.example,sip:{user}@a.example,{},{}\n", hex(K), hex(OP));
    }
    File::with(name, &text)
}

fn users(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("user-{number}"))
}

/// Held by those that look at times, or that take the machine for themselves.
static TIMES: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    TIMES.lock().unwrap_or_else(PoisonError::into_inner)
}

const AT_ONCE: registrar::Delay = |_| Duration::ZERO;

fn well(_: &str) -> Trick {
    Trick::None
}

#[test]
fn everybody_registers_with_a_system_that_it_starts_and_the_report_says_so() {
    let run =
        Load::new("deploy", "register --deploy --subscribers 300 --rate 200 --duration 2s").run();
    run.check_code(0);
    let started = run.count("started");
    // 400 are expected; Poisson deviates by 5 times its root at most.
    assert!((300..=500).contains(&started), "{started}");
    assert_eq!((run.count("succeeded"), run.count("failed")), (started, 0), "{}", run.report);
    let codes = run.report["codes"].as_array().unwrap();
    for (step, status) in [("challenge", 401), ("response", 200)] {
        let code = codes.iter().find(|code| code["step"] == step && code["status"] == status);
        assert_eq!(code.unwrap()["latency_us"]["count"], started);
        assert_eq!(run.report["latency_us"][step]["count"], started);
    }
    assert_eq!(run.report["latency_us"]["registration"]["count"], started);
    let timeline = run.report["timeline"].as_array().unwrap();
    let interval = run.report["interval_s"].as_f64().unwrap();
    let sum: f64 = timeline.iter().map(|point| point["succeeded_per_s"].as_f64().unwrap()).sum();
    assert!((sum * interval - started as f64).abs() < 0.5, "the timeline has all of them");
    assert!(run.report["deployed"]["cpu_us_each"].as_f64().unwrap() > 0.0);
    let table = String::from_utf8(run.output.stdout.clone()).unwrap();
    assert!(table.contains(&format!("{started} begun")) && table.contains("verdict: "), "{table}");
}

#[test]
fn ues_migrate_by_all_25_steps_between_two_systems_that_it_starts() {
    let run = Load::new("migrate", "migrate --deploy --subscribers 40 --rate 50 --count 40 --duration 600s --fail-if details.p50>600s").run();
    run.check_code(0);
    assert_eq!((run.count("started"), run.count("succeeded")), (40, 40), "{}", run.report);
    for row in ["migration", "details", "challenge", "response"] {
        assert_eq!(run.report["latency_us"][row]["count"], 40, "{row}");
    }
    assert!(
        run.latency("migration", "min") > run.latency("details", "min"),
        "it has all the steps"
    );
    assert!(run.page.contains("migrate to"));
}

#[test]
fn systems_that_it_starts_are_spoken_to_over_tls() {
    let secured = |name, words: &str, transport: &str| {
        let words = format!("{words} --deploy --tls --rate 20 --count 20 --duration 600s");
        let run = Load::new(name, &words).run();
        run.check_code(0);
        assert_eq!((run.count("succeeded"), run.count("failed")), (20, 0), "{}", run.report);
        assert_eq!(run.report["setting"]["transport"], transport, "{}", run.report);
    };
    secured("tls", "register --subscribers 20", "TLS");
    secured("tls-migrate", "migrate --subscribers 20", "TLS");
    secured("tls-cx", "cx --subscribers 20 --threads 2", "Diameter over TLS");
    let left = std::fs::read_dir(std::env::temp_dir()).unwrap().map_while(Result::ok);
    let left = left.filter(|it| it.file_name().to_string_lossy().starts_with("migcore-tls-"));
    assert_eq!(left.count(), 0, "the certificates are removed");
}

#[test]
fn pairs_are_lent_and_none_of_them_twice() {
    let run =
        Load::new("identities", "identities --deploy --rate 100 --duration 1s --threads 2").run();
    run.check_code(0);
    let started = run.count("started");
    assert!(started > 40, "{}", run.report);
    assert_eq!((run.count("succeeded"), run.count("failed")), (started, 0), "{}", run.report);
    assert_eq!(run.report["latency_us"]["allocation"]["count"], started);
    assert_eq!(run.count("identities_compared"), 2 * started, "two in a pair");
    assert!(run.report["deployed"]["resident_octets"].as_u64().unwrap() > 0);
    let run = Load::new(
        "identities-closed",
        "identities --deploy --concurrency 4 --count 100 --fail-if rate<1000000 --duration 600s",
    )
    .run();
    run.check_code(3);
    assert_eq!(run.count("succeeded"), 100, "{}", run.report);
}

#[test]
fn vectors_are_asked_for_by_diameter_and_checked_with_the_keys() {
    let run =
        Load::new("cx", "cx --deploy --subscribers 20 --concurrency 5 --count 100 --duration 600s")
            .run();
    run.check_code(0);
    assert_eq!((run.count("succeeded"), run.count("failed")), (100, 0), "{}", run.report);
    let codes = run.report["codes"].as_array().unwrap();
    assert_eq!(
        (codes[0]["step"].as_str(), codes[0]["status"].as_u64()),
        (Some("vector"), Some(2001))
    );

    let peer = node_world::peer("load.a.example", "core", None);
    let system = node_world::start("a.example", &peer);
    let (hss, management) = (system.bound().diameter.unwrap(), system.bound().management.unwrap());
    let (to, url) = (format!("tcp:{hss}"), format!("http://{management}"));
    let asked = |name, more: &str| {
        let words = format!("cx --concurrency 1 --duration 600s {more}");
        Load::new(name, &words).with("--target", &to)
    };
    let run =
        asked("cx-provisioned", "--subscribers 10 --count 20").with("--provision", &url).run();
    assert_eq!(run.count("succeeded"), 20);
    // Other keys than those that are there.
    let run = asked("cx-wrong", "--subscribers 10 --count 20 --key-seed 2").run();
    assert_eq!(run.causes(), [("mac".to_owned(), 20)], "{}", run.report);
    let run = asked("cx-unknown", "--subscribers 30 --count 30").run();
    assert_eq!(run.causes(), [("cx-5001".to_owned(), 20)], "{}", run.report);
    assert!(run.words("cx-5001").contains("USER_UNKNOWN"));
    // Somebody whom it does not know.
    let stranger =
        ["load", "cx", "--target", &to, "--origin-host", "stranger.a.example", "--quiet"];
    let output = migcore(&stranger).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("--origin-host"), "{said}");
}

#[test]
fn ues_refresh_over_one_connection_under_their_call_ids() {
    let run = Load::new("refresh", "refresh --deploy --tcp --subscribers 50 --concurrency 8 --count 200 --duration 600s --algorithm AKAv2-SHA-256").run();
    run.check_code(0);
    assert_eq!((run.count("started"), run.count("succeeded")), (200, 200), "{}", run.report);
    assert_eq!(run.count("retransmissions"), 0, "a stream needs none");
    assert_eq!(run.count("resynchronizations"), 0, "no SQN is used twice");
}

#[test]
fn a_storm_goes_on_until_everybody_is_registered() {
    let registrar = Registrar::start(
        AT_ONCE,
        |user| if user.ends_with('7') { Trick::BusyAtFirst } else { Trick::None },
        None,
    );
    let file = table("storm.csv", users(100));
    let run = Load::new("storm", "storm --spread 100ms --threads 2").at(&registrar, &file).run();
    run.check_code(0);
    assert_eq!((run.count("started"), run.count("succeeded")), (100, 100), "{}", run.report);
    assert_eq!((run.count("retried"), run.count("failed")), (10, 0));
    assert_eq!(run.causes(), [("503-to-challenge".to_owned(), 10)]);
    // They obeyed Retry-After: the slowest waited for a second, which counts.
    assert!(run.latency("registration", "max") >= Duration::from_secs(1));
}

#[test]
fn a_known_delay_is_reported_right_at_the_median_and_far_out() {
    let _alone = alone();
    const MILLISECOND: Duration = Duration::from_millis(1);
    let registrar = Registrar::start(
        |number| {
            // One in 400, one in 50, all others.
            let millis = if number % 400 == 399 {
                900
            } else if number % 50 == 49 {
                400
            } else {
                100
            };
            Duration::from_millis(millis)
        },
        well,
        None,
    );
    let file = table("delay.csv", users(1_000));
    let run = Load::new("delay", "register --rate 600 --duration 8s --t1 4s --fail-if p99>200ms")
        .at(&registrar, &file)
        .run();
    run.check_code(3);
    assert_eq!(run.count("failed"), 0, "{}", run.report);
    let is_valid = run.report["valid"] == true;
    for (quantity, millis) in [("p50", 100), ("p99", 400), ("p99.9", 900)] {
        let (wanted, got) = (MILLISECOND * millis, run.latency("registration", quantity));
        // Never less, and hardly more unless the generator itself says that it is seen in the figures.
        assert!(
            got >= wanted && (!is_valid || got < wanted + 90 * MILLISECOND),
            "{quantity}: {got:?} of {wanted:?}"
        );
        assert!(run.latency("challenge", quantity) >= wanted - MILLISECOND);
    }
    let response = run.latency("response", "p50");
    assert!(!is_valid || response < 90 * MILLISECOND, "the delay is in the first step");
}

#[test]
fn a_stall_counts_for_everybody_who_had_to_wait_for_it() {
    let _alone = alone();
    let stall = (Duration::from_secs(1), Duration::from_secs(1));
    let registrar = Registrar::start(AT_ONCE, well, Some(stall));
    let file = table("stall.csv", users(2_000));
    let run = Load::new("stall", "register --rate 100 --arrivals even --duration 4s --t1 4s")
        .at(&registrar, &file)
        .run();
    assert_eq!(run.count("started"), 399, "whoever came meanwhile has begun");
    // A quarter came during the stall, and a tenth of all waited for more than 0.6 s.
    assert!(run.latency("registration", "p90") > Duration::from_millis(500), "{}", run.report);
    assert!(run.latency("registration", "max") > Duration::from_millis(900), "{}", run.report);
}

#[test]
fn a_generator_that_was_stopped_for_a_while_says_that_its_run_is_invalid() {
    let registrar = Registrar::start(AT_ONCE, well, None);
    let file = table("stopped.csv", users(1_000));
    let load = Load::new("stopped", "register --rate 100 --duration 4s --t1 4s");
    let run = load.at(&registrar, &file).run_while(|process| {
        registrar.wait_for(50);
        signal(process, "-STOP");
        thread::sleep(Duration::from_secs(1));
        signal(process, "-CONT");
    });
    assert_eq!(run.output.status.code(), Some(4), "{:?}", run.output);
    assert_eq!(run.report["valid"], false);
    assert!(run.reasons().contains(&"late"), "{}", run.report);
    let said = String::from_utf8(run.output.stdout).unwrap();
    assert!(said.contains("INVALID") && said.contains("lower rate"), "what to do: {said}");
    assert!(run.page.contains("INVALID"));
}

#[test]
fn a_generator_that_others_keep_from_its_core_says_that_its_run_is_invalid() {
    let _alone = alone();
    let registrar = Registrar::start(AT_ONCE, well, None);
    let file = table("starved.csv", users(300));
    // On one core with three loops that weigh 28 times as much: it gets less than it needs, wherever it runs.
    let (core, mut loops) = (first_core(), Vec::new());
    for _ in 0..3 {
        let mut busy = Command::new("taskset");
        busy.args(["-c", &core, "sh", "-c", "while :; do :; done"]);
        loops.push(Busy(busy.spawn().unwrap()));
    }
    let mut starved = Command::new("taskset");
    starved.args(["-c", &core, "nice", "-n", "10", env!("CARGO_BIN_EXE_migcore")]);
    let load = Load::new("starved", "register --rate 2000 --duration 1s --t1 4s");
    let run = load.at(&registrar, &file).run_as(starved, |_| ());
    assert_eq!(run.output.status.code(), Some(4), "{:?}", run.output);
    assert_eq!(run.report["valid"], false);
    assert!(!run.reasons().is_empty());
}

/// The first core that this process may use.
fn first_core() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let cores = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    cores.trim().split([',', '-']).next().unwrap().to_owned()
}

/// A process that computes until this is dropped.
struct Busy(std::process::Child);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn a_run_that_is_interrupted_reports_what_there_was() {
    let registrar = Registrar::start(AT_ONCE, well, None);
    let file = table("interrupted.csv", users(1_000));
    let load = Load::new("interrupted", "register --rate 100 --duration 600s");
    let run = load.at(&registrar, &file).run_while(|process| {
        registrar.wait_for(50);
        signal(process, "-INT");
    });
    run.check_code(0);
    let started = run.count("started");
    assert!(started > 0, "{}", run.report);
    assert_eq!((run.count("succeeded"), run.count("failed")), (started, 0), "none is cut off");
    assert!(run.report["took_s"].as_f64().unwrap() < 500.0);
}

#[test]
fn the_generator_tells_what_it_costs_itself_and_a_million_ues_take_less_than_400_mb() {
    let registrar = Registrar::start(AT_ONCE, |_| Trick::Forbidden, None);
    let load = Load::new(
        "million",
        "register --subscribers 1000000 --rate 100 --count 100 --duration 600s",
    );
    let target = format!("udp:{}", registrar.address);
    let run = load.with("--target", &target).run();
    run.check_code(1);
    assert_eq!(run.count("failed"), 100, "{}", run.report);
    let generator = &run.report["generator"];
    assert!(generator["cpu_us_each"].as_f64().unwrap() > 0.0);
    let octets = generator["resident_octets"].as_u64().unwrap();
    // Their state is made, and so resident, from the beginning.
    assert!((200_000_000..400_000_000).contains(&octets), "{octets}");
    println!("a million UEs: {octets} octets of resident memory");
}

#[test]
fn a_rate_beyond_what_the_generator_can_begin_is_invalid() {
    let registrar = Registrar::start(AT_ONCE, |_| Trick::Silent, None);
    let file = table("beyond.csv", users(1_000));
    let run = Load::new("beyond", "register --rate 1000000000 --duration 200ms --t1 10ms")
        .at(&registrar, &file)
        .run();
    assert_eq!(run.output.status.code(), Some(4), "{:?}", run.output);
    let reasons = run.reasons();
    assert!(reasons.contains(&"busy") || reasons.contains(&"behind"), "{}", run.report);
}

#[test]
fn each_failure_is_told_by_its_cause() {
    let registrar = Registrar::start(
        AT_ONCE,
        |user| match user {
            "stuck" => Trick::SqnStands,
            "auts" => Trick::SqnStandsUntilAuts,
            "forbidden" => Trick::Forbidden,
            "realm" => Trick::OtherRealm,
            "silent" => Trick::Silent,
            "qop" => Trick::StrangeQop,
            "plain" => Trick::PlainDigest,
            _ => Trick::None,
        },
        None,
    );
    let mut text = "impi,impu,k,op,opc\n".to_owned();
    for (user, k, op, opc) in [
        ("right", K, Some(OP), None),
        ("wrong-k", [7; 16], Some(OP), None),
        ("wrong-op", K, Some([7; 16]), None),
        ("op-as-opc", K, None, Some(OP)),
        ("stuck", K, Some(OP), None),
        ("auts", K, Some(OP), None),
        ("forbidden", K, Some(OP), None),
        ("realm", K, Some(OP), None),
        ("silent", K, Some(OP), None),
        ("qop", K, Some(OP), None),
        ("plain", K, Some(OP), None),
    ] {
        let [op, opc] = [op, opc].map(|key| key.map(hex).unwrap_or_default());
        text += &format!("{user}@a.example,sip:{user}@a.example,{},{op},{opc}\n", hex(k));
    }
    let file = File::with("causes.csv", &text);
    // Everybody twice, so that a SQN can be used twice.
    let run = Load::new(
        "causes",
        "register --concurrency 1 --count 22 --duration 600s --t1 50ms --fail-if failures>50%",
    )
    .at(&registrar, &file)
    .run();
    run.check_code(3);
    let wanted = [
        ("403-to-challenge", 2),
        ("algorithm", 2),
        ("mac", 4),
        ("opc-is-op", 2),
        ("qop", 2),
        ("realm", 2),
        ("sqn", 1),
        ("timeout-challenge", 2),
    ];
    assert_eq!(
        run.causes(),
        wanted.map(|(cause, count)| (cause.to_owned(), count)),
        "{}",
        run.report
    );
    assert_eq!((run.count("started"), run.count("failed"), run.count("succeeded")), (22, 17, 5));
    assert_eq!(run.count("resynchronizations"), 2, "one in vain, one not");
    assert!(run.count("retransmissions") >= 2 * 5, "50, 150, 350, 750, 1150 ms, ... until 3.2 s");
    assert!(run.words("mac").contains("K or OP") && run.words("mac").contains("compare K and OP"));
    assert!(run.words("opc-is-op").contains("give the key as op"));
    let shown = String::from_utf8(run.output.stdout.clone()).unwrap();
    assert!(shown.contains("first: subscriber 2"), "{shown}");
    for text in [&shown, &run.page, &run.report.to_string()] {
        assert!(!text.contains("wrong-k@"), "no identity is told");
    }
}

#[test]
fn an_injection_file_of_sipp_works_as_a_table_does() {
    let registrar = Registrar::start(AT_ONCE, well, None);
    let mut text = "SEQUENTIAL\n".to_owned();
    for user in users(20) {
        text += &format!(
            "{user}@a.example;{user};a.example;[authentication username={user}@a.example aka_K=0x{} aka_OP=0x{} aka_AMF=0x8000]\n",
            hex(K),
            hex(OP),
        );
    }
    let file = File::with("sipp.csv", &text);
    let run = Load::new("sipp", "register --concurrency 4 --count 40 --duration 600s")
        .at(&registrar, &file)
        .run();
    run.check_code(0);
    assert_eq!((run.count("started"), run.count("succeeded")), (40, 40), "{}", run.report);
}

#[test]
fn subscribers_written_for_another_system_are_taken_there() {
    let system = node_world::start("a.example", "");
    let (sip, management) = (system.bound().sip[0], system.bound().management.unwrap());
    let (written, url) = (File::new("written.csv"), format!("http://{management}"));
    let to = format!("udp:{sip}");
    let generated =
        ["load", "register", "--target", &to, "--subscribers", "30", "--write", written.path()];
    assert_eq!(migcore(&generated).output().unwrap().status.code(), Some(0));
    let provisioned = ["provision", "load", written.path(), "--system", &url];
    let output = migcore(&provisioned).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let run = Load::new("written", "register --concurrency 3 --count 60 --duration 600s")
        .with("--target", &to)
        .with("--from", written.path())
        .run();
    assert_eq!(run.count("succeeded"), 60, "{}", run.report);
    // The same subscribers, put there by the generator itself.
    let run = Load::new(
        "provisioned",
        "register --subscribers 30 --key-seed 2 --concurrency 3 --count 60 --duration 600s",
    )
    .with("--target", &to)
    .with("--provision", &url)
    .run();
    assert_eq!(run.count("succeeded"), 60, "{}", run.report);
}

#[test]
fn a_user_keeps_one_contact_through_runs_that_name_the_same() {
    let system = node_world::start("a.example", "");
    let (sip, management) = (system.bound().sip[0], system.bound().management.unwrap());
    let register = |more: &[&str]| {
        let mut load = Load::new("contact", "register --subscribers 2 --count 4 --concurrency 1")
            .with("--target", &format!("udp:{sip}"));
        load.arguments.extend(more.iter().copied().map(str::to_owned));
        load.run()
    };
    // A user may have ten.
    register(&["--provision", &format!("http://{management}"), "--contact", "192.0.2.1:5060"]);
    for _ in 0..11 {
        let run = register(&["--contact", "192.0.2.1:5060"]);
        assert_eq!(run.count("succeeded"), 4, "{}", run.report);
    }
    for _ in 0..9 {
        assert_eq!(register(&[]).count("succeeded"), 4);
    }
    let run = register(&[]);
    assert_eq!((run.count("succeeded"), run.count("failed")), (0, 4), "{}", run.report);
    assert!(run.words("403-to-response").contains("--contact"), "{}", run.report);
}

#[test]
fn a_search_ends_at_a_rate_that_was_kept_and_says_what_it_tried() {
    let registrar = Registrar::start(|_| Duration::from_millis(30), well, None);
    let file = table("search.csv", users(400));
    // Nobody can keep the second threshold above 200 a second: there the search ends.
    let run = Load::new("search", "register --search --rate 80 --duration 500ms --arrivals even --fail-if failures>50% --fail-if rate>200").at(&registrar, &file).run();
    let trials = run.report["search"].as_array().unwrap();
    assert!(trials.len() >= 2, "{}", run.report);
    let tried = |kept: bool| {
        let trials = trials.iter().filter(move |trial| trial["kept"] == kept);
        trials.map(|trial| trial["rate"].as_f64().unwrap())
    };
    for rate in tried(true) {
        assert!(rate < 300.0, "{}", run.report);
    }
    let told = trials.iter().all(|trial| trial["invalid"].as_array().unwrap().is_empty());
    assert!(!told || !run.reasons().contains(&"own limit"), "{}", run.report);
    assert!(!told || tried(false).any(|rate| rate > 150.0), "{}", run.report);
}

#[test]
fn a_search_that_ends_at_the_limit_of_the_generator_is_invalid() {
    let registrar = Registrar::start(|_| Duration::from_millis(100), well, None);
    // 20 UEs register 200 times a second at most, and nobody breaks this threshold.
    let file = table("own-limit.csv", users(20));
    let words = "register --search --rate 100 --duration 300ms --arrivals even --fail-if p99>1000s";
    let run = Load::new("own-limit", words).at(&registrar, &file).run();
    assert_eq!(run.output.status.code(), Some(4), "{:?}", run.output);
    assert!(run.reasons().contains(&"own limit"), "{}", run.report);
    let trials = run.report["search"].as_array().unwrap();
    let at =
        |rate: &Value| trials.iter().filter(|trial| trial["rate"] == *rate).collect::<Vec<_>>();
    let attempts = trials.iter().map(|trial| at(&trial["rate"]));
    let beyond: Vec<_> =
        attempts.filter(|all| all.iter().all(|trial| trial["kept"] == false)).collect();
    assert!(!beyond.is_empty() && beyond.iter().all(|all| all.len() == 3), "{}", run.report);
    let said = String::from_utf8(run.output.stdout).unwrap();
    assert!(said.contains("the generator itself was the limit"), "{said}");
}

#[test]
fn the_page_stands_alone() {
    let registrar = Registrar::start(AT_ONCE, well, None);
    let file = table("page.csv", users(50));
    let page = Load::new("page", "register --rate 100 --duration 1s --fail-if p50>10s")
        .at(&registrar, &file)
        .run()
        .page;
    assert_eq!(page.matches("<svg ").count(), 4);
    for fetched in ["http:", "https:", "<script", "src=", "@import", "url("] {
        assert!(!page.contains(fetched), "{fetched}");
    }
    for needed in ["name=\"viewport\"", "prefers-color-scheme:dark", "@media print", "p50&gt;10s"] {
        assert!(page.contains(needed), "{needed}");
    }
    for tag in ["table", "figure", "svg", "div", "tr", "td", "th", "text", "p"] {
        let begun =
            page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(begun, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
}

#[test]
fn what_cannot_be_done_is_told_before_anything_is_sent() {
    let said = |arguments: &[&str], code: i32| {
        let output = migcore(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let to = ["load", "register", "--target", "udp:127.0.0.1:9"];
    let with = |more: &[&'static str]| [&to[..], more].concat();
    assert!(said(&["load", "register"], 2).contains("--target"));
    assert!(said(&["load", "register", "--target", "127.0.0.1:9"], 2).contains("udp:"));
    assert!(said(&with(&["--fail-if", "p99"]), 2).contains("p99>20ms"));
    assert!(said(&with(&["--ramp", "5"]), 2).contains("100..5000/60s"));
    assert!(said(&with(&["--duration", "5"]), 2).contains("ms, s, min or h"));
    assert!(said(&with(&["--from", "/nonexistent"]), 2).contains("/nonexistent"));
    assert!(said(&with(&["--domain", "no domain"]), 2).contains("--domain"));
    assert!(said(&with(&["--quiet", "--rate", "1000"]), 1).contains("nobody listens"));
    let refused = ["load", "register", "--target", "tcp:127.0.0.1:9", "--quiet"];
    assert!(said(&refused, 1).contains("is it up"));
    let help = migcore(&["load", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for taught in ["--deploy --search", "Exit codes", "INVALID", "--fail-if 'p99>20ms'"] {
        assert!(help.contains(taught), "{taught}");
    }
}
