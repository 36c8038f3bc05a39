//! Where the header fields of a message are: found once, looked up by kind.
#![expect(clippy::inline_always, reason = "measured: a call costs as much as what it does")]

use super::{
    HEADERS_MAX, ParseError,
    header::{HeaderName, KINDS},
    lexer::{Elements, is_lws, token_length},
    scan::{self, LINE_BLOCK},
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
const CR_WITHOUT_LF: ParseError = ParseError::bad_request("CR without LF");

impl<'a> Index<'a> {
    /// Finds the header fields of `octets`, which begin with the start line. They are at most
    /// [`MESSAGE_OCTETS_MAX`](super::MESSAGE_OCTETS_MAX).
    #[inline(always)]
    pub(super) fn of(octets: &'a [u8]) -> Result<Self, ParseError> {
        let mut index = Self {
            head: "",
            start_line_end: 0,
            count: 0,
            counts: [0; KINDS],
            first: [Place { value_start: 0, value_end: 0, next: 0 }; KINDS],
        };
        index.read(octets)?;
        Ok(index)
    }

    /// Fills an index that is empty: in its place, since it is large.
    #[inline(never)]
    fn read(&mut self, octets: &'a [u8]) -> Result<(), ParseError> {
        let mut lines = Lines::from(octets, 0);
        let mut at = 0;
        let end = loop {
            let end = lines.next_end()?;
            if at == 0 {
                at = after_start_line(octets, end)?;
                self.start_line_end = offset(end);
            } else if end > at {
                let field = Field::read(&mut lines, at, end)?;
                self.add(&field)?;
                at = field.next;
            } else {
                // An empty line ends the header part.
                break end;
            }
        };
        if lines.stray {
            return Err(CR_WITHOUT_LF);
        }
        let head = octets.get(..end + 2).unwrap_or_default();
        self.head = simdutf8::basic::from_utf8(head)
            .map_err(|_| ParseError::bad_request("Header fields are not UTF-8"))?;
        Ok(())
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

    /// Start line and header fields, the empty line included.
    pub(super) const fn head(&self) -> &'a str {
        self.head
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
    #[inline]
    pub(super) fn first(&self, kind: HeaderName) -> Option<&'a str> {
        Some(value(self.head, self.first_place(kind)?))
    }

    /// Whether there is more than one header field of a kind.
    pub(super) fn is_repeated(&self, kind: HeaderName) -> bool {
        self.count_of(kind) > 1
    }

    /// The values of all header fields of a kind, in order.
    pub(super) fn values(&self, kind: HeaderName) -> Values<'a> {
        let first = self.first_place(kind);
        Values { head: self.head, kind, first, next: 0, left: self.count_of(kind) }
    }

    /// The elements of all header fields of a kind whose value is a comma-separated list, in order.
    pub(super) fn elements(&self, kind: HeaderName) -> ListElements<'a> {
        ListElements { values: self.values(kind), elements: Elements::none() }
    }

    fn first_place(&self, kind: HeaderName) -> Option<Place> {
        self.first.get(kind as usize).copied().filter(|_| self.count_of(kind) > 0)
    }

    fn count_of(&self, kind: HeaderName) -> usize {
        self.counts.get(kind as usize).copied().unwrap_or_default().into()
    }
}

/// Where the line behind the start line begins.
fn after_start_line(octets: &[u8], end: usize) -> Result<usize, ParseError> {
    if end == 0 {
        return Err(ParseError::bad_request("Malformed start line"));
    }
    match octets.get(end + 2) {
        Some(b' ' | b'\t') => Err(ParseError::bad_request("Folded start line")),
        _ => Ok(end + 2),
    }
}

