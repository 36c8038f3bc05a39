//! ACM servers over real HTTP: their clients, two systems, what goes wrong between them, and restarts.
#![cfg(feature = "node")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "test code"
)]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    unreachable_pub,
    dead_code,
    reason = "a test speaks to the sockets"
)]

#[path = "node_acm/description.rs"]
mod description;
mod free_ports;
#[path = "node_acm/interfaces.rs"]
mod interfaces;
#[path = "node_acm/kills.rs"]
mod kills;
#[path = "node_acm/ladder.rs"]
mod ladder;
#[path = "node_acm/links.rs"]
mod links;
#[path = "node_acm/long_bodies.rs"]
mod long_bodies;
mod node_world;
#[path = "node_acm/outage.rs"]
mod outage;
mod pap_password;
#[path = "node_acm/process.rs"]
mod process;
#[path = "node_acm/world.rs"]
mod world;

use std::collections::BTreeSet;

use migcore::{
    api::{
        acm_client::Begin,
        acm_payload::Kind,
        configuration::{Agreement, AgreementKey, Users},
        migration_identity::Direction,
    },
    identity::UserIdentity,
    node::{
        Options, RunningSystem,
        client::{ManagementClient, NewUser},
        ladder::{Entry, Protocol, Tap},
    },
    secret::Secret,
    time::Timestamp,
};
use node_world::metric;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use world::{
    EventReader, Pair, Side, configuration, item_path, to_other, to_user, token, until, user, xcfg,
};

const AUTOMATIC: &str = "policy.mode = \"accept\"\n";

/// The steps that the ladder has seen so far.
fn steps(ladder: &mut mpsc::Receiver<Entry>) -> Vec<(String, Entry)> {
    let entries = std::iter::from_fn(|| ladder.try_recv().ok());
    entries.filter_map(|entry| Some((entry.step.clone()?, entry))).collect()
}

fn labels(steps: &[(String, Entry)]) -> Vec<&str> {
    steps.iter().map(|(label, _)| &**label).collect()
}

/// Both systems, with two administrators each.
async fn start_both(pair: &Pair, of_partner: &str, tap: Option<&Tap>) -> [RunningSystem; 2] {
    let options = || Options { tap: tap.cloned(), ..Options::default() };
    let both = [Side::A, Side::B].map(|side| pair.start(side, of_partner, options()));
    pair.provision(Side::A, &["anna", "amir"]).await;
    pair.provision(Side::B, &["bea", "bob"]).await;
    both
}

async fn shutdown(systems: [RunningSystem; 2]) {
    for system in systems {
        system.shutdown().await;
    }
}

/// The revision of what UEs of one system are told of another one.
async fn revision_at(pair: &Pair, side: Side, of: Side) -> Option<u64> {
    let port = pair.ports(side).management;
    let path = format!("/v1/system-configurations/sip%3A{}", of.domain());
    let answer = reqwest::get(format!("http://127.0.0.1:{port}{path}")).await.unwrap();
    answer.json::<Value>().await.unwrap()["revision"].as_u64()
}

