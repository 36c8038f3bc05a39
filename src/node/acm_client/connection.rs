//! The client interface of an ACM server, from the client's side.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, header};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{access::Administrator, events::Events};
use crate::{
    api::{
        acm_client::{Begin, Decision, GroupPage, Item, PAGE_ITEMS_MAX, Page, Progress, SessionId},
        acm_interconnection::{Response, ResultCode, TransactionId, TransactionKey},
    },
    identity::{FunctionalAlias, McServiceGroupId, McServiceId, McSystemId},
    node::{
        acm::client::USER_HEADER,
        client::{cause, direct, directly},
        management::escape,
        tls::Trust,
    },
    token::BearerToken,
};

/// How long connecting may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// How long an ACM server may say nothing while events are read: it tells every 15 s or so that it is there.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// The client interface of one ACM server, in the name of one user.
#[derive(Clone, Debug)]
pub(in crate::node) struct AcmClient {
    http: reqwest::Client,
    trust: Trust,
    url: String,
    administrator: Administrator,
}

/// Why a request to an ACM server did not work.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// It cannot be reached, or does not speak HTTP.
    #[error(
        "the ACM server at {url} cannot be reached: {}; is it up, and is this its address for clients?",
        cause(error)
    )]
    Unreachable {
        /// The address as given.
        url: String,
        /// Why.
        error: reqwest::Error,
    },
    /// It answered what no ACM server does.
    #[error(
        "{url} did not answer as an ACM server does; is this its address for clients, and of the same release?"
    )]
    Unknown {
        /// The address as given.
        url: String,
    },
    /// It does not know the user by this token.
    #[error("{url} does not know {} by this token; is the user put there, and with the digest of this token?", user.as_str())]
    NotAuthenticated {
        /// The address as given.
        url: String,
        /// Who asked.
        user: McServiceId,
    },
    /// It refused.
    #[error("{url} refused to {what}: {}", refusal.words())]
    Refused {
        /// The address as given.
        url: String,
        /// What it was asked.
        what: &'static str,
        /// What it says.
        refusal: Box<Refused>,
    },
}

/// A problem that an ACM server tells of.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// The end of its type; empty if it has none.
    pub name: String,
    /// The result that it comes to, where it names one.
    pub code: Option<ResultCode>,
    /// What is wrong.
    pub detail: String,
    /// What to do.
    pub fix: String,
    /// The elements or identities that are wrong.
    pub elements: Vec<String>,
    /// Of what has been decided before: the outcome.
    pub outcome: Option<Response>,
}

impl ConnectionError {
    /// The result that a refusal names.
    pub fn code(&self) -> Option<ResultCode> {
        match self {
            Self::Refused { refusal, .. } => refusal.code,
            Self::Unreachable { .. } | Self::Unknown { .. } | Self::NotAuthenticated { .. } => None,
        }
    }

    /// Whether the same may work in a while.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { refusal, .. } => matches!(refusal.status, 502..=504),
            Self::Unknown { .. } | Self::NotAuthenticated { .. } => false,
        }
    }

    /// Whether what was asked may have been done all the same.
    pub(super) fn leaves_doubt(&self) -> bool {
        self.is_temporary() || matches!(self, Self::Unknown { .. })
    }

    /// Whether the arguments are to blame.
    pub(super) fn is_wrong_input(&self) -> bool {
        let Self::Refused { refusal, .. } = self else { return false };
        matches!(refusal.status, 400 | 413 | 422)
    }
}

impl Refused {
    fn words(&self) -> String {
        let name = self.code.map_or(&*self.name, |code| code.as_str());
        let name = if name.is_empty() { "HTTP" } else { name };
        let mut words = format!("{} {name}: {}", self.status, self.detail);
        if !self.elements.is_empty() {
            words = format!("{words} ({})", self.elements.join(", "));
        }
        if let Some(Response { handler_id, result, decided, .. }) = &self.outcome {
            let by = handler_id.as_ref().map_or("policy, or time", McServiceId::as_str);
            let result = super::command::name_of(result);
            words = format!("{words}: {result} by {by} at {}", decided.to_rfc3339());
        }
        if !self.fix.is_empty() {
            words = format!("{words}; {}", self.fix);
        }
        words
    }

    fn of(status: u16, problem: &Value) -> Self {
        let part =
            |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let detail = match part("detail") {
            detail if detail.is_empty() => "it does not say why".to_owned(),
            detail => detail,
        };
        Self {
            status,
            name: part("type").rsplit(':').next().unwrap_or_default().to_owned(),
            code: member(problem, "code"),
            detail,
            fix: part("fix"),
            elements: member(problem, "elements").unwrap_or_default(),
            outcome: member(problem, "outcome"),
        }
    }
}

