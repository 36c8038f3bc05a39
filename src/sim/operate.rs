//! What a test does to a simulated world, and what it sees of it.

use std::time::Duration;

use crate::{
    api::{
        configuration,
        connection_details::{self, Details},
        migration_identity::{Answer, Direction, Request, Subscriber},
    },
    identity::{Impi, Impu, McSystemId, SipDatabaseId, UserIdentity},
    outbox::Undeliverable,
    sip_core::Registration,
    store::{RecordKind, decode},
    ue::{self, ConfigurationFailure, ConfigurationState, UserAgent},
};

use super::{
    SystemId, Violation, World,
    http::{Asker, Inquiry, Lost, Reply},
    system::System,
    ue_host::UeHost,
};

/// How long a question to a management interface may take in a world without faults.
const QUESTION: Duration = Duration::from_secs(10);

/// How long a UE may take until it is registered or has failed: Timer F twice and more.
const REGISTRATION: Duration = Duration::from_secs(100);

/// How long a world may take after the last fault until every UE is registered.
const RECOVERY: Duration = Duration::from_secs(600);

/// What came of asking for connection details.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Migration {
    /// A2.
    Told(Box<Details>),
    /// The configuration server refused.
    Refused(connection_details::Refusal),
    /// No answer came in time.
    NoAnswer,
}

impl Migration {
    /// What the UE was told, if anything.
    pub fn told(self) -> Option<Details> {
        match self {
            Self::Told(details) => Some(*details),
            Self::Refused(_) | Self::NoAnswer => None,
        }
    }
}

impl World {
    /// Lets every UE migrate, register, leave and return by itself for `span` under all the faults of
    /// the options; then ends the faults and waits until every UE is registered.
    ///
    /// # Errors
    ///
    /// The first [`Violation`], also if a UE cannot register after the faults have ended.
    pub fn live_through(&mut self, span: Duration) -> Result<(), Violation> {
        self.start_scripts();
        self.start_acm_clients();
        self.begin_storm();
        self.run_for(span)?;
        self.end_storm();
        self.settle_scripts();
        let end = self.now() + RECOVERY;
        let all = |world: &Self| {
            let serve = [&world.a, &world.b].into_iter().all(System::serves);
            serve && (0..world.ues.len()).all(|ue| world.is_registered(ue))
        };
        if self.run_until(end, all)? {
            self.settle_exchange()?;
            self.check_leftovers()?;
            self.check_assignments()?;
            self.check_memory()?;
            return self.check_exchanged();
        }
        let ue = (0..self.ues.len()).find(|ue| !self.is_registered(*ue)).unwrap_or(0);
        let detail =
            format_args!("ue{ue} is not, {:?}", self.ues.get(ue).map(|it| it.agent.state()));
        Err(Violation::new("after the last fault every UE gets registered", &detail))
    }

    /// Restarts both systems and checks that each role knows what its storage holds, before and after.
    fn check_memory(&mut self) -> Result<(), Violation> {
        for restart in [false, true] {
            for system in [SystemId::A, SystemId::B].into_iter().filter(|_| restart) {
                self.stop(system, Duration::from_millis(1));
            }
            self.run_for(Duration::from_secs(1))?;
            for ue in &self.ues {
                let impi = &ue.identity.impi;
                let known = self.system(ue.at).roles.core.contacts_of(impi, self.now());
                let stored = self.stored_contacts(ue.at, impi);
                if known != stored {
                    let detail =
                        format_args!("{known} contacts of ue{}, stored {stored}", ue.number);
                    return Err(Violation::new("a SIP core knows what is stored", &detail));
                }
            }
            for system in [SystemId::A, SystemId::B] {
                self.check_bindings(system)?;
            }
        }
        Ok(())
    }

