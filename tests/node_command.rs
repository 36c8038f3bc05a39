//! The command line: exit codes, and what it says.
#![cfg(feature = "node")]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

fn migcore(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_migcore")).args(arguments).output().unwrap()
}

/// A file of this test run, removed at the end.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // It may be gone; then there is nothing to remove.
        let _ = std::fs::remove_file(&self.0);
    }
}

const FREE_PORTS: &str = "[system]\ndomain = \"a.example\"\ninsecure = true\n[sip]\nlisten = \"127.0.0.1:0\"\n\
    [diameter]\nlisten = \"127.0.0.1:0\"\n[management]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
    [config_server]\nlisten = \"127.0.0.1:0\"\nlisten_partners = \"127.0.0.1:0\"\n\
    [storage]\nengine = \"memory\"\n";

#[test]
fn check_tells_every_mistake_and_ends_with_2() {
    let good = File::new("good.toml", FREE_PORTS);
    assert_eq!(migcore(&["check", "--config", good.path()]).status.code(), Some(0));

    let bad = File::new("bad.toml", "[system]\ndomain = \"a.example\"\n[sip]\nlissen = \"x\"\n");
    let output = migcore(&["check", "--config", bad.path()]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("line 4: sip.lissen is not a known key; did you mean listen?"), "{said}");

    assert_eq!(migcore(&["check"]).status.code(), Some(2), "no file named");
    assert_eq!(migcore(&["check", "--config", "/nonexistent"]).status.code(), Some(2));
    let reference = migcore(&["check", "--reference"]);
    let reference = File::new("reference.toml", &String::from_utf8(reference.stdout).unwrap());
    assert_eq!(migcore(&["check", "--config", reference.path()]).status.code(), Some(0));
}

#[test]
fn serve_ends_with_0_after_sigterm() {
    let config = File::new("serve.toml", FREE_PORTS);
    let mut child = Command::new(env!("CARGO_BIN_EXE_migcore"))
        .args(["serve", "--config", config.path()])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("system is up")));
    assert!(
        Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success()
    );
    assert!(lines.any(|line| line.contains("system is down")));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_second_signal_ends_a_system_at_once() {
    let config = File::new("twice.toml", FREE_PORTS);
    let mut child = Command::new(env!("CARGO_BIN_EXE_migcore"))
        .args(["serve", "--config", config.path()])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let up = lines.find(|line| line.contains("system is up")).unwrap();
    let (_, management) = up.split_once("management: Some(").unwrap();
    let management: SocketAddr = management.split_once(')').unwrap().0.parse().unwrap();
    // It waits for the rest of a request that has begun.
    let mut slow = TcpStream::connect(management).unwrap();
    slow.write_all(
        b"POST /v1/subscribers HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-ndjson\r\n\
          Content-Length: 9\r\nExpect: 100-continue\r\n\r\n",
    )
    .unwrap();
    slow.read_exact(&mut [0; 25]).unwrap();
    let terminate = || {
        let mut kill = Command::new("kill");
        assert!(kill.args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    };
    terminate();
    while TcpStream::connect(management).is_ok() {
        thread::sleep(Duration::from_millis(5));
    }
    terminate();
    assert!(lines.any(|line| line.contains("ended at once by a second signal")));
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn serve_without_a_key_ends_with_2() {
    let text = FREE_PORTS.replace("engine = \"memory\"", "directory = \"/nonexistent/store\"");
    let config = File::new("no-key.toml", &text);
    let mut command = Command::new(env!("CARGO_BIN_EXE_migcore"));
    command.args(["serve", "--config", config.path()]).env_remove("MIGCORE_STORAGE_KEY");
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("no storage key"), "{said}");
}

#[test]
fn demo_prints_every_message_with_its_step() {
    let output = migcore(&["demo", "--json", "--set", "workers=1", "--set", "sip.expires_max=2h"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let entries: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(entries.iter().any(|entry| entry["step"] == "MIG-25"), "{text}");
    assert!(entries.iter().any(|entry| entry["protocol"] == "Diameter"), "{text}");

    let drawn = migcore(&["demo", "--plain", "--tcp"]);
    assert_eq!(drawn.status.code(), Some(0));
    let drawn = String::from_utf8(drawn.stdout).unwrap();
    assert!(drawn.contains("MIG-24") && !drawn.contains('\x1b'), "{drawn}");
}

#[test]
fn demo_keeps_what_is_stored_where_it_is_told_to_and_goes_on_with_it() {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("demo-data");
    let _ = std::fs::remove_dir_all(&directory);
    let arguments = ["demo", "--json", "--data-dir", directory.to_str().unwrap()];
    for _ in 0..2 {
        let output = migcore(&arguments);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    let mode = directory.join("storage.key").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn demo_shows_each_failure_branch_on_the_wire() {
    for fault in migcore::node::demo::Fault::ALL {
        let output = migcore(&["demo", "--json", "--fault", fault.name()]);
        assert_eq!(output.status.code(), Some(0), "{fault}: {output:?}");
        assert!(!output.stdout.is_empty(), "{fault}");
    }
    let unknown = migcore(&["demo", "--fault", "nonsense"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8(unknown.stderr).unwrap().contains("wrong-key"), "names the faults");
}

#[test]
fn demo_tells_what_is_wrong_with_a_setting() {
    let output = migcore(&["demo", "--set", "sip.vector_timeout=4"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("sip.vector_timeout") && said.contains("\"4s\""), "{said}");
}

#[test]
fn provisioning_says_which_system_cannot_be_reached() {
    let output = migcore(&[
        "provision",
        "sipp-csv",
        "--subscribers",
        "1",
        "--output",
        "unused.csv",
        "--home",
        "http://127.0.0.1:9",
        "--partner",
        "http://127.0.0.1:9",
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("http://127.0.0.1:9"));
}
