//! `migcore store export`, `import` and `check`: a system goes on in another directory as if nothing had
//! happened, and what is wrong with a file is told before anything is written.
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

mod node_world;

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use migcore::{
    identity::Plmn,
    node::{
        Options, RunningSystem,
        provision::{Load, UeFiles, load},
        storage::{EmbeddedEngine, Keys, json},
    },
    store::{Commit, CommitSeq, Engine, Mutation, RecordKind},
    ue_configuration::InitialUeConfiguration,
};
use node_world::{eventually, peer, start_with};
use serde_json::{Value, json};

const K: &str = "465b5ce8b199b49faa5f0a2ee238a6bc";
const A_TO_B: &str = "token-of-a-at-b-0123456789";
const B_TO_A: &str = "token-of-b-at-a-0123456789";
const USERS: [&str; 3] = ["alice", "bob", "carol"];

fn migcore(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_migcore")).args(arguments).output().unwrap()
}

/// What a command printed, given that it succeeded.
#[track_caller]
fn done(arguments: &[&str]) -> String {
    let output = migcore(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?} {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a command complained of, given that it ended with `code`.
#[track_caller]
fn failed(code: i32, arguments: &[&str]) -> String {
    let output = migcore(arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?} {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// A directory of this test run, removed at the end, with a storage key in it.
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        // One of an earlier run that was cut off.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        let files = Self(path);
        done(&["store", "new-key", "--output", &files.path("key")]);
        files
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn engine(&self, store: &str) -> EmbeddedEngine {
        let keys = Keys::read(&self.0.join("key")).unwrap();
        EmbeddedEngine::open(&self.0.join(store), keys).unwrap()
    }

    /// `migcore store` with the place of a store.
    fn store<'a>(&'a self, command: &[&'a str], store: &str) -> Vec<String> {
        let (directory, key) = (self.path(store), self.path("key"));
        let place = ["--directory", &directory, "--key-file", &key];
        let all = [&["store"], command, &place].concat();
        all.into_iter().map(str::to_owned).collect()
    }

    #[track_caller]
    fn done(&self, command: &[&str], store: &str) -> String {
        let arguments = self.store(command, store);
        done(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    #[track_caller]
    fn failed(&self, code: i32, command: &[&str], store: &str) -> String {
        let arguments = self.store(command, store);
        failed(code, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// TOML of the partner `letter`, which covers PLMN 20801.
fn with_partner(letter: &str, url: &str, (send, accept): (&str, &str)) -> String {
    format!(
        "[config_server]\nstatic_tokens = true\nlisten = \"127.0.0.1:0\"\nlisten_partners = \"127.0.0.1:0\"\n\
         [[config_server.partners]]\nid = \"sip:{letter}.example\"\n\
         sip_database = \"sipdb.{letter}.example\"\nurl = \"{url}\"\n\
         send_token = \"{send}\"\naccept_token = \"{accept}\"\nareas = [{{ plmn = \"20801\" }}]\n"
    )
}

/// Starts systems A and B on stores; B listens where UEs were told.
async fn start_both(
    files: &Files,
    (a, b): (&str, &str),
    sip: Option<SocketAddr>,
) -> (RunningSystem, RunningSystem) {
    let options =
        |store| Options { engine: Some(Box::new(files.engine(store))), ..Options::default() };
    let sip = sip.map_or_else(String::new, |sip| format!("[sip]\nlisten = \"{sip}\"\n"));
    let from_a = with_partner("a", "http://127.0.0.1:9", (B_TO_A, A_TO_B));
    let database = peer("sipdb.a.example", "database", None);
    let partner = start_with("b.example", &(from_a + &sip + &database), options(b));
    let url = format!("http://{}", partner.bound().csc17.unwrap());
    let database = peer("sipdb.b.example", "database", partner.bound().diameter);
    let from_b = with_partner("b", &url, (A_TO_B, B_TO_A));
    let home = start_with("a.example", &(from_b + &database), options(a));
    eventually("connected", || home.is_connected() && partner.is_connected()).await;
    (home, partner)
}

/// Fills both systems, and writes state files for the UEs of A.
async fn provision(files: &Files, home: &RunningSystem, partner: &RunningSystem) {
    let mut users = "impi,impu,k,opc,mc_service_id,token\n".to_owned();
    for user in USERS {
        users += &format!(
            "{user}@a.example,sip:{user}@a.example,{K},{K},sip:{user}@a.example,token-of-{user}-0123456789\n"
        );
    }
    let agreement = |partner: &str, direction: &str| {
        format!(
            "partner,direction,users,valid_until\n{partner},{direction},everybody,2100-01-01T00:00:00Z\n"
        )
    };
    let pool = |direction: &str, id: &str, domain: &str| {
        format!(
            "[pools.visits]\ndirection = \"{direction}\"\ngenerated = {{ impi_template = \
             \"{id}-{{id}}@{domain}\", impu_template = \"sip:{id}-{{id}}@{domain}\" }}\n"
        )
    };
    let document = InitialUeConfiguration::for_domain("b.example", Plmn::parse("20801").unwrap());
    files.write("b.xml", &document.unwrap().render());
    let told = format!(
        "[system-configurations.\"sip:b.example\"]\nrevision = 1\ndocument_file = \"b.xml\"\n\
         sip_core = [{{ transport = \"udp\", address = \"{}\" }}]\n",
        partner.bound().sip[0]
    );
    let of = |system: &RunningSystem, names: &[(&str, String)], ue_files| Load {
        files: names.iter().map(|(name, text)| files.write(name, text)).collect(),
        system: format!("http://{}", system.bound().management.unwrap()),
        ue_files,
    };
    let ue_files = UeFiles {
        directory: files.0.join("ues"),
        csc4: format!("http://{}", home.bound().csc4.unwrap()).parse().unwrap(),
        sip_core: vec![format!("udp:{}", home.bound().sip[0]).parse().unwrap()],
    };
    let a = [
        ("users.csv", users),
        ("a.csv", agreement("sip:b.example", "outbound")),
        ("a.toml", pool("outbound", "out", "a.example")),
    ];
    load(&of(home, &a, Some(ue_files))).await.unwrap();
    let b = [
        ("b.csv", agreement("sip:a.example", "inbound")),
        ("b.toml", pool("inbound", "mig", "b.example") + &told),
    ];
    load(&of(partner, &b, None)).await.unwrap();
}

/// Runs `migcore ue` for a user.
#[track_caller]
fn ue(files: &Files, user: &str, arguments: &[&str]) -> String {
    let state = files.path(&format!("ues/{user}@a.example.toml"));
    done(&[&["ue"], arguments, &["--state", &state]].concat())
}

/// The lent pair of a user, as its UE shows it.
fn pair(files: &Files, user: &str) -> String {
    let status = ue(files, user, &["status"]);
    let line =
        status.lines().find(|line| line.contains("mig-")).unwrap_or_else(|| panic!("{status}"));
    line.to_owned()
}

#[tokio::test]
async fn every_ue_that_was_migrated_registers_again_at_systems_made_of_exports() {
    let files = Files::new("store-export");
    let (home, partner) = start_both(&files, ("a", "b"), None).await;
    let sip = partner.bound().sip[0];
    provision(&files, &home, &partner).await;
    for user in USERS {
        ue(&files, user, &["migrate", "--plmn", "20801"]);
        let printed = ue(&files, user, &["register"]);
        assert!(printed.contains("registered at sip:b.example"), "{printed}");
    }
    let pairs = USERS.map(|user| pair(&files, user));
    let said = files.failed(1, &["export", "--output", &files.path("x"), "--secrets"], "a");
    assert!(said.contains("in use by another process"), "{said}");
    home.shutdown().await;
    partner.shutdown().await;

    for store in ["a", "b"] {
        let printed = files.done(&["check"], store);
        assert!(printed.contains("fit together"), "{printed}");
        let (export, copy) = (files.path(&format!("{store}.jsonl")), format!("{store}2"));
        println!("{}", files.done(&["export", "--output", &export, "--secrets"], store));
        let mode = fs::metadata(&export).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        println!("{}", files.done(&["import", &export], &copy));
        // What is exported of the copy is what was imported, line by line.
        let again = files.path("again.jsonl");
        files.done(&["export", "--output", &again, "--secrets"], &copy);
        assert_eq!(fs::read_to_string(&export).unwrap(), fs::read_to_string(&again).unwrap());
    }

    let (home, partner) = start_both(&files, ("a2", "b2"), Some(sip)).await;
    for (user, before) in USERS.iter().zip(pairs) {
        let printed = ue(&files, user, &["register"]);
        assert!(printed.contains("registered at sip:b.example"), "{printed}");
        assert_eq!(pair(&files, user), before);
    }
    home.shutdown().await;
    partner.shutdown().await;
}

const END: &str = "2031-01-01T00:00:00Z";

/// Records of one system, in the order of an export, with their kinds and keys.
fn records() -> Vec<(&'static str, &'static str, Value)> {
    let pair = |user: &str, domain: &str| json!({"impi": format!("{user}@{domain}"), "impu": format!("sip:{user}@{domain}")});
    let subscriber = |user: &str| {
        json!({
            "impus": [format!("sip:{user}@a.example")], "k": K, "opc": K, "amf": "8000", "reserved_seq": 7,
            "epoch": 0, "ind_bits": 5, "visited": [], "server_name": null, "registered": false,
        })
    };
    let generated = |direction: &str, id: &str| {
        json!({"direction": direction, "source": {"generated": {
            "impi_template": format!("{id}-{{id}}@a.example"), "impu_template": format!("sip:{id}-{{id}}@a.example"),
            "key": K.repeat(2), "reserved": 1024,
        }}})
    };
    let inbound = |impu: &str, user: &str, origin: Value| {
        json!({
            "impu": impu, "lease": {"reserved": END}, "origin": origin, "allowed": null,
            "primary": {"database": "sipdb.b.example", "identity": pair(user, "b.example"), "server_name": "sip:m.b.example"},
        })
    };
    let outbound = json!({
        "impu": "sip:o-1@a.example", "user": pair("alice", "a.example"), "partner": "sipdb.b.example",
        "lease": {"reserved": END}, "origin": {"generated": {"pool": "out", "n": 0}}, "allowed": null,
    });
    vec![
        ("subscriber", "alice@a.example", subscriber("alice")),
        ("subscriber", "bob@a.example", subscriber("bob")),
        (
            "pool",
            "guests",
            json!({"direction": "inbound", "source": {"listed": {"quarantine": {"secs": 9, "nanos": 0}}}}),
        ),
        ("pool", "out", generated("outbound", "o")),
        ("pool", "visitors", generated("inbound", "v")),
        (
            "pool-entry",
            "guests g-1@a.example",
            json!({"identity": pair("g-1", "a.example"), "place": [END, 0]}),
        ),
        (
            "inbound-binding",
            "g-2@a.example",
            inbound("sip:g-2@a.example", "dora", json!({"listed": {"pool": "guests"}})),
        ),
        (
            "inbound-binding",
            "v-1@a.example",
            inbound(
                "sip:v-1@a.example",
                "emil",
                json!({"generated": {"pool": "visitors", "n": 3}}),
            ),
        ),
        ("outbound-binding", "o-1@a.example", outbound),
        (
            "grant",
            "bob@a.example sipdb.b.example",
            json!({
                "user": pair("bob", "a.example"), "partner": "sipdb.b.example", "until": END, "allowed": null,
            }),
        ),
        (
            "registration",
            "v-1@a.example",
            json!({"impus": ["sip:v-1@a.example"], "contacts": [{
                "uri": "sip:emil@192.0.2.1", "parameters": "", "paths": [], "call_id": "c", "cseq": 1, "expires_at": END,
            }]}),
        ),
    ]
}

/// A store of [`records`], and some that were deleted.
fn fill(files: &Files, store: &str) {
    let mut engine = files.engine(store);
    for (number, (kind, key, record)) in (1..).zip(records()) {
        let line = json!({"kind": kind, "key": key, "version": number, "record": record});
        let commit =
            |seq, mutation| Commit { seq: CommitSeq::from_u64(seq), mutations: [mutation].into() };
        let put = commit(2 * number, json::StoredRecord::from_json(line).unwrap().mutation());
        let gone = commit(2 * number + 1, Mutation::delete(RecordKind::Grant, "gone"));
        engine.commit(&[put, gone]).unwrap();
    }
}

/// The number of the line of a record.
fn line_of(key: &str) -> usize {
    records().iter().position(|(_, found, _)| *found == key).unwrap() + 2
}

#[test]
fn what_is_wrong_with_a_file_is_told_with_its_line_before_anything_is_written() {
    let files = Files::new("store-import");
    fill(&files, "store");
    let export = files.path("export.jsonl");
    files.done(&["export", "--output", &export, "--secrets"], "store");
    let text = fs::read_to_string(&export).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), records().len() + 2);
    assert!(lines[0].contains("\"highest\":23"), "{}", lines[0]);

    let import = |name: &str, text: &str| {
        let file = files.write("bad.jsonl", text).display().to_string();
        let said = files.failed(2, &["import", &file], "new");
        assert!(!files.0.join("new/store").exists(), "{name}");
        said
    };
    // Whole files.
    let cut = lines[..5].join("\n") + "\n" + &lines[5][..40];
    let newer = text.replace("\"migcore_export\":1,", "\"migcore_export\":2,");
    for (name, text, told) in [
        ("empty", String::new(), "its first line is missing"),
        ("something else", "k,v\n1,2\n".to_owned(), "its first line is not the one of an export"),
        ("newer", newer, "format 2, newer than this build's 1"),
        ("cut off", cut, "line 6: is not JSON"),
        (
            "cut off between lines",
            lines[..5].join("\n"),
            "line 5: is the last one, and no end of an export",
        ),
        (
            "a line lost",
            [&lines[..11], &lines[12..]].concat().join("\n"),
            "line 12: migcore_export_end.registration is 1, but there are 0",
        ),
        ("more", text.clone() + lines[1], "line 14: comes after the last line"),
        (
            "no end of numbers",
            text.replacen("\"highest\":23", "\"highest\":9223372036854775808", 1),
            "line 1: highest is more than 9223372036854775807",
        ),
        ("not UTF-8", text.replacen("v-1", "\u{1}", 1), "is not JSON"),
    ] {
        let said = import(name, &text);
        assert!(said.contains(told), "{name}: {said}");
    }
    // Single records: which, what in its place, what is told.
    let pair = |user: &str| json!({"impi": format!("{user}@b.example"), "impu": format!("sip:{user}@b.example")});
    let (alice, out, visitor) = ("alice@a.example", "o-1@a.example", "v-1@a.example");
    let cases: Vec<(&str, &str, Value, String)> = vec![
        (alice, "/record/k", json!("4x"), "record.k is not 32 hexadecimal digits".into()),
        (
            alice,
            "/record/k",
            Value::Null,
            "record.k is a secret that was left out: export again with --secrets".into(),
        ),
        (alice, "/version", json!(24), "version is higher than highest".into()),
        (alice, "/kind", json!("subscribers"), "kind is no kind of record".into()),
        (
            "bob@a.example",
            "/key",
            json!(alice),
            format!("subscriber: key is there twice (line {})", line_of(alice)),
        ),
        (
            "bob@a.example",
            "/record/impus/0",
            json!("sip:alice@a.example"),
            format!(
                "record.impus is a public identity that has another owner too (line {})",
                line_of(alice)
            ),
        ),
        ("g-2@a.example", "/record/primary/identity", pair("emil"), String::new()),
        (
            visitor,
            "/record/primary/identity",
            pair("dora"),
            format!(
                "record.primary has another inbound binding too (line {})",
                line_of("g-2@a.example")
            ),
        ),
        (
            visitor,
            "/record/origin/generated/pool",
            json!("gone"),
            "record.origin names a pool that is not there".into(),
        ),
        (
            visitor,
            "/record/origin/generated/pool",
            json!("out"),
            "record.origin names a pool that lends the other way".into(),
        ),
        (
            visitor,
            "/record/origin/generated/pool",
            json!("guests"),
            "record.origin is a number, and the pool is a listed one".into(),
        ),
        (
            visitor,
            "/record/impu",
            json!("sip:g-1@a.example"),
            format!(
                "record.impu is a public identity that has another owner too (line {})",
                line_of("guests g-1@a.example")
            ),
        ),
        (
            visitor,
            "/key",
            json!("g-1@a.example"),
            format!(
                "key is a private identity that has another owner too (line {})",
                line_of("guests g-1@a.example")
            ),
        ),
        (
            out,
            "/record/user/impi",
            json!("zoe@a.example"),
            "record.user.impi is no subscriber's".into(),
        ),
        (out, "/kind", json!("pool"), "record".into()),
        (
            "guests g-1@a.example",
            "/key",
            json!("none g-1@a.example"),
            "key names a pool that is not there".into(),
        ),
        (
            "visitors",
            "/record/source/generated/impi_template",
            json!("o-{id}@a.example"),
            "record.source may generate what another pool may".into(),
        ),
    ];
    let mut all = lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    for (key, path, value, told) in &cases {
        let number = line_of(key);
        let mut bad = lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        let mut line: Value = serde_json::from_str(lines[number - 1]).unwrap();
        *line.pointer_mut(path).unwrap() = value.clone();
        bad[number - 1] = line.to_string();
        all[number - 1] = line.to_string();
        let said = import(path, &bad.join("\n"));
        assert!(said.contains("nothing was imported, for this is wrong:"), "{said}");
        if !told.is_empty() {
            assert!(
                said.contains(&format!("line {number}: ")) && said.contains(told),
                "{key} {path}: {said}"
            );
        }
        assert!(!said.contains(&K[..8]), "{said}");
    }
    // All that is wrong is told at once.
    let said = import("all", &all.join("\n"));
    for line in [2, 6, 7] {
        assert!(said.contains(&format!("line {line}: ")), "{line}: {said}");
    }
    // After all that the right one is imported, once.
    assert!(files.done(&["import", &export], "new").contains("11 in all"));
    let said = files.failed(2, &["import", &export], "new");
    assert!(
        said.contains("there is a store") && said.contains("import into an empty directory"),
        "{said}"
    );
    assert_eq!(files.engine("new").replay(&|_| Ok(())).unwrap(), CommitSeq::from_u64(23));
}

#[test]
fn an_export_without_secrets_has_none_and_is_not_imported() {
    let files = Files::new("store-hidden");
    fill(&files, "store");
    let export = files.path("export.jsonl");
    let printed = files.done(&["export", "--output", &export], "store");
    assert!(printed.contains("without keys and credentials"), "{printed}");
    let text = fs::read_to_string(&export).unwrap();
    assert!(!text.contains(K) && text.contains("\"opc\":null"), "{text}");
    assert_eq!(files.done(&["export", "--output", "-"], "store"), text);
    let said = files.failed(2, &["import", &export], "new");
    assert!(said.contains("export again with --secrets"), "{said}");
}

#[test]
fn what_the_arguments_are_to_blame_for_ends_with_2_and_what_the_world_is_with_1() {
    let files = Files::new("store-blame");
    fill(&files, "store");
    let said = files.failed(2, &["import", "/nonexistent"], "store");
    assert!(said.contains("there is a store in"), "looked for before the file is read: {said}");
    let said = files.failed(2, &["import", "/nonexistent"], "new");
    assert!(said.contains("cannot read the file"), "{said}");
    files.failed(2, &["import", "/"], "new");
    // A file that opens, and whose first octet cannot be read: EIO.
    let said = files.failed(1, &["import", "/proc/self/mem"], "new");
    assert!(said.contains("cannot read the file"), "{said}");

    let said = files.failed(2, &["check"], "new");
    assert!(said.contains("there is no store in"), "{said}");
    // What cannot be looked into is not said to be empty.
    let said = files.failed(1, &["check"], "key/below");
    assert!(said.contains("cannot look into"), "{said}");
}

#[test]
fn a_command_tells_all_that_is_wrong_in_its_configuration() {
    let files = Files::new("store-config");
    let text = "[system]\ndomain = \"a.example\"\n[sip]\nlissen = 1\n[log]\nlevle = 2\n";
    let config = files.write("bad.toml", text).display().to_string();
    let said = failed(2, &["store", "check", "--config", &config]);
    assert!(said.contains("line 4: sip.lissen") && said.contains("line 6: log.levle"), "{said}");
}

#[test]
fn an_import_that_was_cut_off_is_no_empty_system() {
    let files = Files::new("store-cut-off");
    fill(&files, "store");
    let export = files.path("export.jsonl");
    files.done(&["export", "--output", &export, "--secrets"], "store");
    // As a crash leaves it: the note that an import began, and part of a store.
    fs::create_dir_all(files.0.join("new/store.new")).unwrap();
    fs::write(files.0.join("new/import"), "").unwrap();
    let keys = Keys::read(&files.0.join("key")).unwrap();
    let Err(error) = EmbeddedEngine::open(&files.0.join("new"), keys) else { panic!("it opened") };
    assert!(error.to_string().contains("was cut off: import again"), "{error}");
    files.done(&["import", &export], "new");
    assert!(files.done(&["check"], "new").contains("11 in all"));
    assert!(!files.0.join("new/import").exists());
    let mut names: Vec<_> = fs::read_dir(files.0.join("new"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(!names.contains(&"store.new".to_owned()), "{names:?}");
}

#[test]
fn a_check_tells_what_is_wrong_and_of_which_record_only_if_asked() {
    let files = Files::new("store-check");
    fill(&files, "store");
    assert!(files.done(&["check"], "store").contains("fit together"));
    {
        let mut engine = files.engine("store");
        let bad = |kind, key: &str, value: &[u8]| Mutation {
            kind,
            key: key.as_bytes().into(),
            value: Some(value.to_vec()),
        };
        let line = |(kind, key, record): (&str, &str, Value)| {
            let line = json!({"kind": kind, "key": key, "version": 1, "record": record});
            json::StoredRecord::from_json(line).unwrap().mutation()
        };
        let twice = records().into_iter().find(|(_, key, _)| *key == "v-1@a.example").unwrap();
        let mutations = vec![
            bad(RecordKind::Registration, "cut@a.example", &[1, 200]),
            bad(RecordKind::User, "sip:newer@a.example", &[9, 1]),
            line((twice.0, "v-2@a.example", twice.2)),
            Mutation::delete(RecordKind::Pool, "out"),
        ];
        engine
            .commit(&[Commit { seq: CommitSeq::from_u64(100), mutations: mutations.into() }])
            .unwrap();
    }
    let said = files.failed(1, &["check"], "store");
    for told in [
        "registration cannot be read: record is damaged",
        "user cannot be read: record format 9 is newer",
        "another owner too (record ",
        "outbound-binding: record.origin names a pool that is not there",
    ] {
        assert!(said.contains(told), "{told}: {said}");
    }
    assert!(!said.contains("@a.example"), "{said}");
    let said = files.failed(1, &["check", "--verbose"], "store");
    assert!(said.contains("is the registration \"cut@a.example\""), "{said}");
    // Damaged records are not exported as if they were none.
    let said = files.failed(1, &["export", "--output", &files.path("x")], "store");
    assert!(said.contains("a record of kind registration cannot be exported"), "{said}");
    assert!(!files.0.join("x").exists() && !files.0.join("x.part").exists());
    let said = files.failed(2, &["check"], "nothing");
    assert!(said.contains("there is no store in"), "{said}");
    assert!(!files.0.join("nothing").exists());
}
