//! The demo as a process: two systems on loopback ports.
#![allow(unreachable_pub, reason = "a part of one test binary")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::free_ports::free_ports;

/// Ports that the demo takes from its base port on: A's SIP, Diameter, management, admin, CSC-4 and CSC-17; B's
/// in the same order from the eleventh on. The ACM servers have two more of each.
pub const PORTS: u16 = 20;

/// A demo that was left running.
pub struct Demo {
    pub base_port: u16,
    process: Child,
}

impl Demo {
    /// Starts `migcore demo --plain --keep` with settings, and waits until it says how to reach it.
    pub fn keep(settings: &[&str]) -> Self {
        let base_port = free_ports(PORTS);
        let mut command = Command::new(env!("CARGO_BIN_EXE_migcore"));
        command.args([
            "demo",
            "--plain",
            "--json",
            "--keep",
            "--base-port",
            &base_port.to_string(),
            "--set",
            "config_server.static_tokens=true",
        ]);
        for setting in settings {
            command.args(["--set", setting]);
        }
        let mut process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(process.stderr.take().unwrap());
        let mut all = String::new();
        while !all.contains("SIGINT") {
            let read = said.read_line(&mut all).unwrap();
            assert!(read > 0, "the demo ended: {all}");
        }
        Self { base_port, process }
    }

    /// Where B's SIP core listens.
    pub fn sip_of_partner(&self) -> String {
        format!("127.0.0.1:{}", self.base_port + 10)
    }

    /// The value of one metric of B; 0 if it has not been counted yet.
    pub fn partner_metric(&self, name: &str) -> u64 {
        let text = get(self.base_port + 13, "/metrics");
        let line = text
            .lines()
            .find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    /// User parts of the subscribers that [`provision`] makes at A.
    pub fn home_users(&self, count: usize) -> Vec<String> {
        (0..count)
            .step_by(17)
            .map(|number| format!("sipp-{number:07}"))
            .filter(|user| {
                let path = format!("/v1/subscribers/{user}@a.example");
                get(self.base_port + 2, &path).contains(user)
            })
            .collect()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

/// Provisions users and writes the injection file.
pub fn provision(demo: &Demo, subscribers: usize, output: &Path) {
    let url = |offset: u16| format!("http://127.0.0.1:{}", demo.base_port + offset);
    let status = Command::new(env!("CARGO_BIN_EXE_migcore"))
        .args(["provision", "sipp-csv", "--subscribers", &subscribers.to_string(), "--output"])
        .arg(output)
        .args(["--home", &url(2), "--home-csc4", &url(4), "--partner", &url(12)])
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
}

/// Runs `migcore demo --json` with more arguments to its end and returns its lines.
pub fn run_json(base_port: u16, arguments: &[&str]) -> Vec<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_migcore"));
    command.arg("demo").args(arguments).args(["--json", "--base-port", &base_port.to_string()]);
    lines_of(command)
}

/// The same over TLS, whose keys are written to `keys`.
pub fn run_json_with_keys(base_port: u16, keys: &Path) -> Vec<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_migcore"));
    command.args(["demo", "--json", "--base-port", &base_port.to_string()]);
    command.env("SSLKEYLOGFILE", keys);
    lines_of(command)
}

fn lines_of(mut command: Command) -> Vec<Value> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Source port, destination port and octets of a ladder line.
pub fn ports_and_octets(line: &Value) -> (u64, u64, u64) {
    let port = |key: &str| line[key].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap();
    (port("local"), port("remote"), line["octets"].as_u64().unwrap())
}

/// The user part of the first inbound identity in an injection file.
pub fn first_column(users: &Path) -> String {
    let text = std::fs::read_to_string(users).unwrap();
    text.lines().nth(1).unwrap().split('@').next().unwrap().to_owned()
}

fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}
