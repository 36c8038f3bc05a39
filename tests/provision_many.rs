//! Provisioning of many by one request: all of them or none, quickly, and while SIP is served.
#![cfg(feature = "node")]
#![allow(
    clippy::format_push_string,
    clippy::too_many_lines,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "test code"
)]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a test measures time")]

mod free_ports;
mod node_world;

use std::{
    fmt::Write as _,
    fs,
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use free_ports::free_address;
use migcore::{
    entropy::Entropy,
    node::{
        Options, RunningSystem, SystemEntropy,
        provision::{Load, LoadError, Loaded, load},
        storage::{EmbeddedEngine, Key, Keys},
    },
    store::{Engine, RecordKind},
};
use node_world::start_with;

const KEY: &str = "465b5ce8b199b49faa5f0a2ee238a6bc";

/// A directory of this test run, removed at the end, with a storage key in it.
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        // One of an earlier run that was cut off.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        let key = Key::draw(&mut SystemEntropy::new());
        fs::write(path.join("key"), &*key.to_line()).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(path.join("key"), mode).unwrap();
        Self(path)
    }

    fn engine(&self, store: &str) -> EmbeddedEngine {
        let keys = Keys::read(&self.0.join("key")).unwrap();
        EmbeddedEngine::open(&self.0.join(store), keys).unwrap()
    }

    /// How many records of a kind a store has.
    fn count(&self, store: &str, kind: RecordKind) -> u64 {
        let count = AtomicU64::new(0);
        let each = |record: migcore::store::Record<'_>| {
            count.fetch_add(u64::from(record.kind == kind), Ordering::Relaxed);
            Ok(())
        };
        self.engine(store).replay(&each).unwrap();
        count.into_inner()
    }

    /// A table of subscribers who are users too, and more rows.
    fn table(&self, name: &str, rows: usize, more: &str) -> PathBuf {
        let mut text = "impi,impu,k,opc,mc_service_id,token\n".to_owned();
        for n in 0..rows {
            writeln!(
                text,
                "u{n}@a.example,sip:u{n}@a.example,{KEY},{KEY},sip:u{n}@a.example,bearer-token-of-user-{n:06}"
            )
            .unwrap();
        }
        let path = self.0.join(name);
        fs::write(&path, text + more).unwrap();
        path
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A line of a request about many.
fn row(user: &str, impu: &str) -> String {
    format!(
        "{{\"impi\":\"{user}@a.example\",\"subscriber\":{{\"impus\":[\"{impu}\"],\"k\":\"{KEY}\",\"opc\":\"{KEY}\"}}}}\n"
    )
}

fn job(file: PathBuf, system: &RunningSystem) -> Load {
    let system = format!("http://{}", system.bound().management.unwrap());
    Load { files: vec![file], system, ue_files: None }
}

fn system_on(files: &Files, store: &str) -> RunningSystem {
    let options = Options { engine: Some(Box::new(files.engine(store))), ..Options::default() };
    start_with("a.example", "", options)
}

/// Asks a SIP core until told to stop. Returns how often it answered, and the longest that took.
fn keep_asking(core: SocketAddr, stop: Arc<AtomicBool>) -> thread::JoinHandle<(u64, Duration)> {
    thread::spawn(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(core).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let local = socket.local_addr().unwrap();
        let (mut answers, mut longest) = (0, Duration::ZERO);
        while !stop.load(Ordering::Relaxed) {
            let request = format!(
                "OPTIONS sip:a.example SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{answers}\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:x@a.example>;tag=1\r\nTo: <sip:a.example>\r\n\
                 Call-ID: {answers}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
            );
            let asked = Instant::now();
            socket.send(request.as_bytes()).unwrap();
            let mut answer = [0; 4096];
            socket.recv(&mut answer).unwrap();
            longest = longest.max(asked.elapsed());
            answers += 1;
            thread::sleep(Duration::from_millis(2));
        }
        (answers, longest)
    })
}

