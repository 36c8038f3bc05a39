//! The interface between ACM servers as its client: asks the ACM servers of other systems (`XCFG-3`, `XCFG-5`,
//! `XCFG-12`, `GRP-3`, `GRP-10`, `UPD-3`, `UPD-4`, `UPD-8`).
//!
//! One attempt for each request of the role, which sends again. What is no answer of the interface, such as a proxy's
//! error page, is none.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use axum::http::StatusCode;
use bytes::Bytes;
use tokio::runtime::Handle;

use super::partner::INTERCONNECTION_PATH;
use crate::{
    api::acm_interconnection::{Answer, Refusal, Request, ResultCode, TEXT_OCTETS_MAX},
    identity::McSystemId,
    node::{
        config,
        http::{PROBLEM_JSON, PROBLEM_TYPES},
        http_client::{self, HttpError},
        metrics::{PartnerId, PartnerRequest},
        names::Names,
        partner_link::PartnerLink,
        perform::{Call, Caller, Shared},
        worker::Worker,
    },
    outbox::{AcmReply, RequestId, Role, Undeliverable},
    step::Step,
};

/// Most requests to one partner that wait for an answer; one more is not sent now.
pub const PARTNER_REQUESTS_MAX: usize = 32;

/// The ways to the ACM servers of other systems.
pub(in crate::node) struct Links {
    by_id: BTreeMap<McSystemId, Arc<PartnerLink>>,
    timeout: Duration,
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
}

impl Links {
    /// Takes the partners of a configuration.
    pub(in crate::node) fn new(config: &config::Acm) -> Self {
        let link_to = |link: &config::AcmLink| {
            PartnerLink::new(
                link.id.clone(),
                Names::of_acm_server(&link.id),
                link.url.clone(),
                link.send_token.clone(),
                PARTNER_REQUESTS_MAX,
            )
        };
        let links = config.links.iter().map(|link| (link.id.clone(), Arc::new(link_to(link))));
        Self { by_id: links.collect(), timeout: config.server.answer_timeout }
    }

    /// What ladders call the ACM server of a system, if it is a partner.
    pub(super) fn name(&self, id: &McSystemId) -> Option<Arc<str>> {
        self.by_id.get(id).map(|link| Arc::clone(&link.name))
    }
}

impl Failure {
    /// The label of metrics.
    const fn label(&self) -> &'static str {
        match self {
            Self::Http(error) => error.label(),
            Self::NoAnswer(_) => "not-of-the-interface",
            Self::Unavailable => "unavailable",
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
        }
    }
}

/// Sends a request to the ACM server of the partner `to`; the answer comes back as a call.
///
/// # Errors
///
/// [`Undeliverable`] if there is no such partner or too many requests to it wait.
pub(in crate::node) fn ask(
    shared: &Arc<Shared>,
    worker: &Arc<Worker>,
    step: Option<Step>,
    to: &McSystemId,
    id: RequestId,
    request: Request,
) -> Result<(), Undeliverable> {
    let link = shared.acm_links.by_id.get(to).ok_or(Undeliverable)?;
    let room = link.take_room().ok_or_else(|| {
        shared.metrics.drop_one("acm_partner_requests_full");
        Undeliverable
    })?;
    // Without one the system is not running yet, or not any more.
    let runtime = Handle::try_current().map_err(|_| Undeliverable)?;
    let (shared, worker, link) = (Arc::clone(shared), Arc::clone(worker), Arc::clone(link));
    runtime.spawn(async move {
        let outcome = exchange(&shared, &link, step, request).await;
        drop(room);
        shared.count_acm_request(&link.id, &outcome);
        let outcome = outcome.map_err(|_| Undeliverable);
        Caller::new(&shared, &worker).call(Call::AcmReply(AcmReply { id, outcome }));
    });
    Ok(())
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
            tracing::warn!(system = %self.config.system.name, %partner, %failure, "the ACM server of a partner did not answer");
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
