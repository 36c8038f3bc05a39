//! One MC service of a registered UE: authorises itself and changes its settings by PUBLISH, and logs off (TS 24.379
//! clauses 7.2.2 to 7.2.4).
//!
//! Sans-I/O: SIP octets in, effects out.

use std::fmt;

use crate::{
    identity::Impu,
    mc_info::{
        self, ServiceInfo,
        settings::{self, Settings},
    },
    outbox::{Context, Flow, TimerKey, TimerWhat, Transport},
    sip::{Framing, multipart::Multipart, request::RequestBuilder, response::ResponseView},
    user_profile::ProfileService,
};

use super::transaction::ClientTransaction;

/// The period by which the UE says "as long as I am registered".
const EXPIRES_NEVER: u32 = u32::MAX;

/// The timers of a publisher are told from those of the user agent by their numbers.
const FIRST_NUMBER: u64 = 1 << 32;

/// Where an MC service stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ServiceState {
    /// Nothing was published, or it was removed.
    LoggedOff,
    /// A PUBLISH is under way.
    Busy,
    /// The MC server has bound the MC service ID to the public identity.
    Authorised,
    /// The MC server refused.
    Refused {
        /// The status.
        status: u16,
        /// The code of its warning (TS 24.379 clause 4.4.2), if it has one.
        warning: Option<u16>,
    },
    /// No answer within Timer F.
    Timeout,
}

/// One MC service of a UE. It names the user: only its state prints.
pub struct Publisher {
    flow: Flow,
    impu: Impu,
    service: ProfileService,
    /// The public service identity of the MC server.
    server: String,
    call_id: String,
    from_tag: String,
    cseq: u32,
    numbers: u64,
    /// The publication that there is.
    etag: Option<String>,
    /// Whether the PUBLISH under way removes it.
    removes: bool,
    state: ServiceState,
    transaction: Option<ClientTransaction>,
}

impl Publisher {
    /// A publisher for the UE that is registered with `impu` over `flow`, at the MC server of this public service identity.
    pub fn new(
        ctx: &mut Context<'_>,
        flow: Flow,
        impu: Impu,
        (service, server): (ProfileService, &str),
    ) -> Self {
        // So that the numbers of two of them differ.
        let numbers = FIRST_NUMBER | ctx.entropy.next_u64() << 33;
        Self {
            flow,
            impu,
            service,
            server: server.to_owned(),
            call_id: format!("{:016x}{:016x}", ctx.entropy.next_u64(), ctx.entropy.next_u64()),
            from_tag: format!("{:016x}", ctx.entropy.next_u64()),
            cseq: 0,
            numbers,
            etag: None,
            removes: false,
            state: ServiceState::LoggedOff,
            transaction: None,
        }
    }

    /// Where it stands.
    pub const fn state(&self) -> &ServiceState {
        &self.state
    }

    /// Publishes settings, and authorises the UE by the token in `info`, if there is one.
    pub fn publish(&mut self, ctx: &mut Context<'_>, info: &ServiceInfo, settings: &Settings) {
        let document = info.render(self.service);
        let body = Multipart::new(ctx.entropy.next_u64())
            .part(mc_info::media_type(self.service), document.expose().as_bytes())
            .part(settings::MEDIA_TYPE, settings.render().as_bytes());
        self.removes = false;
        let (content_type, body) = body.finish();
        self.send(ctx, EXPIRES_NEVER, Some((&content_type, &body)));
    }

    /// Logs off.
    pub fn log_off(&mut self, ctx: &mut Context<'_>) {
        self.removes = true;
        self.send(ctx, 0, None);
    }

    /// Handles one framed SIP message, if it is for this service. Whether it is.
    pub fn handle_sip(&mut self, octets: &[u8]) -> bool {
        let framing = match self.flow.transport {
            Transport::Udp => Framing::Datagram,
            Transport::Tcp | Transport::Tls => Framing::Stream,
        };
        let Ok(answer) = ResponseView::parse(octets, framing) else { return false };
        if answer.call_id() != self.call_id {
            return false;
        }
        let Some(transaction) = &mut self.transaction else { return true };
        if answer.top_via_branch() != Some(transaction.branch.as_str()) {
            return true; // a repeat of an answer to an earlier request
        }
        if answer.status() < 200 {
            transaction.slow_down();
            return true;
        }
        self.transaction = None;
        self.settle(&answer);
        true
    }

