//! Octets cut, repeated, flipped and spliced: whatever arrives, nothing panics, nothing takes long, and
//! no answer holds a line that we did not mean to write.
//!
//! `MIGCORE_FUZZ_ROUNDS` sets the number of mutated messages (100,000), `MIGCORE_FUZZ_SEED` the first
//! seed.
#![allow(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "test code"
)]

mod common;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use common::{Seeded, below, mutate};
use migcore::sip::{
    Framing, MESSAGE_OCTETS_MAX,
    auth_header::{DigestChallenge, DigestCredentials},
    message::{Capabilities, answer_other},
    name_addr::Contacts,
    register::RegisterRequest,
    reply::ReplyHead,
    response::ResponseView,
    stream::{Frame, StreamFramer},
    transaction::TransactionHasher,
    uri::{Uri, aor, equivalent},
    view::MessageView,
};

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

fn corpus() -> Vec<Vec<u8>> {
    let mut corpus = Vec::new();
    for folder in ["register", "torture"] {
        let path = format!("{}/sip-fixtures/{folder}", env!("CARGO_MANIFEST_DIR"));
        let mut paths: Vec<_> =
            std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        let messages = paths.iter().filter(|path| path.extension().is_some_and(|e| e != "md"));
        corpus.extend(messages.map(|path| std::fs::read(path).unwrap()));
    }
    assert!(corpus.len() >= 55);
    corpus
}

/// Octets that parsers stumble over.
const SPICE: &[u8] = b"\r\n\t \0\"\\<>;:,=@?&%*/[]()0Zz9\x7f\x80\xc3\xff-+";

const CAPABILITIES: Capabilities<'_> =
    Capabilities { methods: &["REGISTER", "OPTIONS"], option_tags: &["path"], media_types: &[] };

/// Reads a message by every accessor and answers it. Gives whether it was well-formed.
fn exercise(octets: &[u8], framing: Framing, hasher: &TransactionHasher) -> bool {
    let source = SocketAddr::from(([192, 0, 2, 1], 5060));
    if let Some(head) = ReplyHead::lenient(octets, source, "ours") {
        check_lines(&head.reply(400, "Bad Request").finish());
    }
    let Ok(view) = MessageView::parse(octets, framing) else { return false };
    let _key = hasher.key(&view);
    for (name, value) in view.headers() {
        assert!(!name.is_empty() && !value.starts_with([' ', '\r', '\n']));
        if let Some(credentials) = DigestCredentials::parse(value) {
            let text = credentials.to_string();
            let again = DigestCredentials::parse(&text).unwrap();
            // A quoted pair in what should be a token is not resolved, only kept.
            assert!(again == credentials || value.contains('\\'), "{text}");
        }
        let _challenge = DigestChallenge::parse(value).map(|challenge| challenge.to_string());
        if let Ok(uri) = Uri::parse(value) {
            assert!(equivalent(&uri, &uri), "{value}");
            if let Ok(impu) = aor(&uri) {
                let again = Uri::parse(impu.as_str()).unwrap();
                assert_eq!(aor(&again).unwrap(), impu, "canonical stays canonical");
            }
        }
    }
    if let Ok(response) = ResponseView::from_view(view.clone()) {
        let _read = (
            response.challenges().count(),
            response.contacts().count(),
            response.service_route().count(),
            response.associated_uris().count(),
            response.unsupported().count(),
            response.authentication_info().map(|info| info.to_string()),
            (response.min_expires(), response.retry_after(), response.expires()),
        );
        return true;
    }
    let answer = ReplyHead::new(&view, source, "ours").reply(401, "Unauthorized").finish();
    check_lines(&answer);
    if answer.len() > MESSAGE_OCTETS_MAX {
        return true; // It repeats most of a message of nearly that length: no datagram holds it.
    }
    let repeated = MessageView::parse(&answer, Framing::Stream).expect("a well-formed answer");
    assert_eq!(repeated.call_id(), view.call_id());
    assert_eq!(repeated.cseq(), view.cseq());
    assert_eq!(repeated.top_via().branch, view.top_via().branch);
    assert!(repeated.to_tag().is_some());
    if let Some(answer) = answer_other(&view, source, "ours", &CAPABILITIES) {
        check_lines(&answer);
        MessageView::parse(&answer, Framing::Stream).expect("a well-formed answer");
    }
    let Ok(register) = RegisterRequest::from_view(&view) else { return true };
    let contacts = match register.contacts() {
        Contacts::None | Contacts::Wildcard => 0,
        Contacts::List(contacts) => contacts.iter().map(|contact| contact.uri.len()).sum(),
    };
    let _read = (
        (contacts, register.aor().is_ok(), register.vias().count(), register.paths().count()),
        (register.requires().count(), register.proxy_requires().count()),
        (register.supports("path"), register.credentials().is_some(), register.expires()),
    );
    true
}

/// Every line of an answer is one that answers have.
fn check_lines(answer: &[u8]) {
    let text = String::from_utf8(answer.to_vec()).expect("UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").expect("an end of the header part");
    assert_eq!(body, "");
    for line in head.split("\r\n") {
        assert!(!line.contains(['\r', '\n']), "{line:?}");
        let known = [
            "SIP/2.0 ",
            "Via: ",
            "From: ",
            "To: ",
            "Call-ID: ",
            "CSeq: ",
            "Content-Length: 0",
            "Allow: REGISTER, OPTIONS",
            "Accept: ",
            "Supported: path",
            "Unsupported: ",
        ];
        assert!(known.iter().any(|known| line.starts_with(known)), "{line:?}");
    }
}

