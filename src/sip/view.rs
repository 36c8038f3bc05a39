//! One message as a view that borrows from the octets that arrived (RFC 3261 sections 7 and 18.3).
//!
//! Accepts any octets: what is no message is a [`ParseError`]. Takes time linear in the length,
//! allocates nothing. Lines must end with CR LF; a CR or LF anywhere else in the header part is
//! refused, so that nothing kept as text can smuggle a line into an answer.

use std::fmt;

use super::{
    Framing, MESSAGE_OCTETS_MAX, ParseError,
    header::HeaderName,
    index::Index,
    lexer::{Cursor, Elements, is_token, number},
    message::is_known_method,
    name_addr::NameAddr,
    scan,
    via::Via,
};

/// A message: start line, header fields in order, the header fields that every message must have,
/// and the body.
#[derive(Clone)]
pub struct MessageView<'a> {
    start: StartLine<'a>,
    index: Index<'a>,
    via: Via<'a>,
    from: NameAddr<'a>,
    from_tag: Option<&'a str>,
    to: NameAddr<'a>,
    to_tag: Option<&'a str>,
    call_id: &'a str,
    cseq: CSeq<'a>,
    body: &'a [u8],
}

/// The first line of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StartLine<'a> {
    /// Of a request.
    Request {
        /// The method; compares with case.
        method: &'a str,
        /// The Request-URI as written.
        uri: &'a str,
    },
    /// Of a response.
    Response {
        /// The status code, 100 to 699.
        status: u16,
        /// The reason phrase, perhaps empty.
        reason: &'a str,
    },
}

/// The `CSeq` header field (RFC 3261 section 20.16).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CSeq<'a> {
    /// The sequence number.
    pub number: u32,
    /// The method.
    pub method: &'a str,
}

impl<'a> MessageView<'a> {
    /// Reads one message. Line ends before the start line are skipped.
    ///
    /// # Errors
    ///
    /// The answer that the message deserves, if it is a request.
    pub fn parse(octets: &'a [u8], framing: Framing) -> Result<Self, ParseError> {
        let octets = skip_line_ends(octets);
        if octets.len() > MESSAGE_OCTETS_MAX {
            return Err(ParseError { status: 513, reason: "Message longer than 65535 octets" });
        }
        let index = Index::of(octets)?;
        let start = start_line(index.start_line())?;
        let body = octets.get(index.head_length()..).unwrap_or_default();
        let body = match (content_length(&index)?, framing) {
            (Some(length), _) => body
                .get(..length)
                .ok_or(ParseError::bad_request("Content-Length exceeds message"))?,
            (None, Framing::Datagram) => body,
            (None, Framing::Stream) => {
                return Err(ParseError::bad_request("Missing Content-Length"));
            }
        };
        let via = index.first(HeaderName::Via).ok_or(ParseError::bad_request("Missing Via"))?;
        // A value that reads as one is no list.
        let via = Via::parse(via).or_else(|| first_via(via));
        let via = via.ok_or(ParseError::bad_request("Malformed Via"))?;
        let (from, from_tag) =
            address(single(&index, HeaderName::From, "Missing From", "Multiple From")?)
                .ok_or(ParseError::bad_request("Malformed From"))?;
        let (to, to_tag) = address(single(&index, HeaderName::To, "Missing To", "Multiple To")?)
            .ok_or(ParseError::bad_request("Malformed To"))?;
        let call_id = single(&index, HeaderName::CallId, "Missing Call-ID", "Multiple Call-ID")?;
        if call_id.is_empty() || scan::visible_length(call_id.as_bytes()) < call_id.len() {
            return Err(ParseError::bad_request("Malformed Call-ID"));
        }
        let cseq = single(&index, HeaderName::CSeq, "Missing CSeq", "Multiple CSeq")?;
        let cseq = match start {
            StartLine::Request { method, .. } => check_method(method, self::cseq(cseq, method)?)?,
            StartLine::Response { .. } => self::cseq(cseq, "REGISTER")?,
        };
        Ok(Self { start, index, via, from, from_tag, to, to_tag, call_id, cseq, body })
    }