    /// Handles a timer, if it is of a request of this service. Whether it is.
    pub fn handle_timer(&mut self, ctx: &mut Context<'_>, timer: &TimerKey) -> bool {
        let current = self.transaction.as_mut().filter(|it| it.number == timer.version);
        match (&timer.what, current) {
            (TimerWhat::UeRetransmit, Some(transaction)) => transaction.retransmit(ctx),
            (TimerWhat::UeGiveUp, Some(_)) => {
                self.transaction = None;
                self.state = ServiceState::Timeout;
            }
            _ => return false,
        }
        true
    }

    fn settle(&mut self, answer: &ResponseView<'_>) {
        let view = answer.view();
        self.state = match answer.status() {
            200..=299 if self.removes => {
                self.etag = None;
                ServiceState::LoggedOff
            }
            200..=299 => {
                self.etag = view.header_named("SIP-ETag").map(str::to_owned);
                ServiceState::Authorised
            }
            status => {
                if status == 412 || status == 404 {
                    self.etag = None; // the next one begins anew
                }
                let warning = view.header_named("Warning").and_then(warning_code);
                ServiceState::Refused { status, warning }
            }
        };
    }

    fn send(&mut self, ctx: &mut Context<'_>, expires: u32, body: Option<(&str, &[u8])>) {
        self.cseq = self.cseq.saturating_add(1);
        self.numbers = self.numbers.wrapping_add(1);
        let branch = format!("z9hG4bK{:016x}", ctx.entropy.next_u64());
        let own = format!("<{}>", self.impu.as_str());
        let expires = expires.to_string();
        let mut fields = vec![
            ("P-Preferred-Identity", own.as_str()),
            ("P-Preferred-Service", mc_info::icsi(self.service)),
            ("Event", settings::EVENT),
            ("Expires", expires.as_str()),
        ];
        fields.extend(self.etag.as_deref().map(|etag| ("SIP-If-Match", etag)));
        fields.extend(body.map(|(content_type, _)| ("Content-Type", content_type)));
        let octets = RequestBuilder {
            method: "PUBLISH",
            request_uri: &self.server,
            transport: match self.flow.transport {
                Transport::Udp => "UDP",
                Transport::Tcp => "TCP",
                Transport::Tls => "TLS",
            },
            sent_by: &self.flow.local.to_string(),
            branch: &branch,
            max_forwards: 70,
            from: &format!("{own};tag={}", self.from_tag),
            to: &format!("<{}>", self.server),
            call_id: &self.call_id,
            cseq: self.cseq,
            fields: &fields,
            body: body.map_or(&[], |(_, body)| body),
        }
        .build();
        self.state = ServiceState::Busy;
        let identity = (self.numbers, branch, self.cseq);
        self.transaction = Some(ClientTransaction::start(ctx, identity, octets, self.flow, None));
    }
}

/// The three digits that begin the text of a warning of code 399 (TS 24.379 clause 4.4.1).
pub(crate) fn warning_code(value: &str) -> Option<u16> {
    let text = value.trim_start().strip_prefix("399 ")?.split_once('"')?.1;
    let (digits, rest) = text.split_at_checked(3)?;
    rest.starts_with(' ').then(|| digits.parse().ok()).flatten()
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Publisher({:?}, {:?})", self.service, self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::warning_code;

    #[test]
    fn the_code_of_a_warning_is_within_its_text() {
        for (value, code) in [
            ("399 mc.b.example \"141 user unknown to the participating function\"", Some(141)),
            ("399 [2001:db8::1]:5070 \"164 maximum\"", Some(164)),
            ("399 h \"plain text\"", None),
            ("307 h \"141 x\"", None),
            ("399 h", None),
        ] {
            assert_eq!(warning_code(value), code, "{value}");
        }
    }
}
