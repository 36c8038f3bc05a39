//! What was acknowledged, what that leaves possible, and what contradicts it.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use migcore::{
    identity::UserIdentity,
    sim::{
        self,
        ledger::{Change, Ledger, Outcome, Ticket},
    },
    time::Timestamp,
};

/// How far the ends of a registration may be off, microseconds: systems and clients read one clock, but
/// not at the same instant.
const CLOCK_SLACK: u64 = 1_500_000;

/// Most violations that are kept in words.
const VIOLATIONS_MAX: usize = 20;

/// How many bits of SQN are IND: the default.
const IND_BITS: u8 = 5;

/// The time now.
pub fn timestamp() -> Timestamp {
    Timestamp::from_micros(now())
}

/// Microseconds since the Unix epoch.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_micros()).unwrap()
}

/// What a violation is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Violation {
    /// What was acknowledged is gone.
    Lost,
    /// What may be there once was there twice.
    Doubled,
    /// What had ended is there again.
    Resurrected,
    /// A request that had to succeed was refused.
    Refused,
}

/// What has been acknowledged so far, how often, and what was wrong.
#[derive(Debug)]
pub struct History {
    pub registrations: Count,
    pub refreshes: Count,
    pub deregistrations: Count,
    pub fetches: Count,
    pub vectors: Count,
    pub allocations: Count,
    pub repeats: Count,
    pub releases: Count,
    pub details: Count,
    /// Requests without a definite answer: their effect was found out later.
    pub in_doubt: Count,
    /// Requests that a system said it cannot serve now.
    pub unavailable: Count,
    /// Comparisons of what a system says with what was acknowledged.
    pub compared: Count,
    /// What A and B were asked and what they acknowledged, for the comparison with what they stored.
    ledgers: [Mutex<Ledger>; 2],
    violations: Mutex<Violations>,
}

/// A counter.
#[derive(Default)]
pub struct Count(AtomicU64);

#[derive(Debug, Default)]
struct Violations {
    counts: HashMap<Violation, u64>,
    in_words: Vec<String>,
}

impl Count {
    pub fn add(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl fmt::Debug for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl Default for History {
    fn default() -> Self {
        let count = Count::default;
        Self {
            registrations: count(),
            refreshes: count(),
            deregistrations: count(),
            fetches: count(),
            vectors: count(),
            allocations: count(),
            repeats: count(),
            releases: count(),
            details: count(),
            in_doubt: count(),
            unavailable: count(),
            compared: count(),
            ledgers: [Mutex::new(Ledger::new(IND_BITS)), Mutex::new(Ledger::new(IND_BITS))],
            violations: Mutex::default(),
        }
    }
}

impl History {
    /// The ledger of A or B.
    pub fn ledger(&self, system: usize) -> MutexGuard<'_, Ledger> {
        self.ledgers[system].lock().unwrap()
    }

    /// Takes down that a system is about to be asked.
    pub fn begin(&self, system: usize, change: Change) -> Ticket {
        self.ledger(system).begin(timestamp(), change)
    }

    /// Takes down what it answered, if it did.
    pub fn end(&self, system: usize, ticket: Ticket, outcome: Outcome) {
        let ended = self.ledger(system).end(timestamp(), ticket, outcome);
        if let Err(violation) = ended {
            self.broken(&violation);
        }
    }

    /// Takes down that an invariant is broken.
    pub fn broken(&self, violation: &sim::Violation) {
        let rule = violation.rule;
        let kind = if rule.contains("resurrected")
            || rule.contains("again")
            || rule.contains("rest")
        {
            Violation::Resurrected
        } else if rule.contains("stored") || rule.contains("reserved") || rule.contains("stands") {
            Violation::Lost
        } else {
            Violation::Doubled
        };
        self.violation(kind, format!("{rule}: {}", violation.detail));
    }

    /// Takes down that something is wrong.
    pub fn violation(&self, kind: Violation, words: String) {
        let mut violations = self.violations.lock().unwrap();
        *violations.counts.entry(kind).or_default() += 1;
        if violations.in_words.len() < VIOLATIONS_MAX {
            violations.in_words.push(format!("{kind:?}: {words}"));
        }
    }

    /// How often `kind` was taken down.
    pub fn count(&self, kind: Violation) -> u64 {
        self.violations.lock().unwrap().counts.get(&kind).copied().unwrap_or(0)
    }

    /// The violations, in words, as far as they are kept.
    pub fn violations(&self) -> Vec<String> {
        self.violations.lock().unwrap().in_words.clone()
    }

    /// Every completed registration: initial, refreshed, ended.
    pub fn registered(&self) -> u64 {
        self.registrations.get() + self.refreshes.get() + self.deregistrations.get()
    }
}

/// What a user holds of one direction.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Held {
    /// Nothing: never lent, or released and acknowledged.
    #[default]
    Nothing,
    /// Acknowledged.
    Pair(UserIdentity),
    /// Asked for without an answer: a pair that nobody has seen, or nothing.
    Asked,
    /// Released without an answer: this pair, or nothing.
    Releasing(UserIdentity),
}

