//! The command line of the demonstration.

use std::{
    fmt::{self, Write as _},
    future::Future,
    io::{self, IsTerminal, Write},
    net::SocketAddr,
    path::PathBuf,
    pin::pin,
};

use clap::{Args, Subcommand, builder::PossibleValuesParser};

use super::{
    Demo, DemoError, Fault, RunningDemo, Site, acm::command::AcmDemoArguments,
    isolated::command::IsolatedDemoArguments,
};
use crate::{
    node::{
        RunningSystem,
        config::Part,
        ladder::{Entry, Renderer},
    },
    outbox::Transport,
};

/// How to show a migration.
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[expect(clippy::struct_excessive_bools, reason = "each is an argument that is given or not")]
pub struct DemoArguments {
    #[command(subcommand)]
    other: Option<OtherDemo>,
    /// Show a failure branch instead; exit code 0 if and only if it was seen on the wire.
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(Fault::ALL.map(Fault::name)))]
    fault: Option<String>,
    /// Print one JSON object a message instead of a drawing.
    #[arg(long)]
    json: bool,
    /// Leave the systems running until SIGINT or SIGTERM, and say where they listen.
    #[arg(long)]
    keep: bool,
    /// Speak without TLS, so that SIPp, curl and tshark can follow; SIP goes over UDP then.
    ///
    /// Over TLS, tshark follows with the file that the environment variable SSLKEYLOGFILE names.
    #[arg(long)]
    plain: bool,
    /// Let the UE speak SIP over TCP.
    #[arg(long, requires = "plain")]
    tcp: bool,
    /// Keep what both systems store in this directory, with its key in storage.key; without it they use a
    /// temporary one that is removed at the end.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Use sixteen ports from this one on; without it free ones.
    #[arg(long, value_name = "PORT", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=65_520))]
    base_port: u16,
    /// Change a setting of both systems, such as sip.expires_max=1h. May be repeated.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    settings: Vec<String>,
}

/// Other demonstrations.
#[derive(Clone, Debug, Subcommand)]
enum OtherDemo {
    /// Show what administrators of two systems exchange: initial configuration, groups, updates.
    ///
    /// All steps of XCFG, GRP and UPD, with users who log on and off over HTTP, pauses of days and restarts of both
    /// systems between; or another branch, or one of the failures.
    #[command(after_help = AFTER)]
    Acm(Box<AcmDemoArguments>),
    /// Show a migration between two systems that have no link (TR 23.700-90).
    ///
    /// The user logs in at home and takes a security token and the partner's configuration along. Then the home is
    /// stopped; the partner checks the token by itself, registers her with credentials of its own (AKA and SIP Digest)
    /// and serves her profile. Exit code 0 means that nothing was sent to the home meanwhile.
    #[command(after_help = AFTER_ISOLATED)]
    Isolated(Box<IsolatedDemoArguments>),
}

/// What `migcore demo isolated --help` ends with.
const AFTER_ISOLATED: &str = "\
Examples:
  migcore demo isolated                              log-in, token, arrival, registration, profile
  migcore demo isolated --fault revoked-certificate  the partner's operator has revoked the home's certificate

Exit codes: 0 what was expected was seen, 1 it was not, 2 wrong arguments.";

/// What `migcore demo acm --help` ends with.
const AFTER: &str = "\
Examples:
  migcore demo acm                                       every step of the three procedures
  migcore demo acm --branch alias-many --procedure upd   one of two holders of an alias gets the request
  migcore demo acm --fault stale                         a later revision overtakes one that waits
  migcore demo acm --keep                                then go on by `migcore acm`

Exit codes: 0 what was expected was seen, 1 it was not, 2 wrong arguments.";

impl DemoArguments {
    /// Plays the demonstration, until `end` at most; with `--keep` the systems run until then.
    ///
    /// # Errors
    ///
    /// [`DemoError`]; everything is stopped then.
    pub async fn run(self, end: impl Future<Output = ()>) -> Result<(), DemoError> {
        match self.other {
            Some(OtherDemo::Acm(arguments)) => return arguments.run(end).await,
            Some(OtherDemo::Isolated(arguments)) => return arguments.run(end).await,
            None => {}
        }
        let fault = self.fault.as_deref().and_then(|name| name.parse().ok());
        let transport = match (self.plain, self.tcp) {
            (false, _) => Transport::Tls,
            (true, false) => Transport::Udp,
            (true, true) => Transport::Tcp,
        };
        let Self { base_port, settings, data_dir, .. } = self;
        let demo = Demo { transport, base_port, settings, fault, data_dir };
        let mut end = pin!(end);
        let mut starting = pin!(RunningDemo::start(&demo));
        let mut running = tokio::select! {
            running = &mut starting => running?,
            () = &mut end => {
                // What runs by then is stopped as at any other end.
                if let Ok(running) = starting.await {
                    Box::pin(running.shutdown()).await;
                }
                return Err(DemoError::Interrupted);
            }
        };
        let mut outcome = tokio::select! {
            outcome = play(&mut running, fault, self.json) => outcome,
            () = &mut end => Err(DemoError::Interrupted),
        };
        running.close_ladder();
        if self.keep && outcome.is_ok() {
            let said = io::stderr().write_all(how_to_reach(&running).as_bytes());
            outcome = said.map_err(DemoError::Show);
            if outcome.is_ok() {
                end.await;
            }
        }
        Box::pin(running.shutdown()).await;
        outcome
    }
}

