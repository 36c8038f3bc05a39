//! Long bodies of requests: they are announced before they come, and each sender has a share of the places for them.

use std::time::Duration;

use migcore::node::acm;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    interfaces::{answer, exchange, start_b, submit},
    world::{INTERCONNECTION, Pair, Side, token, token_of},
};

/// Sends a head that announces a body, and returns the status that comes before the body does.
async fn announce(port: u16, path: &str, credential: &str, octets: usize) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\n{credential}Content-Type: application/json\r\n\
         Content-Length: {octets}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let reading = async {
        while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "cut off");
        }
    };
    tokio::time::timeout(crate::world::DEADLINE, reading).await.expect("an answer");
    String::from_utf8(answer).unwrap().split(' ').nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn no_octet_of_a_body_is_read_that_is_too_long_or_of_somebody_unknown() {
    let pair = Pair::draw();
    let b = start_b(&pair, "").await;
    let (client, partner) = (pair.ports(Side::B).client, pair.ports(Side::B).partner);
    let of_a = format!("Authorization: Bearer {}\r\n", token_of(Side::A));
    let bob = token("bob");
    let of_bob =
        format!("Authorization: Bearer {}\r\nMC-Service-ID: sip:bob@b.example\r\n", bob.expose());
    let max = acm::BODY_OCTETS_MAX;
    let begin = "/acm/v1/transactions";
    for (port, path, credential, octets, status) in [
        (partner, INTERCONNECTION, "", max, "401"),
        (partner, INTERCONNECTION, &*of_bob, max, "401"),
        (partner, INTERCONNECTION, &*of_a, max + 1, "413"),
        (client, begin, "", max, "401"),
        (client, begin, &*of_a, max, "401"),
        (client, begin, &*of_bob, max + 1, "413"),
    ] {
        let found = announce(port, path, credential, octets).await;
        assert_eq!(found, status, "{path} {credential} {octets}");
    }
    b.shutdown().await;
}

/// Announces a long body that does not come.
async fn hold(port: u16, path: &str, credential: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\n{credential}Content-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        acm::BODY_OCTETS_MAX
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// The status of the answer to a long body that comes in place of it, if it does.
async fn refused_long(port: u16, path: &str, credential: &str) -> Option<String> {
    let announced = announce(port, path, credential, acm::BODY_OCTETS_MAX);
    tokio::time::timeout(Duration::from_millis(500), announced).await.ok()
}

#[tokio::test]
async fn who_announces_long_bodies_holds_a_share_and_keeps_no_other_out() {
    const LIMIT: &str = "interconnected = true\n[[acm.partners]]\nid = \"sip:c.example\"\n\
        url = \"http://127.0.0.1:9\"\nsend_token = \"acm-token-of-b-for-system-c\"\n\
        accept_token = \"acm-token-of-system-c-for-b\"\ndomains = [\"c.example\"]\n";
    let pair = Pair::draw();
    let b = start_b(&pair, LIMIT).await;
    pair.provision(Side::B, &["bea"]).await;
    let (client, partner) = (pair.ports(Side::B).client, pair.ports(Side::B).partner);
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let of_user = |name: &str| {
        let token = token(name);
        bearer(token.expose()) + &format!("MC-Service-ID: sip:{name}@b.example\r\n")
    };
    let begin = "/acm/v1/transactions";
    for (port, path, one, other) in [
        (
            partner,
            INTERCONNECTION,
            bearer(&token_of(Side::A)),
            bearer("acm-token-of-system-c-for-b"),
        ),
        (client, begin, of_user("bob"), of_user("bea")),
    ] {
        let mut held = Vec::new();
        for _ in 0..acm::LONG_BODIES_SHARE {
            held.push(hold(port, path, &one).await);
        }
        let refused = crate::until("no more of one are taken in", async || {
            refused_long(port, path, &one).await
        });
        assert_eq!(refused.await, "503", "{path}");
        assert_eq!(refused_long(port, path, &other).await, None, "another's is waited for: {path}");
        // Who is gone holds nothing.
        drop(held);
        crate::until("one more is taken in", async || {
            refused_long(port, path, &one).await.is_none().then_some(())
        })
        .await;
    }
    // Short ones are taken in meanwhile.
    let mut held = Vec::new();
    for _ in 0..acm::LONG_BODIES_SHARE {
        held.push(hold(partner, INTERCONNECTION, &bearer(&token_of(Side::A))).await);
    }
    let (status, _) = answer(pair.post(Side::B).json(&submit(exchange(1), |_| {}))).await;
    assert_eq!(status, 200);
    b.shutdown().await;
}
