//! The Diameter connection between the two systems: real octets, through the product's peer layer.
//!
//! B connects to A. While the systems are partitioned octets wait, as TCP's would, or the connection
//! breaks.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use bytes::Bytes;

use crate::{
    diameter::{
        context::RequestContext,
        cx,
        cx_codec::Destination,
        election::reconnect_delay,
        local::{DiameterIdentity, LocalNode, Origin},
        peer::{self, AllowedPeers, Connection, PeerOutput, Timing},
    },
    entropy::Entropy,
    identity::SipDatabaseId,
    outbox::{CxReply, Peer, ReplyTo, RequestId, Undeliverable},
    time::Timestamp,
};

use super::{Event, SystemId, Violation, Who, World, known, system::Parked};

/// A system's Diameter node.
#[derive(Debug)]
pub(super) struct Node {
    local: Arc<LocalNode>,
    connection: Option<Live>,
    /// Our requests under way, by the token given to the connection.
    tokens: BTreeMap<u64, RequestId>,
    next_token: u64,
    /// Attempts to connect that failed in a row.
    attempts: u32,
}

/// One end of a connection.
#[derive(Debug)]
struct Live {
    /// Which [`Wire`].
    wire: u64,
    connection: Connection,
    /// When a timer event is due already.
    armed: Option<Timestamp>,
}

/// A request of the peer, to be answered by the connection that it came by.
#[derive(Debug)]
pub(super) struct Received {
    wire: u64,
    context: RequestContext,
}

impl Received {
    pub(super) const fn came_by(&self, wire: u64) -> bool {
        self.wire == wire
    }
}

/// The transport between the systems.
#[derive(Debug, Default)]
pub(super) struct Wire {
    /// The number of the latest transport connection.
    number: u64,
    open: bool,
    /// Whether the systems cannot reach each other.
    pub(super) partitioned: bool,
    /// What was sent during the partition, in order.
    held: Vec<(SystemId, Parcel)>,
    /// When the last octets towards A and B arrive: later ones do not overtake them.
    last_to_a: Timestamp,
    last_to_b: Timestamp,
}

/// What travels on the wire.
#[derive(Clone, Debug)]
pub(super) enum Parcel {
    Octets(Bytes),
    Close,
}

impl Node {
    pub(super) fn new(id: SystemId, now: Timestamp, entropy: &mut dyn Entropy) -> Self {
        let origin = Origin { host: host(id), realm: known(id.domain()) };
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self {
            local: Arc::new(LocalNode::new(origin, vec![address], now, entropy)),
            connection: None,
            tokens: BTreeMap::new(),
            next_token: 0,
            attempts: 0,
        }
    }

    fn config(&self, peer: SystemId) -> peer::Config {
        peer::Config {
            local: Arc::clone(&self.local),
            allowed: AllowedPeers::Only(host(peer)),
            timing: Timing::default(),
        }
    }

    /// Whether requests can be sent.
    pub(super) fn is_open(&self) -> bool {
        self.connection.as_ref().is_some_and(|live| live.connection.is_open())
    }

    /// Its process ends: what is under way on its connection reaches nobody.
    pub(super) fn die(&mut self) {
        self.connection = None;
        self.tokens.clear();
    }

    /// The connection if it is the one over `wire`.
    fn over(&mut self, wire: u64) -> Option<&mut Connection> {
        self.connection.as_mut().filter(|live| live.wire == wire).map(|live| &mut live.connection)
    }
}

impl World {
    /// B tries to connect to A.
    pub(super) fn connect(&mut self) {
        if self.b.node.connection.is_some() || !self.b.up {
            return;
        }
        let delay = self.draw_delay();
        self.queue.put_after(delay * 2, Event::Accepted { incarnation: self.b.incarnation });
    }

