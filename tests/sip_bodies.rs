//! Bodies of several parts and the documents in them, cut, repeated, flipped and spliced: whatever arrives, nothing
//! panics, nothing takes long, and what is taken is bounded.
//!
//! `MIGCORE_FUZZ_ROUNDS` sets the number of mutated bodies (20,000), `MIGCORE_FUZZ_SEED` the first seed.
#![allow(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "test code"
)]

mod common;

use std::time::{Duration, Instant};

use common::{Seeded, mutate};
use migcore::{
    mc_info::{
        self, CLIENT_ID_OCTETS_MAX, ServiceInfo,
        settings::{AnswerMode, Settings},
    },
    secret::SecretText,
    sip::multipart::{Multipart, PARTS_MAX, parts},
    token::TOKEN_OCTETS_MAX,
    user_profile::ProfileService,
};

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

/// A body as a client sends it, and its type.
fn body() -> (String, Vec<u8>) {
    let info = ServiceInfo {
        access_token: Some(SecretText::new("header.claims.signature")),
        client_id: Some("urn:uuid:1".to_owned()),
    };
    let settings =
        Settings { answer_mode: Some(AnswerMode::Manual), profile_index: Some(3) }.render();
    let mut body = Multipart::new(7);
    for service in ProfileService::ALL {
        let document = info.render(service);
        body = body.part(mc_info::media_type(service), document.expose().as_bytes());
    }
    let (content_type, body) =
        body.part("application/poc-settings+xml", settings.as_bytes()).finish();
    (content_type, body.to_vec())
}

/// Octets that parsers stumble over.
const SPICE: &[u8] = b"\r\n\t -\0\"<>/&;=:!?[]\x7f\x80\xc3\xff";

/// Reads a body to the end; how many documents were well-formed.
fn read(content_type: &str, body: &[u8]) -> usize {
    let Ok(parts) = parts(Some(content_type), body) else { return 0 };
    assert!(parts.len() <= PARTS_MAX);
    let mut well_formed = 0;
    for part in &parts {
        assert!(part.content.len() <= body.len());
        let Ok(text) = part.text() else { continue };
        for service in ProfileService::ALL {
            if let Ok(info) = ServiceInfo::parse(service, text) {
                well_formed += 1;
                let token = info.access_token.as_ref().map_or(0, |token| token.expose().len());
                let client = info.client_id.as_ref().map_or(0, String::len);
                assert!(token <= TOKEN_OCTETS_MAX && client <= CLIENT_ID_OCTETS_MAX);
            }
        }
        well_formed += usize::from(Settings::parse(text).is_ok());
    }
    well_formed
}

#[test]
fn whatever_a_body_holds_nothing_panics_and_what_is_taken_is_bounded() {
    let (content_type, original) = body();
    assert_eq!(read(&content_type, &original), 4);
    let first = setting("MIGCORE_FUZZ_SEED", 1);
    let mut taken = 0;
    for seed in first..first + setting("MIGCORE_FUZZ_ROUNDS", 20_000) {
        let mut entropy = Seeded(seed);
        let mut octets = original.clone();
        mutate(&mut entropy, &mut octets, SPICE, &original);
        taken += read(&content_type, &octets);
    }
    assert!(taken > 0, "mutations that leave nothing show nothing");
}

#[test]
fn every_cut_of_a_body_is_refused() {
    let (content_type, body) = body();
    // The last octets are the line end behind the last boundary, which need not be there.
    for length in 1..body.len() - 4 {
        assert!(parts(Some(&content_type), &body[..length]).is_err(), "{length}");
    }
}

#[test]
fn the_longest_bodies_take_no_longer_than_their_length_explains() {
    let many_lines = "\r\n--".repeat(16_000);
    let deep = "<a>".repeat(21_000);
    let entities = "&amp;".repeat(13_000);
    let named: String = (0..5_000).map(|number| format!("a{number}='' ")).collect();
    let attributes = format!("<mcpttinfo xmlns='urn:3gpp:ns:mcpttInfo:1.0' {named}/>");
    let began = Instant::now();
    for text in [&many_lines, &deep, &entities, &attributes] {
        read("multipart/mixed;boundary=b", text.as_bytes());
        let part = format!("--b\r\n\r\n{text}\r\n--b--\r\n");
        read("multipart/mixed;boundary=b", part.as_bytes());
    }
    // Milliseconds, were it measured alone: what is quadratic takes minutes.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}
