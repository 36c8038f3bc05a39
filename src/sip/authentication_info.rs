//! The Authentication-Info header field (RFC 7615, RFC 3310 section 3.5): the network's proof, and
//! perhaps the next nonce.

use std::{borrow::Cow, fmt};

use super::{
    auth_header::read_params,
    render::{self, Render, Writer},
};

/// The value of an Authentication-Info field.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AuthenticationInfo<'a> {
    /// The nonce for the next request, if it is to be another one.
    pub nextnonce: Option<Cow<'a, str>>,
    /// The quality of protection of the answer.
    pub qop: Option<&'a str>,
    /// The network's response, hexadecimal digits.
    pub rspauth: Option<Cow<'a, str>>,
    /// The client's nonce, repeated.
    pub cnonce: Option<Cow<'a, str>>,
    /// The nonce count, repeated.
    pub nc: Option<&'a str>,
}

impl<'a> AuthenticationInfo<'a> {
    /// Reads an Authentication-Info value; `None` if it is no comma-separated list of `name=value`.
    pub fn parse(value: &'a str) -> Option<Self> {
        let mut info = Self::default();
        read_params(value, |param| {
            match param.name_length() {
                2 if param.is(b"nc") => info.nc = Some(param.value),
                3 if param.is(b"qop") => info.qop = Some(param.value),
                6 if param.is(b"cnonce") => info.cnonce = Some(param.text()),
                7 if param.is(b"rspauth") => info.rspauth = Some(param.text()),
                9 if param.is(b"nextnonce") => info.nextnonce = Some(param.text()),
                _ => return false,
            }
            true
        })?;
        Some(info)
    }
}

/// Writes an Authentication-Info value.
impl Render for AuthenticationInfo<'_> {
    fn render(&self, to: &mut Writer) {
        // The grammar wants at least one parameter; rspauth is what the field is for.
        to.verbatim(b"rspauth=");
        to.quoted(self.rspauth.as_deref().unwrap_or_default());
        to.token_param("qop", self.qop);
        to.quoted_param("cnonce", self.cnonce.as_deref());
        to.token_param("nc", self.nc);
        to.quoted_param("nextnonce", self.nextnonce.as_deref());
    }
}

impl fmt::Display for AuthenticationInfo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        render::display(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let info = AuthenticationInfo {
            nextnonce: Some("bg==".into()),
            qop: Some("auth"),
            rspauth: Some("00ff".into()),
            cnonce: Some("c".into()),
            nc: Some("00000001"),
        };
        let text = info.to_string();
        assert_eq!(text, r#"rspauth="00ff", qop=auth, cnonce="c", nc=00000001, nextnonce="bg==""#);
        assert_eq!(AuthenticationInfo::parse(&text), Some(info));
    }

    #[test]
    fn an_open_quote_is_refused() {
        assert_eq!(AuthenticationInfo::parse("rspauth=\"00"), None);
    }
}
