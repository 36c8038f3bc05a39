//! One transport connection to a Diameter peer (RFC 6733 sections 5 and 6), without the transport.
//!
//! ```text
//! initiate -> WaitCea --CEA 2001--> Open --shutdown--> Closing --DPA--> Closed
//! accept   -> WaitCer --CER-------> Open --DPR, watchdog, framing error-> Closed
//! ```
//!
//! Octets in, octets and events out. Every request handed in comes back exactly once, as
//! [`Event::Answer`] or [`Event::Failed`]; every [`Event::Request`] is consumed by one
//! [`Connection::send_answer`] or [`Connection::reject`]. After [`Event::Down`] the world sends what
//! is left in the output, closes the transport and drops the connection.
//!
//! A request repeated with the same Origin-Host and End-to-End Identifier is handed on like any
//! other: each MAR is worth a fresh vector, and an SAR is idempotent. This node is an endpoint, so
//! what reaches it is for it: Destination-Realm and Destination-Host are not compared.

mod config;
mod event;
mod pending;

use bytes::{Buf, BytesMut};

use super::{
    base::{self, DisconnectCause},
    context::{RequestContext, encode_rejection},
    cx,
    cx_codec::{self, Destination, Envelope},
    local::Origin,
    message::{APPLICATION_BASE, FramingError, Message, MessageTooLong, command},
    validate::{Rejection, code},
    watchdog::{Expiry, Watchdog},
};
use crate::{entropy::Entropy, time::Timestamp};
pub use config::{AllowedPeers, Config, Timing};
pub use event::{DownReason, Event, FailureReason, PeerOutput, Refused};
use pending::{Pending, PendingRequests};

/// Most requests of ours without an answer on one connection.
pub const PENDING_MAX: usize = 65_536;
/// Most requests of the peer that we have not answered, on one connection; more are answered
/// `DIAMETER_TOO_BUSY`.
pub const UNANSWERED_MAX: usize = 65_536;

/// One transport connection, from its opening to its end.
#[derive(Debug)]
pub struct Connection {
    config: Config,
    /// Told apart from other connections by this, so that no answer leaves by the wrong one.
    id: u64,
    state: State,
    watchdog: Watchdog,
    remote: Option<Origin>,
    /// The beginning of a message whose end has not come yet.
    inbox: BytesMut,
    /// Our requests without an answer.
    pending: PendingRequests,
    next_hop_by_hop: u32,
    unanswered: usize,
    /// The last Session-Id; kept for its capacity.
    session_id: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    WaitCer { deadline: Timestamp },
    WaitCea { deadline: Timestamp },
    Open,
    Closing { deadline: Timestamp },
    Closed,
}

impl Connection {
    /// Starts on a transport connection that we opened: sends CER.
    pub fn initiate(
        config: Config,
        now: Timestamp,
        entropy: &mut dyn Entropy,
        out: &mut PeerOutput,
    ) -> Self {
        let deadline = now + config.timing.capabilities;
        let mut connection = Self::new(config, State::WaitCea { deadline }, now, entropy);
        let hop_by_hop = connection.draw_hop_by_hop();
        let local = &connection.config.local;
        bounded(base::encode_capabilities_request(local, hop_by_hop, &mut out.octets));
        connection
    }

    /// Starts on a transport connection that the peer opened: waits for CER.
    pub fn accept(config: Config, now: Timestamp, entropy: &mut dyn Entropy) -> Self {
        let deadline = now + config.timing.capabilities;
        Self::new(config, State::WaitCer { deadline }, now, entropy)
    }

    fn new(config: Config, state: State, now: Timestamp, entropy: &mut dyn Entropy) -> Self {
        let watchdog = Watchdog::new(config.timing.watchdog, now, entropy);
        Self {
            config,
            id: entropy.next_u64(),
            state,
            watchdog,
            remote: None,
            inbox: BytesMut::new(),
            pending: PendingRequests::new(),
            next_hop_by_hop: first_hop_by_hop(entropy),
            unanswered: 0,
            session_id: String::new(),
        }
    }

