//! Header field names that are looked up by kind (RFC 3261 section 7.3.1, compact forms 7.3.3).
#![expect(clippy::inline_always, reason = "measured: a call costs as much as what it does")]

use super::{
    lexer::is_name,
    scan::{BLOCK, begins_as},
};

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

/// The names that are known, in lower case, the compact forms included: those that are read, and one
/// that each request has. The one that is too long for [`Known`] is not among them.
const NAMES: [(&[u8], HeaderName); 27] = [
    (b"max-forwards", HeaderName::Other),
    (b"v", HeaderName::Via),
    (b"f", HeaderName::From),
    (b"t", HeaderName::To),
    (b"i", HeaderName::CallId),
    (b"m", HeaderName::Contact),
    (b"l", HeaderName::ContentLength),
    (b"k", HeaderName::Supported),
    (b"to", HeaderName::To),
    (b"via", HeaderName::Via),
    (b"from", HeaderName::From),
    (b"cseq", HeaderName::CSeq),
    (b"path", HeaderName::Path),
    (b"call-id", HeaderName::CallId),
    (b"contact", HeaderName::Contact),
    (b"expires", HeaderName::Expires),
    (b"require", HeaderName::Require),
    (b"supported", HeaderName::Supported),
    (b"min-expires", HeaderName::MinExpires),
    (b"retry-after", HeaderName::RetryAfter),
    (b"unsupported", HeaderName::Unsupported),
    (b"authorization", HeaderName::Authorization),
    (b"proxy-require", HeaderName::ProxyRequire),
    (b"service-route", HeaderName::ServiceRoute),
    (b"content-length", HeaderName::ContentLength),
    (b"www-authenticate", HeaderName::WwwAuthenticate),
    (b"p-associated-uri", HeaderName::PAssociatedUri),
];

/// A name that is known: compared as one block, not octet by octet.
#[derive(Clone, Copy)]
struct Known {
    octets: [u8; BLOCK],
    length: usize,
    kind: HeaderName,
}

/// The length of a name that is none.
const NO_LENGTH: usize = usize::MAX;

const SLOTS: usize = 64;

/// The names that are known, each where [`slot`] says.
static KNOWN: [Known; SLOTS] = {
    let none = Known { octets: [0; BLOCK], length: NO_LENGTH, kind: HeaderName::Other };
    let mut table = [none; SLOTS];
    let mut at = 0;
    #[expect(clippy::indexing_slicing, reason = "constant; out of bounds would not compile")]
    while at < NAMES.len() {
        let (name, kind) = NAMES[at];
        let slot = slot(name.len(), name[0], name[name.len() - 1]);
        assert!(table[slot].length == NO_LENGTH, "two names in one slot: other factors are needed");
        table[slot].length = name.len();
        table[slot].kind = kind;
        let mut octet = 0;
        while octet < name.len() {
            table[slot].octets[octet] = name[octet];
            octet += 1;
        }
        at += 1;
    }
    table
};

/// Where a name stands if it is known: length, first and last octet tell them apart, without case.
const fn slot(length: usize, first: u8, last: u8) -> usize {
    (length + 57 * (first | 0x20) as usize + (last | 0x20) as usize) % SLOTS
}

impl HeaderName {
    /// Recognizes a name without case, its compact form included. `name` is a token.
    pub(crate) fn identify(name: &[u8]) -> Self {
        let mut block = [0; BLOCK];
        match block.get_mut(..name.len()) {
            Some(front) => {
                front.copy_from_slice(name);
                Self::identify_front(&block, name.len()).unwrap_or(Self::Other)
            }
            None if is_name(name, b"authentication-info") => Self::AuthenticationInfo,
            None => Self::Other,
        }
    }

    /// Recognizes the name that is the first `length` octets of a block, if it is a known one.
    #[inline(always)]
    pub(super) fn identify_front(block: &[u8; BLOCK], length: usize) -> Option<Self> {
        let last = block.get(length.wrapping_sub(1)).copied().unwrap_or_default();
        let [first, ..] = *block;
        let known = KNOWN.get(slot(length, first, last))?;
        let same = known.length == length && begins_as(block, &known.octets, length);
        same.then_some(known.kind)
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
            ("Authentication-Info", HeaderName::AuthenticationInfo),
            ("www-authenticatf", HeaderName::Other),
            ("www-authenticate-", HeaderName::Other),
            ("C%6Fntact", HeaderName::Other),
            ("", HeaderName::Other),
        ] {
            assert_eq!(HeaderName::identify(name.as_bytes()), kind, "{name}");
        }
        for (name, kind) in NAMES {
            assert_eq!(HeaderName::identify(&name.to_ascii_uppercase()), kind);
        }
    }
}
