//! How the values of arguments are written.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    str::FromStr,
    time::Duration,
};

use crate::{
    aka::digest::Algorithm,
    identity::{IdentityError, Plmn},
    node::load::{SOCKETS_MAX, THREADS_MAX, subscribers::SUBSCRIBERS_MAX},
    outbox::Transport,
};

/// Whom to ask, and over what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) transport: Transport,
    pub(super) address: SocketAddr,
}

/// A rate that changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ramp {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) time: Duration,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (transport, rest) = match text.split_once(':') {
            Some(("udp", rest)) => (Transport::Udp, rest),
            Some(("tcp", rest)) => (Transport::Tcp, rest),
            Some(("tls", rest)) => (Transport::Tls, rest),
            _ => return Err("begins with none of udp:, tcp: and tls:".to_owned()),
        };
        let mut addresses =
            rest.to_socket_addrs().map_err(|error| format!("has no address: {error}"))?;
        let address = addresses.next().ok_or("has no address")?;
        Ok(Self { transport, address })
    }
}

impl FromStr for Ramp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "is not such as 100..5000/60s".to_owned();
        let (rates, time) = text.split_once('/').ok_or_else(wrong)?;
        let (from, to) = rates.split_once("..").ok_or_else(wrong)?;
        let at_least_none = |text: &str| if text == "0" { Ok(0.0) } else { rate(text) };
        let (from, to, time) = (at_least_none(from)?, rate(to)?, duration(time)?);
        if time.is_zero() {
            return Err("takes no time".to_owned());
        }
        Ok(Self { from, to, time })
    }
}

pub(super) fn plmn(text: &str) -> Result<Plmn, IdentityError> {
    Plmn::parse(text)
}

pub(super) fn rate(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|rate: &f64| (0.001..=1e9).contains(rate));
    value.ok_or_else(|| "is no rate; write registrations a second".to_owned())
}

pub(super) fn count(text: &str) -> Result<usize, String> {
    let value = text.parse().ok().filter(|count| (1..=SUBSCRIBERS_MAX).contains(count));
    value.ok_or_else(|| format!("is no number from 1 to {SUBSCRIBERS_MAX}"))
}

pub(super) fn threads(text: &str) -> Result<usize, String> {
    let value = text.parse().ok().filter(|count| (1..=THREADS_MAX).contains(count));
    value.ok_or_else(|| format!("is no number from 1 to {THREADS_MAX}"))
}

pub(super) fn sockets(text: &str) -> Result<usize, String> {
    let value = text.parse().ok().filter(|count| (1..=SOCKETS_MAX).contains(count));
    value.ok_or_else(|| format!("is no number from 1 to {SOCKETS_MAX}"))
}

pub(super) fn algorithm(text: &str) -> Result<Algorithm, String> {
    Algorithm::parse(text)
        .ok_or_else(|| "is none of AKAv1-MD5, AKAv2-MD5, AKAv2-SHA-256".to_owned())
}

/// Reads a time such as 500ms, 10s, 5min or 1h.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    for (unit, millis) in [("ms", 1), ("min", 60_000), ("s", 1_000), ("h", 3_600_000)] {
        if let Some(digits) = text.strip_suffix(unit) {
            let count = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(millis));
            // A day or so: beyond it, clocks and counters are another matter.
            let count = count.filter(|millis| (1..=100_000_000).contains(millis));
            return count
                .map(Duration::from_millis)
                .ok_or_else(|| "is no time from 1ms to 27h".to_owned());
        }
    }
    Err("is no time; write a number and ms, s, min or h".to_owned())
}
