//! Requests from the wire and from HTTP while a role works on them.
//!
//! Each is answered once: by the role, by the end of its time, or because its answer was lost with a commit
//! that failed. A client that has gone away cancels nothing.

use std::{
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::http::StatusCode;
use tokio::sync::oneshot;

use super::{
    config::ACCESS_TIMEOUT_MAX,
    diameter::WireRequest,
    http::{Ends, Problem},
    perform::{Call, Caller, Shared},
    shared::FailsOnPanic,
};
use crate::{
    api::{
        acm_client, acm_interconnection, acm_management, alias_management, configuration,
        connection_details, identity_management, idms_management, migration_identity as management,
        registration, system_access,
    },
    entropy::Entropy,
    identity::McServiceId,
    outbox::{
        AcmMessage, ConfigurationReply, IdmsMessage, ManagementReply, Message, PasswordReply,
        ReplyTo, TooManyChecks, Undeliverable, UserConfigurationReply,
    },
    step::Step,
    table::{Bound, Table, new_table},
    token::BearerToken,
};

/// Most requests from the wire and from HTTP that wait for an answer at a time.
pub(super) const PARKED_MAX: usize = 262_144;

/// How long an HTTP request waits for an answer.
pub(super) const HTTP_DEADLINE: Duration = Duration::from_secs(10);

/// How long the answer to what took long may take from then on: what it changed has to become durable.
pub(super) const APART_DEADLINE: Duration = Duration::from_secs(60);

const _: () = assert!(ACCESS_TIMEOUT_MAX.as_secs() < HTTP_DEADLINE.as_secs());

/// Who waits for an answer to a request that came from outside.
#[derive(Debug)]
pub(super) enum Parked {
    /// A Diameter peer.
    Diameter(WireRequest),
    /// A request of the management interface of the SIP database.
    Management(Waiting<management::Answer>),
    /// A request of the management interface of the configuration server.
    Configuration(Waiting<configuration::Answer>),
    /// A request of the management interface of the SIP core.
    Registration(Waiting<registration::Answer>),
    /// A request of the management interface of the functional alias controlling server.
    Aliases(Waiting<alias_management::Answer>),
    /// A UE on CSC-4.
    ConnectionDetails(Waiting<connection_details::Answer>),
    /// A partner's configuration server on CSC-17.
    SystemAccess(Waiting<system_access::Answer>),
    /// The ACM server of another system.
    AcmInterconnection(Waiting<acm_interconnection::Answer>, AcmPartner),
    /// An ACM client.
    AcmClient(Waiting<acm_client::Answer>),
    /// A request of the management interface of the ACM server.
    AcmManagement(Waiting<acm_management::Answer>),
    /// A client or a browser that asks the identity management server.
    Idms(Waiting<identity_management::Answer>),
    /// A request of the management interface of the identity management server.
    IdmsManagement(Waiting<idms_management::Answer>),
}

/// The requests that wait, by number.
pub(super) struct ParkedRequests {
    table: Table<u64, Parked>,
    next: AtomicU64,
    /// Counted apart: the length of the table is found only by locking all of it.
    bound: Bound,
}

impl ParkedRequests {
    pub(super) fn new(entropy: &mut dyn Entropy) -> Self {
        Self { table: new_table(entropy), next: AtomicU64::new(0), bound: Bound::new(PARKED_MAX) }
    }

    /// How many requests wait.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// The numbers of those that wait.
    pub(super) fn numbers(&self) -> Vec<u64> {
        self.table.iter().map(|entry| *entry.key()).collect()
    }

    /// Takes a request in, or gives it back when [`PARKED_MAX`] wait.
    fn insert(&self, waiting: Parked) -> Result<u64, Parked> {
        if !self.bound.take() {
            return Err(waiting);
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.table.insert(number, waiting);
        Ok(number)
    }

    fn remove(&self, number: u64) -> Option<Parked> {
        let (_, parked) = self.table.remove(&number)?;
        self.bound.give();
        Some(parked)
    }
}

/// Where the answer to an HTTP request is waited for.
pub(super) type Waiting<A> = oneshot::Sender<Answered<A>>;

/// The ACM server of another system that waits for an answer, as ladders have it.
#[derive(Debug)]
pub(super) struct AcmPartner {
    pub(super) name: Arc<str>,
    pub(super) ends: Option<Ends>,
}

/// An answer, and the step that it is.
#[derive(Debug)]
pub(super) struct Answered<A> {
    pub(super) step: Option<Step>,
    pub(super) answer: A,
}

/// Why an HTTP request has no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NoAnswer {
    /// None came within [`HTTP_DEADLINE`].
    Late,
    /// [`PARKED_MAX`] requests wait.
    TooMany,
    /// It was lost with a commit that failed.
    Lost,
    /// The role that would answer is not run here.
    NoRole,
}

impl From<NoAnswer> for Problem {
    fn from(none: NoAnswer) -> Self {
        let (status, name, what, fix) = match none {
            NoAnswer::Late => (
                StatusCode::GATEWAY_TIMEOUT,
                "no-answer",
                "no answer within 10 seconds",
                "ask again: a repeated request does no harm",
            ),
            NoAnswer::TooMany => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "too many requests wait for an answer",
                "ask again later",
            ),
            NoAnswer::Lost => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "the storage takes no changes now",
                "ask again later",
            ),
            NoAnswer::NoRole => (
                StatusCode::NOT_FOUND,
                "no-role",
                "this system does not run that role",
                "ask the one that does",
            ),
        };
        Self::new(status, name, what, fix)
    }
}

