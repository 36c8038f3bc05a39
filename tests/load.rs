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

/// Runs the generator and reads its reports. `meanwhile` is given its process.
fn load_while(name: &str, arguments: &[&str], meanwhile: impl FnOnce(u32)) -> Run {
    let (json, page) = (File::new(&format!("{name}.json")), File::new(&format!("{name}.html")));
    let mut all = vec!["load"];
    all.extend(arguments);
    all.extend(["--json", json.path(), "--html", page.path(), "--quiet"]);
    let child = migcore(&all).spawn().unwrap();
    meanwhile(child.id());
    let output = child.wait_with_output().unwrap();
    let report =
        std::fs::read_to_string(&json.0).unwrap_or_else(|_| panic!("no report: {output:?}"));
    let report = serde_json::from_str(&report).unwrap();
    Run { report, page: std::fs::read_to_string(&page.0).unwrap(), output }
}

fn load(name: &str, arguments: &[&str]) -> Run {
    load_while(name, arguments, |_| ())
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

fn target(registrar: &Registrar) -> String {
    format!("udp:{}", registrar.address)
}

const AT_ONCE: registrar::Delay = |_| Duration::ZERO;

fn well(_: &str) -> Trick {
    Trick::None
}

#[test]
fn everybody_registers_with_a_system_that_it_starts_and_the_report_says_so() {
    let run = load(
        "deploy",
        &["register", "--deploy", "--subscribers", "300", "--rate", "200", "--duration", "2s"],
    );
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
    assert!(run.report["deployed"]["cpu_us_per_registration"].as_f64().unwrap() > 0.0);
    let table = String::from_utf8(run.output.stdout.clone()).unwrap();
    assert!(table.contains(&format!("{started} begun")) && table.contains("verdict: "), "{table}");
}

#[test]
fn ues_migrate_by_all_25_steps_between_two_systems_that_it_starts() {
    let arguments = [
        "migrate",
        "--deploy",
        "--subscribers",
        "40",
        "--rate",
        "50",
        "--count",
        "40",
        "--duration",
        "20s",
        "--fail-if",
        "details.p50>600s",
    ];
    let run = load("migrate", &arguments);
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
fn pairs_are_lent_and_none_of_them_twice() {
    let arguments =
        ["identities", "--deploy", "--rate", "100", "--duration", "1s", "--threads", "2"];
    let run = load("identities", &arguments);
    run.check_code(0);
    let started = run.count("started");
    assert!(started > 40, "{}", run.report);
    assert_eq!((run.count("succeeded"), run.count("failed")), (started, 0), "{}", run.report);
    assert_eq!(run.report["latency_us"]["allocation"]["count"], started);
    let arguments = [
        "identities",
        "--deploy",
        "--concurrency",
        "4",
        "--count",
        "100",
        "--fail-if",
        "rate<1000000",
    ];
    let run = load("identities-closed", &arguments);
    run.check_code(3);
    assert_eq!(run.count("succeeded"), 100, "{}", run.report);
}

#[test]
fn vectors_are_asked_for_by_diameter_and_checked_with_the_keys() {
    let run = load(
        "cx",
        &["cx", "--deploy", "--subscribers", "20", "--concurrency", "5", "--count", "100"],
    );
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
    let arguments =
        ["cx", "--target", &to, "--subscribers", "10", "--concurrency", "1", "--count", "20"];
    let provisioned = [&arguments[..], &["--provision", &url]].concat();
    assert_eq!(load("cx-provisioned", &provisioned).count("succeeded"), 20);
    // Other keys than those that are there.
    let run = load("cx-wrong", &[&arguments[..], &["--key-seed", "2"]].concat());
    assert_eq!(run.causes(), [("mac".to_owned(), 20)], "{}", run.report);
    let run = load(
        "cx-unknown",
        &[&arguments[..4], &["30", "--count", "30", "--concurrency", "1"]].concat(),
    );
    assert_eq!(run.causes(), [("cx-5001".to_owned(), 20)], "{}", run.report);
    assert!(run.words("cx-5001").contains("USER_UNKNOWN"));
    // Somebody whom it does not know.
    let stranger =
        ["load", "cx", "--target", &to, "--origin-host", "stranger.a.example", "--quiet"];
    let output = migcore(&stranger).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn ues_refresh_over_one_connection_under_their_call_ids() {
    let run = load(
        "refresh",
        &[
            "refresh",
            "--deploy",
            "--tcp",
            "--subscribers",
            "50",
            "--concurrency",
            "8",
            "--count",
            "200",
            "--duration",
            "60s",
            "--algorithm",
            "AKAv2-SHA-256",
        ],
    );
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
    let run = load(
        "storm",
        &[
            "storm",
            "--target",
            &target(&registrar),
            "--from",
            file.path(),
            "--spread",
            "100ms",
            "--threads",
            "2",
        ],
    );
    run.check_code(0);
    assert_eq!((run.count("started"), run.count("succeeded")), (100, 100), "{}", run.report);
    assert_eq!((run.count("retried"), run.count("failed")), (10, 0));
    assert_eq!(run.causes(), [("503-to-challenge".to_owned(), 10)]);
    // They obeyed Retry-After: the slowest waited for a second, which counts.
    assert!(run.latency("registration", "max") >= Duration::from_secs(1));
}

#[test]
fn a_known_delay_is_reported_right_at_the_median_and_far_out() {
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
    let run = load(
        "delay",
        &[
            "register",
            "--target",
            &target(&registrar),
            "--from",
            file.path(),
            "--rate",
            "600",
            "--duration",
            "8s",
            "--t1",
            "4s",
            "--fail-if",
            "p99>200ms",
        ],
    );
    run.check_code(3);
    assert_eq!(run.count("failed"), 0, "{}", run.report);
    for (quantity, millis) in [("p50", 100), ("p99", 400), ("p99.9", 900)] {
        let (wanted, got) = (MILLISECOND * millis, run.latency("registration", quantity));
        // Never less; more by what a busy machine adds.
        assert!(
            got >= wanted && got < wanted + 90 * MILLISECOND,
            "{quantity}: {got:?} of {wanted:?}"
        );
        assert!(run.latency("challenge", quantity) >= wanted - MILLISECOND);
    }
    assert!(run.latency("response", "p50") < 90 * MILLISECOND, "the delay is in the first step");
}

#[test]
fn a_stall_counts_for_everybody_who_had_to_wait_for_it() {
    let stall = (Duration::from_secs(1), Duration::from_secs(1));
    let registrar = Registrar::start(AT_ONCE, well, Some(stall));
    let file = table("stall.csv", users(2_000));
    let run = load(
        "stall",
        &[
            "register",
            "--target",
            &target(&registrar),
            "--from",
            file.path(),
            "--rate",
            "100",
            "--arrivals",
            "even",
            "--duration",
            "4s",
            "--t1",
            "4s",
        ],
    );
    assert_eq!(run.count("started"), 399, "whoever came meanwhile has begun");
    // A quarter came during the stall, and a tenth of all waited for more than 0.6 s.
    assert!(run.latency("registration", "p90") > Duration::from_millis(500), "{}", run.report);
    assert!(run.latency("registration", "max") > Duration::from_millis(900), "{}", run.report);
}

#[test]
fn a_generator_that_was_kept_from_its_core_says_that_its_run_is_invalid() {
    let registrar = Registrar::start(AT_ONCE, well, None);
    let file = table("starved.csv", users(1_000));
    let target = target(&registrar);
    let arguments = [
        "register",
        "--target",
        &target,
        "--from",
        file.path(),
        "--rate",
        "100",
        "--duration",
        "4s",
        "--t1",
        "4s",
    ];
    let run = load_while("starved", &arguments, |process| {
        let signal = |name: &str| {
            let sent = Command::new("kill").args([name, &process.to_string()]).status();
            assert!(sent.unwrap().success());
        };
        thread::sleep(Duration::from_secs(1));
        signal("-STOP");
        thread::sleep(Duration::from_secs(1));
        signal("-CONT");
    });
    assert_eq!(run.output.status.code(), Some(4), "{:?}", run.output);
    assert_eq!(run.report["valid"], false);
    assert!(run.reasons().contains(&"late"), "{}", run.report);
    let said = String::from_utf8(run.output.stdout).unwrap();
    assert!(said.contains("INVALID") && said.contains("lower rate"), "what to do: {said}");
    assert!(run.page.contains("INVALID"));
}

#[test]
fn a_rate_beyond_what_the_generator_can_begin_is_invalid() {
    let registrar = Registrar::start(AT_ONCE, |_| Trick::Silent, None);
    let file = table("beyond.csv", users(1_000));
    let arguments = [
        "register",
        "--target",
        &target(&registrar),
        "--from",
        file.path(),
        "--rate",
        "1000000000",
        "--duration",
        "200ms",
        "--t1",
        "10ms",
    ];
    let run = load("beyond", &arguments);
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
    let run = load(
        "causes",
        &[
            "register",
            "--target",
            &target(&registrar),
            "--from",
            file.path(),
            "--concurrency",
            "1",
            "--count",
            "22",
            "--duration",
            "60s",
            "--t1",
            "20ms",
            "--fail-if",
            "failures>50%",
        ],
    );
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
    assert!(run.count("retransmissions") >= 2 * 5, "20, 60, 140, 300, 460 ms, ... until 1.28 s");
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
    let run = load(
        "sipp",
        &[
            "register",
            "--target",
            &target(&registrar),
            "--from",
            file.path(),
            "--concurrency",
            "4",
            "--count",
            "40",
        ],
    );
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
    let arguments = [
        "register",
        "--target",
        &to,
        "--from",
        written.path(),
        "--concurrency",
        "3",
        "--count",
        "60",
    ];
    let run = load("written", &arguments);
    assert_eq!(run.count("succeeded"), 60, "{}", run.report);
    // The same subscribers, put there by the generator itself.
    let arguments = [
        "register",
        "--target",
        &to,
        "--subscribers",
        "30",
        "--key-seed",
        "2",
        "--provision",
        &url,
        "--concurrency",
        "3",
        "--count",
        "60",
    ];
    let run = load("provisioned", &arguments);
    assert_eq!(run.count("succeeded"), 60, "{}", run.report);
}

#[test]
fn a_search_ends_at_a_rate_that_was_kept_and_says_what_it_tried() {
    let registrar = Registrar::start(|_| Duration::from_millis(30), well, None);
    let file = table("search.csv", users(400));
    // Nobody can keep the second threshold above 200 a second: there the search ends.
    let run = load(
        "search",
        &[
            "register",
            "--target",
            &target(&registrar),
            "--from",
            file.path(),
            "--search",
            "--rate",
            "80",
            "--duration",
            "500ms",
            "--arrivals",
            "even",
            "--fail-if",
            "failures>50%",
            "--fail-if",
            "rate>200",
        ],
    );
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
    assert!(!told || tried(false).any(|rate| rate > 150.0), "{}", run.report);
}

#[test]
fn the_page_stands_alone() {
    let registrar = Registrar::start(AT_ONCE, well, None);
    let file = table("page.csv", users(50));
    let arguments = [
        "register",
        "--target",
        &target(&registrar),
        "--from",
        file.path(),
        "--rate",
        "100",
        "--duration",
        "1s",
        "--fail-if",
        "p50>10s",
    ];
    let page = load("page", &arguments).page;
    assert_eq!(page.matches("<svg ").count(), 3);
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
