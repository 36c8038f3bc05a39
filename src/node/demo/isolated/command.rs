//! The command line of the demonstration of two systems without a link.

use std::{
    fmt,
    future::Future,
    io::{self, IsTerminal, Write},
    path::PathBuf,
    pin::pin,
};

use clap::{Args, builder::PossibleValuesParser};

use super::{
    super::{DemoError, command::Shown},
    IsolatedDemo, IsolatedFault, RunningIsolatedDemo,
};
use crate::node::ladder::{Entry, Renderer};

/// How to show a migration without interconnection.
#[derive(Clone, Debug, Args)]
pub struct IsolatedDemoArguments {
    /// Show a failure branch instead; exit code 0 if and only if it was seen.
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(IsolatedFault::ALL.map(IsolatedFault::name)))]
    fault: Option<String>,
    /// Print one JSON object a message instead of a drawing.
    #[arg(long)]
    json: bool,
    /// Keep what both systems store in this directory, with its key in storage.key; without it they use a
    /// temporary one that is removed at the end.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Use eight ports from this one on, of 127.0.0.2 (A) and 127.0.0.3 (B); without it free ones.
    #[arg(long, value_name = "PORT", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=65_527))]
    base_port: u16,
    /// Go without TLS, SIP over UDP.
    #[arg(long)]
    plain: bool,
    /// Change a setting of both systems, such as idms.access_token_lifetime=10m. May be repeated.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    settings: Vec<String>,
}

impl IsolatedDemoArguments {
    /// Plays the demonstration, until `end` at most.
    ///
    /// # Errors
    ///
    /// [`DemoError`]; everything is stopped then.
    pub async fn run(self, end: impl Future<Output = ()>) -> Result<(), DemoError> {
        let named = self.fault.as_deref();
        let fault =
            named.and_then(|name| IsolatedFault::ALL.into_iter().find(|it| it.name() == name));
        let Self { base_port, plain: is_plain, settings, data_dir, json, .. } = self;
        let demo = IsolatedDemo { base_port, is_plain, settings, fault, data_dir };
        let mut end = pin!(end);
        let mut starting = Box::pin(RunningIsolatedDemo::start(&demo));
        let mut running = tokio::select! {
            running = &mut starting => running?,
            () = &mut end => {
                // What runs by then is stopped as at any other end.
                if let Ok(running) = starting.await {
                    running.shutdown().await;
                }
                return Err(DemoError::Interrupted);
            }
        };
        let outcome = tokio::select! {
            outcome = play(&mut running, fault, json) => outcome,
            () = &mut end => Err(DemoError::Interrupted),
        };
        running.close_ladder();
        running.shutdown().await;
        outcome
    }
}

async fn play(
    running: &mut RunningIsolatedDemo,
    fault: Option<IsolatedFault>,
    json: bool,
) -> Result<(), DemoError> {
    let mut shown = if json {
        Shown::Json
    } else {
        let parties = running.parties();
        let parties: Vec<&str> = parties.iter().map(String::as_str).collect();
        let drawing = Renderer::new(&parties, io::stdout().is_terminal());
        drawing.heading(&mut io::stdout().lock()).map_err(DemoError::Show)?;
        io::stdout().flush().map_err(DemoError::Show)?;
        Shown::Drawing(drawing)
    };
    let mut show = |title: &dyn fmt::Display, entries: &[Entry]| shown.show(title, entries);
    match fault {
        Some(fault) => running.play_fault(fault, &mut show).await,
        None => running.play(&mut show).await,
    }
}
