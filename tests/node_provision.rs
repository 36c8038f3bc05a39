//! `migcore provision` against running systems.
#![cfg(feature = "node")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

mod node_world;

use std::{
    collections::BTreeSet,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Output,
};

use migcore::{
    identity::Plmn,
    node::{
        RunningSystem,
        provision::{Load, LoadError, Loaded, SippCsv, UeFiles, load, write_sipp_csv},
        ue::state::StateFile,
    },
    ue_configuration::InitialUeConfiguration,
};
use node_world::{eventually, metric, peer, start};
use serde_json::{Value, json};

const KEY: &str = "465b5ce8b199b49faa5f0a2ee238a6bc";
const AB_TOKEN: &str = "dG9rZW4tdGhhdC1hLXByZXNlbnRz";
const BA_TOKEN: &str = "dG9rZW4tdGhhdC1iLXByZXNlbnRz";

/// Systems A and B, each the partner of the other. Only A can reach B.
fn two_systems() -> (RunningSystem, RunningSystem) {
    let partner = |name: char, url: &str, send: &str, accept: &str| {
        format!(
            "[config_server]\nstatic_tokens = true\nlisten = \"127.0.0.1:0\"\nlisten_partners = \"127.0.0.1:0\"\n\
             [[config_server.partners]]\nid = \"sip:{name}.example\"\nsip_database = \"sipdb.{name}.example\"\n\
             url = \"http://{url}\"\nsend_token = \"{send}\"\naccept_token = \"{accept}\"\n\
             areas = [{{ plmn = \"00101\" }}]\n"
        )
    };
    let b = partner('a', "127.0.0.1:9", BA_TOKEN, AB_TOKEN);
    let b = start("b.example", &(b + &peer("sipdb.a.example", "database", None)));
    let url = b.bound().csc17.unwrap().to_string();
    let a = partner('b', &url, AB_TOKEN, BA_TOKEN);
    let a = start("a.example", &(a + &peer("sipdb.b.example", "database", b.bound().diameter)));
    (a, b)
}

fn url(system: &RunningSystem) -> String {
    format!("http://{}", system.bound().management.unwrap())
}

async fn get(system: &RunningSystem, path: &str) -> (u16, Value) {
    let response = reqwest::get(url(system) + path).await.unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap_or_default())
}

/// A directory of this test run, removed at the end.
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        // One of an earlier run that was cut off.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The four kinds of content for system A, with so many subscribers.
    fn of_system_a(&self, subscribers: usize) -> Vec<PathBuf> {
        let mut table = "impi,impu,k,opc,mc_service_id,class,token\n".to_owned();
        for n in 0..subscribers {
            table += &format!(
                "u{n}@a.example,sip:u{n}@a.example,{KEY},{KEY},sip:u{n}@a.example,police,{}\n",
                token(n)
            );
        }
        vec![
            // The order does not matter.
            self.write(
                "agreements.csv",
                "partner,direction,users,valid_until\n\
                 sip:b.example,outbound,class:police,2100-01-01T00:00:00Z\n\
                 sip:b.example,inbound,everybody,4102444800\n",
            ),
            self.write("users.csv", &table),
            self.sections("a.example", "outbound", "out"),
        ]
    }

    fn of_system_b(&self) -> Vec<PathBuf> {
        vec![
            self.write(
                "b-agreements.csv",
                "partner,direction,users,valid_until\nsip:a.example,inbound,everybody,2100-01-01T00:00:00Z\n",
            ),
            self.sections("b.example", "inbound", "mig"),
        ]
    }

    fn sections(&self, domain: &str, direction: &str, prefix: &str) -> PathBuf {
        let plmn = Plmn::parse("00101").unwrap();
        let document = InitialUeConfiguration::for_domain(domain, plmn).unwrap().render();
        self.write(&format!("{domain}.xml"), &document);
        self.write(
            &format!("{domain}.toml"),
            &format!(
                "[pools.visits]\ndirection = \"{direction}\"\n\
                 generated = {{ impi_template = \"{prefix}-{{id}}@{domain}\", impu_template = \"sip:{prefix}-{{id}}@{domain}\" }}\n\
                 [system-configurations.\"sip:{domain}\"]\nrevision = 1\n\
                 sip_core = [{{ transport = \"udp\", address = \"127.0.0.1:5060\" }}]\n\
                 document_file = \"{domain}.xml\"\n"
            ),
        )
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // It may be gone; then there is nothing to remove.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn token(n: usize) -> String {
    format!("bearer-token-of-user-{n:04}")
}

fn job(files: Vec<PathBuf>, system: &RunningSystem) -> Load {
    Load { files, system: url(system), ue_files: None }
}