#[tokio::test]
async fn a_hundred_thousand_rows_are_loaded_while_sip_is_served() {
    const ROWS: usize = 100_000;
    let files = Files::new("many-rows");
    let system = system_on(&files, "store");
    let mut text = "impi,impu,k,opc\n".to_owned();
    for n in 0..ROWS {
        writeln!(text, "u{n}@a.example,sip:u{n}@a.example,{KEY},{KEY}").unwrap();
    }
    let table = files.0.join("subscribers.csv");
    fs::write(&table, text).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let asking = keep_asking(system.bound().sip[0], Arc::clone(&stop));
    for round in ["new", "again"] {
        let started = Instant::now();
        let loaded = load(&job(table.clone(), &system)).await.unwrap();
        println!("{ROWS} subscribers, {round}: {:?}", started.elapsed());
        assert_eq!(loaded, Loaded { changes: ROWS, ue_files: 0, ue_files_kept: 0 });
    }
    stop.store(true, Ordering::Relaxed);
    let (answers, longest) = asking.join().unwrap();
    println!("SIP meanwhile: {answers} answers, the slowest after {longest:?}");
    assert!(answers > 0);
    drop(system.shutdown().await);
    assert_eq!(files.count("store", RecordKind::Subscriber), ROWS as u64);
}

