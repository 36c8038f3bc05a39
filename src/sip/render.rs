//! Writing messages: every value that came from outside passes [`Writer`], which lets no line end
//! through.

use std::fmt;

use memchr::memchr2;

/// Octets of a message being written.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn with_capacity(octets: usize) -> Self {
        Self(Vec::with_capacity(octets))
    }

    /// Writes text; each CR and LF becomes a space, so that a folded value is unfolded and nobody
    /// adds a line.
    pub(crate) fn text(&mut self, text: &str) {
        self.octets(text.as_bytes());
    }

    /// Writes octets that may be no UTF-8, as [`Writer::text`].
    pub(crate) fn octets(&mut self, mut octets: &[u8]) {
        while let Some(at) = memchr2(b'\r', b'\n', octets) {
            let (before, after) = octets.split_at(at);
            self.0.extend_from_slice(before);
            self.0.push(b' ');
            octets = after.get(1..).unwrap_or_default();
        }
        self.0.extend_from_slice(octets);
    }

    /// Writes a value by its `Display`, as [`Writer::text`].
    pub(crate) fn display(&mut self, value: impl fmt::Display) {
        // Writing to memory cannot fail; a `Display` that fails is cut short.
        let _cut_short = fmt::Write::write_fmt(self, format_args!("{value}"));
    }

    /// Writes one header field.
    pub(crate) fn field(&mut self, name: &str, value: impl fmt::Display) {
        self.text(name);
        self.text(": ");
        self.display(value);
        self.end_line();
    }

    /// Ends a line.
    pub(crate) fn end_line(&mut self) {
        self.0.extend_from_slice(b"\r\n");
    }

    /// Writes octets as they are: lines that are complete already, and bodies.
    pub(crate) fn verbatim(&mut self, octets: &[u8]) {
        self.0.extend_from_slice(octets);
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

impl fmt::Write for Writer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.text(text);
        Ok(())
    }
}

/// Writes text as a quoted string: `"` and `\` are escaped.
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        let mut rest = self.0;
        while let Some(at) = rest.find(['"', '\\']) {
            let (before, after) = rest.split_at(at);
            let (special, after) = after.split_at(1);
            write!(f, "{before}\\{special}")?;
            rest = after;
        }
        write!(f, "{rest}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_end_gets_through() {
        let mut writer = Writer::with_capacity(0);
        writer.field("X", "a\r\nEvil: b\rc\n\n");
        assert_eq!(writer.finish(), b"X: a  Evil: b c  \r\n");
    }

    #[test]
    fn a_quoted_string_escapes_quotes_and_backslashes() {
        assert_eq!(Quoted(r#"a"b\"#).to_string(), r#""a\"b\\""#);
        assert_eq!(super::super::lexer::unquote(&Quoted(r#"a"b\"#).to_string()), r#"a"b\"#);
    }
}
