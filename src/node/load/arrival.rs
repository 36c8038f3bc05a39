//! When registrations begin: at given times whatever the answers do (open loop), or as soon as one ends
//! (closed loop).
//!
//! In an open loop the intended time is part of the plan. It stays the begin of the latency when the
//! generator, or who is asked, is late: nothing is left out because something else took long.

use std::time::Duration;

use super::random::Random;

/// How long after its end a plan that could not be kept is given up, nanoseconds.
const OVERDUE_NANOS: u64 = 500_000_000;

/// How the arrivals of an open loop are spread.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Spread {
    /// As independent users do: gaps are exponentially distributed.
    Poisson,
    /// All gaps are equal.
    Even,
}

/// How many begin when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Plan {
    /// At a rate that goes from one value to another one and stays there.
    Open {
        /// The rate at the begin, a second.
        from: f64,
        /// The rate after `ramp`, a second.
        to: f64,
        /// How long the rate changes.
        ramp: Duration,
        /// How the arrivals are spread.
        spread: Spread,
    },
    /// So many at a time.
    Closed {
        /// How many are under way.
        concurrency: usize,
    },
}

impl Plan {
    /// A rate that does not change.
    pub(super) const fn steady(rate: f64, spread: Spread) -> Self {
        Self::Open { from: rate, to: rate, ramp: Duration::ZERO, spread }
    }
}

/// The arrivals of one thread.
pub(super) struct Arrivals {
    kind: Kind,
    /// Nanoseconds; none begins after it.
    end: u64,
    /// How many may still begin.
    left: u64,
}

enum Kind {
    Open { curve: Curve, spread: Spread, random: Random, mass: f64, next: u64 },
    Closed { concurrency: usize },
}

/// The share of one thread in all arrivals.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    /// Which thread, from 0 on.
    pub(super) index: u32,
    /// Of how many.
    pub(super) of: u32,
}

impl Share {
    /// The number in the run of the thread's own number `own`: the threads take turns.
    pub(super) const fn number(self, own: u32) -> u32 {
        own * self.of + self.index
    }

    /// The share of `total` things.
    pub(super) const fn part(self, total: u64) -> u64 {
        let (index, of) = (self.index as u64, self.of as u64);
        total / of + (index < total % of) as u64
    }
}

impl Arrivals {
    /// The arrivals of `plan` for `time`, at most `count` of all threads.
    pub(super) fn new(plan: Plan, time: Duration, count: u64, seed: u64, share: Share) -> Self {
        let end = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let left = share.part(count);
        let kind = match plan {
            Plan::Closed { concurrency } => {
                let part = share.part(concurrency as u64);
                Kind::Closed { concurrency: usize::try_from(part).unwrap_or(usize::MAX) }
            }
            Plan::Open { from, to, ramp, spread } => {
                Self::open(from, to, ramp, spread, seed, share)
            }
        };
        Self { kind, end, left }
    }

    fn open(from: f64, to: f64, ramp: Duration, spread: Spread, seed: u64, share: Share) -> Kind {
        let of = f64::from(share.of);
        let curve = Curve { from: from / of, to: to / of, ramp: ramp.as_secs_f64() };
        let mut random = Random::new(seed ^ u64::from(share.index).wrapping_mul(0x9e37_79b9));
        let mass = match spread {
            Spread::Poisson => random.next_exponential(),
            // The threads take turns.
            Spread::Even => (f64::from(share.index) + 1.0) / of,
        };
        let next = curve.time_of(mass);
        Kind::Open { curve, spread, random, mass, next }
    }

    /// The intended time of the next one, if that is not after `now`; nanoseconds.
    pub(super) fn take(&mut self, now: u64, under_way: usize) -> Option<u64> {
        if self.left == 0 {
            return None;
        }
        let intended = match &mut self.kind {
            Kind::Closed { concurrency } => {
                (under_way < *concurrency && now < self.end).then_some(now)?
            }
            Kind::Open { curve, spread, random, mass, next } => {
                let intended = *next;
                if intended > now || intended >= self.end {
                    return None;
                }
                *mass += match spread {
                    Spread::Poisson => random.next_exponential(),
                    Spread::Even => 1.0,
                };
                *next = curve.time_of(*mass);
                intended
            }
        };
        self.left -= 1;
        Some(intended)
    }

    /// When the next one is due, nanoseconds; `None` if that depends on answers, or there is none.
    pub(super) fn next_at(&self) -> Option<u64> {
        match self.kind {
            Kind::Open { next, .. } if self.left > 0 && next < self.end => Some(next),
            Kind::Open { .. } | Kind::Closed { .. } => None,
        }
    }

    /// Whether some should have begun long before `now`: the generator does not keep up.
    pub(super) fn are_overdue(&self, now: u64) -> bool {
        now >= self.end.saturating_add(OVERDUE_NANOS) && !self.is_over(now)
    }

