//! Bodies of several parts (RFC 2046 section 5.1, RFC 5621): a view that borrows from the body, and a builder.
//!
//! Bounded and strict: at most [`PARTS_MAX`] parts, of which each has its header fields, an empty line and its content.
//! A multipart within a multipart is one part of that type: nothing here descends, so nothing nests.

use super::{
    ParseError,
    lexer::{Params, is_token, is_token_octet, trim, unquote},
    render::Writer,
    scan,
};

/// Most parts of one body.
pub const PARTS_MAX: usize = 16;

/// Most header fields of one part.
const PART_HEADERS_MAX: usize = 16;

/// Longest boundary, octets (RFC 2046 section 5.1.1).
const BOUNDARY_OCTETS_MAX: usize = 70;

/// A media type, such as `multipart/mixed;boundary=b`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MediaType<'a> {
    kind: &'a str,
    subtype: &'a str,
    params: &'a str,
}

/// One part of a body; the whole body, if that has one.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    /// What it is.
    pub media_type: MediaType<'a>,
    /// Its octets.
    pub content: &'a [u8],
}

impl<'a> MediaType<'a> {
    /// Reads the value of a Content-Type field. White space may stand around `/` (RFC 3261 section 25.1).
    ///
    /// # Errors
    ///
    /// 400 if it is none.
    pub fn parse(value: &'a str) -> Result<Self, ParseError> {
        const MALFORMED: ParseError = ParseError::bad_request("Malformed Content-Type");
        let (essence, params) = match value.find(';') {
            Some(at) => value.split_at_checked(at).ok_or(MALFORMED)?,
            None => (value, ""),
        };
        let (kind, subtype) = essence.split_once('/').ok_or(MALFORMED)?;
        let (kind, subtype) = (trim(kind), trim(subtype));
        let well_formed = is_token(kind) && is_token(subtype);
        if !well_formed || Params::new(params).any(|param| param.is_err()) {
            return Err(MALFORMED);
        }
        Ok(Self { kind, subtype, params })
    }

    /// Whether it is this one, written in lower case, whatever its parameters.
    pub fn is(&self, media_type: &str) -> bool {
        media_type.split_once('/').is_some_and(|(kind, subtype)| {
            self.kind.eq_ignore_ascii_case(kind) && self.subtype.eq_ignore_ascii_case(subtype)
        })
    }

    fn boundary(&self) -> Result<String, ParseError> {
        const NONE: ParseError = ParseError::bad_request("Multipart body without boundary");
        let is_it = |name: &[u8]| name.eq_ignore_ascii_case(b"boundary");
        let mut params = Params::new(self.params).flatten();
        let value = params.find(|param| is_it(param.name)).and_then(|param| param.value);
        let boundary = unquote(value.ok_or(NONE)?);
        let fits = |octet: u8| is_token_octet(octet) || b"()+,/:=? ".contains(&octet);
        let is_one = (1..=BOUNDARY_OCTETS_MAX).contains(&boundary.len())
            && boundary.bytes().all(fits)
            && !boundary.ends_with(' ');
        is_one.then(|| boundary.into_owned()).ok_or(ParseError::bad_request("Malformed boundary"))
    }
}

/// Reads a body of this Content-Type: the parts of a multipart in their order, or the body itself. Nothing of an empty
/// body.
///
/// # Errors
///
/// 400 that names what is wrong.
pub fn parts<'a>(
    content_type: Option<&'a str>,
    body: &'a [u8],
) -> Result<Vec<Part<'a>>, ParseError> {
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let content_type = content_type.ok_or(ParseError::bad_request("Body without Content-Type"))?;
    let media_type = MediaType::parse(content_type)?;
    if !media_type.kind.eq_ignore_ascii_case("multipart") {
        return Ok(vec![Part { media_type, content: body }]);
    }
    split(body, &media_type.boundary()?)
}

/// Splits a body at the lines of its boundary. What stands before the first and behind the last one is no part.
fn split<'a>(body: &'a [u8], boundary: &str) -> Result<Vec<Part<'a>>, ParseError> {
    const UNENDED: ParseError = ParseError::bad_request("Multipart body without end");
    let mut parts = Vec::new();
    let mut lines = Lines { body, at: 0 };
    let mut begin = None;
    loop {
        let start = lines.at;
        let line = lines.next().ok_or(UNENDED)?;
        let Some(is_last) = delimits(line, boundary) else { continue };
        if let Some(begin) = begin {
            // The line end before a boundary is the boundary's.
            let part = body.get(begin..start).and_then(|part| part.strip_suffix(b"\r\n"));
            let part = part.ok_or(ParseError::bad_request("Empty body part"))?;
            if parts.len() == PARTS_MAX {
                return Err(ParseError::bad_request("More than 16 body parts"));
            }
            parts.push(Part::parse(part)?);
        }
        if is_last {
            let some = !parts.is_empty();
            return some.then_some(parts).ok_or(ParseError::bad_request("No body parts"));
        }
        begin = Some(lines.at);
    }
}

