//! Broken requests by the thousand: no input panics, and the next good request is served.
//!
//! `MIGCORE_FUZZ_ROUNDS` sets the number of rounds, `MIGCORE_FUZZ_SEED` repeats a run.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by a panic"
)]

mod diameter_support;

use diameter_support::{
    CORE, DATABASE, START, Seeded, Vectors, config, message, opened, taken, to_database,
};
use migcore::{
    diameter::{
        avp::AvpReader,
        context::RequestContext,
        cx::Request,
        cx_codec::decode_request,
        dictionary,
        peer::{Connection, DownReason, Event, PeerOutput, Refused},
        user_data,
        validate::{Rejection, code},
    },
    entropy::Entropy,
};

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

fn seeded() -> Seeded {
    let since_epoch = std::time::UNIX_EPOCH.elapsed().unwrap();
    let drawn = u64::from(std::process::id()) << 32 | u64::from(since_epoch.subsec_nanos());
    let seed = from_environment("MIGCORE_FUZZ_SEED", drawn);
    println!("MIGCORE_FUZZ_SEED={seed}");
    Seeded(seed)
}

/// Cuts, repeats, overwrites and flips octets, at AVP lengths and flags more often than elsewhere.
fn mutate(octets: &mut Vec<u8>, random: &mut Seeded) {
    for _ in 0..=random.below(4) {
        let at = random.below(octets.len());
        match random.below(6) {
            0 => octets.truncate(at.max(1)),
            1 => {
                let end = (at + random.below(64)).min(octets.len());
                let piece = octets[at..end].to_vec();
                octets.splice(at..at, piece);
            }
            2 => drop(octets.drain(at..(at + random.below(16)).min(octets.len() - 1).max(at))),
            3 => octets[at] ^= 1 << random.below(8),
            4 => octets[at] = [0, 1, 7, 8, 0x7f, 0x80, 0xff][random.below(7)],
            _ => {
                let word = at / 4 * 4;
                let value = random.next_u64().to_be_bytes();
                for (to, from) in octets[word..].iter_mut().take(4).zip(value) {
                    *to = from;
                }
            }
        }
    }
}

/// Makes the length field right, so that what is broken lies inside.
fn with_right_length(octets: &mut Vec<u8>) {
    octets.resize(octets.len().next_multiple_of(4).max(20), 0);
    let length = u32::try_from(octets.len()).unwrap().to_be_bytes();
    octets[0] = 1;
    octets[1..4].copy_from_slice(&length[1..]);
}

#[test]
fn a_broken_request_never_panics_and_the_next_good_one_is_served() {
    let vectors = Vectors::load();
    let mut random = seeded();
    let templates = ["mar-aka", "mar-resync", "kamailio-mar", "sar-registration", "dwr", "cer"]
        .map(|id| vectors.octets(id));
    let (good, cer) = (vectors.octets("mar-aka"), vectors.octets("cer"));
    let mut connection = opened(&cer);
    let (mut served, mut rejected, mut closed) = (0_u64, 0_u64, 0_u64);
    for _ in 0..from_environment("MIGCORE_FUZZ_ROUNDS", 100_000) {
        let mut broken = templates[random.below(templates.len())].clone();
        mutate(&mut broken, &mut random);
        if random.below(8) > 0 {
            with_right_length(&mut broken);
        }
        let mut out = PeerOutput::default();
        connection.handle_octets(START, &broken, &mut out);
        let (sent, events) = taken(&mut out);
        rejected += sent.len() as u64;
        for event in events {
            match event {
                Event::Request { context, request } => {
                    served += 1;
                    answer_too_busy(&mut connection, context, &request);
                }
                Event::Down(_) => closed += 1,
                other => panic!("{other:?}"),
            }
        }
        // What is cut short waits for its rest: only a new connection can tell.
        if !connection.is_open() || broken.len() < 20 || !is_whole(&broken) {
            connection = opened(&cer);
        }
        connection.handle_octets(START, &good, &mut out);
        let (_, events) = taken(&mut out);
        let Ok([Event::Request { context, request }]) = <[Event; 1]>::try_from(events) else {
            panic!("the good request is not served")
        };
        answer_too_busy(&mut connection, context, &request);
    }
    println!("{served} served, {rejected} rejected, {closed} closed");
    assert!(served > 0 && rejected > 0 && closed > 0, "each outcome occurs");
}

