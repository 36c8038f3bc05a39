//! Where the header fields of a message are: found once, looked up by kind.

use memchr::memchr_iter;

use super::{
    HEADERS_MAX, ParseError,
    header::{HeaderName, KINDS},
    lexer::{is_lws, is_token_octet, trim},
};

/// The header part of a message: its lines, checked, and where each header field is.
#[derive(Clone)]
pub(super) struct Index<'a> {
    /// Start line and header fields to the empty line, valid UTF-8.
    head: &'a str,
    start_line_end: u16,
    count: usize,
    /// For each kind the place of its first slot, counted from 1; 0 if there is none.
    first: [u8; KINDS],
    /// For each kind, by its bit, whether it has more than one slot.
    repeated: u32,
    /// One slot for each header field, and one for the empty line, where the last value ends.
    slots: [Slot; HEADERS_MAX + 1],
}

/// Where a header field begins and its value, octets from the start of the message.
#[derive(Clone, Copy)]
struct Slot {
    start: u16,
    name_length: u16,
    value_start: u16,
    kind: HeaderName,
}

const EMPTY_SLOT: Slot = Slot { start: 0, name_length: 0, value_start: 0, kind: HeaderName::Other };

const MALFORMED_FIELD: ParseError = ParseError::bad_request("Malformed header field");

impl<'a> Index<'a> {
    /// Finds the header fields of `octets`, which begin with the start line.
    pub(super) fn of(octets: &'a [u8]) -> Result<Self, ParseError> {
        let mut index = Self::new();
        index.read(octets)?;
        Ok(index)
    }

    /// An index of nothing.
    pub(super) const fn new() -> Self {
        Self {
            head: "",
            start_line_end: 0,
            count: 0,
            first: [0; KINDS],
            repeated: 0,
            slots: [EMPTY_SLOT; HEADERS_MAX + 1],
        }
    }

    /// Finds the header fields of `octets`, which begin with the start line; `self` is new.
    ///
    /// Not a constructor, since an index is more than a kilobyte: this one need not be moved.
    pub(super) fn read(&mut self, octets: &'a [u8]) -> Result<(), ParseError> {
        let head = octets.get(..self.find_lines(octets)?).unwrap_or_default();
        self.head = std::str::from_utf8(head)
            .map_err(|_| ParseError::bad_request("Header fields are not UTF-8"))?;
        Ok(())
    }

    /// Finds the lines; gives the length of the header part.
    fn find_lines(&mut self, octets: &[u8]) -> Result<usize, ParseError> {
        let mut line_start = 0;
        let mut line_count = 0;
        for line_end in memchr_iter(b'\r', octets) {
            if octets.get(line_end + 1) != Some(&b'\n') {
                return Err(ParseError::bad_request("CR without LF"));
            }
            line_count += 1;
            if line_end == line_start {
                if let Some(last) = self.slots.get_mut(self.count) {
                    last.start = offset(line_start);
                }
                let head = octets.get(..line_end + 2).unwrap_or_default();
                if memchr_iter(b'\n', head).count() != line_count {
                    return Err(ParseError::bad_request("LF without CR"));
                }
                return Ok(head.len());
            }
            if line_count == 1 {
                self.start_line_end = offset(line_end);
            } else {
                let line = octets.get(line_start..line_end).unwrap_or_default();
                self.add_line(line, line_start)?;
            }
            line_start = line_end + 2;
        }
        Err(ParseError::bad_request("Missing end of header fields"))
    }

    fn add_line(&mut self, line: &[u8], start: usize) -> Result<(), ParseError> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            // The value of the field before ends where the next one begins: nothing to note.
            let begun = if self.count > 0 { Ok(()) } else { Err("Folded start line") };
            return begun.map_err(ParseError::bad_request);
        }
        let name_length = line.iter().position(|&octet| !is_token_octet(octet)).unwrap_or(0);
        let (name, rest) = line.split_at_checked(name_length).ok_or(MALFORMED_FIELD)?;
        let colon = rest.iter().position(|&octet| !is_lws(octet)).ok_or(MALFORMED_FIELD)?;
        if name.is_empty() || rest.get(colon) != Some(&b':') {
            return Err(MALFORMED_FIELD);
        }
        if self.count >= HEADERS_MAX {
            return Err(ParseError::bad_request("More than 128 header fields"));
        }
        let kind = HeaderName::identify(name);
        if let Some(slot) = self.slots.get_mut(self.count) {
            *slot = Slot {
                start: offset(start),
                name_length: offset(name_length),
                value_start: offset(start + name_length + colon + 1),
                kind,
            };
        }
        self.count += 1;
        match self.first.get_mut(kind as usize) {
            Some(first @ 0) => *first = u8::try_from(self.count).unwrap_or(u8::MAX),
            _ => self.repeated |= 1 << kind as u8,
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
        self.count
    }

    /// Name and value of the header field at a place; a value may hold folds.
    pub(super) fn field(&self, at: usize) -> Option<(&'a str, &'a str)> {
        let slot = self.slots.get(..self.count)?.get(at)?;
        let start = usize::from(slot.start);
        let name = self.head.get(start..start + usize::from(slot.name_length))?;
        Some((name, self.value(at)))
    }

    /// The value of the first header field of a kind.
    pub(super) fn first(&self, kind: HeaderName) -> Option<&'a str> {
        let first = self.first.get(kind as usize).copied().unwrap_or_default();
        Some(self.value(usize::from(first).checked_sub(1)?))
    }

    /// Whether there is more than one header field of a kind.
    pub(super) const fn is_repeated(&self, kind: HeaderName) -> bool {
        self.repeated & (1 << kind as u8) != 0
    }

    /// The values of all header fields of a kind, in order.
    pub(super) fn values(&self, kind: HeaderName) -> impl Iterator<Item = &'a str> + use<'a, '_> {
        let first = usize::from(self.first.get(kind as usize).copied().unwrap_or_default());
        let end = if self.is_repeated(kind) { self.count } else { first };
        let slots = self.slots.get(first..end).unwrap_or_default();
        let others = slots.iter().zip(first..).filter(move |(slot, _)| slot.kind == kind);
        let others = others.map(|(_, at)| self.value(at));
        first.checked_sub(1).map(|at| self.value(at)).into_iter().chain(others)
    }

    fn value(&self, at: usize) -> &'a str {
        let start = self.slots.get(at).map_or(0, |slot| usize::from(slot.value_start));
        let next = self.slots.get(at + 1).map_or(0, |slot| usize::from(slot.start));
        trim(self.head.get(start..next).unwrap_or_default())
    }
}

/// Offsets fit: a message has at most 65,535 octets.
fn offset(at: usize) -> u16 {
    u16::try_from(at).unwrap_or(u16::MAX)
}
