//! Kills at states of a transaction that pass by in a moment or that nobody's list shows, and in the middle of an effect
//! on many; and what is left of a password in the files of a process.

use std::{collections::BTreeSet, fs, path::Path, time::Instant};

use migcore::ue_configuration::InitialUeConfiguration;
use serde_json::{Value, json};

use crate::{
    pap_password::add_pap_password,
    process::{Files, Process, migrants},
    world::{Administrator, Pair, Side, configuration, item_path, to_other, to_user, user, xcfg},
};

/// Both systems run, each with an administrator: Anna of A and Bob of B.
async fn both(pair: &Pair, files: &Files, of_partner: &str) -> ([Process; 2], [Administrator; 2]) {
    let mut a = Process::new(pair, Side::A, &files.0, of_partner);
    let mut b = Process::new(pair, Side::B, &files.0, of_partner);
    a.start().await;
    b.start().await;
    pair.provision(Side::A, &["anna"]).await;
    pair.provision(Side::B, &["bob"]).await;
    let administrators = [pair.administrator(Side::A, "anna"), pair.administrator(Side::B, "bob")];
    ([a, b], administrators)
}

/// How often a transaction came to a state.
fn times(progress: &Value, state: &str) -> usize {
    let history = progress["history"].as_array().unwrap();
    history.iter().filter(|change| change["state"] == state).count()
}

/// Exports what is stored, and returns where.
fn export(process: &Process, name: &str) -> String {
    let path = process.path(name);
    let output = process.store(&["export", "--secrets", "--output", &path], "data");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    path
}

/// The request is durable and acknowledged, and nothing else has come of it: what a process leaves that is killed right
/// after the first of its commits.
#[tokio::test]
async fn a_request_that_was_only_stored_when_the_process_was_killed_is_decided_once() {
    let (files, pair) = (Files::new("acm-kill-stored"), Pair::draw());
    let ([_a, mut b], [anna, bob]) = both(&pair, &files, "").await;
    let transaction = anna.begin(&xcfg(Side::A, 7)).await;
    bob.has_item(Side::A, &transaction).await;
    b.kill();
    let exported = export(&b, "export");
    let text = fs::read_to_string(&exported).unwrap();
    let before = |line: &str| {
        if !line.starts_with("{\"kind\":\"acm-incoming\"") {
            return line.to_owned();
        }
        let changed = line
            .replace("\"state\":\"waiting\"", "\"state\":\"stored\"")
            .replace("\"indicated\":true", "\"indicated\":false");
        assert_ne!(changed, line);
        changed
    };
    let lines: Vec<String> = text.lines().map(before).collect();
    fs::write(&exported, lines.join("\n") + "\n").unwrap();
    fs::rename(b.path("data"), b.path("later")).unwrap();
    let imported = b.store(&["import", &exported], "data");
    assert_eq!(imported.status.code(), Some(0), "{imported:?}");

    for _ in 0..2 {
        b.start().await;
        bob.has_item(Side::A, &transaction).await;
        b.kill();
    }
    b.start().await;
    anna.reached(&transaction, &["pending-at-partner"]).await;
    assert_eq!(bob.items().await.len(), 1);
    assert_eq!(bob.decide(Side::A, &transaction, json!("accept")).await.0, 200);
    let progress = anna.reached(&transaction, &["responded"]).await;
    assert_eq!(progress["response"]["result"], "ok");
    for state in ["pending-at-partner", "responded"] {
        assert_eq!(times(&progress, state), 1, "{state} in {progress}");
    }
    assert_eq!(crate::revision_at(&pair, Side::B, Side::A).await, Some(7));
}