#[tokio::test]
async fn an_exchange_by_hand_has_every_step_and_ends_in_force() {
    let (tap, mut ladder) = Tap::new();
    let pair = Pair::draw();
    let systems = start_both(&pair, "", Some(&tap)).await;
    let anna = pair.administrator(Side::A, "anna");
    let bob = pair.administrator(Side::B, "bob");
    steps(&mut ladder);

    let transaction = anna.begin(&xcfg(Side::A, 7)).await;
    anna.reached(&transaction, &["pending-at-partner"]).await;
    let session = bob.log_on().await;
    let mut events = EventReader::open(&bob, session, None).await;
    let (_, told) = events.next().await.unwrap();
    assert_eq!((told["kind"].as_str(), told["count"].as_u64()), (Some("configuration"), Some(1)));
    let [item] = &bob.items().await[..] else { panic!("one item") };
    assert_eq!(item["number"], told["last"]);
    let path = item_path(Side::A, &transaction);
    let fetched = bob.get(&path).await;
    assert_eq!(fetched["payload"]["configuration"]["revision"], 7);
    assert_eq!(fetched["summary"]["originator"], "sip:anna@a.example");
    assert_eq!(revision_at(&pair, Side::B, Side::A).await, None, "nothing before the decision");
    let (status, decided) = bob.decide(Side::A, &transaction, json!("accept")).await;
    assert_eq!(status, 200, "{decided}");

    let progress = anna.reached(&transaction, &["responded"]).await;
    assert_eq!(progress["response"]["result"], "ok");
    assert_eq!(progress["response"]["handler_id"], "sip:bob@b.example");
    assert_eq!(revision_at(&pair, Side::B, Side::A).await, Some(7));
    anna.log_on().await;
    let own = item_path(Side::A, &transaction);
    assert_eq!(anna.items().await.len(), 1);
    assert_eq!(anna.get(&own).await["response"]["result"], "ok");
    let acknowledge = format!("{own}/acknowledgement");
    for _ in 0..2 {
        assert_eq!(anna.ask("POST", &acknowledge, None).await.0, 204, "a repeat does no harm");
    }
    anna.reached(&transaction, &["closed"]).await;
    assert_eq!(anna.items().await, [Value::Null; 0]);

    let steps = steps(&mut ladder);
    let labels = labels(&steps);
    let mut at = 0;
    for number in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17] {
        let label = format!("XCFG-{number}");
        let found = labels[at..].iter().position(|it| *it == label);
        at += found.unwrap_or_else(|| panic!("{label} after {at} in {labels:?}"));
    }
    let of = |number: u8| {
        let label = format!("XCFG-{number}");
        &steps.iter().find(|(it, _)| *it == label).unwrap().1
    };
    let between = |number| (&*of(number).from, &*of(number).to, of(number).protocol);
    assert_eq!(between(3), ("acm.a.example", "acm.b.example", Protocol::Http));
    assert_eq!(between(5), ("acm.b.example", "acm.a.example", Protocol::Http));
    assert_eq!(between(12), ("acm.b.example", "acm.a.example", Protocol::Http));
    assert_eq!(between(7), ("acm.b.example", "ACM client", Protocol::Http));
    assert_eq!(between(9), ("acm.b.example", "ACM client", Protocol::Http));
    assert_eq!(of(3).remote.unwrap().port(), pair.ports(Side::B).partner);
    let told = steps.iter().map(|(_, entry)| serde_json::to_string(entry).unwrap());
    let told: String = told.collect::<String>() + &systems[0].metrics() + &systems[1].metrics();
    for secret in ["anna", "bob@", "apn-7", "acm-token"] {
        assert!(!told.contains(secret), "{secret} in {told}");
    }
    let stored = "migcore_acm_partner_requests_total{partner=\"sip:b.example\",outcome=\"stored\"}";
    assert!((metric(&systems[0], stored) - 1.0).abs() < f64::EPSILON, "{}", systems[0].metrics());
    shutdown(systems).await;
}

#[tokio::test]
async fn policy_accepts_without_anybody_and_by_rule_only_what_changes_nothing() {
    let pair = Pair::draw();
    let systems = start_both(&pair, "policy.mode = \"by-rule\"\n", None).await;
    let anna = pair.administrator(Side::A, "anna");
    let bob = pair.administrator(Side::B, "bob");
    let known = serde_json::from_value(configuration(Side::A, 4)).unwrap();
    let id = Side::A.id().parse().unwrap();
    pair.management(Side::B).put_system_configuration(&id, &known).await.unwrap();

    // The same but for its revision: nobody has to look. The document says the same.
    let mut same = configuration(Side::A, 4);
    same["revision"] = json!(5);
    let transaction = anna.begin(&to_other(Side::A, json!({ "configuration": same }))).await;
    let progress = anna.reached(&transaction, &["responded"]).await;
    assert_eq!(progress["response"]["result"], "ok", "{progress}");
    assert_eq!(progress["response"]["handler_id"], Value::Null);
    assert_eq!(revision_at(&pair, Side::B, Side::A).await, Some(5));

    let transaction = anna.begin(&xcfg(Side::A, 6)).await;
    bob.has_item(Side::A, &transaction).await;
    let item = bob.get(&item_path(Side::A, &transaction)).await;
    let [differing] = &item["differing"].as_array().unwrap()[..] else { panic!("{item}") };
    assert_eq!(differing, "service/MCPTT-to-con-ref");
    let reject = json!({ "reject": { "reason": "not on a Friday" } });
    assert_eq!(bob.decide(Side::A, &transaction, reject).await.0, 200);
    let progress = anna.reached(&transaction, &["responded"]).await;
    let response = &progress["response"];
    assert_eq!(
        (&response["result"], &response["text"]),
        (&json!("rejected-by-user"), &json!("not on a Friday"))
    );
    assert_eq!(revision_at(&pair, Side::B, Side::A).await, Some(5), "the old one stays");
    shutdown(systems).await;
}

