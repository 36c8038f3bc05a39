//! SIP over TCP: one task a connection, which owns it.
//!
//! Answers reach the owner through a bounded mailbox. A peer that sends nothing, never finishes a
//! message, or does not read its answers is cut.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::Instant,
};

use super::{
    diameter::OpenConnections,
    metrics::{Direction, Metrics},
    perform::{Call, Caller, Shared},
    worker::Worker,
};
use crate::{
    outbox::{Flow, Transport},
    sip::stream::{Frame, StreamFramer},
    table::Table,
};

/// Most messages that wait to be written to one connection; one more, and it is cut.
pub(super) const MAILBOX_MESSAGES_MAX: usize = 256;

/// How much longer than a vector may take a peer that has closed its side is served.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// How long a peer may take to read what was written to it.
const WRITE_TIME_MAX: Duration = Duration::from_secs(10);

/// How long a peer may take from the first octet of a message to its last.
const MESSAGE_TIME_MAX: Duration = Duration::from_secs(32);

/// Octets read at a time.
const READ_OCTETS: usize = 16_384;

/// The answer to a keep-alive (RFC 5626 section 4.4.1).
const PONG: &[u8] = b"\r\n";

/// The TCP connections of a system, by number.
#[derive(Debug)]
pub(super) struct Connections {
    mailboxes: Table<u64, mpsc::Sender<Bytes>>,
    last_number: AtomicU64,
    open: AtomicUsize,
    most: usize,
}

impl Connections {
    pub(super) fn new(mailboxes: Table<u64, mpsc::Sender<Bytes>>, most: usize) -> Self {
        Self { mailboxes, last_number: AtomicU64::new(0), open: AtomicUsize::new(0), most }
    }

    /// Gives octets to the owner of a connection. If it cannot take them, the connection is cut.
    pub(super) fn send(&self, metrics: &Metrics, connection: u64, octets: Bytes) {
        let mailbox = self.mailboxes.get(&connection).map(|mailbox| mailbox.clone());
        let Some(mailbox) = mailbox else { return metrics.drop_one("tcp_connection_gone") };
        if mailbox.try_send(octets).is_err() {
            // Without its mailbox the owner ends.
            self.mailboxes.remove(&connection);
            metrics.drop_one("tcp_mailbox_full");
        }
    }

    /// Opens one more connection, if there may be one.
    fn enter(&self) -> Option<(u64, mpsc::Receiver<Bytes>)> {
        if self.open.fetch_add(1, Ordering::AcqRel) >= self.most {
            self.open.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        let number = self.last_number.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, receiver) = mpsc::channel(MAILBOX_MESSAGES_MAX);
        self.mailboxes.insert(number, sender);
        Some((number, receiver))
    }

    /// Cuts all connections: whoever waits for an answer there learns that none will come.
    pub(super) fn cut_all(&self) {
        self.mailboxes.clear();
    }

