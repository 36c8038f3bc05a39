//! Both interfaces while nothing can be stored.

use std::sync::atomic::Ordering;

use serde_json::json;

use crate::{
    interfaces::{answer, exchange, submit},
    node_world::{flaky::flaky, metric},
    world::{EventReader, Pair, Side, read, xcfg},
};

#[tokio::test]
async fn without_storage_both_interfaces_say_when_to_ask_again_and_go_on_when_it_is_back() {
    let pair = Pair::draw();
    let (options, fails) = flaky();
    let b = pair.start(Side::B, "", options);
    pair.provision(Side::B, &["bob"]).await;
    let bob = pair.administrator(Side::B, "bob");
    let session = bob.log_on().await;
    let mut events = EventReader::open(&bob, session, None).await;
    let request = submit(exchange(1), |_| {});
    let begin = serde_json::to_value(xcfg(Side::B, 1)).unwrap();

    fails.store(true, Ordering::SeqCst);
    for attempt in ["the commit fails", "no commit is tried"] {
        for request in [
            pair.post(Side::B).json(&request),
            bob.request("GET", "/acm/v1/items"),
            bob.request("POST", "/acm/v1/transactions").json(&begin),
            bob.request("GET", &format!("/acm/v1/sessions/{session}/events")),
        ] {
            let response = request.send().await.unwrap();
            assert!(response.headers().contains_key("retry-after"), "{attempt}: {response:?}");
            let (status, problem) = read(response).await;
            assert_eq!(status, 503, "{attempt}: {problem}");
        }
    }
    // The roles are loaded anew: streams end, and clients come again.
    fails.store(false, Ordering::SeqCst);
    crate::node_world::eventually("the storage came back", || {
        metric(&b, "migcore_storage_available") > 0.5
    })
    .await;
    assert_eq!(events.next().await, None);
    assert_eq!(answer(pair.post(Side::B).json(&request)).await, (200, json!("stored")));
    let mut events = EventReader::open(&bob, session, None).await;
    assert_eq!(events.next().await.unwrap().1["count"], 1);
    assert_eq!(bob.items().await.len(), 1, "once");
    drop(events);
    b.shutdown().await;
}
