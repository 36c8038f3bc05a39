//! `migcore ue`: one UE from the command line, with its state in a file between the commands.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    path::PathBuf,
};

use clap::{Args, Subcommand};
use tokio::sync::mpsc;

use super::{
    Contact, RunningConfigurationClient, RunningUe,
    identity::IdentityError,
    state::{Registration, StateError, StateFile, TEMPLATE},
};
use crate::{
    api::connection_details::{Location, SipTransport},
    identity::{McSystemId, Plmn},
    node::{
        Clock,
        ladder::{Entry, Renderer, Tap},
    },
    outbox::Transport,
    ue::{Config, ConfigurationClient, ConfigurationState, Failure, NoAccess, ServiceLogOn, State},
};

mod guest;
mod services;
mod status;

pub use services::{Published, ServiceFile, Services};

/// What ladders call the configuration management server.
const SERVER: &str = "CMS";

/// What one UE can be told to do.
#[derive(Debug, Subcommand)]
pub enum UeCommand {
    /// Print a state file to fill in.
    Template,
    /// Ask the home system how to get into a partner system, and keep the answer (steps 1 to 13).
    Migrate {
        /// The state file, and how to show what passes.
        #[command(flatten)]
        common: Common,
        /// Where the UE is.
        #[command(flatten)]
        place: Place,
        /// The partner MC system that the user wants, such as sip:b.example.
        #[arg(long, value_name = "MC-SYSTEM-ID")]
        partner: Option<McSystemId>,
        /// Rather none than another partner.
        #[arg(long, requires = "partner")]
        strict: bool,
    },
    /// Register in a partner system (steps 14 to 25): by the newest answer, or at home without any.
    Register {
        /// The state file, and how to show what passes.
        #[command(flatten)]
        common: Common,
        /// Which partner MC system, such as sip:b.example; the home system's ID for home.
        #[arg(long, value_name = "MC-SYSTEM-ID")]
        partner: Option<McSystemId>,
        /// With the credentials that the partner itself gave (sections local of the state file), without the home.
        #[arg(long)]
        local: bool,
        /// Speak SIP over TCP: with access tokens it has to be.
        #[arg(long)]
        tcp: bool,
        /// The MC services that the UE has.
        #[command(flatten)]
        services: Services,
    },
    /// Log the user in at home (section log_in of the state file), and keep the access token.
    ///
    /// The password is in the state file or in MIGCORE_UE_PASSWORD.
    LogIn {
        /// The state file, and how to show what passes.
        #[command(flatten)]
        common: Common,
    },
    /// While at home, take along what a partner without a link to the home asks for: a security token.
    ///
    /// Where the partner is the user's profile says, which is read for it.
    TakeAlong {
        /// The state file, and how to show what passes.
        #[command(flatten)]
        common: Common,
        /// The partner MC system, such as sip:b.example.
        #[arg(long, value_name = "MC-SYSTEM-ID")]
        partner: McSystemId,
    },
    /// Present the security token at the partner, and keep the access token that it gives (ISO-1).
    Visit {
        /// The state file, and how to show what passes.
        #[command(flatten)]
        common: Common,
        /// The partner MC system; without it the one that was prepared for last.
        #[arg(long, value_name = "MC-SYSTEM-ID")]
        partner: Option<McSystemId>,
    },
    /// Print the user's profile for push to talk: the home's, or that of a partner that is visited.
    Profile {
        /// The state file.
        #[arg(long, value_name = "FILE")]
        state: PathBuf,
        /// The partner MC system; without it the home.
        #[arg(long, value_name = "MC-SYSTEM-ID")]
        partner: Option<McSystemId>,
    },
    /// Prolong the registration.
    Refresh {
        /// The state file, and how to show what passes.
        #[command(flatten)]
        common: Common,
        /// The MC services that the UE has.
        #[command(flatten)]
        services: Services,
    },
    /// Prolong the registration, and be authorised for an MC service by PUBLISH.
    Authorise {
        /// The state file, and how to show what passes.
        #[command(flatten)]
        common: Common,
        /// For what, and where.
        #[command(flatten)]
        published: Published,
    },
    /// Prolong the registration, and log off from an MC service by PUBLISH.
    LogOff {
        /// The state file, and how to show what passes.
        #[command(flatten)]
        common: Common,
        /// From what, and where.
        #[command(flatten)]
        published: Published,
    },
    /// End the registration.
    Deregister {
        /// The state file, and how to show what passes.
        #[command(flatten)]
        common: Common,
    },
    /// Come home: end the registration in the partner system and register at home.
    ///
    /// What the partner told is kept: to go there again, register again, or migrate for a fresh answer.
    Return {
        /// The state file, and how to show what passes.
        #[command(flatten)]
        common: Common,
        /// Speak SIP over TCP at home.
        #[arg(long)]
        tcp: bool,
    },
    /// Tell what is in the state file, keys and tokens left out.
    Status {
        /// The state file.
        #[arg(long, value_name = "FILE")]
        state: PathBuf,
    },
}

