//! The interface between ACM servers as its client: asks the ACM servers of other systems (`XCFG-3`, `XCFG-5`,
//! `XCFG-12`, `GRP-3`, `GRP-10`, `UPD-3`, `UPD-4`, `UPD-8`).
//!
//! One attempt for each request of the role, which sends again. What is no answer of the interface, such as a proxy's
//! error page, is none. What failed here, and not at the partner, is told apart: of the partner it says nothing.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use axum::http::StatusCode;
use bytes::Bytes;
use tokio::runtime::Handle;

use super::{
    body::{LONG_BODIES_SHARE, SHORT_OCTETS_MAX},
    partner::INTERCONNECTION_PATH,
};
use crate::{
    api::acm_interconnection::{Answer, Refusal, Request, ResultCode, TEXT_OCTETS_MAX},
    identity::{McServiceGroupId, McServiceId, McSystemId},
    node::{
        config,
        http::{PROBLEM_JSON, PROBLEM_TYPES},
        http_client::{self, HttpError},
        metrics::{PartnerId, PartnerRequest},
        names::Names,
        observe::SECURITY,
        partner_link::{PartnerLink, SLOW},
        perform::{Call, Caller, Shared},
        places::Places,
        tls::Tls,
        worker::Worker,
    },
    outbox::{AcmReply, RequestId, Role, Undeliverable},
    step::Step,
};

/// Most requests to one partner that wait for an answer; one more is not sent now.
pub const PARTNER_REQUESTS_MAX: usize = 32;

/// Most of them that are requests of one user of this system, or answers of the server itself.
const PARTNER_REQUESTS_SHARE: usize = PARTNER_REQUESTS_MAX / 2;

/// Most of them that are long: as many as a partner takes in at a time.
pub const LONG_REQUESTS_MAX: usize = LONG_BODIES_SHARE;

/// Most long ones that are requests of one user of this system.
const LONG_REQUESTS_SHARE: usize = LONG_REQUESTS_MAX / 2;

/// The ways to the ACM servers of other systems.
pub(in crate::node) struct Links {
    by_id: BTreeMap<McSystemId, Arc<Link>>,
    timeout: Duration,
}

struct Link {
    way: PartnerLink,
    /// Room for long requests, beside that for all.
    long: Places,
}

/// Why there is no answer.
#[derive(Debug)]
enum Failure {
    /// None came.
    Http(HttpError),
    /// What came is no answer of the interface.
    NoAnswer(StatusCode),
    /// The partner cannot now.
    Unavailable,
    /// The request did not come to its end in the partner's time.
    Slow,
}

impl Links {
    /// Takes the partners of a configuration.
    pub(in crate::node) fn new(config: &config::Acm, tls: Option<&Arc<Tls>>) -> Self {
        let link_to = |link: &config::AcmLink| Link {
            way: PartnerLink::new(
                (link.id.clone(), Names::of_acm_server(&link.id)),
                link.url.clone(),
                link.send_token.clone(),
                tls,
                Places::new(PARTNER_REQUESTS_MAX, PARTNER_REQUESTS_SHARE),
            ),
            long: Places::new(LONG_REQUESTS_MAX, LONG_REQUESTS_SHARE),
        };
        let links = config.links.iter().map(|link| (link.id.clone(), Arc::new(link_to(link))));
        Self { by_id: links.collect(), timeout: config.server.answer_timeout }
    }

    /// What ladders call the ACM server of a system, if it is a partner.
    pub(super) fn name(&self, id: &McSystemId) -> Option<Arc<str>> {
        self.by_id.get(id).map(|link| Arc::clone(&link.way.name))
    }
}

impl Failure {
    /// The label of metrics.
    const fn label(&self) -> &'static str {
        match self {
            Self::Http(error) => error.label(),
            Self::NoAnswer(_) => "not-of-the-interface",
            Self::Unavailable => "unavailable",
            Self::Slow => "slow",
        }
    }

    /// Whether this system is to blame, or the way from it, and not the partner.
    fn is_ours(&self) -> bool {
        match self {
            Self::Http(error) => error.is_ours(),
            Self::Slow => true,
            Self::NoAnswer(_) | Self::Unavailable => false,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(error) => error.fmt(f),
            Self::NoAnswer(status) => {
                write!(f, "does not speak as ACM servers do (status {status})")
            }
            Self::Unavailable => f.write_str("cannot take requests now"),
            Self::Slow => f.write_str(SLOW),
        }
    }
}

