//! Proxies that lose and repeat messages: one for each link between two parties.
//!
//! Each listens on a free port of loopback from its creation, and forwards as soon as it is told where
//! to, so that parties can be told of each other in any order. It runs on the runtime that it was
//! created in.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::{
        TcpListener, TcpStream, UdpSocket,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinHandle,
};

use crate::{
    faults::{Fate, Kind},
    framing::{command_code, read_diameter, read_text},
};

/// Most clients of a datagram proxy at a time; the one that was silent longest makes room.
const DATAGRAM_CLIENTS_MAX: usize = 256;

/// CER and CEA: without them there is no connection that could lose anything.
const CAPABILITIES_EXCHANGE: u32 = 257;

/// Sees each HTTP request and the response to it, even if the client does not.
pub type HttpTap = dyn Fn(&[u8], &[u8]) + Send + Sync;

/// Where a proxy listens and where it forwards to.
#[derive(Clone, Debug)]
pub struct Proxy {
    pub address: SocketAddr,
    upstream: Arc<OnceLock<SocketAddr>>,
}

/// The kinds of messages of a link: to the server, and from it.
#[derive(Clone, Debug)]
pub struct Kinds {
    pub to_server: Arc<Kind>,
    pub from_server: Arc<Kind>,
}

impl Proxy {
    /// An HTTP proxy. A lost request is not forwarded, a lost response is dropped, and the client's
    /// connection is closed; a repeated request goes to the server twice at the same time.
    pub async fn http(kinds: Kinds, tap: Arc<HttpTap>) -> Self {
        Self::stream(move |client, upstream| {
            let (kinds, tap) = (kinds.clone(), Arc::clone(&tap));
            async move { forward_http(client, upstream, &kinds, &*tap).await }
        })
        .await
    }

    /// A Diameter proxy: messages are left out of the stream, or written twice.
    pub async fn diameter(kinds: Kinds) -> Self {
        Self::stream(move |client, upstream| {
            let kinds = kinds.clone();
            async move {
                let server = TcpStream::connect(upstream).await?;
                let (client, server) = (client.into_split(), server.into_split());
                tokio::select! {
                    ended = forward_diameter(client.0, server.1, &kinds.to_server) => ended,
                    ended = forward_diameter(server.0, client.1, &kinds.from_server) => ended,
                }
            }
        })
        .await
    }

    /// A proxy for SIP over TCP. What a network loses on a stream is the connection: both sides of it
    /// are cut in place of a lost message.
    pub async fn sip_stream(kinds: Kinds) -> Self {
        Self::stream(move |client, upstream| {
            let kinds = kinds.clone();
            async move {
                let server = TcpStream::connect(upstream).await?;
                let (client, server) = (client.into_split(), server.into_split());
                tokio::select! {
                    ended = forward_text(client.0, server.1, &kinds.to_server) => ended,
                    ended = forward_text(server.0, client.1, &kinds.from_server) => ended,
                }
            }
        })
        .await
    }

    /// A proxy for SIP over UDP: datagrams are dropped, or sent twice. Each client has a socket of its
    /// own towards the server, so that answers find their way back.
    pub async fn datagrams(kinds: Kinds) -> Self {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let address = socket.local_addr().unwrap();
        let proxy = Self { address, upstream: Arc::default() };
        let forwarded = proxy.clone();
        tokio::spawn(async move { forward_datagrams(socket, &forwarded, &kinds).await });
        proxy
    }

    /// Says where to forward to. Clients that came before wait.
    pub fn forward_to(&self, upstream: SocketAddr) {
        self.upstream.set(upstream).unwrap();
    }

