//! Answers over UDP are kept for repeats of their requests (RFC 3261 clause 17.2.2, Timer J).

use std::time::Duration;

use bytes::Bytes;

use crate::{
    entropy::Entropy,
    outbox::{Context, Note, Role, TimerKey, TimerWhat},
    patience::Patience,
    sip::{transaction::TransactionHasher, view::MessageView},
    table::{Bound, Table, new_table},
};

/// Timer J: 64 * T1.
const TIMER_J: Duration = Duration::from_secs(32);

/// Most answers kept. Beyond it a repeat is handled as if it were new.
const ANSWERS_MAX: usize = 1_000_000;

/// The answers, by the key of their request.
#[derive(Debug)]
pub(super) struct Answers {
    hasher: TransactionHasher,
    kept: Table<u128, Kept>,
    bound: Bound,
    ends: Patience<u128>,
}

/// An answer. It names a user.
struct Kept(Bytes);

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kept({} octets)", self.0.len())
    }
}

impl Answers {
    pub(super) fn new(entropy: &mut dyn Entropy) -> Self {
        Self {
            hasher: TransactionHasher::new(entropy),
            kept: new_table(entropy),
            bound: Bound::new(ANSWERS_MAX),
            ends: Patience::new(TIMER_J),
        }
    }

    pub(super) fn key_of(&self, view: &MessageView<'_>) -> u128 {
        self.hasher.key(view)
    }

    pub(super) fn find(&self, key: u128) -> Option<Bytes> {
        self.kept.get(&key).map(|kept| kept.0.clone())
    }

    pub(super) fn keep(&self, ctx: &mut Context<'_>, key: u128, octets: Bytes) {
        if !self.bound.take() {
            return ctx.out.note(Note::TableFull("answers of the MC server"));
        }
        if self.kept.insert(key, Kept(octets)).is_some() {
            return self.bound.give(); // two workers had the same request at once
        }
        let (_, timer) = self.ends.add(ctx.now, key);
        if let Some(at) = timer {
            ctx.out.arm(at, TIMER);
        }
    }

    pub(super) fn forget_old(&self, ctx: &mut Context<'_>) {
        let (due, timer) = self.ends.take_due(ctx.now);
        for (_, key) in due {
            if self.kept.remove(&key).is_some() {
                self.bound.give();
            }
        }
        if let Some(at) = timer {
            ctx.out.arm(at, TIMER);
        }
    }

    pub(super) fn clear(&self) {
        self.kept.clear();
        self.bound.reset();
        self.ends.clear();
    }
}

const TIMER: TimerKey =
    TimerKey { role: Role::McServer, what: TimerWhat::McAnswersEnd, version: 0 };
