//! Two systems in one process and a UE that migrates from one to the other: all 25 steps, a long pause with
//! a restart of both systems, the refresh, the return home and coming back.
//!
//! Nothing is shared but the process: the UE speaks HTTP (CSC-4) and SIP, the systems speak HTTP (CSC-17) and
//! Diameter, and their administrators provision them through the HTTP management interfaces.

pub mod acm;
mod cast;
pub mod command;
mod device;
mod fault;
pub mod isolated;
mod place;
mod stage;

use std::{fmt, io, path::PathBuf, time::Duration};

use tokio::sync::mpsc;

pub use fault::{Fault, UnknownFault};
pub use stage::{Site, Stage};

use self::{
    cast::{Person, provision_systems},
    device::Device,
    stage::Setup,
};
use super::{
    Clock, StartError,
    acm_client::ConnectionError,
    client::ClientError,
    ladder::{Entry, Tap},
    metrics::Direction as Seen,
    storage::{OpenError, command::StoreError},
    tls::{TlsError, dev_ca::DevCaError},
};
use crate::{
    identity::UserIdentity,
    outbox::Transport,
    procedure::migration::STEPS,
    step::Step,
    ue::{ConfigurationState, Records, State},
};

/// The pause between steps 13 and 14 (NOTE 5).
const PAUSE: Duration = Duration::from_secs(30 * 24 * 3_600);

/// How the demonstration is run.
#[derive(Clone, Debug)]
pub struct Demo {
    /// What the UE speaks SIP over. With [`Transport::Tls`] everything speaks TLS, otherwise nothing does.
    pub transport: Transport,
    /// The first of twenty ports on loopback; 0 uses free ones.
    pub base_port: u16,
    /// Settings of both systems that differ from the defaults, as `section.key=value`.
    pub settings: Vec<String>,
    /// The failure branch to show instead of the regular procedure.
    pub fault: Option<Fault>,
    /// Where both systems keep what they store; `None` keeps it in a temporary directory, until the end.
    pub data_dir: Option<PathBuf>,
}

