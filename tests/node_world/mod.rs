//! Running systems for the tests of `node`, on free ports of loopback.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot be set up has failed"
)]

pub mod described;
pub mod flaky;

use std::{fmt::Write, net::SocketAddr, time::Duration};

use migcore::node::{Options, RunningSystem, config::Config};

/// The configuration of `domain` with all sockets on free ports, and more TOML of the caller's.
pub fn toml(domain: &str, more: &str) -> String {
    let mut toml = String::new();
    if more.contains("[mc_server]\n") {
        let roles = ["sip_core", "sip_database", "config_server", "idms", "mc_server"];
        writeln!(toml, "roles = {roles:?}").unwrap();
    }
    writeln!(toml, "[system]\ndomain = \"{domain}\"").unwrap();
    if !more.contains("[tls]\n") {
        toml += "insecure = true\n";
    }
    for section in ["sip", "diameter", "management", "admin"] {
        if !more.contains(&format!("[{section}]\n")) {
            write!(toml, "[{section}]\nlisten = \"127.0.0.1:0\"\n").unwrap();
        }
    }
    if !more.contains("[config_server]\n") {
        toml += "[config_server]\nstatic_tokens = true\nlisten = \"127.0.0.1:0\"\nlisten_partners = \"127.0.0.1:0\"\n";
    }
    toml + more
}

/// Starts a system of `domain`.
pub fn start(domain: &str, more: &str) -> RunningSystem {
    start_with(domain, more, Options::default())
}

/// Starts a system of `domain` with options.
pub fn start_with(domain: &str, more: &str, options: Options) -> RunningSystem {
    RunningSystem::start(Config::parse(&toml(domain, more)).unwrap(), options).unwrap()
}

/// TOML of a peer that connects to us, or that we connect to.
pub fn peer(host: &str, kind: &str, address: Option<SocketAddr>) -> String {
    let realm = host.split_once('.').unwrap().1;
    let address = address.map(|address| format!("address = \"{address}\"\n")).unwrap_or_default();
    format!(
        "[[diameter.peers]]\nhost = \"{host}\"\nrealm = \"{realm}\"\nkind = \"{kind}\"\n{address}"
    )
}

/// Waits until `condition` holds, 10 s at most.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(condition(), "{what}");
}

/// The value of a counter or gauge, 0 if it has not been counted yet.
pub fn metric(system: &RunningSystem, name: &str) -> f64 {
    let text = system.metrics();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}
