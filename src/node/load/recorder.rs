//! What a run has seen: latencies as HdrHistograms, counts, causes.

use hdrhistogram::Histogram;

use super::cause::{Cause, Step};

/// Longest latency told apart, microseconds: an hour.
const LATENCY_MAX: u64 = 3_600_000_000;

/// Significant decimal digits of latencies.
const DIGITS: u8 = 3;

/// The same of [`Latencies::coarse`].
const COARSE_MAX: u64 = 60_000_000;
const COARSE_DIGITS: u8 = 2;

/// Answer codes told apart by latency.
const CODES_MAX: usize = 64;

/// Latencies, microseconds.
#[derive(Clone)]
pub(super) struct Latencies(pub(super) Histogram<u64>);

impl Latencies {
    #[expect(clippy::expect_used, reason = "the bounds are constants that fit")]
    pub(super) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LATENCY_MAX, DIGITS).expect("valid bounds"))
    }

    /// Latencies told apart less finely, up to a minute: there are many of these.
    #[expect(clippy::expect_used, reason = "the bounds are constants that fit")]
    pub(super) fn coarse() -> Self {
        Self(Histogram::new_with_bounds(1, COARSE_MAX, COARSE_DIGITS).expect("valid bounds"))
    }

    /// Records what took so many nanoseconds.
    pub(super) fn record(&mut self, nanos: u64) {
        self.0.saturating_record(nanos.div_ceil(1_000));
    }

    pub(super) fn add(&mut self, other: &Self) {
        // Both have the same bounds.
        let _ = self.0.add(&other.0);
    }

    /// The latency that `percent` of all do not exceed, microseconds; 0 without any.
    pub(super) fn percentile(&self, percent: f64) -> u64 {
        if self.0.is_empty() { 0 } else { self.0.value_at_quantile(percent / 100.0) }
    }
}

/// How often an answer code came, and how long it took.
#[derive(Clone)]
pub(super) struct Code {
    pub(super) step: Step,
    pub(super) status: u16,
    pub(super) latencies: Latencies,
}

/// What one thread saw in one phase, or all of them together.
#[derive(Clone)]
pub(super) struct Recorder {
    /// From the intended begin to the 200.
    pub(super) registration: Latencies,
    /// By [`Step`]; only what was answered as it should be.
    pub(super) steps: [Latencies; 3],
    pub(super) codes: Vec<Code>,
    pub(super) causes: Vec<Failures>,
    /// From the intended begin to the time when the request was given to the kernel.
    pub(super) lateness: Latencies,
    pub(super) counts: Counts,
    /// Digests of the identities that were lent.
    pub(super) lent: Vec<u128>,
}

/// How often a cause was seen.
#[derive(Clone, Copy)]
pub(super) struct Failures {
    pub(super) cause: Cause,
    pub(super) count: u64,
    /// The subscriber that had it first, from 0 on.
    pub(super) first: u32,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Counts {
    /// Registrations begun.
    pub(super) started: u64,
    /// Registrations that ended with a 200.
    pub(super) succeeded: u64,
    /// Registrations that failed.
    pub(super) failed: u64,
    /// Requests sent once more (Timer E).
    pub(super) retransmissions: u64,
    /// AUTS sent: the SQN was out of range.
    pub(super) resynchronizations: u64,
    /// Answers 1xx.
    pub(super) provisional: u64,
    /// Answers to what is over.
    pub(super) stray: u64,
    /// Messages that are no SIP responses.
    pub(super) malformed: u64,
    /// Registrations that began late because all UEs were busy.
    pub(super) no_idle_ue: u64,
    /// Failures that were tried again.
    pub(super) retried: u64,
    /// Identities that were compared with each other.
    pub(super) compared: u64,
}

impl Counts {
    pub(super) const fn add(&mut self, other: &Self) {
        let Self {
            started,
            succeeded,
            failed,
            retransmissions,
            resynchronizations,
            provisional,
            stray,
            malformed,
            no_idle_ue,
            retried,
            compared,
        } = *other;
        self.started += started;
        self.succeeded += succeeded;
        self.failed += failed;
        self.retransmissions += retransmissions;
        self.resynchronizations += resynchronizations;
        self.provisional += provisional;
        self.stray += stray;
        self.malformed += malformed;
        self.no_idle_ue += no_idle_ue;
        self.retried += retried;
        self.compared += compared;
    }
}

impl Recorder {
    pub(super) fn new() -> Self {
        Self {
            registration: Latencies::new(),
            steps: [(); 3].map(|()| Latencies::new()),
            codes: Vec::new(),
            causes: Vec::new(),
            lateness: Latencies::new(),
            counts: Counts::default(),
            lent: Vec::new(),
        }
    }

    /// Records that a step was answered with `status` after so many nanoseconds.
    pub(super) fn answered(&mut self, step: Step, status: u16, nanos: u64) {
        let known = self.codes.iter_mut().find(|code| (code.step, code.status) == (step, status));
        if let Some(code) = known {
            return code.latencies.record(nanos);
        }
        if self.codes.len() < CODES_MAX {
            let mut latencies = Latencies::new();
            latencies.record(nanos);
            self.codes.push(Code { step, status, latencies });
        }
    }

    /// Records that a step ended as it should.
    pub(super) fn step_done(&mut self, step: Step, nanos: u64) {
        let [details, challenge, response] = &mut self.steps;
        match step {
            Step::Details => details.record(nanos),
            // They are all that there is.
            Step::Allocation | Step::Vector => {}
            Step::Challenge => challenge.record(nanos),
            Step::Response => response.record(nanos),
        }
    }

    /// Records that the registration of a subscriber failed.
    pub(super) fn failed(&mut self, cause: Cause, subscriber: u32) {
        self.counts.failed += 1;
        self.add_failures(Failures { cause, count: 1, first: subscriber });
    }

    /// Records that a subscriber could not register for now, and will try again.
    pub(super) fn retried(&mut self, cause: Cause, subscriber: u32) {
        self.counts.retried += 1;
        self.add_failures(Failures { cause, count: 1, first: subscriber });
    }

    /// Adds what another thread saw.
    pub(super) fn add(&mut self, other: &Self) {
        self.registration.add(&other.registration);
        self.lateness.add(&other.lateness);
        for (own, others) in self.steps.iter_mut().zip(&other.steps) {
            own.add(others);
        }
        for code in &other.codes {
            let same = |own: &&mut Code| (own.step, own.status) == (code.step, code.status);
            match self.codes.iter_mut().find(same) {
                Some(own) => own.latencies.add(&code.latencies),
                None => self.codes.push(code.clone()),
            }
        }
        for failures in &other.causes {
            self.add_failures(*failures);
        }
        self.counts.add(&other.counts);
        self.lent.extend_from_slice(&other.lent);
    }

    /// Looks for identities that were lent twice: each is a failure after all.
    pub(super) fn check_lent(&mut self) {
        self.counts.compared = self.lent.len() as u64;
        self.lent.sort_unstable();
        let twice =
            self.lent.windows(2).filter(|pair| matches!(pair, [one, other] if one == other));
        let count = twice.count() as u64;
        if count > 0 {
            self.counts.failed += count;
            self.counts.succeeded = self.counts.succeeded.saturating_sub(count);
            self.add_failures(Failures { cause: Cause::Collision, count, first: 0 });
        }
        self.lent = Vec::new();
    }

    fn add_failures(&mut self, failures: Failures) {
        match self.causes.iter_mut().find(|own| own.cause == failures.cause) {
            Some(own) => own.count += failures.count,
            None => self.causes.push(failures),
        }
    }
}
