//! Bodies of requests to an ACM server. A transaction may be about so much that a body is long: one is read only if it
//! is known who sends it, only a few are held at a time, of each sender its share, and they are parsed apart from what
//! others wait for.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
};
use zeroize::Zeroizing;

use crate::{
    api::{acm_client::Begin, acm_interconnection::Request, acm_payload::PAYLOAD_OCTETS_MAX},
    identity::{McServiceId, McSystemId},
    node::{
        http::{self, JsonBody, Limits, Problem},
        park::{Answered, NoAnswer, Parked, Waiting},
        perform::{Call, Shared},
        places::{Place, Places},
    },
    outbox::ReplyTo,
    ue_configuration::DOCUMENT_OCTETS_MAX,
};

/// Longest body of a request, octets.
pub const BODY_OCTETS_MAX: usize = 17 * 1_024 * 1_024;

const _: () = assert!(
    PAYLOAD_OCTETS_MAX + (6 * DOCUMENT_OCTETS_MAX + 65_536) as u64 <= BODY_OCTETS_MAX as u64,
    "the longest payload with the longest document in it, each octet of that escaped, and the rest"
);

/// Long bodies of partners that are held at a time, and as many of users.
pub const LONG_BODIES_MAX: usize = 8;

/// Long bodies of one partner or of one user that are held at a time.
pub const LONG_BODIES_SHARE: usize = 2;

/// Longest body that is not long, octets.
pub(super) const SHORT_OCTETS_MAX: usize = 65_536;

/// How long a client may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// When to ask again while too many are held, seconds.
const BUSY_RETRY_SECS: u32 = 5;

/// Places for the long bodies that are held.
pub(in crate::node) struct LongBodies {
    of_partners: Places,
    of_users: Places,
}

/// Who sends a body: by MC system ID or MC service ID.
#[derive(Clone, Copy)]
pub(super) enum Sender<'a> {
    Partner(&'a McSystemId),
    User(&'a McServiceId),
}

impl LongBodies {
    pub(in crate::node) fn new() -> Self {
        let places = || Places::new(LONG_BODIES_MAX, LONG_BODIES_SHARE);
        Self { of_partners: places(), of_users: places() }
    }

    fn take(&self, sender: Sender<'_>) -> Option<Place> {
        match sender {
            Sender::Partner(id) => self.of_partners.take(id.as_str()),
            Sender::User(id) => self.of_users.take(id.as_str()),
        }
    }
}

/// What has to be asked again after it is read.
pub(super) struct Read {
    /// There may be credentials in it.
    octets: Zeroizing<Vec<u8>>,
    /// Of a long body: one of those that are held.
    one: Option<Place>,
}

/// Reads a body of somebody who is known.
///
/// # Errors
///
/// 400, 408, 413, 415, or 503 while too many long ones are held, of this sender or of all.
pub(super) async fn read(
    shared: &Arc<Shared>,
    sender: Sender<'_>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Read, Problem> {
    let declared = headers.get(header::CONTENT_LENGTH);
    let declared = declared.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let is_short = declared.is_some_and(|length| length <= SHORT_OCTETS_MAX);
    let one = if is_short {
        None
    } else {
        Some(shared.acm_bodies.take(sender).ok_or_else(|| busy(shared))?)
    };
    let limits =
        Limits { media_type: http::JSON, octets_max: BODY_OCTETS_MAX, timeout: BODY_TIMEOUT };
    Ok(Read { octets: http::read(headers, body, limits).await?.into(), one })
}

fn busy(shared: &Shared) -> Problem {
    shared.metrics.drop_one("acm_bodies_full");
    let what = format!(
        "{LONG_BODIES_SHARE} long requests of this sender are being taken in, or {LONG_BODIES_MAX} of all"
    );
    let fix = "send it again when they are answered";
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", what, fix);
    problem.retry_after(BUSY_RETRY_SECS)
}

/// Parses what was read, makes the call that `call` makes of it, and waits for the answer.
///
/// # Errors
///
/// 400 or 422 for what is no such body; 503 or 504 without an answer.
pub(super) async fn ask<T: JsonBody + 'static, A: Send + 'static>(
    shared: &Arc<Shared>,
    park: impl FnOnce(Waiting<A>) -> Parked,
    Read { octets, one }: Read,
    call: impl FnOnce(ReplyTo, T) -> Call<'static> + Send + 'static,
) -> Result<Answered<A>, Problem> {
    let Some(one) = one else {
        let body = http::parse(&octets)?;
        let asked = shared.ask(park, |to| call(to, body)).await;
        return asked.map_err(|none: NoAnswer| none.into());
    };
    let prepare = move |to| Ok(call(to, http::parse(&octets)?));
    shared.ask_apart(park, one, prepare).await
}

impl JsonBody for Request {
    const OCTETS_MAX: usize = BODY_OCTETS_MAX;

    fn help(field: &str) -> Option<&'static str> {
        help(field)
    }
}

impl JsonBody for Begin {
    const OCTETS_MAX: usize = BODY_OCTETS_MAX;

    fn help(field: &str) -> Option<&'static str> {
        help(field)
    }
}

/// What to write in a field.
pub(in crate::node) fn help(field: &str) -> Option<&'static str> {
    Some(match field {
        "transaction" => "write a UUID, such as \"3f0c2f3e-7a41-4c52-9d0e-5a1b2c3d4e5f\"",
        "origin" | "destination" | "system" => "write an MC system ID, such as \"sip:b.example\"",
        "originator" | "target_id" | "handler_id" => {
            "write an MC service ID, such as \"sip:alice@a.example\""
        }
        "users" => "write MC service IDs, such as [\"sip:alice@a.example\"]",
        "groups" | "groups-withdrawn" => {
            "write MC service group IDs, such as [\"sip:group@a.example\"]"
        }
        "alias" | "requester_alias" | "target_alias" | "handler_alias" => {
            "write a functional alias, such as \"sip:dispatcher@b.example\""
        }
        "created" | "expires" | "decided" => {
            "write a date and time of RFC 3339, such as \"2031-01-01T00:00:00Z\""
        }
        "digest" => "write the SHA-256 of the content as 64 hexadecimal digits",
        "revision" => "write a whole number that grows with each change",
        "payload" => {
            "write one of configuration, groups, update, add-users, remove-users, groups-withdrawn, please-send"
        }
        "decision" => "write \"accept\", or {\"reject\": {\"reason\": \"..\"}}",
        _ => return None,
    })
}
