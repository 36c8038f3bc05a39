//! CSC-17 as its client: asks the configuration management servers of other systems (`MIG-7`).
//!
//! One attempt for each request of the role, which knows what a repeat means. What is no answer of the
//! interface, such as a proxy's error page, is none.

use std::{collections::BTreeMap, fmt, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    body::{Body, to_bytes},
    http::{HeaderValue, Request, Response, StatusCode, Uri, header},
};
use bytes::Bytes;
use hyper_util::{
    client::legacy::{
        Client,
        connect::{CaptureConnection, HttpConnector, HttpInfo, capture_connection},
    },
    rt::{TokioExecutor, TokioTimer},
};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
};

use super::{
    config,
    csc17::{ACCESS_PATH, refusal_of},
    http::{self, Ends},
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

/// Longest answer that is read, octets: an initial UE configuration and the rest of C2.
pub const ANSWER_OCTETS_MAX: usize = 256 << 10;

/// Most connections to one partner that are kept while nothing is to be asked.
const IDLE_CONNECTIONS_MAX: usize = 32;

/// The media type of requests and of what is granted.
const JSON: &str = "application/json";

/// How long a connection is kept while nothing is to be asked: less than a server keeps it, so that a
/// request does not meet its end.
const IDLE_TIME_MAX: Duration = Duration::from_secs(4);

/// The partners of a system, and the connections to them.
pub(super) struct Partners {
    by_id: BTreeMap<McSystemId, Arc<Partner>>,
    http: Client<HttpConnector, Body>,
    timeout: Duration,
}

/// One partner.
struct Partner {
    id: McSystemId,
    /// What ladders call its configuration server.
    name: Arc<str>,
    uri: Uri,
    token: BearerToken,
    room: Arc<Semaphore>,
}

/// Why there is no answer; a label of metrics.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Failure {
    NotConnected,
    Late,
    Lost,
    TooLong,
    NoAnswer,
}

impl Partners {
    /// Takes the partners of a configuration.
    pub(super) fn new(config: &config::ConfigServer) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(config.access_timeout));
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME_MAX)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(connector);
        let partners = config
            .partners
            .iter()
            .filter_map(|partner| Some((partner.id.clone(), Arc::new(Partner::new(partner)?))));
        Self { by_id: partners.collect(), http, timeout: config.access_timeout }
    }

    /// What ladders call the configuration server of a system, if it is a partner.
    pub(super) fn name(&self, id: &McSystemId) -> Option<Arc<str>> {
        self.by_id.get(id).map(|partner| Arc::clone(&partner.name))
    }
}

impl Partner {
    /// `None` if its place is no URI, which the configuration has checked.
    fn new(config: &config::Partner) -> Option<Self> {
        Some(Self {
            id: config.id.clone(),
            name: Names::of_config_server(&config.id),
            uri: config.url.join(ACCESS_PATH).ok()?.as_str().parse().ok()?,
            token: config.send_token.clone(),
            room: Arc::new(Semaphore::new(PARTNER_REQUESTS_MAX)),
        })
    }

    fn request(&self, content: Bytes) -> Option<Request<Body>> {
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", self.token.expose())).ok()?;
        bearer.set_sensitive(true);
        Request::post(&self.uri)
            .header(header::AUTHORIZATION, bearer)
            .header(header::CONTENT_TYPE, JSON)
            .header(header::ACCEPT, "application/json, application/problem+json")
            .body(Body::from(content))
            .ok()
    }
}

