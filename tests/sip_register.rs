//! REGISTER requests read from fixtures: what the views give.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "test code")]

use migcore::sip::{
    Framing, MESSAGE_OCTETS_MAX, ParseError, header::HeaderName, name_addr::Contacts,
    register::RegisterRequest, uri::Scheme, via::Rport, view::MessageView,
};

const IMS: &[u8] = include_bytes!("../sip-fixtures/register/ims.sip");
const IMS_INITIAL: &[u8] = include_bytes!("../sip-fixtures/register/ims-initial.sip");
const SIPP_ANSWER: &[u8] = include_bytes!("../sip-fixtures/register/sipp-answer.sip");
const FOLDED: &[u8] = include_bytes!("../sip-fixtures/register/folded.sip");
const COMPACT: &[u8] = include_bytes!("../sip-fixtures/register/compact.sip");

fn view(octets: &[u8]) -> MessageView<'_> {
    MessageView::parse(octets, Framing::Datagram).unwrap()
}

#[test]
fn an_ims_register_gives_all_that_a_registrar_needs() {
    let view = view(IMS);
    let register = RegisterRequest::from_view(&view).unwrap();
    assert_eq!(register.request_uri(), "sip:ims.mnc001.mcc001.3gppnetwork.org");
    assert_eq!(register.to_uri().scheme, Scheme::Sip);
    assert_eq!(
        register.aor().unwrap().as_str(),
        "sip:001010000000017@ims.mnc001.mcc001.3gppnetwork.org"
    );
    assert_eq!((register.from_tag(), register.to_tag()), (Some("4fa3"), None));
    assert_eq!((register.call_id(), register.cseq()), ("apb03a0s09dkjdfglkj49111", 2));
    let via = register.top_via();
    assert_eq!(
        (via.transport, via.host, via.port),
        ("UDP", "pcscf1.ims.mnc001.mcc001.3gppnetwork.org", Some(5060))
    );
    assert_eq!((via.branch, via.rport), (Some("z9hG4bK351g45.1"), Rport::Absent));
    assert_eq!(register.vias().count(), 2);
    let Contacts::List(contacts) = register.contacts() else { panic!("a list") };
    let contacts: Vec<_> = contacts.iter().collect();
    assert_eq!(contacts.len(), 1);
    assert_eq!(contacts[0].uri, "sip:[2001:db8::aaa:bbb]:1357;comp=sigcomp");
    assert_eq!(contacts[0].expires, Some(600_000));
    assert_eq!(contacts[0].instance, Some("urn:gsma:imei:90420156-025763-0"));
    assert_eq!((contacts[0].q, contacts[0].reg_id), (None, None));
    assert_eq!(register.expires(), None);
    assert_eq!(
        register.paths().collect::<Vec<_>>(),
        ["<sip:term@pcscf1.ims.mnc001.mcc001.3gppnetwork.org;lr>"]
    );
    assert!(register.supports("PATH") && !register.supports("outbound"));
    assert_eq!(register.requires().collect::<Vec<_>>(), ["path"]);
    assert_eq!(register.proxy_requires().count(), 0);
    let credentials = register.credentials().unwrap();
    assert_eq!(credentials.username, "001010000000017@ims.mnc001.mcc001.3gppnetwork.org");
    assert_eq!(credentials.algorithm, Some("AKAv1-MD5"));
    assert_eq!((credentials.nc, credentials.qop), (Some("00000001"), Some("auth")));
    assert_eq!(view.header_named("p-visited-network-id").map(str::len), Some(35));
    assert_eq!(view.headers().count(), 16);
}

#[test]
fn an_initial_register_has_an_empty_nonce_and_response() {
    let view = view(IMS_INITIAL);
    let register = RegisterRequest::from_view(&view).unwrap();
    let credentials = register.credentials().unwrap();
    assert_eq!((credentials.nonce.as_ref(), credentials.response.as_ref()), ("", ""));
    assert_eq!(credentials.algorithm, None);
    assert_eq!(register.top_via().rport, Rport::Requested);
    assert!(register.credentials_for("ims.mnc001.mcc001.3gppnetwork.org").is_some());
    assert!(register.credentials_for("elsewhere").is_none());
}

