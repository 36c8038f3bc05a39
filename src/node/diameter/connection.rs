//! One Diameter connection: octets and events between a socket and [`Connection`].

use std::{
    collections::HashMap,
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
    time::Instant,
};

use super::{Link, MAILBOX_MESSAGES_MAX, Outgoing, Peer, WireRequest, counters::Counters};
use crate::{
    diameter::{
        base::DisconnectCause,
        context::RequestContext,
        cx,
        local::Origin,
        peer::{Config, Connection, DownReason, Event, PeerOutput},
        validate::{Rejection, code},
    },
    node::{
        config::PeerKind,
        entropy::SystemEntropy,
        ladder::{self, Entry, Protocol},
        metrics::{self, CxResult, Direction, PeerName},
        park::Parked,
        perform::{Call, Caller},
        tls::{Bound, Stream},
    },
    outbox::{self, CxReply, Note, ReplyTo, RequestId, Role, Undeliverable},
    step::Step,
    time::Timestamp,
};

/// Octets read at a time.
const READ_OCTETS: usize = 65_536;

/// Octets that may wait for a peer to read them; beyond, the connection is cut.
const WRITE_BACKLOG_OCTETS_MAX: usize = 16 << 20;

/// Messages handled before what they ask for is written, and other tasks of the worker get their turn. A read of
/// many small messages may be more.
const TURN_MESSAGES: usize = 512;

/// Who opened a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::node) enum Origination {
    /// We did.
    Initiated,
    /// The peer did.
    Accepted,
}

/// One connection with its socket.
pub(super) struct Wire {
    caller: Caller,
    /// Calls that follow from what was read: a batch.
    calls: Vec<Call<'static>>,
    stream: Stream,
    /// Who shows a certificate.
    bound: Option<Bound>,
    /// Whether what was written may wait in the layer of TLS.
    unflushed: bool,
    remote: SocketAddr,
    local: Option<SocketAddr>,
    origination: Origination,
    connection: Connection,
    entropy: SystemEntropy,
    out: PeerOutput,
    mailbox: mpsc::Receiver<Outgoing>,
    sender: mpsc::Sender<Outgoing>,
    /// Who is at the other end, once capabilities are exchanged.
    peer: Option<Arc<Peer>>,
    /// Requests of our roles by token.
    asked: HashMap<u64, Asked, ahash::RandomState>,
    last_token: u64,
    /// When it was last woken.
    now: Timestamp,
    counters: Counters,
    over: bool,
}

/// A request of one of our roles that waits for its answer.
struct Asked {
    id: RequestId,
    command: &'static str,
}

/// What wakes a connection.
#[expect(clippy::large_enum_variant, reason = "it lives from one wait to the next, on the stack")]
enum Woken {
    Read(io::Result<usize>),
    Written(io::Result<usize>),
    Outgoing(Option<Outgoing>),
    Timer,
    Stop,
}

impl Wire {
    pub(super) fn accept(
        caller: Caller,
        ends: (Stream, SocketAddr),
        bound: Option<Bound>,
        config: Config,
    ) -> Self {
        let mut entropy = SystemEntropy::new();
        let connection = Connection::accept(config, caller.shared.clock.now(), &mut entropy);
        let out = PeerOutput::default();
        let made = (connection, entropy, out);
        Self::new(caller, ends, bound, Origination::Accepted, made)
    }

    pub(super) fn initiate(
        caller: Caller,
        ends: (Stream, SocketAddr),
        bound: Option<Bound>,
        config: Config,
    ) -> Self {
        let mut entropy = SystemEntropy::new();
        let mut out = PeerOutput::default();
        let now = caller.shared.clock.now();
        let connection = Connection::initiate(config, now, &mut entropy, &mut out);
        let made = (connection, entropy, out);
        Self::new(caller, ends, bound, Origination::Initiated, made)
    }

