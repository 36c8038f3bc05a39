//! CSC-17 as its client: asks the configuration management servers of other systems (`MIG-7`).
//!
//! One attempt for each request of the role, which knows what a repeat means. What is no answer of the
//! interface, such as a proxy's error page, is none.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use axum::http::StatusCode;
use tokio::runtime::Handle;

use super::{
    config,
    csc17::{ACCESS_PATH, name_of, refusal_of},
    http::{PROBLEM_JSON, PROBLEM_TYPES},
    http_client::{self, HttpError},
    metrics::{PartnerId, PartnerRequest},
    names::Names,
    observe::SECURITY,
    partner_link::{PartnerLink, SLOW},
    perform::{Call, Caller, Shared},
    places::{Place, Places},
    tls::Tls,
    worker::Worker,
};
use crate::{
    api::{
        connection_details::SIP_CORE_ADDRESSES_MAX,
        system_access::{self, Access, Answer},
    },
    identity::McSystemId,
    outbox::{RequestId, Role, SystemAccessReply, Undeliverable},
    step::Step,
};

/// Most requests to one partner that wait for an answer; one more is not sent.
pub const PARTNER_REQUESTS_MAX: usize = 256;

/// The partners of a system.
pub(super) struct Partners {
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
    /// The request did not come to its end in the partner's time.
    Slow,
}

impl Partners {
    /// Takes the partners of a configuration.
    pub(super) fn new(config: &config::ConfigServer, tls: Option<&Arc<Tls>>) -> Self {
        let partners = config.partners.iter();
        let partners = partners.map(|it| (it.id.clone(), Arc::new(link_to(it, tls))));
        Self { by_id: partners.collect(), timeout: config.access_timeout }
    }

    /// What ladders call the configuration server of a system, if it is a partner.
    pub(super) fn name(&self, id: &McSystemId) -> Option<Arc<str>> {
        self.by_id.get(id).map(|partner| Arc::clone(&partner.name))
    }
}

fn link_to(config: &config::Partner, tls: Option<&Arc<Tls>>) -> PartnerLink {
    PartnerLink::new(
        (config.id.clone(), Names::of_config_server(&config.id)),
        config.url.clone(),
        config.send_token.clone(),
        tls,
        // Whoever asks: there are no shares.
        Places::new(PARTNER_REQUESTS_MAX, PARTNER_REQUESTS_MAX),
    )
}

impl Failure {
    /// The label of metrics.
    const fn label(&self) -> &'static str {
        match self {
            Self::Http(error) => error.label(),
            Self::NoAnswer(_) => "not-of-the-interface",
            Self::Slow => "slow",
        }
    }

    /// Whether this system is to blame, or the way from it, and not the partner.
    fn is_ours(&self) -> bool {
        match self {
            Self::Http(error) => error.is_ours(),
            Self::Slow => true,
            Self::NoAnswer(_) => false,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(error) => error.fmt(f),
            Self::NoAnswer(status) => write!(f, "does not speak CSC-17 (status {status})"),
            Self::Slow => f.write_str(SLOW),
        }
    }
}

/// Asks the partner `to` for access; what comes of it comes back as a call. Returns the call if nothing is sent: there is
/// no such partner, or too many requests to it wait.
pub(super) fn ask(
    shared: &Arc<Shared>,
    worker: &Arc<Worker>,
    step: Option<Step>,
    to: &McSystemId,
    id: RequestId,
    request: system_access::Request,
) -> Option<Call<'static>> {
    let Some(partner) = shared.partners.by_id.get(to) else {
        let reply = SystemAccessReply { id, outcome: Err(Undeliverable) };
        return Some(Call::SystemAccessReply(reply));
    };
    let Some(room) = partner.take_room(request.mc_service_id.as_str()) else {
        shared.metrics.drop_one("partner_requests_full");
        return Some(Call::SystemAccessUnsent(id));
    };
    // Without one the system is not running yet, or not any more.
    let Ok(runtime) = Handle::try_current() else { return Some(Call::SystemAccessUnsent(id)) };
    let (shared, worker, partner) = (Arc::clone(shared), Arc::clone(worker), Arc::clone(partner));
    runtime.spawn(async move {
        let outcome = exchange(&shared, &partner, step, &request, room).await;
        shared.count_partner_request(&partner.id, &outcome);
        Caller::new(&shared, &worker).call(match outcome {
            Err(failure) if failure.is_ours() => Call::SystemAccessUnsent(id),
            outcome => {
                let outcome = outcome.map_err(|_| Undeliverable);
                Call::SystemAccessReply(SystemAccessReply { id, outcome })
            }
        });
    });
    None
}