/// Sends a request to the ACM server of the partner `to`; what comes of it comes back as a call. Returns the call if
/// nothing is sent: there is no such partner, or too many requests to it wait.
pub(in crate::node) fn ask(
    shared: &Arc<Shared>,
    worker: &Arc<Worker>,
    step: Option<Step>,
    to: &McSystemId,
    id: RequestId,
    request: Request,
) -> Option<Call<'static>> {
    let Some(link) = shared.acm_links.by_id.get(to) else {
        return Some(Call::AcmReply(AcmReply { id, outcome: Err(Undeliverable) }));
    };
    let holder = holder_of(&request);
    let room = link.way.take_room(holder);
    let long = if is_long(&request) { link.long.take(holder).map(Some) } else { Some(None) };
    let (Some(room), Some(long)) = (room, long) else {
        shared.metrics.drop_one("acm_partner_requests_full");
        return Some(Call::AcmUnsent(id));
    };
    // Without one the system is not running yet, or not any more.
    let Ok(runtime) = Handle::try_current() else { return Some(Call::AcmUnsent(id)) };
    let (shared, worker, link) = (Arc::clone(shared), Arc::clone(worker), Arc::clone(link));
    runtime.spawn(async move {
        let outcome = exchange(&shared, &link.way, step, request).await;
        drop((room, long));
        shared.count_acm_request(&link.way.id, &outcome);
        Caller::new(&shared, &worker).call(match outcome {
            Err(failure) if failure.is_ours() => Call::AcmUnsent(id),
            outcome => {
                let outcome = outcome.map_err(|_| Undeliverable);
                Call::AcmReply(AcmReply { id, outcome })
            }
        });
    });
    None
}

/// Whose share of the room a request takes: its user's, or that of the server itself.
fn holder_of(request: &Request) -> &str {
    match request {
        Request::Submit(submission) => submission.envelope.originator.as_str(),
        Request::Cancel(cancellation) => cancellation.envelope.originator.as_str(),
        Request::Decided(_) | Request::Pending(_) => "",
    }
}

/// Whether a request is long: it is about so many.
fn is_long(request: &Request) -> bool {
    let Request::Submit(submission) = request else { return false };
    let users = submission.payload.users().iter().map(McServiceId::as_str);
    let groups = submission.payload.groups().iter().map(McServiceGroupId::as_str);
    let octets: usize = users.chain(groups).map(|name| name.len() + "\"\",".len()).sum();
    octets > SHORT_OCTETS_MAX / 2
}

async fn exchange(
    shared: &Shared,
    link: &PartnerLink,
    step: Option<Step>,
    request: Request,
) -> Result<Answer, Failure> {
    // A request may be about many, and this thread has others to serve. All of it serializes: there is no map and no
    // number that JSON does not have.
    let written = tokio::task::spawn_blocking(move || serde_json::to_vec(&request));
    let content: Bytes = written.await.ok().and_then(Result::ok).unwrap_or_default().into();
    let octets = content.len();
    let leaves = |ends| {
        let (by, to) = ((step, Role::Acm), Arc::clone(&link.name));
        shared.observe_partner_request(by, to, ends, INTERCONNECTION_PATH, octets);
    };
    let posted = link.post(INTERCONNECTION_PATH, content, shared.acm_links.timeout, leaves);
    parse_answer(&posted.await.map_err(Failure::Http)?)
}

