//! Answers: what must be repeated from the request, and where they go
//! (RFC 3261 sections 8.2.6 and 18.2, RFC 3581 section 4).

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use bytes::Bytes;

use super::{
    glance::Glance,
    header::HeaderName,
    lexer::{Elements, Params},
    render::{Chunk, Render, Writer},
    via::{Rport, Via},
    view::MessageView,
};

/// What every answer to one request begins with, ready for the wire: kept while the answer is being
/// found out.
#[derive(Clone, Eq, PartialEq)]
pub struct ReplyHead {
    lines: Bytes,
    destination: SocketAddr,
}

/// Room for what is repeated, octets: of most UEs all fits.
pub(super) const HEAD_OCTETS_TYPICAL: usize = 512;

/// Room for what an answer adds to its head, octets: a 401 or 200 of IMS fits.
const REPLY_OCTETS_TYPICAL: usize = 768;

/// The end of an answer.
const NO_BODY: &[u8] = b"Content-Length: 0\r\n\r\n";

/// The port of a SIP URI or sent-by without one.
const DEFAULT_PORT: u16 = 5060;

impl ReplyHead {
    /// Takes over from a request that came from `source`: all Via, the topmost with `received` and
    /// `rport` filled in (RFC 3261 section 18.2.1, RFC 3581 section 4), From, To (with `to_tag` if it
    /// has no tag), Call-ID and `CSeq`.
    pub fn new(request: &MessageView<'_>, source: SocketAddr, to_tag: &str) -> Self {
        let writer = Writer::with_capacity(HEAD_OCTETS_TYPICAL);
        let lines = Self::write(writer, request, source, to_tag).finish();
        Self { lines, destination: reply_destination(request, source) }
    }

    /// The same, in a chunk.
    pub fn new_in(
        chunk: &mut Chunk,
        request: &MessageView<'_>,
        source: SocketAddr,
        to_tag: &str,
    ) -> Self {
        let writer = chunk.begin(HEAD_OCTETS_TYPICAL);
        let lines = Self::write(writer, request, source, to_tag).finish_in(chunk);
        Self { lines, destination: reply_destination(request, source) }
    }

    fn write(
        mut writer: Writer,
        request: &MessageView<'_>,
        source: SocketAddr,
        to_tag: &str,
    ) -> Writer {
        let mut vias = request.values(HeaderName::Via);
        write_top_via(&mut writer, request.top_via(), vias.next().unwrap_or_default(), source);
        for via in vias {
            writer.field("Via", via);
        }
        let value = |name| request.header(name).unwrap_or_default();
        writer.verbatim(b"From: ");
        writer.text(value(HeaderName::From));
        writer.verbatim(b"\r\nTo: ");
        writer.text(value(HeaderName::To));
        if request.to_tag().is_none() {
            writer.verbatim(b";tag=");
            writer.text(to_tag);
        }
        // What was checked to have no white space has no line end either.
        writer.verbatim(b"\r\nCall-ID: ");
        writer.verbatim(request.call_id().as_bytes());
        writer.verbatim(b"\r\nCSeq: ");
        writer.number(request.cseq().number);
        writer.verbatim(b" ");
        writer.verbatim(request.cseq().method.as_bytes());
        writer.end_line();
        writer
    }

    /// Takes over what is there of a request that does not parse, so that it can be refused: Via and
    /// `CSeq` at least, by which the sender recognizes the answer.
    ///
    /// `None` if those are missing, and for a response or an ACK, which are never answered.
    pub fn lenient(octets: &[u8], source: SocketAddr, to_tag: &str) -> Option<Self> {
        Some(Glance::of(octets)?.head(&mut Chunk::default(), source, to_tag))
    }

    /// A head that has been written already.
    pub(super) const fn of_lines(lines: Bytes, destination: SocketAddr) -> Self {
        Self { lines, destination }
    }

    /// Where the answer goes over UDP.
    pub const fn destination(&self) -> SocketAddr {
        self.destination
    }

    /// Begins an answer. `reason` is the reason phrase; see [`reason_phrase`] for the usual one.
    pub fn reply(&self, status: u16, reason: &str) -> ReplyBuilder {
        let writer = Writer::with_capacity(self.lines.len() + REPLY_OCTETS_TYPICAL);
        self.begin(writer, status, reason)
    }

    /// The same, in a chunk; [`ReplyBuilder::finish_in`] ends it.
    pub fn reply_in(&self, chunk: &mut Chunk, status: u16, reason: &str) -> ReplyBuilder {
        self.begin(chunk.begin(self.lines.len() + REPLY_OCTETS_TYPICAL), status, reason)
    }

    fn begin(&self, mut writer: Writer, status: u16, reason: &str) -> ReplyBuilder {
        writer.verbatim(super::VERSION.as_bytes());
        writer.verbatim(b" ");
        writer.number(status);
        writer.verbatim(b" ");
        writer.text(reason);
        writer.end_line();
        writer.verbatim(&self.lines);
        ReplyBuilder { writer }
    }