#[tokio::test]
async fn a_request_that_waits_for_an_alias_outlives_kills_and_goes_to_who_activates_it() {
    let (files, pair) = (Files::new("acm-kill-alias"), Pair::draw());
    let ([mut a, mut b], [anna, bob]) = both(&pair, &files, "").await;
    let group = "/acm/v1/groups/sip%3Agroup@a.example";
    assert_eq!(anna.ask("PUT", group, None).await.0, 204);
    let mut offer = to_other(Side::A, json!({ "groups": ["sip:group@a.example"] }));
    offer.parties.target_alias = Some("sip:driver@b.example".parse().unwrap());
    let transaction = anna.begin(&offer).await;
    anna.reached(&transaction, &["pending-at-partner"]).await;
    bob.log_on().await;
    for _ in 0..2 {
        assert_eq!(bob.items().await, [Value::Null; 0], "nobody has the alias");
        b.kill_and_start().await;
        a.kill_and_start().await;
    }
    let stored = anna.progress(&transaction).await;
    assert_eq!(stored["summary"]["state"], "pending-at-partner");
    let port = pair.ports(Side::B).management;
    let bobs = user(Side::B, "bob");
    let holder = format!("sip%3Adriver@b.example/holders/{}", bobs.as_str().replace(':', "%3A"));
    let url = format!("http://127.0.0.1:{port}/v1/functional-aliases/{holder}");
    let activated = reqwest::Client::new().put(url).send().await.unwrap();
    assert_eq!(activated.status(), 200);
    bob.has_item(Side::A, &transaction).await;
    b.kill_and_start().await;
    bob.has_item(Side::A, &transaction).await;
    assert_eq!(bob.decide(Side::A, &transaction, json!("accept")).await.0, 200);
    let progress = anna.reached(&transaction, &["responded"]).await;
    assert_eq!(progress["response"]["result"], "received");
    assert_eq!(progress["response"]["handler_id"], "sip:bob@b.example");
    assert_eq!(times(&progress, "responded"), 1, "{progress}");
}

#[tokio::test]
async fn a_request_that_is_being_taken_back_outlives_kills_whether_the_partner_has_it_or_not() {
    let (files, pair) = (Files::new("acm-kill-cancelling"), Pair::draw());
    let ([mut a, mut b], [anna, bob]) = both(&pair, &files, "").await;
    for (revision, is_there) in [(1, false), (2, true)] {
        if !is_there {
            b.kill();
        }
        let transaction = anna.begin(&xcfg(Side::A, revision)).await;
        if is_there {
            bob.has_item(Side::A, &transaction).await;
            b.kill();
        }
        let of_it = format!("/acm/v1/transactions/{transaction}");
        assert_eq!(anna.ask("DELETE", &of_it, None).await.0, 204);
        anna.reached(&transaction, &["cancelling"]).await;
        a.kill_and_start().await;
        anna.reached(&transaction, &["cancelling"]).await;
        b.start().await;
        let progress = anna.reached(&transaction, &["responded"]).await;
        assert_eq!(progress["response"]["result"], "cancelled");
        b.kill_and_start().await;
        a.kill_and_start().await;
        let progress = anna.reached(&transaction, &["responded"]).await;
        assert_eq!(times(&progress, "responded"), 1, "{progress}");
        assert_eq!(bob.items().await, [Value::Null; 0]);
        let (status, _) = bob.decide(Side::A, &transaction, json!("accept")).await;
        assert_eq!(status, 409);
        assert_eq!(crate::revision_at(&pair, Side::B, Side::A).await, None);
    }
}

/// Scenario 40, on the store of a process: kills at several times from the request to its end.
#[tokio::test]
async fn of_the_many_users_of_an_update_all_have_it_or_none_when_the_system_is_killed() {
    const USERS: usize = 20_000;
    const KILLS: u32 = 4;
    let (files, pair) = (Files::new("acm-kill-many"), Pair::draw());
    let ([mut a, mut b], [anna, _]) = both(&pair, &files, "policy.mode = \"accept\"\n").await;
    let users: Vec<String> = (0..USERS).map(|it| format!("sip:user-{it:06}@a.example")).collect();
    let update = |revision| {
        let configuration = configuration(Side::B, revision);
        let update = json!({ "update": { "users": users, "configuration": configuration } });
        to_user(Side::A, "bob", update)
    };
    let add = to_user(Side::A, "bob", json!({ "add-users": { "users": users } }));
    let began = Instant::now();
    for begin in [add, update(1)] {
        let transaction = anna.begin(&begin).await;
        let progress = anna.reached(&transaction, &["responded"]).await;
        assert_eq!(progress["response"]["result"], "ok", "{progress}");
    }
    let takes = began.elapsed() / 2;
    for kill in 1..=KILLS {
        let revision = u64::from(kill) + 1;
        let transaction = anna.begin(&update(revision)).await;
        tokio::time::sleep(takes * kill / (KILLS + 1)).await;
        b.kill();
        let held = revisions(&b);
        assert_eq!(held.len(), 1, "all or none: {held:?}");
        assert!(held.first().is_some_and(|it| (revision - 1..=revision).contains(it)), "{held:?}");
        b.start().await;
        let progress = anna.reached(&transaction, &["responded"]).await;
        assert_eq!(progress["response"]["result"], "ok", "{progress}");
    }
    a.kill();
    b.kill();
    for process in [&a, &b] {
        assert_eq!(revisions(process), BTreeSet::from([u64::from(KILLS) + 1]));
        assert_eq!(migrants(process, "users").len(), USERS);
    }
}