impl Shared {
    /// Asks the SIP database a management request and waits for the answer.
    pub(super) async fn ask_management(
        self: &Arc<Self>,
        request: management::Request,
    ) -> Result<management::Answer, NoAnswer> {
        if self.roles.database.is_none() {
            return Err(NoAnswer::NoRole);
        }
        self.observe_management_request(&request);
        let call = |to| Call::Management { to, request };
        self.ask(Parked::Management, call).await.map(|answered| answered.answer)
    }

    /// Asks the configuration server a management request and waits for the answer.
    pub(super) async fn ask_configuration(
        self: &Arc<Self>,
        request: configuration::Request,
    ) -> Result<configuration::Answer, NoAnswer> {
        if self.roles.config_server.is_none() {
            return Err(NoAnswer::NoRole);
        }
        let call = |to| Call::Configuration { to, request };
        self.ask(Parked::Configuration, call).await.map(|answered| answered.answer)
    }

    /// Asks the SIP core a management request and waits for the answer.
    pub(super) async fn ask_registration(
        self: &Arc<Self>,
        request: registration::Request,
    ) -> Result<registration::Answer, NoAnswer> {
        if self.roles.core.is_none() {
            return Err(NoAnswer::NoRole);
        }
        let call = |to| Call::Registration { to, request };
        self.ask(Parked::Registration, call).await.map(|answered| answered.answer)
    }

    /// Asks the functional alias controlling server a management request and waits for the answer.
    pub(super) async fn ask_aliases(
        self: &Arc<Self>,
        request: alias_management::Request,
    ) -> Result<alias_management::Answer, NoAnswer> {
        if self.roles.aliases.is_none() {
            return Err(NoAnswer::NoRole);
        }
        let call = |to| Call::Aliases { to, request };
        self.ask(Parked::Aliases, call).await.map(|answered| answered.answer)
    }

    /// Asks the configuration server for connection details and waits for the answer.
    pub(super) async fn ask_connection_details(
        self: &Arc<Self>,
        credential: Option<connection_details::Credential>,
        request: connection_details::Request,
    ) -> Result<Answered<connection_details::Answer>, NoAnswer> {
        let call = |to| Call::ConnectionDetails { to, credential, request };
        self.ask(Parked::ConnectionDetails, call).await
    }

    /// Asks the configuration server for access and waits for the answer.
    pub(super) async fn ask_system_access(
        self: &Arc<Self>,
        token: Option<BearerToken>,
        request: system_access::Request,
    ) -> Result<Answered<system_access::Answer>, NoAnswer> {
        let call = |to| Call::SystemAccess { to, token, request };
        self.ask(Parked::SystemAccess, call).await
    }

    /// Asks the ACM server in the name of a user and waits for the answer.
    pub(super) async fn ask_acm_client(
        self: &Arc<Self>,
        credential: Option<(McServiceId, BearerToken)>,
        request: acm_client::Request,
    ) -> Result<Answered<acm_client::Answer>, NoAnswer> {
        let call = |to| Call::AcmClient { to, credential, request };
        self.ask(Parked::AcmClient, call).await
    }

    /// Asks the ACM server a management request and waits for the answer.
    pub(super) async fn ask_acm_management(
        self: &Arc<Self>,
        request: acm_management::Request,
    ) -> Result<acm_management::Answer, NoAnswer> {
        if self.roles.acm.is_none() {
            return Err(NoAnswer::NoRole);
        }
        let call = |to| Call::AcmManagement { to, request };
        self.ask(Parked::AcmManagement, call).await.map(|answered| answered.answer)
    }

    /// Asks the identity management server and waits for the answer.
    pub(super) async fn ask_idms(
        self: &Arc<Self>,
        request: identity_management::Request,
    ) -> Result<identity_management::Answer, NoAnswer> {
        let call = |to| Call::Idms { to, request };
        self.ask(Parked::Idms, call).await.map(|answered| answered.answer)
    }

