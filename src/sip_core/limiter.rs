//! The limits of attempts: how often one source, and one user, may try to register.
//!
//! Each is a token bucket, in a table of fixed size. A bucket that is full again says nothing, so it is what a
//! new one takes the place of: a limit is exact as long as no more sources than [`BUCKETS`] are at work within
//! the time that their tokens take to come back. Beyond that the one that is nearest to full is forgotten, which
//! errs towards whoever asks.
//!
//! Who is over a limit is refused like anybody when there is too much to do: 503 with Retry-After, not 403, for
//! the request is not at fault (RFC 3261 section 21.5.4, RFC 7339). As many are refused as would be served; the
//! rest of what comes too fast is dropped.

use std::{
    hash::Hash,
    net::IpAddr,
    str::FromStr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use ahash::RandomState;

use super::{SipCore, answer::RegisterError};
use crate::{
    entropy::Entropy,
    identity::Impi,
    outbox::{Context, Limit, Note},
    table::new_hasher,
    time::Timestamp,
};

/// Most buckets of one limit.
pub const BUCKETS: usize = SETS * WAYS;

const SETS: usize = 4_096;
const WAYS: usize = 4;

/// How often something may be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    /// So many times a second, at least 1.
    pub per_second: u32,
    /// So many times at once after a pause, at least 1.
    pub burst: u32,
}

/// What may be tried how often.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// New REGISTER requests of one source; a registration takes two. `None` is no limit.
    pub source: Option<Rate>,
    /// How many leading bits of an IPv6 address are one source.
    pub source_ipv6_bits: u8,
    /// Sources without a limit: P-CSCFs, behind which there are many users.
    pub exempt: Vec<Network>,
    /// Vectors for one private identity. `None` is no limit.
    pub identity: Option<Rate>,
    /// Most challenges of one user that wait for their answer. The oldest gives way to one more, so that
    /// nobody can lock a user out with challenges that are never answered.
    pub challenges: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            source: None,
            source_ipv6_bits: 64,
            exempt: Vec::new(),
            identity: Some(Rate { per_second: 100, burst: 200 }),
            challenges: 4,
        }
    }
}

/// The IP addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// A text that is no network.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an IP address, or one with / and a number of bits")]
pub struct MalformedNetwork;

impl Network {
    /// Whether `address` is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.address.is_ipv4() == address.is_ipv4()
            && leading(address, self.bits) == leading(self.address, self.bits)
    }
}

impl FromStr for Network {
    type Err = MalformedNetwork;

    fn from_str(text: &str) -> Result<Self, MalformedNetwork> {
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address = address.parse::<IpAddr>().map_err(|_| MalformedNetwork)?.to_canonical();
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_| MalformedNetwork)?;
        if bits <= most { Ok(Self { address, bits }) } else { Err(MalformedNetwork) }
    }
}

/// The first bits of an address.
fn leading(address: IpAddr, bits: u8) -> u128 {
    let (number, width) = match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    };
    number.checked_shr(width - u32::from(bits)).unwrap_or(0)
}

/// What becomes of an attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// It is within the limit.
    Within,
    /// It is over the limit, and is to be refused.
    Over,
    /// So much is over the limit that it is not even refused.
    FarOver,
}

/// Counts attempts against their limits.
#[derive(Debug)]
pub(super) struct Limiter {
    sources: Option<Buckets>,
    source_ipv6_bits: u8,
    exempt: Vec<Network>,
    identities: Option<Buckets>,
}

impl Limiter {
    pub(super) fn new(limits: &Limits, entropy: &mut dyn Entropy) -> Self {
        let hasher = new_hasher(entropy);
        Self {
            sources: limits.source.map(|rate| Buckets::new(rate, hasher.clone())),
            source_ipv6_bits: limits.source_ipv6_bits,
            exempt: limits.exempt.clone(),
            identities: limits.identity.map(|rate| Buckets::new(rate, hasher)),
        }
    }

    /// Whether there is a limit for requests from `source`.
    pub(super) fn limits(&self, source: IpAddr) -> bool {
        self.sources.is_some() && !self.exempt.iter().any(|network| network.contains(source))
    }

    /// Counts a new request from `source`, for which there is a limit.
    pub(super) fn count_source(&self, source: IpAddr, now: Timestamp) -> Verdict {
        let source = source.to_canonical();
        let bits = if source.is_ipv4() { 32 } else { self.source_ipv6_bits };
        let key = (source.is_ipv4(), leading(source, bits));
        self.sources.as_ref().map_or(Verdict::Within, |sources| sources.take(&key, now))
    }

