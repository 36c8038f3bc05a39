//! The search for the highest rate that breaks no threshold: doubled until it breaks one, then halved into.

use std::time::Duration;

use super::{
    LoadError,
    arrival::{Plan, Spread},
    generator::{Generator, Measured, Run},
    live::Live,
    report::{Facts, Trial},
    threshold::Threshold,
    ues::Manner,
    verdict::{Evidence, Reason, judge},
};

/// The search ends when the highest rate kept and the lowest one broken are this close.
const CLOSE: f64 = 1.04;

/// Most rates that are tried.
const TRIALS_MAX: usize = 32;

/// How long what is under way is waited for after a trial.
const PATIENCE: Duration = Duration::from_secs(4);

/// Pause between trials, so that one does not pay for the other.
const PAUSE: Duration = Duration::from_millis(500);

/// How often a rate is tried at which the generator could not tell.
const ATTEMPTS_MAX: usize = 3;

/// What was found.
pub(super) struct Found {
    /// The run at the highest rate kept; if none was, the last one.
    pub(super) measured: Measured,
    pub(super) rate: f64,
    pub(super) trials: Vec<Trial>,
    /// Why this is not the limit of who was asked, if it is not.
    pub(super) own_limit: Option<Reason>,
}

/// Where a search begins, and what it keeps to.
pub(super) struct Search<'a> {
    pub(super) rate: f64,
    pub(super) spread: Spread,
    /// How long one rate is tried.
    pub(super) time: Duration,
    pub(super) manner: Manner,
    pub(super) thresholds: &'a [Threshold],
}

/// Between which rates the limit is.
#[derive(Clone, Copy, Debug, Default)]
struct Bounds {
    /// The highest rate kept.
    kept: Option<f64>,
    /// The lowest one that was not.
    beyond: Option<Beyond>,
}

#[derive(Clone, Copy, Debug)]
struct Beyond {
    rate: f64,
    /// Whether the generator was the limit, and not who was asked.
    is_own: bool,
}

impl Search<'_> {
    /// Searches.
    ///
    /// # Errors
    ///
    /// A run that could not be made.
    pub(super) fn run(
        &self,
        generator: &mut Generator,
        live: &mut Live,
    ) -> Result<Found, LoadError> {
        let mut bounds = Bounds::default();
        let mut rate = self.rate;
        let mut trials = Vec::new();
        let mut measured = self.try_rate(rate, generator, live, &mut trials)?;
        let mut best = rate;
        while let Some(next) = trials.last().and_then(|trial| bounds.next_after(trial)) {
            if trials.len() >= TRIALS_MAX || generator.is_stopped() {
                break;
            }
            std::thread::sleep(PAUSE);
            rate = next;
            let tried = self.try_rate(rate, generator, live, &mut trials)?;
            if generator.is_stopped() {
                // Cut short, it says nothing.
                trials.pop();
                break;
            }
            if bounds.kept.is_none() || trials.last().is_some_and(|trial| trial.kept) {
                (measured, best) = (tried, rate);
            }
        }
        let own_limit = bounds.beyond.filter(|beyond| beyond.is_own);
        let own_limit = own_limit.map(|beyond| reason(beyond.rate, bounds.kept, &trials));
        Ok(Found { measured, rate: best, trials, own_limit })
    }

    /// Tries a rate, again if the generator could not tell: what disturbed it may be over.
    fn try_rate(
        &self,
        rate: f64,
        generator: &mut Generator,
        live: &mut Live,
        trials: &mut Vec<Trial>,
    ) -> Result<Measured, LoadError> {
        let mut attempt = 1;
        loop {
            let (trial, measured) = self.try_once(rate, generator, live)?;
            let told = trial.invalid.is_empty();
            trials.push(trial);
            if told || attempt == ATTEMPTS_MAX || generator.is_stopped() {
                return Ok(measured);
            }
            attempt += 1;
            std::thread::sleep(PAUSE);
        }
    }

    fn try_once(
        &self,
        rate: f64,
        generator: &mut Generator,
        live: &mut Live,
    ) -> Result<(Trial, Measured), LoadError> {
        live.begin(format!("search {rate:.0}/s"));
        let measured = generator.run(
            &Run {
                plan: Plan::steady(rate, self.spread),
                time: self.time,
                count: u64::MAX,
                manner: self.manner,
                patience: PATIENCE,
            },
            live,
        )?;
        let rate_seen = measured.rate();
        let facts = Facts::new(&measured.recorder, rate_seen);
        let evidence = Evidence {
            recorder: &measured.recorder,
            efforts: &measured.efforts,
            is_behind: measured.is_behind,
        };
        let invalid: Vec<_> = judge(&evidence).iter().map(|reason| reason.what).collect();
        let keeps = self.thresholds.iter().all(|threshold| !threshold.judge(&facts).broken);
        let trial = Trial {
            rate,
            registrations_per_s: rate_seen,
            p99_us: facts.registration.latencies.percentile(99.0),
            failures: facts.counts.failed,
            kept: keeps && invalid.is_empty(),
            invalid,
        };
        Ok((trial, measured))
    }
}

