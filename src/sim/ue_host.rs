//! A UE of the simulated world: its device, its user agent, and what its user does.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;

use crate::{
    aka::{IND_BITS_DEFAULT, Milenage, Sqn, SqnArray},
    api::migration_identity::{Binding, OperatorKey, Subscriber},
    entropy::Entropy,
    identity::UserIdentity,
    outbox::{Context, Effect, Flow, Outbox, Transport},
    secret::Secret,
    store::Sequencer,
    time::Timestamp,
    ue::{self, Isim, UserAgent},
};

use super::{SeededEntropy, SystemId, known};

/// The registration period that UEs ask for, seconds: short, so that a run sees refreshes.
pub(super) const EXPIRES: u32 = 120;

/// A UE.
#[derive(Debug)]
pub(super) struct UeHost {
    pub(super) number: usize,
    /// Whose subscriber it is.
    pub(super) home: SystemId,
    pub(super) real: UserIdentity,
    /// Whether its home hides its identities from the partner.
    pub(super) hidden: bool,
    k: Secret<16>,
    opc: Secret<16>,
    /// To recognize its vectors on their way.
    pub(super) milenage: Milenage,
    pub(super) address: SocketAddr,
    pub(super) transport: Transport,
    /// Its TCP connection to a SIP core.
    pub(super) connection: Option<u64>,
    /// Where its user agent registers.
    pub(super) at: SystemId,
    /// The pair that its user agent registers.
    pub(super) identity: UserIdentity,
    pub(super) agent: UserAgent,
    /// Counts user agents: timers of an earlier one are gone with it.
    pub(super) generation: u64,
    /// The octets it sent last.
    pub(super) last_sent: Bytes,
    entropy: SeededEntropy,
    outbox: Outbox,
    pub(super) script: Script,
}

/// What the user of a UE is about to do.
#[derive(Debug, Default)]
pub(super) struct Script {
    /// Whether it goes on by itself.
    pub(super) automatic: bool,
    /// Whether it is to register and then stay so.
    pub(super) settling: bool,
    pub(super) stage: Stage,
    /// How often a pair was given back without an answer.
    pub(super) releases: u8,
    /// Whether a wake-up is under way.
    pub(super) waiting: bool,
    /// Names the one wake-up or answer waited for; others are stale.
    pub(super) token: u64,
    pub(super) outbound: Option<Binding>,
    pub(super) inbound: Option<Binding>,
}

/// Where a script stands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Stage {
    /// Asks its home for an outbound pair, or for leave to use the real one.
    #[default]
    AskHome,
    /// Asks the partner for an inbound pair.
    AskPartner,
    /// Wants to be registered.
    Register,
    /// Wants to be registered no longer.
    Leave,
    /// Gives its inbound pair back.
    ReleaseInbound,
    /// Gives its outbound pair, or its leave to use the real one, back.
    ReleaseOutbound,
}

impl UeHost {
    /// Creates a UE that has just been sold: no SQN used.
    pub(super) fn new(
        number: usize,
        (home, transport, hidden): (SystemId, Transport, bool),
        mut entropy: SeededEntropy,
    ) -> Self {
        let (mut k, mut opc) = ([0; 16], [0; 16]);
        entropy.fill(&mut k);
        entropy.fill(&mut opc);
        let (k, opc) = (Secret::new(k), Secret::new(opc));
        let domain = home.domain();
        let real = UserIdentity {
            impi: known(&format!("realprivate{number}@{domain}")),
            impu: known(&format!("sip:realpublic{number}@{domain}")),
        };
        let host = u8::try_from(number + 1).unwrap_or(u8::MAX);
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, host)), 5060);
        let isim = Isim::new(&k, &opc, SqnArray::default());
        let config = agent_config(home, &real, address, transport, 0);
        Self {
            number,
            home,
            identity: real.clone(),
            real,
            hidden,
            milenage: Milenage::new(&k, &opc),
            k,
            opc,
            address,
            transport,
            connection: None,
            at: home,
            agent: UserAgent::new(config, isim, &mut entropy),
            generation: 0,
            last_sent: Bytes::new(),
            entropy,
            outbox: Outbox::new(Sequencer::default().into()),
            script: Script::default(),
        }
    }

    /// What its home is to know of it.
    pub(super) fn subscriber(&self) -> Subscriber {
        Subscriber {
            impi: self.real.impi.clone(),
            impus: vec![self.real.impu.clone()],
            k: self.k.clone(),
            operator: OperatorKey::Opc(self.opc.clone()),
            amf: [0x80, 0x00],
            seq: 0,
        }
    }

    /// Begins to use `identity` at `system`, with the same ISIM and a new user agent.
    pub(super) fn move_to(&mut self, system: SystemId, identity: &UserIdentity) {
        self.at = system;
        self.identity = identity.clone();
        self.connection = None;
        let config = agent_config(system, identity, self.address, self.transport, 0);
        let isim = self.agent.isim().clone();
        self.generation += 1;
        self.agent = UserAgent::new(config, isim, &mut self.entropy);
    }

    /// Sets the ISIM as if vectors up to `seq` of the first visited system had been accepted.
    pub(super) fn set_seq(&mut self, seq: u64) {
        let mut sqn = SqnArray::default();
        // Refused only where SEQ is zero or too far ahead; then the array stays as it was.
        let _ = sqn.accept(Sqn::new(seq, 4, IND_BITS_DEFAULT));
        let config = agent_config(self.at, &self.identity, self.address, self.transport, 0);
        self.generation += 1;
        self.agent = UserAgent::new(config, Isim::new(&self.k, &self.opc, sqn), &mut self.entropy);
    }

    /// The path to its SIP core.
    pub(super) fn flow(&self) -> Flow {
        flow(self.at, self.address, self.transport, self.connection.unwrap_or(0))
    }

    /// Calls the user agent and returns what it wants done.
    pub(super) fn call(
        &mut self,
        now: Timestamp,
        call: impl FnOnce(&mut UserAgent, &mut Context<'_>),
    ) -> Vec<Effect> {
        let mut ctx = Context { now, entropy: &mut self.entropy, out: &mut self.outbox };
        call(&mut self.agent, &mut ctx);
        self.outbox.drain().collect()
    }

    /// Draws a pause.
    pub(super) fn pause(&mut self, least: Duration, most: Duration) -> Duration {
        self.entropy.span(least, most)
    }

    /// Draws a decision.
    pub(super) fn decides(&mut self, permille: u64) -> bool {
        self.entropy.happens(permille)
    }
}

fn flow(system: SystemId, local: SocketAddr, transport: Transport, connection: u64) -> Flow {
    Flow { transport, local, remote: system.core_address(), connection }
}

fn agent_config(
    system: SystemId,
    identity: &UserIdentity,
    address: SocketAddr,
    transport: Transport,
    connection: u64,
) -> ue::Config {
    ue::Config {
        identity: identity.clone(),
        domain: system.domain().to_owned(),
        flow: flow(system, address, transport, connection),
        expires: EXPIRES,
        algorithm: None,
        paths: Vec::new(),
    }
}
