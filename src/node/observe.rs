//! Observation: every message and step into metrics, logs and the ladder.

use std::sync::Arc;

use axum::{http::StatusCode, response::Response};

use super::{
    acm,
    http::{self, Ends},
    ladder::{self, Entry, Protocol, Tap},
    metrics::{CscRequest, CxResult, Direction},
    park::AcmPartner,
    perform::Shared,
};
use crate::{
    api::{
        acm_interconnection, acm_payload::Kind, configuration, migration_identity as management,
    },
    diameter::cx,
    outbox::{Flow, IdmsNote, McNote, Note, RequestId, Role},
    step::Step,
};

impl Shared {
    /// Whether anybody wants single messages described.
    pub(super) fn is_observed(&self) -> bool {
        self.tap.as_ref().is_some_and(Tap::is_read) || tracing::enabled!(tracing::Level::DEBUG)
    }

    /// Counts and describes a SIP message that passes a socket.
    pub(super) fn observe_sip(
        &self,
        direction: Direction,
        step: Option<Step>,
        flow: &Flow,
        octets: &[u8],
    ) {
        self.metrics.sip_message(direction, flow.transport);
        if direction == Direction::Out
            && let Some(code) = status_code(octets)
        {
            self.metrics.sip_response(code);
        }
        if !self.is_observed() {
            return;
        }
        if self.is_for_mc_server(flow) {
            return self.observe_mc_server(direction, flow, octets);
        }
        let (core, ue) = (Arc::clone(&self.names.sip_core), Arc::clone(&self.names.ue));
        let (from, to) = if direction == Direction::In { (ue, core) } else { (core, ue) };
        let step = step.or_else(|| ladder::step_of_request(octets));
        self.record_sip(step, direction, (from, to), flow, octets);
    }

    /// Describes a SIP message to or from the MC server.
    fn observe_mc_server(&self, direction: Direction, flow: &Flow, octets: &[u8]) {
        let (core, mc) = (self.names.of(Role::SipCore), self.names.of(Role::McServer));
        let parties = if direction == Direction::In { (core, mc) } else { (mc, core) };
        self.record_sip(None, direction, parties, flow, octets);
    }

    /// Counts and describes a SIP request of the SIP core to an application server.
    pub(super) fn observe_sip_request(&self, flow: &Flow, octets: &[u8]) {
        self.metrics.sip_message(Direction::Out, flow.transport);
        if self.is_observed() {
            let parties = (self.names.of(Role::SipCore), self.names.of(Role::McServer));
            self.record_sip(None, Direction::Out, parties, flow, octets);
        }
    }

    /// Describes a SIP message, which may be a step of a procedure.
    fn record_sip(
        &self,
        step: Option<Step>,
        direction: Direction,
        (from, to): (Arc<str>, Arc<str>),
        flow: &Flow,
        octets: &[u8],
    ) {
        self.record(Entry {
            at: self.clock.now(),
            step: step.map(|step| step.to_string()),
            from,
            to,
            protocol: flow.transport.into(),
            direction,
            local: Some(flow.local),
            remote: Some(flow.remote),
            summary: ladder::describe_sip(octets),
            octets: octets.len(),
        });
    }

    pub(super) fn observe_value_request(
        &self,
        step: Option<Step>,
        id: RequestId,
        request: &cx::Request,
    ) {
        self.metrics.own_request(ladder::command_of_request(request));
        if self.is_observed() {
            let summary = ladder::describe_request(request);
            self.record_value(step, (id.role, Role::SipDatabase), summary);
        }
    }

    pub(super) fn observe_value_answer(
        &self,
        step: Option<Step>,
        id: RequestId,
        answer: &cx::Answer,
    ) {
        let (command, _, result) = ladder::outcome_of_answer(answer);
        self.metrics.own_answer(command, result);
        if self.is_observed() {
            let (_, name, result) = ladder::outcome_of_answer(answer);
            let summary = format!("{name} {}", CxResult(Some(result)));
            self.record_value(step, (Role::SipDatabase, id.role), summary);
        }
    }

