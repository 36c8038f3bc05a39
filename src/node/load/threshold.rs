//! Limits that a run must keep to: `p99>20ms`, `failures>0.1%`, `rate<1000`.

use std::{fmt, str::FromStr};

use super::report::{Facts, Summary, time};

/// A limit: when its expression is true, the run has failed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Threshold {
    text: String,
    metric: Metric,
    comparison: Comparison,
    /// In the unit of the metric.
    limit: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Metric {
    /// Microseconds, of which row.
    Latency(Row, Quantity),
    /// Of all registrations, percent.
    FailureShare,
    Failures,
    RetransmissionShare,
    Retransmissions,
    /// Registrations a second.
    Rate,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Row {
    Whole,
    Details,
    Challenge,
    Response,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Quantity {
    Percentile(f64),
    Mean,
    Min,
    Max,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What a value is given in.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
pub(super) enum Unit {
    #[serde(rename = "us")]
    Micros,
    #[serde(rename = "%")]
    Percent,
    /// How many.
    #[serde(rename = "1")]
    Count,
    /// A second.
    #[serde(rename = "1/s")]
    Rate,
}

/// Why a text is no threshold.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum InvalidThreshold {
    /// No comparison.
    #[error("has no <, <=, > or >=; write such as p99>20ms")]
    Comparison,
    /// An unknown metric.
    #[error(
        "names no metric before the sign; known are p50, p99.9 and the like, mean, min, max, these with details., challenge. or \
         response. before them, failures, retransmissions, rate"
    )]
    Metric,
    /// A wrong value.
    #[error(
        "has no value after the sign; write a time with us, ms or s, a share with %, a count or a rate without unit"
    )]
    Value,
}

/// What a threshold was held against.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Judged {
    /// The expression.
    pub(super) expression: String,
    /// The value, in its unit.
    pub(super) value: f64,
    pub(super) unit: Unit,
    /// Whether the expression is true.
    pub(super) broken: bool,
}

impl FromStr for Threshold {
    type Err = InvalidThreshold;

    fn from_str(text: &str) -> Result<Self, InvalidThreshold> {
        let at = text.find(['<', '>']).ok_or(InvalidThreshold::Comparison)?;
        let (name, rest) = text.split_at(at);
        let (comparison, value) = [
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ]
        .into_iter()
        .find_map(|(sign, comparison)| Some((comparison, rest.strip_prefix(sign)?)))
        .ok_or(InvalidThreshold::Comparison)?;
        let (metric, limit) = metric_and_limit(name.trim(), value.trim())?;
        Ok(Self { text: text.trim().to_owned(), metric, comparison, limit })
    }
}

impl Threshold {
    /// Holds a run against it.
    pub(super) fn judge(&self, facts: &Facts) -> Judged {
        let value = self.metric.value(facts);
        let broken = match self.comparison {
            Comparison::Less => value < self.limit,
            Comparison::LessOrEqual => value <= self.limit,
            Comparison::Greater => value > self.limit,
            Comparison::GreaterOrEqual => value >= self.limit,
        };
        Judged { expression: self.text.clone(), value, unit: self.metric.unit(), broken }
    }
}

