//! The sections `[overload]` and `[limits]`: what happens when more comes than can be served, and how often one
//! source or one user may try.

use std::time::Duration;

use toml::de::DeValue;

use super::{
    MINUTE,
    read::{Section, Wrong, duration, list, number, parsed},
    set,
};
use crate::{
    node::admission::DELAY_MAX,
    sip_core::{Limits, Network, Rate},
};

/// What happens when more SIP requests come than can be served.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Overload {
    /// How long a request may wait for its turn; what would wait longer is refused.
    pub delay: Duration,
    /// The longest Retry-After of those refused.
    pub retry_after_max: Duration,
    /// The receive buffer of each UDP socket for SIP, octets.
    pub receive_buffer: usize,
}

impl Overload {
    /// The defaults.
    pub(super) const fn new() -> Self {
        Self {
            delay: Duration::from_millis(100),
            retry_after_max: Duration::from_secs(10),
            receive_buffer: 4 << 20,
        }
    }

    /// Reads the section.
    pub(super) fn read(&mut self, mut section: Section<'_>) {
        let delays = Duration::from_millis(5)..=DELAY_MAX;
        set(&mut self.delay, section.optional("delay", |value| duration(value, delays)));
        let retries = Duration::from_secs(1)..=10 * MINUTE;
        let longest = section.optional("retry_after_max", |value| duration(value, retries));
        set(&mut self.retry_after_max, longest);
        let octets = (64 << 10)..=(256 << 20);
        let buffer = section.optional("receive_buffer", |value| number(value, octets));
        set(&mut self.receive_buffer, buffer);
        section.finish();
    }
}

/// Reads the section `[limits]`.
pub(super) fn read_limits(mut section: Section<'_>, limits: &mut Limits) {
    for (limit, rate, burst) in [
        (&mut limits.source, "source_rate", "source_burst"),
        (&mut limits.identity, "identity_rate", "identity_burst"),
    ] {
        read_rate(&mut section, limit, (rate, burst));
    }
    let bits = section.optional("source_ipv6_bits", |value| number(value, 1..=128));
    set(&mut limits.source_ipv6_bits, bits);
    let network = |value: &DeValue<'_>| parsed(value, str::parse::<Network>, "192.0.2.0/28");
    set(&mut limits.exempt, section.optional("exempt", |value| list(value, network)));
    let challenges = section.optional("challenges", |value| number(value, 1..=64));
    set(&mut limits.challenges, challenges);
    section.finish();
}

/// Reads a rate, of which 0 is none, and how many at once: twice the rate if that is not said.
fn read_rate(
    section: &mut Section<'_>,
    limit: &mut Option<Rate>,
    (rate_key, burst_key): (&'static str, &'static str),
) {
    let rate = section.optional(rate_key, |value| number(value, 0..=1_000_000_u32));
    let burst = section.optional(burst_key, |value| number(value, 1..=1_000_000_u32));
    if let Some(per_second) = rate {
        let burst = per_second.saturating_mul(2);
        *limit = (per_second > 0).then_some(Rate { per_second, burst });
    }
    match (limit, burst) {
        (Some(limit), Some(burst)) => limit.burst = burst,
        (None, Some(_)) => {
            let what = format!("is given without a {rate_key}, which is what sets the limit");
            section.report(burst_key, Wrong::new(what, "give both, or leave it out"));
        }
        (_, None) => {}
    }
}