/// Why the demonstration did not work.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A setting is wrong.
    #[error("--set {setting}: {why}")]
    Setting {
        /// The setting.
        setting: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// A system does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// There is no directory for what is stored.
    #[error("cannot use {}: {error}; name another one with --data-dir", directory.display())]
    Directory {
        /// Which one.
        directory: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// There are no certificates.
    #[error(transparent)]
    Certificates(#[from] DevCaError),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// There is no key for what is stored.
    #[error(transparent)]
    Key(#[from] StoreError),
    /// What is stored does not open.
    #[error(transparent)]
    Storage(#[from] OpenError),
    /// No free ports were found.
    #[error("no free ports were found on loopback; name some with --base-port")]
    NoPorts,
    /// Provisioning does not work.
    #[error(transparent)]
    Provision(#[from] ClientError),
    /// The systems do not find each other.
    #[error("the two systems did not connect by Diameter within {:?}", stage::CONNECT_TIME_MAX)]
    NotConnected,
    /// The UE has no socket.
    #[error("the UE cannot reach the SIP core: {0}")]
    Ue(#[from] io::Error),
    /// The UE was told nothing.
    #[error("the UE got no connection details: {0:?}")]
    Migration(ConfigurationState),
    /// The UE did not end a scene as it should.
    #[error("{scene}: the UE is {state:?}")]
    Scene {
        /// The scene.
        scene: Scene,
        /// Where the UE stands.
        state: State,
    },
    /// A repeat brought another pair.
    #[error("{0}: the UE was given other identities than before")]
    OtherIdentities(Scene),
    /// A step of the procedure was not performed, or not in its place.
    #[error("{0} was not performed in its place")]
    StepMissing(Step),
    /// A failure branch was not seen on the wire.
    #[error("{fault} was not seen on the wire: {part} is missing in its place")]
    FaultNotSeen {
        /// The branch.
        fault: Fault,
        /// What is missing.
        part: &'static str,
    },
    /// It was told to end before it was over.
    #[error("ended before it was over")]
    Interrupted,
    /// The ladder cannot be shown.
    #[error("cannot show the ladder: {0}")]
    Show(io::Error),
    /// An ACM server cannot be asked, or refused.
    #[error(transparent)]
    Acm(#[from] ConnectionError),
    /// A step is missing, not in its place, or not one of the branch.
    #[error("{0} is missing, or not in its place, or not one of this branch")]
    Misplaced(String),
    /// Something did not end as it should.
    #[error("{0}")]
    Differs(String),
    /// A part of a system is switched off by a setting.
    #[error("a setting took away {0}, which the demonstration needs")]
    Missing(&'static str),
}

/// Shows what passed in one part of the demonstration.
pub type Show<'a> = dyn FnMut(&dyn fmt::Display, &[Entry]) -> io::Result<()> + 'a;

/// The two systems, the UE, and what has passed so far.
pub struct RunningDemo {
    /// The two systems.
    pub stage: Stage,
    alice: Person,
    ue: Device,
    transport: Transport,
    lent: Option<UserIdentity>,
    tap: Tap,
    ladder: mpsc::Receiver<Entry>,
}

impl RunningDemo {
    /// Starts both systems, connects them, and provisions what the administrators of both agreed on.
    ///
    /// # Errors
    ///
    /// [`DemoError`]; what was started is stopped.
    pub async fn start(demo: &Demo) -> Result<Self, DemoError> {
        let (tap, ladder) = Tap::new();
        let setup = Setup {
            base_port: demo.base_port,
            settings: &demo.settings,
            data_dir: demo.data_dir.as_deref(),
            is_without_quarantine: demo.fault == Some(Fault::PoolExhausted),
            is_plain: demo.transport != Transport::Tls,
            acm: None,
        };
        let mut stage = Stage::start(&setup, &tap).await?;
        let transport = demo.transport;
        let alice = Person::new("alice", &stage.home).and_then(|alice| {
            let ue = Device::new(&alice, alice.isim(), &stage.home, transport, &tap)?;
            Ok((alice, ue))
        });
        let (alice, ue) = match alice {
            Ok(made) => made,
            Err(error) => {
                stage.stop_both().await;
                return Err(error);
            }
        };
        let mut running = Self { stage, alice, ue, transport, lent: None, tap, ladder };
        if let Err(error) = running.provision(demo.fault).await {
            Box::pin(running.shutdown()).await;
            return Err(error);
        }
        Ok(running)
    }

    /// Provisions what the administrators of both systems agreed on.
    async fn provision(&mut self, fault: Option<Fault>) -> Result<(), DemoError> {
        if let Some(fault) = fault {
            return self.prepare(fault).await;
        }
        self.alice.provision(&self.stage.home, true).await?;
        provision_systems(&self.stage, true).await
    }

    /// Plays all scenes and shows the ladder of each as soon as it is over.
    ///
    /// # Errors
    ///
    /// [`DemoError`] if a scene does not end as it should, or a step of the procedure is missing.
    pub async fn play(&mut self, show: &mut Show<'_>) -> Result<(), DemoError> {
        let mut performed = Vec::new();
        for scene in Scene::ALL {
            let state = self.act(scene).await?;
            let mut entries = self.take_ladder();
            entries.retain(|entry| !repeats_the_sender(entry));
            show(&scene, &entries).map_err(DemoError::Show)?;
            if !scene.is_as_it_should(&state) {
                return Err(DemoError::Scene { scene, state });
            }
            if scene <= Scene::Registration {
                performed.extend(entries.into_iter().filter_map(|entry| entry.step));
            }
        }
        check_steps(&performed)
    }

    /// Ends the description of what passes: from here on nobody reads it.
    pub fn close_ladder(&mut self) {
        self.ladder.close();
    }

    async fn act(&mut self, scene: Scene) -> Result<State, DemoError> {
        match scene {
            Scene::ConnectionDetails => self.migrate().await?,
            Scene::Repeat => {
                let before = self.lent.clone();
                self.migrate().await?;
                if self.lent != before {
                    return Err(DemoError::OtherIdentities(scene));
                }
            }
            Scene::Pause => self.pause(PAUSE).await?,
            Scene::Registration | Scene::Refresh | Scene::ComingBack => {
                if scene == Scene::ComingBack {
                    self.leave(scene).await?;
                }
                return self.register().await;
            }
            Scene::ReturnHome => {
                self.leave(scene).await?;
                return self.register_at_home().await;
            }
            Scene::Deregistration => return self.ue.deregister().await,
        }
        Ok(State::Idle)
    }

    /// De-registers before the UE registers elsewhere.
    async fn leave(&mut self, scene: Scene) -> Result<(), DemoError> {
        match self.ue.deregister().await? {
            State::Idle => Ok(()),
            state @ (State::Busy | State::Registered(_) | State::Failed(_)) => {
                Err(DemoError::Scene { scene, state })
            }
        }
    }

    /// `MIG-14` to `MIG-25`, or a refresh.
    ///
    /// # Errors
    ///
    /// [`DemoError`] if there is no answer at all; how it ended is the state.
    pub async fn register(&mut self) -> Result<State, DemoError> {
        self.ue.register().await
    }

    /// Registers at home, with the record that the UE has of it.
    ///
    /// # Errors
    ///
    /// As [`Self::register`].
    pub async fn register_at_home(&mut self) -> Result<State, DemoError> {
        self.ue.register_at_home().await
    }

    /// What the UE knows of MC systems.
    pub const fn records(&self) -> &Records {
        self.ue.records()
    }

    /// De-registers where the UE is.
    ///
    /// # Errors
    ///
    /// As [`Self::register`].
    pub async fn deregister(&mut self) -> Result<State, DemoError> {
        self.ue.deregister().await
    }

    /// `MIG-1` to `MIG-13`.
    ///
    /// # Errors
    ///
    /// [`DemoError::Migration`] says where the UE stands; or the user could not log in.
    pub async fn migrate(&mut self) -> Result<(), DemoError> {
        self.lent = Some(self.ue.migrate().await?);
        Ok(())
    }

    /// Lets a long time pass, in which both systems are restarted.
    async fn pause(&mut self, span: Duration) -> Result<(), DemoError> {
        self.stage.stop_both().await;
        self.ue.set_clock(Clock::start_ahead(span));
        self.stage.start_both(span).await
    }

    /// What passed since the last call, as seen by senders and receivers.
    pub fn take_ladder(&mut self) -> Vec<Entry> {
        let mut entries = Vec::new();
        while let Ok(entry) = self.ladder.try_recv() {
            entries.push(entry);
        }
        entries
    }

    /// Stops both systems.
    pub async fn shutdown(mut self) {
        self.stage.stop_both().await;
    }
}

/// Whether an entry is a message as its receiver saw it: its sender told of it.
fn repeats_the_sender(entry: &Entry) -> bool {
    entry.direction == Seen::In
}

/// A part of the demonstration.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Scene {
    /// The UE asks its home how to get into the partner system.
    ConnectionDetails,
    /// It asks once more.
    Repeat,
    /// A long time passes, and both systems are restarted.
    Pause,
    /// The UE registers in the partner system.
    Registration,
    /// It refreshes its registration.
    Refresh,
    /// It leaves the partner system and registers at home.
    ReturnHome,
    /// It leaves home and registers in the partner system again.
    ComingBack,
    /// It de-registers.
    Deregistration,
}

impl Scene {
    const ALL: [Self; 8] = [
        Self::ConnectionDetails,
        Self::Repeat,
        Self::Pause,
        Self::Registration,
        Self::Refresh,
        Self::ReturnHome,
        Self::ComingBack,
        Self::Deregistration,
    ];

    const fn is_as_it_should(self, state: &State) -> bool {
        match self {
            Self::Registration | Self::Refresh | Self::ReturnHome | Self::ComingBack => {
                matches!(state, State::Registered(_))
            }
            Self::ConnectionDetails | Self::Repeat | Self::Pause | Self::Deregistration => {
                matches!(state, State::Idle)
            }
        }
    }
}

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConnectionDetails => "connection details",
            Self::Repeat => "the same request again: the same identities",
            Self::Pause => "30 days later, after a restart of both systems",
            Self::Registration => "registration",
            Self::Refresh => "refresh",
            Self::ReturnHome => "return home",
            Self::ComingBack => "coming back: no new identities needed",
            Self::Deregistration => "de-registration",
        })
    }
}

/// Holds what was performed against the table of the procedure.
fn check_steps(performed: &[String]) -> Result<(), DemoError> {
    let mut rest = performed.iter();
    for row in &STEPS {
        let label = row.step.to_string();
        if !rest.any(|step| *step == label) {
            return Err(DemoError::StepMissing(row.step));
        }
    }
    Ok(())
}