/// The values of the header fields of one kind.
#[derive(Clone)]
pub(super) struct Values<'a> {
    head: &'a str,
    kind: HeaderName,
    /// The first one, which the index knows, until it is taken.
    first: Option<Place>,
    /// Where to look for the next one.
    next: usize,
    /// How many are left: nothing is read again behind the last one.
    left: usize,
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a str;

    #[inline]
    fn next(&mut self) -> Option<&'a str> {
        self.left = self.left.checked_sub(1)?;
        let place = match self.first.take() {
            Some(first) => first,
            None => self.read_next()?,
        };
        self.next = place.next.into();
        Some(value(self.head, place))
    }
}

impl Values<'_> {
    fn read_next(&self) -> Option<Place> {
        let mut fields = fields_from(self.head, self.next);
        fields.find(|(_, field)| field.kind == self.kind).map(|(_, field)| field.place())
    }
}

/// The elements of the header fields of one kind.
pub(super) struct ListElements<'a> {
    values: Values<'a>,
    /// What is left of the value that was taken last.
    elements: Elements<'a>,
}

impl<'a> Iterator for ListElements<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        loop {
            if let Some(element) = self.elements.next() {
                return Some(element);
            }
            self.elements = Elements::new(self.values.next()?);
        }
    }
}

/// The ends of lines, one after the other: found 64 octets at a time.
#[derive(Clone, Copy)]
struct Lines<'a> {
    octets: &'a [u8],
    /// Where the block begins that comes next.
    block: usize,
    /// What may end a line in the block before it, as far as it was not looked at.
    marks: u64,
    /// Whether there was a CR without LF.
    stray: bool,
}

impl<'a> Lines<'a> {
    const fn from(octets: &'a [u8], start: usize) -> Self {
        Self { octets, block: start, marks: 0, stray: false }
    }

    /// The end of the next line: the place of its CR. The line may hold a CR more.
    #[inline(always)]
    fn next_end(&mut self) -> Result<usize, ParseError> {
        loop {
            while self.marks == 0 {
                let rest = self.octets.get(self.block..).filter(|rest| !rest.is_empty());
                let rest = rest.ok_or(ParseError::bad_request("Missing end of header fields"))?;
                self.marks = scan::line_marks(rest);
                self.block += LINE_BLOCK;
            }
            let at = self.block - LINE_BLOCK + self.marks.trailing_zeros() as usize;
            self.marks &= self.marks - 1;
            if let Some([b'\r', b'\n', ..]) = self.octets.get(at..) {
                // The LF, unless it begins the next block.
                self.marks &= self.marks.wrapping_sub(1);
                return Ok(at);
            }
            self.stray |= is_stray(self.octets, at)?;
        }
    }

    /// The same, and what comes behind it: apart, since lines are seldom folded.
    #[inline(never)]
    fn after_fold(mut self) -> Result<(Self, usize), ParseError> {
        let end = self.next_end()?;
        Ok((self, end))
    }
}

/// Whether an octet that ends no line is a CR.
#[cold]
fn is_stray(octets: &[u8], at: usize) -> Result<bool, ParseError> {
    let before = at.checked_sub(1).and_then(|before| octets.get(before));
    match octets.get(at) {
        Some(b'\n') if before != Some(&b'\r') => Err(ParseError::bad_request("LF without CR")),
        octet => Ok(octet == Some(&b'\r')),
    }
}

impl Field {
    /// Reads the field that begins at an octet and whose first line ends at another.
    #[inline(always)]
    fn read(lines: &mut Lines<'_>, start: usize, mut end: usize) -> Result<Self, ParseError> {
        let octets = lines.octets;
        let (kind, name_length, colon) =
            name(octets, start, end).ok_or_else(|| malformed(octets.get(start..end)))?;
        // What begins with white space goes on with the line before.
        while matches!(octets.get(end + 2), Some(b' ' | b'\t')) {
            (*lines, end) = lines.after_fold()?;
        }
        let (value_start, value_end) = value_place(octets, start + colon + 1, end);
        Ok(Self { kind, name_end: start + name_length, value_start, value_end, next: end + 2 })
    }

    const fn place(&self) -> Place {
        Place {
            value_start: offset(self.value_start),
            value_end: offset(self.value_end),
            next: offset(self.next),
        }
    }
}