/// Whether a line is a boundary, and then whether it is the last one.
fn delimits(line: &[u8], boundary: &str) -> Option<bool> {
    let rest = line.strip_prefix(b"--")?.strip_prefix(boundary.as_bytes())?;
    let (rest, is_last) = match rest.strip_prefix(b"--") {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    // Padding, as RFC 2046 section 5.1.1 allows.
    rest.iter().all(|octet| matches!(octet, b' ' | b'\t')).then_some(is_last)
}

/// The lines of a body, without CR LF; what follows the last one is a line, too.
struct Lines<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.body.get(self.at..).filter(|rest| !rest.is_empty())?;
        let length = memchr::memmem::find(rest, b"\r\n");
        self.at += length.map_or(rest.len(), |length| length + 2);
        rest.get(..length.unwrap_or(rest.len()))
    }
}

impl<'a> Part<'a> {
    fn parse(part: &'a [u8]) -> Result<Self, ParseError> {
        const MALFORMED: ParseError = ParseError::bad_request("Malformed header of body part");
        let (head, content) = if let Some(content) = part.strip_prefix(b"\r\n") {
            (&[][..], content)
        } else {
            let end = memchr::memmem::find(part, b"\r\n\r\n");
            let end = end.ok_or(ParseError::bad_request("Body part without empty line"))?;
            let (head, rest) = part.split_at_checked(end).ok_or(MALFORMED)?;
            (head, rest.get(4..).unwrap_or_default())
        };
        let head = std::str::from_utf8(head).map_err(|_| MALFORMED)?;
        let (mut content_type, mut count) = (None, 0);
        for field in unfolded(head) {
            count += 1;
            let (name, value) = field.split_once(':').ok_or(MALFORMED)?;
            let name = name.trim_end();
            if !is_token(name) || count > PART_HEADERS_MAX || has_stray_line_end(value) {
                return Err(MALFORMED);
            }
            if ["content-type", "c"].iter().any(|it| name.eq_ignore_ascii_case(it))
                && content_type.replace(trim(value)).is_some()
            {
                return Err(MALFORMED);
            }
            let is_encoded = name.eq_ignore_ascii_case("content-transfer-encoding")
                && !["binary", "8bit", "7bit"]
                    .iter()
                    .any(|it| it.eq_ignore_ascii_case(trim(value)));
            // What nobody here reads may come in base64, such as application/mikey; what is read may not.
            if is_encoded {
                return Ok(Self { media_type: ENCODED, content });
            }
        }
        // RFC 2046 section 5.1: text, if nothing is said.
        let media_type = content_type.map_or(Ok(TEXT), MediaType::parse)?;
        Ok(Self { media_type, content })
    }

    /// Its text.
    ///
    /// # Errors
    ///
    /// 400 if it is none.
    pub fn text(&self) -> Result<&'a str, ParseError> {
        simdutf8::basic::from_utf8(self.content)
            .map_err(|_| ParseError::bad_request("Body part is not UTF-8"))
    }
}

const TEXT: MediaType<'static> = MediaType { kind: "text", subtype: "plain", params: "" };

/// What a part is taken for whose octets are not its content.
const ENCODED: MediaType<'static> =
    MediaType { kind: "application", subtype: "octet-stream", params: "" };

/// The fields of a header part, folds included.
fn unfolded(head: &str) -> impl Iterator<Item = &str> {
    let mut rest = head;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut from = 0;
        let end = loop {
            let Some(at) = rest.get(from..)?.find("\r\n") else { break rest.len() };
            from += at + 2;
            if !rest.get(from..)?.starts_with([' ', '\t']) {
                break from - 2;
            }
        };
        let field = rest.get(..end)?;
        rest = rest.get(end..)?.trim_start_matches("\r\n");
        Some(field)
    })
}

/// Whether there is a CR or LF that is no fold.
fn has_stray_line_end(value: &str) -> bool {
    let mut rest = value.as_bytes();
    loop {
        let length = scan::line_length(rest);
        match rest.get(length..) {
            None | Some([]) => return false,
            Some([b'\r', b'\n', b' ' | b'\t', after @ ..]) => rest = after,
            Some(_) => return true,
        }
    }
}

/// Shows what it is, nothing of what it says.
impl std::fmt::Debug for Part<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let MediaType { kind, subtype, .. } = self.media_type;
        write!(f, "Part({kind}/{subtype}, {} octets)", self.content.len())
    }
}

/// A body of several parts being written: `multipart/mixed`.
pub struct Multipart {
    boundary: String,
    writer: Writer,
}

impl Multipart {
    /// Begins a body whose boundary ends in `unique`, which must be hard to guess: no part may have it.
    pub fn new(unique: u64) -> Self {
        Self { boundary: format!("migcore-{unique:016x}"), writer: Writer::with_capacity(4_096) }
    }

