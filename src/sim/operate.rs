//! What a test does to a simulated world, and what it sees of it.

use std::time::Duration;

use crate::{
    api::migration_identity::{Answer, Binding, Direction, Pool, PoolSource, Request},
    identity::{Impi, UserIdentity},
    sip_core::Registration,
    store::{RecordKind, decode},
    ue::{self, UserAgent},
};

use super::{
    Event, QUARANTINE, SystemId, Violation, Who, World, check::LISTED, known, ue_host::Stage,
};

/// How long a question to a management interface may take in a world without faults.
const QUESTION: Duration = Duration::from_secs(10);

/// How long a UE may take until it is registered or has failed: Timer F twice and more.
const REGISTRATION: Duration = Duration::from_secs(100);

/// How long a world may take after the last fault until every UE is registered.
const RECOVERY: Duration = Duration::from_secs(600);

impl World {
    /// Lets every UE migrate, register, leave and return by itself for `span` under all the faults of
    /// the options; then ends the faults and waits until every UE is registered.
    ///
    /// # Errors
    ///
    /// The first [`Violation`], also if a UE cannot register after the faults have ended.
    pub fn live_through(&mut self, span: Duration) -> Result<(), Violation> {
        self.start_scripts();
        self.begin_storm();
        self.run_for(span)?;
        self.end_storm();
        self.settle_scripts();
        let end = self.now() + RECOVERY;
        let all = |world: &Self| (0..world.ues.len()).all(|ue| world.is_registered(ue));
        if self.run_until(end, all)? {
            return self.check_memory();
        }
        let ue = (0..self.ues.len()).find(|ue| !self.is_registered(*ue)).unwrap_or(0);
        let detail =
            format_args!("ue{ue} is not, {:?}", self.ues.get(ue).map(|it| it.agent.state()));
        Err(Violation::new("after the last fault every UE gets registered", &detail))
    }

    /// Restarts both systems and checks that each SIP core knows the registrations that its storage
    /// holds, before and after.
    fn check_memory(&mut self) -> Result<(), Violation> {
        for restart in [false, true] {
            for system in [SystemId::A, SystemId::B].into_iter().filter(|_| restart) {
                self.stop(system, Duration::from_millis(1));
            }
            self.run_for(Duration::from_secs(1))?;
            for ue in &self.ues {
                let impi = &ue.identity.impi;
                let known = self.system(ue.at).core.contacts_of(impi);
                let stored = self.stored_contacts(ue.at, impi);
                if known != stored {
                    let detail =
                        format_args!("{known} contacts of ue{}, stored {stored}", ue.number);
                    return Err(Violation::new("a SIP core knows what is stored", &detail));
                }
            }
        }
        Ok(())
    }

    /// How many commits the storages were given so far, one for each outbox that had any.
    pub const fn commits(&self) -> u64 {
        self.commits
    }

    /// Lets the system crash that gives its storage the `number`-th commit from now, at once.
    pub const fn crash_at_commit(&mut self, number: u64) {
        self.crash_at_commit = Some(self.commits + number);
    }

    /// Whether a UE believes that it is registered at the partner, and the partner's storage agrees.
    pub fn is_registered(&self, ue: usize) -> bool {
        self.ues.get(ue).is_some_and(|it| {
            matches!(it.agent.state(), ue::State::Registered(_))
                && it.at != it.home
                && self.stored_contacts(it.at, &it.identity.impi) > 0
        })
    }

    /// Asks the management interface of `system`; `None` if it does not answer.
    ///
    /// # Errors
    ///
    /// A [`Violation`] that happened meanwhile.
    pub fn manage(
        &mut self,
        system: SystemId,
        request: Request,
    ) -> Result<Option<Answer>, Violation> {
        let question = self.ask(system, request, None);
        let end = self.now() + QUESTION;
        self.run_until(end, |world| world.answers.contains_key(&question))?;
        Ok(self.answers.remove(&question))
    }

