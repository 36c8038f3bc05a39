//! One MC system of the simulated world: its roles, its storage, and what waits in its process.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use crate::{
    entropy::Entropy,
    identity::SipDatabaseId,
    outbox::{Context, Effect, Outbox, RequestId, Send},
    sip_core::{self, SipCore},
    sip_database::{self, SipDatabase},
    store::{CommitSeq, Record, RecordError, Sequencer, Watermark},
    time::Timestamp,
};

use super::{SeededEntropy, engine::FaultyEngine, known, link::Node};

/// The two MC systems. Which of them is primary is a matter of each user.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum SystemId {
    /// The primary of most users, `a.example`.
    A,
    /// The partner of most users, `b.example`.
    B,
}

impl SystemId {
    /// The other system.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// A name for traces.
    pub const fn label(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
        }
    }

    /// The domain of the system.
    pub const fn domain(self) -> &'static str {
        match self {
            Self::A => "a.example",
            Self::B => "b.example",
        }
    }

    /// The Diameter identity of its SIP database.
    pub fn database(self) -> SipDatabaseId {
        known(&format!("hss.{}", self.domain()))
    }

    /// Where its SIP core listens.
    pub const fn core_address(self) -> SocketAddr {
        let last = match self {
            Self::A => 1,
            Self::B => 2,
        };
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)), 5060)
    }
}

/// How many SEQs one commit reserves: few, so that reservations take part in what happens.
const SQN_RANGE: u64 = 4;

/// A system.
#[derive(Debug)]
pub(super) struct System {
    pub(super) id: SystemId,
    pub(super) core: SipCore,
    pub(super) database: SipDatabase,
    pub(super) entropy: SeededEntropy,
    outbox: Outbox,
    sequencer: Arc<Sequencer>,
    pub(super) engine: FaultyEngine,
    watermark: Watermark,
    /// Messages whose commit is not durable yet, in the order they were sent.
    waiting: Vec<Send>,
    /// Counts process starts: what belongs to an earlier one is gone.
    pub(super) incarnation: u64,
    /// Whether the process runs.
    pub(super) up: bool,
    /// Who waits for the answer to a request from outside.
    pub(super) parked: BTreeMap<u64, Parked>,
    /// Handles of requests whose Diameter connection ended before they were answered.
    pub(super) abandoned: BTreeSet<u64>,
    next_handle: u64,
    /// Requests of the roles to each other that have no answer yet.
    pub(super) asked: BTreeSet<RequestId>,
    /// The Diameter node.
    pub(super) node: Node,
}

/// Who asked from outside.
#[derive(Debug)]
pub(super) enum Parked {
    /// The other system's SIP database.
    Diameter(super::link::Received),
    /// Whoever uses the management interface: under this number the asker knows its question.
    Management(u64),
}

impl System {
    /// Creates a system with empty storage.
    pub(super) fn new(id: SystemId, mut entropy: SeededEntropy, now: Timestamp) -> Self {
        let (core, database) = roles(id, &mut entropy);
        let sequencer = Arc::new(Sequencer::default());
        Self {
            id,
            core,
            database,
            outbox: Outbox::new(Arc::clone(&sequencer)),
            sequencer,
            engine: FaultyEngine::default(),
            watermark: Watermark::default(),
            waiting: Vec::new(),
            incarnation: 0,
            up: true,
            parked: BTreeMap::new(),
            abandoned: BTreeSet::new(),
            next_handle: 0,
            asked: BTreeSet::new(),
            node: Node::new(id, now, &mut entropy),
            entropy,
        }
    }