    pub(super) fn observe_management_request(&self, request: &management::Request) {
        let step = match request {
            management::Request::BindOutbound { .. } => Step::mig(4),
            management::Request::BindInbound { .. } => Step::mig(9),
            management::Request::PutSubscriber(_)
            | management::Request::PutDigestSubscriber(_)
            | management::Request::GetDigestSubscriber(_)
            | management::Request::DeleteDigestSubscriber(_)
            | management::Request::PutSubscribers(_)
            | management::Request::GetSubscriber(_)
            | management::Request::DeleteSubscriber(_)
            | management::Request::PutPool(_)
            | management::Request::GetPool(_)
            | management::Request::PutGrant { .. }
            | management::Request::DeleteGrant { .. }
            | management::Request::GetOutbound(_)
            | management::Request::GetInbound(_)
            | management::Request::ReleaseOutbound(_)
            | management::Request::ReleaseInbound(_)
            | management::Request::MapInbound { .. }
            | management::Request::WithdrawAgreement(_)
            | management::Request::EndVisits(_)
            | management::Request::Check(_) => return,
        };
        let summary = describe_management_request(request);
        if self.is_observed() {
            let (from, to) = (Arc::clone(&self.names.management), self.names.of(Role::SipDatabase));
            self.record_message(
                Protocol::Http,
                Direction::In,
                Some(step),
                from,
                to,
                summary.to_owned(),
            );
        }
    }

    pub(super) fn observe_management_answer(
        &self,
        step: Option<Step>,
        answer: &management::Answer,
    ) {
        if step.is_some() && self.is_observed() {
            let summary = describe_management_answer(answer);
            let (from, to) = (self.names.of(Role::SipDatabase), Arc::clone(&self.names.management));
            self.record_message(Protocol::Http, Direction::Out, step, from, to, summary.to_owned());
        }
    }

    /// Counts and describes a management request of a role to the SIP database of its own system.
    pub(super) fn observe_value_management(
        &self,
        step: Option<Step>,
        id: RequestId,
        request: &management::Request,
    ) {
        if self.is_observed() {
            let summary = describe_management_request(request);
            self.record_value(step, (id.role, Role::SipDatabase), summary);
        }
    }

    /// Describes the answer to a management request of a role.
    pub(super) fn observe_value_management_answer(
        &self,
        step: Option<Step>,
        id: RequestId,
        answer: &management::Answer,
    ) {
        if self.is_observed() {
            let summary = describe_management_answer(answer);
            self.record_value(step, (Role::SipDatabase, id.role), summary);
        }
    }

    /// Describes a request of the ACM server to the configuration server of its own system.
    pub(super) fn observe_value_configuration(
        &self,
        step: Option<Step>,
        id: RequestId,
        request: &configuration::Request,
    ) {
        if self.is_observed() {
            let summary = describe_configuration_request(request);
            self.record_value(step, (id.role, Role::ConfigServer), summary);
        }
    }

    /// Describes the answer to it.
    pub(super) fn observe_value_configuration_answer(
        &self,
        step: Option<Step>,
        id: RequestId,
        answer: &configuration::Answer,
    ) {
        if self.is_observed() {
            let summary = match answer {
                configuration::Answer::Refused(_) | configuration::Answer::RowsRefused(_) => {
                    "refused"
                }
                configuration::Answer::SystemConfiguration(_)
                | configuration::Answer::ConfigurationVersion(_) => "a configuration",
                configuration::Answer::UserProfile(_) => "a user profile",
                configuration::Answer::Done
                | configuration::Answer::User { .. }
                | configuration::Answer::Agreement { .. } => "done",
            };
            self.record_value(step, (Role::ConfigServer, id.role), summary);
        }
    }

    /// Describes what an ACM client that is logged on is told.
    pub(super) fn observe_notification(&self, step: Option<Step>, kind: Kind, octets: usize) {
        if self.is_observed() {
            let at = self.clock.now();
            self.record(Entry {
                at,
                step: step.map(|step| step.to_string()),
                from: self.names.of(Role::Acm),
                to: Arc::clone(&self.names.acm_client),
                protocol: Protocol::Http,
                direction: Direction::Out,
                local: None,
                remote: None,
                summary: format!("pending: {}", kind.as_str()),
                octets,
            });
        }
    }