/// A member of a problem, if it has it and it is one that this release knows.
fn member<T: DeserializeOwned>(problem: &Value, name: &str) -> Option<T> {
    T::deserialize(problem.get(name)?).ok()
}

impl AcmClient {
    pub(in crate::node) fn new(administrator: Administrator) -> Self {
        Self::trusting(administrator, &Trust::default())
    }

    /// The same; over https it believes `trust`.
    pub(in crate::node) fn trusting(administrator: Administrator, trust: &Trust) -> Self {
        let url = administrator.server.to_string();
        Self { http: direct(trust), trust: trust.clone(), url, administrator }
    }

    /// The same client, presenting another token.
    pub(in crate::node) fn presenting_token(mut self, token: BearerToken) -> Self {
        self.administrator.token = token;
        self
    }

    /// Logs on.
    pub(in crate::node) async fn log_on(&self) -> Result<SessionId, ConnectionError> {
        let path = "/acm/v1/sessions";
        let answer: Value = self.ask("log on", Method::POST, path, None::<&()>).await?;
        member(&answer, "session").ok_or_else(|| self.unknown())
    }

    pub(in crate::node) async fn log_off(&self, session: SessionId) -> Result<(), ConnectionError> {
        let path = format!("/acm/v1/sessions/{}", session.0);
        self.tell("log off", Method::DELETE, &path, None::<&()>).await
    }