impl Held {
    /// The pair, if it is known to be held.
    pub const fn pair(&self) -> Option<&UserIdentity> {
        match self {
            Self::Pair(pair) => Some(pair),
            Self::Nothing | Self::Asked | Self::Releasing(_) => None,
        }
    }
}

/// One contact of a registration, by what is known of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Contact {
    /// The states that the acknowledged and unanswered requests leave; at least one.
    possible: Vec<ContactState>,
}

/// A state of a contact.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ContactState {
    Absent,
    /// Bound by the REGISTER of this CSeq.
    Bound {
        cseq: u32,
        /// The earliest and the latest end, microseconds since the Unix epoch.
        ends: (u64, u64),
    },
}

impl Default for Contact {
    fn default() -> Self {
        Self { possible: vec![ContactState::Absent] }
    }
}

impl Contact {
    /// A request that would lead to `state` has been sent and not been answered.
    pub fn ask(&mut self, state: ContactState) {
        self.possible.push(state);
    }

    /// The request that leads to `state` was acknowledged; it overtakes what was unanswered before.
    pub fn acknowledge(&mut self, state: ContactState) {
        self.possible = vec![state];
    }

    /// Whether its state is known, but for the passing of time.
    pub fn is_definite(&self) -> bool {
        self.possible.len() == 1
    }

    /// Whether it is acknowledged to be bound beyond now.
    pub fn is_bound(&self) -> bool {
        self.possible.iter().any(
            |state| matches!(state, ContactState::Bound { ends, .. } if ends.0 > now() + CLOCK_SLACK),
        )
    }

    /// Compares with what a system says: the seconds that are left, `None` if it lists no such contact. It
    /// was asked and it answered at these times. What that rules out is no longer possible.
    ///
    /// # Errors
    ///
    /// What contradicts what was acknowledged.
    pub fn observe(
        &mut self,
        left: Option<u32>,
        (asked, answered): (u64, u64),
    ) -> Result<(), (Violation, String)> {
        let fits = |state: &ContactState| match (state, left) {
            (ContactState::Absent, listed) => listed.is_none(),
            (ContactState::Bound { ends, .. }, None) => ends.0 <= answered + CLOCK_SLACK,
            (ContactState::Bound { ends, .. }, Some(left)) => {
                let left = u64::from(left) * 1_000_000;
                let earliest = ends.0.saturating_sub(answered + CLOCK_SLACK);
                let latest = (ends.1 + 1_000_000 + CLOCK_SLACK).saturating_sub(asked);
                (earliest..=latest).contains(&left)
            }
        };
        self.settle(fits, left.is_some(), asked, || format!("listed {left:?} s from {asked}"))
    }

