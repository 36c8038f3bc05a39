//! Requests over a connection: what is answered with which code, octet by octet.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by a panic"
)]

mod diameter_support;

use bytes::BytesMut;
use diameter_support::{
    OwnedAvp, START, Vectors, changed, down_reason, hex, message, messages, octets_of,
    open_database, taken, unhex,
};
use migcore::diameter::{
    avp::AvpReader,
    cx::Request,
    dictionary,
    message::{self as wire, APPLICATION_CX, Header},
    peer::{Connection, DownReason, Event, PeerOutput},
};

/// What a fresh connection does with these octets.
fn given(vectors: &Vectors, octets: &[u8]) -> (Connection, Vec<Vec<u8>>, Vec<Event>) {
    let mut connection = open_database(vectors);
    let mut out = PeerOutput::default();
    connection.handle_octets(START, octets, &mut out);
    let (sent, events) = taken(&mut out);
    (connection, sent, events)
}

/// The error answer to `request`: result code and the data of Failed-AVP, everything else checked.
fn rejection_of(vectors: &Vectors, request: &[u8]) -> (u32, Vec<u8>) {
    let (_, sent, events) = given(vectors, request);
    assert!(!events.iter().any(|event| matches!(event, Event::Request { .. })), "{events:?}");
    let [answer] = &sent[..] else { panic!("one answer, not {}", sent.len()) };
    check_error_answer(request, answer)
}

fn check_error_answer(request: &[u8], answer: &[u8]) -> (u32, Vec<u8>) {
    let asked = Header {
        flags: request[4],
        command: u32::from_be_bytes([0, request[5], request[6], request[7]]),
        application: u32::from_be_bytes(request[8..12].try_into().unwrap()),
        hop_by_hop: u32::from_be_bytes(request[12..16].try_into().unwrap()),
        end_to_end: u32::from_be_bytes(request[16..20].try_into().unwrap()),
    };
    let answer = message(answer);
    let code = answer.find(&dictionary::RESULT_CODE).unwrap().unsigned32().unwrap();
    let error = if code / 1_000 == 3 { wire::FLAG_ERROR } else { 0 };
    let flags = asked.flags & wire::FLAG_PROXIABLE | error;
    assert_eq!(answer.header, Header { flags, ..asked });
    let text = |definition| answer.find(definition).map(|avp| avp.text().unwrap());
    assert_eq!(text(&dictionary::ORIGIN_HOST), Some(diameter_support::DATABASE));
    assert_eq!(text(&dictionary::ORIGIN_REALM), Some(diameter_support::REALM));
    let failed_avp = answer.find(&dictionary::FAILED_AVP);
    (code, failed_avp.map(|avp| avp.data.to_vec()).unwrap_or_default())
}

#[test]
fn published_invalid_requests_get_the_published_code_and_tolerated_ones_are_served() {
    let vectors = Vectors::load();
    let mut seen = 0;
    for vector in vectors.all("invalid_or_tolerated_requests") {
        let id = vector["id"].as_str().unwrap();
        let octets = octets_of(vector);
        let (connection, sent, events) = given(&vectors, &octets);
        let expect = &vector["expect"];
        seen += 1;
        if expect["ok"] == true {
            assert!(matches!(&events[..], [Event::Request { .. }]), "{id}: {events:?}");
            continue;
        }
        let (code, failed_avp) = check_error_answer(&octets, &sent[0]);
        assert_eq!(expect["result_code"], code, "{id}");
        if let Some(published) = expect["failed_avp"].as_str() {
            assert_eq!(hex(&failed_avp), published, "{id}");
        }
        // Where the next message begins is known unless version or length is wrong.
        let closes = matches!(code, 5011 | 5015);
        let reason = closes.then_some(DownReason::ProtocolError);
        assert_eq!((down_reason(&events), connection.is_open()), (reason, !closes), "{id}");
    }
    assert_eq!(seen, 11);
}

#[test]
fn an_invalid_avp_length_is_shown_by_a_valid_avp_header() {
    let vectors = Vectors::load();
    for id in ["avp-length-beyond-message", "avp-length-below-header"] {
        let (_, failed_avp) = rejection_of(&vectors, &vectors.octets(id));
        assert_eq!(hex(&failed_avp), "0000010740000008", "{id}");
    }
}

