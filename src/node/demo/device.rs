//! The UE of the demonstration: it asks its own system, and registers with nothing but what it was told.

use super::{
    DemoError,
    cast::{CLIENT, Person, REDIRECT},
    stage::{PARTNER_PLMN, Site},
};
use crate::{
    api::connection_details::{Location, SystemConfiguration},
    identity::{McSystemId, UserIdentity},
    node::{
        Clock, RunningConfigurationClient, RunningUe,
        config::Part,
        http_client::Endpoint,
        ladder::Tap,
        tls::Trust,
        ue::identity::{IdentityClient, Server},
    },
    outbox::Transport,
    secret::SecretText,
    ue::{Config, ConfigurationClient, ConfigurationState, Credentials, Records, State},
};

/// One UE: its configuration management client, what it answers challenges with, and the user agent of the system it is in.
pub(super) struct Device {
    log_in: LogIn,
    client: RunningConfigurationClient,
    credentials: Credentials,
    agent: Option<(McSystemId, RunningUe)>,
    transport: Transport,
    /// Whom it believes: the authorities of both systems.
    trust: Trust,
    clock: Clock,
    tap: Tap,
}

/// How the user logs in at home.
struct LogIn {
    client: IdentityClient,
    idms: Server,
    user: String,
    password: SecretText,
    /// Whether there is an access token that holds: it does so for an hour, and pauses are longer.
    is_done: bool,
}

/// What the access token is for: configuration management (TS 33.180 clause B.2.2.2).
const SCOPE: &str = "openid 3gpp:mc:ptt_config_management_service";

impl Device {
    /// Gives a person a UE.
    pub(super) fn new(
        person: &Person,
        credentials: impl Into<Credentials>,
        home: &Site,
        transport: Transport,
        tap: &Tap,
    ) -> Result<Self, DemoError> {
        let csc4 = home.config().config_server.listen;
        let server = home
            .url(Part::ConfigServer, csc4)
            .parse::<Endpoint>()
            .map_err(|_| DemoError::Missing("an address of CSC-4"))?;
        let records = Records::new(person.primary_record(home)?);
        let name = format!("cms.{}", home.config().system.domain);
        let client = RunningConfigurationClient::new(
            ConfigurationClient::new(records),
            server,
            None,
            Some(tap.clone()),
            &name,
        );
        let (clock, trust) = (Clock::start(), home.trust().clone());
        let client = client.trusting(trust.clone());
        let log_in = LogIn {
            client: IdentityClient::new(CLIENT, REDIRECT, None).trusting(&trust),
            idms: home.idms(),
            user: person.name.clone(),
            password: person.password.clone(),
            is_done: false,
        };
        let (credentials, tap) = (credentials.into(), tap.clone());
        Ok(Self { log_in, client, credentials, agent: None, transport, trust, clock, tap })
    }

    /// Moves to another time, as everybody else does.
    pub(super) fn set_clock(&mut self, clock: Clock) {
        self.clock = clock;
        self.log_in.is_done = false;
        self.client.set_clock(clock);
        if let Some((_, agent)) = &mut self.agent {
            agent.set_clock(clock);
        }
    }

    /// What it knows of MC systems.
    pub(super) const fn records(&self) -> &Records {
        self.client.client().records()
    }

    /// `MIG-1` to `MIG-13` from a place that the partner covers.
    pub(super) async fn migrate(&mut self) -> Result<UserIdentity, DemoError> {
        self.migrate_from(PARTNER_PLMN, None).await
    }

    /// Asks from a place, perhaps with a strict wish, after the user has logged in.
    pub(super) async fn migrate_from(
        &mut self,
        plmn: &str,
        wish: Option<McSystemId>,
    ) -> Result<UserIdentity, DemoError> {
        self.log_in().await?;
        let plmn = plmn.parse().map_err(|_| DemoError::Missing("a PLMN"))?;
        let location = Location { plmn, tracking_area: None, cell: None };
        let strict = wish.is_some();
        let state = self.client.ask(location, wish, strict).await.clone();
        let record = match &state {
            ConfigurationState::Received(partner) => {
                self.client.client().records().partner(partner)
            }
            ConfigurationState::Idle | ConfigurationState::Busy | ConfigurationState::Failed(_) => {
                None
            }
        };
        let lent = record.map(|record| record.details.identity.clone());
        lent.ok_or(DemoError::Migration(state))
    }

    /// Gets an access token, unless there is one.
    async fn log_in(&mut self) -> Result<(), DemoError> {
        let LogIn { client, idms, user, password, is_done } = &mut self.log_in;
        if !*is_done {
            let tokens = client.log_in(idms, (user.as_str(), &*password), SCOPE).await?;
            self.client.set_token(tokens.access);
            *is_done = true;
        }
        Ok(())
    }

    /// What it was told of a partner last.
    pub(super) fn configuration_of(&self, partner: &McSystemId) -> Option<&SystemConfiguration> {
        let record = self.client.client().records().partner(partner)?;
        Some(&record.details.configuration)
    }

    /// `MIG-14` to `MIG-25`: registers at the partner it was told of last, or refreshes there.
    pub(super) async fn register(&mut self) -> Result<State, DemoError> {
        let records = self.client.client().records();
        let newest = records.partners().last().map(|record| record.details.mc_system_id.clone());
        let partner = newest.ok_or(DemoError::Missing("an answer to step 1"))?;
        if self.agent.as_ref().is_none_or(|(at, _)| *at != partner) {
            let access = self.client.prepare_access(&partner, Some(self.transport));
            let access = access.map_err(|_| DemoError::Missing("an address of the SIP core"))?;
            self.move_to(partner, access).await?;
        }
        self.register_here().await
    }

    /// Registers at home, with the primary record.
    pub(super) async fn register_at_home(&mut self) -> Result<State, DemoError> {
        let records = self.client.client().records();
        let home = records.primary().mc_system_id.clone();
        let access = records.home_access(Some(self.transport));
        let access = access.map_err(|_| DemoError::Missing("an address of the home's SIP core"))?;
        self.move_to(home, access).await?;
        self.register_here().await
    }

    /// De-registers where it is.
    pub(super) async fn deregister(&mut self) -> Result<State, DemoError> {
        match &mut self.agent {
            Some((_, agent)) => Ok(agent.deregister().await?.clone()),
            None => Ok(State::Idle),
        }
    }

    /// Forgets the user agent, so that the next registration begins with step 14.
    pub(super) fn leave(&mut self) {
        if let Some((_, agent)) = self.agent.take() {
            self.credentials = agent.credentials().clone();
        }
    }

    async fn register_here(&mut self) -> Result<State, DemoError> {
        match &mut self.agent {
            Some((_, agent)) => Ok(agent.register().await?.clone()),
            None => Ok(State::Idle),
        }
    }

    async fn move_to(&mut self, system: McSystemId, access: Config) -> Result<(), DemoError> {
        self.leave();
        let remote = access.flow.remote;
        let name = format!("scscf.{}", access.domain);
        let (credentials, tap) = (self.credentials.clone(), Some(self.tap.clone()));
        let mut agent =
            RunningUe::open(access, remote, credentials, &self.trust, (tap, &name)).await?;
        agent.set_clock(self.clock);
        self.agent = Some((system, agent));
        Ok(())
    }
}
