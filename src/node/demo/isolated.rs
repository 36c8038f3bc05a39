//! Two systems that have no link, and a UE that goes from one to the other: migration without interconnection
//! (TR 23.700-90). At home the UE takes a security token and the partner's configuration along; then the home is
//! stopped, and whatever would still be sent to it is counted.
//!
//! Each system has an address of its own on loopback. The partner knows of the home no more than a file of certificates.

pub mod command;
mod fault;
mod people;
mod places;
mod watch;

use std::{fmt, path::PathBuf, time::Duration};

use serde_json::Value;
use tokio::sync::mpsc;

pub use fault::IsolatedFault;

use self::{
    people::{MC_ID_AT_PARTNER, Traveller, Way},
    places::{Places, Which},
    watch::Watch,
};
use super::{DemoError, Show};
use crate::{
    node::{
        Clock,
        ladder::{Entry, Protocol, Tap},
        metrics::Direction,
    },
    procedure::isolated_migration::STEPS,
    ue::State,
};

/// How long the UE is under way.
const JOURNEY: Duration = Duration::from_secs(20 * 24 * 3_600);

/// How often, and after how long each time, is looked what the MC server knows of the user.
const MC_CLIENT_LOOKS_MAX: usize = 500;
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(10);

/// How the demonstration is run.
#[derive(Clone, Debug)]
pub struct IsolatedDemo {
    /// The first of eight ports on both addresses; 0 uses free ones.
    pub base_port: u16,
    /// Without TLS.
    pub is_plain: bool,
    /// Settings of both systems that differ from the defaults, as `section.key=value`.
    pub settings: Vec<String>,
    /// The failure branch to show instead of the regular procedure.
    pub fault: Option<IsolatedFault>,
    /// Where both systems keep what they store; `None` keeps it in a temporary directory, until the end.
    pub data_dir: Option<PathBuf>,
}

/// The two systems, the UE, and what has passed so far.
pub struct RunningIsolatedDemo {
    places: Places,
    traveller: Traveller,
    /// Since the home was stopped.
    watch: Option<Watch>,
    tap: Tap,
    ladder: mpsc::Receiver<Entry>,
}

impl RunningIsolatedDemo {
    /// Starts both systems, and provisions what their administrators agreed on without a link.
    ///
    /// # Errors
    ///
    /// [`DemoError`]; what was started is stopped.
    pub async fn start(demo: &IsolatedDemo) -> Result<Self, DemoError> {
        let (tap, ladder) = Tap::new();
        let mut places = Places::start(demo, &tap).await?;
        let traveller = match people::provision(&places, demo.fault, &tap).await {
            Ok(traveller) => traveller,
            Err(error) => {
                places.stop_both().await;
                return Err(error);
            }
        };
        Ok(Self { places, traveller, watch: None, tap, ladder })
    }

    /// Plays all scenes and shows the ladder of each as soon as it is over.
    ///
    /// # Errors
    ///
    /// [`DemoError`] if a scene does not end as it should, a step is missing, or something was sent to the home.
    pub async fn play(&mut self, show: &mut Show<'_>) -> Result<(), DemoError> {
        let mut performed = Vec::new();
        for scene in Scene::ALL {
            self.act(scene).await?;
            let entries = self.take_ladder();
            show(&scene, &entries).map_err(DemoError::Show)?;
            performed.extend(entries.into_iter().filter_map(|entry| entry.step));
        }
        let wanted: Vec<String> = STEPS.iter().map(|row| row.step.to_string()).collect();
        if performed != wanted {
            return Err(DemoError::Misplaced(format!("one of {}", wanted.join(", "))));
        }
        Ok(())
    }

    async fn act(&mut self, scene: Scene) -> Result<(), DemoError> {
        match scene {
            Scene::AtHome => self.traveller.take_along().await?,
            Scene::Journey => self.leave_home(JOURNEY).await?,
            Scene::Arrival => self.traveller.contact_partner().await?,
            Scene::ByKey => self.register(Way::Key).await?,
            Scene::ByPassword => self.register(Way::Password).await?,
            Scene::Profile => self.traveller.fetch_profile().await?,
            Scene::Nothing => self.check_nothing_was_sent()?,
        }
        Ok(())
    }

    /// The home is stopped, and its addresses are watched. The partner goes on, so much later.
    async fn leave_home(&mut self, span: Duration) -> Result<(), DemoError> {
        self.places.stop_both().await;
        self.watch = Some(Watch::open(&self.places.addresses_of(Which::Home)).await?);
        self.tell("stopped: from here on nothing may be sent to it");
        self.go_on_at_partner(span)
    }

    /// The partner starts, and the UE goes on, so long after the home was stopped.
    fn go_on_at_partner(&mut self, span: Duration) -> Result<(), DemoError> {
        self.traveller.set_clock(Clock::start_ahead(span));
        self.places.start_partner(span)
    }

