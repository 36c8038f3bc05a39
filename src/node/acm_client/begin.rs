//! A transaction is begun: what it is about comes from a file.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::{
    command::{AcmError, print},
    connection::AcmClient,
};
use crate::{
    api::{
        acm_client::Begin,
        acm_interconnection::TransactionId,
        acm_payload::{Kind, Parties, Payload},
        connection_details::SipCoreAddress,
    },
    identity::{FunctionalAlias, McServiceId, McSystemId},
    node::{SystemEntropy, acm::help, http::WrongValue},
    time::Timestamp,
    ue_configuration::InitialUeConfiguration,
};

/// Longest file, octets: 100,000 users and a configuration.
const FILE_OCTETS_MAX: u64 = 32 * 1_024 * 1_024;

/// What `migcore acm send --help` ends with.
pub(super) const FILES: &str = r#"Files, one for each kind:

  xcfg          {"revision": 8, "sip_core": [{"transport": "udp", "address": "192.0.2.1:5060"}],
                 "document": "<mcptt-UE-initial-configuration .."}
  grp           ["sip:fire@a.example", "sip:rescue@a.example"]
  upd           {"users": ["sip:alice@a.example"], "configuration": as for xcfg}
  add-users     {"users": ["sip:alice@a.example"], "configuration": as for xcfg, or left out}
  remove-users  {"users": ["sip:alice@a.example"]}

--document FILE.xml takes the place of "document" in a configuration: the XML of TS 24.484 clause 7.2. Without
"revision" a configuration has the time as its revision.

Examples:
  migcore acm send xcfg --to sip:b.example --file a.json --document a.xml
  migcore acm send grp --to sip:b.example --target-id sip:bob@b.example --file groups.json
  migcore acm send upd --to sip:b.example --target-alias sip:dispatcher@b.example --file update.json

What is sent has a name that is printed: if the connection breaks, send the same with --transaction NAME, and no second
one begins.

Exit codes: 0 begun, 1 failed or refused, 2 wrong arguments or file."#;

/// What to send, and to whom.
#[derive(Args, Debug)]
pub(super) struct SendArguments {
    /// What it is.
    kind: Sent,
    /// The MC system ID of the partner, such as sip:b.example.
    #[arg(long, value_name = "MC-SYSTEM-ID")]
    to: McSystemId,
    /// What it is about, in JSON; `--help` shows one file of each kind.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The initial UE configuration document, in XML, of xcfg, upd or add-users.
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
    /// A SIP core of the configuration, such as udp:192.0.2.1:5060, in place of those of the file. May be repeated.
    #[arg(long, value_name = "TRANSPORT:ADDRESS")]
    sip_core: Vec<SipCoreAddress>,
    /// The revision of the configuration, in place of that of the file.
    #[arg(long, value_name = "NUMBER")]
    revision: Option<u64>,
    /// The user of the partner that it is for.
    #[arg(long, value_name = "MC-SERVICE-ID")]
    target_id: Option<McServiceId>,
    /// The functional alias in the partner that it is for; an ID beside it routes.
    #[arg(long, value_name = "ALIAS")]
    target_alias: Option<FunctionalAlias>,
    /// The functional alias under which the administrator asks.
    #[arg(long, value_name = "ALIAS")]
    alias: Option<FunctionalAlias>,
    /// How long the partner may take to decide, such as 90s, 12h or 14d; without it as long as is usual.
    #[arg(long, value_name = "TIME", value_parser = span)]
    expires_in: Option<Duration>,
    /// The name of the transaction; the same request under the same name begins no second one.
    #[arg(long, value_name = "UUID", value_parser = str::parse::<TransactionId>)]
    transaction: Option<TransactionId>,
}

/// Kinds of transactions that an administrator begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Sent {
    /// Initial configuration for whoever migrates here (XCFG).
    Xcfg,
    /// Interconnection groups that are at home here (GRP).
    Grp,
    /// The configuration of users of this system (UPD).
    Upd,
    /// Users of this system who may migrate to the partner.
    AddUsers,
    /// Users of this system who may no longer migrate to the partner.
    RemoveUsers,
    /// Ask the partner for its initial configuration (extension); no file.
    PleaseSend,
}

/// Why a file cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// It is not what is to be sent.
    #[error("{}: {why}. `migcore acm send --help` shows one file of each kind", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// What is to be sent cannot be told by the arguments.
    #[error("{0}")]
    Arguments(&'static str),
}

impl Sent {
    const fn kind(self) -> Kind {
        match self {
            Self::Xcfg => Kind::Configuration,
            Self::Grp => Kind::Groups,
            Self::Upd => Kind::Update,
            Self::AddUsers => Kind::AddUsers,
            Self::RemoveUsers => Kind::RemoveUsers,
            Self::PleaseSend => Kind::PleaseSend,
        }
    }

    const fn may_configure(self) -> bool {
        matches!(self, Self::Xcfg | Self::Upd | Self::AddUsers)
    }
}

