//! SIP URIs: parts, comparison, and the canonical form of an address of record
//! (RFC 3261 sections 10.3, 19.1; tel URIs: RFC 3966).

use std::{borrow::Cow, fmt};

use memchr::{memchr, memchr_iter};

use super::{lexer::number, scan};
use crate::identity::{IdentityError, Impu};

/// Most parameters and most header components of one URI.
pub const URI_PARAMS_MAX: usize = 64;

/// A URI, split into its parts. Escapes stay as written.
#[derive(Clone, Copy)]
pub struct Uri<'a> {
    /// Which scheme.
    pub scheme: Scheme,
    /// The user part, a password included (`user:password`); of a tel URI the number.
    pub user: Option<&'a str>,
    /// The host: a name, an IPv4 address, an IPv6 address in brackets; empty but for SIP and SIPS.
    pub host: &'a str,
    /// The port, if given.
    pub port: Option<u16>,
    /// The URI parameters as written, without the first `;`.
    pub params: &'a str,
    /// The header components as written, without the `?`.
    pub headers: &'a str,
    /// The whole URI as written.
    pub raw: &'a str,
}

/// The scheme of a URI.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// `sip`.
    Sip,
    /// `sips`.
    Sips,
    /// `tel`.
    Tel,
    /// Any other: the URI is not split further.
    Other,
}

/// A text that is no URI. The sender's fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("malformed URI")]
pub struct MalformedUri;

impl<'a> Uri<'a> {
    /// Splits a URI into its parts.
    ///
    /// # Errors
    ///
    /// [`MalformedUri`] if it has no scheme, a SIP URI has no or a malformed host or port, it has
    /// more than [`URI_PARAMS_MAX`] parameters, or a character that no URI may hold.
    pub fn parse(raw: &'a str) -> Result<Self, MalformedUri> {
        if super::name_addr::is_uri(raw) { Self::split(raw) } else { Err(MalformedUri) }
    }

    /// As [`Uri::parse`], of a text whose characters were checked before.
    pub(crate) fn split(raw: &'a str) -> Result<Self, MalformedUri> {
        let (scheme, rest) = split_scheme(raw)?;
        let empty = Self { scheme, user: None, host: "", port: None, params: "", headers: "", raw };
        match scheme {
            Scheme::Sip | Scheme::Sips => {}
            Scheme::Tel => {
                let (number, params) = rest.split_once(';').unwrap_or((rest, ""));
                return Ok(Self { user: Some(number), params, ..empty });
            }
            Scheme::Other => return Ok(empty),
        }
        // `;` and `?` may stand in a user part, so it is taken off first.
        let (user, rest) = match scan::find(rest.as_bytes(), b'@') {
            Some(at) => (rest.get(..at), rest.get(at + 1..).unwrap_or_default()),
            None => (None, rest),
        };
        let (host, rest) = split_host(rest)?;
        let (port, rest) = split_port(rest)?;
        let (params, headers) = split_params(rest)?;
        if user == Some("") {
            return Err(MalformedUri);
        }
        Ok(Self { scheme, user, host, port, params, headers, raw })
    }

    /// The value of a URI parameter, without case of its name; empty if it has none.
    pub fn param(&self, name: &str) -> Option<&'a str> {
        pairs(self.params, ';').find(|pair| pair.0.eq_ignore_ascii_case(name)).map(|pair| pair.1)
    }

    /// Whether the URI is a SIP or SIPS URI.
    pub const fn is_sip(&self) -> bool {
        matches!(self.scheme, Scheme::Sip | Scheme::Sips)
    }
}

/// Shows the host, not the user.
impl fmt::Debug for Uri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uri({:?}, ..@{})", self.scheme, self.host)
    }
}

/// Whether two URIs are equivalent (RFC 3261 section 19.1.4). Schemes other than `sip` and `sips`
/// compare as text.
pub fn equivalent(a: &Uri<'_>, b: &Uri<'_>) -> bool {
    if !a.is_sip() || !b.is_sip() {
        return a.raw == b.raw;
    }
    let users = match (a.user, b.user) {
        (Some(a), Some(b)) => unescape(a) == unescape(b),
        (None, None) => true,
        _ => false,
    };
    a.scheme == b.scheme
        && users
        && same_text(a.host, b.host)
        && a.port == b.port
        && params_agree(a, b)
        && params_agree(b, a)
        && headers_agree(a, b)
        && headers_agree(b, a)
}

