//! Against programs that others wrote: Debian's SIPp registers users of A in B, and tshark looks at
//! every frame.
//!
//! `tests/run` installs the peers and sets `MIGCORE_PEERS=required`: a missing one then fails the test.
//! Without it, a test whose peer is missing says so on standard error and is left out.

#![cfg(feature = "node")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests")]

#[path = "peers/capture.rs"]
mod capture;
#[path = "peers/demo.rs"]
mod demo;
mod free_ports;
mod tshark;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use capture::Capture;
use demo::{Demo, provision};

/// Whether `program` is there. If not: fails where peers are required, else says what is left out.
fn has_peer(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok()
        || Command::new(program).arg("-v").output().is_ok();
    let required = std::env::var("MIGCORE_PEERS").is_ok_and(|value| value == "required");
    assert!(found || !required, "{program} is missing: tests/run installs it");
    if !found {
        use std::io::Write;
        // past the test harness, which would keep the words of a passing test to itself
        let _ =
            writeln!(std::io::stderr(), "left out: {program} is missing (tests/run installs it)");
    }
    found
}

fn scenario(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sip-fixtures/sipp").join(name)
}

/// A folder of this test run for the files of the peers.
fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// SIPp 3.6.1 ends about one process in 150 at its first `[authentication]`, whatever keys and challenge are,
/// with this word about its own scenario. A process that did is started again, so often at most.
const FALSE_START: &str = "Syntax error or invalid [keyword]";
const FALSE_STARTS_MAX: usize = 4;

/// Runs one SIPp scenario to its end.
fn sipp(
    demo: &Demo,
    file: &str,
    users: &Path,
    (calls, rate): (usize, usize),
    transport: &str,
) -> Outcome {
    let mut false_starts = 0;
    loop {
        let (outcome, errors) = start_sipp(demo, file, users, (calls, rate), transport);
        let nothing_done = outcome.successful + outcome.failed == 0;
        if !(nothing_done && errors.contains(FALSE_START)) || false_starts == FALSE_STARTS_MAX {
            return Outcome { false_starts, ..outcome };
        }
        false_starts += 1;
    }
}

/// Runs SIPp at the first of these rates, calls a second, for which the machine has time: others may use it, and then
/// answers are late, and SIPp repeats its requests. The last rate counts as it is.
fn at_leisure(rates: [usize; 3], mut run: impl FnMut(usize) -> Outcome) -> Outcome {
    let [first, second, last] = rates;
    let in_time = |rate: &usize| {
        let outcome = run(*rate);
        (outcome.retransmissions == 0).then_some(outcome)
    };
    let outcome = [first, second].iter().find_map(in_time);
    outcome.unwrap_or_else(|| run(last))
}

/// Runs SIPp once; also returns what it wrote about errors.
fn start_sipp(
    demo: &Demo,
    file: &str,
    users: &Path,
    (calls, rate): (usize, usize),
    transport: &str,
) -> (Outcome, String) {
    let folder = users.parent().unwrap();
    let errors = folder.join(format!("{file}-{transport}.errors"));
    let _ = std::fs::remove_file(&errors); // an earlier run's, if there is one
    let output = Command::new("sipp")
        .current_dir(folder)
        .arg("-sf")
        .arg(scenario(file))
        .arg("-inf")
        .arg(users)
        .args(["-m", &calls.to_string(), "-r", &rate.to_string(), "-l", "10000"])
        .args(["-t", transport, "-nostdin", "-timeout", "120s", "-timeout_error"])
        .args(["-trace_stat", "-fd", "1", "-stf"])
        .arg(folder.join(format!("{file}-{transport}.csv")))
        .args(["-trace_err", "-error_file"])
        .arg(&errors)
        .args(["-i", "127.0.0.1", &demo.sip_of_partner()])
        .output()
        .unwrap();
    let errors = std::fs::read_to_string(&errors).unwrap_or_default();
    (Outcome::of(&output, &errors), errors)
}

/// What SIPp's last screen says.
#[derive(Debug)]
struct Outcome {
    successful: usize,
    failed: usize,
    retransmissions: usize,
    code: Option<i32>,
    /// The last screen, and what SIPp wrote about errors.
    screen: String,
    /// Processes that ended before they did anything.
    false_starts: usize,
}

