//! The lexical parts that header fields share (RFC 3261 section 25.1): linear white space, tokens,
//! quoted strings, comma-separated lists and `;name=value` parameters.
//!
//! A header value may hold CR and LF only where a line was folded (`view` sees to that), so CR and
//! LF count as white space here and a folded value needs no copy.
#![expect(clippy::inline_always, reason = "measured: a call costs as much as what it does")]

use std::borrow::Cow;

use memchr::memchr3;

use super::scan;

/// Linear white space, the CR and LF of a fold included.
pub(crate) const fn is_lws(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\r' | b'\n')
}

/// A character of a token: alphanumeric or one of ``-.!%*_+`'~``.
pub(crate) fn is_token_octet(octet: u8) -> bool {
    has_class(octet, TOKEN)
}

/// How many octets at the front may stand in a token.
#[inline]
pub(crate) fn token_length(octets: &[u8]) -> usize {
    // Long ones are mostly of letters, digits and hyphens.
    let front = if octets.len() < scan::BLOCK { 0 } else { scan::host_length(octets) };
    span(octets, front, TOKEN)
}

fn has_class(octet: u8, class: u8) -> bool {
    classes(octet) & class != 0
}

fn classes(octet: u8) -> u8 {
    CLASSES.get(usize::from(octet)).copied().unwrap_or_default()
}

/// The characters of a token.
const TOKEN: u8 = 1;
/// What a parameter's value may hold without quotes: all but white space, separators, `"`, `\`, and
/// `<`, which could hide a comma of a list.
const PLAIN_VALUE: u8 = 2;
/// What a list takes no notice of: all but `,`, `"` and `<`.
const ELEMENT: u8 = 4;

/// The classes of each octet: a table, since a REGISTER has hundreds of characters to sort.
static CLASSES: [u8; 256] = {
    let mut table = [0; 256];
    let mut octet = 0_u8;
    loop {
        let token = octet.is_ascii_alphanumeric()
            || matches!(octet, b'-' | b'.' | b'!' | b'%' | b'*' | b'_' | b'+' | b'`')
            || matches!(octet, b'\'' | b'~');
        let plain_value = !is_lws(octet) && !matches!(octet, b';' | b',' | b'"' | b'\\' | b'<');
        let element = !matches!(octet, b',' | b'"' | b'<');
        #[expect(clippy::indexing_slicing, reason = "constant; out of bounds would not compile")]
        {
            table[octet as usize] = (if token { TOKEN } else { 0 })
                | (if plain_value { PLAIN_VALUE } else { 0 })
                | (if element { ELEMENT } else { 0 });
        }
        if octet == u8::MAX {
            break table;
        }
        octet += 1;
    }
};

/// Whether `text` is a token: not empty, and of token characters only.
pub(crate) fn is_token(text: &str) -> bool {
    is_token_name(text.as_bytes())
}

/// Whether octets are a token.
pub(crate) fn is_token_name(octets: &[u8]) -> bool {
    !octets.is_empty() && token_length(octets) == octets.len()
}

/// Takes white space off both ends.
#[inline]
pub(crate) fn trim(text: &str) -> &str {
    match text.as_bytes() {
        [first, .., last] if *first > b' ' && *last > b' ' => text,
        [] => text,
        _ => trim_any(text),
    }
}

#[inline(never)]
fn trim_any(text: &str) -> &str {
    let octets = text.as_bytes();
    let start = skip_lws(octets, 0);
    let end = octets.iter().rposition(|&octet| !is_lws(octet)).map_or(start, |at| at + 1);
    text.get(start..end).unwrap_or_default()
}

/// Reads a decimal number of any length; `None` if there is anything but digits or it does not fit.
pub(crate) fn number<T: TryFrom<u64>>(text: &str) -> Option<T> {
    if text.is_empty() {
        return None;
    }
    let mut value = 0_u64;
    for octet in text.bytes() {
        let digit = octet.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // Nineteen digits always fit.
        value = match text.len() {
            ..20 => value * 10 + u64::from(digit),
            _ => value.checked_mul(10)?.checked_add(digit.into())?,
        };
    }
    T::try_from(value).ok()
}

/// The text of a quoted string, quotes taken off and quoted pairs and folds resolved; a token stays.
pub(crate) fn unquote(text: &str) -> Cow<'_, str> {
    let inner = bare(text);
    if inner.len() == text.len() { Cow::Borrowed(inner) } else { unescape(inner) }
}