    fn new(
        caller: Caller,
        (stream, remote): (Stream, SocketAddr),
        bound: Option<Bound>,
        origination: Origination,
        (connection, entropy, out): (Connection, SystemEntropy, PeerOutput),
    ) -> Self {
        let local = stream.socket().local_addr().ok();
        let now = caller.shared.clock.now();
        let (sender, mailbox) = mpsc::channel(MAILBOX_MESSAGES_MAX);
        Self {
            caller,
            calls: Vec::new(),
            stream,
            bound,
            unflushed: false,
            remote,
            local,
            origination,
            connection,
            entropy,
            out,
            mailbox,
            sender,
            peer: None,
            asked: HashMap::default(),
            last_token: 0,
            now,
            counters: Counters::default(),
            over: false,
        }
    }

    /// Runs until the connection is over; whether it ever was open.
    pub(super) async fn run(mut self) -> bool {
        let shared = Arc::clone(&self.caller.shared);
        // Leave is taken after the answers that wait for commits.
        let stop = shared.stopped_and_settled();
        let alarm = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(stop, alarm);
        // Nearly every message puts the next deadline off. The alarm is not: it may ring too early, once.
        let mut rings_at = Timestamp::MAX;
        let mut stopping = false;
        let mut buffer = BytesMut::with_capacity(READ_OCTETS);
        loop {
            let handled = self.take_turn();
            if self.over {
                break;
            }
            if handled >= TURN_MESSAGES {
                tokio::task::yield_now().await;
            }
            let due = self.connection.next_deadline().unwrap_or_default();
            if due < rings_at {
                alarm.as_mut().reset(Instant::now() + due.since(shared.clock.now()));
                rings_at = due;
            }
            let woken = tokio::select! {
                woken = poll_fn(|context| {
                    let waits = (&mut self.out.octets, &mut self.unflushed);
                    poll_ends(&mut self.stream, &mut buffer, waits, context)
                }) => woken,
                outgoing = self.mailbox.recv() => Woken::Outgoing(outgoing),
                () = &mut alarm => Woken::Timer,
                () = &mut stop, if !stopping => Woken::Stop,
            };
            self.now = shared.clock.now();
            match woken {
                Woken::Read(Ok(1..)) => {
                    self.connection.handle_octets(self.now, &buffer, &mut self.out);
                    buffer.clear();
                }
                Woken::Read(_) | Woken::Written(Err(_)) => {
                    self.connection.handle_transport_closed(&mut self.out);
                }
                Woken::Outgoing(Some(outgoing)) => self.send(outgoing),
                Woken::Written(Ok(_)) | Woken::Outgoing(None) => {}
                Woken::Timer => {
                    rings_at = Timestamp::MAX;
                    self.connection.handle_timer(self.now, &mut self.entropy, &mut self.out);
                }
                Woken::Stop => {
                    stopping = true;
                    let cause = DisconnectCause::Rebooting;
                    self.connection.shutdown(self.now, cause, &mut self.out);
                }
            }
        }
        self.finish().await
    }

    /// Handles events, and what they and others put into the mailbox, so that all of it leaves in one piece;
    /// returns how many messages that were.
    fn take_turn(&mut self) -> usize {
        let mut handled = 0;
        loop {
            handled += self.handle_events();
            self.cut_a_slow_reader();
            // The rest of a full mailbox waits for its next turn.
            if handled >= TURN_MESSAGES {
                break;
            }
            let Ok(outgoing) = self.mailbox.try_recv() else { break };
            handled += 1;
            self.send(outgoing);
        }
        self.write_out();
        handled + self.handle_events()
    }

    /// Handles events, and makes the calls that they and failed requests lead to; how many events there were.
    fn handle_events(&mut self) -> usize {
        // What follows from an event may be events: a connection that shuts down fails its requests.
        let mut handled = 0;
        while !self.out.events.is_empty() {
            let mut events = std::mem::take(&mut self.out.events);
            handled += events.len();
            events.drain(..).for_each(|event| self.handle_event(event));
            if self.out.events.is_empty() {
                self.out.events = events;
            }
        }
        if !self.calls.is_empty() {
            self.caller.batch(|batch| self.calls.drain(..).for_each(|call| batch.call(call)));
        }
        handled
    }

