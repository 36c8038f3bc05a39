//! Runs one UE over real sockets: its configuration management client, and its user agent.

pub mod command;
mod configuration;
pub mod identity;
pub mod state;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
};

pub use configuration::{Problem, RunningConfigurationClient, Trouble};

use self::state::{Registration, StateFile};
use super::{
    Clock, SystemEntropy,
    ladder::{self, Entry, Protocol, Tap},
    metrics::Direction,
    tls::{self, Stream, Trust, reason},
};
use crate::{
    api::connection_details::{SipCoreAddress, SipTransport},
    identity::McSystemId,
    mc_info::{ServiceInfo, settings::Settings},
    outbox::{Context, Effect, Flow, Message, Outbox, Role, TimerKey, Transport},
    sip::stream::{Frame, StreamFramer},
    step::Step,
    store::Sequencer,
    time::Timestamp,
    ue::{Config, Credentials, Publisher, ServiceLogOn, ServiceState, State, UserAgent},
    user_profile::ProfileService,
};

/// How long connecting to a SIP core may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// Longest datagram, octets.
const DATAGRAM_OCTETS_MAX: usize = 65_535;

/// A user agent with its socket.
pub struct RunningUe {
    agent: UserAgent,
    /// The MC services that were published for.
    publishers: BTreeMap<ProfileService, Publisher>,
    socket: Socket,
    clock: Clock,
    entropy: SystemEntropy,
    outbox: Outbox,
    timers: BTreeSet<(Timestamp, TimerKey)>,
    teller: Teller,
}

enum Socket {
    Udp(UdpSocket),
    /// With or without TLS.
    Stream {
        stream: Stream,
        framer: StreamFramer,
    },
}

/// What a user agent that goes on does about the contact of its registration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Contact {
    /// Registers the address that it gets, the same as before if that is free.
    Fresh,
    /// Prolongs the contact: over UDP that needs the same address again.
    Prolonged,
    /// Removes the contact: that can be done from any address.
    Removed,
}

impl RunningUe {
    /// Opens a socket to the SIP core at `remote`; `config` gets its addresses. Over TLS the SIP core is one that
    /// `trust` believes to be that of the domain. Nothing is kept beyond this process.
    ///
    /// # Errors
    ///
    /// Why there is no socket.
    pub async fn open(
        mut config: Config,
        remote: SocketAddr,
        credentials: impl Into<Credentials>,
        trust: &Trust,
        (tap, core): (Option<Tap>, &str),
    ) -> io::Result<Self> {
        config.flow.remote = remote;
        let (socket, flow) = Socket::open(config.flow, None, (trust, &config.domain)).await?;
        config.flow = flow;
        let mut entropy = SystemEntropy::new();
        let agent = UserAgent::new(config, credentials, &mut entropy);
        Ok(Self::with(agent, socket, entropy, (tap, core)))
    }

