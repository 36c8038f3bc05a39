//! The names that an identity management server knows clients, users and other such servers by.

use std::{borrow::Borrow, fmt, net::IpAddr};

/// Longest URL of an identity management server, octets.
pub const ISSUER_OCTETS_MAX: usize = 200;

/// Most redirect URIs of one client.
pub const REDIRECT_URIS_MAX: usize = 16;

/// Longest name of a client, octets.
const CLIENT_ID_OCTETS_MAX: usize = 128;

/// Longest name of a user, octets.
const USER_NAME_OCTETS_MAX: usize = 253;

/// Longest redirect URI, octets.
const REDIRECT_URI_OCTETS_MAX: usize = 512;

/// The rule that a name breaks. It repeats nothing of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidName {
    /// Nothing, or too much.
    #[error("is empty or too long")]
    Length,
    /// A character that is not allowed there.
    #[error("has a character that is not allowed there")]
    Character,
    /// Not a URL that tokens and passwords may go to.
    #[error("is no https URL; http is for addresses of this host, such as http://127.0.0.1:8085")]
    NotSecure,
    /// A URL with more than it may have.
    #[error("has a query, a fragment, a user or a slash at its end")]
    TooMuch,
    /// Not a URI that a browser may be sent to.
    #[error(
        "is no https URL, no http URL of this host, and no URI with a scheme such as com.example.app"
    )]
    Scheme,
}

/// The name of a client: printable ASCII without spaces, at most 128 octets (RFC 6749 appendix A.1).
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClientId(String);

/// The name that a user logs in with: the MC ID (TS 33.180 clause 5.1.2), without control characters, at most 253
/// octets.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UserName(String);

/// The URL of an identity management server: the `iss` of its tokens, and its address in the `aud` of others'.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct IssuerUrl(String);

/// Where a browser is sent after the user logged in (RFC 8252 clause 7).
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RedirectUri(String);

impl ClientId {
    /// Parses a name.
    ///
    /// # Errors
    ///
    /// [`InvalidName`].
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        check_length(text, CLIENT_ID_OCTETS_MAX)?;
        let fits = text.bytes().all(|octet| octet.is_ascii_graphic());
        fits.then(|| Self(text.to_owned())).ok_or(InvalidName::Character)
    }
}

impl UserName {
    /// Parses a name.
    ///
    /// # Errors
    ///
    /// [`InvalidName`].
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        check_length(text, USER_NAME_OCTETS_MAX)?;
        let is_wrong = text.chars().any(char::is_control) || text.trim() != text;
        if is_wrong { Err(InvalidName::Character) } else { Ok(Self(text.to_owned())) }
    }
}

impl IssuerUrl {
    /// Parses a URL (RFC 8414 clause 2): https, or http on this host.
    ///
    /// # Errors
    ///
    /// [`InvalidName`].
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        check_length(text, ISSUER_OCTETS_MAX)?;
        if !text.bytes().all(|octet| octet.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&octet)) {
            return Err(InvalidName::Character);
        }
        let is_secure = text.strip_prefix("https://").is_some_and(|rest| !host_of(rest).is_empty());
        if !is_secure && !is_of_this_host(text) {
            return Err(InvalidName::NotSecure);
        }
        let has_more = text.contains(['?', '#', '@']) || text.ends_with('/');
        if has_more { Err(InvalidName::TooMuch) } else { Ok(Self(text.to_owned())) }
    }

    /// The address of an endpoint.
    pub fn endpoint(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// Whether it is reached by TLS.
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }
}

impl RedirectUri {
    /// Parses a URI.
    ///
    /// # Errors
    ///
    /// [`InvalidName`].
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        check_length(text, REDIRECT_URI_OCTETS_MAX)?;
        if !text.bytes().all(|octet| octet.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(&octet))
        {
            return Err(InvalidName::Character);
        }
        let is_https = text.strip_prefix("https://").is_some_and(|rest| !host_of(rest).is_empty());
        let is_private = || {
            let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
            let fits = |octet: u8| octet.is_ascii_alphanumeric() || b"+-.".contains(&octet);
            scheme.contains('.')
                && scheme.starts_with(|first: char| first.is_ascii_alphabetic())
                && scheme.bytes().all(fits)
        };
        let fits = is_https || is_of_this_host(text) || is_private();
        fits.then(|| Self(text.to_owned())).ok_or(InvalidName::Scheme)
    }

    /// Whether a request may name `given` for it: the very same, but for the port on the user's own host, which an
    /// application takes as it finds one (RFC 8252 clause 7.3).
    pub fn allows(&self, given: &str) -> bool {
        if !is_of_this_host(&self.0) {
            return self.0 == given;
        }
        is_of_this_host(given)
            && without_port(&self.0) == without_port(given)
            && Self::parse(given).is_ok()
    }
}