    /// Who the peer is, once capabilities are exchanged.
    pub const fn remote(&self) -> Option<&Origin> {
        self.remote.as_ref()
    }

    /// Whether requests can be sent now.
    pub fn is_open(&self) -> bool {
        self.state == State::Open && !self.watchdog.is_suspect()
    }

    /// When to call [`handle_timer`](Self::handle_timer) next; changes with every other call.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let state = match self.state {
            State::WaitCer { deadline }
            | State::WaitCea { deadline }
            | State::Closing { deadline } => deadline,
            State::Open => self.watchdog.deadline(),
            State::Closed => return None,
        };
        let pending = self.pending.next_deadline();
        Some(pending.map_or(state, |pending| pending.min(state)))
    }

    /// Takes octets of the transport, cut anywhere.
    pub fn handle_octets(&mut self, now: Timestamp, octets: &[u8], out: &mut PeerOutput) {
        if self.inbox.is_empty() {
            let used = self.handle_messages(now, octets, out);
            self.inbox.extend_from_slice(octets.get(used..).unwrap_or_default());
            return;
        }
        let mut inbox = std::mem::take(&mut self.inbox);
        inbox.extend_from_slice(octets);
        let used = self.handle_messages(now, &inbox, out);
        inbox.advance(used);
        self.inbox = inbox;
    }

    /// Handles whatever is due at `now`; harmless if nothing is.
    pub fn handle_timer(
        &mut self,
        now: Timestamp,
        entropy: &mut dyn Entropy,
        out: &mut PeerOutput,
    ) {
        while let Some(Pending { token, .. }) = self.pending.take_expired(now) {
            out.events.push(Event::Failed { token, reason: FailureReason::TimedOut });
        }
        match self.state {
            State::WaitCer { deadline } | State::WaitCea { deadline } if deadline <= now => {
                self.go_down(DownReason::CapabilitiesTimeout, out);
            }
            State::Closing { deadline } if deadline <= now => {
                self.go_down(DownReason::ShutDown, out);
            }
            State::Open if self.watchdog.deadline() <= now => {
                match self.watchdog.expire(now, entropy) {
                    Expiry::Ask => self.send_watchdog_request(out),
                    Expiry::Suspect => self.fail_pending(out),
                    Expiry::GiveUp => self.go_down(DownReason::WatchdogTimeout, out),
                }
            }
            State::WaitCer { .. }
            | State::WaitCea { .. }
            | State::Closing { .. }
            | State::Open
            | State::Closed => {}
        }
    }

    /// Takes note that the transport is closed or lost.
    pub fn handle_transport_closed(&mut self, out: &mut PeerOutput) {
        if self.state != State::Closed {
            self.go_down(DownReason::TransportClosed, out);
        }
    }

    /// Sends a request; its outcome comes as an event with this token.
    ///
    /// # Errors
    ///
    /// [`Refused`]; nothing is sent then and no event will come.
    pub fn send_request(
        &mut self,
        now: Timestamp,
        destination: &Destination,
        request: cx::Request,
        token: u64,
        out: &mut PeerOutput,
    ) -> Result<(), Refused> {
        if !self.is_open() {
            return Err(Refused::NotOpen);
        }
        if self.pending.len() >= PENDING_MAX {
            return Err(Refused::TooManyPending);
        }
        let hop_by_hop = self.draw_hop_by_hop();
        let local = &self.config.local;
        local.next_session_id(&mut self.session_id);
        let envelope = Envelope {
            session_id: &self.session_id,
            hop_by_hop,
            end_to_end: local.next_end_to_end(),
            origin: local.origin(),
            destination,
        };
        cx_codec::encode_request(&envelope, &request, &mut out.octets)
            .map_err(|MessageTooLong| Refused::TooLong)?;
        let deadline = now + self.config.timing.request;
        self.pending.insert(hop_by_hop, deadline, Pending { token, asked: request });
        Ok(())
    }

    /// Answers a request. An answer that cannot be encoded becomes `DIAMETER_UNABLE_TO_COMPLY`.
    ///
    /// # Errors
    ///
    /// [`Refused`] if the connection is over or not the one that the request came by.
    #[expect(clippy::needless_pass_by_value, reason = "the context is consumed by the one answer")]
    pub fn send_answer(
        &mut self,
        context: RequestContext,
        answer: &cx::Answer,
        out: &mut PeerOutput,
    ) -> Result<(), Refused> {
        self.take_unanswered(&context)?;
        let origin = self.config.local.origin();
        if cx_codec::encode_answer(&context, origin, answer, &mut out.octets).is_err() {
            let rejection = Rejection::new(code::UNABLE_TO_COMPLY, "answer cannot be encoded");
            self.write_rejection(&context, &rejection, out);
        }
        Ok(())
    }

    /// Answers a request that did not reach a role, for instance with [`code::TOO_BUSY`].
    ///
    /// # Errors
    ///
    /// [`Refused`] if the connection is over or not the one that the request came by.
    #[expect(clippy::needless_pass_by_value, reason = "the context is consumed by the one answer")]
    pub fn reject(
        &mut self,
        context: RequestContext,
        rejection: &Rejection,
        out: &mut PeerOutput,
    ) -> Result<(), Refused> {
        self.take_unanswered(&context)?;
        self.write_rejection(&context, rejection, out);
        Ok(())
    }

    /// Takes the connection down: sends DPR and waits for DPA. Answers may still come and go, new
    /// requests may not.
    pub fn shutdown(&mut self, now: Timestamp, cause: DisconnectCause, out: &mut PeerOutput) {
        match self.state {
            State::Open => {
                let hop_by_hop = self.draw_hop_by_hop();
                let local = &self.config.local;
                bounded(base::encode_disconnect_request(local, hop_by_hop, cause, &mut out.octets));
                self.state = State::Closing { deadline: now + self.config.timing.disconnect };
            }
            State::WaitCer { .. } | State::WaitCea { .. } => {
                self.go_down(DownReason::ShutDown, out);
            }
            State::Closing { .. } | State::Closed => {}
        }
    }

    /// Handles the complete messages in `octets` and returns how many octets they are.
    fn handle_messages(&mut self, now: Timestamp, octets: &[u8], out: &mut PeerOutput) -> usize {
        let mut used = 0;
        while self.state != State::Closed {
            match Message::split(octets.get(used..).unwrap_or_default()) {
                Ok(Some((message, length))) => {
                    used += length;
                    self.handle_message(now, &message, out);
                }
                Ok(None) => return used,
                Err(error) => self.handle_framing_error(error, out),
            }
        }
        octets.len()
    }

    fn handle_message(&mut self, now: Timestamp, message: &Message<'_>, out: &mut PeerOutput) {
        let header = message.header;
        let is_answer_to = |command| {
            header.application == APPLICATION_BASE
                && header.command == command
                && !header.is_request()
        };
        match self.state {
            State::WaitCer { .. } if is_capabilities_request(message) => {
                self.handle_capabilities_request(now, message, out);
            }
            State::WaitCea { .. } if is_answer_to(command::CAPABILITIES_EXCHANGE) => {
                self.handle_capabilities_answer(now, message, out);
            }
            State::WaitCer { .. } | State::WaitCea { .. } => {
                self.go_down(DownReason::ProtocolError, out);
            }
            State::Open | State::Closing { .. } => {
                self.watchdog.receive(now, is_answer_to(command::DEVICE_WATCHDOG));
                if header.is_request() {
                    self.handle_request(now, message, out);
                } else if header.application != APPLICATION_BASE {
                    self.handle_answer(message, out);
                } else if is_answer_to(command::DISCONNECT_PEER) && self.state != State::Open {
                    self.go_down(DownReason::ShutDown, out);
                }
            }
            State::Closed => {}
        }
    }

    fn handle_framing_error(&mut self, error: FramingError, out: &mut PeerOutput) {
        let (header, rejection) = match error {
            FramingError::UnsupportedVersion(header) => {
                (header, Rejection::new(code::UNSUPPORTED_VERSION, "version is not 1"))
            }
            FramingError::InvalidLength(header) => {
                (header, Rejection::new(code::INVALID_MESSAGE_LENGTH, "invalid message length"))
            }
        };
        if header.is_request() && matches!(self.state, State::Open | State::Closing { .. }) {
            let context = RequestContext::new(self.id, header);
            self.write_rejection(&context, &rejection, out);
        }
        self.go_down(DownReason::ProtocolError, out);
    }

    fn handle_capabilities_request(
        &mut self,
        now: Timestamp,
        message: &Message<'_>,
        out: &mut PeerOutput,
    ) {
        let context = RequestContext::new(self.id, message.header);
        let (rejection, reason) = match self.check_capabilities_request(message) {
            Ok(origin) => {
                let local = &self.config.local;
                bounded(base::encode_capabilities_answer(&context, local, &mut out.octets));
                if matches!(self.state, State::WaitCer { .. }) {
                    self.open(now, origin, out);
                }
                return;
            }
            Err(refusal) => refusal,
        };
        let local = &self.config.local;
        bounded(base::encode_capabilities_refusal(&context, local, &rejection, &mut out.octets));
        self.go_down(reason, out);
    }

    fn check_capabilities_request(
        &self,
        message: &Message<'_>,
    ) -> Result<Origin, (Rejection, DownReason)> {
        let capabilities = base::decode_capabilities_request(message)
            .map_err(|rejection| (rejection, DownReason::ProtocolError))?;
        let host = &capabilities.origin.host;
        let changed = self.remote.as_ref().is_some_and(|remote| remote.host != *host);
        if changed || !self.config.allowed.contains(host) {
            let rejection = Rejection::new(code::UNKNOWN_PEER, self.config.allowed.refusal());
            return Err((rejection, DownReason::UnknownPeer));
        }
        if !capabilities.cx {
            let rejection = Rejection::new(code::NO_COMMON_APPLICATION, "no common application");
            return Err((rejection, DownReason::NoCommonApplication));
        }
        Ok(capabilities.origin)
    }

    fn handle_capabilities_answer(
        &mut self,
        now: Timestamp,
        message: &Message<'_>,
        out: &mut PeerOutput,
    ) {
        match base::decode_capabilities_answer(message) {
            Err(result_code) => self.go_down(DownReason::Refused(result_code), out),
            Ok(capabilities) if !self.config.allowed.contains(&capabilities.origin.host) => {
                self.go_down(DownReason::UnknownPeer, out);
            }
            Ok(capabilities) if !capabilities.cx => {
                self.go_down(DownReason::NoCommonApplication, out);
            }
            Ok(capabilities) => self.open(now, capabilities.origin, out),
        }
    }

    fn open(&mut self, now: Timestamp, remote: Origin, out: &mut PeerOutput) {
        self.watchdog.receive(now, false);
        self.state = State::Open;
        self.remote = Some(remote.clone());
        out.events.push(Event::Up(remote));
    }

    fn handle_request(&mut self, now: Timestamp, message: &Message<'_>, out: &mut PeerOutput) {
        let mut context = RequestContext::new(self.id, message.header);
        if let Err(rejection) = context.keep(message) {
            return self.write_rejection(&context, &rejection, out);
        }
        if message.header.application == APPLICATION_BASE {
            if let Err(rejection) = self.handle_base_request(now, message, &context, out) {
                self.write_rejection(&context, &rejection, out);
            }
            return;
        }
        match cx_codec::decode_request(message) {
            Ok(request) if self.unanswered < UNANSWERED_MAX => {
                self.unanswered += 1;
                out.events.push(Event::Request { context, request });
            }
            Ok(_) => {
                let rejection = Rejection::new(code::TOO_BUSY, "too many requests in progress");
                self.write_rejection(&context, &rejection, out);
            }
            Err(rejection) => self.write_rejection(&context, &rejection, out),
        }
    }

    fn handle_base_request(
        &mut self,
        now: Timestamp,
        message: &Message<'_>,
        context: &RequestContext,
        out: &mut PeerOutput,
    ) -> Result<(), Rejection> {
        if message.header.is_error() {
            return Err(Rejection::new(code::INVALID_HDR_BITS, "E bit in a request"));
        }
        match message.header.command {
            command::CAPABILITIES_EXCHANGE => self.handle_capabilities_request(now, message, out),
            command::DEVICE_WATCHDOG => {
                base::check_watchdog_request(message)?;
                let local = &self.config.local;
                bounded(base::encode_watchdog_answer(context, local, &mut out.octets));
            }
            command::DISCONNECT_PEER => {
                let cause = base::decode_disconnect_request(message)?;
                let local = &self.config.local;
                bounded(base::encode_disconnect_answer(context, local, &mut out.octets));
                self.go_down(DownReason::Disconnected(cause), out);
            }
            _ => return Err(Rejection::new(code::COMMAND_UNSUPPORTED, "command is not served")),
        }
        Ok(())
    }

    /// Hands an answer on. One that comes too late, or twice, is dropped.
    fn handle_answer(&mut self, message: &Message<'_>, out: &mut PeerOutput) {
        let Some(Pending { token, asked }) = self.pending.take(message.header.hop_by_hop) else {
            return;
        };
        out.events.push(match cx_codec::decode_answer(message, &asked) {
            Ok(answer) => Event::Answer { token, answer },
            Err(error) => Event::Failed { token, reason: FailureReason::InvalidAnswer(error) },
        });
    }

    fn send_watchdog_request(&mut self, out: &mut PeerOutput) {
        let hop_by_hop = self.draw_hop_by_hop();
        let local = &self.config.local;
        bounded(base::encode_watchdog_request(local, hop_by_hop, &mut out.octets));
    }

    fn write_rejection(
        &self,
        context: &RequestContext,
        rejection: &Rejection,
        out: &mut PeerOutput,
    ) {
        let origin = self.config.local.origin();
        bounded(encode_rejection(context, origin, rejection, &mut out.octets));
    }

    fn take_unanswered(&mut self, context: &RequestContext) -> Result<(), Refused> {
        if context.connection != self.id {
            return Err(Refused::OtherConnection);
        }
        if self.state == State::Closed {
            return Err(Refused::NotOpen);
        }
        self.unanswered = self.unanswered.saturating_sub(1);
        Ok(())
    }

    fn draw_hop_by_hop(&mut self) -> u32 {
        let hop_by_hop = self.next_hop_by_hop;
        self.next_hop_by_hop = hop_by_hop.wrapping_add(1);
        hop_by_hop
    }

    fn fail_pending(&mut self, out: &mut PeerOutput) {
        while let Some(Pending { token, .. }) = self.pending.take_first() {
            out.events.push(Event::Failed { token, reason: FailureReason::ConnectionLost });
        }
    }

    fn go_down(&mut self, reason: DownReason, out: &mut PeerOutput) {
        self.state = State::Closed;
        self.fail_pending(out);
        out.events.push(Event::Down(reason));
    }
}

fn first_hop_by_hop(entropy: &mut dyn Entropy) -> u32 {
    let [h0, h1, h2, h3, ..] = entropy.next_u64().to_be_bytes();
    u32::from_be_bytes([h0, h1, h2, h3])
}

fn is_capabilities_request(message: &Message<'_>) -> bool {
    let header = message.header;
    header.is_request()
        && !header.is_error()
        && header.application == APPLICATION_BASE
        && header.command == command::CAPABILITIES_EXCHANGE
}

/// Everything that the peer layer writes by itself is bounded far below the message maximum.
fn bounded(written: Result<(), MessageTooLong>) {
    debug_assert!(written.is_ok(), "a message of the peer layer exceeds the maximum");
}