#[test]
fn each_required_avp_that_is_missing_is_named() {
    let vectors = Vectors::load();
    for (id, codes) in [
        ("mar-aka", &[263, 260, 277, 264, 296, 283, 1, 601, 612, 607, 602][..]),
        ("sar-registration", &[263, 260, 277, 264, 296, 283, 601, 602, 614, 624][..]),
    ] {
        for code in codes {
            let request = changed(&vectors.octets(id), |avps| avps.retain(|a| a.id.code != *code));
            let (result_code, failed_avp) = rejection_of(&vectors, &request);
            assert_eq!(result_code, 5005, "{id} without {code}");
            let mut example = AvpReader::new(&failed_avp);
            let example = example.next().unwrap().unwrap();
            let definition = dictionary::definition(example.id).unwrap();
            assert_eq!((example.id.code, example.flags), (*code, definition.flags()));
            assert!(example.data.iter().all(|octet| *octet == 0), "{id} without {code}");
            assert_eq!(example.data.len(), definition.format.octets_min());
        }
    }
}

/// Sets the data of the AVP with this code.
fn with_data(octets: &[u8], code: u32, data: &[u8]) -> Vec<u8> {
    changed(octets, |avps| {
        avps.iter_mut().find(|avp| avp.id.code == code).unwrap().data = data.to_vec();
    })
}

fn scheme(text: &str) -> Vec<u8> {
    OwnedAvp::new(10_415, 608, 0xc0, text.as_bytes()).encoded()
}

#[test]
fn values_that_mean_nothing_are_given_back() {
    let vectors = Vectors::load();
    let mar = vectors.octets("mar-aka");
    let sar = vectors.octets("sar-registration");
    let short_resync = OwnedAvp::new(10_415, 610, 0xc0, &[7; 29]);
    let item_data = [scheme("Digest-AKAv1-MD5"), short_resync.encoded()].concat();
    let long_name = vec![b'x'; 1_025];
    let cases: [(Vec<u8>, u32, OwnedAvp); 10] = [
        (with_data(&mar, 1, b"alice"), 5004, OwnedAvp::new(0, 1, 0x40, b"alice")),
        (with_data(&mar, 1, b"\xff\xfe"), 5004, OwnedAvp::new(0, 1, 0x40, b"\xff\xfe")),
        (with_data(&mar, 601, b"alice"), 5004, OwnedAvp::new(10_415, 601, 0xc0, b"alice")),
        (with_data(&mar, 602, b""), 5004, OwnedAvp::new(10_415, 602, 0xc0, b"")),
        (with_data(&mar, 602, &long_name), 5004, OwnedAvp::new(10_415, 602, 0xc0, &long_name)),
        (with_data(&mar, 277, &[0, 0, 0, 2]), 5004, OwnedAvp::new(0, 277, 0x40, &[0, 0, 0, 2])),
        (with_data(&mar, 260, b""), 5004, OwnedAvp::new(0, 260, 0x40, b"")),
        (
            with_data(&mar, 612, &item_data),
            5004,
            OwnedAvp::new(10_415, 612, 0xc0, &short_resync.encoded()),
        ),
        (with_data(&mar, 612, b""), 5005, OwnedAvp::new(10_415, 612, 0xc0, &scheme(""))),
        (
            with_data(&sar, 614, &[0, 0, 0, 15]),
            5004,
            OwnedAvp::new(10_415, 614, 0xc0, &[0, 0, 0, 15]),
        ),
    ];
    for (request, code, failed_avp) in cases {
        let (result_code, found) = rejection_of(&vectors, &request);
        assert_eq!((result_code, hex(&found)), (code, hex(&failed_avp.encoded())));
    }
}

