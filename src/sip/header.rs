//! Header field names that are looked up by kind (RFC 3261 section 7.3.1, compact forms 7.3.3).

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
    /// Recognizes a name without case, its compact form included.
    pub(crate) fn identify(name: &[u8]) -> Self {
        let Some(first) = name.first() else { return Self::Other };
        // Length and first letter leave one candidate.
        let (candidate, kind) = match (name.len(), first.to_ascii_lowercase()) {
            (1, b'f') => ("f", Self::From),
            (1, b'i') => ("i", Self::CallId),
            (1, b'k') => ("k", Self::Supported),
            (1, b'l') => ("l", Self::ContentLength),
            (1, b'm') => ("m", Self::Contact),
            (1, b't') => ("t", Self::To),
            (1, b'v') => ("v", Self::Via),
            (2, b't') => ("to", Self::To),
            (3, b'v') => ("via", Self::Via),
            (4, b'c') => ("cseq", Self::CSeq),
            (4, b'f') => ("from", Self::From),
            (4, b'p') => ("path", Self::Path),
            (7, b'c') if name.get(4) == Some(&b'-') => ("call-id", Self::CallId),
            (7, b'c') => ("contact", Self::Contact),
            (7, b'e') => ("expires", Self::Expires),
            (7, b'r') => ("require", Self::Require),
            (9, b's') => ("supported", Self::Supported),
            (11, b'm') => ("min-expires", Self::MinExpires),
            (11, b'r') => ("retry-after", Self::RetryAfter),
            (11, b'u') => ("unsupported", Self::Unsupported),
            (13, b'a') => ("authorization", Self::Authorization),
            (13, b'p') => ("proxy-require", Self::ProxyRequire),
            (13, b's') => ("service-route", Self::ServiceRoute),
            (14, b'c') => ("content-length", Self::ContentLength),
            (16, b'p') => ("p-associated-uri", Self::PAssociatedUri),
            (16, b'w') => ("www-authenticate", Self::WwwAuthenticate),
            (19, b'a') => ("authentication-info", Self::AuthenticationInfo),
            _ => return Self::Other,
        };
        if candidate.as_bytes().eq_ignore_ascii_case(name) { kind } else { Self::Other }
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
