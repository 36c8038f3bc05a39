//! Functional aliases of this system: who has which one activated, at its controlling server.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::command::{AcmError, print};
use crate::{
    identity::{FunctionalAlias, McServiceId},
    node::{client::ManagementClient, management::escape, operator::Table},
};

/// Where the controlling server is found on the management interface.
const PATH: &str = "/v1/functional-aliases";

/// Aliases of one page.
const PAGE_MAX: usize = 1_000;

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
    holder: McServiceId,
}

impl Held {
    fn path(&self) -> String {
        format!("{PATH}/{}/holders/{}", escape(self.alias.as_str()), escape(self.holder.as_str()))
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
    let Held { alias, holder: user } = held;
    print(&if json {
        format!("{}\n", json!({ "alias": alias, "user": user, "is": done }))
    } else {
        format!("{}: {done} for {}\n", alias.as_str(), user.as_str())
    })
}

/// Prints who holds which alias, page after page as they come.
async fn list(client: &ManagementClient, json: bool) -> Result<(), AcmError> {
    let unknown = || AcmError::Management { url: client.url().to_owned() };
    let mut table = Table::new(&["ALIAS", "HOLDER", "SHARED"]);
    let (mut after, mut is_empty): (Option<String>, bool) = (None, true);
    loop {
        let from = after.map_or_else(String::new, |after| format!("&after={}", escape(&after)));
        let path = format!("{PATH}?limit={PAGE_MAX}{from}");
        let page: Value = client.get("list functional aliases", &path).await?;
        let items = page.get("items").and_then(Value::as_array).ok_or_else(unknown)?;
        is_empty &= items.is_empty();
        if json {
            items.iter().try_for_each(|item| print(&format!("{item}\n")))?;
        } else {
            let rows: Option<Vec<_>> = items.iter().map(rows).collect();
            let rows: Vec<_> = rows.ok_or_else(unknown)?.into_iter().flatten().collect();
            if !rows.is_empty() {
                print(&table.lines(rows))?;
            }
        }
        after = page.get("next").and_then(Value::as_str).map(str::to_owned);
        if after.is_none() {
            break;
        }
    }
    if is_empty && !json { print("no alias is active\n") } else { Ok(()) }
}

/// One row for each holder of an alias.
fn rows(item: &Value) -> Option<Vec<Vec<String>>> {
    let alias = item.get("alias")?.as_str()?;
    let row = |holder: &Value| {
        let is_shared = holder.get("shared")?.as_bool()?;
        let shared = if is_shared { "yes" } else { "no" };
        Some(vec![alias.to_owned(), holder.get("user")?.as_str()?.to_owned(), shared.to_owned()])
    };
    item.get("holders")?.as_array()?.iter().map(row).collect()
}
