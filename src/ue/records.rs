//! What a UE knows of MC systems: its own one, and beside it each partner it was told of (TR 23.781
//! solution 2 step 13, NOTE 4).
//!
//! A partner's record never touches the primary's: coming home needs nothing that was ever replaced.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::agent::Config;
use crate::{
    api::connection_details::{Details, SipCoreAddress, SipTransport},
    identity::{McServiceId, McSystemId, UserIdentity},
    outbox::Transport,
    time::Timestamp,
};

/// Most partner MC systems that one UE keeps a record of.
pub const PARTNER_RECORDS_MAX: usize = 64;

/// The UE's own MC system, and what the UE was given there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PrimaryRecord {
    /// The user.
    pub mc_service_id: McServiceId,
    /// The system.
    pub mc_system_id: McSystemId,
    /// The real pair.
    pub identity: UserIdentity,
    /// Where the SIP core is, in order of preference.
    pub sip_core: Vec<SipCoreAddress>,
}

/// What the UE was told of one partner MC system.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PartnerRecord {
    /// When the answer came.
    #[serde(with = "crate::time::micros")]
    pub received: Timestamp,
    /// The answer: inbound pair, configuration, until when.
    pub details: Details,
}

/// The primary's record, and one of each partner.
///
/// Invariant: one record a partner, at most [`PARTNER_RECORDS_MAX`] in all, the newest last.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Records {
    primary: PrimaryRecord,
    partners: Vec<PartnerRecord>,
}

/// The UE has [`PARTNER_RECORDS_MAX`] records of other partners, none past its validity.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("there is no room for one more partner: 64 records are still valid")]
pub struct RecordsFull;

/// Why a UE cannot register in a system.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoAccess {
    /// There is no record of it.
    #[error("there is no record of this partner: migrate first")]
    Unknown,
    /// The record has no address that the UE may use.
    #[error("the record has no address of a SIP core for this transport")]
    NoSipCore,
}

impl Records {
    /// Starts with the primary alone.
    pub const fn new(primary: PrimaryRecord) -> Self {
        Self { primary, partners: Vec::new() }
    }

    /// The primary's record. Nothing changes it.
    pub const fn primary(&self) -> &PrimaryRecord {
        &self.primary
    }

    /// The partners' records, the newest last.
    pub fn partners(&self) -> &[PartnerRecord] {
        &self.partners
    }

    /// The record of one partner.
    pub fn partner(&self, mc_system_id: &McSystemId) -> Option<&PartnerRecord> {
        self.partners.iter().find(|record| record.details.mc_system_id == *mc_system_id)
    }

    /// Keeps an answer (`MIG-13`) in place of the earlier one of the same partner, and of no other.
    ///
    /// A configuration of an older revision than the one kept replaces it too: the server is the
    /// authority, also after it was restored from an old copy.
    ///
    /// # Errors
    ///
    /// [`RecordsFull`]; a record past its validity makes room, the oldest first.
    pub fn keep(&mut self, record: PartnerRecord) -> Result<(), RecordsFull> {
        let same = |kept: &PartnerRecord| kept.details.mc_system_id == record.details.mc_system_id;
        if let Some(at) = self.partners.iter().position(same) {
            self.partners.remove(at);
        } else if self.partners.len() >= PARTNER_RECORDS_MAX {
            let over = |kept: &PartnerRecord| kept.details.valid_until <= record.received;
            let at = self.partners.iter().position(over).ok_or(RecordsFull)?;
            self.partners.remove(at);
        }
        self.partners.push(record);
        Ok(())
    }

    /// What to register with at home: the primary's record and nothing else.
    ///
    /// # Errors
    ///
    /// [`NoAccess::NoSipCore`].
    pub fn home_access(&self, over: Option<Transport>) -> Result<Config, NoAccess> {
        agent_config(&self.primary.identity, &self.primary.sip_core, over)
    }

    /// What to register with in a partner system: the partner's record and nothing else.
    pub(super) fn partner_access(
        &self,
        mc_system_id: &McSystemId,
        over: Option<Transport>,
    ) -> Result<Config, NoAccess> {
        let details = &self.partner(mc_system_id).ok_or(NoAccess::Unknown)?.details;
        agent_config(&details.identity, &details.configuration.sip_core, over)
    }
}

/// The user agent's configuration for the first address that it may use.
fn agent_config(
    identity: &UserIdentity,
    sip_core: &[SipCoreAddress],
    over: Option<Transport>,
) -> Result<Config, NoAccess> {
    let mut paths = sip_core.iter().map(|core| (transport_of(core.transport), core.address));
    let usable = |(transport, _): &(Transport, SocketAddr)| over.is_none_or(|it| it == *transport);
    let (transport, core) = paths.find(usable).ok_or(NoAccess::NoSipCore)?;
    Ok(Config::new(identity.clone(), transport, core))
}

const fn transport_of(transport: SipTransport) -> Transport {
    match transport {
        SipTransport::Udp => Transport::Udp,
        SipTransport::Tcp => Transport::Tcp,
        SipTransport::Tls => Transport::Tls,
    }
}