#[tokio::test]
async fn a_request_waits_for_the_link_and_is_decided_once_when_it_is_back() {
    let pair = Pair::draw();
    let a = pair.start(Side::A, "", Options::default());
    pair.provision(Side::A, &["anna"]).await;
    let anna = pair.administrator(Side::A, "anna");
    let transaction = anna.begin(&xcfg(Side::A, 3)).await;
    let progress = anna.reached(&transaction, &["retrying"]).await;
    assert!(progress["attempts"].as_u64().unwrap() >= 1);

    let b = pair.start(Side::B, AUTOMATIC, Options::default());
    anna.reached(&transaction, &["responded"]).await;
    let stored = b.shutdown().await;
    // The link is down while the next one is decided: the response comes when it is up again.
    let b = pair.start(Side::B, "", Options { engine: stored, ..Options::default() });
    pair.provision(Side::B, &["bob"]).await;
    let bob = pair.administrator(Side::B, "bob");
    let transaction = anna.begin(&xcfg(Side::A, 4)).await;
    bob.has_item(Side::A, &transaction).await;
    let stored = a.shutdown().await;
    assert_eq!(bob.decide(Side::A, &transaction, json!("accept")).await.0, 200);
    let unreachable =
        "migcore_acm_partner_requests_total{partner=\"sip:a.example\",outcome=\"unreachable\"}";
    node_world::eventually("the response was tried", || metric(&b, unreachable) > 0.5).await;
    let a = pair.start(Side::A, "", Options { engine: stored, ..Options::default() });
    let progress = anna.reached(&transaction, &["responded"]).await;
    assert_eq!(progress["response"]["handler_id"], "sip:bob@b.example");
    assert_eq!(revision_at(&pair, Side::B, Side::A).await, Some(4));
    shutdown([a, b]).await;
}

#[tokio::test]
async fn events_resume_where_a_client_left_and_outlive_a_restart() {
    let pair = Pair::draw();
    let [a, b] = start_both(&pair, "", None).await;
    let anna = pair.administrator(Side::A, "anna");
    let bob = pair.administrator(Side::B, "bob");
    let session = bob.log_on().await;
    let mut events = EventReader::open(&bob, session, None).await;
    events.is_silent().await;
    let first = anna.begin(&xcfg(Side::A, 1)).await;
    let (seen, told) = EventReader::next(&mut events).await.unwrap();
    assert_eq!((&told["kind"], &told["count"]), (&json!("configuration"), &json!(1)));
    drop(events);

    // It has missed nothing.
    let mut events = EventReader::open(&bob, session, Some(seen)).await;
    events.is_silent().await;
    // Another stream of the same log-on ends this one, and is told of what is new.
    let mut other = EventReader::open(&bob, session, Some(seen)).await;
    assert_eq!(events.next().await, None);
    other.is_silent().await;
    drop(other);
    // While nobody listens.
    let second = anna
        .begin(&to_user(
            Side::A,
            "bob",
            json!({ "add-users": { "users": ["sip:alice@a.example"] } }),
        ))
        .await;
    bob.has_item(Side::A, &second).await;
    let mut events = EventReader::open(&bob, session, Some(seen)).await;
    let (newer, told) = events.next().await.unwrap();
    assert!(newer > seen);
    assert_eq!(told["kind"], "add-users");

    // The end of a stream is no log-off, nor is that of the server: everything is told again.
    drop(events);
    let stored = b.shutdown().await;
    let b = pair.start(Side::B, "", Options { engine: stored, ..Options::default() });
    let mut events = EventReader::open(&bob, session, Some(newer)).await;
    let again = [events.next().await.unwrap(), events.next().await.unwrap()];
    assert!(
        again.iter().all(|(id, _)| *id > newer),
        "no event has the number of an earlier process"
    );
    let kinds: BTreeSet<_> = again.iter().filter_map(|(_, told)| told["kind"].as_str()).collect();
    assert_eq!(kinds, ["add-users", "configuration"].into());
    // The log-off ends the stream, and the log-on is no more.
    let path = format!("/acm/v1/sessions/{session}");
    assert_eq!(bob.ask("DELETE", &path, None).await.0, 204);
    assert_eq!(events.next().await, None);
    let (status, problem) = bob.ask("GET", &format!("{path}/events"), None).await;
    assert_eq!((status, &problem["detail"]), (404, &json!("there is no such log-on of this user")));
    assert_eq!(bob.ask("DELETE", &path, None).await.0, 404);
    assert_eq!(bob.items().await.len(), 2, "who is not logged on may ask all the same");
    assert_eq!(anna.progress(&first).await["summary"]["state"], "pending-at-partner");

    // A token that is replaced ends the stream that was opened with it, and no log-on.
    let session = bob.log_on().await;
    let mut events = EventReader::open(&bob, session, None).await;
    for _ in 0..2 {
        assert!(events.next().await.is_some());
    }
    let management = pair.management(Side::B);
    let (old, new) = (token("bob"), token("bob-anew"));
    let kinds = &Kind::ALL;
    management.put_acm_user(&bob.user, &old, kinds, kinds).await.unwrap();
    let third = anna.begin(&xcfg(Side::A, 2)).await;
    assert!(events.next().await.is_some(), "the same token again ends nothing: {third}");
    management.put_acm_user(&bob.user, &new, kinds, kinds).await.unwrap();
    assert_eq!(events.next().await, None);
    let path = format!("/acm/v1/sessions/{session}/events");
    assert_eq!(bob.ask("GET", &path, None).await.0, 401);
    management.put_acm_user(&bob.user, &old, kinds, kinds).await.unwrap();
    let mut events = EventReader::open(&bob, session, None).await;
    assert!(events.next().await.is_some(), "the log-on is told again");

    // A log-on belongs to its user; and ends with the user.
    let session = bob.log_on().await;
    let bea = pair.administrator(Side::B, "bea");
    let path = format!("/acm/v1/sessions/{session}/events");
    assert_eq!(bea.ask("GET", &path, None).await.0, 404);
    let management = format!("http://127.0.0.1:{}", pair.ports(Side::B).management);
    let of_bob = format!("{management}/v1/acm/users/sip%3Abob@b.example");
    let deleted = reqwest::Client::new().delete(of_bob).send().await.unwrap();
    assert_eq!(deleted.status(), 204);
    assert_eq!(bob.ask("GET", &path, None).await.0, 401);
    shutdown([a, b]).await;
}