/// What every command that sends something has.
#[derive(Args, Debug)]
pub struct Common {
    /// The state file; `migcore ue template` prints one to fill in.
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    /// Print one JSON object a message instead of a drawing; how it ended goes to standard error then.
    #[arg(long)]
    json: bool,
}

/// Where the UE is.
#[derive(Args, Debug)]
pub struct Place {
    /// The PLMN that serves the UE: MCC and MNC, such as 20801.
    #[arg(long)]
    plmn: Plmn,
    /// The tracking area code, 24 bits.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(..=0x00ff_ffff))]
    tracking_area: Option<u32>,
    /// The cell identity, up to 36 bits.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(..=0x000f_ffff_ffff))]
    cell: Option<u64>,
}

/// Why a command did not work.
#[derive(Debug, thiserror::Error)]
pub enum UeError {
    /// The state file.
    #[error(transparent)]
    State(#[from] StateError),
    /// The configuration management server, and what it said.
    #[error("the configuration management server at {server} {trouble}")]
    NotMigrated {
        /// Where it is.
        server: String,
        /// What went wrong.
        trouble: String,
    },
    /// The file of an access token cannot be used.
    #[error("the access token in {}: {why}", path.display())]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// There is nothing to register with.
    #[error("cannot register at {at}: {why}")]
    NoAccess {
        /// The system.
        at: McSystemId,
        /// Why.
        why: NoAccess,
    },
    /// There is no registration to refresh or end.
    #[error("not registered anywhere; run `migcore ue register` first")]
    NotRegistered,
    /// The contact's address is taken.
    #[error(
        "the registration is for {0}, which is not to be had now; free that port, or run `migcore ue register`"
    )]
    ContactTaken(std::net::SocketAddr),
    /// The SIP core cannot be reached.
    #[error("the SIP core at {core} cannot be reached: {error}")]
    Socket {
        /// Where it should be.
        core: std::net::SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// The exchange with the SIP core, or keeping its state, broke off.
    #[error("{at}: {error}")]
    Broken {
        /// Of which system the SIP core is.
        at: McSystemId,
        /// Why.
        error: io::Error,
    },
    /// The SIP core did not do what it was asked.
    #[error("{what} at {at}: {why}")]
    Sip {
        /// What it was asked.
        what: &'static str,
        /// Of which system it is.
        at: McSystemId,
        /// Why not, and what to do.
        why: String,
    },
    /// An identity management server or a configuration management server of tokens did not do what it was asked.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The state file lacks something that the command needs.
    #[error("{0}")]
    Lacking(String),
    /// Standard output is gone.
    #[error("cannot write the result: {0}")]
    Output(io::Error),
}

impl UeError {
    /// Whether the user's file is at fault, not the world.
    pub const fn is_wrong_input(&self) -> bool {
        matches!(
            self,
            Self::State(StateError::Read { .. } | StateError::Wrong { .. })
                | Self::TokenFile { .. }
        )
    }
}

