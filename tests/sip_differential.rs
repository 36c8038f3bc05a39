//! Well-formed REGISTERs, generated: our views and rsip must read the same.
//!
//! Where rsip is narrower (folds, white space before a colon, AKA algorithms) nothing is generated;
//! `sip_register` and `sip_torture` cover that.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "test code")]

mod common;

use common::Seeded;
use migcore::sip::{
    Framing, name_addr::Contacts, register::RegisterRequest, via::Rport, view::MessageView,
};
use rsip::prelude::{HeadersExt, ToTypedHeader, UntypedHeader};

const ROUNDS: u64 = 5_000;

fn pick<'a>(entropy: &mut Seeded, choices: &[&'a str]) -> &'a str {
    choices[usize::try_from(entropy.below(choices.len() as u64)).unwrap()]
}

fn word(entropy: &mut Seeded) -> String {
    let alphabet = b"abcdefghijklmnopqrstuvwxyzABCXYZ0123456789-._~!*'";
    let length = 1 + entropy.below(20);
    let octet = |entropy: &mut Seeded| {
        char::from(alphabet[usize::try_from(entropy.below(alphabet.len() as u64)).unwrap()])
    };
    (0..length).map(|_| octet(entropy)).collect()
}

fn host(entropy: &mut Seeded) -> String {
    match entropy.below(3) {
        0 => format!("192.0.2.{}", entropy.below(256)),
        1 => format!("host{}.example.com", entropy.below(1000)),
        _ => format!("h{}", entropy.below(10)),
    }
}

fn port(entropy: &mut Seeded) -> String {
    if entropy.below(2) == 0 { String::new() } else { format!(":{}", 1 + entropy.below(65_535)) }
}

/// A REGISTER of fields in random order, with random optional parts.
///
/// `transport` in upper case, because rsip writes it so.
fn register(entropy: &mut Seeded) -> String {
    let mut fields = vec![
        format!("Call-ID: {}@{}", word(entropy), host(entropy)),
        format!("CSeq: {} REGISTER", entropy.below(1 << 32)),
        format!("Max-Forwards: {}", entropy.below(256)),
    ];
    let display = pick(entropy, &["", "\"Alice\" ", "\"A, B; C\" ", "Alice "]);
    fields.push(format!(
        "From: {display}<sip:{}@{}>;tag={}",
        word(entropy),
        host(entropy),
        word(entropy)
    ));
    fields.push(format!("To: {display}<sip:{}@{}>", word(entropy), host(entropy)));
    let parameter = pick(entropy, &["", ";transport=TCP", ";lr"]);
    let expires = entropy.below(700_000);
    fields.push(format!(
        "Contact: <sip:{}@{}{}{parameter}>;expires={expires}",
        word(entropy),
        host(entropy),
        port(entropy)
    ));
    for further in [
        format!("Expires: {}", entropy.below(700_000)),
        "Supported: path, gruu".to_owned(),
        format!("User-Agent: {}", word(entropy)),
        format!("X-{}: {}", entropy.below(100), word(entropy)),
        "Require: path".to_owned(),
        "Path: <sip:p@192.0.2.1;lr>".to_owned(),
    ] {
        if entropy.below(2) == 0 {
            fields.push(further);
        }
    }
    for at in (1..fields.len()).rev() {
        let other = usize::try_from(entropy.below(at as u64 + 1)).unwrap();
        fields.swap(at, other);
    }
    let transport = pick(entropy, &["UDP", "TCP", "TLS"]);
    let rport = pick(entropy, &["", ";rport"]);
    let via = format!(
        "Via: SIP/2.0/{transport} {}{};branch=z9hG4bK{}{rport}",
        host(entropy),
        port(entropy),
        word(entropy)
    );
    let body = if entropy.below(2) == 0 { String::new() } else { word(entropy) };
    let head = fields.join("\r\n");
    format!(
        "REGISTER sip:{} SIP/2.0\r\n{via}\r\n{head}\r\nContent-Length: {}\r\n\r\n{body}",
        host(entropy),
        body.len()
    )
}

#[test]
fn rsip_and_our_views_read_the_same() {
    for seed in 0..ROUNDS {
        let text = register(&mut Seeded(seed));
        let theirs = rsip::Request::try_from(text.as_bytes())
            .unwrap_or_else(|error| panic!("seed {seed}: rsip: {error}\n{text}"));
        let view = MessageView::parse(text.as_bytes(), Framing::Stream)
            .unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"));
        let ours = RegisterRequest::from_view(&view)
            .unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"));
        let context = || format!("seed {seed}\n{text}");

        assert_eq!(view.method(), theirs.method.to_string(), "{}", context());
        assert_eq!(ours.request_uri(), theirs.uri.to_string(), "{}", context());
        assert_eq!(view.body(), theirs.body, "{}", context());
        let headers: Vec<String> =
            view.headers().map(|(name, value)| format!("{name}: {value}")).collect();
        let their_headers: Vec<String> = theirs.headers.iter().map(ToString::to_string).collect();
        assert_eq!(headers, their_headers, "{}", context());
        assert_eq!(ours.call_id(), theirs.call_id_header().unwrap().value(), "{}", context());
        let cseq = theirs.cseq_header().unwrap().typed().unwrap();
        assert_eq!(ours.cseq(), cseq.seq, "{}", context());
        let from = theirs.from_header().unwrap().typed().unwrap();
        assert_eq!(ours.from_tag(), from.tag().map(|tag| tag.value()), "{}", context());
        let to = theirs.to_header().unwrap().typed().unwrap();
        assert_eq!(ours.to_uri().raw, to.uri.to_string(), "{}", context());
        assert_eq!(ours.to_tag(), to.tag().map(|tag| tag.value()), "{}", context());
        compare_via(&ours, &theirs, &context());
        compare_contact(&ours, &theirs, &context());
    }
}

fn compare_via(ours: &RegisterRequest<'_>, theirs: &rsip::Request, context: &str) {
    let (via, their_via) = (ours.top_via(), theirs.via_header().unwrap().typed().unwrap());
    assert_eq!(via.transport, their_via.transport.to_string(), "{context}");
    assert_eq!(via.host, their_via.uri.host().to_string(), "{context}");
    assert_eq!(via.port, their_via.uri.port().map(|port| *port.value()), "{context}");
    assert_eq!(via.branch, their_via.branch().map(|branch| branch.value()), "{context}");
    let rport = their_via.params.iter().any(|param| param.to_string().starts_with(";rport"));
    assert_eq!(via.rport == Rport::Requested, rport, "{context}");
}

fn compare_contact(ours: &RegisterRequest<'_>, theirs: &rsip::Request, context: &str) {
    let Contacts::List(contacts) = ours.contacts() else { panic!("{context}") };
    let contact = contacts.iter().next().unwrap();
    let theirs = theirs.contact_header().unwrap().typed().unwrap();
    assert_eq!(contact.uri, theirs.uri.to_string(), "{context}");
    let expires = theirs.expires().map(|expires| expires.value().parse().unwrap());
    assert_eq!(contact.expires, expires, "{context}");
}
