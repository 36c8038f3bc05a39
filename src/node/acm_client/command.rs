//! The command line of `migcore acm`.

use std::{
    fmt,
    io::{self, Write},
    num::NonZeroUsize,
    pin::pin,
    time::Duration,
};

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::Value;

use super::{
    access::{Access, AccessError, TEMPLATE},
    alias::{self, AliasCommand},
    begin::{self, FILES, FileError, SendArguments},
    connection::{AcmClient, ConnectionError},
    decide, follow,
    item::ItemName,
    list, show, watch,
};
use crate::{
    api::{
        acm_client::{Decision, GroupState},
        acm_interconnection::TransactionId,
    },
    identity::{FunctionalAlias, McServiceGroupId, McSystemId},
    node::{
        Clock,
        client::{ClientError, ManagementClient},
        operator::{Table, printable},
    },
};

/// What `migcore acm --help` ends with.
pub const EXAMPLES: &str = "\
Who asks, and where? A file that only its owner may read:
    migcore acm template > admin.toml; chmod 600 admin.toml    (fill it in)
    export MIGCORE_ACM_FILE=admin.toml

Decide what a partner asks for:
    migcore acm watch                     logs on and is told what is pending; Ctrl-C logs off
    migcore acm list
    migcore acm show 17                   what it is about, and what it would change
    migcore acm accept 17
    migcore acm reject 17 --reason 'the APN is not ours'

Ask a partner:
    migcore acm send xcfg --to sip:b.example --file a.json
    migcore acm follow TRANSACTION        its life, with the steps of the procedure
    migcore acm show ITEM; migcore acm acknowledge ITEM
    migcore acm cancel TRANSACTION

An ITEM is its number in the list, its transaction, or SYSTEM/TRANSACTION. It stays pending until it is decided or, of a
response, acknowledged: to look at it takes nothing away.

Exit codes: 0 done, 1 failed or refused, 2 wrong arguments, file or environment.";

/// What an administrator can do.
#[derive(Args, Debug)]
pub struct AcmCommand {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    access: Access,
    /// Print JSON, one object a line, instead of text.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print a file of an administrator to fill in.
    Template,
    /// Log on, and print what is told of pending items until SIGINT or SIGTERM, which log off.
    ///
    /// A lost connection is taken up again where it was: nothing that is told is missed.
    Watch {
        /// End after so many notifications.
        #[arg(long, value_name = "N")]
        count: Option<NonZeroUsize>,
    },
    /// List what is pending for the administrator, oldest first.
    List {
        /// Stop after so many.
        #[arg(long, value_name = "N")]
        limit: Option<NonZeroUsize>,
    },
    /// Show one item: from whom, until when, what it is about, and what it would change.
    Show {
        /// Its number, its transaction, or SYSTEM/TRANSACTION.
        item: ItemName,
        /// All elements, users and groups.
        #[arg(long)]
        all: bool,
    },
    /// Accept a request of a partner; of groups: confirm that they have been seen.
    Accept {
        /// Its number, its transaction, or SYSTEM/TRANSACTION.
        item: ItemName,
        /// The functional alias under which the administrator decides.
        #[arg(long, value_name = "ALIAS")]
        alias: Option<FunctionalAlias>,
    },
    /// Reject a request of a partner: what is in force stays.
    Reject {
        /// Its number, its transaction, or SYSTEM/TRANSACTION.
        item: ItemName,
        /// Why, for whoever asked.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// The functional alias under which the administrator decides.
        #[arg(long, value_name = "ALIAS")]
        alias: Option<FunctionalAlias>,
    },
    /// Begin a transaction with a partner.
    #[command(after_long_help = FILES)]
    Send(Box<SendArguments>),
    /// Print the life of a transaction, with the steps of its procedure, until it is closed.
    Follow {
        /// Its name.
        #[arg(value_parser = str::parse::<TransactionId>)]
        transaction: TransactionId,
        /// Print what has happened so far, and end.
        #[arg(long)]
        once: bool,
        /// How often to ask, seconds.
        #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
        every: Duration,
    },
    /// Say that a response has been read: its transaction is closed.
    #[command(visible_alias = "ack")]
    Acknowledge {
        /// Its number, its transaction, or SYSTEM/TRANSACTION.
        item: ItemName,
    },
    /// Take a request back, as long as the partner has not decided.
    Cancel {
        /// Its name.
        #[arg(value_parser = str::parse::<TransactionId>)]
        transaction: TransactionId,
    },
    /// Interconnection groups: those at home in this system, and what partners told of theirs.
    #[command(subcommand)]
    Groups(GroupsCommand),
    /// Functional aliases of this system, at its controlling server (management interface).
    #[command(subcommand)]
    Alias(AliasCommand),
}

