//! How many registrations a system takes, by workers and by how many are under way at a time, which is what its
//! batches of datagrams are made of: one under way is one datagram a system call.
//!
//! `cargo bench --bench throughput`. The system is a process of its own with the `memory` engine, the load generator
//! another one; an element is a full AKA registration over UDP with local vectors. One worker has a core of its own,
//! beside the generator; two workers share both cores with it, as on a machine that has no more.
//!
//! Held against `limit/one datagram echoed twice`: what the same exchanges take through one socket of the standard
//! library, with one datagram for each system call and nothing done between.
#![allow(
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "a benchmark"
)]

#[path = "limit/systems.rs"]
mod systems;

use std::{net::UdpSocket, thread, time::Duration};

use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use systems::{Ask, Engine, Pair};

const USERS: usize = 2_000;
const UNDER_WAY: [usize; 4] = [1, 8, 64, 512];

/// Turns at the same systems: each leaves its users with one contact more, and they may have ten.
const TURNS_MAX: usize = 8;

/// Systems with so many workers, new ones from time to time.
struct Systems {
    workers: usize,
    pair: Option<Pair>,
    turns: usize,
}

impl Systems {
    fn register(&mut self, ask: &Ask) -> f64 {
        if self.turns.is_multiple_of(TURNS_MAX) {
            drop(self.pair.take());
            self.pair = Some(Pair::start(Engine::Memory, USERS, self.workers));
        }
        self.turns += 1;
        self.pair.as_ref().expect("started above").register(ask).per_s
    }
}

fn throughput(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("registrations");
    group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(1));
    for workers in [1, 2] {
        let mut systems = Systems { workers, pair: None, turns: 0 };
        for under_way in UNDER_WAY {
            let id =
                BenchmarkId::new(format!("{workers} workers"), format!("{under_way} under way"));
            let time = Duration::from_millis(200);
            let ask = Ask { is_forwarded: false, is_tcp: false, under_way, time };
            group.bench_function(id, |bencher| {
                // A turn has its length whatever is asked for: what it took for each is what counts.
                bencher.iter_custom(|count| {
                    Duration::from_secs_f64(count as f64 / systems.register(&ask))
                });
            });
        }
    }
}

fn limit(criterion: &mut Criterion) {
    let server = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = server.local_addr().expect("an address");
    thread::spawn(move || {
        let mut octets = [0; 2_048];
        while let Ok((length, from)) = server.recv_from(&mut octets) {
            if server.send_to(&octets[..length], from).is_err() || length == 0 {
                return;
            }
        }
    });
    let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let mut answer = [0; 2_048];
    criterion.bench_function("limit/one datagram echoed twice", |bencher| {
        bencher.iter(|| {
            for request in [&[b'x'; 600], &[b'y'; 600]] {
                client.send_to(request, address).expect("it leaves");
                client.recv_from(&mut answer).expect("it comes back");
            }
        });
    });
    client.send_to(&[], address).expect("it leaves");
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .nresamples(1_000)
        .without_plots()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(2));
    targets = limit, throughput
}
criterion_main!(benches);
