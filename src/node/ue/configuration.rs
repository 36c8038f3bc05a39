//! Runs a configuration management client over HTTP (CSC-4).

use std::{fmt, sync::Arc, time::Duration};

use super::Teller;
use crate::{
    api::connection_details::{
        Answer, Details, Location, Refusal, Request, SIP_CORE_ADDRESSES_MAX,
    },
    identity::McSystemId,
    node::{
        Clock, SystemEntropy,
        csc4::DETAILS_PATH,
        http::PROBLEM_TYPES,
        http_client::{self, Connection, Endpoint, HttpError},
        ladder::{Protocol, Tap},
        metrics::Direction,
        tls::Trust,
    },
    outbox::{Context, Effect, Message, Outbox, Transport, Undeliverable},
    step::Step,
    store::Sequencer,
    token::BearerToken,
    ue::{Config, ConfigurationClient, ConfigurationState, NoAccess},
};

/// Longest text of a server that is shown, characters.
const SHOWN_MAX: usize = 400;

/// A configuration management client with the server that it asks.
pub struct RunningConfigurationClient {
    client: ConfigurationClient,
    server: Endpoint,
    token: Option<BearerToken>,
    trust: Trust,
    clock: Clock,
    entropy: SystemEntropy,
    outbox: Outbox,
    teller: Teller,
    trouble: Option<Trouble>,
}

/// What went wrong with the last request, for people.
#[derive(Debug)]
pub enum Trouble {
    /// There was no answer.
    NoAnswer(HttpError),
    /// An answer that the interface does not have.
    NotOfTheInterface(String),
    /// A refusal in the server's words.
    Refused(Problem),
}

/// Why a request was refused, in the server's words (RFC 9457).
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub struct Problem {
    /// What kind of problem it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong.
    pub detail: String,
    /// What to do.
    pub fix: String,
    /// When to ask again, seconds.
    #[serde(skip)]
    pub retry_after: Option<u32>,
}

impl RunningConfigurationClient {
    /// Lets `client` ask the server at `server`, which ladders call `name`, with `token` or, until there is one
    /// ([`Self::set_token`]), none.
    pub fn new(
        client: ConfigurationClient,
        server: Endpoint,
        token: Option<BearerToken>,
        tap: Option<Tap>,
        name: &str,
    ) -> Self {
        let clock = Clock::start();
        Self {
            client,
            server,
            token,
            trust: Trust::default(),
            clock,
            entropy: SystemEntropy::new(),
            outbox: Outbox::new(Arc::new(Sequencer::default())),
            teller: Teller::new(tap, clock, name),
            trouble: None,
        }
    }