    fn leave(&self, number: u64) {
        self.mailboxes.remove(&number);
        self.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Accepts connections until the task is dropped.
pub(super) async fn accept(
    shared: Arc<Shared>,
    worker: Arc<Worker>,
    listener: TcpListener,
    local: SocketAddr,
    open: OpenConnections,
) {
    loop {
        let Ok((stream, remote)) = listener.accept().await else {
            // Out of descriptors, most likely: waiting is all there is to do.
            shared.metrics.drop_one("tcp_accept_error");
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Some((number, mailbox)) = shared.connections.enter() else {
            shared.metrics.drop_one("tcp_connections_full");
            continue;
        };
        let flow = Flow { transport: Transport::Tcp, local, remote, connection: number };
        let caller = Caller::new(&shared, &worker);
        let shared = Arc::clone(&shared);
        open.spawn(async move {
            shared.metrics.tcp_connections.inc();
            if let Err(reason) = Connection::new(caller, stream, flow).run(mailbox).await {
                shared.metrics.drop_one(reason);
            }
            shared.connections.leave(number);
            shared.metrics.tcp_connections.dec();
        });
    }
}

/// One connection.
struct Connection {
    caller: Caller,
    stream: TcpStream,
    flow: Flow,
    framer: StreamFramer,
    /// When the last octets came.
    heard: Instant,
    /// When the first octets of the message came that is not complete.
    began: Option<Instant>,
    /// Requests handed to the role less answers written.
    unanswered: usize,
}

/// What wakes a connection.
enum Event {
    Read(std::io::Result<usize>),
    Write(Option<Bytes>),
    Timeout,
    Stop,
}

impl Connection {
    fn new(caller: Caller, stream: TcpStream, flow: Flow) -> Self {
        // Without it answers wait for the peer's acknowledgments; it is no condition for working.
        let _ = stream.set_nodelay(true);
        Self {
            caller,
            stream,
            flow,
            framer: StreamFramer::new(),
            heard: Instant::now(),
            began: None,
            unanswered: 0,
        }
    }

    /// Runs until the peer closes; an error is the reason why we did.
    async fn run(mut self, mut mailbox: mpsc::Receiver<Bytes>) -> Result<(), &'static str> {
        let shared = Arc::clone(&self.caller.shared);
        let stop = shared.stopped_and_settled();
        tokio::pin!(stop);
        let mut buffer = vec![0; READ_OCTETS];
        loop {
            let deadline = self.deadline();
            let event = tokio::select! {
                read = self.stream.read(&mut buffer) => Event::Read(read),
                octets = mailbox.recv() => Event::Write(octets),
                () = tokio::time::sleep_until(deadline) => Event::Timeout,
                () = &mut stop => Event::Stop,
            };
            match event {
                Event::Read(Ok(0)) => return self.drain(mailbox).await,
                Event::Read(Ok(length)) => {
                    self.heard = Instant::now();
                    self.receive(buffer.get(..length).unwrap_or_default(), &mut mailbox).await?;
                    // In turn with all others, however much comes: what is not read closes the window.
                    tokio::task::yield_now().await;
                }
                Event::Read(Err(_)) => return Err("tcp_read_error"),
                Event::Write(Some(octets)) => self.write(octets, &mut mailbox).await?,
                Event::Write(None) => return Err("tcp_cut"),
                Event::Timeout if self.began.is_some() => return Err("tcp_unfinished_message"),
                Event::Timeout => return Ok(()),
                Event::Stop => return self.write_rest(mailbox).await,
            }
        }
    }

    /// The peer sends no more but may still read: writes the answers that it waits for.
    async fn drain(mut self, mut mailbox: mpsc::Receiver<Bytes>) -> Result<(), &'static str> {
        let patience = self.caller.shared.config.sip.vector_timeout + DRAIN_GRACE;
        let deadline = Instant::now() + patience;
        while self.unanswered > 0 {
            match tokio::time::timeout_at(deadline, mailbox.recv()).await {
                Ok(Some(octets)) => self.write(octets, &mut mailbox).await?,
                Ok(None) | Err(_) => break,
            }
        }
        Ok(())
    }

    /// Writes the answers that are there.
    async fn write_rest(mut self, mut mailbox: mpsc::Receiver<Bytes>) -> Result<(), &'static str> {
        match mailbox.try_recv() {
            Ok(octets) => self.write(octets, &mut mailbox).await,
            Err(_) => Ok(()),
        }
    }

    fn deadline(&self) -> Instant {
        let idle = self.heard + self.caller.shared.config.sip.tcp_idle_timeout;
        self.began.map_or(idle, |began| idle.min(began + MESSAGE_TIME_MAX))
    }

    async fn receive(
        &mut self,
        octets: &[u8],
        mailbox: &mut mpsc::Receiver<Bytes>,
    ) -> Result<(), &'static str> {
        if self.framer.push(octets).is_err() {
            return Err("tcp_framing");
        }
        let mut complete = false;
        loop {
            match self.framer.next_frame() {
                Ok(Some(Frame::Message(message))) => {
                    complete = true;
                    self.handle(&message);
                }
                Ok(Some(Frame::KeepAlive)) => {
                    complete = true;
                    self.write(Bytes::from_static(PONG), mailbox).await?;
                }
                Ok(None) => break,
                Err(_) => {
                    // The role answers what it can make out; then nothing can follow.
                    let rejected = Bytes::copy_from_slice(self.framer.rejected());
                    self.handle(&rejected);
                    while let Ok(octets) = mailbox.try_recv() {
                        self.write(octets, mailbox).await?;
                    }
                    return Err("tcp_framing");
                }
            }
        }
        if self.framer.rejected().is_empty() {
            self.began = None;
        } else if complete || self.began.is_none() {
            self.began = Some(self.heard);
        }
        Ok(())
    }

    fn handle(&mut self, octets: &[u8]) {
        self.caller.shared.observe_sip(Direction::In, None, &self.flow, octets);
        self.unanswered += 1;
        self.caller.call(Call::Sip { flow: self.flow, octets });
    }

    /// Writes octets, and all that wait behind them, in one piece.
    async fn write(
        &mut self,
        octets: Bytes,
        mailbox: &mut mpsc::Receiver<Bytes>,
    ) -> Result<(), &'static str> {
        self.unanswered = self.unanswered.saturating_sub(1);
        let written = match mailbox.try_recv() {
            Err(_) => tokio::time::timeout(WRITE_TIME_MAX, self.stream.write_all(&octets)).await,
            Ok(second) => {
                let mut together = BytesMut::from(&octets[..]);
                together.extend_from_slice(&second);
                self.unanswered = self.unanswered.saturating_sub(1);
                while let Ok(next) = mailbox.try_recv() {
                    together.extend_from_slice(&next);
                    self.unanswered = self.unanswered.saturating_sub(1);
                }
                tokio::time::timeout(WRITE_TIME_MAX, self.stream.write_all(&together)).await
            }
        };
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err("tcp_write_error"),
            Err(_) => Err("tcp_slow_reader"),
        }
    }
}