impl Judged {
    /// The value for people.
    pub(super) fn shown(&self) -> String {
        let value = self.value;
        match self.unit {
            Unit::Micros => time(rounded(value)),
            Unit::Percent => format!("{value:.2} %"),
            Unit::Count => format!("{value:.0}"),
            Unit::Rate => format!("{value:.0}/s"),
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Metric {
    const fn unit(self) -> Unit {
        match self {
            Self::Latency(..) => Unit::Micros,
            Self::FailureShare | Self::RetransmissionShare => Unit::Percent,
            Self::Failures | Self::Retransmissions => Unit::Count,
            Self::Rate => Unit::Rate,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of a run")]
    fn value(self, facts: &Facts) -> f64 {
        let share = |count: u64| 100.0 * count as f64 / (facts.counts.started.max(1)) as f64;
        match self {
            Self::Latency(row, quantity) => {
                let row = match row {
                    Row::Whole => &facts.registration,
                    Row::Details => &facts.details,
                    Row::Challenge => &facts.challenge,
                    Row::Response => &facts.response,
                };
                quantity.of(row)
            }
            Self::FailureShare => share(facts.counts.failed),
            Self::Failures => facts.counts.failed as f64,
            Self::RetransmissionShare => share(facts.counts.retransmissions),
            Self::Retransmissions => facts.counts.retransmissions as f64,
            Self::Rate => facts.registrations_per_s,
        }
    }
}

impl Quantity {
    #[expect(clippy::cast_precision_loss, reason = "microseconds")]
    fn of(self, row: &Summary) -> f64 {
        match self {
            Self::Percentile(percent) => row.latencies.percentile(percent) as f64,
            Self::Mean => row.latencies.0.mean(),
            Self::Min => row.latencies.0.min() as f64,
            Self::Max => row.latencies.0.max() as f64,
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "microseconds")]
fn rounded(micros: f64) -> u64 {
    micros.round() as u64
}

fn metric_and_limit(name: &str, value: &str) -> Result<(Metric, f64), InvalidThreshold> {
    let (shares, counts) = match name {
        "failures" => (Metric::FailureShare, Metric::Failures),
        "retransmissions" => (Metric::RetransmissionShare, Metric::Retransmissions),
        "rate" => return Ok((Metric::Rate, number(value)?)),
        _ => {
            let (row, quantity) = match name.split_once('.') {
                Some(("details", rest)) => (Row::Details, rest),
                Some(("challenge", rest)) => (Row::Challenge, rest),
                Some(("response", rest)) => (Row::Response, rest),
                _ => (Row::Whole, name),
            };
            return Ok((Metric::Latency(row, quantity_named(quantity)?), micros(value)?));
        }
    };
    match value.strip_suffix('%') {
        Some(percent) => Ok((shares, number(percent)?)),
        None => Ok((counts, number(value)?)),
    }
}

fn quantity_named(name: &str) -> Result<Quantity, InvalidThreshold> {
    match name {
        "mean" => Ok(Quantity::Mean),
        "min" => Ok(Quantity::Min),
        "max" => Ok(Quantity::Max),
        _ => {
            let percent = name.strip_prefix('p').and_then(|digits| digits.parse().ok());
            let percent = percent.filter(|percent| (0.0..=100.0).contains(percent));
            percent.map(Quantity::Percentile).ok_or(InvalidThreshold::Metric)
        }
    }
}

fn micros(value: &str) -> Result<f64, InvalidThreshold> {
    for (unit, factor) in [("us", 1.0), ("ms", 1e3), ("s", 1e6)] {
        if let Some(digits) = value.strip_suffix(unit) {
            return Ok(number(digits)? * factor);
        }
    }
    Err(InvalidThreshold::Value)
}

fn number(text: &str) -> Result<f64, InvalidThreshold> {
    let value = text.trim().parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0);
    value.ok_or(InvalidThreshold::Value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::load::recorder::{Counts, Latencies};

    fn facts() -> Facts {
        let mut latencies = Latencies::new();
        (1..=1_000).for_each(|millis| latencies.record(millis * 1_000_000));
        let row = |latencies: &Latencies| Summary::new(latencies.clone());
        Facts {
            registration: row(&latencies),
            details: row(&Latencies::new()),
            challenge: row(&Latencies::new()),
            response: row(&latencies),
            counts: Counts { started: 2_000, failed: 3, retransmissions: 40, ..Counts::default() },
            registrations_per_s: 999.5,
        }
    }

    #[test]
    fn an_expression_is_true_or_false_of_a_run() {
        for (text, broken) in [
            ("p99>20ms", true),
            ("p99 > 2s", false),
            ("p50<=500.5ms", true),
            ("p99.9<999000us", false),
            ("max>=1s", true),
            ("mean>600ms", false),
            ("response.p99>20ms", true),
            ("challenge.p99>0us", false),
            ("failures>0.1%", true),
            ("failures>0.15%", false),
            ("failures>2", true),
            ("retransmissions>2%", false),
            ("rate<1000", true),
            ("rate<999", false),
        ] {
            let threshold: Threshold = text.parse().unwrap();
            assert_eq!(threshold.judge(&facts()).broken, broken, "{text}");
        }
    }

    #[test]
    fn what_is_no_expression_is_told_by_what_it_lacks() {
        for (text, error) in [
            ("p99", InvalidThreshold::Comparison),
            ("p99=20ms", InvalidThreshold::Comparison),
            ("p101>20ms", InvalidThreshold::Metric),
            ("latency>20ms", InvalidThreshold::Metric),
            ("refresh.p99>20ms", InvalidThreshold::Metric),
            ("p99>20", InvalidThreshold::Value),
            ("p99>fast", InvalidThreshold::Value),
            ("rate<10%", InvalidThreshold::Value),
            ("failures>-1", InvalidThreshold::Value),
        ] {
            assert_eq!(text.parse::<Threshold>(), Err(error), "{text}");
        }
    }
}
