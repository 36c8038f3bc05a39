//! The command line of the demonstration of the three ACM procedures.

use std::{
    fmt::{self, Write as _},
    future::Future,
    io::{self, IsTerminal, Write},
    path::PathBuf,
    pin::pin,
};

use clap::{Args, ValueEnum, builder::PossibleValuesParser};
use serde_json::Value;

use super::{AcmDemo, AcmFault, Branch, Play, RunningAcmDemo, Shown};
use crate::node::{
    demo::DemoError,
    ladder::{Entry, Renderer},
};

/// How to show what administrators exchange.
#[derive(Clone, Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an argument that is given or not")]
pub struct AcmDemoArguments {
    /// The branch of the procedures; the alias branches are those of grp and upd.
    #[arg(long, value_enum, default_value = "logged-off", value_name = "NAME")]
    branch: Branch,
    /// Only this procedure. May be repeated; without it all that have the branch.
    #[arg(long, value_enum, value_name = "NAME")]
    procedure: Vec<Play>,
    /// Show what does not go well instead; `--list-faults` lists the names.
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with_all = ["branch", "procedure"],
        value_parser = PossibleValuesParser::new(AcmFault::ALL.map(AcmFault::name)),
        hide_possible_values = true
    )]
    fault: Option<String>,
    /// List the faults that can be shown, and end.
    #[arg(long)]
    list_faults: bool,
    /// Print one JSON object a message, with `step` and `part`, instead of a drawing.
    #[arg(long)]
    json: bool,
    /// Leave the systems running until SIGINT or SIGTERM, and write a file for `migcore acm` for each administrator.
    #[arg(long)]
    keep: bool,
    /// Speak without TLS.
    #[arg(long)]
    plain: bool,
    /// Keep what both systems store in this directory, with its key in storage.key; without it they use a
    /// temporary one that is removed at the end.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Use twenty ports from this one on; without it free ones.
    #[arg(long, value_name = "PORT", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=65_515))]
    base_port: u16,
    /// Change a setting of both systems, such as acm.expires_after=7d. May be repeated.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    settings: Vec<String>,
}

impl AcmDemoArguments {
    /// Plays the demonstration, until `end` at most; with `--keep` the systems run until then.
    ///
    /// # Errors
    ///
    /// [`DemoError`]; everything is stopped then.
    pub async fn run(self, end: impl Future<Output = ()>) -> Result<(), DemoError> {
        if self.list_faults {
            return list_faults().map_err(DemoError::Show);
        }
        let shown = self.shown()?;
        let Self { base_port, settings, data_dir, plain: is_plain, .. } = self;
        let demo = AcmDemo { shown, is_plain, base_port, settings, data_dir };
        let mut end = pin!(end);
        let mut starting = Box::pin(RunningAcmDemo::start(&demo));
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
        let mut outcome = tokio::select! {
            outcome = play(&mut running, &demo.shown, self.json) => outcome,
            () = &mut end => Err(DemoError::Interrupted),
        };
        running.close_ladder();
        if self.keep && outcome.is_ok() {
            outcome = running.tell_how_to_go_on();
            if outcome.is_ok() {
                end.await;
            }
        }
        running.shutdown().await;
        outcome
    }

    fn shown(&self) -> Result<Shown, DemoError> {
        let named = self.fault.as_deref();
        let fault = named.and_then(|name| AcmFault::ALL.into_iter().find(|it| it.name() == name));
        if let Some(fault) = fault {
            return Ok(Shown::Fault(fault));
        }
        let having = self.branch.plays();
        if let Some(other) = self.procedure.iter().find(|play| !having.contains(play)) {
            let name = |value: &dyn Fn() -> Option<clap::builder::PossibleValue>| {
                value().map(|value| value.get_name().to_owned()).unwrap_or_default()
            };
            return Err(DemoError::Setting {
                setting: format!("--procedure {}", name(&|| other.to_possible_value())),
                why: format!(
                    "has no branch {}: it is for nobody in particular; leave one of the two out",
                    name(&|| self.branch.to_possible_value())
                ),
            });
        }
        let plays = having.iter().copied();
        let is_wanted = |play: &Play| self.procedure.is_empty() || self.procedure.contains(play);
        Ok(Shown::Procedures(self.branch, plays.filter(is_wanted).collect()))
    }
}

async fn play(running: &mut RunningAcmDemo, what: &Shown, json: bool) -> Result<(), DemoError> {
    let mut renderer = None;
    if !json {
        let drawing = Renderer::new(&running.parties(what), io::stdout().is_terminal());
        drawing.heading(&mut io::stdout().lock()).map_err(DemoError::Show)?;
        renderer = Some(drawing);
    }
    let mut show = |title: &dyn fmt::Display, entries: &[Entry]| {
        let mut out = io::stdout().lock();
        match &mut renderer {
            None => entries.iter().try_for_each(|entry| writeln!(out, "{}", in_json(entry)))?,
            Some(renderer) => {
                renderer.title(&title.to_string(), &mut out)?;
                entries.iter().try_for_each(|entry| renderer.draw(entry, &mut out))?;
            }
        }
        out.flush()
    };
    running.play(what, &mut show).await
}

