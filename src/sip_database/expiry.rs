//! When the reservations of lent pairs, and grants of real ones, end.
//!
//! The role keeps the ends in order itself and arms one timer for the first of them ([`crate::deadlines`]).

use super::{SipDatabase, lease::Lease};
use crate::{
    identity::Impi,
    outbox::{Context, Role, TimerKey, TimerWhat},
    packed::Fingerprint,
    time::Timestamp,
};

impl SipDatabase {
    /// Takes note that the lease of the inbound pair with the fingerprint `record` is not `old` any more but
    /// `new`. The caller holds the entry of the binding.
    pub(super) fn change_inbound_end(
        &self,
        ctx: &mut Context<'_>,
        record: Fingerprint,
        old: Option<Lease>,
        new: Option<Lease>,
    ) {
        self.inbound_leases.change(old, new);
        let at = self.inbound_ends.change(record, end_of(old), end_of(new));
        arm(ctx, at, TimerWhat::InboundLeasesEnd);
    }

    /// Takes note that the lease of the outbound pair with the fingerprint `record` is not `old` any more but
    /// `new`. The caller holds the entry of the binding.
    pub(super) fn change_outbound_end(
        &self,
        ctx: &mut Context<'_>,
        record: Fingerprint,
        old: Option<Lease>,
        new: Option<Lease>,
    ) {
        self.outbound_leases.change(old, new);
        let at = self.outbound_ends.change(record, end_of(old), end_of(new));
        arm(ctx, at, TimerWhat::OutboundLeasesEnd);
    }

    /// Takes note that a grant of the subscriber `impi` does not end at `old` any more but at `new`. The caller
    /// holds the entry of the subscriber's visits.
    pub(super) fn change_grant_end(
        &self,
        ctx: &mut Context<'_>,
        impi: &Impi,
        old: Option<Timestamp>,
        new: Option<Timestamp>,
    ) {
        let record = self.visits.fingerprint(impi);
        let at = self.grant_ends.change(record, old, new);
        arm(ctx, at, TimerWhat::GrantsEnd);
    }

    /// Arms the timers for what was loaded.
    pub(super) fn finish_loading_ends(&self, ctx: &mut Context<'_>) {
        arm(ctx, self.inbound_ends.finish_loading(), TimerWhat::InboundLeasesEnd);
        arm(ctx, self.outbound_ends.finish_loading(), TimerWhat::OutboundLeasesEnd);
        arm(ctx, self.grant_ends.finish_loading(), TimerWhat::GrantsEnd);
    }

    /// Ends the leases of inbound pairs that have run out: their bindings go, listed pairs return to their
    /// pools.
    pub(super) fn end_inbound_leases(&self, ctx: &mut Context<'_>) {
        // Without storage nothing changes; the timer is armed again after the reload.
        if !ctx.out.storage_available() {
            return;
        }
        let (due, at) = self.inbound_ends.take_due(ctx.now);
        for impi in due.into_iter().flat_map(|record| self.inbound.keys_of(record)) {
            self.end_inbound_lease(ctx, &impi);
        }
        arm(ctx, at, TimerWhat::InboundLeasesEnd);
    }

    /// Ends the leases of outbound pairs that have run out.
    pub(super) fn end_outbound_leases(&self, ctx: &mut Context<'_>) {
        if !ctx.out.storage_available() {
            return;
        }
        let (due, at) = self.outbound_ends.take_due(ctx.now);
        for impi in due.into_iter().flat_map(|record| self.outbound.keys_of(record)) {
            self.end_outbound_lease(ctx, &impi);
        }
        arm(ctx, at, TimerWhat::OutboundLeasesEnd);
    }

    /// Removes the grants whose time is over.
    pub(super) fn end_grants(&self, ctx: &mut Context<'_>) {
        if !ctx.out.storage_available() {
            return;
        }
        let (due, at) = self.grant_ends.take_due(ctx.now);
        for impi in due.into_iter().flat_map(|record| self.visits.keys_of(record)) {
            self.end_grants_of(ctx, &impi);
        }
        arm(ctx, at, TimerWhat::GrantsEnd);
    }
}

fn end_of(lease: Option<Lease>) -> Option<Timestamp> {
    lease.and_then(Lease::end)
}

/// Arms a timer of no version: what has ended is decided by the leases when it comes.
fn arm(ctx: &mut Context<'_>, at: Option<Timestamp>, what: TimerWhat) {
    if let Some(at) = at {
        ctx.out.arm(at, TimerKey { role: Role::SipDatabase, what, version: 0 });
    }
}