#[test]
fn mutated_messages_never_panic_and_are_answered_line_by_line() {
    let (rounds, seed) = (setting("MIGCORE_FUZZ_ROUNDS", 100_000), setting("MIGCORE_FUZZ_SEED", 1));
    let corpus = corpus();
    let hasher = TransactionHasher::new(&mut Seeded(seed));
    let mut well_formed = 0_u64;
    let mut longest = Duration::ZERO;
    for round in 0..rounds {
        let mut entropy = Seeded(seed.wrapping_add(round));
        let mut octets = corpus[below(&mut entropy, corpus.len())].clone();
        let other = &corpus[below(&mut entropy, corpus.len())];
        mutate(&mut entropy, &mut octets, SPICE, other);
        let framing = if entropy.below(4) == 0 { Framing::Stream } else { Framing::Datagram };
        let caught = std::panic::catch_unwind(|| {
            let started = Instant::now();
            (exercise(&octets, framing, &hasher), started.elapsed())
        });
        let Ok((is_well_formed, took)) = caught else {
            panic!("seed {}: {:?}", seed.wrapping_add(round), String::from_utf8_lossy(&octets));
        };
        well_formed += u64::from(is_well_formed);
        longest = longest.max(took);
    }
    println!("{rounds} rounds from seed {seed}: {well_formed} well-formed, longest {longest:?}");
    assert!(well_formed > rounds / 20, "the mutations leave too little to read: {well_formed}");
    assert!(longest.as_secs() < 2, "one message took {longest:?}");
}

#[test]
fn a_mutated_stream_ends_in_messages_or_an_error() {
    let (rounds, seed) = (setting("MIGCORE_FUZZ_ROUNDS", 100_000) / 50, 77);
    let corpus = corpus();
    for round in 0..rounds {
        let mut entropy = Seeded(seed + round);
        let mut stream = Vec::new();
        for _ in 0..4 {
            stream.extend(&corpus[below(&mut entropy, corpus.len())]);
        }
        if entropy.below(2) == 0 {
            mutate(&mut entropy, &mut stream, SPICE, &corpus[0]);
        }
        let length = stream.len();
        let mut framer = StreamFramer::new();
        let mut taken = 0;
        'stream: for piece in stream.chunks(1 + below(&mut entropy, 3000)) {
            framer.push(piece).unwrap();
            loop {
                match framer.next_frame() {
                    Ok(Some(Frame::Message(octets))) => {
                        taken += octets.len();
                        // Whatever is framed reads to its last octet, or is refused for what it says.
                        if let Ok(view) = MessageView::parse(&octets, Framing::Stream) {
                            assert!(octets.ends_with(view.body()), "seed {}", seed + round);
                        }
                    }
                    Ok(Some(Frame::KeepAlive)) => taken += 4,
                    Ok(None) => break,
                    Err(_) => break 'stream,
                }
            }
        }
        assert!(taken + framer.rejected().len() <= length, "seed {}", seed + round);
    }
}

/// The longest messages of the worst kinds: twice the length may not take four times as long.
#[test]
fn time_is_linear_in_the_length() {
    let head = "REGISTER sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKa\r\n\
        From: <sip:a@h>;tag=1\r\nTo: <sip:a@h>\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\n";
    let hasher = TransactionHasher::new(&mut Seeded(1));
    for (field, unit) in [
        ("Contact: <sip:a@h>", ",<sip:a@h>"),
        ("Contact: <sip:a@h>", ";p"),
        ("Contact: \"", "\\\""),
        ("Contact: ", "<"),
        ("Contact: ", "\","),
        ("Contact: <sip:a@h", ";p=%41"),
        ("Path: a", ","),
        ("Require: a", ",a"),
        ("Authorization: Digest a=b", ",a=b"),
        ("Authorization: Digest a=\"", "\\\\"),
        ("Authorization: Digest ", ","),
        ("Via: SIP/2.0/UDP h", ",SIP/2.0/UDP h"),
        ("X: a", "\r\n a"),
        ("X: a", " "),
    ] {
        let message = |octets: usize| {
            let count = (octets - head.len() - field.len() - 8) / unit.len();
            format!("{head}{field}{}\r\n\r\n", unit.repeat(count)).into_bytes()
        };
        let time = |octets: &[u8]| {
            let started = Instant::now();
            exercise(octets, Framing::Datagram, &hasher);
            started.elapsed()
        };
        let (quarter, whole) = (message(MESSAGE_OCTETS_MAX / 4), message(MESSAGE_OCTETS_MAX));
        // Somebody else on the machine makes the one or the other look slow, but not each time: what grows with the
        // square takes 16 times as long whenever it is measured.
        let is_linear = (0..100).any(|_| {
            let fastest = |octets: &[u8]| (0..5).map(|_| time(octets)).min().unwrap();
            fastest(&whole) < fastest(&quarter).max(Duration::from_micros(50)) * 12
        });
        assert!(is_linear, "{field}{unit}");
    }
}