async fn play(
    running: &mut RunningDemo,
    fault: Option<Fault>,
    json: bool,
) -> Result<(), DemoError> {
    let mut shown =
        if json { Shown::Json } else { Shown::Drawing(heading(running).map_err(DemoError::Show)?) };
    let mut show = |title: &dyn fmt::Display, entries: &[Entry]| shown.show(title, entries);
    match fault {
        Some(fault) => running.play_fault(fault, &mut show).await,
        None => running.play(&mut show).await,
    }
}

/// How the ladder is shown.
pub(super) enum Shown {
    /// One JSON object a line.
    Json,
    /// A drawing.
    Drawing(Renderer),
}

impl Shown {
    pub(super) fn show(&mut self, title: &dyn fmt::Display, entries: &[Entry]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if let Self::Drawing(renderer) = self {
            renderer.title(&title.to_string(), &mut out)?;
        }
        for entry in entries {
            match self {
                Self::Json => {
                    serde_json::to_writer(&mut out, entry)?;
                    writeln!(out)?;
                }
                Self::Drawing(renderer) => renderer.draw(entry, &mut out)?,
            }
        }
        out.flush()
    }
}

/// Draws the names of the columns: one for each party.
fn heading(running: &RunningDemo) -> io::Result<Renderer> {
    let (home, partner) = (running.stage.home.config(), running.stage.partner.config());
    let (a, b) = (&home.system.domain, &partner.system.domain);
    let parties = [
        "UE".to_owned(),
        format!("cms.{a}"),
        format!("cms.{b}"),
        partner.sip.server_name.trim_start_matches("sip:").to_owned(),
        partner.diameter.identity.to_string(),
        home.diameter.identity.to_string(),
    ];
    let parties: Vec<&str> = parties.iter().map(String::as_str).collect();
    let renderer = Renderer::new(&parties, io::stdout().is_terminal());
    renderer.heading(&mut io::stdout().lock())?;
    Ok(renderer)
}

/// What a person needs to go on with the two systems.
fn how_to_reach(running: &RunningDemo) -> String {
    let mut text =
        String::from("\nBoth systems keep running; SIGINT (Ctrl-C) or SIGTERM ends them.\n");
    let ahead = running.stage.clock_ahead().as_secs() / (24 * 3_600);
    if ahead > 0 {
        let _ = writeln!(text, "Their clocks are {ahead} days ahead, after the pause.");
    }
    let _ = writeln!(text, "What they store is below {}.", running.stage.directory().display());
    let (home, partner) = (&running.stage.home, &running.stage.partner);
    if let Some(authorities) = running.stage.authorities() {
        let _ = writeln!(text, "Their servers are believed by --ca {}.", authorities.display());
    }
    for (name, site) in [("A, the home", home), ("B, the partner", partner)] {
        let Some(bound) = site.system().map(RunningSystem::bound) else { continue };
        let url = |part, address: Option<SocketAddr>| {
            address.map_or("none".to_owned(), |address| site.url(part, address))
        };
        let first = |of: &[SocketAddr]| of.first().map(ToString::to_string);
        let sip = match (first(&bound.sip), first(&bound.sip_tls)) {
            (_, Some(address)) => format!("{address} (TLS)"),
            (Some(address), None) => format!("{address} (UDP and TCP)"),
            (None, None) => "none".to_owned(),
        };
        let diameter = bound.diameter.map_or("none".to_owned(), |address| address.to_string());
        let over = if site.config().speaks_tls(Part::Diameter) { " (TLS)" } else { "" };
        let _ = writeln!(
            text,
            "\n{name} ({}):\n  \
             CSC-4       {}/openapi.json (UEs of this system)\n  \
             CSC-17      {}/openapi.json (other systems)\n  \
             CSC-1       {}/.well-known/openid-configuration (users log in)\n  \
             SIP         {sip}\n  \
             Diameter    {diameter}{over}\n  \
             management  {}/openapi.json\n  \
             metrics     {}/metrics",
            site.config().system.domain,
            url(Part::ConfigServer, bound.csc4),
            url(Part::ConfigServer, bound.csc17),
            site.config().idms.server.issuer,
            url(Part::Management, bound.management),
            url(Part::Admin, bound.admin),
        );
    }
    text + &sipp(home, partner).unwrap_or_default()
}

/// How to go on with SIPp, which is without TLS, and asks for no access token.
fn sipp(home: &Site, partner: &Site) -> Option<String> {
    if !home.config().config_server.static_tokens {
        let hint = "\nFor curl and SIPp alone start with --plain --set config_server.static_tokens=true.\n";
        return Some(hint.to_owned());
    }
    let (home, partner) = (home.system()?.bound(), partner.system()?.bound());
    Some(format!(
        "\nSIPp, for example:\n  \
         migcore provision sipp-csv --subscribers 100 --output users.csv \\\n      \
         --home http://{} --home-csc4 http://{} --partner http://{}\n  \
         sipp -sf sip-fixtures/sipp/register.xml -inf users.csv -m 100 -r 50 {}\n",
        home.management?,
        home.csc4?,
        partner.management?,
        partner.sip.first()?,
    ))
}
