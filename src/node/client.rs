//! A client of the management interface, for provisioning and for operators.

use std::{fmt, sync::Arc, time::Duration};

use serde::Deserialize;

use crate::{
    api::{
        acm_payload::Kind,
        configuration::{Agreement, AgreementKey, Users},
        connection_details::SystemConfiguration,
        migration_identity::Direction,
    },
    identity::{Impi, Impu, McServiceId, McSystemId, SipDatabaseId, UserIdentity},
    secret::Secret,
    token::BearerToken,
};

use super::{
    http::{REQUEST_TIMEOUT, RowProblem},
    management::{BindingView, SystemView, Target, escape, many},
    tls::{Trust, reason_of, use_ring},
};

/// How long a system may take to answer: longer than it waits itself.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a system may take to answer a request about many.
const MANY_TIMEOUT: Duration = Duration::from_secs(180);

const _: () = assert!(REQUEST_TIMEOUT.as_secs() < MANY_TIMEOUT.as_secs());

/// The management interface of one system.
#[derive(Clone, Debug)]
pub struct ManagementClient {
    http: reqwest::Client,
    url: String,
}

/// Why a management request did not work.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The other side cannot be reached, or does not speak HTTP.
    #[error(
        "{url} cannot be reached: {}; is the system up, and is this its management address?",
        cause(error)
    )]
    Unreachable {
        /// The address as given.
        url: String,
        /// Why.
        error: reqwest::Error,
    },
    /// It answered what no management interface does.
    #[error("{url} did not answer in JSON; is this the management address of a system?")]
    NotJson {
        /// The address as given.
        url: String,
    },
    /// It refused.
    #[error("{url} refused to {what}: {status} {problem}")]
    Refused {
        /// The address as given.
        url: String,
        /// What it was asked.
        what: &'static str,
        /// The HTTP status.
        status: u16,
        /// What it says is wrong, and what to do.
        problem: String,
    },
}

