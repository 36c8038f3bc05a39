//! Stored records as a system has them: generated identities, contacts as devices write them.
#![allow(clippy::expect_used, dead_code, unreachable_pub, reason = "a part of two benchmarks")]

use std::time::Duration;

use bytestring::ByteString;
use migcore::{
    api::migration_identity::{AgreementId, Allowance, PrimaryUser},
    identity::{Impi, Impu, SipDatabaseId, UserIdentity},
    sip_core::{ContactBinding, Registration},
    store::{RecordKind, encode},
    time::Timestamp,
};

/// The kind, key and value of a record.
pub type Encoded = (RecordKind, String, Vec<u8>);

/// The shapes of stored records.
type Inbound = (Impu, PrimaryUser, Lease, Origin, Option<Allowance>);
type Outbound = (Impu, UserIdentity, SipDatabaseId, Lease, Origin, Option<Allowance>);
type Grant = (UserIdentity, SipDatabaseId, Timestamp, Option<Allowance>);
type Visited = (SipDatabaseId, u8);
type Subscriber =
    (Vec<Impu>, Vec<u8>, Vec<u8>, [u8; 2], u64, u32, u8, Vec<Visited>, Option<String>, bool);

#[derive(serde::Serialize)]
enum Lease {
    Reserved(Timestamp),
    Active(Timestamp),
}

#[derive(serde::Serialize)]
enum Origin {
    Generated { pool: &'static str, n: u64 },
}

pub fn inbound_of(now: Timestamp, n: u64) -> Encoded {
    let lent = identity_of("mig", "b.example", n);
    let primary = PrimaryUser {
        database: SipDatabaseId::parse("sipdb.a.example").expect("a host"),
        identity: identity_of("out", "a.example", n),
        server_name: "sip:migration@a.example".to_owned(),
    };
    let until = in_future(now, n, 31 * 24 * 3_600);
    let lease = if n.is_multiple_of(8) { Lease::Reserved(until) } else { Lease::Active(until) };
    let allowed = Allowance { agreement: AgreementId(scrambled(n)), until: now + YEAR };
    let record: Inbound =
        (lent.impu, primary, lease, Origin::Generated { pool: "inbound", n }, Some(allowed));
    (RecordKind::InboundBinding, lent.impi.as_str().to_owned(), encode(&record))
}

/// The private identity of the `n`-th inbound binding, and of its registration.
pub fn inbound_impi(n: u64) -> Impi {
    generated_impi("mig", "b.example", n)
}

/// One of four is that of this crate's own UE. The others name their device, as TS 24.229 wants it; one of
/// these came by a proxy that put itself in the Path.
pub fn registration_of(now: Timestamp, n: u64) -> Encoded {
    let lent = identity_of("mig", "b.example", n);
    let (host, port) = (n % 250, 1_024 + scrambled(n + 1) % 60_000);
    let user = lent.impu.as_str().split('@').next().unwrap_or("");
    let uri = match n % 4 {
        0 => format!("sip:192.0.2.{host}:{port}"),
        1 => format!("sip:192.0.2.{host}:{port};transport=tcp"),
        2 => format!("{user}@192.0.2.{host}:5060"),
        _ => format!("{user}@[2001:db8::{host:x}:{:x}]:{port}", n % 65_521),
    };
    let (model, device) = (35_204_600 + n % 40, scrambled(n + 2) % 1_000_000);
    let instance = format!(";+sip.instance=\"<urn:gsma:imei:{model}-{device:06}-0>\"");
    let service = ";+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.mcptt\";+g.3gpp.mcptt";
    let parameters = if n.is_multiple_of(4) { String::new() } else { instance + service };
    let paths = match n % 4 {
        3 => vec![format!("<sip:pcscf{}.b.example:5060;lr;ob>", n % 16)],
        _ => Vec::new(),
    };
    let call_id = match n % 2 {
        0 => format!("{:016x}{:016x}", scrambled(n), scrambled(n + 7)),
        _ => format!("{:010x}@192.0.2.{host}", scrambled(n) >> 24),
    };
    let contact = ContactBinding {
        uri: uri.into(),
        parameters: parameters.into(),
        paths: paths.into_iter().map(ByteString::from).collect(),
        call_id: call_id.into(),
        cseq: u32::try_from(n % 40).expect("small") + 2,
        expires_at: in_future(now, n, 3_600),
    };
    let registration = Registration { impus: [lent.impu].into(), contacts: [contact].into() };
    (RecordKind::Registration, lent.impi.as_str().to_owned(), encode(&registration))
}

pub fn subscriber_of(_now: Timestamp, n: u64) -> Encoded {
    let real = real_of(n);
    let visited = vec![(SipDatabaseId::parse("sipdb.b.example").expect("a host"), 4)];
    let serving = Some("sip:scscf.a.example".to_owned());
    let record: Subscriber = (
        vec![real.impu],
        vec![1; 16],
        vec![2; 16],
        [0x80, 0],
        n % 10_000,
        0,
        5,
        visited,
        serving,
        true,
    );
    (RecordKind::Subscriber, real.impi.as_str().to_owned(), encode(&record))
}

pub fn outbound_of(now: Timestamp, n: u64) -> Encoded {
    let lent = identity_of("out", "a.example", n);
    let lease = Lease::Reserved(in_future(now, n, 31 * 24 * 3_600));
    let partner = SipDatabaseId::parse("sipdb.b.example").expect("a host");
    let allowed = Allowance { agreement: AgreementId(scrambled(n)), until: now + YEAR };
    let origin = Origin::Generated { pool: "outbound", n };
    let record: Outbound = (lent.impu, real_of(n), partner, lease, origin, Some(allowed));
    (RecordKind::OutboundBinding, lent.impi.as_str().to_owned(), encode(&record))
}

pub fn grant_of(now: Timestamp, n: u64) -> Encoded {
    let user = real_of(n);
    let key = format!("{} sipdb.c.example", user.impi.as_str());
    let partner = SipDatabaseId::parse("sipdb.c.example").expect("a host");
    let record: Grant = (user, partner, now + YEAR, None);
    (RecordKind::Grant, key, encode(&record))
}

fn real_of(n: u64) -> UserIdentity {
    let text = format!("user{n:07}@a.example");
    UserIdentity {
        impi: Impi::parse(&text).expect("an IMPI"),
        impu: Impu::parse(&format!("sip:{text}")).expect("an IMPU"),
    }
}

/// The `n`-th generated pair.
fn identity_of(kind: &str, domain: &str, n: u64) -> UserIdentity {
    let impu = format!("sip:{kind}-{}@{domain}", characters(scrambled(n ^ (1 << 40))));
    let impu = Impu::parse(&impu).expect("an IMPU");
    UserIdentity { impi: generated_impi(kind, domain, n), impu }
}

fn generated_impi(kind: &str, domain: &str, n: u64) -> Impi {
    let impi = format!("{kind}-{}@{domain}", characters(scrambled(n)));
    Impi::parse(&impi).expect("an IMPI")
}

/// The 13 characters that a pool puts in for a number.
fn characters(number: u64) -> String {
    let character = |at: u32| {
        let five_bits = usize::try_from(number >> (5 * at) & 31).expect("five bits");
        char::from(*ALPHABET.get(five_bits).expect("one of 32"))
    };
    (0..13).rev().map(character).collect()
}

const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);

fn in_future(now: Timestamp, n: u64, secs: u64) -> Timestamp {
    now + Duration::from_micros(1 + scrambled(n ^ (1 << 41)) % (secs * 1_000_000))
}

/// A bijection that scatters (the finalizer of `SplitMix64`).
pub const fn scrambled(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}
