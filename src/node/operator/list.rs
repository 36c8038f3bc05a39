//! Lists, page after page.

use std::{fmt::Write as _, num::NonZeroUsize};

use serde_json::Value;

use super::{
    command::AdminError,
    object::print,
    table::{Table, text_of},
};
use crate::{
    api::acm_payload::Kind,
    node::{
        client::ManagementClient,
        management::{ITEMS_MAX, escape},
    },
};

/// What to list.
#[derive(Debug)]
pub(super) struct Selection {
    pub(super) listed: Listed,
    pub(super) partner: Option<String>,
    pub(super) holder: Option<String>,
    /// Most rows.
    pub(super) limit: NonZeroUsize,
}

/// What there are lists of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Listed {
    Inbound,
    Outbound,
    Registrations,
    Agreements,
    Grants,
    Subscribers,
    Users,
    AcmUsers,
    ConfigurationVersions,
    Pools,
    IdmsClients,
    IdmsUsers,
    Visitors,
    SecurityTokens,
}

/// A column: its heading, and what it shows of a record.
type Column = (&'static str, fn(&Value) -> String);

/// Prints a list, page after page as they come.
pub(super) async fn run(
    client: &ManagementClient,
    selection: Selection,
    json: bool,
) -> Result<(), AdminError> {
    let columns = selection.listed.columns();
    let mut table = Table::new(&columns.iter().map(|(heading, _)| *heading).collect::<Vec<_>>());
    let (mut left, mut after) = (selection.limit.get(), None);
    loop {
        let path = selection.path(left.min(ITEMS_MAX), after.as_deref());
        let mut page: Value = client.get("list", &path).await?;
        let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) else {
            return Err(AdminError::Unknown { url: client.url().to_owned() });
        };
        left = left.saturating_sub(items.len());
        let text = if json {
            items.iter().fold(String::new(), |mut lines, item| {
                let _ = writeln!(lines, "{item}");
                lines
            })
        } else {
            let cells = |item: &Value| columns.iter().map(|(_, cell)| cell(item)).collect();
            table.lines(items.iter().map(cells).collect())
        };
        print(&text)?;
        after = page.get("next").and_then(Value::as_str).map(str::to_owned);
        if after.is_none() || left == 0 {
            return Ok(());
        }
    }
}

impl Selection {
    fn path(&self, limit: usize, after: Option<&str>) -> String {
        let mut path = format!("{}?limit={limit}", self.listed.path());
        let parts = [
            ("partner", self.partner.as_deref()),
            ("holder", self.holder.as_deref()),
            ("after", after),
        ];
        for (name, value) in parts {
            if let Some(value) = value {
                let _ = write!(path, "&{name}={}", escape(value));
            }
        }
        path
    }
}