    /// Opens a socket to the SIP core of the system `at`, for a user agent whose state is kept in `file`. An
    /// earlier registration there of the same pair is gone on with.
    ///
    /// # Errors
    ///
    /// Why there is no socket; [`io::ErrorKind::AddrInUse`] if the contact cannot be prolonged because its
    /// address is not to be had. The file is as it was then.
    pub async fn open_kept(
        file: &mut StateFile,
        at: &McSystemId,
        mut config: Config,
        contact: Contact,
        (tap, core): (Option<Tap>, &str),
    ) -> io::Result<Self> {
        let same = |it: &&Registration| it.at == *at && it.identity == config.identity;
        let earlier = file.state.registration.as_ref().filter(same).map(|it| it.agent.clone());
        let wanted = earlier.as_ref().map(|saved| saved.contact);
        let believed = (&Trust::default(), config.domain.as_str());
        let (socket, flow) = Socket::open(config.flow, wanted, believed).await?;
        let moved = wanted.is_some_and(|wanted| wanted != flow.local);
        if contact == Contact::Prolonged && moved && flow.transport == Transport::Udp {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        config.flow = flow;
        let identity = config.identity.clone();
        let credentials = file.state.credentials_for(at, &identity);
        let mut entropy = SystemEntropy::new();
        let agent = match earlier {
            Some(mut saved) => {
                if contact == Contact::Fresh {
                    saved.contact = flow.local;
                }
                UserAgent::resume(config, credentials, saved, &mut entropy)
            }
            None => UserAgent::new(config, credentials, &mut entropy),
        };
        let transport = match flow.transport {
            Transport::Udp => SipTransport::Udp,
            Transport::Tcp => SipTransport::Tcp,
            Transport::Tls => SipTransport::Tls,
        };
        let address = SipCoreAddress { transport, address: flow.remote };
        let registration =
            Registration { at: at.clone(), identity, core: address, agent: agent.saved() };
        file.state.registration = Some(registration);
        Ok(Self::with(agent, socket, entropy, (tap, core)))
    }

    fn with(
        agent: UserAgent,
        socket: Socket,
        entropy: SystemEntropy,
        (tap, core): (Option<Tap>, &str),
    ) -> Self {
        let clock = Clock::start();
        Self {
            agent,
            publishers: BTreeMap::new(),
            socket,
            clock,
            entropy,
            outbox: Outbox::new(Arc::new(Sequencer::default())),
            timers: BTreeSet::new(),
            teller: Teller::new(tap, clock, core),
        }
    }

    /// Registers or refreshes, and waits for the outcome.
    ///
    /// # Errors
    ///
    /// The socket's.
    pub async fn register(&mut self) -> io::Result<&State> {
        self.call(UserAgent::register);
        self.settle(None).await
    }

    /// De-registers, and waits for the outcome.
    ///
    /// # Errors
    ///
    /// The socket's.
    pub async fn deregister(&mut self) -> io::Result<&State> {
        self.call(UserAgent::deregister);
        self.settle(None).await
    }

    /// Registers or refreshes with the state kept in `file`: it is durable before a message leaves.
    ///
    /// # Errors
    ///
    /// The socket's and the file's.
    pub async fn register_kept(&mut self, file: &mut StateFile) -> io::Result<&State> {
        self.call(UserAgent::register);
        self.settle(Some(file)).await
    }

    /// De-registers with the state kept in `file`.
    ///
    /// # Errors
    ///
    /// The socket's and the file's.
    pub async fn deregister_kept(&mut self, file: &mut StateFile) -> io::Result<&State> {
        self.call(UserAgent::deregister);
        self.settle(Some(file)).await
    }

    /// Tells of these MC services with the next registration, and brings their tokens.
    pub fn set_services(&mut self, services: Vec<ServiceLogOn>) {
        self.agent.set_services(services);
    }

    /// Publishes settings for an MC service at `server`, its public service identity, with the token in `info` if there
    /// is one, and waits for the outcome.
    ///
    /// # Errors
    ///
    /// The socket's.
    pub async fn publish(
        &mut self,
        (service, server): (ProfileService, &str),
        info: &ServiceInfo,
        settings: &Settings,
    ) -> io::Result<&ServiceState> {
        self.call_publisher((service, server), |publisher, ctx| {
            publisher.publish(ctx, info, settings);
        });
        self.settle_service(service).await
    }

    /// Logs off from an MC service, and waits for the outcome.
    ///
    /// # Errors
    ///
    /// The socket's.
    pub async fn log_off(
        &mut self,
        (service, server): (ProfileService, &str),
    ) -> io::Result<&ServiceState> {
        self.call_publisher((service, server), Publisher::log_off);
        self.settle_service(service).await
    }

    /// What it answers challenges with, an ISIM with the sequence numbers accepted so far: for another user agent of
    /// the same UE.
    pub const fn credentials(&self) -> &Credentials {
        self.agent.credentials()
    }

    /// Goes by another clock, such as one that is ahead.
    pub const fn set_clock(&mut self, clock: Clock) {
        self.clock = clock;
        self.teller.clock = clock;
    }

    fn call(&mut self, call: impl FnOnce(&mut UserAgent, &mut Context<'_>)) {
        let Self { agent, clock, entropy, outbox, .. } = self;
        call(agent, &mut Context { now: clock.now(), entropy, out: outbox });
    }

    fn call_publisher(
        &mut self,
        (service, server): (ProfileService, &str),
        call: impl FnOnce(&mut Publisher, &mut Context<'_>),
    ) {
        let Self { agent, clock, entropy, outbox, publishers, .. } = self;
        let ctx = &mut Context { now: clock.now(), entropy, out: outbox };
        let (flow, impu) = (*agent.flow(), agent.public_identity());
        let publisher = publishers
            .entry(service)
            .or_insert_with(|| Publisher::new(ctx, flow, impu, (service, server)));
        call(publisher, ctx);
    }

    async fn settle_service(&mut self, service: ProfileService) -> io::Result<&ServiceState> {
        let is_settled = |ue: &Self| {
            ue.publishers.get(&service).is_none_or(|it| *it.state() != ServiceState::Busy)
        };
        self.settle_until(None, is_settled).await?;
        let publisher = self.publishers.get(&service);
        Ok(publisher.map_or(&ServiceState::LoggedOff, Publisher::state))
    }

    /// Performs effects and hands messages and timers in until the user agent is not busy.
    async fn settle(&mut self, file: Option<&mut StateFile>) -> io::Result<&State> {
        self.settle_until(file, |ue| *ue.agent.state() != State::Busy).await?;
        Ok(self.agent.state())
    }

    async fn settle_until(
        &mut self,
        mut file: Option<&mut StateFile>,
        is_settled: impl Fn(&Self) -> bool,
    ) -> io::Result<()> {
        let mut buffer = vec![0; DATAGRAM_OCTETS_MAX];
        loop {
            if let Some(file) = file.as_deref_mut() {
                file.keep(&self.agent).map_err(io::Error::other)?;
            }
            self.perform().await?;
            if is_settled(self) {
                return Ok(());
            }
            let due = self.timers.first().map(|(at, _)| *at);
            let wait = due.unwrap_or_default().since(self.clock.now());
            tokio::select! {
                messages = self.socket.receive(&mut buffer) => {
                    for message in messages? {
                        if self.publishers.values_mut().any(|it| it.handle_sip(&message)) {
                            self.tell(Direction::In, None, &message);
                            continue;
                        }
                        self.tell(Direction::In, ladder::step_of_answer(&message), &message);
                        self.call(|agent, ctx| agent.handle_sip(ctx, &message));
                    }
                }
                () = tokio::time::sleep(wait), if due.is_some() => {
                    if let Some((_, timer)) = self.timers.pop_first() {
                        self.handle_timer(&timer);
                    }
                }
            }
        }
    }

    fn handle_timer(&mut self, timer: &TimerKey) {
        let Self { agent, clock, entropy, outbox, publishers, .. } = self;
        let ctx = &mut Context { now: clock.now(), entropy, out: outbox };
        let mut publishers = publishers.values_mut();
        if !publishers.any(|publisher| publisher.handle_timer(ctx, timer)) {
            agent.handle_timer(ctx, timer);
        }
    }

    async fn perform(&mut self) -> io::Result<()> {
        let effects: Vec<Effect> = self.outbox.drain().collect();
        for effect in effects {
            match effect {
                Effect::Send(send) => {
                    if let Message::Sip { octets, .. } = send.message {
                        self.tell(Direction::Out, send.step, &octets);
                        self.socket.send(&octets).await?;
                    }
                }
                Effect::Arm { at, timer } if timer.role == Role::Ue => {
                    self.timers.insert((at, timer));
                }
                Effect::Step { step, summary, .. } => self.teller.step(step, summary),
                Effect::Commit(_) | Effect::Note(_) | Effect::Arm { .. } => {}
            }
        }
        Ok(())
    }

    fn tell(&self, direction: Direction, step: Option<Step>, octets: &[u8]) {
        if self.teller.tap.is_none() {
            return;
        }
        let flow = self.agent.flow();
        let told = (direction, flow.transport.into(), step);
        let summary = ladder::describe_sip(octets);
        self.teller.message(told, (flow.local, flow.remote), summary, octets.len());
    }
}

/// Tells a ladder what the UE sends, receives and does.
struct Teller {
    tap: Option<Tap>,
    clock: Clock,
    /// What ladders call the other side.
    peer: Arc<str>,
}

impl Teller {
    fn new(tap: Option<Tap>, clock: Clock, peer: &str) -> Self {
        Self { tap, clock, peer: peer.into() }
    }

    fn step(&self, step: Step, summary: &str) {
        let nothing = (Direction::Out, Protocol::Step, Some(step));
        self.record(nothing, None, summary.to_owned(), 0);
    }

    fn message(
        &self,
        told: (Direction, Protocol, Option<Step>),
        path: (SocketAddr, SocketAddr),
        summary: String,
        octets: usize,
    ) {
        self.record(told, Some(path), summary, octets);
    }

    fn record(
        &self,
        (direction, protocol, step): (Direction, Protocol, Option<Step>),
        path: Option<(SocketAddr, SocketAddr)>,
        summary: String,
        octets: usize,
    ) {
        let Some(tap) = &self.tap else { return };
        let ue: Arc<str> = "UE".into();
        let (from, to) = match (path, direction) {
            (None, _) => (Arc::clone(&ue), ue),
            (Some(_), Direction::Out) => (ue, Arc::clone(&self.peer)),
            (Some(_), Direction::In) => (Arc::clone(&self.peer), ue),
        };
        tap.record(Entry {
            at: self.clock.now(),
            step: step.map(|step| step.to_string()),
            from,
            to,
            protocol,
            direction,
            local: path.map(|(local, _)| local),
            remote: path.map(|(_, remote)| remote),
            summary,
            octets,
        });
    }
}

impl Socket {
    /// Opens a socket for `flow`, from `wanted` if that address is to be had, and says from where. Over TLS the server
    /// is believed by its certificate for `domain` (RFC 5922 clause 7.3).
    async fn open(
        flow: Flow,
        wanted: Option<SocketAddr>,
        (trust, domain): (&Trust, &str),
    ) -> io::Result<(Self, Flow)> {
        let unspecified: IpAddr =
            if flow.remote.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let any = SocketAddr::new(unspecified, 0);
        let (socket, local) = match flow.transport {
            Transport::Udp => {
                let earlier = match wanted {
                    Some(address) => UdpSocket::bind(address).await.ok(),
                    None => None,
                };
                let socket = match earlier {
                    Some(socket) => socket,
                    None => UdpSocket::bind(any).await?,
                };
                socket.connect(flow.remote).await?;
                let local = socket.local_addr()?;
                (Self::Udp(socket), local)
            }
            Transport::Tcp | Transport::Tls => {
                let connecting = TcpStream::connect(flow.remote);
                let connected = tokio::time::timeout(CONNECT_TIME_MAX, connecting).await;
                let stream = connected.map_err(|_| io::ErrorKind::TimedOut)??;
                let local = stream.local_addr()?;
                let stream = match flow.transport {
                    Transport::Udp | Transport::Tcp => Stream::Plain(stream),
                    Transport::Tls => over_tls(stream, trust, domain).await?,
                };
                (Self::Stream { stream, framer: StreamFramer::new() }, local)
            }
        };
        Ok((socket, Flow { local, ..flow }))
    }

    async fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.send(octets).await.map(drop),
            Self::Stream { stream, .. } => {
                stream.write_all(octets).await?;
                stream.flush().await
            }
        }
    }

    /// Waits for octets and returns the messages that are complete.
    async fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Vec<Bytes>> {
        match self {
            Self::Udp(socket) => {
                let length = socket.recv(buffer).await?;
                Ok(vec![Bytes::copy_from_slice(buffer.get(..length).unwrap_or_default())])
            }
            Self::Stream { stream, framer } => {
                let read = stream.read(buffer).await;
                let length = read.map_err(|error| io::Error::new(error.kind(), reason(&error)))?;
                if length == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
                framer.push(buffer.get(..length).unwrap_or_default()).map_err(invalid)?;
                let mut messages = Vec::new();
                while let Some(frame) = framer.next_frame().map_err(invalid)? {
                    if let Frame::Message(message) = frame {
                        messages.push(message);
                    }
                }
                Ok(messages)
            }
        }
    }
}

async fn over_tls(stream: TcpStream, trust: &Trust, domain: &str) -> io::Result<Stream> {
    let name = ServerName::try_from(domain.to_owned()).map_err(io::Error::other)?;
    let shaken = tls::connect(trust.config(), name, stream).await;
    let refused =
        |error: io::Error| io::Error::new(error.kind(), format!("TLS: {}", reason(&error)));
    shaken.map(|shaken| shaken.stream).map_err(refused)
}
