//! SIP over TCP and TLS: one task a connection, which owns it.
//!
//! Answers reach the owner through a bounded mailbox, and leave together: those to all messages that were read in
//! one piece are written in one. A peer that sends nothing, never finishes a message, or does not read its
//! answers is cut.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::Notify,
    time::Instant,
};

use super::{
    config::Part,
    diameter::OpenConnections,
    metrics::{Direction, Metrics},
    perform::{Batch, Call, Caller, Shared},
    tls::{self, Clients, Handshake, Stream},
    worker::{Worker, stopped},
};
use crate::{
    outbox::{Flow, SipTarget, Transport},
    sip::stream::{Frame, StreamFramer},
    table::Table,
};

/// Most octets that wait to be written to one connection; more, and it is cut.
pub(super) const MAILBOX_OCTETS_MAX: usize = 4 << 20;

/// Octets of a mailbox that are kept for the next answers.
const MAILBOX_OCTETS_KEPT: usize = 64 << 10;

/// How much longer than a vector may take a peer that has closed its side is served.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// How long a peer may take to read what was written to it.
const WRITE_TIME_MAX: Duration = Duration::from_secs(10);

/// How long a peer may take from the first octet of a message to its last.
const MESSAGE_TIME_MAX: Duration = Duration::from_secs(32);

/// Octets read at a time.
const READ_OCTETS: usize = 65_536;

/// The answer to a keep-alive (RFC 5626 section 4.4.1).
const PONG: &[u8] = b"\r\n";

/// The TCP connections of a system, those with TLS among them, by number.
#[derive(Debug)]
pub(super) struct Connections {
    mailboxes: Table<u64, Arc<Mailbox>>,
    /// Those that were opened to application servers.
    to_servers: Mutex<BTreeMap<SipTarget, u64>>,
    last_number: AtomicU64,
    open: AtomicUsize,
    most: usize,
}

/// What waits to be written to one connection.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    waiting: Mutex<Waiting>,
    /// Wakes the owner.
    has_any: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    octets: Vec<u8>,
    messages: usize,
    /// The owner is to end.
    is_cut: bool,
}

impl Mailbox {
    /// Puts octets in, unless they find no room.
    fn put(&self, octets: &[u8]) -> bool {
        let mut waiting = self.lock();
        if waiting.is_cut || waiting.octets.len() + octets.len() > MAILBOX_OCTETS_MAX {
            return false;
        }
        let is_first = waiting.messages == 0;
        waiting.octets.extend_from_slice(octets);
        waiting.messages += 1;
        drop(waiting);
        if is_first {
            self.has_any.notify_one();
        }
        true
    }