/// Sends it, and prints the name of the transaction.
pub(super) async fn run(
    client: &AcmClient,
    arguments: SendArguments,
    json: bool,
    now: Timestamp,
) -> Result<(), AcmError> {
    let begin = arguments.begin(now)?;
    let name = begin.transaction;
    // The same again, or it would be another request under the same name.
    let revision = match &begin.payload {
        Payload::Configuration(it)
        | Payload::Update { configuration: it, .. }
        | Payload::AddUsers { configuration: Some(it), .. } => {
            format!(" --revision {}", it.revision)
        }
        Payload::Groups(_)
        | Payload::AddUsers { configuration: None, .. }
        | Payload::RemoveUsers { .. }
        | Payload::GroupsWithdrawn(_)
        | Payload::PleaseSend => String::new(),
    };
    let begun = client.begin(&begin).await.map_err(|error| match name {
        Some(transaction) if error.leaves_doubt() => {
            AcmError::MaybeBegun { error: Box::new(error), transaction, revision }
        }
        _ => error.into(),
    })?;
    print(&if json {
        format!("{}\n", json!({ "transaction": begun }))
    } else {
        format!("begun: {begun}\nnext: migcore acm follow {begun}\n")
    })
}

impl SendArguments {
    fn begin(self, now: Timestamp) -> Result<Begin, FileError> {
        let kind = self.kind.kind();
        if kind.needs_target() && self.target_id.is_none() && self.target_alias.is_none() {
            let why = "nobody to decide it is named: give --target-id MC-SERVICE-ID or --target-alias ALIAS";
            return Err(FileError::Arguments(why));
        }
        let payload = self.payload(now)?;
        let Self { to, target_id, target_alias, alias, expires_in, transaction, .. } = self;
        Ok(Begin {
            // Drawn here, so that a repeat after a lost answer begins no second one.
            transaction: transaction
                .or_else(|| Some(TransactionId::draw(&mut SystemEntropy::new()))),
            destination: to,
            parties: Parties { requester_alias: alias, target_id, target_alias },
            payload,
            expires: expires_in.map(|span| now + span),
        })
    }

    fn payload(&self, now: Timestamp) -> Result<Payload, FileError> {
        let configures =
            self.document.is_some() || !self.sip_core.is_empty() || self.revision.is_some();
        if configures && !self.kind.may_configure() {
            let why = "--document, --sip-core and --revision are for xcfg, upd and add-users";
            return Err(FileError::Arguments(why));
        }
        let kind = self.kind.kind();
        if kind == Kind::PleaseSend {
            return match self.file {
                None => Ok(Payload::PleaseSend),
                Some(_) => Err(FileError::Arguments("please-send has no --file")),
            };
        }
        let (path, content) = match &self.file {
            Some(path) => (path.clone(), read_json(path)?),
            None if self.kind == Sent::Xcfg && self.document.is_some() => {
                (self.document.clone().unwrap_or_default(), Value::Object(Map::new()))
            }
            None => return Err(FileError::Arguments("nothing to send: give --file FILE")),
        };
        let mut content = plain(kind, content);
        if self.kind == Sent::Xcfg {
            self.complete(&mut content, now)?;
        } else if self.kind.may_configure() {
            let is_there = content.get("configuration").is_some_and(|it| !it.is_null());
            if let Some(content) = content.as_object_mut().filter(|_| is_there || configures) {
                let empty = || Value::Object(Map::new());
                let configuration = content.entry("configuration").or_insert_with(empty);
                self.complete(configuration, now)?;
            }
        }
        read_payload(kind, content).map_err(|why| FileError::Wrong { path, why })
    }

    /// Puts what the arguments say into a configuration; its revision is the time unless somebody says another.
    fn complete(&self, configuration: &mut Value, now: Timestamp) -> Result<(), FileError> {
        let Some(configuration) = configuration.as_object_mut() else { return Ok(()) };
        if let Some(path) = &self.document {
            let text = read(path)?;
            let document = InitialUeConfiguration::parse(&text);
            let wrong = |error: crate::ue_configuration::DocumentError| FileError::Wrong {
                path: path.clone(),
                why: error.to_string(),
            };
            let document = document.map_err(wrong)?.render();
            configuration.insert("document".to_owned(), document.into());
        }
        if !self.sip_core.is_empty() {
            configuration.insert("sip_core".to_owned(), json!(self.sip_core));
        }
        if let Some(revision) = self.revision {
            configuration.insert("revision".to_owned(), revision.into());
        }
        configuration.entry("revision").or_insert_with(|| now.as_micros().into());
        Ok(())
    }
}

