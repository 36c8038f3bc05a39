//! The 49 messages of RFC 4475 as a registrar sees them: what each is answered with.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "test code")]

use std::net::SocketAddr;

use bytes::Bytes;
use migcore::sip::{
    Framing, ParseError,
    message::{Capabilities, answer_other},
    name_addr::{Contact, Contacts},
    register::RegisterRequest,
    reply::{ReplyHead, reason_phrase},
    response::ResponseView,
    uri::{Uri, aor},
    view::MessageView,
};

const CAPABILITIES: Capabilities<'_> =
    Capabilities { methods: &["REGISTER", "OPTIONS"], option_tags: &["path"], media_types: &[] };

/// What becomes of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    /// A well-formed REGISTER: authentication is next.
    Register,
    /// A well-formed response: handed to whoever waits for it.
    Response(u16),
    /// Answered with this status and reason phrase.
    Answered(u16, &'static str),
    /// Dropped without answer.
    Dropped,
}

use Outcome::{Answered, Dropped, Register, Response};

const NOT_ALLOWED: Outcome = Answered(405, "Method Not Allowed");
const NOT_IMPLEMENTED: Outcome = Answered(501, "Not Implemented");

const fn bad(reason: &'static str) -> Outcome {
    Answered(400, reason)
}

/// Name, what becomes of it, the section of RFC 4475.
const EXPECTED: [(&str, Outcome, &str); 49] = [
    ("wsinv", NOT_ALLOWED, "3.1.1.1"),
    ("intmeth", NOT_IMPLEMENTED, "3.1.1.2"),
    ("esc01", NOT_ALLOWED, "3.1.1.3"),
    ("escnull", Register, "3.1.1.4"),
    ("esc02", NOT_IMPLEMENTED, "3.1.1.5"),
    ("lwsdisp", Answered(200, "OK"), "3.1.1.6"),
    ("longreq", NOT_ALLOWED, "3.1.1.7"),
    ("dblreq", Register, "3.1.1.8"),
    ("semiuri", Answered(200, "OK"), "3.1.1.9"),
    ("transports", Answered(200, "OK"), "3.1.1.10"),
    ("mpart01", NOT_ALLOWED, "3.1.1.11"),
    ("unreason", Response(200), "3.1.1.12"),
    ("noreason", Response(100), "3.1.1.13"),
    ("badinv01", bad("Malformed Via"), "3.1.2.1"),
    ("clerr", bad("Content-Length exceeds message"), "3.1.2.2"),
    ("ncl", bad("Malformed Content-Length"), "3.1.2.3"),
    ("scalar02", bad("CSeq out of range"), "3.1.2.4"),
    ("scalarlg", Dropped, "3.1.2.5"),
    ("quotbal", bad("Malformed To"), "3.1.2.6"),
    ("ltgtruri", bad("Malformed Request-URI"), "3.1.2.7"),
    ("lwsruri", bad("Malformed start line"), "3.1.2.8"),
    ("lwsstart", bad("Malformed start line"), "3.1.2.9"),
    ("trws", bad("Malformed start line"), "3.1.2.10"),
    // The header part of the Request-URI is ignored, as the section allows.
    ("escruri", NOT_ALLOWED, "3.1.2.11"),
    // Date means nothing to a registrar.
    ("baddate", NOT_ALLOWED, "3.1.2.12"),
    ("regbadct", bad("Malformed Contact"), "3.1.2.13"),
    ("badaspec", bad("Malformed To"), "3.1.2.14"),
    ("baddn", bad("Malformed From"), "3.1.2.15"),
    ("badvers", Answered(505, "Version Not Supported"), "3.1.2.16"),
    ("mismatch01", bad("CSeq names another method"), "3.1.2.17"),
    ("mismatch02", NOT_IMPLEMENTED, "3.1.2.18"),
    ("bigcode", Dropped, "3.1.2.19"),
    // Without a unique branch it is matched as RFC 2543 says, and answered.
    ("badbranch", Answered(200, "OK"), "3.2.1"),
    ("insuf", bad("Missing From"), "3.3.1"),
    ("unkscm", Answered(416, "Unsupported URI Scheme"), "3.3.2"),
    ("novelsc", Answered(416, "Unsupported URI Scheme"), "3.3.3"),
    ("unksm2", bad("To is no SIP, SIPS or tel URI"), "3.3.4"),
    ("bext01", Answered(420, "Bad Extension"), "3.3.5"),
    ("invut", NOT_ALLOWED, "3.3.6"),
    ("regaut01", Register, "3.3.7"),
    ("multi01", bad("Multiple From"), "3.3.8"),
    ("mcl01", bad("Multiple Content-Length"), "3.3.9"),
    ("bcast", Response(200), "3.3.10"),
    ("zeromf", Answered(200, "OK"), "3.3.11"),
    ("cparam01", Register, "3.3.12"),
    ("cparam02", Register, "3.3.13"),
    ("regescrt", Register, "3.3.14"),
    ("sdp01", NOT_ALLOWED, "3.3.15"),
    ("inv2543", NOT_ALLOWED, "3.4.1"),
];