impl UeCommand {
    /// Does it, and prints what passed and how it ended.
    ///
    /// # Errors
    ///
    /// [`UeError`].
    pub async fn run(self) -> Result<(), UeError> {
        match self {
            Self::Template => say(TEMPLATE.trim_end()),
            Self::Status { state } => say(&status::describe(&StateFile::open(&state)?.state)),
            Self::Migrate { common, place, partner, strict } => {
                let location = Location {
                    plmn: place.plmn,
                    tracking_area: place.tracking_area,
                    cell: place.cell,
                };
                Session::open(&common)?.migrate(location, partner, strict).await
            }
            Self::Register { common, partner, local, tcp, services } => {
                let mut session = Session::open(&common)?;
                let (over, services) = (tcp.then_some(Transport::Tcp), services.log_ons()?);
                if local {
                    return session.register_as_guest(partner, over, services).await;
                }
                let at = session.destination(partner);
                session.register(&at, over, services).await
            }
            Self::LogIn { common } => Session::open(&common)?.log_in().await,
            Self::TakeAlong { common, partner } => {
                Session::open(&common)?.take_along(partner).await
            }
            Self::Visit { common, partner } => Session::open(&common)?.visit(partner).await,
            Self::Profile { state, partner } => {
                let common = Common { state, json: true };
                Session::open(&common)?.print_profile(partner).await
            }
            Self::Refresh { common, services } => {
                Session::open(&common)?.refresh(services.log_ons()?).await
            }
            Self::Authorise { common, published } => {
                Session::open(&common)?.authorise(&published).await
            }
            Self::LogOff { common, published } => Session::open(&common)?.log_off(&published).await,
            Self::Deregister { common } => Session::open(&common)?.deregister().await,
            Self::Return { common, tcp } => {
                Session::open(&common)?.return_home(tcp.then_some(Transport::Tcp)).await
            }
        }
    }
}

/// One command at work: the state, and the ladder of what passes.
struct Session {
    file: StateFile,
    tap: Tap,
    shown: Shown,
}

/// Where the ladder is shown.
struct Shown {
    entries: mpsc::Receiver<Entry>,
    /// Without one, as JSON.
    drawing: Option<Renderer>,
    /// Whether the names of the columns are drawn.
    begun: bool,
}

impl Session {
    fn open(common: &Common) -> Result<Self, UeError> {
        let file = StateFile::open(&common.state)?;
        if file.is_exposed() {
            let what = "others may read it, and it holds keys: run chmod 600";
            note(&format_args!("{}: {what}", common.state.display()));
        }
        let (tap, entries) = Tap::new();
        let drawing =
            (!common.json).then(|| Renderer::new(&["UE", SERVER], io::stdout().is_terminal()));
        Ok(Self { file, tap, shown: Shown { entries, drawing, begun: false } })
    }

    /// Steps 1 to 13.
    async fn migrate(
        &mut self,
        location: Location,
        wish: Option<McSystemId>,
        strict: bool,
    ) -> Result<(), UeError> {
        let mut client = self.client();
        let state = client.ask(location, wish, strict).await.clone();
        self.shown.drain().map_err(UeError::Output)?;
        let failed = |trouble: String| UeError::NotMigrated {
            server: self.file.state.csc4.to_string(),
            trouble,
        };
        match state {
            ConfigurationState::Received(partner) => {
                self.file.state.records = client.client().records().clone();
                self.file.save()?;
                let record = client.client().records().partner(&partner);
                let valid = record.map(|it| it.details.valid_until).unwrap_or_default();
                let left = status::span(valid.since(Clock::start().now()));
                self.say(&format!(
                    "migrated: {partner} keeps identities for {left}; next: migcore ue register"
                ))
            }
            ConfigurationState::Failed(failure) => {
                let usual = failure.retry_after();
                let (trouble, wait) = match client.trouble() {
                    Some(trouble) => (trouble.to_string(), trouble.retry_after(usual)),
                    None => (format!("told what cannot be kept: {failure}"), usual),
                };
                let again = wait.map(|wait| format!("; try again in {} s", wait.as_secs()));
                Err(failed(trouble + &again.unwrap_or_default()))
            }
            ConfigurationState::Idle | ConfigurationState::Busy => {
                Err(failed("was not asked".to_owned()))
            }
        }
    }

