//! Points in time, as roles see them.

pub mod micros;
mod rfc3339;

use std::{borrow::Cow, ops, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// Microseconds since the Unix epoch, never going back within a process.
///
/// Not a monotonic instant: leases and registrations outlive restarts.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The end of time: never.
    pub const MAX: Self = Self(u64::MAX);

    /// Creates a timestamp from microseconds since the Unix epoch.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Creates a timestamp from seconds since the Unix epoch.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Returns microseconds since the Unix epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Returns whole seconds since the Unix epoch.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Reads a date and time of RFC 3339, such as `2031-01-01T00:00:00Z`, to the microsecond. `None` for what
    /// is none, and for times before 1970.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        rfc3339::parse(text)
    }

    /// Writes it as RFC 3339 does, in UTC; [`Timestamp::parse_rfc3339`] reads the same back.
    pub fn to_rfc3339(self) -> String {
        rfc3339::format(self)
    }

    /// Returns the time from `earlier` to `self`, zero if `earlier` is the later one.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl ops::Add<Duration> for Timestamp {
    type Output = Self;

    /// Saturates at the end of time instead of overflowing: durations may come from a peer.
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl Serialize for Timestamp {
    /// Microseconds; for people a date and time of RFC 3339.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&self.to_rfc3339())
        } else {
            serializer.serialize_u64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return u64::deserialize(deserializer).map(Self);
        }
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse_rfc3339(&text)
            .ok_or_else(|| D::Error::custom("is no date and time such as 2031-01-01T00:00:00Z"))
    }
}
