//! Header field names that are looked up by kind (RFC 3261 section 7.3.1, compact forms 7.3.3).

/// A header field that something here reads. All others are [`HeaderName::Other`] and kept as text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names are the specifications'")]
#[repr(u8)]
pub enum HeaderName {
    Other,
    Accept,
    Allow,
    AuthenticationInfo,
    Authorization,
    CallId,
    Contact,
    ContentEncoding,
    ContentLength,
    ContentType,
    CSeq,
    Expires,
    From,
    MaxForwards,
    MinExpires,
    PAssociatedUri,
    Path,
    ProxyRequire,
    Require,
    RetryAfter,
    Route,
    SecurityClient,
    SecurityVerify,
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
    pub fn identify(name: &str) -> Self {
        // By length first: a name is compared with at most five others.
        let candidates: &[(&str, Self)] = match name.len() {
            1 => &[
                ("v", Self::Via),
                ("f", Self::From),
                ("t", Self::To),
                ("i", Self::CallId),
                ("m", Self::Contact),
                ("l", Self::ContentLength),
                ("k", Self::Supported),
                ("c", Self::ContentType),
                ("e", Self::ContentEncoding),
            ],
            2 => &[("To", Self::To)],
            3 => &[("Via", Self::Via)],
            4 => &[("From", Self::From), ("CSeq", Self::CSeq), ("Path", Self::Path)],
            5 => &[("Route", Self::Route), ("Allow", Self::Allow)],
            6 => &[("Accept", Self::Accept)],
            7 => &[
                ("Call-ID", Self::CallId),
                ("Contact", Self::Contact),
                ("Expires", Self::Expires),
                ("Require", Self::Require),
            ],
            9 => &[("Supported", Self::Supported)],
            11 => &[
                ("Min-Expires", Self::MinExpires),
                ("Retry-After", Self::RetryAfter),
                ("Unsupported", Self::Unsupported),
            ],
            12 => &[("Max-Forwards", Self::MaxForwards), ("Content-Type", Self::ContentType)],
            13 => &[
                ("Authorization", Self::Authorization),
                ("Proxy-Require", Self::ProxyRequire),
                ("Service-Route", Self::ServiceRoute),
            ],
            14 => &[("Content-Length", Self::ContentLength)],
            15 => &[
                ("Security-Client", Self::SecurityClient),
                ("Security-Verify", Self::SecurityVerify),
            ],
            16 => &[
                ("WWW-Authenticate", Self::WwwAuthenticate),
                ("P-Associated-URI", Self::PAssociatedUri),
                ("Content-Encoding", Self::ContentEncoding),
            ],
            19 => &[("Authentication-Info", Self::AuthenticationInfo)],
            _ => &[],
        };
        candidates
            .iter()
            .find(|(candidate, _)| candidate.eq_ignore_ascii_case(name))
            .map_or(Self::Other, |&(_, kind)| kind)
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
            assert_eq!(HeaderName::identify(name), kind, "{name}");
        }
    }
}
