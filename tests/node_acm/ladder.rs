//! What passes over HTTP, in order, of what is no exchange of configuration begun by a person.

use migcore::node::{
    Options, RunningSystem,
    config::Config,
    ladder::{Entry, Protocol, Tap},
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{
    revision_at, shutdown, start_both,
    world::{EventReader, Pair, Side, configuration, item_path, to_other, to_user, until},
};

fn drain(ladder: &mut mpsc::Receiver<Entry>) -> Vec<Entry> {
    std::iter::from_fn(|| ladder.try_recv().ok()).collect()
}

/// Checks that the first entries that are `wanted` follow each other, and returns them.
fn in_order<'a, W: std::fmt::Debug>(
    entries: &'a [Entry],
    wanted: &[W],
    is: impl Fn(&Entry, &W) -> bool,
) -> Vec<&'a Entry> {
    let mut rest = entries;
    let find = |one: &W| {
        let found = rest.iter().position(|entry| is(entry, one));
        let at = found.unwrap_or_else(|| panic!("{one:?} is not in its place in {entries:#?}"));
        let entry = &rest[at];
        rest = &rest[at + 1..];
        entry
    };
    wanted.iter().map(find).collect()
}

fn has_label(entry: &Entry, label: &&str) -> bool {
    entry.step.as_deref() == Some(*label)
}

