//! What an operator does with running systems: lists, looks closer, releases, revokes. Over HTTP and by
//! `migcore admin`, on real sockets.
#![cfg(feature = "node")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "test code"
)]

mod node_world;
mod sip_database_harness;
mod storage_support;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::TcpListener,
    path::Path,
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use migcore::{
    aka::SqnArray,
    api::migration_identity::{Direction, PrimaryUser, Request as Manage},
    identity::{Impi, UserIdentity},
    node::{
        Options, RunningSystem, RunningUe,
        client::ManagementClient,
        demo::{Demo, RunningDemo},
        storage::EmbeddedEngine,
    },
    outbox::Transport,
    store::{
        Commit, CommitSeq, Each, Engine, EngineError, MemoryEngine, Mutation, OwnedRecord, Reader,
        RecordKey, RecordKind, ReplayError,
    },
    time::Timestamp,
    ue::{Config as UeConfig, Failure, Isim, State},
};
use node_world::{eventually, metric, peer, start, start_with};
use serde_json::{Value, json};
use sip_database_harness::{K, OPC, System, database, generated, pair, system_b};
use storage_support::TempDirectory;

/// Bindings that are there from the start: more than one request with a filter looks at.
const BINDINGS: usize = 12_000;

/// Every so many of them is of another system than the rest.
const OTHERS_EVERY: usize = 100;

fn user(number: usize) -> PrimaryUser {
    let letter = if number.is_multiple_of(OTHERS_EVERY) { "c" } else { "a" };
    PrimaryUser {
        database: database(&format!("hss.{letter}.example")),
        identity: pair(&format!("out-{number}"), &format!("{letter}.example")),
        server_name: format!("sip:migration.{letter}.example"),
    }
}

/// A SIP database that has lent [`BINDINGS`] pairs, and the private identities of these.
fn lent() -> (System, BTreeSet<String>) {
    let mut b = system_b();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    b.now = Timestamp::from_secs(now.as_secs());
    b.done(Manage::PutPool(generated("mig", Direction::Inbound, "b.example")));
    let impis = (0..BINDINGS).map(|number| {
        let request = Manage::BindInbound { primary: user(number), allowed: None };
        b.binding(request).identity.impi.as_str().to_owned()
    });
    let impis = impis.collect();
    (b, impis)
}

fn running(engine: impl Engine + 'static) -> RunningSystem {
    let options = Options { engine: Some(Box::new(engine)), ..Options::default() };
    start_with("b.example", "", options)
}

/// An engine on disk with the records of another one.
fn embedded(directory: &Path, from: &MemoryEngine) -> EmbeddedEngine {
    let mut engine = storage_support::open(directory).unwrap();
    let mut commits = BTreeMap::<_, Vec<_>>::new();
    let reader = from.reader();
    for kind in RecordKind::ALL {
        for OwnedRecord { key, version, value, .. } in reader.page(kind, None, usize::MAX).unwrap()
        {
            let mutation =
                Mutation { kind, key: RecordKey::from_slice(&key), value: Some(value.into()) };
            commits.entry(version).or_default().push(mutation);
        }
    }
    let commits = commits
        .into_iter()
        .map(|(seq, mutations): (_, Vec<Mutation>)| Commit { seq, mutations: mutations.into() });
    engine.commit(&commits.collect::<Vec<_>>()).unwrap();
    engine
}

fn url(system: &RunningSystem) -> String {
    format!("http://{}", system.bound().management.expect("it is on"))
}

async fn get(system: &RunningSystem, path: &str) -> (u16, Value) {
    let response = reqwest::get(format!("{}{path}", url(system))).await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

/// All keys of a list in the order in which they came, and how many pages they were on.
async fn keys(system: &RunningSystem, path: &str) -> (Vec<String>, usize) {
    let (mut keys, mut pages, mut after) = (Vec::new(), 0, String::new());
    loop {
        let (status, page) = get(system, &format!("{path}{after}")).await;
        assert_eq!(status, 200, "{page}");
        let items = page["items"].as_array().unwrap();
        keys.extend(items.iter().map(|item| item["key"].as_str().unwrap().to_owned()));
        pages += 1;
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return (keys, pages),
        }
    }
}

fn admin(url: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_migcore"));
    command.arg("admin").args(arguments).args(["--system", url]).output().unwrap()
}

