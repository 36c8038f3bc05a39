//! What becomes of each message on its way: drawn from a seed, and counted.

use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

use crate::common::Seeded;

/// How many of a thousand messages are lost, and how many are repeated.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    pub lost: u64,
    pub repeated: u64,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fate {
    Passed,
    Lost,
    Repeated,
}

/// One kind of message on one link, such as the HTTP requests on CSC-4. Its n-th message has the same
/// fate in each run with the same seed.
#[derive(Debug)]
pub struct Kind {
    pub name: &'static str,
    rates: Rates,
    draws: Mutex<Seeded>,
    passed: AtomicU64,
    lost: AtomicU64,
    repeated: AtomicU64,
}

impl Kind {
    pub fn new(name: &'static str, seed: u64, rates: Rates) -> Self {
        // FNV-1a: each kind draws on its own, so that one link's traffic does not move another's.
        let own = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, octet| {
            (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3)
        });
        let draws = Mutex::new(Seeded(seed ^ own));
        let (passed, lost, repeated) = Default::default();
        Self { name, rates, draws, passed, lost, repeated }
    }

    /// Draws the fate of the next message, and counts it.
    pub fn draw(&self) -> Fate {
        let drawn = self.draws.lock().unwrap().below(1_000);
        let (fate, counter) = if drawn < self.rates.lost {
            (Fate::Lost, &self.lost)
        } else if drawn < self.rates.lost + self.rates.repeated {
            (Fate::Repeated, &self.repeated)
        } else {
            (Fate::Passed, &self.passed)
        };
        counter.fetch_add(1, Ordering::Relaxed);
        fate
    }

    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    pub fn repeated(&self) -> u64 {
        self.repeated.load(Ordering::Relaxed)
    }

    /// All messages, whatever became of them.
    pub fn total(&self) -> u64 {
        self.passed.load(Ordering::Relaxed) + self.lost() + self.repeated()
    }

    /// Whether what can happen to this kind has happened: the positive control.
    pub fn has_shown_all(&self) -> bool {
        (self.rates.lost == 0 || self.lost() > 0)
            && (self.rates.repeated == 0 || self.repeated() > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_each_kind_its_own_fates_at_the_rates_asked_for() {
        let rates = Rates { lost: 5, repeated: 10 };
        let fates = |name, seed| {
            let kind = Kind::new(name, seed, rates);
            let fates: Vec<Fate> = (0..100_000).map(|_| kind.draw()).collect();
            assert_eq!(kind.total(), 100_000);
            assert!((400..600).contains(&kind.lost()), "{kind:?}");
            assert!((850..1_150).contains(&kind.repeated()), "{kind:?}");
            fates
        };
        assert_eq!(fates("one", 1), fates("one", 1));
        assert_ne!(fates("one", 1), fates("two", 1));
        assert_ne!(fates("one", 1), fates("one", 2));
    }
}