    /// The transport connection is there, unless A cannot be reached.
    pub(super) fn accepted(&mut self, incarnation: u64) {
        if incarnation != self.b.incarnation || !self.b.up || self.b.node.connection.is_some() {
            return;
        }
        if !self.a.up || self.wire.partitioned {
            return self.connect_later();
        }
        self.wire.number += 1;
        self.wire.open = true;
        self.wire.held.clear();
        let (wire, now) = (self.wire.number, self.queue.now());
        if let Some(old) = self.a.node.connection.take() {
            // the peer came back: what it left unanswered on the old connection is lost
            self.end_connection(SystemId::A, old);
        }
        let config = self.a.node.config(SystemId::B);
        let connection = Connection::accept(config, now, &mut self.a.entropy);
        self.a.node.connection = Some(Live { wire, connection, armed: None });
        let mut out = PeerOutput::default();
        let config = self.b.node.config(SystemId::A);
        let connection = Connection::initiate(config, now, &mut self.b.entropy, &mut out);
        self.b.node.connection = Some(Live { wire, connection, armed: None });
        self.record(Who::World, || "Diameter transport connected".to_owned());
        self.arm_connection(SystemId::A);
        self.perform_output(SystemId::B, wire, out);
    }

    fn end_connection(&mut self, id: SystemId, mut old: Live) {
        let mut out = PeerOutput::default();
        old.connection.handle_transport_closed(&mut out);
        self.perform_output(id, old.wire, out);
    }

    fn connect_later(&mut self) {
        let now = self.queue.now();
        self.b.node.attempts = self.b.node.attempts.saturating_add(1);
        let delay = reconnect_delay(self.b.node.attempts, &mut self.b.entropy);
        self.queue.put(now + delay, Event::Connect);
    }

    /// Something arrives at one end of the wire.
    pub(super) fn wire_arrived(&mut self, wire: u64, to: SystemId, parcel: Parcel) {
        let now = self.queue.now();
        let mut out = PeerOutput::default();
        let Some(connection) = self.system_mut(to).node.over(wire) else { return };
        match parcel {
            Parcel::Octets(octets) => connection.handle_octets(now, &octets, &mut out),
            Parcel::Close => connection.handle_transport_closed(&mut out),
        }
        self.perform_output(to, wire, out);
    }

    /// A timer of a connection is due.
    pub(super) fn wire_timer(&mut self, wire: u64, id: SystemId) {
        let now = self.queue.now();
        let mut out = PeerOutput::default();
        let system = self.system_mut(id);
        let Some(live) = system.node.connection.as_mut().filter(|live| live.wire == wire) else {
            return;
        };
        live.armed = None;
        live.connection.handle_timer(now, &mut system.entropy, &mut out);
        self.perform_output(id, wire, out);
    }

    /// Sends a Cx request of a role to the other system, or tells the role that it cannot.
    pub(super) fn send_cx_request(
        &mut self,
        from: SystemId,
        to: &SipDatabaseId,
        id: RequestId,
        request: cx::Request,
    ) {
        let now = self.queue.now();
        let system = self.system_mut(from);
        let mut out = PeerOutput::default();
        system.node.next_token += 1;
        let token = system.node.next_token;
        let destination =
            Destination { realm: known(from.other().domain()), host: Some(host(from.other())) };
        let known_peer = to.as_str() == host(from.other()).as_str();
        let sent = match &mut system.node.connection {
            Some(live) if known_peer => {
                let sent =
                    live.connection.send_request(now, &destination, request, token, &mut out);
                sent.map(|()| live.wire)
            }
            _ => Err(peer::Refused::NotOpen),
        };
        match sent {
            Ok(wire) => {
                system.node.tokens.insert(token, id);
                self.perform_output(from, wire, out);
            }
            Err(_) => self.reply_later(from, CxReply { id, outcome: Err(Undeliverable) }),
        }
    }

    /// Answers a request of the other system, if the connection that it came by is still there.
    pub(super) fn send_cx_answer(&mut self, from: SystemId, to: Received, answer: &cx::Answer) {
        let mut out = PeerOutput::default();
        let Received { wire, context } = to;
        let Some(connection) = self.system_mut(from).node.over(wire) else { return };
        if connection.send_answer(context, answer, &mut out).is_ok() {
            self.perform_output(from, wire, out);
        }
    }

    fn perform_output(&mut self, id: SystemId, wire: u64, out: PeerOutput) {
        if !out.octets.is_empty() {
            self.checks.watch_wire(id, &out.octets);
            if self.checks.exposed() {
                self.violate(Violation::new("no real identity is on the wire", &id.label()));
            }
            self.send_on_wire(wire, id.other(), Parcel::Octets(out.octets.freeze()));
        }
        for event in out.events {
            self.handle_peer_event(id, wire, event);
        }
        self.arm_connection(id);
    }

