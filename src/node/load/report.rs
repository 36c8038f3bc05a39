//! What a run found, as one value: the table, the JSON and the page show nothing else.

mod chart;
mod json;
mod page;
mod table;

use std::time::Duration;

use super::{
    cause::Step,
    effort::Effort,
    recorder::{Counts, Failures, Latencies, Recorder},
    threshold::Judged,
    verdict::Reason,
};
use crate::time::Timestamp;

pub(super) use self::{json::to_json, page::to_page, table::to_table};

/// Percentiles that are shown.
pub(super) const PERCENTILES: [(&str, f64); 6] = [
    ("p50", 50.0),
    ("p90", 90.0),
    ("p95", 95.0),
    ("p99", 99.0),
    ("p99.9", 99.9),
    ("p99.99", 99.99),
];

/// The latencies of one row.
pub(super) struct Summary {
    pub(super) latencies: Latencies,
}

/// What thresholds are held against.
pub(super) struct Facts {
    /// From the intended begin to the end.
    pub(super) registration: Summary,
    pub(super) details: Summary,
    pub(super) challenge: Summary,
    pub(super) response: Summary,
    pub(super) counts: Counts,
    pub(super) registrations_per_s: f64,
}

/// What a run was.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(super) struct Setting {
    pub(super) workload: &'static str,
    pub(super) target: String,
    pub(super) transport: &'static str,
    pub(super) arrival: String,
    pub(super) subscribers: usize,
    pub(super) threads: usize,
    pub(super) seed: u64,
}

/// What a run found.
pub(super) struct Report {
    pub(super) setting: Setting,
    pub(super) started_at: Timestamp,
    /// Until the last registration had begun, and until all had ended.
    pub(super) offered: Duration,
    pub(super) took: Duration,
    pub(super) offered_per_s: f64,
    pub(super) facts: Facts,
    /// By step and answer code.
    pub(super) codes: Vec<(Step, u16, Summary)>,
    /// Most frequent first.
    pub(super) failures: Vec<Failures>,
    pub(super) reasons: Vec<Reason>,
    pub(super) lateness: Summary,
    pub(super) efforts: Vec<Effort>,
    /// Resident memory of the generator at the end, octets.
    pub(super) resident_octets: u64,
    pub(super) server: Option<Server>,
    pub(super) judged: Vec<Judged>,
    pub(super) interval: Duration,
    pub(super) timeline: Vec<Point>,
    pub(super) trials: Vec<Trial>,
}

/// What the systems that were started by us spent.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Server {
    /// Time of a processor for each that succeeded, microseconds; of all systems together.
    pub(super) cpu_us_each: f64,
    /// Resident memory at the end, octets; of all systems together.
    pub(super) resident_octets: u64,
    /// Datagrams that the kernel dropped since a receive buffer of theirs was full.
    pub(super) dropped: u64,
}

/// One interval.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(super) struct Point {
    /// Its begin, seconds.
    pub(super) at_s: f64,
    pub(super) started_per_s: f64,
    pub(super) succeeded_per_s: f64,
    pub(super) failed_per_s: f64,
    pub(super) p50_us: u64,
    pub(super) p99_us: u64,
}

/// One rate that a search has tried.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Trial {
    pub(super) rate: f64,
    pub(super) registrations_per_s: f64,
    pub(super) p99_us: u64,
    pub(super) failures: u64,
    /// Whether it kept the bounds.
    pub(super) kept: bool,
    /// Why the generator could not tell; empty if it could.
    pub(super) invalid: Vec<&'static str>,
}

impl Summary {
    pub(super) const fn new(latencies: Latencies) -> Self {
        Self { latencies }
    }

    pub(super) fn count(&self) -> u64 {
        self.latencies.0.len()
    }
}

impl Facts {
    pub(super) fn new(recorder: &Recorder, registrations_per_s: f64) -> Self {
        let [details, challenge, response] = &recorder.steps;
        Self {
            registration: Summary::new(recorder.registration.clone()),
            details: Summary::new(details.clone()),
            challenge: Summary::new(challenge.clone()),
            response: Summary::new(response.clone()),
            counts: recorder.counts,
            registrations_per_s,
        }
    }
}

impl Report {
    /// Whether the generator can vouch for what it reports.
    pub(super) const fn is_valid(&self) -> bool {
        self.reasons.is_empty()
    }

    /// Whether a threshold is broken.
    pub(super) fn is_broken(&self) -> bool {
        self.judged.iter().any(|judged| judged.broken)
    }

    /// Time of a processor that the generator itself spent for each that succeeded, microseconds. Where HTTP is
    /// spoken, the threads beside that do so are left out.
    pub(super) fn cpu_us_each(&self) -> f64 {
        let cpu: Duration = self.efforts.iter().map(|effort| effort.cpu).sum();
        #[expect(clippy::cast_precision_loss, reason = "a count")]
        let count = self.facts.counts.succeeded.max(1) as f64;
        cpu.as_secs_f64() * 1e6 / count
    }

    /// What is counted.
    pub(super) fn noun(&self) -> &'static str {
        match self.setting.workload {
            "migrate" => "migration",
            "identities" => "allocation",
            "cx" => "vector",
            _ => "registration",
        }
    }

    /// The rows of latencies that every format shows: name, and what it is of.
    pub(super) fn rows(&self) -> Vec<(&'static str, &Summary)> {
        let Facts { registration, details, challenge, response, .. } = &self.facts;
        let steps = [("details", details), ("challenge", challenge), ("response", response)];
        let asked: &[&str] = match self.setting.workload {
            "migrate" => &["details", "challenge", "response"],
            "identities" | "cx" => &[],
            _ => &["challenge", "response"],
        };
        let asked = steps.into_iter().filter(|(name, _)| asked.contains(name));
        std::iter::once((self.noun(), registration)).chain(asked).collect()
    }
}

/// Octets for people.
pub(super) fn mebibytes(octets: u64) -> String {
    format!("{} MiB", octets >> 20)
}

/// Microseconds for people.
pub(super) fn time(micros: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let value = micros as f64;
    match micros {
        0..10_000 => format!("{:.2} ms", value / 1e3),
        10_000..1_000_000 => format!("{:.1} ms", value / 1e3),
        _ => format!("{:.2} s", value / 1e6),
    }
}