    /// `MIG-5`, `MIG-6`, `MIG-10` and `MIG-11` for one UE, which then holds its inbound pair; that
    /// pair, or `None` if it was refused one.
    ///
    /// # Errors
    ///
    /// A [`Violation`] that happened meanwhile.
    pub fn bind(&mut self, ue: usize) -> Result<Option<Binding>, Violation> {
        for stage in [Stage::AskHome, Stage::AskPartner] {
            let Some(host) = self.ues.get_mut(ue) else { return Ok(None) };
            host.script.stage = stage;
            let (system, request) = host.question();
            match (self.manage(system, request)?, self.ues.get_mut(ue)) {
                (None | Some(Answer::Refused(_)), _) | (_, None) => return Ok(None),
                (Some(Answer::Binding(binding)), Some(host)) => host.take_binding(binding),
                (Some(_), Some(_)) => {} // a grant has no pair
            }
        }
        let Some(host) = self.ues.get_mut(ue) else { return Ok(None) };
        let binding = host.script.inbound.clone();
        if let Some(binding) = &binding {
            host.move_to(host.home.other(), &binding.identity);
        }
        Ok(binding)
    }

    /// Lets a UE register, or refresh its registration, and waits for the outcome.
    ///
    /// # Errors
    ///
    /// A [`Violation`] that happened meanwhile.
    pub fn register(&mut self, ue: usize) -> Result<ue::State, Violation> {
        self.begin_register(ue);
        self.outcome(ue)
    }

    /// Lets a UE begin to register.
    pub fn begin_register(&mut self, ue: usize) {
        self.open_connection(ue);
        self.call_ue(ue, UserAgent::register);
    }

    /// Lets a UE end its registration and waits for the outcome.
    ///
    /// # Errors
    ///
    /// A [`Violation`] that happened meanwhile.
    pub fn deregister(&mut self, ue: usize) -> Result<ue::State, Violation> {
        self.open_connection(ue);
        self.call_ue(ue, UserAgent::deregister);
        self.outcome(ue)
    }

    /// Waits until nothing is under way at a UE.
    ///
    /// # Errors
    ///
    /// A [`Violation`] that happened meanwhile.
    pub fn outcome(&mut self, ue: usize) -> Result<ue::State, Violation> {
        let end = self.now() + REGISTRATION;
        self.run_until(end, |world| *world.state(ue) != ue::State::Busy)?;
        Ok(self.state(ue).clone())
    }

    /// Where the user agent of a UE stands.
    pub fn state(&self, ue: usize) -> &ue::State {
        self.ues.get(ue).map_or(&ue::State::Idle, |it| it.agent.state())
    }

    /// The pair that a UE has at its home, and the pair that the partner knows it by.
    pub fn pairs(&self, ue: usize) -> Option<(UserIdentity, UserIdentity)> {
        self.ues.get(ue).map(|it| (it.real.clone(), it.primary_side_pair()))
    }

    /// Lets a UE use its home identities at its home again (TR 23.781 NOTE 4: they were kept).
    pub fn return_home(&mut self, ue: usize) {
        if let Some(host) = self.ues.get_mut(ue) {
            let real = host.real.clone();
            host.move_to(host.home, &real);
        }
    }

    /// Lets a UE use a pair of its own choice at its partner.
    pub fn impersonate(&mut self, ue: usize, pair: &UserIdentity) {
        if let Some(host) = self.ues.get_mut(ue) {
            host.move_to(host.home.other(), pair);
        }
    }

    /// Sets the ISIM of a UE as if it had accepted vectors up to `seq` elsewhere.
    pub fn set_seq(&mut self, ue: usize, seq: u64) {
        if let Some(host) = self.ues.get_mut(ue) {
            host.set_seq(seq);
        }
    }

    /// Sends the last octets of a UE once more, over a new connection if it uses TCP.
    pub fn repeat_last_request(&mut self, ue: usize) {
        if let Some(connection) = self.ues.get(ue).and_then(|it| it.connection) {
            self.break_connection(connection);
            self.open_connection(ue);
        }
        let Some(host) = self.ues.get(ue) else { return };
        let (flow, octets) = (host.flow(), host.last_sent.clone());
        self.transmit(flow, &octets);
    }