#[test]
fn the_order_of_digest_parameters_does_not_matter() {
    let view = view(SIPP_ANSWER);
    let credentials = RegisterRequest::from_view(&view).unwrap().credentials().unwrap();
    assert_eq!(
        (credentials.qop, credentials.uri.as_ref()),
        (Some("auth-int"), "sip:127.0.0.1:5060")
    );
    assert_eq!(credentials.cnonce.as_deref(), Some("6b8b4567"));
}

#[test]
fn folds_and_white_space_make_no_difference() {
    let view = view(FOLDED);
    let register = RegisterRequest::from_view(&view).unwrap();
    let via = register.top_via();
    assert_eq!((via.host, via.port, via.branch), ("192.0.2.1", Some(5061), Some("z9hG4bKfold")));
    assert_eq!(register.vias().count(), 2);
    assert_eq!((register.call_id(), register.cseq()), ("folded@192.0.2.1", 7));
    assert_eq!((register.from_tag(), register.to_tag()), (Some("88"), None));
    let Contacts::List(contacts) = register.contacts() else { panic!("a list") };
    let contacts: Vec<_> = contacts.iter().map(|c| (c.uri, c.q, c.expires)).collect();
    assert_eq!(
        contacts,
        [
            ("sip:alice@192.0.2.1;transport=tcp", Some(500), Some(60)),
            ("sip:alice@192.0.2.9", None, Some(70)),
        ]
    );
    let credentials = register.credentials().unwrap();
    assert_eq!(credentials.nonce, "two parts");
    assert!(register.supports("outbound"));
    assert_eq!(register.expires(), Some(120));
}

#[test]
fn compact_names_and_bare_addresses_are_understood() {
    let view = view(COMPACT);
    let register = RegisterRequest::from_view(&view).unwrap();
    assert_eq!(register.top_via().transport, "TCP");
    assert_eq!((register.from_tag(), register.to_tag()), (Some("77"), None));
    assert_eq!(register.to_uri().raw, "sip:alice@home.example");
    let Contacts::List(contacts) = register.contacts() else { panic!("a list") };
    assert_eq!(contacts.iter().next().unwrap().expires, Some(60));
    assert!(register.supports("path"));
    assert_eq!(register.body(), b"body");
    assert_eq!(view.header(HeaderName::ContentLength), Some("4"));
}

/// A REGISTER whose `field` is replaced by `replacement` (none if empty), or added.
fn with(field: &str, replacement: &str) -> Vec<u8> {
    let text = std::str::from_utf8(COMPACT).unwrap();
    let mut lines: Vec<&str> = text.split("\r\n").collect();
    match lines.iter().position(|line| line.starts_with(field)) {
        Some(at) if replacement.is_empty() => drop(lines.remove(at)),
        Some(at) => lines[at] = replacement,
        None => lines.insert(1, replacement),
    }
    lines.join("\r\n").into_bytes()
}

fn refusal(octets: &[u8]) -> (u16, &'static str) {
    let view = match MessageView::parse(octets, Framing::Datagram) {
        Err(ParseError { status, reason }) => return (status, reason),
        Ok(view) => view,
    };
    let ParseError { status, reason } = RegisterRequest::from_view(&view).unwrap_err();
    (status, reason)
}

