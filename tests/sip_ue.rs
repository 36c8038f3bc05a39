//! The UE's side: the REGISTER it writes and the answers it reads; transactions by their keys.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "test code")]

mod common;

use common::Seeded;
use migcore::sip::{
    AuthenticationInfo, Framing,
    auth_header::DigestCredentials,
    name_addr::Contacts,
    register::RegisterRequest,
    request::{ContactToSend, RegisterBuilder},
    response::ResponseView,
    transaction::TransactionHasher,
    view::MessageView,
};

fn builder<'a>() -> RegisterBuilder<'a> {
    RegisterBuilder {
        request_uri: "sip:home.example",
        transport: "UDP",
        sent_by: "192.0.2.1:5070",
        branch: "z9hG4bKone",
        aor: "sip:alice@home.example",
        from_tag: "f",
        call_id: "call@192.0.2.1",
        cseq: 41,
        supported: "path, gruu",
        ..RegisterBuilder::default()
    }
}

#[test]
fn a_registrar_reads_what_a_ue_writes() {
    let credentials = DigestCredentials {
        username: "alice@home.example".into(),
        realm: "home.example".into(),
        uri: "sip:home.example".into(),
        ..DigestCredentials::default()
    };
    let octets = RegisterBuilder {
        contact: ContactToSend::Uri {
            uri: "sip:alice@192.0.2.1:5070",
            expires: Some(600_000),
            params: ";+sip.instance=\"<urn:uuid:0>\";reg-id=1;q=0.25",
        },
        expires: Some(3600),
        path: &["<sip:p1;lr>", "<sip:p2;lr>"],
        credentials: Some(credentials.clone()),
        extra: &[("Require", "path"), ("X", "a\r\nEvil: b")],
        body: b"body",
        ..builder()
    }
    .build();
    let view = MessageView::parse(&octets, Framing::Stream).unwrap();
    let register = RegisterRequest::from_view(&view).unwrap();
    assert_eq!(register.request_uri(), "sip:home.example");
    assert_eq!(register.aor().unwrap().as_str(), "sip:alice@home.example");
    assert_eq!((register.call_id(), register.cseq()), ("call@192.0.2.1", 41));
    assert_eq!(register.top_via().branch, Some("z9hG4bKone"));
    let Contacts::List(contacts) = register.contacts() else { panic!("a list") };
    let contact = contacts.iter().next().unwrap();
    assert_eq!((contact.uri, contact.expires), ("sip:alice@192.0.2.1:5070", Some(600_000)));
    assert_eq!((contact.instance, contact.reg_id), (Some("urn:uuid:0"), Some(1)));
    assert_eq!(contact.q, Some(250));
    assert_eq!(register.expires(), Some(3600));
    assert_eq!(register.paths().collect::<Vec<_>>(), ["<sip:p1;lr>", "<sip:p2;lr>"]);
    assert_eq!(register.credentials(), Some(credentials));
    assert_eq!(register.body(), b"body");
    assert_eq!(view.header_named("Evil"), None);
}

#[test]
fn a_ue_asks_for_its_contacts_or_removes_all() {
    let octets = builder().build();
    let view = MessageView::parse(&octets, Framing::Stream).unwrap();
    let register = RegisterRequest::from_view(&view).unwrap();
    assert!(matches!(register.contacts(), Contacts::None));
    let octets =
        RegisterBuilder { contact: ContactToSend::Wildcard, expires: Some(0), ..builder() }.build();
    let view = MessageView::parse(&octets, Framing::Stream).unwrap();
    let register = RegisterRequest::from_view(&view).unwrap();
    assert!(matches!(register.contacts(), Contacts::Wildcard));
}

