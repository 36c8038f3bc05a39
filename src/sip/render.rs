//! Writing messages: every value that came from outside passes [`Writer`], which lets no line end
//! through.

use std::{fmt, net::IpAddr};

use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;

use super::{lexer::is_token, scan};

/// Octets of an allocation that messages share.
const CHUNK_OCTETS: usize = 65_536;

/// Room in which messages are written one behind the other, so that few of them cost an allocation. It is freed
/// when the last message in it is.
#[derive(Debug)]
pub struct Chunk {
    room: BytesMut,
    /// Octets of one allocation.
    octets: usize,
}

impl Default for Chunk {
    fn default() -> Self {
        Self::of(CHUNK_OCTETS)
    }
}

impl Chunk {
    /// Allocates so many octets at a time, the first when something is written.
    pub fn of(octets: usize) -> Self {
        Self { room: BytesMut::new(), octets }
    }

    /// Begins a message of `octets` octets as a rule; [`Writer::finish_in`] ends it.
    pub fn begin(&mut self, octets: usize) -> Writer {
        if self.room.capacity() < octets {
            // Room that is free again is used again.
            self.room.reserve(self.octets.max(octets));
        }
        Writer(std::mem::take(&mut self.room))
    }

    /// Takes a text in, as it is.
    pub fn text(&mut self, text: &str) -> ByteString {
        let mut writer = self.begin(text.len());
        writer.verbatim(text.as_bytes());
        writer.finish_text_in(self)
    }
}

/// Octets of a message being written.
pub struct Writer(BytesMut);

impl Writer {
    /// Begins with room for so many octets.
    pub fn with_capacity(octets: usize) -> Self {
        Self(BytesMut::with_capacity(octets))
    }

    /// Writes text; each CR and LF becomes a space, so that a folded value is unfolded and nobody
    /// adds a line.
    pub fn text(&mut self, text: &str) {
        self.octets(text.as_bytes());
    }

    /// Writes octets that may be no UTF-8, as [`Writer::text`].
    pub fn octets(&mut self, mut octets: &[u8]) {
        loop {
            let length = scan::line_length(octets);
            self.0.extend_from_slice(octets.get(..length).unwrap_or_default());
            let Some([_, rest @ ..]) = octets.get(length..) else { return };
            self.0.put_u8(b' ');
            octets = rest;
        }
    }

    /// Writes a decimal number.
    pub fn number(&mut self, number: impl Into<u64>) {
        let mut digits = [0; 20];
        let mut rest = number.into();
        let mut from = digits.len();
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
            from -= 1;
            if rest == 0 {
                break;
            }
        }
        self.0.extend_from_slice(digits.get(from..).unwrap_or_default());
    }

    /// Writes an IP address, without brackets.
    pub fn ip_address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => {
                let [first, rest @ ..] = address.octets();
                self.number(first);
                for octet in rest {
                    self.verbatim(b".");
                    self.number(octet);
                }
            }
            IpAddr::V6(address) => self.text(&address.to_string()),
        }
    }

    /// Writes text as a quoted string: `"` and `\` are escaped.
    pub fn quoted(&mut self, text: &str) {
        self.verbatim(b"\"");
        let mut octets = text.as_bytes();
        loop {
            let length = scan::quoted_length(octets);
            self.octets(octets.get(..length).unwrap_or_default());
            let Some([special, rest @ ..]) = octets.get(length..) else { break };
            self.verbatim(&[b'\\', *special]);
            octets = rest;
        }
        self.verbatim(b"\"");
    }

    /// Writes a further parameter of a comma-separated list: `, name="value"`.
    pub fn quoted_param(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.name_of_param(name);
            self.quoted(value);
        }
    }

    /// Writes a further parameter of a comma-separated list whose value is a token: `, name=value`.
    pub fn token_param(&mut self, name: &'static str, value: Option<&str>) {
        let Some(value) = value else { return };
        self.name_of_param(name);
        // What is no token would end the parameter early and begin another one.
        if is_token(value) { self.verbatim(value.as_bytes()) } else { self.quoted(value) }
    }

    fn name_of_param(&mut self, name: &'static str) {
        self.verbatim(b", ");
        self.verbatim(name.as_bytes());
        self.verbatim(b"=");
    }

    /// Writes one header field.
    pub fn field(&mut self, name: &str, value: impl Render) {
        self.text(name);
        self.verbatim(b": ");
        value.render(self);
        self.end_line();
    }

    /// Ends a line.
    pub fn end_line(&mut self) {
        self.0.extend_from_slice(b"\r\n");
    }

    /// Writes octets as they are: lines that are complete already, and bodies.
    pub fn verbatim(&mut self, octets: &[u8]) {
        self.0.extend_from_slice(octets);
    }

    /// What was written, if nothing but text was.
    pub fn into_text(self) -> String {
        String::from_utf8(self.0.into()).unwrap_or_default()
    }

    /// What was written.
    pub fn finish(self) -> Bytes {
        self.0.freeze()
    }

    /// What was written, in the chunk where it was begun, which goes on behind it.
    pub fn finish_in(mut self, chunk: &mut Chunk) -> Bytes {
        let written = self.0.split().freeze();
        chunk.room = self.0;
        written
    }

    /// As [`Self::finish_in`], if nothing but text was written.
    pub fn finish_text_in(self, chunk: &mut Chunk) -> ByteString {
        ByteString::try_from(self.finish_in(chunk)).unwrap_or_default()
    }
}

