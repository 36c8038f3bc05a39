//! An ACM client of the simulated world, and the administrator who uses it.

use crate::{
    api::{
        acm_client::{Begin, SessionId},
        acm_interconnection::{TransactionId, TransactionKey},
        acm_management::User,
        acm_payload::Kind,
    },
    identity::McServiceId,
    token::BearerToken,
};

use super::{SeededEntropy, SystemId};

/// An ACM client.
#[derive(Debug)]
pub(super) struct AcmClient {
    pub(super) system: SystemId,
    /// Its user, an administrator of the system.
    pub(super) name: McServiceId,
    pub(super) token: BearerToken,
    pub(super) entropy: SeededEntropy,
    /// Its log-on, as far as it knows.
    pub(super) session: Option<SessionId>,
    /// Whether its stream of events is open.
    pub(super) listens: bool,
    /// Names the one wake-up or answer waited for; others are stale.
    pub(super) turn: u64,
    pub(super) doing: Doing,
    /// What it wanted to begin and does not know about; it asks again, under the same name.
    pub(super) unanswered: Vec<Begin>,
    /// What it has begun.
    pub(super) begun: Vec<TransactionId>,
    /// Whether its user has all rights, as far as anybody knows.
    pub(super) has_all_rights: bool,
    /// Whether it only ends what is left.
    pub(super) settling: bool,
}

/// What a client is about to do.
#[derive(Clone, Debug, Default)]
pub(super) enum Doing {
    #[default]
    Nothing,
    /// It logs on.
    LoggingOn,
    /// It asks what is pending.
    Listing,
    /// It asks for an item.
    Reading(TransactionKey),
    /// It begins a transaction.
    Sending(TransactionId),
    /// Its user gets all rights back.
    Restoring,
    /// Something whose answer says nothing new.
    Other,
}

impl AcmClient {
    pub(super) fn new(system: SystemId, number: usize, entropy: SeededEntropy) -> Self {
        let domain = system.domain();
        Self {
            system,
            name: system.administrator(number),
            token: super::token(&format!("token-of-administrator{number}-of-{domain}")),
            entropy,
            session: None,
            listens: false,
            turn: 0,
            doing: Doing::Nothing,
            unanswered: Vec::new(),
            begun: Vec::new(),
            has_all_rights: true,
            settling: false,
        }
    }

    /// What its ACM server is to know of it.
    pub(super) fn user(&self, rights: &[Kind]) -> User {
        User {
            mc_service_id: self.name.clone(),
            token: self.token.digest(),
            may_request: rights.to_vec(),
            may_decide: rights.to_vec(),
        }
    }

    /// Draws one of so many.
    pub(super) fn draw(&mut self, count: usize) -> usize {
        usize::try_from(self.entropy.below(count as u64)).unwrap_or(0)
    }
}
