//! The proxies against servers that echo.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream, UdpSocket},
    time::timeout,
};

use crate::{
    faults::{Kind, Rates},
    framing::{body, read_diameter, read_text},
    proxy::{Kinds, Proxy},
};

const NEVER: Rates = Rates { lost: 0, repeated: 0 };
const ALWAYS_LOST: Rates = Rates { lost: 1_000, repeated: 0 };
const ALWAYS_REPEATED: Rates = Rates { lost: 0, repeated: 1_000 };

/// How long nothing has to come until it counts as lost.
const SILENCE: Duration = Duration::from_millis(50);

fn kinds(to_server: Rates, from_server: Rates) -> Kinds {
    let kind = |name, rates| Arc::new(Kind::new(name, 1, rates));
    Kinds { to_server: kind("to", to_server), from_server: kind("from", from_server) }
}

fn diameter(code: u8, content: u8) -> Vec<u8> {
    let mut message = vec![1, 0, 0, 20, 0, 0, 1, code];
    message.resize(20, content);
    message
}

/// Echoes all octets of each connection, and tells how often a text began.
async fn echo_text(text: &'static str) -> (SocketAddr, Arc<Mutex<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(0));
    let count = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                let mut reader = BufReader::new(read);
                while let Ok(Some(message)) = read_text(&mut reader).await {
                    *count.lock().unwrap() += usize::from(message.starts_with(text.as_bytes()));
                    write.write_all(&message).await.unwrap();
                }
            });
        }
    });
    (address, seen)
}

async fn echo_octets() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await
            });
        }
    });
    address
}

async fn echo_datagrams() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 2_048];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            socket.send_to(&buffer[..length], from).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn an_http_message_that_is_lost_costs_the_connection_and_one_repeated_arrives_twice() {
    for (to_server, from_server, arrived, answered) in [
        (NEVER, NEVER, 1, true),
        (ALWAYS_LOST, NEVER, 0, false),
        (ALWAYS_REPEATED, NEVER, 2, true),
        (NEVER, ALWAYS_LOST, 1, false),
    ] {
        let (server, seen) = echo_text("POST").await;
        let tapped = Arc::new(Mutex::new(Vec::new()));
        let taps = Arc::clone(&tapped);
        let tap = move |request: &[u8], response: &[u8]| {
            taps.lock().unwrap().push((body(request).to_vec(), body(response).to_vec()));
        };
        let proxy = Proxy::http(kinds(to_server, from_server), Arc::new(tap)).await;
        let mut client = TcpStream::connect(proxy.address).await.unwrap();
        let request = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
        client.write_all(request).await.unwrap();
        proxy.forward_to(server);
        let response = read_text(&mut BufReader::new(&mut client)).await.unwrap();
        assert_eq!(response.as_deref(), answered.then_some(&request[..]));
        assert_eq!(*seen.lock().unwrap(), arrived);
        assert_eq!(*tapped.lock().unwrap(), vec![(b"abc".to_vec(), b"abc".to_vec()); arrived]);
    }
}

#[tokio::test]
async fn diameter_messages_are_left_out_or_doubled_but_never_the_first_exchange() {
    for (to_server, from_server, copies) in [
        (NEVER, NEVER, 1),
        (ALWAYS_LOST, NEVER, 0),
        (ALWAYS_REPEATED, NEVER, 2),
        (NEVER, ALWAYS_LOST, 0),
        (ALWAYS_REPEATED, ALWAYS_REPEATED, 4),
    ] {
        let proxy = Proxy::diameter(kinds(to_server, from_server)).await;
        proxy.forward_to(echo_octets().await);
        let mut client = TcpStream::connect(proxy.address).await.unwrap();
        let (first, second, last) = (diameter(1, 1), diameter(47, 2), diameter(1, 3));
        client.write_all(&[&first[..], &second[..], &last[..]].concat()).await.unwrap();
        let expected = [vec![first], vec![second; copies], vec![last]].concat();
        for message in expected {
            assert_eq!(read_diameter(&mut client).await.unwrap().unwrap(), message);
        }
        assert!(timeout(SILENCE, client.read_u8()).await.is_err(), "no more, and still open");
    }
}

#[tokio::test]
async fn a_lost_message_of_sip_over_tcp_costs_the_connection() {
    for (to_server, from_server, copies) in [
        (NEVER, NEVER, 1),
        (ALWAYS_LOST, NEVER, 0),
        (NEVER, ALWAYS_LOST, 0),
        (ALWAYS_REPEATED, NEVER, 2),
    ] {
        let (server, _) = echo_text("REGISTER").await;
        let proxy = Proxy::sip_stream(kinds(to_server, from_server)).await;
        proxy.forward_to(server);
        let client = TcpStream::connect(proxy.address).await.unwrap();
        let (read, mut write) = client.into_split();
        let request = b"REGISTER sip:b.example SIP/2.0\r\nContent-Length: 0\r\n\r\n";
        write.write_all(request).await.unwrap();
        let mut reader = BufReader::new(read);
        for _ in 0..copies {
            assert_eq!(read_text(&mut reader).await.unwrap().unwrap(), request);
        }
        let end = timeout(SILENCE, reader.read_u8()).await;
        let closed = end.map(|read| read.unwrap_err().kind());
        assert_eq!(closed.ok(), (copies == 0).then_some(ErrorKind::UnexpectedEof));
    }
}

#[tokio::test]
async fn datagrams_are_dropped_or_doubled_and_each_client_gets_its_own_answers() {
    for (to_server, from_server, copies) in [
        (NEVER, NEVER, 1),
        (ALWAYS_LOST, NEVER, 0),
        (NEVER, ALWAYS_LOST, 0),
        (ALWAYS_REPEATED, NEVER, 2),
        (ALWAYS_REPEATED, ALWAYS_REPEATED, 4),
    ] {
        let proxy = Proxy::datagrams(kinds(to_server, from_server)).await;
        proxy.forward_to(echo_datagrams().await);
        let mut clients = Vec::new();
        for number in 0..3_u8 {
            let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            client.connect(proxy.address).await.unwrap();
            client.send(&[number; 3]).await.unwrap();
            clients.push((number, client));
        }
        for (number, client) in clients {
            let mut buffer = [0; 16];
            for _ in 0..copies {
                assert_eq!(client.recv(&mut buffer).await.unwrap(), 3);
                assert_eq!(buffer[..3], [number; 3]);
            }
            assert!(timeout(SILENCE, client.recv(&mut buffer)).await.is_err());
        }
    }
}

#[tokio::test]
async fn more_clients_than_a_datagram_proxy_keeps_are_served_all_the_same() {
    let proxy = Proxy::datagrams(kinds(NEVER, NEVER)).await;
    proxy.forward_to(echo_datagrams().await);
    let mut buffer = [0; 16];
    for _ in 0..2 {
        for number in 0..=u8::MAX {
            let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            client.send_to(&[number], proxy.address).await.unwrap();
            assert_eq!(client.recv(&mut buffer).await.unwrap(), 1);
            assert_eq!(buffer[0], number);
        }
    }
}
