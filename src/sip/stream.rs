//! Splitting a stream into messages (RFC 3261 section 18.3, RFC 5626 section 3.5.1).
//!
//! Bounded: a message longer than [`MESSAGE_OCTETS_MAX`] is refused before it is collected.
//! Incremental: no octet is searched for the end of the header part more than twice, however small the
//! pieces that arrive.

use bytes::{Bytes, BytesMut};
use memchr::memmem;

use super::{MESSAGE_OCTETS_MAX, ParseError, index::Index, view};

/// Longest header part of one message, octets.
pub const HEAD_OCTETS_MAX: usize = 65_535;

/// Most octets that wait in a framer: one message, and what arrived in one piece behind it.
pub const STREAM_OCTETS_MAX: usize = 2 * MESSAGE_OCTETS_MAX;

/// The octets of one stream that are no complete message yet.
#[derive(Debug, Default)]
pub struct StreamFramer {
    buffer: BytesMut,
    /// Octets searched for the end of the header part, less three that may begin it.
    searched: usize,
    /// The length of the message at the front, once its header part is complete.
    message_length: Option<usize>,
}

/// What a stream brings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Frame {
    /// One message: its length is that of its header part and Content-Length.
    Message(Bytes),
    /// A keep-alive, to be answered by one CR LF (RFC 5626 section 4.4.1).
    KeepAlive,
}

/// Why no message can be found in a stream any more: it must be closed. The sender's fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FramingError {
    /// No Content-Length, so nobody knows where the message ends.
    #[error("Missing Content-Length")]
    MissingContentLength,
    /// The header part is so malformed that its Content-Length cannot be believed.
    #[error("{0}")]
    Malformed(ParseError),
    /// A header part longer than [`HEAD_OCTETS_MAX`].
    #[error("Header fields longer than 65535 octets")]
    HeadTooLong,
    /// A message longer than [`MESSAGE_OCTETS_MAX`].
    #[error("Message longer than 65535 octets")]
    MessageTooLong,
    /// More than [`STREAM_OCTETS_MAX`] octets pushed without taking messages out. Ours.
    #[error("stream buffer full")]
    BufferFull,
}

impl StreamFramer {
    /// Creates a framer for a new stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes octets in. Take the frames out before the next push.
    ///
    /// # Errors
    ///
    /// [`FramingError::BufferFull`] if that would exceed [`STREAM_OCTETS_MAX`].
    pub fn push(&mut self, octets: &[u8]) -> Result<(), FramingError> {
        if self.buffer.len() + octets.len() > STREAM_OCTETS_MAX {
            return Err(FramingError::BufferFull);
        }
        self.buffer.extend_from_slice(octets);
        Ok(())
    }

    /// Takes the next frame out; `None` if it is not complete yet.
    ///
    /// # Errors
    ///
    /// The stream is out of step and must be closed; [`StreamFramer::rejected`] gives what may be
    /// answered before.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FramingError> {
        if self.message_length.is_none() {
            if self.skip_line_ends() {
                return Ok(Some(Frame::KeepAlive));
            }
            let Some(length) = self.find_length()? else { return Ok(None) };
            if length > MESSAGE_OCTETS_MAX {
                return Err(FramingError::MessageTooLong);
            }
            self.message_length = Some(length);
        }
        match self.message_length {
            Some(length) if length <= self.buffer.len() => {
                self.message_length = None;
                self.searched = 0;
                Ok(Some(Frame::Message(self.buffer.split_to(length).freeze())))
            }
            _ => Ok(None),
        }
    }

    /// The message that could not be framed, as far as it arrived.
    pub fn rejected(&self) -> &[u8] {
        &self.buffer
    }

    /// Drops line ends between messages; whether two in a row were there, which is a keep-alive. A
    /// single one waits for the next octets, since it may be half of two.
    fn skip_line_ends(&mut self) -> bool {
        if self.searched > 0 {
            return false;
        }
        while self.buffer.starts_with(b"\r\n") {
            if self.buffer.starts_with(b"\r\n\r\n") {
                let _line_ends = self.buffer.split_to(4);
                return true;
            }
            if b"\r\n\r\n".starts_with(&self.buffer) {
                break;
            }
            let _line_end = self.buffer.split_to(2);
        }
        false
    }

    /// The length of the message at the front, once its header part is complete.
    fn find_length(&mut self) -> Result<Option<usize>, FramingError> {
        // As nearly all arrive: the header part in one piece, so that reading it finds its end.
        if self.searched == 0
            && let Some(front) = self.buffer.get(..self.buffer.len().min(HEAD_OCTETS_MAX))
            && let Ok(index) = Index::of(front)
        {
            return message_length(&index).map(Some);
        }
        let Some(head_length) = self.find_head_end()? else { return Ok(None) };
        let head = self.buffer.get(..head_length).unwrap_or_default();
        let index = Index::of(head).map_err(FramingError::Malformed)?;
        message_length(&index).map(Some)
    }

    fn find_head_end(&mut self) -> Result<Option<usize>, FramingError> {
        if b"\r\n\r\n".starts_with(&self.buffer) {
            return Ok(None);
        }
        let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
        let found = memmem::find(unsearched, b"\r\n\r\n").map(|at| self.searched + at + 4);
        if found.unwrap_or(self.buffer.len()) > HEAD_OCTETS_MAX {
            return Err(FramingError::HeadTooLong);
        }
        if found.is_none() {
            self.searched = self.buffer.len().saturating_sub(3);
        }
        Ok(found)
    }
}

/// The length of a message by its header part and Content-Length, by the very rules of `view`.
fn message_length(index: &Index<'_>) -> Result<usize, FramingError> {
    let length = view::content_length(index).map_err(FramingError::Malformed)?;
    let length = length.ok_or(FramingError::MissingContentLength)?;
    Ok(index.head_length().saturating_add(length))
}
