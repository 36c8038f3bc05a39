//! Where the header fields of a message are: found once, looked up by kind.

use memchr::memchr2;

use super::{
    HEADERS_MAX, ParseError,
    header::{HeaderName, KINDS},
    lexer::{is_lws, is_token_octet},
};

/// The header part of a message: its lines, checked, and where the first field of each kind is.
///
/// Of further fields it only knows that there are some: they are read again where somebody asks, so
/// that an index is small.
#[derive(Clone)]
pub(super) struct Index<'a> {
    /// Start line and header fields to the empty line, valid UTF-8.
    head: &'a str,
    start_line_end: u16,
    count: u16,
    /// For each kind how many fields it has.
    counts: [u8; KINDS],
    /// For each kind its first field, if there is one.
    first: [Place; KINDS],
}

/// Where the value of a header field is and where the next field begins, octets from the start of the
/// message. They fit: a message has at most 65,535 octets.
#[derive(Clone, Copy)]
struct Place {
    value_start: u16,
    value_end: u16,
    next: u16,
}

/// One header field as it stands in the octets.
struct Field {
    kind: HeaderName,
    name_end: usize,
    value_start: usize,
    value_end: usize,
    next: usize,
}

const MALFORMED_FIELD: ParseError = ParseError::bad_request("Malformed header field");

impl<'a> Index<'a> {
    /// Finds the header fields of `octets`, which begin with the start line.
    pub(super) fn of(octets: &'a [u8]) -> Result<Self, ParseError> {
        let mut index = Self {
            head: "",
            start_line_end: 0,
            count: 0,
            counts: [0; KINDS],
            first: [Place { value_start: 0, value_end: 0, next: 0 }; KINDS],
        };
        let start_line_end = line_end(octets, 0)?;
        index.start_line_end = offset(start_line_end);
        let mut at = start_line_end + 2;
        if start_line_end > 0 && octets.get(at).is_some_and(|&octet| matches!(octet, b' ' | b'\t'))
        {
            return Err(ParseError::bad_request("Folded start line"));
        }
        // An empty line, be it the first one, ends the header part.
        while start_line_end > 0 && octets.get(at..at + 2) != Some(b"\r\n") {
            let field = Field::read(octets, at)?;
            index.add(&field)?;
            at = field.next;
        }
        let head_length = if start_line_end > 0 { at + 2 } else { at };
        index.head = std::str::from_utf8(octets.get(..head_length).unwrap_or_default())
            .map_err(|_| ParseError::bad_request("Header fields are not UTF-8"))?;
        Ok(index)
    }

    fn add(&mut self, field: &Field) -> Result<(), ParseError> {
        if usize::from(self.count) >= HEADERS_MAX {
            return Err(ParseError::bad_request("More than 128 header fields"));
        }
        self.count += 1;
        let kind = field.kind as usize;
        if let (Some(count), Some(first)) = (self.counts.get_mut(kind), self.first.get_mut(kind)) {
            if *count == 0 {
                *first = field.place();
            }
            *count += 1;
        }
        Ok(())
    }

    /// The start line.
    pub(super) fn start_line(&self) -> &'a str {
        self.head.get(..usize::from(self.start_line_end)).unwrap_or_default()
    }

    /// The length of start line and header fields, the empty line included.
    pub(super) const fn head_length(&self) -> usize {
        self.head.len()
    }

    /// How many header fields there are.
    pub(super) const fn count(&self) -> usize {
        self.count as usize
    }

    /// Name and value of all header fields, in order; a value may hold folds.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let head = self.head;
        fields_from(head, usize::from(self.start_line_end) + 2).map(move |(start, field)| {
            let name = head.get(start..field.name_end).unwrap_or_default();
            (name, value(head, field.place()))
        })
    }

    /// The value of the first header field of a kind.
    pub(super) fn first(&self, kind: HeaderName) -> Option<&'a str> {
        Some(value(self.head, self.first_place(kind)?))
    }

    /// Whether there is more than one header field of a kind.
    pub(super) fn is_repeated(&self, kind: HeaderName) -> bool {
        self.count_of(kind) > 1
    }

    /// The values of all header fields of a kind, in order.
    pub(super) fn values(&self, kind: HeaderName) -> impl Iterator<Item = &'a str> + use<'a> {
        let head = self.head;
        let first = self.first_place(kind);
        let others = first.filter(|_| self.is_repeated(kind)).map(|first| {
            // Nothing is read again behind the last one.
            fields_from(head, usize::from(first.next))
                .filter(move |(_, field)| field.kind == kind)
                .take(self.count_of(kind) - 1)
                .map(move |(_, field)| value(head, field.place()))
        });
        first.map(|first| value(head, first)).into_iter().chain(others.into_iter().flatten())
    }

    fn first_place(&self, kind: HeaderName) -> Option<Place> {
        self.first.get(kind as usize).copied().filter(|_| self.count_of(kind) > 0)
    }

    fn count_of(&self, kind: HeaderName) -> usize {
        self.counts.get(kind as usize).copied().unwrap_or_default().into()
    }
}

impl Field {
    /// Reads the field that begins at an octet.
    #[inline]
    fn read(octets: &[u8], start: usize) -> Result<Self, ParseError> {
        let mut end = line_end(octets, start)?;
        let line = octets.get(start..end).unwrap_or_default();
        let colon = colon(line).ok_or(MALFORMED_FIELD)?;
        let (kind, name_length) = name(line.get(..colon).unwrap_or_default())?;
        // What begins with white space goes on with the line before.
        while matches!(octets.get(end + 2), Some(b' ' | b'\t')) {
            end = line_end(octets, end + 2)?;
        }
        let value = octets.get(start + colon + 1..end).unwrap_or_default();
        let before = value.iter().position(|&octet| !is_lws(octet)).unwrap_or(value.len());
        let length = value.iter().rposition(|&octet| !is_lws(octet)).map_or(before, |at| at + 1);
        Ok(Self {
            kind,
            name_end: start + name_length,
            value_start: start + colon + 1 + before,
            value_end: start + colon + 1 + length,
            next: end + 2,
        })
    }