    /// The SIP database shows every pair that its storage holds.
    fn check_bindings(&mut self, system: SystemId) -> Result<(), Violation> {
        for (key, stored) in self.tables(system)?.bindings {
            let (direction, impi) = key.clone();
            let request = match direction {
                Direction::Outbound => Request::GetOutbound(impi.clone()),
                Direction::Inbound => Request::GetInbound(impi.clone()),
            };
            let pair = UserIdentity { impi, impu: stored.impu };
            let shown = self.manage(system, request)?;
            let is_shown = matches!(shown, Some(Answer::Binding(shown)) if shown.identity == pair);
            // One that is given back meanwhile need not be shown.
            if !is_shown && self.tables(system)?.bindings.contains_key(&key) {
                let rule = "a SIP database knows what is stored";
                return Err(Violation::new(rule, &pair.impi.as_str()));
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
        match self.question(system, Inquiry::Database(request))? {
            Some(Reply::Database(answer)) => Ok(Some(answer)),
            _ => Ok(None),
        }
    }

    /// Asks the management interface of a configuration server; `None` if it does not answer.
    ///
    /// # Errors
    ///
    /// A [`Violation`] that happened meanwhile.
    pub fn configure(
        &mut self,
        system: SystemId,
        request: configuration::Request,
    ) -> Result<Option<configuration::Answer>, Violation> {
        match self.question(system, Inquiry::ConfigServer(request))? {
            Some(Reply::ConfigServer(answer)) => Ok(Some(answer)),
            _ => Ok(None),
        }
    }

    pub(super) fn question(
        &mut self,
        to: SystemId,
        inquiry: Inquiry,
    ) -> Result<Option<Reply>, Violation> {
        let question = self.ask(to, inquiry, Asker::Test);
        let end = self.now() + QUESTION;
        self.run_until(end, |world| world.answers.contains_key(&question))?;
        Ok(self.answers.remove(&question))
    }

    /// `MIG-1` to `MIG-13` for one UE by wish of its partner, and where they succeed `MIG-14`: the UE then
    /// uses what it was told.
    ///
    /// # Errors
    ///
    /// A [`Violation`] that happened meanwhile.
    pub fn migrate(&mut self, ue: usize) -> Result<Migration, Violation> {
        let Some(host) = self.ues.get(ue) else { return Ok(Migration::NoAnswer) };
        let partner = host.home.other();
        self.migrate_to(ue, partner.location(), Some(partner.mc_system_id()), false)
    }

    /// [`World::migrate`] with the location and the wish given.
    ///
    /// # Errors
    ///
    /// A [`Violation`] that happened meanwhile.
    pub fn migrate_to(
        &mut self,
        ue: usize,
        location: connection_details::Location,
        wish: Option<McSystemId>,
        strict: bool,
    ) -> Result<Migration, Violation> {
        self.call_client(ue, |client, ctx| client.ask(ctx, location, wish, strict));
        self.await_details(ue)
    }

    /// Waits for the answer to what the UE's configuration management client asked. Without one it gives
    /// up after a while, as an HTTP client does.
    ///
    /// # Errors
    ///
    /// A [`Violation`] that happened meanwhile.
    pub fn await_details(&mut self, ue: usize) -> Result<Migration, Violation> {
        let end = self.now() + QUESTION;
        let state = |world: &Self| world.ues.get(ue).map(|it| it.client.state().clone());
        self.run_until(end, |world| state(world) != Some(ConfigurationState::Busy))?;
        match state(self) {
            Some(ConfigurationState::Received(_)) => {
                self.move_to_partner(ue);
                let told = self.ues.get(ue).and_then(UeHost::details).cloned();
                Ok(told.map_or(Migration::NoAnswer, |details| Migration::Told(details.into())))
            }
            Some(ConfigurationState::Failed(ConfigurationFailure::Refused(refusal))) => {
                Ok(Migration::Refused(refusal))
            }
            Some(ConfigurationState::Busy) => {
                self.call_client(ue, |client, ctx| client.handle_answer(ctx, Err(Undeliverable)));
                Ok(Migration::NoAnswer)
            }
            Some(ConfigurationState::Failed(_) | ConfigurationState::Idle) | None => {
                Ok(Migration::NoAnswer)
            }
        }
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
        let host = self.ues.get(ue)?;
        let outbound = self.outbound_of(host).filter(|_| host.hidden);
        Some((host.real.clone(), outbound.unwrap_or_else(|| host.real.clone())))
    }

    /// The outbound pair that the storage of a UE's home holds for it.
    pub(super) fn outbound_of(&self, ue: &UeHost) -> Option<UserIdentity> {
        type Stored = (Impu, UserIdentity, SipDatabaseId);
        let partner = ue.home.other().database();
        let history = self.system(ue.home).engine.history();
        history.all_current(RecordKind::OutboundBinding).find_map(|(key, value)| {
            let (impu, user, at) = decode::<Stored>(value).ok()?;
            let impi = std::str::from_utf8(key).ok()?.parse().ok()?;
            (user == ue.real && at == partner).then_some(UserIdentity { impi, impu })
        })
    }

    /// Lets a UE use its home identities at its home again (TR 23.781 NOTE 4: they were kept).
    pub fn return_home(&mut self, ue: usize) {
        if let Some(host) = self.ues.get_mut(ue) {
            let real = host.client.records().primary().identity.clone();
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

    /// Loses answers of one kind from now on, or none.
    pub const fn lose_answers(&mut self, lost: Option<Lost>) {
        self.losing = lost;
    }

    /// What a UE's home was told of its user.
    pub fn user(&self, ue: usize) -> Option<configuration::User> {
        self.ues.get(ue).map(UeHost::user)
    }

    /// What a UE's home was told of its subscriber.
    pub fn subscriber(&self, ue: usize) -> Option<Subscriber> {
        self.ues.get(ue).map(UeHost::subscriber)
    }

    /// The agreement about a UE's user that its home has with the partner, or the partner with its home.
    pub fn agreement(&self, ue: usize, at: SystemId) -> Option<configuration::Agreement> {
        self.ues.get(ue).map(|host| host.agreement(at))
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
        let waiting = |it: &System| it.parked.len() + it.asked.len() + it.managed.len();
        waiting(&self.a) + waiting(&self.b)
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
}
