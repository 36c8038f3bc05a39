//! Migration without interconnection, as `migcore demo isolated` shows it: two systems without a link, a UE between them,
//! and what of it is on the wire.
#![cfg(feature = "node")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "test code"
)]

mod tshark;

use std::{
    path::Path,
    process::{Command, Output},
    sync::{Mutex, PoisonError},
};

use migcore::node::demo::isolated::IsolatedFault;
use serde_json::Value;
use tshark::Tshark;

/// Addresses of the two systems.
const HOME: &str = "127.0.0.2";
const PARTNER: &str = "127.0.0.3";

/// One at a time: all use the same two addresses, and a capture is of all that they see.
static ALONE: Mutex<()> = Mutex::new(());

fn demo(arguments: &[&str]) -> Output {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    run(arguments)
}

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_migcore"));
    // What passwords cost is not what this is about.
    command.args(["demo", "isolated", "--json", "--set", "idms.password_memory_kib=64"]);
    command.args(["--set", "idms.password_passes=1"]).args(arguments).output().unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The place of the first message from one party to another, at `from` or later, whose summary has this in it.
fn place(lines: &[Value], after: usize, (from, to): (&str, &str), what: &str) -> usize {
    let is_it = |line: &Value| {
        line["from"] == from && line["to"] == to && line["summary"].as_str().unwrap().contains(what)
    };
    let found = lines.iter().enumerate().skip(after).find(|(_, line)| is_it(line));
    found.unwrap_or_else(|| panic!("no {what} from {from} to {to} after line {after}")).0
}

#[test]
fn iso_1_the_ue_contacts_the_partner_with_what_it_took_along_and_nothing_is_sent_home() {
    let output = demo(&[]);
    assert!(output.status.success(), "{}", said(&output));
    let lines = lines(&output);
    let steps: Vec<&str> = lines.iter().filter_map(|line| line["step"].as_str()).collect();
    assert_eq!(steps, ["ISO-1", "ISO-2"]);
    let (ue, home, partner) = ("UE", "a.example", "idms.b.example");
    let stopped = place(&lines, 0, (home, home), "stopped");
    let before = [
        place(&lines, 0, (ue, "idms.a.example"), "POST /authorize"),
        place(&lines, 0, (ue, "cms.a.example"), "GET org.3gpp.mcptt.user-profile"),
        place(&lines, 0, (ue, "idms.a.example"), "token-exchange"),
    ];
    assert!(before.is_sorted() && before[2] < stopped, "{before:?} {stopped}");
    let contact = place(&lines, stopped, (ue, partner), "jwt-bearer");
    assert_eq!(lines[contact]["step"], "ISO-1");
    let checked = place(&lines, contact, (partner, partner), "the user may migrate");
    assert_eq!(lines[checked]["step"], "ISO-2");
    let by_key = place(&lines, checked, ("scscf.b.example", ue), "200 OK");
    let by_password = place(&lines, by_key + 1, ("scscf.b.example", ue), "200 OK");
    let profile =
        place(&lines, by_password, (ue, "cms.b.example"), "GET org.3gpp.mcptt.user-profile");
    let nothing = place(&lines, profile, (home, home), "0 connections and datagrams");
    assert_eq!(nothing, lines.len() - 1);
    for line in &lines[stopped..] {
        for party in [&line["from"], &line["to"]] {
            let party = party.as_str().unwrap();
            assert!(party == home || !party.ends_with(".a.example"), "{line}");
        }
        for address in [&line["local"], &line["remote"]] {
            assert!(!address.as_str().unwrap_or_default().starts_with(HOME), "{line}");
        }
    }
}

#[test]
fn scenario_64_the_partner_authorises_the_service_by_register_and_by_publish_without_the_home() {
    let output = demo(&[]);
    assert!(output.status.success(), "{}", said(&output));
    let lines = lines(&output);
    let (ue, core, mc) = ("UE", "scscf.b.example", "mc.b.example");
    let stopped = place(&lines, 0, ("a.example", "a.example"), "stopped");
    let contact = place(&lines, stopped, (ue, "idms.b.example"), "jwt-bearer");
    // With a key: the token comes in the UE's REGISTER, and reaches the MC server in a third-party REGISTER.
    let registered = place(&lines, contact, (core, ue), "200 OK");
    let told = place(&lines, registered, (core, mc), "REGISTER sip:mc.b.example");
    let authorised = place(&lines, told, (mc, mc), "service authorised: mcptt");
    let answered = place(&lines, told, (mc, core), "200 OK");
    let ended = place(&lines, answered, (core, mc), "REGISTER sip:mc.b.example");
    assert!(place(&lines, ended, (mc, mc), "service logged off: mcptt") > authorised);
    // With a password: by PUBLISH, which the core passes on; after the log-off the user is not known.
    let published = place(&lines, ended, (ue, core), "PUBLISH sip:");
    let passed_on = place(&lines, published, (core, mc), "PUBLISH sip:");
    let authorised = place(&lines, passed_on, (mc, mc), "service authorised: mcptt");
    let answered = place(&lines, passed_on, (core, ue), "200 OK");
    let off = place(&lines, authorised.max(answered), (mc, mc), "service logged off: mcptt");
    place(&lines, off, (core, ue), "404 Not Found");
    let nothing = place(&lines, off, ("a.example", "a.example"), "0 connections and datagrams");
    assert_eq!(nothing, lines.len() - 1, "and nothing was sent home");
}