/// Who sends what to whom.
type Sent = (&'static str, &'static str, &'static str);

fn is_sent(entry: &Entry, (from, to, summary): &Sent) -> bool {
    (&*entry.from, &*entry.to, entry.protocol) == (from, to, Protocol::Http)
        && entry.summary.starts_with(summary)
}

const A: &str = "acm.a.example";
const B: &str = "acm.b.example";
const CLIENT: &str = "ACM client";
const POST: &str = "POST /acm/v1/interconnection";

/// The labels of the procedures in entries.
fn labels(entries: &[Entry]) -> Vec<&str> {
    let labels = entries.iter().filter_map(|entry| entry.step.as_deref());
    labels.filter(|label| ["XCFG", "GRP", "UPD"].iter().any(|it| label.starts_with(it))).collect()
}

#[tokio::test]
async fn groups_are_offered_step_by_step_with_everybody_logged_off_between() {
    let (tap, mut ladder) = Tap::new();
    let pair = Pair::draw();
    let systems = start_both(&pair, "", Some(&tap)).await;
    let anna = pair.administrator(Side::A, "anna");
    let bob = pair.administrator(Side::B, "bob");
    for group in ["fire", "rescue"] {
        let path = format!("/acm/v1/groups/sip%3A{group}@a.example");
        assert_eq!(anna.ask("PUT", &path, None).await.0, 204);
    }
    let session = anna.log_on().await;
    drain(&mut ladder);

    let groups = json!({ "groups": ["sip:fire@a.example", "sip:rescue@a.example"] });
    let transaction = anna.begin(&to_user(Side::A, "bob", groups)).await;
    anna.reached(&transaction, &["pending-at-partner"]).await;
    assert_eq!(anna.ask("DELETE", &format!("/acm/v1/sessions/{session}"), None).await.0, 204);
    let session = bob.log_on().await;
    let mut events = EventReader::open(&bob, session, None).await;
    assert_eq!(events.next().await.unwrap().1["kind"], "groups");
    let at = item_path(Side::A, &transaction);
    assert_eq!(bob.items().await.len(), 1);
    assert_eq!(bob.get(&at).await["payload"]["groups"].as_array().unwrap().len(), 2);
    assert_eq!(bob.decide(Side::A, &transaction, json!("accept")).await.0, 200);
    anna.reached(&transaction, &["responded"]).await;
    let session = anna.log_on().await;
    let mut events = EventReader::open(&anna, session, None).await;
    assert_eq!(events.next().await.unwrap().1["is_response"], true);
    assert_eq!(anna.items().await.len(), 1);
    assert_eq!(anna.get(&at).await["response"]["result"], "received");

    let entries = drain(&mut ladder);
    let wanted = [
        "GRP-1", "GRP-2", "GRP-3", "GRP-4a", "GRP-4b", "GRP-5", "GRP-6", "GRP-7a", "GRP-7b",
        "GRP-8", "GRP-9", "GRP-10", "GRP-11", "GRP-12", "GRP-13a", "GRP-13b", "GRP-14",
    ];
    let steps = in_order(&entries, &wanted, has_label);
    let between = |at: usize| (&*steps[at].from, &*steps[at].to, steps[at].protocol);
    for (at, from, to) in [
        (2, A, B),
        (4, B, A),
        (7, B, CLIENT),
        (9, B, CLIENT),
        (11, B, A),
        (14, A, CLIENT),
        (16, A, CLIENT),
    ] {
        assert_eq!(between(at), (from, to, Protocol::Http), "{}", wanted[at]);
    }
    drop(events);
    shutdown(systems).await;
}

#[tokio::test]
async fn users_are_removed_by_request_notification_decision_and_response() {
    let (tap, mut ladder) = Tap::new();
    let pair = Pair::draw();
    let systems = start_both(&pair, "policies.add-users.mode = \"accept\"\n", Some(&tap)).await;
    let anna = pair.administrator(Side::A, "anna");
    let bob = pair.administrator(Side::B, "bob");
    let users = |kind: &str| json!({ kind: { "users": ["sip:alice@a.example"] } });
    let added = anna.begin(&to_user(Side::A, "bob", users("add-users"))).await;
    let progress = anna.reached(&added, &["responded"]).await;
    assert_eq!(progress["response"]["result"], "ok", "{progress}");
    let session = anna.log_on().await;
    let mut of_anna = EventReader::open(&anna, session, None).await;
    assert_eq!(of_anna.next().await.unwrap().1["kind"], "add-users");
    let session = bob.log_on().await;
    let mut of_bob = EventReader::open(&bob, session, None).await;
    drain(&mut ladder);

    let removal = anna.begin(&to_user(Side::A, "bob", users("remove-users"))).await;
    assert_eq!(of_bob.next().await.unwrap().1["kind"], "remove-users");
    let at = item_path(Side::A, &removal);
    let item = bob.get(&at).await;
    assert_eq!(item["payload"]["remove-users"]["users"], json!(["sip:alice@a.example"]));
    assert_eq!(bob.decide(Side::A, &removal, json!("accept")).await.0, 200);
    let (_, told) = of_anna.next().await.unwrap();
    assert_eq!((&told["kind"], &told["is_response"]), (&json!("remove-users"), &json!(true)));
    assert_eq!(anna.get(&at).await["response"]["result"], "ok");

    let entries = drain(&mut ladder);
    let wanted: [Sent; 7] = [
        (A, CLIENT, "201"),
        (A, B, POST),
        (B, CLIENT, "pending: remove-users"),
        (B, CLIENT, "200"),
        (B, A, POST),
        (A, CLIENT, "pending: remove-users"),
        (A, CLIENT, "200"),
    ];
    in_order(&entries, &wanted[1..], is_sent);
    assert!(entries.iter().any(|entry| is_sent(entry, &wanted[0])));
    assert_eq!(labels(&entries), [""; 0], "it is no step of the three procedures");
    // Who is removed can be updated no more.
    let update = json!({ "update": {
        "users": ["sip:alice@a.example"], "configuration": configuration(Side::B, 2),
    } });
    let update = anna.begin(&to_user(Side::A, "bob", update)).await;
    let progress = anna.reached(&update, &["pending-at-partner", "responded"]).await;
    if progress["response"].is_null() {
        bob.decide(Side::A, &update, json!("accept")).await;
    }
    let progress = anna.reached(&update, &["responded"]).await;
    assert_ne!(progress["response"]["result"], "ok", "{progress}");
    assert_eq!(progress["response"]["elements"], json!(["sip:alice@a.example"]));
    drop((of_anna, of_bob));
    shutdown(systems).await;
}

#[tokio::test]
async fn a_system_that_is_asked_for_its_configuration_sends_it_as_an_exchange() {
    let (tap, mut ladder) = Tap::new();
    let pair = Pair::draw();
    let start = |side, more: &str| {
        let config = Config::parse(&pair.toml(side, "policy.mode = \"accept\"\n", more)).unwrap();
        let options = Options { tap: Some(tap.clone()), ..Options::default() };
        RunningSystem::start(config, options).unwrap()
    };
    let a = start(Side::A, "answers_pull = \"sip:anna@a.example\"\n");
    let b = start(Side::B, "");
    pair.provision(Side::A, &["anna"]).await;
    pair.provision(Side::B, &["bob"]).await;
    let own = serde_json::from_value(configuration(Side::A, 7)).unwrap();
    let id = Side::A.id().parse().unwrap();
    pair.management(Side::A).put_system_configuration(&id, &own).await.unwrap();
    drain(&mut ladder);

    let bob = pair.administrator(Side::B, "bob");
    let pull = bob.begin(&to_other(Side::B, json!("please-send"))).await;
    let progress = bob.reached(&pull, &["responded"]).await;
    assert_eq!(progress["response"]["result"], "ok", "{progress}");
    until("what was asked for is in force", async || {
        (revision_at(&pair, Side::B, Side::A).await == Some(7)).then_some(())
    })
    .await;
    let anna = pair.administrator(Side::A, "anna");
    let sent = until("it is an exchange of hers", async || {
        let items = anna.items().await;
        items.into_iter().find(|item| item["kind"] == "configuration")
    })
    .await;
    assert_eq!(sent["result"], json!("ok"), "{sent}");
    assert_eq!(bob.items().await.len(), 1, "only the response to what he asked");

    let entries = drain(&mut ladder);
    in_order(&entries, &[(B, A, POST), (A, B, POST), (B, A, POST)], is_sent);
    in_order(&entries, &["XCFG-3", "XCFG-4", "XCFG-12", "XCFG-13"], has_label);
    let first = entries.iter().position(|entry| is_sent(entry, &(B, A, POST)));
    assert!(
        entries[..first.unwrap()].iter().all(|entry| entry.step.is_none()),
        "the pull has none"
    );
    assert_eq!(revision_at(&pair, Side::A, Side::A).await, Some(7), "its own stays");
    assert_ne!(sent["number"], Value::Null);
    shutdown([a, b]).await;
}
