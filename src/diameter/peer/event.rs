//! What comes out of a connection.

use std::fmt;

use bytes::BytesMut;

use super::super::{
    base::DisconnectCause, context::RequestContext, cx, cx_codec::InvalidAnswer, local::Origin,
};

/// What a call wants done. The world takes both out and may use the value again.
#[derive(Default)]
pub struct PeerOutput {
    /// Octets for the transport.
    pub octets: BytesMut,
    /// What happened, oldest first.
    pub events: Vec<Event>,
}

/// Leaves out the octets: they may hold keys.
impl fmt::Debug for PeerOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerOutput({} octets, {:?})", self.octets.len(), self.events)
    }
}

/// Something that happened on a connection.
#[derive(Debug)]
pub enum Event {
    /// Capabilities are exchanged: requests may go both ways. Tells who the peer is.
    Up(Origin),
    /// The peer asks. A context that is dropped instead of answered counts as in progress for ever.
    Request {
        /// The way back; consumed by the one answer.
        context: RequestContext,
        /// What it asks.
        request: cx::Request,
    },
    /// The peer answered the request that was sent with this token.
    Answer {
        /// Of [`Connection::send_request`](super::Connection::send_request).
        token: u64,
        /// What it answered.
        answer: cx::Answer,
    },
    /// The request that was sent with this token gets no answer.
    Failed {
        /// Of [`Connection::send_request`](super::Connection::send_request).
        token: u64,
        /// Why.
        reason: FailureReason,
    },
    /// The connection is over: close the transport.
    Down(DownReason),
}

/// Why a request gets no answer.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum FailureReason {
    /// The connection is down or suspect.
    ConnectionLost,
    /// [`Timing::request`](super::Timing::request) has passed.
    TimedOut,
    /// The answer is invalid.
    InvalidAnswer(InvalidAnswer),
}

/// Why a connection is over.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum DownReason {
    /// The transport was closed by the peer or lost.
    TransportClosed,
    /// No CER or CEA in time.
    CapabilitiesTimeout,
    /// The peer's Origin-Host is not allowed.
    UnknownPeer,
    /// The peer does not serve Cx.
    NoCommonApplication,
    /// The peer's CEA has this Result-Code, or none that could be read (0).
    Refused(u32),
    /// The peer sent what is no Diameter message, or not what must come first.
    ProtocolError,
    /// The peer does not answer the watchdog.
    WatchdogTimeout,
    /// The peer took the connection down.
    Disconnected(DisconnectCause),
    /// We took the connection down.
    ShutDown,
}

/// Why a message cannot be sent. Ours.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
pub enum Refused {
    /// The connection is not open, or suspect.
    #[error("connection is not open")]
    NotOpen,
    /// [`PENDING_MAX`](super::PENDING_MAX) requests wait for an answer.
    #[error("too many pending requests")]
    TooManyPending,
    /// The request exceeds the message maximum.
    #[error("request is too long")]
    TooLong,
    /// The request that is answered came by another connection.
    #[error("request came by another connection")]
    OtherConnection,
}
