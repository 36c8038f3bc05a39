//! What an ACM server asks the configuration server of its own system: what is in force, and to bring something into
//! force. Each is a management request that the configuration server has anyway; a repeat of one is harmless.

use super::{
    AcmServer,
    decision::Outcome,
    migrants::{Agreed, MigrantKey},
    ordered::Ordered,
    record::{Handler, IncomingState},
};
use crate::{
    api::{
        acm_interconnection::{ResultCode, TransactionKey},
        acm_payload::{Kind, Payload},
        configuration::{Answer, Request},
        connection_details::SystemConfiguration,
        migration_identity::Refusal,
    },
    identity::McSystemId,
    outbox::{ConfigurationReply, Context, Message, Note},
};

/// What waits for an answer.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    /// Of the other system.
    Partner(TransactionKey),
    /// Of the configuration server.
    Configuration(TransactionKey, Purpose),
    /// Of the configuration server: an agreement for a user.
    Agreement(Box<MigrantKey>, Agreed),
}

/// What the configuration server is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Purpose {
    /// What is in force, to find out what a request would change.
    Live,
    /// What is in force of the system that sent its configuration, which is accepted: its label stays.
    InForce,
    /// To bring that into force.
    Put,
    /// This system's own, to be sent to who asked for it.
    Own,
    /// What is in force after the configuration server has refused to bring it into force, and why, as it said: perhaps
    /// something newer has come there first.
    Refused(&'static str),
}

impl AcmServer {
    /// Asks the configuration server about a transaction.
    pub(super) fn ask_configuration(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        key: &TransactionKey,
        purpose: Purpose,
    ) {
        let system = self.system_asked_about(key, purpose);
        self.request_configuration(
            ctx,
            turn,
            key,
            purpose,
            Request::GetSystemConfiguration(system),
        );
    }

    /// Which system's configuration is asked for.
    fn system_asked_about(&self, key: &TransactionKey, purpose: Purpose) -> McSystemId {
        let own = || self.config.system.clone();
        match purpose {
            Purpose::Live => match self.payloads.get(key).map(|payload| payload.kind()) {
                Some(Kind::Configuration) => key.origin.clone(),
                _ => own(),
            },
            Purpose::InForce | Purpose::Put | Purpose::Refused(_) => key.origin.clone(),
            Purpose::Own => own(),
        }
    }

    fn request_configuration(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        key: &TransactionKey,
        purpose: Purpose,
        request: Request,
    ) {
        let asked = Asked::Configuration(key.clone(), purpose);
        let held = self.incoming.get_mut(key);
        let id = held.map(|mut held| self.open_link(ctx, asked, &mut held.link));
        if let Some(id) = id {
            let message = Message::ConfigurationRequest { id, request };
            ctx.out.send_after(self.latest.get(), None, message);
        }
        self.schedule(turn, key);
    }

    /// Brings an accepted request into force, as far as the configuration server has a part in it.
    pub(super) fn put_in_force(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        key: &TransactionKey,
    ) {
        let kind = self.payloads.get(key).map(|payload| payload.kind());
        let purpose = if kind == Some(Kind::PleaseSend) { Purpose::Own } else { Purpose::InForce };
        self.ask_configuration(ctx, turn, key, purpose);
    }

    /// Takes the answer of the configuration server.
    pub(super) fn take_configuration_reply(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        reply: ConfigurationReply,
    ) {
        if !ctx.out.storage_available() {
            return;
        }
        let (key, purpose) = match self.requests.remove(&reply.id.number) {
            Some((_, Asked::Configuration(key, purpose))) => (key, purpose),
            Some((_, Asked::Agreement(key, wanted))) => {
                return self.take_agreement_reply(ctx, turn, &key, wanted, &reply.answer);
            }
            Some((_, Asked::Partner(_))) | None => return,
        };
        let payload = self.payloads.get(&key).map(|payload| payload.clone());
        let Some(payload) = payload else { return };
        match (purpose, reply.answer) {
            (Purpose::Put, Answer::Done) => self.is_in_force(ctx, turn, &key),
            (Purpose::Put, Answer::Refused(Refusal::Invalid(what))) => {
                self.ask_configuration(ctx, turn, &key, Purpose::Refused(what));
            }
            (_, Answer::SystemConfiguration(live)) => {
                self.take_live(ctx, turn, &key, (purpose, &payload), Some(&live));
            }
            (_, Answer::Refused(Refusal::NotFound(_))) => {
                self.take_live(ctx, turn, &key, (purpose, &payload), None);
            }
            _ => self.ask_later(ctx, turn, &key),
        }
    }

    fn take_live(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        key: &TransactionKey,
        (purpose, payload): (Purpose, &Payload),
        live: Option<&SystemConfiguration>,
    ) {
        match purpose {
            Purpose::Live => {
                let mut differing = differing_elements(payload, live);
                differing.extend(self.differing_names(turn, key, payload));
                self.assessed(ctx, turn, key, Some(differing));
            }
            Purpose::Own => self.answer_pull(ctx, turn, key, live),
            Purpose::InForce => self.replace(ctx, turn, key, payload, live),
            Purpose::Refused(what) => {
                if payload.configuration().is_some_and(|it| is_newer(live, it)) {
                    self.is_stale_here(ctx, turn, key);
                } else {
                    self.cannot_put(ctx, turn, key, what);
                }
            }
            Purpose::Put => {}
        }
    }

