//! One item, for a person who has to decide: who, until when, what, and what it would change.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::Value;

use super::{
    command::{AcmError, name_of, print},
    connection::AcmClient,
    elements::{Compared, Comparison, elements, is_named},
    item::ItemName,
};
use crate::{
    api::{
        acm_client::{Item, Summary},
        acm_interconnection::Response,
        acm_payload::{Kind, Payload},
        connection_details::SystemConfiguration,
    },
    identity::{FunctionalAlias, McServiceId, McSystemId},
    node::{
        client::{ClientError, ManagementClient},
        management::escape,
    },
    time::Timestamp,
};

/// Users or groups that are named; of more the number is told.
const NAMES_SHOWN: usize = 20;

/// Shows an item; with a management interface also what is in force.
pub(super) async fn run(
    client: &AcmClient,
    management: Option<&ManagementClient>,
    (item, all): (ItemName, bool),
    json: bool,
    now: Timestamp,
) -> Result<(), AcmError> {
    let key = item.find(client).await?;
    let item = client.item(&key).await?;
    if json {
        let line = serde_json::to_string(&item).map_err(AcmError::Json)?;
        return print(&format!("{line}\n"));
    }
    let in_force = match management {
        Some(management) if item.response.is_none() => in_force(management, &item).await?,
        Some(_) | None => InForce::NotAsked,
    };
    print(&describe(&item, &in_force, all, now))
}

/// What an accepted request would replace.
enum InForce {
    /// Nobody says where to ask.
    NotAsked,
    /// Nothing yet.
    Nothing,
    /// This.
    Configuration(Box<SystemConfiguration>),
}

/// Asks what an accepted request would replace.
async fn in_force(management: &ManagementClient, item: &Item) -> Result<InForce, AcmError> {
    let Some(payload) = item.payload.as_ref().filter(|it| it.configuration().is_some()) else {
        return Ok(InForce::NotAsked);
    };
    let about = match payload.kind() {
        Kind::Configuration => item.summary.key.origin.clone(),
        // Its users are served here: with what this system tells everybody.
        Kind::Groups
        | Kind::Update
        | Kind::AddUsers
        | Kind::RemoveUsers
        | Kind::GroupsWithdrawn
        | Kind::PleaseSend => {
            let own: Value = management.get("tell who it is", "/v1/system").await?;
            let own = own.get("mc_system_id").map(McSystemId::deserialize);
            own.and_then(Result::ok)
                .ok_or_else(|| AcmError::Management { url: management.url().to_owned() })?
        }
    };
    let path = format!("/v1/system-configurations/{}?secrets=true", escape(about.as_str()));
    match management.get("show what is in force", &path).await {
        Ok(found) => Ok(InForce::Configuration(Box::new(found))),
        Err(ClientError::Refused { status: 404, .. }) => Ok(InForce::Nothing),
        Err(error) => Err(error.into()),
    }
}

fn describe(item: &Item, in_force: &InForce, all: bool, now: Timestamp) -> String {
    let Item { summary, parties, payload, differing, withdrawn, response } = item;
    let Summary {
        number, key, kind, partner, originator, created, expires, revision, state, ..
    } = summary;
    let what = if response.is_some() { "response" } else { "request" };
    let mut text = format!("item {number}: {what}, {}\n", about(*kind));
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:12} {value}");
    };
    line("transaction", &format!("{}/{}", key.origin, key.transaction));
    line("partner", partner.as_str());
    line("from", &with_alias(originator.as_str(), parties.requester_alias.as_ref()));
    match (&parties.target_id, &parties.target_alias) {
        (Some(id), alias) => line("for", &with_alias(id.as_str(), alias.as_ref())),
        (None, Some(alias)) => line("for", &format!("whoever holds {}", alias.as_str())),
        (None, None) => line("for", "whoever may decide it"),
    }
    line("created", &created.to_rfc3339());
    line("expires", &until(*expires, now));
    line("revision", &revision.to_string());
    line("state", &name_of(state));
    if let Some(response) = response {
        describe_response(&mut text, response);
    }
    if let Some(payload) = payload {
        describe_payload(&mut text, payload, (&differing.0, in_force), all);
    }
    let is_configuration = payload.as_ref().is_some_and(|it| it.configuration().is_some());
    if !withdrawn.is_empty() {
        let names = withdrawn.iter().map(ToString::to_string);
        list(&mut text, "no more, withdrawn meanwhile", names.collect(), all);
    }
    if response.is_none() && !differing.is_empty() && !is_configuration {
        list(&mut text, "new or changed here", differing.0.clone(), all);
    }
    text
}

fn describe_response(text: &mut String, response: &Response) {
    let Response { handler_id, handler_alias, result, text: reason, elements, decided, .. } =
        response;
    let by = match handler_id {
        Some(id) => with_alias(id.as_str(), handler_alias.as_ref()),
        None => "nobody: policy, or time".to_owned(),
    };
    let _ = writeln!(text, "  {:12} {}", "result", name_of(result));
    let _ = writeln!(text, "  {:12} {by}", "decided by");
    let _ = writeln!(text, "  {:12} {}", "decided", decided.to_rfc3339());
    if let Some(reason) = reason {
        let _ = writeln!(text, "  {:12} {reason}", "reason");
    }
    if !elements.is_empty() {
        let _ = writeln!(text, "  {:12} {}", "about", elements.join(", "));
    }
}

