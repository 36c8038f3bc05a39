//! What a look-up costs in a large table beyond one in a small table, counted in bare reads.
//!
//! Look-ups and bare reads alike are dependent: which one comes next follows from what the last one found, so
//! that none begins before the other has ended. Both are in random order. The array that is read has as many
//! octets as the table, indexes included, and nobody asked for huge pages for either.

use std::{hint::black_box, sync::Arc, thread};

use migcore::{identity::Impi, outbox::Outbox, store::Sequencer};

use crate::{
    System, on_processor,
    records::{inbound_impi, scrambled},
    to_usize,
};

/// Look-ups or reads that are timed together.
const STEPS: u64 = 400_000;
const ROUNDS: usize = 3;

type LookUp = fn(&System, Impi, &mut Outbox) -> u64;

/// Prints what a look-up costs in both systems, of so many records each, and in how many reads of an array of
/// `octets` the difference is.
pub(crate) fn compare(
    what: &str,
    [small, large]: [(&System, u64); 2],
    octets: i64,
    look_up: LookUp,
) {
    let array = array_of(octets);
    let mut rounds = [(); ROUNDS].map(|()| {
        let (less, more) = (walk(small, look_up), walk(large, look_up));
        let read = read(&array);
        ((more - less) / read, less, more, read)
    });
    rounds.sort_by(|one, other| one.0.total_cmp(&other.0));
    let [_, (reads, less, more, read), _] = rounds;
    println!(
        "look-up of a {what}: {less:.0} ns of {}, {more:.0} ns of {}: the difference is {reads:.2} \
         reads of {read:.0} ns from {} MiB (dependent, random; median of {ROUNDS})",
        small.1,
        large.1,
        (array.len() * 8) >> 20,
    );
    let together = thread::scope(|scope| {
        let other = scope.spawn(|| walk(large, look_up));
        f64::midpoint(walk(large, look_up), other.join().expect("looked up"))
    });
    println!("look-up of a {what}: {together:.0} ns of {} by two threads at once", large.1);
}

/// Nanoseconds of one look-up.
fn walk((system, count): (&System, u64), look_up: LookUp) -> f64 {
    let mut out = Outbox::new(Arc::new(Sequencer::default()));
    time(|step, found| {
        // What is found decides, although the highest bit is never set.
        let n = (scrambled(step) ^ found >> 63) % count;
        look_up(system, inbound_impi(n), &mut out)
    })
}

/// Nanoseconds of one read.
fn read(array: &[u64]) -> f64 {
    let count = array.len() as u64;
    time(|step, found| {
        let at = to_usize((scrambled(step) ^ (found >> 63)) % count);
        array.get(at).copied().unwrap_or_default()
    })
}

fn time(mut step: impl FnMut(u64, u64) -> u64) -> f64 {
    let began = on_processor();
    let last = (0..STEPS).fold(0, |found, number| step(number, found));
    black_box(last);
    on_processor().saturating_sub(began).as_nanos() as f64 / STEPS as f64
}

fn array_of(octets: i64) -> Vec<u64> {
    let octets = u64::try_from(octets).expect("a table takes memory");
    (0..octets / 8).map(|number| scrambled(number) >> 1).collect()
}