/// An entry whose step has its part apart: `GRP-4` and `a`.
fn in_json(entry: &Entry) -> Value {
    let mut object = serde_json::to_value(entry).unwrap_or_default();
    let step = entry.step.as_deref();
    let part =
        step.and_then(|step| step.get(step.len() - 1..)).filter(|it| matches!(*it, "a" | "b"));
    let label = step.map(|step| step.trim_end_matches(['a', 'b']));
    if let Some(object) = object.as_object_mut() {
        object.insert("step".to_owned(), label.into());
        object.insert("part".to_owned(), part.into());
    }
    object
}

fn list_faults() -> io::Result<()> {
    let width = AcmFault::ALL.iter().map(|fault| fault.name().len()).max().unwrap_or(0);
    let mut text = String::new();
    for fault in AcmFault::ALL {
        let _ = writeln!(text, "{:width$}  {}", fault.name(), fault.words());
    }
    io::stdout().write_all(text.as_bytes())
}

impl RunningAcmDemo {
    /// The columns of the drawing.
    fn parties(&self, what: &Shown) -> Vec<&str> {
        let (a, b) = (&*self.a.server_name, &*self.b.server_name);
        let mut parties =
            vec!["anna.a", a, &*self.a.config_server, b, &*self.b.config_server, "bob.b"];
        let is_shared = match what {
            Shown::Procedures(branch, _) => {
                matches!(branch, Branch::AliasOne | Branch::AliasMany | Branch::AliasNone)
            }
            Shown::Fault(fault) => matches!(
                fault,
                AcmFault::AlreadyDecided
                    | AcmFault::RightWithdrawn
                    | AcmFault::AliasTakenOver
                    | AcmFault::HolderLogsOff
            ),
        };
        if is_shared {
            parties.push("carol.b");
        }
        if matches!(what, Shown::Procedures(_, plays) if *plays != [Play::Grp]) {
            parties.push("UE");
        }
        parties
    }

    /// Tells what a person needs to go on with the two systems: a file for each administrator.
    fn tell_how_to_go_on(&self) -> Result<(), DemoError> {
        let mut text = String::from(
            "\nBoth systems keep running; SIGINT (Ctrl-C) or SIGTERM ends them. To go on as an administrator:\n",
        );
        let directory = self.stage.directory();
        for (office, name) in [(&self.a, "anna"), (&self.b, "bob"), (&self.b, "carol")] {
            let path = directory.join(format!("{name}.toml"));
            let (user, token) = office.user(name)?;
            let ca = self.stage.authorities();
            let ca = ca.map(|path| format!("ca = \"{}\"\n", path.display())).unwrap_or_default();
            let file = format!(
                "server = \"{}\"\nmc_service_id = \"{}\"\ntoken = \"{}\"\nmanagement = \"{}\"\n{ca}",
                office.server,
                user.as_str(),
                token.expose(),
                office.management.url(),
            );
            let written = crate::node::private_file::create(&path);
            let written = written.and_then(|mut out| out.write_all(file.as_bytes()));
            written.map_err(|error| DemoError::Directory { directory: path.clone(), error })?;
            let _ = writeln!(text, "  migcore acm --as {} list", path.display());
        }
        let days = self.stage.clock_ahead().as_secs() / (24 * 3_600);
        if days > 0 {
            let _ = writeln!(text, "Their clocks are {days} days ahead, after the pauses.");
        }
        io::stderr().write_all(text.as_bytes()).map_err(DemoError::Show)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{super::differs, *};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: AcmDemoArguments,
    }

    fn arguments(line: &[&str]) -> Result<AcmDemoArguments, DemoError> {
        let line = ["acm"].iter().chain(line);
        let parsed = Line::try_parse_from(line).map_err(|error| differs(error.to_string()));
        Ok(parsed?.arguments)
    }

    fn shown(line: &[&str]) -> Result<Shown, DemoError> {
        arguments(line)?.shown()
    }

    #[tokio::test]
    async fn systems_are_stopped_in_order_if_the_end_is_an_error() {
        let directory = std::env::temp_dir().join(format!("migcore-demo-{}", std::process::id()));
        // In the place of a file that it wants to write.
        std::fs::create_dir_all(directory.join("anna.toml")).unwrap();
        let name = directory.to_str().unwrap();
        // What still ran of the first would have the stores that the second opens.
        for _ in 0..2 {
            let line = ["--fault", "not-group-home", "--json", "--keep", "--data-dir", name];
            let ended = Box::pin(arguments(&line).unwrap().run(std::future::pending())).await;
            assert!(matches!(ended, Err(DemoError::Directory { .. })), "{ended:?}");
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn each_branch_has_its_procedures() {
        let plays = |line: &[&str]| match shown(line) {
            Ok(Shown::Procedures(_, plays)) => plays,
            other => panic!("{other:?}"),
        };
        assert_eq!(plays(&[]), Play::ALL);
        assert_eq!(plays(&["--branch", "alias-many"]), [Play::Grp, Play::Upd]);
        assert_eq!(plays(&["--procedure", "upd"]), [Play::Upd]);
        let wrong = shown(&["--branch", "alias-one", "--procedure", "xcfg"]);
        assert!(matches!(wrong, Err(DemoError::Setting { .. })), "{wrong:?}");
        assert!(shown(&["--branch", "manual", "--fault", "stale"]).is_err());
        assert!(matches!(shown(&["--fault", "stale"]), Ok(Shown::Fault(AcmFault::Stale))));
    }
}
