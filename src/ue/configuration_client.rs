//! The configuration management client: asks the UE's own MC system how to get into another one (CSC-4;
//! TR 23.781 solution 2 steps 1, 13 and 14).
//!
//! Sans-I/O. The world hands in the answer to the request under way and no other, as one HTTP connection
//! does. Between the answer and step 14 there may be a long pause (NOTE 5): the records outlive it.

use std::time::Duration;

use super::{
    agent::Config,
    records::{NoAccess, PartnerRecord, Records, RecordsFull},
};
use crate::{
    api::connection_details::{Answer, Location, Refusal, Request},
    identity::McSystemId,
    outbox::{Context, Message, Role, Transport, Undeliverable},
    step::Step,
    store::CommitSeq,
};

/// After how long to repeat a request whose answer was lost, or that ran into trouble of the network.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// After how long to repeat a request that found no identity free, or no configuration: somebody has to act.
const RETRY_AFTER_MENDED: Duration = Duration::from_secs(60);

/// One UE's configuration management client, with the records of the systems that the UE knows.
#[derive(Debug)]
pub struct ConfigurationClient {
    records: Records,
    state: ConfigurationState,
    /// The request under way, or the last one: a repeat sends exactly this.
    asked: Option<Request>,
}

/// Where the configuration management client stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ConfigurationState {
    /// Nothing asked yet.
    Idle,
    /// A request is under way.
    Busy,
    /// The record of this partner is there (`MIG-13`).
    Received(McSystemId),
    /// The last request brought nothing.
    Failed(ConfigurationFailure),
}

/// Why a request brought nothing. The records are as before.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ConfigurationFailure {
    /// The configuration management server refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No answer came. The identities may be lent already: a repeat brings the same ones.
    #[error("the configuration management server did not answer")]
    NoAnswer,
    /// The answer is about another partner than the one that the user insists on.
    #[error("the configuration management server answered with another partner")]
    OtherPartner,
    /// There is no room for the answer.
    #[error(transparent)]
    RecordsFull(#[from] RecordsFull),
}

impl ConfigurationFailure {
    /// After how long the same request may succeed; `None` where somebody has to change something first.
    pub const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::NoAnswer | Self::Refused(Refusal::PartnerUnreachable | Refusal::Unavailable) => {
                Some(RETRY_AFTER)
            }
            Self::Refused(Refusal::Exhausted | Refusal::NotConfigured) => Some(RETRY_AFTER_MENDED),
            Self::RecordsFull(_)
            | Self::OtherPartner
            | Self::Refused(
                Refusal::NotAuthenticated
                | Refusal::NotAuthorised
                | Refusal::PartnerNotAllowed
                | Refusal::NoPartner
                | Refusal::RefusedByPartner,
            ) => None,
        }
    }
}

impl ConfigurationClient {
    /// Creates a client that has asked nothing yet.
    pub const fn new(records: Records) -> Self {
        Self { records, state: ConfigurationState::Idle, asked: None }
    }

    /// Where it stands.
    pub const fn state(&self) -> &ConfigurationState {
        &self.state
    }

    /// What the UE knows of MC systems.
    pub const fn records(&self) -> &Records {
        &self.records
    }

    /// `MIG-1`: asks for the connection details of a partner: the one wished for, else one that covers the
    /// location; with a strict wish that one or none. Why it asks is the user's matter.
    pub fn ask(
        &mut self,
        ctx: &mut Context<'_>,
        location: Location,
        wish: Option<McSystemId>,
        strict: bool,
    ) {
        let mc_service_id = self.records.primary().mc_service_id.clone();
        self.asked = Some(Request { mc_service_id, location, partner: wish, strict });
        self.repeat(ctx);
    }

    /// Sends the last request once more: what to do if its answer was lost. It brings the same pair.
    pub fn repeat(&mut self, ctx: &mut Context<'_>) {
        let Some(request) = self.asked.clone() else { return };
        self.state = ConfigurationState::Busy;
        let message = Message::ConnectionDetailsRequest(request);
        ctx.out.send_after(CommitSeq::NOTHING, Some(Step::mig(1)), message);
    }

    /// Handles the outcome of the request under way: stores what `MIG-13` brings beside the primary's
    /// record. An outcome that nobody waits for changes nothing.
    pub fn handle_answer(&mut self, ctx: &mut Context<'_>, outcome: Result<Answer, Undeliverable>) {
        if self.state != ConfigurationState::Busy {
            return;
        }
        let insisted = self.asked.as_ref().filter(|asked| asked.strict);
        let insisted = insisted.and_then(|asked| asked.partner.as_ref());
        self.state = match outcome {
            Ok(Answer::Details(details))
                if insisted.is_some_and(|wish| *wish != details.mc_system_id) =>
            {
                ConfigurationState::Failed(ConfigurationFailure::OtherPartner)
            }
            Ok(Answer::Details(details)) => {
                let mc_system_id = details.mc_system_id.clone();
                let record = PartnerRecord { received: ctx.now, details: *details };
                match self.records.keep(record) {
                    Ok(()) => ConfigurationState::Received(mc_system_id),
                    Err(full) => ConfigurationState::Failed(full.into()),
                }
            }
            Ok(Answer::Refused(refusal)) => ConfigurationState::Failed(refusal.into()),
            Err(Undeliverable) => ConfigurationState::Failed(ConfigurationFailure::NoAnswer),
        };
    }

    /// `MIG-14`: gets ready to register in a partner system, with nothing but what `MIG-13` told.
    ///
    /// Bearers are the business of whoever runs the UE's modem, and there is no identity management server
    /// to authenticate the MC service user with: the step says so.
    ///
    /// # Errors
    ///
    /// [`NoAccess`].
    pub fn prepare_access(
        &self,
        ctx: &mut Context<'_>,
        partner: &McSystemId,
        over: Option<Transport>,
    ) -> Result<Config, NoAccess> {
        let config = self.records.partner_access(partner, over)?;
        let summary = "bearers are outside this product; user authentication is not configured";
        ctx.out.step(Step::mig(14), Role::Ue, summary);
        Ok(config)
    }
}
