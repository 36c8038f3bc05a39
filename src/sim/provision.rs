//! What the systems of a simulated world are given before anything happens in it.

use std::time::Duration;

use crate::{
    api::{
        acm_management, configuration,
        connection_details::SystemConfiguration,
        migration_identity::{Answer, Direction, Pool, PoolSource, Request},
    },
    identity::UserIdentity,
    ue_configuration::InitialUeConfiguration,
};

use super::{
    Event, OUTBOUND_QUARANTINE, QUARANTINE, SystemId, Violation, Who, World, check::LISTED, known,
    options::Pools,
};

/// How long the systems may take to connect.
const CONNECTION: Duration = Duration::from_secs(10);

impl World {
    /// Gives both systems their pools, subscribers, users, agreements and configurations, and connects
    /// them.
    pub(super) fn provision(&mut self) {
        let requests = self.for_the_databases();
        let all = requests.into_iter().try_for_each(|(system, request)| {
            match self.manage(system, request)? {
                Some(Answer::Done | Answer::Pool { .. } | Answer::Subscriber { .. }) => Ok(()),
                other => Err(unfit(&other)),
            }
        });
        let requests = self.for_the_config_servers();
        let all = all.and_then(|()| {
            requests.into_iter().try_for_each(|(system, request)| {
                match self.configure(system, request)? {
                    Some(configuration::Answer::Refused(_)) | None => Err(unfit(&"refused")),
                    Some(_) => Ok(()),
                }
            })
        });
        let requests = self.for_the_acm_servers();
        let all = all.and_then(|()| {
            requests.into_iter().try_for_each(|(system, request)| {
                match self.manage_acm(system, request)? {
                    Some(acm_management::Answer::Done) => Ok(()),
                    other => Err(unfit(&other)),
                }
            })
        });
        if let Err(violation) = all {
            return self.violate(violation);
        }
        self.queue.put_after(Duration::ZERO, Event::Connect);
        let end = self.now() + CONNECTION;
        if let Ok(false) = self.run_until(end, Self::is_connected) {
            self.violate(Violation::new("systems that reach each other connect", &self.seed));
        }
        self.record(Who::World, || "provisioned".to_owned());
    }

    fn for_the_databases(&self) -> Vec<(SystemId, Request)> {
        let pools = self.options.pools;
        let pools = [SystemId::A, SystemId::B].into_iter().flat_map(|id| {
            [Direction::Outbound, Direction::Inbound].into_iter().flat_map(move |direction| {
                let generated = (pools != Pools::Listed).then(|| generated_pool(id, direction));
                let listed = (pools != Pools::Generated).then(|| listed_pool(id, direction));
                generated.into_iter().chain(listed).map(move |pool| (id, Request::PutPool(pool)))
            })
        });
        let subscribers =
            self.ues.iter().map(|ue| (ue.home, Request::PutSubscriber(ue.subscriber())));
        pools.chain(subscribers).collect()
    }

    fn for_the_config_servers(&self) -> Vec<(SystemId, configuration::Request)> {
        use configuration::Request::{PutAgreement, PutSystemConfiguration, PutUser};
        // Who is not sent the partner's along with a pair has to have it.
        let of_partners = self.options.exchange.as_ref().is_some_and(|it| !it.sends_configuration);
        let configurations = [SystemId::A, SystemId::B].into_iter().flat_map(|system| {
            let others = of_partners.then(|| system.other());
            [system].into_iter().chain(others).map(move |at| {
                let (configuration, system) = (system.configuration(), system.mc_system_id());
                (at, PutSystemConfiguration { system, configuration })
            })
        });
        let users = self.ues.iter().map(|ue| (ue.home, PutUser(ue.user())));
        let agreements = self.ues.iter().flat_map(|ue| {
            [ue.home, ue.home.other()].into_iter().map(|at| (at, PutAgreement(ue.agreement(at))))
        });
        configurations.chain(users).chain(agreements).collect()
    }
}

impl SystemId {
    /// What UEs of other systems are told of this one at first.
    ///
    /// # Panics
    ///
    /// If the document that the domain gives is not valid, which is a bug.
    pub fn configuration(self) -> SystemConfiguration {
        #[expect(clippy::expect_used, reason = "the simulated world's own document is valid")]
        let document = InitialUeConfiguration::for_domain(self.domain(), self.location().plmn)
            .expect("a valid document");
        SystemConfiguration { revision: 1, sip_core: self.sip_core(), document: document.into() }
    }
}

fn unfit(answer: &impl std::fmt::Debug) -> Violation {
    Violation::new("a system can be provisioned", &format_args!("{answer:?}"))
}

/// A pool whose identities tell nothing.
fn generated_pool(id: SystemId, direction: Direction) -> Pool {
    let (name, domain) = (name(direction), id.domain());
    let source = PoolSource::Generated {
        impi_template: format!("{name}-{{id}}@{domain}"),
        impu_template: format!("sip:{name}-{{id}}@{domain}"),
        key: None,
    };
    Pool { name: name.to_owned(), direction, source }
}

/// A pool of fewer pairs than there are UEs as a rule, so that pairs change hands.
fn listed_pool(id: SystemId, direction: Direction) -> Pool {
    let (name, domain) = (name(direction), id.domain());
    let pair = |number| UserIdentity {
        impi: known(&format!("{LISTED}-{name}-{number}@{domain}")),
        impu: known(&format!("sip:{LISTED}-{name}-{number}@{domain}")),
    };
    let quarantine = match direction {
        Direction::Outbound => OUTBOUND_QUARANTINE,
        Direction::Inbound => QUARANTINE,
    };
    let source = PoolSource::Listed { identities: (0..2).map(pair).collect(), quarantine };
    Pool { name: format!("{LISTED}-{name}"), direction, source }
}

const fn name(direction: Direction) -> &'static str {
    match direction {
        Direction::Outbound => "out",
        Direction::Inbound => "in",
    }
}
