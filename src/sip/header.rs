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
    pub(crate) fn identify(name: &[u8]) -> Self {
        match name.len() {
            1 => among(
                name,
                &[
                    (b"v", Self::Via),
                    (b"f", Self::From),
                    (b"t", Self::To),
                    (b"i", Self::CallId),
                    (b"m", Self::Contact),
                    (b"l", Self::ContentLength),
                    (b"k", Self::Supported),
                ],
            ),
            2 => among(name, &[(b"to", Self::To)]),
            3 => among(name, &[(b"via", Self::Via)]),
            4 => {
                among(name, &[(b"from", Self::From), (b"cseq", Self::CSeq), (b"path", Self::Path)])
            }
            7 => among(
                name,
                &[
                    (b"call-id", Self::CallId),
                    (b"contact", Self::Contact),
                    (b"expires", Self::Expires),
                    (b"require", Self::Require),
                ],
            ),
            9 => among(name, &[(b"supported", Self::Supported)]),
            11 => among(
                name,
                &[
                    (b"min-expires", Self::MinExpires),
                    (b"retry-after", Self::RetryAfter),
                    (b"unsupported", Self::Unsupported),
                ],
            ),
            13 => among(
                name,
                &[
                    (b"authorization", Self::Authorization),
                    (b"proxy-require", Self::ProxyRequire),
                    (b"service-route", Self::ServiceRoute),
                ],
            ),
            14 => among(name, &[(b"content-length", Self::ContentLength)]),
            16 => among(
                name,
                &[
                    (b"www-authenticate", Self::WwwAuthenticate),
                    (b"p-associated-uri", Self::PAssociatedUri),
                ],
            ),
            19 => among(name, &[(b"authentication-info", Self::AuthenticationInfo)]),
            _ => Self::Other,
        }
    }
}

/// The kind whose name is `name`, among names of one length.
fn among<const N: usize>(name: &[u8], known: &[(&[u8; N], HeaderName)]) -> HeaderName {
    let found = known.iter().find(|(lower, _)| is_name(name, lower));
    found.map_or(HeaderName::Other, |&(_, kind)| kind)
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