impl Failure {
    const fn label(self) -> &'static str {
        match self {
            Self::NotConnected => "not-connected",
            Self::Late => "late",
            Self::Lost => "lost",
            Self::TooLong => "too-long",
            Self::NoAnswer => "no-answer-of-the-interface",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
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
    shared: &Arc<Shared>,
    partner: &Partner,
    step: Option<Step>,
    request: &system_access::Request,
    _room: OwnedSemaphorePermit,
) -> Result<Answer, Failure> {
    let content = serde_json::to_vec(request).map(Bytes::from).map_err(|_| Failure::NoAnswer)?;
    let length = content.len();
    let mut request = partner.request(content).ok_or(Failure::NotConnected)?;
    let mut connection = capture_connection(&mut request);
    let answered = async {
        let response = shared.partners.http.request(request).await.map_err(|error| {
            if error.is_connect() { Failure::NotConnected } else { Failure::Lost }
        })?;
        read_answer(response).await
    };
    let observed = async {
        let ends = ends_of(&mut connection).await;
        shared.observe_access_request(step, Arc::clone(&partner.name), ends, length);
        std::future::pending::<()>().await;
    };
    // In this order: the connection is known as soon as the first has chosen it, before octets leave.
    let both = async {
        tokio::select! {
            biased;
            answered = answered => answered,
            () = observed => Err(Failure::Lost),
        }
    };
    tokio::time::timeout(shared.partners.timeout, both).await.unwrap_or(Err(Failure::Late))
}

/// The addresses of the connection that a request goes by; does not return if it gets none.
async fn ends_of(connection: &mut CaptureConnection) -> Option<Ends> {
    let mut extras = axum::http::Extensions::new();
    let is_connected = match &*connection.wait_for_connection_metadata().await {
        Some(connected) => {
            connected.get_extras(&mut extras);
            true
        }
        None => false,
    };
    if !is_connected {
        return std::future::pending().await;
    }
    let info = extras.get::<HttpInfo>()?;
    let (local, remote): (SocketAddr, SocketAddr) = (info.local_addr(), info.remote_addr());
    Some(Ends { local: Some(local), remote: Some(remote) })
}

async fn read_answer<B>(response: Response<B>) -> Result<Answer, Failure>
where
    B: axum::body::HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    let (head, body) = response.into_parts();
    let octets = to_bytes(Body::new(body), ANSWER_OCTETS_MAX).await.map_err(|error| {
        // The limit's own error is inside; all others are the connection's.
        let is_limit =
            std::error::Error::source(&error).is_some_and(|it| it.to_string().contains("limit"));
        if is_limit { Failure::TooLong } else { Failure::Lost }
    })?;
    let kind = head.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    parse_answer(head.status, kind.unwrap_or_default(), &octets).ok_or(Failure::NoAnswer)
}

/// What a response means; `None` if it is none of the interface.
fn parse_answer(status: StatusCode, kind: &str, octets: &[u8]) -> Option<Answer> {
    #[derive(serde::Deserialize)]
    struct Problem<'a> {
        #[serde(borrow, rename = "type")]
        kind: std::borrow::Cow<'a, str>,
    }

    let kind = kind.split(';').next().unwrap_or_default().trim();
    if status == StatusCode::OK && kind.eq_ignore_ascii_case(JSON) {
        let access: Access = serde_json::from_slice(octets).ok()?;
        let addresses = access.configuration.as_ref().map_or(0, |it| it.sip_core.len());
        return (addresses <= SIP_CORE_ADDRESSES_MAX).then(|| Answer::Granted(Box::new(access)));
    }
    if !kind.eq_ignore_ascii_case(http::PROBLEM_JSON) {
        return None;
    }
    let problem: Problem<'_> = serde_json::from_slice(octets).ok()?;
    let name = problem.kind.strip_prefix(http::PROBLEM_TYPES)?;
    refusal_of(status, name).map(Answer::Refused)
}

impl Shared {
    fn count_partner_request(&self, partner: &McSystemId, outcome: &Result<Answer, Failure>) {
        let label = match outcome {
            Ok(Answer::Granted(_)) => "granted",
            Ok(Answer::Refused(refusal)) => super::csc17::name_of(*refusal),
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
            parse_answer(StatusCode::from_u16(status).unwrap(), kind, text.as_bytes())
        };
        let granted = parse(200, "application/json; charset=utf-8", ACCESS);
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
            let answer = parse(status, "Application/Problem+JSON", &problem("invalid-request"));
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

    #[tokio::test]
    async fn an_answer_that_is_too_long_is_not_read_to_its_end() {
        let octets = vec![b' '; ANSWER_OCTETS_MAX + 1];
        let response = Response::new(Body::from(octets));
        assert_eq!(read_answer(response).await, Err(Failure::TooLong));
    }
}