    /// Counts a vector that is wanted for a user.
    pub(super) fn count_identity(&self, impi: &Impi, now: Timestamp) -> Verdict {
        self.identities.as_ref().map_or(Verdict::Within, |identities| identities.take(impi, now))
    }
}

impl SipCore {
    /// Counts a REGISTER from `source`, known by `key`, against the limit of sources. A repeated one is no
    /// further attempt.
    pub(super) fn count_source(
        &self,
        ctx: &mut Context<'_>,
        source: IpAddr,
        key: u128,
    ) -> Result<(), RegisterError> {
        if !self.limiter.limits(source) || self.transactions.contains(key, ctx.now) {
            return Ok(());
        }
        within(ctx, Limit::Source, self.limiter.count_source(source, ctx.now))
    }

    /// Counts an attempt of a user, which costs a vector, against the limit of identities.
    pub(super) fn count_attempt(
        &self,
        ctx: &mut Context<'_>,
        impi: &Impi,
    ) -> Result<(), RegisterError> {
        within(ctx, Limit::Identity, self.limiter.count_identity(impi, ctx.now))
    }
}

fn within(ctx: &mut Context<'_>, limit: Limit, verdict: Verdict) -> Result<(), RegisterError> {
    if verdict != Verdict::Within {
        ctx.out.note(Note::Limited(limit));
    }
    match verdict {
        Verdict::Within => Ok(()),
        Verdict::Over => Err(RegisterError::Limited),
        Verdict::FarOver => Err(RegisterError::Ignored),
    }
}

/// Token buckets of one rate, by key. Each is in the set that its key's hash names, among [`WAYS`] others.
#[derive(Debug)]
struct Buckets {
    hasher: RandomState,
    /// How long one token takes to come back, nanoseconds.
    interval: u64,
    /// How long a whole bucket takes.
    whole: u64,
    sets: Box<[Mutex<[Bucket; WAYS]>]>,
}

/// A token bucket, by the time when it is full again: the generic cell rate algorithm.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    key: u64,
    /// Nanoseconds since the epoch.
    full_at: u64,
    /// The same of a second bucket, for refusals.
    refusals_full_at: u64,
}

impl Buckets {
    fn new(rate: Rate, hasher: RandomState) -> Self {
        let interval = 1_000_000_000 / u64::from(rate.per_second.max(1));
        let whole = interval * u64::from(rate.burst.max(1));
        let sets = (0..SETS).map(|_| Mutex::default()).collect();
        Self { hasher, interval, whole, sets }
    }

    fn take(&self, key: &impl Hash, now: Timestamp) -> Verdict {
        let hash = self.hasher.hash_one(key);
        let now = now.as_micros().saturating_mul(1_000);
        let set = usize::try_from(hash % SETS as u64).ok().and_then(|at| self.sets.get(at));
        let Some(set) = set else { return Verdict::Within };
        let mut set = set.lock().unwrap_or_else(PoisonError::into_inner);
        let at = set.iter().position(|bucket| bucket.key == hash);
        let found = match at {
            Some(at) => set.get_mut(at),
            None => set.iter_mut().min_by_key(|bucket| bucket.full_at),
        };
        let Some(bucket) = found else { return Verdict::Within };
        if bucket.key != hash {
            *bucket = Bucket { key: hash, ..Bucket::default() };
        }
        if self.take_token(&mut bucket.full_at, now) {
            Verdict::Within
        } else if self.take_token(&mut bucket.refusals_full_at, now) {
            Verdict::Over
        } else {
            Verdict::FarOver
        }
    }

    fn take_token(&self, full_at: &mut u64, now: u64) -> bool {
        let after = now.max(*full_at).saturating_add(self.interval);
        let has_one = after.saturating_sub(now) <= self.whole;
        if has_one {
            *full_at = after;
        }
        has_one
    }
}