/// What a header field may have for a value.
pub trait Render {
    /// Writes it.
    fn render(&self, to: &mut Writer);
}

impl<T: Render + ?Sized> Render for &T {
    fn render(&self, to: &mut Writer) {
        (**self).render(to);
    }
}

impl Render for str {
    fn render(&self, to: &mut Writer) {
        to.text(self);
    }
}

impl Render for String {
    fn render(&self, to: &mut Writer) {
        to.text(self);
    }
}

impl Render for u32 {
    fn render(&self, to: &mut Writer) {
        to.number(*self);
    }
}

/// The parts of a value, one after the other.
impl<const N: usize> Render for [&str; N] {
    fn render(&self, to: &mut Writer) {
        for part in self {
            to.text(part);
        }
    }
}

/// Writes a value as `Display` wants it.
pub(crate) fn display(value: &impl Render, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut writer = Writer::with_capacity(0);
    value.render(&mut writer);
    f.write_str(&writer.into_text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_end_gets_through() {
        let mut writer = Writer::with_capacity(0);
        writer.field("X", "a\r\nEvil: b\rc\n\n");
        assert_eq!(&writer.finish()[..], b"X: a  Evil: b c  \r\n");
    }

    fn written(value: impl FnOnce(&mut Writer)) -> String {
        let mut writer = Writer::with_capacity(0);
        value(&mut writer);
        writer.into_text()
    }

    #[test]
    fn messages_of_a_chunk_stand_apart() {
        let mut chunk = Chunk::default();
        let mut written = Vec::new();
        for number in 0..3_000_u32 {
            let mut writer = chunk.begin(100);
            writer.text(&"x".repeat(usize::try_from(number % 200).unwrap()));
            writer.number(number);
            written.push(writer.finish_in(&mut chunk));
        }
        for (number, octets) in (0..).zip(written) {
            let expected = format!("{}{number}", "x".repeat(number % 200));
            assert_eq!(octets, expected.as_bytes());
        }
    }

    #[test]
    fn a_quoted_string_escapes_quotes_and_backslashes() {
        for (text, quoted) in [(r#"a"b\"#, r#""a\"b\\""#), ("", r#""""#), ("plain", r#""plain""#)] {
            assert_eq!(written(|to| to.quoted(text)), quoted);
            assert_eq!(super::super::lexer::unquote(quoted), text);
        }
    }

    #[test]
    fn a_number_is_its_digits() {
        for number in [0, 9, 10, 65_535, u64::from(u32::MAX), u64::MAX] {
            assert_eq!(written(|to| to.number(number)), number.to_string());
        }
    }

    #[test]
    fn an_address_is_written_as_it_is_read() {
        for address in ["0.0.0.0", "192.0.2.255", "::1", "2001:db8::7"] {
            assert_eq!(written(|to| to.ip_address(address.parse().unwrap())), address);
        }
    }
}