/// The address of record that a URI names, by the scheme `sip` also if it is a SIPS URI: host in lower case, without port, parameters
/// and headers, escapes of unreserved characters resolved (RFC 3261 section 10.3 item 5).
///
/// Escapes of all other characters stay, in upper case: `%00` is data and cuts nothing short. The
/// visual separators of a tel URI go (RFC 3966 section 3).
///
/// # Errors
///
/// [`IdentityError`] if the URI is no public user identity.
pub fn aor(uri: &Uri<'_>) -> Result<Impu, IdentityError> {
    match (uri.scheme, uri.user) {
        (Scheme::Other, _) => Err(IdentityError::UnknownScheme),
        (_, None) => Err(IdentityError::MissingUser),
        // As most are sent: nothing to take away.
        (Scheme::Sip, Some(user)) if is_bare(uri, user) => Impu::parse(uri.raw),
        (Scheme::Tel, Some(number)) => {
            Impu::parse(&format!("tel:{}", number.replace(['-', '.', '(', ')'], "")))
        }
        // The same resource by another scheme is the same address of record (RFC 5630 clause 5.4).
        (Scheme::Sip | Scheme::Sips, Some(user)) => {
            Impu::parse(&format!("sip:{}@{}", unescape(user), uri.host))
        }
    }
}

/// Parameters whose presence in one URI alone makes it another one. The examples of RFC 3261 section
/// 19.1.4 count `transport` among them.
const DISTINGUISHING: [&str; 5] = ["user", "ttl", "method", "maddr", "transport"];

/// Every parameter of `a` is the same in `b`, or absent there and not distinguishing.
fn params_agree(a: &Uri<'_>, b: &Uri<'_>) -> bool {
    pairs(a.params, ';').all(|(name, value)| {
        let mut namesakes = pairs(b.params, ';').filter(|pair| same_text(pair.0, name)).peekable();
        match namesakes.peek() {
            // A name may stand once only; if not, any of its values will do.
            Some(_) => namesakes.any(|(_, other)| same_text(value, other)),
            None => !DISTINGUISHING.iter().any(|known| same_text(known, name)),
        }
    })
}

/// Every header component of `a` is in `b`.
fn headers_agree(a: &Uri<'_>, b: &Uri<'_>) -> bool {
    pairs(a.headers, '&').all(|(name, value)| {
        pairs(b.headers, '&')
            .any(|(other, text)| same_text(name, other) && unescape(value) == unescape(text))
    })
}