    /// What a log-on is told, after the event `last`.
    pub(in crate::node) async fn events(
        &self,
        session: SessionId,
        last: Option<&str>,
    ) -> Result<Events, ConnectionError> {
        let client = directly(&self.trust);
        let client = client.connect_timeout(CONNECT_TIME_MAX).read_timeout(SILENCE_MAX);
        let client = client.build().map_err(|error| self.unreachable(error))?;
        let url = format!("{}/acm/v1/sessions/{}/events", self.url, session.0);
        let mut request =
            self.presenting(client.get(url)).header(header::ACCEPT, "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let answer = self.send("tell what is pending", request).await?;
        let media_type = answer.headers().get(header::CONTENT_TYPE);
        let media_type = media_type.and_then(|it| it.to_str().ok()).unwrap_or_default();
        if !media_type.starts_with("text/event-stream") {
            return Err(self.unknown());
        }
        Ok(Events::new(answer))
    }

    pub(in crate::node) async fn list(
        &self,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Page, ConnectionError> {
        let after = after.map_or_else(String::new, |after| format!("after={after}&"));
        let path = format!("/acm/v1/items?{after}limit={limit}");
        self.ask("list what is pending", Method::GET, &path, None::<&()>).await
    }

    pub(in crate::node) async fn item(
        &self,
        key: &TransactionKey,
    ) -> Result<Item, ConnectionError> {
        self.ask("show it", Method::GET, &path_of(key), None::<&()>).await
    }

    /// Decides; returns the result, if it is in force already.
    pub(in crate::node) async fn decide(
        &self,
        key: &TransactionKey,
        decision: &Decision,
        alias: Option<&FunctionalAlias>,
    ) -> Result<Option<ResultCode>, ConnectionError> {
        let body = json!({ "decision": decision, "alias": alias });
        let path = path_of(key) + "/decision";
        let request = self.http.post(format!("{}{path}", self.url)).json(&body);
        let answer = self.send("decide it", self.presenting(request)).await?;
        let said: Value = answer.json().await.unwrap_or_default();
        Ok(member(&said, "result"))
    }

    pub(in crate::node) async fn acknowledge(
        &self,
        key: &TransactionKey,
    ) -> Result<(), ConnectionError> {
        let path = path_of(key) + "/acknowledgement";
        self.tell("take the acknowledgement", Method::POST, &path, None::<&()>).await
    }

    /// Begins a transaction; returns its name.
    pub(in crate::node) async fn begin(
        &self,
        begin: &Begin,
    ) -> Result<TransactionId, ConnectionError> {
        let what = "begin the transaction";
        let answer: Value =
            self.ask(what, Method::POST, "/acm/v1/transactions", Some(begin)).await?;
        member(&answer, "transaction").ok_or_else(|| self.unknown())
    }

    pub(in crate::node) async fn progress(
        &self,
        transaction: TransactionId,
    ) -> Result<Progress, ConnectionError> {
        let path = format!("/acm/v1/transactions/{transaction}");
        self.ask("tell how it stands", Method::GET, &path, None::<&()>).await
    }

    pub(in crate::node) async fn cancel(
        &self,
        transaction: TransactionId,
    ) -> Result<(), ConnectionError> {
        let path = format!("/acm/v1/transactions/{transaction}");
        self.tell("take it back", Method::DELETE, &path, None::<&()>).await
    }

    pub(in crate::node) async fn put_group(
        &self,
        group: &McServiceGroupId,
    ) -> Result<(), ConnectionError> {
        let path = format!("/acm/v1/groups/{}", escape(group.as_str()));
        self.tell("keep the group", Method::PUT, &path, None::<&()>).await
    }

    pub(in crate::node) async fn withdraw_group(
        &self,
        group: &McServiceGroupId,
    ) -> Result<(), ConnectionError> {
        let path = format!("/acm/v1/groups/{}", escape(group.as_str()));
        self.tell("withdraw the group", Method::DELETE, &path, None::<&()>).await
    }

    /// The interconnection groups that are known of a system.
    pub(in crate::node) async fn groups(
        &self,
        home: Option<&McSystemId>,
        after: Option<&McServiceGroupId>,
    ) -> Result<GroupPage, ConnectionError> {
        let mut path = format!("/acm/v1/groups?limit={PAGE_ITEMS_MAX}");
        if let Some(home) = home {
            path = format!("{path}&home={}", escape(home.as_str()));
        }
        if let Some(after) = after {
            path = format!("{path}&after={}", escape(after.as_str()));
        }
        self.ask("list groups", Method::GET, &path, None::<&()>).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        what: &'static str,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<T, ConnectionError> {
        let answer = self.request(what, method, path, body).await?;
        answer.json().await.map_err(|error| {
            if error.is_decode() { self.unknown() } else { self.unreachable(error) }
        })
    }

    async fn tell(
        &self,
        what: &'static str,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<(), ConnectionError> {
        self.request(what, method, path, body).await.map(drop)
    }

    async fn request(
        &self,
        what: &'static str,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<reqwest::Response, ConnectionError> {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.json(body);
        }
        self.send(what, self.presenting(request)).await
    }

    fn presenting(&self, request: RequestBuilder) -> RequestBuilder {
        let Administrator { user, token, .. } = &self.administrator;
        request.bearer_auth(token.expose()).header(USER_HEADER, user.as_str())
    }

    async fn send(
        &self,
        what: &'static str,
        request: RequestBuilder,
    ) -> Result<reqwest::Response, ConnectionError> {
        let answer = request.send().await.map_err(|error| self.unreachable(error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let url = self.url.clone();
        if status == reqwest::StatusCode::UNAUTHORIZED {
            return Err(ConnectionError::NotAuthenticated {
                url,
                user: self.administrator.user.clone(),
            });
        }
        let problem: Value = answer.json().await.unwrap_or_default();
        let refusal = Box::new(Refused::of(status.as_u16(), &problem));
        // An ACM server says why, and has every path that is asked for.
        if status.is_client_error() && matches!(&*refusal.name, "" | "unknown-path") {
            return Err(self.unknown());
        }
        Err(ConnectionError::Refused { url, what, refusal })
    }

    fn unreachable(&self, error: reqwest::Error) -> ConnectionError {
        // The path may hold an identity.
        ConnectionError::Unreachable { url: self.url.clone(), error: error.without_url() }
    }

    fn unknown(&self) -> ConnectionError {
        ConnectionError::Unknown { url: self.url.clone() }
    }
}

fn path_of(key: &TransactionKey) -> String {
    format!("/acm/v1/items/{}/{}", escape(key.origin.as_str()), key.transaction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_with_its_code_its_elements_and_what_to_do() {
        let problem = json!({
            "detail": "is no group of this system", "fix": "put it first",
            "code": "unknown-group", "elements": ["sip:g1@a.example"],
        });
        let refused = Refused::of(404, &problem);
        assert_eq!(refused.code, Some(ResultCode::UnknownGroup));
        assert_eq!(
            refused.words(),
            "404 unknown-group: is no group of this system (sip:g1@a.example); put it first"
        );
        let problem = json!({ "type": "urn:migcore:problem:no-response-yet", "detail": "not yet" });
        assert_eq!(Refused::of(409, &problem).words(), "409 no-response-yet: not yet");
        assert_eq!(Refused::of(500, &Value::Null).words(), "500 HTTP: it does not say why");
    }
}
