//! Encoding and decoding of the vector request and its answer, and both through a connection.

#![allow(clippy::panic, missing_docs, reason = "a benchmark fails by a panic")]

use std::{hint::black_box, sync::Arc};

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use migcore::{
    aka::AuthVector,
    diameter::{
        context::RequestContext,
        cx::{
            Answer, MultimediaAuthAnswer, MultimediaAuthRequest, Request, ResultCode, SCHEME_AKA_V1,
        },
        cx_codec::{
            Destination, Envelope, decode_answer, decode_request, encode_answer, encode_request,
        },
        local::{LocalNode, Origin},
        message::Message,
        peer::{AllowedPeers, Config, Connection, Event, PeerOutput, Timing},
    },
    entropy::Entropy,
    identity::{Impi, Impu, UserIdentity},
    secret::SecretBytes,
    time::Timestamp,
};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

struct Zeros;

impl Entropy for Zeros {
    fn fill(&mut self, out: &mut [u8]) {
        out.fill(0);
    }
}

fn origin(host: &str) -> Origin {
    Origin {
        host: host.parse().expect("an FQDN"),
        realm: "sip.partner.example".parse().expect("an FQDN"),
    }
}

fn destination() -> Destination {
    Destination { realm: origin("a.example").realm, host: None }
}

fn request() -> Request {
    Request::MultimediaAuth(MultimediaAuthRequest {
        identity: UserIdentity {
            impi: Impi::parse("inbound-4711@sip.partner.example").expect("a NAI"),
            impu: Impu::parse("sip:inbound-4711@sip.partner.example").expect("a SIP URI"),
        },
        scheme: SCHEME_AKA_V1.to_owned(),
        resync: None,
        server_name: "sip:scscf.sip.partner.example:6060".to_owned(),
    })
}

fn answer(request: &Request) -> Answer {
    let Request::MultimediaAuth(request) = request else { panic!("an MAR") };
    Answer::MultimediaAuth(MultimediaAuthAnswer {
        result: ResultCode::SUCCESS,
        identity: request.identity.clone(),
        scheme: request.scheme.clone(),
        vector: Some(AuthVector {
            rand: [1; 16],
            autn: [2; 16],
            xres: SecretBytes::new(&[3; 8]),
            ck: SecretBytes::new(&[4; 16]),
            ik: SecretBytes::new(&[5; 16]),
        }),
    })
}

fn split(octets: &[u8]) -> Message<'_> {
    Message::split(octets).expect("framing").expect("a whole message").0
}

fn codec(criterion: &mut Criterion) {
    let (core, database) = (origin("scscf.partner.example"), origin("sipdb.partner.example"));
    let (request, destination) = (request(), destination());
    let answer = answer(&request);
    let envelope = Envelope {
        session_id: "scscf.partner.example;1800000000;1",
        hop_by_hop: 1,
        end_to_end: 2,
        origin: &core,
        destination: &destination,
    };
    let (mut mar, mut maa, mut out) = (BytesMut::new(), BytesMut::new(), BytesMut::new());
    encode_request(&envelope, &request, &mut mar).expect("fits");
    let mut context = RequestContext::new(0, split(&mar).header);
    context.keep(&split(&mar)).expect("fits");
    encode_answer(&context, &database, &answer, &mut maa).expect("fits");

    let mut group = criterion.benchmark_group("diameter");
    group.throughput(Throughput::Elements(1));
    group.bench_function("encode_mar", |bencher| {
        bencher.iter(|| {
            out.clear();
            encode_request(&envelope, black_box(&request), &mut out)
        });
    });
    group.bench_function("decode_mar", |bencher| {
        bencher.iter(|| decode_request(&split(black_box(&mar))));
    });
    group.bench_function("encode_maa", |bencher| {
        bencher.iter(|| {
            out.clear();
            encode_answer(&context, &database, black_box(&answer), &mut out)
        });
    });
    group.bench_function("decode_maa", |bencher| {
        bencher.iter(|| decode_answer(&split(black_box(&maa)), &request));
    });
    group.finish();
}

fn node(host: &str, peer: &str) -> Config {
    Config {
        local: Arc::new(LocalNode::new(origin(host), vec![[127, 0, 0, 1].into()], NOW, &mut Zeros)),
        allowed: AllowedPeers::Only(peer.parse().expect("an FQDN")),
        timing: Timing::default(),
    }
}

fn connection(criterion: &mut Criterion) {
    let (core, database) = ("scscf.partner.example", "sipdb.partner.example");
    let (mut to_database, mut to_core) = (PeerOutput::default(), PeerOutput::default());
    let mut asking = Connection::initiate(node(core, database), NOW, &mut Zeros, &mut to_database);
    let mut serving = Connection::accept(node(database, core), NOW, &mut Zeros);
    serving.handle_octets(NOW, &to_database.octets.split(), &mut to_core);
    asking.handle_octets(NOW, &to_core.octets.split(), &mut to_database);
    let (request, destination) = (request(), destination());
    let answer = answer(&request);

    let mut group = criterion.benchmark_group("diameter");
    group.throughput(Throughput::Elements(1));
    group.bench_function("mar_and_maa_between_two_connections", |bencher| {
        bencher.iter(|| {
            to_database.events.clear();
            asking
                .send_request(NOW, &destination, request.clone(), 1, &mut to_database)
                .expect("open");
            to_core.events.clear();
            serving.handle_octets(NOW, &to_database.octets, &mut to_core);
            to_database.octets.clear();
            let Some(Event::Request { context, .. }) = to_core.events.pop() else {
                panic!("a request")
            };
            serving.send_answer(context, &answer, &mut to_core).expect("open");
            asking.handle_octets(NOW, &to_core.octets, &mut to_database);
            to_core.octets.clear();
            assert!(matches!(to_database.events[..], [Event::Answer { .. }]));
        });
    });
    group.finish();
}

criterion_group!(benches, codec, connection);
criterion_main!(benches);