impl Bounds {
    /// Learns from a rate that was tried; returns the next one, if it is worth trying.
    fn next_after(&mut self, trial: &Trial) -> Option<f64> {
        if trial.kept {
            self.kept = Some(trial.rate);
        } else {
            self.beyond = Some(Beyond { rate: trial.rate, is_own: !trial.invalid.is_empty() });
        }
        match (self.kept, self.beyond) {
            (Some(kept), None) => Some(kept * 2.0),
            (None, Some(beyond)) => Some(beyond.rate / 2.0).filter(|rate| *rate >= 1.0),
            (Some(kept), Some(beyond)) => {
                Some((kept * beyond.rate).sqrt()).filter(|_| beyond.rate / kept > CLOSE)
            }
            (None, None) => None,
        }
    }
}

/// Why the limit found is the generator's.
fn reason(rate: f64, kept: Option<f64>, trials: &[Trial]) -> Reason {
    let at_rate = trials.iter().rfind(|trial| trial.rate.total_cmp(&rate).is_eq());
    let what = at_rate.map(|trial| trial.invalid.join(", ")).unwrap_or_default();
    let beyond = kept.map(|kept| format!(" beyond {kept:.0}/s")).unwrap_or_default();
    Reason {
        what: "own limit",
        why: format!(
            "at {rate:.0}/s the generator itself was the limit ({what}): what is possible{beyond} is not known"
        ),
        fix: "give it more cores with --threads, more subscribers, or a quieter machine",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches from `rate` on, as `told` answers; returns what was tried, and where the limit is.
    fn search(
        mut rate: f64,
        told: impl Fn(f64) -> (bool, Vec<&'static str>),
    ) -> (Vec<f64>, Bounds) {
        let (mut bounds, mut tried) = (Bounds::default(), Vec::new());
        loop {
            let (kept, invalid) = told(rate);
            let trial =
                Trial { rate, registrations_per_s: rate, p99_us: 0, failures: 0, kept, invalid };
            tried.push(rate);
            match bounds.next_after(&trial) {
                Some(next) => rate = next,
                None => return (tried, bounds),
            }
        }
    }

    #[test]
    fn a_limit_above_the_first_rate_is_doubled_to_and_then_closed_in_on() {
        let (tried, bounds) = search(100.0, |rate| (rate < 1_000.0, Vec::new()));
        assert_eq!(tried[..5], [100.0, 200.0, 400.0, 800.0, 1_600.0]);
        let (kept, beyond) = (bounds.kept.unwrap(), bounds.beyond.unwrap());
        assert!(kept < 1_000.0 && beyond.rate >= 1_000.0 && beyond.rate / kept <= CLOSE);
        assert!(!beyond.is_own && tried.len() < 12, "{tried:?}");
    }

    #[test]
    fn a_limit_below_the_first_rate_is_halved_to() {
        let (tried, bounds) = search(100.0, |rate| (rate < 30.0, Vec::new()));
        assert_eq!(tried[..3], [100.0, 50.0, 25.0]);
        assert!((28.0..30.0).contains(&bounds.kept.unwrap()));
        let (tried, bounds) = search(5.0, |_| (false, Vec::new()));
        assert_eq!((tried, bounds.kept), (vec![5.0, 2.5, 1.25], None), "nothing is kept");
    }

    #[test]
    fn a_limit_is_the_generators_own_if_it_could_not_tell_right_above_it() {
        // From 700 a second on it is too late itself; it may be the limit on the way, but not at the end.
        for (limit, is_own) in [(500.0, false), (900.0, true)] {
            let told = |rate| match rate {
                700.0.. => (false, vec!["late"]),
                _ => (rate < limit, Vec::new()),
            };
            let (_, bounds) = search(100.0, told);
            assert_eq!(bounds.beyond.unwrap().is_own, is_own, "{bounds:?}");
        }
        let trial = |rate: f64, invalid| {
            let (registrations_per_s, p99_us, failures, kept) = (rate, 0, 0, false);
            Trial { rate, registrations_per_s, p99_us, failures, kept, invalid }
        };
        let said = reason(720.0, Some(690.0), &[trial(720.0, vec!["late"]), trial(690.0, vec![])]);
        assert!(said.why.contains("720/s") && said.why.contains("(late)"), "{}", said.why);
        assert!(said.why.contains("beyond 690/s"), "{}", said.why);
    }
}
