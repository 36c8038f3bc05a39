//! HTTP as the simulated world knows it: questions to the management interfaces, of UEs (CSC-4), of ACM clients, and
//! of the other system's configuration server (CSC-17) and ACM server. A question or its answer may be lost, a question may
//! arrive twice, and whoever waits counts the first answer only.

use std::time::Duration;

use crate::{
    api::{
        acm_client, acm_interconnection, acm_management, alias_management, configuration,
        connection_details, migration_identity as management, system_access,
    },
    identity::McServiceId,
    outbox::{
        AcmMessage, AcmReply, Message, ReplyTo, RequestId, Send, SystemAccessReply, Undeliverable,
    },
    token::BearerToken,
};

use super::{
    Event, SystemId, Violation, Who, World, facts::Cause, ledger::Outcome, system::Parked,
};

/// How long it takes until whoever asked learns that no answer will come, if at all.
const GIVE_UP: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(4));

/// A question, kept after its answer: a second one of its copies may be under way.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) inquiry: Inquiry,
    /// Who waits for the answer; nobody any more once it came.
    asker: Option<Asker>,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(super) enum Inquiry {
    /// The management interface of a SIP database.
    Database(management::Request),
    /// The management interface of a configuration server.
    ConfigServer(configuration::Request),
    /// A1, with the token that is presented.
    Details(connection_details::Request, BearerToken),
    /// C1, with the token that is presented.
    Access(system_access::Request, BearerToken),
    /// Of an ACM server to that of the other system, with the token that is presented.
    Acm(acm_interconnection::Request, BearerToken),
    /// Of an ACM client, with its user and the token that is presented.
    AcmClient(Box<(McServiceId, BearerToken, acm_client::Request)>),
    /// The management interface of an ACM server.
    AcmServer(acm_management::Request),
    /// The management interface of a functional alias controlling server.
    Aliases(alias_management::Request),
}

/// What is answered.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    Database(management::Answer),
    ConfigServer(configuration::Answer),
    /// A2.
    Details(connection_details::Answer),
    /// C2.
    Access(system_access::Answer),
    Acm(acm_interconnection::Answer),
    AcmClient(acm_client::Answer),
    AcmServer(acm_management::Answer),
    Aliases(alias_management::Answer),
}

/// Answers that the network loses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lost {
    /// A2, on the way to UEs.
    Details,
    /// C2, on the way to the other system.
    Access,
}

/// Who asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Asker {
    /// A test: it looks for the answer.
    Test,
    /// The script of a UE, under this token.
    Script { ue: usize, token: u64 },
    /// The administrator of a UE's agreements, under this token.
    Administrator { ue: usize, token: u64 },
    /// The configuration management client of a UE.
    Client { ue: usize },
    /// The configuration server of a system.
    ConfigServer { system: SystemId, incarnation: u64, id: RequestId },
    /// The ACM server of a system.
    AcmServer { system: SystemId, incarnation: u64, id: RequestId },
    /// An ACM client, or its user at a management interface.
    AcmClient { client: usize, turn: u64 },
}