/// Where the value between a colon and the end of its last line is, without white space around it.
#[inline(always)]
fn value_place(octets: &[u8], start: usize, end: usize) -> (usize, usize) {
    // As nearly all are written. The CR behind an empty value counts as white space.
    if let Some([b' ', first, ..]) = octets.get(start..)
        && let Some(last) = octets.get(end - 1)
        && *first > b' '
        && *last > b' '
    {
        return (start + 1, end);
    }
    trimmed_place(octets, start, end)
}

fn trimmed_place(octets: &[u8], start: usize, end: usize) -> (usize, usize) {
    let value = octets.get(start..end).unwrap_or_default();
    let before = value.iter().position(|&octet| !is_lws(octet)).unwrap_or(value.len());
    let length = value.iter().rposition(|&octet| !is_lws(octet)).map_or(before, |at| at + 1);
    (start + before, start + length)
}

/// The fields of a checked header part from an octet on where one begins, and where each begins.
fn fields_from(head: &str, mut at: usize) -> impl Iterator<Item = (usize, Field)> {
    let mut lines = Lines::from(head.as_bytes(), at);
    std::iter::from_fn(move || {
        let start = at;
        // The empty line is no field.
        let end = lines.next_end().ok().filter(|&end| end > start)?;
        let field = Field::read(&mut lines, start, end).ok()?;
        at = field.next;
        Some((start, field))
    })
}

fn value(head: &str, place: Place) -> &str {
    head.get(usize::from(place.value_start)..usize::from(place.value_end)).unwrap_or_default()
}

/// The kind of the field whose first line is from one octet to another, the length of its name, and
/// where the colon is, before which white space may stand.
#[inline(always)]
fn name(octets: &[u8], start: usize, end: usize) -> Option<(HeaderName, usize, usize)> {
    // Names that are known are no longer than a block, but one.
    if let Some(block) = octets.get(start..)?.first_chunk()
        && let Some(colon) = scan::find_in_block(block, b':')
        && let Some(kind) = HeaderName::identify_front(block, colon)
        && start + colon < end
    {
        // What is identified is a token, or has a CR, which is found with the line ends.
        return Some((kind, colon, colon));
    }
    other_name(octets.get(start..end)?)
}

/// As [`name`], of any field.
#[inline(never)]
fn other_name(line: &[u8]) -> Option<(HeaderName, usize, usize)> {
    // Most have only letters, digits and hyphens before their colon.
    let front = scan::host_length(line);
    if front > 0 && line.get(front) == Some(&b':') {
        return Some((HeaderName::identify(line.get(..front)?), front, front));
    }
    let colon = scan::find(line, b':')?;
    let before_colon = line.get(..colon)?;
    let length = before_colon.iter().rposition(|&octet| !is_lws(octet))? + 1;
    let name = before_colon.get(..length)?;
    (token_length(name) == length).then(|| (HeaderName::identify(name), length, colon))
}

/// What is wrong with a line that is no field.
#[cold]
fn malformed(line: Option<&[u8]>) -> ParseError {
    let stray = line.is_some_and(|line| line.contains(&b'\r'));
    if stray { CR_WITHOUT_LF } else { MALFORMED_FIELD }
}

#[expect(clippy::cast_possible_truncation, reason = "a message has at most 65,535 octets")]
const fn offset(at: usize) -> u16 {
    at as u16
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
            ("Via\r: a\r\n", "CR without LF"),
            ("X: a\rb\r\n", "CR without LF"),
            ("X: a\r\r\n", "CR without LF"),
            ("To: a", "Missing end of header fields"),
        ] {
            let message = format!("OPTIONS sip:h SIP/2.0\r\n{lines}");
            let ended = format!("{message}\r\n");
            let octets = if lines.ends_with('\n') { &ended } else { &message };
            assert_eq!(Index::of(octets.as_bytes()).err().unwrap().reason, reason, "{lines:?}");
        }
    }
}