    /// Writes as much as the socket takes at once.
    fn write_out(&mut self) {
        while self.out.octets.has_remaining() {
            match self.stream.try_write(&self.out.octets) {
                Ok(written) => {
                    self.out.octets.advance(written);
                    self.unflushed = self.stream.is_tls();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.out.octets.clear();
                    self.connection.handle_transport_closed(&mut self.out);
                }
            }
        }
    }

    /// Ends the connection of a peer that does not read, whatever the octets are: answers of roles,
    /// watchdog answers, rejections.
    fn cut_a_slow_reader(&mut self) {
        if self.out.octets.len() > WRITE_BACKLOG_OCTETS_MAX {
            self.out.octets.clear();
            self.caller.shared.metrics.drop_one("diameter_slow_reader");
            self.connection.handle_transport_closed(&mut self.out);
        }
    }

    fn handle_event(&mut self, event: Event) {
        match event {
            Event::Up(origin) => self.handle_up(&origin),
            Event::Request { context, request } => self.handle_request(context, request),
            Event::Answer { token, answer } => {
                if let Some(Asked { id, .. }) = self.asked.remove(&token) {
                    let step = self.is_partner().then(|| Step::mig(19));
                    self.observe_answer(Direction::In, step, id.role, &answer, 0);
                    self.calls.push(Call::CxReply(CxReply { id, outcome: Ok(answer) }));
                }
            }
            Event::Failed { token, reason } => {
                if let Some(asked) = self.asked.remove(&token) {
                    tracing::debug!(peer = %self.peer_name(), ?reason, "a request has no answer");
                    self.fail(asked);
                }
            }
            Event::Down(reason) => {
                self.over = true;
                let system = &*self.caller.shared.config.system.name;
                let (peer, remote) = (self.peer_name(), self.remote);
                tracing::info!(system, %peer, %remote, ?reason, "Diameter connection is over");
                self.tell_of_certificate(reason);
            }
        }
    }

    fn handle_up(&mut self, origin: &Origin) {
        let shared = Arc::clone(&self.caller.shared);
        let Some(peer) = shared.peers.find(&origin.host) else { return };
        let link = Link { mailbox: self.sender.clone(), origination: self.origination };
        let system = &*shared.config.system.name;
        self.peer = Some(Arc::clone(peer));
        if !peer.take_link(&shared.peers.config.local.origin().host, link) {
            let now = shared.clock.now();
            let cause = DisconnectCause::DoNotWantToTalkToYou;
            return self.connection.shutdown(now, cause, &mut self.out);
        }
        self.set_open(peer, 1);
        tracing::info!(system, peer = %peer.config.host, remote = %self.remote, "Diameter connection is open");
    }

    /// Tells that a certificate is not that of the host that shows it: a security event at the one end, a wrong
    /// certificate at the other.
    fn tell_of_certificate(&self, reason: DownReason) {
        let Some(Bound { system: other, .. }) = &self.bound else { return };
        let shared = &self.caller.shared;
        let (system, remote, other) = (&*shared.config.system.name, self.remote, other.as_str());
        let accepted = self.origination == Origination::Accepted;
        if reason == DownReason::UnknownPeer && accepted {
            let reason = "the certificate is not that of the Origin-Host";
            let peer = self.bound.as_ref().map(|bound| bound.system.clone());
            shared.report_note(&Note::PeerRefused { peer, reason });
        }
        if reason == DownReason::Refused(code::UNKNOWN_PEER) {
            tracing::warn!(system, %remote, other, "the peer knows no host of this name by the certificate of this system");
        }
    }