    /// Asks the identity management server a management request and waits for the answer.
    pub(super) async fn ask_idms_management(
        self: &Arc<Self>,
        request: idms_management::Request,
    ) -> Result<idms_management::Answer, NoAnswer> {
        if self.roles.idms.is_none() {
            return Err(NoAnswer::NoRole);
        }
        let call = |to| Call::IdmsManagement { to, request };
        self.ask(Parked::IdmsManagement, call).await.map(|answered| answered.answer)
    }

    pub(super) async fn ask<A>(
        self: &Arc<Self>,
        park: impl FnOnce(Waiting<A>) -> Parked,
        call: impl FnOnce(ReplyTo) -> Call<'static>,
    ) -> Result<Answered<A>, NoAnswer> {
        let (waiting, answer) = oneshot::channel();
        let number = self.park(park(waiting)).map_err(|_| NoAnswer::TooMany)?;
        let Some(worker) = self.workers.first() else { return Err(NoAnswer::TooMany) };
        Caller::new(self, worker).call(call(ReplyTo::World(number)));
        if let Ok(answer) = tokio::time::timeout(HTTP_DEADLINE, answer).await {
            return answer.map_err(|_| NoAnswer::Lost);
        }
        self.parked.remove(number);
        Err(NoAnswer::Late)
    }