impl Outcome {
    fn of(output: &Output, errors: &str) -> Self {
        let screen = String::from_utf8_lossy(&output.stdout).into_owned() + errors;
        let last = |name: &str| -> usize {
            let line = screen.lines().rev().find(|line| line.trim_start().starts_with(name));
            let number = line.and_then(|line| line.rsplit('|').next()?.trim().parse().ok());
            number.unwrap_or_else(|| panic!("no `{name}` in:\n{screen}"))
        };
        // message name, arrow, messages, retransmissions
        let rows: Vec<usize> = screen
            .lines()
            .filter_map(|line| line.split("REGISTER ---------->").nth(1))
            .filter_map(|counts| counts.split_whitespace().nth(1)?.parse().ok())
            .collect();
        assert!(rows.len() >= 2, "no counts of REGISTER in:\n{screen}");
        let retransmissions = rows.iter().sum();
        Self {
            successful: last("Successful call"),
            failed: last("Failed call"),
            retransmissions,
            code: output.status.code(),
            screen,
            false_starts: 0,
        }
    }
}

#[test]
fn sipp_registers_2000_users_of_a_in_b_at_200_a_second() {
    if !has_peer("sipp") {
        return;
    }
    let demo = Demo::keep(&["sip_database.avoid_zero_octet_in_res=true"]);
    let users = scratch("register").join("users.csv");
    provision(&demo, 2_000, &users);
    let fetched = || demo.partner_metric("migcore_vectors_fetched_total{peer=\"sipdb.a.example\"}");
    let mut before = 0;
    let outcome = at_leisure([200, 100, 50], |rate| {
        before = fetched();
        sipp(&demo, "register.xml", &users, (2_000, rate), "u1")
    });
    assert_eq!(
        (outcome.successful, outcome.failed, outcome.code),
        (2_000, 0, Some(0)),
        "{}",
        outcome.screen
    );
    // Each false start may have asked for a vector too.
    let vectors = 2_000..=2_000 + u64::try_from(outcome.false_starts).unwrap();
    assert!(
        vectors.contains(&(fetched() - before)),
        "one vector a registration, fetched from A over Cx"
    );
    assert_eq!(demo.partner_metric("migcore_registrations"), 2_000, "the demo's own UE has left");
}

#[test]
fn sipp_refreshes_deregisters_fails_and_comes_through_a_pcscf() {
    if !has_peer("sipp") {
        return;
    }
    let demo = Demo::keep(&["sip_database.avoid_zero_octet_in_res=true"]);
    let users = scratch("scenarios").join("users.csv");
    provision(&demo, 50, &users);
    // de-registration first: it removes its own contact, and each run of SIPp has another
    for (file, registered) in [
        ("deregister.xml", 0),
        ("register.xml", 50),
        ("refresh.xml", 50),
        ("wrong-key.xml", 50),
        ("path.xml", 50),
    ] {
        for transport in ["u1", "t1"] {
            let outcome = sipp(&demo, file, &users, (50, 100), transport);
            assert_eq!(
                (outcome.successful, outcome.failed),
                (50, 0),
                "{file} {transport}: {}",
                outcome.screen
            );
            assert_eq!(
                demo.partner_metric("migcore_registrations"),
                registered,
                "{file} {transport}"
            );
        }
    }
}

/// The keyword takes a password as well: then the very same scenario answers by MD5.
#[test]
fn sipp_registers_with_a_password_of_the_partner_that_a_file_gave_it() {
    if !has_peer("sipp") {
        return;
    }
    let demo = Demo::keep(&[]);
    let folder = scratch("password");
    let (users, table) = (folder.join("users.csv"), folder.join("guests.csv"));
    let (mut injected, mut rows) = ("SEQUENTIAL\n".to_owned(), "impi,impu,password\n".to_owned());
    for n in 0..20 {
        let impi = format!("guest-{n}@b.example");
        let password = format!("password-of-guest-{n}");
        rows += &format!("{impi},sip:guest-{n}@b.example,{password}\n");
        injected += &format!(
            "{impi};guest-{n};b.example;[authentication username={impi} password={password}]\n"
        );
    }
    std::fs::write(&users, injected).unwrap();
    std::fs::write(&table, rows).unwrap();
    let loaded = Command::new(env!("CARGO_BIN_EXE_migcore"))
        .args(["provision", "load"])
        .arg(&table)
        .args(["--system", &format!("http://127.0.0.1:{}", demo.base_port + 12)])
        .output()
        .unwrap();
    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
    for (file, registered) in [("register.xml", 20), ("wrong-key.xml", 20)] {
        let outcome = sipp(&demo, file, &users, (20, 100), "u1");
        let screen = &outcome.screen;
        assert_eq!((outcome.successful, outcome.failed), (20, 0), "{file}: {screen}");
        assert_eq!(demo.partner_metric("migcore_registrations"), registered, "{file}");
    }
}

