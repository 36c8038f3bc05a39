//! Bodies of requests to an ACM server. A transaction may be about so much that a body is long: one is read only if it
//! is known who sends it, only a few are held at a time, and they are parsed apart from what others wait for.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
};
use tokio::sync::OwnedSemaphorePermit;
use zeroize::Zeroizing;

use crate::{
    api::{acm_client::Begin, acm_interconnection::Request, acm_payload::PAYLOAD_OCTETS_MAX},
    node::{
        http::{self, JsonBody, Limits, Problem},
        park::{Answered, NoAnswer, Parked, Waiting},
        perform::{Call, Shared},
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

/// Long bodies that are held at a time.
pub const LONG_BODIES_MAX: usize = 16;

/// Longest body that is not long, octets.
const SHORT_OCTETS_MAX: usize = 65_536;

/// How long a client may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// When to ask again while [`LONG_BODIES_MAX`] are held, seconds.
const BUSY_RETRY_SECS: u32 = 5;

/// What has to be asked again after it is read.
pub(super) struct Read {
    /// There may be credentials in it.
    octets: Zeroizing<Vec<u8>>,
    /// Of a long body: one of those that are held.
    one: Option<OwnedSemaphorePermit>,
}

/// Reads a body of somebody who is known.
///
/// # Errors
///
/// 400, 408, 413, 415, or 503 while too many long ones are held.
pub(super) async fn read(
    shared: &Arc<Shared>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Read, Problem> {
    let declared = headers.get(header::CONTENT_LENGTH);
    let declared = declared.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let is_short = declared.is_some_and(|length| length <= SHORT_OCTETS_MAX);
    let one = if is_short {
        None
    } else {
        Some(Arc::clone(&shared.acm_bodies).try_acquire_owned().map_err(|_| busy(shared))?)
    };
    let limits =
        Limits { media_type: http::JSON, octets_max: BODY_OCTETS_MAX, timeout: BODY_TIMEOUT };
    Ok(Read { octets: http::read(headers, body, limits).await?.into(), one })
}

fn busy(shared: &Shared) -> Problem {
    shared.metrics.drop_one("acm_bodies_full");
    let what = format!("{LONG_BODIES_MAX} long requests are being taken in");
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", what, "send it again");
    problem.retry_after(BUSY_RETRY_SECS)
}

/// Parses what was read, makes the call that `call` makes of it, and waits for the answer.
///
/// # Errors
///
/// 400 or 422 for what is no such body; 503 or 504 without an answer.
pub(super) async fn ask<T: JsonBody + 'static, A: Send + 'static>(
    shared: &Arc<Shared>,
    park: fn(Waiting<A>) -> Parked,
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
pub(super) fn help(field: &str) -> Option<&'static str> {
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
