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
    let rate = |value: &DeValue<'_>| number(value, 1..=1_000_000_u32);
    let source = section.optional("source_rate", |value| number(value, 0..=1_000_000_u32));
    let burst = section.optional("source_burst", rate);
    limits.source = source.filter(|rate| *rate > 0).map(|per_second| Rate {
        per_second,
        burst: burst.unwrap_or_else(|| per_second.saturating_mul(2)),
    });
    if burst.is_some() && limits.source.is_none() {
        let what = "is given without a source_rate, which is what sets the limit";
        section.report("source_burst", Wrong::new(what, "give both, or leave it out"));
    }
    let bits = section.optional("source_ipv6_bits", |value| number(value, 1..=128));
    set(&mut limits.source_ipv6_bits, bits);
    let network = |value: &DeValue<'_>| parsed(value, str::parse::<Network>, "192.0.2.0/28");
    set(&mut limits.exempt, section.optional("exempt", |value| list(value, network)));
    set(&mut limits.identity.per_second, section.optional("identity_rate", rate));
    set(&mut limits.identity.burst, section.optional("identity_burst", rate));
    let challenges = section.optional("challenges", |value| number(value, 1..=64));
    set(&mut limits.challenges, challenges);
    section.finish();
}
