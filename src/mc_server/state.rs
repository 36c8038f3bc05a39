//! What an MC server knows, and in what order it goes away.

use std::collections::{BTreeMap, BTreeSet};

use super::record::ClientRecord;
use crate::{
    identity::{Impu, McServiceId},
    time::Timestamp,
    user_profile::ProfileService,
};

/// What is known of a public identity.
pub(super) type Held = ClientRecord;

/// Everything. Who changes it holds it. It names users: nothing of it prints.
#[derive(Default)]
pub(super) struct State {
    clients: BTreeMap<Impu, Held>,
    /// The public identities that are authorised for a user, by service.
    of_user: BTreeMap<(ProfileService, McServiceId), BTreeSet<Impu>>,
    /// How many public identities are authorised for each service.
    authorised: BTreeMap<ProfileService, usize>,
    /// When the first thing of which client ends.
    pub(super) ends: BTreeSet<(Timestamp, Impu)>,
    /// For when the timer is armed.
    pub(super) armed: Option<Timestamp>,
}

impl State {
    pub(super) fn client(&self, impu: &Impu) -> Option<&Held> {
        self.clients.get(impu)
    }

    /// How many public identities are known.
    pub(super) fn count(&self) -> usize {
        self.clients.len()
    }

    /// How many public identities are authorised for a service.
    pub(super) fn authorised(&self, service: ProfileService) -> usize {
        self.authorised.get(&service).copied().unwrap_or(0)
    }

    /// With how many public identities beside `impu` a user is authorised for a service.
    pub(super) fn authorised_beside(
        &self,
        service: ProfileService,
        user: &McServiceId,
        impu: &Impu,
    ) -> usize {
        let impus = self.of_user.get(&(service, user.clone()));
        impus.map_or(0, |impus| impus.iter().filter(|it| *it != impu).count())
    }

    /// Puts a client in the place of what was known of it; returns that.
    pub(super) fn put(&mut self, impu: &Impu, client: Held) -> Option<Held> {
        let before = self.remove(impu);
        for it in &client.authorisations {
            let user = (it.service, it.mc_service_id.clone());
            self.of_user.entry(user).or_default().insert(impu.clone());
            *self.authorised.entry(it.service).or_default() += 1;
        }
        self.ends.insert((client.first_end(), impu.clone()));
        self.clients.insert(impu.clone(), client);
        before
    }

    /// Forgets a client.
    pub(super) fn remove(&mut self, impu: &Impu) -> Option<Held> {
        let client = self.clients.remove(impu)?;
        self.ends.remove(&(client.first_end(), impu.clone()));
        for it in &client.authorisations {
            if let Some(count) = self.authorised.get_mut(&it.service) {
                *count = count.saturating_sub(1);
            }
            let user = (it.service, it.mc_service_id.clone());
            if let Some(impus) = self.of_user.get_mut(&user) {
                impus.remove(impu);
                if impus.is_empty() {
                    self.of_user.remove(&user);
                }
            }
        }
        Some(client)
    }
}

impl Held {
    pub(super) fn has(&self, service: ProfileService) -> bool {
        self.of(service).is_some()
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "State({} clients)", self.clients.len())
    }
}