#[derive(Debug, Subcommand)]
enum GroupsCommand {
    /// Say that groups are at home here, so that they can be offered.
    Add {
        /// The MC service group IDs, such as sip:fire@a.example.
        #[arg(required = true, value_name = "GROUP")]
        groups: Vec<McServiceGroupId>,
    },
    /// Say that groups are no more; partners who have been offered them are told.
    Withdraw {
        /// The MC service group IDs.
        #[arg(required = true, value_name = "GROUP")]
        groups: Vec<McServiceGroupId>,
    },
    /// List those that are known: of this system, or of a partner.
    List {
        /// The system that they are at home in, such as sip:b.example; without it this one.
        #[arg(long, value_name = "MC-SYSTEM-ID")]
        home: Option<McSystemId>,
    },
}

/// Why a command did not work.
#[derive(Debug, thiserror::Error)]
pub enum AcmError {
    /// It is not known whom to ask, or in whose name.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// What is to be sent is wrong.
    #[error(transparent)]
    File(#[from] FileError),
    /// The ACM server could not be asked, or refused.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The connection broke while a transaction was begun.
    #[error(
        "{error}; it may have begun: send the same again with --transaction {transaction}{revision}"
    )]
    MaybeBegun {
        /// Why there is no answer.
        error: Box<ConnectionError>,
        /// The transaction.
        transaction: TransactionId,
        /// The argument that makes its revision the same.
        revision: String,
    },
    /// The management interface could not be asked, or refused.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The answer is not that of a management interface of this release.
    #[error("{url} answered what this release does not know; is it a migcore of the same release?")]
    Management {
        /// The address as given.
        url: String,
    },
    /// No such number, or no such transaction.
    #[error("no such item is pending for this user; `migcore acm list` shows those that are")]
    NoSuchItem,
    /// What was found is no JSON, or cannot become JSON.
    #[error("what the ACM server told is not understood: {0}; is it of the same release?")]
    Json(serde_json::Error),
    /// What was found cannot be printed.
    #[error("cannot print: {0}")]
    Print(io::Error),
    /// It was told to end before it was done.
    #[error("ended before it was done")]
    Interrupted,
}

impl AcmError {
    /// Whether arguments, file or environment are to blame.
    pub fn is_wrong_input(&self) -> bool {
        match self {
            Self::Access(_) | Self::File(_) => true,
            Self::Connection(error) => error.is_wrong_input(),
            Self::Client(ClientError::Refused { status, .. }) => matches!(status, 400 | 422),
            Self::Client(_)
            | Self::MaybeBegun { .. }
            | Self::Management { .. }
            | Self::NoSuchItem
            | Self::Json(_)
            | Self::Print(_)
            | Self::Interrupted => false,
        }
    }
}

