//! The report as JSON: one object, times in microseconds.

use serde_json::{Value, json};

use super::{PERCENTILES, Report, Summary};

/// The version of this shape: raised when a field changes its meaning or goes.
const SCHEMA: u32 = 2;

/// Writes the report for programs.
pub(in crate::node::load) fn to_json(report: &Report) -> Value {
    let counts = &report.facts.counts;
    let rows = report.rows().into_iter();
    let latencies = rows.map(|(name, summary)| (name.to_owned(), summary_of(summary)));
    let codes: Vec<Value> = report
        .codes
        .iter()
        .map(|(step, status, summary)| {
            json!({ "step": step, "status": status, "latency_us": summary_of(summary) })
        })
        .collect();
    let failures: Vec<Value> = report
        .failures
        .iter()
        .map(|failures| {
            json!({
                "cause": failures.cause.name(),
                "words": failures.cause.to_string(),
                "advice": failures.cause.advice(),
                "count": failures.count,
                "first_subscriber": u64::from(failures.first) + 1,
            })
        })
        .collect();
    json!({
        "schema": SCHEMA,
        "product": "migcore",
        "version": env!("CARGO_PKG_VERSION"),
        "started_at": report.started_at.to_rfc3339(),
        "setting": report.setting,
        "valid": report.is_valid(),
        "invalid_because": report.reasons,
        "offered_s": report.offered.as_secs_f64(),
        "took_s": report.took.as_secs_f64(),
        "offered_per_s": report.offered_per_s,
        "registrations_per_s": report.facts.registrations_per_s,
        "counts": {
            "started": counts.started,
            "succeeded": counts.succeeded,
            "failed": counts.failed,
            "retransmissions": counts.retransmissions,
            "resynchronizations": counts.resynchronizations,
            "provisional": counts.provisional,
            "retried": counts.retried,
            "stray": counts.stray,
            "malformed": counts.malformed,
            "no_idle_ue": counts.no_idle_ue,
            "identities_compared": counts.compared,
        },
        "latency_us": latencies.collect::<serde_json::Map<_, _>>(),
        "codes": codes,
        "failures": failures,
        "generator": generator(report),
        "deployed": report.server,
        "thresholds": report.judged,
        "search": report.trials,
        "interval_s": report.interval.as_secs_f64(),
        "timeline": report.timeline,
    })
}

fn generator(report: &Report) -> Value {
    let each =
        |value: fn(&super::Effort) -> f64| report.efforts.iter().map(value).collect::<Vec<_>>();
    json!({
        "lateness_us": summary_of(&report.lateness),
        "cpu_us_each": report.cpu_us_each(),
        "resident_octets": report.resident_octets,
        "cpu_share": each(super::Effort::cpu_share),
        "waited_share": each(super::Effort::waited_share),
        "dropped": report.efforts.iter().map(|effort| effort.dropped).sum::<u64>(),
    })
}

fn summary_of(summary: &Summary) -> Value {
    let latencies = &summary.latencies;
    let mut object = serde_json::Map::new();
    object.insert("count".to_owned(), summary.count().into());
    if summary.count() > 0 {
        object.insert("min".to_owned(), latencies.0.min().into());
        object.insert("mean".to_owned(), latencies.0.mean().into());
        for (name, percent) in PERCENTILES {
            object.insert(name.to_owned(), latencies.percentile(percent).into());
        }
        object.insert("max".to_owned(), latencies.0.max().into());
    }
    object.into()
}