async fn exchange(
    shared: &Shared,
    partner: &PartnerLink,
    step: Option<Step>,
    request: &system_access::Request,
    _room: Place,
) -> Result<Answer, Failure> {
    // All of it serializes: there is no map and no number that JSON does not have.
    let content = serde_json::to_vec(request).unwrap_or_default();
    let octets = content.len();
    let leaves = |ends| {
        let (by, to) = ((step, Role::ConfigServer), Arc::clone(&partner.name));
        shared.observe_partner_request(by, to, ends, ACCESS_PATH, octets);
    };
    let timeout = shared.partners.timeout;
    let posted = partner.post(ACCESS_PATH, content.into(), timeout, leaves);
    let answer = posted.await.map_err(Failure::Http)?;
    if answer.status == StatusCode::REQUEST_TIMEOUT {
        return Err(Failure::Slow);
    }
    parse_answer(&answer).ok_or(Failure::NoAnswer(answer.status))
}

/// What a response means; `None` if it is none of the interface.
fn parse_answer(answer: &http_client::Answer) -> Option<Answer> {
    #[derive(serde::Deserialize)]
    struct Problem {
        #[serde(rename = "type")]
        kind: String,
    }

    if answer.status == StatusCode::OK && answer.media_type == "application/json" {
        let access: Access = serde_json::from_slice(&answer.body).ok()?;
        let addresses = access.configuration.as_ref().map_or(0, |it| it.sip_core.len());
        return (addresses <= SIP_CORE_ADDRESSES_MAX).then(|| Answer::Granted(Box::new(access)));
    }
    if answer.media_type != PROBLEM_JSON {
        return None;
    }
    let problem: Problem = serde_json::from_slice(&answer.body).ok()?;
    let name = problem.kind.strip_prefix(PROBLEM_TYPES)?;
    refusal_of(answer.status, name).map(Answer::Refused)
}

impl Shared {
    fn count_partner_request(&self, partner: &McSystemId, outcome: &Result<Answer, Failure>) {
        let label = match outcome {
            Ok(Answer::Granted(_)) => "granted",
            Ok(Answer::Refused(refusal)) => name_of(*refusal),
            Err(failure) => failure.label(),
        };
        let labels = PartnerRequest { partner: PartnerId(partner.clone()), outcome: label };
        self.metrics.partner_requests.get_or_create(&labels).inc();
        if let Err(failure) = outcome
            && self.note_limit.admits(self.clock.now())
        {
            let system = &*self.config.system.name;
            if let Failure::Http(HttpError::Tls(reason)) = failure {
                tracing::warn!(target: SECURITY, system, %partner, reason, "no connection over TLS to a partner");
            } else {
                tracing::warn!(system, %partner, %failure, "a partner did not answer");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::system_access::Refusal;

    const ACCESS: &str =
        r#"{"identity": {"impi": "m@b.example", "impu": "sip:m@b.example"}, "valid_until": 7}"#;

    fn problem(name: &str) -> String {
        format!(r#"{{"type": "urn:migcore:problem:{name}", "status": 1}}"#)
    }

    #[test]
    fn what_is_an_answer_of_the_interface_is_taken_and_nothing_else() {
        let parse = |status, kind: &str, text: &str| {
            parse_answer(&http_client::Answer {
                status: StatusCode::from_u16(status).unwrap(),
                media_type: kind.to_owned(),
                retry_after: None,
                body: text.to_owned().into(),
            })
        };
        let granted = parse(200, "application/json", ACCESS);
        assert!(matches!(granted, Some(Answer::Granted(_))), "{granted:?}");
        for (status, name, refusal) in [
            (401, "not-authenticated", Refusal::NotAuthenticated),
            (403, "wrong-system", Refusal::WrongSystem),
            (403, "not-authorised", Refusal::NotAuthorised),
            (503, "exhausted", Refusal::Exhausted),
            (503, "unavailable", Refusal::Unavailable),
        ] {
            let answer = parse(status, "application/problem+json", &problem(name));
            assert_eq!(answer, Some(Answer::Refused(refusal)), "{name}");
        }
        for status in [400, 422] {
            let answer = parse(status, "application/problem+json", &problem("invalid-request"));
            assert!(matches!(answer, Some(Answer::Refused(Refusal::Invalid(_)))), "{answer:?}");
        }
        for (status, kind, text) in [
            (200, "text/html", ACCESS.to_owned()),
            (200, "application/json", "{}".to_owned()),
            (200, "application/json", problem("exhausted")),
            (201, "application/json", ACCESS.to_owned()),
            (503, "text/html", problem("exhausted")),
            (500, "application/problem+json", problem("not-authorised")),
            (503, "application/problem+json", problem("something-else")),
            (503, "application/problem+json", r#"{"type": "about:blank"}"#.to_owned()),
            (504, "application/problem+json", problem("no-answer")),
            (403, "application/problem+json", "not-authorised".to_owned()),
        ] {
            assert_eq!(parse(status, kind, &text), None, "{status} {kind} {text}");
        }
    }
}