    /// Asks something that takes long, on a thread of its own: `prepare` makes the call, or says why there is
    /// none. `one` is kept until the call is over, also if whoever waits for the answer has gone.
    pub(super) async fn ask_apart<A: Send + 'static>(
        self: &Arc<Self>,
        park: impl FnOnce(Waiting<A>) -> Parked,
        one: impl Send + 'static,
        prepare: impl FnOnce(ReplyTo) -> Result<Call<'static>, Problem> + Send + 'static,
    ) -> Result<Answered<A>, Problem> {
        let Some(worker) = self.workers.first().map(Arc::clone) else {
            return Err(NoAnswer::TooMany.into());
        };
        let (waiting, answer) = oneshot::channel();
        let number = self.park(park(waiting)).map_err(|_| NoAnswer::TooMany)?;
        let shared = Arc::clone(self);
        let calling = tokio::task::spawn_blocking(move || {
            let _one = one;
            // A role that panicked is as wrong here as on a worker.
            let _fails = FailsOnPanic(&shared);
            let call = prepare(ReplyTo::World(number)).inspect_err(|_| {
                shared.parked.remove(number);
            })?;
            let _apart = shared.apart.lock().unwrap_or_else(PoisonError::into_inner);
            Caller::new(&shared, &worker).call(call);
            Ok(())
        });
        let outcome = match calling.await {
            Ok(Ok(())) => match tokio::time::timeout(APART_DEADLINE, answer).await {
                Ok(Ok(answered)) => return Ok(answered),
                Ok(Err(_)) => NoAnswer::Lost.into(),
                Err(_) => Problem {
                    detail: format!("no answer within {} seconds", APART_DEADLINE.as_secs()),
                    ..NoAnswer::Late.into()
                },
            },
            Ok(Err(problem)) => problem,
            Err(_) => NoAnswer::Lost.into(),
        };
        self.parked.remove(number);
        Err(outcome)
    }

    /// Takes a request in that the world waits for an answer to.
    ///
    /// # Errors
    ///
    /// Gives `waiting` back when [`PARKED_MAX`] requests wait.
    pub(super) fn park(&self, waiting: Parked) -> Result<u64, Parked> {
        self.parked.insert(waiting).inspect_err(|_| self.metrics.drop_one("parked_full"))
    }

    /// Gives an answer of a role to whoever waits for it, if it still does.
    pub(super) fn unpark(&self, number: u64, step: Option<Step>, message: Message) {
        let Some(parked) = self.parked.remove(number) else { return };
        match (parked, message) {
            (Parked::Diameter(request), Message::CxAnswer { answer, .. }) => {
                request.answer(self, step, answer);
            }
            (Parked::Management(waiting), Message::Management { answer, .. }) => {
                self.observe_management_answer(step, &answer);
                hand_over(waiting, step, answer);
            }
            (Parked::Configuration(waiting), Message::Configuration { answer, .. }) => {
                hand_over(waiting, step, answer);
            }
            (Parked::Registration(waiting), Message::Registration { answer, .. }) => {
                hand_over(waiting, step, answer);
            }
            (Parked::Aliases(waiting), Message::Acm(AcmMessage::Aliases { answer, .. })) => {
                hand_over(waiting, step, answer);
            }
            (Parked::ConnectionDetails(waiting), Message::ConnectionDetails { answer, .. }) => {
                hand_over(waiting, step, answer);
            }
            (Parked::SystemAccess(waiting), Message::SystemAccess { answer, .. }) => {
                hand_over(waiting, step, answer);
            }
            (
                Parked::AcmInterconnection(waiting, partner),
                Message::Acm(AcmMessage::Answer { answer, .. }),
            ) => {
                self.observe_acm_answer(step, &partner, &answer);
                hand_over(waiting, step, answer);
            }
            (Parked::AcmClient(waiting), Message::Acm(AcmMessage::Client { answer, .. })) => {
                hand_over(waiting, step, answer);
            }
            (
                Parked::AcmManagement(waiting),
                Message::Acm(AcmMessage::Management { answer, .. }),
            ) => hand_over(waiting, step, answer),
            (Parked::Idms(waiting), Message::Idms(IdmsMessage::Answer { answer, .. })) => {
                hand_over(waiting, step, answer);
            }
            (
                Parked::IdmsManagement(waiting),
                Message::Idms(IdmsMessage::Management { answer, .. }),
            ) => hand_over(waiting, step, answer),
            // A number is given to one call, and the role answers that.
            (_, _) => self.metrics.drop_one("answer_to_another_question"),
        }
    }

    /// Tells a peer that its request is lost. An HTTP request learns it by the end of its channel.
    pub(super) fn unpark_unanswered(&self, number: u64) {
        if let Some(Parked::Diameter(request)) = self.parked.remove(number) {
            request.refuse_as_busy(self);
        }
    }

    /// Tells whoever waits for a message that it will not leave; a role by the call returned.
    pub(super) fn drop_message(&self, message: &Message) -> Option<Call<'static>> {
        self.metrics.drop_one("storage");
        match message {
            Message::Management { to: ReplyTo::Role(id), .. }
            | Message::ManagementRequest { id, .. } => {
                let answer = management::Answer::Refused(management::Refusal::Unavailable);
                return Some(Call::ManagementReply(ManagementReply { id: *id, answer }));
            }
            Message::SystemAccessRequest { id, .. } => {
                return Some(Call::SystemAccessUnsent(*id));
            }
            Message::Configuration { to: ReplyTo::Role(id), .. }
            | Message::ConfigurationRequest { id, .. } => {
                let answer = configuration::Answer::Refused(management::Refusal::Unavailable);
                return Some(Call::ConfigurationReply(ConfigurationReply { id: *id, answer }));
            }
            Message::Idms(IdmsMessage::CheckPassword { id, .. }) => {
                let reply = PasswordReply { id: *id, outcome: Err(TooManyChecks) };
                return Some(Call::PasswordReply(reply));
            }
            Message::Acm(
                AcmMessage::UserConfigurationRequest { id, .. }
                | AcmMessage::UserConfiguration(UserConfigurationReply { id, .. }),
            ) => {
                let reply = UserConfigurationReply { id: *id, outcome: Err(Undeliverable) };
                return Some(Call::UserConfigurationReply(reply));
            }
            Message::Acm(AcmMessage::Request { id, .. }) => {
                return Some(Call::AcmUnsent(*id));
            }
            Message::Acm(
                AcmMessage::Answer { to: ReplyTo::World(number), .. }
                | AcmMessage::Client { to: ReplyTo::World(number), .. }
                | AcmMessage::Management { to: ReplyTo::World(number), .. },
            ) => self.unpark_unanswered(*number),
            Message::CxAnswer { to: ReplyTo::World(number), .. }
            | Message::Management { to: ReplyTo::World(number), .. }
            | Message::Configuration { to: ReplyTo::World(number), .. }
            | Message::Registration { to: ReplyTo::World(number), .. }
            | Message::Idms(
                IdmsMessage::Answer { to: ReplyTo::World(number), .. }
                | IdmsMessage::Management { to: ReplyTo::World(number), .. },
            )
            | Message::Acm(AcmMessage::Aliases { to: ReplyTo::World(number), .. })
            | Message::ConnectionDetails { to: ReplyTo::World(number), .. }
            | Message::SystemAccess { to: ReplyTo::World(number), .. } => {
                self.unpark_unanswered(*number);
            }
            // A SIP core has a timer for its database, and a UE and a peer for the SIP core and for us. An ACM server
            // tells its clients again, and subscribes again, once it is loaded.
            Message::Sip { .. }
            | Message::SipRequest { .. }
            | Message::CxRequest { .. }
            | Message::CxAnswer { .. }
            | Message::ConnectionDetailsRequest(_)
            | Message::ConnectionDetails { .. }
            | Message::SystemAccess { .. }
            | Message::Registration { .. }
            | Message::Idms(IdmsMessage::Answer { .. } | IdmsMessage::Management { .. })
            | Message::Acm(_) => {}
        }
        None
    }
}

/// An error means that the HTTP request has given up: the answer has no use.
fn hand_over<A>(waiting: Waiting<A>, step: Option<Step>, answer: A) {
    let _ = waiting.send(Answered { step, answer });
}
