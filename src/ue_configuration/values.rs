//! The simple values of the document, each of a form that can be checked.

use std::fmt;

/// Longest URI, octets.
pub const URI_OCTETS_MAX: usize = 1_024;
/// Longest DNN or APN in dotted form, octets (TS 23.003 clause 9.1).
pub const DNN_OCTETS_MAX: usize = 100;
/// Longest label of a DNN or an APN, octets (TS 23.003 clause 9.1).
pub const DNN_LABEL_OCTETS_MAX: usize = 63;

/// An S-NSSAI: names a network slice (TS 23.003 clause 28.4.2).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct SNssai {
    /// Slice/service type, 8 bits.
    pub sst: u8,
    /// Slice differentiator, 24 bits.
    pub sd: Option<[u8; 3]>,
}

impl SNssai {
    /// Parses the text form of TS 29.571 clause 5.4.4.2: the SST in decimal, then, if there is an SD,
    /// a hyphen and its six hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let (sst, sd) = match text.split_once('-') {
            Some((sst, sd)) => (sst, Some(sd)),
            None => (text, None),
        };
        if sst.len() > 3 || !are_digits(sst) {
            return None;
        }
        let sst = sst.parse().ok()?;
        let Some(sd) = sd else { return Some(Self { sst, sd: None }) };
        if sd.len() != 6 || !sd.bytes().all(|octet| octet.is_ascii_hexdigit()) {
            return None;
        }
        let [_, sd @ ..] = u32::from_str_radix(sd, 16).ok()?.to_be_bytes();
        Some(Self { sst, sd: Some(sd) })
    }
}

impl fmt::Display for SNssai {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.sst)?;
        self.sd.map_or(Ok(()), |[a, b, c]| write!(f, "-{a:02X}{b:02X}{c:02X}"))
    }
}

/// What a PDU session carries (TS 24.501 clause 9.11.4.11).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PduSessionType {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
    /// Both.
    Ipv4v6,
    /// Ethernet frames.
    Ethernet,
    /// Anything.
    Unstructured,
}

impl PduSessionType {
    /// Reads the value of the enumeration.
    pub fn parse(text: &str) -> Option<Self> {
        let all = [Self::Ipv4, Self::Ipv6, Self::Ipv4v6, Self::Ethernet, Self::Unstructured];
        all.into_iter().find(|kind| kind.as_str() == text)
    }

    /// The value of the enumeration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
            Self::Ipv4v6 => "IPv4v6",
            Self::Ethernet => "Ethernet",
            Self::Unstructured => "Unstructured",
        }
    }
}

/// A service that has connectivity of its own (table A.6-1).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Service {
    /// MCPTT.
    Mcptt,
    /// MCVideo.
    McVideo,
    /// MCData.
    McData,
    /// The MC common core services: configuration, group, key and location management.
    CommonCore,
    /// The MC identity management service.
    IdentityManagement,
}

impl Service {
    pub(super) const ALL: [Self; 5] =
        [Self::Mcptt, Self::McVideo, Self::McData, Self::CommonCore, Self::IdentityManagement];

    /// The element of the service's details.
    pub(super) const fn details(self) -> &'static str {
        match self {
            Self::Mcptt => "MCPTT-Service-Details",
            Self::McVideo => "MCVideo-Service-Details",
            Self::McData => "MCData-Service-Details",
            Self::CommonCore => "MCCommonCore-Service-Details",
            Self::IdentityManagement => "MCIdM-Service-Details",
        }
    }

    /// The element that names the service's slice.
    pub(super) const fn slice(self) -> &'static str {
        match self {
            Self::Mcptt => "MCPTT-ref-SNSSAI",
            Self::McVideo => "MCVideo-ref-SNSSAI",
            Self::McData => "MCData-ref-SNSSAI",
            Self::CommonCore => "MC-common-core-ref-SNSSAI",
            Self::IdentityManagement => "MC-ID-ref-SNSSAI",
        }
    }
}

/// What names a user, a UE or a subscription. Not secret, but it does not print.
#[derive(Clone, Eq, PartialEq)]
pub struct PersonalText(String);

impl PersonalText {
    /// Takes the text in.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PersonalText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PersonalText(redacted)")
    }
}

pub(super) fn are_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit())
}

/// Whether `text` is a DNN or an APN in dotted form (TS 23.003 clause 9.1).
pub(super) fn is_dnn(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=DNN_LABEL_OCTETS_MAX).contains(&label.len())
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= DNN_OCTETS_MAX && text.split('.').all(is_label)
}

/// Whether `tag` has the form of a language tag (RFC 5646 section 2.1, as XML Schema checks it).
pub(super) fn is_language(tag: &str) -> bool {
    tag.split('-').enumerate().all(|(at, part)| {
        (1..=8).contains(&part.len())
            && part.bytes().all(|octet| match at {
                0 => octet.is_ascii_alphabetic(),
                _ => octet.is_ascii_alphanumeric(),
            })
    })
}

/// Whether `text` is a URI with a scheme (RFC 3986 section 3).
pub(super) fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    is_scheme(scheme) && !rest.is_empty() && is_uri_reference(text)
}