    /// Where to register: where told, else by the newest answer, else at home.
    fn destination(&self, told: Option<McSystemId>) -> McSystemId {
        let records = &self.file.state.records;
        let newest = || records.partners().last().map(|it| it.details.mc_system_id.clone());
        told.or_else(newest).unwrap_or_else(|| records.primary().mc_system_id.clone())
    }

    /// Steps 14 to 25, or a registration at home.
    async fn register(
        &mut self,
        at: &McSystemId,
        over: Option<Transport>,
        services: Vec<ServiceLogOn>,
    ) -> Result<(), UeError> {
        let is_home = *at == self.file.state.records.primary().mc_system_id;
        let access = if is_home {
            self.file.state.records.home_access(over)
        } else {
            self.client().prepare_access(at, over)
        };
        let config = access.map_err(|why| UeError::NoAccess { at: at.clone(), why })?;
        self.register_with(at, config, services).await
    }

    /// Registers with what is known of a system.
    async fn register_with(
        &mut self,
        at: &McSystemId,
        config: Config,
        services: Vec<ServiceLogOn>,
    ) -> Result<(), UeError> {
        self.tell_what_is_left(at);
        let mut ue = self.open_ue(at, config, Contact::Fresh).await?;
        ue.set_services(services);
        let outcome = ue.register_kept(&mut self.file).await.cloned();
        self.registered("registered", at, outcome)
    }

    async fn refresh(&mut self, services: Vec<ServiceLogOn>) -> Result<(), UeError> {
        let (at, config) = self.current()?;
        let mut ue = self.open_ue(&at, config, Contact::Prolonged).await?;
        ue.set_services(services);
        let outcome = ue.register_kept(&mut self.file).await.cloned();
        self.registered("refreshed", &at, outcome)
    }

    async fn deregister(&mut self) -> Result<(), UeError> {
        let (at, config) = self.current()?;
        let mut ue = self.open_ue(&at, config, Contact::Removed).await?;
        let outcome = ue.deregister_kept(&mut self.file).await.cloned();
        match self.outcome(&at, outcome)? {
            State::Idle => self.say(&format!("no longer registered at {at}")),
            state @ (State::Registered(_) | State::Busy | State::Failed(_)) => {
                Err(not_done("de-registration", &at, &state))
            }
        }
    }

    /// Home again. A partner that does not answer does not keep the UE from it.
    async fn return_home(&mut self, over: Option<Transport>) -> Result<(), UeError> {
        let home = self.file.state.records.primary().mc_system_id.clone();
        if self.current().is_ok_and(|(at, _)| at != home)
            && let Err(error) = self.deregister().await
        {
            note(&error);
        }
        self.register(&home, over, Vec::new()).await
    }

    /// The registration that there is, and what to reach its SIP core with.
    fn current(&self) -> Result<(McSystemId, Config), UeError> {
        let registration = self.file.state.registration.as_ref();
        let registration = registration.filter(|it| it.agent.registered.is_some());
        let Registration { at, identity, core, .. } = registration.ok_or(UeError::NotRegistered)?;
        let transport = match core.transport {
            SipTransport::Udp => Transport::Udp,
            SipTransport::Tcp => Transport::Tcp,
            SipTransport::Tls => Transport::Tls,
        };
        Ok((at.clone(), Config::new(identity.clone(), transport, core.address)))
    }

    /// One registration is kept: one elsewhere is left to its end.
    fn tell_what_is_left(&self, at: &McSystemId) {
        if let Ok((left, _)) = self.current()
            && left != *at
        {
            note(&format_args!("the registration at {left} is left to expire"));
        }
    }

