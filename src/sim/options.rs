//! Which faults a simulated world has, and how often.

use std::time::Duration;

use super::SeededEntropy;
use crate::acm::Mode;

/// The faults of a world. Every rate is in occurrences per 1,000.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Options {
    /// How many UEs there are.
    pub ues: usize,
    /// How many UEs of 1,000 use TCP instead of UDP.
    pub tcp: u64,
    /// How many UEs of 1,000 are subscribers of B and migrate to A.
    pub of_b: u64,
    /// How many UEs of 1,000 use their real identities at the partner, by a grant.
    pub granted: u64,
    /// Where identities come from.
    pub pools: Pools,
    /// Datagrams lost.
    pub loss: u64,
    /// Datagrams that arrive twice.
    pub duplication: u64,
    /// The least time that octets are under way.
    pub delay_min: Duration,
    /// The most; datagrams overtake each other within this difference.
    pub delay_max: Duration,
    /// The most time that a commit takes.
    pub commit_max: Duration,
    /// How commits become durable.
    pub committing: Committing,
    /// Commits that take seconds; with [`Committing::Together`] all others queue behind them.
    pub stalls: u64,
    /// Commits that fail.
    pub commit_failures: u64,
    /// Attempts to read the storage back, after a failure or a crash, that fail partway.
    pub reload_failures: u64,
    /// The mean time between two spans in which one of the storages refuses every commit and cannot be opened
    /// again, as when a disk is full; `None` for none.
    pub refusal_every: Option<Duration>,
    /// The mean time between two partitions of the systems from each other; `None` for none.
    pub partition_every: Option<Duration>,
    /// The mean time between two restarts of one of the systems; `None` for none.
    pub restart_every: Option<Duration>,
    /// The mean time between two losses of a UE's TCP connection; `None` for none.
    pub disconnect_every: Option<Duration>,
    /// The mean time between two ends of an agreement about a user, which is made again later; `None` for
    /// none.
    pub withdraw_every: Option<Duration>,
    /// What administrators exchange by ACM; `None` for systems without that.
    pub exchange: Option<Exchange>,
}

/// The administrators of both systems, and what the systems do with what they ask for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Exchange {
    /// ACM clients of each system, each of a user of its own.
    pub clients: usize,
    /// Who decides requests of the partner in A, and who in B.
    pub modes: [Mode; 2],
    /// Whether A accepts a list of users in part, and whether B does.
    pub accepts_part: [bool; 2],
    /// Whether there is an interconnection with the partner as A sees it, and as B does.
    pub interconnected: [bool; 2],
    /// Whether a partner sends its configuration along with a pair. Otherwise UEs are told what administrators have
    /// exchanged.
    pub sends_configuration: bool,
}

/// Where the identities that are lent come from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pools {
    /// They are generated.
    Generated,
    /// Two of each kind are provisioned, lent before generated ones, and again after
    /// [`QUARANTINE`](super::QUARANTINE).
    Mixed,
    /// Two of each kind are provisioned, and there are no others.
    Listed,
}

/// How commits become durable, and what a failure leaves of those that are not yet.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Committing {
    /// In the order of their numbers, all that wait at a time; a failure leaves the first ones.
    #[default]
    Together,
    /// Those of each call of a role on their own, in any order; a failure leaves any of them. Harsher than
    /// any engine.
    Apart,
}

impl Options {
    /// No faults, and delays that do not vary: for tests of the procedure itself.
    pub const fn faultless() -> Self {
        Self {
            ues: 1,
            tcp: 0,
            of_b: 0,
            granted: 0,
            pools: Pools::Generated,
            loss: 0,
            duplication: 0,
            delay_min: Duration::from_millis(10),
            delay_max: Duration::from_millis(10),
            commit_max: Duration::from_millis(2),
            committing: Committing::Together,
            stalls: 0,
            commit_failures: 0,
            reload_failures: 0,
            refusal_every: None,
            partition_every: None,
            restart_every: None,
            disconnect_every: None,
            withdraw_every: None,
            exchange: None,
        }
    }

    /// [`Self::faultless`] with two ACM clients in each system, where people decide, and UEs that are told what these
    /// have exchanged.
    pub const fn exchanging() -> Self {
        let exchange = Exchange {
            clients: 2,
            modes: [Mode::Manual; 2],
            accepts_part: [false; 2],
            interconnected: [true; 2],
            sends_configuration: false,
        };
        Self { exchange: Some(exchange), ..Self::faultless() }
    }

    /// Faults drawn from `seed`. Each kind is left out in some worlds, so that faults which hide
    /// each other also occur apart.
    pub fn drawn(seed: u64) -> Self {
        let mut entropy = SeededEntropy::new(seed ^ 0x6f70_7469_6f6e_7321);
        let draw = &mut entropy;
        Self {
            ues: usize::try_from(2 + draw.below(3)).unwrap_or(2),
            tcp: rate(draw, 1_000),
            of_b: rate(draw, 500),
            granted: rate(draw, 500),
            pools: if draw.happens(500) { Pools::Mixed } else { Pools::Generated },
            loss: rate(draw, 300),
            duplication: rate(draw, 300),
            delay_min: Duration::from_micros(100),
            delay_max: Duration::from_millis(one_of(draw, [1, 20, 400, 2_500])),
            commit_max: Duration::from_millis(one_of(draw, [1, 10, 200, 3_000])),
            commit_failures: rate(draw, 50),
            partition_every: interval(draw),
            restart_every: interval(draw),
            disconnect_every: interval(draw),
            withdraw_every: interval(draw),
            committing: if draw.happens(500) { Committing::Together } else { Committing::Apart },
            stalls: rate(draw, 30),
            reload_failures: rate(draw, 600),
            refusal_every: interval(draw),
            exchange: None,
        }
    }

    /// The same with ACM clients, and with fewer UEs: what those do by themselves is the other worlds' matter.
    pub fn drawn_exchanging(seed: u64) -> Self {
        let drawn = Self::drawn(seed);
        let mut entropy = SeededEntropy::new(seed ^ 0x6578_6368_616e_6765);
        let mut mode = || match entropy.below(9) {
            0..=3 => Mode::Manual,
            4 | 5 => Mode::Accept,
            6 => Mode::ByRule { rejects_difference: false },
            7 => Mode::ByRule { rejects_difference: true },
            _ => Mode::Reject,
        };
        let modes = [mode(), mode()];
        let sends_configuration = entropy.happens(300);
        let accepts_part = [entropy.happens(500), entropy.happens(500)];
        let interconnected = [!entropy.happens(50), !entropy.happens(50)];
        let exchange =
            Exchange { clients: 3, modes, accepts_part, interconnected, sends_configuration };
        Self { ues: 1, exchange: Some(exchange), ..drawn }
    }

    /// The same world without faults from now on.
    pub(super) fn calmed(&self) -> Self {
        Self { ues: self.ues, exchange: self.exchange.clone(), ..Self::faultless() }
    }
}

fn rate(entropy: &mut SeededEntropy, most: u64) -> u64 {
    if entropy.happens(400) { 0 } else { entropy.below(most) + 1 }
}

fn interval(entropy: &mut SeededEntropy) -> Option<Duration> {
    let seconds = 20 + entropy.below(180);
    (!entropy.happens(400)).then(|| Duration::from_secs(seconds))
}

fn one_of(entropy: &mut SeededEntropy, [a, b, c, d]: [u64; 4]) -> u64 {
    match entropy.below(4) {
        0 => a,
        1 => b,
        2 => c,
        _ => d,
    }
}