/// What is between the quotes of a quoted string, quoted pairs and folds resolved.
pub(crate) fn unescape(inner: &str) -> Cow<'_, str> {
    if memchr3(b'\\', b'\r', b'\n', inner.as_bytes()).is_none() {
        return Cow::Borrowed(inner);
    }
    let mut plain = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => plain.extend(characters.next()),
            '\r' | '\n' => {}
            _ => plain.push(character),
        }
    }
    Cow::Owned(plain)
}

/// A value that is a token by its grammar: quotes around it are tolerated.
#[inline]
pub(crate) fn bare(value: &str) -> &str {
    match value.as_bytes() {
        [b'"', inner @ .., b'"'] => value.get(1..=inner.len()).unwrap_or_default(),
        _ => value,
    }
}

/// Whether `name` is `lower` without case. `name` is a token, `lower` has lower-case letters, digits,
/// `-`, `+` and `.` only: those alone may be told apart by clearing one bit.
pub(crate) fn is_name<const N: usize>(name: &[u8], lower: &[u8; N]) -> bool {
    let differences = name.iter().zip(lower).map(|(octet, lower)| (octet | 0x20) ^ lower);
    name.len() == N && differences.fold(0, |all, one| all | one) == 0
}

/// The first eight octets of a name as a number, without case as [`is_name`], zeros behind them: what
/// a name is compared by. `from` begins with the name; most have something behind it.
#[inline(always)]
fn name_key(from: &[u8], length: usize) -> u64 {
    let used = u64::MAX >> (8 * 8_usize.saturating_sub(length)).min(63);
    match from.first_chunk() {
        Some(front) => (u64::from_le_bytes(*front) | SPACES) & used,
        None => short_name_key(from) & used,
    }
}

/// As [`name_key`], of fewer than eight octets, what is behind the name included.
#[inline(never)]
fn short_name_key(from: &[u8]) -> u64 {
    from.iter().rev().fold(0, |key, octet| key << 8 | u64::from(*octet | 0x20))
}

const SPACES: u64 = u64::from_le_bytes([b' '; 8]);

/// The [`name_key`] of a name in lower case.
#[inline(always)]
const fn known_key<const N: usize>(lower: &[u8; N]) -> u64 {
    let mut key = 0;
    let mut at = if N < 8 { N } else { 8 };
    while let Some((octet, _)) = lower.split_at(at).0.split_last() {
        key = key << 8 | *octet as u64;
        at -= 1;
    }
    key
}

/// Where the octets of a class that begin at an octet end. A class has either all octets beyond ASCII
/// or none, so that no character is cut.
#[inline]
fn span(octets: &[u8], start: usize, class: u8) -> usize {
    let mut at = start;
    // Four at once, since nearly all of most texts are of the class.
    while let Some(four) = octets.get(at..).and_then(|rest| rest.first_chunk::<4>())
        && four.iter().fold(class, |common, &octet| common & classes(octet)) != 0
    {
        at += four.len();
    }
    while octets.get(at).is_some_and(|&octet| has_class(octet, class)) {
        at += 1;
    }
    at
}

/// Where the white space that begins at an octet ends.
#[inline]
fn skip_lws(octets: &[u8], mut at: usize) -> usize {
    while octets.get(at).is_some_and(|&octet| is_lws(octet)) {
        at += 1;
    }
    at
}