    /// Describes an HTTP request of a role to a partner, as it leaves.
    pub(super) fn observe_partner_request(
        &self,
        (step, by): (Option<Step>, Role),
        to: Arc<str>,
        ends: Ends,
        path: &str,
        octets: usize,
    ) {
        if self.is_observed() {
            self.record(Entry {
                at: self.clock.now(),
                step: step.map(|step| step.to_string()),
                from: self.names.of(by),
                to,
                protocol: Protocol::Http,
                direction: Direction::Out,
                local: Some(ends.local),
                remote: Some(ends.remote),
                summary: format!("POST {path}"),
                octets,
            });
        }
    }

    /// Counts a request on CSC-4 or CSC-17, and describes its answer, before it leaves.
    pub(super) fn observe_csc(
        &self,
        (interface, operation): (&'static str, &'static str),
        step: Option<Step>,
        to: Arc<str>,
        ends: Option<Ends>,
        response: &Response,
    ) {
        let status = response.status().as_u16();
        let labels = CscRequest { interface, operation, status };
        self.metrics.csc_requests.get_or_create(&labels).inc();
        self.observe_response((step, Role::ConfigServer), to, ends, response);
    }

    /// Counts a request to the ACM server, and describes its answer, before it leaves.
    pub(super) fn observe_acm(
        &self,
        (interface, operation): (&'static str, &'static str),
        step: Option<Step>,
        to: Arc<str>,
        ends: Option<Ends>,
        response: &Response,
    ) {
        self.count_acm((interface, operation), response);
        self.observe_response((step, Role::Acm), to, ends, response);
    }

    /// Counts a request to the ACM server.
    pub(super) fn count_acm(
        &self,
        (interface, operation): (&'static str, &'static str),
        response: &Response,
    ) {
        let status = response.status().as_u16();
        let labels = CscRequest { interface, operation, status };
        self.metrics.acm_requests.get_or_create(&labels).inc();
    }

    /// Describes an answer to the ACM server of a partner when the role lets it go: before what follows from it.
    pub(super) fn observe_acm_answer(
        &self,
        step: Option<Step>,
        AcmPartner { name, ends }: &AcmPartner,
        answer: &acm_interconnection::Answer,
    ) {
        if self.is_observed() && acm::is_content(answer) {
            self.record(Entry {
                at: self.clock.now(),
                step: step.map(|step| step.to_string()),
                from: self.names.of(Role::Acm),
                to: Arc::clone(name),
                protocol: Protocol::Http,
                direction: Direction::Out,
                local: ends.map(|ends| ends.local),
                remote: ends.map(|ends| ends.remote),
                summary: StatusCode::OK.to_string(),
                octets: serde_json::to_vec(answer).map_or(0, |octets| octets.len()),
            });
        }
    }

    fn observe_response(
        &self,
        (step, by): (Option<Step>, Role),
        to: Arc<str>,
        ends: Option<Ends>,
        response: &Response,
    ) {
        let status = response.status();
        if self.is_observed() {
            self.record(Entry {
                at: self.clock.now(),
                step: step.map(|step| step.to_string()),
                from: self.names.of(by),
                to,
                protocol: Protocol::Http,
                direction: Direction::Out,
                local: ends.map(|ends| ends.local),
                remote: ends.map(|ends| ends.remote),
                summary: match response.extensions().get() {
                    Some(http::ProblemName(name)) => format!("{status} {name}"),
                    None => status.to_string(),
                },
                octets: http::octets_of(response),
            });
        }
    }

    /// Tells that a request of a UE had a token that is not to be taken: a security event.
    pub(super) fn report_token_refused(&self, interface: &'static str, why: &'static str) {
        if self.note_limit.admits(self.clock.now()) {
            let system = &*self.config.system.name;
            tracing::info!(target: SECURITY, system, interface, why, "a token was refused");
        }
    }

    /// Records a message between two roles of this process.
    fn record_value(
        &self,
        step: Option<Step>,
        (from, to): (Role, Role),
        summary: impl Into<String>,
    ) {
        let (from, to) = (self.names.of(from), self.names.of(to));
        self.record_message(Protocol::Value, Direction::Out, step, from, to, summary.into());
    }

