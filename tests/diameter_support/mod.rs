//! What the Diameter tests share: foreign vectors, seeded randomness, connections.

#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test file uses some of it")]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use bytes::BytesMut;
use migcore::{
    diameter::{
        avp::{Avp, AvpId, AvpWriter},
        cx_codec::Destination,
        local::{LocalNode, Origin},
        message::{self, Header, Message},
        peer::{AllowedPeers, Config, Connection, DownReason, Event, PeerOutput, Timing},
    },
    entropy::Entropy,
    time::Timestamp,
};
use serde_json::Value;

pub const CORE: &str = "scscf.sip.partner.example";
pub const DATABASE: &str = "sipdb.sip.partner.example";
pub const REALM: &str = "sip.partner.example";

/// The vectors in `sip-fixtures/diameter/cx.json`.
pub struct Vectors(Value);

impl Vectors {
    pub fn load() -> Self {
        Self(serde_json::from_str(include_str!("../../sip-fixtures/diameter/cx.json")).unwrap())
    }

    pub fn all(&self, list: &str) -> impl Iterator<Item = &Value> {
        self.0[list].as_array().unwrap().iter()
    }

    pub fn octets(&self, id: &str) -> Vec<u8> {
        let found = ["messages", "captured_messages", "invalid_or_tolerated_requests"]
            .into_iter()
            .flat_map(|list| self.all(list))
            .find(|vector| vector["id"] == id);
        octets_of(found.unwrap_or_else(|| panic!("no vector {id}")))
    }
}

pub fn octets_of(vector: &Value) -> Vec<u8> {
    unhex(vector["hex"].as_str().unwrap())
}

pub fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

pub fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |text, octet| text + &format!("{octet:02x}"))
}

/// The one message in `octets`.
pub fn message(octets: &[u8]) -> Message<'_> {
    let (message, length) = Message::split(octets).unwrap().expect("a complete message");
    assert_eq!(length, octets.len(), "more than one message");
    message
}

/// All messages in `octets`.
pub fn messages(mut octets: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Some((_, length)) = Message::split(octets).unwrap() {
        found.push(octets[..length].to_vec());
        octets = &octets[length..];
    }
    assert!(octets.is_empty(), "an incomplete message is left");
    found
}

/// The message with its AVPs as `change` leaves them; order and flags are kept.
pub fn changed(octets: &[u8], change: impl FnOnce(&mut Vec<OwnedAvp>)) -> Vec<u8> {
    let original = message(octets);
    let mut avps = original.avps().map(|avp| OwnedAvp::of(&avp.unwrap())).collect();
    change(&mut avps);
    build(&original.header, &avps)
}

pub fn build(header: &Header, avps: &[OwnedAvp]) -> Vec<u8> {
    let mut out = BytesMut::new();
    message::write(&mut out, header, |writer| {
        for avp in avps {
            writer.avp(avp.id, avp.flags, &avp.data);
        }
    })
    .unwrap();
    out.to_vec()
}

/// An AVP to build messages of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OwnedAvp {
    pub id: AvpId,
    pub flags: u8,
    pub data: Vec<u8>,
}

impl OwnedAvp {
    pub fn of(avp: &Avp<'_>) -> Self {
        Self { id: avp.id, flags: avp.flags, data: avp.data.to_vec() }
    }

    pub fn new(vendor: u32, code: u32, flags: u8, data: &[u8]) -> Self {
        Self { id: AvpId { vendor, code }, flags, data: data.to_vec() }
    }

    /// Header, data and padding.
    pub fn encoded(&self) -> Vec<u8> {
        let mut out = BytesMut::new();
        AvpWriter::new(&mut out).avp(self.id, self.flags, &self.data);
        out.to_vec()
    }
}

/// splitmix64, for repeatable tests.
pub struct Seeded(pub u64);

impl Seeded {
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next_u64() % bound as u64).unwrap()
    }
}

impl Entropy for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let octets = self.next_u64().to_be_bytes();
            chunk.copy_from_slice(&octets[..chunk.len()]);
        }
    }

    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// The time at which the database of the vectors starts: its Origin-State-Id.
pub const START: Timestamp = Timestamp::from_secs(1_795_000_001);

pub fn origin(host: &str) -> Origin {
    Origin { host: host.parse().unwrap(), realm: REALM.parse().unwrap() }
}

pub fn local(host: &str, address: &str, start: Timestamp) -> Arc<LocalNode> {
    let address: IpAddr = address.parse().unwrap();
    Arc::new(LocalNode::new(origin(host), vec![address], start, &mut Seeded(1)))
}

pub fn config(host: &str, allowed: &[&str]) -> Config {
    let allowed: BTreeSet<_> = allowed.iter().map(|host| host.parse().unwrap()).collect();
    Config {
        local: local(host, "192.0.2.20", START),
        allowed: AllowedPeers::AnyOf(Arc::new(allowed)),
        timing: Timing::default(),
    }
}

pub fn to_database() -> Destination {
    Destination { realm: REALM.parse().unwrap(), host: None }
}

/// A database that the SIP core of the vectors has just connected to.
pub fn open_database(vectors: &Vectors) -> Connection {
    opened(&vectors.octets("cer"))
}

/// A database that was just sent this CER.
pub fn opened(cer: &[u8]) -> Connection {
    let mut connection = Connection::accept(config(DATABASE, &[CORE]), START, &mut Seeded(2));
    let mut out = PeerOutput::default();
    connection.handle_octets(START, cer, &mut out);
    assert!(matches!(&out.events[..], [Event::Up(_)]), "{out:?}");
    assert!(connection.is_open());
    connection
}

/// What a call did: messages and events.
pub fn taken(out: &mut PeerOutput) -> (Vec<Vec<u8>>, Vec<Event>) {
    (messages(&out.octets.split()), std::mem::take(&mut out.events))
}

pub fn down_reason(events: &[Event]) -> Option<DownReason> {
    events.iter().find_map(|event| match event {
        Event::Down(reason) => Some(*reason),
        _ => None,
    })
}

/// AVPs of a message by (vendor, code), in order.
pub fn avps_of(octets: &[u8]) -> Vec<OwnedAvp> {
    message(octets).avps().map(|avp| OwnedAvp::of(&avp.unwrap())).collect()
}

pub fn count_by_code(octets: &[u8]) -> BTreeMap<u32, usize> {
    let mut counts = BTreeMap::new();
    for avp in avps_of(octets) {
        *counts.entry(avp.id.code).or_default() += 1;
    }
    counts
}