#[test]
fn avps_too_many_forbidden_flagged_wrongly_or_too_short_are_given_back() {
    let vectors = Vectors::load();
    let mar = vectors.octets("mar-aka");
    let user_name = OwnedAvp::new(0, 1, 0x40, b"other@x.example");
    let result = OwnedAvp::new(0, 268, 0x40, &[0, 0, 7, 0xd1]);
    let reserved = OwnedAvp::new(0, 33, 0x01, b"x");
    let short = OwnedAvp::new(0, 278, 0x40, &[1]);
    let unknown = OwnedAvp::new(50, 7, 0xc0, b"abc");
    let nested = OwnedAvp::new(10_415, 628, 0x80, &unknown.encoded());
    let session_ids = OwnedAvp::new(0, 263, 0x40, b"second");
    for (extra, code, failed_avp) in [
        (user_name.clone(), 5009, user_name),
        (session_ids.clone(), 5009, session_ids),
        (result.clone(), 5008, result),
        (reserved.clone(), 3009, reserved),
        (short, 5014, OwnedAvp::new(0, 278, 0x40, &[0; 4])),
        (nested, 5001, OwnedAvp::new(10_415, 628, 0xc0, &unknown.encoded())),
    ] {
        let request = changed(&mar, |avps| avps.push(extra));
        let (result_code, found) = rejection_of(&vectors, &request);
        assert_eq!((result_code, hex(&found)), (code, hex(&failed_avp.encoded())));
    }
}

#[test]
fn more_public_identities_than_the_maximum_are_refused() {
    let vectors = Vectors::load();
    let impu = OwnedAvp::new(10_415, 601, 0xc0, b"sip:x@x.example");
    let sar = |extra: usize| {
        changed(&vectors.octets("sar-registration"), |avps| {
            avps.extend(std::iter::repeat_n(impu.clone(), extra));
        })
    };
    let (_, _, events) = given(&vectors, &sar(63));
    assert!(matches!(&events[..], [Event::Request { .. }]), "{events:?}");
    assert_eq!(rejection_of(&vectors, &sar(64)), (5009, impu.encoded()));
}

#[test]
fn other_commands_of_cx_are_unsupported_and_other_applications_too() {
    let vectors = Vectors::load();
    for id in ["uar", "lir", "rtr", "ppr"] {
        assert_eq!(rejection_of(&vectors, &vectors.octets(id)).0, 3001, "{id}");
    }
    let mut unknown_base = vectors.octets("dwr");
    unknown_base[7] = 0xff;
    assert_eq!(rejection_of(&vectors, &unknown_base).0, 3001);
    let mut error_base = vectors.octets("dwr");
    error_base[4] = 0xa0;
    assert_eq!(rejection_of(&vectors, &error_base).0, 3008);
    let mut relay = vectors.octets("mar-aka");
    relay[8..12].copy_from_slice(&[0xff; 4]);
    assert_eq!(rejection_of(&vectors, &relay).0, 3007);
}

#[test]
fn broken_requests_of_the_base_protocol_are_answered_and_the_connection_stays() {
    let vectors = Vectors::load();
    let dwr = changed(&vectors.octets("dwr"), |avps| avps.retain(|avp| avp.id.code != 264));
    assert_eq!(rejection_of(&vectors, &dwr), (5005, unhex("0000010840000008")));
    let dpr = with_data(&vectors.octets("dpr"), 273, &[0, 0, 0, 9]);
    assert_eq!(rejection_of(&vectors, &dpr), (5004, unhex("000001114000000c00000009")));
}

#[test]
fn error_answers_echo_session_identities_and_proxy_info() {
    let vectors = Vectors::load();
    let proxy_host = OwnedAvp::new(0, 280, 0x40, b"dra.example");
    let proxy_state = OwnedAvp::new(0, 33, 0x40, b"\x01\x02\x03");
    let proxy_info =
        OwnedAvp::new(0, 284, 0x40, &[proxy_host.encoded(), proxy_state.encoded()].concat());
    let second = OwnedAvp::new(0, 284, 0x40, &proxy_state.encoded());
    let mar = changed(&vectors.octets("mar-aka"), |avps| {
        avps.extend([proxy_info.clone(), second.clone()]);
    });
    for (code, request) in [
        (5005, changed(&mar, |avps| avps.retain(|avp| avp.id.code != 602))),
        (3009, changed(&mar, |avps| avps.push(OwnedAvp::new(0, 33, 0x10, b"")))),
    ] {
        let (_, sent, _) = given(&vectors, &request);
        let answer = message(&sent[0]);
        let texts = [&dictionary::SESSION_ID, &dictionary::USER_NAME, &dictionary::PUBLIC_IDENTITY]
            .map(|definition| answer.find(definition).unwrap().text().unwrap());
        let user = "inbound-4711@sip.partner.example";
        assert_eq!(
            texts,
            ["scscf.sip.partner.example;1876543210;2", user, &format!("sip:{user}")],
            "{code}"
        );
        let echoed: Vec<_> =
            answer.avps().all(&dictionary::PROXY_INFO).map(|avp| OwnedAvp::of(&avp)).collect();
        assert_eq!(echoed, [proxy_info.clone(), second.clone()], "{code}");
        assert_eq!(answer.find(&dictionary::RESULT_CODE).unwrap().unsigned32(), Some(code));
    }
}

