//! What one authentication costs, on the side of the network and on that of the UE.
//!
//! `cargo bench --no-default-features --bench aka`. Subscribers have random keys and are taken in
//! random order, so that 1,000 of them fit into a cache and 1,000,000 do not. The product keeps K and `OPc` of
//! each and makes the key schedule per use; what schedules kept would cost is there to compare.
//!
//! Limits to hold a vector against, in the group `limit`: the AES blocks alone, without and with a key schedule,
//! and the look at a random subscriber's K alone.

use std::hint::black_box;

use aes::{
    Aes128Enc, Block,
    cipher::{BlockCipherEncrypt, KeyInit},
};
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use migcore::{
    aka::{
        AuthVector, Milenage, Sqn, SqnArray,
        digest::{self, Algorithm, DigestInput, Qop, QopInput},
    },
    secret::Secret,
};

const AMF: [u8; 2] = [0x80, 0];

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .nresamples(2_000)
        .without_plots()
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(1));
    targets = network, limit, ue, http_digest
}
criterion_main!(benches);

/// The SIP database: a vector for a random subscriber, and the SQN out of an AUTS.
fn network(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("network");
    group.throughput(Throughput::Elements(1));
    for count in [1_000, 1_000_000] {
        vectors(&mut group, count);
    }
    let (rand, sqn) = (octets(&mut 3), Sqn::new(7, 4, 5));
    let milenage = subscriber(0);
    let auts = milenage.auts(&rand, sqn);
    group.bench_function("verify_auts", |bench| {
        bench.iter(|| milenage.verify_auts(black_box(&rand), black_box(&auts)));
    });
    group.finish();
}

fn vectors(group: &mut BenchmarkGroup<'_, criterion::measurement::WallTime>, count: u64) {
    let kept: Vec<Milenage> = (0..count).map(subscriber).collect();
    let mut seed = 1;
    group.bench_function(format!("vector/{count} subscribers, schedules kept"), |bench| {
        bench.iter(|| {
            let (one, rand) = (pick(&kept, &mut seed), octets(&mut seed));
            one.vector(&rand, Sqn::new(seed, 4, 5), AMF)
        });
    });
    drop(kept);
    let keys: Vec<_> = (0..count).map(keys).collect();
    group.bench_function(format!("vector/{count} subscribers, from K and OPc"), |bench| {
        bench.iter(|| {
            let ((k, opc), rand) = (pick(&keys, &mut seed), octets(&mut seed));
            Milenage::new(k, opc).vector(&rand, Sqn::new(seed, 4, 5), AMF)
        });
    });
}

/// What no implementation over these can fall below: one block, then four at the same time.
fn limit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("limit");
    group.throughput(Throughput::Elements(1));
    let mut seed = 5;
    let key = octets(&mut seed);
    let five = |kernel: &Aes128Enc| {
        let mut blocks = [Block::default(); 4];
        let mut temp = Block::from(black_box([1; 16]));
        kernel.encrypt_block(&mut temp);
        blocks.fill(temp);
        kernel.encrypt_blocks(&mut blocks);
        blocks
    };
    let kernel = Aes128Enc::new(&key.into());
    group.bench_function("five blocks", |bench| bench.iter(|| five(&kernel)));
    group.bench_function("key schedule and five blocks", |bench| {
        bench.iter(|| five(&Aes128Enc::new(black_box(&key.into()))));
    });
    for count in [1_000, 1_000_000] {
        let keys: Vec<_> = (0..count).map(keys).collect();
        group.bench_function(format!("look at one of {count} subscribers"), |bench| {
            bench.iter(|| *pick(&keys, &mut seed).0.expose());
        });
    }
    group.finish();
}

/// The UE: a challenge checked and answered, and one refused.
fn ue(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ue");
    group.throughput(Throughput::Elements(1));
    let milenage = subscriber(0);
    let rand = octets(&mut 3);
    let autn = milenage.vector(&rand, Sqn::new(7, 4, 5), AMF).autn;
    group.bench_function("verify_autn", |bench| {
        bench.iter(|| milenage.verify_autn(black_box(&rand), black_box(&autn)));
    });
    group.bench_function("auts", |bench| {
        bench.iter(|| milenage.auts(black_box(&rand), Sqn::new(7, 4, 5)));
    });
    let mut array = SqnArray::default();
    let mut seq = 0;
    group.bench_function("accept SQN", |bench| {
        bench.iter(|| {
            seq += 1;
            array.accept(Sqn::new(seq, 4, 5))
        });
    });
    group.finish();
}

/// Both ends of a REGISTER with credentials.
fn http_digest(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("digest");
    group.throughput(Throughput::Elements(1));
    let vector = subscriber(0).vector(&octets(&mut 3), Sqn::new(7, 4, 5), AMF);
    let nonce = digest::encode_nonce(&vector.rand, &vector.autn);
    let input = register(&nonce);
    for algorithm in [Algorithm::AkaV1Md5, Algorithm::AkaV2Md5, Algorithm::AkaV2Sha256] {
        let name = algorithm.as_str();
        let password = password(algorithm, &vector);
        group.bench_function(format!("response/{name}"), |bench| {
            bench.iter(|| digest::response(algorithm, black_box(&input), password.expose()));
        });
        let response = digest::response(algorithm, &input, password.expose());
        group.bench_function(format!("verify/{name}"), |bench| {
            bench.iter(|| digest::verify(algorithm, &input, &vector, black_box(response.as_str())));
        });
    }
    group.bench_function("encode_nonce", |bench| {
        bench.iter(|| digest::encode_nonce(black_box(&vector.rand), black_box(&vector.autn)));
    });
    group.bench_function("decode_nonce", |bench| {
        bench.iter(|| digest::decode_nonce(black_box(&nonce)));
    });
    group.finish();
}

fn password(algorithm: Algorithm, vector: &AuthVector) -> migcore::secret::SecretBytes {
    digest::password(algorithm, vector.xres.expose(), vector.ck.expose(), vector.ik.expose())
}

fn register(nonce: &str) -> DigestInput<'_> {
    DigestInput {
        username: "001010000000001@ims.mnc001.mcc001.3gppnetwork.org",
        realm: "ims.mnc001.mcc001.3gppnetwork.org",
        method: "REGISTER",
        uri: "sip:ims.mnc001.mcc001.3gppnetwork.org",
        nonce,
        qop: Some(QopInput { qop: Qop::Auth, nc: "00000001", cnonce: "0a4f113b" }),
        body: &[],
    }
}

fn subscriber(number: u64) -> Milenage {
    let (k, opc) = keys(number);
    Milenage::new(&k, &opc)
}

/// Random K and `OPc` of the subscriber with that number.
fn keys(number: u64) -> (Secret<16>, Secret<16>) {
    let mut seed = number << 16;
    (Secret::new(octets(&mut seed)), Secret::new(octets(&mut seed)))
}

fn pick<'a, T>(all: &'a [T], seed: &mut u64) -> &'a T {
    let place = (u128::from(next(seed)) * all.len() as u128) >> 64;
    let place = usize::try_from(place).expect("below a usize");
    all.get(place).expect("below the length")
}

fn octets(seed: &mut u64) -> [u8; 16] {
    (u128::from(next(seed)) << 64 | u128::from(next(seed))).to_be_bytes()
}

/// Splitmix64.
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*seed ^ *seed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}