impl AcmCommand {
    /// Does it, and prints what came of it; until `end` at most.
    ///
    /// # Errors
    ///
    /// [`AcmError`].
    pub async fn run(self, end: impl Future<Output = ()>) -> Result<(), AcmError> {
        let mut end = pin!(end);
        let outcome = if let Action::Watch { count } = self.action {
            let client = AcmClient::new(self.access.administrator()?);
            watch::run(&client, count, self.json, end).await
        } else {
            tokio::select! {
                outcome = self.act() => outcome,
                () = &mut end => Err(AcmError::Interrupted),
            }
        };
        match outcome {
            // Whoever reads has seen enough.
            Err(AcmError::Print(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            outcome => outcome,
        }
    }

    async fn act(self) -> Result<(), AcmError> {
        let Self { action, access, json } = self;
        let client = || Ok::<_, AcmError>(AcmClient::new(access.administrator()?));
        let now = Clock::start().now();
        match action {
            Action::Template => print(TEMPLATE),
            // Has been taken care of.
            Action::Watch { .. } => Ok(()),
            Action::List { limit } => list::run(&client()?, limit, json).await,
            Action::Show { item, all } => {
                let management = access.management()?;
                let management = management.map(|url| ManagementClient::new(&url.to_string()));
                show::run(&client()?, management.as_ref(), (item, all), json, now).await
            }
            Action::Accept { item, alias } => {
                decide::decide(&client()?, item, Decision::Accept, alias, json).await
            }
            Action::Reject { item, reason, alias } => {
                let decision = Decision::Reject { reason: Some(reason) };
                decide::decide(&client()?, item, decision, alias, json).await
            }
            Action::Send(arguments) => begin::run(&client()?, *arguments, json, now).await,
            Action::Follow { transaction, once, every } => {
                follow::run(&client()?, transaction, (every, once), json).await
            }
            Action::Acknowledge { item } => decide::acknowledge(&client()?, item, json).await,
            Action::Cancel { transaction } => decide::cancel(&client()?, transaction, json).await,
            Action::Groups(command) => groups(&client()?, command, json).await,
            Action::Alias(command) => {
                let management = access.needed_management()?.to_string();
                alias::run(&ManagementClient::new(&management), command, json).await
            }
        }
    }
}

async fn groups(client: &AcmClient, command: GroupsCommand, json: bool) -> Result<(), AcmError> {
    let told = |group: &McServiceGroupId, state: &str| {
        print(&if json {
            format!("{}\n", serde_json::json!({ "group": group, "state": state }))
        } else {
            format!("{group}: {state}\n")
        })
    };
    match command {
        GroupsCommand::Add { groups } => {
            for group in &groups {
                client.put_group(group).await?;
                told(group, "at home here")?;
            }
            Ok(())
        }
        GroupsCommand::Withdraw { groups } => {
            for group in &groups {
                client.withdraw_group(group).await?;
                told(group, "withdrawn")?;
            }
            Ok(())
        }
        GroupsCommand::List { home } => list_groups(client, home, json).await,
    }
}

/// Prints groups, page after page as they come.
async fn list_groups(
    client: &AcmClient,
    home: Option<McSystemId>,
    json: bool,
) -> Result<(), AcmError> {
    let mut table = Table::new(&["GROUP", "STATE"]);
    let (mut after, mut is_empty) = (None, true);
    loop {
        let page = client.groups(home.as_ref(), after.as_ref()).await?;
        is_empty &= page.items.is_empty();
        let row = |GroupState { group, withdrawn }: &GroupState| {
            let state = if *withdrawn { "withdrawn" } else { "in use" };
            vec![group.to_string(), state.to_owned()]
        };
        if json {
            let line = |item| serde_json::to_string(item).map(|line| line + "\n");
            let lines: Result<String, _> = page.items.iter().map(line).collect();
            print(&lines.map_err(AcmError::Json)?)?;
        } else if !page.items.is_empty() {
            print(&table.lines(page.items.iter().map(row).collect()))?;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if is_empty && !json { print("no interconnection group is known\n") } else { Ok(()) }
}

/// The name of a value on the wire.
pub(super) fn name_of(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(name)) => name,
        Ok(other) => other.to_string(),
        Err(_) => "?".to_owned(),
    }
}

/// Prints text of other systems' making: what would steer a terminal is left out.
pub(super) fn print(text: &str) -> Result<(), AcmError> {
    let mut out = io::stdout().lock();
    out.write_all(printable(text).as_bytes()).and_then(|()| out.flush()).map_err(AcmError::Print)
}

/// Tells what does not stop the command. Without standard error there is nobody to tell.
pub(super) fn note(what: &dyn fmt::Display) {
    let _ = writeln!(io::stderr(), "migcore: {}", printable(&what.to_string()));
}

/// Reads a number of seconds, up to an hour.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = text.parse().ok().filter(|it| (0.01..=3_600.0).contains(it));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "is no number of seconds from 0.01 to 3600".to_owned())
}
