//! `migcore acm` against systems that run, and `migcore demo acm`.
#![cfg(feature = "node")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "test code"
)]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    thread,
    time::Duration,
};

use migcore::node::demo::acm::AcmFault;
use serde_json::{Value, json};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_migcore"));
    for name in ["SERVER", "USER", "TOKEN", "FILE", "MANAGEMENT"] {
        command.env_remove(format!("MIGCORE_ACM_{name}"));
    }
    command.args(arguments);
    command
}

fn migcore(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Two systems that run until this is dropped, and files of their administrators.
struct World {
    child: Child,
    directory: PathBuf,
}

impl World {
    /// Systems in which nothing is pending.
    fn start(name: &str) -> Self {
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("acm-{name}"));
        let _ = fs::remove_dir_all(&directory);
        let mut child = command(&["demo", "acm", "--fault", "not-authenticated", "--keep"])
            .args(["--data-dir", directory.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let told = BufReader::new(child.stderr.take().unwrap());
        let mut lines = told.lines().map(Result::unwrap);
        assert!(lines.any(|line| line.contains("carol.toml")), "it does not say how to go on");
        thread::spawn(move || lines.for_each(drop));
        Self { child, directory }
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, content: &Value) -> String {
        let path = self.path(name);
        fs::write(&path, content.to_string()).unwrap();
        path
    }

    fn command(&self, who: &str, arguments: &[&str]) -> Command {
        let mut command = command(&["acm", "--as", &self.path(&format!("{who}.toml"))]);
        command.args(arguments);
        command
    }

    fn ask(&self, who: &str, arguments: &[&str]) -> Output {
        self.command(who, arguments).output().unwrap()
    }

    /// Asks what must work.
    fn done(&self, who: &str, arguments: &[&str]) -> String {
        let output = self.ask(who, arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", err(&output));
        out(&output)
    }

    /// Asks what must not work.
    fn refused(&self, who: &str, arguments: &[&str], code: i32) -> String {
        let output = self.ask(who, arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", out(&output));
        err(&output)
    }

    /// Sends and returns the transaction.
    fn send(&self, who: &str, arguments: &[&str]) -> String {
        let text = self.done(who, &[&["send", "--json"], arguments].concat());
        let begun: Value = serde_json::from_str(&text).unwrap();
        begun["transaction"].as_str().unwrap().to_owned()
    }

    /// The items that are pending.
    fn items(&self, who: &str) -> Vec<Value> {
        objects(&self.done(who, &["list", "--json"]))
    }

    /// Waits until one item is pending, and returns its number.
    fn number(&self, who: &str) -> String {
        for _ in 0..200 {
            match &self.items(who)[..] {
                [] => thread::sleep(Duration::from_millis(25)),
                [one] => return one["number"].to_string(),
                more => panic!("{more:?}"),
            }
        }
        panic!("nothing is pending for {who}")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A document as the demonstration has it, of a domain.
fn document(domain: &str, apn: &str) -> String {
    use migcore::{identity::Plmn, ue_configuration::InitialUeConfiguration};
    let plmn = Plmn::parse("26201").unwrap();
    let made = InitialUeConfiguration::for_domain(domain, plmn).unwrap();
    let mut document = made.document().clone();
    document.on_network.hplmn.service.mc_services = apn.to_owned();
    InitialUeConfiguration::new(&document).unwrap().render()
}

fn configuration(domain: &str, revision: u64) -> Value {
    json!({
        "revision": revision,
        "sip_core": [{ "transport": "udp", "address": "192.0.2.1:5060" }],
        "document": document(domain, "mc-new"),
    })
}

#[test]
fn an_exchange_goes_from_one_administrator_to_the_other_and_back() {
    let world = World::start("exchange");
    let file = world.write("a.json", &configuration("a.example", 8));
    assert_eq!(world.done("bob", &["list"]), "nothing is pending\n");
    let watching = world
        .command("bob", &["watch", "--count", "1", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let sent = world.done("anna", &["send", "xcfg", "--to", "sip:b.example", "--file", &file]);
    let transaction = sent.lines().next().unwrap().strip_prefix("begun: ").unwrap().to_owned();
    assert!(sent.contains(&format!("next: migcore acm follow {transaction}")), "{sent}");

    let told = watching.wait_with_output().unwrap();
    assert_eq!(told.status.code(), Some(0), "{}", err(&told));
    let [told] = &objects(&out(&told))[..] else { panic!("{told:?}") };
    assert_eq!((&told["kind"], &told["count"]), (&json!("configuration"), &json!(1)));

    let number = told["last"].to_string();
    let listed = world.done("bob", &["list"]);
    let mut lines = listed.lines();
    assert!(lines.next().unwrap().starts_with("NUMBER  KIND"), "{listed}");
    let row: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    let item = format!("sip:a.example/{transaction}");
    assert_eq!((row[0], row[1], *row.last().unwrap()), (&*number, "configuration", &*item));

    // The management interface is named in the file: the difference is shown.
    let shown = world.done("bob", &["show", &number]);
    for part in [
        "sip:anna@a.example",
        "(in 13 days)",
        "revision 8",
        "on-network/HPLMN/service/MCPTT-to-con-ref",
        "mc-new",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert_eq!(world.done("bob", &["show", &transaction]), shown, "by its transaction");
    assert_eq!(world.done("bob", &["show", &item]), shown, "by both");
    let accepted = world.done("bob", &["accept", &number]);
    assert!(accepted.starts_with("accepted"), "{accepted}");

    let number = world.number("anna");
    let life = world.done("anna", &["follow", &transaction, "--once"]);
    let mut at = 0;
    let labels = [
        "XCFG-1", "XCFG-2", "XCFG-3", "XCFG-4", "XCFG-5", "XCFG-10", "XCFG-11", "XCFG-12",
        "XCFG-13",
    ];
    for label in labels {
        at += life[at..].find(label).unwrap_or_else(|| panic!("{label} in {life}"));
    }
    assert!(life.contains("result: ok by sip:bob@b.example"), "{life}");
    let shown = world.done("anna", &["show", &number]);
    assert!(
        shown.contains("response") && shown.contains("decided by   sip:bob@b.example"),
        "{shown}"
    );
    let late = world.refused("carol", &["reject", &item, "--reason", "too late"], 1);
    assert!(late.contains("decided already") && late.contains("ok by sip:bob@b.example"), "{late}");
    assert!(world.done("anna", &["acknowledge", &number]).contains("closed"));
    let life = objects(&world.done("anna", &["follow", &transaction, "--json"]));
    let ends = life[life.len() - 3..].iter().map(|change| (&change["state"], &change["steps"]));
    let ends: Vec<_> = ends.collect();
    // Nobody has logged on: who is not asks all the same.
    assert_eq!(ends[0], (&json!("listed"), &json!(["XCFG-16"])));
    assert_eq!(ends[1], (&json!("delivered"), &json!(["XCFG-17"])));
    assert_eq!(ends[2], (&json!("closed"), &json!([])));
    assert_eq!(world.done("anna", &["list"]), "nothing is pending\n");
    let none = world.refused("anna", &["show", &number], 1);
    assert!(none.contains("migcore acm list"), "{none}");
}

#[test]
fn what_is_rejected_or_taken_back_changes_nothing() {
    let world = World::start("rejected");
    let xml = world.path("a.xml");
    fs::write(&xml, document("a.example", "mc-apn")).unwrap();
    let sip_core = ["--sip-core", "udp:192.0.2.1:5060", "--to", "sip:b.example"];
    let by_document = [&["xcfg", "--document", &xml][..], &sip_core].concat();
    let first = world.send("anna", &by_document);
    let number = world.number("bob");
    let reason = "the APN is not ours";
    let rejected = world.done("bob", &["reject", &number, "--reason", reason, "--json"]);
    assert_eq!(objects(&rejected)[0]["result"], "rejected-by-user");
    let number = world.number("anna");
    let shown = world.done("anna", &["show", &number]);
    assert!(shown.contains("rejected-by-user") && shown.contains(reason), "{shown}");
    world.done("anna", &["acknowledge", &first]);

    let second = world.send("anna", &by_document);
    world.number("bob");
    let taken_back = world.done("anna", &["cancel", &second]);
    assert!(taken_back.contains(&format!("migcore acm follow {second}")), "{taken_back}");
    world.number("anna");
    let life = world.done("anna", &["follow", &second, "--once"]);
    assert!(life.contains("result: cancelled"), "{life}");
    assert_eq!(world.items("bob"), [Value::Null; 0]);
}

#[test]
fn users_updates_and_groups_are_sent_from_files() {
    let world = World::start("kinds");
    let users = world.write("users.json", &json!(["sip:alice@a.example"]));
    let target = ["--to", "sip:b.example", "--target-id", "sip:bob@b.example"];
    // Policy of the partner accepts.
    let added = world.send("anna", &[&["add-users", "--file", &users][..], &target].concat());
    let number = world.number("anna");
    let shown = world.done("anna", &["show", &number]);
    assert!(shown.contains("users (1):") && shown.contains("sip:alice@a.example"), "{shown}");
    assert!(shown.contains("nobody: policy, or time"), "{shown}");
    world.done("anna", &["ack", &added]);

    let update =
        json!({ "users": ["sip:alice@a.example"], "configuration": configuration("b.example", 3) });
    let update = world.write("update.json", &json!({ "update": update }));
    world.send("anna", &[&["upd", "--file", &update][..], &target].concat());
    let number = world.number("bob");
    let shown = world.done("bob", &["show", &number, "--all"]);
    assert!(
        shown.contains("UPD") && shown.contains("in force") && shown.contains("mc-new"),
        "{shown}"
    );
    world.done("bob", &["accept", &number]);
    let number = world.number("anna");
    world.done("anna", &["ack", &number]);

    let groups = ["sip:fire@a.example", "sip:rescue@a.example"];
    assert!(world.done("anna", &["groups", "list"]).contains("no interconnection group"));
    world.done("anna", &["groups", "add", groups[0], groups[1]]);
    let listed = objects(&world.done("anna", &["groups", "list", "--json"]));
    assert_eq!(listed[1], json!({ "group": groups[1], "withdrawn": false }));
    let foreign = world.refused("anna", &["groups", "add", "sip:fire@b.example"], 2);
    assert!(
        foreign.contains("not-group-home") && foreign.contains("sip:fire@b.example"),
        "{foreign}"
    );
    let file = world.write("groups.json", &json!(groups));
    world.send("anna", &[&["grp", "--file", &file][..], &target].concat());
    let number = world.number("bob");
    world.done("bob", &["accept", &number]);
    let known = world.done("bob", &["groups", "list", "--home", "sip:a.example"]);
    assert!(known.contains(groups[0]) && known.contains("in use"), "{known}");
    world.number("anna");
    world.done("anna", &["groups", "withdraw", groups[1]]);
    assert!(world.done("anna", &["groups", "list"]).contains("withdrawn"));

    let removed = world.send("anna", &[&["remove-users", "--file", &users][..], &target].concat());
    let number = world.number("bob");
    world.done("bob", &["accept", &number]);
    let mut life = String::new();
    for _ in 0..200 {
        life = world.done("anna", &["follow", &removed, "--once"]);
        if life.contains("result: ok") {
            return;
        }
        thread::sleep(Duration::from_millis(25));
    }
    panic!("{life}");
}

#[test]
fn an_alias_is_activated_taken_over_and_deactivated() {
    let world = World::start("alias");
    let alias = "sip:dispatcher@b.example";
    let [bob, carol] = ["sip:bob@b.example", "sip:carol@b.example"];
    assert_eq!(world.done("bob", &["alias", "list"]), "no alias is active\n");
    world.done("bob", &["alias", "activate", alias, bob]);
    world.done("bob", &["alias", "activate", alias, carol]);
    let listed = world.done("bob", &["alias", "list"]);
    assert!(
        listed.starts_with("ALIAS") && listed.contains(bob) && listed.contains(carol),
        "{listed}"
    );
    world.done("bob", &["alias", "take-over", alias, carol]);
    let listed = world.done("bob", &["alias", "list", "--json"]);
    assert!(listed.contains(carol) && !listed.contains(bob), "{listed}");
    world.done("bob", &["alias", "deactivate", alias, carol]);
    assert_eq!(world.done("bob", &["alias", "list"]), "no alias is active\n");
}

#[test]
fn what_is_wrong_with_a_file_is_told_before_anything_is_sent() {
    let world = World::start("files");
    let to = ["--to", "sip:b.example"];
    let groups = world.write("groups.json", &json!(["sip:fire@a.example", "fire"]));
    let no_target =
        world.refused("anna", &[&["send", "grp", "--file", &groups][..], &to].concat(), 2);
    assert!(
        no_target.contains("--target-id") && no_target.contains("--target-alias"),
        "{no_target}"
    );
    let target = ["--target-id", "sip:bob@b.example"];
    let wrong = [&["send", "grp", "--file", &groups][..], &to, &target].concat();
    let wrong = world.refused("anna", &wrong, 2);
    assert!(wrong.contains("groups.json: [1]") && wrong.contains("send --help"), "{wrong}");
    let mut half = configuration("a.example", 8);
    half["document"] = json!("<mcptt-UE-initial-configuration/>");
    let half = world.write("half.json", &half);
    let wrong = world.refused("anna", &[&["send", "xcfg", "--file", &half][..], &to].concat(), 2);
    assert!(wrong.contains("half.json: document"), "{wrong}");
    let text = world.path("text.json");
    fs::write(&text, "not json").unwrap();
    let wrong = world.refused("anna", &[&["send", "xcfg", "--file", &text][..], &to].concat(), 2);
    assert!(wrong.contains("is no JSON"), "{wrong}");
    let gone =
        world.refused("anna", &[&["send", "xcfg", "--file", "/nonexistent"][..], &to].concat(), 2);
    assert!(gone.contains("cannot read /nonexistent"), "{gone}");
    let nothing = world.refused("anna", &[&["send", "xcfg"][..], &to].concat(), 2);
    assert!(nothing.contains("--file"), "{nothing}");
    let good = world.write("good.json", &configuration("a.example", 8));
    let nobody = ["send", "xcfg", "--file", &good, "--to", "sip:c.example"];
    let nobody = world.refused("anna", &nobody, 1);
    assert!(nobody.contains("unknown-partner"), "{nobody}");
    assert_eq!(world.items("bob"), [Value::Null; 0]);
}

#[test]
fn who_asks_comes_from_a_private_file_or_the_environment() {
    let world = World::start("access");
    let file = fs::read_to_string(world.path("anna.toml")).unwrap();
    let value = |key: &str| {
        let line = file.lines().find(|line| line.starts_with(key)).unwrap();
        line.split('"').nth(1).unwrap().to_owned()
    };
    let (server, token, ca) = (value("server"), value("token"), value("ca"));
    let mode = fs::metadata(world.path("anna.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let from_environment = |token: &str| {
        let mut command = command(&["acm", "list", "--server", &server]);
        command.env("MIGCORE_ACM_USER", "sip:anna@a.example").env("MIGCORE_ACM_TOKEN", token);
        command.env("MIGCORE_CA", &ca);
        command.output().unwrap()
    };
    let listed = from_environment(&token);
    assert_eq!((listed.status.code(), &*out(&listed)), (Some(0), "nothing is pending\n"));
    let stranger = from_environment("another-token-of-22-characters");
    assert_eq!(stranger.status.code(), Some(1));
    let said = err(&stranger);
    assert!(said.contains("does not know sip:anna@a.example by this token"), "{said}");
    assert!(!said.contains("another-token"), "{said}");
    let short = from_environment("short");
    assert_eq!(short.status.code(), Some(2));
    assert!(err(&short).contains("MIGCORE_ACM_TOKEN is shorter than 22"), "{}", err(&short));

    let missing = migcore(&["acm", "list"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(err(&missing).contains("no ACM server named: give --server URL"), "{}", err(&missing));
    let unnamed = migcore(&["acm", "alias", "list"]);
    assert_eq!(unnamed.status.code(), Some(2));
    assert!(err(&unnamed).contains("--management URL"), "{}", err(&unnamed));
    fs::set_permissions(world.path("anna.toml"), fs::Permissions::from_mode(0o644)).unwrap();
    let exposed = world.refused("anna", &["list"], 2);
    assert!(exposed.contains("chmod 600"), "{exposed}");
    fs::write(world.path("bob.toml"), "server = \"x\"\n").unwrap();
    let wrong = world.refused("bob", &["list"], 2);
    assert!(wrong.contains("line 1: server"), "{wrong}");
    let template = migcore(&["acm", "template"]);
    assert!(out(&template).contains("mc_service_id = "));

    let nobody = migcore(&["acm", "list", "--token", &token]);
    assert_eq!(nobody.status.code(), Some(2), "a token is no argument");
    let mut gone = command(&["acm", "list", "--server", "http://127.0.0.1:9"]);
    gone.env("MIGCORE_ACM_USER", "sip:anna@a.example").env("MIGCORE_ACM_TOKEN", &token);
    let gone = gone.output().unwrap();
    assert_eq!(gone.status.code(), Some(1));
    let said = err(&gone);
    assert!(said.contains("http://127.0.0.1:9 cannot be reached: Connection refused"), "{said}");
    let management = value("management");
    let mut other = command(&["acm", "list", "--server", &management]);
    other.env("MIGCORE_ACM_USER", "sip:anna@a.example").env("MIGCORE_ACM_TOKEN", &token);
    other.env("MIGCORE_CA", &ca);
    let other = other.output().unwrap();
    assert_eq!(other.status.code(), Some(1));
    let said = err(&other);
    assert!(said.contains("did not answer as an ACM server does; is this its address"), "{said}");
}

#[test]
fn watch_logs_off_at_a_signal() {
    let world = World::start("watch");
    let mut watching = world.command("bob", &["watch"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watching.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("logged on")));
    let id = watching.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    assert!(lines.any(|line| line.contains("logged off")));
    assert_eq!(watching.wait().unwrap().code(), Some(0));
}

/// Reads a request up to the end of its headers.
fn request(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {}
    head
}

#[test]
fn watch_goes_on_after_what_it_was_told_last() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let serving = thread::spawn(move || {
        let answer = |head: &str, content: &str| {
            let (mut stream, _) = listener.accept().unwrap();
            let asked = request(&stream);
            stream
                .write_all(
                    format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n{content}").as_bytes(),
                )
                .unwrap();
            asked.to_ascii_lowercase()
        };
        let event = |last: u64| {
            let data = json!({
                "mc_service_id": "sip:bob@b.example", "kind": "groups", "is_response": false,
                "count": 1, "last": last,
            });
            format!(": here\n\nevent: pending\nid: {last}\ndata: {data}\n\n")
        };
        let stream = "200 OK\r\nContent-Type: text/event-stream";
        let mut asked =
            vec![answer("201 Created\r\nContent-Type: application/json", "{\"session\":5}")];
        asked.push(answer(stream, &event(7)));
        asked.push(answer("503 Service Unavailable", ""));
        asked.push(answer(stream, &event(9)));
        asked.push(answer("204 No Content", ""));
        asked
    });
    let output = command(&["acm", "watch", "--count", "2", "--server", &server])
        .env("MIGCORE_ACM_USER", "sip:bob@b.example")
        .env("MIGCORE_ACM_TOKEN", "a-token-of-22-characters-")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let told = out(&output);
    assert!(told.contains("show 7") && told.contains("show 9"), "{told}");
    assert!(err(&output).contains("trying again in 0.25 s"), "{}", err(&output));
    let asked = serving.join().unwrap();
    assert!(asked[0].starts_with("post /acm/v1/sessions "), "{asked:?}");
    assert!(asked[0].contains("mc-service-id: sip:bob@b.example"), "{asked:?}");
    assert!(!asked[1].contains("last-event-id"), "{asked:?}");
    assert!(
        asked[2].contains("last-event-id: 7") && asked[3].contains("last-event-id: 7"),
        "{asked:?}"
    );
    assert!(asked[4].starts_with("delete /acm/v1/sessions/5 "), "{asked:?}");
}

#[test]
fn help_teaches() {
    for (arguments, parts) in [
        (&["acm", "--help"][..], &["migcore acm watch", "chmod 600", "Exit codes"][..]),
        (&["acm", "send", "--help"], &["add-users", "\"sip_core\"", "--transaction", "Exit codes"]),
        (&["acm", "watch", "--help"], &["SIGINT"]),
        (&["acm", "show", "--help"], &["--all", "--management"]),
        (&["acm", "follow", "--help"], &["--once"]),
        (&["acm", "groups", "--help"], &["withdraw"]),
        (&["acm", "alias", "--help"], &["take-over"]),
        (&["admin", "--help"], &["put acm-user", "list acm-users"]),
        (&["admin", "put", "acm-user", "--help"], &["MIGCORE_ACM_TOKEN", "--may-decide"]),
        (
            &["provision", "load", "--help"],
            &["mc_service_id,token,may_request,may_decide", "acm_user"],
        ),
        (&["demo", "acm", "--help"], &["--list-faults", "alias-many", "--procedure", "Exit codes"]),
    ] {
        let help = migcore(arguments);
        assert_eq!(help.status.code(), Some(0), "{arguments:?}");
        for part in parts {
            assert!(out(&help).contains(part), "{part} in {arguments:?}: {}", out(&help));
        }
    }
    for arguments in [
        &["acm"][..],
        &["acm", "show"],
        &["acm", "show", "x/y"],
        &["acm", "reject", "1"],
        &["acm", "follow", "17"],
        &["acm", "send", "nonsense", "--to", "sip:b.example"],
    ] {
        assert_eq!(migcore(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

/// The labels of what a demonstration shows, each once, in the order in which they come; with parts.
fn labels(text: &str, prefix: &str) -> Vec<String> {
    let mut labels: Vec<String> = Vec::new();
    for entry in objects(text) {
        let Some(step) = entry["step"].as_str().filter(|step| step.starts_with(prefix)) else {
            continue;
        };
        let label = format!("{step}{}", entry["part"].as_str().unwrap_or_default());
        if !labels.contains(&label) {
            labels.push(label);
        }
    }
    labels
}

/// `XCFG-1` and so on.
fn numbered(prefix: &str, numbers: &[&str]) -> Vec<String> {
    numbers.iter().map(|number| format!("{prefix}-{number}")).collect()
}

fn demo(arguments: &[&str]) -> String {
    let output = migcore(&[&["demo", "acm", "--json"], arguments].concat());
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", err(&output));
    out(&output)
}

const XCFG: [&str; 17] =
    ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17"];
const GRP: [&str; 17] = [
    "1", "2", "3", "4a", "4b", "5", "6", "7a", "7b", "8", "9", "10", "11", "12", "13a", "13b", "14",
];
const UPD: [&str; 10] = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"];

#[test]
fn the_demonstration_shows_every_step_in_order() {
    let text = demo(&[]);
    assert_eq!(labels(&text, "XCFG"), numbered("XCFG", &XCFG));
    assert_eq!(labels(&text, "GRP"), numbered("GRP", &GRP));
    assert_eq!(labels(&text, "UPD"), numbered("UPD", &UPD));
    // Whose step it is, and between whom.
    let between = |step: &str| {
        let entry = objects(&text).into_iter().find(|entry| entry["step"] == step).unwrap();
        (entry["from"].as_str().unwrap().to_owned(), entry["to"].as_str().unwrap().to_owned())
    };
    let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    assert_eq!(between("XCFG-1"), pair("anna.a", "acm.a.example"));
    assert_eq!(between("XCFG-3"), pair("acm.a.example", "acm.b.example"));
    assert_eq!(between("XCFG-7"), pair("acm.b.example", "bob.b"));
    assert_eq!(between("XCFG-10"), pair("bob.b", "bob.b"));
    assert_eq!(between("XCFG-11"), pair("bob.b", "acm.b.example"));
    assert_eq!(between("XCFG-17"), pair("acm.a.example", "anna.a"));
    // What it is for: a UE of B before and after XCFG, one of A before and after UPD.
    let entries = objects(&text);
    let told = entries.iter().filter(|entry| entry["from"] == "UE" && entry["to"] == "UE");
    let told: Vec<&str> = told.map(|entry| entry["summary"].as_str().unwrap()).collect();
    assert_eq!(
        told,
        [
            "has the configuration of sip:a.example, revision 7",
            "has the configuration of sip:a.example, revision 8 in place of 7",
            "has the configuration of sip:b.example, revision 7",
            "has the configuration of sip:b.example, revision 8 in place of 7",
        ]
    );
    for (step, to) in [("MIG-1", "cms.b.example"), ("MIG-1", "cms.a.example")] {
        let asked = entries.iter().filter(|it| it["step"] == step && it["to"] == to).count();
        assert_eq!(asked, 2, "{step} to {to}");
    }
    assert_eq!(entries.iter().filter(|it| it["step"] == "MIG-13").count(), 4);
}

#[test]
fn the_demonstration_is_played_again_on_what_it_stored() {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("acm-again");
    let _ = fs::remove_dir_all(&directory);
    for told in ["revision 8 in place of 7", "revision 9 in place of 8"] {
        let text = demo(&[
            "--branch",
            "logged-on",
            "--procedure",
            "xcfg",
            "--data-dir",
            directory.to_str().unwrap(),
        ]);
        assert!(text.contains(told), "{told} in {text}");
    }
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn administrators_are_loaded_listed_put_and_deleted_and_may_what_is_said() {
    let world = World::start("administrators");
    let file = fs::read_to_string(world.path("bob.toml")).unwrap();
    let line = file.lines().find(|line| line.starts_with("management")).unwrap();
    let management = line.split('"').nth(1).unwrap().to_owned();
    let ca = world.path("tls/ca.pem");
    let admin = |arguments: &[&str], code: i32| {
        let system = ["admin", "--ca", &ca, "--system", &management];
        let output = migcore(&[&system[..], arguments].concat());
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {} {}",
            out(&output),
            err(&output)
        );
        out(&output) + &err(&output)
    };
    let load = |name: &str, text: &str, code: i32| {
        let path = world.path(name);
        fs::write(&path, text).unwrap();
        let output = migcore(&["provision", "load", &path, "--ca", &ca, "--system", &management]);
        assert_eq!(output.status.code(), Some(code), "{name}: {} {}", out(&output), err(&output));
        out(&output) + &err(&output)
    };

    let listed = admin(&["list", "acm-users"], 0);
    let mut lines = listed.lines();
    assert!(lines.next().unwrap().starts_with("MC SERVICE ID"), "{listed}");
    assert!(
        lines.any(|line| line.starts_with("sip:dave@b.example") && line.ends_with('-')),
        "{listed}"
    );
    let token = "erin-s-token-of-22-characters";
    let header = "mc_service_id,token,may_request,may_decide\n";
    let wrong = format!("{header}sip:erin@b.example,{token},all,everything\n");
    let told = load("wrong.csv", &wrong, 2);
    assert!(told.contains("wrong.csv:2: may_decide is wrong"), "{told}");
    assert!(!told.contains(token), "{told}");
    let rows = format!("{header}sip:erin@b.example,{token},all,groups update\n");
    for _ in 0..2 {
        load("administrators.csv", &rows, 0);
    }
    let fred = json!({ "mc_service_id": "sip:fred@b.example", "acm_user": { "token": token } });
    load("administrators.jsonl", &fred.to_string(), 0);
    let shown = admin(&["show", "acm-user", "sip:erin@b.example", "--json"], 0);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["may_decide"], json!(["groups", "update"]));
    let listed = objects(&admin(&["list", "acm-users", "--json"], 0));
    let keys: Vec<&str> = listed.iter().map(|it| it["key"].as_str().unwrap()).collect();
    let names = ["bob", "carol", "dave", "erin", "fred"].map(|it| format!("sip:{it}@b.example"));
    assert_eq!(keys, names);
    assert!(!Value::from(listed).to_string().contains(token));

    // The token is in the file of the administrator's own client.
    let of_erin = file.replace("sip:bob@", "sip:erin@");
    fs::copy(world.path("bob.toml"), world.path("erin.toml")).unwrap();
    fs::write(world.path("erin.toml"), &of_erin).unwrap();
    let put = ["put", "acm-user", "sip:erin@b.example", "--may-decide", "groups"];
    let told = admin(&put, 2);
    assert!(told.contains("no token: give --as FILE"), "{told}");
    let path = world.path("bob.toml");
    let told = admin(&[&put[..], &["--as", &path]].concat(), 2);
    assert!(told.contains("is the file of sip:bob@b.example"), "{told}");
    let told = admin(&[&put[..4], &["grps"]].concat(), 2);
    assert!(
        told.contains("is no kind of transactions; write all, or some of configuration"),
        "{told}"
    );
    let path = world.path("erin.toml");
    let told = admin(&[&put[..], &["--as", &path]].concat(), 0);
    assert!(told.starts_with("acm-user: put"), "{told}");
    assert_eq!(world.done("erin", &["list"]), "nothing is pending\n");
    let listed = admin(&["list", "acm-users"], 0);
    let row = listed.lines().find(|line| line.starts_with("sip:erin@")).unwrap();
    assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["sip:erin@b.example", "-", "groups"]);
    assert!(admin(&["delete", "acm-user", "sip:erin@b.example"], 0).contains("deleted"));
    let told = admin(&["delete", "acm-user", "sip:erin@b.example"], 1);
    assert!(told.contains("404"), "{told}");
    let gone = world.refused("erin", &["list"], 1);
    assert!(gone.contains("does not know sip:erin@b.example"), "{gone}");
}

#[test]
fn the_demonstration_shows_the_branches() {
    let without = |all: &[&str], out: &[&str]| -> Vec<String> {
        all.iter().filter(|it| !out.contains(it)).map(|it| (*it).to_owned()).collect()
    };
    let sorted = |mut labels: Vec<String>| {
        labels.sort();
        labels
    };
    for (branch, left_out_xcfg, left_out_grp, left_out_upd) in [
        ("manual", &[][..], &[][..], &[][..]),
        (
            "automatic",
            &["5", "6", "7", "8", "9", "10", "11"],
            &["5", "6", "7a", "7b", "8", "9"],
            &["5", "6", "7"],
        ),
        ("logged-on", &["6", "14"], &["5", "6", "12"], &[]),
    ] {
        let text = demo(&["--branch", branch]);
        for (prefix, all, left_out) in [
            ("XCFG", &XCFG[..], left_out_xcfg),
            ("GRP", &GRP, left_out_grp),
            ("UPD", &UPD, left_out_upd),
        ] {
            // The order is what the exit code stands for; what confirms may be overtaken.
            let wanted = without(all, left_out).iter().map(|it| format!("{prefix}-{it}")).collect();
            assert_eq!(sorted(labels(&text, prefix)), sorted(wanted), "{branch}");
        }
    }
    for (branch, decides) in
        [("alias-one", "bob.b"), ("alias-many", "bob.b"), ("alias-none", "carol.b")]
    {
        let text = demo(&["--branch", branch]);
        assert_eq!(labels(&text, "UPD"), numbered("UPD", &UPD), "{branch}");
        assert_eq!(labels(&text, "XCFG"), [""; 0], "{branch}");
        let fetched: Vec<Value> =
            objects(&text).into_iter().filter(|entry| entry["step"] == "UPD-5").collect();
        assert!(fetched.iter().any(|entry| entry["to"] == decides), "{branch}: {fetched:?}");
    }
}

#[test]
fn the_demonstration_shows_what_does_not_go_well() {
    let listed = out(&migcore(&["demo", "acm", "--list-faults"]));
    for fault in AcmFault::ALL {
        assert!(listed.lines().any(|line| line.starts_with(fault.name())), "{listed}");
        let output = migcore(&["demo", "acm", "--json", "--fault", fault.name()]);
        assert_eq!(output.status.code(), Some(0), "{fault}: {}", err(&output));
        assert!(!output.stdout.is_empty(), "{fault}");
    }
    assert_eq!(migcore(&["demo", "acm", "--fault", "nonsense"]).status.code(), Some(2));
    let both = migcore(&["demo", "acm", "--fault", "stale", "--branch", "manual"]);
    assert_eq!(both.status.code(), Some(2));
    let none = migcore(&["demo", "acm", "--branch", "alias-one", "--procedure", "xcfg"]);
    assert_eq!(none.status.code(), Some(2), "{}", err(&none));
}

#[test]
fn the_demonstration_is_not_content_with_another_end() {
    // Policy that rejects where a person should be asked.
    let setting = "acm.partners=[]";
    let output = migcore(&["demo", "acm", "--procedure", "xcfg", "--set", setting]);
    assert_eq!(output.status.code(), Some(1), "{}", out(&output));
    assert!(err(&output).contains("unknown-partner"), "{}", err(&output));
    let drawn = migcore(&["demo", "acm", "--procedure", "upd", "--branch", "logged-on"]);
    assert_eq!(drawn.status.code(), Some(0), "{}", err(&drawn));
    let drawn = out(&drawn);
    assert!(drawn.contains("UPD-10") && !drawn.contains('\x1b'), "{drawn}");
}
