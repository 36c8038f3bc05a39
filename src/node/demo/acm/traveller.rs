//! A UE that asks its system for step 1 of a migration before and after: what the exchange is for.

use std::sync::Arc;

use super::{
    DemoError, RunningAcmDemo, SETTLE, Show,
    branch::Play,
    differs,
    office::{Office, service_id},
    play::changed_configuration,
};
use crate::{
    api::connection_details::SystemConfiguration,
    identity::McSystemId,
    node::{
        Clock,
        demo::{
            Site,
            cast::{self, Person, provision_travel},
            device::Device,
            stage::plmn_of,
        },
        ladder::{Entry, Protocol},
        metrics::Direction,
    },
    outbox::Transport,
    step::Step,
};

/// The revision that UEs are told before.
const BEFORE: u64 = 7;

/// What ladders call every UE.
const UE: &str = "UE";

/// A user of one system who wants to go to the other one.
pub(super) struct Traveller {
    ue: Device,
    play: Play,
    /// The revision that the user was told last.
    told: Option<u64>,
}

impl Traveller {
    /// The user who profits by a procedure: of B by A's own configuration, of A by what A says of its users in B.
    pub(super) async fn new(demo: &RunningAcmDemo, play: Play) -> Result<Option<Self>, DemoError> {
        let (from, to) = match play {
            Play::Xcfg => (&demo.stage.partner, &demo.stage.home),
            Play::Upd => (&demo.stage.home, &demo.stage.partner),
            // Group IDs are for the profiles of users, which are no part of this product.
            Play::Grp => return Ok(None),
        };
        let name = if play == Play::Xcfg { "bert" } else { "alice" };
        let mut person = Person::new(&format!("ue-of-{name}"), from)?;
        person.mc_service_id = service_id(&format!("sip:{name}@{}", from.config().system.domain))?;
        person.provision(from, true).await?;
        provision_travel(from, to, true).await?;
        // It only asks, and registers nowhere.
        let ue = Device::new(&person, person.isim(), from, Transport::Udp, &demo.tap)?;
        Ok(Some(Self { ue, play, told: None }))
    }
}

impl RunningAcmDemo {
    /// Shows what the UE is told before: something older, put there by hand if nothing is. Returns the revision.
    pub(super) async fn before(
        &mut self,
        traveller: &mut Traveller,
        show: &mut Show<'_>,
    ) -> Result<u64, DemoError> {
        let (at, of, site) = self.ends(traveller.play);
        let known = at.revision_of(of).await?;
        if known.is_none() {
            let kms = if traveller.play == Play::Xcfg { "kms-1" } else { "" };
            let older = changed_configuration(cast::configuration(site)?, kms, BEFORE)?;
            at.management.put_system_configuration(of, &older).await?;
        }
        let title = format!("before: a UE of {} asks how to get into the other system", at.domain);
        self.ask(traveller).await?;
        let told = traveller.told.ok_or(DemoError::Missing("an answer to step 1"))?;
        if told != known.unwrap_or(BEFORE) {
            return Err(differs(format!("the UE was told revision {told} before")));
        }
        self.show_part(&title, show).await?;
        Ok(told)
    }

    /// Shows that the UE is told what was accepted.
    pub(super) async fn after(
        &mut self,
        traveller: &mut Traveller,
        accepted: &SystemConfiguration,
        show: &mut Show<'_>,
    ) -> Result<(), DemoError> {
        let (at, of, _) = self.ends(traveller.play);
        let of = of.clone();
        let title = format!("after: the same UE of {} asks again", at.domain);
        self.ask(traveller).await?;
        self.show_part(&title, show).await?;
        // The label of a UE is blank in an update (TS 23.280 10.17.2.13, NOTE 2): it is no part of the comparison.
        let of_system = |it: &SystemConfiguration| {
            (it.revision, it.sip_core.clone(), it.document.with_label(None))
        };
        match traveller.ue.configuration_of(&of) {
            Some(told) if of_system(told) == of_system(accepted) => Ok(()),
            Some(told) => Err(differs(format!(
                "the UE was told revision {} of {of}, and not what was accepted",
                told.revision
            ))),
            None => Err(DemoError::Missing("an answer to step 1")),
        }
    }

    /// Who is asked, of which system, and where that is.
    fn ends(&self, play: Play) -> (&Office, &McSystemId, &Site) {
        if play == Play::Xcfg {
            (&self.b, &self.a.system, &self.stage.home)
        } else {
            (&self.a, &self.b.system, &self.stage.partner)
        }
    }

    /// Steps 1 to 13 of a migration, of which the ladder gets what passes between UE and configuration servers.
    async fn ask(&mut self, traveller: &mut Traveller) -> Result<(), DemoError> {
        let (_, of, site) = self.ends(traveller.play);
        let of = of.clone();
        let clock = Clock::start_ahead(self.stage.clock_ahead());
        traveller.ue.set_clock(clock);
        traveller.ue.migrate_from(plmn_of(site), None).await?;
        let told = traveller.ue.configuration_of(&of).map(|it| it.revision);
        let before = std::mem::replace(&mut traveller.told, told);
        self.until(Step::mig(13)).await?;
        tokio::time::sleep(SETTLE).await;
        while let Ok(entry) = self.ladder.try_recv() {
            self.seen.push(entry);
        }
        let parties = [UE, &*self.a.config_server, &*self.b.config_server];
        let is_between = |entry: &Entry| {
            entry.direction == Direction::Out
                && [&entry.from, &entry.to].into_iter().all(|it| parties.contains(&&**it))
        };
        self.seen.retain(is_between);
        let ue: Arc<str> = UE.into();
        let revision = told.map_or_else(|| "none".to_owned(), |it| it.to_string());
        let before = before.map_or_else(String::new, |it| format!(" in place of {it}"));
        self.seen.push(Entry {
            at: clock.now(),
            step: None,
            from: Arc::clone(&ue),
            to: ue,
            protocol: Protocol::Step,
            direction: Direction::Out,
            local: None,
            remote: None,
            summary: format!("has the configuration of {of}, revision {revision}{before}"),
            octets: 0,
        });
        Ok(())
    }
}
