//! Whether two samples can be told apart by their order alone, and by how much.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

use std::fmt;

/// What a comparison of two samples says.
#[derive(Clone, Copy, Debug)]
pub struct Compared {
    /// How many are in each.
    pub sizes: (usize, usize),
    /// The probability that one of the second sample is larger than one of the first, ties halved: 0.5 if nothing can be
    /// told (Mann-Whitney).
    pub superiority: f64,
    /// The probability of a superiority as far from 0.5 or further, if both samples are of one kind.
    pub p_of_ranks: f64,
    /// The largest distance between the two distributions (Kolmogorov-Smirnov).
    pub distance: f64,
    /// The probability of such a distance or a larger one, if both samples are of one kind.
    pub p_of_distance: f64,
}

impl Compared {
    /// Compares two samples.
    pub fn of(first: &[f64], second: &[f64]) -> Self {
        let mut all: Vec<(f64, bool)> = first.iter().map(|it| (*it, false)).collect();
        all.extend(second.iter().map(|it| (*it, true)));
        all.sort_by(|one, other| one.0.total_cmp(&other.0));
        let (n, m) = (first.len() as f64, second.len() as f64);
        let (mut rank_sum, mut ties, mut before) = (0.0, 0.0, 0.0);
        let (mut seen, mut distance) = ((0.0, 0.0), 0.0_f64);
        for equal in all.chunk_by(|one, other| one.0 == other.0) {
            let count = equal.len() as f64;
            let of_second = equal.iter().filter(|(_, is_second)| *is_second).count() as f64;
            rank_sum += of_second * (before + f64::midpoint(count, 1.0));
            ties += count.powi(3) - count;
            before += count;
            seen = (seen.0 + count - of_second, seen.1 + of_second);
            distance = distance.max((seen.0 / n - seen.1 / m).abs());
        }
        let larger = rank_sum - m * (m + 1.0) / 2.0;
        let total = n + m;
        let variance = n * m / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)));
        let z = (larger - n * m / 2.0) / variance.sqrt().max(f64::MIN_POSITIVE);
        Self {
            sizes: (first.len(), second.len()),
            superiority: larger / (n * m),
            p_of_ranks: erfc(z.abs() / std::f64::consts::SQRT_2),
            distance,
            p_of_distance: kolmogorov(distance * (n * m / total).sqrt()),
        }
    }

    /// Whether the samples differ by more than chance, and by more than what a machine that is not quiet makes of a few
    /// samples. Of many it makes less.
    pub fn differ(&self) -> bool {
        const CHANCE: f64 = 1e-4;
        let (first, second) = self.sizes;
        let few = (1_500.0 / first.min(second) as f64).sqrt().min(1.0);
        (self.p_of_ranks < CHANCE && (self.superiority - 0.5).abs() > 0.06 * few)
            || (self.p_of_distance < CHANCE && self.distance > 0.12 * few)
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sizes: (first, second), superiority, p_of_ranks, distance, p_of_distance } =
            self;
        write!(
            f,
            "{first} and {second} probes: superiority {superiority:.4}, p = {p_of_ranks:.2e} (Mann-Whitney); \
             distance {distance:.4}, p = {p_of_distance:.2e} (Kolmogorov-Smirnov)"
        )
    }
}

/// The complementary error function, with a relative error below 1.2e-7 (Numerical Recipes 6.2.2).
fn erfc(x: f64) -> f64 {
    const COEFFICIENTS: [f64; 10] = [
        -1.265_512_23,
        1.000_023_68,
        0.374_091_96,
        0.096_784_18,
        -0.186_288_06,
        0.278_868_07,
        -1.135_203_98,
        1.488_515_87,
        -0.822_152_23,
        0.170_872_77,
    ];
    let t = 1.0 / (1.0 + 0.5 * x.abs());
    let polynomial = COEFFICIENTS.iter().rev().fold(0.0, |sum, it| sum * t + it);
    let tail = t * (polynomial - x * x).exp();
    if x >= 0.0 { tail } else { 2.0 - tail }
}

/// The upper tail of Kolmogorov's distribution.
fn kolmogorov(x: f64) -> f64 {
    if x < 0.2 {
        return 1.0;
    }
    let term = |k: i32| {
        let k = f64::from(k);
        2.0 * (k * std::f64::consts::PI).cos() * -(-2.0 * k * k * x * x).exp()
    };
    (1..=100).map(term).sum::<f64>().clamp(0.0, 1.0)
}

#[test]
fn samples_of_one_kind_are_not_told_apart_and_others_are() {
    let sample = |seed: u64, shift: f64| -> Vec<f64> {
        let mut draws = crate::common::Seeded(seed);
        (0..2_000).map(|_| draws.below(1_000_000) as f64 / 1e6 + shift).collect()
    };
    let same = Compared::of(&sample(1, 0.0), &sample(2, 0.0));
    assert!(!same.differ() && same.p_of_ranks > 0.001 && same.p_of_distance > 0.001, "{same}");
    let later = Compared::of(&sample(1, 0.0), &sample(2, 0.1));
    assert!(later.differ() && later.superiority > 0.55 && later.p_of_ranks < 1e-6, "{later}");
    // Of one mean, and of other spread: ranks alone would not tell.
    let narrow: Vec<f64> = sample(3, 0.0).iter().map(|it| 0.5 + (it - 0.5) / 3.0).collect();
    let spread = Compared::of(&sample(1, 0.0), &narrow);
    assert!(spread.differ() && spread.p_of_distance < 1e-6, "{spread}");
    // Two values of a table: half a normal and Kolmogorov's distribution.
    assert!((erfc(1.959_964 / std::f64::consts::SQRT_2) - 0.05).abs() < 1e-6);
    assert!((kolmogorov(1.358_1) - 0.05).abs() < 1e-4);
}
