//! How many leases there are, counted as they change: an operator's view, read without a look at the tables.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{SipDatabase, bound::read, lease::Lease};
use crate::{api::migration_identity::Direction, time::Timestamp};

/// The leases of one direction.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Leases {
    /// Lent, not registered now.
    pub reserved: u64,
    /// Registered.
    pub active: u64,
}

/// Counts the leases of one direction.
#[derive(Debug, Default)]
pub(super) struct LeaseCounts {
    reserved: AtomicU64,
    active: AtomicU64,
}

impl LeaseCounts {
    /// A lease is not `old` any more but `new`.
    pub(super) fn change(&self, old: Option<Lease>, new: Option<Lease>) {
        if let Some(new) = new {
            self.of(new).fetch_add(1, Ordering::Relaxed);
        }
        if let Some(old) = old {
            self.of(old).fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Forgets all.
    pub(super) fn clear(&self) {
        self.reserved.store(0, Ordering::Relaxed);
        self.active.store(0, Ordering::Relaxed);
    }

    const fn of(&self, lease: Lease) -> &AtomicU64 {
        if lease.is_active() { &self.active } else { &self.reserved }
    }
}

impl SipDatabase {
    /// How many leases of `direction` there are. Bindings of users who registered at a partner are reserved
    /// at home: the registration is the partner's.
    pub fn leases(&self, direction: Direction) -> Leases {
        let counts = match direction {
            Direction::Inbound => &self.inbound_leases,
            Direction::Outbound => &self.outbound_leases,
        };
        let number = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Leases { reserved: number(&counts.reserved), active: number(&counts.active) }
    }

    /// How many listed pairs are in quarantine.
    pub fn resting(&self, now: Timestamp) -> u64 {
        read(&self.pools).resting(now)
    }
}