    fn place(&self) -> Place {
        Place {
            value_start: offset(self.value_start),
            value_end: offset(self.value_end),
            next: offset(self.next),
        }
    }
}

/// The fields of a checked header part from an octet on where one begins, and where each begins.
fn fields_from(head: &str, mut at: usize) -> impl Iterator<Item = (usize, Field)> {
    std::iter::from_fn(move || {
        let start = at;
        // The empty line is no field.
        let field = Field::read(head.as_bytes(), start).ok()?;
        at = field.next;
        Some((start, field))
    })
}

fn value(head: &str, place: Place) -> &str {
    head.get(usize::from(place.value_start)..usize::from(place.value_end)).unwrap_or_default()
}

/// The kind and the length of the name before a colon, behind which white space may stand.
fn name(before_colon: &[u8]) -> Result<(HeaderName, usize), ParseError> {
    // What is identified is a token: nothing else has such a name.
    let kind = HeaderName::identify(before_colon);
    if kind != HeaderName::Other {
        return Ok((kind, before_colon.len()));
    }
    let length = before_colon.iter().rposition(|&octet| !is_lws(octet)).map_or(0, |at| at + 1);
    let name = before_colon.get(..length).unwrap_or_default();
    if name.is_empty() || !name.iter().all(|&octet| is_token_octet(octet)) {
        return Err(MALFORMED_FIELD);
    }
    Ok((HeaderName::identify(name), length))
}

/// Where the first colon is: near, so that eight octets at once, inline, are faster than `memchr`.
fn colon(line: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const COLONS: u64 = 0x3a3a_3a3a_3a3a_3a3a;
    const HIGHEST_BITS: u64 = 0x8080_8080_8080_8080;
    let (words, rest) = line.as_chunks();
    for (at, word) in words.iter().enumerate() {
        // An octet that is zero borrows from its highest bit; the lowest one that does is exact.
        let zero_if_colon = u64::from_le_bytes(*word) ^ COLONS;
        let zeros = zero_if_colon.wrapping_sub(ONES) & !zero_if_colon & HIGHEST_BITS;
        if zeros != 0 {
            return Some(8 * at + zeros.trailing_zeros() as usize / 8);
        }
    }
    rest.iter().position(|&octet| octet == b':').map(|at| 8 * words.len() + at)
}

/// Where the line that begins at an octet ends: the place of its CR.
fn line_end(octets: &[u8], start: usize) -> Result<usize, ParseError> {
    let line = octets.get(start..).unwrap_or_default();
    let length = memchr2(b'\r', b'\n', line)
        .ok_or(ParseError::bad_request("Missing end of header fields"))?;
    match line.get(length..length + 2) {
        Some(b"\r\n") => Ok(start + length),
        _ if line.get(length) == Some(&b'\n') => Err(ParseError::bad_request("LF without CR")),
        _ => Err(ParseError::bad_request("CR without LF")),
    }
}

fn offset(at: usize) -> u16 {
    u16::try_from(at).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_kind_in_order_whatever_stands_between() {
        let octets = b"OPTIONS sip:h SIP/2.0\r\nVia: a,\r\n\tb\r\nX-Other  : 1 \r\nv:c\r\nTo :\r\n\
            Contact-Long-Name-Of-None: \r\n \r\nVIA:  d\r\nf: e\r\n\r\nVia: body\r\n";
        let index = Index::of(octets).unwrap();
        assert_eq!(index.values(HeaderName::Via).collect::<Vec<_>>(), ["a,\r\n\tb", "c", "d"]);
        assert!(index.is_repeated(HeaderName::Via) && !index.is_repeated(HeaderName::From));
        assert_eq!((index.first(HeaderName::To), index.first(HeaderName::Path)), (Some(""), None));
        let others = ["1", ""];
        assert_eq!(index.values(HeaderName::Other).collect::<Vec<_>>(), others);
        let names: Vec<_> = index.fields().map(|(name, _)| name).collect();
        assert_eq!(names, ["Via", "X-Other", "v", "To", "Contact-Long-Name-Of-None", "VIA", "f"]);
        assert_eq!(index.count(), names.len());
        assert!(octets.split_at(index.head_length()).1.starts_with(b"Via: body"));
    }

    #[test]
    fn a_line_that_is_no_field_is_refused_with_its_reason() {
        for (lines, reason) in [
            ("Via a\r\n", "Malformed header field"),
            (": a\r\n", "Malformed header field"),
            (" : a\r\n", "Folded start line"),
            ("Call\tID: a\r\n", "Malformed header field"),
            ("Vi\u{e9}: a\r\n", "Malformed header field"),
            ("To: a\n", "LF without CR"),
            ("Call\rID: a\r\n", "CR without LF"),
            ("To: a", "Missing end of header fields"),
        ] {
            let message = format!("OPTIONS sip:h SIP/2.0\r\n{lines}");
            let ended = format!("{message}\r\n");
            let octets = if lines.ends_with('\n') { &ended } else { &message };
            assert_eq!(Index::of(octets.as_bytes()).err().unwrap().reason, reason, "{lines:?}");
        }
    }
}