impl Inquiry {
    const fn name(&self) -> &'static str {
        match self {
            Self::Database(_) => "management",
            Self::ConfigServer(_) => "configuration",
            Self::Details(..) => "connection details",
            Self::Access(..) => "system access",
            Self::Acm(..) => "transaction",
            Self::AcmClient(..) => "client",
            Self::AcmServer(_) => "client management",
            Self::Aliases(_) => "functional alias",
        }
    }

    /// Whether whoever asks may ask twice without asking: the answers are the same.
    const fn may_arrive_twice(&self) -> bool {
        matches!(self, Self::Details(..) | Self::Access(..) | Self::Acm(..) | Self::AcmClient(..))
    }

    /// What is answered where the request was lost with a commit that failed; nothing where that is a 503.
    const fn unavailable(&self) -> Option<Reply> {
        use connection_details as details;
        const REFUSED: management::Refusal = management::Refusal::Unavailable;
        Some(match self {
            Self::Database(_) => Reply::Database(management::Answer::Refused(REFUSED)),
            Self::ConfigServer(_) => Reply::ConfigServer(configuration::Answer::Refused(REFUSED)),
            Self::Details(..) => {
                Reply::Details(details::Answer::Refused(details::Refusal::Unavailable))
            }
            Self::Access(..) => {
                Reply::Access(system_access::Answer::Refused(system_access::Refusal::Unavailable))
            }
            Self::Acm(..) | Self::AcmClient(_) | Self::AcmServer(_) | Self::Aliases(_) => {
                return None;
            }
        })
    }

    const fn fits(&self, reply: &Reply) -> bool {
        matches!(
            (self, reply),
            (Self::Database(_), Reply::Database(_))
                | (Self::ConfigServer(_), Reply::ConfigServer(_))
                | (Self::Details(..), Reply::Details(_))
                | (Self::Access(..), Reply::Access(_))
                | (Self::Acm(..), Reply::Acm(_))
                | (Self::AcmClient(_), Reply::AcmClient(_))
                | (Self::AcmServer(_), Reply::AcmServer(_))
                | (Self::Aliases(_), Reply::Aliases(_))
        )
    }
}

impl World {
    /// Sends a question and returns its number.
    pub(super) fn ask(&mut self, to: SystemId, inquiry: Inquiry, asker: Asker) -> u64 {
        self.next_question += 1;
        let question = self.next_question;
        if let Inquiry::Database(request) = &inquiry {
            self.checks.asked_by_user(request);
            self.enter_request(to, Cause::Question(question), request);
        }
        if let Inquiry::ConfigServer(request) = &inquiry {
            self.enter_configuration(to, Cause::Question(question), request);
        }
        let doubled = inquiry.may_arrive_twice() && self.entropy.happens(self.options.duplication);
        let name = inquiry.name();
        self.questions.insert(question, Question { inquiry, asker: Some(asker) });
        for _ in 0..=u8::from(doubled) {
            if self.is_lost(asker) {
                self.record(Who::World, || format!("a {name} request is lost"));
                self.never_arrives(question);
            } else {
                let delay = self.draw_delay();
                self.queue.put_after(delay, Event::Asked { question, system: to });
            }
        }
        question
    }

    fn is_lost(&mut self, asker: Asker) -> bool {
        let between_systems = matches!(asker, Asker::ConfigServer { .. } | Asker::AcmServer { .. });
        self.entropy.happens(self.options.loss) || between_systems && self.wire.partitioned
    }

    /// A question does not arrive. One that changes something has no copy that might.
    fn never_arrives(&mut self, question: u64) {
        let (now, cause) = (self.queue.now(), Cause::Question(question));
        // Only what was lent can violate anything.
        let _ = self.checks.facts.end(now, &cause, &Outcome::Refused);
        self.give_up(question);
    }

    /// Lets whoever asked learn that no answer will come, or wait in vain.
    fn give_up(&mut self, question: u64) {
        if self.entropy.happens(500) {
            let span = self.entropy.span(GIVE_UP.0, GIVE_UP.1);
            self.queue.put_after(span, Event::Undeliverable { question });
        }
    }

    /// A question arrives.
    pub(super) fn asked(&mut self, question: u64, id: SystemId) {
        if !self.system(id).up {
            return self.never_arrives(question);
        }
        let Some(Question { inquiry, .. }) = self.questions.get(&question) else { return };
        let inquiry = inquiry.clone();
        self.record(Who::System(id), || format!("{} request arrives", inquiry.name()));
        let since = self.queue.now();
        let handle = self.system_mut(id).park(Parked::Http { question, since });
        let to = ReplyTo::World(handle);
        self.call(id, |roles, ctx| match inquiry {
            Inquiry::Database(request) => roles.database.handle_management(ctx, to, request),
            Inquiry::ConfigServer(request) => {
                roles.config_server.handle_configuration(ctx, to, request);
            }
            Inquiry::Details(request, token) => {
                let credential = connection_details::Credential::Static(token);
                roles.config_server.handle_connection_details(ctx, to, Some(&credential), request);
            }
            Inquiry::Access(request, token) => {
                roles.config_server.handle_system_access(ctx, to, Some(&token), request);
            }
            Inquiry::Acm(..)
            | Inquiry::AcmClient(_)
            | Inquiry::AcmServer(_)
            | Inquiry::Aliases(_) => {
                if let Some(acm) = &roles.acm {
                    acm.asked(ctx, to, inquiry);
                }
            }
        });
    }

