//! The network between UEs and SIP cores: datagrams that get lost, doubled and overtaken, and TCP
//! connections whose octets arrive in order, cut anywhere, until they break.

use std::{collections::BTreeMap, net::SocketAddr};

use bytes::Bytes;

use crate::{
    outbox::{Context, Effect, Flow, Message, Send, TimerKey, Transport},
    sip::stream::{Frame, StreamFramer},
    time::Timestamp,
    ue::UserAgent,
};

use super::{
    Event, SystemId, Violation, Who, World,
    describe::describe_sip,
    http::{Asker, Inquiry},
};

/// The TCP connections between UEs and SIP cores, by number.
#[derive(Debug, Default)]
pub(super) struct Connections {
    last: u64,
    open: BTreeMap<u64, Connection>,
}

/// A TCP connection.
#[derive(Debug)]
struct Connection {
    ue: usize,
    system: SystemId,
    to_core: Direction,
    to_ue: Direction,
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct Direction {
    framer: StreamFramer,
    /// When the last octets arrive: later ones do not overtake them.
    last: Timestamp,
}

impl Connection {
    fn direction(&mut self, to_core: bool) -> &mut Direction {
        if to_core { &mut self.to_core } else { &mut self.to_ue }
    }
}

impl World {
    /// Calls a user agent and performs what it wants done.
    pub(super) fn call_ue(
        &mut self,
        number: usize,
        call: impl FnOnce(&mut UserAgent, &mut Context<'_>),
    ) {
        let now = self.queue.now();
        let Some(ue) = self.ues.get_mut(number) else { return };
        let effects = ue.call(now, call);
        self.perform_ue(number, effects);
        self.script_watches(number);
    }

    /// Performs what a user agent or a configuration management client wants done.
    pub(super) fn perform_ue(&mut self, number: usize, effects: Vec<Effect>) {
        let Some(ue) = self.ues.get(number) else { return };
        let (generation, home, token) = (ue.generation, ue.home, ue.token.clone());
        for effect in effects {
            match effect {
                Effect::Send(Send { step, message: Message::Sip { flow, octets }, .. }) => {
                    self.send_from_ue(number, flow, step, octets);
                }
                Effect::Send(Send {
                    step, message: Message::ConnectionDetailsRequest(it), ..
                }) => {
                    self.steps.extend(step.map(|step| (step, Who::Ue(number))));
                    self.record(Who::Ue(number), || "MIG-1 connection details request".to_owned());
                    let question = self.ask(
                        home,
                        Inquiry::Details(it, token.clone()),
                        Asker::Client { ue: number },
                    );
                    if let Some(ue) = self.ues.get_mut(number) {
                        ue.asked = Some(question);
                    }
                }
                Effect::Arm { at, timer } => {
                    self.queue.put(at, Event::UeTimer { ue: number, generation, timer });
                }
                Effect::Step { step, summary, .. } => {
                    self.steps.push((step, Who::Ue(number)));
                    self.record(Who::Ue(number), || format!("{step} {summary}"));
                }
                Effect::Commit(_) | Effect::Send(_) | Effect::Note(_) => {
                    self.violate(Violation::new("a UE sends SIP and A1 and nothing else", &number));
                }
            }
        }
    }

    fn send_from_ue(
        &mut self,
        number: usize,
        flow: Flow,
        step: Option<crate::step::Step>,
        octets: Bytes,
    ) {
        if let Some(step) = step {
            self.steps.push((step, Who::Ue(number)));
        }
        self.record(Who::Ue(number), || match step {
            Some(step) => format!("{step} {}", describe_sip(&octets)),
            None => describe_sip(&octets),
        });
        self.enter_register(number, &octets);
        let octets = if self.falsify { falsified(&octets) } else { octets };
        if let Some(ue) = self.ues.get_mut(number) {
            ue.last_sent = octets.clone();
        }
        self.transmit(flow, &octets);
    }

    /// Sends octets of a UE.
    pub(super) fn transmit(&mut self, flow: Flow, octets: &Bytes) {
        match flow.transport {
            Transport::Udp => self.send_datagram(flow.local, flow.remote, octets),
            Transport::Tcp | Transport::Tls => self.send_segments(flow.connection, true, octets),
        }
    }

    pub(super) fn ue_timer(&mut self, number: usize, generation: u64, timer: &TimerKey) {
        if self.ues.get(number).is_some_and(|ue| ue.generation == generation) {
            self.call_ue(number, |agent, ctx| agent.handle_timer(ctx, timer));
        }
    }

    /// Sends what a SIP core sends.
    pub(super) fn send_from_core(&mut self, flow: Flow, octets: &Bytes) {
        match flow.transport {
            Transport::Udp => self.send_datagram(flow.local, flow.remote, octets),
            Transport::Tcp | Transport::Tls => self.send_segments(flow.connection, false, octets),
        }
    }

    fn send_datagram(&mut self, from: SocketAddr, to: SocketAddr, octets: &Bytes) {
        let copies = if self.entropy.happens(self.options.duplication) { 2 } else { 1 };
        for _ in 0..copies {
            if self.entropy.happens(self.options.loss) {
                self.record(Who::World, || "a datagram is lost".to_owned());
                continue;
            }
            let delay = self.draw_delay();
            self.queue.put_after(delay, Event::Datagram { from, to, octets: octets.clone() });
        }
    }

    pub(super) fn datagram_arrived(&mut self, from: SocketAddr, to: SocketAddr, octets: &[u8]) {
        for id in [SystemId::A, SystemId::B] {
            if to == id.core_address() {
                let flow =
                    Flow { transport: Transport::Udp, local: to, remote: from, connection: 0 };
                if self.system(id).up {
                    self.call(id, |roles, ctx| roles.core.handle_sip(ctx, flow, octets));
                }
                return;
            }
        }
        // A user agent that moved to another SIP core takes nothing from the one it left.
        let is_its = |ue: &super::ue_host::UeHost| {
            ue.address == to && ue.at.core_address() == from && ue.transport == Transport::Udp
        };
        if let Some(number) = self.ues.iter().position(is_its) {
            self.call_ue(number, |agent, ctx| agent.handle_sip(ctx, octets));
        }
    }

    /// Opens a TCP connection for a UE, if its SIP core can be reached.
    pub(super) fn open_connection(&mut self, number: usize) {
        let Some(ue) = self.ues.get_mut(number) else { return };
        let system = ue.at;
        if ue.transport != Transport::Tcp || ue.connection.is_some() {
            return;
        }
        self.connections.last += 1;
        let connection = self.connections.last;
        ue.connection = Some(connection);
        let flow = ue.flow();
        ue.agent.set_flow(flow);
        let ends = Connection {
            ue: number,
            system,
            to_core: Direction::default(),
            to_ue: Direction::default(),
        };
        self.connections.open.insert(connection, ends);
        if !self.system(system).up {
            self.break_connection(connection);
        }
    }

    pub(super) fn reconnect(&mut self, number: usize) {
        self.open_connection(number);
    }

    /// Breaks a TCP connection. The UE opens another one after a moment; until then what it sends is
    /// lost.
    pub(super) fn break_connection(&mut self, connection: u64) {
        let Some(ends) = self.connections.open.remove(&connection) else { return };
        self.record(Who::Ue(ends.ue), || "TCP connection lost".to_owned());
        let Some(ue) = self.ues.get_mut(ends.ue) else { return };
        if ue.connection == Some(connection) {
            ue.connection = None;
            let pause = ue.pause(std::time::Duration::from_millis(10), super::faults::RETRY_MAX);
            self.queue.put_after(pause, Event::Reconnect { ue: ends.ue });
        }
    }

    /// The numbers of all TCP connections to `id`, or to both systems.
    pub(super) fn connections_to(&self, id: Option<SystemId>) -> Vec<u64> {
        let to = |ends: &Connection| id.is_none_or(|id| ends.system == id);
        self.connections.open.iter().filter(|(_, ends)| to(ends)).map(|(it, _)| *it).collect()
    }

    /// Sends octets over a connection, cut in up to three pieces.
    pub(super) fn send_segments(&mut self, connection: u64, to_core: bool, octets: &[u8]) {
        let mut rest = octets;
        while !rest.is_empty() {
            let pieces = self.entropy.below(3);
            let length = usize::try_from(self.entropy.below(rest.len() as u64)).unwrap_or(0) + 1;
            let length = if pieces == 0 { rest.len() } else { length };
            let (piece, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            rest = after;
            let arrival = self.queue.now() + self.draw_delay();
            let Some(ends) = self.connections.open.get_mut(&connection) else { return };
            let direction = ends.direction(to_core);
            direction.last = arrival.max(direction.last);
            let octets = Bytes::copy_from_slice(piece);
            self.queue.put(direction.last, Event::Segment { connection, to_core, octets });
        }
    }

    pub(super) fn segment_arrived(&mut self, connection: u64, to_core: bool, octets: &[u8]) {
        let Some(ends) = self.connections.open.get_mut(&connection) else { return };
        let (ue, system) = (ends.ue, ends.system);
        let framer = &mut ends.direction(to_core).framer;
        let mut messages = Vec::new();
        let framed = framer.push(octets).and_then(|()| {
            while let Some(frame) = framer.next_frame()? {
                if let Frame::Message(message) = frame {
                    messages.push(message);
                }
            }
            Ok(())
        });
        if let Err(error) = framed {
            return self.violate(Violation::new("streams can be framed", &error));
        }
        let Some(remote) = self.ues.get(ue).map(|ue| ue.address) else { return };
        for message in messages {
            if to_core {
                let local = system.core_address();
                let flow = Flow { transport: Transport::Tcp, local, remote, connection };
                self.call(system, |roles, ctx| roles.core.handle_sip(ctx, flow, &message));
            } else {
                self.call_ue(ue, |agent, ctx| agent.handle_sip(ctx, &message));
            }
        }
    }
}

/// The octets with another digest response of the same length, if there is one.
fn falsified(octets: &[u8]) -> Bytes {
    const MARK: &[u8] = b"response=\"";
    let mut octets = octets.to_vec();
    let Some(at) = memchr::memmem::find(&octets, MARK) else { return octets.into() };
    if let Some(digit) = octets.get_mut(at + MARK.len()).filter(|it| it.is_ascii_hexdigit()) {
        *digit = if *digit == b'0' { b'1' } else { b'0' };
    }
    octets.into()
}