/// Whether `text` is an `http` or `https` URI with a host (RFC 9110 section 4.2).
pub(super) fn is_http_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let is_http = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    is_http && !host.is_empty() && !host.starts_with(':') && is_uri_reference(text)
}

/// Whether `text` is a URI or a relative reference, not empty (RFC 3986 section 4.1).
pub(super) fn is_uri_reference(text: &str) -> bool {
    if text.is_empty() || text.len() > URI_OCTETS_MAX {
        return false;
    }
    let (text, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (text, query) = text.split_once('?').unwrap_or((text, ""));
    let first_segment = text.split('/').next().unwrap_or_default();
    let hierarchy = match first_segment.split_once(':') {
        Some((scheme, _)) if !is_scheme(scheme) => return false,
        Some((scheme, _)) => text.get(scheme.len() + 1..).unwrap_or_default(),
        None => text,
    };
    let (authority, path) = match hierarchy.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", hierarchy),
    };
    is_authority(authority)
        && consists_of(path, b":@/")
        && consists_of(query, b":@/?")
        && consists_of(fragment, b":@/?")
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"+-.".contains(&octet))
}

fn is_authority(text: &str) -> bool {
    let (user, host) = text.split_once('@').unwrap_or(("", text));
    let (is_host, port) = match host.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((address, port))) => (address.parse::<std::net::Ipv6Addr>().is_ok(), port),
        Some(None) => return false,
        None => {
            let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
            (consists_of(name, b""), port)
        }
    };
    let port = port.strip_prefix(':').unwrap_or(if port.is_empty() { "0" } else { "?" });
    is_host && port.parse::<u16>().is_ok() && consists_of(user, b":")
}

/// Whether `text` holds unreserved characters, sub-delimiters, `%` with two hexadecimal digits and
/// `more`, nothing else.
fn consists_of(text: &str, more: &[u8]) -> bool {
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        let is_fine = octet.is_ascii_alphanumeric()
            || b"-._~!$&'()*+,;=".contains(&octet)
            || more.contains(&octet)
            || (octet == b'%'
                && [octets.next(), octets.next()]
                    .iter()
                    .all(|digit| digit.is_some_and(|digit| digit.is_ascii_hexdigit())));
        if !is_fine {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_s_nssai_is_an_sst_and_perhaps_an_sd() {
        // 255-19CDE0 and 29 are the examples of TS 29.571 clause 5.4.4.2.
        for (text, sst, sd, canonical) in [
            ("255-19CDE0", 255, Some([0x19, 0xcd, 0xe0]), "255-19CDE0"),
            ("29", 29, None, "29"),
            ("001-00000a", 1, Some([0, 0, 10]), "1-00000A"),
        ] {
            let parsed = SNssai::parse(text).unwrap();
            assert_eq!((parsed.sst, parsed.sd), (sst, sd), "{text}");
            assert_eq!(parsed.to_string(), canonical);
        }
        for text in ["", "256", "1-", "1-12345", "1-1234567", "1-12345g", "+1", "1-+12345", "0001"]
        {
            assert_eq!(SNssai::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_dnn_has_labels_of_letters_digits_and_hyphens() {
        for (text, valid) in [
            ("mc-services", true),
            ("mc.mnc001.mcc001.gprs", true),
            ("", false),
            ("a..b", false),
            ("-a", false),
            ("a-", false),
            ("sip:cms@b.example", false),
            ("mc_services", false),
        ] {
            assert_eq!(is_dnn(text), valid, "{text}");
        }
        assert!(is_dnn(&"a".repeat(63)) && !is_dnn(&"a".repeat(64)));
        assert!(!is_dnn(&["abcdefghi"; 11].join(".")));
    }

    #[test]
    fn a_uri_has_a_scheme_and_the_characters_of_rfc_3986() {
        for (text, uri, http, reference) in [
            ("https://idms.b.example:8443/token?a=b#c", true, true, true),
            ("http://[2001:db8::1]:80/", true, true, true),
            ("sip:gms@b.example;transport=tcp", true, false, true),
            ("urn:uuid:00000000-0000-4000-8000-000000000001", true, false, true),
            ("b.example", false, false, true),
            ("../users/%41", false, false, true),
            ("", false, false, false),
            ("sip:", false, false, true),
            ("https:///token", true, false, true),
            ("https://:80/", true, false, true),
            ("https://b.example:port/", false, false, false),
            ("https://b.example:65536/", false, false, false),
            ("https://[2001:db8::1/", false, false, false),
            ("https://[::g]/", false, false, false),
            ("https://[::1]80/", false, false, false),
            ("https://b.example/a b", false, false, false),
            ("https://b.example/%4", false, false, false),
            ("https://b.example/#a#b", false, false, false),
            ("https://b.example/\u{e9}", false, false, false),
            ("1a:b", false, false, false),
        ] {
            let found = (is_uri(text), is_http_uri(text), is_uri_reference(text));
            assert_eq!(found, (uri, http, reference), "{text}");
        }
        assert!(!is_uri(&format!("sip:{}", "a".repeat(URI_OCTETS_MAX))));
    }
}
