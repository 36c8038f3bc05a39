//! The verdict of the generator on itself: whether what it reports is about who was asked, or about itself.

use std::time::Duration;

use serde::Serialize;

use super::{effort::Effort, recorder::Recorder, report::time};

/// A thread that computes for more than this share of the time has no reserve.
const CPU_SHARE_MAX: f64 = 0.95;

/// A thread that waits for its core for more than this share of the time measures its neighbors.
const WAITED_SHARE_MAX: f64 = 0.20;

/// How late requests may leave, at the 99th percentile, microseconds: this much in any case ...
const LATENESS_ALLOWED: u64 = 1_000;

/// ... a tenth of the latency that is reported ...
const LATENESS_PART: u64 = 10;

/// ... but not more than this.
const LATENESS_MAX: u64 = 100_000;

/// Registrations, percent, that may begin late because all UEs are busy.
const BUSY_PERCENT_MAX: u64 = 1;

/// Phases shorter than this say nothing about shares of a core.
const SHORT: Duration = Duration::from_millis(200);

/// Why a run is not valid.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(super) struct Reason {
    /// In short: `late`, `behind`, `busy`, `dropped`, `saturated`, `starved`, of a search also `own limit`.
    pub(super) what: &'static str,
    /// What was seen.
    pub(super) why: String,
    /// What to do.
    pub(super) fix: &'static str,
}

/// What the verdict is about.
pub(super) struct Evidence<'a> {
    pub(super) recorder: &'a Recorder,
    /// Of each thread.
    pub(super) efforts: &'a [Effort],
    /// Registrations that were due but had not begun when the time was over.
    pub(super) is_behind: bool,
}

/// Why the run is not valid: nothing if it is.
pub(super) fn judge(evidence: &Evidence<'_>) -> Vec<Reason> {
    let Evidence { recorder, efforts, is_behind } = evidence;
    let mut reasons = Vec::new();
    let counts = &recorder.counts;
    let is_busy = counts.no_idle_ue * 100 > counts.started * BUSY_PERCENT_MAX;
    if is_busy {
        let why = format!(
            "all UEs were busy when {} of {} registrations were due",
            counts.no_idle_ue, counts.started
        );
        let fix = "give more subscribers, or a lower rate";
        reasons.push(Reason { what: "busy", why, fix });
    } else if *is_behind {
        let why = "registrations that were due had not begun when the time was over".to_owned();
        let fix = "ask for a lower rate, or give it more cores with --threads";
        reasons.push(Reason { what: "behind", why, fix });
    }
    reasons.extend(late(recorder));
    let dropped: u64 = efforts.iter().map(|effort| effort.dropped).sum();
    if dropped > 0 {
        let why =
            format!("the kernel dropped {dropped} datagrams that had arrived for the generator");
        let fix = "raise net.core.rmem_max, or give more --sockets or --threads";
        reasons.push(Reason { what: "dropped", why, fix });
    }
    let highest = |share: fn(&Effort) -> f64| efforts.iter().map(share).fold(0.0, f64::max);
    let cpu = highest(Effort::cpu_share);
    if cpu > CPU_SHARE_MAX {
        let why =
            format!("a thread of the generator computed for {:.0} % of the time", cpu * 100.0);
        let fix = "give it more cores with --threads, or ask for less";
        reasons.push(Reason { what: "saturated", why, fix });
    }
    let waited = highest(Effort::waited_share);
    if waited > WAITED_SHARE_MAX {
        let why = format!(
            "a thread of the generator waited for its core for {:.0} % of the time",
            waited * 100.0
        );
        let fix = "keep other work off its cores: name free ones with --cores";
        reasons.push(Reason { what: "starved", why, fix });
    }
    reasons
}

fn late(recorder: &Recorder) -> Option<Reason> {
    if recorder.registration.0.is_empty() {
        // No latency is reported that it could have spoiled.
        return None;
    }
    let lateness = recorder.lateness.percentile(99.0);
    let reported = recorder.registration.percentile(99.0);
    let allowed = (reported / LATENESS_PART).clamp(LATENESS_ALLOWED, LATENESS_MAX);
    (lateness > allowed).then(|| Reason {
        what: "late",
        why: format!(
            "1 % of all began {} late or later; {} are allowed beside a p99 of {}",
            time(lateness),
            time(allowed),
            time(reported)
        ),
        fix: "ask for a lower rate, give it more cores with --threads, or keep other work off them",
    })
}

impl Effort {
    pub(super) fn cpu_share(&self) -> f64 {
        share(self.cpu, self.wall)
    }

    pub(super) fn waited_share(&self) -> f64 {
        share(self.waited, self.wall)
    }
}

fn share(part: Duration, whole: Duration) -> f64 {
    if whole < SHORT { 0.0 } else { part.as_secs_f64() / whole.as_secs_f64() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(change: impl FnOnce(&mut Recorder, &mut Effort, &mut bool)) -> Vec<&'static str> {
        let mut recorder = Recorder::new();
        recorder.counts.started = 1_000;
        for _ in 0..1_000 {
            recorder.registration.record(20_000_000);
            recorder.lateness.record(50_000);
        }
        let second = Duration::from_secs(1);
        let mut effort = Effort { wall: second, cpu: second / 2, waited: second / 10, dropped: 0 };
        let mut is_behind = false;
        change(&mut recorder, &mut effort, &mut is_behind);
        let evidence = Evidence { recorder: &recorder, efforts: &[effort], is_behind };
        judge(&evidence).into_iter().map(|reason| reason.what).collect()
    }

    #[test]
    fn a_run_is_valid_unless_the_generator_itself_is_seen_in_it() {
        let second = Duration::from_secs(1);
        assert_eq!(what(|_, _, _| ()), [""; 0]);
        assert_eq!(what(|_, effort, _| effort.dropped = 1), ["dropped"]);
        assert_eq!(what(|_, effort, _| effort.cpu = second * 96 / 100), ["saturated"]);
        assert_eq!(what(|_, effort, _| effort.waited = second * 21 / 100), ["starved"]);
        assert_eq!(what(|_, _, is_behind| *is_behind = true), ["behind"]);
        assert_eq!(what(|recorder, _, _| recorder.counts.no_idle_ue = 11), ["busy"]);
        assert_eq!(what(|recorder, _, _| recorder.counts.no_idle_ue = 10), [""; 0]);
    }

    #[test]
    fn lateness_counts_beside_the_latency_that_is_reported() {
        // 20 ms are reported: 2 ms of them may be the generator's own.
        let late = |count: u64, nanos: u64| {
            what(|recorder, _, _| (0..count).for_each(|_| recorder.lateness.record(nanos)))
        };
        assert_eq!(late(20, 1_900_000), [""; 0]);
        assert_eq!(late(20, 2_100_000), ["late"]);
        assert_eq!(late(5, 2_100_000), [""; 0], "less than 1 %");
        let mut recorder = Recorder::new();
        recorder.lateness.record(2_000_000);
        let evidence = Evidence { recorder: &recorder, efforts: &[], is_behind: false };
        assert_eq!(judge(&evidence), [], "no latency is reported");
        recorder.registration.record(30_000_000_000);
        recorder.lateness.record(200_000_000);
        let evidence = Evidence { recorder: &recorder, efforts: &[], is_behind: false };
        assert_eq!(judge(&evidence).len(), 1, "however slow the answers are");
    }
}