    /// Believes `trust` over https.
    #[must_use]
    pub fn trusting(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// Asks for connection details (`MIG-1`) and waits for the outcome (`MIG-13`).
    pub async fn ask(
        &mut self,
        location: Location,
        wish: Option<McSystemId>,
        strict: bool,
    ) -> &ConfigurationState {
        self.call(|client, ctx| client.ask(ctx, location, wish, strict));
        self.settle().await
    }

    /// Repeats the last request and waits for the outcome.
    pub async fn repeat(&mut self) -> &ConfigurationState {
        self.call(ConfigurationClient::repeat);
        self.settle().await
    }

    /// Gets ready to register in a partner system (`MIG-14`).
    ///
    /// # Errors
    ///
    /// [`NoAccess`].
    pub fn prepare_access(
        &mut self,
        partner: &McSystemId,
        over: Option<Transport>,
    ) -> Result<Config, NoAccess> {
        let config = self.call(|client, ctx| client.prepare_access(ctx, partner, over));
        for effect in self.outbox.drain() {
            if let Effect::Step { step, summary, .. } = effect {
                self.teller.step(step, summary);
            }
        }
        config
    }

    /// Asks with another token from now on.
    pub fn set_token(&mut self, token: BearerToken) {
        self.token = Some(token);
    }

    /// Goes by another clock, such as one that is ahead.
    pub const fn set_clock(&mut self, clock: Clock) {
        self.clock = clock;
        self.teller.clock = clock;
    }

    /// The client with its records.
    pub const fn client(&self) -> &ConfigurationClient {
        &self.client
    }

    /// What went wrong with the last request.
    pub const fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    fn call<T>(&mut self, call: impl FnOnce(&mut ConfigurationClient, &mut Context<'_>) -> T) -> T {
        let Self { client, clock, entropy, outbox, .. } = self;
        call(client, &mut Context { now: clock.now(), entropy, out: outbox })
    }

    async fn settle(&mut self) -> &ConfigurationState {
        self.trouble = None;
        let effects: Vec<Effect> = self.outbox.drain().collect();
        for effect in effects {
            let Effect::Send(send) = effect else { continue };
            let Message::ConnectionDetailsRequest(request) = send.message else { continue };
            let outcome = match self.exchange(send.step, &request).await {
                Ok(answer) => Ok(answer),
                Err(trouble) => {
                    let refusal = trouble.refusal();
                    self.trouble = Some(trouble);
                    refusal.map(Answer::Refused).ok_or(Undeliverable)
                }
            };
            self.call(|client, ctx| client.handle_answer(ctx, outcome));
        }
        self.client.state()
    }

    /// Posts a request over a connection of its own and reads the answer.
    async fn exchange(&mut self, step: Option<Step>, request: &Request) -> Result<Answer, Trouble> {
        let body = serde_json::to_vec(request)
            .map_err(|error| Trouble::NotOfTheInterface(error.to_string()))?;
        let connection = Connection::open(&self.server, &self.trust).await;
        let mut connection = connection.map_err(Trouble::NoAnswer)?;
        let path = (connection.local, connection.remote);
        let told = (Direction::Out, Protocol::Http, step);
        self.teller.message(told, path, format!("POST {DETAILS_PATH}"), body.len());
        let answer = connection
            .post(DETAILS_PATH, self.token.as_ref(), body.into())
            .await
            .map_err(Trouble::NoAnswer)?;
        let told = (Direction::In, Protocol::Http, Some(Step::mig(13)));
        let summary = match problem_of(&answer) {
            Some(problem) => format!("{} {}", answer.status, shown(problem.name())),
            None => answer.status.to_string(),
        };
        self.teller.message(told, path, summary, answer.body.len());
        read(&answer)
    }
}

impl Trouble {
    /// When to ask again: as the server says, else `usual`. What is not of the interface will not change.
    pub fn retry_after(&self, usual: Option<Duration>) -> Option<Duration> {
        match self {
            Self::NoAnswer(_) => usual,
            Self::NotOfTheInterface(_) => None,
            Self::Refused(problem) => {
                let told = problem.retry_after.map(|seconds| Duration::from_secs(seconds.into()));
                told.or(usual)
            }
        }
    }

    /// The refusal that the role knows, if it is one.
    fn refusal(&self) -> Option<Refusal> {
        let Self::Refused(problem) = self else { return None };
        Some(match problem.name() {
            "not-authenticated" => Refusal::NotAuthenticated,
            "not-authorised" => Refusal::NotAuthorised,
            "partner-not-allowed" => Refusal::PartnerNotAllowed,
            "no-partner" => Refusal::NoPartner,
            "refused-by-partner" => Refusal::RefusedByPartner,
            "exhausted" => Refusal::Exhausted,
            "partner-unreachable" => Refusal::PartnerUnreachable,
            "not-configured" => Refusal::NotConfigured,
            "unavailable" => Refusal::Unavailable,
            _ => return None,
        })
    }
}

impl Problem {
    /// The name of its kind, such as `no-partner`.
    pub fn name(&self) -> &str {
        self.kind.strip_prefix(PROBLEM_TYPES).unwrap_or_default()
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer(error) => error.fmt(f),
            Self::NotOfTheInterface(what) => {
                write!(f, "does not speak CSC-4: {}", shown(what))
            }
            Self::Refused(problem) => {
                write!(f, "refused ({}): {}", problem.status, shown(&problem.detail))?;
                if problem.fix.is_empty() { Ok(()) } else { write!(f, "; {}", shown(&problem.fix)) }
            }
        }
    }
}

/// The problem that an answer tells of in the words of the interface.
fn problem_of(answer: &http_client::Answer) -> Option<Problem> {
    if answer.status.is_success() {
        return None;
    }
    let problem: Problem = serde_json::from_slice(&answer.body).ok()?;
    let known =
        Problem { status: answer.status.as_u16(), retry_after: answer.retry_after, ..problem };
    (!known.kind.is_empty()).then_some(known)
}

/// Reads A2 or a refusal.
fn read(answer: &http_client::Answer) -> Result<Answer, Trouble> {
    if let Some(problem) = problem_of(answer) {
        return Err(Trouble::Refused(problem));
    }
    if answer.status != hyper::StatusCode::OK {
        return Err(Trouble::NotOfTheInterface(format!("status {}", answer.status)));
    }
    let mut json = serde_json::Deserializer::from_slice(&answer.body);
    let details: Details = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        Trouble::NotOfTheInterface(format!("{}: {}", error.path(), error.inner()))
    })?;
    if details.configuration.sip_core.len() > SIP_CORE_ADDRESSES_MAX {
        let what = format!("more than {SIP_CORE_ADDRESSES_MAX} SIP core addresses");
        return Err(Trouble::NotOfTheInterface(what));
    }
    Ok(Answer::Details(Box::new(details)))
}

/// What a server said, fit for a terminal.
fn shown(text: &str) -> String {
    let printable = |character: char| if character.is_control() { ' ' } else { character };
    text.chars().take(SHOWN_MAX).map(printable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::csc4;

    #[test]
    fn every_refusal_of_the_server_is_understood() {
        for refusal in [
            Refusal::NotAuthenticated,
            Refusal::NotAuthorised,
            Refusal::PartnerNotAllowed,
            Refusal::NoPartner,
            Refusal::RefusedByPartner,
            Refusal::Exhausted,
            Refusal::PartnerUnreachable,
            Refusal::NotConfigured,
            Refusal::Unavailable,
        ] {
            let said = serde_json::to_string(&csc4::refused(refusal)).unwrap();
            let heard = Trouble::Refused(serde_json::from_str(&said).unwrap());
            assert_eq!(heard.refusal(), Some(refusal), "{said}");
            assert!(heard.to_string().contains(&refusal.to_string()), "{heard}");
        }
    }
}