fn check_length(text: &str, octets_max: usize) -> Result<(), InvalidName> {
    (1..=octets_max).contains(&text.len()).then_some(()).ok_or(InvalidName::Length)
}

/// Host and port of what follows `://`.
fn host_of(rest: &str) -> &str {
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// Whether it is an http URL of the host that it is used on.
fn is_of_this_host(url: &str) -> bool {
    let Some(host) = url.strip_prefix("http://").map(host_of) else { return false };
    let (host, port) = split_port(host);
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_loopback = bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok());
    is_port && (is_loopback || host == "localhost")
}

fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    }
}

fn without_port(url: &str) -> (&str, &str) {
    let rest = url.strip_prefix("http://").unwrap_or_default();
    let host = host_of(rest);
    (split_port(host).0, rest.get(host.len()..).unwrap_or_default())
}

/// Look-up by text, checked (de)serialization as text.
macro_rules! textual {
    ($($name:ident),*) => {$(
        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::parse(text)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    )*};
}

textual!(ClientId, UserName, IssuerUrl, RedirectUri);

/// What is no person prints.
macro_rules! printing {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

printing!(ClientId, IssuerUrl, RedirectUri);

impl fmt::Debug for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserName(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_reached_by_https_or_is_this_host() {
        for url in
            ["https://idms.a.example", "https://a.example:8443/idms", "http://127.0.0.1:8085"]
        {
            assert_eq!(IssuerUrl::parse(url).map(|url| url.0), Ok(url.to_owned()));
        }
        for (url, wrong) in [
            ("", InvalidName::Length),
            ("https://", InvalidName::NotSecure),
            ("http://idms.a.example", InvalidName::NotSecure),
            ("http://127.0.0.1.example", InvalidName::NotSecure),
            ("http://localhost.a.example", InvalidName::NotSecure),
            ("ftp://a.example", InvalidName::NotSecure),
            ("https://a.example/", InvalidName::TooMuch),
            ("https://a.example?x", InvalidName::TooMuch),
            ("https://eve@a.example", InvalidName::TooMuch),
            ("https://a example", InvalidName::Character),
        ] {
            assert_eq!(IssuerUrl::parse(url), Err(wrong), "{url}");
        }
        assert_eq!(
            IssuerUrl::parse(&format!("https://{}", "a".repeat(200))),
            Err(InvalidName::Length)
        );
    }

    #[test]
    fn a_redirect_uri_is_the_very_same_but_for_the_port_on_this_host() {
        let uri = |text| RedirectUri::parse(text).unwrap();
        let remote = uri("https://app.example/back");
        assert!(remote.allows("https://app.example/back"));
        for other in [
            "https://app.example/back/",
            "https://app.example/back?x=1",
            "https://app.example:443/back",
        ] {
            assert!(!remote.allows(other), "{other}");
        }
        let here = uri("http://127.0.0.1/back");
        assert!(here.allows("http://127.0.0.1:51004/back") && here.allows("http://127.0.0.1/back"));
        for other in [
            "http://127.0.0.1:51004/other",
            "http://127.0.0.1:99999/back",
            "http://[::1]:51004/back",
            "http://127.0.0.1@eve.example/back",
            "http://127.0.0.1:51004@eve.example/back",
            "https://127.0.0.1/back",
        ] {
            assert!(!here.allows(other), "{other}");
        }
        assert!(uri("com.example.app:/back").allows("com.example.app:/back"));
        for wrong in [
            "javascript:alert(1)",
            "http://a.example/back",
            "data:text/html,x",
            "/back",
            "https://a#b",
        ] {
            assert!(RedirectUri::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_user_does_not_print_and_a_client_does() {
        assert_eq!(format!("{:?}", UserName::parse("alice").unwrap()), "UserName(..)");
        assert_eq!(format!("{:?}", ClientId::parse("mc-client").unwrap()), "ClientId(mc-client)");
        assert_eq!(UserName::parse(" alice"), Err(InvalidName::Character));
        assert_eq!(ClientId::parse("mc client"), Err(InvalidName::Character));
    }
}