    /// Registers with credentials of the partner's, is authorised for a service, and de-registers.
    async fn register(&mut self, way: Way) -> Result<(), DemoError> {
        let core = self.places.sip_of(Which::Partner)?;
        self.traveller.register(way, core).await?;
        match way {
            Way::Key => self.await_authorisation().await?,
            Way::Password => self.traveller.publish().await?,
        }
        self.deregister().await
    }

    async fn deregister(&mut self) -> Result<(), DemoError> {
        match self.traveller.deregister().await? {
            State::Idle => Ok(()),
            state @ (State::Busy | State::Registered(_) | State::Failed(_)) => {
                Err(DemoError::Differs(format!("after de-registration the UE is {state:?}")))
            }
        }
    }

    /// Waits until the partner's MC server has bound its MC service ID to the user's public identity.
    async fn await_authorisation(&self) -> Result<(), DemoError> {
        let is_hers = |bound: &Value| {
            bound.get("mc_service_id").and_then(Value::as_str) == Some(MC_ID_AT_PARTNER)
        };
        self.await_mc_client("has authorised no such user", |client| {
            let bound = client.pointer("/record/authorisations").and_then(Value::as_array);
            bound.is_some_and(|all| all.iter().any(is_hers))
        })
        .await
    }

    /// Waits until the partner's MC server was told of the registration.
    async fn await_mc_registration(&self) -> Result<(), DemoError> {
        self.await_mc_client("was told of no registration", |_| true).await
    }

    /// Waits until the partner's MC server knows a client that is `wanted`.
    async fn await_mc_client(
        &self,
        otherwise: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<(), DemoError> {
        let client = self.places.management(Which::Partner)?;
        for _ in 0..MC_CLIENT_LOOKS_MAX {
            let clients: Value = client.get("list MC clients", "/v1/mc-clients").await?;
            let items = clients.get("items").and_then(Value::as_array);
            if items.is_some_and(|items| items.iter().any(&wanted)) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
        Err(DemoError::Differs(format!("the partner's MC server {otherwise}")))
    }

    /// Whether nothing arrived at the home since it was stopped.
    fn check_nothing_was_sent(&mut self) -> Result<(), DemoError> {
        let Some(watch) = self.watch.as_mut() else {
            return Err(DemoError::Differs("nobody watched the home".to_owned()));
        };
        let count = watch.count()?;
        if count > 0 {
            return Err(DemoError::Differs(format!("{count} messages were sent to the home")));
        }
        self.tell("0 connections and datagrams arrived since it was stopped");
        Ok(())
    }

    fn tell(&self, what: &str) {
        let home = self.places.name_of(Which::Home);
        self.tap.record(Entry {
            at: Clock::start().now(),
            step: None,
            from: home.clone(),
            to: home,
            protocol: Protocol::Step,
            direction: Direction::Out,
            local: None,
            remote: None,
            summary: what.to_owned(),
            octets: 0,
        });
    }

    /// What passed since the last call. Which step of a migration *with* a link a message of SIP or Cx would be is left
    /// out: there is none here.
    pub fn take_ladder(&mut self) -> Vec<Entry> {
        let mut entries = Vec::new();
        while let Ok(mut entry) = self.ladder.try_recv() {
            entry.step = entry.step.filter(|step| step.starts_with("ISO-"));
            // What its sender tells is not told once more by its receiver; identity management servers tell nothing.
            if entry.direction == Direction::Out || entry.from.starts_with("idms.") {
                entries.push(entry);
            }
        }
        entries
    }

    /// Ends the description of what passes: from here on nobody reads it.
    pub fn close_ladder(&mut self) {
        self.ladder.close();
    }

    /// The names of the columns.
    pub fn parties(&self) -> Vec<String> {
        self.places.parties()
    }

    /// Stops both systems.
    pub async fn shutdown(mut self) {
        self.places.stop_both().await;
    }
}

/// A part of the demonstration.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Scene {
    AtHome,
    Journey,
    Arrival,
    ByKey,
    ByPassword,
    Profile,
    Nothing,
}

impl Scene {
    const ALL: [Self; 7] = [
        Self::AtHome,
        Self::Journey,
        Self::Arrival,
        Self::ByKey,
        Self::ByPassword,
        Self::Profile,
        Self::Nothing,
    ];
}

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AtHome => "at home: log-in, profile with the partner in it, security token",
            Self::Journey => "20 days later: the home is out of reach",
            Self::Arrival => "arrival: tokens of the partner for the security token",
            Self::ByKey => {
                "registration with a key of the partner's, in a second ISIM; the service is authorised by REGISTER"
            }
            Self::ByPassword => {
                "registration with a password of the partner's; the service is authorised by PUBLISH"
            }
            Self::Profile => "the profile at the partner",
            Self::Nothing => "what was sent to the home meanwhile",
        })
    }
}