fn pairs(text: &str, separator: char) -> impl Iterator<Item = (&str, &str)> {
    text.split(separator)
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// Whether a URI is its scheme in lower case, user and host, with nothing escaped.
fn is_bare(uri: &Uri<'_>, user: &str) -> bool {
    let scheme = if uri.scheme == Scheme::Sip { "sip:" } else { "sips:" };
    uri.raw.len() == scheme.len() + user.len() + 1 + uri.host.len()
        && uri.raw.starts_with(scheme)
        && memchr(b'%', user.as_bytes()).is_none()
}

/// Compares without case, escapes of unreserved characters resolved.
fn same_text(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || unescape(a).eq_ignore_ascii_case(&unescape(b))
}

/// Resolves the escapes of unreserved characters; writes the others in upper case.
fn unescape(text: &str) -> Cow<'_, str> {
    if memchr(b'%', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        plain.push_str(before);
        rest = after;
        let hex = after.get(..2).filter(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let Some((hex, octet)) = hex.and_then(|hex| Some((hex, u8::from_str_radix(hex, 16).ok()?)))
        else {
            plain.push('%');
            continue;
        };
        if octet.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&octet) {
            plain.push(char::from(octet));
        } else {
            plain.push('%');
            plain.push_str(&hex.to_ascii_uppercase());
        }
        rest = after.get(2..).unwrap_or_default();
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

fn split_scheme(raw: &str) -> Result<(Scheme, &str), MalformedUri> {
    // As nearly all are written.
    match raw.strip_prefix("sip:") {
        Some(rest) => Ok((Scheme::Sip, rest)),
        None => split_any_scheme(raw),
    }
}

#[inline(never)]
fn split_any_scheme(raw: &str) -> Result<(Scheme, &str), MalformedUri> {
    let (scheme, rest) = raw.split_once(':').ok_or(MalformedUri)?;
    let scheme = match scheme {
        _ if scheme.eq_ignore_ascii_case("sip") => Scheme::Sip,
        _ if scheme.eq_ignore_ascii_case("sips") => Scheme::Sips,
        _ if scheme.eq_ignore_ascii_case("tel") => Scheme::Tel,
        _ => Scheme::Other,
    };
    Ok((scheme, rest))
}

fn split_host(text: &str) -> Result<(&str, &str), MalformedUri> {
    let octets = text.as_bytes();
    let length = match octets.first() {
        Some(b'[') => bracketed_length(text).ok_or(MalformedUri)?,
        _ => scan::host_length(octets),
    };
    if length == 0 {
        return Err(MalformedUri);
    }
    text.split_at_checked(length).ok_or(MalformedUri)
}

/// The length of an IPv6 address with its brackets.
#[inline(never)]
pub(super) fn bracketed_length(text: &str) -> Option<usize> {
    let close = scan::find(text.as_bytes(), b']')?;
    text.get(1..close)?.parse::<std::net::Ipv6Addr>().ok()?;
    Some(close + 1)
}

fn split_port(text: &str) -> Result<(Option<u16>, &str), MalformedUri> {
    let Some(text) = text.strip_prefix(':') else { return Ok((None, text)) };
    let length = text.bytes().position(|octet| !octet.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(length).ok_or(MalformedUri)?;
    Ok((Some(number(digits).ok_or(MalformedUri)?), rest))
}

/// Splits `;params?headers`, both perhaps absent.
fn split_params(text: &str) -> Result<(&str, &str), MalformedUri> {
    let few = |text: &str, separator| {
        text.len() < URI_PARAMS_MAX
            || memchr_iter(separator, text.as_bytes()).count() < URI_PARAMS_MAX
    };
    if !matches!(text.as_bytes(), [] | [b';' | b'?', ..]) {
        return Err(MalformedUri);
    }
    let (params, headers) = text.split_once('?').unwrap_or((text, ""));
    let params = params.strip_prefix(';').unwrap_or(params);
    (few(params, b';') && few(headers, b'&')).then_some((params, headers)).ok_or(MalformedUri)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri<'_> {
        Uri::parse(text).unwrap_or_else(|_| panic!("{text}"))
    }

    #[test]
    fn a_uri_splits_into_its_parts() {
        let full = uri("SIPS:us%65r;x?y:pw@[2001:db8::1]:5061;lr;transport=TLS?Route=a&b=c");
        assert_eq!((full.scheme, full.user), (Scheme::Sips, Some("us%65r;x?y:pw")));
        assert_eq!((full.host, full.port), ("[2001:db8::1]", Some(5061)));
        assert_eq!((full.params, full.headers), ("lr;transport=TLS", "Route=a&b=c"));
        assert_eq!((full.param("TRANSPORT"), full.param("lr")), (Some("TLS"), Some("")));
        let short = uri("sip:home.example");
        assert_eq!((short.user, short.host, short.port), (None, "home.example", None));
        assert_eq!(uri("sip:h?a=b").headers, "a=b");
        assert_eq!(uri("tel:+1-2;ext=3").user, Some("+1-2"));
        assert_eq!(uri("http://a@b").scheme, Scheme::Other);
    }

    #[test]
    fn what_is_no_uri_is_refused() {
        let many = format!("sip:h{}", ";p".repeat(URI_PARAMS_MAX + 1));
        for text in [
            "",
            "sip",
            "sip:",
            ":a",
            "1sip:a",
            "sip:@h",
            "sip:u@",
            "sip:a b@h",
            "sip:a@b@c",
            "sip:u@h:",
            "sip:u@h:70000",
            "sip:u@h:5x",
            "sip:u@[::1",
            "sip:u@[x]",
            "sip:u@[::1]x",
            "sip:u@h/x",
            "sip:\u{e9}@h\u{e9}",
            &many,
        ] {
            assert!(Uri::parse(text).is_err(), "{text}");
        }
    }

    /// The examples of RFC 3261 section 19.1.4.
    #[test]
    fn uris_compare_as_the_examples_of_rfc_3261_say() {
        for (a, b, same) in [
            ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp", true),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5", true),
            ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on", true),
            (
                "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
                "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
                true,
            ),
            (
                "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
                "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
                true,
            ),
            ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP", false),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060", false),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp", false),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp", false),
            ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting", false),
            ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4", false),
            ("sip:carol@chicago.com;security=off", "sip:carol@chicago.com;security=on", false),
            // Beyond the examples: the rules above them.
            ("sip:a@h", "sips:a@h", false),
            ("sip:h", "sip:a@h", false),
            ("sip:a@h;maddr=1.2.3.4", "sip:a@h", false),
            ("sip:a@h;user=phone", "sip:a@h", false),
            ("sip:a%2Bb@h", "sip:a+b@h", false),
            ("sip:a%2bb@h", "sip:a%2Bb@h", true),
            ("tel:+1", "tel:+1", true),
            ("tel:+1", "sip:+1@h", false),
        ] {
            assert_eq!(equivalent(&uri(a), &uri(b)), same, "{a} and {b}");
            assert_eq!(equivalent(&uri(b), &uri(a)), same, "{b} and {a}");
        }
    }

    #[test]
    fn an_address_of_record_is_canonical() {
        for (given, canonical) in [
            ("sip:%41lice@Home.EXAMPLE:5060;user=phone?x=y", "sip:Alice@home.example"),
            ("SIPS:a@h", "sip:a@h"),
            ("sip:null-%00-null@h", "sip:null-%00-null@h"),
            ("sip:a%40b%2f@h", "sip:a%40b%2F@h"),
            ("sip:%25%zz%4@h", "sip:%25%zz%4@h"),
            ("sip:%C3%a9@h", "sip:%C3%A9@h"),
            ("tel:+39-06.12(34)5;ext=1", "tel:+390612345"),
        ] {
            assert_eq!(aor(&uri(given)).unwrap().as_str(), canonical, "{given}");
        }
        for (given, error) in [
            ("sip:home.example", IdentityError::MissingUser),
            ("http://a@b", IdentityError::UnknownScheme),
            ("tel:112", IdentityError::NotGlobalNumber),
            ("sip:a\\b@h", IdentityError::ForbiddenCharacter),
        ] {
            assert_eq!(aor(&uri(given)).unwrap_err(), error, "{given}");
        }
    }
}