#[tokio::test]
async fn a_hundred_thousand_users_are_one_transaction() {
    let pair = Pair::draw();
    let more = "answer_timeout = \"60s\"\n";
    let start = |side| {
        let toml = pair.toml(side, AUTOMATIC, more);
        RunningSystem::start(
            migcore::node::config::Config::parse(&toml).unwrap(),
            Options::default(),
        )
        .unwrap()
    };
    let systems = [start(Side::A), start(Side::B)];
    pair.provision(Side::A, &["anna"]).await;
    pair.provision(Side::B, &["bob"]).await;
    let anna = pair.administrator(Side::A, "anna");
    let users: Vec<String> =
        (0..100_000).map(|number| format!("sip:user-{number:06}@a.example")).collect();
    let begin =
        |users: &[String], kind: &str| to_user(Side::A, "bob", json!({ kind: { "users": users } }));
    let transaction = anna.begin(&begin(&users, "add-users")).await;
    let progress = anna.reached(&transaction, &["responded"]).await;
    assert_eq!(progress["response"]["result"], "ok", "{progress}");
    // All of them are known there now: who is not is told.
    let mut others = users[..10].to_vec();
    others.push("sip:nobody@a.example".to_owned());
    let configuration = configuration(Side::B, 2);
    let update = json!({ "update": { "users": others, "configuration": configuration } });
    let transaction = anna.begin(&to_user(Side::A, "bob", update)).await;
    let progress = anna.reached(&transaction, &["responded"]).await;
    assert_ne!(progress["response"]["result"], "ok", "{progress}");
    assert_eq!(progress["response"]["elements"], json!(["sip:nobody@a.example"]));
    // One more is too many.
    let mut body = serde_json::to_value(begin(&users, "add-users")).unwrap();
    body["payload"]["add-users"]["users"].as_array_mut().unwrap().push(json!("sip:x@a.example"));
    let (status, problem) = anna.ask("POST", "/acm/v1/transactions", Some(body)).await;
    assert_eq!((status, &problem["code"]), (400, &json!("invalid-data")), "{problem}");
    shutdown(systems).await;
}

