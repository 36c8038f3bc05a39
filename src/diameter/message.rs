//! Diameter messages: framing, header, and a view that borrows (RFC 6733 section 3).

use std::fmt;

use bytes::BytesMut;

use super::{
    avp::{Avp, AvpReader, AvpWriter, patch_length},
    dictionary::Definition,
};

/// Longest message, octets, in both directions. What large HSSs and Kamailio take at most.
pub const MESSAGE_OCTETS_MAX: usize = 65_536;
/// The header, octets.
pub const HEADER_OCTETS: usize = 20;

/// R bit: a request.
pub const FLAG_REQUEST: u8 = 0x80;
/// P bit: agents may relay the message.
pub const FLAG_PROXIABLE: u8 = 0x40;
/// E bit: an answer of the general error format.
pub const FLAG_ERROR: u8 = 0x20;

/// Application-Id of the base protocol.
pub const APPLICATION_BASE: u32 = 0;
/// Application-Id of Cx and Dx.
pub const APPLICATION_CX: u32 = 16_777_216;
/// Application-Id that relay agents advertise: common with every application.
pub const APPLICATION_RELAY: u32 = 0xffff_ffff;

/// Command-Codes.
pub mod command {
    /// CER and CEA.
    pub const CAPABILITIES_EXCHANGE: u32 = 257;
    /// DWR and DWA.
    pub const DEVICE_WATCHDOG: u32 = 280;
    /// DPR and DPA.
    pub const DISCONNECT_PEER: u32 = 282;
    /// UAR and UAA.
    pub const USER_AUTHORIZATION: u32 = 300;
    /// SAR and SAA.
    pub const SERVER_ASSIGNMENT: u32 = 301;
    /// LIR and LIA.
    pub const LOCATION_INFO: u32 = 302;
    /// MAR and MAA.
    pub const MULTIMEDIA_AUTH: u32 = 303;
    /// RTR and RTA.
    pub const REGISTRATION_TERMINATION: u32 = 304;
    /// PPR and PPA.
    pub const PUSH_PROFILE: u32 = 305;
}

/// The header without version and length, which follow from the message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// Command flags.
    pub flags: u8,
    /// Command-Code, 24 bits.
    pub command: u32,
    /// Application-Id.
    pub application: u32,
    /// Hop-by-Hop Identifier: matches an answer to its request on one connection.
    pub hop_by_hop: u32,
    /// End-to-End Identifier: with Origin-Host, the identity of a request across connections.
    pub end_to_end: u32,
}

impl Header {
    /// Whether the message is a request.
    pub const fn is_request(&self) -> bool {
        self.flags & FLAG_REQUEST != 0
    }

    /// Whether the E bit is set.
    pub const fn is_error(&self) -> bool {
        self.flags & FLAG_ERROR != 0
    }
}

/// A received message.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    /// The header.
    pub header: Header,
    body: &'a [u8],
}

impl<'a> Message<'a> {
    /// Takes the first message off `octets`; `None` as long as it is not complete.
    /// Returns it with its length in octets.
    ///
    /// # Errors
    ///
    /// [`FramingError`]: where the next message begins cannot be told, so the transport connection
    /// is of no more use.
    pub fn split(octets: &'a [u8]) -> Result<Option<(Self, usize)>, FramingError> {
        let Some((header, _)) = octets.split_first_chunk::<HEADER_OCTETS>() else {
            return Ok(None);
        };
        let [version, l0, l1, l2, flags, c0, c1, c2, ids @ ..] = *header;
        let [a0, a1, a2, a3, h0, h1, h2, h3, e0, e1, e2, e3] = ids;
        let header = Header {
            flags,
            command: u32::from_be_bytes([0, c0, c1, c2]),
            application: u32::from_be_bytes([a0, a1, a2, a3]),
            hop_by_hop: u32::from_be_bytes([h0, h1, h2, h3]),
            end_to_end: u32::from_be_bytes([e0, e1, e2, e3]),
        };
        if version != 1 {
            return Err(FramingError::UnsupportedVersion(header));
        }
        let length = u32::from_be_bytes([0, l0, l1, l2]) as usize;
        if !(HEADER_OCTETS..=MESSAGE_OCTETS_MAX).contains(&length) || !length.is_multiple_of(4) {
            return Err(FramingError::InvalidLength(header));
        }
        let body = octets.get(HEADER_OCTETS..length);
        Ok(body.map(|body| (Self { header, body }, length)))
    }

    /// Reads the AVPs, not checked yet.
    pub const fn avps(&self) -> AvpReader<'a> {
        AvpReader::new(self.body)
    }

    /// Finds the first AVP of this definition.
    pub fn find(&self, definition: &Definition) -> Option<Avp<'a>> {
        self.avps().find(definition)
    }
}

/// Shows the header only: the AVPs may hold identities and keys.
impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({:?}, {} octets)", self.header, self.body.len())
    }
}

/// Octets that are no Diameter message. The peer's fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FramingError {
    /// The version is not 1, so the meaning of the other fields is a guess.
    #[error("unsupported Diameter version")]
    UnsupportedVersion(Header),
    /// Less than the header, more than [`MESSAGE_OCTETS_MAX`], or no multiple of 4.
    #[error("invalid message length")]
    InvalidLength(Header),
}

/// Appends one message to `out`: `header`, then what `avps` writes.
///
/// # Errors
///
/// [`MessageTooLong`] if it exceeds [`MESSAGE_OCTETS_MAX`]; `out` is then as before.
pub fn write(
    out: &mut BytesMut,
    header: &Header,
    avps: impl FnOnce(&mut AvpWriter<'_>),
) -> Result<(), MessageTooLong> {
    let start = out.len();
    let words = [
        1 << 24,
        u32::from(header.flags) << 24 | header.command & 0x00ff_ffff,
        header.application,
        header.hop_by_hop,
        header.end_to_end,
    ];
    out.extend_from_slice(words.map(u32::to_be_bytes).as_flattened());
    avps(&mut AvpWriter::new(out));
    let length = out.len() - start;
    if length > MESSAGE_OCTETS_MAX {
        out.truncate(start);
        return Err(MessageTooLong);
    }
    patch_length(out, start + 1, length);
    Ok(())
}

/// A message that would exceed [`MESSAGE_OCTETS_MAX`]. Ours: the values in it are too long.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("message exceeds 65536 octets")]
pub struct MessageTooLong;

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        flags: FLAG_REQUEST,
        command: command::DEVICE_WATCHDOG,
        application: APPLICATION_BASE,
        hop_by_hop: 1,
        end_to_end: 2,
    };

    #[test]
    fn a_message_is_split_off_once_it_is_complete() {
        let mut octets = BytesMut::new();
        write(&mut octets, &HEADER, |_| ()).unwrap();
        write(&mut octets, &HEADER, |_| ()).unwrap();
        assert_eq!(octets.len(), 40);
        assert!(Message::split(&octets[..19]).unwrap().is_none());
        let (message, length) = Message::split(&octets).unwrap().unwrap();
        assert_eq!((message.header, length), (HEADER, 20));
    }

    #[test]
    fn a_message_that_grows_too_long_leaves_the_buffer_as_it_was() {
        let mut octets = BytesMut::from(&b"before"[..]);
        let long = vec![0; MESSAGE_OCTETS_MAX];
        let result = write(&mut octets, &HEADER, |avps| avps.encoded(&long));
        assert_eq!(result, Err(MessageTooLong));
        assert_eq!(&octets[..], b"before");
    }
}
