//! CSC-17 as its client: asks the configuration management servers of other systems (`MIG-7`).
//!
//! One attempt for each request of the role, which knows what a repeat means. What is no answer of the
//! interface, such as a proxy's error page, is none.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
};

use super::{
    config,
    csc17::{ACCESS_PATH, name_of, refusal_of},
    http::{Ends, PROBLEM_JSON, PROBLEM_TYPES},
    http_client::{self, Connection, Endpoint, HttpError},
    metrics::{PartnerId, PartnerRequest},
    perform::{Call, Caller, Names, Shared},
    worker::Worker,
};
use crate::{
    api::{
        connection_details::SIP_CORE_ADDRESSES_MAX,
        system_access::{self, Access, Answer},
    },
    identity::McSystemId,
    outbox::{RequestId, SystemAccessReply, Undeliverable},
    step::Step,
    token::BearerToken,
};

/// Most requests to one partner that wait for an answer; one more is not sent.
pub const PARTNER_REQUESTS_MAX: usize = 256;

/// Most connections to one partner that are kept while nothing is to be asked.
const IDLE_CONNECTIONS_MAX: usize = 32;

/// How long a connection is kept while nothing is to be asked: less than the server keeps it, so that a
/// request does not meet its end.
const IDLE_TIME_MAX: Duration = Duration::from_secs(30);

/// The partners of a system.
pub(super) struct Partners {
    by_id: BTreeMap<McSystemId, Arc<Partner>>,
    timeout: Duration,
}

/// One partner, and the connections to it that are free.
struct Partner {
    id: McSystemId,
    /// What ladders call its configuration server.
    name: Arc<str>,
    endpoint: Endpoint,
    token: BearerToken,
    room: Arc<Semaphore>,
    idle: Mutex<Vec<(Instant, Connection)>>,
}

/// Why there is no answer.
#[derive(Debug)]
enum Failure {
    /// None came.
    Http(HttpError),
    /// What came is no answer of the interface.
    NoAnswer(StatusCode),
}

impl Partners {
    /// Takes the partners of a configuration.
    pub(super) fn new(config: &config::ConfigServer) -> Self {
        let partners = config.partners.iter();
        let partners = partners.map(|it| (it.id.clone(), Arc::new(Partner::new(it))));
        Self { by_id: partners.collect(), timeout: config.access_timeout }
    }

    /// What ladders call the configuration server of a system, if it is a partner.
    pub(super) fn name(&self, id: &McSystemId) -> Option<Arc<str>> {
        self.by_id.get(id).map(|partner| Arc::clone(&partner.name))
    }
}

impl Partner {
    fn new(config: &config::Partner) -> Self {
        Self {
            id: config.id.clone(),
            name: Names::of_config_server(&config.id),
            endpoint: config.url.clone(),
            token: config.send_token.clone(),
            room: Arc::new(Semaphore::new(PARTNER_REQUESTS_MAX)),
            idle: Mutex::default(),
        }
    }

    /// A connection that is free, the youngest one first; older ones may end in peace.
    fn free(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(since, connection)| since.elapsed() < IDLE_TIME_MAX && connection.is_ready());
        idle.pop().map(|(_, connection)| connection)
    }

    fn give_back(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_CONNECTIONS_MAX {
            idle.push((Instant::now(), connection));
        }
    }
}

impl Failure {
    /// The label of metrics.
    const fn label(&self) -> &'static str {
        match self {
            Self::Http(HttpError::Unreachable(_)) => "unreachable",
            Self::Http(HttpError::TooLate) => "late",
            Self::Http(HttpError::Broken(_)) => "broken-off",
            Self::Http(HttpError::TooLong) => "too-long",
            Self::Http(HttpError::Malformed(_)) => "malformed",
            Self::NoAnswer(_) => "not-of-the-interface",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(error) => error.fmt(f),
            Self::NoAnswer(status) => write!(f, "does not speak CSC-17 (status {status})"),
        }
    }
}

/// Asks the partner `to` for access; the answer comes back as a call.
///
/// # Errors
///
/// [`Undeliverable`] if there is no such partner or too many requests to it wait.
pub(super) fn ask(
    shared: &Arc<Shared>,
    worker: &Arc<Worker>,
    step: Option<Step>,
    to: &McSystemId,
    id: RequestId,
    request: system_access::Request,
) -> Result<(), Undeliverable> {
    let partner = shared.partners.by_id.get(to).ok_or(Undeliverable)?;
    let room = Arc::clone(&partner.room).try_acquire_owned().map_err(|_| {
        shared.metrics.drop_one("partner_requests_full");
        Undeliverable
    })?;
    // Without one the system is not running yet, or not any more.
    let runtime = Handle::try_current().map_err(|_| Undeliverable)?;
    let (shared, worker, partner) = (Arc::clone(shared), Arc::clone(worker), Arc::clone(partner));
    runtime.spawn(async move {
        let outcome = exchange(&shared, &partner, step, &request, room).await;
        shared.count_partner_request(&partner.id, &outcome);
        let outcome = outcome.map_err(|_| Undeliverable);
        let reply = SystemAccessReply { id, outcome };
        Caller::new(&shared, &worker).call(Call::SystemAccessReply(reply));
    });
    Ok(())
}

async fn exchange(
    shared: &Shared,
    partner: &Partner,
    step: Option<Step>,
    request: &system_access::Request,
    _room: OwnedSemaphorePermit,
) -> Result<Answer, Failure> {
    let posted = tokio::time::timeout(shared.partners.timeout, async {
        if let Some(connection) = partner.free() {
            match post(shared, partner, step, request, connection).await {
                Err(error) if error.is_unsent() => {}
                posted => return posted,
            }
        }
        let connection = Connection::open(&partner.endpoint).await?;
        post(shared, partner, step, request, connection).await
    });
    let answer = posted.await.unwrap_or(Err(HttpError::TooLate)).map_err(Failure::Http)?;
    parse_answer(&answer).ok_or(Failure::NoAnswer(answer.status))
}

async fn post(
    shared: &Shared,
    partner: &Partner,
    step: Option<Step>,
    request: &system_access::Request,
    mut connection: Connection,
) -> Result<http_client::Answer, HttpError> {
    // All of it serializes: there is no map and no number that JSON does not have.
    let content = serde_json::to_vec(request).unwrap_or_default();
    let ends = Ends { local: connection.local, remote: connection.remote };
    shared.observe_access_request(step, Arc::clone(&partner.name), ends, content.len());
    let answer = connection.post(ACCESS_PATH, Some(&partner.token), content.into()).await?;
    partner.give_back(connection);
    Ok(answer)
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
            tracing::warn!(system = %self.config.system.name, %partner, %failure, "a partner did not answer");
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
