//! Functional aliases of this system: who has which one activated, at its controlling server.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::command::{AcmError, print};
use crate::{
    identity::{FunctionalAlias, McServiceId},
    node::{client::ManagementClient, management::escape, operator::Table},
};

/// Where the controlling server is found on the management interface.
const PATH: &str = "/management/v1/functional-aliases";

/// What can be done with functional aliases.
#[derive(Debug, Subcommand)]
pub(super) enum AliasCommand {
    /// A user activates an alias that others may hold, too.
    Activate(Held),
    /// A user deactivates an alias.
    Deactivate(Held),
    /// A user takes an alias over: whoever held it before does not any more.
    TakeOver(Held),
    /// Who holds which alias.
    List,
}

/// An alias and a user.
#[derive(Args, Debug)]
pub(super) struct Held {
    /// The functional alias, such as sip:dispatcher@b.example.
    alias: FunctionalAlias,
    /// The user, such as sip:bob@b.example.
    user: McServiceId,
}

impl Held {
    fn path(&self) -> String {
        format!("{PATH}/{}/holders/{}", escape(self.alias.as_str()), escape(self.user.as_str()))
    }
}

/// Does it, and prints what came of it.
pub(super) async fn run(
    client: &ManagementClient,
    command: AliasCommand,
    json: bool,
) -> Result<(), AcmError> {
    let (held, done) = match command {
        AliasCommand::Activate(held) => {
            client.put_nothing("activate the alias", &held.path()).await?;
            (held, "active")
        }
        AliasCommand::TakeOver(held) => {
            let path = held.path() + "?take-over=true";
            client.put_nothing("take the alias over", &path).await?;
            (held, "taken over")
        }
        AliasCommand::Deactivate(held) => {
            client.delete("deactivate the alias", &held.path()).await?;
            (held, "not active")
        }
        AliasCommand::List => return list(client, json).await,
    };
    let Held { alias, user } = held;
    print(&if json {
        format!("{}\n", json!({ "alias": alias, "user": user, "is": done }))
    } else {
        format!("{}: {done} for {}\n", alias.as_str(), user.as_str())
    })
}

async fn list(client: &ManagementClient, json: bool) -> Result<(), AcmError> {
    let found: Value = client.get("list functional aliases", PATH).await?;
    let unknown = || AcmError::Management { url: client.url().to_owned() };
    let items = ["items", "aliases"].iter().find_map(|name| found.get(*name));
    let items = items.unwrap_or(&found).as_array().ok_or_else(unknown)?;
    if json {
        let line = |mut lines: String, item: &Value| {
            let _ = writeln!(lines, "{item}");
            lines
        };
        return print(&items.iter().fold(String::new(), line));
    }
    if items.is_empty() {
        return print("no alias is active\n");
    }
    let mut rows = Vec::new();
    for item in items {
        let alias = item.get("alias").and_then(Value::as_str).ok_or_else(unknown)?;
        let holders = item.get("holders").and_then(Value::as_array).ok_or_else(unknown)?;
        for holder in holders {
            let user = holder.as_str().or_else(|| holder.get("user").and_then(Value::as_str));
            rows.push(vec![alias.to_owned(), user.ok_or_else(unknown)?.to_owned()]);
        }
    }
    print(&Table::new(&["ALIAS", "HOLDER"]).lines(rows))
}