/// What a command printed, given that it succeeded.
#[track_caller]
fn done(url: &str, arguments: &[&str]) -> String {
    let output = admin(url, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?} {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a command printed as JSON, one value a line.
#[track_caller]
fn objects(url: &str, arguments: &[&str]) -> Vec<Value> {
    let printed = done(url, &[arguments, &["--json"]].concat());
    printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What a command complained of, given that it ended with `code`.
#[track_caller]
fn failed(code: i32, url: &str, arguments: &[&str]) -> String {
    let output = admin(url, arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?} {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[track_caller]
fn assert_registrations(system: &RunningSystem, wanted: f64) {
    let found = metric(system, "migcore_registrations");
    assert!((found - wanted).abs() < f64::EPSILON, "{found} registrations, not {wanted}");
}

#[tokio::test]
async fn a_list_has_every_binding_once_in_order_page_by_page() {
    let (b, lent) = lent();
    let system = running(b.engine);
    for (limit, pages) in [(1_000, 12), (999, 13), (700, 18)] {
        let (listed, found) = keys(&system, &format!("/v1/bindings/inbound?limit={limit}")).await;
        assert_eq!(found, pages, "none of them empty");
        assert_eq!(listed, lent.iter().cloned().collect::<Vec<_>>());
    }
    let (_, first) = get(&system, "/v1/bindings/inbound").await;
    assert_eq!(first["items"].as_array().unwrap().len(), 100, "unless told otherwise");

    let (others, pages) =
        keys(&system, "/v1/bindings/inbound?limit=1000&partner=HSS.c.example").await;
    assert_eq!(others.len(), BINDINGS / OTHERS_EVERY);
    assert_eq!(pages, 2, "one request looks at a part of them only, and says how to go on");
    let (held, _) = keys(&system, "/v1/bindings/inbound?holder=out-11999@a.example").await;
    let (status, shown) = get(&system, &format!("/v1/bindings/inbound/{}", held[0])).await;
    assert_eq!((held.len(), status), (1, 200), "{shown}");
    assert_eq!(
        (&shown["holder"], &shown["other_database"], &shown["lease"], &shown["usable"]),
        (
            &json!({ "impi": "out-11999@a.example", "impu": "sip:out-11999@a.example" }),
            &json!("hss.a.example"),
            &json!("reserved"),
            &json!(true)
        )
    );
    let both = "/v1/bindings/inbound?holder=out-11999@a.example&partner=hss.c.example";
    assert!(keys(&system, both).await.0.is_empty());

    let table = done(&url(&system), &["list", "bindings", "inbound"]);
    assert_eq!(table.lines().count(), BINDINGS + 1, "a header and all pages");
    assert!(table.starts_with("IMPI "), "{}", &table[..200]);
    let few = objects(&url(&system), &["list", "bindings", "inbound", "--limit", "1001"]);
    assert_eq!(few.len(), 1_001);
    system.shutdown().await;
}

#[tokio::test]
async fn a_list_during_changes_has_whatever_was_there_all_the_time_exactly_once() {
    let (b, lent) = lent();
    let directory = TempDirectory::new();
    let embedded = embedded(&directory, &b.engine);
    for system in [running(b.engine), running(embedded)] {
        list_during_changes(system, &lent).await;
    }
}

async fn list_during_changes(system: RunningSystem, lent: &BTreeSet<String>) {
    let (client, stop) = (ManagementClient::new(&url(&system)), Arc::new(AtomicBool::new(false)));
    let stopping = Arc::clone(&stop);
    let home = client.system().await.unwrap();
    let primary =
        migcore::node::management::SystemView { database: database("hss.d.example"), ..home };
    let changing = tokio::spawn(async move {
        let mut changes = 0;
        while !stopping.load(Ordering::Relaxed) {
            let mut guests = Vec::new();
            for number in 0..20 {
                let UserIdentity { impi, impu } =
                    pair(&format!("guest-{changes}-{number}"), "d.example");
                guests.push(client.bind_inbound(&primary, &impi, &impu).await.unwrap().impi);
            }
            for impi in guests {
                client.release(Direction::Inbound, &impi).await.unwrap();
                changes += 1;
            }
        }
        changes
    });
    for _ in 0..3 {
        let (listed, pages) = keys(&system, "/v1/bindings/inbound?limit=250").await;
        assert!(pages >= BINDINGS / 250, "{pages}");
        let once: BTreeSet<String> = listed.iter().cloned().collect();
        assert_eq!(once.len(), listed.len(), "nothing twice");
        assert!(once.is_superset(lent), "nothing missed");
    }
    stop.store(true, Ordering::Relaxed);
    assert!(changing.await.unwrap() > 0, "nothing changed meanwhile");
    system.shutdown().await;
}

#[tokio::test]
async fn a_revoked_user_is_thrown_out_and_gets_no_further_vector() {
    let mut demo = demo().await;
    demo.migrate().await.unwrap();
    assert!(matches!(demo.register().await.unwrap(), State::Registered(_)));
    let partner = url(demo.stage.partner.system().unwrap());
    let lent = objects(&partner, &["list", "bindings", "inbound"]);
    let [lent] = &lent[..] else { panic!("{lent:?}") };
    let impi = lent["key"].as_str().unwrap();
    let [shown] = &objects(&partner, &["show", "binding", "inbound", impi])[..] else { panic!() };
    assert_eq!((&shown["lease"], &shown["active"]), (&json!("active"), &json!(true)));
    assert!(shown["agreement"]["id"].is_u64(), "{shown}");
    let registration = done(&partner, &["show", "registration", impi]);
    assert!(registration.contains("contacts[0].seconds_left"), "{registration}");
    let table = done(&partner, &["list", "registrations"]);
    assert!(table.contains(impi) && !table.contains(" - "), "{table}");

    let revoked = objects(&partner, &["revoke", "binding", "inbound", impi]);
    assert_eq!(revoked, [json!({ "binding": "ended", "registration": "ended" })]);
    assert_registrations(demo.stage.partner.system().unwrap(), 0.0);
    assert!(objects(&partner, &["list", "registrations"]).is_empty());
    assert!(objects(&partner, &["list", "bindings", "inbound"]).is_empty());
    failed(1, &partner, &["show", "registration", impi]);
    let again = failed(1, &partner, &["revoke", "binding", "inbound", impi]);
    assert!(again.contains("nothing is left to revoke"), "{again}");

    let issued = issued(&demo);
    let State::Failed(Failure::Refused(403)) = demo.register().await.unwrap() else {
        panic!("registered with a revoked pair")
    };
    assert_eq!(self::issued(&demo), issued, "no vector was given");
    demo.migrate().await.unwrap();
    let [anew] = &objects(&partner, &["list", "bindings", "inbound"])[..] else { panic!() };
    assert_ne!(anew["key"], lent["key"], "while the agreement holds there is another pair");
    demo.shutdown().await;
}

#[tokio::test]
async fn a_released_pair_stays_registered_until_its_next_vector_is_refused() {
    for direction in ["inbound", "outbound"] {
        let mut demo = demo().await;
        demo.migrate().await.unwrap();
        assert!(matches!(demo.register().await.unwrap(), State::Registered(_)));
        let lending = if direction == "inbound" { &demo.stage.partner } else { &demo.stage.home };
        let lending = url(lending.system().unwrap());
        let lent = objects(&lending, &["list", "bindings", direction]);
        let impi = lent[0]["key"].as_str().unwrap();
        let told = done(&lending, &["release", "binding", direction, impi]);
        assert!(told.contains("released"), "{told}");
        assert_registrations(demo.stage.partner.system().unwrap(), 1.0);
        failed(1, &lending, &["release", "binding", direction, impi]);
        let issued = issued(&demo);
        let state = demo.register().await.unwrap();
        assert_eq!(state, State::Failed(Failure::Refused(403)), "{direction}");
        assert_eq!(self::issued(&demo), issued, "no vector was given");
        demo.shutdown().await;
    }
}

#[tokio::test]
async fn a_removed_registration_comes_back_while_the_agreement_holds_and_no_longer() {
    let mut demo = demo().await;
    demo.migrate().await.unwrap();
    assert!(matches!(demo.register().await.unwrap(), State::Registered(_)));
    let (home, partner) = (&demo.stage.home, &demo.stage.partner);
    let (home, partner) = (url(home.system().unwrap()), url(partner.system().unwrap()));
    let registered = objects(&partner, &["list", "registrations"]);
    let impi = registered[0]["key"].as_str().unwrap().to_owned();
    let ended = objects(&partner, &["revoke", "registration", &impi]);
    assert_eq!(ended, [json!({ "registration": "ended" })]);
    assert_registrations(demo.stage.partner.system().unwrap(), 0.0);
    let [shown] = &objects(&partner, &["show", "binding", "inbound", &impi])[..] else { panic!() };
    assert_eq!(shown["lease"], "reserved", "the SIP database was told");
    failed(1, &partner, &["revoke", "registration", &impi]);
    assert!(matches!(demo.register().await.unwrap(), State::Registered(_)), "it is allowed");

    let agreements = objects(&home, &["list", "agreements", "--partner", "sip:b.example"]);
    let mut revoked = 0;
    for agreement in &agreements {
        let key = &agreement["record"]["agreement"]["key"];
        if key["direction"] == "outbound" {
            let users = key["users"].as_str().unwrap();
            let name = ["agreement", "sip:b.example", "outbound", users];
            done(&home, &[&["show"], &name[..]].concat());
            done(&home, &[&["revoke"], &name[..]].concat());
            failed(1, &home, &[&["show"], &name[..]].concat());
            revoked += 1;
        }
    }
    assert!(revoked > 0, "{agreements:?}");
    let lent = objects(&home, &["list", "bindings", "outbound", "--holder", "alice@a.example"]);
    let [lent] = &lent[..] else { panic!("{lent:?}") };
    let lent = lent["key"].as_str().unwrap();
    let [shown] = &objects(&home, &["show", "binding", "outbound", lent])[..] else { panic!() };
    assert_eq!(shown["usable"], false, "its agreement is gone");
    let issued = issued(&demo);
    let state = demo.register().await.unwrap();
    assert_eq!(state, State::Failed(Failure::Refused(403)));
    assert_eq!(self::issued(&demo), issued, "no vector was given");
    demo.shutdown().await;
}

/// The two systems of the demonstration with the UE.
async fn demo() -> RunningDemo {
    let (transport, settings) = (Transport::Udp, vec!["workers=2".to_owned()]);
    RunningDemo::start(&Demo { transport, base_port: 0, settings, fault: None, data_dir: None })
        .await
        .unwrap()
}

/// Vectors that the home has given to the partner.
fn issued(demo: &RunningDemo) -> String {
    let name = "migcore_vectors_issued_total{peer=\"sipdb.b.example\"}";
    metric(demo.stage.home.system().unwrap(), name).to_string()
}

#[tokio::test]
async fn a_sip_core_alone_has_a_management_interface_for_its_registrations() {
    let run = |roles: &str, more: &str| {
        let toml = format!("roles = [\"{roles}\"]\n{}", node_world::toml("a.example", more));
        let config = migcore::node::config::Config::parse(&toml).unwrap();
        RunningSystem::start(config, Options::default()).unwrap()
    };
    let diameter = "[diameter]\nlisten = \"127.0.0.1:0\"\n".to_owned();
    let db = run("sip_database", &(diameter.clone() + &peer("core.a.example", "core", None)));
    let own = peer("sipdb.a.example", "own-database", db.bound().diameter);
    let core = run("sip_core", &(diameter + "identity = \"core.a.example\"\n" + &own));
    eventually("core and database are connected", || core.is_connected()).await;
    let alice = pair("alice", "a.example");
    let [k, op] = [K, OPC].map(migcore::secret::Secret::new);
    let hex = |secret: &[u8]| secret.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
    let body = json!({ "impus": [alice.impu], "k": hex(k.expose()), "opc": hex(op.expose()) });
    let put = reqwest::Client::new().put(format!("{}/v1/subscribers/alice@a.example", url(&db)));
    assert_eq!(put.json(&body).send().await.unwrap().status(), 204);

    let sip = core.bound().sip[0];
    let config = UeConfig::new(alice.clone(), Transport::Udp, sip);
    let isim = Isim::new(&k, &op, SqnArray::default());
    let mut ue =
        RunningUe::open(config, sip, isim, &migcore::node::tls::Trust::default(), (None, "core"))
            .await
            .unwrap();
    assert!(matches!(ue.register().await.unwrap(), State::Registered(_)));
    assert_eq!(keys(&core, "/v1/registrations?limit=10").await.0, ["alice@a.example"]);
    for nothing_here in ["/v1/subscribers", "/v1/bindings/inbound", "/v1/users"] {
        let (status, problem) = get(&core, nothing_here).await;
        assert_eq!((status, &problem["type"]), (404, &json!("urn:migcore:problem:no-role")));
    }
    for nothing_here in ["/v1/subscribers", "/v1/users"] {
        let many = reqwest::Client::new().post(url(&core) + nothing_here).body("{}\n");
        let answer = many.header("content-type", "application/x-ndjson").send().await.unwrap();
        assert_eq!(answer.status(), 404, "{nothing_here}");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["type"], "urn:migcore:problem:no-role");
    }
    let refused = failed(1, &url(&core), &["show", "subscriber", "alice@a.example"]);
    assert!(refused.contains("does not run that role"), "{refused}");

    let removed = failed(1, &url(&db), &["revoke", "registration", "alice@a.example"]);
    assert!(removed.contains("ask the one that does"), "{removed}");
    done(&url(&core), &["revoke", "registration", "alice@a.example"]);
    assert!(keys(&core, "/v1/registrations?limit=10").await.0.is_empty());
    for _ in 0..1_000 {
        let told = objects(&url(&db), &["list", "subscribers"]);
        if told[0]["record"]["registered"] == false {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let told = objects(&url(&db), &["list", "subscribers"]);
    assert_eq!(told[0]["record"]["registered"], false, "the SIP database was told by Diameter");
    assert!(matches!(ue.register().await.unwrap(), State::Registered(_)), "it is allowed");
    core.shutdown().await;
    db.shutdown().await;
}

#[tokio::test]
async fn no_list_shows_a_secret() {
    let system = start("a.example", "");
    let key = "465b5ce8b199b49faa5f0a2ee238a6bc";
    let token = "dXNlci10b2tlbi1vZi1hbGljZQ";
    let put = async |path: &str, body: Value| {
        let request = reqwest::Client::new().put(format!("{}{path}", url(&system))).json(&body);
        assert_eq!(request.send().await.unwrap().status(), 204, "{path}");
    };
    put(
        "/v1/subscribers/alice@a.example",
        json!({ "impus": ["sip:alice@a.example"], "k": key, "opc": key }),
    )
    .await;
    put(
        "/v1/users/sip%3Aalice@a.example",
        json!({ "impi": "alice@a.example", "impu": "sip:alice@a.example", "token": token }),
    )
    .await;
    put(
        "/v1/pools/mig",
        json!({ "direction": "inbound", "generated": {
            "impi_template": "mig-{id}@a.example", "impu_template": "sip:mig-{id}@a.example",
            "key": format!("{key}{key}"),
        } }),
    )
    .await;
    for (list, shown) in [("subscribers", "alice@"), ("users", "sip:alice@"), ("pools", "mig")] {
        for format in [&["list", list, "--json"][..], &["list", list]] {
            let printed = done(&url(&system), format);
            assert!(printed.contains(shown), "{printed}");
            assert!(!printed.contains(&key[..8]) && !printed.contains(token), "{printed}");
        }
        let (_, page) = get(&system, &format!("/v1/{list}")).await;
        assert!(!page.to_string().contains(&key[..8]), "{page}");
    }
    let digest = |page: &Value| page["items"][0]["record"]["token"].clone();
    assert_eq!(digest(&get(&system, "/v1/users").await.1), Value::Null, "nor its digest");
    system.shutdown().await;
}

#[tokio::test]
async fn a_wrong_page_is_told_the_parameter_and_the_fix() {
    let (b, _) = lent();
    let system = running(b.engine);
    let (_, page) = get(&system, "/v1/bindings/inbound?limit=1").await;
    let cursor = page["next"].as_str().unwrap();
    for (path, field) in [
        ("/v1/bindings/inbound?limit=0".to_owned(), "limit"),
        ("/v1/bindings/inbound?limit=1001".to_owned(), "limit"),
        ("/v1/bindings/inbound?limit=-1".to_owned(), "limit"),
        ("/v1/bindings/inbound?limit=all".to_owned(), "limit"),
        ("/v1/bindings/inbound?after=".to_owned(), "after"),
        ("/v1/bindings/inbound?after=%00".to_owned(), "after"),
        (format!("/v1/bindings/inbound?after={cursor}AAA$"), "after"),
        (format!("/v1/bindings/outbound?after={cursor}"), "after"),
        (format!("/v1/bindings/inbound?after={}", "A".repeat(900)), "after"),
        ("/v1/bindings/inbound?partner=a..b".to_owned(), "partner"),
        ("/v1/bindings/inbound?holder=alice".to_owned(), "holder"),
        ("/v1/agreements?partner=b.example".to_owned(), "partner"),
        ("/v1/agreements?holder=a@a.example".to_owned(), "holder"),
        ("/v1/registrations?partner=hss.a.example".to_owned(), "partner"),
    ] {
        let (status, problem) = get(&system, &path).await;
        assert_eq!((status, &problem["field"]), (422, &json!(field)), "{path} {problem}");
        assert!(!problem["fix"].as_str().unwrap().is_empty(), "{problem}");
    }
    assert_eq!(get(&system, "/v1/registrations?limits=1").await.0, 400);
    let (status, more) =
        get(&system, &format!("/v1/bindings/inbound?limit=1&after={cursor}")).await;
    assert_eq!(status, 200);
    assert_ne!(more["items"], page["items"]);
    system.shutdown().await;
}

#[test]
fn wrong_arguments_end_with_2_and_what_fails_with_1() {
    let nowhere = "http://127.0.0.1:9";
    for arguments in [
        &["list"][..],
        &["list", "bindings", "sideways"],
        &["list", "bindings", "inbound", "--partner", "a..b"],
        &["show", "binding", "inbound", "no-realm"],
        &["revoke", "grant", "alice@a.example"],
        &["delete", "binding", "inbound", "a@b"],
        &["list", "users", "--limit", "0"],
    ] {
        failed(2, nowhere, arguments);
    }
    failed(2, "ftp://x", &["list", "users"]);
    let said = failed(1, nowhere, &["list", "users"]);
    assert!(said.contains(nowhere) && said.contains("management address"), "{said}");
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let elsewhere = format!("http://{}", other.local_addr().unwrap());
    let serving = thread::spawn(move || {
        let (mut stream, _) = other.accept().unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").unwrap();
    });
    let said = failed(1, &elsewhere, &["list", "users"]);
    serving.join().unwrap();
    assert!(said.contains("did not answer in JSON") && !said.contains("reached"), "{said}");
    let help = done(nowhere, &["--help"]);
    for part in ["Examples:", "Exit codes:", "migcore admin revoke binding inbound"] {
        assert!(help.contains(part), "{help}");
    }
}

/// Keeps records in memory, and is closed by a failure until it is replayed, reader included.
struct Flaky {
    engine: MemoryEngine,
    closed: Arc<AtomicBool>,
    fails: Arc<AtomicBool>,
}

struct FlakyReader {
    reader: Arc<dyn Reader>,
    closed: Arc<AtomicBool>,
}

impl Engine for Flaky {
    fn commit(&mut self, commits: &[Commit]) -> Result<(), EngineError> {
        if self.fails.load(Ordering::SeqCst) {
            self.closed.store(true, Ordering::SeqCst);
            return Err(EngineError::Medium("no space left".to_owned()));
        }
        self.engine.commit(commits)
    }

    fn replay(&mut self, each: &Each<'_>) -> Result<CommitSeq, ReplayError> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(EngineError::Closed.into());
        }
        self.closed.store(false, Ordering::SeqCst);
        self.engine.replay(each)
    }

    fn approximate_len(&self) -> u64 {
        self.engine.approximate_len()
    }

    fn waits(&self) -> bool {
        false
    }

    fn reader(&self) -> Arc<dyn Reader> {
        let closed = Arc::clone(&self.closed);
        Arc::new(FlakyReader { reader: self.engine.reader(), closed })
    }
}

impl Reader for FlakyReader {
    fn page(
        &self,
        kind: RecordKind,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<OwnedRecord>, EngineError> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(EngineError::Closed);
        }
        self.reader.page(kind, after, limit)
    }
}

#[tokio::test]
async fn lists_go_on_once_the_storage_has_come_back() {
    let fails = Arc::new(AtomicBool::new(false));
    let (b, lent) = lent();
    let closed = Arc::default();
    let system = running(Flaky { engine: b.engine, closed, fails: Arc::clone(&fails) });
    let first = Impi::parse(lent.first().unwrap()).unwrap();
    fails.store(true, Ordering::SeqCst);
    let client = ManagementClient::new(&url(&system));
    assert!(client.release(Direction::Inbound, &first).await.is_err());
    let response = reqwest::get(format!("{}/v1/bindings/inbound", url(&system))).await.unwrap();
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    fails.store(false, Ordering::SeqCst);
    eventually("the storage came back", || metric(&system, "migcore_storage_available") > 0.5)
        .await;
    let (listed, _) = keys(&system, "/v1/bindings/inbound?limit=1000").await;
    assert_eq!(listed, lent.into_iter().collect::<Vec<_>>());
    system.shutdown().await;
}
