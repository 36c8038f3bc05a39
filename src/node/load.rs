//! A load generator that convicts itself.
//!
//! Many UEs, each with an ISIM of its own (SQN, AUTS, AKAv1 and AKAv2), register at any SIP registrar that
//! authenticates by IMS-AKA. One thread a core, each with its own sockets and its share of the UEs; no runtime
//! and no allocation for a message in the hot loop (`worker`). Latency counts from the time when a request
//! was to leave, so that nothing is left out because something else took long; and a run in which the generator
//! itself was late, lost datagrams or had no reserve is marked invalid (`verdict`).
//!
//! One registration, from arrival to report: `arrival` says when, `ues` what is sent and made of answers
//! (`request`, `answer`), `link` moves octets, `recorder` and `timeline` remember, `report` tells.

mod allocator;
mod answer;
mod arrival;
mod asker;
mod cause;
mod channel;
pub mod command;
mod cx;
mod deploy;
mod effort;
mod generator;
mod handover;
mod http_pool;
mod link;
mod live;
mod outgoing;
mod provision;
mod random;
mod recorder;
mod report;
mod request;
mod run;
mod search;
mod sqn_memory;
mod subscribers;
mod threshold;
mod timeline;
mod ues;
mod verdict;
mod wheel;
mod worker;

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

use self::{
    arrival::Plan, asker::Inquiry, channel::Secured, cx::Roles, request::Contact,
    threshold::Threshold,
};
use super::{client::ClientError, http_client::Endpoint, provision::ProvisionError, tls::TlsError};
use crate::{aka::digest::Algorithm, outbox::Transport};

pub use self::{
    arrival::Spread,
    deploy::DeployError,
    subscribers::{LineProblem, SubscribersError},
};

/// Most threads of the generator.
const THREADS_MAX: usize = 256;

/// Most sockets of one thread.
const SOCKETS_MAX: usize = 1_024;

/// What the UEs do.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Workload {
    /// Each registration is a new one, as after a restart of the UE (steps 15 to 25).
    Register,
    /// All UEs register, which is not measured; then they refresh.
    Refresh,
    /// Every UE registers once, all within --spread, and tries again until it is registered.
    Storm,
    /// Every UE migrates once: asks its home for connection details by HTTP, then registers in the partner with the
    /// pair that it was told (steps 1 to 25). The target is the partner's SIP core.
    Migrate,
    /// Inbound pairs are lent by the management interface (steps 9 to 11), each to another user; none may be lent
    /// twice.
    Identities,
    /// Vectors are asked for by Diameter Cx (MAR), and each is checked with the keys of its subscriber.
    Cx,
}

impl Workload {
    const fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Refresh => "refresh",
            Self::Storm => "storm",
            Self::Migrate => "migrate",
            Self::Identities => "identities",
            Self::Cx => "cx",
        }
    }
}

/// What to do.
#[derive(Clone, Debug)]
struct Job {
    workload: Workload,
    target: SocketAddr,
    transport: Transport,
    /// Over TLS: whom to believe to be whom.
    tls: Option<Secured>,
    plan: Plan,
    duration: Duration,
    /// Registrations at most.
    count: u64,
    /// Search from this rate on.
    search: Option<(f64, Spread)>,
    /// In what time all UEs of a storm come.
    spread: Duration,
    seed: u64,
    threads: usize,
    /// The cores of the threads; empty lets the system choose.
    cores: Vec<usize>,
    sockets: usize,
    expires: u32,
    /// What contacts have behind the user, if not our address.
    contact: Option<Contact>,
    algorithm: Option<Algorithm>,
    ind_bits: u8,
    t1: Duration,
    thresholds: Vec<Threshold>,
    /// Of `cx`: who asks whom.
    cx: Option<Roles>,
    /// Of `identities`: the management interface that lends.
    allocates_at: Option<Endpoint>,
    /// Of a migration: whom to ask for connection details.
    inquiry: Option<Inquiry>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The subscribers cannot be had.
    #[error(transparent)]
    Subscribers(#[from] SubscribersError),
    /// An argument is wrong.
    #[error("{argument}: {why}")]
    Argument {
        /// Which one.
        argument: &'static str,
        /// What is wrong, and what to do.
        why: String,
    },
    /// A socket does not work.
    #[error("cannot speak to {target}: {error}{}", hint(error))]
    Socket {
        /// Who was to be asked.
        target: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// Nobody listens at the target.
    #[error(
        "nobody listens at {0} over UDP (ICMP port unreachable); is it up, and is this its address?"
    )]
    Refused(SocketAddr),
    /// A thread cannot be started, or has ended in a fault of its own.
    #[error("a thread of the generator failed: {0}")]
    Thread(String),
    /// The certificate to show cannot be used.
    #[error(transparent)]
    Certificate(#[from] TlsError),
    /// The systems do not start.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// Subscribers cannot be provisioned.
    #[error(transparent)]
    Provision(#[from] ClientError),
    /// The systems cannot be prepared for migrations.
    #[error(transparent)]
    Prepare(#[from] ProvisionError),
    /// The system refuses the subscribers.
    #[error("the system would not take the subscribers: {0}")]
    Rejected(String),
    /// A file cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Standard output is gone.
    #[error("cannot show the report: {0}")]
    Show(io::Error),
}

/// What to look at, where the error does not say it itself.
fn hint(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::ConnectionAborted {
        ""
    } else {
        "; is it up, and is this its address?"
    }
}

impl LoadError {
    /// Whether the arguments or files are to blame.
    pub const fn is_wrong_input(&self) -> bool {
        matches!(self, Self::Subscribers(_) | Self::Argument { .. })
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ended {
    /// Valid, and no threshold broken.
    Well,
    /// Not one registration succeeded.
    NothingSucceeded,
    /// A threshold is broken.
    Broken,
    /// The generator itself is seen in the figures.
    Invalid,
}

impl Ended {
    /// The exit code of the process.
    pub const fn code(self) -> u8 {
        match self {
            Self::Well => 0,
            Self::NothingSucceeded => 1,
            Self::Broken => 3,
            Self::Invalid => 4,
        }
    }
}