    /// Calls a role and returns what it wants done.
    pub(super) fn call(
        &mut self,
        now: Timestamp,
        call: impl FnOnce(&SipCore, &SipDatabase, &mut Context<'_>),
    ) -> Vec<Effect> {
        self.outbox.set_storage_available(!self.engine.is_closed());
        let mut ctx = Context { now, entropy: &mut self.entropy, out: &mut self.outbox };
        call(&self.core, &self.database, &mut ctx);
        self.outbox.drain().collect()
    }

    /// Gives up what came by the Diameter connection over `wire`: nobody can be answered there.
    pub(super) fn abandon(&mut self, wire: u64) {
        let came_by = |parked: &Parked| matches!(parked, Parked::Diameter(it) if it.came_by(wire));
        let abandoned: Vec<u64> =
            self.parked.iter().filter(|(_, it)| came_by(it)).map(|(handle, _)| *handle).collect();
        for handle in abandoned {
            self.parked.remove(&handle);
            self.abandoned.insert(handle);
        }
    }

    /// Parks a request from outside and returns its handle.
    pub(super) fn park(&mut self, request: Parked) -> u64 {
        self.next_handle += 1;
        self.parked.insert(self.next_handle, request);
        self.next_handle
    }

    /// Keeps `send` until its commit is durable, or gives it back if it may leave.
    pub(super) fn hold(&mut self, send: Send) -> Option<Send> {
        if send.after <= self.watermark.reached() {
            return Some(send);
        }
        self.waiting.push(send);
        None
    }

    /// Records that commits are durable and gives the messages that may leave now.
    pub(super) fn mark_durable(&mut self, durable: &[CommitSeq]) -> Vec<Send> {
        for seq in durable {
            self.watermark.mark(*seq);
        }
        let reached = self.watermark.reached();
        let (leaving, waiting) =
            std::mem::take(&mut self.waiting).into_iter().partition(|send| send.after <= reached);
        self.waiting = waiting;
        leaving
    }

    /// The storage failed: what waits for it never leaves.
    pub(super) fn fail_storage(&mut self) {
        self.engine.fail(&mut self.entropy);
        self.waiting.clear();
    }

    /// Reopens the storage after a failure: the roles forget everything and load it again.
    pub(super) fn reload(&mut self, now: Timestamp) -> Result<Vec<Effect>, LoadError> {
        self.waiting.clear();
        self.core.clear();
        self.database.clear();
        self.load()?;
        self.watermark = Watermark::starting_at(self.sequencer.last());
        Ok(self.start_roles(now))
    }

    /// The process ends without warning.
    pub(super) fn crash(&mut self) {
        self.up = false;
        self.incarnation += 1;
        self.waiting.clear();
        self.parked.clear();
        self.asked.clear();
        self.node.die();
        self.engine.fail(&mut self.entropy);
    }

    /// A new process begins on the storage of the last one.
    pub(super) fn start(&mut self, now: Timestamp) -> Result<Vec<Effect>, LoadError> {
        (self.core, self.database) = roles(self.id, &mut self.entropy);
        self.node = Node::new(self.id, now, &mut self.entropy);
        let highest = self.load()?;
        self.sequencer = Arc::new(Sequencer::starting_after(highest));
        self.outbox = Outbox::new(Arc::clone(&self.sequencer));
        self.watermark = Watermark::starting_at(highest);
        self.up = true;
        Ok(self.start_roles(now))
    }

    fn load(&mut self) -> Result<CommitSeq, LoadError> {
        let (records, highest) = self.engine.reopen()?;
        for record in &records {
            self.load_record(record)?;
        }
        Ok(highest)
    }

    fn load_record(&self, record: &Record) -> Result<(), RecordError> {
        self.core.load(record)?;
        self.database.load(record)
    }

    fn start_roles(&mut self, now: Timestamp) -> Vec<Effect> {
        self.call(now, |core, database, ctx| {
            core.handle_loaded(ctx);
            database.handle_loaded(ctx);
        })
    }
}

/// Why a system could not start: a fault of the product, for the medium itself can always be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum LoadError {
    #[error(transparent)]
    Engine(#[from] crate::store::EngineError),
    #[error(transparent)]
    Record(#[from] RecordError),
}

fn roles(id: SystemId, entropy: &mut dyn Entropy) -> (SipCore, SipDatabase) {
    let core = SipCore::new(sip_core::Config::for_domain(id.domain()), entropy);
    let config = sip_database::Config {
        sqn_range: SQN_RANGE,
        ..sip_database::Config::new(id.database(), id.domain())
    };
    (core, SipDatabase::new(config, entropy))
}
