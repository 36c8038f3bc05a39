//! What it costs to read one REGISTER of 1.4 kB and to write its answers.
//!
//! `cargo bench --no-default-features --bench sip_parse`. Every element is one message. Allocations
//! are counted in `tests/sip_alloc.rs`, where they can fail.
//!
//! Read bottom up: "limit/line ends" finds all line ends by `memchr` and "limit/UTF-8" checks that the
//! same octets are text, which every reader has to do; "view" does both, and checks what each message
//! must have; "view and typed access" reads all that a registrar reads; "rsip" is the library that does
//! less of it. The rest of the group is what a registrar pays beyond, field by field.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use std::{hint::black_box, net::SocketAddr};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use migcore::{
    entropy::Entropy,
    sip::{
        Framing,
        auth_header::{DigestChallenge, DigestCredentials},
        header::HeaderName,
        name_addr::Contacts,
        register::RegisterRequest,
        reply::{ReplyHead, reason_phrase, reply_destination},
        response::ResponseView,
        stream::{Frame, StreamFramer},
        transaction::TransactionHasher,
        view::MessageView,
    },
};
use rsip::prelude::{HeadersExt, ToTypedHeader, UntypedHeader};

const IMS: &[u8] = include_bytes!("../sip-fixtures/register/ims.sip");
const INITIAL: &[u8] = include_bytes!("../sip-fixtures/register/ims-initial.sip");

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(50)
        .nresamples(2_000)
        .without_plots()
        .warm_up_time(std::time::Duration::from_millis(500))
        .measurement_time(std::time::Duration::from_secs(2));
    targets = read, write
}
criterion_main!(benches);

fn read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read");
    group.throughput(Throughput::Elements(1));
    group.bench_function("limit/line ends", |b| {
        b.iter(|| memchr::memchr_iter(b'\r', black_box(IMS)).sum::<usize>());
    });
    group.bench_function("limit/UTF-8", |b| {
        b.iter(|| std::str::from_utf8(black_box(IMS)).unwrap().len());
    });
    group.bench_function("view", |b| {
        b.iter(|| MessageView::parse(black_box(IMS), Framing::Datagram).unwrap().call_id().len());
    });
    group.bench_function("view and typed access", |b| b.iter(|| typed(black_box(IMS))));
    group.bench_function("view and typed access, initial", |b| {
        b.iter(|| typed(black_box(INITIAL)));
    });
    group.bench_function("Authorization", |b| {
        let view = MessageView::parse(IMS, Framing::Datagram).unwrap();
        let value = view.header(HeaderName::Authorization).unwrap();
        b.iter(|| DigestCredentials::parse(black_box(value)).unwrap().response.len());
    });
    group.bench_function("address of record", |b| {
        let view = MessageView::parse(IMS, Framing::Datagram).unwrap();
        let register = RegisterRequest::from_view(&view).unwrap();
        b.iter(|| black_box(&register).aor().unwrap());
    });
    group.bench_function("reply destination", |b| {
        let view = MessageView::parse(IMS, Framing::Datagram).unwrap();
        b.iter(|| reply_destination(black_box(&view), source()));
    });
    group.bench_function("view of a 401", |b| {
        let answer = challenge(&head());
        b.iter(|| {
            let view = ResponseView::parse(black_box(&answer), Framing::Datagram).unwrap();
            view.challenges().next().unwrap().nonce.len()
        });
    });
    group.bench_function("transaction key", |b| {
        let hasher = TransactionHasher::new(&mut Zeros);
        let view = MessageView::parse(IMS, Framing::Datagram).unwrap();
        b.iter(|| hasher.key(black_box(&view)));
    });
    group.bench_function("stream", |b| {
        let mut framer = StreamFramer::new();
        b.iter(|| {
            framer.push(black_box(IMS)).unwrap();
            let Ok(Some(Frame::Message(octets))) = framer.next_frame() else { panic!("complete") };
            octets.len()
        });
    });
    group.bench_function("rsip", |b| {
        b.iter(|| rsip::Request::try_from(black_box(IMS)).unwrap().headers.iter().count());
    });
    group.bench_function("rsip and typed access but Authorization", |b| {
        b.iter(|| typed_by_rsip(black_box(IMS)));
    });
}

fn write(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("write");
    group.throughput(Throughput::Elements(1));
    group.bench_function("head of the answers", |b| {
        let view = MessageView::parse(IMS, Framing::Datagram).unwrap();
        b.iter(|| ReplyHead::new(black_box(&view), source(), "4fa3"));
    });
    group.bench_function("401", |b| {
        let head = head();
        b.iter(|| challenge(black_box(&head)));
    });
}

/// Reads all that a registrar reads; what comes back keeps it from being optimized away.
fn typed(octets: &[u8]) -> usize {
    let view = MessageView::parse(octets, Framing::Datagram).unwrap();
    let register = RegisterRequest::from_view(&view).unwrap();
    let credentials = register.credentials().unwrap();
    let Contacts::List(contacts) = register.contacts() else { panic!("a list") };
    let contacts = contacts.iter().map(|contact| contact.uri.len() + contact.params.len());
    register.to_uri().host.len()
        + register.call_id().len()
        + usize::try_from(register.cseq()).unwrap()
        + register.top_via().host.len()
        + register.from_tag().map_or(0, str::len)
        + contacts.sum::<usize>()
        + register.paths().map(str::len).sum::<usize>()
        + register.requires().map(str::len).sum::<usize>()
        + usize::from(register.supports("path"))
        + credentials.username.len()
        + credentials.response.len()
}

/// The same by rsip, but for Authorization: its typed header refuses `AKAv1-MD5`.
fn typed_by_rsip(octets: &[u8]) -> usize {
    let request = rsip::Request::try_from(octets).unwrap();
    let to = request.to_header().unwrap().typed().unwrap();
    let from = request.from_header().unwrap().typed().unwrap();
    let via = request.via_header().unwrap().typed().unwrap();
    let cseq = request.cseq_header().unwrap().typed().unwrap();
    request.call_id_header().unwrap().value().len()
        + to.uri.host().to_string().len()
        + from.tag().map_or(0, |tag| tag.value().len())
        + via.uri.host().to_string().len()
        + usize::try_from(cseq.seq).unwrap()
        + request.contact_header().unwrap().value().len()
}

fn challenge(head: &ReplyHead) -> Bytes {
    let challenge = DigestChallenge {
        realm: "ims.mnc001.mcc001.3gppnetwork.org".into(),
        nonce: "I1U+SjY1hKB1ChLgbKSZkm3Qf55NuoAAMEn9kyWQ6cA=".into(),
        algorithm: Some("AKAv1-MD5".into()),
        qop: Some("auth,auth-int".into()),
        ..DigestChallenge::default()
    };
    head.reply(401, reason_phrase(401)).header("WWW-Authenticate", challenge).finish()
}

fn head() -> ReplyHead {
    let view = MessageView::parse(IMS, Framing::Datagram).unwrap();
    ReplyHead::new(&view, source(), "4fa3")
}

fn source() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 17], 5060))
}

struct Zeros;

impl Entropy for Zeros {
    fn fill(&mut self, out: &mut [u8]) {
        out.fill(0);
    }
}