    /// The start line.
    pub const fn start_line(&self) -> StartLine<'a> {
        self.start
    }

    /// Whether the message is a request.
    pub const fn is_request(&self) -> bool {
        matches!(self.start, StartLine::Request { .. })
    }

    /// The method of a request; of the request that a response answers.
    pub const fn method(&self) -> &'a str {
        self.cseq.method
    }

    /// The topmost Via.
    pub const fn top_via(&self) -> &Via<'a> {
        &self.via
    }

    /// From, without its display name.
    pub const fn from_address(&self) -> NameAddr<'a> {
        self.from
    }

    /// The tag of From.
    pub const fn from_tag(&self) -> Option<&'a str> {
        self.from_tag
    }

    /// To, without its display name.
    pub const fn to_address(&self) -> NameAddr<'a> {
        self.to
    }

    /// The tag of To.
    pub const fn to_tag(&self) -> Option<&'a str> {
        self.to_tag
    }

    /// Call-ID; compares with case.
    pub const fn call_id(&self) -> &'a str {
        self.call_id
    }

    /// `CSeq`.
    pub const fn cseq(&self) -> CSeq<'a> {
        self.cseq
    }

    /// Start line and header fields as they came, the empty line included.
    pub const fn head(&self) -> &'a str {
        self.index.head()
    }

    /// The type of the body as written, if the message says one (Content-Type, compact form `c`).
    pub fn content_type(&self) -> Option<&'a str> {
        self.header_named("Content-Type").or_else(|| self.header_named("c"))
    }

    /// The body: octets after the header part, as many as Content-Length says.
    pub const fn body(&self) -> &'a [u8] {
        self.body
    }

    /// All header fields in order, name and value as written; a value may hold folds.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.index.fields()
    }

    /// The value of the first header field of a kind, as written: it may hold folds.
    pub fn header(&self, name: HeaderName) -> Option<&'a str> {
        self.index.first(name)
    }

    /// The values of all header fields of a kind, in order, as written: they may hold folds.
    pub fn values(&self, name: HeaderName) -> impl Iterator<Item = &'a str> + use<'a> {
        self.index.values(name)
    }

    /// The elements of all header fields of a kind whose value is a comma-separated list, in order.
    pub fn elements(&self, name: HeaderName) -> impl Iterator<Item = &'a str> + use<'a> {
        self.index.elements(name)
    }

    /// The value of the first header field with this name, for names that are no [`HeaderName`].
    pub fn header_named(&self, name: &str) -> Option<&'a str> {
        let mut headers = self.headers();
        headers.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Shows the kind of message, nothing of what it says: header fields hold identities.
impl fmt::Debug for MessageView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = match self.start {
            StartLine::Request { .. } => 0,
            StartLine::Response { status, .. } => status,
        };
        f.debug_struct("MessageView")
            .field("method", &self.cseq.method)
            .field("status", &status)
            .field("headers", &self.index.count())
            .field("body_octets", &self.body.len())
            .finish()
    }
}

fn skip_line_ends(mut octets: &[u8]) -> &[u8] {
    while let Some(rest) = octets.strip_prefix(b"\r\n") {
        octets = rest;
    }
    octets
}

fn start_line(line: &str) -> Result<StartLine<'_>, ParseError> {
    // As nearly all are that come here.
    if let Some(uri) = line.strip_prefix("REGISTER ").and_then(|rest| rest.strip_suffix(" SIP/2.0"))
        && super::name_addr::is_uri(uri)
    {
        return Ok(StartLine::Request { method: "REGISTER", uri });
    }
    any_start_line(line)
}

