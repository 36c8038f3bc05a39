//! No log line tells whom a message is about, nor any key: neither at the default level nor at
//! `debug`; and neither do ladders and metrics.
#![cfg(feature = "node")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

mod node_world;

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use migcore::{
    aka::{SqnArray, opc_from_op},
    api::migration_identity::Direction,
    identity::{Impi, Impu, UserIdentity},
    node::{Options, RunningUe, client::ManagementClient, ladder::Tap, tls::Trust},
    outbox::{Flow, Transport},
    secret::Secret,
    ue::{Config, Isim, State},
};
use node_world::{eventually, peer, start_with};

const K: [u8; 16] = *b"ThisIsTheOneKey!";
const OP: [u8; 16] = *b"AndThisIsTheOP!!";

/// Collects log lines.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn neither_identities_nor_keys_reach_logs_ladders_or_metrics() {
    let lines = Lines::default();
    let writer = lines.clone();
    tracing_subscriber::fmt()
        .with_env_filter("info,migcore=trace")
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .init();

    let (tap, mut ladder) = Tap::new();
    let options = || Options { tap: Some(tap.clone()), ..Options::default() };
    let home = start_with("a.example", &peer("sipdb.b.example", "database", None), options());
    let address = home.bound().diameter;
    let partner = start_with("b.example", &peer("sipdb.a.example", "database", address), options());
    eventually("connected", || home.is_connected() && partner.is_connected()).await;

    let url = |bound: Option<_>| format!("http://{}", bound.unwrap());
    let home_client = ManagementClient::new(&url(home.bound().management));
    let partner_client = ManagementClient::new(&url(partner.bound().management));
    let alice = UserIdentity {
        impi: Impi::parse("alice-liddell@a.example").unwrap(),
        impu: Impu::parse("sip:alice-liddell@a.example").unwrap(),
    };
    let (k, op) = (Secret::new(K), Secret::new(OP));
    let partner_database = &partner.config().diameter.identity;
    home_client.put_subscriber(&alice, &k, &op).await.unwrap();
    home_client
        .ensure_generated_pool("o", Direction::Outbound, "out-{id}", "a.example")
        .await
        .unwrap();
    partner_client
        .ensure_generated_pool("i", Direction::Inbound, "mig-{id}", "b.example")
        .await
        .unwrap();
    let outbound = home_client.bind_outbound(&alice, partner_database).await.unwrap();
    let primary = home_client.system().await.unwrap();
    let inbound =
        partner_client.bind_inbound(&primary, &outbound.impi, &outbound.impu).await.unwrap();

    let forbidden: Vec<String> = [outbound.impi.user(), inbound.impi.user(), "alice-liddell"]
        .map(str::to_owned)
        .into_iter()
        .chain([outbound.impu.as_str(), inbound.impu.as_str()].map(user_of))
        .chain([
            hex(&K),
            hex(&OP),
            String::from_utf8(K.to_vec()).unwrap(),
            format!("{:?}", &K[..4]),
        ])
        .collect();
    register_rightly_and_wrongly(&partner, &inbound.impi, &inbound.impu, (k, op)).await;
    tokio::time::sleep(Duration::from_millis(50)).await;

    let mut seen = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(
        seen.contains(" INFO ")
            && seen.contains("MIG-18")
            && seen.contains("authentication_failed"),
        "{seen}"
    );
    let is_security_event =
        |line: &str| line.contains("migcore::security") && line.contains("authentication_failed");
    assert!(seen.lines().any(is_security_event), "{seen}");
    while let Ok(entry) = ladder.try_recv() {
        seen += &serde_json::to_string(&entry).unwrap();
        seen += "\n";
    }
    seen = seen + &home.metrics() + &partner.metrics();
    for line in seen.lines() {
        for secret in &forbidden {
            assert!(!line.contains(secret.as_str()), "{secret} in: {line}");
        }
    }
    partner.shutdown().await;
    home.shutdown().await;
}

/// One UE with the right key, one with a wrong one.
async fn register_rightly_and_wrongly(
    partner: &migcore::node::RunningSystem,
    impi: &Impi,
    impu: &Impu,
    (k, op): (Secret<16>, Secret<16>),
) {
    let core = *partner.bound().sip.first().expect("it listens");
    let opc = opc_from_op(&k, &op);
    for (opc, succeeds) in [(opc, true), (Secret::new([1; 16]), false)] {
        let config = Config {
            identity: UserIdentity { impi: impi.clone(), impu: impu.clone() },
            domain: "b.example".to_owned(),
            flow: Flow { transport: Transport::Udp, local: core, remote: core, connection: 0 },
            expires: 3_600,
            algorithm: None,
            paths: Vec::new(),
        };
        let isim = Isim::new(&k, &opc, SqnArray::default());
        let mut ue = RunningUe::open(config, core, isim, &Trust::default(), (None, "core"))
            .await
            .expect("a socket");
        let state = ue.register().await.expect("a socket");
        assert_eq!(matches!(state, State::Registered(_)), succeeds, "{state:?}");
    }
}

fn user_of(uri: &str) -> String {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    rest.split('@').next().unwrap_or_default().to_owned()
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |digits, octet| digits + &format!("{octet:02x}"))
}
