//! Answers: what they repeat, where they go, and that nobody writes a line into them.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "test code")]

use std::net::SocketAddr;

use bytes::Bytes;
use migcore::sip::{
    Framing,
    message::{Capabilities, answer_other},
    reply::{ReplyHead, reason_phrase, reply_destination},
    view::MessageView,
};

const FOLDED: &[u8] = include_bytes!("../sip-fixtures/register/folded.sip");
const IMS: &[u8] = include_bytes!("../sip-fixtures/register/ims.sip");

const CAPABILITIES: Capabilities<'_> = Capabilities {
    methods: &["REGISTER", "OPTIONS"],
    option_tags: &["path", "outbound"],
    media_types: &[],
};

fn view(octets: &[u8]) -> MessageView<'_> {
    MessageView::parse(octets, Framing::Datagram).unwrap()
}

fn source(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn lines(answer: &Bytes) -> Vec<String> {
    let text = String::from_utf8(answer.to_vec()).unwrap();
    text.split("\r\n").map(str::to_owned).collect()
}

fn request(method: &str, via: &str, further: &str) -> Vec<u8> {
    format!(
        "{method} sip:home.example SIP/2.0\r\nVia: {via}\r\nFrom: <sip:a@home.example>;tag=1\r\n\
         To: <sip:a@home.example>\r\nCall-ID: c\r\nCSeq: 1 {method}\r\n{further}\r\n"
    )
    .into_bytes()
}

#[test]
fn an_answer_repeats_what_it_must_and_unfolds_it() {
    let head = ReplyHead::new(&view(FOLDED), source("192.0.2.1:5061"), "ours");
    let answer = head.reply(401, reason_phrase(401)).header("X-Number", 7).finish();
    assert_eq!(
        lines(&answer),
        [
            "SIP/2.0 401 Unauthorized",
            "Via: SIP/2.0/UDP 192.0.2.1:5061;branch=z9hG4bKfold, \
         SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKbelow",
            "From: \"Alice, \\\"A\\\" <the first>\"   <sip:alice@home.example>   ;tag=88",
            "To: <sip:alice@home.example>;tag=ours",
            "Call-ID: folded@192.0.2.1",
            "CSeq: 7 REGISTER",
            "X-Number: 7",
            "Content-Length: 0",
            "",
            "",
        ]
    );
}

#[test]
fn a_tag_that_is_there_stays() {
    let octets = String::from_utf8(IMS.to_vec()).unwrap();
    let octets = octets.replace("\r\nContact", ";tag=theirs\r\nContact").into_bytes();
    let answer = ReplyHead::new(&view(&octets), source("192.0.2.1:5060"), "ours");
    let answer = answer.reply(200, "OK").finish();
    assert!(lines(&answer).iter().any(|line| line.ends_with("3gppnetwork.org>;tag=theirs")));
}

/// RFC 3261 sections 18.2.1 and 18.2.2, RFC 3581 section 4.
#[test]
fn the_topmost_via_tells_where_the_request_came_from_and_where_its_answer_goes() {
    let (v4, v6) = ("198.51.100.7:4000", "[2001:db8::7]:4000");
    for (via, from, written, to) in [
        ("h", v4, "h;received=198.51.100.7", "198.51.100.7:5060"),
        ("h:99", v4, "h:99;received=198.51.100.7", "198.51.100.7:99"),
        ("198.51.100.7", v4, "198.51.100.7", "198.51.100.7:5060"),
        ("198.51.100.7:99", v4, "198.51.100.7:99", "198.51.100.7:99"),
        ("198.51.100.8", v4, "198.51.100.8;received=198.51.100.7", "198.51.100.7:5060"),
        ("h;rport", v4, "h;received=198.51.100.7;rport=4000", v4),
        (
            "198.51.100.7:99;rport;branch=b",
            v4,
            "198.51.100.7:99;branch=b;received=198.51.100.7;rport=4000",
            v4,
        ),
        // What the client writes there is not believed.
        ("h;rport=1;received=10.0.0.1", v4, "h;received=198.51.100.7;rport=4000", v4),
        ("h;received=10.0.0.1", v4, "h;received=198.51.100.7", "198.51.100.7:5060"),
        (
            "h;maddr=192.0.2.9;rport",
            v4,
            "h;maddr=192.0.2.9;received=198.51.100.7;rport=4000",
            "192.0.2.9:5060",
        ),
        ("h:7;maddr=192.0.2.9", v4, "h:7;maddr=192.0.2.9;received=198.51.100.7", "192.0.2.9:7"),
        ("h;maddr=name", v4, "h;maddr=name;received=198.51.100.7", "198.51.100.7:5060"),
        ("[2001:db8::7]", v6, "[2001:db8::7]", "[2001:db8::7]:5060"),
        ("[2001:DB8:0::7]", v6, "[2001:DB8:0::7]", "[2001:db8::7]:5060"),
        ("h;rport", v6, "h;received=2001:db8::7;rport=4000", v6),
    ] {
        let octets = request("REGISTER", &format!("SIP/2.0/UDP {via}"), "");
        let view = view(&octets);
        let head = ReplyHead::new(&view, source(from), "t");
        let answer = head.reply(200, "OK").finish();
        assert_eq!(lines(&answer)[1], format!("Via: SIP/2.0/UDP {written}"), "{via}");
        assert_eq!(head.destination(), source(to), "{via}");
        assert_eq!(reply_destination(&view, source(from)), source(to), "{via}");
    }
}

#[test]
fn no_value_adds_a_line() {
    for to_tag in ["t", "t\r\nEvil: 1"] {
        let head = ReplyHead::new(&view(IMS), source("192.0.2.1:5060"), to_tag);
        let answer = head.reply(400, "Bad\r\nEvil: 2").header("X", "a\r\nEvil: 3\n\rEvil: 4");
        let lines = lines(&answer.finish());
        assert_eq!(lines.len(), 11, "{lines:?}");
        assert!(!lines.iter().any(|line| line.starts_with("Evil")), "{lines:?}");
    }
}

#[test]
fn a_request_that_does_not_parse_is_refused_by_what_is_there() {
    let octets = request("REGISTER", "SIP/2.0/UDP 192.0.2.1;rport;branch=z9hG4bKa", "l: 9\r\n");
    let from = source("198.51.100.7:4000");
    let head = ReplyHead::lenient(&octets, from, "ours").unwrap();
    assert_eq!(head.destination(), from);
    assert_eq!(
        lines(&head.reply(400, "No").finish())[..6],
        [
            "SIP/2.0 400 No",
            "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa;received=198.51.100.7;rport=4000",
            "From: <sip:a@home.example>;tag=1",
            "To: <sip:a@home.example>;tag=ours",
            "Call-ID: c",
            "CSeq: 1 REGISTER",
        ]
    );
}

#[test]
fn nothing_is_said_to_a_response_an_ack_or_noise() {
    let from = source("198.51.100.7:4000");
    let ack = request("ACK", "SIP/2.0/UDP h", "");
    assert_eq!(answer_other(&view(&ack), from, "t", &CAPABILITIES), None);
    for octets in [
        &ack[..],
        b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h\r\nCSeq: 1 REGISTER\r\n\r\n",
        b"BAD sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nCSeq: 1 ACK\r\n\r\n",
        b"REGISTER sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h\r\n\r\n",
        b"REGISTER sip:a SIP/2.0\r\nCSeq: 1 REGISTER\r\n\r\n",
        b"\r\n\r\n",
        b"",
        b"\xff\xfe\r\nVia\xff: x\r\n\xff: y\r\n",
    ] {
        assert_eq!(ReplyHead::lenient(octets, from, "t"), None);
    }
}

#[test]
fn other_methods_are_answered_by_what_we_can_do() {
    for (method, further, status, expected) in [
        ("OPTIONS", "", "SIP/2.0 200 OK", "Supported: path, outbound"),
        ("OPTIONS", "Require: path\r\n", "SIP/2.0 200 OK", "Allow: REGISTER, OPTIONS"),
        (
            "OPTIONS",
            "Require: PATH, a\r\nRequire: b\r\n",
            "SIP/2.0 420 Bad Extension",
            "Unsupported: a, b",
        ),
        ("OPTIONS", "Require: a\r\n Evil: b\r\n", "SIP/2.0 400 Bad Request", "Content-Length: 0"),
        ("INVITE", "", "SIP/2.0 405 Method Not Allowed", "Allow: REGISTER, OPTIONS"),
        ("PUBLISH", "", "SIP/2.0 405 Method Not Allowed", "Allow: REGISTER, OPTIONS"),
        ("CANCEL", "", "SIP/2.0 481 Call/Transaction Does Not Exist", "Content-Length: 0"),
        ("register", "", "SIP/2.0 501 Not Implemented", "Allow: REGISTER, OPTIONS"),
        ("BREW", "", "SIP/2.0 501 Not Implemented", "Allow: REGISTER, OPTIONS"),
    ] {
        let octets = request(method, "SIP/2.0/UDP h;branch=z9hG4bKa", further);
        let from = source("198.51.100.7:4000");
        let answer = answer_other(&view(&octets), from, "t", &CAPABILITIES).unwrap();
        let lines = lines(&answer);
        assert_eq!(lines[0], status, "{method}");
        assert!(lines.iter().any(|line| line == expected), "{method}: {lines:?}");
        assert_eq!(lines[1], "Via: SIP/2.0/UDP h;branch=z9hG4bKa;received=198.51.100.7");
        MessageView::parse(&answer, Framing::Stream).unwrap();
    }
}
