//! The 49 messages of RFC 4475 thrown at a running SIP core, over UDP and over TCP: the ten that concern
//! REGISTER get the stated answer, and the next good request is always served.
#![cfg(feature = "node")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a test speaks to the sockets"
)]

mod node_world;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    path::Path,
    time::Duration,
};

use migcore::node::RunningSystem;
use node_world::start;

/// The ten messages of RFC 4475 that are REGISTER, or look like it, and the status that a registrar of
/// their domain answers, over UDP and TCP alike. Those in order are challenged.
const REGISTERS: [(&str, u16); 10] = [
    ("escnull", 401),
    ("esc02", 501),
    ("dblreq", 401),
    ("scalar02", 400),
    ("regbadct", 400),
    ("unksm2", 400),
    ("regaut01", 401),
    ("cparam01", 401),
    ("cparam02", 401),
    ("regescrt", 401),
];

/// The users that the messages in order register.
const USERS: [&str; 4] = ["null-%00-null", "j.user", "watson", "user"];

fn message(name: &str) -> Vec<u8> {
    let file = format!("sip-fixtures/torture/{name}.dat");
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

fn names() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sip-fixtures/torture");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> =
        files.filter_map(|file| Some(file.strip_suffix(".dat")?.to_owned())).collect();
    names.sort_unstable();
    assert_eq!(names.len(), 49);
    names
}

/// A request that is answered 200, and tells by its Call-ID that the answer is to it.
fn good(transport: &str, number: usize) -> String {
    format!(
        "OPTIONS sip:example.com SIP/2.0\r\nVia: SIP/2.0/{transport} 127.0.0.1;branch=z9hG4bKgood{number};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:a@example.com>;tag=1\r\nTo: <sip:example.com>\r\nCall-ID: good{number}\r\n\
         CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}

/// The messages name port 5060 or other hosts in their Via, where an answer would go astray: with `rport`
/// it comes back to the sender (RFC 3581). Nothing else is changed.
fn with_rport(octets: &[u8]) -> Vec<u8> {
    let at = octets.windows(7).position(|window| window == b";branch").unwrap();
    [&octets[..at], b";rport", &octets[at..]].concat()
}

async fn provision(system: &RunningSystem, user: &str) {
    let address = system.bound().management.unwrap();
    let path = user.replace('%', "%25");
    let key = "465b5ce8b199b49faa5f0a2ee238a6bc";
    let body =
        serde_json::json!({ "impus": [format!("sip:{user}@example.com")], "k": key, "opc": key });
    let url = format!("http://{address}/v1/subscribers/{path}@example.com");
    let answer = reqwest::Client::new().put(url).json(&body).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 204, "{user}: {}", answer.text().await.unwrap());
}

fn status(answer: &[u8]) -> u16 {
    String::from_utf8_lossy(&answer[8..11]).parse().unwrap()
}

fn udp_exchange(core: SocketAddr, octets: &[u8]) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(2_000))).unwrap();
    socket.send_to(octets, core).unwrap();
    let mut buffer = vec![0; 65_535];
    let length = socket.recv(&mut buffer).ok()?;
    Some(buffer[..length].to_vec())
}

#[tokio::test]
async fn the_ten_register_messages_get_the_stated_answer_over_udp_and_tcp() {
    let system = start("example.com", "");
    let core = system.bound().sip[0];
    for user in USERS {
        provision(&system, user).await;
    }
    for (name, expected) in REGISTERS {
        let octets = with_rport(&message(name));
        let answer =
            udp_exchange(core, &octets).unwrap_or_else(|| panic!("{name}: no answer over UDP"));
        assert_eq!(
            status(&answer),
            expected,
            "{name} over UDP: {}",
            String::from_utf8_lossy(&answer)
        );

        let mut stream = TcpStream::connect(core).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(&octets).unwrap();
        let mut buffer = vec![0; 65_535];
        let length = stream.read(&mut buffer).unwrap();
        assert!(length > 11, "{name}: no answer over TCP");
        assert_eq!(
            status(&buffer),
            expected,
            "{name} over TCP: {}",
            String::from_utf8_lossy(&buffer[..length])
        );
    }
    system.shutdown().await;
}

#[tokio::test]
async fn every_message_is_survived_over_udp_and_tcp() {
    let system = start("example.com", "");
    let core = system.bound().sip[0];
    for (number, name) in names().iter().enumerate() {
        let octets = message(name);
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&octets, core).unwrap();
        let answer = udp_exchange(core, good("UDP", number).as_bytes());
        assert_eq!(answer.as_deref().map(status), Some(200), "after {name} over UDP");

        let mut stream = TcpStream::connect(core).unwrap();
        stream.write_all(&octets).unwrap();
        let mut fresh = TcpStream::connect(core).unwrap();
        fresh.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        fresh.write_all(good("TCP", number).as_bytes()).unwrap();
        let mut buffer = vec![0; 65_535];
        let length = fresh.read(&mut buffer).unwrap();
        assert!(length > 11 && status(&buffer) == 200, "after {name} over TCP");
    }
    system.shutdown().await;
}