/// The payload of a kind that the content is, or what is wrong with it: the field, and what to write there.
fn read_payload(kind: Kind, content: Value) -> Result<Payload, String> {
    let fits = if kind == Kind::Groups { content.is_array() } else { content.is_object() };
    if !fits {
        let what = match kind {
            Kind::Groups => "no list of MC service group IDs, such as [\"sip:fire@a.example\"]",
            Kind::Configuration => "no object with sip_core and document",
            Kind::Update => "no object with users and configuration",
            Kind::AddUsers | Kind::RemoveUsers | Kind::GroupsWithdrawn | Kind::PleaseSend => {
                "no object with users"
            }
        };
        return Err(format!("is {what}"));
    }
    let named = Value::Object(Map::from_iter([(kind.as_str().to_owned(), content)]));
    serde_path_to_error::deserialize(named).map_err(|error| {
        let path = error.path().to_string();
        let WrongValue { field, what, fix } = WrongValue::told_by(&path, error.inner());
        let field = field.strip_prefix(kind.as_str()).unwrap_or(&field).trim_start_matches('.');
        let last = field.rsplit('.').next().and_then(|name| name.split('[').next());
        let last = last.filter(|name| !name.is_empty()).unwrap_or(kind.as_str());
        // What the types themselves say is a sentence of its own.
        let colon = if what.starts_with("is ") || what.starts_with("has ") { "" } else { ":" };
        match fix.or_else(|| help(last)) {
            Some(fix) => format!("{field}{colon} {what}; {fix}"),
            None => format!("{field}{colon} {what}"),
        }
    })
}

/// The content without the name of its kind, and lists with the name that they have.
fn plain(kind: Kind, content: Value) -> Value {
    if content.is_array() && matches!(kind, Kind::AddUsers | Kind::RemoveUsers) {
        return json!({ "users": content });
    }
    let mut content = content;
    let members = content.as_object_mut().filter(|members| members.len() == 1);
    match members.and_then(|members| members.remove(kind.as_str())) {
        Some(named) => named,
        None => content,
    }
}

fn read_json(path: &Path) -> Result<Value, FileError> {
    let text = read(path)?;
    serde_json::from_str(&text).map_err(|error| FileError::Wrong {
        path: path.to_owned(),
        why: format!("is no JSON: {error}"),
    })
}

fn read(path: &Path) -> Result<Zeroizing<String>, FileError> {
    let failed = |error| FileError::Read { path: path.to_owned(), error };
    if fs::metadata(path).map_err(failed)?.len() > FILE_OCTETS_MAX {
        return Err(failed(io::Error::other(format!("it has more than {FILE_OCTETS_MAX} octets"))));
    }
    fs::read_to_string(path).map(Zeroizing::new).map_err(failed)
}

/// Reads a time such as 90s, 12h or 14d.
fn span(text: &str) -> Result<Duration, NoSpan> {
    let units = [("s", 1), ("min", 60), ("h", 3_600), ("d", 86_400)];
    let read = |(unit, seconds): (&str, u64)| {
        let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
        count.checked_mul(seconds).filter(|seconds| *seconds > 0).map(Duration::from_secs)
    };
    units.into_iter().find_map(read).ok_or(NoSpan)
}

/// A text that is no time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct NoSpan;

impl fmt::Display for NoSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("is no time: write a number and s, min, h or d")
    }
}

impl std::error::Error for NoSpan {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_number_and_a_unit() {
        for (text, seconds) in [("90s", 90), ("5min", 300), ("12h", 43_200), ("14d", 1_209_600)] {
            assert_eq!(span(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in ["", "d", "0s", "-1h", "1w", "99999999999999999999d", "1.5h"] {
            assert_eq!(span(wrong), Err(NoSpan), "{wrong}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_by_field_with_what_to_write() {
        let configuration = json!({ "revision": "x", "sip_core": [] });
        for (kind, content, told) in [
            (Kind::Update, json!(["sip:a@a.example"]), "is no object with users and configuration"),
            (Kind::Groups, json!({}), "is no list of MC service group IDs, such as"),
            (
                Kind::Configuration,
                configuration.clone(),
                "revision is wrong, expected u64; write a whole number",
            ),
            (
                Kind::Update,
                json!({ "users": ["sip:a@a.example"], "configuration": configuration }),
                "configuration.revision is wrong, expected u64; write a whole number",
            ),
            (Kind::RemoveUsers, json!({}), "users is missing; write MC service IDs, such as"),
            (Kind::RemoveUsers, json!({ "users": ["a"] }), "users[0]: McServiceId has no scheme"),
            (
                Kind::Groups,
                json!(["sip:fire@a.example", "fire"]),
                "[1]: McServiceGroupId has no scheme",
            ),
        ] {
            let why = read_payload(kind, content).unwrap_err();
            assert!(why.starts_with(told), "{told}: {why}");
        }
        let why = read_payload(Kind::Groups, json!(["fire"])).unwrap_err();
        assert!(
            why.ends_with("write MC service group IDs, such as [\"sip:group@a.example\"]"),
            "{why}"
        );
    }

    #[test]
    fn a_file_may_name_its_kind_or_not() {
        let groups = json!(["sip:fire@a.example"]);
        assert_eq!(plain(Kind::Groups, json!({ "groups": groups })), groups);
        assert_eq!(plain(Kind::Groups, groups.clone()), groups);
        let users = json!({ "users": ["sip:alice@a.example"] });
        assert_eq!(plain(Kind::RemoveUsers, json!(["sip:alice@a.example"])), users);
        assert_eq!(plain(Kind::RemoveUsers, json!({ "remove-users": users })), users);
    }
}