    /// Records a message that has no octets of its own.
    fn record_message(
        &self,
        protocol: Protocol,
        direction: Direction,
        step: Option<Step>,
        from: Arc<str>,
        to: Arc<str>,
        summary: String,
    ) {
        self.record(Entry {
            at: self.clock.now(),
            step: step.map(|step| step.to_string()),
            from,
            to,
            protocol,
            direction,
            local: None,
            remote: None,
            summary,
            octets: 0,
        });
    }

    pub(super) fn report_step(&self, step: Step, by: Role, summary: &'static str) {
        self.metrics.step(step);
        if self.is_observed() {
            let (from, to) = (self.names.of(by), self.names.of(by));
            self.record_message(
                Protocol::Step,
                Direction::Out,
                Some(step),
                from,
                to,
                summary.to_owned(),
            );
        }
    }

    /// Logs an entry and hands it to the ladder.
    pub(super) fn record(&self, entry: Entry) {
        tracing::debug!(
            system = %self.config.system.name,
            step = entry.step.as_deref(),
            from = %entry.from,
            to = %entry.to,
            protocol = %entry.protocol,
            direction = ?entry.direction,
            octets = entry.octets,
            "{}", entry.summary
        );
        if let Some(tap) = &self.tap {
            tap.record(entry);
        }
    }

    /// Shows who follows the procedure what is decided inside a server, and what whoever asked is not told.
    fn show_note(&self, note: &Note) {
        if !self.is_observed() {
            return;
        }
        let (role, summary) = if let Note::Idms(IdmsNote::Refused(why)) = note {
            (Role::Idms, format!("no tokens: {why}"))
        } else if let Note::Mc(note) = note {
            (Role::McServer, describe_mc_note(*note))
        } else {
            return;
        };
        let from = self.names.of(role);
        let to = Arc::clone(&from);
        self.record_message(Protocol::Step, Direction::Out, None, from, to, summary);
    }

    pub(super) fn report_note(&self, note: &Note) {
        self.metrics.note(note);
        self.show_note(note);
        let is_of_registration = matches!(note, Note::VectorIssued { .. } | Note::Registered(_));
        let is_of_log_in = matches!(note, Note::Idms(note) if is_usual(note))
            || matches!(note, Note::Mc(McNote::Authorised(..)));
        if is_of_registration && !tracing::enabled!(tracing::Level::DEBUG)
            || is_of_log_in && !tracing::enabled!(target: SECURITY, tracing::Level::DEBUG)
        {
            return;
        }
        let system = &*self.config.system.name;
        let name = super::metrics::note_name(note);
        // Whoever can reach us can cause some of these at will: they are all counted, not all logged. What only an
        // operator causes is.
        if !is_of_operator(note) && !self.note_limit.admits(self.clock.now()) {
            return;
        }
        match note {
            Note::VectorRefused { partner } => {
                tracing::warn!(target: SECURITY, system, %partner, note = name, "a partner asked a vector it may not have");
            }
            Note::AuthenticationFailed
            | Note::DecoyChallenge
            | Note::ResynchronisationRefused
            | Note::SqnMovedBack => {
                tracing::warn!(target: SECURITY, system, note = name, "authentication");
            }
            Note::AnswerLate => {
                tracing::warn!(
                    target: SECURITY, system, note = name,
                    "a first answer took longer than sip.refusal_after, which a UE can tell"
                );
            }
            Note::PeerRefused { peer, reason } => {
                let peer = peer.as_ref().map(crate::identity::McSystemId::as_str);
                tracing::warn!(target: SECURITY, system, peer, note = name, reason, "a peer system was refused");
            }
            Note::TransactionConflict { partner } => {
                tracing::warn!(target: SECURITY, system, %partner, note = name, "a transaction of a partner");
            }
            Note::RequestRefused { partner, why } => {
                let partner = partner.as_ref().map(crate::identity::McSystemId::as_str);
                tracing::warn!(target: SECURITY, system, partner, note = name, why, "a request to the ACM server");
            }
            Note::AliasMismatch { partner } => {
                tracing::warn!(target: SECURITY, system, %partner, note = name, "the target user has not the target alias");
            }
            Note::EffectDelayed { partner } => {
                tracing::warn!(system, %partner, note = name, "what was accepted is not in force; it is tried again");
            }
            Note::StrayResponse { partner } | Note::ResponseUndelivered { partner } => {
                tracing::warn!(system, %partner, note = name, "a transaction of a partner");
            }
            Note::AccessMisconfigured { partner, what } => {
                tracing::warn!(system, %partner, note = name, what, "check the set-up");
            }
            Note::Idms(note) => report_idms_note(system, name, note),
            Note::Mc(note) => report_mc_note(system, name, *note),
            Note::ApplicationServerFailed { why } => {
                tracing::warn!(
                    system,
                    note = name,
                    why,
                    "an application server did not take a third-party REGISTER"
                );
            }
            Note::TableFull(table) => tracing::warn!(system, note = name, table, "a table is full"),
            Note::Limited(limit) => {
                tracing::warn!(target: SECURITY, system, note = name, limit = limit.as_str(), "a limit was reached");
            }
            Note::Resynchronised => tracing::info!(system, note = name, "authentication"),
            Note::VectorIssued { .. } | Note::Registered(_) => tracing::debug!(system, note = name),
        }
    }
}