    /// Falsifies the digest responses of UEs on their way, or stops to.
    pub const fn falsify_responses(&mut self, falsify: bool) {
        self.falsify = falsify;
    }

    /// Takes the systems apart, so that neither reaches the other.
    pub fn partition(&mut self) {
        self.separate();
        self.break_wire();
    }

    /// Lets the systems reach each other again.
    pub fn heal(&mut self) {
        self.join();
    }

    /// How many requests of roles, the other system and management wait for an answer.
    pub fn unanswered(&self) -> usize {
        [&self.a, &self.b].iter().map(|it| it.parked.len() + it.asked.len()).sum()
    }

    /// Whether the Diameter connection between the systems is open.
    pub fn is_connected(&self) -> bool {
        self.a.node.is_open() && self.b.node.is_open()
    }

    /// Crashes a system and lets it start again a second later.
    pub fn restart(&mut self, system: SystemId) {
        self.crash(system, Duration::from_secs(1));
    }

    /// Crashes a system for `down`.
    pub fn stop(&mut self, system: SystemId, down: Duration) {
        self.crash(system, down);
    }

    /// Switches a UE off: it sends nothing by itself any more, not even a refresh.
    pub fn switch_off(&mut self, ue: usize) {
        if let Some(host) = self.ues.get_mut(ue) {
            host.generation += 1;
        }
    }

    /// The registration of a user that the storage of `system` holds now.
    pub fn stored_registration(&self, system: SystemId, impi: &Impi) -> Option<Registration> {
        let history = self.system(system).engine.history();
        let stored = history.current(RecordKind::Registration, impi.as_str())?;
        decode(stored).ok()
    }

    /// How many contacts of a user the storage of `system` holds that have not expired.
    pub fn stored_contacts(&self, system: SystemId, impi: &Impi) -> usize {
        let now = self.now();
        let live = |it: Registration| it.contacts.iter().filter(|it| it.expires_at > now).count();
        self.stored_registration(system, impi).map_or(0, live)
    }

    /// Gives both systems their pools and subscribers, and connects them.
    pub(super) fn provision(&mut self) {
        let subscribers: Vec<_> =
            self.ues.iter().map(|ue| (ue.home, Request::PutSubscriber(ue.subscriber()))).collect();
        let listed = self.options.listed;
        let pools = [SystemId::A, SystemId::B].into_iter().flat_map(|id| {
            [Direction::Outbound, Direction::Inbound].into_iter().flat_map(move |direction| {
                let listed = listed.then(|| listed_pool(id, direction));
                [generated_pool(id, direction)]
                    .into_iter()
                    .chain(listed)
                    .map(move |pool| (id, pool))
            })
        });
        let pools = pools.map(|(id, pool)| (id, Request::PutPool(pool)));
        for (system, request) in pools.chain(subscribers) {
            match self.manage(system, request) {
                Ok(Some(Answer::Done | Answer::Pool { .. } | Answer::Subscriber { .. })) => {}
                Ok(other) => {
                    let detail = format!("{other:?}");
                    self.violate(Violation::new("a system can be provisioned", &detail));
                }
                Err(_) => return, // kept, and returned by the next run
            }
        }
        self.queue.put_after(Duration::ZERO, Event::Connect);
        let end = self.now() + QUESTION;
        if let Ok(false) = self.run_until(end, Self::is_connected) {
            self.violate(Violation::new("systems that reach each other connect", &self.seed));
        }
        self.record(Who::World, || "provisioned".to_owned());
    }
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
    let source =
        PoolSource::Listed { identities: (0..2).map(pair).collect(), quarantine: QUARANTINE };
    Pool { name: format!("{LISTED}-{name}"), direction, source }
}

const fn name(direction: Direction) -> &'static str {
    match direction {
        Direction::Outbound => "out",
        Direction::Inbound => "in",
    }
}