    /// A role answers a question.
    pub(super) fn answer_http(&mut self, id: SystemId, handle: u64, reply: Reply) {
        match self.system_mut(id).parked.remove(&handle) {
            Some(Parked::Http { question, .. }) => {
                if self.questions.get(&question).is_some_and(|it| !it.inquiry.fits(&reply)) {
                    self.violate(Violation::new("an answer is of its question's kind", &"HTTP"));
                }
                self.return_answer(question, reply);
            }
            Some(Parked::Diameter { .. }) => {
                self.violate(Violation::new("an answer is of its question's kind", &"Diameter"));
            }
            None => self.check_unparked(id, handle),
        }
    }

    fn return_answer(&mut self, question: u64, reply: Reply) {
        let Some(Question { inquiry, asker }) = self.questions.get(&question) else { return };
        let (name, asker) = (inquiry.name(), *asker);
        let losing = match inquiry {
            Inquiry::Details(..) => self.losing == Some(Lost::Details),
            Inquiry::Access(..) => self.losing == Some(Lost::Access),
            Inquiry::Database(_)
            | Inquiry::ConfigServer(_)
            | Inquiry::Acm(..)
            | Inquiry::AcmClient(_)
            | Inquiry::AcmServer(_)
            | Inquiry::Aliases(_) => false,
        };
        if losing || asker.is_some_and(|asker| self.is_lost(asker)) {
            self.record(Who::World, || format!("a {name} answer is lost"));
            return self.give_up(question);
        }
        let delay = self.draw_delay();
        self.queue.put_after(delay, Event::Answered { question, reply });
    }

    /// Whoever waits for the answer to a question of a process that has forgotten it learns so.
    pub(super) fn refuse_forgotten(&mut self, question: u64) {
        self.checks.facts.forget(self.queue.now(), &Cause::Question(question));
        if let Some(Question { inquiry, .. }) = self.questions.get(&question) {
            match inquiry.unavailable() {
                Some(reply) => self.return_answer(question, reply),
                None => self.give_up(question),
            }
        }
    }

    /// The connections to a process that crashed break.
    pub(super) fn break_http(&mut self, questions: Vec<u64>) {
        for question in questions {
            self.checks.facts.forget(self.queue.now(), &Cause::Question(question));
            self.give_up(question);
        }
    }

    /// An answer arrives. The first one counts.
    pub(super) fn answered(&mut self, question: u64, reply: Reply) {
        let asker = self.questions.get_mut(&question).and_then(|it| it.asker.take());
        match (asker, reply) {
            (Some(Asker::Test), reply) => {
                self.answers.insert(question, reply);
            }
            (Some(Asker::Script { ue, token }), Reply::Database(answer)) => {
                self.script_answered(ue, token, &answer);
            }
            (Some(Asker::Administrator { ue, token }), Reply::ConfigServer(answer)) => {
                self.administrator_answered(ue, token, &answer);
            }
            (Some(Asker::Administrator { ue, token }), Reply::Database(answer)) => {
                self.revocation_answered(ue, token, &answer);
            }
            (Some(Asker::Client { ue }), Reply::Details(answer)) => {
                self.client_answered(ue, question, Ok(answer));
            }
            (Some(Asker::ConfigServer { system, incarnation, id }), Reply::Access(answer)) => {
                let reply = SystemAccessReply { id, outcome: Ok(answer) };
                self.system_access_reply(system, incarnation, reply);
            }
            (Some(Asker::AcmServer { system, incarnation, id }), Reply::Acm(answer)) => {
                self.acm_reply(system, incarnation, AcmReply { id, outcome: Ok(answer) });
            }
            (Some(Asker::AcmClient { client, turn }), reply) => {
                self.acm_client_answered(client, turn, reply);
            }
            // An answer of another kind was a violation when it left.
            (None | Some(_), _) => {}
        }
    }