fn octets(name: &str) -> Vec<u8> {
    let path = format!("{}/sip-fixtures/torture/{name}.dat", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn source() -> SocketAddr {
    "198.51.100.7:41000".parse().unwrap()
}

fn outcome(octets: &[u8]) -> (Outcome, Option<Bytes>) {
    let refused = |ParseError { status, reason }| match ReplyHead::lenient(octets, source(), "ours")
    {
        Some(head) => (Answered(status, reason), Some(head.reply(status, reason).finish())),
        None => (Dropped, None),
    };
    let view = match MessageView::parse(octets, Framing::Datagram) {
        Ok(view) => view,
        Err(error) => return refused(error),
    };
    if !view.is_request() {
        return (Response(ResponseView::from_view(view).unwrap().status()), None);
    }
    if view.method() == "REGISTER" {
        return match RegisterRequest::from_view(&view) {
            Ok(_) => (Register, None),
            Err(error) => refused(error),
        };
    }
    let Some(answer) = answer_other(&view, source(), "ours", &CAPABILITIES) else {
        return (Dropped, None);
    };
    let status = ResponseView::parse(&answer, Framing::Stream).unwrap().status();
    (Answered(status, reason_phrase(status)), Some(answer))
}

#[test]
fn each_torture_message_gets_the_answer_it_deserves() {
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/sip-fixtures/torture"));
    let files = files.unwrap().filter(|file| {
        file.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "dat")
    });
    assert_eq!(files.count(), EXPECTED.len());
    for (name, expected, section) in EXPECTED {
        assert_eq!(outcome(&octets(name)).0, expected, "{name}, section {section}");
    }
}

#[test]
fn each_answer_is_a_well_formed_response_unless_it_repeats_what_is_malformed() {
    let malformed = [
        ("badaspec", "Malformed To"),
        ("baddn", "Malformed From"),
        ("badinv01", "Malformed Via"),
        ("badvers", "Malformed Via"),
        ("insuf", "Missing From"),
        ("quotbal", "Malformed To"),
        ("scalar02", "CSeq out of range"),
    ];
    for (name, _, _) in EXPECTED {
        let Some(answer) = outcome(&octets(name)).1 else { continue };
        let repeated = malformed.iter().find(|(other, _)| *other == name).map(|pair| pair.1);
        match MessageView::parse(&answer, Framing::Stream) {
            Ok(view) => {
                assert_eq!(repeated, None, "{name}");
                assert!(!view.is_request() && view.to_tag().is_some(), "{name}");
                assert_eq!(view.body(), b"", "{name}");
            }
            Err(error) => assert_eq!(repeated, Some(error.reason), "{name}"),
        }
    }
}

/// Reads a REGISTER and gives it to `check`.
fn register(name: &str, check: impl FnOnce(&RegisterRequest<'_>, &[Contact<'_>])) {
    let octets = octets(name);
    let view = MessageView::parse(&octets, Framing::Datagram).unwrap();
    let register = RegisterRequest::from_view(&view).unwrap();
    let contacts: Vec<_> = match register.contacts() {
        Contacts::List(contacts) => contacts.iter().collect(),
        Contacts::None | Contacts::Wildcard => vec![],
    };
    check(&register, &contacts);
}

#[test]
fn an_escaped_null_is_data_and_two_contacts_stay_two() {
    register("escnull", |register, contacts| {
        assert_eq!(register.aor().unwrap().as_str(), "sip:null-%00-null@example.com");
        let uris: Vec<_> = contacts.iter().map(|contact| contact.uri).collect();
        assert_eq!(uris, ["sip:%00@host5.example.com", "sip:%00%00@host5.example.com"]);
        let [a, b] = [uris[0], uris[1]].map(|uri| Uri::parse(uri).unwrap());
        assert!(!migcore::sip::uri::equivalent(&a, &b));
        assert_ne!(aor(&a).unwrap(), aor(&b).unwrap());
    });
}

#[test]
fn escapes_in_a_method_or_header_name_are_not_resolved() {
    let octets = octets("esc02");
    let view = MessageView::parse(&octets, Framing::Datagram).unwrap();
    assert_eq!(view.method(), "RE%47IST%45R");
    assert_eq!(RegisterRequest::from_view(&view).unwrap_err().status, 405);
    assert_eq!(view.values(migcore::sip::header::HeaderName::Contact).count(), 2);
    assert_eq!(view.header_named("C%6Fntact"), Some("<sip:alias2@host2.example.com>"));
}

#[test]
fn octets_behind_the_end_of_a_datagram_s_message_are_noise() {
    register("dblreq", |register, contacts| {
        assert_eq!(register.body(), b"");
        assert_eq!(contacts.len(), 1);
        assert_eq!(register.view().method(), "REGISTER");
    });
}

#[test]
fn an_unknown_authorization_scheme_is_no_credentials() {
    register("regaut01", |register, _| assert_eq!(register.credentials(), None));
}

#[test]
fn a_parameter_outside_angle_brackets_is_the_contact_s() {
    register("cparam01", |_, contacts| {
        assert_eq!(contacts[0].uri, "sip:+19725552222@gw1.example.net");
        assert_eq!(contacts[0].params, ";unknownparam");
    });
    register("cparam02", |_, contacts| {
        assert_eq!(contacts[0].uri, "sip:+19725552222@gw1.example.net;unknownparam");
        assert_eq!(contacts[0].params, "");
    });
}

#[test]
fn an_escaped_route_stays_with_the_contact() {
    register("regescrt", |_, contacts| {
        assert_eq!(contacts[0].uri, "sip:user@example.com?Route=%3Csip:sip.example.com%3E");
        let uri = Uri::parse(contacts[0].uri).unwrap();
        assert_eq!(uri.headers, "Route=%3Csip:sip.example.com%3E");
    });
}

#[test]
fn unsupported_names_what_is_required_and_lacking() {
    let answer = outcome(&octets("bext01")).1.unwrap();
    let response = ResponseView::parse(&answer, Framing::Stream).unwrap();
    assert_eq!(
        response.unsupported().collect::<Vec<_>>(),
        ["nothingSupportsThis", "nothingSupportsThisEither"]
    );
}