fn is_whole(octets: &[u8]) -> bool {
    let mut rest = octets;
    while rest.len() >= 20 {
        let length = u32::from_be_bytes([0, rest[1], rest[2], rest[3]]) as usize;
        let Some(behind) = rest.get(length.max(20)..) else { return false };
        rest = behind;
    }
    rest.is_empty()
}

/// Rejects a request, unless what followed it in the same octets has ended the connection.
fn answer_too_busy(connection: &mut Connection, context: RequestContext, request: &Request) {
    let is_mar = matches!(request, Request::MultimediaAuth(_));
    assert_eq!(context.command(), if is_mar { 303 } else { 301 });
    let mut out = PeerOutput::default();
    let rejected = connection.reject(context, &Rejection::new(code::TOO_BUSY, "busy"), &mut out);
    if connection.next_deadline().is_none() {
        assert_eq!(rejected, Err(Refused::NotOpen));
        return;
    }
    let (sent, _) = taken(&mut out);
    assert_eq!(message(&sent[0]).header.flags & 0x20, 0x20);
}

#[test]
fn a_broken_answer_never_panics_and_its_request_ends_once() {
    let vectors = Vectors::load();
    let mut random = seeded();
    let mar = vectors.octets("mar-aka");
    let request = decode_request(&message(&mar)).unwrap();
    let templates =
        ["maa-aka", "maa-aka-two-items", "maa-user-unknown", "maa-redirect", "saa-success"]
            .map(|id| vectors.octets(id));
    let cea = vectors.octets("cea-success");
    let mut ended = 0_u64;
    for _ in 0..from_environment("MIGCORE_FUZZ_ROUNDS", 100_000) / 10 {
        let mut out = PeerOutput::default();
        let mut connection =
            Connection::initiate(config(CORE, &[DATABASE]), START, &mut random, &mut out);
        connection.handle_octets(START, &cea, &mut out);
        out = PeerOutput::default();
        connection.send_request(START, &to_database(), request.clone(), 1, &mut out).unwrap();
        let ids = out.octets[12..20].to_vec();
        let mut broken = templates[random.below(templates.len())].clone();
        mutate(&mut broken, &mut random);
        with_right_length(&mut broken);
        broken[12..20].copy_from_slice(&ids);
        connection.handle_octets(START, &broken, &mut out);
        connection.handle_transport_closed(&mut out);
        let ends = out.events.iter().filter(|event| {
            matches!(event, Event::Answer { token: 1, .. } | Event::Failed { token: 1, .. })
        });
        assert_eq!(ends.count(), 1, "{:?}", out.events);
        let lost = matches!(out.events.last(), Some(Event::Down(DownReason::TransportClosed)));
        ended += u64::from(lost);
    }
    assert!(ended > 0);
}

#[test]
fn a_broken_profile_or_avp_never_panics() {
    let vectors = Vectors::load();
    let mut random = seeded();
    let saa = vectors.octets("saa-success");
    let profile = message(&saa).find(&dictionary::USER_DATA).unwrap();
    for _ in 0..from_environment("MIGCORE_FUZZ_ROUNDS", 100_000) / 10 {
        let mut broken = profile.data.to_vec();
        mutate(&mut broken, &mut random);
        let _ = user_data::decode(&broken);
        let mut octets = saa[20..].to_vec();
        mutate(&mut octets, &mut random);
        let read = AvpReader::new(&octets).count();
        assert!(read <= octets.len() / 8 + 1, "{read} AVPs in {} octets", octets.len());
    }
}