/// When who is refused should try again, seconds: not all of them at once. `draw` is random.
pub fn retry_after(draw: u64, longest: Duration) -> u32 {
    let longest = longest.as_secs().max(1);
    u32::try_from(1 + draw % longest).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Entropy for Fixed {
        fn fill(&mut self, out: &mut [u8]) {
            out.fill(7);
        }
    }

    const RATE: Rate = Rate { per_second: 10, burst: 3 };

    fn limiter(limits: &Limits) -> Limiter {
        Limiter::new(limits, &mut Fixed)
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000) + Duration::from_millis(millis)
    }

    fn user(number: u64) -> Impi {
        Impi::parse(&format!("user-{number}@a.example")).unwrap()
    }

    #[test]
    fn a_user_has_a_burst_then_the_rate_and_as_many_refusals() {
        let limiter = limiter(&Limits { identity: Some(RATE), ..Limits::default() });
        let take = |millis| limiter.count_identity(&user(1), at(millis));
        let at_once: Vec<_> = (0..8).map(|_| take(0)).collect();
        assert_eq!(at_once[..3], [Verdict::Within; 3]);
        assert_eq!(at_once[3..6], [Verdict::Over; 3]);
        assert_eq!(at_once[6..], [Verdict::FarOver; 2]);
        assert_eq!([take(99), take(100)], [Verdict::FarOver, Verdict::Within]);
        assert_eq!([take(101), take(102)], [Verdict::Over, Verdict::FarOver]);
        assert_eq!(limiter.count_identity(&user(2), at(102)), Verdict::Within);
        let later: Vec<_> = (0..4).map(|_| take(10_000)).collect();
        assert_eq!(
            later[..3],
            [Verdict::Within; 3],
            "a pause fills the bucket, and no more than that"
        );
        assert_eq!(later[3], Verdict::Over);
    }

    #[test]
    fn others_at_work_meanwhile_do_not_make_a_limit_forgotten() {
        let limiter = limiter(&Limits { identity: Some(RATE), ..Limits::default() });
        for _ in 0..3 {
            limiter.count_identity(&user(0), at(0));
        }
        for number in 1..=BUCKETS as u64 / 8 {
            assert_eq!(limiter.count_identity(&user(number), at(1)), Verdict::Within);
        }
        assert_ne!(limiter.count_identity(&user(0), at(2)), Verdict::Within);
    }

    #[test]
    fn a_source_is_an_ipv4_address_or_the_network_of_an_ipv6_address() {
        let exempt = vec!["192.0.2.0/28".parse().unwrap(), "2001:db8:1::/48".parse().unwrap()];
        let rate = Rate { per_second: 1, burst: 1 };
        let limits = Limits { source: Some(rate), exempt, ..Limits::default() };
        let limiter = limiter(&limits);
        for (address, limited, verdict) in [
            ("192.0.2.16", true, Verdict::Within),
            ("192.0.2.17", true, Verdict::Within),
            ("::ffff:192.0.2.17", true, Verdict::Over),
            ("192.0.2.15", false, Verdict::Within),
            ("::ffff:192.0.2.15", false, Verdict::Over),
            ("2001:db8:2:3::1", true, Verdict::Within),
            ("2001:db8:2:3:ffff::", true, Verdict::Over),
            ("2001:db8:2:4::1", true, Verdict::Within),
            ("2001:db8:1:ffff::1", false, Verdict::Within),
        ] {
            let source = address.parse().unwrap();
            assert_eq!(limiter.limits(source), limited, "{address}");
            assert_eq!(limiter.count_source(source, at(0)), verdict, "{address}");
        }
        let unlimited = Limiter::new(&Limits::default(), &mut Fixed);
        assert!(!unlimited.limits("192.0.2.16".parse().unwrap()));
    }

    #[test]
    fn a_network_is_an_address_with_or_without_a_number_of_bits() {
        for (network, address, contains) in [
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("0.0.0.0/0", "198.51.100.1", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "2001:db8::1", true),
        ] {
            let network: Network = network.parse().unwrap();
            assert_eq!(
                network.contains(address.parse().unwrap()),
                contains,
                "{network:?} {address}"
            );
        }
        for text in ["", "a.example", "192.0.2.0/33", "192.0.2.0/", "::/129", "192.0.2.0/24/1"] {
            assert_eq!(text.parse::<Network>(), Err(MalformedNetwork), "{text}");
        }
    }

    #[test]
    fn refusals_are_spread_over_the_whole_time() {
        let drawn: std::collections::BTreeSet<_> =
            (0..100).map(|draw| retry_after(draw * 7_919, Duration::from_secs(10))).collect();
        assert_eq!(drawn, (1..=10).collect());
        assert_eq!(retry_after(3, Duration::ZERO), 1);
    }
}