/// Alice and Carol of A, who may go to B.
async fn provision_migration(pair: &Pair) {
    let until = Timestamp::from_secs(4_000_000_000);
    let agreement = |partner: Side, direction| Agreement {
        key: AgreementKey {
            partner: partner.id().parse().unwrap(),
            direction,
            users: Users::Everybody,
        },
        valid_from: Timestamp::default(),
        valid_until: until,
        hide_identities: direction == Direction::Outbound,
    };
    let (a, b): (ManagementClient, _) = (pair.management(Side::A), pair.management(Side::B));
    let (out, inbound) = (Direction::Outbound, Direction::Inbound);
    a.ensure_generated_pool("out", out, "out-{id}", "a.example").await.unwrap();
    for name in ["alice", "carol"] {
        let identity = UserIdentity {
            impi: format!("{name}@a.example").parse().unwrap(),
            impu: format!("sip:{name}@a.example").parse().unwrap(),
        };
        a.put_subscriber(&identity, &Secret::new([1; 16]), &Secret::new([2; 16])).await.unwrap();
        let new = NewUser {
            mc_service_id: &user(Side::A, name),
            identity: &identity,
            class: None,
            may_migrate: true,
            token: Some(&token(name)),
        };
        a.put_user(&new).await.unwrap();
    }
    a.put_agreement(&agreement(Side::B, out)).await.unwrap();
    b.ensure_generated_pool("in", inbound, "mig-{id}", "b.example").await.unwrap();
    b.put_agreement(&agreement(Side::A, inbound)).await.unwrap();
}

/// What a user is told of B by step 1 of a migration.
async fn details(a: &RunningSystem, name: &str) -> (u16, Value) {
    let url = format!("http://{}/csc-4/v1/connection-details", a.bound().csc4.unwrap());
    let wish = json!({
        "mc_service_id": user(Side::A, name),
        "location": { "plmn": "20801" },
        "partner": "sip:b.example",
    });
    let request = reqwest::Client::new().post(url).json(&wish);
    world::read(request.bearer_auth(token(name).expose()).send().await.unwrap()).await
}

#[tokio::test]
async fn step_1_of_a_migration_returns_what_an_accepted_exchange_and_an_update_brought() {
    let pair = Pair::draw();
    let [a, b] = start_both(&pair, AUTOMATIC, None).await;
    provision_migration(&pair).await;
    let anna = pair.administrator(Side::A, "anna");
    let bob = pair.administrator(Side::B, "bob");
    let (status, problem) = details(&a, "alice").await;
    assert_eq!((status, &problem["type"]), (503, &json!("urn:migcore:problem:not-configured")));

    let told = async |a: &RunningSystem, name: &str, revision: u64| {
        let (status, details) = details(a, name).await;
        assert_eq!(status, 200, "{details}");
        assert_eq!(details["configuration"]["revision"], revision);
        let document = details["configuration"]["document"].as_str().unwrap();
        assert!(document.contains(&format!("apn-{revision}")), "{document}");
    };
    let accepted = async |administrator: &world::Administrator, begin: &Begin| {
        let transaction = administrator.begin(begin).await;
        let progress = administrator.reached(&transaction, &["responded"]).await;
        assert_eq!(progress["response"]["result"], "ok", "{progress}");
    };
    accepted(&bob, &xcfg(Side::B, 1)).await;
    told(&a, "alice", 1).await;

    let add = json!({ "add-users": { "users": ["sip:alice@a.example"] } });
    accepted(&anna, &to_user(Side::A, "bob", add)).await;
    told(&a, "alice", 1).await;
    let update = json!({ "update": {
        "users": ["sip:alice@a.example"],
        "configuration": configuration(Side::B, 2),
    } });
    accepted(&anna, &to_user(Side::A, "bob", update)).await;
    told(&a, "alice", 2).await;
    told(&a, "carol", 1).await;
    let stored = a.shutdown().await;
    let a = pair.start(Side::A, AUTOMATIC, Options { engine: stored, ..Options::default() });
    pair.provision(Side::A, &["anna"]).await;
    told(&a, "alice", 2).await;
    told(&a, "carol", 1).await;
    // What the partner sends of itself later is for everybody.
    accepted(&bob, &xcfg(Side::B, 3)).await;
    told(&a, "alice", 3).await;
    told(&a, "carol", 3).await;
    shutdown([a, b]).await;
}