    fn handle_request(&mut self, context: RequestContext, request: cx::Request) {
        let Some(peer) = &self.peer else { return };
        let step = (peer.config.kind == PeerKind::Database).then(|| Step::mig(18));
        let from = match peer.config.kind {
            PeerKind::Core => outbox::Peer::OwnCore,
            PeerKind::Database | PeerKind::OwnDatabase => {
                outbox::Peer::Database(peer.config.host.clone())
            }
        };
        let described = (ladder::command_of_request(&request), ladder::describe_request(&request));
        self.observe_request(Direction::In, step, Role::SipDatabase, described, 0);
        if self.caller.shared.roles.database.is_none() {
            return self.reject(context, code::COMMAND_UNSUPPORTED, "no SIP database here");
        }
        let waiting = WireRequest { context, mailbox: self.sender.clone() };
        match self.caller.shared.park(Parked::Diameter(waiting)) {
            Ok(number) => {
                let to = ReplyTo::World(number);
                self.calls.push(Call::CxRequest { from, to, request });
            }
            Err(Parked::Diameter(WireRequest { context, .. })) => {
                self.reject(context, code::TOO_BUSY, "too many requests in progress");
            }
            // What comes back is what was given.
            Err(
                Parked::Management(_)
                | Parked::Configuration(_)
                | Parked::Aliases(_)
                | Parked::Registration(_)
                | Parked::ConnectionDetails(_)
                | Parked::SystemAccess(_)
                | Parked::AcmInterconnection(..)
                | Parked::AcmClient(_)
                | Parked::AcmManagement(_)
                | Parked::Idms(_)
                | Parked::IdmsManagement(_),
            ) => {}
        }
    }

    fn reject(&mut self, context: RequestContext, result_code: u32, message: &'static str) {
        let rejection = Rejection::new(result_code, message);
        if self.connection.reject(context, &rejection, &mut self.out).is_err() {
            self.caller.shared.metrics.drop_one("diameter_connection_gone");
        }
    }

    fn send(&mut self, outgoing: Outgoing) {
        let now = self.now;
        let before = self.out.octets.len();
        match outgoing {
            Outgoing::Request { step, id, request } => {
                let Some(peer) = &self.peer else { return };
                let command = ladder::command_of_request(&request);
                let asked = Asked { id, command };
                let summary = ladder::describe_request(&request);
                self.last_token += 1;
                let token = self.last_token;
                let sent = self.connection.send_request(
                    now,
                    &peer.destination,
                    request,
                    token,
                    &mut self.out,
                );
                if sent.is_err() {
                    return self.fail(asked);
                }
                self.asked.insert(token, asked);
                let octets = self.out.octets.len() - before;
                self.observe_request(Direction::Out, step, id.role, (command, summary), octets);
            }
            Outgoing::Answer { step, context, answer } => {
                if self.connection.send_answer(context, &answer, &mut self.out).is_err() {
                    return self.caller.shared.metrics.drop_one("diameter_connection_gone");
                }
                let octets = self.out.octets.len() - before;
                self.observe_answer(Direction::Out, step, Role::SipDatabase, &answer, octets);
            }
            Outgoing::Busy { context } => {
                self.reject(context, code::TOO_BUSY, "the storage is unavailable; try again");
            }
            Outgoing::Disconnect(cause) => self.connection.shutdown(now, cause, &mut self.out),
        }
    }

    /// Tells the role that its request gets no answer.
    fn fail(&mut self, Asked { id, command }: Asked) {
        self.count_answer(Direction::In, command, CxResult(None));
        self.calls.push(Call::CxReply(CxReply { id, outcome: Err(Undeliverable) }));
    }