/// Logs what an MC server has to tell.
fn report_mc_note(system: &str, name: &str, note: McNote) {
    match note {
        McNote::Refused(service, why) => {
            let service = service.as_str();
            tracing::warn!(target: SECURITY, system, note = name, service, why, "no service authorisation");
        }
        McNote::StrangerRefused => {
            tracing::warn!(target: SECURITY, system, note = name, "a request to the MC server that is of no SIP core");
        }
        McNote::Authorised(service, is_bound) => {
            let service = service.as_str();
            tracing::debug!(target: SECURITY, system, note = name, service, is_bound);
        }
    }
}

/// Describes what an MC server did, identities left out.
fn describe_mc_note(note: McNote) -> String {
    match note {
        McNote::Authorised(service, true) => format!("service authorised: {}", service.as_str()),
        McNote::Authorised(service, false) => format!("service logged off: {}", service.as_str()),
        McNote::Refused(service, why) => format!("{} not authorised: {why}", service.as_str()),
        McNote::StrangerRefused => "not of a SIP core of this system".to_owned(),
    }
}

/// The target of log lines that are security events: with `migcore::security=debug` in `log.level`, log-ins and tokens
/// that were given, too.
pub(super) const SECURITY: &str = "migcore::security";

/// What happens at each request.
const fn is_usual(note: &IdmsNote) -> bool {
    matches!(
        note,
        IdmsNote::LogIn(_)
            | IdmsNote::SecurityTokenIssued { .. }
            | IdmsNote::SecurityTokenTaken { .. }
    )
}

/// What nobody else can cause.
const fn is_of_operator(note: &Note) -> bool {
    matches!(
        note,
        Note::Idms(
            IdmsNote::TrustImported { .. }
                | IdmsNote::TrustRevoked { .. }
                | IdmsNote::VisitsChanged { .. }
                | IdmsNote::KeyMade(_)
        )
    )
}

/// Logs what an identity management server has to tell. Trust and keys are what an operator has to be able to look up.
fn report_idms_note(system: &str, name: &str, note: &IdmsNote) {
    match note {
        IdmsNote::Refused(why) => {
            tracing::info!(target: SECURITY, system, note = name, why, "no tokens");
        }
        IdmsNote::LogIn(_) => tracing::debug!(target: SECURITY, system, note = name),
        IdmsNote::SecurityTokenIssued { client, partner } => {
            tracing::debug!(target: SECURITY, system, note = name, %client, %partner);
        }
        IdmsNote::SecurityTokenTaken { client, issuer, first } => {
            tracing::debug!(target: SECURITY, system, note = name, %client, %issuer, first);
        }
        IdmsNote::RefreshTokenReused(client) => {
            tracing::warn!(target: SECURITY, system, note = name, %client, "an old token was presented");
        }
        IdmsNote::TrustImported { issuer, added } => {
            if added.is_empty() {
                tracing::info!(target: SECURITY, system, note = name, %issuer, "a list of revoked certificates was taken in");
            }
            for certificate in added {
                tracing::info!(target: SECURITY, system, note = name, %issuer, %certificate, "trusted from now on");
            }
        }
        IdmsNote::TrustRevoked { issuer, fingerprint } => {
            tracing::warn!(target: SECURITY, system, note = name, %issuer, certificate = %fingerprint, "revoked");
        }
        IdmsNote::VisitsChanged { issuer, may_come } => {
            tracing::info!(target: SECURITY, system, note = name, %issuer, may_come, "who may come here has changed");
        }
        IdmsNote::KeyMade(certificate) => {
            tracing::info!(target: SECURITY, system, note = name, %certificate, "a new key of this system");
        }
    }
}

