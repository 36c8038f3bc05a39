//! Migrations of one user to one partner that are under way at once: a UE repeats step 1, and requests
//! arrive twice. All of them are lent the same pair or grant, and each asks the partner on its own; if the
//! partner's agreement changes meanwhile, one may be refused and another granted.
//!
//! Therefore a refused one releases what was lent only if it is the last one under way, none of those that it
//! overlapped was granted, and one of them was lent it anew: what was there before them may be in use.
//! Otherwise what was lent is kept: a repeat is lent the same, or the lease ends it. While a release is under way no new one begins, since it would be lent what is about to go: its
//! UE is told "unavailable" and repeats. A release whose answer does not come in time counts as over: the
//! SIP database was asked before and does it before it lends anything that is asked for later.
//!
//! Each entry is of a request that waits, so the table is bounded by `pending_max`.

use super::{ConfigServer, details::Migration};
use crate::identity::{Impi, SipDatabaseId};

/// To whom something is lent: the real private identity, and the SIP database of the partner.
pub(super) type Key = (Impi, SipDatabaseId);

/// The migrations of one user to one partner that are under way.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    count: usize,
    /// Whether one of those that overlap was lent what nobody had before.
    lent_anew: bool,
    /// Whether the partner granted one of those that overlap.
    granted: bool,
    /// Whether what they were lent is being released, or was.
    releasing: bool,
}

impl ConfigServer {
    /// Lets a migration begin, unless what it would be lent is being released. It has to be ended.
    pub(super) fn begin(&self, migration: &Migration) -> bool {
        let mut entry = self.under_way.entry(migration.key()).or_default();
        if entry.releasing {
            return false;
        }
        entry.count += 1;
        true
    }

    /// Takes note that a migration was lent what nobody had before.
    pub(super) fn lent_anew(&self, migration: &Migration) {
        if let Some(mut all) = self.under_way.get_mut(&migration.key()) {
            all.lent_anew = true;
        }
    }

    /// Ends a migration.
    pub(super) fn end(&self, migration: &Migration) {
        self.end_one(migration, false);
    }

    /// Ends a migration that the partner granted. Returns whether what it was lent is still lent.
    pub(super) fn end_granted(&self, migration: &Migration) -> bool {
        self.end_one(migration, true)
    }

    fn end_one(&self, migration: &Migration, granted: bool) -> bool {
        let dashmap::Entry::Occupied(mut entry) = self.under_way.entry(migration.key()) else {
            return true;
        };
        let all = entry.get_mut();
        all.granted |= granted;
        all.count = all.count.saturating_sub(1);
        let lent = !all.releasing;
        if all.count == 0 {
            entry.remove();
        }
        lent
    }

    /// Whether a migration that the partner refused may release what it was lent. If so, no other begins
    /// until this one has ended.
    pub(super) fn may_release(&self, migration: &Migration) -> bool {
        self.under_way.get_mut(&migration.key()).is_some_and(|mut all| {
            let may = all.lent_anew && all.count <= 1 && !all.granted;
            all.releasing |= may;
            may
        })
    }

    /// Has no other migration of this user begin, or be granted, until all of them have ended: the user has
    /// lost leave, and what is still lent is released whoever else was lent it.
    pub(super) fn stop_all(&self, migration: &Migration) {
        if let Some(mut all) = self.under_way.get_mut(&migration.key()) {
            all.releasing = true;
        }
    }
}