    /// What an answer that began with this head has before it, and behind it: the status line, and the other fields.
    pub(crate) fn added_to<'a>(&self, answer: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        let end = answer.iter().position(|it| *it == b'\n').map_or(0, |at| at + 1);
        let (status_line, rest) = answer.split_at_checked(end).unwrap_or_default();
        (status_line, rest.get(self.lines.len()..).unwrap_or_default())
    }

    /// Puts an answer together again.
    pub(crate) fn complete_in(
        &self,
        chunk: &mut Chunk,
        status_line: &[u8],
        fields: &[u8],
    ) -> Bytes {
        let mut writer = chunk.begin(status_line.len() + self.lines.len() + fields.len());
        for part in [status_line, &self.lines, fields] {
            writer.verbatim(part);
        }
        writer.finish_in(chunk)
    }

    /// A number that is another one for each head, to spread in time what all are told.
    pub fn draw(&self) -> u64 {
        // FNV-1a. The tag of To is random.
        self.lines.iter().fold(0xcbf2_9ce4_8422_2325, |hash, octet| {
            (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3)
        })
    }

    /// The header fields, name and value.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let text = std::str::from_utf8(&self.lines).unwrap_or_default();
        text.split("\r\n").filter_map(|line| line.split_once(": "))
    }
}

/// Shows nothing of what it repeats: identities.
impl fmt::Debug for ReplyHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplyHead({} octets to {})", self.lines.len(), self.destination)
    }
}

/// An answer being written.
pub struct ReplyBuilder {
    writer: Writer,
}

impl ReplyBuilder {
    /// Adds a header field. Line ends in `value` become spaces.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Render) -> Self {
        self.writer.field(name, value);
        self
    }

    /// Adds header fields that are complete already.
    #[must_use]
    pub(crate) fn fields(mut self, fields: &[u8]) -> Self {
        self.writer.verbatim(fields);
        self
    }

    /// Ends the answer, which has no body.
    pub fn finish(mut self) -> Bytes {
        self.writer.verbatim(NO_BODY);
        self.writer.finish()
    }

    /// The same, in the chunk where it was begun.
    pub fn finish_in(mut self, chunk: &mut Chunk) -> Bytes {
        self.writer.verbatim(NO_BODY);
        self.writer.finish_in(chunk)
    }
}

/// Shows nothing of the answer: it may hold a challenge and identities.
impl fmt::Debug for ReplyBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReplyBuilder")
    }
}

/// Where the answer to a request that came from `source` over UDP goes (RFC 3261 section 18.2.2,
/// RFC 3581 section 4): to `maddr` if it is an address; else to the source address, at the source
/// port if the client asked for it by `rport`, otherwise at the port of sent-by.
pub fn reply_destination(request: &MessageView<'_>, source: SocketAddr) -> SocketAddr {
    destination(request.top_via(), source)
}

/// The usual reason phrase of a status code; empty if it has none here.
pub const fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        412 => "Conditional Request Failed",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        421 => "Extension Required",
        423 => "Interval Too Brief",
        439 => "First Hop Lacks Outbound Support",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        483 => "Too Many Hops",
        486 => "Busy Here",
        489 => "Bad Event",
        494 => "Security Agreement Required",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        _ => "",
    }
}

pub(super) fn destination(via: &Via<'_>, source: SocketAddr) -> SocketAddr {
    let sent_by_port = via.port.unwrap_or(DEFAULT_PORT);
    match (via.maddr.and_then(address), via.rport) {
        (Some(maddr), _) => SocketAddr::new(maddr, sent_by_port),
        (None, Rport::Absent) => SocketAddr::new(source.ip(), sent_by_port),
        (None, Rport::Requested | Rport::Filled(_)) => source,
    }
}

/// Writes the first Via field: `via`, its topmost value, with what we fill in, and the others of
/// `field` as they are.
pub(super) fn write_top_via(writer: &mut Writer, via: &Via<'_>, field: &str, source: SocketAddr) {
    // A token and a host: they have no line end.
    writer.verbatim(b"Via: SIP/2.0/");
    writer.verbatim(via.transport.as_bytes());
    writer.verbatim(b" ");
    writer.verbatim(via.host.as_bytes());
    if let Some(port) = via.port {
        writer.verbatim(b":");
        writer.number(port);
    }
    // What the client wrote into our parameters is not believed.
    let theirs =
        |name: &[u8]| ![&b"received"[..], b"rport"].iter().any(|n| name.eq_ignore_ascii_case(n));
    for param in Params::new(via.params).flatten().filter(|param| theirs(param.name)) {
        writer.verbatim(b";");
        writer.verbatim(param.name);
        if let Some(value) = param.value {
            writer.verbatim(b"=");
            writer.text(value);
        }
    }
    let wants_rport = via.rport != Rport::Absent;
    if wants_rport || address(via.host) != Some(source.ip()) {
        writer.verbatim(b";received=");
        writer.ip_address(source.ip().to_canonical());
    }
    if wants_rport {
        writer.verbatim(b";rport=");
        writer.number(source.port());
    }
    for below in Elements::new(field).skip(1) {
        writer.verbatim(b", ");
        writer.text(below);
    }
    writer.end_line();
}

/// Reads an address of a Via, IPv6 with or without brackets.
fn address(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    bare.unwrap_or(host).parse().ok()
}
