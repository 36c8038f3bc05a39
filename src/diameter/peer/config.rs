//! What a connection is made with.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::super::local::{DiameterIdentity, LocalNode};

/// What a connection is made with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who we are.
    pub local: Arc<LocalNode>,
    /// Who may be at the other end.
    pub allowed: AllowedPeers,
    /// How long to wait.
    pub timing: Timing,
}

/// Which Origin-Hosts a connection accepts.
#[derive(Clone, Debug)]
pub enum AllowedPeers {
    /// This one: the peer that we connect to.
    Only(DiameterIdentity),
    /// Any configured one.
    AnyOf(Arc<BTreeSet<DiameterIdentity>>),
    /// Any configured one that the certificate of the other end is for.
    OfCertificate(Arc<BTreeSet<DiameterIdentity>>),
}

impl AllowedPeers {
    pub(super) fn contains(&self, host: &DiameterIdentity) -> bool {
        match self {
            Self::Only(only) => only == host,
            Self::AnyOf(hosts) | Self::OfCertificate(hosts) => hosts.contains(host),
        }
    }

    /// What somebody else is told, in an Error-Message.
    pub(super) const fn refusal(&self) -> &'static str {
        match self {
            Self::Only(_) | Self::AnyOf(_) => "unknown peer",
            Self::OfCertificate(_) => "the certificate is not that of this Origin-Host",
        }
    }
}

/// How long a connection waits.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// For CER or CEA.
    pub capabilities: Duration,
    /// Twinit of RFC 3539: silence before a DWR. At least 6 s; jitter of 2 s is added or taken off.
    pub watchdog: Duration,
    /// For the answer to a request. A role has its own, shorter timer: this one clears the table.
    pub request: Duration,
    /// For DPA.
    pub disconnect: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            capabilities: Duration::from_secs(10),
            watchdog: Duration::from_secs(30),
            request: Duration::from_secs(5),
            disconnect: Duration::from_secs(5),
        }
    }
}