#[test]
fn what_cannot_be_kept_for_the_answer_is_refused() {
    let vectors = Vectors::load();
    let mar = vectors.octets("mar-aka");
    let long = vec![b'a'; 1_025];
    let session_id = OwnedAvp::new(0, 263, 0x40, &long);
    assert_eq!(rejection_of(&vectors, &with_data(&mar, 263, &long)), (5004, session_id.encoded()));
    let proxy_info = OwnedAvp::new(0, 284, 0x40, &OwnedAvp::new(0, 33, 0, &[1; 4_084]).encoded());
    let request = changed(&mar, |avps| avps.push(proxy_info));
    assert_eq!(rejection_of(&vectors, &request), (5012, Vec::new()));
}

#[test]
fn the_longest_message_is_read_and_a_longer_one_closes() {
    let vectors = Vectors::load();
    let mar = vectors.octets("mar-aka");
    let filler = |octets: usize| {
        let avp = OwnedAvp::new(50, 1, 0x80, &vec![7; octets]);
        changed(&mar, |avps| avps.push(avp))
    };
    let room = wire::MESSAGE_OCTETS_MAX - mar.len() - 12;
    let longest = filler(room);
    assert_eq!(longest.len(), wire::MESSAGE_OCTETS_MAX);
    let (_, _, events) = given(&vectors, &longest);
    assert!(matches!(&events[..], [Event::Request { .. }]), "{events:?}");
    let mut longer = longest;
    longer[1..4].copy_from_slice(&[1, 0, 4]);
    assert_eq!(rejection_of(&vectors, &longer), (5015, Vec::new()));
}

#[test]
fn captured_requests_of_kamailio_are_served() {
    let vectors = Vectors::load();
    let mut connection = open_database(&vectors);
    let mut out = PeerOutput::default();
    let octets = ["kamailio-dwr", "kamailio-mar", "kamailio-mar-resync"]
        .map(|id| vectors.octets(id))
        .concat();
    connection.handle_octets(START, &octets, &mut out);
    let (sent, events) = taken(&mut out);
    let [Event::Request { request: first, .. }, Event::Request { request: second, .. }] =
        &events[..]
    else {
        panic!("{events:?}")
    };
    let (Request::MultimediaAuth(first), Request::MultimediaAuth(second)) = (first, second) else {
        panic!("two MARs")
    };
    assert!(first.resync.is_none() && second.resync.is_some());
    assert_eq!(message(&sent[0]).find(&dictionary::RESULT_CODE).unwrap().unsigned32(), Some(2001));
    assert_eq!(sent.len(), 1);
}

#[test]
fn a_message_without_the_p_bit_is_answered_without_it() {
    let vectors = Vectors::load();
    let mut request = vectors.octets("unknown-command");
    request[4] = 0x80;
    assert_eq!(rejection_of(&vectors, &request).0, 3001);
}

#[test]
fn answers_out_of_the_blue_are_dropped() {
    let vectors = Vectors::load();
    for id in ["maa-aka", "saa-success", "rta", "dwa", "cea-success", "dpa"] {
        let (connection, sent, events) = given(&vectors, &vectors.octets(id));
        assert!(sent.is_empty() && events.is_empty() && connection.is_open(), "{id}: {events:?}");
    }
}

#[test]
fn an_empty_request_of_cx_names_the_first_required_avp() {
    let vectors = Vectors::load();
    let header = Header {
        flags: 0xc0,
        command: wire::command::MULTIMEDIA_AUTH,
        application: APPLICATION_CX,
        hop_by_hop: 1,
        end_to_end: 2,
    };
    let mut request = BytesMut::new();
    wire::write(&mut request, &header, |_| ()).unwrap();
    assert_eq!(rejection_of(&vectors, &request), (5005, unhex("0000010740000008")));
    assert_eq!(messages(&request).len(), 1);
}