/// SIPp up to 3.6.1 cuts RES at a 00 octet: 1 - (255/256)^8 = 3.1 % of random challenges. The answer
/// is wrong then, and refused.
#[test]
fn sipp_3_6_fails_three_percent_by_itself_when_res_may_hold_a_zero_octet() {
    if !has_peer("sipp") {
        return;
    }
    let version = Command::new("sipp").arg("-v").output().unwrap();
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let demo = Demo::keep(&[]);
    let users = scratch("zero").join("users.csv");
    provision(&demo, 2_000, &users);
    let outcome =
        at_leisure([400, 100, 25], |rate| sipp(&demo, "register.xml", &users, (2_000, rate), "u1"));
    assert_eq!(outcome.successful + outcome.failed, 2_000);
    if outcome.retransmissions > 0 {
        eprintln!("not counted: the machine has no time for 25 a second");
    } else if version.contains("v3.6") {
        // 62 expected, standard deviation 7.8
        assert!((20..=110).contains(&outcome.failed), "{}", outcome.screen);
    } else {
        assert_eq!(outcome.failed, 0, "{}", outcome.screen);
    }
}

#[test]
fn every_frame_of_a_sipp_run_dissects_and_no_home_identity_crosses() {
    if !(has_peer("sipp") && has_peer("tshark")) {
        return;
    }
    let demo = Demo::keep(&["sip_database.avoid_zero_octet_in_res=true"]);
    let folder = scratch("capture");
    let users = folder.join("users.csv");
    let capture = Capture::start(&folder.join("run.pcapng"), demo.base_port);
    provision(&demo, 200, &users);
    for transport in ["u1", "t1"] {
        let outcome = sipp(&demo, "register.xml", &users, (200, 200), transport);
        assert_eq!((outcome.successful, outcome.failed), (200, 0), "{}", outcome.screen);
    }
    let frames = capture.stop();
    let messages = frames.sip_messages();
    // Answers that leave together are one frame on loopback, in which the first of them is seen.
    assert!(messages >= 1_200, "{messages} SIP messages in {} frames", frames.count("sip"));
    assert!(frames.count("diameter.cmd.code == 303") >= 400, "MAR and MAA for each registration");
    assert_eq!(frames.faults(), Vec::<String>::new());

    let diameter = frames.octets_of_port(demo.base_port + 1);
    let csc17 = frames.octets_of_port(demo.base_port + 15);
    let between = [&diameter[..], &csc17].concat();
    assert!(between.len() > 100_000, "the stream between the systems was captured");
    assert!(
        contains(&between, b"out-"),
        "the search finds the outbound identities, which do cross"
    );
    let homes = demo.home_users(200);
    assert!(!homes.is_empty());
    for home in &homes {
        for shown in capture::spellings(home) {
            assert!(
                !contains(&between, &shown),
                "a home identity crosses as {}",
                String::from_utf8_lossy(&shown)
            );
        }
    }
    assert!(contains(&csc17, b"officer-"), "the search finds the names that do cross");
    let lent = demo::first_column(&users);
    assert!(contains(&csc17, lent.as_bytes()), "the partner tells the home what it lent");
    assert!(!contains(&diameter, lent.as_bytes()), "an inbound identity crosses by Diameter");
}

fn contains(octets: &[u8], piece: &[u8]) -> bool {
    octets.windows(piece.len()).any(|window| window == piece)
}