#[tokio::test]
async fn who_brought_which_version_of_a_configuration_into_force_can_be_seen() {
    let pair = Pair::draw();
    let [a, b] = start_both(&pair, "", None).await;
    let anna = pair.administrator(Side::A, "anna");
    let bob = pair.administrator(Side::B, "bob");
    let transaction = anna.begin(&xcfg(Side::A, 7)).await;
    bob.has_item(Side::A, &transaction).await;
    assert_eq!(bob.decide(Side::A, &transaction, json!("accept")).await.0, 200);
    anna.reached(&transaction, &["responded"]).await;
    let by_hand = serde_json::from_value(configuration(Side::A, 8)).unwrap();
    let of_a = Side::A.id().parse().unwrap();
    pair.management(Side::B).put_system_configuration(&of_a, &by_hand).await.unwrap();
    let stored = b.shutdown().await;
    let b = pair.start(Side::B, "", Options { engine: stored, ..Options::default() });
    pair.provision(Side::B, &["bob"]).await;

    let management = format!("http://127.0.0.1:{}", pair.ports(Side::B).management);
    let admin = |arguments: &[&str]| {
        let arguments = [&["admin"], arguments, &["--system", &management]].concat();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_migcore"));
        let output = command.args(&arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?} {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let listed = admin(&["list", "configuration-versions", "--partner", "sip:a.example"]);
    let rows: Vec<Vec<&str>> =
        listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows.len(), 3, "{listed}");
    assert_eq!(rows[1][..2], ["sip:a.example", "7"], "{listed}");
    assert_eq!(rows[1][3..], ["sip:bob@b.example", &transaction], "{listed}");
    assert_eq!(rows[2][..2], ["sip:a.example", "8"], "{listed}");
    assert_eq!(rows[2][3..], ["operator", "-"], "{listed}");
    let shown = admin(&["show", "configuration-version", "sip:a.example", "7", "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["decided_by"], "sip:bob@b.example");
    assert_eq!(shown["transaction"]["transaction"], *transaction);
    assert_eq!(shown.get("document"), None, "only on demand");
    let show = ["show", "configuration-version", "sip:a.example", "7", "--secrets"];
    assert!(admin(&show).contains("apn-7"));
    shutdown([a, b]).await;
}

#[tokio::test]
async fn groups_are_offered_withdrawn_and_taken_back() {
    let pair = Pair::draw();
    let systems = start_both(&pair, "", None).await;
    let anna = pair.administrator(Side::A, "anna");
    let bob = pair.administrator(Side::B, "bob");
    let path = "/acm/v1/groups/sip%3Agroup@a.example";
    assert_eq!(anna.ask("PUT", path, None).await.0, 204);
    let foreign = "/acm/v1/groups/sip%3Agroup@b.example";
    let (status, problem) = anna.ask("PUT", foreign, None).await;
    assert_eq!((status, &problem["code"]), (400, &json!("not-group-home")));
    assert_eq!(problem["elements"], json!(["sip:group@b.example"]));
    let offer = to_user(Side::A, "bob", json!({ "groups": ["sip:group@a.example"] }));
    let transaction = anna.begin(&offer).await;
    bob.has_item(Side::A, &transaction).await;
    assert_eq!(bob.decide(Side::A, &transaction, json!("accept")).await.0, 200);
    let progress = anna.reached(&transaction, &["responded"]).await;
    assert_eq!(progress["response"]["result"], "received");
    assert_eq!(anna.ask("DELETE", path, None).await.0, 204);
    let unknown = "/acm/v1/groups/sip%3Aother@a.example";
    let (status, problem) = anna.ask("DELETE", unknown, None).await;
    assert_eq!((status, &problem["code"]), (404, &json!("unknown-group")));

    // A request is taken back while it is undecided.
    let transaction = anna.begin(&xcfg(Side::A, 1)).await;
    bob.has_item(Side::A, &transaction).await;
    let of_it = format!("/acm/v1/transactions/{transaction}");
    assert_eq!(anna.ask("DELETE", &of_it, None).await.0, 204);
    let progress = anna.reached(&transaction, &["responded"]).await;
    assert_eq!(progress["response"]["result"], "cancelled");
    let (status, problem) = bob.decide(Side::A, &transaction, json!("accept")).await;
    assert_eq!((status, &problem["outcome"]["result"]), (409, &json!("cancelled")), "{problem}");
    let (status, problem) = anna.ask("DELETE", &of_it, None).await;
    assert_eq!((status, &problem["type"]), (409, &json!("urn:migcore:problem:already-decided")));
    shutdown(systems).await;
}