/// What a response means.
fn parse_answer(answer: &http_client::Answer) -> Result<Answer, Failure> {
    #[derive(serde::Deserialize)]
    struct Problem {
        #[serde(rename = "type")]
        kind: String,
        #[serde(default)]
        detail: String,
    }

    let none = || Failure::NoAnswer(answer.status);
    // Whoever says so, a proxy too, has seen no whole request.
    if answer.status == StatusCode::REQUEST_TIMEOUT {
        return Err(Failure::Slow);
    }
    if answer.status == StatusCode::OK && answer.media_type == "application/json" {
        return serde_json::from_slice(&answer.body).map_err(|_| none());
    }
    let problem = Some(&answer.body).filter(|_| answer.media_type == PROBLEM_JSON);
    let problem: Option<Problem> = problem.and_then(|body| serde_json::from_slice(body).ok());
    let problem = problem.filter(|it| it.kind.starts_with(PROBLEM_TYPES)).ok_or_else(none)?;
    match answer.status {
        StatusCode::UNAUTHORIZED => Ok(Answer::NotAuthenticated),
        // It will say the same of a repeat: it is of another release, or has other limits.
        StatusCode::BAD_REQUEST
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNPROCESSABLE_ENTITY => {
            let mut text = problem.detail;
            while text.len() > TEXT_OCTETS_MAX {
                text.pop();
            }
            Ok(Answer::Refused(Refusal::new(ResultCode::InvalidData, &text)))
        }
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => Err(Failure::Unavailable),
        _ => Err(none()),
    }
}

impl Shared {
    fn count_acm_request(&self, partner: &McSystemId, outcome: &Result<Answer, Failure>) {
        let label = match outcome {
            Ok(Answer::Stored) => "stored",
            Ok(Answer::Pending) => "pending",
            Ok(Answer::Decided(_)) => "decided",
            Ok(Answer::Refused(_)) => "refused",
            Ok(Answer::NotAuthenticated) => "not-authenticated",
            Err(failure) => failure.label(),
        };
        let labels = PartnerRequest { partner: PartnerId(partner.clone()), outcome: label };
        self.metrics.acm_partner_requests.get_or_create(&labels).inc();
        if let Err(failure) = outcome
            && self.note_limit.admits(self.clock.now())
        {
            let system = &*self.config.system.name;
            if let Failure::Http(HttpError::Tls(reason)) = failure {
                tracing::warn!(target: SECURITY, system, %partner, reason, "no connection over TLS to the ACM server of a partner");
            } else {
                tracing::warn!(system, %partner, %failure, "the ACM server of a partner did not answer");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_an_answer_of_the_interface_is_taken_and_nothing_else() {
        let parse = |status, kind: &str, text: &str| {
            let parsed = parse_answer(&http_client::Answer {
                status: StatusCode::from_u16(status).unwrap(),
                media_type: kind.to_owned(),
                retry_after: None,
                body: text.to_owned().into(),
            });
            parsed.map_err(|failure| failure.label())
        };
        let problem = |name: &str| {
            format!(r#"{{"type": "urn:migcore:problem:{name}", "status": 1, "detail": "d"}}"#)
        };
        assert_eq!(parse(200, "application/json", "\"stored\""), Ok(Answer::Stored));
        assert_eq!(parse(200, "application/json", "\"pending\""), Ok(Answer::Pending));
        let of_problem = |status, name| parse(status, "application/problem+json", &problem(name));
        assert_eq!(of_problem(401, "not-authenticated"), Ok(Answer::NotAuthenticated));
        let invalid = Answer::Refused(Refusal::new(ResultCode::InvalidData, "d"));
        for (status, name) in
            [(400, "invalid-request"), (413, "too-long"), (422, "invalid-request")]
        {
            assert_eq!(of_problem(status, name), Ok(invalid.clone()), "{status}");
        }
        assert_eq!(of_problem(503, "busy"), Err("unavailable"));
        assert_eq!(of_problem(504, "no-answer"), Err("unavailable"));
        assert_eq!(of_problem(408, "request-timeout"), Err("slow"));
        assert_eq!(parse(408, "text/html", "by a proxy"), Err("slow"));
        for (status, kind, text) in [
            (200, "text/html", "\"stored\"".to_owned()),
            (200, "application/json", "\"something\"".to_owned()),
            (201, "application/json", "\"stored\"".to_owned()),
            (401, "text/html", problem("not-authenticated")),
            (401, "application/problem+json", r#"{"type": "about:blank"}"#.to_owned()),
            (422, "application/json", problem("invalid-request")),
            (500, "application/problem+json", problem("busy")),
        ] {
            assert_eq!(parse(status, kind, &text), Err("not-of-the-interface"), "{status} {text}");
        }
    }
}