fn describe_payload(
    text: &mut String,
    payload: &Payload,
    (differing, in_force): (&[String], &InForce),
    all: bool,
) {
    let users: Vec<String> =
        payload.users().iter().map(McServiceId::as_str).map(str::to_owned).collect();
    if !users.is_empty() {
        list(text, "users", users, all);
    }
    let groups: Vec<String> = payload.groups().iter().map(ToString::to_string).collect();
    if !groups.is_empty() {
        list(text, "groups", groups, all);
    }
    let Some(configuration) = payload.configuration() else { return };
    let offered = elements(configuration);
    let InForce::Configuration(in_force) = in_force else {
        let _ = writeln!(text, "  configuration, revision {}:", configuration.revision);
        let width = offered.iter().map(|(path, _)| path.chars().count()).max().unwrap_or(0);
        for (path, value) in &offered {
            let mark = if is_named(path, differing) { '*' } else { ' ' };
            let _ = writeln!(text, "  {mark} {path:width$}  {value}");
        }
        let said = match in_force {
            InForce::Nothing => "nothing is in force in its place yet",
            InForce::NotAsked | InForce::Configuration(_) if differing.is_empty() => {
                "nothing that the system owns differs from what is in force"
            }
            InForce::NotAsked | InForce::Configuration(_) => {
                "* differs from what is in force; --management URL shows from what"
            }
        };
        let _ = writeln!(text, "  {said}");
        return;
    };
    let compared = Comparison::of((payload.kind(), differing), &offered, &elements(in_force));
    describe_comparison(text, &compared, (configuration.revision, in_force.revision), all);
}

fn describe_comparison(
    text: &mut String,
    compared: &Comparison,
    (offered, in_force): (u64, u64),
    all: bool,
) {
    let Comparison { changed, masked, unknown, same } = compared;
    let differ = changed.len() + masked.len();
    let of = differ + unknown.len() + same.len();
    let _ = writeln!(
        text,
        "  configuration, revision {offered} in place of {in_force}: {differ} of {of} elements differ",
    );
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".to_owned());
    for Compared { path, offered, in_force } in changed {
        let _ = writeln!(text, "  * {path}");
        let _ = writeln!(text, "      in force  {}", shown(in_force));
        let _ = writeln!(text, "      offered   {}", shown(offered));
    }
    for name in masked {
        let _ = writeln!(text, "  * {name}");
        let _ = writeln!(text, "      differs, says the server; what it says is masked");
    }
    for path in unknown {
        let _ = writeln!(text, "  ? {path}");
        let _ = writeln!(text, "      is masked; the server does not say whether it differs");
    }
    if all {
        let width = same.iter().map(|it| it.path.chars().count()).max().unwrap_or(0);
        for Compared { path, offered, .. } in same {
            let _ = writeln!(text, "    {path:width$}  {}", shown(offered));
        }
    } else if !same.is_empty() {
        let _ = writeln!(text, "  {} elements stay as they are; --all shows them", same.len());
    }
}

fn list(text: &mut String, title: &str, names: Vec<String>, all: bool) {
    let _ = writeln!(text, "  {title} ({}):", names.len());
    let shown = if all { names.len() } else { NAMES_SHOWN };
    let rest = names.len().saturating_sub(shown);
    for name in names.into_iter().take(shown) {
        let _ = writeln!(text, "    {name}");
    }
    if rest > 0 {
        let _ = writeln!(text, "    and {rest} more; --all shows them");
    }
}

fn with_alias(id: &str, alias: Option<&FunctionalAlias>) -> String {
    alias.map_or_else(|| id.to_owned(), |alias| format!("{id} as {}", alias.as_str()))
}

/// When, and how long that is from now.
fn until(at: Timestamp, now: Timestamp) -> String {
    let text = at.to_rfc3339();
    if at <= now {
        return format!("{text} (over)");
    }
    let seconds = at.since(now).as_secs();
    let left = match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    };
    format!("{text} (in {left})")
}

/// What a kind is about, in words.
const fn about(kind: Kind) -> &'static str {
    match kind {
        Kind::Configuration => "how UEs reach the system that sends it (XCFG)",
        Kind::Groups => "interconnection groups (GRP)",
        Kind::Update => "the configuration of users who migrate (UPD)",
        Kind::AddUsers => "users who may migrate",
        Kind::RemoveUsers => "users who may no longer migrate",
        Kind::GroupsWithdrawn => "interconnection groups that are no more",
        Kind::PleaseSend => "the initial configuration is asked for",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_with_what_is_left() {
        let now = Timestamp::from_secs(1_000_000);
        for (seconds, left) in
            [(0, "(over)"), (60, "(in 60 s)"), (600, "(in 10 min)"), (1_209_600, "(in 14 days)")]
        {
            let told = until(Timestamp::from_secs(1_000_000 + seconds), now);
            assert!(told.ends_with(left), "{told}");
        }
    }
}
