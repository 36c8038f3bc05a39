//! Reading a REGISTER allocates nothing.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "test code")]

mod counting;

use std::net::SocketAddr;

use counting::allocations;
use migcore::{
    entropy::Entropy,
    sip::{
        Framing,
        name_addr::Contacts,
        register::RegisterRequest,
        render::Chunk,
        reply::{ReplyHead, reply_destination},
        response::ResponseView,
        transaction::TransactionHasher,
        uri::{Uri, equivalent},
        view::MessageView,
    },
};

const IMS: &[u8] = include_bytes!("../sip-fixtures/register/ims.sip");

fn source() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 17], 5060))
}

/// Reads the message by every accessor but `aor`, which makes an owned identity.
fn read_all(octets: &[u8], hasher: &TransactionHasher) -> usize {
    let view = MessageView::parse(octets, Framing::Datagram).unwrap();
    let register = RegisterRequest::from_view(&view).unwrap();
    let contacts = match register.contacts() {
        Contacts::None => 0,
        Contacts::Wildcard => 1,
        Contacts::List(contacts) => contacts
            .iter()
            .map(|contact| {
                let uri = Uri::parse(contact.uri).unwrap();
                assert!(equivalent(&uri, &uri));
                contact.instance.map_or(0, str::len) + contact.params.len()
            })
            .sum(),
    };
    let credentials = register.credentials().unwrap();
    assert_eq!(register.credentials_for(&credentials.realm).as_ref(), Some(&credentials));
    register.request_uri().len()
        + register.to_uri().host.len()
        + register.from_tag().map_or(0, str::len)
        + register.to_tag().map_or(0, str::len)
        + register.call_id().len()
        + usize::try_from(register.cseq()).unwrap()
        + register.top_via().branch.map_or(0, str::len)
        + register.vias().map(str::len).sum::<usize>()
        + contacts
        + usize::try_from(register.expires().unwrap_or_default()).unwrap()
        + register.paths().map(str::len).sum::<usize>()
        + usize::from(register.supports("path"))
        + register.requires().count()
        + register.proxy_requires().count()
        + register.body().len()
        + view.headers().map(|(name, value)| name.len() + value.len()).sum::<usize>()
        + view.header_named("P-Visited-Network-ID").map_or(0, str::len)
        + usize::from(reply_destination(&view, source()).port())
        + (hasher.key(&view) & 1) as usize
}

#[test]
fn an_ims_register_is_read_without_an_allocation() {
    let hasher = TransactionHasher::new(&mut Zeros);
    let (count, sum) = allocations(|| read_all(IMS, &hasher));
    assert_eq!(count, 0);
    assert!(sum > IMS.len());
}

#[test]
fn a_challenge_is_read_without_an_allocation() {
    let octets = b"SIP/2.0 401 Unauthorized\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKa\r\n\
        From: <sip:a@h>;tag=1\r\nTo: <sip:a@h>;tag=2\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\n\
        WWW-Authenticate: Digest realm=\"h\",nonce=\"bg==\",algorithm=AKAv1-MD5,qop=\"auth\"\r\n\r\n";
    let (count, nonce) = allocations(|| {
        let response = ResponseView::parse(octets, Framing::Datagram).unwrap();
        response.challenges().map(|challenge| challenge.nonce.len()).sum::<usize>()
    });
    assert_eq!((count, nonce), (0, 4));
}

#[test]
fn a_refused_message_costs_no_allocation() {
    let (count, ()) = allocations(|| {
        for end in 0..IMS.len() {
            MessageView::parse(&IMS[..end], Framing::Datagram).unwrap_err();
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn a_register_and_its_401_cost_no_allocation() {
    let (mut parts, mut messages) = (Chunk::default(), Chunk::default());
    let mut answer = || {
        let view = MessageView::parse(IMS, Framing::Datagram).unwrap();
        let head = ReplyHead::new_in(&mut parts, &view, source(), "4fa3");
        let reply = head.reply_in(&mut messages, 401, "Unauthorized");
        let octets = reply.header("WWW-Authenticate", CHALLENGE).finish_in(&mut messages);
        assert!(octets.starts_with(b"SIP/2.0 401 Unauthorized\r\n"));
    };
    answer(); // what they are written into is used again and again from here on
    let (count, ()) = allocations(|| (0..1_000).for_each(|_| answer()));
    assert_eq!(count, 0);
}

const CHALLENGE: &str = "Digest realm=\"ims.example\", nonce=\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\", \
                         algorithm=AKAv1-MD5, qop=\"auth\"";

struct Zeros;

impl Entropy for Zeros {
    fn fill(&mut self, out: &mut [u8]) {
        out.fill(0);
    }
}
