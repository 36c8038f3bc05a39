//! Both systems as processes that are killed at several states of both machines: each transaction ends with one
//! decision and one effect, and what is stored is whole.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::{Value, json};

use crate::world::{Administrator, Pair, Side, item_path, to_user, until, xcfg};

/// A system, running or not. Dropped, it is killed.
pub struct Process {
    pub side: Side,
    client: u16,
    directory: PathBuf,
    child: Option<Child>,
}

impl Process {
    pub fn new(pair: &Pair, side: Side, directory: &Path, of_partner: &str) -> Self {
        Self::with(pair, side, directory, of_partner, "")
    }

    /// The same, with more in its configuration.
    pub fn with(pair: &Pair, side: Side, directory: &Path, of_partner: &str, more: &str) -> Self {
        let directory = directory.join(side.letter());
        fs::create_dir_all(&directory).unwrap();
        let key = directory.join("key");
        done(&["store", "new-key", "--output", key.to_str().unwrap()]);
        let storage = format!(
            "[storage]\ndirectory = \"{0}/data\"\nkey_file = \"{0}/key\"\n",
            directory.display()
        );
        let toml = pair.toml(side, of_partner, "") + &storage + more;
        write_private(&directory.join("migcore.toml"), &toml);
        Self { side, client: pair.ports(side).client, directory, child: None }
    }

