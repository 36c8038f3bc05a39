//! How many leases there are, counted as they change: an operator's view, read without a look at the tables.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{
    SipDatabase,
    bound::{Bound, read},
    lease::Lease,
};
use crate::{api::migration_identity::Direction, time::Timestamp};

/// The leases of one direction.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Leases {
    /// Lent, not registered now.
    pub reserved: u64,
    /// Registered.
    pub active: u64,
}

/// Counts the active leases of one direction: all others are reserved.
#[derive(Debug, Default)]
pub(super) struct LeaseCounts {
    active: AtomicU64,
}

impl LeaseCounts {
    /// A lease is not `old` any more but `new`.
    pub(super) fn change(&self, old: Option<Lease>, new: Option<Lease>) {
        let is_active = |lease: Option<Lease>| lease.is_some_and(Lease::is_active);
        match (is_active(old), is_active(new)) {
            (false, true) => self.active.fetch_add(1, Ordering::Relaxed),
            (true, false) => self.active.fetch_sub(1, Ordering::Relaxed),
            _ => return,
        };
    }

    /// Forgets all.
    pub(super) fn clear(&self) {
        self.active.store(0, Ordering::Relaxed);
    }

    /// Of `all` leases.
    fn of(&self, all: &Bound) -> Leases {
        let active = self.active.load(Ordering::Relaxed);
        Leases { reserved: (all.used() as u64).saturating_sub(active), active }
    }
}

impl SipDatabase {
    /// How many leases of `direction` there are. Bindings of users who registered at a partner are reserved
    /// at home: the registration is the partner's.
    pub fn leases(&self, direction: Direction) -> Leases {
        match direction {
            Direction::Inbound => self.inbound_leases.of(&self.inbound_bound),
            Direction::Outbound => self.outbound_leases.of(&self.outbound_bound),
        }
    }

    /// How many listed pairs are in quarantine.
    pub fn resting(&self, now: Timestamp) -> u64 {
        read(&self.pools).resting(now)
    }
}
