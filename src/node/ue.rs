//! Runs one user agent over a real socket.

use std::{collections::BTreeSet, io, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
};

use super::{
    Clock, SystemEntropy,
    ladder::{self, Entry, Protocol, Tap},
    metrics::Direction,
};
use crate::{
    outbox::{Context, Effect, Flow, Message, Outbox, Role, TimerKey, Transport},
    sip::stream::{Frame, StreamFramer},
    store::Sequencer,
    time::Timestamp,
    ue::{Config, Isim, State, UserAgent},
};

/// Longest datagram, octets.
const DATAGRAM_OCTETS_MAX: usize = 65_535;

/// A user agent with its socket.
pub struct RunningUe {
    agent: UserAgent,
    socket: Socket,
    clock: Clock,
    entropy: SystemEntropy,
    outbox: Outbox,
    timers: BTreeSet<(Timestamp, TimerKey)>,
    tap: Option<Tap>,
    /// What ladders call the SIP core.
    core: Arc<str>,
}

enum Socket {
    Udp(UdpSocket),
    Tcp { stream: TcpStream, framer: StreamFramer },
}

impl RunningUe {
    /// Opens a socket to the SIP core at `remote`; `config` gets its addresses.
    ///
    /// # Errors
    ///
    /// Why there is no socket.
    pub async fn open(
        mut config: Config,
        remote: SocketAddr,
        isim: Isim,
        tap: Option<Tap>,
        core: &str,
    ) -> io::Result<Self> {
        let any = SocketAddr::new(if remote.is_ipv4() { [0; 4].into() } else { [0; 16].into() }, 0);
        let (socket, local) = match config.flow.transport {
            Transport::Udp => {
                let socket = UdpSocket::bind(any).await?;
                socket.connect(remote).await?;
                let local = socket.local_addr()?;
                (Socket::Udp(socket), local)
            }
            Transport::Tcp => {
                let stream = TcpStream::connect(remote).await?;
                let local = stream.local_addr()?;
                (Socket::Tcp { stream, framer: StreamFramer::new() }, local)
            }
        };
        config.flow = Flow { local, remote, ..config.flow };
        let mut entropy = SystemEntropy::new();
        Ok(Self {
            agent: UserAgent::new(config, isim, &mut entropy),
            socket,
            clock: Clock::start(),
            entropy,
            outbox: Outbox::new(Arc::new(Sequencer::default())),
            timers: BTreeSet::new(),
            tap,
            core: core.into(),
        })
    }

    /// Registers or refreshes, and waits for the outcome.
    ///
    /// # Errors
    ///
    /// The socket's.
    pub async fn register(&mut self) -> io::Result<&State> {
        self.call(UserAgent::register);
        self.settle().await
    }

    /// De-registers, and waits for the outcome.
    ///
    /// # Errors
    ///
    /// The socket's.
    pub async fn deregister(&mut self) -> io::Result<&State> {
        self.call(UserAgent::deregister);
        self.settle().await
    }

    fn call(&mut self, call: impl FnOnce(&mut UserAgent, &mut Context<'_>)) {
        let Self { agent, clock, entropy, outbox, .. } = self;
        call(agent, &mut Context { now: clock.now(), entropy, out: outbox });
    }

    /// Performs effects and hands messages and timers in until the user agent is not busy.
    async fn settle(&mut self) -> io::Result<&State> {
        let mut buffer = vec![0; DATAGRAM_OCTETS_MAX];
        loop {
            self.perform().await?;
            if *self.agent.state() != State::Busy {
                return Ok(self.agent.state());
            }
            let due = self.timers.first().map(|(at, _)| *at);
            let wait = due.unwrap_or_default().since(self.clock.now());
            tokio::select! {
                messages = self.socket.receive(&mut buffer) => {
                    for message in messages? {
                        self.call(|agent, ctx| agent.handle_sip(ctx, &message));
                    }
                }
                () = tokio::time::sleep(wait), if due.is_some() => {
                    if let Some((_, timer)) = self.timers.pop_first() {
                        self.call(|agent, ctx| agent.handle_timer(ctx, &timer));
                    }
                }
            }
        }
    }

    async fn perform(&mut self) -> io::Result<()> {
        let effects: Vec<Effect> = self.outbox.drain().collect();
        for effect in effects {
            match effect {
                Effect::Send(send) => {
                    if let Message::Sip { flow, octets } = send.message {
                        let step = send.step.map(|step| step.to_string());
                        let summary = ladder::describe_sip(&octets);
                        self.record(
                            flow.transport.into(),
                            step,
                            Some(&flow),
                            summary,
                            octets.len(),
                        );
                        self.socket.send(&octets).await?;
                    }
                }
                Effect::Arm { at, timer } if timer.role == Role::Ue => {
                    self.timers.insert((at, timer));
                }
                Effect::Step { step, summary, .. } => {
                    self.record(
                        Protocol::Step,
                        Some(step.to_string()),
                        None,
                        summary.to_owned(),
                        0,
                    );
                }
                Effect::Commit(_) | Effect::Note(_) | Effect::Arm { .. } => {}
            }
        }
        Ok(())
    }

    fn record(
        &self,
        protocol: Protocol,
        step: Option<String>,
        flow: Option<&Flow>,
        summary: String,
        octets: usize,
    ) {
        let Some(tap) = &self.tap else { return };
        tap.record(Entry {
            at: self.clock.now(),
            step,
            from: "UE".into(),
            to: if flow.is_some() { Arc::clone(&self.core) } else { "UE".into() },
            protocol,
            direction: Direction::Out,
            local: flow.map(|flow| flow.local),
            remote: flow.map(|flow| flow.remote),
            summary,
            octets,
        });
    }
}

impl Socket {
    async fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.send(octets).await.map(drop),
            Self::Tcp { stream, .. } => stream.write_all(octets).await,
        }
    }

    /// Waits for octets and returns the messages that are complete.
    async fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Vec<Bytes>> {
        match self {
            Self::Udp(socket) => {
                let length = socket.recv(buffer).await?;
                Ok(vec![Bytes::copy_from_slice(buffer.get(..length).unwrap_or_default())])
            }
            Self::Tcp { stream, framer } => {
                let length = stream.read(buffer).await?;
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