    async fn open_ue(
        &mut self,
        at: &McSystemId,
        config: Config,
        contact: Contact,
    ) -> Result<RunningUe, UeError> {
        let (core, name) = (config.flow.remote, config.domain.clone());
        let told = (Some(self.tap.clone()), name.as_str());
        let taken = self.file.state.registration.as_ref().map(|it| it.agent.contact);
        RunningUe::open_kept(&mut self.file, at, config, contact, told).await.map_err(|error| {
            match taken.filter(|_| error.kind() == io::ErrorKind::AddrInUse) {
                Some(address) => UeError::ContactTaken(address),
                None => UeError::Socket { core, error },
            }
        })
    }

    /// Shows what passed, and tells trouble of the socket from an outcome.
    fn outcome<T>(&mut self, at: &McSystemId, outcome: io::Result<T>) -> Result<T, UeError> {
        self.shown.drain().map_err(UeError::Output)?;
        outcome.map_err(|error| UeError::Broken { at: at.clone(), error })
    }

    fn registered(
        &mut self,
        done: &'static str,
        at: &McSystemId,
        outcome: io::Result<State>,
    ) -> Result<(), UeError> {
        match self.outcome(at, outcome)? {
            State::Registered(registered) => {
                let left = registered.expires_at.since(Clock::start().now());
                self.say(&format!("{done} at {at}: for {}", status::span(left)))
            }
            state @ (State::Idle | State::Busy | State::Failed(_)) => {
                Err(not_done("registration", at, &state))
            }
        }
    }

    /// Tells how it ended. Objects are alone on standard output.
    fn say(&self, text: &str) -> Result<(), UeError> {
        if self.shown.drawing.is_some() {
            return say(text);
        }
        note(&text);
        Ok(())
    }

    fn client(&self) -> RunningConfigurationClient {
        let state = &self.file.state;
        RunningConfigurationClient::new(
            ConfigurationClient::new(state.records.clone()),
            state.csc4.clone(),
            state.csc4_token(),
            Some(self.tap.clone()),
            SERVER,
        )
    }
}

impl Shown {
    /// Shows what has passed since the last time.
    fn drain(&mut self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        while let Ok(entry) = self.entries.try_recv() {
            match &mut self.drawing {
                None => {
                    serde_json::to_writer(&mut out, &entry)?;
                    writeln!(out)?;
                }
                Some(renderer) => {
                    if !std::mem::replace(&mut self.begun, true) {
                        renderer.heading(&mut out)?;
                    }
                    renderer.draw(&entry, &mut out)?;
                }
            }
        }
        out.flush()
    }
}

fn not_done(what: &'static str, at: &McSystemId, state: &State) -> UeError {
    let why = match state {
        State::Failed(Failure::Refused(status @ (403 | 404))) => format!(
            "refused with {status}; the identity may have ended, or the key be wrong: migrate again"
        ),
        State::Failed(Failure::Refused(status)) => format!("refused with {status}"),
        State::Failed(Failure::Unavailable { status, retry_after: 0 }) => {
            format!("refused with {status} for now; try again")
        }
        State::Failed(Failure::Unavailable { status, retry_after }) => {
            format!("refused with {status} for now; try again in {retry_after} s")
        }
        State::Failed(Failure::NetworkNotAuthentic) => {
            "the challenge is not from home; check k, opc and the identity".to_owned()
        }
        State::Failed(Failure::Timeout) => "no answer within 32 s; try again".to_owned(),
        State::Idle => "the SIP core granted no time".to_owned(),
        State::Registered(_) => "the SIP core keeps the contact".to_owned(),
        State::Busy => "it did not end".to_owned(),
    };
    UeError::Sip { what, at: at.clone(), why }
}

fn say(text: &str) -> Result<(), UeError> {
    writeln!(io::stdout(), "{text}").map_err(UeError::Output)
}

/// Tells what does not stop the command. Without standard error there is nobody to tell.
fn note(what: &dyn fmt::Display) {
    let _ = writeln!(io::stderr(), "migcore: {what}");
}
