//! Two systems in one process whose administrators exchange configuration: XCFG, GRP and UPD, with people who log on
//! and off, pauses of days and restarts of both systems between; or one of the branches, or one that fails.
//!
//! The administrators' clients speak HTTP to the ACM servers of their systems, and these to each other.

mod branch;
pub mod command;
mod desk;
mod fault;
mod office;
mod picture;
mod play;
mod traveller;

use std::{path::PathBuf, time::Duration};

use tokio::sync::mpsc;

pub use branch::{Branch, Play};
pub use fault::AcmFault;

use self::{desk::Desk, office::Office};
use super::{
    DemoError, Show,
    stage::{AcmSetup, Setup, Stage},
};
use crate::{
    node::{
        Clock,
        ladder::{Entry, Tap},
    },
    step::Step,
};

/// The pauses, in which administrators are logged off and both systems are restarted.
const PAUSE: Duration = Duration::from_secs(3 * 24 * 3_600);

/// How long what confirms a message may take to pass before a part is shown.
const SETTLE: Duration = Duration::from_millis(50);

/// How long anything may take that is waited for.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// How the demonstration is run.
#[derive(Clone, Debug)]
pub struct AcmDemo {
    /// What is shown.
    pub shown: Shown,
    /// Without TLS.
    pub is_plain: bool,
    /// The first of twenty ports on loopback; 0 uses free ones.
    pub base_port: u16,
    /// Settings of both systems that differ from the defaults, as `section.key=value`.
    pub settings: Vec<String>,
    /// Where both systems keep what they store; `None` keeps it in a temporary directory, until the end.
    pub data_dir: Option<PathBuf>,
}

/// What the demonstration shows.
#[derive(Clone, Debug)]
pub enum Shown {
    /// Procedures, each in the branch that is asked for.
    Procedures(Branch, Vec<Play>),
    /// What does not go well.
    Fault(AcmFault),
}

/// The two systems, their administrators, and what has passed so far.
pub struct RunningAcmDemo {
    /// The two systems.
    pub stage: Stage,
    a: Office,
    b: Office,
    tap: Tap,
    ladder: mpsc::Receiver<Entry>,
    /// What has passed and has not been shown.
    seen: Vec<Entry>,
    /// The steps that have been shown of the procedure that is played.
    performed: Vec<String>,
    /// The revision of what is sent.
    revision: u64,
}

impl RunningAcmDemo {
    /// Starts both systems, and puts their administrators.
    ///
    /// # Errors
    ///
    /// [`DemoError`]; what was started is stopped.
    pub async fn start(demo: &AcmDemo) -> Result<Self, DemoError> {
        let (tap, ladder) = Tap::new();
        let setup = Setup {
            base_port: demo.base_port,
            settings: &demo.settings,
            data_dir: demo.data_dir.as_deref(),
            is_without_quarantine: false,
            is_plain: demo.is_plain,
            acm: Some(demo.shown.setup()),
        };
        let mut stage = Stage::start(&setup, &tap).await?;
        let a = Office::new(&stage.home, &["anna", "alex"]);
        let b = Office::new(&stage.partner, &["bob", "carol", "dave"]);
        let (a, b) = match (a, b) {
            (Ok(a), Ok(b)) => (a, b),
            (Err(error), _) | (_, Err(error)) => {
                stage.stop_both().await;
                return Err(error);
            }
        };
        let (seen, performed, revision) = (Vec::new(), Vec::new(), play::REVISION);
        let running = Self { stage, a, b, tap, ladder, seen, performed, revision };
        if let Err(error) = running.provision().await {
            running.shutdown().await;
            return Err(error);
        }
        Ok(running)
    }

    /// Plays what is asked for, and shows the ladder of each part as soon as it is over.
    ///
    /// # Errors
    ///
    /// [`DemoError`] if a part does not end as it should, or a step is missing or not in its place.
    pub async fn play(&mut self, shown: &Shown, show: &mut Show<'_>) -> Result<(), DemoError> {
        match shown {
            Shown::Procedures(branch, plays) => {
                for play in plays {
                    self.play_procedure(*branch, *play, show).await?;
                }
                Ok(())
            }
            Shown::Fault(fault) => self.play_fault(*fault, show).await,
        }
    }

    /// Ends the description of what passes: from here on nobody reads it.
    pub fn close_ladder(&mut self) {
        self.ladder.close();
    }

    /// Stops both systems.
    pub async fn shutdown(mut self) {
        self.stage.stop_both().await;
    }

    /// A client of an administrator of A or B.
    fn desk(&self, name: &str) -> Result<Desk, DemoError> {
        let office = if self.a.has(name) { &self.a } else { &self.b };
        let clock = Clock::start_ahead(self.stage.clock_ahead());
        Desk::new(office, name, (&self.tap, clock))
    }

    /// Waits until a step has passed since the last part was shown.
    async fn until(&mut self, step: Step) -> Result<(), DemoError> {
        let label = step.to_string();
        let is_it = |entry: &Entry| entry.step.as_deref() == Some(&label);
        if self.seen.iter().any(is_it) {
            return Ok(());
        }
        let seen = &mut self.seen;
        let ladder = &mut self.ladder;
        let passed = async {
            while let Some(entry) = ladder.recv().await {
                let found = is_it(&entry);
                seen.push(entry);
                if found {
                    return true;
                }
            }
            false
        };
        match tokio::time::timeout(WAIT_MAX, passed).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(DemoError::StepMissing(step)),
        }
    }

    /// Shows what has passed since the last part, and keeps its steps.
    async fn show_part(&mut self, title: &str, show: &mut Show<'_>) -> Result<(), DemoError> {
        // What confirms the last messages is on its way.
        tokio::time::sleep(SETTLE).await;
        while let Ok(entry) = self.ladder.try_recv() {
            self.seen.push(entry);
        }
        let entries = picture::arrange(std::mem::take(&mut self.seen));
        self.performed.extend(entries.iter().filter_map(|entry| entry.step.clone()));
        show(&title, &entries).map_err(DemoError::Show)
    }

    /// Lets days pass, in which both systems are restarted.
    async fn pause(&mut self, ahead: Duration) -> Result<(), DemoError> {
        let ahead = self.stage.clock_ahead() + ahead;
        self.stage.stop_both().await;
        // The end of both systems is no part of what comes.
        self.forget_ladder();
        self.stage.start_both(ahead).await
    }
}

impl Shown {
    /// How the two systems have to be set up for it.
    fn setup(&self) -> AcmSetup {
        let usual = AcmSetup { mode: "manual", is_interconnected: true };
        match self {
            Self::Procedures(Branch::Automatic, _) => AcmSetup { mode: "accept", ..usual },
            Self::Fault(AcmFault::RejectedByPolicy) => AcmSetup { mode: "reject", ..usual },
            Self::Fault(AcmFault::NoInterconnection) => {
                AcmSetup { is_interconnected: false, ..usual }
            }
            Self::Procedures(..) | Self::Fault(_) => usual,
        }
    }
}

/// What was found is not as it should be.
pub(super) fn differs(what: impl Into<String>) -> DemoError {
    DemoError::Differs(what.into())
}