impl Listed {
    const fn path(self) -> &'static str {
        match self {
            Self::Inbound => "/v1/bindings/inbound",
            Self::Outbound => "/v1/bindings/outbound",
            Self::Registrations => "/v1/registrations",
            Self::Agreements => "/v1/agreements",
            Self::Grants => "/v1/grants",
            Self::Subscribers => "/v1/subscribers",
            Self::Users => "/v1/users",
            Self::AcmUsers => "/v1/acm/users",
            Self::ConfigurationVersions => "/v1/system-configuration-versions",
            Self::Pools => "/v1/pools",
            Self::IdmsClients => "/v1/idms/clients",
            Self::IdmsUsers => "/v1/idms/users",
            Self::Visitors => "/v1/idms/visitors",
            Self::SecurityTokens => "/v1/idms/security-tokens",
        }
    }

    fn columns(self) -> &'static [Column] {
        const KEY: fn(&Value) -> String = |item| part(item, "/key");
        const AGREEMENT: Column = ("AGREEMENT", |item| part(item, "/record/allowed/agreement"));
        match self {
            Self::Inbound => &[
                ("IMPI", KEY),
                ("HOLDER", |item| part(item, "/record/primary/identity/impi")),
                ("PRIMARY", |item| part(item, "/record/primary/database")),
                ("LEASE", |item| lease(item).0),
                ("UNTIL", |item| lease(item).1),
                AGREEMENT,
            ],
            Self::Outbound => &[
                ("IMPI", KEY),
                ("HOLDER", |item| part(item, "/record/user/impi")),
                ("PARTNER", |item| part(item, "/record/partner")),
                ("LEASE", |item| lease(item).0),
                ("UNTIL", |item| lease(item).1),
                AGREEMENT,
            ],
            Self::Registrations => &[
                ("IMPI", KEY),
                ("IMPU", |item| part(item, "/record/impus/0")),
                ("CONTACTS", |item| length(item, "/record/contacts")),
                ("CONTACT", |item| part(item, "/record/contacts/0/uri")),
                ("UNTIL", |item| part(item, "/record/contacts/0/expires_at")),
            ],
            Self::Agreements => &[
                ("PARTNER", |item| part(item, "/record/agreement/key/partner")),
                ("DIRECTION", |item| part(item, "/record/agreement/key/direction")),
                ("USERS", users),
                ("FROM", |item| part(item, "/record/agreement/valid_from")),
                ("UNTIL", |item| part(item, "/record/agreement/valid_until")),
                ("HIDES", |item| part(item, "/record/agreement/hide_identities")),
            ],
            Self::Grants => &[
                ("IMPI", |item| part(item, "/record/user/impi")),
                ("PARTNER", |item| part(item, "/record/partner")),
                ("UNTIL", |item| part(item, "/record/until")),
                AGREEMENT,
            ],
            Self::Subscribers => &[
                ("IMPI", KEY),
                ("IMPU", |item| part(item, "/record/impus/0")),
                ("REGISTERED", |item| part(item, "/record/registered")),
                ("SERVER", |item| part(item, "/record/server_name")),
            ],
            Self::Users => &[
                ("MC SERVICE ID", KEY),
                ("IMPI", |item| part(item, "/record/identity/impi")),
                ("CLASS", |item| part(item, "/record/class")),
                ("MIGRATES", |item| part(item, "/record/may_migrate")),
            ],
            Self::AcmUsers => &[
                ("MC SERVICE ID", KEY),
                ("MAY REQUEST", |item| kinds(item, "/record/may_request")),
                ("MAY DECIDE", |item| kinds(item, "/record/may_decide")),
            ],
            Self::ConfigurationVersions => &[
                ("SYSTEM", |item| part(item, "/record/system")),
                ("REVISION", |item| part(item, "/record/revision")),
                ("SINCE", |item| part(item, "/record/provenance/at")),
                ("DECIDED BY", decider),
                ("TRANSACTION", |item| part(item, "/record/provenance/transaction/transaction")),
            ],
            Self::Pools => &[
                ("NAME", KEY),
                ("DIRECTION", |item| part(item, "/record/direction")),
                ("SOURCE", |item| variant(item, "/record/source").0),
            ],
            Self::IdmsClients => &[
                ("CLIENT", KEY),
                ("REDIRECT URI", |item| part(item, "/record/redirect_uris/0")),
                ("PROVES A KEY", |item| part(item, "/record/requires_proof")),
            ],
            Self::IdmsUsers => &[
                ("USER", KEY),
                ("SUBJECT", |item| part(item, "/record/subject")),
                ("PARTNER", |item| part(item, "/record/partners/0")),
                ("ENABLED", |item| part(item, "/record/is_enabled")),
            ],
            Self::Visitors => &[
                ("ISSUER", |item| part(item, "/record/visitor/issuer")),
                ("SUBJECT", |item| part(item, "/record/visitor/subject")),
                ("MCPTT ID", |item| part(item, "/record/visitor/services/mcptt_id")),
                ("MIGRATES", |item| part(item, "/record/visitor/may_migrate")),
            ],
            Self::SecurityTokens => &[
                ("JTI", KEY),
                ("SUBJECT", |item| part(item, "/record/subject")),
                ("CLIENT", |item| part(item, "/record/client")),
                ("PARTNER", |item| part(item, "/record/partner")),
                ("UNTIL", |item| part(item, "/record/expires")),
            ],
        }
    }
}

/// The part of a record at `pointer`; a hyphen if it has none.
fn part(item: &Value, pointer: &str) -> String {
    item.pointer(pointer).map_or_else(|| "-".to_owned(), text_of)
}

fn length(item: &Value, pointer: &str) -> String {
    item.pointer(pointer).and_then(Value::as_array).map_or(0, Vec::len).to_string()
}

/// The kinds of transactions at `pointer`.
fn kinds(item: &Value, pointer: &str) -> String {
    let kinds = item.pointer(pointer).and_then(Value::as_array);
    let names: Vec<&str> = kinds.into_iter().flatten().filter_map(Value::as_str).collect();
    match names.len() {
        0 => "-".to_owned(),
        all if all == Kind::ALL.len() => "all".to_owned(),
        _ => names.join(","),
    }
}

/// Which variant is at `pointer`, and what it holds: `{"reserved": ..}`, or `"everybody"`.
fn variant<'a>(item: &'a Value, pointer: &str) -> (String, &'a Value) {
    match item.pointer(pointer) {
        Some(Value::Object(members)) => match members.iter().next() {
            Some((name, held)) => (name.clone(), held),
            None => ("-".to_owned(), &Value::Null),
        },
        Some(other) => (text_of(other), &Value::Null),
        None => ("-".to_owned(), &Value::Null),
    }
}

/// Who brought a configuration into force: a user, policy or an operator.
fn decider(item: &Value) -> String {
    match variant(item, "/record/provenance/decided_by") {
        (name, Value::Null) => name,
        (_, user) => text_of(user),
    }
}

/// How long a pair is lent, and until when; a mapping has no end.
fn lease(item: &Value) -> (String, String) {
    let (name, until) = variant(item, "/record/lease");
    let until = if until.is_object() { "-".to_owned() } else { text_of(until) };
    (name, until)
}

/// `everybody`, `class:NAME` or `user:MC-SERVICE-ID`.
fn users(item: &Value) -> String {
    match variant(item, "/record/agreement/key/users") {
        (name, Value::Null) => name,
        (name, held) => format!("{name}:{}", text_of(held)),
    }
}