    async fn stream<F>(serve: impl Fn(TcpStream, SocketAddr) -> F + Send + 'static) -> Self
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = Self { address, upstream: Arc::default() };
        let accepted = proxy.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                client.set_nodelay(true).unwrap();
                // An end by an error is an end too: the other side sees its connection closed.
                let upstream = accepted.upstream().await;
                tokio::spawn(serve(client, upstream));
            }
        });
        proxy
    }

    async fn upstream(&self) -> SocketAddr {
        loop {
            if let Some(upstream) = self.upstream.get() {
                return *upstream;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Serves one client until it or a lost message ends the connection.
async fn forward_http(
    client: TcpStream,
    upstream: SocketAddr,
    kinds: &Kinds,
    tap: &HttpTap,
) -> io::Result<()> {
    let (read, mut write) = client.into_split();
    let mut reader = BufReader::new(read);
    while let Some(request) = read_text(&mut reader).await? {
        let response = match kinds.to_server.draw() {
            Fate::Lost => return Ok(()),
            Fate::Passed => exchange_http(upstream, &request, tap).await?,
            Fate::Repeated => {
                let exchange = || exchange_http(upstream, &request, tap);
                let (first, second) = tokio::join!(exchange(), exchange());
                first.or(second)?
            }
        };
        if kinds.from_server.draw() == Fate::Lost {
            return Ok(());
        }
        write.write_all(&response).await?;
    }
    Ok(())
}

/// Sends one request on a connection of its own, and waits for the response.
async fn exchange_http(upstream: SocketAddr, request: &[u8], tap: &HttpTap) -> io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(upstream).await?;
    server.set_nodelay(true)?;
    server.write_all(request).await?;
    let response = read_text(&mut BufReader::new(server)).await?;
    let response = response.ok_or(io::ErrorKind::UnexpectedEof)?;
    tap(request, &response);
    Ok(response)
}

async fn forward_diameter(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    kind: &Kind,
) -> io::Result<()> {
    while let Some(message) = read_diameter(&mut from).await? {
        let is_first = command_code(&message) == CAPABILITIES_EXCHANGE;
        let fate = if is_first { Fate::Passed } else { kind.draw() };
        write_as(fate, &mut to, &message).await?;
    }
    Ok(())
}

async fn forward_text(from: OwnedReadHalf, mut to: OwnedWriteHalf, kind: &Kind) -> io::Result<()> {
    let mut reader = BufReader::new(from);
    while let Some(message) = read_text(&mut reader).await? {
        let fate = kind.draw();
        if fate == Fate::Lost {
            return Ok(());
        }
        write_as(fate, &mut to, &message).await?;
    }
    Ok(())
}

async fn write_as(fate: Fate, to: &mut OwnedWriteHalf, message: &[u8]) -> io::Result<()> {
    match fate {
        Fate::Lost => Ok(()),
        Fate::Passed => to.write_all(message).await,
        Fate::Repeated => to.write_all(&message.repeat(2)).await,
    }
}

/// A client of a datagram proxy, as the server knows it.
struct DatagramClient {
    socket: Arc<UdpSocket>,
    last_used: u64,
    answers: JoinHandle<()>,
}

impl Drop for DatagramClient {
    fn drop(&mut self) {
        self.answers.abort();
    }
}

async fn forward_datagrams(socket: Arc<UdpSocket>, proxy: &Proxy, kinds: &Kinds) {
    let mut clients: BTreeMap<SocketAddr, DatagramClient> = BTreeMap::new();
    let mut buffer = vec![0; 65_536];
    for number in 0.. {
        let (length, address) = socket.recv_from(&mut buffer).await.unwrap();
        if !clients.contains_key(&address) {
            if clients.len() == DATAGRAM_CLIENTS_MAX {
                let silent = clients.iter().min_by_key(|(_, client)| client.last_used);
                let silent = *silent.unwrap().0;
                clients.remove(&silent);
            }
            let client = open_client(proxy.upstream().await, &socket, address, kinds).await;
            clients.insert(address, client);
        }
        let client = clients.get_mut(&address).unwrap();
        client.last_used = number;
        for _ in 0..copies(kinds.to_server.draw()) {
            // What the kernel refuses to send is lost as well.
            let _ = client.socket.send(&buffer[..length]).await;
        }
    }
}

/// Gives a client a socket towards the server, and carries what comes back on it.
async fn open_client(
    upstream: SocketAddr,
    to_clients: &Arc<UdpSocket>,
    address: SocketAddr,
    kinds: &Kinds,
) -> DatagramClient {
    let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    socket.connect(upstream).await.unwrap();
    let (from, to) = (Arc::clone(&socket), Arc::clone(to_clients));
    let kind = Arc::clone(&kinds.from_server);
    let answers = tokio::spawn(async move {
        let mut buffer = vec![0; 65_536];
        loop {
            // An error is an ICMP message about a datagram sent before.
            let Ok(length) = from.recv(&mut buffer).await else { continue };
            for _ in 0..copies(kind.draw()) {
                let _ = to.send_to(&buffer[..length], address).await;
            }
        }
    });
    DatagramClient { socket, last_used: 0, answers }
}

const fn copies(fate: Fate) -> usize {
    match fate {
        Fate::Lost => 0,
        Fate::Passed => 1,
        Fate::Repeated => 2,
    }
}
