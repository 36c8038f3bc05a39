//! A UE of the simulated world: its device, its user agent, and what its user does.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;

use crate::{
    aka::{DELTA, IND_BITS_DEFAULT, Milenage, Sqn, SqnArray},
    api::{
        configuration::{Agreement, AgreementKey, User, Users},
        connection_details::Details,
        migration_identity::{Direction, OperatorKey, Subscriber},
    },
    entropy::Entropy,
    identity::{McServiceId, UserIdentity},
    outbox::{Context, Effect, Flow, Outbox, Transport},
    secret::Secret,
    store::Sequencer,
    time::Timestamp,
    token::BearerToken,
    ue::{self, ConfigurationClient, Isim, PrimaryRecord, Records, UserAgent},
};

use super::{EPOCH, SeededEntropy, SystemId, administrator::Administrator, known};

/// How long agreements hold.
pub(super) const AGREEMENT: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

/// The registration period that UEs ask for, seconds: short, so that a run sees refreshes.
pub(super) const EXPIRES: u32 = 120;

/// How many SEQs an ISIM outruns its home by: more than any run uses.
const OUTRUN: u64 = 100_000;

/// How many SEQs an ISIM is ahead when it leaps: more than a UE accepts at a time.
const LEAP: u64 = 2 * DELTA;

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
    /// The name of its user in the MC service.
    pub(super) mc_service_id: McServiceId,
    /// What it presents to its configuration server.
    pub(super) token: BearerToken,
    pub(super) client: ConfigurationClient,
    /// The number of the client's request under way, or of the last one.
    pub(super) asked: Option<u64>,
    /// Where its user agent registers.
    pub(super) at: SystemId,
    /// The pair that its user agent registers.
    pub(super) identity: UserIdentity,
    pub(super) agent: UserAgent,
    /// Counts user agents: timers of an earlier one are gone with it.
    pub(super) generation: u64,
    /// Up to which SEQ the home was outrun.
    outrun: u64,
    /// The octets it sent last.
    pub(super) last_sent: Bytes,
    entropy: SeededEntropy,
    outbox: Outbox,
    pub(super) script: Script,
    pub(super) administrator: Administrator,
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
}