fn response(first: &str, further: &str) -> Vec<u8> {
    format!(
        "SIP/2.0 {first}\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKone;rport=5;received=1.2.3.4\
         \r\nFrom: <sip:a@h>;tag=f\r\nTo: <sip:a@h>;tag=t\r\nCall-ID: c\r\nCSeq: 41 REGISTER\r\n\
         {further}Content-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

#[test]
fn a_ue_reads_challenges_in_the_network_s_order() {
    let octets = response(
        "401 Unauthorized",
        "WWW-Authenticate: Basic realm=\"x\"\r\n\
         WWW-Authenticate: Digest realm=\"h\",nonce=\"bm9uY2U=\",algorithm=AKAv2-SHA-256,\
         qop=\"auth,auth-int\",opaque=\"o\",ik=\"00\",ck=\"11\"\r\n\
         WWW-Authenticate: Digest realm=\"h\",nonce=\"bg==\",algorithm=AKAv1-MD5,stale=true\r\n",
    );
    let response = ResponseView::parse(&octets, Framing::Datagram).unwrap();
    assert_eq!((response.status(), response.cseq(), response.call_id()), (401, 41, "c"));
    assert_eq!((response.top_via_branch(), response.method()), (Some("z9hG4bKone"), "REGISTER"));
    let challenges: Vec<_> = response.challenges().collect();
    assert_eq!(challenges.len(), 2);
    assert_eq!(challenges[0].algorithm.as_deref(), Some("AKAv2-SHA-256"));
    assert!(challenges[0].offers_qop("auth-int") && !challenges[0].stale);
    assert_eq!(challenges[0].opaque.as_deref(), Some("o"));
    assert!(challenges[1].stale && !challenges[1].offers_qop("auth"));
}

#[test]
fn a_ue_reads_what_a_200_tells() {
    let octets = response(
        "200 OK",
        "Contact: <sip:a@1.2.3.4>;expires=3600, <sip:a@5.6.7.8>;expires=60\r\n\
         Service-Route: <sip:s1;lr>, <sip:s2;lr>\r\n\
         P-Associated-URI: <sip:a@h>, \"Alice, A\" <tel:+1>\r\n\
         Authentication-Info: rspauth=\"00ff\", qop=auth\r\n",
    );
    let response = ResponseView::parse(&octets, Framing::Datagram).unwrap();
    let contacts: Vec<_> = response.contacts().map(|c| (c.uri, c.expires)).collect();
    assert_eq!(contacts, [("sip:a@1.2.3.4", Some(3600)), ("sip:a@5.6.7.8", Some(60))]);
    assert_eq!(response.service_route().collect::<Vec<_>>(), ["<sip:s1;lr>", "<sip:s2;lr>"]);
    assert_eq!(response.associated_uris().collect::<Vec<_>>(), ["sip:a@h", "tel:+1"]);
    assert_eq!(
        response.authentication_info(),
        Some(AuthenticationInfo {
            rspauth: Some("00ff".into()),
            qop: Some("auth"),
            ..AuthenticationInfo::default()
        })
    );
    assert_eq!((response.min_expires(), response.retry_after()), (None, None));
}

#[test]
fn a_ue_reads_why_it_is_refused() {
    let octets = response(
        "423 Interval Too Brief",
        "Min-Expires: 900\r\nRetry-After: 18 (busy); duration=3600\r\nUnsupported: a, b\r\n",
    );
    let response = ResponseView::parse(&octets, Framing::Datagram).unwrap();
    assert_eq!((response.min_expires(), response.retry_after()), (Some(900), Some(18)));
    assert_eq!(response.unsupported().collect::<Vec<_>>(), ["a", "b"]);
    assert!(ResponseView::parse(&builder().build(), Framing::Datagram).is_err());
}

#[test]
fn a_retransmission_has_the_key_of_its_transaction_and_nothing_else_has() {
    let hasher = TransactionHasher::new(&mut Seeded(1));
    let key = |octets: &[u8]| hasher.key(&MessageView::parse(octets, Framing::Datagram).unwrap());
    let request = |start: &str, via: &str, to: &str, cseq: &str| {
        format!(
            "{start} SIP/2.0\r\nVia: SIP/2.0/UDP {via}\r\nFrom: <sip:a@h>;tag=f\r\nTo: {to}\r\n\
             Call-ID: c\r\nCSeq: {cseq}\r\n\r\n"
        )
        .into_bytes()
    };
    let (register, to, cseq) = ("REGISTER sip:h", "<sip:a@h>", "1 REGISTER");
    let base = key(&request(register, "h;branch=z9hG4bKa", to, cseq));
    for (same, octets) in [
        (true, request(register, "h;branch=z9hG4bKa", to, cseq)),
        (true, request(register, "H;branch=z9hG4bKa;rport", "<sip:b@h>", "2 REGISTER")),
        (false, request(register, "h;branch=z9hG4bKb", to, cseq)),
        (false, request(register, "h:5060;branch=z9hG4bKa", to, cseq)),
        (false, request(register, "g;branch=z9hG4bKa", to, cseq)),
        (false, request("OPTIONS sip:h", "h;branch=z9hG4bKa", to, "1 OPTIONS")),
    ] {
        assert_eq!(key(&octets) == base, same, "{}", String::from_utf8_lossy(&octets));
    }
    let base = key(&request(register, "h;branch=1", to, cseq));
    for (same, octets) in [
        (true, request(register, "h;branch=1", to, cseq)),
        (false, request(register, "h;branch=1", to, "2 REGISTER")),
        (false, request(register, "h;branch=1", "<sip:a@h>;tag=t", cseq)),
        (false, request("REGISTER sip:g", "h;branch=1", to, cseq)),
        (false, request(register, "h;branch=1;x", to, cseq)),
        (false, request(register, "h;branch=z9hG4bK", to, cseq)),
    ] {
        assert_eq!(key(&octets) == base, same, "{}", String::from_utf8_lossy(&octets));
    }
    let other = TransactionHasher::new(&mut Seeded(2));
    let octets = request(register, "h;branch=1", to, cseq);
    let view = MessageView::parse(&octets, Framing::Datagram).unwrap();
    assert_ne!(other.key(&view), base, "keyed");
}