#[test]
fn every_failure_branch_is_seen_and_none_asks_the_home() {
    for fault in IsolatedFault::ALL {
        let output = demo(&["--fault", fault.name()]);
        assert!(output.status.success(), "{fault}: {}", said(&output));
        let lines = lines(&output);
        let last = lines.last().unwrap()["summary"].as_str().unwrap();
        assert!(last.starts_with("0 connections and datagrams"), "{fault}: {last}");
        let may_come = lines.iter().any(|line| line["step"] == "ISO-2");
        let comes = matches!(fault, IsolatedFault::NoSipCredentials | IsolatedFault::OtherClient)
            || WITHOUT_SERVICE.iter().any(|(it, _)| *it == fault);
        assert_eq!(may_come, comes, "{fault}");
    }
}

/// Faults in which the MC server refuses, and why it says that it does.
const WITHOUT_SERVICE: [(IsolatedFault, &str); 3] = [
    (IsolatedFault::ForeignAccessToken, "it is no access token of a key known here"),
    (IsolatedFault::ExpiredAccessToken, "it has expired"),
    (IsolatedFault::NoServiceScope, "its scope does not have the service"),
];

#[test]
fn a_user_whose_access_token_the_mc_server_does_not_take_is_registered_without_the_service() {
    let (ue, core, mc) = ("UE", "scscf.b.example", "mc.b.example");
    for (fault, why) in WITHOUT_SERVICE {
        let output = demo(&["--fault", fault.name()]);
        assert!(output.status.success(), "{fault}: {}", said(&output));
        let lines = lines(&output);
        // By REGISTER: the registration stands, and nobody is bound to it.
        let contact = place(&lines, 0, (ue, "idms.b.example"), "jwt-bearer");
        let registered = place(&lines, contact, (core, ue), "200 OK");
        let told = place(&lines, registered, (core, mc), "REGISTER sip:mc.b.example");
        let not_taken = place(&lines, told, (mc, mc), why);
        place(&lines, told, (mc, core), "200 OK");
        let unknown = place(&lines, not_taken, (core, ue), "404 Not Found, warning 141");
        // By PUBLISH: it fails.
        let not_taken = place(&lines, unknown, (mc, mc), why);
        let failed = place(&lines, not_taken, (core, ue), "403 Forbidden, warning 101");
        place(&lines, failed, (core, ue), "200 OK");
        let authorised = |line: &Value| {
            line["summary"].as_str().is_some_and(|summary| summary.contains("service authorised"))
        };
        assert!(!lines.iter().any(authorised), "{fault}");
    }
}

/// Whether tshark is there. Where peers are required, it is.
fn has_tshark() -> bool {
    let found = Command::new("tshark").arg("--version").output().is_ok();
    let required = std::env::var("MIGCORE_PEERS").is_ok_and(|value| value == "required");
    assert!(found || !required, "tshark is missing: tests/run installs it");
    found
}

#[test]
fn a_capture_of_all_that_the_partner_sends_holds_no_packet_to_the_home() {
    if !has_tshark() {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("isolated.pcapng");
    let capture = Tshark::start(&file, &format!("host {HOME} or host {PARTNER}"));
    // Apart from the ports that demonstrations of others take by themselves: those are left out below.
    let base_port = 12_000 + std::process::id() % 1_100 * 7;
    let output = run(&["--base-port", &base_port.to_string()]);
    capture.stop();
    assert!(output.status.success(), "{}", said(&output));
    let lines = lines(&output);
    let stopped = lines.iter().find(|line| {
        line["summary"].as_str().is_some_and(|summary| summary.starts_with("stopped"))
    });
    // Microseconds since the epoch; the home's last own packets left before.
    let stopped = stopped.unwrap()["at"].as_u64().unwrap();
    let after = format!("frame.time_epoch > {}.{:06}", stopped / 1_000_000, stopped % 1_000_000);
    let count = |filter: &str| {
        let output = Command::new("tshark")
            .args([
                "-r",
                file.to_str().unwrap(),
                "-Y",
                filter,
                "-T",
                "fields",
                "-e",
                "frame.number",
            ])
            .output()
            .unwrap();
        assert!(output.status.success(), "{filter}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().count()
    };
    let sent = count(&format!("ip.src == {PARTNER} && {after}"));
    assert!(sent >= 10, "{sent} packets of the partner");
    assert!(
        count(&format!("ip.dst == {HOME} && !({after})")) > 20,
        "the home was spoken to before"
    );
    assert_eq!(count(&format!("ip.src == {PARTNER} && ip.dst == {HOME}")), 0);
    let others = "tcp.dstport in {20000..32000} || udp.dstport in {20000..32000}";
    let to_home = format!("ip.dst == {HOME} && {after} && !({others})");
    assert_eq!(count(&to_home), 0, "from anybody");
    std::fs::remove_file(&file).unwrap();
}