/// Where a script stands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Stage {
    /// Asks its home for connection details of the partner.
    #[default]
    Ask,
    /// Wants to be registered.
    Register,
    /// Wants to be registered no longer.
    Leave,
    /// Has its inbound pair given back.
    ReleaseInbound,
    /// Has its outbound pair, or its leave to use the real one, given back.
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
        let config = agent_config(home, &real, flow(home, address, transport, 0));
        let mc_service_id: McServiceId = known(&format!("sip:mcuser{number}@{domain}"));
        let primary = PrimaryRecord {
            mc_service_id: mc_service_id.clone(),
            mc_system_id: home.mc_system_id(),
            identity: real.clone(),
            sip_core: home.sip_core(),
        };
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
            mc_service_id,
            token: super::token(&format!("token-of-the-user-of-ue{number}")),
            client: ConfigurationClient::new(Records::new(primary)),
            asked: None,
            at: home,
            agent: UserAgent::new(config, isim, &mut entropy),
            generation: 0,
            outrun: 0,
            last_sent: Bytes::new(),
            entropy,
            outbox: Outbox::new(Sequencer::default().into()),
            script: Script::default(),
            administrator: Administrator::default(),
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

    /// What its home's configuration server is to know of it.
    pub(super) fn user(&self) -> User {
        User {
            mc_service_id: self.mc_service_id.clone(),
            identity: self.real.clone(),
            class: None,
            may_migrate: true,
            token: self.token.digest(),
        }
    }

    /// The agreement about it at its home, which lets it go, or at the partner, which lets it in.
    pub(super) fn agreement(&self, at: SystemId) -> Agreement {
        let direction = if at == self.home { Direction::Outbound } else { Direction::Inbound };
        let users = Users::User(self.mc_service_id.clone());
        Agreement {
            key: AgreementKey { partner: at.other().mc_system_id(), direction, users },
            valid_from: EPOCH,
            valid_until: EPOCH + AGREEMENT,
            hide_identities: at == self.home && self.hidden,
        }
    }

    /// What it was told last of its partner.
    pub(super) fn details(&self) -> Option<&Details> {
        let record = self.client.records().partner(&self.home.other().mc_system_id())?;
        Some(&record.details)
    }

    /// Begins to use `identity` at `system`, with the same ISIM and a new user agent.
    pub(super) fn move_to(&mut self, system: SystemId, identity: &UserIdentity) {
        self.at = system;
        self.identity = identity.clone();
        self.connection = None;
        let config = agent_config(system, identity, self.flow());
        self.renew_agent(config);
    }

    /// `MIG-14`: begins to use what it was told of its partner. Returns what the client wants done, or
    /// `None` if it was told nothing.
    pub(super) fn move_to_partner(&mut self, now: Timestamp) -> Option<Vec<Effect>> {
        let partner = self.home.other();
        let over = Some(self.transport);
        let mut ctx = Context { now, entropy: &mut self.entropy, out: &mut self.outbox };
        let told = self.client.prepare_access(&mut ctx, &partner.mc_system_id(), over).ok()?;
        self.at = partner;
        self.identity = told.identity.clone();
        self.connection = None;
        let flow = Flow { local: self.address, ..told.flow };
        self.renew_agent(ue::Config { flow, expires: EXPIRES, ..told });
        Some(self.outbox.drain().collect())
    }

    /// Takes a new user agent into use, with the same ISIM.
    fn renew_agent(&mut self, config: ue::Config) {
        let credentials = self.agent.credentials().clone();
        self.generation += 1;
        self.agent = UserAgent::new(config, credentials, &mut self.entropy);
    }

    /// Sets the ISIM as if vectors up to `seq` of the first visited system had been accepted.
    pub(super) fn set_seq(&mut self, seq: u64) {
        let mut sqn = SqnArray::default();
        let mut accepted = 0;
        while accepted < seq {
            accepted = seq.min(accepted + DELTA); // an ISIM goes no further at a time
            let _ = sqn.accept(Sqn::new(accepted, 4, IND_BITS_DEFAULT));
        }
        let config = agent_config(self.at, &self.identity, self.flow());
        self.generation += 1;
        self.agent = UserAgent::new(config, Isim::new(&self.k, &self.opc, sqn), &mut self.entropy);
    }

    /// Lets the ISIM accept a vector that its home has forgotten, as after the home was restored from
    /// an old copy: the next challenge is out of range.
    pub(super) fn outrun_home(&mut self) {
        self.outrun += OUTRUN;
        self.set_seq(self.outrun);
    }

    /// Lets the ISIM be so far ahead that its home, which follows, does not come back by itself; or, where it
    /// is, replaces it by one of the same key that has accepted nothing: its home has to move SQN back.
    pub(super) fn leap_or_start_over(&mut self) {
        self.outrun = if self.outrun < LEAP { LEAP } else { 0 };
        self.set_seq(self.outrun);
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

    /// Calls the configuration management client and returns what it wants done.
    pub(super) fn call_client(
        &mut self,
        now: Timestamp,
        call: impl FnOnce(&mut ConfigurationClient, &mut Context<'_>),
    ) -> Vec<Effect> {
        let mut ctx = Context { now, entropy: &mut self.entropy, out: &mut self.outbox };
        call(&mut self.client, &mut ctx);
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

fn agent_config(system: SystemId, identity: &UserIdentity, flow: Flow) -> ue::Config {
    ue::Config {
        identity: identity.clone(),
        domain: system.domain().to_owned(),
        flow,
        expires: EXPIRES,
        algorithm: None,
        paths: Vec::new(),
    }
}