#[inline(never)]
fn any_start_line(line: &str) -> Result<StartLine<'_>, ParseError> {
    const MALFORMED: ParseError = ParseError::bad_request("Malformed start line");
    const VERSION_REFUSED: ParseError = ParseError { status: 505, reason: "Version Not Supported" };
    let (first, rest) = split_space(line).ok_or(MALFORMED)?;
    if is_version_name(first) {
        if !first.eq_ignore_ascii_case(super::VERSION) {
            return Err(VERSION_REFUSED);
        }
        let (status, reason) = split_space(rest).unwrap_or((rest, ""));
        let status = number(status).filter(|status| (100..700).contains(status));
        return Ok(StartLine::Response { status: status.ok_or(MALFORMED)?, reason });
    }
    let (uri, version) = split_space(rest).ok_or(MALFORMED)?;
    if !is_token(first) || version.bytes().any(|octet| matches!(octet, b' ' | b'\t')) {
        return Err(MALFORMED);
    }
    if !super::name_addr::is_uri(uri) {
        return Err(ParseError::bad_request("Malformed Request-URI"));
    }
    if !version.eq_ignore_ascii_case(super::VERSION) {
        return Err(if is_version_name(version) { VERSION_REFUSED } else { MALFORMED });
    }
    Ok(StartLine::Request { method: first, uri })
}

fn split_space(text: &str) -> Option<(&str, &str)> {
    let at = scan::find(text.as_bytes(), b' ')?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// Whether it begins with `SIP/`, without case.
fn is_version_name(text: &str) -> bool {
    text.as_bytes().first_chunk().is_some_and(|name: &[u8; 4]| name.eq_ignore_ascii_case(b"SIP/"))
}

pub(super) fn content_length(index: &Index<'_>) -> Result<Option<usize>, ParseError> {
    let mut length = None;
    for value in index.values(HeaderName::ContentLength) {
        let value: usize =
            number(value).ok_or(ParseError::bad_request("Malformed Content-Length"))?;
        if length.is_some_and(|earlier| earlier != value) {
            return Err(ParseError::bad_request("Multiple Content-Length"));
        }
        length = Some(value);
    }
    Ok(length)
}

/// The value of a field that must be there once.
fn single<'a>(
    index: &Index<'a>,
    kind: HeaderName,
    missing: &'static str,
    multiple: &'static str,
) -> Result<&'a str, ParseError> {
    let value = index.first(kind).ok_or(ParseError::bad_request(missing))?;
    if index.is_repeated(kind) {
        return Err(ParseError::bad_request(multiple));
    }
    Ok(value)
}

#[inline(never)]
fn first_via(list: &str) -> Option<Via<'_>> {
    Elements::new(list).next().and_then(Via::parse)
}

#[inline(never)]
fn address(value: &str) -> Option<(NameAddr<'_>, Option<&str>)> {
    let address = NameAddr::parse(value)?;
    let tag = address.tag().ok()?;
    Some((address, tag))
}

/// Reads a `CSeq`. That `method`, which is expected, is a token is known.
fn cseq<'a>(value: &'a str, method: &str) -> Result<CSeq<'a>, ParseError> {
    const MALFORMED: ParseError = ParseError::bad_request("Malformed CSeq");
    let mut cursor = Cursor::new(value);
    let digits = cursor.digits();
    let separated = cursor.skip_lws();
    let is_method = |text: &str| text == method || is_token(text);
    let method = cursor.rest();
    if digits.is_empty() || !separated || !is_method(method) {
        return Err(MALFORMED);
    }
    let number = number(digits).ok_or(ParseError::bad_request("CSeq out of range"))?;
    Ok(CSeq { number, method })
}

/// A method that `CSeq` contradicts is 400; if we do not know it either, 501 says more (RFC 4475
/// section 3.1.2.18).
fn check_method<'a>(method: &str, cseq: CSeq<'a>) -> Result<CSeq<'a>, ParseError> {
    if method == cseq.method { Ok(cseq) } else { Err(another_method(method)) }
}

#[cold]
fn another_method(method: &str) -> ParseError {
    if is_known_method(method) {
        return ParseError::bad_request("CSeq names another method");
    }
    ParseError { status: 501, reason: "Not Implemented" }
}