async fn migcore(arguments: &[&str]) -> Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_migcore"));
    command.args(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

#[tokio::test]
async fn files_are_loaded_and_may_be_loaded_again() {
    let (a, b) = two_systems();
    let files = Files::new("load");
    let job = job(files.of_system_a(100), &a);
    for _ in 0..2 {
        let loaded = load(&job).await.unwrap();
        assert_eq!(loaded, Loaded { changes: 204, ue_files: 0, ue_files_kept: 0 });
        assert_eq!(get(&a, "/v1/subscribers/u99@a.example").await.0, 200);
        let (_, user) = get(&a, "/v1/users/sip%3Au42@a.example").await;
        assert_eq!((&user["class"], &user["impi"]), (&json!("police"), &json!("u42@a.example")));
        let (_, agreement) =
            get(&a, "/v1/agreements/sip%3Ab.example/outbound/class%3Apolice").await;
        assert_eq!(agreement["valid_until"], json!(4_102_444_800_u64));
        assert_eq!(get(&a, "/v1/pools/visits").await.1["direction"], json!("outbound"));
        assert_eq!(
            get(&a, "/v1/system-configurations/sip%3Aa.example").await.1["revision"],
            json!(1)
        );
    }
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test]
async fn nothing_is_changed_if_a_row_is_wrong_or_would_be_refused() {
    let (a, b) = two_systems();
    let files = Files::new("refused");
    let requests = |system: &RunningSystem| {
        let text = system.metrics();
        text.lines().filter(|line| line.starts_with("migcore_management_requests_total")).count()
    };
    let mut wrong = files.of_system_a(50);
    let row = format!("v@a.example,sip:v@a.example,{},{KEY},,,\n", &KEY[1..]);
    let table = "impi,impu,k,opc,mc_service_id,class,token\n".to_owned() + &row;
    wrong.push(files.write("more.csv", &table));
    match load(&job(wrong, &a)).await {
        Err(LoadError::Wrong(findings)) => {
            let told = findings.to_string();
            assert!(told.contains("more.csv:2: k is not 32 hexadecimal digits"), "{told}");
            assert!(!told.contains(&KEY[1..9]), "{told}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(requests(&a), 0, "nothing was sent");

    let mut refused = files.of_system_a(50);
    let unknown =
        "partner,direction,users,valid_until\nsip:c.example,outbound,everybody,4102444800\n";
    refused.push(files.write("unknown.csv", unknown));
    match load(&job(refused, &a)).await {
        Err(LoadError::WouldRefuse(findings)) => {
            let told = findings.to_string();
            assert!(told.contains("unknown.csv:2: ") && told.lines().count() == 2, "{told}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(get(&a, "/v1/subscribers/u0@a.example").await.0, 404, "nothing was changed");
    assert_eq!(get(&a, "/v1/pools/visits").await.0, 404, "nothing was changed");
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test]
async fn the_command_tells_by_its_exit_code_who_is_to_blame() {
    let (a, b) = two_systems();
    let files = Files::new("command");
    let paths = files.of_system_a(3);
    let paths: Vec<&str> = paths.iter().map(|path| path.to_str().unwrap()).collect();
    let system = url(&a);
    let with =
        |system: &'static str| [&["provision", "load"], &paths[..], &["--system", system]].concat();
    let unreachable = migcore(&with("http://127.0.0.1:9")).await;
    let told = String::from_utf8(unreachable.stderr).unwrap();
    assert_eq!(unreachable.status.code(), Some(1), "{told}");
    assert!(told.contains("nothing was changed") && !told.contains("u0@"), "{told}");

    let bad = files.write("bad.csv", "impi,impu,k\nx,y,z\n");
    let bad = migcore(&["provision", "load", bad.to_str().unwrap(), "--system", &system]).await;
    assert_eq!(bad.status.code(), Some(2));
    assert!(String::from_utf8(bad.stderr).unwrap().contains("bad.csv:2: impu "));
    let missing = migcore(&["provision", "load", "/nonexistent.csv", "--system", &system]).await;
    assert_eq!(missing.status.code(), Some(2));

    for (wrong, what) in [
        (&["--system", "127.0.0.1:8080"][..], "no URL with scheme"),
        (&["--ue-dir", "x", "--ue-csc4", "x", "--ue-sip-core", "udp:127.0.0.1:1"], "no URL"),
        (&["--ue-dir", "x", "--ue-csc4", "http://x", "--ue-sip-core", "127.0.0.1:1"], "udp:"),
    ] {
        let told = migcore(&[&["provision", "load", paths[0]], wrong].concat()).await;
        assert_eq!(told.status.code(), Some(2), "{wrong:?}");
        let told = String::from_utf8(told.stderr).unwrap();
        assert!(told.contains(what), "{told}");
    }
    // Another interface of the same system: nothing in the files is wrong.
    let elsewhere = format!("http://{}", a.bound().csc4.unwrap());
    let elsewhere = migcore(&["provision", "load", paths[0], "--system", &elsewhere]).await;
    let told = String::from_utf8(elsewhere.stderr).unwrap();
    assert_eq!(elsewhere.status.code(), Some(1), "{told}");
    assert!(told.contains("nothing was changed: "), "{told}");

    let good = [&["provision", "load"], &paths[..], &["--system", &system]].concat();
    let good = migcore(&good).await;
    let told = String::from_utf8(good.stderr).unwrap();
    assert_eq!(
        (good.status.code(), &good.stdout[..]),
        (Some(0), &b"10 changes were made\n"[..]),
        "{told}"
    );
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test]
async fn keys_go_to_the_system_and_not_to_a_proxy_of_the_environment() {
    let (a, b) = two_systems();
    let files = Files::new("proxy");
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_migcore"));
    command.args(["provision", "load", "--system", &url(&a)]).args(files.of_system_a(1));
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env(name, format!("http://{}", proxy.local_addr().unwrap()));
    }
    command.env_remove("no_proxy").env_remove("NO_PROXY");
    let done = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(proxy.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test]
async fn a_loaded_user_migrates_with_the_state_file_written_for_its_ue() {
    let (a, b) = two_systems();
    eventually("connected", || a.is_connected()).await;
    let files = Files::new("ue");
    load(&job(files.of_system_b(), &b)).await.unwrap();
    let ue_files = UeFiles {
        directory: files.0.join("ues"),
        csc4: format!("http://{}", a.bound().csc4.unwrap()).parse().unwrap(),
        sip_core: vec![format!("udp:{}", a.bound().sip[0]).parse().unwrap()],
    };
    let job = Load { ue_files: Some(ue_files), ..job(files.of_system_a(3), &a) };
    assert_eq!(load(&job).await.unwrap().ue_files, 3);
    let path = files.0.join("ues/u2@a.example.toml");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0, "it holds keys");
    drop(StateFile::open(&path).unwrap());

    let path = path.to_str().unwrap();
    let partner = "sip:b.example";
    let done =
        migcore(&["ue", "migrate", "--state", path, "--plmn", "00101", "--partner", partner]).await;
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(get(&b, "/v1/pools/visits").await.1["lent"], json!(1));
    let state = std::fs::read_to_string(path).unwrap();
    assert!(state.contains("ind_bits = 5\n"), "the home's");
    // What is there already is left alone: it holds sequence numbers by now.
    let again = load(&job).await.unwrap();
    assert_eq!((again.ue_files, again.ue_files_kept), (0, 3));
    assert_eq!(std::fs::read_to_string(path).unwrap(), state);
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test]
async fn users_for_sipp_go_through_steps_1_to_13_and_keep_their_pairs() {
    let (a, b) = two_systems();
    let files = Files::new("sipp");
    let job = SippCsv {
        subscribers: 40,
        output: files.0.join("sipp.csv"),
        home: url(&a),
        home_csc4: format!("http://{}", a.bound().csc4.unwrap()).parse().unwrap(),
        partner: url(&b),
        partner_sip_core: Some(b.bound().sip[0]),
    };
    let mut identities = Vec::new();
    for round in 1..=2 {
        write_sipp_csv(&job).await.unwrap();
        let text = std::fs::read_to_string(&job.output).unwrap();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("SEQUENTIAL"));
        let mut seen = BTreeSet::new();
        for line in lines {
            let fields: Vec<&str> = line.split(';').collect();
            let [impi, user, "b.example", keyword] = fields[..] else { panic!("{line}") };
            assert!(keyword.starts_with(&format!("[authentication username={impi} aka_K=0x")));
            assert!(keyword.ends_with(" aka_AMF=0x8000]") && keyword.len() <= 256);
            assert!(seen.insert((impi.to_owned(), user.to_owned())), "lent twice");
        }
        assert_eq!(seen.len(), 40);
        identities.push(seen);
        // A asks B for access; B lends, and A has B's answer.
        for (system, step) in [(&a, 7), (&b, 10), (&b, 12), (&a, 13)] {
            let steps = metric(system, &format!("migcore_steps_total{{step=\"MIG-{step}\"}}"));
            assert!(steps >= 40.0 * f64::from(round), "MIG-{step}: {steps}");
        }
    }
    assert_eq!(identities[0], identities[1]);
    for (system, pool) in [(&a, "outbound"), (&b, "inbound")] {
        assert_eq!(get(system, &format!("/v1/pools/{pool}")).await.1["lent"], json!(40));
    }
    let mode = std::fs::metadata(&job.output).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "nobody else may read keys");
    a.shutdown().await;
    b.shutdown().await;
}