/// A position in a header value.
#[derive(Clone)]
pub(crate) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The next octet, which stays.
    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Takes `octet` if it is next.
    #[inline]
    pub(crate) fn eat(&mut self, octet: u8) -> bool {
        let next = self.peek() == Some(octet);
        self.at += usize::from(next);
        next
    }

    /// Takes white space; says whether there was any.
    #[inline]
    pub(crate) fn skip_lws(&mut self) -> bool {
        let before = self.at;
        self.at = skip_lws(self.text.as_bytes(), before);
        self.at > before
    }

    /// Takes white space and commas.
    #[inline]
    pub(crate) fn skip_separators(&mut self) {
        while self.peek().is_some_and(|octet| octet == b',' || is_lws(octet)) {
            self.at += 1;
        }
    }

    /// Takes digits; perhaps none.
    #[inline]
    pub(crate) fn digits(&mut self) -> &'a str {
        let octets = self.text.as_bytes();
        let start = self.at;
        while octets.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// Takes a host name or IPv4 address; perhaps an empty one.
    #[inline]
    pub(crate) fn host(&mut self) -> &'a str {
        let length = scan::host_length(self.rest().as_bytes());
        self.take(length).unwrap_or_default()
    }

    /// Takes a token; perhaps an empty one.
    #[inline]
    pub(crate) fn token(&mut self) -> &'a str {
        self.take_span(TOKEN)
    }

    #[inline]
    fn take_span(&mut self, class: u8) -> &'a str {
        let start = self.at;
        self.at = span(self.text.as_bytes(), start, class);
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// Takes `length` octets, if there are so many.
    #[inline]
    pub(crate) fn take(&mut self, length: usize) -> Option<&'a str> {
        let taken = self.text.get(self.at..self.at + length)?;
        self.at += length;
        Some(taken)
    }

    /// Takes `name` or `name=value` with the white space around; what follows is the caller's to check.
    #[inline(never)]
    pub(crate) fn param(&mut self) -> Option<Param<'a>> {
        let octets = self.text.as_bytes();
        let start = skip_lws(octets, self.at);
        let end = span(octets, start, TOKEN);
        let name = octets.get(start..end).filter(|name| !name.is_empty())?;
        let key = name_key(octets.get(start..)?, name.len());
        let separator = skip_lws(octets, end);
        if octets.get(separator) != Some(&b'=') {
            self.at = separator;
            return Some(Param { name, key, value: None });
        }
        let start = skip_lws(octets, separator + 1);
        let end = match octets.get(start) {
            // A quoted string with its quotes.
            Some(b'"') => start + quoted_length(octets.get(start..)?)?,
            _ => span(octets, start, PLAIN_VALUE),
        };
        let value = self.text.get(start..end).filter(|value| !value.is_empty())?;
        self.at = skip_lws(octets, end);
        Some(Param { name, key, value: Some(value) })
    }

    /// Takes `name=value` or `name="value"` if it is written as nearly all are: without white space, and
    /// without what the text of a quoted string leaves out. The value comes without quotes; the name may
    /// be no token.
    #[inline(always)]
    pub(crate) fn usual_param(&mut self) -> Option<Param<'a>> {
        let octets = self.text.as_bytes().get(self.at..)?;
        let block = octets.first_chunk()?;
        let length = match scan::find_in_block(block, b'=') {
            Some(length) => length,
            None => scan::find_far(octets, b'=')?,
        };
        let name = octets.get(..length)?;
        name.last().filter(|&&octet| octet > b' ')?;
        let (quotes, length) = match octets.get(length + 1..)? {
            [b'"', rest @ ..] => {
                let length = scan::plain_quoted_length(rest);
                rest.get(length).filter(|&&octet| octet == b'"')?;
                (1, length)
            }
            rest => (0, Some(span(rest, 0, PLAIN_VALUE)).filter(|&length| length > 0)?),
        };
        let start = self.at + name.len() + 1 + quotes;
        let value = self.text.get(start..start + length)?;
        self.at = start + length + quotes;
        Some(Param { name, key: name_key(octets, name.len()), value: Some(value) })
    }

    /// Takes what stands between two elements of a list; `false` if something else does.
    #[inline(always)]
    pub(crate) fn end_element(&mut self) -> bool {
        match self.text.as_bytes().get(self.at..) {
            // As nearly all are written: white space and commas come before letters.
            Some([b',', b' ', next, ..]) if *next > b',' => self.at += 2,
            Some([b',', next, ..]) if *next > b',' => self.at += 1,
            _ => {
                self.skip_lws();
                let ended = matches!(self.peek(), None | Some(b','));
                self.skip_separators();
                return ended;
            }
        }
        true
    }

    /// What is left.
    #[inline]
    pub(crate) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }
}

/// Where the quoted string that begins at octet 0 ends: the length, both quotes included.
#[inline(always)]
pub(crate) fn quoted_length(octets: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        let found = scan::quoted_length(octets.get(at..)?) + at;
        if octets.get(found)? == &b'"' {
            return Some(found + 1);
        }
        at = found + 2;
    }
}

/// Splits a comma-separated header value; commas in quoted strings and in `<>` do not count.
///
/// Elements come without surrounding white space and may be empty. What is not closed runs to the
/// end, so that the element's own parser refuses it.
#[derive(Clone)]
pub(crate) struct Elements<'a> {
    rest: Option<&'a str>,
}

impl<'a> Elements<'a> {
    pub(crate) const fn new(value: &'a str) -> Self {
        Self { rest: Some(value) }
    }

    /// None at all.
    pub(crate) const fn none() -> Self {
        Self { rest: None }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let text = self.rest.take()?;
        let octets = text.as_bytes();
        let mut at = 0;
        loop {
            at = element_end(octets, at);
            let tail = octets.get(at..).unwrap_or_default();
            let length = match tail.first() {
                Some(b',') => {
                    self.rest = text.get(at + 1..);
                    return text.get(..at).map(trim);
                }
                Some(b'"') => quoted_length(tail),
                Some(_) => scan::find(tail, b'>'),
                None => None,
            };
            let Some(length) = length else { break };
            at += length;
        }
        Some(trim(text))
    }
}