    /// Writes what is left, closes, and fails what will have no answer.
    async fn finish(mut self) -> bool {
        if let Some(peer) = &self.peer
            && peer.drop_link(&self.sender)
        {
            self.set_open(peer, 0);
        }
        self.mailbox.close();
        while let Ok(outgoing) = self.mailbox.try_recv() {
            if let Outgoing::Request { id, request, .. } = outgoing {
                self.fail(Asked { id, command: ladder::command_of_request(&request) });
            }
        }
        self.handle_events();
        // Whether the last octets arrive is up to the peer now: nothing depends on it.
        let last_octets = async {
            self.stream.write_all(&self.out.octets).await?;
            self.stream.shutdown().await
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), last_octets).await;
        self.peer.is_some()
    }

    fn set_open(&self, peer: &Peer, open: i64) {
        let label = metrics::Peer::of(Some(&peer.config.host));
        self.caller.shared.metrics.diameter_open.get_or_create(&label).set(open);
    }

    fn peer_name(&self) -> Arc<str> {
        self.peer.as_ref().map_or_else(|| "unknown".into(), |peer| peer.config.host.as_str().into())
    }

    /// Whether the peer is the SIP database of another system.
    fn is_partner(&self) -> bool {
        self.peer.as_ref().is_some_and(|peer| peer.config.kind == PeerKind::Database)
    }

    fn count_answer(&mut self, direction: Direction, command: &'static str, result: CxResult) {
        let peer = self.peer.as_deref();
        let name = || peer.map_or(PeerName(None), Peer::label);
        let metrics = &self.caller.shared.metrics;
        self.counters.count_answer(metrics, direction, (command, result), name);
    }

    fn observe_request(
        &mut self,
        direction: Direction,
        step: Option<Step>,
        role: Role,
        (command, summary): (&'static str, &'static str),
        octets: usize,
    ) {
        let peer = self.peer.as_deref();
        let name = || peer.map_or(PeerName(None), Peer::label);
        self.counters.count_request(&self.caller.shared.metrics, direction, command, name);
        if self.caller.shared.is_observed() {
            self.record(direction, step, role, summary.to_owned(), octets);
        }
    }

    fn observe_answer(
        &mut self,
        direction: Direction,
        step: Option<Step>,
        role: Role,
        answer: &cx::Answer,
        octets: usize,
    ) {
        let (command, name, result) = ladder::outcome_of_answer(answer);
        self.count_answer(direction, command, CxResult(Some(result)));
        let is_vector = matches!(answer, cx::Answer::MultimediaAuth(_)) && result.is_success();
        if let Some(peer) = &self.peer
            && (direction, peer.config.kind, is_vector) == (Direction::In, PeerKind::Database, true)
        {
            let label = || metrics::Peer::of(Some(&peer.config.host));
            self.counters.count_vector(&self.caller.shared.metrics, label);
        }
        if self.caller.shared.is_observed() {
            self.record(
                direction,
                step,
                role,
                format!("{name} {}", CxResult(Some(result))),
                octets,
            );
        }
    }

    fn record(
        &self,
        direction: Direction,
        step: Option<Step>,
        role: Role,
        summary: String,
        octets: usize,
    ) {
        let shared = &self.caller.shared;
        let (ours, theirs) = (shared.names.of(role), self.peer_name());
        let (from, to) = if direction == Direction::Out { (ours, theirs) } else { (theirs, ours) };
        shared.record(Entry {
            at: shared.clock.now(),
            step: step.map(|step| step.to_string()),
            from,
            to,
            protocol: Protocol::Diameter,
            direction,
            local: self.local,
            remote: Some(self.remote),
            summary,
            octets,
        });
    }
}

/// Waits until something is read, or something is written that waits. Both ends of TLS are one: reading and writing
/// share its state.
fn poll_ends(
    stream: &mut Stream,
    buffer: &mut BytesMut,
    (octets, unflushed): (&mut BytesMut, &mut bool),
    context: &mut Context<'_>,
) -> Poll<Woken> {
    buffer.reserve(READ_OCTETS);
    let mut stream = Pin::new(stream);
    if let Poll::Ready(read) = pin!(stream.as_mut().get_mut().read_buf(buffer)).poll(context) {
        return Poll::Ready(Woken::Read(read));
    }
    if octets.has_remaining() {
        let written = ready!(stream.as_mut().poll_write(context, octets));
        if let Ok(length) = written {
            octets.advance(length);
            *unflushed = stream.is_tls();
        }
        return Poll::Ready(Woken::Written(written));
    }
    if *unflushed {
        let flushed = ready!(stream.poll_flush(context));
        *unflushed = false;
        return Poll::Ready(Woken::Written(flushed.map(|()| 0)));
    }
    Poll::Pending
}
