//! How long a binding lives (mc-level rule: TR 23.781 solution 2 has no expiry of its own).
//!
//! *Reserved*: lent, not registered now; long, because of the pause that NOTE 5 of TR 23.781 allows
//! between the steps 13 and 14. *Active*: registered; refreshes renew it, the end of the registration
//! makes it reserved again. It has an end all the same, so that a binding does not live for ever when
//! the SIP core's last word is lost in a crash: at least half a lease, which has to be longer than
//! the longest registration.
//!
//! *Mapped*: bound for good ([`super::mapping`]); registrations come and go, only release ends it.
//!
//! The end of the agreement that a pair was lent under does not end its lease: the binding is of no use
//! then, and kept, so that a new agreement finds the same pair.

use std::time::Duration;

use crate::{
    api::migration_identity::{AgreementId, Allowance},
    packed::{Reader, Writer},
    store::Fields,
    time::Timestamp,
};

/// The lease of a binding.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Lease {
    /// Lent, not registered: ends at the time given.
    Reserved(Timestamp),
    /// Registered: ends at the time given, unless refreshed.
    Active(Timestamp),
    /// Mapped for good: ends only by release.
    Mapped {
        /// Whether the user is registered.
        active: bool,
    },
}

impl Lease {
    /// A reservation that begins now.
    pub(super) fn reserve(now: Timestamp, span: Duration) -> Self {
        Self::Reserved(now + span)
    }

    /// Whether the binding may be used.
    pub(super) fn is_live(self, now: Timestamp) -> bool {
        self.end().is_none_or(|end| now < end)
    }

    /// Whether the user is registered.
    pub(super) const fn is_active(self) -> bool {
        matches!(self, Self::Active(_) | Self::Mapped { active: true })
    }

    /// When the binding ends, if nothing happens; a mapping does not.
    pub(super) const fn end(self) -> Option<Timestamp> {
        match self {
            Self::Reserved(until) | Self::Active(until) => Some(until),
            Self::Mapped { .. } => None,
        }
    }

    /// The lease for good, of a user that is registered as before.
    pub(super) const fn mapped(self) -> Self {
        Self::Mapped { active: self.is_active() }
    }

    /// When the binding can be relied upon no longer, if nothing happens: at the end of the lease or of
    /// what it was lent under.
    pub(super) fn reserved_until(self, allowed: Option<Allowance>) -> Timestamp {
        let end = self.end().unwrap_or(Timestamp::MAX);
        allowed.map_or(end, |allowed| end.min(allowed.until))
    }

    /// The lease of a user that registered or refreshed, with at least half of `span` left. Half, so
    /// that frequent refreshes do not each cost a commit.
    pub(super) fn activate(self, now: Timestamp, span: Duration) -> Self {
        match self.end() {
            None => Self::Mapped { active: true },
            Some(_) if self.is_short(now, span) => Self::Active(now + span),
            Some(end) => Self::Active(end),
        }
    }

    /// The lease of a user whose registration ended: a reservation that begins now, unless mapped.
    pub(super) fn deactivate(self, now: Timestamp, span: Duration) -> Self {
        match self {
            Self::Reserved(_) | Self::Active(_) => Self::reserve(now, span),
            Self::Mapped { .. } => Self::Mapped { active: false },
        }
    }

    /// A fresh reservation if less than half of this one is left. Half, so that repeats in a row and
    /// frequent vector requests do not each cost a commit. Of a registration nothing may be left: it has
    /// ended then, and only the timer has not come yet.
    pub(super) fn renewed(self, now: Timestamp, span: Duration) -> Option<Self> {
        let registered = self.is_active() && self.is_live(now);
        let renew = !registered && self.is_short(now, span);
        renew.then(|| Self::reserve(now, span))
    }

    fn is_short(self, now: Timestamp, span: Duration) -> bool {
        self.end().is_some_and(|end| end.since(now) < span / 2)
    }
}

impl Lease {
    /// Writes what `Serialize` does.
    pub(super) fn write(self, to: &mut Fields) {
        match self {
            Self::Reserved(until) => to.number(0).number(until.as_micros()),
            Self::Active(until) => to.number(1).number(until.as_micros()),
            Self::Mapped { active } => to.number(2).number(active.into()),
        };
    }

    pub(super) fn pack(self, to: &mut Writer<'_>) {
        let (kind, until) = match self {
            Self::Reserved(until) => (0, Some(until)),
            Self::Active(until) => (1, Some(until)),
            Self::Mapped { active: false } => (2, None),
            Self::Mapped { active: true } => (3, None),
        };
        to.number(kind);
        if let Some(until) = until {
            to.time(until);
        }
    }

    pub(super) fn unpack(from: &mut Reader<'_>) -> Option<Self> {
        Some(match from.number()? {
            0 => Self::Reserved(from.time()?),
            1 => Self::Active(from.time()?),
            kind => Self::Mapped { active: kind == 3 },
        })
    }
}

/// Packs what makes a binding or a grant good for a vector.
pub(super) fn pack_allowed(allowed: Option<Allowance>, to: &mut Writer<'_>) {
    to.number(allowed.is_some().into());
    if let Some(Allowance { agreement, until }) = allowed {
        to.number_64(agreement.0);
        to.time(until);
    }
}

/// Reads what [`pack_allowed`] wrote.
#[expect(clippy::option_option, reason = "the outer one is that there is nothing to read")]
pub(super) fn unpack_allowed(from: &mut Reader<'_>) -> Option<Option<Allowance>> {
    if from.number()? == 0 {
        return Some(None);
    }
    let agreement = AgreementId(from.number_64()?);
    Some(Some(Allowance { agreement, until: from.time()? }))
}