    /// Whoever asked learns that no answer will come. Scripts and tests have timers of their own.
    pub(super) fn undeliverable(&mut self, question: u64) {
        let Some(open) = self.questions.get_mut(&question) else { return };
        match open.asker {
            Some(Asker::Client { ue }) => {
                open.asker = None;
                self.client_answered(ue, question, Err(Undeliverable));
            }
            Some(Asker::ConfigServer { system, incarnation, id }) => {
                open.asker = None;
                let reply = SystemAccessReply { id, outcome: Err(Undeliverable) };
                self.system_access_reply(system, incarnation, reply);
            }
            Some(Asker::AcmServer { system, incarnation, id }) => {
                open.asker = None;
                self.acm_reply(system, incarnation, AcmReply { id, outcome: Err(Undeliverable) });
            }
            Some(
                Asker::Test
                | Asker::Script { .. }
                | Asker::Administrator { .. }
                | Asker::AcmClient { .. },
            )
            | None => {}
        }
    }

    pub(super) fn system_access_reply(
        &mut self,
        id: SystemId,
        incarnation: u64,
        reply: SystemAccessReply,
    ) {
        if self.system(id).incarnation == incarnation {
            self.call(id, |roles, ctx| roles.config_server.handle_system_access_reply(ctx, reply));
        }
    }

    /// What becomes of a message that was lost with a commit that failed: whoever waits for it is told.
    pub(super) fn lose(&mut self, id: SystemId, send: &Send) {
        match &send.message {
            Message::Management { to: ReplyTo::Role(request), .. } => {
                self.system_mut(id).managed.remove(request);
                self.checks.facts.forget(self.queue.now(), &Cause::Role(id, *request));
                self.refuse_management(id, *request);
            }
            Message::ManagementRequest { id: request, .. } => self.refuse_management(id, *request),
            Message::SystemAccessRequest { id: request, .. } => {
                let (now, incarnation) = (self.queue.now(), self.system(id).incarnation);
                let reply = SystemAccessReply { id: *request, outcome: Err(Undeliverable) };
                self.queue.put(now, Event::SystemAccessReply { system: id, incarnation, reply });
            }
            Message::Management { to: ReplyTo::World(handle), .. }
            | Message::Configuration { to: ReplyTo::World(handle), .. }
            | Message::ConnectionDetails { to: ReplyTo::World(handle), .. }
            | Message::SystemAccess { to: ReplyTo::World(handle), .. }
            | Message::Acm(
                AcmMessage::Answer { to: ReplyTo::World(handle), .. }
                | AcmMessage::Client { to: ReplyTo::World(handle), .. }
                | AcmMessage::Management { to: ReplyTo::World(handle), .. }
                | AcmMessage::Aliases { to: ReplyTo::World(handle), .. },
            ) => {
                let parked = self.system_mut(id).parked.remove(handle);
                if let Some(Parked::Http { question, .. }) = parked {
                    self.refuse_forgotten(question);
                }
            }
            // These are repeated by whoever waits.
            Message::Configuration { .. }
            | Message::Registration { .. }
            | Message::ConfigurationRequest { .. }
            | Message::Acm(_)
            | Message::Idms(_)
            | Message::ConnectionDetails { .. }
            | Message::SystemAccess { .. }
            | Message::Sip { .. }
            | Message::SipRequest { .. }
            | Message::CxRequest { .. }
            | Message::CxAnswer { .. }
            | Message::ConnectionDetailsRequest(_) => {}
        }
    }
}
