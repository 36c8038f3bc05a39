//! When the reservations of lent pairs end.
//!
//! The role keeps the ends in order itself and arms one timer for the first of them. A timer for each
//! lease would outlive released pairs and registrations for weeks, and a start would arm millions.

use std::{collections::BTreeSet, sync::Mutex};

use super::{SipDatabase, bound::lock, lease::Lease};
use crate::{
    identity::Impi,
    outbox::{Context, Role, TimerKey, TimerWhat},
    time::Timestamp,
};

/// Leases that one timer call ends at most, so that the worker serves others in between.
const ENDS_PER_CALL_MAX: usize = 64;

/// The ends of all reservations. Its lock is the innermost one.
#[derive(Debug, Default)]
pub(super) struct Expiries(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    ends: BTreeSet<(Timestamp, Lent)>,
    /// The earliest timer that may not have come yet.
    armed: Option<Timestamp>,
}

/// A lent pair, by its private identity.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Lent {
    Inbound(Impi),
    Outbound(Impi),
}

impl Expiries {
    /// Takes note that the lease of `lent` is not `old` any more but `new`. The caller holds the entry
    /// of the binding.
    pub(super) fn change(
        &self,
        ctx: &mut Context<'_>,
        lent: Lent,
        old: Option<Lease>,
        new: Option<Lease>,
    ) {
        let mut state = lock(&self.0);
        let lent = match old.and_then(Lease::end) {
            Some(end) => {
                let entry = (end, lent);
                state.ends.remove(&entry);
                entry.1
            }
            None => lent,
        };
        if let Some(end) = new.and_then(Lease::end) {
            state.ends.insert((end, lent));
            state.arm(ctx);
        }
    }

    /// Takes the stored lease of `lent` in; [`Self::arm`] follows after the last one.
    pub(super) fn load(&self, lent: Lent, lease: Lease) {
        if let Some(end) = lease.end() {
            lock(&self.0).ends.insert((end, lent));
        }
    }

    /// Arms the timer of the first end.
    pub(super) fn arm(&self, ctx: &mut Context<'_>) {
        lock(&self.0).arm(ctx);
    }

    /// Forgets all leases.
    pub(super) fn clear(&self) {
        *lock(&self.0) = State::default();
    }

    /// Takes out up to [`ENDS_PER_CALL_MAX`] leases that have ended and arms the timer of the next.
    fn take_due(&self, ctx: &mut Context<'_>) -> Vec<Lent> {
        let mut state = lock(&self.0);
        let mut due = Vec::new();
        while due.len() < ENDS_PER_CALL_MAX
            && state.ends.first().is_some_and(|first| first.0 <= ctx.now)
        {
            due.extend(state.ends.pop_first().map(|(_, lent)| lent));
        }
        state.arm(ctx);
        due
    }
}

impl State {
    fn arm(&mut self, ctx: &mut Context<'_>) {
        let Some((end, lent)) = self.ends.first() else {
            return;
        };
        let coming = self.armed.filter(|at| *at > ctx.now);
        if coming.is_none_or(|at| *end < at) {
            let what = match lent {
                Lent::Inbound(_) => TimerWhat::InboundLeasesEnd,
                Lent::Outbound(_) => TimerWhat::OutboundLeasesEnd,
            };
            // No version: what has ended is decided by the leases when the timer comes.
            ctx.out.arm(*end, TimerKey { role: Role::SipDatabase, what, version: 0 });
            self.armed = Some(*end);
        }
    }
}

impl SipDatabase {
    /// Ends the leases that have run out: their bindings go, listed pairs return to their pools.
    pub(super) fn end_leases(&self, ctx: &mut Context<'_>) {
        // Without storage nothing changes; the timer is armed again after the reload.
        if !ctx.out.storage_available() {
            return;
        }
        for lent in self.expiries.take_due(ctx) {
            match lent {
                Lent::Inbound(impi) => self.end_inbound_lease(ctx, &impi),
                Lent::Outbound(impi) => self.end_outbound_lease(ctx, &impi),
            }
        }
    }
}