    /// Replaces what is in force, unless that is newer. A label that is set stays where the new one is blank.
    fn replace(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        key: &TransactionKey,
        payload: &Payload,
        live: Option<&SystemConfiguration>,
    ) {
        let Some(mut next) = payload.configuration().cloned() else { return };
        if let Some(live) = live {
            let is_blank = next.document.label().is_none_or(str::is_empty);
            let label = live.document.label().filter(|label| is_blank && !label.is_empty());
            if let Some(label) = label {
                next.document = next.document.with_label(Some(label)).into();
            }
            // The same again is what a repeat after a crash finds.
            if is_newer(Some(live), &next) {
                return self.is_stale_here(ctx, turn, key);
            }
        }
        let request = Request::PutExchangedConfiguration {
            system: key.origin.clone(),
            configuration: next,
            transaction: key.clone(),
            decided_by: self.accepted_by(key).and_then(|handler| handler.id),
        };
        self.request_configuration(ctx, turn, key, Purpose::Put, request);
    }

    fn accepted_by(&self, key: &TransactionKey) -> Option<Handler> {
        let held = self.incoming.get(key)?;
        let is_deciding = held.record.state == IncomingState::Deciding;
        is_deciding.then(|| held.record.accepted_by.clone().unwrap_or_default())
    }

    fn is_in_force(&self, ctx: &mut Context<'_>, turn: &mut Ordered, key: &TransactionKey) {
        let Some(handler) = self.accepted_by(key) else { return };
        let Some(envelope) = self.envelope_of(key) else { return };
        let kind = Kind::Configuration;
        let raised = self.raise_revision(false, &key.origin, kind, envelope.revision);
        let outcome = Outcome::bare(ResultCode::Ok);
        self.respond(ctx, turn, key, handler, outcome, vec![raised]);
    }

    fn is_stale_here(&self, ctx: &mut Context<'_>, turn: &mut Ordered, key: &TransactionKey) {
        let Some(handler) = self.accepted_by(key) else { return };
        let outcome = Outcome::new(ResultCode::StaleRevision, "something newer is in force");
        self.respond(ctx, turn, key, handler, outcome, Vec::new());
    }

    /// The configuration server will never take it: whoever set the two up has to look.
    fn cannot_put(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        key: &TransactionKey,
        what: &'static str,
    ) {
        ctx.out.note(Note::AccessMisconfigured { partner: key.origin.clone(), what });
        let Some(handler) = self.accepted_by(key) else { return };
        let outcome = Outcome::new(ResultCode::InvalidData, what);
        self.respond(ctx, turn, key, handler, outcome, Vec::new());
    }

    /// Sends this system's own configuration to who asked for it, by a transaction that becomes durable with the
    /// response.
    fn answer_pull(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        key: &TransactionKey,
        own: Option<&SystemConfiguration>,
    ) {
        let Some(handler) = self.accepted_by(key) else { return };
        let sender = handler.id.clone().or_else(|| self.config.answers_pull.clone());
        let (Some(own), Some(sender)) = (own, sender) else {
            let text = "this system has no configuration to send";
            let outcome = Outcome::new(ResultCode::RejectedByPolicy, text);
            return self.respond(ctx, turn, key, handler, outcome, Vec::new());
        };
        let payload = Payload::Configuration(own.clone());
        let (submission, octets) = self.own_submission(ctx, &sender, key.origin.clone(), payload);
        let transaction = submission.envelope.transaction;
        match self.add_outgoing(ctx, turn, submission, octets) {
            Ok(mutations) => {
                let outcome = Outcome::bare(ResultCode::Ok);
                self.respond(ctx, turn, key, handler, outcome, mutations);
                self.send_outgoing(ctx, turn, transaction);
            }
            Err(_) => self.ask_later(ctx, turn, key),
        }
    }

    /// The configuration server does not answer, or cannot now: it is asked again after a pause, twice as long after each
    /// time. What was accepted comes into force whenever it can: whether it has already, nobody could tell otherwise.
    pub(super) fn ask_later(
        &self,
        ctx: &mut Context<'_>,
        turn: &mut Ordered,
        key: &TransactionKey,
    ) {
        if let Some(mut held) = self.incoming.get_mut(key) {
            self.fail_link(ctx, &mut held.link);
            if held.record.state == IncomingState::Deciding {
                ctx.out.note(Note::EffectDelayed { partner: key.origin.clone() });
            }
        }
        self.schedule(turn, key);
    }
}

/// Whether what is in force is of the same revision or a later one, and not the same.
fn is_newer(live: Option<&SystemConfiguration>, next: &SystemConfiguration) -> bool {
    live.is_some_and(|live| live.revision >= next.revision && live != next)
}

/// The elements of a request's configuration that differ from what is in force: of the system that sends it, all of
/// them; of this system, those that it owns itself.
fn differing_elements(payload: &Payload, live: Option<&SystemConfiguration>) -> Vec<String> {
    let Some(next) = payload.configuration() else { return Vec::new() };
    let Some(live) = live else { return vec!["configuration".to_owned()] };
    let mut names: Vec<String> = Vec::new();
    if next.sip_core != live.sip_core {
        names.push("sip_core".to_owned());
    }
    let elements = next.document.differing_system_elements(&live.document);
    names.extend(elements.into_iter().map(str::to_owned));
    let without_label = |it: &SystemConfiguration| it.document.with_label(None);
    let is_senders = payload.kind() == Kind::Configuration;
    if is_senders && names.is_empty() && without_label(next) != without_label(live) {
        names.push("elements of users".to_owned());
    }
    names
}