    /// Adds a part.
    #[must_use]
    pub fn part(mut self, media_type: &str, content: &[u8]) -> Self {
        for part in ["--", &self.boundary] {
            self.writer.text(part);
        }
        self.writer.end_line();
        self.writer.field("Content-Type", media_type);
        self.writer.end_line();
        self.writer.verbatim(content);
        self.writer.end_line();
        self
    }

    /// The Content-Type, and the body.
    pub fn finish(mut self) -> (String, bytes::Bytes) {
        for part in ["--", &self.boundary, "--"] {
            self.writer.text(part);
        }
        self.writer.end_line();
        (format!("multipart/mixed;boundary={}", self.boundary), self.writer.finish())
    }
}

/// Shows nothing of what is in it.
impl std::fmt::Debug for Multipart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Multipart")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: Option<&str> = Some("multipart/mixed; boundary=\"b 1\"");

    #[test]
    fn parts_are_found_in_their_order_with_what_stands_around_left_out() {
        let body = b"preamble\r\n--b 1\r\nContent-Type: Application/X+xml;\r\n charset=utf-8\r\n\
            Content-ID: <1>\r\n\r\n<a/>\r\n--b 1 \t\r\n\r\nplain\r\n\r\n--b 1\r\nc: a/b\r\n\r\n\r\n\
            --b 1--\r\nepilogue";
        let parts = parts(TYPE, body).unwrap();
        let contents: Vec<&[u8]> = parts.iter().map(|part| part.content).collect();
        assert_eq!(contents, [&b"<a/>"[..], b"plain\r\n", b""]);
        assert!(parts[0].media_type.is("application/x+xml"));
        assert!(parts[1].media_type.is("text/plain") && parts[2].media_type.is("a/b"));
    }

    #[test]
    fn a_body_without_parts_is_one_and_an_empty_one_is_none() {
        let single = parts(Some(" application/x ;a=b"), b"--b\r\n").unwrap();
        assert!(single.len() == 1 && single[0].content == b"--b\r\n");
        assert!(parts(None, b"").unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_with_a_body_is_said() {
        let many = "--b 1\r\n\r\nx\r\n".repeat(17) + "--b 1--\r\n";
        let headers = format!("--b 1\r\n{}\r\nx\r\n--b 1--", "A: b\r\n".repeat(17));
        for (content_type, body, reason) in [
            (None, "x", "Body without Content-Type"),
            (Some("multipart"), "x", "Malformed Content-Type"),
            (Some("a/b;;"), "x", "Malformed Content-Type"),
            (Some("multipart/mixed"), "x", "Multipart body without boundary"),
            (Some("multipart/mixed;boundary=\"\""), "x", "Malformed boundary"),
            (Some("multipart/mixed;boundary=\"a\u{e4}\""), "x", "Malformed boundary"),
            (TYPE, "--b 1\r\n\r\nx", "Multipart body without end"),
            (TYPE, "--b 1\r\n\r\nx--b 1--", "Multipart body without end"),
            (TYPE, "--b 1--\r\n", "No body parts"),
            (TYPE, "--b 1\r\n--b 1--\r\n", "Empty body part"),
            (TYPE, "--b 1\r\nA: b\r\n--b 1--\r\n", "Body part without empty line"),
            (TYPE, "--b 1\r\nA\r\n\r\n\r\n--b 1--\r\n", "Malformed header of body part"),
            (TYPE, "--b 1\r\nA: b\rc\r\n\r\n\r\n--b 1--\r\n", "Malformed header of body part"),
            (TYPE, &headers, "Malformed header of body part"),
            (TYPE, &many, "More than 16 body parts"),
        ] {
            let error = parts(content_type, body.as_bytes()).unwrap_err();
            assert_eq!((error.status, error.reason), (400, reason), "{body}");
        }
    }

    #[test]
    fn a_part_in_base64_is_there_but_is_not_taken_for_what_it_says() {
        let body =
            b"--b 1\r\nContent-Type: application/mikey\r\nContent-Transfer-Encoding: base64\r\n\
            \r\nAAAA\r\n--b 1--";
        let parts = parts(TYPE, body).unwrap();
        assert!(parts.len() == 1 && parts[0].media_type.is("application/octet-stream"));
    }

    #[test]
    fn what_is_built_reads_as_it_was_given() {
        let parts_given: [(&str, &[u8]); 3] =
            [("a/b", b"<x/>\r\n--\r\n"), ("message/sip", b"\x00\xff"), ("c/d", b"")];
        let mut multipart = Multipart::new(7);
        for (media_type, content) in parts_given {
            multipart = multipart.part(media_type, content);
        }
        let (content_type, body) = multipart.finish();
        let read = parts(Some(&content_type), &body).unwrap();
        let read: Vec<(bool, &[u8])> = read
            .iter()
            .zip(parts_given)
            .map(|(part, (media_type, _))| (part.media_type.is(media_type), part.content))
            .collect();
        assert_eq!(read, parts_given.map(|(_, content)| (true, content)));
    }
}