/// Why a request failed, without what it wraps: the last cause says what happened.
pub(super) fn cause(error: &reqwest::Error) -> String {
    if let Some(reason) = reason_of(error) {
        return format!("TLS: {reason}");
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

impl ManagementClient {
    /// A client of the interface at `url`, such as `http://127.0.0.1:8080`. Over https it believes what all commands
    /// of this process believe.
    pub fn new(url: &str) -> Self {
        Self::trusting(url, &Trust::default())
    }

    /// The same; over https it believes `trust`.
    pub fn trusting(url: &str, trust: &Trust) -> Self {
        Self { http: direct(trust), url: url.trim_end_matches('/').to_owned() }
    }

    /// The address as given.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Asks for what is at `path`.
    pub(super) async fn get<T: serde::de::DeserializeOwned>(
        &self,
        what: &'static str,
        path: &str,
    ) -> Result<T, ClientError> {
        self.read(self.send(what, self.http.get(self.path(path))).await?).await
    }

    /// Asks to do what `path` says.
    pub(super) async fn post<T: serde::de::DeserializeOwned>(
        &self,
        what: &'static str,
        path: &str,
    ) -> Result<T, ClientError> {
        self.read(self.send(what, self.http.post(self.path(path))).await?).await
    }

    /// Asks to do what `path` and `body` say.
    pub(super) async fn post_json(
        &self,
        what: &'static str,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<serde_json::Value, ClientError> {
        self.read(self.send(what, self.http.post(self.path(path)).json(body)).await?).await
    }

    /// The same, of what is answered without a word.
    pub(super) async fn post_done(
        &self,
        what: &'static str,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<(), ClientError> {
        self.send(what, self.http.post(self.path(path)).json(body)).await.map(drop)
    }

    /// Asks for `path` to be there, which says all.
    pub(super) async fn put_nothing(
        &self,
        what: &'static str,
        path: &str,
    ) -> Result<(), ClientError> {
        self.send(what, self.http.put(self.path(path))).await.map(drop)
    }

    /// Creates or replaces what is at `path` with `body`.
    pub(super) async fn put_json(
        &self,
        what: &'static str,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<(), ClientError> {
        self.send(what, self.http.put(self.path(path)).json(body)).await.map(drop)
    }

    /// Ends what is at `path`.
    pub(super) async fn delete(&self, what: &'static str, path: &str) -> Result<(), ClientError> {
        self.send(what, self.http.delete(self.path(path))).await.map(drop)
    }

    /// Asks who the system is.
    pub async fn system(&self) -> Result<SystemView, ClientError> {
        let response = self.send("tell who it is", self.http.get(self.path("/v1/system"))).await?;
        self.read(response).await
    }

    /// Creates or replaces what `target` names, or with `check` only asks whether that would be done.
    pub(super) async fn put(
        &self,
        target: &Target,
        body: &[u8],
        check: bool,
    ) -> Result<(), ClientError> {
        let (what, query) =
            if check { ("check a change", "?check=true") } else { ("make a change", "") };
        let request = self.http.put(self.path(&target.path()) + query);
        let request = request.header("content-type", "application/json").body(body.to_vec());
        self.send(what, request).await.map(drop)
    }

    /// Creates or replaces all `rows`, JSON lines about subscribers or users at `path`, or none of them; with
    /// `check` only asks whether that would be done. Returns those that are refused.
    pub(super) async fn put_many(
        &self,
        path: &str,
        rows: Vec<u8>,
        check: bool,
    ) -> Result<Vec<RowProblem>, ClientError> {
        let (what, query) =
            if check { ("check many changes", "?check=true") } else { ("make many changes", "") };
        let request = self.http.post(self.path(path) + query).timeout(MANY_TIMEOUT);
        let request = request.header("content-type", many::MEDIA_TYPE).body(rows);
        let response = request.send().await.map_err(|error| self.unreachable(error))?;
        if response.status().is_success() {
            return Ok(Vec::new());
        }
        let status = response.status().as_u16();
        let problem: serde_json::Value = response.json().await.unwrap_or_default();
        match problem.get("rows").map(Vec::<RowProblem>::deserialize) {
            Some(Ok(rows)) if !rows.is_empty() => Ok(rows),
            _ => Err(refused_with(&self.url, what, status, &problem)),
        }
    }

    /// Creates a generated pool unless there is a pool of that name.
    pub async fn ensure_generated_pool(
        &self,
        name: &str,
        direction: Direction,
        user_template: &str,
        domain: &str,
    ) -> Result<(), ClientError> {
        let path = format!("/v1/pools/{name}");
        if self.has("show a pool", &path).await? {
            return Ok(());
        }
        let body = serde_json::json!({
            "direction": direction,
            "generated": {
                "impi_template": format!("{user_template}@{domain}"),
                "impu_template": format!("sip:{user_template}@{domain}"),
            },
        });
        self.send("create a pool", self.http.put(self.path(&path)).json(&body)).await.map(drop)
    }

    /// Creates or replaces a subscriber with one public identity.
    pub async fn put_subscriber(
        &self,
        user: &UserIdentity,
        k: &Secret<16>,
        op: &Secret<16>,
    ) -> Result<(), ClientError> {
        let path = self.path(&format!("/v1/subscribers/{}", escape(user.impi.as_str())));
        let body = serde_json::json!({
            "impus": [user.impu],
            "k": Hex(k.expose()).to_string(),
            "op": Hex(op.expose()).to_string(),
        });
        self.send("create a subscriber", self.http.put(path).json(&body)).await.map(drop)
    }

    /// Creates or replaces a user of the configuration management server.
    pub async fn put_user(&self, user: &NewUser<'_>) -> Result<(), ClientError> {
        let path = self.path(&format!("/v1/users/{}", escape(user.mc_service_id.as_str())));
        let body = serde_json::json!({
            "impi": user.identity.impi,
            "impu": user.identity.impu,
            "class": user.class,
            "may_migrate": user.may_migrate,
            "token": user.token.map(BearerToken::expose),
        });
        self.send("create a user", self.http.put(path).json(&body)).await.map(drop)
    }

    /// Creates or replaces a user of ACM clients.
    pub async fn put_acm_user(
        &self,
        user: &McServiceId,
        token: &BearerToken,
        may_request: &[Kind],
        may_decide: &[Kind],
    ) -> Result<(), ClientError> {
        let path = self.path(&format!("/v1/acm/users/{}", escape(user.as_str())));
        let body = serde_json::json!({
            "token": token.expose(),
            "may_request": may_request,
            "may_decide": may_decide,
        });
        self.send("create a user", self.http.put(path).json(&body)).await.map(drop)
    }

    /// Creates an agreement, or changes the one for the same users.
    pub async fn put_agreement(&self, agreement: &Agreement) -> Result<(), ClientError> {
        let path = self.path(&agreement_path(&agreement.key));
        let outbound = agreement.key.direction == Direction::Outbound;
        let body = serde_json::json!({
            "valid_from": agreement.valid_from.as_secs(),
            "valid_until": agreement.valid_until.as_secs(),
            "hide_identities": outbound.then_some(agreement.hide_identities),
        });
        self.send("create an agreement", self.http.put(path).json(&body)).await.map(drop)
    }

    /// Creates an agreement unless there is one for the same users.
    pub async fn ensure_agreement(&self, agreement: &Agreement) -> Result<(), ClientError> {
        if self.has("show an agreement", &agreement_path(&agreement.key)).await? {
            return Ok(());
        }
        self.put_agreement(agreement).await
    }

    /// Ends an agreement.
    pub async fn delete_agreement(&self, key: &AgreementKey) -> Result<(), ClientError> {
        let path = self.path(&agreement_path(key));
        self.send("end an agreement", self.http.delete(path)).await.map(drop)
    }

    /// Says what UEs are told of a system.
    pub async fn put_system_configuration(
        &self,
        system: &McSystemId,
        configuration: &SystemConfiguration,
    ) -> Result<(), ClientError> {
        let path = format!("/v1/system-configurations/{}", escape(system.as_str()));
        let request = self.http.put(self.path(&path)).json(configuration);
        self.send("take the configuration of a system", request).await.map(drop)
    }

    /// Whether it is known what UEs are told of a system.
    pub async fn has_system_configuration(&self, system: &McSystemId) -> Result<bool, ClientError> {
        let path = format!("/v1/system-configurations/{}", escape(system.as_str()));
        self.has("show the configuration of a system", &path).await
    }

    /// Puts pairs into a listed pool.
    pub async fn put_listed_pool(
        &self,
        name: &str,
        direction: Direction,
        identities: &[UserIdentity],
        quarantine: Duration,
    ) -> Result<(), ClientError> {
        let path = self.path(&format!("/v1/pools/{name}"));
        let body = serde_json::json!({
            "direction": direction,
            "listed": { "identities": identities, "quarantine_seconds": quarantine.as_secs() },
        });
        self.send("fill a pool", self.http.put(path).json(&body)).await.map(drop)
    }

    /// Ends the binding of a lent private identity.
    pub async fn release(&self, direction: Direction, impi: &Impi) -> Result<(), ClientError> {
        let direction = match direction {
            Direction::Outbound => "outbound",
            Direction::Inbound => "inbound",
        };
        let path = self.path(&format!("/v1/bindings/{direction}/{}", escape(impi.as_str())));
        self.send("end a binding", self.http.delete(path)).await.map(drop)
    }

    /// Lends an outbound pair (`MIG-4` to `MIG-6`).
    pub async fn bind_outbound(
        &self,
        user: &UserIdentity,
        partner: &SipDatabaseId,
    ) -> Result<BindingView, ClientError> {
        let path = self.path("/v1/bindings/outbound");
        let body = serde_json::json!({ "impi": user.impi, "impu": user.impu, "partner": partner });
        let what = "lend an outbound pair";
        self.read(self.send(what, self.http.post(path).json(&body)).await?).await
    }

    /// Lends an inbound pair (`MIG-9` to `MIG-11`) to the user that the system `primary` knows by
    /// this pair.
    pub async fn bind_inbound(
        &self,
        primary: &SystemView,
        impi: &Impi,
        impu: &Impu,
    ) -> Result<BindingView, ClientError> {
        let path = self.path("/v1/bindings/inbound");
        let body = serde_json::json!({
            "database": primary.database,
            "impi": impi,
            "impu": impu,
            "server_name": primary.server_name,
        });
        let what = "lend an inbound pair";
        self.read(self.send(what, self.http.post(path).json(&body)).await?).await
    }

    async fn has(&self, what: &'static str, path: &str) -> Result<bool, ClientError> {
        match self.send(what, self.http.get(self.path(path))).await {
            Ok(_) => Ok(true),
            Err(ClientError::Refused { status: 404, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn send(
        &self,
        what: &'static str,
        request: reqwest::RequestBuilder,
    ) -> Result<reqwest::Response, ClientError> {
        let response = request.send().await.map_err(|error| self.unreachable(error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        Err(refused(&self.url, what, response).await)
    }

    async fn read<T: serde::de::DeserializeOwned>(
        &self,
        response: reqwest::Response,
    ) -> Result<T, ClientError> {
        response.json().await.map_err(|error| {
            if error.is_decode() {
                return ClientError::NotJson { url: self.url.clone() };
            }
            self.unreachable(error)
        })
    }

    fn unreachable(&self, error: reqwest::Error) -> ClientError {
        // The path may hold an identity.
        ClientError::Unreachable { url: self.url.clone(), error: error.without_url() }
    }

    fn path(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }
}

/// An HTTP client for requests that hold keys and tokens: they go to the address named, not through a proxy
/// that the environment names, nor on to where an answer leads.
#[expect(
    clippy::expect_used,
    reason = "TLS is set up already: there is nothing left that may fail"
)]
pub(super) fn direct(trust: &Trust) -> reqwest::Client {
    let client = directly(trust).timeout(ANSWER_TIMEOUT);
    client.build().expect("a client with TLS that is set up")
}

/// The same, that leaves no connection open: for a UE, which moves on to another system.
#[expect(
    clippy::expect_used,
    reason = "TLS is set up already: there is nothing left that may fail"
)]
pub(super) fn direct_once(trust: &Trust) -> reqwest::Client {
    let client = directly(trust).timeout(ANSWER_TIMEOUT).pool_max_idle_per_host(0);
    client.build().expect("a client with TLS that is set up")
}

/// The same, to be completed.
pub(super) fn directly(trust: &Trust) -> reqwest::ClientBuilder {
    use_ring();
    let tls = Arc::unwrap_or_clone(trust.config());
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    client.tls_backend_preconfigured(tls)
}

/// What a server says that it refused with.
async fn refused(url: &str, what: &'static str, response: reqwest::Response) -> ClientError {
    let status = response.status().as_u16();
    let problem: serde_json::Value = response.json().await.unwrap_or_default();
    refused_with(url, what, status, &problem)
}

fn refused_with(
    url: &str,
    what: &'static str,
    status: u16,
    problem: &serde_json::Value,
) -> ClientError {
    let part = |name: &str| problem.get(name).and_then(|part| part.as_str()).unwrap_or_default();
    let problem = format!("{}; {}", part("detail"), part("fix"));
    ClientError::Refused { url: url.to_owned(), what, status, problem }
}

/// A user to create at a configuration management server.
#[derive(Clone, Copy, Debug)]
pub struct NewUser<'a> {
    /// The name on CSC-4.
    pub mc_service_id: &'a McServiceId,
    /// The real pair in the SIP database.
    pub identity: &'a UserIdentity,
    /// The class that agreements may be about.
    pub class: Option<&'a str>,
    /// Whether the user may migrate at all.
    pub may_migrate: bool,
    /// The static token that the user's UE presents, where the system takes such tokens.
    pub token: Option<&'a BearerToken>,
}

fn agreement_path(AgreementKey { partner, direction, users }: &AgreementKey) -> String {
    let direction = match direction {
        Direction::Outbound => "outbound",
        Direction::Inbound => "inbound",
    };
    let users = match users {
        Users::Everybody => "everybody".to_owned(),
        Users::Class(name) => format!("class:{name}"),
        Users::User(id) => format!("user:{}", id.as_str()),
    };
    format!("/v1/agreements/{}/{direction}/{}", escape(partner.as_str()), escape(&users))
}

/// Octets as hexadecimal digits.
pub(super) struct Hex<'a>(pub(super) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}
