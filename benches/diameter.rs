//! What a vector costs between two systems: MAR and MAA encoded and decoded, through two connections, and
//! through two connections and a TCP connection of the loopback interface, pipelined by 1 and by 64.
//!
//! The limits beside which to read them: `copy_mar` copies the octets of an MAR, which encoding cannot
//! undercut; `bare_echo` carries the octets of MAR and MAA over the same TCP connection and does nothing
//! else. Both ends run in one thread, so a figure is the CPU time of both sides, system calls included.

#![allow(
    clippy::panic,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::wrong_self_convention,
    missing_docs,
    reason = "a benchmark fails by a panic"
)]

use std::{
    hint::black_box,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
};

use bytes::BytesMut;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
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
        scheme: SCHEME_AKA_V1.into(),
        resync: None,
        server_name: "sip:scscf.sip.partner.example:6060".into(),
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
        digest: None,
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
    group.bench_function("copy_mar", |bencher| {
        bencher.iter(|| {
            out.clear();
            out.extend_from_slice(black_box(&mar));
        });
    });
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

/// The two ends of an open connection: a SIP core that asks and a SIP database that answers.
struct Pair {
    core: Connection,
    database: Connection,
    to_core: PeerOutput,
    to_database: PeerOutput,
    destination: Destination,
    request: Request,
    answer: Answer,
}

impl Pair {
    fn open() -> Self {
        let (core, database) = ("scscf.partner.example", "sipdb.partner.example");
        let (mut to_database, mut to_core) = (PeerOutput::default(), PeerOutput::default());
        let mut asking =
            Connection::initiate(node(core, database), NOW, &mut Zeros, &mut to_database);
        let mut serving = Connection::accept(node(database, core), NOW, &mut Zeros);
        serving.handle_octets(NOW, &to_database.octets.split(), &mut to_core);
        asking.handle_octets(NOW, &to_core.octets.split(), &mut to_database);
        to_core.events.clear();
        to_database.events.clear();
        let request = request();
        Self {
            core: asking,
            database: serving,
            to_core,
            to_database,
            destination: destination(),
            answer: answer(&request),
            request,
        }
    }

    fn ask(&mut self, count: u64) {
        for token in 0..count {
            let (request, out) = (self.request.clone(), &mut self.to_database);
            self.core.send_request(NOW, &self.destination, request, token, out).expect("open");
        }
    }

    /// Lets the database answer what is in `octets`.
    fn serve(&mut self, octets: &[u8]) {
        self.database.handle_octets(NOW, octets, &mut self.to_core);
        for event in std::mem::take(&mut self.to_core.events) {
            let Event::Request { context, .. } = event else { panic!("a request") };
            self.database.send_answer(context, &self.answer, &mut self.to_core).expect("open");
        }
    }

    /// Takes `count` answers.
    fn take(&mut self, octets: &[u8], count: usize) {
        self.core.handle_octets(NOW, octets, &mut self.to_database);
        assert_eq!(self.to_database.events.len(), count);
        assert!(matches!(self.to_database.events.first(), Some(Event::Answer { .. })));
        self.to_database.events.clear();
    }
}

fn connections(criterion: &mut Criterion) {
    let mut pair = Pair::open();
    let mut group = criterion.benchmark_group("diameter");
    group.throughput(Throughput::Elements(1));
    group.bench_function("mar_and_maa_between_two_connections", |bencher| {
        bencher.iter(|| {
            pair.ask(1);
            let octets = pair.to_database.octets.split();
            pair.serve(&octets);
            let octets = pair.to_core.octets.split();
            pair.take(&octets, 1);
        });
    });
    group.finish();
}

/// A TCP connection of the loopback interface.
struct Loopback {
    core: TcpStream,
    database: TcpStream,
    buffer: Vec<u8>,
}

impl Loopback {
    fn open() -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let core = TcpStream::connect(listener.local_addr()?)?;
        let (database, _) = listener.accept()?;
        core.set_nodelay(true)?;
        database.set_nodelay(true)?;
        Ok(Self { core, database, buffer: vec![0; 1 << 16] })
    }

    fn to_database(&mut self, octets: &[u8]) -> &[u8] {
        carry(&mut self.core, &mut self.database, octets, &mut self.buffer)
    }

    fn to_core(&mut self, octets: &[u8]) -> &[u8] {
        carry(&mut self.database, &mut self.core, octets, &mut self.buffer)
    }
}

/// Carries octets from one end to the other, no more than fit into the buffer.
fn carry<'a>(
    from: &mut TcpStream,
    to: &mut TcpStream,
    octets: &[u8],
    buffer: &'a mut [u8],
) -> &'a [u8] {
    from.write_all(octets).expect("written");
    let (carried, _) = buffer.split_at_mut(octets.len());
    to.read_exact(carried).expect("read");
    carried
}

fn over_tcp(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("diameter");
    for count in [1, 64] {
        let (mut pair, mut loopback) = (Pair::open(), Loopback::open().expect("a loopback"));
        group.throughput(Throughput::Elements(count));
        pair.ask(count);
        let requests = pair.to_database.octets.split();
        pair.serve(&requests);
        let answers = pair.to_core.octets.split();
        group.bench_function(BenchmarkId::new("bare_echo", count), |bencher| {
            bencher.iter(|| {
                loopback.to_database(&requests);
                loopback.to_core(&answers).len()
            });
        });
        group.bench_function(BenchmarkId::new("mar_and_maa_over_tcp", count), |bencher| {
            bencher.iter(|| {
                pair.ask(count);
                let requests = pair.to_database.octets.split();
                pair.serve(loopback.to_database(&requests));
                let answers = pair.to_core.octets.split();
                pair.take(
                    loopback.to_core(&answers),
                    usize::try_from(count).expect("a small number"),
                );
            });
        });
    }
    group.finish();
}

criterion_group!(benches, codec, connections, over_tcp);
criterion_main!(benches);
