//! What administrators of the two systems exchange by ACM (TS 23.280 clause 10.17), and what the world remembers of it.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    api::{
        acm_client::{self, Answer},
        acm_interconnection::{Response, TransactionKey},
        acm_management,
        acm_payload::Kind,
        connection_details::SystemConfiguration,
        migration_identity::Direction,
    },
    identity::{McServiceGroupId, McServiceId, McSystemId},
    time::Timestamp,
    ue_configuration::InitialUeConfiguration,
};

use super::{
    SystemId, Violation, World,
    http::{Asker, Inquiry, Reply},
    known,
};

/// How long the systems may take after the last fault until every transaction is over: longer than any may wait for
/// its decision.
const SETTLEMENT: Duration = Duration::from_secs(3 * 3_600);

/// How long a client waits for an answer in a world without faults.
const QUESTION: Duration = Duration::from_secs(10);

/// Users of each system whom its administrators have migrate. They have no UEs.
pub(super) const USERS: usize = 3;

/// Groups of each system.
pub(super) const GROUPS: usize = 2;

/// What the world remembers.
#[derive(Debug, Default)]
pub(super) struct Exchanged {
    /// The highest revision of each set: who sends it, and which system it describes.
    pub(super) last_revisions: BTreeMap<(SystemId, SystemId), u64>,
    /// What each transaction came to, as it was first told.
    pub(super) decided: BTreeMap<TransactionKey, Response>,
    /// Configurations that were put in force and confirmed: where, of which system, when, which revision.
    in_force: Vec<(SystemId, McSystemId, Timestamp, u64)>,
}

impl SystemId {
    /// What UEs of other systems are told of this one at first, with another data network.
    ///
    /// # Panics
    ///
    /// If the document is not valid, which is a bug.
    pub fn configuration_with(self, revision: u64) -> SystemConfiguration {
        let first = self.configuration();
        let mut document = first.document.document().clone();
        document.on_network.hplmn.service.mc_services = format!("apn-{revision}");
        #[expect(clippy::expect_used, reason = "the simulated world's own document is valid")]
        let document = InitialUeConfiguration::new(&document).expect("a valid document");
        SystemConfiguration { revision, document: document.into(), ..first }
    }

    /// The users whom its administrators have migrate.
    pub fn exchanged_users(self) -> Vec<McServiceId> {
        let user = |number| known(&format!("sip:exchanged{number}@{}", self.domain()));
        (0..USERS).map(user).collect()
    }

    /// Its interconnection groups.
    pub(super) fn groups(self) -> Vec<McServiceGroupId> {
        let group = |number| known(&format!("sip:group{number}@{}", self.domain()));
        (0..GROUPS).map(group).collect()
    }
}

impl World {
    /// What the ACM servers are told before anything happens: who may do what.
    pub(super) fn for_the_acm_servers(&self) -> Vec<(SystemId, acm_management::Request)> {
        let clients = self.acm_clients.iter();
        clients
            .map(|client| {
                (client.system, acm_management::Request::PutUser(client.user(&Kind::ALL)))
            })
            .collect()
    }

    /// Asks the management interface of an ACM server; `None` if it does not answer.
    pub(super) fn manage_acm(
        &mut self,
        system: SystemId,
        request: acm_management::Request,
    ) -> Result<Option<acm_management::Answer>, Violation> {
        match self.question(system, Inquiry::AcmServer(request))? {
            Some(Reply::AcmServer(answer)) => Ok(Some(answer)),
            _ => Ok(None),
        }
    }

    /// Asks the ACM server of a system as its administrator of this number; `None` if it does not answer.
    ///
    /// # Errors
    ///
    /// A [`Violation`] that happened meanwhile.
    pub fn administer(
        &mut self,
        system: SystemId,
        number: usize,
        request: acm_client::Request,
    ) -> Result<Option<Answer>, Violation> {
        let name = system.administrator(number);
        let client = self.acm_clients.iter().find(|client| client.name == name);
        let Some(client) = client else { return Ok(None) };
        let inquiry = Inquiry::AcmClient(Box::new((name, client.token.clone(), request)));
        let question = self.ask(system, inquiry, Asker::Test);
        let end = self.now() + QUESTION;
        self.run_until(end, |world| world.answers.contains_key(&question))?;
        match self.answers.remove(&question) {
            Some(Reply::AcmClient(answer)) => Ok(Some(answer)),
            _ => Ok(None),
        }
    }

    /// A configuration is in force at `at`, and that was confirmed.
    pub(super) fn enter_in_force(&mut self, at: SystemId, of: &McSystemId, revision: u64) {
        let now = self.now();
        self.exchanged.in_force.push((at, of.clone(), now, revision));
    }

    /// What a UE of `home` is told of its partner is not older than what was in force there when it asked, unless the
    /// partner itself told it.
    pub(super) fn check_up_to_date(
        &self,
        home: SystemId,
        told: u64,
        since: Timestamp,
    ) -> Result<(), Violation> {
        let of = home.other().mc_system_id();
        let known = self
            .exchanged
            .in_force
            .iter()
            .filter(|(at, system, when, _)| (*at, system) == (home, &of) && *when <= since);
        let newest = known.map(|(.., revision)| *revision).max().unwrap_or(0);
        let by_partner = self.options.exchange.as_ref().is_none_or(|it| it.sends_configuration);
        if by_partner || told >= newest {
            return Ok(());
        }
        let detail = format_args!("revision {told} after {newest}");
        Err(Violation::new("a UE is told what administrators have exchanged", &detail))
    }

    /// Waits until every transaction is over, and checks what came of all of them, before and after a restart.
    pub(super) fn settle_exchange(&mut self) -> Result<(), Violation> {
        if self.acm_clients.is_empty() {
            return Ok(());
        }
        self.settle_acm_clients();
        let end = self.now() + SETTLEMENT;
        let mut left = self.exchange_left()?;
        while let Some(what) = left {
            if self.now() > end {
                return Err(Violation::new("every transaction ends", &what));
            }
            self.run_for(Duration::from_secs(30))?;
            left = self.exchange_left()?;
        }
        self.check_exchanged()
    }

    /// The configuration by which a role of `at` lets a user migrate, for comparison with what is stored.
    pub(super) fn known_configuration(
        &self,
        at: SystemId,
        direction: Direction,
        user: &McServiceId,
    ) -> Option<u64> {
        let acm = self.system(at).roles.acm.as_ref()?;
        let other = at.other().mc_system_id();
        Some(acm.server.configuration_of(direction, &other, user)?.revision)
    }
}