#[test]
fn the_ladder_matches_the_capture_one_to_one() {
    if !has_peer("tshark") {
        return;
    }
    let folder = scratch("ladder");
    let base_port = free_ports::free_ports(demo::PORTS);
    let capture = Capture::start(&folder.join("demo.pcapng"), base_port);
    let ladder = demo::run_json(base_port, &["--plain"]);
    let frames = capture.stop();
    assert_eq!(frames.faults(), Vec::<String>::new());

    let wanted = [1, 7, 12, 13, 15, 18, 19, 22, 23, 24].map(|number| format!("MIG-{number}"));
    let on_the_wire: Vec<_> = ladder
        .iter()
        .filter(|line| wanted.iter().any(|step| line["step"] == step.as_str()))
        .filter(|line| line["octets"].as_u64() != Some(0))
        .collect();
    let ladder_rows: Vec<(u64, u64, u64)> =
        on_the_wire.iter().map(|line| demo::ports_and_octets(line)).collect();
    let mut captured = frames.messages();
    captured.retain(|row| row.procedure);
    let capture_rows: Vec<(u64, u64, u64)> =
        captured.iter().map(|row| (row.from, row.to, row.octets)).collect();
    for step in wanted {
        assert!(
            on_the_wire.iter().any(|line| line["step"] == step.as_str()),
            "{step} is not in the ladder"
        );
    }
    let (mut one, mut two) = (ladder_rows.clone(), capture_rows.clone());
    one.sort_unstable();
    two.sort_unstable();
    assert_eq!(
        one, two,
        "every line has its frame and every frame its line\nladder {ladder_rows:?}\ncapture {capture_rows:?}"
    );
}

/// What passes between the parties in any protocol: methods, credentials, identities.
const READABLE: [&[u8]; 6] =
    [b"REGISTER", b"HTTP/1.1", b"Bearer ", b"officer-alice", b"@b.example", b"scscf.b.example"];

#[test]
fn over_tls_nothing_is_readable_on_the_wire_but_by_the_key_log() {
    if !has_peer("tshark") {
        return;
    }
    let folder = scratch("tls");
    let keys = folder.join("keys.log");
    let _ = std::fs::remove_file(&keys); // an earlier run's, if there is one
    let base_port = free_ports::free_ports(demo::PORTS);
    let capture = Capture::start(&folder.join("tls.pcapng"), base_port);
    demo::run_json_with_keys(base_port, &keys);
    let tls = capture.stop();
    let capture = Capture::start(&folder.join("plain.pcapng"), base_port);
    demo::run_json(base_port, &["--plain", "--tcp"]);
    let plain = capture.stop();

    let (tls_octets, plain_octets) = (tls.all_octets(), plain.all_octets());
    assert!(tls_octets.len() > plain_octets.len(), "as much has passed");
    for piece in READABLE {
        let shown = String::from_utf8_lossy(piece);
        assert!(contains(&plain_octets, piece), "the search finds {shown} where it can be read");
        assert!(!contains(&tls_octets, piece), "{shown} can be read");
    }
    assert_eq!(tls.count("udp"), 0, "nothing goes by datagrams");
    for (protocol, least) in [
        ("sip.CSeq.method == \"REGISTER\"", 16),
        ("diameter.cmd.code == 303", 2),
        ("http.request.uri == \"/csc-4/v1/connection-details\"", 2),
        ("http.request.uri == \"/csc-17/v1/system-access\"", 2),
    ] {
        let found = tls.count_opened(&keys, protocol);
        assert!(found >= least, "{protocol}: {found} by the key log");
    }
}

#[test]
fn over_tls_nothing_that_administrators_exchange_is_readable() {
    if !has_peer("tshark") {
        return;
    }
    let folder = scratch("tls-acm");
    let base_port = free_ports::free_ports(demo::PORTS);
    let run = |file: &str, arguments: &[&str]| {
        let capture = Capture::start(&folder.join(file), base_port);
        demo::run_json(base_port, &[&["acm", "--procedure", "grp"], arguments].concat());
        capture.stop().all_octets()
    };
    let (tls, plain) = (run("tls.pcapng", &[]), run("plain.pcapng", &["--plain"]));
    for piece in [&b"HTTP/1.1"[..], b"/acm/v1/", b"Bearer ", b"sip:a.example"] {
        let shown = String::from_utf8_lossy(piece);
        assert!(contains(&plain, piece), "the search finds {shown} where it can be read");
        assert!(!contains(&tls, piece), "{shown} can be read");
    }
}

#[test]
fn the_demo_shows_steps_1_to_25_in_order_and_ends_with_success() {
    let ladder = demo::run_json(0, &[]);
    let steps: Vec<&str> = ladder.iter().filter_map(|line| line["step"].as_str()).collect();
    let mut rest = steps.as_slice();
    for number in 1..=25 {
        let label = format!("MIG-{number}");
        let at = rest.iter().position(|step| *step == label);
        let at =
            at.unwrap_or_else(|| panic!("{label} is missing after its predecessor in {steps:?}"));
        rest = &rest[at + 1..];
    }
    for line in &ladder {
        for key in ["step", "from", "to", "protocol", "summary", "octets"] {
            assert!(line.get(key).is_some(), "{key} is missing in {line}");
        }
    }
}