/// The revisions that the users added for migration have.
fn revisions(process: &Process) -> BTreeSet<u64> {
    let lines = migrants(process, "revisions");
    let revision = |line: &String| {
        let record: Value = serde_json::from_str(line).unwrap();
        record["record"]["configuration"]["revision"].as_u64().unwrap()
    };
    lines.iter().map(revision).collect()
}

const PASSWORD: &str = "correct-horse-battery-staple";

/// Scenario 16: what a process shows, logs and stores of a configuration with a password.
#[tokio::test]
async fn a_password_is_in_no_log_no_list_and_no_file_of_a_process_but_in_force() {
    let (files, pair) = (Files::new("acm-password"), Pair::draw());
    let log = "[log]\nlevel = \"trace\"\n";
    let mut a = Process::with(&pair, Side::A, &files.0, "", log);
    let mut b = Process::with(&pair, Side::B, &files.0, "", log);
    a.start().await;
    b.start().await;
    pair.provision(Side::A, &["anna"]).await;
    pair.provision(Side::B, &["bob"]).await;
    let [anna, bob] = [pair.administrator(Side::A, "anna"), pair.administrator(Side::B, "bob")];
    let begin = to_other(Side::A, json!({ "configuration": with_password(7) }));
    let transaction = anna.begin(&begin).await;
    bob.has_item(Side::A, &transaction).await;
    let shown = bob.get(&item_path(Side::A, &transaction)).await.to_string();
    assert!(shown.contains("engine") && !shown.contains(PASSWORD), "{shown}");
    assert_eq!(bob.decide(Side::A, &transaction, json!("accept")).await.0, 200);
    anna.reached(&transaction, &["responded"]).await;
    let shown = anna.get(&item_path(Side::A, &transaction)).await.to_string();
    assert!(!shown.contains(PASSWORD), "{shown}");
    a.kill();
    b.kill();
    for process in [&a, &b] {
        let logged = fs::read_to_string(process.path("log")).unwrap();
        assert!(logged.contains("XCFG-1"), "it says what passed: {logged}");
        assert!(!logged.contains(PASSWORD));
        let mut octets = 0;
        each_file(Path::new(&process.path("data")), &mut |path, content| {
            octets += content.len();
            let found = content.windows(PASSWORD.len()).any(|it| it == PASSWORD.as_bytes());
            assert!(!found, "{}", path.display());
        });
        assert!(octets > 1_000, "{octets} octets are stored");
    }
    // It is stored all the same, and comes out with the key.
    let exported = fs::read_to_string(export(&b, "export")).unwrap();
    assert!(exported.contains(PASSWORD));
}

/// What UEs are told of A, with a PAP password.
fn with_password(revision: u64) -> Value {
    let mut value = configuration(Side::A, revision);
    let made = InitialUeConfiguration::parse(value["document"].as_str().unwrap()).unwrap();
    let mut document = made.document().clone();
    add_pap_password(&mut document, PASSWORD);
    value["document"] = json!(InitialUeConfiguration::new(&document).unwrap().render());
    value
}

/// Calls `look` with the content of each file below a directory.
fn each_file(directory: &Path, look: &mut impl FnMut(&Path, &[u8])) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            each_file(&path, look);
        } else {
            look(&path, &fs::read(&path).unwrap());
        }
    }
}