/// Where the first octet from `start` on is of which a list takes notice.
#[inline(always)]
fn element_end(octets: &[u8], start: usize) -> usize {
    // Most elements are short.
    if octets.len() < scan::BLOCK {
        return span(octets, start, ELEMENT);
    }
    start + scan::element_length(octets.get(start..).unwrap_or_default())
}

/// A parameter of a header field or URI: `name` or `name=value`.
#[derive(Clone, Copy)]
pub(crate) struct Param<'a> {
    /// The name as written, a token; compares without case.
    pub(crate) name: &'a [u8],
    key: u64,
    /// The value as written, a quoted string with its quotes.
    pub(crate) value: Option<&'a str>,
}

impl Param<'_> {
    /// Whether the name is `lower` without case; see [`is_name`].
    #[inline(always)]
    pub(crate) fn is<const N: usize>(&self, lower: &[u8; N]) -> bool {
        self.name.len() == N
            && self.key == known_key(lower)
            && (N <= 8 || is_name(self.name, lower))
    }
}

/// A parameter that is none: `;;`, a name that is no token, an open quoted string.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct MalformedParam;

/// Splits `;name=value;name...`, the first `;` included.
#[derive(Clone)]
pub(crate) struct Params<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Params<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let mut cursor = Cursor::new(text);
        cursor.skip_lws();
        Self { cursor }
    }
}

impl<'a> Iterator for Params<'a> {
    type Item = Result<Param<'a>, MalformedParam>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.cursor.peek()?;
        let param = if self.cursor.eat(b';') { self.cursor.param() } else { None };
        if param.is_none() {
            self.cursor = Cursor::new("");
        }
        Some(param.ok_or(MalformedParam))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_quotes_and_angle_brackets_do_not_split_a_list() {
        for (value, want) in [
            ("a, b ,c", &["a", "b", "c"][..]),
            (
                r#""x, \" y" <sip:a,b@c>;p="1,2" , <sip:d>"#,
                &[r#""x, \" y" <sip:a,b@c>;p="1,2""#, "<sip:d>"],
            ),
            ("a,,b", &["a", "", "b"]),
            ("", &[""]),
            (r#"a, "open, b"#, &["a", r#""open, b"#]),
            ("<open, b", &["<open, b"]),
            ("a,\r\n b", &["a", "b"]),
        ] {
            assert_eq!(Elements::new(value).collect::<Vec<_>>(), want, "{value}");
        }
    }

    #[test]
    fn parameters_have_names_and_perhaps_values() {
        let text = ";lr; Expires = 30;\r\n x=\"a;\\\"b\" ;y=[::1]";
        let params: Vec<_> = Params::new(text)
            .map(|param| param.map(|p| (std::str::from_utf8(p.name).unwrap(), p.value)).unwrap())
            .collect();
        assert_eq!(
            params,
            [
                ("lr", None),
                ("Expires", Some("30")),
                ("x", Some("\"a;\\\"b\"")),
                ("y", Some("[::1]")),
            ]
        );
    }

    #[test]
    fn a_malformed_parameter_ends_the_list_with_an_error() {
        for text in [
            ";;",
            "x",
            ";",
            ";=a",
            ";a=",
            ";a=b c",
            ";a=\"open",
            ";a=\"b\"c",
            ";a=b\"c\"",
            ";a=<b,c>",
        ] {
            let last = Params::new(text).last().unwrap();
            assert_eq!(last.err(), Some(MalformedParam), "{text}");
        }
    }

    #[test]
    fn a_number_is_digits_that_fit() {
        assert_eq!(number::<u32>("0009"), Some(9));
        assert_eq!(number::<u32>("4294967295"), Some(u32::MAX));
        for text in ["", "4294967296", "+1", "-1", "1 ", "99999999999999999999999"] {
            assert_eq!(number::<u32>(text), None, "{text}");
        }
    }

    #[test]
    fn unquoting_resolves_pairs_and_folds() {
        assert_eq!(unquote(r#""a\"b\\c""#), r#"a"b\c"#);
        assert_eq!(unquote("\"a\r\n b\""), "a b");
        assert!(matches!(unquote("\"plain\""), Cow::Borrowed("plain")));
        assert_eq!(unquote("token"), "token");
    }
}