#[test]
fn a_malformed_register_is_refused_with_a_reason_that_names_it() {
    for (field, replacement, reason) in [
        ("v:", "", "Missing Via"),
        ("f:", "", "Missing From"),
        ("t:", "", "Missing To"),
        ("i:", "", "Missing Call-ID"),
        ("CSeq", "", "Missing CSeq"),
        ("v:", "v: SIP/2.0/UDP", "Malformed Via"),
        ("f:", "f: \"open <sip:a@b>", "Malformed From"),
        ("t:", "t: <sip:a b@c>", "Malformed To"),
        ("t:", "t: http://a@b", "To is no SIP, SIPS or tel URI"),
        ("i:", "i: a b", "Malformed Call-ID"),
        ("CSeq", "CSeq: 4294967296 REGISTER", "CSeq out of range"),
        ("CSeq", "CSeq: REGISTER", "Malformed CSeq"),
        ("CSeq", "CSeq: 1 INVITE", "CSeq names another method"),
        ("X", "Call-ID: other", "Multiple Call-ID"),
        ("X", "From: <sip:a@b>", "Multiple From"),
        ("X", "To: <sip:a@b>", "Multiple To"),
        ("X", "CSeq: 1 REGISTER", "Multiple CSeq"),
        ("X", "Content-Length: 3", "Multiple Content-Length"),
        ("l:", "l: -1", "Malformed Content-Length"),
        ("l:", "l: 5", "Content-Length exceeds message"),
        ("X", "no colon", "Malformed header field"),
        ("X", ": no name", "Malformed header field"),
        ("X", "a b: c", "Malformed header field"),
        ("X", " folded", "Folded start line"),
        ("m:", "m: *", "Contact * without Expires 0"),
        ("X", "Contact: *", "Contact * beside other contacts"),
        ("m:", "m: sip:a@b?Route=x", "Malformed Contact"),
        ("m:", "m: <sip:a@b>,", "Malformed Contact"),
        ("REGISTER", "REGISTER  sip:a SIP/2.0", "Malformed start line"),
        ("REGISTER", "REGISTER sip:a SIP/2.0 ", "Malformed start line"),
        ("REGISTER", "REGISTER <sip:a> SIP/2.0", "Malformed Request-URI"),
        ("REGISTER", "REGISTER sip:a HTTP/1.1", "Malformed start line"),
        ("X", "X: a\rb", "CR without LF"),
        ("X", "X: a\nb", "LF without CR"),
    ] {
        assert_eq!(refusal(&with(field, replacement)), (400, reason), "{replacement}");
    }
    assert_eq!(refusal(&with("REGISTER", "REGISTER sip:a SIP/7.0")).0, 505);
    assert_eq!(refusal(b"REGISTER sip:a SIP/2.0\r\n"), (400, "Missing end of header fields"));
    assert_eq!(
        refusal(&with("X", "X: \u{0}").replace_octet(0, 0xff)).1,
        "Header fields are not UTF-8"
    );
    assert_eq!(refusal(&vec![b'a'; MESSAGE_OCTETS_MAX + 1]).0, 513);
    let many = "X: y\r\n".repeat(130);
    assert_eq!(refusal(&with("X", many.trim_end())), (400, "More than 128 header fields"));
}

trait ReplaceOctet {
    fn replace_octet(self, from: u8, to: u8) -> Self;
}

impl ReplaceOctet for Vec<u8> {
    fn replace_octet(mut self, from: u8, to: u8) -> Self {
        self.iter_mut().filter(|octet| **octet == from).for_each(|octet| *octet = to);
        self
    }
}

#[test]
fn what_is_tolerable_is_tolerated() {
    for (field, replacement) in [
        ("X", "Content-Length: 4"),
        ("l:", ""),
        ("REGISTER", "\r\n\r\nREGISTER sip:a sip/2.0"),
        ("t:", "t: tel:+39-06-12345;phone-context=x"),
        ("X", "Expires: soon"),
        ("X", "Max-Forwards: 99999999999"),
        ("m:", ""),
    ] {
        let octets = with(field, replacement);
        let view = view(&octets);
        let register = RegisterRequest::from_view(&view).unwrap();
        if replacement.starts_with("Expires") {
            assert_eq!(register.expires(), Some(3600));
        }
        if field == "m:" {
            assert!(matches!(register.contacts(), Contacts::None));
        }
        if field == "t:" {
            assert_eq!(register.aor().unwrap().as_str(), "tel:+390612345");
        }
    }
}

#[test]
fn a_wildcard_stands_alone_with_expires_zero() {
    let mut octets = with("m:", "m: *");
    let at = octets.windows(2).position(|pair| pair == b"k:").unwrap();
    octets.splice(at..at, *b"Expires: 0\r\n");
    let view = view(&octets);
    assert!(matches!(RegisterRequest::from_view(&view).unwrap().contacts(), Contacts::Wildcard));
}

#[test]
fn a_stream_needs_a_content_length_and_a_datagram_does_not() {
    let octets = with("l:", "");
    assert_eq!(
        MessageView::parse(&octets, Framing::Stream).unwrap_err().reason,
        "Missing Content-Length"
    );
    assert_eq!(view(&octets).body(), b"body");
}
