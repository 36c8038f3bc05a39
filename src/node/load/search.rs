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
    verdict::{Evidence, judge},
};

/// The search ends when the highest rate kept and the lowest one broken are this close.
const CLOSE: f64 = 1.04;

/// Most rates that are tried.
const TRIALS_MAX: usize = 32;

/// How long what is under way is waited for after a trial.
const PATIENCE: Duration = Duration::from_secs(4);

/// Pause between trials, so that one does not pay for the other.
const PAUSE: Duration = Duration::from_millis(500);

/// What was found.
pub(super) struct Found {
    /// The run at the highest rate kept; if none was, the last one.
    pub(super) measured: Measured,
    pub(super) rate: f64,
    pub(super) trials: Vec<Trial>,
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
        // The highest rate kept, and the lowest one broken.
        let (mut low, mut high) = (None, None);
        let mut rate = self.rate;
        let (trial, measured) = self.try_rate(rate, generator, live)?;
        let mut found = Found { measured, rate, trials: vec![trial] };
        loop {
            if found.trials.last().is_some_and(|trial| trial.kept) {
                low = Some(rate);
            } else {
                high = Some(rate);
            }
            let next = match (low, high) {
                (Some(low), None) => Some(low * 2.0),
                (None, Some(high)) => Some(high / 2.0).filter(|rate| *rate >= 1.0),
                (Some(low), Some(high)) => Some((low * high).sqrt()).filter(|_| high / low > CLOSE),
                (None, None) => None,
            };
            let goes_on = found.trials.len() < TRIALS_MAX && !generator.is_stopped();
            let Some(next) = next.filter(|_| goes_on) else { return Ok(found) };
            std::thread::sleep(PAUSE);
            rate = next;
            let (trial, measured) = self.try_rate(rate, generator, live)?;
            if trial.kept || low.is_none() {
                (found.measured, found.rate) = (measured, rate);
            }
            found.trials.push(trial);
        }
    }

    fn try_rate(
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