#[tokio::test]
async fn one_bad_row_among_many_changes_nothing_and_is_told_with_its_line() {
    const ROWS: usize = 20_000;
    let files = Files::new("many-bad");
    let system = system_on(&files, "store");
    let before = format!(
        "old@a.example,sip:old@a.example,{KEY},{KEY},sip:old@a.example,bearer-token-of-user-old\n"
    );
    load(&job(files.table("before.csv", 0, &before), &system)).await.unwrap();
    // Well-formed, so that only the system knows: the identities are another's, or another row's.
    for (row, told) in [
        ("v@a.example,sip:old@a.example", "a public identity belongs to somebody else"),
        ("v@a.example,sip:u7@a.example", "another one's in this request"),
    ] {
        let more = format!("{row},{KEY},{KEY},,\n");
        let table = files.table("bad.csv", ROWS, &more);
        match load(&job(table, &system)).await {
            Err(LoadError::WouldRefuse(findings)) => {
                let said = findings.to_string();
                assert!(said.contains(&format!("bad.csv:{}: ", ROWS + 2)), "{said}");
                assert!(said.contains(told) && said.lines().count() == 2, "{said}");
            }
            other => panic!("{other:?}"),
        }
    }
    // The same past the check: the request itself refuses all of it.
    let good = row("w", "sip:w@a.example");
    let client = reqwest::Client::new();
    let url = format!("http://{}/v1/subscribers", system.bound().management.unwrap());
    for (body, rows) in [
        (good.clone() + &row("x", "sip:old@a.example") + &row("y", "sip:y@a.example"), vec![2]),
        (good.clone() + &good, vec![2]),
        (good.clone() + "{}\n" + &row("x", "not an identity"), vec![2, 3]),
        (good.clone() + "\n" + &good.replace(KEY, &KEY[1..]), vec![2, 3]),
    ] {
        let request = client.post(&url).header("content-type", "application/x-ndjson");
        let answer = request.body(body.clone()).send().await.unwrap();
        assert_eq!(answer.status(), 422, "{body}");
        let text = answer.text().await.unwrap();
        let problem: serde_json::Value = serde_json::from_str(&text).unwrap();
        let told: Vec<u64> = problem["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["row"].as_u64().unwrap())
            .collect();
        assert_eq!(told, rows, "{text}");
        assert!(!text.contains(&KEY[1..9]), "{text}");
    }
    let request = client.post(&url).header("content-type", "application/json");
    assert_eq!(request.body(good).send().await.unwrap().status(), 415);
    drop(system.shutdown().await);
    assert_eq!(files.count("store", RecordKind::Subscriber), 1);
    assert_eq!(files.count("store", RecordKind::User), 1);
}

#[tokio::test]
async fn a_user_who_loses_something_is_changed_alone_among_many() {
    let files = Files::new("many-narrowed");
    let system = system_on(&files, "store");
    let table = |may: &str| {
        let mut text = "impi,impu,k,opc,mc_service_id,may_migrate,token\n".to_owned();
        for n in 0..100 {
            let may = if n % 10 == 3 { may } else { "true" };
            text += &format!(
                "u{n}@a.example,sip:u{n}@a.example,{KEY},{KEY},sip:u{n}@a.example,{may},bearer-token-of-user-{n:06}\n"
            );
        }
        let path = files.0.join("users.csv");
        fs::write(&path, text).unwrap();
        path
    };
    for may in ["true", "false", "true"] {
        let loaded = load(&job(table(may), &system)).await.unwrap();
        assert_eq!(loaded.changes, 200);
        let url = format!("http://{}/v1/users/", system.bound().management.unwrap());
        for (user, expected) in [("u3", may == "true"), ("u4", true), ("u93", may == "true")] {
            let text = reqwest::get(format!("{url}sip%3A{user}@a.example")).await.unwrap();
            let user: serde_json::Value = text.json().await.unwrap();
            assert_eq!(user["may_migrate"], expected, "{may}: {user}");
        }
    }
    system.shutdown().await;
}

/// A process that serves a system, with its management interface at `address`.
fn serve(files: &Files, store: &str, address: SocketAddr) -> Child {
    let toml = format!(
        "management.listen = \"{address}\"\nadmin.listen = \"127.0.0.1:0\"\nsip.listen = \"127.0.0.1:0\"\n\
         diameter.listen = \"127.0.0.1:0\"\n[system]\ndomain = \"a.example\"\ninsecure = true\n[config_server]\n\
         listen = \"127.0.0.1:0\"\nlisten_partners = \"127.0.0.1:0\"\n[storage]\ndirectory = \"{}\"\nkey_file = \"{}\"\n",
        files.0.join(store).display(),
        files.0.join("key").display(),
    );
    let config = files.0.join("serve.toml");
    fs::write(&config, toml).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_migcore"));
    command.args(["serve", "--config"]).arg(config).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Waits until the process answers.
async fn until_it_answers(url: &str, child: &mut Child) {
    loop {
        if reqwest::get(format!("{url}/v1/system")).await.is_ok() {
            return;
        }
        assert_eq!(child.try_wait().unwrap(), None, "it ended");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_kill_in_the_middle_leaves_all_of_a_request_or_nothing() {
    const ROWS: usize = 20_000;
    const KILLS: u32 = 10;
    // The systems are other processes.
    migcore::node::tls::use_ring();
    let files = Files::new("many-killed");
    let address = free_address();
    let url = format!("http://{address}");
    let rows: String =
        (0..ROWS).map(|n| row(&format!("u{n}"), &format!("sip:u{n}@a.example"))).collect();
    let seed = std::env::var("MANY_SEED")
        .map_or_else(|_| SystemEntropy::new().next_u64(), |seed| seed.parse().unwrap());
    println!("MANY_SEED={seed}");
    let (mut whole, mut state, mut all, mut none) = (Duration::ZERO, seed, 0, 0);
    for round in 0..=KILLS {
        let store = format!("store-{round}");
        let mut child = serve(&files, &store, address);
        until_it_answers(&url, &mut child).await;
        let started = Instant::now();
        let request = reqwest::Client::new()
            .post(format!("{url}/v1/subscribers"))
            .header("content-type", "application/x-ndjson")
            .body(rows.clone());
        let sending = tokio::spawn(request.send());
        let is_acknowledged = if round == 0 {
            let answer = sending.await.unwrap().unwrap();
            whole = started.elapsed();
            answer.status().is_success()
        } else {
            // Any spread over the time that it takes will do, and a little longer.
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let part = u32::try_from(state >> 32).unwrap();
            tokio::time::sleep(whole.mul_f64(1.2 * f64::from(part) / f64::from(u32::MAX))).await;
            child.kill().unwrap();
            sending.await.unwrap().is_ok_and(|answer| answer.status().is_success())
        };
        let _ = child.kill();
        child.wait().unwrap();
        let count = files.count(&store, RecordKind::Subscriber);
        assert!([0, ROWS as u64].contains(&count), "round {round}: {count} of {ROWS}");
        assert!(count > 0 || !is_acknowledged, "round {round}: what was acknowledged is lost");
        *(if count > 0 { &mut all } else { &mut none }) += 1;
    }
    println!("{ROWS} rows in {whole:?}, {KILLS} kills within: {all} times all, {none} times none");
}