    /// Exchanges what waits for the empty `into`; how many messages that are.
    fn take(&self, into: &mut Vec<u8>) -> Result<usize, &'static str> {
        let mut waiting = self.lock();
        if waiting.is_cut {
            return Err("tcp_cut");
        }
        std::mem::swap(&mut waiting.octets, into);
        Ok(std::mem::take(&mut waiting.messages))
    }

    fn cut(&self) {
        self.lock().is_cut = true;
        self.has_any.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connections {
    pub(super) fn new(mailboxes: Table<u64, Arc<Mailbox>>, most: usize) -> Self {
        Self {
            mailboxes,
            to_servers: Mutex::default(),
            last_number: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            most,
        }
    }

    /// Gives octets to the owner of a connection. If it cannot take them, the connection is cut.
    pub(super) fn send(&self, metrics: &Metrics, connection: u64, octets: &[u8]) {
        let Some(mailbox) = self.mailboxes.get(&connection) else {
            return metrics.drop_one("tcp_connection_gone");
        };
        if !mailbox.put(octets) {
            mailbox.cut();
            metrics.drop_one("tcp_mailbox_full");
        }
    }

    /// Opens one more connection, if there may be one.
    fn enter(&self) -> Option<(u64, Arc<Mailbox>)> {
        if self.open.fetch_add(1, Ordering::AcqRel) >= self.most {
            self.open.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        let number = self.last_number.fetch_add(1, Ordering::Relaxed) + 1;
        let mailbox = Arc::<Mailbox>::default();
        self.mailboxes.insert(number, Arc::clone(&mailbox));
        Some((number, mailbox))
    }

    /// The connection to a server. An error is a new one that is to be made, or that there may be none more.
    pub(super) fn to_server(&self, to: SipTarget) -> Result<u64, Option<(u64, Arc<Mailbox>)>> {
        let mut to_servers = self.to_servers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = to_servers.get(&to).filter(|it| self.mailboxes.contains_key(it)) {
            return Ok(*number);
        }
        let entered = self.enter();
        if let Some((number, _)) = &entered {
            to_servers.insert(to, *number);
        }
        Err(entered)
    }

    /// A connection to a server is over.
    pub(super) fn leave_server(&self, to: SipTarget, number: u64) {
        let mut to_servers = self.to_servers.lock().unwrap_or_else(PoisonError::into_inner);
        if to_servers.get(&to) == Some(&number) {
            to_servers.remove(&to);
        }
        drop(to_servers);
        self.leave(number);
    }

    /// Cuts all connections: whoever waits for an answer there learns that none will come.
    pub(super) fn cut_all(&self) {
        self.mailboxes.retain(|_, mailbox| {
            mailbox.cut();
            false
        });
    }

    fn leave(&self, number: u64) {
        self.mailboxes.remove(&number);
        self.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Accepts connections over `transport` until the task is dropped.
pub(super) async fn accept(
    shared: Arc<Shared>,
    worker: Arc<Worker>,
    listener: TcpListener,
    (transport, local): (Transport, SocketAddr),
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
        let flow = Flow { transport, local, remote, connection: number };
        // Without it answers wait for the peer's acknowledgments; it is no condition for working.
        let _ = stream.set_nodelay(true);
        let is_mc_server = shared.is_for_mc_server(&flow);
        let tls = match (transport, is_mc_server) {
            (Transport::Tls, false) => shared.tls_of(Part::Sip, Clients::Ues),
            (Transport::Tls, true) => shared.tls_of(Part::McServer, Clients::Systems),
            (Transport::Udp | Transport::Tcp, _) => None,
        };
        let caller = Caller::new(&shared, &worker);
        let shared = Arc::clone(&shared);
        open.spawn(async move {
            shared.metrics.tcp_connections.inc();
            let shaken = tokio::select! {
                shaken = tls::accept(tls, stream) => Some(shaken),
                () = stopped(shared.stop.subscribe()) => None,
            };
            match shaken {
                Some(Ok(shaken)) if is_mc_server && !is_own(&shared, &shaken) => {
                    shared.report_handshake("mc_server", remote, "it is of another MC system");
                }
                Some(Ok(shaken)) => {
                    let connection = Connection::new(caller, shaken.stream, flow, mailbox);
                    if let Err(reason) = connection.run().await {
                        shared.metrics.drop_one(reason);
                    }
                }
                Some(Err(reason)) => shared.report_handshake("sip", remote, &reason),
                None => {}
            }
            shared.connections.leave(number);
            shared.metrics.tcp_connections.dec();
        });
    }
}

/// Whether the other side is of this MC system, as far as it shows a certificate: without TLS none does.
fn is_own(shared: &Shared, shaken: &Handshake) -> bool {
    let bound = shaken.bound.as_ref();
    bound.is_none_or(|bound| bound.system == shared.config.config_server.id)
}

/// One connection.
pub(super) struct Connection {
    caller: Caller,
    stream: Stream,
    flow: Flow,
    framer: StreamFramer,
    mailbox: Arc<Mailbox>,
    /// What is being written; kept for its capacity.
    writing: Vec<u8>,
    /// When the last octets came.
    heard: Instant,
    /// When the first octets of the message came that is not complete.
    began: Option<Instant>,
    /// Requests handed to the role less answers written.
    unanswered: usize,
    /// Whether this system opened it, and so waits for answers and owes none.
    is_to_server: bool,
}

/// What wakes a connection.
enum Event {
    Read(std::io::Result<usize>),
    Write,
    Timeout,
    Stop,
}

impl Connection {
    fn new(caller: Caller, stream: Stream, flow: Flow, mailbox: Arc<Mailbox>) -> Self {
        Self {
            caller,
            stream,
            flow,
            framer: StreamFramer::new(),
            mailbox,
            writing: Vec::new(),
            heard: Instant::now(),
            began: None,
            unanswered: 0,
            is_to_server: false,
        }
    }

    /// A connection that this system opened.
    pub(super) fn to_server(
        caller: Caller,
        stream: Stream,
        flow: Flow,
        mailbox: Arc<Mailbox>,
    ) -> Self {
        Self { is_to_server: true, ..Self::new(caller, stream, flow, mailbox) }
    }

    /// Runs until the peer closes; an error is the reason why we did.
    pub(super) async fn run(mut self) -> Result<(), &'static str> {
        let shared = Arc::clone(&self.caller.shared);
        let mailbox = Arc::clone(&self.mailbox);
        let stop = shared.stopped_and_settled();
        tokio::pin!(stop);
        let mut buffer = vec![0; READ_OCTETS];
        loop {
            let deadline = self.deadline();
            let event = tokio::select! {
                read = self.stream.read(&mut buffer) => Event::Read(read),
                () = mailbox.has_any.notified() => Event::Write,
                () = tokio::time::sleep_until(deadline) => Event::Timeout,
                () = &mut stop => Event::Stop,
            };
            match event {
                Event::Read(Ok(0)) if self.is_to_server => return Ok(()),
                Event::Read(Ok(0)) => return self.drain().await,
                Event::Read(Ok(length)) => {
                    self.heard = Instant::now();
                    self.receive(buffer.get(..length).unwrap_or_default()).await?;
                    // In turn with all others, however much comes: what is not read closes the window.
                    tokio::task::yield_now().await;
                }
                Event::Read(Err(_)) => return Err("tcp_read_error"),
                Event::Write => self.write().await?,
                Event::Timeout if self.began.is_some() => return Err("tcp_unfinished_message"),
                Event::Timeout => return Ok(()),
                Event::Stop => return self.write().await,
            }
        }
    }

    /// The peer sends no more but may still read: writes the answers that it waits for.
    async fn drain(mut self) -> Result<(), &'static str> {
        let patience = self.caller.shared.config.sip.vector_timeout + DRAIN_GRACE;
        let deadline = Instant::now() + patience;
        let mailbox = Arc::clone(&self.mailbox);
        while self.unanswered > 0 {
            if tokio::time::timeout_at(deadline, mailbox.has_any.notified()).await.is_err() {
                break;
            }
            self.write().await?;
        }
        Ok(())
    }

    fn deadline(&self) -> Instant {
        let idle = self.heard + self.caller.shared.config.sip.tcp_idle_timeout;
        self.began.map_or(idle, |began| idle.min(began + MESSAGE_TIME_MAX))
    }

    async fn receive(&mut self, octets: &[u8]) -> Result<(), &'static str> {
        if self.framer.push(octets).is_err() {
            return Err("tcp_framing");
        }
        let (mut messages, mut keep_alives) = (0, 0);
        let framed = self.caller.batch(|batch| {
            loop {
                match self.framer.next_frame() {
                    Ok(Some(Frame::Message(message))) => {
                        messages += 1;
                        handle(batch, self.flow, &message);
                    }
                    Ok(Some(Frame::KeepAlive)) => keep_alives += 1,
                    Ok(None) => return Ok(()),
                    Err(_) => {
                        // The role answers what it can make out; then nothing can follow.
                        messages += 1;
                        handle(batch, self.flow, self.framer.rejected());
                        return Err("tcp_framing");
                    }
                }
            }
        });
        self.unanswered += messages + keep_alives;
        for _ in 0..keep_alives {
            if !self.mailbox.put(PONG) {
                return Err("tcp_slow_reader");
            }
        }
        self.write().await?;
        framed?;
        if self.framer.rejected().is_empty() {
            self.began = None;
        } else if messages + keep_alives > 0 || self.began.is_none() {
            self.began = Some(self.heard);
        }
        Ok(())
    }

    /// Writes all that waits, in one piece.
    async fn write(&mut self) -> Result<(), &'static str> {
        let messages = self.mailbox.take(&mut self.writing)?;
        if self.writing.is_empty() {
            return Ok(());
        }
        self.unanswered = self.unanswered.saturating_sub(messages);
        let written = async {
            self.stream.write_all(&self.writing).await?;
            self.stream.flush().await
        };
        let outcome = match tokio::time::timeout(WRITE_TIME_MAX, written).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err("tcp_write_error"),
            Err(_) => Err("tcp_slow_reader"),
        };
        self.writing.clear();
        self.writing.shrink_to(MAILBOX_OCTETS_KEPT);
        outcome
    }
}

fn handle(batch: &mut Batch<'_>, flow: Flow, octets: &[u8]) {
    batch.caller().shared.observe_sip(Direction::In, None, &flow, octets);
    batch.call(Call::Sip { flow, octets });
}
