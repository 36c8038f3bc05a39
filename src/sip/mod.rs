//! SIP messages (RFC 3261): views that borrow from what arrived, and builders of what leaves.
//!
//! Sans-I/O. [`view::MessageView`] splits and checks one framed message without allocating;
//! [`register::RegisterRequest`] and [`response::ResponseView`] give typed access to the two ends of
//! a REGISTER; [`reply::ReplyHead`] keeps what an answer needs. Everything that is not a REGISTER is
//! answered by [`message::answer_other`].

pub mod auth_header;
mod authentication_info;
pub mod glance;
pub mod header;
mod index;
mod lexer;
pub mod message;
pub mod multipart;
pub mod name_addr;
pub mod register;
pub mod render;
pub mod reply;
pub mod request;
pub mod response;
mod scan;
pub mod stream;
pub mod transaction;
pub mod uri;
pub mod via;
pub mod view;

pub use authentication_info::AuthenticationInfo;

/// Longest message, octets, on any transport: what one UDP datagram can hold.
pub const MESSAGE_OCTETS_MAX: usize = 65_535;

/// Most header fields in one message, lines that begin a field.
pub const HEADERS_MAX: usize = 128;

/// The version of every message that we send and understand.
pub const VERSION: &str = "SIP/2.0";

/// How the end of a message is known (RFC 3261 section 18.3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Framing {
    /// One datagram, one message: Content-Length may be missing, octets beyond it are ignored.
    Datagram,
    /// A stream: Content-Length is mandatory.
    Stream,
}

/// Why a message is refused: the status and reason phrase of the answer. The sender's fault.
///
/// A response or an ACK that does not parse is dropped; [`reply::ReplyHead::lenient`] says so.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{status} {reason}")]
pub struct ParseError {
    /// The status code of the answer: 400, 501, 505 or 513.
    pub status: u16,
    /// The reason phrase of the answer: names what is wrong.
    pub reason: &'static str,
}

impl ParseError {
    /// 400 with a reason phrase that names what is wrong.
    pub(crate) const fn bad_request(reason: &'static str) -> Self {
        Self { status: 400, reason }
    }
}