    /// Whether all have begun that will.
    pub(super) fn is_over(&self, now: u64) -> bool {
        self.left == 0
            || match self.kind {
                Kind::Open { next, .. } => next >= self.end,
                Kind::Closed { .. } => now >= self.end,
            }
    }
}

/// A rate over time, and its integral: the mass.
#[derive(Clone, Copy, Debug)]
struct Curve {
    from: f64,
    to: f64,
    /// Seconds.
    ramp: f64,
}

impl Curve {
    /// When the integral of the rate is `mass`; nanoseconds.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    fn time_of(self, mass: f64) -> u64 {
        let Self { from, to, ramp } = self;
        let ramp_mass = f64::midpoint(from, to) * ramp;
        let seconds = if mass >= ramp_mass {
            // A rate of 0 leads to infinity, which saturates.
            ramp + (mass - ramp_mass) / to
        } else {
            // from t + (to - from) t^2 / (2 ramp) = mass, in the form that is exact for equal rates.
            let slope = (to - from) / ramp;
            2.0 * mass / (from + (from * from + 2.0 * slope * mass).max(0.0).sqrt())
        };
        (seconds * 1e9) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn all(plan: Plan, time: Duration, share: Share) -> Vec<u64> {
        let mut arrivals = Arrivals::new(plan, time, u64::MAX, 3, share);
        let taken = std::iter::from_fn(|| arrivals.take(u64::MAX - 1, 0)).collect();
        assert!(arrivals.is_over(0) && arrivals.next_at().is_none());
        taken
    }

    #[test]
    fn even_arrivals_have_equal_gaps_and_threads_take_turns() {
        let plan = Plan::steady(10.0, Spread::Even);
        let time = Duration::from_secs(2);
        let mut both: Vec<u64> =
            (0..2).flat_map(|index| all(plan, time, Share { index, of: 2 })).collect();
        both.sort_unstable();
        let gaps: Vec<u64> = both.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(both.len(), 19, "the first after a gap, none at the end");
        assert!(gaps.iter().all(|gap| gap.abs_diff(SECOND / 10) < 10), "{gaps:?}");
    }

    #[test]
    fn a_ramp_has_the_arrivals_of_its_rate_in_each_part() {
        for spread in [Spread::Even, Spread::Poisson] {
            let ramp = Duration::from_secs(10);
            let plan = Plan::Open { from: 1_000.0, to: 3_000.0, ramp, spread };
            let taken = all(plan, Duration::from_secs(12), Share { index: 0, of: 1 });
            let within = |from: u64, to: u64| {
                taken.iter().filter(|at| (from * SECOND..to * SECOND).contains(at)).count()
            };
            // The rate is 1,000 + 200 t, then 3,000; Poisson deviates by 4 sigma at most.
            for (from, to, wanted) in
                [(0, 1, 1_100), (5, 6, 2_100), (9, 10, 2_900), (10, 12, 6_000)]
            {
                let off = within(from, to).abs_diff(wanted);
                let allowed = if spread == Spread::Even { 2 } else { 4 * wanted.isqrt() };
                assert!(off <= allowed, "{spread:?} {from}: {off} off {wanted}");
            }
        }
    }

    #[test]
    #[expect(clippy::cast_precision_loss, reason = "some thousands of gaps of some milliseconds")]
    fn gaps_of_poisson_arrivals_vary_as_they_should() {
        let taken = all(
            Plan::steady(1_000.0, Spread::Poisson),
            Duration::from_secs(20),
            Share { index: 0, of: 1 },
        );
        let gaps: Vec<f64> =
            taken.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e6).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // Mean 1 ms; the variance of an exponential distribution is the square of its mean.
        assert!((mean - 1.0).abs() < 0.05 && (variance - 1.0).abs() < 0.1, "{mean} {variance}");
    }

    #[test]
    fn a_closed_loop_keeps_so_many_under_way_and_ends_in_time() {
        let share = Share { index: 1, of: 2 };
        let plan = Plan::Closed { concurrency: 5 };
        let mut arrivals = Arrivals::new(plan, Duration::from_secs(1), 7, 0, share);
        assert_eq!(
            [0, 1, 2].map(|under_way| arrivals.take(5, under_way)),
            [Some(5), Some(5), None]
        );
        assert_eq!(arrivals.take(9, 1), Some(9));
        assert_eq!(arrivals.take(9, 1), None, "its part of 7 is 3");
        assert!(arrivals.is_over(9));
        let mut arrivals = Arrivals::new(plan, Duration::from_secs(1), 7, 0, share);
        assert_eq!(arrivals.take(SECOND, 0), None);
        assert!(arrivals.is_over(SECOND) && !arrivals.is_over(SECOND - 1));
    }
}
