//! How long a binding lives (mc-level rule: TR 23.781 solution 2 has no expiry of its own).
//!
//! *Reserved*: lent, not registered now; long, because of the pause that NOTE 5 of TR 23.781 allows
//! between the steps 13 and 14. *Active*: registered; it has no end of its own, the end of the
//! registration makes it reserved again.

use std::time::Duration;

use crate::time::Timestamp;

/// The lease of a binding.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
pub(super) enum Lease {
    /// Lent, not registered: ends at the time given.
    Reserved(Timestamp),
    /// Registered. The time is the end of the reservation that the registration interrupted.
    Active(Timestamp),
}

impl Lease {
    /// A reservation that begins now.
    pub(super) fn reserve(now: Timestamp, span: Duration) -> Self {
        Self::Reserved(now + span)
    }

    /// Whether the binding may be used.
    pub(super) fn is_live(self, now: Timestamp) -> bool {
        match self {
            Self::Reserved(until) => now < until,
            Self::Active(_) => true,
        }
    }

    /// Whether the user is registered.
    pub(super) const fn is_active(self) -> bool {
        matches!(self, Self::Active(_))
    }

    /// The end of the reservation.
    pub(super) const fn reserved_until(self) -> Timestamp {
        let (Self::Reserved(until) | Self::Active(until)) = self;
        until
    }

    /// When the binding ends, if nothing happens: an active one does not.
    pub(super) const fn end(self) -> Option<Timestamp> {
        match self {
            Self::Reserved(until) => Some(until),
            Self::Active(_) => None,
        }
    }

    /// The lease of a user that registered.
    pub(super) const fn activate(self) -> Self {
        Self::Active(self.reserved_until())
    }

    /// A fresh reservation if less than half of this one is left. Half, so that repeats in a row and
    /// frequent vector requests do not each cost a commit.
    pub(super) fn renewed(self, now: Timestamp, span: Duration) -> Option<Self> {
        match self {
            Self::Reserved(until) if until.since(now) < span / 2 => Some(Self::reserve(now, span)),
            Self::Reserved(_) | Self::Active(_) => None,
        }
    }
}