    pub fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    /// Starts it on what it stored before, and waits until it serves.
    pub async fn start(&mut self) {
        assert!(self.child.is_none(), "{:?} runs already", self.side);
        let log = OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_migcore"));
        command.args(["serve", "--config", &self.path("migcore.toml")]);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        let url = format!("http://127.0.0.1:{}/openapi.json", self.client);
        migcore::node::tls::use_ring();
        until(&format!("{:?} is up: {}", self.side, self.path("log")), async || {
            reqwest::get(&url).await.ok()?.error_for_status().ok().map(drop)
        })
        .await;
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            assert_eq!(child.try_wait().unwrap(), None, "{:?} ended by itself", self.side);
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub async fn kill_and_start(&mut self) {
        self.kill();
        self.start().await;
    }

    /// `migcore store`, with the place of the store.
    pub fn store(&self, command: &[&str], data: &str) -> Output {
        let (directory, key) = (self.path(data), self.path("key"));
        let place = ["--directory", &directory, "--key-file", &key];
        migcore(&[&["store"], command, &place].concat())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn migcore(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_migcore")).args(arguments).output().unwrap()
}

fn done(arguments: &[&str]) {
    let output = migcore(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?} {output:?}");
}

fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// A directory of this test run, removed at the end.
pub struct Files(pub PathBuf);

impl Files {
    pub fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        // One of an earlier run that was cut off.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Waits until the state of an item is one of `states`.
async fn item_is(bob: &Administrator, transaction: &str, states: &[&str]) {
    until(&format!("the item is {states:?}"), async || {
        let items = bob.items().await;
        let item = items.iter().find(|item| item["key"]["transaction"] == transaction)?;
        states.contains(&item["state"].as_str().unwrap()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_exchange_outlives_kills_at_every_state_and_ends_with_one_decision_and_one_effect() {
    let pair = Pair::draw();
    let begin = async |anna: &Administrator| anna.begin(&xcfg(Side::A, 7)).await;
    let check = async |_: &Administrator| {
        assert_eq!(crate::revision_at(&pair, Side::B, Side::A).await, Some(7));
    };
    let nothing = async |_: &Administrator, _: &Administrator| {};
    outlives_kills("acm-kills", &pair, "ok", (nothing, begin), check, &["acm-revision"]).await;
}

#[tokio::test]
async fn an_offer_of_groups_outlives_kills_at_every_state_and_ends_with_one_decision_and_one_effect()
 {
    let pair = Pair::draw();
    let groups = ["sip:fire@a.example", "sip:rescue@a.example"];
    let begin = async |anna: &Administrator| {
        for group in groups {
            let path = format!("/acm/v1/groups/{}", group.replace(':', "%3A"));
            assert_eq!(anna.ask("PUT", &path, None).await.0, 204);
        }
        anna.begin(&to_user(Side::A, "bob", json!({ "groups": groups }))).await
    };
    let check = async |bob: &Administrator| {
        let known = bob.get("/acm/v1/groups?home=sip%3Aa.example").await;
        let wanted = groups.map(|group| json!({ "group": group, "withdrawn": false }));
        assert_eq!(known["items"], json!(wanted));
    };
    let nothing = async |_: &Administrator, _: &Administrator| {};
    let kinds = ["acm-group"];
    outlives_kills("acm-group-kills", &pair, "received", (nothing, begin), check, &kinds).await;
}

#[tokio::test]
async fn an_update_of_users_outlives_kills_at_every_state_and_ends_with_one_decision_and_one_effect()
 {
    let pair = Pair::draw();
    let users = ["sip:una@a.example", "sip:ugo@a.example"];
    let add = async |anna: &Administrator, bob: &Administrator| {
        let add = json!({ "add-users": { "users": users } });
        let transaction = anna.begin(&to_user(Side::A, "bob", add)).await;
        bob.has_item(Side::A, &transaction).await;
        assert_eq!(bob.decide(Side::A, &transaction, json!("accept")).await.0, 200);
        anna.reached(&transaction, &["responded"]).await;
        let path = item_path(Side::A, &transaction) + "/acknowledgement";
        assert_eq!(anna.ask("POST", &path, None).await.0, 204);
    };
    let begin = async |anna: &Administrator| {
        let configuration = crate::world::configuration(Side::B, 9);
        let update = json!({ "update": { "users": users, "configuration": configuration } });
        anna.begin(&to_user(Side::A, "bob", update)).await
    };
    let check = async |_: &Administrator| {};
    let kinds = ["acm-migrant"];
    let (_files, a, b) =
        outlives_kills("acm-update-kills", &pair, "ok", (add, begin), check, &kinds).await;
    for process in [&a, &b] {
        let of_users = migrants(process, "updated");
        assert_eq!(of_users.len(), 2);
        assert!(of_users.iter().all(|it| it.contains("\"revision\":9")), "{of_users:?}");
    }
}

/// Plays a transaction that `begin` begins at A, after `prepare`, and that comes to `result`, and kills at each state of
/// both machines; `check` looks at its effect as an administrator of B. Of `kinds` there must be records in both
/// stores. Returns the processes, killed, with their files.
async fn outlives_kills(
    name: &str,
    pair: &Pair,
    result: &str,
    (prepare, begin): (
        impl AsyncFnOnce(&Administrator, &Administrator),
        impl AsyncFnOnce(&Administrator) -> String,
    ),
    check: impl AsyncFn(&Administrator),
    kinds: &[&str],
) -> (Files, Process, Process) {
    let files = Files::new(name);
    let mut a = Process::new(pair, Side::A, &files.0, "");
    let mut b = Process::new(pair, Side::B, &files.0, "");
    let anna = pair.administrator(Side::A, "anna");
    let bob = pair.administrator(Side::B, "bob");
    // Who is asked is known there, which is away when it begins.
    b.start().await;
    pair.provision(Side::B, &["bob"]).await;
    a.start().await;
    pair.provision(Side::A, &["anna"]).await;
    prepare(&anna, &bob).await;
    b.kill();

    // On its way, the partner never seen.
    let transaction = begin(&anna).await;
    anna.reached(&transaction, &["retrying"]).await;
    a.kill_and_start().await;
    b.start().await;
    anna.reached(&transaction, &["pending-at-partner"]).await;

    // Waiting for somebody, on both sides.
    item_is(&bob, &transaction, &["waiting-for-logon"]).await;
    b.kill_and_start().await;
    a.kill_and_start().await;
    anna.reached(&transaction, &["pending-at-partner"]).await;
    bob.log_on().await;
    item_is(&bob, &transaction, &["assigned"]).await;
    b.kill_and_start().await;
    item_is(&bob, &transaction, &["assigned"]).await;
    let path = item_path(Side::A, &transaction);
    let fetched = bob.get(&path).await;
    a.kill_and_start().await;
    b.kill_and_start().await;
    item_is(&bob, &transaction, &["fetched"]).await;
    let again = bob.get(&path).await;
    assert_eq!(again["payload"], fetched["payload"]);

    // Decided while the requester's system is away, and killed as soon as that is acknowledged.
    a.kill();
    let (status, decided) = bob.decide(Side::A, &transaction, json!("accept")).await;
    assert_eq!(status, 200, "{decided}");
    b.kill_and_start().await;
    let reject = json!({ "reject": { "reason": null } });
    until("it is decided for good", async || {
        let (status, problem) = bob.decide(Side::A, &transaction, reject.clone()).await;
        assert_eq!(status, 409, "{problem}");
        (problem["outcome"]["result"] == result).then_some(())
    })
    .await;
    check(&bob).await;
    // On the way back to a system that is away.
    b.kill_and_start().await;

    // Here, delivered, read.
    a.start().await;
    for (state, method, path) in [
        ("responded", "GET", item_path(Side::A, &transaction)),
        ("delivered", "POST", item_path(Side::A, &transaction) + "/acknowledgement"),
        ("closed", "GET", format!("/acm/v1/transactions/{transaction}")),
    ] {
        anna.reached(&transaction, &[state]).await;
        a.kill_and_start().await;
        anna.reached(&transaction, &[state]).await;
        let (status, answer) = anna.ask(method, &path, None).await;
        assert!(status < 300, "{state}: {answer}");
    }
    b.kill_and_start().await;
    let progress = anna.progress(&transaction).await;
    let history = progress["history"].as_array().unwrap();
    let states: Vec<&str> = history.iter().map(|it| it["state"].as_str().unwrap()).collect();
    for state in ["authorised", "responded", "delivered", "closed"] {
        let times = states.iter().filter(|it| **it == state).count();
        assert_eq!(times, 1, "{state} in {states:?}");
    }
    assert_eq!(progress["response"]["handler_id"], "sip:bob@b.example");
    assert_eq!(progress["response"]["result"], result);
    assert_eq!(bob.items().await, [Value::Null; 0]);
    check(&bob).await;
    a.kill();
    b.kill();
    for process in [&a, &b] {
        stores_are_whole(process, kinds);
    }
    (files, a, b)
}

/// What was stored can be read, fits together, and goes through an export and an import.
fn stores_are_whole(process: &Process, kinds: &[&str]) {
    let succeeds = |output: Output| {
        assert_eq!(output.status.code(), Some(0), "{:?} {output:?}", process.side);
        String::from_utf8(output.stdout).unwrap()
    };
    succeeds(process.store(&["check"], "data"));
    let export = process.path("export");
    succeeds(process.store(&["export", "--secrets", "--output", &export], "data"));
    let exported = fs::read_to_string(&export).unwrap();
    for kind in kinds.iter().chain(&["acm-user"]) {
        assert!(exported.contains(&format!("\"kind\":\"{kind}\"")), "{kind}");
    }
    let of_side = if process.side == Side::A { "acm-outgoing" } else { "acm-incoming" };
    assert!(exported.contains(of_side));
    succeeds(process.store(&["import", &export], "copy"));
    succeeds(process.store(&["check"], "copy"));
    let again = process.path("again");
    succeeds(process.store(&["export", "--secrets", "--output", &again], "copy"));
    assert_eq!(exported, fs::read_to_string(&again).unwrap());
}

#[tokio::test]
async fn transactions_that_policy_decides_outlive_kills_at_any_time() {
    const ROUNDS: u64 = 4;
    let files = Files::new("acm-random-kills");
    let pair = Pair::draw();
    let mut a = Process::new(&pair, Side::A, &files.0, "policy.mode = \"accept\"\n");
    let mut b = Process::new(&pair, Side::B, &files.0, "policy.mode = \"accept\"\n");
    let anna = pair.administrator(Side::A, "anna");
    a.start().await;
    b.start().await;
    pair.provision(Side::A, &["anna"]).await;
    pair.provision(Side::B, &["bob"]).await;
    let mut begun = Vec::new();
    for round in 1..=ROUNDS {
        let users = json!([format!("sip:user-{round}@a.example")]);
        let add = json!({ "add-users": { "users": users } });
        for begin in [xcfg(Side::A, round), to_user(Side::A, "bob", add)] {
            begun.push(anna.begin(&begin).await);
        }
        // Whatever is under way.
        if round % 2 == 0 {
            a.kill();
            b.kill();
            a.start().await;
        } else {
            b.kill();
        }
        b.start().await;
    }
    for transaction in &begun {
        let progress = anna.reached(transaction, &["responded"]).await;
        let result = progress["response"]["result"].as_str().unwrap();
        // One may be overtaken by the next while its system is away, or while both are being brought into force.
        assert!(["ok", "stale-revision"].contains(&result), "{progress}");
        let history = progress["history"].as_array().unwrap();
        let responded = history.iter().filter(|it| it["state"] == "responded").count();
        assert_eq!(responded, 1, "{progress}");
    }
    assert_eq!(crate::revision_at(&pair, Side::B, Side::A).await, Some(ROUNDS));
    a.kill();
    b.kill();
    for process in [&a, &b] {
        assert_eq!(process.store(&["check"], "data").status.code(), Some(0));
    }
}

/// The users added for migration that are stored.
pub fn migrants(process: &Process, name: &str) -> Vec<String> {
    let export = process.path(name);
    let output = process.store(&["export", "--secrets", "--output", &export], "data");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let exported = fs::read_to_string(&export).unwrap();
    let is_migrant = |line: &&str| line.starts_with("{\"kind\":\"acm-migrant\"");
    exported.lines().filter(is_migrant).map(str::to_owned).collect()
}

#[tokio::test]
async fn of_a_hundred_thousand_users_all_are_stored_or_none_when_a_system_is_killed() {
    const USERS: usize = 100_000;
    let files = Files::new("acm-many-kills");
    let pair = Pair::draw();
    let mut a = Process::new(&pair, Side::A, &files.0, "policy.mode = \"accept\"\n");
    let mut b = Process::new(&pair, Side::B, &files.0, "policy.mode = \"accept\"\n");
    let anna = pair.administrator(Side::A, "anna");
    a.start().await;
    b.start().await;
    pair.provision(Side::A, &["anna"]).await;
    pair.provision(Side::B, &["bob"]).await;
    let users: Vec<String> = (0..USERS).map(|it| format!("sip:user-{it:06}@a.example")).collect();
    let add = json!({ "add-users": { "users": users } });
    let transaction = anna.begin(&to_user(Side::A, "bob", add)).await;
    // While it is on its way, taken in or stored there.
    b.kill();
    let stored = migrants(&b, "first").len();
    assert!(stored == 0 || stored == USERS, "{stored}");
    b.start().await;
    let progress = anna.reached(&transaction, &["responded"]).await;
    assert_eq!(progress["response"]["result"], "ok", "{progress}");
    a.kill();
    b.kill();
    assert_eq!((migrants(&b, "second").len(), migrants(&a, "second").len()), (USERS, USERS));
}
