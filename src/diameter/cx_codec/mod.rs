//! The Cx commands that roles exchange, as messages (TS 29.229 clauses 6.1.3, 6.1.4, 6.1.7, 6.1.8).
//!
//! Strict out: AVPs in the order of the grammar, M bits as specified, one authentication item.
//! Tolerant in: any order, missing M bits, unknown optional AVPs, missing item numbers.

mod multimedia_auth;
mod other;
mod parts;
mod server_assignment;

use bytes::BytesMut;

use super::{
    context::RequestContext,
    cx::{Answer, Request},
    local::{DiameterIdentity, Origin},
    message::{self, APPLICATION_CX, Header, Message, MessageTooLong, command},
    validate::{Rejection, code},
};
pub use multimedia_auth::SCHEME_OCTETS_MAX;
pub use other::{
    decode_other_answer, decode_other_request, encode_other_answer, encode_other_request,
};
use parts::{request_header, write_answer_start, write_envelope};

/// Longest Server-Name, octets.
pub const SERVER_NAME_OCTETS_MAX: usize = 1_024;

/// Where a request is addressed to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Destination {
    /// Destination-Realm.
    pub realm: DiameterIdentity,
    /// Destination-Host: only this node may answer. Without it, agents choose one.
    pub host: Option<DiameterIdentity>,
}

/// What every Cx request begins with.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// Session-Id, see [`LocalNode::next_session_id`](super::local::LocalNode::next_session_id).
    pub session_id: &'a str,
    /// Hop-by-Hop Identifier.
    pub hop_by_hop: u32,
    /// End-to-End Identifier.
    pub end_to_end: u32,
    /// Who asks.
    pub origin: &'a Origin,
    /// Who is asked.
    pub destination: &'a Destination,
}

/// Encodes a request.
///
/// # Errors
///
/// [`MessageTooLong`]; nothing is written then.
pub fn encode_request(
    envelope: &Envelope<'_>,
    request: &Request,
    out: &mut BytesMut,
) -> Result<(), MessageTooLong> {
    let command = command_of(request);
    message::write(out, &request_header(envelope, command), |writer| {
        write_envelope(writer, envelope, false);
        match request {
            Request::MultimediaAuth(request) => multimedia_auth::write_request(writer, request),
            Request::ServerAssignment(request) => server_assignment::write_request(writer, request),
        }
    })
}

/// Encodes the answer to the request that `context` is of.
///
/// # Errors
///
/// [`EncodeAnswerError`]; nothing is written then, and the request is still to be answered.
pub fn encode_answer(
    context: &RequestContext,
    origin: &Origin,
    answer: &Answer,
    out: &mut BytesMut,
) -> Result<(), EncodeAnswerError> {
    let (command, result) = match answer {
        Answer::MultimediaAuth(answer) => {
            if !answer.is_complete() {
                return Err(EncodeAnswerError::MissingVector);
            }
            (command::MULTIMEDIA_AUTH, answer.result)
        }
        Answer::ServerAssignment(answer) => (command::SERVER_ASSIGNMENT, answer.result),
    };
    if command != context.command() {
        return Err(EncodeAnswerError::OtherCommand);
    }
    let error = result.is_protocol_error();
    message::write(out, &context.answer_header(error), |writer| {
        context.write_session_id(writer);
        write_answer_start(writer, origin, result, error);
        match answer {
            Answer::MultimediaAuth(answer) => {
                multimedia_auth::write_answer(writer, context, answer);
            }
            Answer::ServerAssignment(answer) if !error => {
                server_assignment::write_answer(writer, context, answer);
            }
            Answer::ServerAssignment(_) => {}
        }
        context.write_proxy_info(writer);
    })?;
    Ok(())
}

/// An answer that cannot be sent. Ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EncodeAnswerError {
    /// The answer is of another command than the request.
    #[error("answer is of another command than the request")]
    OtherCommand,
    /// Success without a vector and without what SIP Digest is checked with, or with both.
    #[error("successful answer has no vector")]
    MissingVector,
    /// The profile is too long.
    #[error(transparent)]
    TooLong(#[from] MessageTooLong),
}

/// Decodes and checks a request of the Cx application.
///
/// # Errors
///
/// The [`Rejection`] to answer with. The peer's fault.
pub fn decode_request(message: &Message<'_>) -> Result<Request, Rejection> {
    if message.header.is_error() {
        return Err(Rejection::new(code::INVALID_HDR_BITS, "E bit in a request"));
    }
    if message.header.application != APPLICATION_CX {
        return Err(Rejection::new(code::APPLICATION_UNSUPPORTED, "application is not Cx"));
    }
    match message.header.command {
        command::MULTIMEDIA_AUTH => {
            multimedia_auth::read_request(message).map(Request::MultimediaAuth)
        }
        command::SERVER_ASSIGNMENT => {
            server_assignment::read_request(message).map(Request::ServerAssignment)
        }
        _ => Err(Rejection::new(code::COMMAND_UNSUPPORTED, "command is not served")),
    }
}

/// Decodes the answer to `asked`. What the answer does not echo is taken from the request.
///
/// # Errors
///
/// [`InvalidAnswer`]: the answer says nothing that could be relied on. The peer's fault.
pub fn decode_answer(message: &Message<'_>, asked: &Request) -> Result<Answer, InvalidAnswer> {
    let Header { command, application, .. } = message.header;
    if message.header.is_request() || (application, command) != (APPLICATION_CX, command_of(asked))
    {
        return Err(InvalidAnswer::OtherCommand);
    }
    if message.avps().any(|avp| avp.is_err()) {
        return Err(InvalidAnswer::Malformed);
    }
    match asked {
        Request::MultimediaAuth(asked) => {
            multimedia_auth::read_answer(message, asked).map(Answer::MultimediaAuth)
        }
        Request::ServerAssignment(asked) => {
            server_assignment::read_answer(message, asked).map(Answer::ServerAssignment)
        }
    }
}

/// An answer that is dropped, as if none had come. The peer's fault.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
pub enum InvalidAnswer {
    /// The answer is of another command than the request with its Hop-by-Hop Identifier.
    #[error("answer is of another command than the request")]
    OtherCommand,
    /// Its AVPs cannot be read.
    #[error("answer is malformed")]
    Malformed,
    /// Not exactly one of Result-Code and Experimental-Result of 3GPP.
    #[error("answer has no result or two")]
    Result,
    /// It echoes other identities than the request had.
    #[error("answer is about another user")]
    OtherUser,
    /// Success without a complete AKA vector.
    #[error("successful answer has no valid vector")]
    Vector,
    /// User-Data is no valid profile.
    #[error("answer has an invalid profile")]
    UserData,
}

const fn command_of(request: &Request) -> u32 {
    match request {
        Request::MultimediaAuth(_) => command::MULTIMEDIA_AUTH,
        Request::ServerAssignment(_) => command::SERVER_ASSIGNMENT,
    }
}