    fn handle_peer_event(&mut self, id: SystemId, wire: u64, event: peer::Event) {
        match event {
            peer::Event::Up(_) => {
                self.record(Who::System(id), || "Diameter connection open".to_owned());
                self.system_mut(id).node.attempts = 0;
            }
            peer::Event::Request { context, request } => {
                self.record(Who::System(id), || "Cx request arrives".to_owned());
                let (since, received) = (self.queue.now(), Received { wire, context });
                let handle = self.system_mut(id).park(Parked::Diameter { received, since });
                let from = Peer::Database(known(host(id.other()).as_str()));
                self.call(id, |roles, ctx| {
                    roles.database.handle_request(ctx, &from, ReplyTo::World(handle), request);
                });
            }
            peer::Event::Answer { token, answer } => self.settle_token(id, token, Ok(answer)),
            peer::Event::Failed { token, .. } => self.settle_token(id, token, Err(Undeliverable)),
            peer::Event::Down(reason) => {
                self.record(Who::System(id), || format!("Diameter connection down: {reason:?}"));
                let system = self.system_mut(id);
                system.node.connection = system.node.connection.take().filter(|it| it.wire != wire);
                system.abandon(wire);
                self.send_on_wire(wire, id.other(), Parcel::Close);
                if id == SystemId::B && self.b.up {
                    self.connect_later();
                }
            }
        }
    }

    fn settle_token(
        &mut self,
        id: SystemId,
        token: u64,
        outcome: Result<cx::Answer, Undeliverable>,
    ) {
        if let Some(request) = self.system_mut(id).node.tokens.remove(&token) {
            self.reply_later(id, CxReply { id: request, outcome });
        }
    }

    fn arm_connection(&mut self, id: SystemId) {
        let system = self.system_mut(id);
        let Some(live) = &mut system.node.connection else { return };
        let Some(deadline) = live.connection.next_deadline() else { return };
        if live.armed.is_none_or(|armed| deadline < armed) {
            live.armed = Some(deadline);
            let wire = live.wire;
            self.queue.put(deadline, Event::WireTimer { wire, system: id });
        }
    }

    fn send_on_wire(&mut self, wire: u64, to: SystemId, parcel: Parcel) {
        if wire != self.wire.number || !self.wire.open {
            return;
        }
        if self.wire.partitioned {
            return self.wire.held.push((to, parcel));
        }
        self.travel(to, parcel);
    }

    fn travel(&mut self, to: SystemId, parcel: Parcel) {
        let arrival = self.queue.now() + self.draw_delay();
        let last = match to {
            SystemId::A => &mut self.wire.last_to_a,
            SystemId::B => &mut self.wire.last_to_b,
        };
        *last = arrival.max(*last);
        let at = *last;
        self.queue.put(at, Event::Wire { wire: self.wire.number, to, parcel });
    }

    /// Separates the systems. What is under way still arrives.
    pub fn separate(&mut self) {
        self.record(Who::World, || "the systems are separated".to_owned());
        self.wire.partitioned = true;
    }

    /// Joins the systems again: what TCP could not deliver arrives now.
    pub(super) fn join(&mut self) {
        self.record(Who::World, || "the systems are joined".to_owned());
        self.wire.partitioned = false;
        for (to, parcel) in std::mem::take(&mut self.wire.held) {
            self.travel(to, parcel);
        }
    }

    /// Breaks the connection; both ends learn of it.
    pub(super) fn break_wire(&mut self) {
        if !self.wire.open {
            return;
        }
        self.record(Who::World, || "the Diameter transport breaks".to_owned());
        let wire = self.wire.number;
        self.wire.open = false;
        self.wire.held.clear();
        for to in [SystemId::A, SystemId::B] {
            let delay = self.draw_delay();
            self.queue.put_after(delay, Event::Wire { wire, to, parcel: Parcel::Close });
        }
    }
}

fn host(id: SystemId) -> DiameterIdentity {
    known(&format!("hss.{}", id.domain()))
}