/// Describes a management request in a few words, identities left out.
const fn describe_management_request(request: &management::Request) -> &'static str {
    match request {
        management::Request::BindOutbound { .. } => "ask for an outbound pair",
        management::Request::PutGrant { .. } => "allow the real pair",
        management::Request::BindInbound { .. } => "ask for an inbound pair",
        management::Request::ReleaseOutbound(_) | management::Request::DeleteGrant { .. } => {
            "take back what was lent"
        }
        management::Request::WithdrawAgreement(_) => "end an agreement",
        management::Request::EndVisits(_) => "end the visits of a user",
        management::Request::Check(_) => "ask whether it would be refused",
        management::Request::PutSubscriber(_)
        | management::Request::PutDigestSubscriber(_)
        | management::Request::GetDigestSubscriber(_)
        | management::Request::DeleteDigestSubscriber(_)
        | management::Request::PutSubscribers(_)
        | management::Request::GetSubscriber(_)
        | management::Request::DeleteSubscriber(_)
        | management::Request::PutPool(_)
        | management::Request::GetPool(_)
        | management::Request::MapInbound { .. }
        | management::Request::GetOutbound(_)
        | management::Request::GetInbound(_)
        | management::Request::ReleaseInbound(_) => "manage",
    }
}

/// Describes a request to the configuration server in a few words, identities left out.
const fn describe_configuration_request(request: &configuration::Request) -> &'static str {
    match request {
        configuration::Request::GetSystemConfiguration(_) => "ask for a configuration",
        configuration::Request::PutSystemConfiguration { .. }
        | configuration::Request::PutExchangedConfiguration { .. } => {
            "bring a configuration into force"
        }
        configuration::Request::PutAgreement(_) => "make an agreement",
        configuration::Request::DeleteAgreement(_) => "end an agreement",
        configuration::Request::ReadUserProfile(_) => "ask for a user profile",
        configuration::Request::DeleteSystemConfiguration(_)
        | configuration::Request::GetConfigurationVersion { .. }
        | configuration::Request::PutUserProfile { .. }
        | configuration::Request::GetUserProfile(_)
        | configuration::Request::DeleteUserProfile(_)
        | configuration::Request::GetAgreement(_)
        | configuration::Request::PutUser(_)
        | configuration::Request::PutUsers(_)
        | configuration::Request::GetUser(_)
        | configuration::Request::DeleteUser(_)
        | configuration::Request::Check(_) => "manage",
    }
}

/// Describes a management answer in a few words, identities left out.
const fn describe_management_answer(answer: &management::Answer) -> &'static str {
    match answer {
        management::Answer::Binding(_) => "a pair",
        management::Answer::Granted { .. } => "the real pair is allowed",
        management::Answer::Refused(_) | management::Answer::RowsRefused(_) => "refused",
        management::Answer::Done
        | management::Answer::Subscriber { .. }
        | management::Answer::DigestSubscriber { .. }
        | management::Answer::Pool { .. } => "done",
    }
}

/// The status code of a SIP response.
fn status_code(octets: &[u8]) -> Option<u16> {
    let code = octets.strip_prefix(b"SIP/2.0 ")?.get(..3)?;
    code.iter().try_fold(0_u16, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + u16::from(digit - b'0'))
    })
}
