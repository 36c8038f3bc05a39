//! Header field names that are looked up by kind (RFC 3261 section 7.3.1, compact forms 7.3.3).

use super::lexer::is_name;

/// A header field that something here reads. All others are [`HeaderName::Other`] and kept as text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names are the specifications'")]
#[repr(u8)]
pub enum HeaderName {
    Other,
    AuthenticationInfo,
    Authorization,
    CallId,
    Contact,
    ContentLength,
    CSeq,
    Expires,
    From,
    MinExpires,
    PAssociatedUri,
    Path,
    ProxyRequire,
    Require,
    RetryAfter,
    ServiceRoute,
    Supported,
    To,
    Unsupported,
    Via,
    WwwAuthenticate,
}

/// How many kinds there are, [`HeaderName::Other`] included.
pub(crate) const KINDS: usize = HeaderName::WwwAuthenticate as usize + 1;

impl HeaderName {
    /// Recognizes a name without case, its compact form included. `name` is a token.
    #[inline]
    pub(crate) fn identify(name: &[u8]) -> Self {
        let first = name.first().map_or(0, u8::to_ascii_lowercase);
        match (name.len(), first) {
            (1, b'v') => Self::Via,
            (1, b'f') => Self::From,
            (1, b't') => Self::To,
            (1, b'i') => Self::CallId,
            (1, b'm') => Self::Contact,
            (1, b'l') => Self::ContentLength,
            (1, b'k') => Self::Supported,
            (2, b't') => Self::To.if_named(name, b"to"),
            (3, b'v') => Self::Via.if_named(name, b"via"),
            (4, b'f') => Self::From.if_named(name, b"from"),
            (4, b'c') => Self::CSeq.if_named(name, b"cseq"),
            (4, b'p') => Self::Path.if_named(name, b"path"),
            (7, b'c') if is_name(name, b"call-id") => Self::CallId,
            (7, b'c') => Self::Contact.if_named(name, b"contact"),
            (7, b'e') => Self::Expires.if_named(name, b"expires"),
            (7, b'r') => Self::Require.if_named(name, b"require"),
            (9, b's') => Self::Supported.if_named(name, b"supported"),
            (11, b'm') => Self::MinExpires.if_named(name, b"min-expires"),
            (11, b'r') => Self::RetryAfter.if_named(name, b"retry-after"),
            (11, b'u') => Self::Unsupported.if_named(name, b"unsupported"),
            (13, b'a') => Self::Authorization.if_named(name, b"authorization"),
            (13, b'p') => Self::ProxyRequire.if_named(name, b"proxy-require"),
            (13, b's') => Self::ServiceRoute.if_named(name, b"service-route"),
            (14, b'c') => Self::ContentLength.if_named(name, b"content-length"),
            (16, b'w') => Self::WwwAuthenticate.if_named(name, b"www-authenticate"),
            (16, b'p') => Self::PAssociatedUri.if_named(name, b"p-associated-uri"),
            (19, b'a') => Self::AuthenticationInfo.if_named(name, b"authentication-info"),
            _ => Self::Other,
        }
    }

    /// This kind if `name` is its name, else none that is known.
    fn if_named<const N: usize>(self, name: &[u8], lower: &[u8; N]) -> Self {
        if is_name(name, lower) { self } else { Self::Other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_recognized_without_case_and_in_compact_form() {
        for (name, kind) in [
            ("cALL-iD", HeaderName::CallId),
            ("I", HeaderName::CallId),
            ("l", HeaderName::ContentLength),
            ("www-authenticate", HeaderName::WwwAuthenticate),
            ("C%6Fntact", HeaderName::Other),
            ("", HeaderName::Other),
        ] {
            assert_eq!(HeaderName::identify(name.as_bytes()), kind, "{name}");
        }
    }
}