    /// Compares with a stored record: CSeq and end, `None` if there is none. An expired one may be there.
    ///
    /// # Errors
    ///
    /// As [`Contact::observe`].
    pub fn observe_stored(
        &mut self,
        stored: Option<(u32, u64)>,
        stopped: u64,
    ) -> Result<(), (Violation, String)> {
        let fits = |state: &ContactState| match (state, stored) {
            (ContactState::Absent, stored) => stored.is_none(),
            (ContactState::Bound { ends, .. }, None) => ends.0 <= stopped + CLOCK_SLACK,
            (ContactState::Bound { cseq, ends }, Some((stored, end))) => {
                let ends = ends.0.saturating_sub(CLOCK_SLACK)..=ends.1 + CLOCK_SLACK;
                stored == *cseq && ends.contains(&end)
            }
        };
        self.settle(fits, stored.is_some(), stopped, || format!("stored {stored:?}"))
    }

    fn settle(
        &mut self,
        fits: impl Fn(&ContactState) -> bool,
        is_present: bool,
        at: u64,
        seen: impl Fn() -> String,
    ) -> Result<(), (Violation, String)> {
        if self.possible.iter().any(&fits) {
            self.possible.retain(fits);
            return Ok(());
        }
        let has_ended = self.possible.iter().all(|state| match state {
            ContactState::Absent => true,
            ContactState::Bound { ends, .. } => ends.1 < at,
        });
        let resurrected = is_present && has_ended;
        let kind = if resurrected { Violation::Resurrected } else { Violation::Lost };
        Err((kind, format!("{}, possible {:?}", seen(), self.possible)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn bound(cseq: u32, end: u64) -> ContactState {
        ContactState::Bound { cseq, ends: (end * SECOND, end * SECOND + SECOND / 10) }
    }

    #[test]
    fn an_acknowledged_contact_that_is_not_listed_is_lost() {
        let mut contact = Contact::default();
        contact.acknowledge(bound(2, 1_000));
        let at = (100 * SECOND, 100 * SECOND + 5);
        assert_eq!(contact.observe(Some(900), at), Ok(()));
        assert_eq!(contact.observe(None, at).unwrap_err().0, Violation::Lost);
        assert_eq!(contact.observe_stored(None, 100 * SECOND).unwrap_err().0, Violation::Lost);
    }

    #[test]
    fn a_refresh_that_is_forgotten_is_lost() {
        let mut contact = Contact::default();
        contact.acknowledge(bound(2, 1_000));
        contact.acknowledge(bound(4, 2_000));
        let at = (100 * SECOND, 100 * SECOND + 5);
        assert_eq!(contact.observe(Some(900), at).unwrap_err().0, Violation::Lost);
        let stored = Some((2, 1_000 * SECOND));
        assert_eq!(contact.observe_stored(stored, 100 * SECOND).unwrap_err().0, Violation::Lost);
        assert_eq!(contact.observe(Some(1_900), at), Ok(()));
    }

    #[test]
    fn an_ended_contact_that_is_listed_is_resurrected() {
        let mut contact = Contact::default();
        contact.acknowledge(bound(2, 1_000));
        contact.acknowledge(ContactState::Absent);
        let at = (100 * SECOND, 100 * SECOND + 5);
        assert_eq!(contact.observe(Some(900), at).unwrap_err().0, Violation::Resurrected);
        assert_eq!(contact.observe(None, at), Ok(()));
    }

    #[test]
    fn what_was_in_doubt_is_either_and_then_stays_so() {
        let mut contact = Contact::default();
        contact.acknowledge(bound(2, 1_000));
        contact.ask(bound(4, 2_000));
        assert!(!contact.is_definite());
        let at = (100 * SECOND, 100 * SECOND + 5);
        assert_eq!(contact.clone().observe(Some(900), at), Ok(()));
        assert_eq!(contact.observe(Some(1_900), at), Ok(()));
        assert!(contact.is_definite());
        assert_eq!(contact.observe(Some(900), at).unwrap_err().0, Violation::Lost);
    }

    #[test]
    fn an_expired_contact_need_not_be_listed_and_may_not() {
        let mut contact = Contact::default();
        contact.acknowledge(bound(2, 100));
        let at = (200 * SECOND, 200 * SECOND + 5);
        assert_eq!(contact.observe(Some(900), at).unwrap_err().0, Violation::Resurrected);
        assert_eq!(contact.observe(None, at), Ok(()));
    }
}
