//! What is known of a public identity: the durable record of an MC server. It holds no token.

use serde::{Deserialize, Serialize};

use crate::{
    identity::McServiceId,
    mc_info::{CLIENT_ID_OCTETS_MAX, settings::Settings},
    store::WrongField,
    time::Timestamp,
    user_profile::ProfileService,
};

/// A public identity, by which the record is kept.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
pub(super) struct ClientRecord {
    /// The Call-ID of the last third-party REGISTER; empty if there was none.
    pub(super) call_id: String,
    /// Its CSeq.
    pub(super) cseq: u32,
    /// Until when it is registered, as far as this server was told; zero if it is not.
    pub(super) registered_until: Timestamp,
    /// When the record is forgotten, at the latest.
    pub(super) until: Timestamp,
    /// One for each service at most.
    pub(super) authorisations: Vec<Authorisation>,
}

/// That a public identity speaks for an MC service ID.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub(super) struct Authorisation {
    pub(super) service: ProfileService,
    pub(super) mc_service_id: McServiceId,
    /// The MC client ID, if the client gave one.
    pub(super) client_id: Option<String>,
    /// When it ends, if nothing happens before.
    pub(super) until: Timestamp,
    /// What the client published, if it did.
    pub(super) publication: Option<Publication>,
}

/// Service settings that a client published.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub(super) struct Publication {
    /// Its name, which changes with each change (RFC 3903 section 6): SIP-ETag in hexadecimal digits.
    pub(super) etag: u64,
    /// When it ends; `None` with the registration.
    pub(super) until: Option<Timestamp>,
    pub(super) settings: Settings,
}

impl ClientRecord {
    pub(super) fn of(&self, service: ProfileService) -> Option<&Authorisation> {
        self.authorisations.iter().find(|it| it.service == service)
    }

    /// Puts an authorisation in the place of that for the same service.
    pub(super) fn authorise(&mut self, authorisation: Authorisation) {
        self.log_off(authorisation.service);
        self.authorisations.push(authorisation);
    }

    pub(super) fn log_off(&mut self, service: ProfileService) {
        self.authorisations.retain(|it| it.service != service);
    }

    /// Whether it is registered, as far as this server was told.
    pub(super) fn is_registered(&self, now: Timestamp) -> bool {
        self.registered_until > now
    }

    /// Lets go what has ended.
    pub(super) fn expire(&mut self, now: Timestamp) {
        self.authorisations.retain(|it| it.until > now);
    }

    /// When the first thing in it ends.
    pub(super) fn first_end(&self) -> Timestamp {
        let ends = self.authorisations.iter().map(|it| it.until);
        ends.chain([self.until]).min().unwrap_or_default()
    }

    pub(super) fn check(&self) -> Result<(), WrongField> {
        let twice = |at: usize, it: &Authorisation| {
            self.authorisations.iter().take(at).any(|other| other.service == it.service)
        };
        let mut all = self.authorisations.iter().enumerate();
        let once = !all.any(|(at, it)| twice(at, it));
        WrongField::unless(once, "authorisations", "has two of one service")?;
        let bounded = |id: &String| (1..=CLIENT_ID_OCTETS_MAX).contains(&id.len());
        let bounded =
            self.authorisations.iter().all(|it| it.client_id.as_ref().is_none_or(bounded));
        WrongField::unless(bounded, "authorisations", "has a client ID that is empty or too long")
    }
}
