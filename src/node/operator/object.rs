//! One thing that a system holds: shown, released, revoked.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::{
    command::{AdminError, Direction},
    table::{printable, text_of},
};
use crate::{
    api::identity_management::IssuerUrl,
    identity::{Impi, McServiceId, McSystemId, SipDatabaseId},
    node::{client::ManagementClient, management::escape},
    time::Timestamp,
};

/// What a command is about.
#[derive(Debug)]
pub(super) enum Object {
    Binding(Direction, Impi),
    Registration(Impi),
    /// Partner, direction, users.
    Agreement(McSystemId, Direction, String),
    Grant(Impi, SipDatabaseId),
    Subscriber(Impi),
    User(McServiceId),
    AcmUser(McServiceId),
    /// System, revision, whether with the document.
    ConfigurationVersion(McSystemId, u64, bool),
    Pool(String),
    IdmsClient(String),
    IdmsUser(String),
    /// Issuer, subject.
    Visitor(IssuerUrl, String),
}

/// Fields that hold seconds since the Unix epoch.
const TIMES: [&str; 5] = ["expires", "lease_end", "reserved_until", "valid_from", "valid_until"];

impl Object {
    fn path(&self) -> String {
        match self {
            Self::Binding(direction, impi) => {
                format!("/v1/bindings/{}/{}", direction.name(), escape(impi.as_str()))
            }
            Self::Registration(impi) => format!("/v1/registrations/{}", escape(impi.as_str())),
            Self::Agreement(partner, direction, users) => {
                let (partner, users) = (escape(partner.as_str()), escape(users));
                format!("/v1/agreements/{partner}/{}/{users}", direction.name())
            }
            Self::Grant(impi, partner) => {
                format!("/v1/grants/{}/{}", escape(impi.as_str()), escape(partner.as_str()))
            }
            Self::Subscriber(impi) => format!("/v1/subscribers/{}", escape(impi.as_str())),
            Self::User(id) => format!("/v1/users/{}", escape(id.as_str())),
            Self::AcmUser(id) => format!("/v1/acm/users/{}", escape(id.as_str())),
            Self::ConfigurationVersion(system, revision, with_secrets) => {
                let of_system = format!("/v1/system-configurations/{}", escape(system.as_str()));
                format!("{of_system}/versions/{revision}?secrets={with_secrets}")
            }
            Self::Pool(name) => format!("/v1/pools/{}", escape(name)),
            Self::IdmsClient(name) => format!("/v1/idms/clients/{}", escape(name)),
            Self::IdmsUser(name) => format!("/v1/idms/users/{}", escape(name)),
            Self::Visitor(issuer, subject) => {
                format!("/v1/idms/visitors/{}/{}", escape(issuer.as_str()), escape(subject))
            }
        }
    }

    const fn noun(&self) -> &'static str {
        match self {
            Self::Binding(..) => "binding",
            Self::Registration(_) => "registration",
            Self::Agreement(..) => "agreement",
            Self::Grant(..) => "grant",
            Self::Subscriber(_) => "subscriber",
            Self::User(_) | Self::IdmsUser(_) => "user",
            Self::AcmUser(_) => "acm-user",
            Self::ConfigurationVersion(..) => "configuration-version",
            Self::Pool(_) => "pool",
            Self::IdmsClient(_) => "client",
            Self::Visitor(..) => "visitor",
        }
    }
}

/// Shows all of it.
pub(super) async fn show(
    client: &ManagementClient,
    object: Object,
    json: bool,
) -> Result<(), AdminError> {
    let found: Value = client.get("show it", &object.path()).await?;
    if json {
        return print(&format!("{found}\n"));
    }
    let mut lines = Vec::new();
    flatten("", &found, &mut lines);
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let lines = lines.into_iter().map(|(name, value)| format!("{name:width$}  {value}\n"));
    print(&lines.collect::<String>())
}

/// Takes a lent pair back.
pub(super) async fn release(
    client: &ManagementClient,
    object: Object,
    json: bool,
) -> Result<(), AdminError> {
    client.delete("release it", &object.path()).await?;
    told(json, &object, "released; its user gets no further vector")
}

/// Ends it, at once.
pub(super) async fn revoke(
    client: &ManagementClient,
    object: Object,
    json: bool,
) -> Result<(), AdminError> {
    let Object::Binding(direction, _) = object else {
        client.delete("end it", &object.path()).await?;
        return told(json, &object, "ended");
    };
    let ended: Value = client.post("revoke it", &(object.path() + "/revoke")).await?;
    if json {
        return print(&format!("{ended}\n"));
    }
    let part = |name: &str| ended.get(name).and_then(Value::as_str).unwrap_or_default();
    let binding = match part("binding") {
        "none" => "binding: there was none any more",
        _ => "binding: ended; its user gets no further vector",
    };
    let registration = match (part("registration"), direction) {
        ("ended", _) => "registration: ended",
        ("none", _) => "registration: there was none",
        (_, Direction::Outbound) => {
            "registration: it is in the partner's system; it cannot be refreshed any more"
        }
        (_, Direction::Inbound) => {
            "registration: the SIP core is in another process; ask that one: \
             migcore admin revoke registration IMPI --system URL"
        }
    };
    print(&format!("{binding}\n{registration}\n"))
}

/// Tells that a user of ACM clients is there, as wanted.
pub(super) fn told_put(json: bool, object: &Object) -> Result<(), AdminError> {
    told_as(json, object, "put", "put; what an earlier token opened has ended")
}

/// Removes a user of ACM clients.
pub(super) async fn delete(
    client: &ManagementClient,
    object: Object,
    json: bool,
) -> Result<(), AdminError> {
    client.delete("delete it", &object.path()).await?;
    told_as(json, &object, "deleted", "deleted; its log-ons have ended")
}

fn told(json: bool, object: &Object, what: &str) -> Result<(), AdminError> {
    told_as(json, object, "ended", what)
}

fn told_as(json: bool, object: &Object, done: &str, what: &str) -> Result<(), AdminError> {
    let noun = object.noun();
    print(&if json { format!("{}\n", json!({ noun: done })) } else { format!("{noun}: {what}\n") })
}

/// One line for each value, named by its path.
fn flatten(path: &str, value: &Value, lines: &mut Vec<(String, String)>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let dot = if path.is_empty() { "" } else { "." };
                match member.as_u64().filter(|_| TIMES.contains(&&**name)) {
                    Some(seconds) => lines.push((format!("{path}{dot}{name}"), time(seconds))),
                    None => flatten(&format!("{path}{dot}{name}"), member, lines),
                }
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                flatten(&format!("{path}[{index}]"), value, lines);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            lines.push((path.to_owned(), text_of(value)));
        }
    }
}

/// Seconds since the Unix epoch as date and time.
fn time(seconds: u64) -> String {
    serde_json::to_value(Timestamp::from_secs(seconds))
        .map_or_else(|_| seconds.to_string(), |time| text_of(&time))
}

/// Prints text of other systems' making: what would steer a terminal is left out.
pub(super) fn print(text: &str) -> Result<(), AdminError> {
    let mut out = io::stdout().lock();
    out.write_all(printable(text).as_bytes()).and_then(|()| out.flush()).map_err(AdminError::Print)
}
